//! A broker behind a proxy that says for whom it speaks, and those who say so without being asked.

use super::frames::{Raw, request};
use super::{
    CERTIFICATES, believing, broker, carries_messages, connected, counts_refused, encrypted,
    listener, options, showing,
};
use crate::client_script::soon;
use crate::raw::bytes::{Connect, field};
use crate::raw::{Peer, V5, in_time, until};
use rmqtt::broker::auth::{Auth, AuthLimits, Source, Users};
use rmqtt::broker::{Broker, BrokerOptions, Limits, ListenerOptions};
use rmqtt::client::Close;
use rmqtt::transport::{Address, Forwarders};
use std::io::Write;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

const V1: &[u8] = b"PROXY TCP4 192.0.2.7 10.0.0.2 8080 1883\r\n";
const V2: &[u8] = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\xc0\0\x02\x08\x0a\0\0\x02\x1f\x90\x07\x5b";
const LOCAL: &[u8] = b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0";

/// Behind a proxy that is one of these.
fn behind(url: &str, proxies: &[&str]) -> ListenerOptions {
    let mut listener = listener(url);
    listener.gate.forwarders = Some(Forwarders::listed(proxies).unwrap());
    listener.allow_anonymous = Some(true);
    listener
}

fn port(broker: &Broker) -> u16 {
    broker.addresses()[0].port().unwrap()
}

/// A connection that begins so.
async fn peer(broker: &Broker, header: &[u8]) -> Peer {
    let mut peer = Peer::open(port(broker), V5).await;
    peer.send(header).await;
    peer
}

async fn accepted(broker: &Broker, header: &[u8], client_id: &str) -> Peer {
    let mut peer = peer(broker, header).await;
    peer.send(&Connect::new(V5, client_id).bytes()).await;
    peer.expect_accepted().await;
    peer
}

fn addresses(broker: &Broker) -> Vec<String> {
    let clients = broker.clients();
    let mut found: Vec<_> = clients
        .iter()
        .map(|known| (&known.client_id, known.peer.address))
        .collect();
    found.sort();
    found
        .into_iter()
        .map(|(_, address)| address.map_or_else(String::new, |it| it.to_string()))
        .collect()
}

#[tokio::test]
async fn the_address_of_a_client_is_the_one_that_its_proxy_says() {
    let broker = broker([behind("mqtt://127.0.0.1:0", &["127.0.0.1"])]).await;
    let _one = accepted(&broker, V1, "1").await;
    let _two = accepted(&broker, V2, "2").await;
    let _three = accepted(&broker, LOCAL, "3").await;
    let found = addresses(&broker);
    assert_eq!(found[..2], ["192.0.2.7:8080", "192.0.2.8:8080"]);
    assert!(found[2].starts_with("127.0.0.1:"), "{found:?}");
}

#[tokio::test]
async fn header_and_packet_may_come_in_any_pieces() {
    let broker = broker([behind("mqtt://127.0.0.1:0", &["127.0.0.0/8"])]).await;
    for header in [V1, V2] {
        let all = [header, &Connect::new(V5, "pieces").bytes()].concat();
        let mut slow = Peer::open(port(&broker), V5).await;
        for byte in &all {
            slow.send(&[*byte]).await;
        }
        slow.expect_accepted().await;
        let mut fast = peer(&broker, &all).await;
        fast.expect_accepted().await;
    }
}

/// A proxy before this port, which begins every connection so; its own port.
async fn saying(header: &'static [u8], inner: u16) -> u16 {
    let outer = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = outer.local_addr().unwrap().port();
    tokio::spawn(async move {
        let (mut near, _) = outer.accept().await.unwrap();
        let mut far = TcpStream::connect(("127.0.0.1", inner)).await.unwrap();
        far.write_all(header).await.unwrap();
        let _ = tokio::io::copy_bidirectional(&mut near, &mut far).await;
    });
    port
}

#[tokio::test]
async fn encryption_and_frames_come_behind_the_header() {
    for url in [
        "mqtts://127.0.0.1:0",
        "ws://127.0.0.1:0",
        "wss://127.0.0.1:0",
    ] {
        let mut expecting = behind(url, &["127.0.0.1"]);
        if expecting.address.is_secure() {
            expecting.gate.tls = encrypted(showing(&CERTIFICATES.server)).gate.tls;
        }
        let broker = broker([expecting]).await;
        for (header, source) in [(V1, "192.0.2.7:8080"), (V2, "192.0.2.8:8080")] {
            let mut options = options(&broker, &believing());
            let through = saying(header, port(&broker)).await;
            options.address = Address::parse(&url.replace(":0", &format!(":{through}"))).unwrap();
            let client = connected(options).await;
            carries_messages(&client).await;
            assert_eq!(addresses(&broker), [source], "{url}");
            soon(client.close(Close::Drain(Duration::from_secs(5)))).await;
            until("gone", &broker, |broker| broker.clients().is_empty()).await;
        }
    }
}

#[tokio::test]
async fn a_websocket_that_expects_a_header_lets_nobody_in_without_and_the_reverse() {
    let expecting = broker([behind("ws://127.0.0.1:0", &["127.0.0.1"])]).await;
    let mut direct = Raw::open(port(&expecting)).await;
    direct.try_send(request("/mqtt", &[]).as_bytes()).await;
    assert_eq!(direct.rest().await, b"");
    let open = broker([listener("ws://127.0.0.1:0")]).await;
    for header in [V1, V2] {
        let mut spoofing = Raw::open(port(&open)).await;
        spoofing.try_send(header).await;
        let answer = String::from_utf8(spoofing.rest().await).unwrap();
        assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
    }
    for (broker, count) in [(&expecting, 1), (&open, 2)] {
        counts_refused(broker, count).await;
    }
}

#[tokio::test]
async fn who_is_no_proxy_is_not_listened_to_whatever_it_says() {
    let broker = broker([behind("mqtt://127.0.0.1:0", &["10.0.0.0/8", "::1"])]).await;
    for header in [V1, V2, b""] {
        let mut spoofing = Peer::open(port(&broker), V5).await;
        spoofing.try_send(header).await;
        spoofing.try_send(&Connect::new(V5, "spoof").bytes()).await;
        spoofing.expect_refused().await;
    }
    counts_refused(&broker, 3).await;
    assert!(broker.clients().is_empty());
}

/// A socket does not know its peer any more when that has reset it, and gives what was said before all the same.
#[tokio::test]
async fn who_is_gone_before_it_is_looked_at_is_no_proxy_either() {
    let broker = broker([behind("mqtt://127.0.0.1:0", &["10.0.0.0/8"])]).await;
    // Nothing is waited for here, so the broker looks when it is over.
    let mut hasty = std::net::TcpStream::connect(("127.0.0.1", port(&broker))).unwrap();
    hasty.write_all(V1).unwrap();
    hasty.write_all(&Connect::new(V5, "spoof").bytes()).unwrap();
    let linger = Some(Duration::ZERO);
    socket2::SockRef::from(&hasty).set_linger(linger).unwrap();
    drop(hasty);
    until("counted", &broker, |broker| {
        broker.stats().connects_refused + broker.stats().connects_accepted == 1
    })
    .await;
    assert_eq!(broker.stats().connects_accepted, 0);
}

#[tokio::test]
async fn without_a_header_or_with_a_bad_one_nobody_comes_in() {
    let broker = broker([behind("mqtt://127.0.0.1:0", &["127.0.0.1"])]).await;
    let endless = [b"PROXY UNKNOWN ", &[b'f'; 200][..]].concat();
    let overrun = [
        &b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x10"[..],
        &V2[16..],
        b"\x04\xff\xff\0",
    ]
    .concat();
    let huge = [&b"\r\n\r\n\0\r\nQUIT\n\x21\x11\xff\xff"[..], &[0; 100]].concat();
    let bare_line_end = [b"PROXY TCP4 \n", &[b'f'; 200][..]].concat();
    for header in [&b""[..], &endless, &overrun, &huge, &bare_line_end] {
        let mut direct = Peer::open(port(&broker), V5).await;
        direct.try_send(header).await;
        direct.try_send(&Connect::new(V5, "direct").bytes()).await;
        direct.expect_refused().await;
    }
    counts_refused(&broker, 5).await;
    assert!(broker.clients().is_empty());
}

#[tokio::test]
async fn a_header_where_none_is_expected_is_no_packet() {
    let broker = broker([listener("mqtt://127.0.0.1:0")]).await;
    for header in [V1, V2] {
        let mut spoofing = Peer::open(port(&broker), V5).await;
        spoofing.try_send(header).await;
        spoofing.try_send(&Connect::new(V5, "spoof").bytes()).await;
        spoofing.expect_refused().await;
    }
    assert!(broker.clients().is_empty());
}

#[tokio::test]
async fn a_header_at_an_encrypted_port_that_expects_none_ends_with_an_alert() {
    let broker = broker([encrypted(showing(&CERTIFICATES.server))]).await;
    for header in [V1, V2] {
        let mut stream = TcpStream::connect(("127.0.0.1", port(&broker)))
            .await
            .unwrap();
        stream.write_all(header).await.unwrap();
        let mut rest = Vec::new();
        let _ = in_time("the end", stream.read_to_end(&mut rest)).await;
        assert!(rest.is_empty() || rest[0] == 0x15, "{rest:?}");
    }
    counts_refused(&broker, 2).await;
}

#[tokio::test]
async fn a_header_that_never_ends_has_the_time_of_connect_and_no_more() {
    let broker = Broker::new(BrokerOptions {
        listeners: vec![behind("mqtt://127.0.0.1:0", &["127.0.0.1"])],
        limits: Limits {
            connect_timeout: Duration::from_millis(200),
            ..Limits::default()
        },
        ..BrokerOptions::default()
    });
    broker.start().await.unwrap();
    let mut silent = peer(&broker, b"").await;
    let mut halting = peer(&broker, &V2[..13]).await;
    silent.expect_refused().await;
    halting.expect_refused().await;
    counts_refused(&broker, 2).await;
}

#[tokio::test]
async fn bounds_by_address_are_for_whom_a_proxy_speaks_and_not_for_the_proxy() {
    let broker = Broker::new(BrokerOptions {
        listeners: vec![behind("mqtt://127.0.0.1:0", &["127.0.0.1"])],
        limits: Limits {
            connections_per_address_max: 1,
            ..Limits::default()
        },
        ..BrokerOptions::default()
    });
    broker.start().await.unwrap();
    let first = accepted(&broker, V1, "1").await;
    let _other = accepted(&broker, V2, "2").await;
    let mut second = peer(&broker, V1).await;
    second.try_send(&Connect::new(V5, "3").bytes()).await;
    second.expect_refused().await;
    counts_refused(&broker, 1).await;
    first.abort();
    until("gone", &broker, |broker| broker.clients().len() == 1).await;
    in_time("a place", async {
        loop {
            let mut again = peer(&broker, V1).await;
            again.try_send(&Connect::new(V5, "1").bytes()).await;
            if again.next().await.is_some() {
                break;
            }
        }
    })
    .await;
}

#[tokio::test]
async fn failed_logins_count_for_whom_a_proxy_speaks() {
    let users = Users::new([("alice", "secret")]).unwrap();
    let limits = AuthLimits {
        failures_per_address: 2,
        ..AuthLimits::default()
    };
    let auth = Auth::new(vec![Source::Users(Arc::new(users))], limits).unwrap();
    let broker = Broker::new(BrokerOptions {
        listeners: vec![behind("mqtt://127.0.0.1:0", &["127.0.0.1"])],
        auth: Some(Arc::new(auth)),
        ..BrokerOptions::default()
    });
    broker.start().await.unwrap();
    for (header, code) in [(V1, 0x86), (V1, 0x86), (V1, 0x9F), (V2, 0x86)] {
        let mut guessing = peer(&broker, header).await;
        let mut connect = Connect::new(V5, "guess");
        connect.flags |= 0xC0;
        connect
            .payload
            .extend([field("alice"), field("guess")].concat());
        guessing.send(&connect.bytes()).await;
        assert_eq!(guessing.expect_packet().await[3], code);
    }
}

#[cfg(unix)]
#[tokio::test]
async fn who_may_open_the_file_of_a_unix_socket_is_a_proxy() {
    let path = std::env::temp_dir().join(format!("rmqtt-{}-proxied.sock", std::process::id()));
    let broker = broker([behind(&format!("unix://{}", path.display()), &[])]).await;
    let mut stream = tokio::net::UnixStream::connect(&path).await.unwrap();
    stream
        .write_all(&[V1, &Connect::new(V5, "file").bytes()].concat())
        .await
        .unwrap();
    let mut connack = [0; 2];
    in_time("CONNACK", stream.read_exact(&mut connack))
        .await
        .unwrap();
    assert_eq!(connack[0], 0x20);
    assert_eq!(addresses(&broker), ["192.0.2.7:8080"]);
}

#[tokio::test]
async fn a_listener_that_could_not_tell_a_proxy_is_refused() {
    let mut closed = behind("mqtt://127.0.0.1:0", &["127.0.0.1"]);
    closed.allow_anonymous = None;
    for (listener, reason) in [
        (behind("mqtt://127.0.0.1:0", &[]), "names no proxy"),
        (
            behind("unix:///tmp/rmqtt-never.sock", &["127.0.0.1"]),
            "knows no addresses",
        ),
        (behind("mem://proxied", &[]), "no proxy within a process"),
        (closed, "lets anybody in the network in"),
    ] {
        let broker = Broker::new(BrokerOptions {
            listeners: vec![listener],
            ..BrokerOptions::default()
        });
        let error = broker.start().await.unwrap_err().to_string();
        assert!(error.contains(reason), "{reason}: {error}");
    }
}
