"""The breakdown of packets, as text and as a table in a notebook."""

from __future__ import annotations

import random
from html.parser import HTMLParser

import pytest
import rmqtt
from rmqtt import Connect, Explanation, Publish, WillMessage, encode, explain


class Tags(HTMLParser):
    """Whether all tags are closed in order, and how often each occurs."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: list[str] = []

    def handle_starttag(self, tag: str, attrs: object) -> None:
        self.open.append(tag)
        self.seen.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def html(explanation: Explanation) -> str:
    text = explanation._repr_html_()
    tags = Tags()
    tags.feed(text)
    assert tags.open == []
    assert tags.seen.count("tr") == len(explanation.parts) + 1
    return text


def test_a_breakdown_names_bits_digits_and_properties() -> None:
    data = encode(Publish(topic="a/b", payload=b"21.5" * 50, qos=1, packet_id=7, topic_alias=3))
    explanation = explain(data)
    lines = str(explanation).splitlines()
    assert lines[0].split() == ["bytes", "hex", "field", "value", "meaning"]
    assert len(lines) == len(explanation.parts) + 2
    found = {part.field: part for part in explanation.parts}
    assert (found["QoS"].bits, found["QoS"].value) == ((2, 1), "01")
    assert (found["digit 2"].start, found["digit 2"].meaning) == (2, "times 128, the last")
    assert (found["Topic Alias"].value, found["packet identifier"].value) == ("3", "7")
    assert (found["payload"].start, found["payload"].end) == (len(data) - 200, len(data))
    assert explanation.fault is None
    html(explanation)


def test_a_breakdown_shows_no_password() -> None:
    explanation = explain(encode(Connect(client_id="c", username="u", password=b"hunter2")))
    for text in (str(explanation), html(explanation), repr(explanation)):
        assert "hunter2" not in text
        assert b"hunter2".hex(" ").upper() not in text


def test_text_from_the_wire_is_escaped() -> None:
    nasty = "<script>alert('&')</script>"
    explanation = explain(encode(Connect(client_id=nasty, will=WillMessage(topic=nasty, payload=nasty.encode()))))
    text = html(explanation)
    assert "<script" not in text
    assert "&lt;script&gt;" in text
    assert "\x1b" not in str(explain(encode(Publish(topic="\x1b[31m", payload=b"\x1b[31m"))))


def test_a_fault_is_shown_with_its_place_and_code() -> None:
    explanation = explain(bytes.fromhex("30040002c328"), version="3.1.1")
    fault = explanation.fault
    assert fault is not None
    assert (fault.start, fault.end, fault.reason_code) == (4, 6, rmqtt.ReasonCode.MALFORMED_PACKET)
    assert str(explanation).endswith(
        "error at bytes 4-5: malformed packet: a text is not valid UTF-8 [MQTT-1.5.3-1] (0x81 MALFORMED_PACKET)"
    )
    text = html(explanation)
    assert "error at bytes 4-5" in text
    assert text.count("background") == 1


def test_a_packet_that_is_cut_short_says_what_is_missing() -> None:
    explanation = explain(b"\x30\x0a\x00\x03a")
    assert str(explanation).endswith("error at byte 5: the packet is incomplete: 5 of 12 bytes are there")
    assert explanation.fault is not None
    assert explanation.fault.reason_code is None
    assert "the fixed header is incomplete" in str(explain(b""))


def test_a_connect_is_read_by_its_own_version() -> None:
    assert explain(encode(Connect(version="3.1"))).version == "3.1"
    assert explain(encode(Connect()), version="3.1.1").version == "5.0"


def test_any_bytes_have_a_breakdown_without_a_gap() -> None:
    chance = random.Random(7)
    for _ in range(500):
        data = chance.randbytes(chance.randrange(60))
        if chance.random() < 0.7 and len(data) > 2:
            data = bytes([data[0] | 0x10, len(data) - 2]) + data[2:]
        explanation = explain(data)
        parts = [part for part in explanation.parts if part.bits is None]
        leaves = [
            part
            for part, below in zip(parts, [*parts[1:], None], strict=True)
            if below is None or below.depth <= part.depth
        ]
        assert b"".join(data[part.start : part.end] for part in leaves) == data
        html(explanation)
        assert str(explanation)


def test_bad_arguments_are_said() -> None:
    with pytest.raises(TypeError):
        explain(1)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="version"):
        explain(b"\xc0\x00", version="4")  # type: ignore[arg-type]
