"""Reads what the suites have measured and says of each target: the figure, met or missed.

    make bench-verdict OUT=docs/benchmarks

A target is a ratio within one run, or CPU time, or memory: plain rates depend on the machine. What FlashMQ costs is not
measured here, since Debian does not have it: it was measured once, elsewhere, beside mosquitto 2.1, and is derived
from that ratio and what mosquitto costs here. Read those rows as a hint.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import report

if TYPE_CHECKING:
    from collections.abc import Callable

#: FlashMQ's CPU for each message as a share of mosquitto 2.1's, as measured once elsewhere.
FLASHMQ = {"q0-1to1": 0.48, "q1-1to1": 0.31, "q2-1to1": 0.145, "q0-fanin1000": 0.52, "q0-fanout1000": 0.127,
           "q1-pairs200": 0.86}  # fmt: skip


@dataclass(frozen=True, kw_only=True, slots=True)
class Target:
    """One thing that is to be reached."""

    what: str
    #: What is compared, from all suites' figures.
    figure: Callable[[Any], float]
    bound: float
    unit: str = ""
    #: Whether more is better.
    is_least: bool = False


def of(scenario: str, kind: str = "rmqtt", name: str = "cpu_us", suite: str = "brokers") -> Callable[[Any], float]:
    """Give one figure of the brokers' suite, or of another one."""
    return lambda all_: float(all_[suite]["figures"][scenario][kind][name])


def ratio(
    above: Callable[[Any], float], below: Callable[[Any], float], *, times: float = 1.0
) -> Callable[[Any], float]:
    """Divide one figure by another."""
    return lambda all_: above(all_) / (below(all_) * times)


def against(scenario: str, kind: str, name: str = "cpu_us") -> Callable[[Any], float]:
    """Divide ours by another broker's."""
    return ratio(of(scenario, "rmqtt", name), of(scenario, kind, name))


def encrypted(scenario: str) -> Callable[[Any], float]:
    """Divide our CPU time over TLS by mosquitto's."""
    return ratio(of(scenario, suite="encrypted"), of(scenario, "mosquitto", suite="encrypted"))


def flashmq(scenario: str) -> Callable[[Any], float]:
    """Divide our CPU time by FlashMQ's, derived."""
    return ratio(of(scenario), of(scenario, "mosquitto"), times=FLASHMQ[scenario])


def client(scenario: str, name: str = "cpu_us", who: str = "rmqtt") -> Callable[[Any], float]:
    """Give one figure of the clients' suite."""
    return lambda all_: float(all_["clients"]["figures"][scenario][who][name])


def ours(name: str) -> Callable[[Any], float]:
    """Give one of the figures that stand beside messages."""
    return lambda all_: float(all_["clients"]["ours"][name])


def _above_floor(all_: Any) -> float:
    return client("publish-q1-1", "p50_us")(all_) - ours("pair_us")(all_)


def _wrong(all_: Any) -> float:
    """Add up what went wrong on our broker in all runs."""
    rows = (row["rmqtt"] for row in all_["brokers"]["figures"].values() if "rmqtt" in row)
    return float(sum(row.get(name, 0) for row in rows for name in ("lost", "duplicates", "out_of_order")))


BROKER = [
    Target(what="QoS 0, 1 → 1: CPU, × the relay's", figure=against("q0-1to1", "relay"), bound=4),
    Target(what="QoS 0, 1 → 1: CPU, × mosquitto's", figure=against("q0-1to1", "mosquitto"), bound=1 / 12),
    Target(what="QoS 0, 1 → 1: CPU, × FlashMQ's (derived)", figure=flashmq("q0-1to1"), bound=1 / 4),
    Target(what="QoS 1, 1 → 1: CPU, × the relay's", figure=against("q1-1to1", "relay"), bound=5),
    Target(what="QoS 1, 1 → 1: CPU, × FlashMQ's (derived)", figure=flashmq("q1-1to1"), bound=1 / 3),
    Target(what="QoS 2, 1 → 1: CPU, × FlashMQ's (derived)", figure=flashmq("q2-1to1"), bound=1 / 3),
    Target(what="fan-in of 1,000: CPU, × FlashMQ's (derived)", figure=flashmq("q0-fanin1000"), bound=0.9),
    Target(what="fan-out to 1,000: CPU, × the relay's", figure=against("q0-fanout1000", "relay"), bound=3),
    Target(what="fan-out to 1,000: CPU, × FlashMQ's (derived)", figure=flashmq("q0-fanout1000"), bound=1 / 2),
    Target(what="200 pairs: CPU, × FlashMQ's (derived)", figure=flashmq("q1-pairs200"), bound=1),
    Target(what="200 pairs: p99, × mosquitto's", figure=against("q1-pairs200", "mosquitto", "p99_us"), bound=1),
    Target(what="5,000/s: p50, × the relay's", figure=against("lat-q1-5k", "relay", "p50_us"), bound=1.5),
    Target(what="5,000/s: p99, × mosquitto's", figure=against("lat-q1-5k", "mosquitto", "p99_us"), bound=1),
    Target(what="16 KiB: bytes a second, × the relay's",
           figure=against("q0-16k", "relay", "rate"), bound=0.8, is_least=True),
    Target(what="idle: memory each", figure=of("idle-10000", name="kib_each"), bound=4, unit="KiB"),
    Target(what="idle: 10,000 of them", figure=of("idle-10000", name="rss_mib"), bound=60, unit="MiB"),
    Target(what="connects in a second of CPU", figure=lambda all_: 1e6 / of("idle-10000")(all_), bound=10_000,
           is_least=True),
    Target(what="one of 10⁶ filters, × one of 10", figure=ratio(of("filters-1000000-1"), of("filters-10-1")), bound=2),
    Target(what="with 10,000 idle clients, × with none", figure=ratio(of("beside-10000"), of("beside-0")),
           bound=1.15),
    Target(what="with 100,000 retained, × with none", figure=ratio(of("retained-100000"), of("retained-0")),
           bound=1.15),
    Target(what="two worker threads, × one: rate, nobody subscribed",
           figure=ratio(of("spread-none-2", name="rate"), of("spread-none-1", name="rate")), bound=1.7, is_least=True),
    Target(what="two worker threads, × one: rate, pairs",
           figure=ratio(of("spread-pairs-2", name="rate"), of("spread-pairs-1", name="rate")), bound=1.7,
           is_least=True),
    Target(what="lost, doubled, out of order or not balanced, all runs", figure=_wrong, bound=0),
]  # fmt: skip
TLS = [
    Target(what="QoS 0, 1 → 1: CPU, × mosquitto's", figure=encrypted("tls-q0-1to1"), bound=1),
    Target(what="QoS 1, 1 → 1: CPU, × mosquitto's", figure=encrypted("tls-q1-1to1"), bound=1),
    Target(what="200 pairs: CPU, × mosquitto's", figure=encrypted("tls-q1-pairs200"), bound=1),
    Target(what="16 KiB: CPU, × mosquitto's", figure=encrypted("tls-q0-16k"), bound=1),
    Target(what="a whole handshake: CPU, × mosquitto's", figure=encrypted("tls-connect"), bound=1),
    Target(what="a resumed one: CPU, × mosquitto's", figure=encrypted("tls-resume"), bound=1),
]
PYTHON = [
    Target(what="QoS 0, one awaited call each: CPU", figure=client("publish-q0"), bound=0.4, unit="µs"),
    Target(what="QoS 0, one awaited call each: rate", figure=client("publish-q0", "rate"), bound=2e6, unit="/s",
           is_least=True),
    Target(what="QoS 1, gather of 1,000: CPU", figure=client("publish-q1-1000"), bound=5, unit="µs"),
    Target(what="QoS 1, gather of 1,000: rate", figure=client("publish-q1-1000", "rate"), bound=250_000, unit="/s",
           is_least=True),
    Target(what="QoS 1, publish_many, window 1,000: CPU", figure=client("publish-many-q1"), bound=1.5, unit="µs"),
    Target(what="QoS 1, one after another: above two threads and epoll", figure=_above_floor, bound=8, unit="µs"),
    Target(what="receive, async for: CPU", figure=client("receive-q0"), bound=0.8, unit="µs"),
    Target(what="receive, async for: rate", figure=client("receive-q0", "rate"), bound=1e6, unit="/s", is_least=True),
    Target(what="receive, get_many: CPU", figure=client("receive-many"), bound=0.4, unit="µs"),
    Target(what="receive, get_many: rate", figure=client("receive-many", "rate"), bound=1.7e6, unit="/s",
           is_least=True),
    Target(what="memory while receiving flat out", figure=client("receive-bounded", "peak_mib"), bound=40, unit="MiB"),
    Target(what="decode from Python, 256 B, QoS 1", figure=ours("decode_ns"), bound=130, unit="ns"),
    Target(what="encode from Python, 256 B, QoS 1", figure=ours("encode_ns"), bound=200, unit="ns"),
    Target(what="import rmqtt, Client and Broker", figure=ours("import_used_ms"), bound=20, unit="ms"),
    Target(what="start and stop an empty broker", figure=ours("broker_ms"), bound=10, unit="ms"),
]  # fmt: skip
CHURN = [
    Target(what="memory at the end, away from that after a minute", figure=lambda all_: abs(all_["churn"]["growth"]),
           bound=0.05),
    Target(what="lost, doubled, out of order, forgotten", figure=lambda all_: sum(all_["churn"]["faults"].values()),
           bound=0),
]  # fmt: skip


def row(target: Target, all_: Any) -> list[str]:
    """Say how it stands with one target; without its figures, that it was not measured."""
    bound = f"{'≥' if target.is_least else '≤'} {report.significant(target.bound)} {target.unit}".strip()
    try:
        reached = target.figure(all_)
    except (KeyError, ZeroDivisionError):
        return [target.what, bound, "", "not measured"]
    is_met = reached >= target.bound if target.is_least else reached <= target.bound
    return [
        target.what,
        bound,
        f"{report.significant(reached)} {target.unit}".strip(),
        "met" if is_met else "**missed**",
    ]


def page(all_: Any) -> str:
    """Write the page."""
    parts = ["# Targets", "Written by `make bench`, from the figures of the pages beside this one."]
    for title, targets in (
        ("Broker", BROKER),
        ("Broker over TLS", TLS),
        ("Python", PYTHON),
        ("Clients that come and go", CHURN),
    ):
        rows = [row(target, all_) for target in targets]
        parts += [f"## {title}", report.table(["what", "target", "reached", ""], rows)]
    return "\n\n".join(parts) + "\n"


def main() -> None:
    """Read the figures, and say."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("directory", type=Path, help="where the suites' figures are")
    parser.add_argument("--write", action="store_true", help="also write the page beside them")
    options = parser.parse_args()
    paths = [options.directory / f"{suite}.json" for suite in ("brokers", "encrypted", "clients", "churn")]
    all_ = {path.stem: json.loads(path.read_text()) for path in paths if path.is_file()}
    text = page(all_)
    if options.write:
        (options.directory / "targets.md").write_text(text)
    print(text)


if __name__ == "__main__":
    main()
