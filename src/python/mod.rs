//! The native module `rmqtt._rmqtt`: the only room that knows PyO3.

use pyo3::prelude::*;

#[pymodule(gil_used = false)]
fn _rmqtt(module: &Bound<'_, PyModule>) -> PyResult<()> {
    let _ = module;
    Ok(())
}
