"""TLS and Unix sockets through the public face: what is asked for, and what is told when it goes wrong."""

from __future__ import annotations

import pickle
import socket
import ssl
from typing import TYPE_CHECKING

import pytest
import rmqtt
from rmqtt import TLS, Listener

if TYPE_CHECKING:
    from pathlib import Path

    from rmqtt.pytest_plugin import BrokerFactory
    from rmqtt.testing import Certificate, Certificates


async def test_messages_go_through_an_encrypted_connection(
    mqtt_broker_factory: BrokerFactory, mqtt_tls: Certificates
) -> None:
    broker = mqtt_broker_factory(Listener("mqtts://127.0.0.1:0", tls=mqtt_tls.for_listener()))
    assert broker.url == f"mqtts://127.0.0.1:{broker.port}"
    async with rmqtt.Client(broker.url, tls=mqtt_tls.for_client()) as client, client.subscribe("a") as subscription:
        await client.publish("a", b"1")
        assert (await subscription.get()).payload == b"1"


def test_a_blocking_client_shows_its_certificate(mqtt_broker_factory: BrokerFactory, mqtt_tls: Certificates) -> None:
    broker = mqtt_broker_factory(Listener("mqtts://127.0.0.1:0", tls=mqtt_tls.for_listener(ca=mqtt_tls.ca)))
    with rmqtt.SyncClient(broker.url, tls=mqtt_tls.for_client(mqtt_tls.client)) as client:
        client.publish("a", b"1", qos=1)
    with (
        pytest.raises(rmqtt.ConnectFailed, match="wants a certificate of ours"),
        rmqtt.SyncClient(broker.url, tls=mqtt_tls.for_client()),
    ):
        pass


def test_material_is_taken_as_path_as_text_and_as_bytes(
    mqtt_broker_factory: BrokerFactory, mqtt_tls: Certificates
) -> None:
    server = mqtt_tls.server
    der = ssl.PEM_cert_to_DER_cert(server.cert)
    both: list[tuple[TLS, Path | str | bytes]] = [
        (TLS(cert=server.cert_file, key=str(server.key_file)), mqtt_tls.ca_file),
        (TLS(cert=server.cert, key=server.key), mqtt_tls.ca),
        (TLS(cert=server.cert.encode(), key=server.key.encode()), mqtt_tls.ca.encode()),
        (TLS(cert=der, key=server.key), ssl.PEM_cert_to_DER_cert(mqtt_tls.ca)),
        (TLS(cert=server.cert + server.key), mqtt_tls.ca),
    ]
    for tls, ca in both:
        broker = mqtt_broker_factory(Listener("mqtts://127.0.0.1:0", tls=tls))
        with rmqtt.SyncClient(broker.url, tls=TLS(ca=ca)) as client:
            client.publish("a", b"1")


@pytest.mark.parametrize(
    ("shown", "words"),
    [
        ("expired", "has expired"),
        ("wrong_host", "not for 127.0.0.1"),
        ("revoked", "was revoked"),
        ("self_signed", "self-signed"),
    ],
)
def test_a_certificate_that_is_not_accepted_is_said_to_be(
    mqtt_broker_factory: BrokerFactory, mqtt_tls: Certificates, shown: str, words: str
) -> None:
    certificate: Certificate = getattr(mqtt_tls, shown)
    broker = mqtt_broker_factory(Listener("mqtts://127.0.0.1:0", tls=mqtt_tls.for_listener(certificate)))
    client = rmqtt.SyncClient(broker.url, tls=mqtt_tls.for_client(crl=mqtt_tls.crl))
    with pytest.raises(rmqtt.ConnectFailed, match=words) as raised, client:
        pass
    assert raised.value.endpoint == broker.url


def test_the_systems_authorities_do_not_know_a_stranger(
    mqtt_broker_factory: BrokerFactory, mqtt_tls: Certificates
) -> None:
    broker = mqtt_broker_factory(Listener("mqtts://127.0.0.1:0", tls=mqtt_tls.for_listener()))
    for client in (rmqtt.SyncClient(broker.url), rmqtt.SyncClient("127.0.0.1", port=broker.port, tls=True)):
        with pytest.raises(rmqtt.ConnectFailed, match="unknown CA"), client:
            pass


@pytest.mark.parametrize(
    ("scheme", "offered", "agreed"),
    [
        ("mqtts", ["mqtt"], "mqtt"),
        ("mqtts", ["x-amzn", "mqtt"], "mqtt"),
        ("mqtts", [], None),
        ("wss", ["http/1.1"], "http/1.1"),
        ("wss", ["h2", "http/1.1"], "http/1.1"),
    ],
)
def test_a_listener_agrees_to_its_protocol(
    mqtt_broker_factory: BrokerFactory, mqtt_tls: Certificates, scheme: str, offered: list[str], agreed: str | None
) -> None:
    broker = mqtt_broker_factory(Listener(f"{scheme}://127.0.0.1:0", tls=mqtt_tls.for_listener()))
    with foreign(broker, mqtt_tls, offered) as peer:
        assert peer.selected_alpn_protocol() == agreed


@pytest.mark.parametrize("scheme", ["mqtts", "wss"])
def test_a_listener_agrees_to_no_other_protocol(
    mqtt_broker_factory: BrokerFactory, mqtt_tls: Certificates, scheme: str
) -> None:
    broker = mqtt_broker_factory(Listener(f"{scheme}://127.0.0.1:0", tls=mqtt_tls.for_listener()))
    with pytest.raises(ssl.SSLError, match=r"(?i)no.application.protocol"), foreign(broker, mqtt_tls, ["h2"]):
        pass


def foreign(broker: rmqtt.Broker, mqtt_tls: Certificates, offered: list[str]) -> ssl.SSLSocket:
    """Connect by Python's own module, offering these protocols (ALPN)."""
    context = ssl.create_default_context(cadata=mqtt_tls.ca)
    if offered:
        context.set_alpn_protocols(offered)
    plain = socket.create_connection(("127.0.0.1", broker.port), timeout=10)
    return context.wrap_socket(plain, server_hostname="localhost")


def test_a_context_of_pythons_own_is_refused_with_what_would_do_the_same() -> None:
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    with pytest.raises(TypeError, match=r'rmqtt\.TLS\(.*verify=False, min_version="1\.3"\)'):
        rmqtt.Client("mqtts://127.0.0.1", tls=context)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=r"rmqtt\.TLS, a bool or None, not str"):
        rmqtt.Client("mqtts://127.0.0.1", tls="ca.pem")  # type: ignore[arg-type]


def test_what_does_not_go_together_is_refused_at_once(mqtt_tls: Certificates) -> None:
    with pytest.raises(ValueError, match="not encrypted"):
        rmqtt.Client("mqtt://127.0.0.1", tls=TLS(ca=mqtt_tls.ca))
    with pytest.raises(ValueError, match="needs tls"):
        rmqtt.Broker("mqtts://127.0.0.1:0")
    with pytest.raises(ValueError, match="needs cert and key"):
        rmqtt.Broker(Listener("mqtts://127.0.0.1:0", tls=TLS()))
    with pytest.raises(ValueError, match="not encrypted"):
        rmqtt.Broker(Listener("mqtt://127.0.0.1:0", tls=mqtt_tls.for_listener()))
    with pytest.raises(FileNotFoundError, match=r"tls\.ca"):
        rmqtt.Client("mqtts://127.0.0.1", tls=TLS(ca="/nonexistent/ca.pem"))
    with pytest.raises(ValueError, match=r"tls\.min_version"):
        rmqtt.Client("mqtts://127.0.0.1", tls=TLS(min_version="1.0"))  # type: ignore[arg-type]


def test_certificates_in_files_are_read_anew(
    mqtt_broker_factory: BrokerFactory, mqtt_tls: Certificates, tmp_path: Path
) -> None:
    both = tmp_path / "server.pem"
    both.write_text(mqtt_tls.expired.cert + mqtt_tls.expired.key)
    broker = mqtt_broker_factory(Listener("mqtts://127.0.0.1:0", tls=TLS(cert=both)))
    with pytest.raises(rmqtt.ConnectFailed), rmqtt.SyncClient(broker.url, tls=mqtt_tls.for_client()):
        pass
    both.write_text("")
    with pytest.raises(ValueError, match="no certificate"):
        broker.reload_certificates()
    both.write_text(mqtt_tls.server.cert + mqtt_tls.server.key)
    broker.reload_certificates()
    with rmqtt.SyncClient(broker.url, tls=mqtt_tls.for_client()) as client:
        client.publish("a", b"1")


def test_a_key_is_not_shown_and_the_rest_can_be_pickled(mqtt_tls: Certificates) -> None:
    tls = mqtt_tls.for_client(mqtt_tls.client, key_password="hush")
    assert "PRIVATE" not in repr(tls)
    assert "hush" not in repr(tls)
    listener = Listener("mqtts://127.0.0.1:0", tls=tls)
    assert pickle.loads(pickle.dumps(listener)) == listener


def test_messages_go_through_a_unix_socket(mqtt_broker_factory: BrokerFactory, tmp_path: Path) -> None:
    path = tmp_path / "mqtt.sock"
    broker = mqtt_broker_factory(Listener(f"unix://{path}", socket_mode=0o660))
    assert path.stat().st_mode & 0o777 == 0o660
    with rmqtt.SyncClient(broker.url) as client:
        client.publish("a", b"1", qos=1)
        assert [known.peer_address for known in broker.clients.values()] == [None]
    broker.stop()
    assert not path.exists()


def test_a_client_behind_a_proxy_is_known_by_its_own_address(mqtt_broker_factory: BrokerFactory) -> None:
    listener = Listener("mqtt://127.0.0.1:0", proxy_protocol=["127.0.0.1", "10.0.0.0/8"], allow_anonymous=True)
    broker = mqtt_broker_factory(listener)
    with socket.create_connection(("127.0.0.1", broker.port)) as proxy:
        proxy.sendall(b"PROXY TCP4 192.0.2.7 10.0.0.2 8080 1883\r\n" + b"\x10\x0d\x00\x04MQTT\x04\x02\x00\x00\x00\x01m")
        assert proxy.recv(4)[:1] == b"\x20"
        assert [known.peer_address for known in broker.clients.values()] == ["192.0.2.7:8080"]


@pytest.mark.parametrize(
    ("url", "proxies", "words"),
    [
        ("mqtt://127.0.0.1:0", ["proxy.example"], "neither an IP address nor a network"),
        ("mqtt://127.0.0.1:0", [], "names no proxy"),
        ("mem://proxied", ["127.0.0.1"], "no proxy within a process"),
    ],
)
def test_proxies_that_could_not_be_told_are_refused(url: str, proxies: list[str], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        rmqtt.Broker(Listener(url, proxy_protocol=proxies))
