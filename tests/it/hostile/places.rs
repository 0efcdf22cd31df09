//! Who gets a place: how many there are for one address, one user and one client id, how fast they are given, and how much
//! strangers make us hold.

use super::counted::assert_reached;
use crate::raw::bytes::{Connect, DISCONNECT, field};
use crate::raw::{BOTH, Peer, Server, V5, Version, in_time, until};
use rmqtt::broker::auth::Users;
use rmqtt::broker::places::HELD_FREE;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// Another address of this machine, as Linux has them.
#[cfg(target_os = "linux")]
const ELSEWHERE: [u8; 4] = [127, 0, 0, 9];

#[cfg(target_os = "linux")]
#[tokio::test]
async fn one_address_gets_so_many_places_and_others_do_not_notice() {
    for version in BOTH {
        let server = Server::with(|limits| limits.connections_per_address_max = 3).await;
        let mut witness = server.witness().await;
        let mut greedy = Vec::new();
        for _ in 0..3 {
            greedy.push(server.socket_from(ELSEWHERE, version).await);
        }
        let mut late = server.socket_from(ELSEWHERE, version).await;
        late.try_send(&Connect::new(version, "late").bytes()).await;
        late.expect_refused().await;
        witness.goes_on().await;
        assert_reached(&server, &[("connections_per_address_max", 1)]);
        greedy.into_iter().for_each(Peer::abort);
        in_time("a place", async {
            loop {
                let mut peer = server.socket_from(ELSEWHERE, version).await;
                peer.try_send(&Connect::new(version, "late").bytes()).await;
                if peer.next().await.is_some() {
                    break;
                }
            }
        })
        .await;
        witness.goes_on().await;
    }
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn an_address_that_connects_too_fast_is_turned_away_and_no_other() {
    let server = Server::with(|limits| limits.connect_rate_per_address_max = 1).await;
    let mut refused = 0;
    for _ in 0..20 {
        let mut peer = server.socket_from(ELSEWHERE, V5).await;
        peer.try_send(&Connect::new(V5, "storm").bytes()).await;
        refused += u64::from(peer.next().await.is_none());
    }
    assert!(
        (5..=10).contains(&refused),
        "{refused} of 20 beyond ten seconds' worth"
    );
    server.witness().await.goes_on().await;
    assert_reached(&server, &[("connect_rate_per_address_max", refused)]);
}

/// They wait where the operating system keeps them, and all of them come in.
#[tokio::test]
async fn connections_that_come_too_fast_wait_at_the_door() {
    let server = Server::with(|limits| limits.connect_rate_max = 20).await;
    let begin = Instant::now();
    let mut peers = Vec::new();
    for number in 0..30 {
        let mut peer = server.socket(V5).await;
        peer.send(&Connect::new(V5, format!("c{number}")).bytes())
            .await;
        peers.push(peer);
    }
    for peer in &mut peers {
        peer.expect_accepted().await;
    }
    // A second's worth is free, and the other ten take half a second.
    assert!(
        begin.elapsed() >= Duration::from_millis(450),
        "{:?}",
        begin.elapsed()
    );
    assert!(server.stats().limits_reached["connect_rate_max"] > 0);
}

/// Where too many come, the addresses take turns: one that floods does not take what is another's.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn an_address_that_floods_the_door_does_not_keep_others_waiting() {
    let server = Server::with(|limits| limits.connect_rate_max = 5).await;
    let mut flood = Vec::new();
    for number in 0..60 {
        let mut peer = server.socket_from(ELSEWHERE, V5).await;
        peer.try_send(&Connect::new(V5, format!("f{number}")).bytes())
            .await;
        flood.push(peer);
    }
    // Five come in at once, 25 wait, and the rest has been sent away.
    until("the flood to be here", server.broker(), |broker| {
        broker.stats().connects_refused >= 25
    })
    .await;
    let mut honest = server.socket(V5).await;
    honest.send(&Connect::new(V5, "honest").bytes()).await;
    honest.expect_accepted().await;
    let accepted = server.stats().connects_accepted;
    assert!(accepted < 20, "{accepted} came before");
    let stats = server.stats();
    assert!(stats.limits_reached["connect_rate_max"] >= 50, "{stats:?}");
}

async fn greedy_user(server: &Server, version: Version, client_id: &str, password: &str) -> Peer {
    let mut connect = Connect::new(version, client_id);
    connect.flags |= 0xC0;
    let connect = connect.more(&field("greedy")).more(&field(password));
    let mut peer = server.socket(version).await;
    peer.send(&connect.bytes()).await;
    peer
}

/// A connection that takes the place of another under the same client id is none more; and a wrong password counts for
/// nobody.
#[tokio::test]
async fn one_user_gets_so_many_connections() {
    for version in BOTH {
        let users = Users::new([("greedy".to_owned(), "secret".to_owned())]).expect("plain names");
        let server = Server::with_options(|options| {
            options.auth = Some(Arc::new(users.into()));
            options.limits.connections_per_user_max = 2;
        })
        .await;
        let (mut one, mut two) = (
            greedy_user(&server, version, "one", "secret").await,
            greedy_user(&server, version, "two", "secret").await,
        );
        one.expect_accepted().await;
        two.expect_accepted().await;
        let mut wrong = greedy_user(&server, version, "three", "wrong").await;
        wrong.expect_connack(version.pick(4, 0x86)).await;
        let mut third = greedy_user(&server, version, "three", "secret").await;
        third.expect_connack(version.pick(3, 0x97)).await;
        third.expect_closed().await;
        let mut again = greedy_user(&server, version, "two", "secret").await;
        again.expect_accepted().await;
        two.expect_end(&[0x8E]).await;
        assert_reached(&server, &[("connections_per_user_max", 1)]);
        one.send(&DISCONNECT).await;
        until("it to be gone", server.broker(), |broker| {
            broker.stats().connections == 1
        })
        .await;
        let mut third = greedy_user(&server, version, "three", "secret").await;
        third.expect_accepted().await;
    }
}

/// spec(4): MQTT-3.1.4-2
#[tokio::test]
async fn a_client_id_that_comes_back_too_often_is_refused_and_no_other() {
    for version in BOTH {
        let server = Server::with(|limits| limits.connect_rate_per_client_id_max = 1).await;
        let mut witness = server.witness().await;
        let mut refused = 0;
        for _ in 0..20 {
            let mut peer = server.socket(version).await;
            peer.send(&Connect::new(version, "storm").bytes()).await;
            let packet = peer.expect_packet().await;
            if packet[3] != 0 {
                assert_eq!(packet[3], version.pick(3, 0x9F));
                refused += 1;
            }
            peer.abort();
        }
        assert!(
            (5..=10).contains(&refused),
            "{refused} of 20 beyond ten seconds' worth"
        );
        server.client(version, "another").await.ping().await;
        witness.goes_on().await;
        assert_reached(&server, &[("connect_rate_per_client_id_max", refused)]);
    }
}

/// A client id that others know does not let them use up what is its owner's.
#[tokio::test]
async fn a_guessed_client_id_does_not_keep_its_owner_out() {
    for version in BOTH {
        let names = ["greedy", "owner"].map(|name| (name.to_owned(), "secret".to_owned()));
        let users = Users::new(names).expect("plain names");
        let server = Server::with_options(|options| {
            options.auth = Some(Arc::new(users.into()));
            options.limits.connect_rate_per_client_id_max = 1;
        })
        .await;
        let mut connect = Connect::new(version, "plant").resume();
        connect.flags |= 0xC0;
        let connect = connect.more(&field("owner")).more(&field("secret"));
        server.connect(&connect).await.0.disconnect().await;
        for _ in 0..15 {
            let mut peer = greedy_user(&server, version, "plant", "secret").await;
            peer.expect_connack(version.pick(5, 0x87)).await;
        }
        until("it to be gone", server.broker(), |broker| {
            broker.stats().connections == 0
        })
        .await;
        let (_, is_present) = server.connect(&connect).await;
        assert!(is_present, "{version:?}");
        assert_reached(&server, &[]);
    }
}

/// Strangers hold no more than all may, and whoever sends a CONNECT of common size does not notice.
#[tokio::test]
async fn strangers_with_half_a_connect_hold_so_many_bytes_together() {
    let server = Server::with(|limits| limits.unaccepted_bytes_max = 100_000).await;
    let mut witness = server.witness().await;
    let connect = Connect::new(V5, "x".repeat(60_000)).bytes();
    let mut strangers = Vec::new();
    for _ in 0..20 {
        let mut stranger = server.socket(V5).await;
        stranger.try_send(&connect[..30_000]).await;
        strangers.push(stranger);
    }
    until("most to be turned away", server.broker(), |broker| {
        broker.stats().limits_reached["unaccepted_bytes_max"] >= 17
    })
    .await;
    let small = Connect::new(V5, "small").properties(&[]).bytes();
    assert!(small.len() < HELD_FREE);
    server.client(V5, "small").await.ping().await;
    witness.goes_on().await;
    strangers.into_iter().for_each(Peer::abort);
    in_time("room for a large one", async {
        loop {
            let mut peer = server.socket(V5).await;
            peer.try_send(&connect[..]).await;
            if peer.next().await.is_some() {
                break;
            }
        }
    })
    .await;
    witness.goes_on().await;
}
