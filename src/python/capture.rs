//! The native half of `rmqtt.testing.Capture`.

use super::bridge::{ForkSafe, Op, block_on, running_port, within};
use super::message::PyMessage;
use super::options;
use super::outcome::Outcome;
use crate::broker::{Broker, Tap};
use crate::topic::TopicFilter;
use pyo3::prelude::*;
use std::sync::Arc;
use std::time::Duration;

/// The native half of a capture.
#[pyclass(frozen, module = "rmqtt._rmqtt")]
pub(crate) struct NativeCapture {
    tap: ForkSafe<Arc<Tap>>,
}

impl NativeCapture {
    /// Begins to catch what is published.
    pub(super) fn of(
        broker: &Broker,
        filter: &str,
        messages_max: usize,
        py: Python<'_>,
    ) -> PyResult<Self> {
        let filter = TopicFilter::new(filter).map_err(|error| options::topic_error(error, py))?;
        Ok(Self {
            tap: ForkSafe::new(broker.tap(filter.compact(), messages_max)),
        })
    }
}

#[pymethods]
impl NativeCapture {
    /// What was caught since the last time, each with the client id of its publisher.
    fn fetch(&self, py: Python<'_>) -> PyResult<Vec<(Py<PyMessage>, Option<String>)>> {
        let tap = self.tap.get()?;
        let caught = py.detach(|| tap.fetch());
        caught
            .iter()
            .map(|caught| {
                let publisher = caught.publisher.as_ref().map(ToString::to_string);
                Ok((PyMessage::kept(py, &caught.message)?, publisher))
            })
            .collect()
    }

    /// How many were dropped before they were fetched.
    #[getter]
    fn dropped(&self) -> PyResult<usize> {
        Ok(self.tap.get()?.dropped())
    }

    /// Waits here until more than `seen` were caught in all, no longer than so many seconds.
    fn wait(&self, py: Python<'_>, seen: u64, timeout: f64) -> PyResult<()> {
        let more = self.more(seen, options::duration("timeout", timeout)?)?;
        block_on(py, None, more).map(drop)
    }

    /// As `wait`, in the event loop.
    fn wait_in_loop(&self, py: Python<'_>, seen: u64, timeout: f64) -> PyResult<Py<Op>> {
        let more = self.more(seen, options::duration("timeout", timeout)?)?;
        Op::spawn(py, running_port(py)?, async move {
            more.await;
            Outcome::Nothing
        })
    }
}

impl NativeCapture {
    fn more(
        &self,
        seen: u64,
        timeout: Duration,
    ) -> PyResult<impl Future<Output = ()> + Send + 'static> {
        let mut total = self.tap.get()?.watch();
        Ok(async move {
            // Whether more came or time is up, the caller sees for itself.
            let _ = within(timeout, total.wait_for(|total| *total > seen)).await;
        })
    }
}
