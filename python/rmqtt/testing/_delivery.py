"""`DeliveryExplanation`: why a client would get a message, or why not."""

from __future__ import annotations

from dataclasses import dataclass
from difflib import get_close_matches
from typing import TYPE_CHECKING, Literal

from rmqtt._rmqtt import topic_matches
from rmqtt._types import QoS

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from rmqtt._limits import Limits
    from rmqtt._peer import SessionInfo
    from rmqtt._types import Features, QoSLike

__all__ = ["DeliveryExplanation", "explain"]

SHARE = "$share/"


@dataclass(frozen=True, slots=True, kw_only=True)
class DeliveryExplanation:
    """What would become of a message for one client, as things are; made by `Broker.explain_delivery`.

    It is true in a condition if the client would get the message, or might as the member of a group. ``str`` tells it
    in words.
    """

    topic: str
    client_id: str
    outcome: Literal["delivered", "queued", "maybe", "no"]
    """Sent to it; kept until it comes back; sent to a member of its group, which may be another; none of these."""

    qos: QoS | None
    """The QoS it would get it with; `None`: it would not."""

    matching: Mapping[str, QoS]
    """Its own filters that match, with the QoS they were granted."""

    shared: Mapping[str, QoS]
    """Its shared subscriptions that match, with the QoS they were granted."""

    nearest: tuple[str, ...]
    """If none matches: those of its filters that come nearest, or client ids if there is no such session."""

    reasons: tuple[str, ...]
    """Why, and why not more."""

    def __bool__(self) -> bool:
        return self.outcome != "no"

    def __str__(self) -> str:
        ends = {
            "delivered": f"is delivered to {self.client_id!r}",
            "queued": f"is queued for {self.client_id!r}",
            "maybe": f"is delivered to {self.client_id!r} or another member of its group",
            "no": f"does not reach {self.client_id!r}",
        }
        qos = "" if self.qos is None else f" with QoS {int(self.qos)}"
        lines = [f"a message to {self.topic!r} {ends[self.outcome]}{qos}"]
        lines += [f"  matches {text!r}, granted QoS {int(granted)}" for text, granted in self._granted()]
        lines += [f"  {reason}" for reason in self.reasons]
        lines += [f"  nearest: {text!r}" for text in self.nearest]
        return "\n".join(lines)

    def _granted(self) -> Iterable[tuple[str, QoS]]:
        yield from self.matching.items()
        yield from self.shared.items()


def explain(
    topic: str,
    client_id: str,
    *,
    qos: QoSLike,
    is_own: bool,
    right: tuple[bool, str | None] | None,
    sessions: Mapping[str, SessionInfo],
    no_local: set[str],
    limits: Limits,
    features: Features,
) -> DeliveryExplanation:
    """Explain, from what a broker says of itself.

    Returns
    -------
    DeliveryExplanation
        In words and in fields.
    """
    topic_matches("#", topic)  # whether it is a topic at all
    session = sessions.get(client_id)
    reasons: list[str] = []
    matching: dict[str, QoS] = {}
    shared: dict[str, QoS] = {}
    nearest: list[str] = []
    if session is None:
        reasons.append(f"there is no session of {client_id!r}: it has not connected, or its session has ended")
        nearest = get_close_matches(client_id, sessions, n=3)
    else:
        for text, granted in session.subscriptions.items():
            if not topic_matches(text, topic):
                continue
            if text.startswith(SHARE):
                shared[text] = granted
            elif is_own and text in no_local:
                reasons.append(f"{text!r} matches, but with No Local: not what the client publishes itself")
            else:
                matching[text] = granted
        if not matching and not shared and not reasons:
            reasons += _no_match(topic, session, features)
            nearest = get_close_matches(topic, session.subscriptions, n=3, cutoff=0.0)
    outcome, best = _outcome(session, matching, shared, qos=QoS(qos), reasons=reasons, limits=limits, features=features)
    if right is not None and not right[0] and (matching or shared):
        outcome = "no"
        reasons[:] = [f"denied by rule {right[1]!r}" if right[1] else "denied: no rule lets it read that"]
    return DeliveryExplanation(
        topic=topic,
        client_id=client_id,
        outcome=outcome,
        qos=None if outcome == "no" else best,
        matching=matching,
        shared=shared,
        nearest=tuple(nearest),
        reasons=tuple(reasons),
    )


def _no_match(topic: str, session: SessionInfo, features: Features) -> list[str]:
    """Say why no filter matches."""
    if not session.subscriptions:
        return ["the client has subscribed to nothing"]
    reasons = ["none of its filters matches"]
    if topic.startswith("$") and any(text[0] in "+#" for text in session.subscriptions):
        reasons.append("topics that begin with $ are matched by no filter that begins with a wildcard")
    if not features.wildcard_subscriptions:
        reasons.append("this broker grants no wildcards (features.wildcard_subscriptions)")
    if not features.shared_subscriptions:
        reasons.append("this broker grants no shared subscriptions (features.shared_subscriptions)")
    return reasons


def _outcome(
    session: SessionInfo | None,
    matching: Mapping[str, QoS],
    shared: Mapping[str, QoS],
    *,
    qos: QoS,
    reasons: list[str],
    limits: Limits,
    features: Features,
) -> tuple[Literal["delivered", "queued", "maybe", "no"], QoS]:
    granted = max((matching or shared).values(), default=qos)
    best = QoS(min(qos, granted, features.maximum_qos))
    if session is None or not (matching or shared):
        return "no", best
    if best < qos:
        what = "the broker has" if features.maximum_qos < min(qos, granted) else "was granted"
        reasons.append(f"with QoS {int(best)} instead of {int(qos)}, the highest that {what}")
    if not matching:
        if not session.is_connected:
            reasons.append("the client is absent: a member of its group that is connected gets it")
        return "maybe", best
    if best == 0 and not session.is_connected:
        reasons.append("the client is absent, and messages of QoS 0 are not kept")
        return "no", best
    is_full = session.queued_messages >= limits.queue_messages_max
    if is_full and (best == 0 or not session.is_connected):
        reasons.append(f"its queue is full: {session.queued_messages} messages wait (limits.queue_messages_max)")
        return "no", best
    if session.is_connected:
        return "delivered", best
    reasons.append("the client is absent: it gets it when it comes back")
    return "queued", best
