"""Mixed load with clients that come and go: whether the broker's memory stays level, and nothing is lost.

    make bench-churn                # ten minutes
    make bench-churn SECONDS=60

The load generator keeps the books (`src/churn.rs` says who does what); the broker's memory is sampled each second.
"""

from __future__ import annotations

import argparse
import statistics
import sys
from pathlib import Path
from typing import Any

import report

#: The level at the end may be so much above or below that after the first minute.
TOLERANCE = 0.05
#: Seconds from which on memory is judged: before, it is still filling what it keeps.
LONG = 300
#: Numbers that must be nought.
FAULTS = ("lost", "duplicates", "out_of_order", "sessions_lost", "retained_wrong", "wills_missing")


def levels(samples: list[float], seconds: int) -> tuple[float, float]:
    """Give the memory after one minute (a tenth, in shorter runs) and at the end: medians of ten seconds each."""
    early = min(60, seconds // 10)
    half = max(min(5, early // 2), 1)
    return statistics.median(samples[early - half : early + half]), statistics.median(samples[-2 * half :])


def judge(result: dict[str, Any]) -> dict[str, Any]:
    """Add what follows from the counts: levels, and what is wrong."""
    first, last = levels(result["rss_kib"], result["seconds"])
    result["wills_missing"] = abs(result["wills"] - result["wills_due"])
    result |= {"level_first_kib": first, "level_last_kib": last, "growth": last / first - 1}
    result["faults"] = {name: result[name] for name in FAULTS if result[name]}
    result["is_level"] = abs(result["growth"]) <= TOLERANCE
    return result


def chart(samples: list[float]) -> Any:
    """Draw the broker's memory over time."""
    plt = report.pyplot()
    figure, axes = plt.subplots(figsize=(9, 3))
    axes.plot(range(len(samples)), [kib / 1024 for kib in samples], color=report.COLOURS[0])
    axes.set_ylim(bottom=0)
    axes.set_xlabel("seconds")
    axes.set_ylabel("MiB of the broker's process")
    axes.grid(visible=True, alpha=0.3)
    figure.tight_layout()
    return figure


def page(result: dict[str, Any], where: dict[str, str]) -> str:
    """Write the page."""
    published, delivered = result["published"], result["delivered"]
    rows = [
        ["messages published, QoS 0 / 1 / 2", " / ".join(f"{count:,}" for count in published)],
        ["copies delivered, QoS 0 / 1 / 2", " / ".join(f"{count:,}" for count in delivered)],
        ["lost, QoS 1 and 2", f"{result['lost']:,}"],
        ["delivered twice, QoS 2", f"{result['duplicates']:,}"],
        ["repeated after a cut, QoS 1 (as it may be)", f"{result['repeated_qos1']:,}"],
        ["out of order, any QoS", f"{result['out_of_order']:,}"],
        ["connections made, of these cut", f"{result['connects']:,}, {result['cuts']:,}"],
        ["sessions that the broker had forgotten", f"{result['sessions_lost']:,}"],
        ["wills due, wills that came", f"{result['wills_due']:,}, {result['wills']:,}"],
        ["retained messages read, of these wrong", f"{result['retained_read']:,}, {result['retained_wrong']:,}"],
        ["broker's memory after the first minute", f"{result['level_first_kib'] / 1024:.2f} MiB"],
        ["broker's memory at the end", f"{result['level_last_kib'] / 1024:.2f} MiB ({result['growth']:+.1%})"],
        ["broker's CPU, each copy delivered", f"{1e6 * result['cpu_seconds'] / max(sum(delivered), 1):.2f} µs"],
    ]
    verdict = "level" if result["is_level"] else "not level"
    if result["seconds"] < LONG:
        verdict = "not judged in so short a run"
    wrong = ", ".join(f"{name} {count}" for name, count in result["faults"].items())
    parts = [
        "# Clients that come and go",
        report.about(where, f"make bench-churn SECONDS={result['seconds']}"),
        f"Memory is {verdict}; {wrong or 'nothing is wrong with the messages'}.",
        "![memory](churn.svg)",
        report.table(["what", "count"], rows),
    ]
    return "\n\n".join(parts) + "\n"


def main() -> None:
    """Run it; the exit code says whether anything is wrong."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=int, default=600)
    parser.add_argument("--rate", type=int, default=1500, help="messages published each second (%(default)s)")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--out", type=Path, help="where page, chart and raw figures go; else the page is printed")
    options = parser.parse_args()
    where = report.machine()
    with report.program("serve") as broker:
        report.say(f"churn for {options.seconds} s")
        command = [str(report.LOAD), "churn", f"--port={broker.port}", f"--pid={broker.pid}"]
        command += [f"--{name}={getattr(options, name)}" for name in ("seconds", "rate", "seed")]
        result = report.run_json(command, seconds=options.seconds + 90)
        result["stats"] = broker.ask()
    result = judge(result) | {"machine": where}
    charts = {"churn": chart(result["rss_kib"])} if options.out else {}
    report.publish(options.out, "churn", page(result, where), result, charts)
    if result["faults"] or (options.seconds >= LONG and not result["is_level"]):
        sys.exit(f"wrong: {result['faults']}, memory {result['growth']:+.1%}")


if __name__ == "__main__":
    main()
