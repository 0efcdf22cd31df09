//! The filter tree and the retained store against naive lists, for whatever is subscribed, published and forgotten.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail by panicking")]

use crate::seed::epoch;
use proptest::prelude::*;
use rmqtt::broker::retained::{NODES_MAX, Retained};
use rmqtt::broker::router::{Router, Routes, SessionKey};
use rmqtt::broker::subscriptions::{Frontier, Subscription, Subscriptions};
use rmqtt::broker::{BrokerError, Limit, Limits};
use rmqtt::codec::SubscriptionOptions;
use rmqtt::message::{Message, MessageProperties, QoS};
use rmqtt::topic::{TopicFilter, TopicName};
use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

fn filter(text: &str) -> TopicFilter {
    TopicFilter::new(text.to_owned()).unwrap()
}

fn topic(text: &str) -> TopicName {
    TopicName::new(text.to_owned()).unwrap()
}

fn retained(text: &str, payload: &str) -> Message {
    Message::new(topic(text), payload.to_owned()).with_retain(true)
}

/// Few levels of few names, so that they meet.
fn levels(names: &'static [&'static str]) -> impl Strategy<Value = String> {
    prop::collection::vec(prop::sample::select(names), 1..5).prop_map(|levels| levels.join("/"))
}

fn any_topic() -> impl Strategy<Value = TopicName> {
    levels(&["a", "b", "", "$x"]).prop_filter_map("a name", |text| TopicName::new(text).ok())
}

fn any_filter() -> impl Strategy<Value = TopicFilter> {
    (levels(&["a", "b", "", "$x", "+"]), any::<bool>())
        .prop_filter_map("a filter", |(text, rest)| {
            TopicFilter::new(if rest { format!("{text}/#") } else { text }).ok()
        })
}

/// Plain, or shared under one of two names.
fn any_subscription() -> impl Strategy<Value = TopicFilter> {
    (
        prop::sample::select(&["", "", "$share/g/", "$share/h/"][..]),
        any_filter(),
    )
        .prop_map(|(share, inner)| filter(&format!("{share}{inner}")))
}

fn any_qos() -> impl Strategy<Value = QoS> {
    (0u8..3).prop_map(|number| QoS::from_number(number).unwrap())
}

#[derive(Debug, Clone)]
enum Act {
    Subscribe(usize, TopicFilter, QoS, Option<u32>, bool),
    Unsubscribe(usize, TopicFilter),
    End(usize),
    Publish(TopicName, QoS, usize),
}

fn any_act() -> impl Strategy<Value = Act> {
    let id = prop::option::of(1u32..4);
    prop_oneof![
        4 => (0usize..4, any_subscription(), any_qos(), id, any::<bool>())
            .prop_map(|(session, filter, qos, id, no_local)| Act::Subscribe(session, filter, qos, id, no_local)),
        2 => (0usize..4, any_subscription()).prop_map(|(session, filter)| Act::Unsubscribe(session, filter)),
        1 => (0usize..4).prop_map(Act::End),
        4 => (any_topic(), any_qos(), 0usize..4)
            .prop_map(|(topic, qos, publisher)| Act::Publish(topic, qos, publisher)),
    ]
}

type Model = BTreeMap<(usize, String), (TopicFilter, QoS, Option<u32>, bool)>;

/// What a list says: session, QoS and subscription identifiers.
fn expected(
    model: &Model,
    topic: &TopicName,
    qos: QoS,
    publisher: usize,
) -> Vec<(usize, QoS, Vec<u32>)> {
    let mut found: BTreeMap<usize, (QoS, Vec<u32>)> = BTreeMap::new();
    for ((session, _), (filter, granted, id, no_local)) in model {
        if is_shared(filter).is_none()
            && filter.matches(topic)
            && !(*no_local && *session == publisher)
        {
            let best = found.entry(*session).or_default();
            best.0 = best.0.max(qos.min(*granted));
            best.1.extend(*id);
            best.1.sort_unstable();
            best.1.dedup();
        }
    }
    found
        .into_iter()
        .map(|(session, (qos, ids))| (session, qos, ids))
        .collect()
}

fn is_shared(filter: &TopicFilter) -> Option<TopicFilter> {
    filter.share().unwrap().map(|(_, inner)| inner)
}

/// The groups that a list finds, by their whole text.
fn expected_groups(model: &Model, topic: &TopicName) -> BTreeSet<String> {
    let filters = model.values().map(|(filter, ..)| filter);
    filters
        .filter(|filter| is_shared(filter).is_some_and(|inner| inner.matches(topic)))
        .map(ToString::to_string)
        .collect()
}

proptest! {
    /// spec(4): MQTT-3.3.2-3, MQTT-3.8.4-3, MQTT-3.8.4-6, MQTT-3.10.4-1, MQTT-3.3.5-1
    /// spec(5): MQTT-3.3.2-3, MQTT-3.8.4-3, MQTT-3.8.4-8, MQTT-3.10.4-1, MQTT-3.3.4-2, MQTT-3.3.4-4, MQTT-3.8.3-3
    #[test]
    fn the_router_finds_whom_a_list_would_find(acts in prop::collection::vec(any_act(), 1..60)) {
        let mut router = Router::new(&Limits::default());
        let mut routes = Routes::default();
        let mut model = Model::new();
        // Asked again after each act: what was found before must not be taken for what is subscribed now.
        let mut asked = (topic("a"), QoS::AtMostOnce, 0);
        for act in acts {
            match act {
                Act::Subscribe(session, filter, qos, id, no_local) => {
                    let subscription = Subscription {
                        options: SubscriptionOptions { qos, no_local, ..SubscriptionOptions::default() },
                        id: id.and_then(NonZeroU32::new),
                    };
                    router.subscribe(SessionKey(session), &filter, subscription);
                    model.insert((session, filter.to_string()), (filter, qos, id, no_local));
                }
                Act::Unsubscribe(session, filter) => {
                    let was_there = model.remove(&(session, filter.to_string())).is_some();
                    prop_assert_eq!(router.subscriptions.remove(SessionKey(session), filter.as_str()), was_there);
                }
                Act::End(session) => {
                    router.subscriptions.remove_session(SessionKey(session));
                    model.retain(|(owner, _), _| *owner != session);
                }
                Act::Publish(topic, qos, publisher) => asked = (topic, qos, publisher),
            }
            for _ in 0..2 {
                let (topic, qos, publisher) = &asked;
                let message = Message::new(topic.clone(), "").with_qos(*qos);
                router.route(&message, Some(SessionKey(*publisher)), &mut routes);
                let found: Vec<_> = routes.list.iter().map(|route| {
                    (route.session.0, route.qos, route.subscription_ids.iter().map(|id| id.get()).collect())
                }).collect();
                prop_assert_eq!(found, expected(&model, topic, *qos, *publisher));
                let texts = expected_groups(&model, topic);
                prop_assert_eq!(routes.groups.len(), texts.len());
                let groups: BTreeSet<_> = routes.groups.iter().copied().collect();
                let wanted = texts.iter().map(|text| router.subscriptions.group(text).unwrap());
                prop_assert_eq!(groups, wanted.collect());
            }
            prop_assert_eq!(router.subscriptions.len(), model.len());
            for session in 0..4 {
                let groups = router.subscriptions.groups_of(SessionKey(session)).count();
                let own = model.iter().filter(|((owner, _), _)| *owner == session);
                let shared = own.filter(|(_, (filter, ..))| is_shared(filter).is_some());
                prop_assert_eq!(groups, shared.count());
            }
        }
        for session in 0..4 {
            router.subscriptions.remove_session(SessionKey(session));
        }
        prop_assert_eq!(router.subscriptions.node_count(), 0);
    }

    /// spec(4): MQTT-3.3.1-6, MQTT-3.3.1-10, MQTT-3.3.1-11
    /// spec(5): MQTT-3.3.1-5, MQTT-3.3.1-6, MQTT-3.3.1-7
    #[test]
    fn the_store_finds_in_slices_what_a_list_would_find(
        published in prop::collection::vec((any_topic(), any::<bool>()), 0..40),
        filter in any_filter(),
        slice in 1usize..5,
    ) {
        let mut store = Retained::new(&Limits::default());
        let mut model = BTreeMap::new();
        for (number, (topic, is_empty)) in published.into_iter().enumerate() {
            let payload = if is_empty { String::new() } else { number.to_string() };
            let message = Message::new(topic.clone(), payload).with_retain(true);
            store.set(&message, epoch()).unwrap();
            if is_empty { model.remove(&topic); } else { model.insert(topic, message); }
        }
        prop_assert_eq!(store.len(), model.len());
        prop_assert_eq!(store.bytes(), model.values().map(Message::size).sum::<usize>());
        let mut found = all_in_slices(&store, &filter, slice).0;
        found.sort_by(|a, b| a.topic.cmp(&b.topic));
        let wanted: Vec<_> = model.iter().filter(|(topic, _)| filter.matches(topic)).map(|(_, message)| message.clone()).collect();
        prop_assert_eq!(found, wanted);
        prop_assert_eq!(store.all(epoch()).len(), model.len());
        for topic in model.keys() {
            store.delete(topic);
        }
        prop_assert_eq!(store.node_count(), 0);
    }
}

/// What is found, and in how many slices.
fn all_in_slices(store: &Retained, filter: &TopicFilter, limit: usize) -> (Vec<Message>, usize) {
    let (mut found, mut slices, mut after) = (Vec::new(), 0, None::<Box<str>>);
    loop {
        let slice = store.matching(filter, after.as_deref(), limit, epoch());
        assert!(slice.found.len() <= limit);
        slices += 1;
        found.extend(slice.found.into_iter().map(|kept| kept.message));
        match slice.rest {
            Some(rest) => after = Some(rest),
            None => return (found, slices),
        }
    }
}

#[test]
fn wildcards_that_match_nothing_look_at_a_bounded_part_of_the_store_at_a_time() {
    let mut store = Retained::new(&Limits::default());
    for number in 0..10_000 {
        let name = format!("a/{}/{number}/x", number % 7);
        store.set(&retained(&name, "1"), epoch()).unwrap();
    }
    store.set(&retained("a/3/last/y", "1"), epoch()).unwrap();
    for (text, count, goes) in [
        ("+/+/+/y", 1, 5),
        ("+/+/+/+/+", 0, 10),
        ("#", 10_001, 10),
        ("a/3/last/#", 1, 1),
    ] {
        let (found, slices) = all_in_slices(&store, &filter(text), usize::MAX);
        assert_eq!((found.len(), slices), (count, goes), "{text}");
    }
}

#[test]
fn what_was_found_in_one_router_is_not_taken_for_what_its_copy_would_find() {
    let mut router = Router::new(&Limits::default());
    let mut routes = Routes::default();
    let message = Message::new(topic("a"), "");
    let mut found = |router: &Router| {
        router.route(&message, None, &mut routes);
        let sessions = routes.list.iter().map(|route| route.session.0);
        sessions.collect::<Vec<_>>()
    };
    let wish = Subscription::default();
    router.subscribe(SessionKey(1), &filter("a"), wish);
    let before = router.clone();
    assert_eq!(found(&router), [1]);
    router.subscribe(SessionKey(2), &filter("#"), wish);
    assert_eq!(found(&router), [1, 2]);
    assert_eq!(found(&before), [1], "the copy stays as it was");
    let mut after = before.clone();
    after.subscribe(SessionKey(3), &filter("+"), wish);
    assert_eq!(found(&after), [1, 3]);
    assert_eq!(found(&router), [1, 2]);
    router.subscriptions.remove_session(SessionKey(1));
    assert_eq!(found(&router), [2]);
    router.subscriptions.remove(SessionKey(2), "#");
    assert_eq!(found(&router), [0; 0]);
    assert_eq!(found(&before), [1]);
}

#[test]
fn sixty_five_thousand_levels_are_only_memory() {
    let deep = "/".repeat(65_535);
    let session = SessionKey(0);
    let mut subscriptions = Subscriptions::default();
    let filter = filter(&format!("{}#", &deep[1..]));
    subscriptions.insert(session, &filter, Subscription::default());
    let mut found = 0;
    let topic = topic(&deep);
    subscriptions.matching(&topic, &mut Frontier::default(), |_| found += 1);
    assert_eq!(found, 1);
    assert!(subscriptions.remove(session, filter.as_str()));
    assert_eq!(subscriptions.node_count(), 0);

    let mut store = Retained::new(&Limits::default());
    let message = Message::new(topic.clone(), "deep").with_retain(true);
    store.set(&message, epoch()).unwrap();
    let (found, slices) = all_in_slices(&store, &filter, 2);
    assert_eq!((found.len(), slices), (1, 65_536 / NODES_MAX + 1));
    store.delete(&topic);
    assert_eq!(store.node_count(), 0);
}

#[test]
fn a_thicket_of_wildcards_meets_each_node_once() {
    let mut subscriptions = Subscriptions::default();
    // All 2^12 mixtures of `a` and `+` over twelve levels.
    for mixture in 0..1 << 12 {
        let level = |bit: usize| if mixture >> bit & 1 == 1 { "+" } else { "a" };
        let levels: Vec<_> = (0..12).map(level).collect();
        let filter = filter(&levels.join("/"));
        subscriptions.insert(SessionKey(mixture), &filter, Subscription::default());
    }
    let mut found = 0;
    let name = topic(&["a"; 12].join("/"));
    subscriptions.matching(&name, &mut Frontier::default(), |_| found += 1);
    assert_eq!(found, 1 << 12);
}

#[test]
fn a_full_store_refuses_what_is_new_and_takes_what_replaces() {
    let mut store = Retained::new(&Limits {
        retained_messages_max: 2,
        retained_bytes_max: 10,
        ..Limits::default()
    });
    store.set(&retained("a", "1"), epoch()).unwrap();
    store.set(&retained("b", "1"), epoch()).unwrap();
    let full = |limit| Err(BrokerError::RetainedFull { limit });
    assert_eq!(
        store.set(&retained("c", "1"), epoch()),
        full(Limit::RetainedMessagesMax)
    );
    store.set(&retained("a", "1234567"), epoch()).unwrap();
    assert_eq!(
        store.set(&retained("b", "12"), epoch()),
        full(Limit::RetainedBytesMax)
    );
    store.set(&retained("a", ""), epoch()).unwrap();
    store.set(&retained("c", "1"), epoch()).unwrap();
    assert_eq!((store.len(), store.bytes()), (2, 4));
}

/// spec(5): MQTT-3.3.2-5
#[test]
fn a_retained_message_expires() {
    let now = epoch();
    let mut store = Retained::new(&Limits::default());
    for (name, seconds) in [("a", 1), ("b", 5)] {
        let properties = MessageProperties {
            message_expiry_interval: Some(seconds),
            ..MessageProperties::default()
        };
        let message = Message {
            properties: Some(Arc::new(properties)),
            ..retained(name, "1")
        };
        store.set(&message, now).unwrap();
    }
    store.set(&retained("c", "1"), now).unwrap();
    let later = now + Duration::from_secs(1);
    assert_eq!(store.next_timeout(), Some(later));
    // Not found any more, even before it is swept out.
    assert_eq!(store.matching(&filter("#"), None, 9, later).found.len(), 2);
    assert_eq!(store.expire(later, 100), 1);
    assert_eq!(store.expire(later + Duration::from_secs(9), 100), 1);
    assert_eq!((store.len(), store.next_timeout()), (1, None));
}
