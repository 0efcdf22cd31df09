//! Arguments that arrive in a mapping: what is wrong with one is said by the name that the caller knows it by.

use pyo3::exceptions::{PyOverflowError, PyTypeError, PyValueError};
use pyo3::prelude::*;

/// What was given, read.
pub(crate) struct Given<T>(pub(crate) T);

impl<'a, 'py, T: FromPyObject<'a, 'py>> FromPyObject<'a, 'py> for Given<T> {
    type Error = PyErr;

    fn extract(object: Borrowed<'a, 'py, PyAny>) -> PyResult<Self> {
        T::extract(object)
            .map(Self)
            .map_err(|error| named(object.py(), error.into()))
    }
}

/// PyO3 names our structures, and puts what is wrong behind that, as the cause.
fn named(py: Python<'_>, error: PyErr) -> PyErr {
    let mut error = error;
    let mut path = Vec::new();
    while let Some(field) = field(&error.value(py).to_string())
        && let Some(cause) = error.cause(py)
    {
        path.push(field);
        error = cause;
    }
    if path.is_empty() {
        return error;
    }
    let name = path.join(".");
    if error.is_instance_of::<PyOverflowError>(py) {
        return PyValueError::new_err(format!(
            "{name} is out of its range: less than 0, or too large"
        ));
    }
    PyTypeError::new_err(format!("{name}: {}", error.value(py)))
}

fn field(text: &str) -> Option<String> {
    let path = text.strip_prefix("failed to extract field ")?;
    Some(path.rsplit_once('.')?.1.to_owned())
}
