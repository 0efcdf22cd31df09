"""The example page in headless Chromium: MQTT.js over WebSocket from a real browser to our broker."""

from __future__ import annotations

import json
import signal
import struct
import subprocess
import sys
from pathlib import Path

import pytest

from interop.peers import find_program

pytestmark = pytest.mark.interop
HERE = Path(__file__).parent
ROOT = HERE.parents[2]


@pytest.mark.timeout(120)
def test_the_example_page_shows_readings_and_sets_a_value(tmp_path: Path) -> None:
    screenshot = tmp_path / "page.png"
    mqtt_js = HERE / "node" / "node_modules" / "mqtt" / "dist" / "mqtt.min.js"
    serve = [sys.executable, "-W", "error", str(ROOT / "examples" / "web" / "serve.py")]
    options = ["--port", "0", "--every", "0.05", "--mqtt-js", str(mqtt_js)]
    example = subprocess.Popen([*serve, *options], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        assert example.stdout is not None
        address = example.stdout.readline().removeprefix("open ").strip()
        page = str(HERE / "node" / "page.js")
        person = [find_program("node"), page, find_program("chromium"), address, str(screenshot)]
        visit = subprocess.run(person, capture_output=True, text=True, timeout=90, check=False)
        assert visit.returncode == 0, visit.stderr
        saw = json.loads(visit.stdout)
    finally:
        example.send_signal(signal.SIGINT)
        said, complaints = example.communicate(timeout=30)
    assert (said, complaints, example.returncode) == ("stopped\n", "", 0)
    assert saw["complaints"] == []
    assert (saw["title"], saw["state"], saw["confirmed"]) == ("Plant 7", "connected", "set to 30 °C")
    assert saw["before"] < 25 < saw["after"]
    assert saw["drawn"] > 500, "the chart is drawn"
    picture = screenshot.read_bytes()
    assert picture.startswith(b"\x89PNG")
    assert struct.unpack(">II", picture[16:24]) == (800, 600)
