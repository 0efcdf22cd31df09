"""`Broker`: an MQTT broker inside this process."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from rmqtt._client import Client
from rmqtt._properties import of_message
from rmqtt._under_test import UnderTest
from rmqtt._users import UsersOf

if TYPE_CHECKING:
    from collections.abc import Mapping

    from rmqtt._peer import ClientInfo, SessionInfo
    from rmqtt._rmqtt import Message
    from rmqtt._stats import BrokerStats
    from rmqtt._transport import Listener
    from rmqtt._types import Payload, QoSLike, UserProperties
    from rmqtt.testing import Capture, DeliveryExplanation

__all__ = ["Broker"]


class Broker(UnderTest):
    """An MQTT broker for 3.1.1 and 5.0 that runs on threads of its own: a busy interpreter does not stall it.

    ``async with`` and ``with`` start and stop it; `serve` runs it until cancelled; `start` and `stop` do where blocks
    do not fit, as in notebooks. It may be started again after a stop: sessions and retained messages are kept in memory
    meanwhile.

    Parameters
    ----------
    listeners
        Where to listen: ``mqtt://host:port``; port 0 takes any free one (`port` and `url` tell which);
        ``ws://host:port`` for WebSocket at any path, ``ws://host:port/path`` at this one; ``unix:///path``, a socket in
        the file system, for processes of the same user; ``mem://name`` for clients in this process. A `Listener` says
        more of such a place: ``mqtts://host:port`` and ``wss://host:port`` need one, for their certificate. Without
        any: ``mqtt://127.0.0.1:1883``.
    limits
        The bounds.
    features
        What it has of MQTT.
    response_information
        Told to clients of MQTT 5 that ask for it: where answers to their requests may be published, such as
        ``"reply/{client_id}"``. ``{client_id}`` stands for the client's id; who has an id that could not be one level
        of a topic is told nothing then.
    validate_payloads
        Refuse messages whose payload is said to be UTF-8 (MQTT 5) and is not.
    shared_strategy
        Which member of a group of shared subscriptions (``$share/group/filter``) gets a message, among those that are
        connected and have room: ``"round_robin"``, one after the other; ``"random"``, any; ``"sticky"``, the same as
        last time; ``"hash"``, the same for the same topic, where only the topics that must move do so when members come
        and go; ``"least_in_flight"``, the one with the least on its way and waiting.
    allow_anonymous
        Listen on other addresses than loopback although nobody is asked who they are. With ``auth`` it is not needed.
    auth
        Who may connect. Then everybody has to prove to be a user, clients in this process too, and a session belongs to
        its user: nobody else gets it by its client id. A mapping of names to passwords: by SCRAM-SHA-256 (MQTT 5), or
        by CONNECT's user name and password; the passwords are not kept, only what they can be checked against, and
        making that takes some milliseconds for each. The path of a password file, or `PasswordFile`: by CONNECT's user
        name and password. `JWT`: by a token in the place of the password. A callable, plain or async: it is asked once
        for each connection with a `Login`, on threads of its own (what is async runs in the event loop that started the
        broker, else in one of its own), and says `True`, `False`, the user's name, or `None` for what it does not know;
        where it raises or takes too long, nobody is let in. A list of these: the first that knows the user decides.
        `None`: nobody is asked.
    auth_limits
        What logins may cost, and how often they may fail.
    acl
        What clients may do: `Acl`, or the path of an ACL file of Mosquitto's (`AclFile`). It is asked for whatever is
        published, subscribed to and sent, wills, retained and queued messages included. A callable, plain or async, is
        asked once for each connection, when it is known who it is, with a `ClientInfo`, and answers with an `Acl`,
        which goes for the client's session until it connects again, or until `reload`; where it raises or takes too
        long, the client is not let in. It runs as one for ``auth`` does. `None`: everything.
    threads
        Threads for connections from outside this process, 0 to 64; each stays on one of them. Worth it for many
        clients that say little each: a message costs less then, coming and going of clients more. 0: they share the
        threads of all brokers and clients in this process.
    clock
        A clock for tests, which stands still until it is moved: `rmqtt.testing.Clock`. Clients in memory share it.
        `None`: the system's.
    ledger
        Keep books, for tests, of what became of each message for each subscriber: see `rmqtt.testing.Ledger`.
    wire
        Keep a log of all packets, `wire`: of the last 10,000, or of as many as this says.

    Raises
    ------
    ValueError
        A listener is no address or has no usable certificate, a limit or feature is out of its range, there is no such
        strategy, a name or password cannot be a user's, or a password file cannot be read or has a line that is not
        understood.
    OSError
        A certificate or key cannot be read.

    Examples
    --------
    >>> import rmqtt
    >>> with rmqtt.Broker("mqtt://127.0.0.1:0") as broker:
    ...     broker.url == f"mqtt://127.0.0.1:{broker.port}"
    True
    """

    __slots__ = ()

    def client(self, **options: Any) -> Client:
        """Make a client that reaches this broker in memory, without a socket.

        Parameters
        ----------
        options
            As of `Client`.

        Returns
        -------
        Client
            Not connected yet.

        Examples
        --------
        >>> async with broker.client(client_id="inside") as client:
        ...     await client.publish("a", b"1")
        PublishResult(SUCCESS)
        """
        return Client(self._native.memory_url, **options)

    def fork(self, *listeners: str | Listener, **options: Any) -> Broker:
        """Make another broker with a copy of the state, not running yet. Neither sees what becomes of the other.

        Parameters
        ----------
        listeners
            Where it listens; any free port of loopback without.
        options
            As of `Broker`; as of this broker without, its users included.

        Returns
        -------
        Broker
            To be started.

        Examples
        --------
        >>> broker.publish_now("plant/7/set", "22", retain=True)
        0
        >>> with broker.fork() as other:
        ...     other.retained["plant/7/set"].text()
        '22'
        """
        inherited = {**self._options, "acl": self.acl, "auth": UsersOf(self._native, self._asked)}
        twin = Broker(*(listeners or ("mqtt://127.0.0.1:0",)), **{**inherited, **options})
        twin.restore(self.snapshot())
        return twin

    def publish_now(
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
    ) -> int:
        """Publish as the broker itself; the plain twin of `publish`, for where there is no event loop.

        Parameters
        ----------
        topic, payload, qos, retain, expiry, content_type, response_topic, correlation, user_properties
            As of `Client.publish`.

        Returns
        -------
        int
            Sessions that it matched.

        Raises
        ------
        TopicError
            The topic is no topic name.
        BrokerError
            It does not run.
        StorageError
            The store of retained messages is full.

        Examples
        --------
        >>> broker.publish_now("plant/7/set", "22", retain=True)
        0
        """
        properties = of_message(expiry, content_type, response_topic, correlation, user_properties)
        return self._native.publish(topic, payload, qos, retain, properties)

    async def publish(
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
    ) -> int:
        """Publish as the broker itself.

        Parameters
        ----------
        topic, payload, qos, retain, expiry, content_type, response_topic, correlation, user_properties
            As of `Client.publish`.

        Returns
        -------
        int
            Sessions that it matched.

        Raises
        ------
        TopicError
            The topic is no topic name.
        BrokerError
            It does not run.
        StorageError
            The store of retained messages is full.

        Examples
        --------
        >>> await broker.publish("plant/7/set", "22", retain=True)
        0
        """
        return self.publish_now(
            topic,
            payload,
            qos=qos,
            retain=retain,
            expiry=expiry,
            content_type=content_type,
            response_topic=response_topic,
            correlation=correlation,
            user_properties=user_properties,
        )

    async def disconnect(self, client_id: str, reason: int = 0x98, server_reference: str | None = None) -> bool:
        """End a client's connection.

        Parameters
        ----------
        client_id
            Whose.
        reason
            Told to clients of MQTT 5; 0x98 is *administrative action*. With 0x9C, *use another server*, and 0x9D,
            *server moved*, `server_reference` can say where.
        server_reference
            Another server, as clients will understand it, such as ``"host:1883"``; told to clients of MQTT 5.

        Returns
        -------
        bool
            Whether it was there.

        Raises
        ------
        ValueError
            A broker does not disconnect with that reason, or `server_reference` does not go with it.

        Examples
        --------
        >>> await broker.disconnect("nobody", 0x9C, "backup:1883")
        False
        """
        return self._native.disconnect(client_id, reason, server_reference)

    def redirect(self, server_reference: str | None, *, permanent: bool = False) -> None:
        """Send all who want to connect from now on to another server, or take them again.

        Who is connected stays; see `disconnect`. Clients of MQTT 5 get CONNACK 0x9C or 0x9D with the reference, those
        of 3.1.1 return code 3, *server unavailable*.

        Parameters
        ----------
        server_reference
            Another server, as clients will understand it, such as ``"host:1883"``; `None`: take them again.
        permanent
            Say *server moved* (0x9D) instead of *use another server* (0x9C).

        Raises
        ------
        ValueError
            The reference is empty, too long, or has a NUL.

        Examples
        --------
        >>> broker.redirect("backup:1883")
        >>> broker.redirect(None)
        """
        self._native.redirect(server_reference, permanent)

    def capture(self, filter: str = "#", *, maxsize: int = 100_000) -> Capture:
        """Capture everything that is published from now on, for tests; see `rmqtt.testing.Capture`.

        It may be asked for before the broker runs, and goes on when it is started again.

        Parameters
        ----------
        filter
            What the topics match. As in MQTT, ``#`` does not match topics that begin with ``$``.
        maxsize
            Messages that are kept; beyond, the oldest are dropped, counted.

        Returns
        -------
        Capture
            Close it, use it in ``with``, or drop it.

        Raises
        ------
        TopicError
            The filter is no filter.
        ValueError
            ``maxsize`` is less than 1.

        Examples
        --------
        >>> capture = broker.capture("plant/#")
        >>> await client.publish("plant/7", b"21.5", qos=1)
        PublishResult(NO_MATCHING_SUBSCRIBERS)
        >>> capture.records
        [('plant/7', b'21.5')]
        """
        from rmqtt.testing import Capture  # noqa: PLC0415 - only tests pay for it

        if maxsize < 1:
            raise ValueError("maxsize must be at least 1")
        return Capture(self, self._native.capture(filter, maxsize), maxsize, self._clock)

    @property
    def retained(self) -> Mapping[str, Message]:
        """A snapshot of the retained messages, by topic."""
        return MappingProxyType(self._native.retained())

    @property
    def sessions(self) -> Mapping[str, SessionInfo]:
        """A snapshot of the sessions, by client id."""
        from rmqtt._peer import SessionInfo  # noqa: PLC0415 - only who asks pays for it

        return MappingProxyType({fields["client_id"]: SessionInfo(**fields) for fields in self._native.sessions()})

    @property
    def clients(self) -> Mapping[str, ClientInfo]:
        """A snapshot of the connected clients, by client id."""
        from rmqtt._peer import ClientInfo, with_certificate  # noqa: PLC0415 - only who asks pays for it

        return MappingProxyType(
            {fields["client_id"]: ClientInfo(**with_certificate(fields)) for fields in self._native.clients()}
        )

    def explain_delivery(
        self, topic: str, client_id: str, *, qos: QoSLike = 0, publisher: str | None = None
    ) -> DeliveryExplanation:
        """Explain what would become of a message for one client, as things are now.

        Parameters
        ----------
        topic
            Where it would be published to.
        client_id
            Who would get it.
        qos
            The QoS it would be published with.
        publisher
            Client id of who would publish it; `None`: somebody else.

        Returns
        -------
        DeliveryExplanation
            In fields, and by ``str`` in words.

        Raises
        ------
        TopicError
            The topic is no topic name.

        Examples
        --------
        >>> print(broker.explain_delivery("plant/7", "nobody"))
        a message to 'plant/7' does not reach 'nobody'
          there is no session of 'nobody': it has not connected, or its session has ended
        """
        from rmqtt.testing._delivery import explain  # noqa: PLC0415 - only tests pay for it

        return explain(
            topic,
            client_id,
            qos=qos,
            is_own=publisher == client_id,
            right=self._native.explain_right(client_id, False, topic),
            sessions=self.sessions,
            no_local=set(self._native.no_local(client_id)),
            limits=self._options["limits"],
            features=self._options["features"],
        )

    def stats(self) -> BrokerStats:
        """Take a snapshot of the counters.

        Examples
        --------
        >>> broker.stats().connections
        1
        """
        from rmqtt._stats import BrokerStats  # noqa: PLC0415 - only who asks pays for it

        return BrokerStats(**self._native.stats())

    def __repr__(self) -> str:
        where = f"at {', '.join(self.urls)}" if self.is_running else "not running"
        return f"<Broker {where}>"

    def _repr_html_(self) -> str:
        from rmqtt import _html  # noqa: PLC0415 - only notebooks pay for it

        stats = self.stats()
        rows: dict[str, object] = {
            "listening at": ", ".join(self.urls) if self.is_running else "not running",
            "clients": stats.connections,
            "sessions": stats.sessions,
            "subscriptions": stats.subscriptions,
            "retained messages": stats.retained_messages,
            "messages in / out": f"{stats.messages_received} / {stats.messages_delivered}",
        }
        return _html.table("rmqtt broker", rows)
