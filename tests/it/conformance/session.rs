//! Sessions: which are there, what they keep, and when they end.

use crate::raw::bytes::{Connect, Publish, ack};
use crate::raw::{BOTH, Server, V5, until};

/// spec(4, server): MQTT-3.1.2-4, MQTT-3.1.2-6
/// spec(4): MQTT-3.1.4-3, MQTT-3.2.2-1, MQTT-3.2.2-2, MQTT-3.2.2-3
/// spec(5, server): MQTT-3.1.2-4, MQTT-3.1.2-23
/// spec(5): MQTT-3.1.2-5, MQTT-3.1.2-6, MQTT-3.1.4-4, MQTT-3.2.2-2, MQTT-3.2.2-3
#[tokio::test]
async fn a_session_is_present_when_it_was_kept_and_not_thrown_away() {
    for version in BOTH {
        let server = Server::start().await;
        let mut publisher = server.client(version, "publisher").await;
        let kept = Connect::new(version, "c").resume();
        let clean = Connect::new(version, "c");
        let (mut peer, is_present) = server.connect(&kept).await;
        assert!(!is_present, "nothing was there");
        assert_eq!(peer.subscribe(&[("t", 1)]).await, [1]);
        peer.disconnect().await;
        publisher.publish(1, Publish::new("t", "while away")).await;
        let (mut peer, is_present) = server.connect(&kept).await;
        assert!(is_present);
        assert_eq!(peer.take().await.text(), "while away");
        peer.disconnect().await;
        publisher.publish(1, Publish::new("t", "thrown away")).await;
        let (mut peer, is_present) = server.connect(&clean).await;
        assert!(!is_present, "clean");
        publisher.publish(1, Publish::new("t", "to nobody")).await;
        peer.expect_nothing().await;
        peer.disconnect().await;
        let (mut peer, is_present) = server.connect(&kept).await;
        assert!(!is_present, "the clean one was not kept");
        publisher.publish(1, Publish::new("t", "to nobody")).await;
        peer.expect_nothing().await;
    }
}

/// spec(4): MQTT-3.1.2-5, MQTT-4.5.0-1
/// spec(4, server): MQTT-4.1.0-1
/// spec(5): MQTT-4.5.0-1
#[tokio::test]
async fn messages_for_an_absent_client_are_kept_in_order() {
    for version in BOTH {
        let server = Server::start().await;
        let connect = Connect::new(version, "absent").resume();
        let (mut peer, _) = server.connect(&connect).await;
        peer.subscribe(&[("t/+", 2)]).await;
        peer.abort();
        let mut publisher = server.client(version, "publisher").await;
        for number in 0..10_u8 {
            for qos in 1..=2 {
                let publish = Publish::new("t/x", [number, qos]);
                publisher.publish(qos, publish).await;
            }
        }
        let (mut peer, is_present) = server.connect(&connect).await;
        assert!(is_present);
        for number in 0..10 {
            for qos in 1..=2 {
                let delivery = peer.delivery().await;
                assert_eq!(delivery.payload, [number, qos]);
                assert_eq!(delivery.qos(), qos);
                assert!(!delivery.dup(), "sent for the first time");
            }
        }
        peer.expect_nothing().await;
    }
}

/// spec(4): MQTT-4.5.0-1
/// spec(5): MQTT-4.5.0-1
#[tokio::test]
async fn an_accepted_message_reaches_every_session_that_asked() {
    for version in BOTH {
        let server = Server::start().await;
        let mut here = Vec::new();
        for number in 0..5 {
            let connect = Connect::new(version, format!("here{number}"));
            let (mut peer, _) = server.connect(&connect).await;
            peer.subscribe(&[("t", 1)]).await;
            here.push(peer);
            let connect = Connect::new(version, format!("away{number}")).resume();
            let (mut peer, _) = server.connect(&connect).await;
            peer.subscribe(&[("#", 1)]).await;
            peer.disconnect().await;
        }
        let mut publisher = server.client(version, "publisher").await;
        publisher.publish(1, Publish::new("t", "to all")).await;
        for peer in &mut here {
            assert_eq!(peer.take().await.text(), "to all");
        }
        for number in 0..5 {
            let connect = Connect::new(version, format!("away{number}")).resume();
            let (mut peer, _) = server.connect(&connect).await;
            assert_eq!(peer.take().await.text(), "to all");
        }
    }
}

/// spec(4, server): MQTT-3.1.3-2
/// spec(5, server): MQTT-3.1.3-2
#[tokio::test]
async fn each_client_id_has_its_own_session() {
    for version in BOTH {
        let server = Server::start().await;
        for id in ["a", "b"] {
            let connect = Connect::new(version, id).resume();
            let (mut peer, _) = server.connect(&connect).await;
            peer.subscribe(&[(id, 1)]).await;
            peer.disconnect().await;
        }
        let mut publisher = server.client(version, "publisher").await;
        for topic in ["a", "b"] {
            publisher.publish(1, Publish::new(topic, "x")).await;
        }
        for id in ["a", "b"] {
            let connect = Connect::new(version, id).resume();
            let (mut peer, is_present) = server.connect(&connect).await;
            assert!(is_present);
            assert_eq!(peer.take().await.topic, id);
            peer.expect_nothing().await;
        }
    }
}

/// spec(4, server): MQTT-3.3.1-1, MQTT-4.3.2-1, MQTT-4.3.3-1, MQTT-4.4.0-1
/// spec(4): MQTT-2.3.1-4
/// spec(5, server): MQTT-3.3.1-1, MQTT-4.3.2-3, MQTT-4.3.3-3, MQTT-4.3.3-5, MQTT-4.3.3-6, MQTT-4.4.0-1
#[tokio::test]
async fn what_is_not_settled_is_sent_again_in_order_and_with_its_id() {
    for version in BOTH {
        let server = Server::start().await;
        let connect = Connect::new(version, "back").resume();
        let (mut peer, _) = server.connect(&connect).await;
        peer.subscribe(&[("t", 2)]).await;
        let mut publisher = server.client(version, "publisher").await;
        for (payload, qos) in [("a", 1), ("b", 2), ("c", 2), ("d", 1), ("e", 1)] {
            publisher.publish(qos, Publish::new("t", payload)).await;
        }
        let mut sent = Vec::new();
        for _ in 0..5 {
            let delivery = peer.delivery().await;
            assert!(!delivery.dup() && delivery.id != 0);
            sent.push(delivery);
        }
        // a: nothing; b: nothing; c: received, not released; d: settled; e: nothing.
        peer.send(&ack(0x50, sent[2].id)).await;
        peer.expect(&ack(0x62, sent[2].id)).await;
        peer.send(&ack(0x40, sent[3].id)).await;
        peer.expect_nothing().await;
        peer.abort();
        let (mut peer, is_present) = server.connect(&connect).await;
        assert!(is_present);
        for index in [0, 1] {
            let again = peer.delivery().await;
            assert_eq!(again.first, sent[index].first | 0x08);
            assert_eq!(
                (again.id, &again.payload),
                (sent[index].id, &sent[index].payload)
            );
        }
        peer.expect(&ack(0x62, sent[2].id)).await;
        let again = peer.delivery().await;
        assert_eq!(
            (again.id, again.text(), again.dup()),
            (sent[4].id, "e", true)
        );
        // Once more, and now all of it is settled.
        peer.send(&ack(0x40, sent[0].id)).await;
        peer.send(&ack(0x50, sent[1].id)).await;
        peer.expect(&ack(0x62, sent[1].id)).await;
        peer.send(&ack(0x70, sent[1].id)).await;
        peer.send(&ack(0x70, sent[2].id)).await;
        peer.send(&ack(0x40, sent[4].id)).await;
        peer.expect_nothing().await;
        peer.disconnect().await;
        let (mut peer, is_present) = server.connect(&connect).await;
        assert!(is_present);
        peer.expect_nothing().await;
    }
}

/// spec(4, server): MQTT-4.3.3-2, MQTT-4.4.0-1
/// spec(5, server): MQTT-4.3.3-10
#[tokio::test]
async fn a_qos_2_message_repeated_after_a_reconnection_is_delivered_once() {
    for version in BOTH {
        let server = Server::start().await;
        let mut watcher = server.client(version, "watcher").await;
        watcher.subscribe(&[("t", 2)]).await;
        let connect = Connect::new(version, "back").resume();
        let (mut peer, _) = server.connect(&connect).await;
        let publish = Publish::new("t", "once").qos(2, 9);
        peer.send(&publish.bytes(version)).await;
        peer.expect_ack(0x50, 9).await;
        peer.abort();
        let (mut peer, is_present) = server.connect(&connect).await;
        assert!(is_present);
        peer.send(&publish.dup().bytes(version)).await;
        peer.expect_ack(0x50, 9).await;
        peer.send(&ack(0x62, 9)).await;
        peer.expect_ack(0x70, 9).await;
        assert_eq!(watcher.take().await.text(), "once");
        watcher.expect_nothing().await;
        let publish = Publish::new("t", "another").qos(2, 9);
        peer.send(&publish.bytes(version)).await;
        peer.expect_ack(0x50, 9).await;
        assert_eq!(watcher.take().await.text(), "another");
    }
}

/// spec(5): MQTT-4.1.0-2
#[tokio::test]
async fn a_session_ends_when_its_time_is_up() {
    let server = Server::start().await;
    let connect = Connect::new(V5, "brief")
        .dirty()
        .properties(&[0x11, 0, 0, 0, 1]);
    let (mut peer, _) = server.connect(&connect).await;
    peer.subscribe(&[("t", 1)]).await;
    peer.disconnect().await;
    let (peer, is_present) = server.connect(&connect).await;
    assert!(is_present, "a second has not passed");
    peer.abort();
    until("the session to end", server.broker(), |broker| {
        broker.sessions().is_empty()
    })
    .await;
    let (mut peer, is_present) = server.connect(&connect).await;
    assert!(!is_present);
    assert_eq!(server.stats().subscriptions, 0);
    peer.expect_nothing().await;
}

/// spec(5): MQTT-4.1.0-2
/// spec(5): RMQTT-3.1.2-1, RMQTT-3.14.2-2
#[tokio::test]
async fn a_session_without_an_expiry_ends_with_its_connection() {
    let server = Server::start().await;
    let connect = Connect::new(V5, "brief").dirty();
    for _ in 0..3 {
        let (peer, is_present) = server.connect(&connect).await;
        assert!(!is_present);
        peer.disconnect().await;
    }
    // DISCONNECT may bring the end forward.
    let kept = Connect::new(V5, "brief").resume();
    let (mut peer, _) = server.connect(&kept).await;
    peer.send(b"\xE0\x07\0\x05\x11\0\0\0\0").await;
    peer.expect_closed().await;
    assert!(!server.connect(&kept).await.1);
}

/// spec(5, server): MQTT-4.1.0-1
/// spec(4, server): MQTT-4.1.0-2
#[tokio::test]
async fn a_session_lives_at_least_as_long_as_its_connection() {
    let server = Server::start().await;
    for version in BOTH {
        let id = format!("{version:?}");
        let connect = Connect::new(version, &id)
            .dirty()
            .properties(&[0x11, 0, 0, 0, 1]);
        let (mut peer, _) = server.connect(&connect).await;
        peer.subscribe(&[(&id, 1)]).await;
        let begin = tokio::time::Instant::now();
        while begin.elapsed().as_millis() < 1300 {
            peer.ping().await;
        }
        let mut publisher = server.client(version, "publisher").await;
        publisher.publish(1, Publish::new(&id, "x")).await;
        assert_eq!(peer.take().await.topic, id);
    }
}

/// spec(4): MQTT-3.1.2-7
#[tokio::test]
async fn retained_messages_outlive_the_session_that_sent_them() {
    for version in BOTH {
        let server = Server::start().await;
        let mut peer = server.client(version, "gone").await;
        peer.publish(1, Publish::new("t", "stays").retain()).await;
        peer.disconnect().await;
        let mut other = server.client(version, "gone").await;
        other.subscribe(&[("t", 1)]).await;
        assert_eq!(other.take().await.text(), "stays");
    }
}
