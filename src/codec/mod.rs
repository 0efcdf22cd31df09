//! Bytes ⇄ packets: the wire format of MQTT 3.1.1 and 5.0, strict both ways.
//!
//! Owns what a packet looks like; knows no time, no peer and no role. [`decode`] and [`encode`] are the only doors. The
//! version is a value, asked where the bytes differ. Decoding cuts topics and payloads out of the read buffer and copies
//! nothing. Read [`packet`] next, then [`wire`](self) for the primitives.

mod error;
mod packet;
mod reason;
mod send_buffer;

pub use error::{DecodeError, EncodeError};
pub use packet::{
    Ack, AckKind, AckProperties, Auth, ConnAck, ConnAckProperties, Connect, ConnectProperties,
    Disconnect, Packet, PacketId, PacketType, Publish, RetainHandling, SubAck, Subscribe,
    SubscribeFilter, SubscriptionOptions, UnsubAck, Unsubscribe, Will,
};
pub use reason::ReasonCode;
pub use send_buffer::SendBuffer;

use bytes::BytesMut;

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

/// Takes one packet off the front of `input`, or returns `None` if its end has not arrived; then nothing is taken.
///
/// CONNECT is decoded by the version it names itself; `version` governs all other packets.
///
/// # Errors
/// [`DecodeError`]: the bytes are no packet, or one over the limits. What follows in `input` cannot be trusted.
pub fn decode(
    input: &mut BytesMut,
    version: ProtocolVersion,
    limits: &Limits,
) -> Result<Option<Packet>, DecodeError> {
    let _ = (input, version, limits);
    todo!()
}

/// Writes one packet behind what is already in `out`; on an error nothing is written.
///
/// # Errors
/// [`EncodeError`]: a field is too long for the wire, or a value is not allowed there.
pub fn encode(
    packet: &Packet,
    version: ProtocolVersion,
    out: &mut SendBuffer,
) -> Result<(), EncodeError> {
    let _ = (packet, version, out);
    todo!()
}

/// How many bytes [`encode`] would write: what Maximum Packet Size is compared with.
///
/// # Errors
/// As [`encode`].
pub fn encoded_size(packet: &Packet, version: ProtocolVersion) -> Result<usize, EncodeError> {
    let _ = (packet, version);
    todo!()
}
