//! Clients that talk faster than they may are read more slowly: nothing is lost, and others do not notice.

use super::counted::assert_reached;
use crate::raw::bytes::{Connect, DISCONNECT, PINGREQ, PINGRESP, Publish, ack, subscribe};
use crate::raw::{BOTH, Server, V4, V5};
use std::time::Duration;
use tokio::time::Instant;

#[tokio::test]
async fn messages_beyond_the_rate_wait_in_the_socket_and_none_is_lost() {
    for version in BOTH {
        let server = Server::with(|limits| limits.message_rate_max = 50).await;
        let mut witness = server.witness().await;
        let mut reader = server.client(V5, "reader").await;
        reader.subscribe(&[("flood", 0)]).await;
        let mut peer = server.client(version, "flood").await;
        let begin = Instant::now();
        let mut bytes = Vec::new();
        for number in 0..100_u8 {
            bytes.extend(Publish::new("flood", [number]).bytes(version));
        }
        peer.send(&[&bytes[..], &PINGREQ].concat()).await;
        witness.goes_on().await;
        for number in 0..100 {
            assert_eq!(reader.take().await.payload, [number]);
        }
        peer.expect(&PINGRESP).await;
        // A second's worth at once, the other half after another second.
        assert!(
            begin.elapsed() >= Duration::from_millis(950),
            "{:?}",
            begin.elapsed()
        );
        assert!(server.stats().limits_reached["message_rate_max"] > 0);
    }
}

#[tokio::test]
async fn bytes_beyond_the_rate_wait_in_the_socket_and_none_is_lost() {
    for version in BOTH {
        let server = Server::with(|limits| limits.byte_rate_max = 20_000).await;
        let mut witness = server.witness().await;
        let mut peer = server.client(version, "flood").await;
        let begin = Instant::now();
        peer.publish(1, Publish::new("flood", "x".repeat(40_000)))
            .await;
        assert!(
            begin.elapsed() >= Duration::from_millis(950),
            "{:?}",
            begin.elapsed()
        );
        witness.goes_on().await;
        assert!(server.stats().limits_reached["byte_rate_max"] > 0);
    }
}

/// One message to many is as much work as many messages to one.
#[tokio::test]
async fn deliveries_beyond_the_rate_wait_in_the_socket_and_none_is_lost() {
    for qos in [0, 1] {
        let server = Server::with(|limits| limits.delivery_rate_max = 100).await;
        let mut witness = server.witness().await;
        let mut readers = Vec::new();
        for number in 0..10 {
            let mut reader = server.client(V5, &format!("r{number}")).await;
            reader.subscribe(&[("flood", qos)]).await;
            readers.push(reader);
        }
        let mut peer = server.client(V4, "flood").await;
        let begin = Instant::now();
        let mut bytes = Vec::new();
        for number in 0..20 {
            let publish = Publish::new("flood", [number]);
            bytes.extend(publish.qos(qos, u16::from(number) + 1).bytes(V4));
        }
        peer.send(&bytes).await;
        witness.goes_on().await;
        for reader in &mut readers {
            for number in 0..20 {
                assert_eq!(reader.take().await.payload, [number]);
            }
        }
        let elapsed = begin.elapsed();
        assert!(elapsed >= Duration::from_millis(900), "{elapsed:?}");
        assert!(server.stats().limits_reached["delivery_rate_max"] > 0);
    }
}

/// What a client says while it is not read does not count as silence, its last words are heard, and its end too.
#[tokio::test]
async fn whoever_is_held_back_loses_neither_its_keep_alive_nor_its_last_words() {
    let server = Server::with(|limits| limits.message_rate_max = 4).await;
    let mut reader = server.client(V5, "reader").await;
    reader.subscribe(&[("flood", 0)]).await;
    let (mut peer, _) = server
        .connect(&Connect::new(V4, "flood").keep_alive(1))
        .await;
    let mut bytes = Publish::new("flood", "x").bytes(V4).repeat(14);
    bytes.extend(DISCONNECT);
    peer.send(&bytes).await;
    for _ in 0..14 {
        reader.take().await;
    }
    peer.expect_closed().await;
    assert_eq!(server.stats().connections_violated, 0);
}

#[tokio::test]
async fn who_keeps_to_the_rate_is_not_held_back() {
    let server = Server::with(|limits| {
        limits.message_rate_max = 1000;
        limits.byte_rate_max = 100_000;
    })
    .await;
    let mut peer = server.client(V5, "quiet").await;
    for _ in 0..100 {
        peer.publish(1, Publish::new("t", "x")).await;
    }
    assert_reached(&server, &[]);
}

/// 3.1.1 knows no Receive Maximum; and a session that comes back again and again adds up what it has left open.
#[tokio::test]
async fn messages_of_qos_2_that_are_never_released_are_bounded() {
    for version in BOTH {
        let server = Server::with(|limits| {
            limits.unreleased_max = 30;
            limits.receive_maximum = 20;
        })
        .await;
        let mut witness = server.witness().await;
        let connect = Connect::new(version, "open").resume();
        let (mut peer, _) = server.connect(&connect).await;
        for id in 1..=20 {
            peer.send(&Publish::new("t", "x").qos(2, id).bytes(version))
                .await;
            peer.expect_ack(0x50, id).await;
        }
        peer.abort();
        let (mut peer, _) = server.connect(&connect).await;
        for id in 21..=30 {
            peer.send(&Publish::new("t", "x").qos(2, id).bytes(version))
                .await;
            peer.expect_ack(0x50, id).await;
        }
        peer.send(&ack(0x62, 1)).await;
        peer.expect_ack(0x70, 1).await;
        peer.send(&Publish::new("t", "x").qos(2, 31).bytes(version))
            .await;
        peer.expect_ack(0x50, 31).await;
        witness.goes_on().await;
        peer.send(&Publish::new("t", "x").qos(2, 32).bytes(version))
            .await;
        peer.expect_end(&[0x97]).await;
        witness.goes_on().await;
        assert_reached(&server, &[("unreleased_max", 1)]);
    }
}

#[tokio::test]
async fn groups_of_all_sessions_together_are_bounded() {
    let server = Server::with(|limits| limits.groups_max = 2).await;
    let mut one = server.client(V5, "one").await;
    let mut two = server.client(V5, "two").await;
    assert_eq!(
        one.subscribe(&[("$share/g/a", 1), ("$share/h/a", 1)]).await,
        [1, 1]
    );
    assert_eq!(
        two.subscribe(&[("$share/g/a", 1), ("$share/i/a", 1)]).await,
        [1, 0x97]
    );
    one.disconnect().await;
    loop {
        two.send(&subscribe(V5, 77, &[("$share/i/a", 1)])).await;
        let answer = two.expect_packet().await;
        if answer.last() == Some(&1) {
            break;
        }
    }
    assert!(server.stats().limits_reached["groups_max"] > 0);
}
