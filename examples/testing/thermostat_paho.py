"""The thermostat of thermostat.py, written with paho-mqtt. Its tests are in test_thermostat_paho.py."""

from __future__ import annotations

from typing import Any, Self

import paho.mqtt.client as paho
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties


class Thermostat:
    """One device. It keeps its session at the broker, so that nothing it is told while it is away is lost."""

    def __init__(
        self, host: str, port: int, name: str = "thermostat", *, keep_alive: int = 30, retry: float = 1.0
    ) -> None:
        self.name = name
        self.target = 20.0
        self._address = (host, port)
        self._keep_alive = keep_alive
        self._client = paho.Client(paho.CallbackAPIVersion.VERSION2, client_id=name, protocol=paho.MQTTv5)
        # paho does not look at the broker's Receive Maximum, and cannot be told once it is connected.
        self._client.max_inflight_messages_set(1)
        self._client.will_set(f"{name}/status", "lost", qos=1, retain=True)
        self._client.reconnect_delay_set(retry, 60)
        self._client.on_connect = self._connected
        self._client.on_message = self._told

    def __enter__(self) -> Self:
        properties = Properties(PacketTypes.CONNECT)
        properties.SessionExpiryInterval = 86_400
        host, port = self._address
        self._client.connect_async(host, port, self._keep_alive, clean_start=False, properties=properties)
        self._client.loop_start()
        return self

    def __exit__(self, *_: object) -> None:
        self._client.publish(f"{self.name}/status", "off", qos=1, retain=True).wait_for_publish(5)
        self._client.disconnect()
        self._client.loop_stop()

    def measure(self, celsius: float) -> paho.MQTTMessageInfo:
        """Tell a temperature; it arrives, perhaps twice."""
        return self._client.publish(f"{self.name}/celsius", f"{celsius:.1f}", qos=1)

    def bill(self, kwh: float) -> paho.MQTTMessageInfo:
        """Tell what is to be paid for; it arrives once."""
        return self._client.publish(f"{self.name}/kwh", f"{kwh:.1f}", qos=2)

    def _connected(self, client: paho.Client, _: object, __: object, reason: paho.ReasonCode, ___: object) -> None:
        if reason.is_failure:
            return
        # The broker may have forgotten us, and told everybody that we are lost: so after every connection anew.
        client.subscribe(f"{self.name}/target", qos=1)
        client.publish(f"{self.name}/status", "online", qos=1, retain=True)

    def _told(self, client: paho.Client, _: object, message: Any) -> None:
        self.target = float(message.payload)
        client.publish(f"{self.name}/target/is", message.payload, qos=1, retain=True)
