"""Clients behind the whole face of MQTT 5, so that one test of a feature runs over all of them.

Properties are keyword arguments under the standard's names (``message_expiry_interval``), the same to and from every
client; ``user_properties`` are pairs, ``subscription_identifiers`` a tuple. A `Talker` says in `LACKS` what its library
cannot do, and why. Every wait has a deadline.
"""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

import rmqtt

from interop.peers import QoS, Version, soon

if TYPE_CHECKING:
    from collections.abc import Mapping

Properties = dict[str, Any]


class RefusedError(Exception):
    """The broker has refused, with this reason code."""

    def __init__(self, reason: int | None) -> None:
        super().__init__(f"refused: {reason}")
        self.reason = reason


@dataclass(frozen=True)
class Heard:
    """A message with all that it says."""

    topic: str
    payload: bytes
    qos: int
    retain: bool
    properties: Properties


@dataclass(frozen=True)
class Answer:
    """What CONNACK says."""

    session_present: bool
    properties: Properties


@dataclass(frozen=True)
class Will:
    """What CONNECT says of a will."""

    topic: str
    payload: bytes
    qos: QoS = 1
    retain: bool = False
    properties: Properties = field(default_factory=dict)


class Talker:
    """One client."""

    #: What the library cannot do, with the reason.
    LACKS: ClassVar[Mapping[str, str]] = {}

    def __init__(self, port: int, client_id: str, version: Version = "5.0") -> None:
        self.port = port
        self.client_id = client_id
        self.version = version
        self.inbox: asyncio.Queue[Heard] = asyncio.Queue()
        #: Reason codes of the broker's DISCONNECT; `None` where it closed without one.
        self.ends: asyncio.Queue[int | None] = asyncio.Queue()

    async def receive(self) -> Heard:
        """Take the next message."""
        return await soon(self.inbox.get())

    async def ended(self) -> int | None:
        """Wait until the broker has ended the connection, and say why."""
        return await soon(self.ends.get())

    async def connect(
        self, *, clean_start: bool = True, keep_alive: int = 60, will: Will | None = None, **properties: Any
    ) -> Answer:
        """Connect; raise `RefusedError` where the broker refuses."""
        raise NotImplementedError

    async def subscribe(
        self,
        topic_filter: str,
        qos: QoS = 0,
        *,
        no_local: bool = False,
        retain_as_published: bool = False,
        retain_handling: int = 0,
        **properties: Any,
    ) -> int:
        """Subscribe and return the code of SUBACK."""
        raise NotImplementedError

    async def unsubscribe(self, topic_filter: str) -> int:
        """Unsubscribe and return the code of UNSUBACK."""
        raise NotImplementedError

    async def publish(
        self, topic: str, payload: bytes, qos: QoS = 0, *, retain: bool = False, **properties: Any
    ) -> int:
        """Publish, wait for the end of the exchange, and return the code of PUBACK or PUBREC."""
        raise NotImplementedError

    async def disconnect(self, reason: int = 0, **properties: Any) -> None:
        """Leave with DISCONNECT."""
        raise NotImplementedError

    async def die(self) -> None:
        """Leave without DISCONNECT."""
        raise NotImplementedError

    async def forget(self) -> None:
        """Free what is left, whatever has happened."""
        with contextlib.suppress(Exception):
            await self.die()


class OurTalker(Talker):
    """The client of this package."""

    LACKS: ClassVar[Mapping[str, str]] = {
        "chosen subscription identifiers": "the client chooses them by itself",
        "chosen topic aliases": "the client chooses them by itself",
        "subscribing again": "each subscription of the client is one of its own",
        "unsubscribing from nothing": "only a subscription can be closed",
        "publishing beyond the limits": "the client refuses by itself what the broker has said it does not take",
    }
    client: rmqtt.Client
    tasks: list[asyncio.Task[None]]
    subscriptions: dict[str, rmqtt.Subscription]

    async def connect(
        self, *, clean_start: bool = True, keep_alive: int = 60, will: Will | None = None, **properties: Any
    ) -> Answer:
        names = {
            "session_expiry_interval": "session_expiry",
            "maximum_packet_size": "max_packet_size",
            "topic_alias_maximum": "topic_alias_max",
        }
        options: dict[str, Any] = {names.get(name, name): value for name, value in properties.items()}
        if will:
            said = dict(will.properties)
            delay = said.pop("will_delay_interval", 0)
            ours = _ours(said)
            options["will"] = rmqtt.Will(
                topic=will.topic, payload=will.payload, qos=will.qos, retain=will.retain, delay=delay, **ours
            )
        self.tasks = []
        self.subscriptions = {}
        self.client = rmqtt.Client(
            f"mqtt://127.0.0.1:{self.port}",
            client_id=self.client_id,
            version=self.version,
            clean_start=clean_start,
            keep_alive=keep_alive,
            reconnect=None,
            **options,
        )
        watch = asyncio.create_task(self._watch())
        self.tasks.append(watch)
        try:
            await soon(self.client.connect())
        except rmqtt.ConnectRefused as refusal:
            raise RefusedError(refusal.reason_code) from refusal
        negotiated = self.client.negotiated
        return Answer(
            negotiated.session_present,
            {
                "assigned_client_identifier": negotiated.client_id,
                "server_keep_alive": negotiated.keep_alive,
                "maximum_packet_size": negotiated.maximum_packet_size,
                "receive_maximum": negotiated.receive_maximum,
                "topic_alias_maximum": negotiated.topic_alias_maximum,
                "session_expiry_interval": negotiated.session_expiry,
                "maximum_qos": negotiated.maximum_qos,
                "retain_available": negotiated.retain_available,
                "wildcard_subscription_available": negotiated.wildcard_subscription_available,
            },
        )

    async def _watch(self) -> None:
        async for event in self.client.events():
            if isinstance(event, rmqtt.Disconnected):
                self.ends.put_nowait(getattr(event.error, "reason_code", None))

    async def subscribe(
        self,
        topic_filter: str,
        qos: QoS = 0,
        *,
        no_local: bool = False,
        retain_as_published: bool = False,
        retain_handling: int = 0,
        **properties: Any,
    ) -> int:
        options: dict[str, Any] = {**properties, "retain_handling": retain_handling}
        entering = self.client.subscribe(
            topic_filter, qos=qos, no_local=no_local, retain_as_published=retain_as_published, **options
        )
        try:
            subscription = await soon(entering.__aenter__())
        except rmqtt.SubscribeRefused as refusal:
            return int(refusal.reason_code or 0x80)
        self.tasks.append(asyncio.create_task(self._pump(subscription)))
        self.subscriptions[topic_filter] = subscription
        return int(subscription.granted[topic_filter])

    async def _pump(self, subscription: rmqtt.Subscription) -> None:
        with contextlib.suppress(rmqtt.MqttError):
            async for message in subscription:
                said = message.properties
                properties: Properties = {
                    "payload_format_indicator": None if said.payload_is_utf8 is None else int(said.payload_is_utf8),
                    "message_expiry_interval": said.expiry,
                    "content_type": said.content_type,
                    "response_topic": said.response_topic,
                    "correlation_data": said.correlation,
                    "user_properties": said.user_properties or None,
                }
                present = {name: value for name, value in properties.items() if value is not None}
                self.inbox.put_nowait(Heard(message.topic, message.payload, message.qos, message.retain, present))

    async def unsubscribe(self, topic_filter: str) -> int:
        ended = await soon(self.subscriptions.pop(topic_filter).close())
        return int(ended.results[topic_filter])

    async def publish(
        self, topic: str, payload: bytes, qos: QoS = 0, *, retain: bool = False, **properties: Any
    ) -> int:
        try:
            result = await soon(self.client.publish(topic, payload, qos=qos, retain=retain, **_ours(properties)))
        except rmqtt.PublishRefused as refusal:
            return int(refusal.reason_code or 0x80)
        return int(result.reason_code)

    async def disconnect(self, reason: int = 0, **properties: Any) -> None:
        expiry = properties.pop("session_expiry_interval", None)
        await soon(self.client.close(reason_code=reason or None, session_expiry=expiry, **properties))
        await self._stop()

    async def die(self) -> None:
        await soon(self.client.abort())
        await self._stop()

    async def _stop(self) -> None:
        await soon(asyncio.gather(*self.tasks, return_exceptions=True))


def _ours(properties: Properties) -> dict[str, Any]:
    names = {"message_expiry_interval": "expiry", "correlation_data": "correlation"}
    properties = {name: value for name, value in properties.items() if name != "payload_format_indicator"}
    return {names.get(name, name): value for name, value in properties.items()}
