"""What a `SyncClient` sends: messages, one or many, requests, and the answers to those of others."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rmqtt._connection import Connection, check_responder
from rmqtt._properties import of_message, of_request, of_responder
from rmqtt._receipt import SyncReceipt
from rmqtt._rmqtt import NativeSyncClient
from rmqtt._sync_subscription import begin

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from rmqtt._messages import Outgoing
    from rmqtt._responder import SyncResponder
    from rmqtt._results import ManyResult
    from rmqtt._rmqtt import Message, PublishResult
    from rmqtt._types import Payload, QoSLike, UserProperties


class SyncPublisher(Connection[NativeSyncClient]):
    """The half of a `SyncClient` that sends."""

    __slots__ = ()

    def publish(
        self,
        topic: str,
        payload: Payload = b"",
        /,
        *,
        qos: QoSLike = 0,
        retain: bool = False,
        expiry: float | None = None,
        content_type: str | None = None,
        response_topic: str | None = None,
        correlation: bytes | None = None,
        user_properties: UserProperties = (),
        timeout: float | None = None,
    ) -> PublishResult:
        """Send one message; with QoS 1 or 2, wait until the broker has taken it over.

        With QoS 0 this returns when the message is queued, at once unless the outbox is full. Ctrl-C and `timeout` take
        back a message that waits for room; one that is on its way runs its course.

        Parameters
        ----------
        topic, payload, qos, retain, expiry, content_type, response_topic, correlation, user_properties
            As of `Client.publish`.
        timeout
            Seconds to wait for the result; `None`: as long as the client lives.

        Raises
        ------
        TopicError, TypeError, PacketTooLarge, NotSupportedByBroker, PublishRefused, MqttTimeout, Closed
            As of `Client.publish`.

        Examples
        --------
        >>> with rmqtt.SyncClient(broker.url) as client:
        ...     client.publish("plant/7/temperature", b"21.5", qos=1, timeout=5)
        PublishResult(NO_MATCHING_SUBSCRIBERS)
        """
        if (
            timeout is None
            and expiry is None
            and content_type is None
            and response_topic is None
            and correlation is None
            and not user_properties
        ):
            return self._native.publish(topic, payload, qos, retain)
        properties = of_message(expiry, content_type, response_topic, correlation, user_properties)
        return self._native.publish(topic, payload, qos, retain, {"timeout": timeout, "properties": properties})

    def publish_nowait(
        self,
        topic: str,
        payload: Payload = b"",
        /,
        *,
        qos: QoSLike = 0,
        retain: bool = False,
        expiry: float | None = None,
        content_type: str | None = None,
        response_topic: str | None = None,
        correlation: bytes | None = None,
        user_properties: UserProperties = (),
    ) -> SyncReceipt:
        """Send one message, and never wait: when the outbox is full, `QueueFull` is raised and nothing is sent.

        Parameters
        ----------
        topic, payload, qos, retain, expiry, content_type, response_topic, correlation, user_properties
            As of `Client.publish`.

        Returns
        -------
        SyncReceipt
            Tells what became of it, now or later; it may be forgotten.

        Raises
        ------
        QueueFull
            The outbox has no room, by messages or by bytes.

        Notes
        -----
        For the other errors see `publish`: what is known at once is raised at once, the broker's errors by the receipt.

        Examples
        --------
        >>> with rmqtt.SyncClient(broker.url) as client:
        ...     receipts = [client.publish_nowait("plant/7", str(n), qos=1) for n in range(10)]
        ...     {receipt.result(timeout=5).reason_code.name for receipt in receipts}
        {'NO_MATCHING_SUBSCRIBERS'}
        """
        properties = of_message(expiry, content_type, response_topic, correlation, user_properties)
        extra = {"timeout": None, "properties": properties} if any(properties.values()) else None
        return SyncReceipt(self._native.publish_nowait(topic, payload, qos, retain, extra))

    def request(
        self,
        topic: str,
        payload: Payload = b"",
        /,
        *,
        timeout: float | None = 5,
        qos: QoSLike = 1,
        expiry: float | None = None,
        content_type: str | None = None,
        user_properties: UserProperties = (),
    ) -> Message:
        """Publish a message that asks, and wait for the answer of whoever responds to it (MQTT 5).

        Many threads may ask at a time. Ctrl-C, or a time-out, leaves nothing behind; an answer that is late is
        dropped.

        Parameters
        ----------
        topic, payload, timeout, qos, expiry, content_type, user_properties
            As of `Client.request`.

        Returns
        -------
        Message
            The answer.

        Raises
        ------
        MqttTimeout, RequestFailed, NotSupportedByBroker, QueueFull, TopicError, TypeError, Closed
            As of `Client.request`.

        Examples
        --------
        >>> with rmqtt.SyncClient(broker.url) as client:
        ...     with client.respond("double", lambda request: str(2 * request.json())):
        ...         client.request("double", "21").json()
        42
        """
        return self._native.request(topic, payload, qos, of_request(timeout, expiry, content_type, user_properties))

    def respond(
        self,
        filter: str,
        handler: Callable[[Message], Payload | None],
        /,
        *,
        concurrency: int = 16,
        qos: QoSLike = 2,
        maxsize: int = 1000,
        max_bytes: int = 16 << 20,
        timeout: float | None = None,
    ) -> SyncResponder:
        """Answer requests: each message that comes is given to `handler`, and what that returns goes back to the asker.

        Handlers run on threads of their own. The answer has the QoS and the correlation
        data of the question, and goes to the response topic in it; where there is none, what the handler returns is
        dropped. A handler may publish, and make requests itself.

        At most `concurrency` handlers run at a time; the other questions wait in the subscription's queue, and beyond
        its bounds at the broker. A question is acknowledged when it has arrived, so that a slow handler does not hold
        back what its client receives otherwise; a process that dies leaves its askers to their time-outs.

        A handler that raises is logged once (``rmqtt.client``), counted (``failed``) and told to `events`; the asker is
        told that it failed, but not why. To tell more, raise `RequestFailed` with a text for the asker: that is an
        answer, and not logged. On the wire such an answer has a user property ``rmqtt-error``.

        Parameters
        ----------
        filter
            Topic filter; ``$share/group/filter`` shares the questions with all others of the group.
        handler
            Takes the `Message`, gives a payload. ``None`` is an empty answer.
        concurrency
            Handlers that may run at a time; 1 or more.
        qos, maxsize, max_bytes, timeout
            As of `subscribe`.

        Raises
        ------
        NotSupportedByBroker
            The connection speaks MQTT 3.1.1, which has no requests.
        ValueError
            `concurrency` is less than 1, or a value is out of its range.
        TopicError, Closed, SubscribeRefused, MqttTimeout
            As of `subscribe`.

        Examples
        --------
        >>> with rmqtt.SyncClient(broker.url) as client:
        ...     with client.respond("plant/+/echo", lambda request: request.payload):
        ...         client.request("plant/7/echo", "hello").text()
        'hello'
        """
        from rmqtt._responder import SyncResponder  # noqa: PLC0415 - only who responds pays for it

        check_responder(self, concurrency)
        native = self._native.subscribe([filter], of_responder(qos, maxsize, max_bytes))
        begin(native, timeout)
        return SyncResponder(native, client=self, handler=handler, concurrency=concurrency)

    def publish_many(
        self,
        items: Iterable[tuple[str, Payload] | Outgoing],
        /,
        *,
        qos: QoSLike = 0,
        window: int = 1024,
        progress: Callable[[int, int | None], object] | None = None,
    ) -> ManyResult:
        """Send many messages, in their order, without waiting for each. Returns when all are settled.

        Items are read as fast as the broker takes them over, never more ahead than `window`. A message that fails does
        not stop the others: the result tells which did, and why. When reading `items` raises, so does this; what was
        read until then is on its way.

        Parameters
        ----------
        items
            Pairs of topic and payload, or `Outgoing`; an iterable, also an endless one.
        qos
            Of the pairs; an `Outgoing` has its own.
        window
            Messages that may be unsettled at a time; 1 or more.
        progress
            Called with the number of messages settled so far and that of all, now and then and at the end. That of all
            is `None` where `items` cannot tell. What it raises, this raises. With *tqdm*:
            ``progress=lambda done, total: bar.update(done - bar.n)``; with *rich*:
            ``progress=lambda done, total: bars.update(task, completed=done, total=total)``.

        Returns
        -------
        ManyResult
            How many were published, how many not, and why.

        Raises
        ------
        ValueError
            The window is less than 1.
        Closed
            The client is closed, or was never connected.

        Examples
        --------
        >>> with rmqtt.SyncClient(broker.url) as client:
        ...     client.publish_many(((f"plant/{n}", b"21.5") for n in range(1000)), qos=1).published
        1000
        """
        from rmqtt._many import SyncMany, telling  # noqa: PLC0415 - only who has many pays for it
        from rmqtt._results import ManyResult  # noqa: PLC0415 - only who has many pays for it

        if window < 1:
            raise ValueError("window must be 1 or more")
        many = SyncMany(self, telling(progress, items), waits=self._waits_for_room)
        for place, item in enumerate(items):
            many.send(place, item, qos)
            if len(many.open) >= window:
                many.settle(window // 2)
        many.settle(0)
        return ManyResult(published=many.published, failed=many.failed, errors=many.errors)
