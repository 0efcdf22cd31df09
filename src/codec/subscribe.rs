//! SUBSCRIBE, SUBACK, UNSUBSCRIBE, UNSUBACK.
//!
//! A filter is any text that is not empty: whether it is a good filter is for the server to answer filter by filter.

use super::ack::write_properties;
use super::error::{malformed, protocol_error, refused};
use super::properties::{
    Id, Place, Properties, Value, not_here, put_subscription_id, put_user_properties,
    read_ack_properties,
};
use super::reason::{check_reason, read_reason};
use super::wire::{Reader, Sink, Write};
use super::{
    DecodeError, EncodeError, PacketType, ProtocolVersion, ReasonCode, RetainHandling, SubAck,
    Subscribe, SubscribeFilter, SubscriptionOptions, UnsubAck, Unsubscribe,
};
use crate::message::{QoS, UserProperty};
use bytestring::ByteString;
use std::num::NonZeroU32;

pub(super) fn decode_subscribe(packet: &mut Reader) -> Result<Subscribe, DecodeError> {
    let mut subscribe = Subscribe {
        packet_id: packet.packet_id()?,
        filters: Vec::new(),
        subscription_id: None,
        user_properties: Vec::new(),
    };
    if packet.is_v5() {
        let mut list = Properties::open(packet, Place::Packet(PacketType::Subscribe))?;
        while let Some(property) = list.next()? {
            match property {
                (Id::SubscriptionIdentifier, Value::FourNonZero(number)) => {
                    subscribe.subscription_id = Some(number);
                }
                (Id::UserProperty, Value::Pair(name, value)) => {
                    subscribe.user_properties.push((name, value));
                }
                _ => return Err(not_here()),
            }
        }
    }
    while !packet.is_empty() {
        let filter = read_filter(packet)?;
        let options = read_options(packet.byte()?, packet)?;
        // spec(5): MQTT-3.8.3-4
        if packet.is_v5() && options.no_local && filter.starts_with("$share/") {
            return Err(protocol_error(
                "No Local is set on a shared subscription",
                "MQTT-3.8.3-4",
            ));
        }
        subscribe.filters.push(SubscribeFilter { filter, options });
    }
    if subscribe.filters.is_empty() {
        // spec(4): MQTT-3.8.3-3
        // spec(5): MQTT-3.8.3-2
        let clause = packet.clause("MQTT-3.8.3-3", "MQTT-3.8.3-2");
        return Err(protocol_error("a SUBSCRIBE has no filter", clause));
    }
    Ok(subscribe)
}

// spec(4): MQTT-3.8.3-1, MQTT-3.10.3-1, MQTT-4.7.3-1
// spec(5): MQTT-3.8.3-1, MQTT-3.10.3-1, MQTT-4.7.3-1
fn read_filter(packet: &mut Reader) -> Result<ByteString, DecodeError> {
    let filter = packet.text()?;
    if filter.is_empty() {
        return Err(protocol_error("a topic filter is empty", "MQTT-4.7.3-1"));
    }
    Ok(filter)
}

/// spec(4): MQTT-3.8.3-4
/// spec(5): MQTT-3.8.3-5
fn read_options(byte: u8, packet: &Reader) -> Result<SubscriptionOptions, DecodeError> {
    let reserved = if packet.is_v5() { 0xC0 } else { 0xFC };
    if byte & reserved != 0 {
        let clause = packet.clause("MQTT-3.8.3-4", "MQTT-3.8.3-5");
        return Err(malformed("reserved bits of the options are set", clause));
    }
    let Some(qos) = QoS::from_number(byte & 0b11) else {
        let what = "a subscription asks for QoS 3";
        return Err(if packet.is_v5() {
            protocol_error(what, "MQTT 5, 3.8.3.1")
        } else {
            malformed(what, "MQTT-3.8.3-4")
        });
    };
    let retain_handling = match byte >> 4 & 0b11 {
        0 => RetainHandling::Always,
        1 => RetainHandling::IfNew,
        2 => RetainHandling::Never,
        _ => return Err(protocol_error("Retain Handling is 3", "MQTT 5, 3.8.3.1")),
    };
    Ok(SubscriptionOptions {
        qos,
        no_local: byte & 0b0100 != 0,
        retain_as_published: byte & 0b1000 != 0,
        retain_handling,
    })
}

fn options_byte(options: SubscriptionOptions, version: ProtocolVersion) -> u8 {
    let qos = options.qos as u8;
    if version != ProtocolVersion::V5 {
        return qos;
    }
    qos | u8::from(options.no_local) << 2
        | u8::from(options.retain_as_published) << 3
        | (options.retain_handling as u8) << 4
}

pub(super) fn write_subscribe<S: Sink>(
    subscribe: &Subscribe,
    version: ProtocolVersion,
    out: &mut S,
) -> Result<(), EncodeError> {
    if subscribe.filters.is_empty() {
        return Err(refused(
            "a SUBSCRIBE has no filter",
            "MQTT 5: MQTT-3.8.3-2; MQTT 3.1.1: MQTT-3.8.3-3",
        ));
    }
    out.two(subscribe.packet_id.get());
    if version == ProtocolVersion::V5 {
        out.block(&RequestProperties {
            subscription_id: subscribe.subscription_id,
            user_properties: &subscribe.user_properties,
        })?;
    }
    for SubscribeFilter { filter, options } in &subscribe.filters {
        write_filter(filter, out)?;
        let byte = options_byte(*options, version);
        if byte & 0b0100 != 0 && filter.starts_with("$share/") {
            return Err(refused(
                "No Local is set on a shared subscription",
                "MQTT-3.8.3-4",
            ));
        }
        out.byte(byte);
    }
    Ok(())
}

fn write_filter<S: Sink>(filter: &ByteString, out: &mut S) -> Result<(), EncodeError> {
    if filter.is_empty() {
        return Err(refused("a topic filter is empty", "MQTT-4.7.3-1"));
    }
    out.text("topic filter", filter)
}

pub(super) fn decode_suback(packet: &mut Reader) -> Result<SubAck, DecodeError> {
    let packet_id = packet.packet_id()?;
    let properties = if packet.is_v5() {
        read_ack_properties(packet, PacketType::SubAck)?
    } else {
        None
    };
    let mut reasons = Vec::new();
    while !packet.is_empty() {
        // spec(5): MQTT-3.9.3-2
        reasons.push(if packet.is_v5() {
            read_reason(packet, PacketType::SubAck)?
        } else {
            granted_or_failed(packet.byte()?)?
        });
    }
    if reasons.is_empty() {
        return Err(malformed("a SUBACK has no code", "MQTT-3.8.4-5"));
    }
    Ok(SubAck {
        packet_id,
        reasons,
        properties,
    })
}

/// spec(4): MQTT-3.9.3-2
fn granted_or_failed(code: u8) -> Result<ReasonCode, DecodeError> {
    match (code, QoS::from_number(code)) {
        (_, Some(qos)) => Ok(ReasonCode::granted(qos)),
        (0x80, None) => Ok(ReasonCode::UnspecifiedError),
        _ => Err(malformed(
            "a SUBACK has a code that is reserved",
            "MQTT-3.9.3-2",
        )),
    }
}

pub(super) fn write_suback<S: Sink>(
    suback: &SubAck,
    version: ProtocolVersion,
    out: &mut S,
) -> Result<(), EncodeError> {
    if suback.reasons.is_empty() {
        return Err(refused("a SUBACK has no code", "MQTT-3.8.4-5"));
    }
    out.two(suback.packet_id.get());
    if version == ProtocolVersion::V5 {
        write_properties(suback.properties.as_deref(), out)?;
    }
    for &reason in &suback.reasons {
        check_reason(reason, PacketType::SubAck)?;
        // 3.1.1 knows one failure and no details.
        out.byte(match version {
            ProtocolVersion::V5 => reason.number(),
            _ if reason.is_error() => 0x80,
            _ => reason.number(),
        });
    }
    Ok(())
}

pub(super) fn decode_unsubscribe(packet: &mut Reader) -> Result<Unsubscribe, DecodeError> {
    let mut unsubscribe = Unsubscribe {
        packet_id: packet.packet_id()?,
        filters: Vec::new(),
        user_properties: Vec::new(),
    };
    if packet.is_v5() {
        let mut list = Properties::open(packet, Place::Packet(PacketType::Unsubscribe))?;
        while let Some(property) = list.next()? {
            let (Id::UserProperty, Value::Pair(name, value)) = property else {
                return Err(not_here());
            };
            unsubscribe.user_properties.push((name, value));
        }
    }
    while !packet.is_empty() {
        unsubscribe.filters.push(read_filter(packet)?);
    }
    if unsubscribe.filters.is_empty() {
        // spec(4): MQTT-3.10.3-2
        // spec(5): MQTT-3.10.3-2
        return Err(protocol_error(
            "an UNSUBSCRIBE has no filter",
            "MQTT-3.10.3-2",
        ));
    }
    Ok(unsubscribe)
}

pub(super) fn write_unsubscribe<S: Sink>(
    unsubscribe: &Unsubscribe,
    version: ProtocolVersion,
    out: &mut S,
) -> Result<(), EncodeError> {
    if unsubscribe.filters.is_empty() {
        return Err(refused("an UNSUBSCRIBE has no filter", "MQTT-3.10.3-2"));
    }
    out.two(unsubscribe.packet_id.get());
    if version == ProtocolVersion::V5 {
        out.block(&RequestProperties {
            subscription_id: None,
            user_properties: &unsubscribe.user_properties,
        })?;
    }
    unsubscribe
        .filters
        .iter()
        .try_for_each(|filter| write_filter(filter, out))
}

pub(super) fn decode_unsuback(packet: &mut Reader) -> Result<UnsubAck, DecodeError> {
    let mut unsuback = UnsubAck {
        packet_id: packet.packet_id()?,
        reasons: Vec::new(),
        properties: None,
    };
    if !packet.is_v5() {
        return Ok(unsuback);
    }
    unsuback.properties = read_ack_properties(packet, PacketType::UnsubAck)?;
    while !packet.is_empty() {
        // spec(5): MQTT-3.11.3-2
        unsuback
            .reasons
            .push(read_reason(packet, PacketType::UnsubAck)?);
    }
    if unsuback.reasons.is_empty() {
        return Err(malformed("an UNSUBACK has no code", "MQTT-3.11.3-1"));
    }
    Ok(unsuback)
}

pub(super) fn write_unsuback<S: Sink>(
    unsuback: &UnsubAck,
    version: ProtocolVersion,
    out: &mut S,
) -> Result<(), EncodeError> {
    out.two(unsuback.packet_id.get());
    if version != ProtocolVersion::V5 {
        return Ok(());
    }
    if unsuback.reasons.is_empty() {
        return Err(refused("an UNSUBACK has no code", "MQTT-3.11.3-1"));
    }
    write_properties(unsuback.properties.as_deref(), out)?;
    for &reason in &unsuback.reasons {
        check_reason(reason, PacketType::UnsubAck)?;
        out.byte(reason.number());
    }
    Ok(())
}

/// Properties of SUBSCRIBE and UNSUBSCRIBE.
struct RequestProperties<'a> {
    subscription_id: Option<NonZeroU32>,
    user_properties: &'a [UserProperty],
}

impl Write for RequestProperties<'_> {
    fn write<S: Sink>(&self, out: &mut S) -> Result<(), EncodeError> {
        if let Some(number) = self.subscription_id {
            put_subscription_id(out, number)?;
        }
        put_user_properties(out, self.user_properties)
    }
}
