"""`Broker(auth=JWT(...))`: signed tokens in the place of passwords."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import json
import time
from pathlib import Path
from typing import Any

import pytest
import rmqtt
from held_broker import GUARD
from rmqtt.testing import Clock

BAD = rmqtt.ReasonCode.BAD_USER_NAME_OR_PASSWORD
SECRET = b"0123456789abcdef0123456789abcdef"

# Signed by PyJWT, for ``carol``, until the year 2286.
FOREIGN = [
    (
        "RS256",
        {
            "kty": "RSA",
            "n": "yVciNiAjRweYxbN2kdEfDsfy8OVHgfyKq_i6gQvGdqjDoe3A1-V9LqKa9XyH6SXbGo5PYy2Z_ITjjx3tHdoJNugN4Y6uQMicBDoy"
            "QRdrDDuJ3e_Ts4UhLaaCIEi9BUwMKEVoE6J8yd9-u6HiMrzT7lVue76jPtqo-VeCG8hKODgv49Zit9-Cf2jsGfQdJrn2ozI1P7wC"
            "KXlyMtZG693f-mln_XITnR7DCT3syjCV1cLaLVjMc5VXenQOYEyAmPy2UWNVzjI-VrmxAJrzhUs5LTg_w5Qbyt9knxEC72iv9xo0"
            "6nfvUbvv4FZkyPP3VOiKGqtFz9oKEK29Jdussl9HHQ",
            "e": "AQAB",
            "kid": "RS256",
        },
        (
            "eyJhbGciOiJSUzI1NiIsImtpZCI6IlJTMjU2IiwidHlwIjoiSldUIn0.eyJzdWIiOiJjYXJvbCIsImV4cCI6OTk5OTk5OTk5OX0."
            "FQIzw_mR6ALWXV0oc0_RDjPzwRmMNvSs1YshtwB_2hthdNqVqDlxKyRF1pA1rXpKk5ZVfbnR5xNkw91JiriO2B2ipjiII8tiCQRb"
            "9UC1u4725_STWHWH3NKyWwZQ-1WXUdRLqkNuDDBKZVgY37-gwI_I-v_VnSNpayq-qAVIQT_PIP1izqfdcDz2Wa0TA3ypDVSjZMlP"
            "fjWuJVcmjqeeLjtMZuRiD2ww5_QdAsLvopPLGL6AGJc0mXFVyYilvaCtEct6WZMBx_roEOWaQiBRtvumOopgY7LukPKyrzbgSIgB"
            "7LI4FS931DDDTFkxOAt4mXpwsLZjnvhRBDcuVlkPsg"
        ),
    ),
    (
        "ES256",
        {
            "kty": "EC",
            "crv": "P-256",
            "x": "ioG__qFsBr6fy9zi42NSmSxN8e2OkHHdoT5wcUsLzWM",
            "y": "kPJ99TwOSPdRs6M7SaxwsEpHPbbyyHXQb3peNFy1Khk",
            "kid": "ES256",
        },
        (
            "eyJhbGciOiJFUzI1NiIsImtpZCI6IkVTMjU2IiwidHlwIjoiSldUIn0.eyJzdWIiOiJjYXJvbCIsImV4cCI6OTk5OTk5OTk5OX0."
            "2WFsdr7WWpV1OLmBH5_eALhur9ZYuEGDQ6kwEjCIX9_eln6hQBErJP6cVYsbVlF7MpgQQMEh9uqgUVM-eeD2xA"
        ),
    ),
    (
        "EdDSA",
        {
            "kty": "OKP",
            "crv": "Ed25519",
            "x": "48ZkkgHxxv8M-rVnvZv3_kB9mqU65YXvaPLzgZrRjws",
            "kid": "EdDSA",
        },
        (
            "eyJhbGciOiJFZERTQSIsImtpZCI6IkVkRFNBIiwidHlwIjoiSldUIn0.eyJzdWIiOiJjYXJvbCIsImV4cCI6OTk5OTk5OTk5OX0."
            "leKeZc481EPEB7BBNkS9Sxk4_KNrUV_DBIckpioCx7oM3obeG553MsYhqAkrrscXn6mwbelR6j1bNbScWiEjCA"
        ),
    ),
]


def encoded(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def token(header: dict[str, Any] | None = None, *, secret: bytes = SECRET, **claims: Any) -> str:
    """Sign a token with a secret; it ends in an hour unless said otherwise."""
    claims = {"sub": "alice", "exp": int(time.time()) + 3600, **claims}
    claims = {name: value for name, value in claims.items() if value is not None}
    head = {"alg": "HS256", "typ": "JWT", **(header or {})}
    message = f"{encoded(json.dumps(head).encode())}.{encoded(json.dumps(claims).encode())}"
    return f"{message}.{encoded(hmac.digest(secret, message.encode(), hashlib.sha256))}"


def secret_key(secret: bytes = SECRET, **more: str) -> dict[str, str]:
    return {"kty": "oct", "k": encoded(secret), **more}


@pytest.fixture
def keys(tmp_path: Path) -> Path:
    """Write a JWKS with one secret."""
    return written(tmp_path, secret_key())


def written(folder: Path, *keys: dict[str, str]) -> Path:
    file = folder / "keys.json"
    file.write_text(json.dumps({"keys": keys}))
    return file


def serving(keys: Path, **terms: Any) -> rmqtt.Broker:
    return rmqtt.Broker("mqtt://127.0.0.1:0", auth=rmqtt.JWT(keys, **{"algorithms": ["HS256"], **terms}))


async def login(broker: rmqtt.Broker, password: str, username: str | None = None) -> str | None:
    async with rmqtt.Client(broker.url, client_id="id", username=username, password=password, reconnect=None):
        return broker.clients["id"].user


async def refused(broker: rmqtt.Broker, password: str) -> None:
    with pytest.raises(rmqtt.ConnectRefused) as refusal:
        await login(broker, password)
    assert refusal.value.reason_code is BAD


@pytest.mark.parametrize(("algorithm", "key", "signed"), FOREIGN, ids=lambda value: value or "")
async def test_tokens_that_others_signed_are_understood(
    tmp_path: Path, algorithm: str, key: dict[str, str], signed: str
) -> None:
    with serving(written(tmp_path, secret_key(kid="other"), key), algorithms=["HS256", algorithm]) as broker:
        assert await login(broker, signed) == "carol"
        head, claims, signature = signed.split(".")
        spoilt = ("A" if signature[9] != "A" else "B").join((signature[:9], signature[10:]))
        await refused(broker, f"{head}.{claims}.{spoilt}")
        root = encoded(b'{"sub": "root", "exp": 9999999999}')
        await refused(broker, f"{head}.{root}.{signature}")


async def test_the_claim_is_the_user_and_not_what_connect_says(keys: Path) -> None:
    with serving(keys) as broker:
        assert await login(broker, token()) == "alice"
        assert await login(broker, token(), username="root") == "alice"
    with serving(keys, user_claim="email") as broker:
        assert await login(broker, token(email="a@b")) == "a@b"
        await refused(broker, token())


@pytest.mark.parametrize(
    "claims",
    [
        {"exp": None},
        {"exp": 1},
        {"exp": -1},
        {"exp": "never"},
        {"nbf": 9_999_999_999},
        {"nbf": "now"},
        {"sub": None},
        {"sub": ""},
        {"sub": 1},
        {"sub": "al\x07ice"},
        {"sub": "\ufeffalice"},
        {"aud": "somebody else"},
        {"header": {"alg": "none"}},
        {"header": {"alg": "HS512"}},
        {"secret": b"x" * 32},
    ],
    ids=str,
)
async def test_a_token_that_is_not_good_is_refused(keys: Path, claims: dict[str, Any]) -> None:
    with serving(keys) as broker:
        await refused(broker, token(**claims))
        assert broker.stats().logins_failed == 1


@pytest.mark.parametrize("password", ["", "secret", "a.b", "a.b.c", "..", ".", "e30.e30.", "é.é.é"])
async def test_what_is_no_token_is_refused(keys: Path, password: str) -> None:
    with serving(keys) as broker:
        await refused(broker, password)


async def test_issuer_and_audience_are_asked_for(keys: Path) -> None:
    with serving(keys, issuer="https://id.example", audience="mqtt") as broker:
        good: dict[str, Any] = {"iss": "https://id.example", "aud": ["web", "mqtt"]}
        assert await login(broker, token(**good)) == "alice"
        wrong: list[dict[str, Any]] = [
            {},
            {**good, "iss": "https://other"},
            {**good, "aud": "web"},
            {**good, "aud": None},
        ]
        for claims in wrong:
            await refused(broker, token(**claims))


async def test_a_public_key_is_no_secret(tmp_path: Path) -> None:
    # Whoever knows the public key could sign with it if the token chose the algorithm.
    algorithm, key, _ = FOREIGN[0]
    with serving(written(tmp_path, key), algorithms=["HS256", algorithm]) as broker:
        await refused(broker, token(secret=key["n"].encode()))
        await refused(broker, token({"kid": algorithm}, secret=base64.urlsafe_b64decode(key["n"] + "==")))


async def test_clocks_may_differ_by_the_leeway(keys: Path) -> None:
    now = int(time.time())
    with serving(keys, leeway=600) as broker:
        assert await login(broker, token(exp=now - 60, nbf=now + 60)) == "alice"
    with serving(keys, leeway=10) as broker:
        await refused(broker, token(exp=now - 60))
        await refused(broker, token(nbf=now + 60))


async def test_a_connection_ends_with_its_token(keys: Path) -> None:
    clock = Clock()
    broker = rmqtt.Broker("mem://tokens", auth=rmqtt.JWT(keys, algorithms=["HS256"], leeway=0), clock=clock)
    async with asyncio.timeout(GUARD), broker:
        options: dict[str, Any] = {"password": token(exp=int(time.time()) + 3600), "reconnect": None, "keep_alive": 0}
        async with broker.client(**options) as client, client.subscribe("t") as messages:
            await asyncio.to_thread(clock.advance, 3500)
            await client.publish("t", b"still here", qos=1)
            assert (await messages.get()).payload == b"still here"
            await asyncio.to_thread(clock.advance, 101)
            with pytest.raises(rmqtt.ServerDisconnected) as ended:
                await messages.get()
            assert ended.value.reason_code is rmqtt.ReasonCode.MAXIMUM_CONNECT_TIME
        with pytest.raises(rmqtt.ConnectRefused):
            await broker.client(**options).connect()


async def test_keys_are_read_again_and_chosen_by_their_id(keys: Path) -> None:
    new = b"f" * 32
    with serving(keys) as broker:
        await refused(broker, token(secret=new))
        written(keys.parent, secret_key(kid="old"), secret_key(new, kid="new"))
        broker.reload()
        assert await login(broker, token({"kid": "new"}, secret=new)) == "alice"
        assert await login(broker, token(secret=new)) == "alice"
        await refused(broker, token({"kid": "old"}, secret=new))
        keys.write_text("{}")
        with pytest.raises(ValueError, match=r"keys\.json"):
            broker.reload()
        assert await login(broker, token({"kid": "new"}, secret=new)) == "alice"


async def test_who_has_no_token_is_left_to_the_next(keys: Path) -> None:
    auth: list[Any] = [rmqtt.JWT(keys, algorithms=["HS256"]), {"bob": "secret"}]
    with rmqtt.Broker("mqtt://127.0.0.1:0", auth=auth) as broker:
        assert await login(broker, token()) == "alice"
        assert await login(broker, "secret", username="bob") == "bob"
        await refused(broker, token(secret=b"x" * 32))


@pytest.mark.parametrize(
    ("content", "terms", "said"),
    [
        (None, {}, "No such file"),
        ("", {}, "no set of keys"),
        ("{}", {}, "no set of keys"),
        ('{"keys": []}', {}, "none of them"),
        (json.dumps({"keys": [secret_key()]}), {"algorithms": ["RS256"]}, "none of them"),
        (json.dumps({"keys": [secret_key(use="enc")]}), {}, "none of them"),
        (json.dumps({"keys": [secret_key(b"short")]}), {}, "key 1: a secret of less than 32 bytes"),
        (json.dumps({"keys": [secret_key()]}), {"algorithms": ["none"]}, "no algorithm"),
        (json.dumps({"keys": [secret_key()]}), {"algorithms": ["hs256"]}, "no algorithm"),
        (json.dumps({"keys": [secret_key()]}), {"user_claim": ""}, "no claim"),
        (json.dumps({"keys": [secret_key()]}), {"leeway": -1}, "leeway"),
    ],
)
def test_keys_and_terms_that_could_let_nobody_in_are_refused(
    tmp_path: Path, content: str | None, terms: dict[str, Any], said: str
) -> None:
    file = tmp_path / "keys.json"
    if content is not None:
        file.write_text(content)
    with pytest.raises(ValueError, match=said) as refusal:
        serving(file, **terms)
    assert encoded(SECRET) not in str(refusal.value)
