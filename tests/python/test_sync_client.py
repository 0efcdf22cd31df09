"""`SyncClient`: the client for plain code, threads and notebook cells."""

from __future__ import annotations

import asyncio
import gc
import inspect
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import TYPE_CHECKING, Any

import pytest
import rmqtt
from held_broker import HeldBroker
from programs import assert_clean, run_script, script
from test_bridge_processes import FORK, needs_fork

if TYPE_CHECKING:
    from collections.abc import Iterator

#: Far more than anything takes.
GUARD = 20.0


@pytest.fixture
def client(broker: rmqtt.Broker) -> Iterator[rmqtt.SyncClient]:
    """Connect a client for one test."""
    with rmqtt.SyncClient(broker.url) as connected:
        yield connected


def test_a_block_connects_publishes_receives_and_says_goodbye(broker: rmqtt.Broker) -> None:
    with rmqtt.SyncClient(broker.url, client_id="plain") as client:
        assert "plain" in broker.clients
        with client.subscribe("plant/#", qos=2) as readings:
            for qos in (0, 1, 2):
                client.publish("plant/7", str(qos), qos=qos, content_type="text/plain")
            messages = list(islice(readings, 3))
        assert [message.text() for message in messages] == ["0", "1", "2"]
        assert messages[0].properties.content_type == "text/plain"
        assert readings.granted == {"plant/#": rmqtt.QoS.EXACTLY_ONCE}
        assert client.negotiated.client_id == "plain"
        assert client.stats().messages_sent == 3
    assert not broker.clients


def test_it_takes_the_options_of_the_client_and_has_its_names() -> None:
    plain, awaited = rmqtt.SyncClient, rmqtt.Client
    assert inspect.signature(plain) == inspect.signature(awaited)
    names = {name for name in dir(awaited) if not name.startswith("_")}
    assert names == {name for name in dir(plain) if not name.startswith("_")}
    for name in names:
        if inspect.isroutine(theirs := getattr(awaited, name)):
            asked = set(inspect.signature(theirs).parameters)
            if name == "publish_nowait":
                asked.remove("timeout")  # of the result, which the receipt is asked for
            assert asked <= set(inspect.signature(getattr(plain, name)).parameters), name
    subscription = {name for name in dir(rmqtt.Subscription) if not name.startswith("_")}
    assert subscription | {"messages"} == {name for name in dir(rmqtt.SyncSubscription) if not name.startswith("_")}


async def test_it_works_where_an_event_loop_runs(broker: rmqtt.Broker) -> None:
    with rmqtt.SyncClient(broker.url) as client, client.subscribe("a") as messages:
        client.publish("a", b"1", qos=1, timeout=GUARD)
        assert messages.get(GUARD).payload == b"1"


def publish_fifty(client: rmqtt.SyncClient, part: int) -> None:
    """Publish fifty messages to a topic that several use."""
    for n in range(50):
        client.publish("shared", f"{part}/{n}", qos=1)


def test_it_is_used_from_several_threads_that_share_the_messages(client: rmqtt.SyncClient) -> None:
    with client.subscribe("shared", qos=1) as messages, ThreadPoolExecutor(4) as threads:
        readers = [threads.submit(lambda: [m.payload for m in messages.messages(timeout=0.3)]) for _ in range(2)]
        writers = [threads.submit(publish_fifty, client, part) for part in range(2)]
        for writer in writers:
            writer.result()
        read = sorted(payload for reader in readers for payload in reader.result())
    assert read == sorted(f"{part}/{n}".encode() for part in range(2) for n in range(50))


def test_other_threads_run_while_one_waits(client: rmqtt.SyncClient) -> None:
    ticks = 0
    over = threading.Event()

    def tick() -> None:
        nonlocal ticks
        while not over.wait(0.001):
            ticks += 1

    with client.subscribe("silent") as messages:
        thread = threading.Thread(target=tick)
        thread.start()
        with pytest.raises(rmqtt.MqttTimeout, match=r"no message came within 0\.3 s"):
            messages.get(0.3)
        over.set()
        thread.join()
    assert ticks > 10


def test_a_wait_ends_when_its_message_comes_and_not_at_the_end_of_a_slice(client: rmqtt.SyncClient) -> None:
    with client.subscribe("a", qos=1) as messages:
        shortest = GUARD
        for _ in range(20):
            begun = time.perf_counter()
            client.publish("a", qos=1)
            messages.get(GUARD)
            shortest = min(shortest, time.perf_counter() - begun)
    assert shortest < 0.02


def test_loops_end_when_nothing_comes_any_more_and_with_the_subscription(client: rmqtt.SyncClient) -> None:
    messages = client.subscribe("a", qos=1)
    for n in range(3):
        client.publish("a", str(n), qos=1)
    assert [message.payload for message in messages.messages(timeout=0.05)] == [b"0", b"1", b"2"]
    assert messages.get_nowait() is None
    for n in range(3):
        client.publish("a", str(n), qos=1)
    assert len(messages.get_many(2, timeout=GUARD)) == 2
    assert len(messages.get_many(2, max_wait=0.05)) == 1
    with pytest.raises(rmqtt.MqttTimeout):
        messages.get_many(timeout=0)
    with pytest.raises(ValueError, match="max_items"):
        messages.get_many(0)
    assert client.unsubscribe(messages).results == {"a": rmqtt.ReasonCode.SUCCESS}
    assert list(messages) == []
    with pytest.raises(rmqtt.Closed):
        messages.get()


def test_a_message_is_acknowledged_when_the_next_one_is_asked_for(broker: rmqtt.Broker) -> None:
    asked = {"client_id": "careful", "clean_start": False, "session_expiry": 60}
    with pytest.raises(KeyError), rmqtt.SyncClient(broker.url, **asked) as client:  # type: ignore[arg-type]
        messages = client.subscribe("a", qos=1)
        for n in range(3):
            broker.publish_now("a", str(n), qos=1)
        with messages:
            for message in messages:
                if message.payload == b"1":
                    raise KeyError
    with rmqtt.SyncClient(broker.url, **asked) as client, client.subscribe("a", qos=1) as messages:  # type: ignore[arg-type]
        assert [message.payload for message in messages.messages(timeout=0.2)] == [b"1", b"2"]


def test_closing_on_one_thread_ends_the_waits_of_the_others(broker: rmqtt.Broker) -> None:
    client = rmqtt.SyncClient(broker.url)
    client.connect()
    with pytest.raises(RuntimeError, match="connected already"):
        client.connect()
    messages, endless = client.subscribe("a"), client.subscribe("b")
    with ThreadPoolExecutor(2) as threads:
        waits = threads.submit(messages.get)
        loops = threads.submit(lambda: list(endless))
        client.close()
        with pytest.raises(rmqtt.Closed):
            waits.result(GUARD)
        assert loops.result(GUARD) == []
    client.close()
    for call in (client.connect, client.drain, lambda: client.publish("a"), lambda: client.subscribe("a")):
        with pytest.raises(rmqtt.Closed):
            call()


def test_who_is_not_connected_is_told_so() -> None:
    client = rmqtt.SyncClient("mem://nobody")
    with pytest.raises(rmqtt.NotConnected):
        client.publish("a")
    with pytest.raises(rmqtt.NotConnected):
        _ = client.negotiated
    with pytest.raises(rmqtt.ConnectFailed):
        client.connect()
    with pytest.raises(rmqtt.ConnectFailed), client:
        pass


def test_every_wait_has_a_limit_of_its_own() -> None:
    with HeldBroker() as held, rmqtt.SyncClient(held.url) as client:
        for call, what in (
            (lambda: client.publish("a", qos=1, timeout=0.05), "publish took longer than 0.05 s"),
            (lambda: client.drain(0.05), "drain took longer than 0.05 s"),
        ):
            with pytest.raises(rmqtt.MqttTimeout, match=what):
                call()
        client.abort()


def test_a_receipt_tells_where_the_message_is() -> None:
    with HeldBroker() as held, rmqtt.SyncClient(held.url) as client:
        receipt = client.publish_nowait("a", b"1", qos=1)
        with pytest.raises(rmqtt.MqttTimeout, match=r"publish took longer than 0\.05 s"):
            receipt.result(0.05)
        assert (receipt.state, receipt.done()) == ("sent", False)
        held.wait_for(lambda it: len(it.published) == 1)
        held.release()
        assert receipt.result(GUARD).reason_code == 0
        assert (receipt.state, receipt.done()) == ("done", True)
        assert client.publish_nowait("a", b"0").state == "done"
        lost = client.publish_nowait("a", b"2", qos=1)
        client.abort()
        with ThreadPoolExecutor(3) as threads:
            waits = [threads.submit(lost.result) for _ in range(3)]
            for wait in waits:
                with pytest.raises(rmqtt.Closed):
                    wait.result(GUARD)
        assert lost.state == "failed"


def test_a_full_outbox_is_told_and_many_wait_for_room() -> None:
    with HeldBroker() as held, rmqtt.SyncClient(held.url, outbox=rmqtt.Outbox(max_messages=2)) as client:
        for _ in range(2):
            client.publish_nowait("a", qos=1)
        with pytest.raises(rmqtt.QueueFull):
            client.publish_nowait("a", qos=1)
        client.abort()


def test_many_messages_arrive_in_order_and_failures_do_not_stop_the_rest(client: rmqtt.SyncClient) -> None:
    told: list[int] = []
    with client.subscribe("many/#", qos=2, maxsize=10_000) as messages:
        items: list[tuple[str, str] | rmqtt.Outgoing] = [("many/1", str(n)) for n in range(1000)]
        items[500] = ("no/#", "wildcards")
        items[501] = rmqtt.Outgoing("many/2", "kept", qos=2, retain=True)
        result = client.publish_many(items, qos=1, window=16, progress=lambda done, _: told.append(done))
        assert (result.published, result.failed) == (999, 1)
        assert isinstance(result.errors[500], rmqtt.TopicError)
        arrived = [message.text() for message in islice(messages, 999)]
    assert arrived == [str(n) for n in range(500)] + ["kept"] + [str(n) for n in range(502, 1000)]
    assert told == sorted(told)
    assert told[-1] == 1000
    with pytest.raises(ValueError, match="window"):
        client.publish_many([], window=0)


@pytest.mark.parametrize("item", [("a",), None, "ab", ["a", "b"], ("a", "b", "c"), ("a", 7)])
def test_what_is_no_message_is_told_as_by_the_client_and_stops_nothing(item: Any, broker: rmqtt.Broker) -> None:
    async def by_the_client() -> rmqtt.ManyResult:
        async with rmqtt.Client(broker.url) as client:
            return await client.publish_many([item, ("a", "b")])

    with rmqtt.SyncClient(broker.url) as client:
        result = client.publish_many([item, ("a", "b")])
    twin = asyncio.run(by_the_client())
    assert (result.published, result.failed) == (twin.published, twin.failed) == (1, 1)
    assert repr(result.errors) == repr(twin.errors)


def test_events_are_told_from_the_call_on(broker: rmqtt.Broker) -> None:
    client = rmqtt.SyncClient(broker.url, reconnect=None)
    events = client.events()
    with client:
        assert isinstance(next(events), rmqtt.Connected)
        assert list(client.events(timeout=0)) == []
        asyncio.run(broker.disconnect(client.negotiated.client_id))
        assert isinstance(next(events), rmqtt.Disconnected)
    assert list(events) == []


def test_a_block_left_by_an_exception_has_the_will_published(broker: rmqtt.Broker, client: rmqtt.SyncClient) -> None:
    with client.subscribe("last") as words:
        with rmqtt.SyncClient(broker.url, will=rmqtt.Will(topic="last", payload="clean")):
            pass
        with pytest.raises(KeyError), rmqtt.SyncClient(broker.url, will=rmqtt.Will(topic="last", payload="error")):
            raise KeyError
        with rmqtt.SyncClient(broker.url, will=rmqtt.Will(topic="last", payload="abort")) as dying:
            dying.abort()
        assert [words.get(GUARD).text() for _ in range(2)] == ["error", "abort"]


def test_what_close_says_is_checked_and_said(broker: rmqtt.Broker) -> None:
    with rmqtt.SyncClient(broker.url, session_expiry=60, client_id="leaver") as client:
        with pytest.raises(ValueError, match="cannot take its leave"):
            client.close(reason_code=0x87)
        client.close(session_expiry=0, reason_string="for good", user_properties=[("a", "b")])
    assert "leaver" not in broker.sessions


def test_a_client_that_nobody_closed_is_reported_and_cut(broker: rmqtt.Broker) -> None:
    client = rmqtt.SyncClient(broker.url)
    client.connect()
    clients = [client]
    del client
    with pytest.warns(ResourceWarning, match=r"an rmqtt client was not closed: use `with client`"):
        clients.clear()


class Token:
    """A mechanism of two words, which notes where it is asked."""

    method = "TOKEN"

    def __init__(self) -> None:
        self.threads: set[str] = set()

    async def start(self) -> bytes:
        await asyncio.sleep(0)
        self.threads.add(threading.current_thread().name)
        raise PermissionError("no token today")

    def step(self, data: bytes) -> None:
        """Not reached."""


def test_a_handler_is_asked_on_a_thread_of_its_own_which_ends_with_the_client(broker: rmqtt.Broker) -> None:
    token = Token()
    client = rmqtt.SyncClient(broker.url, auth=token)
    for _ in range(2):
        with pytest.raises(PermissionError, match="no token today"):
            client.connect()
    assert token.threads == {"rmqtt-auth"}
    threads = [thread for thread in threading.enumerate() if thread.name == "rmqtt-auth"]
    del client
    gc.collect()
    for thread in threads:
        thread.join(GUARD)
    assert not any(thread.is_alive() for thread in threads)


def test_a_user_proves_who_it_is_again() -> None:
    with rmqtt.Broker("mqtt://127.0.0.1:0", auth={"alice": "secret"}) as guarded:
        with rmqtt.SyncClient(guarded.url, auth=rmqtt.ScramSha256("alice", "secret")) as client:
            client.reauthenticate()
            assert [known.user for known in guarded.clients.values()] == ["alice"]
        with pytest.raises(rmqtt.ConnectRefused), rmqtt.SyncClient(guarded.url, username="alice", password="wrong"):
            pass


WAITS = {
    "get": "messages.get()",
    "loop": "list(messages)",
    "get_many": "messages.get_many(10, max_wait=60)",
    "events": "list(client.events())",
    "publish": "broker.stop(); client.publish('b', qos=1)",
}


@pytest.mark.parametrize("wait", WAITS.values(), ids=WAITS)
def test_ctrl_c_is_heard_in_every_wait(wait: str) -> None:
    source = f"""
    import rmqtt
    broker = rmqtt.Broker("mqtt://127.0.0.1:0").start()
    with rmqtt.SyncClient(broker.url) as client:
        messages = client.subscribe("a")
        client.publish("a", b"before", qos=1)
        if "get_many" not in {wait!r}:
            messages.get()
        try:
            print("waiting", flush=True)
            {wait}
        except KeyboardInterrupt:
            print("interrupted", flush=True)
        if "get_many" in {wait!r}:
            assert [message.payload for message in messages.get_many()] == [b"before"]
        broker.start() if not broker.is_running else None
    broker.stop()
    """
    with script(source) as program:
        program.expect("waiting")
        program.signal(signal.SIGINT)
        program.expect("interrupted")
        assert_clean(program.end())


def test_a_program_ends_while_threads_wait() -> None:
    source = """
    import threading, rmqtt, warnings
    warnings.simplefilter("ignore", ResourceWarning)
    broker = rmqtt.Broker("mqtt://127.0.0.1:0").start()
    client = rmqtt.SyncClient(broker.url)
    client.connect()
    messages = client.subscribe("a")
    for _ in range(3):
        threading.Thread(target=messages.get, daemon=True).start()
    print("leaving")
    """
    for _ in range(5):
        assert_clean(run_script(source), within=5)


@needs_fork
def test_after_a_fork_an_old_client_is_refused_and_a_new_one_works() -> None:
    source = (
        FORK
        + """
    broker = rmqtt.Broker("mqtt://127.0.0.1:0").start()
    client = rmqtt.SyncClient(broker.url)
    client.connect()
    messages = client.subscribe("a")

    def work():
        refused(lambda: client.publish("a", b"1"))
        refused(messages.get)
        refused(client.close)
        with rmqtt.SyncClient(broker_url) as other, other.subscribe("b") as own:
            other.publish("b", b"2", qos=1)
            assert own.get(10).payload == b"2"

    broker_url = broker.url
    in_child(work)
    client.publish("a", b"1", qos=1)
    assert messages.get(10).payload == b"1"
    client.close()
    broker.stop()
    """
    )
    assert_clean(run_script(source))
