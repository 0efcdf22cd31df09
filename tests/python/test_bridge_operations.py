"""What `publish` returns works in every place where asyncio takes an awaitable, finished or not, on every loop."""

from __future__ import annotations

import asyncio
import contextvars
import gc
import sys
import warnings
import weakref
from typing import TYPE_CHECKING, Any

import pytest
import rmqtt
from held_broker import HeldBroker, held_client
from loops import on_every_loop, run, until

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable


async def by_await(operation: Any) -> Any:
    return await operation


async def by_gather(operation: Any) -> Any:
    (result,) = await asyncio.gather(operation)
    return result


async def by_wait_for(operation: Any) -> Any:
    return await asyncio.wait_for(operation, 10)


async def by_timeout(operation: Any) -> Any:
    async with asyncio.timeout(10):
        return await operation


async def by_shield(operation: Any) -> Any:
    return await asyncio.shield(operation)


async def by_create_task(operation: Any) -> Any:
    return await asyncio.create_task(operation)


async def by_task_group(operation: Any) -> Any:
    async with asyncio.TaskGroup() as group:
        task = group.create_task(operation)
    return task.result()


async def by_as_completed(operation: Any) -> Any:
    for earliest in asyncio.as_completed([operation]):
        return await earliest
    return None


async def by_ensure_future(operation: Any) -> Any:
    return await asyncio.ensure_future(operation)


async def by_wait_of_a_task(operation: Any) -> Any:
    done, pending = await asyncio.wait({asyncio.create_task(operation)})
    assert not pending
    return done.pop().result()


async def by_run_coroutine_threadsafe(operation: Any) -> Any:
    loop = asyncio.get_running_loop()
    return await asyncio.to_thread(lambda: asyncio.run_coroutine_threadsafe(operation, loop).result(10))


async def by_wrapping_coroutine(operation: Any) -> Any:
    async def wrapper() -> Any:
        return await operation

    return await asyncio.wait_for(asyncio.create_task(wrapper()), 10)


WAYS: list[Callable[[Any], Awaitable[Any]]] = [
    by_await,
    by_gather,
    by_wait_for,
    by_timeout,
    by_shield,
    by_create_task,
    by_task_group,
    by_as_completed,
    by_ensure_future,
    by_wait_of_a_task,
    by_run_coroutine_threadsafe,
    by_wrapping_coroutine,
]
every_way = pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__.removeprefix("by_"))
every_qos = pytest.mark.parametrize("qos", [0, 1, 2])


@every_way
@every_qos
@on_every_loop
async def test_a_publish_can_be_awaited_in_every_way_that_asyncio_has(
    way: Callable[[Any], Awaitable[Any]], qos: Any, broker: rmqtt.Broker
) -> None:
    async with rmqtt.Client(broker.url) as client:
        assert isinstance(await way(client.publish("a", b"1", qos=qos)), rmqtt.PublishResult)


@every_way
@on_every_loop
async def test_an_operation_that_is_done_already_can_be_awaited_in_every_way(
    way: Callable[[Any], Awaitable[Any]], broker: rmqtt.Broker
) -> None:
    async with rmqtt.Client(broker.url) as client:
        operation: Any = client.publish("a", b"1", qos=1)
        first = await operation
        assert await way(operation) == first


@every_way
@on_every_loop
async def test_an_operation_that_is_pending_can_be_awaited_in_every_way(way: Callable[[Any], Awaitable[Any]]) -> None:
    async with held_client() as (broker, client):
        operation: Any = client.publish("a", b"1", qos=1)
        await broker.saw(lambda broker: broker.held == 1)

        async def release() -> None:
            broker.release()

        result, _ = await asyncio.gather(way(operation), release())
        assert isinstance(result, rmqtt.PublishResult)


@every_way
@on_every_loop
async def test_a_refusal_is_raised_in_every_way(way: Callable[[Any], Awaitable[Any]]) -> None:
    async with held_client() as (broker, client):
        operation: Any = client.publish("a", b"1", qos=1)
        await broker.saw(lambda broker: broker.held == 1)

        async def refuse() -> None:
            broker.refuse(0x87)

        outcomes: Any = await asyncio.gather(way(operation), refuse(), return_exceptions=True)
        outcome = outcomes[0]
        error = outcome.exceptions[0] if isinstance(outcome, ExceptionGroup) else outcome
        assert isinstance(error, rmqtt.PublishRefused)
        assert error.reason_code == rmqtt.ReasonCode.NOT_AUTHORIZED


@every_qos
@on_every_loop
async def test_many_publishes_can_be_gathered(qos: Any, broker: rmqtt.Broker) -> None:
    async with rmqtt.Client(broker.url) as client:
        results = await asyncio.gather(*(client.publish("a", str(n), qos=qos) for n in range(2_000)))
        assert len(results) == 2_000
    assert broker.stats().messages_received == 2_000


@on_every_loop
async def test_operations_that_are_released_one_by_one_complete_one_by_one() -> None:
    async with held_client() as (broker, client):
        operations: list[Any] = [client.publish("a", str(n), qos=1) for n in range(5)]
        await broker.saw(lambda broker: broker.held == 5)
        for operation in operations:
            assert not operation.done()
            broker.release(1)
            await operation
            assert operation.done()


@on_every_loop
async def test_as_completed_gives_the_first_answer_first() -> None:
    async with held_client() as (broker, client):
        operations: list[Any] = [client.publish("a", str(n), qos=1) for n in range(3)]
        await broker.saw(lambda broker: broker.held == 3)
        broker.release(1)
        for released, earliest in enumerate(asyncio.as_completed(operations), start=1):
            await earliest
            assert [operation.done() for operation in operations] == [n < released for n in range(3)]
            if released < 3:
                broker.release(1)


@every_qos
@on_every_loop
async def test_an_operation_may_be_awaited_twice(qos: Any, broker: rmqtt.Broker) -> None:
    async with rmqtt.Client(broker.url) as client:
        operation: Any = client.publish("a", b"1", qos=qos)
        assert await operation == await operation


@on_every_loop
async def test_three_tasks_may_wait_for_one_operation() -> None:
    async with held_client() as (broker, client):
        operation: Any = client.publish("a", b"1", qos=1)

        async def wait() -> Any:
            return await operation

        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(wait()) for _ in range(3)]
            await broker.saw(lambda broker: broker.held == 1)
            broker.release()
        assert (
            len({id(task.result()) for task in tasks}) == 1
            or tasks[0].result() == tasks[1].result() == tasks[2].result()
        )


@on_every_loop
async def test_a_done_callback_runs_once_in_the_context_it_was_given() -> None:
    variable = contextvars.ContextVar("variable", default="outside")
    seen: list[tuple[Any, str]] = []

    async with held_client() as (broker, client):
        operation: Any = client.publish("a", b"1", qos=1)
        context = contextvars.copy_context()
        context.run(variable.set, "inside")
        operation.add_done_callback(lambda done: seen.append((done, variable.get())), context=context)
        operation.add_done_callback(lambda done: seen.append((done, variable.get())))
        await broker.saw(lambda broker: broker.held == 1)
        assert not seen
        broker.release()
        await until(lambda: len(seen) == 2)
        assert seen == [(operation, "inside"), (operation, "outside")]


@on_every_loop
async def test_a_done_callback_that_comes_late_runs_in_the_next_turn(broker: rmqtt.Broker) -> None:
    seen: list[Any] = []
    async with rmqtt.Client(broker.url) as client:
        operation: Any = client.publish("a", b"1", qos=1)
        await operation
        operation.add_done_callback(seen.append)
        assert not seen
        await asyncio.sleep(0)
        assert seen == [operation]


@on_every_loop
async def test_a_done_callback_that_is_removed_does_not_run() -> None:
    seen: list[Any] = []
    async with held_client() as (broker, client):
        operation: Any = client.publish("a", b"1", qos=1)
        operation.add_done_callback(seen.append)
        operation.add_done_callback(seen.append)
        assert operation.remove_done_callback(seen.append) == 2
        await broker.saw(lambda broker: broker.held == 1)
        broker.release()
        await operation
        await asyncio.sleep(0)
        assert not seen


def test_an_error_in_a_done_callback_reaches_the_loop_and_disturbs_nobody() -> None:
    complaints: list[dict[str, Any]] = []

    async def main() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _loop, context: complaints.append(context))
        async with held_client() as (broker, client):
            operations: list[Any] = [client.publish("a", str(n), qos=1) for n in range(2)]
            operations[0].add_done_callback(lambda _: {0: 0}[1])
            await broker.saw(lambda broker: broker.held == 2)
            broker.release()
            await asyncio.gather(*operations)

    asyncio.run(main())
    assert [type(complaint["exception"]) for complaint in complaints] == [KeyError]


@on_every_loop
async def test_an_operation_answers_what_a_future_answers() -> None:
    async with held_client() as (broker, client):
        operation: Any = client.publish("a", b"1", qos=1)
        assert asyncio.isfuture(operation)
        assert operation.get_loop() is asyncio.get_running_loop()
        assert not operation.done()
        assert not operation.cancelled()
        with pytest.raises(asyncio.InvalidStateError):
            operation.result()
        with pytest.raises(asyncio.InvalidStateError):
            operation.exception()
        await broker.saw(lambda broker: broker.held == 1)
        broker.release()
        result = await operation
        assert operation.done()
        assert not operation.cancelled()
        assert operation.result() == result
        assert operation.exception() is None
        assert not operation.cancel()


@on_every_loop
async def test_cancelling_a_pending_operation_wakes_all_who_wait_for_it() -> None:
    async with held_client() as (broker, client):
        operation: Any = client.publish("a", b"1", qos=1)

        async def wait() -> Any:
            return await operation

        tasks = [asyncio.create_task(wait()) for _ in range(3)]
        await broker.saw(lambda broker: broker.held == 1)
        assert operation.cancel()
        assert not operation.cancel()
        assert operation.cancelled()
        outcomes = await asyncio.gather(*tasks, return_exceptions=True)
        assert [type(outcome) for outcome in outcomes] == [asyncio.CancelledError] * 3
        with pytest.raises(asyncio.CancelledError):
            await operation
        with pytest.raises(asyncio.CancelledError):
            operation.result()


@on_every_loop
async def test_a_task_cancelled_before_it_ran_never_looks_at_its_operation() -> None:
    async with held_client() as (broker, client):
        operation: Any = client.publish("a", b"1", qos=1)

        async def wait() -> Any:
            return await operation

        # Not by the loop's factory, which may begin it at once.
        task = asyncio.Task(wait())
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await broker.saw(lambda broker: broker.held >= 1)


@on_every_loop
async def test_an_operation_cancelled_after_its_end_keeps_its_result(broker: rmqtt.Broker) -> None:
    async with rmqtt.Client(broker.url) as client:
        operation: Any = client.publish("a", b"1", qos=1)
        result = await operation
        assert not operation.cancel()
        assert await operation == result


@on_every_loop
async def test_an_answer_that_is_late_for_a_cancelled_operation_is_dropped() -> None:
    async with held_client() as (broker, client):
        cancelled: Any = client.publish("a", b"1", qos=1)
        await broker.saw(lambda broker: broker.held == 1)
        cancelled.cancel()
        following = client.publish("a", b"2", qos=1)
        await broker.saw(lambda broker: broker.held == 2)
        broker.release()
        await following
        assert cancelled.cancelled()


@on_every_loop
async def test_a_shielded_operation_outlives_the_task_that_waited() -> None:
    async with held_client() as (broker, client):
        operation: Any = client.publish("a", b"1", qos=1)

        async def wait() -> Any:
            return await asyncio.shield(operation)

        task = asyncio.create_task(wait())
        await broker.saw(lambda broker: broker.held == 1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert not operation.done()
        broker.release()
        assert isinstance(await operation, rmqtt.PublishResult)


@on_every_loop
async def test_a_timeout_around_a_pending_publish_is_a_timeout() -> None:
    async with held_client() as (broker, client):
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(client.publish("a", b"1", qos=1), 0)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0):
                await client.publish("a", b"2", qos=2)
        broker.release_from_now_on()
        assert isinstance(await client.publish("a", b"3", qos=1), rmqtt.PublishResult)


@on_every_loop
async def test_the_next_message_can_be_awaited_with_a_timeout_and_none_is_lost(broker: rmqtt.Broker) -> None:
    async with rmqtt.Client(broker.url) as client, client.subscribe("a", qos=1) as messages:
        stream = aiter(messages)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(anext(stream), 0.001)
        for n in range(50):
            waiting = asyncio.ensure_future(anext(stream))
            await asyncio.sleep(0)
            if n % 2:
                waiting.cancel()
            await client.publish("a", str(n), qos=1)
            received = (await asyncio.gather(waiting, return_exceptions=True))[0]
            if isinstance(received, asyncio.CancelledError):
                received = await asyncio.wait_for(anext(stream), 10)
            assert isinstance(received, rmqtt.Message)
            assert received.text() == str(n)


@on_every_loop
async def test_an_operation_knows_no_more_than_its_waiters_when_it_is_done(broker: rmqtt.Broker) -> None:
    async with rmqtt.Client(broker.url) as client:
        operations: list[Any] = [client.publish("a", str(n), qos=1) for n in range(10)]
        await asyncio.gather(*operations)
        operation = operations.pop()
        # The bridge's own go when the loop has been told of later ones.
        while sys.getrefcount(operation) > 2:
            await asyncio.wait_for(client.publish("a", b"", qos=1), 10)
        for _ in range(100):
            await operation
        assert sys.getrefcount(operation) == 2


def test_another_loop_may_not_wait_for_a_pending_operation() -> None:
    operations: list[Any] = []

    async def elsewhere() -> None:
        with pytest.raises(RuntimeError, match="loop"):
            await operations[0]

    async def main() -> None:
        async with held_client() as (broker, client):
            operations.append(client.publish("a", b"1", qos=1))
            await broker.saw(lambda broker: broker.held == 1)
            await asyncio.to_thread(lambda: asyncio.run(elsewhere()))
            assert not operations[0].done()

    run(main())


@pytest.mark.parametrize("waits_for", ["publish", "message"])
def test_a_task_that_waits_on_a_closed_loop_is_collected(waits_for: str) -> None:
    class Kept:
        pass

    async def wait(awaitable: Any, kept: Kept) -> Kept:
        await awaitable
        return kept

    async def begin(client: rmqtt.Client) -> weakref.ref[Kept]:
        await client.connect()
        messages = await client.subscribe("a")
        kept = Kept()
        awaitable = client.publish("a", b"1", qos=1) if waits_for == "publish" else anext(aiter(messages))
        task = asyncio.get_running_loop().create_task(wait(awaitable, kept))
        task._log_destroy_pending = False  # type: ignore[attr-defined]
        await asyncio.sleep(0)
        return weakref.ref(kept)

    with HeldBroker() as broker, warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)  # the client is not closed: that has a test of its own
        loop = asyncio.new_event_loop()
        client = rmqtt.Client(broker.url)
        # No `asyncio.run`: cancelling what waits would break up the cycle of task, operation, callback and task.
        kept = loop.run_until_complete(begin(client))
        assert kept() is not None
        loop.close()
        del client, loop
        gc.collect()
        broker.wait_for(lambda broker: broker.disconnected == 1)

        def collected() -> bool:
            gc.collect()
            return kept() is None

        run(until(collected))


@on_every_loop
async def test_a_cancelled_operation_passes_on_the_message_it_was_cancelled_with() -> None:
    async with held_client() as (broker, client):
        operation: Any = client.publish("a", b"1", qos=1)
        task = asyncio.create_task(by_await(operation))
        await broker.saw(lambda broker: broker.held == 1)
        task.cancel("enough")
        with pytest.raises(asyncio.CancelledError, match="enough"):
            await task
        with pytest.raises(asyncio.CancelledError, match="enough"):
            operation.result()


@on_every_loop
async def test_cancelling_a_gather_cancels_its_operations_and_ends() -> None:
    async with held_client() as (broker, client):
        operations: list[Any] = [client.publish("a", str(n), qos=1) for n in range(3)]
        gathered = asyncio.gather(*operations, return_exceptions=True)
        await broker.saw(lambda broker: broker.held == 3)
        gathered.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asyncio.wait_for(gathered, 10)
        assert all(operation.cancelled() for operation in operations)
