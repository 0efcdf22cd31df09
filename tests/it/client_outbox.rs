//! A full outbox: what goes, what is refused, what never goes.

use crate::client_script::{Peer, Stage, accepted, message, resumed, soon};
use rmqtt::client::{
    Answer, Client, ClientError, Done, DropCause, Event, OnFull, Published, TryPublish,
};
use rmqtt::codec::{AckKind, ConnAck, PacketId, ProtocolVersion};
use rmqtt::message::{Message, MessageProperties, QoS};
use std::num::NonZeroU16;
use std::sync::{Arc, Mutex};
use std::time::Duration;

const V5: ProtocolVersion = ProtocolVersion::V5;
const QOS: QoS = QoS::AtLeastOnce;

type Outcomes = Arc<Mutex<Vec<(u32, Result<(), ClientError>)>>>;

/// With room for so many messages, and a broker that takes so many at a time.
async fn stage(name: &str, messages_max: usize, on_full: OnFull) -> Stage {
    let mut stage = Stage::new(name, V5).await;
    stage.keep_session();
    stage.options.queue_messages_max = messages_max;
    stage.options.on_full = on_full;
    stage
}

/// The client's next try comes so many seconds after a cut.
fn come_back_after(stage: &mut Stage, seconds: u64) {
    let reconnect = stage.options.reconnect.as_mut().expect("the usual");
    reconnect.initial = Duration::from_secs(seconds);
    reconnect.max = reconnect.initial;
}

fn with_window(mut connack: ConnAck, window: u16) -> ConnAck {
    connack.properties.receive_maximum = NonZeroU16::new(window);
    connack
}

/// Publishes the numbers; the outcomes come in the order of their coming.
fn publish(client: &Client, numbers: impl IntoIterator<Item = u32>, qos: QoS) -> Outcomes {
    let outcomes = Outcomes::default();
    for number in numbers {
        let told = Arc::clone(&outcomes);
        let done: Done<Published> = Box::new(move |outcome: Result<Published, _>| {
            told.lock()
                .expect("whole")
                .push((number, outcome.map(|_| ())));
        });
        let put = client.try_publish(message("t", number.to_string(), qos), Some(done));
        assert!(matches!(put, Ok(TryPublish::Queued)));
    }
    outcomes
}

fn dropped(outcomes: &Outcomes) -> Vec<u32> {
    let outcomes = outcomes.lock().expect("whole");
    let all = outcomes.iter();
    all.filter(|(_, outcome)| *outcome == Err(ClientError::Dropped))
        .map(|(number, _)| *number)
        .collect()
}

/// The next message's payload and packet id.
async fn hear(peer: &mut Peer) -> (String, u16) {
    let publish = peer.heard_publish().await;
    let id = publish.packet_id.map_or(0, PacketId::get);
    let text = String::from_utf8(publish.message.payload.to_vec());
    (text.expect("text"), id)
}

async fn hear_offline(events: &mut tokio::sync::broadcast::Receiver<Event>) {
    while !matches!(soon(events.recv()).await, Ok(Event::Disconnected { .. })) {}
}

#[tokio::test(start_paused = true)]
async fn the_oldest_that_waits_goes_and_what_was_sent_stays() {
    let stage = stage("drop-oldest", 4, OnFull::DropOldest).await;
    let (client, mut peer) = stage.pair(with_window(accepted(), 2)).await;
    let outcomes = publish(&client, 1..=2, QOS);
    let sent = [hear(&mut peer).await, hear(&mut peer).await];
    assert_eq!([&sent[0].0, &sent[1].0], ["1", "2"]);
    let waiting = publish(&client, 3..=8, QOS);
    assert_eq!(dropped(&waiting), [3, 4, 5, 6]);
    let stats = client.stats();
    assert_eq!((stats.dropped, stats.dropped_full), (4, 4));
    assert_eq!((stats.queued_messages, stats.in_flight), (2, 2));
    assert_eq!(stats.outbox_messages_high, 4);
    for (_, id) in sent {
        peer.say_ack(AckKind::PubAck, id).await;
    }
    for expected in ["7", "8"] {
        let (text, id) = hear(&mut peer).await;
        assert_eq!(text, expected);
        peer.say_ack(AckKind::PubAck, id).await;
    }
    soon(client.drain()).await.expect("all is settled");
    assert!(dropped(&outcomes).is_empty());
    assert_eq!(outcomes.lock().expect("whole").len(), 2);
}

#[tokio::test(start_paused = true)]
async fn without_a_connection_the_bound_holds_too_and_drops_are_told() {
    let stage = stage("drop-offline", 4, OnFull::DropOldest).await;
    let (client, mut peer) = stage.pair(with_window(accepted(), 2)).await;
    let sent = publish(&client, 1..=3, QOS);
    hear(&mut peer).await;
    hear(&mut peer).await;
    let mut events = client.events();
    drop(peer);
    hear_offline(&mut events).await;
    let waiting = publish(&client, 4..=9, QOS);
    assert_eq!(
        (dropped(&sent), dropped(&waiting)),
        (vec![3], vec![4, 5, 6, 7])
    );
    assert_eq!(
        soon(events.recv()).await,
        Ok(Event::Dropped {
            count: 5,
            cause: DropCause::OutboxFull,
            filters: Vec::new()
        })
    );
    let mut peer = stage.welcome(with_window(resumed(), 2)).await;
    for expected in ["1", "2", "8", "9"] {
        let (text, id) = hear(&mut peer).await;
        assert_eq!(text, expected);
        peer.say_ack(AckKind::PubAck, id).await;
    }
    soon(client.drain()).await.expect("all is settled");
    assert_eq!(client.stats().outbox_messages_high, 4);
}

#[tokio::test(start_paused = true)]
async fn bytes_are_a_bound_too() {
    let mut stage = stage("drop-bytes", 100, OnFull::DropOldest).await;
    // Each takes 64 bytes beside its own two.
    stage.options.queue_bytes_max = 3 * 66;
    let (client, mut peer) = stage.pair(with_window(accepted(), 1)).await;
    let outcomes = publish(&client, 1..=5, QOS);
    hear(&mut peer).await;
    let more = publish(&client, 6..=6, QOS);
    assert_eq!((dropped(&outcomes).len(), dropped(&more).len()), (3, 0));
    assert!(client.stats().outbox_bytes_high <= 3 * 66);
}

#[tokio::test(start_paused = true)]
async fn where_everything_is_sent_the_newest_goes_in_all_the_same() {
    let stage = stage("drop-nothing", 2, OnFull::DropOldest).await;
    let (client, mut peer) = stage.pair(with_window(accepted(), 2)).await;
    publish(&client, 1..=2, QOS);
    hear(&mut peer).await;
    hear(&mut peer).await;
    let third = publish(&client, 3..=3, QOS);
    let fourth = publish(&client, 4..=4, QOS);
    assert_eq!((dropped(&third), dropped(&fourth)), (vec![3], vec![]));
    assert_eq!(client.stats().outbox_messages_high, 3);
}

#[tokio::test(start_paused = true)]
async fn a_window_that_is_wider_than_the_outbox_does_not_widen_it() {
    let mut stage = stage("drop-wide", 4, OnFull::DropOldest).await;
    stage.options.queue_bytes_max = 3 * 66;
    let (client, mut peer) = stage.pair(accepted()).await;
    let mut sent = Vec::new();
    for number in 1..=3 {
        publish(&client, number..=number, QOS);
        sent.push(hear(&mut peer).await);
    }
    let more = publish(&client, 4..=9, QOS);
    assert_eq!(dropped(&more), [4, 5, 6, 7, 8]);
    assert_eq!(client.stats().outbox_messages_high, 4);
    for (_, id) in sent {
        peer.say_ack(AckKind::PubAck, id).await;
    }
    assert_eq!(hear(&mut peer).await.0, "9");
}

#[tokio::test(start_paused = true)]
async fn messages_of_qos_0_that_are_kept_go_in_their_turn() {
    let mut stage = stage("drop-qos0", 2, OnFull::DropOldest).await;
    stage.options.keep_qos0 = true;
    let (client, peer) = stage.pair(accepted()).await;
    let mut events = client.events();
    drop(peer);
    hear_offline(&mut events).await;
    let first = publish(&client, 1..=1, QoS::AtMostOnce);
    let second = publish(&client, 2..=2, QOS);
    let others = publish(&client, 3..=4, QoS::AtMostOnce);
    assert_eq!(
        (dropped(&first), dropped(&second), dropped(&others)),
        (vec![1], vec![2], vec![])
    );
    let mut peer = stage.welcome(resumed()).await;
    assert_eq!(hear(&mut peer).await.0, "3");
    assert_eq!(hear(&mut peer).await.0, "4");
}

#[tokio::test(start_paused = true)]
async fn without_keeping_qos_0_the_cut_drops_what_waits_of_it() {
    let stage = stage("drop-qos0-cut", 10, OnFull::DropOldest).await;
    let (client, peer) = stage.pair(accepted()).await;
    let mut events = client.events();
    drop(peer);
    let outcomes = publish(&client, 1..=3, QoS::AtMostOnce);
    hear_offline(&mut events).await;
    let kept = publish(&client, 4..=4, QOS);
    let mut peer = stage.welcome(resumed()).await;
    assert_eq!(hear(&mut peer).await.0, "4");
    assert_eq!(outcomes.lock().expect("whole").len(), 3);
    assert!(dropped(&kept).is_empty());
}

/// Nobody waits any more.
struct GivenUp;

impl Answer<Published> for GivenUp {
    fn begins(&self) -> bool {
        false
    }

    fn answer(self: Box<Self>, _: Result<Published, ClientError>) {}
}

#[tokio::test(start_paused = true)]
async fn what_was_taken_back_is_not_counted_as_dropped() {
    let stage = stage("drop-withdrawn", 2, OnFull::DropOldest).await;
    let (client, mut peer) = stage.pair(with_window(accepted(), 1)).await;
    publish(&client, 1..=1, QOS);
    hear(&mut peer).await;
    drop(client.try_publish(message("t", "x", QOS), Some(Box::new(GivenUp))));
    publish(&client, 2..=2, QOS);
    assert_eq!(client.stats().dropped, 0);
    assert_eq!(client.stats().queued_messages, 1);
}

#[tokio::test(start_paused = true)]
async fn with_error_a_full_outbox_refuses_at_once() {
    let stage = stage("full-error", 2, OnFull::Error).await;
    let (client, mut peer) = stage.pair(with_window(accepted(), 1)).await;
    let outcomes = publish(&client, 1..=2, QOS);
    hear(&mut peer).await;
    let refused = soon(client.publish(message("t", "x", QOS))).await;
    assert_eq!(refused, Err(ClientError::OutboxFull));
    let mut events = client.events();
    drop(peer);
    hear_offline(&mut events).await;
    let refused = soon(client.publish(message("t", "x", QOS))).await;
    assert_eq!(refused, Err(ClientError::OutboxFull));
    assert!(outcomes.lock().expect("whole").is_empty());
}

fn expiring(text: &str, seconds: u32) -> Message {
    let mut message = message("t", text, QOS);
    message.properties = Some(Arc::new(MessageProperties {
        message_expiry_interval: Some(seconds),
        ..MessageProperties::default()
    }));
    message
}

fn put(client: &Client, message: Message) {
    let put = client.try_publish(message, None);
    assert!(matches!(put, Ok(TryPublish::Queued)));
}

/// The next message's payload, packet id and what is left of its expiry.
async fn hear_expiry(peer: &mut Peer) -> (String, u16, Option<u32>) {
    let publish = peer.heard_publish().await;
    let id = publish.packet_id.map_or(0, PacketId::get);
    let text = String::from_utf8(publish.message.payload.to_vec());
    let left = publish.message.properties().message_expiry_interval;
    (text.expect("text"), id, left)
}

async fn pass(seconds: u64) {
    tokio::time::sleep(Duration::from_secs(seconds)).await;
}

#[tokio::test(start_paused = true)]
async fn what_waits_too_long_without_a_connection_fails_there_and_then() {
    let mut stage = stage("ttl-offline", 2, OnFull::Wait).await;
    come_back_after(&mut stage, 80);
    stage.options.outbox_ttl = Some(Duration::from_secs(60));
    let (client, peer) = stage.pair(accepted()).await;
    let mut events = client.events();
    drop(peer);
    hear_offline(&mut events).await;
    let outcomes = publish(&client, 1..=1, QOS);
    pass(30).await;
    publish(&client, 2..=2, QOS);
    let room = client.clone();
    let room = tokio::spawn(async move { room.room().await });
    assert!(matches!(
        client.try_publish(message("t", "3", QOS), None),
        Ok(TryPublish::Full(..))
    ));
    pass(29).await;
    assert!(outcomes.lock().expect("whole").is_empty());
    pass(2).await;
    assert_eq!(
        *outcomes.lock().expect("whole"),
        [(1, Err(ClientError::Expired))]
    );
    soon(room).await.expect("it runs").expect("there is room");
    let stats = client.stats();
    assert_eq!((stats.dropped, stats.dropped_expired), (1, 1));
    assert_eq!(stats.queued_messages, 1);
    assert_eq!(
        soon(events.recv()).await,
        Ok(Event::Dropped {
            count: 1,
            cause: DropCause::Expired,
            filters: Vec::new()
        })
    );
    let mut peer = stage.welcome(resumed()).await;
    assert_eq!(hear(&mut peer).await.0, "2");
}

#[tokio::test(start_paused = true)]
async fn a_window_that_stays_closed_lets_what_waits_expire_and_what_is_sent_stay() {
    let mut stage = stage("ttl-window", 100, OnFull::Wait).await;
    stage.options.keep_alive = 0;
    stage.options.outbox_ttl = Some(Duration::from_secs(60));
    let (client, mut peer) = stage.pair(with_window(accepted(), 1)).await;
    let outcomes = publish(&client, 1..=3, QOS);
    let (_, id) = hear(&mut peer).await;
    pass(61).await;
    let told: Vec<_> = std::mem::take(&mut *outcomes.lock().expect("whole"));
    assert_eq!(
        told,
        [
            (2, Err(ClientError::Expired)),
            (3, Err(ClientError::Expired))
        ]
    );
    peer.say_ack(AckKind::PubAck, id).await;
    soon(client.drain()).await.expect("all is settled");
    assert_eq!(*outcomes.lock().expect("whole"), [(1, Ok(()))]);
}

#[tokio::test(start_paused = true)]
async fn what_is_sent_carries_what_is_left_of_its_expiry() {
    let mut stage = stage("expiry-left", 100, OnFull::Wait).await;
    come_back_after(&mut stage, 40);
    let (client, peer) = stage.pair(accepted()).await;
    let mut events = client.events();
    drop(peer);
    hear_offline(&mut events).await;
    put(&client, expiring("late", 30));
    put(&client, expiring("in time", 100));
    put(&client, expiring("never", 0));
    pass(30).await;
    let mut peer = stage.welcome(resumed()).await;
    let (text, _, left) = hear_expiry(&mut peer).await;
    assert_eq!(text, "in time");
    assert!(
        left.is_some_and(|left| (58..=62).contains(&left)),
        "{left:?}"
    );
    assert_eq!(client.stats().dropped_expired, 2);
}

#[tokio::test(start_paused = true)]
async fn what_is_sent_as_new_has_aged_and_what_is_sent_again_has_not() {
    let stage = stage("expiry-again", 100, OnFull::Wait).await;
    let (client, mut peer) = stage.pair(accepted()).await;
    put(&client, expiring("x", 100));
    assert_eq!(hear_expiry(&mut peer).await.2, Some(100));
    pass(10).await;
    drop(peer);
    let mut peer = stage.welcome(resumed()).await;
    assert_eq!(hear_expiry(&mut peer).await.2, Some(100));
    pass(10).await;
    drop(peer);
    let mut peer = stage.welcome(accepted()).await;
    let left = hear_expiry(&mut peer).await.2;
    assert!(
        left.is_some_and(|left| (70..=80).contains(&left)),
        "{left:?}"
    );
}
