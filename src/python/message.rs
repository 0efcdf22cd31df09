//! `Message`: what was received, as Python sees it.

use super::errors::{pairs, public_name, qos};
use super::payload::HasPayload;
use crate::client::{Delivery, DeliveryReceipt, Inbox};
use crate::codec::{PacketType, ReasonCode};
use crate::message::{Message, MessageProperties, QoS};
use crate::topic::TopicTemplate;
use parking_lot::Mutex;
use pyo3::basic::CompareOp;
use pyo3::exceptions::{PyRuntimeError, PyUnicodeDecodeError, PyValueError};
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyBytes, PyDict, PyMappingProxy, PyString};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Arc, Weak};
use std::time::UNIX_EPOCH;

/// A message that was received. It does not change; its payload can be read in place, as in
/// ``numpy.frombuffer(message, "<f4")``.
///
/// Examples
/// --------
/// >>> import rmqtt
/// >>> with rmqtt.Broker("mem://message-example") as broker:
/// ...     _ = broker.publish_now("plant/7", b"21.5", retain=True)
/// ...     message = broker.retained["plant/7"]
/// >>> message.text(), message.json(), message.retain
/// ('21.5', 21.5, True)
#[pyclass(frozen, weakref, extends = HasPayload, name = "Message", module = "rmqtt")]
pub(crate) struct PyMessage {
    topic: Py<PyString>,
    qos: QoS,
    retain: bool,
    dup: bool,
    received_at: i64,
    properties: Option<Arc<MessageProperties>>,
    /// Whom to tell when the application is done with it. Weak: a message that is kept must not keep its subscription.
    owed: Option<(Weak<Inbox>, DeliveryReceipt)>,
    /// Of the subscription, where they have names.
    templates: Option<Arc<[TopicTemplate]>>,
}

impl PyMessage {
    /// A message that came by a subscription.
    pub(crate) fn delivered(
        py: Python<'_>,
        delivery: &Delivery,
        inbox: &Arc<Inbox>,
        topics: &Topics,
    ) -> PyResult<Py<Self>> {
        let received_at = nanoseconds(delivery);
        let owed = delivery
            .receipt
            .map(|receipt| (Arc::downgrade(inbox), receipt));
        let dup = delivery.dup;
        let (topic, templates) = topics.name(py, delivery.message.topic.as_str());
        let parts = Self::parts(&delivery.message, topic);
        Self::build(
            py,
            &delivery.message,
            Self {
                dup,
                received_at,
                owed,
                templates,
                ..parts
            },
        )
    }

    /// A message that answers a request.
    pub(crate) fn answer_to(py: Python<'_>, answer: &Delivery) -> PyResult<Py<Self>> {
        let topic = PyString::new(py, answer.message.topic.as_str()).unbind();
        let parts = Self::parts(&answer.message, topic);
        let this = Self {
            dup: answer.dup,
            received_at: nanoseconds(answer),
            ..parts
        };
        Self::build(py, &answer.message, this)
    }

    /// A message as the broker keeps it.
    pub(crate) fn kept(py: Python<'_>, message: &Message) -> PyResult<Py<Self>> {
        let topic = PyString::new(py, message.topic.as_str()).unbind();
        Self::build(py, message, Self::parts(message, topic))
    }

    fn parts(message: &Message, topic: Py<PyString>) -> Self {
        Self {
            topic,
            qos: message.qos,
            retain: message.retain,
            dup: false,
            received_at: 0,
            properties: message.properties.clone(),
            owed: None,
            templates: None,
        }
    }

    fn build(py: Python<'_>, message: &Message, this: Self) -> PyResult<Py<Self>> {
        let payload = PyBytes::new(py, &message.payload).unbind();
        Py::new(
            py,
            PyClassInitializer::from(HasPayload::new(payload)).add_subclass(this),
        )
    }

    fn answer(&self, reason: u8) -> PyResult<()> {
        // Refused here and not on the way: the message would never be acknowledged.
        let reason = ReasonCode::from_number(reason)
            .filter(|reason| reason.is_allowed_in(PacketType::PubAck))
            .ok_or_else(|| {
                PyValueError::new_err(format!(
                    "{reason:#04x} is no reason code of an acknowledgement"
                ))
            })?;
        if let Some((inbox, receipt)) = &self.owed
            && let Some(inbox) = inbox.upgrade()
        {
            inbox.processed(*receipt, reason);
        }
        Ok(())
    }

    fn preview(slf: &Bound<'_, Self>) -> PyResult<String> {
        const PREVIEW: usize = 32;
        let payload = slf.as_super().get().bytes(slf.py()).as_bytes();
        let shown = PyBytes::new(slf.py(), &payload[..payload.len().min(PREVIEW)]).repr()?;
        Ok(if payload.len() > PREVIEW {
            format!("{shown}... ({} bytes)", payload.len())
        } else {
            shown.to_string()
        })
    }
}

/// When it was read from the socket, since 1970; 0 where that cannot be said.
fn nanoseconds(delivery: &Delivery) -> i64 {
    let since = delivery.received_at.duration_since(UNIX_EPOCH).ok();
    since
        .and_then(|since| i64::try_from(since.as_nanos()).ok())
        .unwrap_or(0)
}

/// The names of topics that came lately, so that messages of one topic share one `str`. Where two would be in one place,
/// the later one is.
pub(crate) struct Topics {
    known: Mutex<Known>,
}

struct Known {
    places: Vec<Option<Named>>,
    templates: Templates,
    edition: u64,
}

/// What the subscription asked for, where any level of it has a name.
type Templates = Option<Arc<[TopicTemplate]>>;

/// A topic, and its name in Python.
type Named = (Box<str>, Py<PyString>);

fn with_names(templates: &[TopicTemplate]) -> Templates {
    let has_names = templates.iter().any(|it| it.names().len() > 0);
    has_names.then(|| templates.into())
}

impl Topics {
    const PLACES: usize = 256;
    const LENGTH_MAX: usize = 256;

    pub(crate) fn new(templates: &[TopicTemplate]) -> Self {
        let places = Vec::new();
        let templates = with_names(templates);
        let edition = 0;
        Self {
            known: Mutex::new(Known {
                places,
                templates,
                edition,
            }),
        }
    }

    /// From now on these templates hold, unless those of a later edition do already.
    pub(crate) fn set_templates(&self, edition: u64, templates: &[TopicTemplate]) {
        let templates = with_names(templates);
        let mut known = self.known.lock();
        if edition > known.edition {
            known.edition = edition;
            known.templates = templates;
        }
    }

    /// A topic's name, and the templates that hold by now.
    fn name(&self, py: Python<'_>, topic: &str) -> (Py<PyString>, Templates) {
        let mut known = self.known.lock();
        let templates = known.templates.clone();
        if topic.len() > Self::LENGTH_MAX {
            return (PyString::new(py, topic).unbind(), templates);
        }
        let places = &mut known.places;
        if places.is_empty() {
            places.resize_with(Self::PLACES, || None);
        }
        let place = &mut places[Self::place(topic)];
        match place {
            Some((text, name)) if **text == *topic => (name.clone_ref(py), templates),
            _ => {
                let name = PyString::new(py, topic).unbind();
                let before = place.replace((topic.into(), name.clone_ref(py)));
                drop(known);
                drop(before);
                (name, templates)
            }
        }
    }

    /// Where neighbours differ they differ at the end, mostly; whoever makes two collide has a `str` made for each message.
    fn place(topic: &str) -> usize {
        let hash = topic
            .bytes()
            .rev()
            .take(16)
            .fold(topic.len(), |hash, byte| {
                hash.wrapping_mul(31).wrapping_add(usize::from(byte))
            });
        hash % Self::PLACES
    }
}

#[pymethods]
impl PyMessage {
    /// Where it was published to.
    #[getter]
    fn topic(&self, py: Python<'_>) -> Py<PyString> {
        self.topic.clone_ref(py)
    }

    /// The quality of service it was delivered with.
    #[getter]
    fn qos<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        qos(py, self.qos)
    }

    /// Whether it is a topic's kept last value, and not just published.
    #[getter]
    fn retain(&self) -> bool {
        self.retain
    }

    /// Whether the broker had sent it before.
    #[getter]
    fn dup(&self) -> bool {
        self.dup
    }

    /// When it was read from the socket, in nanoseconds since 1970; 0 where that is not known.
    #[getter]
    fn received_at(&self) -> i64 {
        self.received_at
    }

    /// What MQTT 5 says beyond topic and payload; all absent under 3.1.1.
    #[getter]
    fn properties<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        static ABSENT: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
        let Some(properties) = self.properties.as_deref() else {
            let absent = ABSENT.get_or_try_init(py, || {
                public_name(py, "Properties")?.call0().map(Bound::unbind)
            })?;
            return Ok(absent.bind(py).clone());
        };
        let fields = PyDict::new(py);
        fields.set_item("payload_is_utf8", properties.payload_is_utf8)?;
        fields.set_item("expiry", properties.message_expiry_interval)?;
        fields.set_item("content_type", properties.content_type.as_deref())?;
        let response_topic = properties.response_topic.as_ref();
        fields.set_item(
            "response_topic",
            response_topic.map(crate::topic::TopicName::as_str),
        )?;
        let correlation = properties.correlation_data.as_deref();
        fields.set_item(
            "correlation",
            correlation.map(|data| PyBytes::new(py, data)),
        )?;
        fields.set_item("user_properties", pairs(py, &properties.user_properties)?)?;
        public_name(py, "Properties")?.call((), Some(&fields))
    }

    /// What stands in the topic where the template that was subscribed to has names, as `{"site": "a"}` for
    /// ``"plant/{site}/+"``; empty where it has none.
    #[getter]
    fn params<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyMappingProxy>> {
        let found = PyDict::new(py);
        if let Some(templates) = &self.templates {
            let topic = self.topic.bind(py).to_cow()?;
            let params = templates
                .iter()
                .find_map(|template| template.params(&topic));
            for (name, value) in params.unwrap_or_default() {
                found.set_item(name, value)?;
            }
        }
        Ok(PyMappingProxy::new(py, found.as_mapping()))
    }

    /// The payload as a `NumPy` array, which must be installed: a view in place, read-only and one-dimensional.
    ///
    /// Parameters
    /// ----------
    /// dtype
    ///     What the items are, as `NumPy` takes it: ``"<f4"``, `numpy.int16`, a structured type.
    ///
    /// Raises
    /// ------
    /// `ImportError`
    ///     There is no `NumPy`.
    /// `ValueError`
    ///     The payload is no whole number of such items.
    #[pyo3(signature = (dtype=None))]
    fn numpy<'py>(
        slf: &Bound<'py, Self>,
        dtype: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let numpy = slf.py().import("numpy")?;
        match dtype {
            Some(dtype) => numpy.call_method1("frombuffer", (slf, dtype)),
            None => numpy.call_method1("frombuffer", (slf, "u1")),
        }
    }

    /// The payload as text.
    ///
    /// Raises
    /// ------
    /// `UnicodeDecodeError`
    ///     It is not UTF-8.
    fn text(slf: &Bound<'_, Self>) -> PyResult<Py<PyString>> {
        let py = slf.py();
        let payload = slf.as_super().get().bytes(py).as_bytes();
        match std::str::from_utf8(payload) {
            Ok(text) => Ok(PyString::new(py, text).unbind()),
            Err(error) => {
                let error = PyUnicodeDecodeError::new_utf8(py, payload, error)?;
                Err(PyErr::from_value(error.into_any()))
            }
        }
    }

    /// The payload read as JSON.
    ///
    /// Raises
    /// ------
    /// `ValueError`
    ///     It is not JSON (`json.JSONDecodeError`), or not UTF-8.
    fn json<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
        let py = slf.py();
        let payload = slf.as_super().get().bytes(py);
        py.import("json")?.call_method1("loads", (payload,))
    }

    /// Tell the broker that this message is done with. Never blocks, works on any thread; a second call does nothing, nor
    /// does a call for QoS 0 or after a reconnect.
    ///
    /// Parameters
    /// ----------
    /// reason
    ///     What to say in the acknowledgement (MQTT 5): 0, or 0x10.
    ///
    /// Raises
    /// ------
    /// `ValueError`
    ///     It is no reason code of an acknowledgement, or that of a failure.
    #[pyo3(signature = (reason=0))]
    fn ack(&self, reason: u8) -> PyResult<()> {
        if reason >= 0x80 {
            return Err(PyValueError::new_err(
                "a failure is told with nack(reason), not with ack",
            ));
        }
        self.answer(reason)
    }

    /// Tell the broker that this message could not be dealt with. It will not come again.
    ///
    /// Parameters
    /// ----------
    /// reason
    ///     What to say in the acknowledgement (MQTT 5): 0x80, 0x83, 0x87, 0x90, 0x91, 0x97 or 0x99.
    ///
    /// Raises
    /// ------
    /// `ValueError`
    ///     It is none of these.
    #[pyo3(signature = (reason=0x80))]
    fn nack(&self, reason: u8) -> PyResult<()> {
        if reason < 0x80 {
            return Err(PyValueError::new_err(
                "success is told with ack(reason), not with nack",
            ));
        }
        self.answer(reason)
    }

    fn _repr_html_<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
        let html = slf.py().import("rmqtt._html")?;
        html.call_method1("message", (slf,))
    }

    fn __repr__(slf: &Bound<'_, Self>) -> PyResult<String> {
        let this = slf.get();
        let topic = this.topic.bind(slf.py()).repr()?;
        let preview = Self::preview(slf)?;
        let retain = if this.retain { ", retain=True" } else { "" };
        let qos = this.qos as u8;
        Ok(format!("<Message {topic} {preview}, qos={qos}{retain}>"))
    }

    fn __richcmp__(
        slf: &Bound<'_, Self>,
        other: &Bound<'_, Self>,
        op: CompareOp,
    ) -> PyResult<Py<PyAny>> {
        let py = slf.py();
        let (this, that) = (slf.get(), other.get());
        let equal = this.qos == that.qos
            && this.retain == that.retain
            && this.dup == that.dup
            && this.properties == that.properties
            && this.topic.bind(py).as_any().eq(that.topic.bind(py))?
            && slf.as_super().get().bytes(py) == other.as_super().get().bytes(py).as_bytes();
        Ok(match op {
            CompareOp::Eq => equal.into_pyobject(py)?.to_owned().into_any().unbind(),
            CompareOp::Ne => (!equal).into_pyobject(py)?.to_owned().into_any().unbind(),
            _ => py.NotImplemented(),
        })
    }

    fn __hash__(slf: &Bound<'_, Self>) -> PyResult<u64> {
        let py = slf.py();
        let mut hasher = DefaultHasher::new();
        slf.get().topic.bind(py).hash()?.hash(&mut hasher);
        slf.as_super().get().bytes(py).hash()?.hash(&mut hasher);
        Ok(hasher.finish())
    }

    fn __reduce__(slf: &Bound<'_, Self>) -> PyResult<()> {
        Err(PyRuntimeError::new_err(format!(
            "{} cannot be pickled: it may owe an acknowledgement; pickle its topic and payload",
            Self::__repr__(slf)?
        )))
    }
}
