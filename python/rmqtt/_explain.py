"""What each byte of a packet means, as a table."""

from __future__ import annotations

from dataclasses import dataclass, field
from html import escape
from typing import TYPE_CHECKING, Literal

from rmqtt._rmqtt import explain_packet
from rmqtt._types import ReasonCode

if TYPE_CHECKING:
    from rmqtt._types import SupportsBuffer

# Bytes of one field that a table shows.
_HEX_MAX = 8
# What the native side says instead of a password.
_HIDDEN = "(not shown)"


@dataclass(frozen=True, kw_only=True, slots=True)
class Part:
    """One line of a breakdown."""

    #: Its first byte.
    start: int
    #: The byte after its last one.
    end: int
    #: Which bits of the one byte, highest first; `None` for whole bytes.
    bits: tuple[int, int] | None
    #: How deep it stands: a part holds those behind it that stand deeper.
    depth: int
    #: Which field of the packet.
    field: str
    #: What it says.
    value: str
    #: What that means.
    meaning: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Fault:
    """What is wrong with a packet, and where."""

    #: The first of the bytes in question.
    start: int
    #: The byte after the last one; the same as ``start`` where bytes are missing.
    end: int
    #: What is wrong, with the clause of the standard.
    what: str
    #: What an MQTT 5 peer is told; `None`: nothing is wrong but that bytes are missing.
    reason_code: ReasonCode | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Explanation:
    r"""The breakdown of one packet: ``print`` it, or let a notebook show it.

    Examples
    --------
    >>> from rmqtt import explain
    >>> explanation = explain(b"\xe0\x01\x04")
    >>> explanation.fault is None
    True
    >>> explanation.parts[-1].meaning
    'disconnect with will message'
    """

    #: The bytes.
    data: bytes = field(repr=False)
    #: By which version they were read: a CONNECT names its own.
    version: Literal["5.0", "3.1.1", "3.1"]
    #: The lines, in the order of the bytes.
    parts: tuple[Part, ...] = field(repr=False)
    #: What is wrong, if anything.
    fault: Fault | None

    def _rows(self) -> list[tuple[str, str, str, str, str]]:
        """Place, hexadecimal digits, field, value and meaning of each line."""
        rows = []
        for part, below in zip(self.parts, (*self.parts[1:], None), strict=True):
            is_group = below is not None and below.depth > part.depth and below.bits is None
            if part.bits is not None:
                high, low = part.bits
                place = f"bit {high}" if high == low else f"bits {high}-{low}"
                digits = ""
            else:
                place = f"{part.start}" if part.end - part.start == 1 else f"{part.start}-{part.end - 1}"
                if part.start == part.end:
                    place = "-"
                digits = "" if is_group else self._hex(part)
            indent = "  " * part.depth
            rows.append((place, digits, indent + part.field, part.value, part.meaning))
        return rows

    def _hex(self, part: Part) -> str:
        if part.value == _HIDDEN:
            return ""
        shown = self.data[part.start : min(part.end, part.start + _HEX_MAX)].hex(" ").upper()
        return shown + (" …" if part.end - part.start > _HEX_MAX else "")

    def _fault_line(self) -> str:
        if self.fault is None:
            return ""
        code = self.fault.reason_code
        told = "" if code is None else f" (0x{code:02X} {code.name})"
        if self.fault.start == self.fault.end:
            return f"error at byte {self.fault.start}: {self.fault.what}{told}"
        return f"error at bytes {self.fault.start}-{self.fault.end - 1}: {self.fault.what}{told}"

    def __str__(self) -> str:
        header = ("bytes", "hex", "field", "value", "meaning")
        rows = [header, *self._rows()]
        widths = [max(len(row[column]) for row in rows) for column in range(5)]
        lines = ["  ".join(map(str.ljust, row, widths)).rstrip() for row in rows]
        lines.insert(1, "  ".join("-" * width for width in widths))
        return "\n".join([*lines, self._fault_line()] if self.fault else lines)

    def _repr_html_(self) -> str:
        cells = "".join(f"<th>{name}</th>" for name in ("bytes", "hex", "field", "value", "meaning"))
        lines = [f"<table><thead><tr>{cells}</tr></thead><tbody>"]
        for part, row in zip(self.parts, self._rows(), strict=True):
            place, digits, name, value, meaning = (escape(cell) for cell in row)
            style = "" if self.fault is None or not self._is_hit(part) else ' style="background:#fdd;color:#000"'
            lines.append(
                f"<tr{style}><td>{place}</td><td><code>{digits}</code></td>"
                f'<td style="text-align:left;padding-left:{part.depth + 0.5}em">{name.strip()}</td>'
                f'<td style="text-align:left"><code>{value}</code></td><td style="text-align:left">{meaning}</td></tr>'
            )
        lines.append("</tbody></table>")
        if self.fault is not None:
            lines.append(f"<p><strong>{escape(self._fault_line())}</strong></p>")
        return "".join(lines)

    def _is_hit(self, part: Part) -> bool:
        """Whether the fault lies in this very line."""
        fault = self.fault
        return fault is not None and fault.start <= part.start < part.end <= fault.end and part.bits is None


def explain(
    data: bytes | bytearray | memoryview | SupportsBuffer, /, *, version: Literal["5.0", "3.1.1", "3.1"] = "5.0"
) -> Explanation:
    """Say what each byte of a packet means, also of one that is cut short or malformed.

    A password is not shown.

    Parameters
    ----------
    data
        One packet; what follows it is one line of its own.
    version
        What is spoken. A CONNECT is read by the version it names itself.

    Returns
    -------
    Explanation
        Prints as a table; a notebook shows it as one.

    Examples
    --------
    >>> import rmqtt
    >>> print(rmqtt.explain(bytes.fromhex("40 03 00 07 97")))
    bytes     hex    field               value   meaning
    --------  -----  ------------------  ------  ------------------
    0-1              fixed header        PUBACK  3 bytes follow
    0         40       type and flags    0x40
    bits 7-4             packet type     0100    PUBACK
    bits 3-0             reserved        0000    as prescribed
    1                  remaining length  3
    1         03         digit 1         3       times 1, the last
    2-3       00 07  packet identifier   7       names the exchange
    4         97     reason code         0x97    quota exceeded
    """
    data = data if isinstance(data, bytes) else memoryview(data).tobytes()
    spoken, parts, fault = explain_packet(data, version)
    return Explanation(
        data=data,
        version=spoken,
        parts=tuple(
            Part(start=start, end=end, bits=bits, depth=depth, field=name, value=value, meaning=meaning)
            for (start, end), bits, depth, name, value, meaning in parts
        ),
        fault=None if fault is None else _fault(*fault),
    )


def _fault(place: tuple[int, int], what: str, code: int | None) -> Fault:
    start, end = place
    return Fault(start=start, end=end, what=what, reason_code=None if code is None else ReasonCode(code))
