//! What Python asks for, as the options of the rooms below. Only ranges and units are looked at here: Python's signatures
//! have the types, the rooms the meaning.

mod access;
mod acl;
mod broker;
mod given;
mod limits;
mod outbox;
mod subscription;
mod transport;

pub(crate) use access::AccessArguments;
pub(crate) use acl::{AclArgument, RulesArgument, policies};
pub(crate) use broker::{SeamsArguments, TermsArguments, broker, farewell, keep, to_server};
pub(crate) use given::Given;
pub(crate) use limits::LimitsArguments;
use outbox::OutboxArguments;
pub(crate) use subscription::{Filters, SubscribeArguments, UpdateArguments, Wanted, subscription};
pub(crate) use transport::{ListenerArguments, TlsArguments};

use super::auth::{AuthArgument, Passwords};
use super::bridge::Asker;
use super::errors::{Failure, address_error};
use super::journal::NativeJournal;
use super::payload;
use crate::client::{ClientOptions, Farewell, Reconnect, Resubscribe};
use crate::codec::{ProtocolVersion, ReasonCode, Will};
use crate::message::{Message, MessageProperties, QoS, UserProperty};
use crate::topic::TopicName;
use crate::transport::Address;
use bytes::Bytes;
use bytestring::ByteString;
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use std::num::NonZeroU16;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

/// The arguments of `rmqtt.Client`, as a mapping.
#[derive(FromPyObject)]
#[pyo3(from_item_all)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is an argument of its own"
)]
pub(crate) struct ClientArguments<'py> {
    others: Vec<String>,
    nodelay: bool,
    client_id: Option<String>,
    version: Option<String>,
    tls: Option<TlsArguments>,
    proxy: Option<String>,
    ws_headers: Vec<(String, String)>,
    username: Option<String>,
    password: Option<Bound<'py, PyAny>>,
    auth: Option<AuthArgument>,
    clean_start: bool,
    session_expiry: f64,
    keep_alive: f64,
    connect_timeout: f64,
    receive_maximum: i64,
    max_packet_size: Option<i64>,
    topic_alias_max: i64,
    request_response_information: bool,
    request_problem_information: bool,
    will: Option<WillArguments<'py>>,
    reconnect: Option<ReconnectArguments>,
    outbox: OutboxArguments,
    user_properties: Vec<(String, String)>,
    journal: Py<NativeJournal>,
}

/// `rmqtt.Will`.
#[derive(FromPyObject)]
struct WillArguments<'py> {
    topic: String,
    payload: Bound<'py, PyAny>,
    qos: i64,
    retain: bool,
    delay: f64,
    expiry: Option<f64>,
    content_type: Option<String>,
    response_topic: Option<String>,
    correlation: Option<Vec<u8>>,
    user_properties: Vec<(String, String)>,
}

/// `rmqtt.Reconnect`.
#[derive(FromPyObject)]
struct ReconnectArguments {
    initial: f64,
    factor: f64,
    max: f64,
    jitter: String,
    max_attempts: Option<u32>,
    retry_first: bool,
    stable_after: f64,
    resubscribe: String,
    follow_redirects: bool,
}

/// Reads the arguments of a client.
///
/// # Errors
/// `ValueError` naming the argument and its range, `TypeError`, `TopicError`.
pub(crate) fn client(
    url: &str,
    arguments: ClientArguments<'_>,
    py: Python<'_>,
) -> PyResult<(ClientOptions, Option<Arc<Asker>>)> {
    let mut options = ClientOptions::new(endpoint(url)?);
    options.others = endpoints(&arguments.others)?;
    options.nodelay = arguments.nodelay;
    options.route = transport::route(&options, arguments.tls, &arguments.ws_headers, py)?;
    transport::go_through(arguments.proxy.as_deref(), &mut options)?;
    options.client_id = arguments.client_id;
    check_length("client_id", options.client_id.as_ref().map(String::len))?;
    (options.version, options.fall_back) = match arguments.version.as_deref() {
        None => (ProtocolVersion::V5, true),
        Some("5.0") => (ProtocolVersion::V5, false),
        Some("3.1.1") => (ProtocolVersion::V3_1_1, false),
        Some(other) => {
            return Err(PyValueError::new_err(format!(
                "version must be '5.0', '3.1.1' or None, not {other:?}"
            )));
        }
    };
    let asker = credentials(
        &mut options,
        (arguments.username, arguments.password),
        arguments.auth,
        py,
    )?;
    options.clean_start = arguments.clean_start;
    options.session_expiry = seconds_u32("session_expiry", arguments.session_expiry)?;
    options.keep_alive = seconds_u16("keep_alive", arguments.keep_alive)?;
    options.connect_timeout = duration("connect_timeout", arguments.connect_timeout)?;
    options.receive_maximum = u16::try_from(arguments.receive_maximum)
        .ok()
        .and_then(NonZeroU16::new)
        .ok_or_else(|| out_of_range("receive_maximum", "1 to 65535"))?;
    options.packet_size_max = arguments
        .max_packet_size
        .map(|size| {
            u32::try_from(size)
                .ok()
                .filter(|size| *size > 0)
                .ok_or_else(|| out_of_range("max_packet_size", "1 to 268435460"))
        })
        .transpose()?;
    options.topic_alias_max = u16::try_from(arguments.topic_alias_max)
        .map_err(|_| out_of_range("topic_alias_max", "0 to 65535"))?;
    options.request_response_information = arguments.request_response_information;
    options.request_problem_information = arguments.request_problem_information;
    options.will = arguments.will.map(will).transpose()?;
    options.user_properties = user_properties(arguments.user_properties);
    options.reconnect = arguments.reconnect.as_ref().map(reconnect).transpose()?;
    options.journal = Some(arguments.journal.get().of_client());
    arguments.outbox.read(&mut options, py)?;
    Ok((options, asker))
}

/// Who the client is, and who is asked for it.
fn credentials(
    options: &mut ClientOptions,
    (username, given): (Option<String>, Option<Bound<'_, PyAny>>),
    auth: Option<AuthArgument>,
    py: Python<'_>,
) -> PyResult<Option<Arc<Asker>>> {
    let mut asker = None;
    options.username = username;
    check_length("username", options.username.as_ref().map(String::len))?;
    if let Some(auth) = auth {
        if options.version != ProtocolVersion::V5 {
            return Err(PyValueError::new_err("auth needs MQTT 5"));
        }
        let read = auth
            .read()
            .map_err(|error| Failure::from(error).to_py(py))?;
        options.auth = Some(read.0);
        asker = read.1;
    }
    match given {
        // The same runner as the handler's, where both are there.
        Some(runner) if runner.hasattr("ask")? => {
            let asker = asker.get_or_insert_with(|| Asker::new(runner.unbind()));
            options.password_source = Some(Arc::new(Passwords(Arc::clone(asker))));
        }
        given => {
            options.password = given.map(|given| password(&given)).transpose()?;
            check_length("password", options.password.as_ref().map(Bytes::len))?;
        }
    }
    Ok(asker)
}

fn endpoints(urls: &[String]) -> PyResult<Vec<Address>> {
    urls.iter().map(|url| endpoint(url)).collect()
}

/// Reads an address to connect to.
fn endpoint(url: &str) -> PyResult<Address> {
    match address(url)? {
        address if address.port() == Some(0) => Err(out_of_range("port", "1 to 65535")),
        address => Ok(address),
    }
}

/// Reads an address.
///
/// # Errors
/// `ValueError` that says what is wrong with it.
pub(crate) fn address(url: &str) -> PyResult<Address> {
    Address::parse(url).map_err(|error| address_error(&error))
}

fn password(given: &Bound<'_, PyAny>) -> PyResult<Bytes> {
    payload::take(given)
        .map(|given| given.bytes)
        .map_err(|_| PyTypeError::new_err("password must be str or bytes"))
}

fn will(given: WillArguments<'_>) -> PyResult<Will> {
    let payload = payload::take(&given.payload)?;
    check_length("will.payload", Some(payload.bytes.len()))?;
    let properties = PropertyArguments {
        expiry: given.expiry,
        content_type: given.content_type,
        response_topic: given.response_topic,
        correlation: given.correlation,
        user_properties: given.user_properties,
    };
    let delay = seconds_u32("will.delay", given.delay)?;
    Ok(Will {
        message: Message {
            topic: TopicName::new(given.topic)
                .map_err(|error| topic_error(error, given.payload.py()))?,
            payload: payload.bytes,
            qos: qos(given.qos)?,
            retain: given.retain,
            properties: properties.read(payload.is_text, given.payload.py())?,
        },
        delay_interval: (delay > 0).then_some(delay),
    })
}

fn reconnect(given: &ReconnectArguments) -> PyResult<Reconnect> {
    if !given.factor.is_finite() || given.factor < 1.0 {
        return Err(out_of_range("reconnect.factor", "1 or more"));
    }
    Ok(Reconnect {
        initial: duration("reconnect.initial", given.initial)?,
        factor: given.factor,
        max: duration("reconnect.max", given.max)?,
        jitter: match given.jitter.as_str() {
            "full" => true,
            "none" => false,
            _ => return Err(out_of_range("reconnect.jitter", "'full' or 'none'")),
        },
        max_attempts: given.max_attempts,
        retry_first: given.retry_first,
        follow_redirects: given.follow_redirects,
        stable_after: duration("reconnect.stable_after", given.stable_after)?,
        resubscribe: match given.resubscribe.as_str() {
            "auto" => Resubscribe::Auto,
            "always" => Resubscribe::Always,
            "never" => Resubscribe::Never,
            _ => {
                return Err(out_of_range(
                    "reconnect.resubscribe",
                    "'auto', 'always' or 'never'",
                ));
            }
        },
    })
}

/// What a publish says beyond topic, payload, QoS and retain.
#[derive(FromPyObject)]
#[pyo3(from_item_all)]
pub(crate) struct PropertyArguments {
    expiry: Option<f64>,
    content_type: Option<String>,
    response_topic: Option<String>,
    correlation: Option<Vec<u8>>,
    user_properties: Vec<(String, String)>,
}

impl PropertyArguments {
    /// As properties of a message; none if there is nothing to say.
    pub(crate) fn read(
        self,
        is_text: bool,
        py: Python<'_>,
    ) -> PyResult<Option<Arc<MessageProperties>>> {
        let properties = MessageProperties {
            payload_is_utf8: is_text.then_some(true),
            message_expiry_interval: self
                .expiry
                .map(|expiry| seconds_u32("expiry", expiry))
                .transpose()?,
            content_type: self.content_type.map(ByteString::from),
            response_topic: self
                .response_topic
                .map(|topic| TopicName::new(topic).map_err(|error| topic_error(error, py)))
                .transpose()?,
            correlation_data: self.correlation.map(Bytes::from),
            user_properties: user_properties(self.user_properties),
        };
        if properties == MessageProperties::default() {
            return Ok(None);
        }
        Ok(Some(Arc::new(properties)))
    }
}

/// The properties of a text payload and no more, which is the usual case.
pub(crate) fn text_properties() -> Arc<MessageProperties> {
    static TEXT: LazyLock<Arc<MessageProperties>> = LazyLock::new(|| {
        Arc::new(MessageProperties {
            payload_is_utf8: Some(true),
            ..MessageProperties::default()
        })
    });
    Arc::clone(&TEXT)
}

/// What a goodbye says, as a mapping.
#[derive(FromPyObject)]
#[pyo3(from_item_all)]
pub(crate) struct FarewellArguments {
    reason_code: Option<i64>,
    session_expiry: Option<f64>,
    reason_string: Option<String>,
    user_properties: Vec<(String, String)>,
}

impl FarewellArguments {
    pub(crate) fn read(self) -> PyResult<Farewell> {
        let reason = self.reason_code.map(|number| {
            u8::try_from(number)
                .ok()
                .and_then(ReasonCode::from_number)
                .ok_or_else(|| PyValueError::new_err(format!("{number:#04x} is no reason code")))
        });
        check_length(
            "reason_string",
            self.reason_string.as_ref().map(String::len),
        )?;
        Ok(Farewell {
            reason: reason.transpose()?,
            session_expiry: self
                .session_expiry
                .map(|seconds| seconds_u32("session_expiry", seconds))
                .transpose()?,
            reason_string: self.reason_string.map(ByteString::from),
            user_properties: user_properties(self.user_properties),
        })
    }
}

/// Reads a QoS.
///
/// # Errors
/// `ValueError`.
pub(crate) fn qos(number: i64) -> PyResult<QoS> {
    u8::try_from(number)
        .ok()
        .and_then(QoS::from_number)
        .ok_or_else(|| PyValueError::new_err(format!("qos must be 0, 1 or 2, not {number}")))
}

/// Reads a time span.
///
/// # Errors
/// `ValueError` naming the argument.
pub(crate) fn duration(name: &str, seconds: f64) -> PyResult<Duration> {
    // A hundred years: more would overflow clocks, and nobody means it.
    const LONGEST: f64 = 3_153_600_000.0;
    if seconds.is_nan() || seconds < 0.0 {
        return Err(out_of_range(name, "seconds, 0 or more"));
    }
    Ok(Duration::from_secs_f64(seconds.min(LONGEST)))
}

/// Reads how long the caller would wait; `None`: as long as it takes.
///
/// # Errors
/// `ValueError`.
pub(crate) fn limit(timeout: Option<f64>) -> PyResult<Option<Duration>> {
    timeout
        .map(|seconds| duration("timeout", seconds))
        .transpose()
}

/// Whole seconds for the wire, rounded up; infinity is the largest, which the standard reads as *for ever*.
fn seconds_u32(name: &str, seconds: f64) -> PyResult<u32> {
    if seconds == f64::INFINITY {
        return Ok(u32::MAX);
    }
    if !(0.0..=f64::from(u32::MAX)).contains(&seconds) {
        return Err(out_of_range(name, "0 to 4294967295 seconds, or math.inf"));
    }
    let whole = Duration::from_secs_f64(seconds.ceil()).as_secs();
    Ok(u32::try_from(whole).unwrap_or(u32::MAX))
}

fn seconds_u16(name: &str, seconds: f64) -> PyResult<u16> {
    let whole = duration(name, seconds.ceil())?.as_secs();
    u16::try_from(whole).map_err(|_| out_of_range(name, "0 to 65535 seconds"))
}

pub(crate) fn user_properties(pairs: Vec<(String, String)>) -> Vec<UserProperty> {
    pairs
        .into_iter()
        .map(|(name, value)| (name.into(), value.into()))
        .collect()
}

/// A topic that is none, as an exception.
pub(crate) fn topic_error(error: crate::topic::TopicError, py: Python<'_>) -> PyErr {
    Failure::from(error).to_py(py)
}

/// CONNECT gives each of its fields two bytes for the length.
fn check_length(name: &str, length: Option<usize>) -> PyResult<()> {
    match length {
        Some(length) if length > usize::from(u16::MAX) => Err(PyValueError::new_err(format!(
            "{name} must be at most 65535 bytes, not {length}"
        ))),
        _ => Ok(()),
    }
}

pub(crate) fn out_of_range(name: &str, range: &str) -> PyErr {
    PyValueError::new_err(format!("{name} must be {range}"))
}
