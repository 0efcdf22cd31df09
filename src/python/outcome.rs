//! What an operation can come to, before it is a Python value.

use super::errors::{Failure, pairs, public_name, reason_code, set_answer};
use super::message::PyMessage;
use super::negotiated::negotiated_fields;
use crate::client::{Delivery, DropCause, Event, Published, Unsubscribed};
use crate::codec::ReasonCode;
use pyo3::IntoPyObjectExt;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyDict, PyTuple};

/// What an operation came to.
#[derive(Debug)]
pub(crate) enum Outcome {
    /// It is done, and there is no more to say.
    Nothing,
    /// The broker took a message over.
    Published(Published),
    /// The broker gave a subscription up.
    Unsubscribed(Unsubscribed),
    /// A request was answered.
    Answer(Box<Delivery>),
    /// Something happened to the connection.
    Event(Box<Event>),
    /// It failed.
    Failed(Failure),
}

impl<T: Into<Outcome>, E: Into<Failure>> From<Result<T, E>> for Outcome {
    fn from(result: Result<T, E>) -> Self {
        match result {
            Ok(value) => value.into(),
            Err(error) => Self::Failed(error.into()),
        }
    }
}

impl From<()> for Outcome {
    fn from((): ()) -> Self {
        Self::Nothing
    }
}

impl From<Event> for Outcome {
    fn from(event: Event) -> Self {
        Self::Event(Box::new(event))
    }
}

impl From<Published> for Outcome {
    fn from(published: Published) -> Self {
        Self::Published(published)
    }
}

impl From<Unsubscribed> for Outcome {
    fn from(unsubscribed: Unsubscribed) -> Self {
        Self::Unsubscribed(unsubscribed)
    }
}

impl From<Delivery> for Outcome {
    fn from(answer: Delivery) -> Self {
        Self::Answer(Box::new(answer))
    }
}

impl Outcome {
    /// A message of QoS 0 has its place in the queue.
    pub(crate) fn published() -> Self {
        Self::Published(Published {
            reason: ReasonCode::Success,
            properties: None,
        })
    }

    /// As a Python value; a failure is raised.
    pub(crate) fn to_py(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        match self {
            Self::Nothing => Ok(py.None()),
            Self::Published(published) => PublishResult::of(py, published),
            Self::Unsubscribed(unsubscribed) => unsubscribed_to_py(py, unsubscribed),
            Self::Answer(answer) => Ok(PyMessage::answer_to(py, answer)?.into_any()),
            Self::Event(event) => event_to_py(py, event),
            Self::Failed(failure) => Err(failure.to_py(py)),
        }
    }
}

/// As `rmqtt.UnsubscribeResult`.
fn unsubscribed_to_py(py: Python<'_>, unsubscribed: &Unsubscribed) -> PyResult<Py<PyAny>> {
    let results = PyDict::new(py);
    for (filter, reason) in &unsubscribed.results {
        results.set_item(filter, reason_code(py, *reason)?)?;
    }
    let fields = PyDict::new(py);
    fields.set_item("results", results)?;
    set_answer(&fields, unsubscribed.properties.as_deref())?;
    let class = public_name(py, "UnsubscribeResult")?;
    Ok(class.call((), Some(&fields))?.unbind())
}

/// An event as the name of its class in `rmqtt` and its fields.
fn event_to_py(py: Python<'_>, event: &Event) -> PyResult<Py<PyAny>> {
    let fields = PyDict::new(py);
    let kind = match event {
        Event::Connected(negotiated) => {
            fields.set_item("negotiated", negotiated_fields(py, negotiated)?)?;
            "Connected"
        }
        Event::Disconnected { error, retry_in } => {
            let error = Failure::from(error.clone()).to_py(py);
            fields.set_item("error", error.into_value(py))?;
            fields.set_item("retry_in", retry_in.map(|delay| delay.as_secs_f64()))?;
            "Disconnected"
        }
        Event::SessionLost => "SessionForgotten",
        Event::Resubscribed { filters } => {
            fields.set_item("filters", PyTuple::new(py, filters)?)?;
            "Resubscribed"
        }
        Event::Dropped {
            count,
            cause,
            filters,
        } => {
            fields.set_item("count", count)?;
            fields.set_item(
                "cause",
                match cause {
                    DropCause::Overflow => "overflow",
                    DropCause::OutboxFull => "full",
                    DropCause::Expired => "expired",
                    _ => "offline",
                },
            )?;
            fields.set_item("filters", PyTuple::new(py, filters)?)?;
            "Dropped"
        }
        Event::ServerRedirect(redirect) => {
            fields.set_item("permanent", redirect.is_permanent)?;
            let reference = redirect.server_reference.as_deref();
            fields.set_item("server_reference", reference)?;
            "ServerRedirect"
        }
        Event::HandlerFailed { topic, error } => {
            fields.set_item("topic", topic)?;
            fields.set_item("error", error)?;
            "HandlerFailed"
        }
    };
    (kind, fields).into_py_any(py)
}

/// How a publish ended well: with QoS 0 the message is queued, with QoS 1 and 2 the broker has taken it over.
#[pyclass(frozen, eq, module = "rmqtt")]
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PublishResult {
    published: Published,
}

impl PublishResult {
    fn of(py: Python<'_>, published: &Published) -> PyResult<Py<PyAny>> {
        if published.reason == ReasonCode::Success && published.properties.is_none() {
            return Self::success(py);
        }
        let result = Self {
            published: published.clone(),
        };
        Ok(Py::new(py, result)?.into_any())
    }

    /// The usual one, made once.
    pub(crate) fn success(py: Python<'_>) -> PyResult<Py<PyAny>> {
        static SUCCESS: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
        let success = SUCCESS.get_or_try_init(py, || {
            let published = Published {
                reason: ReasonCode::Success,
                properties: None,
            };
            Py::new(py, Self { published }).map(Py::into_any)
        })?;
        Ok(success.clone_ref(py))
    }
}

#[pymethods]
impl PublishResult {
    /// `SUCCESS`, or `NO_MATCHING_SUBSCRIBERS` where the broker says so.
    #[getter]
    fn reason_code<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        reason_code(py, self.published.reason)
    }

    /// The broker's words, if any.
    #[getter]
    fn reason_string(&self) -> Option<&str> {
        let properties = self.published.properties.as_deref()?;
        properties.reason_string.as_deref()
    }

    /// The broker's names and values, in order.
    #[getter]
    fn user_properties<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyTuple>> {
        match self.published.properties.as_deref() {
            Some(properties) => pairs(py, &properties.user_properties),
            None => Ok(PyTuple::empty(py)),
        }
    }

    fn __repr__(&self, py: Python<'_>) -> PyResult<String> {
        let name = self.reason_code(py)?.getattr("name")?;
        Ok(format!("PublishResult({name})"))
    }

    fn __hash__(&self) -> u64 {
        u64::from(self.published.reason.number())
    }
}
