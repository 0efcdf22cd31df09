//! Clients that take too much: memory for what never comes, queues that nobody empties, ids, sessions, retained
//! messages; and clients that come and go without end.

use crate::raw::bytes::{Connect, PINGREQ, PINGRESP, Publish, ack, subscribe};
use crate::raw::{BOTH, Peer, Server, V4, V5, until};
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
#[tokio::test]
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

/// QoS 0 is dropped and counted for who does not read; everybody else has theirs.
#[tokio::test]
async fn a_client_that_never_reads_loses_qos_0_and_costs_nobody_else_anything() {
    for version in BOTH {
        let server = Server::with(|limits| {
            limits.queue_messages_max = 20;
            limits.queue_bytes_max = 1 << 20;
        })
        .await;
        let mut witness = server.witness().await;
        let mut deaf = server.client(version, "deaf").await;
        deaf.subscribe(&[("flood", 0)]).await;
        let mut reader = server.client(version, "reader").await;
        reader.subscribe(&[("flood", 0)]).await;
        let mut publisher = server.client(version, "publisher").await;
        let payload = vec![b'x'; 64 << 10];
        let mut count = 0;
        while server.stats().messages_dropped_qos0 == 0 {
            publisher.publish(0, Publish::new("flood", &payload)).await;
            assert_eq!(reader.take().await.payload.len(), payload.len());
            count += 1;
            assert!(count < 2000, "128 MB for a client that does not read");
        }
        witness.goes_on().await;
        // It can still come to its senses.
        let first = deaf.take().await;
        assert_eq!(first.payload.len(), payload.len());
        publisher.disconnect().await;
        witness.goes_on().await;
    }
}

/// QoS 1 is parked for who does not acknowledge, and nothing is lost or out of order when it does at last.
#[tokio::test]
async fn a_client_that_never_acknowledges_has_its_messages_parked() {
    for version in BOTH {
        let server = Server::with(|limits| limits.in_flight_max = 10).await;
        let mut witness = server.witness().await;
        let mut lazy = server.client(version, "lazy").await;
        lazy.subscribe(&[("park", 1)]).await;
        let mut publisher = server.client(version, "publisher").await;
        for number in 0..200_u32 {
            let publish = Publish::new("park", number.to_be_bytes());
            publisher.publish(1, publish).await;
        }
        let mut window = Vec::new();
        for _ in 0..10 {
            window.push(lazy.delivery().await);
        }
        lazy.expect_nothing().await;
        witness.goes_on().await;
        for delivery in &window {
            lazy.settle(delivery).await;
        }
        let mut payloads: Vec<_> = window.into_iter().map(|d| d.payload).collect();
        while payloads.len() < 200 {
            payloads.push(lazy.take().await.payload);
        }
        let expected: Vec<_> = (0..200_u32).map(|n| n.to_be_bytes().to_vec()).collect();
        assert_eq!(payloads, expected);
        lazy.expect_nothing().await;
    }
}

/// A publisher that is faster than a subscriber waits: it is not answered, then not read, the heap does not grow, and
/// nothing that was promised is lost.
#[tokio::test]
async fn a_publisher_that_is_too_fast_is_held_back() {
    let server = Server::with(|limits| {
        limits.in_flight_max = 5;
        limits.queue_messages_max = 20;
        limits.receive_maximum = 20;
    })
    .await;
    let mut witness = server.witness().await;
    let mut slow = server.client(V4, "slow").await;
    slow.subscribe(&[("fast", 1)]).await;
    // 3.1.1 knows no window, so this one sends all it has.
    let mut publisher = server.client(V4, "publisher").await;
    let mut bytes = Vec::new();
    for id in 1..=300_u16 {
        bytes.extend(Publish::new("fast", id.to_be_bytes()).qos(1, id).bytes(V4));
    }
    publisher.send(&bytes).await;
    witness.goes_on().await;
    let first = slow.delivery().await;
    witness.goes_on().await;
    let queued = server.stats().queued_messages;
    assert!(queued <= 41, "{queued} are queued");
    slow.settle(&first).await;
    for id in 2..=300_u16 {
        assert_eq!(slow.take().await.payload, id.to_be_bytes());
    }
    for id in 1..=300 {
        publisher.expect_ack(0x40, id).await;
    }
    assert_eq!(server.stats().messages_dropped_queue_full, 0);
    witness.goes_on().await;
}

/// A publisher that keeps to its window is read on meanwhile: it is the answers that wait.
#[tokio::test]
async fn a_publisher_into_a_full_queue_is_answered_when_there_is_room() {
    for version in BOTH {
        let server = Server::with(|limits| {
            limits.in_flight_max = 5;
            limits.queue_messages_max = 20;
        })
        .await;
        let mut slow = server.client(version, "slow").await;
        slow.subscribe(&[("fast", 1)]).await;
        let mut publisher = server.client(version, "publisher").await;
        let mut id = 0;
        loop {
            id += 1;
            let publish = Publish::new("fast", [id]).qos(1, id.into());
            publisher.send(&publish.bytes(version)).await;
            publisher.send(&PINGREQ).await;
            if publisher.expect_packet().await == PINGRESP {
                break;
            }
            publisher.expect(&PINGRESP).await;
            assert!(id < 50, "the queue takes 20");
        }
        publisher.expect_nothing().await;
        for expected in 1..=id {
            assert_eq!(slow.take().await.payload, [expected]);
        }
        publisher.expect_ack(0x40, id.into()).await;
    }
}

/// Answers have to be bounded as well: a client that only asks and never reads is not read any further.
#[tokio::test]
async fn a_client_that_never_reads_its_answers_is_not_read_any_further() {
    let server = Server::start().await;
    let mut witness = server.witness().await;
    let mut deaf = server.client(V5, "deaf").await;
    let pings = [0xC0, 0x00].repeat(32 << 10);
    let mut sent = 0;
    let mut refusals = 0;
    // What it cannot send any more, it has not sent: the kernel's buffers are full because nobody reads.
    while refusals < 50 {
        let count = deaf.send_now(&pings);
        sent += count;
        refusals = if count == 0 { refusals + 1 } else { 0 };
        witness.goes_on().await;
        assert!(sent < 64 << 20, "64 MB of requests were read");
    }
    witness.goes_on().await;
}

/// What is kept for an absent client has a bound, and what is beyond it is counted.
#[tokio::test]
async fn an_absent_clients_queue_is_bounded() {
    for version in BOTH {
        let server = Server::with(|limits| limits.queue_messages_max = 10).await;
        let connect = Connect::new(version, "absent").resume();
        let (mut absent, _) = server.connect(&connect).await;
        absent.subscribe(&[("queue", 1)]).await;
        absent.disconnect().await;
        let mut publisher = server.client(version, "publisher").await;
        for number in 0..50_u8 {
            publisher.publish(1, Publish::new("queue", [number])).await;
        }
        let stats = server.stats();
        assert_eq!(stats.messages_dropped_queue_full, 40);
        assert_eq!(stats.queued_messages, 10);
        let (mut absent, is_present) = server.connect(&connect).await;
        assert!(is_present);
        for _ in 0..10 {
            absent.take().await;
        }
        absent.expect_nothing().await;
    }
}

/// spec(5): MQTT-4.13.1-1
#[tokio::test]
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
#[tokio::test]
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

/// spec(4): MQTT-3.1.4-2
#[tokio::test]
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
        let (mut peer, is_present) = server.connect(&connect).await;
        assert!(is_present);
        drop(last);
        peer.drain().await;
        witness.goes_on().await;
        until(
            "one connection beside the witnesses",
            server.broker(),
            |broker| broker.stats().connections == 3,
        )
        .await;
        assert_eq!(server.stats().sessions, 3);
    }
}

/// 3.1.1 cannot say no, so it closes.
/// spec(4, server): MQTT-4.8.0-2
#[tokio::test]
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
#[tokio::test]
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

/// Many publishers at full speed into one subscriber: everything arrives, nobody waits for ever.
#[tokio::test]
async fn many_publishers_at_once_do_not_block_each_other() {
    for version in BOTH {
        let server = Server::with(|limits| limits.queue_messages_max = 50).await;
        let mut witness = server.witness().await;
        let mut watcher = server.client(version, "watcher").await;
        watcher.subscribe(&[("many", 1)]).await;
        let mut peers = Vec::new();
        for number in 0..20 {
            let mut peer = server.client(version, &format!("p{number}")).await;
            let mut bytes = Vec::new();
            for id in 1..=100 {
                bytes.extend(Publish::new("many", "x").qos(1, id).bytes(version));
            }
            peer.send(&bytes).await;
            peers.push(peer);
        }
        witness.goes_on().await;
        for _ in 0..2000 {
            watcher.take().await;
        }
        for peer in &mut peers {
            for id in 1..=100 {
                peer.expect_ack(0x40, id).await;
            }
        }
        witness.goes_on().await;
    }
}

#[tokio::test]
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
#[tokio::test]
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
