"""How waits end when what they wait for has ended: with its reason, once, and without one waiting for the other."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest
import rmqtt
from held_broker import CONNECT, GUARD, HeldBroker

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

#: One more try, which does not wait long for an answer.
ONCE_MORE: dict[str, Any] = {
    "reconnect": rmqtt.Reconnect(initial=0.001, max_attempts=1),
    "connect_timeout": 0.1,
}

WAITS: dict[str, Callable[[rmqtt.Subscription], Awaitable[object]]] = {
    "get": lambda messages: messages.get(),
    "get, limited": lambda messages: messages.get(timeout=GUARD),
    "get_many": lambda messages: messages.get_many(),
    "get_many, collecting": lambda messages: messages.get_many(5, max_wait=GUARD),
    "async for": lambda messages: anext(aiter(messages)),
}


@pytest.mark.parametrize("way", WAITS)
async def test_a_client_that_ends_by_a_time_out_says_so_to_whoever_waits_for_messages(way: str) -> None:
    with HeldBroker() as broker:
        client = rmqtt.Client(broker.url, **ONCE_MORE)
        async with asyncio.timeout(GUARD), client, client.subscribe("a") as messages:
            waiting = asyncio.ensure_future(WAITS[way](messages))
            await asyncio.sleep(0)
            broker.hold_from_now_on(CONNECT)
            broker.cut()
            with pytest.raises(rmqtt.MqttTimeout, match="connecting"):
                await waiting
            with pytest.raises(rmqtt.MqttTimeout, match="connecting"):
                await WAITS[way](messages)


def test_the_blocking_twin_hears_of_it_too() -> None:
    with HeldBroker() as broker, rmqtt.SyncClient(broker.url, **ONCE_MORE) as client, client.subscribe("a") as messages:
        broker.hold_from_now_on(CONNECT)
        broker.cut()
        for wait in (messages.get, messages.get_many, lambda: list(messages)):
            with pytest.raises(rmqtt.MqttTimeout, match="connecting"):
                wait()


@pytest.mark.parametrize("handlers", [1, 2])
async def test_handlers_that_end_their_responder_wait_neither_for_themselves_nor_for_each_other(
    handlers: int, broker: rmqtt.Broker
) -> None:
    all_run = asyncio.Barrier(handlers)
    responder: rmqtt.Responder

    async def close(_: rmqtt.Message) -> bytes:
        await all_run.wait()
        await responder.close()
        return b"bye"

    async with asyncio.timeout(GUARD), rmqtt.Client(broker.url) as client:
        responder = await client.respond("close", close, concurrency=handlers)
        answers = await asyncio.gather(*(client.request("close", timeout=GUARD) for _ in range(handlers)))
        assert [answer.text() for answer in answers] == ["bye"] * handlers
        await responder.close()


@pytest.mark.parametrize("handlers", [1, 2])
def test_plain_handlers_that_end_their_responder_do_not_wait_for_each_other(
    handlers: int, broker: rmqtt.Broker
) -> None:
    all_run = threading.Barrier(handlers)
    responder: rmqtt.SyncResponder

    def close(_: rmqtt.Message) -> bytes:
        all_run.wait(GUARD)
        responder.close(timeout=GUARD)
        return b"bye"

    with rmqtt.SyncClient(broker.url) as client, ThreadPoolExecutor(handlers) as threads:
        responder = client.respond("close", close, concurrency=handlers)
        asked = [threads.submit(client.request, "close", timeout=GUARD) for _ in range(handlers)]
        assert [answer.result(GUARD).text() for answer in asked] == ["bye"] * handlers
        responder.close()


def test_a_plain_handler_that_wants_the_program_to_end_is_one_that_failed(broker: rmqtt.Broker) -> None:
    def answer(request: rmqtt.Message) -> bytes:
        if request.payload == b"exit":
            raise SystemExit
        return request.payload

    with rmqtt.SyncClient(broker.url) as client, client.respond("echo", answer, concurrency=1) as responder:
        with pytest.raises(rmqtt.RequestFailed, match="the handler failed"):
            client.request("echo", "exit", timeout=GUARD)
        assert client.request("echo", "x", timeout=GUARD).text() == "x"
        assert responder.failed == 1
