//! A broker on a real socket, and peers that may send it anything: bytes go out as they are given, and what comes back
//! is compared as bytes. Nothing here sleeps; every wait has a deadline. [`bytes`] puts packets together, [`Witness`]
//! shows that others are still served.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail by panicking")]

pub(crate) mod bytes;
mod peer;
mod witness;

pub(crate) use peer::Peer;
pub(crate) use witness::Witness;

use bytes::Connect;
use rmqtt::broker::{Broker, BrokerOptions, BrokerStats, Limits, Terms};
use rmqtt::transport::Address;
use std::future::Future;
use std::time::Duration;

/// How long anything may take. Far more than needed: the machine may be busy.
pub(crate) const DEADLINE: Duration = Duration::from_secs(20);

/// Which protocol a peer speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Version {
    V4,
    V5,
}

pub(crate) use Version::{V4, V5};

/// Both.
pub(crate) const BOTH: [Version; 2] = [V4, V5];

impl Version {
    pub(crate) fn level(self) -> u8 {
        match self {
            V4 => 4,
            V5 => 5,
        }
    }

    /// One value for each version.
    pub(crate) fn pick<T>(self, v4: T, v5: T) -> T {
        match self {
            V4 => v4,
            V5 => v5,
        }
    }
}

/// Waits for it, but not for ever.
pub(crate) async fn in_time<T>(what: &str, future: impl Future<Output = T>) -> T {
    match tokio::time::timeout(DEADLINE, future).await {
        Ok(value) => value,
        Err(elapsed) => panic!("{what}, {DEADLINE:?}: {elapsed}"),
    }
}

/// Nothing tells a test that a counter has changed, so this asks again after each turn of the runtime.
pub(crate) async fn until(what: &str, broker: &Broker, holds: impl Fn(&Broker) -> bool) {
    in_time(what, async {
        while !holds(broker) {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

/// A running broker on a port of its own. It ends with the test's runtime.
pub(crate) struct Server {
    broker: Broker,
    port: u16,
}

impl Server {
    pub(crate) async fn start() -> Self {
        Self::with(|_| {}).await
    }

    /// With other limits than the defaults.
    pub(crate) async fn with(change: impl FnOnce(&mut Limits)) -> Self {
        Self::with_options(|options| change(&mut options.limits)).await
    }

    /// With other terms than the defaults.
    pub(crate) async fn offering(change: impl FnOnce(&mut Terms)) -> Self {
        Self::with_options(|options| change(&mut options.terms)).await
    }

    /// With other options than the defaults.
    pub(crate) async fn with_options(change: impl FnOnce(&mut BrokerOptions)) -> Self {
        let mut options = BrokerOptions {
            listeners: vec![Address::parse("mqtt://127.0.0.1:0").unwrap().into()],
            ..BrokerOptions::default()
        };
        change(&mut options);
        let broker = Broker::new(options);
        in_time("the start of the broker", broker.start())
            .await
            .unwrap();
        let [Address::Tcp { port, .. }] = broker.addresses()[..] else {
            panic!("one TCP address: {:?}", broker.addresses());
        };
        Self { broker, port }
    }

    pub(crate) fn broker(&self) -> &Broker {
        &self.broker
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    pub(crate) fn stats(&self) -> BrokerStats {
        self.broker.stats()
    }

    /// A socket that has said nothing yet.
    pub(crate) async fn socket(&self, version: Version) -> Peer {
        Peer::open(self.port, version).await
    }

    /// The same, from another address of this machine.
    pub(crate) async fn socket_from(&self, address: [u8; 4], version: Version) -> Peer {
        Peer::open_from(address, self.port, version).await
    }

    /// A connected client with a clean session.
    pub(crate) async fn client(&self, version: Version, client_id: &str) -> Peer {
        self.connect(&Connect::new(version, client_id)).await.0
    }

    /// A client connected by this CONNECT, and whether its session was there.
    pub(crate) async fn connect(&self, connect: &Connect) -> (Peer, bool) {
        let mut peer = self.socket(connect.version).await;
        peer.send(&connect.bytes()).await;
        let is_present = peer.expect_accepted().await;
        (peer, is_present)
    }

    /// Somebody comes in, by now or soon.
    pub(crate) async fn lets_in(&self, version: Version, client_id: &str) {
        in_time("a place", async {
            loop {
                let mut peer = self.socket(version).await;
                peer.try_send(&Connect::new(version, client_id).bytes())
                    .await;
                if peer.next().await.is_some_and(|packet| packet[3] == 0) {
                    break;
                }
            }
        })
        .await;
    }

    /// Two clients of good behaviour.
    pub(crate) async fn witness(&self) -> Witness {
        Witness::new(self).await
    }
}
