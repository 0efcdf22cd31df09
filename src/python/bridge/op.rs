//! One operation: a frozen object that is an asyncio future, a coroutine and an awaitable at once.
//!
//! asyncio asks different things of each: `gather`, `wait_for` and `shield` take a future as it is, `create_task` and
//! `TaskGroup` want a coroutine, `await` wants an iterator. Being all three costs no wrapping task and no future of
//! asyncio's own. It is also the handle that tokio holds, as a [`Remote`].
//!
//! | state | set by | then |
//! |---|---|---|
//! | pending | – | |
//! | done | the network, after it has written the outcome | who waits is told by the drain |
//! | cancelled | Python | who waits is told by `call_soon`; a late outcome is dropped |
//!
//! A waiter registers itself first and sets the waiter bit second; the network sets `done` second and looks at the bit it
//! replaced: so one of the two always sees the other.

mod exceptions;
mod remote;

pub(crate) use remote::Remote;

use super::finished::thrown;
use super::port::LoopPort;
use crate::python::errors::Failure;
use crate::python::outcome::Outcome;
use crate::python::stop::{stop_iteration, stop_with};
use exceptions::{cancelled_class, invalid_state, is_entered_already};
use parking_lot::Mutex;
use pyo3::exceptions::PyRuntimeError;
use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple};
use std::future::Future;
use std::mem;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use tokio::task::AbortHandle;

const PENDING: u8 = 0;
const DONE: u8 = 1;
const CANCELLED: u8 = 2;
const STATE: u8 = 3;
const HAS_WAITER: u8 = 4;
/// What the operation asks for is on its way, and cannot be taken back.
const BEGUN: u8 = 8;

struct Callback {
    function: Py<PyAny>,
    context: Option<Py<PyAny>>,
}

/// The outcome of an operation, now or later: await it, or hand it to anything of asyncio that takes a future or a
/// coroutine.
#[pyclass(frozen, weakref, name = "Operation", module = "rmqtt._rmqtt")]
pub(crate) struct Op {
    state: AtomicU8,
    /// asyncio's own flag: set while a task is being told to wait for us.
    blocking: AtomicBool,
    /// Whether anybody has looked at the outcome.
    seen: AtomicBool,
    /// What `cancel` was given, set before the state.
    cancel_message: OnceLock<Py<PyAny>>,
    outcome: OnceLock<Outcome>,
    callbacks: Mutex<Vec<Callback>>,
    port: Py<LoopPort>,
    /// What runs for this operation alone.
    abort: OnceLock<AbortHandle>,
}

impl Op {
    /// An operation that waits for its outcome, and the end that gives it.
    pub(crate) fn new(py: Python<'_>, port: Py<LoopPort>) -> PyResult<(Py<Self>, Remote)> {
        let shared = port.get().shared();
        // Here we are attached anyway: what others of this loop have left to drop goes now.
        shared.sweep();
        let op = Py::new(
            py,
            Self {
                state: AtomicU8::new(PENDING),
                blocking: AtomicBool::new(false),
                seen: AtomicBool::new(false),
                cancel_message: OnceLock::new(),
                outcome: OnceLock::new(),
                callbacks: Mutex::default(),
                port,
                abort: OnceLock::new(),
            },
        )?;
        let remote = Remote {
            op: Some(op.clone_ref(py)),
            port: shared,
        };
        Ok((op, remote))
    }

    /// Runs a future on the network's threads; its end is the operation's. Cancelling the operation drops the future.
    pub(crate) fn spawn(
        py: Python<'_>,
        port: Py<LoopPort>,
        future: impl Future<Output = Outcome> + Send + 'static,
    ) -> PyResult<Py<Self>> {
        let runtime = super::runtime()?;
        let (op, remote) = Self::new(py, port)?;
        let task = runtime.spawn(async move { remote.complete(future.await) });
        let _ = op.get().abort.set(task.abort_handle());
        Ok(op)
    }

    /// As [`Op::new`]; when nothing else comes within `limit`, the outcome is `late`.
    pub(crate) fn with_limit(
        py: Python<'_>,
        port: Py<LoopPort>,
        limit: Duration,
        late: Outcome,
    ) -> PyResult<(Py<Self>, Remote)> {
        let runtime = super::runtime()?;
        let (op, remote) = Self::new(py, port)?;
        let clock = Remote {
            op: Some(op.clone_ref(py)),
            port: Arc::clone(&remote.port),
        };
        let task = runtime.spawn(async move {
            tokio::time::sleep(limit).await;
            clock.complete(late);
        });
        let _ = op.get().abort.set(task.abort_handle());
        Ok((op, remote))
    }

    /// As [`Op::spawn`], for what must not stop half way: cancelling the operation only stops the waiting.
    pub(crate) fn spawn_to_the_end(
        py: Python<'_>,
        port: Py<LoopPort>,
        future: impl Future<Output = Outcome> + Send + 'static,
    ) -> PyResult<Py<Self>> {
        let runtime = super::runtime()?;
        let (op, remote) = Self::new(py, port)?;
        runtime.spawn(async move { remote.complete(future.await) });
        Ok(op)
    }

    /// Nobody was given this operation: that its time limit has run out meanwhile is not to be reported.
    pub(crate) fn disregard(&self) {
        self.seen.store(true, Ordering::Relaxed);
        if let Some(abort) = self.abort.get() {
            abort.abort();
        }
    }

    fn state(&self) -> u8 {
        self.state.load(Ordering::Acquire) & STATE
    }

    /// Tells all who wait, here and now; for the drain alone, which is a callback of the loop itself: no task runs, and
    /// nothing of the program is under way. A detour by `call_soon` would cost as much again as all the rest.
    pub(super) fn resume(&self, this: &Bound<'_, Self>) -> PyResult<()> {
        let mut callbacks = mem::take(&mut *self.callbacks.lock()).into_iter();
        let py = this.py();
        while let Some(callback) = callbacks.next() {
            let Some(context) = &callback.context else {
                self.tell(this, callback)?;
                continue;
            };
            let told = context
                .bind(py)
                .call_method1(intern!(py, "run"), (callback.function.bind(py), this));
            match told {
                Ok(_) => {}
                // A nested loop, as in notebooks: whose context that is waits for its turn.
                Err(error) if is_entered_already(py, &error) => self.tell(this, callback)?,
                Err(error) => {
                    if let Err(error) = self.port.get().report(py, error) {
                        for rest in callbacks {
                            self.tell(this, rest)?;
                        }
                        return Err(error);
                    }
                }
            }
        }
        Ok(())
    }

    /// Has the loop tell all who wait.
    pub(super) fn run_callbacks(&self, this: &Bound<'_, Self>) -> PyResult<()> {
        let callbacks = mem::take(&mut *self.callbacks.lock());
        for callback in callbacks {
            self.tell(this, callback)?;
        }
        Ok(())
    }

    fn tell(
        &self,
        this: &Bound<'_, Self>,
        Callback { function, context }: Callback,
    ) -> PyResult<()> {
        let py = this.py();
        let port = self.port.get();
        let told = port.soon(py, function.bind(py), this.as_any(), context.as_ref());
        match told {
            // A closed loop resumes nobody.
            Err(error) if !port.is_closed(py)? => Err(error),
            _ => Ok(()),
        }
    }

    fn value(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        self.seen.store(true, Ordering::Relaxed);
        match self.outcome.get() {
            Some(Outcome::Failed(failure)) => Err(failure.to_py(py)),
            Some(outcome) => outcome.to_py(py),
            None => Err(PyRuntimeError::new_err("an operation without outcome")),
        }
    }

    /// The value, or `None`: whoever asked waits.
    fn step(&self, py: Python<'_>) -> PyResult<Option<Py<PyAny>>> {
        match self.state() {
            DONE => self.value(py).map(Some),
            CANCELLED => Err(self.cancelled_error(py)),
            _ => {
                self.blocking.store(true, Ordering::Relaxed);
                Ok(None)
            }
        }
    }

    fn cancelled_error(&self, py: Python<'_>) -> PyErr {
        let arguments = match self.cancel_message.get() {
            Some(message) => PyTuple::new(py, [message]),
            None => Ok(PyTuple::empty(py)),
        };
        let error = arguments.and_then(|arguments| cancelled_class(py)?.call1(arguments));
        match error {
            Ok(error) => PyErr::from_value(error),
            Err(error) => error,
        }
    }
}

#[pymethods]
impl Op {
    fn __await__(slf: PyRef<'_, Self>) -> PyRef<'_, Self> {
        slf
    }

    fn __iter__(slf: PyRef<'_, Self>) -> PyRef<'_, Self> {
        slf
    }

    fn __next__(slf: PyRef<'_, Self>) -> PyResult<Option<PyRef<'_, Self>>> {
        match slf.step(slf.py())? {
            Some(value) => stop_with(value.bind(slf.py())),
            None => Ok(Some(slf)),
        }
    }

    fn send<'py>(slf: PyRef<'py, Self>, value: &Bound<'py, PyAny>) -> PyResult<PyRef<'py, Self>> {
        let _ = value;
        match slf.step(slf.py())? {
            Some(value) => Err(stop_iteration(value.bind(slf.py()))),
            None => Ok(slf),
        }
    }

    #[pyo3(signature = (kind, value=None, traceback=None))]
    fn throw(
        slf: &Bound<'_, Self>,
        kind: &Bound<'_, PyAny>,
        value: Option<&Bound<'_, PyAny>>,
        traceback: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<()> {
        let error = thrown(kind, value, traceback);
        // A task that is cancelled before its first step throws here without having cancelled us. Any other error, such
        // as that of waiting in another loop, is the waiter's own: the operation goes on for the others.
        let py = slf.py();
        if error.is_instance(py, cancelled_class(py)?) {
            Self::cancel(slf, None)?;
        }
        Err(error)
    }

    fn close(slf: &Bound<'_, Self>) -> PyResult<()> {
        Self::cancel(slf, None).map(drop)
    }

    #[getter(_asyncio_future_blocking)]
    fn is_blocking(&self) -> bool {
        self.blocking.load(Ordering::Relaxed)
    }

    #[setter(_asyncio_future_blocking)]
    fn set_blocking(&self, blocking: bool) {
        self.blocking.store(blocking, Ordering::Relaxed);
    }

    /// `gather` looks here.
    #[getter]
    fn _cancel_message(&self, py: Python<'_>) -> Option<Py<PyAny>> {
        self.cancel_message
            .get()
            .map(|message| message.clone_ref(py))
    }

    #[getter]
    fn _loop(&self, py: Python<'_>) -> Py<PyAny> {
        self.port.get().event_loop.clone_ref(py)
    }

    fn get_loop(&self, py: Python<'_>) -> Py<PyAny> {
        self.port.get().event_loop.clone_ref(py)
    }

    #[pyo3(signature = (callback, /, *, context=None))]
    fn add_done_callback(
        slf: &Bound<'_, Self>,
        callback: Py<PyAny>,
        context: Option<Py<PyAny>>,
    ) -> PyResult<()> {
        let op = slf.get();
        op.seen.store(true, Ordering::Relaxed);
        op.callbacks.lock().push(Callback {
            function: callback,
            context,
        });
        let before = op.state.fetch_or(HAS_WAITER, Ordering::AcqRel);
        if before & STATE == PENDING {
            Ok(())
        } else {
            op.run_callbacks(slf)
        }
    }

    fn remove_done_callback(&self, callback: &Bound<'_, PyAny>) -> PyResult<usize> {
        // Comparing runs Python, so it is done outside the lock.
        let callbacks = mem::take(&mut *self.callbacks.lock());
        let mut kept = Vec::with_capacity(callbacks.len());
        let mut removed = 0;
        for entry in callbacks {
            if entry.function.bind(callback.py()).eq(callback)? {
                removed += 1;
            } else {
                kept.push(entry);
            }
        }
        let mut callbacks = self.callbacks.lock();
        kept.append(&mut callbacks);
        *callbacks = kept;
        Ok(removed)
    }

    fn done(&self) -> bool {
        self.state() != PENDING
    }

    fn cancelled(&self) -> bool {
        self.state() == CANCELLED
    }

    /// Stops waiting, and says whether there was something to stop. What is already on the wire runs its course.
    #[pyo3(signature = (msg=None))]
    fn cancel(slf: &Bound<'_, Self>, msg: Option<&Bound<'_, PyAny>>) -> PyResult<bool> {
        let op = slf.get();
        if let Some(msg) = msg
            && !msg.is_none()
            && op.state() == PENDING
        {
            // The first one counts.
            let _ = op.cancel_message.set(msg.clone().unbind());
        }
        let cancelled = op
            .state
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, |state| {
                (state & STATE == PENDING).then_some(CANCELLED | (state & !STATE))
            });
        if cancelled.is_err() {
            return Ok(false);
        }
        if let Some(abort) = op.abort.get() {
            abort.abort();
        }
        op.run_callbacks(slf)?;
        Ok(true)
    }

    fn result(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        match self.state() {
            DONE => self.value(py),
            CANCELLED => Err(self.cancelled_error(py)),
            _ => Err(invalid_state(py)),
        }
    }

    fn exception(&self, py: Python<'_>) -> PyResult<Option<Py<PyAny>>> {
        match self.state() {
            DONE => {
                self.seen.store(true, Ordering::Relaxed);
                Ok(match self.outcome.get() {
                    Some(Outcome::Failed(failure)) => {
                        Some(failure.to_py(py).into_value(py).into_any())
                    }
                    _ => None,
                })
            }
            CANCELLED => Err(self.cancelled_error(py)),
            _ => Err(invalid_state(py)),
        }
    }

    fn _make_cancelled_error(&self, py: Python<'_>) -> Py<PyAny> {
        self.cancelled_error(py).into_value(py).into_any()
    }

    /// As `rmqtt.Receipt` has it.
    #[getter(state)]
    fn stage(&self) -> &'static str {
        let state = self.state.load(Ordering::Acquire);
        match (state & STATE, state & BEGUN != 0) {
            (DONE, _) if matches!(self.outcome.get(), Some(Outcome::Failed(_))) => "failed",
            (DONE, _) => "done",
            (_, true) => "sent",
            (CANCELLED, false) => "withdrawn",
            (_, false) => "queued",
        }
    }

    fn __repr__(&self) -> &'static str {
        match self.state() {
            DONE => "<rmqtt operation, done>",
            CANCELLED => "<rmqtt operation, cancelled>",
            _ => "<rmqtt operation, pending>",
        }
    }

    /// While pending, a task that waits for us and we hold each other.
    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit.call(&self.port)?;
        if let Some(message) = self.cancel_message.get() {
            visit.call(message)?;
        }
        if let Some(callbacks) = self.callbacks.try_lock() {
            for callback in callbacks.iter() {
                visit.call(&callback.function)?;
                visit.call(&callback.context)?;
            }
        }
        Ok(())
    }

    fn __clear__(&self) {
        let callbacks = self
            .callbacks
            .try_lock()
            .map(|mut callbacks| mem::take(&mut *callbacks));
        drop(callbacks);
    }
}

impl Drop for Op {
    /// A failure that nobody looked at is reported, as asyncio does for its own.
    fn drop(&mut self) {
        let Some(Outcome::Failed(failure)) = self.outcome.get() else {
            return;
        };
        if *self.seen.get_mut()
            || *self.state.get_mut() & STATE != DONE
            || matches!(failure, Failure::Closed)
        {
            return;
        }
        // Not attached only when the interpreter is finishing; then nobody reads reports.
        Python::try_attach(|py| {
            let report = || -> PyResult<()> {
                let context = PyDict::new(py);
                context.set_item("message", "rmqtt operation failed, and nobody awaited it")?;
                context.set_item("exception", failure.to_py(py).into_value(py))?;
                self.port
                    .get()
                    .event_loop
                    .bind(py)
                    .call_method1("call_exception_handler", (context,))?;
                Ok(())
            };
            // Nothing can be raised from here.
            drop(report());
        });
    }
}
