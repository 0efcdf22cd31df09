//! A broker that breaks a rule: the client ends the connection, and tells a broker of MQTT 5 by which code.

use super::VERSIONS;
use super::script::Script;
use rmqtt::client::ClientError;
use rmqtt::codec::{Packet, ProtocolVersion, ReasonCode};

const MALFORMED: &[ReasonCode] = &[ReasonCode::MalformedPacket];
const ERROR: &[ReasonCode] = &[ReasonCode::ProtocolError];
const EITHER: &[ReasonCode] = &[ReasonCode::MalformedPacket, ReasonCode::ProtocolError];

/// A packet with this first byte and these parts behind the length.
fn packet(first: u8, parts: &[&[u8]]) -> Vec<u8> {
    let body = parts.concat();
    let length = u8::try_from(body.len()).expect("short");
    assert!(length < 0x80);
    [&[first, length], &body[..]].concat()
}

/// A text or binary field.
fn field(bytes: &[u8]) -> Vec<u8> {
    let length = u8::try_from(bytes.len()).expect("short");
    [&[0, length], bytes].concat()
}

/// A PUBLISH of QoS 0 to `t` with these properties.
fn publish(properties: &[u8]) -> Vec<u8> {
    packet(0x30, &[&field(b"t"), &block(properties)])
}

fn block(properties: &[u8]) -> Vec<u8> {
    let length = u8::try_from(properties.len()).expect("short");
    [&[length], properties].concat()
}

/// The client ends the connection at these bytes, and says why to those who can hear it.
fn ends(script: &mut Script, bytes: &[u8], reasons: &[ReasonCode]) {
    script.sent();
    let error = script.hear_bytes(bytes).map(|event| format!("{event:?}"));
    let Err(ClientError::Protocol { reason, .. }) = error else {
        panic!("{bytes:02x?}: {error:?}");
    };
    assert!(reasons.contains(&reason), "{bytes:02x?}: {reason:?}");
    assert!(!script.client.is_connected());
    match (script.client.version(), &script.sent()[..]) {
        (ProtocolVersion::V5, [Packet::Disconnect(last)]) => assert_eq!(last.reason, reason),
        (ProtocolVersion::V5, told) => panic!("{bytes:02x?}: {told:?}"),
        (_, told) => assert_eq!(told, [], "3.1.1 has no words for it"),
    }
}

fn each_ends(version: ProtocolVersion, cases: &[(Vec<u8>, &[ReasonCode])]) {
    for (bytes, reasons) in cases {
        ends(&mut Script::connected(version, 100), bytes, reasons);
    }
}

/// spec(4, client): MQTT-2.2.2-2, MQTT-3.6.1-1, MQTT-4.8.0-1
/// spec(5, client): MQTT-2.1.3-1, MQTT-3.6.1-1, MQTT-3.14.1-1, MQTT-3.15.1-1, MQTT-4.13.2-1
#[test]
fn every_wrong_flag_in_a_fixed_header_ends_the_connection() {
    for version in VERSIONS {
        let mut cases = Vec::new();
        for kind in [2, 4, 5, 6, 7, 9, 11, 13, 14, 15] {
            if kind == 15 && version != ProtocolVersion::V5 {
                continue;
            }
            let right = if kind == 6 { 2 } else { 0 };
            for flags in (0..16).filter(|flags| *flags != right) {
                cases.push((packet(kind << 4 | flags, &[&[0, 1]]), MALFORMED));
            }
        }
        each_ends(version, &cases);
    }
}

/// spec(4, client): MQTT-1.5.3-1, MQTT-1.5.3-2, MQTT-4.7.3-2
/// spec(5, client): MQTT-1.5.4-1, MQTT-1.5.4-2, MQTT-1.5.7-1, MQTT-4.7.3-2
#[test]
fn text_that_is_no_text_ends_the_connection() {
    let bad: [&[u8]; 6] = [
        b"\xC3\x28",
        b"\xED\xA0\x80",
        b"\xC0\x80",
        b"\xF8\x88\x80\x80",
        b"\xFF\xFE",
        b"a\0b",
    ];
    for text in bad.map(field) {
        each_ends(
            ProtocolVersion::V3_1_1,
            &[(packet(0x30, &[&text]), MALFORMED)],
        );
        let reason_string = block(&[&[0x1F], &text[..]].concat());
        let name = [&[0x26], &text[..], &field(b"value")].concat();
        let value = [&[0x26], &field(b"name")[..], &text].concat();
        each_ends(
            ProtocolVersion::V5,
            &[
                (packet(0x30, &[&text, &[0]]), MALFORMED),
                (publish(&[&[0x03], &text[..]].concat()), MALFORMED),
                (publish(&[&[0x08], &text[..]].concat()), MALFORMED),
                (publish(&name), MALFORMED),
                (publish(&value), MALFORMED),
                (packet(0x40, &[&[0, 1, 0], &block(&name)]), MALFORMED),
                (packet(0xE0, &[&[0x80], &block(&value)]), MALFORMED),
                (packet(0x40, &[&[0, 1, 0x80], &reason_string]), MALFORMED),
                (packet(0x90, &[&[0, 1], &reason_string, &[0]]), MALFORMED),
                (packet(0xE0, &[&[0x80], &reason_string]), MALFORMED),
            ],
        );
    }
}

/// spec(4, client): MQTT-3.3.1-4, MQTT-3.3.2-2, MQTT-4.7.1-1, MQTT-4.7.3-1
/// spec(5, client): MQTT-3.3.1-4, MQTT-3.3.2-2, MQTT-4.7.0-1, MQTT-4.7.3-1
#[test]
fn a_message_of_qos_3_or_to_what_is_no_topic_ends_the_connection() {
    for version in VERSIONS {
        let none = if version == ProtocolVersion::V5 {
            &[0][..]
        } else {
            &[]
        };
        let mut cases = vec![(packet(0x30, &[&field(b""), none]), ERROR)];
        for first in [0x36, 0x37, 0x3E, 0x3F] {
            cases.push((packet(first, &[&field(b"t"), &[0, 1], none]), MALFORMED));
        }
        for topic in [&b"a/+"[..], b"a/#", b"#", b"+", b"a+b"] {
            cases.push((
                packet(0x30, &[&field(topic), none]),
                &[ReasonCode::TopicNameInvalid],
            ));
        }
        each_ends(version, &cases);
    }
}

/// spec(5, client): MQTT-3.3.2-8, MQTT-3.3.2-14
#[test]
fn a_property_with_a_forbidden_value_ends_the_connection() {
    let response = |topic: &[u8]| publish(&[&[0x08], &field(topic)[..]].concat());
    each_ends(
        ProtocolVersion::V5,
        &[
            (publish(&[0x23, 0, 0]), &[ReasonCode::TopicAliasInvalid]),
            (response(b"a/#"), ERROR),
            (response(b"+"), ERROR),
            (response(b""), ERROR),
        ],
    );
}

/// spec(5, client): MQTT-3.4.2-1, MQTT-3.5.2-1, MQTT-3.6.2-1, MQTT-3.7.2-1, MQTT-3.9.3-2, MQTT-3.11.3-2, MQTT-3.14.2-1
#[test]
fn a_reason_code_that_does_not_belong_there_ends_the_connection() {
    let listed: [(u8, &[u8]); 6] = [
        (0x40, b"\x00\x10\x80\x83\x87\x90\x91\x97\x99"),
        (0x50, b"\x00\x10\x80\x83\x87\x90\x91\x97\x99"),
        (0x62, b"\x00\x92"),
        (0x70, b"\x00\x92"),
        (0x90, b"\x00\x01\x02\x80\x83\x87\x8F\x91\x97\x9E\xA1\xA2"),
        (0xB0, b"\x00\x11\x80\x83\x87\x8F\x91"),
    ];
    for (first, listed) in listed {
        let is_answer = first == 0x90 || first == 0xB0;
        for code in 0..=u8::MAX {
            let bytes = if is_answer {
                packet(first, &[&[0, 9, 0, code]])
            } else {
                packet(first, &[&[0, 9, code]])
            };
            if listed.contains(&code) {
                let mut script = Script::connected(ProtocolVersion::V5, 100);
                assert_eq!(script.hear_bytes(&bytes), Ok(None), "{bytes:02x?}");
            } else {
                each_ends(ProtocolVersion::V5, &[(bytes, EITHER)]);
            }
        }
    }
    for code in [0x01, 0x10, 0x11, 0x18, 0x84, 0x85, 0x86, 0x88, 0xFF] {
        each_ends(ProtocolVersion::V5, &[(vec![0xE0, 1, code], EITHER)]);
    }
}
