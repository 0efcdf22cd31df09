"""`Listener`: what goes at one of a broker's addresses alone, and users by their certificates."""

from __future__ import annotations

import pickle
from typing import TYPE_CHECKING, Any

import pytest
import rmqtt
from rmqtt._config import load

if TYPE_CHECKING:
    from pathlib import Path

    from rmqtt.testing import Certificates

HERE = "mqtt://127.0.0.1:0"


async def user(broker: rmqtt.Broker, url: str, **options: Any) -> rmqtt.ClientInfo | rmqtt.ReasonCode | int | None:
    """What the broker takes a client for, or how it refuses it."""
    try:
        async with rmqtt.Client(url, reconnect=None, client_id="id", **options):
            return broker.clients["id"]
    except rmqtt.ConnectRefused as refused:
        return refused.reason_code


def of(client: object) -> str | None:
    assert isinstance(client, rmqtt.ClientInfo), client
    return client.user


async def test_each_listener_may_have_its_own_users() -> None:
    strict = rmqtt.Listener(HERE, auth={"bob": "his"})
    free = rmqtt.Listener(HERE, auth=None)
    hook = rmqtt.Listener(HERE, auth=lambda login: login.username == "carol")
    async with rmqtt.Broker(HERE, strict, free, hook, auth={"alice": "hers"}) as broker:
        passwords = {"alice": "hers", "bob": "his", "carol": "any"}
        let_in = []
        for number, url in enumerate(broker.urls):
            for name, password in passwords.items():
                client = await user(broker, url, username=name, password=password)
                if isinstance(client, rmqtt.ClientInfo):
                    let_in.append((number, client.user, client.listener))
    assert let_in == [(0, "alice", 0), (1, "bob", 1), (2, None, 2), (2, None, 2), (2, None, 2), (3, "carol", 3)]


async def test_each_listener_may_have_its_own_rules() -> None:
    """CVE-2018-20145."""
    asked: list[int | None] = []

    def rights(client: rmqtt.ClientInfo) -> rmqtt.Acl:
        asked.append(client.listener)
        return rmqtt.Acl(publish=["asked"])

    listeners = [
        rmqtt.Listener(HERE),
        rmqtt.Listener(HERE, acl=rmqtt.Acl(publish=["own"])),
        rmqtt.Listener(HERE, acl=None),
        rmqtt.Listener(HERE, acl=rights),
    ]
    async with rmqtt.Broker(*listeners, acl=rmqtt.Acl(publish=["shared"])) as broker:
        allowed = []
        for url in broker.urls:
            async with rmqtt.Client(url, reconnect=None) as client:
                for topic in ("shared", "own", "asked", "other"):
                    try:
                        await client.publish(topic, b"x", qos=1)
                    except rmqtt.PublishRefused:
                        continue
                    allowed.append((broker.urls.index(url), topic))
    everything = [(2, topic) for topic in ("shared", "own", "asked", "other")]
    assert allowed == [(0, "shared"), (1, "own"), *everything, (3, "asked")]
    assert asked == [3]


async def test_a_session_has_the_rules_of_the_listener_that_its_client_came_through_last() -> None:
    lax = rmqtt.Listener(HERE, acl=None)
    async with rmqtt.Broker(lax, HERE, acl=rmqtt.Acl(read=["public"])) as broker:
        options: dict[str, Any] = {"client_id": "id", "clean_start": False, "session_expiry": 60, "reconnect": None}
        async with rmqtt.Client(broker.urls[0], **options) as client, client.subscribe("#", qos=1, keep=True):
            pass
        broker.publish_now("secret", b"1", qos=1)
        broker.publish_now("public", b"2", qos=1)
        async with rmqtt.Client(broker.urls[1], **options) as client, client.subscribe("#", qos=1) as messages:
            assert (await messages.get(10)).payload == b"2"
        assert broker.stats().deliveries_denied == 1


async def test_a_certificate_says_who_a_client_is_and_hooks_are_told_of_it(mqtt_tls: Certificates) -> None:
    logins: list[rmqtt.Login] = []
    clients: list[rmqtt.ClientInfo] = []

    def check(login: rmqtt.Login) -> bool:
        logins.append(login)
        return True

    def rights(client: rmqtt.ClientInfo) -> rmqtt.Acl:
        clients.append(client)
        return rmqtt.Acl()

    tls = rmqtt.TLS(ca=mqtt_tls.ca, cert=mqtt_tls.server.cert, key=mqtt_tls.server.key)
    by_name = rmqtt.Listener("mqtts://127.0.0.1:0", tls=tls, username_from="cn")
    by_mail = rmqtt.Listener("mqtts://127.0.0.1:0", tls=tls, username_from="san-email", auth=check)
    mine = rmqtt.TLS(ca=mqtt_tls.ca, cert=mqtt_tls.client.cert, key=mqtt_tls.client.key)
    async with rmqtt.Broker(by_name, by_mail, auth={"alice": "hers"}, acl=rights) as broker:
        first, second = broker.urls
        name = await user(broker, first, tls=mine, username="alice", password="hers")
        mail = await user(broker, second, tls=mine)
    assert (of(name), of(mail)) == ("client", "client@example.com")
    assert [login.username for login in logins] == ["client@example.com"]
    certificates = [told.certificate for told in logins] + [told.certificate for told in clients]
    for certificate in certificates:
        assert certificate is not None
        assert (certificate.common_name, certificate.subject) == ("client", "CN=client")
        assert certificate.uris == ("urn:rmqtt:client",)
    assert [client.listener for client in clients] == [0, 1]


async def test_what_a_hook_says_must_be_the_name_in_the_certificate(mqtt_tls: Certificates) -> None:
    tls = rmqtt.TLS(ca=mqtt_tls.ca, cert=mqtt_tls.server.cert, key=mqtt_tls.server.key)
    listener = rmqtt.Listener("mqtts://127.0.0.1:0", tls=tls, username_from="cn", auth=lambda _: "operator")
    mine = rmqtt.TLS(ca=mqtt_tls.ca, cert=mqtt_tls.client.cert, key=mqtt_tls.client.key)
    async with rmqtt.Broker(listener) as broker:
        assert await user(broker, broker.url, tls=mine) is rmqtt.ReasonCode.NOT_AUTHORIZED


def test_what_goes_at_a_listener_is_read_again_on_reload(tmp_path: Path) -> None:
    path = tmp_path / "acl.conf"
    path.write_text("topic a\n")
    users = tmp_path / "users.txt"
    users.write_text("")
    listener = rmqtt.Listener(HERE, acl=path, auth=None)
    with rmqtt.Broker(listener) as broker, rmqtt.SyncClient(broker.url, reconnect=None) as client:
        client.publish("a", b"x", qos=1)
        path.write_text("topic b\n")
        broker.reload()
        client.publish("b", b"x", qos=1)
        with pytest.raises(rmqtt.PublishRefused):
            client.publish("a", b"x", qos=1)


# ---- misuse --------------------------------------------------------------------------------------


def test_names_from_certificates_need_certificates(mqtt_tls: Certificates) -> None:
    optional = rmqtt.TLS(ca=mqtt_tls.ca, cert=mqtt_tls.server.cert, key=mqtt_tls.server.key, client_cert="optional")
    for listener in (
        rmqtt.Listener(HERE, username_from="cn"),
        rmqtt.Listener("mqtts://127.0.0.1:0", tls=optional, username_from="cn"),
    ):
        with pytest.raises(ValueError, match="username_from"):
            rmqtt.Broker(listener).start()
    with pytest.raises(ValueError, match="username_from"):
        rmqtt.Broker(rmqtt.Listener(HERE, username_from="dn"))  # type: ignore[arg-type]


def test_a_listener_off_loopback_where_nobody_is_asked_is_refused_although_others_ask() -> None:
    everywhere = "mqtt://0.0.0.0:0"
    broker = rmqtt.Broker(HERE, rmqtt.Listener(everywhere, auth=None), auth={"alice": "hers"})
    with pytest.raises(ValueError, match="lets anybody in"):
        broker.start()
    rmqtt.Broker(HERE, rmqtt.Listener(everywhere, auth={"alice": "hers"})).check()
    rmqtt.Broker(HERE, rmqtt.Listener(everywhere, auth=None, allow_anonymous=True), auth={"alice": "hers"}).check()


def test_rules_for_users_need_users_at_the_same_listener() -> None:
    rules = rmqtt.Acl(publish=["%u/#"])
    free = rmqtt.Listener(HERE, auth=None, acl=rules)
    with pytest.raises(ValueError, match="rules for users"):
        rmqtt.Broker(free, auth={"alice": "hers"}).start()
    rmqtt.Broker(rmqtt.Listener(HERE, auth={"alice": "hers"}, acl=rules)).check()


def test_a_listener_shows_no_passwords_and_can_be_pickled() -> None:
    listener = rmqtt.Listener(HERE, auth={"alice": "hunter2"}, acl=rmqtt.Acl(read=["#"]))
    assert "hunter2" not in repr(listener)
    assert pickle.loads(pickle.dumps(listener)) == listener


# ---- files ---------------------------------------------------------------------------------------


def test_a_file_says_what_goes_at_a_listener(tmp_path: Path) -> None:
    path = tmp_path / "broker.toml"
    path.write_text("""
        [[listener]]
        url = "mqtt://127.0.0.1:0"
        auth = false
        acl = { file = "acl.conf" }

        [[listener]]
        url = "mqtts://127.0.0.1:0"
        tls = { cert = "server.pem", ca = "ca.pem" }
        username_from = "cn"
        auth = { password_file = "users.txt" }
        [listener.acl]
        read = ["a/#"]
        users.alice.publish = ["#"]

        [[listener]]
        url = "mqtt://127.0.0.2:0"
        acl = false
    """)
    first, second, third = load(path)["listeners"]
    assert (first.auth, first.acl) == (None, rmqtt.AclFile(str(tmp_path / "acl.conf")))
    assert second.auth == [rmqtt.PasswordFile(str(tmp_path / "users.txt"))]
    assert second.acl == rmqtt.Acl(read=["a/#"], users={"alice": rmqtt.Acl(publish=["#"])})
    assert second.username_from == "cn"
    assert (third.auth, third.acl) == (..., None)


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("auth = true", r"listener\[0\]\.auth must be a table"),
        ("auth = {file = 'a'}", r"listener\[0\]\.auth\.file is not known"),
        ("acl = {raed = []}", r"listener\[0\]\.acl\.raed is not known; did you mean read\?"),
        ("username_from = 'dn'", r"listener\[0\]\.username_from must be 'cn', 'san-dns', 'san-email', 'san-uri'"),
    ],
)
def test_a_typo_in_it_is_an_error(tmp_path: Path, text: str, what: str) -> None:
    path = tmp_path / "broker.toml"
    path.write_text(f"[[listener]]\nurl = 'mqtt://127.0.0.1'\n{text}\n")
    with pytest.raises(ValueError, match=what):
        load(path)
