"""What a message costs whose outbox is in a file, beside one in memory.

    make bench-outbox
    make bench-outbox QUICK=1
    make bench-outbox ARGS='--folder /mnt/disk'

Client and embedded broker are in one process, over TCP on loopback, so this is what the file adds and no more. It lies
in `build`, or in another folder whose disk is to be measured: what a sync of that disk takes stands below the table.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import statistics
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import report
import rmqtt

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

TOPIC = "plant/7/temperature"
PAYLOAD = bytes(100)
METHOD = (
    "The time of one message, of {size} bytes: the best of {rounds} rounds each, taken in turn, since whatever else "
    "the machine does only adds to it. Client and embedded broker in one process, over TCP."
)
FOLDER = report.HERE.parent / "build"


async def one_by_one(client: rmqtt.Client, qos: rmqtt.QoS, count: int) -> None:
    """Publish with a round trip each."""
    for _ in range(count):
        await client.publish(TOPIC, PAYLOAD, qos=qos)


async def together(client: rmqtt.Client, qos: rmqtt.QoS, count: int) -> None:
    """Publish by one call."""
    await client.publish_many(((TOPIC, PAYLOAD) for _ in range(count)), qos=qos)


#: Name, what is done, QoS, and how many messages in a round.
RUNS: tuple[tuple[str, Callable[[rmqtt.Client, rmqtt.QoS, int], Awaitable[None]], rmqtt.QoS, int], ...] = (
    ("QoS 1, `await publish(…)` one by one", one_by_one, rmqtt.QoS.AT_LEAST_ONCE, 2_000),
    ("QoS 2, the same", one_by_one, rmqtt.QoS.EXACTLY_ONCE, 2_000),
    ("QoS 1, `publish_many`", together, rmqtt.QoS.AT_LEAST_ONCE, 50_000),
    ("QoS 2, the same", together, rmqtt.QoS.EXACTLY_ONCE, 50_000),
)


async def measure(broker: rmqtt.Broker, at: int, count: int, path: Path | None) -> float:
    """Give the microseconds of a message, the first ones left out."""
    _, publish, qos, _ = RUNS[at]
    client = rmqtt.Client(
        broker.url, client_id="bench", clean_start=False, session_expiry=3600, outbox=rmqtt.Outbox(path=path)
    )
    async with client:
        await publish(client, qos, max(count // 10, 1))
        begun = time.perf_counter()
        await publish(client, qos, count)
        return (time.perf_counter() - begun) * 1e6 / count


def sync(folder: Path, rounds: int = 50) -> float:
    """Give the microseconds that it takes to have 4 KiB on the disk."""
    times = []
    with tempfile.TemporaryFile(dir=folder, buffering=0) as file:
        for _ in range(rounds):
            file.write(bytes(4096))
            begun = time.perf_counter()
            os.fsync(file.fileno())
            times.append((time.perf_counter() - begun) * 1e6)
    return statistics.median(times)


def shown(micros: float) -> str:
    """Write a time in the unit that fits it."""
    return f"{report.significant(micros / 1000, 2)} ms" if micros >= 10 else f"{report.significant(micros, 2)} µs"


def page(result: dict[str, Any], where: dict[str, str], command: str) -> str:
    """Write the page."""
    rows = [
        [name, shown(min(result["memory"][at])), shown(min(result["file"][at]))] for at, (name, *_) in enumerate(RUNS)
    ]
    parts = [
        "# What the outbox on disk costs",
        report.about(where, command),
        METHOD.format(size=len(PAYLOAD), rounds=result["rounds"]),
        report.table(["", "in memory", "with `path`"], rows),
        f"A sync of 4 KiB takes this disk {shown(result['sync_us'])} (median).",
    ]
    return "\n\n".join(parts) + "\n"


def main() -> None:
    """Run it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a glance: two short rounds")
    parser.add_argument("--rounds", type=int, default=7, help="of which the best counts (%(default)s)")
    parser.add_argument("--folder", type=Path, default=FOLDER, help="where the file is to lie (%(default)s)")
    parser.add_argument("--out", type=Path, help="where page and raw figures go; else the page is printed")
    options = parser.parse_args()
    rounds, share = (2, 10) if options.quick else (options.rounds, 1)
    options.folder.mkdir(parents=True, exist_ok=True)
    figures: dict[str, list[list[float]]] = {"memory": [[] for _ in RUNS], "file": [[] for _ in RUNS]}
    with rmqtt.Broker("mqtt://127.0.0.1:0") as broker, tempfile.TemporaryDirectory(dir=options.folder) as folder:
        for number in range(rounds):
            report.say(f"round {number + 1} of {rounds}")
            for at, (*_, count) in enumerate(RUNS):
                for place, path in (("memory", None), ("file", Path(folder, f"{number}-{at}"))):
                    figures[place][at].append(asyncio.run(measure(broker, at, count // share, path)))
        result: dict[str, Any] = {**figures, "rounds": rounds, "sync_us": sync(Path(folder))}
    where = report.machine()
    command = "make bench-outbox QUICK=1" if options.quick else "make bench-outbox"
    report.publish(options.out, "outbox", page(result, where, command), result | {"machine": where}, {})


if __name__ == "__main__":
    main()
