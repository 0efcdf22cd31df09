"""Small proxies for tests: HTTP's CONNECT and SOCKS 5, each of which says what it was asked, and some that misbehave."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import ipaddress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, Self

if TYPE_CHECKING:
    from asyncio import StreamReader, StreamWriter

Kind = Literal["http", "socks5", "socks5h"]
#: Answers in place of an honest one.
Trick = Literal["silence", "flood", "nonsense", "half an answer", "nothing at all", "a greeting of its own"]


class RefusedError(Exception):
    """The proxy has said no."""


@dataclass
class Proxy:
    """A proxy at a port of its own, for as long as the block lasts."""

    kind: Kind = "http"
    #: User name and password that it asks for.
    login: tuple[str, str] | None = None
    trick: Trick | None = None
    #: What it refuses to connect to.
    forbidden: frozenset[int] = frozenset()
    #: Where it connects to whatever it was asked: names in tests are known to nobody.
    leads_to: tuple[str, int] | None = None
    #: What it was asked to connect to.
    asked: list[str] = field(default_factory=list)
    #: Bytes that went to the broker, from all clients together.
    carried: bytearray = field(default_factory=bytearray)

    async def __aenter__(self) -> Self:
        self._tasks: set[asyncio.Task[None]] = set()
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.port: int = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    @property
    def url(self) -> str:
        """How a client names it."""
        login = "{}:{}@".format(*self.login) if self.login else ""
        return f"{self.kind}://{login}127.0.0.1:{self.port}"

    async def _accept(self, reader: StreamReader, writer: StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            with contextlib.suppress(OSError, asyncio.IncompleteReadError, RefusedError):
                await (self._http if self.kind == "http" else self._socks)(reader, writer)
        finally:
            self._tasks.discard(task)
            writer.close()

    async def _http(self, reader: StreamReader, writer: StreamWriter) -> None:
        first, *headers = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        host, _, port = first.split(" ")[1].rpartition(":")
        await self._misbehave(writer, b"HTTP/1.1 200 OK\r\nX-Filler: ", b"HTTP/1.1 200 OK\r\n\r\n")
        if self.login:
            both = base64.b64encode(":".join(self.login).encode()).decode()
            if f"Proxy-Authorization: Basic {both}" not in headers:
                writer.write(b"HTTP/1.1 407 Proxy Authentication Required\r\nProxy-Authenticate: Basic\r\n\r\n")
                raise RefusedError
        if int(port) in self.forbidden:
            writer.write(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 4\r\n\r\nnope")
            raise RefusedError
        try:
            upward = await self._connect(host.strip("[]"), int(port))
        except OSError:
            writer.write(b"HTTP/1.1 502 Bad Gateway\r\n\r\n")
            raise
        writer.write(b"HTTP/1.1 200 Connection established\r\nVia: tests\r\n\r\n")
        await self._carry(reader, writer, *upward)

    async def _socks(self, reader: StreamReader, writer: StreamWriter) -> None:
        version, count = await reader.readexactly(2)
        methods = await reader.readexactly(count)
        assert version == 5
        await self._misbehave(writer, b"\x05", b"\x05\x00")
        method = 2 if self.login else 0
        writer.write(bytes([5, method if method in methods else 0xFF]))
        if method not in methods:
            raise RefusedError
        if self.login:
            said = []
            await reader.readexactly(1)
            for _ in range(2):
                (length,) = await reader.readexactly(1)
                said.append((await reader.readexactly(length)).decode())
            writer.write(bytes([1, said != list(self.login)]))
            if said != list(self.login):
                raise RefusedError
        _, _, _, kind = await reader.readexactly(4)
        host = await self._read_host(reader, kind)
        port = int.from_bytes(await reader.readexactly(2), "big")
        if port in self.forbidden:
            writer.write(b"\x05\x02\x00\x01\0\0\0\0\0\0")
            raise RefusedError
        try:
            upward = await self._connect(host, port)
        except OSError:
            writer.write(b"\x05\x05\x00\x01\0\0\0\0\0\0")
            raise
        writer.write(b"\x05\x00\x00\x03\x05proxy\x00\x01")
        await self._carry(reader, writer, *upward)

    @staticmethod
    async def _read_host(reader: StreamReader, kind: int) -> str:
        if kind == 3:
            (length,) = await reader.readexactly(1)
            return (await reader.readexactly(length)).decode()
        return str(ipaddress.ip_address(await reader.readexactly({1: 4, 4: 16}[kind])))

    async def _misbehave(self, writer: StreamWriter, beginning: bytes, whole: bytes) -> None:
        match self.trick:
            case None:
                return
            case "silence":
                await asyncio.Event().wait()
            case "flood":
                writer.write(beginning)
                while True:
                    writer.write(b"x" * 65_536)
                    await writer.drain()
            case "nonsense":
                writer.write(b"220 smtp.example ESMTP\r\n\r\n")
                await asyncio.Event().wait()
            case "half an answer":
                writer.write(beginning)
            case "nothing at all":
                pass
            case "a greeting of its own":
                writer.write(whole + b"\x20\x02\x00\x00")
                await asyncio.Event().wait()
        raise RefusedError

    async def _connect(self, host: str, port: int) -> tuple[StreamReader, StreamWriter]:
        self.asked.append(f"{host}:{port}")
        return await asyncio.open_connection(*(self.leads_to or (host, port)))

    async def _carry(
        self, reader: StreamReader, writer: StreamWriter, upward: StreamReader, outward: StreamWriter
    ) -> None:
        async def copy(source: StreamReader, sink: StreamWriter, *, is_up: bool) -> None:
            try:
                while data := await source.read(65_536):
                    if is_up:
                        self.carried += data
                    sink.write(data)
                    await sink.drain()
            finally:
                sink.close()

        both = copy(reader, outward, is_up=True), copy(upward, writer, is_up=False)
        await asyncio.gather(*both, return_exceptions=True)
