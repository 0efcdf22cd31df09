"""The same dialogues with our broker and with mosquitto: they answer alike, but where `differences.csv` says otherwise.

Each row of the table is one difference, with who is right by which statement of the standard: a difference that is not
there, and a row that is no difference any more, fail alike. docs/conformance.md shows the table.
"""

from __future__ import annotations

import csv
import difflib
import io
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import pytest
import rmqtt
from rmqtt import codec

import interop.dialogues  # noqa: F401  (puts the dialogues on the list)
from interop.conftest import running_mosquitto
from interop.dialogue import DIALOGUES, Dialogue, Line, Table, Version

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.interop

DIFFERENCES = Path(__file__).parents[2] / "spec" / "differences.csv"
COLUMNS = ["dialogue", "version", "ours", "mosquitto", "right", "statement", "why"]
CASES = [(each, version) for _, each in sorted(DIALOGUES.items()) for version in each.versions]
NAMES = [f"{each.name}-{version}" for each, version in CASES]

#: As far as it has a choice, mosquitto is told to take what ours takes. Nothing of `$SYS` may come by itself.
AS_OURS = (
    "sys_interval 0",
    "max_inflight_messages 1024",
    "max_packet_size 2000000",
    "max_topic_alias 64",
)


class Difference(NamedTuple):
    """What one broker did, and the other did not."""

    dialogue: str
    version: str
    ours: str
    mosquitto: str


@pytest.fixture(scope="module")
def like_minded_mosquitto(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """Start a mosquitto for the dialogues."""
    with running_mosquitto(tmp_path_factory.mktemp("dialogues"), *AS_OURS) as port:
        yield port


def rows() -> list[dict[str, str]]:
    """Read the table."""
    with DIFFERENCES.open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize(("played", "version"), CASES, ids=NAMES)
def test_both_brokers_answer_alike(
    played: Dialogue, version: Version, our_port: int, like_minded_mosquitto: int
) -> None:
    ours = play(played, our_port, version)
    theirs = play(played, like_minded_mosquitto, version)
    found = compare(played.name, version, ours, theirs)
    known = [
        Difference(row["dialogue"], row["version"], row["ours"], row["mosquitto"])
        for row in rows()
        if (row["dialogue"], row["version"]) == (played.name, version)
    ]
    if sorted(found) != sorted(known):
        pytest.fail(report(played, version, (ours, theirs), (found, known)), pytrace=False)


def test_the_table_of_differences_is_in_order() -> None:
    with DIFFERENCES.open(newline="") as file:
        lines = list(csv.reader(file))
    assert lines[0] == COLUMNS
    assert lines[1:] == sorted(lines[1:])
    for row in rows():
        assert (row["dialogue"], row["version"]) in {(each.name, version) for each, version in CASES}, row
        assert row["right"] in {"ours", "mosquitto", "both"}, row
        assert row["statement"], row
        assert row["why"], row


def play(played: Dialogue, port: int, version: Version) -> list[Line]:
    """Play a dialogue, and leave nothing behind."""
    table = Table(port, version)
    try:
        played.script(table)
        table.end()
    finally:
        for talker in table.clients.values():
            talker.close()
        forget(port, list(table.clients))
    return table.lines


def forget(port: int, names: list[str]) -> None:
    """End the sessions and delete the retained messages of a dialogue: the next one begins with an empty broker."""
    table = Table(port, "5.0")
    for name in {name.removesuffix(" again") for name in names}:
        cleaner = table.client(name)
        cleaner.connect()
        cleaner.leave()
        cleaner.close()
    cleaner = table.client("cleaner")
    cleaner.connect()
    filters = [codec.SubscribeFilter(filter=each) for each in ("#", "$t/#", "$other/#")]
    cleaner.say(codec.Subscribe(packet_id=1, filters=filters))
    cleaner.say(*(codec.Publish(topic=message.topic, retain=True) for message in cleaner.messages if message.retain))
    cleaner.leave()
    cleaner.close()


def compare(name: str, version: str, ours: list[Line], theirs: list[Line]) -> list[Difference]:
    """List what one broker did and the other did not; what is the same with several clients is one difference."""
    found: dict[tuple[str, str], list[str]] = {}
    for client in dict.fromkeys(line.client for line in [*ours, *theirs]):
        mine, other = heard(ours, client), heard(theirs, client)
        matcher = difflib.SequenceMatcher(None, mine, other, autojunk=False)
        for kind, start, end, other_start, other_end in matcher.get_opcodes():
            if kind != "equal":
                sides = ("; ".join(mine[start:end]) or "-", "; ".join(other[other_start:other_end]) or "-")
                found.setdefault(sides, []).append(client)
    return [
        Difference(name, version, *(f"{', '.join(dict.fromkeys(clients))}: {side}" for side in sides))
        for sides, clients in found.items()
    ]


def heard(lines: list[Line], client: str) -> list[str]:
    """What one client heard."""
    return [line.heard for line in lines if line.client == client and line.heard is not None]


# ---- for who has to read a failure ---------------------------------------------------------------------


def report(
    played: Dialogue,
    version: Version,
    transcripts: tuple[list[Line], list[Line]],
    differences: tuple[list[Difference], list[Difference]],
) -> str:
    """Both transcripts side by side, the rows that are missing or out of date, and the packets in question explained."""
    (ours, theirs), (found, known) = transcripts, differences
    parts = [f"{played.name} ({version}): {played.about}", "", side_by_side(ours, theirs)]
    for title, rows_of_it in (
        ("not in tests/spec/differences.csv:", [each for each in found if each not in known]),
        ("in tests/spec/differences.csv, and no difference any more:", [each for each in known if each not in found]),
    ):
        if rows_of_it:
            text = io.StringIO()
            csv.writer(text, lineterminator="\n").writerows(rows_of_it)
            parts += ["", title, text.getvalue()]
    for name, lines, others in (("ours", ours, theirs), ("mosquitto", theirs, ours)):
        common = {(line.client, line.heard) for line in others}
        for line in lines:
            if line.heard is not None and line.data and (line.client, line.heard) not in common:
                parts += ["", f"{name} to {line.client}:", str(rmqtt.explain(line.data, version=version))]
    return "\n".join(parts)


def side_by_side(ours: list[Line], theirs: list[Line], width: int = 76) -> str:
    """Two columns, with what is the same in one row."""
    left, right = ([shown(line)[:width] for line in lines] for lines in (ours, theirs))
    rows = [("ours", "mosquitto"), ("-" * width, "-" * width)]
    for kind, start, end, other_start, other_end in difflib.SequenceMatcher(
        None, left, right, autojunk=False
    ).get_opcodes():
        mine, other = left[start:end], right[other_start:other_end]
        length = max(len(mine), len(other))
        mark = "  " if kind == "equal" else "! "
        mine += [""] * (length - len(mine))
        other += [""] * (length - len(other))
        rows += [(mine[index], mark + other[index]) for index in range(length)]
    return "\n".join(f"{mine:{width}} {other}".rstrip() for mine, other in rows)


def shown(line: Line) -> str:
    """One line of a transcript."""
    return f"{line.client} > {line.said}" if line.heard is None else f"{line.client}   < {line.heard}"
