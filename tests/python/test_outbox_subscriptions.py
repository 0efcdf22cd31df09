"""Subscriptions outlive the process with `Outbox(path=...)`: what comes waits until the next program asks for it."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest
import rmqtt
from held_broker import GUARD
from rmqtt.testing import Clock

if TYPE_CHECKING:
    from pathlib import Path

KEPT: dict[str, Any] = {"client_id": "meter", "clean_start": False, "session_expiry": 10**8, "keep_alive": 0}

#: Takes messages, says the number of each when it is processed, and acknowledges it then.
READER = """
import asyncio, sys, rmqtt
async def main(url, path, window):
    client = rmqtt.Client(url, client_id="meter", clean_start=False, session_expiry=3600, receive_maximum=window,
                          outbox=rmqtt.Outbox(path=path))
    async with client, client.subscribe("n", qos=2) as messages:
        print("connected", flush=True)
        async for message in messages:
            print(int(message.payload), flush=True)
asyncio.run(main(sys.argv[1], sys.argv[2], int(sys.argv[3])))
"""

#: Changes what it has subscribed to, says so to the broker, before which all of it is on the disk, and does no more.
UPDATER = """
import asyncio, sys, rmqtt
async def main(url, path):
    client = rmqtt.Client(url, client_id="meter", clean_start=False, session_expiry=3600,
                          outbox=rmqtt.Outbox(path=path))
    async with client, client.subscribe("a", "b", qos=1) as messages:
        await messages.update("b", "c", qos=2, retain_as_published=True)
        await client.publish("updated", qos=1)
        print("updated", flush=True)
        await asyncio.get_running_loop().create_future()
asyncio.run(main(*sys.argv[1:]))
"""


def options(path: Path, **more: Any) -> dict[str, Any]:
    return {**KEPT, "outbox": rmqtt.Outbox(path=path), **more}


async def leave_subscribed(broker: rmqtt.Broker, path: Path, *subscriptions: tuple[str, ...]) -> None:
    """Be a process that dies with these subscriptions."""
    client = broker.client(**options(path))
    await client.connect()
    held = [await client.subscribe(*filters, qos=2) for filters in subscriptions]
    await client.abort()
    del held


async def publish(broker: rmqtt.Broker, topic: str, *payloads: int) -> None:
    for payload in payloads:
        await broker.publish(topic, str(payload), qos=2)


async def take(subscription: rmqtt.Subscription, count: int) -> list[int]:
    return [int((await subscription.get()).payload) for _ in range(count)]


@pytest.mark.parametrize("window", [2, 100])
async def test_what_comes_waits_for_its_subscription_far_longer_than_what_nobody_knows(
    tmp_path: Path, window: int
) -> None:
    path = tmp_path / "outbox"
    async with asyncio.timeout(GUARD), rmqtt.Broker("mem://parked", clock=Clock()) as broker:
        await leave_subscribed(broker, path, ("a/#",))
        await publish(broker, "a/1", *range(5))
        async with broker.client(**options(path, receive_maximum=window)) as client:
            broker.clock.advance(50)
            async with client.subscribe("a/#", qos=2) as heard:
                assert await take(heard, 5) == list(range(5))


@pytest.mark.parametrize("window", [1, 2, 5])
async def test_what_nobody_knows_leaves_room_for_what_somebody_wants(tmp_path: Path, window: int) -> None:
    async with asyncio.timeout(GUARD), rmqtt.Broker("mem://unknown", clock=Clock()) as broker:
        earlier = broker.client(**KEPT)
        await earlier.connect()
        held = await earlier.subscribe("old", qos=2)
        await earlier.abort()
        del held
        await publish(broker, "old", *range(10))
        later = options(tmp_path / "outbox", receive_maximum=window)
        async with broker.client(**later) as client, client.subscribe("new", qos=2) as heard:
            await publish(broker, "new", 7)
            broker.clock.advance(11)
            assert await take(heard, 1) == [7]
            assert client.stats().dropped_unwanted == 10 - window // 2
        assert broker.sessions["meter"].in_flight == window // 2


async def test_what_nobody_asks_for_is_unsubscribed_and_let_go_of(tmp_path: Path) -> None:
    path = tmp_path / "outbox"
    async with asyncio.timeout(GUARD), rmqtt.Broker("mem://unclaimed", clock=Clock()) as broker:
        await leave_subscribed(broker, path, ("a", "b"), ("c",))
        await publish(broker, "a", 1)
        await publish(broker, "b", *range(5))
        async with broker.client(**options(path, receive_maximum=2)) as client:
            async with client.subscribe("a", qos=2) as heard:
                assert await take(heard, 1) == [1]
                broker.clock.advance(61)
                assert set(broker.sessions["meter"].subscriptions) == {"a"}
                await publish(broker, "a", 2)
                assert await take(heard, 1) == [2]
            assert client.stats().dropped_unwanted == 5
        # Nor does the next process hear of it.
        async with broker.client(**options(path)) as client:
            broker.clock.advance(1)
            assert broker.sessions["meter"].subscriptions == {}


async def test_each_filter_finds_whoever_asks_for_it_now(tmp_path: Path) -> None:
    path = tmp_path / "outbox"
    async with asyncio.timeout(GUARD), rmqtt.Broker("mem://regrouped", clock=Clock()) as broker:
        await leave_subscribed(broker, path, ("a/#", "b"), ("c",))
        await publish(broker, "a/1", 1)
        await publish(broker, "b", 2)
        await publish(broker, "c", 3)
        await publish(broker, "b", 4)
        async with broker.client(**options(path)) as client:
            broker.clock.advance(20)
            async with client.subscribe("b", "c", qos=2) as later, client.subscribe("a/#", qos=2) as earlier:
                assert await take(later, 3) == [2, 3, 4]
                assert await take(earlier, 1) == [1]
                await publish(broker, "a/1", 5)
                await publish(broker, "b", 6)
                assert await take(earlier, 1) == [5]
                assert await take(later, 1) == [6]
                assert (earlier.pending, later.pending) == (0, 0)


async def test_a_broker_that_lost_the_session_is_asked_again_before_the_program_asks(tmp_path: Path) -> None:
    path = tmp_path / "outbox"
    async with asyncio.timeout(GUARD):
        async with rmqtt.Broker("mem://lost-session", clock=Clock()) as broker:
            await leave_subscribed(broker, path, ("a",))
        async with (
            rmqtt.Broker("mem://lost-session", clock=Clock()) as broker,
            broker.client(**options(path)) as client,
        ):
            broker.clock.advance(0)
            assert set(broker.sessions["meter"].subscriptions) == {"a"}
            await publish(broker, "a", 1)
            async with client.subscribe("a", qos=2) as heard:
                assert await take(heard, 1) == [1]


async def test_what_was_unsubscribed_is_not_remembered(tmp_path: Path) -> None:
    path = tmp_path / "outbox"
    async with asyncio.timeout(GUARD), rmqtt.Broker("mem://unsubscribed", clock=Clock()) as broker:
        async with broker.client(**options(path)) as client, client.subscribe("a", qos=1):
            pass
        broker.clock.advance(0)
        async with broker.client(**options(path)):
            broker.clock.advance(0)
            assert broker.sessions["meter"].subscriptions == {}


async def test_an_update_is_remembered(tmp_path: Path) -> None:
    path = tmp_path / "outbox"
    async with asyncio.timeout(GUARD), rmqtt.Broker("mem://updated", clock=Clock()) as broker:
        client = broker.client(**options(path))
        await client.connect()
        held = await client.subscribe("a", "b", qos=2)
        await held.update("b", "c", qos=2)
        await client.abort()
        await publish(broker, "b", 1)
        await publish(broker, "c", 2)
        async with broker.client(**options(path)) as client:
            broker.clock.advance(20)
            assert set(broker.sessions["meter"].subscriptions) == {"b", "c"}
            async with client.subscribe("x", qos=2) as heard:
                await heard.update("c", "b", qos=2)
                assert await take(heard, 2) == [1, 2]


@pytest.mark.parametrize("has_session", [True, False])
async def test_what_was_updated_before_a_kill_is_what_is_restored(tmp_path: Path, *, has_session: bool) -> None:
    path = tmp_path / "outbox"
    with rmqtt.Broker("mqtt://127.0.0.1:0") as broker:
        arguments = [sys.executable, "-c", UPDATER, broker.url, os.fspath(path)]
        with subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True) as program:
            assert program.stdout is not None
            assert await asyncio.wait_for(asyncio.to_thread(program.stdout.readline), GUARD) == "updated\n"
            program.send_signal(signal.SIGKILL)
        assert broker.sessions["meter"].subscriptions == {"b": 2, "c": 2}
        if not has_session:
            broker.crash(keep="nothing")
            broker.start()
            assert not broker.sessions
        async with asyncio.timeout(GUARD), rmqtt.Client(broker.url, **options(path)) as client:
            # Before the program says a word: by what the file knows, where the broker knows nothing.
            while set(broker.sessions["meter"].subscriptions) != {"b", "c"}:
                await asyncio.sleep(0)
            assert broker.sessions["meter"].subscriptions == {"b": 2, "c": 2}
            for topic in "abc":
                await broker.publish(topic, topic, qos=2, retain=True)
            async with client.subscribe("b", "c", qos=2) as heard:
                messages = [await heard.get(), await heard.get()]
            assert [message.text() for message in messages] == ["b", "c"]
            assert all(message.retain for message in messages)


async def read_and_die(url: str, path: Path, window: int, count: int) -> list[int]:
    """Run a reader until it has processed so many messages, kill it, and return their numbers."""
    program = subprocess.Popen(
        [sys.executable, "-c", READER, url, os.fspath(path), str(window)], stdout=subprocess.PIPE, text=True
    )
    assert program.stdout is not None
    with program:
        lines = iter(program.stdout.readline, "")
        assert await asyncio.to_thread(next, lines) == "connected\n"
        numbers = [int(await asyncio.to_thread(next, lines)) for _ in range(count)]
        program.send_signal(signal.SIGKILL)
        return numbers + [int(line) for line in lines if line.endswith("\n")]


@pytest.mark.parametrize(("window", "total"), [(1, 20), (20, 100)])
async def test_a_killed_reader_loses_nothing_and_repeats_only_what_it_had_not_acknowledged(
    tmp_path: Path, window: int, total: int
) -> None:
    path = tmp_path / "outbox"
    with rmqtt.Broker("mqtt://127.0.0.1:0") as broker:
        # Each life is a program that has to start.
        async with asyncio.timeout(5 * GUARD):
            lives = [await read_and_die(broker.url, path, window, 0)]
            await publish(broker, "n", *range(total))
            while len({number for life in lives for number in life}) < total:
                seen = {number for life in lives for number in life}
                lives.append(await read_and_die(broker.url, path, window, min(total // 3, total - len(seen))))
    # In order, from where the one before was or a little earlier: by what was not acknowledged, which a window bounds.
    end = 0
    for life in lives:
        if life:
            assert life == list(range(life[0], life[0] + len(life)))
            assert end - window <= life[0] <= end
            end = life[-1] + 1
    assert end == total
