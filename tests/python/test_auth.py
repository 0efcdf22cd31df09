"""Users, passwords and enhanced authentication, at both ends and through the public face."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import contextvars
import gc
import hashlib
import hmac
import pickle
import weakref
from typing import TYPE_CHECKING, Any

import pytest
import rmqtt
from held_broker import GUARD
from loops import on_every_loop
from rmqtt._auth import Runner
from rmqtt.codec import Auth, Codec, ConnAck, Connect, Disconnect, Packet

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator

ALICE = rmqtt.ScramSha256("alice", "secret")
AT_ONCE = rmqtt.Reconnect(initial=0.01, factor=1, jitter="none")


@pytest.fixture
def guarded() -> Iterator[rmqtt.Broker]:
    """Run a broker with two users."""
    with rmqtt.Broker("mqtt://127.0.0.1:0", auth={"alice": "secret", "bob": "other"}) as running:
        yield running


async def tried(client: rmqtt.Client) -> None:
    """Connect a client that nobody else holds: one that is let go of gives up."""
    await client.connect()
    await client.close()


@on_every_loop
async def test_scram_lets_in_and_again(guarded: rmqtt.Broker) -> None:
    async with (
        rmqtt.Client(guarded.url, auth=ALICE, client_id="a") as client,
        client.subscribe("t", qos=1) as messages,
    ):
        assert guarded.clients["a"].user == "alice"
        assert guarded.clients["a"].username is None
        await client.reauthenticate()
        await client.publish("t", b"on", qos=1)
        assert (await messages.get(timeout=GUARD)).payload == b"on"
        async with guarded.client(auth=rmqtt.ScramSha256("bob", "other"), client_id="b"):
            assert guarded.clients["b"].user == "bob"


@pytest.mark.parametrize("version", ["5.0", "3.1.1"])
async def test_plain_passwords_are_checked(guarded: rmqtt.Broker, version: str) -> None:
    options: dict[str, Any] = {"version": version, "reconnect": None}
    async with rmqtt.Client(guarded.url, username="alice", password="secret", client_id="a", **options):
        assert guarded.clients["a"].user == "alice"
    for username, password in [("alice", "wrong"), ("nobody", "secret")]:
        with pytest.raises(rmqtt.ConnectRefused) as refused:
            await tried(rmqtt.Client(guarded.url, username=username, password=password, **options))
        assert refused.value.reason_code is rmqtt.ReasonCode.BAD_USER_NAME_OR_PASSWORD
        assert refused.value.terminal
    with pytest.raises(rmqtt.ConnectRefused) as refused:
        await tried(rmqtt.Client(guarded.url, **options))
    assert refused.value.reason_code is rmqtt.ReasonCode.NOT_AUTHORIZED


@pytest.mark.parametrize(("username", "password"), [("alice", "wrong"), ("nobody", "secret")])
async def test_a_wrong_proof_is_refused(guarded: rmqtt.Broker, username: str, password: str) -> None:
    with pytest.raises(rmqtt.ConnectRefused) as refused:
        await tried(rmqtt.Client(guarded.url, auth=rmqtt.ScramSha256(username, password)))
    assert refused.value.reason_code is rmqtt.ReasonCode.NOT_AUTHORIZED
    assert isinstance(refused.value, ConnectionRefusedError)


async def test_a_broker_without_users_knows_no_method(broker: rmqtt.Broker) -> None:
    with pytest.raises(rmqtt.ConnectRefused) as refused:
        await tried(rmqtt.Client(broker.url, auth=ALICE))
    assert refused.value.reason_code is rmqtt.ReasonCode.BAD_AUTHENTICATION_METHOD


async def test_nobody_gets_the_session_of_another_user(guarded: rmqtt.Broker) -> None:
    async with rmqtt.Client(guarded.url, auth=ALICE, client_id="x"):
        bob = rmqtt.Client(guarded.url, auth=rmqtt.ScramSha256("bob", "other"), client_id="x")
        with pytest.raises(rmqtt.ConnectRefused):
            await bob.connect()
        assert guarded.clients["x"].user == "alice"


async def test_after_a_cut_a_client_authenticates_anew(guarded: rmqtt.Broker) -> None:
    client = rmqtt.Client(guarded.url, auth=ALICE, client_id="x", reconnect=AT_ONCE)
    async with asyncio.timeout(GUARD), client, client.subscribe("t") as messages:
        events = client.events()
        next_event = asyncio.ensure_future(anext(events))
        await asyncio.sleep(0)
        await guarded.disconnect("x")
        while not isinstance(await next_event, rmqtt.Connected):
            next_event = asyncio.ensure_future(anext(events))
        await client.publish("t", b"back", qos=1)
        assert (await messages.get()).payload == b"back"
        assert guarded.clients["x"].user == "alice"


def test_passwords_are_not_shown() -> None:
    assert repr(ALICE) == "ScramSha256(username='alice')"
    assert rmqtt.ScramSha256(username="alice", password="secret") == ALICE
    assert pickle.loads(pickle.dumps(ALICE)) == ALICE
    broker = rmqtt.Broker("mem://shown", auth={"alice": "secret"})
    client = rmqtt.Client("mem://shown", auth=ALICE)
    for shown in (repr(broker), broker._repr_html_(), repr(client)):
        assert "secret" not in shown


@pytest.mark.parametrize("auth", [{}, {"": "secret"}, {"alice": ""}, {"alice": "sec\x07ret"}, {"Ⅸ": "a", "IX": "b"}])
def test_what_cannot_be_a_user_is_refused(auth: dict[str, str]) -> None:
    with pytest.raises(ValueError, match="user") as refused:
        rmqtt.Broker("mem://refused", auth=auth)
    assert "sec" not in str(refused.value)


def test_what_cannot_authenticate_is_refused() -> None:
    with pytest.raises(ValueError, match="MQTT 5"):
        rmqtt.Client(auth=ALICE, version="3.1.1")
    with pytest.raises(ValueError, match="username"):
        rmqtt.Client(auth=rmqtt.ScramSha256("", "secret"))
    with pytest.raises(ValueError, match="password"):
        rmqtt.Client(auth=rmqtt.ScramSha256("alice", "\x07"))
    with pytest.raises(ValueError, match="method"):
        rmqtt.Client(auth=Handler(method=""))


def test_with_users_a_broker_may_listen_everywhere() -> None:
    with rmqtt.Broker("mqtt://0.0.0.0:0", auth={"alice": "secret"}) as broker:
        assert broker.port


async def test_who_has_no_mechanism_cannot_use_it_again(broker: rmqtt.Broker) -> None:
    async with rmqtt.Client(broker.url) as client:
        with pytest.raises(ValueError, match="auth"):
            await client.reauthenticate()
    with pytest.raises(rmqtt.Closed):
        await client.reauthenticate()


class Handler:
    """A mechanism that does what the test says, and writes down what it was asked."""

    def __init__(
        self,
        *,
        method: str = "TEST",
        first: bytes | None = b"first",
        answer: Callable[[bytes], bytes | Awaitable[bytes | None] | None] = lambda data: b"re:" + data,
    ) -> None:
        self.method = method
        self.first = first
        self.answer = answer
        self.asked: list[bytes | None] = []

    def start(self) -> bytes | None:
        self.asked.append(None)
        return self.first

    def step(self, data: bytes) -> bytes | Awaitable[bytes | None] | None:
        self.asked.append(data)
        return self.answer(data)


class ScriptedBroker:
    """One connection at a time, packet by packet."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer
        self.codec = Codec("5.0", role="server")
        self.packets: list[Packet] = []

    async def heard(self) -> Packet | None:
        while not self.packets:
            data = await self.reader.read(4096)
            if not data:
                return None
            self.packets += self.codec.feed(data)
        return self.packets.pop(0)

    def say(self, packet: Packet) -> None:
        self.writer.write(self.codec.encode(packet))


@contextlib.asynccontextmanager
async def scripted(script: Callable[[ScriptedBroker], Awaitable[object]]) -> AsyncIterator[str]:
    """Serve every connection by the script; what fails in it fails the test."""
    failures: list[BaseException] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await script(ScriptedBroker(reader, writer))
        except Exception as error:
            failures.append(error)
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with asyncio.timeout(GUARD):
        try:
            yield f"mqtt://127.0.0.1:{port}"
        finally:
            server.close()
    if failures:
        raise failures[0]


async def asks_once(broker: ScriptedBroker) -> None:
    """Ask one question and be content."""
    connect = await broker.heard()
    assert isinstance(connect, Connect)
    method = connect.authentication_method
    assert method is not None
    broker.say(
        Auth(
            reason_code=rmqtt.ReasonCode.CONTINUE_AUTHENTICATION,
            authentication_method=method,
            authentication_data=b"question",
        )
    )
    answer = await broker.heard()
    if not isinstance(answer, Auth):
        return
    assert (answer.reason_code, answer.authentication_method, answer.authentication_data) == (
        0x18,
        method,
        b"re:question",
    )
    broker.say(ConnAck(authentication_method=method, authentication_data=b"bye"))
    while isinstance(packet := await broker.heard(), Auth):
        assert packet.reason_code == rmqtt.ReasonCode.RE_AUTHENTICATE
        broker.say(Auth(reason_code=rmqtt.ReasonCode.SUCCESS, authentication_method=method))


@on_every_loop
@pytest.mark.parametrize("is_async", [False, True])
async def test_a_handler_of_ones_own(*, is_async: bool) -> None:
    place = contextvars.ContextVar("place", default="nowhere")
    places = []

    async def slowly(data: bytes) -> bytes:
        await asyncio.sleep(0)
        places.append(place.get())
        return b"re:" + data

    handler = Handler(answer=slowly) if is_async else Handler()
    place.set("where it was made")
    async with scripted(asks_once) as url:
        client = rmqtt.Client(url, auth=handler)
        place.set("elsewhere")
        async with client:
            assert handler.asked == [None, b"question", b"bye"]
            await client.reauthenticate()
            assert handler.asked == [None, b"question", b"bye", None]
    assert places == (["where it was made"] * 2 if is_async else [])


async def test_a_handler_may_look_at_the_end() -> None:
    class Last(Handler):
        last: bytes | None = None

        def finish(self, data: bytes | None) -> None:
            self.last = data

    handler = Last()
    async with scripted(asks_once) as url, rmqtt.Client(url, auth=handler):
        assert handler.last == b"bye"
        assert handler.asked == [None, b"question"]


async def test_what_a_handler_raises_is_raised_by_connect() -> None:
    mine = LookupError("no token today")

    def fails(data: bytes) -> bytes:
        raise mine

    async def fails_later(data: bytes) -> bytes:
        await asyncio.sleep(0)
        raise mine

    for answer in (fails, fails_later):
        async with scripted(asks_once) as url:
            with pytest.raises(LookupError) as raised:
                await tried(rmqtt.Client(url, auth=Handler(answer=answer)))
            assert raised.value is mine


async def test_what_a_handler_raises_again_is_raised_and_ends_the_connection() -> None:
    async with scripted(asks_once) as url:
        handler = Handler()
        async with rmqtt.Client(url, auth=handler, reconnect=None) as client:
            handler.start = lambda: 1 / 0  # type: ignore[assignment, method-assign, return-value]
            with pytest.raises(ZeroDivisionError):
                await client.reauthenticate()
            # Nothing was said yet, so nothing is broken.
            await client.publish("t", b"on")


async def test_a_handler_that_answers_with_something_else_is_a_type_error() -> None:
    async with scripted(asks_once) as url:
        for first in ("text", 1):
            with pytest.raises(TypeError, match="bytes or None"):
                await tried(rmqtt.Client(url, auth=Handler(first=first)))  # type: ignore[arg-type]


async def test_giving_up_cancels_the_handler() -> None:
    began = asyncio.Event()
    ended = asyncio.Event()

    async def forever(data: bytes) -> bytes:
        began.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()
        return data

    async with scripted(asks_once) as url:
        client = rmqtt.Client(url, auth=Handler(answer=forever))
        connecting = asyncio.ensure_future(client.connect())
        await began.wait()
        connecting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await connecting
        await ended.wait()


async def test_a_handler_has_no_longer_than_connecting() -> None:
    async def forever(data: bytes) -> bytes:
        await asyncio.Event().wait()
        return data

    async with scripted(asks_once) as url:
        with pytest.raises(rmqtt.MqttTimeout):
            await tried(rmqtt.Client(url, auth=Handler(answer=forever), connect_timeout=0.1))


async def test_a_cut_gives_up_the_question_of_the_old_connection_and_not_of_the_new() -> None:
    ended = asyncio.Event()
    came_back = asyncio.Event()
    connections = 0

    async def forever() -> bytes:
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()
        return b""

    async def cuts(broker: ScriptedBroker) -> None:
        nonlocal connections
        connections += 1
        if connections == 2:
            came_back.set()
        connect = await broker.heard()
        assert isinstance(connect, Connect)
        broker.say(ConnAck(authentication_method=connect.authentication_method))
        if connections == 1:
            await began.wait()
        else:
            await broker.heard()

    began = asyncio.Event()
    async with scripted(cuts) as url:
        handler = Handler()
        async with rmqtt.Client(url, auth=handler, reconnect=AT_ONCE) as client:

            def starts() -> Awaitable[bytes]:
                began.set()
                del handler.start
                return forever()

            handler.start = starts  # type: ignore[assignment, method-assign]
            with pytest.raises(rmqtt.MqttError):
                await client.reauthenticate()
            await ended.wait()
            await came_back.wait()


async def test_who_asks_again_gives_up_the_first_question() -> None:
    class Word:
        def __init__(self) -> None:
            self.said: asyncio.Future[object] = asyncio.get_running_loop().create_future()

        def give(self, data: bytes | None) -> None:
            self.said.set_result(data)

        def fail(self, error: BaseException) -> None:
            self.said.set_exception(error)

    async def slowly(data: bytes) -> bytes:
        return data if data == b"second" else await asyncio.Event().wait() and b""

    runner = Runner(Handler(answer=slowly), None)
    first, second = Word(), Word()
    runner.ask("step", b"first", first)  # type: ignore[arg-type]
    await asyncio.sleep(0)
    runner.ask("step", b"second", second)  # type: ignore[arg-type]
    with pytest.raises(rmqtt.AuthenticationFailed, match="cancelled"):
        await first.said
    assert await second.said == b"second"
    runner.cancel()


async def test_a_handler_that_owns_its_client_is_collected() -> None:
    class Owner(Handler):
        client: rmqtt.Client

    owner = Owner()
    owner.client = rmqtt.Client("mem://nobody", auth=owner)
    gone = weakref.ref(owner)
    del owner
    gc.collect()
    assert gone() is None


def scram(password: str, first: bytes, *, iterations: int = 4096) -> tuple[bytes, Callable[[bytes], bytes]]:
    """Play the server: the challenge, and what makes the signature of the client's last message."""
    bare = first.removeprefix(b"n,,")
    nonce = bare.split(b",r=")[1]
    salt = base64.b64encode(b"salt")
    challenge = b"r=%smore,s=%s,i=%d" % (nonce, salt, iterations)

    def sign(last: bytes) -> bytes:
        message = b",".join((bare, challenge, last.split(b",p=")[0]))
        salted = hashlib.pbkdf2_hmac("sha256", password.encode(), b"salt", iterations)
        key = hmac.digest(salted, b"Server Key", "sha256")
        return b"v=" + base64.b64encode(hmac.digest(key, message, "sha256"))

    return challenge, sign


async def played(broker: ScriptedBroker, *, password: str = "secret", iterations: int = 4096) -> Packet | None:
    """Play a broker that knows this password, and return what the client says to its consent."""
    connect = await broker.heard()
    assert isinstance(connect, Connect)
    assert connect.authentication_data is not None
    challenge, sign = scram(password, connect.authentication_data, iterations=iterations)
    broker.say(
        Auth(
            reason_code=rmqtt.ReasonCode.CONTINUE_AUTHENTICATION,
            authentication_method="SCRAM-SHA-256",
            authentication_data=challenge,
        )
    )
    last = await broker.heard()
    if isinstance(last, Auth):
        assert last.authentication_data is not None
        data = sign(last.authentication_data)
        broker.say(ConnAck(authentication_method="SCRAM-SHA-256", authentication_data=data))
        last = await broker.heard()
    return last


async def test_a_broker_with_the_same_password_is_believed() -> None:
    async with scripted(played) as url, rmqtt.Client(url, auth=ALICE) as client:
        assert client.negotiated.version == "5.0"


async def test_a_broker_without_the_password_is_not_believed() -> None:
    said: list[Packet | None] = []

    async def impostor(broker: ScriptedBroker) -> None:
        said.append(await played(broker, password="guessed"))

    async with scripted(impostor) as url:
        with pytest.raises(rmqtt.AuthenticationFailed, match="has not proven") as failed:
            await tried(rmqtt.Client(url, auth=ALICE))
        assert isinstance(failed.value, ConnectionError)
        while not said:
            await asyncio.sleep(0)
    assert isinstance(said[0], Disconnect)


@pytest.mark.parametrize("iterations", [1, 4095, 1_000_001])
async def test_a_broker_cannot_choose_how_hard_it_is(iterations: int) -> None:
    async def chooses(broker: ScriptedBroker) -> None:
        assert await played(broker, iterations=iterations) is None

    async with scripted(chooses) as url:
        with pytest.raises(rmqtt.AuthenticationFailed, match=f"{iterations} iterations"):
            await tried(rmqtt.Client(url, auth=ALICE))


async def test_a_broker_that_refuses_again_says_why() -> None:
    async def refuses(broker: ScriptedBroker) -> None:
        assert isinstance(await played(broker), Auth)
        broker.say(Disconnect(reason_code=rmqtt.ReasonCode.NOT_AUTHORIZED, reason_string="no more"))

    async with scripted(refuses) as url, rmqtt.Client(url, auth=ALICE, reconnect=None) as client:
        with pytest.raises(rmqtt.ConnectRefused) as refused:
            await client.reauthenticate()
        assert refused.value.reason_code is rmqtt.ReasonCode.NOT_AUTHORIZED
        assert refused.value.reason_string == "no more"
