"""MQTT 3.1.1 and 5.0: codec, async client and embeddable broker.

>>> import asyncio, rmqtt
>>> async def main():
...     async with rmqtt.Broker("mqtt://127.0.0.1:0") as broker, rmqtt.Client(broker.url) as client:
...         async with client.subscribe("plant/+/temperature", qos=1) as readings:
...             await client.publish("plant/7/temperature", b"21.5", qos=1)
...             async for message in readings:
...                 return message.topic, message.payload
>>> asyncio.run(main())
('plant/7/temperature', b'21.5')

The names are loaded when they are first used, so that ``import rmqtt`` costs next to nothing.
"""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from rmqtt._acl import Acl, AclFile
    from rmqtt._auth import AuthHandler, ScramSha256
    from rmqtt._broker import Broker
    from rmqtt._client import Client
    from rmqtt._events import (
        Connected,
        Disconnected,
        Dropped,
        Event,
        HandlerFailed,
        Resubscribed,
        ServerRedirect,
        SessionForgotten,
    )
    from rmqtt._explain import Explanation, explain
    from rmqtt._hooks import Login
    from rmqtt._limits import Limits
    from rmqtt._messages import Outgoing, Properties, Will
    from rmqtt._outbox import Outbox
    from rmqtt._peer import ClientInfo, PeerCertificate, SessionInfo
    from rmqtt._receipt import Receipt, SyncReceipt
    from rmqtt._responder import Responder, SyncResponder
    from rmqtt._results import ManyResult, Negotiated, UnsubscribeResult
    from rmqtt._rmqtt import Message, PublishResult, topic_matches
    from rmqtt._stats import BrokerStats, ClientStats, RoundTrip, SubscriptionStats
    from rmqtt._subscription import Subscription
    from rmqtt._sync import SyncClient
    from rmqtt._sync_subscription import SyncSubscription
    from rmqtt._topics import TopicMatcher, TopicTemplate
    from rmqtt._transport import TLS, Listener
    from rmqtt._types import Features, QoS, ReasonCode, Reconnect
    from rmqtt._users import JWT, AuthLimits, PasswordFile
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
    from rmqtt.exceptions import (
        AuthenticationFailed,
        BindError,
        BrokerError,
        Closed,
        ConnectFailed,
        ConnectionLost,
        ConnectRefused,
        IncompletePacket,
        MalformedPacket,
        MessageDropped,
        MessageExpired,
        MqttError,
        MqttTimeout,
        NotConnected,
        NotSupportedByBroker,
        PacketTooLarge,
        ProtocolError,
        PublishRefused,
        QueueFull,
        RequestFailed,
        ServerDisconnected,
        SessionLost,
        StorageError,
        SubscribeRefused,
        TopicError,
        UnsubscribeRefused,
    )

__all__ = [
    "JWT",
    "TLS",
    "Acl",
    "AclFile",
    "Auth",
    "AuthHandler",
    "AuthLimits",
    "AuthenticationFailed",
    "BindError",
    "Broker",
    "BrokerError",
    "BrokerStats",
    "Client",
    "ClientInfo",
    "ClientStats",
    "Closed",
    "Codec",
    "ConnAck",
    "Connect",
    "ConnectFailed",
    "ConnectRefused",
    "Connected",
    "ConnectionLost",
    "Disconnect",
    "Disconnected",
    "Dropped",
    "Event",
    "Explanation",
    "Features",
    "HandlerFailed",
    "IncompletePacket",
    "Limits",
    "Listener",
    "Login",
    "MalformedPacket",
    "ManyResult",
    "Message",
    "MessageDropped",
    "MessageExpired",
    "MqttError",
    "MqttTimeout",
    "Negotiated",
    "NotConnected",
    "NotSupportedByBroker",
    "Outbox",
    "Outgoing",
    "Packet",
    "PacketTooLarge",
    "PasswordFile",
    "PeerCertificate",
    "PingReq",
    "PingResp",
    "Properties",
    "ProtocolError",
    "PubAck",
    "PubComp",
    "PubRec",
    "PubRel",
    "Publish",
    "PublishRefused",
    "PublishResult",
    "QoS",
    "QueueFull",
    "ReasonCode",
    "Receipt",
    "Reconnect",
    "RequestFailed",
    "Responder",
    "Resubscribed",
    "RoundTrip",
    "ScramSha256",
    "ServerDisconnected",
    "ServerRedirect",
    "SessionForgotten",
    "SessionInfo",
    "SessionLost",
    "StorageError",
    "SubAck",
    "Subscribe",
    "SubscribeFilter",
    "SubscribeRefused",
    "Subscription",
    "SubscriptionStats",
    "SyncClient",
    "SyncReceipt",
    "SyncResponder",
    "SyncSubscription",
    "TopicError",
    "TopicMatcher",
    "TopicTemplate",
    "UnsubAck",
    "Unsubscribe",
    "UnsubscribeRefused",
    "UnsubscribeResult",
    "Will",
    "WillMessage",
    "decode",
    "encode",
    "explain",
    "topic_matches",
]

# Which module a name comes from; what is not listed is an exception.
_HOMES = {
    "_acl": ("Acl", "AclFile"),
    "_auth": ("AuthHandler", "ScramSha256"),
    "_broker": ("Broker",),
    "_client": ("Client",),
    "_events": (
        "Connected",
        "Disconnected",
        "Dropped",
        "Event",
        "HandlerFailed",
        "Resubscribed",
        "ServerRedirect",
        "SessionForgotten",
    ),
    "_explain": ("Explanation", "explain"),
    "_hooks": ("Login",),
    "_limits": ("Limits",),
    "_messages": ("Outgoing", "Properties", "Will"),
    "_outbox": ("Outbox",),
    "_peer": ("ClientInfo", "PeerCertificate", "SessionInfo"),
    "_receipt": ("Receipt", "SyncReceipt"),
    "_responder": ("Responder", "SyncResponder"),
    "_results": ("ManyResult", "Negotiated", "UnsubscribeResult"),
    "_rmqtt": ("Message", "PublishResult", "topic_matches"),
    "_stats": ("BrokerStats", "ClientStats", "RoundTrip", "SubscriptionStats"),
    "_subscription": ("Subscription",),
    "_sync": ("SyncClient",),
    "_sync_subscription": ("SyncSubscription",),
    "_topics": ("TopicMatcher", "TopicTemplate"),
    "_transport": ("TLS", "Listener"),
    "_types": ("Features", "QoS", "ReasonCode", "Reconnect"),
    "_users": ("JWT", "AuthLimits", "PasswordFile"),
    "codec": (
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
    ),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}


def __getattr__(name: str) -> object:
    if name not in __all__:
        raise AttributeError(f"module 'rmqtt' has no attribute {name!r}")
    from importlib import import_module  # noqa: PLC0415 - loaded when first needed, as everything here

    value = getattr(import_module(f"rmqtt.{_HOME_OF.get(name, 'exceptions')}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
