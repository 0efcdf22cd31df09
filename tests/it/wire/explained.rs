//! The breakdown of packets: its lines, where it says the fault is, and what must hold for any bytes.

use super::any_packet::any_packet;
use super::{V4, V5, hex, read, write};
use proptest::collection::vec;
use proptest::prelude::*;
use rmqtt::codec::{Explanation, PARTS_MAX, ProtocolVersion, ReasonCode, explain};

/// The lines as a reader sees them.
fn lines(explanation: &Explanation) -> Vec<String> {
    let line = |part: &rmqtt::codec::Part| {
        let indent = "  ".repeat(part.depth);
        let place = match part.bits {
            Some((high, low)) if high == low => format!("bit {high}"),
            Some((high, low)) => format!("bits {high}-{low}"),
            None => format!("{}..{}", part.range.start, part.range.end),
        };
        let line = format!(
            "{indent}{place} {}: {} | {}",
            part.field, part.value, part.meaning
        );
        line.trim_end_matches([' ', '|']).to_owned()
    };
    explanation.parts.iter().map(line).collect()
}

/// The bytes of the deepest parts, in order, leave no gap and do not overlap.
fn check_cover(explanation: &Explanation, length: usize) {
    let parts: Vec<_> = explanation
        .parts
        .iter()
        .filter(|part| part.bits.is_none())
        .collect();
    let mut at = 0;
    for (index, part) in parts.iter().enumerate() {
        let is_leaf = parts
            .get(index + 1)
            .is_none_or(|next| next.depth <= part.depth);
        if is_leaf {
            assert_eq!(part.range.start, at, "{part:?}");
            at = part.range.end;
        }
        let children = parts[index + 1..]
            .iter()
            .take_while(|next| next.depth > part.depth);
        for child in children.take(50) {
            assert!(part.range.start <= child.range.start && child.range.end <= part.range.end);
        }
    }
    assert_eq!(at, length);
}

fn check(data: &[u8], version: ProtocolVersion) {
    let explanation = explain(data, version);
    check_cover(&explanation, data.len());
    let reason = explanation.fault.as_ref().map(|fault| fault.reason);
    let expected = match read(data, version) {
        Ok(Some(_)) => None,
        Ok(None) => Some(None),
        Err(error) => Some(Some(error.reason())),
    };
    assert_eq!(reason, expected);
    if let Some(fault) = explanation.fault {
        assert!(fault.range.start <= fault.range.end && fault.range.end <= data.len());
    }
}

proptest! {
    #[test]
    fn a_packet_is_covered_without_a_gap((version, packet) in any_packet()) {
        check(&write(&packet, version).unwrap(), version);
    }

    #[test]
    fn a_cut_packet_is_covered_without_a_gap((version, packet) in any_packet(), cut in any::<prop::sample::Index>()) {
        let bytes = write(&packet, version).unwrap();
        check(&bytes[..cut.index(bytes.len())], version);
    }

    #[test]
    fn a_changed_packet_is_covered_without_a_gap(
        (version, packet) in any_packet(),
        at in any::<prop::sample::Index>(),
        value in any::<u8>(),
    ) {
        let mut bytes = write(&packet, version).unwrap();
        let at = at.index(bytes.len());
        bytes[at] = value;
        for version in [V4, V5] {
            check(&bytes, version);
        }
    }

    #[test]
    fn any_bytes_are_covered_without_a_gap(bytes in vec(any::<u8>(), 0..100)) {
        for version in [V4, V5] {
            check(&bytes, version);
        }
    }
}

#[test]
fn a_publish_is_broken_down_to_its_bits() {
    let bytes = hex("3B 15 0003 612F62 000A 08 23 0001 02 0000003C 323120C2B0");
    let explanation = explain(&bytes, V5);
    assert_eq!(explanation.fault, None);
    let expected = "\
0..2 fixed header: PUBLISH | 21 bytes follow
  0..1 type and flags: 0x3B
    bits 7-4 packet type: 0011 | PUBLISH
    bit 3 DUP: 1 | may have been sent before
    bits 2-1 QoS: 01 | QoS 1: at least once
    bit 0 RETAIN: 1 | a retained message
  1..2 remaining length: 21
    1..2 digit 1: 21 | times 1, the last
2..7 topic name: \"a/b\" | what the message is about
  2..4 length: 3 | bytes of UTF-8
  4..7 text: \"a/b\"
7..9 packet identifier: 10 | names the exchange
9..18 properties: 2
  9..10 property length: 8
    9..10 digit 1: 8 | times 1, the last
  10..13 Topic Alias: 1 | stands for the topic on this connection
    10..11 identifier: 0x23 | Topic Alias
    11..13 value: 1
  13..18 Message Expiry Interval: 60 | seconds for which the message is of use
    13..14 identifier: 0x02 | Message Expiry Interval
    14..18 value: 60
18..23 payload: \"21 °\" | the application message";
    assert_eq!(lines(&explanation).join("\n"), expected);
}

#[test]
fn the_digits_of_a_remaining_length_are_shown() {
    let mut bytes = hex("30 C102 0001 74");
    bytes.resize(3 + 321, b'x');
    let lines = lines(&explain(&bytes, V4));
    assert!(lines.contains(&"  1..3 remaining length: 321".to_owned()));
    assert!(lines.contains(&"    1..2 digit 1: 65 | times 1, more follow".to_owned()));
    assert!(lines.contains(&"    2..3 digit 2: 2 | times 128, the last".to_owned()));
}

#[test]
fn a_connect_names_its_own_version_and_hides_the_password() {
    let bytes = hex("10 14 0004 4D515454 05 C2 003C 00 0000 0001 75 0002 7077");
    let explanation = explain(&bytes, V4);
    assert_eq!(explanation.version, V5);
    let text = lines(&explanation).join("\n");
    assert!(text.contains("8..9 protocol level: 5 | MQTT 5.0"));
    assert!(text.contains("bit 7 user name: 1 | present"));
    assert!(text.contains("password: (not shown)") && !text.contains("pw"));
}

#[test]
fn the_fault_is_shown_where_it_is() {
    for (digits, version, range, reason) in [
        ("00 00", V5, 0..1, ReasonCode::MalformedPacket),
        ("36 00", V5, 0..1, ReasonCode::MalformedPacket),
        ("80 00", V4, 0..1, ReasonCode::MalformedPacket),
        ("30 FFFFFFFF", V4, 1..5, ReasonCode::MalformedPacket),
        ("C0 8000", V5, 1..3, ReasonCode::MalformedPacket),
        ("30 05 0003 612F23", V4, 4..7, ReasonCode::ProtocolError),
        ("30 04 0002 C328", V4, 4..6, ReasonCode::MalformedPacket),
        ("30 03 0005 61", V4, 4..5, ReasonCode::MalformedPacket),
        ("32 05 0001 74 0000", V4, 5..7, ReasonCode::ProtocolError),
        ("40 03 0001 01", V5, 4..5, ReasonCode::ProtocolError),
        ("30 06 0001 74 02 0102", V5, 7..8, ReasonCode::ProtocolError),
        (
            "30 06 0001 74 02 2400",
            V5,
            6..7,
            ReasonCode::MalformedPacket,
        ),
        (
            "30 06 0001 74 02 7F00",
            V5,
            6..7,
            ReasonCode::MalformedPacket,
        ),
        (
            "30 08 0001 74 04 01000100",
            V5,
            8..9,
            ReasonCode::ProtocolError,
        ),
        ("30 05 0001 74 09 01", V5, 5..6, ReasonCode::MalformedPacket),
        (
            "82 07 0001 00 0001 61 03",
            V5,
            8..9,
            ReasonCode::ProtocolError,
        ),
        ("20 03 00 00 00", V4, 1..2, ReasonCode::MalformedPacket),
        (
            "82 07 0001 0001 61 00 00",
            V4,
            8..9,
            ReasonCode::MalformedPacket,
        ),
        (
            "10 0C 0004 4D515454 05 03 003C 0000",
            V5,
            9..10,
            ReasonCode::MalformedPacket,
        ),
        (
            "10 07 0004 4D515454 09",
            V5,
            2..9,
            ReasonCode::UnsupportedProtocolVersion,
        ),
    ] {
        let fault = explain(&hex(digits), version).fault.unwrap();
        assert_eq!(
            (fault.range, fault.reason),
            (range, Some(reason)),
            "{digits}: {}",
            fault.what
        );
    }
}

#[test]
fn an_incomplete_packet_says_how_much_is_missing() {
    let fault = explain(&hex("30 0A 0003 61"), V4).fault.unwrap();
    assert_eq!(
        fault.what,
        "the packet is incomplete: 5 of 12 bytes are there"
    );
    assert_eq!((fault.range, fault.reason), (5..5, None));
    let fault = explain(&hex("30 FF"), V4).fault.unwrap();
    assert_eq!(
        fault.what,
        "the fixed header is incomplete: 2 bytes are there"
    );
}

#[test]
fn what_follows_the_packet_is_not_part_of_it() {
    let explanation = explain(&hex("C0 00 30 00"), V5);
    assert_eq!(explanation.fault, None);
    let last = lines(&explanation).pop().unwrap();
    let expected = "2..4 rest: 30 00 | these bytes belong to what follows the packet";
    assert_eq!(last, expected);
}

#[test]
fn a_breakdown_has_a_bounded_number_of_parts() {
    let mut bytes = hex("30 A68D06 0001 74 A08D06");
    for _ in 0..20_000 {
        bytes.extend(hex("26 0000 0000"));
    }
    let explanation = explain(&bytes, V5);
    assert_eq!(explanation.fault, None);
    assert!(explanation.parts.len() < PARTS_MAX + 10);
    check_cover(&explanation, bytes.len());
}
