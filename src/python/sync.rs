//! The native half of `rmqtt.SyncClient`: the same client without an event loop. Whoever calls waits here.

use super::bridge::{Asker, ForkSafe, block_on, running_port};
use super::client::{CLOSED, Status, connected};
use super::errors::Failure;
use super::events::NativeEvents;
use super::negotiated::negotiated_fields;
use super::options::{self, ClientArguments, FarewellArguments, Given, SubscribeArguments};
use super::outcome::Outcome;
use super::publishing::{Asked, Extra};
use super::receipt::NativeReceipt;
use super::stats::stats_fields;
use super::subscription::NativeSubscription;
use crate::client::{Client, ClientError, Close, Done, Farewell, Published, TryPublish};
use crate::message::{Message, QoS};
use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyString};
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// The native half of a client that blocks.
#[pyclass(frozen, weakref, module = "rmqtt._rmqtt")]
pub(crate) struct NativeSyncClient {
    client: ForkSafe<Client>,
    status: Arc<Status>,
    /// Where the mechanism to authenticate is written in Python.
    asker: Option<Arc<Asker>>,
}

#[pymethods]
impl NativeSyncClient {
    #[new]
    fn new(py: Python<'_>, url: &str, arguments: Given<ClientArguments<'_>>) -> PyResult<Self> {
        let (options, asker) = options::client(url, arguments.0, py)?;
        Ok(Self {
            status: Status::new(options.version),
            client: ForkSafe::new(Client::new(options)),
            asker,
        })
    }

    /// From here on the mechanism is asked in the event loop that runs here.
    fn ask_here(&self, py: Python<'_>) -> PyResult<()> {
        if let Some(asker) = &self.asker {
            asker.bind(running_port(py)?.get().shared());
        }
        Ok(())
    }

    fn connect(&self, py: Python<'_>) -> PyResult<()> {
        let client = self.client.get()?.clone();
        let connecting = self.status.begin(py)?;
        wait(py, "connect", None, connecting.connect(client)).map(drop)
    }

    /// `how`: seconds to drain for, or `None` for an end that has the broker publish the will.
    #[pyo3(signature = (drain=None, farewell=None))]
    fn close(
        &self,
        py: Python<'_>,
        drain: Option<f64>,
        farewell: Option<Given<FarewellArguments>>,
    ) -> PyResult<()> {
        let how = match drain {
            Some(seconds) => Close::Drain(options::duration("timeout", seconds)?),
            None => Close::WithWill,
        };
        let farewell = match farewell {
            None => Farewell::default(),
            Some(farewell) => farewell.0.read()?,
        };
        self.client
            .get()?
            .check_farewell(&farewell)
            .map_err(|error| Failure::from(error).to_py(py))?;
        self.end(py, how, farewell)
    }

    /// Ends the connection without DISCONNECT.
    fn abort(&self, py: Python<'_>) -> PyResult<()> {
        self.end(py, Close::Abort, Farewell::default())
    }

    /// `extra`: properties and time-out, where any is given.
    #[pyo3(signature = (topic, payload, qos, retain, extra=None, /))]
    fn publish<'py>(
        slf: &Bound<'py, Self>,
        topic: &Bound<'py, PyString>,
        payload: &Bound<'py, PyAny>,
        qos: i64,
        retain: bool,
        extra: Option<Given<Extra>>,
    ) -> PyResult<Py<PyAny>> {
        let asked = Asked {
            topic,
            payload,
            qos,
            retain,
            extra,
        };
        let this = slf.get();
        let py = slf.py();
        let client = this.client.get()?;
        let (mut message, limit) = this.message(asked)?;
        if message.qos == QoS::AtMostOnce {
            let tried = client.try_publish(message, None);
            match tried.map_err(|error| Failure::from(error).to_py(py))? {
                TryPublish::Queued => return Outcome::published().to_py(py),
                TryPublish::Full(back, _) => message = back,
            }
        }
        wait(py, "publish", limit, client.publish(message))
    }

    /// As `publish`, without a wait.
    #[pyo3(signature = (topic, payload, qos, retain, extra=None, /))]
    fn publish_nowait<'py>(
        slf: &Bound<'py, Self>,
        topic: &Bound<'py, PyString>,
        payload: &Bound<'py, PyAny>,
        qos: i64,
        retain: bool,
        extra: Option<Given<Extra>>,
    ) -> PyResult<NativeReceipt> {
        let asked = Asked {
            topic,
            payload,
            qos,
            retain,
            extra,
        };
        let (message, _) = slf.get().message(asked)?;
        let client = slf.get().client.get()?;
        let fail = |error: ClientError| Failure::from(error).to_py(slf.py());
        let (receipt, sender) = NativeReceipt::new();
        let is_answered = message.qos != QoS::AtMostOnce;
        let done = is_answered.then(|| -> Done<Published> { Box::new(sender) });
        match client.try_publish(message, done).map_err(fail)? {
            TryPublish::Queued if is_answered => Ok(receipt),
            TryPublish::Queued => Ok(NativeReceipt::queued()),
            TryPublish::Full(..) => Err(fail(ClientError::QueueFull)),
        }
    }

    /// Publishes what asks, and waits for the answer.
    #[pyo3(signature = (topic, payload, qos, extra, /))]
    fn request<'py>(
        slf: &Bound<'py, Self>,
        topic: &Bound<'py, PyString>,
        payload: &Bound<'py, PyAny>,
        qos: i64,
        extra: Option<Given<Extra>>,
    ) -> PyResult<Py<PyAny>> {
        let asked = Asked {
            topic,
            payload,
            qos,
            retain: false,
            extra,
        };
        let (message, limit) = slf.get().message(asked)?;
        let client = slf.get().client.get()?;
        wait(slf.py(), "request", limit, client.request(message))
    }

    #[expect(
        clippy::needless_pass_by_value,
        reason = "PyO3 extracts arguments by value"
    )]
    fn subscribe(
        &self,
        py: Python<'_>,
        filters: Vec<Bound<'_, PyAny>>,
        arguments: Given<SubscribeArguments>,
    ) -> PyResult<NativeSubscription> {
        let wanted = options::subscription(py, filters, &arguments.0)?;
        let client = self.client.get()?.clone();
        Ok(NativeSubscription::new(client, None, wanted))
    }

    #[pyo3(signature = (timeout=None))]
    fn drain(&self, py: Python<'_>, timeout: Option<f64>) -> PyResult<()> {
        let client = self.client.get()?;
        wait(py, "drain", options::limit(timeout)?, client.drain()).map(drop)
    }

    /// Waits for a connection; the event of it.
    #[pyo3(signature = (timeout=None))]
    fn wait_connected(&self, py: Python<'_>, timeout: Option<f64>) -> PyResult<Py<PyAny>> {
        let client = self.client.get()?;
        let limit = options::limit(timeout)?;
        wait(py, "wait_connected", limit, connected(client))
    }

    #[pyo3(signature = (timeout=None))]
    fn reauthenticate(&self, py: Python<'_>, timeout: Option<f64>) -> PyResult<()> {
        let client = self.client.get()?;
        let limit = options::limit(timeout)?;
        wait(py, "reauthenticate", limit, client.reauthenticate()).map(drop)
    }

    #[getter]
    fn speaks_v5(&self) -> bool {
        self.status.speaks_v5.load(Ordering::Relaxed)
    }

    /// A handler has failed: whoever listens is told.
    fn handler_failed(&self, topic: String, error: String) -> PyResult<()> {
        self.client.get()?.handler_failed(topic, error);
        Ok(())
    }

    fn negotiated<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyDict>>> {
        self.client
            .get()?
            .negotiated()
            .map(|negotiated| negotiated_fields(py, &negotiated))
            .transpose()
    }

    fn stats<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let client = self.client.get()?;
        stats_fields(py, &client.stats(), &client.round_trips())
    }

    fn events(&self) -> PyResult<NativeEvents> {
        Ok(NativeEvents::new(self.client.get()?, None))
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        match &self.asker {
            Some(asker) => asker.traverse(&visit),
            None => Ok(()),
        }
    }

    fn __clear__(&self) {
        if let Some(asker) = &self.asker {
            asker.let_go();
        }
    }
}

impl NativeSyncClient {
    /// What is to be published, and how long that may take.
    fn message(&self, asked: Asked<'_, '_>) -> PyResult<(Message, Option<Duration>)> {
        asked.whole_message(self.status.speaks_v5.load(Ordering::Relaxed))
    }

    fn end(&self, py: Python<'_>, how: Close, farewell: Farewell) -> PyResult<()> {
        let client = self.client.get()?;
        self.status.state.store(CLOSED, Ordering::Release);
        // The request stands with the first step of it; who is interrupted only stops waiting for the end.
        wait(py, "close", None, client.close_with(how, farewell)).map(drop)
    }
}

impl Drop for NativeSyncClient {
    fn drop(&mut self) {
        if let Some(asker) = &self.asker {
            asker.let_go();
        }
        self.status.cut_unclosed(
            &self.client,
            c"an rmqtt client was not closed: use `with client`, or `client.close()`",
        );
    }
}

/// Waits for one operation, at most for `limit`; dropped then.
fn wait<T: Into<Outcome> + Send>(
    py: Python<'_>,
    what: &'static str,
    limit: Option<Duration>,
    operation: impl Future<Output = Result<T, ClientError>> + Send,
) -> PyResult<Py<PyAny>> {
    match block_on(py, limit, operation)? {
        Some(outcome) => Outcome::from(outcome).to_py(py),
        None => Err(Failure::timed_out(what, limit).to_py(py)),
    }
}
