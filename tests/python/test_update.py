"""`Subscription.update`: other filters for a subscription that goes on."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any

import pytest
import rmqtt
from loops import on_every_loop, until
from rmqtt import ReasonCode, SubAck, Subscribe, Unsubscribe
from told_broker import ToldBroker, told

if TYPE_CHECKING:
    from rmqtt import Packet

GUARD = 10
AGAIN = rmqtt.Reconnect(initial=0.01, jitter="none")


class Answering:
    """Consents, but refuses some filters, and holds back the answers to some kinds of packets."""

    def __init__(self, *refused: str, hold: tuple[type[Packet], ...] = ()) -> None:
        self.refused = refused
        self.hold = hold

    def __call__(self, packet: Packet) -> Packet | None:
        if isinstance(packet, self.hold):
            return None
        answer = ToldBroker.consent(packet)
        if isinstance(answer, SubAck) and isinstance(packet, Subscribe):
            codes = [
                ReasonCode.NOT_AUTHORIZED if it.filter in self.refused else ReasonCode(it.qos) for it in packet.filters
            ]
            return SubAck(packet_id=packet.packet_id, reason_codes=codes)
        return answer


def asked(broker: ToldBroker) -> list[tuple[str, ...]]:
    """What was subscribed to (+) and unsubscribed from (-), packet by packet."""
    found = []
    for packet in broker.heard:
        if isinstance(packet, Subscribe):
            found.append(tuple(f"+{it.filter}" for it in packet.filters))
        if isinstance(packet, Unsubscribe):
            found.append(tuple(f"-{it}" for it in packet.filters))
    return found


def publish(broker: ToldBroker, topic: str, *identifiers: int) -> None:
    broker.say(rmqtt.Publish(topic=topic, payload=b"", subscription_identifiers=identifiers))


@pytest.mark.parametrize("version", ["5.0", "3.1.1"])
@on_every_loop
async def test_what_is_new_comes_and_what_is_left_does_not(version: Any, broker: rmqtt.Broker) -> None:
    async with (
        rmqtt.Client(broker.url, version=version, client_id="me") as client,
        client.subscribe("a", "b", qos=1) as messages,
    ):
        await messages.update("b", "c")
        assert (messages.filters, messages.granted) == (("b", "c"), {"b": 1, "c": 1})
        assert set(broker.sessions["me"].subscriptions) == {"b", "c"}
        for topic in ("a", "b", "c"):
            await broker.publish(topic, b"", qos=1)
        assert [(await messages.get(timeout=GUARD)).topic for _ in range(2)] == ["b", "c"]
        assert messages.pending == 0


async def test_a_filter_that_stays_is_not_touched() -> None:
    async with told() as (broker, url), rmqtt.Client(url) as client, client.subscribe("a", "b") as messages:
        await messages.update("b", "c")
        await messages.update("c", "b")
        await messages.update("b")
        assert asked(broker) == [("+a", "+b"), ("+c",), ("-a",), ("-c",)]
        identifiers = {packet.subscription_identifier for packet in broker.heard if isinstance(packet, Subscribe)}
        assert len(identifiers) == 1


async def test_nothing_of_a_filter_in_both_is_lost_or_doubled_while_it_is_updated(broker: rmqtt.Broker) -> None:
    async with rmqtt.Client(broker.url) as client, client.subscribe("kept/#", "0", qos=1, maxsize=5000) as messages:

        async def update() -> None:
            for n in range(50):
                await messages.update("kept/#", str(n))

        async def send() -> None:
            for n in range(1000):
                await broker.publish("kept/a", str(n), qos=1)
                await asyncio.sleep(0)

        await asyncio.gather(update(), send())
        received = [int((await messages.get(timeout=GUARD)).text()) for _ in range(1000)]
        assert received == list(range(1000))
        assert messages.pending == 0


@pytest.mark.parametrize("identifiers", [(), (1,)])
async def test_old_and_new_come_into_the_same_queue_while_it_is_under_way(identifiers: tuple[int, ...]) -> None:
    answer = Answering()
    async with told(answer=answer) as (broker, url), rmqtt.Client(url) as client, client.subscribe("old") as messages:
        answer.hold = (Subscribe, Unsubscribe)
        updating = asyncio.ensure_future(messages.update("new"))
        await until(lambda: len(asked(broker)) == 2)
        for step in range(2):
            publish(broker, "old", *identifiers)
            publish(broker, "new", *identifiers)
            assert [(await messages.get(timeout=GUARD)).topic for _ in range(2)] == ["old", "new"]
            assert messages.filters == ("old",)
            consent = ToldBroker.consent(broker.heard[-1])
            assert consent is not None
            broker.say(consent)
            if step == 0:
                await until(lambda: len(asked(broker)) == 3)
        await updating
        answer.hold = ()
        publish(broker, "old", *identifiers)
        publish(broker, "new", *identifiers)
        assert (await messages.get(timeout=GUARD)).topic == "new"
        assert messages.filters == ("new",)


@pytest.mark.parametrize("stays", ["a", "b"])
async def test_what_is_refused_leaves_all_as_it_was(stays: str) -> None:
    answer = Answering("no")
    async with (
        told(answer=answer) as (broker, url),
        rmqtt.Client(url) as client,
        client.subscribe("a", "b", qos=1) as messages,
    ):
        with pytest.raises(rmqtt.SubscribeRefused) as refused:
            await messages.update(stays, "yes", "no", qos=2)
        assert refused.value.results == {"no": ReasonCode.NOT_AUTHORIZED}
        assert (messages.filters, messages.granted) == (("a", "b"), {"a": 1, "b": 1})
        # What was granted is given back, and what was changed is asked for as it was.
        await until(lambda: len(asked(broker)) == 4)
        assert asked(broker)[1:] == [(f"+{stays}", "+yes", "+no"), ("-yes",), (f"+{stays}",)]
        last: Any = broker.heard[-1]
        assert last.filters[0].qos == 1
        publish(broker, "yes")
        publish(broker, "a")
        assert (await messages.get(timeout=GUARD)).topic == "a"


async def test_options_alone_may_change(broker: rmqtt.Broker) -> None:
    async with rmqtt.Client(broker.url, client_id="me") as client, client.subscribe("a", "b") as messages:
        await messages.update("a", "b", qos=2)
        assert broker.sessions["me"].subscriptions == {"a": 2, "b": 2}
        await messages.update("a", "c")
        assert messages.granted == {"a": 2, "c": 2}


async def test_a_wait_that_is_cancelled_stops_nothing_and_the_next_update_comes_behind_it() -> None:
    answer = Answering()
    async with told(answer=answer) as (broker, url), rmqtt.Client(url) as client, client.subscribe("a") as messages:
        answer.hold = (Subscribe,)
        first = asyncio.ensure_future(messages.update("b"))
        await until(lambda: len(asked(broker)) == 2)
        first.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await first
        second = asyncio.ensure_future(messages.update("c"))
        answer.hold = ()
        consent = ToldBroker.consent(broker.heard[-1])
        assert consent is not None
        broker.say(consent)
        await second
        assert asked(broker)[1:] == [("+b",), ("-a",), ("+c",), ("-b",)]
        assert messages.filters == ("c",)


@pytest.mark.parametrize("session_present", [False, True])
@pytest.mark.parametrize("held", [Subscribe, Unsubscribe])
async def test_a_cut_in_the_middle_changes_nothing_but_the_connection(held: Any, session_present: bool) -> None:
    answer = Answering()
    connacks = (rmqtt.ConnAck(), rmqtt.ConnAck(session_present=session_present))
    options: Any = {"reconnect": AGAIN, "session_expiry": 60}
    async with (
        told(*connacks, answer=answer) as (broker, url),
        rmqtt.Client(url, **options) as client,
        client.subscribe("both", "old") as messages,
    ):
        answer.hold = (held,)
        updating = asyncio.ensure_future(messages.update("both", "new"))
        await until(lambda: isinstance(broker.heard[-1], held))
        answer.hold = ()
        before = len(broker.heard)
        broker.cut()
        await updating
        await until(lambda: len(broker.connects) == 2 and client.stats().connected)
        await client.publish("settled", qos=1)
        assert messages.filters == ("both", "new")
        del broker.heard[:before]
        known = {"both", "old", "new"} if session_present else set()
        if session_present and held is Subscribe:
            known.discard("new")
        for packet in asked(broker):
            for text in packet:
                (known.add if text[0] == "+" else known.discard)(text[1:])
        assert known == {"both", "new"}
        publish(broker, "old")
        publish(broker, "new")
        publish(broker, "both")
        assert [(await messages.get(timeout=GUARD)).topic for _ in range(2)] == ["new", "both"]


@pytest.mark.parametrize("held", [Subscribe, Unsubscribe])
async def test_the_end_of_a_subscription_in_the_middle_leaves_all_its_filters(held: Any) -> None:
    answer = Answering()
    async with told(answer=answer) as (broker, url), rmqtt.Client(url) as client:
        messages = await client.subscribe("both", "old")
        answer.hold = (held,)
        updating = asyncio.ensure_future(messages.update("both", "new"))
        await until(lambda: isinstance(broker.heard[-1], held))
        answer.hold = ()
        await messages.close()
        with pytest.raises(rmqtt.Closed):
            await updating
        left = {text[1:] for text in asked(broker)[-1]}
        assert left == {"both", "old", "new"}


async def test_a_filter_that_another_subscription_has_is_left_to_it(broker: rmqtt.Broker) -> None:
    async with (
        rmqtt.Client(broker.url, client_id="me") as client,
        client.subscribe("shared", "own") as one,
        client.subscribe("shared") as other,
    ):
        await one.update("own")
        await broker.publish("shared", b"1")
        await broker.publish("own", b"2")
        assert (await other.get(timeout=GUARD)).topic == "shared"
        assert (await one.get(timeout=GUARD)).topic == "own"
        assert (one.pending, other.pending) == (0, 0)
        await one.update("own", "shared")
        await broker.publish("shared", b"3")
        assert [(await each.get(timeout=GUARD)).payload for each in (one, other)] == [b"3", b"3"]


async def test_an_unsubscribe_that_is_refused_is_told_and_the_new_filters_hold() -> None:
    def answer(packet: Packet) -> Packet | None:
        if isinstance(packet, Unsubscribe) and "old" in packet.filters:
            return rmqtt.UnsubAck(packet_id=packet.packet_id, reason_codes=[ReasonCode.NOT_AUTHORIZED])
        return ToldBroker.consent(packet)

    async with told(answer=answer) as (broker, url), rmqtt.Client(url) as client, client.subscribe("old") as messages:
        with pytest.raises(rmqtt.UnsubscribeRefused):
            await messages.update("new")
        assert (messages.filters, messages.granted) == (("new",), {"new": 0})
        publish(broker, "old")
        publish(broker, "new")
        assert (await messages.get(timeout=GUARD)).topic == "new"


async def test_templates_of_an_update_name_their_levels(broker: rmqtt.Broker) -> None:
    async with rmqtt.Client(broker.url) as client, client.subscribe("plant/{site}/a", qos=1) as messages:
        await broker.publish("plant/1/a", b"", qos=1)
        await messages.update("plant/{hall}/b", "plain")
        for topic in ("plant/2/b", "plain"):
            await broker.publish(topic, b"", qos=1)
        params = [dict((await messages.get(timeout=GUARD)).params) for _ in range(3)]
        assert params[1:] == [{"hall": "2"}, {}]
        assert messages.filters == ("plant/{hall}/b", "plain")


async def test_bad_arguments_are_refused_before_anything_is_sent(broker: rmqtt.Broker) -> None:
    nothing: Any = 7
    async with rmqtt.Client(broker.url) as client:
        with pytest.raises(RuntimeError, match="not subscribed yet"):
            await client.subscribe("a").update("b")
        async with client.subscribe("a") as messages:
            for wrong, error in (((), ValueError), (("a/#/b",), rmqtt.TopicError), ((nothing,), TypeError)):
                with pytest.raises(error):
                    await messages.update(*wrong)
            with pytest.raises(ValueError, match="qos"):
                await messages.update("b", qos=nothing)
            assert messages.filters == ("a",)
    with pytest.raises(rmqtt.Closed):
        await messages.update("b")


def test_the_blocking_twin_does_the_same(broker: rmqtt.Broker) -> None:
    with rmqtt.SyncClient(broker.url, client_id="me") as client, client.subscribe("a", "b") as messages:
        messages.update("b", "c", qos=1, timeout=GUARD)
        assert broker.sessions["me"].subscriptions == {"b": 1, "c": 1}
        client.publish("c", b"1", qos=1)
        assert messages.get(timeout=GUARD).topic == "c"
        with pytest.raises(rmqtt.TopicError):
            messages.update("a/#/b")


async def test_the_blocking_twin_may_wait_for_so_long_only() -> None:
    answer = Answering()
    async with told(answer=answer) as (_, url):

        def work() -> None:
            with rmqtt.SyncClient(url) as client:
                messages = client.subscribe("a")
                answer.hold = (Subscribe,)
                with pytest.raises(rmqtt.MqttTimeout):
                    messages.update("b", timeout=0.01)
                assert messages.filters == ("a",)
                answer.hold = ()
                messages.close(timeout=GUARD)

        await asyncio.to_thread(work)
