"""What the client promises: about giving up, leaving, order, overlap, back-pressure, reconnecting, fairness, threads, and
handlers that raise. Each promise in every way there is.

More of it stands elsewhere: `keep=True` in `test_keep`, reconnecting in `test_reconnect`, a loop that is busy in
`test_bridge_loops`, processes in `test_bridge_processes` and `test_faces`, hooks of a broker in `test_auth_hooks`, the log
in `test_logging`; random mixtures of it all in `make chaos`.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import random
import threading
from typing import TYPE_CHECKING, Any, TypeAlias

import pytest
import rmqtt
from held_broker import CONNECT, GUARD, SUBSCRIBE, UNSUBSCRIBE, HeldBroker, held_client
from loops import on_every_loop, until
from told_broker import ToldBroker, told

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

GiveUp: TypeAlias = "Callable[[Awaitable[Any]], Awaitable[None]]"
SESSION: dict[str, Any] = {"client_id": "worker", "clean_start": False, "session_expiry": 60}


# ---- ways to give up ----------------------------------------------------------------------------


async def by_cancelling(waiting: Awaitable[Any]) -> None:
    """Cancel the task."""
    task = asyncio.ensure_future(waiting)
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def by_timeout(waiting: Awaitable[Any]) -> None:
    """Wait inside `asyncio.timeout`, which runs out in the next turn."""
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(None) as limit:
            asyncio.get_running_loop().call_soon(limit.reschedule, 0)
            await waiting


async def by_wait_for(waiting: Awaitable[Any]) -> None:
    """Wait by `asyncio.wait_for`."""
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(waiting, 0.001)


async def by_a_gather(waiting: Awaitable[Any]) -> None:
    """Cancel a gather of it and another wait."""
    gathered = asyncio.gather(waiting, asyncio.Event().wait())
    await asyncio.sleep(0)
    gathered.cancel()
    with pytest.raises(asyncio.CancelledError):
        await gathered


async def by_a_sibling(waiting: Awaitable[Any]) -> None:
    """Have another task of the group fail."""

    async def wait() -> None:
        await waiting

    async def fail() -> None:
        await asyncio.sleep(0)
        raise ZeroDivisionError

    with pytest.raises(ExceptionGroup):
        async with asyncio.TaskGroup() as group:
            group.create_task(wait())
            group.create_task(fail())


WAYS = [by_cancelling, by_timeout, by_wait_for, by_a_gather, by_a_sibling]


# ---- what is given up, and what must hold -------------------------------------------------------


async def a_publish_that_waits_for_room_is_withdrawn(give_up: GiveUp) -> None:
    with HeldBroker() as broker:
        async with rmqtt.Client(broker.url, outbox=rmqtt.Outbox(max_messages=1)) as client:
            first = client.publish("a", b"1", qos=1)
            await give_up(client.publish("a", b"2", qos=1))
            last = client.publish("a", b"3", qos=1)
            broker.release_from_now_on()
            await asyncio.gather(first, last)
        assert [published.payload for published in broker.published] == [b"1", b"3"]


async def a_publish_that_waits_for_the_window_is_withdrawn(give_up: GiveUp) -> None:
    async with held_client(receive_maximum=1) as (broker, client):
        first = client.publish("a", b"1", qos=1)
        await broker.saw(lambda broker: broker.held == 1)
        receipt = client.publish_nowait("a", b"2", qos=1)
        await give_up(receipt)
        assert receipt.state == "withdrawn"
        last = client.publish("a", b"3", qos=1)
        broker.release_from_now_on()
        await asyncio.gather(first, last)
        assert [published.payload for published in broker.published] == [b"1", b"3"]


async def a_publish_on_its_way_is_finished(give_up: GiveUp) -> None:
    async with held_client(receive_maximum=1) as (broker, client):
        receipt = client.publish_nowait("a", b"1", qos=2)
        await broker.saw(lambda broker: broker.held == 1)
        await give_up(receipt)
        assert receipt.state == "sent"
        # The window of one opens when the exchange is complete, and not before.
        following = client.publish("a", b"2", qos=2)
        broker.release_from_now_on()
        await following
        assert [published.payload for published in broker.published] == [b"1", b"2"]
        # Counted at the end of a batch, which may be after those who wait were told.
        await until(lambda: client.stats().in_flight == 0)


async def a_publish_of_many_takes_back_what_is_not_on_its_way(give_up: GiveUp) -> None:
    async with held_client(receive_maximum=2) as (broker, client):
        many = client.publish_many((("a", str(n)) for n in range(100)), qos=1)
        task = asyncio.ensure_future(many)
        await broker.saw(lambda broker: broker.held == 2)
        await give_up(task)
        last = client.publish("a", b"100", qos=1)
        broker.release_from_now_on()
        await last
        assert [int(published.payload) for published in broker.published] == [0, 1, 100]


async def a_drain_changes_nothing(give_up: GiveUp) -> None:
    async with held_client() as (broker, client):
        waiting = client.publish("a", b"1", qos=1)
        await broker.saw(lambda broker: broker.held == 1)
        await give_up(client.drain())
        broker.release_from_now_on()
        await waiting
        await client.drain()


async def takes_no_message(give_up: GiveUp, wait: Callable[[rmqtt.Subscription], Awaitable[Any]]) -> None:
    with rmqtt.Broker("mqtt://127.0.0.1:0") as broker:
        async with rmqtt.Client(broker.url, **SESSION) as client, client.subscribe("a", qos=1) as messages:
            for n in range(3):
                await give_up(wait(messages))
                await broker.publish("a", str(n), qos=1)
                assert (await messages.get(timeout=GUARD)).text() == str(n)


async def a_get_takes_no_message(give_up: GiveUp) -> None:
    await takes_no_message(give_up, lambda messages: messages.get())


async def an_anext_takes_no_message(give_up: GiveUp) -> None:
    await takes_no_message(give_up, lambda messages: anext(aiter(messages)))


async def a_get_of_many_takes_no_message(give_up: GiveUp) -> None:
    await takes_no_message(give_up, lambda messages: messages.get_many(5))


async def a_subscribe_is_taken_back(give_up: GiveUp) -> None:
    async with held_client(hold=(SUBSCRIBE,)) as (broker, client):
        # Held to the end, as is the client below: garbage collection would tidy up as well.
        messages = client.subscribe("a", qos=1)
        task = asyncio.ensure_future(messages.__aenter__())
        await broker.saw(lambda broker: broker.held == 1)
        await give_up(task)
        broker.release_from_now_on()
        await broker.saw(lambda broker: UNSUBSCRIBE in broker.packets)
        assert messages.pending == 0
        await client.publish("a", qos=1)


async def an_update_is_finished(give_up: GiveUp) -> None:
    async with held_client(hold=()) as (broker, client), client.subscribe("old") as messages:
        broker.hold_from_now_on(SUBSCRIBE)
        task = asyncio.ensure_future(messages.update("new"))
        await broker.saw(lambda broker: broker.held == 1)
        await give_up(task)
        assert messages.filters == ("old",)
        broker.release_from_now_on()
        await broker.saw(lambda broker: UNSUBSCRIBE in broker.packets)
        await until(lambda: messages.filters == ("new",))


async def a_connect_leaves_no_connection(give_up: GiveUp) -> None:
    with HeldBroker(hold=(CONNECT,)) as broker:
        client = rmqtt.Client(broker.url)
        task = asyncio.ensure_future(client.__aenter__())
        await broker.saw(lambda broker: broker.held == 1)
        await give_up(task)
        await broker.saw(lambda broker: broker.disconnected == 1)
        assert not client.stats().connected


async def a_close_still_closes(give_up: GiveUp) -> None:
    with HeldBroker() as broker:
        client = rmqtt.Client(broker.url)
        await client.connect()
        waiting = asyncio.ensure_future(client.publish("a", b"1", qos=1))
        await broker.saw(lambda broker: broker.held == 1)
        await give_up(client.close(timeout=0.2))
        with pytest.raises(rmqtt.Closed):
            await asyncio.wait_for(waiting, GUARD)
        await broker.saw(lambda broker: broker.disconnected == 1)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(
    "promise",
    [
        a_publish_that_waits_for_room_is_withdrawn,
        a_publish_that_waits_for_the_window_is_withdrawn,
        a_publish_on_its_way_is_finished,
        a_publish_of_many_takes_back_what_is_not_on_its_way,
        a_drain_changes_nothing,
        a_get_takes_no_message,
        an_anext_takes_no_message,
        a_get_of_many_takes_no_message,
        a_subscribe_is_taken_back,
        an_update_is_finished,
        a_connect_leaves_no_connection,
        a_close_still_closes,
    ],
)
def test_what_is_given_up_does_what_is_promised(promise: Callable[[GiveUp], Any], way: GiveUp) -> None:
    async def main() -> None:
        async with asyncio.timeout(GUARD):
            await promise(way)

    asyncio.run(main())


# ---- leaving ------------------------------------------------------------------------------------


@pytest.mark.parametrize("qos", [1, 2])
@pytest.mark.parametrize("leaves_by", ["break", "exception", "cancel"])
def test_a_loop_that_is_left_keeps_its_message_only_when_something_went_wrong(
    leaves_by: str, qos: Any, broker: rmqtt.Broker
) -> None:
    async def leave(messages: rmqtt.Subscription) -> None:
        async with messages:
            await broker.publish("a", b"1", qos=qos)
            async for _ in messages:
                if leaves_by == "break":
                    break
                if leaves_by == "exception":
                    raise ZeroDivisionError
                me = asyncio.current_task()
                assert me is not None
                me.cancel()
                await asyncio.sleep(0)

    async def main() -> None:
        async with rmqtt.Client(broker.url, **SESSION) as client:
            (end,) = await asyncio.gather(leave(client.subscribe("a", qos=qos)), return_exceptions=True)
            assert (
                type(end)
                is {"break": type(None), "exception": ZeroDivisionError, "cancel": asyncio.CancelledError}[leaves_by]
            )
            assert broker.sessions["worker"].subscriptions == {}
        kept = broker.sessions["worker"]
        assert kept.queued_messages + kept.in_flight == (leaves_by != "break")

    asyncio.run(main())


@on_every_loop
async def test_a_deliberate_end_ends_every_loop_without_an_error(broker: rmqtt.Broker) -> None:
    async def count(messages: rmqtt.Subscription) -> int:
        return len([message async for message in messages])

    client = rmqtt.Client(broker.url)
    await client.connect()
    messages = [await client.subscribe("a"), await client.subscribe("b")]
    loops = [asyncio.ensure_future(count(one)) for one in messages for _ in range(3)]
    await asyncio.sleep(0)
    await messages[0].close()
    await client.close()
    assert await asyncio.wait_for(asyncio.gather(*loops), GUARD) == [0] * 6


# ---- order, overlap, back-pressure --------------------------------------------------------------


@pytest.mark.parametrize("seed", range(3))
@on_every_loop
async def test_acknowledgements_leave_in_the_order_of_arrival_whatever_the_order_of_the_application(
    seed: int,
) -> None:
    async with (
        told() as (broker, url),
        rmqtt.Client(url) as client,
        client.subscribe("a", qos=1, ack="manual") as messages,
    ):
        for n in range(1, 11):
            broker.say(rmqtt.Publish(topic="a", payload=b"", qos=1, packet_id=n))
        held = [await messages.get(timeout=GUARD) for _ in range(10)]
        random.Random(seed).shuffle(held)
        for message in held:
            message.ack()
        await until(lambda: len(broker.of(rmqtt.PubAck)) == 10)
        acks = [packet.packet_id for packet in broker.of(rmqtt.PubAck) if isinstance(packet, rmqtt.PubAck)]
        assert acks == list(range(1, 11))


@on_every_loop
async def test_a_message_is_refused_with_its_reason_or_not_at_all() -> None:
    code = rmqtt.ReasonCode
    failures = [0x80, 0x83, code.NOT_AUTHORIZED, 0x90, 0x91, 0x97, code.PAYLOAD_FORMAT_INVALID]
    async with (
        told() as (broker, url),
        rmqtt.Client(url) as client,
        client.subscribe("a", qos=2, ack="manual") as messages,
    ):
        for n in range(1, 1 + len(failures)):
            broker.say(rmqtt.Publish(topic="a", payload=b"", qos=2 if n % 2 else 1, packet_id=n))
        for reason in failures:
            message = await messages.get(timeout=GUARD)
            for nonsense in (0, 0x10, 0x81, 0x8E, 0x92, 0xFF):
                with pytest.raises(ValueError, match=r"reason code|not with nack"):
                    message.nack(nonsense)
            for nonsense in (1, 0x11, 0x18, 0x80):
                with pytest.raises(ValueError, match=r"reason code|not with ack"):
                    message.ack(nonsense)
            message.nack(reason)
        await until(lambda: len(broker.of(rmqtt.PubAck)) + len(broker.of(rmqtt.PubRec)) == len(failures))
        answers = [packet for packet in broker.heard if isinstance(packet, rmqtt.PubAck | rmqtt.PubRec)]
        assert [answer.packet_id for answer in answers] == list(range(1, 1 + len(failures)))
        assert [answer.reason_code for answer in answers] == failures


@on_every_loop
async def test_a_message_for_two_subscriptions_is_acknowledged_when_both_are_done(broker: rmqtt.Broker) -> None:
    async with (
        rmqtt.Client(broker.url, version="3.1.1", client_id="worker") as client,
        client.subscribe("a/#", qos=1, ack="manual") as wide,
        client.subscribe("a/b", qos=1, ack="manual") as narrow,
    ):
        await broker.publish("a/b", b"1", qos=1)
        first, second = await wide.get(timeout=GUARD), await narrow.get(timeout=GUARD)
        owed = broker.sessions["worker"].in_flight
        first.ack()
        await client.publish("b", qos=1)
        assert broker.sessions["worker"].in_flight == owed
        second.ack()
        for messages in (wide, narrow):
            while (more := messages.get_nowait()) is not None:
                more.ack()
        await until(lambda: broker.sessions["worker"].in_flight == 0)


@pytest.mark.parametrize("qos", [1, 2])
@on_every_loop
async def test_a_subscription_that_nobody_reads_holds_up_no_other_within_the_window(
    qos: Any, broker: rmqtt.Broker
) -> None:
    async with (
        asyncio.timeout(GUARD),
        rmqtt.Client(broker.url, receive_maximum=20) as client,
        client.subscribe("slow", qos=qos, maxsize=2, ack="received") as slow,
        client.subscribe("fast", qos=qos, maxsize=2, ack="received") as fast,
    ):
        for n in range(10):
            await broker.publish("slow", str(n), qos=qos)
        # Eight are parked, and hold back the acknowledgements behind them: there is room for twelve more.
        for n in range(12):
            await broker.publish("fast", str(n), qos=qos)
            assert (await fast.get()).text() == str(n)
        assert [(await slow.get()).text() for _ in range(10)] == list("0123456789")


# ---- reconnecting -------------------------------------------------------------------------------

AGAIN = rmqtt.Reconnect(initial=0.01, factor=1, jitter="none")
TERMINAL = [0x84, 0x85, 0x86, 0x87, 0x8A, 0x8C, 0x90, 0x95, 0x99, 0x9A, 0x9B, 0x9D]
PASSING = [0x80, 0x83, 0x88, 0x89, 0x97, 0x9F]


@pytest.mark.parametrize("code", TERMINAL, ids=hex)
async def test_what_a_broker_says_for_good_ends_the_client_and_every_wait_with_its_reason(code: int) -> None:
    refused = rmqtt.ConnAck(reason_code=rmqtt.ReasonCode(code))
    version: Any = "5.0"
    async with told(rmqtt.ConnAck(), refused, answer=lambda _: None) as (broker, url):
        client = rmqtt.Client(url, reconnect=AGAIN, version=version)
        await client.connect()
        subscribing = asyncio.ensure_future(client.subscribe("a").__aenter__())
        waiting = [
            subscribing,
            asyncio.ensure_future(client.publish("a", qos=1)),
            asyncio.ensure_future(client.drain()),
            asyncio.ensure_future(client.publish_many([("a", b"")] * 10, qos=1)),
        ]
        await until(lambda: len(broker.heard) >= 12)
        broker.cut()
        ends = await asyncio.wait_for(asyncio.gather(*waiting, return_exceptions=True), GUARD)
        many: Any = ends[3]
        for end in (*ends[:3], *many.errors.values()):
            assert isinstance(end, rmqtt.ConnectRefused)
            assert end.reason_code == code
        assert len(broker.connects) == 2
        with pytest.raises(rmqtt.ConnectRefused):
            await client.wait_connected(timeout=GUARD)
        await client.close()


@pytest.mark.parametrize("code", PASSING, ids=hex)
async def test_what_a_broker_says_for_now_is_tried_again(code: int) -> None:
    refused = rmqtt.ConnAck(reason_code=rmqtt.ReasonCode(code))
    async with (
        told(rmqtt.ConnAck(), refused, refused, rmqtt.ConnAck()) as (broker, url),
        rmqtt.Client(url, reconnect=AGAIN, version="5.0") as client,
    ):
        broker.cut()
        await until(lambda: len(broker.connects) == 4 and client.stats().connected)
        await asyncio.wait_for(client.publish("a", qos=1), GUARD)


@pytest.mark.parametrize("session_present", [False, True])
async def test_what_was_not_acknowledged_is_sent_again_in_its_order_with_its_ids_if_the_session_is_there(
    session_present: bool,
) -> None:
    is_back = False

    def answer(packet: rmqtt.Packet) -> rmqtt.Packet | None:
        return ToldBroker.consent(packet) if is_back else None

    connacks = (rmqtt.ConnAck(), rmqtt.ConnAck(session_present=session_present))
    async with (
        told(*connacks, answer=answer) as (broker, url),
        rmqtt.Client(url, reconnect=AGAIN, session_expiry=60) as client,
    ):
        waiting = asyncio.gather(*(client.publish("a", str(n), qos=1) for n in range(20)))
        await until(lambda: len(broker.heard) == 20)
        is_back = True
        broker.cut()
        await asyncio.wait_for(waiting, GUARD)
        sent: list[Any] = broker.of(rmqtt.Publish)
        first, again = sent[:20], sent[20:]
        assert [it.payload for it in again] == [it.payload for it in first]
        assert {it.dup for it in again} == {session_present}
        if session_present:
            assert [it.packet_id for it in again] == [it.packet_id for it in first]


# ---- fairness -----------------------------------------------------------------------------------


async def by_loop(messages: rmqtt.Subscription, take: Callable[[], None]) -> None:
    async for _ in messages:
        take()


async def by_get(messages: rmqtt.Subscription, take: Callable[[], None]) -> None:
    while True:
        await messages.get()
        take()


async def by_get_with_a_timeout(messages: rmqtt.Subscription, take: Callable[[], None]) -> None:
    while True:
        await messages.get(timeout=GUARD)
        take()


@pytest.mark.parametrize("way", [by_loop, by_get, by_get_with_a_timeout])
@on_every_loop
async def test_a_full_queue_gives_others_a_turn_after_256_messages(way: Any, broker: rmqtt.Broker) -> None:
    count, taken, at_turns = 3000, 0, [0]
    async with rmqtt.Client(broker.url) as client, client.subscribe("a", maxsize=count) as messages:
        for _ in range(count):
            broker.publish_now("a")
        await until(lambda: messages.pending == count)

        def take() -> None:
            nonlocal taken
            taken += 1

        taking = asyncio.ensure_future(way(messages, take))
        while taken < count:
            at_turns.append(taken)
            await asyncio.sleep(0)
        taking.cancel()
        await asyncio.gather(taking, return_exceptions=True)
        assert max(after - before for before, after in itertools.pairwise([*at_turns, taken])) <= 257


# ---- threads ------------------------------------------------------------------------------------


@on_every_loop
async def test_acknowledgements_may_come_from_any_thread_and_leave_in_order(broker: rmqtt.Broker) -> None:
    count = 100
    async with (
        rmqtt.Client(broker.url, client_id="worker") as client,
        client.subscribe("a", qos=1, ack="manual") as messages,
    ):
        for n in range(count):
            broker.publish_now("a", str(n), qos=1)
        held = [await messages.get(timeout=GUARD) for _ in range(count)]

        def work(part: int) -> None:
            for message in held[part::4]:
                message.ack()

        await asyncio.gather(*(asyncio.to_thread(work, part) for part in range(4)))
        await until(lambda: broker.sessions["worker"].in_flight == 0)


def test_one_blocking_client_serves_many_threads_at_once(broker: rmqtt.Broker) -> None:
    received: list[str] = []
    with rmqtt.SyncClient(broker.url) as client, client.subscribe("a/#", qos=1, maxsize=5000) as messages:

        def send(name: int) -> None:
            for n in range(50):
                client.publish(f"a/{name}", str(n), qos=1, timeout=GUARD)

        def take() -> None:
            received.extend(message.topic for message in itertools.islice(messages.messages(timeout=GUARD), 100))

        threads = [threading.Thread(target=send, args=(name,)) for name in range(4)]
        threads += [threading.Thread(target=take) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(GUARD)
            assert not thread.is_alive()
    assert {name: received.count(f"a/{name}") for name in range(4)} == dict.fromkeys(range(4), 50)


# ---- handlers that raise ------------------------------------------------------------------------


@on_every_loop
async def test_a_handler_that_raises_disturbs_nobody_and_is_logged_once_each(
    broker: rmqtt.Broker, caplog: pytest.LogCaptureFixture
) -> None:
    async def fail(_: rmqtt.Message) -> bytes:
        raise ZeroDivisionError("on purpose")

    async with (
        rmqtt.Client(broker.url, keep_alive=1) as client,
        client.subscribe("others", qos=1) as others,
        client.respond("fail", fail) as responder,
    ):
        events = client.events()
        for n in range(10):
            with pytest.raises(rmqtt.RequestFailed):
                await client.request("fail", timeout=GUARD)
            await client.publish("others", str(n), qos=1)
            assert (await others.get(timeout=GUARD)).text() == str(n)
        assert responder.failed == 10
        for _ in range(10):
            assert isinstance(await asyncio.wait_for(anext(events), GUARD), rmqtt.HandlerFailed)
        assert client.stats().connects == 1
    failures = [it for it in caplog.records if it.exc_info and it.exc_info[0] is ZeroDivisionError]
    assert [(it.name, it.levelno) for it in failures] == [("rmqtt.client", logging.ERROR)] * 10
