//! The native half of `rmqtt.Client`: the hot path, and the binding to an event loop.
//!
//! A client belongs to the loop it was connected in. Publishing is allowed from threads without a loop too; from another
//! loop it is refused, since that loop would never hear of the end.

use super::backlog::Backlog;
use super::bridge::{
    Asker, Finished, ForkSafe, LoopPort, Op, Remote, rest_of, running_port, runtime, within,
};
use super::errors::Failure;
use super::negotiated::negotiated_fields;
use super::options::{
    self, ClientArguments, FarewellArguments, Given, PropertyArguments, SubscribeArguments,
};
use super::outcome::{Outcome, PublishResult};
use super::payload;
use super::subscription::NativeSubscription;
use crate::client::{Client, ClientError, ClientStats, Close, Farewell, TryPublish};
use crate::codec::ProtocolVersion;
use crate::message::{Message, QoS};
use crate::topic::TopicName;
use parking_lot::Mutex;
use pyo3::exceptions::{PyResourceWarning, PyRuntimeError};
use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyString};
use std::ffi::CStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::time::Duration;

const NEW: u8 = 0;
const CONNECTING: u8 = 1;
const OPEN: u8 = 2;
pub(super) const CLOSED: u8 = 3;

/// What the network's side tells about the client.
pub(super) struct Status {
    pub(super) state: AtomicU8,
    pub(super) speaks_v5: AtomicBool,
}

impl Status {
    pub(super) fn new(version: ProtocolVersion) -> Arc<Self> {
        Arc::new(Self {
            state: AtomicU8::new(NEW),
            speaks_v5: AtomicBool::new(version == ProtocolVersion::V5),
        })
    }

    /// The first connection begins.
    ///
    /// # Errors
    /// Closed, or begun before.
    pub(super) fn begin(self: &Arc<Self>, py: Python<'_>) -> PyResult<Connecting> {
        match self
            .state
            .compare_exchange(NEW, CONNECTING, Ordering::AcqRel, Ordering::Acquire)
        {
            Ok(_) => Ok(Connecting(Arc::clone(self))),
            Err(CLOSED) => Err(Failure::Closed.to_py(py)),
            Err(_) => Err(PyRuntimeError::new_err("this client is connected already")),
        }
    }

    /// The Python object goes: a client that nobody closed is cut, so that nothing of it goes on, and that is told; the
    /// broker publishes its will.
    pub(super) fn cut_unclosed(&self, client: &ForkSafe<Client>, warning: &CStr) {
        let state = self.state.load(Ordering::Acquire);
        let Some(client) = client.if_ours() else {
            return;
        };
        if state != OPEN && state != CONNECTING {
            return;
        }
        let client = client.clone();
        if let Ok(runtime) = runtime() {
            runtime.spawn(async move { client.close(Close::Abort).await });
        }
        if state == CONNECTING {
            // Given up, by a time-out say; the network's side has not heard of it yet.
            return;
        }
        // Not attached only when the interpreter is finishing; then nobody reads warnings.
        Python::try_attach(|py| {
            let warned = PyErr::warn(py, &py.get_type::<PyResourceWarning>(), warning, 1);
            if let Err(error) = warned {
                error.write_unraisable(py, None);
            }
        });
    }
}

/// Sets the state back when connecting fails or is given up.
pub(super) struct Connecting(Arc<Status>);

impl Connecting {
    /// Connects.
    pub(super) async fn connect(self, client: Client) -> Result<(), ClientError> {
        let Self(status) = &self;
        let negotiated = client.connect().await?;
        let speaks_v5 = negotiated.version == ProtocolVersion::V5;
        status.speaks_v5.store(speaks_v5, Ordering::Relaxed);
        // Not if it was closed meanwhile.
        let _ =
            status
                .state
                .compare_exchange(CONNECTING, OPEN, Ordering::AcqRel, Ordering::Acquire);
        Ok(())
    }
}

impl Drop for Connecting {
    fn drop(&mut self) {
        // Not if it is open or closed by now.
        let _ = self
            .0
            .state
            .compare_exchange(CONNECTING, NEW, Ordering::AcqRel, Ordering::Acquire);
    }
}

/// The native half of a client.
#[pyclass(frozen, weakref, module = "rmqtt._rmqtt")]
pub(crate) struct NativeClient {
    client: ForkSafe<Client>,
    status: Arc<Status>,
    backlog: Arc<Backlog>,
    port: Mutex<Option<Py<LoopPort>>>,
    /// Where the mechanism to authenticate is written in Python.
    asker: Option<Arc<Asker>>,
    /// What a publish with QoS 0 returns, every time.
    finished: Py<Finished>,
}

#[pymethods]
impl NativeClient {
    #[new]
    fn new(py: Python<'_>, url: &str, arguments: Given<ClientArguments<'_>>) -> PyResult<Self> {
        let (options, asker) = options::client(url, arguments.0, py)?;
        Ok(Self {
            status: Status::new(options.version),
            client: ForkSafe::new(Client::new(options)),
            backlog: Arc::default(),
            port: Mutex::default(),
            asker,
            finished: Py::new(py, Finished::new(PublishResult::success(py)?))?,
        })
    }

    fn connect(&self, py: Python<'_>) -> PyResult<Py<Op>> {
        let client = self.client.get()?.clone();
        let port = running_port(py)?;
        let connecting = self.status.begin(py)?;
        if let Some(asker) = &self.asker {
            asker.bind(port.get().shared());
        }
        let previous = self.port.lock().replace(port.clone_ref(py));
        drop(previous);
        Op::spawn(
            py,
            port,
            async move { connecting.connect(client).await.into() },
        )
    }

    /// `how`: seconds to drain for, or `None` for an end that has the broker publish the will.
    #[pyo3(signature = (drain=None, farewell=None))]
    fn close(
        &self,
        py: Python<'_>,
        drain: Option<f64>,
        farewell: Option<Given<FarewellArguments>>,
    ) -> PyResult<Py<Op>> {
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
    fn abort(&self, py: Python<'_>) -> PyResult<Py<Op>> {
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
        let this = slf.get();
        let py = slf.py();
        let client = this.client.get()?;
        let topic = TopicName::new(topic.to_cow()?.as_ref())
            .map_err(|error| options::topic_error(error, py))?;
        let given = payload::take(payload)?;
        let is_text = given.is_text && this.status.speaks_v5.load(Ordering::Relaxed);
        let mut limit = None;
        let properties = match extra {
            Some(Given(Extra {
                timeout,
                properties,
            })) => {
                limit = timeout
                    .map(|seconds| options::duration("timeout", seconds))
                    .transpose()?;
                properties.read(is_text, py)?
            }
            None if is_text => Some(options::text_properties()),
            None => None,
        };
        let message = Message {
            topic,
            payload: given.bytes,
            qos: options::qos(qos)?,
            retain,
            properties,
        };
        let port = this.open_port(py)?;
        this.publish_now(py, client, &Waiter { port, limit }, message)
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
        let (filters, settings) = options::subscription(py, filters, &arguments.0)?;
        let client = self.client.get()?.clone();
        Ok(NativeSubscription::new(
            client,
            Some(self.open_port(py)?),
            filters,
            settings,
        ))
    }

    #[pyo3(signature = (timeout=None))]
    fn drain(&self, py: Python<'_>, timeout: Option<f64>) -> PyResult<Py<Op>> {
        let client = self.client.get()?.clone();
        let port = self.open_port(py)?;
        let limit = timeout
            .map(|seconds| options::duration("timeout", seconds))
            .transpose()?;
        let passed = self.backlog.passed();
        let drained = async move {
            passed.await;
            client.drain().await
        };
        Op::spawn(py, port, async move {
            match limit {
                None => drained.await.into(),
                Some(limit) => within(limit, drained)
                    .await
                    .map_or_else(|| timed_out("drain", limit), Outcome::from),
            }
        })
    }

    fn reauthenticate(&self, py: Python<'_>) -> PyResult<Py<Op>> {
        let client = self.client.get()?.clone();
        let port = self.open_port(py)?;
        Op::spawn_to_the_end(
            py,
            port,
            async move { client.reauthenticate().await.into() },
        )
    }

    fn negotiated<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyDict>>> {
        self.client
            .get()?
            .negotiated()
            .map(|negotiated| negotiated_fields(py, &negotiated))
            .transpose()
    }

    fn stats<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        stats_fields(py, &self.client.get()?.stats())
    }

    fn events(&self, py: Python<'_>) -> PyResult<super::events::NativeEvents> {
        Ok(super::events::NativeEvents::new(
            self.client.get()?,
            self.bound_port(py),
        ))
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        if let Some(port) = self.port.try_lock()
            && let Some(port) = port.as_ref()
        {
            visit.call(port)?;
        }
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

/// Of a publish: what is rarely given.
#[derive(FromPyObject)]
pub(crate) struct Extra {
    #[pyo3(item)]
    pub(super) timeout: Option<f64>,
    #[pyo3(item)]
    pub(super) properties: PropertyArguments,
}

/// The counters, by the field names of `rmqtt.ClientStats`.
pub(super) fn stats_fields<'py>(
    py: Python<'py>,
    stats: &ClientStats,
) -> PyResult<Bound<'py, PyDict>> {
    let fields = PyDict::new(py);
    fields.set_item("connected", stats.connected)?;
    fields.set_item("connects", stats.connects)?;
    fields.set_item("messages_sent", stats.messages_sent)?;
    fields.set_item("messages_received", stats.messages_received)?;
    fields.set_item("bytes_sent", stats.bytes_sent)?;
    fields.set_item("bytes_received", stats.bytes_received)?;
    fields.set_item("acknowledged", stats.acknowledged)?;
    fields.set_item("dropped", stats.dropped)?;
    fields.set_item("queued_messages", stats.queued_messages)?;
    fields.set_item("queued_bytes", stats.queued_bytes)?;
    fields.set_item("in_flight", stats.in_flight)?;
    Ok(fields)
}

impl NativeClient {
    fn end(&self, py: Python<'_>, how: Close, farewell: Farewell) -> PyResult<Py<Op>> {
        let client = self.client.get()?.clone();
        let port = match self.bound_port(py) {
            // Where its own loop is gone, any other may end it.
            Some(port) if !port.get().is_closed(py)? => {
                port.get().check_here(py, "client")?;
                port
            }
            _ => running_port(py)?,
        };
        // From here on nothing more is taken; what was taken has its time to leave.
        self.status.state.store(CLOSED, Ordering::Release);
        let leaving = match how {
            Close::Drain(limit) => {
                self.backlog.leave_cleanly();
                Some((limit, self.backlog.passed()))
            }
            Close::WithWill | Close::Abort => None,
        };
        let backlog = Arc::clone(&self.backlog);
        Op::spawn_to_the_end(py, port, async move {
            let how = match leaving {
                Some((limit, passed)) => Close::Drain(rest_of(limit, passed).await),
                None => how,
            };
            // Looked at before: it can be said.
            let _ = client.close_with(how, farewell).await;
            // Whoever waits there is told before this is over: after it, the loop may be gone.
            backlog.passed().await;
            Outcome::Nothing
        })
    }

    fn bound_port(&self, py: Python<'_>) -> Option<Py<LoopPort>> {
        self.port.lock().as_ref().map(|port| port.clone_ref(py))
    }

    /// The port of a client that is open and used where it belongs.
    fn open_port(&self, py: Python<'_>) -> PyResult<Py<LoopPort>> {
        match (
            self.status.state.load(Ordering::Acquire),
            self.bound_port(py),
        ) {
            (CLOSED, _) => Err(Failure::Closed.to_py(py)),
            (NEW, _) | (_, None) => Err(Failure::Client(ClientError::NotConnected).to_py(py)),
            (_, Some(port)) => {
                port.get().check_here(py, "client")?;
                Ok(port)
            }
        }
    }

    fn publish_now(
        &self,
        py: Python<'_>,
        client: &Client,
        waiter: &Waiter,
        message: Message,
    ) -> PyResult<Py<PyAny>> {
        let fail = |error: ClientError| Failure::from(error).to_py(py);
        if !self.backlog.is_empty() {
            return self.wait_for_room(py, client, waiter, message);
        }
        if message.qos == QoS::AtMostOnce {
            return match client.try_publish(message, None).map_err(fail)? {
                TryPublish::Queued => Ok(self.finished.clone_ref(py).into_any()),
                TryPublish::Full(message, _) => self.wait_for_room(py, client, waiter, message),
            };
        }
        let (op, remote) = waiter.op(py)?;
        match client.try_publish(message, Some(Box::new(self.backlog.publisher(remote)))) {
            Ok(TryPublish::Queued) => Ok(op.into_any()),
            // The operation goes unseen; another one waits.
            Ok(TryPublish::Full(message, _)) => self.wait_for_room(py, client, waiter, message),
            Err(error) => Err(fail(error)),
        }
    }

    fn wait_for_room(
        &self,
        py: Python<'_>,
        client: &Client,
        waiter: &Waiter,
        message: Message,
    ) -> PyResult<Py<PyAny>> {
        let (op, remote) = waiter.op(py)?;
        self.backlog.push(py, client, message, remote)?;
        Ok(op.into_any())
    }
}

/// Where a publish is waited for, and for how long.
struct Waiter {
    port: Py<LoopPort>,
    limit: Option<Duration>,
}

impl Waiter {
    fn op(&self, py: Python<'_>) -> PyResult<(Py<Op>, Remote)> {
        let port = self.port.clone_ref(py);
        match self.limit {
            None => Op::new(py, port),
            Some(limit) => Op::with_limit(py, port, limit, timed_out("publish", limit)),
        }
    }
}

fn timed_out(what: &'static str, limit: Duration) -> Outcome {
    Outcome::Failed(Failure::timed_out(what, Some(limit)))
}

impl Drop for NativeClient {
    /// A client that nobody closed is cut, so that nothing of it goes on; the broker publishes its will.
    fn drop(&mut self) {
        if let Some(asker) = &self.asker {
            asker.let_go();
        }
        self.status.cut_unclosed(
            &self.client,
            c"an rmqtt client was not closed: use `async with client`, or `await client.close()`",
        );
    }
}
