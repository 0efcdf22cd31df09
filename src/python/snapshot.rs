//! The native half of `rmqtt.testing.Snapshot`.

use super::bridge::ForkSafe;
use crate::broker::Snapshot;
use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;
use std::sync::Arc;

/// The whole state of a broker at one moment.
#[pyclass(frozen, module = "rmqtt._rmqtt")]
pub(crate) struct NativeSnapshot {
    snapshot: ForkSafe<Arc<Snapshot>>,
}

impl NativeSnapshot {
    /// `None`: it was not taken.
    pub(super) fn of(snapshot: Option<Arc<Snapshot>>) -> PyResult<Self> {
        let snapshot =
            snapshot.ok_or_else(|| PyRuntimeError::new_err("the operation was dropped"))?;
        Ok(Self {
            snapshot: ForkSafe::new(snapshot),
        })
    }

    pub(super) fn get(&self) -> PyResult<Arc<Snapshot>> {
        self.snapshot.get().cloned()
    }
}

#[pymethods]
impl NativeSnapshot {
    #[getter]
    fn sessions(&self) -> PyResult<usize> {
        Ok(self.get()?.sessions())
    }

    #[getter]
    fn subscriptions(&self) -> PyResult<usize> {
        Ok(self.get()?.subscriptions())
    }

    #[getter]
    fn retained_messages(&self) -> PyResult<usize> {
        Ok(self.get()?.retained_messages())
    }

    #[getter]
    fn queued_messages(&self) -> PyResult<usize> {
        Ok(self.get()?.queued_messages())
    }
}
