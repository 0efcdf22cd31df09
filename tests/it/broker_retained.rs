//! Messages through a broker without sockets: retained ones, wills, properties, expiry.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail by panicking")]

use crate::broker_house::{House, PeerId};
use crate::broker_packets::{
    BOTH, V4, V5, ack, connect, disconnect, id, options, publish, resume, retain, subscribe,
    unsubscribe, with_will,
};
use bytes::Bytes;
use bytestring::ByteString;
use rmqtt::broker::Limits;
use rmqtt::codec::{
    Ack, AckKind, Packet, Publish, ReasonCode, RetainHandling, SubscriptionOptions,
};
use rmqtt::message::{Message, MessageProperties, QoS};
use rmqtt::topic::TopicName;
use std::num::{NonZeroU16, NonZeroU32};
use std::sync::Arc;
use std::time::Duration;

const SECOND: Duration = Duration::from_secs(1);

/// The payloads that come right after SUBACK.
fn retained_for(
    house: &mut House,
    peer: PeerId,
    filter: &str,
    options: SubscriptionOptions,
) -> Vec<String> {
    house.send(peer, &subscribe(&[(filter, options)]));
    let heard = house.heard(peer);
    assert!(matches!(heard[0], Packet::SubAck(_)), "{heard:?}");
    let publishes = heard.iter().filter_map(|packet| match packet {
        Packet::Publish(publish) => Some(publish),
        _ => None,
    });
    publishes
        .map(|publish| {
            assert!(publish.message.retain);
            String::from_utf8(publish.message.payload.to_vec()).unwrap()
        })
        .collect()
}

fn with_properties(packet: Packet, properties: MessageProperties) -> Packet {
    let Packet::Publish(publish) = packet else {
        panic!("only a PUBLISH has them")
    };
    Packet::Publish(Publish {
        message: Message {
            properties: Some(Arc::new(properties)),
            ..publish.message
        },
        ..publish
    })
}

fn expiring(packet: Packet, seconds: u32) -> Packet {
    with_properties(
        packet,
        MessageProperties {
            message_expiry_interval: Some(seconds),
            ..MessageProperties::default()
        },
    )
}

/// spec(4): MQTT-3.3.1-6, MQTT-3.3.1-8, MQTT-3.3.1-9, MQTT-3.3.1-10, MQTT-3.3.1-11, MQTT-3.3.1-12
/// spec(4): MQTT-3.1.2-7, MQTT-3.8.4-3
/// spec(5): MQTT-3.3.1-5, MQTT-3.3.1-6, MQTT-3.3.1-7, MQTT-3.3.1-8, MQTT-3.3.1-9, MQTT-3.3.1-12, MQTT-3.8.4-4
#[test]
fn the_last_retained_message_of_each_topic_comes_with_a_subscription() {
    for version in BOTH {
        let mut house = House::new();
        let live = house.subscriber(version, "#", QoS::AtMostOnce);
        let publisher = house.connected(version, "p");
        for (number, (topic, payload)) in
            [("a/1", "old"), ("a/2", "two"), ("a/1", "new"), ("b", "no")]
                .into_iter()
                .enumerate()
        {
            let number = u16::try_from(number).unwrap() + 1;
            house.send(
                publisher,
                &retain(publish(topic, payload, QoS::AtLeastOnce, number)),
            );
        }
        house.send(publisher, &publish("a/1", "plain", QoS::AtMostOnce, 0));
        house.send(publisher, &disconnect(ReasonCode::Success));
        assert!(
            house
                .messages(live)
                .iter()
                .all(|publish| !publish.message.retain)
        );
        let peer = house.connected(version, "c");
        let always = options(QoS::ExactlyOnce);
        assert_eq!(
            retained_for(&mut house, peer, "a/+", always),
            ["new", "two"]
        );
        // And again when it is replaced.
        assert_eq!(
            retained_for(&mut house, peer, "a/+", always),
            ["new", "two"]
        );
        let publisher = house.connected(version, "p");
        house.send(publisher, &retain(publish("a/1", "", QoS::AtMostOnce, 0)));
        assert_eq!(house.payloads(peer), [""]);
        assert_eq!(retained_for(&mut house, peer, "a/+", always), ["two"]);
        assert_eq!(house.hub.stats().retained_messages, 2);
    }
}

/// spec(5): MQTT-3.3.1-9, MQTT-3.3.1-10, MQTT-3.3.1-11, MQTT-3.3.1-13, MQTT-3.8.3-3
#[test]
fn subscription_options_of_5_are_obeyed() {
    let mut house = House::new();
    let peer = house.connected(V5, "c");
    house.send(peer, &retain(publish("t", "kept", QoS::AtMostOnce, 0)));
    let handled = |retain_handling| SubscriptionOptions {
        retain_handling,
        ..SubscriptionOptions::default()
    };
    let none: [&str; 0] = [];
    assert_eq!(
        retained_for(&mut house, peer, "t", handled(RetainHandling::IfNew)),
        ["kept"]
    );
    assert_eq!(
        retained_for(&mut house, peer, "t", handled(RetainHandling::IfNew)),
        none
    );
    assert_eq!(
        retained_for(&mut house, peer, "t", handled(RetainHandling::Always)),
        ["kept"]
    );
    assert_eq!(
        retained_for(&mut house, peer, "t", handled(RetainHandling::Never)),
        none
    );
    house.send(peer, &unsubscribe(&["t"]));
    house.heard(peer);
    assert_eq!(
        retained_for(&mut house, peer, "t", handled(RetainHandling::Never)),
        none
    );

    let as_published = SubscriptionOptions {
        retain_as_published: true,
        no_local: true,
        retain_handling: RetainHandling::Never,
        ..SubscriptionOptions::default()
    };
    house.send(peer, &subscribe(&[("t", as_published)]));
    house.heard(peer);
    house.send(peer, &publish("t", "own", QoS::AtMostOnce, 0));
    assert!(house.heard(peer).is_empty());
    let other = house.connected(V5, "other");
    house.send(other, &retain(publish("t", "1", QoS::AtMostOnce, 0)));
    house.send(other, &publish("t", "2", QoS::AtMostOnce, 0));
    let flags: Vec<_> = house
        .messages(peer)
        .iter()
        .map(|it| it.message.retain)
        .collect();
    assert_eq!(flags, [true, false]);
}

/// spec(5): MQTT-3.3.2-4, MQTT-3.3.2-15, MQTT-3.3.2-16, MQTT-3.3.2-17, MQTT-3.3.2-18, MQTT-3.3.2-20
#[test]
fn properties_go_through_unchanged_and_3_1_1_is_spared_them() {
    let mut house = House::new();
    let new = house.subscriber(V5, "t", QoS::AtMostOnce);
    let old = house.subscriber(V4, "t", QoS::AtMostOnce);
    let publisher = house.connected(V5, "p");
    let pair = |name: &str, value: &str| (ByteString::from(name), ByteString::from(value));
    let properties = MessageProperties {
        payload_is_utf8: Some(true),
        message_expiry_interval: None,
        content_type: Some(ByteString::from("text/plain")),
        response_topic: TopicName::new("answer/here").ok(),
        correlation_data: Some((0..=255).collect::<Vec<u8>>().into()),
        user_properties: vec![pair("b", "1"), pair("a", ""), pair("b", "\u{FEFF}ö")],
    };
    let sent = with_properties(
        retain(publish("t", "x", QoS::AtMostOnce, 0)),
        properties.clone(),
    );
    house.send(publisher, &sent);
    assert_eq!(house.messages(new)[0].message.properties(), &properties);
    assert_eq!(
        house.messages(old)[0].message.properties(),
        &MessageProperties::default()
    );
    let late = house.connected(V5, "late");
    house.send(late, &subscribe(&[("t", options(QoS::AtMostOnce))]));
    assert!(
        matches!(&house.heard(late)[1], Packet::Publish(it) if it.message.properties() == &properties)
    );
}

/// spec(5): MQTT-3.3.2-5, MQTT-3.3.2-6
#[test]
fn a_message_tells_how_long_it_is_still_of_use_and_is_dropped_after() {
    let mut house = House::new();
    let live = house.subscriber(V5, "t", QoS::AtLeastOnce);
    let absent = house.connect(resume(V5, "absent"));
    house.let_in(absent);
    house.send(absent, &subscribe(&[("t", options(QoS::AtLeastOnce))]));
    house.heard(absent);
    house.cut(absent);
    let publisher = house.connected(V5, "p");
    house.send(
        publisher,
        &expiring(publish("t", "short", QoS::AtLeastOnce, 1), 2),
    );
    house.send(
        publisher,
        &expiring(retain(publish("t", "long", QoS::AtLeastOnce, 2)), 10),
    );
    let left = |publish: &Publish| publish.message.properties().message_expiry_interval;
    let got: Vec<_> = house.messages(live).iter().map(left).collect();
    assert_eq!(got, [Some(2), Some(10)]);
    house.wait(3 * SECOND);
    let back = house.connect(resume(V5, "absent"));
    let heard = house.heard(back);
    assert_eq!(heard.len(), 2, "{heard:?}");
    assert!(matches!(&heard[1], Packet::Publish(publish) if left(publish) == Some(7)));
    house.send(back, &subscribe(&[("t", options(QoS::AtMostOnce))]));
    assert!(matches!(&house.heard(back)[1], Packet::Publish(publish) if left(publish) == Some(7)));
    house.wait(8 * SECOND);
    assert_eq!(house.hub.stats().retained_messages, 0);
    assert_eq!(house.hub.stats().messages_expired, 2);
}

/// spec(5): MQTT-3.1.2-24, MQTT-3.1.2-25
#[test]
fn a_message_too_large_for_a_client_counts_as_delivered() {
    let mut house = House::new();
    let mut small = resume(V5, "small");
    small.properties.maximum_packet_size = NonZeroU32::new(40);
    small.properties.receive_maximum = NonZeroU16::new(1);
    let peer = house.connect(small.clone());
    house.let_in(peer);
    house.send(peer, &subscribe(&[("t", options(QoS::AtLeastOnce))]));
    house.heard(peer);
    let publisher = house.connected(V4, "p");
    // Header 2, topic 3, id 2, properties 1: 32 bytes of payload fill it.
    let (fits, too_large) = (".".repeat(32), ".".repeat(33));
    house.send(publisher, &publish("t", &too_large, QoS::AtLeastOnce, 1));
    house.send(publisher, &publish("t", &fits, QoS::AtLeastOnce, 2));
    assert_eq!(house.payloads(peer), [fits]);
    house.cut(peer);
    // Smaller still: what is in flight cannot be sent again, and must not block the window.
    small.properties.maximum_packet_size = NonZeroU32::new(30);
    house.send(publisher, &publish("t", "last", QoS::AtLeastOnce, 3));
    let peer = house.connect(small);
    let heard = house.heard(peer);
    assert!(
        matches!(&heard[1], Packet::Publish(it) if it.message.payload == "last"),
        "{heard:?}"
    );
}

/// The client may have taken the message and know its id: what comes next with that id must not be a repetition to it.
///
/// spec(5, server): MQTT-3.1.2-25
#[test]
fn a_message_of_qos_2_that_has_become_too_large_is_released_at_both_ends() {
    let mut house = House::new();
    let peer = house.connect(resume(V5, "small"));
    house.let_in(peer);
    house.send(peer, &subscribe(&[("t", options(QoS::ExactlyOnce))]));
    let publisher = house.connected(V4, "p");
    house.send(
        publisher,
        &publish("t", &".".repeat(99), QoS::ExactlyOnce, 1),
    );
    house.heard(peer);
    house.cut(peer);
    let mut small = resume(V5, "small");
    small.properties.maximum_packet_size = NonZeroU32::new(30);
    let peer = house.connect(small);
    let heard = house.heard(peer);
    let pubrel = Ack::new(AckKind::PubRel, id(1), ReasonCode::Success);
    assert_eq!(heard[1..], [Packet::Ack(pubrel)]);
    assert_eq!(house.hub.stats().queued_messages, 0);
}

/// spec(4): MQTT-3.1.2-8, MQTT-3.1.2-10, MQTT-3.1.2-12, MQTT-3.14.4-3, MQTT-3.1.2-16
/// spec(5): MQTT-3.1.2-7, MQTT-3.1.2-8, MQTT-3.1.2-10, MQTT-3.14.4-3, MQTT-3.1.2-14
/// spec(5): RMQTT-3.1.3-1
#[test]
fn a_will_is_published_once_when_its_client_is_lost_and_never_otherwise() {
    for version in BOTH {
        let mut house = House::new();
        let watcher = house.subscriber(version, "#", QoS::AtMostOnce);
        let dying = |house: &mut House| {
            let peer = house.connect(with_will(resume(version, "c"), None));
            house.let_in(peer);
            peer
        };
        let peer = dying(&mut house);
        house.cut(peer);
        assert_eq!(house.payloads(watcher), ["gone"]);
        // Without a will in the next CONNECT there is none.
        let peer = house.connect(resume(version, "c"));
        house.let_in(peer);
        house.cut(peer);
        let peer = dying(&mut house);
        house.send(peer, &disconnect(ReasonCode::Success));
        assert!(house.heard(watcher).is_empty());
        let peer = dying(&mut house);
        house.send_bytes(peer, &[0xFF]);
        assert_eq!(house.payloads(watcher), ["gone"]);
        if version == V5 {
            let peer = dying(&mut house);
            house.send(peer, &disconnect(ReasonCode::DisconnectWithWill));
            assert_eq!(house.payloads(watcher), ["gone"]);
        }
        let peer = dying(&mut house);
        dying(&mut house);
        assert!(house.is_closed(peer));
        assert_eq!(house.payloads(watcher), ["gone"]);
        let stats = house.hub.stats();
        assert_eq!(
            (stats.wills_published, stats.retained_messages),
            (if version == V5 { 4 } else { 3 }, 0)
        );
    }
}

/// spec(4): MQTT-3.1.2-17
/// spec(5): MQTT-3.1.2-15, MQTT-3.1.3-10
#[test]
fn a_will_may_be_retained_and_has_properties() {
    let mut house = House::new();
    let mut asking = with_will(connect(V5, "c"), None);
    let pair = |name: &str, value: &str| (ByteString::from(name), ByteString::from(value));
    let pairs = vec![pair("a", "1"), pair("b", "2"), pair("a", "3")];
    if let Some(will) = &mut asking.will {
        will.message.retain = true;
        will.message.properties = Some(Arc::new(MessageProperties {
            user_properties: pairs.clone(),
            ..MessageProperties::default()
        }));
    }
    let peer = house.connect(asking);
    house.let_in(peer);
    house.cut(peer);
    let late = house.connected(V5, "late");
    house.send(late, &subscribe(&[("will", options(QoS::AtLeastOnce))]));
    let heard = house.heard(late);
    let Packet::Publish(will) = &heard[1] else {
        panic!("no will: {heard:?}")
    };
    assert!(will.message.retain);
    assert_eq!(will.message.payload, Bytes::from("gone"));
    assert_eq!(will.message.properties().user_properties, pairs);
}

/// spec(5): MQTT-3.1.2-8, MQTT-3.1.3-9
#[test]
fn a_will_with_delay_waits_for_its_client_but_not_longer_than_the_session() {
    let mut house = House::new();
    let watcher = house.subscriber(V5, "#", QoS::AtMostOnce);
    let asking = |expiry, clean_start| {
        let mut connect = with_will(resume(V5, "c"), Some(3));
        connect.properties.session_expiry_interval = Some(expiry);
        connect.clean_start = clean_start;
        connect
    };
    // Back in time.
    let peer = house.connect(asking(100, true));
    house.cut(peer);
    house.wait(2 * SECOND);
    let peer = house.connect(asking(100, false));
    house.wait(9 * SECOND);
    assert!(house.heard(watcher).is_empty());
    // Not back in time.
    house.cut(peer);
    house.wait(2 * SECOND);
    assert!(house.heard(watcher).is_empty());
    house.wait(SECOND);
    assert_eq!(house.payloads(watcher), ["gone"]);
    // The session ends first.
    let peer = house.connect(asking(1, false));
    house.cut(peer);
    house.wait(SECOND);
    assert_eq!(house.payloads(watcher), ["gone"]);
    // The client comes back, but to another session.
    let peer = house.connect(asking(100, false));
    house.cut(peer);
    let peer = house.connect(asking(100, true));
    assert_eq!(house.payloads(watcher), ["gone"]);
    // Taken over by itself, with the session kept and with the session dropped.
    let successor = house.connect(asking(100, false));
    assert!(house.is_closed(peer));
    assert!(house.heard(watcher).is_empty());
    house.connect(asking(100, true));
    assert!(house.is_closed(successor));
    assert_eq!(house.payloads(watcher), ["gone"]);
}

#[test]
fn a_thousand_retained_messages_come_in_slices_and_in_full() {
    let mut house = House::with(Limits {
        queue_messages_max: 10,
        ..Limits::default()
    });
    let publisher = house.connected(V4, "p");
    for number in 0..1000 {
        let topic = format!("r/{number:04}");
        house.send(
            publisher,
            &retain(publish(&topic, "x", QoS::AtLeastOnce, 1)),
        );
    }
    let mut narrow = resume(V5, "c");
    narrow.properties.receive_maximum = NonZeroU16::new(3);
    let mut peer = house.connect(narrow.clone());
    house.let_in(peer);
    house.send(peer, &subscribe(&[("r/#", options(QoS::AtLeastOnce))]));
    let mut topics = Vec::new();
    for round in 0.. {
        if round == 50 {
            // What has not come yet comes to the next connection.
            house.cut(peer);
            peer = house.connect(narrow.clone());
        }
        let heard = house.heard(peer);
        let publishes: Vec<_> = heard
            .iter()
            .filter_map(|packet| match packet {
                Packet::Publish(publish) => Some(publish),
                _ => None,
            })
            .collect();
        if publishes.is_empty() && round != 50 {
            break;
        }
        for publish in publishes {
            topics.push(publish.message.topic.to_string());
            house.send(peer, &ack(AckKind::PubAck, publish.packet_id.unwrap()));
        }
    }
    topics.dedup();
    assert_eq!(topics.len(), 1000);
    assert!(topics.is_sorted());
}
