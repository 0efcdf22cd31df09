"""For tests: what a broker saw, and what it would do; hours that pass when a test says so, and faults by plan.

Everything here is free while it is not used, and reached through `rmqtt.Broker`.
"""

from rmqtt.testing._capture import Capture, Captured
from rmqtt.testing._certificates import Certificate, Certificates
from rmqtt.testing._clock import Clock
from rmqtt.testing._delivery import DeliveryExplanation
from rmqtt.testing._faults import Faults, Rule
from rmqtt.testing._ledger import Ledger, LedgerEntry
from rmqtt.testing._snapshot import Snapshot
from rmqtt.testing._wire import Wire, WireLine

__all__ = [
    "Capture",
    "Captured",
    "Certificate",
    "Certificates",
    "Clock",
    "DeliveryExplanation",
    "Faults",
    "Ledger",
    "LedgerEntry",
    "Rule",
    "Snapshot",
    "Wire",
    "WireLine",
]
