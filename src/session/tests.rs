//! Private details of the session: ids, windows, states, deadlines.

mod inbound;
mod keep_alive;

use super::packet_id::{IN_USE_MAX, PacketIds};
use super::*;
use crate::codec::{AckKind, Packet, PacketId, Publish};
use crate::message::{Message, QoS};
use crate::topic::TopicName;
use std::num::NonZeroU16;

const AT_MOST: NonZeroU16 = NonZeroU16::MAX;

fn id(number: u16) -> PacketId {
    PacketId::new(number).expect("not 0")
}

fn window(size: u16) -> NonZeroU16 {
    NonZeroU16::new(size).expect("not 0")
}

fn message(qos: QoS) -> Message {
    Message::new(TopicName::new("t").expect("valid"), "x").with_qos(qos)
}

fn publish(number: u16, qos: QoS) -> Publish {
    let mut publish = Publish::new(message(qos));
    publish.packet_id = Some(id(number));
    publish
}

fn ack(kind: AckKind, number: u16) -> Ack {
    Ack::new(kind, id(number), ReasonCode::Success)
}

/// An outbound half with one message in flight for each QoS named, tokens from 1, ids from 1.
fn sending(qos: &[QoS]) -> Outbound {
    let mut outbound = Outbound::default();
    outbound.resume(AT_MOST);
    for (token, qos) in (1..).zip(qos) {
        outbound.send(message(*qos), token).expect("room");
    }
    outbound
}

fn again(outbound: &mut Outbound) -> Vec<(u16, bool)> {
    std::iter::from_fn(|| outbound.next_again())
        .map(|packet| match packet {
            Packet::Publish(publish) => {
                assert!(publish.dup);
                (publish.packet_id.expect("has one").get(), true)
            }
            Packet::Ack(ack) => {
                assert_eq!(ack.kind, AckKind::PubRel);
                (ack.packet_id.get(), false)
            }
            other => panic!("never sent again: {other:?}"),
        })
        .collect()
}

fn settled(token: Token, reason: ReasonCode) -> Step {
    Step::Settled { token, reason }
}

/// spec(4): MQTT-2.3.1-2, MQTT-2.3.1-4
/// spec(5): MQTT-2.2.1-3, MQTT-2.2.1-4
#[test]
fn ids_go_round_and_pass_those_in_use() {
    let mut ids = PacketIds::default();
    let stuck: Vec<_> = [10, 20, 30]
        .iter()
        .map(|n| (1..=*n).fold(None, |_, _| ids.take(())))
        .collect();
    let stuck: Vec<_> = stuck.into_iter().flatten().collect();
    for n in 1..=60 {
        if !stuck.contains(&id(n)) {
            ids.free(id(n));
        }
    }
    assert_eq!(ids.len(), 3);
    for _ in 0..200_000 {
        let taken = ids.take(()).expect("free");
        assert!(!stuck.contains(&taken), "{taken} is in use");
        assert!(ids.free(taken).is_some());
    }
    assert_eq!(
        ids.iter_mut().map(|(id, ())| id).collect::<Vec<_>>(),
        stuck,
        "the order of taking"
    );
}

#[test]
fn ids_take_memory_for_what_is_in_use_and_no_more() {
    let mut ids = PacketIds::default();
    let first = ids.take(()).expect("free");
    let many: Vec<_> = (0..20_000).filter_map(|_| ids.take(())).collect();
    assert!(ids.places() < 80_000);
    for id in many {
        ids.free(id);
    }
    assert!(ids.places() <= 256, "{} places for one id", ids.places());
    for _ in 0..100_000 {
        let id = ids.take(()).expect("free");
        ids.free(id);
        assert!(ids.places() <= 256);
    }
    ids.free(first);
    assert_eq!(ids.places(), 0, "an idle session holds nothing");
}

/// Peers choose their ids as they like: mostly going round, sometimes not.
#[test]
fn ids_that_a_peer_chooses_are_what_it_put_them_to_until_they_are_freed() {
    let mut ids = PacketIds::default();
    let mut model = std::collections::BTreeMap::new();
    let (mut random, mut next) = (1_u32, 65_000_u16);
    for step in 0..40_000_u32 {
        random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let any = u16::try_from(random >> 16).unwrap_or(1).max(1);
        match random >> 8 & 0xF {
            0..=5 => {
                next = next.checked_add(1).unwrap_or(1);
                ids.insert(id(next), step);
                model.insert(id(next), step);
            }
            6 => {
                ids.insert(id(any), step);
                model.insert(id(any), step);
            }
            7 => assert_eq!(ids.free(id(any)), model.remove(&id(any))),
            8 if any < 200 => {
                ids.retain(|value| *value % 3 > 0);
                model.retain(|_, value| *value % 3 > 0);
            }
            _ => {
                let oldest = model.iter().min_by_key(|(_, value)| **value);
                let Some(oldest) = oldest.map(|(id, _)| *id) else {
                    continue;
                };
                assert_eq!(ids.get(oldest), model.get(&oldest));
                assert_eq!(ids.free(oldest), model.remove(&oldest));
                assert_eq!(ids.free(oldest), None);
            }
        }
        assert_eq!(ids.len(), model.len());
    }
    let mut left: Vec<_> = ids.iter_mut().map(|(id, value)| (id, *value)).collect();
    left.sort_unstable();
    assert_eq!(left, model.into_iter().collect::<Vec<_>>());
}

#[test]
fn no_more_ids_are_taken_than_leaves_a_free_one_near() {
    let mut ids = PacketIds::default();
    let taken: Vec<_> = std::iter::from_fn(|| ids.take(())).collect();
    assert_eq!(taken.len(), IN_USE_MAX);
    assert_eq!(
        taken
            .iter()
            .collect::<std::collections::BTreeSet<_>>()
            .len(),
        IN_USE_MAX
    );
    for (n, id) in taken.iter().enumerate() {
        if n % 3 != 0 {
            assert!(ids.free(*id).is_some());
            assert!(ids.free(*id).is_none(), "free already");
        }
    }
    for _ in 0..100_000 {
        let id = ids.take(()).expect("free");
        ids.free(id);
    }
}

/// spec(5): MQTT-3.6.2-2, MQTT-3.6.2-3
/// spec(5): MQTT-4.9.0-2
#[test]
fn the_window_is_full_until_an_exchange_ends() {
    for qos in [QoS::AtLeastOnce, QoS::ExactlyOnce] {
        let mut outbound = Outbound::default();
        outbound.resume(window(2));
        outbound.send(message(qos), 1).expect("room");
        outbound.send(message(qos), 2).expect("room");
        assert_eq!(outbound.send(message(qos), 3), Err(message(qos)));
        assert!(
            outbound.send(message(QoS::AtMostOnce), 0).is_ok(),
            "QoS 0 needs no room"
        );
        assert!(outbound.take_packet_id().is_some(), "nor does SUBSCRIBE");
        if qos == QoS::AtLeastOnce {
            assert_eq!(
                outbound.on_ack(&ack(AckKind::PubAck, 1)),
                Ok(settled(1, ReasonCode::Success))
            );
        } else {
            assert_eq!(
                outbound.on_ack(&ack(AckKind::PubRec, 1)),
                Ok(Step::Send(ack(AckKind::PubRel, 1)))
            );
            assert!(!outbound.has_room());
            assert_eq!(
                outbound.on_ack(&ack(AckKind::PubComp, 1)),
                Ok(settled(1, ReasonCode::Success))
            );
        }
        assert!(outbound.has_room());
    }
}

/// spec(4): MQTT-4.3.3-1, MQTT-4.4.0-1
/// spec(5): MQTT-4.3.3-3, MQTT-4.3.3-5, MQTT-4.3.3-6, MQTT-4.4.0-1
#[test]
fn each_state_has_its_packet_to_send_again_in_the_first_order() {
    let mut outbound = sending(&[
        QoS::AtLeastOnce,
        QoS::ExactlyOnce,
        QoS::ExactlyOnce,
        QoS::AtLeastOnce,
    ]);
    outbound.on_ack(&ack(AckKind::PubRec, 2)).expect("awaited");
    outbound.on_ack(&ack(AckKind::PubAck, 4)).expect("awaited");
    for _ in 0..3 {
        outbound.resume(AT_MOST);
        assert!(!outbound.has_room(), "what is due goes first");
        assert_eq!(again(&mut outbound), [(1, true), (2, false), (3, true)]);
        assert!(outbound.has_room());
        assert_eq!(again(&mut outbound), [], "at no other time");
    }
}

/// spec(5): MQTT-3.3.4-8
/// spec(5): MQTT-3.3.4-10
#[test]
fn a_full_window_does_not_hold_back_pubrel() {
    let mut outbound = sending(&[
        QoS::AtLeastOnce,
        QoS::AtLeastOnce,
        QoS::ExactlyOnce,
        QoS::ExactlyOnce,
    ]);
    outbound.on_ack(&ack(AckKind::PubRec, 3)).expect("awaited");
    outbound.on_ack(&ack(AckKind::PubRec, 4)).expect("awaited");
    outbound.resume(window(1));
    assert_eq!(again(&mut outbound), [(3, false), (4, false)]);
    assert_eq!(
        outbound.on_ack(&ack(AckKind::PubComp, 3)),
        Ok(settled(3, ReasonCode::Success))
    );
    assert_eq!(again(&mut outbound), []);
    assert_eq!(
        outbound.on_ack(&ack(AckKind::PubComp, 4)),
        Ok(settled(4, ReasonCode::Success))
    );
    assert_eq!(again(&mut outbound), [(1, true)]);
    assert_eq!(
        outbound.on_ack(&ack(AckKind::PubAck, 1)),
        Ok(settled(1, ReasonCode::Success))
    );
    assert_eq!(again(&mut outbound), [(2, true)]);
}

#[test]
fn an_answer_to_an_earlier_connection_counts() {
    let mut outbound = sending(&[QoS::ExactlyOnce, QoS::AtLeastOnce, QoS::ExactlyOnce]);
    outbound.resume(window(1));
    assert_eq!(
        outbound.on_ack(&ack(AckKind::PubRec, 1)),
        Ok(Step::Send(ack(AckKind::PubRel, 1)))
    );
    assert_eq!(
        outbound.on_ack(&ack(AckKind::PubAck, 2)),
        Ok(settled(2, ReasonCode::Success))
    );
    assert_eq!(
        again(&mut outbound),
        [],
        "the released one fills the window"
    );
    assert_eq!(
        outbound.on_ack(&ack(AckKind::PubComp, 1)),
        Ok(settled(1, ReasonCode::Success))
    );
    assert_eq!(again(&mut outbound), [(3, true)]);
}

/// spec(5): MQTT-4.3.3-4, MQTT-4.4.0-2
#[test]
fn a_refused_message_is_settled_by_its_code() {
    let mut outbound = sending(&[QoS::AtLeastOnce, QoS::ExactlyOnce]);
    let refuse = |kind, number| Ack::new(kind, id(number), ReasonCode::QuotaExceeded);
    assert_eq!(
        outbound.on_ack(&refuse(AckKind::PubAck, 1)),
        Ok(settled(1, ReasonCode::QuotaExceeded))
    );
    assert_eq!(
        outbound.on_ack(&refuse(AckKind::PubRec, 2)),
        Ok(settled(2, ReasonCode::QuotaExceeded))
    );
    outbound.resume(AT_MOST);
    assert_eq!(again(&mut outbound), []);
}

#[test]
fn the_reason_of_qos_2_is_that_of_pubrec() {
    let mut outbound = sending(&[QoS::ExactlyOnce]);
    let nobody = ReasonCode::NoMatchingSubscribers;
    outbound
        .on_ack(&Ack::new(AckKind::PubRec, id(1), nobody))
        .expect("awaited");
    let unknown = Ack::new(
        AckKind::PubComp,
        id(1),
        ReasonCode::PacketIdentifierNotFound,
    );
    assert_eq!(outbound.on_ack(&unknown), Ok(settled(1, nobody)));
}

#[test]
fn acknowledgements_of_the_wrong_kind_are_violations() {
    let cases = [
        (QoS::AtLeastOnce, AckKind::PubRec),
        (QoS::AtLeastOnce, AckKind::PubComp),
        (QoS::ExactlyOnce, AckKind::PubAck),
        (QoS::ExactlyOnce, AckKind::PubComp),
    ];
    for (qos, kind) in cases {
        let violation = sending(&[qos]).on_ack(&ack(kind, 1)).expect_err("wrong");
        assert_eq!(
            violation.reason,
            ReasonCode::ProtocolError,
            "{kind:?} for {qos:?}"
        );
    }
}

#[test]
fn acknowledgements_of_unknown_ids_keep_the_peer_going() {
    let mut outbound = Outbound::default();
    assert_eq!(outbound.on_ack(&ack(AckKind::PubAck, 7)), Ok(Step::Ignored));
    assert_eq!(
        outbound.on_ack(&ack(AckKind::PubComp, 7)),
        Ok(Step::Ignored)
    );
    let release = Ack::new(AckKind::PubRel, id(7), ReasonCode::PacketIdentifierNotFound);
    assert_eq!(
        outbound.on_ack(&ack(AckKind::PubRec, 7)),
        Ok(Step::Send(release))
    );
}

#[test]
fn a_reset_gives_back_what_was_in_flight() {
    let mut outbound = sending(&[QoS::AtLeastOnce, QoS::ExactlyOnce, QoS::ExactlyOnce]);
    outbound.on_ack(&ack(AckKind::PubRec, 2)).expect("awaited");
    let control = outbound.take_packet_id().expect("free");
    let (first, third) = (message(QoS::AtLeastOnce), message(QoS::ExactlyOnce));
    assert_eq!(
        outbound.reset(),
        [(1, Some(first)), (2, None), (3, Some(third))]
    );
    assert_eq!(outbound.in_flight(), 0);
    assert!(outbound.has_room());
    outbound.free_packet_id(control);
    assert_eq!(outbound.on_ack(&ack(AckKind::PubAck, 1)), Ok(Step::Ignored));
}

#[test]
fn subscription_identifiers_go_with_a_message_again() {
    let mut outbound = Outbound::default();
    let numbers = vec![std::num::NonZeroU32::MIN];
    let sent = outbound
        .send_for(message(QoS::AtLeastOnce), numbers, 1)
        .expect("room");
    outbound.resume(AT_MOST);
    assert_eq!(
        outbound.next_again(),
        Some(Packet::Publish(Publish { dup: true, ..sent }))
    );
}

#[test]
fn of_many_messages_in_flight_copies_are_held_that_say_the_same() {
    let buffer: Vec<u8> = (0..20_000_u32).flat_map(u32::to_be_bytes).collect();
    let buffer = bytes::Bytes::from(buffer);
    let payloads: Vec<_> = (1..=100)
        .map(|n| buffer.slice(n * 100..n * (100 + n)))
        .chain([buffer.slice(100..5_000), buffer.slice(0..7)])
        .collect();
    let mut outbound = Outbound::default();
    for payload in &payloads {
        let message = Message {
            payload: payload.clone(),
            ..message(QoS::AtLeastOnce)
        };
        outbound.send_for(message, Vec::new(), 1).expect("room");
    }
    let held = outbound.reset();
    let held: Vec<_> = held.into_iter().filter_map(|(_, held)| held).collect();
    let said: Vec<_> = held.iter().map(|held| &held.payload).collect();
    assert_eq!(said, payloads.iter().collect::<Vec<_>>());
    assert!(
        held.iter()
            .all(|held| held.topic == message(QoS::AtMostOnce).topic)
    );
    let memory = buffer.as_ptr_range();
    let borrowed = held
        .iter()
        .filter(|held| memory.contains(&held.payload.as_ptr()));
    assert_eq!(borrowed.count(), 32, "the others keep no read buffer alive");
}
