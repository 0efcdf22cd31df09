"""W3C trace context goes from the span that publishes to who receives, where it is switched on."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest
import rmqtt

trace = pytest.importorskip("opentelemetry.trace")
otel = pytest.importorskip("rmqtt.otel")

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

#: Far more than anything takes.
GUARD = 20.0
PARENT = f"00-{0xABC:032x}-{0xDEF:016x}-01"


def span() -> Any:
    state = trace.TraceState([("vendor", "value")])
    flags = trace.TraceFlags(trace.TraceFlags.SAMPLED)
    context = trace.SpanContext(0xABC, 0xDEF, is_remote=False, trace_flags=flags, trace_state=state)
    return trace.use_span(trace.NonRecordingSpan(context))


@pytest.fixture
async def client(broker: rmqtt.Broker) -> AsyncIterator[rmqtt.Client]:
    """Connect a client that traces."""
    async with rmqtt.Client(broker.url, trace_context=True) as connected:
        yield connected


async def test_every_way_of_publishing_carries_the_current_span(client: rmqtt.Client) -> None:
    async def one() -> Any:
        yield "a", b"async"

    async with client.subscribe("a", qos=1) as messages:
        with span():
            await client.publish("a", b"x", user_properties=[("own", "1")])
            client.publish_nowait("a", b"x")
            await client.publish_many([("a", b"x"), rmqtt.Outgoing("a", b"x", retain=True)])
            await client.publish_many(one())
        await client.publish("a", b"outside", qos=1)
        received = [await messages.get(GUARD) for _ in range(6)]
    assert received[0].properties.user_properties[0] == ("own", "1")
    for message in received[:5]:
        found = trace.get_current_span(otel.context_of(message)).get_span_context()
        assert (found.trace_id, found.span_id, found.is_remote) == (0xABC, 0xDEF, True)
        assert found.trace_state["vendor"] == "value"
    assert received[5].properties.user_properties == ()
    assert otel.context_of(received[5]) == {}


async def test_a_handler_runs_in_the_context_of_its_question(client: rmqtt.Client) -> None:
    async def handler(_: rmqtt.Message) -> str:
        return f"{trace.get_current_span().get_span_context().trace_id:x}"

    async with client.respond("id", handler):
        with span():
            assert (await client.request("id", timeout=GUARD)).text() == "abc"
        assert (await client.request("id", timeout=GUARD)).text() == "0"


def test_the_blocking_twin_traces_too(broker: rmqtt.Broker) -> None:
    def handler(_: rmqtt.Message) -> str:
        return f"{trace.get_current_span().get_span_context().trace_id:x}"

    with rmqtt.SyncClient(broker.url, trace_context=True) as client, client.subscribe("a") as messages, span():
        client.publish("a", b"x")
        client.publish_nowait("a", b"x")
        client.publish_many([("a", b"x")], qos=1)
        for _ in range(3):
            assert ("traceparent", PARENT) in messages.get(GUARD).properties.user_properties
        with client.respond("id", handler):
            assert client.request("id", timeout=GUARD).text() == "abc"


async def test_what_the_caller_says_goes_before_and_nonsense_is_no_context(client: rmqtt.Client) -> None:
    async with client.subscribe("a") as messages:
        with span():
            await client.publish("a", user_properties=[("traceparent", "nonsense")])
        message = await messages.get(GUARD)
    assert message.properties.user_properties == (("traceparent", "nonsense"),)
    assert otel.context_of(message) == {}


async def test_under_3_1_1_there_is_no_place_for_it(broker: rmqtt.Broker) -> None:
    async with (
        rmqtt.Client(broker.url, version="3.1.1", trace_context=True) as client,
        client.subscribe("a") as messages,
    ):
        with span():
            await client.publish("a", b"x")
            await client.publish_many([("a", b"x")])
        for _ in range(2):
            assert (await messages.get(GUARD)).payload == b"x"


async def test_switched_off_nothing_is_sent_and_nothing_is_loaded(broker: rmqtt.Broker) -> None:
    async with rmqtt.Client(broker.url) as client, client.subscribe("a") as messages:
        with span():
            await client.publish("a", b"x")
        assert (await messages.get(GUARD)).properties.user_properties == ()
    assert type(client) is rmqtt.Client
    code = "import sys, rmqtt; rmqtt.Client(); rmqtt.SyncClient(); print('opentelemetry' in sys.modules)"
    assert subprocess.check_output([sys.executable, "-c", code], text=True) == "False\n"


def test_without_the_package_it_says_what_to_install() -> None:
    code = """
import sys
sys.modules["opentelemetry"] = None
import rmqtt
for kind in (rmqtt.Client, rmqtt.SyncClient):
    try:
        kind(trace_context=True)
    except ImportError as error:
        print(error)
"""
    told = subprocess.check_output([sys.executable, "-c", code], text=True)
    assert told == "trace context needs opentelemetry-api: pip install 'rmqtt[otel]'\n" * 2
