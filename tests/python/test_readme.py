"""What the README and the documentation show is run; what they claim in numbers is compared."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
import textwrap
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import rmqtt
from rmqtt import exceptions

if TYPE_CHECKING:
    from _pytest.mark import ParameterSet

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]


def blocks(language: str) -> list[ParameterSet]:
    """All code blocks in this language, named by page and line."""
    found = []
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        for match in re.finditer(rf"^( *)```{language}\n(.*?)^ *```$", text, re.DOTALL | re.MULTILINE):
            line = text.count("\n", 0, match.start()) + 1
            found.append(pytest.param(textwrap.dedent(match[2]), id=f"{page.relative_to(ROOT)}:{line}"))
    return found


@pytest.mark.parametrize("code", blocks("python"))
def test_python_blocks_run_without_a_warning(code: str, tmp_path: Path) -> None:
    if re.search(r"^ *(async )?def test_", code, re.MULTILINE):
        (tmp_path / "test_block.py").write_text(code, encoding="utf-8")
        # As in a project of the reader's, with the usual plugins.
        settings = "[pytest]\nasyncio_mode = auto\nasyncio_default_fixture_loop_scope = function\n"
        (tmp_path / "pytest.ini").write_text(settings, encoding="utf-8")
        how = ["-m", "pytest", "-q", "-p", "no:cacheprovider", "--strict-markers"]
    else:
        how = ["-c", code]
    done = subprocess.run(
        [sys.executable, "-W", "error", *how],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, ""), done.stdout


def test_the_first_block_prints_the_reading() -> None:
    first = re.search(r"```python\n(.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), re.DOTALL)
    assert first is not None
    done = subprocess.run([sys.executable, "-c", first[1]], capture_output=True, text=True, timeout=30, check=True)
    assert done.stdout == "plant/7/temperature b'21.5'\n"
    assert len([line for line in first[1].splitlines() if line]) <= 12


@pytest.mark.parametrize("commands", blocks("console"))
def test_console_blocks_name_what_exists(commands: str) -> None:
    for line in commands.splitlines():
        words = [word for word in shlex.split(line) if not re.fullmatch(r"RMQTT_\w+=\w+", word)]
        match words:
            case ["make", target, *_]:
                makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
                assert re.search(rf"^{re.escape(target)}:", makefile, re.MULTILINE), line
            case ["pip", "install", "."]:
                assert (ROOT / "pyproject.toml").exists()
            case ["cargo", "test", *_] | [".venv/bin/python", "-m", "pytest", *_] | ["pytest", *_]:
                pass
            case ["python", "-m", "rmqtt", command, *options]:
                done = subprocess.run(
                    [sys.executable, "-m", "rmqtt", command, "--help"],
                    capture_output=True,
                    text=True,
                    timeout=30,
                    check=True,
                )
                assert all(option in done.stdout for option in options if option.startswith("--")), line
            case _:
                pytest.fail(f"nobody checks this line: {line}")


def test_links_lead_somewhere() -> None:
    broken = [
        f"{page.relative_to(ROOT)}: {target}"
        for page in PAGES
        for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8"))
        if "://" not in target and not (page.parent / target).exists()
    ]
    assert broken == []


def test_the_page_of_limits_names_every_limit_with_its_default() -> None:
    rows = re.findall(
        r"^\| `(\w+)` \| ([^|]*) \|", (ROOT / "docs" / "limits.md").read_text(encoding="utf-8"), re.MULTILINE
    )
    documented = {}
    for name, default in rows:
        number = re.match(r"[\d ]+", default)
        documented[name] = float(number[0].replace(" ", "")) if number else None
    limits = rmqtt.Limits()
    actual = {field.name: getattr(limits, field.name) for field in fields(limits)}
    assert documented == actual


def test_the_page_of_errors_names_every_exception() -> None:
    page = (ROOT / "docs" / "errors.md").read_text(encoding="utf-8")
    assert sorted(re.findall(r"^\| `(\w+)` \|", page, re.MULTILINE)) == sorted(exceptions.__all__)
