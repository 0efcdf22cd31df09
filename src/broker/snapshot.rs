//! The whole state of a broker at one moment, as plain data.
//!
//! Owns what a snapshot has and how its times are told: as they were, with the moment itself, so that what was left of
//! each is left again whenever it is restored. How it is taken and put back is in `hub/snapshot`.

use crate::broker::group::GroupImage;
use crate::broker::outbox::OutboxImage;
use crate::broker::registry::Registry;
use crate::broker::router::Router;
use std::time::Instant;

/// The whole state of a broker at one moment, as a crash would leave it to a store that is written before anything is
/// acknowledged. Retained messages are shared with the broker, not copied. Clones of it are as cheap as an `Arc`'s.
#[derive(Debug)]
pub struct Snapshot {
    pub(super) taken_at: Instant,
    pub(super) registry: Registry,
    pub(super) router: Router,
    /// By session.
    pub(super) outboxes: Vec<Option<OutboxImage>>,
    /// By their numbers.
    pub(super) groups: Vec<Option<GroupImage>>,
}

impl Snapshot {
    /// Sessions that it has.
    pub fn sessions(&self) -> usize {
        self.registry.len()
    }

    /// Their subscriptions.
    pub fn subscriptions(&self) -> usize {
        self.router.subscriptions.len()
    }

    /// Retained messages that it has.
    pub fn retained_messages(&self) -> usize {
        self.router.retained.len()
    }

    /// Messages that wait, for sessions and groups.
    pub fn queued_messages(&self) -> usize {
        let of_sessions: usize = self
            .outboxes
            .iter()
            .flatten()
            .map(OutboxImage::queued)
            .sum();
        let of_groups: usize = self.groups.iter().flatten().map(GroupImage::queued).sum();
        of_sessions + of_groups
    }
}

/// How far an hour in a snapshot is from the same hour where it is restored.
#[derive(Debug, Clone, Copy)]
pub struct Shift {
    from: Instant,
    to: Instant,
}

impl Shift {
    /// What was taken at `from` goes on at `to`, on whichever clock.
    pub fn new(from: Instant, to: Instant) -> Self {
        Self { from, to }
    }

    /// When that is now; what cannot be told is never.
    pub fn moved(&self, at: Option<Instant>) -> Option<Instant> {
        let at = at?;
        match at.checked_duration_since(self.from) {
            Some(left) => self.to.checked_add(left),
            None => Some(self.to),
        }
    }
}
