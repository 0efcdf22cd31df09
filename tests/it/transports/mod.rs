//! Client and broker over each kind of pipe, and what goes wrong with it.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail by panicking")]

mod families;
mod frames;
mod held;
mod named;
mod proxied;
mod tls;
mod tls_refused;
#[cfg(unix)]
mod unix;
mod websocket;
mod websocket_refused;

use crate::client_script::{message, read, soon, subscribe};
use crate::raw::until;
use rmqtt::broker::{Broker, BrokerOptions, ListenerOptions};
use rmqtt::client::{Client, ClientError, ClientOptions};
use rmqtt::message::QoS;
use rmqtt::transport::{Address, Certificates, Issued, Source, TlsClient, TlsOptions, TlsServer};
use std::sync::{Arc, LazyLock};

/// Made once: keys are the slow part.
static CERTIFICATES: LazyLock<Certificates> = LazyLock::new(|| Certificates::new().unwrap());

#[expect(clippy::unnecessary_wraps, reason = "as the options have it")]
fn here(text: &str) -> Option<Source> {
    Some(Source::Here(text.to_owned().into()))
}

/// Options that show this certificate.
fn showing(issued: &Issued) -> TlsOptions {
    TlsOptions {
        cert: here(&issued.cert),
        key: here(&issued.key),
        ..TlsOptions::default()
    }
}

/// Options that believe the authority of the tests.
fn believing() -> TlsOptions {
    TlsOptions {
        ca: here(&CERTIFICATES.ca),
        ..TlsOptions::default()
    }
}

/// A listener at this URL.
fn listener(url: &str) -> ListenerOptions {
    Address::parse(url).unwrap().into()
}

/// A listener at any port that shows this certificate.
fn encrypted(options: TlsOptions) -> ListenerOptions {
    let mut listener = listener("mqtts://127.0.0.1:0");
    listener.gate.tls = Some(Arc::new(TlsServer::new(options).unwrap()));
    listener
}

async fn broker(listeners: impl IntoIterator<Item = ListenerOptions>) -> Broker {
    let broker = Broker::new(BrokerOptions {
        listeners: listeners.into_iter().collect(),
        ..BrokerOptions::default()
    });
    broker.start().await.unwrap();
    broker
}

/// A client's options for the first listener, with a way there.
fn options(broker: &Broker, tls: &TlsOptions) -> ClientOptions {
    let mut options = ClientOptions::new(broker.addresses()[0].clone());
    if options.address.is_secure() {
        options.route.tls = Some(TlsClient::new(tls).unwrap());
    }
    options
}

async fn connected(options: ClientOptions) -> Client {
    let client = Client::new(options);
    soon(client.connect()).await.unwrap();
    client
}

/// Why it could not connect.
async fn refused(options: ClientOptions) -> String {
    match soon(Client::new(options).connect()).await.unwrap_err() {
        ClientError::ConnectFailed { cause, .. } => cause,
        other => panic!("{other:?} instead of ConnectFailed"),
    }
}

/// The broker has counted so many connections that it let nobody in through.
async fn counts_refused(broker: &Broker, count: u64) {
    until("counted", broker, |broker| {
        broker.stats().connects_refused == count
    })
    .await;
}

/// Sends messages of every size and QoS through it, and has them come back in order.
async fn carries_messages(client: &Client) {
    for qos in [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce] {
        let subscription = subscribe(client, "plant/+/temperature", qos).await;
        let payloads: Vec<String> = [0, 1, 100, 5_000, 100_000, 1_000_000]
            .iter()
            .map(|size| "x".repeat(*size))
            .collect();
        for payload in &payloads {
            let sent = message("plant/7/temperature", payload.clone(), qos);
            soon(client.publish(sent)).await.unwrap();
        }
        for payload in &payloads {
            assert!(
                read(&subscription.inbox).await == *payload,
                "{}",
                payload.len()
            );
        }
        soon(client.unsubscribe(&subscription)).await.unwrap();
    }
}
