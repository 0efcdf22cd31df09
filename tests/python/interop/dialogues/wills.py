"""Wills: when they are published, when not, and as what."""

from __future__ import annotations

from rmqtt.codec import PubAck, PubComp, Publish, PubRec, WillMessage

from interop.dialogue import Raw, Table, Talker, dialogue, frame, text
from interop.dialogues.sessions import FOREVER, subscribe


def watched(table: Table) -> Talker:
    """Seat a client that sees the wills."""
    (watcher,) = table.connected("w")
    subscribe(watcher)
    return watcher


@dialogue()
def a_will_of_the_lost(table: Table) -> None:
    """Of each QoS, with what MQTT 5 can say of it."""
    watched(table)
    for qos in (0, 1, 2):
        client = table.client(f"a{qos}")
        will = WillMessage(
            topic="t",
            payload=f"lost {qos}".encode(),
            qos=qos,
            content_type="text/plain",
            payload_format_indicator=True,
            response_topic="r",
            correlation_data=b"c",
            message_expiry_interval=1000,
            user_properties=[("b", "2"), ("a", "1"), ("b", "1")],
        )
        client.connect(will=will)
        client.cut()


@dialogue()
def a_will_of_who_takes_leave(table: Table) -> None:
    """Is forgotten, also for the time after."""
    watched(table)
    client = table.client("a")
    client.connect(will=WillMessage(topic="t", payload=b"lost"))
    client.leave()
    client.connect()
    client.cut()


@dialogue("5.0")
def a_will_with_disconnect_0x04(table: Table) -> None:
    """The client asks for it."""
    watched(table)
    client = table.client("a")
    client.connect(will=WillMessage(topic="t", payload=b"asked for"))
    client.leave(reason_code=0x04)


@dialogue("5.0")
def a_will_with_disconnect_of_an_error(table: Table) -> None:
    """Every code but 0x00 leaves the will in place."""
    watched(table)
    for code in (0x80, 0x81, 0x82, 0x83, 0x90, 0x93, 0x94, 0x95, 0x96, 0x97, 0x98, 0x99):
        client = table.client(f"a{code:x}")
        client.connect(will=WillMessage(topic="t", payload=f"{code:x}".encode()))
        client.leave(reason_code=code)


@dialogue()
def a_will_after_a_violation(table: Table) -> None:
    """The broker ends the connection, so the will is published."""
    watched(table)
    client = table.client("a")
    client.connect(will=WillMessage(topic="t", payload=b"broke a rule"))
    client.say(b"\0\0")


@dialogue()
def a_will_without_payload(table: Table) -> None:
    """Is a message like others."""
    watched(table)
    client = table.client("a")
    client.connect(will=WillMessage(topic="t"))
    client.cut()


@dialogue()
def a_will_that_is_retained(table: Table) -> None:
    """And one that is not; an empty one deletes."""
    watcher = watched(table)
    late = table.client("late")
    for number, will in enumerate(
        (
            WillMessage(topic="t", payload=b"plain"),
            WillMessage(topic="t", payload=b"kept", retain=True, qos=1),
            WillMessage(topic="t", retain=True),
        )
    ):
        client = table.client(f"a{number}")
        client.connect(will=will)
        client.cut()
        late.connect()
        subscribe(late)
        late.leave()
    watcher.settle_message(1, PubAck)


@dialogue()
def a_will_to_its_own_client(table: Table) -> None:
    """It has a session and a subscription, and gets its own will when it is back."""
    client = table.client("a")
    client.connect(will=WillMessage(topic="t", payload=b"mine", qos=1), **FOREVER)
    subscribe(client)
    client.cut()
    client.connect(**FOREVER)


@dialogue()
def a_will_of_qos_2(table: Table) -> None:
    """Is completed like any other message of QoS 2."""
    watcher = watched(table)
    client = table.client("a")
    client.connect(will=WillMessage(topic="t", payload=b"2", qos=2))
    client.cut()
    watcher.settle_message(0, PubRec)
    watcher.complete_message(0, PubComp)


@dialogue()
def will_topics_that_are_none(table: Table) -> None:
    """With wildcards, empty, with NUL."""
    raw = Raw(table.version)
    for number, topic in enumerate(("a/+", "#", "", "a\0b"), 1):
        client = table.client(f"c{number}")
        client.open()
        client.write(raw.connect(0x06, text(f"c{number}"), raw.empty, text(topic), text("lost")))
        client.hear_welcome()


@dialogue()
def a_will_to_the_brokers_own_topics(table: Table) -> None:
    """`$SYS` is the broker's, other topics with a dollar are not."""
    (watcher,) = table.connected("w")
    watcher.say(Raw(table.version).subscribe(text("$SYS/#"), "00", text("$other/#"), "00"))
    for number, topic in enumerate(("$SYS/a", "$other/a"), 1):
        client = table.client(f"c{number}")
        client.connect(will=WillMessage(topic=topic, payload=b"lost"))
        if client.is_open:
            client.cut()


@dialogue("5.0")
def a_will_with_a_delay(table: Table) -> None:
    """It waits, and the session with it."""
    watcher = watched(table)
    client = table.client("a")
    client.connect(session_expiry_interval=100, will=WillMessage(topic="t", payload=b"later", delay_interval=1, qos=1))
    client.cut()
    watcher.hear_messages(1)


@dialogue("5.0")
def a_will_with_a_delay_longer_than_the_session(table: Table) -> None:
    """The end of the session is the end of the delay."""
    watcher = watched(table)
    for expiry in (0, 1):
        client = table.client(f"a{expiry}")
        will = WillMessage(topic="t", payload=f"expiry {expiry}".encode(), delay_interval=1000)
        client.connect(session_expiry_interval=expiry, will=will)
        client.cut()
    clock = table.client("clock")
    clock.connect(session_expiry_interval=100, will=WillMessage(topic="t", payload=b"it is time", delay_interval=3))
    clock.cut()
    watcher.hear_clock()


@dialogue("5.0")
def a_will_whose_client_comes_back(table: Table) -> None:
    """In time, and goes on with its session: no will. A later one of another client is the clock."""
    watcher = watched(table)
    client, clock = table.client("a"), table.client("clock")
    client.connect(session_expiry_interval=100, will=WillMessage(topic="t", payload=b"never", delay_interval=2))
    client.cut()
    client.connect(clean_start=False, session_expiry_interval=100)
    clock.connect(session_expiry_interval=100, will=WillMessage(topic="t", payload=b"it is time", delay_interval=4))
    clock.cut()
    watcher.hear_clock()


@dialogue("5.0")
def a_will_whose_client_begins_anew(table: Table) -> None:
    """A clean start ends the session, and with it the delay."""
    watched(table)
    client = table.client("a")
    client.connect(session_expiry_interval=100, will=WillMessage(topic="t", payload=b"ended", delay_interval=1000))
    client.cut()
    client.connect(clean_start=True)


@dialogue("5.0")
def take_over_with_a_will_and_a_delay(table: Table) -> None:
    """The session goes on within the delay: no will."""
    watched(table)
    old, new = table.client("a"), table.client("a again")
    old.connect(will=WillMessage(topic="t", payload=b"never", delay_interval=1000), **FOREVER)
    new.connect(client_id="a", **FOREVER)
    old.hear_end()


@dialogue("5.0")
def a_will_with_a_delay_and_disconnect_0x04(table: Table) -> None:
    """The delay holds here too."""
    watcher = watched(table)
    client = table.client("a")
    client.connect(session_expiry_interval=100, will=WillMessage(topic="t", payload=b"later", delay_interval=1))
    client.leave(reason_code=0x04)
    watcher.hear_messages(1)


@dialogue("5.0")
def will_properties_that_are_wrong(table: Table) -> None:
    """Out of range, repeated, of other packets, with a response topic that is a filter."""
    bad = (
        "01 02",
        "01 00 01 00",
        "02 00000001 02 00000001",
        "18 00000001 18 00000001",
        "08 0003 612f23",
        "0b 01",
        "23 0001",
        "11 00000001",
        "7f",
    )
    for number, each in enumerate(bad, 1):
        client = table.client(f"c{number}")
        client.open()
        properties = bytes([len(bytes.fromhex(each))]) + bytes.fromhex(each)
        client.write(
            frame(0x10, text("MQTT"), "05 06 003c 00", text(f"c{number}"), properties, text("t"), text("lost"))
        )
        client.hear_welcome()


@dialogue("5.0")
def a_will_that_says_text_and_is_none(table: Table) -> None:
    """Whether the payload keeps what the indicator says may be checked."""
    watched(table)
    client = table.client("a")
    client.connect(will=WillMessage(topic="t", payload=b"\xff\xfe", payload_format_indicator=True))
    if client.is_open:
        client.cut()
    client.connect()
    client.say(Publish(topic="t", payload=b"afterwards"))
