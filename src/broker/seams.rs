//! What tests ask of a broker beside MQTT, and all its connections share: the clock, faults and the wire log.

use crate::broker::faults::Faults;
use crate::broker::wire::WireLog;
use crate::clock::Clock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Of one broker.
#[derive(Debug)]
pub struct Seams {
    pub(super) clock: Clock,
    /// The faults of this broker.
    pub faults: Faults,
    /// The wire log, where one is kept.
    pub wire: Option<WireLog>,
    began: Instant,
    connections: AtomicU64,
}

impl Seams {
    pub(super) fn new(clock: Clock, wire_lines_max: usize) -> Self {
        Self {
            began: clock.now(),
            clock,
            faults: Faults::default(),
            wire: (wire_lines_max > 0).then(|| WireLog::new(wire_lines_max)),
            connections: AtomicU64::new(0),
        }
    }

    /// Whether connections have to show their packets one by one.
    pub(super) fn are_in_use(&self) -> bool {
        self.wire.is_some() || self.faults.is_in_use()
    }

    /// For time stamps.
    pub(super) fn time(&self) -> Duration {
        self.clock.now().saturating_duration_since(self.began)
    }

    /// A number for a connection.
    pub(super) fn number(&self) -> u64 {
        self.connections.fetch_add(1, Ordering::Relaxed) + 1
    }
}
