"""Many loops, closed loops, blocked loops, full streams: the network goes on, and nobody waits for Python."""

from __future__ import annotations

import asyncio
import itertools
import os
import select
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest
import rmqtt
from held_broker import HeldBroker
from loops import KINDS, on_every_loop, run, until
from programs import Program, assert_clean, run_script, script

# Speaks to the broker by blocking sockets: publishes at QoS 1 and measures how long each acknowledgement takes.
NEIGHBOUR = """
    import socket, struct, sys, time
    host, port = sys.argv[1].removeprefix("mqtt://").split(":")
    s = socket.create_connection((host, int(port)), 20)
    s.sendall(bytes.fromhex("100c 0004 4d515454 04 02 0000 0000"))
    assert s.recv(4) == bytes.fromhex("20020000")
    print("ready")
    sys.stdin.readline()
    slowest = 0
    for n in range(1, 501):
        begin = time.monotonic()
        s.sendall(b"\\x32\\x06\\0\\x01n" + struct.pack(">H", n) + b"1")
        assert s.recv(4) == b"\\x40\\x02" + struct.pack(">H", n)
        slowest = max(slowest, time.monotonic() - begin)
    print("slowest", slowest)
"""


def descriptors() -> int:
    """How many files and sockets this process has open."""
    return len(list(Path("/proc/self/fd").iterdir()))


@pytest.mark.parametrize("kind", KINDS)
def test_a_loop_for_each_test_costs_no_descriptor(kind: str, broker: rmqtt.Broker) -> None:
    async def one_test(n: int) -> None:
        async with rmqtt.Client(broker.url) as client, client.subscribe("a", qos=1) as messages:
            await client.publish("a", str(n), qos=1)
            assert (await messages.get()).text() == str(n)

    def gone() -> bool:
        return broker.stats().connections == 0

    for n in range(10):
        run(one_test(n), kind)
    run(until(gone), kind)
    before = descriptors()
    for n in range(200):
        run(one_test(n), kind)
    run(until(gone), kind)
    # The latest one or two loops may still be known to somebody.
    assert descriptors() <= before + 2


def test_a_thousand_loops_that_only_look_leave_nothing() -> None:
    async def look() -> None:
        rmqtt.Client("mqtt://127.0.0.1:1")

    run(look())
    before, threads = descriptors(), threading.active_count()
    for _ in range(1_000):
        run(look())
    assert (descriptors(), threading.active_count()) == (before, threads)


def test_a_loop_closed_in_flight_harms_neither_process_nor_next_loop(broker: rmqtt.Broker) -> None:
    async def begin(client: rmqtt.Client) -> list[Any]:
        await client.__aenter__()
        return [client.publish("a", str(n), qos=1) for n in range(100)]

    for kind in KINDS:
        client = rmqtt.Client(broker.url)
        loop = asyncio.new_event_loop()
        operations = loop.run_until_complete(begin(client))
        loop.close()
        del operations

        async def following(client: rmqtt.Client) -> None:
            # Either it says that its loop is gone, or it works with this one; it never hangs.
            async with asyncio.timeout(10):
                await client.__aexit__(None, None, None)
            async with rmqtt.Client(broker.url) as other:
                await other.publish("a", b"1", qos=1)

        run(following(client), kind)


def test_a_wake_that_comes_after_the_loop_was_closed_writes_to_nobodys_file() -> None:
    async def begin(client: rmqtt.Client) -> list[Any]:
        await client.__aenter__()
        operations: list[Any] = [client.publish("a", str(n), qos=1) for n in range(50)]
        for operation in operations:
            operation.add_done_callback(lambda _: None)
        return operations

    with HeldBroker() as broker:
        client = rmqtt.Client(broker.url)
        loop = asyncio.new_event_loop()
        operations = loop.run_until_complete(begin(client))
        broker.wait_for(lambda broker: broker.held == 50)
        loop.close()
        del loop
        # Whoever takes the numbers that the loop's end has freed:
        pipes = [os.pipe() for _ in range(64)]
        events = [os.eventfd(0) for _ in range(16)] if sys.platform == "linux" else []
        try:
            broker.release_from_now_on()

            async def following() -> None:
                async with asyncio.timeout(10):
                    await client.__aexit__(None, None, None)

            run(following())
            broker.wait_for(lambda broker: broker.disconnected == 1)
            readable, _, _ = select.select([read for read, _ in pipes] + events, [], [], 0)
            assert not readable
            assert len(operations) == 50
        finally:
            for number in [*(end for pipe in pipes for end in pipe), *events]:
                os.close(number)


def test_publishing_from_other_threads_is_allowed(broker: rmqtt.Broker) -> None:
    threads, count = 4, 100

    async def main() -> None:
        async with (
            rmqtt.Client(broker.url) as client,
            client.subscribe("+", qos=1, maxsize=threads * count) as messages,
        ):
            loop = asyncio.get_running_loop()

            def work(number: int) -> None:
                for n in range(count):

                    async def publish(n: int = n) -> None:
                        await client.publish(str(number), str(n), qos=1)

                    asyncio.run_coroutine_threadsafe(publish(), loop).result(10)

            await asyncio.gather(*(asyncio.to_thread(work, number) for number in range(threads)))
            received: dict[str, list[int]] = {}
            for _ in range(threads * count):
                message = await messages.get()
                received.setdefault(message.topic, []).append(int(message.text()))
            assert received == {str(number): list(range(count)) for number in range(threads)}

    run(main())


def test_several_threads_with_a_loop_each_share_a_broker(broker: rmqtt.Broker) -> None:
    async def work(number: int) -> None:
        async with rmqtt.Client(broker.url) as client, client.subscribe(f"to/{number}", qos=1) as messages:
            for n in range(100):
                await client.publish(f"to/{number}", str(n), qos=1)
                assert (await messages.get()).text() == str(n)

    failures: list[BaseException] = []

    def thread(number: int) -> None:
        try:
            run(work(number), KINDS[number % len(KINDS)])
        except BaseException as failure:
            failures.append(failure)

    threads = [threading.Thread(target=thread, args=(number,)) for number in range(6)]
    for one in threads:
        one.start()
    for one in threads:
        one.join(30)
        assert not one.is_alive()
    assert not failures


@on_every_loop
async def test_a_full_stream_lets_other_tasks_have_their_turn(broker: rmqtt.Broker) -> None:
    count = 5_000
    async with (
        rmqtt.Client(broker.url) as publisher,
        rmqtt.Client(broker.url) as client,
        client.subscribe("a", qos=1, maxsize=count, ack="received") as messages,
    ):
        await asyncio.gather(*(publisher.publish("a", b"1", qos=1) for _ in range(count)))
        await until(lambda: messages.pending == count)
        consumed, at_turns = 0, [0]

        async def take_turns() -> None:
            while True:
                at_turns.append(consumed)
                await asyncio.sleep(0)

        others = asyncio.create_task(take_turns())
        async for _ in messages:
            consumed += 1
            if consumed == count:
                break
        others.cancel()
        steps = [after - before for before, after in itertools.pairwise(at_turns)]
        # 256 messages or a millisecond, whichever comes first.
        assert max(steps) <= 257
        assert len(steps) >= count // 257


@on_every_loop
async def test_a_timer_beside_a_full_stream_fires_in_time(broker: rmqtt.Broker) -> None:
    count = 5_000
    async with (
        rmqtt.Client(broker.url) as publisher,
        rmqtt.Client(broker.url) as client,
        client.subscribe("a", qos=1, maxsize=count, ack="received") as messages,
    ):
        await asyncio.gather(*(publisher.publish("a", b"1", qos=1) for _ in range(count)))
        await until(lambda: messages.pending == count)
        loop = asyncio.get_running_loop()
        turns: list[int] = []
        consumed = 0

        def turn() -> None:
            turns.append(consumed)
            loop.call_soon(turn)

        loop.call_soon(turn)
        async for _ in messages:
            consumed += 1
            if consumed == count:
                break
        # What a timer waits for is the loop's next turn. By messages and not by the clock: the machine may be busy.
        assert max(after - before for before, after in itertools.pairwise([0, *turns, count])) <= 256


def test_a_blocked_loop_does_not_stall_the_broker(broker: rmqtt.Broker) -> None:
    async def main(neighbour: Program) -> None:
        async with rmqtt.Client(broker.url, keep_alive=1) as client:
            neighbour.tell("go")
            # The loop stands still for as long as the neighbour takes.
            word, slowest = neighbour.line().split()
            assert word == "slowest"
            assert float(slowest) < 1
            await client.publish("a", b"1", qos=1)

    with script(NEIGHBOUR, broker.url) as neighbour:
        neighbour.expect("ready")
        run(main(neighbour))


def test_two_seconds_of_c_code_with_the_interpreter_locked_disturb_neither_keep_alive_nor_neighbours(
    broker: rmqtt.Broker,
) -> None:
    hog_for_two_seconds = make_hog(2.0)

    async def main(neighbour: Program) -> float:
        async with rmqtt.Client(broker.url, keep_alive=1) as client:
            await client.publish("a", b"1", qos=1)
            neighbour.tell("go")
            begin = time.monotonic()
            hog_for_two_seconds()
            took = time.monotonic() - begin
            assert client.stats().connected
            assert client.stats().connects == 1
            await client.publish("a", b"1", qos=1)
            assert client.stats().connects == 1
            return took

    with script(NEIGHBOUR, broker.url) as neighbour:
        neighbour.expect("ready")
        took = run(main(neighbour))
        word, slowest = neighbour.line().split()
        assert (word, took > 1.5) == ("slowest", True)
        assert float(slowest) < 1
    # 1.5 times the keep alive without a packet would have been the end of it.
    assert broker.stats().connects_accepted == 2


def make_hog(seconds: float) -> Any:
    """Make one call into C that keeps the interpreter locked for about so long: a power of a large number."""
    modulus = (1 << 8_000) - 159

    def hog(bits: int) -> None:
        pow(3, (1 << bits) - 1, modulus)

    def timed() -> float:
        begin = time.monotonic()
        hog(1_000)
        return time.monotonic() - begin

    # The quickest, because a machine with other work to do slows some of them down.
    bits = int(1_000 * seconds / min(timed() for _ in range(5)))
    return lambda: hog(bits)


@pytest.mark.parametrize("overflow", ["drop_oldest", "drop_newest", "latest"])
def test_a_slow_consumer_is_bounded_in_memory_and_its_losses_are_counted(overflow: Any) -> None:
    count, size, bound = 1_000, 64_000, 1 << 20

    async def main(broker: rmqtt.Broker) -> None:
        async with (
            rmqtt.Client(broker.url, outbox=rmqtt.Outbox(max_bytes=bound)) as publisher,
            rmqtt.Client(broker.url) as client,
            client.subscribe("a", maxsize=100, max_bytes=bound, overflow=overflow) as messages,
            client.subscribe("last", qos=1) as last,
        ):
            before = peak()
            for _ in range(count):
                await publisher.publish("a", bytes(size))
            await publisher.publish("last", b"", qos=1)
            await asyncio.wait_for(last.get(), 20)
            assert messages.pending * size <= bound
            lost = messages.dropped + broker.stats().messages_dropped_qos0
            assert messages.pending + lost == count
            # 64 MB went by; three queues hold a megabyte each, and the sockets' buffers some more.
            assert peak() - before < 24_000_000

    with rmqtt.Broker("mqtt://127.0.0.1:0", limits=rmqtt.Limits(queue_bytes_max=bound)) as broker:
        run(main(broker))


def test_a_slow_consumer_loses_nothing_that_was_published_at_qos_1(broker: rmqtt.Broker) -> None:
    count = 2_000

    async def main() -> None:
        async with (
            rmqtt.Client(broker.url) as publisher,
            rmqtt.Client(broker.url, receive_maximum=20) as client,
            client.subscribe("slow", qos=1, maxsize=5) as slow,
            client.subscribe("fast", qos=0) as fast,
        ):
            await asyncio.gather(*(publisher.publish("slow", str(n), qos=1) for n in range(count)))
            # The slow one has not looked yet: what it has no room for waits for it, up to the receive maximum. Its
            # neighbour is served all the same.
            await publisher.publish("fast", b"1")
            assert (await asyncio.wait_for(fast.get(), 10)).payload == b"1"
            assert slow.pending <= 20
            assert [int((await asyncio.wait_for(slow.get(), 10)).text()) for _ in range(count)] == list(range(count))
            assert slow.dropped == 0

    run(main())


def test_a_collection_in_the_middle_of_a_wake_up_holds_up_nothing(broker: rmqtt.Broker) -> None:
    # What hangs holds the interpreter, so that only another process can see it.
    source = """
        import asyncio, gc, sys, rmqtt

        class Collecting(asyncio.SelectorEventLoop):
            def call_soon(self, *arguments, **options):
                gc.collect()
                return super().call_soon(*arguments, **options)

        async def main():
            async with rmqtt.Client(sys.argv[1]) as client, client.subscribe("a", qos=1) as messages:
                waiting = [asyncio.create_task(messages.get()) for _ in range(3)]
                await asyncio.sleep(0)
                for number in range(3):
                    await client.publish("a", str(number), qos=1)
                assert sorted([(await one).text() for one in waiting]) == ["0", "1", "2"]

        with asyncio.Runner(loop_factory=Collecting) as runner:
            runner.run(main())
        """
    assert_clean(run_script(source, broker.url))


def peak() -> int:
    """The most memory this process ever held, in bytes."""
    status = Path("/proc/self/status").read_text()
    return next(int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("VmHWM"))
