"""What clients, subscriptions and brokers count: frozen snapshots."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["BrokerStats", "ClientStats", "RoundTrip", "SubscriptionStats"]


@dataclass(frozen=True, kw_only=True, slots=True)
class RoundTrip:
    """How long the broker took to answer: pings, and one message of QoS 1 at a time. In seconds.

    Examples
    --------
    >>> RoundTrip(count=0, p50=None, p99=None, longest=None).p50 is None
    True
    """

    #: How many answers were timed.
    count: int
    #: Half of them took no longer, give or take a quarter; `None` without any.
    p50: float | None
    #: All but one in a hundred took no longer.
    p99: float | None
    longest: float | None


@dataclass(frozen=True, kw_only=True, slots=True)
class ClientStats:
    """A snapshot of a client's counters; they count since the client was made unless said otherwise."""

    #: Now.
    connected: bool
    connects: int
    #: Connections after the first.
    reconnects: int
    messages_sent: int
    messages_received: int
    bytes_sent: int
    bytes_received: int
    #: Messages of QoS 1 and 2 that the broker has answered.
    acknowledged: int
    #: All of the six that follow.
    dropped: int
    #: QoS 0, published or waiting while there was no connection.
    dropped_offline: int
    #: Not sent yet, and given up for newer ones: ``Outbox(on_full="drop_oldest")``.
    dropped_full: int
    #: Not sent in time: ``Outbox(ttl=...)``, or the message's own ``expiry``.
    dropped_expired: int
    #: Not sent, since the broker does not take them.
    dropped_refused: int
    #: Received, and a subscription's queue had no room.
    dropped_overflow: int
    #: Received, and no subscription was there for them.
    dropped_unwanted: int
    #: Waiting to be sent now.
    queued_messages: int
    #: And their bytes.
    queued_bytes: int
    #: Sent and not settled, now.
    in_flight: int
    #: The most there ever were; their bound is ``negotiated.receive_maximum``.
    in_flight_high: int
    #: Messages that may wait or be in flight: ``Outbox(max_messages=…)``.
    outbox_messages_max: int
    #: The most there ever were.
    outbox_messages_high: int
    #: Their bytes, and what each costs beside: ``Outbox(max_bytes=…)``.
    outbox_bytes_max: int
    #: The most there ever were.
    outbox_bytes_high: int
    #: Messages that an earlier process left in ``Outbox(path=...)`` and that are not delivered yet, now. They are among
    #: those that wait and those in flight too.
    restored: int
    #: How long the broker takes to answer.
    round_trip: RoundTrip


@dataclass(frozen=True, kw_only=True, slots=True)
class SubscriptionStats:
    """A snapshot of one subscription's queue."""

    #: Messages that came for it.
    received: int
    #: Of these, dropped by the overflow policy.
    dropped: int
    #: Waiting now, with those that are parked.
    pending: int
    #: The most there ever were.
    pending_high: int
    #: The bound, which does not count those that are parked.
    pending_max: int
    #: The bytes of those that wait.
    pending_bytes: int
    #: The most there ever were.
    pending_bytes_high: int
    #: Their bound.
    pending_bytes_max: int
    #: Of QoS 1 and 2, waiting beyond the bound unacknowledged, for the broker to slow down.
    parked: int


@dataclass(frozen=True, kw_only=True, slots=True)
class BrokerStats:
    """A snapshot of a broker's counters; they count since the broker was made unless said otherwise."""

    #: Now.
    connections: int
    #: Now, connected or not.
    sessions: int
    #: Now.
    subscriptions: int
    #: Now.
    retained_messages: int
    #: Now.
    retained_bytes: int
    #: Now, for all sessions.
    queued_messages: int
    #: Now, of all that `Limits.held_bytes_max` bounds.
    held_bytes: int
    #: The most that ever were.
    held_bytes_high: int
    connects_accepted: int
    connects_refused: int
    #: Ended by us because the peer broke a rule or a limit.
    connections_violated: int
    messages_received: int
    messages_delivered: int
    #: QoS 0 that a full queue had no room for.
    messages_dropped_qos0: int
    #: QoS 1 and 2 that a full queue of an absent client had no room for.
    messages_dropped_queue_full: int
    messages_expired: int
    #: What clients published without the right to, wills included.
    publishes_denied: int
    #: Filters that were refused for want of rights.
    subscriptions_denied: int
    #: Messages, for each of those who would have got them and may not read them.
    deliveries_denied: int
    bytes_received: int
    bytes_sent: int
    wills_published: int
    #: A wrong password or proof, or a callable that said no.
    logins_failed: int
    #: Refused unheard, after too many that failed.
    logins_throttled: int
    #: Connections that `Broker.reload` sent away, since their user or their key is gone or another.
    logins_revoked: int
    #: To check logins.
    passwords_hashed: int
    #: A callable raised, answered with something else, or not in time.
    hooks_failed: int
    #: How often each of `rmqtt.Limits` was reached, by its name. Those that refuse nothing, `in_flight_max` and
    #: `topic_alias_out_max`, are not there.
    limits_reached: dict[str, int]
