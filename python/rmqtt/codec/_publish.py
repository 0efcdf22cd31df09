"""PUBLISH, and the four packets that acknowledge it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, final

from rmqtt._types import QoS, QoSLike, ReasonCode
from rmqtt.codec._forms import Native, native

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rmqtt.codec._forms import Pairs


@native
@final
@dataclass(frozen=True, kw_only=True, slots=True, repr=False)
class Publish(Native):
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
class _Ack(Native):
    #: The exchange it belongs to, 1 to 65 535.
    packet_id: int
    #: How it went. Not on the wire before MQTT 5.
    reason_code: ReasonCode = ReasonCode.SUCCESS
    #: For people and logs.
    reason_string: str | None = None
    #: The sender's own names and values, in order.
    user_properties: Pairs = ()


@native
@final
@dataclass(frozen=True, kw_only=True, slots=True, repr=False)
class PubAck(_Ack):
    """PUBACK: a message of QoS 1 has arrived, or is refused.

    Examples
    --------
    >>> PubAck(packet_id=7).reason_code
    <ReasonCode.SUCCESS: 0>
    """


@native
@final
@dataclass(frozen=True, kw_only=True, slots=True, repr=False)
class PubRec(_Ack):
    """PUBREC: a message of QoS 2 has arrived, or is refused.

    Examples
    --------
    >>> PubRec(packet_id=7, reason_code=0x97).reason_code
    <ReasonCode.QUOTA_EXCEEDED: 151>
    """


@native
@final
@dataclass(frozen=True, kw_only=True, slots=True, repr=False)
class PubRel(_Ack):
    """PUBREL: the sender of a message of QoS 2 has seen that it arrived.

    Examples
    --------
    >>> encode(PubRel(packet_id=7)).hex(" ")
    '62 02 00 07'
    """


@native
@final
@dataclass(frozen=True, kw_only=True, slots=True, repr=False)
class PubComp(_Ack):
    """PUBCOMP: an exchange of QoS 2 is over.

    Examples
    --------
    >>> encode(PubComp(packet_id=7)).hex(" ")
    '70 02 00 07'
    """
