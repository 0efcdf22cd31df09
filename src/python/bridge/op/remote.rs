//! The end of an operation that the network's side holds.

use super::{BEGUN, DONE, HAS_WAITER, Op, PENDING, STATE};
use crate::python::bridge::port::{PortShared, Work};
use crate::python::errors::Failure;
use crate::python::outcome::Outcome;
use pyo3::prelude::*;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// The network's end of an operation. Dropped without an outcome, it says `Closed`: every wait ends.
pub(crate) struct Remote {
    pub(super) op: Option<Py<Op>>,
    pub(super) port: Arc<PortShared>,
}

impl Remote {
    /// Gives the outcome; on any thread.
    pub(crate) fn complete(mut self, outcome: Outcome) {
        self.finish(outcome);
    }

    /// Whether nobody waits any more, cancelled or out of time, so that what is not on its way yet need not be sent.
    pub(crate) fn is_over(&self) -> bool {
        self.op
            .as_ref()
            .is_none_or(|op| op.get().state() != PENDING)
    }

    /// What was asked for is about to be on its way, unless nobody waits any more: then `false`, and it is not.
    pub(crate) fn begins(&self) -> bool {
        self.op.as_ref().is_some_and(|op| {
            let begun = op
                .get()
                .state
                .fetch_update(Ordering::AcqRel, Ordering::Acquire, |state| {
                    (state & STATE == PENDING).then_some(state | BEGUN)
                });
            begun.is_ok()
        })
    }

    fn finish(&mut self, outcome: Outcome) {
        let Some(op) = self.op.take() else {
            return;
        };
        let slot = op.get();
        // There is one other writer at most, a time limit: the first one counts.
        let _ = slot.outcome.set(outcome);
        let before = slot
            .state
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, |state| {
                (state & STATE == PENDING).then_some(DONE | (state & !STATE))
            });
        // After the state: a limit that is stopped here finds that it has nothing to say any more.
        if let Some(abort) = slot.abort.get() {
            abort.abort();
        }
        match before {
            Ok(state) if state & HAS_WAITER != 0 => self.port.push(Work::Op(op)),
            _ => self.port.bury(op.into_any()),
        }
    }
}

impl Drop for Remote {
    fn drop(&mut self) {
        self.finish(Outcome::Failed(Failure::Closed));
    }
}
