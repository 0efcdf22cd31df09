//! The bell that wakes a connection, and tells it to go.
//!
//! Owns who is to be woken and whether it was, nothing of what it is woken for: that is in `outbox`. One small lock of its
//! own, never held while another is taken or a waker called; whether it was rung is known without it, since every round of
//! every connection asks.

#[cfg(test)]
mod tests;

use crate::broker::protocol::Farewell;
use parking_lot::Mutex;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Waker;

/// Wakes one connection, and tells it to go.
#[derive(Debug, Default)]
pub struct Bell {
    is_rung: AtomicBool,
    state: Mutex<BellState>,
}

#[derive(Debug, Default)]
struct BellState {
    told_to_go: Option<Box<Farewell>>,
    waker: Option<Waker>,
}

impl Bell {
    /// Wakes the connection.
    pub fn ring(&self) {
        if self.is_rung.swap(true, Ordering::AcqRel) {
            // Whoever rang before has woken it, or it is awake: it will look.
            return;
        }
        let waker = self.state.lock().waker.take();
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// Tells the connection to go. The first reason counts.
    pub fn tell_to_go(&self, farewell: impl Into<Farewell>) {
        let farewell = Box::new(farewell.into());
        self.state.lock().told_to_go.get_or_insert(farewell);
        self.ring();
    }

    /// Why the connection has to go, if it has been told to. That it has been told rings the bell.
    pub fn told_to_go(&self) -> Option<Farewell> {
        self.state.lock().told_to_go.as_deref().cloned()
    }

    /// Whether it was rung since the last time; if not, `waker` is called when it is.
    pub fn answer(&self, waker: &Waker) -> bool {
        if self.take_ring() {
            return true;
        }
        let mut state = self.state.lock();
        match &mut state.waker {
            Some(old) => old.clone_from(waker),
            none => *none = Some(waker.clone()),
        }
        drop(state);
        // Whoever rang meanwhile may have come too early for the waker.
        self.take_ring()
    }

    fn take_ring(&self) -> bool {
        // Most of the time it was not: to look costs less than to take.
        self.is_rung.load(Ordering::Acquire) && self.is_rung.swap(false, Ordering::AcqRel)
    }
}

/// Rings them all.
pub(super) fn ring_all(bells: &[Arc<Bell>]) {
    for bell in bells {
        bell.ring();
    }
}
