"""What can go wrong, as a tree.

::

    MqttError(Exception)
    ├── ConnectFailed(ConnectionError)          the way there: name resolution, TCP, no listener
    ├── ConnectRefused(ConnectionRefusedError)  the broker said no in CONNACK
    ├── AuthenticationFailed(ConnectionError)   enhanced authentication failed on our side
    ├── ConnectionLost(ConnectionError)         an operation needed the link and may not wait for the next one
    │   └── ServerDisconnected                  the broker ended the connection with DISCONNECT
    ├── SessionLost                             the broker has forgotten the session, and this cannot go on without it
    ├── PublishRefused                          the broker refused a message
    ├── SubscribeRefused                        the broker refused filters; ``results`` names them
    ├── UnsubscribeRefused                      the same for UNSUBSCRIBE
    ├── RequestFailed                           a request got no answer
    ├── QueueFull                               a bounded queue had no room
    ├── MessageDropped                          the outbox gave a message up before it was sent: it was full
    │   └── MessageExpired                      or the message had waited too long
    ├── PacketTooLarge(ValueError)              larger than the broker takes
    ├── TopicError(ValueError)                  not a topic name, or not a topic filter
    ├── NotSupportedByBroker                    the broker has said that it lacks this
    ├── MqttTimeout(TimeoutError)               something took longer than it may
    ├── ProtocolError                           the peer broke a rule of the standard
    │   └── MalformedPacket(ValueError)         the bytes are no packet
    │       └── IncompletePacket                the end of the packet is missing
    ├── StorageError(OSError)                   a store has no room, is damaged, or cannot be written
    ├── BrokerError                             the embedded broker
    │   └── BindError(OSError)                  an address could not be listened at
    └── Closed                                  used after close
        └── NotConnected                        used before connect

Every class carries ``reason_code``, ``reason_string`` and ``user_properties``, filled where the packet behind it has
them. What means a lost or refused connection is also the builtin of that name, so ``except ConnectionError`` and
``except TimeoutError`` work as everywhere else. Wrong arguments are plain `TypeError` and `ValueError`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from rmqtt._types import ReasonCode

__all__ = [
    "AuthenticationFailed",
    "BindError",
    "BrokerError",
    "Closed",
    "ConnectFailed",
    "ConnectRefused",
    "ConnectionLost",
    "IncompletePacket",
    "MalformedPacket",
    "MessageDropped",
    "MessageExpired",
    "MqttError",
    "MqttTimeout",
    "NotConnected",
    "NotSupportedByBroker",
    "PacketTooLarge",
    "ProtocolError",
    "PublishRefused",
    "QueueFull",
    "RequestFailed",
    "ServerDisconnected",
    "SessionLost",
    "StorageError",
    "SubscribeRefused",
    "TopicError",
    "UnsubscribeRefused",
]


class MqttError(Exception):
    """Base of all errors of this package.

    Parameters
    ----------
    message
        What went wrong, for people.
    reason_code
        The code in the packet behind the error, if there is one.
    reason_string
        The peer's own words, if it sent any (MQTT 5).
    user_properties
        The peer's names and values, in its order (MQTT 5).
    """

    #: The reason code of the packet behind the error; `None` where there is none.
    reason_code: ReasonCode | None
    #: The peer's own words; `None` where there are none.
    reason_string: str | None
    #: The peer's names and values, in its order.
    user_properties: tuple[tuple[str, str], ...]

    def __init__(
        self,
        message: str = "",
        *,
        reason_code: ReasonCode | None = None,
        reason_string: str | None = None,
        user_properties: Sequence[tuple[str, str]] = (),
    ) -> None:
        super().__init__(message)
        self.reason_code = reason_code
        self.reason_string = reason_string
        self.user_properties = tuple(user_properties)


class ConnectFailed(MqttError, ConnectionError):
    """The broker could not be reached: name resolution, TCP, no listener. Or none of several would have us.

    Parameters
    ----------
    endpoint
        The address that was tried; of several all of them, parted by commas.
    retryable
        Whether another try may help.
    failures
        Where there are several addresses: what went wrong at each, in the order of trying.
    """

    endpoint: str
    retryable: bool
    failures: dict[str, Exception]

    def __init__(
        self,
        message: str = "",
        *,
        endpoint: str = "",
        retryable: bool = True,
        failures: Mapping[str, Exception] | None = None,
    ) -> None:
        super().__init__(message)
        self.endpoint = endpoint
        self.retryable = retryable
        self.failures = dict(failures or {})


class ConnectRefused(MqttError, ConnectionRefusedError):
    """The broker answered CONNECT with a refusal.

    Parameters
    ----------
    terminal
        Whether trying again with the same options is pointless: bad credentials, a ban, a bad client id, a will that
        the broker does not take, a broker that has moved.
    server_reference
        Where to go instead, if the broker says so.
    """

    terminal: bool
    server_reference: str | None

    def __init__(
        self,
        message: str = "",
        *,
        reason_code: ReasonCode | None = None,
        reason_string: str | None = None,
        user_properties: Sequence[tuple[str, str]] = (),
        terminal: bool = False,
        server_reference: str | None = None,
    ) -> None:
        super().__init__(message, reason_code=reason_code, reason_string=reason_string, user_properties=user_properties)
        self.terminal = terminal
        self.server_reference = server_reference


class AuthenticationFailed(MqttError, ConnectionError):
    """Enhanced authentication failed on our side: the broker has not proven who it is, or asks too much.

    A broker that says no is `ConnectRefused`; what a handler of your own raises comes as it is.
    """


class ConnectionLost(MqttError, ConnectionError):
    """The connection was lost while an operation needed it and may not wait for the next one."""


class ServerDisconnected(ConnectionLost):
    """The broker ended the connection with DISCONNECT; ``reason_code`` says why.

    Parameters
    ----------
    server_reference
        Where to go instead, if the broker says so.
    """

    server_reference: str | None

    def __init__(
        self,
        message: str = "",
        *,
        reason_code: ReasonCode | None = None,
        reason_string: str | None = None,
        user_properties: Sequence[tuple[str, str]] = (),
        server_reference: str | None = None,
    ) -> None:
        super().__init__(message, reason_code=reason_code, reason_string=reason_string, user_properties=user_properties)
        self.server_reference = server_reference


class SessionLost(MqttError):
    """The broker has forgotten the session, and what raises this cannot go on without it.

    A subscription ends so where ``Reconnect(resubscribe="never")`` forbids to ask for it again. What can go on does,
    and the event `SessionForgotten` tells of it.
    """


class PublishRefused(MqttError):
    """The broker refused a message; ``reason_code`` says why."""


class SubscribeRefused(MqttError):
    """The broker refused filters; none of the subscription is in force.

    Parameters
    ----------
    results
        The reason code of each filter that was refused.
    """

    results: dict[str, ReasonCode]

    def __init__(
        self,
        message: str = "",
        *,
        reason_code: ReasonCode | None = None,
        reason_string: str | None = None,
        user_properties: Sequence[tuple[str, str]] = (),
        results: Mapping[str, ReasonCode] | None = None,
    ) -> None:
        super().__init__(message, reason_code=reason_code, reason_string=reason_string, user_properties=user_properties)
        self.results = dict(results or {})


class UnsubscribeRefused(SubscribeRefused):
    """The broker refused to unsubscribe; ``results`` names the filters."""


class RequestFailed(MqttError):
    """A request got no answer: nobody is there to answer it, or whoever is says that it cannot.

    A handler given to `Client.respond` may raise it: its text goes to the asker. Where nobody has subscribed to the
    topic, ``reason_code`` is `ReasonCode.NO_MATCHING_SUBSCRIBERS`.
    """


class QueueFull(MqttError):
    """A bounded queue had no room."""


class MessageDropped(MqttError):
    """The outbox gave the message up before it was sent: it was full, and ``Outbox(on_full="drop_oldest")``."""


class MessageExpired(MessageDropped):
    """The message was not sent in time: it had waited longer than ``Outbox(ttl=...)``, or than its own ``expiry``."""


class PacketTooLarge(MqttError, ValueError):
    """The packet is larger than the broker takes; nothing was sent, at least not on this connection."""


class TopicError(MqttError, ValueError):
    """Not a topic name, or not a topic filter; nothing was sent."""


class NotSupportedByBroker(MqttError):
    """The broker has said in CONNACK that it lacks this; nothing was sent, at least not on this connection."""


class MqttTimeout(MqttError, TimeoutError):
    """Something took longer than it may."""


class ProtocolError(MqttError):
    """The peer broke a rule of the standard; the message names the clause."""


class MalformedPacket(ProtocolError, ValueError):
    """The bytes are no packet."""


class IncompletePacket(MalformedPacket):
    """The end of the packet is missing: more bytes may make it whole."""


class BrokerError(MqttError):
    """The embedded broker could not do what was asked."""


class BindError(BrokerError, OSError):
    """An address could not be listened at; ``errno`` says why.

    Parameters
    ----------
    errno
        The operating system's number, if it gave one.
    address
        What could not be listened at.
    """

    address: str

    def __init__(self, message: str = "", *, errno: int | None = None, address: str = "") -> None:
        super().__init__(message)
        self.errno = errno
        self.strerror = message
        self.address = address

    def __str__(self) -> str:
        return self.args[0] if self.args else ""


class StorageError(MqttError, OSError):
    """A store has no room, is damaged, in use, or cannot be written.

    Of a client it is the file of ``Outbox(path=...)``; the client ends with it. What the file holds is sent when a
    client opens it again. One that cannot be read was renamed, and the message says to what.
    """


class Closed(MqttError):
    """Used after close: clients and subscriptions cannot be opened again, make a new one."""


class NotConnected(Closed):
    """Used before connect."""
