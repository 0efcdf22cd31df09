"""`Outbox(path=...)` outlives the process: what was not acknowledged is sent by the next, once."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest
import rmqtt
from held_broker import CONNECT, GUARD, HeldBroker

if TYPE_CHECKING:
    from pathlib import Path

NEVER = rmqtt.Reconnect(initial=3600, factor=1, jitter="none")

#: Publishes without end, and says the number of each message when it is in the outbox.
PUBLISHER = """
import asyncio, sys, rmqtt
async def main(url, path, qos, first):
    client = rmqtt.Client(url, client_id="meter", clean_start=False, session_expiry=3600,
                          outbox=rmqtt.Outbox(path=path, max_messages=64))
    async with client:
        print("connected", client.stats().restored, flush=True)
        number = first
        done = set()
        while True:
            task = asyncio.create_task(client.publish("n", str(number), qos=qos))
            done.add(task)
            task.add_done_callback(lambda task, number=number: print(number, flush=True))
            number += 1
            if len(done) >= 48:
                _, done = await asyncio.wait(done, return_when=asyncio.FIRST_COMPLETED)
asyncio.run(main(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])))
"""


def kept(path: Path, **outbox: Any) -> dict[str, Any]:
    return {
        "client_id": "meter",
        "clean_start": False,
        "session_expiry": 3600,
        "reconnect": NEVER,
        "outbox": rmqtt.Outbox(path=path, **outbox),
    }


async def publish_and_die(url: str, path: Path, qos: int, first: int, acknowledged: int) -> list[int]:
    """Run a publisher until so many messages are acknowledged, kill it, and return their numbers."""
    program = subprocess.Popen(
        [sys.executable, "-c", PUBLISHER, url, os.fspath(path), str(qos), str(first)], stdout=subprocess.PIPE, text=True
    )
    assert program.stdout is not None
    numbers: list[int] = []
    with program:
        lines = iter(program.stdout.readline, "")
        assert (await asyncio.to_thread(next, lines)).startswith("connected")
        while len(numbers) < acknowledged:
            numbers.append(int(await asyncio.to_thread(next, lines)))
        program.send_signal(signal.SIGKILL)
        numbers += [int(line) for line in lines if line.endswith("\n")]
    return numbers


@pytest.mark.parametrize("qos", [1, 2])
async def test_a_killed_publisher_loses_nothing_and_repeats_no_message_of_qos_2(tmp_path: Path, qos: rmqtt.QoS) -> None:
    path = tmp_path / "outbox"
    with rmqtt.Broker("mqtt://127.0.0.1:0") as broker:
        async with (
            asyncio.timeout(5 * GUARD),  # each life is a program that has to start
            rmqtt.Client(broker.url) as reader,
            reader.subscribe("n", qos=2, maxsize=100_000) as heard,
        ):
            acknowledged = []
            for life in range(3):
                acknowledged += await publish_and_die(broker.url, path, qos, life * 100_000, 40)
            async with rmqtt.Client(broker.url, **kept(path)) as client:
                await client.drain()
                assert client.stats().restored == 0
                await client.publish("n", b"end", qos=1)
            numbers = []
            while (message := await heard.get(timeout=GUARD)).payload != b"end":
                numbers.append(int(message.payload))
    assert set(acknowledged) <= set(numbers)
    once = list(dict.fromkeys(numbers))
    assert once == sorted(once)
    for life in range(3):
        mine = [number % 100_000 for number in once if number // 100_000 == life]
        assert mine == list(range(len(mine)))
    if qos == 2:
        assert len(numbers) == len(once)


async def test_what_was_published_offline_is_sent_by_the_next_client_in_order(tmp_path: Path) -> None:
    path = tmp_path / "outbox"
    with rmqtt.Broker("mqtt://127.0.0.1:0") as broker:
        url = broker.url
        client = rmqtt.Client(url, **kept(path))
        events = client.events()
        await client.connect()
    async with asyncio.timeout(GUARD):
        while not isinstance(await anext(events), rmqtt.Disconnected):
            pass
        receipts = [client.publish_nowait("n", str(number), qos=2) for number in range(5)]
        await client.close(timeout=0)
        assert {receipt.state for receipt in receipts} == {"failed"}
    with rmqtt.Broker(url) as broker:
        async with rmqtt.Client(url) as reader, reader.subscribe("n", qos=2) as heard:
            async with rmqtt.Client(url, **kept(path)) as client:
                await client.drain()
            numbers = [int((await heard.get(timeout=GUARD)).payload) for _ in range(5)]
    assert numbers == list(range(5))


async def test_a_connect_that_was_given_up_leaves_its_file_to_the_next(tmp_path: Path) -> None:
    with HeldBroker(hold=(CONNECT,)) as broker:
        for _ in range(20):
            client = rmqtt.Client(broker.url, **kept(tmp_path / "outbox"))
            tries = broker.packets.count(CONNECT)
            connecting = asyncio.create_task(client.connect())
            seen = asyncio.create_task(broker.saw(lambda it, tries=tries: it.packets.count(CONNECT) > tries))  # type: ignore[misc]
            await asyncio.wait((connecting, seen), return_when=asyncio.FIRST_COMPLETED)
            assert connecting.cancel(), connecting.exception()
            await seen


@pytest.mark.parametrize("on_full", ["wait", "drop_oldest"])
async def test_what_was_taken_back_offline_is_not_sent_by_the_next_client(tmp_path: Path, on_full: Any) -> None:
    path = tmp_path / "outbox"
    with rmqtt.Broker("mqtt://127.0.0.1:0") as broker:
        url = broker.url
        client = rmqtt.Client(url, **kept(path, on_full=on_full))
        events = client.events()
        await client.connect()
    async with asyncio.timeout(GUARD):
        while not isinstance(await anext(events), rmqtt.Disconnected):
            pass
        receipts = [client.publish_nowait("n", str(number), qos=1) for number in range(4)]
        assert receipts[0].cancel()
        assert receipts[2].cancel()
        with pytest.raises(rmqtt.MqttTimeout):
            await client.publish("n", b"late", qos=2, timeout=0.001)
        await client.close(timeout=0)
        assert [receipt.state for receipt in receipts] == ["withdrawn", "failed", "withdrawn", "failed"]
    with rmqtt.Broker(url) as broker:
        async with rmqtt.Client(url) as reader, reader.subscribe("n", qos=2) as heard:
            async with rmqtt.Client(url, **kept(path)) as client:
                assert client.stats().restored <= 2
                await client.drain()
            assert [(await heard.get(timeout=GUARD)).payload for _ in range(2)] == [b"1", b"3"]
            assert heard.get_nowait() is None


async def test_messages_that_come_before_the_next_subscription_are_not_lost(tmp_path: Path) -> None:
    path = tmp_path / "outbox"
    with rmqtt.Broker("mqtt://127.0.0.1:0") as broker:
        async with rmqtt.Client(broker.url, **kept(path)) as client:
            earlier = await client.subscribe("a", qos=2)
        # Whoever lets go of a subscription gives it up.
        del earlier
        async with rmqtt.Client(broker.url) as other:
            for number in range(3):
                await other.publish("a", str(number), qos=2)
        async with rmqtt.Client(broker.url, **kept(path)) as client:
            await client.publish("b", qos=1)
            async with client.subscribe("a", qos=2) as heard:
                assert [int((await heard.get(timeout=GUARD)).payload) for _ in range(3)] == [0, 1, 2]


@pytest.mark.parametrize(
    ("options", "missing"),
    [
        ({"client_id": None}, "client_id"),
        ({"clean_start": True}, "clean_start"),
        ({"session_expiry": 0}, "session_expiry"),
    ],
)
def test_a_path_without_a_session_that_is_kept_makes_no_sense(
    tmp_path: Path, options: dict[str, Any], missing: str
) -> None:
    with pytest.raises(ValueError, match=missing):
        rmqtt.Client(**{**kept(tmp_path / "outbox"), **options})


async def test_a_file_has_one_client(tmp_path: Path) -> None:
    path = tmp_path / "outbox"
    with rmqtt.Broker("mqtt://127.0.0.1:0") as broker:
        async with rmqtt.Client(broker.url, **kept(path)):
            with pytest.raises(rmqtt.StorageError, match="in use"):
                await rmqtt.Client(broker.url, **kept(path)).connect()
        with pytest.raises(rmqtt.StorageError, match="belongs to the client id"):
            await rmqtt.Client(broker.url, **{**kept(path), "client_id": "other"}).connect()
        # Nothing has become of it.
        async with rmqtt.Client(broker.url, **kept(path)):
            pass


@pytest.mark.parametrize("damage", ["truncated", "emptied", "zeroed", "flipped", "foreign"])
async def test_a_damaged_file_is_an_error_and_set_aside(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "outbox"
    with rmqtt.Broker("mqtt://127.0.0.1:0") as broker:
        async with rmqtt.Client(broker.url, **kept(path)) as client:
            await client.publish("a", qos=1)
        whole = path.read_bytes()
        path.write_bytes(
            {
                "truncated": whole[: len(whole) // 2],
                "emptied": b"",
                "zeroed": bytes(len(whole)),
                "flipped": bytes(byte ^ 0x10 for byte in whole),
                "foreign": b"not an outbox at all" * 1000,
            }[damage]
        )
        broken = path.read_bytes()
        with pytest.raises(rmqtt.StorageError, match=r"set aside as .*outbox\.damaged-1"):
            await rmqtt.Client(broker.url, **kept(path)).connect()
        assert not path.exists()
        assert (tmp_path / "outbox.damaged-1").stat().st_size >= len(broken)
        async with rmqtt.Client(broker.url, **kept(path)) as client:
            await client.publish("a", qos=1)


async def test_a_place_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    with rmqtt.Broker("mqtt://127.0.0.1:0") as broker, pytest.raises(rmqtt.StorageError, match="cannot be opened"):
        await rmqtt.Client(broker.url, **kept(tmp_path / "no" / "outbox")).connect()


def test_a_sync_client_has_it_too(tmp_path: Path) -> None:
    path = tmp_path / "outbox"
    with rmqtt.Broker("mqtt://127.0.0.1:0") as broker:
        for _ in range(2):
            with rmqtt.SyncClient(broker.url, **kept(path)) as client:
                client.publish("a", b"1", qos=2)
                assert client.stats().restored == 0
