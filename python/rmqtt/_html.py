"""How our objects look in a notebook: small tables, with everything that came from elsewhere escaped and cut short."""

from __future__ import annotations

import base64
import contextlib
import datetime as dt
import html
import json
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

    from rmqtt._rmqtt import Message

__all__ = ["Markup", "message", "payload", "table"]

#: Characters of a text that are shown.
_TEXT_MAX: Final = 200
#: Of a payload.
_PAYLOAD_MAX: Final = 2000
#: Bytes of a payload that is neither text nor a picture.
_BYTES_MAX: Final = 64
#: Bytes of a picture; it travels with the notebook.
_PICTURE_MAX: Final = 64 << 10
#: Rows that a list of names and values has.
_ROWS_MAX: Final = 20
#: No SVG: that may hold a program.
_PICTURES: Final = ("image/png", "image/jpeg", "image/gif", "image/webp")


class Markup(str):
    """What is HTML already."""

    __slots__ = ()


def table(caption: str, rows: Mapping[str, object]) -> str:
    """Write a table of names and values; what is `None` is left out."""
    cells = "".join(
        f"<tr><th>{html.escape(_cut(name))}</th><td>{_cell(value)}</td></tr>"
        for name, value in rows.items()
        if value is not None
    )
    return f"<table><caption>{html.escape(_cut(caption))}</caption>{cells}</table>"


def message(shown: Message) -> str:
    """Show a message, its payload by its content type."""
    properties = shown.properties
    rows: dict[str, object] = {
        "topic": shown.topic,
        "payload": payload(shown.payload, properties.content_type),
        "size": f"{len(shown.payload):_} bytes".replace("_", " "),
        "QoS": int(shown.qos),
        "retained": "yes" if shown.retain else None,
        "sent before": "yes" if shown.dup else None,
        "received": _moment(shown.received_at),
        "content type": properties.content_type,
        "expires after": None if properties.expiry is None else f"{properties.expiry} s",
        "response topic": properties.response_topic,
        "correlation": None if properties.correlation is None else properties.correlation.hex(),
    }
    named = [*shown.params.items(), *properties.user_properties]
    for name, value in named[:_ROWS_MAX]:
        # Whoever published may name a row as he likes: ours stay.
        rows.setdefault(name if name not in rows else f"{name} (theirs)", value)
    if len(named) > _ROWS_MAX:
        rows["…"] = f"{len(named) - _ROWS_MAX} more"
    return table("rmqtt message", rows)


def payload(data: bytes, content_type: str | None) -> Markup:
    """Show a payload: a picture, JSON with its indents, text, or else the first bytes."""
    kind = (content_type or "").partition(";")[0].strip().lower()
    if kind in _PICTURES and len(data) <= _PICTURE_MAX:
        encoded = base64.b64encode(data).decode()
        return Markup(f'<img alt="{kind}" style="max-width: 320px" src="data:{kind};base64,{encoded}">')
    # Cut before it is read: nobody waits for a preview of a gigabyte.
    part = data[: 4 * _PAYLOAD_MAX]
    try:
        text = part.decode()
    except UnicodeDecodeError as error:
        text = part[: error.start].decode() if len(part) < len(data) and error.start > len(part) - 4 else ""
        if not text:
            return _bytes(data)
    if not text.isprintable() and not _is_text(text):
        return _bytes(data)
    if (kind == "application/json" or kind.endswith("+json")) and len(part) == len(data):
        with contextlib.suppress(ValueError, RecursionError):  # it only says that it is
            text = json.dumps(json.loads(text), indent=2, ensure_ascii=False)
    return Markup(f'<pre style="text-align: left">{html.escape(_cut(text, _PAYLOAD_MAX))}</pre>')


def _bytes(data: bytes) -> Markup:
    more = f" … {len(data) - _BYTES_MAX} more bytes" if len(data) > _BYTES_MAX else ""
    return Markup(f"<code>{data[:_BYTES_MAX].hex(' ', 4)}</code>{more}")


def _is_text(text: str) -> bool:
    return all(character.isprintable() or character in "\n\r\t" for character in text)


def _cell(value: Any) -> str:
    return value if isinstance(value, Markup) else html.escape(_cut(str(value)))


def _cut(text: str, longest: int = _TEXT_MAX) -> str:
    return text if len(text) <= longest else f"{text[:longest]}…"


def _moment(nanoseconds: int) -> str | None:
    if nanoseconds == 0:
        return None
    moment = dt.datetime.fromtimestamp(nanoseconds / 1e9, tz=dt.UTC)
    return moment.isoformat(sep=" ", timespec="milliseconds")
