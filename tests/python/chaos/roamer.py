"""The program behind a bad link: it publishes and receives in every way there is, gives up some of it, and keeps a journal.

It reads one line, what the last messages for it were, and then comes to an end: every wait must.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import sys
from collections import defaultdict, deque
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import rmqtt

from chaos.books import Journal, read

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from rmqtt import Client, Message, Subscription

QOS: tuple[rmqtt.QoS, ...] = (rmqtt.QoS(0), rmqtt.QoS(1), rmqtt.QoS(2))
#: How messages of one topic are published: each by itself, without waiting for room, or many at once.
UP = ("each", "nowait", "many")
#: Topics towards a roamer, of each QoS.
DOWN = ("a", "b")
#: Seconds for what must end once the weather is clear, and nothing more comes.
PATIENCE = 45.0


def payload_of(number: int) -> bytes:
    """Make the payload of this number: mostly short, some longer than a buffer."""
    size = 20_000 if number % 199 == 0 else 5_000 if number % 41 == 0 else number % 60
    return b"%d %s" % (number, b"%d" % (number % 10) * size)


def number_of(payload: bytes) -> int:
    """Read the number; -1: it was not published so."""
    number = int(payload.partition(b" ")[0] or -1)
    return number if payload == payload_of(number) else -1


@dataclass(frozen=True)
class Orders:
    """What one roamer is to be."""

    name: str
    port: int
    version: Literal["5.0", "3.1.1"]
    ack: Literal["processed", "received", "manual"]
    seed: int
    journal: str
    began: float
    #: Where its outbox outlives its death, if it is to be killed.
    store: str | None = None


class Roamer:
    """One client, its publishers and its receivers."""

    def __init__(self, orders: Orders, journal: Journal) -> None:
        self._orders = orders
        self._journal = journal
        self._ends: dict[str, int] | None = None
        self._asked_to_end = asyncio.Event()
        self._heard = 0
        self._latest: defaultdict[str, int] = defaultdict(lambda: -1)

    async def run(self) -> None:
        """Connect, and roam until told to come home."""
        asyncio.get_running_loop().set_exception_handler(lambda _, context: self._complain(context))
        last: defaultdict[str, int] = defaultdict(lambda: -1)
        lives = 0
        for entry in read(Path(self._orders.journal)):
            if entry.verb == "asked":
                last[entry.topic] = max(last[entry.topic], entry.number)
            elif entry.verb == "got":
                self._latest[entry.topic] = max(self._latest[entry.topic], entry.number)
            lives += entry.verb == "began"
        self._dice = random.Random(f"{self._orders.seed} {lives}")
        self._journal.write("began", self._orders.name)
        async with contextlib.AsyncExitStack() as stack:
            client = await stack.enter_async_context(self._client())
            self._journal.write("restored", self._orders.name, client.stats().restored)
            watching = asyncio.create_task(self._watch(client.events()))
            receivers = [
                asyncio.create_task(self._receive(qos, await stack.enter_async_context(self._subscribe(client, qos))))
                for qos in QOS
            ]
            print("ready", flush=True)
            publishers = [
                asyncio.create_task(self._publish(client, qos, way, last[topic] + 1), name=topic)
                for qos in QOS
                for way in UP
                for topic in [f"up/{self._orders.name}/{qos}/{way}"]
            ]
            self._ends = json.loads(await asyncio.to_thread(sys.stdin.readline))
            self._asked_to_end.set()
            await self._all_end(publishers)
            await asyncio.wait_for(client.drain(), PATIENCE)
            print("published", flush=True)
            await self._all_end(receivers)
        await asyncio.wait_for(watching, PATIENCE)

    def _client(self) -> Client:
        orders = self._orders
        kept: dict[str, Any] = {"path": orders.store} if orders.store else {}
        return rmqtt.Client(
            f"mqtt://127.0.0.1:{orders.port}",
            client_id=orders.name,
            version=orders.version,
            clean_start=False,
            session_expiry=3600 if orders.version == "5.0" else 0,
            keep_alive=2,
            connect_timeout=3,
            receive_maximum=20,
            reconnect=rmqtt.Reconnect(initial=0.05, max=0.5, retry_first=True),
            outbox=rmqtt.Outbox(max_messages=60, **kept),
        )

    def _subscribe(self, client: Client, qos: rmqtt.QoS) -> Subscription:
        return client.subscribe(f"down/{self._orders.name}/{qos}/+", qos=qos, ack=self._orders.ack, maxsize=30)

    def _complain(self, context: dict[str, Any]) -> None:
        about = f"{context['message']!r} {context.get('exception')!r}"
        self._journal.write("complaint", about.replace("\t", " "))

    async def _all_end(self, tasks: list[asyncio.Task[None]]) -> None:
        waiting, heard = set(tasks), -1
        # On a busy machine the last minutes may still be on their way: as long as anything comes, nothing hangs.
        while waiting and heard != self._heard:
            heard = self._heard
            _, waiting = await asyncio.wait(waiting, timeout=PATIENCE)
        for task in waiting:
            self._journal.write("complaint", f"still waits: {task.get_name()} {task.get_stack(limit=3)}")
        for task in set(tasks) - waiting:
            task.result()

    async def _watch(self, events: AsyncIterator[rmqtt.Event]) -> None:
        async for event in events:
            if isinstance(event, rmqtt.Disconnected):
                self._journal.write("cut", str(event.error))
            is_over = isinstance(event, rmqtt.Disconnected) and event.retry_in is None
            # Both brokers keep the session for the whole run.
            if isinstance(event, rmqtt.SessionForgotten) or (is_over and not self._asked_to_end.is_set()):
                self._complain({"message": event})

    # ---- publishing -----------------------------------------------------------------------------

    async def _publish(self, client: Client, qos: rmqtt.QoS, way: str, number: int) -> None:
        topic = f"up/{self._orders.name}/{qos}/{way}"
        waiting: deque[asyncio.Task[None]] = deque()
        while not self._asked_to_end.is_set():
            burst = range(number, number := number + self._dice.randrange(1, 12))
            if way == "many":
                await self._many(client, topic, burst, qos)
            else:
                for one in burst:
                    begin = self._each if way == "each" else self._nowait
                    waiting.append(asyncio.create_task(begin(client, topic, one, qos)))
                while len(waiting) > 20:
                    await waiting.popleft()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._asked_to_end.wait(), self._dice.uniform(0.05, 0.5))
        await asyncio.gather(*waiting)

    async def _each(self, client: Client, topic: str, number: int, qos: rmqtt.QoS) -> None:
        """Publish; and give up waiting, or set a time limit, now and then."""
        self._journal.write("asked", topic, number)
        limit, patience = self._dice.choice(
            ((None, None),) * 4 + ((self._dice.random(), None), (None, self._dice.random()))
        )
        operation = client.publish(topic, payload_of(number), qos=qos, timeout=limit)
        try:
            await asyncio.wait_for(operation, patience)
        except TimeoutError:
            self._journal.write("unknown", topic, number)
        else:
            self._journal.write("taken", topic, number)

    async def _nowait(self, client: Client, topic: str, number: int, qos: rmqtt.QoS) -> None:
        """Publish if there is room; and take it back now and then."""
        self._journal.write("asked", topic, number)
        try:
            receipt = client.publish_nowait(topic, payload_of(number), qos=qos)
        except rmqtt.QueueFull:
            self._journal.write("withdrawn", topic, number)
            return
        if self._dice.random() < 0.1:
            for _ in range(self._dice.randrange(5)):
                await asyncio.sleep(0)
            receipt.cancel()
        try:
            await receipt
        except asyncio.CancelledError:
            self._journal.write("withdrawn" if receipt.state == "withdrawn" else "unknown", topic, number)
        else:
            self._journal.write("taken", topic, number)

    async def _many(self, client: Client, topic: str, burst: range, qos: rmqtt.QoS) -> None:
        """Publish many at once; and give up now and then."""
        self._journal.write("asked", topic, *burst)
        items = [(topic, payload_of(number)) for number in burst]
        patience = self._dice.choice((None, None, None, self._dice.random()))
        try:
            result = await asyncio.wait_for(client.publish_many(items, qos=qos, window=8), patience)
        except TimeoutError:
            self._journal.write("unknown", topic, *burst)
        else:
            if result.failed:
                self._complain({"message": result})
            self._journal.write("taken", topic, *burst)

    # ---- receiving ------------------------------------------------------------------------------

    async def _receive(self, qos: rmqtt.QoS, messages: Subscription) -> None:
        """Receive in the way of this QoS, giving up and beginning again, until the last messages are there."""
        stream = aiter(messages)
        held: list[Message] = []
        # None ends before all do: what it has not acknowledged would stand in the way of the others.
        while not self._is_complete():
            came: list[Message] = []
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._dice.choice((0.001, 0.1, 0.5))):
                    if qos == 0:
                        came = await messages.get_many(8, max_wait=0.01)
                    else:
                        came = [await (anext(stream) if qos == 1 else messages.get())]
            self._heard += len(came)
            for message in came:
                number = number_of(message.payload)
                self._journal.write("got" if number >= 0 else "garbled", message.topic, number)
                self._latest[message.topic] = max(self._latest[message.topic], number)
            if self._orders.ack == "manual":
                held += came
                # Also when none came: what is held back long enough holds back everything.
                if len(held) > self._dice.randrange(6):
                    self._dice.shuffle(held)
                    while held:
                        held.pop().ack()
        for message in held:
            message.ack()

    def _is_complete(self) -> bool:
        ends = {} if self._ends is None else {topic: end for topic, end in self._ends.items() if "/0/" not in topic}
        return bool(ends) and all(self._latest[topic] >= end for topic, end in ends.items())


def main() -> None:
    """Run as it is told on the command line."""
    orders = Orders(**json.loads(sys.argv[1]))
    # Not closed before the process ends: the last complaints come while things are collected.
    asyncio.run(Roamer(orders, Journal(Path(orders.journal), orders.began)).run())


if __name__ == "__main__":
    main()
