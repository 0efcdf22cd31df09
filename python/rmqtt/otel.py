"""W3C trace context in user properties: what spans of one program are to those of the next (MQTT 5).

A client made with ``trace_context=True`` adds ``traceparent`` and ``tracestate`` of the current span to what it
publishes; `context_of` reads them from a message. It needs ``opentelemetry-api``: ``pip install 'rmqtt[otel]'``.

>>> from opentelemetry import trace
>>> async with rmqtt.Client(broker.url, trace_context=True) as traced, traced.subscribe("plant/#") as readings:
...     span = trace.NonRecordingSpan(trace.SpanContext(0xABC, 0xDEF, is_remote=False))
...     with trace.use_span(span):
...         await traced.publish("plant/7", "21.5", qos=1)
...     message = await readings.get(timeout=5)
PublishResult(SUCCESS)
>>> f"{trace.get_current_span(context_of(message)).get_span_context().trace_id:x}"
'abc'
"""

from __future__ import annotations

import dataclasses
import operator
from collections.abc import AsyncIterable, AsyncIterator, Iterable, Iterator
from typing import TYPE_CHECKING, Any

from rmqtt._client import Client
from rmqtt._messages import Outgoing
from rmqtt._sync import SyncClient

try:
    from opentelemetry.context import Context, attach, detach
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
except ImportError as error:
    raise ImportError("trace context needs opentelemetry-api: pip install 'rmqtt[otel]'", name=error.name) from error

if TYPE_CHECKING:
    from collections.abc import Callable

    from rmqtt._rmqtt import Message
    from rmqtt._types import UserProperties

__all__ = ["context_of"]

_PROPAGATOR = TraceContextTextMapPropagator()
_NAMES = ("traceparent", "tracestate")


def context_of(message: Message) -> Context:
    """Give the trace context that a message came with, to begin a span in.

    Parameters
    ----------
    message
        What was received.

    Returns
    -------
    opentelemetry.context.Context
        An empty one where the message says nothing that can be understood.

    Examples
    --------
    >>> async with client.subscribe("plant/#") as readings:
    ...     _ = await client.publish("plant/7")
    ...     context_of(await readings.get(timeout=5))
    {}
    """
    carrier = {name: value for name, value in message.properties.user_properties if name in _NAMES}
    return _PROPAGATOR.extract(carrier, context=Context())


def _traced(given: UserProperties) -> UserProperties:
    carrier: dict[str, str] = {}
    _PROPAGATOR.inject(carrier)
    # Who says it himself knows better.
    if not carrier or any(name in _NAMES for name, _ in given):
        return given
    return [*given, *carrier.items()]


def _outgoing(item: tuple[str, Any] | Outgoing, qos: Any) -> Outgoing:
    outgoing = item if isinstance(item, Outgoing) else Outgoing(*item, qos=qos)
    return dataclasses.replace(outgoing, user_properties=_traced(outgoing.user_properties))


class _Each:
    """Each item with the context; how many there are is told as far as it is known."""

    def __init__(self, items: Iterable[Any], qos: Any) -> None:
        self._items = items
        self._qos = qos

    def __iter__(self) -> Iterator[Outgoing]:
        for item in self._items:
            yield _outgoing(item, self._qos)

    def __length_hint__(self) -> Any:
        length = operator.length_hint(self._items, -1)
        return NotImplemented if length < 0 else length


async def _each_async(items: AsyncIterable[Any], qos: Any) -> AsyncIterator[Outgoing]:
    async for item in items:
        yield _outgoing(item, qos)


# What a client becomes that is to trace: the others do not even look.


class TracingClient(Client):
    """A `Client` made with ``trace_context=True``."""

    __slots__ = ()

    def _with_trace(self, options: dict[str, Any]) -> dict[str, Any]:
        if self._native.speaks_v5:
            options["user_properties"] = _traced(options.get("user_properties", ()))
        return options

    def publish(self, *args: Any, **options: Any) -> Any:
        return super().publish(*args, **self._with_trace(options))

    def publish_nowait(self, *args: Any, **options: Any) -> Any:
        return super().publish_nowait(*args, **self._with_trace(options))

    def request(self, *args: Any, **options: Any) -> Any:
        return super().request(*args, **self._with_trace(options))

    async def publish_many(self, items: Any, /, *, qos: Any = 0, **options: Any) -> Any:
        if self._native.speaks_v5:
            items = _each_async(items, qos) if isinstance(items, AsyncIterable) else _Each(items, qos)
        return await super().publish_many(items, qos=qos, **options)

    def respond(self, filter: str, handler: Callable[[Message], Any], /, **options: Any) -> Any:
        async def traced(message: Message) -> Any:
            token = attach(context_of(message))
            try:
                return await handler(message)
            finally:
                detach(token)

        return super().respond(filter, traced, **options)


class TracingSyncClient(SyncClient):
    """A `SyncClient` made with ``trace_context=True``."""

    __slots__ = ()

    def _with_trace(self, options: dict[str, Any]) -> dict[str, Any]:
        if self._native.speaks_v5:
            options["user_properties"] = _traced(options.get("user_properties", ()))
        return options

    def publish(self, *args: Any, **options: Any) -> Any:
        return super().publish(*args, **self._with_trace(options))

    def publish_nowait(self, *args: Any, **options: Any) -> Any:
        return super().publish_nowait(*args, **self._with_trace(options))

    def request(self, *args: Any, **options: Any) -> Any:
        return super().request(*args, **self._with_trace(options))

    def respond(self, filter: str, handler: Callable[[Message], Any], /, **options: Any) -> Any:
        def traced(message: Message) -> Any:
            token = attach(context_of(message))
            try:
                return handler(message)
            finally:
                detach(token)

        return super().respond(filter, traced, **options)
