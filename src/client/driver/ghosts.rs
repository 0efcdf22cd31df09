//! Connections that we gave up before the broker had answered CONNECT. That packet may still come to it, after a later
//! one of ours, and then the broker takes our own session over from us: nobody else is there who would be thrown out in turn.

use crate::client::ClientError;
use crate::codec::ReasonCode;
use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// For about so long a system goes on trying to deliver what was written to a connection before it was closed.
const LATE: Duration = Duration::from_secs(120);
/// So often, at most, two clients with one id can throw each other out before one of them believes it.
const GHOSTS_MAX: usize = 8;

/// When connections were given up whose CONNECT may still be on its way.
#[derive(Debug, Default)]
pub(super) struct Ghosts(VecDeque<Instant>);

impl Ghosts {
    /// CONNECT was sent, and is not answered.
    pub(super) fn appear(&mut self, now: Instant) {
        if self.0.len() == GHOSTS_MAX {
            self.0.pop_front();
        }
        self.0.push_back(now);
    }

    /// The latest was answered.
    pub(super) fn answered(&mut self) {
        self.0.pop_back();
    }

    /// An earlier process, which may have been killed, may have left as many as there can be.
    pub(super) fn haunt(&mut self, now: Instant) {
        self.0 = VecDeque::from([now; GHOSTS_MAX]);
    }

    /// Whether this end of a connection may be the work of one. Each takes over once.
    pub(super) fn explain(&mut self, error: &ClientError, now: Instant) -> bool {
        let is_take_over = matches!(error, ClientError::ServerDisconnected(disconnect)
            if disconnect.reason == ReasonCode::SessionTakenOver);
        if !is_take_over {
            return false;
        }
        self.0
            .retain(|since| now.saturating_duration_since(*since) < LATE);
        self.0.pop_front().is_some()
    }
}
