"""What a peer has said it takes: Receive Maximum, Maximum Packet Size."""

from __future__ import annotations

from rmqtt.codec import (
    PingReq,
    PubAck,
    PubComp,
    Publish,
    PubRec,
    PubRel,
    Subscribe,
    SubscribeFilter,
    Unsubscribe,
    WillMessage,
)

from interop.dialogue import Table, dialogue, frame, text
from interop.dialogues.sessions import FOREVER, subscribe


@dialogue("5.0")
def receive_maximum_1_and_qos_1(table: Table) -> None:
    """One message at a time; everything else goes on."""
    (other,) = table.connected("b")
    client = table.client("a")
    client.connect(receive_maximum=1)
    subscribe(client)
    for number in (1, 2, 3):
        other.say(Publish(topic="t", payload=b"%d" % number, qos=1, packet_id=number))
    other.say(Publish(topic="t", payload=b"0"))
    client.say(PingReq(), Subscribe(packet_id=2, filters=[SubscribeFilter(filter="other")]))
    client.settle_message(0, PubAck)
    for index in (1, 2, 3):
        client.settle_message(index, PubAck)


@dialogue("5.0")
def receive_maximum_1_and_qos_2(table: Table) -> None:
    """Its place is free at PUBCOMP, not before."""
    (other,) = table.connected("b")
    client = table.client("a")
    client.connect(receive_maximum=1)
    subscribe(client)
    for number in (1, 2):
        other.say(Publish(topic="t", payload=b"%d" % number, qos=2, packet_id=number), PubRel(packet_id=number))
    client.settle_message(0, PubRec)
    client.complete_message(0, PubComp)
    client.settle_message(1, PubRec, reason_code=0x80)


@dialogue("5.0")
def a_negative_pubrec_frees_its_place(table: Table) -> None:
    """At once, without PUBCOMP."""
    (other,) = table.connected("b")
    client = table.client("a")
    client.connect(receive_maximum=1)
    subscribe(client)
    for number in (1, 2):
        other.say(Publish(topic="t", payload=b"%d" % number, qos=2, packet_id=number), PubRel(packet_id=number))
    client.settle_message(0, PubRec, reason_code=0x80)


@dialogue("5.0")
def receive_maximum_on_resuming(table: Table) -> None:
    """What is sent again takes places too, also with a smaller Receive Maximum than before."""
    (other,) = table.connected("b")
    client = table.client("a")
    client.connect(**FOREVER)
    subscribe(client)
    for number in (1, 2, 3):
        other.say(Publish(topic="t", payload=b"%d" % number, qos=1, packet_id=number))
    client.cut()
    client.connect(receive_maximum=2, **FOREVER)
    client.settle_message(0, PubAck)
    client.settle_message(1, PubAck)


@dialogue("5.0")
def more_messages_than_the_broker_takes(table: Table) -> None:
    """One more open exchange of QoS 2 than its Receive Maximum says."""
    (client,) = table.connected("a")
    assert client.connack is not None
    room = client.connack.receive_maximum or 65_535
    client.say(b"".join(frame(0x34, text("t"), number.to_bytes(2, "big"), b"\0") for number in range(1, room + 2)))


@dialogue("5.0")
def maximum_packet_size_of_the_client(table: Table) -> None:
    """A message of just that size comes; one byte more, and it counts as delivered."""
    (other,) = table.connected("b")
    client = table.client("a")
    client.connect(maximum_packet_size=40, receive_maximum=1)
    subscribe(client)
    # 2 bytes header, 2 + 1 topic, 2 packet id, 1 properties
    other.say(Publish(topic="t", payload=b"x" * 33, qos=1, packet_id=1))
    other.say(Publish(topic="t", payload=b"x" * 32, qos=1, packet_id=2))
    other.say(Publish(topic="t", payload=b"y" * 33, qos=0))
    other.say(Publish(topic="t", payload=b"z" * 34, qos=0))
    client.settle_message(0, PubAck)
    other.say(Publish(topic="t", payload=b"small", qos=1, packet_id=3))


@dialogue("5.0")
def maximum_packet_size_of_the_client_with_properties(table: Table) -> None:
    """They count, and are not left out to make it fit."""
    (other,) = table.connected("b")
    client = table.client("a")
    client.connect(maximum_packet_size=40)
    subscribe(client, qos=0)
    other.say(Publish(topic="t", payload=b"1", user_properties=[("name", "x" * 100)]))
    other.say(Publish(topic="t", payload=b"2", content_type="x" * 100))
    other.say(Publish(topic="t", payload=b"3", user_properties=[("n", "v")]))


@dialogue("5.0")
def maximum_packet_size_and_answers(table: Table) -> None:
    """A SUBACK that is too large cannot be sent, and there is no rule what to do instead."""
    client = table.client("a")
    client.connect(maximum_packet_size=20)
    client.say(Subscribe(packet_id=1, filters=[SubscribeFilter(filter=f"{n}") for n in range(30)]))


@dialogue("5.0")
def a_maximum_packet_size_with_no_room_for_connack(table: Table) -> None:
    """The smallest CONNACK has five bytes."""
    for size in (1, 4, 5, 10):
        client = table.client(f"a{size}")
        client.connect(maximum_packet_size=size)


@dialogue("5.0")
def a_retained_message_too_large_for_a_client(table: Table) -> None:
    """Is left out when it subscribes."""
    (other,) = table.connected("b")
    other.say(Publish(topic="t/1", payload=b"x" * 100, retain=True), Publish(topic="t/2", payload=b"2", retain=True))
    client = table.client("a")
    client.connect(maximum_packet_size=40)
    subscribe(client, "t/#")


@dialogue()
def a_packet_larger_than_the_broker_takes(table: Table) -> None:
    """Both are told to take two million bytes; the length alone says it."""
    (client,) = table.connected("a")
    client.say(bytes.fromhex("30 80 89 7a 00 01 74"))


@dialogue()
def a_large_packet_that_the_broker_takes(table: Table) -> None:
    """Nearly as large as allowed."""
    watcher, client = table.connected("w", "a")
    subscribe(watcher, qos=0)
    client.write(Publish(topic="t", payload=bytes(1_999_000)))
    watcher.hear_messages(1)


@dialogue()
def a_large_connect(table: Table) -> None:
    """A will and a password of the largest size."""
    client = table.client("a")
    client.connect(username="u", password=bytes(65_535), will=WillMessage(topic="t", payload=bytes(65_535)))


@dialogue()
def unsubscribing_within_an_exchange(table: Table) -> None:
    """What has begun is completed."""
    client, other = table.connected("a", "b")
    subscribe(client)
    other.say(Publish(topic="t", payload=b"1", qos=2, packet_id=1), PubRel(packet_id=1))
    client.say(Unsubscribe(packet_id=2, filters=["t"]))
    client.settle_message(0, PubRec)
    client.complete_message(0, PubComp)
