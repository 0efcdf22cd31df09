"""`Faults`: what goes wrong between clients and a broker, by plan."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, Self

from rmqtt._live import Live

if TYPE_CHECKING:
    from rmqtt._rmqtt import NativeFaults

__all__ = ["Faults", "Rule"]


class Faults(Live):
    """What goes wrong between clients and a broker, by plan: `rmqtt.Broker.faults`.

    Rules act on packets between a connection and the broker, and so on every client, ours or another's, on sockets or
    in memory. They are asked in the order in which they were made; several may strike one packet. Delays go by the
    broker's clock. Chances (``jitter``, ``corrupt``) come from `seed`: the same seed, rules and packets of a client
    make the same faults.

    Examples
    --------
    >>> rule = broker.faults.on("PUBACK", client="sensor-*").drop()
    >>> rule.hits
    0
    >>> broker.faults.clear()
    """

    __slots__ = ("_native",)

    def __init__(self, native: NativeFaults) -> None:
        self._native = native

    def on(
        self,
        packet: str = "*",
        *,
        client: str = "*",
        topic: str = "#",
        direction: Literal["both", "in", "out"] = "both",
        nth: int | None = None,
        times: int | None = 1,
    ) -> Rule:
        """Make a rule for some packets; what it does to them is said by the rule's methods.

        Parameters
        ----------
        packet
            A kind, such as ``"PUBLISH"`` or ``"puback"``; ``"*"``: every kind.
        client
            A client id; ``*`` in it stands for any text.
        topic
            A topic filter, for PUBLISH and what acknowledges one; ``"#"``: all packets, with a topic or not.
        direction
            ``"in"``, from the client to the broker; ``"out"``, from the broker to the client; or both.
        nth
            Begin with the how manieth of these packets, from 1, counted from when the rule is told what to do.
        times
            Strike so many packets; `None`: all.

        Returns
        -------
        Rule
            Does nothing, and counts nothing, until it is told what.

        Raises
        ------
        ValueError
            There is no such packet or direction, or a number is less than 1.
        TopicError
            The filter is none.

        Examples
        --------
        >>> broker.faults.on("PUBLISH", topic="plant/#", direction="in", nth=3).disconnect()
        <Rule on PUBLISH, topic 'plant/#', in, nth 3: disconnect by rst; 0 hits>
        """
        for name, number in (("nth", nth), ("times", times)):
            if number is not None and number < 1:
                raise ValueError(f"{name} is {number}, and must be at least 1")
        match = {
            "packet": packet,
            "client": client,
            "topic": topic,
            "direction": direction,
            "nth": 1 if nth is None else nth,
            "times": times,
        }
        number = self._native.add(match)
        said = [f"on {packet.upper()}" if packet != "*" else "on any packet"]
        said += [f"client {client!r}"] if client != "*" else []
        said += [f"topic {topic!r}"] if topic != "#" else []
        said += [direction] if direction != "both" else []
        said += [f"nth {nth}"] if nth is not None else []
        said += [] if times == 1 else ["always" if times is None else f"{times} times"]
        return Rule(self._native, number, packet, ", ".join(said))

    @property
    def seed(self) -> int:
        """Where chances come from; 0 unless it is set. From 0 to 2**64 - 1."""
        return self._native.seed

    @seed.setter
    def seed(self, seed: int) -> None:
        self._native.set_seed(seed)

    def clear(self) -> None:
        """Forget all rules.

        What they have done stays done; half-open connections that the broker has given up are closed.

        Examples
        --------
        >>> broker.faults.clear()
        """
        self._native.clear()

    def __repr__(self) -> str:
        return f"<Faults, seed {self.seed}>"


class Rule(Live):
    """One rule of `Faults`: which packets, and what befalls them. Every method returns the rule."""

    __slots__ = ("_deeds", "_match", "_native", "_number", "_packet")

    def __init__(self, native: NativeFaults, number: int, packet: str, match: str) -> None:
        self._native = native
        self._number = number
        self._packet = packet
        self._match = match
        self._deeds: list[str] = []

    def drop(self) -> Self:
        """Swallow the packet: a lost PUBACK, a lost PINGRESP."""
        return self._act("drop", "drop")

    def delay(self, seconds: float, jitter: float = 0) -> Self:
        """Hold it back, and all behind it with it, for so long and a chance of ``jitter`` seconds more.

        Parameters
        ----------
        seconds
            By the broker's clock.
        jitter
            At most so much more.
        """
        return self._act(f"delay by {seconds} s", "delay", seconds, jitter)

    def duplicate(self) -> Self:
        """Have it arrive twice."""
        return self._act("duplicate", "duplicate")

    def reorder(self, depth: int) -> Self:
        """Have so many later packets overtake it. If fewer come, it is lost.

        Parameters
        ----------
        depth
            At least 1.
        """
        return self._act(f"reorder by {depth}", "reorder", depth)

    def corrupt(self, byte: int | None = None) -> Self:
        """Flip one bit.

        Parameters
        ----------
        byte
            In which byte of the packet, from 0, its fixed header included; behind the end means the last. `None`: in
            any.
        """
        where = "a byte" if byte is None else f"byte {byte}"
        return self._act(f"corrupt {where}", "corrupt", *([] if byte is None else [byte]))

    def truncate(self, keep: int) -> Self:
        """Let only its first bytes pass, and then nothing more in this direction but the end.

        Parameters
        ----------
        keep
            So many bytes.
        """
        return self._act(f"truncate to {keep} bytes", "truncate", keep)

    def disconnect(self, how: Literal["rst", "fin", "half_open", "reason"] = "rst", reason: int = 0x88) -> Self:
        """End the connection; the packet is lost with it.

        Parameters
        ----------
        how
            ``"rst"``: by a reset, as when a process dies or a NAT forgets; in memory there is no such thing, and it
            ends. ``"fin"``: in good order, without a word of MQTT. ``"half_open"``: nothing is read or written any
            more, and nobody is told, as when a cable is cut; the broker's own keep alive finds out. ``"reason"``: by
            DISCONNECT (3.1.1: closed).
        reason
            For ``"reason"``: a code of failure that a broker can disconnect with.
        """
        if how == "reason":
            return self._act(f"disconnect by reason 0x{reason:02X}", how, reason)
        if how not in ("rst", "fin", "half_open"):
            raise ValueError(f"how is {how!r}, and must be 'rst', 'fin', 'half_open' or 'reason'")
        return self._act(f"disconnect by {how}", how)

    def refuse(self, reason: int, times: int = 1) -> Self:
        """Refuse to connect, by CONNACK with this reason (3.1.1: the return code that says it best).

        Parameters
        ----------
        reason
            A code of failure, such as 0x88, *server unavailable*.
        times
            So many times; takes the place of what `Faults.on` was told.

        Raises
        ------
        ValueError
            CONNACK has no such code of failure, or the rule is for other packets.
        """
        if self._packet.upper() not in ("*", "CONNECT", "CONNACK"):
            raise ValueError(f"a {self._packet.upper()} cannot be refused: make the rule on CONNECT")
        if times < 1:
            raise ValueError(f"times is {times}, and must be at least 1")
        self._native.limit(self._number, times)
        return self._act(f"refuse with 0x{reason:02X}, {times} times", "refuse", reason)

    def lose_session(self) -> Self:
        """Have the broker forget the client's session when it connects (again): session present is 0 then."""
        return self._act("lose the session", "lose_session")

    def throttle(self, bytes_per_s: int) -> Self:
        """From this packet on, let no more than so many bytes a second pass on this connection and in this direction.

        Parameters
        ----------
        bytes_per_s
            At least 1, by the broker's clock.
        """
        return self._act(f"throttle to {bytes_per_s} B/s", "throttle", bytes_per_s)

    def stop_reading(self) -> Self:
        """From this packet on, read nothing more from this client."""
        return self._act("stop reading", "stop_reading")

    @property
    def hits(self) -> int:
        """How many packets it has struck; 0 after `Faults.clear`."""
        return self._native.hits(self._number)

    def _act(self, said: str, what: str, *values: float) -> Self:
        self._native.act(self._number, what, values)
        self._deeds.append(said)
        return self

    def __repr__(self) -> str:
        deeds = ", ".join(self._deeds) or "nothing yet"
        return f"<Rule {self._match}: {deeds}; {self.hits} hits>"
