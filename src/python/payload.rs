//! Payloads across the border: anything bytes-like in, the buffer protocol out. One of the two files that say `unsafe`.

use bytes::Bytes;
use pyo3::exceptions::{PyBufferError, PyTypeError};
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::{PyByteArray, PyBytes, PyMemoryView, PyString};
use std::os::raw::c_int;

/// What a caller gave as payload.
pub(crate) struct Given {
    pub(crate) bytes: Bytes,
    /// It was `str`, and so is known to be UTF-8.
    pub(crate) is_text: bool,
}

/// Copies a payload out of Python: `bytes`, `str`, or anything with the buffer protocol, as its C-order bytes.
///
/// # Errors
/// `TypeError` that says what to write instead.
pub(crate) fn take(payload: &Bound<'_, PyAny>) -> PyResult<Given> {
    if let Ok(bytes) = payload.cast::<PyBytes>() {
        return Ok(raw(Bytes::copy_from_slice(bytes.as_bytes())));
    }
    if let Ok(text) = payload.cast::<PyString>() {
        return Ok(Given {
            bytes: Bytes::copy_from_slice(text.to_cow()?.as_bytes()),
            is_text: true,
        });
    }
    if let Ok(bytes) = payload.cast::<PyByteArray>() {
        return Ok(raw(bytes.to_vec().into()));
    }
    let Ok(view) = PyMemoryView::from(payload) else {
        return Err(refusal(payload)?);
    };
    let bytes = view.call_method0("tobytes")?;
    Ok(raw(Bytes::copy_from_slice(
        bytes.cast::<PyBytes>()?.as_bytes(),
    )))
}

fn raw(bytes: Bytes) -> Given {
    Given {
        bytes,
        is_text: false,
    }
}

fn refusal(payload: &Bound<'_, PyAny>) -> PyResult<PyErr> {
    let kind = payload.get_type().name()?.to_string();
    let advice = match kind.as_str() {
        "NoneType" => "for an empty payload pass b\"\" or leave it out",
        "int" | "float" | "bool" | "Decimal" => {
            "pass str(value) for text, or struct.pack(...) for binary"
        }
        "dict" | "list" | "tuple" => "pass json.dumps(value), or another encoding of it",
        _ => "encode it first",
    };
    Ok(PyTypeError::new_err(format!(
        "payload must be bytes-like or str, not {kind}: {advice}"
    )))
}

/// What has a payload of bytes, and lends it by the buffer protocol.
#[pyclass(frozen, subclass, module = "rmqtt._rmqtt")]
pub(crate) struct HasPayload {
    payload: Py<PyBytes>,
}

impl HasPayload {
    pub(crate) fn new(payload: Py<PyBytes>) -> Self {
        Self { payload }
    }

    pub(crate) fn bytes<'py>(&self, py: Python<'py>) -> &Bound<'py, PyBytes> {
        self.payload.bind(py)
    }
}

#[pymethods]
#[expect(
    unsafe_code,
    reason = "the buffer protocol is a pair of C functions; it is confined to this file"
)]
impl HasPayload {
    /// The bytes that were received.
    #[getter]
    fn payload(&self, py: Python<'_>) -> Py<PyBytes> {
        self.payload.clone_ref(py)
    }

    #[expect(
        clippy::needless_pass_by_value,
        reason = "PyO3 extracts arguments by value"
    )]
    unsafe fn __getbuffer__(
        slf: Bound<'_, Self>,
        view: *mut ffi::Py_buffer,
        flags: c_int,
    ) -> PyResult<()> {
        if view.is_null() {
            return Err(PyBufferError::new_err("no view to fill"));
        }
        // SAFETY: `view` is not null, and by the protocol points to a `Py_buffer` for us to fill. The bytes object fills
        // it with a view of itself, of which it keeps a reference, and is asked by the interpreter to release it; so
        // nothing here must outlive this call.
        let filled = unsafe { ffi::PyObject_GetBuffer(slf.get().payload.as_ptr(), view, flags) };
        if filled == 0 {
            Ok(())
        } else {
            Err(PyErr::fetch(slf.py()))
        }
    }
}
