//! Slow consumers: who waits for them, for how long, and what is dropped. A whole broker over memory, on tokio's clock,
//! which jumps whenever nobody has anything to do: waiting costs nothing and is measured.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail by panicking")]

use bytes::{Buf, BytesMut};
use rmqtt::broker::outbox::GRACE;
use rmqtt::broker::{Broker, BrokerOptions, Limits};
use rmqtt::codec::{
    self, Ack, AckKind, Connect, ConnectProperties, Packet, PacketId, ProtocolVersion, Publish,
    ReasonCode, SendBuffer, Subscribe, SubscribeFilter, SubscriptionOptions,
};
use rmqtt::message::{Message, QoS};
use rmqtt::topic::TopicName;
use rmqtt::transport::Stream;
use std::future::Future;
use std::num::NonZeroU16;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::Instant;

const V4: ProtocolVersion = ProtocolVersion::V3_1_1;
const V5: ProtocolVersion = ProtocolVersion::V5;

const SHARED: &str = "$share/g/t";

fn run(scenario: impl Future<Output = ()>) {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .start_paused(true)
        .build()
        .unwrap()
        .block_on(scenario);
}

async fn running(limits: Limits) -> Broker {
    let broker = Broker::new(BrokerOptions {
        listeners: Vec::new(),
        limits,
        ..BrokerOptions::default()
    });
    broker.start().await.unwrap();
    broker
}

fn small_queues() -> Limits {
    Limits {
        queue_messages_max: 10,
        ..Limits::default()
    }
}

/// A client that does only what it is told.
struct Peer {
    stream: Stream,
    input: BytesMut,
    version: ProtocolVersion,
}

impl Peer {
    async fn connected(
        broker: &Broker,
        version: ProtocolVersion,
        client_id: &str,
        receive_maximum: u16,
    ) -> Self {
        let mut peer = Self {
            stream: Stream::connect(&broker.memory_address()).await.unwrap(),
            input: BytesMut::new(),
            version,
        };
        let is_v5 = version == V5;
        peer.say(&Packet::Connect(Box::new(Connect {
            version,
            clean_start: is_v5,
            keep_alive: 0,
            client_id: client_id.into(),
            will: None,
            username: None,
            password: None,
            properties: ConnectProperties {
                session_expiry_interval: is_v5.then_some(1000),
                receive_maximum: is_v5.then(|| NonZeroU16::new(receive_maximum).unwrap()),
                ..ConnectProperties::default()
            },
        })))
        .await;
        assert!(matches!(peer.hear().await, Packet::ConnAck(_)));
        peer
    }

    async fn subscribed(
        broker: &Broker,
        version: ProtocolVersion,
        client_id: &str,
        receive_maximum: u16,
    ) -> Self {
        let mut peer = Self::connected(broker, version, client_id, receive_maximum).await;
        peer.subscribe("t").await;
        peer
    }

    async fn shared(broker: &Broker, client_id: &str, receive_maximum: u16) -> Self {
        let mut peer = Self::connected(broker, V5, client_id, receive_maximum).await;
        peer.subscribe(SHARED).await;
        peer
    }

    async fn subscribe(&mut self, filter: &str) {
        self.say(&Packet::Subscribe(Subscribe {
            packet_id: PacketId::new(1).unwrap(),
            filters: vec![SubscribeFilter {
                filter: filter.into(),
                options: SubscriptionOptions {
                    qos: QoS::AtLeastOnce,
                    ..SubscriptionOptions::default()
                },
            }],
            subscription_id: None,
            user_properties: Vec::new(),
        }))
        .await;
        assert!(matches!(self.hear().await, Packet::SubAck(_)));
    }

    async fn say(&mut self, packet: &Packet) {
        let mut out = SendBuffer::new();
        codec::encode(packet, self.version, &mut out).unwrap();
        let bytes = out.copy_to_bytes(out.remaining());
        self.stream.write_all(&bytes).await.unwrap();
    }

    async fn publish(&mut self, number: u16) {
        let message = Message::new(TopicName::new("t").unwrap(), number.to_string());
        let mut publish = Publish::new(message.with_qos(QoS::AtLeastOnce));
        publish.packet_id = PacketId::new(number);
        self.say(&Packet::Publish(publish)).await;
    }

    async fn hear(&mut self) -> Packet {
        loop {
            let limits = codec::Limits::default();
            if let Some(packet) = codec::decode(&mut self.input, self.version, &limits).unwrap() {
                return packet;
            }
            let count = self.stream.read_buf(&mut self.input).await.unwrap();
            assert!(count > 0, "the broker has closed");
        }
    }

    /// Acknowledges what comes until it has come `messages` times, and so many own messages have been acknowledged.
    async fn exchange(&mut self, mut messages: usize, mut answers: usize) {
        while messages + answers > 0 {
            match self.hear().await {
                Packet::Publish(publish) => {
                    messages -= 1;
                    let id = publish.packet_id.unwrap();
                    let ack = Ack::new(AckKind::PubAck, id, ReasonCode::Success);
                    self.say(&Packet::Ack(ack)).await;
                }
                Packet::Ack(ack) if ack.kind == AckKind::PubAck => answers -= 1,
                other => panic!("{other:?}"),
            }
        }
    }
}

#[test]
fn who_subscribes_to_itself_does_not_lock_itself_up() {
    run(async {
        let began = Instant::now();
        let broker = running(small_queues()).await;
        let mut peer = Peer::subscribed(&broker, V5, "c", 2).await;
        for number in 1..=1000 {
            peer.publish(number).await;
        }
        peer.exchange(1000, 1000).await;
        assert!(began.elapsed() < GRACE, "somebody was waited for in vain");
        assert_eq!(broker.stats().connections_violated, 0);
        broker.stop(Duration::from_secs(1)).await;
    });
}

#[test]
fn who_floods_itself_is_sent_away() {
    run(async {
        let broker = running(small_queues()).await;
        // 3.1.1 has no word for our Receive Maximum, and who has filled its own queue must still be read.
        let peer = Peer::subscribed(&broker, V4, "c", 1).await;
        let (mut input, mut output) = tokio::io::split(peer.stream);
        let flood = tokio::spawn(async move {
            let message = Message::new(TopicName::new("t").unwrap(), vec![b'.'; 500]);
            let mut out = SendBuffer::new();
            for number in 1..=60_000 {
                let mut publish = Publish::new(message.clone().with_qos(QoS::AtLeastOnce));
                publish.packet_id = PacketId::new(number);
                codec::encode(&Packet::Publish(publish), V4, &mut out).unwrap();
                if output.write_all_buf(&mut out).await.is_err() {
                    return;
                }
            }
        });
        let began = Instant::now();
        while input
            .read(&mut [0; 4096])
            .await
            .is_ok_and(|count| count > 0)
        {}
        assert!(began.elapsed() < GRACE, "at once, and not in the end");
        let most = 2 * (10 + 1024) + 1024;
        let queued = broker.stats().queued_messages;
        assert!(queued <= most, "{queued} wait");
        drop(input);
        flood.await.unwrap();
        broker.stop(Duration::from_secs(1)).await;
    });
}

#[test]
fn two_that_feed_each_other_do_not_lock_each_other_up() {
    run(async {
        let began = Instant::now();
        let broker = running(small_queues()).await;
        let mut one = Peer::subscribed(&broker, V5, "one", 2).await;
        let mut two = Peer::subscribed(&broker, V5, "two", 1).await;
        for number in 1..=500 {
            one.publish(number).await;
            two.publish(number).await;
        }
        tokio::join!(one.exchange(1000, 500), two.exchange(1000, 500));
        assert!(began.elapsed() < GRACE, "somebody was waited for in vain");
        broker.stop(Duration::from_secs(1)).await;
    });
}

#[test]
fn a_publisher_waits_for_a_slow_consumer_but_not_for_long() {
    run(async {
        let broker = running(small_queues()).await;
        let mut slow = Peer::subscribed(&broker, V5, "slow", 1).await;
        let mut publisher = Peer::connected(&broker, V5, "p", 100).await;
        // One is on its way, ten wait: the tenth fills the queue.
        for number in 1..=10 {
            publisher.publish(number).await;
            publisher.exchange(0, 1).await;
        }
        let began = Instant::now();
        for number in 11..=15 {
            publisher.publish(number).await;
        }
        // It still has ears for all else.
        publisher.say(&Packet::PingReq).await;
        assert_eq!(publisher.hear().await, Packet::PingResp);
        assert!(began.elapsed() < Duration::from_secs(1));
        publisher.exchange(0, 5).await;
        assert_eq!(began.elapsed().as_secs(), GRACE.as_secs());

        assert!(matches!(slow.hear().await, Packet::Publish(_)));
        let Packet::Disconnect(farewell) = slow.hear().await else {
            panic!("no DISCONNECT")
        };
        assert_eq!(farewell.reason, ReasonCode::QuotaExceeded);
        // What was queued stays; what comes now finds the queue of an absent client full.
        assert_eq!(broker.stats().queued_messages, 14);
        publisher.publish(16).await;
        publisher.exchange(0, 1).await;
        let stats = broker.stats();
        assert_eq!(
            (stats.queued_messages, stats.messages_dropped_queue_full),
            (14, 1)
        );
        assert_eq!(stats.connections_violated, 1);
        let session = broker.sessions().remove(1);
        assert_eq!((session.client_id.as_str(), session.in_flight), ("slow", 1));
        broker.stop(Duration::from_secs(1)).await;
    });
}

#[test]
fn a_consumer_that_catches_up_releases_its_publishers() {
    run(async {
        let began = Instant::now();
        let broker = running(small_queues()).await;
        let mut slow = Peer::subscribed(&broker, V5, "slow", 1).await;
        let mut publisher = Peer::connected(&broker, V5, "p", 100).await;
        for number in 1..=50 {
            publisher.publish(number).await;
        }
        tokio::time::sleep(GRACE / 2).await;
        slow.exchange(50, 0).await;
        publisher.exchange(0, 50).await;
        assert!(began.elapsed() < GRACE);
        assert_eq!(broker.stats().connections_violated, 0);
        broker.stop(Duration::from_secs(1)).await;
    });
}

#[test]
fn a_publisher_with_no_window_is_not_read_while_it_is_far_ahead() {
    run(async {
        let broker = running(small_queues()).await;
        let _slow = Peer::subscribed(&broker, V4, "slow", 1).await;
        let mut bystander = Peer::subscribed(&broker, V4, "bystander", 1).await;
        let publisher = Peer::connected(&broker, V4, "p", 1).await;
        let (mut input, mut output) = tokio::io::split(publisher.stream);
        let flood = tokio::spawn(async move {
            let message = Message::new(TopicName::new("t").unwrap(), vec![b'.'; 500]);
            for number in 1..=60_000 {
                let mut publish = Publish::new(message.clone().with_qos(QoS::AtLeastOnce));
                publish.packet_id = PacketId::new(number);
                let mut out = SendBuffer::new();
                codec::encode(&Packet::Publish(publish), V4, &mut out).unwrap();
                output.write_all_buf(&mut out).await.unwrap();
            }
            output
        });
        let mut answers = vec![0; 1024];
        // The window of a 3.1.1 client is ours: `in_flight_max` messages are on their way beside those that wait.
        bystander.exchange(2000, 0).await;
        let most = 10 + 1024 + 1;
        let queued = broker.stats().queued_messages;
        assert!(queued <= 2 * most, "{queued} wait");
        let _ = input.read(&mut answers).await;
        flood.abort();
        broker.stop(Duration::from_secs(1)).await;
    });
}

#[test]
fn a_stop_does_not_wait_for_the_deaf_and_leaves_nothing_behind() {
    run(async {
        let broker = running(Limits::default()).await;
        let mut deaf = Peer::subscribed(&broker, V5, "deaf", 100).await;
        let mut publisher = Peer::connected(&broker, V4, "p", 1).await;
        for number in 1..=20 {
            let message = Message::new(TopicName::new("t").unwrap(), vec![b'.'; 100_000]);
            let mut publish = Publish::new(message.with_qos(QoS::AtLeastOnce));
            publish.packet_id = PacketId::new(number);
            publisher.say(&Packet::Publish(publish)).await;
        }
        publisher.exchange(0, 20).await;
        let began = Instant::now();
        broker.stop(Duration::from_millis(300)).await;
        assert!(began.elapsed() <= Duration::from_millis(600));
        assert!(!broker.is_running());
        let stats = broker.stats();
        assert_eq!((stats.connections, stats.sessions), (0, 2));
        // What was on its way is cut off: the pipe ends.
        let mut rest = Vec::new();
        deaf.stream.read_to_end(&mut rest).await.unwrap();
        assert!(rest.len() < 20 * 100_000);
    });
}

#[test]
fn who_shares_with_nobody_but_itself_does_not_lock_itself_up() {
    run(async {
        let began = Instant::now();
        let broker = running(small_queues()).await;
        let mut peer = Peer::shared(&broker, "c", 2).await;
        for number in 1..=1000 {
            peer.publish(number).await;
        }
        peer.exchange(1000, 1000).await;
        assert!(began.elapsed() < GRACE, "somebody was waited for in vain");
        assert_eq!(broker.stats().connections_violated, 0);
        broker.stop(Duration::from_secs(1)).await;
    });
}

#[test]
fn a_slow_member_of_a_group_holds_nobody_up() {
    run(async {
        let began = Instant::now();
        let broker = running(small_queues()).await;
        let mut slow = Peer::shared(&broker, "slow", 1).await;
        let mut quick = Peer::shared(&broker, "quick", 10).await;
        let mut publisher = Peer::connected(&broker, V5, "p", 100).await;
        let publish = async {
            for number in 1..=1000 {
                publisher.publish(number).await;
            }
            publisher.exchange(0, 1000).await;
        };
        // One is on its way to the slow one, and half of what may wait is in its hand.
        tokio::join!(publish, quick.exchange(994, 0));
        assert!(began.elapsed() < GRACE, "somebody was waited for in vain");
        slow.exchange(6, 0).await;
        assert_eq!(broker.stats().queued_messages, 0);
        broker.stop(Duration::from_secs(1)).await;
    });
}

#[test]
fn a_publisher_waits_for_a_slow_group_but_not_for_long() {
    run(async {
        let broker = running(small_queues()).await;
        let mut stuck = Peer::shared(&broker, "stuck", 1).await;
        let mut slow = Peer::shared(&broker, "slow", 2).await;
        let mut publisher = Peer::connected(&broker, V5, "p", 100).await;
        let began = Instant::now();
        // Three are on their way, ten wait: the last fills the queue.
        for number in 1..=12 {
            publisher.publish(number).await;
            publisher.exchange(0, 1).await;
        }
        publisher.publish(13).await;
        assert!(began.elapsed() < Duration::from_secs(1));
        slow.exchange(1, 0).await;
        publisher.publish(14).await;
        publisher.exchange(0, 2).await;
        assert_eq!(began.elapsed().as_secs(), GRACE.as_secs());

        // The one that took nothing has to go, and what it sat on goes to the other.
        publisher.publish(15).await;
        publisher.exchange(0, 1).await;
        assert!(matches!(stuck.hear().await, Packet::Publish(_)));
        let Packet::Disconnect(farewell) = stuck.hear().await else {
            panic!("no DISCONNECT")
        };
        assert_eq!(farewell.reason, ReasonCode::QuotaExceeded);
        publisher.publish(16).await;
        publisher.exchange(0, 1).await;
        let stats = broker.stats();
        assert_eq!(
            (stats.queued_messages, stats.messages_dropped_queue_full),
            (11, 1)
        );
        slow.exchange(13, 0).await;
        assert_eq!(broker.stats().queued_messages, 0);
        publisher.publish(17).await;
        publisher.exchange(0, 1).await;
        slow.exchange(1, 0).await;
        broker.stop(Duration::from_secs(1)).await;
    });
}

#[test]
fn a_group_that_catches_up_releases_its_publishers() {
    run(async {
        let began = Instant::now();
        let broker = running(small_queues()).await;
        let mut slow = Peer::shared(&broker, "slow", 1).await;
        let mut publisher = Peer::connected(&broker, V5, "p", 100).await;
        for number in 1..=50 {
            publisher.publish(number).await;
        }
        tokio::time::sleep(GRACE / 2).await;
        slow.exchange(50, 0).await;
        publisher.exchange(0, 50).await;
        assert!(began.elapsed() < GRACE);
        assert_eq!(broker.stats().connections_violated, 0);
        broker.stop(Duration::from_secs(1)).await;
    });
}

#[test]
fn a_member_with_a_full_window_still_gets_qos_0() {
    run(async {
        let began = Instant::now();
        let broker = running(Limits::default()).await;
        let mut peer = Peer::shared(&broker, "peer", 1).await;
        let mut publisher = Peer::connected(&broker, V5, "p", 100).await;
        for number in 1..=2 {
            publisher.publish(number).await;
            publisher.exchange(0, 1).await;
        }
        assert!(matches!(peer.hear().await, Packet::Publish(_)));
        // The second waits for the window, and the connection sleeps.
        peer.say(&Packet::PingReq).await;
        assert_eq!(peer.hear().await, Packet::PingResp);
        let message = Message::new(TopicName::new("t").unwrap(), "now");
        publisher.say(&Packet::Publish(Publish::new(message))).await;
        let Packet::Publish(publish) = peer.hear().await else {
            panic!("no message")
        };
        assert_eq!(publish.message.payload, "now");
        assert!(began.elapsed() < Duration::from_secs(1));
        broker.stop(Duration::from_secs(1)).await;
    });
}
