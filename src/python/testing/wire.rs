//! The native half of `rmqtt.testing.Wire`.

use crate::broker::Seams;
use crate::broker::faults::Direction;
use crate::broker::wire::WireLog;
use crate::codec::{self, PacketType};
use crate::python::bridge::{ForkSafe, Op, block_on, running_port, within};
use crate::python::codec::{version_from, version_name};
use crate::python::options::duration;
use crate::python::outcome::Outcome;
use crate::topic::TopicName;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict};
use std::sync::Arc;
use std::time::Duration;

/// The wire log of one broker.
#[pyclass(frozen, module = "rmqtt._rmqtt")]
pub(crate) struct NativeWire {
    seams: ForkSafe<Arc<Seams>>,
}

impl NativeWire {
    pub(crate) fn new(seams: Arc<Seams>) -> Self {
        Self {
            seams: ForkSafe::new(seams),
        }
    }

    fn more(&self, seen: u64, timeout: f64) -> PyResult<impl Future<Output = ()> + Send + 'static> {
        let limit: Duration = duration("timeout", timeout)?;
        let seams = Arc::clone(self.seams.get()?);
        Ok(async move {
            if let Some(wire) = &seams.wire {
                // Whether more came or time is up, the caller sees for itself.
                let _ = within(limit, wire.more_than(seen)).await;
            }
        })
    }
}

#[pymethods]
impl NativeWire {
    /// What is kept from this number on, each as the fields of `rmqtt.testing.WireLine`.
    #[pyo3(signature = (from, /))]
    fn lines<'py>(&self, py: Python<'py>, from: u64) -> PyResult<Vec<Bound<'py, PyDict>>> {
        let seams = self.seams.get()?;
        let wire = seams.wire.as_ref();
        let lines = py.detach(|| wire.map(|wire| wire.lines(from)));
        let lines = lines.unwrap_or_default().into_iter();
        lines
            .map(|line| {
                let fields = PyDict::new(py);
                fields.set_item("number", line.number)?;
                fields.set_item("time", line.time.as_secs_f64())?;
                fields.set_item("client_id", &*line.client_id)?;
                fields.set_item("connection", line.connection)?;
                let direction = match line.direction {
                    Direction::In => "in",
                    Direction::Out => "out",
                };
                fields.set_item("direction", direction)?;
                let packet = line.packet_type.map_or("", PacketType::name);
                fields.set_item("packet", packet)?;
                let topic = line.topic.as_ref().map(TopicName::as_str);
                fields.set_item("topic", topic)?;
                fields.set_item("version", version_name(line.version))?;
                fields.set_item("size", line.raw.len())?;
                fields.set_item("raw", PyBytes::new(py, &line.raw))?;
                fields.set_item("note", line.note)?;
                Ok(fields)
            })
            .collect()
    }

    /// How many were ever logged.
    #[getter]
    fn count(&self) -> PyResult<u64> {
        let wire = self.seams.get()?.wire.as_ref();
        Ok(wire.map_or(0, WireLog::count))
    }

    fn clear(&self, py: Python<'_>) -> PyResult<()> {
        let seams = self.seams.get()?;
        py.detach(|| seams.wire.as_ref().map(WireLog::clear));
        Ok(())
    }

    /// Waits here until more than `seen` were logged in all, no longer than so many seconds.
    fn wait(&self, py: Python<'_>, seen: u64, timeout: f64) -> PyResult<()> {
        let more = self.more(seen, timeout)?;
        block_on(py, None, more).map(drop)
    }

    /// As `wait`, in the event loop.
    fn wait_in_loop(&self, py: Python<'_>, seen: u64, timeout: f64) -> PyResult<Py<Op>> {
        let more = self.more(seen, timeout)?;
        Op::spawn(py, running_port(py)?, async move {
            more.await;
            Outcome::Nothing
        })
    }
}

/// A packet in half a line, without its size.
#[pyfunction]
#[pyo3(signature = (raw, version, topic))]
pub(crate) fn summary(raw: &[u8], version: &str, topic: Option<&str>) -> PyResult<String> {
    let version = version_from(version)?;
    Ok(codec::summary(raw, version, topic))
}
