"""Sessions: kept, resumed, thrown away, taken over."""

from __future__ import annotations

from typing import Any

from rmqtt import QoS
from rmqtt.codec import Disconnect, PubAck, PubComp, Publish, PubRec, PubRel, Subscribe, SubscribeFilter, WillMessage

from interop.dialogue import Table, Talker, dialogue

FOREVER: dict[str, Any] = {"clean_start": False, "session_expiry_interval": 0xFFFF_FFFF}


def subscribe(client: Talker, topic: str = "t", qos: int = 2) -> None:
    """Subscribe to one filter."""
    client.say(Subscribe(packet_id=1, filters=[SubscribeFilter(filter=topic, qos=QoS(qos))]))


def away(table: Table, qos: int = 2) -> tuple[Talker, Talker]:
    """Leave behind a client with a session and a subscription, and another one that is there."""
    client, other = table.client("a"), table.client("b")
    client.connect(**FOREVER)
    subscribe(client, qos=qos)
    client.leave()
    other.connect()
    return client, other


@dialogue()
def a_session_that_is_kept(table: Table) -> None:
    """What was published meanwhile comes, in order, but QoS 0 need not."""
    client, other = away(table)
    other.say(Publish(topic="t", payload=b"1", qos=1, packet_id=1))
    other.say(Publish(topic="t", payload=b"2", qos=2, packet_id=2), PubRel(packet_id=2))
    client.connect(**FOREVER)
    client.settle_message(0, PubAck)
    client.settle_message(1, PubRec)
    client.complete_message(1, PubComp)


@dialogue()
def messages_of_qos_0_for_an_absent_client(table: Table) -> None:
    """Whether they are kept is the broker's choice."""
    client, other = away(table)
    other.say(Publish(topic="t", payload=b"0"))
    client.connect(**FOREVER)


@dialogue()
def a_session_that_is_thrown_away(table: Table) -> None:
    """A clean start forgets subscriptions and messages, also for the time after."""
    client, other = away(table)
    other.say(Publish(topic="t", payload=b"1", qos=1, packet_id=1))
    client.connect(clean_start=True, session_expiry_interval=0xFFFF_FFFF)
    other.say(Publish(topic="t", payload=b"2", qos=1, packet_id=2))
    client.leave()
    client.connect(**FOREVER)


@dialogue()
def resuming_without_a_session(table: Table) -> None:
    """There is none, and it is not an error."""
    table.client("a").connect(**FOREVER)


@dialogue()
def a_session_that_ends_with_its_connection(table: Table) -> None:
    """Clean Session of 3.1.1; in MQTT 5 no expiry interval."""
    client = table.client("a")
    client.connect(clean_start=True)
    subscribe(client)
    client.leave()
    client.connect(clean_start=False)


@dialogue("5.0")
def clean_start_0_without_expiry(table: Table) -> None:
    """Such a session ends with its connection all the same."""
    client = table.client("a")
    client.connect(clean_start=False)
    subscribe(client)
    client.leave()
    client.connect(clean_start=False)


@dialogue("5.0")
def clean_start_1_with_expiry(table: Table) -> None:
    """Begins anew, and is kept."""
    client = table.client("a")
    client.connect(clean_start=True, session_expiry_interval=100)
    subscribe(client)
    client.leave()
    client.connect(clean_start=False, session_expiry_interval=100)


@dialogue("5.0")
def expiry_shortened_in_disconnect(table: Table) -> None:
    """To nothing: the session is over."""
    client = table.client("a")
    client.connect(**FOREVER)
    client.leave(session_expiry_interval=0)
    client.connect(**FOREVER)


@dialogue("5.0")
def expiry_prolonged_in_disconnect(table: Table) -> None:
    """From something to more."""
    client = table.client("a")
    client.connect(clean_start=False, session_expiry_interval=1)
    client.leave(session_expiry_interval=1000)
    client.connect(**FOREVER)


@dialogue("5.0")
def expiry_given_first_in_disconnect(table: Table) -> None:
    """From nothing to something is forbidden, and such a DISCONNECT does not count: the will goes out."""
    (watcher,) = table.connected("w")
    subscribe(watcher)
    client = table.client("a")
    client.connect(will=WillMessage(topic="t", payload=b"lost"))
    client.leave(session_expiry_interval=1000)
    client.connect(clean_start=False)


@dialogue("5.0")
def a_session_that_expires(table: Table) -> None:
    """The will of another client, two seconds later, is the clock."""
    watcher, client, clock = table.client("w"), table.client("a"), table.client("clock")
    watcher.connect()
    subscribe(watcher)
    client.connect(clean_start=False, session_expiry_interval=1)
    clock.connect(session_expiry_interval=100, will=WillMessage(topic="t", payload=b"it is time", delay_interval=3))
    client.leave()
    clock.cut()
    watcher.hear_clock()
    client.connect(clean_start=False)


@dialogue("5.0")
def a_session_that_outlives_its_expiry_while_connected(table: Table) -> None:
    """The time counts from the end of the connection."""
    watcher, client, clock = table.client("w"), table.client("a"), table.client("clock")
    watcher.connect()
    subscribe(watcher)
    client.connect(clean_start=False, session_expiry_interval=1)
    subscribe(client, "other")
    clock.connect(session_expiry_interval=100, will=WillMessage(topic="t", payload=b"it is time", delay_interval=3))
    clock.cut()
    watcher.hear_clock()
    watcher.say(Publish(topic="other", payload=b"still there"))


@dialogue()
def take_over(table: Table) -> None:
    """The older connection goes; the session and its subscription stay."""
    old, new, other = table.client("a"), table.client("a again"), table.client("b")
    old.connect(**FOREVER)
    subscribe(old)
    new.connect(client_id="a", **FOREVER)
    old.hear_end()
    other.connect()
    other.say(Publish(topic="t", payload=b"1"))


@dialogue()
def take_over_with_a_clean_start(table: Table) -> None:
    """The session goes as well."""
    old, new, other = table.client("a"), table.client("a again"), table.client("b")
    old.connect(**FOREVER)
    subscribe(old)
    new.connect(client_id="a", clean_start=True)
    old.hear_end()
    other.connect()
    other.say(Publish(topic="t", payload=b"1"))


@dialogue()
def take_over_within_an_exchange(table: Table) -> None:
    """What the older connection had not acknowledged comes again."""
    old, new, other = table.client("a"), table.client("a again"), table.client("b")
    old.connect(**FOREVER)
    subscribe(old)
    other.connect()
    other.say(Publish(topic="t", payload=b"1", qos=1, packet_id=1))
    new.connect(client_id="a", **FOREVER)
    old.hear_end()


@dialogue()
def take_over_with_a_will(table: Table) -> None:
    """Of a session that goes on: 3.1.1 publishes the will; so does MQTT 5, where it has no delay."""
    (watcher,) = table.connected("w")
    subscribe(watcher)
    old, new = table.client("a"), table.client("a again")
    old.connect(will=WillMessage(topic="t", payload=b"lost"), **FOREVER)
    new.connect(client_id="a", **FOREVER)
    old.hear_end()


@dialogue()
def take_over_with_a_will_and_a_clean_start(table: Table) -> None:
    """The session ends, and so the will is published."""
    (watcher,) = table.connected("w")
    subscribe(watcher)
    old, new = table.client("a"), table.client("a again")
    old.connect(will=WillMessage(topic="t", payload=b"lost"), **FOREVER)
    new.connect(client_id="a", clean_start=True)
    old.hear_end()


@dialogue()
def a_session_in_the_other_version(table: Table) -> None:
    """Whether a session is there for a client that has changed its version is left open."""
    client, other = away(table)
    other.say(Publish(topic="t", payload=b"1", qos=1, packet_id=1, content_type="text"))
    again = table.client("a again", "3.1.1" if table.is_v5 else "5.0")
    again.connect(client_id=client.name, **FOREVER)


@dialogue()
def unfinished_messages_to_the_client(table: Table) -> None:
    """On resuming they come again: PUBLISH with DUP, or only PUBREL, under the ids they had."""
    client, other = away(table)
    client.connect(**FOREVER)
    other.say(Publish(topic="t", payload=b"1", qos=1, packet_id=1))
    other.say(Publish(topic="t", payload=b"2", qos=2, packet_id=2), PubRel(packet_id=2))
    other.say(Publish(topic="t", payload=b"3", qos=2, packet_id=3), PubRel(packet_id=3))
    client.settle_message(2, PubRec)
    client.cut()
    client.connect(**FOREVER)
    client.settle_message(0, PubAck)
    client.settle_message(1, PubRec)
    client.complete_message(1, PubComp)
    client.complete_message(2, PubComp)
    client.cut()
    client.connect(**FOREVER)


@dialogue()
def unfinished_messages_of_the_client(table: Table) -> None:
    """The broker remembers which QoS 2 messages it has taken, over the connections."""
    _, other = away(table)
    subscribe(other)
    client = table.client("c")
    client.connect(**FOREVER)
    client.say(Publish(topic="t", payload=b"1", qos=2, packet_id=7))
    client.cut()
    client.connect(**FOREVER)
    client.say(Publish(topic="t", payload=b"1", qos=2, packet_id=7, dup=True))
    client.say(PubRel(packet_id=7))
    client.say(Publish(topic="t", payload=b"2", qos=2, packet_id=7))
    client.say(PubRel(packet_id=7))


@dialogue()
def subscriptions_of_a_kept_session(table: Table) -> None:
    """Retained messages do not come again by resuming, only by subscribing."""
    (other,) = table.connected("b")
    other.say(Publish(topic="t", payload=b"kept", retain=True))
    client = table.client("a")
    client.connect(**FOREVER)
    subscribe(client)
    client.settle_message(0, PubAck)
    client.leave()
    client.connect(**FOREVER)
    subscribe(client)


@dialogue()
def packets_behind_disconnect(table: Table) -> None:
    """Nothing that comes after DISCONNECT counts."""
    watcher, client = table.connected("w", "a")
    subscribe(watcher)
    client.say(Disconnect(), Publish(topic="t", payload=b"too late"))
