"""A password that is a function: asked for each connection anew, in the client's loop, whatever it says."""

from __future__ import annotations

import asyncio
import gc
import threading
import weakref
from typing import TYPE_CHECKING, Any

import pytest
import rmqtt
from held_broker import GUARD
from loops import on_every_loop
from told_broker import told

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

AT_ONCE = rmqtt.Reconnect(initial=0.01, factor=1, jitter="none")


class Tokens:
    """Gives another token each time, or raises what stands in its place."""

    def __init__(self, *given: object) -> None:
        self.given = list(given)
        self.threads: list[threading.Thread] = []

    def __call__(self) -> Any:
        self.threads.append(threading.current_thread())
        token = self.given.pop(0)
        if isinstance(token, Exception):
            raise token
        return token

    async def later(self) -> Any:
        await asyncio.sleep(0)
        return self()


@pytest.mark.parametrize("is_async", [False, True])
@on_every_loop
async def test_each_connection_has_the_token_of_its_time(*, is_async: bool) -> None:
    tokens = Tokens("one", OSError("the issuer is away"), b"two")
    password: Callable[[], Any] = tokens.later if is_async else tokens
    async with asyncio.timeout(GUARD), told() as (broker, url):
        client = rmqtt.Client(url, username="meter", password=password, reconnect=AT_ONCE)
        events = client.events()
        async with client:
            assert isinstance(await anext(events), rmqtt.Connected)
            broker.cut()
            lost, failed, connected = [await anext(events) for _ in range(3)]
            assert isinstance(lost, rmqtt.Disconnected)
            assert isinstance(failed, rmqtt.Disconnected)
            assert isinstance(failed.error, OSError)
            assert isinstance(connected, rmqtt.Connected)
        assert [connect.password for connect in broker.connects] == [b"one", b"two"]
        assert set(tokens.threads) == {threading.current_thread()}


@pytest.mark.parametrize(
    ("token", "error", "words"),
    [
        (PermissionError("no token for you"), PermissionError, "no token for you"),
        (None, TypeError, "password.. must give str or bytes, not NoneType"),
        (7, TypeError, "not int"),
        ("x" * 65_536, ValueError, "password.*65535"),
    ],
)
async def test_what_it_raises_or_gives_instead_is_raised_by_connect(
    token: object, error: type[Exception], words: str
) -> None:
    async with told() as (broker, url):
        client = rmqtt.Client(url, username="meter", password=Tokens(token, "right"))
        with pytest.raises(error, match=words):
            await client.connect()
        assert broker.connects == []
        # Another try asks anew.
        async with client:
            assert broker.connects[0].password == b"right"


async def test_a_mechanism_of_ones_own_and_a_password_go_together() -> None:
    class Handler:
        method = "TOKEN"

        def start(self) -> bytes:
            return b"proof"

        def step(self, data: bytes) -> None:
            pass

    accepts = rmqtt.ConnAck(authentication_method="TOKEN")
    async with (
        told(accepts) as (broker, url),
        rmqtt.Client(url, username="meter", password=Tokens("one"), auth=Handler()),
    ):
        (connect,) = broker.connects
        assert (connect.password, connect.authentication_data) == (b"one", b"proof")


async def test_giving_up_cancels_it() -> None:
    cancelled = asyncio.Event()

    async def password() -> str:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled.set()
            raise
        return ""

    async with told() as (broker, url):
        client = rmqtt.Client(url, username="meter", password=password)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(client.connect(), 0.05)
        await asyncio.wait_for(cancelled.wait(), GUARD)
        assert broker.connects == []


def test_the_blocking_twin_asks_on_a_thread_of_its_own() -> None:
    tokens = Tokens("secret", "secret")
    names = []
    for password in (tokens, tokens.later):
        with (
            rmqtt.Broker("mqtt://127.0.0.1:0", auth={"alice": "secret"}) as broker,
            rmqtt.SyncClient(broker.url, client_id="a", username="alice", password=password),
        ):
            assert broker.clients["a"].user == "alice"
            names.append(tokens.threads[-1].name)
    assert names == ["rmqtt-auth"] * 2


async def test_a_function_that_knows_its_client_is_collected_with_it() -> None:
    clients: list[rmqtt.Client] = []

    async def main(broker: str) -> weakref.ref[rmqtt.Client]:
        def password() -> str:
            return "secret" if clients else str(client)

        client = rmqtt.Client(broker, username="meter", password=password)
        with pytest.raises(TypeError):
            await ignored(client)
        return weakref.ref(client)

    async def ignored(client: rmqtt.Client) -> None:
        await client.connect()
        await client.close()
        raise TypeError

    async with told() as (_, url):
        gone = await main(url)
        gc.collect()
        assert gone() is None


def test_its_result_is_shown_nowhere() -> None:
    client = rmqtt.Client("mqtt://broker.example", username="meter", password=lambda: "topsecret")
    assert "topsecret" not in repr(client)


def _types() -> tuple[Callable[[], str], Callable[[], Awaitable[bytes]]]:
    """Both are accepted by the type checker."""

    async def later() -> bytes:
        return b""

    rmqtt.Client(password=later)
    return (lambda: ""), later
