//! What is refused in both versions or in 3.1.1 alone, and what cannot be written.

use super::{
    V4, V5, assert_malformed, assert_protocol_error, hex, id, read, read_whole, refusal, topic,
    write,
};
use rmqtt::codec::{
    Connect, ConnectProperties, DecodeError, EncodeError, Packet, ProtocolVersion, Publish,
    ReasonCode, SubAck, Subscribe, SubscribeFilter, SubscriptionOptions, Unsubscribe,
};
use rmqtt::message::{Message, QoS};

const VERSIONS: [ProtocolVersion; 2] = [V4, V5];

/// A CONNECT of 3.1.1 with these flags and this payload behind the client id `c`.
fn connect_v4(flags: &str, payload: &str) -> String {
    let body = format!("0004 4D515454 04 {flags} 003C 0001 63 {payload}");
    format!("10 {:02X} {body}", hex(&body).len())
}

fn connect_v5(flags: &str, payload: &str) -> String {
    let body = format!("0004 4D515454 05 {flags} 003C 00 0001 63 {payload}");
    format!("10 {:02X} {body}", hex(&body).len())
}

#[track_caller]
fn clause_not_written(packet: &Packet, version: ProtocolVersion) -> &'static str {
    match write(packet, version) {
        Err(EncodeError::NotAllowed { clause, .. }) => clause,
        other => panic!("{other:?}"),
    }
}

/// spec(4): MQTT-2.2.2-1
/// spec(4): MQTT-2.2.2-2, MQTT-3.6.1-1, MQTT-3.8.1-1, MQTT-3.10.1-1
/// spec(5): MQTT-3.6.1-1, MQTT-3.8.1-1, MQTT-3.10.1-1, MQTT-3.14.1-1, MQTT-3.15.1-1
/// spec(5): MQTT-2.1.3-1
#[test]
fn every_wrong_flag_is_refused_at_the_first_byte() {
    for version in VERSIONS {
        for number in (1..=15_u8).filter(|&number| number != 3) {
            if number == 15 && version == V4 {
                continue;
            }
            let right = if [6, 8, 10].contains(&number) { 2 } else { 0 };
            for flags in 0..=15 {
                let first = [number << 4 | flags];
                if flags == right {
                    assert_eq!(read(&first, version), Ok(None));
                } else {
                    let error = read(&first, version).unwrap_err();
                    assert_eq!(error.reason(), ReasonCode::MalformedPacket);
                }
            }
        }
    }
}

/// spec(4): RMQTT-2.2.1-1
/// spec(5): RMQTT-2.1.2-1
#[test]
fn type_0_does_not_exist_and_type_15_only_in_mqtt_5() {
    assert_malformed("00", V4);
    assert_malformed("00", V5);
    assert_malformed("F0", V4);
    assert_eq!(read(&hex("F0"), V5), Ok(None));
}

/// spec(4): RMQTT-2.2.3-1
/// spec(5): RMQTT-1.5.5-1
#[test]
fn a_remaining_length_of_five_bytes_is_malformed() {
    for version in VERSIONS {
        assert_eq!(read(&hex("30 808080"), version), Ok(None));
        assert_malformed("30 80808080", version);
        assert_malformed("30 FFFFFFFF 01", version);
    }
}

/// spec(4): MQTT-3.3.1-4
/// spec(5): MQTT-3.3.1-4
#[test]
fn a_publish_of_qos_3_is_malformed() {
    for version in VERSIONS {
        for first in ["36", "37", "3E", "3F"] {
            assert_eq!(
                refusal(first, version),
                (ReasonCode::MalformedPacket, "MQTT-3.3.1-4")
            );
        }
    }
}

/// spec(4): MQTT-3.3.1-2
/// spec(5): MQTT-3.3.1-2
#[test]
fn dup_is_refused_with_qos_0_both_ways() {
    let packet = Packet::Publish(Publish {
        dup: true,
        ..Publish::new(Message::new(topic("t"), ""))
    });
    for version in VERSIONS {
        assert_malformed("38", version);
        assert_eq!(clause_not_written(&packet, version), "MQTT-3.3.1-2");
    }
}

/// spec(4): MQTT-2.3.1-1
/// spec(4): RMQTT-2.3.1-1
/// spec(5): RMQTT-2.2.1-1
#[test]
fn a_packet_id_of_0_is_a_protocol_error() {
    for digits in [
        "32 05 0001 74 0000",
        "34 05 0001 74 0000",
        "40 02 0000",
        "50 02 0000",
        "62 02 0000",
        "70 02 0000",
        "82 06 0000 0001 61 00",
        "90 03 0000 00",
        "A2 05 0000 0001 61",
        "B0 02 0000",
    ] {
        assert_eq!(
            refusal(digits, V4),
            (ReasonCode::ProtocolError, "MQTT-2.3.1-1")
        );
    }
    for digits in ["32 06 0001 74 0000 00", "82 07 0000 00 0001 61 00"] {
        assert_eq!(
            refusal(digits, V5),
            (ReasonCode::ProtocolError, "MQTT-2.2.1-3")
        );
    }
}

/// spec(4): MQTT-2.3.1-1, MQTT-2.3.1-5
/// spec(5): MQTT-2.2.1-2
#[test]
fn a_publish_is_written_with_a_packet_id_exactly_if_it_needs_one() {
    let message = Message::new(topic("t"), "");
    let with_id = Packet::Publish(Publish {
        packet_id: Some(id(1)),
        ..Publish::new(message.clone())
    });
    let without = Packet::Publish(Publish::new(message.with_qos(QoS::AtLeastOnce)));
    for version in VERSIONS {
        clause_not_written(&with_id, version);
        clause_not_written(&without, version);
    }
}

/// spec(4): MQTT-3.1.3-4, MQTT-3.1.3-10, MQTT-3.1.3-11, MQTT-3.3.2-1, MQTT-3.8.3-1, MQTT-3.10.3-1
/// spec(4): MQTT-1.5.3-1
#[test]
fn text_that_is_not_utf_8_is_malformed() {
    for bad in ["C328", "FFFE", "C080", "EDA080", "EDBFBF", "F8888080", "C3"] {
        let text = format!("{:04X}{bad}", bad.len() / 2);
        let length = bad.len() / 2;
        let mut packets = vec![
            format!("10 {:02X} 0004 4D515454 04 02 003C {text}", 12 + length),
            connect_v4("06", &format!("{text} 0000")),
            connect_v4("82", &text),
            format!("30 {:02X} {text}", 2 + length),
            format!("82 {:02X} 0001 {text} 00", 5 + length),
            format!("A2 {:02X} 0001 {text}", 4 + length),
        ];
        for packet in packets.drain(..) {
            assert_eq!(
                refusal(&packet, V4),
                (ReasonCode::MalformedPacket, "MQTT-1.5.3-1")
            );
        }
    }
    // A password is not text.
    read_whole(&hex(&connect_v4("C2", "0001 75 0002 C328")), V4);
}

/// spec(4): MQTT-1.5.3-2
/// spec(4): MQTT-4.7.3-2
/// spec(5): MQTT-1.5.4-2, MQTT-4.7.3-2
#[test]
fn the_character_nul_is_refused_both_ways() {
    let filter = SubscribeFilter {
        filter: "a\0".into(),
        options: SubscriptionOptions::default(),
    };
    let connect = Packet::Connect(Box::new(Connect {
        version: V4,
        clean_start: true,
        keep_alive: 0,
        client_id: "x\0".into(),
        will: None,
        username: None,
        password: None,
        properties: ConnectProperties::default(),
    }));
    let subscribe = Packet::Subscribe(Subscribe {
        packet_id: id(1),
        filters: vec![filter],
        subscription_id: None,
        user_properties: Vec::new(),
    });
    for (version, publish) in [(V4, "30 04 0002 6100"), (V5, "30 05 0002 6100 00")] {
        assert_malformed(publish, version);
        clause_not_written(&connect, version);
        clause_not_written(&subscribe, version);
    }
    assert_malformed("82 07 0001 0002 6100 00", V4);
    assert_malformed("A2 06 0001 0002 6100", V4);
    assert_malformed(&connect_v4("82", "0001 00"), V4);
    assert_malformed("10 0E 0004 4D515454 04 02 003C 0002 7800", V4);
}

/// spec(4): MQTT-3.3.2-2
/// spec(5): MQTT-3.3.2-2
#[test]
fn a_topic_name_with_a_wildcard_is_refused() {
    let refused = (ReasonCode::ProtocolError, "MQTT-3.3.2-2");
    for topic in ["0003 612F2B", "0003 612F23", "0003 23612F", "0003 2B2B2B"] {
        assert_eq!(refusal(&format!("30 05 {topic}"), V4), refused);
        assert_eq!(refusal(&format!("30 06 {topic} 00"), V5), refused);
    }
    assert_eq!(refusal(&connect_v4("06", "0001 23 0000"), V4), refused);
    assert_eq!(refusal(&connect_v5("06", "00 0001 2B 0000"), V5), refused);
}

/// spec(4): MQTT-4.7.3-1
/// spec(5): MQTT-4.7.3-1
#[test]
fn empty_topics_and_filters_are_refused() {
    assert_protocol_error("30 02 0000", V4);
    assert_protocol_error("30 03 0000 00", V5);
    assert_protocol_error("82 05 0001 0000 00", V4);
    assert_protocol_error("82 06 0001 00 0000 00", V5);
    assert_protocol_error("A2 04 0001 0000", V4);
    assert_protocol_error("A2 05 0001 00 0000", V5);
    let packet = Packet::Unsubscribe(Unsubscribe {
        packet_id: id(1),
        filters: vec!["".into()],
        user_properties: Vec::new(),
    });
    assert_eq!(clause_not_written(&packet, V5), "MQTT-4.7.3-1");
}

/// spec(4): MQTT-3.1.2-11, MQTT-3.1.2-13, MQTT-3.1.2-14, MQTT-3.1.2-15
/// spec(5): MQTT-3.1.2-11, MQTT-3.1.2-12, MQTT-3.1.2-13
#[test]
fn will_flags_without_a_will_are_malformed_and_so_is_qos_3() {
    for flags in ["0A", "12", "22", "20", "08", "10", "18", "1E", "1C"] {
        assert_malformed(&connect_v4(flags, "0001 77 0000"), V4);
        assert_malformed(&connect_v5(flags, "00 0001 77 0000"), V5);
    }
    for (flags, qos) in [("06", 0), ("0E", 1), ("16", 2)] {
        for (digits, version) in [
            (connect_v4(flags, "0001 77 0000"), V4),
            (connect_v5(flags, "00 0001 77 0000"), V5),
        ] {
            let Packet::Connect(connect) = read_whole(&hex(&digits), version) else {
                panic!("no CONNECT")
            };
            let will = connect.will.unwrap();
            assert_eq!(will.message.qos as u8, qos);
        }
    }
}

#[test]
fn the_reserved_connect_flag_is_malformed() {
    assert_malformed(&connect_v4("03", ""), V4);
    assert_malformed(&connect_v5("01", ""), V5);
}

/// spec(4): MQTT-3.1.2-9, MQTT-3.1.2-18, MQTT-3.1.2-19, MQTT-3.1.2-20, MQTT-3.1.2-21, MQTT-3.1.3-3
/// spec(5): MQTT-3.1.2-9, MQTT-3.1.2-16, MQTT-3.1.2-17, MQTT-3.1.2-18, MQTT-3.1.2-19, MQTT-3.1.3-3
#[test]
fn a_connect_has_exactly_the_fields_that_its_flags_say() {
    for (flags, fields) in [
        ("06", ""),
        ("06", "0001 77"),
        ("06", "0001 77 0000 0000"),
        ("82", ""),
        ("82", "0001 75 0001 70"),
        ("C2", "0001 75"),
        ("C2", "0001 75 0001 70 00"),
        ("02", "0001 75"),
        ("02", "0001 77 0001 78"),
    ] {
        assert_malformed(&connect_v4(flags, fields), V4);
    }
    for (flags, fields) in [
        ("06", ""),
        ("06", "00 0001 77"),
        ("06", "00 0001 77 0000 0000"),
        ("82", ""),
        ("42", ""),
        ("82", "0001 75 0001 70"),
        ("02", "0001 75"),
    ] {
        assert_malformed(&connect_v5(flags, fields), V5);
    }
    assert_malformed("10 0A 0004 4D515454 04 02 003C", V4);
    assert_malformed("10 0B 0004 4D515454 05 02 003C 00", V5);
}

/// spec(4): MQTT-3.1.2-22
#[test]
fn before_mqtt_5_a_password_needs_a_user_name() {
    let digits = connect_v4("42", "0001 70");
    assert_eq!(
        refusal(&digits, V4),
        (ReasonCode::MalformedPacket, "MQTT-3.1.2-22")
    );
    let connect = Connect {
        version: V4,
        clean_start: true,
        keep_alive: 0,
        client_id: "c".into(),
        will: None,
        username: None,
        password: Some("p".into()),
        properties: ConnectProperties::default(),
    };
    let packet = Packet::Connect(Box::new(connect));
    assert_eq!(clause_not_written(&packet, V4), "MQTT-3.1.2-22");
}

#[test]
fn other_levels_and_names_are_not_supported() {
    for (level, digits) in [
        (0, "10 0E 0004 4D515454 00 02 003C 0002 6162"),
        (3, "10 0E 0004 4D515454 03 02 003C 0002 6162"),
        (6, "10 0E 0004 4D515454 06 02 003C 0002 6162"),
        (0x84, "10 0E 0004 4D515454 84 02 003C 0002 6162"),
        (4, "10 10 0006 4D5149736470 04 02 003C 0002 6162"),
        // What a future version says after its level is not ours to judge.
        (7, "10 07 0004 4D515454 07"),
    ] {
        let error = read(&hex(digits), V4).unwrap_err();
        assert_eq!(error, DecodeError::UnsupportedVersion { level });
        assert_eq!(error.reason(), ReasonCode::UnsupportedProtocolVersion);
    }
    for name in ["6D717474", "4D515458"] {
        let digits = format!("10 0E 0004 {name} 04 02 003C 0002 6162");
        assert_eq!(
            refusal(&digits, V4),
            (ReasonCode::UnsupportedProtocolVersion, "MQTT-3.1.2-1")
        );
    }
}

/// spec(4): RMQTT-2.2.3-2
/// spec(5): RMQTT-2.1.4-1
#[test]
fn leftovers_are_malformed() {
    for digits in [
        "82 07 0001 0001 61 00 00",
        "A2 06 0001 0001 61 00",
        "20 03 00 00 00",
        "E0 01 00",
        "C0 01 00",
        "B0 03 0001 00",
    ] {
        assert_malformed(digits, V4);
    }
    for digits in [
        "40 05 0001 00 00 00",
        "20 04 00 00 00 00",
        "E0 03 00 00 00",
        "D0 01 00",
    ] {
        assert_malformed(digits, V5);
    }
}

/// spec(4): RMQTT-2.2.3-2
#[test]
fn fields_that_run_past_the_packet_are_malformed() {
    for digits in [
        "30 03 0002 74",
        "30 02 FFFF",
        "32 04 0001 74 00",
        "82 05 0001 0001 61",
        "82 04 0001 0001",
        "A2 03 0001 00",
        "10 02 0004",
    ] {
        assert_malformed(digits, V4);
    }
}

/// spec(4): MQTT-3.8.3-3, MQTT-3.10.3-2
/// spec(5): MQTT-3.8.3-2, MQTT-3.10.3-2
#[test]
fn subscribe_and_unsubscribe_need_a_filter() {
    assert_protocol_error("82 02 0001", V4);
    assert_protocol_error("82 03 0001 00", V5);
    assert_protocol_error("A2 02 0001", V4);
    assert_protocol_error("A2 03 0001 00", V5);
    let subscribe = Packet::Subscribe(Subscribe {
        packet_id: id(1),
        filters: Vec::new(),
        subscription_id: None,
        user_properties: Vec::new(),
    });
    let unsubscribe = Packet::Unsubscribe(Unsubscribe {
        packet_id: id(1),
        filters: Vec::new(),
        user_properties: Vec::new(),
    });
    for version in VERSIONS {
        clause_not_written(&subscribe, version);
        clause_not_written(&unsubscribe, version);
    }
}

#[test]
fn before_mqtt_5_subscription_options_are_the_qos_alone() {
    for options in ["03", "04", "08", "10", "80", "FC"] {
        assert_eq!(
            refusal(&format!("82 06 0001 0001 61 {options}"), V4),
            (ReasonCode::MalformedPacket, "MQTT-3.8.3-4")
        );
    }
}

/// spec(4): MQTT-3.9.3-2
#[test]
fn before_mqtt_5_a_suback_has_four_codes() {
    for code in 0..=u8::MAX {
        let result = read(&[0x90, 3, 0, 1, code], V4);
        assert_eq!(result.is_ok(), matches!(code, 0..=2 | 0x80), "{code}");
    }
    assert_malformed("90 02 0001", V4);
    for reason in (0..=u8::MAX).filter_map(ReasonCode::from_number) {
        let packet = Packet::SubAck(SubAck {
            packet_id: id(1),
            reasons: vec![reason],
            properties: None,
        });
        if let Ok(bytes) = write(&packet, V4) {
            assert!(matches!(bytes[4], 0..=2 | 0x80), "{reason:?}");
        }
    }
}

/// spec(4): RMQTT-3.2.2-1
#[test]
fn before_mqtt_5_a_connack_has_six_codes() {
    for code in 0..=u8::MAX {
        assert_eq!(read(&[0x20, 2, 0, code], V4).is_ok(), code <= 5, "{code}");
    }
    assert_malformed("20 02 02 00", V4);
    assert_protocol_error("20 02 01 05", V4);
}
