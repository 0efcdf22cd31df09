"""`Certificates`: an authority to be thrown away, and what goes right and wrong with it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from rmqtt._rmqtt import make_certificates
from rmqtt._transport import TLS

if TYPE_CHECKING:
    from os import PathLike

__all__ = ["Certificate", "Certificates"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Certificate:
    """A certificate and its key, as text and as files."""

    #: PEM text.
    cert: str
    #: PEM text, not encrypted.
    key: str
    #: The same, in a file.
    cert_file: Path
    #: The same, in a file.
    key_file: Path


@dataclass(frozen=True, kw_only=True, slots=True)
class Certificates:
    """Certificates for tests of TLS, made in milliseconds, without OpenSSL.

    Those of servers are for ``localhost``, ``127.0.0.1`` and ``::1``.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     made = Certificates.make(folder)
    ...     with rmqtt.Broker(rmqtt.Listener("mqtts://127.0.0.1:0", tls=made.for_listener())) as broker:
    ...         with rmqtt.SyncClient(broker.url, tls=made.for_client()) as client:
    ...             client.publish("plant/7/temperature", b"21.5")
    PublishResult(SUCCESS)
    """

    #: The authority's certificate, PEM text.
    ca: str
    #: The same, in a file.
    ca_file: Path
    #: Of another authority, which has issued none of these.
    other_ca: str
    #: The same, in a file.
    other_ca_file: Path
    #: The authority's revocation list: ``revoked`` and ``revoked_client`` are on it.
    crl: str
    #: The same, in a file.
    crl_file: Path
    #: A server's.
    server: Certificate
    #: A client's: ``CN=client``, with the e-mail address ``client@example.com`` and the URI ``urn:rmqtt:client``.
    client: Certificate
    #: A server's, which has expired.
    expired: Certificate
    #: A server's, for ``elsewhere.example``.
    wrong_host: Certificate
    #: A server's, which was revoked.
    revoked: Certificate
    #: A client's, which was revoked.
    revoked_client: Certificate
    #: A server's, by nobody but itself.
    self_signed: Certificate

    @classmethod
    def make(cls, folder: str | PathLike[str]) -> Self:
        """Make new ones, with their files in this folder.

        Parameters
        ----------
        folder
            Where the files go; it must be there.

        Returns
        -------
        Certificates
            All of them.

        Examples
        --------
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     Certificates.make(folder).ca_file.name
        'ca.pem'
        """
        fields: dict[str, Any] = {}
        for name, made in make_certificates().items():
            cert_file = Path(folder, f"{name}.pem")
            if isinstance(made, str):
                cert_file.write_text(made)
                fields |= {name: made, f"{name}_file": cert_file}
                continue
            cert, key = made
            key_file = cert_file.with_suffix(".key")
            cert_file.write_text(cert)
            key_file.write_text(key)
            fields[name] = Certificate(cert=cert, key=key, cert_file=cert_file, key_file=key_file)
        return cls(**fields)

    def for_listener(self, certificate: Certificate | None = None, **changes: Any) -> TLS:
        """Give what a listener needs.

        Parameters
        ----------
        certificate
            Which to show; `None`: ``server``.
        changes
            Other fields of `rmqtt.TLS`: ``ca=certificates.ca`` to ask clients for certificates.

        Returns
        -------
        TLS
            For `rmqtt.Listener`.

        Examples
        --------
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     Certificates.make(folder).for_listener(min_version="1.3").min_version
        '1.3'
        """
        shown = certificate or self.server
        return TLS(**{"cert": shown.cert, "key": shown.key, **changes})

    def for_client(self, certificate: Certificate | None = None, **changes: Any) -> TLS:
        """Give what a client needs: it believes ``ca``.

        Parameters
        ----------
        certificate
            Which to show, such as ``client``; `None`: none.
        changes
            Other fields of `rmqtt.TLS`.

        Returns
        -------
        TLS
            For `rmqtt.Client`.

        Examples
        --------
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     Certificates.make(folder).for_client(server_name="localhost").server_name
        'localhost'
        """
        shown = {"cert": certificate.cert, "key": certificate.key} if certificate else {}
        return TLS(**{"ca": self.ca, **shown, **changes})
