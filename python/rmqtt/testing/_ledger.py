"""`Ledger`: what became of each message for each subscriber that it matched."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from rmqtt._live import Live
from rmqtt._rmqtt import topic_matches

if TYPE_CHECKING:
    from collections.abc import Mapping

    from rmqtt._rmqtt import NativeBroker

__all__ = ["Ledger", "LedgerEntry", "Outcome"]

Outcome = Literal["delivered", "acknowledged", "queued", "expired", "dropped", "denied"]

OUTCOMES: tuple[Outcome, ...] = ("delivered", "acknowledged", "queued", "expired", "dropped", "denied")


@dataclass(frozen=True, slots=True)
class LedgerEntry:
    """One message for one subscriber."""

    client: str | None
    """The client id; `None`: of a group of shared subscriptions, or not known any more."""

    topic: str | None
    """Where it was published to; `None`: not known any more."""

    outcome: Outcome
    """What became of it."""

    reason: str | None
    """Why; `None`: it still waits."""


class Ledger(Live):
    """What became of each message for each subscriber that it matched; `Broker.ledger` of ``Broker(ledger=True)``.

    Every accepted message ends, for each subscriber, as exactly one of *delivered* (QoS 0: written), *acknowledged*
    (QoS 1 and 2: settled by the client), *expired*, *dropped* (for a reason) or *denied*; until then it is *queued*,
    waiting or on its way. A group of shared subscriptions counts as one subscriber.

    Both sides are counted apart: what matched where messages are routed, what ended where it ends, and what is queued
    by looking, while all connections stand still. So the balance can fail, and then something was lost or counted
    twice.

    Each call looks anew. Messages that another thread publishes by `Broker.publish` in that very moment may be on one
    side only: ask when it has returned.

    Examples
    --------
    >>> with rmqtt.Broker("mem://ledger", ledger=True) as other:
    ...     _ = other.publish_now("a", b"nobody subscribed")
    ...     other.ledger.assert_balanced()
    ...     other.ledger.counts["dropped"]
    0
    """

    __slots__ = ("_native",)

    def __init__(self, native: NativeBroker) -> None:
        self._native = native

    def balanced(self) -> bool:
        """Say whether everything that came in has ended or is queued."""
        return bool(self._native.balance()["difference"] == 0)

    def assert_balanced(self) -> None:
        """Assert that everything that came in has ended or is queued.

        Raises
        ------
        AssertionError
            It shows both sides and the difference.
        """
        balance = self._native.balance()
        difference = balance["difference"]
        if difference:
            what = f"{difference} too few" if difference > 0 else f"{-difference} too many"
            raise AssertionError(f"the ledger does not balance: {what} have ended or are queued\n{_table(balance)}")

    @property
    def counts(self) -> Mapping[Outcome, int]:
        """How many, by outcome."""
        return _by_outcome(self._native.balance())

    @property
    def by_client(self) -> Mapping[str | None, Mapping[Outcome, int]]:
        """How many have ended, by client id and outcome; `None`: of groups, and of those not known any more."""
        found: dict[str | None, Counter[Outcome]] = {}
        for client, outcome, _, count in self._native.balance()["ended"]:
            found.setdefault(client, Counter())[outcome] += count
        return found

    @property
    def reasons(self) -> Mapping[str, int]:
        """How many were dropped, by reason."""
        found: Counter[str] = Counter()
        for _, outcome, reason, count in self._native.balance()["ended"]:
            if outcome == "dropped":
                found[reason] += count
        return found

    def entries(self, *, topic: str | None = None, client: str | None = None) -> list[LedgerEntry]:
        """List the last 1000 that ended, oldest first, and then the first 1000 that wait for sessions.

        Parameters
        ----------
        topic
            Only those to topics that this filter matches.
        client
            Only those for this client.

        Returns
        -------
        list[LedgerEntry]
            Without what is on its way, and what waits for a group.

        Examples
        --------
        >>> with rmqtt.Broker("mem://entries", ledger=True) as other:
        ...     other.ledger.entries(topic="plant/#")
        []
        """
        balance = self._native.balance()
        ended = [LedgerEntry(*fields) for fields in balance["latest"]]
        waiting = [LedgerEntry(client, topic, "queued", None) for client, topic, _, _ in balance["open"]]
        return [
            entry
            for entry in ended + waiting
            if (client is None or entry.client == client)
            and (topic is None or (entry.topic is not None and topic_matches(topic, entry.topic)))
        ]

    def __repr__(self) -> str:
        return f"<Ledger\n{_table(self._native.balance())}>"


def _by_outcome(balance: Mapping[str, Any]) -> dict[Outcome, int]:
    counts: dict[Outcome, int] = dict.fromkeys(OUTCOMES, 0)
    counts["queued"] = balance["queued"]
    for _, outcome, _, count in balance["ended"]:
        counts[outcome] += count
    return counts


def _table(balance: Mapping[str, Any]) -> str:
    came = [(balance[name], name) for name in ("routed", "retained", "restored") if balance[name]]
    became = [(count, outcome) for outcome, count in _by_outcome(balance).items() if count]
    why: Counter[str] = Counter()
    for _, outcome, reason, count in balance["ended"]:
        if outcome == "dropped":
            why[reason] += count
    lines = ["  came in:", *(f"    {count} {name}" for count, name in came), "  became:"]
    lines += [f"    {count} {outcome}" for count, outcome in became]
    lines += [f"      {count}: {reason}" for reason, count in why.items()]
    return "\n".join(lines)
