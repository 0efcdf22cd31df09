"""Callables that say who may connect, and who may do what: `Login`, and the threads that ask them."""

from __future__ import annotations

import asyncio
import contextvars
import inspect
import logging
import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NoReturn, TypeAlias

from rmqtt._acl import Acl, native
from rmqtt._peer import ClientInfo, PeerCertificate, with_certificate
from rmqtt._rmqtt import NativeInquiries, NativeLogins

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from rmqtt._rmqtt import NativeRuling, NativeVerdict
    from rmqtt._users import AuthLimits

    _To: TypeAlias = NativeVerdict | NativeRuling

_LOGGER = logging.getLogger("rmqtt.broker")


@dataclass(frozen=True, kw_only=True, slots=True)
class Login:
    """Somebody who wants to connect, as ``Broker(auth=check)`` is asked about it.

    The password is not shown by ``repr``, and a login cannot be pickled.

    Examples
    --------
    >>> Login(client_id="thermometer", username="alice", password=b"secret")
    Login(client_id='thermometer', username='alice', peer_address=None, certificate=None, listener=None)
    """

    #: Empty: the broker will choose one.
    client_id: str
    #: Who it says it is, or its certificate does (``Listener(username_from=...)``).
    username: str | None = None
    #: Its proof: a password, or a token.
    password: bytes | None = field(default=None, repr=False)
    #: Where it is, as ``host:port``; `None` in memory.
    peer_address: str | None = None
    #: The certificate that it has proven to own, and that an authority of the listener vouches for.
    certificate: PeerCertificate | None = None
    #: Through which of the broker's listeners it came, counted from 0; `None`: in memory, at the broker's own name.
    listener: int | None = None

    def __reduce__(self) -> NoReturn:
        raise TypeError("a login has a password in it, and is not pickled")


Answer: TypeAlias = "bool | str | None"
AuthHook: TypeAlias = "Callable[[Login], Answer | Awaitable[Answer]]"
AclHook: TypeAlias = "Callable[[ClientInfo], Acl | Awaitable[Acl]]"


def _login(fields: dict[str, Any]) -> Login:
    return Login(**with_certificate(fields))


def _give_verdict(answer: object, to: NativeVerdict) -> bool:
    if answer is not None and not isinstance(answer, (bool, str)):
        name = type(answer).__name__
        raise TypeError(f"an auth hook answers with True, False, a user's name or None, not {name}")
    return to.give(answer)


def _client(fields: dict[str, Any]) -> ClientInfo:
    return ClientInfo(**with_certificate(fields))


def _give_rights(answer: object, to: NativeRuling) -> bool:
    if not isinstance(answer, Acl):
        raise TypeError(f"an acl hook answers with an Acl, not {type(answer).__name__}")
    return to.give(native(answer))


@dataclass(frozen=True, slots=True)
class _Kind:
    """What is asked, of whom, and how an answer is given."""

    name: str
    subject: Callable[[Any], Login | ClientInfo]
    give: Callable[[object, Any], bool]


_AUTH = _Kind("auth", _login, _give_verdict)
_ACL = _Kind("acl", _client, _give_rights)


class Asking:
    """Asks one callable while its broker runs, in the context in which the broker was made."""

    def __init__(
        self, kind: _Kind, questions: NativeLogins | NativeInquiries, hook: Callable[[Any], Any], limits: AuthLimits
    ) -> None:
        self.kind = kind
        self.questions = questions
        self.hook = hook
        self.timeout = limits.hook_timeout
        self.threads_max = max(limits.hooks_max, 1)
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
        self.questions.close()
        crew.stop()

    def failed(self, error: BaseException) -> None:
        # Each kind once: who floods the door must not flood the log. The broker counts them all.
        if type(error) not in self._failures:
            self._failures.add(type(error))
            _LOGGER.error("the %s hook failed, and let nobody in; said once", self.kind.name, exc_info=error)


def asking_users(hook: AuthHook, limits: AuthLimits) -> tuple[NativeLogins, Asking]:
    logins = NativeLogins()
    return logins, Asking(_AUTH, logins, hook, limits)


def asking_rights(hook: AclHook, limits: AuthLimits) -> tuple[NativeInquiries, Asking]:
    inquiries = NativeInquiries()
    return inquiries, Asking(_ACL, inquiries, hook, limits)


class _Crew:
    """The threads that ask between a start and a stop; one more is made only when all are busy.

    What a callable returns to be awaited runs in the event loop that started the broker, or in one of their own.
    """

    def __init__(self, asking: Asking, loop: asyncio.AbstractEventLoop | None) -> None:
        self._asking = asking
        self._opening = asking.questions.open()
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
        threading.Thread(target=self._work, name=f"rmqtt-{self._asking.kind.name}", daemon=True).start()

    def stop(self) -> None:
        with self._lock:
            self._is_stopped = True
            own, self._own = self._own, None
        if own is not None:
            own.call_soon_threadsafe(own.stop)

    def _work(self) -> None:
        while (question := self._asking.questions.next(self._opening)) is not None:
            with self._lock:
                self._idle -= 1
            self.grow()
            self._asking.context.copy().run(self._ask, *question)
            # What it was asked must not live until the next one comes.
            del question
            with self._lock:
                self._idle += 1
        # The broker may have been let go of without a stop.
        self.stop()

    def _ask(self, fields: Any, to: _To) -> None:
        try:
            said = self._asking.hook(self._asking.kind.subject(fields))
            if inspect.isawaitable(said):
                self._await_elsewhere(said, to)
            else:
                self._give(said, to)
        except BaseException as error:  # noqa: BLE001 - whatever it is, nobody is let in
            to.fail()
            self._asking.failed(error)

    def _await_elsewhere(self, said: Awaitable[object], to: _To) -> None:
        waiting = self._await(said, to)
        try:
            asyncio.run_coroutine_threadsafe(waiting, self._loop or self._own_loop())
        except RuntimeError:
            # The loop is gone, and what never runs must not complain that nobody awaited it.
            waiting.close()
            if inspect.iscoroutine(said):
                said.close()
            raise

    async def _await(self, said: Awaitable[object], to: _To) -> None:
        try:
            async with asyncio.timeout(self._asking.timeout):
                answer = await said
            self._give(answer, to)
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
                name = f"rmqtt-{self._asking.kind.name}-loop"
                threading.Thread(target=_run, args=(self._own,), name=name, daemon=True).start()
            return self._own

    def _give(self, answer: object, to: _To) -> None:
        if not self._asking.kind.give(answer, to):
            raise TimeoutError(f"an {self._asking.kind.name} hook answered when nobody waited any more")


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
