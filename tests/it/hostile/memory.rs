//! What all together may make the broker hold: newcomers are refused first, then what grows, and never what was promised.

use crate::raw::bytes::{Connect, PINGREQ, PINGRESP, Publish, packet};
use crate::raw::{BOTH, Peer, Server, V5, until};
use rmqtt::broker::{Broker, Limits};
use rmqtt::message::{Message, QoS};
use rmqtt::topic::TopicName;

const MAX: usize = 4 << 20;

/// What a charge may be off by.
const STEP: usize = 4096;

fn at_most(bytes: usize) -> impl FnOnce(&mut Limits) {
    move |limits| limits.held_bytes_max = bytes
}

fn say(broker: &Broker, topic: &str, size: usize) {
    let topic = TopicName::new(topic).expect("a topic");
    let message = Message::new(topic, vec![b'x'; size]).with_qos(QoS::AtLeastOnce);
    broker.publish(message).expect("room");
}

fn refused(server: &Server) -> u64 {
    server.stats().limits_reached["held_bytes_max"]
}

/// An absent client with this subscription.
async fn absent(server: &Server, name: &str, filter: &str) {
    let connect = Connect::new(V5, name).resume();
    let (mut peer, _) = server.connect(&connect).await;
    assert_eq!(peer.subscribe(&[(filter, 1)]).await, [1]);
    peer.disconnect().await;
}

/// Absent clients have so much waiting that nothing more may come.
async fn fill(server: &Server) {
    absent(server, "hoarder", "hoard").await;
    while server.stats().held_bytes < MAX / 8 * 7 - 30_000 {
        say(server.broker(), "hoard", 2000);
    }
    say(server.broker(), "hoard", 60_000);
    say(server.broker(), "hoard", 2000);
    assert_eq!(refused(server), 1);
}

async fn gone(server: &Server, connections: usize) {
    until("them to be gone", server.broker(), |broker| {
        broker.stats().connections == connections
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hundreds_of_absent_clients_with_full_queues_hold_no_more_than_all_may() {
    let server = Server::with(at_most(MAX)).await;
    let mut witness = server.witness().await;
    for number in 0..300 {
        absent(&server, &format!("c{number}"), &format!("q/{number}")).await;
    }
    gone(&server, 2).await;
    let mut dropped = 0;
    for _ in 0..20 {
        for number in 0..300 {
            say(server.broker(), &format!("q/{number}"), 1000);
        }
        let stats = server.stats();
        assert!(stats.held_bytes < MAX / 8 * 7 + STEP, "{stats:?}");
        dropped = stats.messages_dropped_queue_full;
        witness.goes_on().await;
    }
    let stats = server.stats();
    assert!(dropped > 3000, "{stats:?}");
    assert_eq!(stats.queued_messages as u64, 6000 - dropped);
    assert_eq!(refused(&server), dropped);
    assert!(stats.held_bytes_high < MAX / 8 * 7 + STEP, "{stats:?}");
    // Each finds what it was promised, and is let in although newcomers are not.
    for number in 0..300 {
        let connect = Connect::new(V5, format!("c{number}")).resume();
        let (mut peer, is_present) = server.connect(&connect).await;
        assert!(is_present);
        peer.take().await;
        peer.abort();
    }
    witness.goes_on().await;
}

#[tokio::test]
async fn newcomers_are_refused_first_and_let_in_when_there_is_room_again() {
    for version in BOTH {
        let server = Server::with(at_most(MAX)).await;
        let mut witness = server.witness().await;
        absent(&server, "hoarder", "hoard").await;
        while server.stats().held_bytes < MAX / 4 * 3 {
            say(server.broker(), "hoard", 2000);
        }
        let mut late = server.socket(version).await;
        late.send(&Connect::new(version, "late").bytes()).await;
        late.expect_connack(version.pick(3, 0x89)).await;
        late.expect_closed().await;
        assert_eq!(refused(&server), 1);
        // For those who are there nothing has changed.
        assert_eq!(server.stats().messages_dropped_queue_full, 0);
        witness.goes_on().await;
        let (mut hoarder, _) = server.connect(&Connect::new(V5, "hoarder").resume()).await;
        while server.stats().queued_messages > 0 {
            hoarder.take().await;
        }
        hoarder.abort();
        gone(&server, 2).await;
        server.client(version, "late").await.ping().await;
        assert_eq!(refused(&server), 1);
    }
}

#[tokio::test]
async fn what_grows_is_refused_where_all_hold_too_much() {
    let server = Server::with(at_most(MAX)).await;
    let mut witness = server.witness().await;
    let mut peer = server.client(V5, "greedy").await;
    peer.publish(1, Publish::new("old", "value").retain()).await;
    peer.subscribe(&[("old/filter", 0)]).await;
    fill(&server).await;
    for (topic, payload, code) in [
        ("new", "value", 0x97),
        ("old", "longer value", 0x97),
        ("old", "small", 0x10),
        ("old", "", 0x10),
    ] {
        peer.send(&Publish::new(topic, payload).retain().qos(1, 9).bytes(V5))
            .await;
        assert_eq!(
            peer.expect_ack_code(0x40, 9).await,
            code,
            "{topic} {payload}"
        );
    }
    let filters = [("new/filter", 1), ("old/filter", 1)];
    assert_eq!(peer.subscribe(&filters).await, [0x97, 1]);
    witness.goes_on().await;
    // Once for the absent client, twice for retained messages, once for a filter.
    assert_eq!(refused(&server), 4);
}

/// Nothing that a client is here to take is dropped: its publishers wait for it.
#[tokio::test]
async fn publishers_wait_for_slow_clients_where_all_hold_too_much() {
    for version in BOTH {
        let server = Server::with(|limits| {
            limits.held_bytes_max = MAX;
            limits.in_flight_max = 1;
        })
        .await;
        let mut witness = server.witness().await;
        let mut slow = server.client(version, "slow").await;
        slow.subscribe(&[("slow", 1)]).await;
        let mut publisher = server.client(version, "publisher").await;
        fill(&server).await;
        let dropped = server.stats().messages_dropped_queue_full;
        for id in 1..=20 {
            let publish = Publish::new("slow", vec![b'x'; 1000]).qos(1, id);
            publisher.send(&publish.bytes(version)).await;
        }
        let first = slow.delivery().await;
        publisher.send(&PINGREQ).await;
        let mut answered = 0;
        while publisher.expect_packet().await != PINGRESP {
            answered += 1;
        }
        assert!((1..10).contains(&answered), "{answered} of 20");
        witness.goes_on().await;
        slow.settle(&first).await;
        for _ in 2..=20 {
            slow.take().await;
        }
        for id in answered + 1..=20 {
            publisher.expect_ack(0x40, id).await;
        }
        assert_eq!(server.stats().messages_dropped_queue_full, dropped);
    }
}

#[tokio::test]
async fn packets_that_never_come_to_their_end_hold_no_more_than_all_may() {
    for version in BOTH {
        let server = Server::with(at_most(2 << 20)).await;
        let mut witness = server.witness().await;
        let begin = &Publish::new("t", vec![b'x'; 1 << 20]).bytes(version)[..200_000];
        let mut peers = Vec::new();
        for number in 0..15 {
            peers.push(server.client(version, &format!("p{number}")).await);
        }
        for peer in &mut peers {
            peer.try_send(begin).await;
            witness.goes_on().await;
        }
        until("one to be ended", server.broker(), |broker| {
            broker.stats().connections_violated > 0
        })
        .await;
        let stats = server.stats();
        assert!(stats.connections > 2 + 4, "{stats:?}");
        assert!(stats.held_bytes_high < (2 << 20) + 600_000, "{stats:?}");
        witness.goes_on().await;
    }
}

#[tokio::test]
async fn sockets_are_closed_unheard_where_there_is_no_room_at_all() {
    let server = Server::with(at_most(1 << 20)).await;
    let mut witness = server.witness().await;
    let begin = &Publish::new("t", vec![b'x'; 100_000]).bytes(V5)[..60_000];
    let mut peers = Vec::new();
    for number in 0..20 {
        peers.push(server.client(V5, &format!("p{number}")).await);
    }
    for peer in &mut peers {
        peer.try_send(begin).await;
    }
    until("it to be full", server.broker(), |broker| {
        broker.stats().held_bytes >= 1 << 20
    })
    .await;
    let mut late = server.socket(V5).await;
    late.try_send(&Connect::new(V5, "late").bytes()).await;
    assert_eq!(late.next().await, None);
    assert_eq!(refused(&server), 1);
    witness.goes_on().await;
    peers.into_iter().for_each(Peer::abort);
    server.lets_in(V5, "late").await;
}

#[tokio::test]
async fn a_large_payload_is_held_once_however_many_it_waits_for() {
    let server = Server::start().await;
    for number in 0..50 {
        absent(&server, &format!("c{number}"), "large").await;
    }
    gone(&server, 0).await;
    let before = server.stats().held_bytes;
    say(server.broker(), "large", 1_000_000);
    let held = server.stats().held_bytes - before;
    assert!((1_000_000..1_030_000).contains(&held), "{held}");
    let (mut first, _) = server.connect(&Connect::new(V5, "c0").resume()).await;
    assert_eq!(first.take().await.payload.len(), 1_000_000);
    assert!(server.stats().held_bytes > before + 1_000_000);
}

#[tokio::test]
async fn a_connection_is_held_for_before_it_has_said_a_word() {
    let server = Server::start().await;
    let mut sockets = Vec::new();
    for _ in 0..20 {
        sockets.push(server.socket(V5).await);
    }
    until("them to be charged", server.broker(), |broker| {
        broker.stats().held_bytes >= 20 * 3072
    })
    .await;
    sockets.into_iter().for_each(Peer::abort);
    until("all to be given back", server.broker(), |broker| {
        broker.stats().held_bytes == 0
    })
    .await;
}

/// Whatever is done, what is held for it is given back.
#[tokio::test]
async fn what_is_held_is_given_back_to_the_last_byte() {
    for version in BOTH {
        let server = Server::start().await;
        let connect = Connect::new(version, "kept").resume();
        let (mut peer, _) = server.connect(&connect).await;
        peer.subscribe(&[("a/#", 2), ("$share/g/b/#", 1), ("c", 0)])
            .await;
        let mut other = server.client(version, "other").await;
        for size in [10, 5000, 100_000] {
            for qos in 0..=2 {
                for topic in ["a/1", "a/2/3", "b/1", "c"] {
                    let publish = Publish::new(topic, vec![b'x'; size]);
                    let publish = if size < 6000 {
                        publish.retain()
                    } else {
                        publish
                    };
                    other.publish(qos, publish).await;
                }
            }
        }
        assert!(server.stats().held_bytes > 100_000);
        peer.abort();
        gone(&server, 1).await;
        other.publish(2, Publish::new("a/1", "more")).await;
        let (mut peer, is_present) = server.connect(&connect).await;
        assert!(is_present);
        peer.send(&packet(0x30, &[0xFF; 3])).await;
        gone(&server, 1).await;
        server
            .connect(&Connect::new(version, "kept"))
            .await
            .0
            .disconnect()
            .await;
        for topic in ["a/1", "a/2/3", "b/1", "c"] {
            other.publish(1, Publish::new(topic, "").retain()).await;
        }
        other.disconnect().await;
        gone(&server, 0).await;
        until("all to be given back", server.broker(), |broker| {
            broker.stats().held_bytes < STEP
        })
        .await;
        assert_eq!(server.stats().sessions, 0);
    }
}
