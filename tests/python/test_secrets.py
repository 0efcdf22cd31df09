"""A secret that was given to us is shown nowhere: not by `repr`, not in a notebook, not in an error, not in a log."""

from __future__ import annotations

import asyncio
import logging
import pickle
import traceback
from typing import TYPE_CHECKING, Any

import pytest
import rmqtt

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

SECRET = "tops3cret-marker"
USERS = {"alice": SECRET}
KEY = f"-----BEGIN PRIVATE KEY-----\n{SECRET}\n-----END PRIVATE KEY-----\n"

HOLDERS: dict[str, Callable[[], Any]] = {
    "client with a password": lambda: rmqtt.Client(username="alice", password=SECRET),
    "client with a password as bytes": lambda: rmqtt.Client(username="alice", password=SECRET.encode()),
    "client that proves its password": lambda: rmqtt.Client(auth=rmqtt.ScramSha256("alice", SECRET)),
    "client behind a proxy": lambda: rmqtt.Client(proxy=f"http://alice:{SECRET}@127.0.0.1:1"),
    "client with a header": lambda: rmqtt.Client("ws://127.0.0.1:1", ws_headers={"Authorization": SECRET}),
    "client with a signed address": lambda: rmqtt.Client(f"wss://127.0.0.1:1/mqtt?signature={SECRET}"),
    "blocking client": lambda: rmqtt.SyncClient(username="alice", password=SECRET),
    "proof": lambda: rmqtt.ScramSha256("alice", SECRET),
    "key": lambda: rmqtt.TLS(cert=b"cert", key=KEY.encode(), key_password=SECRET),
    "listener with users": lambda: rmqtt.Listener("mqtt://127.0.0.1:0", auth=USERS),
    "broker with users": lambda: rmqtt.Broker("mqtt://127.0.0.1:0", auth=USERS),
    "login": lambda: rmqtt.Login(
        client_id="c",
        username="alice",
        password=SECRET.encode(),
        peer_address="127.0.0.1:1",
        certificate=None,
        listener=0,
    ),
}


def words_of(error: BaseException) -> str:
    """Everything that an error would show, and those it came from."""
    return "".join(traceback.format_exception(error)) + repr(error) + str(vars(error))


@pytest.mark.parametrize("holder", HOLDERS)
def test_what_holds_a_secret_does_not_show_it(holder: str) -> None:
    made = HOLDERS[holder]()
    shown = [repr(made), str(made), f"{[made]}"]
    shown += [made._repr_html_()] if hasattr(made, "_repr_html_") else []
    assert not [text for text in shown if SECRET in text]


@pytest.mark.parametrize(
    "refused",
    [
        lambda: rmqtt.Client(f"mqtt://alice:{SECRET}@127.0.0.1"),
        lambda: rmqtt.Client(f"wss://alice:{SECRET}@127.0.0.1"),
        lambda: rmqtt.Client(f"wss://127.0.0.1/mqtt?signature={SECRET}#part"),
        lambda: rmqtt.Client(proxy=f"ftp://alice:{SECRET}@127.0.0.1:1"),
        lambda: rmqtt.Client(proxy=f"http://alice:{SECRET}@127.0.0.1:notaport"),
        lambda: rmqtt.Client("ws://127.0.0.1", ws_headers={"Authorization": f"{SECRET}\r\nX: y"}),
        lambda: rmqtt.Client("mqtt://127.0.0.1", ws_headers={"Authorization": SECRET}),
        lambda: rmqtt.Client("mqtts://127.0.0.1", tls=rmqtt.TLS(cert=KEY, key=KEY, key_password=SECRET)),
        lambda: rmqtt.Client(username="alice", password=SECRET * 10_000),
        lambda: rmqtt.Broker("mqtt://127.0.0.1:0", auth={"": SECRET}),
        lambda: rmqtt.Broker("mqtt://127.0.0.1:0", auth={"alice": f"{SECRET}\0"}),
        lambda: rmqtt.Broker(f"mqtt://alice:{SECRET}@127.0.0.1:0"),
    ],
)
def test_what_is_refused_at_once_does_not_repeat_a_secret(refused: Callable[[], Any]) -> None:
    with pytest.raises((ValueError, TypeError, rmqtt.MqttError)) as refusal:
        refused()
    # The line of code that gave the secret is the caller's own.
    assert SECRET not in f"{refusal.value!r} {refusal.value} {vars(refusal.value)}"


def test_a_password_file_with_a_password_that_is_not_hashed_does_not_repeat_it(tmp_path: Path) -> None:
    path = tmp_path / "users"
    path.write_text(f"alice:{SECRET}\n")
    with pytest.raises(ValueError, match="line 1") as refusal:
        rmqtt.Broker("mqtt://127.0.0.1:0", auth=rmqtt.PasswordFile(path))
    assert SECRET not in words_of(refusal.value)


async def test_neither_end_tells_the_password_of_a_login(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    async with rmqtt.Broker("mqtt://127.0.0.1:0", auth={"alice": "another", "bob": SECRET}) as broker:
        with pytest.raises(rmqtt.ConnectRefused) as refusal:
            await rmqtt.Client(broker.url, username="alice", password=SECRET).connect()
        with pytest.raises(rmqtt.MqttError) as failure:
            await rmqtt.Client(broker.url, auth=rmqtt.ScramSha256("alice", SECRET)).connect()
        async with rmqtt.Client(broker.url, username="bob", password=SECRET) as client:
            shown = [repr(client), repr(broker), str(dict(broker.clients)), str(broker.stats()), str(client.stats())]
    shown += [words_of(refusal.value), words_of(failure.value), caplog.text]
    assert not [text for text in shown if SECRET in text]


async def test_a_hook_that_fails_over_a_login_logs_no_password(caplog: pytest.LogCaptureFixture) -> None:
    def fails(login: rmqtt.Login) -> bool:
        raise RuntimeError(login)

    async with rmqtt.Broker("mqtt://127.0.0.1:0", auth=fails) as broker:
        with pytest.raises(rmqtt.ConnectRefused):
            await rmqtt.Client(broker.url, username="alice", password=SECRET).connect()
    assert "RuntimeError" in caplog.text
    assert SECRET not in caplog.text


async def test_a_signed_address_is_cut_short_in_errors_and_logs(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    client = rmqtt.Client(f"ws://127.0.0.1:1/mqtt?signature={SECRET}", reconnect=None)
    with pytest.raises(rmqtt.ConnectFailed) as failure:
        await client.connect()
    assert failure.value.endpoint == "ws://127.0.0.1:1/mqtt?…"
    assert SECRET not in words_of(failure.value) + caplog.text


async def test_a_proxy_that_refuses_does_not_have_its_password_told(caplog: pytest.LogCaptureFixture) -> None:
    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n")
        writer.close()

    caplog.set_level(logging.DEBUG)
    server = await asyncio.start_server(refuse, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with server:
        client = rmqtt.Client("mqtt://127.0.0.1:1", proxy=f"http://alice:{SECRET}@127.0.0.1:{port}", reconnect=None)
        with pytest.raises(rmqtt.ConnectFailed) as failure:
            await client.connect()
    assert "407" in str(failure.value)
    assert SECRET not in words_of(failure.value) + caplog.text


def test_an_error_that_goes_to_another_process_takes_no_secret_with_it() -> None:
    with rmqtt.Broker("mqtt://127.0.0.1:0", auth={"alice": "another"}) as broker:
        with pytest.raises(rmqtt.ConnectRefused) as refusal:
            rmqtt.SyncClient(broker.url, username="alice", password=SECRET).connect()
        assert SECRET.encode() not in pickle.dumps(refusal.value)
