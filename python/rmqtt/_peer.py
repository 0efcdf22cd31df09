"""What a broker knows of a client before it has said a word: its certificate."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


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


def with_certificate(fields: dict[str, Any]) -> dict[str, Any]:
    """Make the certificate among the fields of a client what it is."""
    certificate = fields["certificate"]
    return fields if certificate is None else {**fields, "certificate": PeerCertificate(**certificate)}
