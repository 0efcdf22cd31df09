"""A broker that is told what to answer, packet by packet, in the loop of the test."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

import rmqtt
from rmqtt import ConnAck, Disconnect, Packet, PubAck, Publish, ReasonCode, SubAck, Subscribe, UnsubAck, Unsubscribe

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable


class ToldBroker:
    """Answers each connection with its CONNACK, the last one again and again, and each packet as `answer` says."""

    def __init__(self, *connacks: ConnAck, answer: Callable[[Packet], Packet | None] | None = None) -> None:
        self._connacks = connacks or (ConnAck(),)
        self._answer = answer or self.consent
        self._codec = rmqtt.Codec(role="server")
        self._writer: asyncio.StreamWriter | None = None
        self.heard: list[Packet] = []
        self.connects: list[rmqtt.Connect] = []

    @staticmethod
    def consent(packet: Packet) -> Packet | None:
        """Grant what is asked for."""
        match packet:
            case Publish(packet_id=int(packet_id)):
                return PubAck(packet_id=packet_id)
            case Subscribe():
                return SubAck(packet_id=packet.packet_id, reason_codes=[ReasonCode(it.qos) for it in packet.filters])
            case Unsubscribe():
                return UnsubAck(packet_id=packet.packet_id, reason_codes=[ReasonCode.SUCCESS for _ in packet.filters])
            case rmqtt.PingReq():
                return rmqtt.PingResp()
        return None

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection, the only one at its time."""
        self._codec, self._writer = rmqtt.Codec(role="server"), writer
        with contextlib.closing(writer), contextlib.suppress(ConnectionError):
            while data := await reader.read(65_536):
                for packet in self._codec.feed(data):
                    self._take(packet)

    def _take(self, packet: Packet) -> None:
        if isinstance(packet, rmqtt.Connect):
            self.say(self._connacks[min(len(self.connects), len(self._connacks) - 1)])
            self.connects.append(packet)
            return
        self.heard.append(packet)
        if answer := self._answer(packet):
            self.say(answer)

    def say(self, packet: Packet) -> None:
        """Send a packet to the client that is connected."""
        assert self._writer is not None
        self._writer.write(self._codec.encode(packet))
        if isinstance(packet, Disconnect) or (isinstance(packet, ConnAck) and packet.reason_code.is_error):
            self.cut()

    def cut(self) -> None:
        """End the connection."""
        assert self._writer is not None
        self._writer.close()

    def of(self, kind: type[Packet]) -> list[Packet]:
        """Say what was heard of this kind."""
        return [packet for packet in self.heard if isinstance(packet, kind)]


@contextlib.asynccontextmanager
async def told(
    *connacks: ConnAck, answer: Callable[[Packet], Packet | None] | None = None
) -> AsyncIterator[tuple[ToldBroker, str]]:
    """Run such a broker on a free port, and say where."""
    broker = ToldBroker(*connacks, answer=answer)
    server = await asyncio.start_server(broker.serve, "127.0.0.1", 0)
    try:
        port = server.sockets[0].getsockname()[1]
        yield broker, f"mqtt://127.0.0.1:{port}"
    finally:
        server.close()
