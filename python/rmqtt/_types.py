"""The small types: what can be asked for, and what is told. All are frozen; those with fields take keywords only."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass, field
from enum import IntEnum
from typing import TYPE_CHECKING, Literal, Protocol, TypeAlias

if TYPE_CHECKING:
    from array import array
    from collections.abc import Sequence
    from mmap import mmap
    from typing import Any

    from rmqtt._peer import PeerCertificate

    #: What a message can say: bytes-like of any shape (sent as its C-order bytes), or text (sent as UTF-8).
    Payload: TypeAlias = str | bytes | bytearray | memoryview | array[Any] | mmap | "SupportsBuffer"

    class SupportsBuffer(Protocol):
        """Anything with the buffer protocol, such as a NumPy array."""

        def __buffer__(self, flags: int, /) -> memoryview:
            """Give the bytes."""


UserProperties: TypeAlias = "Sequence[tuple[str, str]]"
Overflow: TypeAlias = Literal["wait", "drop_oldest", "drop_newest", "latest", "error"]
AckMode: TypeAlias = Literal["processed", "received", "manual"]
SharedStrategy: TypeAlias = Literal["round_robin", "random", "sticky", "hash", "least_in_flight"]


class QoS(IntEnum):
    """Quality of service: how hard the two ends try. The plain numbers 0, 1 and 2 do as well.

    Examples
    --------
    >>> QoS(1)
    <QoS.AT_LEAST_ONCE: 1>
    """

    #: Sent once, never acknowledged.
    AT_MOST_ONCE = 0
    #: Sent until acknowledged: may arrive more than once.
    AT_LEAST_ONCE = 1
    #: A two-step exchange that delivers exactly once.
    EXACTLY_ONCE = 2


QoSLike: TypeAlias = Literal[0, 1, 2] | QoS


class ReasonCode(IntEnum):
    """How something went, in the numbers of MQTT 5; 0x80 and above are failures. Return codes of 3.1.1 are translated.

    Examples
    --------
    >>> ReasonCode.NOT_AUTHORIZED.is_error
    True
    """

    SUCCESS = 0x00
    GRANTED_QOS_1 = 0x01
    GRANTED_QOS_2 = 0x02
    DISCONNECT_WITH_WILL = 0x04
    NO_MATCHING_SUBSCRIBERS = 0x10
    NO_SUBSCRIPTION_EXISTED = 0x11
    CONTINUE_AUTHENTICATION = 0x18
    RE_AUTHENTICATE = 0x19
    UNSPECIFIED_ERROR = 0x80
    MALFORMED_PACKET = 0x81
    PROTOCOL_ERROR = 0x82
    IMPLEMENTATION_SPECIFIC_ERROR = 0x83
    UNSUPPORTED_PROTOCOL_VERSION = 0x84
    CLIENT_IDENTIFIER_NOT_VALID = 0x85
    BAD_USER_NAME_OR_PASSWORD = 0x86
    NOT_AUTHORIZED = 0x87
    SERVER_UNAVAILABLE = 0x88
    SERVER_BUSY = 0x89
    BANNED = 0x8A
    SERVER_SHUTTING_DOWN = 0x8B
    BAD_AUTHENTICATION_METHOD = 0x8C
    KEEP_ALIVE_TIMEOUT = 0x8D
    SESSION_TAKEN_OVER = 0x8E
    TOPIC_FILTER_INVALID = 0x8F
    TOPIC_NAME_INVALID = 0x90
    PACKET_IDENTIFIER_IN_USE = 0x91
    PACKET_IDENTIFIER_NOT_FOUND = 0x92
    RECEIVE_MAXIMUM_EXCEEDED = 0x93
    TOPIC_ALIAS_INVALID = 0x94
    PACKET_TOO_LARGE = 0x95
    MESSAGE_RATE_TOO_HIGH = 0x96
    QUOTA_EXCEEDED = 0x97
    ADMINISTRATIVE_ACTION = 0x98
    PAYLOAD_FORMAT_INVALID = 0x99
    RETAIN_NOT_SUPPORTED = 0x9A
    QOS_NOT_SUPPORTED = 0x9B
    USE_ANOTHER_SERVER = 0x9C
    SERVER_MOVED = 0x9D
    SHARED_SUBSCRIPTIONS_NOT_SUPPORTED = 0x9E
    CONNECTION_RATE_EXCEEDED = 0x9F
    MAXIMUM_CONNECT_TIME = 0xA0
    SUBSCRIPTION_IDENTIFIERS_NOT_SUPPORTED = 0xA1
    WILDCARD_SUBSCRIPTIONS_NOT_SUPPORTED = 0xA2

    @property
    def is_error(self) -> bool:
        """Whether it reports a failure."""
        return self >= 0x80


@dataclass(frozen=True, kw_only=True, slots=True)
class Properties:
    """What MQTT 5 can say about a message beyond topic and payload. All absent under MQTT 3.1.1.

    Examples
    --------
    >>> Properties(content_type="application/json").content_type
    'application/json'
    """

    #: Whether the payload is said to be UTF-8 text; `None`: nothing said.
    payload_is_utf8: bool | None = None
    #: Seconds for which the message is of use, less the time it waited in the broker; `None`: for ever.
    expiry: int | None = None
    #: What the payload is, usually a MIME type.
    content_type: str | None = None
    #: Where an answer should be published.
    response_topic: str | None = None
    #: What tells the asker which question an answer belongs to.
    correlation: bytes | None = None
    #: The application's own names and values, in order.
    user_properties: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Outgoing:
    """A message for `Client.publish_many` that has more to say than topic and payload.

    Examples
    --------
    >>> Outgoing("plant/7/temperature", b"21.5", qos=1, retain=True).qos
    1
    """

    #: Topic name, no wildcards.
    topic: str
    #: What to say.
    payload: Payload = b""
    _: KW_ONLY
    #: 0 at most once, 1 at least once, 2 exactly once.
    qos: QoSLike = 0
    #: Keep it as the topic's last value.
    retain: bool = False
    #: Seconds for which the message is of use (MQTT 5); `None`: for ever.
    expiry: float | None = None
    #: What the payload is, usually a MIME type (MQTT 5).
    content_type: str | None = None
    #: Where an answer should be published (MQTT 5).
    response_topic: str | None = None
    #: What tells the asker which question an answer belongs to (MQTT 5).
    correlation: bytes | None = None
    #: The application's own names and values, in order (MQTT 5).
    user_properties: UserProperties = ()

    def _parts(self) -> tuple[str, Payload, int, bool, dict[str, object]]:
        """For the native module."""
        properties = {
            "expiry": self.expiry,
            "content_type": self.content_type,
            "response_topic": self.response_topic,
            "correlation": self.correlation,
            "user_properties": list(self.user_properties),
        }
        return self.topic, self.payload, self.qos, self.retain, {"timeout": None, "properties": properties}


@dataclass(frozen=True, kw_only=True, slots=True)
class ManyResult:
    """What became of the messages of one `Client.publish_many`.

    Examples
    --------
    >>> ManyResult(published=3).failed
    0
    """

    #: Taken over by the broker; of QoS 0: put into the outbox.
    published: int
    #: Not published.
    failed: int = 0
    #: Why, by place among the items, from 0: the first thousand.
    errors: dict[int, Exception] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True, slots=True)
class Will:
    """The message that the broker publishes when it loses the client.

    Examples
    --------
    >>> Will(topic="devices/7/status", payload=b"lost", qos=1, retain=True).delay
    0
    """

    #: Topic name, no wildcards.
    topic: str
    #: What to say; at most 65 535 bytes.
    payload: Payload = b""
    #: 0 at most once, 1 at least once, 2 exactly once.
    qos: QoSLike = 0
    #: Keep it as the topic's last value.
    retain: bool = False
    #: Seconds to wait for the client's return first (MQTT 5).
    delay: float = 0
    #: Seconds for which the message is of use (MQTT 5); `None`: for ever.
    expiry: float | None = None
    #: What the payload is, usually a MIME type (MQTT 5).
    content_type: str | None = None
    #: Where an answer should be published (MQTT 5).
    response_topic: str | None = None
    #: What tells the asker which question an answer belongs to (MQTT 5).
    correlation: bytes | None = None
    #: The application's own names and values (MQTT 5).
    user_properties: UserProperties = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class Reconnect:
    """When to connect again after a cut. Before try *n* passes ``initial * factor**n``, at most ``max``.

    With several addresses, a try is a round through all of them, without a pause between.

    Examples
    --------
    >>> Reconnect(initial=1, max_attempts=5).max
    30.0
    """

    #: Seconds before the first try; 0 or more.
    initial: float = 0.5
    #: Growth of the delay; 1 or more.
    factor: float = 2.0
    #: Longest delay, in seconds.
    max: float = 30.0
    #: ``"full"`` spreads each delay evenly over zero to its length, so that many clients do not come back at once.
    jitter: Literal["full", "none"] = "full"
    #: Tries in a row after which to give up; `None`: never.
    max_attempts: int | None = None
    #: Whether a first connection that fails is tried again too.
    retry_first: bool = False
    #: Seconds a connection must have lasted for the delays to start over.
    stable_after: float = 30.0
    #: Whether to subscribe again. ``"auto"``: when the broker has lost the session, or may have lost it unheard.
    #: ``"always"``: for brokers that say they have the session and have lost the subscriptions. ``"never"``: then the
    #: subscriptions of a lost session fail with `SessionLost`.
    resubscribe: Literal["auto", "always", "never"] = "auto"
    #: Whether to go where a broker sends its clients: to hosts that it names, with our credentials. Never from an
    #: encrypted connection to a plain one.
    follow_redirects: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class Features:
    """What a broker has of MQTT. Clients of MQTT 5 are told what is missing; who asks for it all the same is refused.

    Examples
    --------
    >>> Features(maximum_qos=1, retain=False).wildcard_subscriptions
    True
    """

    #: The highest QoS that is taken and granted.
    maximum_qos: QoSLike = 2
    #: Whether messages are retained.
    retain: bool = True
    #: Whether filters may have wildcards.
    wildcard_subscriptions: bool = True
    #: Whether subscriptions may have identifiers (MQTT 5).
    subscription_identifiers: bool = True
    #: Whether subscriptions may be shared.
    shared_subscriptions: bool = True


@dataclass(frozen=True, kw_only=True, slots=True)
class Negotiated:
    """What the broker granted at the latest connection. Absent limits are filled with what their absence means."""

    #: What is spoken, after any fall-back.
    version: Literal["5.0", "3.1.1", "3.1"]
    #: Ours, or the one the broker assigned.
    client_id: str
    #: Whether the broker had our session.
    session_present: bool
    #: Seconds between packets at most; the broker's wish goes before ours. 0: no limit.
    keep_alive: int
    #: Seconds that the session outlives the connection; `None`: as asked for.
    session_expiry: int | None = None
    #: QoS 1 and 2 messages that may be on the way to the broker.
    receive_maximum: int = 65_535
    #: The highest QoS the broker takes.
    maximum_qos: QoS = QoS.EXACTLY_ONCE
    #: Whether retained messages are kept.
    retain_available: bool = True
    #: The largest packet the broker takes, in bytes; `None`: any.
    maximum_packet_size: int | None = None
    #: Topic aliases that the broker takes.
    topic_alias_maximum: int = 0
    #: Whether filters may have wildcards.
    wildcard_subscription_available: bool = True
    #: Whether subscriptions may have identifiers.
    subscription_identifiers_available: bool = True
    #: Whether ``$share/…`` filters work.
    shared_subscription_available: bool = True
    #: The broker's words, if any.
    reason_string: str | None = None
    #: What response topics should start with, if the broker says so.
    response_information: str | None = None
    #: Where else the broker can be found.
    server_reference: str | None = None
    #: The broker's names and values, in order.
    user_properties: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class ClientInfo:
    """What a broker knows of a connected client."""

    client_id: str
    #: What it speaks.
    version: Literal["5.0", "3.1.1", "3.1"]
    #: Where it is, as ``host:port``; `None` in memory.
    peer_address: str | None
    #: Who it says it is.
    username: str | None
    #: Who it has proven to be, where the broker has users.
    user: str | None
    #: Seconds.
    keep_alive: int
    #: The certificate that it has proven to own, and that an authority of the listener vouches for.
    certificate: PeerCertificate | None = None
    #: Through which of the broker's listeners it came, counted from 0; `None`: in memory, at the broker's own name.
    listener: int | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class SessionInfo:
    """What a broker knows of a session."""

    client_id: str
    #: Whether its client is here.
    is_connected: bool
    #: Its filters, with the granted QoS.
    subscriptions: dict[str, QoS] = field(default_factory=dict)
    #: Messages waiting for it.
    queued_messages: int
    #: Messages on the way to it.
    in_flight: int
    #: Seconds that it outlives its connection; `None`: for ever.
    expiry_interval: int | None


@dataclass(frozen=True, kw_only=True, slots=True)
class UnsubscribeResult:
    """How a subscription ended. All is empty where the broker had not to be told, or did not live to answer.

    Examples
    --------
    >>> UnsubscribeResult().results
    {}
    """

    #: The filters that were given up, with the broker's code for each; none under MQTT 3.1.1.
    results: dict[str, ReasonCode] = field(default_factory=dict)
    #: The broker's words, if any.
    reason_string: str | None = None
    #: The broker's names and values, in order.
    user_properties: tuple[tuple[str, str], ...] = ()
