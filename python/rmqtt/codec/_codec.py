"""`Codec`: packets of one end of a connection, from bytes and to bytes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from rmqtt._explain import explain
from rmqtt._rmqtt import NativeCodec
from rmqtt._types import ReasonCode
from rmqtt.codec._connect import ConnAck, Connect, WillMessage
from rmqtt.codec._control import Auth, Disconnect, PingReq, PingResp
from rmqtt.codec._publish import PubAck, PubComp, Publish, PubRec, PubRel
from rmqtt.codec._subscribe import SubAck, Subscribe, SubscribeFilter, UnsubAck, Unsubscribe
from rmqtt.exceptions import IncompletePacket, ProtocolError

if TYPE_CHECKING:
    from rmqtt.codec._forms import Buffer, Version

#: The largest packet that the format can express, in bytes.
PACKET_SIZE_MAX = 268_435_460

Packet: TypeAlias = (
    Connect
    | ConnAck
    | Publish
    | PubAck
    | PubRec
    | PubRel
    | PubComp
    | Subscribe
    | SubAck
    | Unsubscribe
    | UnsubAck
    | PingReq
    | PingResp
    | Disconnect
    | Auth
)

# The number of each kind, as in the upper half of its first byte.
_NUMBERS: dict[type, int] = {
    Connect: 1,
    ConnAck: 2,
    Publish: 3,
    PubAck: 4,
    PubRec: 5,
    PubRel: 6,
    PubComp: 7,
    Subscribe: 8,
    SubAck: 9,
    Unsubscribe: 10,
    UnsubAck: 11,
    PingReq: 12,
    PingResp: 13,
    Disconnect: 14,
    Auth: 15,
}
_CLASSES: dict[int, Any] = {number: kind for kind, number in _NUMBERS.items()}

_BOTH_WAYS = frozenset({Publish, PubAck, PubRec, PubRel, PubComp})
_FROM_CLIENT = _BOTH_WAYS | {Connect, Subscribe, Unsubscribe, PingReq, Disconnect, Auth}
_FROM_SERVER = _BOTH_WAYS | {ConnAck, SubAck, UnsubAck, PingResp, Disconnect, Auth}


def _number(packet: object) -> int:
    number = _NUMBERS.get(type(packet))
    if number is None:
        raise TypeError(f"not a packet: {type(packet).__name__}; the classes are in rmqtt.codec")
    return number


def _packet(number: int, values: dict[str, Any]) -> Packet:
    if values.get("will") is not None:
        values["will"] = WillMessage(**values["will"])
    elif number == _NUMBERS[Subscribe]:
        values["filters"] = tuple(SubscribeFilter(**line) for line in values["filters"])
    packet: Packet = _CLASSES[number](**values)
    return packet


def _misfit(packet: Packet, error: TypeError) -> TypeError | ValueError:
    """Say which field does not fit, in the caller's words: of the wrong type, or out of its range."""
    place: list[str] = []
    reason: BaseException = error
    while reason.__cause__ is not None:
        place.append(str(reason).rpartition(".")[2])
        reason = reason.__cause__
    kind = ValueError if isinstance(reason, (OverflowError, ValueError)) else TypeError
    what = "out of its range" if kind is ValueError else str(reason)
    return kind(f"{'.'.join(place)} of {type(packet).__name__}: {what}")


def _fault(data: bytes, version: Version, error: ProtocolError | None) -> ProtocolError:
    """Say where the bytes are wrong; without an error, what of the packet is missing."""
    fault = explain(data, version=version).fault
    if error is None:
        what = "the packet is incomplete" if fault is None else fault.what
        return IncompletePacket(what, reason_code=ReasonCode.MALFORMED_PACKET)
    if fault is not None:
        shown = data[fault.start : fault.end][:16].hex(" ")
        error.add_note(f"bytes {fault.start} to {fault.end} of {len(data)}: {shown}")
    return error


class Codec:
    r"""One end of a connection, as far as bytes and packets go. It is no client: it does not answer, and keeps no time.

    A `Connect` that goes through it, in either direction, settles the version of what follows. For one thread only.

    Parameters
    ----------
    version
        What is spoken until a CONNECT says otherwise.
    role
        Which end this is. Packets that travel in the wrong direction are refused both ways.
    max_packet_size
        The largest packet taken, in bytes. It is refused as soon as its length is known.

    Examples
    --------
    >>> server = Codec(role="server")
    >>> hello = encode(Connect(client_id="c", version="3.1.1"))
    >>> server.feed(hello[:5])
    []
    >>> server.feed(hello[5:])[0].client_id, server.version
    ('c', '3.1.1')
    >>> server.encode(ConnAck())
    b' \x02\x00\x00'
    """

    __slots__ = ("_fault", "_native", "_role")

    def __init__(
        self,
        version: Version = "5.0",
        *,
        role: Literal["client", "server"] = "client",
        max_packet_size: int = PACKET_SIZE_MAX,
    ) -> None:
        if role not in ("client", "server"):
            raise ValueError(f"role must be 'client' or 'server', not {role!r}")
        if not 2 <= max_packet_size <= PACKET_SIZE_MAX:
            raise ValueError(f"max_packet_size must be 2 to {PACKET_SIZE_MAX}, not {max_packet_size}")
        self._native = NativeCodec(version, max_packet_size)
        self._role = role
        self._fault: ProtocolError | None = None

    @property
    def version(self) -> Version:
        """What is spoken."""
        return self._native.version

    @property
    def role(self) -> Literal["client", "server"]:
        """Which end this is."""
        return self._role

    @property
    def fault(self) -> ProtocolError | None:
        """What the peer did wrong, if it did: nothing that follows can be read."""
        return self._fault

    @property
    def buffered(self) -> int:
        """Bytes that have arrived and are no whole packet yet."""
        return self._native.buffered

    def feed(self, data: Buffer, /) -> list[Packet]:
        """Take bytes that arrived, and give the packets that are complete with them.

        How the bytes are cut into calls makes no difference: the packets before a fault are given out first, and the
        fault is raised by the next call, and by all after it. `fault` tells at once.

        Raises
        ------
        MalformedPacket
            The bytes are no packet; close the connection.
        ProtocolError
            A packet says what is not allowed, is too large, or travels in the wrong direction; ``reason_code`` is what
            an MQTT 5 peer is told.
        """
        if self._fault is not None:
            raise self._fault
        self._native.push(data)
        packets: list[Packet] = []
        try:
            while (packet := self._native.read(packets)) is not None:
                self._check_received(packet)
                packets.append(packet)
        except ProtocolError as error:
            self._fault = error
            if not packets:
                raise
        return packets

    def encode(self, packet: Packet, /) -> bytes:
        """Turn a packet of this end into bytes.

        Raises
        ------
        ValueError
            The packet is for the other end to send, or says what the standard does not allow.
        TypeError
            Not a packet, or a field of another type.
        """
        if type(packet) not in _BOTH_WAYS and _number(packet) and not self._may_send(packet, self._role):
            raise ValueError(f"a {self._role} does not send {type(packet).__name__} in MQTT {self.version}")
        return self._native.encode(packet)

    def _check_received(self, packet: Packet) -> None:
        peer: Literal["client", "server"] = "client" if self._role == "server" else "server"
        if not self._may_send(packet, peer):
            raise ProtocolError(
                f"protocol error: a {peer} does not send {type(packet).__name__} in MQTT {self.version}",
                reason_code=ReasonCode.PROTOCOL_ERROR,
            )

    def _may_send(self, packet: Packet, role: Literal["client", "server"]) -> bool:
        if role == "client":
            return type(packet) in _FROM_CLIENT
        return type(packet) in _FROM_SERVER and not (isinstance(packet, Disconnect) and self.version != "5.0")

    def __repr__(self) -> str:
        return f"Codec({self.version!r}, role={self._role!r})"
