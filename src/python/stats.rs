//! Counters, by the field names of the classes in `rmqtt._stats`.

use crate::client::{ClientStats, InboxStats, RoundTrips};
use pyo3::prelude::*;
use pyo3::types::PyDict;
use std::time::Duration;

/// As `rmqtt.ClientStats`, with what `rmqtt.RoundTrip` takes.
pub(super) fn stats_fields<'py>(
    py: Python<'py>,
    stats: &ClientStats,
    round_trips: &RoundTrips,
) -> PyResult<Bound<'py, PyDict>> {
    let fields = PyDict::new(py);
    fields.set_item("connected", stats.connected)?;
    for (name, count) in [
        ("connects", stats.connects),
        ("reconnects", stats.connects.saturating_sub(1)),
        ("messages_sent", stats.messages_sent),
        ("messages_received", stats.messages_received),
        ("bytes_sent", stats.bytes_sent),
        ("bytes_received", stats.bytes_received),
        ("acknowledged", stats.acknowledged),
        ("dropped", stats.dropped),
        ("dropped_offline", stats.dropped_offline),
        ("dropped_full", stats.dropped_full),
        ("dropped_expired", stats.dropped_expired),
        ("dropped_refused", stats.dropped_refused),
        ("dropped_overflow", stats.dropped_overflow),
        ("dropped_unwanted", stats.dropped_unwanted),
    ] {
        fields.set_item(name, count)?;
    }
    for (name, size) in [
        ("queued_messages", stats.queued_messages),
        ("queued_bytes", stats.queued_bytes),
        ("in_flight", stats.in_flight),
        ("in_flight_high", stats.in_flight_high),
        ("outbox_messages_max", stats.outbox_messages_max),
        ("outbox_messages_high", stats.outbox_messages_high),
        ("outbox_bytes_max", stats.outbox_bytes_max),
        ("outbox_bytes_high", stats.outbox_bytes_high),
        ("restored", stats.restored),
    ] {
        fields.set_item(name, size)?;
    }
    let seconds = |percent| {
        let took = round_trips.percentile(percent);
        took.map(|took: Duration| took.as_secs_f64())
    };
    let answers = PyDict::new(py);
    answers.set_item("count", round_trips.count())?;
    answers.set_item("p50", seconds(50))?;
    answers.set_item("p99", seconds(99))?;
    answers.set_item(
        "longest",
        seconds(100).map(|_| round_trips.max().as_secs_f64()),
    )?;
    fields.set_item("round_trip", answers)?;
    Ok(fields)
}

/// As `rmqtt.SubscriptionStats`.
pub(super) fn inbox_fields<'py>(
    py: Python<'py>,
    stats: &InboxStats,
) -> PyResult<Bound<'py, PyDict>> {
    let fields = PyDict::new(py);
    fields.set_item("received", stats.received)?;
    fields.set_item("dropped", stats.dropped)?;
    for (name, size) in [
        ("pending", stats.pending),
        ("pending_high", stats.pending_high),
        ("pending_max", stats.pending_max),
        ("pending_bytes", stats.pending_bytes),
        ("pending_bytes_high", stats.pending_bytes_high),
        ("pending_bytes_max", stats.pending_bytes_max),
        ("parked", stats.parked),
    ] {
        fields.set_item(name, size)?;
    }
    Ok(fields)
}
