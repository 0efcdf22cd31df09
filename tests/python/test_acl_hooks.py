"""`Broker(acl=rights)`: a callable says what a client may do."""

from __future__ import annotations

import asyncio
import logging
import threading
from typing import TYPE_CHECKING, Any

import pytest
import rmqtt
from answers import said
from held_broker import GUARD
from loops import on_every_loop, run

if TYPE_CHECKING:
    pass

RULES = rmqtt.Acl(publish=["devices/%c/#"], read=["devices/%u/#"])
USERS = {"alice": "secret", "bob": "secret"}


def guarded(acl: Any, **options: Any) -> rmqtt.Broker:
    return rmqtt.Broker("mqtt://127.0.0.1:0", acl=acl, **{"auth": USERS, **options})


def user(broker: rmqtt.Broker, name: str = "alice", **options: Any) -> rmqtt.Client:
    return rmqtt.Client(broker.url, username=name, password="secret", reconnect=None, **{"client_id": "id", **options})


async def refusal(broker: rmqtt.Broker) -> object:
    with pytest.raises(rmqtt.ConnectRefused) as refused:
        async with user(broker):
            pass
    return refused.value.reason_code


async def may_publish(client: rmqtt.Client, topic: str) -> bool:
    try:
        await client.publish(topic, b"x", qos=1)
    except rmqtt.PublishRefused:
        return False
    return True


@on_every_loop
@pytest.mark.parametrize("is_async", [False, True])
async def test_a_callable_answers_with_rules_for_one_client(*, is_async: bool) -> None:
    async with guarded(said(RULES, is_async=is_async)) as broker, user(broker) as alice:
        assert await may_publish(alice, "devices/id/a")
        assert not await may_publish(alice, "devices/alice/a")
        async with alice.subscribe("#", qos=1) as mine:
            broker.publish_now("devices/bob/a", b"1", qos=1)
            broker.publish_now("devices/alice/a", b"2", qos=1)
            assert (await mine.get(GUARD)).payload == b"2"


async def test_it_is_told_who_has_connected_and_asked_once() -> None:
    asked: list[rmqtt.ClientInfo] = []

    def rights(client: rmqtt.ClientInfo) -> rmqtt.Acl:
        asked.append(client)
        return rmqtt.Acl(publish=["#"])

    async with guarded(rights) as broker, user(broker) as alice:
        for _ in range(3):
            await alice.publish("a", b"x", qos=1)
        assert asked == [broker.clients["id"]]
    (client,) = asked
    assert (client.client_id, client.user) == ("id", "alice")


@pytest.mark.parametrize("is_async", [False, True])
def test_no_event_loop_is_needed(*, is_async: bool) -> None:
    async def check(broker: rmqtt.Broker) -> None:
        async with user(broker) as alice:
            assert await may_publish(alice, "devices/id/a")
            assert not await may_publish(alice, "a")

    broker = guarded(said(RULES, is_async=is_async))
    for _ in range(2):
        with broker:
            run(check(broker))
            with broker.fork() as twin:
                run(check(twin))


@pytest.mark.parametrize("is_async", [False, True])
async def test_what_it_raises_lets_nobody_in_and_is_logged_once_and_counted(
    caplog: pytest.LogCaptureFixture, *, is_async: bool
) -> None:
    def rights(_: rmqtt.ClientInfo) -> rmqtt.Acl:
        raise LookupError("the directory is away")

    async def rights_later(client: rmqtt.ClientInfo) -> rmqtt.Acl:
        return rights(client)

    hook = rights_later if is_async else rights
    with caplog.at_level(logging.ERROR, "rmqtt.broker"):
        async with guarded(hook) as broker:
            for _ in range(3):
                assert await refusal(broker) is rmqtt.ReasonCode.SERVER_UNAVAILABLE
            assert (broker.stats().hooks_failed, broker.stats().sessions) == (3, 0)
    assert "the acl hook failed" in caplog.text
    assert len(caplog.records) == 1


@pytest.mark.parametrize("answer", [None, True, [], {"publish": ["#"]}, "acl.conf", rmqtt.Acl(read=["a/#/b"])])
async def test_an_answer_that_is_none_lets_nobody_in(answer: Any) -> None:
    async with guarded(said(answer, is_async=False)) as broker:
        assert await refusal(broker) is rmqtt.ReasonCode.SERVER_UNAVAILABLE
        assert broker.stats().hooks_failed == 1


async def test_one_that_takes_too_long_lets_nobody_in() -> None:
    free = threading.Event()
    cancelled = asyncio.Event()

    def rights(_: rmqtt.ClientInfo) -> rmqtt.Acl:
        free.wait(GUARD)
        return RULES

    async def rights_later(_: rmqtt.ClientInfo) -> rmqtt.Acl:
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()
        return RULES

    for hook in (rights, rights_later):
        async with guarded(hook, auth_limits=rmqtt.AuthLimits(hook_timeout=0.05)) as broker:
            assert await refusal(broker) is rmqtt.ReasonCode.SERVER_UNAVAILABLE
            assert broker.stats().hooks_failed == 1
    free.set()
    await cancelled.wait()


@pytest.mark.parametrize("is_async", [False, True])
async def test_one_that_takes_its_time_holds_nobody_up(*, is_async: bool) -> None:
    asked, free = threading.Event(), threading.Event()
    goes_on = asyncio.Event()

    def rights(client: rmqtt.ClientInfo) -> rmqtt.Acl:
        if client.user == "alice":
            asked.set()
            free.wait(GUARD)
        return RULES

    async def rights_later(client: rmqtt.ClientInfo) -> rmqtt.Acl:
        if client.user == "alice":
            asked.set()
            await goes_on.wait()
        return RULES

    limits = rmqtt.AuthLimits(hook_timeout=GUARD)
    async with guarded(rights_later if is_async else rights, auth_limits=limits) as broker:
        slow = asyncio.ensure_future(user(broker).__aenter__())
        assert await asyncio.to_thread(asked.wait, GUARD)
        async with user(broker, "bob", client_id="quick"):
            assert not slow.done()
            free.set()
            goes_on.set()
            alice = await slow
        await alice.__aexit__(None, None, None)


async def test_on_reload_it_is_asked_again_about_who_is_connected() -> None:
    rules = {"alice": RULES, "bob": RULES}
    async with guarded(lambda client: rules[client.user]) as broker:
        async with user(broker) as alice, user(broker, "bob", client_id="other") as bob:
            rules["alice"] = rmqtt.Acl(publish=["#"])
            del rules["bob"]
            broker.reload()
            with pytest.raises(rmqtt.MqttError):
                while True:
                    await bob.publish("devices/other/a", b"x", qos=1)
            while not await may_publish(alice, "all"):
                pass
        assert broker.stats().hooks_failed == 1


async def test_rules_give_way_to_a_callable_and_the_reverse() -> None:
    async with guarded(rmqtt.Acl(publish=["a"])) as broker, user(broker) as alice:
        broker.acl = said(RULES, is_async=True)
        while not await may_publish(alice, "devices/id/a"):
            pass
        assert not await may_publish(alice, "a")
        broker.acl = rmqtt.Acl(publish=["a"])
        assert await may_publish(alice, "a")
        assert not await may_publish(alice, "devices/id/a")


def test_its_threads_end_with_the_broker_and_with_the_callable() -> None:
    def names() -> list[str]:
        return [thread.name for thread in threading.enumerate() if thread.name.startswith("rmqtt-acl")]

    def rest() -> list[str]:
        for thread in threading.enumerate():
            if thread.name.startswith("rmqtt-acl"):
                thread.join(GUARD)
        return names()

    with guarded(said(RULES, is_async=False)) as broker:
        run(use(broker))
        assert names()
        broker.acl = RULES
        assert rest() == []
    broker = guarded(said(RULES, is_async=False))
    assert names() == []
    with broker:
        assert names()
    assert rest() == []


async def use(broker: rmqtt.Broker) -> None:
    async with user(broker):
        pass
