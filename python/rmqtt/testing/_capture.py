"""`Capture`: everything that a broker routed, taken inside the broker."""

from __future__ import annotations

import threading
import time
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

from rmqtt._live import Live
from rmqtt._rmqtt import topic_matches
from rmqtt.testing._nearest import Wanted, listed, nearest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import TracebackType

    from rmqtt._broker import Broker
    from rmqtt._rmqtt import Message, NativeCapture
    from rmqtt._types import Payload, QoSLike
    from rmqtt.testing._clock import Clock

__all__ = ["Capture", "Captured"]


@dataclass(frozen=True, slots=True)
class Captured:
    """A message as it was published, and who published it."""

    message: Message
    publisher: str | None
    """The client id; `None`: the broker itself (`Broker.publish`), or a will."""


class Capture(Live):
    """Everything that a broker has routed since the capture began; made by `Broker.capture`.

    It is taken inside the broker, before a message is queued for anybody and before its publisher is answered. So there
    is no subscription that could come too late: when a publish of QoS 1 or 2 has returned, the message is here.
    Messages are as they were published: with their own QoS and retain flag. Refused ones were not routed, and are not
    here; nor are retained messages that a new subscription gets.

    All methods may be called from any thread, with and without a running event loop. Iterating yields messages, ``len``
    counts them.

    It holds the latest ``maxsize`` messages and as many that nobody has looked at yet. Beyond that the oldest are
    dropped, and counted in `dropped`; an assertion that could be wrong for that reason says so.

    Examples
    --------
    >>> with broker.capture("plant/#") as capture:
    ...     _ = broker.publish_now("plant/7/set", "22")
    ...     capture.assert_published("plant/+/set", payload="22").topic
    'plant/7/set'
    """

    def __init__(self, broker: Broker, native: NativeCapture, maxsize: int, clock: Clock | None) -> None:
        self._broker = broker
        self._clock = clock
        self._native: NativeCapture | None = native
        self._maxsize = maxsize
        self._lock = threading.Lock()
        self._captured: deque[Captured] = deque()
        self._fetched = 0
        self._dropped_here = 0
        self._dropped_there = 0

    @property
    def captured(self) -> list[Captured]:
        """The messages with their publishers, oldest first."""
        return self._look()[0]

    @property
    def messages(self) -> list[Message]:
        """The messages, oldest first."""
        return [captured.message for captured in self.captured]

    @property
    def records(self) -> list[tuple[str, bytes]]:
        """Topic and payload of each message, oldest first."""
        return [(message.topic, message.payload) for message in self.messages]

    @property
    def dropped(self) -> int:
        """Messages that are not here any more because more came than there is room for; `clear` begins anew."""
        self._look()
        return self._dropped_here + self._dropped_there

    def publish(self, topic: str, payload: Payload = b"", *, qos: QoSLike = 0, retain: bool = False) -> int:
        """Publish as the broker itself.

        Parameters
        ----------
        topic, payload, qos, retain
            As of `Broker.publish`.

        Returns
        -------
        int
            Sessions that it matched.

        Examples
        --------
        >>> with broker.capture() as capture:
        ...     _ = capture.publish("a", "1")
        ...     capture.records
        [('a', b'1')]
        """
        return self._broker.publish_now(topic, payload, qos=qos, retain=retain)

    def clear(self) -> None:
        """Forget what was captured so far, and that anything was dropped."""
        with self._lock:
            self._fetch()
            self._captured.clear()
            self._dropped_here = -self._dropped_there

    def close(self) -> None:
        """End the capture. What it holds stays; a second call does nothing."""
        with self._lock:
            self._fetch()
            self._native = None

    def wait_for(
        self,
        filter: str,
        *,
        count: int = 1,
        timeout: float = 2.0,
        where: Callable[[Message], bool] | None = None,
    ) -> list[Message]:
        """Wait until enough messages were published, those before the call included.

        The interpreter is free meanwhile, and nothing is polled. In a running event loop this blocks the loop: see
        `wait_for_async`.

        Parameters
        ----------
        filter
            What their topics match.
        count
            How many at least.
        timeout
            Seconds, of real time whatever the broker's clock says.
        where
            Counts only those of which it says true.

        Returns
        -------
        list[Message]
            All that match, oldest first.

        Raises
        ------
        AssertionError
            Not enough in time; it tells what was there instead.

        Examples
        --------
        >>> with broker.capture() as capture:
        ...     _ = broker.publish_now("a", b"1")
        ...     capture.wait_for("a")
        [<Message 'a' b'1', qos=0>]
        """
        deadline = time.monotonic() + timeout
        while True:
            found, seen = self._found(filter, where)
            rest = deadline - time.monotonic()
            if len(found) >= count:
                return found
            if rest <= 0 or self._native is None:
                raise AssertionError(self._too_few(filter, where, found, count, timeout))
            self._native.wait(seen, rest)

    async def wait_for_async(
        self,
        filter: str,
        *,
        count: int = 1,
        timeout: float = 2.0,  # noqa: ASYNC109 - the twin of `wait_for`
        where: Callable[[Message], bool] | None = None,
    ) -> list[Message]:
        """Wait as `wait_for` does, in the event loop.

        Parameters
        ----------
        filter, count, timeout, where
            As of `wait_for`.

        Returns
        -------
        list[Message]
            All that match, oldest first.

        Raises
        ------
        AssertionError
            Not enough in time; it tells what was there instead.

        Examples
        --------
        >>> capture = broker.capture()
        >>> await client.publish("a", b"1")
        PublishResult(SUCCESS)
        >>> await capture.wait_for_async("a")
        [<Message 'a' b'1', qos=0>]
        """
        deadline = time.monotonic() + timeout
        while True:
            found, seen = self._found(filter, where)
            rest = deadline - time.monotonic()
            if len(found) >= count:
                return found
            if rest <= 0 or self._native is None:
                raise AssertionError(self._too_few(filter, where, found, count, timeout))
            await self._native.wait_in_loop(seen, rest)

    def assert_published(
        self,
        topic: str,
        *,
        payload: bytes | str | None = None,
        json: object = ...,
        qos: int | None = None,
        retain: bool | None = None,
        count: int | None = None,
    ) -> Message:
        """Assert that a message was published. It does not wait: see `wait_for`.

        Parameters
        ----------
        topic
            Topic name, or a filter that the topic matches.
        payload
            The payload; `str` is compared as UTF-8.
        json
            What the payload is, read as JSON.
        qos, retain
            As it was published.
        count
            How many such messages there must be, exactly; at least one without.

        Returns
        -------
        Message
            The first of them.

        Raises
        ------
        AssertionError
            It tells what was there instead, nearest first.
        ValueError
            ``count`` is less than 1: see `assert_nothing`.

        Examples
        --------
        >>> with broker.capture() as capture:
        ...     _ = broker.publish_now("a/b", '{"on": true}')
        ...     capture.assert_published("a/b", json={"on": True}).payload
        b'{"on": true}'
        """
        if count is not None and count < 1:
            raise ValueError("count must be at least 1; assert_nothing(topic) asserts that there is none")
        raw = payload.encode() if isinstance(payload, str) else payload
        wanted = Wanted(topic, payload=raw, json=json, qos=qos, retain=retain)
        messages = self.messages
        found = [message for message in messages if not wanted.differences(message)]
        if not found:
            raise AssertionError(f"nothing published to {wanted}; {nearest(wanted, messages)}{self._doubt()}")
        if count is not None and (len(found) != count or self.dropped):
            what = f"{len(found)} published to {wanted}, where {count} should be"
            raise AssertionError(f"{what}; {listed(found, 'match')}{self._doubt()}")
        return found[0]

    def assert_nothing(self, filter: str, *, within: float = 0.0) -> None:
        """Assert that nothing was published.

        Parameters
        ----------
        filter
            What the topics would match.
        within
            Watch for so many seconds more: of the broker's clock, which is moved by them, if it is one for tests.

        Raises
        ------
        AssertionError
            It tells what was published; or messages were dropped, so nobody can tell.

        Examples
        --------
        >>> with broker.capture() as capture:
        ...     capture.assert_nothing("alarm/#")
        """
        if within > 0 and self._clock is not None:
            self._clock.advance(within)
            within = 0
        deadline = time.monotonic() + within
        while True:
            found, seen = self._found(filter, None)
            if found:
                raise AssertionError(f"nothing should be published to {filter!r}; {listed(found, 'published')}")
            if self.dropped:
                raise AssertionError(f"nobody can tell whether nothing was published to {filter!r}{self._doubt()}")
            rest = deadline - time.monotonic()
            if rest <= 0 or self._native is None:
                return
            self._native.wait(seen, rest)

    def assert_order(self, *topics: str) -> None:
        """Assert that messages were published in this order; others may be between them.

        Parameters
        ----------
        topics
            Topic names, or filters.

        Raises
        ------
        AssertionError
            It tells which is missing behind which, and what was there.

        Examples
        --------
        >>> with broker.capture() as capture:
        ...     for topic in ("a", "noise", "b"):
        ...         _ = broker.publish_now(topic)
        ...     capture.assert_order("a", "b")
        """
        messages = self.messages
        rest = iter(messages)
        before = ""
        for topic in topics:
            if not any(topic_matches(topic, message.topic) for message in rest):
                raise AssertionError(f"nothing published to {topic!r}{before}; {listed(messages)}{self._doubt()}")
            before = f" after {topic!r}"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def __len__(self) -> int:
        return len(self._look()[0])

    def __bool__(self) -> bool:
        return True

    def __iter__(self) -> Iterator[Message]:
        return iter(self.messages)

    def __repr__(self) -> str:
        dropped = f", {self.dropped} dropped" if self.dropped else ""
        return f"<Capture of {len(self)} messages{dropped}>"

    def _fetch(self) -> None:
        """Take over what came since the last time; under the lock."""
        if self._native is None:
            return
        fresh = self._native.fetch()
        self._fetched += len(fresh)
        self._dropped_there = self._native.dropped
        self._captured.extend(Captured(message, publisher) for message, publisher in fresh)
        while len(self._captured) > self._maxsize:
            self._captured.popleft()
            self._dropped_here += 1

    def _look(self) -> tuple[list[Captured], int]:
        """Give what there is, and how many were seen in all: the next wait is for one more."""
        with self._lock:
            self._fetch()
            return list(self._captured), self._fetched + self._dropped_there

    def _found(self, filter: str, where: Callable[[Message], bool] | None) -> tuple[list[Message], int]:
        captured, seen = self._look()
        messages = [one.message for one in captured if topic_matches(filter, one.message.topic)]
        return [message for message in messages if where is None or where(message)], seen

    def _too_few(
        self,
        filter: str,
        where: Callable[[Message], bool] | None,
        found: list[Message],
        count: int,
        timeout: float,
    ) -> str:
        condition = "" if where is None else " where the condition holds"
        what = f"{len(found)} of {count} messages published to {filter!r}{condition} within {timeout:g} s"
        return f"{what}; {nearest(Wanted(filter), self.messages)}{self._doubt()}"

    def _doubt(self) -> str:
        if not self.dropped:
            return ""
        dropped = f"{self.dropped} older messages were dropped, since maxsize is {self._maxsize}"
        return f"\n({dropped}: this may be about one of them)"
