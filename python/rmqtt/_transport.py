"""What lies between a client and a broker: `TLS`, and `Listener`, one of the places where a broker listens."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass, field
from typing import TYPE_CHECKING, Literal, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Sequence
    from os import PathLike
    from types import EllipsisType

    from rmqtt._acl import AclSource
    from rmqtt._users import Auth

#: A path; or the thing itself, as PEM text or as bytes (PEM or DER).
Material: TypeAlias = "str | bytes | PathLike[str]"

__all__ = ["TLS", "Listener"]


@dataclass(frozen=True, kw_only=True, slots=True)
class TLS:
    """How to encrypt, for a client or for a listener of a broker.

    TLS 1.2 and 1.3, by rustls. Certificates and keys are read when the client or broker is made;
    `Broker.reload_certificates` reads those of a broker anew.

    Examples
    --------
    A client that believes an authority of its own, and has a certificate to show:

    >>> tls = TLS(ca="ca.pem", cert="client.pem", key="client.key")

    A listener that lets only those in for whom that authority vouches:

    >>> listener = Listener("mqtts://0.0.0.0:8883", tls=TLS(ca="ca.pem", cert="server.pem", key="server.key"))
    """

    #: Authorities that are believed. `None`: a client believes the system's; a listener asks nobody for a certificate.
    ca: Material | None = None
    #: Our certificate, with those between it and its authority behind it. A listener needs one.
    cert: Material | None = None
    #: Its key; `None`: in the same place as the certificate.
    key: Material | None = field(default=None, repr=False)
    #: Where the key is encrypted (PKCS#8).
    key_password: str | None = field(default=None, repr=False)
    #: Revocation lists of the authorities: a certificate for which none of them speaks is refused then, and all are
    #: when the list has run out.
    crl: Material | None = None
    #: The name that the server's certificate has to be for; `None`: the host of the URL. Clients only.
    server_name: str | None = None
    #: Protocols to agree on (ALPN); empty: ``mqtt``, and ``http/1.1`` for ``wss://``.
    alpn: Sequence[str] = ()
    #: Whether to ask who the server is. `False` is for tests: anybody on the way can read and change everything.
    verify: bool = True
    #: Whether a listener with ``ca`` turns clients without a certificate away. A bad one is refused in any case.
    client_cert: Literal["required", "optional"] = "required"
    #: The oldest version to speak: ``"1.2"`` or ``"1.3"``.
    min_version: Literal["1.2", "1.3"] = "1.2"


@dataclass(frozen=True, slots=True)
class Listener:
    """One of the places where a broker listens, with what goes there alone.

    Examples
    --------
    >>> with rmqtt.Broker(Listener("mqtt://127.0.0.1:0", max_connections=10), "mem://listeners") as broker:
    ...     len(broker.urls)
    2
    """

    #: As of `Broker`.
    url: str
    _: KW_ONLY
    #: Certificate and key, for ``mqtts://`` and ``wss://``.
    tls: TLS | None = None
    #: Mode of the file of a ``unix://`` socket: who may write to it may connect.
    socket_mode: int = 0o600
    #: Connections through this listener at a time; `None`: only those of `Limits` count.
    max_connections: int | None = None
    #: Whether anybody may come in here who is asked nothing; `None`: as of `Broker`.
    allow_anonymous: bool | None = None
    #: Whose pages may connect to ``ws://`` and ``wss://`` from a browser: origins such as ``"https://app.example"``,
    #: ``"null"`` for pages that have none, ``"*"`` for all. `None`: pages from ``localhost``, as seen by the browser.
    #: Programs that are no browsers are not asked.
    origins: Sequence[str] | None = None
    #: The proxies, addresses and networks such as ``10.0.0.0/8``, through which everybody comes here: each connection
    #: has to begin with a header of the PROXY protocol (version 1 or 2), and the client's address is the one in it.
    #: Who comes from elsewhere is turned away. Empty for ``unix://``, where whoever may open the file is the proxy.
    #: `None`: there is no proxy.
    proxy_protocol: Sequence[str] | None = None
    #: Which name of a client's certificate is its user, whatever CONNECT says: ``"cn"``, the subject's common name, or
    #: the alternative name that is a DNS name, an e-mail address or a URI. Whoever has none, or two, or one that cannot
    #: be a user's, is refused. It needs ``tls`` with ``ca``, and the certificate as ``"required"``.
    username_from: Literal["cn", "san-dns", "san-email", "san-uri"] | None = None
    #: Who may connect here, as ``auth`` of `Broker`; ``...``: as there, unless the certificate is proof enough
    #: (``username_from``). With both, the proof has to be that of the user in the certificate. `None`: nobody is asked.
    auth: Auth | EllipsisType = field(default=..., repr=False)
    #: What clients may do who come through here, as ``acl`` of `Broker`; ``...``: as there. `None`: everything.
    acl: AclSource | EllipsisType | None = ...


def tls_argument(tls: object) -> TLS | None:
    """Read what was given as ``tls``.

    Raises
    ------
    TypeError
        It is something else, such as a context of Python's own.
    """
    if tls is None or tls is False:
        return None
    if tls is True:
        return TLS()
    if isinstance(tls, TLS):
        return tls
    if any(kind.__module__ == "ssl" for kind in type(tls).__mro__):
        raise TypeError(
            "tls must be rmqtt.TLS: this client does not use Python's ssl module, and cannot read what an SSLContext "
            f"was made of; the equivalent is {_equivalent(tls)}"
        )
    raise TypeError(f"tls must be rmqtt.TLS, a bool or None, not {type(tls).__name__}")


def _equivalent(context: object) -> str:
    """Write the `TLS` that would do what a context does, as far as that can be told."""
    import ssl  # noqa: PLC0415 - only who has used it pays for it

    parts = []
    if isinstance(context, ssl.SSLContext):
        if context.get_ca_certs():
            parts.append('ca="ca.pem"')
        if context.verify_mode is ssl.CERT_NONE:
            parts.append("verify=False")
        if context.minimum_version is ssl.TLSVersion.TLSv1_3:
            parts.append('min_version="1.3"')
    return f"rmqtt.TLS({', '.join(parts)}), with cert= and key= where there is a certificate to show"
