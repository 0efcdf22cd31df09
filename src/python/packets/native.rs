//! PUBLISH and its four acknowledgements, the packets that come by the million, as classes of their own.
//!
//! What bytes said stays as it was read until somebody asks for a field; what Python gave stays as it was given until it
//! is to be written. What the fields are called and mean, and all that a dataclass can do, is declared in
//! `python/rmqtt/codec`, and lent to these classes there.

use super::{AckFields, PublishFields, answer};
use crate::codec::{Ack, AckKind, Packet, PacketId, Publish};
use crate::python::errors::{pairs, public_name, qos, reason_code};
use pyo3::IntoPyObjectExt;
use pyo3::conversion::FromPyObjectOwned;
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyBytes, PyDict, PyString, PyTuple, PyType};

/// One object for each field, in the order of the declaration.
type Objects<const N: usize> = Box<[Py<PyAny>; N]>;

// Where the fields of a PUBLISH are; from the alias on they are properties of MQTT 5.
const TOPIC: usize = 0;
const PAYLOAD: usize = 1;
const QOS: usize = 2;
const RETAIN: usize = 3;
const DUP: usize = 4;
const PACKET_ID: usize = 5;
const TOPIC_ALIAS: usize = 6;
const SUBSCRIPTION_IDENTIFIERS: usize = 7;
const USER_PROPERTIES: usize = 13;

enum PublishState {
    Given(Objects<14>),
    Read {
        packet: Publish,
        topic: PyOnceLock<Py<PyAny>>,
        payload: PyOnceLock<Py<PyAny>>,
        properties: PyOnceLock<Objects<8>>,
    },
}

enum AckState {
    Given(Objects<4>),
    Read {
        packet: Ack,
        objects: PyOnceLock<Objects<4>>,
    },
}

macro_rules! packet_class {
    ($class:ident, $name:literal, $state:ident, [$($field:ident = $at:literal),*]) => {
        #[pyclass(frozen, name = $name, module = "rmqtt.codec")]
        pub(super) struct $class($state);

        #[pymethods]
        impl $class {
            #[new]
            #[pyo3(signature = (**given))]
            fn new(py: Python<'_>, given: Option<&Bound<'_, PyDict>>) -> PyResult<Self> {
                const NAMES: &[&str] = &[$(stringify!($field)),*];
                $state::given(py, &Declared { class: $name, names: NAMES }, given).map(Self)
            }

            $(
                #[getter]
                fn $field(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
                    self.0.field(py, $at)
                }
            )*
        }
    };
}

packet_class!(
    PyPublish,
    "Publish",
    PublishState,
    [
        topic = 0,
        payload = 1,
        qos = 2,
        retain = 3,
        dup = 4,
        packet_id = 5,
        topic_alias = 6,
        subscription_identifiers = 7,
        payload_format_indicator = 8,
        message_expiry_interval = 9,
        content_type = 10,
        response_topic = 11,
        correlation_data = 12,
        user_properties = 13
    ]
);

macro_rules! ack_class {
    ($class:ident, $name:literal) => {
        packet_class!(
            $class,
            $name,
            AckState,
            [
                packet_id = 0,
                reason_code = 1,
                reason_string = 2,
                user_properties = 3
            ]
        );
    };
}

ack_class!(PyPubAck, "PubAck");
ack_class!(PyPubRec, "PubRec");
ack_class!(PyPubRel, "PubRel");
ack_class!(PyPubComp, "PubComp");

/// The class with this name, for its declaration to lend it what a dataclass has.
///
/// # Errors
/// `ValueError`: there is none.
#[pyfunction]
#[pyo3(signature = (name, /))]
pub(crate) fn packet_class<'py>(py: Python<'py>, name: &str) -> PyResult<Bound<'py, PyType>> {
    Ok(match name {
        "Publish" => py.get_type::<PyPublish>(),
        "PubAck" => py.get_type::<PyPubAck>(),
        "PubRec" => py.get_type::<PyPubRec>(),
        "PubRel" => py.get_type::<PyPubRel>(),
        "PubComp" => py.get_type::<PyPubComp>(),
        _ => return Err(PyValueError::new_err(format!("{name} is no native packet"))),
    })
}

/// A PUBLISH that was read, as an object.
///
/// # Errors
/// Python is out of memory.
pub(super) fn publish_object(py: Python<'_>, packet: Publish) -> PyResult<Bound<'_, PyAny>> {
    let state = PublishState::Read {
        packet,
        topic: PyOnceLock::new(),
        payload: PyOnceLock::new(),
        properties: PyOnceLock::new(),
    };
    Ok(Bound::new(py, PyPublish(state))?.into_any())
}

/// An acknowledgement that was read, as an object.
///
/// # Errors
/// Python is out of memory.
pub(super) fn ack_object(py: Python<'_>, packet: Ack) -> PyResult<Bound<'_, PyAny>> {
    let kind = packet.kind;
    let state = AckState::Read {
        packet,
        objects: PyOnceLock::new(),
    };
    Ok(match kind {
        AckKind::PubAck => Bound::new(py, PyPubAck(state))?.into_any(),
        AckKind::PubRec => Bound::new(py, PyPubRec(state))?.into_any(),
        AckKind::PubRel => Bound::new(py, PyPubRel(state))?.into_any(),
        AckKind::PubComp => Bound::new(py, PyPubComp(state))?.into_any(),
    })
}

/// The packet that an object of these classes describes; `None`: it is of another class.
///
/// # Errors
/// `TypeError` that names the field which does not fit, with the reason as its cause; `ValueError` for what makes no packet.
pub(super) fn native_packet(object: &Bound<'_, PyAny>) -> PyResult<Option<Packet>> {
    let py = object.py();
    if let Ok(publish) = object.cast_exact::<PyPublish>() {
        return publish.get().0.packet(py).map(Packet::Publish).map(Some);
    }
    let ack = if let Ok(ack) = object.cast_exact::<PyPubAck>() {
        ack.get().0.packet(py, AckKind::PubAck)
    } else if let Ok(ack) = object.cast_exact::<PyPubRec>() {
        ack.get().0.packet(py, AckKind::PubRec)
    } else if let Ok(ack) = object.cast_exact::<PyPubRel>() {
        ack.get().0.packet(py, AckKind::PubRel)
    } else if let Ok(ack) = object.cast_exact::<PyPubComp>() {
        ack.get().0.packet(py, AckKind::PubComp)
    } else {
        return Ok(None);
    };
    ack.map(Packet::Ack).map(Some)
}

impl PublishState {
    fn given(
        py: Python<'_>,
        declared: &Declared<'_>,
        given: Option<&Bound<'_, PyDict>>,
    ) -> PyResult<Self> {
        let absent = absent(py)?;
        let mut objects = Box::new(std::array::from_fn(|at| absent[at].clone_ref(py)));
        declared.fill(&mut *objects, given)?;
        normal_type(py, &mut objects[QOS], "QoS")?;
        let numbers = objects[SUBSCRIPTION_IDENTIFIERS].bind(py);
        if !numbers.is_exact_instance_of::<PyTuple>() {
            objects[SUBSCRIPTION_IDENTIFIERS] =
                py.get_type::<PyTuple>().call1((numbers,))?.unbind();
        }
        normal_pairs(py, &mut objects[USER_PROPERTIES])?;
        Ok(Self::Given(objects))
    }

    fn field(&self, py: Python<'_>, at: usize) -> PyResult<Py<PyAny>> {
        let (packet, topic, payload, properties) = match self {
            Self::Given(objects) => return Ok(objects[at].clone_ref(py)),
            Self::Read {
                packet,
                topic,
                payload,
                properties,
            } => (packet, topic, payload, properties),
        };
        let message = &packet.message;
        match at {
            TOPIC => Ok(topic
                .get_or_init(py, || {
                    let name = if packet.topic_on_wire {
                        message.topic.as_str()
                    } else {
                        ""
                    };
                    PyString::new(py, name).into_any().unbind()
                })
                .clone_ref(py)),
            PAYLOAD => Ok(payload
                .get_or_init(py, || {
                    PyBytes::new(py, &message.payload).into_any().unbind()
                })
                .clone_ref(py)),
            QOS => qos(py, message.qos).map(Bound::unbind),
            RETAIN => message.retain.into_py_any(py),
            DUP => packet.dup.into_py_any(py),
            PACKET_ID => packet.packet_id.map(PacketId::get).into_py_any(py),
            _ if has_properties(packet) => {
                let objects = properties.get_or_try_init(py, || property_objects(py, packet))?;
                Ok(objects[at - TOPIC_ALIAS].clone_ref(py))
            }
            _ => Ok(absent(py)?[at].clone_ref(py)),
        }
    }

    fn packet(&self, py: Python<'_>) -> PyResult<Publish> {
        let objects = match self {
            Self::Read { packet, .. } => return Ok(packet.clone()),
            Self::Given(objects) => &**objects,
        };
        let fields = PublishFields {
            topic: value(py, objects, TOPIC, "topic")?,
            payload: value(py, objects, PAYLOAD, "payload")?,
            qos: value(py, objects, QOS, "qos")?,
            retain: value(py, objects, RETAIN, "retain")?,
            dup: value(py, objects, DUP, "dup")?,
            packet_id: value(py, objects, PACKET_ID, "packet_id")?,
            topic_alias: value(py, objects, TOPIC_ALIAS, "topic_alias")?,
            subscription_identifiers: values(py, objects, 7, "subscription_identifiers")?,
            payload_format_indicator: value(py, objects, 8, "payload_format_indicator")?,
            message_expiry_interval: value(py, objects, 9, "message_expiry_interval")?,
            content_type: value(py, objects, 10, "content_type")?,
            response_topic: value(py, objects, 11, "response_topic")?,
            correlation_data: value(py, objects, 12, "correlation_data")?,
            user_properties: values(py, objects, USER_PROPERTIES, "user_properties")?,
        };
        fields.make()
    }
}

impl AckState {
    fn given(
        py: Python<'_>,
        declared: &Declared<'_>,
        given: Option<&Bound<'_, PyDict>>,
    ) -> PyResult<Self> {
        static SUCCESS: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
        let success = SUCCESS.get_or_try_init(py, || {
            reason_code(py, crate::codec::ReasonCode::Success).map(Bound::unbind)
        })?;
        let none = py.None();
        let mut objects = Box::new([
            none.clone_ref(py),
            success.clone_ref(py),
            none,
            PyTuple::empty(py).into_any().unbind(),
        ]);
        let has_id = given.is_some_and(|given| given.contains("packet_id").unwrap_or(false));
        declared.fill(&mut *objects, given)?;
        if !has_id {
            return Err(PyTypeError::new_err(format!(
                "{}.__init__() missing 1 required keyword-only argument: 'packet_id'",
                declared.class
            )));
        }
        normal_type(py, &mut objects[1], "ReasonCode")?;
        normal_pairs(py, &mut objects[3])?;
        Ok(Self::Given(objects))
    }

    fn field(&self, py: Python<'_>, at: usize) -> PyResult<Py<PyAny>> {
        match self {
            Self::Given(objects) => Ok(objects[at].clone_ref(py)),
            Self::Read { packet, .. } if at == 0 => packet.packet_id.get().into_py_any(py),
            Self::Read { packet, objects } => {
                let objects = objects.get_or_try_init(py, || ack_objects(py, packet))?;
                Ok(objects[at].clone_ref(py))
            }
        }
    }

    fn packet(&self, py: Python<'_>, kind: AckKind) -> PyResult<Ack> {
        let objects = match self {
            Self::Read { packet, .. } => return Ok(packet.clone()),
            Self::Given(objects) => &**objects,
        };
        let fields = AckFields {
            packet_id: value(py, objects, 0, "packet_id")?,
            reason_code: value(py, objects, 1, "reason_code")?,
            reason_string: value(py, objects, 2, "reason_string")?,
            user_properties: values(py, objects, 3, "user_properties")?,
        };
        fields.make(kind)
    }
}

fn has_properties(packet: &Publish) -> bool {
    packet.topic_alias.is_some()
        || packet.message.properties.is_some()
        || !packet.subscription_ids.is_empty()
}

fn property_objects(py: Python<'_>, packet: &Publish) -> PyResult<Objects<8>> {
    let properties = packet.message.properties();
    let response_topic = properties.response_topic.as_ref();
    let correlation_data = properties.correlation_data.as_deref();
    Ok(Box::new([
        packet.topic_alias.into_py_any(py)?,
        PyTuple::new(py, &packet.subscription_ids)?.into_py_any(py)?,
        properties.payload_is_utf8.into_py_any(py)?,
        properties.message_expiry_interval.into_py_any(py)?,
        properties.content_type.as_deref().into_py_any(py)?,
        response_topic
            .map(crate::topic::TopicName::as_str)
            .into_py_any(py)?,
        correlation_data
            .map(|data| PyBytes::new(py, data))
            .into_py_any(py)?,
        pairs(py, &properties.user_properties)?.into_py_any(py)?,
    ]))
}

fn ack_objects(py: Python<'_>, packet: &Ack) -> PyResult<Objects<4>> {
    let (reason_string, user_properties) = answer(packet.properties.clone());
    Ok(Box::new([
        packet.packet_id.get().into_py_any(py)?,
        reason_code(py, packet.reason)?.unbind(),
        reason_string.into_py_any(py)?,
        PyTuple::new(py, user_properties)?.into_py_any(py)?,
    ]))
}

/// What the fields of a PUBLISH are where nothing is said.
fn absent(py: Python<'_>) -> PyResult<&[Py<PyAny>; 14]> {
    static ABSENT: PyOnceLock<[Py<PyAny>; 14]> = PyOnceLock::new();
    ABSENT.get_or_try_init(py, || {
        let mut objects = std::array::from_fn(|_| py.None());
        objects[TOPIC] = PyString::new(py, "").into_any().unbind();
        objects[PAYLOAD] = PyBytes::new(py, b"").into_any().unbind();
        objects[QOS] = qos(py, crate::message::QoS::AtMostOnce)?.unbind();
        objects[RETAIN] = false.into_py_any(py)?;
        objects[DUP] = false.into_py_any(py)?;
        objects[SUBSCRIPTION_IDENTIFIERS] = PyTuple::empty(py).into_any().unbind();
        objects[USER_PROPERTIES] = PyTuple::empty(py).into_any().unbind();
        Ok(objects)
    })
}

/// A class and its fields by name.
struct Declared<'a> {
    class: &'a str,
    names: &'a [&'a str],
}

impl Declared<'_> {
    /// Puts what was given where it belongs.
    fn fill(&self, objects: &mut [Py<PyAny>], given: Option<&Bound<'_, PyDict>>) -> PyResult<()> {
        let Some(given) = given else {
            return Ok(());
        };
        for (key, value) in given {
            let key = key.cast::<PyString>()?.to_str()?;
            let Some(at) = self.names.iter().position(|&name| name == key) else {
                return Err(PyTypeError::new_err(format!(
                    "{}.__init__() got an unexpected keyword argument '{key}'",
                    self.class
                )));
            };
            objects[at] = value.unbind();
        }
        Ok(())
    }
}

/// Makes a member of an enumeration out of a plain number.
fn normal_type(py: Python<'_>, object: &mut Py<PyAny>, name: &'static str) -> PyResult<()> {
    static CLASSES: PyOnceLock<[Py<PyAny>; 2]> = PyOnceLock::new();
    let classes = CLASSES.get_or_try_init(py, || -> PyResult<_> {
        Ok([
            public_name(py, "QoS")?.unbind(),
            public_name(py, "ReasonCode")?.unbind(),
        ])
    })?;
    let class = classes[usize::from(name != "QoS")].bind(py);
    if !object.bind(py).get_type().is(class) {
        *object = class.call1((&*object,))?.unbind();
    }
    Ok(())
}

/// Makes a tuple of pairs out of any sequence of them.
fn normal_pairs(py: Python<'_>, object: &mut Py<PyAny>) -> PyResult<()> {
    if !is_empty_tuple(object.bind(py)) {
        *object = py
            .import("rmqtt.codec._forms")?
            .getattr("pairs")?
            .call1((&*object,))?
            .unbind();
    }
    Ok(())
}

fn is_empty_tuple(object: &Bound<'_, PyAny>) -> bool {
    object
        .cast_exact::<PyTuple>()
        .is_ok_and(PyTupleMethods::is_empty)
}

/// A field's value as the wire has it.
fn value<'py, T: FromPyObjectOwned<'py>>(
    py: Python<'py>,
    objects: &[Py<PyAny>],
    at: usize,
    name: &'static str,
) -> PyResult<T> {
    objects[at].bind(py).extract().map_err(|reason: T::Error| {
        let error = PyTypeError::new_err(name);
        error.set_cause(py, Some(reason.into()));
        error
    })
}

/// A list's values; most are empty.
fn values<'py, T: FromPyObjectOwned<'py>>(
    py: Python<'py>,
    objects: &[Py<PyAny>],
    at: usize,
    name: &'static str,
) -> PyResult<Vec<T>> {
    if is_empty_tuple(objects[at].bind(py)) {
        return Ok(Vec::new());
    }
    value(py, objects, at, name)
}
