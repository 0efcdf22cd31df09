//! Users that were taken from their file, or have another password there, while their clients are connected or away.

use super::file::{CHEAP, SHA512, Temporary, auth, server};
use super::password::connect;
use crate::raw::bytes::{Connect, Publish, Will, field};
use crate::raw::{BOTH, Peer, Server, V5, Version, until};
use rmqtt::broker::auth::{Source, hash_password};
use std::sync::Arc;

/// *Administrative action*.
const SENT_AWAY: [u8; 1] = [0x98];

fn lines(names: &[&str]) -> String {
    names
        .iter()
        .map(|name| [name, ":", CHEAP, "\n"].concat())
        .collect()
}

/// A broker whose users lie in a file.
async fn with_file(content: &str) -> (Server, Temporary) {
    let file = Temporary::new(content.as_bytes());
    let passwords = Arc::new(file.open().expect("users"));
    let server = server(&auth(vec![Source::Passwords(passwords)])).await;
    (server, file)
}

fn login(version: Version, client_id: &str, user: &str) -> Connect {
    connect(version, client_id, user, Some("secret"))
}

fn reload(server: &Server, file: &Temporary, content: &str) {
    file.write(content.as_bytes());
    server.broker().reload(None).expect("users");
}

async fn publish(server: &Server, user: &str, topic: &str) -> Peer {
    let (mut peer, _) = server.connect(&login(V5, user, user)).await;
    peer.publish(1, Publish::new(topic, "x")).await;
    peer
}

#[tokio::test]
async fn a_user_that_is_gone_is_sent_away_and_others_do_not_notice() {
    for version in BOTH {
        let (server, file) = with_file(&lines(&["alice", "bob"])).await;
        let (mut alice, _) = server.connect(&login(version, "a", "alice")).await;
        let (mut bob, _) = server.connect(&login(version, "b", "bob")).await;
        reload(&server, &file, &lines(&["alice", "bob", "carol"]));
        alice.ping().await;
        assert_eq!(server.stats().logins_revoked, 0);
        reload(&server, &file, &lines(&["bob"]));
        alice.expect_end(&SENT_AWAY).await;
        bob.ping().await;
        assert_eq!(server.stats().logins_revoked, 1);
    }
}

#[tokio::test]
async fn who_has_another_password_is_sent_away_and_finds_its_session_again() {
    let (server, file) = with_file(&lines(&["alice", "bob"])).await;
    let resume = login(V5, "a", "alice").resume();
    let (mut alice, _) = server.connect(&resume).await;
    alice.subscribe(&[("t", 1)]).await;
    reload(&server, &file, &format!("alice:{SHA512}\nbob:{CHEAP}\n"));
    alice.expect_end(&SENT_AWAY).await;
    publish(&server, "bob", "t").await;
    let (mut alice, is_present) = server.connect(&resume).await;
    assert!(is_present);
    assert_eq!(alice.take().await.text(), "x");
    assert_eq!(server.stats().logins_revoked, 1);
}

/// Who is given the name again may be somebody else.
#[tokio::test]
async fn the_session_of_a_user_that_is_gone_ends_with_what_waits_in_it() {
    for is_connected in [true, false] {
        let (server, file) = with_file(&lines(&["alice", "bob"])).await;
        let resume = login(V5, "a", "alice").resume();
        let (mut alice, _) = server.connect(&resume).await;
        alice.subscribe(&[("t", 1)]).await;
        if is_connected {
            reload(&server, &file, &lines(&["bob"]));
            alice.expect_end(&SENT_AWAY).await;
        } else {
            alice.disconnect().await;
            let bob = publish(&server, "bob", "t").await;
            assert_eq!(server.stats().queued_messages, 1);
            reload(&server, &file, &lines(&["bob"]));
            bob.disconnect().await;
        }
        until("all have ended", server.broker(), |broker| {
            let stats = broker.stats();
            (stats.sessions, stats.subscriptions, stats.queued_messages) == (0, 0, 0)
        })
        .await;
        reload(&server, &file, &lines(&["alice", "bob"]));
        let (_, is_present) = server.connect(&resume).await;
        assert!(!is_present, "connected: {is_connected}");
    }
}

#[tokio::test]
async fn the_client_id_of_a_user_that_is_gone_is_free() {
    let (server, file) = with_file(&lines(&["alice", "bob"])).await;
    let (alice, _) = server.connect(&login(V5, "pump", "alice").resume()).await;
    alice.disconnect().await;
    reload(&server, &file, &lines(&["bob"]));
    let (_, is_present) = server.connect(&login(V5, "pump", "bob").resume()).await;
    assert!(!is_present);
}

#[tokio::test]
async fn a_file_that_is_void_sends_nobody_away() {
    let (server, file) = with_file(&lines(&["alice"])).await;
    let (mut alice, _) = server.connect(&login(V5, "a", "alice")).await;
    file.write(b"bob\n");
    assert!(server.broker().reload(None).is_err());
    alice.ping().await;
    assert_eq!(server.stats().logins_revoked, 0);
}

#[tokio::test]
async fn others_are_told_by_its_will_that_it_is_gone() {
    let (server, file) = with_file(&lines(&["alice", "bob"])).await;
    let (mut bob, _) = server.connect(&login(V5, "b", "bob")).await;
    bob.subscribe(&[("will", 0)]).await;
    let will = Connect::new(V5, "a")
        .flags(0xC2)
        .will(&Will::new("will", "gone"));
    let will = will.more(&[field("alice"), field("secret")].concat());
    let (mut alice, _) = server.connect(&will).await;
    reload(&server, &file, &lines(&["bob"]));
    alice.expect_end(&SENT_AWAY).await;
    assert_eq!(bob.take().await.text(), "gone");
}

#[tokio::test]
async fn who_was_being_let_in_meanwhile_does_not_stay() {
    let slow = hash_password(b"secret").expect("hashed");
    let (server, file) = with_file(&format!("alice:{slow}\n")).await;
    let mut alice = server.socket(V5).await;
    alice.send(&login(V5, "a", "alice").resume().bytes()).await;
    until("it is checked", server.broker(), |broker| {
        broker.stats().passwords_hashed == 1
    })
    .await;
    reload(&server, &file, &lines(&["bob"]));
    alice.expect_accepted().await;
    alice.expect_end(&SENT_AWAY).await;
    until("its session ends", server.broker(), |broker| {
        broker.stats().sessions == 0
    })
    .await;
    assert_eq!(server.stats().logins_revoked, 1);
}

#[tokio::test]
async fn a_state_from_before_brings_no_session_of_a_user_that_is_gone_back() {
    let (server, file) = with_file(&lines(&["alice", "bob"])).await;
    for user in ["alice", "bob"] {
        let (peer, _) = server.connect(&login(V5, user, user).resume()).await;
        peer.disconnect().await;
    }
    until("they are gone", server.broker(), |broker| {
        broker.stats().connections == 0
    })
    .await;
    let before = server.broker().snapshot().await;
    reload(&server, &file, &lines(&["bob"]));
    server.broker().restore(&before).await;
    let sessions = server.broker().sessions();
    assert_eq!(sessions.len(), 1);
    assert_eq!(sessions[0].client_id, "bob");
}
