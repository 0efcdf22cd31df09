"""A client outlives its connection: it comes back, subscribes again, and sends what was published meanwhile."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any

import pytest
import rmqtt
from held_broker import GUARD, HeldBroker
from loops import on_every_loop

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

AT_ONCE = rmqtt.Reconnect(initial=0.01, factor=1, jitter="none")


@contextlib.asynccontextmanager
async def watched(url: str, **options: Any) -> AsyncIterator[tuple[rmqtt.Client, AsyncIterator[rmqtt.Event]]]:
    """Connect a client that comes back soon, and listen to what happens to it from then on."""
    client = rmqtt.Client(url, reconnect=AT_ONCE, **options)
    # It is listened from the first step on, and the first thing to hear is that it is connected.
    events = client.events()
    first = asyncio.ensure_future(anext(events))
    await asyncio.sleep(0)
    async with client:
        assert isinstance(await first, rmqtt.Connected)
        yield client, events


async def following(events: AsyncIterator[rmqtt.Event], kind: type[Any]) -> Any:
    """Return the next event of this kind; those before it can only be tries that failed, and what was lost by it."""
    async with asyncio.timeout(GUARD):
        while not isinstance(event := await anext(events), kind):
            assert isinstance(event, rmqtt.Dropped) or (
                isinstance(event, rmqtt.Disconnected) and event.retry_in is not None
            )
    return event


@on_every_loop
async def test_a_client_goes_on_when_its_broker_is_started_again() -> None:
    with rmqtt.Broker("mqtt://127.0.0.1:0") as broker:
        url = broker.url
        stack = contextlib.AsyncExitStack()
        client, events = await stack.enter_async_context(watched(url))
        messages = await stack.enter_async_context(client.subscribe("a", qos=1))
        await client.publish("a", b"before", qos=1)
        assert (await messages.get(timeout=GUARD)).payload == b"before"
    async with asyncio.timeout(GUARD):
        gone = await following(events, rmqtt.Disconnected)
        assert isinstance(gone.error, rmqtt.ConnectionLost)
        assert gone.retry_in == AT_ONCE.initial
        assert not client.stats().connected
        meanwhile = [client.publish("a", str(n), qos=1) for n in range(3)]
        with rmqtt.Broker(url):
            back = await following(events, rmqtt.Connected)
            assert not back.negotiated.session_present
            await asyncio.wait_for(asyncio.gather(*meanwhile), GUARD)
            assert [(await messages.get(timeout=GUARD)).text() for _ in range(3)] == ["0", "1", "2"]
            await client.publish("a", b"after", qos=1)
            assert (await messages.get(timeout=GUARD)).payload == b"after"
            assert client.stats().connects == 2
            await stack.aclose()


@pytest.mark.parametrize("version", ["3.1.1", "5.0"])
@on_every_loop
async def test_a_session_that_the_broker_has_kept_is_resumed(version: Any, broker: rmqtt.Broker) -> None:
    session: dict[str, Any] = {"client_id": "keeper", "clean_start": False, "version": version}
    if version == "5.0":
        session["session_expiry"] = 60
    async with watched(broker.url, **session) as (client, events), client.subscribe("a", qos=1) as messages:
        assert await broker.disconnect("keeper")
        broker.publish_now("a", b"meanwhile", qos=1)
        await following(events, rmqtt.Disconnected)
        assert (await following(events, rmqtt.Connected)).negotiated.session_present
        assert (await messages.get(timeout=GUARD)).payload == b"meanwhile"
        assert broker.sessions["keeper"].subscriptions == {"a": rmqtt.QoS.AT_LEAST_ONCE}
        assert client.stats().connects == 2


@on_every_loop
async def test_a_session_that_the_broker_has_lost_is_told_and_built_again() -> None:
    session: dict[str, Any] = {"client_id": "keeper", "clean_start": False, "session_expiry": 60}
    with rmqtt.Broker("mqtt://127.0.0.1:0") as broker:
        url = broker.url
        stack = contextlib.AsyncExitStack()
        client, events = await stack.enter_async_context(watched(url, **session))
        messages = await stack.enter_async_context(client.subscribe("a", qos=1))
    with rmqtt.Broker(url):
        async with stack:
            await following(events, rmqtt.Connected)
            assert isinstance(await anext(events), rmqtt.SessionForgotten)
            assert await anext(events) == rmqtt.Resubscribed(filters=("a",))
            await client.publish("a", b"1", qos=1)
            assert (await messages.get(timeout=GUARD)).payload == b"1"


@on_every_loop
async def test_a_subscription_that_is_never_to_be_made_again_ends_with_its_session() -> None:
    never = rmqtt.Reconnect(initial=0.01, factor=1, resubscribe="never")
    with rmqtt.Broker("mqtt://127.0.0.1:0") as broker:
        url = broker.url
        client = rmqtt.Client(url, client_id="keeper", clean_start=False, session_expiry=60, reconnect=never)
        await client.connect()
        messages = await client.subscribe("a", qos=1)
        waiting = asyncio.ensure_future(messages.get(timeout=GUARD))
    with rmqtt.Broker(url):
        with pytest.raises(rmqtt.SessionLost):
            await waiting
        await client.close()


@pytest.mark.parametrize("qos", [1, 2])
@on_every_loop
async def test_what_was_not_acknowledged_is_sent_again_before_what_came_later(qos: Any) -> None:
    with HeldBroker() as broker:
        async with watched(broker.url) as (client, events):
            early = [client.publish("a", str(n), qos=qos) for n in range(3)]
            await broker.saw(lambda broker: broker.held == 3)
            broker.cut()
            await following(events, rmqtt.Disconnected)
            late = client.publish("a", b"3", qos=qos)
            broker.release_from_now_on()
            await asyncio.wait_for(asyncio.gather(*early, late), GUARD)
        assert [published.payload for published in broker.published] == [b"0", b"1", b"2", b"0", b"1", b"2", b"3"]


@on_every_loop
async def test_messages_of_qos_0_wait_for_the_next_connection_only_when_they_are_to_be_kept() -> None:
    for keep in (True, False):
        with HeldBroker() as broker:
            slow = rmqtt.Reconnect(initial=0.2, jitter="none")
            async with rmqtt.Client(broker.url, reconnect=slow, outbox=rmqtt.Outbox(keep_qos0=keep)) as client:
                events = client.events()
                gone = asyncio.ensure_future(anext(events))
                await asyncio.sleep(0)
                broker.cut()
                assert isinstance(await gone, rmqtt.Disconnected)
                await client.publish("a", b"meanwhile")
                await following(events, rmqtt.Connected)
                await client.publish("a", b"after")
            assert [published.payload for published in broker.published] == [b"meanwhile"] * keep + [b"after"]
            assert client.stats().dropped == (not keep)


@on_every_loop
async def test_a_client_that_may_try_no_more_ends_with_the_reason() -> None:
    with rmqtt.Broker("mqtt://127.0.0.1:0") as broker:
        client = rmqtt.Client(broker.url, reconnect=rmqtt.Reconnect(initial=0, max_attempts=2))
        await client.connect()
        messages = await client.subscribe("a")
        events = client.events()
        gone = asyncio.ensure_future(anext(events))
        await asyncio.sleep(0)
    assert isinstance(await gone, rmqtt.Disconnected)
    last = [await asyncio.wait_for(anext(events), GUARD) for _ in range(2)]
    assert [isinstance(event, rmqtt.Disconnected) and event.retry_in is None for event in last] == [False, True]
    with pytest.raises(rmqtt.ConnectFailed):
        await messages.get(timeout=GUARD)
    with pytest.raises(rmqtt.ConnectFailed):
        await client.publish("a", qos=1)
    await client.close()
