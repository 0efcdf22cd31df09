"""What every test may ask for."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import rmqtt

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def broker() -> Iterator[rmqtt.Broker]:
    """Run a broker on a free port for one test; it needs no event loop."""
    with rmqtt.Broker("mqtt://127.0.0.1:0") as running:
        yield running


@pytest.fixture(params=["memory", "disk"])
def outbox_path(request: pytest.FixtureRequest, tmp_path: Path) -> Path | None:
    """Where an outbox keeps its messages: nowhere, and in a file."""
    return tmp_path / "outbox" if request.param == "disk" else None
