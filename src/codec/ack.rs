//! PUBACK, PUBREC, PUBREL, PUBCOMP: one form, four numbers.
//!
//! MQTT 3.1.1 has no codes and no properties here: they are not written, and read as success. MQTT 5 leaves out what
//! says nothing: success without properties is as short as in 3.1.1.

use super::header::FixedHeader;
use super::properties::{NoProperties, read_ack_properties};
use super::reason::{check_reason, read_reason};
use super::wire::{Reader, Sink};
use super::{
    Ack, AckKind, DecodeError, EncodeError, PacketId, PacketType, ProtocolVersion, ReasonCode,
};
use bytes::{Buf, BytesMut};

/// Takes an acknowledgement off the front of `input` that is an id and nothing else, as nearly all are, without making
/// a shared buffer of it.
pub(super) fn decode_short(header: &FixedHeader, input: &mut BytesMut) -> Option<Ack> {
    let kind = match header.packet_type {
        PacketType::PubAck => AckKind::PubAck,
        PacketType::PubRec => AckKind::PubRec,
        PacketType::PubRel => AckKind::PubRel,
        PacketType::PubComp => AckKind::PubComp,
        _ => return None,
    };
    // Longer, or wrong in a way that is named where all fields are read: not here.
    let number = input.get(header.length..header.size())?;
    let id = PacketId::new(u16::from_be_bytes(number.try_into().ok()?))?;
    input.advance(header.size());
    Some(Ack::new(kind, id, ReasonCode::Success))
}

/// Whether an acknowledgement is written as its id and nothing else.
pub(super) fn is_short(ack: &Ack, version: ProtocolVersion) -> bool {
    version != ProtocolVersion::V5 || ack.reason == ReasonCode::Success && ack.properties.is_none()
}

pub(super) fn decode(kind: AckKind, packet: &mut Reader) -> Result<Ack, DecodeError> {
    let packet_id = packet.packet_id()?;
    let mut ack = Ack::new(kind, packet_id, ReasonCode::Success);
    if packet.is_v5() && !packet.is_empty() {
        // spec(5): MQTT-3.4.2-1, MQTT-3.5.2-1, MQTT-3.6.2-1, MQTT-3.7.2-1
        ack.reason = read_reason(packet, kind.packet_type())?;
        if !packet.is_empty() {
            ack.properties = read_ack_properties(packet, kind.packet_type())?;
        }
    }
    Ok(ack)
}

pub(super) fn write<S: Sink>(
    ack: &Ack,
    version: ProtocolVersion,
    out: &mut S,
) -> Result<(), EncodeError> {
    out.two(ack.packet_id.get());
    if version != ProtocolVersion::V5 {
        return Ok(());
    }
    check_reason(ack.reason, ack.kind.packet_type())?;
    match &ack.properties {
        None if ack.reason == ReasonCode::Success => Ok(()),
        None => {
            out.byte(ack.reason.number());
            Ok(())
        }
        Some(properties) => {
            out.byte(ack.reason.number());
            out.block(&**properties)
        }
    }
}

/// A property list that is there only if it says something.
pub(super) fn write_properties<S: Sink>(
    properties: Option<&super::AckProperties>,
    out: &mut S,
) -> Result<(), EncodeError> {
    match properties {
        Some(properties) => out.block(properties),
        None => out.block(&NoProperties),
    }
}
