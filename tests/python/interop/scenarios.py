"""What any two clients of any broker must be able to do. Each scenario is told its peers and the broker's port."""

from __future__ import annotations

import asyncio
import secrets
from typing import TYPE_CHECKING, Self

from interop.peers import Peer, QoS, Setup, Version
from interop.ways import PLAIN, Way

if TYPE_CHECKING:
    from collections.abc import Sequence

COUNT = 20
#: Bytes; a broker of ours takes packets of a million.
LARGE = 900_000


class Stage:
    """Makes peers for one test, and ends them with it."""

    def __init__(self, port: int, version: Version = "5.0", way: Way = PLAIN) -> None:
        self.port = port
        self.version: Version = version
        self.way = way
        self.root = f"interop-{secrets.token_hex(4)}"
        self.peers: list[Peer] = []

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await asyncio.gather(*(peer.disconnect() for peer in self.peers), return_exceptions=True)

    async def add(
        self, kind: type[Peer], name: str, *, persistent: bool = False, will: tuple[str, bytes] | None = None
    ) -> Peer:
        """Make a peer and connect it."""
        peer = kind(Setup(self.port, self.version, f"{self.root}-{name}", persistent, will, self.way))
        self.peers.append(peer)
        await peer.connect()
        return peer

    async def gone(self, peer: Peer) -> None:
        """A peer has left by itself: it is not to be ended again."""
        self.peers.remove(peer)


def numbered(count: int = COUNT) -> Sequence[bytes]:
    """Payloads that show order and loss."""
    return [f"{number:04}".encode() for number in range(count)]


async def messages_arrive_in_order(stage: Stage, sender: type[Peer], receiver: type[Peer], qos: QoS) -> None:
    """Every message once, in order, with the QoS it was published and subscribed with."""
    listening = await stage.add(receiver, "receiver")
    await listening.subscribe(f"{stage.root}/+/value", qos)
    sending = await stage.add(sender, "sender")
    for payload in numbered():
        await sending.publish(f"{stage.root}/7/value", payload, qos)
    got = [await listening.receive() for _ in numbered()]
    assert [message.payload for message in got] == numbered()
    assert {(message.topic, message.qos, message.retain) for message in got} == {(f"{stage.root}/7/value", qos, False)}


async def messages_of_every_kind_arrive(stage: Stage, sender: type[Peer], receiver: type[Peer]) -> None:
    """Whatever their QoS is, short ones and one that is longer than any buffer on its way."""
    listening = await stage.add(receiver, "receiver")
    await listening.subscribe(f"{stage.root}/#", 2)
    sending = await stage.add(sender, "sender")
    large = secrets.token_bytes(LARGE)
    for qos in (0, 1, 2):
        for payload in (b"short", large, b"last"):
            await sending.publish(f"{stage.root}/{qos}", payload, qos)
            message = await listening.receive()
            assert (message.topic, message.qos) == (f"{stage.root}/{qos}", qos)
            assert message.payload == payload


async def retained_messages_are_kept_and_cleared(stage: Stage, sender: type[Peer], receiver: type[Peer]) -> None:
    """Who comes late gets the last value, marked as retained; an empty payload clears it."""
    topic = f"{stage.root}/kept"
    sending = await stage.add(sender, "sender")
    await sending.publish(topic, b"old", 1, retain=True)
    await sending.publish(topic, b"new", 1, retain=True)
    late = await stage.add(receiver, "late")
    await late.subscribe(f"{stage.root}/#", 1)
    message = await late.receive()
    assert (message.topic, message.payload, message.retain) == (topic, b"new", True)
    await sending.publish(topic, b"", 1, retain=True)
    cleared = await late.receive()
    assert (cleared.payload, cleared.retain) == (b"", False)
    later = await stage.add(receiver, "later")
    await later.subscribe(f"{stage.root}/#", 1)
    await sending.publish(f"{stage.root}/marker", b"marker", 1)
    assert (await later.receive()).payload == b"marker", "a cleared message must not come back"


async def a_will_is_published_for_the_dead_only(stage: Stage, mortal: type[Peer], witness: type[Peer]) -> None:
    """A connection that ends without DISCONNECT leaves its will; one that says goodbye does not."""
    watching = await stage.add(witness, "witness")
    await watching.subscribe(f"{stage.root}/will/+", 1)
    polite = await stage.add(mortal, "polite", will=(f"{stage.root}/will/polite", b"gone"))
    await polite.disconnect()
    await stage.gone(polite)
    dying = await stage.add(mortal, "dying", will=(f"{stage.root}/will/dying", b"gone"))
    await dying.die()
    await stage.gone(dying)
    message = await watching.receive()
    assert (message.topic, message.payload, message.qos) == (f"{stage.root}/will/dying", b"gone", 1)


async def a_persistent_session_keeps_what_came_meanwhile(
    stage: Stage, sleeper: type[Peer], sender: type[Peer], qos: QoS
) -> None:
    """Subscriptions and messages of QoS 1 and 2 outlive the connection."""
    sleeping = await stage.add(sleeper, "sleeper", persistent=True)
    await sleeping.subscribe(f"{stage.root}/queue", qos)
    await sleeping.disconnect()
    sending = await stage.add(sender, "sender")
    for payload in numbered():
        await sending.publish(f"{stage.root}/queue", payload, qos)
    await sleeping.connect()
    got = [await sleeping.receive() for _ in numbered()]
    assert [message.payload for message in got] == numbered()
    assert {message.qos for message in got} == {qos}
