"""PUBLISH and its acknowledgements are native: nobody can tell, but by the clock."""

from __future__ import annotations

import copy
import dataclasses
import inspect
import pickle
import resource
from pathlib import Path
from typing import Any

import pytest
import rmqtt
from rmqtt.codec import Codec, PubAck, PubComp, Publish, PubRec, PubRel, decode, encode

ACKS = (PubAck, PubRec, PubRel, PubComp)
STATM = Path("/proc/self/statm")
USERS = (("name", "value"), ("", "ü"))
MADE: list[Any] = [
    Publish(topic="a/ü", payload=b"\x00", qos=2, packet_id=7, dup=True, retain=True),
    Publish(topic="a", content_type="text/plain", user_properties=USERS, subscription_identifiers=(1, 2)),
    Publish(topic_alias=3),
    *(kind(packet_id=300) for kind in ACKS),
    *(kind(packet_id=1, reason_code=rmqtt.ReasonCode(0x92), reason_string="r") for kind in (PubRel, PubComp)),
    *(kind(packet_id=1, reason_code=rmqtt.ReasonCode(0x97), user_properties=USERS) for kind in (PubAck, PubRec)),
]


def model_of(packet: Any) -> type:
    """Make the dataclass that the declaration would be if it were not lent."""
    given = [(f.name, Any, dataclasses.field(default=f.default)) for f in dataclasses.fields(packet)]
    return dataclasses.make_dataclass(type(packet).__name__, given, frozen=True, kw_only=True)


def name(packet: Any) -> str:
    return type(packet).__name__


@pytest.mark.parametrize("made", MADE, ids=name)
def test_a_packet_that_was_read_is_the_packet_that_was_made(made: Any) -> None:
    read, _size = decode(encode(made))
    assert read == made
    assert not (read != made)  # noqa: SIM202 - it is this operator that is asked
    assert hash(read) == hash(made)
    assert repr(read) == repr(made)
    for field in dataclasses.fields(made):
        first, again = getattr(read, field.name), getattr(read, field.name)
        assert first == again == getattr(made, field.name)
        assert type(first) is type(getattr(made, field.name))
    assert encode(read) == encode(made)


@pytest.mark.parametrize("made", MADE, ids=name)
def test_it_behaves_as_the_dataclass_of_its_fields(made: Any) -> None:
    values = dataclasses.asdict(made)
    model = model_of(made)(**values)
    assert hash(made) == hash(model)
    assert dataclasses.astuple(made) == dataclasses.astuple(model)
    assert inspect.signature(type(made)).parameters.keys() == inspect.signature(type(model)).parameters.keys()
    assert type(made).__match_args__ == type(model).__match_args__ == ()
    assert made != model
    assert made.__eq__(model) is NotImplemented


@pytest.mark.parametrize("made", MADE, ids=name)
@pytest.mark.parametrize("is_read", [False, True])
def test_it_can_be_pickled_copied_and_replaced(made: Any, is_read: bool) -> None:
    packet: Any = decode(encode(made))[0] if is_read else made
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        assert pickle.loads(pickle.dumps(packet, protocol)) == made
    assert copy.copy(packet) == copy.deepcopy(packet) == dataclasses.replace(packet) == made
    other = dataclasses.replace(packet, user_properties=[("x", "y")])
    assert other.user_properties == (("x", "y"),)
    assert other != made


@pytest.mark.parametrize("made", MADE, ids=name)
def test_nothing_can_be_assigned_or_deleted(made: Any) -> None:
    read: Any = decode(encode(made))[0]
    for packet in (made, read):
        for field in dataclasses.fields(packet):
            with pytest.raises(dataclasses.FrozenInstanceError, match=f"cannot assign to field '{field.name}'"):
                setattr(packet, field.name, None)
            with pytest.raises(dataclasses.FrozenInstanceError, match=f"cannot delete field '{field.name}'"):
                delattr(packet, field.name)
        with pytest.raises((AttributeError, TypeError)):
            packet.anything = 1


@pytest.mark.parametrize("kind", [Publish, *ACKS])
def test_a_field_that_is_left_out_is_what_the_declaration_says(kind: Any) -> None:
    needed = {} if kind is Publish else {"packet_id": 1}
    packet = kind(**needed)
    for field in dataclasses.fields(kind):
        value = getattr(packet, field.name)
        wanted = needed.get(field.name, field.default)
        assert value == wanted
        assert type(value) is type(wanted)
        assert inspect.signature(kind).parameters[field.name].kind is inspect.Parameter.KEYWORD_ONLY
    assert kind.__doc__.startswith(kind.__name__.upper())
    assert (kind.__module__, kind.__qualname__) == ("rmqtt.codec", kind.__name__)


def test_numbers_and_lists_become_their_one_form_here_too() -> None:
    packet = Publish(topic="a", qos=1, packet_id=1, subscription_identifiers=[1], user_properties=iter([["a", "b"]]))  # type: ignore[arg-type]
    assert packet.qos is rmqtt.QoS.AT_LEAST_ONCE
    assert packet.subscription_identifiers == (1,)
    assert packet.user_properties == (("a", "b"),)
    assert PubRec(packet_id=1, reason_code=0x97).reason_code is rmqtt.ReasonCode.QUOTA_EXCEEDED  # type: ignore[arg-type]


# For what a type checker would not let through.
publish: Any = Publish
pub_ack: Any = PubAck


@pytest.mark.parametrize(
    ("make", "error", "words"),
    [
        (lambda: publish("a"), TypeError, "positional"),
        (lambda: publish(nothing=1), TypeError, r"^Publish.__init__\(\) got an unexpected keyword argument 'nothing'$"),
        (pub_ack, TypeError, r"^PubAck.__init__\(\) missing 1 required keyword-only argument: 'packet_id'$"),
        (lambda: publish(qos=3), ValueError, "3 is not a valid QoS"),
        (lambda: pub_ack(packet_id=1, reason_code=3), ValueError, "3 is not a valid ReasonCode"),
        (lambda: publish(subscription_identifiers=1), TypeError, "not iterable"),
        (lambda: publish(user_properties=[("a",)]), ValueError, "not enough values to unpack"),
    ],
)
def test_what_cannot_be_made_is_refused_at_once(make: Any, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        make()


@pytest.mark.parametrize(
    ("packet", "error", "words"),
    [
        (publish(topic=1), TypeError, "^topic of Publish: .*int"),
        (publish(topic="a", payload=None), TypeError, "^payload of Publish: "),
        (publish(topic="a", retain=1), TypeError, "^retain of Publish: .*int"),
        (publish(topic="a", dup=None), TypeError, "^dup of Publish: "),
        (publish(topic="a", packet_id="1"), TypeError, "^packet_id of Publish: .*str"),
        (publish(topic="a", qos=1, packet_id=-1), ValueError, "^packet_id of Publish: out of its range$"),
        (publish(topic="a", qos=1, packet_id=0), ValueError, "^packet_id must be 1 to 65535$"),
        (publish(topic="a", topic_alias=0), ValueError, "^topic_alias of Publish: out of its range$"),
        (publish(topic="a", subscription_identifiers=(0,)), ValueError, "^subscription_identifiers of Publish: out of"),
        (publish(topic="a", payload_format_indicator=1), TypeError, "^payload_format_indicator of Publish: "),
        (publish(topic="a", message_expiry_interval=2**32), ValueError, "^message_expiry_interval of Publish: out of"),
        (publish(topic="a", content_type=b""), TypeError, "^content_type of Publish: "),
        (publish(topic="a", response_topic=b""), TypeError, "^response_topic of Publish: "),
        (publish(topic="a", correlation_data=""), TypeError, "^correlation_data of Publish: "),
        (publish(topic="a", user_properties=((1, 2),)), TypeError, "^user_properties of Publish: "),
        (publish(topic="a/+"), ValueError, "wildcard"),
        (pub_ack(packet_id=None), TypeError, "^packet_id of PubAck: "),
        (PubRel(packet_id=2**16), ValueError, "^packet_id of PubRel: out of its range$"),
        (pub_ack(packet_id=1, reason_string=1), TypeError, "^reason_string of PubAck: "),
    ],
    ids=lambda value: repr(value) if not isinstance(value, (type, str)) else None,
)
def test_what_cannot_be_written_is_refused_by_the_name_of_its_field(
    packet: Any, error: type[Exception], words: str
) -> None:
    for write in (encode, Codec().encode):
        with pytest.raises(error, match=words):
            write(packet)


@pytest.mark.skipif(not STATM.exists(), reason="asks Linux how much memory there is")
def test_a_packet_that_was_read_keeps_no_more_than_itself() -> None:
    def resident() -> int:
        return int(STATM.read_text().split()[1]) * resource.getpagesize()

    data = encode(Publish(topic="a", payload=b"1")) + encode(Publish(topic="a", payload=b"\1" * (1 << 20)))
    packets, end = [], Codec()
    before = resident()
    for _ in range(100):
        packets += [end.feed(data)[0], decode(data)[0]]
    assert resident() - before < 50 << 20
    assert {packet.payload for packet in packets if isinstance(packet, Publish)} == {b"1"}


def test_packets_fed_together_and_one_by_one_are_the_same() -> None:
    data = [encode(packet) for packet in MADE]
    together, alone = Codec(), Codec()
    assert together.feed(b"".join(data)) == [packet for piece in data for packet in alone.feed(piece)] == MADE
