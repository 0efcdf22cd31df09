//! Messages through a broker without sockets: delivery, subscriptions, aliases, windows.

use crate::broker_house::{House, PeerId};
use crate::broker_packets::{
    BOTH, V4, V5, ack, connect, disconnect, id, message, options, publish, resume, retain,
    subscribe, unsubscribe,
};
use rmqtt::broker::Limits;
use rmqtt::codec::{Ack, AckKind, Packet, Publish, ReasonCode, SubAck, UnsubAck};
use rmqtt::message::QoS;
use std::num::{NonZeroU16, NonZeroU32};

const QOS: [QoS; 3] = [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce];

fn reasons(house: &mut House, peer: PeerId) -> Vec<ReasonCode> {
    match &house.heard(peer)[..] {
        [
            Packet::SubAck(SubAck { reasons, .. }) | Packet::UnsubAck(UnsubAck { reasons, .. }),
            ..,
        ] => reasons.clone(),
        heard => panic!("neither SUBACK nor UNSUBACK: {heard:?}"),
    }
}

/// spec(4): MQTT-3.8.4-6
/// spec(4, server): MQTT-3.3.4-1, MQTT-2.3.1-6, MQTT-4.3.1-1
/// spec(5): MQTT-3.8.4-8
/// spec(5, server): MQTT-3.3.4-1, MQTT-2.2.1-5, MQTT-4.3.1-1, MQTT-4.3.2-2, MQTT-4.3.2-4, MQTT-4.3.3-2, MQTT-4.3.3-8
#[test]
fn delivery_has_the_lower_of_both_qualities_and_answers_the_publisher_by_its_own() {
    for version in BOTH {
        let mut house = House::new();
        let publisher = house.connected(version, "p");
        for granted in QOS {
            let subscriber = house.subscriber(version, "t", granted);
            for (number, published) in (0x100..).zip(QOS) {
                house.send(publisher, &publish("t", "x", published, number));
                let answer = match published {
                    QoS::AtMostOnce => Vec::new(),
                    QoS::AtLeastOnce => vec![ack(AckKind::PubAck, id(number))],
                    QoS::ExactlyOnce => vec![ack(AckKind::PubRec, id(number))],
                };
                assert_eq!(house.heard(publisher), answer);
                let got = house.messages(subscriber).remove(0);
                assert_eq!(got.message.qos, published.min(granted));
                assert_eq!(got.packet_id.is_some(), got.message.qos > QoS::AtMostOnce);
                assert!(!got.dup);
                if published == QoS::ExactlyOnce {
                    house.send(publisher, &ack(AckKind::PubRel, id(number)));
                    assert_eq!(house.heard(publisher), [ack(AckKind::PubComp, id(number))]);
                }
            }
            house.cut(subscriber);
        }
    }
}

/// spec(4): MQTT-3.3.1-3
/// spec(4, server): MQTT-4.3.2-2, MQTT-4.3.3-2
/// spec(5): MQTT-3.3.1-3
/// spec(5, server): MQTT-4.3.2-5, MQTT-4.3.3-10, MQTT-4.3.3-11, MQTT-4.3.3-12
#[test]
fn a_repeated_message_is_new_at_qos_1_and_the_same_at_qos_2_until_released() {
    for version in BOTH {
        let mut house = House::new();
        let publisher = house.connected(version, "p");
        let subscriber = house.subscriber(version, "t", QoS::ExactlyOnce);
        let repeat = |packet: Packet| match packet {
            Packet::Publish(publish) => Packet::Publish(Publish {
                dup: true,
                ..publish
            }),
            other => other,
        };
        let once = publish("t", "1", QoS::AtLeastOnce, 1);
        house.send(publisher, &once);
        house.send(publisher, &repeat(once));
        let got = house.messages(subscriber);
        assert_eq!(got.len(), 2);
        assert!(!got[1].dup);
        let exactly = publish("t", "2", QoS::ExactlyOnce, 2);
        house.send(publisher, &exactly);
        house.send(publisher, &repeat(exactly.clone()));
        house.send(publisher, &repeat(exactly.clone()));
        assert_eq!(house.payloads(subscriber), ["2"]);
        house.send(publisher, &ack(AckKind::PubRel, id(2)));
        house.send(publisher, &exactly);
        assert_eq!(house.payloads(subscriber), ["2"]);
        let heard = house.heard(publisher);
        let released = heard
            .iter()
            .filter(|packet| **packet == ack(AckKind::PubComp, id(2)));
        assert_eq!(released.count(), 1);
        let received = heard
            .iter()
            .filter(|packet| **packet == ack(AckKind::PubRec, id(2)));
        assert_eq!(received.count(), 4);
    }
}

/// spec(4): MQTT-4.6.0-5, MQTT-4.6.0-6
/// spec(5): MQTT-4.6.0-5, MQTT-4.6.0-6
#[test]
fn messages_of_one_publisher_arrive_in_their_order() {
    for version in BOTH {
        let mut house = House::new();
        let publisher = house.connected(version, "p");
        let quick = house.subscriber(version, "t", QoS::ExactlyOnce);
        let mut narrow = connect(V5, "narrow");
        narrow.properties.receive_maximum = NonZeroU16::new(1);
        let slow = house.connect(narrow);
        house.let_in(slow);
        house.send(slow, &subscribe(&[("#", options(QoS::AtLeastOnce))]));
        house.heard(slow);
        let wanted: Vec<_> = (1..=500u16).map(|number| number.to_string()).collect();
        for (number, payload) in (1..).zip(&wanted) {
            house.send(publisher, &publish("t", payload, QoS::AtLeastOnce, number));
        }
        assert_eq!(house.payloads(quick), wanted);
        let mut got = Vec::new();
        loop {
            let messages = house.messages(slow);
            assert!(messages.len() <= 1, "the window is 1");
            let Some(publish) = messages.first() else {
                break;
            };
            got.push(String::from_utf8(publish.message.payload.to_vec()).unwrap());
            house.send(slow, &ack(AckKind::PubAck, publish.packet_id.unwrap()));
        }
        assert_eq!(got, wanted);
    }
}

/// spec(4): MQTT-3.8.4-1, MQTT-3.8.4-2, MQTT-3.8.4-4, MQTT-3.8.4-5, MQTT-3.9.3-1, MQTT-2.3.1-7
/// spec(5): MQTT-3.8.4-1, MQTT-3.8.4-2, MQTT-3.8.4-5, MQTT-3.8.4-6, MQTT-3.8.4-7, MQTT-3.9.3-1, MQTT-2.2.1-6
/// spec(5, server): MQTT-4.7.1-1, MQTT-4.7.1-2, MQTT-4.8.2-1, MQTT-4.8.2-2, MQTT-3.9.3-2
#[test]
fn each_filter_of_a_subscribe_has_its_code_in_order() {
    let mut house = House::with(Limits {
        topic_levels_max: 4,
        ..Limits::default()
    });
    let peer = house.connected(V5, "c");
    let asked = |filter| (filter, options(QoS::AtMostOnce));
    house.send(
        peer,
        &subscribe(&[
            ("two", options(QoS::ExactlyOnce)),
            asked("a#"),
            ("one", options(QoS::AtLeastOnce)),
            asked("a/#/b"),
            asked("a+"),
            asked("$share/g/t"),
            asked("$share//t"),
            asked("$share/g+/t"),
            asked("$share/g"),
            asked("$SHARE/g/t"),
            asked("1/2/3/4"),
            asked("1/2/3/4/5"),
        ]),
    );
    let invalid = ReasonCode::TopicFilterInvalid;
    assert_eq!(
        reasons(&mut house, peer),
        [
            ReasonCode::GrantedQoS2,
            invalid,
            ReasonCode::GrantedQoS1,
            invalid,
            invalid,
            ReasonCode::Success,
            invalid,
            invalid,
            invalid,
            ReasonCode::Success,
            ReasonCode::Success,
            invalid,
        ]
    );
    let old = house.connected(V4, "d");
    let asked = [
        asked("1/2/3/4/5"),
        asked("$share/g/t"),
        asked("$share/g"),
        ("b", options(QoS::ExactlyOnce)),
    ];
    house.send(old, &subscribe(&asked));
    let wanted = [
        ReasonCode::UnspecifiedError,
        ReasonCode::Success,
        ReasonCode::UnspecifiedError,
        ReasonCode::GrantedQoS2,
    ];
    assert_eq!(reasons(&mut house, old), wanted);
    house.send_bytes(old, b"\x82\x06\x12\x34\0\x01a\0\x82\x06\0\x05\0\x01a\0");
    let ids: Vec<_> = house
        .heard(old)
        .iter()
        .map(|packet| match packet {
            Packet::SubAck(suback) => suback.packet_id.get(),
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(ids, [0x1234, 5]);
}

#[test]
fn a_session_has_no_more_subscriptions_than_allowed() {
    let mut house = House::with(Limits {
        subscriptions_max: 2,
        ..Limits::default()
    });
    let peer = house.connected(V5, "c");
    let asked = ["a", "b", "c", "a"].map(|filter| (filter, options(QoS::AtMostOnce)));
    house.send(peer, &subscribe(&asked));
    let (yes, no) = (ReasonCode::Success, ReasonCode::QuotaExceeded);
    assert_eq!(reasons(&mut house, peer), [yes, yes, no, yes]);
}

/// spec(4): MQTT-3.10.4-1, MQTT-3.10.4-2, MQTT-3.10.4-4, MQTT-3.10.4-5, MQTT-3.10.4-6, MQTT-3.10.4-3
/// spec(5): MQTT-3.10.4-1, MQTT-3.10.4-2, MQTT-3.10.4-4, MQTT-3.10.4-5, MQTT-3.10.4-6, MQTT-3.10.4-3, MQTT-3.11.3-1
/// spec(5, server): MQTT-3.11.3-2
#[test]
fn what_is_unsubscribed_is_over_but_what_has_begun_is_finished() {
    for version in BOTH {
        let mut house = House::new();
        let publisher = house.connected(version, "p");
        let peer = house.connected(version, "c");
        house.send(
            peer,
            &subscribe(&[
                ("a/+", options(QoS::ExactlyOnce)),
                ("a/b", options(QoS::ExactlyOnce)),
            ]),
        );
        house.heard(peer);
        house.send(publisher, &publish("a/b", "1", QoS::ExactlyOnce, 1));
        let begun = house.messages(peer).remove(0).packet_id.unwrap();
        house.send(peer, &unsubscribe(&["a/b", "a/#", "a/+"]));
        let (gone, none) = (ReasonCode::Success, ReasonCode::NoSubscriptionExisted);
        let wanted = if version == V5 {
            vec![gone, none, gone]
        } else {
            vec![]
        };
        assert_eq!(reasons(&mut house, peer), wanted);
        house.send(publisher, &publish("a/b", "2", QoS::ExactlyOnce, 2));
        house.send(peer, &ack(AckKind::PubRec, begun));
        assert_eq!(house.heard(peer), [ack(AckKind::PubRel, begun)]);
        house.send(peer, &ack(AckKind::PubComp, begun));
        assert!(house.heard(peer).is_empty());
        assert_eq!(house.hub.stats().subscriptions, 0);
    }
}

/// spec(5): MQTT-3.3.4-2, MQTT-3.3.4-3, MQTT-3.3.4-4
#[test]
fn overlapping_subscriptions_bring_one_copy_with_all_identifiers() {
    let mut house = House::new();
    let peer = house.connected(V5, "c");
    for (filter, number, qos) in [
        ("a/#", NonZeroU32::new(1), QoS::AtMostOnce),
        ("a/+", NonZeroU32::new(2), QoS::ExactlyOnce),
        ("a/b", None, QoS::AtLeastOnce),
    ] {
        let Packet::Subscribe(mut asking) = subscribe(&[(filter, options(qos))]) else {
            panic!("a SUBSCRIBE is a SUBSCRIBE")
        };
        asking.subscription_id = number;
        house.send(peer, &Packet::Subscribe(asking));
    }
    house.heard(peer);
    let publisher = house.connected(V4, "p");
    house.send(publisher, &publish("a/b", "x", QoS::ExactlyOnce, 1));
    let got = house.messages(peer);
    assert_eq!(got.len(), 1);
    assert_eq!(got[0].message.qos, QoS::ExactlyOnce);
    let ids: Vec<_> = got[0].subscription_ids.iter().map(|id| id.get()).collect();
    assert_eq!(ids, [1, 2]);
}

/// spec(4): MQTT-4.7.2-1, MQTT-4.7.3-4, MQTT-3.3.5-2
/// spec(5): MQTT-4.7.2-1, MQTT-4.7.3-4
#[test]
fn topics_of_the_broker_are_its_own() {
    for version in BOTH {
        let mut house = House::new();
        let all = house.subscriber(version, "#", QoS::AtMostOnce);
        let some = house.subscriber(version, "+/x", QoS::AtMostOnce);
        let system = house.subscriber(version, "$SYS/#", QoS::AtMostOnce);
        let level = house.subscriber(version, "$SYS/+", QoS::AtMostOnce);
        let peer = house.connected(version, "c");
        house.send(peer, &publish("$SYS/x", "forged", QoS::AtLeastOnce, 1));
        let reason = if version == V5 {
            ReasonCode::NotAuthorized
        } else {
            ReasonCode::Success
        };
        let answer = Packet::Ack(Ack::new(AckKind::PubAck, id(1), reason));
        assert_eq!(house.heard(peer), [answer]);
        let mut batch = rmqtt::broker::hub::Batch::default();
        let own = message("$SYS/x", "true", QoS::AtMostOnce);
        assert_eq!(
            house
                .hub
                .publish(&own, None, &mut batch, house.now)
                .unwrap()
                .matched,
            2
        );
        batch.finish();
        house.settle();
        assert_eq!(house.payloads(system), ["true"]);
        assert_eq!(house.payloads(level), ["true"]);
        assert!(house.heard(all).is_empty() && house.heard(some).is_empty());
        // Other names with `$` are free, but `#` does not see them; nor does case or composition match.
        house.send(peer, &publish("$sys/x", "", QoS::AtMostOnce, 0));
        house.send(peer, &publish("e\u{301}/X", "", QoS::AtMostOnce, 0));
        assert!(house.heard(some).is_empty() && house.heard(system).is_empty());
        assert_eq!(house.messages(all).len(), 1);
    }
}

/// spec(5): MQTT-3.3.2-12, MQTT-3.1.2-27
/// spec(5, server): MQTT-3.3.2-7
#[test]
fn topic_aliases_of_a_client_are_its_connections_own() {
    let mut house = House::with(Limits {
        topic_alias_max: 2,
        ..Limits::default()
    });
    let subscriber = house.subscriber(V5, "#", QoS::AtMostOnce);
    let publisher = house.connect(resume(V5, "p"));
    house.let_in(publisher);
    let aliased = |topic: Option<&str>, alias| {
        let mut publish = Publish::new(message(topic.unwrap_or("none"), "x", QoS::AtMostOnce));
        publish.topic_alias = NonZeroU16::new(alias);
        publish.topic_on_wire = topic.is_some();
        Packet::Publish(publish)
    };
    for packet in [
        aliased(Some("one"), 1),
        aliased(Some("two"), 2),
        aliased(None, 1),
        aliased(Some("three"), 1),
        aliased(None, 1),
        aliased(None, 2),
    ] {
        house.send(publisher, &packet);
    }
    let got = house.messages(subscriber);
    assert!(got.iter().all(|publish| publish.topic_alias.is_none()));
    let topics: Vec<_> = got
        .iter()
        .map(|publish| publish.message.topic.as_str())
        .collect();
    assert_eq!(topics, ["one", "two", "one", "three", "three", "two"]);
    house.cut(publisher);
    let publisher = house.connect(resume(V5, "p"));
    assert!(house.let_in(publisher));
    house.send(publisher, &aliased(None, 1));
    assert_eq!(
        house.heard(publisher),
        [disconnect(ReasonCode::ProtocolError)]
    );
}

/// spec(5, server): MQTT-4.9.0-1, MQTT-4.9.0-2, MQTT-4.9.0-3
#[test]
fn a_full_window_holds_back_messages_and_nothing_else() {
    let mut house = House::new();
    let mut narrow = connect(V5, "c");
    narrow.properties.receive_maximum = NonZeroU16::new(2);
    let peer = house.connect(narrow);
    house.let_in(peer);
    house.send(peer, &subscribe(&[("#", options(QoS::ExactlyOnce))]));
    house.heard(peer);
    let publisher = house.connected(V5, "p");
    for number in 1..=4 {
        house.send(
            publisher,
            &publish("t", &number.to_string(), QoS::ExactlyOnce, number),
        );
    }
    let got = house.messages(peer);
    assert_eq!(got.len(), 2);
    house.send(publisher, &publish("t", "free", QoS::AtMostOnce, 0));
    assert_eq!(house.payloads(peer), ["free"]);
    house.send(peer, &Packet::PingReq);
    house.send(peer, &publish("u", "", QoS::AtLeastOnce, 9));
    let heard = house.heard(peer);
    assert!(heard.contains(&Packet::PingResp) && heard.contains(&ack(AckKind::PubAck, id(9))));
    house.send(peer, &ack(AckKind::PubRec, got[0].packet_id.unwrap()));
    assert_eq!(
        house.heard(peer),
        [ack(AckKind::PubRel, got[0].packet_id.unwrap())]
    );
    house.send(peer, &ack(AckKind::PubComp, got[0].packet_id.unwrap()));
    assert_eq!(house.payloads(peer), ["3"]);
    let refused = Ack::new(
        AckKind::PubRec,
        got[1].packet_id.unwrap(),
        ReasonCode::UnspecifiedError,
    );
    house.send(peer, &Packet::Ack(refused));
    assert_eq!(house.payloads(peer), ["4"]);
}

#[test]
fn a_publisher_above_our_receive_maximum_is_told_so() {
    let mut house = House::with(Limits {
        receive_maximum: 2,
        ..Limits::default()
    });
    let peer = house.connected(V5, "c");
    for number in 1..=3 {
        house.send(peer, &publish("t", "", QoS::ExactlyOnce, number));
    }
    let heard = house.heard(peer);
    assert_eq!(heard[2], disconnect(ReasonCode::ReceiveMaximumExceeded));
}

#[test]
fn who_publishes_to_nobody_is_told_and_who_finds_no_room_to_retain_too() {
    let mut house = House::with(Limits {
        retained_messages_max: 0,
        ..Limits::default()
    });
    let new = house.connected(V5, "new");
    house.send(new, &publish("t", "", QoS::AtLeastOnce, 1));
    house.send(new, &retain(publish("t", "x", QoS::AtLeastOnce, 2)));
    let answer = |number, reason| Packet::Ack(Ack::new(AckKind::PubAck, id(number), reason));
    assert_eq!(
        house.heard(new),
        [
            answer(1, ReasonCode::NoMatchingSubscribers),
            answer(2, ReasonCode::QuotaExceeded)
        ]
    );
    let old = house.connected(V4, "old");
    house.send(old, &publish("t", "", QoS::AtLeastOnce, 1));
    assert_eq!(house.heard(old), [answer(1, ReasonCode::Success)]);
    house.send(old, &retain(publish("t", "x", QoS::AtLeastOnce, 2)));
    assert!(house.is_closed(old) && house.heard(old).is_empty());
}

/// spec(4): MQTT-3.1.2-5, MQTT-4.5.0-1
/// spec(5): MQTT-4.5.0-1
#[test]
fn everybody_who_subscribed_gets_a_message_here_or_not() {
    let mut house = House::new();
    let mut peers = Vec::new();
    for number in 0..10 {
        let peer = house.connect(resume(BOTH[number % 2], &number.to_string()));
        house.let_in(peer);
        house.send(peer, &subscribe(&[("t", options(QoS::AtLeastOnce))]));
        house.heard(peer);
        peers.push(peer);
    }
    for peer in peers.iter().skip(5) {
        house.cut(*peer);
    }
    let publisher = house.connected(V4, "p");
    house.send(publisher, &publish("t", "x", QoS::AtLeastOnce, 1));
    assert_eq!(house.heard(publisher), [ack(AckKind::PubAck, id(1))]);
    for peer in peers.iter().take(5) {
        assert_eq!(house.payloads(*peer), ["x"]);
    }
    assert_eq!(house.hub.stats().queued_messages, 5);
    for number in 5..10 {
        let back = house.connect(resume(BOTH[number % 2], &number.to_string()));
        assert_eq!(house.heard(back).len(), 2);
    }
}
