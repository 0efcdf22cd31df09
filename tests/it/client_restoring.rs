//! Subscriptions after a cut: the broker has them again, whatever it has lost and whatever was lost on the way.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail by panicking")]

use crate::client_script::{
    Peer, Stage, VERSIONS, accepted, message, next, packet_id, read, resumed, soon,
};
use rmqtt::client::{Client, ClientError, Event, Resubscribe, SubscriptionSettings, Taken};
use rmqtt::codec::{
    AckKind, ConnAck, Packet, ProtocolVersion, ReasonCode, RetainHandling, SubAck, Subscribe,
};
use rmqtt::message::QoS;
use std::time::Duration;

const V5: ProtocolVersion = ProtocolVersion::V5;

fn settings() -> SubscriptionSettings {
    SubscriptionSettings::default()
}

async fn resubscribed(peer: &mut Peer) -> Subscribe {
    let Packet::Subscribe(subscribe) = peer.heard().await else {
        panic!("no SUBSCRIBE")
    };
    subscribe
}

/// A client with a kept session and a subscription to `s`; with the policy.
async fn subscribed(
    name: &str,
    version: ProtocolVersion,
    policy: Resubscribe,
) -> (Stage, Client, Peer, rmqtt::client::Subscription) {
    let mut stage = Stage::new(name, version).await;
    stage.keep_session();
    stage.options.reconnect.as_mut().unwrap().resubscribe = policy;
    let (client, mut peer) = stage.pair(accepted()).await;
    let subscription = peer.subscribed(&client, "s", settings()).await;
    (stage, client, peer, subscription)
}

#[tokio::test(start_paused = true)]
async fn a_broker_whose_answer_was_lost_is_asked_again_although_it_says_it_has_the_session() {
    for version in VERSIONS {
        let (stage, _client, peer, subscription) =
            subscribed("answer-lost", version, Resubscribe::Auto).await;
        drop(peer);
        // The broker begins a new session here, and its CONNACK does not arrive.
        drop(stage.accept().await);
        let mut peer = stage.welcome(resumed()).await;
        let again = peer.grant().await;
        assert_eq!(again.filters[0].filter, "s");
        peer.say_message(message("s", "x", QoS::AtMostOnce), 0)
            .await;
        assert_eq!(read(&subscription.inbox).await, "x");
        // What is known now need not be asked for a third time.
        drop(peer);
        let mut peer = stage.welcome(resumed()).await;
        assert!(peer.is_quiet(Duration::from_secs(5)).await);
    }
}

#[tokio::test(start_paused = true)]
async fn what_was_asked_for_again_and_not_granted_is_asked_for_once_more() {
    for version in VERSIONS {
        let (stage, _client, peer, _subscription) =
            subscribed("not-granted", version, Resubscribe::Auto).await;
        drop(peer);
        // The session is new, and the connection is cut before SUBACK: perhaps SUBSCRIBE never came.
        let mut peer = stage.welcome(accepted()).await;
        resubscribed(&mut peer).await;
        drop(peer);
        let mut peer = stage.welcome(resumed()).await;
        peer.grant().await;
        drop(peer);
        let mut peer = stage.welcome(resumed()).await;
        assert!(peer.is_quiet(Duration::from_secs(5)).await);
    }
}

#[tokio::test(start_paused = true)]
async fn a_broker_that_refused_to_connect_has_begun_no_session() {
    let (stage, _client, peer, _subscription) = subscribed("refused", V5, Resubscribe::Auto).await;
    drop(peer);
    stage
        .welcome(ConnAck {
            reason: ReasonCode::ServerBusy,
            ..accepted()
        })
        .await;
    let mut peer = stage.welcome(resumed()).await;
    assert!(peer.is_quiet(Duration::from_secs(5)).await);
}

#[tokio::test(start_paused = true)]
async fn retained_messages_come_again_only_where_the_broker_had_lost_the_subscription() {
    let (stage, _client, peer, _subscription) =
        subscribed("retained-again", V5, Resubscribe::Always).await;
    drop(peer);
    let mut peer = stage.welcome(resumed()).await;
    let again = peer.grant().await;
    assert_eq!(
        again.filters[0].options.retain_handling,
        RetainHandling::IfNew
    );
    drop(peer);
    let mut peer = stage.welcome(accepted()).await;
    let again = peer.grant().await;
    assert_eq!(
        again.filters[0].options.retain_handling,
        RetainHandling::Always
    );
}

#[tokio::test(start_paused = true)]
async fn a_subscription_that_is_never_to_be_made_again_fails_with_its_session() {
    for version in VERSIONS {
        let (stage, client, peer, subscription) =
            subscribed("never", version, Resubscribe::Never).await;
        drop(peer);
        let peer = stage.welcome(resumed()).await;
        drop(peer);
        let mut peer = stage.welcome(accepted()).await;
        let end = next(&subscription.inbox).await.unwrap_err();
        assert_eq!(end, Taken::Failed(ClientError::SessionLost));
        assert!(peer.is_quiet(Duration::from_secs(5)).await);
        peer.subscribed(&client, "s", settings()).await;
    }
}

#[tokio::test(start_paused = true)]
async fn it_is_told_when_all_that_was_asked_for_again_is_answered() {
    let (stage, client, mut peer, _first) = subscribed("told", V5, Resubscribe::Auto).await;
    let _second = peer.subscribed(&client, "t/#", settings()).await;
    let third = peer.subscribed(&client, "u", settings()).await;
    let mut events = client.events();
    drop(peer);
    let mut peer = stage.welcome(accepted()).await;
    peer.grant().await;
    let refused = resubscribed(&mut peer).await;
    peer.say(&Packet::SubAck(SubAck {
        packet_id: refused.packet_id,
        reasons: vec![ReasonCode::NotAuthorized],
        properties: None,
    }))
    .await;
    let mut told = Vec::new();
    for _ in 0..3 {
        told.push(soon(events.recv()).await.unwrap());
    }
    assert!(matches!(told[0], Event::Disconnected { .. }), "{told:?}");
    assert!(matches!(told[1], Event::Connected(_)), "{told:?}");
    assert_eq!(told[2], Event::SessionLost);
    assert!(events.try_recv().is_err(), "one is not answered yet");
    peer.grant().await;
    let filters = vec!["s".to_owned(), "u".to_owned()];
    let event = soon(events.recv()).await.unwrap();
    assert_eq!(event, Event::Resubscribed { filters });
    drop(third);
}

/// spec(5, client): MQTT-4.3.3-10
#[tokio::test(start_paused = true)]
async fn a_packet_id_of_a_session_in_doubt_does_not_hide_a_new_message() {
    for version in VERSIONS {
        let (stage, _client, mut peer, subscription) =
            subscribed("hidden", version, Resubscribe::Auto).await;
        let inbox = &subscription.inbox;
        peer.say_message(message("s", "old", QoS::ExactlyOnce), 7)
            .await;
        assert_eq!(read(inbox).await, "old");
        assert_eq!(peer.heard_ack().await, (AckKind::PubRec, 7));
        drop(peer);
        drop(stage.accept().await);
        let mut peer = stage.welcome(resumed()).await;
        peer.grant().await;
        peer.say_message(message("s", "new", QoS::ExactlyOnce), 7)
            .await;
        assert_eq!(read(inbox).await, "new");
        assert_eq!(peer.heard_ack().await, (AckKind::PubRec, 7));
        // A broker that has our session says DUP.
        let mut again = rmqtt::codec::Publish::new(message("s", "new", QoS::ExactlyOnce));
        again.packet_id = Some(packet_id(7));
        again.dup = true;
        peer.say(&Packet::Publish(again)).await;
        assert_eq!(peer.heard_ack().await, (AckKind::PubRec, 7));
        assert_eq!(inbox.pending(), 0);
    }
}

#[tokio::test(start_paused = true)]
async fn messages_that_wait_unacknowledged_survive_a_doubt() {
    let (stage, client, mut peer, subscription) =
        subscribed("waiting", V5, Resubscribe::Auto).await;
    for id in [1, 2] {
        peer.say_message(message("s", id.to_string(), QoS::AtLeastOnce), id)
            .await;
    }
    peer.subscribed(&client, "other", settings()).await;
    drop(peer);
    drop(stage.accept().await);
    let mut peer = stage.welcome(resumed()).await;
    peer.grant().await;
    // A broker that has lost them does not send them again.
    assert_eq!(read(&subscription.inbox).await, "1");
    assert_eq!(read(&subscription.inbox).await, "2");
}
