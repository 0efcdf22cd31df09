//! Retained messages on their way into a queue: fetched in slices, and live ones wait behind each slice.

use super::Outbox;
use crate::broker::protocol::{Delivery, Outgoing};
use crate::broker::router::RetainedCursor;
use std::sync::atomic::Ordering;

/// Retained messages are fetched in slices, only while less than this waits.
const RETAINED_LOW: usize = 64;

impl Outbox {
    /// Adds retained messages to come; those of the same filter start again.
    pub fn add_cursor(&self, cursor: RetainedCursor) {
        let mut state = self.state.lock();
        state.cursors.retain(|old| old.filter != cursor.filter);
        state.cursors.push_back(cursor);
        self.has_retained.store(true, Ordering::Relaxed);
    }

    /// Sends no more retained messages for this filter.
    pub fn drop_cursor(&self, filter: &str) {
        let mut state = self.state.lock();
        state.cursors.retain(|old| old.filter.as_str() != filter);
    }

    /// Whether there are retained messages to fetch.
    pub fn has_retained_to_come(&self) -> bool {
        self.has_retained.load(Ordering::Relaxed)
    }

    /// If it is time to fetch retained messages, says for which subscription; from now until
    /// [`Outbox::push_retained`], live messages wait behind them.
    pub fn begin_retained(&self) -> Option<RetainedCursor> {
        if !self.has_retained.load(Ordering::Relaxed) {
            return None;
        }
        let mut state = self.state.lock();
        if state.count >= RETAINED_LOW || state.held.is_some() {
            return None;
        }
        let cursor = state.cursors.pop_front()?;
        state.held = Some(Vec::new());
        Some(cursor)
    }

    /// Queues a slice of retained messages, then what came live meanwhile. `rest` is the subscription that has more. Says
    /// how many the session may not read.
    pub fn push_retained(&self, slice: Vec<Delivery>, rest: Option<RetainedCursor>) -> usize {
        let mut state = self.state.lock();
        let mut denied = 0;
        for delivery in slice {
            if !state.may_read(&delivery.message.topic, 0) {
                denied += 1;
                continue;
            }
            let entry = state.enter(Outgoing::One(delivery));
            state.append(entry);
        }
        state.release_held();
        if let Some(rest) = rest {
            state.cursors.push_front(rest);
        }
        self.has_retained
            .store(!state.cursors.is_empty(), Ordering::Relaxed);
        denied
    }
}
