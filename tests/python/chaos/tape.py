"""What crosses a link, packet by packet, and what a receiver makes of it: so it is seen whose fault something is."""

from __future__ import annotations

import time
from bisect import bisect
from collections import defaultdict
from itertools import groupby
from operator import attrgetter
from typing import TYPE_CHECKING, Literal, NamedTuple, TypeAlias

from rmqtt import codec

from chaos.roamer import number_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from pathlib import Path

Way: TypeAlias = Literal["up", "down"]


class Passed(NamedTuple):
    """A packet that was carried to its end, though perhaps not read there. Of most only their kind is kept."""

    second: float
    connection: int
    way: Way
    kind: str
    packet_id: int = 0
    qos: int = 0
    dup: bool = False
    topic: str = ""
    number: int = 0

    @property
    def message(self) -> tuple[str, int]:
        """What names a message."""
        return self.topic, self.number


class Tape:
    """The record of one link: a line for each packet."""

    def __init__(self, path: Path, began: float) -> None:
        #: When the clock of the record was at zero.
        self.began = began
        self._file = path.open("w")

    def close(self) -> None:
        """Write what is left."""
        self._file.close()

    def heads(self, connection: int) -> dict[Way, Callable[[bytes], None]]:
        """Give what is to be told of every piece of a new connection that has passed, for each way."""
        client, server = codec.Codec(role="client"), codec.Codec(role="server")
        aliases: dict[int, str] = {}

        def up(data: bytes) -> None:
            for packet in server.feed(data):
                if isinstance(packet, codec.Connect):
                    client.encode(packet)  # tells it the version
                self._write(connection, "up", packet, getattr(packet, "topic", ""))

        def down(data: bytes) -> None:
            for packet in client.feed(data):
                topic = getattr(packet, "topic", "")
                if (alias := getattr(packet, "topic_alias", None)) is not None:
                    topic = aliases[alias] = topic or aliases[alias]
                self._write(connection, "down", packet, topic)

        return {"up": up, "down": down}

    def _write(self, connection: int, way: Way, packet: codec.Packet, topic: str) -> None:
        passed = Passed(time.monotonic() - self.began, connection, way, type(packet).__name__)
        match packet:
            case codec.Publish():
                passed = passed._replace(
                    packet_id=packet.packet_id or 0,
                    qos=int(packet.qos),
                    dup=packet.dup,
                    topic=topic,
                    number=number_of(bytes(packet.payload)),
                )
            case codec.PubAck() | codec.PubRec() | codec.PubRel() | codec.PubComp():
                passed = passed._replace(packet_id=packet.packet_id)
        self._file.write("{:.3f}\t{}\t{}\t{}\t{}\t{}\t{:d}\t{}\t{}\n".format(*passed))


def read(path: Path) -> Iterator[Passed]:
    """Read a tape."""
    with path.open() as lines:
        for line in lines:
            second, connection, way, kind, packet_id, qos, dup, topic, number = line.rstrip("\n").split("\t")
            yield Passed(
                float(second),
                int(connection),
                way,  # type: ignore[arg-type]
                kind,
                int(packet_id),
                int(qos),
                bool(int(dup)),
                topic,
                int(number),
            )


# Of a connection the receiver has read any part from its beginning: what was on its way when it broke may be lost. So
# these two go through the connections, and say how many of the messages that one subscription was given can have
# come so, in this order and in no other.


def by_connection(passed: Iterable[Passed]) -> Iterator[Iterator[Passed]]:
    """Part them: of two connections at a time the receiver has left the earlier one."""
    connection = attrgetter("connection")
    return (packets for _, packets in groupby(sorted(passed, key=connection), connection))


def at_least_once(passed: Iterable[Passed], got: Sequence[tuple[str, int]]) -> int:
    """Count the messages of QoS 1 that are as they were sent: each PUBLISH that is read is given out."""
    places = defaultdict(list)
    for at, message in enumerate(got):
        places[message].append(at)
    reached = {0}
    for packets in by_connection(passed):
        messages = [packet.message for packet in packets if packet.kind == "Publish"]
        for at in [at for first in messages[:1] for at in places[first] if at in reached]:
            for message in messages:
                if got[at : at + 1] != [message]:
                    break
                at += 1  # noqa: PLW2901
                reached.add(at)
    return max(reached)


def exactly_once(passed: Iterable[Passed], got: Sequence[tuple[str, int]], anew: Sequence[float] = ()) -> int:
    """Count the messages of QoS 2 that are as they were sent: each is given out once, until its id is released.

    A receiver that was begun anew, after it was killed, is given once more what it has not acknowledged.
    """
    at = life = 0
    held: set[int] = set()
    given: set[tuple[str, int]] = set()
    for packets in by_connection(passed):
        for packet in packets:
            before, life = life, max(life, bisect(anew, packet.second))
            if before != life:
                held.clear()
            if packet.kind == "PubRel":
                held.discard(packet.packet_id)
            elif packet.packet_id in held:
                continue
            elif at < len(got) and got[at] == packet.message:
                at += 1
                held.add(packet.packet_id)
                given.add(packet.message)
            elif packet.message not in given:
                # Whoever had read it would have given it out now.
                break
    return at
