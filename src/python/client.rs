//! The native half of `rmqtt.Client`: the hot path, and the binding to an event loop.
//!
//! A client belongs to the loop it was connected in. Publishing is allowed from threads without a loop too; from another
//! loop it is refused, since that loop would never hear of the end.

use super::backlog::Backlog;
use super::bridge::{
    Asker, Finished, ForkSafe, LoopPort, Op, Rouser, rest_of, running_port, runtime, within,
};
use super::errors::Failure;
use super::negotiated::negotiated_fields;
use super::options::{self, ClientArguments, FarewellArguments, Given, SubscribeArguments};
use super::outcome::{Outcome, PublishResult};
use super::publishing::{Asked, Extra, WhenFull};
use super::stats::stats_fields;
use super::subscription::NativeSubscription;
use crate::client::{Client, ClientError, Close, Event, Farewell, Rouse};
use crate::codec::ProtocolVersion;
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
    pub(super) client: ForkSafe<Client>,
    status: Arc<Status>,
    pub(super) backlog: Arc<Backlog>,
    port: Mutex<Option<Py<LoopPort>>>,
    pub(super) rouser: Rouser,
    /// Where the mechanism to authenticate is written in Python.
    asker: Option<Arc<Asker>>,
    /// What a publish with QoS 0 returns, every time.
    pub(super) finished: Py<Finished>,
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
            rouser: Rouser::default(),
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
        let asked = Asked {
            topic,
            payload,
            qos,
            retain,
            extra,
        };
        Self::publish_or(slf, asked, WhenFull::Wait)
    }

    /// As `publish`, for who does not wait for room.
    #[pyo3(signature = (topic, payload, qos, retain, extra=None, /))]
    fn publish_nowait<'py>(
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
        Self::publish_or(slf, asked, WhenFull::Raise)
    }

    /// Publishes what asks, and waits for the answer.
    #[pyo3(signature = (topic, payload, qos, extra, /))]
    fn request<'py>(
        slf: &Bound<'py, Self>,
        topic: &Bound<'py, PyString>,
        payload: &Bound<'py, PyAny>,
        qos: i64,
        extra: Option<Given<Extra>>,
    ) -> PyResult<Py<Op>> {
        let asked = Asked {
            topic,
            payload,
            qos,
            retain: false,
            extra,
        };
        Self::ask(slf, asked)
    }

    /// The loop's turn is over: what was put in meanwhile is on its way. Private to the bridge.
    fn flush(&self) -> PyResult<()> {
        self.rouser.called();
        self.client.get()?.rouse();
        Ok(())
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
        let port = self.open_port(py)?.0;
        Ok(NativeSubscription::new(client, Some(port), wanted))
    }

    #[pyo3(signature = (timeout=None))]
    fn drain(&self, py: Python<'_>, timeout: Option<f64>) -> PyResult<Py<Op>> {
        let client = self.client.get()?.clone();
        let (port, _) = self.open_port(py)?;
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

    /// Waits for a connection; the event of it.
    #[pyo3(signature = (timeout=None))]
    fn wait_connected(&self, py: Python<'_>, timeout: Option<f64>) -> PyResult<Py<Op>> {
        let client = self.client.get()?.clone();
        let port = match self.bound_port(py) {
            Some(port) => {
                port.get().check_here(py, "client")?;
                port
            }
            None => running_port(py)?,
        };
        let limit = options::limit(timeout)?;
        Op::spawn(py, port, async move {
            match limit {
                None => connected(&client).await.into(),
                Some(limit) => within(limit, connected(&client))
                    .await
                    .map_or_else(|| timed_out("wait_connected", limit), Into::into),
            }
        })
    }

    /// A handler has failed: whoever listens is told.
    fn handler_failed(&self, topic: String, error: String) -> PyResult<()> {
        self.client.get()?.handler_failed(topic, error);
        Ok(())
    }

    fn reauthenticate(&self, py: Python<'_>) -> PyResult<Py<Op>> {
        let client = self.client.get()?.clone();
        let (port, _) = self.open_port(py)?;
        Op::spawn_to_the_end(
            py,
            port,
            async move { client.reauthenticate().await.into() },
        )
    }

    #[getter]
    fn get_speaks_v5(&self) -> bool {
        self.speaks_v5()
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

    pub(super) fn speaks_v5(&self) -> bool {
        self.status.speaks_v5.load(Ordering::Relaxed)
    }

    fn bound_port(&self, py: Python<'_>) -> Option<Py<LoopPort>> {
        self.port.lock().as_ref().map(|port| port.clone_ref(py))
    }

    /// The port of a client that is open and used where it belongs, and when the network can be told of a message: where
    /// there is no loop, nothing comes later.
    pub(super) fn open_port(&self, py: Python<'_>) -> PyResult<(Py<LoopPort>, Rouse)> {
        match (
            self.status.state.load(Ordering::Acquire),
            self.bound_port(py),
        ) {
            (CLOSED, _) => Err(Failure::Closed.to_py(py)),
            (NEW, _) | (_, None) => Err(Failure::Client(ClientError::NotConnected).to_py(py)),
            (_, Some(port)) => {
                let is_here = port.get().is_here(py, "client")?;
                let rouse = if is_here { Rouse::Later } else { Rouse::Now };
                Ok((port, rouse))
            }
        }
    }
}

/// Waits for a connection.
pub(super) async fn connected(client: &Client) -> Result<Event, ClientError> {
    client.connected().await.map(Event::Connected)
}

pub(super) fn timed_out(what: &'static str, limit: Duration) -> Outcome {
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
