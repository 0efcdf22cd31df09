"""A broker, roamers behind bad links, and a witness at its side that publishes to them and hears what they publish."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import json
import os
import random
import socket
import subprocess
import sys
import time
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import rmqtt

from chaos import tape
from chaos.books import Book, Fault, Journal, read
from chaos.link import Link
from chaos.roamer import DOWN, PATIENCE, QOS, UP, Orders, number_of, payload_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from chaos.link import Weather

BrokerName = Literal["ours", "mosquitto"]
PACKAGE = Path(__file__).parent.parent
#: Who roams: one of each version, acknowledgements in every way.
ROAMERS: dict[str, dict[str, Any]] = {
    "processed": {"version": "5.0", "ack": "processed"},
    "received": {"version": "3.1.1", "ack": "received"},
    "manual": {"version": "5.0", "ack": "manual"},
}
#: What a receiver cannot help, if it is sent so. Our broker has to send nothing so.
OF_SENDER = ("doubled", "disordered")
MOSQUITTO = """
listener {port} 127.0.0.1
allow_anonymous true
persistence false
user root
# What it may keep for a client that is away, and forgets beyond without a word.
max_queued_messages 0
"""


@dataclass
class Outcome:
    """What came of one roamer: the books by topic, and what else there is to say."""

    name: str
    books: dict[str, Book]
    faults: list[Fault] = field(default_factory=list)
    #: What our client gave out as the broker had sent it, and the broker should not have.
    of_broker: list[Fault] = field(default_factory=list)
    weather: list[tuple[float, Weather]] = field(default_factory=list)
    connections: int = 0
    kills: int = 0
    rss_kib: list[int] = field(default_factory=list)
    stats: dict[str, Any] = field(default_factory=dict)


class Stage:
    """One broker for one run."""

    def __init__(self, broker: BrokerName, folder: Path, *, seconds: float, seed: int) -> None:
        self._broker = broker
        self._folder = folder
        self._seconds = seconds
        self._seed = seed
        self._began = time.monotonic()

    def _dice(self, *purpose: str) -> random.Random:
        # Apart for each, so that what one does not change what the others throw.
        return random.Random(f"{self._seed} {' '.join(purpose)}")

    async def run(self) -> list[Outcome]:
        """Let all roam, come home, and balance the books."""
        async with running(self._broker, self._folder) as port, rmqtt.Client(f"mqtt://127.0.0.1:{port}") as client:
            with Journal(self._folder / "witness", self._began) as journal:
                witness = Witness(client, journal, self._dice("witness"))
                async with client.subscribe("up/#", qos=2, maxsize=10_000) as messages:
                    hearing = asyncio.create_task(witness.hear(messages))
                    outcomes = await asyncio.gather(*(self._roam(name, port, witness) for name in ROAMERS))
                    hearing.cancel()
                    await asyncio.wait((hearing,))
        for outcome in outcomes:
            self._balance(outcome)
        return outcomes

    async def _roam(self, name: str, port: int, witness: Witness) -> Outcome:
        outcome = Outcome(name, {})
        async with Link(port, self._dice(name, "link"), self._began, self._folder / f"{name}.tape") as link:
            orders = Orders(
                name=name,
                port=link.port,
                seed=self._seed,
                journal=str(self._folder / name),
                began=self._began,
                **ROAMERS[name],
            )
            outcome.weather = link.log
            roamer = await Process.start(orders)
            async with asyncio.TaskGroup() as group:
                group.create_task(link.storm(self._seconds))
                sampling = group.create_task(roamer.sample(outcome.rss_kib))
                ends = await group.create_task(witness.publish_to(name, self._seconds))
                sampling.cancel()
            outcome.stats = await roamer.come_home(ends)
            await witness.has_heard(read_taken(self._folder / name))
            outcome.connections = link.accepted
        return outcome

    def _balance(self, outcome: Outcome) -> None:
        books = outcome.books
        for way, kinds in (("up", UP), ("down", DOWN)):
            for qos in QOS:
                books.update({f"{way}/{outcome.name}/{qos}/{kind}": Book(int(qos)) for kind in kinds})
        for path in (self._folder / "witness", self._folder / outcome.name):
            for entry in read(path):
                if entry.topic in books:
                    books[entry.topic].enter(entry)
                elif entry.verb == "complaint" and path.name == outcome.name:
                    outcome.faults.append(Fault(entry.topic, "", 0, entry.second))
        outcome.faults += self._not_as_sent(outcome.name)
        for topic, book in books.items():
            for fault in book.faults():
                is_sent_so = self._broker != "ours" and topic.startswith("down/") and fault.kind in OF_SENDER
                faults = outcome.of_broker if is_sent_so and book.qos else outcome.faults
                faults.append(dataclasses.replace(fault, topic=topic))
        outcome.faults.sort(key=lambda fault: fault.second)

    def _not_as_sent(self, name: str) -> Iterator[Fault]:
        """Find what our client gave out otherwise than the broker had sent it."""
        for qos, given in ((1, tape.at_least_once), (2, tape.exactly_once)):
            topics = {f"down/{name}/{qos}/{line}" for line in DOWN}
            got = [it for it in read(self._folder / name) if it.verb == "got" and it.topic in topics]
            passed = (
                packet
                for packet in tape.read(self._folder / f"{name}.tape")
                if packet.way == "down" and (packet.kind == "PubRel" or packet.topic in topics)
            )
            so_far = given(passed, [(it.topic, it.number) for it in got])
            for wrong in got[so_far : so_far + 1]:
                yield Fault("not as it was sent", wrong.topic, wrong.number, wrong.second)


def read_taken(path: Path) -> dict[str, int]:
    """Read what a roamer was told last that was taken over, for each topic that promises it."""
    last: dict[str, int] = {}
    for entry in read(path):
        if entry.verb == "taken" and "/0/" not in entry.topic:
            last[entry.topic] = max(entry.number, last.get(entry.topic, 0))
    return last


class Witness:
    """A client beside the broker: publishes to the roamers, and hears what they publish."""

    def __init__(self, client: rmqtt.Client, journal: Journal, dice: random.Random) -> None:
        self._client = client
        self._journal = journal
        self._dice = dice
        self._heard: defaultdict[str, int] = defaultdict(lambda: -1)
        self._more = asyncio.Condition()

    async def hear(self, messages: rmqtt.Subscription) -> None:
        """Write down what comes."""
        async for message in messages:
            number = number_of(message.payload)
            self._journal.write("got" if number >= 0 else "garbled", message.topic, number)
            self._heard[message.topic] = max(self._heard[message.topic], number)
            async with self._more:
                self._more.notify_all()

    async def has_heard(self, last: dict[str, int]) -> None:
        """Wait until the last messages are there; what is not there by then is lost."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(PATIENCE), self._more:
                await self._more.wait_for(lambda: all(self._heard[topic] >= number for topic, number in last.items()))

    async def publish_to(self, name: str, seconds: float) -> dict[str, int]:
        """Publish to one roamer for so long; say what the last messages were."""
        next_of = {f"down/{name}/{qos}/{line}": 0 for qos in QOS for line in DOWN}
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            async with asyncio.TaskGroup() as group:
                for topic, first in next_of.items():
                    burst = range(first, first + self._dice.randrange(1, 12))
                    next_of[topic] = burst.stop
                    group.create_task(self._publish(topic, burst))
            await asyncio.sleep(self._dice.uniform(0.05, 0.5))
        return {topic: number - 1 for topic, number in next_of.items()}

    async def _publish(self, topic: str, burst: range) -> None:
        qos = QOS[int(topic.split("/")[2])]
        self._journal.write("asked", topic, *burst)
        await self._client.publish_many([(topic, payload_of(number)) for number in burst], qos=qos)
        self._journal.write("taken", topic, *burst)


class Process:
    """The process of a roamer."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    @classmethod
    async def start(cls, orders: Orders) -> Process:
        """Start it, and wait until it is there."""
        process = await asyncio.create_subprocess_exec(
            *(
                sys.executable,
                "-X",
                "faulthandler",
                "-W",
                "error",
                "-m",
                "chaos.roamer",
                json.dumps(dataclasses.asdict(orders)),
            ),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=os.environ | {"PYTHONPATH": str(PACKAGE)},
        )
        started = cls(process)
        await started._expect("ready")
        return started

    async def _expect(self, *words: str) -> str:
        assert self._process.stdout is not None
        async with asyncio.timeout(3 * PATIENCE):
            line = (await self._process.stdout.readline()).decode().strip()
        if words and line not in words:
            raise RuntimeError(
                f"a roamer has said {line!r} instead of {words}, and ended with {self._process.returncode}"
            )
        return line

    async def sample(self, rss_kib: list[int]) -> None:
        """Look at its memory each second."""
        pages = Path(f"/proc/{self._process.pid}/statm")
        while True:
            rss_kib.append(int(pages.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") // 1024)
            await asyncio.sleep(1)

    async def come_home(self, ends: dict[str, int]) -> dict[str, Any]:
        """Tell it what the last messages were; it ends when it has them, and says what it has counted."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(ends).encode() + b"\n")
        await self._expect("published")
        stats: dict[str, Any] = json.loads(await self._expect())
        await self._process.wait()
        return stats


@contextlib.asynccontextmanager
async def running(broker: BrokerName, folder: Path) -> AsyncIterator[int]:
    """Run a broker in a process of its own."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port: int = probe.getsockname()[1]
    if broker == "ours":
        command = [sys.executable, "-m", "rmqtt", "broker", f"--port={port}"]
    else:
        configuration = folder / "mosquitto.conf"
        configuration.write_text(MOSQUITTO.format(port=port))
        command = ["mosquitto", "-c", str(configuration)]
    with (folder / "broker.log").open("wb") as log:
        process = await asyncio.create_subprocess_exec(*command, stdout=log, stderr=log)
        try:
            await listens(port)
            yield port
        finally:
            process.terminate()
            await process.wait()


async def listens(port: int) -> None:
    """Wait until a broker does."""
    first = rmqtt.Client(f"mqtt://127.0.0.1:{port}", reconnect=rmqtt.Reconnect(initial=0.05, max=0.2, retry_first=True))
    async with asyncio.timeout(20), first:
        pass
