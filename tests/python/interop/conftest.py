"""Brokers for interoperability tests: ours, and Debian's mosquitto on a free port with a configuration of its own."""

from __future__ import annotations

import contextlib
import socket
import subprocess
import threading
from typing import TYPE_CHECKING

import pytest
import rmqtt

from interop.javascript import Node
from interop.peers import DEADLINE, find_program

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def our_port() -> Iterator[int]:
    """Start our broker for one test."""
    with rmqtt.Broker("mqtt://127.0.0.1:0") as broker:
        yield broker.port


@pytest.fixture(scope="session", autouse=True)
def _node() -> Iterator[None]:
    """End the process of MQTT.js, if a test has started it."""
    yield
    Node.stop()


@pytest.fixture(scope="session")
def mosquitto_port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """Start mosquitto for all tests: every test has topics and client ids of its own."""
    with running_mosquitto(tmp_path_factory.mktemp("mosquitto")) as port:
        yield port


@contextlib.contextmanager
def running_mosquitto(folder: Path, *more: str) -> Iterator[int]:
    """Run mosquitto on a free port, with more lines in its configuration."""
    port = free_port()
    configuration = folder / "mosquitto.conf"
    # Without `user` it would give up its rights, and with them its folder, when run by root.
    lines = (f"listener {port} 127.0.0.1", "allow_anonymous true", "persistence false", "log_dest stderr", "user root")
    configuration.write_text("\n".join((*lines, *more, "")))
    process = subprocess.Popen([find_program("mosquitto"), "-c", str(configuration)], stderr=subprocess.PIPE, text=True)
    log: list[str] = []
    listens = threading.Event()
    reader = threading.Thread(target=read_log, args=(process, log, listens))
    reader.start()
    try:
        assert listens.wait(DEADLINE), f"mosquitto did not start: {''.join(log)}"
        yield port
    finally:
        process.terminate()
        process.wait(timeout=DEADLINE)
        reader.join(timeout=DEADLINE)


def read_log(process: subprocess.Popen[str], log: list[str], listens: threading.Event) -> None:
    """Read to the end: a pipe that nobody empties would stop mosquitto itself."""
    assert process.stderr is not None
    with process.stderr as lines:
        for line in lines:
            log.append(line)
            if "running" in line:
                listens.set()


def free_port() -> int:
    """Find a port that is free now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
