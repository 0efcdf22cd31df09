"""`python -m rmqtt broker` and the `rmqtt` command."""

from __future__ import annotations

import re
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import rmqtt
from loops import run
from programs import Ended, Program

SIGNALS = [signal.SIGINT, signal.SIGTERM]


def rmqtt_command(*arguments: str) -> Program:
    return Program("-m", "rmqtt", *arguments)


def run_command(*arguments: str) -> Ended:
    with rmqtt_command(*arguments) as program:
        return program.end()


def printed_url(program: Program) -> str:
    """Wait for the line that says where the broker listens."""
    while line := program.line():
        if found := re.search(r"mqtt://\S+:\d+", line):
            return found[0]
    raise AssertionError(f"no address was printed: {program.errors()}")


@pytest.mark.parametrize("number", SIGNALS, ids=lambda number: number.name)
def test_the_broker_prints_its_address_serves_and_stops_cleanly_on_a_signal(number: signal.Signals) -> None:
    async def use(url: str) -> None:
        async with rmqtt.Client(url) as client, client.subscribe("a", qos=1) as messages:
            await client.publish("a", b"1", qos=1)
            assert (await messages.get(timeout=10)).payload == b"1"

    with rmqtt_command("broker", "--port", "0") as program:
        url = printed_url(program)
        assert url.startswith("mqtt://127.0.0.1:")
        run(use(url))
        program.signal(number)
        ended = program.end()
    assert (ended.code, ended.stderr) == (0, "")
    assert ended.seconds < 2
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", int(url.rpartition(":")[2])), 5)


@pytest.mark.parametrize("number", SIGNALS, ids=lambda number: number.name)
def test_the_broker_stops_in_time_although_a_client_stays_and_never_reads(number: signal.Signals) -> None:
    with rmqtt_command("broker", "--port", "0") as program:
        url = printed_url(program)
        with socket.create_connection(("127.0.0.1", int(url.rpartition(":")[2])), 5) as silent:
            silent.sendall(bytes.fromhex("100d 0004 4d515454 05 02 0000 00 0000"))
            assert silent.recv(1) == b"\x20"
            program.signal(number)
            ended = program.end()
    assert (ended.code, ended.stderr) == (0, "")
    assert ended.seconds < 2


def test_a_client_of_mqtt_5_hears_that_the_broker_shuts_down() -> None:
    async def main() -> None:
        with rmqtt_command("broker", "--port", "0") as program:
            async with rmqtt.Client(printed_url(program), reconnect=None) as client, client.subscribe("a") as messages:
                program.signal(signal.SIGTERM)
                with pytest.raises(rmqtt.ServerDisconnected) as caught:
                    await messages.get(timeout=10)
                assert caught.value.reason_code == rmqtt.ReasonCode.SERVER_SHUTTING_DOWN
                assert program.end().code == 0

    run(main())


def test_a_port_in_use_is_said_in_one_line_and_an_exit_code() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        ended = run_command("broker", "--port", port)
    assert ended.code not in {0, -signal.SIGKILL}
    assert port in ended.stderr
    assert "Traceback" not in ended.stderr
    assert len(ended.stderr.splitlines()) == 1


def test_an_address_that_others_can_reach_needs_to_be_asked_for_twice() -> None:
    ended = run_command("broker", "--host", "0.0.0.0", "--port", "0")  # nothing is bound
    assert ended.code not in {0, -signal.SIGKILL}
    assert "--allow-anonymous" in ended.stderr
    assert "Traceback" not in ended.stderr


@pytest.mark.parametrize("port", ["65536", "-1", "abc"])
def test_a_port_that_is_none_is_refused(port: str) -> None:
    ended = run_command("broker", f"--port={port}")
    assert ended.code == 2
    assert port in ended.stderr
    assert "Traceback" not in ended.stderr


def test_help_names_the_options_and_their_defaults() -> None:
    ended = run_command("broker", "--help")
    assert (ended.code, ended.stderr) == (0, "")
    assert "--host" in ended.stdout
    assert "--port" in ended.stdout
    assert "1883" in ended.stdout
    ended = run_command("--help")
    assert (ended.code, ended.stderr) == (0, "")
    assert "broker" in ended.stdout


def test_no_command_and_an_unknown_one_are_told_what_there_is() -> None:
    for arguments in ([], ["brokr"]):
        ended = run_command(*arguments)
        assert ended.code == 2
        assert "broker" in ended.stderr
        assert "Traceback" not in ended.stderr


def test_the_command_is_installed_and_knows_its_version() -> None:
    command = shutil.which("rmqtt", path=str(Path(sys.executable).parent))
    assert command is not None
    said = subprocess.run([command, "--version"], capture_output=True, text=True, timeout=30, check=True)
    assert re.fullmatch(r"rmqtt \d+\.\d+\.\d+\S*\n", said.stdout)


def test_a_broker_may_do_without() -> None:
    async def negotiate(url: str) -> rmqtt.Negotiated:
        async with rmqtt.Client(url) as client:
            return client.negotiated

    with rmqtt_command("broker", "--port", "0", "--maximum-qos", "1", "--no-retain") as program:
        negotiated = run(negotiate(printed_url(program)))
    assert (negotiated.maximum_qos, negotiated.retain_available) == (1, False)
    assert negotiated.wildcard_subscription_available
    assert run_command("broker", "--maximum-qos", "3").code == 2


def test_a_broker_with_users_asks_who_is_there(tmp_path: Path) -> None:
    async def tries(url: str) -> None:
        async with rmqtt.Client(url, auth=rmqtt.ScramSha256("alice", "se:cret ")):
            pass
        async with rmqtt.Client(url, username="bob", password="other"):
            pass
        with pytest.raises(rmqtt.ConnectRefused):
            await rmqtt.Client(url, reconnect=None).connect()

    file = tmp_path / "users"
    file.write_bytes(b"alice:se:cret \n\nbob:other\r\n")
    # With users, strangers may reach it.
    with rmqtt_command("broker", "--host", "0.0.0.0", "--port", "0", "--users", str(file)) as program:
        port = printed_url(program).rpartition(":")[2]
        run(tries(f"mqtt://127.0.0.1:{port}"))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (b"alice:secret\nsecret\n", "line 2"),
        (b"alice:\n", "line 1"),
        (b":secret\n", "line 1"),
        (b"alice:secret\nalice:secret\n", "twice"),
        (b"alice:sec\x07ret\n", '"alice"'),
        (b"\n", "no users"),
        (b"\xffsecret", "utf-8"),
        (None, "No such file"),
    ],
)
def test_a_file_that_is_none_of_users_is_refused_without_showing_it(
    tmp_path: Path, text: bytes | None, said: str
) -> None:
    file = tmp_path / "users"
    if text is not None:
        file.write_bytes(text)
    ended = run_command("broker", "--port", "0", "--users", str(file))
    assert ended.code == 1
    assert said in ended.stderr
    assert "sec" not in ended.stderr
    assert "Traceback" not in ended.stderr
