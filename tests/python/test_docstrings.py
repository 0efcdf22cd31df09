"""Every example in a docstring is run, and must print what it says.

The examples are written as one would type them where `await` is allowed at the top: `python -m asyncio`, or a notebook.
Each begins with `rmqtt` and all its public names, a running `broker` and a `client` that is connected to it in memory.
"""

from __future__ import annotations
import __future__

import ast
import asyncio
import contextlib
import doctest
import inspect
import io
import traceback
from typing import TYPE_CHECKING, Any

import pytest
import rmqtt
from rmqtt import cli, codec, otel, testing

if TYPE_CHECKING:
    from collections.abc import Iterator

PUBLIC = {name: getattr(rmqtt, name) for name in rmqtt.__all__} | {
    name: getattr(testing, name) for name in testing.__all__
}
CHECKER = doctest.OutputChecker()
FLAGS = ast.PyCF_ALLOW_TOP_LEVEL_AWAIT | __future__.annotations.compiler_flag


def documented() -> Iterator[tuple[str, object]]:
    """The modules, all public names, and what is public inside of the classes."""
    for module in (rmqtt, codec, cli, otel, testing):
        yield module.__name__, module
    for name, value in PUBLIC.items():
        yield f"rmqtt.{name}", value
        if inspect.isclass(value):
            for member, part in inspect.getmembers_static(value):
                if not member.startswith("_") and (inspect.isroutine(part) or inspect.isdatadescriptor(part)):
                    yield f"rmqtt.{name}.{member}", part
    yield "rmqtt.cli.main", cli.main
    yield "rmqtt.otel.context_of", otel.context_of


def examples() -> dict[str, list[doctest.Example]]:
    """What is written behind `>>>`, by the name of what it belongs to."""
    parser = doctest.DocTestParser()
    found = {name: parser.get_examples(inspect.getdoc(value) or "", name) for name, value in documented()}
    return {name: written for name, written in found.items() if written}


EXAMPLES = examples()


async def run(example: doctest.Example, names: dict[str, Any]) -> str:
    """Run one example as an interactive interpreter would; what it has printed, or the last line of its exception."""
    code = compile(example.source, "<example>", "single", FLAGS, dont_inherit=True)
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(io.StringIO()):
        try:
            if code.co_flags & inspect.CO_COROUTINE:  # there is an `await` in it
                await eval(code, names)
            else:  # it may bring a loop of its own, and a thread has but one
                await asyncio.to_thread(eval, code, names)
        except Exception as error:
            if example.exc_msg is None:
                raise
            return traceback.format_exception_only(error)[-1]
    return printed.getvalue()


@pytest.mark.parametrize("name", EXAMPLES)
async def test_an_example_runs_and_prints_what_it_says(name: str) -> None:
    async with rmqtt.Broker("mem://docstrings") as broker, broker.client() as client:
        names = {**PUBLIC, "rmqtt": rmqtt, "context_of": otel.context_of, "broker": broker, "client": client}
        for example in EXAMPLES[name]:
            wanted = example.exc_msg or example.want
            printed = await run(example, names)
            assert CHECKER.check_output(wanted, printed, 0), f">>> {example.source}{printed}is not\n{wanted}"


def test_the_main_classes_and_functions_have_examples() -> None:
    for name in ("Broker", "Client", "Client.publish", "Client.subscribe", "Message", "Subscription", "explain"):
        assert f"rmqtt.{name}" in EXAMPLES
    assert len(EXAMPLES) > 40
