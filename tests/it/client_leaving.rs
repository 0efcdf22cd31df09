//! How a subscription is left: with a connection and without, with its messages processed or not.

use crate::client_script::{
    Peer, Stage, VERSIONS, accepted, message, next, read, resumed, soon, text,
};
use rmqtt::client::{
    Client, ClientError, Close, Event, Overflow, SubscriptionSettings, Taken, Unsubscribed,
};
use rmqtt::codec::{AckKind, Packet, ReasonCode, UnsubAck};
use rmqtt::message::QoS;
use std::time::Duration;

/// Reads UNSUBSCRIBE and consents.
async fn release(peer: &mut Peer) -> Vec<String> {
    let Packet::Unsubscribe(unsubscribe) = peer.heard().await else {
        panic!("no UNSUBSCRIBE")
    };
    peer.say(&Packet::UnsubAck(UnsubAck {
        packet_id: unsubscribe.packet_id,
        reasons: vec![ReasonCode::Success; unsubscribe.filters.len()],
        properties: None,
    }))
    .await;
    unsubscribe
        .filters
        .iter()
        .map(ToString::to_string)
        .collect()
}

#[tokio::test(start_paused = true)]
async fn leaving_a_subscription_does_not_wait_for_a_broker_that_is_away() {
    for version in VERSIONS {
        for session in [resumed(), accepted()] {
            let mut stage = Stage::new("leave-offline", version).await;
            stage.keep_session();
            let (client, mut peer) = stage.pair(accepted()).await;
            let mut events = client.events();
            let stays = peer
                .subscribed(&client, "stays", SubscriptionSettings::default())
                .await;
            let leaves = peer
                .subscribed(&client, "leaves", SubscriptionSettings::default())
                .await;
            drop(peer);
            events.recv().await.unwrap();
            let brief = Duration::from_millis(100);
            let left = tokio::time::timeout(brief, client.unsubscribe(&leaves)).await;
            assert_eq!(left.unwrap(), Ok(Unsubscribed::default()));
            assert_eq!(next(&leaves.inbox).await.err(), Some(Taken::Ended));
            let is_resumed = session.session_present;
            let mut peer = stage.welcome(session).await;
            if is_resumed {
                assert_eq!(release(&mut peer).await, ["leaves"]);
            } else {
                assert_eq!(peer.grant().await.filters[0].filter, "stays");
            }
            assert!(peer.is_quiet(Duration::from_secs(1)).await);
            peer.say_message(message("stays", "x", QoS::AtMostOnce), 0)
                .await;
            assert_eq!(read(&stays.inbox).await, "x");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_cut_answers_who_waits_for_unsuback() {
    for version in VERSIONS {
        let mut stage = Stage::new("leave-cut", version).await;
        stage.keep_session();
        let (client, mut peer) = stage.pair(accepted()).await;
        let leaves = peer
            .subscribed(&client, "leaves", SubscriptionSettings::default())
            .await;
        let waiting = {
            let (client, leaves) = (client.clone(), leaves.clone());
            tokio::spawn(async move { client.unsubscribe(&leaves).await })
        };
        assert!(matches!(peer.heard().await, Packet::Unsubscribe(_)));
        drop(peer);
        let brief = Duration::from_millis(100);
        let left = tokio::time::timeout(brief, waiting).await;
        assert_eq!(left.unwrap().unwrap(), Ok(Unsubscribed::default()));
        assert_eq!(next(&leaves.inbox).await.err(), Some(Taken::Ended));
        let mut peer = stage.welcome(resumed()).await;
        assert_eq!(release(&mut peer).await, ["leaves"]);
        assert!(peer.is_quiet(Duration::from_secs(1)).await);
    }
}

#[tokio::test(start_paused = true)]
async fn what_one_subscription_leaves_unprocessed_holds_back_no_other() {
    for version in VERSIONS {
        for qos in [QoS::AtLeastOnce, QoS::ExactlyOnce] {
            let mut stage = Stage::new("abandon", version).await;
            stage.keep_session();
            let (client, mut peer) = stage.pair(accepted()).await;
            let fails = peer
                .subscribed(&client, "a", SubscriptionSettings::default())
                .await;
            let works = peer
                .subscribed(&client, "b", SubscriptionSettings::default())
                .await;
            peer.say_message(message("a", "taken", qos), 1).await;
            let taken = next(&fails.inbox).await.unwrap();
            peer.say_message(message("a", "waits", qos), 2).await;
            peer.say_message(message("b", "other", QoS::AtLeastOnce), 3)
                .await;
            assert_eq!(read(&works.inbox).await, "other");
            assert!(peer.is_quiet(Duration::from_secs(1)).await);
            fails.inbox.abandon();
            assert_eq!(peer.heard_ack().await, (AckKind::PubAck, 3));
            assert_eq!(next(&fails.inbox).await.err(), Some(Taken::Ended));
            // What comes before UNSUBACK is left as well, and nothing changes that: no receipt, no drop.
            peer.say_message(message("a", "late", qos), 4).await;
            let receipt = taken.receipt.unwrap();
            fails.inbox.processed(receipt, ReasonCode::Success);
            let (left, _) = tokio::join!(soon(client.unsubscribe(&fails)), release(&mut peer));
            left.unwrap();
            drop(fails);
            assert!(peer.is_quiet(Duration::from_secs(1)).await);
            // The resumed session brings them again, to whoever wants them now.
            drop(peer);
            let mut peer = stage.welcome(resumed()).await;
            let again = peer
                .subscribed(&client, "a", SubscriptionSettings::default())
                .await;
            for (id, payload) in [(1, "taken"), (2, "waits"), (4, "late")] {
                peer.say_message(message("a", payload, qos), id).await;
                assert_eq!(read(&again.inbox).await, payload);
                assert_eq!(peer.heard_ack().await.1, id);
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn what_was_abandoned_while_offline_comes_again() {
    for qos in [QoS::AtLeastOnce, QoS::ExactlyOnce] {
        let mut stage = Stage::new("abandon-offline", VERSIONS[0]).await;
        stage.keep_session();
        let (client, mut peer) = stage.pair(accepted()).await;
        let mut events = client.events();
        let fails = peer
            .subscribed(&client, "a", SubscriptionSettings::default())
            .await;
        peer.say_message(message("a", "taken", qos), 1).await;
        next(&fails.inbox).await.unwrap();
        drop(peer);
        events.recv().await.unwrap();
        let second = client.clone();
        fails.inbox.abandon();
        soon(client.unsubscribe(&fails)).await.unwrap();
        let again = tokio::spawn(async move {
            second
                .subscribe(
                    crate::client_script::filter("a", qos),
                    SubscriptionSettings::default(),
                )
                .await
        });
        let mut peer = stage.welcome(resumed()).await;
        assert_eq!(release(&mut peer).await, ["a"]);
        peer.grant().await;
        let again = soon(again).await.unwrap().unwrap();
        peer.say_message(message("a", "taken", qos), 1).await;
        let delivery = next(&again.inbox).await.unwrap();
        assert_eq!(text(&delivery), "taken");
    }
}

#[tokio::test(start_paused = true)]
async fn an_inbox_that_ran_over_holds_back_no_other() {
    let stage = Stage::new("ran-over", VERSIONS[0]).await;
    let (client, mut peer) = stage.pair(accepted()).await;
    let settings = SubscriptionSettings {
        messages_max: 2,
        overflow: Some(Overflow::Error),
        ..SubscriptionSettings::default()
    };
    let fails = peer.subscribed(&client, "a", settings).await;
    let works = peer
        .subscribed(&client, "b", SubscriptionSettings::default())
        .await;
    for id in 1..=3 {
        peer.say_message(message("a", "x", QoS::AtLeastOnce), id)
            .await;
    }
    assert_eq!(release(&mut peer).await, ["a"]);
    peer.say_message(message("b", "other", QoS::AtLeastOnce), 4)
        .await;
    assert_eq!(read(&works.inbox).await, "other");
    // The inbox that failed is neither read nor dropped.
    assert_eq!(peer.heard_ack().await, (AckKind::PubAck, 4));
    let end = next(&fails.inbox).await.err();
    assert_eq!(end, Some(Taken::Failed(ClientError::QueueFull)));
    assert_eq!(fails.inbox.dropped(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_drain_waits_for_its_own_messages_when_others_behind_them_are_dropped() {
    let mut stage = Stage::new("drain-cut", VERSIONS[0]).await;
    stage.keep_session();
    let mut narrow = accepted();
    narrow.properties.receive_maximum = std::num::NonZeroU16::new(1);
    let mut again = narrow.clone();
    again.session_present = true;
    let (client, mut peer) = stage.pair(narrow).await;
    let publish = |text: &str, qos| {
        client.try_publish(message("t", text, qos), None).unwrap();
    };
    publish("1", QoS::AtLeastOnce);
    publish("2", QoS::AtLeastOnce);
    let drain = {
        let client = client.clone();
        tokio::spawn(async move { client.drain().await })
    };
    peer.heard_publish().await;
    publish("3", QoS::AtMostOnce);
    publish("4", QoS::AtMostOnce);
    tokio::time::sleep(Duration::from_millis(1)).await;
    drop(peer);
    let mut peer = stage.welcome(again).await;
    for id in [1, 2] {
        let publish = peer.heard_publish().await;
        assert_eq!(publish.packet_id.unwrap().get(), id);
        assert!(peer.is_quiet(Duration::from_secs(1)).await);
        assert!(!drain.is_finished(), "{id} is not acknowledged");
        peer.say_ack(AckKind::PubAck, id).await;
    }
    soon(drain).await.unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn the_events_end_with_the_client() {
    let stage = Stage::new("events-end", VERSIONS[0]).await;
    let (client, _peer) = stage.pair(accepted()).await;
    let mut events = client.events();
    soon(client.close(Close::Abort)).await;
    let last = soon(events.recv()).await;
    assert!(matches!(
        last,
        Ok(Event::Disconnected { retry_in: None, .. })
    ));
    assert!(soon(events.recv()).await.is_err(), "that was the last");
    assert!(soon(client.events().recv()).await.is_err());
    let never_connected = Client::new(stage.options.clone());
    let mut events = never_connected.events();
    soon(never_connected.close(Close::Abort)).await;
    assert!(soon(events.recv()).await.is_err());
}
