"""Faults by plan: with our client in memory and on sockets, and what is refused."""

from __future__ import annotations

from typing import Any

import pytest
import rmqtt
from rmqtt.testing import Clock


@pytest.mark.parametrize("transport", ["tcp", "memory"])
async def test_a_lost_pubrec_is_survived(transport: str) -> None:
    async with rmqtt.Broker("mqtt://127.0.0.1:0") as broker, broker.client() as watcher:
        reconnect = rmqtt.Reconnect(initial=0.01, jitter="none")
        options: dict[str, Any] = {"client_id": "device", "session_expiry": 60, "reconnect": reconnect}
        device = rmqtt.Client(broker.url, **options) if transport == "tcp" else broker.client(**options)
        async with watcher.subscribe("t", qos=2) as messages, device:
            rule = broker.faults.on("PUBREC", client="device", direction="out").disconnect("fin")
            await device.publish("t", "once", qos=2, timeout=20)
            assert rule.hits == 1
            assert (await messages.get(timeout=20)).text() == "once"
            await device.publish("t", "after", qos=2, timeout=20)
            assert (await messages.get(timeout=20)).text() == "after"


async def test_a_half_open_link_is_found_by_keep_alive() -> None:
    async with rmqtt.Broker("mem://half-open", clock=Clock()) as broker:
        reconnect = rmqtt.Reconnect(initial=1, jitter="none")
        async with broker.client(client_id="device", keep_alive=10, reconnect=reconnect) as device:
            rule = broker.faults.on("PINGREQ", client="device").disconnect("half_open")
            broker.clock.advance(minutes=1)
            assert rule.hits == 1
            assert device.stats().connects == 2
            await device.publish("t", "back", qos=1)


async def test_a_refused_connect_thrice() -> None:
    async with rmqtt.Broker("mem://refused") as broker:
        rule = broker.faults.on(client="device").refuse(0x88, times=3)
        for _ in range(3):
            with pytest.raises(rmqtt.ConnectRefused) as refused:
                await broker.client(client_id="device", reconnect=None).connect()
            assert refused.value.reason_code == rmqtt.ReasonCode.SERVER_UNAVAILABLE
        async with broker.client(client_id="device"):
            assert rule.hits == 3


async def test_a_session_is_lost_at_the_next_connect() -> None:
    async with rmqtt.Broker("mem://forgetful") as broker:
        options = {"client_id": "device", "session_expiry": 600, "clean_start": False}
        async with broker.client(**options):
            pass
        broker.faults.on("CONNECT", client="device").lose_session()
        async with broker.client(**options) as device:
            assert not device.negotiated.session_present
        async with broker.client(**options) as device:
            assert device.negotiated.session_present


async def test_messages_are_dropped_by_topic_and_count() -> None:
    async with rmqtt.Broker("mem://dropped") as broker, broker.client() as client:
        rule = broker.faults.on("publish", topic="plant/#", direction="in", nth=2, times=2).drop()
        async with client.subscribe("#") as messages:
            for number in range(5):
                await client.publish("plant/7", str(number))
                await client.publish("other", str(number))
            got = [await messages.get(timeout=20) for _ in range(8)]
        assert [it.text() for it in got if it.topic == "plant/7"] == ["0", "3", "4"]
        assert rule.hits == 2


async def test_a_delay_goes_by_the_brokers_clock() -> None:
    async with (
        rmqtt.Broker("mem://delayed", clock=Clock()) as broker,
        broker.client() as client,
        client.subscribe("t") as messages,
    ):
        broker.faults.on("PUBLISH", direction="out").delay(30)
        await broker.publish("t", "late")
        broker.clock.advance(29)
        assert messages.get_nowait() is None
        broker.clock.advance(1)
        assert (await messages.get(timeout=20)).text() == "late"


def test_what_cannot_be_is_refused_with_the_choices() -> None:
    faults = rmqtt.Broker("mem://never-runs").faults
    with pytest.raises(ValueError, match="one of CONNECT, CONNACK, PUBLISH"):
        faults.on("PUBLICH")
    with pytest.raises(ValueError, match="'both', 'in'"):
        faults.on("PUBLISH", direction="up")  # type: ignore[arg-type]
    with pytest.raises(rmqtt.TopicError):
        faults.on("PUBLISH", topic="a/#/b")
    with pytest.raises(ValueError, match="nth is 0"):
        faults.on("PUBLISH", nth=0)
    with pytest.raises(ValueError, match="'rst', 'fin', 'half_open' or 'reason'"):
        faults.on().disconnect("bang")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="DISCONNECT can carry"):
        faults.on().disconnect("reason", 0x01)
    with pytest.raises(ValueError, match="CONNACK can carry"):
        faults.on().refuse(0)
    with pytest.raises(ValueError, match="make the rule on CONNECT"):
        faults.on("PUBLISH").refuse(0x88)
    with pytest.raises(ValueError, match="depth must be"):
        faults.on().reorder(0)
    with pytest.raises(ValueError, match="bytes_per_s must be"):
        faults.on().throttle(0)
    with pytest.raises(ValueError, match="seconds must be"):
        faults.on().delay(-1)


def test_rules_and_seeds_read_well() -> None:
    faults = rmqtt.Broker("mem://never-runs").faults
    faults.seed = 7
    assert repr(faults) == "<Faults, seed 7>"
    rule = faults.on("puback", client="sensor-*", topic="t/#", direction="out", nth=2, times=None)
    assert repr(rule) == "<Rule on PUBACK, client 'sensor-*', topic 't/#', out, nth 2, always: nothing yet; 0 hits>"
    said = repr(rule.delay(1, jitter=0.5).duplicate().corrupt())
    assert said.endswith("always: delay by 1 s, duplicate, corrupt a byte; 0 hits>")
