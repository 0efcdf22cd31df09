"""WebSocket through the public face: URLs, headers, origins, and what is told when it goes wrong."""

from __future__ import annotations

import http.client
import pickle
from typing import TYPE_CHECKING

import pytest
import rmqtt
from rmqtt import Listener

if TYPE_CHECKING:
    from rmqtt.pytest_plugin import BrokerFactory
    from rmqtt.testing import Certificates

HANDSHAKE = {
    "Connection": "Upgrade",
    "Upgrade": "websocket",
    "Sec-WebSocket-Version": "13",
    "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
    "Sec-WebSocket-Protocol": "mqtt",
}


def ask(port: int | None, path: str = "/mqtt", **headers: str) -> tuple[int, str]:
    """Ask as a browser or a tool would; the answer's status, and what it says."""
    connection = http.client.HTTPConnection("127.0.0.1", port or 0, timeout=20)
    try:
        connection.request("GET", path, headers=headers)
        answer = connection.getresponse()
        return answer.status, "" if answer.status == 101 else answer.read().decode()
    finally:
        connection.close()


async def test_messages_go_over_websocket(mqtt_broker_factory: BrokerFactory) -> None:
    broker = mqtt_broker_factory("ws://127.0.0.1:0")
    assert broker.url == f"ws://127.0.0.1:{broker.port}"
    async with rmqtt.Client(broker.url) as client, client.subscribe("a") as subscription:
        await client.publish("a", b"1")
        assert (await subscription.get()).payload == b"1"


def test_messages_go_over_an_encrypted_websocket(mqtt_broker_factory: BrokerFactory, mqtt_tls: Certificates) -> None:
    broker = mqtt_broker_factory(Listener("wss://127.0.0.1:0/plant", tls=mqtt_tls.for_listener()))
    assert broker.url == f"wss://127.0.0.1:{broker.port}/plant"
    with rmqtt.SyncClient(broker.url, tls=mqtt_tls.for_client()) as client:
        client.publish("a", b"1", qos=1)


def test_a_port_of_its_own_goes_before_the_path(mqtt_broker_factory: BrokerFactory) -> None:
    broker = mqtt_broker_factory("ws://127.0.0.1:0/plant/7")
    with rmqtt.SyncClient("ws://127.0.0.1/plant/7", port=broker.port) as client:
        assert client.url == broker.url


def test_another_path_than_the_listeners_is_not_found(mqtt_broker_factory: BrokerFactory) -> None:
    broker = mqtt_broker_factory("ws://127.0.0.1:0/plant")
    client = rmqtt.SyncClient("ws://127.0.0.1", port=broker.port, reconnect=None)
    with pytest.raises(rmqtt.ConnectFailed, match="404 Not Found: there is nothing at this path"), client:
        pass


@pytest.mark.parametrize(
    ("origin", "status"),
    [
        ("http://localhost:8000", 101),
        ("http://127.0.0.1:3000", 101),
        ("http://[::1]", 101),
        ("https://app.example", 403),
        ("http://127.0.0.1.app.example", 403),
        ("null", 403),
    ],
)
def test_pages_of_this_machine_may_connect_and_no_others(
    mqtt_broker_factory: BrokerFactory, origin: str, status: int
) -> None:
    broker = mqtt_broker_factory("ws://127.0.0.1:0")
    assert ask(broker.port, **HANDSHAKE, Origin=origin)[0] == status


def test_pages_that_are_listed_may_connect_and_no_others(mqtt_broker_factory: BrokerFactory) -> None:
    broker = mqtt_broker_factory(Listener("ws://127.0.0.1:0", origins=["https://app.example"]))
    assert ask(broker.port, **HANDSHAKE, Origin="https://app.example")[0] == 101
    status, words = ask(broker.port, **HANDSHAKE, Origin="http://localhost")
    assert (status, "origins" in words) == (403, True)


def test_a_page_on_the_same_host_is_no_exception(mqtt_broker_factory: BrokerFactory) -> None:
    broker = mqtt_broker_factory("ws://127.0.0.1:0")
    rebound = f"rebound.example:{broker.port}"
    assert ask(broker.port, **HANDSHAKE, Host=rebound, Origin=f"http://{rebound}")[0] == 403


def test_who_looks_with_a_browser_is_told_what_is_there(mqtt_broker_factory: BrokerFactory) -> None:
    broker = mqtt_broker_factory("ws://127.0.0.1:0")
    status, words = ask(broker.port, "/")
    assert (status, words.startswith("here is MQTT over WebSocket")) == (426, True)


@pytest.mark.parametrize(
    ("listener", "words"),
    [
        (Listener("mqtt://127.0.0.1:0", origins=["https://app.example"]), "is no WebSocket, and has origins"),
        (Listener("ws://127.0.0.1:0", origins=["app.example"]), "is no origin"),
        (Listener("wss://127.0.0.1:0"), "needs tls"),
        (Listener("ws://127.0.0.1:0/mqtt?a=b"), "no question mark"),
    ],
)
def test_a_listener_that_does_not_fit_together_is_refused(listener: Listener, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        rmqtt.Broker(listener)


@pytest.mark.parametrize(
    ("url", "headers", "words"),
    [
        ("mqtt://h", {"X": "1"}, "ws_headers were given"),
        ("ws://h", {"Host": "other"}, "belongs to the handshake"),
        ("ws://h", {"Sec-WebSocket-Protocol": "other"}, "belongs to the handshake"),
        ("ws://h", {"a b": "1"}, "is no name of a header"),
        ("ws://h", {"X": "1\r\nEvil: 2"}, "cannot stand in a header"),
    ],
)
def test_headers_that_cannot_be_sent_are_refused(url: str, headers: dict[str, str], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        rmqtt.Client(url, ws_headers=headers)


def test_the_value_of_a_header_is_in_no_error() -> None:
    with pytest.raises(ValueError, match="Authorization") as raised:
        rmqtt.Client("ws://h", ws_headers={"Authorization": "hush\n"})
    assert "hush" not in str(raised.value)


def test_a_listener_with_origins_is_pickled() -> None:
    listener = Listener("ws://127.0.0.1:0", origins=["https://app.example"])
    assert pickle.loads(pickle.dumps(listener)) == listener
