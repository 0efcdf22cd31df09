//! Waiting here and not in an event loop: for plain code, on any thread, whether a loop runs in it or not.
//!
//! The calling thread steps the future itself, so there is no task, no channel and no hop to another thread: what tokio's
//! threads do is to wake it. The interpreter's lock is let go meanwhile.

use super::port::now;
use super::rouser::rouse_all;
use super::runtime::{reply, runtime, within};
use pyo3::prelude::*;
use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Wake, Waker};
use std::time::{Duration, Instant};
use tokio::sync::Notify;

/// So long a Ctrl-C waits to be heard at most.
const SLICE: Duration = Duration::from_millis(100);

/// Waits for a future, at most for `limit`, and says what it came to; `None`: it took longer. Without an outcome, the
/// future is dropped.
///
/// # Errors
/// What a signal handler raised.
pub(crate) fn block_on<F: Future + Send>(
    py: Python<'_>,
    limit: Option<Duration>,
    future: F,
) -> PyResult<Option<F::Output>>
where
    F::Output: Send,
{
    let runtime = runtime()?;
    rouse_all();
    let mut future = pin!(future);
    let ends = Deadline::after(limit);
    loop {
        let left = ends.left();
        let slice = left.map_or(SLICE, |left| left.min(SLICE));
        let step = future.as_mut();
        let outcome = py.detach(|| runtime.block_on(within(slice, step)));
        if outcome.is_some() {
            return Ok(outcome);
        }
        py.check_signals()?;
        if left.is_some_and(|left| left <= slice) {
            return Ok(None);
        }
    }
}

/// The same for what must not stop half way: time that runs out, and Ctrl-C, only stop the waiting. Where it comes to no
/// end, this is its outcome.
pub(crate) fn block_to_the_end<T: Send + 'static>(
    py: Python<'_>,
    limit: Option<Duration>,
    future: impl Future<Output = T> + Send + 'static,
    without_end: T,
) -> PyResult<Option<T>> {
    let (answer, answered) = reply();
    runtime()?.spawn(async move { answer(future.await) });
    let outcome = block_on(py, limit, answered)?;
    Ok(outcome.map(|outcome| outcome.unwrap_or(without_end)))
}

/// The end of a wait that is taken in several steps.
pub(crate) struct Deadline(Option<Instant>);

impl Deadline {
    /// So long from now; `None`: never.
    pub(crate) fn after(limit: Option<Duration>) -> Self {
        Self(limit.map(|limit| now() + limit))
    }

    /// How long it is until then.
    pub(crate) fn left(&self) -> Option<Duration> {
        self.0.map(|ends| ends.saturating_duration_since(now()))
    }
}

/// Rung by the network's side, heard by one who waits here. A ring that comes before the wait is heard too.
#[derive(Default)]
pub(crate) struct Bell(Notify);

impl Bell {
    pub(crate) fn waker(self: &Arc<Self>) -> Waker {
        Waker::from(Arc::clone(self))
    }

    pub(crate) fn ring(&self) {
        self.0.notify_one();
    }

    pub(crate) async fn rung(&self) {
        self.0.notified().await;
    }
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.0.notify_one();
    }
}
