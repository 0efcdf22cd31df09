//! Retained messages: what is kept, what is cleared, and who gets it with which flag.

use crate::raw::bytes::{Publish, subscribe};
use crate::raw::{BOTH, Server, V5};

/// spec(4): MQTT-3.3.1-5, MQTT-3.3.1-6, MQTT-3.3.1-8
/// spec(5): MQTT-3.3.1-5, MQTT-3.3.1-9
#[tokio::test]
async fn a_new_subscription_gets_the_last_retained_message_of_each_topic() {
    for version in BOTH {
        let server = Server::start().await;
        let mut publisher = server.client(version, "publisher").await;
        for (topic, payload, qos) in [
            ("a/0", "old", 2),
            ("a/0", "new", 0),
            ("a/1", "new", 1),
            ("a/2", "old", 0),
            ("a/2", "new", 2),
            ("b", "other", 1),
        ] {
            let publish = Publish::new(topic, payload).retain();
            publisher.publish(qos, publish).await;
        }
        let mut late = server.client(version, "late").await;
        late.subscribe(&[("a/+", 2)]).await;
        let mut got = Vec::new();
        for _ in 0..3 {
            let delivery = late.delivery().await;
            assert!(delivery.retain(), "{delivery:?}");
            assert_eq!(delivery.text(), "new");
            got.push((delivery.topic.clone(), delivery.qos()));
        }
        got.sort_unstable();
        let expected = [("a/0", 0), ("a/1", 1), ("a/2", 2)];
        assert_eq!(got, expected.map(|(topic, qos)| (topic.to_owned(), qos)));
        late.expect_nothing().await;
    }
}

/// spec(4): MQTT-3.3.1-7
/// spec(5): MQTT-3.3.1-5
#[tokio::test]
async fn a_retained_message_of_qos_0_displaces_one_of_qos_1() {
    for version in BOTH {
        let server = Server::start().await;
        let mut publisher = server.client(version, "publisher").await;
        publisher
            .publish(1, Publish::new("t", "old").retain())
            .await;
        publisher
            .publish(0, Publish::new("t", "new").retain())
            .await;
        let mut late = server.client(version, "late").await;
        late.subscribe(&[("t", 1)]).await;
        assert_eq!(late.take().await.text(), "new");
        late.expect_nothing().await;
    }
}

/// spec(4): MQTT-3.3.1-9
/// spec(5): MQTT-3.3.1-12
#[tokio::test]
async fn a_subscription_that_was_there_gets_it_without_the_flag() {
    for version in BOTH {
        let server = Server::start().await;
        let mut watcher = server.client(version, "watcher").await;
        watcher.subscribe(&[("t", 1)]).await;
        let mut publisher = server.client(version, "publisher").await;
        publisher
            .publish(1, Publish::new("t", "live").retain())
            .await;
        let delivery = watcher.take().await;
        assert_eq!((delivery.text(), delivery.retain()), ("live", false));
    }
}

/// spec(5): MQTT-3.3.1-13
#[tokio::test]
async fn retain_as_published_keeps_the_flag() {
    let server = Server::start().await;
    let mut watcher = server.client(V5, "watcher").await;
    watcher.subscribe(&[("t", 0x09)]).await;
    let mut publisher = server.client(V5, "publisher").await;
    publisher
        .publish(1, Publish::new("t", "kept").retain())
        .await;
    publisher.publish(1, Publish::new("t", "not kept")).await;
    assert!(watcher.take().await.retain());
    assert!(!watcher.take().await.retain());
}

/// spec(4): MQTT-3.3.1-10, MQTT-3.3.1-11
/// spec(5): MQTT-3.3.1-6, MQTT-3.3.1-7
#[tokio::test]
async fn an_empty_retained_message_is_delivered_and_clears_what_was_there() {
    for version in BOTH {
        let server = Server::start().await;
        let mut watcher = server.client(version, "watcher").await;
        watcher.subscribe(&[("#", 1)]).await;
        let mut publisher = server.client(version, "publisher").await;
        for (topic, payload) in [("t", "x"), ("t", ""), ("fresh", "")] {
            publisher
                .publish(1, Publish::new(topic, payload).retain())
                .await;
            let delivery = watcher.take().await;
            assert_eq!((&*delivery.topic, delivery.text()), (topic, payload));
            assert!(!delivery.retain());
        }
        assert_eq!(server.stats().retained_messages, 0);
        let mut late = server.client(version, "late").await;
        late.subscribe(&[("#", 1)]).await;
        late.expect_nothing().await;
    }
}

/// spec(4): MQTT-3.3.1-12
/// spec(5): MQTT-3.3.1-8
#[tokio::test]
async fn a_message_that_is_not_retained_leaves_what_is() {
    for version in BOTH {
        let server = Server::start().await;
        let mut publisher = server.client(version, "publisher").await;
        publisher
            .publish(1, Publish::new("t", "kept").retain())
            .await;
        for payload in ["passing", ""] {
            publisher.publish(1, Publish::new("t", payload)).await;
        }
        let mut late = server.client(version, "late").await;
        late.subscribe(&[("t", 1)]).await;
        assert_eq!(late.take().await.text(), "kept");
        late.expect_nothing().await;
    }
}

/// spec(4): MQTT-3.8.4-3
/// spec(5): MQTT-3.3.1-9, MQTT-3.8.4-4
#[tokio::test]
async fn subscribing_again_brings_the_retained_messages_again() {
    for version in BOTH {
        let server = Server::start().await;
        let mut peer = server.client(version, "peer").await;
        peer.publish(1, Publish::new("t", "kept").retain()).await;
        for options in [0, 1, 0] {
            assert_eq!(peer.subscribe(&[("t", options)]).await, [options]);
            let delivery = peer.take().await;
            assert_eq!((delivery.text(), delivery.retain()), ("kept", true));
            assert_eq!(delivery.qos(), options);
        }
        peer.expect_nothing().await;
    }
}

/// spec(5): MQTT-3.3.1-9, MQTT-3.3.1-10, MQTT-3.3.1-11
#[tokio::test]
async fn retain_handling_says_when_retained_messages_are_sent() {
    let server = Server::start().await;
    let mut peer = server.client(V5, "peer").await;
    peer.publish(1, Publish::new("t", "kept").retain()).await;
    // Never.
    peer.subscribe(&[("t", 0x20)]).await;
    peer.expect_nothing().await;
    // If new, which it is not, and then is.
    peer.subscribe(&[("t", 0x10)]).await;
    peer.expect_nothing().await;
    peer.unsubscribe(&["t"]).await;
    peer.subscribe(&[("t", 0x10)]).await;
    assert_eq!(peer.take().await.text(), "kept");
    peer.subscribe(&[("t", 0x11)]).await;
    peer.expect_nothing().await;
    // Always.
    peer.subscribe(&[("t", 0x00)]).await;
    assert_eq!(peer.take().await.text(), "kept");
    peer.subscribe(&[("t", 0x00)]).await;
    assert_eq!(peer.take().await.text(), "kept");
    peer.expect_nothing().await;
}

/// spec(4): MQTT-3.8.4-4
/// spec(5): MQTT-3.8.4-5
#[tokio::test]
async fn each_filter_of_one_request_brings_its_retained_messages() {
    for version in BOTH {
        let server = Server::start().await;
        let mut peer = server.client(version, "peer").await;
        for topic in ["a", "b", "c"] {
            peer.publish(1, Publish::new(topic, "kept").retain()).await;
        }
        let bytes = subscribe(version, 900, &[("a", 0), ("b", 1), ("c", 2)]);
        peer.send(&bytes).await;
        assert_eq!(peer.expect_codes(0x90, 900).await, [0, 1, 2]);
        let mut got = Vec::new();
        for _ in 0..3 {
            let delivery = peer.delivery().await;
            got.push((delivery.topic.clone(), delivery.qos()));
        }
        got.sort_unstable();
        let expected = [("a", 0), ("b", 1), ("c", 1)];
        assert_eq!(got, expected.map(|(topic, qos)| (topic.to_owned(), qos)));
        peer.expect_nothing().await;
    }
}

/// spec(4): MQTT-3.3.1-7
#[tokio::test]
async fn a_retained_message_of_qos_0_that_finds_no_room_still_displaces_the_old_one() {
    for version in BOTH {
        let server = Server::with(|limits| limits.retained_bytes_max = 200).await;
        let mut publisher = server.client(version, "publisher").await;
        let old = Publish::new("t", "old").retain();
        publisher.publish(1, old).await;
        let large = Publish::new("t", vec![b'x'; 300]).retain();
        publisher.publish(0, large).await;
        let mut late = server.client(version, "late").await;
        late.subscribe(&[("t", 1)]).await;
        late.expect_nothing().await;
        assert_eq!(server.stats().retained_messages, 0);
    }
}
