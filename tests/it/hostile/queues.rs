//! Queues that nobody empties: what is dropped, what is parked, who is held back, and who is sent away.

use crate::raw::bytes::{Connect, PINGREQ, PINGRESP, Publish, ack};
use crate::raw::{BOTH, Server, V4, V5};
use std::time::Duration;
use tokio::time::Instant;

/// QoS 0 is dropped and counted for who does not read; everybody else has theirs.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
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
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
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
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
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
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
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
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_never_reads_its_answers_is_not_read_any_further() {
    let server = Server::start().await;
    let mut witness = server.witness().await;
    let mut deaf = server.client(V5, "deaf").await;
    // PUBREL of nothing: the shortest question with a longer answer.
    let questions = ack(0x62, 1).repeat(16 << 10);
    let mut sent = 0;
    let mut refusals = 0;
    // What it cannot send any more, it has not sent: the kernel's buffers are full because nobody reads.
    while refusals < 50 {
        let count = deaf.send_now(&questions);
        sent += count;
        refusals = if count == 0 { refusals + 1 } else { 0 };
        witness.goes_on().await;
        assert!(sent < 64 << 20, "64 MB of requests were read");
    }
    witness.goes_on().await;
}

/// What is kept for an absent client has a bound, and what is beyond it is counted.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
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

/// Who lets a queue stay full is sent away, so that its publishers wait no longer; what is queued stays for it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_keeps_its_queue_full_is_sent_away() {
    let server = Server::with(|limits| {
        limits.in_flight_max = 5;
        limits.queue_messages_max = 20;
    })
    .await;
    let mut witness = server.witness().await;
    let connect = Connect::new(V5, "stuck").resume();
    let (mut stuck, _) = server.connect(&connect).await;
    stuck.subscribe(&[("full", 1)]).await;
    let mut publisher = server.client(V4, "publisher").await;
    let ids = 1..=30_u16;
    for id in ids.clone() {
        let publish = Publish::new("full", id.to_be_bytes()).qos(1, id);
        publisher.send(&publish.bytes(V4)).await;
    }
    for _ in 0..5 {
        stuck.delivery().await;
    }
    stuck.expect_end(&[0x97]).await;
    for id in ids {
        publisher.expect_ack(0x40, id).await;
    }
    witness.goes_on().await;
    let (mut back, is_present) = server.connect(&connect).await;
    assert!(is_present);
    let mut last = 0;
    while last < 25 {
        last += 1;
        assert_eq!(back.take().await.payload, u16::to_be_bytes(last));
    }
}

/// Many publishers at full speed into one subscriber: everything arrives, nobody waits for ever.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
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
        let begin = Instant::now();
        for _ in 0..2000 {
            watcher.take().await;
        }
        for peer in &mut peers {
            for id in 1..=100 {
                peer.expect_ack(0x40, id).await;
            }
        }
        // A publisher that nobody wakes would be found by a timer, seconds later.
        let elapsed = begin.elapsed();
        assert!(elapsed < Duration::from_secs(8), "{elapsed:?}");
        witness.goes_on().await;
    }
}
