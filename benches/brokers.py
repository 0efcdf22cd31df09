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
import fnmatch
import os
import shutil
import socket
import subprocess
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import report

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

#: No run may take longer, in seconds.
PATIENCE = 300.0
ALL = ("rmqtt", "mosquitto", "relay")
INTRODUCTION = """\
Medians of {rounds} rounds, the brokers in turn; the generator shares the cores. Figures are per message delivered, and
where nobody gets it per message published; `lost`, `twice` and `late` count all rounds. `relay` is the floor: it reads
whole packets and writes them on. For what each row does, see [the README](README.md)."""
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
    #: The table it belongs to; `None`: the main one.
    group: str | None = None
    #: The program of the generator.
    mode: str = "load"
    brokers: tuple[str, ...] = ALL
    #: What our own broker is told.
    serve: tuple[str, ...] = ()


def _scenario(name: str, about: str, group: str | None = None, /, **options: Any) -> Scenario:
    known = {key: options.pop(key) for key in ("mode", "brokers", "serve") if key in options}
    return Scenario(name=name, about=about, options=options, group=group, **known)


MAIN = [
    _scenario("q0-1to1", "QoS 0, 1 → 1, 64 B, bursts: up to 20,000 under way", messages=800_000, window=20_000),
    _scenario("q0-1to1-v5", "the same, MQTT 5", messages=400_000, window=20_000, v5=True),
    _scenario("q1-1to1", "QoS 1, 1 → 1, 64 B, 100 in flight", qos=1, messages=250_000),
    _scenario("q1-1to1-v5", "the same, MQTT 5", qos=1, messages=150_000, v5=True),
    _scenario("q2-1to1", "QoS 2, 1 → 1, 64 B, 100 in flight", qos=2, messages=120_000),
    _scenario("q0-fanin1000", "QoS 0, 1,000 → 1, small writes, 4 under way each",
              topology="fan-in", publishers=1000, messages=200_000, window=4),
    _scenario("q0-fanout1000", "QoS 0, 1 → 1,000", topology="fan-out", subscribers=1000, messages=1000, window=200),
    _scenario("q1-fanout1000", "QoS 1, 1 → 1,000",
              topology="fan-out", subscribers=1000, qos=1, messages=200, window=20),
    _scenario("q1-pairs200", "QoS 1, 200 pairs, one in flight each",
              topology="pairs", publishers=200, subscribers=200, qos=1, messages=60_000, window=1),
    _scenario("lat-q1-1k", "QoS 1, 1,000 messages/s offered", qos=1, rate=1000, messages=4_000),
    _scenario("lat-q1-5k", "QoS 1, 5,000 messages/s offered", qos=1, rate=5000, messages=20_000),
    _scenario("lat-q1-20k", "QoS 1, 20,000 messages/s offered", qos=1, rate=20_000, messages=60_000),
    _scenario("q0-1k", "QoS 0, 1 → 1, 1 KiB", payload=1024, messages=200_000, window=2000),
    _scenario("q0-16k", "QoS 0, 1 → 1, 16 KiB", payload=16_384, messages=60_000, window=200),
    _scenario("q1-16k", "QoS 1, 1 → 1, 16 KiB, 20 in flight", payload=16_384, qos=1, messages=30_000, window=20),
    _scenario("idle-10000", "10,000 clients connect, subscribe and stay", topology="idle", subscribers=10_000),
]  # fmt: skip
_TWO = ("rmqtt", "mosquitto")
_WHO = {0: "nobody gets it", 1: "one gets it", 100: "100 get it"}
GROWTH = [
    *(_scenario(f"filters-{n}-{k}", f"{n:,} filters of others, {who}", "Growth with stored filters (QoS 1)",
                filters=n, matching=k, qos=1, messages=3_000 if k == 100 else 60_000, window=1000 // max(k // 10, 1),
                brokers=_TWO)
      for k, who in _WHO.items() for n in (1, 10, 1_000, 100_000, 1_000_000)),
    *(_scenario(f"beside-{n}", f"{n:,} idle clients", "Growth with idle clients",
                idle=n, messages=100_000, window=20_000, brokers=_TWO)
      for n in (0, 1_000, 10_000)),
    *(_scenario(f"retained-{n}", f"{n:,} retained messages", "Growth with retained messages",
                retained=n, messages=100_000, window=20_000, brokers=_TWO)
      for n in (0, 1_000, 100_000)),
    *(_scenario(f"payload-{n}", f"{n:,} B", "Growth with payload", payload=n, messages=60_000, window=200)
      for n in (64, 1_024, 16_384)),
]  # fmt: skip
CORES = [
    _scenario(f"{name}-{threads}", f"{about}, {threads} worker thread{'s' * (threads > 1)}",
              "Two cores", mode="spread", brokers=("rmqtt",), serve=(f"--threads={threads}",), **options)
    for name, about, options in (
        ("spread-none", "8 publishers, QoS 0, nobody subscribed", {"messages": 3_000_000}),
        ("spread-pairs", "8 pairs, QoS 0", {"messages": 3_000_000, "deliver": True}),
    )
    for threads in (1, 2)
]  # fmt: skip
DROPS = [
    _scenario("drops-q0", "QoS 0 to a subscriber that does not read, queue of 1,000", "Counted drops",
              messages=200_000, payload=1024, slow=True, brokers=("rmqtt",), serve=("--queue-messages=1000",)),
]  # fmt: skip


@contextlib.contextmanager
def broker(kind: str, serve: Sequence[str], lines: str = "") -> Iterator[tuple[int, int, Callable[[], dict[str, Any]]]]:
    """Start a broker of this kind on a free port; give its port, its process id, and what it counts.

    ``lines`` are for mosquitto's configuration.
    """
    if kind != "mosquitto":
        with report.program(*(("serve", *serve) if kind == "rmqtt" else ("relay",))) as program:
            yield program.port, program.pid, program.ask
        return
    found = shutil.which("mosquitto", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
    if found is None:
        raise report.RunError("mosquitto is not installed (Debian: apt-get install mosquitto)")
    with tempfile.TemporaryDirectory() as directory:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        configuration = Path(directory, "mosquitto.conf")
        configuration.write_text(MOSQUITTO.format(port=port) + lines)
        process = subprocess.Popen([found, "-c", configuration], stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        try:
            wait_until_open(port)
            yield port, process.pid, dict
        finally:
            process.kill()
            process.wait()


def wait_until_open(port: int) -> None:
    """Return when somebody listens there."""
    for _ in range(500):
        with contextlib.suppress(ConnectionRefusedError), socket.create_connection(("127.0.0.1", port)):
            return
        time.sleep(0.01)
    raise report.RunError(f"nobody listens on port {port}")


def scaled(options: Mapping[str, Any], scale: float) -> dict[str, Any]:
    """Give the same options with so many times the messages."""
    if "messages" not in options:
        return dict(options)
    return {**options, "messages": max(options.get("publishers", 1), int(options["messages"] * scale))}


def generate(mode: str, port: int, pid: int, options: Mapping[str, Any]) -> dict[str, Any]:
    """Put the load on the broker that is there, and give what was counted."""
    command = [str(report.LOAD), mode, f"--port={port}", f"--pid={pid}"]
    command += [
        f"--{name}" if value is True else f"--{name}={value}" for name, value in options.items() if value is not False
    ]
    return report.run_json(command, seconds=PATIENCE)


def play(kind: str, scenario: Scenario, scale: float) -> dict[str, float]:
    """Run one scenario on one broker."""
    options = scaled(scenario.options, scale)
    with broker(kind, scenario.serve) as (port, pid, ask):
        result = generate(scenario.mode, port, pid, options)
        if options.get("slow"):
            result |= balance(result, ask())
    return result


def balance(books: Mapping[str, float], stats: Mapping[str, float]) -> dict[str, float]:
    """Hold the broker's counters of QoS 0 against the generator's books; what does not balance counts as lost."""
    dropped = stats["messages_dropped_qos0"]
    unexplained = (
        abs(stats["messages_received"] - books["sent"])
        + abs(stats["messages_delivered"] - books["delivered"])
        + abs(books["sent"] - books["delivered"] - dropped)
    )
    return {"dropped": dropped, "lost": unexplained}


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
    each = result["measured"] or result.get("published", 0) or 1
    figures = {
        "cpu_us": 1e6 * result["cpu_seconds"] / each,
        "rate": each / result["seconds"],
        "cores": result["cpu_seconds"] / result["seconds"],
        "lost": result["lost"],
    }
    for name in ("p50_us", "p99_us", "duplicates", "out_of_order", "dropped"):
        if name in result:
            figures[name] = result[name]
    if "peak_rss_kib" in result:
        figures["rss_mib"] = result["peak_rss_kib"] / 1024
    if result.get("published"):
        figures["cpu_published_us"] = 1e6 * result["cpu_seconds"] / result["published"]
    if "generator_cpu_seconds" in result:
        figures["generator_cores"] = result["generator_cpu_seconds"] / result["seconds"]
    return figures


MAIN_COLUMNS = {
    "cpu_us": "CPU µs", "rate": "per s", "p50_us": "p50 µs", "p99_us": "p99 µs", "rss_mib": "MiB",
    "kib_each": "KiB each", "lost": "lost", "duplicates": "twice", "out_of_order": "late",
}  # fmt: skip
COLUMNS = {
    "cpu_us": "CPU µs", "cpu_published_us": "CPU µs each published", "rate": "per s", "rss_mib": "MiB",
    "cores": "cores used", "generator_cores": "cores of the generator", "dropped": "dropped", "lost": "lost",
    "duplicates": "twice", "out_of_order": "late",
}  # fmt: skip
_COUNTED = ("rate", "lost", "duplicates", "out_of_order", "dropped")

Figures = dict[str, dict[str, dict[str, float]]]


def table(scenarios: list[Scenario], figures: Figures, columns: dict[str, str]) -> str:
    """Write one table; ratios are of CPU time, ours to each other broker's."""
    there = [row for scenario in scenarios for row in figures.get(scenario.name, {}).values()]
    shown = {name: title for name, title in columns.items() if any(name in row for row in there)}
    rows = []
    for scenario in scenarios:
        of_all = figures.get(scenario.name, {})
        for kind, row in of_all.items():
            cells = [
                "" if name not in row else f"{row[name]:,.0f}" if name in _COUNTED else report.significant(row[name])
                for name in shown
            ]
            rows.append([f"{scenario.name}: {scenario.about}", kind, *cells])
        if "rmqtt" in of_all and len(of_all) > 1:
            ours = of_all["rmqtt"]["cpu_us"]
            others = {kind: row["cpu_us"] for kind, row in of_all.items() if kind != "rmqtt"}
            # So short a run that the clock of CPU time has not moved has no ratio.
            ratios = (f"{ours / theirs:.2f} of {kind}'s" for kind, theirs in others.items() if theirs)
            rows.append(["", "**CPU**", f"**{', '.join(ratios)}**", *[""] * (len(shown) - 1)])
    return report.table(["scenario", "broker", *shown.values()], rows)


def measure(
    scenarios: list[Scenario],
    kinds: list[str],
    rounds: int,
    scale: float,
    play: Callable[[str, Scenario, float], dict[str, float]] = play,
) -> dict[str, Any]:
    """Run everything in turn."""
    results: dict[str, dict[str, list[dict[str, float]]]] = {scenario.name: {} for scenario in scenarios}
    failures = {}
    for number in range(rounds):
        for scenario in scenarios:
            # What grows is compared with itself, and needs fewer rounds.
            if scenario.group and number >= max(rounds - 1, 1):
                continue
            for kind in (kind for kind in kinds if kind in scenario.brokers):
                report.say(f"round {number + 1} of {rounds}: {scenario.name} on {kind}")
                try:
                    results[scenario.name].setdefault(kind, []).append(derive(play(kind, scenario, scale)))
                except report.RunError as error:
                    report.say(f"failed: {error}")
                    failures[f"{scenario.name} on {kind}"] = str(error)
    figures = {name: {kind: report.medians(rows) for kind, rows in of.items() if rows} for name, of in results.items()}
    return {"figures": figures, "failures": failures}


def failures(measured: Mapping[str, Any]) -> list[str]:
    """Give the part of a page on what came to nothing, if anything did."""
    if not measured["failures"]:
        return []
    return ["## Failed", "\n".join(f"* {name}: `{why}`" for name, why in measured["failures"].items())]


def main() -> None:
    """Run what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="*", help="scenarios whose names match one of these patterns, with commas")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--scale", type=float, default=1.0, help="times so many messages")
    parser.add_argument("--brokers", default=",".join(ALL), help="which, in this order (%(default)s)")
    parser.add_argument("--quick", action="store_true", help="for a glance: one round, few messages, no million")
    parser.add_argument("--out", type=Path, help="where page, chart and raw figures go; else the page is printed")
    arguments = parser.parse_args()
    if arguments.quick:
        arguments.rounds, arguments.scale = 1, 0.05
    where = report.machine()
    patterns = arguments.only.split(",")
    scenarios = [s for s in (*MAIN, *CORES, *DROPS, *GROWTH) if any(fnmatch.fnmatch(s.name, p) for p in patterns)]
    if arguments.quick:
        scenarios = [s for s in scenarios if not s.name.startswith(("filters-100000", "retained-100000"))]
    measured = measure(scenarios, arguments.brokers.split(","), arguments.rounds, arguments.scale)
    figures = measured["figures"]
    measured |= {"machine": where, "rounds": arguments.rounds}
    page = ["# Brokers", report.about(where, "make bench-brokers"), INTRODUCTION.format(rounds=arguments.rounds)]
    charts = {}
    main_ones = [s for s in scenarios if s.group is None]
    if main_ones and arguments.out:
        labels = [s.name for s in main_ones]
        kinds = [kind for kind in ALL if any(kind in figures[name] for name in labels)]
        series = {kind: [figures[name].get(kind, {}).get("cpu_us") for name in labels] for kind in kinds}
        title = "µs of the broker's CPU for each message delivered, or client connected (less is better)"
        charts["brokers"] = report.bars(labels, series, title)
        page.append("![CPU time for each message](brokers.svg)")
    for group in dict.fromkeys(s.group for s in scenarios):
        some = [s for s in scenarios if s.group == group]
        page += [f"## {group}"] if group else []
        page.append(table(some, figures, COLUMNS if group else MAIN_COLUMNS))
    page += failures(measured)
    report.publish(arguments.out, "brokers", "\n\n".join(page) + "\n", measured, charts)


if __name__ == "__main__":
    main()
