"""Wrong calls are refused before anything is sent, by an error of a fitting type whose text says what to do."""

from __future__ import annotations

import asyncio
import contextlib
import gc
from typing import TYPE_CHECKING, Any, cast

import pytest
import rmqtt
from held_broker import held_client
from loops import on_every_loop, run

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable


@contextlib.asynccontextmanager
async def connected() -> AsyncIterator[rmqtt.Client]:
    with rmqtt.Broker("mqtt://127.0.0.1:0") as broker:
        async with rmqtt.Client(broker.url) as client:
            yield client
            # Whatever was refused, the client still works, and nothing of it was sent.
            before = broker.stats().messages_received
            await client.publish("a", b"1", qos=1)
            assert broker.stats().messages_received == before + 1 == 1


@pytest.mark.parametrize(
    ("topic", "advice"),
    [
        ("plant/+/temperature", r"\+"),
        ("plant/#", "#"),
        ("", "empty"),
        ("a\0b", "NUL|U\\+0000|null"),
        ("x" * 65_536, "65.?535"),
    ],
)
@pytest.mark.parametrize("qos", [0, 1])
@on_every_loop
async def test_a_topic_that_is_none_is_refused(topic: str, advice: str, qos: Any) -> None:
    async with connected() as client:
        with pytest.raises(rmqtt.TopicError, match=advice) as caught:
            await client.publish(topic, b"1", qos=qos)
        assert isinstance(caught.value, ValueError)


@on_every_loop
async def test_a_lone_surrogate_in_a_topic_is_refused() -> None:
    async with connected() as client:
        with pytest.raises(ValueError):
            await client.publish("a\ud800", b"1")
        with pytest.raises(ValueError):
            await client.publish("a", "\ud800")


@pytest.mark.parametrize("topic", [1, None, b"a", ["a"]])
@on_every_loop
async def test_a_topic_of_a_wrong_type_is_refused(topic: Any) -> None:
    async with connected() as client:
        with pytest.raises(TypeError, match="str"):
            await client.publish(topic, b"1")


@pytest.mark.parametrize("payload", [21.5, 7, None, {"a": 1}, ["a"], object()])
@pytest.mark.parametrize("qos", [0, 1])
@on_every_loop
async def test_a_payload_of_a_wrong_type_is_refused_and_its_type_is_named(payload: Any, qos: Any) -> None:
    async with connected() as client:
        with pytest.raises(TypeError, match=f"bytes.*{type(payload).__name__}|{type(payload).__name__}.*bytes"):
            await client.publish("a", payload, qos=qos)


@pytest.mark.parametrize("qos", [3, -1, 256, "1", None, 1.0])
@on_every_loop
async def test_a_qos_that_is_none_is_refused(qos: Any) -> None:
    async with connected() as client:
        with pytest.raises((ValueError, TypeError), match=r"qos|QoS|0, 1"):
            await client.publish("a", b"1", qos=qos)
        with pytest.raises((ValueError, TypeError), match=r"qos|QoS|0, 1"):
            async with client.subscribe("a", qos=qos):
                pass


@pytest.mark.parametrize("topic_filter", ["a/#/b", "a+", "#a", "", "a\0", "$share//a", "$share/g", "x" * 65_536])
@on_every_loop
async def test_a_filter_that_is_none_is_refused(topic_filter: str) -> None:
    async with connected() as client:
        with pytest.raises(rmqtt.TopicError):
            async with client.subscribe(topic_filter):
                pass


@on_every_loop
async def test_subscribing_to_nothing_is_refused() -> None:
    async with connected() as client:
        with pytest.raises((TypeError, ValueError), match="filter"):
            async with client.subscribe():
                pass


@pytest.mark.parametrize(
    "options",
    [
        {"maxsize": 0},
        {"maxsize": -1},
        {"max_bytes": 0},
        {"overflow": "forget"},
        {"ack": "never"},
        {"retain_handling": 3},
    ],
    ids=str,
)
@on_every_loop
async def test_subscribe_options_out_of_range_are_refused(options: dict[str, Any]) -> None:
    async with connected() as client:
        with pytest.raises((ValueError, TypeError)):
            async with client.subscribe("a", **options):
                pass


@pytest.mark.parametrize(
    "options",
    [
        {"expiry": -1},
        {"response_topic": "a/#"},
        {"user_properties": [("a", 1)]},
        {"correlation": "text"},
    ],
    ids=str,
)
@on_every_loop
async def test_publish_properties_out_of_range_are_refused(options: dict[str, Any]) -> None:
    async with connected() as client:
        with pytest.raises((ValueError, TypeError, OverflowError)):
            await client.publish("a", b"1", **options)


@on_every_loop
async def test_use_after_close_says_so_and_what_to_do(broker: rmqtt.Broker) -> None:
    async with rmqtt.Client(broker.url) as client, client.subscribe("a") as messages:
        pass
    for qos in (0, 1, 2):
        with pytest.raises(rmqtt.Closed, match="new"):
            await client.publish("a", b"1", qos=qos)
    with pytest.raises(rmqtt.Closed):
        await client.subscribe("a").__aenter__()
    with pytest.raises(rmqtt.Closed):
        await messages.get()
    assert [message async for message in messages] == []
    with pytest.raises(rmqtt.Closed, match="new"):
        await client.__aenter__()


@on_every_loop
async def test_use_before_connect_says_so_and_what_to_do(broker: rmqtt.Broker) -> None:
    client = rmqtt.Client(broker.url)
    for qos in (0, 1, 2):
        with pytest.raises(rmqtt.NotConnected, match="async with"):
            await client.publish("a", b"1", qos=qos)
    with pytest.raises(rmqtt.NotConnected):
        await client.subscribe("a").__aenter__()


@on_every_loop
async def test_connecting_twice_says_so(broker: rmqtt.Broker) -> None:
    async with rmqtt.Client(broker.url) as client:
        with pytest.raises((RuntimeError, rmqtt.MqttError)):
            await client.__aenter__()
        await client.publish("a", b"1", qos=1)


@on_every_loop
async def test_a_subscription_is_entered_before_it_is_read(broker: rmqtt.Broker) -> None:
    async with rmqtt.Client(broker.url) as client:
        messages = client.subscribe("a")
        with pytest.raises((RuntimeError, rmqtt.MqttError), match=r"async with|await"):
            await messages.get()
        with pytest.raises((RuntimeError, rmqtt.MqttError), match=r"async with|await"):
            async for _ in messages:
                pass


@on_every_loop
async def test_a_subscription_is_not_for_plain_loops(broker: rmqtt.Broker) -> None:
    async with rmqtt.Client(broker.url) as client, client.subscribe("a") as messages:
        with pytest.raises(TypeError):
            for _ in messages:  # type: ignore[attr-defined]
                pass


def test_a_thread_without_a_loop_may_publish_and_hand_the_wait_to_the_clients_loop(broker: rmqtt.Broker) -> None:
    async def main() -> None:
        async with rmqtt.Client(broker.url) as client:
            loop = asyncio.get_running_loop()

            def work() -> Any:
                operation: Any = client.publish("a", b"1", qos=1)
                return asyncio.run_coroutine_threadsafe(operation, loop).result(10)

            assert isinstance(await asyncio.to_thread(work), rmqtt.PublishResult)

    run(main())
    assert broker.stats().messages_received == 1


def test_connecting_without_a_running_loop_says_so(broker: rmqtt.Broker) -> None:
    with pytest.raises(RuntimeError, match="loop"):
        _ = rmqtt.Client(broker.url).connect()


def test_an_operation_awaited_on_a_second_loop_is_refused_and_says_why() -> None:
    async def elsewhere(operation: Any) -> None:
        with pytest.raises(RuntimeError, match="loop"):
            await operation
        with pytest.raises((RuntimeError, ValueError), match="loop"):
            await asyncio.wait_for(operation, 5)
        with pytest.raises((RuntimeError, ValueError), match="loop"):
            await asyncio.gather(operation)

    async def main() -> None:
        async with held_client() as (broker, client):
            operation: Any = client.publish("a", b"1", qos=1)
            await broker.saw(lambda broker: broker.held == 1)
            await asyncio.to_thread(lambda: asyncio.run(elsewhere(operation)))

    run(main())


def test_a_client_of_another_loop_is_refused_and_both_loops_are_named(broker: rmqtt.Broker) -> None:
    async def elsewhere(client: rmqtt.Client, messages: rmqtt.Subscription) -> None:
        for call in (
            lambda: client.publish("a", b"1"),
            lambda: client.publish("a", b"1", qos=1),
            lambda: client.subscribe("a"),
        ):
            with pytest.raises(RuntimeError, match=r"Loop.*used in.*Loop"):
                call()
        with pytest.raises(RuntimeError, match=r"Loop.*used in.*Loop"):
            await asyncio.wait_for(messages.get(), 5)

    async def main() -> None:
        async with rmqtt.Client(broker.url) as client, client.subscribe("b") as messages:
            await asyncio.to_thread(lambda: asyncio.run(elsewhere(client, messages)))

    run(main())


def test_a_client_whose_loop_is_closed_says_so_and_what_to_do(broker: rmqtt.Broker) -> None:
    async def connect(client: rmqtt.Client) -> None:
        await client.connect()

    async def publish(client: rmqtt.Client) -> None:
        await client.publish("a", b"1", qos=1)

    client = rmqtt.Client(broker.url)
    run(connect(client))
    with pytest.raises(RuntimeError, match=r"closed.*new client"):
        run(publish(client))
    del client
    with pytest.warns(ResourceWarning):
        gc.collect()


@pytest.mark.parametrize(
    ("make", "advice"),
    [
        (lambda: rmqtt.Client("http://localhost"), "mqtt://"),
        (lambda: rmqtt.Client("mqtt://localhost:99999"), "port|99999"),
        (lambda: rmqtt.Client("mqtt://"), "host|mqtt://"),
        (lambda: rmqtt.Client("localhost", port=0), "port"),
        (
            lambda: rmqtt.Client(version="4"),  # type: ignore[arg-type]
            "5.0",
        ),
        (lambda: rmqtt.Client(keep_alive=-1), "keep_alive"),
        (lambda: rmqtt.Client(keep_alive=65_536), "keep_alive"),
        (lambda: rmqtt.Client(receive_maximum=0), "receive_maximum"),
        (lambda: rmqtt.Client(receive_maximum=65_536), "receive_maximum"),
        (lambda: rmqtt.Client(session_expiry=-1), "session_expiry"),
        (lambda: rmqtt.Client(connect_timeout=-1), "connect_timeout"),
        (lambda: rmqtt.Client(connect_timeout=float("nan")), "connect_timeout"),
        (lambda: rmqtt.Client(client_id="x" * 65_536), "client_id|65.?535"),
        (lambda: rmqtt.Client(will=rmqtt.Will(topic="a/#")), "#"),
        (lambda: rmqtt.Client(will=rmqtt.Will(topic="a", payload=bytes(65_536))), "65.?535"),
        (lambda: rmqtt.Client(reconnect=rmqtt.Reconnect(factor=0.5)), "factor"),
        (lambda: rmqtt.Client(reconnect=rmqtt.Reconnect(initial=-1)), "initial"),
        (lambda: rmqtt.Client(outbox=rmqtt.Outbox(max_messages=0)), "max_messages"),
        (lambda: rmqtt.Broker("mqtt://0.0.0.0:0").start(), "allow_anonymous"),
        (lambda: rmqtt.Broker("http://127.0.0.1"), "mqtt://"),
        (lambda: rmqtt.Broker("mqtt://127.0.0.1:99999"), "port|99999"),
        (lambda: rmqtt.Broker(limits=rmqtt.Limits(receive_maximum=0)).start(), "receive_maximum"),
        (lambda: rmqtt.Broker(limits=rmqtt.Limits(connect_timeout=-1)), "connect_timeout"),
    ],
)
def test_options_that_make_no_sense_are_refused_when_they_are_given(make: Callable[[], object], advice: str) -> None:
    with pytest.raises((ValueError, TypeError), match=advice):
        make()


@pytest.mark.parametrize("make", [rmqtt.Client, rmqtt.SyncClient])
@pytest.mark.parametrize(
    ("arguments", "options", "words"),
    [
        ((b"mqtt://localhost",), {}, "url must be str, or several of them, not bytes"),
        ((None,), {}, "url must be str, or several of them, not NoneType"),
        ((["mqtt://localhost", 1883],), {}, "url must be str, or several of them, not int"),
        (("localhost:1884",), {"port": 1884}, "port"),
        ((), {"reconnect": False}, r"reconnect must be rmqtt\.Reconnect, not bool"),
        ((), {"outbox": None}, r"outbox must be rmqtt\.Outbox, not NoneType"),
        ((), {"will": ("plant/7", "off")}, r"will must be rmqtt\.Will, not tuple"),
        ((), {"password": 5}, "password must be str or bytes"),
    ],
)
def test_an_argument_of_another_kind_is_named_with_what_it_should_be(
    make: Callable[..., object], arguments: tuple[Any, ...], options: dict[str, Any], words: str
) -> None:
    with pytest.raises((TypeError, ValueError), match=words):
        make(*arguments, **options)


def test_a_broker_that_is_not_running_says_so() -> None:
    broker = rmqtt.Broker("mqtt://127.0.0.1:0")

    async def publish() -> None:
        await broker.publish("a", b"1")

    with pytest.raises(rmqtt.BrokerError, match=r"running|start"):
        _ = broker.port
    with pytest.raises(rmqtt.BrokerError, match=r"running|start"):
        run(publish())
    with broker, pytest.raises(rmqtt.BrokerError, match="running"):
        broker.start()


def test_a_port_in_use_is_a_bind_error_with_number_and_address(broker: rmqtt.Broker) -> None:
    with pytest.raises(rmqtt.BindError, match=str(broker.port)) as caught:
        rmqtt.Broker(broker.url).start()
    assert isinstance(caught.value, OSError)
    assert caught.value.errno is not None


@on_every_loop
async def test_a_broker_that_is_not_there_is_named(broker: rmqtt.Broker) -> None:
    url = broker.url
    broker.stop()
    with pytest.raises(rmqtt.ConnectFailed, match=url.rpartition(":")[2]) as caught:
        await rmqtt.Client(url).__aenter__()
    assert isinstance(caught.value, ConnectionError)
    assert caught.value.endpoint


@on_every_loop
async def test_a_broker_that_never_answers_is_a_timeout() -> None:
    from held_broker import CONNECT, HeldBroker

    with HeldBroker(hold=(CONNECT,)) as broker:
        with pytest.raises(rmqtt.MqttTimeout) as caught:
            await rmqtt.Client(broker.url, connect_timeout=0.05).__aenter__()
        assert isinstance(caught.value, TimeoutError)


def test_all_misuse_errors_can_be_pickled_for_other_processes() -> None:
    import pickle

    for error in (
        rmqtt.TopicError("bad"),
        rmqtt.Closed("closed"),
        rmqtt.ConnectFailed("x", endpoint="e"),
        rmqtt.BindError("b", errno=98, address="a"),
    ):
        copy = pickle.loads(pickle.dumps(error))
        assert type(copy) is type(error)
        assert str(copy) == str(error)
        assert vars(copy) == vars(error)


@pytest.mark.parametrize(
    ("arguments", "kind", "words"),
    [
        ({"username": 3}, TypeError, "^username: .*str"),
        ({"will": "x"}, TypeError, "^will must be"),
        ({"outbox": rmqtt.Outbox(max_messages=-1)}, ValueError, r"^outbox\.max_messages is out of its range"),
        ({"auth": ("alice", "secret")}, TypeError, "^auth must be ScramSha256 or an AuthHandler, not tuple"),
    ],
)
def test_a_wrong_argument_is_named_as_the_caller_knows_it(
    arguments: dict[str, Any], kind: type[Exception], words: str
) -> None:
    with pytest.raises(kind, match=words):
        rmqtt.Client("mem://never", **arguments)


def test_a_wrong_limit_or_feature_is_a_value_error_that_names_it() -> None:
    with pytest.raises(ValueError, match=r"^receive_maximum is out of its range"):
        rmqtt.Broker("mem://never", limits=rmqtt.Limits(receive_maximum=70_000))
    with pytest.raises(TypeError, match=r"^features\.retain: "):
        rmqtt.Broker("mem://never", features=rmqtt.Features(retain=cast("bool", 3)))


@on_every_loop
async def test_what_is_no_reason_code_is_a_value_error(broker: rmqtt.Broker) -> None:
    async with rmqtt.Client(broker.url) as client:
        for number in (-1, 300):
            with pytest.raises(ValueError, match="no reason"):
                await broker.disconnect("anybody", number)
            with pytest.raises(ValueError, match="no reason code"):
                await client.close(reason_code=number)
