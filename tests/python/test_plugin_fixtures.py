"""The fixtures for pytest, as the tests of a user's project see them."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

import pytest
import rmqtt

if TYPE_CHECKING:
    from rmqtt.pytest_plugin import BrokerFactory, ClientFactory
    from rmqtt.testing import Capture, Clock, Faults, Wire

SEEN: list[rmqtt.Broker] = []
SPACES: list[str] = []


@pytest.mark.parametrize("_", range(2))
def test_every_test_has_a_clean_broker_of_its_own(mqtt_broker: rmqtt.Broker, _: int) -> None:
    assert mqtt_broker.url == f"mqtt://127.0.0.1:{mqtt_broker.port}"
    assert not mqtt_broker.retained
    mqtt_broker.publish_now("kept", b"1", retain=True)
    assert all(not before.is_running for before in SEEN)
    SEEN.append(mqtt_broker)


@pytest.mark.parametrize("_", range(2))
def test_tests_share_a_broker_by_namespaces(mqtt_broker_session: rmqtt.Broker, mqtt_namespace: str, _: int) -> None:
    assert mqtt_namespace not in SPACES
    assert not set("/+#") & set(mqtt_namespace)
    mqtt_broker_session.publish_now(f"{mqtt_namespace}/kept", b"1", retain=True)
    SPACES.append(mqtt_namespace)
    assert {f"{space}/kept" for space in SPACES} <= set(mqtt_broker_session.retained)


def test_url_and_port_are_those_of_the_broker(mqtt_url: str, mqtt_port: int, mqtt_broker: rmqtt.Broker) -> None:
    assert (mqtt_url, mqtt_port) == (mqtt_broker.url, mqtt_broker.port)
    with socket.create_connection(("127.0.0.1", mqtt_port)):
        pass


def test_a_factory_makes_as_many_brokers_as_one_likes(mqtt_broker_factory: BrokerFactory) -> None:
    brokers = [mqtt_broker_factory(receive_maximum=n) for n in (1, 2, 3)]
    assert len({broker.port for broker in brokers}) == 3
    for n, broker in enumerate(brokers, 1):
        with rmqtt.SyncClient(broker.url) as client:
            assert client.negotiated.receive_maximum == n
    again = mqtt_broker_factory("mem://of-one-test")
    again.stop()
    assert again.start().urls == ["mem://of-one-test"]
    SEEN.extend([*brokers, again])


def test_the_brokers_of_a_factory_are_gone_with_their_test() -> None:
    assert not any(broker.is_running for broker in SEEN)


def test_a_broker_runs_by_the_clock_of_the_system(mqtt_broker: rmqtt.Broker) -> None:
    with pytest.raises(rmqtt.BrokerError, match="the system's clock"):
        _ = mqtt_broker.clock


def test_all_brokers_of_a_test_run_by_the_clock_that_it_asks_for(
    mqtt_broker: rmqtt.Broker, mqtt_broker_factory: BrokerFactory, mqtt_clock: Clock
) -> None:
    other = mqtt_broker_factory()
    assert mqtt_broker.clock is mqtt_clock is other.clock
    for broker in (mqtt_broker, other):
        broker.publish_now("a", b"1", retain=True, expiry=3600)
    mqtt_clock.advance(hours=2)
    assert not mqtt_broker.retained
    assert not other.retained


def test_faults_strike_and_the_wire_shows_it(
    mqtt_sync_client: rmqtt.SyncClient, mqtt_faults: Faults, mqtt_wire: Wire
) -> None:
    lost = mqtt_faults.on("PUBACK").drop()
    with pytest.raises(rmqtt.MqttTimeout):
        mqtt_sync_client.publish("plant/7", qos=1, timeout=0.05)
    assert lost.hits == 1
    assert [line.packet for line in mqtt_wire] == ["CONNECT", "CONNACK", "PUBLISH", "PUBACK"]


async def test_a_client_is_in_memory_and_not_connected_yet(
    mqtt_client: rmqtt.Client, mqtt_broker: rmqtt.Broker
) -> None:
    assert not mqtt_broker.clients
    async with mqtt_client as client, client.subscribe("a", qos=1) as messages:
        assert [known.peer_address for known in mqtt_broker.clients.values()] == [None]
        await client.publish("a", b"1", qos=1)
        assert (await messages.get(5)).payload == b"1"


async def test_clients_by_socket_are_to_be_had(mqtt_client_factory: ClientFactory, mqtt_broker: rmqtt.Broker) -> None:
    async with mqtt_client_factory(transport="tcp", client_id="far"), mqtt_client_factory(client_id="near"):
        known = {name: client.peer_address for name, client in mqtt_broker.clients.items()}
    assert known["near"] is None
    assert known["far"] is not None
    with pytest.raises(ValueError, match="transport must be 'memory' or 'tcp', not 'pigeon'"):
        mqtt_client_factory(transport="pigeon")  # type: ignore[arg-type]


def test_a_client_for_plain_code_is_connected(mqtt_sync_client: rmqtt.SyncClient, mqtt_broker: rmqtt.Broker) -> None:
    assert [known.peer_address for known in mqtt_broker.clients.values()] == [None]
    with mqtt_sync_client.subscribe("a") as messages:
        mqtt_broker.publish_now("a", b"1")
        assert messages.get(5).payload == b"1"


def test_what_is_routed_is_captured_by_the_names_of_pytest_mqtt(mqtt_capture: Capture, mqtt_url: str) -> None:
    with rmqtt.SyncClient(mqtt_url) as client:
        client.publish("a", b"1", qos=1)
    mqtt_capture.publish(topic="b", payload="2")
    assert mqtt_capture.records == [("a", b"1"), ("b", b"2")]
    assert [message.topic for message in mqtt_capture.messages] == ["a", "b"]
    mqtt_capture.assert_published("a", payload="1", qos=1)


@pytest.mark.mqtt(receive_maximum=1, maximum_qos=1, response_information="reply/{client_id}")
def test_the_marker_sets_limits_features_and_options(mqtt_sync_client: rmqtt.SyncClient) -> None:
    assert mqtt_sync_client.negotiated.receive_maximum == 1
    assert mqtt_sync_client.negotiated.maximum_qos == 1


@pytest.mark.mqtt(auth={"alice": "secret"})
@pytest.mark.parametrize("version", [pytest.param(5, marks=pytest.mark.mqtt(version=5)), "3.1.1"])
def test_clients_are_the_first_of_the_users(
    mqtt_sync_client: rmqtt.SyncClient, mqtt_broker: rmqtt.Broker, version: object
) -> None:
    assert [known.user for known in mqtt_broker.clients.values()] == ["alice"]
    assert mqtt_sync_client.negotiated.version == "5.0"


@pytest.mark.mqtt(version="3.1.1", limits=rmqtt.Limits(receive_maximum=7), in_flight_max=3)
class TestMarksOfAClass:
    """A mark nearer to the test goes before."""

    def test_a_class_is_marked(self, mqtt_sync_client: rmqtt.SyncClient) -> None:
        assert mqtt_sync_client.negotiated.version == "3.1.1"

    @pytest.mark.mqtt(version=5)
    def test_and_one_of_its_tests_otherwise(self, mqtt_sync_client: rmqtt.SyncClient) -> None:
        assert mqtt_sync_client.negotiated.version == "5.0"
        assert mqtt_sync_client.negotiated.receive_maximum == 7
