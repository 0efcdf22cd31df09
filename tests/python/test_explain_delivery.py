"""Why a client would get a message, and why not."""

from __future__ import annotations

import pytest
import rmqtt
from raw_peer import RawPeer


def absent(broker: rmqtt.Broker, client_id: str, *filters: str) -> None:
    with RawPeer.connected(broker.port, client_id) as peer:
        if filters:
            peer.subscribe(*filters)
        peer.leave()


def test_who_is_there_and_subscribed_gets_it_with_the_lower_qos(broker: rmqtt.Broker) -> None:
    with RawPeer.connected(broker.port, "valve") as valve:
        valve.subscribe("a/#", qos=0)
        valve.subscribe("a/+", qos=1)
        valve.subscribe("b", qos=2)
        why = broker.explain_delivery("a/1", "valve", qos=2)
        assert why
        assert (why.outcome, why.qos, why.matching) == ("delivered", 1, {"a/#": 0, "a/+": 1})
        assert str(why).splitlines() == [
            "a message to 'a/1' is delivered to 'valve' with QoS 1",
            "  matches 'a/#', granted QoS 0",
            "  matches 'a/+', granted QoS 1",
            "  with QoS 1 instead of 2, the highest that was granted",
        ]
        assert broker.publish_now("a/1", b"", qos=2) == 1
        assert valve.hear(rmqtt.Publish).qos == why.qos


def test_who_has_no_session_gets_nothing_and_the_nearest_names_are_told(broker: rmqtt.Broker) -> None:
    absent(broker, "valve-7")
    why = broker.explain_delivery("a", "valve-1")
    assert not why
    assert (why.outcome, why.qos, why.nearest) == ("no", None, ("valve-7",))
    assert "no session of 'valve-1'" in str(why)


def test_who_subscribed_to_something_else_is_told_what_comes_nearest(broker: rmqtt.Broker) -> None:
    absent(broker, "valve", "plant/7/temp", "far/away")
    why = broker.explain_delivery("plant/7/temperature", "valve")
    assert why.nearest[0] == "plant/7/temp"
    assert why.reasons == ("none of its filters matches",)
    absent(broker, "deaf")
    assert broker.explain_delivery("a", "deaf").reasons == ("the client has subscribed to nothing",)


def test_wildcards_do_not_match_the_first_dollar(broker: rmqtt.Broker) -> None:
    absent(broker, "valve", "#")
    assert "begin with $" in str(broker.explain_delivery("$SYS/x", "valve"))


def test_who_is_absent_gets_qos_1_later_and_qos_0_never() -> None:
    with rmqtt.Broker("mqtt://127.0.0.1:0", limits=rmqtt.Limits(queue_messages_max=1)) as broker:
        absent(broker, "valve", "a")
        assert broker.explain_delivery("a", "valve", qos=1).outcome == "queued"
        assert "QoS 0 are not kept" in str(broker.explain_delivery("a", "valve"))
        broker.publish_now("a", b"", qos=1)
        assert "its queue is full: 1 messages wait" in str(broker.explain_delivery("a", "valve", qos=1))


def test_a_member_of_a_group_may_get_it(broker: rmqtt.Broker) -> None:
    absent(broker, "worker", "$share/g/jobs")
    why = broker.explain_delivery("jobs", "worker", qos=1)
    assert (why.outcome, why.matching, why.shared) == ("maybe", {}, {"$share/g/jobs": 2})
    assert "or another member of its group" in str(why)


def test_no_local_keeps_from_a_client_what_it_publishes_itself(broker: rmqtt.Broker) -> None:
    with RawPeer.connected(broker.port, "valve") as valve:
        filters = [rmqtt.SubscribeFilter(filter="a", qos=1, no_local=True)]
        valve.say(rmqtt.Subscribe(packet_id=1, filters=filters))
        valve.hear(rmqtt.SubAck)
        assert broker.explain_delivery("a", "valve", qos=1).outcome == "delivered"
        assert "No Local" in str(broker.explain_delivery("a", "valve", publisher="valve"))


def test_what_the_broker_does_without_is_told() -> None:
    features = rmqtt.Features(maximum_qos=0, wildcard_subscriptions=False)
    with rmqtt.Broker("mqtt://127.0.0.1:0", features=features) as broker:
        absent(broker, "valve", "a")
        assert "grants no wildcards" in str(broker.explain_delivery("b", "valve"))
        with RawPeer.connected(broker.port, "valve"):
            why = broker.explain_delivery("a", "valve", qos=2)
            assert why.qos == 0
        with pytest.raises(rmqtt.TopicError):
            broker.explain_delivery("a/#", "valve")
