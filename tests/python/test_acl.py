"""Rights: what clients of a broker may do, as Python says it and as a file of Mosquitto's does."""

from __future__ import annotations

import pickle
from typing import TYPE_CHECKING, Any

import pytest
import rmqtt

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

USERS = {"alice": "secret", "operator": "secret"}
ACL = rmqtt.Acl(
    publish=["devices/%u/#"],
    read=["devices/%u/#", "news/#"],
    deny=["news/internal/#"],
    users={"operator": rmqtt.Acl(publish=["#"], read=["#"])},
    clients={"kiosk": rmqtt.Acl(publish=["kiosk"])},
)


def guarded(**options: Any) -> rmqtt.Broker:
    return rmqtt.Broker("mqtt://127.0.0.1:0", auth=USERS, **{"acl": ACL, **options})


def user(broker: rmqtt.Broker, name: str, **options: Any) -> rmqtt.Client:
    return broker.client(username=name, password="secret", reconnect=None, **options)


async def test_a_client_may_do_what_the_rules_say_and_is_told_where_they_do_not() -> None:
    with guarded() as broker:
        async with user(broker, "alice") as alice, user(broker, "operator") as operator:
            async with alice.subscribe("news/#", "devices/#", qos=1) as news:
                await operator.publish("news/a", b"1", qos=1)
                await operator.publish("devices/bob/t", b"2", qos=1)
                await alice.publish("devices/alice/t", b"3", qos=1)
                assert [(await news.get(10)).payload for _ in range(2)] == [b"1", b"3"]
            with pytest.raises(rmqtt.PublishRefused) as refused:
                await alice.publish("devices/bob/t", b"x", qos=1)
            assert refused.value.reason_code == rmqtt.ReasonCode.NOT_AUTHORIZED
            with pytest.raises(rmqtt.SubscribeRefused):
                await alice.subscribe("news/internal/#")
            with pytest.raises(rmqtt.PublishRefused):
                await operator.publish("news/internal/a", b"denied for all", qos=1)
        stats = broker.stats()
        assert (stats.publishes_denied, stats.subscriptions_denied, stats.deliveries_denied) == (2, 1, 1)


async def test_rules_are_for_clients_by_their_ids_too() -> None:
    with guarded() as broker:
        async with user(broker, "alice", client_id="kiosk") as kiosk:
            await kiosk.publish("kiosk", b"1", qos=1)
        async with user(broker, "alice", client_id="other") as other:
            with pytest.raises(rmqtt.PublishRefused):
                await other.publish("kiosk", b"1", qos=1)


async def test_a_will_without_the_right_to_it_is_refused_at_once() -> None:
    with guarded() as broker:
        client = user(broker, "alice", will=rmqtt.Will(topic="news/a"))
        with pytest.raises(rmqtt.ConnectRefused) as refused:
            async with client:
                pass
        assert refused.value.reason_code == rmqtt.ReasonCode.NOT_AUTHORIZED


async def test_new_rules_hold_at_once_for_those_who_are_connected() -> None:
    with guarded(ledger=True) as broker:
        async with (
            user(broker, "alice") as alice,
            user(broker, "operator") as operator,
            alice.subscribe("news/#", qos=1) as news,
        ):
            broker.acl = rmqtt.Acl(users={"operator": rmqtt.Acl(publish=["#"], read=["#"])})
            await operator.publish("news/a", b"denied", qos=1)
            broker.acl = ACL
            await operator.publish("news/a", b"allowed", qos=1)
            assert (await news.get(10)).payload == b"allowed"
        broker.ledger.assert_balanced()
        assert broker.ledger.counts["denied"] == 1
        assert [entry.reason for entry in broker.ledger.entries() if entry.outcome == "denied"] == [
            "no right to read it"
        ]


async def test_an_explanation_names_the_rule() -> None:
    with guarded() as broker:
        async with user(broker, "operator", client_id="desk") as desk, desk.subscribe("#"):
            explained = broker.explain_delivery("news/internal/a", "desk")
            assert not explained
            assert "denied by rule 'deny news/internal/#'" in str(explained)
            assert broker.explain_delivery("news/a", "desk")
        async with user(broker, "alice", client_id="hers") as hers, hers.subscribe("#"):
            assert "denied: no rule lets it read that" in str(broker.explain_delivery("other", "hers"))


@pytest.mark.mqtt(acl=rmqtt.Acl(read=["a"], publish=["a"]))
async def test_the_fixtures_take_rules(mqtt_client: rmqtt.Client, mqtt_broker: rmqtt.Broker) -> None:
    async with mqtt_client as client:
        await client.publish("a", b"1", qos=1)
        with pytest.raises(rmqtt.PublishRefused):
            await client.publish("b", b"1", qos=1)
    assert mqtt_broker.stats().publishes_denied == 1


async def test_a_twin_has_the_same_rules() -> None:
    with guarded() as broker, broker.fork() as twin:
        async with user(twin, "alice") as alice:
            with pytest.raises(rmqtt.PublishRefused):
                await alice.publish("news/a", b"1", qos=1)


async def test_a_filter_has_to_be_within_those_that_are_named() -> None:
    acl = rmqtt.Acl(read=["#"], subscribe=["news/#"])
    with rmqtt.Broker("mem://filters", acl=acl) as broker:
        async with broker.client(reconnect=None) as client:
            await client.subscribe("news/+/a")
            with pytest.raises(rmqtt.SubscribeRefused):
                await client.subscribe("#")
        broker.acl = rmqtt.Acl(read=["#"], subscribe=[])
        async with broker.client(reconnect=None) as client:
            with pytest.raises(rmqtt.SubscribeRefused):
                await client.subscribe("news/a")


# ---- files ---------------------------------------------------------------------------------------

FILE = """\
topic read public/#

user alice
topic readwrite hers/#
topic deny hers/secret
"""


@pytest.mark.parametrize("form", [lambda path: path, str, rmqtt.AclFile], ids=["path", "text", "AclFile"])
async def test_a_file_is_read_and_read_again(tmp_path: Path, form: Callable[[Path], Any]) -> None:
    path = tmp_path / "acl.conf"
    path.write_text(FILE)
    with guarded(acl=form(path)) as broker:
        async with user(broker, "alice") as alice:
            await alice.publish("hers/a", b"1", qos=1)
            with pytest.raises(rmqtt.PublishRefused):
                await alice.publish("hers/secret", b"1", qos=1)
            path.write_text("user alice\ntopic hers/secret\n")
            broker.reload()
            await alice.publish("hers/secret", b"1", qos=1)
            with pytest.raises(rmqtt.PublishRefused):
                await alice.publish("hers/a", b"1", qos=1)


async def test_a_file_with_a_typo_changes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "acl.conf"
    path.write_text(FILE)
    with guarded(acl=path) as broker:
        path.write_text(FILE + "topic raedwrite all\n")
        with pytest.raises(ValueError, match=r"acl\.conf: line 6: .*raedwrite"):
            broker.reload()
        path.unlink()
        with pytest.raises(FileNotFoundError):
            broker.reload()
        async with user(broker, "alice") as alice:
            await alice.publish("hers/a", b"1", qos=1)


async def test_an_empty_file_allows_nothing(tmp_path: Path) -> None:
    path = tmp_path / "acl.conf"
    path.write_text("")
    with rmqtt.Broker("mem://empty", acl=path) as broker:
        async with broker.client(reconnect=None) as client:
            with pytest.raises(rmqtt.PublishRefused):
                await client.publish("a", b"1", qos=1)


# ---- misuse --------------------------------------------------------------------------------------


def test_a_broker_with_a_typo_in_its_file_is_not_made(tmp_path: Path) -> None:
    path = tmp_path / "acl.conf"
    path.write_text("topic a\ntopcis b\n")
    with pytest.raises(ValueError, match="line 2"):
        rmqtt.Broker(acl=path)
    with pytest.raises(FileNotFoundError):
        rmqtt.Broker(acl=tmp_path / "other.conf")


def test_a_pattern_that_is_no_filter_is_refused() -> None:
    with pytest.raises(rmqtt.TopicError):
        rmqtt.Broker(acl=rmqtt.Acl(read=["a/#/b"]))


@pytest.mark.parametrize("wrong", ["a/#", 7, {"a"}])
def test_patterns_are_a_list(wrong: Any) -> None:
    with pytest.raises(TypeError, match=r"acl\.read must be a list"):
        rmqtt.Acl(read=wrong)


def test_who_is_named_has_rules_of_its_own() -> None:
    with pytest.raises(TypeError, match=r"acl\.users"):
        rmqtt.Acl(users={"alice": ["a"]})  # type: ignore[dict-item]
    with pytest.raises(ValueError, match=r"acl\.clients"):
        rmqtt.Acl(clients={"a": rmqtt.Acl(users={"b": rmqtt.Acl()})})


def test_rules_for_users_need_users() -> None:
    broker = rmqtt.Broker("mem://no-users", acl=ACL)
    with pytest.raises(ValueError, match="auth"):
        broker.start()


def test_something_else_is_no_acl() -> None:
    with pytest.raises(TypeError, match="acl must be an Acl"):
        rmqtt.Broker(acl=7)  # type: ignore[arg-type]


def test_rules_can_be_pickled() -> None:
    assert pickle.loads(pickle.dumps(ACL)) == ACL
