//! What a client puts on the wire, against a scripted broker.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail by panicking")]

use crate::client_script::{
    Peer, Stage, VERSIONS, accepted, filter, message, next, packet_id, read, soon,
};
use rmqtt::client::{Client, ClientError, Close, SubscriptionSettings};
use rmqtt::codec::{
    Ack, AckKind, Auth, ConnAck, Packet, ProtocolVersion, Publish, ReasonCode, UnsubAck,
};
use rmqtt::message::QoS;
use rmqtt::topic::TopicName;
use std::num::{NonZeroU16, NonZeroU32};
use std::time::Duration;

const NORMAL: Close = Close::Drain(Duration::from_secs(5));

/// A message that nobody waits for.
fn send(client: &Client, text: &str, qos: QoS) {
    client
        .try_publish(message("t", text, qos), None)
        .map(|_| ())
        .unwrap();
}

async fn connected(name: &str, version: ProtocolVersion, connack: ConnAck) -> (Client, Peer) {
    Stage::new(name, version).await.pair(connack).await
}

/// spec(4): MQTT-3.1.0-1
/// spec(5): MQTT-3.1.0-1
#[tokio::test(start_paused = true)]
async fn a_connection_begins_with_connect() {
    for version in VERSIONS {
        let stage = Stage::new("begins", version).await;
        let client = Client::new(stage.options.clone());
        let (connected, peer) = tokio::join!(client.connect(), async {
            let mut peer = stage.accept().await;
            assert!(peer.is_quiet(Duration::from_secs(5)).await);
            peer.say(&Packet::ConnAck(Box::new(accepted()))).await;
            peer
        });
        connected.unwrap();
        assert_eq!(peer.connect.version, version);
        assert!(peer.connect.clean_start);
    }
}

/// spec(4, client): MQTT-4.3.1-1, MQTT-4.3.2-1, MQTT-4.3.3-1
/// spec(5, client): MQTT-4.3.1-1, MQTT-4.3.2-1, MQTT-4.3.2-2, MQTT-4.3.3-1, MQTT-4.3.3-2
#[tokio::test(start_paused = true)]
async fn each_qos_goes_out_with_its_bits_and_a_fresh_id() {
    for version in VERSIONS {
        let (client, mut peer) = connected("bits", version, accepted()).await;
        for qos in [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce] {
            send(&client, "x", qos);
        }
        let first_byte = |bytes: Vec<u8>| bytes[0];
        let more = u8::from(version == ProtocolVersion::V5);
        let mut ids = Vec::new();
        for (first, has_id) in [(0x30, false), (0x32, true), (0x34, true)] {
            let header = peer.bytes(2).await;
            assert_eq!(first_byte(header.clone()), first);
            let body = peer.bytes(usize::from(header[1])).await;
            assert_eq!(header[1], 4 + more + 2 * u8::from(has_id));
            if has_id {
                ids.push([body[3], body[4]]);
            }
        }
        assert_eq!(ids, [[0, 1], [0, 2]]);
    }
}

/// spec(4, client): MQTT-2.3.1-6, MQTT-3.3.4-1, MQTT-4.3.2-2
/// spec(4): MQTT-4.5.0-2
/// spec(5, client): MQTT-2.2.1-5, MQTT-3.3.4-1
/// spec(5): MQTT-4.5.0-2
#[tokio::test(start_paused = true)]
async fn every_message_is_answered_by_its_qos_wanted_or_not() {
    for version in VERSIONS {
        let (client, mut peer) = connected("answered", version, accepted()).await;
        for id in [1, 256, 65_535] {
            peer.say_message(message("unwanted", "0", QoS::AtMostOnce), 0)
                .await;
            for _ in 0..2 {
                peer.say_message(message("unwanted", "1", QoS::AtLeastOnce), id)
                    .await;
                assert_eq!(peer.heard_ack().await, (AckKind::PubAck, id));
            }
            peer.say_message(message("unwanted", "2", QoS::ExactlyOnce), id)
                .await;
            assert_eq!(peer.heard_ack().await, (AckKind::PubRec, id));
            peer.say_ack(AckKind::PubRel, id).await;
            assert_eq!(peer.heard_ack().await, (AckKind::PubComp, id));
        }
        send(&client, "now the counters are right", QoS::AtLeastOnce);
        peer.heard_publish().await;
        assert_eq!(client.stats().dropped, 12);
    }
}

/// spec(4): MQTT-4.6.0-4
/// spec(5): MQTT-4.6.0-4
/// spec(4, client): MQTT-3.6.1-1
/// spec(5, client): MQTT-3.6.1-1
#[tokio::test(start_paused = true)]
async fn pubrel_follows_the_order_of_pubrec() {
    for version in VERSIONS {
        let (client, mut peer) = connected("pubrel", version, accepted()).await;
        for text in ["1", "2", "3"] {
            send(&client, text, QoS::ExactlyOnce);
        }
        for _ in 0..3 {
            peer.heard_publish().await;
        }
        for id in [2, 3, 1] {
            peer.say_ack(AckKind::PubRec, id).await;
        }
        for id in [2, 3, 1] {
            assert_eq!(peer.bytes(4).await, [0x62, 2, 0, id]);
        }
    }
}

/// spec(4, client): MQTT-3.8.1-1, MQTT-3.10.1-1
/// spec(5, client): MQTT-3.8.1-1, MQTT-3.10.1-1
#[tokio::test(start_paused = true)]
async fn subscribe_and_unsubscribe_have_their_flags() {
    for version in VERSIONS {
        let (client, mut peer) = connected("flags", version, accepted()).await;
        let asked = client.subscribe(
            filter("t", QoS::AtMostOnce),
            SubscriptionSettings::default(),
        );
        let (subscription, ()) = tokio::join!(soon(asked), async {
            assert_eq!(peer.bytes(1).await, [0x82]);
            let length = peer.bytes(1).await[0];
            peer.bytes(usize::from(length)).await;
            let more: &[u8] = if version == ProtocolVersion::V5 {
                &[0x90, 4, 0, 1, 0, 0]
            } else {
                &[0x90, 3, 0, 1, 0]
            };
            peer.say_bytes(more).await;
        });
        let subscription = subscription.unwrap();
        let (left, ()) = tokio::join!(soon(client.unsubscribe(&subscription)), async {
            assert_eq!(peer.bytes(1).await, [0xA2]);
            let length = peer.bytes(1).await[0];
            let body = peer.bytes(usize::from(length)).await;
            let id = packet_id(u16::from_be_bytes([body[0], body[1]]));
            peer.say(&Packet::UnsubAck(UnsubAck {
                packet_id: id,
                reasons: vec![ReasonCode::Success],
                properties: None,
            }))
            .await;
        });
        left.unwrap();
    }
}

/// spec(4): MQTT-3.14.4-1, MQTT-3.14.4-2
/// spec(5, client): MQTT-3.14.1-1, MQTT-3.14.2-1, MQTT-3.14.2-3, MQTT-3.14.2-4, MQTT-3.14.4-1, MQTT-3.14.4-2
#[tokio::test(start_paused = true)]
async fn disconnect_is_the_last_word_and_the_client_closes() {
    let will: [(ProtocolVersion, Close, &[u8]); 6] = [
        (ProtocolVersion::V5, NORMAL, &[0xE0, 0]),
        (ProtocolVersion::V3_1_1, NORMAL, &[0xE0, 0]),
        (ProtocolVersion::V5, Close::WithWill, &[0xE0, 1, 4]),
        (ProtocolVersion::V3_1_1, Close::WithWill, &[]),
        (ProtocolVersion::V5, Close::Abort, &[]),
        (ProtocolVersion::V3_1_1, Close::Abort, &[]),
    ];
    for (version, how, expected) in will {
        let (client, mut peer) = connected("last-word", version, accepted()).await;
        let (rest, ()) = tokio::join!(peer.rest(), soon(client.close(how)));
        assert_eq!(rest, expected, "{version:?} {how:?}");
    }
}

/// spec(4): MQTT-3.14.4-2
/// spec(5, client): MQTT-3.14.4-1
#[tokio::test(start_paused = true)]
async fn nothing_queued_follows_disconnect() {
    for version in VERSIONS {
        let mut connack = accepted();
        connack.properties.receive_maximum = NonZeroU16::new(1);
        let (client, mut peer) = connected("queued", version, connack).await;
        for _ in 0..70_000 / 64 {
            send(&client, &"x".repeat(60), QoS::AtLeastOnce);
        }
        peer.heard_publish().await;
        let (rest, ()) = tokio::join!(
            peer.rest(),
            soon(client.close(Close::Drain(Duration::from_secs(1))))
        );
        assert!(rest.ends_with(&[0xE0, 0]), "{:?}", rest.last_chunk::<4>());
    }
}

/// spec(5): MQTT-3.3.4-7, MQTT-3.3.4-8
/// spec(5, client): MQTT-4.9.0-3
#[tokio::test(start_paused = true)]
async fn a_full_window_holds_back_messages_and_nothing_else() {
    let mut connack = accepted();
    connack.properties.receive_maximum = NonZeroU16::new(3);
    connack.properties.server_keep_alive = Some(10);
    let (client, mut peer) = connected("window", ProtocolVersion::V5, connack).await;
    for number in 0..5 {
        send(&client, &number.to_string(), QoS::ExactlyOnce);
    }
    for id in 1..=3 {
        assert_eq!(peer.heard_publish().await.packet_id, Some(packet_id(id)));
    }
    let _subscription = peer
        .subscribed(&client, "s", SubscriptionSettings::default())
        .await;
    peer.say_message(message("x", "", QoS::AtLeastOnce), 9)
        .await;
    assert_eq!(peer.heard_ack().await, (AckKind::PubAck, 9));
    peer.say_ack(AckKind::PubRec, 2).await;
    assert_eq!(peer.heard_ack().await, (AckKind::PubRel, 2));
    assert_eq!(peer.heard_or_end().await, Some(Packet::PingReq));
    peer.say(&Packet::PingResp).await;
    peer.say_ack(AckKind::PubComp, 2).await;
    let next = peer.heard_publish().await;
    assert_eq!(&next.message.payload[..], b"3");
    // PUBREC with a failure frees a place as well.
    peer.say(&Packet::Ack(Ack::new(
        AckKind::PubRec,
        packet_id(1),
        ReasonCode::QuotaExceeded,
    )))
    .await;
    let next = peer.heard_publish().await;
    assert_eq!(&next.message.payload[..], b"4");
}

/// spec(5, client): MQTT-3.4.2-2, MQTT-3.4.2-3, MQTT-3.5.2-2, MQTT-3.5.2-3, MQTT-3.6.2-2, MQTT-3.6.2-3
/// spec(5, client): MQTT-3.7.2-2, MQTT-3.7.2-3
#[tokio::test(start_paused = true)]
async fn answers_are_short_and_fit_the_smallest_limit() {
    let mut connack = accepted();
    connack.properties.maximum_packet_size = NonZeroU32::new(20);
    let (client, mut peer) = connected("short", ProtocolVersion::V5, connack).await;
    let subscription = peer
        .subscribed(&client, "t", SubscriptionSettings::default())
        .await;
    for (qos, kind) in [(QoS::AtLeastOnce, 0x40), (QoS::ExactlyOnce, 0x50)] {
        peer.say_message(message("t", "", qos), 7).await;
        let receipt = next(&subscription.inbox).await.unwrap().receipt.unwrap();
        subscription
            .inbox
            .processed(receipt, ReasonCode::NotAuthorized);
        assert_eq!(peer.bytes(5).await, [kind, 3, 0, 7, 0x87]);
    }
    peer.say_ack(AckKind::PubRel, 9).await;
    assert_eq!(peer.bytes(5).await, [0x70, 3, 0, 9, 0x92]);
    peer.say_ack(AckKind::PubRec, 9).await;
    assert_eq!(peer.bytes(5).await, [0x62, 3, 0, 9, 0x92]);
}

/// spec(5): MQTT-4.12.0-7
/// spec(5, client): RMQTT-4.12.0-1
#[tokio::test(start_paused = true)]
async fn authentication_that_nobody_asked_for_ends_the_connection() {
    let (_client, mut peer) = connected("auth", ProtocolVersion::V5, accepted()).await;
    peer.say(&Packet::Auth(Auth {
        reason: ReasonCode::ContinueAuthentication,
        method: "X".into(),
        data: None,
        reason_string: None,
        user_properties: Vec::new(),
    }))
    .await;
    assert_eq!(peer.rest().await, [0xE0, 1, 0x82]);
}

/// spec(4, client): MQTT-1.5.3-1, MQTT-1.5.3-2, MQTT-2.2.2-2, MQTT-3.3.1-4, MQTT-3.3.2-2, MQTT-4.7.1-1, MQTT-4.8.0-1
/// spec(5, client): MQTT-2.1.3-1, MQTT-3.3.1-4, MQTT-3.3.2-2, MQTT-4.7.0-1, MQTT-4.13.2-1, MQTT-3.15.1-1
#[tokio::test(start_paused = true)]
async fn what_breaks_the_protocol_ends_the_connection_with_a_reason() {
    let broken: [(&str, &[u8], u8); 12] = [
        ("QoS 3", &[0x36, 5, 0, 1, b't', 0, 1], 0x81),
        ("flags of PUBACK", &[0x41, 2, 0, 1], 0x81),
        ("flags of PUBREL", &[0x60, 2, 0, 1], 0x81),
        ("flags of AUTH", &[0xF1, 0], 0x81),
        ("type 0", &[0x00, 0], 0x81),
        ("bad UTF-8", &[0x30, 5, 0, 2, 0xC3, 0x28, 0], 0x81),
        ("a surrogate", &[0x30, 6, 0, 3, 0xED, 0xA0, 0x80, 0], 0x81),
        ("U+0000", &[0x30, 4, 0, 1, 0, 0], 0x81),
        ("a wildcard", &[0x30, 4, 0, 1, b'#', 0], 0),
        ("a second CONNACK", &[0x20, 3, 0, 0, 0], 0x82),
        ("SUBSCRIBE", &[0x82, 7, 0, 1, 0, 0, 1, b't', 0], 0x82),
        ("packet id 0", &[0x32, 6, 0, 1, b't', 0, 0, 0], 0),
    ];
    for version in VERSIONS {
        for (what, bytes, reason) in broken {
            let (client, mut peer) = connected("broken", version, accepted()).await;
            let mut events = client.events();
            peer.say_bytes(bytes).await;
            let rest = peer.rest().await;
            if version == ProtocolVersion::V5 {
                assert_eq!(rest[..2], [0xE0, 1], "{what}");
                assert!(rest[2] == reason || reason == 0, "{what}: {rest:02x?}");
            } else {
                assert!(rest.is_empty(), "{what}");
            }
            let event = soon(events.recv()).await.unwrap();
            assert!(
                matches!(
                    event,
                    rmqtt::client::Event::Disconnected {
                        error: ClientError::Protocol { .. },
                        ..
                    }
                ),
                "{what}: {event:?}"
            );
        }
    }
}

/// spec(4, client): MQTT-4.7.1-1, MQTT-4.7.1-2, MQTT-4.7.1-3
/// spec(5, client): MQTT-3.8.3-2, MQTT-3.8.3-4, MQTT-4.7.0-1, MQTT-4.7.1-1, MQTT-4.7.1-2, MQTT-4.8.2-1, MQTT-4.8.2-2
#[tokio::test(start_paused = true)]
async fn what_cannot_be_asked_for_is_refused_before_it_is_sent() {
    assert!(TopicName::new("a/#").is_err());
    for version in VERSIONS {
        let (client, mut peer) = connected("refused", version, accepted()).await;
        let mut asked: Vec<_> = ["", "a#", "a/#/b", "a+", "+a/b", "a\0b"]
            .map(|text| filter(text, QoS::AtMostOnce))
            .into();
        asked.push(Vec::new());
        if version == ProtocolVersion::V5 {
            for text in ["$share//t", "$share/g", "$share/g/", "$share/g+/t"] {
                asked.push(filter(text, QoS::AtMostOnce));
            }
            let mut no_local = filter("$share/g/t", QoS::AtMostOnce);
            no_local[0].options.no_local = true;
            asked.push(no_local);
        }
        for filters in asked {
            let text = format!("{filters:?}");
            let refused = soon(client.subscribe(filters, SubscriptionSettings::default()));
            assert!(
                matches!(refused.await, Err(ClientError::Misuse(_))),
                "{text}"
            );
        }
        assert!(peer.is_quiet(Duration::from_secs(1)).await);
    }
}

/// spec(5): RMQTT-3.2.2-10
/// spec(5): MQTT-3.2.2-11, MQTT-3.2.2-14
#[tokio::test(start_paused = true)]
async fn what_the_broker_lacks_is_a_typed_error() {
    let mut connack = accepted();
    let lacks = &mut connack.properties;
    lacks.wildcard_subscription_available = Some(false);
    lacks.shared_subscription_available = Some(false);
    lacks.subscription_identifiers_available = Some(false);
    lacks.retain_available = Some(false);
    lacks.maximum_qos = Some(QoS::AtMostOnce);
    let (client, mut peer) = connected("lacks", ProtocolVersion::V5, connack).await;
    for (text, what) in [
        ("a/+", "wildcard subscriptions"),
        ("$share/g/a", "shared subscriptions"),
    ] {
        let asked = client.subscribe(
            filter(text, QoS::AtMostOnce),
            SubscriptionSettings::default(),
        );
        assert_eq!(
            soon(asked).await.err(),
            Some(ClientError::NotSupportedByBroker(what))
        );
    }
    for (refused, what) in [
        (message("t", "", QoS::AtLeastOnce), "QoS 1"),
        (
            message("t", "", QoS::AtMostOnce).with_retain(true),
            "retained messages",
        ),
    ] {
        assert_eq!(
            soon(client.publish(refused)).await,
            Err(ClientError::NotSupportedByBroker(what))
        );
    }
    let asked = client.subscribe(
        filter("a", QoS::AtMostOnce),
        SubscriptionSettings::default(),
    );
    let (subscription, subscribe) = tokio::join!(soon(asked), peer.grant());
    assert_eq!(subscribe.subscription_id, None);
    // Without identifiers the filter decides.
    peer.say_message(message("a", "x", QoS::AtMostOnce), 0)
        .await;
    assert_eq!(read(&subscription.unwrap().inbox).await, "x");
}

#[tokio::test(start_paused = true)]
async fn a_property_that_3_1_1_cannot_carry_is_named_in_the_refusal() {
    let (client, _peer) = connected("names", ProtocolVersion::V3_1_1, accepted()).await;
    let mut asked = message("t", "", QoS::AtLeastOnce);
    asked.properties = Some(std::sync::Arc::new(rmqtt::message::MessageProperties {
        content_type: Some("text/plain".into()),
        ..Default::default()
    }));
    let Err(ClientError::Misuse(text)) = soon(client.publish(asked)).await else {
        panic!("not refused")
    };
    assert!(text.contains("content_type"), "{text}");
}

#[tokio::test(start_paused = true)]
async fn a_refused_message_is_a_typed_error_with_the_brokers_words() {
    let (client, mut peer) = connected("words", ProtocolVersion::V5, accepted()).await;
    let publish = client.publish(message("t", "", QoS::AtLeastOnce));
    let (refused, ()) = tokio::join!(soon(publish), async {
        let id = peer.heard_publish().await.packet_id.unwrap();
        let mut ack = Ack::new(AckKind::PubAck, id, ReasonCode::QuotaExceeded);
        ack.properties = Some(Box::new(rmqtt::codec::AckProperties {
            reason_string: Some("enough".into()),
            user_properties: vec![("limit".into(), "3".into())],
        }));
        peer.say(&Packet::Ack(ack)).await;
    });
    let Err(ClientError::PublishRefused {
        reason: ReasonCode::QuotaExceeded,
        properties: Some(properties),
    }) = refused
    else {
        panic!("{refused:?}")
    };
    assert_eq!(properties.reason_string.as_deref(), Some("enough"));
    assert_eq!(properties.user_properties, [("limit".into(), "3".into())]);
}

/// spec(5, client): MQTT-3.3.2-7
#[tokio::test(start_paused = true)]
async fn aliases_of_the_broker_do_not_outlive_their_connection() {
    let mut stage = Stage::new("aliases", ProtocolVersion::V5).await;
    stage.keep_session();
    let (client, mut peer) = stage.pair(accepted()).await;
    let subscription = peer
        .subscribed(&client, "a", SubscriptionSettings::default())
        .await;
    let mut publish = Publish::new(message("a", "x", QoS::AtMostOnce));
    publish.topic_alias = NonZeroU16::new(1);
    peer.say(&Packet::Publish(publish.clone())).await;
    publish.topic_on_wire = false;
    peer.say(&Packet::Publish(publish.clone())).await;
    for _ in 0..2 {
        assert_eq!(read(&subscription.inbox).await, "x");
    }
    drop(peer);
    let mut peer = stage.welcome(crate::client_script::resumed()).await;
    peer.say(&Packet::Publish(publish)).await;
    assert_eq!(peer.rest().await, [0xE0, 1, 0x82]);
}
