//! Rules that change while clients are connected, absent, or in the middle of an exchange.

use super::{DENIED, acl, assert_balanced, server, try_publish};
use crate::raw::bytes::{Connect, Publish, Will, ack};
use crate::raw::{Peer, Server, V5, until};
use rmqtt::broker::rights::Acl;
use std::sync::Arc;

/// Nobody but `boss` may do anything any more.
fn closed() -> Arc<Acl> {
    acl(&[], &[("boss", &["+pr #"])])
}

async fn subscribed(server: &Server, connect: &Connect) -> Peer {
    let (mut peer, _) = server.connect(connect).await;
    peer.subscribe(&[("public/#", 1)]).await;
    peer
}

/// CVE-2021-34434.
#[tokio::test]
async fn a_right_that_is_taken_away_ends_deliveries_to_subscriptions_that_are_there() {
    let server = server(&[]).await;
    let mut boss = server.client(V5, "boss").await;
    let mut peer = subscribed(&server, &Connect::new(V5, "peer")).await;
    boss.publish(1, Publish::new("public/a", "before")).await;
    assert_eq!(peer.take().await.text(), "before");
    server.broker().set_acl(closed());
    boss.publish(1, Publish::new("public/a", "after")).await;
    peer.expect_nothing().await;
    assert_eq!(
        try_publish(&mut peer, Publish::new("public/a", "x")).await,
        DENIED
    );
    assert_eq!(peer.subscribe(&[("public/b", 0)]).await, [DENIED]);
    // And back again: the subscription has stayed.
    server
        .broker()
        .set_acl(acl(&["+pr public/#"], &[("boss", &["+pr #"])]));
    boss.publish(1, Publish::new("public/a", "again")).await;
    assert_eq!(peer.take().await.text(), "again");
    assert_eq!(
        try_publish(&mut peer, Publish::new("public/a", "x")).await,
        0
    );
    assert_balanced(&server).await;
}

#[tokio::test]
async fn what_is_queued_is_kept_back_when_the_right_to_it_is_taken_away() {
    let server = server(&[]).await;
    let mut boss = server.client(V5, "boss").await;
    let connect = Connect::new(V5, "peer").resume();
    subscribed(&server, &connect).await.disconnect().await;
    for topic in ["public/a", "public/b"] {
        boss.publish(1, Publish::new(topic, topic)).await;
    }
    let rules = acl(&["+pr public/b"], &[("boss", &["+pr #"])]);
    server.broker().set_acl(rules);
    assert_eq!(server.stats().queued_messages, 1);
    assert_eq!(server.stats().deliveries_denied, 1);
    let (mut peer, is_present) = server.connect(&connect).await;
    assert!(is_present);
    assert_eq!(peer.take().await.text(), "public/b");
    peer.expect_nothing().await;
    assert_balanced(&server).await;
}

#[tokio::test]
async fn what_was_sent_and_not_acknowledged_is_not_sent_again() {
    for qos in [1, 2] {
        let server = server(&[]).await;
        let mut boss = server.client(V5, "boss").await;
        let connect = Connect::new(V5, "peer").resume();
        let (mut peer, _) = server.connect(&connect).await;
        peer.subscribe(&[("public/#", qos)]).await;
        boss.publish(qos, Publish::new("public/a", "x")).await;
        let sent = peer.delivery().await;
        peer.abort();
        until("it is gone", server.broker(), |broker| {
            broker.stats().connections == 1
        })
        .await;
        server.broker().set_acl(closed());
        let (mut peer, is_present) = server.connect(&connect).await;
        assert!(is_present);
        if qos == 2 {
            // The exchange has to end, without its message.
            peer.expect(&ack(0x62, sent.id)).await;
            peer.send(&ack(0x70, sent.id)).await;
        }
        peer.expect_nothing().await;
        assert_eq!(server.broker().sessions()[1].in_flight, 0);
        assert_balanced(&server).await;
    }
}

/// A message of QoS 2 is routed when it comes: the right that counts is the one of then, and PUBREL finishes what was begun.
#[tokio::test]
async fn an_exchange_of_qos_2_that_was_begun_with_a_right_is_finished_without_it() {
    let server = server(&[]).await;
    let mut boss = server.client(V5, "boss").await;
    boss.subscribe(&[("public/#", 2)]).await;
    let mut peer = server.client(V5, "peer").await;
    peer.send(&Publish::new("public/a", "x").qos(2, 7).bytes(V5))
        .await;
    peer.expect_ack(0x50, 7).await;
    assert_eq!(boss.take().await.text(), "x");
    server.broker().set_acl(closed());
    // Sent again, it is the same message; it goes nowhere a second time.
    peer.send(&Publish::new("public/a", "x").qos(2, 7).dup().bytes(V5))
        .await;
    peer.expect_ack(0x50, 7).await;
    peer.send(&ack(0x62, 7)).await;
    peer.expect_ack(0x70, 7).await;
    boss.expect_nothing().await;
    // And a new one with that id is denied.
    peer.send(&Publish::new("public/a", "y").qos(2, 7).bytes(V5))
        .await;
    assert_eq!(peer.expect_ack_code(0x50, 7).await, DENIED);
    boss.expect_nothing().await;
}

#[tokio::test]
async fn a_will_is_not_published_once_the_right_to_it_is_gone() {
    let server = server(&[]).await;
    let mut boss = server.client(V5, "boss").await;
    boss.subscribe(&[("public/#", 0)]).await;
    let connect = Connect::new(V5, "peer").will(&Will::new("public/will", "x"));
    let (peer, _) = server.connect(&connect).await;
    server.broker().set_acl(closed());
    peer.abort();
    until("it is denied", server.broker(), |broker| {
        broker.stats().publishes_denied == 1
    })
    .await;
    boss.expect_nothing().await;
    assert_eq!(server.stats().wills_published, 0);
}

#[tokio::test]
async fn retained_messages_that_were_coming_are_looked_at_by_the_rights_of_now() {
    let server = server(&[]).await;
    let mut boss = server.client(V5, "boss").await;
    boss.publish(1, Publish::new("public/a", "x").retain())
        .await;
    let connect = Connect::new(V5, "peer").resume();
    let mut peer = subscribed(&server, &connect).await;
    assert_eq!(peer.take().await.text(), "x");
    server.broker().set_acl(closed());
    assert_eq!(peer.subscribe(&[("public/#", 1)]).await, [DENIED]);
    peer.expect_nothing().await;
}

#[tokio::test]
async fn rights_hold_in_a_state_that_was_restored() {
    let server = server(&[]).await;
    let mut boss = server.client(V5, "boss").await;
    let connect = Connect::new(V5, "peer").resume();
    subscribed(&server, &connect).await.disconnect().await;
    boss.publish(1, Publish::new("public/a", "x")).await;
    let snapshot = server.broker().snapshot().await;
    let other = Server::with_options(|options| options.acl = Some(closed().into())).await;
    other.broker().restore(&snapshot).await;
    let (mut peer, is_present) = other.connect(&connect).await;
    assert!(is_present);
    peer.expect_nothing().await;
    let mut boss = other.client(V5, "boss").await;
    boss.publish(1, Publish::new("public/a", "y")).await;
    peer.expect_nothing().await;
}

/// A will that is delayed belongs to nobody who is connected.
#[tokio::test]
async fn a_will_that_waits_is_looked_at_when_it_is_due() {
    let server = server(&[]).await;
    let mut boss = server.client(V5, "boss").await;
    boss.subscribe(&[("public/#", 0)]).await;
    let mut will = Will::new("public/will", "x");
    will.properties = vec![0x18, 0, 0, 0x02, 0x58];
    let (peer, _) = server
        .connect(&Connect::new(V5, "peer").resume().will(&will))
        .await;
    peer.abort();
    until("it is gone", server.broker(), |broker| {
        broker.stats().connections == 1
    })
    .await;
    server.broker().set_acl(closed());
    // The end of its session is the end of the delay, too.
    let (_peer, is_present) = server.connect(&Connect::new(V5, "peer")).await;
    assert!(!is_present);
    boss.expect_nothing().await;
    let stats = server.stats();
    assert_eq!((stats.wills_published, stats.publishes_denied), (0, 1));
}

#[tokio::test]
async fn an_alias_opens_nothing_once_the_right_to_its_topic_is_gone() {
    let server = server(&[]).await;
    let mut boss = server.client(V5, "boss").await;
    boss.subscribe(&[("#", 0)]).await;
    let mut peer = server.client(V5, "peer").await;
    let alias = [0x23, 0, 1];
    let named = |topic: &str| Publish::new(topic, topic).properties(&alias);
    assert_eq!(try_publish(&mut peer, named("public/a")).await, 0);
    server.broker().set_acl(closed());
    assert_eq!(try_publish(&mut peer, named("")).await, DENIED);
    peer.publish(0, named("")).await;
    assert_eq!(boss.delivery().await.topic, "public/a");
    boss.expect_nothing().await;
    assert_eq!(server.stats().publishes_denied, 2);
}
