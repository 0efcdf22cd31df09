//! What a client counts and tells: bounds and high-water marks, drops by cause, round trips, and waiting for a connection.

use crate::client_script::{Stage, accepted, message, next, soon};
use rmqtt::client::{ClientError, DropCause, Event, RoundTrips, SubscriptionSettings, TryPublish};
use rmqtt::codec::{AckKind, Packet, ProtocolVersion, ReasonCode};
use rmqtt::message::QoS;
use std::time::Duration;
use tokio::time::Instant;

const V5: ProtocolVersion = ProtocolVersion::V5;

fn settings(messages_max: usize) -> SubscriptionSettings {
    SubscriptionSettings {
        messages_max,
        ..SubscriptionSettings::default()
    }
}

#[tokio::test(start_paused = true)]
async fn the_outbox_tells_its_bounds_and_the_most_it_ever_held() {
    let mut stage = Stage::new("outbox-high", V5).await;
    stage.options.queue_messages_max = 50;
    let (client, mut peer) = stage.pair(accepted()).await;
    for _ in 0..5 {
        let sent = client.try_publish(message("t", "x", QoS::AtLeastOnce), None);
        assert!(matches!(sent, Ok(TryPublish::Queued)));
    }
    for _ in 0..5 {
        let id = peer.heard_publish().await.packet_id.unwrap().get();
        peer.say_ack(AckKind::PubAck, id).await;
    }
    soon(client.drain()).await.unwrap();
    let stats = client.stats();
    assert_eq!((stats.queued_messages, stats.in_flight), (0, 0));
    assert_eq!((stats.outbox_messages_high, stats.in_flight_high), (5, 5));
    assert_eq!(stats.outbox_messages_max, 50);
    assert!(stats.outbox_bytes_high >= 5 * 2 && stats.outbox_bytes_high < stats.outbox_bytes_max);
    assert_eq!(stats.acknowledged, 5);
}

#[tokio::test(start_paused = true)]
async fn an_inbox_tells_its_bounds_and_the_most_it_ever_held() {
    let stage = Stage::new("inbox-high", V5).await;
    let (client, mut peer) = stage.pair(accepted()).await;
    let subscription = peer.subscribed(&client, "s", settings(2)).await;
    for id in 1..=3 {
        peer.say_message(message("s", "x", QoS::AtLeastOnce), id)
            .await;
    }
    for _ in 0..3 {
        let delivery = next(&subscription.inbox).await.unwrap();
        if let Some(receipt) = delivery.receipt {
            subscription.inbox.processed(receipt, ReasonCode::Success);
        }
    }
    let stats = subscription.inbox.stats();
    assert_eq!((stats.received, stats.dropped, stats.pending), (3, 0, 0));
    assert_eq!((stats.pending_max, stats.pending_bytes), (2, 0));
    assert!(stats.pending_high >= 1 && stats.pending_bytes_high >= 2);
}

#[tokio::test(start_paused = true)]
async fn drops_are_told_together_and_at_most_once_a_second() {
    let stage = Stage::new("drops", V5).await;
    let (client, mut peer) = stage.pair(accepted()).await;
    let subscription = peer.subscribed(&client, "s", settings(1)).await;
    let mut events = client.events();
    let begin = Instant::now();
    let mut told = 0;
    for _ in 0..10 {
        for _ in 0..10 {
            peer.say_message(message("s", "x", QoS::AtMostOnce), 0)
                .await;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let mut tellings = Vec::new();
    while told < 99 {
        let Event::Dropped {
            count,
            cause: DropCause::Overflow,
            filters,
        } = soon(events.recv()).await.unwrap()
        else {
            panic!("not told")
        };
        assert_eq!(filters, ["s"]);
        told += count;
        tellings.push(begin.elapsed());
    }
    assert_eq!(told, 99);
    assert!(tellings.len() <= 3, "{tellings:?}");
    let stats = client.stats();
    assert_eq!((stats.dropped, stats.dropped_overflow), (99, 99));
    assert_eq!(subscription.inbox.stats().dropped, 99);
}

#[tokio::test(start_paused = true)]
async fn what_is_dropped_without_a_connection_is_told_before_the_next() {
    let stage = Stage::new("drops-offline", V5).await;
    let (client, peer) = stage.pair(accepted()).await;
    let mut events = client.events();
    drop(peer);
    soon(events.recv()).await.unwrap();
    for _ in 0..3 {
        drop(client.try_publish(message("t", "x", QoS::AtMostOnce), None));
    }
    let told = Event::Dropped {
        count: 3,
        cause: DropCause::Offline,
        filters: Vec::new(),
    };
    assert_eq!(soon(events.recv()).await.unwrap(), told);
    assert_eq!(client.stats().dropped_offline, 3);
}

#[tokio::test(start_paused = true)]
async fn pings_and_acknowledgements_tell_how_long_the_broker_takes() {
    let mut stage = Stage::new("round-trips", V5).await;
    stage.options.keep_alive = 10;
    let (client, mut peer) = stage.pair(accepted()).await;
    assert_eq!(client.round_trips().percentile(50), None);
    let publishing = client.clone();
    let publishing = tokio::spawn(async move {
        publishing
            .publish(message("t", "x", QoS::AtLeastOnce))
            .await
    });
    let id = peer.heard_publish().await.packet_id.unwrap().get();
    tokio::time::sleep(Duration::from_millis(100)).await;
    peer.say_ack(AckKind::PubAck, id).await;
    soon(publishing).await.unwrap().unwrap();
    assert_eq!(client.round_trips().count(), 1);
    assert_eq!(peer.heard_or_end().await, Some(Packet::PingReq));
    tokio::time::sleep(Duration::from_secs(1)).await;
    peer.say(&Packet::PingResp).await;
    peer.heard_or_end().await;
    let answers = client.round_trips();
    assert_eq!(answers.count(), 2);
    assert!(answers.max() >= Duration::from_secs(1) && answers.max() < Duration::from_millis(1100));
    let half = answers.percentile(50).unwrap();
    assert!(
        half >= Duration::from_millis(100) && half <= Duration::from_millis(130),
        "{half:?}"
    );
}

#[test]
fn a_percentile_is_never_too_low_and_at_most_a_quarter_too_high() {
    for micros in [1, 3, 7, 100, 999, 12_345, 1_000_000, 200_000_000] {
        let took = Duration::from_micros(micros);
        let mut answers = RoundTrips::default();
        for _ in 0..99 {
            answers.add(took);
        }
        answers.add(took * 100);
        let half = answers.percentile(50).unwrap();
        assert!(
            half >= took && half <= took + took / 4 + Duration::from_micros(1),
            "{took:?}"
        );
        assert_eq!(answers.percentile(99), Some(half));
        assert_eq!(answers.percentile(100), Some(took * 100));
    }
}

#[tokio::test(start_paused = true)]
async fn who_waits_for_a_connection_gets_it_or_hears_why_there_is_none() {
    let mut stage = Stage::new("wait", V5).await;
    stage.options.reconnect.as_mut().unwrap().max_attempts = Some(2);
    let (client, peer) = stage.pair(accepted()).await;
    soon(client.connected()).await.unwrap();
    let mut events = client.events();
    drop(peer);
    soon(events.recv()).await.unwrap();
    let waiting = client.clone();
    let waiting = tokio::spawn(async move { waiting.connected().await });
    let peer = stage.welcome(accepted()).await;
    soon(waiting).await.unwrap().unwrap();
    drop(stage);
    drop(peer);
    while client.stats().connected {
        soon(events.recv()).await.unwrap();
    }
    let failure = soon(client.connected()).await.unwrap_err();
    assert!(matches!(failure, ClientError::ConnectFailed { .. }));
    let never = rmqtt::client::Client::new(rmqtt::client::ClientOptions::new(
        rmqtt::transport::Address::Memory {
            name: "wait".to_owned(),
        },
    ));
    assert_eq!(
        soon(never.connected()).await.err(),
        Some(ClientError::NotConnected)
    );
}
