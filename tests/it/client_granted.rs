//! What a broker grants, lacks and asks for: told to the caller, typed, and before anything is sent where that is possible.

#![expect(
    clippy::unwrap_used,
    reason = "a test that cannot go on fails, also in the functions beside it"
)]

use crate::client_script::{
    Peer, Stage, accepted, filter, message, next, packet_id, resumed, soon, text,
};
use rmqtt::client::{Client, ClientError, Subscription, SubscriptionSettings, Taken};
use rmqtt::codec::{
    AckKind, AckProperties, ConnAckProperties, Packet, ProtocolVersion::V5, Publish, ReasonCode,
    SubAck, UnsubAck,
};
use rmqtt::message::{Message, MessageProperties, QoS};
use std::num::{NonZeroU16, NonZeroU32};
use std::sync::Arc;

fn words(text: &'static str) -> AckProperties {
    AckProperties {
        reason_string: Some(text.into()),
        user_properties: vec![("a".into(), "1".into()), ("a".into(), "0".into())],
    }
}

/// Publishes, is cut, and comes back to a broker that has the session and lacks something: how the publish ends.
async fn refused_after_the_cut(
    name: &str,
    kept: Message,
    lacks: impl FnOnce(&mut ConnAckProperties),
) -> ClientError {
    let mut stage = Stage::new(name, V5).await;
    stage.keep_session();
    let (client, mut peer) = stage.pair(accepted()).await;
    let is_twofold = kept.qos == QoS::ExactlyOnce;
    let publishing = {
        let client = client.clone();
        tokio::spawn(async move { client.publish(kept).await })
    };
    peer.heard_publish().await;
    drop(peer);
    let mut connack = resumed();
    lacks(&mut connack.properties);
    let mut peer = stage.welcome(connack).await;
    if is_twofold {
        // The broker may know the id, and would take the next message with it for a repetition.
        assert_eq!(peer.heard_ack().await, (AckKind::PubRel, 1));
        peer.say_ack(AckKind::PubComp, 1).await;
    }
    let refused = soon(publishing).await.unwrap().unwrap_err();
    // Nothing else of it was sent, its id is free, and the connection goes on.
    soon(client.publish(message("t", "", QoS::AtMostOnce)))
        .await
        .unwrap();
    assert_eq!(peer.heard_publish().await.message.payload.len(), 0);
    assert_eq!(client.stats().in_flight, 0);
    refused
}

/// spec(5): MQTT-3.2.2-11, MQTT-3.2.2-14, MQTT-3.2.2-15
#[tokio::test(start_paused = true)]
async fn what_a_resumed_connection_lacks_ends_a_waiting_publish_with_a_local_error() {
    let error = refused_after_the_cut(
        "smaller",
        message("t", "x".repeat(100), QoS::AtLeastOnce),
        |lacks| lacks.maximum_packet_size = NonZeroU32::new(100),
    );
    let size = 108;
    assert_eq!(
        error.await,
        ClientError::PacketTooLarge { size, limit: 100 }
    );
    let error = refused_after_the_cut("lower", message("t", "x", QoS::ExactlyOnce), |lacks| {
        lacks.maximum_qos = Some(QoS::AtLeastOnce);
    });
    assert_eq!(error.await, ClientError::NotSupportedByBroker("QoS 2"));
    let retained = message("t", "x", QoS::AtLeastOnce).with_retain(true);
    let error = refused_after_the_cut("forgetful", retained, |lacks| {
        lacks.retain_available = Some(false);
    });
    assert_eq!(
        error.await,
        ClientError::NotSupportedByBroker("retained messages")
    );
}

/// spec(5, client): MQTT-4.3.3-5, MQTT-4.3.3-6
#[tokio::test(start_paused = true)]
async fn a_message_given_up_stays_refused_over_further_cuts_also_when_the_session_is_lost() {
    for session_lives in [true, false] {
        let mut stage = Stage::new(&format!("given-up-{session_lives}"), V5).await;
        stage.keep_session();
        let (client, mut peer) = stage.pair(accepted()).await;
        let publishing = {
            let client = client.clone();
            let kept = message("t", "kept", QoS::ExactlyOnce);
            tokio::spawn(async move { client.publish(kept).await })
        };
        peer.heard_publish().await;
        drop(peer);
        let mut connack = resumed();
        connack.properties.maximum_qos = Some(QoS::AtLeastOnce);
        let mut peer = stage.welcome(connack).await;
        assert_eq!(peer.heard_ack().await, (AckKind::PubRel, 1));
        drop(peer);
        let mut peer = if session_lives {
            let mut peer = stage.welcome(resumed()).await;
            assert_eq!(peer.heard_ack().await, (AckKind::PubRel, 1));
            peer.say_ack(AckKind::PubComp, 1).await;
            peer
        } else {
            stage.welcome(accepted()).await
        };
        assert_eq!(
            soon(publishing).await.unwrap(),
            Err(ClientError::NotSupportedByBroker("QoS 2"))
        );
        let next = message("t", "next", QoS::AtMostOnce);
        soon(client.publish(next)).await.unwrap();
        assert_eq!(peer.heard_publish().await.message.payload, "next");
    }
}

/// spec(5): MQTT-3.2.2-15
#[tokio::test(start_paused = true)]
async fn what_was_queued_while_offline_and_is_too_large_for_the_next_connection_is_told_so() {
    let mut stage = Stage::new("queued-large", V5).await;
    stage.keep_session();
    let (client, peer) = stage.pair(accepted()).await;
    let mut events = client.events();
    drop(peer);
    soon(events.recv()).await.unwrap();
    let publishing = {
        let client = client.clone();
        let large = message("t", "x".repeat(100), QoS::AtLeastOnce);
        tokio::spawn(async move { client.publish(large).await })
    };
    tokio::task::yield_now().await;
    let mut connack = resumed();
    connack.properties.maximum_packet_size = NonZeroU32::new(50);
    let mut peer = stage.welcome(connack).await;
    assert!(matches!(
        soon(publishing).await.unwrap(),
        Err(ClientError::PacketTooLarge { limit: 50, .. })
    ));
    assert!(peer.is_quiet(std::time::Duration::from_secs(1)).await);
}

/// spec(5): RMQTT-3.2.2-10
#[tokio::test(start_paused = true)]
async fn a_subscription_that_the_next_connection_lacks_fails_typed_and_no_other() {
    let stage = Stage::new("fewer", V5).await;
    let (client, mut peer) = stage.pair(accepted()).await;
    let settings = SubscriptionSettings::default;
    let plain = peer.subscribed(&client, "a", settings()).await;
    let wild = peer.subscribed(&client, "a/+", settings()).await;
    let shared = peer.subscribed(&client, "$share/g/a", settings()).await;
    drop(peer);
    let mut connack = accepted();
    connack.properties.wildcard_subscription_available = Some(false);
    connack.properties.shared_subscription_available = Some(false);
    let mut peer = stage.welcome(connack).await;
    let again = peer.grant().await;
    assert_eq!(again.filters[0].filter, "a");
    for (failed, what) in [
        (&wild, "wildcard subscriptions"),
        (&shared, "shared subscriptions"),
    ] {
        assert_eq!(
            next(&failed.inbox).await.err(),
            Some(Taken::Failed(ClientError::NotSupportedByBroker(what)))
        );
    }
    peer.say_message(message("a", "x", QoS::AtMostOnce), 0)
        .await;
    assert_eq!(text(&next(&plain.inbox).await.unwrap()), "x");
    drop(client);
}

/// spec(5): RMQTT-3.2.2-3
#[tokio::test(start_paused = true)]
async fn an_assigned_client_id_is_said_again_at_the_next_connection() {
    let mut stage = Stage::new("assigned", V5).await;
    stage.keep_session();
    stage.options.client_id = Some(String::new());
    let mut connack = accepted();
    connack.properties.assigned_client_identifier = Some("given".into());
    let (client, peer) = stage.pair(connack).await;
    assert_eq!(peer.connect.client_id, "");
    assert_eq!(client.negotiated().unwrap().client_id, "given");
    drop(peer);
    assert_eq!(stage.welcome(resumed()).await.connect.client_id, "given");
}

#[tokio::test(start_paused = true)]
async fn information_is_asked_for_and_asked_to_be_left_out() {
    let stage = Stage::new("usual", V5).await;
    let (_client, peer) = stage.pair(accepted()).await;
    let asked = &peer.connect.properties;
    assert_eq!(asked.request_response_information, None);
    assert_eq!(asked.request_problem_information, None);
    let mut stage = Stage::new("asking", V5).await;
    stage.options.request_response_information = true;
    stage.options.request_problem_information = false;
    let mut connack = accepted();
    connack.properties.response_information = Some("answers/7".into());
    let (client, peer) = stage.pair(connack).await;
    let asked = &peer.connect.properties;
    assert_eq!(asked.request_response_information, Some(true));
    assert_eq!(asked.request_problem_information, Some(false));
    let granted = client.negotiated().unwrap().connack.properties;
    assert_eq!(granted.response_information.as_deref(), Some("answers/7"));
}

/// spec(5): RMQTT-3.1.2-8
#[tokio::test(start_paused = true)]
async fn problem_information_that_was_not_wanted_ends_the_connection() {
    for is_wanted in [true, false] {
        let mut stage = Stage::new(&format!("unwanted-{is_wanted}"), V5).await;
        stage.options.request_problem_information = is_wanted;
        let (client, mut peer) = stage.pair(accepted()).await;
        let asked = client.subscribe(
            filter("a", QoS::AtMostOnce),
            SubscriptionSettings::default(),
        );
        let answer = async {
            let Packet::Subscribe(subscribe) = peer.heard().await else {
                panic!("no SUBSCRIBE")
            };
            let answer = SubAck {
                packet_id: subscribe.packet_id,
                reasons: vec![ReasonCode::Success],
                properties: Some(Box::new(words("welcome"))),
            };
            peer.say(&Packet::SubAck(answer)).await;
            if !is_wanted {
                assert_eq!(peer.rest().await, [0xE0, 1, 0x82]);
            }
        };
        if is_wanted {
            let (subscription, ()) = tokio::join!(soon(asked), answer);
            assert_eq!(
                subscription.unwrap().properties,
                Some(Box::new(words("welcome")))
            );
        } else {
            tokio::select! {
                _ = asked => panic!("it waits for the next connection"),
                () = answer => {}
            }
        }
    }
}

async fn refused_with_words(client: &Client, peer: &mut Peer) -> Option<ClientError> {
    let asked = client.subscribe(
        filter("no", QoS::AtMostOnce),
        SubscriptionSettings::default(),
    );
    let (refused, ()) = tokio::join!(soon(asked), async {
        let Packet::Subscribe(subscribe) = peer.heard().await else {
            panic!("no SUBSCRIBE")
        };
        let answer = SubAck {
            packet_id: subscribe.packet_id,
            reasons: vec![ReasonCode::NotAuthorized],
            properties: Some(Box::new(words("not for you"))),
        };
        peer.say(&Packet::SubAck(answer)).await;
    });
    refused.err()
}

#[tokio::test(start_paused = true)]
async fn what_the_broker_says_beside_its_codes_is_told() {
    let stage = Stage::new("beside", V5).await;
    let (client, mut peer) = stage.pair(accepted()).await;
    assert_eq!(
        refused_with_words(&client, &mut peer).await,
        Some(ClientError::SubscribeRefused {
            results: vec![("no".to_owned(), ReasonCode::NotAuthorized)],
            properties: Some(Box::new(words("not for you"))),
        })
    );
    for (reason, is_refused) in [
        (ReasonCode::NoSubscriptionExisted, false),
        (ReasonCode::NotAuthorized, true),
    ] {
        let subscription: Subscription = peer
            .subscribed(&client, "a", SubscriptionSettings::default())
            .await;
        let own = vec![("why".into(), "done".into())];
        let leaving = client.unsubscribe_with(&subscription, own.clone());
        let (left, ()) = tokio::join!(soon(leaving), async {
            let Packet::Unsubscribe(unsubscribe) = peer.heard().await else {
                panic!("no UNSUBSCRIBE")
            };
            assert_eq!(unsubscribe.user_properties, own);
            let answer = UnsubAck {
                packet_id: unsubscribe.packet_id,
                reasons: vec![reason],
                properties: Some(Box::new(words("as you wish"))),
            };
            peer.say(&Packet::UnsubAck(answer)).await;
        });
        let results = vec![("a".to_owned(), reason)];
        let properties = Some(Box::new(words("as you wish")));
        match left {
            Ok(left) => {
                assert!(!is_refused);
                assert_eq!((left.results, left.properties), (results, properties));
            }
            Err(error) => {
                let expected = ClientError::UnsubscribeRefused {
                    results,
                    properties,
                };
                assert_eq!(error, expected);
                assert!(is_refused);
            }
        }
    }
}

/// Everything of a message arrives as it was sent, in order, text that is none included: whether to look is the application's
/// to say.
#[tokio::test(start_paused = true)]
async fn properties_of_a_message_arrive_as_they_were_sent() {
    let stage = Stage::new("as-sent", V5).await;
    let (client, mut peer) = stage.pair(accepted()).await;
    let subscription = peer
        .subscribed(&client, "a", SubscriptionSettings::default())
        .await;
    let mut sent = Message::new(message("a", "", QoS::AtLeastOnce).topic, &b"\xC3\x28"[..]);
    sent.qos = QoS::AtLeastOnce;
    sent.properties = Some(Arc::new(MessageProperties {
        payload_is_utf8: Some(true),
        message_expiry_interval: Some(7),
        content_type: Some("text/plain".into()),
        response_topic: Some(message("b/c", "", QoS::AtMostOnce).topic),
        correlation_data: Some(vec![0, 255, 0].into()),
        user_properties: [("b", "1"), ("a", "2"), ("b", "1")]
            .map(|(name, value)| (name.into(), value.into()))
            .to_vec(),
    }));
    let mut publish = Publish::new(sent.clone());
    publish.packet_id = Some(packet_id(3));
    publish.topic_alias = NonZeroU16::new(64);
    publish.subscription_ids = vec![NonZeroU32::MIN];
    peer.say(&Packet::Publish(publish)).await;
    assert_eq!(next(&subscription.inbox).await.unwrap().message, sent);
    assert!(client.stats().connected);
}
