"""A broker, a client and a subscription in one process."""

import asyncio

import rmqtt


async def main() -> None:
    """Publish one reading and print it."""
    async with (
        rmqtt.Broker("mqtt://127.0.0.1:0") as broker,
        rmqtt.Client(broker.url) as client,
        client.subscribe("plant/+/temperature", qos=1) as readings,
    ):
        await client.publish("plant/7/temperature", b"21.5", qos=1)  # returns when the broker has taken it over
        async for message in readings:
            print(message.topic, message.text())
            break


if __name__ == "__main__":
    asyncio.run(main())
