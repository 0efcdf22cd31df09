"""What MQTT 5 adds, one feature a function: any client is the subject, any other the one it talks with.

A function that is marked by `feature` is a test of every client and broker that can do what it needs. Nothing here
sleeps: where time has to pass, the test waits for something that happens when it has.
"""

from __future__ import annotations

import asyncio
import secrets
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Self

import pytest
import rmqtt

from interop.foreign_talkers import JsTalker
from interop.peers import DEADLINE, QoS
from interop.talkers import OurTalker, RefusedError, Talker, Will

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Sequence

    Kind = type[Talker]
    Scenario = Callable[["Stage", Kind, Kind], Coroutine[Any, Any, None]]

LONG = 300  # seconds: longer than any test
EVERYTHING: dict[str, Any] = {
    "payload_format_indicator": 1,
    "message_expiry_interval": LONG,
    "content_type": "application/json; charset=ü",
    "response_topic": "answers/here",
    "correlation_data": b"\x00\xff\x01",
    "user_properties": (("name", "value"), ("name", "again"), ("", ""), ("ü", "日本")),
}


@dataclass(frozen=True)
class Feature:
    """A scenario, and what it needs."""

    scenario: Scenario
    #: Of the subject, by the words of `Talker.LACKS`.
    needs: tuple[str, ...]
    #: Arguments of the broker of ours; `None`: any broker will do.
    broker: dict[str, Any] | None

    @property
    def name(self) -> str:
        return self.scenario.__name__

    def is_for(self, kind: Kind) -> bool:
        """Whether this client can do it."""
        return not any(need in kind.LACKS for need in self.needs)


FEATURES: list[Feature] = []


def feature(*needs: str, broker: dict[str, Any] | None = None) -> Callable[[Scenario], Scenario]:
    """Mark a scenario."""

    def mark(scenario: Scenario) -> Scenario:
        FEATURES.append(Feature(scenario, needs, broker))
        return scenario

    return mark


@dataclass
class Stage:
    """The clients of one test, which end with it."""

    port: int
    #: The broker, where it is ours.
    broker: rmqtt.Broker | None = None
    root: str = field(default_factory=lambda: f"features/{secrets.token_hex(4)}")
    talkers: list[Talker] = field(default_factory=list)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await asyncio.gather(*(talker.forget() for talker in self.talkers))

    def make(self, kind: Kind, name: str = "subject") -> Talker:
        """Make a client, not connected."""
        talker = kind(self.port, f"{self.root.replace('/', '-')}-{name}" if name else "")
        self.talkers.append(talker)
        return talker

    async def add(self, kind: Kind, name: str = "subject", **options: Any) -> Talker:
        """Make a client and connect it."""
        talker = self.make(kind, name)
        await talker.connect(**options)
        return talker

    async def until(self, holds: Callable[[rmqtt.BrokerStats], bool]) -> None:
        """Wait for a state of our broker; nothing tells us of it, so ask again and again."""
        assert self.broker is not None
        async with asyncio.timeout(DEADLINE):
            while not holds(self.broker.stats()):
                await asyncio.sleep(0.01)


async def payloads(talker: Talker, count: int) -> list[bytes]:
    """Take so many messages."""
    return [(await talker.receive()).payload for _ in range(count)]


def numbered(count: int) -> Sequence[bytes]:
    """Make payloads that show order and loss."""
    return [f"{number:04}".encode() for number in range(count)]


# ---- messages -----------------------------------------------------------------------------------


async def _carries_everything(stage: Stage, sender: Talker, receiver: Talker) -> None:
    topic = f"{stage.root}/everything"
    assert await receiver.subscribe(topic, 1) == 1
    await sender.publish(topic, b'{"ok": true}', 1, **EVERYTHING)
    heard = await receiver.receive()
    expected = {name: value for name, value in EVERYTHING.items() if name != "payload_format_indicator"}
    got = {name: value for name, value in heard.properties.items() if name in expected}
    left = got.pop("message_expiry_interval")
    assert LONG - DEADLINE <= left <= expected.pop("message_expiry_interval")
    assert got == expected
    assert heard.payload == b'{"ok": true}'


@feature()
async def properties_reach_them(stage: Stage, subject: Kind, other: Kind) -> None:
    """All properties of a message, user properties in order and repeated."""
    await _carries_everything(stage, await stage.add(other, "other"), await stage.add(subject))


@feature()
async def properties_come_from_them(stage: Stage, subject: Kind, other: Kind) -> None:
    """The same in the other direction."""
    await _carries_everything(stage, await stage.add(subject), await stage.add(other, "other"))


@feature()
async def a_question_is_answered(stage: Stage, subject: Kind, other: Kind) -> None:
    """Response topic and correlation data tie an answer to its question."""
    asking, answering = await stage.add(subject), await stage.add(other, "other")
    await answering.subscribe(f"{stage.root}/questions", 1)
    await asking.subscribe(f"{stage.root}/answers/+", 1)
    for number in range(3):
        mark = bytes([0, number])
        topic = f"{stage.root}/answers/me"
        await asking.publish(f"{stage.root}/questions", b"2+2?", 1, response_topic=topic, correlation_data=mark)
        question = await answering.receive()
        said = question.properties
        await answering.publish(said["response_topic"], b"4", 1, correlation_data=said["correlation_data"])
        answer = await asking.receive()
        assert (answer.payload, answer.properties["correlation_data"]) == (b"4", mark)


@feature()
async def large_payloads_pass_both_ways(stage: Stage, subject: Kind, other: Kind) -> None:
    """A megabyte, in every quality of service."""
    one, two = await stage.add(subject), await stage.add(other, "other")
    payload = bytes(range(256)) * 4096
    qualities: list[QoS] = [0, 1, 2]
    for sender, receiver in ((one, two), (two, one)):
        await receiver.subscribe(f"{stage.root}/{sender.client_id}", 2)
        for qos in qualities:
            await sender.publish(f"{stage.root}/{sender.client_id}", payload, qos)
            heard = await receiver.receive()
            assert heard.payload == payload
            assert heard.qos == qos


@feature()
async def messages_at_once_arrive_in_order(stage: Stage, subject: Kind, other: Kind) -> None:
    """Many exchanges open at the same time, in both directions."""
    one, two = await stage.add(subject), await stage.add(other, "other")
    for sender, receiver in ((one, two), (two, one)):
        topic = f"{stage.root}/{sender.client_id}"
        await receiver.subscribe(topic, 2)
        await asyncio.gather(*(sender.publish(topic, payload, 2) for payload in numbered(20)))
        assert await payloads(receiver, 20) == numbered(20)


@feature(broker={})
async def what_is_left_of_an_expiry_is_said(stage: Stage, subject: Kind, other: Kind) -> None:
    """A second in the broker is a second less; and what has expired does not come at all."""
    sending = await stage.add(other, "other")
    await sending.publish(f"{stage.root}/long", b"long", 1, retain=True, message_expiry_interval=100)
    await sending.publish(f"{stage.root}/short", b"short", 1, retain=True, message_expiry_interval=1)
    await stage.until(lambda stats: stats.retained_messages == 1)  # so a second has passed
    late = await stage.add(subject)
    await late.subscribe(f"{stage.root}/#", 1)
    heard = await late.receive()
    assert heard.payload == b"long"
    assert heard.properties["message_expiry_interval"] < 100
    assert late.inbox.empty()


# ---- sessions and wills -------------------------------------------------------------------------


@feature()
async def a_session_lasts_as_long_as_it_was_asked_to(stage: Stage, subject: Kind, other: Kind) -> None:
    """With an interval it is resumed with what it missed; without one it ends with the connection."""
    sleeper = stage.make(subject)
    assert not (await sleeper.connect(clean_start=False, session_expiry_interval=LONG)).session_present
    await sleeper.subscribe(f"{stage.root}/queue", 2)
    await sleeper.disconnect()
    sending = await stage.add(other, "other")
    for payload in numbered(5):
        await sending.publish(f"{stage.root}/queue", payload, 2)
    again = stage.make(subject)
    assert (await again.connect(clean_start=False, session_expiry_interval=LONG)).session_present
    if isinstance(again, OurTalker):
        await again.subscribe(f"{stage.root}/queue", 2)  # our client hands out what comes for a subscription
    assert await payloads(again, 5) == numbered(5)
    await again.disconnect()
    clean = stage.make(subject)
    assert not (await clean.connect(clean_start=True)).session_present
    await clean.disconnect()
    last = stage.make(subject)
    assert not (await last.connect(clean_start=False)).session_present


@feature("disconnect reasons")
async def disconnect_can_end_the_session(stage: Stage, subject: Kind, _other: Kind) -> None:
    """The session expiry interval may be changed when leaving."""
    first = await stage.add(subject, clean_start=False, session_expiry_interval=LONG)
    await first.disconnect(0, session_expiry_interval=0)
    again = stage.make(subject)
    assert not (await again.connect(clean_start=False)).session_present


@feature()
async def a_will_says_everything(stage: Stage, subject: Kind, other: Kind) -> None:
    """A will has the properties of a message."""
    watching = await stage.add(other, "other")
    await watching.subscribe(f"{stage.root}/will", 2)
    said = {name: value for name, value in EVERYTHING.items() if name != "message_expiry_interval"}
    mortal = await stage.add(subject, will=Will(f"{stage.root}/will", b"gone", 2, properties=said))
    await mortal.die()
    heard = await watching.receive()
    said.pop("payload_format_indicator")
    assert (heard.payload, heard.qos) == (b"gone", 2)
    assert {name: heard.properties.get(name) for name in said} == said


@feature()
async def a_will_waits_for_its_delay(stage: Stage, subject: Kind, other: Kind) -> None:
    """Who comes back in time leaves no will; where the session ends before the delay, the will is due then."""
    watching = await stage.add(other, "other")
    await watching.subscribe(f"{stage.root}/will/+", 1)

    def will(name: str) -> Will:
        return Will(f"{stage.root}/will/{name}", name.encode(), properties={"will_delay_interval": LONG})

    mortal = await stage.add(subject, "back", clean_start=False, session_expiry_interval=LONG, will=will("back"))
    await mortal.die()
    back = stage.make(subject, "back")
    assert (await back.connect(clean_start=False, session_expiry_interval=LONG)).session_present
    await back.disconnect()
    gone = await stage.add(subject, "gone", session_expiry_interval=1, will=will("gone"))
    await gone.die()
    assert (await watching.receive()).payload == b"gone"
    assert watching.inbox.empty()


@feature("disconnect reasons")
async def disconnect_can_ask_for_the_will(stage: Stage, subject: Kind, other: Kind) -> None:
    """DISCONNECT with 0x04 publishes it, 0x00 does not."""
    watching = await stage.add(other, "other")
    await watching.subscribe(f"{stage.root}/will/+", 1)
    for name, reason in (("quiet", 0), ("loud", 4)):
        leaving = await stage.add(subject, name, will=Will(f"{stage.root}/will/{name}", name.encode()))
        await leaving.disconnect(reason)
    assert (await watching.receive()).payload == b"loud"
    assert watching.inbox.empty()


@feature("the reason of DISCONNECT")
async def a_session_is_taken_over(stage: Stage, subject: Kind, _other: Kind) -> None:
    """The older connection is told so."""
    older = await stage.add(subject)
    await stage.add(subject)
    reason = await older.ended()
    assert reason == 0x8E or (stage.broker is None and reason is None)  # mosquitto 2.0 only closes


# ---- subscriptions ------------------------------------------------------------------------------


@feature("chosen subscription identifiers")
async def subscription_identifiers_come_back(stage: Stage, subject: Kind, other: Kind) -> None:
    """Each message says for which of overlapping subscriptions it came."""
    listening, sending = await stage.add(subject), await stage.add(other, "other")
    await listening.subscribe(f"{stage.root}/+", 1, subscription_identifier=7)
    await listening.subscribe(f"{stage.root}/a", 1, subscription_identifier=268_435_455)
    await sending.publish(f"{stage.root}/b", b"b", 1)
    await sending.publish(f"{stage.root}/a", b"a", 1)
    assert (await listening.receive()).properties["subscription_identifiers"] == (7,)
    ids = list((await listening.receive()).properties["subscription_identifiers"])
    if len(ids) == 1:  # the broker sends a copy for each
        ids += (await listening.receive()).properties["subscription_identifiers"]
    assert sorted(ids) == [7, 268_435_455]


@feature()
async def no_local_keeps_their_own_away(stage: Stage, subject: Kind, other: Kind) -> None:
    """What a client publishes itself does not come back to it."""
    talking, sending = await stage.add(subject), await stage.add(other, "other")
    await talking.subscribe(f"{stage.root}/room", 1, no_local=True)
    await talking.publish(f"{stage.root}/room", b"mine", 1)
    await sending.publish(f"{stage.root}/room", b"theirs", 1)
    assert (await talking.receive()).payload == b"theirs"
    assert talking.inbox.empty()


@feature()
async def the_retain_flag_stays_where_asked_for(stage: Stage, subject: Kind, other: Kind) -> None:
    """Retain As Published."""
    sending = await stage.add(other, "other")
    for name, keeps in (("kept", True), ("plain", False)):
        listening = await stage.add(subject, name)
        await listening.subscribe(f"{stage.root}/{name}", 1, retain_as_published=keeps)
        await sending.publish(f"{stage.root}/{name}", b"value", 1, retain=True)
        assert (await listening.receive()).retain is keeps
        await sending.publish(f"{stage.root}/{name}", b"", 1, retain=True)


async def _hears_retained(stage: Stage, listening: Talker, sending: Talker, handling: int) -> bool:
    """Subscribe, and say whether the retained message came before one that is published now."""
    topic, marker = f"{stage.root}/kept", f"{stage.root}/marker/{secrets.token_hex(2)}"
    await listening.subscribe(topic, 1, retain_handling=handling)
    await listening.subscribe(marker, 1)
    await sending.publish(marker, b"marker", 1)
    first = await listening.receive()
    if first.retain:
        assert (await listening.receive()).payload == b"marker"
    return first.retain


@feature()
async def retained_messages_come_when_wanted(stage: Stage, subject: Kind, other: Kind) -> None:
    """Retain Handling of a new subscription: always, if it is new, never."""
    sending = await stage.add(other, "other")
    await sending.publish(f"{stage.root}/kept", b"kept", 1, retain=True)
    for handling, comes in ((0, True), (1, True), (2, False)):
        listening = await stage.add(subject, f"handling-{handling}")
        assert await _hears_retained(stage, listening, sending, handling) is comes
    await sending.publish(f"{stage.root}/kept", b"", 1, retain=True)


@feature("subscribing again")
async def retained_messages_come_again_when_wanted(stage: Stage, subject: Kind, other: Kind) -> None:
    """Retain Handling of a subscription that is there already."""
    sending = await stage.add(other, "other")
    await sending.publish(f"{stage.root}/kept", b"kept", 1, retain=True)
    for handling, comes in ((0, True), (1, False), (2, False)):
        listening = await stage.add(subject, f"handling-{handling}")
        await _hears_retained(stage, listening, sending, handling)
        assert await _hears_retained(stage, listening, sending, handling) is comes
    await sending.publish(f"{stage.root}/kept", b"", 1, retain=True)


@feature("reason codes of acknowledgements")
async def acknowledgements_say_what_became_of_it(stage: Stage, subject: Kind, _other: Kind) -> None:
    """No matching subscribers, no such subscription, and what was granted."""
    talking = await stage.add(subject)
    assert await talking.publish(f"{stage.root}/nobody", b"", 1) == 0x10
    assert await talking.subscribe(f"{stage.root}/somebody", 2) == 2
    assert await talking.publish(f"{stage.root}/somebody", b"", 1) == 0
    assert await talking.unsubscribe(f"{stage.root}/somebody") == 0
    assert await talking.publish(f"{stage.root}/somebody", b"", 1) == 0x10


@feature("unsubscribing from nothing")
async def nothing_to_unsubscribe_from_is_said(stage: Stage, subject: Kind, _other: Kind) -> None:
    """UNSUBACK has a code of its own for it."""
    talking = await stage.add(subject)
    assert await talking.unsubscribe(f"{stage.root}/nothing") == 0x11


@feature(broker={"limits": rmqtt.Limits(subscriptions_max=1)})
async def a_subscription_may_be_refused(stage: Stage, subject: Kind, _other: Kind) -> None:
    """SUBACK with a failure, and the connection goes on."""
    talking = await stage.add(subject)
    assert await talking.subscribe(f"{stage.root}/a", 1) == 1
    assert await talking.subscribe(f"{stage.root}/b", 1) == 0x97
    await talking.publish(f"{stage.root}/a", b"still here", 1)
    assert (await talking.receive()).payload == b"still here"


@feature()
async def a_group_shares_the_messages(stage: Stage, subject: Kind, other: Kind) -> None:
    """Every message goes to one member, every member gets some, and who is not in the group gets all."""
    members = [await stage.add(subject, f"member-{number}") for number in range(3)]
    sending, watching = await stage.add(other, "other"), await stage.add(other, "watching")
    for member in members:
        assert await member.subscribe(f"$share/{stage.root.replace('/', '-')}/{stage.root}/job", 1) == 1
    await watching.subscribe(f"{stage.root}/job", 1)
    for payload in numbered(30):
        await sending.publish(f"{stage.root}/job", payload, 1)
    assert await payloads(watching, 30) == numbered(30)
    got: list[list[bytes]] = [[] for _ in members]
    has_all = asyncio.Event()

    async def collect(each: list[bytes], member: Talker) -> None:
        while True:
            each.append((await member.inbox.get()).payload)
            if sum(map(len, got)) >= 30:
                has_all.set()

    collectors = [asyncio.create_task(collect(each, member)) for each, member in zip(got, members, strict=True)]
    try:
        async with asyncio.timeout(DEADLINE):
            await has_all.wait()
    finally:
        for collector in collectors:
            collector.cancel()
    assert sorted(payload for each in got for payload in each) == numbered(30)
    assert all(got), "every member has its share"


@feature("user properties of SUBSCRIBE")
async def subscriptions_may_bear_user_properties(stage: Stage, subject: Kind, _other: Kind) -> None:
    """They mean nothing to the broker, and are no fault."""
    talking = await stage.add(subject, user_properties=(("who", "me"),))
    assert await talking.subscribe(f"{stage.root}/a", 1, user_properties=(("why", "test"),)) == 1


# ---- limits -------------------------------------------------------------------------------------


@feature()
async def one_message_at_a_time_is_enough(stage: Stage, subject: Kind, other: Kind) -> None:
    """With a Receive Maximum of 1 all messages come, one after the other."""
    listening, sending = await stage.add(subject, receive_maximum=1), await stage.add(other, "other")
    await listening.subscribe(f"{stage.root}/queue", 2)
    for number, payload in enumerate(numbered(20)):
        qos: QoS = 1 if number % 2 else 2
        await sending.publish(f"{stage.root}/queue", payload, qos)
    assert await payloads(listening, 20) == numbered(20)


@feature(broker={"limits": rmqtt.Limits(receive_maximum=2)})
async def they_keep_to_the_brokers_window(stage: Stage, subject: Kind, other: Kind) -> None:
    """A broker that takes two messages at a time gets all of them."""
    sending, listening = await stage.add(subject), await stage.add(other, "other")
    await listening.subscribe(f"{stage.root}/queue", 2)
    if isinstance(sending, OurTalker):
        await asyncio.gather(*(sending.publish(f"{stage.root}/queue", payload, 2) for payload in numbered(20)))
    else:  # none of the others looks at the window
        for payload in numbered(20):
            await sending.publish(f"{stage.root}/queue", payload, 2)
    assert await payloads(listening, 20) == numbered(20)


@feature()
async def what_they_cannot_take_does_not_come(stage: Stage, subject: Kind, other: Kind) -> None:
    """Maximum Packet Size: a larger message is left out, the next one comes."""
    listening, sending = await stage.add(subject, maximum_packet_size=500), await stage.add(other, "other")
    await listening.subscribe(f"{stage.root}/#", 1)
    await sending.publish(f"{stage.root}/large", bytes(600), 1)
    await sending.publish(f"{stage.root}/small", b"small", 1)
    assert (await listening.receive()).payload == b"small"


@feature("publishing beyond the limits", broker={"limits": rmqtt.Limits(packet_size_max=500)})
async def who_sends_too_much_is_told(stage: Stage, subject: Kind, _other: Kind) -> None:
    """The broker says what it takes, and ends the connection of who sends more."""
    talking = stage.make(subject)
    assert (await talking.connect()).properties["maximum_packet_size"] == 500
    exchange = asyncio.ensure_future(talking.publish(f"{stage.root}/large", bytes(600), 1))
    assert await talking.ended() in ({None} if "the reason of DISCONNECT" in subject.LACKS else {0x95})
    exchange.cancel()
    await asyncio.gather(exchange, return_exceptions=True)


@feature("chosen topic aliases")
async def their_topic_aliases_are_understood(stage: Stage, subject: Kind, other: Kind) -> None:
    """A number in place of a topic that came before, and another topic for the same number."""
    sending, listening = stage.make(subject), await stage.add(other, "other")
    assert (await sending.connect()).properties["topic_alias_maximum"] > 0
    await listening.subscribe(f"{stage.root}/#", 1)
    for topic in ("a", "b"):
        await sending.publish(f"{stage.root}/{topic}", topic.encode(), 1, topic_alias=1)
        await sending.publish("", topic.encode(), 1, topic_alias=1)
    heard = [await listening.receive() for _ in range(4)]
    assert [message.topic.removeprefix(stage.root) for message in heard] == ["/a", "/a", "/b", "/b"]
    assert [message.payload for message in heard] == [b"a", b"a", b"b", b"b"]


@feature("understanding topic aliases")
async def topic_aliases_towards_them_are_understood(stage: Stage, subject: Kind, other: Kind) -> None:
    """A broker that may use aliases must be understood where it does."""
    listening, sending = await stage.add(subject, topic_alias_maximum=2), await stage.add(other, "other")
    await listening.subscribe(f"{stage.root}/#", 1)
    topics = [f"{stage.root}/a/long/enough/topic/{number % 3}" for number in range(12)]
    for topic in topics:
        await sending.publish(topic, topic.encode(), 1)
    heard = [await listening.receive() for _ in topics]
    assert [(message.topic, message.payload) for message in heard] == [(topic, topic.encode()) for topic in topics]
    if stage.broker and isinstance(listening, JsTalker):
        assert (await listening.aliases())["received"] > 0, "our broker uses them where it may"


@feature()
async def aliases_they_choose_themselves_are_understood(stage: Stage, subject: Kind, other: Kind) -> None:
    """More topics than the broker takes aliases for, again and again."""
    sending, listening = stage.make(subject), await stage.add(other, "other")
    if isinstance(sending, JsTalker):
        sending.options["autoAssignTopicAlias"] = True
    assert (await sending.connect()).properties["topic_alias_maximum"] > 0
    await listening.subscribe(f"{stage.root}/#", 1)
    topics = [f"{stage.root}/a/long/enough/topic/{number % 20}" for number in range(60)]
    for topic in topics:
        await sending.publish(topic, topic.encode(), 1)
    heard = [await listening.receive() for _ in topics]
    assert [(message.topic, message.payload) for message in heard] == [(topic, topic.encode()) for topic in topics]
    if isinstance(sending, JsTalker):
        assert (await sending.aliases())["sent"] > 0


# ---- what the broker says of itself -------------------------------------------------------------


@feature("an assigned client id")
async def the_nameless_get_a_name(stage: Stage, subject: Kind, _other: Kind) -> None:
    """Assigned Client Identifier."""
    answer = await stage.make(subject, "").connect()
    assert answer.properties["assigned_client_identifier"]


@feature(broker={"limits": rmqtt.Limits(keep_alive_max=7, session_expiry_max=50)})
async def the_brokers_wishes_are_heard(stage: Stage, subject: Kind, _other: Kind) -> None:
    """Server Keep Alive, and a session expiry interval under the ceiling."""
    answer = await stage.make(subject).connect(keep_alive=60, session_expiry_interval=100)
    assert answer.properties["server_keep_alive"] == 7
    assert answer.properties["session_expiry_interval"] == 50


@feature("the reason of DISCONNECT", broker={})
async def they_are_told_why_they_have_to_go(stage: Stage, subject: Kind, _other: Kind) -> None:
    """By order, and when the broker stops."""
    assert stage.broker is not None
    one, two = await stage.add(subject, "one"), await stage.add(subject, "two")
    assert await stage.broker.disconnect(one.client_id)
    assert await one.ended() == 0x98
    await asyncio.to_thread(stage.broker.stop)
    assert await two.ended() == 0x8B


@feature(broker={"features": rmqtt.Features(maximum_qos=1, retain=False, wildcard_subscriptions=False)})
async def what_the_broker_lacks_is_announced(stage: Stage, subject: Kind, _other: Kind) -> None:
    """Maximum QoS, Retain Available, Wildcard Subscription Available."""
    talking = stage.make(subject)
    said = (await talking.connect()).properties
    assert (said["maximum_qos"], said["retain_available"]) == (1, 0)
    assert said["wildcard_subscription_available"] == 0
    assert await talking.subscribe(f"{stage.root}/a", 2) == 1


@feature(broker={"limits": rmqtt.Limits(sessions_max=1)})
async def a_refusal_says_why(stage: Stage, subject: Kind, _other: Kind) -> None:
    """CONNACK with a failure."""
    await stage.add(subject, "one")
    with pytest.raises(RefusedError) as refusal:
        await stage.add(subject, "two")
    assert refusal.value.reason == 0x97
