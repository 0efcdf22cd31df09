"""What `Client.events` tells."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeAlias

if TYPE_CHECKING:
    from rmqtt._results import Negotiated

DropCause: TypeAlias = Literal["overflow", "offline", "full", "expired"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Connected:
    """The broker accepted the client."""

    negotiated: Negotiated


@dataclass(frozen=True, kw_only=True, slots=True)
class Disconnected:
    """The connection ended."""

    #: Why.
    error: Exception
    #: Seconds until the next try; `None`: there will be none.
    retry_in: float | None

    @property
    def will_retry(self) -> bool:
        """Whether there will be another try."""
        return self.retry_in is not None


@dataclass(frozen=True, kw_only=True, slots=True)
class SessionForgotten:
    """The broker has forgotten the session: it was subscribed again, and what was unacknowledged is sent anew."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Resubscribed:
    """Everything that had to be subscribed again after a cut has been answered."""

    #: What the broker granted; a subscription that it refused fails with `SubscribeRefused` for whoever waits there.
    filters: tuple[str, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Dropped:
    """Messages were dropped. What comes together is told together, at most once a second."""

    #: How many.
    count: int
    #: ``"overflow"``: received, and a subscription had no room. ``"offline"``: to be sent with QoS 0, and there was no
    #: connection. ``"full"``: not sent yet, and given up for newer ones by ``Outbox(on_full="drop_oldest")``.
    #: ``"expired"``: not sent in time, by ``Outbox(ttl=...)`` or by its own ``expiry``.
    cause: DropCause
    #: Of the subscription that had no room for them; none: they were to be sent.
    filters: tuple[str, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class ServerRedirect:
    """The broker sends its clients elsewhere. `Disconnected` or the error comes next.

    With ``Reconnect(follow_redirects=True)`` what it names is tried first; without, the next address of the client.
    Where there is neither, a client ends whose broker has moved for good; else it comes back after the longest delay
    of `Reconnect`, or, with jitter, after half of it at least.
    """

    #: Whether it has moved for good.
    permanent: bool
    #: Where to, if the broker says so: one or several hosts, parted by spaces, each with a port or without.
    server_reference: str | None


@dataclass(frozen=True, kw_only=True, slots=True)
class HandlerFailed:
    """A handler given to `respond` has raised, or what it returned could not be sent. The log has the traceback."""

    #: Of the request.
    topic: str
    #: The kind of error, and what it says.
    error: str


Event: TypeAlias = Connected | Disconnected | SessionForgotten | Resubscribed | Dropped | ServerRedirect | HandlerFailed
