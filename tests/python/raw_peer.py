"""A client that says what it is told to, packet by packet, over a plain socket: for what no good client would do."""

from __future__ import annotations

import contextlib
import socket
from typing import TYPE_CHECKING, Literal, Self, TypeVar

import rmqtt
from held_broker import GUARD

if TYPE_CHECKING:
    from rmqtt import Packet

P = TypeVar("P", bound="rmqtt.Packet")


class RawPeer:
    """One connection; every wait for a packet is bounded."""

    def __init__(self, port: int, version: Literal["5.0", "3.1.1"] = "5.0") -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), GUARD)
        self._codec = rmqtt.Codec(version)
        self._heard: list[Packet] = []

    @classmethod
    def connected(
        cls, port: int, client_id: str, *, clean_start: bool = False, will: rmqtt.WillMessage | None = None
    ) -> Self:
        """Connect with a session that outlives the connection, take the CONNACK, and keep it in `connack`."""
        peer = cls(port)
        peer.say(rmqtt.Connect(client_id=client_id, clean_start=clean_start, session_expiry_interval=1000, will=will))
        peer.connack = peer.hear(rmqtt.ConnAck)
        return peer

    connack: rmqtt.ConnAck

    def say(self, *packets: Packet) -> None:
        """Send packets, in one write."""
        self._socket.sendall(b"".join(self._codec.encode(packet) for packet in packets))

    def publish(
        self,
        topic: str,
        payload: bytes = b"",
        *,
        qos: Literal[0, 1, 2] = 0,
        packet_id: int | None = None,
        dup: bool = False,
    ) -> None:
        """Send a PUBLISH."""
        self.say(rmqtt.Publish(topic=topic, payload=payload, qos=qos, packet_id=packet_id, dup=dup))

    def subscribe(self, *filters: str, qos: Literal[0, 1, 2] = 2) -> None:
        """Subscribe, and take the SUBACK."""
        asked = [rmqtt.SubscribeFilter(filter=text, qos=qos) for text in filters]
        self.say(rmqtt.Subscribe(packet_id=65_000, filters=asked))
        self.hear(rmqtt.SubAck)

    def hear(self, kind: type[P]) -> P:
        """Take the next packet, which must be of this kind."""
        while not self._heard:
            data = self._socket.recv(65_536)
            assert data, "the connection was closed"
            self._heard.extend(self._codec.feed(data))
        packet = self._heard.pop(0)
        assert isinstance(packet, kind), packet
        return packet

    def rest(self) -> list[Packet]:
        """Take everything until the connection is closed, in whichever way."""
        with contextlib.suppress(ConnectionError):
            while data := self._socket.recv(65_536):
                self._heard.extend(self._codec.feed(data))
        self.close()
        heard, self._heard = self._heard, []
        return heard

    def ping(self) -> None:
        """Wait until the broker has dealt with everything said so far; what it said meanwhile stays to be heard."""
        self.say(rmqtt.PingReq())
        while not any(isinstance(packet, rmqtt.PingResp) for packet in self._heard):
            data = self._socket.recv(65_536)
            assert data, "the connection was closed"
            self._heard.extend(self._codec.feed(data))
        self._heard = [packet for packet in self._heard if not isinstance(packet, rmqtt.PingResp)]

    def leave(self) -> None:
        """Say goodbye; the broker has let go of the session when this returns."""
        self.say(rmqtt.Disconnect())
        self.rest()

    def close(self) -> None:
        """Close, with no word said."""
        self._socket.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
