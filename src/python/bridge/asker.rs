//! Questions of the network's side to Python: asked in the event loop, answered from there, and never waited for by the
//! loop. A thread of tokio pushes the question into the port; the drain hands it to a *runner*, a Python object that
//! runs what it likes as a task of the loop and gives its answer through an [`Answer`].
//!
//! The runner belongs to the Python object that made the [`Asker`]: that one shows it to the collector and lets go of it,
//! so that no thread of tokio ever drops it.

use super::port::{PortShared, Work};
use bytes::Bytes;
use parking_lot::Mutex;
use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::prelude::*;
use pyo3::types::PyBytes;
use std::collections::VecDeque;
use std::mem;
use std::sync::Arc;
use tokio::sync::oneshot;

type Sender = oneshot::Sender<Result<Option<Bytes>, Raised>>;

/// What a question came to; `None` where nobody can answer it any more.
pub(crate) type Answered = Option<Result<Option<Bytes>, Raised>>;

/// Something that Python raised, on its way to the one who asked. Dropped anywhere, it is buried in its loop.
pub(crate) struct Raised {
    error: Option<Py<PyAny>>,
    port: Arc<PortShared>,
}

impl Raised {
    /// The exception itself; only where Python is attached.
    pub(crate) fn exception(&self, py: Python<'_>) -> Option<Py<PyAny>> {
        self.error.as_ref().map(|error| error.clone_ref(py))
    }
}

impl Drop for Raised {
    fn drop(&mut self) {
        if let Some(error) = self.error.take() {
            self.port.bury(error);
        }
    }
}

enum Call {
    Ask {
        what: &'static str,
        data: Option<Bytes>,
        answer: Sender,
    },
    Cancel,
}

/// What waits for the loop. Every question has a number, so that who gives up late cancels his own and not the next one.
#[derive(Default)]
struct Calls {
    queue: VecDeque<(u64, Call)>,
    /// The number of the newest question.
    asked: u64,
    /// The number of the one that the runner was asked last.
    running: u64,
}

impl Calls {
    /// Takes back a question that nobody has read, so that nothing piles up for a loop that is gone; `true`: it has been
    /// read, and what runs for it has to be cancelled.
    fn cancel(&mut self, number: u64) -> bool {
        let before = self.queue.len();
        self.queue.retain(|(of, _)| *of != number);
        let is_read = self.queue.len() == before;
        if is_read {
            self.queue.push_back((number, Call::Cancel));
        }
        is_read
    }

    /// What is to be done next. A question that was followed by another one runs no more.
    fn next(&mut self) -> Option<Call> {
        loop {
            let (number, call) = self.queue.pop_front()?;
            match call {
                Call::Ask { .. } => self.running = number,
                Call::Cancel if number != self.running => continue,
                Call::Cancel => {}
            }
            return Some(call);
        }
    }
}

/// Asks one runner, one question at a time.
pub(crate) struct Asker {
    runner: Mutex<Option<Py<PyAny>>>,
    port: Mutex<Option<Arc<PortShared>>>,
    calls: Mutex<Calls>,
}

impl Asker {
    pub(crate) fn new(runner: Py<PyAny>) -> Arc<Self> {
        Arc::new(Self {
            runner: Mutex::new(Some(runner)),
            port: Mutex::default(),
            calls: Mutex::default(),
        })
    }

    /// From here on it asks in this loop.
    pub(crate) fn bind(&self, port: Arc<PortShared>) {
        let previous = self.port.lock().replace(port);
        drop(previous);
    }

    /// Asks, and waits for the answer; on a thread of tokio. Dropping the future cancels what runs for the question.
    pub(crate) async fn ask(self: &Arc<Self>, what: &'static str, data: Option<Bytes>) -> Answered {
        let (sender, answer) = oneshot::channel();
        let ask = Call::Ask {
            what,
            data,
            answer: sender,
        };
        let mut asked = Asked {
            asker: Arc::clone(self),
            number: self.push(ask),
            is_answered: false,
        };
        let answered = answer.await.ok();
        asked.is_answered = true;
        answered
    }

    /// Its number.
    fn push(self: &Arc<Self>, ask: Call) -> u64 {
        let Some(port) = self.port.lock().clone() else {
            return 0;
        };
        let mut calls = self.calls.lock();
        calls.asked += 1;
        let number = calls.asked;
        calls.queue.push_back((number, ask));
        drop(calls);
        port.push(Work::Ask(Arc::clone(self)));
        number
    }

    fn cancel(self: &Arc<Self>, number: u64) {
        let is_read = self.calls.lock().cancel(number);
        let port = self.port.lock().clone();
        if let Some(port) = port.filter(|_| is_read) {
            port.push(Work::Ask(Arc::clone(self)));
        }
    }

    /// Hands the runner what waits for it; the drain calls this. What goes wrong is the answer.
    pub(super) fn run(&self, py: Python<'_>) -> PyResult<()> {
        loop {
            let Some(call) = self.calls.lock().next() else {
                return Ok(());
            };
            let runner = self
                .runner
                .lock()
                .as_ref()
                .map(|runner| runner.clone_ref(py));
            let (Some(runner), Some(port)) = (runner, self.port.lock().clone()) else {
                // Its owner is gone: who asked hears so.
                continue;
            };
            match call {
                Call::Cancel => drop(runner.call_method0(py, "cancel")?),
                Call::Ask { what, data, answer } => {
                    let data = data.map(|data| PyBytes::new(py, &data));
                    let answer = Answer {
                        sender: Mutex::new(Some(answer)),
                        port,
                    };
                    runner.call_method1(py, "ask", (what, data, answer))?;
                }
            }
        }
    }

    /// For the collector, by the object that owns this.
    pub(crate) fn traverse(&self, visit: &PyVisit<'_>) -> Result<(), PyTraverseError> {
        // Only Python's threads take this lock, and never while they run a collection.
        visit.call(&*self.runner.lock())
    }

    /// Lets go of the runner; only where Python is attached.
    pub(crate) fn let_go(&self) {
        let runner = self.runner.lock().take();
        drop(runner);
    }
}

/// A question that waits for its answer.
struct Asked {
    asker: Arc<Asker>,
    number: u64,
    is_answered: bool,
}

impl Drop for Asked {
    fn drop(&mut self) {
        if !self.is_answered {
            self.asker.cancel(self.number);
        }
    }
}

/// What a runner answers through. The first answer counts; without any, who asked hears that there is none.
#[pyclass(frozen, module = "rmqtt._rmqtt")]
pub(crate) struct Answer {
    sender: Mutex<Option<Sender>>,
    port: Arc<PortShared>,
}

impl Answer {
    fn send(&self, answer: Result<Option<Bytes>, Raised>) {
        let sender = mem::take(&mut *self.sender.lock());
        if let Some(sender) = sender {
            // Who asked may have gone.
            let _ = sender.send(answer);
        }
    }
}

#[pymethods]
impl Answer {
    /// The answer.
    #[pyo3(signature = (data))]
    fn give(&self, data: Option<Vec<u8>>) {
        self.send(Ok(data.map(Bytes::from)));
    }

    /// There is none: this went wrong.
    fn fail(&self, error: Py<PyAny>) {
        self.send(Err(Raised {
            error: Some(error),
            port: Arc::clone(&self.port),
        }));
    }
}
