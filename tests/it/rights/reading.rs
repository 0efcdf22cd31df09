//! Getting at what one may not read, by every way there is.

use super::{DENIED, assert_balanced, server, try_publish};
use crate::raw::bytes::{Connect, Publish, Will};
use crate::raw::{BOTH, Server, V5, until};
use rmqtt::broker::hub::Fate;
use rmqtt::broker::rights::Access;
use rmqtt::message::Message;
use rmqtt::topic::TopicName;

#[tokio::test]
async fn a_filter_that_can_bring_nothing_is_refused_and_others_of_the_same_packet_are_not() {
    let server = server(&[]).await;
    for version in BOTH {
        let mut peer = server.client(version, "peer").await;
        let filters = [
            ("public/#", 1),
            ("secret", 1),
            ("$share/g/secret", 1),
            ("$share/g/public/a", 0),
            ("$share/g/public/secret/+", 1),
            ("$share/g/$SYS/#", 1),
            ("$share/+/secret", 1),
            ("$queue/secret", 1),
            ("Public/#", 1),
            ("public/secret/#", 2),
            ("$own/#", 0),
            ("$SYS/#", 0),
            ("#", 0),
        ];
        let no = version.pick(0x80, DENIED);
        let codes = peer.subscribe(&filters).await;
        // A name with a wildcard is no name of a group, and not for want of rights.
        let bad = version.pick(0x80, 0x8F);
        let expected = [1, no, no, 0, no, no, bad, no, no, no, no, no, 0];
        assert_eq!(codes, expected, "{version:?}");
        peer.disconnect().await;
    }
    assert_eq!(server.stats().subscriptions_denied, 18);
}

#[tokio::test]
async fn a_filter_wider_than_the_rights_brings_what_is_within_them() {
    let server = server(&[]).await;
    let mut boss = server.client(V5, "boss").await;
    let mut peer = server.client(V5, "peer").await;
    assert_eq!(peer.subscribe(&[("#", 1), ("+/secret/#", 1)]).await, [1, 1]);
    for topic in ["secret", "public/a", "$own/a"] {
        boss.publish(1, Publish::new(topic, topic)).await;
        boss.publish(0, Publish::new(topic, topic)).await;
    }
    let denied = TopicName::new("public/secret/a").expect("a topic");
    for _ in 0..2 {
        let message = Message::new(denied.clone(), "x");
        server.broker().publish(message).expect("it runs");
    }
    assert_eq!(peer.take().await.text(), "public/a");
    assert_eq!(peer.take().await.text(), "public/a");
    peer.expect_nothing().await;
    assert_eq!(server.stats().deliveries_denied, 4);
    let balance = server.broker().balance().await;
    let denied: usize = balance
        .ended
        .iter()
        .filter(|((client, fate, _), _)| *fate == Fate::Denied && client.as_deref() == Some("peer"))
        .map(|(_, count)| count)
        .sum();
    assert_eq!(denied, 4);
    assert_balanced(&server).await;
}

#[tokio::test]
async fn a_publisher_does_not_learn_of_who_may_not_read_it() {
    let server = server(&[]).await;
    let mut boss = server.client(V5, "boss").await;
    let mut peer = server.client(V5, "peer").await;
    peer.subscribe(&[("#", 1)]).await;
    // No matching subscribers.
    assert_eq!(
        try_publish(&mut boss, Publish::new("secret", "x")).await,
        0x10
    );
}

#[tokio::test]
async fn a_burst_is_kept_from_who_may_not_read_it() {
    let server = server(&[]).await;
    let mut boss = server.client(V5, "boss").await;
    let mut peer = server.client(V5, "peer").await;
    peer.subscribe(&[("#", 0)]).await;
    boss.send(&Publish::new("secret", "x").bytes(V5).repeat(100))
        .await;
    boss.publish(0, Publish::new("public/a", "y")).await;
    assert_eq!(peer.take().await.text(), "y");
    assert_eq!(server.stats().deliveries_denied, 100);
    assert_balanced(&server).await;
}

/// CVE-2018-12546 and GHSA-7qmq-8cc4-hxwg.
#[tokio::test]
async fn what_is_retained_is_kept_from_who_may_not_read_it() {
    let server = server(&[]).await;
    let mut boss = server.client(V5, "boss").await;
    for number in 0..200 {
        let publish = Publish::new(format!("secret/{number:03}"), "x").retain();
        boss.publish(1, publish).await;
    }
    boss.publish(1, Publish::new("zero", "x").retain()).await;
    boss.publish(1, Publish::new("public/z", "open").retain())
        .await;
    let mut peer = server.client(V5, "peer").await;
    peer.subscribe(&[("#", 1)]).await;
    assert_eq!(peer.take().await.text(), "open");
    peer.expect_nothing().await;
    assert_eq!(server.stats().deliveries_denied, 201);
    assert_balanced(&server).await;
}

/// However a subscription wants what is retained.
#[tokio::test]
async fn no_way_to_ask_for_retained_messages_leads_to_what_one_may_not_read() {
    let server = server(&[]).await;
    for topic in ["public/a", "public/secret/a", "secret"] {
        let name = TopicName::new(topic).expect("a topic");
        let message = Message::new(name, topic).with_retain(true);
        server.broker().publish(message).expect("it runs");
    }
    let mut peer = server.client(V5, "peer").await;
    let (no_local, as_published) = (0x04, 0x08);
    for (handling, times) in [(0x00, 2), (0x10, 1), (0x20, 0)] {
        let options = 1 | no_local | as_published | handling;
        for round in 0..2 {
            assert_eq!(peer.subscribe(&[("#", options)]).await, [1]);
            if round < times {
                let got = peer.take().await;
                assert_eq!((&*got.topic, got.retain()), ("public/a", true));
            }
            peer.expect_nothing().await;
        }
        assert_eq!(peer.unsubscribe(&["#"]).await, [0]);
    }
    assert_balanced(&server).await;
}

#[tokio::test]
async fn nothing_is_queued_for_who_may_not_read_it() {
    let server = server(&[]).await;
    let mut boss = server.client(V5, "boss").await;
    let connect = Connect::new(V5, "peer").resume();
    let (mut peer, _) = server.connect(&connect).await;
    peer.subscribe(&[("#", 1)]).await;
    peer.disconnect().await;
    boss.publish(1, Publish::new("secret", "x")).await;
    boss.publish(1, Publish::new("public/a", "y")).await;
    assert_eq!(server.broker().sessions()[1].queued_messages, 1);
    let (mut peer, is_present) = server.connect(&connect).await;
    assert!(is_present);
    assert_eq!(peer.take().await.text(), "y");
    peer.expect_nothing().await;
    assert_balanced(&server).await;
}

#[tokio::test]
async fn a_will_is_kept_from_who_may_not_read_it() {
    let server = server(&[]).await;
    let mut peer = server.client(V5, "peer").await;
    peer.subscribe(&[("#", 1)]).await;
    let mut watch = server.client(V5, "watch").await;
    watch.subscribe(&[("public/#", 0)]).await;
    let will = Will::new("secret", "last");
    let (boss, _) = server.connect(&Connect::new(V5, "boss").will(&will)).await;
    boss.abort();
    until("the will is published", server.broker(), |broker| {
        broker.stats().wills_published == 1
    })
    .await;
    peer.expect_nothing().await;
}

/// The broker itself publishes what it likes, to those who may read it.
#[tokio::test]
async fn what_the_broker_publishes_is_kept_from_who_may_not_read_it() {
    let server = server(&[("watch", &["+r $SYS/#"])]).await;
    let mut peer = server.client(V5, "peer").await;
    let mut watch = server.client(V5, "watch").await;
    assert_eq!(watch.subscribe(&[("$SYS/#", 0)]).await, [0]);
    assert_eq!(
        peer.subscribe(&[("$SYS/#", 0), ("#", 0)]).await,
        [DENIED, 0]
    );
    for topic in ["$SYS/a", "secret"] {
        let name = TopicName::new(topic).expect("a topic");
        let message = Message::new(name, "x");
        server.broker().publish(message).expect("it runs");
    }
    assert_eq!(watch.take().await.topic, "$SYS/a");
    peer.expect_nothing().await;
}

#[tokio::test]
async fn why_something_is_denied_can_be_asked() {
    let server = server(&[]).await;
    let _peer = server.client(V5, "peer").await;
    let topic = TopicName::new("public/secret/a").expect("a topic");
    let broker = server.broker();
    assert_eq!(
        broker.explain_right("peer", Access::Read, &topic),
        Some((false, Some("deny public/secret/#".to_owned())))
    );
    assert_eq!(broker.explain_right("nobody", Access::Read, &topic), None);
}

#[tokio::test]
async fn without_rules_everybody_may_do_everything() {
    let server = Server::start().await;
    let mut peer = server.client(V5, "peer").await;
    assert_eq!(peer.subscribe(&[("#", 1), ("$any/#", 1)]).await, [1, 1]);
    assert_eq!(try_publish(&mut peer, Publish::new("a", "x")).await, 0);
    let topic = TopicName::new("a").expect("a topic");
    let why = server
        .broker()
        .explain_right("peer", Access::Publish, &topic);
    assert_eq!(why, Some((true, None)));
}
