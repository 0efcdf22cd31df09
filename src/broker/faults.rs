//! Faults by plan, for tests: the rules of a broker, which all its connections share.
//!
//! Owns the lock; what befalls a packet is decided in `plan`, and done in the driver's `relay`. While no rule was ever
//! made, a connection asks one relaxed load per batch.

mod plan;

pub use plan::{Action, Cut, Deed, Direction, Match, Plan, Seen};

use crate::transport::Stream;
use parking_lot::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

/// Half-open connections that are kept; the oldest is closed when there are more.
const PARKED_MAX: usize = 1024;

/// The faults of one broker.
#[derive(Debug, Default)]
pub struct Faults {
    is_in_use: AtomicBool,
    plan: Mutex<Plan>,
    /// Of connections that ended while half-open: their peers must not learn of it.
    parked: Mutex<Vec<Stream>>,
}

impl Faults {
    /// Whether there ever was a rule.
    pub fn is_in_use(&self) -> bool {
        self.is_in_use.load(Ordering::Relaxed)
    }

    /// Adds a rule that does nothing yet; its number.
    pub fn add(&self, r#match: Match) -> u64 {
        let number = self.plan.lock().add(r#match);
        self.is_in_use.store(true, Ordering::Relaxed);
        number
    }

    /// Has a rule do one thing more.
    pub fn act(&self, rule: u64, action: Action) {
        self.plan.lock().act(rule, action);
    }

    /// Changes how often a rule strikes.
    pub fn limit(&self, rule: u64, times: u64) {
        self.plan.lock().limit(rule, times);
    }

    /// How many packets a rule has struck.
    pub fn hits(&self, rule: u64) -> u64 {
        self.plan.lock().hits(rule)
    }

    /// Where chances come from.
    pub fn seed(&self) -> u64 {
        self.plan.lock().seed
    }

    /// From here on they come from there.
    pub fn set_seed(&self, seed: u64) {
        self.plan.lock().seed = seed;
    }

    /// Forgets all rules. What they have done stays done, but that half-open connections which have ended are closed.
    pub fn clear(&self) {
        self.plan.lock().clear();
        self.let_go();
    }

    /// What befalls this packet.
    pub(super) fn meet(&self, seen: &Seen<'_>) -> Vec<Deed> {
        self.plan.lock().meet(seen)
    }

    pub(super) fn park(&self, stream: Stream) {
        let mut parked = self.parked.lock();
        let oldest = (parked.len() >= PARKED_MAX).then(|| parked.remove(0));
        parked.push(stream);
        drop(parked);
        drop(oldest);
    }

    /// Closes what was half-open.
    pub(super) fn let_go(&self) {
        let parked = std::mem::take(&mut *self.parked.lock());
        drop(parked);
    }
}
