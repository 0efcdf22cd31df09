"""One run of one Python client, in a process of its own: prints what it cost as one line of JSON.

Started by `clients.py`. The cost is that of the whole process, its threads included, by the operating system's books.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import resource
import statistics
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from peers import PEERS, NotThereError, Peer

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

CODEC_CALLS = 100_000


def cpu_seconds() -> float:
    """Give the CPU time of this process, all threads, user and system."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def peak_kib() -> int:
    """Give the most memory this process has had. Not from `getrusage`, which begins with what its parent had."""
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0])


async def publish_q0(peer: Peer, count: int) -> None:
    """Publish; the QoS 1 message at the end has the sink say that all before it has come."""
    await peer.publish(count)
    await peer.publish_acked(1, 1)


async def publish_nowait(peer: Peer, count: int) -> None:
    """Publish by plain calls."""
    await peer.publish_nowait(count)
    await peer.publish_acked(1, 1)


async def publish_many_q0(peer: Peer, count: int) -> None:
    """Publish by one call."""
    await peer.publish_many(count, 0)
    await peer.publish_acked(1, 1)


async def one_after_another(peer: Peer, count: int) -> list[float]:
    """Publish with a round trip each; seconds of each."""
    times = []
    for _ in range(count):
        begun = time.perf_counter()
        await peer.publish_acked(1, 1)
        times.append(time.perf_counter() - begun)
    return times


SCENARIOS: dict[str, Callable[[Peer, int], Awaitable[list[float] | None]]] = {
    "publish-q0": publish_q0,
    "publish-nowait": publish_nowait,
    "publish-many-q0": publish_many_q0,
    "publish-q1-1": one_after_another,
    "publish-q1-64": lambda peer, count: peer.publish_acked(count, 64),
    "publish-q1-1000": lambda peer, count: peer.publish_acked(count, 1000),
    "publish-many-q1": lambda peer, count: peer.publish_many(count, 1),
    "receive-q0": lambda peer, count: peer.receive(count, 0),
    "receive-q1": lambda peer, count: peer.receive(count, 1),
    "receive-many": lambda peer, count: peer.receive_many(count),
    "receive-bounded": lambda peer, count: peer.receive_bounded(count),
    "echo": lambda peer, count: peer.echo(count),
}


async def run(peer: Peer, scenario: str, count: int) -> dict[str, Any]:
    """Connect, measure, and disconnect."""
    await peer.open()
    try:
        play = SCENARIOS[scenario]
        if scenario.startswith("publish"):
            await play(peer, max(count // 10 // 1000 * 1000, 1))
        cpu, wall = cpu_seconds(), time.perf_counter()
        times = await play(peer, count)
        cpu, wall = cpu_seconds() - cpu, time.perf_counter() - wall
        figures = {
            "count": count,
            "cpu_us": 1e6 * cpu / count,
            "rate": count / wall,
            "peak_mib": peak_kib() / 1024,
            "dropped": peer.dropped,
        }
        if times:
            figures["p50_us"] = 1e6 * statistics.median(times)
    finally:
        await peer.close()
    return figures


def codec() -> dict[str, Any]:
    """Measure decode and encode of a PUBLISH of 256 bytes, QoS 1, by this process's CPU."""
    import rmqtt  # noqa: PLC0415 - its time is measured elsewhere

    packet = rmqtt.Publish(topic="bench/sensor/07/temperature", payload=bytes(221), qos=1, packet_id=7)
    data = rmqtt.encode(packet)
    figures: dict[str, Any] = {"bytes": len(data)}
    for name, call in (("decode", lambda: rmqtt.decode(data)), ("encode", lambda: rmqtt.encode(packet))):
        times = []
        for _ in range(7):
            begun = time.process_time()
            for _ in range(CODEC_CALLS // 10):
                call()
            times.append((time.process_time() - begun) / (CODEC_CALLS // 10))
        figures[f"{name}_ns"] = 1e9 * min(times)
    return figures


def start_and_stop(count: int = 50) -> dict[str, Any]:
    """Measure how long an empty broker takes to start and to stop."""
    import rmqtt  # noqa: PLC0415 - its time is measured elsewhere

    async def times() -> list[float]:
        taken = []
        for _ in range(count):
            begun = time.perf_counter()
            async with rmqtt.Broker("mqtt://127.0.0.1:0"):
                pass
            taken.append(time.perf_counter() - begun)
        return taken

    return {"broker_ms": 1e3 * statistics.median(asyncio.run(times()))}


def main() -> None:
    """Run what was asked for."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("peer", choices=[*PEERS, "codec", "broker"])
    parser.add_argument("scenario", choices=SCENARIOS, nargs="?")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--count", type=int, default=1)
    parser.add_argument("--loop", choices=["asyncio", "uvloop"], default="asyncio")
    options = parser.parse_args()
    alone = {"codec": codec, "broker": start_and_stop}.get(options.peer)
    if alone:
        print(json.dumps(alone()))
        return
    factory = None
    if options.loop == "uvloop":
        import uvloop  # noqa: PLC0415 - only where it is used

        factory = uvloop.new_event_loop
    peer = PEERS[options.peer](options.port, options.count)
    with asyncio.Runner(loop_factory=factory) as runner:
        try:
            print(json.dumps(runner.run(run(peer, options.scenario, options.count))))
        except NotThereError:
            print(json.dumps({"missing": True}))


if __name__ == "__main__":
    main()
