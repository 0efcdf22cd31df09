"""MQTT.js, paho-mqtt and gmqtt as `Talker`s: what each library calls things, and what it cannot do."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any, ClassVar

from interop.javascript import Node, NodeError
from interop.peers import QoS, Version, kill_socket, soon
from interop.talkers import Answer, Heard, Properties, RefusedError, Talker, Will

if TYPE_CHECKING:
    from collections.abc import Mapping


class JsTalker(Talker):
    """MQTT.js."""

    def __init__(self, port: int, client_id: str, version: Version = "5.0") -> None:
        super().__init__(port, client_id, version)
        self.node = Node.shared()
        self.name = f"{client_id or 'nameless'}-{id(self)}"
        #: Options of MQTT.js itself.
        self.options: dict[str, Any] = {}
        self.auths: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self.reason: int | None = None

    def _hear(self, event: dict[str, Any]) -> None:
        match event["event"]:
            case "message":
                properties = _from_js(event["properties"])
                heard = Heard(event["topic"], event["payload"], event["qos"], event["retain"], properties)
                self.inbox.put_nowait(heard)
            case "disconnect":
                self.reason = event["reason"]
            case "close":
                self.ends.put_nowait(self.reason)
            case "auth":
                self.auths.put_nowait(event)

    async def connect(
        self, *, clean_start: bool = True, keep_alive: int = 60, will: Will | None = None, **properties: Any
    ) -> Answer:
        options: dict[str, Any] = {
            "host": "127.0.0.1",
            "port": self.port,
            "protocolVersion": 5 if self.version == "5.0" else 4,
            "clientId": self.client_id,
            "clean": clean_start,
            "keepalive": keep_alive,
            "resubscribe": False,
            "properties": _to_js(properties),
            **self.options,
        }
        if will:
            options["will"] = {
                "topic": will.topic,
                "payload": will.payload,
                "qos": will.qos,
                "retain": will.retain,
                "properties": _to_js(will.properties),
            }
        self.reason = None
        self.node.listen(self.name, self._hear)
        has_method = "authentication_method" in properties
        try:
            said = await self.node.ask(self.name, "connect", options=options, auth=has_method)
        except NodeError as error:
            raise RefusedError(error.reason) from error
        return Answer(said["session_present"], _from_js(said["properties"]))

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
        options = {"qos": qos, "nl": no_local, "rap": retain_as_published, "rh": retain_handling}
        said = await self.node.ask(
            self.name, "subscribe", filter=topic_filter, options=options, properties=_to_js(properties)
        )
        return int(said["reason"])

    async def unsubscribe(self, topic_filter: str) -> int:
        said = await self.node.ask(self.name, "unsubscribe", filter=topic_filter, properties={})
        return int(said["reason"])

    async def publish(
        self, topic: str, payload: bytes, qos: QoS = 0, *, retain: bool = False, **properties: Any
    ) -> int:
        options = {"qos": qos, "retain": retain, "properties": _to_js(properties)}
        said = await self.node.ask(self.name, "publish", topic=topic, payload=payload, options=options)
        return int(said["reason"])

    async def aliases(self) -> dict[str, int]:
        """Count the messages, sent and received, that said an alias in place of their topic."""
        return await self.node.ask(self.name, "aliases")

    async def disconnect(self, reason: int = 0, **properties: Any) -> None:
        await self.node.ask(self.name, "disconnect", reason=reason, properties=_to_js(properties))

    async def die(self) -> None:
        await self.node.ask(self.name, "die")

    async def forget(self) -> None:
        await self.node.ask(self.name, "forget")


def _to_js(properties: Properties) -> Properties:
    def pair(name: str, value: Any) -> tuple[str, Any]:
        if name == "user_properties":
            names = dict.fromkeys(key for key, _ in value)
            return "userProperties", {key: [item for other, item in value if other == key] for key in names}
        if name == "payload_format_indicator":
            value = bool(value)
        head, *rest = name.split("_")
        return head + "".join(word.title() for word in rest), value

    return dict(pair(name, value) for name, value in properties.items())


def _from_js(properties: Properties) -> Properties:
    def pair(name: str, value: Any) -> tuple[str, Any]:
        if name == "userProperties":
            lists = {key: item if isinstance(item, list) else [item] for key, item in value.items()}
            return "user_properties", tuple((key, item) for key, items in lists.items() for item in items)
        if name == "subscriptionIdentifier":
            return "subscription_identifiers", tuple(value if isinstance(value, list) else [value])
        snake = "".join(f"_{letter.lower()}" if letter.isupper() else letter for letter in name)
        snake = snake.replace("qo_s", "qos")
        return snake, int(value) if isinstance(value, bool) else value

    return dict(pair(name, value) for name, value in properties.items())


class PahoTalker(Talker):
    """paho-mqtt, with its own network thread."""

    LACKS: ClassVar[Mapping[str, str]] = {
        "understanding topic aliases": "paho hands out messages with an empty topic",
    }

    def __init__(self, port: int, client_id: str, version: Version = "5.0") -> None:
        super().__init__(port, client_id, version)
        self.loop = asyncio.get_running_loop()
        self.client: Any = None
        self.answers: asyncio.Queue[Any] = asyncio.Queue()
        self.exchanges: dict[int, asyncio.Future[int]] = {}

    def _tell(self, what: Any, *arguments: Any) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is gone, and with it who would have listened
            self.loop.call_soon_threadsafe(what, *arguments)

    def _make(self) -> Any:
        from paho.mqtt import client as paho

        client = paho.Client(
            paho.CallbackAPIVersion.VERSION2,
            client_id=self.client_id,
            protocol=paho.MQTTv5,
            reconnect_on_failure=False,
        )
        put = self.answers.put_nowait
        client.on_connect = lambda _c, _d, flags, reason, said: self._tell(put, (flags, reason, said))
        client.on_subscribe = lambda _c, _d, _mid, reasons, _said: self._tell(put, reasons[0].value)
        client.on_unsubscribe = lambda _c, _d, _mid, reasons, _said: self._tell(put, reasons[0].value)
        client.on_publish = lambda _c, _d, mid, reason, _said: self._tell(self._settle, mid, reason.value)
        client.on_disconnect = lambda _c, _d, flags, reason, _said: self._tell(
            self.ends.put_nowait, reason.value if flags.is_disconnect_packet_from_server else None
        )
        client.on_message = self._on_message
        return client

    def _on_message(self, _client: object, _data: object, message: Any) -> None:
        heard = Heard(message.topic, message.payload, message.qos, message.retain, _from_paho(message.properties))
        self._tell(self.inbox.put_nowait, heard)

    def _settle(self, mid: int, reason: int) -> None:
        self.exchanges.setdefault(mid, self.loop.create_future()).set_result(reason)

    async def connect(
        self, *, clean_start: bool = True, keep_alive: int = 60, will: Will | None = None, **properties: Any
    ) -> Answer:
        from paho.mqtt.packettypes import PacketTypes

        if self.client is None:
            self.client = self._make()
        if will:
            said = _to_paho(PacketTypes.WILLMESSAGE, will.properties)
            self.client.will_set(will.topic, will.payload, qos=will.qos, retain=will.retain, properties=said)
        connect_properties = _to_paho(PacketTypes.CONNECT, properties)
        self.client.connect("127.0.0.1", self.port, keep_alive, clean_start=clean_start, properties=connect_properties)
        self.client.loop_start()
        flags, reason, said = await soon(self.answers.get())
        if reason.value >= 0x80:
            raise RefusedError(reason.value)
        return Answer(flags.session_present, _from_paho(said))

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
        from paho.mqtt.packettypes import PacketTypes
        from paho.mqtt.subscribeoptions import SubscribeOptions

        options = SubscribeOptions(qos, no_local, retain_as_published, retain_handling)
        self.client.subscribe(topic_filter, options=options, properties=_to_paho(PacketTypes.SUBSCRIBE, properties))
        reason: int = await soon(self.answers.get())
        return reason

    async def unsubscribe(self, topic_filter: str) -> int:
        self.client.unsubscribe(topic_filter)
        reason: int = await soon(self.answers.get())
        return reason

    async def publish(
        self, topic: str, payload: bytes, qos: QoS = 0, *, retain: bool = False, **properties: Any
    ) -> int:
        from paho.mqtt.packettypes import PacketTypes

        said = _to_paho(PacketTypes.PUBLISH, properties)
        info = self.client.publish(topic, payload, qos=qos, retain=retain, properties=said)
        reason = await soon(self.exchanges.setdefault(info.mid, self.loop.create_future()))
        del self.exchanges[info.mid]
        return reason

    async def disconnect(self, reason: int = 0, **properties: Any) -> None:
        from paho.mqtt.packettypes import PacketTypes
        from paho.mqtt.reasoncodes import ReasonCode

        code = ReasonCode(PacketTypes.DISCONNECT, identifier=reason)
        self.client.disconnect(code, _to_paho(PacketTypes.DISCONNECT, properties))
        await self.ended()
        self.client.loop_stop()

    async def die(self) -> None:
        if self.client.socket():
            kill_socket(self.client)
            await self.ended()
        self.client.loop_stop()


def _to_paho(kind: int, properties: Properties) -> Any:
    from paho.mqtt.properties import Properties as PahoProperties

    said = PahoProperties(kind)
    for name, value in properties.items():
        if name == "user_properties":
            said.UserProperty = list(value)
        else:
            setattr(said, "".join(word.title() for word in name.split("_")), value)
    return said


def _from_paho(said: Any) -> Properties:
    properties: Properties = {}
    for name, value in vars(said).items() if said else ():
        snake = "".join(f"_{letter.lower()}" if letter.isupper() else letter for letter in name).lstrip("_")
        snake = snake.replace("qo_s", "qos")
        match snake:
            case "packet_type" | "types" | "names" | "properties":
                continue
            case "user_property":
                properties["user_properties"] = tuple(value)
            case "subscription_identifier":
                properties["subscription_identifiers"] = tuple(value)
            case _:
                properties[snake] = value
    return properties


class GmqttTalker(Talker):
    """gmqtt."""

    LACKS: ClassVar[Mapping[str, str]] = {
        "an assigned client id": "gmqtt invents one itself",
        "reason codes of acknowledgements": "gmqtt does not read them",
        "the reason of DISCONNECT": "gmqtt does not show it",
        "user properties of SUBSCRIBE": "gmqtt does not write them",
        "authentication data": "gmqtt does not know the property",
    }
    #: Where gmqtt's names are not the standard's.
    NAMES: ClassVar[Mapping[str, str]] = {
        "payload_format_indicator": "payload_format_id",
        "user_properties": "user_property",
        "subscription_identifiers": "subscription_identifier",
        "maximum_qos": "max_qos",
        "request_problem_information": "request_problem_info",
    }

    def __init__(self, port: int, client_id: str, version: Version = "5.0") -> None:
        super().__init__(port, client_id, version)
        self.client: Any = None
        self.answers: asyncio.Queue[Any] = asyncio.Queue()

    def _to(self, properties: Properties) -> Properties:
        return {
            self.NAMES.get(name, name): list(value) if name == "user_properties" else value
            for name, value in properties.items()
        }

    def _from(self, properties: Properties) -> Properties:
        names = {theirs: ours for ours, theirs in self.NAMES.items()}
        lists = {"user_properties", "subscription_identifiers"}
        renamed = {names.get(name, name): value for name, value in properties.items() if isinstance(value, list)}
        return {name: tuple(value) if name in lists else value[0] for name, value in renamed.items()}

    async def connect(
        self, *, clean_start: bool = True, keep_alive: int = 60, will: Will | None = None, **properties: Any
    ) -> Answer:
        import gmqtt
        from gmqtt.mqtt.handler import MQTTConnectError

        options = self._to(properties)
        if will:
            said = self._to(will.properties)
            options["will_message"] = gmqtt.Message(will.topic, will.payload, qos=will.qos, retain=will.retain, **said)
        self.client = gmqtt.Client(self.client_id, clean_session=clean_start, **options)
        self.client.set_config({"reconnect_retries": 0})
        self.client.on_connect = lambda _c, flags, _rc, said: self.answers.put_nowait((flags, said))
        self.client.on_subscribe = lambda _c, _mid, reasons, _said: self.answers.put_nowait(reasons[0])
        self.client.on_unsubscribe = lambda _c, _mid, reasons: self.answers.put_nowait(reasons[0])
        self.client.on_message = self._on_message
        self.client.on_disconnect = lambda _c, _packet, _error=None: self._on_disconnect()
        try:
            await soon(self.client.connect("127.0.0.1", self.port, keepalive=keep_alive))
        except MQTTConnectError as error:
            raise RefusedError(error._code) from error
        flags, _ = await soon(self.answers.get())
        return Answer(bool(flags & 1), self._from(self.client._package_handler._connack_properties))

    def _on_message(self, _client: object, topic: str, payload: bytes, qos: int, said: dict[str, Any]) -> int:
        heard = Heard(topic, bytes(payload), qos, bool(said["retain"]), self._from(said))
        self.inbox.put_nowait(heard)
        return 0

    def _on_disconnect(self) -> None:
        self.client.stop_reconnect()
        self.client._is_active = False
        self.ends.put_nowait(None)

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
        self.client.subscribe(
            topic_filter,
            qos=qos,
            no_local=no_local,
            retain_as_published=retain_as_published,
            retain_handling_options=retain_handling,
            **self._to(properties),
        )
        reason: int = await soon(self.answers.get())
        return reason

    async def unsubscribe(self, topic_filter: str) -> int:
        self.client.unsubscribe(topic_filter)
        reason: int = await soon(self.answers.get())
        return reason

    async def publish(
        self, topic: str, payload: bytes, qos: QoS = 0, *, retain: bool = False, **properties: Any
    ) -> int:
        self.client.publish(topic, payload, qos=qos, retain=retain, **self._to(properties))
        await soon(self.client._persistent_storage.wait_empty())
        return 0

    async def disconnect(self, reason: int = 0, **properties: Any) -> None:
        await soon(self.client.disconnect(reason_code=reason, **self._to(properties)))

    async def die(self) -> None:
        self.client.stop_reconnect()
        self.client._is_active = False
        self.client._connection._transport.abort()


FOREIGN: dict[str, type[Talker]] = {"mqttjs": JsTalker, "paho": PahoTalker, "gmqtt": GmqttTalker}
