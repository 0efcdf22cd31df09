//! What those who look on see of a hub's traffic.

use crate::broker_house::House;
use crate::broker_packets::{V4, V5, message, publish, retain};
use rmqtt::broker::Limits;
use rmqtt::broker::hub::{Batch, Tap};
use rmqtt::message::QoS;
use rmqtt::topic::TopicFilter;

fn filter(text: &str) -> TopicFilter {
    TopicFilter::new(text.to_owned()).expect("valid")
}

fn fetch(tap: &Tap) -> Vec<(String, Option<String>)> {
    let caught = tap.fetch();
    let name = |text: bytestring::ByteString| text.to_string();
    caught
        .into_iter()
        .map(|one| (one.message.topic.to_string(), one.publisher.map(name)))
        .collect()
}

#[test]
fn what_is_answered_was_caught_with_its_publisher() {
    let mut house = House::new();
    let tap = house.hub.tap(filter("#"), 10);
    let pump = house.connected(V5, "pump");
    let valve = house.connected(V4, "valve");
    house.send(pump, &publish("a", "1", QoS::AtLeastOnce, 1));
    house.send(valve, &retain(publish("b", "2", QoS::ExactlyOnce, 1)));
    let mut batch = Batch::default();
    let ours = message("c", "3", QoS::AtMostOnce);
    house
        .hub
        .publish(&ours, None, &mut batch, house.now)
        .expect("room");
    let by = |topic: &str, client: Option<&str>| (topic.to_owned(), client.map(str::to_owned));
    assert_eq!(
        fetch(&tap),
        [by("a", Some("pump")), by("b", Some("valve")), by("c", None)]
    );
    assert_eq!(fetch(&tap), []);
    assert_eq!(*tap.watch().borrow(), 3);
}

#[test]
fn a_repeated_message_is_caught_once_and_a_refused_one_never() {
    let mut house = House::with(Limits {
        retained_messages_max: 0,
        ..Limits::default()
    });
    let tap = house.hub.tap(filter("+"), 10);
    let pump = house.connected(V5, "pump");
    for _ in 0..2 {
        house.send(pump, &publish("a", "1", QoS::ExactlyOnce, 1));
    }
    house.send(pump, &retain(publish("b", "2", QoS::AtLeastOnce, 2)));
    assert_eq!(fetch(&tap), [("a".to_owned(), Some("pump".to_owned()))]);
}

#[test]
fn beyond_its_bound_a_tap_drops_the_oldest_and_counts() {
    let house = House::new();
    let tap = house.hub.tap(filter("a/#"), 2);
    let other = house.hub.tap(filter("b"), 2);
    let mut batch = Batch::default();
    for topic in ["a/1", "b", "a/2", "a/3"] {
        let message = message(topic, "", QoS::AtMostOnce);
        house
            .hub
            .publish(&message, None, &mut batch, house.now)
            .expect("room");
    }
    assert_eq!(
        fetch(&tap),
        [("a/2".to_owned(), None), ("a/3".to_owned(), None)]
    );
    assert_eq!((tap.dropped(), other.dropped()), (1, 0));
    drop(tap);
    assert_eq!(fetch(&other).len(), 1);
}
