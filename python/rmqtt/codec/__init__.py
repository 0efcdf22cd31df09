"""Packets as values, and the codec between them and bytes: no socket, no clock, no event loop.

One class for each kind of packet. They are frozen, compare by value, and take keywords only; the fields of a packet
that it may leave out have defaults. `None` means that a field is not on the wire, and what that means is for the
standard to say. Properties belong to MQTT 5: under 3.1.1 they are not written. Codes and QoS may be given as plain
numbers, lists as any sequence: each becomes the one form that is shown.

`encode` and `decode` are for single packets, `Codec` is for a connection, whose bytes arrive in pieces.
`rmqtt.explain` shows what each byte of a packet means.

>>> from rmqtt import codec
>>> data = codec.encode(codec.Publish(topic="plant/7/temperature", payload=b"21.5"))
>>> codec.decode(data)[0].payload
b'21.5'
"""

from rmqtt._rmqtt import decode, encode
from rmqtt.codec._codec import PACKET_SIZE_MAX as PACKET_SIZE_MAX
from rmqtt.codec._codec import Codec, Packet
from rmqtt.codec._connect import ConnAck, Connect, WillMessage
from rmqtt.codec._control import Auth, Disconnect, PingReq, PingResp
from rmqtt.codec._publish import PubAck, PubComp, Publish, PubRec, PubRel
from rmqtt.codec._subscribe import SubAck, Subscribe, SubscribeFilter, UnsubAck, Unsubscribe

__all__ = [
    "Auth",
    "Codec",
    "ConnAck",
    "Connect",
    "Disconnect",
    "Packet",
    "PingReq",
    "PingResp",
    "PubAck",
    "PubComp",
    "PubRec",
    "PubRel",
    "Publish",
    "SubAck",
    "Subscribe",
    "SubscribeFilter",
    "UnsubAck",
    "Unsubscribe",
    "WillMessage",
    "decode",
    "encode",
]
