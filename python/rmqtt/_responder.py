"""`Responder` and `SyncResponder`: who answers requests, as many at a time as it may."""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import logging
import threading
import traceback
import weakref
from typing import TYPE_CHECKING, Any, Final, Self

from rmqtt._subscription import Subscription
from rmqtt._sync_subscription import SyncSubscription
from rmqtt.exceptions import Closed, MqttError, RequestFailed

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from types import TracebackType

    from rmqtt._publisher import Publisher
    from rmqtt._results import UnsubscribeResult
    from rmqtt._rmqtt import Message, NativeSubscription
    from rmqtt._sync_publisher import SyncPublisher
    from rmqtt._types import Payload, UserProperties

__all__ = ["Responder", "SyncResponder"]

_logger: Final = logging.getLogger("rmqtt.client")
#: The user property of an answer that says why there is none.
_ERROR: Final = "rmqtt-error"
#: What the asker is told of an exception that was not meant for it: no more, since its text may be a secret.
_UNTOLD: Final = "the handler failed"
_PUMPS: Final[set[asyncio.Task[None]]] = set()
_FAILED: Final = "a request to %s failed"


def _answer(message: Message, payload: Payload | None, error: str | None) -> tuple[str, Payload, dict[str, Any]] | None:
    """Say what to publish as an answer; `None`: the message asks for none."""
    properties = message.properties
    if properties.response_topic is None:
        return None
    options: dict[str, Any] = {"qos": message.qos, "correlation": properties.correlation}
    if error is not None:
        options["user_properties"] = [(_ERROR, error)]
    return properties.response_topic, b"" if payload is None else payload, options


def _keep(pump: asyncio.Task[None]) -> None:
    """Hold what nobody else may hold: who awaits a responder may forget it, and it answers while its client lives."""
    # A loop that was closed in the middle never ends its tasks.
    _PUMPS.difference_update([other for other in _PUMPS if other.get_loop().is_closed()])
    _PUMPS.add(pump)
    pump.add_done_callback(_PUMPS.discard)


class Responder(Subscription):
    """A subscription whose messages are requests, each answered by a handler. Made by `Client.respond`.

    Entered or awaited it begins to answer; the end of the block, and `close`, wait for the handlers that run. A block
    left by an exception cancels them.

    Examples
    --------
    >>> async def double(request):
    ...     return str(2 * request.json())
    >>> async with client.respond("double", double) as responder:
    ...     (await client.request("double", "21")).json()
    42
    >>> responder.failed
    0
    """

    __slots__ = ("_client", "_concurrency", "_ending", "_failed", "_handler", "_pump", "_running")

    def __init__(
        self,
        native: NativeSubscription,
        *,
        client: Publisher,
        handler: Callable[[Message], Awaitable[Payload | None]],
        concurrency: int,
    ) -> None:
        super().__init__(native)
        # Weak: who answers must not keep a client alive that nobody else knows.
        self._client = weakref.ref(client)
        self._handler = handler
        self._concurrency = concurrency
        self._failed = 0
        self._pump: asyncio.Task[None] | None = None
        self._running: set[asyncio.Task[None]] = set()
        #: Handlers that wait for the others to end.
        self._ending: set[asyncio.Task[None]] = set()

    @property
    def failed(self) -> int:
        """Requests whose handler raised, or whose answer could not be sent. Each was logged, with its traceback."""
        return self._failed

    async def _start(self) -> Self:
        await super()._start()
        self._pump = asyncio.create_task(self._answer_all())
        _keep(self._pump)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if kind is not None:
            for task in self._running:
                task.cancel()
        try:
            await super().__aexit__(kind, error, traceback)
        finally:
            await self._end()

    async def close(self, *, user_properties: UserProperties = ()) -> UnsubscribeResult:
        """Unsubscribe, and wait for the handlers that run. Requests that still wait get no answer.

        Parameters
        ----------
        user_properties
            Pairs for the UNSUBSCRIBE packet (MQTT 5).

        Raises
        ------
        UnsubscribeRefused
            The broker refused.

        Examples
        --------
        >>> async def echo(request):
        ...     return request.payload
        >>> responder = await client.respond("echo", echo)
        >>> (await responder.close()).results
        {'echo': <ReasonCode.SUCCESS: 0>}
        """
        try:
            return await super().close(user_properties=user_properties)
        finally:
            await self._end()

    async def _end(self) -> None:
        # A handler may end its own responder. Then neither it, nor who waits for its room, nor another that does so is
        # waited for: each would wait for the other.
        others = {*self._running}
        task = asyncio.current_task()
        if task in self._running:
            self._ending.add(task)
            others -= self._ending
        elif self._pump is not None:
            others.add(self._pump)
        if others:
            await asyncio.wait(others)

    async def _answer_all(self) -> None:
        """Hand requests to handlers while there is room; the others wait in the queue, and then at the broker."""
        room = asyncio.Semaphore(self._concurrency)
        requests = aiter(self)
        try:
            while True:
                await room.acquire()
                task = asyncio.create_task(self._answer(await anext(requests)))
                self._running.add(task)
                task.add_done_callback(self._running.discard)
                task.add_done_callback(lambda _: room.release())
        except StopAsyncIteration:
            pass
        except MqttError:
            _logger.exception("no more requests to %s are answered", ", ".join(self.filters))

    async def _answer(self, message: Message) -> None:
        try:
            payload = await self._handler(message)
        except RequestFailed as error:
            await self._say(message, b"", error=str(error))
        except Exception as error:  # noqa: BLE001 - whatever it is, the asker hears that there is no answer
            self._fail(message, error)
            await self._say(message, b"", error=_UNTOLD)
        else:
            await self._say(message, payload)

    async def _say(self, message: Message, payload: Payload | None, *, error: str | None = None) -> None:
        client = self._client()
        if client is None or (arguments := _answer(message, payload, error)) is None:
            return
        try:
            await client.publish(*arguments[:2], **arguments[2])
        except Closed:
            pass  # nobody is told anything any more
        except Exception as failure:  # noqa: BLE001 - it is no payload, or too large: the asker is told so
            self._fail(message, failure)
            if error is None:
                await self._say(message, b"", error=_UNTOLD)

    def _fail(self, message: Message, error: Exception) -> None:
        self._failed += 1
        _tell(self._client(), message, error)


class SyncResponder(SyncSubscription):
    """A subscription whose messages are requests, each answered by a handler. Made by `SyncClient.respond`.

    Handlers run on threads of their own, as many as are needed and no more than were asked for; they may use the
    client. The end of the block, and `close`, wait for those that run, and so does the end of the program.

    Examples
    --------
    >>> with rmqtt.SyncClient(broker.url) as client:
    ...     with client.respond("double", lambda request: str(2 * request.json())) as responder:
    ...         client.request("double", "21").json()
    42
    """

    __slots__ = ("_client", "_concurrency", "_ending", "_failed", "_handler", "_idle", "_lock", "_threads")

    def __init__(
        self,
        native: NativeSubscription,
        *,
        client: SyncPublisher,
        handler: Callable[[Message], Payload | None],
        concurrency: int,
    ) -> None:
        super().__init__(native)
        # Weak: who answers must not keep a client alive that nobody else knows.
        self._client = weakref.ref(client)
        self._handler = handler
        self._concurrency = concurrency
        self._failed = 0
        self._idle = 0
        self._lock = threading.Lock()
        self._threads: set[threading.Thread] = set()
        #: Those whose handlers wait for the others to end.
        self._ending: set[threading.Thread] = set()
        # Before the interpreter goes, whose threads would never come back from their waits.
        atexit.register(self._end_at_exit)
        with self._lock:
            self._begin_thread()

    @property
    def failed(self) -> int:
        """Requests whose handler raised, or whose answer could not be sent. Each was logged, with its traceback."""
        return self._failed

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        super().__exit__(kind, error, traceback)
        self._join()

    def close(self, *, user_properties: UserProperties = (), timeout: float | None = None) -> UnsubscribeResult:
        """Unsubscribe, and wait for the handlers that run. Requests that still wait get no answer.

        Parameters
        ----------
        user_properties
            Pairs for the UNSUBSCRIBE packet (MQTT 5).
        timeout
            Seconds to wait for the broker's answer; `None`: as long as the client lives.

        Raises
        ------
        UnsubscribeRefused
            The broker refused.
        MqttTimeout
            It took longer than ``timeout``; the subscription ends all the same.

        Examples
        --------
        >>> with rmqtt.SyncClient(broker.url) as client:
        ...     client.respond("echo", lambda request: request.payload).close().results
        {'echo': <ReasonCode.SUCCESS: 0>}
        """
        result = super().close(user_properties=user_properties, timeout=timeout)
        self._join()
        return result

    def _end_at_exit(self) -> None:
        with contextlib.suppress(MqttError, RuntimeError):
            self.close(timeout=1)

    def _join(self) -> None:
        atexit.unregister(self._end_at_exit)
        # As `Responder._end`. Under the lock no thread is known and not yet begun.
        with self._lock:
            others = {*self._threads}
            thread = threading.current_thread()
            if thread in self._threads:
                self._ending.add(thread)
                others -= self._ending
        for other in others:
            other.join()

    def _begin_thread(self) -> None:
        thread = threading.Thread(target=self._answer_all, name="rmqtt-responder", daemon=True)
        self._idle += 1
        self._threads.add(thread)
        thread.start()

    def _answer_all(self) -> None:
        """Answer one request after the other; where nobody is left to wait for the next, one more thread does."""
        try:
            for message in self.messages():
                with self._lock:
                    self._idle -= 1
                    if self._idle == 0 and len(self._threads) < self._concurrency:
                        self._begin_thread()
                self._answer(message)
                with self._lock:
                    self._idle += 1
        except MqttError:
            _logger.exception("no more requests to %s are answered", ", ".join(self.filters))

    def _answer(self, message: Message) -> None:
        try:
            payload = self._handler(message)
        except RequestFailed as error:
            self._say(message, b"", error=str(error))
        except BaseException as error:  # noqa: BLE001 - as there; and a `sys.exit` would end this thread alone, unheard
            self._fail(message, error)
            self._say(message, b"", error=_UNTOLD)
        else:
            self._say(message, payload)

    def _say(self, message: Message, payload: Payload | None, *, error: str | None = None) -> None:
        client = self._client()
        if client is None or (arguments := _answer(message, payload, error)) is None:
            return
        try:
            client.publish(*arguments[:2], **arguments[2])
        except Closed:
            pass  # nobody is told anything any more
        except Exception as failure:  # noqa: BLE001 - it is no payload, or too large: the asker is told so
            self._fail(message, failure)
            if error is None:
                self._say(message, b"", error=_UNTOLD)

    def _fail(self, message: Message, error: BaseException) -> None:
        with self._lock:
            self._failed += 1
        _tell(self._client(), message, error)


def _tell(client: Publisher | SyncPublisher | None, message: Message, error: BaseException) -> None:
    _logger.error(_FAILED, message.topic, exc_info=error)
    if client is not None:
        said = "".join(traceback.format_exception_only(error)).strip()
        client._native.handler_failed(message.topic, said)  # noqa: SLF001 - of this package
