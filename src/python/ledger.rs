//! The ledger of a broker, as Python reads it.

use crate::broker::{Balance, LedgerEntry};
use pyo3::prelude::*;
use pyo3::types::PyDict;

/// Client, topic, how it ended and why; the last two are absent where it is open.
type EntryFields = (
    Option<String>,
    Option<String>,
    Option<String>,
    Option<&'static str>,
);

/// Both sides as a mapping.
pub(super) fn fields<'py>(py: Python<'py>, balance: &Balance) -> PyResult<Bound<'py, PyDict>> {
    let fields = PyDict::new(py);
    fields.set_item("routed", balance.credits.routed)?;
    fields.set_item("retained", balance.credits.retained)?;
    fields.set_item("restored", balance.credits.restored)?;
    fields.set_item("queued", balance.open)?;
    fields.set_item("difference", balance.difference())?;
    let ended: Vec<_> = balance
        .ended
        .iter()
        .map(|((client, fate, reason), count)| {
            let client = client.as_ref().map(ToString::to_string);
            (client, format!("{fate:?}").to_lowercase(), *reason, *count)
        })
        .collect();
    fields.set_item("ended", ended)?;
    fields.set_item("open", entries(&balance.waiting))?;
    fields.set_item("latest", entries(&balance.latest))?;
    Ok(fields)
}

fn entries(entries: &[LedgerEntry]) -> Vec<EntryFields> {
    entries
        .iter()
        .map(|entry| {
            (
                entry.client_id.as_ref().map(ToString::to_string),
                entry.topic.as_ref().map(ToString::to_string),
                entry
                    .fate
                    .map(|(fate, _)| format!("{fate:?}").to_lowercase()),
                entry.fate.map(|(_, reason)| reason),
            )
        })
        .collect()
}
