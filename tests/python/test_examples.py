"""Every example is run, as a user would."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import struct
import subprocess
import sys
import time
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"
CHILD = {**os.environ, "PYTHONUNBUFFERED": "1"}


def run(*arguments: str | Path, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run Python with warnings as errors."""
    command = [sys.executable, "-W", "error", *map(str, arguments)]
    environment = {**CHILD, **variables}
    return subprocess.run(command, capture_output=True, text=True, timeout=50, check=False, env=environment)


@pytest.mark.parametrize("name", ["quickstart.py", "sensors_to_dataframe.py"])
def test_a_script_runs_and_prints(name: str) -> None:
    done = run(EXAMPLES / name)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.strip()


def test_the_tests_among_the_examples_pass(tmp_path: Path) -> None:
    shutil.copy(EXAMPLES / "test_with_broker.py", tmp_path)
    done = run("-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:asyncio", tmp_path / "test_with_broker.py")
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_device_survives_what_its_tests_do_to_it() -> None:
    done = run("-m", "pytest", "-q", "-p", "no:cacheprovider", EXAMPLES / "testing" / "test_thermostat.py")
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_pipeline_balances_its_books_and_draws_its_chart(tmp_path: Path) -> None:
    # Matplotlib looks for fonts when it first runs, and says so if that takes long: not in the pipeline's output.
    fonts = str(tmp_path / "matplotlib")
    run("-c", "import matplotlib.font_manager", MPLCONFIGDIR=fonts).check_returncode()
    chart = tmp_path / "out" / "chart.png"
    done = run(EXAMPLES / "sensor_pipeline.py", "--seconds", "4", "--chart", chart, MPLCONFIGDIR=fonts)
    assert (done.returncode, done.stderr) == (0, "")
    assert "the books balance" in done.stdout
    assert f"chart: {chart}" in done.stdout
    assert_is_a_drawing(chart)
    assert re.search(r"^jfk/wind_speed .* 1 +[\d.]+$", done.stdout, re.MULTILINE), "the death was noticed"
    assert len(re.findall(r"^(?:ewr|jfk|lga)/\w+ ", done.stdout, re.MULTILINE)) == 21


def assert_is_a_drawing(path: Path) -> None:
    """A PNG of a size that people can read, with more in it than an empty page."""
    png = path.read_bytes()
    assert png.startswith(b"\x89PNG\r\n\x1a\n")
    width, height = struct.unpack(">II", png[16:24])
    assert min(width, height) >= 1000
    assert len(png) > 50_000


@pytest.mark.skipif(sys.platform == "win32", reason="sends SIGINT")
def test_the_pipeline_ends_at_once_when_interrupted(tmp_path: Path) -> None:
    command = [sys.executable, str(EXAMPLES / "sensor_pipeline.py"), "--chart", str(tmp_path / "chart.png")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=CHILD) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if "messages/s" in line:  # it is in the middle of it
                break
        process.send_signal(signal.SIGINT)
        begun = time.monotonic()
        out, errors = process.communicate(timeout=10)
    assert time.monotonic() - begun < 2
    assert process.returncode == 130
    assert "Traceback" not in errors + out


async def test_the_notebook_runs_cell_by_cell() -> None:
    manager_of = pytest.importorskip("jupyter_client.manager", reason="needs a kernel")
    cells = json.loads((EXAMPLES / "broker_in_notebook.ipynb").read_text(encoding="utf-8"))["cells"]
    manager, client = await manager_of.start_new_async_kernel(kernel_name="python3", startup_timeout=30)
    results: list[str] = []

    def keep(message: dict[str, dict[str, dict[str, str]]]) -> None:
        if "data" in message["content"]:
            results.append(message["content"]["data"]["text/plain"])

    try:
        for cell in cells:
            if cell["cell_type"] == "code":
                reply = await client.execute_interactive("".join(cell["source"]), timeout=20, output_hook=keep)
                assert reply["content"]["status"] == "ok", reply["content"]
    finally:
        client.stop_channels()
        await manager.shutdown_kernel(now=True)
    assert "{'home/cellar/temperature': 14.0, 'home/kitchen/temperature': 21.5}" in results
    assert "['home/cellar/temperature', 'home/kitchen/temperature']" in results
