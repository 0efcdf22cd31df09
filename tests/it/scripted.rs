//! The client's machine against a broker that follows a script: what it sends, answers and refuses, packet by packet.

mod exchanges;
mod faults;
mod requests;
mod script;

use self::script::{Script, ack, ids, message, subscribe};
use rmqtt::client::protocol::Event;
use rmqtt::client::{ClientError, ClientOptions};
use rmqtt::codec::{
    AckKind, Disconnect, Packet, PacketId, ProtocolVersion, Publish, ReasonCode, SubAck,
};
use rmqtt::message::{Message, MessageProperties, QoS};
use rmqtt::topic::TopicFilter;
use rmqtt::transport::Address;
use std::num::NonZeroU16;
use std::sync::Arc;
use std::time::Duration;

const VERSIONS: [ProtocolVersion; 2] = [ProtocolVersion::V3_1_1, ProtocolVersion::V5];

/// spec(4, client): MQTT-4.3.1-1, MQTT-4.3.2-1, MQTT-4.3.3-1
/// spec(5, client): MQTT-4.3.1-1, MQTT-4.3.2-1, MQTT-4.3.2-2, MQTT-4.3.3-1, MQTT-4.3.3-2
/// spec(5): MQTT-3.3.4-6
#[test]
fn a_first_sending_has_its_qos_no_dup_and_an_id_of_its_own() {
    for version in VERSIONS {
        let mut script = Script::connected(version, 100);
        for (qos, first_byte) in [
            (QoS::AtMostOnce, 0x30),
            (QoS::AtLeastOnce, 0x32),
            (QoS::ExactlyOnce, 0x34),
        ] {
            script.publish(qos, 1);
            assert_eq!(script.bytes()[0], first_byte);
        }
        // Few enough for the window of 3.1.1, which the client bounds itself.
        for token in 0..16 {
            script.publish(
                if token % 2 == 0 {
                    QoS::AtLeastOnce
                } else {
                    QoS::ExactlyOnce
                },
                token,
            );
        }
        script
            .client
            .subscribe(subscribe("a"), None, &[], 99)
            .expect("connected");
        let sent = script.sent();
        let mut taken = ids(&sent);
        taken.sort_unstable();
        taken.dedup();
        assert_eq!(taken.len(), 17, "no id twice");
        assert!(
            !taken.contains(&1) && !taken.contains(&2),
            "nor one of those in flight"
        );
        for packet in &sent {
            if let Packet::Publish(publish) = packet {
                assert!(publish.subscription_ids.is_empty());
            }
        }
    }
}

/// spec(4): MQTT-2.3.1-3
/// spec(4, client): MQTT-3.3.1-1, MQTT-4.1.0-2
/// spec(5, client): MQTT-3.1.2-23, MQTT-3.3.1-1, MQTT-4.1.0-1, MQTT-4.3.2-3
#[test]
fn what_is_unanswered_is_sent_again_with_dup_and_its_id_and_only_then() {
    for version in VERSIONS {
        let mut script = Script::connected(version, 100);
        for (token, qos) in [QoS::AtLeastOnce, QoS::ExactlyOnce, QoS::ExactlyOnce]
            .into_iter()
            .enumerate()
        {
            script.publish(qos, token as u64);
        }
        assert_eq!(ids(&script.sent()), [1, 2, 3]);
        assert_eq!(script.hear_ack(AckKind::PubRec, 3), None);
        assert_eq!(ids(&script.sent()), [3], "PUBREL");
        script.now += Duration::from_secs(30);
        assert_eq!(
            script.sent(),
            [],
            "nothing is repeated on a connection that stands"
        );
        for _ in 0..2 {
            script.connect(true, 100).expect("accepted");
            let again = script.sent();
            assert_eq!(ids(&again), [1, 2, 3]);
            assert!(matches!(&again[0], Packet::Publish(publish) if publish.dup));
            assert!(matches!(&again[1], Packet::Publish(publish) if publish.dup));
            assert!(matches!(&again[2], Packet::Ack(ack) if ack.kind == AckKind::PubRel));
        }
        assert!(script.hear_ack(AckKind::PubAck, 1).is_some());
        script.connect(true, 100).expect("accepted");
        assert_eq!(
            ids(&script.sent()),
            [2, 3],
            "what is settled is not sent again"
        );
    }
}

/// spec(4): MQTT-4.6.0-4
/// spec(5): MQTT-4.6.0-4
#[test]
fn pubrel_follows_the_order_of_pubrec() {
    for version in VERSIONS {
        let mut script = Script::connected(version, 100);
        for token in 1..=3 {
            script.publish(QoS::ExactlyOnce, token);
        }
        script.sent();
        for number in [2, 3, 1] {
            script.hear_ack(AckKind::PubRec, number);
        }
        assert_eq!(ids(&script.sent()), [2, 3, 1]);
    }
}

/// spec(4): MQTT-4.5.0-2
/// spec(4, client): MQTT-2.3.1-6, MQTT-3.3.4-1
/// spec(5): MQTT-4.5.0-2
/// spec(5, client): MQTT-2.2.1-5, MQTT-3.3.4-1, MQTT-3.4.2-2, MQTT-3.4.2-3, MQTT-3.5.2-2, MQTT-3.5.2-3
/// spec(5, client): MQTT-3.6.2-2, MQTT-3.6.2-3, MQTT-3.7.2-2, MQTT-3.7.2-3
#[test]
fn every_message_is_answered_by_its_qos_and_id_wanted_or_not() {
    for version in VERSIONS {
        let mut script = Script::connected(version, 100);
        assert!(script.deliver(QoS::AtMostOnce, 0, false));
        assert_eq!(script.sent(), []);
        for number in [1, 256, 65_535] {
            assert!(script.deliver(QoS::AtLeastOnce, number, false));
            assert_eq!(script.sent(), [ack(AckKind::PubAck, number)]);
            assert!(script.deliver(QoS::ExactlyOnce, number, false));
            assert_eq!(script.sent(), [ack(AckKind::PubRec, number)]);
            assert!(!script.deliver(QoS::ExactlyOnce, number, true));
            assert_eq!(script.sent(), [ack(AckKind::PubRec, number)]);
            script.hear_ack(AckKind::PubRel, number);
            assert_eq!(script.sent(), [ack(AckKind::PubComp, number)]);
        }
        for number in [1, 256, 65_535].map(|number| number % 60_000) {
            script.publish(QoS::ExactlyOnce, number);
            let number = ids(&script.sent())[0];
            script.hear_ack(AckKind::PubRec, number);
            assert_eq!(script.sent(), [ack(AckKind::PubRel, number)]);
        }
    }
}

/// spec(4, client): MQTT-1.5.3-1, MQTT-1.5.3-2, MQTT-2.2.2-2, MQTT-3.3.1-4, MQTT-3.6.1-1, MQTT-4.7.1-1, MQTT-4.8.0-1
/// spec(5, client): MQTT-3.14.2-1, MQTT-3.14.2-3, MQTT-3.14.2-4
/// spec(5, client): MQTT-3.6.1-1, MQTT-3.14.1-1, MQTT-3.15.1-1, MQTT-4.7.0-1, MQTT-4.13.2-1
#[test]
fn a_broker_that_breaks_a_rule_loses_the_client() {
    let both: [&[u8]; 6] = [
        b"\x30\x04\x00\x02\xC3\x28",      // a topic that is no UTF-8
        b"\x30\x04\x00\x02a\x00",         // U+0000 in a topic
        b"\x30\x05\x00\x03a/+\x00",       // a wildcard in a topic name
        b"\x36\x06\x00\x01a\x00\x01\x00", // QoS 3
        b"\x60\x02\x00\x01",              // PUBREL with wrong flags
        b"\xD1\x00",                      // PINGRESP with wrong flags
    ];
    let v5: [&[u8]; 2] = [b"\xE1\x00", b"\xF1\x00"];
    for version in VERSIONS {
        let only = if version == ProtocolVersion::V5 {
            &v5[..]
        } else {
            &[]
        };
        for bytes in both.iter().chain(only) {
            let mut script = Script::connected(version, 100);
            let error = script.hear_bytes(bytes).expect_err("malformed");
            assert!(
                matches!(error, ClientError::Protocol { .. }),
                "{bytes:x?}: {error}"
            );
            assert!(!script.client.is_connected());
            let told = script.sent();
            match version {
                ProtocolVersion::V5 => {
                    let [Packet::Disconnect(disconnect)] = &told[..] else {
                        panic!("{told:?}");
                    };
                    assert!(disconnect.reason.is_error());
                    assert_eq!(
                        *disconnect,
                        Disconnect::new(disconnect.reason),
                        "nothing that could be too long"
                    );
                }
                _ => assert_eq!(told, [], "3.1.1 has no words for it"),
            }
        }
    }
}

/// spec(4): MQTT-3.14.4-1, MQTT-3.14.4-2
/// spec(5, client): MQTT-3.14.4-1, MQTT-3.14.4-2
#[test]
fn nothing_is_sent_behind_disconnect() {
    for version in VERSIONS {
        let mut script = Script::connected(version, 100);
        script.publish(QoS::AtLeastOnce, 1);
        script.client.disconnect(ReasonCode::Success);
        assert!(matches!(
            script.sent()[..],
            [Packet::Publish(_), Packet::Disconnect(_)]
        ));
        assert!(script.client.publish(message(QoS::AtMostOnce), 2).is_err());
        assert!(
            script
                .client
                .subscribe(subscribe("a"), None, &[], 3)
                .is_err()
        );
        assert!(
            !script.deliver(QoS::AtLeastOnce, 1, false),
            "nor is anything heard"
        );
        assert_eq!(script.client.next_timeout(), None);
        assert_eq!(script.sent(), []);
    }
}

/// spec(5, client): MQTT-4.9.0-3
/// spec(5): MQTT-3.3.4-8
#[test]
fn a_full_window_holds_back_messages_and_nothing_else() {
    let mut script = Script::connected(ProtocolVersion::V5, 2);
    script.publish(QoS::AtLeastOnce, 1);
    script.publish(QoS::ExactlyOnce, 2);
    assert!(!script.client.can_publish(QoS::AtLeastOnce));
    assert!(script.client.publish(message(QoS::AtLeastOnce), 3).is_err());
    script.sent();
    script.publish(QoS::AtMostOnce, 0);
    script
        .client
        .subscribe(subscribe("a"), None, &[], 4)
        .expect("not held back");
    assert!(matches!(
        script.sent()[..],
        [Packet::Publish(_), Packet::Subscribe(_)]
    ));
    assert!(script.deliver(QoS::AtLeastOnce, 7, false));
    assert_eq!(script.sent(), [ack(AckKind::PubAck, 7)]);
    script.hear_ack(AckKind::PubRec, 2);
    assert_eq!(script.sent(), [ack(AckKind::PubRel, 2)]);
    script.now += Duration::from_secs(60);
    script.client.handle_timeout(script.now).expect("alive");
    assert_eq!(script.sent(), [Packet::PingReq]);
    assert!(!script.client.can_publish(QoS::AtLeastOnce));
    script.hear_ack(AckKind::PubComp, 2);
    assert!(script.client.can_publish(QoS::AtLeastOnce));
}

/// spec(5): MQTT-3.2.2-5
/// spec(4, client): MQTT-3.1.2-6
/// spec(5, client): MQTT-3.1.2-4
#[test]
fn a_session_the_broker_has_lost_is_lost_here_too() {
    for version in VERSIONS {
        let mut options = ClientOptions::new(Address::Memory {
            name: "script".to_owned(),
        });
        options.version = version;
        for clean in [true, false] {
            options.clean_start = clean;
            options.session_expiry = if clean { 0 } else { 1000 };
            let mut script = Script::with(options.clone(), 100);
            script.publish(QoS::AtLeastOnce, 1);
            assert!(script.deliver(QoS::ExactlyOnce, 9, false));
            script.sent();
            let Ok(Some(Event::Connected { lost, .. })) = script.connect(false, 100) else {
                panic!("accepted");
            };
            assert_eq!(lost, [(1, Some(message(QoS::AtLeastOnce)))], "given back");
            assert_eq!(script.sent(), [], "and not sent again");
            assert!(
                script.deliver(QoS::ExactlyOnce, 9, false),
                "what id 9 once meant is forgotten"
            );
            if clean {
                assert!(
                    script.connect(true, 100).is_err(),
                    "nobody asked for a session"
                );
            }
        }
    }
}

/// spec(5, client): MQTT-4.3.3-7, MQTT-4.3.3-13
#[test]
fn expiry_does_not_break_off_an_exchange() {
    let properties = MessageProperties {
        message_expiry_interval: Some(1),
        ..MessageProperties::default()
    };
    let brief = Message {
        properties: Some(Arc::new(properties)),
        ..message(QoS::ExactlyOnce)
    };
    let mut script = Script::connected(ProtocolVersion::V5, 100);
    script.client.publish(brief.clone(), 1).expect("room");
    script.sent();
    script.now += Duration::from_secs(100);
    script.connect(true, 100).expect("accepted");
    assert_eq!(ids(&script.sent()), [1], "sent again");
    let publish = Publish {
        packet_id: PacketId::new(5),
        ..Publish::new(brief)
    };
    let Ok(Some(Event::Message { delivery, .. })) = script.hear(&Packet::Publish(publish)) else {
        panic!("a message");
    };
    script.now += Duration::from_secs(10);
    script.client.accepted(
        PacketId::new(5).expect("not 0"),
        delivery,
        ReasonCode::Success,
    );
    script.hear_ack(AckKind::PubRel, 5);
    assert_eq!(script.sent(), [ack(AckKind::PubComp, 5)]);
}

/// spec(4, client): MQTT-3.8.1-1, MQTT-3.10.1-1
/// spec(5, client): MQTT-3.8.1-1, MQTT-3.10.1-1
#[test]
fn subscribe_and_unsubscribe_have_their_flags() {
    for version in VERSIONS {
        let mut script = Script::connected(version, 100);
        script
            .client
            .subscribe(subscribe("a"), None, &[], 1)
            .expect("connected");
        assert_eq!(script.bytes()[0], 0x82);
        script
            .client
            .unsubscribe(vec!["a".into()], &[], 2)
            .expect("connected");
        assert_eq!(script.bytes()[0], 0xA2);
        let reasons = vec![ReasonCode::Success];
        let packet_id = PacketId::new(1).expect("not 0");
        let answer = script.hear(&Packet::SubAck(SubAck {
            packet_id,
            reasons,
            properties: None,
        }));
        assert!(matches!(
            answer,
            Ok(Some(Event::Subscribed { token: 1, .. }))
        ));
    }
}

/// spec(4, client): MQTT-4.7.1-2, MQTT-4.7.1-3
/// spec(5, client): MQTT-4.7.1-1, MQTT-4.7.1-2, MQTT-4.8.2-1, MQTT-4.8.2-2
#[test]
fn a_badly_formed_filter_is_refused_before_it_is_sent() {
    for version in VERSIONS {
        let mut script = Script::connected(version, 100);
        for filter in [
            "a#",
            "a/#/b",
            "#/a",
            "##",
            "a+",
            "a/b+",
            "++",
            "",
            "$share//t",
            "$share/g",
            "$share/g+/t",
        ] {
            let is_v5_only = filter.starts_with("$share");
            if is_v5_only && version != ProtocolVersion::V5 {
                continue;
            }
            assert!(is_v5_only || TopicFilter::new(filter).is_err(), "{filter}");
            assert!(
                script
                    .client
                    .subscribe(subscribe(filter), None, &[], 1)
                    .is_err(),
                "{filter}"
            );
        }
        assert_eq!(script.sent(), []);
        for filter in ["#", "a/#", "+", "a/+/b", "+/+/#"] {
            script
                .client
                .subscribe(subscribe(filter), None, &[], 1)
                .expect(filter);
        }
        assert_eq!(script.sent().len(), 5);
    }
}

/// spec(5, client): MQTT-3.3.2-7
#[test]
fn an_alias_of_the_broker_ends_with_its_connection() {
    let mut script = Script::connected(ProtocolVersion::V5, 100);
    let named = Publish {
        topic_alias: NonZeroU16::new(1),
        ..Publish::new(message(QoS::AtMostOnce))
    };
    let unnamed = Publish {
        topic_on_wire: false,
        ..named.clone()
    };
    for publish in [&named, &unnamed] {
        let heard = script
            .hear(&Packet::Publish(publish.clone()))
            .expect("known");
        let Some(Event::Message { publish, .. }) = heard else {
            panic!("{heard:?}");
        };
        assert_eq!(publish.message.topic, named.message.topic);
    }
    script.connect(true, 100).expect("accepted");
    assert!(
        script.hear(&Packet::Publish(unnamed)).is_err(),
        "it stands for nothing now"
    );
}
