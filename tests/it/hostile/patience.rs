//! Peers that say nothing, or too little, or too slowly, and how long they are borne with.

use crate::raw::bytes::{Connect, Publish, Will};
use crate::raw::{BOTH, Peer, Server, V5};
use std::time::Duration;
use tokio::time::Instant;

#[tokio::test]
async fn a_socket_that_does_not_finish_its_connect_is_closed_in_time() {
    for version in BOTH {
        let timeout = Duration::from_millis(300);
        let server = Server::with(|limits| limits.connect_timeout = timeout).await;
        let mut witness = server.witness().await;
        let connect = Connect::new(version, "slow").bytes();
        for (name, size) in [
            ("silent", 0),
            ("one byte", 1),
            ("a fixed header", 2),
            ("all but one byte", connect.len() - 1),
        ] {
            let begin = Instant::now();
            let mut peer = server.socket(version).await;
            peer.about(name);
            peer.send(&connect[..size]).await;
            peer.expect_refused().await;
            assert!(begin.elapsed() >= timeout, "{name}: not before its time");
            witness.goes_on().await;
        }
        assert_eq!(server.stats().connections, 2, "only the witnesses");
    }
}

/// A byte now and then is no reason to wait for ever. The witnesses set the pace.
#[tokio::test]
async fn a_connect_that_comes_a_byte_at_a_time_is_closed_in_time() {
    let timeout = Duration::from_millis(300);
    let server = Server::with(|limits| limits.connect_timeout = timeout).await;
    let mut witness = server.witness().await;
    let connect = Connect::new(V5, "x".repeat(60_000)).bytes();
    let begin = Instant::now();
    let mut peer = server.socket(V5).await;
    let mut sent = 0;
    while sent < connect.len() && peer.try_send(&connect[sent..=sent]).await {
        sent += 1;
        witness.goes_on().await;
        if begin.elapsed() > timeout * 4 {
            break;
        }
    }
    assert!(
        sent < connect.len(),
        "the test was too fast to show anything"
    );
    peer.expect_refused().await;
    assert!(begin.elapsed() >= timeout, "not before its time");
    witness.goes_on().await;
}

#[tokio::test]
async fn a_connect_in_many_pieces_is_welcome_if_it_comes_in_time() {
    for version in BOTH {
        let server = Server::start().await;
        let connect = Connect::new(version, "pieces").will(&Will::new("t", "x"));
        let mut peer = server.socket(version).await;
        for byte in connect.bytes() {
            peer.send(&[byte]).await;
        }
        assert!(!peer.expect_accepted().await);
        for byte in Publish::new("t", "x").qos(1, 7).bytes(version) {
            peer.send(&[byte]).await;
        }
        peer.expect_ack(0x40, 7).await;
    }
}

/// Half a packet is no packet: whoever drips bytes is as silent as whoever sends none.
#[tokio::test]
async fn a_client_that_never_finishes_a_packet_is_silent() {
    for version in BOTH {
        let server = Server::start().await;
        let mut witness = server.witness().await;
        let connect = Connect::new(version, "drip").keep_alive(1);
        let (mut peer, _) = server.connect(&connect).await;
        let begin = Instant::now();
        peer.send(&[0x30, 0xFF, 0xFF, 0x03]).await;
        while begin.elapsed() < Duration::from_secs(1) {
            peer.send(b"x").await;
            witness.goes_on().await;
        }
        peer.expect_end(&[0x8D]).await;
        let elapsed = begin.elapsed();
        assert!(elapsed >= Duration::from_millis(1400), "{elapsed:?}");
        assert!(elapsed < Duration::from_secs(8), "{elapsed:?}");
        witness.goes_on().await;
    }
}

/// Sockets held open for nothing are bounded in number, and their places are given to others when they go.
/// spec(4): MQTT-3.2.2-6
/// spec(5): MQTT-3.1.4-2
#[tokio::test]
async fn connections_beyond_the_limit_are_turned_away_and_no_others() {
    for version in BOTH {
        let server = Server::with(|limits| limits.connections_max = 6).await;
        let mut witness = server.witness().await;
        let mut silent = Vec::new();
        for _ in 0..4 {
            silent.push(server.socket(version).await);
        }
        for _ in 0..3 {
            let mut peer = server.socket(version).await;
            peer.try_send(&Connect::new(version, "late").bytes()).await;
            peer.expect_refused().await;
            witness.goes_on().await;
        }
        silent.into_iter().for_each(Peer::abort);
        server.lets_in(version, "late").await;
        witness.goes_on().await;
    }
}

/// The ceiling holds for who asks for more, and for who asks not to be watched at all.
/// spec(5): MQTT-3.1.2-22
/// spec(4): MQTT-3.1.2-24
#[tokio::test]
async fn a_keep_alive_that_is_too_long_is_cut_to_the_ceiling() {
    let server = Server::with(|limits| limits.keep_alive_max = 1).await;
    let mut peers = Vec::new();
    for version in BOTH {
        for asked in [0, 65_535] {
            let mut peer = server.socket(version).await;
            peer.about(&format!("keep alive {asked}"));
            let connect = Connect::new(version, format!("{version:?} {asked}"));
            peer.send(&connect.keep_alive(asked).bytes()).await;
            let (_, properties) = peer.expect_connack(0).await;
            if version == V5 {
                let told = properties.windows(3).any(|part| part == [0x13, 0, 1]);
                assert!(told, "{properties:02x?}");
            }
            peers.push(peer);
        }
    }
    for mut peer in peers {
        peer.expect_end(&[0x8D]).await;
    }
}
