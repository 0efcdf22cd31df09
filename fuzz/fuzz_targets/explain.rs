//! Any bytes have a breakdown: its deepest parts cover them without a gap, and its verdict is the decoder's.

#![no_main]

use bytes::BytesMut;
use libfuzzer_sys::fuzz_target;
use rmqtt::codec::{Limits, ProtocolVersion, decode, explain};

fuzz_target!(|data: &[u8]| {
    for version in [ProtocolVersion::V3_1_1, ProtocolVersion::V5] {
        let explanation = explain(data, version);
        let mut parts = explanation
            .parts
            .iter()
            .filter(|part| part.bits.is_none())
            .peekable();
        let mut at = 0;
        while let Some(part) = parts.next() {
            if parts.peek().is_none_or(|next| next.depth <= part.depth) {
                assert_eq!(part.range.start, at);
                at = part.range.end;
            }
        }
        assert_eq!(at, data.len());
        let decoded = decode(&mut BytesMut::from(data), version, &Limits::default());
        let is_whole = matches!(decoded, Ok(Some(_)));
        assert_eq!(explanation.fault.is_none(), is_whole);
    }
});
