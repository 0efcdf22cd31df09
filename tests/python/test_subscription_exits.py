"""How a subscription is left: while the broker is away, by an exception, and after it ran over."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Literal

import pytest
import rmqtt
from loops import on_every_loop, until

if TYPE_CHECKING:
    from rmqtt import Subscription


class UnprocessedError(Exception):
    """What a program may raise while it processes a message."""


@on_every_loop
async def test_a_subscription_can_be_left_while_the_broker_is_away() -> None:
    with rmqtt.Broker("mqtt://127.0.0.1:0") as broker:
        client = rmqtt.Client(broker.url, session_expiry=60)
        await client.connect()
        async with asyncio.timeout(5):
            closed = await client.subscribe("closed", qos=1)
            with pytest.raises(UnprocessedError):
                async with client.subscribe("raised", qos=1) as raised:
                    async with client.subscribe("left", qos=1):
                        await broker.publish("raised", qos=1)
                        await raised.get()
                        await asyncio.to_thread(broker.stop)
                        await until(lambda: not client.stats().connected)
                    raise UnprocessedError
            await closed.close()
            with pytest.raises(rmqtt.Closed):
                await closed.get()
        await client.close(timeout=0)


async def fail_at_a_message(broker: rmqtt.Broker, jobs: Subscription, qos: Literal[1, 2]) -> None:
    """Raise with one message in hand and one waiting."""
    async with jobs:
        await broker.publish("jobs", "in hand", qos=qos)
        await broker.publish("jobs", "waits", qos=qos)
        assert (await jobs.get()).text() == "in hand"
        await until(lambda: jobs.pending == 1)
        raise UnprocessedError


@pytest.mark.parametrize("qos", [1, 2])
@on_every_loop
async def test_a_message_left_by_an_exception_holds_back_no_other_subscription(qos: Literal[1, 2]) -> None:
    with rmqtt.Broker("mqtt://127.0.0.1:0") as broker:
        first = rmqtt.Client(broker.url, client_id="worker", session_expiry=60, receive_maximum=3)
        async with asyncio.timeout(5), first as client:
            jobs = client.subscribe("jobs", qos=qos)
            with pytest.raises(UnprocessedError):
                await fail_at_a_message(broker, jobs, qos)
            # Two of the three places are taken; with answers held back, a second message would not come.
            async with client.subscribe("others", qos=qos) as others:
                for n in range(5):
                    await broker.publish("others", str(n), qos=qos)
                    assert (await others.get()).text() == str(n)
            del jobs
        second = rmqtt.Client(broker.url, client_id="worker", session_expiry=60, clean_start=False)
        async with asyncio.timeout(5), second as client:
            again = await client.subscribe("jobs", qos=qos)
            assert [(await again.get()).text() for _ in range(2)] == ["in hand", "waits"]


@on_every_loop
async def test_a_subscription_that_ran_over_holds_back_no_other() -> None:
    with rmqtt.Broker("mqtt://127.0.0.1:0") as broker:
        async with asyncio.timeout(5), rmqtt.Client(broker.url, receive_maximum=4) as client:
            small = await client.subscribe("small", qos=1, maxsize=2, overflow="error")
            for n in range(3):
                await broker.publish("small", str(n), qos=1)
            # Taken while they arrive, three messages need not overrun a queue of two.
            await until(lambda: client.stats().messages_received == 3)
            with pytest.raises(rmqtt.QueueFull):
                while True:
                    await small.get()
            async with client.subscribe("others", qos=1) as others:
                for n in range(5):
                    await broker.publish("others", str(n), qos=1)
                    assert (await others.get()).text() == str(n)
