//! The clock that a test moves: hours of a broker and of its clients in memory, in milliseconds, and in order.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail by panicking")]

use crate::client_script::{message, read, soon, subscribe};
use crate::raw::bytes::Connect;
use crate::raw::{self, V5};
use rmqtt::broker::{Broker, BrokerOptions};
use rmqtt::client::{Client, ClientError, ClientOptions, Close, Event};
use rmqtt::clock::{Clock, Restless};
use rmqtt::codec::{ProtocolVersion, Will};
use rmqtt::message::{Message, MessageProperties, QoS};
use rmqtt::topic::TopicName;
use rmqtt::transport::{Address, Gate, Listener};
use std::sync::{Arc, Mutex};
use std::time::Duration;

const HOUR: Duration = Duration::from_secs(3600);

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// Moves the clock from where a thread may be blocked.
async fn advance(clock: &Clock, by: Duration) {
    let clock = clock.clone();
    let moved = tokio::task::spawn_blocking(move || clock.advance(by));
    soon(moved).await.unwrap().unwrap();
}

async fn broker(clock: &Clock) -> Broker {
    let broker = Broker::new(BrokerOptions {
        listeners: vec![Address::parse("mqtt://127.0.0.1:0").unwrap().into()],
        clock: clock.clone(),
        ..BrokerOptions::default()
    });
    broker.start().await.unwrap();
    broker
}

fn options(broker: &Broker, client_id: &str) -> ClientOptions {
    let mut options = ClientOptions::new(broker.memory_address());
    options.client_id = Some(client_id.to_owned());
    options
}

async fn connected(options: ClientOptions) -> Client {
    let client = Client::new(options);
    soon(client.connect()).await.unwrap();
    client
}

fn will(topic: &str, delay: u32) -> Will {
    Will {
        message: Message::new(TopicName::new(topic).unwrap(), "gone"),
        delay_interval: Some(delay),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn deadlines_are_met_in_their_order_whenever_they_were_asked_for() {
    let clock = Clock::manual();
    let met = Arc::new(Mutex::new(Vec::new()));
    let began = clock.now();
    for after in [50, 10, 30, 10, 40, 20] {
        let (asked, met) = (clock.clone(), Arc::clone(&met));
        tokio::spawn(clock.track(async move {
            asked.sleep(seconds(after)).await;
            let at = asked.now() - began;
            met.lock().unwrap().push((after, at));
        }));
    }
    advance(&clock, seconds(30)).await;
    let wanted = [10, 10, 20, 30].map(|after| (after, seconds(after)));
    assert_eq!(*met.lock().unwrap(), wanted);
    assert_eq!(clock.passed(), seconds(30));
    advance(&clock, HOUR).await;
    assert_eq!(met.lock().unwrap().len(), 6);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_deadline_sets_off_is_done_before_the_next_one() {
    let clock = Clock::manual();
    let (sender, mut receiver) = tokio::sync::mpsc::unbounded_channel();
    let hours = Arc::new(Mutex::new(Vec::new()));
    let asked = clock.clone();
    tokio::spawn(clock.track(async move {
        for number in 0..100 {
            asked.sleep(seconds(1)).await;
            sender.send(number).unwrap();
        }
    }));
    let (asked, heard) = (clock.clone(), Arc::clone(&hours));
    tokio::spawn(clock.track(async move {
        while let Some(number) = receiver.recv().await {
            // As tokio's budget would, and as a task that is in the way of others does.
            rmqtt::clock::yield_now().await;
            heard.lock().unwrap().push((number, asked.passed()));
        }
    }));
    advance(&clock, HOUR).await;
    let wanted: Vec<_> = (0..100)
        .map(|number| (number, seconds(number + 1)))
        .collect();
    assert_eq!(*hours.lock().unwrap(), wanted);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_clock_waits_for_work_that_is_no_task() {
    let clock = Clock::manual();
    let busy = clock.busy();
    let moved = {
        let clock = clock.clone();
        tokio::task::spawn_blocking(move || clock.advance(HOUR))
    };
    tokio::task::yield_now().await;
    assert_eq!(clock.passed(), Duration::ZERO);
    drop(busy);
    assert_eq!(soon(moved).await.unwrap(), Ok(()));
    assert_eq!(clock.passed(), HOUR);
    assert!(Restless.to_string().contains("30 s"));
}

/// spec(5): MQTT-3.1.3-9, MQTT-3.1.2-23
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn wills_and_sessions_come_to_their_end_in_order_within_two_hours() {
    let clock = Clock::manual();
    let broker = broker(&clock).await;
    let watcher = connected(options(&broker, "watcher")).await;
    let wills = subscribe(&watcher, "will/#", QoS::AtMostOnce).await;
    for (client_id, delay, expiry) in [("a", 5400, 7000), ("b", 60, 7100), ("c", 5400, 1800)] {
        let mut options = options(&broker, client_id);
        options.session_expiry = expiry;
        options.will = Some(will(&format!("will/{client_id}"), delay));
        options.reconnect = None;
        connected(options).await.close(Close::Abort).await;
    }
    let heard_at = |at: u64, topic: &'static str| {
        let (clock, inbox) = (clock.clone(), wills.inbox.clone());
        async move {
            let almost = seconds(at - 1).saturating_sub(clock.passed());
            advance(&clock, almost).await;
            assert_eq!(inbox.pending(), 0, "{topic} is early");
            advance(&clock, seconds(1)).await;
            assert_eq!(inbox.pending(), 1, "{topic}");
            assert_eq!(read(&inbox).await, "gone");
        }
    };
    heard_at(60, "will/b").await;
    // The will comes with the end of the session, if that is earlier.
    heard_at(1800, "will/c").await;
    heard_at(5400, "will/a").await;
    let sessions = |broker: &Broker| {
        let sessions = broker.sessions().into_iter();
        sessions.map(|it| it.client_id).collect::<Vec<_>>()
    };
    assert_eq!(sessions(&broker), ["a", "b", "watcher"]);
    advance(&clock, seconds(1600)).await;
    assert_eq!(sessions(&broker), ["b", "watcher"]);
    advance(&clock, seconds(100)).await;
    assert_eq!(sessions(&broker), ["watcher"]);
    soon(broker.stop(Duration::ZERO)).await;
}

/// spec(5): MQTT-3.3.2-5, MQTT-3.3.2-6
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn messages_expire_after_two_hours_that_take_no_time() {
    let clock = Clock::manual();
    let broker = broker(&clock).await;
    let mut kept = options(&broker, "kept");
    kept.session_expiry = u32::MAX;
    let reader = connected(kept.clone()).await;
    let _held = subscribe(&reader, "t", QoS::AtLeastOnce).await;
    soon(reader.close(Close::Abort)).await;
    // The broker has to know: what was on its way to a client does not expire any more.
    advance(&clock, Duration::ZERO).await;
    for (payload, expiry) in [("two hours", 7200), ("three hours", 10_800)] {
        let properties = MessageProperties {
            message_expiry_interval: Some(expiry),
            ..MessageProperties::default()
        };
        let mut message = message("t", payload, QoS::AtLeastOnce);
        message.properties = Some(Arc::new(properties));
        assert_eq!(broker.publish(message), Ok(1));
    }
    advance(&clock, HOUR * 2).await;
    kept.clean_start = false;
    let reader = connected(kept).await;
    let subscription = subscribe(&reader, "t", QoS::AtLeastOnce).await;
    let message = soon(crate::client_script::next(&subscription.inbox))
        .await
        .unwrap();
    assert_eq!(&message.message.payload[..], b"three hours");
    let expiry = message
        .message
        .properties
        .as_ref()
        .unwrap()
        .message_expiry_interval;
    assert_eq!(expiry, Some(3600));
    assert_eq!(subscription.inbox.pending(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_in_memory_pings_by_the_clock_of_its_broker() {
    let clock = Clock::manual();
    let broker = broker(&clock).await;
    let mut options = options(&broker, "pinger");
    options.keep_alive = 10;
    let client = connected(options).await;
    let before = client.stats().bytes_sent;
    advance(&clock, seconds(100)).await;
    assert!(client.stats().bytes_sent >= before + 20);
    assert_eq!(broker.clients().len(), 1);
    soon(client.close(Close::Abort)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_whose_broker_is_dumb_gives_up_when_the_clock_says_so() {
    let clock = Clock::manual();
    let address = Address::parse("mem://dumb").unwrap();
    let listener = Listener::bind_at(&address, &clock, &Gate::default())
        .await
        .unwrap();
    let client = Client::new(ClientOptions::new(address));
    let connecting = {
        let client = client.clone();
        tokio::spawn(async move { client.connect().await })
    };
    let _held = soon(listener.accept()).await.unwrap();
    advance(&clock, seconds(9)).await;
    assert!(!connecting.is_finished());
    advance(&clock, seconds(1)).await;
    let error = soon(connecting).await.unwrap().unwrap_err();
    assert!(matches!(error, ClientError::TimedOut { .. }), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_comes_back_by_the_clock_it_has_learnt() {
    let clock = Clock::manual();
    let broker = broker(&clock).await;
    let mut options = options(&broker, "again");
    let reconnect = options.reconnect.as_mut().unwrap();
    (reconnect.initial, reconnect.jitter) = (HOUR, false);
    reconnect.max = HOUR;
    let client = connected(options).await;
    let mut events = client.events();
    assert!(broker.disconnect("again", rmqtt::codec::ReasonCode::ServerBusy));
    let lost = soon(events.recv()).await.unwrap();
    assert!(matches!(lost, Event::Disconnected { retry_in: Some(delay), .. } if delay == HOUR));
    advance(&clock, seconds(3599)).await;
    assert!(events.is_empty());
    advance(&clock, seconds(1)).await;
    assert!(matches!(events.try_recv(), Ok(Event::Connected(_))));
    soon(client.close(Close::Abort)).await;
}

/// spec(5): MQTT-3.1.2-22
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_silent_peer_on_a_socket_is_given_up_by_the_clock_of_the_broker() {
    let clock = Clock::manual();
    let server = raw::Server::with_options(|options| options.clock = clock.clone()).await;
    let mut connect = Connect::new(V5, "silent");
    connect.keep_alive = 3600;
    let (mut peer, _) = server.connect(&connect).await;
    advance(&clock, HOUR).await;
    assert_eq!(server.broker().clients().len(), 1);
    advance(&clock, HOUR / 2 + seconds(1)).await;
    peer.expect_end(&[0x8D]).await;
    assert_eq!(server.broker().clients(), []);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn autojump_goes_to_what_is_waited_for() {
    let clock = Clock::manual();
    let jumping = {
        let clock = clock.clone();
        tokio::spawn(async move { clock.jump_along(Duration::from_millis(1)).await })
    };
    soon(clock.track(clock.sleep(HOUR * 24))).await;
    assert_eq!(clock.passed(), HOUR * 24);
    jumping.abort();
}

#[tokio::test]
async fn a_broker_can_be_stopped_while_its_clock_stands_still() {
    let clock = Clock::manual();
    let broker = broker(&clock).await;
    let mut options = options(&broker, "held");
    options.version = ProtocolVersion::V3_1_1;
    let client = connected(options).await;
    soon(broker.stop(Duration::from_millis(10))).await;
    soon(client.close(Close::Abort)).await;
    assert!(!broker.is_running());
}
