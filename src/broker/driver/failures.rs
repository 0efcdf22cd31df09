//! Why somebody has not come through the gate of a listener, and who is told.
//!
//! Strangers choose how many failures there are. So they are told together: one entry a second for each listener, with the
//! last reason, whatever comes.

use crate::broker::Limit;
use crate::broker::hub::Hub;
use crate::broker::journal::Entry;
use crate::transport::Address;
use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

/// Between two entries about the same listener.
const INTERVAL: Duration = Duration::from_secs(1);

/// Why somebody was turned away who had not said a word of MQTT.
#[derive(Debug)]
pub(super) enum Failure {
    /// A limit was reached, which is told with all others.
    Limit(Limit),
    /// The handshake failed, with this peer.
    Handshake(Option<SocketAddr>, io::Error),
    /// It is nobody's business but ours.
    Ours,
}

impl From<Limit> for Failure {
    fn from(limit: Limit) -> Self {
        Self::Limit(limit)
    }
}

/// The failed handshakes of one listener, as far as they have not been told.
#[derive(Debug)]
pub(super) struct Failures {
    /// With the port that was chosen.
    listener: Option<Address>,
    count: u64,
    next_at: Option<Instant>,
}

impl Failures {
    /// None so far.
    pub(super) fn at(listener: Option<Address>) -> Self {
        Self {
            listener,
            count: 0,
            next_at: None,
        }
    }

    /// One more.
    pub(super) fn note(
        &mut self,
        hub: &Hub,
        (address, why): (Option<SocketAddr>, &io::Error),
        now: Instant,
    ) {
        let Some(listener) = self.listener.as_ref().filter(|_| hub.has_journal()) else {
            return;
        };
        self.count += 1;
        if self.next_at.is_some_and(|at| at > now) {
            return;
        }
        self.next_at = now.checked_add(INTERVAL);
        hub.note(&Entry::HandshakesFailed {
            listener,
            count: std::mem::take(&mut self.count),
            address,
            why: &why.to_string(),
        });
    }
}
