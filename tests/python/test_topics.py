"""Topic templates and matchers: what is named in a topic, and what is found by it."""

from __future__ import annotations

import pickle
import random
from typing import Any

import pytest
import rmqtt
from loops import until

#: Far more than anything takes.
GUARD = 20.0


@pytest.mark.parametrize(
    ("template", "filter_", "topic", "params"),
    [
        ("plant/{site}/{sensor}", "plant/+/+", "plant/7/heat", {"site": "7", "sensor": "heat"}),
        ("{a}", "+", "x", {"a": "x"}),
        ("{a}/+/{b}/#", "+/+/+/#", "1/2/3/4/5", {"a": "1", "b": "3"}),
        ("{a}/{b}", "+/+", "/", {"a": "", "b": ""}),
        ("$share/g/plant/{site}", "$share/g/plant/+", "plant/7", {"site": "7"}),
        ("{{a}}/{b}", "{a}/+", "{a}/x", {"b": "x"}),
        ("{2}/x{y}/{a b}/{}", "{2}/x{y}/{a b}/{}", "{2}/x{y}/{a b}/{}", {}),
        ("{a}", "+", "$SYS", None),
        ("{a}/b", "+/b", "a/c", None),
    ],
)
def test_a_template_is_a_filter_and_names_what_stands_in_a_topic(
    template: str, filter_: str, topic: str, params: dict[str, str] | None
) -> None:
    found = rmqtt.TopicTemplate(template)
    assert found.filter == filter_
    assert found.match(topic) == params
    if params is not None:
        assert found.names == tuple(params)
    assert pickle.loads(pickle.dumps(found)) == found
    assert str(found) == template


@pytest.mark.parametrize("template", ["", "{a}/{a}", "{a}/#/b", "a{b}+", "$share/{g}", "x" * 65_536])
def test_what_is_no_template_is_refused(template: str) -> None:
    with pytest.raises(rmqtt.TopicError):
        rmqtt.TopicTemplate(template)


@pytest.mark.parametrize("topic", ["", "a/+", "a/#", "\0"])
def test_what_is_no_topic_matches_nothing_and_is_an_error(topic: str) -> None:
    with pytest.raises(rmqtt.TopicError):
        rmqtt.TopicTemplate("{a}").match(topic)
    with pytest.raises(rmqtt.TopicError):
        list(rmqtt.TopicMatcher[int]().match(topic))


@pytest.mark.parametrize("version", ["5.0", "3.1.1"])
async def test_messages_of_a_template_have_params(broker: rmqtt.Broker, version: Any) -> None:
    async with (
        rmqtt.Client(broker.url, version=version) as client,
        client.subscribe("plant/{site}/{sensor}", "log/{level}", "plain", qos=1) as messages,
        client.subscribe("plant/#") as others,
    ):
        assert messages.filters == ("plant/{site}/{sensor}", "log/{level}", "plain")
        assert set(messages.granted) == {"plant/+/+", "log/+", "plain"}
        for topic in ("plant/7/heat", "log/debug", "plain", "plant/8/" + "long" * 200):
            await client.publish(topic, qos=1)
        await until(lambda: messages.pending == 4)
        latest = messages.latest()
        assert latest is not None
        found = [dict((await messages.get(GUARD)).params) for _ in range(4)]
        assert found[:3] == [{"site": "7", "sensor": "heat"}, {"level": "debug"}, {}]
        assert found[3] == dict(latest.params) == {"site": "8", "sensor": "long" * 200}
        other = await others.get(GUARD)
        assert other.params == {}
        with pytest.raises(TypeError):
            other.params["a"] = "b"  # type: ignore[index]


def test_a_matcher_finds_what_a_naive_look_finds() -> None:
    dice = random.Random(7)
    words = ["a", "b", "", "$x"]

    def text(*more: str) -> str:
        return "/".join(dice.choice([*words, *more]) for _ in range(dice.randint(1, 4))) or "a"

    for _ in range(300):
        matcher: rmqtt.TopicMatcher[int] = rmqtt.TopicMatcher()
        naive: dict[str, int] = {}
        for n in range(30):
            filter_ = text("+") + dice.choice(["", "/#"])
            if dice.random() < 0.2 and filter_ in naive:
                del matcher[filter_], naive[filter_]
            else:
                matcher[filter_] = naive[filter_] = n
        assert matcher == naive
        assert len(matcher) == len(naive)
        for _ in range(10):
            topic = text()
            wanted = sorted(value for filter_, value in naive.items() if rmqtt.topic_matches(filter_, topic))
            assert sorted(matcher.match(topic)) == wanted
        matcher.clear()
        assert (len(matcher), list(matcher.match("a"))) == (0, [])


def test_a_matcher_is_a_mapping_of_filters_alone() -> None:
    matcher: rmqtt.TopicMatcher[int] = rmqtt.TopicMatcher()
    for missing in ("a", "a/b"):
        with pytest.raises(KeyError):
            matcher[missing]
        with pytest.raises(KeyError):
            del matcher[missing]
    with pytest.raises(rmqtt.TopicError):
        matcher["a/#/b"] = 1
    matcher["a/b"] = 1
    with pytest.raises(KeyError):
        del matcher["a"]


async def test_a_payload_is_an_array_in_place(broker: rmqtt.Broker) -> None:
    np: Any = pytest.importorskip("numpy")
    async with rmqtt.Client(broker.url) as client, client.subscribe("a") as messages:
        await client.publish("a", np.arange(3, dtype="<f4"))
        message = await messages.get(GUARD)
    array = message.numpy("<f4")
    assert array.tolist() == [0.0, 1.0, 2.0] == np.frombuffer(message, "<f4").tolist()
    assert not array.flags.writeable
    assert not array.flags.owndata
    assert message.numpy().tolist() == list(message.payload)
    assert message.numpy(np.dtype([("x", "<u2"), ("y", "<u2")])).shape == (3,)
    with pytest.raises(ValueError, match="buffer size"):
        message.numpy("<f8")
