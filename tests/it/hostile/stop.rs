//! Peers that will not go: nobody holds up a stop, nor the place of who comes after.

use crate::raw::bytes::{Connect, Publish};
use crate::raw::{BOTH, Peer, Server, V5, Version, in_time};
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::time::Instant;

/// A client that is sent more than the kernel takes, and reads none of it.
async fn deaf(server: &Server, version: Version, client_id: &str) -> Peer {
    let connect = Connect::new(version, client_id).resume();
    let (mut peer, _) = server.connect(&connect).await;
    peer.subscribe(&[("flood", 1)]).await;
    let mut publisher = server.client(version, "flooder").await;
    let payload = vec![b'x'; 512 << 10];
    let id = 1;
    // Until the queue does not empty any more, since nothing can be written.
    while server.stats().queued_messages < 3 {
        let publish = Publish::new("flood", &payload).qos(1, id);
        publisher.send(&publish.bytes(version)).await;
        publisher.expect_ack(0x40, id).await;
    }
    publisher.disconnect().await;
    peer
}

/// spec(5, server): MQTT-4.13.2-1
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stop_ends_in_time_whoever_does_not_let_go() {
    for version in BOTH {
        let server = Server::start().await;
        let _deaf = deaf(&server, version, "deaf").await;
        let mut silent = server.socket(version).await;
        let mut half = server.client(version, "half").await;
        half.send(&[0x30, 0xFF, 0xFF, 0x03, 0x00]).await;
        let mut good = server.client(version, "good").await;
        good.ping().await;
        let begin = Instant::now();
        let grace = Duration::from_secs(1);
        in_time("the stop", server.broker().stop(grace)).await;
        let elapsed = begin.elapsed();
        assert!(elapsed < grace + Duration::from_secs(3), "{elapsed:?}");
        good.expect_end(&[0x8B]).await;
        half.expect_end(&[0x8B]).await;
        silent.expect_closed().await;
        assert_eq!(server.stats().connections, 0);
        let again = TcpStream::connect(("127.0.0.1", server.port())).await;
        assert!(again.is_err(), "nobody listens any more");
    }
}

/// spec(4): MQTT-3.1.4-2
/// spec(5): MQTT-3.1.4-3
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_does_not_read_loses_its_place_to_who_comes_after() {
    for version in BOTH {
        let server = Server::start().await;
        let mut witness = server.witness().await;
        let _deaf = deaf(&server, version, "twin").await;
        let begin = Instant::now();
        let (mut new, is_present) = server
            .connect(&Connect::new(version, "twin").resume())
            .await;
        assert!(is_present);
        let elapsed = begin.elapsed();
        assert!(elapsed < Duration::from_secs(5), "{elapsed:?}");
        let first = new.take().await;
        assert_eq!((&*first.topic, first.dup()), ("flood", true));
        witness.goes_on().await;
    }
}

/// spec(5): MQTT-3.14.2-2
/// spec(5, server): MQTT-3.14.4-1, MQTT-3.14.4-2
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_is_sent_away_is_told_once_and_closed() {
    for version in BOTH {
        let server = Server::start().await;
        let mut peer = server.client(version, "peer").await;
        let reason = rmqtt::codec::ReasonCode::AdministrativeAction;
        assert!(server.broker().disconnect("peer", reason));
        if version == V5 {
            peer.expect(&[0xE0, 0x01, 0x98]).await;
        }
        peer.expect_closed().await;
    }
}
