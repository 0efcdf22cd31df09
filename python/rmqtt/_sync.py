"""`SyncClient` and `SyncSubscription`: the blocking twins of `Client` and `Subscription`."""

from __future__ import annotations

import threading
import time
import weakref
from collections import deque
from typing import TYPE_CHECKING, Any, Literal, Self

from rmqtt._auth import Runner
from rmqtt._connection import DRAIN, Connection, check_responder, connected, happened, inquiries, question, telling
from rmqtt._journal import keep
from rmqtt._live import Live
from rmqtt._receipt import ReceiptState, shown
from rmqtt._rmqtt import NativeSyncClient
from rmqtt._subscription import Subscribed
from rmqtt._types import ManyResult, Outgoing
from rmqtt.exceptions import Closed, MqttError, MqttTimeout, NotConnected, QueueFull

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Iterable, Iterator, Mapping
    from types import TracebackType

    from rmqtt._events import Connected, Event
    from rmqtt._responder import SyncResponder
    from rmqtt._rmqtt import Message, NativeEvents, NativeReceipt, NativeSubscription, PublishResult
    from rmqtt._types import AckMode, Overflow, Payload, QoSLike, UnsubscribeResult, UserProperties

__all__ = ["SyncClient", "SyncReceipt", "SyncSubscription"]

# So many failures of a `publish_many` are told one by one; all are counted.
_ERRORS_MAX = 1000
_NAMED = ("qos", "retain", "expiry", "content_type", "response_topic", "correlation", "user_properties")


class SyncClient(Connection[NativeSyncClient]):
    """A `Client` that blocks: the same names and options for plain code, in scripts, threads and notebook cells.

    Enter it with ``with``, which connects; the end of the block waits up to 5 seconds for what is queued, and says
    goodbye. A block left by an exception has the broker publish the will.

    No event loop is needed, and none is in the way: where one runs, it stands still while a call waits. Other threads
    run meanwhile, Ctrl-C is heard within a tenth of a second, and several threads may share a client. The connection
    lives on threads of its own, keep alive included, whatever the program does. A handler given as ``auth`` is called
    on a thread of its own.

    Parameters
    ----------
    url, port, client_id, version, username, password, auth, clean_start, session_expiry, keep_alive, connect_timeout,
    receive_maximum, max_packet_size, topic_alias_max, request_response_information, request_problem_information, will,
    reconnect, outbox, user_properties, trace_context
        As of `Client`.

    Raises
    ------
    ValueError
        The URL is none, or a value is out of its range.

    Examples
    --------
    >>> with rmqtt.SyncClient(broker.url) as client, client.subscribe("plant/#", qos=1) as readings:
    ...     client.publish("plant/7/temperature", b"21.5", qos=1)
    ...     readings.get(timeout=5).topic
    PublishResult(SUCCESS)
    'plant/7/temperature'
    """

    __slots__ = ("_handler",)

    def _begin(self, url: str, arguments: Mapping[str, Any]) -> NativeSyncClient:
        auth = arguments["auth"]
        self._handler = isinstance(auth, tuple) and isinstance(auth[1], Runner)
        return NativeSyncClient(url, arguments)

    def _trace(self) -> None:
        from rmqtt.otel import TracingSyncClient  # noqa: PLC0415 - only who traces needs it

        self.__class__ = TracingSyncClient

    def __enter__(self) -> Self:
        self.connect()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._native.close(DRAIN if kind is None else None)

    def connect(self) -> None:
        """Connect, where ``with`` does not fit; then `close` must be called.

        Raises
        ------
        ConnectFailed
            The broker could not be reached; of several addresses, none would have us: ``failures`` says why.
        ConnectRefused
            The broker refused us; ``reason_code`` says why.
        AuthenticationFailed
            The broker has not proven who it is; what a handler given as ``auth`` raises comes as it is.
        MqttTimeout
            It took longer than ``connect_timeout``.
        RuntimeError
            It is connected already.

        Examples
        --------
        >>> client = rmqtt.SyncClient(broker.url)
        >>> client.connect()
        >>> client.close()
        """
        keep()
        if self._handler:
            self._handler = False
            _ask_on_a_thread(self._native, self)
        self._native.connect()

    def close(
        self,
        *,
        timeout: float = DRAIN,
        reason_code: int | None = None,
        session_expiry: float | None = None,
        reason_string: str | None = None,
        user_properties: UserProperties = (),
    ) -> None:
        """Send what is queued, say goodbye, and end the client. The will is not published. A second call does nothing.

        Whoever waits on another thread hears `Closed`; every subscription ends.

        Parameters
        ----------
        timeout, reason_code, session_expiry, reason_string, user_properties
            As of `Client.close`.

        Raises
        ------
        ValueError
            It cannot be said: a code that is not a client's, a session to be prolonged, or anything under 3.1.1.
            Nothing is ended then.

        Examples
        --------
        >>> with rmqtt.SyncClient(broker.url) as client:
        ...     client.close(reason_string="the shift is over")
        """
        if reason_code is None and session_expiry is None and reason_string is None and not user_properties:
            return self._native.close(timeout)
        farewell = {
            "reason_code": reason_code,
            "session_expiry": session_expiry,
            "reason_string": reason_string,
            "user_properties": list(user_properties),
        }
        return self._native.close(timeout, farewell)

    def reauthenticate(self, timeout: float | None = None) -> None:
        """Prove once more who we are, while messages flow: for credentials that expire. Needs ``auth``.

        Parameters
        ----------
        timeout
            Seconds to wait; `None`: as long as the client lives. What has begun goes on.

        Raises
        ------
        ConnectRefused
            The broker refused; ``reason_code`` says why.
        AuthenticationFailed
            The broker has not proven who it is; what a handler given as ``auth`` raises comes as it is.
        ConnectionLost
            The connection was lost meanwhile.
        MqttTimeout
            It took longer than ``timeout`` or ``connect_timeout``.
        ValueError
            The client has no ``auth``, or is authenticating already.

        Examples
        --------
        >>> with rmqtt.Broker("mqtt://127.0.0.1:0", auth={"alice": "secret"}) as guarded:
        ...     with rmqtt.SyncClient(guarded.url, auth=rmqtt.ScramSha256("alice", "secret")) as client:
        ...         client.reauthenticate(timeout=5)
        """
        self._native.reauthenticate(timeout)

    def abort(self) -> None:
        """End the client at once and without a goodbye, as a crash would: the broker publishes the will.

        What is queued is lost. For tests and demonstrations of what others see when a client dies.

        Examples
        --------
        >>> with rmqtt.SyncClient(broker.url) as client:
        ...     client.abort()
        """
        self._native.abort()

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
        properties = {
            "expiry": expiry,
            "content_type": content_type,
            "response_topic": response_topic,
            "correlation": correlation,
            "user_properties": list(user_properties),
        }
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
        properties = {
            "expiry": expiry,
            "content_type": content_type,
            "response_topic": response_topic,
            "correlation": correlation,
            "user_properties": list(user_properties),
        }
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
        return self._native.request(topic, payload, qos, question(timeout, expiry, content_type, user_properties))

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
        native = self._native.subscribe([filter], inquiries(qos, maxsize, max_bytes))
        _start(native, timeout)
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
        if window < 1:
            raise ValueError("window must be 1 or more")
        many = _Many(self, telling(progress, items), waits=self._waits_for_room)
        for place, item in enumerate(items):
            many.send(place, item, qos)
            if len(many.open) >= window:
                many.settle(window // 2)
        many.settle(0)
        return ManyResult(published=many.published, failed=many.failed, errors=many.errors)

    def subscribe(
        self,
        *filters: str,
        qos: QoSLike = 0,
        maxsize: int = 1000,
        max_bytes: int = 16 << 20,
        overflow: Overflow | None = None,
        ack: AckMode = "processed",
        no_local: bool = False,
        retain_as_published: bool = False,
        retain_handling: Literal[0, 1, 2] = 0,
        user_properties: UserProperties = (),
        keep: bool = False,
        timeout: float | None = None,
    ) -> SyncSubscription:
        """Ask for messages, and wait until the broker has granted them. Loop over the result, or ask it with ``get``.

        Parameters
        ----------
        filters, qos, maxsize, max_bytes, overflow, ack, no_local, retain_as_published, retain_handling,
        user_properties, keep
            As of `Client.subscribe`.
        timeout
            Seconds to wait for the broker's answer; `None`: as long as the client lives.

        Raises
        ------
        TopicError, ValueError, SubscribeRefused, NotSupportedByBroker, PacketTooLarge, Closed
            As of `Client.subscribe`.
        MqttTimeout
            It took longer than ``timeout``; the subscription is given up.

        Examples
        --------
        >>> with rmqtt.SyncClient(broker.url) as client:
        ...     with client.subscribe("plant/+/temperature", qos=1) as readings:
        ...         client.publish("plant/7/temperature", b"21.5", qos=1)
        ...         for message in readings:
        ...             break
        PublishResult(SUCCESS)
        >>> message
        <Message 'plant/7/temperature' b'21.5', qos=1>
        """
        native = self._native.subscribe(
            list(filters),
            {
                "qos": qos,
                "maxsize": maxsize,
                "max_bytes": max_bytes,
                "overflow": overflow,
                "ack": ack,
                "no_local": no_local,
                "retain_as_published": retain_as_published,
                "retain_handling": retain_handling,
                "user_properties": list(user_properties),
            },
        )
        _start(native, timeout)
        return SyncSubscription(native, keep=keep)

    def unsubscribe(
        self,
        subscription: SyncSubscription,
        /,
        *,
        user_properties: UserProperties = (),
        timeout: float | None = None,
    ) -> UnsubscribeResult:
        """End a subscription; the same as ``subscription.close()``.

        Parameters
        ----------
        subscription
            Of this client.
        user_properties, timeout
            As of `SyncSubscription.close`.

        Raises
        ------
        UnsubscribeRefused
            The broker refused.
        MqttTimeout
            It took longer than ``timeout``.

        Examples
        --------
        >>> with rmqtt.SyncClient(broker.url) as client:
        ...     client.unsubscribe(client.subscribe("plant/#")).results
        {'plant/#': <ReasonCode.SUCCESS: 0>}
        """
        return subscription.close(user_properties=user_properties, timeout=timeout)

    def drain(self, timeout: float | None = None) -> None:
        """Wait until everything published so far is sent and, for QoS 1 and 2, taken over by the broker.

        Parameters
        ----------
        timeout
            Seconds to wait; `None`: as long as the client lives.

        Raises
        ------
        MqttTimeout
            It took longer.
        Closed
            The client is closed, or was never connected.

        Examples
        --------
        >>> with rmqtt.SyncClient(broker.url) as client:
        ...     client.drain(timeout=5)
        """
        self._native.drain(timeout)

    def wait_connected(self, timeout: float | None = None) -> Connected:
        """Wait until there is a connection: at once where there is one, after a cut until the client is back.

        Parameters
        ----------
        timeout
            Seconds to wait; `None`: as long as the client lives.

        Returns
        -------
        Connected
            With what the broker granted.

        Raises
        ------
        MqttTimeout
            It took longer.
        NotConnected
            The client is not connected and is not connecting.
        MqttError
            The client has ended; this is why.

        Examples
        --------
        >>> with rmqtt.SyncClient(broker.url) as client:
        ...     client.wait_connected(timeout=5).negotiated.version
        '5.0'
        """
        _, fields = self._native.wait_connected(timeout)
        return connected(fields)

    def events(self, timeout: float | None = None) -> Iterator[Event]:
        """Tell, from this call on, what happens to the connection, and which handlers fail.

        What nobody reads is lost, the oldest first.

        Parameters
        ----------
        timeout
            Seconds without any event after which the loop ends; `None`: it ends with the client.

        Yields
        ------
        Connected or Disconnected or SessionForgotten or Resubscribed or Dropped or ServerRedirect or HandlerFailed
            What happened.

        Examples
        --------
        >>> client = rmqtt.SyncClient(broker.url)
        >>> events = client.events(timeout=5)
        >>> with client:
        ...     type(next(events)).__name__
        'Connected'
        """
        return _events(self._native.events(), timeout)


def _start(native: NativeSubscription, timeout: float | None) -> None:
    try:
        native.start_blocking(timeout)
    except BaseException:
        native.give_up()
        raise


class _Many:
    """What became of the messages of one `publish_many` so far."""

    def __init__(self, client: SyncClient, tell: Callable[[int], object] | None, *, waits: bool) -> None:
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


class SyncReceipt(Live):
    """What became of a message. Made by `SyncClient.publish_nowait`; ask it for the result, or forget it.

    Examples
    --------
    >>> with rmqtt.SyncClient(broker.url) as client:
    ...     receipt = client.publish_nowait("plant/7/temperature", b"21.5", qos=1)
    ...     _ = receipt.result(timeout=5)
    ...     receipt.state
    'done'
    """

    __slots__ = ("_native",)

    def __init__(self, native: NativeReceipt) -> None:
        self._native = native

    @property
    def state(self) -> ReceiptState:
        """Where the message is.

        ``"queued"``: not on its way, and can be taken back. ``"sent"``: on its way. ``"done"``: taken over by the
        broker; with QoS 0, in the outbox, which is all there is to know. ``"failed"``: `result` says why.
        ``"withdrawn"``: taken back before it was on its way.
        """
        return self._native.state

    def done(self) -> bool:
        """Whether there is nothing more to wait for: the result is there, or the message was taken back."""
        return self._native.state in ("done", "failed", "withdrawn")

    def cancel(self) -> bool:
        """Take the message back if it is not on its way; else nothing is changed, and `result` tells how it ends.

        Returns
        -------
        bool
            Whether it was taken back.
        """
        return self._native.cancel()

    def result(self, timeout: float | None = None) -> PublishResult:
        """Wait for the result.

        Parameters
        ----------
        timeout
            Seconds to wait; `None`: as long as the client lives. The message goes on.

        Raises
        ------
        MqttTimeout
            It is not there yet.
        MqttError
            What went wrong.
        concurrent.futures.CancelledError
            The message was taken back.
        """
        result = self._native.result(timeout)
        if result is None:
            from concurrent.futures import CancelledError  # noqa: PLC0415 - rare

            raise CancelledError("the message was taken back")
        return result

    def __repr__(self) -> str:
        return f"<SyncReceipt, {self.state}>"

    def _repr_html_(self) -> str:
        return shown(self)


def _events(native: NativeEvents, timeout: float | None) -> Iterator[Event]:
    while (event := native.wait(timeout)) is not None:
        yield happened(*event)


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


def _ask_on_a_thread(native: NativeSyncClient, owner: object) -> None:
    """Give a handler of enhanced authentication an event loop of its own, for as long as `owner` lives."""
    import asyncio  # noqa: PLC0415 - only here

    loop = asyncio.new_event_loop()
    asks_there = threading.Event()

    def run() -> None:
        loop.call_soon(native.ask_here)
        loop.call_soon(asks_there.set)
        loop.run_forever()
        loop.close()

    threading.Thread(target=run, name="rmqtt-auth", daemon=True).start()
    asks_there.wait()
    weakref.finalize(owner, _stop, loop).atexit = False


def _stop(loop: asyncio.AbstractEventLoop) -> None:
    loop.call_soon_threadsafe(loop.stop)
