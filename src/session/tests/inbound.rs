//! The receiver's half.

use super::*;

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
