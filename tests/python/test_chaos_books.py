"""The books of `make chaos` see what is wrong, and nothing else: a run that cannot fail shows nothing."""

from __future__ import annotations

import contextlib
import random
from itertools import islice
from typing import TYPE_CHECKING, TypeAlias

import pytest
from chaos.__main__ import ranges
from chaos.books import Book, Journal, read
from chaos.link import CUTS, OFFLINE, forecast
from chaos.roamer import number_of, payload_of
from chaos.tape import Passed, Tape, at_least_once, exactly_once
from chaos.tape import read as read_tape
from rmqtt import codec

if TYPE_CHECKING:
    from pathlib import Path

Numbers: TypeAlias = tuple[int, ...]


def book(qos: int, *got: int) -> Book:
    """Make a book in which 0 to 4 were published and taken."""
    numbers = dict.fromkeys(range(5), 0.0)
    return Book(qos, asked=numbers, taken=dict(numbers), got=[(number, 1.0) for number in got])


def found(of: Book) -> set[tuple[str, int]]:
    """Name the faults."""
    return {(fault.kind, fault.number) for fault in of.faults()}


@pytest.mark.parametrize(
    ("qos", "got"),
    [
        (0, (0, 1, 2, 3, 4)),
        (0, (1, 3)),
        (0, ()),
        (1, (0, 1, 2, 3, 4)),
        (1, (0, 1, 2, 1, 2, 3, 3, 4)),
        (1, (0, 1, 0, 0, 1, 2, 3, 4, 4)),
        (2, (0, 1, 2, 3, 4)),
    ],
)
def test_what_is_promised_is_no_fault(qos: int, got: tuple[int, ...]) -> None:
    assert found(book(qos, *got)) == set()


@pytest.mark.parametrize(
    ("qos", "got", "faults"),
    [
        (0, (0, 0, 1), {("doubled", 0)}),
        (0, (1, 0, 2), {("disordered", 1), ("disordered", 0), ("disordered", 2)}),
        (1, (0, 1, 3, 4), {("lost", 2)}),
        (1, (0, 2, 1, 2, 3, 4), {("disordered", 2)}),
        # All arrived, and each for the first time in order; but what came again left one out.
        (1, (0, 1, 2, 1, 3, 2, 3, 4), {("disordered", 3)}),
        (2, (0, 1, 2, 3, 4, 4), {("doubled", 4)}),
        (2, (0, 1, 2, 4, 3), {("disordered", 4), ("disordered", 3)}),
        (2, (0, 1, 2, 3), {("lost", 4)}),
        (1, (0, 1, 2, 3, 4, 9), {("never published", 9)}),
        (2, (-1, 0, 1, 2, 3, 4), {("never published", -1)}),
    ],
)
def test_what_is_not_promised_is_a_fault(qos: int, got: tuple[int, ...], faults: set[tuple[str, int]]) -> None:
    assert found(book(qos, *got)) == faults


def test_a_message_that_was_taken_back_must_not_arrive() -> None:
    one = book(1, 0, 1, 2, 3, 4)
    one.withdrawn[3] = 0.5
    assert found(one) == {("taken back", 3)}


def test_what_comes_again_to_a_receiver_that_was_killed_is_no_fault() -> None:
    one = Book(2, asked=dict.fromkeys(range(5), 0.0), received_anew=[3.0])
    one.got = [(0, 1.0), (1, 1.1), (2, 1.2), (1, 4.0), (2, 4.1), (3, 4.2), (4, 4.3)]
    assert found(one) == set()
    one.got += [(4, 4.4)]
    assert found(one) == {("doubled", 4)}


def test_what_a_receiver_that_was_killed_skips_is_a_fault() -> None:
    one = Book(2, asked=dict.fromkeys(range(5), 0.0), received_anew=[3.0])
    one.got = [(0, 1.0), (1, 1.1), (2, 1.2), (1, 4.0), (3, 4.2), (4, 4.3), (2, 4.4)]
    assert found(one) == {("disordered", 3), ("disordered", 2)}


def test_what_was_taken_back_may_arrive_when_its_publisher_was_killed_afterwards_and_not_before() -> None:
    one = book(1, 0, 1, 2, 3, 4)
    one.withdrawn[3] = 0.5
    one.published_anew = [0.7]
    assert found(one) == set()
    one.published_anew = [0.4, 1.1]
    assert found(one) == {("taken back", 3)}


def test_a_journal_is_read_as_it_was_written_but_for_a_line_that_was_cut_short(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    with Journal(path, began=0) as journal:
        journal.write("asked", "up/a/1/each", 1, 2)
    with Journal(path, began=0) as journal:
        journal.write("complaint", "what it says")
    with path.open("a") as file:
        file.write("1.5\ttaken\tup/a/1/ea")
    assert [entry[1:] for entry in read(path)] == [
        ("asked", "up/a/1/each", 1),
        ("asked", "up/a/1/each", 2),
        ("complaint", "what it says", 0),
    ]


def test_a_payload_shows_when_it_is_not_what_was_published() -> None:
    for number in range(400):
        payload = payload_of(number)
        assert number_of(payload) == number
        assert number_of(payload + b"x") == -1
    assert number_of(b"") == -1


def test_the_weather_repeats_from_its_seed_and_has_everything() -> None:
    first, second = (list(islice(forecast(random.Random(7)), 400)) for _ in range(2))
    assert first == second
    kinds = {weather.kind for weather in first}
    assert kinds == {"clear", "delay", "throttle", "stall", *CUTS, *OFFLINE}
    assert {weather.ways for weather in first} == {("up", "down"), ("up",), ("down",)}


def test_numbers_are_told_as_ranges() -> None:
    assert ranges([1, 2, 3, 7, 9, 10]) == "1-3, 7, 9-10"


def sent(*packets: tuple[int, str | int, int]) -> list[Passed]:
    """Have a broker send these: the connection, the number of a message or "PubRel", the packet id."""
    return [
        Passed(0.0, connection, "down", "PubRel", packet_id)
        if what == "PubRel"
        else Passed(0.0, connection, "down", "Publish", packet_id, topic="t", number=int(what))
        for connection, what, packet_id in packets
    ]


ORDERLY = sent((1, 0, 10), (1, 1, 11), (1, 2, 12), (2, 1, 11), (2, 2, 12), (2, 3, 13))
DISORDERLY = sent((1, 0, 10), (1, 2, 12), (1, 1, 11), (2, 2, 12), (2, 1, 11), (2, 3, 13))
#: It goes on with a message whose PUBREC it has had.
RESENT = sent((1, 0, 10), (1, 1, 11), (1, "PubRel", 10), (2, 0, 10), (2, 1, 11), (2, 2, 12))


@pytest.mark.parametrize(
    ("passed", "got"),
    [
        (ORDERLY, (0, 1, 2, 1, 2, 3)),
        (ORDERLY, (0, 1, 1, 2, 3)),
        (ORDERLY, (0, 1, 2, 3)),
        (ORDERLY, (1, 2, 3)),
        (ORDERLY, (0,)),
        (DISORDERLY, (0, 2, 1, 2, 1, 3)),
        (DISORDERLY, (0, 2, 2, 1, 3)),
    ],
)
def test_what_a_receiver_of_qos_1_gives_out_as_it_came_is_seen_to_be_so(passed: list[Passed], got: Numbers) -> None:
    assert at_least_once(passed, [("t", number) for number in got]) == len(got)


@pytest.mark.parametrize(
    ("passed", "got", "right"),
    [
        (ORDERLY, (0, 2, 1, 2, 3), 1),
        (ORDERLY, (0, 1, 2, 1, 3), 4),
        (DISORDERLY, (0, 1, 2, 3), 1),
        (DISORDERLY, (0, 2, 1, 2, 3), 4),
    ],
)
def test_what_a_receiver_of_qos_1_gives_out_otherwise_is_seen(passed: list[Passed], got: Numbers, right: int) -> None:
    assert at_least_once(passed, [("t", number) for number in got]) == right


@pytest.mark.parametrize(
    ("passed", "got"),
    [
        (ORDERLY, (0, 1, 2, 3)),
        # What came on the first connection was lost with it.
        (ORDERLY, (1, 2, 3)),
        (DISORDERLY, (0, 2, 1, 3)),
        (RESENT, (0, 1, 0, 2)),
        # The release was lost with the first connection, and what came again is known.
        (RESENT, (0, 1, 2)),
    ],
)
def test_what_a_receiver_of_qos_2_gives_out_as_it_came_is_seen_to_be_so(passed: list[Passed], got: Numbers) -> None:
    assert exactly_once(passed, [("t", number) for number in got]) == len(got)


@pytest.mark.parametrize(
    ("passed", "got", "right"),
    [
        (ORDERLY, (0, 1, 2, 1, 2, 3), 3),
        (ORDERLY, (0, 2, 1, 3), 1),
        (ORDERLY, (0, 1, 2, 4), 3),
        (DISORDERLY, (0, 1, 2, 3), 1),
        (DISORDERLY, (0, 2, 1, 1, 3), 3),
        (RESENT, (0, 1, 1, 2), 2),
        (RESENT, (0, 1, 0, 0, 2), 3),
    ],
)
def test_what_a_receiver_of_qos_2_gives_out_otherwise_is_seen(passed: list[Passed], got: Numbers, right: int) -> None:
    assert exactly_once(passed, [("t", number) for number in got]) == right


def test_a_tape_has_every_packet_that_passed_whole(tmp_path: Path) -> None:
    publish = codec.Publish(topic="t", payload=payload_of(7), qos=2, packet_id=5, dup=True)
    with contextlib.closing(Tape(tmp_path / "tape", began=0)) as tape:
        heads = tape.heads(3)
        for packet in (codec.Connect(client_id="c", version="3.1.1"), codec.PubRec(packet_id=5)):
            heads["up"](codec.encode(packet, version="3.1.1"))
        down = b"".join(
            codec.encode(packet, version="3.1.1") for packet in (codec.ConnAck(), publish, codec.PubRel(packet_id=5))
        )
        for at in range(len(down) - 1):
            heads["down"](down[at : at + 1])
    assert [packet[1:] for packet in read_tape(tmp_path / "tape")] == [
        (3, "up", "Connect", 0, 0, False, "", 0),
        (3, "up", "PubRec", 5, 0, False, "", 0),
        (3, "down", "ConnAck", 0, 0, False, "", 0),
        (3, "down", "Publish", 5, 2, True, "t", 7),
    ]


def test_a_receiver_that_was_killed_is_given_again_what_came_before() -> None:
    passed = [packet._replace(second=float(packet.connection)) for packet in ORDERLY]
    got = [("t", number) for number in (0, 1, 2, 1, 2, 3)]
    assert exactly_once(passed, got, anew=[1.5]) == len(got)
    assert exactly_once(passed, got, anew=[2.5]) == 3
