"""A thermostat: tells what it measures, does what it is told, and is missed when it is gone. With rmqtt's own client.

Its tests are in test_thermostat.py. The same device with another client: thermostat_paho.py.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Self

import rmqtt

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


class Thermostat:
    """One device. It keeps its session at the broker, so that nothing it is told while it is away is lost."""

    def __init__(self, url: str, name: str = "thermostat", *, keep_alive: float = 30, retry: float = 1.0) -> None:
        self.name = name
        self.target = 20.0
        self._tasks: list[asyncio.Task[None]] = []
        self._client = rmqtt.Client(
            url,
            client_id=name,
            clean_start=False,
            session_expiry=86_400,
            keep_alive=keep_alive,
            will=rmqtt.Will(topic=f"{name}/status", payload="lost", qos=1, retain=True),
            reconnect=rmqtt.Reconnect(initial=retry, factor=1.5, retry_first=True),
        )

    async def __aenter__(self) -> Self:
        events = self._client.events()
        await self._client.connect()
        targets = await self._client.subscribe(f"{self.name}/target", qos=1)
        self._tasks = [asyncio.create_task(self._obey(targets)), asyncio.create_task(self._be_online(events))]
        return self

    async def __aexit__(self, *_: object) -> None:
        for task in self._tasks:
            task.cancel()
        with contextlib.suppress(rmqtt.Closed):  # it has crashed
            await self._client.publish(f"{self.name}/status", "off", qos=1, retain=True)
        await self._client.close()

    async def crash(self) -> None:
        """Lose power."""
        await self._client.abort()

    async def measure(self, celsius: float) -> None:
        """Tell a temperature; it arrives, perhaps twice."""
        await self._client.publish(f"{self.name}/celsius", f"{celsius:.1f}", qos=1)

    async def bill(self, kwh: float) -> None:
        """Tell what is to be paid for; it arrives once."""
        await self._client.publish(f"{self.name}/kwh", f"{kwh:.1f}", qos=2)

    async def _obey(self, targets: rmqtt.Subscription) -> None:
        async for message in targets:
            self.target = float(message.text())
            await self._client.publish(f"{self.name}/target/is", message.payload, qos=1, retain=True)

    async def _be_online(self, events: AsyncIterator[rmqtt.Event]) -> None:
        # After every connection anew: the broker may have told everybody that we are lost.
        async for event in events:
            if isinstance(event, rmqtt.Connected):
                await self._client.publish(f"{self.name}/status", "online", qos=1, retain=True)
