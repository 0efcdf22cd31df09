"""Foreign clients and brokers where there is more than TCP between us.

TLS by OpenSSL and by Node.js, client certificates, WebSocket, Unix sockets.
"""

from __future__ import annotations

import asyncio
import contextlib
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import loops
import pytest
import rmqtt

from interop import scenarios
from interop.conftest import free_port, running_mosquitto
from interop.javascript import MqttJs, NodeError
from interop.peers import MosquittoTools, Ours, Paho, Peer, find_program, soon
from interop.scenarios import Stage
from interop.ways import Way, WayName

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rmqtt.pytest_plugin import BrokerFactory
    from rmqtt.testing import Certificate, Certificates

pytestmark = [
    pytest.mark.interop,
    pytest.mark.filterwarnings("ignore::ResourceWarning"),  # paho leaves its socket pairs to the garbage collector
]

FOREIGN = {"mosquitto": MosquittoTools, "paho": Paho, "mqttjs": MqttJs}
WAYS: dict[str, list[WayName]] = {
    "mosquitto": ["tls", "tls 1.2", "mutual tls", "unix"],
    "paho": ["tls", "tls 1.2", "mutual tls", "unix", "ws", "wss"],
    "mqttjs": ["tls", "tls 1.2", "mutual tls", "ws", "wss"],
}
BOTH = [(name, way) for name, ways in WAYS.items() for way in ways]


class House:
    """A broker of ours, with a door for each way."""

    def __init__(self, make: BrokerFactory, certificates: Certificates, path: Path) -> None:
        asking = certificates.for_listener(ca=certificates.ca, crl=certificates.crl)
        self.certificates = certificates
        self.path = path
        self.broker = make(
            rmqtt.Listener("mqtts://127.0.0.1:0", tls=certificates.for_listener()),
            rmqtt.Listener("mqtts://127.0.0.1:0", tls=asking),
            "ws://127.0.0.1:0",
            rmqtt.Listener("wss://127.0.0.1:0", tls=certificates.for_listener()),
            f"unix://{path}",
        )
        self.ports = [int(url.rpartition(":")[2]) for url in self.broker.urls[:4]]

    def stage(self, name: WayName) -> Stage:
        """Lay this way."""
        if name == "unix":
            return Stage(1, way=Way(path=self.path))
        if name in ("ws", "wss"):
            certificates = self.certificates if name == "wss" else None
            return Stage(self.ports[2 + (name == "wss")], way=Way(certificates, is_websocket=True))
        shows = name == "mutual tls"
        return Stage(self.ports[shows], way=Way(self.certificates, shows, name == "tls 1.2"))


@pytest.fixture
def house(mqtt_broker_factory: BrokerFactory, mqtt_tls: Certificates, tmp_path: Path) -> House:
    """Build it for one test."""
    return House(mqtt_broker_factory, mqtt_tls, tmp_path / "mqtt.sock")


@pytest.mark.parametrize(("foreign", "way"), BOTH)
async def test_what_they_publish_reaches_us(house: House, foreign: str, way: WayName) -> None:
    async with house.stage(way) as stage:
        await scenarios.messages_of_every_kind_arrive(stage, FOREIGN[foreign], Ours)


@pytest.mark.parametrize(("foreign", "way"), BOTH)
async def test_what_we_publish_reaches_them(house: House, foreign: str, way: WayName) -> None:
    async with house.stage(way) as stage:
        await scenarios.messages_of_every_kind_arrive(stage, Ours, FOREIGN[foreign])


async def test_without_a_certificate_they_are_turned_away(house: House) -> None:
    async with Stage(house.ports[1], way=Way(house.certificates)) as stage:
        with pytest.raises(NodeError):
            await stage.add(MqttJs, "nobody")
    assert not house.broker.clients
    await loops.until(lambda: house.broker.stats().connects_refused == 1)


@pytest.mark.parametrize(
    ("shows", "believes", "shown_by_broker"),
    [
        (None, "ca", "server"),
        ("revoked_client", "ca", "server"),
        ("self_signed", "ca", "server"),
        ("client", "other_ca", "server"),
        ("client", "ca", "expired"),
        ("client", "ca", "wrong_host"),
        ("client", "ca", "self_signed"),
    ],
)
async def test_mosquitto_pub_and_our_broker_agree_on_who_is_not_believed(
    mqtt_broker_factory: BrokerFactory, mqtt_tls: Certificates, shows: str | None, believes: str, shown_by_broker: str
) -> None:
    listening = mqtt_tls.for_listener(getattr(mqtt_tls, shown_by_broker), ca=mqtt_tls.ca, crl=mqtt_tls.crl)
    broker = mqtt_broker_factory(rmqtt.Listener("mqtts://127.0.0.1:0", tls=listening))
    command = [
        find_program("mosquitto_pub"),
        "-h",
        "127.0.0.1",
        "-p",
        str(broker.port),
        "-t",
        "a",
        "-m",
        "1",
        "-q",
        "1",
    ]
    command += ["--cafile", str(getattr(mqtt_tls, f"{believes}_file"))]
    if shows:
        mine = getattr(mqtt_tls, shows)
        command += ["--cert", str(mine.cert_file), "--key", str(mine.key_file)]
    process = await asyncio.create_subprocess_exec(*command, stderr=asyncio.subprocess.DEVNULL)
    assert await soon(process.wait()) != 0
    await loops.until(lambda: broker.stats().connects_refused == 1)
    assert broker.stats().connects_accepted == 0


async def test_openssl_is_refused_a_second_handshake_and_others_do_not_notice(
    mqtt_broker_factory: BrokerFactory, mqtt_tls: Certificates
) -> None:
    listener = rmqtt.Listener("mqtts://127.0.0.1:0", tls=mqtt_tls.for_listener())
    broker = mqtt_broker_factory(listener, limits=rmqtt.Limits(connect_timeout=3))
    async with rmqtt.Client(broker.url, tls=mqtt_tls.for_client()) as client, client.subscribe("a") as subscription:
        command = ["openssl", "s_client", "-tls1_2", "-connect", f"127.0.0.1:{broker.port}"]
        pipe = asyncio.subprocess.PIPE
        process = await asyncio.create_subprocess_exec(
            *command, stdin=pipe, stdout=pipe, stderr=asyncio.subprocess.STDOUT
        )
        assert process.stdin is not None
        assert process.stdout is not None
        said = await soon(process.stdout.readuntil(b"Extended master secret"))
        assert b"TLSv1.2" in said
        process.stdin.write(b"R\n")
        said = await soon(process.stdout.readuntil(b"no renegotiation"))
        assert b"RENEGOTIATING" in said
        await client.publish("a", b"1", qos=1)
        assert (await soon(subscription.get())).payload == b"1"
        assert await soon(process.wait()) != 0
    await loops.until(lambda: broker.stats().limits_reached["connect_timeout"] == 1)


class Theirs:
    """Mosquitto, with a door for each way, and one for each certificate that is not to be believed."""

    def __init__(self, certificates: Certificates, folder: Path) -> None:
        self.certificates = certificates
        self.path = folder / "theirs.sock"
        self.ports: dict[str, int] = {}
        self.lines = [f"listener 0 {self.path}"]
        self._listen("tls", "server")
        self._listen("mutual tls", "server", "require_certificate true", f"crlfile {certificates.crl_file}")
        for shown in ("expired", "wrong_host", "self_signed", "revoked"):
            self._listen(shown, shown)

    def _listen(self, name: str, shown: str, *more: str) -> None:
        port = self.ports[name] = free_port()
        certificate = getattr(self.certificates, shown)
        files = (
            f"cafile {self.certificates.ca_file}",
            f"certfile {certificate.cert_file}",
            f"keyfile {certificate.key_file}",
        )
        self.lines += [f"listener {port} 127.0.0.1", *files, *more]

    def stage(self, name: WayName) -> Stage:
        """Lay this way."""
        if name == "unix":
            return Stage(1, way=Way(path=self.path))
        certificates = None if name == "ws" else self.certificates
        way = Way(certificates, shows=name == "mutual tls", is_websocket=name in ("ws", "wss"))
        return Stage(self.ports[name], way=way)

    def refuses(self, door: str, tls: rmqtt.TLS) -> str:
        """Say why our client does not come through this door."""
        client = rmqtt.SyncClient(f"mqtts://127.0.0.1:{self.ports[door]}", tls=tls, reconnect=None)
        with pytest.raises(rmqtt.ConnectFailed) as raised, client:
            pass
        return str(raised.value)


@contextlib.contextmanager
def bridge(port: int, shown: Certificate | None = None) -> Iterator[int]:
    """Run a foreign WebSocket in front of a broker at this port."""
    files = [str(shown.cert_file), str(shown.key_file)] if shown else []
    command = [find_program("node"), str(Path(__file__).parent / "node" / "bridge.js"), str(port), *files]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        yield int(process.stdout.readline())
    finally:
        process.kill()
        process.communicate()


@pytest.fixture(scope="module")
def theirs(mqtt_tls: Certificates, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Theirs]:
    """Run mosquitto for all tests here."""
    folder = tmp_path_factory.mktemp("ways")
    theirs = Theirs(mqtt_tls, folder)
    with running_mosquitto(folder, *theirs.lines) as port, bridge(port) as ws, bridge(port, mqtt_tls.server) as wss:
        theirs.ports |= {"ws": ws, "wss": wss}
        yield theirs


@pytest.mark.parametrize("way", ["tls", "mutual tls", "unix"])
@pytest.mark.parametrize("other", [Ours, MosquittoTools], ids=["ours", "mosquitto"])
async def test_what_we_publish_goes_through_mosquitto(theirs: Theirs, other: type[Peer], way: WayName) -> None:
    async with theirs.stage(way) as stage:
        await scenarios.messages_of_every_kind_arrive(stage, Ours, other)


@pytest.mark.parametrize("way", ["tls", "mutual tls", "unix"])
async def test_what_is_published_at_mosquitto_reaches_us(theirs: Theirs, way: WayName) -> None:
    async with theirs.stage(way) as stage:
        await scenarios.messages_of_every_kind_arrive(stage, MosquittoTools, Ours)


@pytest.mark.parametrize("way", ["ws", "wss"])
@pytest.mark.parametrize("other", [Ours, MqttJs], ids=["ours", "mqttjs"])
async def test_what_we_publish_goes_through_a_foreign_websocket(
    theirs: Theirs, other: type[Peer], way: WayName
) -> None:
    async with theirs.stage(way) as stage:
        await scenarios.messages_of_every_kind_arrive(stage, Ours, other)


@pytest.mark.parametrize("way", ["ws", "wss"])
async def test_what_is_published_reaches_us_through_a_foreign_websocket(theirs: Theirs, way: WayName) -> None:
    async with theirs.stage(way) as stage:
        await scenarios.messages_of_every_kind_arrive(stage, Paho, Ours)


@pytest.mark.parametrize(
    ("door", "words"),
    [
        ("expired", "has expired"),
        ("wrong_host", "not for 127.0.0.1"),
        ("self_signed", "self-signed"),
        ("revoked", "was revoked"),
    ],
)
def test_what_mosquitto_shows_is_not_believed(theirs: Theirs, door: str, words: str) -> None:
    made = theirs.certificates
    assert words in theirs.refuses(door, made.for_client(crl=made.crl))


@pytest.mark.parametrize(
    ("shown", "words"),
    [
        (None, "wants a certificate of ours"),
        ("revoked_client", "our certificate was revoked"),
        ("self_signed", "our certificate"),
        ("expired", "does not accept our certificate"),
    ],
)
def test_why_mosquitto_refuses_us_is_said(theirs: Theirs, shown: str | None, words: str) -> None:
    made = theirs.certificates
    assert words in theirs.refuses("mutual tls", made.for_client(getattr(made, shown) if shown else None))
