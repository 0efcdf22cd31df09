//! Runs of PUBLISH packets of QoS 0, which the broker takes in and sends on as one thing: nobody may see a difference.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail by panicking")]

use crate::broker_house::{House, PeerId};
use crate::broker_packets::{BOTH, V4, V5, connect, message, options, publish, retain, subscribe};
use crate::seed::epoch;
use bytes::{Buf, BytesMut};
use proptest::prelude::*;
use rmqtt::broker::memory::Memory;
use rmqtt::broker::outbox::{Letter, Next, Outbox};
use rmqtt::broker::protocol::{Outgoing, Room};
use rmqtt::broker::router::{Route, SessionKey};
use rmqtt::broker::{Limit, Limits};
use rmqtt::codec::{self, Packet, ProtocolVersion, Publish, SendBuffer};
use rmqtt::message::{Message, QoS};
use std::num::{NonZeroU16, NonZeroU32};
use std::sync::Arc;

fn bytes_of(packets: &[Packet], version: ProtocolVersion) -> BytesMut {
    let mut out = SendBuffer::new();
    for packet in packets {
        codec::encode(packet, version, &mut out).unwrap();
    }
    BytesMut::from(&out.copy_to_bytes(out.remaining())[..])
}

fn burst(topic: &str, numbers: std::ops::Range<u32>) -> Vec<Packet> {
    numbers
        .map(|number| publish(topic, &number.to_string(), QoS::AtMostOnce, 0))
        .collect()
}

fn texts(numbers: std::ops::Range<u32>) -> Vec<String> {
    numbers.map(|number| number.to_string()).collect()
}

fn say(house: &mut House, peer: PeerId, version: ProtocolVersion, packets: &[Packet]) {
    house.send_bytes(peer, &bytes_of(packets, version));
}

/// Mostly what runs are made of, with all that must end one.
fn any_publish() -> impl Strategy<Value = Publish> {
    let topic = prop::sample::select(&["t", "t", "t", "t/u", "é"][..]);
    let kind = 0u8..12;
    (topic, kind, 0usize..300).prop_map(|(topic, kind, length)| {
        let qos = if kind == 0 {
            QoS::AtLeastOnce
        } else {
            QoS::AtMostOnce
        };
        let mut publish = Publish::new(message(topic, &"x".repeat(length), qos));
        publish.message.retain = kind == 1;
        publish.packet_id = codec::PacketId::new(7).filter(|_| kind == 0);
        publish.topic_alias = NonZeroU16::new(3).filter(|_| kind == 2);
        publish
    })
}

proptest! {
    #[test]
    fn a_run_holds_what_would_have_been_decoded(
        packets in prop::collection::vec(any_publish(), 0..40),
        version in prop::sample::select(&BOTH[..]),
        cut in 0usize..10,
    ) {
        let packets: Vec<_> = packets.into_iter().map(Packet::Publish).collect();
        let mut input = bytes_of(&packets, version);
        input.truncate(input.len().saturating_sub(cut));
        let mut plain = input.clone();
        let limits = codec::Limits { packet_size_max: 250, ..codec::Limits::default() };
        let mut found: Vec<Message> = Vec::new();
        let error = loop {
            if let Some(run) = codec::decode_run(&mut input, version, &limits) {
                let messages: Vec<_> = run.messages().collect();
                prop_assert_eq!(messages.len(), run.len());
                prop_assert_eq!(messages.iter().map(Message::size).sum::<usize>(), run.size());
                found.extend(messages);
                continue;
            }
            match codec::decode(&mut input, version, &limits) {
                Ok(Some(Packet::Publish(publish))) => found.push(publish.message),
                Ok(None) => break None,
                other => break Some(other),
            }
        };
        let mut expected = Vec::new();
        let expected_error = loop {
            match codec::decode(&mut plain, version, &limits) {
                Ok(Some(Packet::Publish(publish))) => expected.push(publish.message),
                Ok(None) => break None,
                other => break Some(other),
            }
        };
        prop_assert_eq!(found, expected);
        prop_assert_eq!(error, expected_error);
        prop_assert_eq!(input, plain);
    }

    #[test]
    fn any_bytes_are_a_run_only_of_packets(
        bytes in prop::collection::vec(prop::sample::select(&[0u8, 0, 1, 2, 5, 0x30, 0x30, 0x80, b'+', 0xFF][..]), 0..60),
        version in prop::sample::select(&BOTH[..]),
    ) {
        let limits = codec::Limits::default();
        let mut input = BytesMut::from(&bytes[..]);
        let mut plain = input.clone();
        if let Some(run) = codec::decode_run(&mut input, version, &limits) {
            for message in run.messages() {
                let packet = codec::decode(&mut plain, version, &limits);
                prop_assert_eq!(packet, Ok(Some(Packet::Publish(Publish::new(message)))));
            }
        }
        prop_assert_eq!(input, plain);
    }
}

/// spec(4): MQTT-4.6.0-6
/// spec(5): MQTT-3.3.4-3, MQTT-4.6.0-5, MQTT-4.6.0-6
#[test]
fn a_burst_reaches_every_kind_of_subscriber_whole_and_in_order() {
    for version in BOTH {
        let mut house = House::new();
        let old = house.subscriber(V4, "line/7/t", QoS::AtMostOnce);
        let new = house.subscriber(V5, "#", QoS::ExactlyOnce);
        let mut wants_aliases = connect(V5, "aliases");
        wants_aliases.properties.topic_alias_maximum = Some(5);
        let aliased = house.connect(wants_aliases);
        house.let_in(aliased);
        house.send(
            aliased,
            &subscribe(&[("line/7/t", options(QoS::AtMostOnce))]),
        );
        let named = house.connected(V5, "named");
        let Packet::Subscribe(mut asked) = subscribe(&[("line/7/t", options(QoS::AtMostOnce))])
        else {
            panic!("a SUBSCRIBE");
        };
        asked.subscription_id = NonZeroU32::new(77);
        house.send(named, &Packet::Subscribe(asked));
        let member = house.subscriber(V4, "$share/g/line/7/t", QoS::AtMostOnce);
        house.heard(aliased);
        house.heard(named);
        let publisher = house.connected(version, "publisher");
        say(&mut house, publisher, version, &burst("line/7/t", 0..1000));
        let ids = [NonZeroU32::new(77).unwrap()];
        let heard = house.messages(named);
        assert_eq!(heard.len(), 1000);
        assert!(heard.iter().all(|publish| publish.subscription_ids == ids));
        let heard = house.messages(aliased);
        assert!(heard[0].topic_on_wire && !heard[999].topic_on_wire);
        assert_eq!(heard.len(), 1000);
        for peer in [old, new, member] {
            assert_eq!(house.payloads(peer), texts(0..1000));
        }
        let counted = house.hub.counters().snapshot();
        assert_eq!(counted.messages_received, 1000);
        assert_eq!(counted.messages_delivered, 5000);
    }
}

#[test]
fn filters_that_come_and_go_within_a_batch_count_from_where_they_stand() {
    let mut house = House::new();
    let peer = house.connected(V5, "itself");
    let mut said = burst("t", 0..10);
    said.push(subscribe(&[("t", options(QoS::AtMostOnce))]));
    said.extend(burst("t", 10..20));
    said.push(crate::broker_packets::unsubscribe(&["t"]));
    said.extend(burst("t", 20..30));
    say(&mut house, peer, V5, &said);
    let heard = house.heard(peer);
    let payloads: Vec<_> = heard
        .iter()
        .filter_map(|packet| match packet {
            Packet::Publish(publish) => Some(publish.message.payload.to_vec()),
            _ => None,
        })
        .collect();
    let expected: Vec<_> = texts(10..20).into_iter().map(String::into_bytes).collect();
    assert_eq!(payloads, expected);
}

#[test]
fn a_run_keeps_its_place_between_other_messages() {
    let mut house = House::new();
    let subscriber = house.subscriber(V4, "t", QoS::AtLeastOnce);
    let publisher = house.connected(V4, "publisher");
    let mut said = burst("t", 0..3);
    said.push(publish("t", "3", QoS::AtLeastOnce, 1));
    said.extend(burst("t", 4..8));
    said.push(retain(publish("t", "8", QoS::AtMostOnce, 0)));
    said.extend(burst("t", 9..12));
    say(&mut house, publisher, V4, &said);
    assert_eq!(house.payloads(subscriber), texts(0..12));
}

#[test]
fn what_the_client_cannot_take_of_a_run_is_left_out_and_counted() {
    let mut house = House::new();
    let mut small = connect(V5, "small");
    small.properties.maximum_packet_size = NonZeroU32::new(50);
    let small = house.connect(small);
    house.let_in(small);
    house.send(small, &subscribe(&[("t", options(QoS::AtMostOnce))]));
    house.heard(small);
    let publisher = house.connected(V5, "publisher");
    let long = "x".repeat(60);
    let said =
        ["a", &long, "b", &long, "c"].map(|payload| publish("t", payload, QoS::AtMostOnce, 0));
    say(&mut house, publisher, V5, &said);
    assert_eq!(house.payloads(small), ["a", "b", "c"]);
    assert_eq!(house.hub.counters().snapshot().messages_expired, 2);
}

/// What waits while nothing can be written, by the bounds of the queue: a run that does not fit whole is cut.
#[test]
fn a_run_fills_a_queue_to_its_bound_and_makes_room_message_by_message() {
    let mut house = House::with(Limits {
        queue_messages_max: 10,
        ..Limits::default()
    });
    let subscriber = house.subscriber(V4, "t", QoS::AtLeastOnce);
    let outbox = house.outbox(subscriber);
    let publisher = house.connected(V4, "publisher");
    house.is_delivering = false;
    say(&mut house, publisher, V4, &burst("t", 0..6));
    assert_eq!(outbox.len(), 6);
    say(&mut house, publisher, V4, &burst("t", 6..16));
    assert_eq!(outbox.len(), 10);
    assert_eq!(house.hub.counters().snapshot().messages_dropped_qos0, 6);
    // The oldest of QoS 0 makes room, out of the middle of a run.
    say(
        &mut house,
        publisher,
        V4,
        &[
            publish("t", "16", QoS::AtLeastOnce, 1),
            publish("t", "17", QoS::AtLeastOnce, 2),
        ],
    );
    assert_eq!(house.hub.counters().snapshot().messages_dropped_qos0, 9);
    house.is_delivering = true;
    house.settle();
    let mut expected = texts(3..10);
    expected.extend(texts(16..18));
    assert_eq!(house.payloads(subscriber), expected);
    assert_eq!((outbox.len(), outbox.bytes()), (0, 0));
}

/// A flood meets full queues with each of its messages: they are refused unseen, and yet each is counted.
#[test]
fn what_a_full_queue_refuses_is_counted_and_what_it_has_room_for_again_comes() {
    let mut house = House::with(Limits {
        queue_messages_max: 10,
        ..Limits::default()
    });
    let subscriber = house.subscriber(V4, "t", QoS::AtMostOnce);
    let publisher = house.connected(V4, "publisher");
    house.is_delivering = false;
    say(&mut house, publisher, V4, &burst("t", 0..10));
    for round in 1..=3_u64 {
        say(&mut house, publisher, V4, &burst("t", 100..107));
        let one = publish("t", "one", QoS::AtMostOnce, 0);
        say(&mut house, publisher, V4, &[one]);
        let counters = house.hub.counters();
        let reached = counters.times_reached(Limit::QueueMessagesMax);
        assert_eq!(counters.snapshot().messages_dropped_qos0, 8 * round);
        assert_eq!(reached, 8 * round);
    }
    house.is_delivering = true;
    house.settle();
    say(&mut house, publisher, V4, &burst("t", 10..13));
    assert_eq!(house.payloads(subscriber), texts(0..13));
}

#[test]
fn who_makes_room_in_a_full_queue_makes_it_for_qos_0_too() {
    let mut house = House::with(Limits {
        queue_messages_max: 10,
        ..Limits::default()
    });
    let subscriber = house.subscriber(V4, "t", QoS::AtLeastOnce);
    let publisher = house.connected(V4, "publisher");
    house.is_delivering = false;
    say(&mut house, publisher, V4, &burst("t", 0..12));
    let important = publish("t", "12", QoS::AtLeastOnce, 1);
    let next = publish("t", "13", QoS::AtMostOnce, 0);
    say(&mut house, publisher, V4, &[important, next]);
    house.is_delivering = true;
    house.settle();
    let mut expected = texts(2..10);
    expected.extend(texts(12..14));
    assert_eq!(house.payloads(subscriber), expected);
}

#[test]
fn a_run_for_nobody_who_is_there_is_dropped_and_counted() {
    let mut house = House::new();
    let absent = house.connect(crate::broker_packets::resume(V5, "absent"));
    house.let_in(absent);
    house.send(absent, &subscribe(&[("t", options(QoS::AtLeastOnce))]));
    house.cut(absent);
    let publisher = house.connected(V5, "publisher");
    say(&mut house, publisher, V5, &burst("t", 0..7));
    let counted = house.hub.counters().snapshot();
    assert_eq!(counted.messages_dropped_qos0, 7);
    assert_eq!(house.hub.stats().queued_messages, 0);
}

/// What is copied out of its read buffer, and what may stay there: each batch is one buffer that a message keeps alive.
#[test]
fn a_queue_that_is_never_empty_keeps_few_read_buffers_alive() {
    let limits = Limits::default();
    let memory = Memory::new(&limits);
    let outbox = Outbox::new(&limits, &memory);
    outbox.connect(Arc::default(), 0);
    let message = message("line/7/t", "in a read buffer", QoS::AtMostOnce);
    let push = |batch| {
        let route = Route {
            session: SessionKey(0),
            qos: QoS::AtMostOnce,
            retain: false,
            subscription_ids: Vec::new(),
            stamp: 0,
        };
        let mut letter = Letter::new(&message, batch, &memory, epoch());
        outbox.push(&mut letter, &route, epoch());
    };
    let room = Room {
        at_most_once: true,
        acknowledged: true,
    };
    let is_next_copied = || match outbox.take(room) {
        Next::Outgoing(Outgoing::One(delivery)) => {
            assert_eq!(delivery.message, message);
            delivery.message.payload.as_ptr() != message.payload.as_ptr()
        }
        other => panic!("not a message: {other:?}"),
    };
    for batch in 0..20 {
        push(batch);
        push(batch);
    }
    let copied: Vec<_> = (0..39).map(|_| is_next_copied()).collect();
    assert_eq!(copied.iter().filter(|copied| !**copied).count(), 2 * 16);
    assert!(copied[32..].iter().all(|copied| *copied));
    push(20);
    assert!(is_next_copied() && is_next_copied(), "it was not empty");
    push(21);
    assert!(!is_next_copied());
}
