"""What was there instead, nearest first: the words of assertions that fail."""

from __future__ import annotations

from difflib import SequenceMatcher
from itertools import islice
from typing import TYPE_CHECKING

from rmqtt._rmqtt import topic_matches

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rmqtt._rmqtt import Message

__all__ = ["Wanted", "listed", "nearest"]

# A failure is read by people: so many lines, none longer than this, and not much time to find them.
LINES = 10
TOPIC = 60
PAYLOAD = 60
LOOKED_AT = 2000


class Wanted:
    """What a message has to be, and in which way another differs. `None`: anything; `...`: any JSON."""

    def __init__(
        self,
        filter: str,
        *,
        payload: bytes | None = None,
        json: object = ...,
        qos: int | None = None,
        retain: bool | None = None,
    ) -> None:
        self.filter = filter
        self.payload = payload
        self.json = json
        self.qos = qos
        self.retain = retain

    def differences(self, message: Message) -> list[str]:
        """Name what is different, the topic first."""
        found = [] if topic_matches(self.filter, message.topic) else ["topic"]
        if self.payload is not None and message.payload != self.payload:
            found.append("payload")
        if self.json is not ... and not self._is_json(message):
            found.append("JSON")
        if self.qos is not None and message.qos != self.qos:
            found.append("QoS")
        if self.retain is not None and message.retain != self.retain:
            found.append("retain")
        return found

    def _is_json(self, message: Message) -> bool:
        try:
            return bool(message.json() == self.json)
        except ValueError:
            return False

    def text(self) -> bytes:
        """Give the payload, as far as it can be compared with others."""
        return self.payload if self.payload is not None else b"" if self.json is ... else repr(self.json).encode()

    def __str__(self) -> str:
        words = [repr(self.filter)]
        if self.payload is not None:
            words.append(f"payload {shortened(self.payload)}")
        if self.json is not ...:
            words.append(f"JSON {cut(repr(self.json), PAYLOAD)}")
        if self.qos is not None:
            words.append(f"qos={self.qos}")
        if self.retain is not None:
            words.append(f"retain={self.retain}")
        return ", ".join(words)


def cut(text: str, length: int) -> str:
    """Shorten a text, seen to be shortened."""
    return text if len(text) <= length else text[: length - 3] + "..."


def shortened(payload: bytes) -> str:
    """Show a payload, or its beginning and its length."""
    if len(payload) <= PAYLOAD:
        return repr(payload)
    return f"{payload[: PAYLOAD // 2]!r}... ({len(payload)} bytes)"


def line(message: Message) -> str:
    """Show a message in one line."""
    retain = " retain" if message.retain else ""
    return f"{cut(message.topic, TOPIC)}  {shortened(message.payload)} qos={int(message.qos)}{retain}"


def listed(messages: Sequence[Message], of: str = "captured") -> str:
    """Show the latest messages, in order."""
    if not messages:
        return f"nothing was {of}"
    latest = messages[-LINES:]
    more = f", the last {len(latest)}" if len(latest) < len(messages) else ""
    return "\n  ".join([f"{len(messages)} {of}{more}:", *map(line, latest)])


def nearest(wanted: Wanted, messages: Sequence[Message]) -> str:
    """Show what comes nearest to what was wanted, by topic and then by payload, and what differs."""
    if not messages:
        return "nothing was captured"
    looked_at = list(islice(reversed(messages), LOOKED_AT))
    topics = {topic: _likeness(wanted.filter, topic) for topic in {message.topic for message in looked_at}}
    looked_at.sort(key=lambda message: topics[message.topic], reverse=True)
    # Payloads are compared among the messages whose topics come nearest.
    text = wanted.text()
    close = looked_at[: 4 * LINES]
    close.sort(
        key=lambda message: (topics[message.topic], -len(wanted.differences(message)), _alike(text, message.payload)),
        reverse=True,
    )
    shown = close[:LINES]
    of = f", {len(shown)} of {len(messages)}" if len(shown) < len(messages) else ""
    lines = [f"{line(message)}  <- {_other(wanted.differences(message))}" for message in shown]
    return "\n  ".join([f"captured instead, nearest first{of}:", *lines])


def _other(differences: list[str]) -> str:
    return f"other {', '.join(differences)}" if differences else "this one matches"


def _likeness(filter: str, topic: str) -> float:
    if topic_matches(filter, topic):
        return 2.0
    return SequenceMatcher(None, filter, topic, autojunk=False).ratio() if len(topic) < 500 else 0.0


def _alike(wanted: bytes, payload: bytes) -> float:
    return SequenceMatcher(None, wanted[:500], payload[:500], autojunk=False).ratio()
