//! Clients that take too much: memory for what never comes, ids, sessions, retained messages; and clients that come and
//! go without end.

use crate::raw::bytes::{Connect, DISCONNECT, PINGREQ, PINGRESP, Publish, ack, subscribe};
use crate::raw::{BOTH, Peer, Server, V4, V5, in_time, until};
use rmqtt::codec::PACKET_SIZE_MAX;

/// What this process has for its own use and may write to, in bytes. Unlike the resident size it also counts what was
/// set aside and never touched.
#[cfg(target_os = "linux")]
fn memory_bytes() -> usize {
    let statm = std::fs::read_to_string("/proc/self/statm").expect("this is Linux");
    let pages: Option<usize> = statm.split(' ').nth(5).and_then(|data| data.parse().ok());
    pages.expect("the sixth field is data and stack") * 4096
}

/// Two hundred announcements of 256 MB each would be 51 GB.
#[cfg(target_os = "linux")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn announcing_256_megabytes_costs_nothing() {
    for version in BOTH {
        let server = Server::with(|limits| {
            limits.packet_size_max = PACKET_SIZE_MAX;
            limits.control_packet_size_max = PACKET_SIZE_MAX;
        })
        .await;
        let mut witness = server.witness().await;
        let before = memory_bytes();
        let mut peers = Vec::new();
        for number in 0..100 {
            let mut stranger = server.socket(version).await;
            stranger.send(&[0x10, 0xFF, 0xFF, 0xFF, 0x7F]).await;
            peers.push(stranger);
            let mut client = server.client(version, &format!("c{number}")).await;
            client
                .send(&[0x30, 0xFF, 0xFF, 0xFF, 0x7F, 0, 1, b't'])
                .await;
            peers.push(client);
        }
        witness.goes_on().await;
        let grown = memory_bytes().saturating_sub(before);
        assert!(grown < 256 << 20, "{grown} bytes for nothing");
        assert_eq!(server.stats().connections, 102, "all wait for the rest");
        for mut peer in peers {
            assert!(peer.try_send(b"x").await, "all wait for the rest");
        }
    }
}

/// spec(5): MQTT-4.13.1-1
/// spec(5, server): RMQTT-3.3.4-2
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn more_unanswered_messages_than_announced_end_the_connection() {
    let server = Server::with(|limits| limits.receive_maximum = 10).await;
    let mut bytes = Vec::new();
    for id in 1..=10 {
        bytes.extend(Publish::new("t", "x").qos(2, id).bytes(V5));
    }
    let mut witness = server.witness().await;
    let mut peer = server.socket(V5).await;
    peer.send(&Connect::new(V5, "greedy").bytes()).await;
    let (_, properties) = peer.expect_connack(0).await;
    let told = properties.windows(3).any(|part| part == [0x21, 0, 10]);
    assert!(told, "{properties:02x?}");
    peer.send(&bytes).await;
    for id in 1..=10 {
        peer.expect_ack(0x50, id).await;
    }
    // A repetition is not one more.
    peer.send(&Publish::new("t", "x").qos(2, 10).dup().bytes(V5))
        .await;
    peer.expect_ack(0x50, 10).await;
    peer.send(&ack(0x62, 1)).await;
    peer.expect_ack(0x70, 1).await;
    peer.send(&Publish::new("t", "x").qos(2, 11).bytes(V5))
        .await;
    peer.expect_ack(0x50, 11).await;
    witness.goes_on().await;
    peer.send(&Publish::new("t", "x").qos(2, 12).bytes(V5))
        .await;
    peer.expect_end(&[0x93]).await;
    witness.goes_on().await;
}

/// spec(4, server): MQTT-4.3.3-2
/// spec(5, server): MQTT-4.3.3-10
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_packet_id_repeated_without_end_is_one_message() {
    for version in BOTH {
        let server = Server::start().await;
        let mut watcher = server.client(version, "watcher").await;
        watcher.subscribe(&[("t", 2)]).await;
        let mut peer = server.client(version, "again").await;
        peer.send(&Publish::new("t", "x").qos(2, 1).bytes(version))
            .await;
        peer.expect_ack(0x50, 1).await;
        let again = Publish::new("t", "x").qos(2, 1).dup().bytes(version);
        for _ in 0..1000 {
            peer.send(&again).await;
            peer.expect_ack(0x50, 1).await;
        }
        assert_eq!(watcher.take().await.text(), "x");
        watcher.expect_nothing().await;
        peer.send(&ack(0x62, 1)).await;
        peer.expect_ack(0x70, 1).await;
        watcher.expect_nothing().await;
    }
}

/// 3.1.1 has no Receive Maximum: where the limit is lifted, as many as there are ids, and no more.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_ids_of_qos_2_may_be_left_open() {
    let server = Server::with(|limits| limits.unreleased_max = 65_535).await;
    let mut witness = server.witness().await;
    let mut peer = server.client(V4, "open").await;
    for start in (1..=65_535_u16).step_by(1000) {
        let mut bytes = Vec::new();
        let ids = start..=start.saturating_add(999);
        for id in ids.clone() {
            bytes.extend(Publish::new("t", "x").qos(2, id).bytes(V4));
        }
        peer.send(&bytes).await;
        for id in ids {
            peer.expect(&ack(0x50, id)).await;
        }
        witness.goes_on().await;
    }
    for id in [1, 2, 65_535] {
        peer.send(&ack(0x62, id)).await;
        peer.expect(&ack(0x70, id)).await;
    }
    witness.goes_on().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_that_come_and_go_leave_nothing_behind() {
    for version in BOTH {
        let server = Server::start().await;
        for number in 0..300 {
            let id = format!("c{number}");
            let mut connect = Connect::new(version, &id);
            if number % 3 == 0 {
                connect = connect.resume();
            }
            let (mut peer, _) = server.connect(&connect).await;
            peer.subscribe(&[("c/#", 1), (&id, 2)]).await;
            let publish = Publish::new("c/x", "x").qos(1, 99);
            peer.send(&publish.bytes(version)).await;
            if number % 2 == 0 {
                peer.abort();
            } else {
                peer.drain().await;
                peer.send(&DISCONNECT).await;
                while peer.next().await.is_some() {}
            }
            // Clean once more, so that nothing is kept of those that were to be.
            server.client(version, &id).await.disconnect().await;
        }
        until("all to be gone", server.broker(), |broker| {
            broker.stats().connections == 0
        })
        .await;
        let stats = server.stats();
        let left = [stats.sessions, stats.subscriptions, stats.queued_messages];
        assert_eq!(left, [0; 3]);
        assert!(server.broker().sessions().is_empty());
    }
}

/// spec(4): MQTT-3.1.4-2
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_id_that_reconnects_in_a_tight_loop_harms_nobody() {
    for version in BOTH {
        let server = Server::start().await;
        let mut witness = server.witness().await;
        let connect = Connect::new(version, "loop").resume();
        let mut last: Option<Peer> = None;
        for number in 0..200_u16 {
            let mut peer = server.socket(version).await;
            // All in one, and nothing of it awaited.
            let bytes = [
                connect.bytes(),
                subscribe(version, 1, &[("loop/+", 2)]),
                Publish::new("loop/t", "x").qos(1, 2).bytes(version),
                Publish::new("loop/t", "x").qos(2, 3).bytes(version),
            ]
            .concat();
            peer.try_send(&bytes).await;
            if number % 3 == 0 {
                peer.abort();
            } else {
                last = Some(peer);
            }
            if number % 20 == 0 {
                witness.goes_on().await;
            }
        }
        drop(last);
        // One of those before may come to be served after this one, and throw it out: then once more.
        in_time("the last one", async {
            loop {
                let mut peer = server.socket(version).await;
                let bytes = [connect.bytes(), PINGREQ.to_vec()].concat();
                peer.try_send(&bytes).await;
                while let Some(packet) = peer.next().await {
                    if packet == PINGRESP {
                        return peer;
                    }
                }
            }
        })
        .await;
        witness.goes_on().await;
        until("all but the witnesses to go", server.broker(), |broker| {
            broker.stats().connections == 2
        })
        .await;
        let (_peer, is_present) = server.connect(&connect).await;
        assert!(is_present);
        assert_eq!(server.stats().sessions, 3);
    }
}

/// 3.1.1 cannot say no, so it closes.
/// spec(4, server): MQTT-4.8.0-2
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn retained_messages_beyond_the_limit_are_refused_and_clearing_makes_room() {
    for version in BOTH {
        let server = Server::with(|limits| limits.retained_messages_max = 100).await;
        let mut witness = server.witness().await;
        let mut peer = server.client(version, "hoarder").await;
        for number in 0..100 {
            let publish = Publish::new(format!("keep/{number}"), "x").retain();
            peer.publish(1, publish).await;
        }
        let beyond = Publish::new("keep/100", "x").retain();
        for id in 1001..1010 {
            peer.send(&beyond.clone().qos(1, id).bytes(version)).await;
            if version == V5 {
                assert_eq!(peer.expect_ack_code(0x40, id).await, 0x97);
            } else {
                peer.expect_closed().await;
                peer = server.client(version, "hoarder").await;
            }
        }
        assert_eq!(server.stats().retained_messages, 100);
        // What is there may change all the same.
        peer.publish(1, Publish::new("keep/7", "y").retain()).await;
        for number in 0..100 {
            let publish = Publish::new(format!("keep/{number}"), "").retain();
            peer.publish(1, publish).await;
        }
        let stats = server.stats();
        assert_eq!((stats.retained_messages, stats.retained_bytes), (0, 0));
        peer.publish(1, beyond).await;
        assert_eq!(server.stats().retained_messages, 1);
        witness.goes_on().await;
    }
}

/// All of it comes to who asks for all of it, and others do not wait meanwhile.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wildcard_over_many_retained_messages_does_not_stall_others() {
    let server = Server::start().await;
    let mut witness = server.witness().await;
    let mut peer = server.client(V5, "retainer").await;
    for number in 0..5000 {
        let publish = Publish::new(format!("keep/{}/{number}", number % 50), "x").retain();
        peer.send(&publish.bytes(V5)).await;
    }
    peer.ping().await;
    let mut all = server.client(V5, "all").await;
    all.send(&subscribe(V5, 1, &[("keep/#", 1)])).await;
    witness.goes_on().await;
    all.expect_codes(0x90, 1).await;
    let mut topics = std::collections::BTreeSet::new();
    while topics.len() < 5000 {
        topics.insert(all.take().await.topic);
    }
    witness.goes_on().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sessions_beyond_the_limit_are_refused() {
    for version in BOTH {
        let server = Server::with(|limits| limits.sessions_max = 5).await;
        let mut witness = server.witness().await;
        for number in 0..3 {
            let connect = Connect::new(version, format!("s{number}")).resume();
            server.connect(&connect).await.0.disconnect().await;
        }
        let mut peer = server.socket(version).await;
        peer.send(&Connect::new(version, "s3").resume().bytes())
            .await;
        let packet = peer.expect_packet().await;
        assert_eq!(packet[0], 0x20);
        assert_eq!(packet[2], 0x00);
        assert_ne!(packet[3], 0x00);
        peer.expect_closed().await;
        let known = Connect::new(version, "s1").resume();
        assert!(server.connect(&known).await.1, "who has one may come back");
        witness.goes_on().await;
    }
}

/// Ids that say what they are not: none of them reaches another's session.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn client_ids_that_look_alike_are_different_clients() {
    let server = Server::start().await;
    let ids = [
        "a", "A", "a ", " a", "a\u{300}", "\u{e1}", "a\u{301}", "a/#", "+", "#", "$a",
    ];
    let mut peers = Vec::new();
    for id in ids {
        peers.push(server.client(V5, id).await);
    }
    for peer in &mut peers {
        peer.expect_nothing().await;
    }
    assert_eq!(server.stats().connections, ids.len());
}
