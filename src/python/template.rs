//! The native half of `rmqtt.TopicTemplate`.

use super::options;
use crate::topic::{TopicName, TopicTemplate};
use pyo3::prelude::*;
use pyo3::types::PyDict;

/// A topic filter whose levels have names.
#[pyclass(frozen, module = "rmqtt._rmqtt")]
pub(crate) struct NativeTemplate(TopicTemplate);

#[pymethods]
impl NativeTemplate {
    #[new]
    fn new(py: Python<'_>, text: &str) -> PyResult<Self> {
        let template = TopicTemplate::new(text).map_err(|error| options::topic_error(error, py))?;
        Ok(Self(template))
    }

    #[getter]
    fn filter(&self) -> &str {
        self.0.filter().as_str()
    }

    #[getter]
    fn names(&self) -> Vec<&str> {
        self.0.names().collect()
    }

    /// What stands where the names are; `None`: the topic does not match.
    fn params<'py>(&self, py: Python<'py>, topic: &str) -> PyResult<Option<Bound<'py, PyDict>>> {
        TopicName::check(topic).map_err(|error| options::topic_error(error, py))?;
        let Some(params) = self.0.params(topic) else {
            return Ok(None);
        };
        let found = PyDict::new(py);
        for (name, value) in params {
            found.set_item(name, value)?;
        }
        Ok(Some(found))
    }
}
