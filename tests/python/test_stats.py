"""What clients count and tell, from both faces."""

from __future__ import annotations

import asyncio

import pytest
import rmqtt
from held_broker import GUARD, HeldBroker
from loops import on_every_loop


@on_every_loop
async def test_a_client_tells_its_bounds_and_high_water_marks() -> None:
    with rmqtt.Broker("mqtt://127.0.0.1:0") as broker:
        outbox = rmqtt.Outbox(max_messages=77, max_bytes=1 << 20)
        async with rmqtt.Client(broker.url, outbox=outbox) as client:
            await asyncio.gather(*(client.publish("a", b"x", qos=1) for _ in range(10)))
            stats = client.stats()
    assert (stats.connects, stats.reconnects, stats.acknowledged, stats.dropped) == (1, 0, 10, 0)
    assert (stats.outbox_messages_max, stats.outbox_bytes_max) == (77, 1 << 20)
    assert stats.outbox_messages_high == 10
    assert 1 <= stats.in_flight_high <= 10
    assert stats.queued_messages == stats.in_flight == 0
    took = stats.round_trip
    assert took.count >= 1
    assert took.p50 is not None
    assert took.p99 is not None
    assert took.longest is not None
    assert 0 < took.p50 <= took.p99 <= took.longest < GUARD


def test_without_an_answer_there_is_no_round_trip() -> None:
    with rmqtt.Broker("mem://no-round-trip") as broker, rmqtt.SyncClient(broker.url) as client:
        assert client.stats().round_trip == rmqtt.RoundTrip(count=0, p50=None, p99=None, longest=None)


@on_every_loop
async def test_a_subscription_tells_what_it_dropped_and_the_client_whose_it_was() -> None:
    with rmqtt.Broker("mem://told-drops") as broker:
        async with rmqtt.Client(broker.url) as client, client.subscribe("a", maxsize=2) as messages:
            events = client.events()
            told = asyncio.ensure_future(anext(events))
            for n in range(5):
                await client.publish("a", str(n))
            event = await asyncio.wait_for(told, GUARD)
            assert isinstance(event, rmqtt.Dropped)
            assert event.filters == ("a",)
            while (stats := messages.stats()).received < 5:
                await asyncio.sleep(0)
            assert (stats.dropped, stats.pending, stats.pending_high, stats.pending_max) == (3, 2, 2, 2)
            assert stats.pending_bytes == 4
            assert client.stats().dropped_overflow == client.stats().dropped == 3


@on_every_loop
async def test_who_waits_for_a_connection_is_told_of_the_next_one() -> None:
    with HeldBroker() as broker:
        at_once = rmqtt.Reconnect(initial=0.01, factor=1, jitter="none")
        async with rmqtt.Client(broker.url, reconnect=at_once) as client:
            assert isinstance(await client.wait_connected(), rmqtt.Connected)
            events = client.events()
            gone = asyncio.ensure_future(anext(events))
            await asyncio.sleep(0)
            broker.cut()
            event = await asyncio.wait_for(gone, GUARD)
            assert isinstance(event, rmqtt.Disconnected)
            assert event.will_retry
            connected = await client.wait_connected(timeout=GUARD)
            assert connected.negotiated.client_id == client.negotiated.client_id


def test_who_waits_for_a_connection_in_vain_is_told_so() -> None:
    broker = rmqtt.Broker("mem://in-vain").start()
    slow = rmqtt.Reconnect(initial=60, jitter="none")
    with rmqtt.SyncClient(broker.url, reconnect=slow) as client:
        assert client.wait_connected(timeout=GUARD).negotiated.version == "5.0"
        broker.stop()
        for event in client.events(timeout=GUARD):
            if isinstance(event, rmqtt.Disconnected):
                break
        else:
            assert not client.stats().connected
        with pytest.raises(rmqtt.MqttTimeout):
            client.wait_connected(timeout=0.01)
        client.abort()
    with pytest.raises(rmqtt.Closed):
        client.wait_connected()
    with pytest.raises(rmqtt.NotConnected):
        rmqtt.SyncClient("mem://in-vain").wait_connected(timeout=GUARD)
