"""Several addresses, bare host names, and brokers that send their clients elsewhere; from both faces of a client."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from typing import TYPE_CHECKING

import pytest
import rmqtt
from held_broker import GUARD
from loops import on_every_loop

if TYPE_CHECKING:
    from collections.abc import Iterator

AT_ONCE = rmqtt.Reconnect(initial=0.01, factor=1, jitter="none")


@contextlib.contextmanager
def nobody() -> Iterator[str]:
    """Say where nobody listens, and nobody will."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        yield f"mqtt://127.0.0.1:{held.getsockname()[1]}"


@on_every_loop
async def test_the_next_address_is_tried_when_the_first_does_not_answer() -> None:
    with nobody() as gone, rmqtt.Broker("mqtt://127.0.0.1:0") as broker:
        async with rmqtt.Client([gone, broker.url]) as client:
            await client.publish("a", qos=1)
            assert client.url == gone
        with rmqtt.SyncClient([gone, broker.url]) as plain:
            plain.publish("a", qos=1)


@on_every_loop
async def test_a_client_goes_to_the_other_broker_when_its_own_is_gone() -> None:
    with rmqtt.Broker("mqtt://127.0.0.1:0") as first, rmqtt.Broker("mqtt://127.0.0.1:0") as second:
        async with (
            rmqtt.Client((first.url, second.url), reconnect=AT_ONCE) as client,
            client.subscribe("a", qos=1) as messages,
        ):
            first.stop()
            await client.publish("a", b"there", qos=1)
            assert (await messages.get(timeout=GUARD)).payload == b"there"
            assert len(second.sessions) == 1


@on_every_loop
async def test_an_error_names_every_address_and_what_went_wrong_there() -> None:
    with nobody() as one, nobody() as two:
        with pytest.raises(rmqtt.ConnectFailed) as failed:
            await rmqtt.Client([one, two]).connect()
        assert failed.value.endpoint == f"{one}, {two}"
        assert failed.value.retryable
        assert list(failed.value.failures) == [one, two]
        assert all(isinstance(why, rmqtt.ConnectFailed) for why in failed.value.failures.values())
        assert one in str(failed.value)
        assert two in str(failed.value)


def test_a_single_address_fails_with_its_own_error() -> None:
    with nobody() as gone:
        with pytest.raises(rmqtt.ConnectFailed) as failed:
            rmqtt.SyncClient(gone).connect()
        assert (failed.value.endpoint, failed.value.failures) == (gone, {})


def test_hosts_are_written_as_users_of_other_clients_write_them() -> None:
    with rmqtt.Broker("mqtt://127.0.0.1:0") as broker:
        for host in ("localhost", "127.0.0.1", "mqtt://localhost"):
            with rmqtt.SyncClient(host, port=broker.port) as client:
                assert client.url == f"{host}:{broker.port}"


def test_an_ipv6_address_takes_a_port() -> None:
    assert rmqtt.SyncClient("::1", port=1884).url == "[::1]:1884"
    assert rmqtt.SyncClient("[::1]", port=1884).url == "[::1]:1884"
    broker = rmqtt.Broker("mqtt://[::1]:0")
    try:
        broker.start()
    except rmqtt.BindError:
        pytest.skip("this machine has no IPv6")
    with contextlib.ExitStack() as stack:
        stack.callback(broker.stop)
        client = stack.enter_context(rmqtt.SyncClient("::1", port=broker.port))
        client.publish("a", qos=1)


@pytest.mark.parametrize("urls", [(), [""], ["localhost", "nonsense://host"], ["localhost", "localhost:0"]])
def test_addresses_that_are_none_are_refused_at_once(urls: list[str]) -> None:
    with pytest.raises(ValueError, match=r"address|port"):
        rmqtt.Client(urls)


@pytest.mark.parametrize("follow", [True, False])
@on_every_loop
async def test_a_client_goes_where_its_broker_sends_it_only_if_it_may(follow: bool) -> None:
    policy = rmqtt.Reconnect(initial=0.01, factor=1, jitter="none", follow_redirects=follow)
    with rmqtt.Broker("mqtt://127.0.0.1:0") as old, rmqtt.Broker("mqtt://127.0.0.1:0") as new:
        client = rmqtt.Client(old.url, client_id="wanderer", reconnect=policy)
        await client.connect()
        events = client.events()
        messages = await client.subscribe("a")
        reference = f"127.0.0.1:{new.port}"
        await old.disconnect("wanderer", rmqtt.ReasonCode.SERVER_MOVED, server_reference=reference)
        told = await asyncio.wait_for(anext(events), GUARD)
        assert told == rmqtt.ServerRedirect(permanent=True, server_reference=reference)
        if follow:
            await client.publish("a", b"there", qos=1)
            assert (await messages.get(timeout=GUARD)).payload == b"there"
            assert set(new.sessions) == {"wanderer"}
        else:
            with pytest.raises(rmqtt.ServerDisconnected):
                await messages.get(timeout=GUARD)
        await client.close()


@pytest.mark.parametrize(
    ("scheme", "missing"),
    [
        ("mqtt", "no answer from the broker to CONNECT"),
        ("mqtts", "no end of the TLS handshake"),
        ("ws", "no answer to the WebSocket handshake"),
    ],
)
async def test_a_time_out_of_connecting_says_what_had_not_come_by_then(scheme: str, missing: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        client = rmqtt.Client(f"{scheme}://127.0.0.1:{silent.getsockname()[1]}", connect_timeout=0.2)
        with pytest.raises(rmqtt.MqttTimeout, match=rf"^connecting took longer than 0\.2 s: {missing}$"):
            await client.connect()


async def test_a_time_out_of_connecting_says_when_it_is_the_application_that_took_so_long() -> None:
    class Slow:
        method = "SLOW"

        async def start(self) -> bytes:
            await asyncio.get_running_loop().create_future()
            return b"never"

        def step(self, data: bytes) -> None:
            del data

    async with rmqtt.Broker("mem://slow") as broker:
        client = broker.client(auth=Slow(), connect_timeout=0.2)
        with pytest.raises(rmqtt.MqttTimeout, match="no word of the application yet on who we are"):
            await client.connect()
