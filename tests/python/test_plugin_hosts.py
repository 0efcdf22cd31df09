"""Brokers inside of a large asyncio program, as Home Assistant is one: many at once, foreign clients, blocked loops."""

from __future__ import annotations

import asyncio
import os
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import rmqtt

if TYPE_CHECKING:
    from rmqtt.pytest_plugin import BrokerFactory

#: Far more than anything takes.
GUARD = 20.0

on_linux = pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="counts in /proc")


def held() -> tuple[int, int, int]:
    """Count the threads and descriptors of this process, and the KiB of its memory."""
    resident = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    threads = len(list(Path("/proc/self/task").iterdir()))
    return threads, len(list(Path("/proc/self/fd").iterdir())), resident * os.sysconf("SC_PAGE_SIZE") // 1024


async def one_message(url: str, number: int) -> bytes:
    """Go through a broker once."""
    async with rmqtt.Client(url) as client, client.subscribe("a", qos=1) as messages:
        await client.publish("a", str(number), qos=1)
        return (await messages.get(GUARD)).payload


async def test_many_brokers_run_at_once(mqtt_broker_factory: BrokerFactory) -> None:
    brokers = [mqtt_broker_factory() for _ in range(50)]
    seen = await asyncio.gather(*(one_message(broker.url, n) for n, broker in enumerate(brokers)))
    assert seen == [str(n).encode() for n in range(50)]


async def test_a_blocked_loop_stalls_neither_the_broker_nor_others(mqtt_broker: rmqtt.Broker) -> None:
    served = threading.Event()

    def talk() -> None:
        with rmqtt.SyncClient(mqtt_broker.url) as other:
            for _ in range(100):
                other.publish("b", qos=1, timeout=GUARD)
        served.set()

    async with rmqtt.Client(mqtt_broker.url) as client, client.subscribe("a", qos=1) as messages:
        thread = threading.Thread(target=talk)
        await client.publish("a", b"before", qos=1)
        thread.start()
        time.sleep(0.3)  # somebody's integration does this in the loop
        assert served.wait(GUARD)
        thread.join()
        assert (await messages.get(GUARD)).payload == b"before"


@on_linux
def test_a_thousand_brokers_leave_nothing_behind() -> None:
    def one() -> None:
        with rmqtt.Broker("mqtt://127.0.0.1:0") as broker, rmqtt.SyncClient(broker.url) as client:
            messages = client.subscribe("a", qos=1)
            client.publish("a", b"1", qos=1)
            messages.get(GUARD)

    for _ in range(200):  # what is made once is made
        one()
    threads, descriptors, resident = held()
    for _ in range(1000):
        one()
    end = time.monotonic() + GUARD
    while held()[0] > threads or held()[1] > descriptors:  # the last socket is closed by a thread of its own
        assert time.monotonic() < end, f"{held()} is held, and {threads}, {descriptors} was before"
    assert held()[2] < resident + 4096
