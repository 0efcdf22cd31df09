"""`Broker(auth=check)`: a callable says who may connect."""

from __future__ import annotations

import asyncio
import contextvars
import copy
import gc
import logging
import pickle
import threading
import weakref
from typing import TYPE_CHECKING, Any

import pytest
import rmqtt
from answers import said
from held_broker import GUARD
from loops import on_every_loop, run

if TYPE_CHECKING:
    from rmqtt._hooks import Answer

SERVER_UNAVAILABLE = rmqtt.ReasonCode.SERVER_UNAVAILABLE
BAD = rmqtt.ReasonCode.BAD_USER_NAME_OR_PASSWORD


async def login(broker: rmqtt.Broker, username: str | None = "alice", **options: Any) -> str | None:
    """Connect and leave again; the user that the broker took it for."""
    options = {"client_id": "id", "password": "secret", **options}
    async with rmqtt.Client(broker.url, username=username, reconnect=None, **options):
        return broker.clients[options["client_id"]].user


async def refusal(broker: rmqtt.Broker, username: str | None = "alice", **options: Any) -> object:
    with pytest.raises(rmqtt.ConnectRefused) as refused:
        await login(broker, username, **options)
    return refused.value.reason_code


@on_every_loop
@pytest.mark.parametrize("is_async", [False, True])
async def test_a_callable_says_who_it_is(*, is_async: bool) -> None:
    for answer, user in [(True, "alice"), ("carol", "carol")]:
        async with rmqtt.Broker("mqtt://127.0.0.1:0", auth=said(answer, is_async=is_async)) as broker:
            assert await login(broker) == user
            assert await login(broker, version="3.1.1") == user
    for no in (False, None):
        async with rmqtt.Broker("mqtt://127.0.0.1:0", auth=said(no, is_async=is_async)) as broker:
            assert await refusal(broker) is BAD
            assert broker.stats().logins_failed == 1


@pytest.mark.parametrize("is_async", [False, True])
def test_no_event_loop_is_needed(*, is_async: bool) -> None:
    broker = rmqtt.Broker("mqtt://127.0.0.1:0", auth=said(answer=True, is_async=is_async))
    for _ in range(2):
        with broker:
            assert run(login(broker)) == "alice"
            with broker.fork() as twin:
                assert run(login(twin)) == "alice"
            assert run(login(broker)) == "alice"
    with broker.fork() as twin:
        assert run(login(twin)) == "alice"


async def test_it_is_told_all_that_is_known_and_shows_no_password() -> None:
    asked: list[rmqtt.Login] = []

    def check(login: rmqtt.Login) -> bool:
        asked.append(login)
        return True

    async with rmqtt.Broker("mqtt://127.0.0.1:0", auth=check) as broker:
        await login(broker, password=b"sec\xffret")
        async with broker.client():
            pass
    first, second = asked
    assert (first.client_id, first.username, first.password) == ("id", "alice", b"sec\xffret")
    assert first.peer_address is not None
    assert first.peer_address.startswith("127.0.0.1:")
    assert (second.username, second.password, second.peer_address) == (None, None, None)
    assert "sec" not in repr(first) + str(first)
    for pickles in (pickle.dumps, copy.copy):
        with pytest.raises(TypeError, match="not pickled"):
            pickles(first)


async def test_an_async_one_runs_in_the_loop_that_started_the_broker_and_in_the_context_of_its_making() -> None:
    place = contextvars.ContextVar("place", default="nowhere")
    seen: list[object] = []

    async def check(_: rmqtt.Login) -> bool:
        await asyncio.sleep(0)
        seen.extend((asyncio.get_running_loop(), place.get()))
        return True

    place.set("where it was made")
    broker = rmqtt.Broker("mqtt://127.0.0.1:0", auth=check)
    place.set("elsewhere")
    async with broker:
        await login(broker)
    assert seen == [asyncio.get_running_loop(), "where it was made"]


@pytest.mark.parametrize("is_async", [False, True])
async def test_what_it_raises_lets_nobody_in_and_is_logged_once_and_counted(
    caplog: pytest.LogCaptureFixture, *, is_async: bool
) -> None:
    def check(_: rmqtt.Login) -> bool:
        raise LookupError("the directory is away")

    async def check_later(login: rmqtt.Login) -> bool:
        return check(login)

    hook = check_later if is_async else check
    with caplog.at_level(logging.ERROR, "rmqtt.broker"):
        async with rmqtt.Broker("mqtt://127.0.0.1:0", auth=hook) as broker:
            for _ in range(3):
                assert await refusal(broker) is SERVER_UNAVAILABLE
            stats = broker.stats()
    assert (stats.hooks_failed, stats.logins_failed, stats.sessions) == (3, 0, 0)
    assert [record.name for record in caplog.records] == ["rmqtt.broker"]
    assert "the directory is away" in caplog.text
    assert "secret" not in caplog.text


@pytest.mark.parametrize("answer", [1, 0, b"alice", "", "al\x07ice", "al\0ice", object()])
async def test_an_answer_that_is_none_lets_nobody_in(answer: Any) -> None:
    async with rmqtt.Broker("mqtt://127.0.0.1:0", auth=said(answer, is_async=False)) as broker:
        assert await refusal(broker) is SERVER_UNAVAILABLE
        assert broker.stats().hooks_failed == 1


async def test_one_that_takes_too_long_lets_nobody_in() -> None:
    cancelled = asyncio.Event()
    free = threading.Event()

    async def check_later(_: rmqtt.Login) -> bool:
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()
        return True

    def check(_: rmqtt.Login) -> bool:
        return free.wait(GUARD)

    limits = rmqtt.AuthLimits(hook_timeout=0.05)
    for hook in (check_later, check):
        async with rmqtt.Broker("mqtt://127.0.0.1:0", auth=hook, auth_limits=limits) as broker:
            assert await refusal(broker) is SERVER_UNAVAILABLE
            assert broker.stats().hooks_failed == 1
    await cancelled.wait()
    free.set()


async def test_one_that_takes_its_time_holds_nobody_up() -> None:
    asked, goes_on = asyncio.Event(), asyncio.Event()

    async def check(login: rmqtt.Login) -> bool:
        if login.username == "slow":
            asked.set()
            await goes_on.wait()
        return True

    limits = rmqtt.AuthLimits(hook_timeout=GUARD)
    async with rmqtt.Broker("mqtt://127.0.0.1:0", auth=check, auth_limits=limits) as broker:
        slow = asyncio.ensure_future(login(broker, "slow", client_id="slow"))
        await asked.wait()
        assert await login(broker, client_id="quick") == "alice"
        assert not slow.done()
        goes_on.set()
        assert await slow == "slow"


async def test_a_slow_one_stalls_neither_who_is_connected_nor_the_loop() -> None:
    free = threading.Event()

    def check(login: rmqtt.Login) -> bool:
        return login.username != "slow" or free.wait(GUARD)

    async with (
        rmqtt.Broker("mqtt://127.0.0.1:0", auth=check) as broker,
        rmqtt.Client(broker.url, username="alice", client_id="a") as client,
    ):
        slow = [asyncio.ensure_future(login(broker, "slow", client_id=f"s{number}")) for number in range(5)]
        for _ in range(20):
            await client.publish("t", b"x", qos=1)
        assert await login(broker, "bob", client_id="b") == "bob"
        free.set()
        assert await asyncio.gather(*slow) == ["slow"] * 5


async def test_one_that_does_not_know_leaves_it_to_the_next() -> None:
    def check(login: rmqtt.Login) -> bool | None:
        return None if login.username == "alice" else login.username == "bob"

    async with rmqtt.Broker("mqtt://127.0.0.1:0", auth=[check, {"alice": "secret", "carol": "secret"}]) as broker:
        assert await login(broker) == "alice"
        assert await login(broker, "bob") == "bob"
        assert await refusal(broker, "carol") is BAD


async def test_a_session_of_a_named_user_is_not_that_of_an_anonymous_one_nor_the_reverse() -> None:
    def check(login: rmqtt.Login) -> Answer:
        return True

    keeps: dict[str, Any] = {"clean_start": False, "session_expiry": 60}
    async with rmqtt.Broker("mqtt://127.0.0.1:0", auth=check) as broker:
        assert await login(broker, "alice", client_id="hers", **keeps) == "alice"
        assert await login(broker, None, client_id="nobodys", password=None, **keeps) is None
        not_authorized = rmqtt.ReasonCode.NOT_AUTHORIZED
        assert await refusal(broker, None, client_id="hers", password=None) is not_authorized
        assert await refusal(broker, "alice", client_id="nobodys") is not_authorized
        assert await refusal(broker, "bob", client_id="hers") is not_authorized


def test_its_threads_end_with_the_broker() -> None:
    def threads() -> list[threading.Thread]:
        return [thread for thread in threading.enumerate() if thread.name.startswith("rmqtt-auth")]

    async def check(_: rmqtt.Login) -> bool:
        return True

    def rest() -> list[threading.Thread]:
        for thread in threads():
            thread.join(GUARD)
        return threads()

    broker = rmqtt.Broker("mqtt://127.0.0.1:0", auth=check)
    assert rest() == [], "those of other tests are gone, and none is there yet"
    with broker:
        run(login(broker))
        assert threads()
    assert rest() == []
    broker.start()
    run(login(broker))
    gone = weakref.ref(broker)
    held = [broker]
    del broker
    with pytest.warns(ResourceWarning, match="not stopped"):
        held.clear()
    gc.collect()
    assert gone() is None
    assert rest() == []


async def test_a_loop_that_is_gone_lets_nobody_in() -> None:
    async def check(_: rmqtt.Login) -> bool:
        return True

    broker = rmqtt.Broker("mqtt://127.0.0.1:0", auth=check)

    def elsewhere() -> None:
        asyncio.run(broker.__aenter__())

    await asyncio.to_thread(elsewhere)
    try:
        assert await refusal(broker) is SERVER_UNAVAILABLE
    finally:
        broker.stop()
