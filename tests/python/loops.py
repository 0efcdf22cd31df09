"""On which event loops a test of the bridge runs: the default one, its debug mode, uvloop, and eager tasks."""

from __future__ import annotations

import asyncio
import functools
import importlib.util
import inspect
import sys
from typing import TYPE_CHECKING, Any, TypeVar

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

T = TypeVar("T")

KINDS = ["default", "debug"]
if importlib.util.find_spec("uvloop") is not None:
    KINDS.append("uvloop")
if sys.version_info >= (3, 12):
    KINDS.append("eager")


def new_loop(kind: str) -> asyncio.AbstractEventLoop:
    """Make a loop of this kind."""
    if kind == "uvloop":
        import uvloop

        loop: asyncio.AbstractEventLoop = uvloop.new_event_loop()
        return loop
    loop = asyncio.new_event_loop()
    if sys.version_info >= (3, 12) and kind == "eager":
        loop.set_task_factory(asyncio.eager_task_factory)
    loop.set_debug(kind == "debug")
    return loop


def run(main: Coroutine[Any, Any, T], kind: str = "default") -> T:
    """Run to the end on a new loop of this kind; what the loop's exception handler is told fails the test."""
    complaints: list[dict[str, Any]] = []
    with asyncio.Runner(loop_factory=lambda: new_loop(kind)) as runner:
        runner.get_loop().set_exception_handler(lambda _loop, context: complaints.append(context))
        result = runner.run(main)
    assert not complaints
    return result


def on_every_loop(test: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
    """Run this test once on each kind of loop."""

    @functools.wraps(test)
    def on_one_loop(*arguments: Any, loop_kind: str, **fixtures: Any) -> None:
        run(test(*arguments, **fixtures), loop_kind)

    of_the_test = inspect.signature(test)
    kind = inspect.Parameter("loop_kind", inspect.Parameter.KEYWORD_ONLY)
    signature = of_the_test.replace(parameters=[*of_the_test.parameters.values(), kind])
    on_one_loop.__signature__ = signature  # type: ignore[attr-defined]
    each_kind: Callable[[Callable[..., None]], Callable[..., None]] = pytest.mark.parametrize("loop_kind", KINDS)
    return each_kind(on_one_loop)


async def until(true: Callable[[], bool], *, guard: float = 10) -> None:
    """Give the loop turns until something is true."""
    async with asyncio.timeout(guard):
        while not true():
            await asyncio.sleep(0)
