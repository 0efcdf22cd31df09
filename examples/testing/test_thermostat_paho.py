"""The same for a device that is written with paho-mqtt: pytest examples/testing/test_thermostat_paho.py."""

from __future__ import annotations

import contextlib
import time
from typing import TYPE_CHECKING, Literal

import pytest
import rmqtt

paho = pytest.importorskip("paho.mqtt.client")

from thermostat_paho import Thermostat  # noqa: E402 - needs paho

if TYPE_CHECKING:
    from rmqtt.testing import Capture, Clock, Faults, Wire


def statuses(capture: Capture) -> list[str]:
    """Collect what was said of the device."""
    return [message.text() for message in capture.messages if message.topic == "thermostat/status"]


def test_it_does_what_it_is_told(mqtt_port: int, mqtt_capture: Capture) -> None:
    """Play the operator."""
    with Thermostat("127.0.0.1", mqtt_port) as device:
        mqtt_capture.wait_for("thermostat/status")
        mqtt_capture.publish("thermostat/target", "22.5", qos=1)
        mqtt_capture.wait_for("thermostat/target/is")
        assert device.target == 22.5
    mqtt_capture.assert_published("thermostat/status", payload="off", retain=True)


def test_a_lost_puback_costs_a_repetition_and_no_reading(
    mqtt_port: int, mqtt_capture: Capture, mqtt_faults: Faults
) -> None:
    """The broker has the reading, and the link breaks before it can say so."""
    with Thermostat("127.0.0.1", mqtt_port, retry=0.01) as device:
        mqtt_capture.wait_for("thermostat/status")
        mqtt_faults.on("PUBACK", topic="thermostat/celsius").disconnect("rst")
        device.measure(21.5).wait_for_publish(5)
    mqtt_capture.assert_published("thermostat/celsius", payload="21.5", count=2)


def test_a_lost_pubrec_never_bills_twice(mqtt_port: int, mqtt_capture: Capture, mqtt_faults: Faults) -> None:
    """With QoS 2 the repetition is recognised."""
    with Thermostat("127.0.0.1", mqtt_port, retry=0.01) as device:
        mqtt_capture.wait_for("thermostat/status")
        mqtt_faults.on("PUBREC").disconnect("rst")
        device.bill(1.5).wait_for_publish(5)
    mqtt_capture.assert_published("thermostat/kwh", payload="1.5", count=1)


@pytest.mark.parametrize("keep", ["acknowledged", "nothing"])
def test_it_outlives_the_broker_and_is_heard_and_told_again(
    mqtt_broker: rmqtt.Broker, mqtt_capture: Capture, keep: Literal["acknowledged", "nothing"]
) -> None:
    """The broker crashes and comes back, with its state and without."""
    with Thermostat("127.0.0.1", mqtt_broker.port, retry=0.01) as device:
        mqtt_capture.wait_for("thermostat/status")
        mqtt_broker.crash(keep)
        device.measure(21.5)  # while nobody is there
        mqtt_broker.start()
        mqtt_capture.wait_for("thermostat/celsius")
        mqtt_capture.wait_for("thermostat/status", count=2)
        mqtt_capture.publish("thermostat/target", "18", qos=1)
        mqtt_capture.wait_for("thermostat/target/is")
        assert device.target == 18.0
    mqtt_capture.assert_published("thermostat/celsius", payload="21.5")


@pytest.mark.mqtt(receive_maximum=1)
def test_a_broker_that_takes_one_at_a_time_gets_one_at_a_time(mqtt_port: int, mqtt_wire: Wire) -> None:
    """Twenty readings at once wait for each other."""
    with Thermostat("127.0.0.1", mqtt_port) as device:
        mqtt_wire.wait_for("SUBSCRIBE")
        readings = [device.measure(n) for n in range(20)]
        for reading in readings:
            reading.wait_for_publish(5)
    waiting = 0
    for line in mqtt_wire.lines(client="thermostat"):
        waiting += {("PUBLISH", "in"): 1, ("PUBACK", "out"): -1}.get((line.packet, line.direction), 0)
        assert waiting <= 1


def test_a_refused_device_asks_again(mqtt_port: int, mqtt_capture: Capture, mqtt_faults: Faults) -> None:
    """Three times the broker has no time for it."""
    mqtt_faults.on("CONNECT").refuse(0x88, times=3)
    with Thermostat("127.0.0.1", mqtt_port, retry=0.01):
        mqtt_capture.wait_for("thermostat/status")
    assert statuses(mqtt_capture) == ["online", "off"]


def test_a_half_open_link_is_found_by_keep_alive(
    mqtt_port: int, mqtt_capture: Capture, mqtt_faults: Faults, mqtt_wire: Wire, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other side is gone without a word. The device is on a socket and lives by a clock of its own, moved here."""
    later = 0.0
    monkeypatch.setattr(paho, "time_func", lambda: time.monotonic() + later)
    with Thermostat("127.0.0.1", mqtt_port, keep_alive=30, retry=0.01) as device:
        mqtt_capture.wait_for("thermostat/status")
        mqtt_faults.on("PINGREQ").disconnect("half_open")
        while len(mqtt_wire.lines(packet="CONNECT")) < 2:
            later += 40
            device.measure(21.5)  # wakes paho, which looks at its clock: once to ask, and once to give up
            with contextlib.suppress(rmqtt.MqttTimeout):
                mqtt_wire.wait_for("CONNECT", count=2, timeout=0.1)
        mqtt_capture.wait_for("thermostat/status", count=2, where=lambda message: message.payload == b"online")
    assert statuses(mqtt_capture)[:2] == ["online", "lost"]


def test_who_loses_power_is_missed(mqtt_port: int, mqtt_capture: Capture, mqtt_faults: Faults) -> None:
    """The broker speaks the device's last will."""
    with Thermostat("127.0.0.1", mqtt_port, retry=0.01) as device:
        mqtt_capture.wait_for("thermostat/status")
        mqtt_faults.on("PUBLISH", topic="thermostat/celsius").disconnect("rst")
        device.measure(21.5).wait_for_publish(5)
    assert statuses(mqtt_capture) == ["online", "lost", "online", "off"]


def test_what_it_was_told_two_hours_ago_is_not_done_any_more(
    mqtt_broker: rmqtt.Broker, mqtt_capture: Capture, mqtt_clock: Clock, mqtt_wire: Wire
) -> None:
    """Orders that are good for an hour wait for a device that comes back after two."""
    with Thermostat("127.0.0.1", mqtt_broker.port):
        mqtt_capture.wait_for("thermostat/status")
    mqtt_wire.wait_for("DISCONNECT")
    mqtt_clock.advance(0)  # the broker has come to rest: the device is away
    mqtt_broker.publish_now("thermostat/target", "30", qos=1, expiry=3600)
    mqtt_broker.publish_now("thermostat/target", "21", qos=1)
    mqtt_clock.advance(hours=2)
    with Thermostat("127.0.0.1", mqtt_broker.port) as device:
        mqtt_capture.wait_for("thermostat/target/is")
        assert device.target == 21.0
    mqtt_capture.assert_published("thermostat/target/is", count=1)
