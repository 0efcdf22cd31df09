"""What a message can have beside topic and payload, and messages that are given as a whole."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rmqtt._types import Payload, QoSLike, UserProperties

__all__ = ["Outgoing", "Properties", "Will"]


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
