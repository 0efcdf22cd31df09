"""`Subscription.latest` looks and takes nothing; what is handed out shares what it can."""

from __future__ import annotations

import rmqtt
from held_broker import HeldBroker
from loops import until


async def test_the_newest_message_is_shown_and_goes_on_waiting() -> None:
    with HeldBroker() as broker:
        async with rmqtt.Client(broker.url) as client, client.subscribe("a") as messages:
            assert messages.latest() is None
            broker.send("a", b"1")
            broker.send("a", b"2")
            await until(lambda: messages.pending == 2)
            newest = messages.latest()
            assert newest is not None
            assert (newest.payload, messages.pending) == (b"2", 2)
            newest.ack()
            assert [message.payload for message in await messages.get_many()] == [b"1", b"2"]
            assert messages.latest() is None


async def test_messages_of_many_topics_have_names_of_their_own() -> None:
    with HeldBroker() as broker:
        async with rmqtt.Client(broker.url) as client, client.subscribe("#") as messages:
            for n in range(1000):
                broker.send(f"plant/{n % 500}", b"")
            await until(lambda: messages.pending == 1000)
            received = await messages.get_many()
    assert [message.topic for message in received] == [f"plant/{n % 500}" for n in range(1000)]


async def test_a_topic_that_comes_again_is_the_same_object() -> None:
    with HeldBroker() as broker:
        async with rmqtt.Client(broker.url) as client, client.subscribe("#") as messages:
            for _ in range(2):
                broker.send("plant/7", b"")
                broker.send("x" * 300, b"")
            first, long, again, long_again = [await messages.get(timeout=10) for _ in range(4)]
    assert first.topic is again.topic
    assert long.topic == long_again.topic == "x" * 300
