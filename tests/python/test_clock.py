"""The clock that a test moves: hours of a broker and of its clients in memory, in milliseconds."""

from __future__ import annotations

import asyncio
import threading
import time

import pytest
import rmqtt
from rmqtt.testing import Clock

HOURS = 3600


def test_two_hours_take_milliseconds() -> None:
    with rmqtt.Broker("mem://two-hours", clock=Clock()) as broker:
        began = time.perf_counter()
        broker.clock.advance(hours=2)
        assert broker.clock.now == 2 * HOURS
        assert time.perf_counter() - began < 1


def test_units_add_up_and_time_does_not_go_back() -> None:
    clock = Clock()
    clock.advance(1, minutes=1, hours=1, days=1)
    assert clock.now == 1 + 60 + HOURS + 24 * HOURS
    for wrong in (-1, float("nan"), float("inf")):
        with pytest.raises(ValueError, match="the time to advance by"):
            clock.advance(wrong)
    assert repr(clock) == "<Clock at 90061.000 s>"


def test_a_broker_without_a_clock_says_how_to_have_one() -> None:
    with pytest.raises(rmqtt.BrokerError, match=r"rmqtt\.testing\.Clock"):
        _ = rmqtt.Broker("mem://plain").clock


async def test_what_was_published_in_this_turn_of_the_loop_is_routed_before_the_clock_moves() -> None:
    async with rmqtt.Broker("mem://turn", clock=Clock()) as broker, broker.client() as client:
        with broker.capture() as capture:
            for number in range(1, 51):
                for _ in range(10):
                    await client.publish("t", "x")
                broker.clock.advance(1)
                assert len(capture.messages) == 10 * number


async def test_a_message_expires_after_two_virtual_hours() -> None:
    async with rmqtt.Broker("mem://expiry", clock=Clock()) as broker:
        kept = {"client_id": "kept", "session_expiry": 10 * HOURS}
        async with broker.client(**kept) as client:
            _held = await client.subscribe("t", qos=1)
        broker.clock.advance(0)  # the broker has heard the goodbye
        await broker.publish("t", "short", qos=1, expiry=2 * HOURS)
        await broker.publish("t", "long", qos=1, expiry=3 * HOURS)
        broker.clock.advance(hours=2)
        async with broker.client(**kept, clean_start=False) as client, client.subscribe("t", qos=1) as messages:
            message = await messages.get(timeout=5)
            assert message.text() == "long"
            assert message.properties.expiry == HOURS
            assert messages.get_nowait() is None


async def test_a_will_comes_after_its_delay_inside_of_a_running_loop() -> None:
    will = rmqtt.Will(topic="will", payload="gone", delay=90)
    async with (
        rmqtt.Broker("mem://will", clock=Clock()) as broker,
        broker.client() as watcher,
        watcher.subscribe("will") as wills,
    ):
        dying = broker.client(session_expiry=HOURS, will=will)
        await dying.connect()
        await dying.close(reason_code=rmqtt.ReasonCode.DISCONNECT_WITH_WILL)
        broker.clock.advance(89)
        assert wills.get_nowait() is None
        broker.clock.advance(1)
        message = wills.get_nowait()
        assert message is not None
        assert message.text() == "gone"


async def test_a_client_in_memory_reconnects_by_the_clock() -> None:
    async with rmqtt.Broker("mem://back", clock=Clock()) as broker:
        reconnect = rmqtt.Reconnect(initial=600, max=600, jitter="none")
        async with broker.client(client_id="back", reconnect=reconnect):
            await broker.disconnect("back")
            broker.clock.advance(599)
            assert "back" not in broker.clients
            await broker.clock.advance_async(1)
            assert "back" in broker.clients


async def test_the_loop_may_be_used_by_others_while_the_clock_is_awaited() -> None:
    async with rmqtt.Broker("mem://beside", clock=Clock()) as broker, broker.client() as client:
        steps = [broker.clock.advance_async(minutes=1) for _ in range(60)]
        results = await asyncio.gather(*steps, client.publish("t", "x", qos=1))
        assert results[-1] is not None
        assert broker.clock.now == HOURS


async def test_autojump_brings_what_is_waited_for() -> None:
    will = rmqtt.Will(topic="will", delay=HOURS)
    async with (
        rmqtt.Broker("mem://jump", clock=Clock()) as broker,
        broker.client(keep_alive=0) as watcher,
        watcher.subscribe("will") as wills,
    ):
        dying = broker.client(session_expiry=2 * HOURS, will=will)
        await dying.connect()
        broker.clock.autojump()
        await dying.close(reason_code=rmqtt.ReasonCode.DISCONNECT_WITH_WILL)
        await wills.get(timeout=10)
        broker.clock.autojump(on=False)
        assert broker.clock.now >= HOURS


def test_threads_may_move_one_clock() -> None:
    with rmqtt.Broker("mem://threads", clock=Clock()) as broker:
        threads = [threading.Thread(target=broker.clock.advance, args=(10,)) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert broker.clock.now == 80


def test_two_brokers_may_share_a_clock() -> None:
    clock = Clock()
    with rmqtt.Broker("mem://one", clock=clock) as one, rmqtt.Broker("mem://two", clock=clock) as two:
        for broker in (one, two):
            broker.publish_now("t", "x", retain=True, expiry=60)
        clock.advance(minutes=1)
        assert not one.retained
        assert not two.retained
