"""Packets as values, and the codec between them and bytes: no socket, no clock, no event loop.

One class for each kind of packet. They are frozen, compare by value, and take keywords only; the fields of a packet
that it may leave out have defaults. `None` means that a field is not on the wire, and what that means is for the
standard to say. Properties belong to MQTT 5: under 3.1.1 they are not written. Codes and QoS may be given as plain
numbers, lists as any sequence: each becomes the one form that is shown.

`encode` and `decode` are for single packets, `Codec` is for a connection, whose bytes arrive in pieces.
`rmqtt.explain` shows what each byte of a packet means.

>>> from rmqtt import codec
>>> data = codec.encode(codec.Publish(topic="plant/7/temperature", payload=b"21.5"))
>>> codec.decode(data)[0].payload
b'21.5'
"""

from __future__ import annotations

import inspect
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, TypeVar, final

from rmqtt._explain import explain
from rmqtt._rmqtt import NativeCodec, decode, encode, packet_class
from rmqtt._types import QoS, QoSLike, ReasonCode
from rmqtt.exceptions import IncompletePacket, ProtocolError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rmqtt._types import SupportsBuffer

    Buffer: TypeAlias = bytes | bytearray | memoryview | SupportsBuffer

__all__ = [
    "Auth",
    "Codec",
    "ConnAck",
    "Connect",
    "Disconnect",
    "Packet",
    "PingReq",
    "PingResp",
    "PubAck",
    "PubComp",
    "PubRec",
    "PubRel",
    "Publish",
    "SubAck",
    "Subscribe",
    "SubscribeFilter",
    "UnsubAck",
    "Unsubscribe",
    "WillMessage",
    "decode",
    "encode",
]

Kind = TypeVar("Kind")
Version: TypeAlias = Literal["5.0", "3.1.1", "3.1"]
Pairs: TypeAlias = "Sequence[tuple[str, str]]"

#: The largest packet that the format can express, in bytes.
PACKET_SIZE_MAX = 268_435_460


def _tidy(packet: object, **values: object) -> None:
    """Give fields their one normal form: enumerations and tuples, whatever they were made from."""
    for name, value in values.items():
        object.__setattr__(packet, name, value)


def _pairs(given: Pairs) -> tuple[tuple[str, str], ...]:
    return tuple((name, value) for name, value in given)


class _Shown:
    """Shows what a packet says, and leaves out what it does not."""

    __slots__ = ()

    def __repr__(self) -> str:
        shown = [
            f"{item.name}={getattr(self, item.name)!r}"
            for item in fields(self)  # type: ignore[arg-type] # those who inherit are dataclasses
            if item.repr and getattr(self, item.name) != item.default
        ]
        return f"{type(self).__name__}({', '.join(shown)})"


def _made(kind: type[Kind], values: dict[str, Any]) -> Kind:
    return kind(**values)


class _Native(_Shown):
    """Of a packet that is made by the million: the native class reads and keeps it, this one says what it is."""

    __slots__ = ()

    def __reduce__(self) -> tuple[Any, ...]:
        return _made, (type(self), {item.name: getattr(self, item.name) for item in fields(self)})  # type: ignore[arg-type] # as above


# What a native class is lent by its declaration: all that makes a dataclass, but the keeping of the values.
_LENT = (
    "__annotations__",
    "__dataclass_fields__",
    "__dataclass_params__",
    "__delattr__",
    "__doc__",
    "__eq__",
    "__final__",
    "__hash__",
    "__match_args__",
    "__reduce__",
    "__replace__",
    "__repr__",
    "__setattr__",
)


def _native(declared: type[Kind]) -> type[Kind]:
    """Let the native class of this name stand for its declaration."""
    native = packet_class(declared.__name__)
    for name in _LENT:
        if hasattr(declared, name):
            setattr(native, name, getattr(declared, name))
    native.__signature__ = inspect.signature(declared)
    return native


@dataclass(frozen=True, kw_only=True, slots=True, repr=False)
class WillMessage(_Shown):
    """The will in a CONNECT: what the server publishes when it loses the client.

    Examples
    --------
    >>> WillMessage(topic="devices/7/status", payload=b"lost", retain=True).qos
    <QoS.AT_MOST_ONCE: 0>
    """

    #: Topic name, no wildcards.
    topic: str
    #: At most 65 535 bytes.
    payload: bytes = b""
    #: 0, 1 or 2.
    qos: QoSLike = QoS.AT_MOST_ONCE
    #: Keep it as the topic's last value.
    retain: bool = False
    #: Seconds to wait for the client's return first.
    delay_interval: int | None = None
    #: Whether the payload is UTF-8 text.
    payload_format_indicator: bool | None = None
    #: Seconds for which the message is of use.
    message_expiry_interval: int | None = None
    #: What the payload is, usually a MIME type.
    content_type: str | None = None
    #: Where an answer should be published.
    response_topic: str | None = None
    #: What tells the asker which question an answer belongs to.
    correlation_data: bytes | None = None
    #: The application's own names and values, in order.
    user_properties: Pairs = ()

    def __post_init__(self) -> None:
        _tidy(self, qos=QoS(self.qos), user_properties=_pairs(self.user_properties))


@dataclass(frozen=True, kw_only=True, slots=True, repr=False)
class Connect(_Shown):
    """CONNECT: the client asks for a connection. The password is not shown by `repr`.

    Examples
    --------
    >>> Connect(client_id="thermometer", keep_alive=30).version
    '5.0'
    """

    #: What the client speaks. The packet is written by this, whatever `encode` is told.
    version: Version = "5.0"
    #: Empty: the server chooses one.
    client_id: str = ""
    #: Clean Start of MQTT 5, Clean Session of 3.1.1.
    clean_start: bool = True
    #: Seconds between two packets of the client at most; 0: no limit.
    keep_alive: int = 60
    #: What to publish when the client is lost.
    will: WillMessage | None = None
    #: Who the client says it is.
    username: str | None = None
    #: The proof. Before MQTT 5 it needs a user name.
    password: bytes | None = field(default=None, repr=False)
    #: Seconds for which the session outlives the connection; 0xFFFFFFFF: for ever.
    session_expiry_interval: int | None = None
    #: QoS 1 and 2 messages that may be unacknowledged at a time; 1 to 65 535.
    receive_maximum: int | None = None
    #: The largest packet that the client takes, in bytes; not 0.
    maximum_packet_size: int | None = None
    #: The highest topic alias that the client takes.
    topic_alias_maximum: int | None = None
    #: Whether response information is wanted.
    request_response_information: bool | None = None
    #: Whether reason strings and user properties are welcome.
    request_problem_information: bool | None = None
    #: The mechanism of the enhanced authentication.
    authentication_method: str | None = None
    #: The mechanism's own bytes.
    authentication_data: bytes | None = field(default=None, repr=False)
    #: The client's own names and values, in order.
    user_properties: Pairs = ()

    def __post_init__(self) -> None:
        _tidy(self, user_properties=_pairs(self.user_properties))


@dataclass(frozen=True, kw_only=True, slots=True, repr=False)
class ConnAck(_Shown):
    """CONNACK: the server grants the connection, or refuses it. Under 3.1.1 the code becomes a return code.

    Examples
    --------
    >>> ConnAck(reason_code=0x87).reason_code
    <ReasonCode.NOT_AUTHORIZED: 135>
    """

    #: Whether the server still has the session.
    session_present: bool = False
    #: Success, or why not.
    reason_code: ReasonCode = ReasonCode.SUCCESS
    #: The server's own expiry of the session, in seconds.
    session_expiry_interval: int | None = None
    #: QoS 1 and 2 messages that may be unacknowledged at a time; 1 to 65 535.
    receive_maximum: int | None = None
    #: The highest QoS that the server takes: 0 or 1; 2 is said by saying nothing.
    maximum_qos: QoSLike | None = None
    #: Whether the server keeps retained messages.
    retain_available: bool | None = None
    #: The largest packet that the server takes, in bytes; not 0.
    maximum_packet_size: int | None = None
    #: The client identifier that the server chose.
    assigned_client_identifier: str | None = None
    #: The highest topic alias that the server takes.
    topic_alias_maximum: int | None = None
    #: For people and logs.
    reason_string: str | None = None
    #: Whether filters may have wildcards.
    wildcard_subscription_available: bool | None = None
    #: Whether subscriptions may have identifiers.
    subscription_identifiers_available: bool | None = None
    #: Whether subscriptions may be shared.
    shared_subscription_available: bool | None = None
    #: The keep alive to use instead of the client's, in seconds.
    server_keep_alive: int | None = None
    #: What to build response topics from.
    response_information: str | None = None
    #: Another server to use.
    server_reference: str | None = None
    #: The mechanism of the enhanced authentication.
    authentication_method: str | None = None
    #: The mechanism's own bytes.
    authentication_data: bytes | None = field(default=None, repr=False)
    #: The server's own names and values, in order.
    user_properties: Pairs = ()

    def __post_init__(self) -> None:
        maximum_qos = None if self.maximum_qos is None else QoS(self.maximum_qos)
        _tidy(self, reason_code=ReasonCode(self.reason_code), maximum_qos=maximum_qos)
        _tidy(self, user_properties=_pairs(self.user_properties))


@_native
@final
@dataclass(frozen=True, kw_only=True, slots=True, repr=False)
class Publish(_Native):
    """PUBLISH: a message, and what belongs to this one delivery of it.

    Examples
    --------
    >>> Publish(topic="a/b", payload=b"1", qos=1, packet_id=7).qos
    <QoS.AT_LEAST_ONCE: 1>
    """

    #: Topic name, no wildcards. Empty where a topic alias stands for it.
    topic: str = ""
    #: What the message says.
    payload: bytes = b""
    #: 0, 1 or 2.
    qos: QoSLike = QoS.AT_MOST_ONCE
    #: To a server: keep it as the topic's last value. From one: it is such a value.
    retain: bool = False
    #: May have been sent before; with QoS 1 and 2 only.
    dup: bool = False
    #: Names the exchange, 1 to 65 535; exactly with QoS 1 and 2.
    packet_id: int | None = None
    #: Stands for the topic, now or from now on; not 0.
    topic_alias: int | None = None
    #: From a server: which subscriptions of the client the message is for.
    subscription_identifiers: Sequence[int] = ()
    #: Whether the payload is UTF-8 text.
    payload_format_indicator: bool | None = None
    #: Seconds for which the message is of use.
    message_expiry_interval: int | None = None
    #: What the payload is, usually a MIME type.
    content_type: str | None = None
    #: Where an answer should be published.
    response_topic: str | None = None
    #: What tells the asker which question an answer belongs to.
    correlation_data: bytes | None = None
    #: The application's own names and values, in order.
    user_properties: Pairs = ()


@dataclass(frozen=True, kw_only=True, slots=True, repr=False)
class _Ack(_Native):
    #: The exchange it belongs to, 1 to 65 535.
    packet_id: int
    #: How it went. Not on the wire before MQTT 5.
    reason_code: ReasonCode = ReasonCode.SUCCESS
    #: For people and logs.
    reason_string: str | None = None
    #: The sender's own names and values, in order.
    user_properties: Pairs = ()


@_native
@final
@dataclass(frozen=True, kw_only=True, slots=True, repr=False)
class PubAck(_Ack):
    """PUBACK: a message of QoS 1 has arrived, or is refused.

    Examples
    --------
    >>> PubAck(packet_id=7).reason_code
    <ReasonCode.SUCCESS: 0>
    """


@_native
@final
@dataclass(frozen=True, kw_only=True, slots=True, repr=False)
class PubRec(_Ack):
    """PUBREC: a message of QoS 2 has arrived, or is refused.

    Examples
    --------
    >>> PubRec(packet_id=7, reason_code=0x97).reason_code
    <ReasonCode.QUOTA_EXCEEDED: 151>
    """


@_native
@final
@dataclass(frozen=True, kw_only=True, slots=True, repr=False)
class PubRel(_Ack):
    """PUBREL: the sender of a message of QoS 2 has seen that it arrived.

    Examples
    --------
    >>> encode(PubRel(packet_id=7)).hex(" ")
    '62 02 00 07'
    """


@_native
@final
@dataclass(frozen=True, kw_only=True, slots=True, repr=False)
class PubComp(_Ack):
    """PUBCOMP: an exchange of QoS 2 is over.

    Examples
    --------
    >>> encode(PubComp(packet_id=7)).hex(" ")
    '70 02 00 07'
    """


@dataclass(frozen=True, kw_only=True, slots=True, repr=False)
class SubscribeFilter(_Shown):
    """One line of a SUBSCRIBE.

    Examples
    --------
    >>> SubscribeFilter(filter="plant/+/temperature", qos=1).no_local
    False
    """

    #: Topic filter. Whether it is a good one is for the server to answer.
    filter: str
    #: The highest QoS to deliver with.
    qos: QoSLike = QoS.AT_MOST_ONCE
    #: Not what this client published itself (MQTT 5).
    no_local: bool = False
    #: With the retain flag as it was published (MQTT 5).
    retain_as_published: bool = False
    #: Retained messages come 0: at every subscription, 1: if it is new, 2: never (MQTT 5).
    retain_handling: Literal[0, 1, 2] = 0

    def __post_init__(self) -> None:
        _tidy(self, qos=QoS(self.qos))


@dataclass(frozen=True, kw_only=True, slots=True, repr=False)
class Subscribe(_Shown):
    """SUBSCRIBE: the client asks for messages.

    Examples
    --------
    >>> encode(Subscribe(packet_id=1, filters=[SubscribeFilter(filter="a/#", qos=1)])).hex(" ")
    '82 09 00 01 00 00 03 61 2f 23 01'
    """

    #: Names the exchange, 1 to 65 535.
    packet_id: int
    #: At least one.
    filters: Sequence[SubscribeFilter]
    #: Comes back with each message; not 0.
    subscription_identifier: int | None = None
    #: The client's own names and values, in order.
    user_properties: Pairs = ()

    def __post_init__(self) -> None:
        _tidy(self, filters=tuple(self.filters), user_properties=_pairs(self.user_properties))


@dataclass(frozen=True, kw_only=True, slots=True, repr=False)
class _Answer(_Shown):
    #: The exchange it belongs to, 1 to 65 535.
    packet_id: int
    #: One for each filter, in order.
    reason_codes: Sequence[ReasonCode] = ()
    #: For people and logs.
    reason_string: str | None = None
    #: The server's own names and values, in order.
    user_properties: Pairs = ()

    def __post_init__(self) -> None:
        reason_codes = tuple(ReasonCode(code) for code in self.reason_codes)
        _tidy(self, reason_codes=reason_codes, user_properties=_pairs(self.user_properties))


@dataclass(frozen=True, kw_only=True, slots=True, repr=False)
class SubAck(_Answer):
    """SUBACK: the granted QoS or the refusal of each filter. Before MQTT 5 there is one refusal, 0x80.

    Examples
    --------
    >>> SubAck(packet_id=1, reason_codes=[1, 0x87]).reason_codes[1].is_error
    True
    """


@dataclass(frozen=True, kw_only=True, slots=True, repr=False)
class Unsubscribe(_Shown):
    """UNSUBSCRIBE: the client wants no more messages.

    Examples
    --------
    >>> Unsubscribe(packet_id=2, filters=["a/#"]).filters
    ('a/#',)
    """

    #: Names the exchange, 1 to 65 535.
    packet_id: int
    #: At least one.
    filters: Sequence[str]
    #: The client's own names and values, in order.
    user_properties: Pairs = ()

    def __post_init__(self) -> None:
        if isinstance(self.filters, str):
            raise TypeError(f"filters must be several filters: pass [{self.filters!r}]")
        _tidy(self, filters=tuple(self.filters), user_properties=_pairs(self.user_properties))


@dataclass(frozen=True, kw_only=True, slots=True, repr=False)
class UnsubAck(_Answer):
    """UNSUBACK: the answer to each filter. Before MQTT 5 it has no codes.

    Examples
    --------
    >>> UnsubAck(packet_id=2, reason_codes=[0x11]).reason_codes
    (<ReasonCode.NO_SUBSCRIPTION_EXISTED: 17>,)
    """


@dataclass(frozen=True, kw_only=True, slots=True, repr=False)
class PingReq(_Shown):
    r"""PINGREQ: the client is alive.

    Examples
    --------
    >>> encode(PingReq())
    b'\xc0\x00'
    """


@dataclass(frozen=True, kw_only=True, slots=True, repr=False)
class PingResp(_Shown):
    r"""PINGRESP: so is the server.

    Examples
    --------
    >>> encode(PingResp())
    b'\xd0\x00'
    """


@dataclass(frozen=True, kw_only=True, slots=True, repr=False)
class Disconnect(_Shown):
    """DISCONNECT: the sender ends the connection on purpose. Before MQTT 5 it does not say why.

    Examples
    --------
    >>> encode(Disconnect(reason_code=0x04)).hex(" ")
    'e0 01 04'
    """

    #: Why.
    reason_code: ReasonCode = ReasonCode.SUCCESS
    #: From a client: the new expiry of the session, in seconds.
    session_expiry_interval: int | None = None
    #: For people and logs.
    reason_string: str | None = None
    #: From a server: another server to use.
    server_reference: str | None = None
    #: The sender's own names and values, in order.
    user_properties: Pairs = ()

    def __post_init__(self) -> None:
        _tidy(self, reason_code=ReasonCode(self.reason_code), user_properties=_pairs(self.user_properties))


@dataclass(frozen=True, kw_only=True, slots=True, repr=False)
class Auth(_Shown):
    """AUTH: a step of an enhanced authentication (MQTT 5).

    Examples
    --------
    >>> Auth(reason_code=0x18, authentication_method="SCRAM-SHA-256").reason_code
    <ReasonCode.CONTINUE_AUTHENTICATION: 24>
    """

    #: Success, continue, or authenticate again.
    reason_code: ReasonCode = ReasonCode.SUCCESS
    #: The mechanism; always there.
    authentication_method: str
    #: The mechanism's own bytes.
    authentication_data: bytes | None = field(default=None, repr=False)
    #: For people and logs.
    reason_string: str | None = None
    #: The sender's own names and values, in order.
    user_properties: Pairs = ()

    def __post_init__(self) -> None:
        _tidy(self, reason_code=ReasonCode(self.reason_code), user_properties=_pairs(self.user_properties))


Packet: TypeAlias = (
    Connect
    | ConnAck
    | Publish
    | PubAck
    | PubRec
    | PubRel
    | PubComp
    | Subscribe
    | SubAck
    | Unsubscribe
    | UnsubAck
    | PingReq
    | PingResp
    | Disconnect
    | Auth
)

# The number of each kind, as in the upper half of its first byte.
_NUMBERS: dict[type, int] = {
    Connect: 1,
    ConnAck: 2,
    Publish: 3,
    PubAck: 4,
    PubRec: 5,
    PubRel: 6,
    PubComp: 7,
    Subscribe: 8,
    SubAck: 9,
    Unsubscribe: 10,
    UnsubAck: 11,
    PingReq: 12,
    PingResp: 13,
    Disconnect: 14,
    Auth: 15,
}
_CLASSES: dict[int, Any] = {number: kind for kind, number in _NUMBERS.items()}

_BOTH_WAYS = frozenset({Publish, PubAck, PubRec, PubRel, PubComp})
_FROM_CLIENT = _BOTH_WAYS | {Connect, Subscribe, Unsubscribe, PingReq, Disconnect, Auth}
_FROM_SERVER = _BOTH_WAYS | {ConnAck, SubAck, UnsubAck, PingResp, Disconnect, Auth}


def _number(packet: object) -> int:
    number = _NUMBERS.get(type(packet))
    if number is None:
        raise TypeError(f"not a packet: {type(packet).__name__}; the classes are in rmqtt.codec")
    return number


def _packet(number: int, values: dict[str, Any]) -> Packet:
    if values.get("will") is not None:
        values["will"] = WillMessage(**values["will"])
    elif number == _NUMBERS[Subscribe]:
        values["filters"] = tuple(SubscribeFilter(**line) for line in values["filters"])
    packet: Packet = _CLASSES[number](**values)
    return packet


def _misfit(packet: Packet, error: TypeError) -> TypeError | ValueError:
    """Say which field does not fit, in the caller's words: of the wrong type, or out of its range."""
    place: list[str] = []
    reason: BaseException = error
    while reason.__cause__ is not None:
        place.append(str(reason).rpartition(".")[2])
        reason = reason.__cause__
    kind = ValueError if isinstance(reason, (OverflowError, ValueError)) else TypeError
    what = "out of its range" if kind is ValueError else str(reason)
    return kind(f"{'.'.join(place)} of {type(packet).__name__}: {what}")


def _fault(data: bytes, version: Version, error: ProtocolError | None) -> ProtocolError:
    """Say where the bytes are wrong; without an error, what of the packet is missing."""
    fault = explain(data, version=version).fault
    if error is None:
        what = "the packet is incomplete" if fault is None else fault.what
        return IncompletePacket(what, reason_code=ReasonCode.MALFORMED_PACKET)
    if fault is not None:
        shown = data[fault.start : fault.end][:16].hex(" ")
        error.add_note(f"bytes {fault.start} to {fault.end} of {len(data)}: {shown}")
    return error


class Codec:
    r"""One end of a connection, as far as bytes and packets go. It is no client: it does not answer, and keeps no time.

    A `Connect` that goes through it, in either direction, settles the version of what follows. For one thread only.

    Parameters
    ----------
    version
        What is spoken until a CONNECT says otherwise.
    role
        Which end this is. Packets that travel in the wrong direction are refused both ways.
    max_packet_size
        The largest packet taken, in bytes. It is refused as soon as its length is known.

    Examples
    --------
    >>> server = Codec(role="server")
    >>> hello = encode(Connect(client_id="c", version="3.1.1"))
    >>> server.feed(hello[:5])
    []
    >>> server.feed(hello[5:])[0].client_id, server.version
    ('c', '3.1.1')
    >>> server.encode(ConnAck())
    b' \x02\x00\x00'
    """

    __slots__ = ("_fault", "_native", "_role")

    def __init__(
        self,
        version: Version = "5.0",
        *,
        role: Literal["client", "server"] = "client",
        max_packet_size: int = PACKET_SIZE_MAX,
    ) -> None:
        if role not in ("client", "server"):
            raise ValueError(f"role must be 'client' or 'server', not {role!r}")
        if not 2 <= max_packet_size <= PACKET_SIZE_MAX:
            raise ValueError(f"max_packet_size must be 2 to {PACKET_SIZE_MAX}, not {max_packet_size}")
        self._native = NativeCodec(version, max_packet_size)
        self._role = role
        self._fault: ProtocolError | None = None

    @property
    def version(self) -> Version:
        """What is spoken."""
        return self._native.version

    @property
    def role(self) -> Literal["client", "server"]:
        """Which end this is."""
        return self._role

    @property
    def fault(self) -> ProtocolError | None:
        """What the peer did wrong, if it did: nothing that follows can be read."""
        return self._fault

    @property
    def buffered(self) -> int:
        """Bytes that have arrived and are no whole packet yet."""
        return self._native.buffered

    def feed(self, data: Buffer, /) -> list[Packet]:
        """Take bytes that arrived, and give the packets that are complete with them.

        How the bytes are cut into calls makes no difference: the packets before a fault are given out first, and the
        fault is raised by the next call, and by all after it. `fault` tells at once.

        Raises
        ------
        MalformedPacket
            The bytes are no packet; close the connection.
        ProtocolError
            A packet says what is not allowed, is too large, or travels in the wrong direction; ``reason_code`` is what
            an MQTT 5 peer is told.
        """
        if self._fault is not None:
            raise self._fault
        self._native.push(data)
        packets: list[Packet] = []
        try:
            while (packet := self._native.read(packets)) is not None:
                self._check_received(packet)
                packets.append(packet)
        except ProtocolError as error:
            self._fault = error
            if not packets:
                raise
        return packets

    def encode(self, packet: Packet, /) -> bytes:
        """Turn a packet of this end into bytes.

        Raises
        ------
        ValueError
            The packet is for the other end to send, or says what the standard does not allow.
        TypeError
            Not a packet, or a field of another type.
        """
        if type(packet) not in _BOTH_WAYS and _number(packet) and not self._may_send(packet, self._role):
            raise ValueError(f"a {self._role} does not send {type(packet).__name__} in MQTT {self.version}")
        return self._native.encode(packet)

    def _check_received(self, packet: Packet) -> None:
        peer: Literal["client", "server"] = "client" if self._role == "server" else "server"
        if not self._may_send(packet, peer):
            raise ProtocolError(
                f"protocol error: a {peer} does not send {type(packet).__name__} in MQTT {self.version}",
                reason_code=ReasonCode.PROTOCOL_ERROR,
            )

    def _may_send(self, packet: Packet, role: Literal["client", "server"]) -> bool:
        if role == "client":
            return type(packet) in _FROM_CLIENT
        return type(packet) in _FROM_SERVER and not (isinstance(packet, Disconnect) and self.version != "5.0")

    def __repr__(self) -> str:
        return f"Codec({self.version!r}, role={self._role!r})"
