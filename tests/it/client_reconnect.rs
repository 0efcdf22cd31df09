//! What a client does between two connections, and when there will be none any more.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail by panicking")]

use crate::client_script::{Peer, Stage, VERSIONS, accepted, filter, message, resumed, soon};
use rmqtt::client::{
    Client, ClientError, ClientOptions, Close, Event, Reconnect, SubscriptionSettings, TryPublish,
};
use rmqtt::codec::{AckKind, Disconnect, Packet, ProtocolVersion, ReasonCode};
use rmqtt::message::QoS;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::sync::broadcast::Receiver;
use tokio::time::Instant;

const V5: ProtocolVersion = ProtocolVersion::V5;

fn send(client: &Client, text: &str, qos: QoS) {
    let sent = client.try_publish(message("t", text, qos), None).unwrap();
    assert!(matches!(sent, TryPublish::Queued));
}

fn reconnect(options: &mut ClientOptions) -> &mut Reconnect {
    options.reconnect.as_mut().unwrap()
}

/// The payloads and the DUP flags of so many PUBLISH packets.
async fn heard(peer: &mut Peer, count: usize) -> Vec<(String, u16, bool)> {
    let mut all = Vec::new();
    for _ in 0..count {
        let publish = peer.heard_publish().await;
        all.push((
            String::from_utf8(publish.message.payload.to_vec()).unwrap(),
            publish.packet_id.map_or(0, rmqtt::codec::PacketId::get),
            publish.dup,
        ));
    }
    all
}

/// spec(4): MQTT-2.3.1-3, MQTT-4.6.0-1
/// spec(4, client): MQTT-3.1.2-4, MQTT-3.3.1-1, MQTT-4.1.0-1, MQTT-4.3.2-1, MQTT-4.3.3-1, MQTT-4.4.0-1
/// spec(5): MQTT-4.6.0-1
/// spec(5, client): MQTT-3.1.2-23, MQTT-3.3.1-1, MQTT-4.1.0-1, MQTT-4.3.2-3, MQTT-4.4.0-1
#[tokio::test(start_paused = true)]
async fn a_resumed_session_goes_on_where_it_was_in_the_first_order() {
    for version in VERSIONS {
        let mut stage = Stage::new("resumed", version).await;
        stage.keep_session();
        let (client, mut peer) = stage.pair(accepted()).await;
        let order = [1, 2, 1, 2, 2].map(|number| QoS::from_number(number).unwrap());
        for (place, qos) in order.into_iter().enumerate() {
            send(&client, &place.to_string(), qos);
        }
        heard(&mut peer, 5).await;
        peer.say_ack(AckKind::PubAck, 1).await;
        peer.say_ack(AckKind::PubRec, 4).await;
        assert_eq!(peer.heard_ack().await, (AckKind::PubRel, 4));
        drop(peer);
        let mut peer = stage.welcome(resumed()).await;
        assert!(!peer.connect.clean_start);
        let again = heard(&mut peer, 2).await;
        let expect = |text: &str, id| (text.to_owned(), id, true);
        assert_eq!(again, [expect("1", 2), expect("2", 3)]);
        assert_eq!(peer.heard_ack().await, (AckKind::PubRel, 4));
        assert_eq!(heard(&mut peer, 1).await, [expect("4", 5)]);
        for (kind, id) in [
            (AckKind::PubRec, 2),
            (AckKind::PubAck, 3),
            (AckKind::PubComp, 4),
            (AckKind::PubRec, 5),
        ] {
            peer.say_ack(kind, id).await;
        }
        for id in [2, 5] {
            assert_eq!(peer.heard_ack().await, (AckKind::PubRel, id));
            peer.say_ack(AckKind::PubComp, id).await;
        }
        soon(client.drain()).await.unwrap();
        drop(peer);
        let mut peer = stage.welcome(resumed()).await;
        assert!(peer.is_quiet(Duration::from_secs(5)).await);
    }
}

/// spec(5): MQTT-3.2.2-5
/// spec(4, client): MQTT-3.1.2-6
#[tokio::test(start_paused = true)]
async fn after_a_lost_session_everything_is_sent_as_new_and_asked_for_again() {
    for version in VERSIONS {
        let stage = Stage::new("lost", version).await;
        let (client, mut peer) = stage.pair(accepted()).await;
        let mut events = client.events();
        let _subscription = peer
            .subscribed(&client, "s", SubscriptionSettings::default())
            .await;
        let outcomes: Vec<_> = (0..3)
            .map(|place| {
                let client = client.clone();
                let qos = if place == 1 {
                    QoS::ExactlyOnce
                } else {
                    QoS::AtLeastOnce
                };
                tokio::spawn(
                    async move { client.publish(message("t", place.to_string(), qos)).await },
                )
            })
            .collect();
        heard(&mut peer, 3).await;
        peer.say_ack(AckKind::PubRec, 3).await;
        assert_eq!(peer.heard_ack().await, (AckKind::PubRel, 3));
        drop(peer);
        let mut peer = stage.welcome(accepted()).await;
        assert!(peer.connect.clean_start);
        // SUBSCRIBE takes the next id; the messages of the old session come without DUP, the one past PUBREC not at all.
        assert_eq!(peer.grant().await.filters[0].filter, "s");
        for (text, id, dup) in heard(&mut peer, 2).await {
            assert!(!dup, "{text}");
            peer.say_ack(AckKind::PubAck, id).await;
        }
        for outcome in outcomes {
            soon(outcome).await.unwrap().unwrap();
        }
        assert!(matches!(
            events.recv().await.unwrap(),
            Event::Disconnected { .. }
        ));
        assert!(matches!(events.recv().await.unwrap(), Event::Connected(_)));
        assert_eq!(events.recv().await.unwrap(), Event::SessionLost);
    }
}

/// spec(4, client): MQTT-4.1.0-2, MQTT-3.1.2-23
#[tokio::test(start_paused = true)]
async fn an_idle_connection_lives_by_pings_and_a_silent_broker_is_left() {
    for version in VERSIONS {
        let mut stage = Stage::new("idle", version).await;
        stage.options.keep_alive = 10;
        let (client, mut peer) = stage.pair(accepted()).await;
        let mut last = Instant::now();
        for _ in 0..20 {
            assert_eq!(peer.heard_or_end().await, Some(Packet::PingReq));
            assert!(last.elapsed() <= Duration::from_secs(10));
            last = Instant::now();
            peer.say(&Packet::PingResp).await;
        }
        assert_eq!(client.stats().connects, 1);
        assert_eq!(peer.heard_or_end().await, Some(Packet::PingReq));
        assert_eq!(peer.heard_or_end().await, None);
        assert!(last.elapsed() <= Duration::from_secs(20));
        stage.welcome(accepted()).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_client_that_only_publishes_notices_a_dead_broker() {
    let mut stage = Stage::new("half-open", V5).await;
    stage.options.keep_alive = 10;
    let (client, mut peer) = stage.pair(accepted()).await;
    let mut events = client.events();
    let begin = Instant::now();
    while events.try_recv().is_err() {
        if client.stats().connected {
            send(&client, "x", QoS::AtMostOnce);
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
        peer.ignore().await;
    }
    assert!(
        begin.elapsed() < Duration::from_secs(30),
        "{:?}",
        begin.elapsed()
    );
}

#[tokio::test(start_paused = true)]
async fn the_delays_grow_to_their_ceiling_and_start_over_after_a_stable_connection() {
    let mut stage = Stage::new("delays", V5).await;
    reconnect(&mut stage.options).max = Duration::from_secs(2);
    let (client, peer) = stage.pair(accepted()).await;
    drop(peer);
    for (expected_ms, lasts) in [(500, 0), (1000, 1), (2000, 1), (2000, 60), (500, 0)] {
        let cut = Instant::now();
        let peer = stage.welcome(accepted()).await;
        assert_eq!(cut.elapsed().as_millis(), expected_ms);
        tokio::time::sleep(Duration::from_secs(lasts)).await;
        drop(peer);
    }
    drop(client);
}

#[tokio::test(start_paused = true)]
async fn without_reconnect_a_cut_is_the_end_and_every_wait_is_told() {
    let mut stage = Stage::new("once", V5).await;
    stage.options.reconnect = None;
    let (client, mut peer) = stage.pair(accepted()).await;
    let (subscribing, publishing) = (client.clone(), client.clone());
    let waits = [
        tokio::spawn(async move {
            let asked = filter("s", QoS::AtMostOnce);
            let asked = subscribing.subscribe(asked, SubscriptionSettings::default());
            asked.await.map(|_| ())
        }),
        tokio::spawn(async move {
            let asked = publishing.publish(message("t", "x", QoS::ExactlyOnce));
            asked.await.map(|_| ())
        }),
        {
            let client = client.clone();
            tokio::spawn(async move {
                tokio::task::yield_now().await;
                client.drain().await
            })
        },
    ];
    peer.heard().await;
    peer.heard().await;
    drop(peer);
    for wait in waits {
        let error = soon(wait).await.unwrap().unwrap_err();
        assert!(
            matches!(error, ClientError::ConnectionLost { .. }),
            "{error}"
        );
    }
    soon(client.close(Close::Drain(Duration::from_secs(9)))).await;
}

#[tokio::test(start_paused = true)]
async fn while_offline_messages_wait_by_their_bounds_and_qos_0_is_dropped_and_counted() {
    let mut stage = Stage::new("offline", V5).await;
    stage.options.queue_messages_max = 3;
    let (client, peer) = stage.pair(accepted()).await;
    let mut events = client.events();
    drop(peer);
    soon(events.recv()).await.unwrap();
    send(&client, "lost", QoS::AtMostOnce);
    for text in ["1", "2", "3"] {
        send(&client, text, QoS::AtLeastOnce);
    }
    let full = client.try_publish(message("t", "4", QoS::AtLeastOnce), None);
    assert!(matches!(full, Ok(TryPublish::Full(..))));
    assert_eq!(client.stats().queued_messages, 3);
    assert_eq!(client.stats().dropped, 1);
    let waiting = {
        let client = client.clone();
        tokio::spawn(async move { client.publish(message("t", "4", QoS::AtLeastOnce)).await })
    };
    let mut peer = stage.welcome(accepted()).await;
    for number in 1..=4 {
        let (text, id, _) = heard(&mut peer, 1).await.remove(0);
        assert_eq!(text, number.to_string());
        peer.say_ack(AckKind::PubAck, id).await;
    }
    soon(waiting).await.unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn qos_0_is_kept_while_offline_if_asked_for() {
    let mut stage = Stage::new("kept", V5).await;
    stage.options.keep_qos0 = true;
    let (client, peer) = stage.pair(accepted()).await;
    let mut events = client.events();
    drop(peer);
    soon(events.recv()).await.unwrap();
    send(&client, "kept", QoS::AtMostOnce);
    let mut peer = stage.welcome(accepted()).await;
    assert_eq!(heard(&mut peer, 1).await[0].0, "kept");
}

#[tokio::test(start_paused = true)]
async fn closing_while_offline_waits_for_the_queue_no_longer_than_asked() {
    let stage = Stage::new("late", V5).await;
    let (client, peer) = stage.pair(accepted()).await;
    let mut events = client.events();
    drop((peer, stage));
    soon(events.recv()).await.unwrap();
    send(&client, "x", QoS::AtLeastOnce);
    let begin = Instant::now();
    soon(client.close(Close::Drain(Duration::from_secs(7)))).await;
    assert_eq!(begin.elapsed().as_secs(), 7);
}

#[test]
fn a_runtime_that_goes_away_answers_every_operation_once() {
    let answered = Arc::new(AtomicUsize::new(0));
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let client = runtime.block_on(async {
        let stage = Stage::new("runtime", V5).await;
        let (client, mut peer) = stage.pair(accepted()).await;
        for _ in 0..3 {
            let answered = Arc::clone(&answered);
            let done = Box::new(move |outcome: Result<_, _>| {
                assert_eq!(outcome, Err(ClientError::Closed));
                answered.fetch_add(1, Ordering::SeqCst);
            });
            client
                .try_publish(message("t", "x", QoS::AtLeastOnce), Some(done))
                .map(|_| ())
                .unwrap();
        }
        heard(&mut peer, 1).await;
        client
    });
    drop(runtime);
    assert_eq!(answered.load(Ordering::SeqCst), 3);
    let late = client.try_publish(message("t", "x", QoS::AtMostOnce), None);
    assert_eq!(late.err(), Some(ClientError::Closed));
}

#[tokio::test(start_paused = true)]
async fn what_a_resumed_connection_does_not_take_is_refused_at_once() {
    let mut stage = Stage::new("not-taken", V5).await;
    stage.keep_session();
    let (client, mut peer) = stage.pair(accepted()).await;
    let kept = message("t", "kept", QoS::AtLeastOnce).with_retain(true);
    let publishing = tokio::spawn(async move { client.publish(kept).await });
    heard(&mut peer, 1).await;
    drop(peer);
    let mut connack = resumed();
    connack.properties.retain_available = Some(false);
    let _peer = stage.welcome(connack).await;
    let begin = Instant::now();
    let refused = soon(publishing).await.unwrap();
    assert!(
        matches!(
            &refused,
            Err(ClientError::NotSupportedByBroker("retained messages"))
        ),
        "{refused:?}"
    );
    // Long before any ping.
    assert!(begin.elapsed() < Duration::from_secs(1));
}

/// Two clients of one id would otherwise throw each other out for ever.
#[tokio::test(start_paused = true)]
async fn a_busy_client_hears_why_it_is_thrown_out_although_its_writes_fail() {
    // More than the pipe takes, and more than is let wait while answers are still read.
    for size in [100 << 10, 1 << 20] {
        let stage = Stage::new(&format!("thrown-out-{size}"), V5).await;
        let (client, mut peer) = stage.pair(accepted()).await;
        let mut events = client.events();
        send(&client, &"x".repeat(size), QoS::AtMostOnce);
        tokio::time::sleep(Duration::from_secs(1)).await;
        let disconnect = Disconnect::new(ReasonCode::SessionTakenOver);
        peer.say(&Packet::Disconnect(disconnect.clone())).await;
        drop(peer);
        let told = Event::Disconnected {
            error: ClientError::ServerDisconnected(Box::new(disconnect)),
            retry_in: None,
        };
        assert_eq!(soon(events.recv()).await.unwrap(), told);
    }
}

/// A client with a CONNECT under way that it has given up unanswered.
async fn haunted(stage: &mut Stage) -> (Client, Receiver<Event>) {
    stage.keep_session();
    stage.options.connect_timeout = Duration::from_secs(3);
    let (client, peer) = stage.pair(accepted()).await;
    let events = client.events();
    drop(peer);
    let late = stage.accept().await;
    tokio::time::sleep(Duration::from_secs(4)).await;
    drop(late);
    (client, events)
}

/// Says that another has taken over its session; when it tries again, if it does.
async fn thrown_out(peer: &mut Peer, events: &mut Receiver<Event>) -> Option<Duration> {
    let disconnect = Disconnect::new(ReasonCode::SessionTakenOver);
    peer.say(&Packet::Disconnect(disconnect)).await;
    match soon(events.recv()).await.unwrap() {
        Event::Disconnected { retry_in, .. } => retry_in,
        other => panic!("{other:?} of one that was thrown out"),
    }
}

/// A CONNECT that was given up unanswered may reach the broker after the next one, which it then throws out.
#[tokio::test(start_paused = true)]
async fn a_client_comes_back_when_its_own_late_connect_may_have_thrown_it_out_and_once_for_each() {
    let mut stage = Stage::new("ghost", V5).await;
    let (client, mut events) = haunted(&mut stage).await;
    for is_ours in [true, false] {
        let mut peer = stage.welcome(resumed()).await;
        while !matches!(soon(events.recv()).await.unwrap(), Event::Connected(_)) {}
        let retry_in = thrown_out(&mut peer, &mut events).await;
        assert_eq!(retry_in.is_some(), is_ours);
    }
    drop(client);
}

#[tokio::test(start_paused = true)]
async fn a_connect_that_is_long_gone_throws_nobody_out() {
    let mut stage = Stage::new("old-ghost", V5).await;
    stage.options.keep_alive = 0;
    let (client, mut events) = haunted(&mut stage).await;
    let mut peer = stage.welcome(resumed()).await;
    while !matches!(soon(events.recv()).await.unwrap(), Event::Connected(_)) {}
    tokio::time::sleep(Duration::from_secs(121)).await;
    assert_eq!(thrown_out(&mut peer, &mut events).await, None);
    drop(client);
}
