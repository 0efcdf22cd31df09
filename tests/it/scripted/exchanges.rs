//! The steps of QoS 1 and 2 as the client takes them, and the packet ids it uses for them.

use super::VERSIONS;
use super::script::{Script, ack, ids, message, subscribe};
use rmqtt::client::protocol::Event;
use rmqtt::codec::{Ack, AckKind, Packet, PacketId, ProtocolVersion, Publish, ReasonCode};
use rmqtt::message::QoS;
use std::collections::BTreeSet;

fn refusal(kind: AckKind, number: u16, reason: ReasonCode) -> Packet {
    let id = PacketId::new(number).expect("not 0");
    Packet::Ack(Ack::new(kind, id, reason))
}

/// The ids of everything that was sent and is not an answer.
fn taken(script: &mut Script) -> Vec<u16> {
    let id = |packet: &Packet| match packet {
        Packet::Unsubscribe(unsubscribe) => unsubscribe.packet_id.get(),
        other => ids(std::slice::from_ref(other))[0],
    };
    script.sent().iter().map(id).collect()
}

/// spec(4): MQTT-2.3.1-2
/// spec(5): MQTT-2.2.1-3
#[test]
fn a_thousand_open_requests_have_a_thousand_ids_none_of_them_0() {
    for version in VERSIONS {
        let mut script = Script::connected(version, u16::MAX);
        for token in 0..1000 {
            match token % 4 {
                0 if script.client.can_publish(QoS::AtLeastOnce) => {
                    script.publish(QoS::AtLeastOnce, token);
                }
                1 if script.client.can_publish(QoS::ExactlyOnce) => {
                    script.publish(QoS::ExactlyOnce, token);
                }
                2 => script
                    .client
                    .unsubscribe(vec!["a".into()], &[], token)
                    .expect("connected"),
                _ => script
                    .client
                    .subscribe(subscribe("a"), None, &[], token)
                    .expect("connected"),
            }
        }
        let taken = taken(&mut script);
        let different: BTreeSet<u16> = taken.iter().copied().collect();
        assert_eq!((taken.len(), different.len()), (1000, 1000));
        assert!(!different.contains(&0));
    }
}

/// spec(4): MQTT-2.3.1-2, MQTT-2.3.1-3
/// spec(5): MQTT-2.2.1-3
#[test]
fn ids_go_round_and_pass_those_that_are_open() {
    for version in VERSIONS {
        let mut script = Script::connected(version, 100);
        script.publish(QoS::AtLeastOnce, 1);
        script.publish(QoS::ExactlyOnce, 2);
        let open = taken(&mut script);
        assert_eq!(open, [1, 2]);
        let mut last = 2;
        for _ in 0..66_000 {
            script
                .client
                .subscribe(subscribe("a"), None, &[], 3)
                .expect("connected");
            // As bytes, since it is done so often: the id stands behind type and length.
            let sent = script.bytes();
            let id = u16::from_be_bytes([sent[2], sent[3]]);
            assert!(id != 0 && !open.contains(&id), "{id} is in use");
            assert_eq!(id, if last == u16::MAX { 3 } else { last + 1 });
            last = id;
            let answer = match version {
                ProtocolVersion::V5 => script.hear_bytes(&[0x90, 4, sent[2], sent[3], 0, 0]),
                _ => script.hear_bytes(&[0x90, 3, sent[2], sent[3], 0]),
            };
            assert!(matches!(answer, Ok(Some(Event::Subscribed { .. }))));
        }
    }
}

/// spec(4, client): MQTT-4.3.2-2
/// spec(5, client): MQTT-4.3.2-4, MQTT-4.3.2-5
#[test]
fn an_acknowledged_id_of_qos_1_means_a_new_message() {
    for version in VERSIONS {
        let mut script = Script::connected(version, 100);
        for number in [1, 300, 65_535] {
            for dup in [false, true, true] {
                assert!(script.deliver(QoS::AtLeastOnce, number, dup));
                assert_eq!(script.sent(), [ack(AckKind::PubAck, number)]);
            }
        }
    }
}

/// spec(4, client): MQTT-4.3.3-2, RMQTT-3.6.0-1
/// spec(5, client): MQTT-4.3.3-8, MQTT-4.3.3-10, MQTT-4.3.3-11, MQTT-4.3.3-12
#[test]
fn a_qos_2_message_is_taken_once_for_each_handshake() {
    for version in VERSIONS {
        let mut script = Script::connected(version, 100);
        for number in [1, 300, 65_535] {
            for _ in 0..2 {
                assert!(script.deliver(QoS::ExactlyOnce, number, false));
                assert_eq!(script.sent(), [ack(AckKind::PubRec, number)]);
                for dup in [true, false] {
                    assert!(!script.deliver(QoS::ExactlyOnce, number, dup));
                    assert_eq!(script.sent(), [ack(AckKind::PubRec, number)]);
                }
                script.hear_ack(AckKind::PubRel, number);
                assert_eq!(script.sent(), [ack(AckKind::PubComp, number)]);
            }
            script.hear_ack(AckKind::PubRel, number);
            let reason = match version {
                ProtocolVersion::V5 => ReasonCode::PacketIdentifierNotFound,
                _ => ReasonCode::Success,
            };
            assert_eq!(script.sent(), [refusal(AckKind::PubComp, number, reason)]);
        }
    }
}

/// spec(5, client): MQTT-4.3.3-9
#[test]
fn an_id_of_qos_2_that_was_refused_means_a_new_message() {
    let mut script = Script::connected(ProtocolVersion::V5, 100);
    let id = PacketId::new(1).expect("not 0");
    for reason in [ReasonCode::NotAuthorized, ReasonCode::Success] {
        let publish = Publish {
            packet_id: Some(id),
            ..Publish::new(message(QoS::ExactlyOnce))
        };
        let Ok(Some(Event::Message { delivery, .. })) = script.hear(&Packet::Publish(publish))
        else {
            panic!("not taken as new before it ends with {reason:?}");
        };
        script.client.accepted(id, delivery, reason);
        assert_eq!(script.sent(), [refusal(AckKind::PubRec, 1, reason)]);
    }
}

/// spec(5, client): MQTT-4.3.3-3, MQTT-4.3.3-4, MQTT-4.3.3-5, MQTT-4.3.3-6, MQTT-4.4.0-1, MQTT-4.4.0-2
#[test]
fn what_the_broker_refuses_is_settled_and_what_it_takes_is_released() {
    use ReasonCode::{NoMatchingSubscribers, QuotaExceeded, Success};
    let mut script = Script::connected(ProtocolVersion::V5, 100);
    for (token, qos) in [1, 2, 2, 2, 2].into_iter().enumerate() {
        script.publish(QoS::from_number(qos).expect("a QoS"), token as u64);
    }
    script.sent();
    for (kind, number, reason, token) in [
        (AckKind::PubAck, 1, QuotaExceeded, 0),
        (AckKind::PubRec, 2, QuotaExceeded, 1),
    ] {
        let heard = script.hear(&refusal(kind, number, reason));
        assert!(
            matches!(heard, Ok(Some(Event::Published { token: of, reason: why, .. })) if of == token && why == reason)
        );
        assert_eq!(script.sent(), [], "nothing is released");
    }
    for (number, reason) in [(3, Success), (4, NoMatchingSubscribers)] {
        let heard = script.hear(&refusal(AckKind::PubRec, number, reason));
        assert_eq!(heard, Ok(None));
        assert_eq!(script.sent(), [ack(AckKind::PubRel, number)]);
    }
    for _ in 0..2 {
        script.connect(true, 100).expect("accepted");
        let again = script.sent();
        assert_eq!(
            again[..2],
            [ack(AckKind::PubRel, 3), ack(AckKind::PubRel, 4)]
        );
        assert!(
            matches!(&again[2..], [Packet::Publish(it)] if it.dup && it.packet_id == PacketId::new(5))
        );
    }
    for number in [3, 4] {
        assert!(script.hear_ack(AckKind::PubComp, number).is_some());
    }
    script.connect(true, 100).expect("accepted");
    assert_eq!(ids(&script.sent()), [5]);
}

/// spec(4): MQTT-4.6.0-2, MQTT-4.6.0-3
/// spec(5): MQTT-4.6.0-2, MQTT-4.6.0-3
#[test]
fn answers_leave_in_the_order_of_the_messages_however_they_are_processed() {
    for version in VERSIONS {
        for (qos, kind) in [
            (QoS::AtLeastOnce, AckKind::PubAck),
            (QoS::ExactlyOnce, AckKind::PubRec),
        ] {
            let mut script = Script::connected(version, 100);
            let mut waiting = Vec::new();
            for number in [3, 1, 2] {
                let publish = Publish {
                    packet_id: PacketId::new(number),
                    ..Publish::new(message(qos))
                };
                match script.hear(&Packet::Publish(publish)) {
                    Ok(Some(Event::Message { delivery, .. })) => waiting.push((number, delivery)),
                    other => panic!("{other:?}"),
                }
            }
            for (number, delivery) in [waiting[2], waiting[0], waiting[1]] {
                let id = PacketId::new(number).expect("not 0");
                script.client.accepted(id, delivery, ReasonCode::Success);
            }
            assert_eq!(script.sent(), [3, 1, 2].map(|number| ack(kind, number)));
        }
    }
}
