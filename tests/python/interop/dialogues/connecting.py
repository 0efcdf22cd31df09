"""CONNECT: what is let in, and what is said to what is not."""

from __future__ import annotations

from rmqtt.codec import Connect, PingReq, Publish, WillMessage

from interop.dialogue import PATIENCE, Raw, Table, block, dialogue, frame, text


def tried(table: Table, *attempts: bytes) -> None:
    """Say each of these on a connection of its own, and hear what comes of it."""
    for number, attempt in enumerate(attempts, 1):
        client = table.client(f"c{number}")
        client.open()
        client.write(attempt)
        client.hear_welcome()


@dialogue()
def an_ordinary_connect(table: Table) -> None:
    """Connect, ping, leave."""
    (client,) = table.connected("a")
    client.leave()


@dialogue()
def protocol_levels(table: Table) -> None:
    """Levels that are not served, under the right name; 0x84 is what mosquitto's bridges say."""
    raw = Raw(table.version)
    tried(table, *(raw.connect(2, text("c"), level=level) for level in (0, 2, 3, 6, 7, 0x7F, 0xFF)))


@dialogue()
def the_level_of_a_bridge(table: Table) -> None:
    """The highest bit of the level: mosquitto's bridges set it."""
    raw = Raw(table.version)
    tried(table, raw.connect(2, text("c1"), level=0x85 if table.is_v5 else 0x84))


@dialogue()
def protocol_names(table: Table) -> None:
    """Names that are not MQTT."""
    raw = Raw(table.version)
    tried(table, *(raw.connect(2, text("c"), name=name) for name in ("mqtt", "MQTX", "", "MQTTT", "MQIsdp", b"MQT\0")))


@dialogue("3.1.1")
def a_client_of_3_1(table: Table) -> None:
    """The older name and level, which both brokers know."""
    raw = Raw(table.version)
    tried(table, raw.connect(2, text("c1"), name="MQIsdp", level=3), raw.connect(2, text("c2"), name="MQTT", level=3))


@dialogue()
def connect_flags(table: Table) -> None:
    """Flags that contradict each other: reserved bit, will QoS and retain without will, will QoS 3."""
    raw = Raw(table.version)
    will = (raw.empty, text("w"), text("lost"))
    tried(
        table,
        raw.connect(0x03, text("c")),
        raw.connect(0x0A, text("c")),
        raw.connect(0x12, text("c")),
        raw.connect(0x22, text("c")),
        raw.connect(0x1E, text("c"), *will),
        raw.connect(0x3E, text("c"), *will),
    )


@dialogue()
def a_password_without_user_name(table: Table) -> None:
    """Forbidden before MQTT 5."""
    tried(table, Raw(table.version).connect(0x42, text("c1"), text("secret")))


@dialogue()
def a_user_name_that_nobody_knows(table: Table) -> None:
    """Both brokers let everybody in."""
    client = table.client("a")
    client.connect(username="somebody", password=b"\xff\xfe")
    other = table.client("b")
    other.connect(username="somebody")


@dialogue()
def connect_payloads_of_the_wrong_length(table: Table) -> None:
    """Fields that are missing or left over."""
    raw = Raw(table.version)
    tried(
        table,
        raw.connect(0x02),
        raw.connect(0x02, text("c"), text("left over")),
        raw.connect(0x82, text("c")),
        raw.connect(0xC2, text("c"), text("user")),
        raw.connect(0x06, text("c"), raw.empty),
        raw.connect(0x06, text("c"), raw.empty, text("w")),
        raw.connect(0x02, "00 09 63"),
    )


@dialogue()
def connect_texts_that_are_not_utf8(table: Table) -> None:
    """Client id, user name and will topic; a password may be anything."""
    raw = Raw(table.version)
    bad = text(b"\xc3\x28")
    tried(
        table,
        raw.connect(0x02, bad),
        raw.connect(0x02, text(b"\xed\xa0\x80")),
        raw.connect(0x02, text(b"a\0b")),
        raw.connect(0x82, text("c"), bad),
        raw.connect(0x06, text("c"), raw.empty, bad, text("lost")),
        raw.connect(0xC2, text("c6"), text("user"), bad),
    )


@dialogue()
def client_ids_out_of_the_ordinary(table: Table) -> None:
    """Long ones, and such with characters that mean something elsewhere."""
    for number, name in enumerate(("x" * 24, "y" * 1000, "a/b", "#+$", "ä€𝄞", "\ufeffbom", "a b\x01"), 1):
        client = table.client(f"c{number}")
        client.connect(client_id=name)
        client.leave()


@dialogue()
def an_empty_client_id(table: Table) -> None:
    """With a clean session it gets one that is made up."""
    one, other = table.client("a"), table.client("b")
    one.connect(client_id="")
    other.connect(client_id="")
    one.say(PingReq())


@dialogue()
def an_empty_client_id_that_wants_its_session(table: Table) -> None:
    """Refused before MQTT 5."""
    table.client("a").connect(client_id="", clean_start=False)


@dialogue()
def two_connects(table: Table) -> None:
    """The second one is a violation, though it is well formed."""
    (client,) = table.connected("a")
    client.say(Connect(client_id="a", version=table.version))


@dialogue()
def other_packets_before_connect(table: Table) -> None:
    """No packet but CONNECT may be the first."""
    raw = Raw(table.version)
    tried(
        table,
        b"\xc0\0",
        raw.publish(0x30, "t", b"early"),
        raw.subscribe(text("t"), "00"),
        b"\xe0\0",
        b"\0\0",
        b"\xf0\0",
        frame(0x20, "00 00", raw.empty),
    )


@dialogue()
def connect_with_reserved_header_bits(table: Table) -> None:
    """The low bits of the first byte are prescribed."""
    good = Raw(table.version).connect(2, text("c"))
    tried(table, *(bytes([0x10 | bits]) + good[1:] for bits in (1, 2, 8, 15)))


@dialogue()
def packets_behind_connect(table: Table) -> None:
    """A client need not wait for CONNACK."""
    (watcher,) = table.connected("w")
    watcher.say(Raw(table.version).subscribe(text("t"), "00"))
    client = table.client("a")
    client.open()
    client.write(Connect(client_id="a", version=table.version), Publish(topic="t", payload=b"early"), PingReq())
    client.hear_welcome()


@dialogue()
def packets_behind_a_refused_connect(table: Table) -> None:
    """What follows a refused CONNECT is not looked at."""
    (watcher,) = table.connected("w")
    raw = Raw(table.version)
    watcher.say(raw.subscribe(text("t"), "00"))
    tried(table, raw.connect(2, text("c"), level=6) + raw.publish(0x30, "t", b"early"))


@dialogue("5.0")
def connect_properties_out_of_their_range(table: Table) -> None:
    """Each value that is forbidden, and each property that must not be repeated."""
    bad = (
        "21 0000",
        "27 00000000",
        "17 02",
        "19 02",
        "11 00000001 11 00000001",
        "21 0001 21 0001",
        "22 0001 22 0001",
        "27 00000100 27 00000100",
        "17 01 17 01",
        "19 01 19 01",
        "16 0001 41",
    )
    tried(table, *(frame(0x10, text("MQTT"), "05 02 003c", block(each), text("c")) for each in bad))


@dialogue("5.0")
def connect_properties_of_other_packets(table: Table) -> None:
    """Properties that exist, but not in CONNECT, and such that do not exist."""
    bad = ("24 01", "23 0001", "0b 01", "1f 0001 41", "12 0001 41", "7f 00", "00 00", "ff7f 00")
    tried(table, *(frame(0x10, text("MQTT"), "05 02 003c", block(each), text("c")) for each in bad))


@dialogue("5.0")
def connect_property_blocks_of_the_wrong_length(table: Table) -> None:
    """A block that ends within a property, beyond the packet, or says its length in too many bytes."""
    head = text("MQTT") + bytes.fromhex("05 02 003c")
    tried(
        table,
        frame(0x10, head, "02 21 00", text("c")),
        frame(0x10, head, "7f 21 0001", text("c")),
        frame(0x10, head, "80 00", text("c")),
        frame(0x10, head, "ff ff ff ff 01", text("c")),
        frame(0x10, head),
    )


@dialogue("5.0")
def user_properties_in_connect(table: Table) -> None:
    """They may repeat, and mean nothing to either broker."""
    table.client("a").connect(user_properties=[("a", "1"), ("a", "1"), ("", "")])


@dialogue("5.0")
def an_authentication_method_that_nobody_knows(table: Table) -> None:
    """Neither broker has a method of this name."""
    table.client("a").connect(authentication_method="NO-SUCH-METHOD", authentication_data=b"1")


@dialogue("5.0")
def auth_without_method(table: Table) -> None:
    """Who has not named a method in CONNECT does not send AUTH."""
    for number, bad in enumerate((b"\xf0\0", frame(0xF0, "18", block("15 0001 41")), frame(0xF0, "19 00")), 1):
        client = table.client(f"c{number}")
        client.connect()
        client.say(bad)


@dialogue("5.0")
def response_information_that_is_asked_for(table: Table) -> None:
    """A broker may give some."""
    table.client("a").connect(request_response_information=True)


@dialogue()
def keep_alive_that_runs_out(table: Table) -> None:
    """After one and a half times the interval the client counts as lost, and its will is published."""
    (watcher,) = table.connected("w")
    watcher.say(Raw(table.version).subscribe(text("t"), "00"))
    client = table.client("a")
    client.connect(keep_alive=1, will=WillMessage(topic="t", payload=b"lost"))
    client.hear_end(PATIENCE)
