"""What MQTT 5 lets a broker say to its clients, and what a client may ask and say, through the public face."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
import rmqtt
from loops import on_every_loop
from rmqtt import ConnAck, Disconnect, Packet, PubAck, Publish, ReasonCode, SubAck, Subscribe, UnsubAck, Unsubscribe
from told_broker import ToldBroker, told

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

GUARD = 10.0
WORDS: dict[str, Any] = {"reason_string": "so it is", "user_properties": [("a", "1"), ("a", "0")]}
AT_ONCE = rmqtt.Reconnect(initial=0.01, max=0.02, factor=1, jitter="none")


def with_words(error: Any) -> bool:
    """Whether the broker's words and pairs are there, in order; an exception also shows the words."""
    is_shown = not isinstance(error, Exception) or "so it is" in str(error)
    return is_shown and (error.reason_string, error.user_properties) == ("so it is", (("a", "1"), ("a", "0")))


async def listening(client: rmqtt.Client) -> tuple[AsyncIterator[rmqtt.Event], asyncio.Future[rmqtt.Event]]:
    """Listen from now on; the second is the first event."""
    events = client.events()
    first = asyncio.ensure_future(anext(events))
    await asyncio.sleep(0)
    return events, first


@on_every_loop
async def test_what_the_broker_lacks_is_an_error_of_its_own_and_nothing_is_sent() -> None:
    lacking = ConnAck(
        maximum_qos=1,
        retain_available=False,
        wildcard_subscription_available=False,
        shared_subscription_available=False,
        subscription_identifiers_available=False,
        maximum_packet_size=100,
    )
    async with told(lacking) as (broker, url), rmqtt.Client(url) as client:
        with pytest.raises(rmqtt.NotSupportedByBroker, match="QoS 2"):
            await client.publish("a", qos=2)
        with pytest.raises(rmqtt.NotSupportedByBroker, match="retained"):
            await client.publish("a", retain=True)
        with pytest.raises(rmqtt.PacketTooLarge):
            await client.publish("a", bytes(100))
        for wild in ("a/+", "#"):
            with pytest.raises(rmqtt.NotSupportedByBroker, match="wildcard"):
                await client.subscribe(wild)
        with pytest.raises(rmqtt.NotSupportedByBroker, match="shared"):
            await client.subscribe("$share/g/a")
        await client.subscribe("a")
        asked = broker.heard
        assert [type(packet) for packet in asked] == [Subscribe]
        assert isinstance(asked[0], Subscribe)
        assert asked[0].subscription_identifier is None
        granted = client.negotiated
        assert (granted.maximum_qos, granted.retain_available, granted.maximum_packet_size) == (1, False, 100)


@on_every_loop
async def test_what_waited_for_a_broker_that_came_back_with_less_is_told_so() -> None:
    def answer(packet: Packet) -> Packet | None:
        return None if isinstance(packet, Publish) else ToldBroker.consent(packet)

    smaller = ConnAck(session_present=True, maximum_packet_size=60)
    async with told(ConnAck(), smaller, answer=answer) as (broker, url):
        options: dict[str, Any] = {"clean_start": False, "session_expiry": 60}
        async with rmqtt.Client(url, reconnect=AT_ONCE, **options) as client:
            large = asyncio.ensure_future(client.publish("a", bytes(100), qos=1))
            async with asyncio.timeout(GUARD):
                while not broker.heard:
                    await asyncio.sleep(0)
                broker.cut()
                with pytest.raises(rmqtt.PacketTooLarge):
                    await large
            assert client.stats().connects == 2


@on_every_loop
async def test_a_subscription_that_the_next_connection_cannot_have_fails_with_its_reason() -> None:
    async with (
        told(ConnAck(), ConnAck(wildcard_subscription_available=False)) as (broker, url),
        rmqtt.Client(url, reconnect=AT_ONCE) as client,
    ):
        wild, plain = await client.subscribe("a/#"), await client.subscribe("b")
        broker.cut()
        with pytest.raises(rmqtt.NotSupportedByBroker):
            await wild.get(timeout=GUARD)
        async with asyncio.timeout(GUARD):
            while len(broker.of(Subscribe)) < 3:
                await asyncio.sleep(0)
        broker.say(Publish(topic="b", payload=b"1"))
        assert (await plain.get(timeout=GUARD)).payload == b"1"


@on_every_loop
async def test_the_words_of_every_answer_are_told() -> None:
    def answer(packet: Packet) -> Packet | None:
        match packet:
            case Publish(packet_id=int(packet_id)):
                return PubAck(packet_id=packet_id, reason_code=ReasonCode(0x97 if packet.payload else 0), **WORDS)
            case Subscribe():
                code = ReasonCode(0x87 if packet.filters[0].filter == "no" else 0)
                return SubAck(packet_id=packet.packet_id, reason_codes=[code], **WORDS)
            case Unsubscribe():
                code = ReasonCode(0x87 if packet.filters[0] == "stuck" else 0x11)
                return UnsubAck(packet_id=packet.packet_id, reason_codes=[code], **WORDS)
        return ToldBroker.consent(packet)

    async with told(ConnAck(**WORDS), answer=answer) as (broker, url), rmqtt.Client(url) as client:
        assert with_words(client.negotiated)
        assert with_words(await client.publish("a", qos=1))
        with pytest.raises(rmqtt.PublishRefused) as refused:
            await client.publish("a", b"x", qos=1)
        assert with_words(refused.value)
        assert refused.value.reason_code is ReasonCode.QUOTA_EXCEEDED
        with pytest.raises(rmqtt.SubscribeRefused) as unsubscribed:
            await client.subscribe("no")
        assert with_words(unsubscribed.value)
        assert unsubscribed.value.results == {"no": ReasonCode.NOT_AUTHORIZED}
        granted = await client.subscribe("a")
        assert with_words(granted)
        left = await granted.close(user_properties=[("why", "done"), ("why", "so")])
        assert with_words(left)
        assert left.results == {"a": ReasonCode.NO_SUBSCRIPTION_EXISTED}
        told_so = broker.of(Unsubscribe)[-1]
        assert isinstance(told_so, Unsubscribe)
        assert told_so.user_properties == (("why", "done"), ("why", "so"))
        stuck = await client.subscribe("stuck")
        with pytest.raises(rmqtt.UnsubscribeRefused) as kept:
            await client.unsubscribe(stuck)
        assert with_words(kept.value)


@on_every_loop
async def test_a_broker_that_sends_its_clients_elsewhere_is_heard() -> None:
    for code, is_permanent in ((0x9D, True), (0x9C, False)):
        refusal = ConnAck(reason_code=ReasonCode(code), server_reference="other.example:1884", **WORDS)
        async with told(refusal) as (_, url):
            client = rmqtt.Client(url)
            _, first = await listening(client)
            with pytest.raises(rmqtt.ConnectRefused) as refused:
                await client.connect()
            assert refused.value.server_reference == "other.example:1884"
            assert refused.value.terminal is is_permanent
            assert with_words(refused.value)
            elsewhere = rmqtt.ServerRedirect(permanent=is_permanent, server_reference="other.example:1884")
            assert await asyncio.wait_for(first, GUARD) == elsewhere
        async with told() as (broker, url):
            client = rmqtt.Client(url, reconnect=AT_ONCE)
            await client.connect()
            events, first = await listening(client)
            broker.say(Disconnect(reason_code=ReasonCode(code), server_reference="other.example:1884", **WORDS))
            assert await asyncio.wait_for(first, GUARD) == elsewhere
            gone = await asyncio.wait_for(anext(events), GUARD)
            assert isinstance(gone, rmqtt.Disconnected)
            assert isinstance(gone.error, rmqtt.ServerDisconnected)
            assert gone.error.server_reference == "other.example:1884"
            assert with_words(gone.error)
            # Left alone for the longest delay, and for good where it has moved.
            assert gone.retry_in == (None if is_permanent else AT_ONCE.max)
            if not is_permanent:
                assert isinstance(await asyncio.wait_for(anext(events), GUARD), rmqtt.Connected)
            await client.close()


@on_every_loop
async def test_information_is_asked_for_and_asked_to_be_left_out() -> None:
    async with told(ConnAck(response_information="answers/7")) as (broker, url):
        async with rmqtt.Client(url) as client:
            pass
        asking: dict[str, Any] = {"request_response_information": True, "request_problem_information": False}
        async with rmqtt.Client(url, **asking) as client:
            assert client.negotiated.response_information == "answers/7"
        usual, asked = broker.connects
        assert (usual.request_response_information, usual.request_problem_information) == (None, None)
        assert (asked.request_response_information, asked.request_problem_information) == (True, False)


@on_every_loop
async def test_a_goodbye_can_say_why_and_for_how_long_to_keep_the_session(broker: rmqtt.Broker) -> None:
    async with told() as (old, url):
        client = rmqtt.Client(url, session_expiry=60)
        await client.connect()
        await client.close(reason_code=0x98, session_expiry=3600, **WORDS)
        (goodbye,) = old.of(Disconnect)
        assert isinstance(goodbye, Disconnect)
        assert (goodbye.reason_code, goodbye.session_expiry_interval) == (0x98, 3600)
        assert with_words(goodbye)
    client = rmqtt.Client(broker.url, client_id="kept", session_expiry=60)
    await client.connect()
    await client.close(session_expiry=0)
    assert "kept" not in broker.sessions
    client = rmqtt.Client(broker.url)
    await client.connect()
    cases: list[dict[str, Any]] = [{"session_expiry": 1}, {"reason_code": 0x8B}, {"reason_code": 1}]
    for impossible in cases:
        with pytest.raises(ValueError, match="cannot"):
            await client.close(**impossible)
    assert client.stats().connected
    await client.close()


@on_every_loop
async def test_topics_that_come_again_are_sent_as_numbers_both_ways(broker: rmqtt.Broker) -> None:
    topic = "plant/7/line/3/" + "temperature" * 10
    sizes = []
    for maximum in (0, 64):
        async with (
            rmqtt.Client(broker.url, topic_alias_max=maximum) as client,
            client.subscribe("plant/#", qos=1) as readings,
        ):
            for number in range(50):
                await client.publish(topic, str(number), qos=1)
                assert (await readings.get(timeout=GUARD)).topic == topic
            sizes.append((client.stats().bytes_sent, client.stats().bytes_received))
    (plain_out, plain_in), (out, came_in) = sizes
    assert plain_out - out > 45 * 100
    assert plain_in - came_in > 45 * 100


@on_every_loop
async def test_all_that_belongs_to_a_message_arrives_in_order(broker: rmqtt.Broker) -> None:
    async with rmqtt.Client(broker.url) as client, client.subscribe("a", "a/#", qos=1) as messages:
        pairs = [("b", "1"), ("a", "2"), ("b", "1")]
        await client.publish(
            "a",
            "21.5",
            qos=1,
            expiry=60,
            content_type="text/plain",
            response_topic="answers",
            correlation=b"\0\xff",
            user_properties=pairs,
        )
        message = await messages.get(timeout=GUARD)
        expected = rmqtt.Properties(
            payload_is_utf8=True,
            expiry=message.properties.expiry,
            content_type="text/plain",
            response_topic="answers",
            correlation=b"\0\xff",
            user_properties=tuple(pairs),
        )
        assert message.properties == expected
        assert message.properties.expiry in range(50, 61)


@on_every_loop
async def test_text_that_is_none_is_handed_on_and_found_out_by_decoding() -> None:
    async with told() as (broker, url), rmqtt.Client(url) as client:
        messages = await client.subscribe("a")
        broker.say(Publish(topic="a", payload=b"\xc3\x28", payload_format_indicator=True))
        message = await messages.get(timeout=GUARD)
        assert message.properties.payload_is_utf8
        with pytest.raises(UnicodeDecodeError):
            message.text()


@on_every_loop
async def test_a_will_that_the_broker_does_not_take_is_a_refusal_for_good() -> None:
    will = rmqtt.Will(topic="gone", retain=True, delay=5, user_properties=[("a", "1")])
    async with told(ConnAck(reason_code=ReasonCode.RETAIN_NOT_SUPPORTED)) as (broker, url):
        client = rmqtt.Client(url, will=will, reconnect=rmqtt.Reconnect(retry_first=True))
        with pytest.raises(rmqtt.ConnectRefused) as refused:
            await client.connect()
        assert refused.value.terminal
        assert broker.connects[0].will is not None
        assert broker.connects[0].will.delay_interval == 5
