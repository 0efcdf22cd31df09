"""A broker that answers when the test says so.

It speaks just enough of MQTT 3.1.1 and 5.0 for one thing: to keep a client's operations pending for as long as a test
wants, without sleeping. It runs on threads of its own, so the test's loop may be blocked, closed or gone.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
import threading
from collections import deque
from typing import TYPE_CHECKING, Any, NamedTuple, Self

import rmqtt

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

GUARD = 10.0

CONNECT, PUBLISH, PUBACK, PUBREC, PUBREL, SUBSCRIBE, UNSUBSCRIBE, PINGREQ, DISCONNECT = 1, 3, 4, 5, 6, 8, 10, 12, 14


class Publish(NamedTuple):
    """What a client has published."""

    topic: str
    payload: bytes
    qos: int
    packet_id: int


class HeldBroker:
    """Answers CONNECT, SUBSCRIBE and PINGREQ at once, unless held; holds each PUBACK and PUBREC until `release`."""

    def __init__(self, *, hold: tuple[int, ...] = (PUBLISH,), receive_maximum: int = 100) -> None:
        self._hold = set(hold)
        self._receive_maximum = receive_maximum
        self._changed = threading.Condition()
        self._held: deque[tuple[socket.socket, bytes]] = deque()
        self._connections: list[socket.socket] = []
        self._versions: list[int] = []
        self._threads: list[threading.Thread] = []
        self._server = socket.create_server(("127.0.0.1", 0))
        self.published: list[Publish] = []
        self.packets: list[int] = []
        self.accepted = 0
        self.disconnected = 0
        self.url = f"mqtt://127.0.0.1:{self._server.getsockname()[1]}"

    def __enter__(self) -> Self:
        self._start(self._accept)
        return self

    def __exit__(self, *_: object) -> None:
        # Closing alone would not wake the thread that accepts.
        self._server.shutdown(socket.SHUT_RDWR)
        self._server.close()
        self.cut()
        for thread in self._threads:
            thread.join(GUARD)
            assert not thread.is_alive()

    def cut(self) -> None:
        """Close every connection, as a broken network would."""
        with self._changed:
            for connection in self._connections:
                with contextlib.suppress(OSError):  # the client was faster
                    connection.shutdown(socket.SHUT_RDWR)
            self._held.clear()

    def release(self, count: int | None = None) -> None:
        """Send this many of the held answers, oldest first; all that are held when no number is given."""
        with self._changed:
            answers = [self._held.popleft() for _ in range(len(self._held) if count is None else count)]
        for connection, answer in answers:
            send(connection, answer)

    def refuse(self, reason: int) -> None:
        """Answer what is held, PUBACKs of MQTT 5, with this reason."""
        with self._changed:
            answers = list(self._held)
            self._held.clear()
        for connection, answer in answers:
            send(connection, packet(answer[0], answer[2:4] + bytes([reason])))

    def release_from_now_on(self) -> None:
        """Send all answers that are held, and hold none any more."""
        with self._changed:
            self._hold.clear()
        self.release()

    def hold_from_now_on(self, kind: int) -> None:
        """Hold the answers to packets of this kind as well."""
        with self._changed:
            self._hold.add(kind)

    def wait_for(self, true: Callable[[Self], bool]) -> None:
        """Block until this holds; it is looked at again after each packet."""
        with self._changed:
            assert self._changed.wait_for(lambda: true(self), GUARD), "the broker waited in vain"

    async def saw(self, true: Callable[[Self], bool]) -> None:
        """Wait until this holds, and let the loop run meanwhile."""
        await asyncio.to_thread(self.wait_for, true)

    @property
    def held(self) -> int:
        """How many answers are held."""
        return len(self._held)

    def send(self, topic: str, payload: bytes) -> None:
        """Send a message of QoS 0 to every client (3.1.1 or 5.0, no properties)."""
        name = topic.encode()
        for connection, version in list(zip(self._connections, self._versions, strict=True)):
            properties = b"\0" if version == 5 else b""
            connection.sendall(packet(0x30, struct.pack(">H", len(name)) + name + properties + payload))

    def _start(self, target: Callable[..., None], *arguments: object) -> None:
        thread = threading.Thread(target=target, args=arguments, name="held-broker", daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._server.accept()
            except OSError:
                return
            self.accepted += 1
            self._start(self._serve, connection)

    def _serve(self, connection: socket.socket) -> None:
        with connection, connection.makefile("rb") as stream:
            version = 5
            while (found := read_packet(stream.read)) is not None:
                first, body = found
                if first >> 4 == CONNECT:
                    version = body[6]
                    with self._changed:
                        self._connections.append(connection)
                        self._versions.append(version)
                self._take(connection, version, first, body)
        with self._changed:
            self.disconnected += 1
            if connection in self._connections:
                del self._versions[self._connections.index(connection)]
                self._connections.remove(connection)
            self._changed.notify_all()

    def _take(self, connection: socket.socket, version: int, first: int, body: bytes) -> None:
        kind = first >> 4
        answer = self._answer(version, first, body)
        with self._changed:
            self.packets.append(kind)
            if kind == PUBLISH:
                self.published.append(parse_publish(version, first, body))
            held = answer is not None and kind in self._hold
            if held and answer is not None:
                self._held.append((connection, answer))
            self._changed.notify_all()
        if answer is not None and not held:
            send(connection, answer)

    def _answer(self, version: int, first: int, body: bytes) -> bytes | None:
        kind, packet_id, no_properties = first >> 4, body[:2], b"\0" if version == 5 else b""
        if kind == CONNECT:
            window = b"\x03\x21" + struct.pack(">H", self._receive_maximum)
            return packet(0x20, b"\0\0" + (window if version == 5 else b""))
        if kind == PUBLISH:
            published = parse_publish(version, first, body)
            if published.qos == 0:
                return None
            return packet(0x40 if published.qos == 1 else 0x50, struct.pack(">H", published.packet_id))
        if kind == SUBSCRIBE:
            return packet(0x90, packet_id + no_properties + b"\0" * count_filters(version, body))
        if kind == UNSUBSCRIBE:
            return packet(0xB0, packet_id + no_properties + (b"\0" if version == 5 else b""))
        return {PUBREL: packet(0x70, packet_id), PINGREQ: packet(0xD0, b"")}.get(kind)


@contextlib.asynccontextmanager
async def held_client(**options: Any) -> AsyncIterator[tuple[HeldBroker, rmqtt.Client]]:
    """Connect a client to a broker that holds its answers; at the end all are sent, so that the client can leave."""
    with HeldBroker(**options) as broker:
        async with rmqtt.Client(broker.url) as client:
            try:
                yield broker, client
            finally:
                broker.release_from_now_on()


def send(connection: socket.socket, data: bytes) -> None:
    """Send, unless the client is gone."""
    with contextlib.suppress(OSError):
        connection.sendall(data)


def packet(first: int, body: bytes) -> bytes:
    """Put the fixed header before a body."""
    length, digits = len(body), bytearray()
    while True:
        length, digit = divmod(length, 128)
        digits.append(digit | (128 if length else 0))
        if not length:
            return bytes([first]) + bytes(digits) + body


def read_packet(read: Callable[[int], bytes]) -> tuple[int, bytes] | None:
    """Read one packet, or `None` at the end."""
    try:
        if not (first := read(1)):
            return None
        length, shift = 0, 0
        while True:
            digit = read(1)[0]
            length |= (digit & 127) << shift
            shift += 7
            if digit < 128:
                return first[0], read(length)
    except (OSError, IndexError):
        return None


def parse_publish(version: int, first: int, body: bytes) -> Publish:
    """Read what the tests ask for; the properties of these tests are shorter than 128 bytes."""
    qos = first >> 1 & 3
    (length,) = struct.unpack_from(">H", body)
    at = 2 + length
    topic = body[2:at].decode()
    packet_id = 0
    if qos:
        (packet_id,) = struct.unpack_from(">H", body, at)
        at += 2
    if version == 5:
        at += 1 + body[at]
    return Publish(topic, body[at:], qos, packet_id)


def count_filters(version: int, body: bytes) -> int:
    """Count the filters of a SUBSCRIBE."""
    at = 2 + (1 + body[2] if version == 5 else 0)
    count = 0
    while at < len(body):
        (length,) = struct.unpack_from(">H", body, at)
        at += 3 + length
        count += 1
    return count
