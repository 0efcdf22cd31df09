//! What a broker may do without: announced to those who can be told, refused to everybody.

use crate::raw::bytes::{Connect, Publish, Will, ack, field, subscribe_with};
use crate::raw::{BOTH, Peer, Server, V4, V5};
use rmqtt::broker::{BrokerError, Features};
use rmqtt::message::{Message, QoS};
use rmqtt::topic::TopicName;

async fn without(change: impl FnOnce(&mut Features)) -> Server {
    Server::offering(|terms| change(&mut terms.features)).await
}

/// A broker without any of them.
async fn bare() -> Server {
    without(|features| {
        *features = Features {
            maximum_qos: QoS::AtMostOnce,
            retain: false,
            wildcard_subscriptions: false,
            subscription_identifiers: false,
            shared_subscriptions: false,
        }
    })
    .await
}

/// The properties of the CONNACK that this CONNECT gets.
async fn announced(server: &Server, connect: &Connect) -> Vec<u8> {
    let mut peer = server.socket(V5).await;
    peer.send(&connect.bytes()).await;
    peer.expect_connack(0).await.1
}

fn has(properties: &[u8], property: [u8; 2]) -> bool {
    properties.windows(2).any(|pair| pair == property)
}

/// A client of MQTT 5 does what it was told not to do.
async fn is_sent_away(server: &Server, bytes: &[u8], reason: u8) {
    let mut peer = server.client(V5, "peer").await;
    peer.about(&format!("reason {reason:02x}"));
    peer.send(bytes).await;
    peer.expect_end(&[reason]).await;
}

/// spec(5): MQTT-3.2.2-9
#[tokio::test]
async fn what_is_missing_is_announced_and_nothing_else() {
    let full = announced(&Server::start().await, &Connect::new(V5, "c")).await;
    for property in [0x24, 0x25, 0x28, 0x29] {
        assert!(
            !has(&full, [property, 0]) && !has(&full, [property, 1]),
            "{full:02x?}"
        );
    }
    let none = announced(&bare().await, &Connect::new(V5, "c")).await;
    for property in [0x24, 0x25, 0x28, 0x29, 0x2A] {
        assert!(has(&none, [property, 0]), "{property:02x}: {none:02x?}");
    }
    let server = without(|features| features.maximum_qos = QoS::AtLeastOnce).await;
    let some = announced(&server, &Connect::new(V5, "c")).await;
    assert!(has(&some, [0x24, 1]), "{some:02x?}");
}

/// The highest QoS is the last thing left out, and never is.
/// spec(5): MQTT-3.2.2-9
#[tokio::test]
async fn the_highest_qos_is_announced_in_the_smallest_connack_that_holds_it() {
    let server = bare().await;
    let connect = Connect::new(V5, "c").properties(&[0x27, 0, 0, 0, 7]);
    assert_eq!(announced(&server, &connect).await, [0x24, 0]);
    let mut peer = server.socket(V5).await;
    let connect = Connect::new(V5, "c").properties(&[0x27, 0, 0, 0, 6]);
    peer.send(&connect.bytes()).await;
    peer.expect_closed().await;
}

/// spec(5): MQTT-3.2.2-10
#[tokio::test]
async fn subscriptions_are_granted_up_to_the_highest_qos() {
    for version in BOTH {
        for maximum in [0_u8, 1] {
            let server = without(|features| {
                features.maximum_qos = QoS::from_number(maximum).expect("0 or 1");
            })
            .await;
            let mut peer = server.client(version, "peer").await;
            let filters = [("a", 0), ("b", 1), ("c", 2)];
            let granted = filters.map(|(_, qos): (_, u8)| qos.min(maximum));
            assert_eq!(peer.subscribe(&filters).await, granted);
            let message = Message::new(TopicName::new("c").expect("a topic"), "x");
            let sent = server
                .broker()
                .publish(message.with_qos(QoS::ExactlyOnce))
                .expect("running");
            assert_eq!((sent, peer.take().await.qos()), (1, maximum));
        }
    }
}

/// Version 3.1.1 cannot be told before, so it is not told that all is well either.
/// spec(5): RMQTT-3.2.2-5
#[tokio::test]
async fn a_publish_above_the_highest_qos_ends_the_connection() {
    for version in BOTH {
        let server = without(|features| features.maximum_qos = QoS::AtLeastOnce).await;
        let mut watcher = server.client(version, "watcher").await;
        watcher.subscribe(&[("#", 0)]).await;
        let mut peer = server.client(version, "peer").await;
        peer.publish(1, Publish::new("t", "fine")).await;
        peer.send(&Publish::new("t", "x").qos(2, 9).bytes(version))
            .await;
        peer.expect_end(&[0x9B]).await;
        assert_eq!(watcher.take().await.text(), "fine");
        watcher.expect_nothing().await;
    }
}

/// spec(5): RMQTT-3.2.2-6
#[tokio::test]
async fn a_publish_to_be_retained_ends_the_connection_where_nothing_is_retained() {
    for version in BOTH {
        let server = without(|features| features.retain = false).await;
        let mut watcher = server.client(version, "watcher").await;
        watcher.subscribe(&[("#", 0)]).await;
        for payload in ["x", ""] {
            let mut peer = server.client(version, "peer").await;
            let publish = Publish::new("t", payload).retain();
            peer.send(&publish.bytes(version)).await;
            peer.expect_end(&[0x9A]).await;
        }
        watcher.expect_nothing().await;
        let message = Message::new(TopicName::new("t").expect("a topic"), "x");
        assert_eq!(
            server.broker().publish(message.with_retain(true)),
            Err(BrokerError::RetainUnavailable)
        );
        assert_eq!(server.stats().retained_messages, 0);
    }
}

/// spec(5): MQTT-3.2.2-12, MQTT-3.2.2-13
#[tokio::test]
async fn a_will_that_could_not_be_published_is_refused() {
    for version in BOTH {
        let server = bare().await;
        let loud = Will {
            qos: 1,
            ..Will::new("gone", "x")
        };
        let lasting = Will {
            retain: true,
            ..Will::new("gone", "x")
        };
        for (will, reason) in [(loud, 0x9B), (lasting, 0x9A)] {
            let connect = Connect::new(version, "dying").will(&will);
            let mut peer = server.socket(version).await;
            peer.send(&connect.bytes()).await;
            peer.expect_connack(version.pick(5, reason)).await;
            peer.expect_closed().await;
        }
        let connect = Connect::new(version, "dying").will(&Will::new("gone", "x"));
        server.connect(&connect).await;
        assert_eq!(server.stats().connects_refused, 2);
    }
}

/// spec(4): MQTT-3.8.3-2
/// spec(5): RMQTT-3.2.2-7
#[tokio::test]
async fn filters_with_wildcards_are_refused_where_there_are_none() {
    let server = without(|features| features.wildcard_subscriptions = false).await;
    let mut peer = server.client(V4, "old").await;
    let filters = [("a/#", 1), ("a/b", 1), ("+", 0), ("a", 2)];
    assert_eq!(peer.subscribe(&filters).await, [0x80, 1, 0x80, 2]);
    peer.publish(1, Publish::new("a/c", "no")).await;
    peer.expect_nothing().await;
    for filter in ["a/#", "+", "$share/g/+/a"] {
        let bytes = subscribe_with(V5, 1, &[], &[("a/b", 1), (filter, 1)]);
        is_sent_away(&server, &bytes, 0xA2).await;
    }
    assert_eq!(
        server.stats().subscriptions,
        2,
        "all of a request or nothing"
    );
    let mut peer = server.client(V5, "peer").await;
    assert_eq!(peer.unsubscribe(&["a/#"]).await, [0x11]);
}

/// spec(5): RMQTT-3.2.2-8
#[tokio::test]
async fn identifiers_are_refused_where_there_are_none() {
    let server = without(|features| features.subscription_identifiers = false).await;
    let bytes = subscribe_with(V5, 1, &[0x0B, 7], &[("a", 1)]);
    is_sent_away(&server, &bytes, 0xA1).await;
    let mut peer = server.client(V5, "peer").await;
    assert_eq!(peer.subscribe(&[("a", 1)]).await, [1]);
}

/// spec(5): RMQTT-3.2.2-9
#[tokio::test]
async fn shared_filters_are_refused_where_there_are_none() {
    let server = without(|features| features.shared_subscriptions = false).await;
    let bytes = subscribe_with(V5, 1, &[], &[("a", 1), ("$share/g/a", 1)]);
    is_sent_away(&server, &bytes, 0x9E).await;
    // The broken rule of a filter comes first.
    let mut peer = server.client(V5, "peer").await;
    assert_eq!(peer.subscribe(&[("$share/g", 1)]).await, [0x8F]);
    let mut old = server.client(V4, "old").await;
    let filters = [("a", 1), ("$share/g/a", 1)];
    assert_eq!(old.subscribe(&filters).await, [1, 0x80]);
}

async fn answer(peer: &mut Peer, qos: u8, publish: Publish) -> u8 {
    let id = peer.fresh_id();
    peer.send(&publish.qos(qos, id).bytes(V5)).await;
    let code = peer.expect_ack_code(0x30 + 0x10 * qos, id).await;
    if qos == 2 && code < 0x80 {
        peer.send(&ack(0x62, id)).await;
        peer.expect_ack(0x70, id).await;
    }
    code
}

#[tokio::test]
async fn text_that_is_none_is_refused_unless_nobody_looks() {
    let wrong = || Publish::new("t", b"\xC3\x28").properties(&[0x01, 1]);
    let bytes = || Publish::new("t", b"\xC3\x28").properties(&[0x01, 0]);
    for validates in [true, false] {
        let server = Server::offering(|terms| terms.validates_payloads = validates).await;
        let mut watcher = server.client(V5, "watcher").await;
        watcher.subscribe(&[("#", 0)]).await;
        let mut peer = server.client(V5, "peer").await;
        for qos in [1, 2] {
            let code = answer(&mut peer, qos, wrong()).await;
            assert_eq!(code, if validates { 0x99 } else { 0 });
            assert_eq!(answer(&mut peer, qos, bytes()).await, 0);
            let text = Publish::new("t", "h\u{e9}").properties(&[0x01, 1]);
            assert_eq!(answer(&mut peer, qos, text).await, 0);
        }
        peer.publish(0, wrong()).await;
        let mut arrived = 0;
        while arrived < if validates { 4 } else { 7 } {
            watcher.take().await;
            arrived += 1;
        }
        watcher.expect_nothing().await;
        let will = Will {
            properties: vec![0x01, 1],
            ..Will::new("gone", b"\xFF")
        };
        let mut dying = server.socket(V5).await;
        dying
            .send(&Connect::new(V5, "dying").will(&will).bytes())
            .await;
        dying.expect_connack(if validates { 0x99 } else { 0 }).await;
    }
}

/// spec(5, server): MQTT-3.3.2-14
#[tokio::test]
async fn a_response_topic_is_a_topic() {
    let server = Server::start().await;
    for topic in ["a/#", "+"] {
        let properties = [vec![0x08], field(topic)].concat();
        let publish = Publish::new("t", "x").properties(&properties).qos(1, 1);
        let mut peer = server.client(V5, "peer").await;
        peer.send(&publish.bytes(V5)).await;
        peer.expect_end(&[0x82]).await;
        let will = Will {
            properties,
            ..Will::new("gone", "x")
        };
        let mut peer = server.socket(V5).await;
        peer.send(&Connect::new(V5, "c").will(&will).bytes()).await;
        peer.expect_refused().await;
    }
}

/// spec(5): MQTT-3.1.2-28
#[tokio::test]
async fn where_answers_may_be_published_is_told_to_those_who_ask() {
    let reply = |text: &str| [vec![0x1A], field(text)].concat();
    let ask = |client_id: &str, asks: u8| Connect::new(V5, client_id).properties(&[0x19, asks]);
    let server = Server::offering(|terms| {
        terms.response_information = Some("reply/{client_id}/".into());
    })
    .await;
    let ends =
        |properties: &[u8], end: &[u8]| properties.windows(end.len()).any(|part| part == end);
    let told = announced(&server, &ask("me", 1)).await;
    assert!(ends(&told, &reply("reply/me/")), "{told:02x?}");
    for connect in [
        ask("me", 0),
        Connect::new(V5, "me"),
        ask("a/b", 1),
        ask("+", 1),
    ] {
        let told = announced(&server, &connect).await;
        assert!(!ends(&told, b"reply"), "{told:02x?}");
    }
    let told = announced(&server, &ask("", 1)).await;
    assert!(
        ends(&told, b"reply/rmqtt-"),
        "the id it was given: {told:02x?}"
    );
    let small = ask("me", 1).properties(&[0x27, 0, 0, 0, 20]);
    assert!(!ends(&announced(&server, &small).await, b"reply"));

    let server = Server::offering(|terms| terms.response_information = Some("all".into())).await;
    let told = announced(&server, &ask("a/b", 1)).await;
    assert!(ends(&told, &reply("all")), "{told:02x?}");
}
