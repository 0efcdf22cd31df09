"""What `Client` and `SyncClient` share: what can be asked for, and what can be told without a wait."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Generic, Literal, TypeVar, cast

from rmqtt._journal import journal
from rmqtt._live import Live
from rmqtt._outbox import Outbox
from rmqtt._rmqtt import NativeClient, NativeSyncClient
from rmqtt._transport import TLS, tls_argument
from rmqtt._types import Reconnect

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from rmqtt._auth import AuthHandler, Password, ScramSha256
    from rmqtt._events import Connected, Event
    from rmqtt._messages import Will
    from rmqtt._results import Negotiated
    from rmqtt._stats import ClientStats
    from rmqtt._types import UserProperties

#: Seconds that a clean end waits for what is queued to be sent and acknowledged.
DRAIN = 5.0

_Native = TypeVar("_Native", NativeClient, NativeSyncClient)


class Connection(Live, Generic[_Native]):
    """One connection to a broker."""

    __slots__ = ("__weakref__", "_native", "_url", "_waits_for_room")

    _native: _Native

    def __init__(
        self,
        url: str | Sequence[str] = "mqtt://127.0.0.1",
        /,
        *,
        port: int | None = None,
        client_id: str | None = None,
        version: Literal["5.0", "3.1.1"] | None = None,
        username: str | None = None,
        password: Password | None = None,
        auth: ScramSha256 | AuthHandler | None = None,
        clean_start: bool = True,
        session_expiry: float = 0,
        keep_alive: float = 60,
        connect_timeout: float = 10,
        receive_maximum: int = 1024,
        max_packet_size: int | None = None,
        topic_alias_max: int = 64,
        request_response_information: bool = False,
        request_problem_information: bool = True,
        will: Will | None = None,
        tls: TLS | bool | None = None,
        proxy: str | None = None,
        ws_headers: Mapping[str, str] | None = None,
        reconnect: Reconnect | None = Reconnect(),  # noqa: B008 - frozen
        outbox: Outbox = Outbox(),  # noqa: B008 - frozen
        user_properties: UserProperties = (),
        nodelay: bool = True,
        trace_context: bool = False,
    ) -> None:
        urls = _urls(url)
        _check("reconnect", reconnect, reconnect is None or isinstance(reconnect, Reconnect))
        _check("outbox", outbox, isinstance(outbox, Outbox))
        encrypted = tls_argument(tls)
        proof, secret = _credentials(auth, password)
        if will is not None:
            from rmqtt._messages import Will  # noqa: PLC0415 - only who has one pays for it

            _check("will", will, isinstance(will, Will))
        if port is not None:
            urls = tuple(_with_port(each, port) for each in urls)
        if encrypted is not None:
            urls = tuple(each if "://" in each else f"mqtts://{each}" for each in urls)
        self._url = urls[0]
        self._waits_for_room = outbox.on_full == "wait"
        self._native = self._begin(
            self._url,
            {
                "others": list(urls[1:]),
                "nodelay": nodelay,
                "client_id": client_id,
                "version": version,
                "tls": encrypted,
                "proxy": proxy,
                "ws_headers": list((ws_headers or {}).items()),
                "username": username,
                "password": secret,
                "auth": proof,
                "clean_start": clean_start,
                "session_expiry": session_expiry,
                "keep_alive": keep_alive,
                "connect_timeout": connect_timeout,
                "receive_maximum": receive_maximum,
                "max_packet_size": max_packet_size,
                "topic_alias_max": topic_alias_max,
                "request_response_information": request_response_information,
                "request_problem_information": request_problem_information,
                "will": will,
                "reconnect": reconnect,
                "outbox": outbox,
                "user_properties": list(user_properties),
                "journal": journal(),
            },
        )
        if trace_context:
            self._trace()

    def _trace(self) -> None:
        # Another class and not a question at each publish: who does not trace does not pay.
        raise NotImplementedError

    def _begin(self, url: str, arguments: Mapping[str, Any]) -> _Native:
        raise NotImplementedError

    def stats(self) -> ClientStats:
        """Take a snapshot of the counters.

        Examples
        --------
        >>> client.stats().connected
        True
        """
        from rmqtt._stats import ClientStats, RoundTrip  # noqa: PLC0415 - only who asks pays for it

        fields = self._native.stats()
        fields["round_trip"] = RoundTrip(**fields["round_trip"])
        return ClientStats(**fields)

    @property
    def url(self) -> str:
        """Where the broker is; of several addresses the first."""
        return self._url

    @property
    def negotiated(self) -> Negotiated:
        """What the broker granted at the latest connection.

        Raises
        ------
        NotConnected
            There has been no connection yet.
        """
        fields = self._native.negotiated()
        if fields is None:
            from rmqtt.exceptions import NotConnected  # noqa: PLC0415 - rare

            raise NotConnected("nothing is negotiated before the first connection")
        return _negotiated(fields)

    def _place(self) -> str:
        # Behind a question mark there is often a token or a signature. A user's name and password are refused in URLs.
        shown, mark, _ = self._url.partition("?")
        return f"{shown}{mark}…" if mark else shown

    def __repr__(self) -> str:
        state = "connected" if self._native.stats()["connected"] else "not connected"
        return f"<{type(self).__name__} {self._place()}, {state}>"

    def _repr_html_(self) -> str:
        from rmqtt import _html  # noqa: PLC0415 - only notebooks pay for it

        stats, fields = self.stats(), self._native.negotiated() or {}
        rows: dict[str, object] = {
            "broker": self._place(),
            "state": "connected" if stats.connected else "not connected",
            "client id": fields.get("client_id"),
            "MQTT": fields.get("version"),
            "connections so far": stats.connects,
            "messages sent / received": f"{stats.messages_sent} / {stats.messages_received}",
            "waiting / in flight": f"{stats.queued_messages} / {stats.in_flight}",
            "dropped": stats.dropped or None,
        }
        return _html.table(f"rmqtt {type(self).__name__}", rows)


def _urls(url: object) -> tuple[str, ...]:
    urls = tuple(url) if isinstance(url, Iterable) and not isinstance(url, str | bytes | bytearray) else (url,)
    if not urls:
        raise ValueError("url: at least one address is needed")
    for each in urls:
        if not isinstance(each, str):
            raise TypeError(f"url must be str, or several of them, not {type(each).__name__}")
    return cast("tuple[str, ...]", urls)


def _check(name: str, given: object, fits: bool) -> None:  # noqa: FBT001 - of this file
    if not fits:
        raise TypeError(f"{name} must be rmqtt.{name.capitalize()}, not {type(given).__name__}")


def _with_port(url: str, port: int) -> str:
    scheme, separator, rest = url.rpartition("://")
    host, slash, path = rest.partition("/")
    # An IPv6 address needs brackets in front of a port.
    if not separator and host.count(":") > 1 and not host.startswith("["):
        host = f"[{host}]"
    return f"{scheme}{separator}{host}:{port}{slash}{path}"


def _credentials(auth: ScramSha256 | AuthHandler | None, password: Password | None) -> tuple[object, object]:
    if auth is None and not callable(password):
        return None, password
    from rmqtt._auth import credentials  # noqa: PLC0415 - only who has more than a password pays for it

    return credentials(auth, password)


def _negotiated(fields: dict[str, Any]) -> Negotiated:
    from rmqtt._results import Negotiated  # noqa: PLC0415 - only who asks pays for it

    return Negotiated(**fields)


def happened(kind: str, fields: dict[str, Any]) -> Event:
    """Make an event of what the native half tells."""
    from rmqtt import _events  # noqa: PLC0415 - only who asks pays for it

    if kind == "Connected":
        fields["negotiated"] = _negotiated(fields["negotiated"])
    event: Event = getattr(_events, kind)(**fields)
    return event


def connected(fields: dict[str, Any]) -> Connected:
    """Make the event of a connection of what the native half tells."""
    return cast("Connected", happened("Connected", fields))


def check_responder(client: Connection[Any], concurrency: int) -> None:
    """Look at once whether it can respond at all."""
    if concurrency < 1:
        raise ValueError("concurrency must be 1 or more")
    if (version := client.negotiated.version) != "5.0":
        from rmqtt.exceptions import NotSupportedByBroker  # noqa: PLC0415 - rare

        raise NotSupportedByBroker(f"requests need MQTT 5, and this connection speaks {version}")
