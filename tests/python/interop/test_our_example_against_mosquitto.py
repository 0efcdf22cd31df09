"""The example's whole job, with mosquitto instead of a broker of ours: its books must balance there too."""

from __future__ import annotations

import asyncio
import re
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.interop

PIPELINE = Path(__file__).parents[3] / "examples" / "sensor_pipeline.py"


async def test_the_pipeline_balances_its_books_with_mosquitto(mosquitto_port: int, tmp_path: Path) -> None:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-W", "error", PIPELINE, "--broker", f"mqtt://127.0.0.1:{mosquitto_port}"),
        *("--seconds", "4", "--chart", tmp_path / "chart.png"),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        out, errors = (text.decode() for text in await asyncio.wait_for(process.communicate(), 50))
    finally:
        if process.returncode is None:
            process.kill()
    assert process.returncode == 0, out + errors  # matplotlib may talk to stderr about its fonts
    assert re.search(r"^the books balance: nothing lost, no alarm twice or out of order", out, re.MULTILINE), out
    assert re.search(r"^jfk/wind_speed .* 1 +[\d.]+$", out, re.MULTILINE), "mosquitto published the will"
