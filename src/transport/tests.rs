//! Addresses as text, and pipes of both kinds.

use super::{Address, Listener, Stream};
use std::io;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

fn tcp(host: &str, port: u16) -> Address {
    Address::Tcp {
        host: host.to_owned(),
        port,
    }
}

fn tls(host: &str, port: u16) -> Address {
    Address::Tls {
        host: host.to_owned(),
        port,
    }
}

fn ws(host: &str, port: u16, path: &str) -> Address {
    let (host, path) = (host.to_owned(), path.to_owned());
    Address::Ws { host, port, path }
}

fn wss(host: &str, port: u16, path: &str) -> Address {
    let (host, path) = (host.to_owned(), path.to_owned());
    Address::Wss { host, port, path }
}

fn unix(path: &str) -> Address {
    Address::Unix { path: path.into() }
}

fn memory(name: &str) -> Address {
    Address::Memory {
        name: name.to_owned(),
    }
}

#[test]
fn what_lies_on_top_of_a_socket_makes_no_plain_connection_larger() {
    let socket = size_of::<tokio::net::TcpStream>();
    assert!(size_of::<Stream>() <= socket + size_of::<usize>());
}

#[test]
fn every_spelling_of_an_address_is_read() {
    for (text, address) in [
        ("mqtt://127.0.0.1", tcp("127.0.0.1", 1883)),
        ("mqtt://127.0.0.1:0", tcp("127.0.0.1", 0)),
        ("MQTT://broker.example:1884/", tcp("broker.example", 1884)),
        ("tcp://localhost:1", tcp("localhost", 1)),
        ("localhost", tcp("localhost", 1883)),
        ("localhost:65535", tcp("localhost", 65535)),
        ("[::1]:1884", tcp("::1", 1884)),
        ("mqtt://[fe80::1]", tcp("fe80::1", 1883)),
        ("::1", tcp("::1", 1883)),
        ("mem://plant-7", memory("plant-7")),
        ("mqtts://host", tls("host", 8883)),
        ("SSL://[::1]:1", tls("::1", 1)),
        ("tls://host:8884/", tls("host", 8884)),
        ("ws://host", ws("host", 80, "")),
        ("ws://host/", ws("host", 80, "/")),
        ("WS://[::1]:9001/mqtt", ws("::1", 9001, "/mqtt")),
        ("wss://host", wss("host", 443, "")),
        (
            "wss://host:8084/a/b?token=x%20y@z:1/",
            wss("host", 8084, "/a/b?token=x%20y@z:1/"),
        ),
        ("unix:///run/mqtt.sock", unix("/run/mqtt.sock")),
    ] {
        assert_eq!(Address::parse(text), Ok(address), "{text}");
    }
}

#[test]
fn an_address_as_text_is_read_as_the_same_address() {
    for address in [
        tcp("127.0.0.1", 0),
        tcp("::1", 1884),
        tls("::1", 1),
        ws("host", 80, ""),
        wss("::1", 1, "/mqtt"),
        unix("/a b"),
        memory("x"),
    ] {
        assert_eq!(Address::parse(&address.to_string()), Ok(address));
    }
}

#[test]
fn what_is_no_address_is_refused_with_a_reason() {
    for (text, reason) in [
        ("", "host is missing"),
        ("mqtt://", "host is missing"),
        (":1883", "host is missing"),
        ("mqtt://host:port", "port must be a number"),
        ("mqtt://host:65536", "port must be a number"),
        ("mqtt://host:+1", "port must be a number"),
        ("mqtt://host:", "port must be a number"),
        ("mqtt://host/topic", "no path"),
        ("mqtt://host?x=1", "beside the address"),
        ("mqtt://ho st", "space or control"),
        ("mqtt://[::1", "not closed"),
        ("mqtt://[host]:1", "IPv6"),
        ("mqtt://[::1]1883", "behind the bracket"),
        ("mqtt://fe80:::1:1", "in brackets"),
        ("mqtts://", "host is missing"),
        ("unix://run/mqtt", "absolute"),
        ("unix:///run/", "no path of a socket"),
        ("ws://", "host is missing"),
        ("ws:///mqtt", "host is missing"),
        ("ws://host?token=1", "a path like /mqtt"),
        ("ws://host/mqtt#part", "a path like /mqtt"),
        ("wss://host/a b", "a path like /mqtt"),
        ("wss://host/a\r\nEvil: 1", "a path like /mqtt"),
        ("wss://host/ü", "a path like /mqtt"),
        ("wss://user:hush@host/mqtt", "user name or password"),
        ("http://host", "unknown scheme 'http'"),
        ("mem://", "name is missing"),
        ("mem://a/b", "none of"),
    ] {
        let error = Address::parse(text).expect_err(text).to_string();
        assert!(error.contains(reason), "{text}: {error}");
    }
}

#[test]
fn what_may_be_a_secret_is_not_repeated_by_an_error() {
    for text in [
        "mqtt://me:secret@host",
        "wss://me:secret@host/mqtt",
        "wss://me:secret@host/mqtt#part",
        "http://me:secret@host",
        "wss://host/mqtt?token=secret#part",
    ] {
        let error = Address::parse(text).expect_err(text).to_string();
        assert!(!error.contains("secret"), "{error}");
    }
}

#[test]
fn what_stands_behind_a_question_mark_is_not_shown() {
    assert_eq!(
        wss("host", 443, "/mqtt?token=secret").to_string(),
        "wss://host:443/mqtt?…"
    );
}

async fn carries_bytes_both_ways(listener: &Listener) {
    let address = listener.address().unwrap();
    let (near, far) = tokio::join!(Stream::connect(&address), listener.accept());
    let (mut near, (mut far, _)) = (near.unwrap(), far.unwrap());
    near.write_all(b"ping").await.unwrap();
    let mut got = [0; 4];
    far.read_exact(&mut got).await.unwrap();
    assert_eq!(&got, b"ping");
    far.write_all(b"pong").await.unwrap();
    near.read_exact(&mut got).await.unwrap();
    assert_eq!(&got, b"pong");
    drop(far);
    assert_eq!(near.read(&mut got).await.unwrap(), 0);
}

/// spec(4): MQTT-7.1.2-1
/// spec(5): MQTT-4.2.0-1
#[tokio::test]
async fn a_tcp_pipe_carries_bytes_both_ways() {
    let listener = Listener::bind(&tcp("127.0.0.1", 0)).await.unwrap();
    carries_bytes_both_ways(&listener).await;
}

#[tokio::test]
async fn a_memory_pipe_carries_bytes_both_ways() {
    let listener = Listener::bind(&memory("both-ways")).await.unwrap();
    carries_bytes_both_ways(&listener).await;
}

#[tokio::test]
async fn tcp_sockets_do_not_wait_to_fill_a_segment_unless_they_are_to() {
    let listener = Listener::bind(&tcp("127.0.0.1", 0)).await.unwrap();
    let address = listener.address().unwrap();
    let (near, far) = tokio::join!(Stream::connect(&address), listener.accept());
    for stream in [near.unwrap(), far.unwrap().0] {
        let nodelay = |stream: &Stream| match stream {
            Stream::Tcp(stream) => stream.nodelay().unwrap(),
            other => panic!("{other:?} is not TCP"),
        };
        assert!(nodelay(&stream));
        stream.gather();
        assert!(!nodelay(&stream));
    }
}

#[tokio::test]
async fn a_name_resolves_to_addresses_that_are_tried_in_turn() {
    // localhost is ::1 first on many machines; the listener is at 127.0.0.1 alone.
    let listener = Listener::bind(&tcp("127.0.0.1", 0)).await.unwrap();
    let Address::Tcp { port, .. } = listener.address().unwrap() else {
        panic!("not TCP")
    };
    let Stream::Tcp(stream) = Stream::connect(&tcp("localhost", port)).await.unwrap() else {
        panic!("not TCP")
    };
    assert_eq!(stream.peer_addr().unwrap().port(), port);
}

#[tokio::test]
async fn a_port_in_use_and_a_name_in_use_are_both_said_to_be() {
    let listener = Listener::bind(&tcp("127.0.0.1", 0)).await.unwrap();
    let again = Listener::bind(&listener.address().unwrap()).await;
    assert_eq!(again.unwrap_err().kind(), io::ErrorKind::AddrInUse);
    let _held = Listener::bind(&memory("in-use")).await.unwrap();
    let again = Listener::bind(&memory("in-use")).await;
    assert_eq!(again.unwrap_err().kind(), io::ErrorKind::AddrInUse);
}

#[tokio::test]
async fn a_memory_name_is_free_when_its_listener_is_gone() {
    let address = memory("freed");
    let missing = Stream::connect(&address).await.unwrap_err();
    assert_eq!(missing.kind(), io::ErrorKind::NotFound);
    drop(Listener::bind(&address).await.unwrap());
    let missing = Stream::connect(&address).await.unwrap_err();
    assert_eq!(missing.kind(), io::ErrorKind::NotFound);
    Listener::bind(&address).await.unwrap();
}

#[tokio::test]
async fn nobody_listening_is_refused() {
    let listener = Listener::bind(&tcp("127.0.0.1", 0)).await.unwrap();
    let address = listener.address().unwrap();
    drop(listener);
    let refused = Stream::connect(&address).await.unwrap_err();
    assert_eq!(refused.kind(), io::ErrorKind::ConnectionRefused);
}

#[tokio::test]
async fn a_cancelled_accept_loses_no_pipe() {
    let listener = Listener::bind(&memory("cancelled")).await.unwrap();
    {
        let accept = listener.accept();
        tokio::pin!(accept);
        let first = std::future::poll_fn(|cx| std::task::Poll::Ready(accept.as_mut().poll(cx)));
        assert!(first.await.is_pending());
    }
    let _near = Stream::connect(&listener.address().unwrap()).await.unwrap();
    listener.accept().await.unwrap();
}

#[tokio::test]
async fn a_pipe_that_is_reset_before_it_is_taken_in_is_known_by_its_address() {
    let listener = Listener::bind(&tcp("127.0.0.1", 0)).await.unwrap();
    let port = listener.address().unwrap().port().unwrap();
    let mut near = tokio::net::TcpStream::connect(("127.0.0.1", port))
        .await
        .unwrap();
    let own = near.local_addr().unwrap();
    near.write_all(b"said before").await.unwrap();
    Stream::Tcp(near).reset();
    let (mut far, from) = listener.accept().await.unwrap();
    assert_eq!(from, Some(own));
    let mut said = [0; 11];
    far.read_exact(&mut said).await.unwrap();
    assert_eq!(&said, b"said before");
}
