"""Twenty-one weather sensors, a broker and a pipeline in one process; at the end the books are checked.

Each device replays one month of real hourly readings (``examples/data``):

=========  ===  ===================================================================================
topic      QoS  what
=========  ===  ===================================================================================
reading    1    every reading, retained, so that whoever comes late gets the last one at once
alarm      2    the value crossed the sensor's limit: raised or cleared
heartbeat  0    once a day of the data
status     1    ``online``, ``offline``, or ``lost``: the device's will, sent by the broker
=========  ===  ===================================================================================

One device dies in the middle without saying goodbye. The pipeline keeps rolling statistics, and when all is over it
compares what arrived with what the devices know they sent: every reading at least once, every alarm exactly once and in
order, one ``lost`` for the dead device and none for the others. It exits with 1 if that does not balance.

    python examples/sensor_pipeline.py                              # with a broker of its own
    python examples/sensor_pipeline.py --broker mqtt://host:1883    # with any other
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import csv
import json
import secrets
import sys
import time
from collections import Counter, deque
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

import rmqtt

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

HERE = Path(__file__).parent
DAY = 24  # readings are hourly
DYING_DEVICE = "jfk/wind_speed"


@dataclass(frozen=True)
class Sensor:
    """What a kind of sensor measures, and when that is alarming."""

    unit: str
    limit: float
    alarm_above: bool

    def is_alarming(self, value: float) -> bool:
        """Whether this value is at or beyond the limit."""
        return value >= self.limit if self.alarm_above else value <= self.limit


SENSORS = {
    "temperature": Sensor("°F", 20.0, alarm_above=False),
    "dew_point": Sensor("°F", 0.0, alarm_above=False),
    "humidity": Sensor("%", 95.0, alarm_above=True),
    "wind_speed": Sensor("mph", 30.0, alarm_above=True),
    "precipitation": Sensor("inch", 0.1, alarm_above=True),
    "pressure": Sensor("mbar", 1000.0, alarm_above=False),
    "visibility": Sensor("mile", 1.0, alarm_above=False),
}


# ---- the devices ---------------------------------------------------------------------------------


@dataclass
class Device:
    """One sensor at one station, and its own account of what it has sent.

    A reading or an alarm is written into the account when the broker has taken it over: from then on the device has no
    copy, and the broker's promise is all there is.
    """

    name: str
    readings: list[tuple[str, float]]
    taken_over: list[int] = field(default_factory=list)
    alarms: list[int] = field(default_factory=list)
    heartbeats: int = 0
    last_payload: bytes = b""
    is_dead: bool = False

    @property
    def lifetime(self) -> int:
        """How many readings it will send before it leaves or dies."""
        return len(self.readings) // (2 if self.name == DYING_DEVICE else 1)

    async def run(self, url: str, prefix: str, seconds: float) -> None:
        """Connect, replay all readings in this many seconds, and leave; or die half-way."""
        topic = f"{prefix}/{self.name}"
        client = rmqtt.Client(
            url,
            client_id=f"{prefix}-{self.name}".replace("/", "-"),
            will=rmqtt.Will(topic=f"{topic}/status", payload="lost", qos=1),
        )
        async with client:
            await client.publish(f"{topic}/status", "online", qos=1)
            start = time.monotonic()
            for number in range(self.lifetime):
                await asyncio.sleep(start + number * seconds / len(self.readings) - time.monotonic())
                await self._publish_reading(client, topic, number)
            if self.name == DYING_DEVICE:
                self.is_dead = True
                await client.abort()  # as if the power had gone: no DISCONNECT
            else:
                await client.publish(f"{topic}/status", "offline", qos=1)

    async def _publish_reading(self, client: rmqtt.Client, topic: str, number: int) -> None:
        when, value = self.readings[number]
        payload = json.dumps({"number": number, "time": when, "value": value}).encode()
        await client.publish(f"{topic}/reading", payload, qos=1, retain=True)
        self.taken_over.append(number)
        self.last_payload = payload
        if self._crosses_limit(number):
            alarm = len(self.alarms)
            await client.publish(f"{topic}/alarm", json.dumps({"number": alarm, "time": when, "value": value}), qos=2)
            self.alarms.append(alarm)
        if number % DAY == 0:
            await client.publish(f"{topic}/heartbeat", when)
            self.heartbeats += 1

    def _crosses_limit(self, number: int) -> bool:
        sensor = SENSORS[self.name.partition("/")[2]]
        was_alarming = number > 0 and sensor.is_alarming(self.readings[number - 1][1])
        return sensor.is_alarming(self.readings[number][1]) != was_alarming


def load_devices(folder: Path) -> list[Device]:
    """Make a device of each column of each station's file."""
    devices = []
    for path in sorted(folder.glob("*.csv")):
        with path.open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
        for sensor in SENSORS:
            readings = [(row["time"], float(row[sensor])) for row in rows if row[sensor]]
            devices.append(Device(f"{path.stem}/{sensor}", readings))
    return devices


# ---- the pipeline --------------------------------------------------------------------------------


@dataclass
class DeviceStatistics:
    """What the pipeline knows of one device."""

    window: deque[float] = field(default_factory=lambda: deque(maxlen=DAY))
    times: list[datetime] = field(default_factory=list)
    rolling_means: list[float] = field(default_factory=list)
    total: float = 0.0
    minimum: float = float("inf")
    maximum: float = float("-inf")
    copies: Counter[int] = field(default_factory=Counter)
    alarms: list[int] = field(default_factory=list)
    heartbeats: int = 0
    statuses: Counter[str] = field(default_factory=Counter)

    def add_reading(self, number: int, when: datetime, value: float) -> None:
        """Count every copy; take only the first one into the statistics."""
        self.copies[number] += 1
        if self.copies[number] > 1:  # at least once means: sometimes twice
            return
        self.window.append(value)
        self.times.append(when)
        self.rolling_means.append(sum(self.window) / len(self.window))
        self.total += value
        self.minimum = min(self.minimum, value)
        self.maximum = max(self.maximum, value)

    @property
    def mean(self) -> float:
        """Of all readings so far."""
        return self.total / len(self.times) if self.times else float("nan")

    @property
    def messages(self) -> int:
        """Everything that came from this device, copies included."""
        return self.copies.total() + len(self.alarms) + self.heartbeats + self.statuses.total()


class Pipeline:
    """Subscribes to all devices by wildcards and keeps statistics of each."""

    def __init__(self, prefix: str, devices: Sequence[Device]) -> None:
        self.prefix = prefix
        self.devices = {device.name: DeviceStatistics() for device in devices}
        self.messages = 0

    @contextlib.asynccontextmanager
    async def running(self, url: str) -> AsyncIterator[None]:
        """Subscribe, and take messages in the background while the body runs."""
        async with (
            rmqtt.Client(url) as client,
            client.subscribe(f"{self.prefix}/+/+/reading", qos=1) as readings,
            client.subscribe(f"{self.prefix}/+/+/alarm", qos=2) as alarms,
            client.subscribe(f"{self.prefix}/+/+/heartbeat", qos=0) as heartbeats,
            client.subscribe(f"{self.prefix}/+/+/status", qos=1) as statuses,
            asyncio.TaskGroup() as group,
        ):
            tasks = [group.create_task(self._take(feed)) for feed in (readings, alarms, heartbeats, statuses)]
            yield
            for task in tasks:
                task.cancel()

    async def _take(self, feed: rmqtt.Subscription) -> None:
        async for message in feed:
            device, _, kind = message.topic.removeprefix(f"{self.prefix}/").rpartition("/")
            statistics = self.devices[device]
            self.messages += 1
            if kind == "reading":
                reading = message.json()
                statistics.add_reading(reading["number"], datetime.fromisoformat(reading["time"]), reading["value"])
            elif kind == "alarm":
                statistics.alarms.append(message.json()["number"])
            elif kind == "heartbeat":
                statistics.heartbeats += 1
            else:
                statistics.statuses[message.text()] += 1


# ---- the books -----------------------------------------------------------------------------------


def check_books(devices: Sequence[Device], pipeline: Pipeline) -> list[str]:
    """Compare what the devices sent with what arrived, and say what is wrong."""
    problems = []
    for device in devices:
        seen = pipeline.devices[device.name]
        lost = [number for number in device.taken_over if not seen.copies[number]]
        if lost:
            problems.append(f"{device.name}: {len(lost)} readings never arrived, the first is number {lost[0]}")
        if seen.alarms != device.alarms:
            problems.append(f"{device.name}: alarms {device.alarms} were sent, {seen.alarms} arrived")
        if seen.heartbeats > device.heartbeats:
            problems.append(f"{device.name}: {device.heartbeats} heartbeats became {seen.heartbeats}")
        if seen.statuses["lost"] != int(device.is_dead):
            problems.append(f"{device.name}: its will arrived {seen.statuses['lost']} times, dead: {device.is_dead}")
        if not seen.statuses["online"] or bool(seen.statuses["offline"]) == device.is_dead:
            problems.append(f"{device.name}: it said {dict(seen.statuses)}, dead: {device.is_dead}")
    return problems


async def check_retained(url: str, prefix: str, devices: Sequence[Device]) -> list[str]:
    """Come late: the broker must hand out the last reading of each device, the dead one's too. Then clear them."""
    expected = {f"{prefix}/{device.name}/reading": device.last_payload for device in devices}
    retained: dict[str, bytes] = {}
    async with rmqtt.Client(url) as client:
        async with client.subscribe(f"{prefix}/+/+/reading", qos=1) as late:
            with contextlib.suppress(rmqtt.MqttTimeout):
                while len(retained) < len(expected):
                    message = await late.get(timeout=2.0)
                    retained[message.topic] = message.payload
        for topic in expected:
            await client.publish(topic, b"", qos=1, retain=True)
    return [
        f"{topic}: the retained reading is not the last" for topic in expected if retained.get(topic) != expected[topic]
    ]


# ---- what the user sees --------------------------------------------------------------------------


async def show_progress(pipeline: Pipeline, total: int) -> None:
    """Say until cancelled how far the pipeline has come: in one line of a terminal, or once a second."""
    is_terminal = sys.stdout.isatty()
    start = time.monotonic()

    def show() -> None:
        readings = sum(len(device.times) for device in pipeline.devices.values())
        alarms = sum(len(device.alarms) for device in pipeline.devices.values())
        deaths = sum(device.statuses["lost"] for device in pipeline.devices.values())
        rate = pipeline.messages / (time.monotonic() - start)
        line = f"{readings / total:6.1%}  {readings} readings, {alarms} alarms, {deaths} deaths, {rate:.0f} messages/s"
        print(f"\r{line}\033[K" if is_terminal else line, end="" if is_terminal else "\n", flush=True)

    try:
        while True:
            await asyncio.sleep(0.1 if is_terminal else 1.0)
            show()
    finally:
        show()


def print_table(pipeline: Pipeline, seconds: float) -> None:
    """One line a device, and their sum."""
    header = ("device", "readings", "mean", "min", "max", "unit", "alarms", "deaths", "messages/s")
    print("{:<18}{:>9}{:>9}{:>9}{:>9} {:<5}{:>7}{:>7}{:>11}".format(*header))
    for name, device in pipeline.devices.items():
        unit = SENSORS[name.partition("/")[2]].unit
        print(
            f"{name:<18}{len(device.times):>9}{device.mean:>9.2f}{device.minimum:>9.2f}{device.maximum:>9.2f}"
            f" {unit:<5}{len(device.alarms):>7}{device.statuses['lost']:>7}{device.messages / seconds:>11.1f}"
        )
    devices = pipeline.devices.values()
    print(
        f"{len(devices):<2} devices        {sum(len(device.times) for device in devices):>9}{'':>33}"
        f"{sum(len(device.alarms) for device in devices):>7}{sum(device.statuses['lost'] for device in devices):>7}"
        f"{pipeline.messages / seconds:>11.1f}"
    )


def draw_chart(pipeline: Pipeline, path: Path) -> bool:
    """Draw the rolling means, a panel for each kind of sensor; needs matplotlib, and says whether it is there."""
    try:
        import matplotlib as mpl  # noqa: PLC0415 - only the chart needs it
    except ImportError:
        return False
    mpl.use("Agg")
    from matplotlib import dates  # noqa: PLC0415
    from matplotlib import pyplot as plt  # noqa: PLC0415

    figure, axes = plt.subplots(4, 2, figsize=(12, 11), sharex=True, layout="constrained")
    panels = axes.flatten()
    for panel, (sensor, kind) in zip(panels, SENSORS.items(), strict=False):
        for name, device in pipeline.devices.items():
            station, _, measures = name.partition("/")
            if measures != sensor or not device.times:
                continue
            (line,) = panel.plot(device.times, device.rolling_means, label=station.upper(), linewidth=1.2)
            if device.statuses["lost"]:
                panel.plot(device.times[-1], device.rolling_means[-1], "X", color=line.get_color(), markersize=9)
        panel.set_title(sensor.replace("_", " "), loc="left", fontsize=10)
        panel.set_ylabel(kind.unit)
        panel.grid(alpha=0.3)
    panels[-1].axis("off")
    panels[-1].legend(*panels[0].get_legend_handles_labels(), loc="center", title="station (✕: the device died)")
    panels[-3].tick_params(labelbottom=True)  # the lowest of its column
    panels[-2].xaxis.set_major_formatter(dates.ConciseDateFormatter(panels[-2].xaxis.get_major_locator()))
    figure.suptitle(f"Rolling means over {DAY} readings")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)
    plt.close(figure)
    return True


# ---- the job -------------------------------------------------------------------------------------


async def settle(devices: Sequence[Device], pipeline: Pipeline) -> None:
    """Wait until the books balance, at most five seconds; then a moment more for what should not come."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(5):
            while check_books(devices, pipeline):  # noqa: ASYNC110 - a look now and then is enough here
                await asyncio.sleep(0.02)
    await asyncio.sleep(0.3)


async def run(url: str, seconds: float, chart: Path) -> int:
    """Do the whole job against this broker; the exit code."""
    prefix = f"weather-{secrets.token_hex(3)}"  # a shared broker may have other runs
    devices = load_devices(HERE / "data")
    pipeline = Pipeline(prefix, devices)
    total = sum(device.lifetime for device in devices)
    print(f"{len(devices)} devices replay {total} readings through {url}")
    async with pipeline.running(url):
        progress = asyncio.create_task(show_progress(pipeline, total))
        start = time.monotonic()
        try:
            async with asyncio.TaskGroup() as group:
                for device in devices:
                    group.create_task(device.run(url, prefix, seconds))
            elapsed = time.monotonic() - start
            await settle(devices, pipeline)
        finally:
            progress.cancel()
            await asyncio.gather(progress, return_exceptions=True)
    print("\n" if sys.stdout.isatty() else "")
    problems = check_books(devices, pipeline) + await check_retained(url, prefix, devices)
    print_table(pipeline, elapsed)
    print()
    if draw_chart(pipeline, chart):
        print(f"chart: {chart}")
    else:
        print("no chart: matplotlib is not installed (pip install matplotlib)")
    for problem in problems:
        print(f"DOES NOT BALANCE: {problem}")
    if not problems:
        copies = sum(device.copies.total() - len(device.copies) for device in pipeline.devices.values())
        print(
            f"the books balance: nothing lost, no alarm twice or out of order ({copies} readings came more than once)"
        )
    return 1 if problems else 0


async def main() -> int:
    """Read the command line, and start a broker if none is named."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--broker", metavar="URL", help="use this broker instead of an embedded one")
    parser.add_argument("--seconds", type=float, default=8.0, help="how long the replay takes (default: 8)")
    parser.add_argument("--chart", type=Path, default=HERE / "out" / "rolling_means.png", help="where the chart goes")
    options = parser.parse_args()
    if options.broker:
        return await run(options.broker, options.seconds, options.chart)
    async with rmqtt.Broker("mqtt://127.0.0.1:0") as broker:
        return await run(broker.url, options.seconds, options.chart)


if __name__ == "__main__":
    try:
        sys.exit(asyncio.run(main()))
    except KeyboardInterrupt:
        print("\ninterrupted")
        sys.exit(130)
    except rmqtt.MqttError as error:
        sys.exit(f"sensor_pipeline: {error}")
