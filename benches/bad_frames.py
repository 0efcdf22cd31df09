"""Bad input at the listeners for WebSocket and TLS: the bytes, and how far somebody comes who sends them."""

from __future__ import annotations

import functools
import ssl
import zlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import socket

TEXT, BINARY, PING, COMPRESSED = 0x81, 0x82, 0x89, 0xC2
#: As browsers ask, who offer compression.
REQUEST = (
    b"GET /mqtt HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n"
    b"Sec-WebSocket-Protocol: mqtt\r\nSec-WebSocket-Extensions: permessage-deflate\r\n\r\n"
)
#: The beginning of a greeting of TLS that promises 512 bytes.
HALF_A_GREETING = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"


def frame(first: int, payload: bytes, *, length: int | None = None) -> bytes:
    """Make a frame of a client, with a mask that changes nothing; ``length``: what it claims."""
    size = len(payload) if length is None else length
    if size < 126:
        head = bytes([first, 0x80 | size])
    elif size < 1 << 16:
        head = bytes([first, 0xFE]) + size.to_bytes(2, "big")
    else:
        head = bytes([first, 0xFF]) + size.to_bytes(8, "big")
    return head + bytes(4) + payload


def fragments(payload: bytes) -> bytes:
    """Make a message of fragments of one byte, with a ping behind each."""
    last = len(payload) - 1
    return b"".join(
        frame((0x80 if at == last else 0) | (0 if at else 2), payload[at : at + 1]) + frame(PING, b"")
        for at in range(len(payload))
    )


@functools.cache
def bomb() -> bytes:
    """Make a frame of 50 kB that would be 50 MB, were it decompressed."""
    deflate = zlib.compressobj(9, zlib.DEFLATED, -15)
    return frame(COMPRESSED, deflate.compress(bytes(50_000_000)) + deflate.flush(zlib.Z_SYNC_FLUSH)[:-4])


@functools.cache
def _trusting() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context


def encrypt(peer: socket.socket) -> socket.socket:
    """Shake hands, whoever it is."""
    return _trusting().wrap_socket(peer)


def upgrade(peer: socket.socket) -> None:
    """Make a WebSocket of it."""
    peer.sendall(REQUEST)
    answer = b""
    while not answer.endswith(b"\r\n\r\n"):
        answer += peer.recv(1)
    if not answer.startswith(b"HTTP/1.1 101 "):
        raise ConnectionError(answer.decode())


def has_ended(peer: socket.socket) -> bool:
    """Read what there is, and say whether the broker has ended it."""
    try:
        while peer.recv(1 << 16):
            pass
    except (BlockingIOError, ssl.SSLWantReadError):
        return False
    except OSError:
        return True
    return True
