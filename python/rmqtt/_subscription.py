"""`Subscription`: the messages of some topic filters, one by one, in bulk, or as they come."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Literal, Self

from rmqtt._live import Live
from rmqtt.exceptions import Closed, MqttError, MqttTimeout

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Coroutine, Generator
    from types import TracebackType

    from rmqtt._results import UnsubscribeResult
    from rmqtt._rmqtt import Message, NativeSubscription, Reader
    from rmqtt._stats import SubscriptionStats
    from rmqtt._types import QoS, QoSLike, UserProperties

__all__ = ["Subscription"]


class Subscribed(Live):
    """What `Subscription` and `SyncSubscription` share: what is there without a wait."""

    __slots__ = ("__weakref__", "_gathered", "_keep", "_many", "_native", "_one")

    def __init__(self, native: NativeSubscription, *, keep: bool = False) -> None:
        self._native = native
        self._keep = keep
        # Readers have their own places, and a place refers to the subscription; so they are made when needed.
        self._one: Reader[Message] | None = None
        self._many: tuple[int, Reader[list[Message]]] | None = None
        self._gathered: list[Message] = []

    def _reader(self) -> Reader[Message]:
        if self._one is None:
            self._one = self._native.reader(is_loop=False)
        return self._one

    def _many_reader(self, max_items: int) -> Reader[list[Message]]:
        if max_items < 1:
            raise ValueError("max_items must be 1 or more")
        if self._many is None or self._many[0] != max_items:
            # The place of another size goes, and what it had handed out is processed by the next that asks.
            self._many = (max_items, self._native.reader(max_items))
        return self._many[1]

    def get_nowait(self) -> Message | None:
        """Take the next message if there is one.

        Returns
        -------
        Message or None
            `None`: none waits.

        Raises
        ------
        Closed
            The subscription has ended.

        Examples
        --------
        >>> async with client.subscribe("plant/#") as readings:
        ...     readings.get_nowait() is None
        True
        """
        return self._reader().now()

    def latest(self) -> Message | None:
        """Look at the newest message that waits, and leave it there. It cannot be acknowledged before it is taken.

        Returns
        -------
        Message or None
            `None`: none waits.

        Examples
        --------
        >>> async with client.subscribe("plant/#", qos=1, overflow="latest") as readings:
        ...     readings.latest() is None
        True
        """
        return self._native.latest()

    @property
    def filters(self) -> tuple[str, ...]:
        """What was asked for, by the latest `update` that has held."""
        return tuple(self._native.filters)

    @property
    def granted(self) -> dict[str, QoS]:
        """The filters with the QoS that the broker granted."""
        return dict(self._native.granted)

    @property
    def reason_string(self) -> str | None:
        """The broker's own words about the subscription, if any (MQTT 5)."""
        return self._native.answer[0]

    @property
    def user_properties(self) -> tuple[tuple[str, str], ...]:
        """The broker's names and values about the subscription, in its order (MQTT 5)."""
        return self._native.answer[1]

    @property
    def pending(self) -> int:
        """Messages that wait."""
        return self._native.pending

    @property
    def dropped(self) -> int:
        """Messages that were dropped by the overflow policy."""
        return self._native.dropped

    def stats(self) -> SubscriptionStats:
        """Take a snapshot of the counters, bounds and high-water marks.

        Examples
        --------
        >>> async with client.subscribe("plant/#", maxsize=100) as readings:
        ...     readings.stats().pending_max
        100
        """
        from rmqtt._stats import SubscriptionStats  # noqa: PLC0415 - only who asks pays for it

        return SubscriptionStats(**self._native.stats())

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {', '.join(map(repr, self.filters))}>"

    def _repr_html_(self) -> str:
        from rmqtt import _html  # noqa: PLC0415 - only notebooks pay for it

        rows: dict[str, object] = {"filters": ", ".join(self.filters)}
        try:
            newest = self.latest()
            rows["granted"] = ", ".join(f"{name}: QoS {qos}" for name, qos in self._native.granted)
            rows["waiting / dropped"] = f"{self.pending} / {self.dropped}"
        except RuntimeError:
            rows["state"] = "not subscribed yet"
        else:
            if newest is not None:
                rows["newest, from"] = newest.topic
                rows["newest"] = _html.payload(newest.payload, newest.properties.content_type)
        return _html.table(f"rmqtt {type(self).__name__}", rows)


class Subscription(Subscribed):
    """The messages of some topic filters, in a bounded queue. Made by `Client.subscribe`.

    ``async with`` subscribes, and unsubscribes at the end. ``await`` subscribes without a block; `close` ends it.
    ``async for`` takes message by message; several tasks may do so, and share the messages. Cancelling a wait loses
    none.

    With ``ack="processed"`` a message is acknowledged when the loop asks for the next one, or by the clean end of the
    block, so also after a ``break``. A block left by an exception leaves its message unacknowledged, and those that
    still wait: the broker sends them again when the session is resumed. Until this connection ends each counts against
    ``receive_maximum``: when so many were left, no more messages of QoS 1 or 2 come before the client has reconnected.
    With ``keep=True`` no end of the block unsubscribes. `update` changes the filters of a subscription that goes on.

    Examples
    --------
    >>> async with client.subscribe("plant/#", qos=1) as readings:
    ...     _ = await client.publish("plant/7", "21.5", qos=1)
    ...     message = await readings.get(timeout=5)
    >>> message.json()
    21.5
    """

    __slots__ = ()

    def __await__(self) -> Generator[Any, Any, Self]:
        return self._start().__await__()

    async def _start(self) -> Self:
        try:
            await self._native.start()
        except BaseException:
            self._native.give_up()
            raise
        return self

    async def __aenter__(self) -> Self:
        return await self._start()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._keep:
            self._native.keep(kind is None)
        else:
            await self._native.stop(kind is None)

    def close(self, *, user_properties: UserProperties = ()) -> Coroutine[Any, Any, UnsubscribeResult]:
        """Unsubscribe. What was handed out counts as processed; what still waits is let go.

        Parameters
        ----------
        user_properties
            Pairs for the UNSUBSCRIBE packet (MQTT 5; left out under 3.1.1).

        Raises
        ------
        UnsubscribeRefused
            The broker refused.

        Examples
        --------
        >>> readings = await client.subscribe("plant/#")
        >>> (await readings.close()).reason_string is None
        True
        """
        return self._native.stop(True, list(user_properties))

    def update(
        self,
        *filters: str,
        qos: QoSLike | None = None,
        no_local: bool | None = None,
        retain_as_published: bool | None = None,
        retain_handling: Literal[0, 1, 2] | None = None,
        user_properties: UserProperties = (),
    ) -> Coroutine[Any, Any, None]:
        """Ask for other messages, and go on: these filters take the place of those that the subscription has.

        What is new is asked for first; when the broker has granted it, what is no longer wanted is given up. A filter
        that stays is not touched unless its options change, so nothing of it is lost, and no retained message comes
        again for it. Meanwhile messages of the old and the new filters come into the same queue; one that matches both
        may come twice, as the broker likes. The queue, its bounds, and how messages are acknowledged stay as they are.

        Updates of one subscription are done one after the other. Cancelling the wait does not stop what has begun; a
        connection that is lost meanwhile does not either: it goes on when the client has reconnected.

        Parameters
        ----------
        filters
            All topic filters that shall hold, those that stay among them; as of `Client.subscribe`.
        qos, no_local, retain_as_published, retain_handling
            As of `Client.subscribe`, for all filters; `None`: as they are.
        user_properties
            Pairs for the SUBSCRIBE packet (MQTT 5; left out under 3.1.1).

        Raises
        ------
        SubscribeRefused
            The broker refused filters; ``results`` says which and why. All is as it was.
        UnsubscribeRefused
            The new filters hold, but the broker does not let go of old ones. Their messages are dropped.
        TopicError
            A filter is none.
        ValueError
            No filter, or a value out of its range.
        NotSupportedByBroker, PacketTooLarge
            As of `Client.subscribe`. All is as it was.
        Closed
            The subscription has ended.

        Examples
        --------
        >>> async with client.subscribe("plant/1/#", "plant/2/#", qos=1) as readings:
        ...     await readings.update("plant/2/#", "plant/3/#")
        ...     readings.filters
        ('plant/2/#', 'plant/3/#')
        """
        options = {
            "qos": qos,
            "no_local": no_local,
            "retain_as_published": retain_as_published,
            "retain_handling": retain_handling,
            "user_properties": list(user_properties),
        }
        return self._native.update(list(filters), options)

    def __aiter__(self) -> AsyncIterator[Message]:
        return self._native.reader().__aiter__()

    def get(self, timeout: float | None = None) -> Coroutine[Any, Any, Message]:
        """Wait for the next message. The one before, taken by `get` or `get_nowait`, counts as processed.

        Tasks that share a subscription and use ``ack="processed"`` should loop with ``async for`` instead: each loop
        has its own place.

        Parameters
        ----------
        timeout
            Seconds to wait; `None`: as long as the subscription lives.

        Raises
        ------
        MqttTimeout
            Nothing came in time.
        Closed
            The subscription has ended.
        QueueFull
            The queue ran over, and the policy is ``"error"``.

        Examples
        --------
        >>> async with client.subscribe("plant/#") as readings:
        ...     _ = await client.publish("plant/7", "21.5")
        ...     (await readings.get(timeout=5)).text()
        '21.5'
        """
        reader = self._reader()
        return reader if timeout is None else self._within(timeout, reader)

    async def _within(self, timeout: float, reader: Reader[Message]) -> Message:  # noqa: ASYNC109 - see `get`
        try:
            async with asyncio.timeout(timeout):
                return await reader
        except TimeoutError as error:
            if isinstance(error, MqttTimeout):
                raise
            raise MqttTimeout(f"no message came within {timeout} s") from None

    async def get_many(self, max_items: int = 1000, max_wait: float = 0.0) -> list[Message]:
        """Wait for messages and take several at once. Those of the call before count as processed.

        Parameters
        ----------
        max_items
            Messages at most; 1 or more.
        max_wait
            Seconds to go on collecting once the first one is there; 0: only what is there then. The first one is
            waited for as long as it takes: bound that with ``asyncio.timeout``, which loses nothing.

        Returns
        -------
        list of Message
            At least one.

        Raises
        ------
        Closed
            The subscription has ended.

        Examples
        --------
        >>> async with client.subscribe("plant/#") as readings:
        ...     for n in range(3):
        ...         _ = await client.publish(f"plant/{n}", "21.5", qos=1)
        ...     len(await readings.get_many(3, max_wait=5))
        3
        """
        reader = self._many_reader(max_items)
        messages, self._gathered = self._gathered, []
        if not messages:
            try:
                messages = await reader
            except StopAsyncIteration:
                raise Closed("the subscription has ended") from None
        try:
            if max_wait > 0:
                async with asyncio.timeout(max_wait):
                    while len(messages) < max_items:
                        messages += await reader.more(max_items - len(messages))
        except (TimeoutError, StopAsyncIteration, MqttError):
            pass  # with messages in hand, the end is for the next call, which finds nothing else
        except BaseException:
            # Cancelled: what was gathered belongs to the next call.
            self._gathered = messages
            raise
        self._gathered = messages[max_items:]
        return messages[:max_items]
