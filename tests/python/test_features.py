"""What a broker may do without, and what it says of itself."""

from __future__ import annotations

import pickle
from typing import TYPE_CHECKING

import pytest
import rmqtt

if TYPE_CHECKING:
    from collections.abc import Callable


def test_features_are_values() -> None:
    features = rmqtt.Features(maximum_qos=1, retain=False)
    assert pickle.loads(pickle.dumps(features)) == features
    assert features != rmqtt.Features()
    with pytest.raises(AttributeError):
        features.retain = True  # type: ignore[misc]


async def test_what_a_broker_does_without_is_told_and_refused() -> None:
    features = rmqtt.Features(
        maximum_qos=1,
        retain=False,
        wildcard_subscriptions=False,
        subscription_identifiers=False,
        shared_subscriptions=False,
    )
    async with rmqtt.Broker("mqtt://127.0.0.1:0", features=features) as broker:
        async with broker.client() as client:
            negotiated = client.negotiated
            assert negotiated.maximum_qos == 1
            assert not negotiated.retain_available
            assert not negotiated.wildcard_subscription_available
            assert not negotiated.subscription_identifiers_available
            assert not negotiated.shared_subscription_available
            async with client.subscribe("a", qos=2) as messages:
                assert messages.granted == {"a": 1}
                await broker.publish("a", "x", qos=2)
                assert (await messages.get(timeout=10)).qos == 1
        with pytest.raises(rmqtt.BrokerError, match="retains no messages"):
            await broker.publish("a", "x", retain=True)


@pytest.mark.parametrize(
    ("make", "advice"),
    [
        (lambda: rmqtt.Broker(features=rmqtt.Features(maximum_qos=3)), "features.maximum_qos"),  # type: ignore[arg-type]
        (lambda: rmqtt.Broker(response_information="\0").start(), "response_information"),
        (lambda: rmqtt.Broker(response_information="x" * 65_536).start(), "response_information"),
    ],
)
def test_what_makes_no_sense_is_refused(make: Callable[[], object], advice: str) -> None:
    with pytest.raises(ValueError, match=advice):
        make()


async def test_a_client_is_sent_to_another_server() -> None:
    async with rmqtt.Broker("mqtt://127.0.0.1:0") as broker, rmqtt.Client(broker.url, reconnect=None) as client:
        name = client.negotiated.client_id
        for reason, reference in ((0x98, "host:1883"), (0x04, None), (0x10, None), (0x01, None), (0x9C, "")):
            with pytest.raises(ValueError, match=r"reason|reference"):
                await broker.disconnect(name, reason, reference)
        assert await broker.disconnect(name, 0x9D, "host:1883")
        with pytest.raises(rmqtt.ConnectionLost) as lost:
            await client.publish("a", "x", qos=1)
        assert lost.value.reason_code == 0x9D


@pytest.mark.parametrize(("permanent", "reason"), [(False, 0x9C), (True, 0x9D)])
async def test_who_comes_is_sent_to_another_server(permanent: bool, reason: int) -> None:
    async with rmqtt.Broker("mqtt://127.0.0.1:0") as broker:
        broker.redirect("host:1883", permanent=permanent)
        new, old = (rmqtt.Client(broker.url, version=version, reconnect=None) for version in ("5.0", "3.1.1"))
        with pytest.raises(rmqtt.ConnectRefused) as refused:
            await new.connect()
        assert (refused.value.reason_code, refused.value.server_reference) == (reason, "host:1883")
        with pytest.raises(rmqtt.ConnectRefused) as refused:
            await old.connect()
        assert refused.value.reason_code == rmqtt.ReasonCode.SERVER_UNAVAILABLE
        broker.redirect(None)
        async with rmqtt.Client(broker.url):
            pass


@pytest.mark.parametrize("reference", ["", "a\0b", "x" * 65_536])
def test_a_reference_to_no_server_is_refused(reference: str) -> None:
    with pytest.raises(ValueError, match="reference"):
        rmqtt.Broker().redirect(reference)
