"""Packets as values, and the codec between them and bytes."""

from __future__ import annotations

import array
import dataclasses
import pickle
from typing import Any, Literal

import pytest
import rmqtt
from rmqtt import codec
from rmqtt.codec import (
    Auth,
    Codec,
    ConnAck,
    Connect,
    Disconnect,
    Packet,
    PingReq,
    PingResp,
    PubAck,
    PubComp,
    Publish,
    PubRec,
    PubRel,
    SubAck,
    Subscribe,
    SubscribeFilter,
    UnsubAck,
    Unsubscribe,
    WillMessage,
    decode,
    encode,
)

USERS = (("name", "value"), ("name", "again"), ("", "ü"))

FULL: list[Packet] = [
    Connect(
        client_id="thermometer",
        clean_start=False,
        keep_alive=0,
        will=WillMessage(
            topic="gone",
            payload=b"\x00\xff",
            qos=2,
            retain=True,
            delay_interval=0,
            payload_format_indicator=False,
            message_expiry_interval=1,
            content_type="text/plain",
            response_topic="answers",
            correlation_data=b"\x01",
            user_properties=USERS,
        ),
        username="me",
        password=b"secret",
        session_expiry_interval=0xFFFFFFFF,
        receive_maximum=1,
        maximum_packet_size=0xFFFFFFFF,
        topic_alias_maximum=0,
        request_response_information=True,
        request_problem_information=False,
        authentication_method="m",
        authentication_data=b"",
        user_properties=USERS,
    ),
    ConnAck(
        session_present=True,
        session_expiry_interval=1,
        receive_maximum=2,
        maximum_qos=1,
        retain_available=False,
        maximum_packet_size=3,
        assigned_client_identifier="i",
        topic_alias_maximum=4,
        reason_string="r",
        wildcard_subscription_available=True,
        subscription_identifiers_available=False,
        shared_subscription_available=True,
        server_keep_alive=5,
        response_information="n",
        server_reference="s",
        authentication_method="m",
        authentication_data=b"d",
        user_properties=USERS,
    ),
    Publish(
        topic="a/b",
        payload=bytes(range(256)) * 20,
        qos=1,
        retain=True,
        dup=True,
        packet_id=0xFFFF,
        topic_alias=1,
        subscription_identifiers=(1, 268_435_455),
        payload_format_indicator=True,
        message_expiry_interval=0,
        content_type="",
        response_topic="r",
        correlation_data=b"",
        user_properties=USERS,
    ),
    *(kind(packet_id=1, reason_string="r", user_properties=USERS) for kind in (PubAck, PubRec, PubRel, PubComp)),
    Subscribe(
        packet_id=1,
        filters=(
            SubscribeFilter(filter="a/#", qos=1),
            SubscribeFilter(filter="+", no_local=True, retain_as_published=True, retain_handling=2),
        ),
        subscription_identifier=7,
        user_properties=USERS,
    ),
    SubAck(packet_id=1, reason_codes=(rmqtt.ReasonCode(2), rmqtt.ReasonCode(0x8F)), reason_string="r"),
    Unsubscribe(packet_id=1, filters=("a/#", "+"), user_properties=USERS),
    UnsubAck(packet_id=1, reason_codes=(rmqtt.ReasonCode(0x11),), user_properties=USERS),
    PingReq(),
    PingResp(),
    Disconnect(
        reason_code=rmqtt.ReasonCode.SERVER_MOVED,
        session_expiry_interval=1,
        reason_string="r",
        server_reference="s",
        user_properties=USERS,
    ),
    Auth(
        reason_code=rmqtt.ReasonCode.CONTINUE_AUTHENTICATION,
        authentication_method="m",
        authentication_data=b"\x00",
        reason_string="r",
        user_properties=USERS,
    ),
]

BARE: list[Packet] = [
    Connect(version="3.1.1", client_id="c", username="u", password=b"p"),
    Connect(version="3.1", client_id="c", will=WillMessage(topic="t")),
    ConnAck(reason_code=rmqtt.ReasonCode.NOT_AUTHORIZED),
    Publish(topic="t"),
    Publish(topic="t", qos=2, packet_id=1, payload=b"x"),
    PubAck(packet_id=1),
    PubRec(packet_id=1),
    PubRel(packet_id=1),
    PubComp(packet_id=1),
    Subscribe(packet_id=1, filters=(SubscribeFilter(filter="a", qos=2),)),
    SubAck(packet_id=1, reason_codes=(rmqtt.ReasonCode.UNSPECIFIED_ERROR,)),
    Unsubscribe(packet_id=1, filters=("a",)),
    UnsubAck(packet_id=1),
    PingReq(),
    PingResp(),
    Disconnect(),
]


def name(packet: object) -> str:
    return type(packet).__name__


@pytest.mark.parametrize("packet", FULL, ids=name)
def test_a_packet_of_mqtt_5_comes_back_as_it_was(packet: Packet) -> None:
    data = encode(packet)
    assert decode(data) == (packet, len(data))
    assert decode(data + b"\xff") == (packet, len(data))


@pytest.mark.parametrize("packet", BARE, ids=name)
def test_a_packet_of_mqtt_3_comes_back_as_it_was(packet: Packet) -> None:
    data = encode(packet, version="3.1.1")
    assert decode(data, version="3.1.1") == (packet, len(data))


@pytest.mark.parametrize("packet", FULL, ids=name)
def test_a_packet_is_a_value(packet: Packet) -> None:
    assert packet == dataclasses.replace(packet)
    assert hash(packet) == hash(dataclasses.replace(packet))
    assert pickle.loads(pickle.dumps(packet)) == packet
    with pytest.raises((AttributeError, TypeError)):
        packet.anything = 1  # type: ignore[union-attr]
    for field in dataclasses.fields(packet):
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(packet, field.name, None)


def test_a_packet_shows_what_it_says_and_no_secret() -> None:
    assert repr(Publish(topic="a", qos=1, packet_id=3)) == "Publish(topic='a', qos=<QoS.AT_LEAST_ONCE: 1>, packet_id=3)"
    assert repr(PingReq()) == "PingReq()"
    assert "secret" not in repr(FULL[0])
    assert PubAck(packet_id=1) not in [PubRec(packet_id=1), PubRel(packet_id=1)]


def test_numbers_and_lists_become_their_one_form() -> None:
    packet = Subscribe(packet_id=1, filters=[SubscribeFilter(filter="a", qos=1)], user_properties=[("a", "b")])
    assert packet == Subscribe(packet_id=1, filters=packet.filters, user_properties=(("a", "b"),))
    assert packet.filters[0].qos is rmqtt.QoS.AT_LEAST_ONCE
    assert Disconnect(reason_code=4).reason_code is rmqtt.ReasonCode.DISCONNECT_WITH_WILL  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview, lambda data: array.array("B", data)])
def test_bytes_may_come_in_any_buffer(kind: Any) -> None:
    assert decode(kind(b"\xc0\x00")) == (PingReq(), 2)
    assert Codec().feed(kind(b"\xd0\x00")) == [PingResp()]
    with pytest.raises(TypeError):
        decode(2)  # type: ignore[arg-type]


@pytest.mark.parametrize("packet", FULL, ids=name)
def test_every_prefix_is_incomplete(packet: Packet) -> None:
    data = encode(packet)
    for length in [*range(min(len(data), 300)), len(data) - 1]:
        with pytest.raises(rmqtt.IncompletePacket) as caught:
            decode(data[:length])
        assert isinstance(caught.value, rmqtt.MalformedPacket)


@pytest.mark.parametrize(
    ("digits", "version", "error", "reason"),
    [
        ("3600", "5.0", rmqtt.MalformedPacket, 0x81),
        ("0000", "5.0", rmqtt.MalformedPacket, 0x81),
        ("f000", "3.1.1", rmqtt.MalformedPacket, 0x81),
        ("30ffffffff", "5.0", rmqtt.MalformedPacket, 0x81),
        ("c08000", "5.0", rmqtt.MalformedPacket, 0x81),
        ("30040002c328", "3.1.1", rmqtt.MalformedPacket, 0x81),
        ("3005000174020102", "5.0", rmqtt.MalformedPacket, 0x81),
        ("30060001740223ff", "5.0", rmqtt.MalformedPacket, 0x81),
        ("30070001740323 0000", "5.0", rmqtt.ProtocolError, 0x94),
        ("30050003612f23", "3.1.1", rmqtt.ProtocolError, 0x82),
        ("300300000 0", "5.0", rmqtt.ProtocolError, 0x82),
        ("4003000101", "5.0", rmqtt.ProtocolError, 0x82),
        ("100700044d51545409", "5.0", rmqtt.ProtocolError, 0x84),
    ],
)
def test_what_is_wrong_is_said_with_its_code(
    digits: str, version: Literal["5.0", "3.1.1"], error: type[rmqtt.ProtocolError], reason: int
) -> None:
    with pytest.raises(error) as caught:
        decode(bytes.fromhex(digits.replace(" ", "")), version=version)
    assert type(caught.value) is error
    assert caught.value.reason_code is rmqtt.ReasonCode(reason)
    assert caught.value.__notes__[0].startswith("bytes ")


@pytest.mark.parametrize(
    "packet",
    [
        Publish(topic="a/#"),
        Publish(topic=""),
        Publish(topic="a", qos=1),
        Publish(topic="a", packet_id=1),
        Publish(topic="a", dup=True),
        Publish(topic="a", qos=1, packet_id=0),
        Publish(topic="a", qos=1, packet_id=70_000),
        Publish(topic="a", topic_alias=0),
        Publish(topic="a", content_type="x" * 65_536),
        Publish(topic="a", content_type="\0"),
        Publish(topic="a", response_topic="+"),
        Publish(topic="a", subscription_identifiers=(268_435_456,)),
        PubRel(packet_id=1, reason_code=rmqtt.ReasonCode.BANNED),
        Subscribe(packet_id=1, filters=()),
        Subscribe(packet_id=1, filters=(SubscribeFilter(filter="$share/g/t", no_local=True),)),
        ConnAck(session_present=True, reason_code=rmqtt.ReasonCode.BANNED),
        Connect(version="3.1.1", password=b"p"),
        Connect(version="6.0"),  # type: ignore[arg-type]
        Connect(receive_maximum=0),
    ],
    ids=repr,
)
def test_what_the_standard_does_not_allow_is_not_written(packet: Packet) -> None:
    with pytest.raises(ValueError, match=r"."):
        encode(packet)


def test_wrong_types_are_type_errors() -> None:
    for wrong in (None, b"", object(), "PINGREQ", WillMessage(topic="a")):
        with pytest.raises(TypeError, match="not a packet"):
            encode(wrong)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=r"^payload of Publish: .*str"):
        encode(Publish(topic="a", payload="text"))  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=r"^topic of Publish: "):
        encode(Publish(topic=b"a"))  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=r"^will\.retain of Connect: "):
        encode(Connect(will=WillMessage(topic="a", retain=1)))  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"^packet_id of PubAck: out of its range$"):
        encode(PubAck(packet_id=65_536))
    with pytest.raises(TypeError, match="pass \\['a'\\]"):
        Unsubscribe(packet_id=1, filters="a")
    with pytest.raises(ValueError, match="version"):
        encode(PingReq(), version="4")  # type: ignore[arg-type]


def test_bytes_may_be_fed_in_any_pieces() -> None:
    client = [packet for packet in FULL if name(packet) not in ("ConnAck", "SubAck", "UnsubAck", "PingResp")]
    data = b"".join(encode(packet) for packet in client)
    for size in (1, 2, 7, 1000, len(data)):
        server = Codec(role="server")
        packets: list[Packet] = []
        for start in range(0, len(data), size):
            packets += server.feed(data[start : start + size])
        assert packets == client
        assert server.buffered == 0


def test_a_connect_settles_the_version_for_both_ends() -> None:
    client, server = Codec("5.0"), Codec("5.0", role="server")
    (hello,) = server.feed(client.encode(Connect(version="3.1.1", client_id="c")))
    assert isinstance(hello, Connect)
    assert (client.version, server.version) == ("3.1.1", "3.1.1")
    assert client.feed(server.encode(ConnAck())) == [ConnAck()]
    assert server.feed(client.encode(Publish(topic="t", content_type="gone"))) == [Publish(topic="t")]


def test_packets_in_the_wrong_direction_are_refused_both_ways() -> None:
    to_server = {Connect, Subscribe, Unsubscribe, PingReq}
    to_client = {ConnAck, SubAck, UnsubAck, PingResp}
    for packet in FULL:
        for role, foreign in (("client", to_client), ("server", to_server)):
            end = Codec(role=role)  # type: ignore[arg-type]
            if type(packet) in foreign:
                with pytest.raises(ValueError, match=f"a {role} does not send"):
                    end.encode(packet)
            else:
                other = Codec(role="server" if role == "client" else "client")
                assert other.feed(end.encode(packet)) == [packet]
    with pytest.raises(rmqtt.ProtocolError, match="a client does not send PingResp") as caught:
        Codec(role="server").feed(encode(PingResp()))
    assert caught.value.reason_code is rmqtt.ReasonCode.PROTOCOL_ERROR
    with pytest.raises(ValueError, match="does not send Disconnect"):
        Codec("3.1.1", role="server").encode(Disconnect())


def test_packets_before_a_fault_are_given_out_and_the_fault_stays() -> None:
    end = Codec()
    assert end.feed(b"\xd0\x00\x00\x00") == [PingResp()]
    assert isinstance(end.fault, rmqtt.MalformedPacket)
    for _ in range(2):
        with pytest.raises(rmqtt.MalformedPacket) as caught:
            end.feed(b"\xd0\x00")
        assert caught.value is end.fault


def test_a_packet_over_the_limit_is_refused_by_its_length() -> None:
    end = Codec(max_packet_size=100)
    assert end.feed(encode(Publish(topic="t", payload=bytes(94)))) == [Publish(topic="t", payload=bytes(94))]
    with pytest.raises(rmqtt.ProtocolError) as caught:
        end.feed(b"\x30\x63")
    assert caught.value.reason_code is rmqtt.ReasonCode.PACKET_TOO_LARGE
    for wrong in (0, 268_435_461):
        with pytest.raises(ValueError, match="max_packet_size"):
            Codec(max_packet_size=wrong)
    with pytest.raises(ValueError, match="role"):
        Codec(role="bridge")  # type: ignore[arg-type]


def test_any_changed_byte_is_an_error_or_a_packet() -> None:
    for packet in FULL:
        data = bytearray(encode(packet)[:200])
        for at in range(len(data)):
            for change in (0x01, 0x80, 0xFF):
                data[at] ^= change
                try:
                    found, _size = decode(data)
                except rmqtt.ProtocolError:
                    pass
                else:
                    assert decode(encode(found))[0] == found
                data[at] ^= change


def test_all_names_are_exported() -> None:
    for exported in codec.__all__:
        assert getattr(rmqtt, exported) is getattr(codec, exported)
