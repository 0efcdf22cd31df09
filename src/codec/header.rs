//! The fixed header: kind, flags and remaining length.
//!
//! What can be refused here costs nothing: no byte of the packet itself has to be there yet, and no room is made for it.

use super::error::malformed;
use super::wire::{check_shortest, read_variable};
use super::{DecodeError, PacketType, ProtocolVersion};

/// A fixed header that has arrived as a whole and fits its kind of packet.
#[derive(Debug, Clone, Copy)]
pub(super) struct FixedHeader {
    pub(super) packet_type: PacketType,
    pub(super) flags: u8,
    /// Bytes of the header itself.
    pub(super) length: usize,
    /// Bytes that follow it.
    pub(super) remaining: usize,
    /// Whether the remaining length was in its shortest form. Only a CONNECT gets here without: whether that is an
    /// error is for the version to say that it names itself.
    pub(super) is_shortest: bool,
}

impl FixedHeader {
    /// `None` while a byte of the header is missing.
    pub(super) fn read(
        input: &[u8],
        version: ProtocolVersion,
    ) -> Result<Option<Self>, DecodeError> {
        let Some((&first, rest)) = input.split_first() else {
            return Ok(None);
        };
        let flags = first & 0x0F;
        let packet_type = packet_type(first, version)?;
        check_flags(packet_type, flags, version)?;
        let Some(variable) = read_variable(rest)? else {
            return Ok(None);
        };
        if version == ProtocolVersion::V5 && packet_type != PacketType::Connect {
            check_shortest(variable.is_shortest)?;
        }
        if !fits(packet_type, variable.value, version) {
            let clause = match version {
                ProtocolVersion::V5 => "MQTT 5, 2.1.4",
                _ => "MQTT 3.1.1, 2.2.3",
            };
            return Err(malformed(
                "the remaining length does not fit the kind of packet",
                clause,
            ));
        }
        Ok(Some(Self {
            packet_type,
            flags,
            length: 1 + variable.length,
            remaining: variable.value,
            is_shortest: variable.is_shortest,
        }))
    }

    /// The whole packet, in bytes.
    pub(super) fn size(&self) -> usize {
        self.length + self.remaining
    }
}

fn packet_type(first: u8, version: ProtocolVersion) -> Result<PacketType, DecodeError> {
    match PacketType::from_number(first >> 4) {
        Some(PacketType::Auth) if version != ProtocolVersion::V5 => Err(malformed(
            "packet type 15 does not exist before MQTT 5",
            "MQTT 3.1.1, 2.2.1",
        )),
        Some(packet_type) => Ok(packet_type),
        None => Err(malformed(
            "packet type 0 does not exist",
            "MQTT 5, 2.1.2; MQTT 3.1.1, 2.2.1",
        )),
    }
}

/// The lower half of the first byte of every packet but PUBLISH.
// spec(4): MQTT-2.2.2-1, MQTT-3.6.1-1, MQTT-3.8.1-1, MQTT-3.10.1-1
// spec(5): MQTT-2.1.3-1, MQTT-3.6.1-1, MQTT-3.8.1-1, MQTT-3.10.1-1
pub(super) fn prescribed_flags(packet_type: PacketType) -> u8 {
    match packet_type {
        PacketType::PubRel | PacketType::Subscribe | PacketType::Unsubscribe => 0b0010,
        _ => 0,
    }
}

// spec(4): MQTT-2.2.2-2, MQTT-3.3.1-2, MQTT-3.3.1-4, MQTT-3.14.1-1
// spec(5): MQTT-2.1.3-1, MQTT-3.3.1-2, MQTT-3.3.1-4, MQTT-3.14.1-1, MQTT-3.15.1-1
fn check_flags(
    packet_type: PacketType,
    flags: u8,
    version: ProtocolVersion,
) -> Result<(), DecodeError> {
    if packet_type == PacketType::Publish {
        return match flags & 0b0110 {
            0b0110 => Err(malformed("a PUBLISH has QoS 3", "MQTT-3.3.1-4")),
            0 if flags & 0b1000 != 0 => {
                Err(malformed("a PUBLISH of QoS 0 has DUP set", "MQTT-3.3.1-2"))
            }
            _ => Ok(()),
        };
    }
    if flags == prescribed_flags(packet_type) {
        return Ok(());
    }
    let clause = match version {
        ProtocolVersion::V5 => "MQTT-2.1.3-1",
        _ => "MQTT-2.2.2-2",
    };
    Err(malformed("the flags of the fixed header are wrong", clause))
}

/// Whether a packet of this kind can have this remaining length: one of a fixed size is refused before it has arrived.
pub(super) fn fits(packet_type: PacketType, remaining: usize, version: ProtocolVersion) -> bool {
    let is_v5 = version == ProtocolVersion::V5;
    let (least, most) = match packet_type {
        PacketType::PingReq | PacketType::PingResp => (0, 0),
        PacketType::Disconnect if !is_v5 => (0, 0),
        PacketType::ConnAck
        | PacketType::PubAck
        | PacketType::PubRec
        | PacketType::PubRel
        | PacketType::PubComp
        | PacketType::UnsubAck
            if !is_v5 =>
        {
            (2, 2)
        }
        PacketType::Disconnect | PacketType::Auth => (0, usize::MAX),
        _ => (2, usize::MAX),
    };
    (least..=most).contains(&remaining)
}
