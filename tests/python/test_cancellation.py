"""What cancelling means for each operation: nothing is lost, nothing happens twice, nobody needs `shield`."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import random
import time
from typing import TYPE_CHECKING, Any

import pytest
import rmqtt
from held_broker import CONNECT, GUARD, SUBSCRIBE, UNSUBSCRIBE, HeldBroker, held_client
from loops import on_every_loop, run, until

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable


async def cancel(awaitable: Awaitable[Any], *, turns: int = 1) -> None:
    """Begin to wait for something, and cancel that after some turns of the loop."""
    task = asyncio.ensure_future(awaitable)
    for _ in range(turns):
        await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


@on_every_loop
async def test_a_publish_cancelled_while_it_waits_for_the_window_is_withdrawn() -> None:
    async with held_client(receive_maximum=1) as (broker, client):
        first = client.publish("a", b"first", qos=1)
        await broker.saw(lambda broker: broker.held == 1)
        await cancel(client.publish("a", b"withdrawn", qos=1))
        third = client.publish("a", b"third", qos=1)
        broker.release_from_now_on()
        await asyncio.gather(first, third)
        assert [published.payload for published in broker.published] == [b"first", b"third"]


@on_every_loop
async def test_a_publish_with_a_time_limit_cancelled_while_it_waits_for_the_window_is_withdrawn() -> None:
    async with held_client(receive_maximum=1) as (broker, client):
        first = client.publish("a", b"first", qos=1, timeout=60)
        await broker.saw(lambda broker: broker.held == 1)
        await cancel(client.publish("a", b"withdrawn", qos=1, timeout=60))
        third = client.publish("a", b"third", qos=1, timeout=60)
        broker.release_from_now_on()
        await asyncio.gather(first, third)
        assert [published.payload for published in broker.published] == [b"first", b"third"]


@pytest.mark.parametrize("qos", [1, 2])
@on_every_loop
async def test_a_publish_cancelled_on_its_way_is_finished_in_the_background(qos: Any) -> None:
    async with held_client(receive_maximum=1) as (broker, client):
        operation: Any = client.publish("a", b"1", qos=qos)
        await broker.saw(lambda broker: broker.held == 1)
        await cancel(operation)
        following = client.publish("a", b"2", qos=qos)
        assert len(broker.published) == 1
        broker.release_from_now_on()
        await following
        assert [published.payload for published in broker.published] == [b"1", b"2"]
    assert client.stats().in_flight == 0


@on_every_loop
async def test_a_task_cancelled_with_a_publish_on_its_way_hears_of_it_once() -> None:
    async with held_client() as (broker, client):
        steps: list[str] = []

        async def work() -> None:
            try:
                await client.publish("a", b"1", qos=1)
            except asyncio.CancelledError:
                steps.append("cancelled")
                await client.publish("a", b"2", qos=0)
                steps.append("cleaned up")
                raise

        task = asyncio.create_task(work())
        await broker.saw(lambda broker: broker.held == 1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert steps == ["cancelled", "cleaned up"]


@on_every_loop
async def test_cancelling_the_wait_for_a_message_takes_none(broker: rmqtt.Broker) -> None:
    async with rmqtt.Client(broker.url) as client, client.subscribe("a", qos=1) as messages:
        stream = aiter(messages)
        for turns in range(5):
            await cancel(anext(stream), turns=turns)
            await cancel(messages.get(), turns=turns)
        for n in range(5):
            await client.publish("a", str(n), qos=1)
        assert [(await anext(stream)).text() for _ in range(5)] == list("01234")


@on_every_loop
async def test_messages_that_were_gathered_are_handed_out_although_the_client_has_failed() -> None:
    with HeldBroker() as broker:
        async with (
            rmqtt.Client(broker.url, reconnect=None) as client,
            client.subscribe("a") as messages,
        ):
            broker.send("a", b"1")
            await until(lambda: messages.pending == 1)
            gathering = asyncio.ensure_future(messages.get_many(10, max_wait=60))
            await until(lambda: messages.pending == 0)
            broker.cut()
            assert [message.payload for message in await asyncio.wait_for(gathering, 10)] == [b"1"]
            for _ in range(2):
                with pytest.raises(rmqtt.ConnectionLost):
                    await messages.get_many(10, max_wait=60)


@on_every_loop
async def test_messages_that_were_gathered_are_handed_out_by_the_next_call_when_this_one_is_cancelled(
    broker: rmqtt.Broker,
) -> None:
    async with rmqtt.Client(broker.url) as client, client.subscribe("a", qos=1) as messages:
        for n in range(3):
            await client.publish("a", str(n), qos=1)
        await until(lambda: messages.pending == 3)
        for _ in range(2):
            gathering = asyncio.ensure_future(messages.get_many(10, max_wait=60))
            await asyncio.sleep(0)
            assert messages.pending == 0
            gathering.cancel()
            with pytest.raises(asyncio.CancelledError):
                await gathering
        async with asyncio.timeout(10):
            assert [message.text() for message in await messages.get_many(2)] == ["0", "1"]
            assert [message.text() for message in await messages.get_many(2)] == ["2"]


@pytest.mark.parametrize("seed", range(5))
def test_no_message_is_lost_or_doubled_when_the_waits_for_it_are_cancelled_at_random(
    seed: int, broker: rmqtt.Broker
) -> None:
    count = 300
    dice = random.Random(seed)

    async def main() -> list[int]:
        received: list[int] = []
        async with rmqtt.Client(broker.url) as client, client.subscribe("a", qos=1) as messages:
            stream = aiter(messages)

            async def take(*, by_get: bool) -> None:
                one = await messages.get() if by_get else await anext(stream)
                received.append(int(one.text()))

            async def consume() -> None:
                while len(received) < count:
                    task = asyncio.create_task(take(by_get=dice.random() < 0.5))
                    for _ in range(dice.randrange(4)):
                        await asyncio.sleep(0)
                    if dice.random() < 0.5:
                        task.cancel()
                    with contextlib.suppress(asyncio.CancelledError):
                        await task

            async with asyncio.timeout(30), asyncio.TaskGroup() as group:
                group.create_task(consume())
                for n in range(count):
                    await client.publish("a", str(n), qos=1)
        return received

    assert run(main()) == list(range(count))


@on_every_loop
async def test_cancelling_inside_the_loop_body_leaves_the_message_for_the_next_session(broker: rmqtt.Broker) -> None:
    session: dict[str, Any] = {"client_id": "worker", "clean_start": False, "session_expiry": 60}
    async with rmqtt.Client(broker.url) as publisher:
        at_work = asyncio.Event()

        async def work() -> None:
            async with rmqtt.Client(broker.url, **session) as client, client.subscribe("jobs", qos=1) as jobs:
                async for _ in jobs:
                    at_work.set()
                    await asyncio.Event().wait()

        task = asyncio.create_task(work())
        await until(lambda: "worker" in broker.sessions and "jobs" in broker.sessions["worker"].subscriptions)
        await publisher.publish("jobs", b"1", qos=1)
        await asyncio.wait_for(at_work.wait(), 10)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        waiting = broker.sessions["worker"]
        assert waiting.queued_messages + waiting.in_flight == 1

        async with rmqtt.Client(broker.url, **session) as client, client.subscribe("jobs", qos=1) as jobs:
            again = await asyncio.wait_for(jobs.get(), 10)
            assert again.payload == b"1"


@on_every_loop
async def test_a_message_that_was_processed_does_not_come_again(broker: rmqtt.Broker) -> None:
    session: dict[str, Any] = {"client_id": "worker", "clean_start": False, "session_expiry": 60}
    async with rmqtt.Client(broker.url) as publisher:
        async with rmqtt.Client(broker.url, **session) as client, client.subscribe("jobs", qos=1) as jobs:
            await publisher.publish("jobs", b"1", qos=1)
            async for job in jobs:
                assert job.payload == b"1"
                break
        assert broker.sessions["worker"].queued_messages == 0
        assert broker.sessions["worker"].in_flight == 0


@on_every_loop
async def test_cancelling_a_connect_leaves_no_connection() -> None:
    with HeldBroker(hold=(CONNECT,)) as broker:
        client = rmqtt.Client(broker.url)
        task = asyncio.create_task(client.__aenter__())
        await broker.saw(lambda broker: broker.held == 1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await broker.saw(lambda broker: broker.disconnected == 1)


@on_every_loop
async def test_a_timeout_around_a_connect_leaves_no_connection() -> None:
    with HeldBroker(hold=(CONNECT,)) as broker:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.01), rmqtt.Client(broker.url):
                pass
        await broker.saw(lambda broker: broker.disconnected == broker.accepted)


@on_every_loop
async def test_connecting_a_client_that_nobody_holds_fails_for_its_own_reason() -> None:
    with HeldBroker(hold=(CONNECT,)) as broker:
        task = asyncio.ensure_future(rmqtt.Client(broker.url, version="3.1.1").connect())
        await broker.saw(lambda broker: broker.held == 1)
        gc.collect()
        broker.cut()
        with pytest.raises(rmqtt.ConnectionLost):
            await task


@pytest.mark.parametrize("is_cut", [False, True])
@on_every_loop
async def test_cancelling_a_connect_that_has_just_come_up_ends_the_client(is_cut: bool) -> None:
    with HeldBroker(hold=(CONNECT,)) as broker:
        client = rmqtt.Client(broker.url, reconnect=rmqtt.Reconnect(initial=60))
        task = asyncio.create_task(client.__aenter__())
        await broker.saw(lambda broker: broker.held == 1)
        # From here on the loop does not run, so the task does not hear that the connection is up.
        broker.release_from_now_on()
        look_until(lambda: client.stats().connected)
        if is_cut:
            broker.cut()
            look_until(lambda: not client.stats().connected)
        task.cancel()
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        with pytest.raises(rmqtt.Closed):
            _ = client.publish("a")
        await broker.saw(lambda broker: broker.disconnected == 1)


def look_until(true: Callable[[], bool]) -> None:
    """Keep the loop from running until something is true."""
    end = time.monotonic() + GUARD
    while not true():
        assert time.monotonic() < end, "looked in vain"


@on_every_loop
async def test_cancelling_a_subscribe_leaves_the_client_usable_and_unsubscribed() -> None:
    async with held_client(hold=(SUBSCRIBE,)) as (broker, client):
        task = asyncio.create_task(client.subscribe("a", qos=1).__aenter__())
        await broker.saw(lambda broker: broker.held == 1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        broker.release_from_now_on()
        # The broker will have granted it: the client must take it back.
        await broker.saw(lambda broker: UNSUBSCRIBE in broker.packets)
        async with client.subscribe("b", qos=1):
            await client.publish("a", b"1", qos=1)


@on_every_loop
async def test_a_cancelled_close_still_closes() -> None:
    with HeldBroker() as broker:
        client = rmqtt.Client(broker.url)
        await client.connect()
        pending = asyncio.ensure_future(client.publish("a", b"1", qos=1))
        await broker.saw(lambda broker: broker.held == 1)
        await cancel(client.close(timeout=0.05))
        with pytest.raises(rmqtt.MqttError):
            await asyncio.wait_for(pending, 10)
        await broker.saw(lambda broker: broker.disconnected == 1)


@on_every_loop
async def test_serving_ends_when_it_is_cancelled_and_takes_the_port_with_it() -> None:
    broker = rmqtt.Broker("mqtt://127.0.0.1:0")
    task = asyncio.create_task(broker.serve())
    await until(lambda: task.done() or is_running(broker))
    url = broker.url
    async with rmqtt.Client(url) as client:
        await client.publish("a", b"1", qos=1)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asyncio.wait_for(task, 10)
    with pytest.raises(rmqtt.ConnectFailed):
        await rmqtt.Client(url).__aenter__()


def is_running(broker: rmqtt.Broker) -> bool:
    try:
        return bool(broker.urls)
    except rmqtt.BrokerError:
        return False
