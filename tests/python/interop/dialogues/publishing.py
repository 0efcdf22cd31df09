"""PUBLISH: topics, payloads, QoS."""

from __future__ import annotations

from rmqtt.codec import PubAck, PubComp, Publish, PubRec, PubRel, Subscribe, SubscribeFilter

from interop.dialogue import Raw, Table, dialogue, frame, text
from interop.dialogues.sessions import subscribe


@dialogue()
def every_qos_to_every_qos(table: Table) -> None:
    """A message comes with the lower of the two."""
    (publisher,) = table.connected("p")
    for granted in (0, 1, 2):
        client = table.client(f"s{granted}")
        client.connect()
        subscribe(client, qos=granted)
    for qos in (0, 1, 2):
        publisher.say(Publish(topic="t", payload=f"QoS {qos}".encode(), qos=qos, packet_id=qos + 10 if qos else None))
    publisher.say(PubRel(packet_id=12))


@dialogue()
def messages_that_nobody_wants(table: Table) -> None:
    """MQTT 5 may say so in the answer."""
    (client,) = table.connected("a")
    client.say(
        Publish(topic="t", payload=b"0"),
        Publish(topic="t", payload=b"1", qos=1, packet_id=1),
        Publish(topic="t", payload=b"2", qos=2, packet_id=2),
    )
    client.say(PubRel(packet_id=2))


@dialogue()
def a_message_to_oneself(table: Table) -> None:
    """Who subscribes gets also what it publishes."""
    (client,) = table.connected("a")
    subscribe(client)
    client.say(Publish(topic="t", payload=b"1", qos=1, packet_id=1))
    client.settle_message(0, PubAck)


@dialogue()
def empty_payloads(table: Table) -> None:
    """Are payloads too."""
    publisher, client = table.connected("p", "s")
    subscribe(client)
    publisher.say(Publish(topic="t"), Publish(topic="t", qos=1, packet_id=1))


@dialogue()
def topic_names_with_wildcards(table: Table) -> None:
    """Wildcards belong into filters."""
    raw = Raw(table.version)
    (watcher,) = table.connected("w")
    subscribe(watcher, "#")
    for number, topic in enumerate(("a/+", "a/#", "+", "a#b"), 1):
        client = table.client(f"c{number}")
        client.connect()
        client.say(raw.publish(0x30, topic, b"x"))


@dialogue()
def topic_names_that_are_no_text(table: Table) -> None:
    """Empty, with NUL, not UTF-8, longer than the packet."""
    raw = Raw(table.version)
    (watcher,) = table.connected("w")
    subscribe(watcher, "#")
    bad = (
        raw.publish(0x30, "", b"x"),
        raw.publish(0x30, b"a\0b", b"x"),
        raw.publish(0x30, b"\xc3\x28", b"x"),
        raw.publish(0x30, b"\xed\xa0\x80", b"x"),
        raw.publish(0x30, b"\xc0\x80", b"x"),
        raw.publish(0x30, b"\xf8\x88\x80\x80\x80", b"x"),
        frame(0x30, "00 20 61"),
        frame(0x30, "00"),
        frame(0x30),
    )
    for number, each in enumerate(bad, 1):
        client = table.client(f"c{number}")
        client.connect()
        client.say(each)


@dialogue()
def topic_names_that_are_unusual_text(table: Table) -> None:
    """Control characters, noncharacters and the byte order mark are text; nothing is normalised."""
    raw = Raw(table.version)
    watcher, client = table.connected("w", "a")
    subscribe(watcher, "u/#", qos=0)
    for topic in ("u/\x01", "u/\x7f", "u/\uffff", "u/\ufeffbom", "u/\u00e9", "u/e\u0301", "u/𝄞", "u/ "):
        if not client.is_open:
            client.connect()
        client.say(raw.publish(0x30, topic, b"x"))


@dialogue()
def topic_levels(table: Table) -> None:
    """Empty levels count, and case matters."""
    (client,) = table.connected("a")
    for number, each in enumerate(("/", "a//b", "+/+", "a/", "A"), 1):
        (watcher,) = table.connected(f"s{number}")
        subscribe(watcher, each, qos=0)
    client.say(*(Publish(topic=topic, payload=topic.encode()) for topic in ("/", "a//b", "a/b", "a/", "/a", "a", "A")))


@dialogue()
def very_many_topic_levels(table: Table) -> None:
    """Both brokers take no more than two hundred."""
    (watcher,) = table.connected("w")
    subscribe(watcher, "l/#", qos=0)
    for number, levels in enumerate((199, 200, 201, 300), 1):
        client = table.client(f"c{number}")
        client.connect()
        topic = "l" + "/l" * (levels - 1)
        client.say(Publish(topic=topic, payload=f"{levels} levels".encode(), qos=1, packet_id=1))


@dialogue()
def a_very_long_topic(table: Table) -> None:
    """As long as the format allows."""
    watcher, client = table.connected("w", "a")
    subscribe(watcher, "l/+", qos=0)
    client.say(Publish(topic="l/" + "x" * 65_533, payload=b"long"))


@dialogue()
def publishing_to_the_brokers_own_topics(table: Table) -> None:
    """`$SYS` is the broker's; others with a dollar are anybody's, but no wildcard at the front finds them."""
    (client,) = table.connected("a")
    for number, each in enumerate(("#", "+/x", "$SYS/#", "$other/#", "$other/+", "$share-like/x"), 1):
        (watcher,) = table.connected(f"s{number}")
        subscribe(watcher, each, qos=0)
    for number, topic in enumerate(("$SYS/x", "$SYS", "$other/x", "$share-like/x", "$", "plain/x"), 1):
        client.say(Publish(topic=topic, payload=topic.encode(), qos=1, packet_id=number))


@dialogue()
def publishing_to_a_share(table: Table) -> None:
    """`$share/…` in a topic name is nothing special to the standard."""
    watcher, client = table.connected("w", "a")
    subscribe(watcher, "t", qos=0)
    client.say(Publish(topic="$share/g/t", payload=b"x", qos=1, packet_id=1))


@dialogue()
def publish_with_qos_3(table: Table) -> None:
    """Both bits set."""
    (client,) = table.connected("a")
    client.say(Raw(table.version).publish(0x36, "t", b"x", packet_id="0001"))


@dialogue()
def publish_with_qos_0_and_dup(table: Table) -> None:
    """DUP has no meaning there, and is forbidden to the sender."""
    watcher, client = table.connected("w", "a")
    subscribe(watcher)
    client.say(Raw(table.version).publish(0x38, "t", b"x"))


@dialogue()
def publish_with_packet_id_0(table: Table) -> None:
    """No packet has that id."""
    for number, first in enumerate((0x32, 0x34), 1):
        client = table.client(f"c{number}")
        client.connect()
        client.say(Raw(table.version).publish(first, "t", b"x", packet_id="0000"))


@dialogue()
def publish_without_packet_id(table: Table) -> None:
    """The packet ends behind its topic."""
    (client,) = table.connected("a")
    client.say(frame(0x32, text("t")))


@dialogue()
def qos_1_twice_with_one_id(table: Table) -> None:
    """Once it is acknowledged the id means a new message, with DUP or without."""
    watcher, client = table.connected("w", "a")
    subscribe(watcher, qos=0)
    client.say(Publish(topic="t", payload=b"1", qos=1, packet_id=5))
    client.say(Publish(topic="t", payload=b"2", qos=1, packet_id=5))
    client.say(Publish(topic="t", payload=b"3", qos=1, packet_id=5, dup=True))


@dialogue()
def dup_is_not_passed_on(table: Table) -> None:
    """It says that this very sender sends again."""
    watcher, client = table.connected("w", "a")
    subscribe(watcher)
    client.say(Publish(topic="t", payload=b"1", qos=1, packet_id=1, dup=True))
    client.say(Publish(topic="t", payload=b"2", qos=2, packet_id=2, dup=True), PubRel(packet_id=2))


@dialogue()
def qos_2_three_times_with_one_id(table: Table) -> None:
    """Answered each time, delivered once, until it is released."""
    watcher, client = table.connected("w", "a")
    subscribe(watcher, qos=0)
    client.say(Publish(topic="t", payload=b"1", qos=2, packet_id=5))
    client.say(Publish(topic="t", payload=b"1", qos=2, packet_id=5, dup=True))
    client.say(Publish(topic="t", payload=b"1", qos=2, packet_id=5, dup=True))
    client.say(PubRel(packet_id=5))
    client.say(PubRel(packet_id=5))
    client.say(Publish(topic="t", payload=b"2", qos=2, packet_id=5))
    client.say(PubRel(packet_id=5))


@dialogue()
def qos_2_with_another_message_under_its_id(table: Table) -> None:
    """Without DUP, and with another payload: what the id stands for is not released yet."""
    watcher, client = table.connected("w", "a")
    subscribe(watcher, qos=0)
    client.say(Publish(topic="t", payload=b"1", qos=2, packet_id=5))
    client.say(Publish(topic="t", payload=b"other", qos=2, packet_id=5))
    client.say(PubRel(packet_id=5))


@dialogue()
def qos_1_under_the_id_of_a_qos_2(table: Table) -> None:
    """The id is in use for another message."""
    watcher, client = table.connected("w", "a")
    subscribe(watcher, qos=0)
    client.say(Publish(topic="t", payload=b"2", qos=2, packet_id=5))
    client.say(Publish(topic="t", payload=b"1", qos=1, packet_id=5))
    client.say(PubRel(packet_id=5))


@dialogue()
def several_qos_2_released_out_of_order(table: Table) -> None:
    """Each exchange stands for itself."""
    watcher, client = table.connected("w", "a")
    subscribe(watcher, qos=0)
    client.say(*(Publish(topic="t", payload=b"%d" % n, qos=2, packet_id=n) for n in (1, 2, 3)))
    client.say(PubRel(packet_id=3), PubRel(packet_id=1))
    client.say(PubRel(packet_id=2))


@dialogue()
def qos_2_delivered_before_it_is_released(table: Table) -> None:
    """A broker may hand a message on at PUBLISH or wait for PUBREL."""
    watcher, client = table.connected("w", "a")
    subscribe(watcher, qos=2)
    client.say(Publish(topic="t", payload=b"1", qos=2, packet_id=5))
    watcher.settle_message(0, PubRec)
    watcher.complete_message(0, PubComp)
    client.say(PubRel(packet_id=5))


@dialogue()
def the_largest_packet_ids(table: Table) -> None:
    """And ids in any order."""
    (client,) = table.connected("a")
    client.say(*(Publish(topic="t", qos=1, packet_id=n) for n in (65_535, 1, 256, 300)))
    client.say(Subscribe(packet_id=65_535, filters=[SubscribeFilter(filter="x")]))
