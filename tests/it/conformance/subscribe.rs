//! SUBSCRIBE and UNSUBSCRIBE: what is answered, and what it does.

use crate::raw::bytes::{Publish, ack, subscribe, subscribe_with, unsubscribe};
use crate::raw::{BOTH, Server, V4, V5};

/// spec(4): MQTT-2.3.1-7, MQTT-3.8.4-1, MQTT-3.8.4-2, MQTT-3.10.4-4, MQTT-3.10.4-5
/// spec(5): MQTT-2.2.1-6, MQTT-3.8.4-1, MQTT-3.8.4-2, MQTT-3.10.4-4, MQTT-3.10.4-5
#[tokio::test]
async fn each_request_is_answered_under_its_id() {
    for version in BOTH {
        let server = Server::start().await;
        let mut peer = server.client(version, "peer").await;
        let ids = [5, 4, 9, 0x1234, 0xFFFF, 1, 2, 3, 300, 77];
        let mut bytes = Vec::new();
        for id in ids {
            bytes.extend(subscribe(version, id, &[("t", 1)]));
            bytes.extend(unsubscribe(version, id, &["unknown"]));
        }
        peer.send(&bytes).await;
        for id in ids {
            assert_eq!(peer.expect_codes(0x90, id).await, [1]);
            let codes = peer.expect_codes(0xB0, id).await;
            assert_eq!(codes, version.pick(vec![], vec![0x11]));
        }
    }
}

/// spec(4): MQTT-3.8.4-4, MQTT-3.8.4-5, MQTT-3.9.3-1
/// spec(5): MQTT-3.8.4-5, MQTT-3.8.4-6, MQTT-3.8.4-7, MQTT-3.9.3-1
#[tokio::test]
async fn each_filter_is_answered_in_its_place() {
    for version in BOTH {
        let server = Server::start().await;
        let mut peer = server.client(version, "peer").await;
        let deep = "x/".repeat(300);
        let refused = version.pick(0x80, 0x8F);
        let filters = [("a", 2), ("b", 0), (&*deep, 1), ("c", 1)];
        assert_eq!(peer.subscribe(&filters).await, [2, 0, refused, 1]);
        let names: Vec<String> = (0..100).map(|n| format!("n/{n}")).collect();
        let many: Vec<(&str, u8)> = names.iter().map(|n| (&**n, 1)).collect();
        assert_eq!(peer.subscribe(&many).await, [1; 100]);
        for topic in ["a", "b", "c", "n/0", "n/99"] {
            peer.send(&Publish::new(topic, "x").bytes(version)).await;
            assert_eq!(peer.take().await.topic, topic);
        }
    }
}

/// spec(4): MQTT-3.8.4-6
/// spec(4, server): MQTT-4.3.1-1
/// spec(5): MQTT-3.8.4-8
/// spec(5, server): MQTT-4.3.1-1, MQTT-4.3.2-2, MQTT-4.3.3-2
#[tokio::test]
async fn a_message_is_delivered_at_the_lower_of_both_qos() {
    for version in BOTH {
        let server = Server::start().await;
        let mut publisher = server.client(version, "publisher").await;
        let mut peer = server.client(version, "peer").await;
        for granted in 0..=2 {
            assert_eq!(peer.subscribe(&[("t", granted)]).await, [granted]);
            for published in 0..=2 {
                publisher.publish(published, Publish::new("t", "x")).await;
                let delivery = peer.take().await;
                let qos = granted.min(published);
                assert_eq!(delivery.first, 0x30 | qos << 1, "{published} {granted}");
            }
        }
    }
}

/// spec(4): MQTT-3.8.4-3
/// spec(5): MQTT-3.8.4-3
#[tokio::test]
async fn the_same_filter_again_replaces_the_subscription() {
    for version in BOTH {
        let server = Server::start().await;
        let mut publisher = server.client(version, "publisher").await;
        let mut peer = server.client(version, "peer").await;
        for qos in [2, 0, 1] {
            assert_eq!(peer.subscribe(&[("t", qos)]).await, [qos]);
            publisher.publish(2, Publish::new("t", "x")).await;
            assert_eq!(peer.take().await.qos(), qos);
            peer.expect_nothing().await;
        }
        assert_eq!(server.stats().subscriptions, 1);
    }
}

/// spec(4): MQTT-3.8.4-3
/// spec(5): MQTT-3.8.4-4
#[tokio::test]
async fn nothing_is_lost_while_a_subscription_is_replaced() {
    for version in BOTH {
        let server = Server::start().await;
        let mut peer = server.client(version, "peer").await;
        peer.subscribe(&[("t", 1)]).await;
        let mut publisher = server.client(version, "publisher").await;
        let mut stream = Vec::new();
        for number in 1..=200_u16 {
            let publish = Publish::new("t", number.to_be_bytes()).qos(1, number);
            stream.extend(publish.bytes(version));
        }
        let mut again = Vec::new();
        for id in 1..=20 {
            again.extend(subscribe(version, id, &[("t", 1)]));
        }
        // Both at once, so that the one runs into the other.
        tokio::join!(publisher.send(&stream), peer.send(&again));
        let (mut last, mut answers) = (0, 0);
        while last < 200 || answers < 20 {
            let packet = peer.expect_packet().await;
            if packet[0] == 0x90 {
                answers += 1;
                continue;
            }
            let number = u16::from_be_bytes([packet[packet.len() - 2], packet[packet.len() - 1]]);
            assert_eq!((packet[0], number), (0x32, last + 1));
            last = number;
            let id = u16::from_be_bytes([packet[5], packet[6]]);
            peer.send(&ack(0x40, id)).await;
        }
        peer.expect_nothing().await;
    }
}

/// spec(5): MQTT-3.8.4-3
#[tokio::test]
async fn a_replaced_subscription_has_the_new_options_and_identifier() {
    let server = Server::start().await;
    let mut peer = server.client(V5, "peer").await;
    for (identifier, options) in [(7, 0x05), (8, 0x01)] {
        let bytes = subscribe_with(V5, 1, &[0x0B, identifier], &[("t", options)]);
        peer.send(&bytes).await;
        assert_eq!(peer.expect_codes(0x90, 1).await, [1]);
    }
    let mut other = server.client(V5, "other").await;
    other.publish(1, Publish::new("t", "x")).await;
    assert_eq!(peer.take().await.properties, [0x0B, 8]);
    peer.send(&Publish::new("t", "own").bytes(V5)).await;
    assert_eq!(peer.take().await.text(), "own");
    peer.subscribe(&[("t", 0x00)]).await;
    other.publish(1, Publish::new("t", "x")).await;
    assert_eq!(peer.take().await.properties, b"");
    peer.expect_nothing().await;
}

/// spec(5): MQTT-3.8.3-3
#[tokio::test]
async fn no_local_keeps_a_clients_own_messages_from_it() {
    let server = Server::start().await;
    let mut peer = server.client(V5, "peer").await;
    let mut other = server.client(V5, "other").await;
    peer.subscribe(&[("t", 0x05)]).await;
    other.subscribe(&[("t", 0x05)]).await;
    peer.publish(1, Publish::new("t", "x")).await;
    assert_eq!(other.take().await.text(), "x");
    peer.expect_nothing().await;
    other.publish(1, Publish::new("t", "y")).await;
    assert_eq!(peer.take().await.text(), "y");
    other.expect_nothing().await;
}

/// spec(4): MQTT-3.3.5-1
/// spec(5): MQTT-3.3.4-2
#[tokio::test]
async fn overlapping_subscriptions_deliver_at_the_highest_qos() {
    for version in BOTH {
        let server = Server::start().await;
        let mut peer = server.client(version, "peer").await;
        peer.subscribe(&[("a/#", 1), ("a/+", 2), ("#", 0)]).await;
        let mut publisher = server.client(version, "publisher").await;
        publisher.publish(2, Publish::new("a/b", "x")).await;
        assert_eq!(peer.take().await.qos(), 2);
        peer.expect_nothing().await;
        publisher.publish(2, Publish::new("a/b/c", "x")).await;
        assert_eq!(peer.take().await.qos(), 1);
    }
}

/// spec(5): MQTT-3.3.4-3, MQTT-3.3.4-4
#[tokio::test]
async fn a_message_names_all_subscriptions_it_is_for() {
    let server = Server::start().await;
    let mut peer = server.client(V5, "peer").await;
    for (id, identifier, filter) in [(1, 1, "a/#"), (2, 2, "a/+")] {
        let bytes = subscribe_with(V5, id, &[0x0B, identifier], &[(filter, 1)]);
        peer.send(&bytes).await;
        assert_eq!(peer.expect_codes(0x90, id).await, [1]);
    }
    peer.subscribe(&[("#", 0)]).await;
    let mut publisher = server.client(V5, "publisher").await;
    for (topic, identifiers) in [("a/b", &[1, 2][..]), ("a/b/c", &[1]), ("b", &[])] {
        publisher.publish(1, Publish::new(topic, "x")).await;
        let delivery = peer.take().await;
        let mut named: Vec<u8> = delivery.properties.chunks(2).map(|pair| pair[1]).collect();
        named.sort_unstable();
        assert_eq!(named, identifiers);
        assert!(delivery.properties.chunks(2).all(|pair| pair[0] == 0x0B));
    }
    peer.expect_nothing().await;
}

/// spec(4): MQTT-3.10.4-1, MQTT-3.10.4-2, MQTT-3.10.4-6
/// spec(5): MQTT-3.10.4-1, MQTT-3.10.4-2, MQTT-3.10.4-6, MQTT-3.11.3-1
#[tokio::test]
async fn unsubscribing_removes_exactly_the_filters_that_are_named() {
    for version in BOTH {
        let server = Server::start().await;
        let mut publisher = server.client(version, "publisher").await;
        let mut peer = server.client(version, "peer").await;
        peer.subscribe(&[("a/+", 1), ("a/b", 1), ("c", 1), ("d", 1)])
            .await;
        let codes = peer.unsubscribe(&["a/#", "a/b"]).await;
        assert_eq!(codes, version.pick(vec![], vec![0x11, 0x00]));
        publisher.publish(1, Publish::new("a/b", "x")).await;
        assert_eq!(peer.take().await.topic, "a/b");
        peer.expect_nothing().await;
        let codes = peer.unsubscribe(&["c", "unknown", "d", "a/+"]).await;
        assert_eq!(codes, version.pick(vec![], vec![0, 0x11, 0, 0]));
        for topic in ["a/b", "c", "d"] {
            publisher.publish(1, Publish::new(topic, "x")).await;
        }
        peer.expect_nothing().await;
        assert_eq!(server.stats().subscriptions, 0);
    }
}

/// spec(4): MQTT-3.10.4-3
/// spec(5): MQTT-3.10.4-3
#[tokio::test]
async fn what_was_begun_before_unsubscribing_is_completed() {
    for version in BOTH {
        let server = Server::start().await;
        let mut peer = server.client(version, "peer").await;
        peer.subscribe(&[("t", 2)]).await;
        let mut publisher = server.client(version, "publisher").await;
        publisher.publish(2, Publish::new("t", "x")).await;
        let delivery = peer.delivery().await;
        peer.unsubscribe(&["t"]).await;
        peer.send(&ack(0x50, delivery.id)).await;
        peer.expect(&ack(0x62, delivery.id)).await;
        peer.send(&ack(0x70, delivery.id)).await;
        peer.expect_nothing().await;
    }
}

/// spec(4): MQTT-3.3.2-3, MQTT-4.7.3-4
/// spec(4, server): MQTT-4.7.1-2, MQTT-4.7.1-3
/// spec(5): MQTT-3.3.2-3, MQTT-4.7.3-4
/// spec(5, server): MQTT-4.7.1-1, MQTT-4.7.1-2
#[tokio::test]
async fn filters_match_what_they_say_and_nothing_else() {
    let cases: [(&str, &[&str], &[&str]); 10] = [
        (
            "a/#",
            &["a", "a/", "a/b", "a/b/c"],
            &["ab", "/a", "A", "b/a"],
        ),
        ("a/+", &["a/b", "a/"], &["a", "a/b/c", "A/b"]),
        ("+", &["a", "\u{e9}"], &["a/b", "/a"]),
        ("+/+", &["a/b", "/a", "a/", "/"], &["a", "a/b/c"]),
        ("a/+/c", &["a/b/c", "a//c"], &["a/c", "a/b/b/c"]),
        ("+/a/#", &["/a", "x/a/b/c"], &["a", "x/b/a"]),
        ("#", &["a", "/", "a//b", " "], &[]),
        ("/", &["/"], &["//", "a"]),
        ("\u{e9}", &["\u{e9}"], &["e\u{301}", "e"]),
        ("\u{feff}a", &["\u{feff}a"], &["a"]),
    ];
    for version in BOTH {
        let server = Server::start().await;
        let mut peer = server.client(version, "peer").await;
        let mut publisher = server.client(version, "publisher").await;
        for (filter, matching, others) in cases {
            assert_eq!(peer.subscribe(&[(filter, 1)]).await, [1], "{filter}");
            for topic in others {
                publisher.publish(1, Publish::new(topic, "no")).await;
            }
            for topic in matching {
                publisher.publish(1, Publish::new(topic, filter)).await;
                let delivery = peer.take().await;
                assert_eq!((&*delivery.topic, delivery.text()), (*topic, filter));
            }
            peer.expect_nothing().await;
            peer.unsubscribe(&[filter]).await;
        }
    }
}

/// A session kept from one version is there for the other.
#[tokio::test]
async fn a_subscription_made_in_one_version_serves_the_other() {
    let server = Server::start().await;
    let new = crate::raw::bytes::Connect::new(V5, "both").resume();
    let old = crate::raw::bytes::Connect::new(V4, "both").resume();
    let (mut peer, _) = server.connect(&new).await;
    let bytes = subscribe_with(V5, 1, &[0x0B, 9], &[("t", 1)]);
    peer.send(&bytes).await;
    peer.expect_codes(0x90, 1).await;
    peer.disconnect().await;
    let mut publisher = server.client(V5, "publisher").await;
    let publish = Publish::new("t", "x").properties(&[0x01, 1]);
    publisher.publish(1, publish).await;
    let (mut peer, is_present) = server.connect(&old).await;
    assert!(is_present);
    let delivery = peer.take().await;
    assert_eq!((delivery.text(), &*delivery.properties), ("x", &[][..]));
}
