"""Requests and those who respond: answers find their asker, and whatever goes wrong leaves nothing behind."""

from __future__ import annotations

import asyncio
import gc
import logging
import signal
import threading
import weakref
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest
import rmqtt
from order import everything_came
from programs import assert_clean, run_script, script

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

#: Far more than anything takes.
GUARD = 20.0


@pytest.fixture
async def client(broker: rmqtt.Broker) -> AsyncIterator[rmqtt.Client]:
    """Connect a client for one test."""
    async with rmqtt.Client(broker.url) as connected:
        yield connected


async def echo(request: rmqtt.Message) -> bytes:
    return request.payload


async def others_end(known: set[asyncio.Task[Any]] | None = None) -> None:
    """Wait until no task is left but that of the test, and those that are known."""
    kept = (known or set()) | {asyncio.current_task()}
    while others := asyncio.all_tasks() - kept:
        _, waiting = await asyncio.wait(others, timeout=GUARD)
        assert not waiting


@pytest.mark.parametrize("qos", [0, 1, 2])
async def test_an_answer_comes_with_the_qos_and_the_correlation_of_its_question(
    client: rmqtt.Client, broker: rmqtt.Broker, qos: Any
) -> None:
    async with client.respond("echo", echo), rmqtt.Client(broker.url) as asker:
        capture = broker.capture()
        answer = await asker.request("echo", "x", qos=qos, timeout=GUARD, content_type="text/plain")
        question, reply = capture.messages
    assert answer.payload == b"x"
    assert answer.qos == qos
    assert question.qos == reply.qos == qos
    assert question.properties.content_type == "text/plain"
    assert question.properties.correlation == reply.properties.correlation != b""
    assert question.properties.response_topic == reply.topic
    assert question.properties.expiry == int(GUARD)


async def test_a_thousand_requests_at_a_time_find_their_answers_over_one_subscription(
    client: rmqtt.Client, broker: rmqtt.Broker
) -> None:
    async def later(request: rmqtt.Message) -> bytes:
        for _ in range(request.payload[-1] % 5):
            await asyncio.sleep(0)
        return request.payload

    async with client.respond("echo/+", later, concurrency=100), rmqtt.Client(broker.url, client_id="asker") as asker:
        answers = await asyncio.gather(*(asker.request(f"echo/{n % 7}", str(n), timeout=GUARD) for n in range(1000)))
        assert [answer.text() for answer in answers] == [str(n) for n in range(1000)]
        (filter_,) = broker.sessions["asker"].subscriptions
        assert filter_.startswith("rmqtt/response/")


async def test_the_brokers_response_information_says_where_answers_go() -> None:
    async with rmqtt.Broker("mqtt://127.0.0.1:0", response_information="answers/of/7/") as broker:
        asker = rmqtt.Client(broker.url, request_response_information=True)
        async with asker, asker.respond("echo", echo):
            answer = await asker.request("echo", timeout=GUARD)
        assert answer.topic.startswith("answers/of/7/")
        assert "//" not in answer.topic


async def test_a_request_is_answered_after_the_connection_was_lost(broker: rmqtt.Broker) -> None:
    reconnect = rmqtt.Reconnect(initial=0, jitter="none")
    async with (
        rmqtt.Client(broker.url) as client,
        client.respond("echo", echo),
        rmqtt.Client(broker.url, client_id="asker", reconnect=reconnect) as asker,
    ):
        first = await asker.request("echo", "1", timeout=GUARD)
        events = asker.events()
        assert await broker.disconnect("asker", 0x8B)
        async for event in events:
            if isinstance(event, rmqtt.Connected):
                break
        second = await asker.request("echo", "2", timeout=GUARD)
    assert (first.text(), second.text()) == ("1", "2")
    assert first.topic == second.topic


async def test_an_answer_that_is_late_or_not_asked_for_is_dropped(client: rmqtt.Client, broker: rmqtt.Broker) -> None:
    release = asyncio.Event()

    async def slow(request: rmqtt.Message) -> bytes:
        if request.payload == b"slow":
            await release.wait()
        return request.payload

    async with client.respond("slow", slow), rmqtt.Client(broker.url) as asker:
        with pytest.raises(rmqtt.MqttTimeout, match=r"request took longer than 0\.05 s"):
            await asker.request("slow", "slow", timeout=0.05)
        fast = await asker.request("slow", "fast", timeout=GUARD)
        for correlation in (b"", b"x", bytes(16), fast.properties.correlation, None):
            await client.publish(fast.topic, "foreign", qos=1, correlation=correlation)
        with broker.capture(fast.topic) as capture:
            release.set()
            await capture.wait_for_async("#", timeout=GUARD)
        assert (await asker.request("slow", "again", timeout=GUARD)).text() == "again"


@pytest.mark.parametrize("window", [1, 2])
async def test_a_handler_may_publish_and_request_itself_however_small_the_window(
    broker: rmqtt.Broker, window: int
) -> None:
    async with rmqtt.Client(broker.url, receive_maximum=window) as client:

        async def outer(request: rmqtt.Message) -> bytes:
            await client.publish("log", "asked", qos=2)
            answers = await asyncio.gather(*(client.request("inner", str(n), timeout=GUARD) for n in range(5)))
            return request.payload + b"".join(answer.payload for answer in answers)

        async with client.respond("outer", outer), client.respond("inner", echo):
            answers = await asyncio.gather(*(client.request("outer", "x", timeout=GUARD) for _ in range(10)))
    assert {answer.payload for answer in answers} == {b"x01234"}


async def test_no_more_handlers_run_than_may_and_the_rest_waits(client: rmqtt.Client, broker: rmqtt.Broker) -> None:
    running = highest = 0
    began, release = asyncio.Semaphore(0), asyncio.Event()

    async def count(request: rmqtt.Message) -> bytes:
        nonlocal running, highest
        running += 1
        highest = max(highest, running)
        began.release()
        await release.wait()
        running -= 1
        return request.payload

    capture = broker.capture()
    async with client.respond("count", count, concurrency=3) as responder, rmqtt.Client(broker.url) as asker:
        asked = [asyncio.ensure_future(asker.request("count", str(n), timeout=GUARD)) for n in range(10)]
        await capture.wait_for_async("count", count=10, timeout=GUARD)
        await everything_came(client)
        async with asyncio.timeout(GUARD):
            for _ in range(3):
                await began.acquire()
        assert (running, responder.pending) == (3, 7)
        release.set()
        answers = await asyncio.gather(*asked)
    assert [answer.text() for answer in answers] == [str(n) for n in range(10)]
    assert highest == 3


@pytest.mark.parametrize("result", [ValueError("the secret"), object(), "x" * 3000], ids=["raises", "type", "size"])
async def test_a_handler_that_fails_is_logged_and_counted_once_and_the_asker_hears_no_secret(
    result: Any, caplog: pytest.LogCaptureFixture
) -> None:
    async def fail(_: rmqtt.Message) -> Any:
        if isinstance(result, Exception):
            raise result
        return result

    limits = rmqtt.Limits(packet_size_max=2000)
    async with (
        rmqtt.Broker("mqtt://127.0.0.1:0", limits=limits) as broker,
        rmqtt.Client(broker.url) as client,
        client.respond("fail", fail) as responder,
    ):
        with pytest.raises(rmqtt.RequestFailed) as failed:
            await client.request("fail", timeout=GUARD)
        assert str(failed.value) == "the request failed: the handler failed"
        assert failed.value.reason_code is None
        assert responder.failed == 1
    (record,) = caplog.records
    assert (record.name, record.levelno) == ("rmqtt.client", logging.ERROR)
    assert record.exc_info is not None


async def test_a_refusal_meant_for_the_asker_is_told_and_not_logged(
    client: rmqtt.Client, caplog: pytest.LogCaptureFixture
) -> None:
    async def refuse(_: rmqtt.Message) -> bytes:
        raise rmqtt.RequestFailed("not on sundays")

    async with client.respond("refuse", refuse) as responder:
        with pytest.raises(rmqtt.RequestFailed, match="not on sundays"):
            await client.request("refuse", timeout=GUARD)
        assert responder.failed == 0
    assert caplog.records == []


async def test_nobody_there_is_told_at_once(client: rmqtt.Client) -> None:
    with pytest.raises(rmqtt.RequestFailed, match="nobody has subscribed") as failed:
        await client.request("nobody", timeout=GUARD)
    assert failed.value.reason_code == rmqtt.ReasonCode.NO_MATCHING_SUBSCRIBERS


async def test_a_question_without_a_response_topic_is_handled_and_not_answered(
    client: rmqtt.Client, broker: rmqtt.Broker
) -> None:
    seen = asyncio.Event()

    async def see(_: rmqtt.Message) -> None:
        seen.set()

    async with client.respond("see", see) as responder:
        with broker.capture() as capture:
            await client.publish("see", "x", qos=1)
            await seen.wait()
            assert (await client.request("see", timeout=GUARD)).payload == b""
        assert len(capture.messages) == 3
        assert responder.failed == 0


async def test_cancelling_a_request_that_waits_leaves_the_next_one_alone(client: rmqtt.Client) -> None:
    asked, release = asyncio.Event(), asyncio.Event()

    async def slow(request: rmqtt.Message) -> bytes:
        if not request.payload:
            asked.set()
            await release.wait()
        return request.payload

    async with client.respond("slow", slow):
        task = asyncio.ensure_future(client.request("slow", timeout=None))
        await asked.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        release.set()
        assert (await client.request("slow", "x", timeout=GUARD)).text() == "x"


async def test_a_block_left_by_an_exception_cancels_its_handlers(client: rmqtt.Client) -> None:
    asked = asyncio.Event()
    ended: list[type[BaseException]] = []

    async def hold(_: rmqtt.Message) -> bytes:
        asked.set()
        try:
            await asyncio.Event().wait()
        except BaseException as error:
            ended.append(type(error))
            raise
        return b""

    with pytest.raises(ZeroDivisionError):
        async with client.respond("hold", hold):
            task = asyncio.ensure_future(client.request("hold", timeout=None))
            await asked.wait()
            raise ZeroDivisionError
    assert ended == [asyncio.CancelledError]
    task.cancel()


async def test_closing_the_client_ends_requests_and_responders(broker: rmqtt.Broker) -> None:
    client = rmqtt.Client(broker.url)
    await client.connect()
    asked, release = asyncio.Event(), asyncio.Event()

    async def hold(_: rmqtt.Message) -> bytes:
        asked.set()
        await release.wait()
        return b"late"

    await client.respond("hold", hold)
    task = asyncio.ensure_future(client.request("hold", timeout=None))
    await asked.wait()
    await client.close(timeout=0)
    with pytest.raises(rmqtt.Closed):
        await task
    release.set()
    await others_end()


async def test_a_responder_that_nobody_holds_goes_on_and_a_handler_may_close_it(client: rmqtt.Client) -> None:
    closed: asyncio.Future[object] = asyncio.get_running_loop().create_future()
    responders: list[weakref.ref[rmqtt.Responder]] = []

    async def close(_: rmqtt.Message) -> bytes:
        responder = responders[0]()
        assert responder is not None
        closed.set_result((await responder.close()).results)
        return b"bye"

    responders.append(weakref.ref(await client.respond("close", close)))
    gc.collect()
    assert (await client.request("close", timeout=GUARD)).text() == "bye"
    assert await closed == {"close": rmqtt.ReasonCode.SUCCESS}
    with pytest.raises(rmqtt.RequestFailed, match="nobody"):
        await client.request("close", timeout=GUARD)


async def test_under_3_1_1_there_are_no_requests(broker: rmqtt.Broker) -> None:
    async with rmqtt.Client(broker.url, version="3.1.1") as client:
        with pytest.raises(rmqtt.NotSupportedByBroker, match=r"MQTT 5.*3\.1\.1"):
            await client.request("a")
        with pytest.raises(rmqtt.NotSupportedByBroker, match=r"MQTT 5.*3\.1\.1"):
            client.respond("a", echo)


@pytest.mark.parametrize("options", [{"timeout": -1}, {"qos": 3}, {"expiry": -1}], ids=str)
async def test_options_that_make_no_sense_are_refused(client: rmqtt.Client, options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(options))):
        await client.request("a", **options)


async def test_a_responder_needs_room_for_one(client: rmqtt.Client) -> None:
    with pytest.raises(ValueError, match="concurrency"):
        client.respond("a", echo, concurrency=0)


async def test_only_our_filters_answers_count_and_retained_ones_never(client: rmqtt.Client) -> None:
    await client.publish("echo", "old", qos=1, retain=True)
    seen: list[bytes] = []

    async def see(request: rmqtt.Message) -> bytes:
        seen.append(request.payload)
        return b""

    async with client.respond("echo", see):
        await client.request("echo", "new", timeout=GUARD)
    assert seen == [b"new"]


async def test_a_client_nobody_closed_goes_with_its_responders(broker: rmqtt.Broker) -> None:
    clients = [rmqtt.Client(broker.url)]
    await clients[0].connect()
    await clients[0].respond("echo", echo)
    known = asyncio.all_tasks()
    await clients[0].request("echo", timeout=GUARD)
    await others_end(known)  # the handler's task, which has used the client
    known.clear()
    gone = weakref.ref(clients[0])
    with pytest.warns(ResourceWarning, match="was not closed"):
        clients.clear()
    assert gone() is None
    await others_end()


def test_plain_code_asks_and_answers_on_several_threads(broker: rmqtt.Broker) -> None:
    names = set()
    barrier = threading.Barrier(4)

    def answer(request: rmqtt.Message) -> bytes:
        names.add(threading.current_thread().name)
        barrier.wait(GUARD)  # four at a time, or none
        return request.payload

    with rmqtt.SyncClient(broker.url) as client, client.respond("echo", answer, concurrency=4) as responder:
        with ThreadPoolExecutor(4) as threads:
            answers = list(threads.map(lambda n: client.request("echo", str(n), timeout=GUARD).text(), range(8)))
        assert answers == [str(n) for n in range(8)]
        assert responder.failed == 0
    assert names == {"rmqtt-responder"}
    assert not [thread for thread in threading.enumerate() if thread.name == "rmqtt-responder"]


def test_a_plain_handler_may_ask_itself_and_its_failures_are_told(
    broker: rmqtt.Broker, caplog: pytest.LogCaptureFixture
) -> None:
    def outer(request: rmqtt.Message) -> bytes:
        if request.payload == b"fail":
            raise ValueError("the secret")
        if request.payload == b"refuse":
            raise rmqtt.RequestFailed("no")
        return plain.request("inner", request.payload, timeout=GUARD).payload

    with (
        rmqtt.SyncClient(broker.url, receive_maximum=1) as plain,
        plain.respond("outer", outer) as responder,
        plain.respond("inner", lambda request: request.payload * 2),
    ):
        assert plain.request("outer", "x", timeout=GUARD).text() == "xx"
        with pytest.raises(rmqtt.RequestFailed, match="the handler failed"):
            plain.request("outer", "fail", timeout=GUARD)
        with pytest.raises(rmqtt.RequestFailed, match=r"no$"):
            plain.request("outer", "refuse", timeout=GUARD)
        assert responder.failed == 1
    assert len(caplog.records) == 1


def test_a_program_ends_although_nobody_has_closed_its_responder() -> None:
    ended = run_script(
        """
        import rmqtt
        broker = rmqtt.Broker("mqtt://127.0.0.1:0")
        broker.start()
        client = rmqtt.SyncClient(broker.url)
        client.connect()
        responder = client.respond("echo", lambda request: request.payload)
        assert client.request("echo", "x").text() == "x"
        client.close()
        broker.stop()
        """
    )
    assert_clean(ended)


def test_ctrl_c_ends_a_plain_request() -> None:
    source = """
    import rmqtt
    with rmqtt.Broker("mqtt://127.0.0.1:0") as broker, rmqtt.SyncClient(broker.url) as client:
        with client.subscribe("silent"):
            try:
                print("waiting")
                client.request("silent", timeout=None)
            except KeyboardInterrupt:
                print("interrupted")
    """
    with script(source) as program:
        program.expect("waiting")
        program.signal(signal.SIGINT)
        program.expect("interrupted")
        assert_clean(program.end(), within=2)
