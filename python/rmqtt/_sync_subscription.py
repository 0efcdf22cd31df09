"""`SyncSubscription`: the blocking twin of `Subscription`."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Literal, Self

from rmqtt._subscription import Subscribed
from rmqtt.exceptions import Closed, MqttError, MqttTimeout

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import TracebackType

    from rmqtt._results import UnsubscribeResult
    from rmqtt._rmqtt import Message, NativeSubscription
    from rmqtt._types import QoSLike, UserProperties

__all__ = ["SyncSubscription"]


class SyncSubscription(Subscribed):
    """The messages of some topic filters, in a bounded queue. Made by `SyncClient.subscribe`, which has subscribed.

    ``with`` unsubscribes at the end, and so does `close`. ``for`` takes message by message, for as long as the
    subscription lives; `messages` bounds the waiting. Several threads may do so, and share the messages. A wait that
    runs out of time, or is ended by Ctrl-C, loses none.

    With ``ack="processed"`` a message is acknowledged as of `Subscription`: when the loop asks for the next one, or by
    the clean end of the block.

    Examples
    --------
    >>> with rmqtt.SyncClient(broker.url) as client:
    ...     with client.subscribe("plant/#", qos=1) as readings:
    ...         _ = client.publish("plant/7", "21.5", qos=1)
    ...         [message.json() for message in readings.messages(timeout=0.1)]
    [21.5]
    """

    __slots__ = ()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._keep:
            self._native.keep(kind is None)
        else:
            self._native.stop_blocking(kind is None)

    def close(self, *, user_properties: UserProperties = (), timeout: float | None = None) -> UnsubscribeResult:
        """Unsubscribe. What was handed out counts as processed; what still waits is let go.

        Parameters
        ----------
        user_properties
            Pairs for the UNSUBSCRIBE packet (MQTT 5; left out under 3.1.1).
        timeout
            Seconds to wait for the broker's answer; `None`: as long as the client lives.

        Raises
        ------
        UnsubscribeRefused
            The broker refused.
        MqttTimeout
            It took longer than ``timeout``; the subscription ends all the same.

        Examples
        --------
        >>> with rmqtt.SyncClient(broker.url) as client:
        ...     client.subscribe("plant/#").close().reason_string is None
        True
        """
        return self._native.stop_blocking(True, list(user_properties), timeout)

    def update(
        self,
        *filters: str,
        qos: QoSLike | None = None,
        no_local: bool | None = None,
        retain_as_published: bool | None = None,
        retain_handling: Literal[0, 1, 2] | None = None,
        user_properties: UserProperties = (),
        timeout: float | None = None,
    ) -> None:
        """Ask for other messages, and go on: these filters take the place of those that the subscription has.

        What is new is asked for first, then what is no longer wanted is given up; a filter that stays is not touched:
        see `Subscription.update`. Other threads may take messages meanwhile.

        Parameters
        ----------
        filters, qos, no_local, retain_as_published, retain_handling, user_properties
            As of `Subscription.update`.
        timeout
            Seconds to wait for the broker's answers; `None`: as long as the client lives. What has begun goes on.

        Raises
        ------
        SubscribeRefused, UnsubscribeRefused, TopicError, ValueError, NotSupportedByBroker, PacketTooLarge, Closed
            As of `Subscription.update`.
        MqttTimeout
            It took longer than ``timeout``.

        Examples
        --------
        >>> with rmqtt.SyncClient(broker.url) as client, client.subscribe("plant/1/#") as readings:
        ...     readings.update("plant/2/#")
        ...     readings.filters
        ('plant/2/#',)
        """
        options = {
            "qos": qos,
            "no_local": no_local,
            "retain_as_published": retain_as_published,
            "retain_handling": retain_handling,
            "user_properties": list(user_properties),
        }
        self._native.update_blocking(list(filters), options, timeout)

    def __iter__(self) -> Iterator[Message]:
        return self.messages()

    def messages(self, timeout: float | None = None) -> Iterator[Message]:
        """Loop over the messages, until none has come for some time.

        Parameters
        ----------
        timeout
            Seconds without a message after which the loop ends; `None`: it ends with the subscription, as does a plain
            ``for`` over the subscription.

        Yields
        ------
        Message
            The next one.

        Raises
        ------
        QueueFull
            The queue ran over, and the policy is ``"error"``.

        Examples
        --------
        >>> with rmqtt.SyncClient(broker.url) as client, client.subscribe("plant/#") as readings:
        ...     for n in range(3):
        ...         _ = client.publish(f"plant/{n}", "21.5", qos=1)
        ...     len(list(readings.messages(timeout=0.1)))
        3
        """
        reader = self._native.reader()
        try:
            while (message := reader.wait(timeout)) is not None:
                yield message
        except Closed:
            return

    def get(self, timeout: float | None = None) -> Message:
        """Wait for the next message. The one before, taken by `get` or `get_nowait`, counts as processed.

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
        >>> with rmqtt.SyncClient(broker.url) as client, client.subscribe("plant/#") as readings:
        ...     _ = client.publish("plant/7", "21.5")
        ...     readings.get(timeout=5).text()
        '21.5'
        """
        message = self._reader().wait(timeout)
        if message is None:
            raise MqttTimeout(f"no message came within {timeout} s")
        return message

    def get_many(self, max_items: int = 1000, max_wait: float = 0.0, timeout: float | None = None) -> list[Message]:
        """Wait for messages and take several at once. Those of the call before count as processed.

        Parameters
        ----------
        max_items
            Messages at most; 1 or more.
        max_wait
            Seconds to go on collecting once the first one is there; 0: only what is there then.
        timeout
            Seconds to wait for the first one; `None`: as long as the subscription lives.

        Returns
        -------
        list of Message
            At least one.

        Raises
        ------
        MqttTimeout
            Nothing came in time.
        Closed
            The subscription has ended.

        Examples
        --------
        >>> with rmqtt.SyncClient(broker.url) as client, client.subscribe("plant/#") as readings:
        ...     for n in range(3):
        ...         _ = client.publish(f"plant/{n}", "21.5", qos=1)
        ...     len(readings.get_many(3, max_wait=5, timeout=5))
        3
        """
        reader = self._many_reader(max_items)
        messages, self._gathered = self._gathered, []
        if not messages:
            first = reader.wait(timeout)
            if first is None:
                raise MqttTimeout(f"no message came within {timeout} s")
            messages = first
        ends = time.monotonic() + max_wait
        try:
            while max_wait > 0 and len(messages) < max_items:
                more = reader.more(max_items - len(messages)).wait(max(0.0, ends - time.monotonic()))
                if more is None:
                    break
                messages += more
        except MqttError:
            pass  # with messages in hand, the end is for the next call, which finds nothing else
        except BaseException:
            self._gathered = messages  # Ctrl-C: what was gathered belongs to the next call
            raise
        self._gathered = messages[max_items:]
        return messages[:max_items]


def begin(native: NativeSubscription, timeout: float | None) -> None:
    """Subscribe, and give up what could not be in time."""
    try:
        native.start_blocking(timeout)
    except BaseException:
        native.give_up()
        raise
