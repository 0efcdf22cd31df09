"""What every test may ask for."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import rmqtt

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def broker() -> Iterator[rmqtt.Broker]:
    """Run a broker on a free port for one test; it needs no event loop."""
    with rmqtt.Broker("mqtt://127.0.0.1:0") as running:
        yield running
