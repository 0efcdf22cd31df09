"""Every message, for every subscriber it matched, has become exactly one thing."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest
import rmqtt
from held_broker import GUARD
from raw_peer import RawPeer
from rmqtt import testing


@pytest.fixture
def broker() -> Iterator[rmqtt.Broker]:
    with rmqtt.Broker("mqtt://127.0.0.1:0", ledger=True, limits=rmqtt.Limits(queue_messages_max=4)) as running:
        yield running
        running.ledger.assert_balanced()


def counts(broker: rmqtt.Broker) -> dict[str, int]:
    return {outcome: count for outcome, count in broker.ledger.counts.items() if count}


def absent(broker: rmqtt.Broker, client_id: str, *filters: str) -> None:
    with RawPeer.connected(broker.port, client_id) as peer:
        peer.subscribe(*filters)
        peer.leave()


def test_a_broker_keeps_no_ledger_unless_asked() -> None:
    with pytest.raises(rmqtt.BrokerError, match="ledger=True"):
        _ = rmqtt.Broker().ledger


def test_what_nobody_subscribed_to_is_not_in_it(broker: rmqtt.Broker) -> None:
    broker.publish_now("a", qos=1)
    assert counts(broker) == {}


def test_messages_are_delivered_acknowledged_and_on_their_way(broker: rmqtt.Broker) -> None:
    with RawPeer.connected(broker.port, "valve") as valve, RawPeer.connected(broker.port, "other") as other:
        valve.subscribe("a")
        other.subscribe("b")
        broker.publish_now("a", b"0")
        valve.hear(rmqtt.Publish)
        assert counts(broker) == {"delivered": 1}
        broker.publish_now("a", b"1", qos=1)
        first = valve.hear(rmqtt.Publish)
        broker.publish_now("a", b"2", qos=2)
        second = valve.hear(rmqtt.Publish)
        assert counts(broker) == {"delivered": 1, "queued": 2}
        valve.say(rmqtt.PubAck(packet_id=first.packet_id or 0), rmqtt.PubRec(packet_id=second.packet_id or 0))
        valve.hear(rmqtt.PubRel)
        assert counts(broker) == {"delivered": 1, "acknowledged": 1, "queued": 1}
        valve.say(rmqtt.PubComp(packet_id=second.packet_id or 0))
        valve.ping()
        assert counts(broker) == {"delivered": 1, "acknowledged": 2}
        assert broker.ledger.by_client == {"valve": {"delivered": 1, "acknowledged": 2}}


def test_what_is_dropped_has_its_reason(broker: rmqtt.Broker) -> None:
    absent(broker, "valve", "a")
    broker.publish_now("a", b"")
    for _ in range(6):
        broker.publish_now("a", b"", qos=1)
    assert counts(broker) == {"dropped": 3, "queued": 4}
    assert broker.ledger.reasons == {"QoS 0 for an absent client": 1, "queue full": 2}
    entries = broker.ledger.entries(topic="a", client="valve")
    assert [entry.outcome for entry in entries] == ["dropped"] * 3 + ["queued"] * 4
    assert broker.ledger.entries(topic="b") == broker.ledger.entries(client="pump") == []
    with RawPeer.connected(broker.port, "valve", clean_start=True):
        assert broker.ledger.reasons["session ended"] == 4
    assert "4: session ended" in repr(broker.ledger)


def test_what_is_too_large_is_dropped(broker: rmqtt.Broker) -> None:
    peer = RawPeer(broker.port)
    peer.say(rmqtt.Connect(client_id="small", maximum_packet_size=50))
    peer.hear(rmqtt.ConnAck)
    peer.subscribe("a")
    for qos in (0, 1):
        broker.publish_now("a", bytes(100), qos=qos)
    peer.ping()
    assert counts(broker) == {"dropped": 2}
    assert broker.ledger.reasons == {"too large for the client": 2}
    peer.close()


def test_what_is_too_late_has_expired() -> None:
    clock = testing.Clock()
    with rmqtt.Broker("mqtt://127.0.0.1:0", ledger=True, clock=clock) as broker:
        absent(broker, "valve", "a")
        broker.publish_now("a", b"late", qos=1, expiry=60)
        clock.advance(61)
        with RawPeer.connected(broker.port, "valve") as valve:
            valve.ping()
            assert counts(broker) == {"expired": 1}
            broker.ledger.assert_balanced()


def test_retained_messages_for_a_new_subscription_are_in_it(broker: rmqtt.Broker) -> None:
    for number in range(3):
        broker.publish_now(f"a/{number}", b"1", retain=True)
    with RawPeer.connected(broker.port, "valve") as valve:
        valve.subscribe("a/#")
        for _ in range(3):
            valve.hear(rmqtt.Publish)
        assert counts(broker) == {"delivered": 3}


def test_a_group_counts_as_one_subscriber(broker: rmqtt.Broker) -> None:
    with RawPeer.connected(broker.port, "one") as one, RawPeer.connected(broker.port, "two") as two:
        one.subscribe("$share/g/a", qos=1)
        two.subscribe("$share/g/a", qos=1)
        for _ in range(2):
            broker.publish_now("a", b"", qos=1)
        first = one.hear(rmqtt.Publish)
        two.hear(rmqtt.Publish)
        one.say(rmqtt.PubAck(packet_id=first.packet_id or 0))
        one.ping()
        assert counts(broker) == {"acknowledged": 1, "queued": 1}
        one.leave()
        two.leave()
    broker.publish_now("a", b"")
    assert counts(broker) == {"acknowledged": 1, "queued": 1, "dropped": 1}


def test_it_balances_over_take_over_restart_crash_and_restore(broker: rmqtt.Broker) -> None:
    absent(broker, "valve", "a")
    for _ in range(3):
        broker.publish_now("a", b"", qos=2)
    snapshot = broker.snapshot()
    with RawPeer.connected(broker.port, "valve") as valve:
        valve.hear(rmqtt.Publish)
        with RawPeer.connected(broker.port, "valve") as successor:
            successor.hear(rmqtt.Publish)
            broker.ledger.assert_balanced()
    assert counts(broker) == {"queued": 3}
    broker.stop()
    broker.start()
    broker.crash(keep="acknowledged")
    broker.start()
    assert counts(broker) == {"queued": 3}
    broker.restore(snapshot)
    assert counts(broker) == {"dropped": 3, "queued": 3}
    broker.crash(keep="nothing")
    assert broker.ledger.reasons == {"state replaced": 3, "lost by a crash": 3}
    broker.start()


def test_an_imbalance_is_shown_with_both_sides() -> None:
    class Native:
        def balance(self) -> dict[str, Any]:
            ended = [("valve", "delivered", "written", 2), (None, "dropped", "queue full", 1)]
            return {"routed": 5, "retained": 0, "restored": 0, "queued": 1, "difference": 1, "ended": ended}

    ledger = testing.Ledger(Native())  # type: ignore[arg-type]
    assert not ledger.balanced()
    with pytest.raises(AssertionError) as caught:
        ledger.assert_balanced()
    assert str(caught.value).splitlines() == [
        "the ledger does not balance: 1 too few have ended or are queued",
        "  came in:",
        "    5 routed",
        "  became:",
        "    2 delivered",
        "    1 queued",
        "    1 dropped",
        "      1: queue full",
    ]


async def test_it_balances_under_traffic(broker: rmqtt.Broker) -> None:
    options: dict[str, Any] = {"clean_start": False, "session_expiry": 1000}
    async with (
        asyncio.timeout(GUARD),
        rmqtt.Client(broker.url, client_id="valve", **options) as valve,
        valve.subscribe("a", qos=2, maxsize=1000) as messages,
        rmqtt.Client(broker.url, client_id="pump", **options) as pump,
    ):
        for qos in (0, 1, 2):
            await asyncio.gather(*(pump.publish("a", str(number), qos=qos) for number in range(200)))
            broker.ledger.assert_balanced()
        for _ in range(400):
            await messages.get()
    broker.ledger.assert_balanced()
