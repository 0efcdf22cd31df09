//! Runs: PUBLISH packets of QoS 0 to one topic, one behind the other, that may leave as they came.
//!
//! Who publishes in bursts sends such runs, and to a peer of the same version each packet would be written byte for byte as
//! it was read. So they are checked, routed, queued and written as one thing; what would make one of them differ on its way
//! (flags, properties, an alias) is no part of a run, and comes through [`super::decode`].

use super::wire::read_variable;
use super::{Limits, PacketType, ProtocolVersion};
use crate::message::Message;
use crate::topic::TopicName;
use bytes::{Buf, Bytes, BytesMut};
use bytestring::ByteString;

/// A run is cut here: what is taken out of a queue at once must stay small beside the buffers it goes into.
const BYTES_MAX: usize = 16 << 10;

/// One packet alone is better off as a message.
const PACKETS_MIN: usize = 2;

/// The first byte of its packets: QoS 0, not retained, not sent before.
const FIRST_BYTE: u8 = (PacketType::Publish as u8) << 4;

/// At least two PUBLISH packets of QoS 0 to one topic, without properties, in memory of their own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Run {
    packets: Bytes,
    version: ProtocolVersion,
    topic: TopicName,
    /// What stands between fixed header and payload in each of them, in bytes.
    opening: usize,
    count: usize,
    payload_bytes: usize,
    largest: usize,
}

/// Takes a run off the front of `input`, if one begins there and its first two packets are complete.
///
/// Nothing is refused here: what is wrong is left for [`super::decode`] to name.
pub fn decode_run(input: &mut BytesMut, version: ProtocolVersion, limits: &Limits) -> Option<Run> {
    let (start, opening) = find_opening(input, version)?;
    let (mut count, mut end, mut payload_bytes, mut largest) = (0, 0, 0, 0);
    while let Some(packet) = find_packet(&input[end..], opening)
        && packet.end <= limits.packet_size_max
        && end + packet.end <= BYTES_MAX
    {
        count += 1;
        end += packet.end;
        payload_bytes += packet.end - packet.payload;
        largest = largest.max(packet.end);
    }
    if count < PACKETS_MIN {
        return None;
    }
    let opening = opening.len();
    let packets = Bytes::copy_from_slice(&input[..end]);
    let name = packets.slice(start + 2..start + opening - properties_length(version));
    let topic = TopicName::new(ByteString::try_from(name).ok()?).ok()?;
    input.advance(end);
    Some(Run {
        packets,
        version,
        topic,
        opening,
        count,
        payload_bytes,
        largest,
    })
}

impl Run {
    /// Where all of them are published to.
    pub fn topic(&self) -> &TopicName {
        &self.topic
    }

    /// The version they are written in.
    pub fn version(&self) -> ProtocolVersion {
        self.version
    }

    /// The packets, one behind the other.
    pub fn packets(&self) -> &Bytes {
        &self.packets
    }

    /// The same run, with the same packets in other memory.
    #[must_use]
    pub fn with_packets(self, change: impl FnOnce(Bytes) -> Bytes) -> Self {
        Self {
            packets: change(self.packets),
            ..self
        }
    }

    /// How many they are.
    pub fn len(&self) -> usize {
        self.count
    }

    /// Never: a run is at least two packets.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The largest packet, in bytes on the wire.
    pub fn largest(&self) -> usize {
        self.largest
    }

    /// The sum of [`Message::size`] over its messages.
    pub fn size(&self) -> usize {
        self.count * self.topic.as_str().len() + self.payload_bytes
    }

    /// Its messages, one by one.
    pub fn messages(&self) -> impl Iterator<Item = Message> {
        let mut at = 0;
        std::iter::from_fn(move || {
            let rest = self.packets.get(at..)?;
            let start = header_length(rest)?;
            let packet = find_packet(rest, rest.get(start..start + self.opening)?)?;
            let payload = self.packets.slice(at + packet.payload..at + packet.end);
            at += packet.end;
            Some(Message::new(self.topic.clone(), payload))
        })
    }
}

/// Where the payload of a packet begins and where it ends.
struct Found {
    payload: usize,
    end: usize,
}

/// The packet at the front, if it is complete and begins like the others.
fn find_packet(input: &[u8], opening: &[u8]) -> Option<Found> {
    let (first, rest) = input.split_first()?;
    let remaining = read_variable(rest).ok()??;
    let start = 1 + remaining.length;
    let end = start + remaining.value;
    let is_like_them = *first == FIRST_BYTE && remaining.is_shortest;
    let body = input.get(start..end).filter(|_| is_like_them)?;
    body.starts_with(opening).then_some(Found {
        payload: start + opening.len(),
        end,
    })
}

/// What follows the fixed header of the first packet: the topic with its length, and the empty properties of MQTT 5.
fn find_opening(input: &[u8], version: ProtocolVersion) -> Option<(usize, &[u8])> {
    if *input.first()? != FIRST_BYTE {
        return None;
    }
    let start = header_length(input)?;
    let body = input.get(start..)?;
    let topic = usize::from(u16::from_be_bytes(*body.first_chunk()?));
    let opening = body.get(..2 + topic + properties_length(version))?;
    let has_properties = version == ProtocolVersion::V5 && *opening.last()? != 0;
    (!has_properties).then_some((start, opening))
}

/// The length of an empty list of properties.
fn properties_length(version: ProtocolVersion) -> usize {
    usize::from(version == ProtocolVersion::V5)
}

fn header_length(packet: &[u8]) -> Option<usize> {
    let remaining = read_variable(packet.get(1..)?).ok()??;
    Some(1 + remaining.length)
}
