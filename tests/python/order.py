"""Knowing that something has come, by what was sent after it."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import rmqtt


async def everything_came(client: rmqtt.Client) -> None:
    """Wait until a client has all that the broker had for it: what is published now comes after that."""
    async with client.subscribe("order/mark", qos=1) as marks:
        await client.publish("order/mark", qos=1)
        await marks.get(timeout=20)
