//! When the network's side is woken for what was put in: at once after a pause, else once for each turn of the event loop.
//!
//! Waking a thread costs more than sending a message does. So the first of many messages wakes it, and those that come
//! while that is fresh wait for the end of the turn, or until there are enough for a write; the client counts those. Whoever
//! blocks the loop in the middle of a turn has to see to them first: [`rouse_all`].

use super::port::{LoopPort, now};
use parking_lot::Mutex;
use pyo3::prelude::*;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

/// A message that comes later than this after the last one that woke is not one of many.
const FRESH: Duration = Duration::from_micros(30);

/// Wakes the network's side of one client.
type Wake = Arc<dyn Fn() + Send + Sync>;

/// Those whose messages wait for the end of a turn, by the place of their rouser. The lock is taken by Python's threads only.
static LATE: Mutex<Vec<(usize, Wake)>> = Mutex::new(Vec::new());

/// Wakes for all that waits for the end of a turn: that may be far, since the caller is about to block.
pub(crate) fn rouse_all() {
    let late = LATE.lock().clone();
    for (_, wake) in late {
        wake();
    }
}

/// Decides it for one client.
#[derive(Default)]
pub(crate) struct Rouser {
    began: OnceLock<Instant>,
    /// Nanoseconds since then.
    last: AtomicU64,
    /// The loop will call back at the end of its turn.
    is_called: AtomicBool,
}

impl Rouser {
    /// Whether to wake now. If not, the loop, in whose thread this must be, calls `flush`, which calls [`Rouser::called`].
    pub(crate) fn is_time<'py>(
        &self,
        port: &LoopPort,
        py: Python<'py>,
        flush: impl FnOnce() -> PyResult<Bound<'py, PyAny>>,
        wake: impl Fn() + Send + Sync + 'static,
    ) -> bool {
        if self.is_called.load(Ordering::Relaxed) {
            return false;
        }
        let began = *self.began.get_or_init(now);
        let at = u64::try_from((now() - began).as_nanos()).unwrap_or(u64::MAX);
        let fresh = u64::try_from(FRESH.as_nanos()).unwrap_or(u64::MAX);
        if at.saturating_sub(self.last.load(Ordering::Relaxed)) < fresh {
            // First called, then marked: a loop that refuses must not leave the mark behind.
            let called = flush().and_then(|flush| port.call_soon.bind(py).call1((flush,)));
            if called.is_ok() {
                self.is_called.store(true, Ordering::Relaxed);
                LATE.lock().push((self.place(), Arc::new(wake)));
                return false;
            }
        }
        self.last.store(at, Ordering::Relaxed);
        true
    }

    /// The loop has called back.
    pub(crate) fn called(&self) {
        self.is_called.store(false, Ordering::Relaxed);
        self.forget();
    }

    fn place(&self) -> usize {
        std::ptr::from_ref(self).addr()
    }

    fn forget(&self) {
        let place = self.place();
        LATE.lock().retain(|(other, _)| *other != place);
    }
}

impl Drop for Rouser {
    /// A loop that was closed has not called back.
    fn drop(&mut self) {
        if self.is_called.load(Ordering::Relaxed) {
            self.forget();
        }
    }
}
