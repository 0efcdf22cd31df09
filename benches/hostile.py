"""A hundred honest clients, alone and beside many that mean harm: what the honest ones notice.

    make bench-hostile                  # 19,500 hostile connections
    make bench-hostile ARGS='--count 5000'
    make bench-hostile ARGS='--only flood,deaf'

`src/hostile.rs` says who does what. Broker, hostile and honest clients share this machine's cores, so there are three
runs: the honest ones alone; while the hostile ones attack another broker on this machine, which shows what sharing it
costs; and while they attack theirs.
"""

from __future__ import annotations

import argparse
import statistics
import sys
from pathlib import Path
from typing import Any

import report

#: What the honest ones' p99 may be at most, by what it is when they are alone.
RATIO_MAX = 2.0

MIX = (
    "Of a hundred hostile connections 35 say nothing, 25 send a CONNECT of 60 kB a byte a second, 20 subscribe and are "
    "never heard of again, 8 fight for twenty client ids, 5 subscribe to the floods and never read, 5 send what is no "
    "packet, 2 publish as fast as their socket takes it. They come from 250 addresses; whoever is sent away comes back."
)
LIMITS = (
    "The broker's limits are those of `serve --guarded` in `benches/src/serve.rs`. Broker, honest and hostile clients "
    "share the cores of one machine, where attackers have their own: the hostile ones run only while a core has "
    "nothing else to do (SCHED_IDLE; at nice 19 they still keep one for milliseconds), and come back no faster than "
    "500 in a second."
)


def honest(broker: report.Program, rate: int, seconds: int) -> dict[str, Any]:
    """Fifty publishers and fifty subscribers in pairs, QoS 1, at a fixed rate."""
    command = [str(report.LOAD), "load", f"--port={broker.port}", f"--pid={broker.pid}", "--topology=pairs"]
    command += ["--publishers=50", "--subscribers=50", "--qos=1", f"--rate={rate}", f"--messages={rate * seconds}"]
    result = report.run_json(command, seconds=seconds * 5 + 60)
    result["wrong"] = result["lost"] + result["duplicates"] + result["out_of_order"]
    return result


def page(result: dict[str, Any], where: dict[str, str], command: str) -> str:
    """Write the page."""
    rounds = result["rounds"]
    last, horde = rounds[-1], rounds[-1]["beside"]["horde"]
    kinds = ("alone", "elsewhere", "beside")
    rows = [
        *([name, *(f"{middle(rounds, kind, f'{name}_us'):,.0f}" for kind in kinds)] for name in ("p50", "p99")),
        ["p99, alone = 1", "1.00", *(f"{result[f'ratio_{kind}']:.2f}" for kind in kinds[1:])],
        ["lost, doubled or out of order", *(str(sum(one[kind]["wrong"] for one in rounds)) for kind in kinds)],
    ]
    each = ", ".join(f"{ratio(one, 'beside'):.2f} ({ratio(one, 'elsewhere'):.2f})" for one in rounds)
    said = (
        f"The honest clients' p99 latency is {result['ratio_beside']:.2f} times what it is when they are alone; while "
        f"another broker of this machine is attacked instead, {result['ratio_elsewhere']:.2f} times. Medians of "
        f"{len(rounds)} rounds, each with brokers of its own. Of each round: {each}."
    )
    head = ["latency, µs", "alone", "another broker is attacked", f"beside {horde['open']:,} hostile connections"]
    reached = {name: count for name, count in last["stats"]["limits_reached"].items() if count}
    parts = [
        "# A hundred honest clients among thousands that mean harm",
        report.about(where, command),
        said,
        report.table(head, rows),
        "Limits that were reached in the last round:",
        report.table(["limit", "times"], [[f"`{name}`", f"{count:,}"] for name, count in reached.items()]),
        report.table(
            ["what the hostile ones did in it", "count"],
            [
                ["connections opened", f"{horde['opened']:,}"],
                ["of these ended by the broker", f"{horde['ended']:,}"],
                ["bytes sent", f"{horde['bytes_sent']:,}"],
                ["broker's memory before, at most", f"{last['rss_before']:.1f}, {last['rss_peak']:.1f} MiB"],
                ["broker's CPU beside them, of one core", f"{100 * cpu(last['beside']):.0f} %"],
                ["the same when the honest ones are alone", f"{100 * cpu(last['alone']):.0f} %"],
            ],
        ),
        MIX,
        LIMITS,
    ]
    return "\n\n".join(parts) + "\n"


def middle(rounds: list[dict[str, Any]], kind: str, figure: str) -> float:
    """Give the median of a figure."""
    found: float = statistics.median(one[kind][figure] for one in rounds)
    return found


def ratio(one: dict[str, Any], kind: str) -> float:
    """Say how many times as long as alone the slowest hundredth takes, in one round."""
    times: float = one[kind]["p99_us"] / one["alone"]["p99_us"]
    return times


def cpu(run: dict[str, Any]) -> float:
    """Say what part of one core the broker has used in a run."""
    part: float = run["cpu_seconds"] / run["seconds"]
    return part


def attacked(broker: report.Program, options: argparse.Namespace, target: report.Program) -> dict[str, Any]:
    """Run the honest at one broker, while another or the same is attacked."""
    horde = ["hostile", f"--port={target.port}", f"--count={options.count}"]
    horde += [f"--only={options.only}"] if options.only else []
    report.say(f"{options.count} hostile connections to {'this broker' if target is broker else 'another one'}")
    with report.program(*horde, is_idle=True) as enemies:
        report.say("the honest meanwhile")
        run = honest(broker, options.rate, options.seconds)
        return run | {"horde": enemies.ask()}


def main() -> None:
    """Run it; the exit code says whether the honest ones have noticed too much."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=19_500, help="hostile connections (%(default)s)")
    parser.add_argument("--only", help="of these kinds alone, as many as there would be among all: see src/hostile.rs")
    parser.add_argument("--rate", type=int, default=1000, help="honest messages each second (%(default)s)")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=int, default=20, help="of each honest run (%(default)s)")
    parser.add_argument("--out", type=Path, help="where page and raw figures go; else the page is printed")
    options = parser.parse_args()
    where = report.machine()
    rounds = [one_round(options) for _ in range(options.rounds)]
    result: dict[str, Any] = {"rounds": rounds, "machine": where}
    for kind in ("elsewhere", "beside"):
        result[f"ratio_{kind}"] = statistics.median(ratio(one, kind) for one in rounds)
    chosen = f" --only {options.only}" if options.only else ""
    command = f"make bench-hostile ARGS='--count {options.count}{chosen}'"
    report.publish(options.out, "hostile", page(result, where, command), result, {})
    times, wrong = result["ratio_beside"], sum(one["beside"]["wrong"] for one in rounds)
    if times > RATIO_MAX or wrong:
        sys.exit(f"the honest ones' p99 is {times:.2f} times as high, {wrong} of their messages went wrong")


def one_round(options: argparse.Namespace) -> dict[str, Any]:
    """Run the honest ones alone, beside an attack on another broker, and beside one on theirs."""
    with report.program("serve", "--guarded") as broker:
        report.say("the honest alone")
        alone = honest(broker, options.rate, options.seconds)
        before = memory(broker.pid)
        with report.program("serve", "--guarded") as other:
            elsewhere = attacked(broker, options, other)
        beside = attacked(broker, options, broker)
        stats, peak = broker.ask(), memory(broker.pid, peak=True)
    runs = {"alone": alone, "elsewhere": elsewhere, "beside": beside}
    return runs | {"stats": stats, "rss_before": before, "rss_peak": peak}


def memory(pid: int, *, peak: bool = False) -> float:
    """MiB that a process has, or has had at most."""
    name = "VmHWM:" if peak else "VmRSS:"
    for line in Path(f"/proc/{pid}/status").read_text(encoding="ascii").splitlines():
        if line.startswith(name):
            return int(line.split()[1]) / 1024
    return 0.0


if __name__ == "__main__":
    main()
