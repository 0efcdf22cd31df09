//! Groups of shared subscriptions whose members may not all read the same.

use super::{assert_balanced, server};
use crate::raw::bytes::{Connect, Publish};
use crate::raw::{Server, V5, until};

const WIDE: &str = "$share/g/#";

/// `boss` may read everything, `open` what is public; `a` and `b` are two of either kind.
async fn group() -> Server {
    server(&[
        ("a", &["+r a/#"]),
        ("b", &["+r b/#"]),
        ("both", &["+r a/#", "+r b/#"]),
    ])
    .await
}

#[tokio::test]
async fn a_message_goes_to_the_members_that_may_read_it() {
    let server = group().await;
    let mut boss = server.client(V5, "boss").await;
    let mut one = server.client(V5, "a").await;
    let mut other = server.client(V5, "b").await;
    one.subscribe(&[(WIDE, 1)]).await;
    other.subscribe(&[(WIDE, 1)]).await;
    for number in 0..6 {
        boss.publish(1, Publish::new("a/1", format!("a{number}")))
            .await;
        boss.publish(1, Publish::new("b/1", format!("b{number}")))
            .await;
    }
    for number in 0..6 {
        assert_eq!(one.take().await.text(), format!("a{number}"));
        assert_eq!(other.take().await.text(), format!("b{number}"));
    }
    one.expect_nothing().await;
    other.expect_nothing().await;
    assert_balanced(&server).await;
}

#[tokio::test]
async fn what_no_member_may_read_is_denied() {
    let server = group().await;
    let mut boss = server.client(V5, "boss").await;
    let mut one = server.client(V5, "a").await;
    one.subscribe(&[(WIDE, 1)]).await;
    boss.publish(1, Publish::new("secret", "x")).await;
    boss.publish(0, Publish::new("secret", "x")).await;
    one.expect_nothing().await;
    assert_eq!(server.stats().deliveries_denied, 2);
    assert_eq!(server.stats().queued_messages, 0);
    assert_balanced(&server).await;
}

/// Who joins a group without the rights of its members neither gets what is theirs nor makes them lose it.
#[tokio::test]
async fn what_waits_for_an_absent_member_waits_though_another_one_comes() {
    let server = group().await;
    let mut boss = server.client(V5, "boss").await;
    let connect = Connect::new(V5, "a").resume();
    let (mut one, _) = server.connect(&connect).await;
    one.subscribe(&[(WIDE, 1)]).await;
    one.disconnect().await;
    boss.publish(1, Publish::new("a/1", "first")).await;
    let mut other = server.client(V5, "b").await;
    other.subscribe(&[(WIDE, 1)]).await;
    boss.publish(1, Publish::new("a/1", "second")).await;
    boss.publish(1, Publish::new("b/1", "for b")).await;
    assert_eq!(other.take().await.text(), "for b");
    other.expect_nothing().await;
    assert_eq!(server.stats().queued_messages, 2);
    let (mut one, _) = server.connect(&connect).await;
    assert_eq!(one.take().await.text(), "first");
    assert_eq!(one.take().await.text(), "second");
    one.expect_nothing().await;
    assert_balanced(&server).await;
}

#[tokio::test]
async fn what_the_last_member_that_may_read_it_leaves_behind_is_denied() {
    let server = group().await;
    let mut boss = server.client(V5, "boss").await;
    let (mut one, _) = server.connect(&Connect::new(V5, "a").resume()).await;
    one.subscribe(&[(WIDE, 1)]).await;
    let mut other = server.client(V5, "b").await;
    other.subscribe(&[(WIDE, 1)]).await;
    one.disconnect().await;
    boss.publish(1, Publish::new("a/1", "x")).await;
    assert_eq!(server.stats().queued_messages, 1);
    let (again, is_present) = server.connect(&Connect::new(V5, "a")).await;
    assert!(!is_present);
    again.disconnect().await;
    other.expect_nothing().await;
    assert_eq!(server.stats().queued_messages, 0);
    assert_eq!(server.stats().deliveries_denied, 1);
    assert_balanced(&server).await;
}

#[tokio::test]
async fn what_a_member_has_in_its_hand_goes_to_others_when_it_may_not_read_it_any_more() {
    let server = group().await;
    let mut boss = server.client(V5, "boss").await;
    // One that takes nothing: its window has room for one message, and it does not answer.
    let window = Connect::new(V5, "a").properties(&[0x21, 0, 1]);
    let (mut slow, _) = server.connect(&window).await;
    slow.subscribe(&[(WIDE, 1)]).await;
    for number in 0..3 {
        boss.publish(1, Publish::new("a/1", format!("{number}")))
            .await;
    }
    assert_eq!(slow.delivery().await.text(), "0");
    let mut other = server.client(V5, "both").await;
    other.subscribe(&[(WIDE, 1)]).await;
    let rules = super::acl(
        &["+pr public/#"],
        &[("boss", &["+pr #"]), ("both", &["+r a/#"])],
    );
    server.broker().set_acl(rules);
    let mut got = vec![other.take().await.text().to_owned()];
    got.push(other.take().await.text().to_owned());
    assert_eq!(got, ["1", "2"]);
    slow.expect_nothing().await;
    assert_balanced(&server).await;
}

/// As it was before it was sent: whoever else could have had it may have it, and nobody else.
#[tokio::test]
async fn what_a_member_has_not_answered_goes_only_to_who_may_read_it() {
    let server = group().await;
    let mut boss = server.client(V5, "boss").await;
    let mut one = server.client(V5, "a").await;
    one.subscribe(&[(WIDE, 1)]).await;
    boss.publish(1, Publish::new("a/1", "x")).await;
    assert_eq!(one.delivery().await.text(), "x");
    let mut other = server.client(V5, "b").await;
    other.subscribe(&[(WIDE, 1)]).await;
    let mut both = server.client(V5, "both").await;
    both.subscribe(&[(WIDE, 1)]).await;
    one.disconnect().await;
    assert_eq!(both.take().await.text(), "x");
    other.expect_nothing().await;
    assert_balanced(&server).await;
}

#[tokio::test]
async fn a_member_with_its_hands_full_holds_up_nobody_who_may_read_other_things() {
    let server = group().await;
    let mut boss = server.client(V5, "boss").await;
    // It takes one message at a time, and at first does not answer.
    let window = Connect::new(V5, "a").properties(&[0x21, 0, 1]);
    let (mut slow, _) = server.connect(&window).await;
    slow.subscribe(&[(WIDE, 1)]).await;
    let mut other = server.client(V5, "b").await;
    other.subscribe(&[(WIDE, 1)]).await;
    for number in 0..200 {
        boss.publish(1, Publish::new("a/1", format!("{number}")))
            .await;
    }
    for number in 0..3 {
        boss.publish(1, Publish::new("b/1", format!("for b, {number}")))
            .await;
    }
    for number in 0..3 {
        assert_eq!(other.take().await.text(), format!("for b, {number}"));
    }
    // And all that was put aside comes, in order, with what is published meanwhile behind it.
    for number in 0..400 {
        assert_eq!(slow.take().await.text(), format!("{number}"));
        if number < 200 {
            boss.publish(1, Publish::new("a/1", format!("{}", 200 + number)))
                .await;
        }
    }
    slow.expect_nothing().await;
    assert_balanced(&server).await;
}

#[tokio::test]
async fn what_is_not_sent_again_for_want_of_rights_goes_to_others_of_the_group() {
    let server = group().await;
    let mut boss = server.client(V5, "boss").await;
    let connect = Connect::new(V5, "a").resume();
    let (mut one, _) = server.connect(&connect).await;
    one.subscribe(&[(WIDE, 1)]).await;
    boss.publish(1, Publish::new("a/1", "x")).await;
    assert_eq!(one.delivery().await.text(), "x");
    one.abort();
    until("it is gone", server.broker(), |broker| {
        broker.stats().connections == 1
    })
    .await;
    let mut both = server.client(V5, "both").await;
    both.subscribe(&[(WIDE, 1)]).await;
    let rules = [("boss", &["+pr #"][..]), ("both", &["+r a/#"])];
    server
        .broker()
        .set_acl(super::acl(&["+pr public/#"], &rules));
    // It may come back for it as long as its session lasts.
    both.expect_nothing().await;
    let (mut one, is_present) = server.connect(&connect).await;
    assert!(is_present);
    assert_eq!(both.take().await.text(), "x");
    one.expect_nothing().await;
    assert_eq!(server.stats().deliveries_denied, 0);
    assert_balanced(&server).await;
}
