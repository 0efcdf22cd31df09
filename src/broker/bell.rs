//! The bell that wakes a connection, and tells it to go.
//!
//! Owns who is to be woken and whether it was, nothing of what it is woken for: that is in `outbox`. One small lock of its
//! own, never held while another is taken or a waker called.

use crate::codec::ReasonCode;
use parking_lot::Mutex;
use std::sync::Arc;
use std::task::Waker;

/// Wakes one connection, and tells it to go.
#[derive(Debug, Default)]
pub struct Bell(Mutex<BellState>);

#[derive(Debug, Default)]
struct BellState {
    rung: bool,
    told_to_go: Option<ReasonCode>,
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
    pub fn tell_to_go(&self, reason: ReasonCode) {
        self.0.lock().told_to_go.get_or_insert(reason);
        self.ring();
    }

    /// Why the connection has to go, if it has been told to.
    pub fn told_to_go(&self) -> Option<ReasonCode> {
        self.0.lock().told_to_go
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
