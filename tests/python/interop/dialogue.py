"""Scripted dialogues with a broker over raw connections: what is sent is given, what comes back is written down.

A dialogue is a function that is handed a `Table` and makes its clients talk. It expects nothing: it is played to two
brokers, and the two transcripts are compared. So nothing of what a broker may choose is in a transcript (its limits, the
client ids and packet ids it makes up, its reason strings), nor an order that the standards leave open: within one breath,
answers stand before messages, and retained messages are sorted by topic.

A breath ends when every client has had its PINGRESP three times in turn: the first shows that the broker has taken in
all that was sent, the second lets it hand over what that led to, the third stands behind it.
"""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import re
import socket
import struct
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import rmqtt
from rmqtt import codec

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

Version: TypeAlias = Literal["5.0", "3.1.1"]
Said: TypeAlias = "codec.Packet | bytes"

#: How long a broker may take for what it does at once.
BOUND = 10.0
#: How long for what it does when a time has come: mosquitto looks at keep alives every five seconds.
PATIENCE = 20.0

CONNACK, PUBLISH, DISCONNECT, PINGRESP = 2, 3, 14, 13


@dataclass(frozen=True)
class Line:
    """One line of a transcript."""

    client: str
    #: What the broker has said or done; `None` for what was said to it.
    heard: str | None
    #: What was said to it.
    said: str = ""
    #: The bytes, if it is a packet.
    data: bytes = b""


@dataclass
class Dialogue:
    """A script and the versions it makes sense in."""

    name: str
    script: Callable[[Table], None]
    versions: tuple[Version, ...]

    @property
    def about(self) -> str:
        """What it asks."""
        return (self.script.__doc__ or "").strip()


#: All of them, by the import of the modules in `dialogues`.
DIALOGUES: dict[str, Dialogue] = {}


def dialogue(*versions: Version) -> Callable[[Callable[[Table], None]], Callable[[Table], None]]:
    """Put a script on the list, for these versions, or for both."""

    def put(script: Callable[[Table], None]) -> Callable[[Table], None]:
        name = script.__name__.replace("_", " ")
        assert name not in DIALOGUES, f"two dialogues are called {name}"
        DIALOGUES[name] = Dialogue(name, script, versions or ("3.1.1", "5.0"))
        return script

    return put


class Table:
    """The clients of one dialogue, and the transcript."""

    def __init__(self, port: int, version: Version) -> None:
        self.port = port
        self.version: Version = version
        self.lines: list[Line] = []
        self.clients: dict[str, Talker] = {}

    @property
    def is_v5(self) -> bool:
        """Whether MQTT 5 is spoken."""
        return self.version == "5.0"

    def client(self, name: str, version: Version | None = None) -> Talker:
        """Seat a client; its name is its client id, unless it says another."""
        assert name not in self.clients, f"{name} is seated already"
        talker = Talker(self, name, version or self.version)
        self.clients[name] = talker
        return talker

    def connected(self, *names: str) -> tuple[Talker, ...]:
        """Seat clients that have connected, with nothing special."""
        found = tuple(self.client(name) for name in names)
        for talker in found:
            talker.connect()
        return found

    def settle(self) -> None:
        """Wait until nothing that was said has an effect that is still to come."""
        for _ in range(3):
            for talker in self.clients.values():
                talker.fence()
        for talker in self.clients.values():
            talker.write_down()

    def end(self) -> None:
        """Wait for the last words, say which connections are open, and close them."""
        self.settle()
        for talker in self.clients.values():
            if talker.is_open:
                talker.note("is still open")
            talker.close()


class Talker:
    """One client: a raw connection at a time."""

    def __init__(self, table: Table, name: str, version: Version) -> None:
        self.table = table
        self.name = name
        self.version = version
        #: The messages it got, over all its connections.
        self.messages: list[codec.Publish] = []
        #: The answer to its last CONNECT.
        self.connack: codec.ConnAck | None = None
        self.is_open = False
        self._is_deaf = True
        self._socket: socket.socket | None = None
        self._input = b""
        self._breath: list[tuple[codec.Packet | str, bytes]] = []
        self._ids: dict[int, int] = {}
        self._pings = 0

    # ---- talking ------------------------------------------------------------------------------

    def open(self) -> None:
        """Open a connection, and say nothing yet."""
        self.close()
        self._socket = socket.create_connection(("127.0.0.1", self.table.port), BOUND)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._input, self._pings, self.connack = b"", 0, None
        self.is_open, self._is_deaf = True, True

    def connect(self, **fields: Any) -> None:
        """Open a connection, say CONNECT, and hear the answer."""
        self.open()
        connect = codec.Connect(**{"client_id": self.name, "version": self.version, **fields})
        self.write(connect)
        self.hear_welcome()

    def hear_welcome(self) -> None:
        """Hear the answer to a CONNECT, and what follows it; to the end, where it is no welcome."""
        self._read_while(lambda: self.connack is None, BOUND)
        if self.connack is not None and self.connack.reason_code < 0x80:
            self._is_deaf = False
            self.table.settle()
        else:
            self.hear_end()

    def say(self, *packets: Said) -> None:
        """Send, all at once, and wait until it has had its effect on everybody."""
        self.write(*packets)
        self.table.settle()

    def write(self, *packets: Said) -> None:
        """Send, all at once, and wait for nothing."""
        data = b""
        for packet in packets:
            piece = packet if isinstance(packet, bytes) else codec.encode(packet, version=self.version)
            self._pings += piece == b"\xc0\0"
            text = f"[{shortened(piece)}]" if isinstance(packet, bytes) else repr(packet)
            self.table.lines.append(Line(self.name, None, text, piece))
            data += piece
        if self._socket is not None:
            with contextlib.suppress(OSError):  # the broker was faster: what it said stands in the transcript
                self._socket.sendall(data)

    def settle_message(self, index: int, kind: type[codec.PubAck | codec.PubRec], **fields: Any) -> None:
        """Answer the message with this number, if it came."""
        self._answer(index, kind, fields)

    def complete_message(self, index: int, kind: type[codec.PubRel | codec.PubComp], **fields: Any) -> None:
        """Say the last word in its exchange."""
        self._answer(index, kind, fields)

    def _answer(self, index: int, kind: Any, fields: dict[str, Any]) -> None:
        if index < len(self.messages) and (packet_id := self.messages[index].packet_id) is not None:
            self.say(kind(packet_id=packet_id, **fields))

    def leave(self, **fields: Any) -> None:
        """Say DISCONNECT, and wait for the broker to close."""
        self.write(codec.Disconnect(**fields))
        self.hear_end()

    def cut(self) -> None:
        """Say no more, as if lost, and wait for the broker to notice."""
        assert self._socket is not None
        self.table.lines.append(Line(self.name, None, "is lost"))
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_WR)
        self.hear_end()

    def close(self) -> None:
        """Close, without a word."""
        if self._socket is not None:
            self._socket.close()
        self._socket, self.is_open, self._is_deaf = None, False, True

    # ---- hearing ------------------------------------------------------------------------------

    def hear_end(self, bound: float = BOUND) -> None:
        """Hear everything until the broker closes."""
        self._read_while(lambda: True, bound)
        self.table.settle()

    def hear_messages(self, count: int, bound: float = PATIENCE) -> None:
        """Wait until it has got this many messages in all: for those that come when a time has come."""
        self._read_while(lambda: len(self.messages) < count, bound)
        self.table.settle()

    def hear_clock(self) -> None:
        """Wait until the will of the client that serves as the clock has come: what is due before it has come too."""
        self._read_while(lambda: all(message.payload != b"it is time" for message in self.messages), PATIENCE)
        self.table.settle()

    def fence(self) -> None:
        """Hear everything the broker says before it answers a PINGREQ."""
        if self._is_deaf or self._socket is None or not self.is_open:
            return
        with contextlib.suppress(OSError):
            self._socket.sendall(b"\xc0\0")
        self._pings += 1
        self._read_while(lambda: self._pings > 0, BOUND)
        if self._pings > 0 and self.is_open:
            self.note("gets no answer to PINGREQ")
            self._is_deaf = True

    def note(self, text: str) -> None:
        """Write down what happened, behind all that came before."""
        self._breath.append((text, b""))
        self.write_down()

    def _read_while(self, wanted: Callable[[], bool], bound: float) -> None:
        """Read as long as more is wanted, within a time, or to the end."""
        until = time.monotonic() + bound
        while wanted() and self.is_open and self._socket is not None:
            self._socket.settimeout(max(until - time.monotonic(), 0.001))
            try:
                data = self._socket.recv(1 << 16)
            except TimeoutError:
                return
            except OSError:
                data = b""  # a reset says the same
            if not data:
                self.is_open = False
                self._breath.append(("is closed", b""))
            self._input += data
            self._take_packets()

    def _take_packets(self) -> None:
        while (size := packet_size(self._input)) is not None and size <= len(self._input):
            data, self._input = self._input[:size], self._input[size:]
            if data[0] >> 4 == PINGRESP:
                self._pings -= 1
            else:
                self._take_packet(data)

    def _take_packet(self, data: bytes) -> None:
        packet = self._decode(data)
        self._breath.append((packet, data))
        if isinstance(packet, codec.Publish):
            self.messages.append(packet)
        elif isinstance(packet, codec.ConnAck):
            self.connack = packet

    def _decode(self, data: bytes) -> codec.Packet | str:
        """Read a packet; a refusal may come in the form of the other version."""
        other: Version = "3.1.1" if self.version == "5.0" else "5.0"
        for version in (self.version, other):
            with contextlib.suppress(rmqtt.ProtocolError):
                return codec.decode(data, version=version)[0]
        return f"unreadable: {data.hex(' ')}"

    # ---- writing down ---------------------------------------------------------------------------

    def write_down(self) -> None:
        """Put what was heard in this breath into the transcript, in the order that counts."""
        breath = sorted(self._breath, key=lambda heard: rank(heard[0]))
        lines = [
            Line(self.name, packet if isinstance(packet, str) else describe(packet, self._number), data=data)
            for packet, data in retained_by_topic(breath)
        ]
        self.table.lines += shortened_runs(lines)
        self._breath.clear()

    def _number(self, packet_id: int) -> str:
        """Name a packet id of the broker by the order in which it was first heard of."""
        return f"m{self._ids.setdefault(packet_id, len(self._ids) + 1)}"


def shortened(data: bytes) -> str:
    """Show bytes, but not more of them than a line can hold."""
    return data[:48].hex(" ") + (f" … {len(data)} bytes" if len(data) > 48 else "")


def packet_size(data: bytes) -> int | None:
    """How many bytes the packet in front takes, once that is known."""
    length = 0
    for index, digit in enumerate(data[1:5]):
        length |= (digit & 127) << (7 * index)
        if digit < 128:
            return 2 + index + length
    return None


def rank(packet: codec.Packet | str) -> int:
    """Where something stands within one breath: answers, messages, the end."""
    if isinstance(packet, str):
        return 3
    return {codec.ConnAck: -1, codec.Publish: 1, codec.Disconnect: 2}.get(type(packet), 0)


def retained_by_topic(breath: list[tuple[codec.Packet | str, bytes]]) -> Iterator[tuple[codec.Packet | str, bytes]]:
    """Sort retained messages that stand side by side: which topic comes first is left open."""
    run: list[tuple[codec.Publish, bytes]] = []
    for packet, data in breath:
        if isinstance(packet, codec.Publish) and packet.retain:
            run.append((packet, data))
            continue
        yield from sorted(run, key=lambda heard: heard[0].topic)
        run.clear()
        yield packet, data
    yield from sorted(run, key=lambda heard: heard[0].topic)


def shortened_runs(lines: list[Line], least: int = 8) -> Iterator[Line]:
    """Make one line of many that differ in nothing but their packet ids."""
    for same, group in itertools.groupby(lines, lambda line: re.sub(r"#\d+", "", line.heard or "")):
        run = list(group)
        if len(run) < least or len({line.heard for line in run}) == 1:
            yield from run
            continue
        first, last = (re.findall(r"#\d+", line.heard or "") for line in (run[0], run[-1]))
        yield Line(run[0].client, f"{len(run)} times {same}{first[0]} to {last[0]}", data=run[0].data)


#: What each broker chooses for itself, or says for people to read.
CHOICES = {
    "maximum_packet_size",
    "reason_string",
    "receive_maximum",
    "server_keep_alive",
    "session_expiry_interval",
    "shared_subscription_available",
    "subscription_identifiers_available",
    "topic_alias_maximum",
    "wildcard_subscription_available",
}


def describe(packet: codec.Packet, number: Callable[[int], str]) -> str:
    """Say in one line what a packet of the broker's says, without what it may choose."""
    words = [type(packet).__name__.upper()]
    for item in dataclasses.fields(packet):
        value = getattr(packet, item.name)
        if item.name in CHOICES or value in (item.default, ()):
            continue
        words.append(describe_field(packet, item.name, value, number))
    if isinstance(
        packet, codec.ConnAck | codec.Disconnect | codec.PubAck | codec.PubRec | codec.PubRel | codec.PubComp
    ):
        code = packet.reason_code
        words.insert(1, f"0x{code:02X} {code.name}")
    return " ".join(word for word in words if word)


def describe_field(packet: codec.Packet, name: str, value: Any, number: Callable[[int], str]) -> str:
    """Say one field in few words."""
    match name:
        case "packet_id":
            words = number(value) if isinstance(packet, codec.Publish | codec.PubRel) else f"#{value}"
        case "reason_code":
            words = ""
        case "reason_codes":
            words = " ".join(f"0x{code:02X}" for code in value)
        case "assigned_client_identifier":
            words = "assigned id"
        case "subscription_identifiers":
            words = f"for {sorted(value)}"
        case "payload":
            words = repr(value)[1:] if len(value) < 40 else f"{len(value)} bytes"
        case "topic":
            words = repr(value) if len(value) < 60 else f"topic of {len(value)}"
        case "qos":
            words = f"QoS {int(value)}"
        case _:
            words = name if value is True else f"{name}={value!r}"
    return words


# ---- bytes that no packet class would write --------------------------------------------------------


def text(words: str | bytes) -> bytes:
    """Put its length before a string."""
    data = words.encode() if isinstance(words, str) else words
    return struct.pack(">H", len(data)) + data


def frame(first: int, *pieces: str | bytes) -> bytes:
    """Put a fixed header with the right length before a body; `str` pieces are hexadecimal."""
    body = b"".join(bytes.fromhex(piece) if isinstance(piece, str) else piece for piece in pieces)
    return bytes([first]) + varint(len(body)) + body


def varint(value: int) -> bytes:
    """A variable byte integer, as short as can be."""
    digits = bytearray()
    while True:
        value, digit = divmod(value, 128)
        digits.append(digit | (128 if value else 0))
        if not value:
            return bytes(digits)


def block(*pieces: str | bytes) -> bytes:
    """A property block with its length."""
    return frame(0, *pieces)[1:]


@dataclass
class Raw:
    """Builds malformed packets for one version: a property block only where there are any."""

    version: Version
    empty: bytes = field(init=False)

    def __post_init__(self) -> None:
        self.empty = b"\0" if self.version == "5.0" else b""

    def connect(self, flags: int, *payload: str | bytes, name: str | bytes = "MQTT", level: int | None = None) -> bytes:
        """Build a CONNECT with any flags; the payload begins behind the properties."""
        version = level if level is not None else 5 if self.version == "5.0" else 4
        return frame(0x10, text(name), bytes([version, flags]), "003c", self.empty, *payload)

    def publish(self, first: int, topic: str | bytes, *rest: str | bytes, packet_id: str = "") -> bytes:
        """Build a PUBLISH with any flags and topic, without properties."""
        return frame(first, text(topic), packet_id, self.empty, *rest)

    def subscribe(self, *lines: str | bytes, first: int = 0x82, packet_id: str = "0001") -> bytes:
        """Build a SUBSCRIBE of any lines, without properties."""
        return frame(first, packet_id, self.empty, *lines)
