"""How many messages are sent at once: how far ahead, what became of each, and how it is told."""

from __future__ import annotations

import asyncio
import operator
from collections import deque
from typing import TYPE_CHECKING

from rmqtt._messages import Outgoing
from rmqtt.exceptions import Closed, MqttError, NotConnected, QueueFull

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from rmqtt._receipt import SyncReceipt
    from rmqtt._rmqtt import NativeMany
    from rmqtt._sync_publisher import SyncPublisher
    from rmqtt._types import QoSLike

# So many failures of a `publish_many` are told one by one; all are counted.
_ERRORS_MAX = 1000
_NAMED = ("qos", "retain", "expiry", "content_type", "response_topic", "correlation", "user_properties")


def telling(progress: Callable[[int, int | None], object] | None, items: object) -> Callable[[int], object] | None:
    """Tell how far it is of what there is, as far as `items` can tell."""
    if progress is None:
        return None
    length = operator.length_hint(items, -1)
    total = None if length < 0 else length
    return lambda done: progress(done, total)


async def feed(many: NativeMany, items: Iterator[object], window: int, tell: Callable[[int], object] | None) -> None:
    """Send all of these, as there is room."""
    told = 0
    while (stop := many.feed(items)) != "end":
        if stop == "turn":
            await asyncio.sleep(0)
        elif stop == "window":
            # Woken once for half a window: being woken costs as much as many messages do.
            await many.below(window // 2)
        else:
            await many.room()
        if tell is not None and many.settled != told:
            told = many.settled
            tell(told)


class SyncMany:
    """What became of the messages of one `publish_many` so far."""

    def __init__(self, client: SyncPublisher, tell: Callable[[int], object] | None, *, waits: bool) -> None:
        self._client = client
        self._tell = tell
        self._waits = waits
        self.open: deque[tuple[int, SyncReceipt]] = deque()
        self.published = 0
        self.failed = 0
        self.errors: dict[int, Exception] = {}

    def send(self, place: int, given: object, qos: QoSLike) -> None:
        try:
            item = _outgoing(given, qos)
            named = {name: getattr(item, name) for name in _NAMED}
            try:
                self.open.append((place, self._client.publish_nowait(item.topic, item.payload, **named)))
            except QueueFull:
                if not self._waits:
                    raise
                # The oldest gives its room, or, where the outbox is full of others' messages, it is waited for.
                self.settle(len(self.open) // 2)
                self._client.publish(item.topic, item.payload, **named)
                self.published += 1
        except (Closed, NotConnected):
            raise
        except (MqttError, ValueError, TypeError) as error:
            self._fail(place, error)

    def settle(self, left: int) -> None:
        while len(self.open) > left:
            place, receipt = self.open.popleft()
            try:
                receipt.result()
            except MqttError as error:
                self._fail(place, error)
            else:
                self.published += 1
        if self._tell is not None:
            self._tell(self.published + self.failed)

    def _fail(self, place: int, error: Exception) -> None:
        self.failed += 1
        if len(self.errors) < _ERRORS_MAX:
            self.errors[place] = error


def _outgoing(given: object, qos: QoSLike) -> Outgoing:
    if isinstance(given, Outgoing):
        return given
    if isinstance(given, tuple) and len(given) == 2:
        return Outgoing(*given, qos=qos)
    kind = type(given).__name__
    raise TypeError(f"publish_many takes (topic, payload) tuples and rmqtt.Outgoing, not {kind}")
