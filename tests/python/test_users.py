"""Who may connect: password files, `rmqtt passwd`, several sources, and what failed logins cost."""

from __future__ import annotations

import signal
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import rmqtt
from loops import run
from programs import Program
from rmqtt._passwd import passwd
from rmqtt._rmqtt import hash_password

#: Cheap, so that tests are: Argon2id with 64 KiB, of the password ``secret``.
CHEAP = "$argon2id$v=19$m=64,t=1,p=1$AAECAwQFBgcICQoLDA0ODw$sAB5SsCsBD0gmb5FJXoHOsOkGSa93chcRYo67KPvF8c"


@pytest.fixture
def users(tmp_path: Path) -> Path:
    """Write a password file with one user."""
    file = tmp_path / "users.txt"
    file.write_text(f"alice:{CHEAP}\n")
    return file


async def login(broker: rmqtt.Broker, username: str | None, password: str | bytes | None, **options: Any) -> str | None:
    """Connect and leave again; the user that the broker took it for."""
    who: dict[str, Any] = {"username": username, "password": password}
    async with rmqtt.Client(broker.url, client_id="id", reconnect=None, **who, **options):
        return broker.clients["id"].user


async def refusal(broker: rmqtt.Broker, username: str | None, password: str | None) -> rmqtt.ReasonCode:
    with pytest.raises(rmqtt.ConnectRefused) as refused:
        await login(broker, username, password)
    assert refused.value.reason_code is not None
    return rmqtt.ReasonCode(refused.value.reason_code)


def change(file: Path, *arguments: str, password: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-W", "error", "-m", "rmqtt", "passwd", str(file), *arguments],
        input=password,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


@pytest.mark.parametrize("form", [str, Path, rmqtt.PasswordFile, lambda path: [{"bob": "other"}, str(path)]])
async def test_a_password_file_says_who_may_connect(users: Path, form: Any) -> None:
    with rmqtt.Broker("mqtt://127.0.0.1:0", auth=form(users)) as broker:
        assert await login(broker, "alice", "secret") == "alice"
        assert await login(broker, "alice", b"secret", version="3.1.1") == "alice"
        for who in (("alice", "wrong"), ("nobody", "secret")):
            assert await refusal(broker, *who) is rmqtt.ReasonCode.BAD_USER_NAME_OR_PASSWORD
        assert await refusal(broker, None, None) is rmqtt.ReasonCode.NOT_AUTHORIZED
        assert broker.stats().logins_failed == 2


async def test_scram_needs_a_mapping(users: Path) -> None:
    alice = rmqtt.ScramSha256("alice", "secret")
    with rmqtt.Broker("mqtt://127.0.0.1:0", auth=users) as broker:
        with pytest.raises(rmqtt.ConnectRefused) as refused:
            await rmqtt.Client(broker.url, auth=alice, reconnect=None).connect()
        assert refused.value.reason_code is rmqtt.ReasonCode.BAD_AUTHENTICATION_METHOD


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("", "line 2: an empty line"),
        ("bob:", "line 2: no password"),
        ("bob:secret", "line 2: a password that is not hashed"),
        (f"alice:{CHEAP}", "line 2: a user that is there twice"),
    ],
)
def test_a_file_with_a_line_that_is_not_understood_lets_nobody_in(users: Path, line: str, said: str) -> None:
    users.write_text(f"{users.read_text()}{line}\n")
    with pytest.raises(ValueError, match=said) as refused:
        rmqtt.Broker("mem://void", auth=users)
    assert "secret" not in str(refused.value)


@pytest.mark.parametrize("auth", [1, b"users.txt", object(), [1], [], [{"a": "b"}, {"c": "d"}]])
def test_what_is_no_source_of_users_is_refused(auth: Any) -> None:
    with pytest.raises((TypeError, ValueError), match="auth"):
        rmqtt.Broker("mem://refused", auth=auth)


async def test_reload_counts_from_then_on_and_a_void_file_changes_nothing(users: Path) -> None:
    with rmqtt.Broker("mqtt://127.0.0.1:0", auth=users) as broker:
        users.write_text("\n")
        with pytest.raises(ValueError, match="line 1"):
            broker.reload()
        assert await login(broker, "alice", "secret") == "alice"
        users.write_text(f"bob:{CHEAP}\n")
        broker.reload()
        assert await refusal(broker, "alice", "secret") is rmqtt.ReasonCode.BAD_USER_NAME_OR_PASSWORD
        assert await login(broker, "bob", "secret") == "bob"


async def test_a_fork_knows_the_same_users(users: Path) -> None:
    broker = rmqtt.Broker("mem://parent", auth=users)
    with broker.fork() as twin:
        assert await login(twin, "alice", "secret") == "alice"
        assert await refusal(twin, "alice", "wrong") is rmqtt.ReasonCode.BAD_USER_NAME_OR_PASSWORD


async def test_who_fails_too_often_is_refused_unheard_and_counted(users: Path) -> None:
    limits = rmqtt.AuthLimits(failures_per_user=2, forget_failure_after=3600)
    with rmqtt.Broker("mqtt://127.0.0.1:0", auth=users, auth_limits=limits) as broker:
        for _ in range(2):
            assert await refusal(broker, "alice", "wrong") is rmqtt.ReasonCode.BAD_USER_NAME_OR_PASSWORD
        hashed = broker.stats().passwords_hashed
        assert await refusal(broker, "alice", "secret") is rmqtt.ReasonCode.CONNECTION_RATE_EXCEEDED
        stats = broker.stats()
        assert (stats.passwords_hashed, stats.logins_failed, stats.logins_throttled) == (hashed, 2, 1)
        # In this process nobody has to be kept from guessing.
        async with broker.client(username="alice", password="secret"):
            pass


@pytest.mark.parametrize("field", ["remembered_max", "waiting_max", "forget_failure_after", "failures_per_user"])
def test_limits_of_logins_have_their_ranges(field: str) -> None:
    with pytest.raises((ValueError, OverflowError)):
        rmqtt.Broker("mem://limits", auth={"a": "b"}, auth_limits=rmqtt.AuthLimits(**{field: -1}))


def test_passwd_adds_changes_and_deletes_users(tmp_path: Path) -> None:
    file = tmp_path / "users.txt"
    assert change(file, "alice", password="secret\n").stdout == "user 'alice' added\n"
    assert change(file, "bob", password="other\n").returncode == 0
    first = file.read_text().splitlines()
    assert [line.partition(":$argon2id$v=19$m=19456,t=2,p=1$")[0] for line in first] == ["alice", "bob"]
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert change(file, "alice", password="changed\n").stdout == "user 'alice' changed\n"
    second = file.read_text().splitlines()
    assert second[1] == first[1]
    assert second[0] != first[0]
    with rmqtt.Broker("mqtt://127.0.0.1:0", auth=file) as broker:
        assert run(login(broker, "alice", "changed")) == "alice"
    assert change(file, "alice", "--delete").stdout == "user 'alice' deleted\n"
    assert file.read_text().splitlines() == first[1:]
    assert list(tmp_path.iterdir()) == [file]


@pytest.mark.parametrize(
    ("user", "password", "said"),
    [
        ("", "secret", "name"),
        ("al:ice", "secret", "name"),
        ("al\nice", "secret", "name"),
        ("#alice", "secret", "name"),
        ("alice", "", "1 to 65535"),
        ("alice", "x" * 65_536, "1 to 65535"),
    ],
)
def test_passwd_refuses_what_cannot_be_a_user_and_leaves_no_file(
    tmp_path: Path, user: str, password: str, said: str
) -> None:
    file = tmp_path / "users.txt"
    ended = change(file, user, password=password)
    assert ended.returncode == 1
    assert said in ended.stderr
    assert "secret" not in ended.stderr
    assert not file.exists()
    ended = change(file, "nobody", "--delete")
    assert (ended.returncode, file.exists()) == (1, False)


def test_passwd_takes_no_password_from_the_command_line(tmp_path: Path) -> None:
    ended = change(tmp_path / "users.txt", "alice", "secret")
    assert ended.returncode == 2
    assert not (tmp_path / "users.txt").exists()


def test_passwd_keeps_remarks_other_lines_and_links(users: Path, tmp_path: Path, monkeypatch: Any) -> None:
    users.write_text(f"# ours\nalice:{CHEAP}\nzoe:{CHEAP}\n")
    link = tmp_path / "link"
    link.symlink_to(users)
    monkeypatch.setattr("rmqtt._passwd._password", lambda: b"other")
    assert passwd(link, "alice", delete=False) == "user 'alice' changed"
    assert link.is_symlink()
    lines = users.read_text().splitlines()
    assert (lines[0], lines[2]) == ("# ours", f"zoe:{CHEAP}")


def test_two_who_change_a_file_at_once_both_do(users: Path) -> None:
    names = [f"user{number}" for number in range(4)]
    command = [sys.executable, "-m", "rmqtt", "passwd", str(users)]
    running = [subprocess.Popen([*command, name], stdin=subprocess.PIPE, text=True) for name in names]
    for process in running:
        process.communicate("secret\n", timeout=60)
    assert [process.returncode for process in running] == [0, 0, 0, 0]
    found = {line.partition(":")[0] for line in users.read_text().splitlines()}
    assert found == {"alice", *names}


def test_the_command_reads_its_file_again_on_a_signal(users: Path) -> None:
    with Program("-m", "rmqtt", "broker", "--port", "0", "--password-file", str(users)) as program:
        url = program.line().rpartition(" ")[2]

        async def tried(user: str) -> None:
            async with rmqtt.Client(url, username=user, password="secret", reconnect=None):
                pass

        run(tried("alice"))
        users.write_text(f"bob:{CHEAP}\n")
        program.signal(signal.SIGHUP)
        program.expect("rmqtt broker has read its files again")
        with pytest.raises(rmqtt.ConnectRefused):
            run(tried("alice"))
        run(tried("bob"))
        program.signal(signal.SIGTERM)
        assert program.end().code == 0


def test_hashing_lets_others_run_and_takes_bytes() -> None:
    assert hash_password(b"\xff\0").startswith("$argon2id$")
    with pytest.raises(ValueError, match="1 to 65535"):
        hash_password(b"")
