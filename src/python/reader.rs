//! Taking the messages of a subscription: awaited in an event loop, or waited for where one stands.

use super::bridge::{Bell, Deadline, Run, block_on, thrown};
use super::errors::Failure;
use super::options;
use super::stop::{stop_iteration, stop_with};
use super::subscription::{Home, NativeSubscription};
use crate::client::Taken;
use parking_lot::Mutex;
use pyo3::exceptions::PyStopAsyncIteration;
use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::prelude::*;
use pyo3::types::PyList;
use std::collections::VecDeque;
use std::sync::Arc;
use std::task::Waker;

/// What a reader awaits: one object for all its messages, without a state of its own, so that cancelling loses nothing.
#[pyclass(frozen, module = "rmqtt._rmqtt")]
pub(crate) struct Reader {
    subscription: Py<NativeSubscription>,
    id: u64,
    max: Option<usize>,
    /// Whether asking says that what was handed out before is processed.
    settles: bool,
    is_loop: bool,
    /// Of the event loop, where there is one.
    waker: Option<Waker>,
    run: Mutex<Run>,
}

/// What a reader gives when it is asked for more.
enum Next {
    Value(Py<PyAny>),
    Wait(Py<PyAny>),
}

enum Step {
    Value(Py<PyAny>),
    Wait,
    Ended,
}

impl Reader {
    pub(super) fn new(
        subscription: Py<NativeSubscription>,
        id: u64,
        waker: Option<Waker>,
        max: Option<usize>,
        is_loop: bool,
    ) -> Self {
        Self {
            subscription,
            id,
            max,
            settles: true,
            is_loop,
            waker,
            run: Mutex::default(),
        }
    }

    fn look(&self, py: Python<'_>, waker: Option<&Waker>) -> PyResult<Step> {
        let subscription = self.subscription.get();
        let inbox = subscription.inbox()?;
        let taken = match self.max {
            None => match inbox.take_one(waker) {
                Ok(delivery) => {
                    let message = subscription.hand_out(py, inbox, self.id, &delivery)?;
                    return Ok(Step::Value(message.into_any()));
                }
                Err(taken) => taken,
            },
            Some(max) => {
                let mut batch = VecDeque::new();
                let taken = inbox.take(&mut batch, max, waker);
                if !batch.is_empty() {
                    let messages: PyResult<Vec<_>> = batch
                        .iter()
                        .map(|delivery| subscription.hand_out(py, inbox, self.id, delivery))
                        .collect();
                    return Ok(Step::Value(PyList::new(py, messages?)?.into_any().unbind()));
                }
                taken
            }
        };
        match taken {
            Taken::Some(_) | Taken::Waiting => Ok(Step::Wait),
            Taken::Ended => Ok(Step::Ended),
            Taken::Failed(error) => Err(Failure::from(error).to_py(py)),
        }
    }

    fn step(&self, py: Python<'_>) -> PyResult<Next> {
        let subscription = self.subscription.get();
        if self.settles {
            subscription.settle(self.id)?;
        }
        if self.run.lock().must_yield() {
            return Ok(Next::Wait(py.None()));
        }
        let step = match self.look(py, None)? {
            Step::Wait => {
                let Home { port, waiters } = subscription.home()?;
                port.get().check_here(py, "subscription")?;
                let future = waiters.add(port.get(), py)?;
                match self.look(py, self.waker.as_ref()) {
                    Ok(Step::Wait) => {
                        self.run.lock().rest();
                        return Ok(Next::Wait(future.unbind()));
                    }
                    other => {
                        waiters.remove(&future);
                        other?
                    }
                }
            }
            other => other,
        };
        match step {
            Step::Value(value) => Ok(Next::Value(value)),
            Step::Ended | Step::Wait if self.is_loop => Err(PyStopAsyncIteration::new_err(())),
            Step::Ended | Step::Wait => Err(Failure::Closed.to_py(py)),
        }
    }
}

#[pymethods]
impl Reader {
    fn __aiter__(slf: PyRef<'_, Self>) -> Cursor {
        Cursor { reader: slf.into() }
    }

    fn __await__(slf: PyRef<'_, Self>) -> PyRef<'_, Self> {
        slf
    }

    fn __iter__(slf: PyRef<'_, Self>) -> PyRef<'_, Self> {
        slf
    }

    fn __next__(&self, py: Python<'_>) -> PyResult<Option<Py<PyAny>>> {
        match self.step(py)? {
            Next::Value(value) => stop_with(value.bind(py)),
            Next::Wait(future) => Ok(Some(future)),
        }
    }

    fn send(&self, value: &Bound<'_, PyAny>) -> PyResult<Py<PyAny>> {
        let py = value.py();
        match self.step(py)? {
            Next::Value(value) => Err(stop_iteration(value.bind(py))),
            Next::Wait(future) => Ok(future),
        }
    }

    #[pyo3(signature = (kind, value=None, traceback=None))]
    #[expect(clippy::unused_self, reason = "a method of the coroutine protocol")]
    fn throw(
        &self,
        kind: &Bound<'_, PyAny>,
        value: Option<&Bound<'_, PyAny>>,
        traceback: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<()> {
        Err(thrown(kind, value, traceback))
    }

    #[expect(clippy::unused_self, reason = "a method of the coroutine protocol")]
    fn close(&self) {}

    /// The same reader, asking for so many more without being done with those before.
    fn more(&self, py: Python<'_>, max: usize) -> Self {
        Self {
            subscription: self.subscription.clone_ref(py),
            id: self.id,
            max: Some(max),
            is_loop: self.is_loop,
            settles: false,
            waker: self.waker.clone(),
            run: Mutex::default(),
        }
    }

    /// The next, waiting here and not in an event loop; `None`: nothing came in time.
    #[pyo3(signature = (timeout=None))]
    fn wait(&self, py: Python<'_>, timeout: Option<f64>) -> PyResult<Option<Py<PyAny>>> {
        if self.settles {
            self.subscription.get().settle(self.id)?;
        }
        let mut step = self.look(py, None)?;
        if matches!(step, Step::Wait) {
            let bell = Arc::new(Bell::default());
            let waker = bell.waker();
            let ends = Deadline::after(options::limit(timeout)?);
            loop {
                step = self.look(py, Some(&waker))?;
                if !matches!(step, Step::Wait) {
                    break;
                }
                if block_on(py, ends.left(), bell.rung())?.is_none() {
                    return Ok(None);
                }
            }
        }
        match step {
            Step::Value(value) => Ok(Some(value)),
            Step::Ended | Step::Wait => Err(Failure::Closed.to_py(py)),
        }
    }

    /// What is there now, without waiting.
    fn now(&self, py: Python<'_>) -> PyResult<Option<Py<PyAny>>> {
        self.subscription.get().settle(self.id)?;
        match self.look(py, None)? {
            Step::Value(value) => Ok(Some(value)),
            Step::Wait => Ok(None),
            Step::Ended => Err(Failure::Closed.to_py(py)),
        }
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit.call(&self.subscription)
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        if self.settles {
            self.subscription.get().forget_reader(self.id);
        }
    }
}

/// What `async for` steps through. Apart from the reader, so that a reader cannot be looped over by accident.
#[pyclass(frozen, module = "rmqtt._rmqtt")]
pub(crate) struct Cursor {
    reader: Py<Reader>,
}

#[pymethods]
impl Cursor {
    fn __aiter__(slf: PyRef<'_, Self>) -> PyRef<'_, Self> {
        slf
    }

    fn __anext__(&self, py: Python<'_>) -> Py<Reader> {
        self.reader.clone_ref(py)
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit.call(&self.reader)
    }
}
