//! Certificates for tests, as PEM text.

use crate::transport::{Certificates, Issued};
use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;
use pyo3::types::PyDict;

/// Makes an authority and what it issues: for each name either PEM text, or certificate and key.
#[pyfunction]
pub(crate) fn make_certificates(py: Python<'_>) -> PyResult<Bound<'_, PyDict>> {
    let made = py
        .detach(Certificates::new)
        .map_err(|error| PyRuntimeError::new_err(error.to_string()))?;
    let fields = PyDict::new(py);
    for (name, text) in [
        ("ca", &made.ca),
        ("other_ca", &made.other_ca),
        ("crl", &made.crl),
    ] {
        fields.set_item(name, text)?;
    }
    for (name, Issued { cert, key }) in [
        ("server", &made.server),
        ("client", &made.client),
        ("expired", &made.expired),
        ("wrong_host", &made.wrong_host),
        ("revoked", &made.revoked),
        ("revoked_client", &made.revoked_client),
        ("self_signed", &made.self_signed),
    ] {
        fields.set_item(name, (cert, key))?;
    }
    Ok(fields)
}
