"""SUBSCRIBE and UNSUBSCRIBE, and their answers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from rmqtt._types import QoS, QoSLike, ReasonCode
from rmqtt.codec._forms import Shown, pairs, tidy

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rmqtt.codec._forms import Pairs


@dataclass(frozen=True, kw_only=True, slots=True, repr=False)
class SubscribeFilter(Shown):
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
        tidy(self, qos=QoS(self.qos))


@dataclass(frozen=True, kw_only=True, slots=True, repr=False)
class Subscribe(Shown):
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
        tidy(self, filters=tuple(self.filters), user_properties=pairs(self.user_properties))


@dataclass(frozen=True, kw_only=True, slots=True, repr=False)
class _Answer(Shown):
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
        tidy(self, reason_codes=reason_codes, user_properties=pairs(self.user_properties))


@dataclass(frozen=True, kw_only=True, slots=True, repr=False)
class SubAck(_Answer):
    """SUBACK: the granted QoS or the refusal of each filter. Before MQTT 5 there is one refusal, 0x80.

    Examples
    --------
    >>> SubAck(packet_id=1, reason_codes=[1, 0x87]).reason_codes[1].is_error
    True
    """


@dataclass(frozen=True, kw_only=True, slots=True, repr=False)
class Unsubscribe(Shown):
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
        tidy(self, filters=tuple(self.filters), user_properties=pairs(self.user_properties))


@dataclass(frozen=True, kw_only=True, slots=True, repr=False)
class UnsubAck(_Answer):
    """UNSUBACK: the answer to each filter. Before MQTT 5 it has no codes.

    Examples
    --------
    >>> UnsubAck(packet_id=2, reason_codes=[0x11]).reason_codes
    (<ReasonCode.NO_SUBSCRIPTION_EXISTED: 17>,)
    """
