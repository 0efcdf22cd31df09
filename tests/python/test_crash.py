"""A broker that ends as if its power was cut, and comes back with its store or without."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
import rmqtt
from held_broker import GUARD
from raw_peer import RawPeer

WILL = rmqtt.WillMessage(topic="will", payload=b"gone")


@pytest.mark.parametrize("keep", ["nothing", "acknowledged"])
def test_nobody_is_told_and_no_will_is_published(keep: Any, broker: rmqtt.Broker) -> None:
    capture = broker.capture()
    with RawPeer.connected(broker.port, "pump", will=WILL) as pump, RawPeer(broker.port) as silent:
        broker.crash(keep=keep)
        assert pump.rest() == []
        assert silent.rest() == []
    assert not broker.is_running
    with broker:
        assert broker.clients == {}
    capture.assert_nothing("will")


def test_it_comes_back_at_the_same_port(broker: rmqtt.Broker) -> None:
    port, url = broker.port, broker.url
    for _ in range(3):
        broker.crash()
        with pytest.raises(OSError):
            RawPeer(port)
        broker.start()
        assert broker.url == url
        RawPeer.connected(port, "pump").close()


def test_without_a_store_everything_is_gone(broker: rmqtt.Broker) -> None:
    with RawPeer.connected(broker.port, "valve") as valve:
        valve.subscribe("a")
    broker.publish_now("a", b"1", qos=1, retain=True)
    broker.crash()
    with broker:
        assert (dict(broker.retained), dict(broker.sessions)) == ({}, {})
        assert broker.publish_now("a", b"2", qos=1) == 0
        with RawPeer.connected(broker.port, "valve") as valve:
            assert not valve.connack.session_present


def test_a_store_has_all_that_was_acknowledged(broker: rmqtt.Broker) -> None:
    with RawPeer.connected(broker.port, "valve") as valve, RawPeer.connected(broker.port, "pump") as pump:
        valve.subscribe("a/#", "b")
        for number in range(1, 4):
            pump.publish(f"a/{number}", str(number).encode(), qos=1, packet_id=number)
            pump.hear(rmqtt.PubAck)
        broker.publish_now("kept", b"1", retain=True)
        broker.crash(keep="acknowledged")
    with broker:
        assert broker.sessions["valve"].subscriptions == {"a/#": 2, "b": 2}
        assert broker.retained["kept"].payload == b"1"
        with RawPeer.connected(broker.port, "valve") as valve:
            assert valve.connack.session_present
            assert [valve.hear(rmqtt.Publish).payload for _ in range(3)] == [b"1", b"2", b"3"]


def test_qos_2_goes_on_where_it_was_in_both_directions(broker: rmqtt.Broker) -> None:
    with RawPeer.connected(broker.port, "valve") as valve, RawPeer.connected(broker.port, "pump") as pump:
        valve.subscribe("a")
        for number in (1, 2):
            pump.publish("a", str(number).encode(), qos=2, packet_id=number)
            pump.hear(rmqtt.PubRec)
        # One is released towards the valve, the other sent.
        first = valve.hear(rmqtt.Publish)
        second = valve.hear(rmqtt.Publish)
        valve.say(rmqtt.PubRec(packet_id=first.packet_id or 0))
        valve.hear(rmqtt.PubRel)
        broker.crash(keep="acknowledged")
    capture = broker.capture()
    with broker, RawPeer.connected(broker.port, "pump") as pump, RawPeer.connected(broker.port, "valve") as valve:
        pump.publish("a", b"1", qos=2, packet_id=1, dup=True)
        assert pump.hear(rmqtt.PubRec).packet_id == 1
        pump.say(rmqtt.PubRel(packet_id=1), rmqtt.PubRel(packet_id=2))
        assert [pump.hear(rmqtt.PubComp).reason_code for _ in range(2)] == [0, 0]
        assert valve.hear(rmqtt.PubRel).packet_id == first.packet_id
        again = valve.hear(rmqtt.Publish)
        assert (again.packet_id, again.payload, again.dup) == (second.packet_id, b"2", True)
        capture.assert_nothing("#")


def test_a_session_that_ends_with_its_connection_ends_by_the_crash(broker: rmqtt.Broker) -> None:
    peer = RawPeer(broker.port)
    peer.say(rmqtt.Connect(client_id="brief", clean_start=True))
    peer.hear(rmqtt.ConnAck)
    broker.crash(keep="acknowledged")
    peer.close()
    assert "brief" not in broker.sessions


def test_a_broker_crashes_only_while_it_runs(broker: rmqtt.Broker) -> None:
    with pytest.raises(ValueError, match="and must be 'nothing' or 'acknowledged'"):
        broker.crash(keep="everything")  # type: ignore[arg-type]
    broker.crash()
    with pytest.raises(rmqtt.BrokerError, match="not running"):
        broker.crash()
    broker.stop()


@pytest.mark.parametrize("keep", ["nothing", "acknowledged"])
async def test_a_client_survives_a_crash_and_loses_nothing_it_was_told_is_safe(keep: Any, broker: rmqtt.Broker) -> None:
    at_once = rmqtt.Reconnect(initial=0.01, factor=1, jitter="none")
    options: dict[str, Any] = {"clean_start": False, "session_expiry": 1000, "reconnect": at_once}
    got: list[int] = []
    told: set[int] = set()
    async with (
        asyncio.timeout(GUARD),
        rmqtt.Client(broker.url, client_id="valve", **options) as valve,
        valve.subscribe("a", qos=2) as messages,
        rmqtt.Client(broker.url, client_id="pump", **options) as pump,
    ):

        async def publish(number: int) -> None:
            await pump.publish("a", str(number), qos=2)
            told.add(number)

        async def get(count: int) -> None:
            got.extend([int((await messages.get()).text()) for _ in range(count)])

        tasks = [asyncio.create_task(publish(number)) for number in range(300)]
        await get(30)
        before = set(told)
        broker.crash(keep=keep)
        broker.start()
        await asyncio.gather(*tasks)
        if keep == "acknowledged":
            await get(300 - len(got))
            assert got == list(range(300))
    assert before <= told == set(range(300))
