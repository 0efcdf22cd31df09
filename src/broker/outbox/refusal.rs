//! That a queue is full, for those who come with QoS 0: a flood meets thousands of full queues with each of its messages,
//! and who is sent away at each of them must not take its lock first.

use super::Outbox;
use super::state::State;
use crate::broker::Limit;
use std::sync::atomic::{AtomicU8, Ordering};

/// Nothing is known: ask under the lock.
const OPEN: u8 = 0;
const MESSAGES: u8 = 1;
const BYTES: u8 = 2;

/// Why QoS 0 is dropped before the queue's lock is taken, if it is. Written under that lock only, and taken back by whatever
/// may make room: so it may be missing, but nothing is dropped that a look under the lock would not have dropped.
#[derive(Debug, Default)]
pub(super) struct Refusal(AtomicU8);

impl Outbox {
    /// The bound at which the queue is known to be, so that nothing of QoS 0 is taken; asked without the lock.
    pub fn refuses(&self) -> Option<Limit> {
        self.refusal.reason()
    }
}

impl Refusal {
    fn reason(&self) -> Option<Limit> {
        match self.0.load(Ordering::Relaxed) {
            MESSAGES => Some(Limit::QueueMessagesMax),
            BYTES => Some(Limit::QueueBytesMax),
            _ => None,
        }
    }

    /// Something was dropped, for this reason. It holds for all that come until something is taken out, unless it lies
    /// elsewhere, or some of them may not be read here and are none of the queue's.
    pub(super) fn begin(&self, state: &State, limit: Option<Limit>) {
        let reason = match limit {
            Some(Limit::QueueMessagesMax) => MESSAGES,
            Some(Limit::QueueBytesMax) => BYTES,
            _ => OPEN,
        };
        if state.bell.is_some() && state.reader.is_none() {
            self.0.store(reason, Ordering::Relaxed);
        }
    }

    /// There may be room.
    pub(super) fn end(&self) {
        if self.0.load(Ordering::Relaxed) != OPEN {
            self.0.store(OPEN, Ordering::Relaxed);
        }
    }
}
