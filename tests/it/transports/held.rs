//! What strangers make a broker hold while they shake hands.

use super::{
    CERTIFICATES, believing, carries_messages, connected, encrypted, listener, options, showing,
};
use crate::raw::until;
use rmqtt::broker::{Broker, BrokerOptions, Limits, ListenerOptions};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

/// A record of TLS with the beginning of a greeting of 60,000 bytes.
fn endless_greeting() -> Vec<u8> {
    let begin = [0x16, 3, 1, 0x40, 0, 1, 0, 0xea, 0x60];
    [&begin[..], &[0; 0x4000 - 4]].concat()
}

/// Half of the headers that are read at most, and more.
fn endless_request() -> Vec<u8> {
    let begin = b"GET / HTTP/1.1\r\nCookie: ";
    [&begin[..], &[b'x'; 16_000]].concat()
}

async fn strangers_share(listener: ListenerOptions, words: Vec<u8>) {
    let broker = Broker::new(BrokerOptions {
        listeners: vec![listener],
        limits: Limits {
            unaccepted_bytes_max: 20_000,
            ..Limits::default()
        },
        ..BrokerOptions::default()
    });
    broker.start().await.unwrap();
    let port = broker.addresses()[0].port().unwrap();
    let mut strangers = Vec::new();
    for _ in 0..3 {
        let mut stranger = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
        stranger.write_all(&words).await.unwrap();
        strangers.push(stranger);
    }
    until("one to be sent away", &broker, |broker| {
        let reached = broker.stats().limits_reached;
        reached
            .iter()
            .any(|(limit, count)| *limit == "unaccepted_bytes_max" && *count == 1)
    })
    .await;
    // The others have all there is, and whoever takes no more than honest clients do does not notice.
    let client = connected(options(&broker, &believing())).await;
    carries_messages(&client).await;
    assert_eq!(broker.stats().connects_refused, 1);
    drop(strangers);
    until("all to be gone", &broker, |broker| {
        broker.stats().connects_refused == 3
    })
    .await;
}

#[tokio::test]
async fn greetings_of_strangers_that_do_not_end_hold_so_many_bytes_together() {
    strangers_share(encrypted(showing(&CERTIFICATES.server)), endless_greeting()).await;
}

#[tokio::test]
async fn requests_of_strangers_that_do_not_end_hold_so_many_bytes_together() {
    strangers_share(listener("ws://127.0.0.1:0"), endless_request()).await;
}
