"""What a device has to survive, shown in milliseconds: pytest examples/testing/test_thermostat.py."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Literal

import pytest
from thermostat import Thermostat

if TYPE_CHECKING:
    import rmqtt
    from rmqtt.testing import Capture, Clock, Faults, Wire

pytestmark = pytest.mark.asyncio


def statuses(capture: Capture) -> list[str]:
    """Collect what was said of the device."""
    return [message.text() for message in capture.messages if message.topic == "thermostat/status"]


async def test_it_does_what_it_is_told(mqtt_url: str, mqtt_capture: Capture) -> None:
    """Play the operator."""
    async with Thermostat(mqtt_url) as device:
        mqtt_capture.publish("thermostat/target", "22.5", qos=1)
        await mqtt_capture.wait_for_async("thermostat/target/is")
        assert device.target == 22.5
    mqtt_capture.assert_published("thermostat/status", payload="off", retain=True)


async def test_a_lost_puback_costs_a_repetition_and_no_reading(
    mqtt_url: str, mqtt_capture: Capture, mqtt_faults: Faults
) -> None:
    """The broker has the reading, and the link breaks before it can say so."""
    async with Thermostat(mqtt_url, retry=0.01) as device:
        mqtt_faults.on("PUBACK", topic="thermostat/celsius").disconnect("rst")
        await device.measure(21.5)
    mqtt_capture.assert_published("thermostat/celsius", payload="21.5", count=2)


async def test_a_lost_pubrec_never_bills_twice(mqtt_url: str, mqtt_capture: Capture, mqtt_faults: Faults) -> None:
    """With QoS 2 the repetition is recognised."""
    async with Thermostat(mqtt_url, retry=0.01) as device:
        mqtt_faults.on("PUBREC").disconnect("rst")
        await device.bill(1.5)
    mqtt_capture.assert_published("thermostat/kwh", payload="1.5", count=1)


@pytest.mark.parametrize("keep", ["acknowledged", "nothing"])
async def test_it_outlives_the_broker_and_is_heard_and_told_again(
    mqtt_broker: rmqtt.Broker, mqtt_capture: Capture, keep: Literal["acknowledged", "nothing"]
) -> None:
    """The broker crashes and comes back, with its state and without."""
    async with Thermostat(mqtt_broker.url, retry=0.01) as device:
        await mqtt_capture.wait_for_async("thermostat/status", count=1)
        mqtt_broker.crash(keep)
        reading = asyncio.create_task(device.measure(21.5))  # while nobody is there
        mqtt_broker.start()
        await reading
        await mqtt_capture.wait_for_async("thermostat/status", count=2)
        mqtt_capture.publish("thermostat/target", "18", qos=1)
        await mqtt_capture.wait_for_async("thermostat/target/is")
        assert device.target == 18.0
    mqtt_capture.assert_published("thermostat/celsius", payload="21.5")


@pytest.mark.mqtt(receive_maximum=1)
async def test_a_broker_that_takes_one_at_a_time_gets_one_at_a_time(mqtt_url: str, mqtt_wire: Wire) -> None:
    """Fifty readings at once wait for each other."""
    async with Thermostat(mqtt_url) as device:
        await asyncio.gather(*(device.measure(n) for n in range(50)))
    waiting = 0
    for line in mqtt_wire.lines(client="thermostat"):
        waiting += {("PUBLISH", "in"): 1, ("PUBACK", "out"): -1}.get((line.packet, line.direction), 0)
        assert waiting <= 1


async def test_a_refused_device_asks_again(mqtt_url: str, mqtt_capture: Capture, mqtt_faults: Faults) -> None:
    """Three times the broker has no time for it."""
    mqtt_faults.on("CONNECT").refuse(0x88, times=3)
    async with Thermostat(mqtt_url, retry=0.01):
        await mqtt_capture.wait_for_async("thermostat/status")


async def test_a_half_open_link_is_found_by_keep_alive(
    mqtt_client: rmqtt.Client, mqtt_capture: Capture, mqtt_faults: Faults, mqtt_clock: Clock
) -> None:
    """The other side is gone without a word; a minute passes at once, since the device is in memory."""
    async with Thermostat(mqtt_client.url, keep_alive=30):
        await mqtt_capture.wait_for_async("thermostat/status")
        mqtt_faults.on("PINGREQ").disconnect("half_open")
        await mqtt_clock.advance_async(minutes=2)
        await mqtt_capture.wait_for_async("thermostat/status", count=3)
    assert statuses(mqtt_capture) == ["online", "lost", "online", "off"]


async def test_who_loses_power_is_missed(mqtt_url: str, mqtt_capture: Capture) -> None:
    """The broker speaks the device's last will."""
    async with Thermostat(mqtt_url) as device:
        await mqtt_capture.wait_for_async("thermostat/status")
        await device.crash()
        await mqtt_capture.wait_for_async("thermostat/status", count=2)
    assert statuses(mqtt_capture) == ["online", "lost"]


async def test_what_it_was_told_two_hours_ago_is_not_done_any_more(
    mqtt_broker: rmqtt.Broker, mqtt_capture: Capture, mqtt_clock: Clock, mqtt_wire: Wire
) -> None:
    """Orders that are good for an hour wait for a device that comes back after two."""
    async with Thermostat(mqtt_broker.url):
        pass
    await mqtt_wire.wait_for_async("DISCONNECT")
    await mqtt_clock.advance_async(0)  # the broker has come to rest: the device is away
    mqtt_broker.publish_now("thermostat/target", "30", qos=1, expiry=3600)
    mqtt_broker.publish_now("thermostat/target", "21", qos=1)
    mqtt_clock.advance(hours=2)
    async with Thermostat(mqtt_broker.url) as device:
        await mqtt_capture.wait_for_async("thermostat/target/is")
        assert device.target == 21.0
    mqtt_capture.assert_published("thermostat/target/is", count=1)
