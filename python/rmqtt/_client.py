"""`Client`: the asyncio face of one connection."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any, Literal, Self

from rmqtt._connection import DRAIN, connected, happened
from rmqtt._journal import keep
from rmqtt._properties import of_farewell
from rmqtt._publisher import Publisher
from rmqtt._subscription import Subscription

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Coroutine
    from types import TracebackType

    from rmqtt._events import Connected, Event
    from rmqtt._results import UnsubscribeResult
    from rmqtt._rmqtt import NativeEvents
    from rmqtt._types import AckMode, Overflow, QoSLike, UserProperties

__all__ = ["Client"]


class Client(Publisher):
    """One connection to a broker, kept through cuts.

    Enter it with ``async with``, which connects; the end of the block waits up to 5 seconds for what is queued, and
    says goodbye. A block left by an exception has the broker publish the will. A client belongs to the event loop it
    is connected in, and cannot be used again after it was closed.

    Parameters
    ----------
    url
        ``mqtt://host[:port]``; ``mqtts://host[:port]``, encrypted; ``ws://host[:port][/path]`` and ``wss://…``, over
        WebSocket, where the path is ``/mqtt`` if not said; ``unix:///path`` for a socket of this machine;
        ``mem://name`` for a broker in this process; or a bare host name. The port is 1883 if not said, 8883 where it is
        encrypted, and 80 and 443 with WebSocket. Or several of these, all of them encrypted or none: each is tried in
        turn, the one that worked last first. The addresses of a name are raced, IPv6 against IPv4.
    port
        Port, where no URL has one; 1 to 65 535.
    client_id
        Names the session at the broker; `None`: a random one.
    version
        ``"5.0"`` or ``"3.1.1"`` to speak only that; `None`: 5.0, and 3.1.1 where the broker refuses it, or at the very
        first connection closes twice without a word.
    username, password
        Who we are. Both travel as they are: without TLS, anybody on the way can read them. A function in place of the
        password, plain or async, is asked in the client's event loop for each connection anew: for tokens that expire.
        What it raises is raised by `connect`; while the client reconnects, it is asked again later.
    auth
        Enhanced authentication (MQTT 5 only): `ScramSha256`, or a mechanism of your own (`AuthHandler`). There is no
        falling back to 3.1.1 then.
    clean_start
        Begin with no session. Otherwise the broker resumes the one of this client id, if it has it.
    session_expiry
        Seconds that the broker keeps the session after the connection; `math.inf`: for ever. MQTT 5 only.
    keep_alive
        Seconds without traffic after which to ask whether the other side is alive; 0 to 65 535, 0: never.
    connect_timeout
        Seconds for resolving the name, connecting, and the broker's answer together, at each address.
    receive_maximum
        Messages of QoS 1 and 2 that the broker may have on the way to us unacknowledged; 1 to 65 535. A broker that has
        more ends the connection, but not after a resumed session: there some count only what is new.
    max_packet_size
        The largest packet that we take, in bytes; `None`: any that the format allows (256 MiB).
    topic_alias_max
        Topic aliases, which send a number in place of a topic that came before: so many the broker may use towards us,
        and we use as many towards it where it takes them. 0 to 65 535; 0: none either way (MQTT 5).
    request_response_information
        Ask the broker what response topics should start with: see ``negotiated.response_information`` (MQTT 5).
    request_problem_information
        Let the broker say more than a code where something fails: reason strings and user properties (MQTT 5).
    will
        Published by the broker when it loses us.
    tls
        How to encrypt: `TLS`. With ``mqtts://`` and ``wss://`` it may be left out: then the system's authorities are
        believed. `True` is the same, also for a bare host name.
    proxy
        What every connection goes through: ``http://[user:password@]host:port`` (CONNECT), ``socks5://…``, where names
        are resolved here, or ``socks5h://…``, where the proxy resolves them. Encryption and user names are between us
        and the broker; the proxy sees neither. What the environment says of proxies is not looked at.
    ws_headers
        HTTP headers for ``ws://`` and ``wss://``, such as ``{"Authorization": "Bearer …"}``: what stands before the
        broker may ask for them. They go to every address, those that a broker sends its clients to among them.
    reconnect
        When to connect again after a cut; `None`: never, the first cut ends the client.
    outbox
        The bounds of what waits to be sent or acknowledged.
    user_properties
        Names and values for the broker, in order (MQTT 5).
    nodelay
        Send small packets at once (``TCP_NODELAY``). Otherwise the operating system may hold them back until those
        before them are acknowledged: fewer packets, and steps of 40 ms in the latency.
    trace_context
        Add the W3C trace context of the current span to what is published, and run responders' handlers in that of
        their question: see `rmqtt.otel` (MQTT 5; left out under 3.1.1).

    Raises
    ------
    ValueError
        The URL is none, a value is out of its range, ``tls``, ``proxy`` or ``ws_headers`` does not go with the URL, or
        there are no certificates in ``tls``.
    TypeError
        ``tls`` is an ``ssl.SSLContext``: the message shows the `TLS` in its place.
    OSError
        A file that ``tls`` names cannot be read.
    ImportError
        ``trace_context`` without ``opentelemetry-api``.

    Examples
    --------
    >>> import asyncio, rmqtt
    >>> async def main():
    ...     async with rmqtt.Broker("mem://client-example") as broker:
    ...         async with rmqtt.Client(broker.url) as client:
    ...             result = await client.publish("plant/7/temperature", b"21.5", qos=1)
    ...             return result.reason_code.name
    >>> asyncio.run(main())
    'NO_MATCHING_SUBSCRIBERS'
    """

    __slots__ = ()

    def _trace(self) -> None:
        from rmqtt.otel import TracingClient  # noqa: PLC0415 - only who traces needs it

        self.__class__ = TracingClient

    async def __aenter__(self) -> Self:
        keep()
        try:
            await self._native.connect()
        except Exception:
            # It could not be, or this client is in use already: there is nothing to undo.
            raise
        except BaseException:
            # Given up, perhaps in the moment in which it came up. Not awaited: that could be cancelled again.
            with contextlib.suppress(
                RuntimeError
            ):  # its loop is closed: then the end of this object ends the connection
                self._native.abort()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._native.close(DRAIN if kind is None else None)

    def connect(self) -> Coroutine[Any, Any, None]:
        """Connect, where ``async with`` does not fit; then `close` must be called.

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
            It is connected already, or no event loop runs.

        Examples
        --------
        >>> client = rmqtt.Client(broker.url)
        >>> await client.connect()
        >>> await client.close()
        """
        keep()
        connecting = self._native.connect()
        # Nobody else may hold this client until it is known how connecting ended.
        connecting.add_done_callback(lambda _: self)
        return connecting

    def close(
        self,
        *,
        timeout: float = DRAIN,
        reason_code: int | None = None,
        session_expiry: float | None = None,
        reason_string: str | None = None,
        user_properties: UserProperties = (),
    ) -> Coroutine[Any, Any, None]:
        """Send what is queued, say goodbye, and end the client. The will is not published. A second call does nothing.

        Every operation that still waits ends with `Closed`; every subscription ends. Without a connection nothing can
        be said: the broker keeps the session for as long as it was asked for when connecting.

        Parameters
        ----------
        timeout
            Seconds to wait for what is queued to be sent and acknowledged; 0 or more.
        reason_code
            Say this instead of 0x00; with any other code the broker publishes the will (MQTT 5).
        session_expiry
            Seconds that the broker keeps the session from now on; `math.inf`: for ever; `None`: as it was asked for
            when connecting (MQTT 5). A session that was to end with its connection cannot be prolonged.
        reason_string
            For the broker's people and logs (MQTT 5). Left out where the broker takes no packet so large.
        user_properties
            Names and values for the broker, in order (MQTT 5). Left out likewise.

        Raises
        ------
        ValueError
            It cannot be said: a code that is not a client's, a session to be prolonged, or anything under 3.1.1.
            Nothing is ended then.

        Examples
        --------
        >>> await client.close(timeout=1)
        """
        return self._native.close(timeout, of_farewell(reason_code, session_expiry, reason_string, user_properties))

    def reauthenticate(self) -> Coroutine[Any, Any, None]:
        """Prove once more who we are, while messages flow: for credentials that expire. Needs ``auth``.

        Who fails loses the connection; the next one authenticates anew in any case. Cancelling the wait does not stop
        what has begun.

        Raises
        ------
        ConnectRefused
            The broker refused; ``reason_code`` says why.
        AuthenticationFailed
            The broker has not proven who it is; what a handler given as ``auth`` raises comes as it is.
        ConnectionLost
            The connection was lost meanwhile.
        MqttTimeout
            It took longer than ``connect_timeout``.
        ValueError
            The client has no ``auth``, or is authenticating already.

        Examples
        --------
        >>> async def main():
        ...     async with rmqtt.Broker("mem://reauthenticate", auth={"alice": "secret"}) as broker:
        ...         async with rmqtt.Client(broker.url, auth=rmqtt.ScramSha256("alice", "secret")) as client:
        ...             await client.reauthenticate()
        """
        return self._native.reauthenticate()

    def abort(self) -> Coroutine[Any, Any, None]:
        """End the client at once and without a goodbye, as a crash would: the broker publishes the will.

        What is queued is lost. For tests and demonstrations of what others see when a client dies.

        Examples
        --------
        >>> await client.abort()
        """
        return self._native.abort()

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
    ) -> Subscription:
        """Ask for messages. Enter the result with ``async with``, or await it; then loop over it with ``async for``.

        Parameters
        ----------
        filters
            Topic filters; ``+`` stands for one level, a last ``#`` for the rest, ``$share/group/filter`` shares the
            messages with all others of the group (MQTT 5). A level ``{name}`` is a ``+`` with a name: what stands there
            is in ``message.params``; see `TopicTemplate`.
        qos
            The highest QoS to deliver with.
        maxsize
            Messages that may wait; 1 or more.
        max_bytes
            And their bytes.
        overflow
            What a full queue does with the next message. ``"wait"``: QoS 1 and 2 wait unacknowledged at the broker,
            QoS 0 as ``"drop_oldest"``. ``"drop_oldest"``, ``"drop_newest"``: what it says. ``"latest"``: only the
            newest stays. ``"error"``: the subscription fails with `QueueFull`, and what it holds unacknowledged goes
            with it, to come again when the session is resumed. `None`: ``"wait"`` for QoS 1 and 2,
            ``"drop_oldest"`` for QoS 0.
        ack
            When QoS 1 and 2 are acknowledged. ``"processed"``: when the next message is asked for, or the block is left
            cleanly. ``"received"``: on arrival. ``"manual"``: by ``message.ack()``.
        no_local
            Not what this client publishes itself (MQTT 5).
        retain_as_published
            Keep the retain flag as it was published (MQTT 5).
        retain_handling
            Retained messages come: 0 always, 1 if the subscription is new, 2 never (MQTT 5).
        user_properties
            Pairs for the SUBSCRIBE packet (MQTT 5; left out under 3.1.1).
        keep
            Do not unsubscribe at the end of the block: the broker keeps the subscription for as long as the session,
            and what comes from then on, or waits then, for whoever resumes it. Until this connection ends, each such
            message of QoS 1 and 2 counts against ``receive_maximum``. `Subscription.close` unsubscribes all the same.

        Raises
        ------
        TopicError
            A filter is none.
        ValueError
            No filter, or a value out of its range.
        Closed
            The client is closed, or was never connected.
        SubscribeRefused
            When entered or awaited: the broker refused filters; ``results`` says which and why. None is in force then.
        NotSupportedByBroker
            When entered or awaited: the broker lacks wildcards, or shared subscriptions.
        PacketTooLarge
            When entered or awaited: the broker takes no packet so large.

        Notes
        -----
        Topic filters: MQTT 5 section 4.7; subscription options: section 3.8.3.1.

        Examples
        --------
        >>> async with client.subscribe("plant/+/temperature", qos=1) as readings:
        ...     await client.publish("plant/7/temperature", b"21.5", qos=1)
        ...     async for message in readings:
        ...         break
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
        return Subscription(native, keep=keep)

    def unsubscribe(
        self, subscription: Subscription, /, *, user_properties: UserProperties = ()
    ) -> Coroutine[Any, Any, UnsubscribeResult]:
        """End a subscription that was awaited and not entered; the same as ``subscription.close()``.

        Parameters
        ----------
        subscription
            Of this client.
        user_properties
            Pairs for the UNSUBSCRIBE packet (MQTT 5; left out under 3.1.1).

        Raises
        ------
        UnsubscribeRefused
            The broker refused.

        Examples
        --------
        >>> readings = await client.subscribe("plant/#")
        >>> (await client.unsubscribe(readings)).results
        {'plant/#': <ReasonCode.SUCCESS: 0>}
        """
        return subscription.close(user_properties=user_properties)

    def drain(self, timeout: float | None = None) -> Coroutine[Any, Any, None]:
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
        >>> await client.drain(timeout=5)
        """
        return self._native.drain(timeout)

    async def wait_connected(self, timeout: float | None = None) -> Connected:  # noqa: ASYNC109 - as everywhere here
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
        >>> (await client.wait_connected(timeout=5)).negotiated.version
        '5.0'
        """
        _, fields = await self._native.wait_connected(timeout)
        return connected(fields)

    def events(self) -> AsyncIterator[Event]:
        """Tell, from this call on, what happens to the connection, and which handlers fail.

        What nobody reads is lost, the oldest first.

        Yields
        ------
        Connected or Disconnected or SessionForgotten or Resubscribed or Dropped or ServerRedirect or HandlerFailed
            What happened.

        Examples
        --------
        >>> async def watch():
        ...     async for event in client.events():
        ...         print(event)
        """
        return _events(self._native.events())


async def _events(native: NativeEvents) -> AsyncIterator[Event]:
    while (event := await native.next()) is not None:
        yield happened(*event)
