//! Subscriptions and their messages across cuts.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail by panicking")]

use crate::client_script::{
    Stage, VERSIONS, accepted, filter, message, next, read, resumed, soon, text,
};
use rmqtt::client::{
    Ack, ClientError, ClientOptions, Reconnect, Resubscribe, SubscriptionSettings,
};
use rmqtt::codec::{AckKind, Packet, ProtocolVersion, ReasonCode, SubAck, UnsubAck};
use rmqtt::message::QoS;
use std::time::Duration;

const V5: ProtocolVersion = ProtocolVersion::V5;

fn reconnect(options: &mut ClientOptions) -> &mut Reconnect {
    options.reconnect.as_mut().unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_subscribe_cut_short_is_tried_again() {
    for version in VERSIONS {
        let mut stage = Stage::new("cut-short", version).await;
        stage.keep_session();
        let (client, mut peer) = stage.pair(accepted()).await;
        let asked = {
            let client = client.clone();
            tokio::spawn(async move {
                client
                    .subscribe(
                        filter("s", QoS::AtLeastOnce),
                        SubscriptionSettings::default(),
                    )
                    .await
            })
        };
        assert!(matches!(peer.heard().await, Packet::Subscribe(_)));
        drop(peer);
        let mut peer = stage.welcome(resumed()).await;
        peer.grant().await;
        soon(asked).await.unwrap().unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn subscriptions_are_asked_for_again_by_the_policy() {
    for (policy, session, is_expected) in [
        (Resubscribe::Auto, resumed(), false),
        (Resubscribe::Auto, accepted(), true),
        (Resubscribe::Always, resumed(), true),
        (Resubscribe::Never, resumed(), false),
    ] {
        let mut stage = Stage::new("policy", V5).await;
        stage.keep_session();
        reconnect(&mut stage.options).resubscribe = policy;
        let (client, mut peer) = stage.pair(accepted()).await;
        let subscription = peer
            .subscribed(&client, "s", SubscriptionSettings::default())
            .await;
        drop(peer);
        let mut peer = stage.welcome(session).await;
        if is_expected {
            peer.grant().await;
        } else {
            assert!(peer.is_quiet(Duration::from_secs(1)).await);
        }
        peer.say_message(message("s", "x", QoS::AtMostOnce), 0)
            .await;
        assert_eq!(read(&subscription.inbox).await, "x");
    }
}

#[tokio::test(start_paused = true)]
async fn a_subscription_is_whole_or_not_at_all() {
    let stage = Stage::new("whole", V5).await;
    let (client, mut peer) = stage.pair(accepted()).await;
    let mut asked = filter("yes", QoS::AtLeastOnce);
    asked.extend(filter("no", QoS::AtLeastOnce));
    let asked = client.subscribe(asked, SubscriptionSettings::default());
    let (refused, ()) = tokio::join!(soon(asked), async {
        let Packet::Subscribe(subscribe) = peer.heard().await else {
            panic!("no SUBSCRIBE")
        };
        peer.say(&Packet::SubAck(SubAck {
            packet_id: subscribe.packet_id,
            reasons: vec![ReasonCode::GrantedQoS1, ReasonCode::NotAuthorized],
            properties: None,
        }))
        .await;
    });
    assert_eq!(
        refused.err(),
        Some(ClientError::SubscribeRefused {
            results: vec![("no".to_owned(), ReasonCode::NotAuthorized)],
            properties: None,
        })
    );
    let Packet::Unsubscribe(unsubscribe) = peer.heard().await else {
        panic!("no UNSUBSCRIBE")
    };
    assert_eq!(unsubscribe.filters, ["yes"]);
    peer.say(&Packet::UnsubAck(UnsubAck {
        packet_id: unsubscribe.packet_id,
        reasons: vec![ReasonCode::Success],
        properties: None,
    }))
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_qos_2_message_is_seen_once_and_completed_after_the_cut() {
    for version in VERSIONS {
        let mut stage = Stage::new("seen-once", version).await;
        stage.keep_session();
        let (client, mut peer) = stage.pair(accepted()).await;
        let subscription = peer
            .subscribed(&client, "t", SubscriptionSettings::default())
            .await;
        peer.say_message(message("t", "taken", QoS::ExactlyOnce), 1)
            .await;
        let taken = next(&subscription.inbox).await.unwrap();
        peer.say_message(message("t", "waits", QoS::ExactlyOnce), 2)
            .await;
        peer.say_message(message("t", "again", QoS::AtLeastOnce), 3)
            .await;
        while subscription.inbox.pending() < 2 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        drop(peer);
        let mut peer = stage.welcome(resumed()).await;
        for (text, id, qos) in [
            ("taken", 1, QoS::ExactlyOnce),
            ("waits", 2, QoS::ExactlyOnce),
            ("again", 3, QoS::AtLeastOnce),
        ] {
            peer.say_message(message("t", text, qos), id).await;
        }
        // The receipt of the old connection still counts for QoS 2.
        subscription
            .inbox
            .processed(taken.receipt.unwrap(), ReasonCode::Success);
        assert_eq!(peer.heard_ack().await, (AckKind::PubRec, 1));
        assert_eq!(read(&subscription.inbox).await, "waits");
        assert_eq!(peer.heard_ack().await, (AckKind::PubRec, 2));
        assert_eq!(read(&subscription.inbox).await, "again");
        assert_eq!(peer.heard_ack().await, (AckKind::PubAck, 3));
        for id in [1, 2] {
            peer.say_ack(AckKind::PubRel, id).await;
            assert_eq!(peer.heard_ack().await, (AckKind::PubComp, id));
        }
        assert_eq!(subscription.inbox.pending(), 0);
    }
}

#[tokio::test(start_paused = true)]
async fn a_stale_receipt_acknowledges_nothing() {
    let mut stage = Stage::new("stale", V5).await;
    stage.keep_session();
    let (client, mut peer) = stage.pair(accepted()).await;
    let subscription = peer
        .subscribed(&client, "t", SubscriptionSettings::default())
        .await;
    peer.say_message(message("t", "old", QoS::AtLeastOnce), 1)
        .await;
    let old = next(&subscription.inbox).await.unwrap().receipt.unwrap();
    drop(peer);
    let mut peer = stage.welcome(resumed()).await;
    peer.say_message(message("t", "new", QoS::AtLeastOnce), 1)
        .await;
    let new = next(&subscription.inbox).await.unwrap();
    assert_eq!(text(&new), "new");
    subscription.inbox.processed(old, ReasonCode::Success);
    assert!(peer.is_quiet(Duration::from_secs(1)).await);
    let receipt = new.receipt.unwrap();
    subscription.inbox.processed(receipt, ReasonCode::Success);
    subscription.inbox.processed(receipt, ReasonCode::Success);
    assert_eq!(peer.heard_ack().await, (AckKind::PubAck, 1));
    assert!(peer.is_quiet(Duration::from_secs(1)).await);
}

#[tokio::test(start_paused = true)]
async fn messages_for_two_subscriptions_are_acknowledged_once_both_are_done() {
    let stage = Stage::new("overlap", ProtocolVersion::V3_1_1).await;
    let (client, mut peer) = stage.pair(accepted()).await;
    let wide = peer
        .subscribed(&client, "a/#", SubscriptionSettings::default())
        .await;
    let settings = SubscriptionSettings {
        ack: Ack::Received,
        ..SubscriptionSettings::default()
    };
    let narrow = peer.subscribed(&client, "a/b", settings).await;
    peer.say_message(message("a/b", "x", QoS::AtLeastOnce), 5)
        .await;
    assert_eq!(read(&narrow.inbox).await, "x");
    assert!(peer.is_quiet(Duration::from_secs(1)).await);
    assert_eq!(read(&wide.inbox).await, "x");
    assert_eq!(peer.heard_ack().await, (AckKind::PubAck, 5));
}

#[tokio::test(start_paused = true)]
async fn a_subscribe_carries_its_user_properties_each_time() {
    for version in VERSIONS {
        let stage = Stage::new("user-properties", version).await;
        let (client, mut peer) = stage.pair(accepted()).await;
        let settings = SubscriptionSettings {
            user_properties: vec![("a".into(), "1".into())],
            ..SubscriptionSettings::default()
        };
        let expected: &[_] = match version {
            V5 => &settings.user_properties.clone()[..],
            _ => &[],
        };
        let asked = client.subscribe(filter("s", QoS::AtMostOnce), settings);
        let (subscription, subscribe) = tokio::join!(soon(asked), peer.grant());
        let _subscription = subscription.unwrap();
        assert_eq!(subscribe.user_properties, expected);
        drop(peer);
        let mut peer = stage.welcome(accepted()).await;
        assert_eq!(peer.grant().await.user_properties, expected);
    }
}
