"""The same ACL file given to Debian's mosquitto and to our broker: what clients may do must be the same."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

import pytest
import rmqtt

from interop.conftest import running_mosquitto
from interop.peers import find_program, soon

if TYPE_CHECKING:
    from collections.abc import Awaitable
    from pathlib import Path

pytestmark = pytest.mark.interop

FILE = """\
# clients that are nobody
topic read public/#
topic deny public/secret
topic write inbox
topic readwrite   spaced/out topic

user alice
topic plant/#
topic read with spaces/in it
topic deny plant/secret/#
topic write up/+
topic read down/+/x
topic %c/literal

user bob
topic readwrite #
topic deny private/#
topic deny +/closed

user alice
topic write late

pattern readwrite devices/%c/#
pattern read users/%u/+
pattern deny devices/+/secret
pattern readwrite plant/secret/%c
pattern write prefix-%c/%u
"""


# Ours asks everybody who it is, or nobody: for clients that are no users it gets the file without users.
NOBODY, _, REST = FILE.partition("user alice")
NOBODY += "pattern" + REST.partition("pattern")[2].replace("%u", "users")

TOPICS = [
    "public",
    "public/a",
    "public/secret",
    "public/secret/a",
    "Public/a",
    "inbox",
    "spaced/out topic",
    "plant",
    "plant/7",
    "plant//7",
    "plant/",
    "plant/secret",
    "plant/secret/one",
    "with spaces/in it",
    "with",
    "up/a",
    "up/a/b",
    "up/",
    "down/a/x",
    "one/literal",
    "%c/literal",
    "late",
    "private",
    "private/a",
    "a/closed",
    "a/b/closed",
    "devices/one/a",
    "devices/one",
    "devices/one/secret",
    "devices/two/a",
    "users/alice/a",
    "users/alice",
    "users/bob/a",
    "users//a",
    "prefix-one/alice",
    "prefix-one/bob",
    "other",
    "$own/a",
]

FILTERS = ["#", "plant/secret/#", "nothing/like/it", "$share/group/private/#", "$own/#", "+/+"]

USERS = dict.fromkeys(("alice", "bob", "carol", "root"), "secret")

WHO = [
    ("one", "alice"),
    ("one", "bob"),
    ("one", "carol"),
    ("a+b", "alice"),
    ("#", "bob"),
    ("%c", "alice"),
    ("%u", "carol"),
    ("one", None),
    ("+", None),
]

# Without users there is no other who may publish everything; so the second time all may.
MORE = ["", "pattern write #\npattern write $own/#\n"]


async def _may(port: int, client_id: str, user: str | None) -> dict[str, tuple[bool, bool]]:
    """Try every topic both ways, and every filter."""
    password = "secret" if user else None
    root = "root" if user else None
    url = f"mqtt://127.0.0.1:{port}"
    found: dict[str, tuple[bool, bool]] = {}
    async with (
        rmqtt.Client(url, client_id=client_id, reconnect=None, username=user, password=password) as client,
        rmqtt.Client(url, client_id="root", reconnect=None, username=root, password=password) as other,
    ):
        async with client.subscribe("#", "$own/#") as subscription:
            for topic in TOPICS:
                await _accepted(other.publish(topic, b"from another", qos=1))
            # Its SUBACK comes behind what was sent before.
            await soon(client.subscribe("barrier"))
            read = set()
            while (message := subscription.get_nowait()) is not None:
                read.add(message.topic)
        for topic in TOPICS:
            found[topic] = (topic in read, await _accepted(client.publish(topic, b"", qos=1)))
        for text in FILTERS:
            found[f"filter {text}"] = (await _accepted(client.subscribe(text)), True)
    return found


async def _accepted(operation: Awaitable[object]) -> bool:
    try:
        await soon(operation)
    except (rmqtt.PublishRefused, rmqtt.SubscribeRefused):
        return False
    return True


@pytest.mark.parametrize(
    ("client_id", "user", "more"), [(*who, more) for who in WHO for more in (MORE[:1] if who[1] else MORE)]
)
async def test_clients_may_do_the_same(tmp_path: Path, client_id: str, user: str | None, more: str) -> None:
    acl = tmp_path / "acl.conf"
    root = "user root\ntopic #\ntopic $own/#\n"
    acl.write_text(f"{FILE}\n{root}" if user else f"{NOBODY}\n{more}")
    lines = [f"acl_file {acl}"]
    if user:
        passwords = tmp_path / "passwords"
        passwords.touch()
        for name, password in USERS.items():
            subprocess.run([find_program("mosquitto_passwd"), "-b", passwords, name, password], check=True)
        lines.append(f"password_file {passwords}")
    with running_mosquitto(tmp_path, *lines) as port:
        theirs = await _may(port, client_id, user)
    with rmqtt.Broker("mqtt://127.0.0.1:0", auth=USERS if user else None, acl=acl) as broker:
        ours = await _may(broker.port, client_id, user)
    differences = {what: (theirs[what], ours[what]) for what in theirs if theirs[what] != ours[what]}
    assert differences == {}


@pytest.mark.parametrize(
    "line",
    ["topics a", "topic raed a", "topic a b", "topic", "user", "pattern", "topic a/#/b", "topic write a+", "topic\ta"],
)
def test_neither_takes_a_file_with_a_typo(tmp_path: Path, line: str) -> None:
    acl = tmp_path / "acl.conf"
    acl.write_text(f"topic read a\n{line}\n")
    with pytest.raises(ValueError, match="line 2"):
        rmqtt.Broker(acl=acl)
    configuration = tmp_path / "mosquitto.conf"
    configuration.write_text(f"listener 0 127.0.0.1\nallow_anonymous true\nuser root\nacl_file {acl}\n")
    done = subprocess.run(
        [find_program("mosquitto"), "-c", configuration], capture_output=True, text=True, timeout=10, check=False
    )
    assert done.returncode != 0, done.stderr
