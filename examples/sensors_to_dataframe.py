"""Collect readings for a while, then look at them as a table.

With pandas it is a DataFrame; without, the same rows are summed up by hand.
"""

from __future__ import annotations

import asyncio
import csv
import json
from pathlib import Path
from statistics import fmean

import rmqtt

HOURS = 48
STATIONS = ("ewr", "jfk", "lga")


async def replay(url: str, station: str) -> None:
    """Publish the first hours of one station."""
    with (Path(__file__).parent / "data" / f"{station}.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))[:HOURS]
    async with rmqtt.Client(url, client_id=station) as client:
        for row in rows:
            reading = {
                "time": row["time"],
                "temperature": float(row["temperature"]),
                "humidity": float(row["humidity"]),
            }
            await client.publish(f"weather/{station}", json.dumps(reading), qos=1)


async def collect(url: str, count: int) -> list[dict[str, object]]:
    """Take so many readings of all stations."""
    rows: list[dict[str, object]] = []
    async with (
        rmqtt.Client(url) as client,
        client.subscribe("weather/+", qos=1) as readings,
        asyncio.TaskGroup() as group,
    ):
        for station in STATIONS:
            group.create_task(replay(url, station))
        while len(rows) < count:
            messages = await readings.get_many()
            rows += [{"station": message.topic.rpartition("/")[2], **message.json()} for message in messages]
    return rows


def show(rows: list[dict[str, object]]) -> None:
    """Print the mean temperature of each station."""
    try:
        import pandas as pd  # noqa: PLC0415 - optional
    except ImportError:
        for station in STATIONS:
            print(station, round(fmean(float(str(row["temperature"])) for row in rows if row["station"] == station), 2))
    else:
        table = pd.DataFrame(rows).astype({"time": "datetime64[ns, UTC]"}).set_index("time")
        print(table.groupby("station")[["temperature", "humidity"]].agg(["mean", "min", "max"]).round(2))


async def main() -> None:
    """Run it all against a broker of its own."""
    async with rmqtt.Broker("mqtt://127.0.0.1:0") as broker:
        show(await collect(broker.url, HOURS * len(STATIONS)))


if __name__ == "__main__":
    asyncio.run(main())
