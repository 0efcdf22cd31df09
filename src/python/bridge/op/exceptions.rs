//! asyncio's exceptions, and one of the interpreter's.

use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;

pub(super) fn cancelled_class(py: Python<'_>) -> PyResult<&Bound<'_, PyAny>> {
    static CLASS: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    let class = CLASS.get_or_try_init(py, || {
        py.import("asyncio")?
            .getattr("CancelledError")
            .map(Bound::unbind)
    })?;
    Ok(class.bind(py))
}

pub(super) fn invalid_state(py: Python<'_>) -> PyErr {
    let error = py
        .import("asyncio")
        .and_then(|asyncio| asyncio.getattr("InvalidStateError"))
        .and_then(|class| class.call1(("Result is not set.",)));
    match error {
        Ok(error) => PyErr::from_value(error),
        Err(error) => error,
    }
}

/// Whether running something in a context failed because the context is in use.
pub(super) fn is_entered_already(py: Python<'_>, error: &PyErr) -> bool {
    error.is_instance_of::<PyRuntimeError>(py)
        && error
            .value(py)
            .to_string()
            .starts_with("cannot enter context")
}
