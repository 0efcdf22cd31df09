//! Keep alive: how long a client may be silent.

use crate::raw::bytes::{Connect, PINGREQ, PINGRESP, Publish, Will};
use crate::raw::{BOTH, Server};
use std::time::Duration;
use tokio::time::Instant;

/// spec(4): MQTT-3.12.4-1
/// spec(5): MQTT-3.12.4-1
#[tokio::test]
async fn every_ping_is_answered() {
    for version in BOTH {
        let server = Server::start().await;
        let mut peer = server.client(version, "peer").await;
        peer.send(&PINGREQ.repeat(5)).await;
        peer.expect(&PINGRESP.repeat(5)).await;
        peer.ping().await;
    }
}

/// spec(4): MQTT-3.1.2-24
/// spec(5): MQTT-3.1.2-22, MQTT-3.2.2-22
#[tokio::test]
async fn a_silent_client_is_cut_off_after_one_and_a_half_times_its_keep_alive() {
    for version in BOTH {
        let server = Server::start().await;
        let mut watcher = server.client(version, "watcher").await;
        watcher.subscribe(&[("gone", 0)]).await;
        let connect = Connect::new(version, "silent")
            .keep_alive(1)
            .will(&Will::new("gone", "x"));
        let (mut peer, _) = server.connect(&connect).await;
        let begin = Instant::now();
        peer.expect_end(&[0x8D]).await;
        let elapsed = begin.elapsed();
        assert!(elapsed >= Duration::from_millis(1450), "{elapsed:?}");
        assert!(elapsed < Duration::from_secs(6), "{elapsed:?}");
        assert_eq!(watcher.take().await.topic, "gone");
    }
}

/// spec(4): MQTT-3.1.2-24
/// spec(5): MQTT-3.1.2-22
#[tokio::test]
async fn any_packet_counts_and_a_keep_alive_of_0_watches_nobody() {
    let server = Server::start().await;
    let mut unwatched = Vec::new();
    let mut busy = Vec::new();
    for version in BOTH {
        let connect = Connect::new(version, format!("unwatched {version:?}"));
        unwatched.push(server.connect(&connect).await.0);
        let connect = Connect::new(version, format!("busy {version:?}")).keep_alive(1);
        busy.push(server.connect(&connect).await.0);
    }
    let begin = Instant::now();
    while begin.elapsed() < Duration::from_millis(2500) {
        for peer in &mut busy {
            peer.publish(1, Publish::new("t", "x")).await;
        }
    }
    for peer in &mut unwatched {
        peer.ping().await;
    }
}
