"""Bytes that are no packet, or not one that a client sends."""

from __future__ import annotations

from rmqtt.codec import Publish

from interop.dialogue import Raw, Table, dialogue, frame, text


def tried(table: Table, *attempts: bytes) -> None:
    """Say each of these in a connection of its own, and see whether the broker goes on."""
    for number, attempt in enumerate(attempts, 1):
        (client,) = table.connected(f"c{number}")
        client.say(attempt)


@dialogue()
def header_bits_of_acknowledgements(table: Table) -> None:
    """PUBACK, PUBREC and PUBCOMP have none, PUBREL has 2."""
    tried(table, *(frame(first, "0001") for first in (0x41, 0x4F, 0x51, 0x58, 0x60, 0x61, 0x63, 0x6A, 0x71, 0x72)))


@dialogue()
def header_bits_of_subscriptions(table: Table) -> None:
    """SUBSCRIBE and UNSUBSCRIBE have 2."""
    raw = Raw(table.version)
    subscriptions = (raw.subscribe(text("t"), "00", first=first) for first in (0x80, 0x81, 0x83, 0x8A))
    ends = (frame(first, "0001", raw.empty, text("t")) for first in (0xA0, 0xA3, 0xAF))
    tried(table, *subscriptions, *ends)


@dialogue()
def header_bits_of_pingreq_and_disconnect(table: Table) -> None:
    """They have none."""
    tried(table, b"\xc1\0", b"\xc2\0", b"\xe1\0", b"\xe8\0")


@dialogue()
def reserved_packet_types(table: Table) -> None:
    """Type 0, and before MQTT 5 type 15."""
    tried(table, b"\0\0", b"\x0f\0", b"\xf1\0", *(() if table.is_v5 else (b"\xf0\0",)))


@dialogue()
def packets_that_only_brokers_send(table: Table) -> None:
    """CONNACK, SUBACK, UNSUBACK, PINGRESP."""
    raw = Raw(table.version)
    tried(
        table,
        frame(0x20, "0000", raw.empty),
        frame(0x90, "0001", raw.empty, "00"),
        frame(0xB0, "0001", raw.empty, "00" if table.is_v5 else ""),
        b"\xd0\0",
    )


@dialogue()
def acknowledgements_of_the_wrong_length(table: Table) -> None:
    """Without an id, with half of one, with id 0."""
    tried(
        table,
        *(frame(first, body) for first in (0x40, 0x50, 0x62, 0x70) for body in ("", "00")),
        *(frame(first, "0000") for first in (0x40, 0x50, 0x62, 0x70)),
    )


@dialogue()
def acknowledgements_with_bytes_left_over(table: Table) -> None:
    """In 3.1.1 an id is all; in MQTT 5 a code and properties may follow, and nothing else."""
    more = "00 00 00" if table.is_v5 else "00"
    tried(table, *(frame(first, "0001", more) for first in (0x40, 0x50, 0x62, 0x70)))


@dialogue("5.0")
def acknowledgements_with_codes_that_are_none(table: Table) -> None:
    """Unknown ones, and such of other packets."""
    tried(
        table,
        frame(0x40, "0001 01"),
        frame(0x40, "0001 92"),
        frame(0x50, "0001 ff"),
        frame(0x62, "0001 80"),
        frame(0x70, "0001 10"),
    )


@dialogue("5.0")
def disconnects_with_codes_that_are_none(table: Table) -> None:
    """Unknown ones, and such that only brokers send."""
    tried(table, frame(0xE0, "01"), frame(0xE0, "ff"), frame(0xE0, "8b"), frame(0xE0, "8e"), frame(0xE0, "9c"))


@dialogue("5.0")
def short_forms(table: Table) -> None:
    """Of acknowledgements and DISCONNECT: without properties, without code."""
    tried(
        table,
        frame(0x40, "0001"),
        frame(0x40, "0001 00"),
        frame(0x40, "0001 00 00"),
        frame(0x62, "0001"),
        frame(0x62, "0001 00"),
        b"\xe0\0",
        frame(0xE0, "00"),
        frame(0xE0, "00 00"),
    )


@dialogue()
def pingreq_and_disconnect_with_a_body(table: Table) -> None:
    """They have none; in MQTT 5 DISCONNECT may, but not this one."""
    tried(table, frame(0xC0, "00"), frame(0xE0, "00 00 00"))


@dialogue()
def a_remaining_length_written_too_long(table: Table) -> None:
    """A zero in two bytes: MQTT 5 wants the shortest form, 3.1.1 does not say."""
    tried(table, b"\xc0\x80\0", bytes.fromhex("e0 80 80 00"))


@dialogue()
def a_remaining_length_without_end(table: Table) -> None:
    """Five bytes that all say that more follows."""
    tried(table, bytes.fromhex("30 ff ff ff ff 7f"), bytes.fromhex("c0 80 80 80 80 00"))


@dialogue()
def a_packet_that_is_cut_off(table: Table) -> None:
    """The client is lost within a PUBLISH: it does not count."""
    watcher, client = table.connected("w", "a")
    watcher.say(Raw(table.version).subscribe(text("t"), "00"))
    good = Raw(table.version).publish(0x30, "t", b"whole")
    client.write(good, good[:-1])
    client.cut()


@dialogue()
def a_packet_in_many_pieces(table: Table) -> None:
    """Byte by byte, and several in one."""
    watcher, client = table.connected("w", "a")
    raw = Raw(table.version)
    watcher.say(raw.subscribe(text("t"), "00"))
    for byte in raw.publish(0x32, "t", b"pieces", packet_id="0001"):
        client.write(bytes([byte]))
    table.settle()
    client.say(*(raw.publish(0x30, "t", b"%d" % n) for n in range(5)))


@dialogue()
def a_violation_behind_good_packets(table: Table) -> None:
    """What came before it counts, what comes after does not."""
    watcher, client = table.connected("w", "a")
    raw = Raw(table.version)
    watcher.say(raw.subscribe(text("t"), "00"))
    client.say(raw.publish(0x30, "t", b"before") + b"\0\0" + raw.publish(0x30, "t", b"after"))
    watcher.say(Publish(topic="t", payload=b"others go on"))


@dialogue()
def unsubscribe_packets_of_the_wrong_length(table: Table) -> None:
    """With a filter that is cut off, with half a packet id, with a byte left over."""
    raw = Raw(table.version)
    tried(
        table,
        frame(0xA2, "0001", raw.empty, "00 05 74"),
        frame(0xA2, "00"),
        frame(0xA2, "0001", raw.empty, text("t"), "00"),
    )


@dialogue("5.0")
def packets_without_their_property_length(table: Table) -> None:
    """SUBSCRIBE and UNSUBSCRIBE as in 3.1.1."""
    tried(table, frame(0x82, "0001", text("t"), "00"), frame(0xA2, "0001", text("t")))
