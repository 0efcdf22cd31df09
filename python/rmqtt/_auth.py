"""Who a client says it is: SCRAM-SHA-256, or a handler of the user's own, which runs as a task of the event loop.

So does a function that is asked for the password.
"""

from __future__ import annotations

import asyncio
import contextvars
import inspect
import threading
import weakref
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Literal, Protocol, TypeAlias, cast

from rmqtt.exceptions import AuthenticationFailed

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from rmqtt._rmqtt import Answer, NativeSyncClient

    _Word: TypeAlias = str | bytes | Awaitable[str | bytes | None] | None
    _What: TypeAlias = Literal["password", "start", "step", "finish"]
    Password: TypeAlias = str | bytes | Callable[[], str | bytes | Awaitable[str | bytes]]


_PASSWORD_MAX: Final = 65_535


@dataclass(frozen=True, slots=True)
class ScramSha256:
    """A user and a password, for enhanced authentication by SCRAM-SHA-256 (MQTT 5).

    The password never leaves this process: the client proves that it knows it, and the broker has to prove the same. It
    is asked for nothing less than 4 096 iterations, and does not do more than a million. Without TLS, what is published
    and received can still be read on the way.

    Examples
    --------
    >>> ScramSha256("alice", "secret")
    ScramSha256(username='alice')
    """

    #: Compared as prepared by RFC 4013, as the password is.
    username: str
    #: Not shown.
    password: str = field(repr=False)


class AuthHandler(Protocol):
    """A mechanism of enhanced authentication written in Python: any object with these, plain functions or coroutines.

    They are called in the client's event loop, one at a time, for each connection anew and for
    `Client.reauthenticate`. What they raise is raised by whoever waits for the connection; while the client reconnects,
    it is tried again later. A further method ``finish(data: bytes | None)`` is called, if there is one, when the broker
    is content; without it, `step` is called with what the broker said then, if it said anything, and the answer is not
    sent.

    Examples
    --------
    >>> class Token:
    ...     method = "TOKEN"
    ...
    ...     async def start(self) -> bytes:
    ...         return b"one-time-token"
    ...
    ...     def step(self, data: bytes) -> None:
    ...         raise PermissionError("this broker asks too much")
    """

    @property
    def method(self) -> str:
        """The Authentication Method that CONNECT names."""

    def start(self) -> bytes | Awaitable[bytes | None] | None:
        """Say the first word, for CONNECT or for authenticating again."""

    def step(self, data: bytes, /) -> bytes | Awaitable[bytes | None] | None:
        """Answer what the broker says."""


def credentials(auth: object, password: Password | None) -> tuple[object, object]:
    """Give the native half what it takes for a mechanism and for a password; one runner is asked for both."""
    source = password if callable(password) else None
    if auth is None or isinstance(auth, ScramSha256):
        return auth, password if source is None else Runner(None, source)
    if not all(hasattr(auth, name) for name in ("method", "start", "step")):
        raise TypeError(f"auth must be ScramSha256 or an AuthHandler, not {type(auth).__name__}")
    handler = cast("AuthHandler", auth)
    runner = Runner(handler, source)
    return (handler.method, runner), password if source is None else runner


class Runner:
    """Asks one handler, one question at a time; in the context in which its client was made."""

    __slots__ = ("_context", "_handler", "_password", "_task")

    def __init__(
        self, handler: AuthHandler | None, password: Callable[[], str | bytes | Awaitable[str | bytes]] | None
    ) -> None:
        self._handler = handler
        self._password = password
        self._context = contextvars.copy_context()
        self._task: asyncio.Task[None] | None = None

    def ask(self, what: _What, data: bytes | None, answer: Answer) -> None:
        # Who asks again has given up what he asked before, though the word of it may still be under way.
        self.cancel()
        loop = asyncio.get_running_loop()
        self._task = loop.create_task(self._answer(what, data, answer), context=self._context)

    def cancel(self) -> None:
        if self._task is not None:
            self._task.cancel()

    async def _answer(self, what: _What, data: bytes | None, answer: Answer) -> None:
        try:
            said: object = self._call(what, data)
            word = _checked(what, await said if inspect.isawaitable(said) else said)
        except Exception as error:  # noqa: BLE001 - it becomes the error of who waits for the connection
            answer.fail(error)
        except BaseException:
            answer.fail(AuthenticationFailed("the authentication handler was cancelled"))
            raise
        else:
            answer.give(word)
        finally:
            # Not the next one, which may have begun by the time a cancelled one ends.
            if self._task is asyncio.current_task():
                self._task = None

    def _call(self, what: _What, data: bytes | None) -> _Word:
        if what == "password":
            return None if self._password is None else self._password()
        if self._handler is None:
            return None
        if what == "start":
            return self._handler.start()
        if what == "step":
            return self._handler.step(data or b"")
        finish = getattr(self._handler, "finish", None)
        if finish is not None:
            word: _Word = finish(data)
            return word
        return None if data is None else self._handler.step(data)


def _checked(what: _What, word: object) -> bytes | None:
    if what != "password":
        if word is None or isinstance(word, bytes):
            return word
        raise TypeError(f"an authentication handler answers with bytes or None, not {type(word).__name__}")
    word = word.encode() if isinstance(word, str) else word
    if not isinstance(word, bytes):
        raise TypeError(f"password() must give str or bytes, not {type(word).__name__}")
    if len(word) > _PASSWORD_MAX:
        raise ValueError(f"password must be at most {_PASSWORD_MAX} bytes, not {len(word)}")
    return word


def ask_on_a_thread(native: NativeSyncClient, owner: object) -> None:
    """Give a handler of enhanced authentication an event loop of its own, for as long as `owner` lives."""
    loop = asyncio.new_event_loop()
    asks_there = threading.Event()

    def run() -> None:
        loop.call_soon(native.ask_here)
        loop.call_soon(asks_there.set)
        loop.run_forever()
        loop.close()

    threading.Thread(target=run, name="rmqtt-auth", daemon=True).start()
    asks_there.wait()
    weakref.finalize(owner, _stop, loop).atexit = False


def _stop(loop: asyncio.AbstractEventLoop) -> None:
    loop.call_soon_threadsafe(loop.stop)
