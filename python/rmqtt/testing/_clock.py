"""`Clock`: time that a test moves."""

from __future__ import annotations

from typing import Final

from rmqtt._live import Live
from rmqtt._rmqtt import NativeClock

__all__ = ["Clock"]

PATIENCE: Final = 0.01
FAR: Final = 1e10  # three hundred years


class Clock(Live):
    """A clock that stands still until it is moved, for ``rmqtt.Broker(clock=…)``.

    All that a broker does by the hour goes by it: keep alive, the expiry of sessions and messages, delayed wills,
    time-outs, faults that delay. So do clients in memory (`Broker.client`, ``mem://…``) in what they do by
    themselves: pings, time-outs of connecting, delays before a reconnect. Several brokers may share one clock.

    What it cannot move: clients on sockets, ours too, live by the system's clock, so that for them only the broker's
    hours pass; and limits that you give where you wait, such as ``timeout=`` of `Subscription.get`, are real, since
    they bound how long a test may hang. Stopping a broker, and closing a connection in good order, never wait for it.

    Examples
    --------
    >>> clock = rmqtt.testing.Clock()
    >>> clock.advance(minutes=5)
    >>> clock.now
    300.0
    """

    __slots__ = ("__weakref__", "_native")

    def __init__(self) -> None:
        self._native = NativeClock()

    @property
    def now(self) -> float:
        """Virtual seconds since the clock was made."""
        return self._native.now

    def advance(self, seconds: float = 0, *, minutes: float = 0, hours: float = 0, days: float = 0) -> None:
        """Move the clock, and return when everything that was due has been done.

        It goes from deadline to deadline, in their order; at each, and before the first and after the last, it waits
        until no task of the brokers and of the clients in memory that share the clock has anything left to do. So
        ``advance(0)`` waits for rest only: what was published before has been routed, and what was routed is with the
        clients in memory.

        What sockets hold in the kernel nobody can see. While clients are connected by sockets, rest counts when it
        has lasted for two milliseconds of real time: enough for what they have written before, unless the machine is
        overloaded, but not for their answers to what they are about to read.

        May be called from every thread, and inside of a running event loop, which it blocks for as long as it takes,
        mostly less than a millisecond per deadline. Tasks of that loop do not run meanwhile: they see all that has
        happened at once. Where they have to act in between, use `advance_async` in several steps.

        Parameters
        ----------
        seconds, minutes, hours, days
            How far, all added up; from 0 to 1e10 seconds.

        Raises
        ------
        ValueError
            Less than 0, no number, or more than three hundred years.
        MqttTimeout
            Something keeps the broker busy: there was no rest for 30 s of real time.

        Examples
        --------
        >>> clock = rmqtt.testing.Clock()
        >>> clock.advance(1.5, hours=2)
        >>> clock.now
        7201.5
        """
        self._native.advance_blocking(total(seconds, minutes, hours, days))

    async def advance_async(self, seconds: float = 0, *, minutes: float = 0, hours: float = 0, days: float = 0) -> None:
        """Do as `advance`, and let the other tasks of the event loop run meanwhile.

        They run beside the clock, which does not wait for them. Cancelling it stops the waiting, not the clock.

        Parameters
        ----------
        seconds, minutes, hours, days
            As of `advance`.

        Raises
        ------
        ValueError, MqttTimeout
            As of `advance`.

        Examples
        --------
        >>> clock = rmqtt.testing.Clock()
        >>> await clock.advance_async(days=1)
        >>> clock.now
        86400.0
        """
        await self._native.advance(total(seconds, minutes, hours, days))

    def autojump(self, on: bool = True, *, patience: float = PATIENCE) -> None:  # noqa: FBT001, FBT002 - a switch
        """Move the clock to the next deadline whenever nothing is left to do, or stop doing so.

        A test that awaits something which comes after an hour then gets it at once. The clock cannot know what the test
        itself is about: it takes ``patience`` for a sign that the test waits too. While a client with a keep alive is
        connected there is always a next deadline, so time then runs on for as long as the test idles.

        Parameters
        ----------
        on
            Whether to.
        patience
            Real seconds for which nothing must have been to do; at least 0.001.

        Examples
        --------
        >>> clock = rmqtt.testing.Clock()
        >>> clock.autojump()
        >>> clock.autojump(False)
        """
        self._native.autojump(patience if on else None)

    def __repr__(self) -> str:
        return f"<Clock at {self.now:.3f} s>"


def total(seconds: float, minutes: float, hours: float, days: float) -> float:
    """Seconds, if the clock can go so far."""
    by = seconds + 60 * (minutes + 60 * (hours + 24 * days))
    if not 0 <= by < FAR:
        raise ValueError(f"the time to advance by is {by} s, and must be from 0 to {FAR:.0f}")
    return by
