"""Our client against Debian's mosquitto: the same list, with ourselves and with its own tools at the other end."""

from __future__ import annotations

import pytest

from interop import scenarios
from interop.peers import MosquittoTools, Ours, Peer, QoS, Version
from interop.scenarios import Stage

pytestmark = [
    pytest.mark.interop,
    pytest.mark.parametrize("version", ["5.0", "3.1.1"]),
    pytest.mark.parametrize("other", [Ours, MosquittoTools], ids=["ours", "mosquitto"]),
]


@pytest.mark.spec("MQTT-7.0.0-2", version=4, side="client")
@pytest.mark.parametrize("qos", [0, 1, 2])
async def test_what_we_publish_arrives_in_order(
    mosquitto_port: int, other: type[Peer], version: Version, qos: QoS
) -> None:
    async with Stage(mosquitto_port, version) as stage:
        await scenarios.messages_arrive_in_order(stage, Ours, other, qos)


@pytest.mark.parametrize("qos", [0, 1, 2])
async def test_what_is_published_reaches_us_in_order(
    mosquitto_port: int, other: type[Peer], version: Version, qos: QoS
) -> None:
    async with Stage(mosquitto_port, version) as stage:
        await scenarios.messages_arrive_in_order(stage, other, Ours, qos)


async def test_what_we_retain_is_kept_and_cleared(mosquitto_port: int, other: type[Peer], version: Version) -> None:
    async with Stage(mosquitto_port, version) as stage:
        await scenarios.retained_messages_are_kept_and_cleared(stage, Ours, other)


async def test_what_is_retained_reaches_us(mosquitto_port: int, other: type[Peer], version: Version) -> None:
    async with Stage(mosquitto_port, version) as stage:
        await scenarios.retained_messages_are_kept_and_cleared(stage, other, Ours)


async def test_our_will_is_published_when_we_die(mosquitto_port: int, other: type[Peer], version: Version) -> None:
    async with Stage(mosquitto_port, version) as stage:
        await scenarios.a_will_is_published_for_the_dead_only(stage, Ours, other)


@pytest.mark.parametrize("qos", [1, 2])
async def test_our_persistent_session_keeps_messages(
    mosquitto_port: int, other: type[Peer], version: Version, qos: QoS
) -> None:
    async with Stage(mosquitto_port, version) as stage:
        await scenarios.a_persistent_session_keeps_what_came_meanwhile(stage, Ours, other, qos)
