//! Every reason code where it belongs: the list in `tests/spec/reasons.txt`, and the tests that it lacked.

use crate::raw::bytes::{Connect, Publish, ack};
use crate::raw::{BOTH, Peer, Server, V4, V5};
use crate::seed::epoch;
use crate::tidy::files;
use bytes::{Buf, BytesMut};
use rmqtt::broker::Limits;
use rmqtt::broker::protocol::{Event, Protocol};
use rmqtt::codec::{PacketType, ReasonCode};
use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

/// All that answer or end with a code, but AUTH, whose codes belong to the methods.
const PACKETS: [PacketType; 8] = [
    PacketType::ConnAck,
    PacketType::PubAck,
    PacketType::PubRec,
    PacketType::PubRel,
    PacketType::PubComp,
    PacketType::SubAck,
    PacketType::UnsubAck,
    PacketType::Disconnect,
];

#[test]
fn every_reason_a_server_may_give_has_a_test_or_is_never_given() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let list = std::fs::read_to_string(root.join("tests/spec/reasons.txt")).expect("is there");
    let tests: BTreeSet<String> = files("tests/it", "rs")
        .iter()
        .flat_map(|file| file.text.lines())
        .filter_map(|line| Some(line.split_once("fn ")?.1.split_once('(')?.0.to_owned()))
        .collect();
    let mut listed = BTreeSet::new();
    for line in list.lines().filter(|line| !line.starts_with('#')) {
        let (what, by) = line.split_once("  ").expect("two blanks");
        assert!(listed.insert(what.to_owned()), "{what} twice");
        assert!(
            by.starts_with("- ") || tests.contains(by),
            "no test: {line}"
        );
    }
    let mut allowed = BTreeSet::new();
    for packet in PACKETS {
        for code in (0..=0xFF).filter_map(ReasonCode::from_number) {
            let is_servers = code != ReasonCode::DisconnectWithWill;
            if is_servers && code.is_allowed_in(packet) {
                allowed.insert(format!("{} 0x{:02X}", packet.name(), code.number()));
            }
        }
    }
    assert_eq!(listed, allowed);
}

/// Publishes with this QoS, and returns the code of PUBACK, or of PUBREC and, if there was one, PUBCOMP.
async fn answer(peer: &mut Peer, qos: u8, publish: &Publish) -> (u8, Option<u8>) {
    let id = peer.fresh_id();
    let bytes = publish.clone().qos(qos, id).bytes(V5);
    peer.send(&bytes).await;
    let first = if qos == 1 { 0x40 } else { 0x50 };
    let code = peer.expect_ack_code(first, id).await;
    if qos == 1 || code >= 0x80 {
        return (code, None);
    }
    peer.send(&ack(0x62, id)).await;
    (code, Some(peer.expect_ack_code(0x70, id).await))
}

/// spec(5, server): MQTT-3.4.2-1, MQTT-3.5.2-1, MQTT-3.7.2-1
#[tokio::test]
async fn a_publish_is_answered_by_what_became_of_it() {
    let server = Server::with(|limits| limits.retained_messages_max = 1).await;
    let mut watcher = server.client(V5, "watcher").await;
    watcher.subscribe(&[("heard", 0)]).await;
    let mut peer = server.client(V5, "peer").await;
    peer.publish(0, Publish::new("kept", "x").retain()).await;
    for (publish, code) in [
        (Publish::new("heard", "x"), 0x00),
        (Publish::new("unheard", "x"), 0x10),
        (Publish::new("$SYS/x", "x"), 0x87),
        (Publish::new("x/".repeat(300), "x"), 0x90),
        (Publish::new("more", "x").retain(), 0x97),
        (Publish::new("heard", b"\xFF").properties(&[0x01, 1]), 0x99),
    ] {
        let is_taken = code < 0x80;
        assert_eq!(answer(&mut peer, 1, &publish).await, (code, None));
        assert_eq!(
            answer(&mut peer, 2, &publish).await,
            (code, is_taken.then_some(0))
        );
    }
    assert_eq!(server.stats().messages_delivered, 2);
}

#[tokio::test]
async fn an_exchange_that_nobody_began_is_not_found() {
    for version in BOTH {
        let server = Server::start().await;
        let mut peer = server.client(version, "peer").await;
        peer.send(&ack(0x62, 7)).await;
        assert_eq!(peer.expect_ack_code(0x70, 7).await, version.pick(0, 0x92));
        peer.send(&ack(0x50, 7)).await;
        assert_eq!(peer.expect_ack_code(0x62, 7).await, version.pick(0, 0x92));
        peer.expect_nothing().await;
    }
}

/// spec(5): MQTT-3.8.4-7
#[tokio::test]
async fn good_and_bad_filters_are_answered_each_in_its_place() {
    let server = Server::start().await;
    let bad = ["a#", "#/a", "a+", "$share/g", "$share//a", "$share/+/a"];
    let mut peer = server.client(V5, "peer").await;
    for filter in bad {
        let codes = peer.subscribe(&[("a", 1), (filter, 1), ("b", 2)]).await;
        assert_eq!(codes, [1, 0x8F, 2], "{filter:?}");
        let codes = peer.unsubscribe(&["a", filter, "unknown", "b"]).await;
        assert_eq!(codes, [0, 0x8F, 0x11, 0], "{filter:?}");
    }
    // To 3.1.1 a share is a filter like any other, and of a request with a bad one nothing is done.
    for filter in &bad[..3] {
        let connect = Connect::new(V4, "old").resume();
        let (mut peer, _) = server.connect(&connect).await;
        peer.send(&crate::raw::bytes::subscribe(
            V4,
            1,
            &[("a", 1), (filter, 1)],
        ))
        .await;
        peer.expect_end(&[]).await;
        let (mut peer, _) = server.connect(&connect).await;
        assert_eq!(peer.subscribe(&[("b", 1)]).await, [1]);
        assert_eq!(server.stats().subscriptions, 1, "{filter:?}");
        peer.send(&crate::raw::bytes::unsubscribe(V4, 2, &["b", filter]))
            .await;
        peer.expect_end(&[]).await;
        assert_eq!(server.stats().subscriptions, 1, "{filter:?}");
        let (mut peer, _) = server.connect(&connect).await;
        peer.unsubscribe(&["b"]).await;
    }
}

/// spec(5, server): MQTT-3.14.2-1
#[tokio::test]
async fn a_client_is_sent_away_with_the_reason_that_was_given() {
    for version in BOTH {
        let server = Server::start().await;
        for code in (0..=0xFF).filter_map(ReasonCode::from_number) {
            if !code.is_allowed_in(PacketType::Disconnect) || code.number() == 0x04 {
                continue;
            }
            let mut peer = server.client(version, "peer").await;
            assert!(server.broker().disconnect("peer", code));
            match code.number() {
                _ if version == V4 => peer.expect_closed().await,
                0 => {
                    peer.expect(&[0xE0, 0x00]).await;
                    peer.expect_closed().await;
                }
                number => peer.expect_end(&[number]).await,
            }
        }
    }
}

/// An older connection has the session, and has not let go of it yet.
/// spec(4): MQTT-3.1.4-2
/// spec(5): MQTT-3.1.4-3
#[test]
fn who_waits_to_be_let_in_is_refused_when_the_broker_stops_or_another_comes() {
    for (reason, code) in [
        (ReasonCode::SessionTakenOver, 0x89),
        (ReasonCode::ServerShuttingDown, 0x88),
    ] {
        for version in BOTH {
            let mut protocol = Protocol::new(Arc::new(Limits::default()), epoch());
            let bytes = Connect::new(version, "waiting").bytes();
            let event = protocol.receive(&mut BytesMut::from(&*bytes), epoch());
            assert!(matches!(event, Ok(Some(Event::ConnectRequested(_)))));
            protocol.close(reason);
            let out = protocol.outgoing();
            let packet = out.copy_to_bytes(out.remaining());
            assert_eq!((packet[0], packet[2]), (0x20, 0));
            assert_eq!(packet[3], version.pick(3, code));
        }
    }
}
