"""Runs a user's authentication handler, as a task of the event loop: the questions come from the network's threads."""

from __future__ import annotations

import asyncio
import contextvars
import inspect
from typing import TYPE_CHECKING, Literal, TypeAlias

from rmqtt.exceptions import AuthenticationFailed

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from rmqtt._rmqtt import Answer
    from rmqtt._types import AuthHandler

    _Word: TypeAlias = bytes | Awaitable[bytes | None] | None


class Runner:
    """Asks one handler, one question at a time; in the context in which its client was made."""

    __slots__ = ("_context", "_handler", "_task")

    def __init__(self, handler: AuthHandler) -> None:
        self._handler = handler
        self._context = contextvars.copy_context()
        self._task: asyncio.Task[None] | None = None

    def ask(self, what: Literal["start", "step", "finish"], data: bytes | None, answer: Answer) -> None:
        # Who asks again has given up what he asked before, though the word of it may still be under way.
        self.cancel()
        loop = asyncio.get_running_loop()
        self._task = loop.create_task(self._answer(what, data, answer), context=self._context)

    def cancel(self) -> None:
        if self._task is not None:
            self._task.cancel()

    async def _answer(self, what: Literal["start", "step", "finish"], data: bytes | None, answer: Answer) -> None:
        try:
            word: object = self._call(what, data)
            if inspect.isawaitable(word):
                word = await word
            if word is not None and not isinstance(word, bytes):
                name = type(word).__name__
                raise TypeError(f"an authentication handler answers with bytes or None, not {name}")  # noqa: TRY301
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

    def _call(self, what: Literal["start", "step", "finish"], data: bytes | None) -> _Word:
        if what == "start":
            return self._handler.start()
        if what == "step":
            return self._handler.step(data or b"")
        finish = getattr(self._handler, "finish", None)
        if finish is not None:
            word: _Word = finish(data)
            return word
        return None if data is None else self._handler.step(data)
