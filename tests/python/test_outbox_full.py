"""A full outbox: `Outbox(on_full=...)` says what becomes of the next message."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
import rmqtt
from held_broker import GUARD

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

NEVER = rmqtt.Reconnect(initial=3600, factor=1, jitter="none")
KEPT: dict[str, Any] = {"client_id": "meter", "clean_start": False, "session_expiry": 3600, "reconnect": NEVER}


async def offline(client: rmqtt.Client, broker: rmqtt.Broker) -> None:
    events = client.events()
    await client.connect()
    broker.stop()
    while not isinstance(await anext(events), rmqtt.Disconnected):
        pass


@pytest.fixture
async def away(outbox_path: Path | None, request: pytest.FixtureRequest) -> AsyncIterator[rmqtt.Client]:
    """Give a client without a connection, whose outbox takes three messages."""
    outbox = rmqtt.Outbox(path=outbox_path, max_messages=3, **request.param)
    with rmqtt.Broker("mqtt://127.0.0.1:0") as broker:
        client = rmqtt.Client(broker.url, outbox=outbox, **KEPT)
        async with asyncio.timeout(GUARD):
            await offline(client, broker)
            yield client
            await client.close(timeout=0)


@pytest.mark.parametrize("away", [{"on_full": "drop_oldest"}], indirect=True)
async def test_the_oldest_goes_and_says_so_in_every_way_of_publishing(away: rmqtt.Client) -> None:
    events = away.events()
    receipts = [away.publish_nowait("n", str(number), qos=1) for number in range(3)]
    waiting = asyncio.create_task(away.publish("n", b"3", qos=2))
    await asyncio.sleep(0)
    with pytest.raises(rmqtt.MessageDropped, match="the outbox was full"):
        await receipts[0]
    assert [receipt.state for receipt in receipts] == ["failed", "queued", "queued"]
    async with asyncio.TaskGroup() as tasks:
        many = tasks.create_task(away.publish_many((("n", b"many") for _ in range(5)), qos=1))
        with pytest.raises(rmqtt.MessageDropped):
            await waiting
        await tell_and_close(away, events)
    result = many.result()
    assert {type(error) for error in result.errors.values()} == {rmqtt.MessageDropped, rmqtt.Closed}
    assert (result.published, result.failed) == (0, 5)


async def tell_and_close(away: rmqtt.Client, events: AsyncIterator[rmqtt.Event]) -> None:
    told = await anext(events)
    assert isinstance(told, rmqtt.Dropped)
    assert (told.cause, told.filters) == ("full", ())
    stats = away.stats()
    assert stats.dropped_full == stats.dropped == 6
    assert (stats.queued_messages, stats.outbox_messages_high) == (3, 3)
    await away.close(timeout=0)


@pytest.mark.parametrize("away", [{"on_full": "error"}], indirect=True)
async def test_error_refuses_at_once_in_every_way_of_publishing(away: rmqtt.Client) -> None:
    receipts = [away.publish_nowait("n", str(number), qos=1) for number in range(3)]
    with pytest.raises(rmqtt.QueueFull, match="not to wait"):
        await away.publish("n", qos=1)
    with pytest.raises(rmqtt.QueueFull):
        away.publish_nowait("n", qos=1)
    result = await away.publish_many([("n", b"x"), ("n", b"y")], qos=1)
    assert [type(error) for error in result.errors.values()] == [rmqtt.QueueFull] * 2
    assert receipts[0].cancel()
    assert away.stats().dropped == 0


@pytest.mark.parametrize("away", [{"on_full": "wait"}], indirect=True)
async def test_a_wait_for_room_can_be_cancelled_and_leaves_nothing(away: rmqtt.Client) -> None:
    receipts = [away.publish_nowait("n", str(number), qos=1) for number in range(3)]
    waiting = asyncio.create_task(away.publish("n", b"never", qos=1))
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    with pytest.raises(rmqtt.QueueFull):
        away.publish_nowait("n", qos=1)
    assert away.stats().queued_messages == 3
    assert {receipt.state for receipt in receipts} == {"queued"}


async def test_what_was_dropped_is_not_sent_by_the_next_process(tmp_path: Path) -> None:
    outbox = rmqtt.Outbox(path=tmp_path / "outbox", max_messages=3, on_full="drop_oldest")
    with rmqtt.Broker("mqtt://127.0.0.1:0") as broker:
        url = broker.url
        client = rmqtt.Client(url, outbox=outbox, **KEPT)
        async with asyncio.timeout(GUARD):
            await offline(client, broker)
            for number in range(10):
                client.publish_nowait("n", str(number), qos=1)
            await client.close(timeout=0)
    with rmqtt.Broker(url) as broker:
        async with asyncio.timeout(GUARD), rmqtt.Client(url) as reader, reader.subscribe("n", qos=1) as heard:
            async with rmqtt.Client(url, outbox=outbox, **KEPT) as client:
                assert client.stats().restored <= 3
                await client.drain()
                assert client.stats().restored == 0
            assert [int((await heard.get()).payload) for _ in range(3)] == [7, 8, 9]
            assert heard.get_nowait() is None


def test_a_sync_client_has_all_of_it_too(outbox_path: Path | None) -> None:
    def outbox(on_full: Any) -> rmqtt.Outbox:
        return rmqtt.Outbox(path=outbox_path, max_messages=2, on_full=on_full)

    with rmqtt.Broker("mqtt://127.0.0.1:0") as broker:
        url = broker.url
        client = rmqtt.SyncClient(url, outbox=outbox("drop_oldest"), **KEPT)
        events = client.events(timeout=GUARD)
        client.connect()
        broker.stop()
        while not isinstance(next(events), rmqtt.Disconnected):
            pass
        receipts = [client.publish_nowait("n", str(number), qos=1) for number in range(4)]
        with pytest.raises(rmqtt.MessageDropped):
            receipts[0].result(timeout=GUARD)
        assert [receipt.state for receipt in receipts] == ["failed", "failed", "queued", "queued"]
        client.close(timeout=0)
    with rmqtt.Broker(url) as broker:
        client = rmqtt.SyncClient(url, outbox=outbox("error"), **KEPT)
        events = client.events(timeout=GUARD)
        client.connect()
        client.drain(timeout=GUARD)
        broker.stop()
        while not isinstance(next(events), rmqtt.Disconnected):
            pass
        for _ in range(2):
            client.publish_nowait("n", qos=1)
        with pytest.raises(rmqtt.QueueFull):
            client.publish("n", qos=1)
        result = client.publish_many([("n", b"x")], qos=1)
        assert [type(error) for error in result.errors.values()] == [rmqtt.QueueFull]
        client.close(timeout=0)


def test_there_are_three_policies() -> None:
    outbox = rmqtt.Outbox(on_full="explode")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"'wait', 'error' or 'drop_oldest', not .explode"):
        rmqtt.Client(outbox=outbox)
