//! Publishing without the right to, by every way there is.

use super::{DENIED, assert_balanced, login, server, try_publish, with_users};
use crate::raw::bytes::{Connect, Publish, Will, ack, field};
use crate::raw::{BOTH, V4, V5, until};

#[tokio::test]
async fn what_is_published_without_the_right_to_reaches_nobody() {
    let server = server(&[]).await;
    let mut boss = server.client(V5, "boss").await;
    boss.subscribe(&[("#", 2)]).await;
    for version in BOTH {
        let mut peer = server.client(version, "peer").await;
        // 3.1.1 has no word for it: the message is acknowledged and dropped.
        let code = try_publish(&mut peer, Publish::new("secret", "1")).await;
        assert_eq!(code, version.pick(0, DENIED));
        let id = peer.fresh_id();
        let publish = Publish::new("secret", "2").qos(2, id).bytes(version);
        peer.send(&publish).await;
        assert_eq!(
            peer.expect_ack_code(0x50, id).await,
            version.pick(0, DENIED)
        );
        if version == V4 {
            peer.send(&ack(0x62, id)).await;
            peer.expect(&ack(0x70, id)).await;
        }
        peer.publish(0, Publish::new("secret", "3")).await;
        peer.publish(1, Publish::new("public/a", "4")).await;
        assert_eq!(boss.take().await.text(), "4");
    }
    boss.expect_nothing().await;
    assert_eq!(server.stats().publishes_denied, 6);
    assert_balanced(&server).await;
}

#[tokio::test]
async fn a_burst_is_denied_like_each_of_its_messages() {
    let server = server(&[]).await;
    let mut boss = server.client(V5, "boss").await;
    boss.subscribe(&[("#", 0)]).await;
    let mut peer = server.client(V4, "peer").await;
    let burst = Publish::new("secret", "x").bytes(V4).repeat(100);
    peer.send(&burst).await;
    peer.ping().await;
    boss.expect_nothing().await;
    assert_eq!(server.stats().publishes_denied, 100);
}

#[tokio::test]
async fn nothing_is_retained_or_forgotten_without_the_right_to() {
    let server = server(&[]).await;
    let mut boss = server.client(V5, "boss").await;
    boss.publish(1, Publish::new("state", "kept").retain())
        .await;
    let mut peer = server.client(V5, "peer").await;
    for payload in ["", "other"] {
        let publish = Publish::new("state", payload).retain();
        assert_eq!(try_publish(&mut peer, publish).await, DENIED);
    }
    let retained = server.broker().retained();
    assert_eq!(retained.len(), 1);
    assert_eq!(&*retained[0].payload, b"kept");
}

/// An alias that was given with a topic that is denied stands for that topic all the same.
#[tokio::test]
async fn an_alias_is_the_topic_that_it_stands_for() {
    let server = server(&[]).await;
    let mut boss = server.client(V5, "boss").await;
    boss.subscribe(&[("#", 0)]).await;
    let mut peer = server.client(V5, "peer").await;
    let alias = [0x23, 0, 1];
    let named = |topic: &str| Publish::new(topic, "x").properties(&alias);
    assert_eq!(try_publish(&mut peer, named("public/a")).await, 0);
    assert_eq!(try_publish(&mut peer, named("")).await, 0);
    assert_eq!(try_publish(&mut peer, named("secret")).await, DENIED);
    assert_eq!(try_publish(&mut peer, named("")).await, DENIED);
    assert_eq!(boss.delivery().await.topic, "public/a");
    assert_eq!(boss.delivery().await.topic, "public/a");
    boss.expect_nothing().await;
}

#[tokio::test]
async fn a_will_without_the_right_to_it_lets_nobody_in() {
    let server = server(&[]).await;
    for version in BOTH {
        let will = Will::new("secret", "x");
        let mut peer = server.socket(version).await;
        peer.send(&Connect::new(version, "peer").will(&will).bytes())
            .await;
        peer.expect_connack(version.pick(5, DENIED)).await;
        peer.expect_closed().await;
    }
    assert_eq!(server.broker().sessions().len(), 0);
    let connect = Connect::new(V5, "peer").will(&Will::new("public/will", "x"));
    server.connect(&connect).await.0.disconnect().await;
}

#[tokio::test]
async fn a_refused_will_does_not_touch_the_session_that_is_there() {
    let server = server(&[]).await;
    let (mut peer, _) = server.connect(&Connect::new(V5, "peer").resume()).await;
    let mut other = server.socket(V5).await;
    let will = Will::new("secret", "x");
    other
        .send(&Connect::new(V5, "peer").will(&will).bytes())
        .await;
    other.expect_connack(DENIED).await;
    peer.ping().await;
}

#[tokio::test]
async fn tricks_of_spelling_lead_nowhere() {
    let server = server(&[]).await;
    let mut peer = server.client(V5, "peer").await;
    for topic in [
        "Public/a",
        "/public/a",
        "public\u{ff0f}a",
        "p\u{fc}blic/a",
        "publi\u{441}/a",
        " public/a",
        "public /a",
        "public/secret/../a/../secret/x",
        "public/secret",
        "public/secret/",
        "public/secret//x",
        "public%2Fa",
        "%70ublic/a",
        "public\\a",
        "public./a",
        "pub\u{200b}lic/a",
        "public\u{2215}a",
        "\u{ff50}ublic/a",
        "$share/g/public/a",
        "$queue/public/a",
        "$own/a",
        "$SYS/broker/a",
        "$SYS",
    ] {
        let code = try_publish(&mut peer, Publish::new(topic, "x")).await;
        assert_eq!(code, DENIED, "{topic:?}");
    }
    for topic in ["public//secret", "public/Secret/x", "public", "public/"] {
        let code = try_publish(&mut peer, Publish::new(topic, "x")).await;
        assert!(code == 0 || code == 0x10, "{topic:?}: {code:#x}");
    }
}

#[tokio::test]
async fn a_topic_with_a_nul_ends_the_connection_before_it_is_looked_up() {
    let server = server(&[]).await;
    let mut peer = server.client(V5, "peer").await;
    peer.send(&Publish::new("public/a\0secret", "x").bytes(V5))
        .await;
    peer.expect_end(&[0x81, 0x82, 0x90]).await;
}

#[tokio::test]
async fn topics_of_the_system_are_published_to_by_nobody() {
    let server = server(&[("god", &["+pr #", "+pr $SYS/#"])]).await;
    let mut peer = server.client(V5, "god").await;
    assert_eq!(
        try_publish(&mut peer, Publish::new("$SYS/a", "x")).await,
        DENIED
    );
}

/// A client chooses its id, but not the user it proves to be.
#[tokio::test]
async fn a_session_of_another_user_is_out_of_reach() {
    let rules: [(&str, &[&str]); 2] = [("alice", &["+pr #"]), ("mallory", &["+pr public/#"])];
    let server = with_users(&rules, &["+pr own/%u/#"]).await;
    let connect = login(V5, "alices-valve", "alice").resume();
    let (mut alice, _) = server.connect(&connect).await;
    alice.subscribe(&[("secret", 1)]).await;
    let mut mallory = server.socket(V5).await;
    mallory
        .send(&login(V5, "alices-valve", "mallory").bytes())
        .await;
    mallory.expect_connack(DENIED).await;
    alice.ping().await;
    let (mut mallory, _) = server.connect(&login(V5, "mallorys", "mallory")).await;
    assert_eq!(
        try_publish(&mut mallory, Publish::new("secret", "x")).await,
        DENIED
    );
    assert_eq!(
        try_publish(&mut mallory, Publish::new("own/alice/a", "x")).await,
        DENIED
    );
    assert_eq!(
        try_publish(&mut mallory, Publish::new("own/mallory/a", "x")).await,
        0x10
    );
    alice.expect_nothing().await;
}

#[tokio::test]
async fn the_name_that_counts_is_the_one_that_was_proven() {
    let server = with_users(&[("alice", &["+pr a"])], &[]).await;
    // The user name of CONNECT is no proof: without its password nobody is let in.
    let mut peer = server.socket(V5).await;
    let connect = Connect::new(V5, "id").flags(0xC2);
    let connect = connect.more(&[field("alice"), field("wrong")].concat());
    peer.send(&connect.bytes()).await;
    peer.expect_refused().await;
}

/// A right to publish that is asked for on behalf of somebody else is asked of who publishes.
#[tokio::test]
async fn who_answers_a_request_needs_the_right_to_publish_the_answer() {
    let server = server(&[]).await;
    let mut boss = server.client(V5, "boss").await;
    boss.subscribe(&[("answers", 1)]).await;
    let mut asked = server.client(V5, "peer").await;
    asked.subscribe(&[("public/questions", 1)]).await;
    let response_topic = [vec![0x08], field("answers")].concat();
    boss.publish(
        1,
        Publish::new("public/questions", "?").properties(&response_topic),
    )
    .await;
    assert_eq!(asked.take().await.text(), "?");
    assert_eq!(
        try_publish(&mut asked, Publish::new("answers", "!")).await,
        DENIED
    );
}

#[tokio::test]
async fn a_denied_client_stays_connected_and_others_notice_nothing() {
    let server = server(&[
        ("witness-publisher", &["+p witness/#"]),
        ("witness-subscriber", &["+r witness/#"]),
    ])
    .await;
    let mut witness = server.witness().await;
    let mut peer = server.client(V5, "peer").await;
    let flood = Publish::new("secret", "x").bytes(V5).repeat(5000);
    peer.send(&flood).await;
    witness.goes_on().await;
    peer.ping().await;
    until("all are counted", server.broker(), |broker| {
        broker.stats().publishes_denied == 5000
    })
    .await;
}
