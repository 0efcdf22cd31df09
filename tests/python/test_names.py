"""What is exported is documented, what is documented is true, and the stub is the module."""

from __future__ import annotations

import inspect
import subprocess
import sys
from pathlib import Path

import pytest
import rmqtt
from rmqtt import testing

HERE = Path(__file__).parent


@pytest.mark.parametrize("name", [*rmqtt.__all__, *testing.__all__])
def test_every_exported_name_is_there_and_documented(name: str) -> None:
    value = getattr(testing if name in testing.__all__ else rmqtt, name)
    if not (inspect.isclass(value) or inspect.isroutine(value)):
        return
    assert inspect.getdoc(value), f"rmqtt.{name} has no docstring"
    if not inspect.isclass(value):
        return
    ours = [kind for kind in value.__mro__ if kind.__module__.startswith("rmqtt")]
    for member, attribute in ((member, attribute) for kind in ours for member, attribute in vars(kind).items()):
        if not member.startswith("_") and (inspect.isroutine(attribute) or isinstance(attribute, property)):
            assert inspect.getdoc(attribute), f"rmqtt.{name}.{member} has no docstring"


def test_a_name_that_is_not_there_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no_such_name"):
        _ = rmqtt.no_such_name


def test_all_names_are_listed_by_dir() -> None:
    assert set(rmqtt.__all__) <= set(dir(rmqtt))


def test_the_stub_says_what_the_module_is() -> None:
    check = subprocess.run(
        [
            sys.executable,
            "-m",
            "mypy.stubtest",
            "rmqtt._rmqtt",
            "--mypy-config-file",
            str(HERE.parents[1] / "pyproject.toml"),
            "--allowlist",
            str(HERE / "stubtest_allowlist.txt"),
        ],
        cwd=HERE.parents[1],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert check.returncode == 0, check.stdout + check.stderr


def loaded(code: str) -> set[str]:
    """Give the modules that an interpreter has after this, of ours and asyncio."""
    code += "; import sys; print(*(name for name in sys.modules if name == 'asyncio' or name.startswith('rmqtt')))"
    return set(subprocess.check_output([sys.executable, "-c", code], text=True).split())


def test_importing_costs_little() -> None:
    assert loaded("import rmqtt") == {"rmqtt"}


def test_what_may_never_be_asked_for_is_not_loaded_with_the_client_and_the_broker() -> None:
    rare = {"_acl", "_auth", "_events", "_html", "_messages", "_peer", "_results", "_stats", "codec", "testing"}
    there = loaded("import rmqtt; rmqtt.Broker('mem://x'), rmqtt.Client('mem://x')")
    assert {"rmqtt._broker", "rmqtt._client"} <= there
    assert not {f"rmqtt.{name}" for name in rare} & there
