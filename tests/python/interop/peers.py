"""MQTT clients behind one small face, so that the same scenarios run over all of them.

A `Peer` is made unconnected, connects as often as it likes under one client id, and keeps what it receives in a queue.
Every wait has a deadline; nothing here sleeps.
"""

from __future__ import annotations

import asyncio
import contextlib
import shutil
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeVar

import rmqtt

from interop.ways import PLAIN, Way

if TYPE_CHECKING:
    from collections.abc import Awaitable

Version = Literal["5.0", "3.1.1"]
QoS = Literal[0, 1, 2]
T = TypeVar("T")
DEADLINE = 10.0
SESSION_EXPIRY = 300
LINE_BYTES_MAX = 4 << 20


async def soon(awaitable: Awaitable[T]) -> T:
    """Wait, but not for ever."""
    return await asyncio.wait_for(awaitable, DEADLINE)


@dataclass(frozen=True)
class Received:
    """What every client can say of a message."""

    topic: str
    payload: bytes
    qos: int
    retain: bool


@dataclass(frozen=True)
class Setup:
    """What a peer is to be."""

    port: int
    version: Version
    client_id: str
    persistent: bool = False
    will: tuple[str, bytes] | None = None
    way: Way = PLAIN


class Peer:
    """One foreign client."""

    def __init__(self, setup: Setup) -> None:
        self.setup = setup
        self.filters: list[tuple[str, QoS]] = []
        self.inbox: asyncio.Queue[Received] = asyncio.Queue()

    async def receive(self) -> Received:
        """Take the next message, within the deadline."""
        return await soon(self.inbox.get())

    async def connect(self) -> None:
        """Connect; a second time resumes the session where the setup says so."""
        raise NotImplementedError

    async def subscribe(self, topic_filter: str, qos: QoS) -> None:
        """Subscribe, and return when the broker has granted it."""
        raise NotImplementedError

    async def publish(self, topic: str, payload: bytes, qos: QoS, *, retain: bool = False) -> None:
        """Publish, and return when the exchange is complete."""
        raise NotImplementedError

    async def disconnect(self) -> None:
        """Leave with DISCONNECT."""
        raise NotImplementedError

    async def die(self) -> None:
        """Leave without DISCONNECT."""
        raise NotImplementedError


class Ours(Peer):
    """The client of this package."""

    def __init__(self, setup: Setup) -> None:
        super().__init__(setup)
        self.client: rmqtt.Client | None = None
        self.tasks: list[asyncio.Task[None]] = []

    async def connect(self) -> None:
        will = self.setup.will
        self.client = rmqtt.Client(
            self.setup.way.url(self.setup.port),
            tls=self.setup.way.ours(),
            client_id=self.setup.client_id,
            version=self.setup.version,
            clean_start=not self.setup.persistent,
            session_expiry=SESSION_EXPIRY if self.setup.persistent else 0,
            will=rmqtt.Will(topic=will[0], payload=will[1], qos=1) if will else None,
            reconnect=None,
        )
        await soon(self.client.connect())
        for topic_filter, qos in self.filters:
            await self._listen(topic_filter, qos)

    async def _listen(self, topic_filter: str, qos: QoS) -> None:
        assert self.client is not None
        subscription = await soon(self.client.subscribe(topic_filter, qos=qos).__aenter__())

        async def pump() -> None:
            with contextlib.suppress(rmqtt.MqttError):
                async for message in subscription:
                    self.inbox.put_nowait(Received(message.topic, message.payload, message.qos, message.retain))

        self.tasks.append(asyncio.create_task(pump()))

    async def subscribe(self, topic_filter: str, qos: QoS) -> None:
        self.filters.append((topic_filter, qos))
        await self._listen(topic_filter, qos)

    async def publish(self, topic: str, payload: bytes, qos: QoS, *, retain: bool = False) -> None:
        assert self.client is not None
        await soon(self.client.publish(topic, payload, qos=qos, retain=retain))

    async def disconnect(self) -> None:
        assert self.client is not None
        await soon(self.client.close())
        await self._stop_tasks()

    async def die(self) -> None:
        assert self.client is not None
        await soon(self.client.abort())
        await self._stop_tasks()

    async def _stop_tasks(self) -> None:
        await soon(asyncio.gather(*self.tasks, return_exceptions=True))
        self.tasks.clear()


class MosquittoTools(Peer):
    """`mosquitto_sub` and `mosquitto_pub`: a process for each connection."""

    def __init__(self, setup: Setup) -> None:
        super().__init__(setup)
        self.process: asyncio.subprocess.Process | None = None
        self.reader: asyncio.Task[None] | None = None
        self.subscribed = asyncio.Event()
        self.leave_topic = f"{setup.client_id}/leave"

    def _common(self) -> list[str]:
        version = {"5.0": "mqttv5", "3.1.1": "mqttv311"}[self.setup.version]
        return [*self.setup.way.mosquitto(self.setup.port), "-V", version]

    async def connect(self) -> None:
        if self.filters:
            await self._start()
        elif self.setup.will:  # mosquitto_sub does not connect without a subscription
            self.filters.append((self.leave_topic, 0))
            await self._start()

    async def _start(self) -> None:
        # Its output is block-buffered into a pipe otherwise, and would be seen too late.
        command = ["stdbuf", "-oL", find_program("mosquitto_sub"), *self._common(), "-i", self.setup.client_id, "-d"]
        command += ["-F", "message|%r|%q|%t|%x", "-q", str(self.filters[-1][1])]
        for topic_filter, _ in self.filters:
            command += ["-t", topic_filter]
        if self.setup.persistent:
            command += ["-c"] + (["-x", str(SESSION_EXPIRY)] if self.setup.version == "5.0" else [])
        if self.setup.will:
            topic, payload = self.setup.will
            command += ["-C", "1"]
            command += ["--will-topic", topic, "--will-payload", payload.decode(), "--will-qos", "1"]
        self.subscribed.clear()
        self.process = await asyncio.create_subprocess_exec(
            *command, stdout=asyncio.subprocess.PIPE, limit=LINE_BYTES_MAX
        )
        self.reader = asyncio.create_task(self._read(self.process))
        await soon(self.subscribed.wait())

    async def _read(self, process: asyncio.subprocess.Process) -> None:
        assert process.stdout is not None
        async for line in process.stdout:
            text = line.decode().rstrip("\n")
            if text.startswith("message|"):
                _, retain, qos, topic, payload = text.split("|")
                self.inbox.put_nowait(Received(topic, bytes.fromhex(payload), int(qos), retain == "1"))
            elif "SUBACK" in text:
                self.subscribed.set()

    async def subscribe(self, topic_filter: str, qos: QoS) -> None:
        assert not self.filters, "one process subscribes once"
        self.filters.append((topic_filter, qos))
        await self._start()

    async def publish(self, topic: str, payload: bytes, qos: QoS, *, retain: bool = False) -> None:
        command = [find_program("mosquitto_pub"), *self._common(), "-t", topic, "-q", str(qos), "-s"]
        command += ["-r"] if retain else []
        if not payload:
            command[-1 - retain] = "-n"
        process = await asyncio.create_subprocess_exec(*command, stdin=asyncio.subprocess.PIPE)
        await soon(process.communicate(payload))
        assert process.returncode == 0

    async def disconnect(self) -> None:
        if self.setup.will and self.process:  # its first message ends it politely
            await self.publish(self.leave_topic, b"now", 0)
            await soon(self.process.wait())
        await self.die()

    async def die(self) -> None:
        # Never by SIGTERM: its handler asks the broker for the will, and may deadlock in the library's own lock.
        if self.process is None or self.reader is None:
            return
        with contextlib.suppress(ProcessLookupError):
            self.process.kill()
        await soon(self.process.wait())
        await soon(self.reader)
        self.process = self.reader = None


class Paho(Peer):
    """paho-mqtt with its own network thread."""

    def __init__(self, setup: Setup) -> None:
        super().__init__(setup)
        from paho.mqtt import client as paho
        from paho.mqtt.packettypes import PacketTypes
        from paho.mqtt.properties import Properties

        self.loop = asyncio.get_running_loop()
        is_v5 = setup.version == "5.0"
        self.client = paho.Client(
            paho.CallbackAPIVersion.VERSION2,
            client_id=setup.client_id,
            protocol=paho.MQTTv5 if is_v5 else paho.MQTTv311,
            clean_session=None if is_v5 else not setup.persistent,
            reconnect_on_failure=False,
            transport="unix" if setup.way.path else "websockets" if setup.way.is_websocket else "tcp",
        )
        if context := setup.way.context():
            self.client.tls_set_context(context)
        self.connect_options: dict[str, Any] = {}
        if is_v5:
            properties = Properties(PacketTypes.CONNECT)
            properties.SessionExpiryInterval = SESSION_EXPIRY if setup.persistent else 0
            self.connect_options = {"clean_start": not setup.persistent, "properties": properties}
        if setup.will:
            self.client.will_set(setup.will[0], setup.will[1], qos=1)
        self.events: asyncio.Queue[str] = asyncio.Queue()
        self.client.on_connect = lambda *_: self._tell("connected")
        self.client.on_disconnect = lambda *_: self._tell("disconnected")
        self.client.on_subscribe = lambda *_: self._tell("subscribed")
        self.client.on_publish = lambda *_: self._tell("published")
        self.client.on_message = self._on_message

    def _tell(self, event: str) -> None:
        self.loop.call_soon_threadsafe(self.events.put_nowait, event)

    def _on_message(self, _client: object, _data: object, message: Any) -> None:
        received = Received(message.topic, message.payload, message.qos, message.retain)
        self.loop.call_soon_threadsafe(self.inbox.put_nowait, received)

    async def _until(self, event: str) -> None:
        while await soon(self.events.get()) != event:
            pass

    async def connect(self) -> None:
        host = str(self.setup.way.path or "127.0.0.1")
        self.client.connect(host, self.setup.port, **self.connect_options)
        self.client.loop_start()
        await self._until("connected")

    async def subscribe(self, topic_filter: str, qos: QoS) -> None:
        self.client.subscribe(topic_filter, qos=qos)
        await self._until("subscribed")

    async def publish(self, topic: str, payload: bytes, qos: QoS, *, retain: bool = False) -> None:
        self.client.publish(topic, payload, qos=qos, retain=retain)
        await self._until("published")

    async def disconnect(self) -> None:
        self.client.disconnect()
        await self._until("disconnected")
        self.client.loop_stop()

    async def die(self) -> None:
        kill_socket(self.client)
        await self._until("disconnected")
        self.client.loop_stop()


class Aiomqtt(Peer):
    """aiomqtt."""

    def __init__(self, setup: Setup) -> None:
        super().__init__(setup)
        self.client: Any = None
        self.pump: asyncio.Task[None] | None = None

    async def connect(self) -> None:
        import aiomqtt
        from paho.mqtt.packettypes import PacketTypes
        from paho.mqtt.properties import Properties

        setup = self.setup
        options: dict[str, Any] = {"protocol": aiomqtt.ProtocolVersion.V311, "clean_session": not setup.persistent}
        if setup.version == "5.0":
            properties = Properties(PacketTypes.CONNECT)
            properties.SessionExpiryInterval = SESSION_EXPIRY if setup.persistent else 0
            options = {
                "protocol": aiomqtt.ProtocolVersion.V5,
                "clean_start": not setup.persistent,
                "properties": properties,
            }
        will = aiomqtt.Will(setup.will[0], setup.will[1], qos=1) if setup.will else None
        self.client = aiomqtt.Client("127.0.0.1", setup.port, identifier=setup.client_id, will=will, **options)
        await soon(self.client.__aenter__())
        self.pump = asyncio.create_task(self._pump())

    async def _pump(self) -> None:
        import aiomqtt

        with contextlib.suppress(aiomqtt.MqttError):
            async for message in self.client.messages:
                self.inbox.put_nowait(
                    Received(str(message.topic), bytes(message.payload), message.qos, bool(message.retain))
                )

    async def subscribe(self, topic_filter: str, qos: QoS) -> None:
        await soon(self.client.subscribe(topic_filter, qos=qos))

    async def publish(self, topic: str, payload: bytes, qos: QoS, *, retain: bool = False) -> None:
        await soon(self.client.publish(topic, payload, qos=qos, retain=retain))

    async def disconnect(self) -> None:
        await soon(self.client.__aexit__(None, None, None))
        if self.pump:
            await soon(self.pump)

    async def die(self) -> None:
        kill_socket(self.client._client)
        if self.pump:
            await soon(self.pump)  # ends when aiomqtt has noticed


class Gmqtt(Peer):
    """gmqtt."""

    def __init__(self, setup: Setup) -> None:
        super().__init__(setup)
        import gmqtt

        options: dict[str, Any] = {}
        if setup.will:
            options["will_message"] = gmqtt.Message(setup.will[0], setup.will[1], qos=1)
        if setup.version == "5.0":
            options["session_expiry_interval"] = SESSION_EXPIRY if setup.persistent else 0
        self.client: Any = gmqtt.Client(setup.client_id, clean_session=not setup.persistent, **options)
        self.client.set_config({"reconnect_retries": 0})
        self.subscribed: asyncio.Queue[object] = asyncio.Queue()
        self.client.on_subscribe = lambda *_: self.subscribed.put_nowait(None)
        self.client.on_message = self._on_message

    def _on_message(self, _client: object, topic: str, payload: bytes, qos: int, properties: dict[str, Any]) -> int:
        self.inbox.put_nowait(Received(topic, bytes(payload), qos, bool(properties["retain"])))
        return 0

    async def connect(self) -> None:
        from gmqtt.mqtt.constants import MQTTv50, MQTTv311

        version = MQTTv50 if self.setup.version == "5.0" else MQTTv311
        await soon(self.client.connect("127.0.0.1", self.setup.port, version=version))

    async def subscribe(self, topic_filter: str, qos: QoS) -> None:
        self.client.subscribe(topic_filter, qos=qos)
        await soon(self.subscribed.get())

    async def publish(self, topic: str, payload: bytes, qos: QoS, *, retain: bool = False) -> None:
        self.client.publish(topic, payload, qos=qos, retain=retain)
        await soon(self.client._persistent_storage.wait_empty())  # gmqtt has no other way to wait for the exchange

    async def disconnect(self) -> None:
        await soon(self.client.disconnect())

    async def die(self) -> None:
        self.client.stop_reconnect()
        self.client._is_active = False
        self.client._connection._transport.abort()


FOREIGN: dict[str, type[Peer]] = {
    "mosquitto": MosquittoTools,
    "paho": Paho,
    "aiomqtt": Aiomqtt,
    "gmqtt": Gmqtt,
}


def kill_socket(paho_client: Any) -> None:
    """End a paho connection as a crash would: the broker sees the stream end, and no DISCONNECT."""
    import socket

    paho_client.socket().shutdown(socket.SHUT_RDWR)


def find_program(name: str) -> str:
    """Find a program, also where Debian puts servers."""
    path = shutil.which(name) or shutil.which(name, path="/usr/sbin:/usr/local/sbin")
    if path is None:
        raise FileNotFoundError(f"{name} is not installed; `make test-interop` says how")
    return path
