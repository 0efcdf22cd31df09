"""SUBSCRIBE and UNSUBSCRIBE."""

from __future__ import annotations

from rmqtt import QoS
from rmqtt.codec import PubAck, Publish, PubRel, Subscribe, SubscribeFilter, Unsubscribe

from interop.dialogue import Raw, Table, block, dialogue, frame, text
from interop.dialogues.sessions import subscribe


def asked_for(*lines: tuple[str, int]) -> list[SubscribeFilter]:
    """Filters with the QoS to ask for."""
    return [SubscribeFilter(filter=each, qos=QoS(qos)) for each, qos in lines]


@dialogue()
def several_filters_in_one_packet(table: Table) -> None:
    """One code each, in order."""
    (client,) = table.connected("a")
    lines = asked_for(("a", 2), ("b", 0), ("c/#", 1), ("+", 2))
    client.say(Subscribe(packet_id=0x1234, filters=lines))


@dialogue()
def one_filter_twice_in_one_packet(table: Table) -> None:
    """The later line replaces the earlier one."""
    client, other = table.connected("a", "b")
    client.say(Subscribe(packet_id=1, filters=asked_for(("t", 2), ("t", 0))))
    other.say(Publish(topic="t", payload=b"1", qos=1, packet_id=1))


@dialogue()
def subscribing_anew_with_another_qos(table: Table) -> None:
    """Replaces the subscription."""
    client, other = table.connected("a", "b")
    for qos in (2, 0, 1):
        subscribe(client, qos=qos)
        other.say(Publish(topic="t", payload=b"granted %d" % qos, qos=2, packet_id=1), PubRel(packet_id=1))


@dialogue()
def overlapping_subscriptions(table: Table) -> None:
    """One copy at the highest QoS, or one for each: left open."""
    client, other = table.connected("a", "b")
    lines = asked_for(("t/#", 0), ("t/1", 1), ("t/+", 2))
    client.say(Subscribe(packet_id=1, filters=lines))
    other.say(Publish(topic="t/1", payload=b"1", qos=2, packet_id=1), PubRel(packet_id=1))


@dialogue()
def wildcards(table: Table) -> None:
    """The examples of the standard."""
    (other,) = table.connected("b")
    filters = ("t/#", "t/+", "+", "+/+", "/+", "#", "+/tennis/#", "sport/+/player", "t/#/")
    for number, each in enumerate(filters[:-1], 1):
        (client,) = table.connected(f"s{number}")
        subscribe(client, each, qos=0)
    for topic in ("t", "t/", "t/a", "t/a/b", "/t", "//", "sport/tennis/player", "sport//player", "$t/a"):
        other.say(Publish(topic=topic, payload=topic.encode()))


@dialogue()
def filters_that_are_none(table: Table) -> None:
    """Wildcards in the wrong places."""
    bad = ("a#", "a/#/b", "#/a", "##", "a+", "+a", "a/b+", "++", "a/+b/c")
    for number, each in enumerate(bad, 1):
        (client,) = table.connected(f"c{number}")
        client.say(Raw(table.version).subscribe(text(each), "00"))


@dialogue()
def filters_that_are_no_text(table: Table) -> None:
    """Empty, with NUL, not UTF-8."""
    for number, each in enumerate((b"", b"a\0b", b"\xc3\x28", b"\xed\xa0\x80"), 1):
        (client,) = table.connected(f"c{number}")
        client.say(Raw(table.version).subscribe(text(each), "00"))


@dialogue()
def a_good_filter_beside_a_bad_one(table: Table) -> None:
    """Whether the good one is granted."""
    client, other = table.connected("a", "b")
    client.say(Raw(table.version).subscribe(text("t"), "00", text("t/#/x"), "00"))
    other.say(Publish(topic="t", payload=b"1"))


@dialogue()
def subscribe_options_with_reserved_bits(table: Table) -> None:
    """What MQTT 5 uses is reserved in 3.1.1."""
    bits = ("40", "80", "c0") if table.is_v5 else ("04", "08", "10", "20", "40", "80", "fe")
    for number, each in enumerate(bits, 1):
        (client,) = table.connected(f"c{number}")
        client.say(Raw(table.version).subscribe(text("t"), each))


@dialogue()
def subscribing_with_qos_3(table: Table) -> None:
    """There is none."""
    (client,) = table.connected("a")
    client.say(Raw(table.version).subscribe(text("t"), "03"))


@dialogue("5.0")
def subscribing_with_retain_handling_3(table: Table) -> None:
    """There is none."""
    (client,) = table.connected("a")
    client.say(Raw(table.version).subscribe(text("t"), "30"))


@dialogue()
def subscribe_without_filters(table: Table) -> None:
    """And unsubscribe."""
    raw = Raw(table.version)
    for number, first in enumerate((0x82, 0xA2), 1):
        (client,) = table.connected(f"c{number}")
        client.say(frame(first, "0001", raw.empty))


@dialogue()
def subscribe_with_packet_id_0(table: Table) -> None:
    """And unsubscribe."""
    raw = Raw(table.version)
    for number, each in enumerate(
        (raw.subscribe(text("t"), "00", packet_id="0000"), frame(0xA2, "0000", raw.empty, text("t"))), 1
    ):
        (client,) = table.connected(f"c{number}")
        client.say(each)


@dialogue()
def subscribe_packets_of_the_wrong_length(table: Table) -> None:
    """Without options, with a filter that is cut off, with half a packet id."""
    raw = Raw(table.version)
    for number, each in enumerate(
        (raw.subscribe(text("t")), raw.subscribe("00 05 74"), frame(0x82, "00"), raw.subscribe(text("t"), "00", "00")),
        1,
    ):
        (client,) = table.connected(f"c{number}")
        client.say(each)


@dialogue("5.0")
def no_local(table: Table) -> None:
    """Not one's own messages, but those of others; also over overlapping subscriptions."""
    client, other = table.connected("a", "b")
    client.say(Subscribe(packet_id=1, filters=[SubscribeFilter(filter="t", no_local=True)]))
    client.say(Publish(topic="t", payload=b"own"))
    other.say(Publish(topic="t", payload=b"other's"))
    client.say(Subscribe(packet_id=2, filters=[SubscribeFilter(filter="#")]))
    client.say(Publish(topic="t", payload=b"own again"))


@dialogue("5.0")
def no_local_and_retained_messages(table: Table) -> None:
    """What one has published and kept oneself, when subscribing."""
    (client,) = table.connected("a")
    client.say(Publish(topic="t", payload=b"own", retain=True))
    client.say(Subscribe(packet_id=1, filters=[SubscribeFilter(filter="t", no_local=True)]))


@dialogue("5.0")
def subscription_identifiers(table: Table) -> None:
    """Come with the message, all that match."""
    client, other = table.connected("a", "b")
    client.say(Subscribe(packet_id=1, subscription_identifier=1, filters=[SubscribeFilter(filter="t/#")]))
    other.say(Publish(topic="t/1", payload=b"one"))
    client.say(Subscribe(packet_id=2, subscription_identifier=268_435_455, filters=[SubscribeFilter(filter="u")]))
    other.say(Publish(topic="u", payload=b"the largest"))
    client.say(Subscribe(packet_id=3, filters=[SubscribeFilter(filter="t/#")]))
    other.say(Publish(topic="t/1", payload=b"none any more"))
    client.say(Subscribe(packet_id=4, subscription_identifier=9, filters=[SubscribeFilter(filter="t/#")]))
    other.say(Publish(topic="t/1", payload=b"nine"))


@dialogue("5.0")
def subscription_identifiers_of_overlapping_subscriptions(table: Table) -> None:
    """In one copy, or in as many."""
    client, other = table.connected("a", "b")
    for number, each in enumerate(("t/#", "t/1", "t/+"), 1):
        identifier = number if number < 3 else None
        client.say(
            Subscribe(packet_id=number, subscription_identifier=identifier, filters=[SubscribeFilter(filter=each)])
        )
    other.say(Publish(topic="t/1", payload=b"1"))


@dialogue("5.0")
def subscription_identifiers_that_are_wrong(table: Table) -> None:
    """Zero, twice, too long; and in a client's PUBLISH."""
    bad = (
        frame(0x82, "0001", block("0b 00"), text("t"), "00"),
        frame(0x82, "0001", block("0b 01 0b 02"), text("t"), "00"),
        frame(0x82, "0001", block("0b ff ff ff ff 01"), text("t"), "00"),
        frame(0x30, text("t"), block("0b 01"), b"x"),
    )
    for number, each in enumerate(bad, 1):
        (client,) = table.connected(f"c{number}")
        client.say(each)


@dialogue()
def unsubscribing(table: Table) -> None:
    """What is held, what is not, and the same twice; only what is written the same goes."""
    client, other = table.connected("a", "b")
    client.say(Subscribe(packet_id=1, filters=[SubscribeFilter(filter=each) for each in ("t/+", "t/1", "u")]))
    client.say(Unsubscribe(packet_id=2, filters=["t/#", "t/1", "u", "u", "never"]))
    other.say(Publish(topic="t/1", payload=b"1"), Publish(topic="u", payload=b"2"))
    client.say(Unsubscribe(packet_id=77, filters=["t/+"]))
    client.say(Unsubscribe(packet_id=77, filters=["t/+"]))
    other.say(Publish(topic="t/1", payload=b"3"))


@dialogue()
def unsubscribing_from_what_is_no_filter(table: Table) -> None:
    """Badly formed filters, alone and beside a good one."""
    raw = Raw(table.version)
    for number, each in enumerate((("a#",), ("t", "#/a"), ("",)), 1):
        (client,) = table.connected(f"c{number}")
        subscribe(client)
        client.say(frame(0xA2, "0002", raw.empty, *(text(one) for one in each)))


@dialogue()
def unsubscribing_with_messages_in_the_queue(table: Table) -> None:
    """What was on its way already may come."""
    client, other = table.client("a"), table.client("b")
    client.connect(receive_maximum=1)
    other.connect()
    subscribe(client)
    other.say(*(Publish(topic="t", payload=b"%d" % n, qos=1, packet_id=n) for n in (1, 2)))
    client.say(Unsubscribe(packet_id=2, filters=["t"]))
    client.settle_message(0, PubAck)
    client.settle_message(1, PubAck)


@dialogue()
def subscribing_to_the_brokers_own_topics(table: Table) -> None:
    """Granted, though there may be nothing."""
    (client,) = table.connected("a")
    client.say(Subscribe(packet_id=1, filters=[SubscribeFilter(filter="$SYS/#"), SubscribeFilter(filter="$SYS/x/+")]))


@dialogue()
def shared_filters_that_are_none(table: Table) -> None:
    """Without a name, without a filter, with a wildcard in the name."""
    bad = ("$share", "$share/", "$share/g", "$share/g/", "$share//t", "$share/g+/t", "$share/#/t", "$share/g/t#")
    for number, each in enumerate(bad, 1):
        (client,) = table.connected(f"c{number}")
        client.say(Raw(table.version).subscribe(text(each), "00"))


@dialogue("5.0")
def a_shared_subscription_with_no_local(table: Table) -> None:
    """The two do not go together."""
    (client,) = table.connected("a")
    client.say(Raw(table.version).subscribe(text("$share/g/t"), "04"))


@dialogue("5.0")
def user_properties_in_subscribe_and_unsubscribe(table: Table) -> None:
    """They may repeat."""
    (client,) = table.connected("a")
    extra = [("a", "1"), ("a", "1")]
    client.say(Subscribe(packet_id=1, filters=[SubscribeFilter(filter="t")], user_properties=extra))
    client.say(Unsubscribe(packet_id=2, filters=["t"], user_properties=extra))


@dialogue()
def messages_while_subscribing(table: Table) -> None:
    """All in one go: what is published before the subscription does not come, what comes after it does."""
    (client,) = table.connected("a")
    client.say(
        Publish(topic="t", payload=b"before"),
        Subscribe(packet_id=1, filters=[SubscribeFilter(filter="t")]),
        Publish(topic="t", payload=b"between"),
        Unsubscribe(packet_id=2, filters=["t"]),
        Publish(topic="t", payload=b"after"),
    )
