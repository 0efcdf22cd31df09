//! The outbox: its bounds, what becomes of what finds no room, and where it is kept.

use super::{duration, out_of_range};
use crate::client::{ClientOptions, OnFull};
use crate::python::errors::Failure;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use std::path::PathBuf;

/// `rmqtt.Outbox`.
#[derive(FromPyObject)]
pub(super) struct OutboxArguments {
    max_messages: usize,
    max_bytes: usize,
    on_full: String,
    ttl: Option<f64>,
    keep_qos0: bool,
    path: Option<PathBuf>,
}

impl OutboxArguments {
    pub(super) fn read(self, options: &mut ClientOptions, py: Python<'_>) -> PyResult<()> {
        if self.max_messages == 0 {
            return Err(out_of_range("outbox.max_messages", "1 or more"));
        }
        if self.max_bytes == 0 {
            return Err(out_of_range("outbox.max_bytes", "1 or more"));
        }
        options.queue_messages_max = self.max_messages;
        options.queue_bytes_max = self.max_bytes;
        options.on_full = match self.on_full.as_str() {
            "wait" => OnFull::Wait,
            "error" => OnFull::Error,
            "drop_oldest" => OnFull::DropOldest,
            other => {
                return Err(PyValueError::new_err(format!(
                    "outbox.on_full must be 'wait', 'error' or 'drop_oldest', not {other:?}"
                )));
            }
        };
        options.outbox_ttl = match self.ttl {
            Some(seconds) if seconds > 0.0 => Some(duration("outbox.ttl", seconds)?),
            Some(_) => return Err(out_of_range("outbox.ttl", "seconds, more than 0")),
            None => None,
        };
        options.keep_qos0 = self.keep_qos0;
        options.outbox_path = self.path;
        options
            .check_store()
            .map_err(|error| Failure::from(error).to_py(py))
    }
}
