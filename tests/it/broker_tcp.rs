//! The broker over real sockets as its owner sees it: start and stop, ports, its own messages, pipes of this process.
//!
//! What strangers may send it is in `hostile`.

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
        listeners: vec![Address::parse("mqtt://127.0.0.1:0").unwrap().into()],
        limits,
        threads: 2,
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
            listeners: vec![address.clone().into()],
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
            listeners: vec![
                Address::Tcp {
                    host: "0.0.0.0".to_owned(),
                    port: 0,
                }
                .into(),
            ],
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
fn clients_on_different_threads_of_the_broker_hear_each_other() {
    run(async {
        let broker = running(Limits::default()).await;
        // Connections go round, so of two neighbours each is on a thread of its own.
        let mut x = Raw::connected(&broker, CONNECT_V4).await;
        let mut y = Raw::connected(&broker, b"\x10\x0d\0\x04MQTT\x04\x02\0\0\0\x01y").await;
        y.say(b"\x82\x06\0\x01\0\x01t\x01").await;
        assert_eq!(y.packet().await, b"\x90\x03\0\x01\x01");
        for id in 1..=20 {
            x.say(&[0x32, 6, 0, 1, b't', 0, id, b'!']).await;
            assert_eq!(x.packet().await, [0x40, 2, 0, id]);
            let delivered = y.packet().await;
            assert_eq!((delivered[0], delivered[7]), (0x32, b'!'));
            y.say(&[0x40, 2, delivered[5], delivered[6]]).await;
        }
        broker.stop(Duration::from_secs(1)).await;
        assert_eq!(x.0.read(&mut [0; 1]).await.unwrap_or(0), 0);
    });
}
