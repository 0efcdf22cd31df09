//! The three qualities of service, step by step.

use crate::raw::bytes::{Connect, Publish, ack, packet};
use crate::raw::{BOTH, Server, V5};
use std::collections::BTreeSet;

/// spec(4, server): MQTT-2.3.1-6, MQTT-3.3.4-1, MQTT-4.3.2-2
/// spec(5, server): MQTT-2.2.1-5, MQTT-3.3.4-1, MQTT-4.3.2-4, MQTT-4.3.3-8, MQTT-4.3.3-11
#[tokio::test]
async fn a_publish_is_answered_by_its_qos_and_under_its_id() {
    for version in BOTH {
        let server = Server::start().await;
        let mut watcher = server.client(version, "watcher").await;
        watcher.subscribe(&[("t", 2)]).await;
        let mut peer = server.client(version, "peer").await;
        peer.send(&Publish::new("t", "0").bytes(version)).await;
        peer.expect_nothing().await;
        assert_eq!(watcher.take().await.text(), "0");
        for id in [1, 256, 300, 65535] {
            peer.send(&Publish::new("t", "1").qos(1, id).bytes(version))
                .await;
            assert_eq!(peer.expect_ack_code(0x40, id).await, 0);
            assert_eq!(watcher.take().await.text(), "1");
            peer.send(&Publish::new("t", "2").qos(2, id).bytes(version))
                .await;
            assert_eq!(peer.expect_ack_code(0x50, id).await, 0);
            peer.send(&ack(0x62, id)).await;
            assert_eq!(peer.expect_ack_code(0x70, id).await, 0);
            assert_eq!(watcher.take().await.text(), "2");
        }
    }
}

/// spec(4): MQTT-3.3.1-3
/// spec(4, server): MQTT-4.3.2-2
/// spec(5): MQTT-3.3.1-3
/// spec(5, server): MQTT-4.3.2-5
#[tokio::test]
async fn an_acknowledged_id_of_qos_1_means_a_new_message_and_dup_is_not_passed_on() {
    for version in BOTH {
        let server = Server::start().await;
        let mut watcher = server.client(version, "watcher").await;
        watcher.subscribe(&[("t", 1)]).await;
        let mut peer = server.client(version, "peer").await;
        let publish = Publish::new("t", "x").qos(1, 1);
        for publish in [publish.clone(), publish.dup()] {
            peer.send(&publish.bytes(version)).await;
            peer.expect_ack(0x40, 1).await;
            assert!(!watcher.take().await.dup());
        }
        watcher.expect_nothing().await;
    }
}

/// spec(4, server): MQTT-4.3.3-2
/// spec(5, server): MQTT-4.3.3-10, MQTT-4.3.3-12
#[tokio::test]
async fn a_qos_2_message_is_delivered_once_for_each_handshake() {
    for version in BOTH {
        let server = Server::start().await;
        let mut watcher = server.client(version, "watcher").await;
        watcher.subscribe(&[("t", 2)]).await;
        let mut peer = server.client(version, "peer").await;
        for round in 0..3_u8 {
            let publish = Publish::new("t", [round]).qos(2, 1);
            for publish in [publish.clone(), publish.clone().dup(), publish.dup()] {
                peer.send(&publish.bytes(version)).await;
                peer.expect_ack(0x50, 1).await;
            }
            for _ in 0..2 {
                peer.send(&ack(0x62, 1)).await;
                peer.expect_ack_code(0x70, 1).await;
            }
            assert_eq!(watcher.take().await.payload, [round]);
            watcher.expect_nothing().await;
        }
    }
}

/// spec(5, server): MQTT-4.3.3-9
#[tokio::test]
async fn a_refused_id_of_qos_2_means_a_new_message() {
    let server = Server::start().await;
    let mut watcher = server.client(V5, "watcher").await;
    watcher.subscribe(&[("t", 2)]).await;
    let mut peer = server.client(V5, "peer").await;
    peer.send(&Publish::new("$SYS/t", "no").qos(2, 1).bytes(V5))
        .await;
    assert_eq!(peer.expect_ack_code(0x50, 1).await, 0x87);
    peer.publish(2, Publish::new("t", "yes")).await;
    assert_eq!(watcher.take().await.text(), "yes");
    // Nothing is left to release.
    peer.send(&ack(0x62, 1)).await;
    assert_eq!(peer.expect_ack_code(0x70, 1).await, 0x92);
}

/// spec(5, server): MQTT-4.3.3-4, MQTT-4.4.0-2
#[tokio::test]
async fn what_a_subscriber_refuses_is_settled() {
    let server = Server::start().await;
    let connect = Connect::new(V5, "picky").resume();
    let (mut peer, _) = server.connect(&connect).await;
    peer.subscribe(&[("t", 2)]).await;
    let mut publisher = server.client(V5, "publisher").await;
    for qos in [1, 2, 2] {
        publisher.publish(qos, Publish::new("t", "x")).await;
    }
    let refused = [peer.delivery().await, peer.delivery().await];
    let taken = peer.delivery().await;
    for (first, delivery) in [0x40, 0x50].into_iter().zip(&refused) {
        let [high, low] = delivery.id.to_be_bytes();
        peer.send(&packet(first, &[high, low, 0x87])).await;
    }
    peer.expect_nothing().await;
    // Nobody to receive it is no refusal.
    let [high, low] = taken.id.to_be_bytes();
    peer.send(&[0x50, 0x03, high, low, 0x10]).await;
    peer.expect(&ack(0x62, taken.id)).await;
    peer.abort();
    let (mut peer, is_present) = server.connect(&connect).await;
    assert!(is_present);
    peer.expect(&ack(0x62, taken.id)).await;
    peer.send(&ack(0x70, taken.id)).await;
    peer.expect_nothing().await;
    peer.abort();
    let (mut peer, is_present) = server.connect(&connect).await;
    assert!(is_present);
    peer.expect_nothing().await;
}

/// spec(4): MQTT-2.3.1-4
/// spec(5): MQTT-2.2.1-4
/// spec(5, server): MQTT-4.3.2-1, MQTT-4.3.3-1
#[tokio::test]
async fn messages_in_flight_have_different_ids() {
    for version in BOTH {
        let server = Server::start().await;
        let mut peer = server.client(version, "peer").await;
        peer.subscribe(&[("t", 2)]).await;
        let mut publisher = server.client(version, "publisher").await;
        let mut open = BTreeSet::new();
        for round in 0..300_u16 {
            let qos = if round % 2 == 0 { 1 } else { 2 };
            publisher.publish(qos, Publish::new("t", "x")).await;
            let delivery = peer.delivery().await;
            assert!(delivery.id != 0 && open.insert(delivery.id), "{delivery:?}");
            if round % 3 == 0 {
                open.remove(&delivery.id);
                peer.settle(&delivery).await;
            }
        }
    }
}

/// spec(4): MQTT-4.6.0-5, MQTT-4.6.0-6
/// spec(5): MQTT-4.6.0-5, MQTT-4.6.0-6
#[tokio::test]
async fn messages_of_one_publisher_arrive_in_order() {
    for version in BOTH {
        let server = Server::start().await;
        let mut fast = server.client(version, "fast").await;
        let mut slow = server.client(version, "slow").await;
        for peer in [&mut fast, &mut slow] {
            peer.subscribe(&[("order/+", 2)]).await;
        }
        let mut publisher = server.client(version, "publisher").await;
        let mut bytes = Vec::new();
        for number in 1..=500_u16 {
            for qos in 0..=2_u8 {
                let publish = Publish::new(format!("order/{qos}"), number.to_be_bytes());
                let id = number + u16::from(qos) * 500;
                bytes.extend(publish.qos(qos, id).bytes(version));
            }
        }
        publisher.send(&bytes).await;
        for peer in [&mut fast, &mut slow] {
            let mut last = [0; 3];
            let mut open = Vec::new();
            for _ in 0..1500 {
                let delivery = peer.delivery().await;
                let number = u16::from_be_bytes([delivery.payload[0], delivery.payload[1]]);
                let last = &mut last[usize::from(delivery.qos())];
                assert_eq!(number, *last + 1, "{}", delivery.topic);
                *last = number;
                // The windows are kept open without a step in the way of what follows.
                match delivery.qos() {
                    1 => peer.send(&ack(0x40, delivery.id)).await,
                    2 => open.push(delivery.id),
                    _ => {}
                }
            }
            assert_eq!(last, [500; 3]);
        }
    }
}

/// spec(5): MQTT-3.3.4-9, MQTT-3.3.4-10
/// spec(5, server): MQTT-4.9.0-1, MQTT-4.9.0-2, MQTT-4.9.0-3
#[tokio::test]
async fn no_more_is_in_flight_than_the_client_takes() {
    for window in [1_u8, 2, 10] {
        let server = Server::start().await;
        let connect = Connect::new(V5, "narrow").properties(&[0x21, 0, window]);
        let (mut peer, _) = server.connect(&connect).await;
        peer.subscribe(&[("t", 2)]).await;
        let mut publisher = server.client(V5, "publisher").await;
        for number in 0..30_u8 {
            publisher
                .publish(1 + number % 2, Publish::new("t", [number]))
                .await;
        }
        let mut open = Vec::new();
        for _ in 0..window {
            open.push(peer.delivery().await);
        }
        // Everything else is served while the window is full.
        peer.expect_nothing().await;
        assert_eq!(peer.subscribe(&[("u", 0)]).await, [0]);
        peer.publish(2, Publish::new("other", "x")).await;
        publisher.publish(0, Publish::new("u", "now")).await;
        assert_eq!(peer.take().await.text(), "now");
        for number in 0..30_u8 {
            let delivery = open.remove(0);
            assert_eq!(delivery.payload, [number]);
            if delivery.qos() == 2 {
                peer.send(&ack(0x50, delivery.id)).await;
                peer.expect(&ack(0x62, delivery.id)).await;
                peer.expect_nothing().await;
                peer.send(&ack(0x70, delivery.id)).await;
            } else {
                peer.send(&ack(0x40, delivery.id)).await;
            }
            if number + window < 30 {
                open.push(peer.delivery().await);
            }
            peer.expect_nothing().await;
        }
    }
}
