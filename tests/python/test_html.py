"""How our objects look in a notebook: what came from elsewhere is escaped, and everything is bounded."""

from __future__ import annotations

from html.parser import HTMLParser
from typing import Any

import pytest
import rmqtt
from order import everything_came

#: Far more than anything takes.
GUARD = 20.0
EVIL = "<script>alert('&\"')</script>"
ALLOWED = {"table", "caption", "tr", "th", "td", "pre", "code", "img"}


class Reader(HTMLParser):
    """Knows which elements there are, and what is written in them."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[str] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append(tag)
        assert not [name for name, _ in attrs if name.startswith("on")]

    def handle_data(self, data: str) -> None:
        self.text += data


async def received(broker: rmqtt.Broker, payload: Any, topic: str = "a", **options: Any) -> rmqtt.Message:
    async with rmqtt.Client(broker.url) as client, client.subscribe("{first}/#") as messages:
        await client.publish(topic, payload, **options)
        return await messages.get(GUARD)


@pytest.mark.parametrize(
    ("payload", "content_type", "shown"),
    [
        (b'{"a":[1]}', "application/json; charset=utf-8", '{\n  "a": [\n    1\n  ]\n}'),
        (b'{"a":1', "application/json", '{"a":1'),
        (b"[" * 1500, "application/json", "[" * 1500),
        (b"plain\ttext\n", None, "plain\ttext\n"),
        (b"\x00\x01\xff", None, "0001ff"),
        (b"a\x00b", None, "610062"),
        (b"", None, ""),
        ("ä" * 5000, None, "ä" * 2000 + "…"),
        (b"\xc3" * 5000, None, "4936 more bytes"),
        (b"<svg onload=alert(1)>", "image/svg+xml", "<svg onload=alert(1)>"),
    ],
    ids=range(10),
)
async def test_a_payload_is_shown_by_its_content_type(
    broker: rmqtt.Broker, payload: Any, content_type: str | None, shown: str
) -> None:
    message = await received(broker, payload, content_type=content_type)
    page = Reader(message._repr_html_())
    assert shown in page.text
    assert set(page.elements) <= ALLOWED - {"img"}


async def test_a_small_picture_is_shown_and_a_large_one_is_not(broker: rmqtt.Broker) -> None:
    small = await received(broker, b"\x89PNG", content_type="image/png")
    assert 'src="data:image/png;base64,iVBORw=="' in small._repr_html_()
    large = await received(broker, b"\x89PNG" + bytes(70_000), content_type="image/png")
    assert "img" not in Reader(large._repr_html_()).elements


async def test_whatever_a_stranger_sends_is_escaped_and_bounded(broker: rmqtt.Broker) -> None:
    message = await received(
        broker,
        EVIL * 10_000,
        topic=f"{EVIL}/x",
        content_type=EVIL,
        response_topic=EVIL,
        correlation=EVIL.encode() * 100,
        user_properties=[(EVIL, EVIL), ("topic", "mine"), *((str(n), "x" * 1000) for n in range(1000))],
    )
    text = message._repr_html_()
    page = Reader(text)
    assert set(page.elements) <= ALLOWED
    assert len(text) < 50_000
    assert f"{EVIL}/x" in page.text
    assert "topic (theirs)mine" in page.text


async def test_clients_subscriptions_and_receipts_show_what_they_are(broker: rmqtt.Broker) -> None:
    client = rmqtt.Client(broker.url, client_id=EVIL)
    assert "not connected" in Reader(client._repr_html_()).text
    async with client:
        waiting = client.subscribe("a", qos=1)
        assert "not subscribed yet" in Reader(waiting._repr_html_()).text
        async with waiting:
            receipt = client.publish_nowait("a", EVIL, qos=1)
            await receipt
            await client.publish("a", "newest", qos=1)
            await everything_came(client)
            for shown, words in (
                (client, ["client id" + EVIL, "MQTT5.0", "stateconnected"]),
                (waiting, ["a: QoS 1", "2 / 0", "newest"]),
                (receipt, ["statedone", "SUCCESS"]),
            ):
                page = Reader(shown._repr_html_())
                assert set(page.elements) <= ALLOWED
                assert all(word in page.text for word in words), page.text


def test_the_blocking_twins_show_themselves_too(broker: rmqtt.Broker) -> None:
    with rmqtt.SyncClient(broker.url) as client, client.subscribe("a", qos=1) as messages:
        receipt = client.publish_nowait("a", "x", qos=1)
        receipt.result(GUARD)
        for shown in (client, messages, receipt):
            assert type(shown).__name__ in Reader(shown._repr_html_()).text


async def test_an_error_is_shown(broker: rmqtt.Broker) -> None:
    async with rmqtt.Client(broker.url) as client:
        receipt = client.publish_nowait("a", qos=1, expiry=1)
        await receipt
        assert "NO_MATCHING" in receipt._repr_html_()
