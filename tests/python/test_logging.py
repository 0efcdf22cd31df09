"""What clients and brokers tell the standard `logging`."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import queue
import socket
import subprocess
import sys
import textwrap
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest
import rmqtt
from loops import until
from rmqtt.testing import Clock
from told_broker import told

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rmqtt.testing import Certificates

GUARD = 30


class Heard(logging.Handler):
    """What was logged, to be waited for."""

    def __init__(self) -> None:
        super().__init__()
        self.records: queue.SimpleQueue[logging.LogRecord] = queue.SimpleQueue()

    def emit(self, record: logging.LogRecord) -> None:
        self.records.put(record)

    def until(self, *words: str) -> logging.LogRecord:
        """Wait for a line with all these words; what comes before it is passed over."""
        while True:
            record = self.records.get(timeout=GUARD)
            if all(word in record.getMessage() for word in words):
                return record


@pytest.fixture
def heard() -> Iterator[Heard]:
    """Listen to everything that is logged by rmqtt, from here on."""
    handler, logger = Heard(), logging.getLogger("rmqtt")
    level = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.DEBUG)
    yield handler
    logger.setLevel(level)
    logger.removeHandler(handler)


def test_a_broker_tells_when_it_listens_who_comes_and_goes_and_when_it_stops(heard: Heard) -> None:
    with rmqtt.Broker("mqtt://127.0.0.1:0") as broker:
        assert heard.until("listening at", broker.url).levelno == logging.INFO
        with rmqtt.SyncClient(broker.url, client_id="thermometer"):
            assert (
                heard.until("thermometer", "connected from 127.0.0.1:", "MQTT 5.0, session new").name == "rmqtt.broker"
            )
        heard.until("thermometer", "at 127.0.0.1:", "disconnected: it took its leave")
    heard.until("stopped")


def test_what_nobody_wants_to_know_does_not_hold_up_what_somebody_does(heard: Heard) -> None:
    logging.getLogger("rmqtt").setLevel(logging.WARNING)
    with rmqtt.Broker("mqtt://127.0.0.1:0") as broker:
        for _ in range(100):
            with rmqtt.SyncClient(broker.url):
                pass
        client = rmqtt.SyncClient(broker.url, client_id="left behind")
        client.connect()
    heard.until("left behind", "has no connection")
    client.abort()


def test_a_client_tells_where_it_connects_and_when_it_is_closed(heard: Heard) -> None:
    with rmqtt.Broker("mqtt://127.0.0.1:0") as broker, rmqtt.SyncClient(broker.url, client_id="me") as client:
        assert heard.until('client "me" connects to', broker.url).levelno == logging.DEBUG
        connected = heard.until('client "me" is connected to', broker.url, "MQTT 5.0, session new")
        assert (connected.name, connected.levelno) == ("rmqtt.client", logging.INFO)
        client.close()
        heard.until('client "me" of', "is closed")


async def test_a_lost_connection_is_told_with_the_reason_and_the_delay(heard: Heard) -> None:
    with rmqtt.Broker("mqtt://127.0.0.1:0") as broker:
        again = rmqtt.Reconnect(initial=0.01, jitter="none")
        async with rmqtt.Client(broker.url, reconnect=again) as client, client.subscribe("a/#", qos=1):
            broker.crash()
            broker.start()
            lost = heard.until("has no connection to", broker.url, "tries again in 0.0 s")
            assert lost.levelno == logging.WARNING
            heard.until("is connected to", broker.url)
            heard.until("has its subscriptions", '"a/#"')


async def test_it_is_told_when_a_client_gives_up(heard: Heard) -> None:
    with rmqtt.Broker("mqtt://127.0.0.1:0") as broker:
        first, second = (rmqtt.Client(broker.url, client_id="taken") for _ in range(2))
        async with first, second:
            heard.until('"taken"', "disconnected: another connection came with this client id")
            assert heard.until('"taken"', "has given up", "SessionTakenOver").levelno == logging.ERROR


async def test_drops_are_told_together(heard: Heard) -> None:
    with rmqtt.Broker("mqtt://127.0.0.1:0") as broker:
        async with rmqtt.Client(broker.url) as client, client.subscribe("a/#", maxsize=1):
            for _ in range(100):
                await broker.publish("a/b", b"")
            heard.until("dropped", "messages: the queue is full of the subscription to", '"a/#"')


async def test_a_redirect_is_told(heard: Heard) -> None:
    with rmqtt.Broker("mqtt://127.0.0.1:0") as broker:
        broker.redirect("elsewhere:1883", permanent=True)
        with pytest.raises(rmqtt.ConnectRefused):
            await rmqtt.Client(broker.url).connect()
        heard.until("refused: ServerMoved")
        heard.until("was sent from", broker.url, '"elsewhere:1883"')


def test_who_is_refused_is_told_with_the_reason(heard: Heard) -> None:
    with rmqtt.Broker("mqtt://127.0.0.1:0", auth={"alice": "right"}) as broker:
        with pytest.raises(rmqtt.ConnectRefused):
            rmqtt.SyncClient(broker.url, client_id="thief", username="alice", password="wrong").connect()
        heard.until('"thief"', "at 127.0.0.1:", "refused: BadUserNameOrPassword")


def test_a_stranger_that_speaks_something_else_is_told_without_a_name(heard: Heard) -> None:
    with rmqtt.Broker("mqtt://127.0.0.1:0") as broker, socket.create_connection(("127.0.0.1", broker.port)) as stranger:
        stranger.sendall(b"GET / HTTP/1.1\r\n\r\n")
        heard.until("client without a name at 127.0.0.1:", "refused: ")


async def turned_away(broker: rmqtt.Broker, count: int) -> None:
    """Wait until so many have been."""
    await until(lambda: broker.stats().connects_refused >= count)


def test_handshakes_that_fail_are_told_together(heard: Heard, mqtt_tls: Certificates) -> None:
    clock = Clock()
    places = [
        rmqtt.Listener("mqtts://127.0.0.1:0", tls=mqtt_tls.for_listener()),
        rmqtt.Listener("ws://127.0.0.1:0"),
        rmqtt.Listener("mqtt://127.0.0.1:0", proxy_protocol=["127.0.0.1"]),
    ]
    with rmqtt.Broker(*places, allow_anonymous=True, clock=clock) as broker:
        for number, url in enumerate(broker.urls):

            def stranger(port: int) -> None:
                with socket.create_connection(("127.0.0.1", port)) as one:
                    one.sendall(b"x\n\x1b[31m: all is lost\r\n\r\n".ljust(64))
                    with contextlib.suppress(ConnectionResetError):
                        while one.recv(1000):
                            pass

            port = int(url.rpartition(":")[2].partition("/")[0])
            stranger(port)
            record = heard.until("handshakes failed: 1 at", url, "the last with 127.0.0.1:")
            assert record.levelno == logging.INFO
            assert "lost" not in record.getMessage()
            for _ in range(5):
                stranger(port)
            # Who was turned away hears of it before it is counted.
            asyncio.run(turned_away(broker, 7 * number + 6))
            clock.advance(1)
            stranger(port)
            heard.until("handshakes failed: 6 at", url)


def test_a_limit_is_told_once_for_all_who_reach_it_within_a_second(heard: Heard) -> None:
    clock, limits = Clock(), rmqtt.Limits(connections_max=1)
    with rmqtt.Broker("mqtt://127.0.0.1:0", limits=limits, clock=clock) as broker:

        def turned_away() -> None:
            with socket.create_connection(("127.0.0.1", broker.port)) as one:
                assert one.recv(1) == b""

        with rmqtt.SyncClient(broker.url):
            turned_away()
            heard.until("limit connections_max reached 1 times")
            for _ in range(5):
                turned_away()
            assert broker.stats().limits_reached["connections_max"] == 6
            clock.advance(1)
            heard.until("limit connections_max reached 5 times")


@pytest.mark.parametrize("version", ["5.0", "3.1.1"])
def test_nobody_writes_lines_of_his_own_into_the_log(heard: Heard, version: Any) -> None:
    names = [
        "x\nERROR root: all is lost",
        "x\r\x1b[2J\x1b]0;title\x07",
        'x" connected from 10.0.0.1',
        "x\u202egnp\u2028",
        "%s%n%(name)s",
    ]
    with rmqtt.Broker("mqtt://127.0.0.1:0", limits=rmqtt.Limits(packet_size_max=1_000_000)) as broker:
        for name in names:
            with socket.create_connection(("127.0.0.1", broker.port)) as stranger:
                connect = rmqtt.Connect(client_id=name, clean_start=True, keep_alive=0)
                stranger.sendall(rmqtt.encode(connect, version=version))
                stranger.recv(1)
            line = heard.until("MQTT", "session new").getMessage()
            assert line.isprintable()
            assert line.startswith(('client "x', 'client "%s%n%(name)s" '))
            assert line.count(" connected from 127.0.0.1:") == 1
            assert line.count('" connected from 10.0.0.1') == 0 or '\\" connected from 10.0.0.1' in line


def test_a_name_of_any_length_makes_a_short_line(heard: Heard) -> None:
    with rmqtt.Broker("mqtt://127.0.0.1:0") as broker, rmqtt.SyncClient(broker.url, client_id="x" * 65_000):
        assert len(heard.until("connected from").getMessage()) < 500


async def test_a_broker_writes_no_lines_of_its_own_either(heard: Heard) -> None:
    async with told() as (broker, url), rmqtt.Client(url, reconnect=None):
        broker.say(
            rmqtt.Disconnect(reason_code=rmqtt.ReasonCode(0x8B), reason_string="bye\nERROR root: \x1b[2J" + "x" * 5000)
        )
        line = heard.until("has given up").getMessage()
    assert line.isprintable()
    assert len(line) < 1500


def test_no_secret_is_ever_told(heard: Heard) -> None:
    secret = "hunter2hunter2"
    auth = {"alice": secret}
    will = rmqtt.Will(topic="gone", payload=secret, user_properties=[("k", secret)])
    with rmqtt.Broker("mqtt://127.0.0.1:0", auth=auth) as broker:
        options: dict[str, Any] = {
            "username": "alice",
            "password": secret,
            "will": will,
            "user_properties": [("token", secret)],
        }
        with rmqtt.SyncClient(broker.url, **options) as client:
            client.publish("a", secret, qos=1)
        with pytest.raises(rmqtt.ConnectRefused):
            rmqtt.SyncClient(broker.url, username="alice", password=secret + "!").connect()
        with rmqtt.SyncClient(broker.url, auth=rmqtt.ScramSha256("alice", secret)):
            pass
    lines: list[str] = []
    while not (lines and "stopped" in lines[-1]):
        lines.append(heard.records.get(timeout=GUARD).getMessage())
    assert len(lines) > 8
    assert not [line for line in lines if "hunter2" in line]


def test_a_record_says_when_it_happened_and_not_when_there_was_time_to_tell(heard: Heard) -> None:
    class Slow(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if "listening" in record.getMessage():
                held.wait(GUARD)

    held, slow = threading.Event(), Slow()
    logging.getLogger("rmqtt").addHandler(slow)
    try:
        with rmqtt.Broker("mem://when"), rmqtt.SyncClient("mem://when", client_id="early"):
            by = time.time()
            held.set()
            assert heard.until('"early"', "connected from this process").created <= by
    finally:
        held.set()
        logging.getLogger("rmqtt").removeHandler(slow)


def test_what_is_missing_is_counted_and_nobody_waits_for_a_handler(heard: Heard) -> None:
    class Stuck(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            held.wait(GUARD)

    held, stuck = threading.Event(), Stuck()
    logging.getLogger("rmqtt").addHandler(stuck)
    try:
        with rmqtt.Broker("mem://missing") as broker:
            for _ in range(600):
                with rmqtt.SyncClient("mem://missing") as client:
                    client.publish("a", b"", qos=1)
            held.set()
            heard.until("entries are missing here")
            assert broker.stats().connects_accepted == 600
    finally:
        held.set()
        logging.getLogger("rmqtt").removeHandler(stuck)


def test_a_filter_that_raises_is_told_of_and_ends_nothing(heard: Heard, monkeypatch: pytest.MonkeyPatch) -> None:
    raised: queue.SimpleQueue[object] = queue.SimpleQueue()
    monkeypatch.setattr(threading, "excepthook", raised.put)

    def refuse(_: logging.LogRecord) -> bool:
        raise ZeroDivisionError

    logger = logging.getLogger("rmqtt.broker")
    logger.addFilter(refuse)
    try:
        with rmqtt.Broker("mem://filter"):
            assert getattr(raised.get(timeout=GUARD), "exc_type", None) is ZeroDivisionError
    finally:
        logger.removeFilter(refuse)
    with rmqtt.Broker("mem://filter"):
        heard.until("listening at mem://filter")


def run(program: str) -> str:
    """Run a program; it has to end well, and to say nothing on standard error."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-X", "dev", "-c", textwrap.dedent(program)],
        capture_output=True,
        text=True,
        timeout=GUARD,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def test_what_was_told_before_the_end_of_the_program_is_in_the_log() -> None:
    said = run("""
        import logging, sys, rmqtt
        logging.basicConfig(level=logging.INFO, stream=sys.stdout, format="%(name)s %(message)s")
        broker = rmqtt.Broker("mem://end").start()
        client = rmqtt.SyncClient("mem://end", client_id="last")
        client.connect()
        client.close()
        broker.stop()
        """)
    assert said.splitlines()[-1] == "rmqtt.broker stopped"
    assert 'rmqtt.client client "last" of mem://end is closed' in said


def test_a_program_that_asks_for_no_log_gets_none() -> None:
    assert not run("""
        import rmqtt
        with rmqtt.Broker("mem://quiet", limits=rmqtt.Limits(sessions_max=1)), rmqtt.SyncClient("mem://quiet"):
            try:
                rmqtt.SyncClient("mem://quiet").connect()
            except rmqtt.ConnectRefused:
                pass
        """)


def test_no_thread_runs_before_something_connects() -> None:
    said = run("""
        import threading, rmqtt
        broker, client = rmqtt.Broker("mem://none"), rmqtt.SyncClient("mem://none")
        print([thread.name for thread in threading.enumerate()])
        with broker:
            print([thread.name for thread in threading.enumerate()])
        """)
    assert said.splitlines() == ["['MainThread']", "['MainThread', 'rmqtt-log']"]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="forks")
def test_a_forked_child_has_a_log_of_its_own() -> None:
    said = run("""
        import logging, os, sys, warnings, rmqtt
        warnings.simplefilter("ignore", DeprecationWarning)
        logging.basicConfig(level=logging.INFO, stream=sys.stdout, format="%(message)s")
        broker = rmqtt.Broker("mem://parent").start()
        child = os.fork()
        if child:
            _, status = os.waitpid(child, 0)
            broker.stop()
            raise SystemExit(status)
        with rmqtt.Broker("mem://child"):
            pass
        """)
    assert "listening at mem://child" in said
