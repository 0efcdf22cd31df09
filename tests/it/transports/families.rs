//! IPv4 and IPv6, at one listener and at several.

use super::{broker, carries_messages, connected, listener};
use rmqtt::broker::{Broker, BrokerError, BrokerOptions, ListenerOptions};
use rmqtt::client::{ClientOptions, Close};
use rmqtt::transport::Address;
use std::time::Duration;

/// Where anybody may come in, though it is not at loopback.
fn open(url: &str) -> ListenerOptions {
    let mut listener = listener(url);
    listener.allow_anonymous = Some(true);
    listener
}

/// Machines without IPv6 have nothing to show.
fn has_ipv6() -> bool {
    std::net::TcpListener::bind("[::1]:0").is_ok()
}

fn port(broker: &Broker) -> u16 {
    broker.addresses()[0].port().unwrap()
}

async fn came_from(broker: &Broker, host: &str) -> String {
    let address = Address::parse(&format!("mqtt://{host}:{}", port(broker))).unwrap();
    let client = connected(ClientOptions::new(address)).await;
    carries_messages(&client).await;
    let found = broker.clients()[0].peer.address.unwrap().ip().to_string();
    client.close(Close::Drain(Duration::from_secs(5))).await;
    crate::raw::until("gone", broker, |broker| broker.clients().is_empty()).await;
    found
}

#[tokio::test]
async fn all_addresses_of_ipv6_are_those_of_ipv4_too() {
    if !has_ipv6() {
        return;
    }
    let broker = broker([open("mqtt://[::]:0")]).await;
    let url = broker.addresses()[0].to_string();
    assert_eq!(url, format!("mqtt://[::]:{}", port(&broker)));
    assert_eq!(came_from(&broker, "[::1]").await, "::1");
    assert_eq!(came_from(&broker, "127.0.0.1").await, "127.0.0.1");
}

#[tokio::test]
async fn one_address_of_ipv6_is_itself_alone() {
    if !has_ipv6() {
        return;
    }
    let broker = broker([listener("mqtt://[::1]:0")]).await;
    let url = broker.addresses()[0].to_string();
    assert_eq!(url, format!("mqtt://[::1]:{}", port(&broker)));
    assert_eq!(Address::parse(&url).as_ref(), Ok(&broker.addresses()[0]));
    assert_eq!(came_from(&broker, "[::1]").await, "::1");
    let refused = tokio::net::TcpStream::connect(("127.0.0.1", port(&broker))).await;
    assert!(refused.is_err());
}

#[tokio::test]
async fn listeners_of_both_families_have_their_own_bounds() {
    if !has_ipv6() {
        return;
    }
    let mut narrow = listener("mqtt://[::1]:0");
    narrow.connections_max = Some(1);
    let broker = broker([narrow, listener("mqtt://127.0.0.1:0")]).await;
    let [six, four] = &broker.addresses()[..] else {
        panic!("two addresses")
    };
    let _one = connected(ClientOptions::new(six.clone())).await;
    let refused = rmqtt::client::Client::new(ClientOptions::new(six.clone()));
    assert!(refused.connect().await.is_err());
    let _other = connected(ClientOptions::new(four.clone())).await;
    let mut through: Vec<_> = broker.clients().iter().map(|it| it.peer.listener).collect();
    through.sort();
    assert_eq!(through, [Some(0), Some(1)]);
}

#[tokio::test]
async fn a_port_that_both_families_have_is_not_had_twice() {
    if !has_ipv6() {
        return;
    }
    let first = broker([open("mqtt://[::]:0")]).await;
    let second = Broker::new(BrokerOptions {
        listeners: vec![open(&format!("mqtt://0.0.0.0:{}", port(&first)))],
        ..BrokerOptions::default()
    });
    let error = second.start().await.unwrap_err();
    assert!(matches!(error, BrokerError::Bind { .. }), "{error}");
}
