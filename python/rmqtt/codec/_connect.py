"""CONNECT with its will, and CONNACK."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from rmqtt._types import QoS, QoSLike, ReasonCode
from rmqtt.codec._forms import Shown, pairs, tidy

if TYPE_CHECKING:
    from rmqtt.codec._forms import Pairs, Version


@dataclass(frozen=True, kw_only=True, slots=True, repr=False)
class WillMessage(Shown):
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
        tidy(self, qos=QoS(self.qos), user_properties=pairs(self.user_properties))


@dataclass(frozen=True, kw_only=True, slots=True, repr=False)
class Connect(Shown):
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
        tidy(self, user_properties=pairs(self.user_properties))


@dataclass(frozen=True, kw_only=True, slots=True, repr=False)
class ConnAck(Shown):
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
        tidy(self, reason_code=ReasonCode(self.reason_code), maximum_qos=maximum_qos)
        tidy(self, user_properties=pairs(self.user_properties))
