"""What a message costs here: CPU time of this process, client, broker and Python included.

    make bench
    python benches/messages.py --broker mqtt://127.0.0.1:1883    # only the client's part is then in this process

Rates depend on the machine and its mood; CPU time for each message much less. The median of the rounds is shown.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import statistics
import time
from typing import TYPE_CHECKING

import rmqtt

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

PAYLOAD = bytes(64)
TOPIC = "bench/sensor/7/temperature"
WINDOW = 1000


async def publish_qos0(client: rmqtt.Client, count: int) -> None:
    """Publish with an awaited call each; the QoS 1 message at the end waits until the broker has taken all."""
    for _ in range(count):
        await client.publish(TOPIC, PAYLOAD)
    await client.publish(TOPIC, PAYLOAD, qos=1)


async def publish_qos1_gathered(client: rmqtt.Client, count: int) -> None:
    """Publish a thousand at a time."""
    for _ in range(count // WINDOW):
        await asyncio.gather(*(client.publish(TOPIC, PAYLOAD, qos=1) for _ in range(WINDOW)))


async def publish_qos1_one_by_one(client: rmqtt.Client, count: int) -> None:
    """Publish with a round trip each."""
    for _ in range(count):
        await client.publish(TOPIC, PAYLOAD, qos=1)


async def publish_qos2_gathered(client: rmqtt.Client, count: int) -> None:
    """Publish a thousand at a time, with two round trips each."""
    for _ in range(count // WINDOW):
        await asyncio.gather(*(client.publish(TOPIC, PAYLOAD, qos=2) for _ in range(WINDOW)))


async def through_qos1(client: rmqtt.Client, count: int) -> None:
    """Publish, and receive by `async for`; read topic and payload."""
    async with client.subscribe("bench/through/+", qos=1) as messages:

        async def receive() -> None:
            left = count
            async for message in messages:
                if message.topic and message.payload:
                    left -= 1
                if not left:
                    return

        receiving = asyncio.create_task(receive())
        for _ in range(count // WINDOW):
            await asyncio.gather(*(client.publish("bench/through/1", PAYLOAD, qos=1) for _ in range(WINDOW)))
        await receiving


SCENARIOS: dict[str, tuple[Callable[[rmqtt.Client, int], Awaitable[None]], int]] = {
    "publish QoS 0": (publish_qos0, 100_000),
    "publish QoS 1, gather of 1,000": (publish_qos1_gathered, 50_000),
    "publish QoS 1, one by one": (publish_qos1_one_by_one, 5_000),
    "publish QoS 2, gather of 1,000": (publish_qos2_gathered, 20_000),
    "QoS 1 through, async for": (through_qos1, 50_000),
}


async def main() -> None:
    """Run every scenario a few times."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--broker", metavar="URL", help="use this broker instead of an embedded one")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of a table")
    options = parser.parse_args()
    results = {}
    async with contextlib.AsyncExitStack() as stack:
        url = options.broker
        if url is None:
            url = (await stack.enter_async_context(rmqtt.Broker("mqtt://127.0.0.1:0"))).url
        client = await stack.enter_async_context(rmqtt.Client(url))
        for name, (scenario, count) in SCENARIOS.items():
            costs, rates = [], []
            for _ in range(options.rounds):
                wall, cpu = time.perf_counter(), time.process_time()
                await scenario(client, count)
                costs.append((time.process_time() - cpu) / count * 1e6)
                rates.append(count / (time.perf_counter() - wall))
            results[name] = {"cpu_us": statistics.median(costs), "per_second": statistics.median(rates)}
            if not options.json:
                print(
                    f"{name:<32}{results[name]['cpu_us']:>9.2f} µs CPU{results[name]['per_second']:>12,.0f} messages/s"
                )
    if options.json:
        print(json.dumps(results))


if __name__ == "__main__":
    asyncio.run(main())
