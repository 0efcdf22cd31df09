"""`rmqtt broker --config`: what is read, and above all what is refused."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import rmqtt
from rmqtt._config import ConfigError, load
from rmqtt.cli import main

if TYPE_CHECKING:
    from collections.abc import Callable

    from rmqtt.testing import Certificates

EXAMPLE = Path(__file__).parents[2] / "examples" / "broker.toml"


@pytest.fixture
def config(tmp_path: Path) -> Callable[[str], Path]:
    def write(text: str) -> Path:
        path = tmp_path / "broker.toml"
        path.write_text(text, "utf-8")
        return path

    return write


def test_everything_that_is_said_arrives(config: Callable[[str], Path], tmp_path: Path) -> None:
    options = load(
        config(
            """
            allow_anonymous = true
            threads = 2
            shared_strategy = "sticky"

            [[listener]]
            url = "mqtt://127.0.0.1:0"
            max_connections = 10

            [[listener]]
            url = "mqtts://0.0.0.0:8883"
            tls = { cert = "server.pem", key = "/etc/server.key", min_version = "1.3" }

            [auth]
            password_file = "users.txt"

            [auth_limits]
            forget_failure_after = 5

            [limits]
            connections_max = 50
            session_expiry_max = 3600

            [features]
            maximum_qos = 1
            """
        )
    )
    tls = rmqtt.TLS(cert=str(tmp_path / "server.pem"), key="/etc/server.key", min_version="1.3")
    assert options == {
        "allow_anonymous": True,
        "threads": 2,
        "shared_strategy": "sticky",
        "listeners": [
            rmqtt.Listener("mqtt://127.0.0.1:0", max_connections=10),
            rmqtt.Listener("mqtts://0.0.0.0:8883", tls=tls),
        ],
        "auth": [rmqtt.PasswordFile(str(tmp_path / "users.txt"))],
        "auth_limits": rmqtt.AuthLimits(forget_failure_after=5),
        "limits": rmqtt.Limits(connections_max=50, session_expiry_max=3600),
        "features": rmqtt.Features(maximum_qos=1),
    }


def test_users_come_from_all_that_is_named_in_its_order(config: Callable[[str], Path], tmp_path: Path) -> None:
    (tmp_path / "names.txt").write_text("alice:secret\nbob:with:colons\n")
    options = load(
        config(
            """
            [auth]
            jwt = { keys = "keys.json", algorithms = ["ES256"], issuer = "https://id.example", leeway = 5 }
            users_file = "names.txt"
            password_files = ["one", "/two"]
            """
        )
    )
    jwt = rmqtt.JWT(str(tmp_path / "keys.json"), algorithms=["ES256"], issuer="https://id.example", leeway=5)
    files = [rmqtt.PasswordFile(str(tmp_path / "one")), rmqtt.PasswordFile("/two")]
    assert options["auth"] == [jwt, {"alice": "secret", "bob": "with:colons"}, *files]


def test_a_line_of_users_that_is_none_is_named_and_not_shown(config: Callable[[str], Path], tmp_path: Path) -> None:
    (tmp_path / "names.txt").write_text("alice:secret\nhunter2\n")
    with pytest.raises(ConfigError, match=r"auth\.users_file: line 2 of .* is not NAME:PASSWORD") as caught:
        load(config('[auth]\nusers_file = "names.txt"'))
    assert "hunter2" not in str(caught.value)


def test_rights_are_written_in_the_file_or_in_one_of_their_own(config: Callable[[str], Path], tmp_path: Path) -> None:
    inline = """
        [acl]
        publish = ["devices/%u/#"]
        read = ["news/#"]
        [acl.users.operator]
        publish = ["#"]
    """
    acl = rmqtt.Acl(publish=["devices/%u/#"], read=["news/#"], users={"operator": rmqtt.Acl(publish=["#"])})
    assert load(config(inline)) == {"acl": acl}
    assert load(config('[acl]\nfile = "acl.conf"')) == {"acl": rmqtt.AclFile(str(tmp_path / "acl.conf"))}


REFUSED = [
    ("conections_max = 5", "conections_max is not known"),
    ("[limits]\nconections_max = 5", r"limits\.conections_max is not known; did you mean connections_max\?"),
    ("[limits]\nconnections_max = '5'", r"limits\.connections_max must be a whole number, not text"),
    ("[limits]\nconnections_max = true", r"limits\.connections_max must be a whole number, not true or false"),
    ("[limits]\nconnections_max = 1.5", r"limits\.connections_max must be a whole number, not a fraction"),
    ("allow_anonymous = 1", "allow_anonymous must be true or false, not a number"),
    ("limits = 5", "limits must be a table, not a number"),
    ("[listener]\nurl = 'mqtt://127.0.0.1'", r"listener must be written as \[\[listener\]\], not a table"),
    ("[[listener]]\nmax_connections = 5", r"listener\[0\] has no url"),
    ("[[listener]]\nurl = 'mqtt://127.0.0.1'\ntsl = {}", r"listener\[0\]\.tsl is not known; did you mean tls\?"),
    ("[[listener]]\nurl = 'x'\ntls = {cret = 'a'}", r"listener\[0\]\.tls\.cret is not known; did you mean cert\?"),
    ("[[listener]]\nurl = 'x'\ntls = {min_version = '1.1'}", r"tls\.min_version must be '1\.2', '1\.3', not text"),
    ("[auth]", "auth needs one of password_file, password_files, users_file, jwt"),
    ("[auth]\npassword_files = []", "auth.password_files names no file"),
    ("[auth]\npassword_file = 5", r"auth\.password_file must be text, not a number"),
    ("[auth]\npassword_files = 'a'", r"auth\.password_files must be a list of texts, not text"),
    ("[auth]\nusers_file = ['a']", r"auth\.users_file must be text, not a list"),
    ("[auth]\njwt = 'keys.json'", r"auth\.jwt must be a table, not text"),
    ("[auth.jwt]\nissuer = 'a'", r"auth\.jwt has no keys"),
    ("[auth.jwt]\nkeys = 'a'\naudiense = 'b'", r"auth\.jwt\.audiense is not known; did you mean audience\?"),
    ("[auth.jwt]\nkeys = 'a'\nalgorithms = 'HS256'", r"auth\.jwt\.algorithms must be a list of texts, not text"),
    ("[auth]\npassword_fiel = 'a'", r"auth\.password_fiel is not known; did you mean password_file\?"),
    ("[acl]\nfile = 'a'\nread = ['#']", r"acl\.read is not known"),
    ("[acl]\nraed = ['#']", r"acl\.raed is not known; did you mean read\?"),
    ("[acl]\nread = '#'", r"acl\.read must be a list of texts"),
    ("[acl.users.bob]\nusers = {}", r"acl\.users\.bob\.users is not known"),
    ("shared_strategy = 'fair'", "shared_strategy must be 'round_robin'"),
    ("this is no TOML", "line 1"),
]


@pytest.mark.parametrize(("text", "complaint"), REFUSED, ids=[text.replace("\n", " ") for text, _ in REFUSED])
def test_what_is_not_understood_is_an_error_that_names_the_key(
    config: Callable[[str], Path], text: str, complaint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path = config(text)
    with pytest.raises(ConfigError, match=complaint) as caught:
        load(path)
    assert str(path) in str(caught.value)
    assert main(["broker", "--check", "--config", str(path)]) == 1
    assert re.search(complaint, capsys.readouterr().err)


def test_a_wrong_value_is_not_repeated_since_it_may_be_a_secret(config: Callable[[str], Path]) -> None:
    with pytest.raises(ConfigError) as caught:
        load(config('[[listener]]\nurl = "mqtts://127.0.0.1"\ntls = { verify = "hunter2" }'))
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("[limits]\nreceive_maximum = 0", "receive_maximum"),
        ("[limits]\nconnect_timeout = 0", "connect_timeout must be more than 0"),
        ("[limits]\nconnections_max = -1", "connections_max is out of its range: less than 0, or too large"),
        ("[acl]\nread = ['a/#/b']", "acl: \"a/#/b\": '#' must be the whole last level"),
        ("[auth.jwt]\nkeys = 'missing.json'", "missing.json"),
        ("[auth]\nusers_file = 'missing.txt'", "missing.txt"),
        ("[auth]\npassword_file = 'missing.txt'", "missing.txt"),
        ("[acl]\nfile = 'missing.conf'", "missing.conf"),
        ("[[listener]]\nurl = 'mqtts://127.0.0.1'\ntls = {cert = 'missing.pem'}", "missing.pem"),
        ("[[listener]]\nurl = 'mqtt://0.0.0.0'", "allow_anonymous"),
        ("[[listener]]\nurl = 'gopher://127.0.0.1'", "gopher"),
    ],
)
def test_check_looks_at_all_that_the_file_names(
    config: Callable[[str], Path], text: str, complaint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["broker", "--check", "--config", str(config(text))]) == 1
    assert complaint in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "content"), [("users.txt", "alice:\n"), ("users.txt", ":hash\n"), ("acl.conf", "topc a\n")]
)
def test_check_refuses_security_files_with_a_bad_line(
    config: Callable[[str], Path], tmp_path: Path, name: str, content: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / name).write_text(content)
    text = "[auth]\npassword_file = 'users.txt'" if name == "users.txt" else "[acl]\nfile = 'acl.conf'"
    assert main(["broker", "--check", "--config", str(config(text))]) == 1
    assert re.search(r"line 1\b", capsys.readouterr().err)


def test_the_command_line_goes_before_the_file(
    config: Callable[[str], Path], capsys: pytest.CaptureFixture[str]
) -> None:
    path = str(config("[[listener]]\nurl = 'mqtt://0.0.0.0'"))
    assert main(["broker", "--check", "--config", path, "--listen", "mqtt://127.0.0.1:0"]) == 0
    assert main(["broker", "--check", "--config", path, "--allow-anonymous"]) == 0
    assert capsys.readouterr().out == "rmqtt broker could run with this\n" * 2


@pytest.mark.parametrize(
    "arguments",
    [
        ["--listen", "mqtt://127.0.0.1:0", "--port", "0"],
        ["--cert", "server.pem"],
        ["--listen", "mqtt://127.0.0.1:0", "--cert", "server.pem"],
    ],
)
def test_options_that_do_not_go_together_are_refused(arguments: list[str]) -> None:
    assert main(["broker", "--check", *arguments]) == 1


def test_the_example_can_be_used(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["broker", "--check", "--config", str(EXAMPLE)]) == 0, capsys.readouterr().err


class Recorder:
    """Takes the place of a broker, to see what it would be made of."""

    def __init__(self, *listeners: rmqtt.Listener, **options: object) -> None:
        self.given = {"listeners": list(listeners), **options}

    def check(self) -> None:
        """Look at nothing: the files are not there."""


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch) -> Callable[..., dict[str, object]]:
    """Say what a command line comes to."""

    def say(*arguments: str) -> dict[str, object]:
        made: list[Recorder] = []

        def make(*listeners: rmqtt.Listener, **options: object) -> Recorder:
            made.append(Recorder(*listeners, **options))
            return made[-1]

        monkeypatch.setattr("rmqtt.cli.Broker", make)
        assert main(["broker", "--check", *arguments]) == 0
        return made[0].given

    return say


def test_what_the_command_line_says_of_listeners_goes_to_those_that_may_have_it(
    said: Callable[..., dict[str, object]], tmp_path: Path, mqtt_tls: Certificates
) -> None:
    listen = [f"--listen={url}" for url in ("mqtts://127.0.0.1:0", "wss://127.0.0.1:0", f"unix://{tmp_path}/sock")]
    material = [f"--cert={mqtt_tls.server.cert_file}", f"--key={mqtt_tls.server.key_file}", f"--ca={mqtt_tls.ca_file}"]
    more = ["--username-from=cn", "--socket-mode=660", "--origin=https://app.example", "--proxy-protocol=10.0.0.0/8"]
    options = said(*listen, *material, *more)
    tls = rmqtt.TLS(ca=str(mqtt_tls.ca_file), cert=str(mqtt_tls.server.cert_file), key=str(mqtt_tls.server.key_file))
    proxied = rmqtt.Listener("mqtts://127.0.0.1:0", tls=tls, username_from="cn", proxy_protocol=["10.0.0.0/8"])
    assert options["listeners"] == [
        proxied,
        replace(proxied, url="wss://127.0.0.1:0", origins=["https://app.example"]),
        rmqtt.Listener(f"unix://{tmp_path}/sock", socket_mode=0o660),
    ]


def test_tokens_and_users_stand_beside_each_other_on_the_command_line(
    said: Callable[..., dict[str, object]], tmp_path: Path
) -> None:
    users = tmp_path / "users.txt"
    options = said("--jwt=keys.json", "--jwt-audience=mqtt", f"--password-file={users}")
    assert options["auth"] == [rmqtt.JWT("keys.json", audience="mqtt"), users]
    assert said("--jwt=keys.json")["auth"] == [rmqtt.JWT("keys.json")]


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--jwt-issuer=me"], "--jwt-issuer is for --jwt"),
        (["--socket-mode=600"], "--socket-mode is for --listen unix://…"),
        (
            ["--listen=mqtt://127.0.0.1:0", "--username-from=cn"],
            "--username-from is for --listen mqtts://… and wss://…",
        ),
        (["--listen=mqtt://127.0.0.1:0", "--ca=a"], "--ca is for --listen mqtts://… and wss://…"),
    ],
)
def test_an_option_without_what_it_is_for_is_an_error(
    arguments: list[str], complaint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["broker", "--check", *arguments]) == 1
    assert complaint in capsys.readouterr().err
