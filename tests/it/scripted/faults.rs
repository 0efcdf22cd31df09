//! A broker that breaks a rule: the client ends the connection, and tells a broker of MQTT 5 by which code.

use super::VERSIONS;
use super::script::{Script, options, subscribe};
use rmqtt::client::ClientError;
use rmqtt::client::protocol::Event;
use rmqtt::codec::{Packet, ProtocolVersion, ReasonCode};

const MALFORMED: &[ReasonCode] = &[ReasonCode::MalformedPacket];
const ERROR: &[ReasonCode] = &[ReasonCode::ProtocolError];
const EITHER: &[ReasonCode] = &[ReasonCode::MalformedPacket, ReasonCode::ProtocolError];

/// A client whose broker has not answered yet.
fn connecting(version: ProtocolVersion) -> Script {
    let mut script = Script::connected(version, 100);
    script.client.connection_lost();
    script.client.connect(script.now).expect("idle");
    script
}

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
            cases.push((packet(0x30, &[&field(topic), none]), ERROR));
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

/// spec(4, client): RMQTT-2.2.1-2
/// spec(5, client): RMQTT-2.1.2-2
#[test]
fn what_only_clients_send_ends_the_connection() {
    for version in VERSIONS {
        let is_v5 = version == ProtocolVersion::V5;
        let none = if is_v5 { &[0][..] } else { &[] };
        let level = if is_v5 { 5 } else { 4 };
        let name = field(b"MQTT");
        let connect = packet(0x10, &[&name, &[level, 2, 0, 0], none, &field(b"c")]);
        let mut cases = vec![
            (connect, ERROR),
            (packet(0x82, &[&[0, 1], none, &field(b"t"), &[0]]), ERROR),
            (packet(0xA2, &[&[0, 1], none, &field(b"t")]), ERROR),
            (vec![0xC0, 0], ERROR),
        ];
        if !is_v5 {
            cases.push((vec![0xE0, 0], ERROR));
        }
        each_ends(version, &cases);
    }
}

/// spec(4): RMQTT-3.2.0-1, RMQTT-3.2.0-2
/// spec(5): RMQTT-3.2.0-1, RMQTT-3.2.0-2
#[test]
fn connack_comes_first_and_once() {
    for version in VERSIONS {
        let (connack, publish): (&[u8], &[u8]) = match version {
            ProtocolVersion::V5 => (&[0x20, 3, 0, 0, 0], b"\x30\x04\0\x01t\0"),
            _ => (&[0x20, 2, 0, 0], b"\x30\x03\0\x01t"),
        };
        for bytes in [publish, &[0xD0, 0], &[0x40, 2, 0, 1]] {
            let mut script = connecting(version);
            script.sent();
            let heard = script.hear_bytes(bytes);
            assert!(
                matches!(heard, Err(ClientError::Protocol { .. })),
                "{heard:?}"
            );
            assert!(!script.client.is_connected());
        }
        each_ends(version, &[(connack.to_vec(), ERROR)]);
    }
}

/// spec(5): RMQTT-3.1.2-7
#[test]
fn a_packet_larger_than_the_client_takes_ends_the_connection_at_its_fixed_header() {
    let mut options = options(ProtocolVersion::V5);
    options.packet_size_max = Some(50);
    let mut script = Script::with(options.clone(), 100);
    assert_eq!(script.hear_bytes(&[0x30, 48]), Ok(None), "50 bytes in all");
    ends(
        &mut Script::with(options, 100),
        &[0x30, 49],
        &[ReasonCode::PacketTooLarge],
    );
}

/// spec(5, client): RMQTT-3.3.4-2
#[test]
fn more_open_messages_than_the_client_takes_end_the_connection() {
    let mut options = options(ProtocolVersion::V5);
    options.receive_maximum = 2.try_into().expect("not 0");
    let mut script = Script::with(options, 100);
    let publish = |first, id| packet(first, &[&field(b"t"), &[0, id, 0]]);
    for (first, id) in [(0x32, 1), (0x34, 2)] {
        let heard = script.hear_bytes(&publish(first, id));
        assert!(matches!(heard, Ok(Some(Event::Message { .. }))));
    }
    // A repetition is not one more.
    assert_eq!(script.hear_bytes(&publish(0x3C, 2)), Ok(None));
    let reason = [ReasonCode::ReceiveMaximumExceeded];
    ends(&mut script, &publish(0x32, 3), &reason);
}

/// spec(5, client): RMQTT-3.3.2-3, RMQTT-3.3.2-4
#[test]
fn an_alias_that_stands_for_nothing_or_is_too_high_ends_the_connection() {
    let mut options = options(ProtocolVersion::V5);
    options.topic_alias_max = 10;
    for (topic, alias, reason) in [
        (&b""[..], 5, ReasonCode::ProtocolError),
        (b"", 11, ReasonCode::TopicAliasInvalid),
        (b"t", 11, ReasonCode::TopicAliasInvalid),
        (b"t", 0, ReasonCode::TopicAliasInvalid),
    ] {
        let bytes = packet(0x30, &[&field(topic), &block(&[0x23, 0, alias])]);
        ends(&mut Script::with(options.clone(), 100), &bytes, &[reason]);
    }
}

/// spec(4): RMQTT-3.9.3-1
/// spec(5): RMQTT-3.9.3-1
#[test]
fn an_answer_with_another_number_of_codes_ends_the_connection() {
    for version in VERSIONS {
        let none = if version == ProtocolVersion::V5 {
            &[0][..]
        } else {
            &[]
        };
        for codes in [&[0][..], &[0, 0, 0]] {
            let mut script = Script::connected(version, 100);
            let both = [subscribe("a"), subscribe("b")].concat();
            script.client.subscribe(both, None, &[], 1).expect("sent");
            ends(&mut script, &packet(0x90, &[&[0, 1], none, codes]), ERROR);
            if version == ProtocolVersion::V5 {
                let mut script = Script::connected(version, 100);
                let both = vec!["a".into(), "b".into()];
                script.client.unsubscribe(both, &[], 1).expect("sent");
                ends(&mut script, &packet(0xB0, &[&[0, 1], none, codes]), ERROR);
            }
        }
    }
}

/// spec(5, client): RMQTT-3.14.2-5
/// spec(5): RMQTT-3.14.2-3
#[test]
fn a_disconnect_as_only_clients_send_it_breaks_the_protocol() {
    each_ends(
        ProtocolVersion::V5,
        &[
            (vec![0xE0, 1, 0x04], ERROR),
            (b"\xE0\x07\x80\x05\x11\0\0\0\x09".to_vec(), ERROR),
        ],
    );
}
