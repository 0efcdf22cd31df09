//! What a broker granted, by the names that Python gives it.

use super::errors::{pairs, qos as qos_member};
use crate::client::Negotiated;
use crate::codec::ProtocolVersion;
use pyo3::prelude::*;
use pyo3::types::PyDict;

/// As `Client(version=…)` writes it.
pub(crate) fn version_text(version: ProtocolVersion) -> &'static str {
    match version {
        ProtocolVersion::V3_1 => "3.1",
        ProtocolVersion::V3_1_1 => "3.1.1",
        ProtocolVersion::V5 => "5.0",
    }
}

/// What the broker granted, by the field names of `rmqtt.Negotiated`; what it left out is left out.
pub(crate) fn negotiated_fields<'py>(
    py: Python<'py>,
    negotiated: &Negotiated,
) -> PyResult<Bound<'py, PyDict>> {
    let fields = PyDict::new(py);
    fields.set_item("version", version_text(negotiated.version))?;
    fields.set_item("client_id", &negotiated.client_id)?;
    fields.set_item("session_present", negotiated.session_present)?;
    fields.set_item("keep_alive", negotiated.keep_alive)?;
    let granted = &negotiated.connack.properties;
    fields.set_item("session_expiry", granted.session_expiry_interval)?;
    if let Some(maximum) = granted.receive_maximum {
        fields.set_item("receive_maximum", maximum.get())?;
    }
    if let Some(maximum) = granted.maximum_qos {
        fields.set_item("maximum_qos", qos_member(py, maximum)?)?;
    }
    if let Some(maximum) = granted.maximum_packet_size {
        fields.set_item("maximum_packet_size", maximum.get())?;
    }
    let flags = [
        ("retain_available", granted.retain_available),
        (
            "wildcard_subscription_available",
            granted.wildcard_subscription_available,
        ),
        (
            "subscription_identifiers_available",
            granted.subscription_identifiers_available,
        ),
        (
            "shared_subscription_available",
            granted.shared_subscription_available,
        ),
    ];
    for (name, flag) in flags {
        if let Some(flag) = flag {
            fields.set_item(name, flag)?;
        }
    }
    if let Some(maximum) = granted.topic_alias_maximum {
        fields.set_item("topic_alias_maximum", maximum)?;
    }
    fields.set_item("reason_string", granted.reason_string.as_deref())?;
    fields.set_item(
        "response_information",
        granted.response_information.as_deref(),
    )?;
    fields.set_item("server_reference", granted.server_reference.as_deref())?;
    fields.set_item("user_properties", pairs(py, &granted.user_properties)?)?;
    Ok(fields)
}
