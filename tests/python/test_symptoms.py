"""What users of other clients complain about, each as a test named for the symptom; the line above says whose it is."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import socket
import time
from typing import Any

import pytest
import rmqtt
from held_broker import GUARD, HeldBroker
from loops import on_every_loop, until
from programs import assert_clean, script

AT_ONCE = rmqtt.Reconnect(initial=0.01, factor=1, jitter="none")
SESSION: dict[str, Any] = {"client_id": "keeper", "clean_start": False, "session_expiry": 60, "reconnect": AT_ONCE}


def sent(broker: HeldBroker) -> list[int]:
    """Say what a broker was sent, in its order."""
    return [int(published.payload) for published in broker.published]


# paho.mqtt.python 613, 549, 439: wait_for_publish() never returns once the connection is lost.
@pytest.mark.parametrize("qos", [1, 2])
@on_every_loop
async def test_the_wait_for_a_publish_hangs_when_the_link_dies(qos: Any) -> None:
    with HeldBroker() as broker:
        async with rmqtt.Client(broker.url, reconnect=AT_ONCE) as client:
            waiting = client.publish("a", b"1", qos=qos)
            await broker.saw(lambda broker: broker.held == 1)
            broker.cut()
            broker.release_from_now_on()
            await asyncio.wait_for(waiting, GUARD)


# hbmqtt 140, zMQTT 34: without reconnect, publish and the iterator hang for ever after a disconnect.
@on_every_loop
async def test_without_reconnect_everything_hangs_after_a_cut() -> None:
    with HeldBroker() as broker:
        client = rmqtt.Client(broker.url, reconnect=None)
        await client.connect()
        messages = await client.subscribe("a")
        waiting = [
            asyncio.ensure_future(client.publish("a", b"1", qos=1)),
            asyncio.ensure_future(messages.get()),
            asyncio.ensure_future(anext(aiter(messages))),
            asyncio.ensure_future(client.drain()),
        ]
        await broker.saw(lambda broker: broker.held == 1)
        broker.cut()
        ends = await asyncio.wait_for(asyncio.gather(*waiting, return_exceptions=True), GUARD)
        assert [type(end) for end in ends] == [rmqtt.ConnectionLost] * 4
        # And what is asked for afterwards does not wait for what will never be.
        for late in (lambda: client.publish("a", qos=1), messages.get):
            with pytest.raises(rmqtt.MqttError):
                await asyncio.wait_for(late(), GUARD)
        await asyncio.wait_for(client.close(), GUARD)


# paho.mqtt.python 375, gmqtt 97 and 124: subscriptions are gone after the broker was restarted.
@on_every_loop
async def test_no_messages_come_after_the_broker_was_restarted() -> None:
    with rmqtt.Broker("mqtt://127.0.0.1:0") as broker:
        url = broker.url
        client = rmqtt.Client(url, reconnect=AT_ONCE)
        await client.connect()
        messages = await client.subscribe("a", qos=1)
    with rmqtt.Broker(url) as broker:
        await until(lambda: bool(broker.stats().subscriptions))
        await broker.publish("a", "again", qos=1)
        assert (await messages.get(timeout=GUARD)).text() == "again"
        await client.close()


# rumqtt 85, MQTT.js: after unsubscribing and subscribing again nothing arrives, or everything twice.
@on_every_loop
async def test_nothing_or_everything_twice_comes_after_subscribing_again(broker: rmqtt.Broker) -> None:
    async with rmqtt.Client(broker.url) as client:
        for n in range(3):
            async with client.subscribe("a", qos=1) as messages:
                await broker.publish("a", str(n), qos=1)
                assert (await messages.get(timeout=GUARD)).text() == str(n)
                assert messages.pending == 0
        assert broker.stats().subscriptions == 0


# paho.mqtt.python: publish() returns MQTT_ERR_QUEUE_SIZE, and the message is lost for those who do not look.
@on_every_loop
async def test_messages_are_lost_when_the_queue_is_full() -> None:
    with HeldBroker(receive_maximum=2) as broker:
        async with rmqtt.Client(broker.url, outbox=rmqtt.Outbox(max_messages=3)) as client:
            waiting = [client.publish("a", str(n), qos=1) for n in range(20)]
            with pytest.raises(rmqtt.QueueFull):
                client.publish_nowait("a", b"-1", qos=1)
            broker.release_from_now_on()
            await asyncio.wait_for(asyncio.gather(*waiting), GUARD)
        assert sent(broker) == list(range(20))


# MQTT.js 1121, paho.mqtt.c 892: memory grows for as long as the client is offline.
@on_every_loop
async def test_memory_grows_without_bound_while_offline() -> None:
    with HeldBroker() as broker:
        client = rmqtt.Client(
            broker.url, reconnect=rmqtt.Reconnect(initial=60, jitter="none"), outbox=rmqtt.Outbox(max_messages=10)
        )
        await client.connect()
        broker.cut()
        await until(lambda: not client.stats().connected)
        refused = 0
        for n in range(1000):
            try:
                client.publish_nowait("a", str(n), qos=1)
            except rmqtt.QueueFull:
                refused += 1
        assert (client.stats().queued_messages, refused) == (10, 990)
        await client.abort()


# MQTT.js 397: messages of QoS 0 are kept while offline, and flood the broker afterwards.
@on_every_loop
async def test_what_was_said_with_qos_0_while_offline_floods_the_broker_afterwards() -> None:
    with HeldBroker() as broker:
        async with rmqtt.Client(broker.url, reconnect=rmqtt.Reconnect(initial=0.2, jitter="none")) as client:
            broker.cut()
            await until(lambda: not client.stats().connected)
            for _ in range(100):
                await client.publish("a", b"0")
            await client.publish("a", b"1", qos=0)
            broker.release_from_now_on()
            await client.publish("a", b"2", qos=1)
        assert sent(broker) == [2]
        assert client.stats().dropped == 101


# paho.mqtt.python 527 and 354, paho.mqtt.java 310: to publish and wait inside on_message is a deadlock.
@pytest.mark.parametrize("qos", [0, 1, 2])
@on_every_loop
async def test_publishing_from_within_the_receive_loop_is_a_deadlock(qos: Any, broker: rmqtt.Broker) -> None:
    count = 50
    async with (
        asyncio.timeout(GUARD),
        rmqtt.Client(broker.url, receive_maximum=1, outbox=rmqtt.Outbox(max_messages=1)) as client,
        client.subscribe("ping", "pong", qos=2, maxsize=1) as messages,
    ):
        await client.publish("ping", b"0", qos=2)
        async for message in messages:
            if (n := int(message.payload)) == count:
                break
            await client.publish("pong" if message.topic == "ping" else "ping", str(n + 1), qos=qos)


# paho.mqtt.python 12: to subscribe inside on_message is a deadlock.
@on_every_loop
async def test_subscribing_from_within_the_receive_loop_is_a_deadlock(broker: rmqtt.Broker) -> None:
    async with asyncio.timeout(GUARD), rmqtt.Client(broker.url) as client, client.subscribe("bar", qos=1) as bar:
        await broker.publish("bar", qos=1)
        async for _ in bar:
            async with client.subscribe("foo", qos=1) as foo:
                await broker.publish("foo", b"1", qos=1)
                assert (await foo.get()).payload == b"1"
            break


# paho.mqtt.python 365 and 504, hivemq-mqtt-client 575: an exception in the handler is swallowed, or ends all handling.
@on_every_loop
async def test_an_exception_in_the_handler_is_swallowed_or_stops_everything(broker: rmqtt.Broker) -> None:
    async with rmqtt.Client(broker.url) as client, client.subscribe("a", qos=1) as messages:
        for n in range(3):
            await broker.publish("a", str(n), qos=1)
        handled = []
        with pytest.raises(ZeroDivisionError):
            async for message in messages:
                handled += [1 // int(message.payload)]
        async with asyncio.timeout(GUARD):
            async for message in messages:
                handled.append(int(message.payload))
                if len(handled) == 2:
                    break
        assert handled == [1, 2]


# aiomqtt, gmqtt, MQTT.js: a handler that blocks the loop stops the pings, and the broker drops the client.
def test_a_handler_that_blocks_for_long_loses_the_connection() -> None:
    from rmqtt.testing import Clock

    async def main() -> None:
        clock = Clock()
        async with (
            rmqtt.Broker("mem://blocked-handler", clock=clock) as broker,
            rmqtt.Client(broker.url, keep_alive=1) as client,
            client.subscribe("a", qos=1) as messages,
        ):
            await broker.publish("a", b"1", qos=1)
            await messages.get(timeout=GUARD)
            # The loop does nothing else meanwhile: what passes is twenty times the keep alive.
            clock.advance(seconds=20)
            await client.publish("a", b"2", qos=1)
            assert client.stats().connects == 1
            assert broker.clients

    asyncio.run(main())


class WithoutReaders(asyncio.SelectorEventLoop):
    """A loop like that of Windows: it has neither readers nor writers for others."""

    def add_reader(self, *_: object) -> None:
        raise NotImplementedError

    add_writer = remove_reader = remove_writer = add_reader  # type: ignore[assignment]


# aiomqtt 4, 66, 139, 265, 332; paho.mqtt.python 859: NotImplementedError on the default loop of Windows.
def test_a_loop_without_add_reader_does_not_do() -> None:
    async def main() -> None:
        with rmqtt.Broker("mqtt://127.0.0.1:0") as broker:
            async with rmqtt.Client(broker.url) as client, client.subscribe("a", qos=1) as messages:
                await asyncio.gather(*(client.publish("a", str(n), qos=1) for n in range(10)))
                assert [(await messages.get(timeout=GUARD)).text() for _ in range(10)] == list("0123456789")
                await messages.update("b")
                await client.publish_many([("b", b"1")] * 10, qos=1)
                assert len([await messages.get(timeout=GUARD) for _ in range(10)]) == 10
                async with client.respond("echo", echo):
                    assert (await client.request("echo", "hello", timeout=GUARD)).text() == "hello"
        async with rmqtt.Broker("mem://no-readers") as inside, rmqtt.Client(inside.url) as client:
            events = client.events()
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(anext(events), 0.01)
            await client.publish("a", qos=2)

    async def echo(request: rmqtt.Message) -> bytes:
        return request.payload

    with asyncio.Runner(loop_factory=WithoutReaders) as runner:
        runner.run(main())


# paho.mqtt.python 874: a round trip takes 40 ms, since small packets wait for the acknowledgement of those before.
@on_every_loop
async def test_each_round_trip_takes_40_ms(broker: rmqtt.Broker) -> None:
    async with rmqtt.Client(broker.url) as client, client.subscribe("a", qos=1) as messages:
        took = []
        for _ in range(20):
            begin = time.perf_counter()
            # Two small packets one after the other, and an answer: what Nagle's algorithm and delayed ACKs hold up.
            client.publish_nowait("b", b"1", qos=1)
            await asyncio.sleep(0)
            await client.publish("a", b"2", qos=1)
            await messages.get(timeout=GUARD)
            took.append(time.perf_counter() - begin)
        # Not all of them: the machine may be busy.
        assert min(took) < 0.04


# aiomqtt 377, hbmqtt 216, gmqtt 128: ending by a signal prints errors, or does not end at all.
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_stopping_by_a_signal_ends_in_errors(number: signal.Signals, broker: rmqtt.Broker) -> None:
    program = script(
        """
        import asyncio, signal, sys
        import rmqtt

        async def main():
            stop = asyncio.Event()
            for number in (signal.SIGTERM, signal.SIGINT):
                asyncio.get_running_loop().add_signal_handler(number, stop.set)
            async with rmqtt.Client(sys.argv[1]) as client, client.subscribe("a") as messages:
                listening = asyncio.create_task(anext(aiter(messages)))
                print("ready")
                await stop.wait()
                listening.cancel()

        asyncio.run(main())
        """,
        broker.url,
    )
    with program:
        program.expect("ready")
        program.signal(number)
        assert_clean(program.end(), within=5)


# aiomqtt 377: a task with a client that is cancelled at once leaves callbacks for a loop that is closed.
def test_a_client_that_is_given_up_at_once_complains_of_a_closed_loop(broker: rmqtt.Broker) -> None:
    program = script(
        """
        import asyncio, sys
        import rmqtt

        async def run_client():
            async with rmqtt.Client(sys.argv[1]):
                await asyncio.Event().wait()

        async def main(turns):
            task = asyncio.create_task(run_client())
            for _ in range(turns):
                await asyncio.sleep(0)
            task.cancel()

        for turns in range(20):
            asyncio.run(main(turns))
        """,
        broker.url,
    )
    with program:
        assert_clean(program.end())


# aiomqtt 25, hbmqtt 19 and 74: "exception was never retrieved" for what nobody waits for.
@on_every_loop
async def test_a_refused_or_lost_connection_leaves_exceptions_that_nobody_retrieves() -> None:
    # The loop of `on_every_loop` takes no complaint.
    with socket.create_server(("127.0.0.1", 0)) as nobody:
        closed_port = nobody.getsockname()[1]
    with pytest.raises(rmqtt.ConnectFailed):
        await rmqtt.Client(f"mqtt://127.0.0.1:{closed_port}").connect()
    with HeldBroker() as broker:
        client = rmqtt.Client(broker.url, reconnect=None)
        await client.connect()
        messages = await client.subscribe("a")
        broker.cut()
        await until(lambda: not client.stats().connected)
        del messages
        await client.close()


# paho.mqtt.python 550, gmqtt 139: what was published before the connection stood is lost, and the wait never ends.
@on_every_loop
async def test_publishing_before_connecting_hangs_or_loses() -> None:
    with HeldBroker() as broker:
        client = rmqtt.Client(broker.url)
        with pytest.raises(rmqtt.Closed):
            await client.publish("a", b"1", qos=1)
        with pytest.raises(rmqtt.Closed):
            client.publish_nowait("a", b"1")


# gmqtt 139, paho.mqtt.python 597: messages published just before disconnect() never reach the broker, large ones least.
@pytest.mark.parametrize("qos", [0, 1, 2])
@on_every_loop
async def test_leaving_right_after_publishing_loses_the_last_messages(qos: Any) -> None:
    with HeldBroker(hold=()) as broker:
        async with rmqtt.Client(broker.url) as client:
            for _ in range(5):
                client.publish_nowait("a", bytes(300_000), qos=qos)
        await broker.saw(lambda broker: broker.disconnected == 1)
        assert [len(published.payload) for published in broker.published] == [300_000] * 5


# paho.mqtt.python 33: disconnecting hangs when the broker is silent.
@on_every_loop
async def test_leaving_hangs_when_the_broker_says_nothing() -> None:
    with HeldBroker() as broker:
        client = rmqtt.Client(broker.url)
        await client.connect()
        waiting = asyncio.ensure_future(client.publish("a", b"1", qos=2))
        await broker.saw(lambda broker: broker.held == 1)
        await asyncio.wait_for(client.close(timeout=0.01), GUARD)
        with pytest.raises(rmqtt.Closed):
            await waiting


# paho.mqtt.python, MQTT.js: two clients with one id throw each other out for ever.
@on_every_loop
async def test_two_clients_with_one_id_throw_each_other_out_for_ever(broker: rmqtt.Broker) -> None:
    first = rmqtt.Client(broker.url, client_id="twin", reconnect=AT_ONCE)
    await first.connect()
    messages = await first.subscribe("a")
    async with rmqtt.Client(broker.url, client_id="twin", reconnect=AT_ONCE) as second:
        with pytest.raises(rmqtt.ServerDisconnected) as told:
            await messages.get(timeout=GUARD)
        assert told.value.reason_code == 0x8E
        await second.publish("a", qos=1)
        assert (first.stats().connects, second.stats().connects) == (1, 1)
    await first.close()


# MQTT.js and many others: packet ids run out, or one in use is given again, after 65 535 messages.
def test_packet_ids_run_out_after_65_535_messages(broker: rmqtt.Broker) -> None:
    async def main() -> None:
        count = 70_000
        async with rmqtt.Client(broker.url) as client:
            result = await client.publish_many((("a", b"") for _ in range(count)), qos=1)
            assert (result.published, result.failed) == (count, 0)
            await client.publish("a", qos=2)

    asyncio.run(main())


# gmqtt, paho.mqtt.python 597: payloads of megabytes stall, come in part, or block everybody else.
@on_every_loop
async def test_a_payload_of_megabytes_stalls_or_comes_in_part(broker: rmqtt.Broker) -> None:
    payload = bytes(range(256)) * 7_500
    async with rmqtt.Client(broker.url) as client, client.subscribe("a", qos=2) as messages:
        large = client.publish("a", payload, qos=2)
        await client.publish("a", b"after", qos=2)
        await large
        assert (await messages.get(timeout=GUARD)).payload == payload
        assert (await messages.get(timeout=GUARD)).payload == b"after"


# asyncio-mqtt, gmqtt: messages that come between two reads of the queue, or while nobody reads, are lost.
@on_every_loop
async def test_messages_that_come_while_nobody_reads_are_lost(broker: rmqtt.Broker) -> None:
    async with rmqtt.Client(broker.url, **SESSION) as client, client.subscribe("a", qos=1, maxsize=2) as messages:
        for n in range(10):
            await broker.publish("a", str(n), qos=1)
        assert await broker.disconnect("keeper")
        for n in range(10, 20):
            await broker.publish("a", str(n), qos=1)
        came: list[str] = []
        async with asyncio.timeout(GUARD):
            while "19" not in came:
                came.append((await messages.get()).text())
        assert list(dict.fromkeys(came)) == [str(n) for n in range(20)]


# paho.mqtt.python 354: publishing from several threads is a deadlock.
def test_publishing_from_several_threads_is_a_deadlock(broker: rmqtt.Broker) -> None:
    import threading

    with rmqtt.SyncClient(broker.url) as client, client.subscribe("a", qos=1, maxsize=1000) as messages:

        def publish() -> None:
            for _ in range(50):
                client.publish("a", b"1", qos=1)

        threads = [threading.Thread(target=publish, daemon=True) for _ in range(4)]
        for thread in threads:
            thread.start()
        for _ in range(200):
            messages.get(timeout=GUARD)
        for thread in threads:
            thread.join(GUARD)
            assert not thread.is_alive()


# aiomqtt: a client cannot be left while it is reconnecting.
@on_every_loop
async def test_a_client_cannot_be_left_while_it_reconnects() -> None:
    with HeldBroker() as broker:
        client = rmqtt.Client(broker.url, reconnect=rmqtt.Reconnect(initial=60, jitter="none"))
        await client.connect()
        listening = asyncio.ensure_future(anext(aiter(await client.subscribe("a"))))
        broker.cut()
        await until(lambda: not client.stats().connected)
        await asyncio.wait_for(client.close(timeout=0.01), GUARD)
        with contextlib.suppress(StopAsyncIteration):
            await asyncio.wait_for(listening, GUARD)
