"""How event loops that cannot watch a descriptor are woken: Windows' default loop, and loops of other makers.

The network's threads write a byte to a socket. Where the loop can receive from it, it does, again and again; where not
even that works, one thread waits for the bytes and calls over. The network's own threads never wait for Python.
"""

from __future__ import annotations

import socket
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

_CHUNK = 4096


def watch(loop: asyncio.AbstractEventLoop, descriptor: int, drain: Callable[[], None]) -> None:
    """Have `drain` called in `loop` whenever bytes arrive.

    Parameters
    ----------
    loop
        It runs in this thread.
    descriptor
        The reading end, which becomes ours.
    drain
        What to call.
    """
    end = socket.socket(fileno=descriptor)
    proactor = getattr(loop, "_proactor", None)
    if proactor is None:
        _Thread(loop, end, drain).start()
    else:
        _Receiver(loop, end, drain, proactor).receive()


class _Receiver:
    """Receives as the Proactor loop receives from its own pipe: a bare future, which no ``asyncio.run`` cancels."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, end: socket.socket, drain: Callable[[], None], proactor: object
    ) -> None:
        self._loop = loop
        self._end = end
        self._drain = drain
        self._proactor = proactor

    def receive(self) -> None:
        future: asyncio.Future[bytes] = self._proactor.recv(self._end, _CHUNK)  # type: ignore[attr-defined]
        future.add_done_callback(self._received)

    def _received(self, future: asyncio.Future[bytes]) -> None:
        if future.cancelled() or self._loop.is_closed() or future.exception() is not None or not future.result():
            self._end.close()
            return
        # Before the drain: what is rung meanwhile must be heard.
        self.receive()
        self._drain()


class _Thread(threading.Thread):
    """Waits for bytes, and calls over. It ends when the loop is closed, or the writing end is."""

    def __init__(self, loop: asyncio.AbstractEventLoop, end: socket.socket, drain: Callable[[], None]) -> None:
        super().__init__(name="rmqtt-wake", daemon=True)
        self._loop = loop
        self._end = end
        self._drain = drain

    def run(self) -> None:
        self._end.setblocking(True)
        with self._end:
            while self._end.recv(_CHUNK):
                try:
                    self._loop.call_soon_threadsafe(self._drain)
                except RuntimeError:
                    return
