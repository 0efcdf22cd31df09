"""Shared subscriptions."""

from __future__ import annotations

from rmqtt import QoS
from rmqtt.codec import PubAck, Publish, PubRec, PubRel, Subscribe, SubscribeFilter, Unsubscribe

from interop.dialogue import Table, Talker, dialogue
from interop.dialogues.sessions import FOREVER, subscribe

SHARE = "$share/g/t"


def members(table: Table, *names: str, qos: int = 1) -> tuple[Talker, ...]:
    """Clients of one group, whose sessions last."""
    found = tuple(table.client(name) for name in names)
    for member in found:
        member.connect(**FOREVER)
        subscribe(member, SHARE, qos=qos)
    return found


def numbered(client: Talker, count: int, qos: int = 1, topic: str = "t") -> None:
    """Publish so many messages, one after the other."""
    for number in range(1, count + 1):
        packet_id = number if qos else None
        client.say(Publish(topic=topic, payload=b"%d" % number, qos=QoS(qos), packet_id=packet_id))
        if qos == 2:
            client.say(PubRel(packet_id=number))


@dialogue()
def a_group_of_one(table: Table) -> None:
    """Gets everything."""
    (publisher,) = table.connected("p")
    members(table, "a", qos=2)
    for qos in (0, 1, 2):
        numbered(publisher, 1, qos)


@dialogue()
def a_group_of_two(table: Table) -> None:
    """Each message goes to one of them; which one is left open, and here they take turns."""
    (publisher,) = table.connected("p")
    members(table, "a", "b")
    numbered(publisher, 4)


@dialogue()
def two_groups(table: Table) -> None:
    """Each gets the message, and a plain subscription too."""
    publisher, plain = table.connected("p", "plain")
    subscribe(plain)
    for group in ("g", "h"):
        (member,) = table.connected(group)
        subscribe(member, f"$share/{group}/t")
    numbered(publisher, 1)


@dialogue("5.0")
def a_group_and_a_plain_subscription_of_one_client(table: Table) -> None:
    """Two subscriptions: both get the message."""
    publisher, client = table.connected("p", "a")
    client.say(Subscribe(packet_id=1, subscription_identifier=1, filters=[SubscribeFilter(filter="t")]))
    client.say(Subscribe(packet_id=2, subscription_identifier=2, filters=[SubscribeFilter(filter=SHARE)]))
    numbered(publisher, 1)


@dialogue("5.0")
def two_groups_of_one_client(table: Table) -> None:
    """Both get the message."""
    publisher, client = table.connected("p", "a")
    for number, group in enumerate(("g", "h"), 1):
        lines = [SubscribeFilter(filter=f"$share/{group}/t")]
        client.say(Subscribe(packet_id=number, subscription_identifier=number, filters=lines))
    numbered(publisher, 1)


@dialogue()
def retained_messages_and_groups(table: Table) -> None:
    """None comes by subscribing; those that are published afterwards come as they were published."""
    (publisher,) = table.connected("p")
    publisher.say(Publish(topic="t", payload=b"kept", retain=True))
    (member,) = table.connected("a")
    lines = [SubscribeFilter(filter=SHARE, retain_as_published=True)]
    member.say(Subscribe(packet_id=1, filters=lines))
    publisher.say(Publish(topic="t", payload=b"new", retain=True))


@dialogue()
def leaving_a_group(table: Table) -> None:
    """By the whole filter, not by the part behind the name."""
    (publisher,) = table.connected("p")
    (member,) = members(table, "a")
    member.say(Unsubscribe(packet_id=2, filters=["t", "$share/other/t", "$share/g/t/#"]))
    numbered(publisher, 1)
    member.say(Unsubscribe(packet_id=3, filters=[SHARE, SHARE]))
    numbered(publisher, 1)


@dialogue()
def joining_a_group_again(table: Table) -> None:
    """Replaces the subscription: one copy, at the new QoS."""
    publisher, client = table.connected("p", "a")
    for qos in (2, 0, 1):
        subscribe(client, SHARE, qos=qos)
        numbered(publisher, 1, 2)


@dialogue()
def groups_with_wildcards(table: Table) -> None:
    """By the same rules as without a group."""
    publisher = table.client("p")
    publisher.connect()
    for number, each in enumerate(("#", "+/b", "t/+", "$other/#", "/t", "t/"), 1):
        (member,) = table.connected(f"s{number}")
        subscribe(member, f"$share/g/{each}", qos=0)
    for topic in ("t", "t/", "t/b", "/t", "$other/b"):
        publisher.say(Publish(topic=topic, payload=topic.encode()))


@dialogue("5.0")
def groups_whose_names_are_unusual(table: Table) -> None:
    """Any character but three."""
    (publisher,) = table.connected("p")
    for number, name in enumerate(("G", "g", "ä$", " ", "$share"), 1):
        (member,) = table.connected(f"s{number}")
        subscribe(member, f"$share/{name}/t", qos=0)
    (other,) = table.connected("other")
    subscribe(other, "$SHARE/g/t", qos=0)
    numbered(publisher, 1, 0)


@dialogue()
def a_group_whose_only_member_is_away(table: Table) -> None:
    """Its messages wait for it."""
    (publisher,) = table.connected("p")
    (member,) = members(table, "a")
    member.cut()
    numbered(publisher, 2)
    member.connect(**FOREVER)


@dialogue()
def a_group_with_one_member_away(table: Table) -> None:
    """A broker may send everything to the one who is there."""
    (publisher,) = table.connected("p")
    away, there = members(table, "a", "b")
    away.cut()
    numbered(publisher, 4)
    for index in range(4):
        there.settle_message(index, PubAck)
    away.connect(**FOREVER)


@dialogue("5.0")
def a_group_with_a_full_member(table: Table) -> None:
    """Its Receive Maximum is 1, and it does not answer."""
    (publisher,) = table.connected("p")
    member = table.client("a")
    member.connect(receive_maximum=1)
    subscribe(member, SHARE)
    numbered(publisher, 2)
    member.settle_message(0, PubAck)


@dialogue("5.0")
def a_member_that_refuses(table: Table) -> None:
    """The message is done with, for the whole group."""
    (publisher,) = table.connected("p")
    refusing, _ = members(table, "a", "b", qos=2)
    numbered(publisher, 2)
    refusing.settle_message(0, PubAck, reason_code=0x80)
    refusing.cut()
    refusing.connect(**FOREVER)


@dialogue()
def a_member_whose_session_ends(table: Table) -> None:
    """What it has not acknowledged of QoS 1 may go to another."""
    (publisher,) = table.connected("p")
    mortal = table.client("a")
    mortal.connect()
    subscribe(mortal, SHARE)
    numbered(publisher, 1)
    members(table, "b")
    mortal.cut()


@dialogue("5.0")
def a_member_whose_session_ends_within_qos_2(table: Table) -> None:
    """What was begun with one member goes to no other."""
    (publisher,) = table.connected("p")
    mortal = table.client("a")
    mortal.connect()
    subscribe(mortal, SHARE)
    numbered(publisher, 1, 2)
    mortal.settle_message(0, PubRec)
    members(table, "b", qos=2)
    mortal.cut()


@dialogue()
def a_member_that_comes_back(table: Table) -> None:
    """What was begun with it is finished with it."""
    (publisher,) = table.connected("p")
    (member,) = members(table, "a", qos=2)
    numbered(publisher, 1, 2)
    members(table, "b", qos=2)
    member.cut()
    member.connect(**FOREVER)


@dialogue("3.1.1")
def a_group_in_3_1_1(table: Table) -> None:
    """That version knows no groups: there the filter is one like any other. Both brokers have them all the same."""
    (publisher,) = table.connected("p")
    members(table, "a")
    numbered(publisher, 1)
    publisher.say(Publish(topic=SHARE, payload=b"to the letter"))
