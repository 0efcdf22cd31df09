//! The side of a subscription that waits: who is to be resumed when a message comes, and when a busy reader must yield.

use super::port::{LoopPort, PortShared, Work, now};
use parking_lot::Mutex;
use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::prelude::*;
use std::mem;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Wake;
use std::time::{Duration, Instant};

/// The asyncio futures of those who wait at one stream. Its `Arc` is the waker that the network's side rings.
pub(crate) struct Waiters {
    port: Arc<PortShared>,
    /// Already on its way to the loop.
    pushed: AtomicBool,
    futures: Mutex<Vec<Py<PyAny>>>,
}

impl Waiters {
    pub(crate) fn new(port: Arc<PortShared>) -> Arc<Self> {
        Arc::new(Self {
            port,
            pushed: AtomicBool::new(false),
            futures: Mutex::default(),
        })
    }

    /// A new future to yield to the task that waits. To be called *before* looking at the queue for the last time.
    pub(crate) fn add<'py>(&self, port: &LoopPort, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let future = port.create_future.bind(py).call0()?;
        future.setattr("_asyncio_future_blocking", true)?;
        // Those that were cancelled would pile up on a stream that stays silent.
        let before = mem::take(&mut *self.futures.lock());
        let mut waiting = Vec::with_capacity(before.len() + 1);
        for other in before {
            if !other.bind(py).call_method0("done")?.is_truthy()? {
                waiting.push(other);
            }
        }
        waiting.push(future.clone().unbind());
        self.futures.lock().append(&mut waiting);
        Ok(future)
    }

    /// Forgets a future that nobody will wait for.
    pub(crate) fn remove(&self, future: &Bound<'_, PyAny>) {
        let removed = {
            let mut futures = self.futures.lock();
            futures
                .iter()
                .position(|other| other.is(future))
                .map(|at| futures.swap_remove(at))
        };
        drop(removed);
    }

    /// For the collector, by the object that owns this: a task that waits here is known by its future alone.
    pub(crate) fn traverse(&self, visit: &PyVisit<'_>) -> Result<(), PyTraverseError> {
        // Only Python's threads take this lock, and never while they run a collection.
        for future in self.futures.lock().iter() {
            visit.call(future)?;
        }
        Ok(())
    }

    /// Lets go of those who wait: nobody can reach them any more.
    pub(crate) fn clear(&self) {
        let futures = mem::take(&mut *self.futures.lock());
        drop(futures);
    }

    /// Has everybody look again; on the loop.
    pub(crate) fn resume(&self, py: Python<'_>) -> PyResult<()> {
        self.pushed.store(false, Ordering::SeqCst);
        // In a line of its own: in the head of the loop the lock would be held to its end, and every future that is
        // told may begin a collection, which comes to `traverse`.
        let waiting = mem::take(&mut *self.futures.lock());
        for future in waiting {
            let future = future.bind(py);
            if !future.call_method0("done")?.is_truthy()? {
                future.call_method1("set_result", (py.None(),))?;
            }
        }
        Ok(())
    }
}

impl Wake for Waiters {
    fn wake(self: Arc<Self>) {
        if !self.pushed.swap(true, Ordering::SeqCst) {
            let port = Arc::clone(&self.port);
            port.push(Work::Stream(self));
        }
    }
}

impl Drop for Waiters {
    /// The network may hold the last waker.
    fn drop(&mut self) {
        for future in mem::take(self.futures.get_mut()) {
            self.port.bury(future);
        }
    }
}

/// After so many messages, or so much time, without a suspension, other tasks have a turn.
const RUN_MESSAGES_MAX: u32 = 256;
const RUN_TIME_MAX: Duration = Duration::from_millis(1);

/// After so many messages the clock is looked at: it costs as much as handing out a message does.
const LOOK_EACH: u32 = 16;
/// And after each, where the program takes so long for them.
const SLOW: Duration = Duration::from_micros(200);

/// How long a reader has been going without suspending.
#[derive(Default)]
pub(crate) struct Run {
    messages: u32,
    look_at: u32,
    since: Option<Instant>,
    looked: Option<Instant>,
}

impl Run {
    /// Counts one more step; `true`: yield to the loop first.
    pub(crate) fn must_yield(&mut self) -> bool {
        if self.messages >= self.look_at {
            let now = now();
            let since = *self.since.get_or_insert(now);
            if self.messages >= RUN_MESSAGES_MAX || now - since >= RUN_TIME_MAX {
                *self = Self::default();
                return true;
            }
            let is_slow = self.looked.is_none_or(|looked| now - looked >= SLOW);
            self.looked = Some(now);
            let step = if is_slow { 1 } else { LOOK_EACH };
            self.look_at = (self.messages + step).min(RUN_MESSAGES_MAX);
        }
        self.messages += 1;
        false
    }

    /// The reader suspends by itself.
    pub(crate) fn rest(&mut self) {
        *self = Self::default();
    }
}
