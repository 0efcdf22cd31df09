"""Acknowledgements from the client: unknown, repeated, out of order, negative, of the wrong kind."""

from __future__ import annotations

from rmqtt import QoS, ReasonCode
from rmqtt.codec import PubAck, PubComp, Publish, PubRec, PubRel

from interop.dialogue import Table, Talker, dialogue
from interop.dialogues.sessions import FOREVER, subscribe


def served(table: Table, *qos: int) -> tuple[Talker, Talker]:
    """A client that has got messages of these QoS."""
    client, other = table.client("a"), table.client("b")
    client.connect(**FOREVER)
    subscribe(client)
    other.connect()
    for number, each in enumerate(qos, 1):
        packet_id = number if each else None
        other.say(Publish(topic="t", payload=b"%d" % number, qos=QoS(each), packet_id=packet_id))
        if each == 2:
            other.say(PubRel(packet_id=number))
    return client, other


@dialogue()
def the_whole_of_qos_2(table: Table) -> None:
    """As it should be."""
    client, _ = served(table, 2)
    client.settle_message(0, PubRec)
    client.complete_message(0, PubComp)
    client.leave()
    client.connect(**FOREVER)


@dialogue()
def puback_of_an_unknown_id(table: Table) -> None:
    """There is no rule for it."""
    client, other = served(table)
    client.say(PubAck(packet_id=99))
    other.say(Publish(topic="t", payload=b"afterwards"))


@dialogue()
def pubrec_of_an_unknown_id(table: Table) -> None:
    """MQTT 5 has a code for it."""
    client, other = served(table)
    client.say(PubRec(packet_id=99))
    other.say(Publish(topic="t", payload=b"afterwards"))


@dialogue()
def pubrel_of_an_unknown_id(table: Table) -> None:
    """Answered all the same, so that the sender can go on."""
    client, _ = served(table)
    client.say(PubRel(packet_id=99))
    client.say(PubRel(packet_id=99))


@dialogue()
def pubcomp_of_an_unknown_id(table: Table) -> None:
    """There is no rule for it."""
    client, other = served(table)
    client.say(PubComp(packet_id=99))
    other.say(Publish(topic="t", payload=b"afterwards"))


@dialogue()
def pubacks_out_of_order(table: Table) -> None:
    """Each message is settled by its own."""
    client, _ = served(table, 1, 1, 1)
    for index in (2, 0, 1):
        client.settle_message(index, PubAck)
    client.cut()
    client.connect(**FOREVER)


@dialogue()
def puback_twice(table: Table) -> None:
    """The second one is for nothing."""
    client, other = served(table, 1)
    client.settle_message(0, PubAck)
    client.settle_message(0, PubAck)
    other.say(Publish(topic="t", payload=b"afterwards"))


@dialogue()
def pubrec_twice(table: Table) -> None:
    """PUBREL again."""
    client, _ = served(table, 2)
    client.settle_message(0, PubRec)
    client.settle_message(0, PubRec)
    client.complete_message(0, PubComp)
    client.complete_message(0, PubComp)


@dialogue()
def pubcomp_before_pubrec(table: Table) -> None:
    """A step is left out."""
    client, other = served(table, 2)
    client.complete_message(0, PubComp)
    other.say(Publish(topic="t", payload=b"afterwards"))
    client.cut()
    client.connect(**FOREVER)


@dialogue()
def puback_for_a_qos_2(table: Table) -> None:
    """The wrong kind of answer."""
    client, other = served(table, 2)
    client.settle_message(0, PubAck)
    other.say(Publish(topic="t", payload=b"afterwards"))
    client.cut()
    client.connect(**FOREVER)


@dialogue()
def pubrec_for_a_qos_1(table: Table) -> None:
    """The wrong kind of answer."""
    client, other = served(table, 1)
    client.settle_message(0, PubRec)
    other.say(Publish(topic="t", payload=b"afterwards"))
    client.cut()
    client.connect(**FOREVER)


@dialogue("5.0")
def a_negative_puback(table: Table) -> None:
    """Settles the message."""
    client, _ = served(table, 1)
    client.settle_message(0, PubAck, reason_code=0x87)
    client.cut()
    client.connect(**FOREVER)


@dialogue("5.0")
def a_negative_pubrec(table: Table) -> None:
    """Settles the message, without PUBREL."""
    client, _ = served(table, 2)
    client.settle_message(0, PubRec, reason_code=0x87)
    client.cut()
    client.connect(**FOREVER)


@dialogue("5.0")
def a_pubrec_that_says_no_subscribers(table: Table) -> None:
    """Is a success."""
    client, _ = served(table, 2)
    client.settle_message(0, PubRec, reason_code=0x10)


@dialogue("5.0")
def a_pubcomp_that_says_not_found(table: Table) -> None:
    """Ends the exchange."""
    client, _ = served(table, 2)
    client.settle_message(0, PubRec)
    client.complete_message(0, PubComp, reason_code=0x92)
    client.cut()
    client.connect(**FOREVER)


@dialogue("5.0")
def a_pubrel_that_says_not_found(table: Table) -> None:
    """Of an exchange that is there, from the client."""
    _, other = served(table)
    other.say(Publish(topic="t", payload=b"1", qos=2, packet_id=1))
    other.say(PubRel(packet_id=1, reason_code=ReasonCode(0x92)))
    other.say(Publish(topic="t", payload=b"2", qos=2, packet_id=1))
    other.say(PubRel(packet_id=1))


@dialogue("5.0")
def acknowledgements_with_reason_and_user_properties(table: Table) -> None:
    """They are for the broker to log."""
    client, _ = served(table, 1, 2)
    extra = {"reason_string": "as you like", "user_properties": [("a", "1"), ("a", "2")]}
    client.settle_message(0, PubAck, **extra)
    client.settle_message(1, PubRec, **extra)
    client.complete_message(1, PubComp, **extra)


@dialogue()
def nothing_is_sent_again_while_connected(table: Table) -> None:
    """However many other messages come and go."""
    client, other = served(table, 1, 2)
    other.say(*(Publish(topic="t", payload=b"more", qos=1, packet_id=n) for n in (7, 8, 9)))
    client.settle_message(3, PubAck)
