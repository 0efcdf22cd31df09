"""What keeps a connection, proves who is there, and ends it: PINGREQ, PINGRESP, DISCONNECT and AUTH."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from rmqtt._types import ReasonCode
from rmqtt.codec._forms import Shown, pairs, tidy

if TYPE_CHECKING:
    from rmqtt.codec._forms import Pairs


@dataclass(frozen=True, kw_only=True, slots=True, repr=False)
class PingReq(Shown):
    r"""PINGREQ: the client is alive.

    Examples
    --------
    >>> encode(PingReq())
    b'\xc0\x00'
    """


@dataclass(frozen=True, kw_only=True, slots=True, repr=False)
class PingResp(Shown):
    r"""PINGRESP: so is the server.

    Examples
    --------
    >>> encode(PingResp())
    b'\xd0\x00'
    """


@dataclass(frozen=True, kw_only=True, slots=True, repr=False)
class Disconnect(Shown):
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
        tidy(self, reason_code=ReasonCode(self.reason_code), user_properties=pairs(self.user_properties))


@dataclass(frozen=True, kw_only=True, slots=True, repr=False)
class Auth(Shown):
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
        tidy(self, reason_code=ReasonCode(self.reason_code), user_properties=pairs(self.user_properties))
