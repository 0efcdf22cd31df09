"""Everything at once, from a seed: cancels, time-outs, groups and shields, with context variables checked throughout."""

from __future__ import annotations

import asyncio
import contextvars
import gc
import os
import random
import resource
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import rmqtt
from loops import on_every_loop, run

if TYPE_CHECKING:
    from collections.abc import Coroutine

who = contextvars.ContextVar("who", default=-1)
SEEDS = range(int(os.environ.get("RMQTT_SEEDS", "4")))


class Tortured:
    """Many tasks on one client; each knows who it is and finds out whether that is still so after every await."""

    def __init__(self, client: rmqtt.Client, seed: int) -> None:
        self.client = client
        self.dice = random.Random(seed)
        self.published = 0
        self.cancelled = 0
        self.completed = 0

    def publish(self) -> Any:
        self.published += 1
        return self.client.publish("torture", str(self.published), qos=self.dice.choice([0, 1, 1, 2]))

    async def one_step(self) -> None:
        steps = [
            self.plainly,
            self.gathered,
            self.with_a_timeout,
            self.with_a_wait_for,
            self.shielded,
            self.in_a_task_that_may_be_cancelled,
            self.begun_early,
            self.in_a_group,
        ]
        await self.dice.choice(steps)()

    async def plainly(self) -> None:
        await self.publish()

    async def gathered(self) -> None:
        await asyncio.gather(*(self.publish() for _ in range(5)))

    async def with_a_timeout(self) -> None:
        async with asyncio.timeout(self.dice.choice([0, 0.001, 10])):
            await self.publish()

    async def with_a_wait_for(self) -> None:
        await asyncio.wait_for(self.publish(), self.dice.choice([0, 0.001, 10]))

    async def shielded(self) -> None:
        await asyncio.shield(self.publish())

    async def in_a_task_that_may_be_cancelled(self) -> None:
        task = asyncio.create_task(self.publish())
        if self.dice.random() < 0.5:
            await asyncio.sleep(0)
            task.cancel()
        await task

    async def begun_early(self) -> None:
        operation = self.publish()
        if self.dice.random() < 0.5:
            await asyncio.sleep(0)
        await asyncio.gather(operation, self.publish(), return_exceptions=True)

    async def in_a_group(self) -> None:
        async with asyncio.TaskGroup() as group:
            for _ in range(3):
                group.create_task(self.publish())

    async def worker(self, number: int, steps: int) -> None:
        who.set(number)
        for _ in range(steps):
            try:
                await self.one_step()
                self.completed += 1
            except (TimeoutError, asyncio.CancelledError):
                self.cancelled += 1
            assert who.get() == number

    async def disturb(self, tasks: list[asyncio.Task[None]]) -> None:
        who.set(-2)
        while any(not task.done() for task in tasks):
            self.dice.choice(tasks).cancel()
            for _ in range(self.dice.randrange(10)):
                await asyncio.sleep(0)
            assert who.get() == -2

    async def run(self, workers: int, steps: int) -> None:
        tasks = [asyncio.create_task(self.worker(number, steps)) for number in range(workers)]
        await self.disturb(tasks)
        # A worker that was cancelled before its first step has not begun.
        for outcome in await asyncio.gather(*tasks, return_exceptions=True):
            assert outcome is None or isinstance(outcome, asyncio.CancelledError), outcome


@pytest.mark.parametrize("seed", SEEDS)
@on_every_loop
async def test_random_cancels_disturb_neither_contexts_nor_other_tasks(seed: int, broker: rmqtt.Broker) -> None:
    print(f"RMQTT_SEED={seed}")
    async with asyncio.timeout(50), rmqtt.Client(broker.url) as client:
        tortured = Tortured(client, seed)
        await tortured.run(workers=20, steps=15)
        assert tortured.completed
        await asyncio.wait_for(client.drain(), 10)
        # Nothing is stuck: every id and every place in the window came back.
        assert client.stats().in_flight == 0
        assert client.stats().queued_messages == 0
        await asyncio.gather(*(client.publish("after", b"", qos=2) for _ in range(100)))


def test_memory_does_not_grow_with_the_number_of_operations(broker: rmqtt.Broker) -> None:
    async def publish(client: rmqtt.Client, rounds: int) -> None:
        for _ in range(rounds):
            await asyncio.gather(*(client.publish("a", b"x" * 100, qos=1) for _ in range(500)))

    async def main() -> int:
        async with rmqtt.Client(broker.url) as client:
            await publish(client, 10)
            gc.collect()
            before = resident()
            await publish(client, 40)
            gc.collect()
            return resident() - before

    # 20,000 operations: 100 bytes left behind by each would be 2 MB.
    assert run(main()) < 2_000_000


def test_memory_does_not_grow_with_the_number_of_cancelled_operations(broker: rmqtt.Broker) -> None:
    async def publish_and_cancel(client: rmqtt.Client, rounds: int) -> None:
        for _ in range(rounds):
            operations: list[Any] = [client.publish("a", b"x" * 100, qos=1) for _ in range(500)]
            for operation in operations:
                operation.cancel()
            await client.drain()

    async def main() -> int:
        async with rmqtt.Client(broker.url) as client:
            await publish_and_cancel(client, 10)
            gc.collect()
            before = resident()
            await publish_and_cancel(client, 40)
            gc.collect()
            return resident() - before

    assert run(main()) < 2_000_000


def resident() -> int:
    """Bytes of memory that this process holds now."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


class Machine:
    """A client, calls in random order, and a model of what must be true."""

    def __init__(self, broker: rmqtt.Broker, seed: int) -> None:
        self.broker = broker
        self.dice = random.Random(seed)
        self.sent: dict[str, list[str]] = {}
        self.number = 0

    async def publisher(self, client: rmqtt.Client, topic: str, count: int) -> None:
        """Publish in order; what was awaited must arrive, what was cancelled may."""
        for _ in range(count):
            self.number += 1
            text = f"{self.number}"
            operation: Any = client.publish(topic, text, qos=self.dice.choice([1, 2]))
            if self.dice.random() < 0.2:
                if self.dice.random() < 0.5:
                    await asyncio.sleep(0)
                operation.cancel()
                continue
            await operation
            self.sent.setdefault(topic, []).append(text)

    async def subscriber(self, client: rmqtt.Client, topic: str, publishing: Coroutine[Any, Any, None]) -> None:
        """Subscribe, have messages published, and take all of them in small, often cancelled bites."""
        async with client.subscribe(topic, qos=2, maxsize=self.dice.choice([1, 3, 1000])) as messages:
            task = asyncio.create_task(publishing)
            received: list[str] = []
            while not task.done() or self.missing(topic, received):
                getting = asyncio.create_task(messages.get())
                await asyncio.wait(
                    {getting, task}, return_when=asyncio.FIRST_COMPLETED, timeout=self.dice.choice([0, 0.001])
                )
                if not getting.done():
                    getting.cancel()
                    await asyncio.wait({getting})
                if not getting.cancelled():
                    received.append(getting.result().text())
            await task
        assert received == sorted(received, key=int), "one publisher, one order"
        assert len(received) == len(set(received)), "nothing twice without a reconnect"

    def missing(self, topic: str, received: list[str]) -> bool:
        return not set(self.sent.get(topic, [])) <= set(received)

    async def life(self, number: int) -> None:
        for round_ in range(3):
            topic = f"{number}/{round_}"
            async with rmqtt.Client(self.broker.url) as client, rmqtt.Client(self.broker.url) as other:
                publishing = self.publisher(other, topic, self.dice.randrange(1, 40))
                await self.subscriber(client, topic, publishing)


@pytest.mark.parametrize("seed", SEEDS)
def test_random_calls_keep_the_order_and_lose_nothing(seed: int, broker: rmqtt.Broker) -> None:
    print(f"RMQTT_SEED={seed}")

    async def main() -> None:
        machine = Machine(broker, seed)
        async with asyncio.timeout(50):
            await asyncio.gather(*(machine.life(number) for number in range(5)))

    run(main())
