"""MQTT.js proves to our broker who it is by SCRAM-SHA-256: the mechanism is written here, from RFC 7677, the packets are its own."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
from typing import TYPE_CHECKING

import pytest
import rmqtt

from interop.features import Stage
from interop.foreign_talkers import JsTalker
from interop.peers import soon
from interop.talkers import RefusedError

if TYPE_CHECKING:
    from interop.talkers import Answer

pytestmark = pytest.mark.interop
METHOD = "SCRAM-SHA-256"
CLIENT_FIRST = "n=alice,r=interop-nonce"


def _sign(key: bytes, text: bytes) -> bytes:
    return hmac.digest(key, text, "sha256")


def _answer(server_first: str, password: str) -> tuple[str, str]:
    """Say the client's last message, and what the server has to say to it."""
    said = dict(part.split("=", 1) for part in server_first.split(","))
    salted = hashlib.pbkdf2_hmac("sha256", password.encode(), base64.b64decode(said["s"]), int(said["i"]))
    without_proof = f"c=biws,r={said['r']}"
    everything = f"{CLIENT_FIRST},{server_first},{without_proof}".encode()
    client_key = _sign(salted, b"Client Key")
    signature = _sign(hashlib.sha256(client_key).digest(), everything)
    proof = bytes(one ^ other for one, other in zip(client_key, signature, strict=True))
    server = _sign(_sign(salted, b"Server Key"), everything)
    encode = base64.b64encode
    return f"{without_proof},p={encode(proof).decode()}", f"v={encode(server).decode()}"


async def _connect(talker: JsTalker, password: str) -> tuple[Answer, str]:
    data = f"n,,{CLIENT_FIRST}".encode()
    connecting = asyncio.create_task(talker.connect(authentication_method=METHOD, authentication_data=data))
    challenge = await soon(talker.auths.get())
    assert (challenge["reason"], challenge["properties"]["authenticationMethod"]) == (0x18, METHOD)
    last, verdict = _answer(challenge["properties"]["authenticationData"].decode(), password)
    properties = {"authenticationMethod": METHOD, "authenticationData": last.encode()}
    packet = {"cmd": "auth", "reasonCode": 0x18, "properties": properties}
    await talker.node.ask(talker.name, "auth", packet=packet)
    return await connecting, verdict


async def test_both_prove_who_they_are() -> None:
    with rmqtt.Broker("mqtt://127.0.0.1:0", auth={"alice": "secret"}) as broker:
        async with Stage(broker.port, broker) as stage:
            talker = stage.make(JsTalker)
            assert isinstance(talker, JsTalker)
            answer, verdict = await _connect(talker, "secret")
            assert answer.properties["authentication_method"] == METHOD
            assert answer.properties["authentication_data"] == verdict.encode()
            await talker.subscribe(f"{stage.root}/a", 1)
            await talker.publish(f"{stage.root}/a", b"let in", 1)
            assert (await talker.receive()).payload == b"let in"


async def test_who_does_not_know_the_password_is_refused() -> None:
    with rmqtt.Broker("mqtt://127.0.0.1:0", auth={"alice": "secret"}) as broker:
        async with Stage(broker.port, broker) as stage:
            talker = stage.make(JsTalker)
            assert isinstance(talker, JsTalker)
            with pytest.raises(RefusedError) as refusal:
                await _connect(talker, "guess")
            assert refusal.value.reason in {0x86, 0x87}


async def test_an_unknown_method_is_refused() -> None:
    with rmqtt.Broker("mqtt://127.0.0.1:0", auth={"alice": "secret"}) as broker:
        async with Stage(broker.port, broker) as stage:
            talker = stage.make(JsTalker)
            with pytest.raises(RefusedError) as refusal:
                await talker.connect(authentication_method="GUESS", authentication_data=b"?")
            assert refusal.value.reason == 0x8C
