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
