"""The Python clients that are compared, each behind the same few verbs and used as its own documentation shows.

All speak MQTT 3.1.1 (ours also 5.0), so that the bytes on the wire are the same. Where a client has bounds that would
make it wait or drop in these runs they are set wide, ours included.
"""

from __future__ import annotations

import abc
import asyncio
import logging
import queue
import threading
import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

TOPIC = "bench/sensor/07/temperature"
PAYLOAD = bytes(64)
#: Messages between two looks at the event loop, for clients whose `publish` is no coroutine.
RUN = 100
LOCALHOST = "127.0.0.1"


class NotThereError(Exception):
    """The client has no such thing."""


class Peer(abc.ABC):
    """One client, connected to the sink or the source on this port."""

    def __init__(self, port: int, count: int) -> None:
        self.port = port
        #: Messages of the run, for bounds.
        self.count = count
        #: Messages that the client has dropped.
        self.dropped = 0

    @abc.abstractmethod
    async def open(self) -> None:
        """Connect."""

    @abc.abstractmethod
    async def close(self) -> None:
        """Disconnect."""

    @abc.abstractmethod
    async def publish(self, count: int) -> None:
        """Publish with QoS 0, one call each."""

    def publish_one(self) -> Any:
        """Publish with QoS 1; done when it is acknowledged."""
        raise NotThereError

    async def publish_acked(self, count: int, outstanding: int) -> None:
        """Publish with QoS 1: so many at once, and when all are acknowledged the next."""
        if outstanding == 1:
            for _ in range(count):
                await self.publish_one()
            return
        for _ in range(0, count, outstanding):
            await asyncio.gather(*(self.publish_one() for _ in range(outstanding)))

    @abc.abstractmethod
    async def receive(self, count: int, qos: int) -> None:
        """Subscribe, and take so many messages one by one; read topic and payload."""

    @abc.abstractmethod
    async def echo(self, count: int) -> list[float]:
        """Publish with QoS 0 and wait for the same message to come back; seconds of each."""

    async def publish_nowait(self, count: int) -> None:
        """Publish with QoS 0 by a plain call."""
        raise NotThereError

    async def publish_many(self, count: int, qos: int) -> None:
        """Publish all by one call, with 1,000 under way."""
        raise NotThereError

    async def receive_many(self, count: int) -> None:
        """Take messages of QoS 0 in lists."""
        raise NotThereError

    async def receive_bounded(self, count: int) -> None:
        """Take messages of QoS 0 flat out with the bounds that a user gets unasked."""
        raise NotThereError


class Rmqtt(Peer):
    """Ours."""

    version: Any = "3.1.1"

    async def open(self) -> None:
        """Connect."""
        import rmqtt  # noqa: PLC0415 - each child imports the one it measures

        outbox = rmqtt.Outbox(max_messages=100_000, max_bytes=1 << 30)
        self.client: Any = rmqtt.Client(f"mqtt://{LOCALHOST}:{self.port}", version=self.version, outbox=outbox)
        await self.client.connect()

    async def close(self) -> None:
        """Disconnect."""
        await self.client.close()

    async def publish(self, count: int) -> None:
        """Publish with QoS 0, one awaited call each."""
        publish = self.client.publish
        for _ in range(count):
            await publish(TOPIC, PAYLOAD)

    def publish_one(self) -> Any:
        """Publish with QoS 1."""
        return self.client.publish(TOPIC, PAYLOAD, qos=1)

    async def receive(self, count: int, qos: int) -> None:
        """Take messages by `async for`. QoS 0 needs a queue that drops none: nobody holds the source back."""
        bounds = {"maxsize": count, "max_bytes": 1 << 30} if qos == 0 else {}
        async with self.client.subscribe(TOPIC, qos=qos, **bounds) as messages:
            left = count
            async for message in messages:
                if message.topic and message.payload:
                    left -= 1
                if not left:
                    break
            self.dropped = messages.dropped

    async def echo(self, count: int) -> list[float]:
        """Publish and wait for it to come back."""
        times = []
        async with self.client.subscribe(TOPIC) as messages:
            for _ in range(count):
                begun = time.perf_counter()
                await self.client.publish(TOPIC, PAYLOAD)
                await messages.get()
                times.append(time.perf_counter() - begun)
        return times

    async def publish_nowait(self, count: int) -> None:
        """Publish with QoS 0 by a plain call; where there is no room, by the other one."""
        import rmqtt  # noqa: PLC0415 - see above

        publish = getattr(self.client, "publish_nowait", None)
        if publish is None:
            raise NotThereError
        for begun in range(0, count, RUN):
            for _ in range(min(RUN, count - begun)):
                try:
                    publish(TOPIC, PAYLOAD)
                except rmqtt.QueueFull:
                    await self.client.publish(TOPIC, PAYLOAD)
            await asyncio.sleep(0)

    async def publish_many(self, count: int, qos: int) -> None:
        """Publish all by one call."""
        publish = getattr(self.client, "publish_many", None)
        if publish is None:
            raise NotThereError
        await publish(((TOPIC, PAYLOAD) for _ in range(count)), qos=qos, window=1000)

    async def receive_many(self, count: int) -> None:
        """Take messages by `get_many`."""
        async with self.client.subscribe(TOPIC, maxsize=count, max_bytes=1 << 30) as messages:
            left = count
            while left > 0:
                for message in await messages.get_many():
                    if message.topic and message.payload:
                        left -= 1
            self.dropped = messages.dropped

    async def receive_bounded(self, count: int) -> None:
        """Take messages by `async for` from a queue of the default size; the rest is dropped and counted."""
        async with self.client.subscribe(TOPIC) as messages:
            taken = 0
            # The newest is never the one that is dropped, so the loop ends with it.
            async for message in messages:
                if message.topic and message.payload:
                    taken += 1
                if taken + messages.dropped == count:
                    break
            self.dropped = messages.dropped


class RmqttV5(Rmqtt):
    """Ours, as it comes: MQTT 5."""

    version = None


class Paho(Peer):
    """paho-mqtt with its own thread."""

    async def open(self) -> None:
        """Connect."""
        from paho.mqtt import client as paho  # noqa: PLC0415 - see above

        self.client = paho.Client(paho.CallbackAPIVersion.VERSION2)
        self.client.max_inflight_messages_set(1000)
        self.client.max_queued_messages_set(0)
        self.connected = threading.Event()
        self.client.on_connect = lambda *_: self.connected.set()
        self.client.connect(LOCALHOST, self.port)
        self.client.loop_start()
        if not self.connected.wait(10):
            raise TimeoutError

    async def close(self) -> None:
        """Disconnect."""
        self.client.disconnect()
        self.client.loop_stop()

    async def publish(self, count: int) -> None:
        """Publish with QoS 0, one call each."""
        for _ in range(count):
            self.client.publish(TOPIC, PAYLOAD)

    async def publish_acked(self, count: int, outstanding: int) -> None:
        """Publish with QoS 1."""
        for _ in range(0, count, outstanding):
            for info in [self.client.publish(TOPIC, PAYLOAD, qos=1) for _ in range(outstanding)]:
                info.wait_for_publish(30)

    async def receive(self, count: int, qos: int) -> None:
        """Take messages in the callback."""
        done = threading.Event()
        left = count

        def on_message(_client: Any, _userdata: Any, message: Any) -> None:
            nonlocal left
            if message.topic and message.payload:
                left -= 1
            if not left:
                done.set()

        self.client.on_message = on_message
        self.client.subscribe(TOPIC, qos)
        done.wait()

    async def echo(self, count: int) -> list[float]:
        """Publish and wait for it to come back."""
        come: queue.SimpleQueue[Any] = queue.SimpleQueue()
        subscribed = threading.Event()
        self.client.on_message = lambda _client, _userdata, message: come.put(message)
        self.client.on_subscribe = lambda *_: subscribed.set()
        self.client.subscribe(TOPIC)
        subscribed.wait(10)
        times = []
        for _ in range(count):
            begun = time.perf_counter()
            self.client.publish(TOPIC, PAYLOAD)
            come.get(timeout=10)
            times.append(time.perf_counter() - begun)
        return times


class Aiomqtt(Peer):
    """aiomqtt."""

    async def open(self) -> None:
        """Connect."""
        import aiomqtt  # noqa: PLC0415 - see above

        logging.getLogger("mqtt").setLevel(logging.ERROR)
        self.client: Any = aiomqtt.Client(LOCALHOST, self.port, max_inflight_messages=1000, timeout=60)
        self.client.pending_calls_threshold = 10_000  # from here on it logs a warning for each
        await self.client.__aenter__()

    async def close(self) -> None:
        """Disconnect."""
        await self.client.__aexit__(None, None, None)

    async def publish(self, count: int) -> None:
        """Publish with QoS 0, one awaited call each."""
        for _ in range(count):
            await self.client.publish(TOPIC, PAYLOAD)

    def publish_one(self) -> Any:
        """Publish with QoS 1."""
        return self.client.publish(TOPIC, PAYLOAD, qos=1)

    async def receive(self, count: int, qos: int) -> None:
        """Take messages by `async for`."""
        await self.client.subscribe(TOPIC, qos)
        left = count
        async for message in self.client.messages:
            if message.topic.value and message.payload:
                left -= 1
            if not left:
                return

    async def echo(self, count: int) -> list[float]:
        """Publish and wait for it to come back."""
        await self.client.subscribe(TOPIC)
        messages = aiter(self.client.messages)
        times = []
        for _ in range(count):
            begun = time.perf_counter()
            await self.client.publish(TOPIC, PAYLOAD)
            await anext(messages)
            times.append(time.perf_counter() - begun)
        return times


class Gmqtt(Peer):
    """gmqtt. Its `publish` returns nothing: acknowledgements are waited for by its storage running empty."""

    async def open(self) -> None:
        """Connect."""
        import gmqtt  # noqa: PLC0415 - see above
        from gmqtt.mqtt.constants import MQTTv311  # noqa: PLC0415 - see above
        from gmqtt.storage import PersistentStorage  # noqa: PLC0415 - see above

        self.storage = PersistentStorage()
        self.client = gmqtt.Client("bench", persistent_storage=self.storage)
        self.client.on_message = self._on_message
        self.subscribed = subscribed = asyncio.Event()
        self.client.on_subscribe = lambda *_: subscribed.set()
        self.take: Callable[[bool], None] = lambda _: None
        await self.client.connect(LOCALHOST, self.port, version=MQTTv311)

    def _on_message(self, _client: Any, topic: str, payload: bytes, _qos: int, _properties: Any) -> int:
        self.take(bool(topic and payload))
        return 0

    async def close(self) -> None:
        """Disconnect."""
        await self.client.disconnect()

    async def publish(self, count: int) -> None:
        """Publish with QoS 0, one call each."""
        for begun in range(0, count, RUN):
            for _ in range(min(RUN, count - begun)):
                self.client.publish(TOPIC, PAYLOAD)
            await asyncio.sleep(0)

    async def publish_acked(self, count: int, outstanding: int) -> None:
        """Publish with QoS 1."""
        for _ in range(0, count, outstanding):
            for _ in range(outstanding):
                self.client.publish(TOPIC, PAYLOAD, qos=1)
            await self.storage.wait_empty()

    async def receive(self, count: int, qos: int) -> None:
        """Take messages in the callback."""
        done = asyncio.Event()
        left = count

        def take(is_whole: bool) -> None:  # noqa: FBT001 - a callback
            nonlocal left
            left -= is_whole
            if not left:
                done.set()

        self.take = take
        self.client.subscribe(TOPIC, qos)
        await done.wait()

    async def echo(self, count: int) -> list[float]:
        """Publish and wait for it to come back."""
        come: asyncio.Queue[bool] = asyncio.Queue()
        self.take = come.put_nowait
        self.client.subscribe(TOPIC)
        await self.subscribed.wait()
        times = []
        for _ in range(count):
            begun = time.perf_counter()
            self.client.publish(TOPIC, PAYLOAD)
            await come.get()
            times.append(time.perf_counter() - begun)
        return times


class Mqttium(Peer):
    """mqttium."""

    async def open(self) -> None:
        """Connect."""
        from mqttium.api import AsyncClient  # noqa: PLC0415 - see above

        self.client = AsyncClient("bench", max_outbound_inflight=1000)
        await self.client.connect(LOCALHOST, self.port)

    async def close(self) -> None:
        """Disconnect."""
        await self.client.disconnect()

    async def publish(self, count: int) -> None:
        """Publish with QoS 0, one awaited call each."""
        for _ in range(count):
            await self.client.publish(TOPIC, PAYLOAD)

    async def publish_one(self) -> Any:
        """Publish with QoS 1."""
        await (await self.client.publish(TOPIC, PAYLOAD, qos=1)).wait()

    async def receive(self, count: int, qos: int) -> None:
        """Take messages by `async for`."""
        await self.client.subscribe(TOPIC, qos=qos)
        left = count
        async for message in self.client.messages():
            if message.topic and message.payload:
                left -= 1
            if not left:
                return

    async def echo(self, count: int) -> list[float]:
        """Publish and wait for it to come back."""
        await self.client.subscribe(TOPIC)
        messages = self.client.messages()
        times = []
        for _ in range(count):
            begun = time.perf_counter()
            await self.client.publish(TOPIC, PAYLOAD)
            await anext(messages)
            times.append(time.perf_counter() - begun)
        return times

    async def publish_nowait(self, count: int) -> None:
        """Publish with QoS 0 by a plain call; where there is no room, by the other one."""
        from mqttium import FlowControlError  # noqa: PLC0415 - see above

        for begun in range(0, count, RUN):
            for _ in range(min(RUN, count - begun)):
                try:
                    self.client.publish_nowait(TOPIC, PAYLOAD)
                except FlowControlError:
                    await self.client.publish(TOPIC, PAYLOAD)
            await asyncio.sleep(0)

    async def publish_many(self, count: int, qos: int) -> None:
        """Publish all by one call."""
        from mqttium.api import PublishMessage  # noqa: PLC0415 - see above

        def messages() -> Iterator[Any]:
            for _ in range(count):
                yield PublishMessage(topic=TOPIC, payload=PAYLOAD, qos=qos)

        await (await self.client.publish_many(messages())).wait()


class Zmqtt(Peer):
    """zMQTT."""

    async def open(self) -> None:
        """Connect."""
        import zmqtt  # noqa: PLC0415 - see above

        self.qos = zmqtt.QoS
        self.client: Any = zmqtt.create_client(LOCALHOST, self.port, client_id="bench")
        await self.client.__aenter__()

    async def close(self) -> None:
        """Disconnect."""
        await self.client.__aexit__(None, None, None)

    async def publish(self, count: int) -> None:
        """Publish with QoS 0, one awaited call each."""
        for _ in range(count):
            await self.client.publish(TOPIC, PAYLOAD)

    def publish_one(self) -> Any:
        """Publish with QoS 1."""
        return self.client.publish(TOPIC, PAYLOAD, qos=self.qos.AT_LEAST_ONCE)

    async def receive(self, count: int, qos: int) -> None:
        """Take messages by `async for`."""
        async with self.client.subscribe(TOPIC, qos=self.qos(qos)) as messages:
            left = count
            async for message in messages:
                if message.topic and message.payload:
                    left -= 1
                if not left:
                    return

    async def echo(self, count: int) -> list[float]:
        """Publish and wait for it to come back."""
        times = []
        async with self.client.subscribe(TOPIC) as messages:
            for _ in range(count):
                begun = time.perf_counter()
                await self.client.publish(TOPIC, PAYLOAD)
                await messages.get_message()
                times.append(time.perf_counter() - begun)
        return times


PEERS: dict[str, type[Peer]] = {
    "rmqtt": Rmqtt,
    "rmqtt-v5": RmqttV5,
    "paho-mqtt": Paho,
    "aiomqtt": Aiomqtt,
    "gmqtt": Gmqtt,
    "mqttium": Mqttium,
    "zmqtt": Zmqtt,
}
