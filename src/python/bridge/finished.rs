//! What is over before it is returned, and how an awaitable raises what it is told to raise.

use crate::python::stop::{stop_iteration, stop_with};
use pyo3::exceptions::{PyBaseException, PyTypeError};
use pyo3::prelude::*;
use pyo3::types::PyType;

/// An operation that is over before it is returned: QoS 0 in the queue. One object for all of them.
#[pyclass(frozen, module = "rmqtt._rmqtt")]
pub(crate) struct Finished {
    value: Py<PyAny>,
}

impl Finished {
    pub(crate) fn new(value: Py<PyAny>) -> Self {
        Self { value }
    }
}

#[pymethods]
#[expect(
    clippy::unused_self,
    reason = "methods of the coroutine and future protocols"
)]
impl Finished {
    fn __await__(slf: PyRef<'_, Self>) -> PyRef<'_, Self> {
        slf
    }

    fn __iter__(slf: PyRef<'_, Self>) -> PyRef<'_, Self> {
        slf
    }

    fn __next__(&self, py: Python<'_>) -> PyResult<Option<Py<PyAny>>> {
        stop_with(self.value.bind(py))
    }

    fn send(&self, value: &Bound<'_, PyAny>) -> PyResult<Py<PyAny>> {
        Err(stop_iteration(self.value.bind(value.py())))
    }

    #[pyo3(signature = (kind, value=None, traceback=None))]
    fn throw(
        &self,
        kind: &Bound<'_, PyAny>,
        value: Option<&Bound<'_, PyAny>>,
        traceback: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<()> {
        Err(thrown(kind, value, traceback))
    }

    fn close(&self) {}

    fn done(&self) -> bool {
        true
    }

    fn cancelled(&self) -> bool {
        false
    }

    #[pyo3(signature = (msg=None))]
    fn cancel(&self, msg: Option<&Bound<'_, PyAny>>) -> bool {
        let _ = msg;
        false
    }

    fn result(&self, py: Python<'_>) -> Py<PyAny> {
        self.value.clone_ref(py)
    }

    fn exception(&self) -> Option<Py<PyAny>> {
        None
    }

    /// As `rmqtt.Receipt` has it.
    #[getter]
    fn state(&self) -> &'static str {
        "done"
    }

    fn __repr__(&self) -> &'static str {
        "<rmqtt operation, done>"
    }
}

/// The exception that `throw` was given, in either of its two forms.
pub(crate) fn thrown(
    kind: &Bound<'_, PyAny>,
    value: Option<&Bound<'_, PyAny>>,
    traceback: Option<&Bound<'_, PyAny>>,
) -> PyErr {
    let build = || -> PyResult<Bound<'_, PyAny>> {
        let error = match value {
            Some(value) if !value.is_none() => value.clone(),
            _ if kind.is_instance_of::<PyType>() => kind.call0()?,
            _ => kind.clone(),
        };
        if let Some(traceback) = traceback
            && !traceback.is_none()
        {
            error.call_method1("with_traceback", (traceback,))?;
        }
        Ok(error)
    };
    match build() {
        Ok(error) if error.is_instance_of::<PyBaseException>() => PyErr::from_value(error),
        Ok(_) => PyTypeError::new_err("exceptions must derive from BaseException"),
        Err(error) => error,
    }
}
