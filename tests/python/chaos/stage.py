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
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import rmqtt

from chaos import tape
from chaos.books import Book, Fault, Journal, read
from chaos.link import Link
from chaos.roamer import DOWN, PATIENCE, QOS, UP, Orders, number_of, payload_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from chaos.books import Entry
    from chaos.link import Weather

BrokerName = Literal["ours", "mosquitto"]
PACKAGE = Path(__file__).parent.parent
#: Who roams: one of each version, acknowledgements in every way; and one whose process is killed again and again.
ROAMERS: dict[str, dict[str, Any]] = {
    "processed": {"version": "5.0", "ack": "processed"},
    "received": {"version": "3.1.1", "ack": "received"},
    "manual": {"version": "5.0", "ack": "manual"},
    "killed": {"version": "5.0", "ack": "processed"},
}
KILLED = "killed"
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
    tried: int = 0
    #: Of its waits for a publish, how many came to an end: all those in the lives that did.
    waits: int = 0
    outbox_kib: int = 0
    #: Messages that a killed process left to the next.
    restored: int = 0
    rss_kib: list[int] = field(default_factory=list)
    #: When each of its processes began.
    lives: list[float] = field(default_factory=list)

    @property
    def anew(self) -> list[float]:
        """When it was begun again after it was killed."""
        return self.lives[1:]

    def enter(self, entry: Entry) -> None:
        """Enter a line of its own journal."""
        match entry.verb:
            case "complaint":
                self.faults.append(Fault(entry.topic, "", 0, entry.second))
            case "began":
                self.lives.append(entry.second)
                for topic, book in self.books.items():
                    setattr(book, "published_anew" if topic.startswith("up/") else "received_anew", self.anew)
            case "restored":
                self.restored += entry.number
            case _ if entry.topic in self.books:
                self.books[entry.topic].enter(entry)
                self.waits += entry.verb in {"taken", "unknown", "withdrawn"}


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

    async def run(self) -> None:
        """Let all roam, and come home."""
        async with running(self._broker, self._folder) as port, rmqtt.Client(f"mqtt://127.0.0.1:{port}") as client:
            with Journal(self._folder / "witness", self._began) as journal:
                witness = Witness(client, journal, self._dice("witness"))
                async with client.subscribe("up/#", qos=2, maxsize=10_000) as messages:
                    hearing = asyncio.create_task(witness.hear(messages))
                    self._outcomes = await asyncio.gather(*(self._roam(name, port, witness) for name in ROAMERS))
                    hearing.cancel()
                    await asyncio.wait((hearing,))

    async def _roam(self, name: str, port: int, witness: Witness) -> Outcome:
        outcome = Outcome(name, {})
        async with Link(port, self._dice(name, "link"), self._began, self._folder / f"{name}.tape") as link:
            orders = Orders(
                name=name,
                port=link.port,
                seed=self._seed,
                journal=str(self._folder / name),
                began=self._began,
                store=str(self._folder / f"{name}.outbox") if name == KILLED else None,
                **ROAMERS[name],
            )
            outcome.weather = link.log
            roamer = Process(orders)
            await roamer.begin()
            await roamer.is_ready()
            async with asyncio.TaskGroup() as group:
                group.create_task(link.storm(self._seconds))
                if name == KILLED:
                    group.create_task(roamer.die(self._seconds, self._dice(name, "kills")))
                sampling = group.create_task(roamer.sample(outcome.rss_kib))
                ends = await group.create_task(witness.publish_to(name, self._seconds))
                sampling.cancel()
            await roamer.come_home(ends)
            await witness.has_heard(read_taken(self._folder / name))
            outcome.tried = link.accepted
        if orders.store:
            outcome.outbox_kib = Path(orders.store).stat().st_size // 1024
        return outcome

    def balance(self) -> list[Outcome]:
        """Balance the books; it takes seconds, and whoever still roams would be held up."""
        for outcome in self._outcomes:
            self._balance(outcome)
        return self._outcomes

    def _balance(self, outcome: Outcome) -> None:
        for way, kinds in (("up", UP), ("down", DOWN)):
            for qos in QOS:
                outcome.books.update({f"{way}/{outcome.name}/{qos}/{kind}": Book(int(qos)) for kind in kinds})
        for entry in read(self._folder / "witness"):
            if entry.topic in outcome.books:
                outcome.books[entry.topic].enter(entry)
        for entry in read(self._folder / outcome.name):
            outcome.enter(entry)
        outcome.faults += self._not_as_sent(outcome)
        for topic, book in outcome.books.items():
            for fault in book.faults():
                is_sent_so = self._broker != "ours" and topic.startswith("down/") and fault.kind in OF_SENDER
                faults = outcome.of_broker if is_sent_so and book.qos else outcome.faults
                faults.append(dataclasses.replace(fault, topic=topic))
        outcome.faults.sort(key=lambda fault: fault.second)

    def _not_as_sent(self, outcome: Outcome) -> Iterator[Fault]:
        """Find what our client gave out otherwise than the broker had sent it."""
        said = list(read(self._folder / outcome.name))
        down = [packet for packet in tape.read(self._folder / f"{outcome.name}.tape") if packet.way == "down"]
        outcome.connections = sum(packet.kind == "ConnAck" for packet in down)
        for qos, given in ((1, tape.at_least_once), (2, partial(tape.exactly_once, anew=outcome.anew))):
            topics = {f"down/{outcome.name}/{qos}/{line}" for line in DOWN}
            got = [entry for entry in said if entry.verb == "got" and entry.topic in topics]
            passed = (packet for packet in down if packet.kind == "PubRel" or packet.topic in topics)
            so_far = given(passed, [(entry.topic, entry.number) for entry in got])
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
    """The process of a roamer; one after the other, where it is killed."""

    def __init__(self, orders: Orders) -> None:
        self._orders = orders

    async def begin(self) -> None:
        """Start it."""
        orders = json.dumps(dataclasses.asdict(self._orders))
        self._process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-X", "faulthandler", "-W", "error", "-m", "chaos.roamer", orders),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=os.environ | {"PYTHONPATH": str(PACKAGE)},
        )

    async def is_ready(self) -> None:
        """Wait until it is connected and has subscribed."""
        await self._expect("ready")

    async def die(self, seconds: float, dice: random.Random) -> None:
        """Kill it for so long, again and again, at any moment, and begin it anew."""
        until = time.monotonic() + seconds
        while (rest := until - time.monotonic()) > 0:
            await asyncio.sleep(min(rest, dice.choice((dice.uniform(0.3, 2), dice.uniform(1, 12)))))
            self._process.kill()
            await self._process.wait()
            await asyncio.sleep(dice.choice((0, dice.random())))
            await self.begin()
        await self.is_ready()

    async def _expect(self, *words: str) -> str:
        assert self._process.stdout is not None
        async with asyncio.timeout(10 * PATIENCE):
            line = (await self._process.stdout.readline()).decode().strip()
        if words and line not in words:
            raise RuntimeError(
                f"a roamer has said {line!r} instead of {words}, and ended with {self._process.returncode}"
            )
        return line

    async def sample(self, rss_kib: list[int]) -> None:
        """Look at its memory each second."""
        while True:
            with contextlib.suppress(FileNotFoundError):
                pages = int(Path(f"/proc/{self._process.pid}/statm").read_text().split()[1])
                rss_kib.append(pages * os.sysconf("SC_PAGE_SIZE") // 1024)
            await asyncio.sleep(1)

    async def come_home(self, ends: dict[str, int]) -> None:
        """Tell it what the last messages were; it ends when it has them."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(ends).encode() + b"\n")
        await self._expect("published")
        if (code := await self._process.wait()) != 0:
            raise RuntimeError(f"a roamer has ended with {code}")


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
