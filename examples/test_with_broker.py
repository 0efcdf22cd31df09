"""Code that speaks MQTT, tested against a real broker: started in milliseconds, on a free port, gone after the test.

pytest examples/test_with_broker.py
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
import rmqtt

if TYPE_CHECKING:
    from collections.abc import Iterator


async def switch_fan(url: str, limit: float) -> None:
    """Turn the fan on at the first temperature above the limit: the code under test."""
    async with rmqtt.Client(url) as client, client.subscribe("room/temperature", qos=1) as temperatures:
        async for message in temperatures:
            if float(message.text()) > limit:
                await client.publish("room/fan", "on", qos=1, retain=True)
                return


@pytest.fixture
def broker() -> Iterator[rmqtt.Broker]:
    """Start a broker for one test; it needs no event loop."""
    with rmqtt.Broker("mqtt://127.0.0.1:0") as running:
        yield running


def test_the_fan_starts_when_it_is_too_warm(broker: rmqtt.Broker) -> None:
    """Play the sensor, and see what the broker holds at the end."""

    async def play() -> None:
        async with rmqtt.Client(broker.url) as sensor:
            for temperature in ("19.5", "25.5"):
                await sensor.publish("room/temperature", temperature, qos=1, retain=True)
        await asyncio.wait_for(switch_fan(broker.url, limit=25), timeout=5)

    asyncio.run(play())
    assert broker.retained["room/fan"].payload == b"on"
