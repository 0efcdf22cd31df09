"""Files of users that Debian's `mosquitto_passwd` writes, read by our broker as they are."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

import pytest
import rmqtt

from interop.peers import find_program

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.interop

USERS = {"alice": "wonder land", "bob": "p:a$s#w", "Zoë": "gr\u00fcn"}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "users"


def passwd(*arguments: str | Path) -> None:
    subprocess.run([find_program("mosquitto_passwd"), *map(str, arguments)], check=True, capture_output=True)


async def lets_in(broker: rmqtt.Broker, user: str, password: str) -> bool:
    client = rmqtt.Client(broker.url, username=user, password=password, reconnect=None)
    try:
        async with client:
            return True
    except rmqtt.ConnectRefused:
        return False


async def check(path: Path) -> None:
    async with rmqtt.Broker("mqtt://127.0.0.1:0", auth=rmqtt.PasswordFile(path)) as broker:
        for user, password in USERS.items():
            assert await lets_in(broker, user, password)
            assert not await lets_in(broker, user, password + "x")
            assert not await lets_in(broker, user.swapcase(), password)


async def test_users_that_were_added_one_by_one(path: Path) -> None:
    for number, (user, password) in enumerate(USERS.items()):
        passwd(*["-c"][number:], "-b", path, user, password)
    await check(path)


async def test_a_file_of_plain_passwords_that_was_hashed_as_a_whole(path: Path) -> None:
    # Its own tool takes no colon in such a password.
    plain = {user: password.replace(":", "") for user, password in USERS.items()}
    path.write_text("".join(f"{user}:{password}\n" for user, password in plain.items()))
    passwd("-U", path)
    async with rmqtt.Broker("mqtt://127.0.0.1:0", auth=rmqtt.PasswordFile(path)) as broker:
        assert all([await lets_in(broker, user, password) for user, password in plain.items()])
        assert not await lets_in(broker, "alice", "another")


async def test_a_user_that_was_deleted_is_known_no_more_after_a_reload(path: Path) -> None:
    passwd("-c", "-b", path, "alice", "one")
    passwd("-b", path, "bob", "two")
    async with rmqtt.Broker("mqtt://127.0.0.1:0", auth=rmqtt.PasswordFile(path)) as broker:
        assert await lets_in(broker, "bob", "two")
        passwd("-D", path, "bob")
        broker.reload()
        assert not await lets_in(broker, "bob", "two")
        assert await lets_in(broker, "alice", "one")
