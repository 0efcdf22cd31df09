"""Two minutes of what `make chaos` does for ten: our client behind a bad network, and killed, against our broker and mosquitto."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.interop

#: In all two minutes, with coming home and balancing the books.
SECONDS = 100


@pytest.mark.timeout(300)
def test_nothing_is_lost_doubled_or_out_of_order_behind_a_bad_network() -> None:
    run = subprocess.run(
        [sys.executable, "-m", "chaos", f"--seconds={SECONDS}", "--seed=1"],
        cwd=Path(__file__).parents[1],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stdout
