"""The outbox: what waits to be sent or acknowledged."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeAlias

if TYPE_CHECKING:
    import os

OnFull: TypeAlias = Literal["wait", "error", "drop_oldest"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Outbox:
    """What waits to be sent or acknowledged: its bounds, also while there is no connection, and where it is kept.

    With `path`, messages of QoS 1 and 2 outlive the process. They go into one file, which is synced before anything
    leaves that depends on it; a client with the same `client_id` that opens the file again sends what was not
    acknowledged, in order, and a message of QoS 2 arrives exactly once although the process was killed. What had been
    subscribed is known too, and its messages wait for whoever subscribes to the same filter within a minute. What is
    promised, what it costs and what becomes of a damaged file is in ``docs/outbox.md``.

    Raises
    ------
    ValueError
        By `Client`, not here: a bound is below 1, `on_full` is none of the three, `ttl` is not above 0, or there is a
        `path` without `client_id`, ``clean_start=False`` and ``session_expiry`` above 0 (MQTT 5): without a session
        that is kept, a restarted process could not tell a new message from a repetition.
    StorageError
        By ``connect()``: the file is in use, belongs to another client id, cannot be written, or is damaged. A damaged
        file is renamed to ``PATH.damaged-N``, and the next ``connect()`` begins an empty one.

    Examples
    --------
    >>> Outbox(max_messages=100).keep_qos0
    False
    >>> latest = Outbox(max_messages=100, on_full="drop_oldest", keep_qos0=True)  # telemetry: the newest count
    >>> import asyncio, pathlib, tempfile, rmqtt
    >>> kept = {"client_id": "meter", "clean_start": False, "session_expiry": 86_400}
    >>> async def main(broker, path):
    ...     async with rmqtt.Client(broker.url, outbox=Outbox(path=path), **kept) as client:
    ...         await client.drain()  # what an earlier process left, too
    ...         await client.publish("plant/power", b"21.5", qos=2)
    >>> with rmqtt.Broker("mqtt://127.0.0.1:0") as broker, tempfile.TemporaryDirectory() as directory:
    ...     asyncio.run(main(broker, pathlib.Path(directory) / "outbox"))
    """

    #: Messages; 1 or more.
    max_messages: int = 10_000
    #: Their bytes: topic, payload and properties.
    max_bytes: int = 64 << 20
    #: What becomes of a message that finds no room. ``"wait"``: `publish` waits, and is taken back when it is
    #: cancelled; `publish_nowait` raises `QueueFull`. ``"error"``: `publish` raises `QueueFull` at once, too.
    #: ``"drop_oldest"``: the oldest message that has not been sent goes; whoever waits for it gets `MessageDropped`,
    #: ``stats().dropped_full`` counts it, and `Dropped` tells of it. What has been sent never goes: where that is all
    #: there is, the new message goes in all the same, so there may be one more than the bound.
    on_full: OnFull = "wait"
    #: Seconds that a message may wait before it is sent for the first time, by the clock on the wall and with `path`
    #: over restarts too; `None`: as long as it takes. Whoever waits for one that is late gets `MessageExpired`.
    ttl: float | None = None
    #: Keep messages of QoS 0 that are published while there is no connection; in memory, also with `path`.
    keep_qos0: bool = False
    #: The file in which messages of QoS 1 and 2 outlive the process. One for each client id.
    path: str | os.PathLike[str] | None = None
