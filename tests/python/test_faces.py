"""The two faces are one: what `Client` can, `SyncClient` can by the same names; and what lives is not pickled."""

from __future__ import annotations

import asyncio
import concurrent.futures
import copy
import dataclasses
import inspect
import pickle
from typing import Any

import pytest
import rmqtt
from held_broker import HeldBroker
from rmqtt import testing

GUARD = 10

TWINS = [
    (rmqtt.Client, rmqtt.SyncClient),
    (rmqtt.Subscription, rmqtt.SyncSubscription),
    (rmqtt.Receipt, rmqtt.SyncReceipt),
    (rmqtt.Responder, rmqtt.SyncResponder),
]

# asyncio.timeout bounds any wait of the one; the other has to be told.
BOUNDED = {("SyncClient", name) for name in ("events", "reauthenticate", "respond", "subscribe", "unsubscribe")} | {
    (twin, name) for twin in ("SyncSubscription", "SyncResponder") for name in ("close", "get_many", "update")
}
EXCEPTIONS = {
    # The receipt of the one is waited for with a bound, that of the other has one of its own.
    ("SyncClient", "publish_nowait"): {"timeout"},
    ("SyncReceipt", "result"): {"timeout"},
} | {place: {"timeout"} for place in BOUNDED}
# `for` cannot be bounded from outside.
MORE = {"SyncSubscription": {"messages"}, "SyncResponder": {"messages"}}


def public(kind: type) -> set[str]:
    return {name for name in dir(kind) if not name.startswith("_")}


def parameters(of: Any) -> dict[str, tuple[Any, Any]]:
    return {name: (it.kind, it.default) for name, it in inspect.signature(of).parameters.items()}


@pytest.mark.parametrize(("one", "twin"), TWINS)
def test_twins_have_the_same_names(one: type, twin: type) -> None:
    assert public(twin) - MORE.get(twin.__name__, set()) == public(one)


@pytest.mark.parametrize(("one", "twin"), TWINS)
def test_what_twins_take_has_the_same_names_kinds_order_and_defaults(one: type, twin: type) -> None:
    for name in ["__init__"] * (one is rmqtt.Client) + sorted(public(one)):
        if not callable(getattr(one, name)):
            assert not callable(getattr(twin, name))
            continue
        ours, theirs = parameters(getattr(one, name)), parameters(getattr(twin, name))
        for apart in EXCEPTIONS.get((twin.__name__, name), ()):
            assert (apart in ours) != (apart in theirs), f"{name} is no exception any more"
            ours.pop(apart, None)
            theirs.pop(apart, None)
        assert list(ours.items()) == list(theirs.items()), name


# ---- what lives, and what can be sent to another process ----------------------------------------


async def test_what_lives_is_neither_pickled_nor_copied(broker: rmqtt.Broker) -> None:
    async with rmqtt.Client(broker.url) as client, client.subscribe("a") as messages:
        live: list[Any] = [broker, client, messages, client.publish_nowait("a"), broker.capture("#"), testing.Clock()]
        live += [broker.snapshot(), broker.faults, broker.faults.on("PUBLISH").drop()]
        with rmqtt.SyncClient(broker.url) as other:
            live += [other, other.subscribe("a"), other.publish_nowait("a")]
            for one in live:
                for take in (pickle.dumps, copy.copy, copy.deepcopy):
                    with pytest.raises(TypeError, match=f"a {type(one).__name__} lives in the process that made it"):
                        take(one)


WILL = rmqtt.Will(topic="gone", payload=b"x", user_properties=[("a", "b")])
SETTINGS: list[Any] = [
    WILL,
    rmqtt.Reconnect(max=5, retry_first=True),
    rmqtt.Outbox(max_messages=5, path="outbox.redb"),
    rmqtt.TLS(ca="ca.pem", cert="cert.pem", key="key.pem", key_password="secret"),
    rmqtt.Outgoing("a", b"b", qos=1),
    rmqtt.Limits(sessions_max=5),
    rmqtt.AuthLimits(),
    rmqtt.Features(retain=False),
    rmqtt.Listener("mqtt://127.0.0.1:0"),
    rmqtt.Acl(),
    rmqtt.ScramSha256("alice", "secret"),
    rmqtt.PasswordFile("users.txt"),
    rmqtt.Properties(content_type="text/plain"),
]


@pytest.mark.parametrize("setting", SETTINGS, ids=lambda it: type(it).__name__)
def test_settings_can_be_sent_to_another_process(setting: Any) -> None:
    again = pickle.loads(pickle.dumps(setting))
    assert type(again) is type(setting)
    assert again == setting


def test_everything_that_is_a_setting_by_its_looks_is_among_them() -> None:
    def needs_nothing(kind: type) -> bool:
        fields = dataclasses.fields(kind)
        missing = dataclasses.MISSING
        return all(it.default is not missing or it.default_factory is not missing for it in fields)

    for name in rmqtt.__all__:
        kind = getattr(rmqtt, name)
        if inspect.isclass(kind) and dataclasses.is_dataclass(kind) and needs_nothing(kind):
            setting = kind()
            assert pickle.loads(pickle.dumps(setting)) == setting, name


# ---- a receipt that is taken back ---------------------------------------------------------------


def test_a_message_that_is_not_on_its_way_is_taken_back_by_its_receipt() -> None:
    with HeldBroker(receive_maximum=1) as broker, rmqtt.SyncClient(broker.url) as client:
        first = client.publish_nowait("a", b"1", qos=1)
        broker.wait_for(lambda it: it.held == 1)
        second = client.publish_nowait("a", b"2", qos=1)
        assert (first.cancel(), first.state) == (False, "sent")
        assert (second.state, second.cancel(), second.cancel()) == ("queued", True, False)
        assert (second.state, second.done()) == ("withdrawn", True)
        with pytest.raises(concurrent.futures.CancelledError):
            second.result(timeout=GUARD)
        broker.release_from_now_on()
        client.publish("a", b"3", qos=1, timeout=GUARD)
        assert [published.payload for published in broker.published] == [b"1", b"3"]
        assert first.result().reason_code == 0
        assert first.cancel() is False


def test_whoever_waits_for_a_receipt_hears_that_it_was_taken_back() -> None:
    with HeldBroker(receive_maximum=1) as broker, rmqtt.SyncClient(broker.url) as client:
        client.publish_nowait("a", b"1", qos=1)
        broker.wait_for(lambda it: it.held == 1)
        receipt = client.publish_nowait("a", b"2", qos=1)
        with concurrent.futures.ThreadPoolExecutor() as threads:
            waiting = [threads.submit(receipt.result, GUARD) for _ in range(3)]
            assert receipt.cancel()
            for one in waiting:
                assert isinstance(one.exception(GUARD), concurrent.futures.CancelledError)
        broker.release_from_now_on()


# ---- progress -----------------------------------------------------------------------------------


def counted(items: list[Any]) -> Any:
    return iter(items)


def uncounted(items: list[Any]) -> Any:
    return (item for item in items)


@pytest.mark.parametrize("trace_context", [False, True])
@pytest.mark.parametrize(
    ("kind", "count", "total"), [(list, 50, 50), (counted, 50, 50), (uncounted, 50, None), (list, 0, 0)]
)
async def test_progress_is_told_with_the_total_where_that_is_known(
    kind: Any, count: int, total: int | None, trace_context: bool, broker: rmqtt.Broker
) -> None:
    told: list[tuple[int, int | None]] = []
    async with rmqtt.Client(broker.url, trace_context=trace_context) as client:
        await client.publish_many(kind([("a", b"")] * count), qos=1, window=5, progress=lambda *it: told.append(it))
    assert told[-1] == (count, total)
    assert {it[1] for it in told} == {total}


def test_the_blocking_twin_tells_the_total_too(broker: rmqtt.Broker) -> None:
    told: list[tuple[int, int | None]] = []
    with rmqtt.SyncClient(broker.url) as client:
        client.publish_many([("a", b"")] * 50, qos=1, window=5, progress=lambda *it: told.append(it))
        assert told.pop() == (50, 50)
        client.publish_many((("a", b"") for _ in range(5)), progress=lambda *it: told.append(it))
        assert told.pop() == (5, None)


# ---- handlers that fail -------------------------------------------------------------------------


class UnsayableError(Exception):
    """One whose text cannot be had."""

    def __str__(self) -> str:
        raise ZeroDivisionError


@pytest.mark.parametrize("error", [ValueError("no such plant"), UnsayableError()])
async def test_a_handler_that_fails_is_told_to_events(broker: rmqtt.Broker, error: Exception) -> None:
    async def fail(_: rmqtt.Message) -> bytes:
        raise error

    async with rmqtt.Client(broker.url) as client:
        events = client.events()
        async with client.respond("plant/7", fail) as responder:
            with pytest.raises(rmqtt.RequestFailed):
                await client.request("plant/7")
            async with asyncio.timeout(GUARD):
                event = await anext(events)
            assert isinstance(event, rmqtt.HandlerFailed)
            assert (event.topic, responder.failed) == ("plant/7", 1)
            assert type(error).__name__ in event.error


def test_a_handler_of_the_blocking_twin_is_told_to_events(broker: rmqtt.Broker) -> None:
    def fail(_: rmqtt.Message) -> bytes:
        raise ValueError("no such plant")

    with rmqtt.SyncClient(broker.url) as client:
        events = client.events(timeout=GUARD)
        with client.respond("plant/7", fail):
            with pytest.raises(rmqtt.RequestFailed):
                client.request("plant/7")
            assert next(events) == rmqtt.HandlerFailed(topic="plant/7", error="ValueError: no such plant")
