"""What goes wrong with the outbox's file while it is used: no room, others who have it, places that are none."""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING, Any

import pytest
import rmqtt
from held_broker import GUARD
from programs import assert_clean, run_script, script

if TYPE_CHECKING:
    from pathlib import Path

KEPT: dict[str, Any] = {"client_id": "meter", "clean_start": False, "session_expiry": 3600}

#: Publishes until its files may not grow any more.
NO_ROOM = """
    import asyncio, os, resource, sys, rmqtt

    async def main(url, path):
        outbox = rmqtt.Outbox(path=path)
        client = rmqtt.Client(url, client_id="meter", clean_start=False, session_expiry=3600, outbox=outbox)
        await client.connect()
        size = os.path.getsize(path)
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))
        number, failures = 0, []
        while not failures:
            await client.publish("n", f"{number} ", qos=2)
            number += 1
            messages = [client.publish("n", f"{number + n} ".ljust(number * 1000), qos=2) for n in range(9)]
            failures = [it for it in await asyncio.gather(*messages, return_exceptions=True) if isinstance(it, Exception)]
            number += 9 if not failures else 0
        assert {type(error) for error in failures} == {rmqtt.StorageError}, failures
        assert "cannot be written" in str(failures[0]), failures
        try:
            client.publish_nowait("n", qos=1)
        except rmqtt.StorageError:
            print(number)
        await client.close()

    asyncio.run(main(*sys.argv[1:]))
"""

HOLDER = """
    import rmqtt, sys
    outbox = rmqtt.Outbox(path=sys.argv[2])
    with rmqtt.SyncClient(sys.argv[1], client_id="meter", clean_start=False, session_expiry=3600, outbox=outbox):
        print("held", flush=True)
        input()
"""

FORKED = """
    import os, sys, warnings, rmqtt
    warnings.filterwarnings("ignore", "This process .* is multi-threaded", DeprecationWarning)

    def client():
        outbox = rmqtt.Outbox(path=sys.argv[2])
        return rmqtt.SyncClient(sys.argv[1], client_id="meter", clean_start=False, session_expiry=3600, outbox=outbox)

    end, ends = os.pipe()
    with client() as first:
        child = os.fork()
        if child == 0:
            try:
                first.publish("n", qos=1)
            except RuntimeError as error:
                assert "fork" in str(error), error
                os.read(end, 1)
                os._exit(0)
            os._exit(1)
        first.publish("n", qos=1)
    with client() as second:
        second.publish("n", qos=1)
    os.write(ends, b".")
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
"""


def options(path: Path) -> dict[str, Any]:
    return {**KEPT, "outbox": rmqtt.Outbox(path=path)}


async def test_without_room_the_client_ends_and_what_it_had_said_is_safe(tmp_path: Path) -> None:
    path = tmp_path / "outbox"
    with rmqtt.Broker("mqtt://127.0.0.1:0") as broker:
        async with (
            asyncio.timeout(GUARD),
            rmqtt.Client(broker.url) as reader,
            reader.subscribe("n", qos=2, maxsize=10_000, max_bytes=1 << 30) as heard,
        ):
            ended = await asyncio.to_thread(run_script, NO_ROOM, broker.url, os.fspath(path))
            assert_clean(ended)
            acknowledged = int(ended.stdout)
            assert acknowledged >= 1
            # There is room again.
            async with rmqtt.Client(broker.url, **options(path)) as client:
                await client.drain()
                await client.publish("n", b"-1 ", qos=2)
            numbers = []
            while (number := int((await heard.get()).text().strip())) >= 0:
                numbers.append(number)
    assert numbers == list(range(len(numbers)))
    assert len(numbers) >= acknowledged


def test_a_file_that_another_process_has_is_an_error_until_that_process_is_gone(tmp_path: Path) -> None:
    path = tmp_path / "outbox"
    with rmqtt.Broker("mqtt://127.0.0.1:0") as broker:
        with script(HOLDER, broker.url, os.fspath(path)) as holder:
            holder.expect("held")
            with pytest.raises(rmqtt.StorageError, match="in use by another client or process"):
                rmqtt.SyncClient(broker.url, **options(path)).connect()
            # Nothing has become of it: it is killed by the end of this block.
        with rmqtt.SyncClient(broker.url, **options(path)) as client:
            client.publish("n", qos=1)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the system has no fork")
def test_a_forked_process_cannot_use_the_file_and_does_not_hold_it_behind_a_close(tmp_path: Path) -> None:
    with rmqtt.Broker("mqtt://127.0.0.1:0") as broker:
        ended = run_script(FORKED, broker.url, os.fspath(tmp_path / "outbox"))
    assert_clean(ended)


@pytest.mark.parametrize("place", ["a directory", "below a file", "not writable"])
def test_a_place_that_is_none_is_an_error(tmp_path: Path, place: str) -> None:
    path = tmp_path / "outbox"
    if place == "a directory":
        path.mkdir()
    elif place == "below a file":
        path.write_bytes(b"")
        path /= "outbox"
    else:
        if not hasattr(os, "geteuid") or os.geteuid() == 0:
            pytest.skip("may write everywhere")
        tmp_path.chmod(0o500)
    with rmqtt.Broker("mqtt://127.0.0.1:0") as broker:
        for _ in range(2):
            with pytest.raises(rmqtt.StorageError, match="cannot be opened"):
                rmqtt.SyncClient(broker.url, **options(path)).connect()
    assert list(tmp_path.glob("*damaged*")) == []
