//! What holds for every packet, and for bytes that are none.

use super::any_packet::any_packet;
use super::{V4, V5, read, read_whole, write};
use bytes::BytesMut;
use proptest::collection::vec;
use proptest::prelude::*;
use rmqtt::codec::{Limits, ProtocolVersion, decode};

const VERSIONS: [ProtocolVersion; 3] = [ProtocolVersion::V3_1, V4, V5];

proptest! {
    #[test]
    fn a_packet_that_is_written_can_be_read((version, packet) in any_packet()) {
        let bytes = write(&packet, version).unwrap();
        prop_assert_eq!(read_whole(&bytes, version), packet);
    }

    #[test]
    fn every_prefix_of_a_packet_asks_for_more_and_takes_nothing((version, packet) in any_packet()) {
        let bytes = write(&packet, version).unwrap();
        for length in 0..bytes.len() {
            let mut input = BytesMut::from(&bytes[..length]);
            prop_assert_eq!(decode(&mut input, version, &Limits::default()), Ok(None));
            prop_assert_eq!(&input[..], &bytes[..length]);
        }
    }

    #[test]
    fn packets_follow_each_other_without_a_gap((version, packet) in any_packet(), rest in vec(any::<u8>(), 0..9)) {
        let mut bytes = write(&packet, version).unwrap();
        bytes.extend_from_slice(&rest);
        let mut input = BytesMut::from(&bytes[..]);
        prop_assert_eq!(decode(&mut input, version, &Limits::default()), Ok(Some(packet)));
        prop_assert_eq!(&input[..], &rest[..]);
    }

    #[test]
    fn a_changed_byte_makes_an_error_or_another_packet(
        (version, packet) in any_packet(),
        at in any::<prop::sample::Index>(),
        value in any::<u8>(),
    ) {
        let mut bytes = write(&packet, version).unwrap();
        let at = at.index(bytes.len());
        bytes[at] = value;
        for version in VERSIONS {
            if let Ok(Some(packet)) = read(&bytes, version) {
                // What was read can be written, and is read as the same again.
                let bytes = write(&packet, version).unwrap();
                prop_assert_eq!(read_whole(&bytes, version), packet);
            }
        }
    }

    #[test]
    fn a_packet_that_is_cut_short_is_an_error((version, packet) in any_packet(), cut in 1..20_usize) {
        let bytes = write(&packet, version).unwrap();
        // Only where one byte holds the remaining length, so that it can be made shorter.
        if bytes[1] < 0x80 && usize::from(bytes[1]) >= cut {
            let mut bytes = bytes[..bytes.len() - cut].to_vec();
            bytes[1] -= u8::try_from(cut).unwrap();
            // It may still be a shorter packet of its kind, but never asks for more.
            prop_assert!(read(&bytes, version) != Ok(None));
        }
    }

    #[test]
    fn any_bytes_are_read_without_a_panic(bytes in vec(any::<u8>(), 0..200)) {
        for version in VERSIONS {
            let _ = read(&bytes, version);
        }
    }

    #[test]
    fn any_body_behind_any_header_is_read_without_a_panic(
        first in any::<u8>(),
        body in vec(prop_oneof![3 => 0..5_u8, 1 => any::<u8>()], 0..100),
    ) {
        let mut bytes = vec![first, u8::try_from(body.len()).unwrap()];
        bytes.extend_from_slice(&body);
        for version in VERSIONS {
            if let Ok(Some(packet)) = read(&bytes, version) {
                let bytes = write(&packet, version).unwrap();
                prop_assert_eq!(read_whole(&bytes, version), packet);
            }
        }
    }
}
