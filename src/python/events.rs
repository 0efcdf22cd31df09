//! What happens to a client's connection, as a stream for Python.

use super::bridge::{EventQueue, LoopPort, Op, block_on, running_port};
use super::options;
use super::outcome::Outcome;
use crate::client::{Client, Event};
use pyo3::prelude::*;
use std::sync::Arc;

/// The native half of `Client.events`.
#[pyclass(frozen, module = "rmqtt._rmqtt")]
pub(crate) struct NativeEvents {
    queue: Arc<EventQueue<Event>>,
    port: Option<Py<LoopPort>>,
}

impl NativeEvents {
    pub(crate) fn new(client: &Client, port: Option<Py<LoopPort>>) -> Self {
        Self {
            queue: Arc::new(EventQueue::new(client.events())),
            port,
        }
    }
}

#[pymethods]
impl NativeEvents {
    /// The next event, as a kind and its fields; `None` behind the last.
    fn next(&self, py: Python<'_>) -> PyResult<Py<Op>> {
        let queue = Arc::clone(&self.queue);
        let port = match &self.port {
            Some(port) => {
                port.get().check_here(py, "client")?;
                port.clone_ref(py)
            }
            None => running_port(py)?,
        };
        Op::spawn(py, port, async move {
            queue
                .next()
                .await
                .map_or(Outcome::Nothing, |event| Outcome::Event(Box::new(event)))
        })
    }

    /// The same, waiting here; `None` also when nothing happens for so long.
    #[pyo3(signature = (timeout=None))]
    fn wait(&self, py: Python<'_>, timeout: Option<f64>) -> PyResult<Option<Py<PyAny>>> {
        let event = block_on(py, options::limit(timeout)?, self.queue.next())?.flatten();
        event
            .map(|event| Outcome::Event(Box::new(event)).to_py(py))
            .transpose()
    }
}
