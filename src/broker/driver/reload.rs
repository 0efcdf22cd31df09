//! What lies in files, read again while the broker runs: all of it is taken, or nothing.
//!
//! First everything is read and looked at; then it is taken, and that cannot fail.

use super::{Server, check_names};
use crate::broker::auth::Renewed;
use crate::broker::rights::Policies;
use crate::broker::{BrokerError, ListenerOptions};
use crate::transport::{TlsError, TlsRenewed, TlsServer};
use std::sync::Arc;

/// Certificates that were read, and whose they are to be.
struct Certificates<'a>(Vec<(&'a Arc<TlsServer>, TlsRenewed)>);

impl Certificates<'_> {
    fn commit(self) {
        for (server, read) in self.0 {
            server.replace(read);
        }
    }
}

impl Server {
    /// Reads certificates and users again, and takes them together with these rules, if there are any.
    pub(in crate::broker) fn reload(&self, policies: Option<Policies>) -> Result<(), BrokerError> {
        let certificates = self.prepare_certificates()?;
        let guards = self.guard.iter().chain(&self.guards);
        let users: Vec<Renewed> = guards
            .map(|guard| guard.auth().prepare())
            .collect::<Result<_, _>>()?;
        if let Some(policies) = &policies {
            check_names(&self.options, policies)?;
        }
        certificates.commit();
        users.into_iter().for_each(Renewed::commit);
        if let Some(policies) = policies {
            self.hub.set_policies(policies);
        }
        self.hub.review_logins(self.options.clock.now());
        Ok(())
    }

    /// Reads the certificates of all listeners again.
    pub(in crate::broker) fn reload_certificates(&self) -> Result<(), TlsError> {
        self.prepare_certificates().map(Certificates::commit)
    }

    fn prepare_certificates(&self) -> Result<Certificates<'_>, TlsError> {
        let servers = self.options.listeners.iter();
        let servers = servers.filter_map(ListenerOptions::tls);
        let read = servers.map(|server| Ok((server, server.prepare()?)));
        read.collect::<Result<_, _>>().map(Certificates)
    }
}
