"""`Outbox(ttl=...)`: how long a message may wait before it is sent for the first time."""

from __future__ import annotations

import asyncio
import math
from typing import TYPE_CHECKING, Any

import pytest
import rmqtt
from held_broker import GUARD
from rmqtt.testing import Clock

if TYPE_CHECKING:
    from pathlib import Path

NEVER = rmqtt.Reconnect(initial=1e9, factor=1, max=1e9, jitter="none")
KEPT: dict[str, Any] = {
    "client_id": "meter",
    "clean_start": False,
    "session_expiry": 10**8,
    "reconnect": NEVER,
    "keep_alive": 0,
}


async def cut(client: rmqtt.Client, broker: rmqtt.Broker) -> None:
    events = client.events()
    await client.connect()
    await broker.disconnect("meter")
    while not isinstance(await anext(events), rmqtt.Disconnected):
        pass


async def test_whoever_waits_is_told_while_there_is_no_connection(outbox_path: Path | None) -> None:
    outbox = rmqtt.Outbox(path=outbox_path, ttl=60, keep_qos0=True)
    async with asyncio.timeout(GUARD), rmqtt.Broker("mem://ttl-told", clock=Clock()) as broker:
        client = broker.client(outbox=outbox, **KEPT)
        await cut(client, broker)
        events = client.events()
        receipts = [client.publish_nowait("n", qos=qos) for qos in (1, 2)]
        client.publish_nowait("n", qos=0)
        broker.clock.advance(61)
        for receipt in receipts:
            with pytest.raises(rmqtt.MessageExpired, match="waited too long"):
                await receipt
        told = await anext(events)
        assert isinstance(told, rmqtt.Dropped)
        assert (told.cause, told.filters) == ("expired", ())
        assert client.stats().dropped_expired == 3
        await client.close(timeout=0)


async def test_the_time_runs_on_between_processes(tmp_path: Path) -> None:
    def outbox(ttl: float | None) -> rmqtt.Outbox:
        return rmqtt.Outbox(path=tmp_path / "outbox", ttl=ttl)

    async with asyncio.timeout(GUARD), rmqtt.Broker("mem://ttl-restart", clock=Clock()) as broker:
        client = broker.client(outbox=outbox(None), **KEPT)
        await cut(client, broker)
        client.publish_nowait("n", b"late", qos=1)
        client.publish_nowait("n", b"late too", qos=1, expiry=50)
        broker.clock.advance(60)
        client.publish_nowait("n", b"in time", qos=1, expiry=600)
        await client.close(timeout=0)
        broker.clock.advance(30)
        async with broker.client() as reader, reader.subscribe("n", qos=1) as heard:
            async with broker.client(outbox=outbox(80), **KEPT) as client:
                await client.drain()
                stats = client.stats()
                assert (stats.dropped_expired, stats.restored) == (2, 0)
            message = await heard.get()
            assert message.payload == b"in time"
            assert message.properties.expiry is not None
            assert 560 <= message.properties.expiry <= 570
            assert heard.get_nowait() is None


@pytest.mark.parametrize("ttl", [0, -1, math.nan])
def test_a_time_is_above_zero(ttl: float) -> None:
    with pytest.raises(ValueError, match=r"outbox\.ttl"):
        rmqtt.Client(outbox=rmqtt.Outbox(ttl=ttl))
