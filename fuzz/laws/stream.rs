//! The same bytes in two pieces give the same packets and the same end as in one. The first byte says where to cut.

use bytes::BytesMut;
use rmqtt::codec::{DecodeError, Limits, Packet, ProtocolVersion, decode};

const LIMITS: Limits = Limits {
    packet_size_max: 4096,
    control_packet_size_max: 1024,
};

pub(crate) fn check(data: &[u8]) {
    let Some((&cut, data)) = data.split_first() else {
        return;
    };
    let (head, tail) = data.split_at(usize::from(cut).min(data.len()));
    for version in [ProtocolVersion::V3_1_1, ProtocolVersion::V5] {
        assert_eq!(read(&[head, tail], version), read(&[data], version));
    }
}

fn read(pieces: &[&[u8]], version: ProtocolVersion) -> (Vec<Packet>, Option<DecodeError>) {
    let mut input = BytesMut::new();
    let mut packets = Vec::new();
    for piece in pieces {
        input.extend_from_slice(piece);
        loop {
            match decode(&mut input, version, &LIMITS) {
                Ok(Some(packet)) => packets.push(packet),
                Ok(None) => break,
                Err(error) => return (packets, Some(error)),
            }
        }
    }
    (packets, None)
}
