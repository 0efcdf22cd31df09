//! One of the places where a broker listens, and what goes for those who come through it.

use crate::broker::BrokerError;
use crate::transport::{Address, Gate, TlsServer};
use std::net::IpAddr;
use std::sync::Arc;

/// Where to listen, and what goes there in place of what goes everywhere.
#[derive(Debug, Clone)]
pub struct ListenerOptions {
    /// Where.
    pub address: Address,
    /// What a connection has to pass.
    pub gate: Gate,
    /// Connections through this listener at a time, within those of the broker; `None`: no bound of its own.
    pub connections_max: Option<usize>,
    /// Whether anybody may come in here who is asked nothing; `None`: as the broker says.
    pub allow_anonymous: Option<bool>,
}

impl From<Address> for ListenerOptions {
    fn from(address: Address) -> Self {
        Self {
            address,
            gate: Gate::default(),
            connections_max: None,
            allow_anonymous: None,
        }
    }
}

impl ListenerOptions {
    /// What cannot work, or would not be safe, in a broker that lets anybody in or not.
    pub(super) fn check(&self, has_users: bool, allow_anonymous: bool) -> Result<(), BrokerError> {
        let address = &self.address;
        self.gate.check(address).map_err(BrokerError::Options)?;
        if self.connections_max == Some(0) {
            return Err(BrokerError::Options(format!(
                "connections_max of {address} must be at least 1"
            )));
        }
        let may_be_anonymous = self.allow_anonymous.unwrap_or(allow_anonymous);
        // Whom a proxy speaks for is seldom on this machine, wherever the proxy is.
        let is_reachable =
            self.gate.forwarders.is_some() || address.host().is_some_and(|host| !is_loopback(host));
        if is_reachable && !may_be_anonymous && !has_users && !self.asks_for_certificates() {
            return Err(BrokerError::Options(format!(
                "listening at {address} lets anybody in the network in, since no client is asked who it is: \
                 give it users (auth), set allow_anonymous (--allow-anonymous) if that is what you want, or listen at \
                 127.0.0.1"
            )));
        }
        Ok(())
    }

    /// Whether only those come in for whom an authority vouches.
    fn asks_for_certificates(&self) -> bool {
        let tls = self.gate.tls.as_deref();
        tls.is_some_and(TlsServer::needs_client_cert)
    }

    /// Its certificates, to be read anew.
    pub(super) fn tls(&self) -> Option<&Arc<TlsServer>> {
        self.gate.tls.as_ref()
    }
}

fn is_loopback(host: &str) -> bool {
    match host.parse::<IpAddr>() {
        Ok(address) => address.is_loopback(),
        Err(_) => host.eq_ignore_ascii_case("localhost"),
    }
}
