//! Whoever reaches a limit is counted under its name, and nobody else is.

use crate::raw::bytes::{Connect, PINGREQ, Publish, Will, subscribe};
use crate::raw::{Server, V4, V5, until};
use rmqtt::broker::{Limit, Limits};
use std::collections::BTreeMap;
use std::time::Duration;

/// So often each, and the others never.
pub(super) fn assert_reached(server: &Server, expected: &[(&str, u64)]) {
    let reached = server.stats().limits_reached;
    let seen: Vec<_> = reached
        .into_iter()
        .filter(|(_, count)| *count > 0)
        .collect();
    let expected: BTreeMap<_, _> = expected.iter().copied().collect();
    assert_eq!(seen, expected.into_iter().collect::<Vec<_>>());
}

#[tokio::test]
async fn what_keeps_within_the_limits_is_not_counted() {
    let server = Server::start().await;
    let mut witness = server.witness().await;
    let mut peer = server.client(V5, "well-behaved").await;
    peer.subscribe(&[("a/#", 2)]).await;
    peer.publish(1, Publish::new("b", "x").retain()).await;
    witness.goes_on().await;
    assert_reached(&server, &[]);
    assert_eq!(server.stats().limits_reached.len(), Limit::ALL.len());
}

#[tokio::test]
async fn packets_over_a_limit_are_counted() {
    let server = Server::with(|limits| {
        limits.packet_size_max = 1000;
        limits.control_packet_size_max = 500;
        limits.receive_maximum = 1;
        limits.topic_alias_max = 2;
    })
    .await;
    let mut witness = server.witness().await;
    let unsettled = [
        Publish::new("t", "x").qos(2, 1).bytes(V5),
        Publish::new("t", "x").qos(2, 2).bytes(V5),
    ];
    let long = "x".repeat(600);
    for (bytes, reason) in [
        (Publish::new("t", "x".repeat(2000)).bytes(V5), 0x95),
        (subscribe(V5, 1, &[(&long, 0)]), 0x95),
        (unsettled.concat(), 0x93),
        (
            Publish::new("t", "").properties(&[0x23, 0, 3]).bytes(V5),
            0x94,
        ),
    ] {
        let mut peer = server.client(V5, "greedy").await;
        peer.send(&bytes).await;
        if reason == 0x93 {
            peer.expect_ack(0x50, 1).await;
        }
        peer.expect_end(&[reason]).await;
    }
    witness.goes_on().await;
    let expected = [
        ("packet_size_max", 1),
        ("control_packet_size_max", 1),
        ("receive_maximum", 1),
        ("topic_alias_max", 1),
    ];
    assert_reached(&server, &expected);
}

#[tokio::test]
async fn topics_deeper_than_the_limit_are_counted() {
    let server = Server::with(|limits| limits.topic_levels_max = 2).await;
    let mut witness = server.witness().await;
    let mut peer = server.client(V5, "deep").await;
    peer.send(&Publish::new("a/b/c", "x").qos(1, 9).bytes(V5))
        .await;
    assert_eq!(peer.expect_ack_code(0x40, 9).await, 0x90);
    assert_eq!(peer.subscribe(&[("a/b/c", 1)]).await, [0x8F]);
    let mut stranger = server.socket(V5).await;
    let connect = Connect::new(V5, "deep-will").will(&Will::new("a/b/c", "x"));
    stranger.send(&connect.bytes()).await;
    stranger.expect_connack(0x90).await;
    stranger.expect_closed().await;
    witness.goes_on().await;
    assert_reached(&server, &[("topic_levels_max", 3)]);
}

#[tokio::test]
async fn what_is_granted_less_than_asked_for_is_counted() {
    let server = Server::with(|limits| {
        limits.session_expiry_max = 60;
        limits.keep_alive_max = 30;
    })
    .await;
    for version in [V4, V5] {
        server
            .connect(&Connect::new(version, "long").resume().keep_alive(60))
            .await;
    }
    server
        .connect(&Connect::new(V5, "short").keep_alive(30))
        .await;
    assert_reached(&server, &[("session_expiry_max", 2), ("keep_alive_max", 2)]);
}

#[tokio::test]
async fn subscriptions_sessions_and_retained_messages_beyond_the_limits_are_counted() {
    let server = Server::with(|limits| {
        limits.sessions_max = 3;
        limits.subscriptions_max = 2;
        limits.shared_subscriptions_max = 1;
        limits.retained_messages_max = 1;
        limits.retained_bytes_max = 10;
    })
    .await;
    let mut witness = server.witness().await;
    let mut peer = server.client(V5, "greedy").await;
    let filters = [("$share/g/a", 0), ("$share/g/b", 0), ("c", 0), ("d", 0)];
    assert_eq!(peer.subscribe(&filters).await, [0, 0x97, 0, 0x97]);
    for (topic, payload, code) in [
        ("x", "12345678", 0x10),
        ("y", "x", 0x97),
        ("x", "1234567890", 0x97),
    ] {
        peer.send(&Publish::new(topic, payload).retain().qos(1, 7).bytes(V5))
            .await;
        assert_eq!(peer.expect_ack_code(0x40, 7).await, code, "{topic}");
    }
    let mut late = server.socket(V5).await;
    late.send(&Connect::new(V5, "late").bytes()).await;
    late.expect_connack(0x97).await;
    witness.goes_on().await;
    let expected = [
        ("subscriptions_max", 1),
        ("shared_subscriptions_max", 1),
        ("retained_messages_max", 1),
        ("retained_bytes_max", 1),
        ("sessions_max", 1),
    ];
    assert_reached(&server, &expected);
}

#[tokio::test]
async fn strangers_who_are_too_many_or_too_slow_are_counted() {
    let server = Server::with(|limits| {
        limits.connections_max = 1;
        limits.connect_timeout = Duration::from_millis(50);
    })
    .await;
    let mut slow = server.socket(V5).await;
    let mut late = server.socket(V5).await;
    late.try_send(&Connect::new(V5, "late").bytes()).await;
    late.expect_refused().await;
    slow.expect_refused().await;
    assert_reached(&server, &[("connections_max", 1), ("connect_timeout", 1)]);
}

/// An absent client's queue: what is dropped. A present one's: that it became full.
#[tokio::test]
async fn full_queues_are_counted_by_the_bound_that_they_are_at() {
    for (change, name) in [
        (few_messages as fn(&mut Limits), "queue_messages_max"),
        (few_bytes, "queue_bytes_max"),
    ] {
        let server = Server::with(change).await;
        let (mut absent, _) = server.connect(&Connect::new(V5, "absent").resume()).await;
        absent.subscribe(&[("t", 1)]).await;
        absent.disconnect().await;
        until("it to be gone", server.broker(), |broker| {
            broker.stats().connections == 0
        })
        .await;
        let mut publisher = server.client(V5, "publisher").await;
        for _ in 0..5 {
            publisher
                .publish(1, Publish::new("t", "x".repeat(900)))
                .await;
        }
        publisher.send(&PINGREQ).await;
        assert_reached(&server, &[(name, 2)]);
        assert_eq!(server.stats().messages_dropped_queue_full, 2);
    }
}

fn few_messages(limits: &mut Limits) {
    limits.queue_messages_max = 3;
}

fn few_bytes(limits: &mut Limits) {
    limits.queue_bytes_max = 2500;
}
