"""The small types that everything needs: numbers with names, and what can be asked for of a client or broker."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import TYPE_CHECKING, Literal, Protocol, TypeAlias

if TYPE_CHECKING:
    from array import array
    from collections.abc import Sequence
    from mmap import mmap
    from typing import Any

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
