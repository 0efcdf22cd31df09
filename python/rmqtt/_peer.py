"""What a broker knows of a client: its certificate, its connection and its session."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from rmqtt._types import QoS


@dataclass(frozen=True, kw_only=True, slots=True)
class PeerCertificate:
    """Whom a certificate names.

    Examples
    --------
    >>> PeerCertificate(common_name="pump-7", subject="CN=pump-7", serial="0A").dns_names
    ()
    """

    #: `None` where there is none, or more than one.
    common_name: str | None
    #: The subject as text, as the certificate has it: escape it before it is shown anywhere.
    subject: str
    #: The serial number, in hex digits.
    serial: str
    #: Alternative names that are DNS names.
    dns_names: tuple[str, ...] = ()
    #: Those that are e-mail addresses.
    email_addresses: tuple[str, ...] = ()
    #: Those that are URIs.
    uris: tuple[str, ...] = ()
    #: Those that are IP addresses.
    ip_addresses: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class ClientInfo:
    """What a broker knows of a connected client."""

    client_id: str
    #: What it speaks.
    version: Literal["5.0", "3.1.1", "3.1"]
    #: Where it is, as ``host:port``; `None` in memory.
    peer_address: str | None
    #: Who it says it is.
    username: str | None
    #: Who it has proven to be, where the broker has users.
    user: str | None
    #: Seconds.
    keep_alive: int
    #: The certificate that it has proven to own, and that an authority of the listener vouches for.
    certificate: PeerCertificate | None = None
    #: Through which of the broker's listeners it came, counted from 0; `None`: in memory, at the broker's own name.
    listener: int | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class SessionInfo:
    """What a broker knows of a session."""

    client_id: str
    #: Whether its client is here.
    is_connected: bool
    #: Its filters, with the granted QoS.
    subscriptions: dict[str, QoS] = field(default_factory=dict)
    #: Messages waiting for it.
    queued_messages: int
    #: Messages on the way to it.
    in_flight: int
    #: Seconds that it outlives its connection; `None`: for ever.
    expiry_interval: int | None


def with_certificate(fields: dict[str, Any]) -> dict[str, Any]:
    """Make the certificate among the fields of a client what it is."""
    certificate = fields["certificate"]
    return fields if certificate is None else {**fields, "certificate": PeerCertificate(**certificate)}
