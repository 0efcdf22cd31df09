//! Faults by plan, and the log of what was on the wire: with our client in memory and with peers that send bytes.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail by panicking")]

use crate::client_script::{message, read, soon, subscribe};
use crate::raw::bytes::{Connect, PINGREQ, PINGRESP, Publish, ack, subscribe as subscribe_packet};
use crate::raw::{BOTH, Server, V4, V5, until};
use rmqtt::broker::faults::{Action, Cut, Direction, Match, Plan, Seen};
use rmqtt::broker::{Broker, BrokerOptions, Seams};
use rmqtt::client::{Client, ClientOptions, Close, Event};
use rmqtt::clock::Clock;
use rmqtt::codec::{PacketType, ReasonCode, summary};
use rmqtt::message::QoS;
use rmqtt::topic::{TopicFilter, TopicName};
use rmqtt::transport::{Address, Stream};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn on(packet_type: PacketType, direction: Direction) -> Match {
    Match {
        packet_type: Some(packet_type),
        client: "*".to_owned(),
        topic: None,
        direction: Some(direction),
        nth: 1,
        times: Some(1),
    }
}

fn plan(seams: &Seams, r#match: Match, actions: &[Action]) -> u64 {
    let rule = seams.faults.add(r#match);
    for action in actions {
        seams.faults.act(rule, action.clone());
    }
    rule
}

async fn advance(clock: &Clock, by: Duration) {
    let clock = clock.clone();
    let moved = tokio::task::spawn_blocking(move || clock.advance(by));
    soon(moved).await.unwrap().unwrap();
}

/// A broker in memory, with a clock of its own and a log.
async fn broker() -> (Broker, Arc<Seams>, Clock) {
    let clock = Clock::manual();
    let broker = Broker::new(BrokerOptions {
        listeners: vec![Address::parse("mqtt://127.0.0.1:0").unwrap().into()],
        clock: clock.clone(),
        wire_lines_max: 1000,
        ..BrokerOptions::default()
    });
    broker.start().await.unwrap();
    let seams = broker.seams();
    (broker, seams, clock)
}

fn options(broker: &Broker, client_id: &str) -> ClientOptions {
    let mut options = ClientOptions::new(broker.memory_address());
    options.client_id = Some(client_id.to_owned());
    let reconnect = options.reconnect.as_mut().unwrap();
    (reconnect.initial, reconnect.jitter) = (seconds(1), false);
    options.session_expiry = 3600;
    options
}

async fn connected(options: ClientOptions) -> Client {
    let client = Client::new(options);
    soon(client.connect()).await.unwrap();
    client
}

/// The log as text, without times.
fn log(seams: &Seams) -> Vec<String> {
    let lines = seams.wire.as_ref().unwrap().lines(0);
    let text = lines.iter().map(|line| {
        let way = match line.direction {
            Direction::In => "→",
            Direction::Out => "←",
        };
        let topic = line.topic.as_ref().map(TopicName::as_str);
        let what = summary(&line.raw, line.version, topic);
        format!("{} {way} {what} {}", line.client_id, line.note)
            .trim_end()
            .to_owned()
    });
    text.collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_puback_is_survived_by_sending_again() {
    let (broker, seams, clock) = broker().await;
    let client = connected(options(&broker, "sender")).await;
    let watcher = connected(options(&broker, "watcher")).await;
    let subscription = subscribe(&watcher, "t", QoS::AtMostOnce).await;
    let rule = plan(
        &seams,
        on(PacketType::PubAck, Direction::Out),
        &[Action::Disconnect(Cut::Close)],
    );
    let publishing = {
        let client = client.clone();
        tokio::spawn(async move { client.publish(message("t", "1", QoS::AtLeastOnce)).await })
    };
    assert_eq!(read(&subscription.inbox).await, "1");
    let mut events = client.events();
    advance(&clock, seconds(1)).await;
    soon(publishing).await.unwrap().unwrap();
    assert_eq!(seams.faults.hits(rule), 1);
    drop(events.try_recv());
    let log = log(&seams);
    let publishes = |dup: &str| {
        let wanted = format!("sender → PUBLISH t qos1 #1{dup}");
        log.iter().filter(|line| **line == wanted).count()
    };
    assert_eq!((publishes(""), publishes(" dup")), (1, 1), "{log:#?}");
    let lost = "sender ← PUBACK #1 lost with its connection by fault".to_owned();
    assert!(log.contains(&lost), "{log:#?}");
    soon(client.close(Close::Abort)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_half_open_link_is_found_by_the_keep_alive_of_both_ends() {
    let (broker, seams, clock) = broker().await;
    let mut options = options(&broker, "cut");
    options.keep_alive = 10;
    let client = connected(options).await;
    let mut events = client.events();
    let rule = plan(
        &seams,
        on(PacketType::PingReq, Direction::In),
        &[Action::Disconnect(Cut::HalfOpen)],
    );
    advance(&clock, seconds(60)).await;
    assert_eq!(seams.faults.hits(rule), 1);
    assert!(matches!(events.try_recv(), Ok(Event::Disconnected { .. })));
    assert!(matches!(events.try_recv(), Ok(Event::Connected(_))));
    assert_eq!(broker.clients().len(), 1);
    soon(client.close(Close::Abort)).await;
    soon(broker.stop(Duration::ZERO)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn packets_are_delayed_by_the_clock_and_keep_their_order() {
    let (broker, seams, clock) = broker().await;
    let client = connected(options(&broker, "slow")).await;
    let subscription = subscribe(&client, "t", QoS::AtMostOnce).await;
    let delay = Action::Delay {
        by: seconds(5),
        jitter: Duration::ZERO,
    };
    plan(&seams, on(PacketType::Publish, Direction::Out), &[delay]);
    for payload in ["1", "2", "3"] {
        broker
            .publish(message("t", payload, QoS::AtMostOnce))
            .unwrap();
    }
    advance(&clock, seconds(4)).await;
    assert_eq!(subscription.inbox.pending(), 0);
    advance(&clock, seconds(1)).await;
    assert_eq!(subscription.inbox.pending(), 3);
    for payload in ["1", "2", "3"] {
        assert_eq!(read(&subscription.inbox).await, payload);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn packets_are_dropped_doubled_and_overtaken() {
    let (broker, seams, clock) = broker().await;
    let client = connected(options(&broker, "odd")).await;
    let subscription = subscribe(&client, "t/+", QoS::AtMostOnce).await;
    let on_topic = |topic: &str| Match {
        topic: Some(TopicFilter::new(topic.to_owned()).unwrap()),
        ..on(PacketType::Publish, Direction::Out)
    };
    plan(&seams, on_topic("t/dropped"), &[Action::Drop]);
    plan(&seams, on_topic("t/doubled"), &[Action::Duplicate]);
    plan(&seams, on_topic("t/overtaken"), &[Action::Reorder(2)]);
    for topic in ["overtaken", "dropped", "doubled", "last"] {
        let topic = format!("t/{topic}");
        broker
            .publish(message(&topic, topic.as_str(), QoS::AtMostOnce))
            .unwrap();
    }
    advance(&clock, Duration::ZERO).await;
    let mut got = Vec::new();
    while subscription.inbox.pending() > 0 {
        got.push(read(&subscription.inbox).await);
    }
    assert_eq!(got, ["t/doubled", "t/doubled", "t/overtaken", "t/last"]);
    let log = log(&seams).join("\n");
    assert!(
        log.contains("← PUBLISH t/dropped qos0 dropped by fault"),
        "{log}"
    );
    assert!(
        log.contains("← PUBLISH t/doubled qos0 duplicated by fault"),
        "{log}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_throttled_way_lets_so_many_bytes_pass_a_second() {
    let (broker, seams, clock) = broker().await;
    let client = connected(options(&broker, "narrow")).await;
    let subscription = subscribe(&client, "t", QoS::AtMostOnce).await;
    plan(
        &seams,
        on(PacketType::Publish, Direction::Out),
        &[Action::Throttle(100)],
    );
    for _ in 0..10 {
        // With its header, topic and subscription identifier, a hundred bytes.
        let payload = "x".repeat(92);
        broker
            .publish(message("t", payload, QoS::AtMostOnce))
            .unwrap();
    }
    for passed in 1..=10 {
        advance(&clock, seconds(1)).await;
        assert_eq!(subscription.inbox.pending(), passed);
    }
}

#[tokio::test]
async fn connections_are_refused_thrice_in_both_versions() {
    for version in BOTH {
        let server = Server::start().await;
        let seams = server.broker().seams();
        let rule = seams.faults.add(Match {
            times: Some(3),
            packet_type: None,
            direction: None,
            ..on(PacketType::Connect, Direction::In)
        });
        seams
            .faults
            .act(rule, Action::Refuse(ReasonCode::ServerUnavailable));
        for _ in 0..3 {
            let mut peer = server.socket(version).await;
            peer.send(&Connect::new(version, "c").bytes()).await;
            let connack: &[u8] = version.pick(&[0x20, 2, 0, 3], &[0x20, 3, 0, 0x88, 0]);
            peer.expect(connack).await;
            peer.expect_closed().await;
        }
        server.client(version, "c").await;
        assert_eq!(seams.faults.hits(rule), 3);
    }
}

#[tokio::test]
async fn a_session_is_lost_when_the_plan_says_so() {
    for version in BOTH {
        let server = Server::start().await;
        let seams = server.broker().seams();
        let connect = Connect::new(version, "kept").resume();
        let (peer, _) = server.connect(&connect).await;
        drop(peer);
        let (peer, is_present) = server.connect(&connect).await;
        assert!(is_present, "{version:?}");
        drop(peer);
        plan(
            &seams,
            on(PacketType::Connect, Direction::In),
            &[Action::LoseSession],
        );
        let (peer, is_present) = server.connect(&connect).await;
        assert!(!is_present, "{version:?}");
        drop(peer);
        assert!(server.connect(&connect).await.1, "{version:?}");
    }
}

#[tokio::test]
async fn a_connection_ends_as_the_plan_says() {
    for (cut, reason) in [
        (Cut::Reset, None),
        (Cut::Close, None),
        (Cut::Reason(ReasonCode::ServerBusy), Some(0x89)),
    ] {
        for version in BOTH {
            let server = Server::start().await;
            let mut peer = server.client(version, "c").await;
            let publish = on(PacketType::Publish, Direction::In);
            let seams = server.broker().seams();
            plan(&seams, publish, &[Action::Disconnect(cut)]);
            peer.send(&Publish::new("t", "x").bytes(version)).await;
            match reason {
                Some(reason) => peer.expect_end(&[reason]).await,
                None => peer.expect_closed().await,
            }
        }
    }
}

#[tokio::test]
async fn a_packet_is_corrupted_or_cut_short() {
    let server = Server::start().await;
    let seams = server.broker().seams();
    let mut peer = server.client(V5, "corrupt").await;
    let ping = on(PacketType::PingResp, Direction::Out);
    plan(&seams, ping.clone(), &[Action::Corrupt(Some(0))]);
    peer.send(&PINGREQ).await;
    let got = peer.expect_packet().await;
    assert_ne!(got, PINGRESP);
    assert_eq!(got.len(), 2);
    let publish = on(PacketType::Publish, Direction::In);
    plan(&seams, publish, &[Action::Truncate(5)]);
    peer.send(&Publish::new("t", "never whole").bytes(V5)).await;
    peer.expect_closed().await;
}

#[tokio::test]
async fn nothing_is_read_from_a_client_that_the_broker_is_deaf_to() {
    let server = Server::start().await;
    let seams = server.broker().seams();
    let mut peer = server.client(V4, "unheard").await;
    plan(
        &seams,
        on(PacketType::PingReq, Direction::In),
        &[Action::StopReading],
    );
    peer.send(&PINGREQ).await;
    peer.expect(&PINGRESP).await;
    peer.send(&PINGREQ).await;
    let witness = server.witness().await;
    drop(witness);
    assert!(
        server
            .broker()
            .disconnect("unheard", ReasonCode::ServerBusy)
    );
    // No second PINGRESP before the end.
    peer.expect_closed().await;
}

#[tokio::test]
async fn rules_made_late_know_what_aliases_stand_for() {
    let server = Server::start().await;
    let seams = server.broker().seams();
    let mut peer = server.client(V5, "aliased").await;
    let named = Publish::new("plant/7", "1").qos(1, 1);
    let named = named.properties(&[0x23, 0, 1]);
    peer.send(&named.bytes(V5)).await;
    peer.expect_packet().await;
    let r#match = Match {
        topic: Some(TopicFilter::new("plant/+".to_owned()).unwrap()),
        times: None,
        direction: None,
        ..on(PacketType::Publish, Direction::In)
    };
    let rule = plan(&seams, r#match, &[Action::Drop]);
    let unnamed = Publish::new("", "2").qos(1, 2);
    let unnamed = unnamed.properties(&[0x23, 0, 1]);
    peer.send(&unnamed.bytes(V5)).await;
    peer.send(&PINGREQ).await;
    peer.expect(&PINGRESP).await;
    assert_eq!(seams.faults.hits(rule), 1);
}

/// Counts what a plan does to a thousand packets.
fn fate(seed: u64) -> Vec<String> {
    let mut plan = Plan::default();
    plan.seed = seed;
    let always = Match {
        times: None,
        ..on(PacketType::Publish, Direction::In)
    };
    let rule = plan.add(always);
    let (by, jitter) = (Duration::ZERO, seconds(1));
    plan.act(rule, Action::Delay { by, jitter });
    plan.act(rule, Action::Corrupt(None));
    let topic = TopicName::new("t".to_owned()).unwrap();
    let seen = Seen {
        packet_type: PacketType::Publish,
        direction: Direction::In,
        client_id: "c",
        topic: Some(&topic),
        size: 100,
    };
    (0..1000)
        .map(|_| format!("{:?}", plan.meet(&seen)))
        .collect()
}

#[test]
fn the_same_seed_makes_the_same_faults() {
    assert_eq!(fate(7), fate(7));
    assert_ne!(fate(7), fate(8));
    let different: std::collections::BTreeSet<_> = fate(7).into_iter().collect();
    assert!(different.len() > 900);
}

#[test]
fn a_rule_strikes_from_its_nth_packet_on_and_so_often() {
    let mut plan = Plan::default();
    let rule = plan.add(Match {
        client: "sensor-*-a".to_owned(),
        nth: 3,
        times: Some(2),
        ..on(PacketType::PubAck, Direction::Out)
    });
    plan.act(rule, Action::Drop);
    let struck = |plan: &mut Plan, client_id: &str, direction: Direction| {
        let seen = Seen {
            packet_type: PacketType::PubAck,
            direction,
            client_id,
            topic: None,
            size: 4,
        };
        !plan.meet(&seen).is_empty()
    };
    let mut meet = |client_id: &str, direction| struck(&mut plan, client_id, direction);
    assert!(!meet("sensor-1-b", Direction::Out));
    assert!(!meet("sensor-1-a", Direction::In));
    let all = [(); 6].map(|()| meet("sensor-1-a", Direction::Out));
    assert_eq!(all, [false, false, true, true, false, false]);
    assert_eq!(plan.hits(rule), 2);
    plan.clear();
    assert_eq!(plan.hits(rule), 0);
}

#[tokio::test]
async fn the_wire_log_shows_what_was_said_and_hides_passwords() {
    let server = Server::with_options(|options| options.wire_lines_max = 6).await;
    let seams = server.broker().seams();
    let mut connect = Connect::new(V5, "c");
    connect.flags |= 0xC0;
    connect.payload.extend(crate::raw::bytes::field("me"));
    connect.payload.extend(crate::raw::bytes::field("secret"));
    let (mut peer, _) = server.connect(&connect).await;
    peer.send(&subscribe_packet(V5, 1, &[("t", 1)])).await;
    peer.expect_packet().await;
    peer.send(&Publish::new("t", "x").qos(1, 7).bytes(V5)).await;
    let (one, other) = (peer.expect_packet().await, peer.expect_packet().await);
    let (_, _) = (one, other);
    peer.send(&ack(0x40, 1)).await;
    soon(seams.wire.as_ref().unwrap().more_than(6)).await;
    assert_eq!(
        log(&seams),
        [
            "c ← CONNACK 0x00 success",
            "c → SUBSCRIBE #1 t qos1",
            "c ← SUBACK #1 0x01",
            "c → PUBLISH t qos1 #7",
            "c ← PUBACK #7",
            "c ← PUBLISH t qos1 #1",
        ]
    );
    let text = summary(&connect.bytes(), rmqtt::codec::ProtocolVersion::V5, None);
    assert_eq!(text, "CONNECT \"c\" v5 clean keep-alive 0 s user");
}

#[tokio::test]
async fn what_came_just_before_the_end_of_a_watched_connection_counts() {
    let (broker, _, _) = broker().await;
    let mut pipe = Stream::connect(&broker.memory_address()).await.unwrap();
    pipe.write_all(&Connect::new(V5, "hasty").bytes())
        .await
        .unwrap();
    let mut connack = [0; 256];
    assert!(pipe.read(&mut connack).await.unwrap() > 0);
    // More than is read at once, less than the pipe takes: the end is there when the rest is read.
    let publish = Publish::new("a", "x".repeat(30_000)).bytes(V5);
    pipe.write_all(&publish).await.unwrap();
    drop(pipe);
    until("counted", &broker, |broker| {
        broker.clients().is_empty() && broker.stats().messages_received == 1
    })
    .await;
}
