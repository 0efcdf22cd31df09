//! The broker over real sockets: what strangers may send it, and that nobody else notices.
//!
//! Peers here are raw sockets that write bytes; what they get is compared byte for byte. The clock runs, but no test waits
//! for it to pass, except where a time-out is the thing shown.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail by panicking")]

use rmqtt::broker::{Broker, BrokerError, BrokerOptions, Limits};
use rmqtt::codec::ReasonCode;
use rmqtt::message::{Message, QoS};
use rmqtt::topic::TopicName;
use rmqtt::transport::{Address, Stream};
use std::future::Future;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// Nothing here takes so long unless it is broken.
const PATIENCE: Duration = Duration::from_secs(20);

const CONNECT_V4: &[u8] = b"\x10\x0d\0\x04MQTT\x04\x02\0\0\0\x01x";
const CONNECT_V5: &[u8] = b"\x10\x0e\0\x04MQTT\x05\x02\0\0\0\0\x01y";
const CONNACK_V4: &[u8] = b"\x20\x02\0\0";

fn options(limits: Limits) -> BrokerOptions {
    BrokerOptions {
        listeners: vec![Address::Tcp {
            host: "127.0.0.1".to_owned(),
            port: 0,
        }],
        limits,
        ..BrokerOptions::default()
    }
}

fn run(scenario: impl Future<Output = ()>) {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap()
        .block_on(async { tokio::time::timeout(PATIENCE, scenario).await.unwrap() });
}

async fn running(limits: Limits) -> Broker {
    let broker = Broker::new(options(limits));
    broker.start().await.unwrap();
    broker
}

/// A socket that says whatever it likes.
struct Raw(Stream);

impl Raw {
    async fn open(broker: &Broker) -> Self {
        Self(Stream::connect(&broker.addresses()[0]).await.unwrap())
    }

    async fn connected(broker: &Broker, connect: &[u8]) -> Self {
        let mut raw = Self::open(broker).await;
        raw.say(connect).await;
        let connack = raw.packet().await;
        assert_eq!((connack[0], connack[3]), (0x20, 0), "{connack:02x?}");
        raw
    }

    async fn say(&mut self, bytes: &[u8]) {
        self.0.write_all(bytes).await.unwrap();
    }

    /// One packet of fewer than 128 bytes.
    async fn packet(&mut self) -> Vec<u8> {
        let mut packet = vec![0; 2];
        self.0.read_exact(&mut packet).await.unwrap();
        packet.resize(2 + usize::from(packet[1]), 0);
        self.0.read_exact(&mut packet[2..]).await.unwrap();
        packet
    }

    /// Everything until the broker closes.
    async fn rest(&mut self) -> Vec<u8> {
        let mut rest = Vec::new();
        // A reset is an end too.
        let _ = self.0.read_to_end(&mut rest).await;
        rest
    }
}

/// What a 3.1.1 and what a 5.0 client hears when it says this after CONNECT.
async fn is_thrown_out(broker: &Broker, bytes: &[u8], reason: ReasonCode) {
    let mut old = Raw::connected(broker, CONNECT_V4).await;
    old.say(bytes).await;
    assert_eq!(old.rest().await, b"", "3.1.1: {bytes:02x?}");
    is_told(broker, bytes, reason).await;
}

/// What a 5.0 client hears when it says this after CONNECT.
async fn is_told(broker: &Broker, bytes: &[u8], reason: ReasonCode) {
    let mut new = Raw::connected(broker, CONNECT_V5).await;
    new.say(bytes).await;
    let rest = new.rest().await;
    assert_eq!(rest[0], 0xE0, "5.0: {bytes:02x?} got {rest:02x?}");
    assert_eq!(rest[2], reason.number(), "5.0: {bytes:02x?}");
}

/// Two clients whose traffic goes on whatever a third one does.
struct Bystanders {
    publisher: Raw,
    subscriber: Raw,
    count: u8,
}

impl Bystanders {
    async fn new(broker: &Broker) -> Self {
        let mut subscriber = Raw::connected(broker, b"\x10\x0d\0\x04MQTT\x04\x02\0\0\0\x01s").await;
        subscriber.say(b"\x82\x08\0\x01\0\x03a/+\x01").await;
        assert_eq!(subscriber.packet().await, b"\x90\x03\0\x01\x01");
        let publisher = Raw::connected(broker, b"\x10\x0d\0\x04MQTT\x04\x02\0\0\0\x01p").await;
        Self {
            publisher,
            subscriber,
            count: 0,
        }
    }

    /// One message goes from one to the other and is acknowledged on both sides.
    async fn exchange(&mut self) {
        self.count += 1;
        let mut publish = b"\x32\x08\0\x03a/b\0\x07?".to_vec();
        publish[9] = self.count;
        self.publisher.say(&publish).await;
        assert_eq!(self.publisher.packet().await, b"\x40\x02\0\x07");
        let got = self.subscriber.packet().await;
        assert_eq!((got[0], got[9]), (0x32, self.count));
        self.subscriber.say(&[0x40, 2, got[7], got[8]]).await;
    }
}

/// spec(4): MQTT-3.1.0-1, MQTT-4.8.0-1
/// spec(5): MQTT-3.1.0-1, MQTT-3.14.0-1
#[test]
fn a_first_packet_that_is_not_connect_closes_at_once() {
    run(async {
        let broker = running(Limits::default()).await;
        let mut bystanders = Bystanders::new(&broker).await;
        for first in [
            &b"\xC0\0"[..],
            b"\x40\x02\0\x01",
            b"\x20\x02\0\0",
            b"\x00\0",
            b"\xF0\0",
            // Not even its length is waited for.
            b"\x30\xFF\xFF\xFF\x7F",
            b"\xE0",
        ] {
            let mut raw = Raw::open(&broker).await;
            raw.say(first).await;
            assert_eq!(raw.rest().await, b"", "{first:02x?}");
            bystanders.exchange().await;
        }
        broker.stop(Duration::from_secs(1)).await;
    });
}

/// spec(4): MQTT-3.1.4-1
#[test]
fn a_huge_announced_length_costs_no_memory_and_ends_at_once() {
    run(async {
        let broker = running(Limits::default()).await;
        let mut bystanders = Bystanders::new(&broker).await;
        let mut raw = Raw::open(&broker).await;
        raw.say(b"\x10\xFF\xFF\xFF\x7F").await;
        assert_eq!(raw.rest().await, b"");
        is_thrown_out(&broker, b"\x30\xFF\xFF\xFF\x7F", ReasonCode::PacketTooLarge).await;
        is_thrown_out(&broker, b"\x82\xFF\xFF\x7F", ReasonCode::PacketTooLarge).await;
        bystanders.exchange().await;
        broker.stop(Duration::from_secs(1)).await;
    });
}

/// spec(4, server): MQTT-2.2.2-2, MQTT-3.3.1-4, MQTT-3.3.2-2, MQTT-1.5.3-1, MQTT-3.8.3-3, MQTT-4.8.0-1
/// spec(4, server): MQTT-3.6.1-1, MQTT-3.8.1-1, MQTT-3.10.1-1, MQTT-3.10.3-2, MQTT-4.7.1-1, MQTT-1.5.3-2, MQTT-4.7.3-2
/// spec(4): MQTT-3.8.3-4, MQTT-3.14.1-1
/// spec(5, server): MQTT-2.1.3-1, MQTT-3.3.1-4, MQTT-3.3.2-2, MQTT-1.5.4-1, MQTT-3.8.3-2, MQTT-4.13.2-1
/// spec(5, server): MQTT-3.6.1-1, MQTT-3.8.1-1, MQTT-3.10.1-1, MQTT-3.10.3-2, MQTT-4.7.0-1, MQTT-1.5.4-2, MQTT-4.7.3-2
/// spec(5, server): MQTT-3.14.1-1, MQTT-3.15.1-1, MQTT-3.14.4-2
/// spec(5): MQTT-4.13.1-1, MQTT-3.8.3-5
#[test]
fn bad_packets_end_their_connection_and_no_other() {
    run(async {
        use ReasonCode::{MalformedPacket as Bad, ProtocolError as Wrong};
        let broker = running(Limits::default()).await;
        let mut bystanders = Bystanders::new(&broker).await;
        for (bytes, reason) in [
            // A length of five bytes.
            (&b"\x30\x80\x80\x80\x80\x01"[..], Bad),
            // Types 0 and 15, and types only a broker sends.
            (b"\x00\0", Bad),
            (b"\xD0\0", Wrong),
            // Wrong flags.
            (b"\xC1\0", Bad),
            (b"\xE1\0", Bad),
            (b"\x60\x02\0\x01", Bad),
            (b"\x80\x07\0\x01\0\x01a\0\0", Bad),
            (b"\xA0\x06\0\x01\0\x01a\0", Bad),
            // QoS 3.
            (b"\x36\x05\0\x01a\0\x01", Bad),
        ] {
            is_thrown_out(&broker, bytes, reason).await;
            bystanders.exchange().await;
        }
        broker.stop(Duration::from_secs(1)).await;
    });
}

/// spec(4, server): MQTT-3.8.3-3, MQTT-4.7.3-1
/// spec(4): MQTT-3.8.3-4
#[test]
fn bad_contents_end_a_connection_of_3_1_1() {
    run(async {
        let broker = running(Limits::default()).await;
        let mut bystanders = Bystanders::new(&broker).await;
        for bytes in [
            // Packet id 0.
            &b"\x32\x05\0\x01a\0\0"[..],
            b"\x82\x06\0\0\0\x01a\0",
            // Not UTF-8, and U+0000.
            b"\x30\x04\0\x02\xC3\x28",
            b"\x30\x03\0\x01\0",
            // A wildcard in a topic name, and an empty one.
            b"\x30\x05\0\x03a/+",
            b"\x30\x03\0\x01#",
            b"\x30\x02\0\0",
            // Bad filters, none at all, and a bad QoS.
            b"\x82\x08\0\x01\0\x03a/#\x03",
            b"\x82\x08\0\x01\0\x03#/a\0",
            b"\x82\x07\0\x01\0\x02a+\0",
            b"\x82\x05\0\x01\0\0\0",
            b"\x82\x02\0\x01",
            b"\xA2\x02\0\x01",
        ] {
            let mut raw = Raw::connected(&broker, CONNECT_V4).await;
            raw.say(bytes).await;
            assert_eq!(raw.rest().await, b"", "{bytes:02x?}");
            bystanders.exchange().await;
        }
        broker.stop(Duration::from_secs(1)).await;
    });
}

/// spec(5, server): MQTT-3.3.2-8, MQTT-4.7.3-1, MQTT-3.8.3-4
#[test]
fn bad_contents_end_a_connection_of_5_with_their_code() {
    run(async {
        let broker = running(Limits::default()).await;
        let mut bystanders = Bystanders::new(&broker).await;
        for (bytes, reason) in [
            (&b"\x32\x06\0\x01a\0\0\0"[..], ReasonCode::ProtocolError),
            (b"\x30\x05\0\x02\xC3\x28\0", ReasonCode::MalformedPacket),
            (b"\x30\x03\0\0\0", ReasonCode::ProtocolError),
            // An alias of 0, one above the maximum, one that was never set.
            (
                b"\x30\x07\0\x01a\x03\x23\0\0",
                ReasonCode::TopicAliasInvalid,
            ),
            (
                b"\x30\x07\0\x01a\x03\x23\0\x41",
                ReasonCode::TopicAliasInvalid,
            ),
            (b"\x30\x06\0\0\x03\x23\0\x01", ReasonCode::ProtocolError),
            // A subscription identifier from a client.
            (b"\x30\x06\0\x01a\x02\x0B\x01", ReasonCode::ProtocolError),
            // No Local on a shared subscription.
            (
                b"\x82\x10\0\x01\0\0\x0A$share/g/t\x04",
                ReasonCode::ProtocolError,
            ),
            // AUTH out of the blue.
            (b"\xF0\x05\x19\x03\x15\0\0", ReasonCode::ProtocolError),
        ] {
            is_told(&broker, bytes, reason).await;
            bystanders.exchange().await;
        }
        broker.stop(Duration::from_secs(1)).await;
    });
}

/// spec(4): MQTT-3.1.0-2
/// spec(5): MQTT-3.1.0-2
#[test]
fn a_second_connect_ends_the_connection() {
    run(async {
        let broker = running(Limits::default()).await;
        let mut old = Raw::connected(&broker, CONNECT_V4).await;
        old.say(CONNECT_V4).await;
        assert_eq!(old.rest().await, b"");
        is_told(&broker, CONNECT_V5, ReasonCode::ProtocolError).await;
        broker.stop(Duration::from_secs(1)).await;
    });
}

#[test]
fn a_silent_socket_and_one_that_dawdles_are_closed_in_time() {
    run(async {
        let broker = running(Limits {
            connect_timeout: Duration::from_millis(50),
            ..Limits::default()
        })
        .await;
        let mut bystanders = Bystanders::new(&broker).await;
        let mut silent = Raw::open(&broker).await;
        let mut dawdling = Raw::open(&broker).await;
        dawdling.say(&CONNECT_V4[..5]).await;
        assert_eq!(silent.rest().await, b"");
        assert_eq!(dawdling.rest().await, b"");
        bystanders.exchange().await;
        broker.stop(Duration::from_secs(1)).await;
    });
}

#[test]
fn a_client_that_never_reads_costs_the_others_nothing() {
    run(async {
        let broker = running(Limits {
            queue_messages_max: 100,
            ..Limits::default()
        })
        .await;
        let mut bystanders = Bystanders::new(&broker).await;
        let mut deaf = Raw::connected(&broker, CONNECT_V4).await;
        deaf.say(b"\x82\x08\0\x01\0\x03big\0").await;
        assert_eq!(deaf.packet().await, b"\x90\x03\0\x01\0");
        let mut publisher = Raw::connected(&broker, CONNECT_V5).await;
        let mut publish = b"\x30\xC6\x0F\0\x03big\0".to_vec();
        publish.resize(3 + 1990, b'.');
        while broker.stats().messages_dropped_qos0 == 0 {
            for _ in 0..100 {
                publisher.say(&publish).await;
            }
            bystanders.exchange().await;
            bystanders.count = 0;
        }
        let stats = broker.stats();
        assert!(stats.queued_messages <= 100, "{stats:?}");
        broker.stop(Duration::from_secs(1)).await;
    });
}

/// spec(4): MQTT-3.1.2-2
/// spec(5): MQTT-3.1.2-2
#[test]
fn a_version_not_spoken_is_refused_in_its_own_form() {
    run(async {
        let broker = running(Limits::default()).await;
        for (level, connack) in [
            (0, &b"\x20\x02\0\x01"[..]),
            (6, b"\x20\x03\0\x84\0"),
            (9, b"\x20\x03\0\x84\0"),
        ] {
            let mut raw = Raw::open(&broker).await;
            let mut connect = CONNECT_V4.to_vec();
            connect[8] = level;
            raw.say(&connect).await;
            assert_eq!(raw.rest().await, connack, "level {level}");
        }
        let mut raw = Raw::open(&broker).await;
        raw.say(b"\x10\x0f\0\x06MQIsdp\x03\x02\0\0\0\x01x").await;
        assert_eq!(raw.packet().await, CONNACK_V4);
        broker.stop(Duration::from_secs(1)).await;
    });
}

/// spec(5): MQTT-3.1.4-3
#[test]
fn a_client_that_comes_twice_is_told_so_the_first_time() {
    run(async {
        let broker = running(Limits::default()).await;
        let mut first = Raw::connected(&broker, CONNECT_V5).await;
        let mut second = Raw::connected(&broker, CONNECT_V5).await;
        assert_eq!(first.rest().await, b"\xE0\x01\x8E");
        second.say(b"\xC0\0").await;
        assert_eq!(second.packet().await, b"\xD0\0");
        assert_eq!(broker.clients().len(), 1);
        broker.stop(Duration::from_secs(1)).await;
    });
}

#[test]
fn a_broker_stops_says_so_and_starts_again_with_what_it_knew() {
    run(async {
        let broker = running(Limits::default()).await;
        let address = broker.addresses().remove(0);
        let mut new = Raw::connected(&broker, CONNECT_V5).await;
        let mut kept = Raw::connected(&broker, b"\x10\x0d\0\x04MQTT\x04\0\0\0\0\x01k").await;
        kept.say(b"\x82\x06\0\x01\0\x01t\x01").await;
        kept.packet().await;
        new.say(b"\x33\x06\0\x01t\0\x01\0").await;
        new.packet().await;
        assert!(matches!(
            broker.start().await,
            Err(BrokerError::AlreadyRunning)
        ));
        broker.stop(Duration::from_secs(5)).await;
        assert_eq!(new.rest().await, b"\xE0\x01\x8B");
        assert!(!broker.is_running());
        assert!(broker.addresses().is_empty());
        assert!(Stream::connect(&address).await.is_err());
        assert!(Stream::connect(&broker.memory_address()).await.is_err());
        assert_eq!(broker.stats().connections, 0);
        assert_eq!(broker.stats().sessions, 1);
        broker.stop(Duration::from_secs(5)).await;

        broker.start().await.unwrap();
        let mut raw = Raw::open(&broker).await;
        raw.say(b"\x10\x0d\0\x04MQTT\x04\0\0\0\0\x01k").await;
        assert_eq!(raw.packet().await, b"\x20\x02\x01\0");
        broker.stop(Duration::from_secs(5)).await;
    });
}

#[test]
fn a_port_in_use_is_an_error_that_names_it() {
    run(async {
        let broker = running(Limits::default()).await;
        let address = broker.addresses().remove(0);
        let other = Broker::new(BrokerOptions {
            listeners: vec![address.clone()],
            ..BrokerOptions::default()
        });
        let Err(BrokerError::Bind {
            address: named,
            kind,
            ..
        }) = other.start().await
        else {
            panic!("two brokers on one port");
        };
        assert_eq!(named, address.to_string());
        assert_eq!(kind, std::io::ErrorKind::AddrInUse);
        assert!(!other.is_running());
        broker.stop(Duration::from_secs(1)).await;
        other.start().await.unwrap();
        other.stop(Duration::from_secs(1)).await;
    });
}

#[test]
fn listening_to_the_network_has_to_be_asked_for() {
    run(async {
        let everywhere = |allow_anonymous| BrokerOptions {
            listeners: vec![Address::Tcp {
                host: "0.0.0.0".to_owned(),
                port: 0,
            }],
            allow_anonymous,
            ..BrokerOptions::default()
        };
        let error = Broker::new(everywhere(false)).start().await.unwrap_err();
        assert!(error.to_string().contains("allow_anonymous"), "{error}");
        let broker = Broker::new(everywhere(true));
        broker.start().await.unwrap();
        broker.stop(Duration::from_secs(1)).await;
    });
}

#[test]
fn the_broker_publishes_by_itself_and_over_memory() {
    run(async {
        let broker = running(Limits::default()).await;
        let mut raw = Raw(Stream::connect(&broker.memory_address()).await.unwrap());
        raw.say(CONNECT_V4).await;
        assert_eq!(raw.packet().await, CONNACK_V4);
        raw.say(b"\x82\x0c\0\x01\0\x07$SYS/up\0").await;
        raw.packet().await;
        let up = Message::new(TopicName::new("$SYS/up").unwrap(), "1").with_qos(QoS::ExactlyOnce);
        assert_eq!(broker.publish(up), Ok(1));
        assert_eq!(raw.packet().await, b"\x30\x0a\0\x07$SYS/up1");
        assert!(broker.disconnect("x", ReasonCode::AdministrativeAction));
        assert_eq!(raw.rest().await, b"");
        assert!(!broker.disconnect("nobody", ReasonCode::AdministrativeAction));
        broker.stop(Duration::from_secs(1)).await;
    });
}

#[test]
fn no_more_connections_are_held_than_allowed() {
    run(async {
        let broker = running(Limits {
            connections_max: 2,
            ..Limits::default()
        })
        .await;
        let mut one = Raw::connected(&broker, CONNECT_V4).await;
        let _two = Raw::connected(&broker, CONNECT_V5).await;
        let mut three = Raw::open(&broker).await;
        assert_eq!(three.rest().await, b"");
        one.say(b"\xE0\0").await;
        assert_eq!(one.rest().await, b"");
        broker.stop(Duration::from_secs(1)).await;
    });
}
