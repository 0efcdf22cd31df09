"""Retained messages."""

from __future__ import annotations

from rmqtt.codec import PubAck, Publish, PubRel, Subscribe, SubscribeFilter, Unsubscribe, WillMessage

from interop.dialogue import Table, Talker, dialogue
from interop.dialogues.sessions import subscribe


def late(table: Table, topic: str = "t/#", name: str = "late") -> Talker:
    """A client that subscribes now."""
    (client,) = table.connected(name)
    subscribe(client, topic)
    return client


@dialogue()
def a_retained_message_of_each_qos(table: Table) -> None:
    """Comes with the flag, and the lower QoS."""
    (client,) = table.connected("a")
    client.say(Publish(topic="t/0", payload=b"0", retain=True))
    client.say(Publish(topic="t/1", payload=b"1", retain=True, qos=1, packet_id=1))
    client.say(Publish(topic="t/2", payload=b"2", retain=True, qos=2, packet_id=2), PubRel(packet_id=2))
    for qos in (0, 1, 2):
        (subscriber,) = table.connected(f"s{qos}")
        subscribe(subscriber, "t/#", qos=qos)


@dialogue()
def a_retained_message_replaced_and_deleted(table: Table) -> None:
    """The last one counts; an empty one is delivered, and leaves nothing."""
    client, watcher = table.connected("a", "w")
    subscribe(watcher, "t/#", qos=0)
    client.say(Publish(topic="t/1", payload=b"old", retain=True, qos=1, packet_id=1))
    client.say(Publish(topic="t/1", payload=b"new", retain=True))
    late(table, name="s1")
    client.say(Publish(topic="t/1", payload=b"passing"))
    late(table, name="s2")
    client.say(Publish(topic="t/1", retain=True))
    late(table, name="s3")
    client.say(Publish(topic="t/2", retain=True))
    late(table, name="s4")


@dialogue()
def a_retained_message_of_qos_2_that_is_not_released(table: Table) -> None:
    """A broker may keep it at PUBLISH or at PUBREL."""
    (client,) = table.connected("a")
    client.say(Publish(topic="t/1", payload=b"2", retain=True, qos=2, packet_id=1))
    late(table)
    client.say(PubRel(packet_id=1))


@dialogue()
def retained_messages_at_every_subscribe(table: Table) -> None:
    """Subscribing again brings them again."""
    (client,) = table.connected("a")
    client.say(Publish(topic="t/1", payload=b"kept", retain=True))
    subscriber = late(table)
    subscribe(subscriber, "t/#")
    subscribe(subscriber, "t/1")


@dialogue()
def retained_messages_for_overlapping_filters(table: Table) -> None:
    """Each subscription brings its own."""
    (client,) = table.connected("a")
    client.say(Publish(topic="t/1", payload=b"kept", retain=True))
    (subscriber,) = table.connected("s")
    filters = [SubscribeFilter(filter=each) for each in ("t/#", "t/1", "t/+")]
    subscriber.say(Subscribe(packet_id=1, filters=filters))


@dialogue()
def retained_messages_and_wildcards(table: Table) -> None:
    """The same rules as for others: parents, empty levels, dollars."""
    (client,) = table.connected("a")
    topics = ("t", "t/", "t/a", "t/a/b", "/t", "$t/a")
    client.say(*(Publish(topic=topic, payload=topic.encode(), retain=True) for topic in topics))
    filters = ("#", "t/#", "t/+", "+/t", "+", "$t/#", "+/a", "t/+/b", "t//")
    for number, each in enumerate(filters, 1):
        (subscriber,) = table.connected(f"s{number}")
        subscribe(subscriber, each, qos=0)


@dialogue("5.0")
def retain_handling(table: Table) -> None:
    """0: always; 1: if the subscription is new; 2: never."""
    (client,) = table.connected("a")
    client.say(Publish(topic="t/1", payload=b"kept", retain=True))
    for handling in (0, 1, 2):
        (subscriber,) = table.connected(f"s{handling}")
        lines = [SubscribeFilter(filter="t/#", retain_handling=handling)]
        subscriber.say(Subscribe(packet_id=1, filters=lines))
        subscriber.say(Subscribe(packet_id=2, filters=lines))
        subscriber.say(Unsubscribe(packet_id=3, filters=["t/#"]))
        subscriber.say(Subscribe(packet_id=4, filters=lines))


@dialogue("5.0")
def retain_handling_1_over_connections(table: Table) -> None:
    """A subscription of a kept session is not new."""
    (client,) = table.connected("a")
    client.say(Publish(topic="t/1", payload=b"kept", retain=True))
    subscriber = table.client("s")
    lines = [SubscribeFilter(filter="t/#", retain_handling=1)]
    for clean in (True, False, True):
        subscriber.connect(clean_start=clean, session_expiry_interval=100)
        subscriber.say(Subscribe(packet_id=1, filters=lines))
        subscriber.leave()


@dialogue("5.0")
def retain_as_published(table: Table) -> None:
    """The flag stays as it was, or goes."""
    client, plain, faithful = table.connected("a", "plain", "faithful")
    plain.say(Subscribe(packet_id=1, filters=[SubscribeFilter(filter="t/#")]))
    faithful.say(Subscribe(packet_id=1, filters=[SubscribeFilter(filter="t/#", retain_as_published=True)]))
    client.say(Publish(topic="t/1", payload=b"kept", retain=True))
    client.say(Publish(topic="t/1", payload=b"passing"))
    client.say(Publish(topic="t/1", retain=True))


@dialogue("5.0")
def retain_as_published_for_overlapping_filters(table: Table) -> None:
    """Two subscriptions of one client want it differently."""
    client, subscriber = table.connected("a", "s")
    filters = [SubscribeFilter(filter="t/#", retain_as_published=True), SubscribeFilter(filter="t/1")]
    subscriber.say(Subscribe(packet_id=1, filters=filters))
    client.say(Publish(topic="t/1", payload=b"kept", retain=True))


@dialogue("5.0")
def a_retained_message_with_all_its_properties(table: Table) -> None:
    """They are kept with it."""
    (client,) = table.connected("a")
    client.say(
        Publish(
            topic="t/1",
            payload=b"kept",
            retain=True,
            payload_format_indicator=True,
            content_type="text/plain",
            response_topic="r",
            correlation_data=b"\0\xff",
            user_properties=[("b", "1"), ("a", "2"), ("b", "0")],
        )
    )
    (subscriber,) = table.connected("s")
    subscriber.say(Subscribe(packet_id=1, subscription_identifier=7, filters=[SubscribeFilter(filter="t/#")]))


@dialogue("5.0")
def a_retained_message_that_expires(table: Table) -> None:
    """The will of another client, three seconds later, is the clock."""
    client, watcher, clock = table.client("a"), table.client("w"), table.client("clock")
    client.connect()
    watcher.connect()
    subscribe(watcher, "clock")
    client.say(
        Publish(topic="t/1", payload=b"short", retain=True, message_expiry_interval=1),
        Publish(topic="t/2", payload=b"for ever", retain=True),
    )
    clock.connect(session_expiry_interval=100, will=WillMessage(topic="clock", payload=b"it is time", delay_interval=3))
    clock.cut()
    watcher.hear_clock()
    late(table)


@dialogue()
def a_retained_message_to_a_client_with_unfinished_messages(table: Table) -> None:
    """It takes its place behind what is under way."""
    client, subscriber = table.connected("a", "s")
    client.say(Publish(topic="t/1", payload=b"kept", retain=True, qos=1, packet_id=1))
    subscribe(subscriber, "t/#")
    subscriber.settle_message(0, PubAck)
    client.say(Publish(topic="t/1", payload=b"new", retain=True, qos=1, packet_id=2))
    subscribe(subscriber, "t/1")
    for index in (1, 2):
        subscriber.settle_message(index, PubAck)


@dialogue("5.0")
def empty_retained_messages_of_expiry(table: Table) -> None:
    """Deleting works, whatever else the packet says."""
    (client,) = table.connected("a")
    client.say(Publish(topic="t/1", payload=b"kept", retain=True))
    client.say(Publish(topic="t/1", retain=True, message_expiry_interval=100, content_type="none"))
    late(table)
