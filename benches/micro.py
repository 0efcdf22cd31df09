"""What the quiet rooms cost by themselves: runs criterion's benches and makes a page of them.

make bench-micro
make bench-micro ARGS='--only route'
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import report

MANIFEST = report.HERE / "Cargo.toml"
TARGET = report.HERE.parent / "target" / "benches"
#: Building and measuring together, in seconds.
PATIENCE = 1500.0
#: What one run of a bench does many times over.
BATCHES = {"decode": 100, "encode": 100, "qos1-window-100": 100, "qos2-window-100": 100, "resume-1000": 1000,
           "1000-of-90-bytes": 1000, "10-of-64-kib": 10}  # fmt: skip
ABOUT = {
    "decode": "Decode, ns a packet",
    "encode": "Encode, ns a packet",
    "route": "Route among so many subscriptions of others, to none, to one, to a hundred: ns a message",
    "session": "Session: a whole exchange (send, take, acknowledge, settle), ns a message",
    "send-buffer": "Send buffer: put and take out again, ns a piece",
}


def collect(home: Path) -> dict[str, dict[str, float]]:
    """Read criterion's estimates: nanoseconds of each thing of each group."""
    found: dict[str, dict[str, float]] = {}
    for path in sorted(home.glob("*/*/new/estimates.json")):
        group, name = path.parts[-4], path.parts[-3]
        nanos = json.loads(path.read_text())["median"]["point_estimate"]
        found.setdefault(group, {})[name] = nanos / BATCHES.get(name, BATCHES.get(group, 1))
    return found


def main() -> None:
    """Run what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", help="benches whose names contain this")
    parser.add_argument("--quick", action="store_true", help="for a glance")
    parser.add_argument("--out", type=Path, help="where page and raw figures go; else the page is printed")
    options = parser.parse_args()
    where = report.machine()
    home = TARGET / "criterion"
    command = [os.environ.get("CARGO", "cargo"), "bench", f"--manifest-path={MANIFEST}", f"--target-dir={TARGET}"]
    times = ["--warm-up-time=0.2", "--measurement-time=0.3"] if options.quick else []
    command += ["--bench=micro", "--", "--noplot", *times, *([options.only] if options.only else [])]
    shutil.rmtree(home, ignore_errors=True)  # what was measured once is not shown again
    environment = os.environ | {"CRITERION_HOME": str(home)}
    try:
        subprocess.run(command, check=True, timeout=PATIENCE, env=environment, stdout=sys.stderr)
    except subprocess.SubprocessError as error:
        sys.exit(f"the benches did not run: {error}")
    figures = collect(home)
    page = [
        "# The quiet rooms",
        report.about(where, "make bench-micro"),
        "Medians of criterion, wall time of one core.",
    ]
    for group, title in ABOUT.items():
        if group in figures:
            rows = [[name, report.significant(nanos)] for name, nanos in figures[group].items()]
            page += [f"## {title}", report.table([group, "ns"], rows)]
    report.publish(options.out, "micro", "\n\n".join(page) + "\n", {"machine": where, "figures": figures}, {})


if __name__ == "__main__":
    main()
