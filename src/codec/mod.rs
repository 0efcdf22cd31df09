//! Bytes ⇄ packets: the wire format of MQTT 3.1.1 and 5.0, strict both ways.
//!
//! Owns what a packet looks like; knows no time, no peer and no role. [`decode`] and [`encode`] are the only doors, and
//! [`decode_run`] one for packets that come in numbers. The version is a value, asked where the bytes differ. Decoding cuts
//! topics and payloads out of the read buffer and copies nothing. Read `packet.rs` next, then `wire.rs` for the primitives.

mod ack;
mod connack;
mod connect;
mod control;
mod error;
mod explain;
mod header;
mod hidden;
mod packet;
mod properties;
mod publish;
mod reason;
mod run;
mod send_buffer;
mod subscribe;
mod wire;

pub use error::{DecodeError, EncodeError};
pub use explain::{Explanation, Fault, PARTS_MAX, Part, explain, summary};
pub use hidden::Hidden;
pub use packet::{
    Ack, AckKind, AckProperties, Auth, ConnAck, ConnAckProperties, Connect, ConnectProperties,
    Disconnect, Packet, PacketId, PacketType, Publish, RetainHandling, SubAck, Subscribe,
    SubscribeFilter, SubscriptionOptions, UnsubAck, Unsubscribe, Will,
};
pub use reason::ReasonCode;
pub use run::{Run, decode_run};
pub use send_buffer::SendBuffer;

use bytes::{Buf, BytesMut};
use header::FixedHeader;
use wire::{Counter, Reader, Sink, Write, variable_length};

/// Which protocol a connection speaks. 3.1 differs from 3.1.1 in its CONNECT alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum ProtocolVersion {
    /// MQTT 3.1 (`MQIsdp`): its CONNECT is understood, the rest is as in 3.1.1.
    V3_1 = 3,
    /// MQTT 3.1.1.
    V3_1_1 = 4,
    /// MQTT 5.0.
    V5 = 5,
}

/// The largest packet the format can express: a fixed header of five bytes and 268 435 455 more.
pub const PACKET_SIZE_MAX: usize = 268_435_460;

/// What a decoder takes. Checked against the fixed header, before any room is made for the packet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// The largest packet of each kind that is not named below, fixed header included, in bytes.
    pub packet_size_max: usize,
    /// The largest CONNECT, SUBSCRIBE, UNSUBSCRIBE or AUTH, in bytes: cheap for us to refuse, dear to hold.
    pub control_packet_size_max: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            packet_size_max: PACKET_SIZE_MAX,
            control_packet_size_max: PACKET_SIZE_MAX,
        }
    }
}

impl Limits {
    fn of(&self, packet_type: PacketType) -> usize {
        match packet_type {
            PacketType::Connect
            | PacketType::Subscribe
            | PacketType::Unsubscribe
            | PacketType::Auth => self.control_packet_size_max,
            _ => self.packet_size_max,
        }
    }
}

/// The kind of the packet that begins here, so that a server can refuse a first packet which is no CONNECT at its first
/// byte. `None`: nothing has arrived. 0 is no kind at all, and [`decode`] refuses it.
pub fn peek_type(input: &[u8]) -> Option<u8> {
    input.first().map(|first| first >> 4)
}

/// How long the packet that begins here will be, fixed header included, in bytes; `None` while that has not arrived.
///
/// # Errors
/// [`DecodeError`]: as far as can be seen already, it is no packet.
pub fn peek_size(input: &[u8], version: ProtocolVersion) -> Result<Option<usize>, DecodeError> {
    Ok(FixedHeader::read(input, version)?.map(|header| header.size()))
}

/// Takes one packet off the front of `input`, or returns `None` if its end has not arrived; then nothing is taken.
///
/// CONNECT is decoded by the version it names itself; `version` governs all other packets. What the first bytes show to
/// be wrong is refused before the rest has arrived, and no memory is made ready for what a packet only says it will bring.
///
/// # Errors
/// [`DecodeError`]: the bytes are no packet, or one over the limits. What follows in `input` cannot be trusted.
pub fn decode(
    input: &mut BytesMut,
    version: ProtocolVersion,
    limits: &Limits,
) -> Result<Option<Packet>, DecodeError> {
    let Some(header) = FixedHeader::read(input, version)? else {
        return Ok(None);
    };
    let size = header.size();
    let limit = limits.of(header.packet_type);
    if size > limit {
        return Err(DecodeError::TooLarge {
            packet_type: header.packet_type,
            size,
            limit,
        });
    }
    if input.len() < size {
        return Ok(None);
    }
    if let Some(ack) = ack::decode_short(&header, input) {
        return Ok(Some(Packet::Ack(ack)));
    }
    let mut packet = input.split_to(size);
    packet.advance(header.length);
    let mut body = Reader::new(packet.freeze(), version);
    let packet = decode_body(&header, &mut body)?;
    body.finish()?;
    Ok(Some(packet))
}

fn decode_body(header: &FixedHeader, body: &mut Reader) -> Result<Packet, DecodeError> {
    Ok(match header.packet_type {
        PacketType::Connect => {
            Packet::Connect(Box::new(connect::decode(body, header.is_shortest)?))
        }
        PacketType::ConnAck => Packet::ConnAck(Box::new(connack::decode(body)?)),
        PacketType::Publish => Packet::Publish(publish::decode(header.flags, body)?),
        PacketType::PubAck => Packet::Ack(ack::decode(AckKind::PubAck, body)?),
        PacketType::PubRec => Packet::Ack(ack::decode(AckKind::PubRec, body)?),
        PacketType::PubRel => Packet::Ack(ack::decode(AckKind::PubRel, body)?),
        PacketType::PubComp => Packet::Ack(ack::decode(AckKind::PubComp, body)?),
        PacketType::Subscribe => Packet::Subscribe(subscribe::decode_subscribe(body)?),
        PacketType::SubAck => Packet::SubAck(subscribe::decode_suback(body)?),
        PacketType::Unsubscribe => Packet::Unsubscribe(subscribe::decode_unsubscribe(body)?),
        PacketType::UnsubAck => Packet::UnsubAck(subscribe::decode_unsuback(body)?),
        PacketType::PingReq => Packet::PingReq,
        PacketType::PingResp => Packet::PingResp,
        PacketType::Disconnect => Packet::Disconnect(control::decode_disconnect(body)?),
        PacketType::Auth => Packet::Auth(control::decode_auth(body)?),
    })
}

/// Writes one packet behind what is already in `out`; on an error nothing is written.
///
/// CONNECT is encoded by the version it names itself. What MQTT 3.1.1 has no place for is left out when writing to it:
/// all properties, the codes of acknowledgements, of UNSUBACK and of DISCONNECT, all subscription options but the QoS.
/// A refusal becomes the return code of 3.1.1 that says it best.
///
/// # Errors
/// [`EncodeError`]: a field is too long for the wire, or a value is not allowed there: [`decode`] would refuse it.
pub fn encode(
    packet: &Packet,
    version: ProtocolVersion,
    out: &mut SendBuffer,
) -> Result<(), EncodeError> {
    if let Packet::Ack(ack) = packet
        && ack::is_short(ack, version)
    {
        let [high, low] = ack.packet_id.get().to_be_bytes();
        out.put(&[first_byte(packet), 2, high, low]);
        return Ok(());
    }
    if let Packet::Publish(publish) = packet
        && publish::write_plain(publish, version, out)
    {
        return Ok(());
    }
    let body = Body { packet, version };
    let remaining = Counter::measure(&body)?;
    out.reserve(1 + variable_length(remaining) + remaining);
    out.byte(first_byte(packet));
    out.variable(remaining);
    body.write(out)
}

/// How many bytes [`encode`] would write: what Maximum Packet Size is compared with.
///
/// # Errors
/// As [`encode`].
pub fn encoded_size(packet: &Packet, version: ProtocolVersion) -> Result<usize, EncodeError> {
    let remaining = Counter::measure(&Body { packet, version })?;
    Ok(1 + variable_length(remaining) + remaining)
}

fn first_byte(packet: &Packet) -> u8 {
    let packet_type = packet.packet_type();
    let flags = match packet {
        Packet::Publish(publish) => publish::flags(publish),
        _ => header::prescribed_flags(packet_type),
    };
    packet_type.number() << 4 | flags
}

/// All of a packet but its fixed header.
struct Body<'a> {
    packet: &'a Packet,
    version: ProtocolVersion,
}

impl Write for Body<'_> {
    fn write<S: Sink>(&self, out: &mut S) -> Result<(), EncodeError> {
        let version = self.version;
        match self.packet {
            Packet::Connect(connect) => connect::write(connect, out),
            Packet::ConnAck(connack) => connack::write(connack, version, out),
            Packet::Publish(publish) => publish::write(publish, version, out),
            Packet::Ack(ack) => ack::write(ack, version, out),
            Packet::Subscribe(subscribe) => subscribe::write_subscribe(subscribe, version, out),
            Packet::SubAck(suback) => subscribe::write_suback(suback, version, out),
            Packet::Unsubscribe(packet) => subscribe::write_unsubscribe(packet, version, out),
            Packet::UnsubAck(unsuback) => subscribe::write_unsuback(unsuback, version, out),
            Packet::PingReq | Packet::PingResp => Ok(()),
            Packet::Disconnect(packet) => control::write_disconnect(packet, version, out),
            Packet::Auth(auth) => control::write_auth(auth, version, out),
        }
    }
}
