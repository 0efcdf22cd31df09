"""Properties of MQTT 5 in messages."""

from __future__ import annotations

from rmqtt.codec import Publish, PubRel, WillMessage

from interop.dialogue import Table, Talker, block, dialogue, frame, text
from interop.dialogues.sessions import FOREVER, subscribe

EVERYTHING = {
    "payload_format_indicator": True,
    "content_type": "text/plain; charset=utf-8",
    "response_topic": "answers/7",
    "correlation_data": bytes(range(256)),
    "user_properties": [("b", "1"), ("a", "2"), ("b", "0"), ("", ""), ("ä", "€")],
}


def publish_bytes(properties: str | bytes) -> bytes:
    """A PUBLISH with any bytes as its properties."""
    return frame(0x30, text("t"), block(properties), b"x")


def tried(table: Table, *attempts: bytes) -> None:
    """Say each of these in a connection of its own, with one that would see the message."""
    (watcher,) = table.connected("w")
    subscribe(watcher, qos=0)
    for number, attempt in enumerate(attempts, 1):
        (client,) = table.connected(f"c{number}")
        client.say(attempt)


@dialogue("5.0")
def everything_a_message_can_say(table: Table) -> None:
    """Is passed on, in order."""
    client, other = table.connected("a", "b")
    subscribe(client)
    other.say(Publish(topic="t", payload=b"1", **EVERYTHING))  # type: ignore[arg-type]
    other.say(Publish(topic="t", payload=b"2", payload_format_indicator=False, content_type="", correlation_data=b""))


@dialogue("5.0")
def properties_for_a_client_of_3_1_1(table: Table) -> None:
    """It gets the message without them."""
    (other,) = table.connected("b")
    old = table.client("old", "3.1.1")
    old.connect()
    subscribe(old)
    other.say(Publish(topic="t", payload=b"1", qos=1, packet_id=1, **EVERYTHING))  # type: ignore[arg-type]


@dialogue("5.0")
def message_expiry_is_passed_on(table: Table) -> None:
    """To who is there, as it was; to who comes later, what is left of it."""
    client, other, absent = table.client("a"), table.client("b"), table.client("absent")
    client.connect()
    other.connect()
    subscribe(client)
    absent.connect(**FOREVER)
    subscribe(absent)
    absent.leave()
    for interval in (1, 1000, 0xFFFF_FFFF):
        other.say(Publish(topic="t", payload=b"%d" % interval, message_expiry_interval=interval))


@dialogue("5.0")
def a_message_that_expires_in_the_queue(table: Table) -> None:
    """The will of another client, three seconds later, is the clock."""
    absent, other, watcher, clock = (table.client(name) for name in ("absent", "b", "w", "clock"))
    absent.connect(**FOREVER)
    subscribe(absent)
    absent.leave()
    other.connect()
    watcher.connect()
    subscribe(watcher, "clock")
    other.say(
        Publish(topic="t", payload=b"short", qos=1, packet_id=1, message_expiry_interval=1),
        Publish(topic="t", payload=b"for ever", qos=1, packet_id=2),
    )
    clock.connect(session_expiry_interval=100, will=WillMessage(topic="clock", payload=b"it is time", delay_interval=3))
    clock.cut()
    watcher.hear_clock()
    absent.connect(**FOREVER)


@dialogue("5.0")
def a_message_that_was_sent_no_longer_expires(table: Table) -> None:
    """On resuming it comes again, whatever the time."""
    client, other, watcher, clock = (table.client(name) for name in ("a", "b", "w", "clock"))
    client.connect(**FOREVER)
    subscribe(client)
    other.connect()
    watcher.connect()
    subscribe(watcher, "clock")
    other.say(Publish(topic="t", payload=b"short", qos=2, packet_id=1, message_expiry_interval=1), PubRel(packet_id=1))
    client.cut()
    clock.connect(session_expiry_interval=100, will=WillMessage(topic="clock", payload=b"it is time", delay_interval=3))
    clock.cut()
    watcher.hear_clock()
    client.connect(**FOREVER)


@dialogue("5.0")
def a_message_with_an_expiry_of_zero(table: Table) -> None:
    """It is of no more use the moment it comes."""
    client, other = table.connected("a", "b")
    subscribe(client)
    other.say(Publish(topic="t", payload=b"0", message_expiry_interval=0))
    other.say(Publish(topic="t", payload=b"0", message_expiry_interval=0, qos=1, packet_id=1))


@dialogue("5.0")
def properties_out_of_their_range(table: Table) -> None:
    """In PUBLISH."""
    tried(table, *(publish_bytes(each) for each in ("01 02", "08 0003 612f23", "08 0001 2b", "23 0000", "08 0000")))


@dialogue("5.0")
def properties_that_are_repeated(table: Table) -> None:
    """In PUBLISH; only user properties may be."""
    bad = (
        "01 00 01 00",
        "02 00000001 02 00000001",
        "03 0001 61 03 0001 61",
        "08 0001 61 08 0001 61",
        "09 0001 61 09 0001 61",
        "26 0001 61 0001 62 26 0001 61 0001 62",
    )
    tried(table, *(publish_bytes(each) for each in bad))


@dialogue("5.0")
def properties_of_other_packets(table: Table) -> None:
    """In PUBLISH: each exists, but not there; then some that do not exist."""
    bad = (
        "11 00000001",
        "12 0001 61",
        "13 0001",
        "15 0001 61",
        "17 00",
        "18 00000001",
        "1f 0001 61",
        "24 00",
        "27 00000010",
    )
    tried(table, *(publish_bytes(each) for each in (*bad, "00", "04 00", "7f", "80 01 00")))


@dialogue("5.0")
def properties_that_are_no_text(table: Table) -> None:
    """In PUBLISH: content type, response topic, both sides of a user property; correlation data may be anything."""
    bad = (
        "03 0002 c328",
        "08 0002 c328",
        "26 0002 c328 0001 61",
        "26 0001 61 0002 c328",
        "26 0001 00 0001 61",
        "09 0002 c328",
    )
    tried(table, *(publish_bytes(each) for each in bad))


@dialogue("5.0")
def property_blocks_of_the_wrong_length(table: Table) -> None:
    """In PUBLISH: none, one that ends within a property, one that ends behind the packet, one written too long."""
    tried(
        table,
        frame(0x30, text("t")),
        frame(0x30, text("t"), "03 02 0000"),
        frame(0x30, text("t"), "7f 01 00"),
        frame(0x30, text("t"), "80 00"),
        frame(0x30, text("t"), "82 80 00 01 00"),
        frame(0x30, text("t"), "80 80 80 80 01"),
    )


@dialogue("5.0")
def a_payload_that_says_text_and_is_none(table: Table) -> None:
    """Whether that is looked at is left open."""
    client, other = table.connected("a", "b")
    subscribe(client, qos=0)
    for qos in (0, 1, 2):
        packet_id = qos or None
        other.say(Publish(topic="t", payload=b"\xff\xfe", payload_format_indicator=True, qos=qos, packet_id=packet_id))
    other.say(PubRel(packet_id=2))


def asked(table: Table, wanted: bool | None) -> Talker:
    """A client that wants problem information, or not."""
    client = table.client("a")
    client.connect(request_problem_information=wanted)
    return client


@dialogue("5.0")
def request_problem_information_0(table: Table) -> None:
    """No reason string and no user property, but in CONNACK, DISCONNECT and PUBLISH; reason codes come all the same."""
    client = asked(table, wanted=False)
    client.say(Publish(topic="$SYS/x", payload=b"1", qos=1, packet_id=1))
    client.say(frame(0x82, "0001 00", text("a#"), "00"))


@dialogue("5.0")
def properties_in_other_packets(table: Table) -> None:
    """Such as are allowed nowhere else, in acknowledgements, SUBSCRIBE, UNSUBSCRIBE and DISCONNECT."""
    tried(
        table,
        frame(0x40, "0001 00", block("01 00")),
        frame(0x50, "0001 00", block("11 00000001")),
        frame(0x62, "0001 00", block("21 0001")),
        frame(0x70, "0001 00", block("0b 01")),
        frame(0x82, "0001", block("1f 0001 61"), text("t"), "00"),
        frame(0xA2, "0001", block("0b 01"), text("t")),
        frame(0xE0, "00", block("1c 0001 61")),
        frame(0xE0, "00", block("21 0001")),
        frame(0xE0, "00", block("11 00000000 11 00000000")),
        frame(0x40, "0001 00", block("1f 0001 61 1f 0001 61")),
    )
