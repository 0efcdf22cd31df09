//! The client against the broker, end to end: over TCP and in memory, in both versions.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail by panicking")]

use crate::client_script::{filter, message, next, read, soon, subscribe};
use rmqtt::broker::{Broker, BrokerOptions};
use rmqtt::client::{
    Ack, Client, ClientError, ClientOptions, Close, Event, SubscriptionSettings, Taken,
};
use rmqtt::codec::{ProtocolVersion, ReasonCode, Will};
use rmqtt::message::QoS;
use rmqtt::transport::Address;
use std::time::Duration;

const QOS: [QoS; 3] = [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce];

async fn broker() -> Broker {
    let broker = Broker::new(BrokerOptions {
        listeners: vec![Address::parse("mqtt://127.0.0.1:0").unwrap().into()],
        ..BrokerOptions::default()
    });
    broker.start().await.unwrap();
    broker
}

/// Every way to reach the broker, in every version.
fn ways(broker: &Broker) -> Vec<ClientOptions> {
    let mut ways = Vec::new();
    for address in [broker.addresses()[0].clone(), broker.memory_address()] {
        for version in [ProtocolVersion::V5, ProtocolVersion::V3_1_1] {
            let mut options = ClientOptions::new(address.clone());
            options.version = version;
            ways.push(options);
        }
    }
    ways
}

async fn connected(options: ClientOptions) -> Client {
    let client = Client::new(options);
    client.connect().await.unwrap();
    client
}

/// spec(4): MQTT-7.1.2-1
/// spec(5, client): MQTT-4.2.0-1
#[tokio::test]
async fn messages_of_every_qos_arrive_in_order_by_every_way() {
    let broker = broker().await;
    for options in ways(&broker) {
        let way = format!("{} {:?}", options.address, options.version);
        let client = connected(options).await;
        for qos in QOS {
            let subscription = subscribe(&client, "plant/+/temperature", qos).await;
            assert_eq!(subscription.granted[0].1.qos, qos, "{way}");
            for number in 0..100 {
                soon(client.publish(message("plant/7/temperature", number.to_string(), qos)))
                    .await
                    .unwrap();
            }
            for number in 0..100 {
                assert_eq!(read(&subscription.inbox).await, number.to_string(), "{way}");
            }
            soon(client.unsubscribe(&subscription)).await.unwrap();
            assert_eq!(next(&subscription.inbox).await.unwrap_err(), Taken::Ended);
        }
        soon(client.close(Close::Drain(Duration::from_secs(5)))).await;
    }
    soon(broker.stop(Duration::from_secs(1))).await;
}

#[tokio::test]
async fn thousands_in_flight_at_once_all_settle() {
    let broker = broker().await;
    for options in ways(&broker) {
        let client = connected(options).await;
        let subscription = subscribe(&client, "t", QoS::ExactlyOnce).await;
        let count = 3_000;
        let settled = std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(0));
        let publisher = {
            let (client, settled) = (client.clone(), settled.clone());
            tokio::spawn(async move {
                for number in 0..count {
                    let settled = settled.clone();
                    let mut next = (
                        message("t", number.to_string(), QOS[1 + number % 2]),
                        Some(Box::new(move |outcome: Result<_, _>| {
                            assert!(outcome.is_ok());
                            settled.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
                        }) as rmqtt::client::Done<_>),
                    );
                    while let rmqtt::client::TryPublish::Full(message, done) =
                        client.try_publish(next.0, next.1).unwrap()
                    {
                        client.room().await.unwrap();
                        next = (message, done);
                    }
                }
                client.drain().await.unwrap();
            })
        };
        for number in 0..count {
            assert_eq!(read(&subscription.inbox).await, number.to_string());
        }
        soon(publisher).await.unwrap();
        assert_eq!(settled.load(std::sync::atomic::Ordering::SeqCst), count);
        soon(client.close(Close::Drain(Duration::from_secs(5)))).await;
    }
}

#[tokio::test]
async fn a_retained_message_comes_to_a_later_subscription() {
    let broker = broker().await;
    for options in ways(&broker) {
        let client = connected(options).await;
        let kept = message("kept", "last", QoS::AtLeastOnce).with_retain(true);
        soon(client.publish(kept)).await.unwrap();
        let subscription = subscribe(&client, "kept", QoS::AtLeastOnce).await;
        let delivery = next(&subscription.inbox).await.unwrap();
        assert!(delivery.message.retain);
        assert_eq!(&delivery.message.payload[..], b"last");
    }
}

#[tokio::test]
async fn the_will_is_published_after_a_crash_and_when_asked_for_and_else_not() {
    let broker = broker().await;
    let watcher = connected(ways(&broker).remove(0)).await;
    let subscription = subscribe(&watcher, "will/+", QoS::AtLeastOnce).await;
    for (place, options) in ways(&broker).into_iter().enumerate() {
        for (how, is_published) in [
            (Close::Abort, true),
            (Close::WithWill, true),
            (Close::Drain(Duration::from_secs(5)), false),
        ] {
            let text = format!("{place} {how:?}");
            let mut options = options.clone();
            options.will = Some(Will {
                message: message("will/x", text.clone(), QoS::AtLeastOnce),
                delay_interval: None,
            });
            let client = connected(options).await;
            soon(client.close(how)).await;
            if is_published {
                assert_eq!(read(&subscription.inbox).await, text);
            }
        }
    }
    soon(watcher.publish(message("will/end", "end", QoS::AtLeastOnce)))
        .await
        .unwrap();
    assert_eq!(read(&subscription.inbox).await, "end");
}

#[tokio::test]
async fn who_is_taken_over_ends_for_good() {
    let broker = broker().await;
    let mut options = ways(&broker).remove(0);
    options.client_id = Some("twin".to_owned());
    let first = connected(options.clone()).await;
    let subscription = subscribe(&first, "t", QoS::AtMostOnce).await;
    let second = connected(options).await;
    let Taken::Failed(ClientError::ServerDisconnected(disconnect)) =
        next(&subscription.inbox).await.unwrap_err()
    else {
        panic!("not taken over")
    };
    assert_eq!(disconnect.reason, ReasonCode::SessionTakenOver);
    let error = soon(first.publish(message("t", "x", QoS::AtLeastOnce)))
        .await
        .unwrap_err();
    assert!(matches!(error, ClientError::ServerDisconnected(_)));
    assert!(second.stats().connected);
}

#[tokio::test]
async fn a_persistent_session_keeps_messages_for_a_client_that_comes_back_as_a_new_object() {
    let broker = broker().await;
    let publisher = connected(ways(&broker).remove(0)).await;
    for (place, mut options) in ways(&broker).into_iter().enumerate() {
        options.client_id = Some(format!("kept-{place}"));
        options.clean_start = false;
        options.session_expiry = 600;
        let client = connected(options.clone()).await;
        let _subscription = subscribe(&client, "kept/+", QoS::ExactlyOnce).await;
        soon(client.close(Close::Drain(Duration::from_secs(5)))).await;
        for number in 0..20 {
            let qos = QOS[1 + number % 2];
            soon(publisher.publish(message("kept/x", number.to_string(), qos)))
                .await
                .unwrap();
        }
        let client = Client::new(options);
        assert!(client.connect().await.unwrap().session_present);
        // The messages are there before the application has subscribed again.
        while client.stats().messages_received < 20 {
            tokio::task::yield_now().await;
        }
        let subscription = subscribe(&client, "kept/+", QoS::ExactlyOnce).await;
        for number in 0..20 {
            assert_eq!(read(&subscription.inbox).await, number.to_string());
        }
        soon(client.close(Close::Drain(Duration::from_secs(5)))).await;
    }
}

#[tokio::test]
async fn a_slow_subscription_does_not_stall_the_others() {
    let broker = broker().await;
    for options in ways(&broker) {
        let client = connected(options).await;
        let slow = soon(client.subscribe(
            filter("slow", QoS::AtLeastOnce),
            SubscriptionSettings {
                messages_max: 2,
                ..SubscriptionSettings::default()
            },
        ))
        .await
        .unwrap();
        let fast = subscribe(&client, "fast", QoS::AtLeastOnce).await;
        for number in 0..100 {
            for topic in ["slow", "fast"] {
                soon(client.publish(message(topic, number.to_string(), QoS::AtLeastOnce)))
                    .await
                    .unwrap();
            }
        }
        for number in 0..100 {
            assert_eq!(read(&fast.inbox).await, number.to_string());
        }
        for number in 0..100 {
            assert_eq!(read(&slow.inbox).await, number.to_string());
        }
        assert_eq!(slow.inbox.dropped(), 0);
    }
}

#[tokio::test]
async fn two_subscriptions_that_match_both_get_the_message_once() {
    let broker = broker().await;
    let client = connected(ways(&broker).remove(0)).await;
    let wide = subscribe(&client, "a/#", QoS::AtLeastOnce).await;
    let narrow = subscribe(&client, "a/b", QoS::AtLeastOnce).await;
    let again = subscribe(&client, "a/b", QoS::AtLeastOnce).await;
    for number in 0..10 {
        soon(client.publish(message("a/b", number.to_string(), QoS::AtLeastOnce)))
            .await
            .unwrap();
    }
    for subscription in [&wide, &narrow, &again] {
        for number in 0..10 {
            assert_eq!(read(&subscription.inbox).await, number.to_string());
        }
        assert_eq!(subscription.inbox.pending(), 0);
    }
    // One of two with the same filter goes; the other still gets its messages.
    soon(client.unsubscribe(&again)).await.unwrap();
    soon(client.publish(message("a/b", "still", QoS::AtLeastOnce)))
        .await
        .unwrap();
    assert_eq!(read(&narrow.inbox).await, "still");
}

#[tokio::test]
async fn a_broker_that_stops_and_starts_again_loses_no_acknowledged_message() {
    let broker = broker().await;
    for version in [ProtocolVersion::V5, ProtocolVersion::V3_1_1] {
        let mut options = ClientOptions::new(broker.memory_address());
        options.version = version;
        options.clean_start = false;
        options.session_expiry = 600;
        options.client_id = Some(format!("steady-{version:?}"));
        if let Some(reconnect) = &mut options.reconnect {
            reconnect.initial = Duration::from_millis(20);
        }
        let client = connected(options).await;
        let mut events = client.events();
        let subscription = subscribe(&client, "t", QoS::ExactlyOnce).await;
        let publisher = {
            let client = client.clone();
            tokio::spawn(async move {
                for number in 0..300 {
                    client
                        .publish(message("t", number.to_string(), QoS::ExactlyOnce))
                        .await
                        .unwrap();
                }
            })
        };
        for number in 0..300 {
            assert_eq!(read(&subscription.inbox).await, number.to_string());
            if number % 100 == 50 {
                soon(broker.stop(Duration::ZERO)).await;
                broker.start().await.unwrap();
            }
        }
        soon(publisher).await.unwrap();
        let mut cuts = 0;
        while let Ok(event) = events.try_recv() {
            assert_ne!(event, Event::SessionLost);
            cuts += usize::from(matches!(event, Event::Disconnected { .. }));
        }
        assert!(cuts >= 3, "{cuts}");
        soon(client.close(Close::Drain(Duration::from_secs(5)))).await;
    }
}

#[tokio::test]
async fn closing_ends_every_wait() {
    let broker = broker().await;
    for options in ways(&broker) {
        for how in [Close::Abort, Close::WithWill, Close::Drain(Duration::ZERO)] {
            let client = connected(options.clone()).await;
            let subscription = subscribe(&client, "t", QoS::AtLeastOnce).await;
            let waiting = {
                let inbox = subscription.inbox.clone();
                tokio::spawn(async move { next(&inbox).await.map(|_| ()) })
            };
            tokio::task::yield_now().await;
            soon(client.close(how)).await;
            assert_eq!(soon(waiting).await.unwrap(), Err(Taken::Ended));
            let closed = Err(ClientError::Closed);
            let late = message("t", "late", QoS::AtLeastOnce);
            assert_eq!(soon(client.publish(late)).await, closed);
            assert_eq!(soon(client.drain()).await, Err(ClientError::Closed));
            assert_eq!(client.room().await, Err(ClientError::Closed));
            soon(client.close(how)).await;
            assert!(!client.stats().connected);
        }
    }
}

#[tokio::test]
async fn dropping_the_last_handle_ends_the_connection() {
    let broker = broker().await;
    for options in ways(&broker) {
        let client = connected(options).await;
        let subscription = subscribe(&client, "t", QoS::AtLeastOnce).await;
        drop(client);
        assert_eq!(next(&subscription.inbox).await.unwrap_err(), Taken::Ended);
        soon(async {
            while broker.stats().connections > 0 {
                tokio::task::yield_now().await;
            }
        })
        .await;
    }
}

#[tokio::test]
async fn a_dropped_subscription_is_unsubscribed_and_holds_nothing_back() {
    let broker = broker().await;
    let client = connected(ways(&broker).remove(0)).await;
    let dropped = soon(client.subscribe(
        filter("a", QoS::AtLeastOnce),
        SubscriptionSettings {
            ack: Ack::Manual,
            ..SubscriptionSettings::default()
        },
    ))
    .await
    .unwrap();
    let kept = subscribe(&client, "b", QoS::AtLeastOnce).await;
    for topic in ["a", "b"] {
        soon(client.publish(message(topic, "x", QoS::AtLeastOnce)))
            .await
            .unwrap();
    }
    assert_eq!(read(&kept.inbox).await, "x");
    let in_flight = || {
        broker
            .sessions()
            .iter()
            .map(|session| session.in_flight)
            .sum::<usize>()
    };
    assert_eq!(in_flight(), 2);
    drop(dropped);
    soon(async {
        while in_flight() > 0 || broker.stats().subscriptions > 1 {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

#[tokio::test]
async fn nobody_there_is_a_typed_error_and_the_client_can_try_again() {
    let missing = Address::parse("mem://nobody-there").unwrap();
    let client = Client::new(ClientOptions::new(missing));
    for _ in 0..2 {
        let error = client.connect().await.unwrap_err();
        assert!(
            matches!(error, ClientError::ConnectFailed { .. }),
            "{error}"
        );
    }
    let error = soon(client.publish(message("t", "x", QoS::AtLeastOnce))).await;
    assert_eq!(error, Err(ClientError::NotConnected));
}
