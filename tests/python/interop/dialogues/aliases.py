"""Topic aliases from the client."""

from __future__ import annotations

from rmqtt.codec import Publish, PubRel

from interop.dialogue import Table, Talker, block, dialogue, frame, text
from interop.dialogues.sessions import FOREVER, subscribe


def watched(table: Table) -> tuple[Talker, Talker]:
    """A client that publishes, and one that sees it."""
    watcher, client = table.connected("w", "a")
    subscribe(watcher, "t/#", qos=0)
    return watcher, client


@dialogue("5.0")
def an_alias_set_used_and_set_anew(table: Table) -> None:
    """It stands for its last topic."""
    _, client = watched(table)
    client.say(Publish(topic="t/1", payload=b"set", topic_alias=1))
    client.say(Publish(payload=b"used", topic_alias=1))
    client.say(Publish(topic="t/2", payload=b"set anew", topic_alias=1))
    client.say(Publish(payload=b"used", topic_alias=1, qos=1, packet_id=1))
    client.say(Publish(topic="t/1", payload=b"with its name", topic_alias=1))


@dialogue("5.0")
def two_aliases_for_one_topic(table: Table) -> None:
    """Nothing speaks against it."""
    _, client = watched(table)
    client.say(Publish(topic="t/1", payload=b"1", topic_alias=1), Publish(topic="t/1", payload=b"2", topic_alias=2))
    client.say(Publish(payload=b"1", topic_alias=1), Publish(payload=b"2", topic_alias=2))


@dialogue("5.0")
def alias_0(table: Table) -> None:
    """Is none."""
    _, client = watched(table)
    client.say(frame(0x30, text("t/1"), block("23 0000"), b"x"))


@dialogue("5.0")
def an_alias_above_the_maximum(table: Table) -> None:
    """Of what the broker has said."""
    _, client = watched(table)
    client.say(Publish(topic="t/1", payload=b"x", topic_alias=65_535))


@dialogue("5.0")
def an_alias_that_was_never_set(table: Table) -> None:
    """Stands for nothing."""
    _, client = watched(table)
    client.say(Publish(payload=b"x", topic_alias=2))


@dialogue("5.0")
def an_alias_twice_in_one_packet(table: Table) -> None:
    """May be there once."""
    _, client = watched(table)
    client.say(frame(0x30, text("t/1"), block("23 0001 23 0001"), b"x"))


@dialogue("5.0")
def an_alias_of_an_earlier_connection(table: Table) -> None:
    """Aliases end with their connection, though the session goes on."""
    _, client = watched(table)
    client.connect(**FOREVER)
    client.say(Publish(topic="t/1", payload=b"set", topic_alias=1))
    client.cut()
    client.connect(**FOREVER)
    client.say(Publish(payload=b"x", topic_alias=1))


@dialogue("5.0")
def an_alias_of_another_client(table: Table) -> None:
    """Aliases are each client's own."""
    _, client = watched(table)
    (other,) = table.connected("b")
    client.say(Publish(topic="t/1", payload=b"1", topic_alias=1))
    other.say(Publish(topic="t/2", payload=b"2", topic_alias=1))
    client.say(Publish(payload=b"1", topic_alias=1))
    other.say(Publish(payload=b"2", topic_alias=1))


@dialogue("5.0")
def an_alias_set_by_a_message_that_is_refused(table: Table) -> None:
    """The topic is one that only the broker may publish to; setting the alias comes before that."""
    _, client = watched(table)
    client.say(Publish(topic="$SYS/x", payload=b"1", topic_alias=1, qos=1, packet_id=1))
    client.say(Publish(payload=b"2", topic_alias=1, qos=1, packet_id=2))


@dialogue("5.0")
def an_alias_set_by_a_repeated_message(table: Table) -> None:
    """A QoS 2 message that is sent again is not delivered again, but it sets its alias."""
    _, client = watched(table)
    client.connect(**FOREVER)
    client.say(Publish(topic="t/1", payload=b"1", qos=2, packet_id=1))
    client.cut()
    client.connect(**FOREVER)
    client.say(Publish(topic="t/1", payload=b"1", qos=2, packet_id=1, dup=True, topic_alias=1))
    client.say(PubRel(packet_id=1))
    client.say(Publish(payload=b"2", topic_alias=1))
