"""For tests: what a broker saw, and what it would do; and hours that pass when a test says so.

Everything here is free while it is not used, and reached through `rmqtt.Broker`.
"""

from rmqtt.testing._capture import Capture, Captured
from rmqtt.testing._clock import Clock

__all__ = ["Capture", "Captured", "Clock"]
