"""What comes of what was asked for: by a broker, and by many messages at once."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from rmqtt._types import QoS

if TYPE_CHECKING:
    from rmqtt._types import ReasonCode

__all__ = ["ManyResult", "Negotiated", "UnsubscribeResult"]


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
