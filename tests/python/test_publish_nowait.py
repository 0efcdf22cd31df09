"""`publish_nowait`: never waits, and its receipt tells where the message is."""

from __future__ import annotations

import asyncio
import gc

import pytest
import rmqtt
from held_broker import HeldBroker
from loops import on_every_loop, until


async def test_with_qos_0_the_message_is_done_and_leaves_in_order() -> None:
    with HeldBroker() as broker:
        async with rmqtt.Client(broker.url) as client:
            receipts = [client.publish_nowait("a", str(n).encode()) for n in range(100)]
            assert {receipt.state for receipt in receipts} == {"done"}
            assert (await receipts[0]).reason_code == 0
            await client.drain(timeout=10)
            await broker.saw(lambda broker: len(broker.published) == 100)
        assert [int(message.payload) for message in broker.published] == list(range(100))


@on_every_loop
async def test_a_receipt_goes_from_queued_to_sent_to_done() -> None:
    with HeldBroker(receive_maximum=1) as broker:
        async with rmqtt.Client(broker.url) as client:
            first, second = (client.publish_nowait("a", b"x", qos=1) for _ in range(2))
            await until(lambda: first.state == "sent")
            assert second.state == "queued"
            assert not second.done()
            with pytest.raises(asyncio.InvalidStateError):
                second.result()
            broker.release_from_now_on()
            assert (await first).reason_code == 0
            await second
            assert (first.state, second.state, second.done()) == ("done", "done", True)
            assert second.result() == first.result()


@on_every_loop
async def test_a_queued_message_whose_receipt_is_cancelled_is_withdrawn() -> None:
    with HeldBroker(receive_maximum=1) as broker:
        async with rmqtt.Client(broker.url) as client:
            first, second = (client.publish_nowait("a", str(n), qos=1) for n in range(2))
            await until(lambda: first.state == "sent")
            assert second.cancel()
            assert (second.state, second.done(), second.cancel()) == ("withdrawn", True, False)
            with pytest.raises(asyncio.CancelledError):
                second.result()
            broker.release_from_now_on()
            await first
            await client.drain(timeout=10)
        assert [message.payload for message in broker.published] == [b"0"]


@on_every_loop
async def test_a_message_on_its_way_stays_sent_when_the_wait_for_it_is_cancelled() -> None:
    with HeldBroker() as broker:
        async with rmqtt.Client(broker.url) as client:
            receipt = client.publish_nowait("a", b"x", qos=1)

            waits = asyncio.Event()

            async def wait() -> None:
                waits.set()
                await receipt

            waiting = asyncio.ensure_future(wait())
            await waits.wait()
            await until(lambda: receipt.state == "sent")
            waiting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await waiting
            assert (receipt.state, receipt.done()) == ("sent", True)
            broker.release_from_now_on()
            await client.drain(timeout=10)
            assert client.stats().acknowledged == 1
            assert receipt.state == "sent"


async def test_a_refused_message_has_failed_and_the_receipt_says_why() -> None:
    with HeldBroker() as broker:
        async with rmqtt.Client(broker.url) as client:
            receipt = client.publish_nowait("a", b"x", qos=1)
            await broker.saw(lambda broker: broker.held == 1)
            broker.refuse(0x97)
            with pytest.raises(rmqtt.PublishRefused):
                await receipt
            assert receipt.state == "failed"
            with pytest.raises(rmqtt.PublishRefused):
                receipt.result()


async def test_a_failure_that_nobody_looked_at_is_told_to_the_loop() -> None:
    told: list[BaseException] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: told.append(context["exception"]))
    with HeldBroker() as broker:
        async with rmqtt.Client(broker.url) as client:
            client.publish_nowait("a", b"x", qos=1)
            await broker.saw(lambda broker: broker.held == 1)
            broker.refuse(0x97)
            await until(lambda: client.stats().acknowledged == 1)
            gc.collect()
            await until(lambda: bool(told))
    assert isinstance(told[0], rmqtt.PublishRefused)


async def test_a_full_outbox_is_told_by_messages_and_nothing_is_sent_of_what_was_refused() -> None:
    with HeldBroker() as broker:
        async with rmqtt.Client(broker.url, outbox=rmqtt.Outbox(max_messages=4)) as client:
            receipts = [client.publish_nowait("a", str(n), qos=1) for n in range(4)]
            for qos in (0, 1, 2):
                with pytest.raises(rmqtt.QueueFull):
                    client.publish_nowait("a", b"one too many", qos=qos)
            broker.release_from_now_on()
            await asyncio.gather(*receipts)
            await client.publish_nowait("a", b"4", qos=1)
        assert [message.payload for message in broker.published] == [b"0", b"1", b"2", b"3", b"4"]


async def test_a_full_outbox_is_told_by_bytes() -> None:
    with HeldBroker() as broker:
        async with rmqtt.Client(broker.url, outbox=rmqtt.Outbox(max_bytes=10_000)) as client:
            receipt = client.publish_nowait("a", bytes(6_000), qos=1)
            with pytest.raises(rmqtt.QueueFull):
                client.publish_nowait("a", bytes(6_000), qos=1)
            client.publish_nowait("a", bytes(1_000))
            broker.release_from_now_on()
            await receipt


async def test_nobody_overtakes_those_who_wait_for_room() -> None:
    with HeldBroker() as broker:
        async with rmqtt.Client(broker.url, outbox=rmqtt.Outbox(max_messages=2)) as client:
            publishes = [asyncio.ensure_future(client.publish("a", str(n), qos=1)) for n in range(3)]
            with pytest.raises(rmqtt.QueueFull):
                client.publish_nowait("a", b"late", qos=1)
            broker.release_from_now_on()
            await asyncio.gather(*publishes)


async def test_what_cannot_be_published_is_raised_at_once() -> None:
    with HeldBroker() as broker:
        client = rmqtt.Client(broker.url)
        with pytest.raises(rmqtt.NotConnected):
            client.publish_nowait("a")
        async with client:
            with pytest.raises(rmqtt.TopicError):
                client.publish_nowait("a/#")
            with pytest.raises(TypeError):
                client.publish_nowait("a", 1)  # type: ignore[arg-type]
        with pytest.raises(rmqtt.Closed):
            client.publish_nowait("a")


async def test_properties_and_a_time_limit_are_taken() -> None:
    with HeldBroker() as broker:
        async with rmqtt.Client(broker.url) as client:
            receipt = client.publish_nowait("a", b"x", qos=1, content_type="text/plain", timeout=0.01)
            with pytest.raises(rmqtt.MqttTimeout):
                await receipt
            assert receipt.state == "failed"
            broker.release_from_now_on()


async def test_a_publish_from_a_thread_without_a_loop_does_not_wait_for_the_loops_turn() -> None:
    with HeldBroker() as broker:
        async with rmqtt.Client(broker.url) as client:
            client.publish_nowait("a", b"0")

            def publish_and_see() -> None:
                for n in range(1, 10):
                    client.publish_nowait("a", str(n).encode())
                    broker.wait_for(lambda broker, n=n: len(broker.published) > n)  # type: ignore[misc]

            await asyncio.to_thread(publish_and_see)
