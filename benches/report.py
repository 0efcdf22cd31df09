"""What the suites share: programs that are started and surely ended, medians, tables, charts, pages."""

from __future__ import annotations

import contextlib
import datetime as dt
import json
import math
import os
import platform
import statistics
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

HERE = Path(__file__).parent
LOAD = Path(os.environ.get("RMQTT_LOAD", HERE.parent / "target" / "benches" / "release" / "rmqtt-benches"))
#: What is never averaged away: of these all rounds are added up.
WRONG = ("lost", "duplicates", "out_of_order", "dropped")
COLOURS = ("#c0392b", "#34495e", "#7f8c8d", "#2980b9", "#16a085", "#8e44ad", "#d68910", "#2c3e50")


class RunError(Exception):
    """A run came to nothing; says what was run and what it had to say."""


class Program:
    """One program of the load generator that serves: its port, and what it knows."""

    def __init__(self, *arguments: str, cores: Iterable[int] | None = None, is_idle: bool = False) -> None:
        command = [str(LOAD), *arguments]
        if is_idle:
            command = ["chrt", "--idle", "0", *command]
        if cores is not None:
            command = ["taskset", "-c", ",".join(map(str, cores)), *command]
        try:
            self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        except FileNotFoundError as error:
            raise RunError(f"{error.filename} is not there: use the make targets") from error
        line = self._line()
        if not line.strip().isdigit():
            self.stop()
            raise RunError(f"{' '.join(arguments)} did not start")
        self.port = int(line)
        self.pid = self._process.pid

    def _line(self) -> str:
        return self._process.stdout.readline() if self._process.stdout else ""

    def ask(self) -> dict[str, Any]:
        """Have it say what it has counted."""
        if self._process.stdin is None:
            return {}
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        answer: dict[str, Any] = json.loads(self._line())
        return answer

    def stop(self) -> None:
        """End it."""
        self._process.kill()
        self._process.communicate()


@contextlib.contextmanager
def program(*arguments: str, cores: Iterable[int] | None = None, is_idle: bool = False) -> Iterator[Program]:
    """Start one program that serves; end it with the block."""
    started = Program(*arguments, cores=cores, is_idle=is_idle)
    try:
        yield started
    finally:
        started.stop()


def _words(command: Sequence[str]) -> str:
    """Give a command as pages show it: without where it lies on this machine."""
    return " ".join([Path(command[1]).name, *command[2:]])


def run_json(command: Sequence[str], *, seconds: float) -> dict[str, Any]:
    """Run a program that prints one JSON object, for so long at most."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=seconds)
    except subprocess.TimeoutExpired:
        raise RunError(f"not done after {seconds:.0f} s: {_words(command)}") from None
    except FileNotFoundError as error:
        raise RunError(f"{error.filename} is not there: use the make targets") from error
    if done.returncode or not done.stdout.strip():
        last = (done.stderr.strip() or "no word").splitlines()[-1]
        raise RunError(f"{_words(command)}: {last}")
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


def say(text: str) -> None:
    """Tell whoever waits how far it is."""
    print(f"{dt.datetime.now(dt.UTC):%H:%M:%S} {text}", file=sys.stderr, flush=True)


def medians(rounds: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Figure by figure over the rounds; of what went wrong, the sum."""
    names = dict.fromkeys(name for figures in rounds for name in figures)
    return {
        name: (sum if name in WRONG else statistics.median)([of[name] for of in rounds if name in of]) for name in names
    }


def significant(value: float, digits: int = 3) -> str:
    """Write a figure with so many digits that mean something."""
    if not math.isfinite(value):
        return "–"
    if value == 0:
        return "0"
    decimals = max(0, digits - 1 - math.floor(math.log10(abs(value))))
    return f"{value:,.{decimals}f}"


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Write a Markdown table; the first column is text, the others are figures."""
    lines = [f"| {' | '.join(head)} |", f"|---|{'---:|' * (len(head) - 1)}"]
    lines += [f"| {' | '.join(row)} |" for row in rows]
    return "\n".join(lines)


def machine() -> dict[str, str]:
    """Say where and when, for every page."""
    model = platform.processor() or platform.machine()
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                model = line.partition(":")[2].strip()
                break
    return {
        "date": f"{dt.datetime.now(dt.UTC):%Y-%m-%d %H:%M} UTC",
        "cpu": f"{os.cpu_count()} × {model}",
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "rust": _first_line("rustc", "--version"),
        "rmqtt": _first_line("git", "-C", str(HERE), "describe", "--always", "--dirty"),
        "busy": f"{os.getloadavg()[0]:.1f} ready threads in the minute before",
    }


def _first_line(*command: str) -> str:
    with contextlib.suppress(OSError, subprocess.SubprocessError):
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=10).stdout.partition("\n")[0]
    return "unknown"


def about(where: Mapping[str, str], command: str) -> str:
    """Write the lines below a page's title: where, when, by what command."""
    facts = "; ".join(f"{name}: {value}" for name, value in where.items())
    return f"Written by `{command}`. {facts[0].upper()}{facts[1:]}."


def bars(
    labels: Sequence[str], series: Mapping[str, Sequence[float | None]], title: str, *, is_logarithmic: bool = True
) -> Any:
    """Draw horizontal bars, one group for each label; what is not there is left out."""
    plt = pyplot()
    figure, axes = plt.subplots(figsize=(9, 0.16 * len(labels) * (len(series) + 1) + 1.4))
    height = 0.84 / len(series)
    for at, (name, values) in enumerate(series.items()):
        places = [row + at * height for row in range(len(labels))]
        there = [(place, value) for place, value in zip(places, values, strict=True) if value]
        axes.barh(
            [place for place, _ in there],
            [value for _, value in there],
            height,
            label=name,
            color=COLOURS[at % len(COLOURS)],
        )
    axes.set_yticks([row + 0.42 - height / 2 for row in range(len(labels))], labels)
    if is_logarithmic:
        axes.set_xscale("log")
    axes.invert_yaxis()
    axes.set_xlabel(title)
    axes.grid(visible=True, axis="x", alpha=0.3)
    axes.legend(fontsize="small")
    figure.tight_layout()
    return figure


def pyplot() -> Any:
    """Give matplotlib's drawing board, set to SVG that is the same for the same figures."""
    import matplotlib as mpl  # noqa: PLC0415 - the tables need no matplotlib

    mpl.use("svg")
    mpl.rcParams["svg.hashsalt"] = "rmqtt"
    from matplotlib import pyplot as plt  # noqa: PLC0415 - see above

    return plt


def publish(directory: Path | None, name: str, page: str, figures: Any, charts: Mapping[str, Any]) -> None:
    """Write page, raw figures and charts; without a directory the page is printed."""
    if directory is None:
        print(page)
        return
    directory.mkdir(parents=True, exist_ok=True)
    (directory / f"{name}.md").write_text(page)
    (directory / f"{name}.json").write_text(json.dumps(figures, indent=1) + "\n")
    for chart, figure in charts.items():
        figure.savefig(directory / f"{chart}.svg", metadata={"Date": None})
    say(f"wrote {directory / name}.md")
