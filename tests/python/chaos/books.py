"""Who has said what about which message, and whether it all agrees."""

from __future__ import annotations

import os
import time
from bisect import bisect
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, NamedTuple, Self, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

#: Of the publisher: will be published; was taken over, as far as the QoS goes; the wait was given up, and nobody knows;
#: the message was taken back, or refused. Of the receiver: arrived; arrived with another payload than was published.
#: Of both: what should never be said; why a connection ended; that a program began, perhaps again after it was killed, and
#: how many messages it found that an earlier one had left.
Verb: TypeAlias = Literal[
    "asked", "taken", "unknown", "withdrawn", "got", "garbled", "complaint", "cut", "began", "restored"
]


class Entry(NamedTuple):
    """One line of a journal."""

    second: float
    verb: Verb
    #: Or, for a complaint, what it is about.
    topic: str
    number: int


class Journal:
    """What one program says, line by line: what is written stays, although the program is killed the next moment."""

    def __init__(self, path: Path, began: float) -> None:
        self._began = began
        # Not a buffered file: a line is with the system before anything goes on, and outlives the process there.
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._file)

    def write(self, verb: Verb, topic: str, *numbers: int) -> None:
        """Say the same of some messages of one topic."""
        second = time.monotonic() - self._began
        os.write(self._file, "".join(f"{second:.3f}\t{verb}\t{topic}\t{n}\n" for n in numbers or (0,)).encode())


def read(path: Path) -> Iterator[Entry]:
    """Read a journal; a last line that was cut short by a kill was never said."""
    if path.exists():
        for line in path.read_text().splitlines(keepends=True):
            if line.endswith("\n"):
                second, verb, topic, number = line.split("\t")
                yield Entry(float(second), verb, topic, int(number))  # type: ignore[arg-type]


@dataclass
class Book:
    """All about one topic. Its messages have numbers, in the order in which they were published, and one QoS."""

    qos: int
    asked: dict[int, float] = field(default_factory=dict)
    taken: dict[int, float] = field(default_factory=dict)
    withdrawn: dict[int, float] = field(default_factory=dict)
    got: list[tuple[int, float]] = field(default_factory=list)
    #: When the receiver was begun again after it was killed: what it had been given and not acknowledged comes again.
    received_anew: list[float] = field(default_factory=list)
    #: When the publisher was: what it had taken back from its outbox may still have been in the file.
    published_anew: list[float] = field(default_factory=list)

    def enter(self, entry: Entry) -> None:
        """Enter one line of a journal."""
        match entry.verb:
            case "asked":
                self.asked[entry.number] = entry.second
            case "taken":
                self.taken[entry.number] = entry.second
            case "withdrawn":
                self.withdrawn[entry.number] = entry.second
            case "got" | "garbled":
                self.got.append((entry.number, entry.second))

    def faults(self) -> Iterator[Fault]:
        """Say what was promised for this QoS and is not so."""
        arrived = {number for number, _ in self.got}
        if self.qos:
            yield from self._each("lost", ((n, at) for n, at in self.taken.items() if n not in arrived))
        yield from self._each("never published", ((n, at) for n, at in self.got if n not in self.asked))
        yield from self._each("taken back", self._taken_back())
        if self.qos != 1:
            yield from self._each("doubled", self._again())
        yield from self._each("disordered", self._disordered())

    def _each(self, kind: str, found: Iterable[tuple[int, float]]) -> Iterator[Fault]:
        return (Fault(kind, "", number, second) for number, second in found)

    def _taken_back(self) -> Iterator[tuple[int, float]]:
        for number, second in self.got:
            withdrawn = self.withdrawn.get(number)
            if withdrawn is not None and not any(withdrawn < anew < second for anew in self.published_anew):
                yield number, second

    def _again(self) -> Iterator[tuple[int, float]]:
        seen: set[tuple[int, int]] = set()
        for number, second in self.got:
            one = number, bisect(self.received_anew, second)
            if one in seen:
                yield number, second
            seen.add(one)

    def _disordered(self) -> Iterator[tuple[int, float]]:
        """Find what came before its time.

        With QoS 1, and to a receiver that was killed, a sender goes back to the first message that was not acknowledged,
        and then leaves none out. So a step forward is always one to the next of all that arrive at all, also when it is
        a repetition.
        """
        place = {number: at for at, number in enumerate(sorted({number for number, _ in self.got}))}
        last, life = -1, 0
        for number, second in self.got:
            before, life = life, bisect(self.received_anew, second)
            at = place[number]
            if at > last + 1 or (at < last and self.qos != 1 and life == before):
                yield number, second
            last = at


@dataclass(frozen=True)
class Fault:
    """Something that must not be."""

    kind: str
    topic: str
    number: int
    second: float
