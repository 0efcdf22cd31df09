//! The tokio runtime of the process, and what a fork does to it.
//!
//! A forked child has one thread: the parent's workers are not in it, and a lock that one of them held is held for ever.
//! So the child begins a new *generation*: it takes no lock of the old one and drops nothing of it (a drop could take a
//! lock, or say goodbye on the parent's sockets). Objects of an older generation refuse to work.

use super::port::now;
use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;
use std::future::Future;
use std::mem;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::runtime::Runtime;
use tokio::sync::{broadcast, oneshot};
use tokio::task::AbortHandle;

/// What one generation owns; made when first needed, never dropped.
struct Generation {
    runtime: OnceLock<Result<Runtime, String>>,
    next: OnceLock<Box<Generation>>,
}

impl Generation {
    const fn new() -> Self {
        Self {
            runtime: OnceLock::new(),
            next: OnceLock::new(),
        }
    }
}

static FIRST: Generation = Generation::new();
static GENERATION: AtomicUsize = AtomicUsize::new(0);

/// How many forks lie between the first process and this one.
pub(super) fn generation() -> usize {
    GENERATION.load(Ordering::Relaxed)
}

/// Begins a new generation; called in a forked child, by its only thread.
#[pyfunction]
pub(crate) fn after_fork() {
    GENERATION.fetch_add(1, Ordering::Relaxed);
}

/// The runtime, made on first use.
///
/// # Errors
/// The system has no more threads to give.
pub(crate) fn runtime() -> PyResult<&'static Runtime> {
    let mut generation = &FIRST;
    for _ in 0..self::generation() {
        generation = generation.next.get_or_init(|| Box::new(Generation::new()));
    }
    generation
        .runtime
        .get_or_init(|| build().map_err(|error| error.to_string()))
        .as_ref()
        .map_err(|error| PyRuntimeError::new_err(format!("no threads for the network: {error}")))
}

fn build() -> std::io::Result<Runtime> {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(cores.min(4))
        .thread_name("rmqtt-io")
        .on_thread_start(block_signals)
        .enable_all()
        .build()
}

/// Signals belong to Python's threads: a Ctrl-C that landed here would interrupt nobody.
fn block_signals() {
    #[cfg(unix)]
    {
        // It fails only for a mask that is none.
        let _ = nix::sys::signal::SigSet::all().thread_block();
    }
}

/// Runs what blocks on a thread that is not the network's; `None` if the runtime ends first.
pub(crate) async fn on_a_thread<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Option<T> {
    tokio::task::spawn_blocking(work).await.ok()
}

/// A task that ends when this is dropped.
pub(crate) struct Running(AbortHandle);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Runs a future on the network's threads until it ends or nobody holds it.
///
/// # Errors
/// The system has no more threads to give.
pub(crate) fn spawn(future: impl Future<Output = ()> + Send + 'static) -> PyResult<Running> {
    Ok(Running(runtime()?.spawn(future).abort_handle()))
}

/// Waits for a future, but not longer than this.
pub(crate) async fn within<T>(limit: Duration, future: impl Future<Output = T>) -> Option<T> {
    tokio::time::timeout(limit, future).await.ok()
}

/// Waits for a future, but not longer than this, and says how much of the time is left.
pub(crate) async fn rest_of(limit: Duration, future: impl Future<Output = ()>) -> Duration {
    let began = now();
    match within(limit, future).await {
        Some(()) => limit.saturating_sub(now().saturating_duration_since(began)),
        None => Duration::ZERO,
    }
}

/// A function that sends one answer, and the future that receives it; `None` if it is never sent.
pub(crate) fn reply<T>() -> (
    impl FnOnce(T) + Send + 'static,
    impl Future<Output = Option<T>> + Send + 'static,
)
where
    T: Send + 'static,
{
    let (sender, receiver) = oneshot::channel();
    let answer = move |value| {
        // Nobody listens any more after a time-out.
        let _ = sender.send(value);
    };
    (answer, async move { receiver.await.ok() })
}

/// A stream of events of which the oldest are lost when nobody reads.
pub(crate) struct EventQueue<T> {
    receiver: tokio::sync::Mutex<broadcast::Receiver<T>>,
}

impl<T: Clone> EventQueue<T> {
    pub(crate) fn new(receiver: broadcast::Receiver<T>) -> Self {
        Self {
            receiver: tokio::sync::Mutex::new(receiver),
        }
    }

    /// The next event; `None` behind the last. Cancelling the wait loses none.
    pub(crate) async fn next(&self) -> Option<T> {
        let mut receiver = self.receiver.lock().await;
        loop {
            match receiver.recv().await {
                Ok(event) => return Some(event),
                Err(broadcast::error::RecvError::Lagged(_)) => {}
                Err(broadcast::error::RecvError::Closed) => return None,
            }
        }
    }
}

/// Something of the network's side that a Python object owns: refused and leaked in a forked child.
pub(crate) struct ForkSafe<T> {
    value: Option<T>,
    generation: usize,
}

impl<T> ForkSafe<T> {
    pub(crate) fn new(value: T) -> Self {
        Self {
            value: Some(value),
            generation: generation(),
        }
    }

    /// The thing, unless this is a child of the process that made it.
    ///
    /// # Errors
    /// `RuntimeError` with advice.
    pub(crate) fn get(&self) -> PyResult<&T> {
        self.if_ours().ok_or_else(|| {
            PyRuntimeError::new_err(
                "made before a fork: its connections belong to the parent process; \
                 make a new one in the child, or start children with 'spawn'",
            )
        })
    }

    /// The thing, if it is of this process.
    pub(crate) fn if_ours(&self) -> Option<&T> {
        self.value
            .as_ref()
            .filter(|_| self.generation == generation())
    }
}

impl<T> Drop for ForkSafe<T> {
    fn drop(&mut self) {
        if self.generation != generation() {
            mem::forget(self.value.take());
        }
    }
}
