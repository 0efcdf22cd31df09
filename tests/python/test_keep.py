"""Subscriptions that the end of a block leaves to whoever resumes the session."""

from __future__ import annotations

import contextlib
from typing import Any

import pytest
import rmqtt

#: Far more than anything takes.
GUARD = 20.0
DURABLE: dict[str, Any] = {"client_id": "durable", "clean_start": False, "session_expiry": 3600}


async def publish(broker: rmqtt.Broker, *payloads: str) -> None:
    for payload in payloads:
        await broker.publish("a", payload, qos=1)


async def texts(messages: rmqtt.Subscription, count: int) -> list[str]:
    return [(await messages.get(GUARD)).text() for _ in range(count)]


@pytest.mark.parametrize("is_clean", [True, False])
async def test_what_was_not_processed_comes_to_who_resumes_the_session(broker: rmqtt.Broker, is_clean: bool) -> None:
    async with rmqtt.Client(broker.url, **DURABLE) as client:
        messages = client.subscribe("a", qos=1, keep=True)
        with contextlib.suppress(ZeroDivisionError):
            async with messages:
                await publish(broker, "1", "2", "3")
                assert await texts(messages, 2) == ["1", "2"]
                assert is_clean or 1 / 0
        with pytest.raises(rmqtt.Closed):
            await messages.get(GUARD)
        await publish(broker, "4")
    await publish(broker, "5")
    assert broker.sessions["durable"].subscriptions == {"a": 1}
    async with rmqtt.Client(broker.url, **DURABLE) as client, client.subscribe("a", qos=1) as messages:
        rest = ["3", "4", "5"] if is_clean else ["2", "3", "4", "5"]
        assert await texts(messages, len(rest)) == rest
    assert broker.sessions["durable"].subscriptions == {}


async def test_who_subscribes_again_in_the_same_connection_is_acknowledged_for(broker: rmqtt.Broker) -> None:
    async with rmqtt.Client(broker.url, receive_maximum=2, **DURABLE) as client:
        async with client.subscribe("a", "b", qos=1, keep=True):
            pass
        async with client.subscribe("a", qos=1) as messages:
            await publish(broker, *map(str, range(10)))
            assert await texts(messages, 10) == [str(n) for n in range(10)]
        assert broker.sessions["durable"].subscriptions == {"b": 1}


def test_the_blocking_twin_keeps_too_and_close_unsubscribes(broker: rmqtt.Broker) -> None:
    with rmqtt.SyncClient(broker.url, **DURABLE) as client:
        with client.subscribe("a", qos=1, keep=True):
            pass
        assert client.subscribe("b", keep=True).close().results == {"b": rmqtt.ReasonCode.SUCCESS}
        assert broker.sessions["durable"].subscriptions == {"a": 1}
