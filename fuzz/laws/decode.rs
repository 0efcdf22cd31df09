//! Any bytes: no panic, and what is read is written and read as the same again, in each version.

use bytes::{Buf, BytesMut};
use rmqtt::codec::{Limits, ProtocolVersion, SendBuffer, decode, encode, encoded_size};

pub(crate) fn check(data: &[u8]) {
    for version in [
        ProtocolVersion::V3_1,
        ProtocolVersion::V3_1_1,
        ProtocolVersion::V5,
    ] {
        let mut input = BytesMut::from(data);
        let Ok(Some(packet)) = decode(&mut input, version, &Limits::default()) else {
            continue;
        };
        let mut out = SendBuffer::new();
        encode(&packet, version, &mut out).expect("what was read can be written");
        assert_eq!(encoded_size(&packet, version), Ok(out.len()));
        let mut again = BytesMut::from(&out.copy_to_bytes(out.len())[..]);
        let read = decode(&mut again, version, &Limits::default());
        assert_eq!(read, Ok(Some(packet)));
        assert!(again.is_empty());
    }
}
