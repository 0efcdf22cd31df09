//! The control packets as plain structs. What a field means in bytes is the business of the files beside this one.

use super::{ProtocolVersion, ReasonCode};
use crate::message::{Message, QoS, UserProperty};
use bytes::Bytes;
use bytestring::ByteString;
use std::fmt;
use std::num::{NonZeroU16, NonZeroU32};

/// Names one exchange that is under way in one direction of one session. Never 0.
///
/// spec(4): MQTT-2.3.1-1
/// spec(5): MQTT-2.2.1-3
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PacketId(NonZeroU16);

impl PacketId {
    /// The packet id with this number, unless it is 0.
    pub fn new(number: u16) -> Option<Self> {
        NonZeroU16::new(number).map(Self)
    }

    /// Its number.
    pub fn get(self) -> u16 {
        self.0.get()
    }
}

impl fmt::Display for PacketId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The kinds of packet, with the number each has in the upper half of its first byte.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
#[allow(missing_docs, reason = "each is the packet of its name")]
pub enum PacketType {
    Connect = 1,
    ConnAck = 2,
    Publish = 3,
    PubAck = 4,
    PubRec = 5,
    PubRel = 6,
    PubComp = 7,
    Subscribe = 8,
    SubAck = 9,
    Unsubscribe = 10,
    UnsubAck = 11,
    PingReq = 12,
    PingResp = 13,
    Disconnect = 14,
    Auth = 15,
}

impl PacketType {
    /// The kind with this number, if it is 1 to 15.
    pub fn from_number(number: u8) -> Option<Self> {
        Some(match number {
            1 => Self::Connect,
            2 => Self::ConnAck,
            3 => Self::Publish,
            4 => Self::PubAck,
            5 => Self::PubRec,
            6 => Self::PubRel,
            7 => Self::PubComp,
            8 => Self::Subscribe,
            9 => Self::SubAck,
            10 => Self::Unsubscribe,
            11 => Self::UnsubAck,
            12 => Self::PingReq,
            13 => Self::PingResp,
            14 => Self::Disconnect,
            15 => Self::Auth,
            _ => return None,
        })
    }

    /// Its number in the upper half of the first byte.
    pub fn number(self) -> u8 {
        self as u8
    }

    /// Its name as the standard writes it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Connect => "CONNECT",
            Self::ConnAck => "CONNACK",
            Self::Publish => "PUBLISH",
            Self::PubAck => "PUBACK",
            Self::PubRec => "PUBREC",
            Self::PubRel => "PUBREL",
            Self::PubComp => "PUBCOMP",
            Self::Subscribe => "SUBSCRIBE",
            Self::SubAck => "SUBACK",
            Self::Unsubscribe => "UNSUBSCRIBE",
            Self::UnsubAck => "UNSUBACK",
            Self::PingReq => "PINGREQ",
            Self::PingResp => "PINGRESP",
            Self::Disconnect => "DISCONNECT",
            Self::Auth => "AUTH",
        }
    }
}

/// A control packet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Packet {
    /// The client asks for a connection.
    Connect(Box<Connect>),
    /// The server grants or refuses it.
    ConnAck(Box<ConnAck>),
    /// A message.
    Publish(Publish),
    /// PUBACK, PUBREC, PUBREL or PUBCOMP.
    Ack(Ack),
    /// The client asks for messages.
    Subscribe(Subscribe),
    /// The answer to it.
    SubAck(SubAck),
    /// The client wants no more of them.
    Unsubscribe(Unsubscribe),
    /// The answer to it.
    UnsubAck(UnsubAck),
    /// The client is alive.
    PingReq,
    /// So is the server.
    PingResp,
    /// The sender ends the connection on purpose.
    Disconnect(Disconnect),
    /// A step of an enhanced authentication (MQTT 5).
    Auth(Auth),
}

impl Packet {
    /// The kind of this packet.
    pub fn packet_type(&self) -> PacketType {
        match self {
            Self::Connect(_) => PacketType::Connect,
            Self::ConnAck(_) => PacketType::ConnAck,
            Self::Publish(_) => PacketType::Publish,
            Self::Ack(ack) => ack.kind.packet_type(),
            Self::Subscribe(_) => PacketType::Subscribe,
            Self::SubAck(_) => PacketType::SubAck,
            Self::Unsubscribe(_) => PacketType::Unsubscribe,
            Self::UnsubAck(_) => PacketType::UnsubAck,
            Self::PingReq => PacketType::PingReq,
            Self::PingResp => PacketType::PingResp,
            Self::Disconnect(_) => PacketType::Disconnect,
            Self::Auth(_) => PacketType::Auth,
        }
    }
}

/// CONNECT. `Debug` shows how long the password is, and not what.
#[derive(Clone, PartialEq, Eq)]
pub struct Connect {
    /// What it speaks; encoded by this, whatever `encode` is told.
    pub version: ProtocolVersion,
    /// Clean Session of 3.1.1, Clean Start of 5.0.
    pub clean_start: bool,
    /// Seconds between two packets of the client at most; 0: no limit.
    pub keep_alive: u16,
    /// Empty: the server chooses one.
    pub client_id: ByteString,
    /// What to publish when the client is lost.
    pub will: Option<Will>,
    /// Who it says it is.
    pub username: Option<ByteString>,
    /// The proof.
    pub password: Option<Bytes>,
    /// MQTT 5 only.
    pub properties: ConnectProperties,
}

/// Properties of a CONNECT. `None` is absent; the meaning of absence is the standard's.
/// `Debug` shows how long the authentication data are, and not what.
#[derive(Clone, PartialEq, Eq, Default)]
#[allow(missing_docs, reason = "each is the property of its name")]
pub struct ConnectProperties {
    pub session_expiry_interval: Option<u32>,
    pub receive_maximum: Option<NonZeroU16>,
    pub maximum_packet_size: Option<NonZeroU32>,
    pub topic_alias_maximum: Option<u16>,
    pub request_response_information: Option<bool>,
    pub request_problem_information: Option<bool>,
    pub authentication_method: Option<ByteString>,
    pub authentication_data: Option<Bytes>,
    pub user_properties: Vec<UserProperty>,
}

/// The message that speaks for a client that was lost, and how long to wait for its return first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Will {
    /// What to publish, with its own QoS, retain flag and properties.
    pub message: Message,
    /// Seconds to wait for the client's return (MQTT 5). `None`: not on the wire, which means 0.
    pub delay_interval: Option<u32>,
}

/// CONNACK.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConnAck {
    /// Whether the server still has the session.
    pub session_present: bool,
    /// Granted, or why not. Under 3.1.1 written as a return code: see [`ReasonCode::to_return_code`].
    pub reason: ReasonCode,
    /// MQTT 5 only.
    pub properties: ConnAckProperties,
}

/// Properties of a CONNACK. `None` is absent; the meaning of absence is the standard's.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[allow(missing_docs, reason = "each is the property of its name")]
pub struct ConnAckProperties {
    pub session_expiry_interval: Option<u32>,
    pub receive_maximum: Option<NonZeroU16>,
    pub maximum_qos: Option<QoS>,
    pub retain_available: Option<bool>,
    pub maximum_packet_size: Option<NonZeroU32>,
    pub assigned_client_identifier: Option<ByteString>,
    pub topic_alias_maximum: Option<u16>,
    pub reason_string: Option<ByteString>,
    pub user_properties: Vec<UserProperty>,
    pub wildcard_subscription_available: Option<bool>,
    pub subscription_identifiers_available: Option<bool>,
    pub shared_subscription_available: Option<bool>,
    pub server_keep_alive: Option<u16>,
    pub response_information: Option<ByteString>,
    pub server_reference: Option<ByteString>,
    pub authentication_method: Option<ByteString>,
    pub authentication_data: Option<Bytes>,
}

/// PUBLISH: a message plus what belongs to this one delivery.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Publish {
    /// The message.
    ///
    /// On the wire its topic may be empty, when `topic_alias` stands for it; then `topic_on_wire` is false and
    /// `message.topic` is a placeholder until the receiver has looked the alias up.
    pub message: Message,
    /// Present exactly with QoS 1 and 2.
    pub packet_id: Option<PacketId>,
    /// Sent before.
    pub dup: bool,
    /// A number that stands, or from now on shall stand, for the topic (MQTT 5). 0 never gets here.
    pub topic_alias: Option<NonZeroU16>,
    /// `false`: only the alias is on the wire.
    pub topic_on_wire: bool,
    /// Which of the receiver's subscriptions the message is for (MQTT 5). From a server only.
    pub subscription_ids: Vec<NonZeroU32>,
}

impl Publish {
    /// A first sending of `message`, without packet id: right for QoS 0; the session adds the id for the others.
    pub fn new(message: Message) -> Self {
        Self {
            message,
            packet_id: None,
            dup: false,
            topic_alias: None,
            topic_on_wire: true,
            subscription_ids: Vec::new(),
        }
    }
}

/// Which of the four acknowledgements.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[allow(missing_docs, reason = "each is the packet of its name")]
pub enum AckKind {
    PubAck,
    PubRec,
    PubRel,
    PubComp,
}

impl AckKind {
    /// The kind of packet it is.
    pub fn packet_type(self) -> PacketType {
        match self {
            Self::PubAck => PacketType::PubAck,
            Self::PubRec => PacketType::PubRec,
            Self::PubRel => PacketType::PubRel,
            Self::PubComp => PacketType::PubComp,
        }
    }
}

/// PUBACK, PUBREC, PUBREL or PUBCOMP: one form, four meanings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ack {
    /// Which one.
    pub kind: AckKind,
    /// The exchange it belongs to.
    pub packet_id: PacketId,
    /// How it went. Always [`ReasonCode::Success`] under 3.1.1.
    pub reason: ReasonCode,
    /// MQTT 5 only, and rare.
    pub properties: Option<Box<AckProperties>>,
}

impl Ack {
    /// An acknowledgement without properties.
    pub fn new(kind: AckKind, packet_id: PacketId, reason: ReasonCode) -> Self {
        Self {
            kind,
            packet_id,
            reason,
            properties: None,
        }
    }
}

/// What an answer may say beside its code: acknowledgements, SUBACK, UNSUBACK.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct AckProperties {
    /// For people and logs.
    pub reason_string: Option<ByteString>,
    /// The sender's own names and values.
    pub user_properties: Vec<UserProperty>,
}

/// SUBSCRIBE.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subscribe {
    /// The exchange.
    pub packet_id: PacketId,
    /// At least one.
    pub filters: Vec<SubscribeFilter>,
    /// Comes back with each message (MQTT 5).
    pub subscription_id: Option<NonZeroU32>,
    /// MQTT 5 only.
    pub user_properties: Vec<UserProperty>,
}

/// One line of a SUBSCRIBE.
///
/// The filter is text that is valid UTF-8 and no more: a badly formed filter is refused in SUBACK, not by closing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SubscribeFilter {
    /// What is asked for.
    pub filter: ByteString,
    /// How.
    pub options: SubscriptionOptions,
}

/// How a subscription wants its messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SubscriptionOptions {
    /// The highest QoS to deliver with.
    pub qos: QoS,
    /// Do not send me what I published (MQTT 5).
    pub no_local: bool,
    /// Keep the retain flag as it was published (MQTT 5).
    pub retain_as_published: bool,
    /// Whether retained messages come at subscription (MQTT 5).
    pub retain_handling: RetainHandling,
}

/// Whether retained messages come at subscription.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[repr(u8)]
pub enum RetainHandling {
    /// Always.
    #[default]
    Always = 0,
    /// Only if the subscription was not there before.
    IfNew = 1,
    /// Never.
    Never = 2,
}

/// SUBACK: one code for each filter, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SubAck {
    /// The exchange.
    pub packet_id: PacketId,
    /// The granted QoS (`GrantedQoS0` …) or the refusal of each filter.
    pub reasons: Vec<ReasonCode>,
    /// MQTT 5 only, and rare.
    pub properties: Option<Box<AckProperties>>,
}

/// UNSUBSCRIBE.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unsubscribe {
    /// The exchange.
    pub packet_id: PacketId,
    /// At least one; see [`SubscribeFilter`] on their form.
    pub filters: Vec<ByteString>,
    /// MQTT 5 only.
    pub user_properties: Vec<UserProperty>,
}

/// UNSUBACK. Under 3.1.1 it has no codes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnsubAck {
    /// The exchange.
    pub packet_id: PacketId,
    /// One for each filter, in order; empty under 3.1.1.
    pub reasons: Vec<ReasonCode>,
    /// MQTT 5 only, and rare.
    pub properties: Option<Box<AckProperties>>,
}

/// DISCONNECT. Under 3.1.1 it is two bytes and means [`ReasonCode::Success`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Disconnect {
    /// Why.
    pub reason: ReasonCode,
    /// From a client: the new session expiry interval, in seconds.
    pub session_expiry_interval: Option<u32>,
    /// For people and logs.
    pub reason_string: Option<ByteString>,
    /// From a server: where to go instead.
    pub server_reference: Option<ByteString>,
    /// The sender's own names and values.
    pub user_properties: Vec<UserProperty>,
}

impl Disconnect {
    /// A DISCONNECT without properties.
    pub fn new(reason: ReasonCode) -> Self {
        Self {
            reason,
            session_expiry_interval: None,
            reason_string: None,
            server_reference: None,
            user_properties: Vec::new(),
        }
    }
}

/// AUTH (MQTT 5). `Debug` shows how long the data are, and not what.
#[derive(Clone, PartialEq, Eq)]
pub struct Auth {
    /// Success, continue, or authenticate again.
    pub reason: ReasonCode,
    /// Which mechanism. The decoder refuses an AUTH without one.
    pub method: ByteString,
    /// The mechanism's own bytes.
    pub data: Option<Bytes>,
    /// For people and logs.
    pub reason_string: Option<ByteString>,
    /// The sender's own names and values.
    pub user_properties: Vec<UserProperty>,
}
