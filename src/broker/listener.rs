//! One of the places where a broker listens, and what goes for those who come through it.

#[cfg(test)]
mod tests;

use crate::broker::BrokerError;
use crate::broker::auth::Auth;
use crate::broker::rights::Policy;
use crate::transport::{Address, CertificateName, Gate, TlsServer};
use std::net::IpAddr;
use std::sync::Arc;

/// What goes for those who come through one listener.
#[derive(Debug, Clone, Default)]
pub enum Local<T> {
    /// What goes everywhere.
    #[default]
    AsEverywhere,
    /// This, or nothing.
    Here(Option<T>),
}

impl<T> Local<T> {
    /// What it is, where this goes everywhere.
    pub fn or<'a>(&'a self, everywhere: Option<&'a T>) -> Option<&'a T> {
        match self {
            Self::AsEverywhere => everywhere,
            Self::Here(here) => here.as_ref(),
        }
    }
}

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
    /// Which name of a client's certificate says what user it is; `None`: certificates name nobody.
    pub username_from: Option<CertificateName>,
    /// Who may connect here. Where a certificate says who somebody is, nobody asks further unless this says so.
    pub auth: Local<Arc<Auth>>,
    /// What clients may do who come through here.
    pub acl: Local<Policy>,
}

impl From<Address> for ListenerOptions {
    fn from(address: Address) -> Self {
        Self {
            address,
            gate: Gate::default(),
            connections_max: None,
            allow_anonymous: None,
            username_from: None,
            auth: Local::AsEverywhere,
            acl: Local::AsEverywhere,
        }
    }
}

impl ListenerOptions {
    /// Who is asked here who somebody is, where these are asked everywhere.
    pub(super) fn users<'a>(&'a self, everywhere: Option<&'a Arc<Auth>>) -> Option<&'a Arc<Auth>> {
        self.auth
            .or(everywhere.filter(|_| self.username_from.is_none()))
    }

    /// What cannot work, or would not be safe, in a broker with these users that lets anybody in or not.
    pub(super) fn check(
        &self,
        users: Option<&Arc<Auth>>,
        allow_anonymous: bool,
    ) -> Result<(), BrokerError> {
        let address = &self.address;
        self.gate.check(address).map_err(BrokerError::Options)?;
        if self.connections_max == Some(0) {
            return Err(BrokerError::Options(format!(
                "connections_max of {address} must be at least 1"
            )));
        }
        if self.username_from.is_some() && !self.asks_for_certificates() {
            return Err(BrokerError::Options(format!(
                "{address} takes users' names from certificates (username_from), and lets clients in without: it needs \
                 tls with ca, and client_cert as \"required\""
            )));
        }
        self.check_reach(address, users, allow_anonymous)
    }

    /// Whether it would be safe to listen at this address: that which was asked for, or what came of it.
    pub(super) fn check_reach(
        &self,
        address: &Address,
        users: Option<&Arc<Auth>>,
        allow_anonymous: bool,
    ) -> Result<(), BrokerError> {
        let is_anonymous_fine = self.allow_anonymous.unwrap_or(allow_anonymous);
        // Whom a proxy speaks for is seldom on this machine, wherever the proxy is.
        let is_reachable =
            self.gate.forwarders.is_some() || address.host().is_some_and(|host| !is_loopback(host));
        let is_asked = self.users(users).is_some() || self.asks_for_certificates();
        if is_reachable && !is_anonymous_fine && !is_asked {
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
