"""The client through HTTP and SOCKS 5 proxies: good ones, and those that do not do what they should."""

from __future__ import annotations

import asyncio
import socket
import threading
from typing import TYPE_CHECKING, Any

import proxies
import pytest
import rmqtt
from proxies import Kind, Proxy, Trick
from rmqtt import Listener

if TYPE_CHECKING:
    from rmqtt.pytest_plugin import BrokerFactory
    from rmqtt.testing import Certificates

KINDS: tuple[Kind, ...] = ("http", "socks5", "socks5h")


async def _talk(url: str, **options: Any) -> None:
    async with rmqtt.Client(url, **options) as client, client.subscribe("a", qos=1) as subscription:
        for payload in (b"1", b"x" * 500_000):
            await client.publish("a", payload, qos=1)
            assert (await subscription.get()).payload == payload


async def _fails(url: str, proxy: Proxy | str, *, timeout: float = 10, **options: Any) -> str:
    through = proxy if isinstance(proxy, str) else proxy.url
    client = rmqtt.Client(url, proxy=through, connect_timeout=timeout, **options)
    with pytest.raises(rmqtt.ConnectFailed) as raised:
        await client.connect()
    return str(raised.value)


@pytest.mark.parametrize("login", [None, ("me", "hush")])
@pytest.mark.parametrize("kind", KINDS)
async def test_messages_go_through_a_proxy(
    mqtt_broker_factory: BrokerFactory, kind: Kind, login: tuple[str, str] | None
) -> None:
    broker = mqtt_broker_factory()
    async with Proxy(kind, login) as proxy:
        await _talk(broker.url, proxy=proxy.url)
        assert proxy.asked == [f"127.0.0.1:{broker.port}"]


@pytest.mark.parametrize("kind", KINDS)
async def test_what_goes_through_it_encrypted_is_not_for_the_proxy(
    mqtt_broker_factory: BrokerFactory, mqtt_tls: Certificates, kind: Kind
) -> None:
    broker = mqtt_broker_factory(Listener("mqtts://127.0.0.1:0", tls=mqtt_tls.for_listener()))
    async with Proxy(kind, ("me", "hush")) as proxy:
        await _talk(broker.url, proxy=proxy.url, tls=mqtt_tls.for_client())
        assert proxy.carried[0] == 0x16
        assert b"MQTT" not in proxy.carried
        cause = await _fails(broker.url, proxy, tls=rmqtt.TLS(ca=mqtt_tls.other_ca))
        assert "unknown CA" in cause


@pytest.mark.parametrize("kind", KINDS)
async def test_a_websocket_begins_behind_the_proxy(mqtt_broker_factory: BrokerFactory, kind: Kind) -> None:
    broker = mqtt_broker_factory("ws://127.0.0.1:0/plant")
    async with Proxy(kind, ("me", "hush")) as proxy:
        await _talk(broker.url, proxy=proxy.url, ws_headers={"Authorization": "Bearer t"})
        head = bytes(proxy.carried).partition(b"\r\n\r\n")[0].decode().lower()
        assert head.startswith("get /plant http/1.1")
        assert f"host: 127.0.0.1:{broker.port}" in head
        assert "authorization: bearer t" in head
        assert "proxy-authorization" not in head
        assert "404 Not Found" in await _fails(f"ws://127.0.0.1:{broker.port}/elsewhere", proxy)


@pytest.mark.parametrize("kind", KINDS)
async def test_an_encrypted_websocket_is_not_for_the_proxy_and_its_name_the_servers(
    mqtt_broker_factory: BrokerFactory, mqtt_tls: Certificates, kind: Kind
) -> None:
    broker = mqtt_broker_factory(Listener("wss://127.0.0.1:0/plant", tls=mqtt_tls.for_listener()))
    async with Proxy(kind, leads_to=("127.0.0.1", broker.port)) as proxy:
        await _talk("wss://localhost/plant", proxy=proxy.url, tls=mqtt_tls.for_client())
        assert {name.rpartition(":")[2] for name in proxy.asked} == {"443"}
        assert proxy.carried[0] == 0x16
        assert b"HTTP/1.1" not in proxy.carried
        cause = await _fails("wss://127.0.0.2/plant", proxy, tls=mqtt_tls.for_client())
        assert "127.0.0.2" in cause


@pytest.mark.parametrize("kind", ["http", "socks5h"])
async def test_names_are_the_proxys_to_resolve(mqtt_broker_factory: BrokerFactory, kind: Kind) -> None:
    broker = mqtt_broker_factory()
    async with Proxy(kind, leads_to=("127.0.0.1", broker.port)) as proxy:
        await _talk("mqtt://known.only.to.the.proxy.invalid:7", proxy=proxy.url)
        assert proxy.asked == ["known.only.to.the.proxy.invalid:7"]


@pytest.mark.parametrize("kind", KINDS)
async def test_a_websocket_that_does_not_come_about_behind_a_proxy_is_said_to_be_the_servers_fault(
    mqtt_broker_factory: BrokerFactory, mqtt_tls: Certificates, kind: Kind
) -> None:
    plain = mqtt_broker_factory()
    async with Proxy(kind) as proxy:
        cause = await _fails(f"ws://127.0.0.1:{plain.port}", proxy)
        assert "proxy" not in cause
        cause = await _fails(f"wss://127.0.0.1:{plain.port}", proxy, tls=mqtt_tls.for_client())
        assert "proxy" not in cause


async def test_with_socks5_names_are_resolved_here(mqtt_broker_factory: BrokerFactory) -> None:
    broker = mqtt_broker_factory()
    async with Proxy("socks5", leads_to=("127.0.0.1", broker.port)) as proxy:
        await _talk(f"mqtt://localhost:{broker.port}", proxy=proxy.url)
        assert proxy.asked
        assert set(proxy.asked) <= {f"127.0.0.1:{broker.port}", f"::1:{broker.port}"}
        cause = await _fails("mqtt://known.to.nobody.invalid", proxy)
        assert "known.to.nobody.invalid could not be resolved, before the proxy was asked" in cause


@pytest.mark.parametrize("kind", ["http", "socks5", "socks5h"])
async def test_an_ipv6_address_is_asked_for_as_one(mqtt_broker_factory: BrokerFactory, kind: Kind) -> None:
    broker = mqtt_broker_factory()
    async with Proxy(kind, leads_to=("127.0.0.1", broker.port)) as proxy:
        await _talk("mqtt://[::1]:7", proxy=proxy.url)
        assert proxy.asked == ["::1:7"]


@pytest.mark.parametrize(
    ("kind", "refused", "missing"),
    [
        ("http", r"\(407\)", r"wants a user name and password \(407\)"),
        ("socks5h", "did not accept", "give it a user name"),
    ],
)
async def test_who_is_not_known_to_a_proxy_is_told_so_without_the_password(
    kind: Kind, refused: str, missing: str
) -> None:
    async with Proxy(kind, ("me", "hush")) as proxy:
        for url, words in (
            (proxy.url.replace("hush", "guess"), refused),
            (proxy.url.replace("me:hush@", ""), missing),
        ):
            client = rmqtt.Client("mqtt://127.0.0.1:1", proxy=url)
            with pytest.raises(rmqtt.ConnectFailed, match=words) as raised:
                await client.connect()
            assert "guess" not in f"{raised.value!r} {raised.value} {client!r}"
            assert f"the proxy {kind}://127.0.0.1:{proxy.port}" in str(raised.value)


@pytest.mark.parametrize(
    ("kind", "forbidden", "unreachable"),
    [("http", "it answered 403 Forbidden", "502 Bad Gateway"), ("socks5", "rules do not allow it", "was refused")],
)
async def test_what_a_proxy_does_not_connect_to_is_said(kind: Kind, forbidden: str, unreachable: str) -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        port = nobody.getsockname()[1]
        async with Proxy(kind, forbidden=frozenset({7})) as proxy:
            assert forbidden in await _fails("mqtt://127.0.0.1:7", proxy)
            assert unreachable in await _fails(f"mqtt://127.0.0.1:{port}", proxy)


async def test_a_proxy_that_is_not_there_is_named_without_its_password() -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        cause = await _fails("mqtt://127.0.0.1:7", f"socks5://me:hush@127.0.0.1:{nobody.getsockname()[1]}")
    assert "could not be reached" in cause
    assert "hush" not in cause


@pytest.mark.parametrize(
    ("kind", "trick", "words"),
    [
        ("http", "flood", "answered with more than it may"),
        ("http", "nonsense", "does not speak HTTP"),
        ("http", "half an answer", "closed the connection instead of answering"),
        ("http", "nothing at all", "closed the connection instead of answering"),
        ("http", "a greeting of its own", "said more than that it is connected"),
        ("socks5", "flood", "does not speak SOCKS 5"),
        ("socks5", "nonsense", "does not speak SOCKS 5"),
        ("socks5", "half an answer", "closed the connection instead of answering"),
        ("socks5", "nothing at all", "closed the connection instead of answering"),
        ("socks5", "a greeting of its own", "does not speak SOCKS 5"),
    ],
)
async def test_a_proxy_that_misbehaves_fails_the_connection_and_says_how(kind: Kind, trick: Trick, words: str) -> None:
    async with Proxy(kind, trick=trick) as proxy:
        assert words in await _fails("mqtt://127.0.0.1:7", proxy)


@pytest.mark.parametrize("kind", KINDS)
async def test_a_proxy_that_never_answers_costs_the_time_of_connecting_and_no_more(kind: Kind) -> None:
    async with Proxy(kind, trick="silence") as proxy:
        client = rmqtt.Client("mqtt://127.0.0.1:7", proxy=proxy.url, connect_timeout=0.2)
        with pytest.raises(rmqtt.MqttTimeout, match=r"connecting took longer than 0\.2 s: no answer from the proxy"):
            await client.connect()


async def test_the_next_address_is_tried_through_the_same_proxy(mqtt_broker_factory: BrokerFactory) -> None:
    broker = mqtt_broker_factory()
    async with Proxy(forbidden=frozenset({7})) as proxy:
        await _talk(["mqtt://127.0.0.1:7", broker.url], proxy=proxy.url)  # type: ignore[arg-type]
        assert proxy.asked == [f"127.0.0.1:{broker.port}"]


async def test_a_client_comes_back_through_its_proxy(mqtt_broker_factory: BrokerFactory) -> None:
    broker = mqtt_broker_factory()
    async with Proxy("socks5h") as proxy:
        quick = rmqtt.Reconnect(initial=0.01)
        async with rmqtt.Client(broker.url, proxy=proxy.url, reconnect=quick) as client:
            for known in list(broker.clients):
                await broker.disconnect(known)
            await asyncio.wait_for(client.publish("a", b"1", qos=1), 10)
        assert len(proxy.asked) == 2


def test_a_blocking_client_goes_through_a_proxy(mqtt_broker_factory: BrokerFactory) -> None:
    broker, ready, done = mqtt_broker_factory(), threading.Event(), threading.Event()
    known: list[Proxy] = []

    async def serve() -> None:
        async with Proxy("http", ("me", "hush")) as proxy:
            known.append(proxy)
            ready.set()
            await asyncio.to_thread(done.wait)

    thread = threading.Thread(target=asyncio.run, args=(serve(),))
    thread.start()
    try:
        assert ready.wait(10)
        with rmqtt.SyncClient(broker.url, proxy=known[0].url) as client:
            client.publish("a", b"1", qos=1)
    finally:
        done.set()
        thread.join()
    assert known[0].asked == [f"127.0.0.1:{broker.port}"]


@pytest.mark.parametrize(
    ("proxy", "words"),
    [
        ("https://proxy:1", "a proxy is http://"),
        ("http://me:hush@proxy", "port of the proxy is missing"),
        ("http://me:hush%@proxy:1", "cannot be read"),
    ],
)
def test_what_is_no_proxy_is_refused_without_its_password(proxy: str, words: str) -> None:
    with pytest.raises(ValueError, match=f"proxy: .*{words}") as raised:
        rmqtt.Client("mqtt://127.0.0.1", proxy=proxy)
    assert "hush" not in str(raised.value)


@pytest.mark.parametrize("url", ["mem://inside", "unix:///run/mqtt.sock"])
def test_there_is_no_way_through_a_proxy_to_what_is_not_on_the_network(url: str) -> None:
    with pytest.raises(ValueError, match=f"no way to {url} through a proxy"):
        rmqtt.Client(url, proxy="http://proxy:1")


def test_every_kind_of_proxy_is_tested() -> None:
    assert set(KINDS) == set(proxies.Kind.__args__)  # type: ignore[attr-defined]
