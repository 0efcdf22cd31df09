//! The one match from our errors to Python's exceptions, and the one place that knows where Python's names live.
//!
//! On the network's side an error is a [`Failure`], plain data; it becomes an exception on a thread that is attached. The
//! tree of exceptions is drawn in `python/rmqtt/exceptions.py`.

use super::bridge::Raised;
use crate::broker::BrokerError;
use crate::client::ClientError;
use crate::client::auth::AuthFailure;
use crate::codec::{AckProperties, DecodeError, Disconnect, ReasonCode};
use crate::message::{QoS, UserProperty};
use crate::topic::TopicError;
use crate::transport::{AddressError, TlsError};
use pyo3::exceptions::{PyOSError, PyValueError};
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyDict, PyTuple};
use std::time::Duration;

/// Why an operation failed, before it is an exception.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Failure {
    /// The client's room says so.
    Client(ClientError),
    /// The broker's room says so.
    Broker(BrokerError),
    /// Not a topic.
    Topic(TopicError),
    /// Bytes that were given to the codec are no packet, or one that is not allowed.
    Packet(DecodeError),
    /// The caller's own limit.
    TimedOut {
        /// What took too long.
        what: &'static str,
        /// The limit, as the caller wrote it.
        limit: String,
    },
    /// A manual clock waited for rest, and none came.
    Restless(String),
    /// More publishes wait for room than may.
    BacklogFull,
    /// The outbound queue has no room, and nobody waits for it.
    OutboxFull,
    /// A clean close could not wait any longer for this message.
    Undelivered,
    /// Closed on purpose, by this program.
    Closed,
}

impl From<ClientError> for Failure {
    fn from(error: ClientError) -> Self {
        match error {
            ClientError::Closed => Self::Closed,
            other => Self::Client(other),
        }
    }
}

impl From<BrokerError> for Failure {
    fn from(error: BrokerError) -> Self {
        Self::Broker(error)
    }
}

impl From<TopicError> for Failure {
    fn from(error: TopicError) -> Self {
        Self::Topic(error)
    }
}

impl Failure {
    /// Something took longer than its caller would wait.
    pub(crate) fn timed_out(what: &'static str, limit: Option<Duration>) -> Self {
        let limit = limit.unwrap_or_default().as_secs_f64().to_string();
        Self::TimedOut { what, limit }
    }

    /// As an exception.
    pub(crate) fn to_py(&self, py: Python<'_>) -> PyErr {
        self.build(py).map_or_else(|error| error, PyErr::from_value)
    }

    /// As an exception, when it is not needed any more.
    pub(crate) fn into_py(self, py: Python<'_>) -> PyErr {
        self.to_py(py)
    }

    fn build<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let fields = PyDict::new(py);
        match self {
            Self::Client(error) => client_error(py, error, &fields),
            Self::Broker(error) => broker_error(py, error, &fields),
            Self::Topic(error) => exception(py, "TopicError", &error.to_string(), &fields),
            Self::Packet(error) => {
                set_reason(&fields, error.reason(), None)?;
                let name = match error {
                    DecodeError::Malformed { .. } => "MalformedPacket",
                    _ => "ProtocolError",
                };
                exception(py, name, &error.to_string(), &fields)
            }
            Self::TimedOut { what, limit } => {
                let message = format!("{what} took longer than {limit} s");
                exception(py, "MqttTimeout", &message, &fields)
            }
            Self::Restless(message) => exception(py, "MqttTimeout", message, &fields),
            Self::BacklogFull => exception(
                py,
                "QueueFull",
                "too many publishes wait for room in the outbound queue: await them as you go",
                &fields,
            ),
            Self::OutboxFull => exception(
                py,
                "QueueFull",
                "the outbox has no room for this message: await publish(), which waits for room, or drop it",
                &fields,
            ),
            Self::Undelivered => exception(
                py,
                "Closed",
                "the client was closed before this message was delivered: \
                 await it, or client.drain(), or give close() more time",
                &fields,
            ),
            Self::Closed => exception(
                py,
                "Closed",
                "closed: what was closed cannot be opened again, make a new one",
                &fields,
            ),
        }
    }
}

fn client_error<'py>(
    py: Python<'py>,
    error: &ClientError,
    fields: &Bound<'py, PyDict>,
) -> PyResult<Bound<'py, PyAny>> {
    let mut message = error.to_string();
    let name = match error {
        ClientError::ConnectFailed { address, .. } => {
            fields.set_item("endpoint", address)?;
            "ConnectFailed"
        }
        ClientError::NoneConnected { failures } => {
            set_failures(fields, failures)?;
            "ConnectFailed"
        }
        ClientError::ConnectRefused { .. } => {
            set_refusal(fields, error)?;
            "ConnectRefused"
        }
        ClientError::Authentication(failure) => match raised(py, failure) {
            Some(error) => return Ok(error),
            None => "AuthenticationFailed",
        },
        ClientError::ServerDisconnected(packet) => {
            set_farewell(fields, packet)?;
            "ServerDisconnected"
        }
        ClientError::Protocol { reason, .. } => {
            set_reason(fields, *reason, None)?;
            if *reason == ReasonCode::MalformedPacket {
                "MalformedPacket"
            } else {
                "ProtocolError"
            }
        }
        ClientError::PublishRefused { reason, properties } => {
            set_reason(fields, *reason, None)?;
            set_answer(fields, properties.as_deref())?;
            "PublishRefused"
        }
        ClientError::SubscribeRefused {
            results,
            properties,
        }
        | ClientError::UnsubscribeRefused {
            results,
            properties,
        } => {
            set_results(fields, results, properties.as_deref())?;
            match error {
                ClientError::SubscribeRefused { .. } => "SubscribeRefused",
                _ => "UnsubscribeRefused",
            }
        }
        ClientError::RequestFailed { reason, .. } => {
            if let Some(reason) = reason {
                set_reason(fields, *reason, None)?;
            }
            "RequestFailed"
        }
        ClientError::Misuse(text) => return Ok(misuse(py, text)),
        ClientError::NotConnected => {
            message.push_str(": use `async with client`, or `await client.connect()` first");
            "NotConnected"
        }
        plain => name_of(plain),
    };
    exception(py, name, &message, fields)
}

/// The class of an error that says nothing beside its text.
fn name_of(error: &ClientError) -> &'static str {
    match error {
        ClientError::TimedOut { .. } => "MqttTimeout",
        ClientError::ConnectionLost { .. } => "ConnectionLost",
        ClientError::SessionLost => "SessionLost",
        ClientError::QueueFull | ClientError::OutboxFull => "QueueFull",
        ClientError::Dropped => "MessageDropped",
        ClientError::Expired => "MessageExpired",
        ClientError::PacketTooLarge { .. } => "PacketTooLarge",
        ClientError::NotSupportedByBroker(_) => "NotSupportedByBroker",
        ClientError::Storage(_) => "StorageError",
        ClientError::Closed => "Closed",
        _ => "MqttError",
    }
}

/// What went wrong at each of several addresses.
fn set_failures(fields: &Bound<'_, PyDict>, failures: &[(String, ClientError)]) -> PyResult<()> {
    let py = fields.py();
    let each = PyDict::new(py);
    for (address, failure) in failures {
        each.set_item(address, client_error(py, failure, &PyDict::new(py))?)?;
    }
    let is_over = failures.iter().all(|(_, failure)| failure.is_terminal());
    let tried: Vec<&str> = failures.iter().map(|(tried, _)| tried.as_str()).collect();
    fields.set_item("retryable", !is_over)?;
    fields.set_item("endpoint", tried.join(", "))?;
    fields.set_item("failures", each)
}

/// What the broker said in a CONNACK that refuses.
fn set_refusal(fields: &Bound<'_, PyDict>, error: &ClientError) -> PyResult<()> {
    let ClientError::ConnectRefused {
        reason,
        reason_string,
        server_reference,
        user_properties,
    } = error
    else {
        return Ok(());
    };
    set_reason(fields, *reason, reason_string.as_deref())?;
    fields.set_item("user_properties", pairs(fields.py(), user_properties)?)?;
    fields.set_item("terminal", error.is_terminal())?;
    fields.set_item("server_reference", server_reference.as_deref())
}

/// What a broker said with its DISCONNECT.
fn set_farewell(fields: &Bound<'_, PyDict>, packet: &Disconnect) -> PyResult<()> {
    set_reason(fields, packet.reason, packet.reason_string.as_deref())?;
    fields.set_item(
        "user_properties",
        pairs(fields.py(), &packet.user_properties)?,
    )?;
    fields.set_item("server_reference", packet.server_reference.as_deref())
}

/// The caller asked for what cannot be.
fn misuse<'py>(py: Python<'py>, text: &str) -> Bound<'py, PyAny> {
    PyValueError::new_err(text.to_owned())
        .into_value(py)
        .into_bound(py)
        .into_any()
}

/// What a mechanism written in Python raised.
fn raised<'py>(py: Python<'py>, failure: &AuthFailure) -> Option<Bound<'py, PyAny>> {
    let raised: &Raised = failure.cause.as_ref()?.downcast_ref()?;
    Some(raised.exception(py)?.into_bound(py))
}

fn broker_error<'py>(
    py: Python<'py>,
    error: &BrokerError,
    fields: &Bound<'py, PyDict>,
) -> PyResult<Bound<'py, PyAny>> {
    let message = error.to_string();
    let name = match error {
        BrokerError::Bind {
            address, os_code, ..
        } => {
            fields.set_item("errno", *os_code)?;
            fields.set_item("address", address)?;
            "BindError"
        }
        BrokerError::Options(text) => return Ok(misuse(py, text)),
        BrokerError::Tls(error) => {
            return Ok(tls_error(py, error)
                .into_value(py)
                .into_bound(py)
                .into_any());
        }
        BrokerError::AlreadyRunning | BrokerError::NotRunning | BrokerError::RetainUnavailable => {
            "BrokerError"
        }
        BrokerError::RetainedFull { .. } => "StorageError",
    };
    exception(py, name, &message, fields)
}

fn exception<'py>(
    py: Python<'py>,
    name: &str,
    message: &str,
    fields: &Bound<'py, PyDict>,
) -> PyResult<Bound<'py, PyAny>> {
    py.import("rmqtt.exceptions")?
        .getattr(name)?
        .call((message,), Some(fields))
}

fn set_reason(fields: &Bound<'_, PyDict>, reason: ReasonCode, words: Option<&str>) -> PyResult<()> {
    fields.set_item("reason_code", reason_code(fields.py(), reason)?)?;
    fields.set_item("reason_string", words)
}

/// What the broker added to its answer.
pub(crate) fn set_answer(
    fields: &Bound<'_, PyDict>,
    properties: Option<&AckProperties>,
) -> PyResult<()> {
    let (words, own) = match properties {
        Some(properties) => (
            properties.reason_string.as_deref(),
            &properties.user_properties[..],
        ),
        None => (None, &[][..]),
    };
    fields.set_item("reason_string", words)?;
    fields.set_item("user_properties", pairs(fields.py(), own)?)
}

/// Puts every refused filter into `results`, and the first one's code into `reason_code`.
fn set_results(
    fields: &Bound<'_, PyDict>,
    refused: &[(String, ReasonCode)],
    properties: Option<&AckProperties>,
) -> PyResult<()> {
    let py = fields.py();
    set_answer(fields, properties)?;
    let results = PyDict::new(py);
    for (filter, reason) in refused {
        results.set_item(filter, reason_code(py, *reason)?)?;
    }
    if let Some((_, first)) = refused.first() {
        fields.set_item("reason_code", reason_code(py, *first)?)?;
    }
    fields.set_item("results", results)
}

/// A name of `rmqtt`.
pub(crate) fn public_name<'py>(py: Python<'py>, name: &str) -> PyResult<Bound<'py, PyAny>> {
    py.import("rmqtt")?.getattr(name)
}

/// The member of `ReasonCode` for this code.
pub(crate) fn reason_code(py: Python<'_>, reason: ReasonCode) -> PyResult<Bound<'_, PyAny>> {
    static CLASS: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    CLASS
        .get_or_try_init(py, || public_name(py, "ReasonCode").map(Bound::unbind))?
        .bind(py)
        .call1((reason.number(),))
}

/// The member of `QoS` for this level.
pub(crate) fn qos(py: Python<'_>, qos: QoS) -> PyResult<Bound<'_, PyAny>> {
    static MEMBERS: PyOnceLock<[Py<PyAny>; 3]> = PyOnceLock::new();
    let members = MEMBERS.get_or_try_init(py, || -> PyResult<_> {
        let class = public_name(py, "QoS")?;
        Ok([
            class.call1((0,))?.unbind(),
            class.call1((1,))?.unbind(),
            class.call1((2,))?.unbind(),
        ])
    })?;
    Ok(members[usize::from(qos as u8)].bind(py).clone())
}

/// User properties as a tuple of pairs.
pub(crate) fn pairs<'py>(
    py: Python<'py>,
    properties: &[UserProperty],
) -> PyResult<Bound<'py, PyTuple>> {
    let pairs: Vec<(&str, &str)> = properties
        .iter()
        .map(|(name, value)| (name.as_ref(), value.as_ref()))
        .collect();
    PyTuple::new(py, pairs)
}

/// What cannot be used is the caller's mistake; a file that cannot be read is said as the system says it.
pub(crate) fn tls_error(py: Python<'_>, error: &TlsError) -> PyErr {
    match error {
        TlsError::Read {
            what,
            path,
            os_code: Some(code),
            ..
        } => {
            let words = format!("tls.{what} could not be read");
            // Whose class goes by the number.
            let path = path.to_string_lossy();
            match py.get_type::<PyOSError>().call1((*code, words, path)) {
                Ok(error) => PyErr::from_value(error),
                Err(error) => error,
            }
        }
        other => PyValueError::new_err(format!("tls: {other}")),
    }
}

/// An address that is none is the caller's mistake.
pub(crate) fn address_error(error: &AddressError) -> PyErr {
    PyValueError::new_err(error.to_string())
}
