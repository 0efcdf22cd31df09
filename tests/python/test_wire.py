"""The log of all packets: what is in it, what is not, and waiting for it."""

from __future__ import annotations

import asyncio
import threading

import pytest
import rmqtt
from rmqtt.testing import Clock


async def test_the_log_shows_both_ways_in_order_with_virtual_times() -> None:
    async with rmqtt.Broker("mem://both-ways", clock=Clock(), wire=True) as broker:
        async with broker.client(client_id="sensor-1") as client:
            broker.clock.advance(1.5)
            await client.publish("plant/7", "21.5", qos=1)
        broker.clock.advance(0)
        lines = broker.wire.lines(client="sensor-*")
        said = [(line.direction, line.packet) for line in lines]
        assert said == [
            ("in", "CONNECT"),
            ("out", "CONNACK"),
            ("in", "PUBLISH"),
            ("out", "PUBACK"),
            ("in", "DISCONNECT"),
        ]
        assert str(lines[2]) == "  1.500 sensor-1 → PUBLISH plant/7 qos1 #1 23 B"
        assert str(lines[3]) == "  1.500 sensor-1 ← PUBACK #1 0x10 no matching subscribers 5 B"
        assert broker.wire.text(last=2).splitlines() == [str(line) for line in lines[-2:]]
        assert [line.packet for line in broker.wire.lines(topic="plant/#")] == ["PUBLISH", "PUBACK"]
        assert broker.wire[-1] == lines[-1]
        assert len(broker.wire) == 5
        assert "PUBLISH" in str(broker.wire.explain(lines[2]))


async def test_passwords_are_in_no_text() -> None:
    async with (
        rmqtt.Broker("mem://hushed", wire=True, auth={"me": "s3cret"}) as broker,
        broker.client(username="me", password="s3cret"),
    ):
        line = broker.wire.wait_for("CONNECT")[0]
        assert b"s3cret" in line.raw
        assert "s3cret" not in f"{line} {line!r} {broker.wire.text()} {broker.wire!r}"


async def test_what_faults_did_stands_there() -> None:
    async with rmqtt.Broker("mem://marked", wire=True) as broker, broker.client(client_id="c") as client:
        broker.faults.on("PUBLISH", topic="lost").drop()
        broker.faults.on("PUBLISH", topic="twice").duplicate()
        for topic in ("lost", "twice", "plain"):
            await client.publish(topic)
        lines = broker.wire.wait_for("PUBLISH", count=4)
        assert [(line.topic, line.note) for line in lines] == [
            ("lost", "dropped by fault"),
            ("twice", ""),
            ("twice", "duplicated by fault"),
            ("plain", ""),
        ]
        assert str(lines[0]).endswith("(dropped by fault)")


async def test_waiting_is_woken_by_the_packet() -> None:
    async with rmqtt.Broker("mem://woken", wire=True) as broker, broker.client() as client:
        waiting = asyncio.create_task(broker.wire.wait_for_async("publish", topic="t", timeout=20))
        await client.publish("t", "x")
        assert len(await waiting) == 1
        found: list[int] = []
        thread = threading.Thread(
            target=lambda: found.append(len(broker.wire.wait_for("PUBLISH", count=2, timeout=20)))
        )
        thread.start()
        await client.publish("t", "y")
        await asyncio.to_thread(thread.join)
        assert found == [2]


async def test_waiting_in_vain_says_what_was_there() -> None:
    async with rmqtt.Broker("mem://in-vain", wire=True) as broker, broker.client(client_id="c"):
        broker.wire.wait_for("CONNACK")
        with pytest.raises(rmqtt.MqttTimeout, match=r'0 of 1 PUBREC.*(?s:.*)CONNECT "c"'):
            broker.wire.wait_for("PUBREC", timeout=0)
        with pytest.raises(ValueError, match="one of CONNECT"):
            broker.wire.lines(packet="PUBLICH")
        with pytest.raises(ValueError, match="'both', 'in' or 'out'"):
            broker.wire.lines(direction="up")  # type: ignore[arg-type]


async def test_the_log_keeps_no_more_than_it_was_told() -> None:
    async with rmqtt.Broker("mem://short", wire=3) as broker, broker.client() as client:
        for number in range(10):
            await client.publish("t", str(number), qos=1)
        assert len(broker.wire) == 3
        broker.wire.clear()
        assert broker.wire.text() == ""


def test_a_broker_without_a_log_says_how_to_have_one() -> None:
    with pytest.raises(rmqtt.BrokerError, match="wire=True"):
        _ = rmqtt.Broker("mem://mute").wire
