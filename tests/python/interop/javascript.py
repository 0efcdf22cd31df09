"""MQTT.js, in a process of Node.js that all tests share; `node/driver.js` is the other end."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import itertools
import json
import subprocess
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from interop.peers import SESSION_EXPIRY, Peer, QoS, Received, find_program, soon

if TYPE_CHECKING:
    from collections.abc import Callable

    from interop.peers import Setup

DRIVER = Path(__file__).parent / "node" / "driver.js"


def plain(value: Any) -> Any:
    """Write bytes as the driver reads them."""
    if isinstance(value, bytes):
        return {"hex": value.hex()}
    if isinstance(value, dict):
        return {name: plain(item) for name, item in value.items()}
    return [plain(item) for item in value] if isinstance(value, (list, tuple)) else value


def alive(value: Any) -> Any:
    """Read bytes as the driver writes them."""
    if isinstance(value, dict):
        return bytes.fromhex(value["hex"]) if set(value) == {"hex"} else {name: alive(value[name]) for name in value}
    return [alive(item) for item in value] if isinstance(value, list) else value


class NodeError(Exception):
    """What MQTT.js complains of; `reason` is the reason code it knows, if any."""

    def __init__(self, message: str, reason: int | None) -> None:
        super().__init__(message)
        self.reason = reason


class Node:
    """The process. Answers and events come on a thread and are handed to whichever loop waits for them."""

    _shared: ClassVar[Node | None] = None

    def __init__(self) -> None:
        command = [find_program("node"), str(DRIVER)]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.numbers = itertools.count(1)
        self.waiting: dict[int, tuple[asyncio.AbstractEventLoop, asyncio.Future[dict[str, Any]]]] = {}
        self.listeners: dict[str, tuple[asyncio.AbstractEventLoop, Callable[[dict[str, Any]], None]]] = {}
        self.reader = threading.Thread(target=self._read)
        self.reader.start()

    @classmethod
    def shared(cls) -> Node:
        """Start it when it is asked for first."""
        if cls._shared is None:
            cls._shared = cls()
        return cls._shared

    @classmethod
    def stop(cls) -> None:
        """End it, if it was ever started."""
        if cls._shared is not None:
            process, cls._shared = cls._shared, None
            assert process.process.stdin is not None
            process.process.stdin.close()
            process.process.kill()
            process.process.wait()
            process.reader.join()

    def _read(self) -> None:
        assert self.process.stdout is not None
        with self.process.stdout as lines:
            for line in lines:
                said = alive(json.loads(line))
                if "id" in said:
                    loop, future = self.waiting.pop(said["id"])
                    call = functools.partial(self._answer, future, said)
                elif said["client"] in self.listeners:
                    loop, listener = self.listeners[said["client"]]
                    call = functools.partial(listener, said)
                else:
                    continue
                with contextlib.suppress(RuntimeError):  # its test has ended, and the loop with it
                    loop.call_soon_threadsafe(call)

    @staticmethod
    def _answer(future: asyncio.Future[dict[str, Any]], said: dict[str, Any]) -> None:
        if future.done():
            return
        if "error" in said:
            future.set_exception(NodeError(said["error"], said.get("reason")))
        else:
            future.set_result(said)

    def listen(self, client: str, listener: Callable[[dict[str, Any]], None]) -> None:
        """Have events of this client told, on this loop."""
        self.listeners[client] = (asyncio.get_running_loop(), listener)

    async def ask(self, client: str, act: str, **arguments: Any) -> dict[str, Any]:
        """Have it do something."""
        loop = asyncio.get_running_loop()
        number, future = next(self.numbers), loop.create_future()
        self.waiting[number] = (loop, future)
        assert self.process.stdin is not None
        request = {"id": number, "client": client, "act": act, **arguments}
        self.process.stdin.write(json.dumps(plain(request)) + "\n")
        self.process.stdin.flush()
        return await soon(future)


class MqttJs(Peer):
    """MQTT.js as one of the foreign clients of the common scenarios."""

    def __init__(self, setup: Setup) -> None:
        super().__init__(setup)
        self.node = Node.shared()
        self.name = setup.client_id

    def _hear(self, event: dict[str, Any]) -> None:
        if event["event"] == "message":
            received = Received(event["topic"], event["payload"], event["qos"], event["retain"])
            self.inbox.put_nowait(received)

    async def connect(self) -> None:
        setup = self.setup
        is_v5 = setup.version == "5.0"
        options: dict[str, Any] = {
            "host": "127.0.0.1",
            "port": setup.port,
            "protocolVersion": 5 if is_v5 else 4,
            "clientId": setup.client_id,
            "clean": not setup.persistent,
            "resubscribe": False,
            **setup.way.javascript(),
        }
        if is_v5:
            options["properties"] = {"sessionExpiryInterval": SESSION_EXPIRY if setup.persistent else 0}
        if setup.will:
            options["will"] = {"topic": setup.will[0], "payload": setup.will[1], "qos": 1, "retain": False}
        self.node.listen(self.name, self._hear)
        await self.node.ask(self.name, "connect", options=options)

    async def subscribe(self, topic_filter: str, qos: QoS) -> None:
        await self.node.ask(self.name, "subscribe", filter=topic_filter, options={"qos": qos})

    async def publish(self, topic: str, payload: bytes, qos: QoS, *, retain: bool = False) -> None:
        options = {"qos": qos, "retain": retain}
        await self.node.ask(self.name, "publish", topic=topic, payload=payload, options=options)

    async def disconnect(self) -> None:
        await self.node.ask(self.name, "disconnect")

    async def die(self) -> None:
        await self.node.ask(self.name, "die")
