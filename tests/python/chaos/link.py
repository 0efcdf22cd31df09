"""A bad network: a TCP proxy that delays, throttles, stalls, cuts, half-opens and refuses, at random from a seed."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Self, TypeAlias

from chaos.tape import Tape, Way

if TYPE_CHECKING:
    import random
    from collections.abc import Callable, Iterator
    from pathlib import Path

Kind: TypeAlias = Literal[
    "clear", "delay", "throttle", "stall", "reset", "close", "lose-client", "lose-broker", "refuse", "mute"
]
BOTH: tuple[Way, ...] = ("up", "down")
PIECE = 65_536
#: Seconds after which an end that was left open is closed, if nobody else does it.
FORGOTTEN = 20.0


@dataclass(frozen=True)
class Weather:
    """What a link does for some seconds."""

    kind: Kind
    seconds: float
    #: Seconds of delay; bytes a second; or bytes that still pass before a cut, so that it falls inside a packet.
    amount: float = 0
    ways: tuple[Way, ...] = BOTH

    def __str__(self) -> str:
        amount = f" {self.amount:.4g}" if self.amount else ""
        return f"{self.kind}{amount} {'+'.join(self.ways)} for {self.seconds:.2f} s"


#: Those that end connections, and those in which none can be made: the offline periods.
CUTS: tuple[Kind, ...] = ("reset", "close", "lose-client", "lose-broker")
OFFLINE: tuple[Kind, ...] = ("refuse", "mute")
CLEAR = Weather("clear", 0)


def forecast(dice: random.Random) -> Iterator[Weather]:
    """Say what comes, for ever: clear, and something else, in turn."""
    while True:
        yield Weather("clear", dice.uniform(0.1, 2))
        ways = dice.choice((BOTH, ("up",), ("down",)))
        kind: Kind = dice.choice(("delay", "throttle", "stall", *CUTS, *CUTS, *OFFLINE))
        match kind:
            case "delay":
                yield Weather("delay", dice.uniform(0.5, 3), dice.uniform(0.001, 0.3), ways)
            case "throttle":
                yield Weather("throttle", dice.uniform(0.5, 3), dice.uniform(2_000, 100_000), ways)
            case "stall":
                yield Weather("stall", dice.choice((0.2, 1, 6)), ways=ways)
            case "refuse" | "mute":
                yield Weather(kind, dice.choice((0.5, 2, 5)))
            case _:
                yield Weather(kind, dice.uniform(0.05, 1), dice.randrange(3_000), ways)


class Link:
    """A port behind which a broker is to be reached, as far as the weather permits. It is clear until `storm`."""

    def __init__(self, broker_port: int, dice: random.Random, began: float, record: Path) -> None:
        self._broker = ("127.0.0.1", broker_port)
        self._dice = dice
        self._tape = Tape(record, began)
        self._weather = CLEAR
        self._changed = asyncio.Event()
        self._passages: set[asyncio.Task[None]] = set()
        self._fuses: dict[asyncio.Task[None], asyncio.Future[None]] = {}
        self._server = socket.create_server(("127.0.0.1", 0), backlog=100)
        self._server.setblocking(False)
        self.port: int = self._server.getsockname()[1]
        #: What the weather was, with the second since the beginning.
        self.log: list[tuple[float, Weather]] = []
        self.accepted = 0

    async def __aenter__(self) -> Self:
        self._accepting = asyncio.create_task(self._accept())
        return self

    async def __aexit__(self, *_: object) -> None:
        for task in (self._accepting, *self._passages):
            task.cancel()
        await asyncio.gather(self._accepting, *self._passages, return_exceptions=True)
        self._server.close()
        self._tape.close()

    async def storm(self, seconds: float) -> None:
        """Have bad weather for so long; it is clear afterwards."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                for weather in forecast(self._dice):
                    self._become(weather)
                    await asyncio.sleep(weather.seconds)
                    if weather.kind in CUTS:
                        self._cut()
        self._become(CLEAR)

    def _become(self, weather: Weather) -> None:
        was, self._weather = self._weather, weather
        self.log.append((time.monotonic() - self._tape.began, weather))
        self._changed.set()
        self._changed = asyncio.Event()
        if weather.kind == "refuse" or was.kind == "mute":
            self._cut()

    def _cut(self) -> None:
        for fuse in self._fuses.values():
            if not fuse.done():
                fuse.set_result(None)

    async def _accept(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            client, _ = await loop.sock_accept(self._server)
            self.accepted += 1
            task = asyncio.create_task(self._serve(client, self.accepted))
            self._passages.add(task)
            task.add_done_callback(self._passages.discard)

    async def _serve(self, client: socket.socket, connection: int) -> None:
        """Carry one connection until an end closes it, or the weather does."""
        loop = asyncio.get_running_loop()
        with client, socket.socket() as broker:
            broker.setblocking(False)
            if self._weather.kind == "refuse":
                reset(client)
                return
            await loop.sock_connect(broker, self._broker)
            for end in (client, broker):
                end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            me = asyncio.current_task()
            assert me is not None
            heads = self._tape.heads(connection)
            fuse = self._fuses[me] = loop.create_future()
            pumps = [
                asyncio.create_task(self._pump("up", client, broker, fuse, heads["up"])),
                asyncio.create_task(self._pump("down", broker, client, fuse, heads["down"])),
            ]
            try:
                await asyncio.wait((*pumps, fuse), return_when=asyncio.FIRST_COMPLETED)
            finally:
                del self._fuses[me]
                for task in pumps:
                    task.cancel()
                await asyncio.gather(*pumps, return_exceptions=True)
            if fuse.done():
                await self._end(self._weather, client, broker)

    async def _pump(
        self,
        way: Way,
        source: socket.socket,
        target: socket.socket,
        fuse: asyncio.Future[None],
        passes: Callable[[bytes], None],
    ) -> None:
        loop = asyncio.get_running_loop()
        burnt = 0
        with contextlib.suppress(OSError):
            while data := await loop.sock_recv(source, PIECE):
                while (weather := self._weather).kind in ("stall", "mute") and way in weather.ways:
                    await self._changed.wait()
                if way in weather.ways:
                    if weather.kind == "delay":
                        await asyncio.sleep(weather.amount)
                    elif weather.kind == "throttle":
                        await asyncio.sleep(min(len(data) / weather.amount, weather.seconds))
                    elif weather.kind in CUTS:
                        data = data[: max(int(weather.amount) - burnt, 0)]
                        burnt += len(data)
                passes(data)
                await loop.sock_sendall(target, data)
                if weather.kind in CUTS and burnt >= int(weather.amount) and not fuse.done():
                    fuse.set_result(None)
                    return

    async def _end(self, weather: Weather, client: socket.socket, broker: socket.socket) -> None:
        """Close both ends; or one, and let the other believe for a while that nothing has happened."""
        if weather.kind.startswith("lose"):
            gone, left = (client, broker) if weather.kind == "lose-client" else (broker, client)
            gone.close()
            loop = asyncio.get_running_loop()
            with contextlib.suppress(OSError, TimeoutError):
                async with asyncio.timeout(FORGOTTEN):
                    while await loop.sock_recv(left, PIECE):
                        pass
        elif weather.kind != "close":
            reset(client)
            reset(broker)


def reset(end: socket.socket) -> None:
    """Close with RST instead of FIN."""
    end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    end.close()
