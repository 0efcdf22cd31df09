"""Run it; print the books and the seed; the exit code says whether anything is wrong."""

from __future__ import annotations

import argparse
import asyncio
import random
import statistics
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

from chaos.stage import Stage

if TYPE_CHECKING:
    from collections.abc import Iterator

    from chaos.stage import BrokerName, Outcome

#: The level at the end may be so much above that after a tenth of the time; in shorter runs it is not judged.
TOLERANCE = 0.1
LONG = 300
#: How much of the weather before a fault is told.
BEFORE = 4


async def run(brokers: list[BrokerName], *, seconds: float, seed: int, folder: Path) -> dict[BrokerName, list[Outcome]]:
    """Have bad weather before these brokers at the same time."""
    stages: dict[BrokerName, Stage] = {}
    for broker in brokers:
        (folder / broker).mkdir()
        stages[broker] = Stage(broker, folder / broker, seconds=seconds, seed=seed)
    await asyncio.gather(*(stage.run() for stage in stages.values()))
    return {broker: stage.balance() for broker, stage in stages.items()}


def growth(rss_kib: list[int]) -> tuple[float, float, float]:
    """Give the memory after a tenth of the time and at the end, in MiB, and what it has grown by."""
    tenth = max(len(rss_kib) // 10, 1)
    half = max(min(5, tenth // 2), 1)
    first, last = statistics.median(rss_kib[tenth - half : tenth + half]), statistics.median(rss_kib[-2 * half :])
    return first / 1024, last / 1024, last / first - 1


def table(broker: str, outcomes: list[Outcome]) -> Iterator[str]:
    """Write the books of one broker."""
    yield f"{broker:<10} {'roamer':<10} {'way':<5} {'QoS':>3} {'asked':>8} {'taken':>8} {'arrived':>8} {'repeated':>8}"
    for outcome in outcomes:
        for way in ("up", "down"):
            for qos in range(3):
                books = [
                    book for topic, book in outcome.books.items() if topic.startswith(f"{way}/") and book.qos == qos
                ]
                asked, taken = sum(len(book.asked) for book in books), sum(len(book.taken) for book in books)
                arrived = sum(len({number for number, _ in book.got}) for book in books)
                repeated = sum(len(book.got) for book in books) - arrived
                yield f"{'':<10} {outcome.name:<10} {way:<5} {qos:>3} {asked:>8} {taken:>8} {arrived:>8} {repeated:>8}"
    for outcome in outcomes:
        kinds = Counter(weather.kind for _, weather in outcome.weather if weather.kind != "clear")
        first, last, more = growth(outcome.rss_kib)
        level = (
            f"{len(outcome.anew)} kills left {outcome.restored} messages, outbox {outcome.outbox_kib} KiB"
            if outcome.anew
            else f"memory {first:.1f} to {last:.1f} MiB ({more:+.1%})"
        )
        yield (
            f"{'':<10} {outcome.name}: {outcome.connections} connections of {outcome.tried} tried, "
            f"{outcome.waits} publishes ended, {level}; "
            + ", ".join(f"{count} {kind}" for kind, count in sorted(kinds.items()))
        )
        for kind, count in Counter(fault.kind for fault in outcome.of_broker).items():
            yield f"{'':<10} {outcome.name}: {count} {kind} by the broker, and given out as they were sent"


def ranges(numbers: list[int]) -> str:
    """Write numbers as ranges: 3-7, 9."""
    parts: list[list[int]] = []
    for number in numbers:
        if parts and number == parts[-1][-1] + 1:
            parts[-1][1:] = [number]
        else:
            parts.append([number])
    return ", ".join("-".join(map(str, part)) for part in parts[:10]) + (", …" if len(parts) > 10 else "")


def judge(broker: str, outcomes: list[Outcome], seconds: float) -> Iterator[str]:
    """Say what is wrong, where, and what the weather was before it began."""
    for outcome in outcomes:
        kinds = dict.fromkeys((fault.kind, fault.topic) for fault in outcome.faults)
        for kind, topic in kinds:
            faults = [fault for fault in outcome.faults if (fault.kind, fault.topic) == (kind, topic)]
            numbers = ranges([fault.number for fault in faults])
            yield f"{broker} {outcome.name}: {kind}: {topic} {numbers}, from {faults[0].second:.3f} s"
            for second, weather in [it for it in outcome.weather if it[0] <= faults[0].second][-BEFORE:]:
                yield f"    {second:8.3f} s: {weather}"
        first, last, more = growth(outcome.rss_kib)
        # A process that is killed every few seconds has no level.
        if seconds >= LONG and more > TOLERANCE and not outcome.anew:
            yield f"{broker} {outcome.name}: its memory has grown from {first:.1f} to {last:.1f} MiB"


def main() -> None:
    """Run as it is told on the command line."""
    parser = argparse.ArgumentParser(prog="chaos", description=__doc__)
    parser.add_argument("--seconds", type=float, default=600)
    parser.add_argument("--seed", type=int, help="what the weather and the programs throw; any one if not given")
    parser.add_argument("--broker", choices=["ours", "mosquitto", "both"], default="both")
    parser.add_argument("--journals", type=Path, help="where to leave what everybody has said")
    options = parser.parse_args()
    seed = random.randrange(1_000_000) if options.seed is None else options.seed
    brokers: list[BrokerName] = ["ours", "mosquitto"] if options.broker == "both" else [options.broker]
    print(f"SEED={seed}", flush=True)
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        if options.journals:
            options.journals.mkdir(parents=True)
        outcomes = asyncio.run(
            run(brokers, seconds=options.seconds, seed=seed, folder=options.journals or Path(folder))
        )
    wrong: list[str] = []
    for broker, of_broker in outcomes.items():
        print("\n".join(table(broker, of_broker)))
        wrong += judge(broker, of_broker, options.seconds)
    print("\n".join(wrong or ["nothing is lost, doubled or out of order, and every wait has ended"]))
    print(f"SEED={seed}, {time.monotonic() - began:.0f} s")
    sys.exit(bool(wrong))


if __name__ == "__main__":
    main()
