"""`Snapshot`: the whole state of a broker at one moment."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rmqtt._live import Live

if TYPE_CHECKING:
    from rmqtt._rmqtt import NativeSnapshot

__all__ = ["Snapshot"]


class Snapshot(Live):
    """The whole state of a broker at one moment; made by `Broker.snapshot`, for `Broker.restore`.

    It does not change, and may be restored as often as wanted, by any broker of this process.

    Examples
    --------
    >>> snapshot = broker.snapshot()
    >>> broker.restore(snapshot)
    """

    __slots__ = ("_native",)

    def __init__(self, native: NativeSnapshot) -> None:
        self._native = native

    @property
    def sessions(self) -> int:
        """Sessions that it has: those that outlive their connections."""
        return self._native.sessions

    @property
    def subscriptions(self) -> int:
        """Their subscriptions."""
        return self._native.subscriptions

    @property
    def retained_messages(self) -> int:
        """Retained messages."""
        return self._native.retained_messages

    @property
    def queued_messages(self) -> int:
        """Messages of QoS 1 and 2 that wait for sessions and groups, without those on their way."""
        return self._native.queued_messages

    def __repr__(self) -> str:
        counts = {
            "session": self.sessions,
            "subscription": self.subscriptions,
            "retained message": self.retained_messages,
            "queued message": self.queued_messages,
        }
        words = [f"{count} {name}{'s' * (count != 1)}" for name, count in counts.items()]
        return f"<Snapshot: {', '.join(words)}>"
