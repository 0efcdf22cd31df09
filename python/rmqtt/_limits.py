"""The bounds of a broker."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class Limits:
    """The bounds of a broker. Reaching one costs the one who reached it, and is counted.

    Examples
    --------
    >>> Limits(connections_max=50).packet_size_max
    2000000
    """

    #: Connections at a time. Each costs memory before it has said who it is.
    connections_max: int = 100_000
    #: Of those, from one address (IPv6: one network of 64 bits); 0: as many as there are.
    connections_per_address_max: int = 10_000
    #: Connections of one user, where the broker has users; 0: as many as there are.
    connections_per_user_max: int = 10_000
    #: Connections let in for each second, from all addresses; what comes faster waits at the door, where the addresses
    #: take turns. 0: no bound.
    connect_rate_max: int = 0
    #: The same from one address; ten seconds' worth may come at once, what is more is turned away. 0: no bound.
    connect_rate_per_address_max: int = 1000
    #: Sessions begun or resumed for each second under one client id; ten seconds' worth may come at once. 0: no bound.
    connect_rate_per_client_id_max: int = 100
    #: Bytes held for all who have not been let in yet, beyond the first 1024 of each.
    unaccepted_bytes_max: int = 64 << 20
    #: Seconds from the first byte to CONNECT complete. A silent socket must not be held for ever.
    connect_timeout: float = 10.0
    #: The largest packet taken, in bytes; announced to MQTT 5 clients.
    packet_size_max: int = 2_000_000
    #: The largest CONNECT, SUBSCRIBE, UNSUBSCRIBE and AUTH, in bytes: what a stranger can make us hold.
    control_packet_size_max: int = 100_000
    #: Levels in a topic or filter. Deep trees cost walks and memory.
    topic_levels_max: int = 200
    #: QoS 1 and 2 messages from one client that are not settled; 1 to 65 535.
    receive_maximum: int = 1024
    #: QoS 2 messages from one client that were never released, over all its connections; and what clients of 3.1.1,
    #: which know no Receive Maximum, may leave unsettled; 1 to 65 535.
    unreleased_max: int = 10_000
    #: PUBLISH packets for each second from one client; a second's worth may come at once, what is more waits.
    #: 0: no bound.
    message_rate_max: int = 0
    #: Bytes for each second from one client, likewise.
    byte_rate_max: int = 0
    #: Deliveries for each second that the messages of one client come to, likewise: to how many sessions and groups
    #: each of them goes.
    delivery_rate_max: int = 0
    #: QoS 1 and 2 messages to one client that are not settled, whatever more it would take; 1 to 65 535.
    in_flight_max: int = 1024
    #: Messages that wait for one session.
    queue_messages_max: int = 10_000
    #: And their bytes.
    queue_bytes_max: int = 16 << 20
    #: Sessions, connected or not.
    sessions_max: int = 100_000
    #: Seconds that a session may outlive its connection; `None`: no ceiling.
    session_expiry_max: float | None = None
    #: Subscriptions of one session.
    subscriptions_max: int = 10_000
    #: Of those, shared ones (``$share/group/filter``).
    shared_subscriptions_max: int = 100
    #: Groups of shared subscriptions, of all sessions together.
    groups_max: int = 10_000
    #: Retained messages.
    retained_messages_max: int = 1_000_000
    #: And their bytes.
    retained_bytes_max: int = 512 << 20
    #: Bytes that the broker holds in all: queues, what is on its way, retained messages, sessions, subscriptions,
    #: buffers. New clients are refused from three quarters on, what grows from seven eighths on. 0: no bound.
    held_bytes_max: int = 1 << 30
    #: Topic aliases taken from one client; 0 to 65 535.
    topic_alias_max: int = 64
    #: Topic aliases used towards one client that takes any; 0 to 65 535.
    topic_alias_out_max: int = 16
    #: Ceiling of the keep alive, in seconds; 0: none.
    keep_alive_max: int = 0
