"""Publishes that nobody awaits and the outbox has no room for: they keep their order, are sent, or are reported."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
import rmqtt
from held_broker import HeldBroker
from loops import on_every_loop

SMALL = rmqtt.Outbox(max_messages=4)


def payloads(broker: HeldBroker) -> list[int]:
    """Return what a broker was sent, in its order."""
    return [int(published.payload) for published in broker.published]


def let_go(operation: object) -> None:
    """Await nothing and keep nothing."""


@on_every_loop
async def test_what_nobody_awaited_is_sent_before_the_client_leaves() -> None:
    with HeldBroker(hold=()) as broker:
        async with rmqtt.Client(broker.url, outbox=SMALL) as client:
            for n in range(500):
                let_go(client.publish("a", str(n), qos=1))
        assert payloads(broker) == list(range(500))


@on_every_loop
async def test_what_nobody_awaited_and_was_not_sent_in_time_is_reported() -> None:
    reports: list[BaseException] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: reports.append(context["exception"]))
    with HeldBroker() as broker:
        client = rmqtt.Client(broker.url, outbox=SMALL)
        await client.connect()
        for n in range(10):
            let_go(client.publish("a", str(n), qos=1))
        await client.close(timeout=0.01)
    assert len(reports) == 10
    assert all(type(report) is rmqtt.Closed and "delivered" in str(report) for report in reports)


@pytest.mark.parametrize("how", ["abort", "exception"])
@on_every_loop
async def test_what_is_lost_with_a_client_that_is_cut_is_not_reported(how: str) -> None:
    with HeldBroker() as broker:
        client = rmqtt.Client(broker.url, outbox=SMALL)
        await client.connect()
        for n in range(10):
            let_go(client.publish("a", str(n), qos=1))
        if how == "abort":
            await client.abort()
        else:
            await client.__aexit__(ValueError, ValueError(), None)


@on_every_loop
async def test_aborting_ends_a_close_that_waits() -> None:
    with HeldBroker() as broker:
        client = rmqtt.Client(broker.url, outbox=SMALL)
        await client.connect()
        publishes = [asyncio.ensure_future(client.publish("a", str(n), qos=1)) for n in range(10)]
        closing = asyncio.ensure_future(client.close(timeout=60))
        await broker.saw(lambda broker: broker.held == 4)
        assert not closing.done()
        await client.abort()
        await asyncio.wait_for(closing, 10)
        assert all(type(publish.exception()) is rmqtt.Closed for publish in publishes)


@on_every_loop
async def test_draining_waits_for_what_the_outbox_had_no_room_for() -> None:
    with HeldBroker(receive_maximum=1) as broker:
        async with rmqtt.Client(broker.url, outbox=SMALL) as client:
            for n in range(50):
                let_go(client.publish("a", str(n), qos=1))
            draining = asyncio.ensure_future(client.drain(timeout=10))
            broker.release_from_now_on()
            await draining
            assert payloads(broker) == list(range(50))
            assert client.stats().acknowledged == 50


@on_every_loop
async def test_a_drain_that_is_late_says_so() -> None:
    with HeldBroker() as broker:
        async with rmqtt.Client(broker.url, outbox=SMALL) as client:
            for n in range(50):
                let_go(client.publish("a", str(n), qos=1))
            with pytest.raises(rmqtt.MqttTimeout, match="drain"):
                await client.drain(timeout=0.01)
            broker.release_from_now_on()


@pytest.mark.parametrize("seed", range(3))
@on_every_loop
async def test_publishes_with_a_time_limit_keep_the_order_of_the_program(seed: int) -> None:
    with HeldBroker(receive_maximum=1) as broker:
        async with rmqtt.Client(broker.url, outbox=SMALL) as client:
            for n in range(100):
                limit: Any = 60 if (n + seed) % 3 else None
                let_go(client.publish("a", str(n), qos=1, timeout=limit))
            broker.release_from_now_on()
        assert payloads(broker) == list(range(100))


@pytest.mark.parametrize("qos", [0, 1])
@on_every_loop
async def test_publishes_keep_their_order_while_the_full_outbox_empties(qos: Any, broker: rmqtt.Broker) -> None:
    count = 20_000
    async with (
        rmqtt.Client(broker.url) as receiver,
        receiver.subscribe("a", qos=1, maxsize=count + 1, ack="received") as messages,
        rmqtt.Client(broker.url, outbox=SMALL) as client,
    ):
        for n in range(count):
            let_go(client.publish("a", str(n), qos=qos))
        # A broker may drop messages of QoS 0, the last of them too, and never turns them round.
        let_go(client.publish("a", str(count), qos=1))
        await client.drain(timeout=30)
        received: list[int] = []
        while not received or received[-1] < count:
            received += [int(message.payload) for message in await messages.get_many()]
    assert received == sorted(received)
    assert qos == 0 or len(received) == count + 1


@on_every_loop
async def test_a_publish_that_ran_out_of_time_before_it_was_on_its_way_is_withdrawn() -> None:
    with HeldBroker(receive_maximum=1) as broker:
        async with rmqtt.Client(broker.url, outbox=SMALL) as client:
            let_go(client.publish("a", b"0", qos=1))
            await broker.saw(lambda broker: broker.held == 1)
            with pytest.raises(rmqtt.MqttTimeout, match="publish"):
                await client.publish("a", b"1", qos=1, timeout=0.01)
            # Behind the full outbox too.
            for n in range(2, 5):
                let_go(client.publish("a", str(n), qos=1))
            with pytest.raises(rmqtt.MqttTimeout, match="publish"):
                await client.publish("a", b"5", qos=0, timeout=0.01)
            with pytest.raises(rmqtt.MqttTimeout, match="publish"):
                await client.publish("a", b"6", qos=1, timeout=0.01)
            let_go(client.publish("a", b"7", qos=1))
            broker.release_from_now_on()
        assert payloads(broker) == [0, 2, 3, 4, 7]


@on_every_loop
async def test_a_publish_that_ran_out_of_time_on_its_way_runs_its_course() -> None:
    with HeldBroker() as broker:
        async with rmqtt.Client(broker.url) as client:
            with pytest.raises(rmqtt.MqttTimeout, match="publish"):
                await client.publish("a", b"0", qos=1, timeout=0.01)
            broker.release_from_now_on()
        assert payloads(broker) == [0]
        assert client.stats().acknowledged == 1
