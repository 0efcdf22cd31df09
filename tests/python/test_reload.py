"""`Broker.reload`: everything that lies in files is taken, or nothing."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest
import rmqtt
from held_broker import GUARD
from rmqtt.cli import _reload

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from rmqtt.testing import Certificates

#: Cheap, so that tests are: Argon2id with 64 KiB, of the password ``secret``.
CHEAP = "$argon2id$v=19$m=64,t=1,p=1$AAECAwQFBgcICQoLDA0ODw$sAB5SsCsBD0gmb5FJXoHOsOkGSa93chcRYo67KPvF8c"
HERE = "mqtt://127.0.0.1:0"
#: Each file has two states that can be told apart from outside.
STATES = ("one", "two")


def encoded(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def secret(state: str) -> bytes:
    return hashlib.sha256(state.encode()).digest()


def token(state: str) -> str:
    head, claims = encoded(b'{"alg": "HS256"}'), encoded(b'{"sub": "always", "exp": 9999999999}')
    message = f"{head}.{claims}"
    return f"{message}.{encoded(hmac.digest(secret(state), message.encode(), hashlib.sha256))}"


def users(state: str) -> str:
    return f"always:{CHEAP}\n{state}:{CHEAP}\n"


def keys(state: str) -> str:
    return json.dumps({"keys": [{"kty": "oct", "k": encoded(secret(state))}]})


def rules(state: str) -> str:
    return f"user always\ntopic {state}\n"


@dataclass
class House:
    """A broker with several listeners and a file of each kind, and what can be seen of each."""

    folder: Path
    made: Certificates

    def content(self, state: str) -> dict[str, str]:
        shown = {"one": self.made.server, "two": self.made.wrong_host}[state]
        return {
            "users.txt": users(state),
            "keys.json": keys(state),
            "acl.conf": rules(state),
            "own-users.txt": users(state),
            "own-acl.conf": rules(state),
            "server.pem": shown.cert + shown.key,
            "ca.pem": {"one": self.made.ca, "two": self.made.other_ca}[state],
        }

    def write(self, state: str) -> None:
        for name, content in self.content(state).items():
            (self.folder / name).write_text(content)

    def broker(self) -> rmqtt.Broker:
        self.write("one")
        path = self.folder.joinpath
        plain = rmqtt.Listener(HERE)
        own = rmqtt.Listener(HERE, auth=path("own-users.txt"), acl=path("own-acl.conf"))
        tls = rmqtt.TLS(cert=path("server.pem"))
        asking = rmqtt.TLS(cert=self.made.server.cert, key=self.made.server.key, ca=path("ca.pem"))
        return rmqtt.Broker(
            plain,
            own,
            rmqtt.Listener("mqtts://127.0.0.1:0", tls=tls),
            rmqtt.Listener("mqtts://127.0.0.1:0", tls=asking),
            auth=[rmqtt.JWT(path("keys.json"), algorithms=["HS256"]), path("users.txt")],
            acl=path("acl.conf"),
        )

    def seen(self, broker: rmqtt.Broker) -> dict[str, str]:
        """Which state of each file is in force: exactly one of them."""
        plain, own, encrypted, asking = broker.urls
        mine = self.made.for_client(self.made.client)
        elsewhere = self.made.for_client(server_name="elsewhere.example")
        found = {
            "users.txt": {state: connects(plain, username=state) for state in STATES},
            "keys.json": {state: connects(plain, password=token(state)) for state in STATES},
            "acl.conf": {state: publishes(plain, state) for state in STATES},
            "own-users.txt": {state: connects(own, username=state) for state in STATES},
            "own-acl.conf": {state: publishes(own, state) for state in STATES},
            "server.pem": {
                "one": connects(encrypted, tls=self.made.for_client(), username="always"),
                "two": connects(encrypted, tls=elsewhere, username="always"),
            },
        }
        found["ca.pem"] = {"one": connects(asking, tls=mine, username="always")}
        found["ca.pem"]["two"] = not found["ca.pem"]["one"]
        for name, states in found.items():
            assert sum(states.values()) == 1, (name, states)
        return {name: next(state for state in STATES if states[state]) for name, states in found.items()}


def connects(url: str, *, password: str = "secret", **options: Any) -> bool:
    try:
        with rmqtt.SyncClient(url, password=password, reconnect=None, **options):
            return True
    except (rmqtt.ConnectRefused, rmqtt.ConnectFailed, rmqtt.ConnectionLost):
        return False


def publishes(url: str, topic: str) -> bool:
    with rmqtt.SyncClient(url, username="always", password="secret", reconnect=None) as client:
        try:
            client.publish(topic, b"x", qos=1)
        except rmqtt.PublishRefused:
            return False
        return True


@pytest.fixture
def house(tmp_path: Path, mqtt_tls: Certificates) -> Iterator[tuple[House, rmqtt.Broker]]:
    """Start a broker with all its files in their first state."""
    house = House(tmp_path, mqtt_tls)
    with house.broker() as broker:
        yield house, broker


def all_in(state: str) -> dict[str, str]:
    return dict.fromkeys(
        ("users.txt", "keys.json", "acl.conf", "own-users.txt", "own-acl.conf", "server.pem", "ca.pem"), state
    )


def test_all_files_of_all_listeners_are_taken_together(house: tuple[House, rmqtt.Broker]) -> None:
    files, broker = house
    assert files.seen(broker) == all_in("one")
    files.write("two")
    assert files.seen(broker) == all_in("one")
    broker.reload()
    assert files.seen(broker) == all_in("two")


def spoil(path: Path) -> None:
    path.write_text("\0nothing of use\n")


def remove(path: Path) -> None:
    path.unlink()


@pytest.mark.parametrize("name", all_in(""))
@pytest.mark.parametrize("harm", [spoil, remove])
def test_one_file_that_cannot_be_used_leaves_all_others_as_they_were(
    house: tuple[House, rmqtt.Broker], name: str, harm: Callable[[Path], None]
) -> None:
    files, broker = house
    files.write("two")
    harm(files.folder / name)
    with pytest.raises((ValueError, OSError)) as failed:
        broker.reload()
    assert name in str(failed.value)
    assert files.seen(broker) == all_in("one")
    files.write("two")
    broker.reload()
    assert files.seen(broker) == all_in("two")


def test_rules_for_users_where_nobody_is_asked_are_refused_on_reload_too(tmp_path: Path) -> None:
    path = tmp_path / "acl.conf"
    path.write_text("topic a\n")
    with rmqtt.Broker("mqtt://127.0.0.1:0", acl=path) as broker:
        path.write_text("user alice\ntopic b\n")
        with pytest.raises(ValueError, match="nobody is asked"):
            broker.reload()
        with rmqtt.SyncClient(broker.url, reconnect=None) as client:
            client.publish("a", b"x", qos=1)


def test_the_command_says_which_file_was_wrong_and_goes_on(
    house: tuple[House, rmqtt.Broker], capsys: pytest.CaptureFixture[str]
) -> None:
    files, broker = house
    files.write("two")
    spoil(files.folder / "own-acl.conf")
    _reload(broker)
    said = capsys.readouterr()
    assert said.out == ""
    assert "own-acl.conf" in said.err
    assert said.err.endswith("; what was there stays in force\n")
    assert files.seen(broker) == all_in("one")


# ---- who is connected ----------------------------------------------------------------------------


async def test_who_is_connected_by_what_is_gone_is_sent_away(house: tuple[House, rmqtt.Broker]) -> None:
    files, broker = house
    plain, own = broker.urls[:2]
    by_line = {"username": "one", "password": "secret"}
    gone: list[tuple[str, dict[str, Any]]] = [(plain, by_line), (own, by_line), (plain, {"password": token("one")})]
    options: dict[str, Any] = {"reconnect": None, "clean_start": False, "session_expiry": 3600}
    clients = [rmqtt.Client(url, client_id=f"id{n}", **options, **how) for n, (url, how) in enumerate(gone)]
    async with asyncio.timeout(GUARD), rmqtt.Client(plain, username="always", password="secret") as stays:
        for client in clients:
            await client.connect()
        events = [client.events() for client in clients]
        files.write("two")
        await asyncio.to_thread(broker.reload)
        for heard in events:
            async for event in heard:
                if isinstance(event, rmqtt.Disconnected):
                    assert isinstance(event.error, rmqtt.ServerDisconnected)
                    assert event.error.reason_code is rmqtt.ReasonCode.ADMINISTRATIVE_ACTION
                    break
        await stays.publish("two", b"still here", qos=1)
        for client in clients:
            await client.close()
        # Of users the keys say nothing: who had a token has its session, the others are gone.
        assert [name for name in broker.sessions if name.startswith("id")] == ["id2"]
    assert broker.stats().logins_revoked == len(gone)
