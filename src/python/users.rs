//! What users of a broker need of the native side beside the broker: the hash of a password.

use super::errors::Failure;
use crate::broker::auth;
use pyo3::prelude::*;

/// What a password file keeps of a password. Slow on purpose.
#[pyfunction]
#[pyo3(signature = (password))]
pub(crate) fn hash_password(py: Python<'_>, password: &[u8]) -> PyResult<String> {
    py.detach(|| auth::hash_password(password))
        .map_err(|error| Failure::from(error).to_py(py))
}
