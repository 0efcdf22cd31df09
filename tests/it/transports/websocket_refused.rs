//! WebSocket that does not come about or goes wrong: who is told what, what it counts as, and that it costs no more than
//! the limits.

use super::frames::{BINARY, PING, Raw, good_answer, masked, plain, request, value};
use super::{
    CERTIFICATES, believing, connected, counts_refused, encrypted, listener, options, refused,
    showing,
};
use crate::client_script::soon;
use crate::raw::bytes::{Connect, Publish};
use crate::raw::{V4, V5, in_time, until};
use rmqtt::broker::{Broker, BrokerOptions, BrokerStats, Limits};
use rmqtt::client::{Client, ClientOptions};
use rmqtt::transport::{Address, Origins, Route, Stream, TlsClient, TlsOptions};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

/// A broker with these limits, and its port.
async fn listening(limits: Limits) -> (Broker, u16) {
    let broker = Broker::new(BrokerOptions {
        listeners: vec![listener("ws://127.0.0.1:0/mqtt")],
        limits,
        ..BrokerOptions::default()
    });
    broker.start().await.unwrap();
    let port = broker.addresses()[0].port().unwrap();
    (broker, port)
}

/// A client by hand that the broker has accepted.
async fn accepted(port: u16) -> Raw {
    let mut raw = Raw::client(port).await;
    let connect = Connect::new(V4, "c").bytes();
    raw.send(&masked(BINARY, &connect)).await;
    assert_eq!(raw.binary(4, false).await, [0x20, 2, 0, 0]);
    raw
}

fn reached(stats: &BrokerStats, name: &str) -> u64 {
    stats.limits_reached[name]
}

#[tokio::test]
async fn a_request_that_is_no_handshake_is_answered_with_a_status_and_words() {
    let (broker, port) = listening(Limits::default()).await;
    let long = "x".repeat(20_000);
    let many = "X: y\r\n".repeat(200);
    let cases = [
        ("GET /mqtt HTTP/1.1\r\nHost: h\r\n\r\n".to_owned(), 426),
        ("POST /mqtt HTTP/1.1\r\nHost: h\r\n\r\n".to_owned(), 400),
        ("GET /mqtt HTTP/1.0\r\n\r\n".to_owned(), 400),
        ("GET \r\n\r\n".to_owned(), 400),
        ("GET /mqtt HTTP/1.1\r\nbad header\r\n\r\n".to_owned(), 400),
        (request("/other", &[]), 404),
        (request("/mqtt/", &[]), 404),
        (request("/mqtt", &[("Upgrade", Some("h2c"))]), 426),
        (request("/mqtt", &[("Connection", Some("close"))]), 426),
        (
            request("/mqtt", &[("Sec-WebSocket-Version", Some("8"))]),
            426,
        ),
        (
            request("/mqtt", &[("Sec-WebSocket-Key", Some("short"))]),
            400,
        ),
        (request("/mqtt", &[("Sec-WebSocket-Key", None)]), 400),
        (
            request("/mqtt", &[("Sec-WebSocket-Protocol", Some("chat"))]),
            400,
        ),
        (
            request("/mqtt", &[("Origin", Some("https://app.example"))]),
            403,
        ),
        (request("/mqtt", &[("Origin", Some("null"))]), 403),
        (request("/mqtt", &[("Cookie", Some(&long))]), 431),
        (
            request("/mqtt", &[]).replace("Host", &format!("{many}Host")),
            431,
        ),
        (format!("{}early", request("/mqtt", &[])), 400),
        ("\u{10}\u{c}\0\u{4}MQTT\u{4}\u{2}\0\0".to_owned(), 400),
        ("\u{16}\u{3}\u{1}\u{2}\0\u{1}".to_owned(), 400),
    ];
    let count = cases.len() as u64;
    for (request, status) in cases {
        let mut raw = Raw::open(port).await;
        raw.send(request.as_bytes()).await;
        let answer = String::from_utf8(raw.rest().await).unwrap();
        let begin: String = request.chars().take(70).collect();
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status} ")),
            "{begin:?}: {answer}"
        );
        let (head, words) = answer.split_once("\r\n\r\n").unwrap();
        assert_eq!(
            value(head, "content-length"),
            Some(&*words.len().to_string())
        );
        assert!(words.len() > 10 && words.ends_with('\n'), "{words}");
    }
    counts_refused(&broker, count).await;
    let stats = broker.stats();
    assert_eq!(
        (stats.connects_accepted, stats.connections_violated),
        (0, 0)
    );
    let _client = connected(options(&broker, &believing())).await;
}

#[tokio::test]
async fn a_page_may_connect_if_its_origin_is_listed() {
    let mut listed = listener("ws://127.0.0.1:0");
    listed.gate.origins = Origins::listed(&["https://app.example".to_owned()]).unwrap();
    let broker = super::broker([listed]).await;
    let port = broker.addresses()[0].port().unwrap();
    for (origin, begins) in [
        ("https://app.example", "HTTP/1.1 101 "),
        ("https://app.example.evil", "HTTP/1.1 403 "),
        ("http://localhost", "HTTP/1.1 403 "),
    ] {
        let mut raw = Raw::open(port).await;
        let request = request("/", &[("Origin", Some(origin))]);
        raw.send(request.as_bytes()).await;
        let head = raw.head().await;
        assert!(head.starts_with(begins), "{origin}: {head}");
    }
}

#[tokio::test]
async fn a_websocket_that_is_never_finished_ends_and_is_counted() {
    let (broker, port) = listening(Limits {
        connect_timeout: Duration::from_millis(300),
        ..Limits::default()
    })
    .await;
    let mut silent = Raw::open(port).await;
    let mut halting = Raw::open(port).await;
    halting.send(b"GET /mqtt HTTP/1.1\r\nHost:").await;
    for raw in [&mut silent, &mut halting] {
        assert!(raw.rest().await.is_empty());
    }
    until("counted", &broker, |broker| {
        let stats = broker.stats();
        stats.connects_refused == 2 && reached(&stats, "connect_timeout") == 2
    })
    .await;
}

#[tokio::test]
async fn an_encrypted_websocket_that_is_never_finished_ends_and_is_counted() {
    let mut listener = encrypted(showing(&CERTIFICATES.server));
    listener.address = Address::parse("wss://127.0.0.1:0/mqtt").unwrap();
    let broker = Broker::new(BrokerOptions {
        listeners: vec![listener],
        limits: Limits {
            connect_timeout: Duration::from_millis(500),
            ..Limits::default()
        },
        ..BrokerOptions::default()
    });
    broker.start().await.unwrap();
    let port = broker.addresses()[0].port().unwrap();
    // Nothing of TLS; a part of it; all of it and nothing of HTTP; a part of HTTP.
    let mut silent = Raw::open(port).await;
    let mut halting = Raw::open(port).await;
    halting.send(&[0x16, 3, 1, 2, 0, 1]).await;
    for request in [&b""[..], b"GET /mqtt HTTP/1.1\r\nHost:"] {
        // On a machine that is too busy to shake hands in this time, the end comes before.
        if let Ok(mut stream) = half_way(port).await {
            let _ = stream.write_all(request).await;
            let _ = stream.flush().await;
            let mut rest = Vec::new();
            let _ = in_time("the end", stream.read_to_end(&mut rest)).await;
            assert!(rest.is_empty(), "{rest:?}");
        }
    }
    for raw in [&mut silent, &mut halting] {
        assert!(raw.rest().await.is_empty());
    }
    until("counted", &broker, |broker| {
        let stats = broker.stats();
        stats.connects_refused == 4 && reached(&stats, "connect_timeout") == 4
    })
    .await;
}

/// An encrypted connection that means to speak HTTP.
async fn half_way(port: u16) -> std::io::Result<Stream> {
    let tls = TlsOptions {
        alpn: vec!["http/1.1".to_owned()],
        ..believing()
    };
    let route = Route {
        tls: Some(TlsClient::new(&tls).unwrap()),
        ..Route::default()
    };
    let address = Address::Tls {
        host: "127.0.0.1".to_owned(),
        port,
    };
    in_time("TLS", route.open(&address, &mut "")).await
}

#[tokio::test]
async fn who_shakes_hands_and_says_no_more_has_no_more_time_than_others() {
    let (broker, port) = listening(Limits {
        connect_timeout: Duration::from_millis(300),
        ..Limits::default()
    })
    .await;
    let mut raw = Raw::client(port).await;
    raw.expect_goodbye(1000).await;
    until("counted", &broker, |broker| {
        reached(&broker.stats(), "connect_timeout") == 1
    })
    .await;
}

#[tokio::test]
async fn frames_that_break_the_rules_end_the_connection_and_count_as_violations() {
    let (broker, port) = listening(Limits::default()).await;
    let ping = masked(BINARY, &[0xc0, 0]);
    let with_first = |first: u8| {
        let mut frame = ping.clone();
        frame[0] = first;
        frame
    };
    let cases = [
        // Without a mask, as only a server may.
        plain(BINARY, &[0xc0, 0]),
        // Compressed, which was not agreed on.
        with_first(0xc2),
        with_first(0xa2),
        with_first(0x92),
        // Of kinds that there are not.
        with_first(0x83),
        with_first(0x8f),
        // A continuation of nothing; a message within another.
        with_first(0x80),
        [masked(0x02, &[0xc0]), ping.clone()].concat(),
        // A ping that is too long, and one in pieces.
        masked(PING, &[0; 126]),
        masked(0x09, b"a"),
        // A length with its highest bit.
        [&[0x82, 0xff, 0xff][..], &[0; 11]].concat(),
    ];
    let count = cases.len() as u64;
    for frame in cases {
        let mut raw = accepted(port).await;
        raw.send(&frame).await;
        raw.expect_goodbye(1002).await;
    }
    until("counted", &broker, |broker| {
        broker.stats().connections_violated == count
    })
    .await;
    until("gone", &broker, |broker| broker.clients().is_empty()).await;
}

#[tokio::test]
async fn a_frame_of_64_bits_of_length_costs_what_has_come_of_it() {
    let (broker, port) = listening(Limits::default()).await;
    let mut raw = accepted(port).await;
    // A frame of a terabyte, without a mask that would change anything.
    let mut head = vec![0x82, 0xff];
    head.extend((1_u64 << 40).to_be_bytes());
    head.extend([0; 4]);
    raw.send(&head).await;
    raw.send(&[0xc0, 0].repeat(3)).await;
    assert_eq!(raw.binary(6, false).await, [0xd0, 0].repeat(3));
    // Within it, the limits of MQTT hold.
    raw.send(&[0x30, 0xff, 0xff, 0xff, 0x7f]).await;
    assert_eq!(raw.frame().await.unwrap().0, 0x88);
    until("counted", &broker, |broker| {
        reached(&broker.stats(), "packet_size_max") == 1
    })
    .await;
    assert_eq!(broker.stats().connections_violated, 1);
}

#[tokio::test]
async fn a_packet_longer_than_its_frame_waits_for_the_next() {
    let (_broker, port) = listening(Limits::default()).await;
    let mut raw = accepted(port).await;
    let publish = Publish::new("a", "x".repeat(200)).qos(1, 7).bytes(V4);
    let (first, rest) = publish.split_at(100);
    raw.send(&masked(BINARY, first)).await;
    raw.send(&masked(PING, b"1")).await;
    assert_eq!(
        raw.frame().await.unwrap().2,
        b"1",
        "and no packet before it"
    );
    raw.send(&masked(BINARY, rest)).await;
    assert_eq!(raw.binary(4, false).await, [0x40, 2, 0, 7]);
}

#[tokio::test]
async fn bytes_of_strangers_are_bounded_whatever_frames_they_come_in() {
    let (broker, port) = listening(Limits {
        unaccepted_bytes_max: 2_000,
        ..Limits::default()
    })
    .await;
    let mut raw = Raw::client(port).await;
    let connect = Connect::new(V5, "x".repeat(30_000)).bytes();
    for piece in connect.chunks(10) {
        if !raw.try_send(&masked(BINARY, piece)).await {
            break;
        }
    }
    let _ = raw.rest().await;
    until("counted", &broker, |broker| {
        reached(&broker.stats(), "unaccepted_bytes_max") == 1
    })
    .await;
    assert_eq!(broker.stats().connects_refused, 1);
}

#[tokio::test]
async fn a_flood_of_pings_is_answered_and_holds_nobody_up() {
    let (_broker, port) = listening(Limits::default()).await;
    let mut raw = accepted(port).await;
    raw.send(&masked(PING, &[7; 125]).repeat(5_000)).await;
    raw.send(&masked(BINARY, &[0xc0, 0])).await;
    let mut pongs = 0;
    loop {
        match raw.frame().await.unwrap() {
            (0x8a, false, payload) => {
                assert_eq!(payload, [7; 125]);
                pongs += 1;
            }
            (BINARY, false, payload) => break assert_eq!(payload, [0xd0, 0]),
            other => panic!("{other:?}"),
        }
    }
    assert!((1..=5_000).contains(&pongs), "{pongs}");
}

#[tokio::test]
async fn a_plain_client_at_a_port_for_websocket_is_told_so_and_the_reverse() {
    let (broker, port) = listening(Limits::default()).await;
    let host = || "127.0.0.1".to_owned();
    let cause = refused(ClientOptions::new(Address::Tcp { host: host(), port })).await;
    assert!(cause.contains("use ws://"), "{cause}");
    let encrypted = Address::Wss {
        host: host(),
        port,
        path: String::new(),
    };
    let mut options = options(&broker, &believing());
    options.address = encrypted;
    options.route.tls = Some(TlsClient::new(&believing()).unwrap());
    let cause = refused(options).await;
    assert!(cause.contains("speak TLS at this port"), "{cause}");
    let plain = super::broker([listener("mqtt://127.0.0.1:0")]).await;
    let port = plain.addresses()[0].port().unwrap();
    let cause = refused(ClientOptions::new(Address::Ws {
        host: host(),
        port,
        path: String::new(),
    }))
    .await;
    assert!(
        cause.contains("does not speak HTTP") || cause.contains("closed instead"),
        "{cause}"
    );
}

#[tokio::test]
async fn an_answer_that_is_none_to_our_request_is_refused_with_a_reason() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let url = format!("ws://127.0.0.1:{port}");
    for (from, to, reason) in [
        (
            "Sec-WebSocket-Protocol: mqtt\r\n",
            "",
            "does not agree to the subprotocol",
        ),
        (
            "Protocol: mqtt",
            "Protocol: chat",
            "does not agree to the subprotocol",
        ),
        ("Accept: ", "Accept: x", "the answer to another request"),
        (
            "Upgrade: WebSocket",
            "Upgrade: h2c",
            "goes on with something else",
        ),
        (
            "Connection: upgrade",
            "Connection: close",
            "goes on with something else",
        ),
        (
            "\r\n\r\n",
            "\r\nSec-WebSocket-Extensions: permessage-deflate\r\n\r\n",
            "an extension that was not asked for",
        ),
        (
            "101 Switching Protocols",
            "401 Unauthorized",
            "refused the WebSocket with 401 Unauthorized",
        ),
        ("HTTP/1.1", "\u{15}\u{3}", "use wss:// instead"),
        ("HTTP/1.1", "SSH-2.0", "does not speak HTTP"),
    ] {
        let mut options = ClientOptions::new(Address::parse(&url).unwrap());
        options.reconnect = None;
        let client = Client::new(options);
        let serving = async {
            let (mut raw, head) = Raw::asked(&listener).await;
            raw.send(good_answer(&head).replacen(from, to, 1).as_bytes())
                .await;
            raw
        };
        let (outcome, _raw) = tokio::join!(soon(client.connect()), serving);
        let error = outcome.unwrap_err().to_string();
        assert!(error.contains(reason), "{reason}: {error}");
    }
}
