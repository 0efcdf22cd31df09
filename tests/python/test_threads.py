"""`Broker(threads=…)`: connections that stay on threads of the broker's own."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
import rmqtt
from rmqtt.testing import Clock


def threads_of_this_process() -> int:
    return len(list(Path("/proc/self/task").iterdir()))


async def test_clients_on_different_threads_talk_to_each_other() -> None:
    with rmqtt.Broker("mqtt://127.0.0.1:0", threads=2) as broker:
        async with (
            rmqtt.Client(broker.url) as one,
            rmqtt.Client(broker.url) as other,
            broker.client() as inside,
            one.subscribe("a/#", qos=2) as heard,
            inside.subscribe("a/#", qos=1) as heard_inside,
        ):
            await asyncio.gather(*(other.publish(f"a/{number}", b"x", qos=2) for number in range(100)))
            for messages in (heard, heard_inside):
                topics = [(await messages.get(timeout=30)).topic for _ in range(100)]
                assert topics == [f"a/{number}" for number in range(100)]


@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="counts threads as Linux shows them")
def test_the_threads_end_with_the_broker() -> None:
    with rmqtt.Broker("mqtt://127.0.0.1:0", threads=3):
        pass
    before = threads_of_this_process()
    for _ in range(30):
        with rmqtt.Broker("mqtt://127.0.0.1:0", threads=3):
            assert threads_of_this_process() >= 3
    assert threads_of_this_process() <= before + 3


async def test_a_crash_ends_them_too_and_a_session_is_taken_up_again_on_others() -> None:
    broker = rmqtt.Broker("mqtt://127.0.0.1:0", threads=2)
    with broker:
        options: Any = {"client_id": "c", "clean_start": False, "session_expiry": 60, "reconnect": None}
        async with rmqtt.Client(broker.url, **options) as client:
            kept = await client.subscribe("kept", qos=1)
        assert kept.filters == ("kept",)
        broker.crash(keep="acknowledged")
        broker.start()
        assert await broker.publish("kept", b"1", qos=1) == 1
        async with rmqtt.Client(broker.url, **options) as client, client.subscribe("kept", qos=1) as messages:
            assert (await messages.get(timeout=30)).payload == b"1"


@pytest.mark.parametrize("threads", [-1, 65])
def test_a_number_of_threads_out_of_range_is_refused(threads: int) -> None:
    with pytest.raises(ValueError, match="threads must be 0 to 64"):
        rmqtt.Broker(threads=threads)


def test_a_clock_that_tests_move_goes_with_no_threads() -> None:
    with pytest.raises(ValueError, match="needs threads=0"):
        rmqtt.Broker(threads=1, clock=Clock())
