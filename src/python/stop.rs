//! How an awaitable gives its value: by `StopIteration`, which the interpreter wants no object of.
//!
//! The interpreter takes the value out of what is *set* as the exception, without making one, unless the value could be
//! mistaken for the arguments of one. `PyErr` always makes one, with a tuple around the value: that costs as much as taking
//! a message and making its Python objects does. So here, and nowhere else, the exception is set by hand.

use pyo3::exceptions::{PyBaseException, PyStopIteration};
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::PyTuple;

/// For the end of a `__next__`: it is over, with this value. What comes back is to be returned as it is, at once.
#[expect(
    unsafe_code,
    reason = "there is no safe way to set an exception without making it"
)]
pub(super) fn stop_with<T>(value: &Bound<'_, PyAny>) -> PyResult<Option<T>> {
    if is_mistakable(value) {
        return Err(stop_iteration(value));
    }
    // SAFETY: both are valid objects, of which the interpreter takes references of its own, and `value` proves that we are
    // attached. Until the caller returns nothing of Python runs, so the exception is still set when `__next__` gives the
    // interpreter its null, which `None` becomes.
    unsafe { ffi::PyErr_SetObject(ffi::PyExc_StopIteration, value.as_ptr()) };
    Ok(None)
}

/// The same as an exception, for `send`.
pub(super) fn stop_iteration(value: &Bound<'_, PyAny>) -> PyErr {
    PyStopIteration::new_err((value.clone().unbind(),))
}

fn is_mistakable(value: &Bound<'_, PyAny>) -> bool {
    value.is_instance_of::<PyTuple>() || value.is_instance_of::<PyBaseException>()
}
