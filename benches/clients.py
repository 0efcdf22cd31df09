"""What a message costs each Python client: ours and five others in turn, on this machine, in the same minutes.

    make bench-clients                           # everything: about eight minutes
    make bench-clients ARGS='--only publish-*'   # what you are working on
    make bench-clients ARGS='--peers rmqtt,gmqtt'
    make bench-clients ARGS='--peers rmqtt,rmqtt@../before/bin/python'   # against what another environment has

Every run is a process of its own, against a sink (or a source) in Rust that answers as fast as a client can ask, since
with a broker on the other side the broker would be measured. CPU time is that of the whole client process, its threads
included. Medians of rounds A B C A B C.
"""

from __future__ import annotations

import argparse
import fnmatch
import importlib.metadata
import importlib.util
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import report
from peers import PEERS, Peer

HERE = Path(__file__).parent
#: No run of a client may take longer, in seconds.
PATIENCE = 120.0
#: Messages of each run, as a share of a scenario's: slow clients need fewer for as many seconds.
SHARE = {"rmqtt": 1.0, "rmqtt-v5": 1.0, "gmqtt": 0.25, "mqttium": 0.25, "zmqtt": 0.1, "paho-mqtt": 0.1, "aiomqtt": 0.02}
MODULES = {"rmqtt-v5": "rmqtt", "paho-mqtt": "paho"}
#: Those with a thread of their own care little for the loop.
ONLY_ASYNCIO = ("paho-mqtt",)


#: In an interpreter that has imported nothing yet. Names are loaded when they are first used, so that is timed too; but
#: not asyncio, which every user of ours has anyway.
IMPORT = """\
import time
begun = time.perf_counter()
import rmqtt
imported = time.perf_counter() - begun
import asyncio
begun = time.perf_counter()
rmqtt.Client, rmqtt.Broker
used = imported + time.perf_counter() - begun
print(f'{{"import_ms": {1e3 * imported}, "import_used_ms": {1e3 * used}}}')
"""


@dataclass(frozen=True, kw_only=True, slots=True)
class Scenario:
    """One way of using a client."""

    name: str
    about: str
    messages: int
    #: What the other side is told.
    source: tuple[str, ...] | None = None
    #: Messages are multiples of this.
    step: int = 1


SCENARIOS = [
    Scenario(name="publish-q0", about="QoS 0, one awaited call each", messages=400_000),
    Scenario(name="publish-nowait", about="QoS 0, `publish_nowait`", messages=400_000),
    Scenario(name="publish-many-q0", about="QoS 0, `publish_many`", messages=400_000),
    Scenario(name="publish-q1-1", about="QoS 1, one after another", messages=10_000),
    Scenario(name="publish-q1-64", about="QoS 1, `gather` of 64", messages=128_000, step=64),
    Scenario(name="publish-q1-1000", about="QoS 1, `gather` of 1,000", messages=150_000, step=1000),
    Scenario(name="publish-many-q1", about="QoS 1, `publish_many`, window 1,000", messages=300_000),
    Scenario(name="receive-q0", about="receive QoS 0, one by one", messages=400_000, source=("--qos=0",)),
    Scenario(name="receive-q1", about="receive QoS 1, one by one", messages=200_000, source=("--qos=1",)),
    Scenario(name="receive-many", about="receive QoS 0, `get_many`", messages=400_000, source=("--qos=0",)),
    Scenario(
        name="receive-bounded",
        about="receive QoS 0 flat out, default queue (the rest is dropped)",
        messages=1_000_000,
        source=("--qos=0",),
    ),
    Scenario(name="echo", about="publish and wait for it to come back, QoS 0", messages=5_000),
]


def split(peer: str) -> tuple[str, str]:
    """Give the name of a client and the interpreter it runs in: `rmqtt@PATH` is what another environment has."""
    name, _, interpreter = peer.partition("@")
    return name, interpreter or sys.executable


def messages_of(scenario: Scenario, peer: str, scale: float) -> int:
    """Give the number of messages for this client: at least one step, whole steps."""
    share = SHARE[split(peer)[0]]
    share = max(share, 0.2) if scenario.name in ("echo", "publish-q1-1") else share
    wanted = int(scenario.messages * share * scale)
    return max(wanted // scenario.step, 1) * scenario.step


#: What not every client has.
VERBS = {
    "publish-nowait": "publish_nowait",
    "publish-many-q0": "publish_many",
    "publish-many-q1": "publish_many",
    "receive-many": "receive_many",
    "receive-bounded": "receive_bounded",
}


def lacks(scenario: Scenario, peer: str) -> bool:
    """Say whether this client is known to have no such call."""
    verb = VERBS.get(scenario.name)
    return verb is not None and getattr(PEERS[split(peer)[0]], verb) is getattr(Peer, verb)


def play(scenario: Scenario, peer: str, loop: str, scale: float) -> dict[str, Any]:
    """Run one scenario with one client; what the sink counted must be what the client sent."""
    count = messages_of(scenario, peer, scale)
    other_side = ["sink"]
    if scenario.source:
        other_side += [*scenario.source, f"--messages={count}"]
    with report.program(*other_side) as sink:
        name, interpreter = split(peer)
        arguments = [name, scenario.name, f"--port={sink.port}", f"--count={count}", f"--loop={loop}"]
        command = [interpreter, str(HERE / "one_client.py"), *arguments]
        result = report.run_json(command, seconds=PATIENCE)
        if not result.get("missing") and scenario.name.startswith("publish"):
            come = sink.ask()["publishes"]
            if come < count:
                raise report.RunError(f"the sink had {come} of {count} messages")
    return result


def variants(peers: list[str], *, only_asyncio: bool = False) -> list[tuple[str, str]]:
    """Give every client with every loop."""
    loops = ["asyncio"] + (["uvloop"] if importlib.util.find_spec("uvloop") and not only_asyncio else [])
    return [(peer, loop) for peer in peers for loop in loops if loop == "asyncio" or peer not in ONLY_ASYNCIO]


def label(peer: str, loop: str) -> str:
    """Name a client and its loop for people."""
    return {"uvloop": f"{peer}, uvloop"}.get(loop, peer)


def versions(peers: list[str]) -> dict[str, str]:
    """Give the version of each client, or what keeps it from being here."""
    found = {}
    for peer in dict.fromkeys(MODULES.get(name, name) for name, _ in map(split, peers)):
        try:
            found[peer] = importlib.metadata.version({"paho": "paho-mqtt"}.get(peer, peer))
        except importlib.metadata.PackageNotFoundError:
            found[peer] = "not installed"
    return found


def only_ours(scale: float) -> dict[str, float]:
    """Measure what the others have no counterpart for, and the floor under a round trip."""
    python = [sys.executable, str(HERE / "one_client.py")]
    with report.program("sink") as sink:
        messages = max(int(5_000 * scale), 100)
        floor = [str(report.LOAD), "roundtrip", f"--port={sink.port}", f"--messages={messages}"]
        figures = report.run_json(floor, seconds=PATIENCE)
    for command in ([*python, "codec"], [*python, "broker"], [sys.executable, "-c", IMPORT]):
        figures |= report.run_json(command, seconds=PATIENCE)
    return figures


def measure(scenarios: list[Scenario], every: list[tuple[str, str]], rounds: int, scale: float) -> dict[str, Any]:
    """Run everything in turn; what failed once, or is not there, is not tried again."""
    results: dict[str, dict[str, list[dict[str, float]]]] = {scenario.name: {} for scenario in scenarios}
    failures: dict[str, str] = {}
    left = [(scenario, *who) for scenario in scenarios for who in every]
    missing = [(scenario, peer, loop) for scenario, peer, loop in left if lacks(scenario, peer)]
    ours = []
    for number in range(rounds):
        for scenario, peer, loop in [run for run in left if run not in missing]:
            who = label(peer, loop)
            report.say(f"round {number + 1} of {rounds}: {scenario.name} by {who}")
            try:
                result = play(scenario, peer, loop, scale)
            except report.RunError as error:
                report.say(f"failed: {error}")
                failures[f"{scenario.name}: {who}"] = str(error)
                left.remove((scenario, peer, loop))
                continue
            if result.pop("missing", False):
                missing.append((scenario, peer, loop))
            else:
                results[scenario.name].setdefault(who, []).append(result)
        ours += floor_and_ours(failures, scale) if any(peer == "rmqtt" for peer, _ in every) else []
    return {
        "figures": {
            name: {who: report.medians(rows) for who, rows in of.items()} for name, of in results.items() if of
        },
        "ours": report.medians(ours) if ours else {},
        "failures": failures,
        "missing": {
            scenario.name: [label(peer, loop) for of, peer, loop in missing if of == scenario]
            for scenario in dict.fromkeys(of for of, _, _ in missing)
        },
    }


def floor_and_ours(failures: dict[str, str], scale: float) -> list[dict[str, float]]:
    """Measure what stands beside messages, or note why not."""
    try:
        return [only_ours(scale)]
    except report.RunError as error:
        failures["beside messages"] = str(error)
        return []


COLUMNS = {"cpu_us": "CPU µs", "rate": "per s", "p50_us": "p50 µs", "peak_mib": "peak MiB", "dropped": "dropped"}


def tables(scenarios: list[Scenario], figures: dict[str, dict[str, dict[str, float]]]) -> list[str]:
    """Write a table for each scenario; the ratio is of CPU time to ours on the same loop."""
    page = []
    for scenario in scenarios:
        of_all = figures.get(scenario.name)
        if not of_all:
            continue
        shown = [name for name in COLUMNS if any(row.get(name) for row in of_all.values())]
        rows = []
        for who, row in of_all.items():
            ours = of_all.get("rmqtt, uvloop" if who.endswith("uvloop") else "rmqtt")
            ratio = f"{row['cpu_us'] / ours['cpu_us']:.1f} ×" if ours and ours["cpu_us"] else ""
            cells = [f"{row.get(name, 0):,.0f}" if name in ("rate", "dropped")
                     else report.significant(row.get(name, 0)) for name in shown]  # fmt: skip
            rows.append([who, *cells, ratio])
        head = ["client", *(COLUMNS[name] for name in shown), "CPU, ours = 1"]
        page += [f"## {scenario.name}: {scenario.about}", report.table(head, rows)]
    return page


def notes(measured: dict[str, Any]) -> list[str]:
    """Say what could not be shown."""
    page = []
    if measured["ours"]:
        ours = measured["ours"]
        rows = [
            ["round trip, one thread and epoll", f"{ours['alone_us']:.1f} µs"],
            ["round trip, two threads and epoll: the floor of ours", f"{ours['pair_us']:.1f} µs"],
            [f"`rmqtt.decode`, PUBLISH of {ours['bytes']:.0f} B, QoS 1", f"{ours['decode_ns']:.0f} ns"],
            ["`rmqtt.encode`, the same", f"{ours['encode_ns']:.0f} ns"],
            ["`import rmqtt`", f"{ours['import_ms']:.1f} ms"],
            ["`import rmqtt` and its names `Client` and `Broker`, without asyncio", f"{ours['import_used_ms']:.1f} ms"],
            ["start and stop an empty broker", f"{ours['broker_ms']:.2f} ms"],
        ]  # fmt: skip
        page += ["## Beside messages", report.table(["what", "median"], rows)]
    if measured["missing"]:
        lines = [f"* {name}: {'; '.join(who)}" for name, who in measured["missing"].items()]
        page += ["## Not there", "These clients have no such call:", "\n".join(lines)]
    if measured["failures"]:
        by_reason: dict[str, list[str]] = {}
        for name, why in measured["failures"].items():
            by_reason.setdefault(why.rpartition(" --loop=")[2], []).append(name)
        lines = [f"* {'; '.join(names)}: `{why}`" for why, names in by_reason.items()]
        page += ["## Failed", "\n".join(lines)]
    return page


INTRODUCTION = """\
Medians of {rounds} rounds, the clients in turn, each run in a process of its own against a sink of ours in Rust that
shares the cores. Payload 64 B, topic of 27 characters; MQTT 3.1.1, but for `rmqtt-v5`. CPU is that of the whole client
process for each message. For what each row does, see [the README](README.md)."""


def main() -> None:
    """Run what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="*", help="scenarios whose names match one of these patterns, with commas")
    parser.add_argument("--peers", default=",".join(SHARE), help="which clients (%(default)s)")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--scale", type=float, default=1.0, help="times so many messages")
    parser.add_argument("--quick", action="store_true", help="for a glance: one round, few messages, no uvloop")
    parser.add_argument("--out", type=Path, help="where page, chart and raw figures go; else the page is printed")
    arguments = parser.parse_args()
    if arguments.quick:
        arguments.rounds, arguments.scale = 1, 0.05
    where = report.machine()
    peers = arguments.peers.split(",")
    patterns = arguments.only.split(",")
    scenarios = [s for s in SCENARIOS if any(fnmatch.fnmatch(s.name, pattern) for pattern in patterns)]
    every = variants(peers, only_asyncio=arguments.quick)
    measured = measure(scenarios, every, arguments.rounds, arguments.scale)
    measured |= {"machine": where, "versions": versions(peers), "rounds": arguments.rounds}
    clients = ", ".join(f"{peer} {version}" for peer, version in measured["versions"].items())
    page = ["# Python clients", report.about(where, "make bench-clients"), f"Clients: {clients}."]
    page += [INTRODUCTION.format(rounds=arguments.rounds), "![CPU time for each message](clients.svg)"]
    page += tables(scenarios, measured["figures"]) + notes(measured)
    charts = {}
    if measured["figures"] and arguments.out:
        names = [s.name for s in scenarios if s.name in measured["figures"]]
        who = [peer for peer in peers if any(peer in of for of in measured["figures"].values())]
        series = {peer: [measured["figures"][n].get(peer, {}).get("cpu_us") for n in names] for peer in who}
        title = "µs of the client's CPU for each message, default loop (less is better)"
        charts["clients"] = report.bars(names, series, title)
    report.publish(arguments.out, "clients", "\n\n".join(page) + "\n", measured, charts)


if __name__ == "__main__":
    main()
