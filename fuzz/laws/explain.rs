//! Any bytes have a breakdown: its deepest parts cover them without a gap, those above cover what they hold, and its
//! verdict is the decoder's, word for word.

use bytes::BytesMut;
use rmqtt::codec::{Limits, PARTS_MAX, Part, ProtocolVersion, decode, explain};

pub(crate) fn check(data: &[u8]) {
    for version in [ProtocolVersion::V3_1_1, ProtocolVersion::V5] {
        let explanation = explain(data, version);
        assert!(explanation.parts.len() <= PARTS_MAX + 1);
        check_cover(&explanation.parts, data.len());
        let decoded = decode(&mut BytesMut::from(data), version, &Limits::default());
        match (&explanation.fault, decoded) {
            (None, Ok(Some(_))) => {}
            (Some(fault), Ok(None)) => {
                assert_eq!(fault.reason, None);
                assert_eq!(fault.range, data.len()..data.len());
            }
            (Some(fault), Err(error)) => {
                assert_eq!(fault.reason, Some(error.reason()));
                assert_eq!(fault.what, error.to_string());
                assert!(fault.range.start <= fault.range.end && fault.range.end <= data.len());
            }
            (fault, decoded) => panic!("explained as {fault:?}, decoded as {decoded:?}"),
        }
    }
}

fn check_cover(parts: &[Part], length: usize) {
    let mut holders: Vec<&Part> = Vec::new();
    let mut whole = parts.iter().filter(|part| part.bits.is_none()).peekable();
    let mut at = 0;
    while let Some(part) = whole.next() {
        while holders
            .last()
            .is_some_and(|above| above.depth >= part.depth)
        {
            holders.pop();
        }
        if let Some(above) = holders.last() {
            assert!(
                above.range.start <= part.range.start && part.range.end <= above.range.end,
                "{part:?} is not within {above:?}"
            );
        }
        let is_deepest = whole.peek().is_none_or(|next| next.depth <= part.depth);
        if is_deepest {
            assert_eq!(part.range.start, at);
            at = part.range.end;
        }
        holders.push(part);
    }
    assert_eq!(at, length);
    for part in parts.iter().filter(|part| part.bits.is_some()) {
        assert_eq!(part.range.len(), 1, "{part:?}");
    }
}
