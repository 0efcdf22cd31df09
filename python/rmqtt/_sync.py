"""`SyncClient`: the blocking twin of `Client`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, Self

from rmqtt._auth import Runner, ask_on_a_thread
from rmqtt._connection import DRAIN, connected, happened
from rmqtt._journal import keep
from rmqtt._properties import of_farewell
from rmqtt._rmqtt import NativeSyncClient
from rmqtt._sync_publisher import SyncPublisher
from rmqtt._sync_subscription import SyncSubscription, begin

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from types import TracebackType

    from rmqtt._events import Connected, Event
    from rmqtt._results import UnsubscribeResult
    from rmqtt._rmqtt import NativeEvents
    from rmqtt._types import AckMode, Overflow, QoSLike, UserProperties

__all__ = ["SyncClient"]


class SyncClient(SyncPublisher):
    """A `Client` that blocks: the same names and options for plain code, in scripts, threads and notebook cells.

    Enter it with ``with``, which connects; the end of the block waits up to 5 seconds for what is queued, and says
    goodbye. A block left by an exception has the broker publish the will.

    No event loop is needed, and none is in the way: where one runs, it stands still while a call waits. Other threads
    run meanwhile, Ctrl-C is heard within a tenth of a second, and several threads may share a client. The connection
    lives on threads of its own, keep alive included, whatever the program does. A handler given as ``auth``, and a
    function given as ``password``, is called on a thread of its own.

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
        self._handler = isinstance(arguments["auth"], tuple) or isinstance(arguments["password"], Runner)
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
            ask_on_a_thread(self._native, self)
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
        return self._native.close(timeout, of_farewell(reason_code, session_expiry, reason_string, user_properties))

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
        begin(native, timeout)
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


def _events(native: NativeEvents, timeout: float | None) -> Iterator[Event]:
    while (event := native.wait(timeout)) is not None:
        yield happened(*event)
