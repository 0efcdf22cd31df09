"""Code that speaks MQTT, tested against a real broker: started in milliseconds, on a free port, gone after the test.

pytest examples/test_with_broker.py

What happens when the network or the broker fails is tested in examples/testing.
"""

from __future__ import annotations

import asyncio

import rmqtt


async def switch_fan(url: str, limit: float) -> None:
    """Turn the fan on at the first temperature above the limit: the code under test."""
    async with rmqtt.Client(url) as client, client.subscribe("room/temperature", qos=1) as temperatures:
        async for message in temperatures:
            if float(message.text()) > limit:
                await client.publish("room/fan", "on", qos=1, retain=True)
                return


def test_the_fan_starts_when_it_is_too_warm(mqtt_broker: rmqtt.Broker) -> None:
    """Play the sensor, and see what the broker holds at the end."""

    async def play() -> None:
        async with rmqtt.Client(mqtt_broker.url) as sensor:
            for temperature in ("19.5", "25.5"):
                await sensor.publish("room/temperature", temperature, qos=1, retain=True)
        await asyncio.wait_for(switch_fan(mqtt_broker.url, limit=25), timeout=5)

    asyncio.run(play())
    assert mqtt_broker.retained["room/fan"].payload == b"on"
