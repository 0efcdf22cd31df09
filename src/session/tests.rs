//! Private details of the session: ids, windows, states, deadlines.

use super::packet_id::{IN_USE_MAX, PacketIds};
use super::*;
use crate::codec::{AckKind, Packet, PacketId, Publish};
use crate::message::{Message, QoS};
use crate::topic::TopicName;
use std::num::NonZeroU16;
use std::time::{Duration, Instant};

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

/// spec(4): MQTT-4.3.3-2
/// spec(5): MQTT-4.3.3-8, MQTT-4.3.3-10, MQTT-4.3.3-11, MQTT-4.3.3-12
#[test]
fn qos_2_is_delivered_once_until_its_release() {
    let mut inbound = Inbound::default();
    inbound.begin(AT_MOST, false);
    let published = publish(300, QoS::ExactlyOnce);
    for _ in 0..2 {
        assert_eq!(inbound.on_publish(&published), Ok(Receipt::Deliver));
        assert_eq!(inbound.on_publish(&published), Ok(Receipt::Duplicate));
        assert_eq!(inbound.next_ack(), None);
        inbound.accepted(id(300), ReasonCode::Success);
        assert_eq!(inbound.next_ack(), Some(ack(AckKind::PubRec, 300)));
        for _ in 0..3 {
            assert_eq!(inbound.on_publish(&published), Ok(Receipt::Duplicate));
            assert_eq!(inbound.next_ack(), Some(ack(AckKind::PubRec, 300)));
        }
        inbound.on_pubrel(&ack(AckKind::PubRel, 300));
        assert_eq!(inbound.next_ack(), Some(ack(AckKind::PubComp, 300)));
        assert_eq!(inbound.in_flight(), 0);
    }
    inbound.on_pubrel(&ack(AckKind::PubRel, 300));
    let unknown = Ack::new(
        AckKind::PubComp,
        id(300),
        ReasonCode::PacketIdentifierNotFound,
    );
    assert_eq!(inbound.next_ack(), Some(unknown));
}

#[test]
fn a_late_answer_completes_the_redelivery_of_qos_2() {
    for accept_first in [true, false] {
        let mut inbound = Inbound::default();
        inbound.begin(AT_MOST, false);
        assert_eq!(
            inbound.on_publish(&publish(1, QoS::ExactlyOnce)),
            Ok(Receipt::Deliver)
        );
        let delivery = inbound.latest_delivery();
        inbound.begin(AT_MOST, true);
        if accept_first {
            inbound.accepted_late(id(1), delivery, ReasonCode::Success);
            assert_eq!(
                inbound.next_ack(),
                None,
                "the peer has not asked on this connection"
            );
        }
        assert_eq!(
            inbound.on_publish(&publish(1, QoS::ExactlyOnce)),
            Ok(Receipt::Duplicate)
        );
        if !accept_first {
            assert_eq!(inbound.next_ack(), None);
            inbound.accepted_late(id(1), delivery, ReasonCode::Success);
        }
        assert_eq!(inbound.next_ack(), Some(ack(AckKind::PubRec, 1)));
    }
}

#[test]
fn a_late_answer_never_goes_to_another_message() {
    for resumed in [true, false] {
        let mut inbound = Inbound::default();
        inbound.begin(AT_MOST, false);
        assert_eq!(
            inbound.on_publish(&publish(1, QoS::AtLeastOnce)),
            Ok(Receipt::Deliver)
        );
        let delivery = inbound.latest_delivery();
        inbound.begin(AT_MOST, resumed);
        assert_eq!(
            inbound.on_publish(&publish(1, QoS::AtLeastOnce)),
            Ok(Receipt::Deliver)
        );
        inbound.accepted_late(id(1), delivery, ReasonCode::Success);
        assert_eq!(inbound.next_ack(), None);
    }
}

/// spec(5): MQTT-4.3.2-4, MQTT-4.3.2-5
#[test]
fn after_its_puback_an_id_of_qos_1_means_a_new_message() {
    let mut inbound = Inbound::default();
    let repeated = Publish {
        dup: true,
        ..publish(65_535, QoS::AtLeastOnce)
    };
    for _ in 0..2 {
        assert_eq!(inbound.on_publish(&repeated), Ok(Receipt::Deliver));
        assert_eq!(inbound.on_publish(&repeated), Ok(Receipt::Duplicate));
        inbound.accepted(id(65_535), ReasonCode::Success);
        assert_eq!(inbound.next_ack(), Some(ack(AckKind::PubAck, 65_535)));
        assert_eq!(inbound.next_ack(), None);
    }
}

/// spec(5): MQTT-4.3.3-9
#[test]
fn a_refused_qos_2_message_leaves_its_id_free() {
    let mut inbound = Inbound::default();
    assert_eq!(
        inbound.on_publish(&publish(1, QoS::ExactlyOnce)),
        Ok(Receipt::Deliver)
    );
    inbound.accepted(id(1), ReasonCode::NotAuthorized);
    assert_eq!(
        inbound.next_ack(),
        Some(Ack::new(AckKind::PubRec, id(1), ReasonCode::NotAuthorized))
    );
    assert_eq!(inbound.in_flight(), 0);
    assert_eq!(
        inbound.on_publish(&publish(1, QoS::ExactlyOnce)),
        Ok(Receipt::Deliver)
    );
}

#[test]
fn more_unanswered_messages_than_announced_are_a_violation() {
    let mut inbound = Inbound::default();
    inbound.begin(window(2), false);
    inbound
        .on_publish(&publish(1, QoS::AtLeastOnce))
        .expect("room");
    inbound
        .on_publish(&publish(2, QoS::ExactlyOnce))
        .expect("room");
    inbound
        .on_publish(&Publish::new(message(QoS::AtMostOnce)))
        .expect("QoS 0 does not count");
    let violation = inbound
        .clone()
        .on_publish(&publish(3, QoS::AtLeastOnce))
        .expect_err("one too many");
    assert_eq!(violation.reason, ReasonCode::ReceiveMaximumExceeded);
    inbound.accepted(id(1), ReasonCode::Success);
    assert!(inbound.next_ack().is_some());
    inbound
        .on_publish(&publish(3, QoS::AtLeastOnce))
        .expect("room again");
}

#[test]
fn an_id_in_use_is_no_new_message_unless_the_peer_forgot_it() {
    let mut inbound = Inbound::default();
    inbound
        .on_publish(&publish(1, QoS::ExactlyOnce))
        .expect("new");
    assert!(inbound.on_publish(&publish(1, QoS::AtLeastOnce)).is_err());
    inbound
        .on_publish(&publish(2, QoS::AtLeastOnce))
        .expect("new");
    assert!(inbound.on_publish(&publish(2, QoS::AtLeastOnce)).is_err());
    assert!(inbound.on_publish(&publish(2, QoS::ExactlyOnce)).is_err());
    inbound.begin(AT_MOST, true);
    assert_eq!(
        inbound.on_publish(&publish(1, QoS::AtLeastOnce)),
        Ok(Receipt::Deliver)
    );
}

#[test]
fn an_abandoned_delivery_holds_back_no_answers_and_keeps_its_place_in_the_window() {
    for qos in [QoS::AtLeastOnce, QoS::ExactlyOnce] {
        let mut inbound = Inbound::default();
        inbound.begin(window(2), false);
        inbound.on_publish(&publish(1, qos)).expect("room");
        let first = inbound.latest_delivery();
        inbound
            .on_publish(&publish(2, QoS::AtLeastOnce))
            .expect("room");
        inbound.accepted(id(2), ReasonCode::Success);
        inbound.abandon(id(1), first + 1);
        assert_eq!(inbound.next_ack(), None);
        inbound.abandon(id(1), first);
        assert_eq!(inbound.next_ack(), Some(ack(AckKind::PubAck, 2)));
        // Too late: a later answer has left. A repetition does not change that.
        inbound.accepted(id(1), ReasonCode::Success);
        let mut repeated = publish(1, qos);
        repeated.dup = true;
        assert_eq!(inbound.on_publish(&repeated), Ok(Receipt::Duplicate));
        assert_eq!(inbound.next_ack(), None);
        inbound.on_publish(&publish(3, qos)).expect("room for one");
        assert!(inbound.on_publish(&publish(4, qos)).is_err());
    }
}

#[test]
fn an_abandoned_delivery_is_delivered_again_in_the_resumed_session() {
    for is_abandoned_late in [false, true] {
        for qos in [QoS::AtLeastOnce, QoS::ExactlyOnce] {
            let mut inbound = Inbound::default();
            inbound.begin(AT_MOST, false);
            inbound.on_publish(&publish(1, qos)).expect("room");
            let first = inbound.latest_delivery();
            if is_abandoned_late {
                inbound.begin(AT_MOST, true);
                inbound.abandon(id(1), first);
            } else {
                inbound.abandon(id(1), first);
                inbound.begin(AT_MOST, true);
            }
            let mut repeated = publish(1, qos);
            repeated.dup = true;
            assert_eq!(inbound.on_publish(&repeated), Ok(Receipt::Deliver));
            inbound.accepted_late(id(1), first, ReasonCode::Success);
            assert_eq!(inbound.next_ack(), None);
            inbound.accepted(id(1), ReasonCode::Success);
            assert!(inbound.next_ack().is_some());
        }
    }
}

#[test]
fn what_is_accepted_can_no_longer_be_abandoned() {
    let mut inbound = Inbound::default();
    for qos in [QoS::AtLeastOnce, QoS::ExactlyOnce] {
        inbound.on_publish(&publish(1, qos)).expect("room");
        inbound.accepted(id(1), ReasonCode::Success);
        inbound.abandon(id(1), inbound.latest_delivery());
        assert!(inbound.next_ack().is_some());
    }
}

#[test]
fn an_early_pubrel_does_not_block_the_answers_behind_it() {
    let mut inbound = Inbound::default();
    inbound
        .on_publish(&publish(1, QoS::ExactlyOnce))
        .expect("new");
    inbound
        .on_publish(&publish(2, QoS::AtLeastOnce))
        .expect("new");
    inbound.accepted(id(2), ReasonCode::Success);
    assert_eq!(inbound.next_ack(), None);
    inbound.on_pubrel(&ack(AckKind::PubRel, 1));
    assert_eq!(inbound.next_ack(), Some(ack(AckKind::PubComp, 1)));
    assert_eq!(inbound.next_ack(), Some(ack(AckKind::PubAck, 2)));
}

#[expect(
    clippy::disallowed_methods,
    reason = "an instant cannot be made otherwise"
)]
fn start() -> Instant {
    Instant::now()
}

/// spec(4): MQTT-3.1.2-23
/// spec(5): MQTT-3.1.2-20
#[test]
fn a_silent_client_pings_and_gives_up_without_an_answer() {
    let start = start();
    let at = |seconds| start + Duration::from_secs(seconds);
    let mut keep_alive = KeepAlive::new(Duration::from_secs(10), at(0));
    keep_alive.on_sent(at(4));
    assert_eq!(keep_alive.next_timeout(), Some(at(14)));
    assert_eq!(keep_alive.handle_timeout(at(13)), Beat::Wait);
    assert_eq!(keep_alive.handle_timeout(at(14)), Beat::Ping);
    keep_alive.on_ping_sent(at(14));
    keep_alive.on_pong();
    assert_eq!(keep_alive.handle_timeout(at(24)), Beat::Ping);
    keep_alive.on_ping_sent(at(24));
    keep_alive.on_sent(at(30));
    keep_alive.on_received(at(32));
    assert_eq!(keep_alive.next_timeout(), Some(at(40)));
    assert_eq!(keep_alive.handle_timeout(at(40)), Beat::Ping);
    keep_alive.on_ping_sent(at(40));
    assert_eq!(keep_alive.next_timeout(), Some(at(42)));
    assert_eq!(keep_alive.handle_timeout(at(42)), Beat::Dead);
}

/// spec(4): MQTT-3.1.2-24
/// spec(5): MQTT-3.1.2-22
#[test]
fn a_server_waits_one_and_a_half_intervals() {
    let start = start();
    let mut silence = Silence::new(Duration::from_secs(2), start);
    assert!(!silence.is_over(start + Duration::from_millis(2_999)));
    assert!(silence.is_over(start + Duration::from_secs(3)));
    silence.on_received(start + Duration::from_secs(2));
    assert_eq!(silence.next_timeout(), Some(start + Duration::from_secs(5)));
}

#[test]
fn an_interval_of_zero_never_ends() {
    let start = start();
    let later = start + Duration::from_secs(1_000_000);
    assert_eq!(
        KeepAlive::new(Duration::ZERO, start).handle_timeout(later),
        Beat::Wait
    );
    assert_eq!(Silence::new(Duration::ZERO, start).next_timeout(), None);
    assert_eq!(Silence::new(Duration::MAX, start).next_timeout(), None);
}
