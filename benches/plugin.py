"""What a broker of its own costs a test: start and stop, and the way to the first message; and that nothing is left.

python benches/plugin.py [--brokers 1000]
"""

from __future__ import annotations

import argparse
import os
import statistics
import threading
import time
from pathlib import Path

import rmqtt


def rounds(count: int) -> tuple[list[float], list[float], list[float]]:
    """Do as the fixture ``mqtt_broker`` does; milliseconds to start, to the first message, and to start and stop."""
    starts, firsts, both = [], [], []
    for _ in range(count):
        begun = time.perf_counter()
        broker = rmqtt.Broker("mqtt://127.0.0.1:0").start()
        started = time.perf_counter()
        with rmqtt.SyncClient(broker.url) as client, client.subscribe("a", qos=1) as messages:
            client.publish("a", b"1", qos=1)
            messages.get(timeout=10)
            first = time.perf_counter()
        stopping = time.perf_counter()
        broker.stop(grace=0)
        stopped = time.perf_counter()
        starts.append(1e3 * (started - begun))
        firsts.append(1e3 * (first - begun))
        both.append(1e3 * (started - begun + stopped - stopping))
    return starts, firsts, both


def held() -> tuple[int, int, int]:
    """Count the threads and descriptors of this process, and the KiB of its memory (Linux)."""
    resident = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    threads = len(list(Path("/proc/self/task").iterdir()))
    return threads, len(list(Path("/proc/self/fd").iterdir())), resident * os.sysconf("SC_PAGE_SIZE") // 1024


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--brokers", type=int, default=1000, help="how many, one after the other")
    arguments = parser.parse_args()
    rounds(max(1, arguments.brokers // 5))  # what is made once is made
    before = held()
    columns = rounds(arguments.brokers)
    after = held()
    print(f"{arguments.brokers} brokers, in ms       median      p99      max")
    for name, values in zip(("start", "to the first message", "start and stop"), columns, strict=True):
        values.sort()
        print(f"{name:24} {statistics.median(values):9.2f} {values[len(values) * 99 // 100]:8.2f} {values[-1]:8.2f}")
    for name, was, now in zip(("threads", "descriptors", "resident KiB"), before, after, strict=True):
        print(f"{name:24} {was} -> {now}")
    print(f"Python's own threads     {threading.active_count()}")


if __name__ == "__main__":
    main()
