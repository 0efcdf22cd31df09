//! The native module `rmqtt._rmqtt`: the only room that knows `PyO3`.
//!
//! It is private. What users see is written in Python (`python/rmqtt/`), with its signatures and docstrings; here are the
//! hot paths and the handles. [`bridge`] is the way between tokio and asyncio, and the only file group that names tokio;
//! [`errors`] turns our errors into exceptions; [`outcome`] is what an operation can come to; the others bind one class
//! each.

mod auth;
mod backlog;
mod bridge;
mod broker;
mod capture;
mod client;
mod codec;
mod errors;
mod events;
mod hooks;
mod inquiries;
mod journal;
mod ledger;
mod many;
mod message;
mod negotiated;
mod options;
mod outcome;
mod packets;
mod payload;
mod publishing;
mod reader;
mod receipt;
mod snapshot;
mod stats;
mod stop;
mod subscription;
mod sync;
mod template;
mod testing;
mod users;

use crate::topic::{TopicFilter, TopicName};
use pyo3::prelude::*;

/// Whether a topic filter matches a topic name.
///
/// Parameters
/// ----------
/// filter
///     Topic filter, with or without wildcards. Of a shared subscription, ``$share/group/filter``, the filter counts.
/// topic
///     Topic name.
///
/// Raises
/// ------
/// `TopicError`
///     The filter is no filter, or the topic no topic name.
///
/// Examples
/// --------
/// >>> from rmqtt import topic_matches
/// >>> topic_matches("plant/+/temperature", "plant/7/temperature")
/// True
/// >>> topic_matches("#", "$SYS/uptime")
/// False
#[pyfunction]
#[pyo3(signature = (filter, topic, /))]
fn topic_matches(py: Python<'_>, filter: &str, topic: &str) -> PyResult<bool> {
    let fail = |error| options::topic_error(error, py);
    let filter = TopicFilter::new(filter).map_err(fail)?;
    let name = TopicName::new(topic).map_err(fail)?;
    let shared = filter.share().map_err(fail)?;
    let filter = shared.as_ref().map_or(&filter, |(_, filter)| filter);
    Ok(filter.matches(&name))
}

#[pymodule(gil_used = false)]
fn _rmqtt(module: &Bound<'_, PyModule>) -> PyResult<()> {
    let after_fork = wrap_pyfunction!(bridge::after_fork, module)?;
    module.add("_after_fork", after_fork)?;
    bridge::bind_module(module)?;
    module.add_function(wrap_pyfunction!(topic_matches, module)?)?;
    module.add_function(wrap_pyfunction!(users::hash_password, module)?)?;
    module.add_class::<payload::HasPayload>()?;
    module.add_class::<message::PyMessage>()?;
    module.add_class::<outcome::PublishResult>()?;
    module.add_class::<bridge::Answer>()?;
    module.add_class::<bridge::Op>()?;
    module.add_class::<bridge::Finished>()?;
    module.add_class::<client::NativeClient>()?;
    module.add_class::<many::NativeMany>()?;
    module.add_class::<subscription::NativeSubscription>()?;
    module.add_class::<sync::NativeSyncClient>()?;
    module.add_class::<receipt::NativeReceipt>()?;
    module.add_class::<reader::Reader>()?;
    module.add_class::<reader::Cursor>()?;
    module.add_class::<template::NativeTemplate>()?;
    module.add_class::<events::NativeEvents>()?;
    module.add_class::<broker::NativeBroker>()?;
    module.add_class::<journal::NativeJournal>()?;
    module.add_class::<hooks::NativeLogins>()?;
    module.add_class::<hooks::NativeVerdict>()?;
    module.add_class::<inquiries::NativeInquiries>()?;
    module.add_class::<inquiries::NativeRuling>()?;
    module.add_class::<capture::NativeCapture>()?;
    module.add_function(wrap_pyfunction!(testing::make_certificates, module)?)?;
    module.add_class::<testing::NativeClock>()?;
    module.add_class::<snapshot::NativeSnapshot>()?;
    module.add_class::<testing::NativeFaults>()?;
    module.add_class::<testing::NativeWire>()?;
    module.add_function(wrap_pyfunction!(testing::summary, module)?)?;
    module.add_class::<codec::NativeCodec>()?;
    module.add_function(wrap_pyfunction!(codec::encode, module)?)?;
    module.add_function(wrap_pyfunction!(codec::decode, module)?)?;
    module.add_function(wrap_pyfunction!(packets::packet_class, module)?)?;
    module.add_function(wrap_pyfunction!(codec::explain_packet, module)?)?;
    // PyO3 collects the names; a private module promises none.
    module.delattr("__all__")
}
