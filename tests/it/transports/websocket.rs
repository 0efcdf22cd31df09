//! MQTT over WebSocket that comes about, and the frames it comes in.

use super::frames::{BINARY, PING, PONG, Raw, TEXT, good_answer, masked, plain, request, value};
use super::{
    CERTIFICATES, believing, broker, carries_messages, connected, encrypted, listener, options,
    showing,
};
use crate::client_script::soon;
use crate::raw::bytes::{Connect, Publish, subscribe};
use crate::raw::{V4, V5, Version, until};
use rmqtt::broker::Broker;
use rmqtt::client::{Client, ClientError, ClientOptions, Close};
use rmqtt::transport::{Address, Headers};
use std::time::Duration;
use tokio::net::TcpListener;

const CONNACK_4: &[u8] = &[0x20, 2, 0, 0];

async fn listening() -> (Broker, u16) {
    let broker = broker([listener("ws://127.0.0.1:0")]).await;
    let port = broker.addresses()[0].port().unwrap();
    (broker, port)
}

/// A place for a server by hand, and a client's options to reach it.
async fn by_hand(path: &str) -> (TcpListener, ClientOptions) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let url = format!("ws://127.0.0.1:{port}{path}");
    let mut options = ClientOptions::new(Address::parse(&url).unwrap());
    options.version = rmqtt::codec::ProtocolVersion::V3_1_1;
    options.reconnect = None;
    (listener, options)
}

#[tokio::test]
async fn messages_of_every_size_arrive_over_websocket() {
    let (broker, port) = listening().await;
    let address = broker.addresses()[0].to_string();
    assert_eq!(address, format!("ws://127.0.0.1:{port}"));
    let client = connected(options(&broker, &believing())).await;
    carries_messages(&client).await;
    let peer = broker.clients()[0].peer.clone();
    assert!(peer.address.is_some());
    assert_eq!(peer.listener, Some(0));
    soon(client.close(Close::Drain(Duration::from_secs(5)))).await;
    until("gone", &broker, |broker| broker.clients().is_empty()).await;
    assert_eq!(broker.stats().connections_violated, 0);
    broker.stop(Duration::ZERO).await;
}

#[tokio::test]
async fn messages_of_every_size_arrive_over_an_encrypted_websocket() {
    let mut listener = encrypted(showing(&CERTIFICATES.server));
    listener.address = Address::parse("wss://127.0.0.1:0/plant").unwrap();
    let broker = broker([listener]).await;
    let client = connected(options(&broker, &believing())).await;
    carries_messages(&client).await;
    let Address::Wss { host, port, .. } = broker.addresses()[0].clone() else {
        panic!("not wss")
    };
    let elsewhere = ClientOptions {
        address: Address::Wss {
            host,
            port,
            path: "/elsewhere".to_owned(),
        },
        ..options(&broker, &believing())
    };
    let cause = super::refused(elsewhere).await;
    assert!(cause.contains("404 Not Found: there is nothing"), "{cause}");
}

#[tokio::test]
async fn a_broker_that_stops_says_goodbye_in_both_languages() {
    let (broker, port) = listening().await;
    let mut raw = Raw::client(port).await;
    let connect = Connect::new(V5, "c").bytes();
    raw.send(&masked(BINARY, &connect)).await;
    let (_, _, connack) = raw.frame().await.unwrap();
    assert_eq!(connack[0], 0x20);
    let stopping = broker.stop(Duration::from_secs(5));
    let saying = async {
        assert_eq!(raw.binary(1, false).await, [0xe0, 1, 0x8b]);
        raw.expect_goodbye(1000).await;
    };
    tokio::join!(stopping, saying);
}

/// spec(4, server): MQTT-6.0.0-2
/// spec(5, server): MQTT-6.0.0-2
#[tokio::test]
async fn packets_come_in_frames_of_one_byte_and_several_in_one_frame() {
    let (_broker, port) = listening().await;
    for version in [V4, V5] {
        let mut raw = Raw::client(port).await;
        for byte in Connect::new(version, "c").bytes() {
            raw.send(&masked(BINARY, &[byte])).await;
        }
        let connack = raw.binary(1, false).await;
        assert_eq!(connack[0], 0x20);
        let several = [
            subscribe(version, 1, &[("a", 1)]),
            Publish::new("a", "x").qos(1, 7).bytes(version),
            vec![0xc0, 0],
        ]
        .concat();
        raw.send(&masked(BINARY, &several)).await;
        let (suback, publish, puback, pingresp) = (0x90, 0x32, 0x40, 0xd0);
        let mut kinds = kinds(&mut raw, 4).await;
        kinds.sort_unstable();
        assert_eq!(kinds, [publish, puback, suback, pingresp]);
    }
}

/// The first bytes of so many packets.
async fn kinds(raw: &mut Raw, count: usize) -> Vec<u8> {
    let (mut bytes, mut kinds) = (Vec::new(), Vec::new());
    while kinds.len() < count {
        bytes.extend(raw.binary(1, false).await);
        while bytes.len() > 1 && bytes.len() >= 2 + usize::from(bytes[1]) {
            kinds.push(bytes[0]);
            bytes.drain(..2 + usize::from(bytes[1]));
        }
    }
    kinds
}

#[tokio::test]
async fn a_message_in_fragments_with_pings_between_them_is_one_stream_of_packets() {
    let (_broker, port) = listening().await;
    let mut raw = Raw::client(port).await;
    let connect = Connect::new(V4, "c").bytes();
    let (first, rest) = connect.split_at(3);
    for frame in [
        masked(0x02, first),
        masked(PING, b"one"),
        masked(0x00, &[]),
        masked(0x00, rest),
        masked(PING, b""),
        masked(0x80, &[0xc0, 0]),
    ] {
        raw.send(&frame).await;
    }
    let (mut pongs, mut packets) = (0, Vec::new());
    while packets.len() < 6 {
        match raw.frame().await.unwrap() {
            (PONG, false, payload) => {
                assert!(payload == b"one" || payload.is_empty());
                pongs += 1;
            }
            (BINARY, false, payload) => packets.extend(payload),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(packets, [CONNACK_4, &[0xd0, 0]].concat());
    assert!(pongs > 0);
}

/// spec(4, server): MQTT-6.0.0-1
/// spec(5, server): MQTT-6.0.0-1
#[tokio::test]
async fn a_text_frame_ends_the_connection() {
    let (broker, port) = listening().await;
    for (count, version) in [V4, V5].into_iter().enumerate() {
        let mut raw = Raw::client(port).await;
        let connect = Connect::new(version, "c").bytes();
        raw.send(&masked(TEXT, &connect)).await;
        raw.expect_goodbye(1003).await;
        until("counted", &broker, |broker| {
            broker.stats().connections_violated == count as u64 + 1
        })
        .await;
    }
    assert_eq!(broker.stats().connects_accepted, 0);
}

/// spec(4, server): MQTT-6.0.0-4
/// spec(5, server): MQTT-6.0.0-4
#[tokio::test]
async fn the_broker_agrees_to_the_subprotocol_mqtt_and_to_no_other() {
    let (_broker, port) = listening().await;
    for offer in ["mqtt", "foo, mqtt", "mqttv3.1,mqtt"] {
        let mut raw = Raw::open(port).await;
        let request = request("/", &[("Sec-WebSocket-Protocol", Some(offer))]);
        raw.send(request.as_bytes()).await;
        let head = raw.head().await;
        assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
        assert_eq!(value(&head, "sec-websocket-protocol"), Some("mqtt"));
        assert_eq!(value(&head, "sec-websocket-extensions"), None);
    }
    for offer in [None, Some("foo"), Some("mqttv3.1"), Some("MQTT"), Some("")] {
        let mut raw = Raw::open(port).await;
        let request = request("/", &[("Sec-WebSocket-Protocol", offer)]);
        raw.send(request.as_bytes()).await;
        let answer = String::from_utf8(raw.rest().await).unwrap();
        assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
        assert!(answer.ends_with("has to be among those that are offered\n"));
    }
}

#[tokio::test]
async fn a_batch_of_packets_is_one_frame() {
    let (_broker, port) = listening().await;
    let mut raw = Raw::client(port).await;
    let connect = Connect::new(V4, "c").bytes();
    raw.send(&masked(BINARY, &connect)).await;
    assert_eq!(raw.binary(1, false).await, CONNACK_4);
    raw.send(&masked(BINARY, &[0xc0, 0].repeat(50))).await;
    assert_eq!(raw.binary(1, false).await, [0xd0, 0].repeat(50));
}

/// spec(4, client): MQTT-6.0.0-3
/// spec(5, client): MQTT-6.0.0-3
#[tokio::test]
async fn the_client_asks_for_mqtt_with_path_host_and_headers() {
    for (path, asked) in [
        ("", "/mqtt"),
        ("/", "/"),
        ("/a/b?token=x%20y", "/a/b?token=x%20y"),
    ] {
        let (listener, mut options) = by_hand(path).await;
        let headers = [("Authorization", "Bearer hush"), ("X-Plant", "7")];
        options.route.ws_headers = Headers::new(headers).unwrap();
        assert!(!format!("{:?}", options.route).contains("hush"));
        let port = options.address.port().unwrap();
        let client = Client::new(options);
        let answering = async {
            let (_, head) = Raw::asked(&listener).await;
            assert!(head.starts_with(&format!("GET {asked} HTTP/1.1\r\n")));
            for (name, expected) in [
                ("host", &format!("127.0.0.1:{port}")[..]),
                ("upgrade", "websocket"),
                ("connection", "Upgrade"),
                ("sec-websocket-version", "13"),
                ("sec-websocket-protocol", "mqtt"),
                ("authorization", "Bearer hush"),
                ("x-plant", "7"),
            ] {
                assert_eq!(value(&head, name), Some(expected), "{name}");
            }
            assert_eq!(value(&head, "sec-websocket-extensions"), None);
            assert_eq!(value(&head, "origin"), None);
        };
        let (outcome, ()) = tokio::join!(soon(client.connect()), answering);
        assert!(matches!(outcome, Err(ClientError::ConnectFailed { .. })));
    }
}

/// spec(4, client): MQTT-6.0.0-2
/// spec(5, client): MQTT-6.0.0-2
#[tokio::test]
async fn the_client_takes_packets_in_frames_of_one_byte_and_what_comes_with_the_handshake() {
    let (listener, options) = by_hand("").await;
    let client = Client::new(options);
    let serving = async {
        let (mut raw, head) = Raw::asked(&listener).await;
        let early = [good_answer(&head).into_bytes(), plain(PING, b"early")].concat();
        raw.send(&early).await;
        for byte in CONNACK_4 {
            raw.send(&plain(BINARY, &[*byte])).await;
        }
        raw
    };
    let (outcome, mut raw) = tokio::join!(soon(client.connect()), serving);
    outcome.unwrap();
    let connect = raw.binary(1, true).await;
    assert_eq!(connect[0], 0x10);
    assert_eq!(raw.frame().await, Some((PONG, true, b"early".to_vec())));
}

/// spec(4, client): MQTT-6.0.0-1
/// spec(5, client): MQTT-6.0.0-1
#[tokio::test]
async fn the_client_sends_binary_frames_alone_and_ends_at_a_text_frame() {
    let (listener, options) = by_hand("").await;
    let client = Client::new(options);
    let serving = async {
        let mut raw = Raw::server(&listener).await;
        assert_eq!(raw.binary(1, true).await[0], 0x10);
        raw.send(&plain(BINARY, CONNACK_4)).await;
        raw
    };
    let (outcome, mut raw) = tokio::join!(soon(client.connect()), serving);
    outcome.unwrap();
    let mut events = client.events();
    raw.send(&plain(TEXT, &[0xd0, 0])).await;
    raw.expect_goodbye(1003).await;
    let event = format!("{:?}", soon(events.recv()).await);
    assert!(event.contains("a text frame"), "{event}");
}

#[tokio::test]
async fn whoever_is_sent_elsewhere_keeps_the_path() {
    for (own, reference, expected) in [
        ("ws://a/mqtt", "b c:81", "ws://b:80/mqtt ws://c:81/mqtt"),
        (
            "wss://a/x?y",
            "b/z wss://c",
            "wss://b:443/z wss://c:443/x?y",
        ),
        ("ws://a", "b", "ws://b:80"),
        ("mqtt://a", "b ws://c b/mqtt", "mqtt://b:1883"),
    ] {
        let own = Address::parse(own).unwrap();
        let expected: Vec<_> = expected.split(' ').map(Address::parse).collect();
        let named: Vec<_> = own.elsewhere(reference).into_iter().map(Ok).collect();
        assert_eq!(named, expected);
    }
}

#[tokio::test]
async fn a_pong_does_not_wait_for_packets() {
    let (_broker, port) = listening().await;
    let mut raw = Raw::client(port).await;
    raw.send(&masked(PING, b"there?")).await;
    assert_eq!(raw.frame().await, Some((PONG, false, b"there?".to_vec())));
}

#[tokio::test]
async fn a_client_that_takes_its_leave_gets_the_goodbye_of_a_websocket() {
    let (broker, port) = listening().await;
    for version in [V4, V5] {
        leaves_in_good_order(port, version).await;
    }
    until("gone", &broker, |broker| broker.clients().is_empty()).await;
    assert_eq!(broker.stats().connections_violated, 0);
}

async fn leaves_in_good_order(port: u16, version: Version) {
    let mut raw = Raw::client(port).await;
    let connect = Connect::new(version, "c").bytes();
    raw.send(&masked(BINARY, &connect)).await;
    assert_eq!(raw.binary(1, false).await[0], 0x20);
    raw.send(&masked(BINARY, &[0xe0, 0])).await;
    raw.expect_goodbye(1000).await;
}
