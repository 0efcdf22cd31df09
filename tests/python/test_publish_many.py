"""`publish_many`: order, window, errors, cancellation, progress."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
import rmqtt
from held_broker import PUBLISH, HeldBroker
from loops import on_every_loop, until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator


def payloads(broker: HeldBroker) -> list[int]:
    """Return what a broker was sent, in its order."""
    return [int(published.payload) for published in broker.published]


def numbers(count: int) -> Iterator[tuple[str, bytes]]:
    """Yield so many messages."""
    return (("a", str(n).encode()) for n in range(count))


@pytest.mark.parametrize("qos", [0, 1, 2])
@on_every_loop
async def test_messages_arrive_in_their_order_and_all_are_counted(qos: rmqtt.QoS) -> None:
    with rmqtt.Broker("mqtt://127.0.0.1:0") as broker:
        async with (
            rmqtt.Client(broker.url) as client,
            client.subscribe("a", qos=qos, maxsize=10_000) as messages,
        ):
            result = await client.publish_many(numbers(3000), qos=qos, window=100)
            assert result == rmqtt.ManyResult(published=3000)
            received: list[rmqtt.Message] = []
            async with asyncio.timeout(30):
                while len(received) < 3000:
                    received += await messages.get_many()
    assert [int(message.payload) for message in received] == list(range(3000))


@on_every_loop
async def test_no_more_than_a_window_is_read_ahead() -> None:
    read = 0

    def count() -> Iterator[tuple[str, bytes]]:
        nonlocal read
        for item in numbers(50):
            read += 1
            yield item

    with HeldBroker() as broker:
        async with rmqtt.Client(broker.url) as client:
            publishing = asyncio.ensure_future(client.publish_many(count(), qos=1, window=8))
            await broker.saw(lambda broker: broker.held == 8)
            assert read == 8
            broker.release(4)
            await broker.saw(lambda broker: broker.held == 8)
            assert read == 12
            broker.release_from_now_on()
            assert (await publishing).published == 50
    assert payloads(broker) == list(range(50))


async def test_a_small_outbox_bounds_it_too_and_nothing_is_lost() -> None:
    with HeldBroker(hold=()) as broker:
        async with rmqtt.Client(broker.url, outbox=rmqtt.Outbox(max_messages=3)) as client:
            for qos in (0, 1):
                assert (await client.publish_many(numbers(500), qos=qos)).published == 500
            await client.drain(timeout=10)
        assert payloads(broker) == [*range(500), *range(500)]


async def test_it_does_not_overtake_those_who_wait_for_room() -> None:
    with HeldBroker() as broker:
        async with rmqtt.Client(broker.url, outbox=rmqtt.Outbox(max_messages=2)) as client:
            before = [asyncio.ensure_future(client.publish("a", str(n), qos=1)) for n in range(4)]
            publishing = asyncio.ensure_future(client.publish_many([("a", "4"), ("a", "5")], qos=1))
            await broker.saw(lambda broker: broker.held == 2)
            broker.release_from_now_on()
            await asyncio.gather(*before, publishing)
        assert payloads(broker) == list(range(6))


async def test_a_message_that_cannot_be_sent_does_not_stop_the_others() -> None:
    items: list[object] = [
        ("a", b"0"),
        ("a/#", b""),
        ("a", 7),
        ("a",),
        None,
        rmqtt.Outgoing("a", b"1", qos=1),
        ("", b""),
    ]
    with HeldBroker(hold=()) as broker:
        async with rmqtt.Client(broker.url) as client:
            result = await client.publish_many(items, qos=1)  # type: ignore[arg-type]
        assert payloads(broker) == [0, 1]
    assert (result.published, result.failed) == (2, 5)
    kinds = {place: type(error) for place, error in result.errors.items()}
    assert kinds == {1: rmqtt.TopicError, 2: TypeError, 3: TypeError, 4: TypeError, 6: rmqtt.TopicError}


async def test_what_the_broker_refuses_is_told_by_its_place() -> None:
    with HeldBroker() as broker:
        async with rmqtt.Client(broker.url) as client:
            publishing = asyncio.ensure_future(client.publish_many(numbers(5), qos=1))
            await broker.saw(lambda broker: broker.held == 5)
            broker.release(2)
            broker.refuse(0x97)
            result = await publishing
    assert (result.published, result.failed, list(result.errors)) == (2, 3, [2, 3, 4])
    assert all(isinstance(error, rmqtt.PublishRefused) for error in result.errors.values())


async def test_outgoing_messages_have_their_own_say(broker: rmqtt.Broker) -> None:
    outgoing = rmqtt.Outgoing(
        "kept", "21.5", qos=2, retain=True, content_type="text/plain", user_properties=[("unit", "°C")]
    )
    async with rmqtt.Client(broker.url) as client, client.subscribe("#", qos=2) as messages:
        await client.publish_many([outgoing, ("plain", "x")])
        first, second = await messages.get(timeout=10), await messages.get(timeout=10)
    assert (first.qos, first.properties.content_type, first.properties.user_properties) == (
        2,
        "text/plain",
        (("unit", "°C"),),
    )
    assert broker.retained["kept"].text() == "21.5"
    assert (second.topic, second.qos, second.properties.payload_is_utf8) == ("plain", 0, True)


@on_every_loop
async def test_an_async_iterable_is_sent_as_it_comes() -> None:
    gate = asyncio.Event()

    async def items() -> AsyncIterator[tuple[str, bytes]]:
        yield "a", b"0"
        await gate.wait()
        for n in range(1, 600):
            yield "a", str(n).encode()

    with HeldBroker(hold=()) as broker:
        async with rmqtt.Client(broker.url) as client:
            publishing = asyncio.ensure_future(client.publish_many(items(), qos=1))
            await broker.saw(lambda broker: len(broker.published) == 1)
            assert not publishing.done()
            gate.set()
            assert (await publishing).published == 600
        assert payloads(broker) == list(range(600))


@on_every_loop
async def test_an_iterable_that_raises_has_sent_what_it_gave_before() -> None:
    def items() -> Iterator[tuple[str, bytes]]:
        yield from numbers(3)
        raise LookupError("no more")

    with HeldBroker() as broker:
        async with rmqtt.Client(broker.url) as client:
            publishing = asyncio.ensure_future(client.publish_many(items(), qos=1))
            await broker.saw(lambda broker: broker.held == 3)
            assert not publishing.done()
            broker.release_from_now_on()
            with pytest.raises(LookupError, match="no more"):
                await publishing
            await client.drain(timeout=10)
            assert client.stats().acknowledged == 3


@on_every_loop
async def test_cancelling_takes_back_what_is_not_on_its_way() -> None:
    read = 0

    def items() -> Iterator[tuple[str, bytes]]:
        nonlocal read
        for item in numbers(1000):
            read += 1
            yield item

    with HeldBroker(receive_maximum=4) as broker:
        async with rmqtt.Client(broker.url) as client:
            publishing = asyncio.ensure_future(client.publish_many(items(), qos=1, window=50))
            await broker.saw(lambda broker: broker.held == 4)
            publishing.cancel()
            with pytest.raises(asyncio.CancelledError):
                await publishing
            assert read == 50
            broker.release_from_now_on()
            await client.drain(timeout=10)
            assert (await client.publish("a", b"4", qos=1)).reason_code == 0
        assert payloads(broker) == list(range(5))


async def test_progress_grows_to_the_number_of_messages_and_what_it_raises_is_raised() -> None:
    told: list[int] = []

    def stop(*_: object) -> None:
        raise KeyError("enough")

    with HeldBroker(hold=()) as broker:
        async with rmqtt.Client(broker.url) as client:
            await client.publish_many(numbers(1000), qos=1, window=10, progress=lambda done, _: told.append(done))
            with pytest.raises(KeyError, match="enough"):
                await client.publish_many(numbers(1000), qos=1, window=10, progress=stop)
    assert told == sorted(told)
    assert (told[-1], len(told) > 10) == (1000, True)


async def test_other_tasks_have_their_turns_meanwhile() -> None:
    turns = 0

    async def count() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    with HeldBroker(hold=()) as broker:
        async with rmqtt.Client(broker.url, outbox=rmqtt.Outbox(max_messages=100_000)) as client:
            counting = asyncio.ensure_future(count())
            await client.publish_many(numbers(10_000))
            counting.cancel()
    assert turns > 30  # one for each 256 messages


async def test_a_client_that_is_closed_meanwhile_ends_it() -> None:
    def endless() -> Iterator[tuple[str, bytes]]:
        while True:
            yield "a", b"0"

    with HeldBroker(hold=(PUBLISH,)) as broker:
        async with rmqtt.Client(broker.url) as client:
            publishing = asyncio.ensure_future(client.publish_many(endless(), qos=1, window=5))
            await broker.saw(lambda broker: broker.held == 5)
            await client.abort()
            with pytest.raises(rmqtt.Closed):
                await asyncio.wait_for(publishing, 10)


async def test_a_window_of_none_is_refused() -> None:
    with HeldBroker() as broker:
        async with rmqtt.Client(broker.url) as client:
            with pytest.raises(ValueError, match="window"):
                await client.publish_many([], window=0)
            assert await client.publish_many([]) == rmqtt.ManyResult(published=0)
        with pytest.raises(rmqtt.Closed):
            await client.publish_many([("a", b"")])


async def test_several_of_them_share_a_client() -> None:
    with HeldBroker(hold=()) as broker:
        async with rmqtt.Client(broker.url) as client:
            several = [client.publish_many(numbers(500), qos=1, window=7) for _ in range(5)]
            results = await asyncio.gather(*several)
            assert [result.published for result in results] == [500] * 5
            await until(lambda: client.stats().in_flight == 0)
        assert len(broker.published) == 2500
