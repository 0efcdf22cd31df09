"""What a `Client` sends: messages, one or many, requests, and the answers to those of others."""

from __future__ import annotations

import collections.abc
from typing import TYPE_CHECKING, Any

from rmqtt._connection import Connection, check_responder
from rmqtt._properties import of_message, of_request, of_responder
from rmqtt._receipt import Receipt
from rmqtt._rmqtt import Finished, NativeClient, NativeMany

if TYPE_CHECKING:
    from collections.abc import AsyncIterable, Awaitable, Callable, Coroutine, Iterable, Mapping

    from rmqtt._messages import Outgoing
    from rmqtt._responder import Responder
    from rmqtt._results import ManyResult
    from rmqtt._rmqtt import Message, PublishResult
    from rmqtt._types import Payload, QoSLike, UserProperties


class Publisher(Connection[NativeClient]):
    """The half of a `Client` that sends."""

    __slots__ = ("_queued",)

    def _begin(self, url: str, arguments: Mapping[str, Any]) -> NativeClient:
        # What a `publish_nowait` with QoS 0 returns, every time.
        self._queued: Receipt | None = None
        return NativeClient(url, arguments)

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
    ) -> Coroutine[Any, Any, PublishResult]:
        """Send one message.

        With QoS 0 the result means *queued*; with QoS 1 or 2, *taken over by the broker*. The message leaves by itself,
        awaited or not: at the end of the event loop's turn at the latest; messages of one task keep their order. When
        the outbox is full, the result waits for room, unless ``Outbox(on_full=...)`` says otherwise. Cancelling the
        wait takes back a message that is not on its way yet; one that is runs its course, and only its result is thrown
        away.

        Parameters
        ----------
        topic
            Topic name, no wildcards; at most 65 535 bytes of UTF-8.
        payload
            Bytes-like of any shape (sent as its C-order bytes), or `str` (sent as UTF-8, and marked so under MQTT 5).
        qos
            0 at most once, 1 at least once, 2 exactly once.
        retain
            Keep it as the topic's last value, for those who subscribe later; an empty payload deletes it.
        expiry
            Seconds for which the message is of use (MQTT 5); `None`: for ever.
        content_type
            What the payload is, usually a MIME type (MQTT 5).
        response_topic
            Where an answer should be published (MQTT 5).
        correlation
            What tells the asker which question an answer belongs to (MQTT 5).
        user_properties
            The application's own names and values, in order (MQTT 5).
        timeout
            Seconds to wait for the result; `None`: as long as the client lives.

        Raises
        ------
        TopicError
            The topic is empty, too long, or has a wildcard.
        TypeError
            The payload is neither bytes-like nor `str`.
        PacketTooLarge
            The broker takes no packets of this size.
        NotSupportedByBroker
            The broker lacks this QoS, or retained messages.
        PublishRefused
            The broker answered with a failure; see ``reason_code``.
        QueueFull, MessageDropped
            The outbox was full, and ``Outbox(on_full="error")`` or ``"drop_oldest"``.
        MessageExpired
            It was not sent in time: ``Outbox(ttl=...)``, or `expiry`.
        MqttTimeout
            It took longer than ``timeout``.
        Closed
            The client is closed, or was never connected.
        RuntimeError
            The client belongs to another event loop.

        Notes
        -----
        Topic names: MQTT 5 section 3.3.2.1; the exchanges of QoS 1 and 2: section 4.3.

        Examples
        --------
        >>> await client.publish("plant/7/temperature", b"21.5", qos=1)
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
        timeout: float | None = None,
    ) -> Receipt:
        """Send one message, and never wait for room: when the outbox is full, `QueueFull` is raised and nothing sent.

        With ``Outbox(on_full="drop_oldest")`` the oldest message goes instead, and its receipt has `MessageDropped`.

        The receipt tells what became of it, now or later, and need not be awaited. The parameters are those of
        `publish`.

        Returns
        -------
        Receipt
            Awaitable for the result; ``state`` tells where the message is.

        Raises
        ------
        QueueFull
            The outbox has no room, by messages or by bytes, or others wait for room already.

        Notes
        -----
        For the other errors see `publish`: those that are known at once are raised at once, the broker's when awaited.

        Examples
        --------
        >>> receipt = client.publish_nowait("plant/7/temperature", b"21.5")
        >>> receipt.state
        'done'
        """
        if (
            timeout is None
            and expiry is None
            and content_type is None
            and response_topic is None
            and correlation is None
            and not user_properties
        ):
            operation = self._native.publish_nowait(topic, payload, qos, retain)
            # All of QoS 0 are told the same.
            if type(operation) is Finished:
                if self._queued is None:
                    self._queued = Receipt(operation)
                return self._queued
            return Receipt(operation)
        properties = of_message(expiry, content_type, response_topic, correlation, user_properties)
        extra = {"timeout": timeout, "properties": properties}
        return Receipt(self._native.publish_nowait(topic, payload, qos, retain, extra))

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
    ) -> Coroutine[Any, Any, Message]:
        """Publish a message that asks, and wait for the answer of whoever responds to it (MQTT 5).

        Answers come to a topic of this client's own, below ``negotiated.response_information`` where the broker has
        given one; one subscription serves all requests, made with the first and kept through cuts. Many may wait at a
        time. Cancelling, or a time-out, leaves nothing behind; an answer that is late is dropped.

        Parameters
        ----------
        topic
            Topic name, no wildcards.
        payload
            What to ask; as of `publish`.
        timeout
            Seconds to wait for the answer; `None`: as long as the client lives.
        qos
            Of the question; a responder of this package answers with the same.
        expiry
            Seconds for which the question is of use; `None`: as long as it is waited for, rounded up. So nobody works
            on what nobody waits for any more.
        content_type
            What the payload is, usually a MIME type.
        user_properties
            The application's own names and values, in order.

        Returns
        -------
        Message
            The answer.

        Raises
        ------
        MqttTimeout
            No answer came in time.
        RequestFailed
            The responder says that it failed, or the broker that nobody has subscribed to the topic.
        NotSupportedByBroker
            The connection speaks MQTT 3.1.1, which has no requests.
        QueueFull
            65 536 requests wait for their answers already.
        TopicError, TypeError, PacketTooLarge, PublishRefused, SubscribeRefused, Closed, RuntimeError
            As of `publish` and `subscribe`.

        Notes
        -----
        Request and response: MQTT 5 section 4.10.

        Examples
        --------
        >>> async def double(request):
        ...     return str(2 * request.json())
        >>> async with client.respond("double", double):
        ...     (await client.request("double", "21")).json()
        42
        """
        return self._native.request(topic, payload, qos, of_request(timeout, expiry, content_type, user_properties))

    def respond(
        self,
        filter: str,
        handler: Callable[[Message], Awaitable[Payload | None]],
        /,
        *,
        concurrency: int = 16,
        qos: QoSLike = 2,
        maxsize: int = 1000,
        max_bytes: int = 16 << 20,
    ) -> Responder:
        """Answer requests: each message that comes is given to `handler`, and what that returns goes back to the asker.

        Enter the result with ``async with``, or await it. The answer has the QoS and the correlation
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
            Takes the `Message`, gives a payload; a coroutine function. ``None`` is an empty answer.
        concurrency
            Handlers that may run at a time; 1 or more.
        qos, maxsize, max_bytes
            As of `subscribe`.

        Raises
        ------
        NotSupportedByBroker
            The connection speaks MQTT 3.1.1, which has no requests.
        ValueError
            `concurrency` is less than 1, or a value is out of its range.
        TopicError, Closed, SubscribeRefused
            As of `subscribe`.

        Examples
        --------
        >>> async def status(request):
        ...     if request.text() != "please":
        ...         raise rmqtt.RequestFailed("say please")
        ...     return "all is well"
        >>> async with client.respond("plant/7/status", status):
        ...     await client.request("plant/7/status", "now")
        Traceback (most recent call last):
        rmqtt.exceptions.RequestFailed: the request failed: say please
        """
        from rmqtt._responder import Responder  # noqa: PLC0415 - only who responds pays for it

        check_responder(self, concurrency)
        native = self._native.subscribe([filter], of_responder(qos, maxsize, max_bytes))
        return Responder(native, client=self, handler=handler, concurrency=concurrency)

    async def publish_many(
        self,
        items: Iterable[tuple[str, Payload] | Outgoing] | AsyncIterable[tuple[str, Payload] | Outgoing],
        /,
        *,
        qos: QoSLike = 0,
        window: int = 1024,
        progress: Callable[[int, int | None], object] | None = None,
    ) -> ManyResult:
        """Send many messages, in their order, at a fraction of what a `publish` for each costs.

        Items are read as fast as the broker takes them over, never more ahead than `window`, and other tasks have their
        turns meanwhile. A message that fails does not stop the others: the result tells which did, and why.

        When reading `items` raises, what was read until then is still sent and settled, and then the error is raised.
        Cancelling stops the reading; messages that are not on their way by then are taken back, those that are run
        their course.

        Parameters
        ----------
        items
            Pairs of topic and payload, or `Outgoing`; an iterable, also an endless one, or an async iterable.
        qos
            Of the pairs; an `Outgoing` has its own.
        window
            Messages of QoS 1 and 2 that may be unsettled at a time; 1 or more. What the broker grants
            (``negotiated.receive_maximum``) and the outbox bound it too.
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
        RuntimeError
            The client belongs to another event loop.

        Examples
        --------
        >>> readings = ((f"plant/{n}/temperature", b"21.5") for n in range(10_000))
        >>> (await client.publish_many(readings, qos=1)).published
        10000
        """
        from rmqtt._many import feed, telling  # noqa: PLC0415 - only who has many pays for it
        from rmqtt._results import ManyResult  # noqa: PLC0415 - only who has many pays for it

        if window < 1:
            raise ValueError("window must be 1 or more")
        many = NativeMany(self._native, qos, window)
        tell = telling(progress, items)
        try:
            try:
                if isinstance(items, collections.abc.AsyncIterable):
                    async for item in items:
                        await feed(many, iter((item,)), window, tell)
                else:
                    await feed(many, iter(items), window, tell)
            except Exception:
                await many.below(0)
                raise
            await many.below(0)
        finally:
            many.give_up()
        if tell is not None:
            tell(many.settled)
        published, failed, errors = many.result()
        return ManyResult(published=published, failed=failed, errors=errors)
