"""A callable that says who may connect: `Login`, and the threads that ask it."""

from __future__ import annotations

import asyncio
import contextvars
import inspect
import logging
import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NoReturn, TypeAlias

from rmqtt._rmqtt import NativeLogins

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from rmqtt._rmqtt import NativeVerdict

_LOGGER = logging.getLogger("rmqtt.broker")


@dataclass(frozen=True, kw_only=True, slots=True)
class Login:
    """Somebody who wants to connect, as ``Broker(auth=check)`` is asked about it.

    The password is not shown by ``repr``, and a login cannot be pickled.

    Examples
    --------
    >>> Login(client_id="thermometer", username="alice", password=b"secret")
    Login(client_id='thermometer', username='alice', peer_address=None)
    """

    #: Empty: the broker will choose one.
    client_id: str
    #: Who it says it is.
    username: str | None = None
    #: Its proof: a password, or a token.
    password: bytes | None = field(default=None, repr=False)
    #: Where it is, as ``host:port``; `None` in memory.
    peer_address: str | None = None

    def __reduce__(self) -> NoReturn:
        raise TypeError("a login has a password in it, and is not pickled")


Answer: TypeAlias = "bool | str | None"
AuthHook: TypeAlias = "Callable[[Login], Answer | Awaitable[Answer]]"


class Asking:
    """Asks one callable while its broker runs, in the context in which the broker was made."""

    def __init__(self, hook: AuthHook, threads_max: int, timeout: float) -> None:
        self.logins = NativeLogins()
        self.hook = hook
        self.timeout = timeout
        self.threads_max = max(threads_max, 1)
        self.context = contextvars.copy_context()
        self._failures: set[type[BaseException]] = set()
        self._lock = threading.Lock()
        self._brokers = 0
        self._crew: _Crew | None = None

    def start(self, loop: asyncio.AbstractEventLoop | None) -> None:
        with self._lock:
            self._brokers += 1
            if self._crew is None:
                self._crew = _Crew(self, loop)
                self._crew.grow()

    def stop(self) -> None:
        with self._lock:
            self._brokers -= 1
            if self._brokers or self._crew is None:
                # A fork of the broker runs on.
                return
            crew, self._crew = self._crew, None
        self.logins.close()
        crew.stop()

    def failed(self, error: BaseException) -> None:
        # Each kind once: who floods the door must not flood the log. The broker counts them all.
        if type(error) not in self._failures:
            self._failures.add(type(error))
            _LOGGER.error("the auth hook failed, and let nobody in; said once", exc_info=error)


class _Crew:
    """The threads that ask between a start and a stop; one more is made only when all are busy.

    What a callable returns to be awaited runs in the event loop that started the broker, or in one of their own.
    """

    def __init__(self, asking: Asking, loop: asyncio.AbstractEventLoop | None) -> None:
        self._asking = asking
        self._opening = asking.logins.open()
        self._lock = threading.Lock()
        self._idle = 0
        self._threads = 0
        self._loop = loop
        self._own: asyncio.AbstractEventLoop | None = None
        self._is_stopped = False

    def grow(self) -> None:
        with self._lock:
            if self._idle or self._threads >= self._asking.threads_max or self._is_stopped:
                return
            self._idle += 1
            self._threads += 1
        threading.Thread(target=self._work, name="rmqtt-auth", daemon=True).start()

    def stop(self) -> None:
        with self._lock:
            self._is_stopped = True
            own, self._own = self._own, None
        if own is not None:
            own.call_soon_threadsafe(own.stop)

    def _work(self) -> None:
        while (question := self._asking.logins.next(self._opening)) is not None:
            with self._lock:
                self._idle -= 1
            self.grow()
            (client_id, username, password, peer_address), to = question
            login = Login(client_id=client_id, username=username, password=password, peer_address=peer_address)
            self._asking.context.copy().run(self._ask, login, to)
            # What it was asked must not live until the next one comes.
            del question, password, login, to
            with self._lock:
                self._idle += 1
        # The broker may have been let go of without a stop.
        self.stop()

    def _ask(self, login: Login, to: NativeVerdict) -> None:
        try:
            said = self._asking.hook(login)
            if inspect.isawaitable(said):
                self._await_elsewhere(said, to)
            else:
                _give(said, to)
        except BaseException as error:  # noqa: BLE001 - whatever it is, nobody is let in
            to.fail()
            self._asking.failed(error)

    def _await_elsewhere(self, said: Awaitable[Answer], to: NativeVerdict) -> None:
        waiting = self._await(said, to)
        try:
            asyncio.run_coroutine_threadsafe(waiting, self._loop or self._own_loop())
        except RuntimeError:
            # The loop is gone, and what never runs must not complain that nobody awaited it.
            waiting.close()
            if inspect.iscoroutine(said):
                said.close()
            raise

    async def _await(self, said: Awaitable[Answer], to: NativeVerdict) -> None:
        try:
            async with asyncio.timeout(self._asking.timeout):
                answer = await said
            _give(answer, to)
        except Exception as error:  # noqa: BLE001 - whatever it is, nobody is let in
            to.fail()
            self._asking.failed(error)
        finally:
            to.fail()

    def _own_loop(self) -> asyncio.AbstractEventLoop:
        with self._lock:
            if self._is_stopped:
                raise RuntimeError("the broker has stopped")
            if self._own is None:
                self._own = asyncio.new_event_loop()
                threading.Thread(target=_run, args=(self._own,), name="rmqtt-auth-loop", daemon=True).start()
            return self._own


def _give(answer: object, to: NativeVerdict) -> None:
    if answer is not None and not isinstance(answer, (bool, str)):
        name = type(answer).__name__
        raise TypeError(f"an auth hook answers with True, False, a user's name or None, not {name}")
    if not to.give(answer):
        raise TimeoutError("an auth hook answered when nobody waited any more")


def _run(loop: asyncio.AbstractEventLoop) -> None:
    try:
        loop.run_forever()
        tasks = asyncio.all_tasks(loop)
        for task in tasks:
            task.cancel()
        if tasks:
            loop.run_until_complete(asyncio.wait(tasks))
    finally:
        loop.close()
