"""Workers that share a subscription: each message to one of them, and none lost when one dies."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any

import pytest
import rmqtt
from held_broker import GUARD

if TYPE_CHECKING:
    from rmqtt._types import SharedStrategy

JOBS = "$share/workers/jobs/#"


async def worker(stack: contextlib.AsyncExitStack, url: str, **options: Any) -> tuple[rmqtt.Client, rmqtt.Subscription]:
    client = await stack.enter_async_context(rmqtt.Client(url, **options))
    return client, await stack.enter_async_context(client.subscribe(JOBS, qos=1))


async def who_gets(strategy: SharedStrategy, topics: list[str]) -> list[int]:
    """Ask three workers, one message after the other, which of them got it."""
    with rmqtt.Broker("mqtt://127.0.0.1:0", shared_strategy=strategy) as broker:
        async with asyncio.timeout(GUARD), contextlib.AsyncExitStack() as stack:
            got: asyncio.Queue[int] = asyncio.Queue()

            async def work(number: int, messages: rmqtt.Subscription) -> None:
                async for message in messages:
                    got.put_nowait(number)
                    del message

            tasks = []
            for number in range(3):
                _, messages = await worker(stack, broker.url)
                tasks.append(asyncio.create_task(work(number, messages)))
            who = []
            for topic in topics:
                assert await broker.publish(topic, b"", qos=1) == 1
                who.append(await got.get())
            assert got.empty()
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            return who


async def test_workers_take_turns_unless_told_otherwise() -> None:
    assert await who_gets("round_robin", ["jobs"] * 7) == [0, 1, 2, 0, 1, 2, 0]
    assert set(await who_gets("least_in_flight", ["jobs"] * 7)) == {0, 1, 2}
    assert set(await who_gets("random", ["jobs"] * 100)) == {0, 1, 2}


async def test_sticky_and_hash_stay_with_a_worker() -> None:
    assert await who_gets("sticky", ["jobs"] * 5) == [0] * 5
    topics = [f"jobs/{n}" for n in range(30)]
    who = await who_gets("hash", topics + topics)
    assert who[:30] == who[30:]
    assert set(who) == {0, 1, 2}


@pytest.mark.parametrize("version", ["5.0", "3.1.1"])
async def test_nothing_is_lost_when_one_of_three_workers_dies(version: str) -> None:
    with rmqtt.Broker("mqtt://127.0.0.1:0") as broker:
        async with asyncio.timeout(GUARD), contextlib.AsyncExitStack() as stack:
            done: set[bytes] = set()
            all_done = asyncio.Event()
            count = 300

            async def work(messages: rmqtt.Subscription) -> None:
                async for message in messages:
                    done.add(message.payload)
                    if len(done) == count:
                        all_done.set()

            dying, unread = await worker(stack, broker.url, version=version, reconnect=None)
            tasks = []
            for _ in range(2):
                _, messages = await worker(stack, broker.url, version=version)
                tasks.append(asyncio.create_task(work(messages)))
            for n in range(count // 2):
                await broker.publish("jobs", str(n), qos=1)
            # It has begun with one message and holds others when it dies: none was acknowledged.
            await unread.get()
            await dying.abort()
            for n in range(count // 2, count):
                await broker.publish("jobs", str(n), qos=1)
            await all_done.wait()
            assert done == {str(n).encode() for n in range(count)}
            assert broker.stats().messages_dropped_queue_full == 0
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)


def test_a_strategy_that_there_is_not_is_refused() -> None:
    with pytest.raises(ValueError, match="shared_strategy"):
        rmqtt.Broker(shared_strategy="fair")  # type: ignore[arg-type]
