//! CONNECT and CONNACK, the two packets that settle which version is spoken.
//!
//! A CONNECT names its version itself, so it is read by that and not by what the connection was thought to speak.

use super::error::{malformed, protocol_error, refused};
use super::properties::{
    Id, Place, Properties, Value, not_here, put_binary, put_flag, put_four, put_text, put_two,
    put_user_properties, set_message_property,
};
use super::wire::{Reader, Sink, Write, check_shortest};
use super::{
    Connect, ConnectProperties, DecodeError, EncodeError, PacketType, ProtocolVersion, ReasonCode,
    Will,
};
use crate::message::{Message, MessageProperties, QoS};
use bytestring::ByteString;
use std::num::{NonZeroU16, NonZeroU32};
use std::sync::Arc;

const USERNAME: u8 = 0b1000_0000;
const PASSWORD: u8 = 0b0100_0000;
const WILL_RETAIN: u8 = 0b0010_0000;
const WILL_QOS: u8 = 0b0001_1000;
const WILL: u8 = 0b0000_0100;
const CLEAN_START: u8 = 0b0000_0010;
const RESERVED: u8 = 0b0000_0001;

/// `is_shortest`: whether the remaining length was, which matters only once the version is known.
pub(super) fn decode(packet: &mut Reader, is_shortest: bool) -> Result<Connect, DecodeError> {
    let version = read_version(packet)?;
    packet.version = version;
    if version == ProtocolVersion::V5 {
        check_shortest(is_shortest)?;
    }
    let flags = packet.byte()?;
    check_flags(flags, packet)?;
    let keep_alive = packet.two()?;
    let properties = match version {
        ProtocolVersion::V5 => read_properties(packet)?,
        _ => ConnectProperties::default(),
    };
    // The order of the fields below is the standard's, and a flag alone says whether a field is there.
    // spec(4): MQTT-3.1.3-1, MQTT-3.1.3-3, MQTT-3.1.3-4
    // spec(5): MQTT-3.1.3-1, MQTT-3.1.3-3, MQTT-3.1.3-4
    let client_id = packet.text()?;
    // spec(4): MQTT-3.1.2-9
    // spec(5): MQTT-3.1.2-9
    let will = match flags & WILL {
        0 => None,
        _ => Some(read_will(flags, packet)?),
    };
    // spec(4): MQTT-3.1.2-18, MQTT-3.1.2-19, MQTT-3.1.3-11
    // spec(5): MQTT-3.1.2-16, MQTT-3.1.2-17, MQTT-3.1.3-12
    let username = match flags & USERNAME {
        0 => None,
        _ => Some(packet.text()?),
    };
    // spec(4): MQTT-3.1.2-20, MQTT-3.1.2-21
    // spec(5): MQTT-3.1.2-18, MQTT-3.1.2-19
    let password = match flags & PASSWORD {
        0 => None,
        _ => Some(packet.binary()?),
    };
    Ok(Connect {
        version,
        clean_start: flags & CLEAN_START != 0,
        keep_alive,
        client_id,
        will,
        username,
        password,
        properties,
    })
}

fn read_version(packet: &mut Reader) -> Result<ProtocolVersion, DecodeError> {
    let name = packet.text()?;
    let level = packet.byte()?;
    match (&*name, level) {
        ("MQTT", 5) => Ok(ProtocolVersion::V5),
        ("MQTT", 4) => Ok(ProtocolVersion::V3_1_1),
        ("MQIsdp", 3) => Ok(ProtocolVersion::V3_1),
        // spec(4): MQTT-3.1.2-2
        // spec(5): MQTT-3.1.2-2
        ("MQTT" | "MQIsdp", level) => Err(DecodeError::UnsupportedVersion { level }),
        // spec(4): MQTT-3.1.2-1
        // spec(5): MQTT-3.1.2-1
        _ => Err(DecodeError::NotAllowed {
            what: "the protocol name is not MQTT",
            clause: "MQTT-3.1.2-1",
            reason: ReasonCode::UnsupportedProtocolVersion,
        }),
    }
}

fn check_flags(flags: u8, packet: &Reader) -> Result<(), DecodeError> {
    // spec(4): MQTT-3.1.2-3
    // spec(5): MQTT-3.1.2-3
    if flags & RESERVED != 0 {
        return Err(malformed(
            "the reserved bit of the connect flags is set",
            "MQTT-3.1.2-3",
        ));
    }
    // spec(4): MQTT-3.1.2-11, MQTT-3.1.2-13, MQTT-3.1.2-15
    // spec(5): MQTT-3.1.2-11, MQTT-3.1.2-13
    if flags & WILL == 0 && flags & (WILL_QOS | WILL_RETAIN) != 0 {
        return Err(malformed(
            "will flags are set and there is no will",
            "MQTT-3.1.2-11",
        ));
    }
    // spec(4): MQTT-3.1.2-14
    // spec(5): MQTT-3.1.2-12
    if flags & WILL_QOS == WILL_QOS {
        let clause = packet.clause("MQTT-3.1.2-14", "MQTT-3.1.2-12");
        return Err(malformed("the will has QoS 3", clause));
    }
    // spec(4): MQTT-3.1.2-22
    if !packet.is_v5() && flags & PASSWORD != 0 && flags & USERNAME == 0 {
        return Err(malformed(
            "there is a password and no user name",
            "MQTT-3.1.2-22",
        ));
    }
    Ok(())
}

fn read_properties(packet: &mut Reader) -> Result<ConnectProperties, DecodeError> {
    let mut list = Properties::open(packet, Place::Packet(PacketType::Connect))?;
    let mut to = ConnectProperties::default();
    while let Some(property) = list.next()? {
        match property {
            (Id::SessionExpiryInterval, Value::Four(seconds)) => {
                to.session_expiry_interval = Some(seconds);
            }
            (Id::ReceiveMaximum, Value::TwoNonZero(count)) => to.receive_maximum = Some(count),
            (Id::MaximumPacketSize, Value::FourNonZero(size)) => {
                to.maximum_packet_size = Some(size);
            }
            (Id::TopicAliasMaximum, Value::Two(count)) => to.topic_alias_maximum = Some(count),
            (Id::RequestResponseInformation, Value::Flag(flag)) => {
                to.request_response_information = Some(flag);
            }
            (Id::RequestProblemInformation, Value::Flag(flag)) => {
                to.request_problem_information = Some(flag);
            }
            (Id::AuthenticationMethod, Value::Text(text)) => to.authentication_method = Some(text),
            (Id::AuthenticationData, Value::Binary(data)) => to.authentication_data = Some(data),
            (Id::UserProperty, Value::Pair(name, value)) => to.user_properties.push((name, value)),
            _ => return Err(not_here()),
        }
    }
    if to.authentication_data.is_some() && to.authentication_method.is_none() {
        return Err(protocol_error(
            "there is authentication data and no method",
            "MQTT 5, 3.1.2.11.10",
        ));
    }
    Ok(to)
}

fn read_will(flags: u8, packet: &mut Reader) -> Result<Will, DecodeError> {
    let mut delay_interval = None;
    let mut properties: Option<MessageProperties> = None;
    if packet.is_v5() {
        let mut list = Properties::open(packet, Place::Will)?;
        while let Some((id, value)) = list.next()? {
            match (id, value) {
                (Id::WillDelayInterval, Value::Four(seconds)) => delay_interval = Some(seconds),
                (id, value) => {
                    set_message_property(properties.get_or_insert_default(), id, value)?;
                }
            }
        }
    }
    // spec(4): MQTT-3.1.3-10
    // spec(5): MQTT-3.1.3-11
    let topic = packet.utf8()?;
    let topic = packet.topic(topic)?;
    let message = Message {
        topic,
        payload: packet.binary()?,
        qos: QoS::from_number((flags & WILL_QOS) >> 3).unwrap_or_default(),
        retain: flags & WILL_RETAIN != 0,
        properties: properties.map(Arc::new),
    };
    Ok(Will {
        message,
        delay_interval,
    })
}

pub(super) fn write<S: Sink>(connect: &Connect, out: &mut S) -> Result<(), EncodeError> {
    let is_v5 = connect.version == ProtocolVersion::V5;
    // spec(4): MQTT-3.1.2-22
    if !is_v5 && connect.password.is_some() && connect.username.is_none() {
        return Err(refused(
            "there is a password and no user name",
            "MQTT-3.1.2-22",
        ));
    }
    let name = match connect.version {
        ProtocolVersion::V3_1 => "MQIsdp",
        _ => "MQTT",
    };
    out.text("protocol name", name)?;
    out.byte(connect.version as u8);
    out.byte(flags(connect));
    out.two(connect.keep_alive);
    if is_v5 {
        check_authentication(
            connect.properties.authentication_method.as_ref(),
            connect.properties.authentication_data.is_some(),
        )?;
        out.block(&connect.properties)?;
    }
    out.text("client identifier", &connect.client_id)?;
    if let Some(will) = &connect.will {
        if is_v5 {
            out.block(will)?;
        }
        out.text("will topic", will.message.topic.as_str())?;
        out.binary("will payload", &will.message.payload)?;
    }
    if let Some(username) = &connect.username {
        out.text("user name", username)?;
    }
    if let Some(password) = &connect.password {
        out.binary("password", password)?;
    }
    Ok(())
}

fn flags(connect: &Connect) -> u8 {
    let will = connect.will.as_ref().map_or(0, |will| {
        let retain = if will.message.retain { WILL_RETAIN } else { 0 };
        WILL | (will.message.qos as u8) << 3 | retain
    });
    let clean_start = u8::from(connect.clean_start) << 1;
    let username = u8::from(connect.username.is_some()) << 7;
    let password = u8::from(connect.password.is_some()) << 6;
    username | password | will | clean_start
}

/// Data means nothing without the method it belongs to.
pub(super) fn check_authentication(
    method: Option<&ByteString>,
    has_data: bool,
) -> Result<(), EncodeError> {
    if has_data && method.is_none() {
        return Err(refused(
            "there is authentication data and no method",
            "MQTT 5, 3.1.2.11.10",
        ));
    }
    Ok(())
}

impl Write for ConnectProperties {
    fn write<S: Sink>(&self, out: &mut S) -> Result<(), EncodeError> {
        put_four(out, Id::SessionExpiryInterval, self.session_expiry_interval);
        let receive_maximum = self.receive_maximum.map(NonZeroU16::get);
        put_two(out, Id::ReceiveMaximum, receive_maximum);
        let maximum_packet_size = self.maximum_packet_size.map(NonZeroU32::get);
        put_four(out, Id::MaximumPacketSize, maximum_packet_size);
        put_two(out, Id::TopicAliasMaximum, self.topic_alias_maximum);
        let wants_information = self.request_response_information;
        put_flag(out, Id::RequestResponseInformation, wants_information);
        let wants_problems = self.request_problem_information;
        put_flag(out, Id::RequestProblemInformation, wants_problems);
        let method = self.authentication_method.as_deref();
        put_text(out, Id::AuthenticationMethod, method)?;
        let data = self.authentication_data.as_ref();
        put_binary(out, Id::AuthenticationData, data)?;
        put_user_properties(out, &self.user_properties)
    }
}

impl Write for Will {
    fn write<S: Sink>(&self, out: &mut S) -> Result<(), EncodeError> {
        put_four(out, Id::WillDelayInterval, self.delay_interval);
        match &self.message.properties {
            Some(properties) => properties.write(out),
            None => Ok(()),
        }
    }
}
