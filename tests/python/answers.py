"""Callables for hooks of a broker, plain and async, that have one answer."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable


def said(answer: Any, *, is_async: bool) -> Callable[[object], Any]:
    """Make a hook that gives this answer, whatever it is asked."""

    def say(_: object) -> Any:
        return answer

    async def say_later(_: object) -> Any:
        await asyncio.sleep(0)
        return answer

    return say_later if is_async else say
