//! Retained messages outlive the right by which they were published (CVE-2018-12546).

use super::{acl, assert_balanced, login, server, with_users};
use crate::raw::bytes::{Connect, Publish, Will};
use crate::raw::{Server, V5, until};
use rmqtt::broker::rights::Acl;
use rmqtt::message::Message;
use rmqtt::topic::TopicName;
use std::sync::Arc;

/// All may read, and nobody but `boss` and `other` publish.
fn closed() -> Arc<Acl> {
    let all: &[&str] = &["+pr #"];
    acl(&["+r public/#"], &[("boss", all), ("other", all)])
}

fn open() -> Arc<Acl> {
    acl(&["+pr public/#"], &[("boss", &["+pr #"])])
}

/// What a new subscription brings.
async fn read(server: &Server) -> Vec<String> {
    let mut boss = server.client(V5, "boss").await;
    boss.subscribe(&[("public/#", 1)]).await;
    // Behind all that was retained.
    let mut other = server.client(V5, "other").await;
    other.publish(1, Publish::new("public/z", "end")).await;
    let mut read = Vec::new();
    loop {
        let message = boss.take().await;
        if message.text() == "end" {
            return read;
        }
        read.push(message.text().to_owned());
    }
}

async fn retain(server: &Server, client_id: &str, topic: &str) {
    let mut peer = server.client(V5, client_id).await;
    peer.publish(1, Publish::new(topic, client_id).retain())
        .await;
    peer.disconnect().await;
}

#[tokio::test]
async fn what_somebody_retained_is_kept_back_while_it_has_no_right_to_publish_it() {
    let server = server(&[]).await;
    for (client_id, topic) in [("peer", "public/a"), ("other", "public/b")] {
        retain(&server, client_id, topic).await;
    }
    assert_eq!(read(&server).await, ["peer", "other"]);
    server.broker().set_acl(closed());
    assert_eq!(read(&server).await, ["other"]);
    assert_eq!(server.stats().deliveries_denied, 1);
    server.broker().set_acl(open());
    assert_eq!(read(&server).await, ["peer", "other"]);
    assert_balanced(&server).await;
}

#[tokio::test]
async fn it_is_the_same_while_the_publisher_is_connected() {
    let server = server(&[]).await;
    let mut peer = server.client(V5, "peer").await;
    peer.publish(1, Publish::new("public/a", "x").retain())
        .await;
    server.broker().set_acl(closed());
    assert!(read(&server).await.is_empty());
    server.broker().set_acl(open());
    assert_eq!(read(&server).await, ["x"]);
}

#[tokio::test]
async fn it_is_the_same_with_a_will_that_is_retained() {
    let server = server(&[]).await;
    let mut will = Will::new("public/a", "gone");
    will.retain = true;
    let (peer, _) = server.connect(&Connect::new(V5, "peer").will(&will)).await;
    peer.abort();
    until("it is published", server.broker(), |broker| {
        broker.stats().retained_messages == 1
    })
    .await;
    assert_eq!(read(&server).await, ["gone"]);
    server.broker().set_acl(closed());
    assert!(read(&server).await.is_empty());
}

#[tokio::test]
async fn who_writes_over_it_answers_for_it() {
    let server = server(&[]).await;
    for client_id in ["peer", "other"] {
        retain(&server, client_id, "public/a").await;
    }
    server.broker().set_acl(closed());
    assert_eq!(read(&server).await, ["other"]);
}

#[tokio::test]
async fn what_the_broker_retained_itself_is_given_out() {
    let server = server(&[]).await;
    let topic = TopicName::new("public/a").expect("a topic");
    let message = Message::new(topic, "x").with_retain(true);
    server.broker().publish(message).expect("it runs");
    server.broker().set_acl(closed());
    assert_eq!(read(&server).await, ["x"]);
}

/// A client id is anybody's: the right is that of the user who published.
#[tokio::test]
async fn the_right_is_asked_of_the_user_who_published_it() {
    let may_write: &[&str] = &["+p t"];
    let server = with_users(&[("alice", may_write), ("bob", &["+r t"])], &[]).await;
    let (mut alice, _) = server.connect(&login(V5, "pump", "alice")).await;
    alice.publish(1, Publish::new("t", "x").retain()).await;
    alice.disconnect().await;
    until("she is gone", server.broker(), |broker| {
        broker.sessions().is_empty()
    })
    .await;
    // With the id that was hers, and without her right.
    let (mut bob, _) = server.connect(&login(V5, "pump", "bob")).await;
    bob.subscribe(&[("t", 1)]).await;
    assert_eq!(bob.take().await.text(), "x");
}

#[tokio::test]
async fn it_is_kept_back_where_a_state_is_restored_under_other_rules() {
    let server = server(&[]).await;
    for (client_id, topic) in [("peer", "public/a"), ("other", "public/b")] {
        retain(&server, client_id, topic).await;
    }
    let snapshot = server.broker().snapshot().await;
    let other = Server::with_options(|options| options.acl = Some(closed().into())).await;
    other.broker().restore(&snapshot).await;
    assert_eq!(read(&other).await, ["other"]);
}
