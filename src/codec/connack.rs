//! CONNACK: granted or refused, and under MQTT 5 everything the server has to say about itself.

use super::connect::check_authentication;
use super::error::{malformed, protocol_error, refused};
use super::properties::{
    Id, Place, Properties, Value, not_here, put_binary, put_flag, put_four, put_text, put_two,
    put_user_properties,
};
use super::reason::{check_reason, read_reason};
use super::wire::{Reader, Sink, Write};
use super::{
    ConnAck, ConnAckProperties, DecodeError, EncodeError, PacketType, ProtocolVersion, ReasonCode,
};
use crate::message::QoS;
use std::num::{NonZeroU16, NonZeroU32};

pub(super) fn decode(packet: &mut Reader) -> Result<ConnAck, DecodeError> {
    let flags = packet.byte()?;
    // spec(5): MQTT-3.2.2-1
    if flags & 0xFE != 0 {
        let clause = packet.clause("MQTT 3.1.1, 3.2.2.1", "MQTT-3.2.2-1");
        return Err(malformed(
            "reserved bits of the acknowledge flags are set",
            clause,
        ));
    }
    let reason = if packet.is_v5() {
        // spec(5): MQTT-3.2.2-8
        read_reason(packet, PacketType::ConnAck)?
    } else {
        ReasonCode::from_return_code(packet.byte()?)
            .ok_or_else(|| malformed("a return code is reserved", "MQTT 3.1.1, 3.2.2.3"))?
    };
    let session_present = flags == 1;
    // spec(4): MQTT-3.2.2-4
    // spec(5): MQTT-3.2.2-6
    if session_present && reason != ReasonCode::Success {
        let clause = packet.clause("MQTT-3.2.2-4", "MQTT-3.2.2-6");
        return Err(protocol_error("a refusal says Session Present", clause));
    }
    let properties = if packet.is_v5() {
        read_properties(packet)?
    } else {
        ConnAckProperties::default()
    };
    Ok(ConnAck {
        session_present,
        reason,
        properties,
    })
}

fn read_properties(packet: &mut Reader) -> Result<ConnAckProperties, DecodeError> {
    let mut list = Properties::open(packet, Place::Packet(PacketType::ConnAck))?;
    let mut to = ConnAckProperties::default();
    while let Some((id, value)) = list.next()? {
        match value {
            Value::Flag(flag) => set_flag(&mut to, id, flag)?,
            Value::Pair(name, value) => to.user_properties.push((name, value)),
            value => set_value(&mut to, id, value)?,
        }
    }
    if to.authentication_data.is_some() && to.authentication_method.is_none() {
        return Err(protocol_error(
            "there is authentication data and no method",
            "MQTT 5, 3.2.2.3.18",
        ));
    }
    Ok(to)
}

fn set_flag(to: &mut ConnAckProperties, id: Id, flag: bool) -> Result<(), DecodeError> {
    match id {
        Id::MaximumQoS => to.maximum_qos = QoS::from_number(u8::from(flag)),
        Id::RetainAvailable => to.retain_available = Some(flag),
        Id::WildcardSubscriptionAvailable => to.wildcard_subscription_available = Some(flag),
        Id::SubscriptionIdentifiersAvailable => to.subscription_identifiers_available = Some(flag),
        Id::SharedSubscriptionAvailable => to.shared_subscription_available = Some(flag),
        _ => return Err(not_here()),
    }
    Ok(())
}

fn set_value(to: &mut ConnAckProperties, id: Id, value: Value) -> Result<(), DecodeError> {
    match (id, value) {
        (Id::SessionExpiryInterval, Value::Four(seconds)) => {
            to.session_expiry_interval = Some(seconds);
        }
        (Id::ReceiveMaximum, Value::TwoNonZero(count)) => to.receive_maximum = Some(count),
        (Id::MaximumPacketSize, Value::FourNonZero(size)) => to.maximum_packet_size = Some(size),
        (Id::AssignedClientIdentifier, Value::Text(text)) => {
            to.assigned_client_identifier = Some(text);
        }
        (Id::TopicAliasMaximum, Value::Two(count)) => to.topic_alias_maximum = Some(count),
        (Id::ReasonString, Value::Text(text)) => to.reason_string = Some(text),
        (Id::ServerKeepAlive, Value::Two(seconds)) => to.server_keep_alive = Some(seconds),
        (Id::ResponseInformation, Value::Text(text)) => to.response_information = Some(text),
        (Id::ServerReference, Value::Text(text)) => to.server_reference = Some(text),
        (Id::AuthenticationMethod, Value::Text(text)) => to.authentication_method = Some(text),
        (Id::AuthenticationData, Value::Binary(data)) => to.authentication_data = Some(data),
        _ => return Err(not_here()),
    }
    Ok(())
}

pub(super) fn write<S: Sink>(
    connack: &ConnAck,
    version: ProtocolVersion,
    out: &mut S,
) -> Result<(), EncodeError> {
    check_reason(connack.reason, PacketType::ConnAck)?;
    if connack.session_present && connack.reason != ReasonCode::Success {
        return Err(refused(
            "a refusal says Session Present",
            "MQTT 5: MQTT-3.2.2-6; MQTT 3.1.1: MQTT-3.2.2-4",
        ));
    }
    out.byte(u8::from(connack.session_present));
    if version != ProtocolVersion::V5 {
        out.byte(connack.reason.to_return_code());
        return Ok(());
    }
    out.byte(connack.reason.number());
    check_authentication(
        connack.properties.authentication_method.as_ref(),
        connack.properties.authentication_data.is_some(),
    )?;
    out.block(&connack.properties)
}

impl Write for ConnAckProperties {
    fn write<S: Sink>(&self, out: &mut S) -> Result<(), EncodeError> {
        put_four(out, Id::SessionExpiryInterval, self.session_expiry_interval);
        let receive_maximum = self.receive_maximum.map(NonZeroU16::get);
        put_two(out, Id::ReceiveMaximum, receive_maximum);
        // QoS 2 is what absence means; the number 2 is not allowed on the wire.
        let maximum_qos = match self.maximum_qos {
            Some(QoS::AtMostOnce) => Some(false),
            Some(QoS::AtLeastOnce) => Some(true),
            Some(QoS::ExactlyOnce) | None => None,
        };
        put_flag(out, Id::MaximumQoS, maximum_qos);
        put_flag(out, Id::RetainAvailable, self.retain_available);
        let maximum_packet_size = self.maximum_packet_size.map(NonZeroU32::get);
        put_four(out, Id::MaximumPacketSize, maximum_packet_size);
        let client_id = self.assigned_client_identifier.as_deref();
        put_text(out, Id::AssignedClientIdentifier, client_id)?;
        put_two(out, Id::TopicAliasMaximum, self.topic_alias_maximum);
        put_text(out, Id::ReasonString, self.reason_string.as_deref())?;
        let wildcards = self.wildcard_subscription_available;
        put_flag(out, Id::WildcardSubscriptionAvailable, wildcards);
        let identifiers = self.subscription_identifiers_available;
        put_flag(out, Id::SubscriptionIdentifiersAvailable, identifiers);
        let shared = self.shared_subscription_available;
        put_flag(out, Id::SharedSubscriptionAvailable, shared);
        put_two(out, Id::ServerKeepAlive, self.server_keep_alive);
        let information = self.response_information.as_deref();
        put_text(out, Id::ResponseInformation, information)?;
        put_text(out, Id::ServerReference, self.server_reference.as_deref())?;
        let method = self.authentication_method.as_deref();
        put_text(out, Id::AuthenticationMethod, method)?;
        let data = self.authentication_data.as_ref();
        put_binary(out, Id::AuthenticationData, data)?;
        put_user_properties(out, &self.user_properties)
    }
}
