"""Foreign clients against our broker, in both versions: with our client at the other end, both ways."""

from __future__ import annotations

import pytest

from interop import scenarios
from interop.javascript import MqttJs
from interop.peers import FOREIGN, Ours, Peer, QoS, Version
from interop.scenarios import Stage

pytestmark = [
    pytest.mark.interop,
    pytest.mark.filterwarnings("ignore::ResourceWarning"),  # paho leaves its socket pairs to the garbage collector
    pytest.mark.parametrize("version", ["5.0", "3.1.1"]),
    pytest.mark.parametrize("foreign", [*FOREIGN.values(), MqttJs], ids=[*FOREIGN, "mqttjs"]),
]


@pytest.mark.spec("MQTT-7.0.0-2", version=4, side="server")
@pytest.mark.parametrize("qos", [0, 1, 2])
async def test_what_they_publish_arrives_in_order(
    our_port: int, foreign: type[Peer], version: Version, qos: QoS
) -> None:
    async with Stage(our_port, version) as stage:
        await scenarios.messages_arrive_in_order(stage, foreign, Ours, qos)


@pytest.mark.parametrize("qos", [0, 1, 2])
async def test_what_we_publish_arrives_in_order(our_port: int, foreign: type[Peer], version: Version, qos: QoS) -> None:
    async with Stage(our_port, version) as stage:
        await scenarios.messages_arrive_in_order(stage, Ours, foreign, qos)


async def test_what_they_retain_is_kept_and_cleared(our_port: int, foreign: type[Peer], version: Version) -> None:
    async with Stage(our_port, version) as stage:
        await scenarios.retained_messages_are_kept_and_cleared(stage, foreign, Ours)


async def test_what_we_retain_is_kept_and_cleared(our_port: int, foreign: type[Peer], version: Version) -> None:
    async with Stage(our_port, version) as stage:
        await scenarios.retained_messages_are_kept_and_cleared(stage, Ours, foreign)


async def test_their_will_is_published_when_they_die(our_port: int, foreign: type[Peer], version: Version) -> None:
    async with Stage(our_port, version) as stage:
        await scenarios.a_will_is_published_for_the_dead_only(stage, foreign, Ours)


async def test_they_see_our_will_when_we_die(our_port: int, foreign: type[Peer], version: Version) -> None:
    async with Stage(our_port, version) as stage:
        await scenarios.a_will_is_published_for_the_dead_only(stage, Ours, foreign)


@pytest.mark.parametrize("qos", [1, 2])
async def test_their_persistent_session_keeps_messages(
    our_port: int, foreign: type[Peer], version: Version, qos: QoS
) -> None:
    async with Stage(our_port, version) as stage:
        await scenarios.a_persistent_session_keeps_what_came_meanwhile(stage, foreign, Ours, qos)
