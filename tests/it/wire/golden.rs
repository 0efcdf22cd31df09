//! Each kind of packet in both versions beside its exact bytes, read and written.

use super::{V4, V5, hex, id, read_whole, topic, write};
use bytes::Bytes;
use rmqtt::codec::{
    Ack, AckKind, AckProperties, Auth, ConnAck, ConnAckProperties, Connect, ConnectProperties,
    Disconnect, Packet, ProtocolVersion, Publish, ReasonCode, RetainHandling, SubAck, Subscribe,
    SubscribeFilter, SubscriptionOptions, UnsubAck, Unsubscribe, Will,
};
use rmqtt::message::{Message, MessageProperties, QoS};
use std::num::{NonZeroU16, NonZeroU32};
use std::sync::Arc;

#[track_caller]
fn both_ways(version: ProtocolVersion, packet: &Packet, digits: &str) {
    let bytes = hex(digits);
    let written = write(packet, version).unwrap();
    assert_eq!(format!("{written:02X?}"), format!("{bytes:02X?}"));
    assert_eq!(&read_whole(&bytes, version), packet);
}

fn connect(version: ProtocolVersion, client_id: &str) -> Connect {
    Connect {
        version,
        clean_start: true,
        keep_alive: 60,
        client_id: client_id.into(),
        will: None,
        username: None,
        password: None,
        properties: ConnectProperties::default(),
    }
}

fn user(name: &str, value: &str) -> Vec<(bytestring::ByteString, bytestring::ByteString)> {
    vec![(name.into(), value.into())]
}

#[test]
fn a_connect_of_each_level_names_itself() {
    for governing in [V4, V5] {
        both_ways(
            governing,
            &Packet::Connect(Box::new(connect(V4, "ab"))),
            "10 0E 0004 4D515454 04 02 003C 0002 6162",
        );
        both_ways(
            governing,
            &Packet::Connect(Box::new(connect(V5, "ab"))),
            "10 0F 0004 4D515454 05 02 003C 00 0002 6162",
        );
        both_ways(
            governing,
            &Packet::Connect(Box::new(connect(ProtocolVersion::V3_1, "ab"))),
            "10 10 0006 4D5149736470 03 02 003C 0002 6162",
        );
    }
}

/// spec(4): MQTT-3.1.3-1, MQTT-3.1.2-9, MQTT-3.1.2-19, MQTT-3.1.2-21
#[test]
fn the_fields_of_a_connect_stand_in_their_order() {
    let will = Message::new(topic("w/t"), "gone")
        .with_qos(QoS::AtLeastOnce)
        .with_retain(true);
    let packet = Connect {
        will: Some(Will {
            message: will,
            delay_interval: None,
        }),
        username: Some("me".into()),
        password: Some(Bytes::from_static(b"\xFF\x00")),
        ..connect(V4, "c")
    };
    both_ways(
        V4,
        &Packet::Connect(Box::new(packet)),
        "10 20 0004 4D515454 04 EE 003C 0001 63 0003 772F74 0004 676F6E65 0002 6D65 0002 FF00",
    );
}

/// spec(5): MQTT-3.1.3-1, MQTT-3.1.2-9, MQTT-3.1.2-17, MQTT-3.1.2-19
#[test]
fn the_fields_and_properties_of_a_connect_stand_in_their_order() {
    let properties = MessageProperties {
        payload_is_utf8: Some(true),
        message_expiry_interval: Some(9),
        content_type: Some("t".into()),
        response_topic: Some(topic("r")),
        correlation_data: Some(Bytes::from_static(b"\x01")),
        user_properties: user("k", "v"),
    };
    let message = Message {
        properties: Some(Arc::new(properties)),
        ..Message::new(topic("w"), "x").with_qos(QoS::ExactlyOnce)
    };
    let packet = Connect {
        clean_start: false,
        will: Some(Will {
            message,
            delay_interval: Some(5),
        }),
        username: Some("u".into()),
        password: Some(Bytes::from_static(b"p")),
        properties: ConnectProperties {
            session_expiry_interval: Some(u32::MAX),
            receive_maximum: NonZeroU16::new(20),
            maximum_packet_size: NonZeroU32::new(1000),
            topic_alias_maximum: Some(0),
            request_response_information: Some(true),
            request_problem_information: Some(false),
            authentication_method: Some("m".into()),
            authentication_data: Some(Bytes::from_static(b"d")),
            user_properties: user("a", "b"),
        },
        ..connect(V5, "c")
    };
    both_ways(
        V5,
        &Packet::Connect(Box::new(packet)),
        "10 5D 0004 4D515454 05 D4 003C
         23 11 FFFFFFFF 21 0014 27 000003E8 22 0000 19 01 17 00 15 0001 6D 16 0001 64 26 0001 61 0001 62
         0001 63
         1F 18 00000005 01 01 02 00000009 03 0001 74 08 0001 72 09 0001 01 26 0001 6B 0001 76
         0001 77 0001 78 0001 75 0001 70",
    );
}

/// spec(5): MQTT-3.1.2-19
#[test]
fn a_password_needs_no_user_name_in_mqtt_5() {
    let packet = Connect {
        password: Some(Bytes::from_static(b"p")),
        ..connect(V5, "")
    };
    both_ways(
        V5,
        &Packet::Connect(Box::new(packet)),
        "10 10 0004 4D515454 05 42 003C 00 0000 0001 70",
    );
}

#[test]
fn connack() {
    let packet = |session_present, reason| {
        Packet::ConnAck(Box::new(ConnAck {
            session_present,
            reason,
            properties: ConnAckProperties::default(),
        }))
    };
    both_ways(V4, &packet(true, ReasonCode::Success), "20 02 01 00");
    both_ways(V4, &packet(false, ReasonCode::NotAuthorized), "20 02 00 05");
    both_ways(V5, &packet(true, ReasonCode::Success), "20 03 01 00 00");
    both_ways(V5, &packet(false, ReasonCode::Banned), "20 03 00 8A 00");
}

#[test]
fn connack_with_all_properties() {
    let properties = ConnAckProperties {
        session_expiry_interval: Some(1),
        receive_maximum: NonZeroU16::new(2),
        maximum_qos: Some(QoS::AtLeastOnce),
        retain_available: Some(false),
        maximum_packet_size: NonZeroU32::new(3),
        assigned_client_identifier: Some("i".into()),
        topic_alias_maximum: Some(4),
        reason_string: Some("r".into()),
        user_properties: user("a", "b"),
        wildcard_subscription_available: Some(true),
        subscription_identifiers_available: Some(false),
        shared_subscription_available: Some(true),
        server_keep_alive: Some(5),
        response_information: Some("n".into()),
        server_reference: Some("s".into()),
        authentication_method: Some("m".into()),
        authentication_data: Some(Bytes::from_static(b"d")),
    };
    let packet = ConnAck {
        session_present: false,
        reason: ReasonCode::Success,
        properties,
    };
    both_ways(
        V5,
        &Packet::ConnAck(Box::new(packet)),
        "20 3F 00 00 3C
         11 00000001 21 0002 24 01 25 00 27 00000003 12 0001 69 22 0004 1F 0001 72 28 01 29 00 2A 01
         13 0005 1A 0001 6E 1C 0001 73 15 0001 6D 16 0001 64 26 0001 61 0001 62",
    );
}

/// spec(4): MQTT-2.3.1-5, MQTT-3.3.2-1
/// spec(5): MQTT-2.2.1-2, MQTT-2.2.2-1, MQTT-3.3.2-1
#[test]
fn a_publish_of_qos_0_has_no_packet_id() {
    let packet = Packet::Publish(Publish::new(Message::new(topic("a/b"), "\0\x01hi")));
    both_ways(V4, &packet.clone(), "30 09 0003 612F62 00016869");
    both_ways(V5, &packet, "30 0A 0003 612F62 00 00016869");
}

#[test]
fn a_publish_of_qos_1_and_2_has_its_flags_and_packet_id() {
    let publish = |qos, dup, retain| {
        Packet::Publish(Publish {
            packet_id: Some(id(0x1234)),
            dup,
            ..Publish::new(
                Message::new(topic("t"), "")
                    .with_qos(qos)
                    .with_retain(retain),
            )
        })
    };
    both_ways(
        V4,
        &publish(QoS::AtLeastOnce, false, true),
        "33 05 0001 74 1234",
    );
    both_ways(
        V5,
        &publish(QoS::ExactlyOnce, true, false),
        "3C 06 0001 74 1234 00",
    );
}

#[test]
fn a_publish_with_all_properties() {
    let message = Message {
        properties: Some(Arc::new(MessageProperties {
            payload_is_utf8: Some(false),
            message_expiry_interval: Some(1),
            content_type: Some(String::new().into()),
            response_topic: Some(topic("r")),
            correlation_data: Some(Bytes::new()),
            user_properties: [user("a", "b"), user("a", "b")].concat(),
        })),
        ..Message::new(topic("t"), "x")
    };
    let packet = Publish {
        topic_alias: NonZeroU16::new(7),
        subscription_ids: [1, 128].into_iter().filter_map(NonZeroU32::new).collect(),
        ..Publish::new(message)
    };
    both_ways(
        V5,
        &Packet::Publish(packet),
        "30 2C 0001 74 27
         23 0007 0B 01 0B 8001 01 00 02 00000001 03 0000 08 0001 72 09 0000
         26 0001 61 0001 62 26 0001 61 0001 62 78",
    );
}

#[test]
fn a_topic_alias_may_stand_for_the_topic() {
    let bytes = hex("30 06 0000 03 23 0007");
    let Packet::Publish(publish) = read_whole(&bytes, V5) else {
        panic!("no PUBLISH")
    };
    assert!(!publish.topic_on_wire);
    assert_eq!(publish.topic_alias, NonZeroU16::new(7));
    assert_eq!(write(&Packet::Publish(publish), V5).unwrap(), bytes);
}

/// spec(4): MQTT-2.2.2-1
/// spec(5): MQTT-2.2.2-1
#[test]
fn acknowledgements_are_as_short_as_they_can_be() {
    let kinds = [
        (AckKind::PubAck, "40"),
        (AckKind::PubRec, "50"),
        (AckKind::PubRel, "62"),
        (AckKind::PubComp, "70"),
    ];
    for (kind, first) in kinds {
        let mut ack = Ack::new(kind, id(0xABCD), ReasonCode::Success);
        both_ways(V4, &Packet::Ack(ack.clone()), &format!("{first} 02 ABCD"));
        both_ways(V5, &Packet::Ack(ack.clone()), &format!("{first} 02 ABCD"));
        ack.reason = match kind {
            AckKind::PubAck | AckKind::PubRec => ReasonCode::QuotaExceeded,
            AckKind::PubRel | AckKind::PubComp => ReasonCode::PacketIdentifierNotFound,
        };
        let code = ack.reason.number();
        both_ways(
            V5,
            &Packet::Ack(ack.clone()),
            &format!("{first} 03 ABCD {code:02X}"),
        );
        ack.properties = Some(Box::new(AckProperties {
            reason_string: Some("no".into()),
            user_properties: user("a", "b"),
        }));
        both_ways(
            V5,
            &Packet::Ack(ack),
            &format!("{first} 10 ABCD {code:02X} 0C 1F 0002 6E6F 26 0001 61 0001 62"),
        );
    }
}

#[test]
fn the_long_form_of_a_success_is_understood() {
    let ack = Packet::Ack(Ack::new(AckKind::PubAck, id(1), ReasonCode::Success));
    assert_eq!(read_whole(&hex("40 03 0001 00"), V5), ack);
    assert_eq!(read_whole(&hex("40 04 0001 00 00"), V5), ack);
    let disconnect = Packet::Disconnect(Disconnect::new(ReasonCode::Success));
    assert_eq!(read_whole(&hex("E0 01 00"), V5), disconnect);
    assert_eq!(read_whole(&hex("E0 02 00 00"), V5), disconnect);
}

#[test]
fn subscribe() {
    let filter = |filter: &str, options| SubscribeFilter {
        filter: filter.into(),
        options,
    };
    let qos = |qos| SubscriptionOptions {
        qos,
        ..SubscriptionOptions::default()
    };
    let packet = Subscribe {
        packet_id: id(10),
        filters: vec![
            filter("a/#", qos(QoS::AtLeastOnce)),
            filter("+", qos(QoS::AtMostOnce)),
        ],
        subscription_id: None,
        user_properties: Vec::new(),
    };
    both_ways(
        V4,
        &Packet::Subscribe(packet),
        "82 0C 000A 0003 612F23 01 0001 2B 00",
    );
    let packet = Subscribe {
        packet_id: id(10),
        filters: vec![filter(
            "a",
            SubscriptionOptions {
                qos: QoS::ExactlyOnce,
                no_local: true,
                retain_as_published: true,
                retain_handling: RetainHandling::Never,
            },
        )],
        subscription_id: NonZeroU32::new(268_435_455),
        user_properties: user("a", "b"),
    };
    both_ways(
        V5,
        &Packet::Subscribe(packet),
        "82 13 000A 0C 0B FFFFFF7F 26 0001 61 0001 62 0001 61 2E",
    );
}

#[test]
fn suback() {
    let mut packet = SubAck {
        packet_id: id(10),
        reasons: vec![
            ReasonCode::Success,
            ReasonCode::GrantedQoS1,
            ReasonCode::GrantedQoS2,
            ReasonCode::UnspecifiedError,
        ],
        properties: None,
    };
    both_ways(
        V4,
        &Packet::SubAck(packet.clone()),
        "90 06 000A 00 01 02 80",
    );
    both_ways(
        V5,
        &Packet::SubAck(packet.clone()),
        "90 07 000A 00 00 01 02 80",
    );
    packet.reasons = vec![ReasonCode::NotAuthorized];
    packet.properties = Some(Box::new(AckProperties {
        reason_string: Some("no".into()),
        user_properties: Vec::new(),
    }));
    both_ways(
        V5,
        &Packet::SubAck(packet.clone()),
        "90 09 000A 05 1F 0002 6E6F 87",
    );
    assert_eq!(
        write(&Packet::SubAck(packet), V4).unwrap(),
        hex("90 03 000A 80")
    );
}

#[test]
fn unsubscribe_and_unsuback() {
    let packet = |user_properties| Unsubscribe {
        packet_id: id(11),
        filters: vec!["a".into(), "b/c".into()],
        user_properties,
    };
    both_ways(
        V4,
        &Packet::Unsubscribe(packet(Vec::new())),
        "A2 0A 000B 0001 61 0003 622F63",
    );
    both_ways(
        V5,
        &Packet::Unsubscribe(packet(user("a", "b"))),
        "A2 12 000B 07 26 0001 61 0001 62 0001 61 0003 622F63",
    );
    let mut packet = UnsubAck {
        packet_id: id(11),
        reasons: Vec::new(),
        properties: None,
    };
    both_ways(V4, &Packet::UnsubAck(packet.clone()), "B0 02 000B");
    packet.reasons = vec![ReasonCode::Success, ReasonCode::NoSubscriptionExisted];
    both_ways(V5, &Packet::UnsubAck(packet), "B0 05 000B 00 00 11");
}

#[test]
fn pings_and_disconnects() {
    for version in [V4, V5] {
        both_ways(version, &Packet::PingReq, "C0 00");
        both_ways(version, &Packet::PingResp, "D0 00");
        both_ways(
            version,
            &Packet::Disconnect(Disconnect::new(ReasonCode::Success)),
            "E0 00",
        );
    }
    both_ways(
        V5,
        &Packet::Disconnect(Disconnect::new(ReasonCode::DisconnectWithWill)),
        "E0 01 04",
    );
    let packet = Disconnect {
        reason: ReasonCode::ServerMoved,
        session_expiry_interval: Some(0),
        reason_string: Some("r".into()),
        server_reference: Some("s".into()),
        user_properties: user("a", "b"),
    };
    both_ways(
        V5,
        &Packet::Disconnect(packet),
        "E0 16 9D 14 11 00000000 1F 0001 72 1C 0001 73 26 0001 61 0001 62",
    );
}

#[test]
fn auth() {
    let packet = Auth {
        reason: ReasonCode::ContinueAuthentication,
        method: "m".into(),
        data: Some(Bytes::from_static(b"\x00\xFF")),
        reason_string: Some("r".into()),
        user_properties: user("a", "b"),
    };
    both_ways(
        V5,
        &Packet::Auth(packet),
        "F0 16 18 14 15 0001 6D 16 0002 00FF 1F 0001 72 26 0001 61 0001 62",
    );
}

/// spec(4): MQTT-1.5.3-3
/// spec(5): MQTT-1.5.4-3
#[test]
fn a_byte_order_mark_is_a_character_like_any_other() {
    let packet = Packet::Publish(Publish::new(Message::new(topic("\u{FEFF}a"), "")));
    both_ways(V4, &packet.clone(), "30 06 0004 EFBBBF61");
    both_ways(V5, &packet, "30 07 0004 EFBBBF61 00");
}
