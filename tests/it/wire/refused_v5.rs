//! What MQTT 5 refuses: properties, reason codes, the shortest form.

use super::{
    V5, assert_malformed, assert_protocol_error, hex, id, read, read_whole, refusal, topic, write,
};
use rmqtt::codec::{
    Ack, AckKind, Auth, ConnAck, ConnAckProperties, Disconnect, EncodeError, Packet, PacketType,
    Publish, ReasonCode, SubAck, Subscribe, SubscribeFilter, SubscriptionOptions, UnsubAck,
};
use rmqtt::message::Message;
use std::num::NonZeroU32;

/// Every property with a value that is right: number, value, where it is allowed, whether it may be repeated there.
#[rustfmt::skip]
const PROPERTIES: &[(&str, &str, &[&str], &[&str])] = &[
    ("01", "01", &["PUBLISH", "WILL"], &[]),
    ("02", "00000001", &["PUBLISH", "WILL"], &[]),
    ("03", "0001 61", &["PUBLISH", "WILL"], &[]),
    ("08", "0001 61", &["PUBLISH", "WILL"], &[]),
    ("09", "0001 61", &["PUBLISH", "WILL"], &[]),
    ("0B", "01", &["PUBLISH", "SUBSCRIBE"], &["PUBLISH"]),
    ("11", "00000001", &["CONNECT", "CONNACK", "DISCONNECT"], &[]),
    ("12", "0001 61", &["CONNACK"], &[]),
    ("13", "0001", &["CONNACK"], &[]),
    ("15", "0001 61", &["CONNECT", "CONNACK", "AUTH"], &[]),
    ("16", "0001 61", &["CONNECT", "CONNACK", "AUTH"], &[]),
    ("17", "00", &["CONNECT"], &[]),
    ("18", "00000001", &["WILL"], &[]),
    ("19", "01", &["CONNECT"], &[]),
    ("1A", "0001 61", &["CONNACK"], &[]),
    ("1C", "0001 61", &["CONNACK", "DISCONNECT"], &[]),
    ("1F", "0001 61", &["CONNACK", "PUBACK", "PUBREC", "PUBREL", "PUBCOMP", "SUBACK", "UNSUBACK", "DISCONNECT", "AUTH"], &[]),
    ("21", "0001", &["CONNECT", "CONNACK"], &[]),
    ("22", "0000", &["CONNECT", "CONNACK"], &[]),
    ("23", "0001", &["PUBLISH"], &[]),
    ("24", "01", &["CONNACK"], &[]),
    ("25", "01", &["CONNACK"], &[]),
    ("26", "0001 61 0001 62", &PLACES, &PLACES),
    ("27", "00000001", &["CONNECT", "CONNACK"], &[]),
    ("28", "01", &["CONNACK"], &[]),
    ("29", "01", &["CONNACK"], &[]),
    ("2A", "01", &["CONNACK"], &[]),
];

const PLACES: [&str; 14] = [
    "CONNECT",
    "WILL",
    "CONNACK",
    "PUBLISH",
    "PUBACK",
    "PUBREC",
    "PUBREL",
    "PUBCOMP",
    "SUBSCRIBE",
    "SUBACK",
    "UNSUBSCRIBE",
    "UNSUBACK",
    "DISCONNECT",
    "AUTH",
];

/// A packet that has these properties in this place and is right otherwise.
fn with_properties(place: &str, properties: &str) -> Vec<u8> {
    let length = hex(properties).len();
    let list = format!("{length:02X} {properties}");
    let (first, body) = match place {
        "CONNECT" => ("10", format!("0004 4D515454 05 02 003C {list} 0000")),
        "WILL" => (
            "10",
            format!("0004 4D515454 05 06 003C 00 0000 {list} 0001 77 0000"),
        ),
        "CONNACK" => ("20", format!("00 00 {list}")),
        "PUBLISH" => ("30", format!("0001 74 {list} 78")),
        "PUBACK" => ("40", format!("0001 00 {list}")),
        "PUBREC" => ("50", format!("0001 00 {list}")),
        "PUBREL" => ("62", format!("0001 00 {list}")),
        "PUBCOMP" => ("70", format!("0001 00 {list}")),
        "SUBSCRIBE" => ("82", format!("0001 {list} 0001 61 00")),
        "SUBACK" => ("90", format!("0001 {list} 00")),
        "UNSUBSCRIBE" => ("A2", format!("0001 {list} 0001 61")),
        "UNSUBACK" => ("B0", format!("0001 {list} 00")),
        "DISCONNECT" => ("E0", format!("00 {list}")),
        "AUTH" => ("F0", format!("18 {list}")),
        other => panic!("{other}"),
    };
    let body = hex(&body);
    let mut packet = hex(first);
    packet.push(u8::try_from(body.len()).unwrap());
    packet.extend(body);
    packet
}

fn reason_of(bytes: &[u8]) -> Option<ReasonCode> {
    read(bytes, V5).err().map(|error| error.reason())
}

/// What must be there so that the property can be: data needs its method, AUTH always has one.
fn company(place: &str, number: &str) -> &'static str {
    match (place, number) {
        ("AUTH", "15") => "",
        ("AUTH", _) | (_, "16") => "15 0001 6D",
        _ => "",
    }
}

/// spec(5): RMQTT-2.2.2-1
#[test]
fn each_property_is_taken_where_it_belongs_and_nowhere_else() {
    for place in PLACES {
        for (number, value, allowed, _) in PROPERTIES {
            let properties = format!("{} {number} {value}", company(place, number));
            let result = reason_of(&with_properties(place, &properties));
            if allowed.contains(&place) {
                assert_eq!(result, None, "{number} in {place}");
            } else {
                let malformed = Some(ReasonCode::MalformedPacket);
                assert_eq!(result, malformed, "{number} in {place}");
            }
        }
    }
}

#[test]
fn a_property_is_written_as_it_was_read() {
    for place in PLACES {
        for (number, value, allowed, _) in PROPERTIES {
            if allowed.contains(&place) {
                let properties = format!("{} {number} {value}", company(place, number));
                let bytes = with_properties(place, &properties);
                assert_eq!(write(&read_whole(&bytes, V5), V5), Ok(bytes));
            }
        }
    }
}

/// spec(5): RMQTT-2.2.2-2
#[test]
fn a_property_that_may_occur_once_is_refused_twice() {
    for (number, value, allowed, repeats) in PROPERTIES {
        for place in *allowed {
            let once = format!("{number} {value}");
            let properties = format!("{} {once} {once}", company(place, number));
            let result = reason_of(&with_properties(place, &properties));
            let expected = (!repeats.contains(place)).then_some(ReasonCode::ProtocolError);
            assert_eq!(result, expected, "{number} twice in {place}");
        }
    }
}

/// spec(5): RMQTT-2.2.2-1
#[test]
fn all_other_numbers_are_no_property() {
    let known: Vec<u8> = PROPERTIES.iter().map(|row| hex(row.0)[0]).collect();
    for number in (0..0x80_u8).filter(|number| !known.contains(number)) {
        for place in PLACES {
            let digits = format!("{number:02X} 0000 0000 0000");
            let result = reason_of(&with_properties(place, &digits));
            assert_eq!(result, Some(ReasonCode::MalformedPacket), "{number}");
        }
    }
    assert_malformed("30 07 0001 74 03 8101 00", V5);
}

/// spec(5): MQTT-3.3.2-13, MQTT-3.3.2-19
/// spec(5): MQTT-1.5.4-1, MQTT-1.5.7-1, MQTT-3.3.2-8, MQTT-3.3.2-14
/// spec(5): RMQTT-3.1.2-3, RMQTT-3.1.2-4, RMQTT-3.1.2-5, RMQTT-3.1.2-6, RMQTT-3.2.2-1, RMQTT-3.3.2-1, RMQTT-3.3.2-5
#[test]
fn values_out_of_their_range_are_refused_with_the_right_code() {
    use ReasonCode::{MalformedPacket, ProtocolError, TopicAliasInvalid};
    for (place, properties, reason) in [
        ("PUBLISH", "01 02", ProtocolError),
        ("WILL", "01 FF", ProtocolError),
        ("PUBLISH", "23 0000", TopicAliasInvalid),
        ("PUBLISH", "0B 00", ProtocolError),
        ("SUBSCRIBE", "0B 00", ProtocolError),
        ("SUBSCRIBE", "0B 8100", MalformedPacket),
        ("SUBSCRIBE", "0B FFFFFFFF", MalformedPacket),
        ("CONNECT", "21 0000", ProtocolError),
        ("CONNACK", "21 0000", ProtocolError),
        ("CONNECT", "27 00000000", ProtocolError),
        ("CONNACK", "27 00000000", ProtocolError),
        ("CONNECT", "17 02", ProtocolError),
        ("CONNECT", "19 02", ProtocolError),
        ("CONNACK", "24 02", ProtocolError),
        ("CONNACK", "25 02", ProtocolError),
        ("CONNACK", "28 02", ProtocolError),
        ("CONNACK", "29 02", ProtocolError),
        ("CONNACK", "2A 02", ProtocolError),
        ("CONNECT", "16 0001 64", ProtocolError),
        ("CONNACK", "16 0001 64", ProtocolError),
        ("AUTH", "16 0001 64", ProtocolError),
        ("PUBLISH", "08 0003 612F23", ProtocolError),
        ("WILL", "08 0001 2B", ProtocolError),
        ("PUBLISH", "08 0000", ProtocolError),
        ("PUBLISH", "08 0002 C328", MalformedPacket),
        ("PUBLISH", "03 0002 C328", MalformedPacket),
        ("PUBLISH", "26 0002 C328 0001 61", MalformedPacket),
        ("PUBLISH", "26 0001 61 0002 C328", MalformedPacket),
        ("PUBLISH", "26 0001 00 0001 61", MalformedPacket),
        ("PUBACK", "1F 0001 00", MalformedPacket),
        ("PUBACK", "26 0001 61 0002 62", MalformedPacket),
        ("PUBACK", "26 0001 61", MalformedPacket),
        ("CONNECT", "11 000000", MalformedPacket),
    ] {
        let result = reason_of(&with_properties(place, properties));
        assert_eq!(result, Some(reason), "{properties} in {place}");
    }
}

/// spec(5): MQTT-2.2.2-1
/// spec(5): RMQTT-2.2.2-4
#[test]
fn the_property_length_is_always_there_but_in_the_short_forms() {
    for digits in [
        "10 0A 0004 4D515454 05 02 003C",
        "20 02 00 00",
        "30 03 0001 74",
        "82 02 0001",
        "90 02 0001",
        "A2 02 0001",
        "B0 02 0001",
        "F0 01 18",
        // A property list that claims to be longer than its packet.
        "30 05 0001 74 02 23",
        "40 04 0001 00 01",
    ] {
        assert_malformed(digits, V5);
    }
    for digits in ["40 02 0001", "40 03 0001 00", "E0 00", "E0 01 04"] {
        read_whole(&hex(digits), V5);
    }
}

/// spec(5): MQTT-1.5.5-1
#[test]
fn a_length_that_is_not_in_its_shortest_form_is_malformed() {
    let shortest = (ReasonCode::MalformedPacket, "MQTT-1.5.5-1");
    for digits in [
        "30 8400 0001 74 00",
        "C0 8000",
        "30 05 0001 74 8000",
        "10 8F00 0004 4D515454 05 02 003C 00 0002 6162",
    ] {
        assert_eq!(refusal(digits, V5), shortest);
    }
    // 3.1.1 has no such rule, whatever the connection was thought to speak when the CONNECT arrives.
    let connect = hex("10 8E00 0004 4D515454 04 02 003C 0002 6162");
    read_whole(&connect, V5);
    read_whole(&hex("30 8300 0001 74"), super::V4);
}

/// spec(5): MQTT-3.1.3-4, MQTT-3.1.3-11, MQTT-3.1.3-12, MQTT-3.3.2-1, MQTT-3.8.3-1, MQTT-3.10.3-1
#[test]
fn text_that_is_not_utf_8_is_malformed() {
    for digits in [
        "10 0F 0004 4D515454 05 02 003C 00 0002 FFFE",
        "10 14 0004 4D515454 05 06 003C 00 0000 00 0002 C328 0000",
        "10 11 0004 4D515454 05 82 003C 00 0000 0002 C328",
        "30 05 0002 C328 00",
        "82 08 0001 00 0002 C328 00",
        "A2 07 0001 00 0002 C328",
    ] {
        assert_eq!(
            refusal(digits, V5),
            (ReasonCode::MalformedPacket, "MQTT-1.5.4-1")
        );
    }
    read_whole(&hex("10 11 0004 4D515454 05 42 003C 00 0000 0002 C328"), V5);
}

/// spec(5): RMQTT-3.3.2-2
#[test]
fn an_empty_topic_needs_an_alias() {
    assert_protocol_error("30 03 0000 00", V5);
    let packet = Packet::Publish(Publish {
        topic_on_wire: false,
        ..Publish::new(Message::new(topic("t"), ""))
    });
    assert!(write(&packet, V5).is_err());
    assert!(write(&packet, super::V4).is_err());
}

/// spec(5): MQTT-3.8.3-4
#[test]
fn subscription_options_are_checked() {
    for (options, reason) in [
        ("03", ReasonCode::ProtocolError),
        ("30", ReasonCode::ProtocolError),
        ("40", ReasonCode::MalformedPacket),
        ("80", ReasonCode::MalformedPacket),
    ] {
        let digits = format!("82 07 0001 00 0001 61 {options}");
        assert_eq!(refusal(&digits, V5).0, reason, "{options}");
    }
    let shared = "82 10 0001 00 000A 2473686172652F672F74";
    assert_protocol_error(&format!("{shared} 04"), V5);
    read_whole(&hex(&format!("{shared} 00")), V5);
    let packet = Packet::Subscribe(Subscribe {
        packet_id: id(1),
        filters: vec![SubscribeFilter {
            filter: "$share/g/t".into(),
            options: SubscriptionOptions {
                no_local: true,
                ..SubscriptionOptions::default()
            },
        }],
        subscription_id: None,
        user_properties: Vec::new(),
    });
    let refused = EncodeError::NotAllowed {
        what: "No Local is set on a shared subscription",
        clause: "MQTT-3.8.3-4",
    };
    assert_eq!(write(&packet, V5), Err(refused));
    assert!(write(&packet, super::V4).is_ok());
}

/// spec(5): RMQTT-3.3.2-5
#[test]
fn a_subscription_identifier_fits_its_variable_byte_integer() {
    let packet = |number| {
        Packet::Subscribe(Subscribe {
            packet_id: id(1),
            filters: vec![SubscribeFilter {
                filter: "a".into(),
                options: SubscriptionOptions::default(),
            }],
            subscription_id: NonZeroU32::new(number),
            user_properties: Vec::new(),
        })
    };
    assert!(write(&packet(268_435_455), V5).is_ok());
    assert!(write(&packet(268_435_456), V5).is_err());
}

/// spec(5): MQTT-3.2.2-1
#[test]
fn the_acknowledge_flags_have_one_bit() {
    for flags in 2..=u8::MAX {
        let result = reason_of(&[0x20, 3, flags, 0, 0]);
        assert_eq!(result, Some(ReasonCode::MalformedPacket), "{flags}");
    }
    assert_protocol_error("20 03 01 80 00", V5);
}

/// The codes that the standard lists, kind by kind.
const CODES: [(PacketType, &str); 9] = [
    (
        PacketType::ConnAck,
        "00 80 81 82 83 84 85 86 87 88 89 8A 8C 90 95 97 99 9A 9B 9C 9D 9F",
    ),
    (PacketType::PubAck, "00 10 80 83 87 90 91 97 99"),
    (PacketType::PubRec, "00 10 80 83 87 90 91 97 99"),
    (PacketType::PubRel, "00 92"),
    (PacketType::PubComp, "00 92"),
    (PacketType::SubAck, "00 01 02 80 83 87 8F 91 97 9E A1 A2"),
    (PacketType::UnsubAck, "00 11 80 83 87 8F 91"),
    (
        PacketType::Disconnect,
        "00 04 80 81 82 83 87 89 8B 8C 8D 8E 8F 90 93 94 95 96 97 98 99 9A 9B 9C 9D 9E 9F A0 A1 A2",
    ),
    (PacketType::Auth, "00 18 19"),
];

/// spec(5): MQTT-3.2.2-8
/// spec(5): MQTT-3.4.2-1, MQTT-3.5.2-1, MQTT-3.6.2-1, MQTT-3.7.2-1, MQTT-3.9.3-2, MQTT-3.11.3-2
/// spec(5): MQTT-3.14.2-1, MQTT-3.15.2-1
#[test]
fn each_kind_of_packet_reads_its_own_codes_and_no_other() {
    for (packet_type, codes) in CODES {
        for code in 0..=u8::MAX {
            let digits = match packet_type {
                PacketType::ConnAck => format!("20 03 00 {code:02X} 00"),
                PacketType::PubAck => format!("40 03 0001 {code:02X}"),
                PacketType::PubRec => format!("50 03 0001 {code:02X}"),
                PacketType::PubRel => format!("62 03 0001 {code:02X}"),
                PacketType::PubComp => format!("70 03 0001 {code:02X}"),
                PacketType::SubAck => format!("90 04 0001 00 {code:02X}"),
                PacketType::UnsubAck => format!("B0 04 0001 00 {code:02X}"),
                PacketType::Disconnect => format!("E0 01 {code:02X}"),
                _ => format!("F0 06 {code:02X} 04 15 0001 6D"),
            };
            let expected = (!hex(codes).contains(&code)).then_some(ReasonCode::ProtocolError);
            let result = reason_of(&hex(&digits));
            assert_eq!(result, expected, "{packet_type:?} {code:02X}");
        }
    }
}

/// spec(5): MQTT-3.2.2-8
/// spec(5): MQTT-3.4.2-1, MQTT-3.5.2-1, MQTT-3.6.2-1, MQTT-3.7.2-1, MQTT-3.9.3-2, MQTT-3.11.3-2
/// spec(5): MQTT-3.14.2-1, MQTT-3.15.2-1
#[test]
fn each_kind_of_packet_is_written_with_its_own_codes_and_no_other() {
    for (packet_type, codes) in CODES {
        for reason in (0..=u8::MAX).filter_map(ReasonCode::from_number) {
            let ack = |kind| Packet::Ack(Ack::new(kind, id(1), reason));
            let packet = match packet_type {
                PacketType::ConnAck => Packet::ConnAck(Box::new(ConnAck {
                    session_present: false,
                    reason,
                    properties: ConnAckProperties::default(),
                })),
                PacketType::PubAck => ack(AckKind::PubAck),
                PacketType::PubRec => ack(AckKind::PubRec),
                PacketType::PubRel => ack(AckKind::PubRel),
                PacketType::PubComp => ack(AckKind::PubComp),
                PacketType::SubAck => Packet::SubAck(SubAck {
                    packet_id: id(1),
                    reasons: vec![reason],
                    properties: None,
                }),
                PacketType::UnsubAck => Packet::UnsubAck(UnsubAck {
                    packet_id: id(1),
                    reasons: vec![reason],
                    properties: None,
                }),
                PacketType::Disconnect => Packet::Disconnect(Disconnect::new(reason)),
                _ => Packet::Auth(Auth {
                    reason,
                    method: "m".into(),
                    data: None,
                    reason_string: None,
                    user_properties: Vec::new(),
                }),
            };
            let is_listed = hex(codes).contains(&reason.number());
            assert_eq!(write(&packet, V5).is_ok(), is_listed, "{packet:?}");
        }
    }
}

/// spec(5): RMQTT-3.15.2-1
#[test]
fn an_auth_names_its_method() {
    assert_protocol_error("F0 00", V5);
    assert_protocol_error("F0 02 18 00", V5);
}
