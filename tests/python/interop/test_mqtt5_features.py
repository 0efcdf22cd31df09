"""The features of MQTT 5: foreign clients at our broker, our client at mosquitto."""

from __future__ import annotations

import pytest
import rmqtt

from interop.features import FEATURES, Feature, Stage
from interop.foreign_talkers import FOREIGN, PahoTalker
from interop.talkers import OurTalker, Talker

pytestmark = [
    pytest.mark.interop,
    pytest.mark.filterwarnings("ignore::ResourceWarning"),  # paho leaves its socket pairs to the garbage collector
]

AT_OURS = [
    pytest.param(feature, kind, id=f"{feature.name}-{name}")
    for feature in FEATURES
    for name, kind in {**FOREIGN, "ours": OurTalker}.items()
    if feature.is_for(kind)
]
AT_MOSQUITTO = [
    pytest.param(feature, other, id=f"{feature.name}-{name}")
    for feature in FEATURES
    if feature.broker is None and feature.is_for(OurTalker)
    for name, other in {"ours": OurTalker, "paho": PahoTalker}.items()
]


@pytest.mark.parametrize(("feature", "kind"), AT_OURS)
async def test_at_our_broker(feature: Feature, kind: type[Talker]) -> None:
    with rmqtt.Broker("mqtt://127.0.0.1:0", **(feature.broker or {})) as broker:
        async with Stage(broker.port, broker) as stage:
            await feature.scenario(stage, kind, OurTalker)


@pytest.mark.parametrize(("feature", "other"), AT_MOSQUITTO)
async def test_our_client_at_mosquitto(feature: Feature, other: type[Talker], mosquitto_port: int) -> None:
    async with Stage(mosquitto_port) as stage:
        await feature.scenario(stage, OurTalker, other)
