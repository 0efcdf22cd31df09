//! Filters and options that are none, shared subscriptions, and more subscriptions than anybody needs.

use super::{MALFORMED, PROTOCOL_ERROR, attack, each_ends_its_connection};
use crate::raw::bytes::{Connect, Publish, block, field, packet, subscribe, unsubscribe};
use crate::raw::{BOTH, Server, V4, V5};

const NO_FILTERS: [&str; 11] = [
    "a#", "a/#/b", "#/a", "a+", "a/b+", "++", "+a/b", "##", "#/", "a/+b/c", "a/##",
];

/// spec(4, server): MQTT-4.7.1-2, MQTT-4.7.1-3
#[tokio::test]
async fn a_bad_filter_closes_a_connection_of_3_1_1() {
    let server = Server::start().await;
    let mut attacks = Vec::new();
    for filter in NO_FILTERS.into_iter().chain([""]) {
        let good_and_bad = [("good", 0), (filter, 0)];
        attacks.push(attack(filter, subscribe(V4, 1, &[(filter, 0)]), &[]));
        attacks.push(attack(filter, subscribe(V4, 1, &good_and_bad), &[]));
        attacks.push(attack(filter, unsubscribe(V4, 1, &[filter]), &[]));
    }
    each_ends_its_connection(&server, V4, &attacks).await;
}

/// spec(5, server): MQTT-4.7.1-1, MQTT-4.7.1-2
/// spec(5): MQTT-3.8.4-7
#[tokio::test]
async fn a_bad_filter_is_refused_by_name_in_mqtt_5() {
    let server = Server::start().await;
    let mut witness = server.witness().await;
    let mut peer = server.client(V5, "filters").await;
    for filter in NO_FILTERS {
        peer.about(filter);
        let filters = [("good/1", 1), (filter, 0), ("good/2", 2)];
        assert_eq!(peer.subscribe(&filters).await, [1, 0x8F, 2]);
        let filters = ["good/1", filter, "good/2"];
        assert_eq!(peer.unsubscribe(&filters).await, [0, 0x8F, 0]);
        witness.goes_on().await;
    }
    let either = &[MALFORMED, PROTOCOL_ERROR];
    let attacks = [
        attack("SUBSCRIBE", subscribe(V5, 1, &[("", 0)]), either),
        attack("UNSUBSCRIBE", unsubscribe(V5, 1, &[""]), either),
    ];
    each_ends_its_connection(&server, V5, &attacks).await;
}

/// spec(4, server): MQTT-1.5.3-1, MQTT-1.5.3-2, MQTT-4.7.3-2
/// spec(5, server): MQTT-1.5.4-1, MQTT-1.5.4-2, MQTT-4.7.3-2
#[tokio::test]
async fn a_filter_that_is_no_text_ends_the_connection() {
    for version in BOTH {
        let server = Server::start().await;
        let mut attacks = Vec::new();
        for text in super::topics::NO_TEXT {
            let head = [vec![0, 1], block(version, &[]), field(text)].concat();
            let name = format!("{text:02x?}");
            let unsubscribe = packet(0xA2, &head);
            let subscribe = packet(0x82, &[head, vec![0]].concat());
            attacks.push(attack(name.clone(), subscribe, &[MALFORMED]));
            attacks.push(attack(name, unsubscribe, &[MALFORMED]));
        }
        each_ends_its_connection(&server, version, &attacks).await;
    }
}

/// spec(4): MQTT-3.8.3-4
/// spec(5): MQTT-3.8.3-5
/// spec(5): RMQTT-3.8.3-1, RMQTT-3.8.3-2
#[tokio::test]
async fn wrong_options_of_a_subscription_end_the_connection() {
    for version in BOTH {
        let server = Server::start().await;
        let cases: &[(u8, u8)] = version.pick(
            &[(0x03, 0), (0x04, 0), (0x08, 0), (0x10, 0), (0x80, 0)],
            &[
                (0x03, 0x82),
                (0x30, 0x82),
                (0x40, 0x81),
                (0x80, 0x81),
                (0xC1, 0x81),
            ],
        );
        let attacks: Vec<_> = cases
            .iter()
            .map(|&(options, reason)| {
                let bytes = subscribe(version, 1, &[("good", 0), ("t", options)]);
                attack(format!("options {options:02x}"), bytes, &[reason])
            })
            .collect();
        each_ends_its_connection(&server, version, &attacks).await;
    }
}

/// spec(5, server): MQTT-4.8.2-1, MQTT-4.8.2-2
#[tokio::test]
async fn shared_filters_are_refused_each_for_its_own_reason() {
    let server = Server::start().await;
    let mut witness = server.witness().await;
    let mut peer = server.client(V5, "sharing").await;
    for filter in ["$share", "$SHARE/g/t", "$shared/g/t"] {
        peer.about(filter);
        assert_eq!(peer.subscribe(&[(filter, 1)]).await, [1]);
    }
    for filter in [
        "$share/",
        "$share//t",
        "$share/g",
        "$share/g/",
        "$share/g+/t",
        "$share/#/t",
        "$share/+/t",
        "$share/g/a#",
    ] {
        peer.about(filter);
        assert_eq!(peer.subscribe(&[(filter, 1)]).await, [0x8F]);
        witness.goes_on().await;
    }
    for filter in ["$share/g/t", "$share/g/#", "$share/g//"] {
        peer.about(filter);
        assert_eq!(peer.subscribe(&[(filter, 1)]).await, [1]);
        let codes = peer.unsubscribe(&[filter]).await;
        assert_eq!(codes, [0]);
    }
    peer.publish(1, Publish::new("t", "x")).await;
    peer.expect_nothing().await;
}

/// spec(5, server): MQTT-3.8.3-4
#[tokio::test]
async fn no_local_on_a_shared_filter_ends_the_connection() {
    let server = Server::start().await;
    let bytes = subscribe(V5, 1, &[("$share/g/t", 0x05)]);
    let attacks = [attack("no local", bytes, &[PROTOCOL_ERROR])];
    each_ends_its_connection(&server, V5, &attacks).await;
}

/// 3.1.1 has no word for sharing; our broker shares all the same, and takes no filter that looks like it and is not.
#[tokio::test]
async fn shared_filters_mean_the_same_to_3_1_1() {
    let server = Server::start().await;
    let mut peer = server.client(V4, "sharing").await;
    for filter in ["$share/g", "$share//t", "$share/g/", "$share/+/t"] {
        peer.about(filter);
        assert_eq!(peer.subscribe(&[(filter, 0)]).await, [0x80]);
    }
    assert_eq!(peer.subscribe(&[("$share/g/t", 0)]).await, [0]);
    let mut other = server.client(V4, "other").await;
    other.publish(1, Publish::new("$share/g/t", "x")).await;
    peer.expect_nothing().await;
    other.publish(1, Publish::new("t", "x")).await;
    assert_eq!(peer.take().await.topic, "t");
}

#[tokio::test]
async fn subscriptions_beyond_the_limit_are_refused() {
    for version in BOTH {
        let server = Server::with(|limits| limits.subscriptions_max = 10).await;
        let mut witness = server.witness().await;
        let mut peer = server.client(version, "hoarder").await;
        for number in 0..10 {
            let filter = format!("hoard/{number}");
            assert_eq!(peer.subscribe(&[(&filter, 1)]).await, [1]);
        }
        let codes = peer.subscribe(&[("one/more", 1), ("hoard/3", 2)]).await;
        assert!(codes[0] >= 0x80, "{codes:02x?}");
        assert_eq!(codes[1], 2, "one it has may be changed");
        peer.unsubscribe(&["hoard/3"]).await;
        assert_eq!(peer.subscribe(&[("one/more", 1)]).await, [1]);
        witness.goes_on().await;
    }
}

/// Each group may have a queue behind it, so there is a bound on how many one client can make.
#[tokio::test]
async fn groups_beyond_the_limit_are_refused() {
    for version in BOTH {
        let server = Server::with(|limits| limits.shared_subscriptions_max = 3).await;
        let mut peer = server.client(version, "hoarder").await;
        let filters = ["$share/a/t", "$share/b/t", "$share/c/t", "$share/d/t", "t"];
        let codes = peer.subscribe(&filters.map(|filter| (filter, 1))).await;
        assert_eq!(codes, [1, 1, 1, version.pick(0x80, 0x97), 1]);
        assert_eq!(peer.subscribe(&[("$share/c/t", 0)]).await, [0]);
        peer.unsubscribe(&["$share/a/t"]).await;
        assert_eq!(peer.subscribe(&[("$share/d/t", 1)]).await, [1]);
    }
}

/// Thousands of groups, deep and wide, each with a message waiting: all given back when they end.
#[tokio::test]
async fn thousands_of_groups_leave_nothing_behind() {
    let server = Server::with(|limits| limits.shared_subscriptions_max = 10_000).await;
    let mut witness = server.witness().await;
    let connect = Connect::new(V5, "hoarder").resume();
    let (mut peer, _) = server.connect(&connect).await;
    let deep = "+/".repeat(190);
    let filters: Vec<_> = (0..3000)
        .map(|number| match number % 3 {
            0 => format!("$share/g{number}/t"),
            1 => format!("$share/g{number}/{deep}#"),
            _ => format!("$share/g/t/{number}/#"),
        })
        .collect();
    let filters: Vec<_> = filters.iter().map(|filter| (&**filter, 1)).collect();
    for some in filters.chunks(100) {
        assert_eq!(peer.subscribe(some).await, [1; 100]);
    }
    peer.disconnect().await;
    let mut publisher = server.client(V4, "publisher").await;
    publisher.publish(1, Publish::new("t", "x")).await;
    assert_eq!(server.stats().queued_messages, 1000);
    witness.goes_on().await;
    let (mut peer, _) = server.connect(&connect).await;
    for _ in 0..1000 {
        assert_eq!(peer.take().await.text(), "x");
    }
    peer.disconnect().await;
    publisher.publish(1, Publish::new("t", "y")).await;
    server.client(V5, "hoarder").await.disconnect().await;
    let stats = server.stats();
    assert_eq!((stats.queued_messages, stats.subscriptions), (0, 1));
    witness.goes_on().await;
}
