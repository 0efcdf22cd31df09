"""What is over is gone: threads, sockets, descriptors, objects; and what was forgotten is warned of."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import socket
import threading
import weakref
from pathlib import Path
from typing import Any

import pytest
import rmqtt
from held_broker import HeldBroker
from loops import KINDS, on_every_loop, run, until


def descriptors() -> list[str]:
    """What this process has open: `socket:[…]`, `pipe:[…]`, files."""
    found = []
    for entry in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):  # the listing's own
            found.append(str(entry.readlink()))
    return found


def count_sockets() -> int:
    return sum(name.startswith("socket:") for name in descriptors())


def count_threads() -> int:
    """Python's and our own."""
    return len(list(Path("/proc/self/task").iterdir()))


async def use_everything(url: str) -> None:
    """Be busy: publish, subscribe, iterate, cancel, leave in the middle."""
    will = rmqtt.Will(topic="will", payload=b"gone")
    async with rmqtt.Client(url, will=will) as client, rmqtt.Client(url, version="3.1.1") as old:
        async with client.subscribe("a/#", qos=2) as messages, old.subscribe("a/+", qos=1) as others:
            await asyncio.gather(*(client.publish("a/b", str(n), qos=rmqtt.QoS(n % 3)) for n in range(100)))
            async for message in messages:
                assert message.topic == "a/b"
                break
            await others.get()
            waiting = asyncio.create_task(old.subscribe("never").__aenter__())
            await asyncio.sleep(0)
            waiting.cancel()
            await asyncio.gather(waiting, return_exceptions=True)
        for _ in range(10):
            operation: Any = client.publish("a", b"1", qos=1)
            operation.cancel()


@pytest.mark.parametrize("kind", KINDS)
def test_brokers_and_clients_leave_no_thread_and_no_socket(kind: str) -> None:
    async def main() -> None:
        async with rmqtt.Broker("mqtt://127.0.0.1:0") as broker:
            await use_everything(broker.url)

    run(main(), kind)  # starts the threads of the process, which stay
    gc.collect()
    before = count_threads(), len(descriptors()), threading.active_count()
    for _ in range(10):
        run(main(), kind)
    gc.collect()
    assert (count_threads(), len(descriptors()), threading.active_count()) == before


def test_a_broker_used_by_with_leaves_no_thread_and_no_socket() -> None:
    def main() -> None:
        with rmqtt.Broker("mqtt://127.0.0.1:0") as broker:
            run(use_everything(broker.url))
            run(use_everything(broker.url))

    main()
    gc.collect()
    before = count_threads(), len(descriptors())
    for _ in range(10):
        main()
    gc.collect()
    assert (count_threads(), len(descriptors())) == before


def test_a_broker_started_and_stopped_again_and_again_frees_its_port_each_time() -> None:
    broker = rmqtt.Broker("mqtt://127.0.0.1:0")
    with broker:
        port = broker.port
    before = count_sockets()
    again = rmqtt.Broker(f"mqtt://127.0.0.1:{port}")
    for _ in range(20):
        with again:
            assert again.port == port
        assert count_sockets() == before


def test_a_client_that_nobody_closed_warns_and_leaves_no_socket(broker: rmqtt.Broker) -> None:
    async def main() -> None:
        forgotten = [rmqtt.Client(broker.url)]
        await forgotten[0].__aenter__()
        await forgotten[0].publish("a", b"1", qos=1)
        with pytest.warns(ResourceWarning, match=r"async with|close"):
            forgotten.clear()
        await until(lambda: broker.stats().connections == 0)

    before = count_sockets()
    run(main())
    assert count_sockets() == before


def test_a_broker_that_nobody_stopped_warns_and_frees_its_port() -> None:
    broker = rmqtt.Broker("mqtt://127.0.0.1:0")
    broker.start()
    port = broker.port
    forgotten = [broker]
    del broker
    with socket.create_connection(("127.0.0.1", port), 10) as onlooker:
        with pytest.warns(ResourceWarning, match=r"with|stop"):
            forgotten.clear()
        # Threads of its own stop it: first it listens no more, then its clients are let go.
        with contextlib.suppress(ConnectionResetError):  # it had not been taken in yet
            assert onlooker.recv(1) == b""
    with rmqtt.Broker(f"mqtt://127.0.0.1:{port}"):
        pass


def test_a_subscription_that_nobody_left_ends_with_its_client(broker: rmqtt.Broker) -> None:
    async def main() -> None:
        async with rmqtt.Client(broker.url) as client:
            messages = await client.subscribe("a", qos=1).__aenter__()
            waiting = asyncio.create_task(messages.get())
            await asyncio.sleep(0)
        with pytest.raises(rmqtt.Closed):
            await asyncio.wait_for(waiting, 10)

    run(main())


@pytest.mark.parametrize("kind", ["client", "subscription", "broker", "message"])
def test_objects_are_collected_when_nobody_knows_them(kind: str, broker: rmqtt.Broker) -> None:
    async def main() -> weakref.ref[Any]:
        async with rmqtt.Client(broker.url) as client, client.subscribe("a", qos=1) as messages:
            await client.publish("a", b"1", qos=1)
            message = await messages.get()
            own = rmqtt.Broker("mqtt://127.0.0.1:0")
            async with own:
                pass
            return weakref.ref({"client": client, "subscription": messages, "broker": own, "message": message}[kind])

    reference = run(main())
    gc.collect()
    assert reference() is None


@on_every_loop
async def test_a_stream_left_in_the_middle_holds_nothing(broker: rmqtt.Broker) -> None:
    async with rmqtt.Client(broker.url) as client:
        for _ in range(20):
            async with client.subscribe("a", qos=1) as messages:
                await asyncio.gather(*(client.publish("a", bytes(1000), qos=1) for _ in range(20)))
                async for _ in messages:
                    break
        assert broker.stats().subscriptions == 0


def test_a_client_closed_while_others_wait_ends_every_wait() -> None:
    async def main(url: str) -> None:
        client = rmqtt.Client(url)
        await client.__aenter__()
        messages = await client.subscribe("a", qos=1).__aenter__()
        waiting = [asyncio.ensure_future(messages.get()), *(client.publish("a", str(n), qos=1) for n in range(10))]
        await asyncio.to_thread(broker.wait_for, lambda broker: broker.held == 10)
        broker.cut()
        leaving = asyncio.create_task(client.__aexit__(RuntimeError, RuntimeError("on purpose"), None))
        outcomes = await asyncio.wait_for(asyncio.gather(*waiting, return_exceptions=True), 20)
        assert all(isinstance(outcome, rmqtt.MqttError) for outcome in outcomes), outcomes
        await asyncio.wait_for(leaving, 10)

    with HeldBroker() as broker:
        run(main(broker.url))
