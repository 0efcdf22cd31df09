"""`Wire`: every packet of every connection, as it was on the wire."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Final, Literal, overload

from rmqtt._explain import explain
from rmqtt._rmqtt import summary, topic_matches
from rmqtt.exceptions import MqttTimeout

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rmqtt._explain import Explanation
    from rmqtt._rmqtt import NativeWire

__all__ = ["Wire", "WireLine"]

PACKETS: Final = (
    *("CONNECT", "CONNACK", "PUBLISH", "PUBACK", "PUBREC", "PUBREL", "PUBCOMP", "SUBSCRIBE", "SUBACK"),
    *("UNSUBSCRIBE", "UNSUBACK", "PINGREQ", "PINGRESP", "DISCONNECT", "AUTH"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class WireLine:
    """One packet of `Wire`.

    Its text hides passwords and what mechanisms of authentication say; `raw` is what was on the wire.
    """

    number: int
    """From 0: every packet that was ever logged has the next one."""
    time: float
    """Seconds since the broker was made, by its clock."""
    client_id: str
    """Empty before CONNECT has named it."""
    connection: int
    """From 1, in the order of coming."""
    direction: Literal["in", "out"]
    """``"in"``: to the broker."""
    packet: str
    """Its kind, such as ``"PUBLISH"``; empty where the bytes were no packet."""
    topic: str | None
    """Of a PUBLISH, also where an alias stood for it, and of what acknowledges one."""
    version: Literal["5.0", "3.1.1", "3.1"]
    """What the connection spoke."""
    size: int
    """In bytes, fixed header included."""
    raw: bytes = field(repr=False)
    """Its bytes. A CONNECT may hold a password."""
    note: str = ""
    """What a fault did to it, such as ``"dropped by fault"``."""

    def __str__(self) -> str:
        arrow = "→" if self.direction == "in" else "←"
        what = summary(self.raw, self.version, self.topic)
        note = f" ({self.note})" if self.note else ""
        who = self.client_id or f"connection {self.connection}"
        return f"{self.time:7.3f} {who} {arrow} {what} {self.size} B{note}"


class Wire(Sequence[WireLine]):
    """Every packet of every connection, both ways, in the order in which they passed: `rmqtt.Broker.wire`.

    It shows what really was on the wire. What a fault swallowed is there and says so; what it doubled is there twice;
    what it held back stands where it passed at last. The oldest lines are forgotten when there are more than the
    broker keeps, or 64 MiB of them. Waiting is driven by events.

    Examples
    --------
    >>> with rmqtt.Broker("mem://wired", wire=True) as wired:
    ...     len(wired.wire)
    0
    """

    __slots__ = ("_native",)

    def __init__(self, native: NativeWire) -> None:
        self._native = native

    def __len__(self) -> int:
        return len(self._lines())

    @overload
    def __getitem__(self, index: int) -> WireLine: ...
    @overload
    def __getitem__(self, index: slice) -> list[WireLine]: ...
    def __getitem__(self, index: int | slice) -> WireLine | list[WireLine]:
        return self._lines()[index]

    def __iter__(self) -> Iterator[WireLine]:
        return iter(self._lines())

    def lines(
        self,
        *,
        packet: str = "*",
        client: str = "*",
        topic: str = "#",
        direction: Literal["both", "in", "out"] = "both",
    ) -> list[WireLine]:
        """Pick some of the lines.

        Parameters
        ----------
        packet
            A kind, such as ``"PUBLISH"`` or ``"puback"``; ``"*"``: every kind.
        client
            A client id; ``*`` in it stands for any text.
        topic
            A topic filter, for PUBLISH and what acknowledges one; ``"#"``: all packets, with a topic or not.
        direction
            ``"in"``, to the broker; ``"out"``, from the broker; or both.

        Returns
        -------
        list
            In their order.

        Raises
        ------
        ValueError
            There is no such packet or direction.

        Examples
        --------
        >>> with rmqtt.Broker("mem://picked", wire=True) as wired:
        ...     wired.wire.lines(packet="CONNECT")
        []
        """
        kind = packet.upper()
        if kind != "*" and kind not in PACKETS:
            raise ValueError(f"packet is {packet!r}, and must be '*' or one of {', '.join(PACKETS)}")
        if direction not in ("both", "in", "out"):
            raise ValueError(f"direction is {direction!r}, and must be 'both', 'in' or 'out'")
        return [line for line in self._lines() if fits(line, kind, client, topic, direction)]

    def wait_for(
        self,
        packet: str = "*",
        *,
        client: str = "*",
        topic: str = "#",
        direction: Literal["both", "in", "out"] = "both",
        count: int = 1,
        timeout: float = 2.0,
    ) -> list[WireLine]:
        """Wait until there are so many such lines, those that are there already included.

        Parameters
        ----------
        packet, client, topic, direction
            As of `lines`.
        count
            So many.
        timeout
            Real seconds.

        Returns
        -------
        list
            All such lines, `count` or more.

        Raises
        ------
        MqttTimeout
            There were not so many in time; says what was there instead.

        Examples
        --------
        >>> async with rmqtt.Broker("mem://waited", wire=True) as wired, wired.client() as client:
        ...     len(wired.wire.wait_for("CONNACK"))
        1
        """
        ends = time.monotonic() + timeout
        while True:
            seen = self._native.count
            found = self.lines(packet=packet, client=client, topic=topic, direction=direction)
            left = ends - time.monotonic()
            if len(found) >= count:
                return found
            if left <= 0:
                raise self._missing(packet, len(found), count, timeout)
            self._native.wait(seen, left)

    async def wait_for_async(
        self,
        packet: str = "*",
        *,
        client: str = "*",
        topic: str = "#",
        direction: Literal["both", "in", "out"] = "both",
        count: int = 1,
        timeout: float = 2.0,  # noqa: ASYNC109 - as its twin
    ) -> list[WireLine]:
        """Do as `wait_for`, and let the other tasks of the event loop run meanwhile.

        Parameters
        ----------
        packet, client, topic, direction, count, timeout
            As of `wait_for`.

        Raises
        ------
        MqttTimeout
            As of `wait_for`.

        Examples
        --------
        >>> async with rmqtt.Broker("mem://awaited", wire=True) as wired, wired.client() as client:
        ...     len(await wired.wire.wait_for_async("CONNECT"))
        1
        """
        ends = time.monotonic() + timeout
        while True:
            seen = self._native.count
            found = self.lines(packet=packet, client=client, topic=topic, direction=direction)
            left = ends - time.monotonic()
            if len(found) >= count:
                return found
            if left <= 0:
                raise self._missing(packet, len(found), count, timeout)
            await self._native.wait_in_loop(seen, left)

    def text(self, last: int = 50) -> str:
        """Show the last lines, one packet each.

        Parameters
        ----------
        last
            So many.

        Examples
        --------
        >>> with rmqtt.Broker("mem://shown", wire=True) as wired:
        ...     wired.wire.text()
        ''
        """
        lines = self._lines()
        return "\n".join(map(str, lines[max(0, len(lines) - last) :]))

    def explain(self, line: WireLine) -> Explanation:
        """Take a packet apart byte by byte: see `rmqtt.explain`.

        What it shows is all that was on the wire, a password included.

        Parameters
        ----------
        line
            Any line.
        """
        return explain(line.raw, version=line.version)

    def clear(self) -> None:
        """Forget all lines.

        Examples
        --------
        >>> with rmqtt.Broker("mem://cleared", wire=True) as wired:
        ...     wired.wire.clear()
        """
        self._native.clear()

    def _lines(self) -> list[WireLine]:
        return [WireLine(**fields) for fields in self._native.lines(0)]

    def _missing(self, packet: str, found: int, count: int, timeout: float) -> MqttTimeout:
        there = self.text(10) or "  (nothing)"
        return MqttTimeout(f"{found} of {count} {packet} packets within {timeout} s; the last lines are\n{there}")

    def __repr__(self) -> str:
        return f"<Wire with {len(self)} lines>"


def fits(line: WireLine, packet: str, client: str, topic: str, direction: str) -> bool:
    """Whether a line is one of those."""
    return (
        packet in ("*", line.packet)
        and direction in ("both", line.direction)
        and (client == "*" or fnmatchcase(line.client_id, client.replace("[", "[[]").replace("?", "[?]")))
        and (topic == "#" or (line.topic is not None and topic_matches(topic, line.topic)))
    )
