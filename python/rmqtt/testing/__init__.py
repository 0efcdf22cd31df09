"""For tests: what a broker saw, and what it would do.

Everything here is free while it is not used, and reached through `rmqtt.Broker`.
"""

from rmqtt.testing._capture import Capture, Captured
from rmqtt.testing._clock import Clock
from rmqtt.testing._ledger import Ledger, LedgerEntry
from rmqtt.testing._snapshot import Snapshot

__all__ = ["Capture", "Captured", "Clock", "Ledger", "LedgerEntry", "Snapshot"]
