//! The bell that wakes a connection, and tells it to go.
//!
//! Owns who is to be woken and whether it was, nothing of what it is woken for: that is in `outbox`. One small lock of its
//! own, never held while another is taken or a waker called.

use crate::broker::protocol::Farewell;
use parking_lot::Mutex;
use std::sync::Arc;
use std::task::Waker;

/// Wakes one connection, and tells it to go.
#[derive(Debug, Default)]
pub struct Bell(Mutex<BellState>);

#[derive(Debug, Default)]
struct BellState {
    rung: bool,
    told_to_go: Option<Farewell>,
    waker: Option<Waker>,
}

impl Bell {
    /// Wakes the connection.
    pub fn ring(&self) {
        let waker = {
            let mut state = self.0.lock();
            state.rung = true;
            state.waker.take()
        };
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// Tells the connection to go. The first reason counts.
    pub fn tell_to_go(&self, farewell: impl Into<Farewell>) {
        let farewell = farewell.into();
        self.0.lock().told_to_go.get_or_insert(farewell);
        self.ring();
    }

    /// Why the connection has to go, if it has been told to.
    pub fn told_to_go(&self) -> Option<Farewell> {
        self.0.lock().told_to_go.clone()
    }

    /// Whether it was rung since the last time; if not, `waker` is called when it is.
    pub fn answer(&self, waker: &Waker) -> bool {
        let mut state = self.0.lock();
        if std::mem::take(&mut state.rung) {
            return true;
        }
        match &mut state.waker {
            Some(old) => old.clone_from(waker),
            none => *none = Some(waker.clone()),
        }
        false
    }
}

/// Rings them all.
pub(super) fn ring_all(bells: &[Arc<Bell>]) {
    for bell in bells {
        bell.ring();
    }
}
