"""Cells of a notebook, in a real kernel: top-level await, a loop that runs inside a loop, a cell that blocks."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

jupyter_client = pytest.importorskip("jupyter_client", reason="not in this environment")
pytest.importorskip("ipykernel", reason="not in this environment")

# The kernel's own warnings are not ours; what a cell of ours warns of is an error inside the kernel.
pytestmark = pytest.mark.filterwarnings("default:::jupyter_client", "default:::zmq")

OPEN = """
    import asyncio, warnings, rmqtt
    warnings.filterwarnings("error", module="rmqtt")
    broker = rmqtt.Broker("mqtt://127.0.0.1:0").start()
"""


class Notebook:
    """A kernel that runs cells."""

    def __init__(self, client: Any) -> None:
        self._client = client

    def cell(self, source: str) -> str:
        """Run one cell; give what it printed and what its last line was worth."""
        shown: list[str] = []

        def output(message: dict[str, Any]) -> None:
            content = message["content"]
            match message["msg_type"]:
                case "stream":
                    shown.append(content["text"])
                case "execute_result":
                    shown.append(content["data"]["text/plain"])
                case "error":
                    shown.append("\n".join(content["traceback"]))

        reply = self._client.execute_interactive(textwrap.dedent(source), output_hook=output, timeout=30)
        assert reply["content"]["status"] == "ok", "".join(shown)
        return "".join(shown)

    def fails(self, source: str) -> str:
        """Run one cell that must fail; give the name of the error."""
        reply = self._client.execute_interactive(textwrap.dedent(source), output_hook=lambda _: None, timeout=30)
        assert reply["content"]["status"] == "error"
        return str(reply["content"]["ename"])


@pytest.fixture(scope="module")
def kernel() -> Iterator[Any]:
    from jupyter_client.manager import KernelManager

    manager = KernelManager(kernel_name="python3")
    manager.start_kernel()
    client = manager.client()
    client.start_channels()
    try:
        client.wait_for_ready(timeout=60)
        yield client
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)
        manager.cleanup_resources()


@pytest.fixture
def notebook(kernel: Any) -> Iterator[Notebook]:
    notebook = Notebook(kernel)
    notebook.cell(OPEN)
    yield notebook
    notebook.cell("broker.stop()")


def test_a_cell_may_await_at_top_level(notebook: Notebook) -> None:
    shown = notebook.cell("""
        async with rmqtt.Client(broker.url) as client:
            async with client.subscribe("plant/+/temperature", qos=1) as readings:
                await client.publish("plant/7/temperature", b"21.5", qos=1)
                async for message in readings:
                    print(message.topic, message.payload); break
    """)
    assert shown == "plant/7/temperature b'21.5'\n"


def test_a_client_stays_open_from_cell_to_cell(notebook: Notebook) -> None:
    notebook.cell("""
        client = await rmqtt.Client(broker.url, keep_alive=1).__aenter__()
        messages = await client.subscribe("a", qos=1).__aenter__()
    """)
    notebook.cell('await client.publish("a", b"1", qos=1)')
    assert notebook.cell("(await messages.get(timeout=5)).payload") == "b'1'"
    notebook.cell("await messages.__aexit__(None, None, None); await client.__aexit__(None, None, None)")


def test_a_task_in_the_background_goes_on_between_cells(notebook: Notebook) -> None:
    notebook.cell("""
        seen = []
        ready, three = asyncio.Event(), asyncio.Event()
        async def listen():
            async with rmqtt.Client(broker.url) as client, client.subscribe("a", qos=1) as messages:
                ready.set()
                async for message in messages:
                    seen.append(message.text())
                    if len(seen) == 3: three.set()
        task = asyncio.create_task(listen())
        await asyncio.wait_for(ready.wait(), 5)
    """)
    for n in range(3):
        notebook.cell(f'broker_count = await broker.publish("a", b"{n}")')
    assert notebook.cell("await asyncio.wait_for(three.wait(), 5); seen") == "['0', '1', '2']"
    notebook.cell("task.cancel(); await asyncio.wait({task})")


def test_a_cell_that_blocks_does_not_stall_the_broker(notebook: Notebook) -> None:
    shown = notebook.cell("""
        import socket
        keeper = await rmqtt.Client(broker.url, keep_alive=1).__aenter__()
        # Blocking calls in the cell: the loop stands still, the broker answers all the same.
        with socket.create_connection(("127.0.0.1", broker.port), 5) as s:
            s.sendall(bytes.fromhex("100c 0004 4d515454 04 02 0000 0000"))
            assert s.recv(4) == bytes.fromhex("20020000")
            for n in range(1, 101):
                s.sendall(bytes.fromhex("3205 0001 61") + n.to_bytes(2, "big"))
                assert s.recv(4) == b"\\x40\\x02" + n.to_bytes(2, "big")
        print("served", keeper.stats().connects)
        await keeper.__aexit__(None, None, None)
    """)
    assert shown == "served 1\n"


def test_an_error_in_a_cell_names_what_went_wrong(notebook: Notebook) -> None:
    assert notebook.fails('rmqtt.Client(broker.url).publish("a/#", b"")') in {"TopicError", "NotConnected"}
    assert notebook.fails('await rmqtt.Client("mqtt://127.0.0.1:1").__aenter__()') == "ConnectFailed"


def test_a_loop_that_runs_inside_a_loop_finds_its_operations(notebook: Notebook) -> None:
    # What many notebooks do to call `asyncio.run` in a cell: the inner run drains the port inside a task of the outer.
    pytest.importorskip("nest_asyncio", reason="not in this environment")
    shown = notebook.cell("""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            import nest_asyncio
            nest_asyncio.apply()

        async def inner(client, n):
            await asyncio.gather(*(client.publish("a", str(n), qos=1) for _ in range(20)))
            return n

        async def work(client, n):
            await client.publish("a", b"1", qos=1)
            # A callback of the bridge resumed this task; now the loop runs again inside it.
            return asyncio.get_running_loop().run_until_complete(inner(client, n))

        async def main():
            async with rmqtt.Client(broker.url) as client:
                return [await work(client, n) for n in range(5)]

        asyncio.run(asyncio.wait_for(main(), 20))
    """)
    assert shown == "[0, 1, 2, 3, 4]"


def test_the_last_line_of_a_cell_may_show_our_objects(notebook: Notebook) -> None:
    for source in ("broker", "rmqtt.Client(broker.url)", "broker.stats()", "rmqtt.Will(topic='a')"):
        shown = notebook.cell(source)
        assert shown
        assert "object at 0x" not in shown


def test_restarting_a_kernel_in_mid_publish_is_quick(kernel: Any) -> None:
    notebook = Notebook(kernel)
    notebook.cell(OPEN)
    notebook.cell("""
        client = await rmqtt.Client(broker.url).__aenter__()
        operations = [client.publish("a", b"1", qos=1) for _ in range(1000)]
    """)
    reply = kernel.shutdown(reply=True, timeout=10)
    assert reply["content"]["status"] == "ok"
