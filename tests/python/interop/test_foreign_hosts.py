"""Our broker inside of a program whose MQTT client is another one, in the same event loop."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from interop.peers import DEADLINE

if TYPE_CHECKING:
    import rmqtt
    from rmqtt.pytest_plugin import BrokerFactory


@pytest.mark.interop
@pytest.mark.filterwarnings("ignore::ResourceWarning")  # paho leaves its socket pairs to the garbage collector
async def test_a_foreign_client_lives_in_the_loop_that_blocks(mqtt_broker_factory: BrokerFactory) -> None:
    import aiomqtt

    brokers = [mqtt_broker_factory() for _ in range(5)]

    async def talk(broker: rmqtt.Broker) -> list[bytes]:
        async with aiomqtt.Client("127.0.0.1", broker.port) as client:
            await client.subscribe("a/#", qos=1)
            for n in range(10):
                await client.publish(f"a/{n}", str(n), qos=1)
                if n == 5:
                    time.sleep(0.3)
            return [(await anext(client.messages)).payload for _ in range(10)]

    seen = await asyncio.wait_for(asyncio.gather(*map(talk, brokers)), DEADLINE)
    assert seen == [[str(n).encode() for n in range(10)]] * 5


@pytest.mark.interop
def test_the_device_with_paho_survives_what_its_tests_do_to_it() -> None:
    suite = Path(__file__).parents[3] / "examples" / "testing" / "test_thermostat_paho.py"
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(suite)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=50, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
