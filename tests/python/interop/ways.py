"""What lies between a peer and its broker: plain TCP, TLS, TLS with a certificate of the peer's own, WebSocket, a Unix socket."""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from pathlib import Path

    import rmqtt
    from rmqtt.testing import Certificates

WayName = Literal["tls", "tls 1.2", "mutual tls", "unix", "ws", "wss"]


@dataclass(frozen=True)
class Way:
    """A way, as each of the peers has to be told of it."""

    certificates: Certificates | None = None
    #: Whether the peer shows a certificate.
    shows: bool = False
    #: Whether TLS 1.3 is left out.
    is_old: bool = False
    #: The socket, where it is one in the file system.
    path: Path | None = None
    is_websocket: bool = False

    def url(self, port: int) -> str:
        """Say where the broker is."""
        if self.path:
            return f"unix://{self.path}"
        scheme = "ws" if self.is_websocket else "mqtt"
        return f"{scheme}{'s' if self.certificates else ''}://127.0.0.1:{port}"

    def ours(self) -> rmqtt.TLS | None:
        """Say it to our client."""
        if self.certificates is None:
            return None
        return self.certificates.for_client(self.certificates.client if self.shows else None)

    def mosquitto(self, port: int) -> list[str]:
        """Say it to mosquitto's tools."""
        if self.path:
            return ["--unix", str(self.path)]
        arguments = ["-h", "127.0.0.1", "-p", str(port)]
        if self.certificates:
            arguments += ["--cafile", str(self.certificates.ca_file)]
            arguments += ["--tls-version", "tlsv1.2"] if self.is_old else []
        if self.certificates and self.shows:
            mine = self.certificates.client
            arguments += ["--cert", str(mine.cert_file), "--key", str(mine.key_file)]
        return arguments

    def context(self) -> ssl.SSLContext | None:
        """Say it to those that use Python's own TLS."""
        if self.certificates is None:
            return None
        context = ssl.create_default_context(cadata=self.certificates.ca)
        if self.is_old:
            context.maximum_version = ssl.TLSVersion.TLSv1_2
        if self.shows:
            mine = self.certificates.client
            context.load_cert_chain(mine.cert_file, mine.key_file)
        return context

    def javascript(self) -> dict[str, Any]:
        """Say it to MQTT.js."""
        options: dict[str, Any] = {"protocol": "ws", "path": "/mqtt"} if self.is_websocket else {}
        if self.certificates is None:
            return options
        options |= {"protocol": "wss" if self.is_websocket else "mqtts", "ca": self.certificates.ca}
        if self.is_old:
            options["maxVersion"] = "TLSv1.2"
        if self.shows:
            mine = self.certificates.client
            options |= {"cert": mine.cert, "key": mine.key}
        return options


PLAIN = Way()
