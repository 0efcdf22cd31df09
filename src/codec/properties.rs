//! The properties of MQTT 5 as one table: number, name, form, where allowed, where it may repeat.
//!
//! Reading checks all of that here, so that the packets only say which field a value goes to. Writing goes through the
//! `put_*` functions, which leave out what is absent. What a property means is the business of whoever uses it.

use super::error::{malformed, protocol_error};
use super::wire::{Reader, Sink, Write};
use super::{AckProperties, DecodeError, EncodeError, PacketType, ReasonCode};
use crate::message::{MessageProperties, UserProperty};
use crate::topic::TopicName;
use bytes::Bytes;
use bytestring::ByteString;
use std::num::{NonZeroU16, NonZeroU32};

/// A property by its number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Id {
    PayloadFormatIndicator = 0x01,
    MessageExpiryInterval = 0x02,
    ContentType = 0x03,
    ResponseTopic = 0x08,
    CorrelationData = 0x09,
    SubscriptionIdentifier = 0x0B,
    SessionExpiryInterval = 0x11,
    AssignedClientIdentifier = 0x12,
    ServerKeepAlive = 0x13,
    AuthenticationMethod = 0x15,
    AuthenticationData = 0x16,
    RequestProblemInformation = 0x17,
    WillDelayInterval = 0x18,
    RequestResponseInformation = 0x19,
    ResponseInformation = 0x1A,
    ServerReference = 0x1C,
    ReasonString = 0x1F,
    ReceiveMaximum = 0x21,
    TopicAliasMaximum = 0x22,
    TopicAlias = 0x23,
    MaximumQoS = 0x24,
    RetainAvailable = 0x25,
    UserProperty = 0x26,
    MaximumPacketSize = 0x27,
    WildcardSubscriptionAvailable = 0x28,
    SubscriptionIdentifiersAvailable = 0x29,
    SharedSubscriptionAvailable = 0x2A,
}

/// How the value looks on the wire, and its limits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// A byte that is 0 or 1.
    Flag,
    Two,
    TwoNonZero,
    Four,
    FourNonZero,
    /// A variable byte integer that is not 0.
    Variable,
    Text,
    /// A text that is a topic name.
    Topic,
    Binary,
    /// Two texts.
    Pair,
}

/// A value that has the form of its property.
#[derive(Debug)]
pub(super) enum Value {
    Flag(bool),
    Two(u16),
    TwoNonZero(NonZeroU16),
    Four(u32),
    FourNonZero(NonZeroU32),
    Text(ByteString),
    Topic(TopicName),
    Binary(Bytes),
    Pair(ByteString, ByteString),
}

/// One line of the table.
#[derive(Debug)]
pub(super) struct Row {
    pub(super) id: Id,
    pub(super) name: &'static str,
    pub(super) form: Form,
    places: u16,
    repeats: u16,
}

/// Where properties stand, as a bit each: the number of the packet type; bit 0, which no packet has, is the will.
const WILL: u16 = 1;
const CONNECT: u16 = 1 << 1;
const CONNACK: u16 = 1 << 2;
const PUBLISH: u16 = 1 << 3;
const ACKS: u16 = 0b1111 << 4;
const SUBSCRIBE: u16 = 1 << 8;
const SUBACK: u16 = 1 << 9;
const UNSUBSCRIBE: u16 = 1 << 10;
const UNSUBACK: u16 = 1 << 11;
const DISCONNECT: u16 = 1 << 14;
const AUTH: u16 = 1 << 15;
const ANSWERS: u16 = CONNACK | ACKS | SUBACK | UNSUBACK | DISCONNECT | AUTH;
const ALL: u16 = WILL | CONNECT | PUBLISH | SUBSCRIBE | UNSUBSCRIBE | ANSWERS;

const fn row(id: Id, name: &'static str, form: Form, places: u16, repeats: u16) -> Row {
    Row {
        id,
        name,
        form,
        places,
        repeats,
    }
}

#[rustfmt::skip]
static TABLE: [Row; 27] = [
    row(Id::PayloadFormatIndicator, "Payload Format Indicator", Form::Flag, PUBLISH | WILL, 0),
    row(Id::MessageExpiryInterval, "Message Expiry Interval", Form::Four, PUBLISH | WILL, 0),
    row(Id::ContentType, "Content Type", Form::Text, PUBLISH | WILL, 0),
    row(Id::ResponseTopic, "Response Topic", Form::Topic, PUBLISH | WILL, 0),
    row(Id::CorrelationData, "Correlation Data", Form::Binary, PUBLISH | WILL, 0),
    row(Id::SubscriptionIdentifier, "Subscription Identifier", Form::Variable, PUBLISH | SUBSCRIBE, PUBLISH),
    row(Id::SessionExpiryInterval, "Session Expiry Interval", Form::Four, CONNECT | CONNACK | DISCONNECT, 0),
    row(Id::AssignedClientIdentifier, "Assigned Client Identifier", Form::Text, CONNACK, 0),
    row(Id::ServerKeepAlive, "Server Keep Alive", Form::Two, CONNACK, 0),
    row(Id::AuthenticationMethod, "Authentication Method", Form::Text, CONNECT | CONNACK | AUTH, 0),
    row(Id::AuthenticationData, "Authentication Data", Form::Binary, CONNECT | CONNACK | AUTH, 0),
    row(Id::RequestProblemInformation, "Request Problem Information", Form::Flag, CONNECT, 0),
    row(Id::WillDelayInterval, "Will Delay Interval", Form::Four, WILL, 0),
    row(Id::RequestResponseInformation, "Request Response Information", Form::Flag, CONNECT, 0),
    row(Id::ResponseInformation, "Response Information", Form::Text, CONNACK, 0),
    row(Id::ServerReference, "Server Reference", Form::Text, CONNACK | DISCONNECT, 0),
    row(Id::ReasonString, "Reason String", Form::Text, ANSWERS, 0),
    row(Id::ReceiveMaximum, "Receive Maximum", Form::TwoNonZero, CONNECT | CONNACK, 0),
    row(Id::TopicAliasMaximum, "Topic Alias Maximum", Form::Two, CONNECT | CONNACK, 0),
    row(Id::TopicAlias, "Topic Alias", Form::TwoNonZero, PUBLISH, 0),
    row(Id::MaximumQoS, "Maximum QoS", Form::Flag, CONNACK, 0),
    row(Id::RetainAvailable, "Retain Available", Form::Flag, CONNACK, 0),
    row(Id::UserProperty, "User Property", Form::Pair, ALL, ALL),
    row(Id::MaximumPacketSize, "Maximum Packet Size", Form::FourNonZero, CONNECT | CONNACK, 0),
    row(Id::WildcardSubscriptionAvailable, "Wildcard Subscription Available", Form::Flag, CONNACK, 0),
    row(Id::SubscriptionIdentifiersAvailable, "Subscription Identifiers Available", Form::Flag, CONNACK, 0),
    row(Id::SharedSubscriptionAvailable, "Shared Subscription Available", Form::Flag, CONNACK, 0),
];

/// The line of the property with this number, if the standard has one.
pub(super) fn find(number: usize) -> Option<&'static Row> {
    let index = TABLE
        .binary_search_by_key(&number, |row| usize::from(row.id as u8))
        .ok()?;
    TABLE.get(index)
}

/// Where a list of properties stands.
#[derive(Debug, Clone, Copy)]
pub(super) enum Place {
    Will,
    Packet(PacketType),
}

impl Place {
    fn bit(self) -> u16 {
        match self {
            Self::Will => WILL,
            Self::Packet(packet_type) => 1 << packet_type.number(),
        }
    }
}

impl Row {
    pub(super) fn is_allowed(&self, place: Place) -> bool {
        self.places & place.bit() != 0
    }

    pub(super) fn may_repeat(&self, place: Place) -> bool {
        self.repeats & place.bit() != 0
    }
}

/// A list of properties that is being read, in one pass however long it is.
#[derive(Debug)]
pub(super) struct Properties {
    rest: Reader,
    place: Place,
    seen: u64,
}

impl Properties {
    /// The list at the front of `packet`, which goes on behind it.
    pub(super) fn open(packet: &mut Reader, place: Place) -> Result<Self, DecodeError> {
        // spec(5): MQTT-2.2.2-1
        let length = packet.variable()?;
        let rest = Reader::new(packet.take(length)?, packet.version);
        Ok(Self {
            rest,
            place,
            seen: 0,
        })
    }

    /// The next property, checked against the table.
    pub(super) fn next(&mut self) -> Result<Option<(Id, Value)>, DecodeError> {
        if self.rest.is_empty() {
            return Ok(None);
        }
        let Some(row) = find(self.rest.variable()?) else {
            return Err(malformed(
                "there is no property of this number",
                "MQTT 5, 2.2.2.2",
            ));
        };
        if !row.is_allowed(self.place) {
            return Err(not_here());
        }
        let bit = 1 << (row.id as u8);
        if self.seen & bit != 0 && !row.may_repeat(self.place) {
            return Err(protocol_error(
                "a property that may occur once is repeated",
                "MQTT 5, 2.2.2.2",
            ));
        }
        self.seen |= bit;
        Ok(Some((row.id, read_value(&mut self.rest, row)?)))
    }
}

fn read_value(rest: &mut Reader, row: &Row) -> Result<Value, DecodeError> {
    Ok(match row.form {
        Form::Flag => match rest.byte()? {
            0 => Value::Flag(false),
            1 => Value::Flag(true),
            _ => return Err(out_of_range(row.id)),
        },
        Form::Two => Value::Two(rest.two()?),
        Form::TwoNonZero => {
            let number = NonZeroU16::new(rest.two()?);
            Value::TwoNonZero(number.ok_or_else(|| out_of_range(row.id))?)
        }
        Form::Four => Value::Four(rest.four()?),
        Form::FourNonZero => {
            let number = NonZeroU32::new(rest.four()?);
            Value::FourNonZero(number.ok_or_else(|| out_of_range(row.id))?)
        }
        Form::Variable => {
            let number = u32::try_from(rest.variable()?).ok();
            let number = number.and_then(NonZeroU32::new);
            Value::FourNonZero(number.ok_or_else(|| out_of_range(row.id))?)
        }
        // spec(5): MQTT-3.3.2-19
        Form::Text => Value::Text(rest.text()?),
        // spec(5): MQTT-3.3.2-13, MQTT-3.3.2-14
        Form::Topic => {
            let topic = TopicName::new(rest.text()?);
            Value::Topic(topic.map_err(|_| {
                protocol_error("the response topic is not a topic name", "MQTT-3.3.2-14")
            })?)
        }
        Form::Binary => Value::Binary(rest.binary()?),
        Form::Pair => Value::Pair(rest.text()?, rest.text()?),
    })
}

fn out_of_range(id: Id) -> DecodeError {
    if id == Id::TopicAlias {
        // spec(5): MQTT-3.3.2-8
        return DecodeError::NotAllowed {
            what: "the topic alias is 0",
            clause: "MQTT-3.3.2-8",
            reason: ReasonCode::TopicAliasInvalid,
        };
    }
    protocol_error(
        "the value of a property is out of its range",
        "MQTT 5, 2.2.2.2",
    )
}

/// The table and the packets agree on what is allowed where, so only [`Properties::next`] meets this one.
pub(super) fn not_here() -> DecodeError {
    malformed(
        "a property stands where it is not allowed",
        "MQTT 5, 2.2.2.2",
    )
}

/// Reads a list that holds a reason string and user properties.
pub(super) fn read_ack_properties(
    packet: &mut Reader,
    packet_type: PacketType,
) -> Result<Option<Box<AckProperties>>, DecodeError> {
    let mut list = Properties::open(packet, Place::Packet(packet_type))?;
    let mut properties: Option<Box<AckProperties>> = None;
    while let Some((id, value)) = list.next()? {
        let properties = properties.get_or_insert_default();
        match (id, value) {
            (Id::ReasonString, Value::Text(text)) => properties.reason_string = Some(text),
            (Id::UserProperty, Value::Pair(name, value)) => {
                properties.user_properties.push((name, value));
            }
            _ => return Err(not_here()),
        }
    }
    Ok(properties)
}

/// Puts one property of a message, published or willed, where it belongs.
pub(super) fn set_message_property(
    properties: &mut MessageProperties,
    id: Id,
    value: Value,
) -> Result<(), DecodeError> {
    match (id, value) {
        (Id::PayloadFormatIndicator, Value::Flag(flag)) => properties.payload_is_utf8 = Some(flag),
        (Id::MessageExpiryInterval, Value::Four(seconds)) => {
            properties.message_expiry_interval = Some(seconds);
        }
        (Id::ContentType, Value::Text(text)) => properties.content_type = Some(text),
        (Id::ResponseTopic, Value::Topic(topic)) => properties.response_topic = Some(topic),
        (Id::CorrelationData, Value::Binary(data)) => properties.correlation_data = Some(data),
        (Id::UserProperty, Value::Pair(name, value)) => {
            properties.user_properties.push((name, value));
        }
        _ => return Err(not_here()),
    }
    Ok(())
}

impl Write for AckProperties {
    fn write<S: Sink>(&self, out: &mut S) -> Result<(), EncodeError> {
        put_text(out, Id::ReasonString, self.reason_string.as_deref())?;
        put_user_properties(out, &self.user_properties)
    }
}

impl Write for MessageProperties {
    fn write<S: Sink>(&self, out: &mut S) -> Result<(), EncodeError> {
        put_flag(out, Id::PayloadFormatIndicator, self.payload_is_utf8);
        put_four(out, Id::MessageExpiryInterval, self.message_expiry_interval);
        put_text(out, Id::ContentType, self.content_type.as_deref())?;
        let response_topic = self.response_topic.as_ref().map(TopicName::as_str);
        put_text(out, Id::ResponseTopic, response_topic)?;
        put_binary(out, Id::CorrelationData, self.correlation_data.as_ref())?;
        put_user_properties(out, &self.user_properties)
    }
}

/// The empty list.
#[derive(Debug)]
pub(super) struct NoProperties;

impl Write for NoProperties {
    fn write<S: Sink>(&self, _out: &mut S) -> Result<(), EncodeError> {
        Ok(())
    }
}

pub(super) fn put_flag(out: &mut impl Sink, id: Id, value: Option<bool>) {
    if let Some(flag) = value {
        out.put(&[id as u8, u8::from(flag)]);
    }
}

pub(super) fn put_two(out: &mut impl Sink, id: Id, value: Option<u16>) {
    if let Some(number) = value {
        out.byte(id as u8);
        out.two(number);
    }
}

pub(super) fn put_four(out: &mut impl Sink, id: Id, value: Option<u32>) {
    if let Some(number) = value {
        out.byte(id as u8);
        out.four(number);
    }
}

pub(super) fn put_subscription_id(
    out: &mut impl Sink,
    number: NonZeroU32,
) -> Result<(), EncodeError> {
    let Some(value) = usize::try_from(number.get())
        .ok()
        .filter(|&value| value <= super::wire::VARIABLE_MAX)
    else {
        return Err(EncodeError::NotAllowed {
            what: "a subscription identifier is above 268435455",
            clause: "MQTT 5, 3.8.2.1.2",
        });
    };
    out.byte(Id::SubscriptionIdentifier as u8);
    out.variable(value);
    Ok(())
}

pub(super) fn put_text(
    out: &mut impl Sink,
    id: Id,
    value: Option<&str>,
) -> Result<(), EncodeError> {
    let Some(text) = value else { return Ok(()) };
    out.byte(id as u8);
    out.text(name(id), text)
}

pub(super) fn put_binary(
    out: &mut impl Sink,
    id: Id,
    value: Option<&Bytes>,
) -> Result<(), EncodeError> {
    let Some(bytes) = value else { return Ok(()) };
    out.byte(id as u8);
    out.binary(name(id), bytes)
}

pub(super) fn put_user_properties(
    out: &mut impl Sink,
    properties: &[UserProperty],
) -> Result<(), EncodeError> {
    for (name, value) in properties {
        out.byte(Id::UserProperty as u8);
        out.text("User Property name", name)?;
        out.text("User Property value", value)?;
    }
    Ok(())
}

fn name(id: Id) -> &'static str {
    find(usize::from(id as u8)).map_or("a property", |row| row.name)
}
