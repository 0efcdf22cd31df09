//! PUBLISH, the packet that everything else is there for.
//!
//! Topic and payload stay in the read buffer on the way in. On the way out the header and a short payload are copied
//! together, and a large payload goes by reference.

use super::error::{protocol_error, refused};
use super::properties::{
    Id, Place, Properties, Value, put_subscription_id, put_two, set_message_property,
};
use super::wire::{Reader, Sink, VARIABLE_MAX, Write, variable_length};
use super::{DecodeError, EncodeError, PacketType, ProtocolVersion, Publish, SendBuffer};
use crate::message::{Message, MessageProperties, QoS};
use crate::topic::TopicName;
use std::num::NonZeroU16;
use std::sync::Arc;

/// `flags` have passed the checks of the fixed header.
pub(super) fn decode(flags: u8, packet: &mut Reader) -> Result<Publish, DecodeError> {
    let qos = QoS::from_number(flags >> 1 & 0b11).unwrap_or_default();
    // spec(4): MQTT-3.3.2-1
    // spec(5): MQTT-3.3.2-1
    let topic = packet.utf8()?;
    // spec(4): MQTT-2.3.1-5
    // spec(5): MQTT-2.2.1-2
    let packet_id = match qos {
        QoS::AtMostOnce => None,
        _ => Some(packet.packet_id()?),
    };
    let topic_on_wire = !topic.is_empty() || !packet.is_v5();
    // spec(4): MQTT-3.3.2-2, MQTT-4.7.3-1
    // spec(5): MQTT-3.3.2-2, MQTT-4.7.3-1
    let topic = if topic_on_wire {
        packet.topic(topic)?
    } else {
        TopicName::unresolved()
    };
    let mut publish = Publish {
        dup: flags & 0b1000 != 0,
        packet_id,
        topic_on_wire,
        ..Publish::new(Message::new(topic, bytes::Bytes::new()))
    };
    publish.message.qos = qos;
    publish.message.retain = flags & 1 != 0;
    if packet.is_v5() {
        read_properties(packet, &mut publish)?;
    }
    publish.message.payload = packet.take_rest();
    Ok(publish)
}

fn read_properties(packet: &mut Reader, publish: &mut Publish) -> Result<(), DecodeError> {
    let mut list = Properties::open(packet, Place::Packet(PacketType::Publish))?;
    let mut properties: Option<MessageProperties> = None;
    while let Some((id, value)) = list.next()? {
        match (id, value) {
            (Id::TopicAlias, Value::TwoNonZero(alias)) => publish.topic_alias = Some(alias),
            (Id::SubscriptionIdentifier, Value::FourNonZero(number)) => {
                publish.subscription_ids.push(number);
            }
            (id, value) => set_message_property(properties.get_or_insert_default(), id, value)?,
        }
    }
    publish.message.properties = properties.map(Arc::new);
    if !publish.topic_on_wire && publish.topic_alias.is_none() {
        return Err(protocol_error(
            "a PUBLISH has neither topic nor topic alias",
            "MQTT 5, 3.3.2.3.4",
        ));
    }
    Ok(())
}

/// The lower half of the first byte.
pub(super) fn flags(publish: &Publish) -> u8 {
    u8::from(publish.dup) << 3 | (publish.message.qos as u8) << 1 | u8::from(publish.message.retain)
}

/// Writes a whole PUBLISH that says nothing but topic, id and payload, as nearly all do, without measuring it first.
/// `false`: nothing is written, it says more, or is wrong in a way that [`write`] names.
pub(super) fn write_plain(
    publish: &Publish,
    version: ProtocolVersion,
    out: &mut SendBuffer,
) -> bool {
    let message = &publish.message;
    let is_plain = message.properties.is_none()
        && publish.topic_alias.is_none()
        && publish.subscription_ids.is_empty();
    let topic = message.topic.as_str().as_bytes();
    let no_properties: &[u8] = match version {
        ProtocolVersion::V5 => &[0],
        _ => &[],
    };
    let id_length = 2 * usize::from(publish.packet_id.is_some());
    let opening = 2 + topic.len() + id_length + no_properties.len();
    let remaining = opening.saturating_add(message.payload.len());
    let Ok(topic_length) = u16::try_from(topic.len()) else {
        return false;
    };
    if !is_plain || remaining > VARIABLE_MAX || check(publish, version).is_err() {
        return false;
    }
    out.reserve(1 + variable_length(remaining) + remaining);
    out.byte(PacketType::Publish.number() << 4 | flags(publish));
    out.variable(remaining);
    out.two(topic_length);
    out.put(topic);
    if let Some(packet_id) = publish.packet_id {
        out.two(packet_id.get());
    }
    out.put(no_properties);
    out.put_shared(&message.payload);
    true
}

pub(super) fn write<S: Sink>(
    publish: &Publish,
    version: ProtocolVersion,
    out: &mut S,
) -> Result<(), EncodeError> {
    check(publish, version)?;
    let message = &publish.message;
    let topic = if publish.topic_on_wire {
        message.topic.as_str()
    } else {
        ""
    };
    out.checked_text("topic name", topic)?;
    if let Some(packet_id) = publish.packet_id {
        out.two(packet_id.get());
    }
    if version == ProtocolVersion::V5 {
        out.block(&PublishProperties(publish))?;
    }
    out.put_shared(&message.payload);
    Ok(())
}

fn check(publish: &Publish, version: ProtocolVersion) -> Result<(), EncodeError> {
    let has_qos = publish.message.qos != QoS::AtMostOnce;
    if publish.dup && !has_qos {
        return Err(refused("a PUBLISH of QoS 0 has DUP set", "MQTT-3.3.1-2"));
    }
    if has_qos && publish.packet_id.is_none() {
        return Err(refused(
            "a PUBLISH of QoS 1 or 2 has no packet id",
            "MQTT 5: MQTT-2.2.1-3; MQTT 3.1.1: MQTT-2.3.1-1",
        ));
    }
    if !has_qos && publish.packet_id.is_some() {
        return Err(refused(
            "a PUBLISH of QoS 0 has a packet id",
            "MQTT 5: MQTT-2.2.1-2; MQTT 3.1.1: MQTT-2.3.1-5",
        ));
    }
    let has_alias = version == ProtocolVersion::V5 && publish.topic_alias.is_some();
    if !publish.topic_on_wire && !has_alias {
        return Err(refused(
            "a PUBLISH has neither topic nor topic alias",
            "MQTT-4.7.3-1",
        ));
    }
    Ok(())
}

struct PublishProperties<'a>(&'a Publish);

impl Write for PublishProperties<'_> {
    fn write<S: Sink>(&self, out: &mut S) -> Result<(), EncodeError> {
        put_two(out, Id::TopicAlias, self.0.topic_alias.map(NonZeroU16::get));
        for &number in &self.0.subscription_ids {
            put_subscription_id(out, number)?;
        }
        match &self.0.message.properties {
            Some(properties) => properties.write(out),
            None => Ok(()),
        }
    }
}
