"""A program ends when its last line has run: at once, with code 0 and without a word, whatever is still in flight."""

from __future__ import annotations

import pytest
from held_broker import HeldBroker
from programs import assert_clean, run_script

RUNS = 20

BEGIN = """
    import asyncio, sys, warnings, rmqtt
    # Leaving without closing is what these programs are about.
    warnings.simplefilter("ignore", ResourceWarning)
    url = sys.argv[1]
"""

ENDINGS = {
    "in the middle of many publishes": """
    async def main():
        # Known until the end: who waits for a client that is gone is told so by an error, and that is not silent.
        global client
        client = rmqtt.Client(url)
        await client.__aenter__()
        operations = [client.publish("a", str(n), qos=1) for n in range(3000)]
        tasks = [asyncio.ensure_future(asyncio.wait_for(operation, 100)) for operation in operations[:1000]]
        await asyncio.sleep(0)
        print("leaving")
    asyncio.run(main())
    """,
    "with a receive running": """
    async def main():
        client = rmqtt.Client(url)
        await client.__aenter__()
        messages = await client.subscribe("a", qos=1).__aenter__()
        async def receive():
            async for message in messages: pass
        task = asyncio.create_task(receive())
        operations = [client.publish("a", str(n), qos=1) for n in range(100)]
        await asyncio.sleep(0)
        print("leaving")
    asyncio.run(main())
    """,
    "with everything global and a loop that is never closed": """
    loop = asyncio.new_event_loop()
    warnings.simplefilter("ignore", ResourceWarning)
    client = rmqtt.Client(url)
    async def main():
        await client.__aenter__()
        return [client.publish("a", str(n), qos=1) for n in range(1000)]
    operations = loop.run_until_complete(main())
    for operation in operations:
        operation.add_done_callback(print)
    print("leaving")
    """,
    "by sys.exit inside the loop": """
    async def main():
        async with rmqtt.Client(url) as client:
            operations = [client.publish("a", str(n), qos=1) for n in range(1000)]
            print("leaving")
            sys.exit(0)
    asyncio.run(main())
    """,
    "with a broker running": """
    async def main():
        global broker, client
        broker = rmqtt.Broker("mqtt://127.0.0.1:0")
        await broker.__aenter__()
        client = rmqtt.Client(broker.url)
        await client.__aenter__()
        operations = [client.publish("a", str(n), qos=1) for n in range(1000)]
        print("leaving")
    asyncio.run(main())
    """,
    "with a thread that still publishes": """
    import threading
    async def main():
        client = rmqtt.Client(url)
        await client.__aenter__()
        while True:
            operation = client.publish("a", b"1", qos=1)
            await asyncio.sleep(0)
            begun.set()
    begun = threading.Event()
    threading.Thread(target=lambda: asyncio.run(main()), daemon=True).start()
    begun.wait()
    print("leaving")
    """,
}


@pytest.mark.timeout(120)
@pytest.mark.parametrize("ending", ENDINGS.values(), ids=ENDINGS.keys())
def test_a_program_with_operations_in_flight_ends_at_once(ending: str) -> None:
    with HeldBroker() as broker:
        for _ in range(RUNS):
            ended = run_script(BEGIN + ending, broker.url)
            assert "leaving" in ended.stdout, ended
            assert_clean(ended, within=1)


@pytest.mark.timeout(120)
def test_a_program_with_acknowledgements_arriving_ends_at_once() -> None:
    with HeldBroker() as broker:
        broker.release_from_now_on()
        for _ in range(RUNS):
            ended = run_script(BEGIN + ENDINGS["in the middle of many publishes"], broker.url)
            assert_clean(ended, within=1)


def test_importing_alone_starts_no_thread_and_opens_no_file() -> None:
    ended = run_script("""
    import os
    def count(): return len(os.listdir("/proc/self/task")), len(os.listdir("/proc/self/fd"))
    before = count()
    import rmqtt
    rmqtt.Client, rmqtt.Broker, rmqtt.Message, rmqtt.MqttError
    rmqtt.Client("mqtt://127.0.0.1:1")
    assert count() == before, (before, count())
    """)
    assert_clean(ended)


def test_a_plain_script_may_run_a_broker_without_any_loop() -> None:
    ended = run_script("""
    import rmqtt, socket
    with rmqtt.Broker("mqtt://127.0.0.1:0") as broker:
        port = broker.port
        with socket.create_connection(("127.0.0.1", broker.port), 5) as s:
            s.sendall(bytes.fromhex("100c 0004 4d515454 04 02 0000 0000"))
            assert s.recv(4) == bytes.fromhex("20020000")
            s.sendall(bytes.fromhex("3205 0001 61 0001"))
            assert s.recv(4) == bytes.fromhex("40020001")
    try:
        socket.create_connection(("127.0.0.1", port), 5)
    except ConnectionRefusedError:
        pass
    else:
        raise AssertionError("it still listens")
    broker.start()
    assert broker.port
    broker.stop()
    broker.stop()
    print("done")
    """)
    assert_clean(ended, within=1)
