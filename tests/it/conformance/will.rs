//! Wills: when they are published, and when never.

use crate::raw::bytes::{Connect, Publish, Will, user_property};
use crate::raw::{BOTH, Peer, Server, V5, Version};
use tokio::time::Instant;

async fn watcher(server: &Server, version: Version) -> Peer {
    let mut peer = server.client(version, "watcher").await;
    peer.subscribe(&[("#", 2)]).await;
    peer
}

/// A will with these properties, from a session that is kept for this many seconds.
fn delayed(delay: u8, session_expiry: u8) -> Connect {
    let will = Will {
        properties: vec![0x18, 0, 0, 0, delay],
        ..Will::new("gone", "x")
    };
    Connect::new(V5, "dying")
        .dirty()
        .properties(&[0x11, 0, 0, 0, session_expiry])
        .will(&will)
}

/// spec(4): MQTT-3.1.2-8
/// spec(5): MQTT-3.1.2-7, MQTT-3.1.2-8
#[tokio::test]
async fn a_will_is_published_when_the_connection_breaks() {
    for version in BOTH {
        let server = Server::start().await;
        let mut watcher = watcher(&server, version).await;
        for qos in 0..=2 {
            let will = Will {
                qos,
                ..Will::new("gone", [qos])
            };
            let connect = Connect::new(version, "dying").will(&will);
            server.connect(&connect).await.0.abort();
            let delivery = watcher.take().await;
            assert_eq!((delivery.qos(), &*delivery.topic), (qos, "gone"));
            assert_eq!(delivery.payload, [qos]);
            assert!(!delivery.retain());
        }
        // An orderly end of the stream without DISCONNECT is no farewell either.
        let connect = Connect::new(version, "dying").will(&Will::new("gone", "x"));
        drop(server.connect(&connect).await);
        assert_eq!(watcher.take().await.text(), "x");
        watcher.expect_nothing().await;
        assert_eq!(server.stats().wills_published, 4);
    }
}

/// spec(4): MQTT-3.1.2-8
/// spec(5): MQTT-3.1.2-8
#[tokio::test]
async fn a_will_is_published_after_a_fault_a_silence_and_a_take_over() {
    for version in BOTH {
        let server = Server::start().await;
        let mut watcher = watcher(&server, version).await;
        let connect = Connect::new(version, "dying")
            .keep_alive(1)
            .will(&Will::new("gone", "x"));
        let (mut peer, _) = server.connect(&connect).await;
        peer.send(&[0x00, 0x00]).await;
        assert_eq!(watcher.take().await.topic, "gone");
        let (_silent, _) = server.connect(&connect).await;
        assert_eq!(watcher.take().await.topic, "gone");
        let (_old, _) = server.connect(&connect).await;
        let (new, _) = server.connect(&connect).await;
        assert_eq!(watcher.take().await.topic, "gone");
        new.disconnect().await;
        watcher.expect_nothing().await;
    }
}

/// spec(4): MQTT-3.14.4-3, MQTT-3.1.2-10
/// spec(5): MQTT-3.14.4-3, MQTT-3.1.2-10
#[tokio::test]
async fn a_will_is_dropped_when_the_client_takes_its_leave() {
    for version in BOTH {
        let server = Server::start().await;
        let mut watcher = watcher(&server, version).await;
        let connect = Connect::new(version, "leaving").will(&Will::new("gone", "x"));
        server.connect(&connect).await.0.disconnect().await;
        if version == V5 {
            let (mut peer, _) = server.connect(&connect).await;
            peer.send(&[0xE0, 0x01, 0x00]).await;
            peer.expect_closed().await;
        }
        watcher.expect_nothing().await;
        assert_eq!(server.stats().wills_published, 0);
    }
}

/// spec(5): MQTT-3.14.4-3
#[tokio::test]
async fn a_will_is_published_when_the_client_leaves_with_another_reason() {
    let server = Server::start().await;
    let mut watcher = watcher(&server, V5).await;
    for reason in [0x04, 0x80, 0x93] {
        let connect = Connect::new(V5, "leaving").will(&Will::new("gone", "x"));
        let (mut peer, _) = server.connect(&connect).await;
        peer.send(&[0xE0, 0x01, reason]).await;
        peer.expect_closed().await;
        assert_eq!(watcher.take().await.topic, "gone");
    }
}

/// spec(4): MQTT-3.1.2-10, MQTT-3.1.2-12
/// spec(5): MQTT-3.1.2-10
#[tokio::test]
async fn a_will_is_published_once_and_not_by_those_who_have_none() {
    for version in BOTH {
        let server = Server::start().await;
        let mut watcher = watcher(&server, version).await;
        let connect = Connect::new(version, "dying").resume();
        let with_will = connect.clone().will(&Will::new("gone", "x"));
        server.connect(&with_will).await.0.abort();
        assert_eq!(watcher.take().await.topic, "gone");
        let (peer, is_present) = server.connect(&connect).await;
        assert!(is_present);
        peer.abort();
        // Its connection is over when another takes its place.
        server.connect(&connect).await;
        watcher.expect_nothing().await;
    }
}

/// spec(4): MQTT-3.1.2-16, MQTT-3.1.2-17
/// spec(5): MQTT-3.1.2-14, MQTT-3.1.2-15
#[tokio::test]
async fn a_will_is_retained_if_it_says_so() {
    for version in BOTH {
        let server = Server::start().await;
        let mut watcher = watcher(&server, version).await;
        for (topic, retain) in [("passing", false), ("kept", true)] {
            let will = Will {
                retain,
                ..Will::new(topic, "x")
            };
            let connect = Connect::new(version, "dying").will(&will);
            server.connect(&connect).await.0.abort();
            assert_eq!(watcher.take().await.topic, topic);
        }
        let mut late = server.client(version, "late").await;
        late.subscribe(&[("#", 0)]).await;
        let delivery = late.take().await;
        assert_eq!((&*delivery.topic, delivery.retain()), ("kept", true));
        late.expect_nothing().await;
    }
}

/// spec(5): MQTT-3.1.3-10, MQTT-3.1.2-7
#[tokio::test]
async fn a_will_has_its_properties() {
    let server = Server::start().await;
    let mut watcher = watcher(&server, V5).await;
    let properties = [
        user_property("a", "1"),
        user_property("b", "2"),
        user_property("a", "3"),
    ]
    .concat();
    let will = Will {
        properties: properties.clone(),
        ..Will::new("gone", "x")
    };
    let connect = Connect::new(V5, "dying").will(&will);
    server.connect(&connect).await.0.abort();
    assert_eq!(watcher.take().await.properties, properties);
}

/// spec(5): MQTT-3.1.2-8
#[tokio::test]
async fn a_delayed_will_waits_and_ends_with_its_session_at_the_latest() {
    let server = Server::start().await;
    let mut watcher = watcher(&server, V5).await;
    // One second each: by the delay, by the end of the session, and at once where no session is kept.
    for (delay, session_expiry, waits) in [(1, 60, true), (60, 1, true), (60, 0, false)] {
        let connect = delayed(delay, session_expiry);
        let begin = Instant::now();
        server.connect(&connect).await.0.abort();
        assert_eq!(watcher.take().await.topic, "gone");
        let elapsed = begin.elapsed().as_millis();
        assert_eq!(elapsed >= 900, waits, "{delay} {session_expiry}: {elapsed}");
        server.client(V5, "dying").await.disconnect().await;
    }
}

/// spec(5): MQTT-3.1.2-8, MQTT-3.1.3-9
#[tokio::test]
async fn a_delayed_will_is_not_published_when_the_client_comes_back_in_time() {
    let server = Server::start().await;
    let mut watcher = watcher(&server, V5).await;
    server.connect(&delayed(1, 60)).await.0.abort();
    let back = Connect::new(V5, "dying").resume();
    let (peer, is_present) = server.connect(&back).await;
    assert!(is_present);
    let mut publisher = server.client(V5, "publisher").await;
    let begin = Instant::now();
    while begin.elapsed().as_millis() < 1500 {
        publisher.publish(1, Publish::new("traffic", "x")).await;
        assert_eq!(watcher.take().await.topic, "traffic");
    }
    peer.disconnect().await;
    assert_eq!(server.stats().wills_published, 0);
    // Coming back without the session ends it, and its will with it.
    server.connect(&delayed(60, 60)).await.0.abort();
    let (_peer, _) = server.connect(&Connect::new(V5, "dying")).await;
    assert_eq!(watcher.take().await.topic, "gone");
}
