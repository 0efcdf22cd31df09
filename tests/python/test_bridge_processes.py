"""Fork and Ctrl-C, each in a process of its own."""

from __future__ import annotations

import os
import signal

import pytest
import rmqtt
from programs import assert_clean, run_script, script

needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="the system has no fork")

FORK = """
    import asyncio, os, sys, traceback, warnings, rmqtt
    warnings.filterwarnings("ignore", "This process .* is multi-threaded", DeprecationWarning)

    async def use(broker):
        async with rmqtt.Client(broker.url) as client, client.subscribe("a", qos=1) as messages:
            await client.publish("a", b"1", qos=1)
            return (await messages.get()).payload

    def refused(call):
        try:
            call()
        except RuntimeError as error:
            assert "fork" in str(error), error
        else:
            raise AssertionError("not refused")

    def in_child(work):
        child = os.fork()
        if child == 0:
            try:
                work()
            except BaseException:
                traceback.print_exc()
                os._exit(1)
            os._exit(0)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
"""


@needs_fork
def test_after_a_fork_old_objects_are_refused_with_advice_and_new_ones_work_on_both_sides() -> None:
    ended = run_script(
        FORK
        + """
    async def main():
        with rmqtt.Broker("mqtt://127.0.0.1:0") as broker:
            async with rmqtt.Client(broker.url) as client:
                await client.publish("a", b"1", qos=1)

                def child():
                    refused(lambda: client.publish("a", b"2", qos=1))
                    refused(lambda: client.publish("a", b"2"))
                    refused(broker.stats)
                    with rmqtt.Broker("mqtt://127.0.0.1:0") as own:
                        assert asyncio.run(use(own)) == b"1"
                    # The parent's broker is still there, for whoever connects anew.
                    assert asyncio.run(use(Address(broker_url))) == b"1"

                class Address:
                    def __init__(self, url): self.url = url

                broker_url = broker.url
                in_child(child)
                # The child said nothing on the parent's sockets.
                await client.publish("a", b"3", qos=1)
                assert client.stats().connects == 1
                assert await use(broker) == b"1"

    asyncio.run(main())
    """
    )
    assert_clean(ended)


@needs_fork
def test_a_fork_with_operations_in_flight_harms_neither_side() -> None:
    ended = run_script(
        FORK
        + """
    async def main():
        with rmqtt.Broker("mqtt://127.0.0.1:0") as broker:
            async with rmqtt.Client(broker.url) as client:
                for _ in range(5):
                    operations = [client.publish("a", b"1", qos=1) for _ in range(200)]
                    in_child(lambda: refused(lambda: client.publish("a", b"2")))
                    await asyncio.gather(*operations)

    asyncio.run(main())
    """
    )
    assert_clean(ended)


@needs_fork
def test_a_child_that_exits_by_the_usual_way_leaves_the_parents_connection_alone() -> None:
    ended = run_script(
        FORK
        + """
    broker = rmqtt.Broker("mqtt://127.0.0.1:0")

    async def main():
        with broker:
            async with rmqtt.Client(broker.url) as client:
                await client.publish("a", b"1", qos=1)
                child = os.fork()
                if child == 0:
                    return "child"
                assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
                await client.publish("a", b"1", qos=1)
                assert client.stats().connects == 1
        return "parent"

    class Leave(BaseException): pass

    def run():
        # A child leaves by an exception that passes every `with` and finally by `sys.exit`.
        loop = asyncio.new_event_loop()
        try:
            return loop.run_until_complete(main())
        finally:
            loop.close()

    try:
        who = run()
    except RuntimeError as error:
        # What `with` would have closed is the parent's.
        assert "fork" in str(error), error
        who = "child"
    if who == "child":
        sys.exit(7)
    """
    )
    assert_clean(ended)


WAITS = {
    "gather": 'await asyncio.gather(*(client.publish("held", b"1", qos=1) for _ in range(100)), asyncio.Event().wait())',
    "async_for": "async for message in messages: pass",
    "get": "await messages.get()",
    "timeout": "await messages.get(timeout=1000)",
}


@pytest.mark.parametrize("kind", ["default", "uvloop"])
@pytest.mark.parametrize("wait", WAITS.values(), ids=WAITS.keys())
def test_ctrl_c_ends_a_wait_and_leaves_cleanly(wait: str, kind: str) -> None:
    source = f"""
    import asyncio, rmqtt, sys
    async def main():
        async with rmqtt.Broker("mqtt://127.0.0.1:0") as broker:
            async with rmqtt.Client(broker.url) as client, client.subscribe("a", qos=1) as messages:
                print("waiting")
                try:
                    {wait}
                except asyncio.CancelledError:
                    print("cancelled")
                    raise
    if sys.argv[1] == "uvloop":
        import uvloop
        factory = uvloop.new_event_loop
    else:
        factory = None
    try:
        with asyncio.Runner(loop_factory=factory) as runner:
            runner.run(main())
    except KeyboardInterrupt:
        print("interrupted")
    """
    if kind == "uvloop":
        pytest.importorskip("uvloop", reason="not on this system")
    with script(source, kind) as program:
        program.expect("waiting")
        program.signal(signal.SIGINT)
        program.expect("cancelled")
        program.expect("interrupted")
        assert_clean(program.end(), within=2)


def test_ctrl_c_ends_a_plain_script_with_a_broker() -> None:
    source = """
    import rmqtt, threading
    with rmqtt.Broker("mqtt://127.0.0.1:0") as broker:
        never = threading.Event()
        try:
            print("waiting")
            # In slices: a signal in the moment before an endless wait would be heard after it.
            while not never.wait(0.1): pass
        except KeyboardInterrupt:
            print("interrupted")
    print("stopped")
    """
    with script(source) as program:
        program.expect("waiting")
        program.signal(signal.SIGINT)
        program.expect("interrupted")
        program.expect("stopped")
        assert_clean(program.end(), within=2)


def test_children_started_by_spawn_may_use_everything() -> None:
    with rmqtt.Broker("mqtt://127.0.0.1:0") as broker:
        ended = run_script(
            """
            import asyncio, rmqtt, sys
            async def main():
                async with rmqtt.Client(sys.argv[1]) as client:
                    await client.publish("a", b"1", qos=1)
            asyncio.run(main())
            """,
            broker.url,
        )
        assert_clean(ended)
        assert broker.stats().messages_received == 1
