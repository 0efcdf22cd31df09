"""What a broker routed, seen from inside: no subscription, no race, and words that help."""

from __future__ import annotations

import asyncio
import threading

import pytest
import rmqtt
from held_broker import GUARD
from raw_peer import RawPeer
from rmqtt import testing


async def test_what_is_acknowledged_is_captured(broker: rmqtt.Broker) -> None:
    async with rmqtt.Client(broker.url, client_id="pump") as client:
        with broker.capture() as capture:
            for qos in (1, 2):
                for number in range(100):
                    await client.publish("a", str(number), qos=qos)
                    assert capture.messages[-1].payload == str(number).encode()
            assert len(capture) == 200
            assert {captured.publisher for captured in capture.captured} == {"pump"}


async def test_qos_0_is_captured_when_it_is_routed(broker: rmqtt.Broker) -> None:
    async with rmqtt.Client(broker.url) as client, client.subscribe("a") as received:
        capture = broker.capture()
        await client.publish("a", b"1")
        await received.get(GUARD)
        assert capture.records == [("a", b"1")]


def test_messages_are_as_they_were_published(broker: rmqtt.Broker) -> None:
    capture = broker.capture()
    capture.publish("a", "x", qos=2, retain=True)
    broker.publish_now("b", b"", content_type="text/plain")
    first, second = capture
    assert (first.topic, first.text(), first.qos, first.retain) == ("a", "x", 2, True)
    assert second.properties.content_type == "text/plain"
    assert [captured.publisher for captured in capture.captured] == [None, None]


async def test_a_will_is_captured_without_a_publisher(broker: rmqtt.Broker) -> None:
    capture = broker.capture()
    will = rmqtt.Will(topic="gone", payload=b"pump")
    client = rmqtt.Client(broker.url, client_id="pump", will=will, reconnect=None)
    async with client:
        await client.abort()
    await capture.wait_for_async("gone")
    assert capture.captured[-1].publisher is None


def test_only_what_the_filter_matches_is_captured(broker: rmqtt.Broker) -> None:
    with broker.capture("plant/+/set") as capture:
        for topic in ("plant/1/set", "plant/1/get", "$SYS/x"):
            broker.publish_now(topic, b"")
        assert [topic for topic, _ in capture.records] == ["plant/1/set"]
    with pytest.raises(rmqtt.TopicError):
        broker.capture("a/#/b")
    with pytest.raises(ValueError, match="maxsize"):
        broker.capture(maxsize=0)


def test_a_refused_message_was_not_published() -> None:
    limits = rmqtt.Limits(retained_messages_max=1)
    with rmqtt.Broker("mem://refusing", limits=limits) as broker, broker.capture() as capture:
        broker.publish_now("a", b"1", retain=True)
        with pytest.raises(rmqtt.StorageError):
            broker.publish_now("b", b"1", retain=True, qos=1)
        assert [topic for topic, _ in capture.records] == ["a"]


def test_a_closed_capture_keeps_what_it_has_and_takes_no_more(broker: rmqtt.Broker) -> None:
    with broker.capture() as capture:
        capture.publish("a")
    capture.publish("b")
    capture.close()
    assert capture.records == [("a", b"")]
    with pytest.raises(AssertionError, match="0 of 1 messages"):
        capture.wait_for("b", timeout=GUARD)


def test_a_capture_outlives_a_restart() -> None:
    broker = rmqtt.Broker("mem://restarting")
    capture = broker.capture()
    for topic in ("a", "b"):
        with broker:
            broker.publish_now(topic)
    assert capture.records == [("a", b""), ("b", b"")]


def test_waiting_is_driven_by_events_and_lets_others_run(broker: rmqtt.Broker) -> None:
    capture = broker.capture()
    publisher = threading.Thread(target=lambda: [broker.publish_now("a", str(n)) for n in range(1000)])
    publisher.start()
    found = capture.wait_for("a", count=1000, timeout=GUARD)
    publisher.join()
    assert [message.text() for message in found] == [str(number) for number in range(1000)]


def test_several_threads_may_wait_on_one_capture(broker: rmqtt.Broker) -> None:
    capture = broker.capture()
    found: list[int] = []
    waiters = [
        threading.Thread(target=lambda: found.append(len(capture.wait_for("a", count=10, timeout=GUARD))))
        for _ in range(4)
    ]
    for waiter in waiters:
        waiter.start()
    for _ in range(10):
        broker.publish_now("a")
    for waiter in waiters:
        waiter.join()
    assert found == [10] * 4


async def test_waiting_blocks_no_network_even_if_it_blocks_the_loop(broker: rmqtt.Broker) -> None:
    capture = broker.capture()
    async with rmqtt.Client(broker.url) as client:
        receipt = asyncio.ensure_future(client.publish("a", b"1", qos=1))
        await asyncio.sleep(0)
        capture.wait_for("a", timeout=GUARD)
        await receipt


async def test_waiting_in_the_loop_counts_what_came_before_and_after(broker: rmqtt.Broker) -> None:
    async with rmqtt.Client(broker.url) as client:
        capture = broker.capture()
        await client.publish("a", b"no", qos=1)
        waiting = asyncio.create_task(
            capture.wait_for_async("a", count=2, timeout=GUARD, where=lambda message: message.payload == b"yes")
        )
        for payload in (b"yes", b"no", b"yes"):
            await client.publish("a", payload, qos=1)
        assert [message.payload for message in await waiting] == [b"yes", b"yes"]


async def test_time_that_runs_out_says_what_was_there(broker: rmqtt.Broker) -> None:
    capture = broker.capture()
    capture.publish("plant/7/temp", b"21")
    expected = "0 of 2 messages published to 'plant/7/temperature' within 0 s; captured instead, nearest first:\n  plant/7/temp"
    with pytest.raises(AssertionError, match=expected):
        capture.wait_for("plant/7/temperature", count=2, timeout=0)
    with pytest.raises(AssertionError, match=expected):
        await capture.wait_for_async("plant/7/temperature", count=2, timeout=0)


def test_a_message_that_is_there_is_given_back(broker: rmqtt.Broker) -> None:
    capture = broker.capture()
    capture.publish("a/b", '{"on": true}', qos=1)
    capture.publish("a/b", b"raw", retain=True)
    assert capture.assert_published("a/b", json={"on": True}, qos=1, retain=False, count=1).text() == '{"on": true}'
    assert capture.assert_published("a/+", payload="raw", retain=True).payload == b"raw"
    assert capture.assert_published("#", count=2).topic == "a/b"
    with pytest.raises(ValueError, match="assert_nothing"):
        capture.assert_published("a", count=0)


def failure(assertion: object, *args: object, **options: object) -> str:
    assert callable(assertion)
    with pytest.raises(AssertionError) as caught:
        assertion(*args, **options)
    return str(caught.value)


def test_a_failure_shows_the_nearest_topic_and_then_the_nearest_payload_first(broker: rmqtt.Broker) -> None:
    capture = broker.capture()
    for topic, payload in (
        ("far/away", "22.5"),
        ("plant/8/set", "22.5"),
        ("plant/7/set", "0"),
        ("plant/7/set", "22.4"),
    ):
        capture.publish(topic, payload, qos=1)
    assert failure(capture.assert_published, "plant/7/set", payload="22.5").splitlines() == [
        "nothing published to 'plant/7/set', payload b'22.5'; captured instead, nearest first:",
        "  plant/7/set  b'22.4' qos=1  <- other payload",
        "  plant/7/set  b'0' qos=1  <- other payload",
        "  plant/8/set  b'22.5' qos=1  <- other topic",
        "  far/away  b'22.5' qos=1  <- other topic",
    ]
    text = failure(capture.assert_published, "plant/7/set", json=1, qos=0, retain=True)
    assert text.splitlines()[1].endswith("<- other JSON, QoS, retain")
    assert "where 3 should be; 2 match:" in failure(capture.assert_published, "plant/7/set", count=3)


def test_a_failure_is_bounded_in_length_whatever_was_captured(broker: rmqtt.Broker) -> None:
    capture = broker.capture()
    assert failure(capture.assert_published, "a") == "nothing published to 'a'; nothing was captured"
    for number in range(3000):
        capture.publish(f"{'long/' * 50}{number}", bytes(5000))
    for text in (
        failure(capture.assert_published, "nearly/3", payload=bytes(9999)),
        failure(capture.assert_published, "b", json=["x" * 5000]),
        failure(capture.assert_nothing, "long/#"),
        failure(capture.assert_order, "long/#", "b"),
        failure(capture.wait_for, "b", timeout=0),
    ):
        assert len(text.splitlines()) <= 12
        assert len(text) < 4000


def test_nothing_is_asserted_now_or_for_a_while(broker: rmqtt.Broker) -> None:
    capture = broker.capture()
    capture.publish("noise")
    capture.assert_nothing("alarm/#")
    capture.assert_nothing("alarm/#", within=0.01)
    publisher = threading.Thread(target=lambda: capture.publish("alarm/1", b"!"))
    publisher.start()
    text = failure(capture.assert_nothing, "alarm/#", within=GUARD)
    publisher.join()
    assert text == "nothing should be published to 'alarm/#'; 1 published:\n  alarm/1  b'!' qos=0"


def test_an_order_may_have_others_between(broker: rmqtt.Broker) -> None:
    capture = broker.capture()
    for topic in ("a", "noise", "b", "a"):
        capture.publish(topic)
    capture.assert_order()
    capture.assert_order("a", "b", "a")
    capture.assert_order("+", "+", "+", "+")
    text = failure(capture.assert_order, "b", "noise")
    assert text.startswith("nothing published to 'noise' after 'b'; 4 captured:\n  a ")


def test_beyond_the_bound_the_oldest_go_and_assertions_say_that_they_cannot_tell(broker: rmqtt.Broker) -> None:
    capture = broker.capture(maxsize=3)
    for number in range(10):
        capture.publish("a", str(number))
    assert [payload for _, payload in capture.records] == [b"7", b"8", b"9"]
    assert capture.dropped == 7
    assert repr(capture) == "<Capture of 3 messages, 7 dropped>"
    for number in range(10, 12):
        capture.publish("a", str(number))
    assert [payload for _, payload in capture.records] == [b"9", b"10", b"11"]
    assert capture.dropped == 9
    doubt = "(9 older messages were dropped, since maxsize is 3: this may be about one of them)"
    assert failure(capture.assert_published, "a", payload="0").endswith(doubt)
    assert failure(capture.assert_published, "a", count=3).endswith(doubt)
    assert failure(capture.assert_nothing, "b").endswith(doubt)
    assert capture.assert_published("a", payload="11").payload == b"11"
    capture.clear()
    assert (len(capture), capture.dropped) == (0, 0)
    capture.assert_nothing("#")
    capture.publish("a", "new")
    assert capture.wait_for("a")[0].text() == "new"


def test_watching_for_hours_takes_no_time_on_a_clock_for_tests() -> None:
    with rmqtt.Broker("mqtt://127.0.0.1:0", clock=testing.Clock()) as broker, broker.capture() as capture:
        will = rmqtt.WillMessage(topic="gone", delay_interval=3600)
        with RawPeer.connected(broker.port, "pump", will=will) as pump:
            pump.say(rmqtt.Disconnect(reason_code=rmqtt.ReasonCode.DISCONNECT_WITH_WILL))
            pump.rest()
        capture.assert_nothing("gone", within=999)
        assert broker.clock.now >= 999
        with pytest.raises(AssertionError, match="1 published"):
            capture.assert_nothing("gone", within=3600)
