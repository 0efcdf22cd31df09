"""What a message costs each broker: ours, mosquitto and a bare relay in turn, on this machine, in the same minutes.

    make bench-brokers                       # everything: about a quarter of an hour
    make bench-brokers ARGS='--only q1-*'    # what you are working on

One load generator (this directory's Rust package) plays every scenario on every broker, A B C A B C, and keeps books
of every message. CPU time is the broker's own, from the operating system; medians of the rounds are shown, and ratios,
which depend on the machine much less than rates do.
"""

from __future__ import annotations

import argparse
import contextlib
import datetime as dt
import fnmatch
import json
import os
import platform
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

HERE = Path(__file__).parent
LOAD = Path(os.environ.get("RMQTT_LOAD", HERE.parent / "target" / "benches" / "release" / "rmqtt-benches"))
INTRODUCTION = """\
Medians of {rounds} rounds, the brokers in turn; {machine}. The generator shares the cores. Figures are per message
delivered; `lost`, `twice` and `late` count all rounds. `relay` is the floor: it reads whole packets and writes them
on."""
MOSQUITTO = """\
listener {port} 127.0.0.1
allow_anonymous true
persistence false
set_tcp_nodelay true
max_queued_messages 0
max_inflight_messages 0
max_connections -1
"""


@dataclass(frozen=True, kw_only=True, slots=True)
class Scenario:
    """One run of the load generator."""

    name: str
    about: str
    options: dict[str, Any]
    #: Shown in the growth tables, not in the main one.
    growth: str | None = None


def _scenario(name: str, about: str, growth: str | None = None, /, **options: Any) -> Scenario:
    return Scenario(name=name, about=about, options=options, growth=growth)


MAIN = [
    _scenario("q0-1to1", "QoS 0, 1 → 1, 64 B, up to 20,000 under way", messages=1_000_000, window=20_000),
    _scenario("q0-1to1-v5", "the same, MQTT 5", messages=1_000_000, window=20_000, v5=True),
    _scenario("q1-1to1", "QoS 1, 1 → 1, 64 B, 100 in flight", qos=1, messages=400_000),
    _scenario("q1-1to1-v5", "the same, MQTT 5", qos=1, messages=400_000, v5=True),
    _scenario("q2-1to1", "QoS 2, 1 → 1, 64 B, 100 in flight", qos=2, messages=200_000),
    _scenario("q0-fanin1000", "QoS 0, 1,000 → 1, small writes, 4 under way each",
              topology="fan-in", publishers=1000, messages=300_000, window=4),
    _scenario("q0-fanout1000", "QoS 0, 1 → 1,000", topology="fan-out", subscribers=1000, messages=1500, window=200),
    _scenario("q1-fanout1000", "QoS 1, 1 → 1,000",
              topology="fan-out", subscribers=1000, qos=1, messages=400, window=20),
    _scenario("q1-pairs200", "QoS 1, 200 pairs, one in flight each",
              topology="pairs", publishers=200, subscribers=200, qos=1, messages=60_000, window=1),
    _scenario("lat-q1-5k", "QoS 1, 5,000 messages/s offered", qos=1, rate=5000, messages=30_000),
    _scenario("q0-1k", "QoS 0, 1 → 1, 1 KiB", payload=1024, messages=300_000, window=2000),
    _scenario("q0-16k", "QoS 0, 1 → 1, 16 KiB", payload=16_384, messages=60_000, window=200),
    _scenario("q1-16k", "QoS 1, 1 → 1, 16 KiB, 20 in flight", payload=16_384, qos=1, messages=30_000, window=20),
    _scenario("idle-10000", "10,000 clients connect, subscribe and stay", topology="idle", subscribers=10_000),
]  # fmt: skip
GROWTH = [
    *(_scenario(f"filters-{n}", f"{n:,} filters of others", "stored filters",
                filters=n, messages=200_000, window=20_000)
      for n in (0, 1_000, 100_000, 1_000_000)),
    *(_scenario(f"idle-{n}", f"{n:,} idle clients", "idle clients", idle=n, messages=200_000, window=20_000)
      for n in (0, 1_000, 5_000)),
    *(_scenario(f"retained-{n}", f"{n:,} retained messages", "retained messages",
                retained=n, messages=200_000, window=20_000)
      for n in (0, 1_000, 100_000)),
    *(_scenario(f"payload-{n}", f"{n:,} B", "payload", payload=n, messages=100_000, window=200)
      for n in (64, 1_024, 16_384)),
]  # fmt: skip


@contextlib.contextmanager
def broker(kind: str) -> Iterator[tuple[int, int]]:
    """Start a broker of this kind on a free port; give its port and process id."""
    with tempfile.TemporaryDirectory() as directory:
        if kind == "mosquitto":
            program = shutil.which("mosquitto", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
            if program is None:
                sys.exit("mosquitto is not installed (Debian: apt-get install mosquitto)")
            with socket.socket() as free:
                free.bind(("127.0.0.1", 0))
                port = free.getsockname()[1]
            configuration = Path(directory, "mosquitto.conf")
            configuration.write_text(MOSQUITTO.format(port=port))
            process = subprocess.Popen(
                [program, "-c", configuration], stderr=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True
            )
            wait_until_open(port)
        else:
            mode = "serve" if kind == "rmqtt" else "relay"
            process = subprocess.Popen([LOAD, mode], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
            port = int(process.stdout.readline() if process.stdout else "")
        try:
            yield port, process.pid
        finally:
            process.kill()
            process.communicate()


def wait_until_open(port: int) -> None:
    """Return when somebody listens there."""
    for _ in range(500):
        with contextlib.suppress(ConnectionRefusedError), socket.create_connection(("127.0.0.1", port)):
            return
        time.sleep(0.01)
    sys.exit(f"nobody listens on port {port}")


def play(kind: str, scenario: Scenario, scale: float) -> dict[str, float]:
    """Run one scenario on one broker."""
    options = dict(scenario.options)
    if "messages" in options:
        options["messages"] = max(options.get("publishers", 1), int(options["messages"] * scale))
    with broker(kind) as (port, pid):
        command = [str(LOAD), "load", f"--port={port}", f"--pid={pid}"]
        command += [f"--{name}" if value is True else f"--{name}={value}" for name, value in options.items()]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=900)
    if done.returncode:
        sys.exit(f"{scenario.name} on {kind}: {done.stderr}")
    result: dict[str, float] = json.loads(done.stdout)
    return result


def derive(result: dict[str, float]) -> dict[str, float]:
    """Figures for people, from what the generator counted."""
    if "connects" in result:
        grown = result["rss_kib"] - result["rss_before_kib"]
        return {
            "cpu_us": 1e6 * result["cpu_seconds"] / result["connects"],
            "kib_each": grown / result["connects"],
            "rate": result["connects"] / result["seconds"],
            "rss_mib": result["rss_kib"] / 1024,
        }
    return {
        "cpu_us": 1e6 * result["cpu_seconds"] / max(result["measured"], 1),
        "rate": result["measured"] / result["seconds"],
        "p50_us": result["p50_us"],
        "p99_us": result["p99_us"],
        "rss_mib": result["peak_rss_kib"] / 1024,
        "lost": result["lost"],
        "duplicates": result["duplicates"],
        "out_of_order": result["out_of_order"],
    }


def medians(results: list[dict[str, float]]) -> dict[str, float]:
    """Figure by figure over the rounds; of what went wrong, all of it."""
    derived = [derive(result) for result in results]
    wrong = ("lost", "duplicates", "out_of_order")
    return {
        name: (sum if name in wrong else statistics.median)(figures[name] for figures in derived) for name in derived[0]
    }


COLUMNS = {
    "cpu_us": ("CPU µs", "{:.2f}"), "rate": ("per s", "{:,.0f}"), "p50_us": ("p50 µs", "{:,.0f}"),
    "p99_us": ("p99 µs", "{:,.0f}"), "rss_mib": ("MiB", "{:.1f}"), "kib_each": ("KiB each", "{:.2f}"),
    "lost": ("lost", "{:,.0f}"), "duplicates": ("twice", "{:,.0f}"), "out_of_order": ("late", "{:,.0f}"),
}  # fmt: skip


def table(scenarios: list[Scenario], figures: dict[str, dict[str, dict[str, float]]], kinds: list[str]) -> str:
    """Write one Markdown table; ratios are of CPU time, to each other broker."""
    others = [kind for kind in kinds if kind != "rmqtt"]
    names = ["scenario", "broker", *(title for title, _ in COLUMNS.values())]
    lines = [f"| {' | '.join(names)} |", f"|{'---|' * len(names)}"]
    for scenario in scenarios:
        of_all = figures[scenario.name]
        for kind in kinds:
            cells = [spec.format(of_all[kind][name]) if name in of_all[kind] else ""
                     for name, (_, spec) in COLUMNS.items()]  # fmt: skip
            lines.append(f"| {scenario.name}: {scenario.about} | {kind} | {' | '.join(cells)} |")
        if "rmqtt" in kinds and others:
            ratios = (f"{of_all['rmqtt']['cpu_us'] / of_all[kind]['cpu_us']:.2f} of {kind}'s" for kind in others)
            lines.append(f"| | **CPU** | **{', '.join(ratios)}** |{' |' * (len(COLUMNS) - 1)}")
    return "\n".join(lines)


def chart(scenarios: list[Scenario], figures: dict[str, dict[str, dict[str, float]]], kinds: list[str]) -> Any:
    """Draw the CPU time of each broker, on a logarithmic scale."""
    import matplotlib as mpl  # noqa: PLC0415  the tables need no matplotlib

    mpl.use("svg")
    mpl.rcParams["svg.hashsalt"] = "rmqtt"
    from matplotlib import pyplot as plt  # noqa: PLC0415

    figure, axes = plt.subplots(figsize=(9, 0.45 * len(scenarios) + 1.2))
    height = 0.8 / len(kinds)
    for at, kind in enumerate(kinds):
        places = [row + at * height for row in range(len(scenarios))]
        axes.barh(places, [figures[s.name][kind]["cpu_us"] for s in scenarios], height, label=kind)
    axes.set_yticks([row + 0.4 - height / 2 for row in range(len(scenarios))], [s.name for s in scenarios])
    axes.set_xscale("log")
    axes.invert_yaxis()
    axes.set_xlabel("µs of the broker's CPU for each message delivered, or client connected (less is better)")
    axes.grid(visible=True, axis="x", alpha=0.3)
    axes.legend()
    figure.tight_layout()
    return figure


def write(directory: Path, scenarios: list[Scenario], figures: Any, kinds: list[str], rounds: int) -> str:
    """Write page, chart and raw figures."""
    machine = f"{os.cpu_count()} cores, {platform.system()} {platform.release()}, {dt.datetime.now(dt.UTC):%Y-%m-%d}"
    page = [
        "# Brokers",
        INTRODUCTION.format(rounds=rounds, machine=machine),
    ]
    main = [scenario for scenario in scenarios if scenario.growth is None]
    if main:
        chart(main, figures, kinds).savefig(directory / "brokers.svg", metadata={"Date": None})
        page += ["![CPU time for each message](brokers.svg)", table(main, figures, kinds)]
    for growth in dict.fromkeys(scenario.growth for scenario in scenarios if scenario.growth):
        some = [scenario for scenario in scenarios if scenario.growth == growth]
        page += [f"## Growth with {growth}", table(some, figures, kinds)]
    text = "\n\n".join(page) + "\n"
    (directory / "brokers.md").write_text(text)
    (directory / "brokers.json").write_text(json.dumps({"machine": machine, "figures": figures}, indent=1) + "\n")
    return text


def main() -> None:
    """Run what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="*", help="scenarios whose names match this pattern")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--scale", type=float, default=1.0, help="times so many messages")
    parser.add_argument("--brokers", default="rmqtt,mosquitto,relay", help="which, in this order (%(default)s)")
    parser.add_argument("--out", type=Path, help="where page, chart and raw figures go; else the page is printed")
    arguments = parser.parse_args()
    kinds = arguments.brokers.split(",")
    scenarios = [scenario for scenario in (*MAIN, *GROWTH) if fnmatch.fnmatch(scenario.name, arguments.only)]
    results: dict[str, dict[str, list[dict[str, float]]]] = {s.name: {kind: [] for kind in kinds} for s in scenarios}
    for number in range(arguments.rounds):
        for scenario in scenarios:
            for kind in kinds:
                print(f"round {number + 1}: {scenario.name} on {kind}", file=sys.stderr)
                results[scenario.name][kind].append(play(kind, scenario, arguments.scale))
    figures = {name: {kind: medians(rounds) for kind, rounds in of.items()} for name, of in results.items()}
    with contextlib.ExitStack() as stack:
        directory = arguments.out or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        print(write(directory, scenarios, figures, kinds, arguments.rounds))


if __name__ == "__main__":
    main()
