"""Several tasks that share one subscription: each message goes to one of them, and is acknowledged when that one is done."""

from __future__ import annotations

import asyncio

import rmqtt
from held_broker import GUARD
from loops import on_every_loop, until
from told_broker import told


@on_every_loop
async def test_each_message_goes_to_one_of_the_tasks_and_in_order(broker: rmqtt.Broker) -> None:
    taken: list[list[int]] = [[], [], []]

    async def work(place: int, jobs: rmqtt.Subscription) -> None:
        async for job in jobs:
            taken[place].append(int(job.text()))
            await asyncio.sleep(0)

    async with (
        asyncio.timeout(GUARD),
        rmqtt.Client(broker.url) as client,
        client.subscribe("jobs", qos=1, maxsize=5) as jobs,
        asyncio.TaskGroup() as workers,
    ):
        for place in range(3):
            workers.create_task(work(place, jobs))
        await client.publish_many((("jobs", str(n)) for n in range(300)), qos=1)
        await until(lambda: sum(map(len, taken)) == 300)
        await jobs.close()
    assert sorted(number for mine in taken for number in mine) == list(range(300))
    for mine in taken:
        assert mine
        assert mine == sorted(mine)


@on_every_loop
async def test_what_one_task_works_on_is_acknowledged_by_its_own_next_step_and_by_no_other() -> None:
    async with (
        told() as (broker, url),
        rmqtt.Client(url) as client,
        client.subscribe("jobs", qos=1) as jobs,
    ):
        slow, quick = aiter(jobs), aiter(jobs)
        for packet_id in range(1, 4):
            broker.say(rmqtt.Publish(topic="jobs", payload=b"%d" % packet_id, qos=1, packet_id=packet_id))
        assert (await anext(slow)).payload == b"1"
        assert [(await anext(quick)).payload for _ in range(2)] == [b"2", b"3"]
        # A publish leaves behind all answers that were due.
        waiting = asyncio.ensure_future(anext(quick))
        await client.publish("a", qos=1)
        assert broker.of(rmqtt.PubAck) == []
        asking = asyncio.ensure_future(anext(slow))
        await until(lambda: len(broker.of(rmqtt.PubAck)) == 3)
        assert [packet.packet_id for packet in broker.heard if isinstance(packet, rmqtt.PubAck)] == [1, 2, 3]
        for wait in (waiting, asking):
            wait.cancel()
