//! The native half of `rmqtt.Broker`. It runs on the network's threads alone: a busy interpreter does not stall it.

use super::bridge::{ForkSafe, Op, block_on, reply, running_port, runtime};
use super::capture::NativeCapture;
use super::errors::{Failure, qos as qos_member, tls_error};
use super::inquiries::client_fields;
use super::ledger;
use super::message::PyMessage;
use super::options::{
    self, AccessArguments, AclArgument, Given, LimitsArguments, ListenerArguments,
    PropertyArguments, SeamsArguments, TermsArguments,
};
use super::outcome::Outcome;
use super::payload;
use super::snapshot::NativeSnapshot;
use super::testing::{NativeFaults, NativeWire};
use crate::broker::auth::Auth;
use crate::broker::rights::Access;
use crate::broker::{Broker, BrokerError};
use crate::message::Message;
use crate::topic::TopicName;
use crate::transport::Address;
use pyo3::exceptions::PyResourceWarning;
use pyo3::prelude::*;
use pyo3::types::PyDict;
use std::sync::Arc;
use std::time::Duration;

/// The native half of a broker.
#[pyclass(frozen, weakref, module = "rmqtt._rmqtt")]
pub(crate) struct NativeBroker {
    broker: ForkSafe<Broker>,
}

impl NativeBroker {
    /// Who may connect.
    pub(super) fn auth(&self) -> PyResult<Option<Arc<Auth>>> {
        Ok(self.broker.get()?.auth())
    }
}

#[pymethods]
impl NativeBroker {
    #[new]
    #[expect(
        clippy::needless_pass_by_value,
        reason = "PyO3 extracts arguments by value"
    )]
    fn new(
        listeners: Vec<Given<ListenerArguments>>,
        access: Given<AccessArguments>,
        limits: Given<LimitsArguments>,
        terms: Given<TermsArguments>,
        seams: Given<SeamsArguments>,
        py: Python<'_>,
    ) -> PyResult<Self> {
        let options = options::broker(listeners, access.0, &limits.0, terms.0, &seams.0, py)?;
        Ok(Self {
            broker: ForkSafe::new(Broker::new(options)),
        })
    }

    /// Starts, and waits in the event loop.
    fn start(&self, py: Python<'_>) -> PyResult<Py<Op>> {
        let broker = self.broker.get()?.clone();
        Op::spawn_to_the_end(
            py,
            running_port(py)?,
            async move { broker.start().await.into() },
        )
    }

    /// Stops, and waits in the event loop.
    fn stop(&self, py: Python<'_>, grace: f64) -> PyResult<Py<Op>> {
        let broker = self.broker.get()?.clone();
        let grace = options::duration("grace", grace)?;
        Op::spawn_to_the_end(py, running_port(py)?, async move {
            broker.stop(grace).await;
            Outcome::Nothing
        })
    }

    /// Starts, and waits here.
    fn start_blocking(&self, py: Python<'_>) -> PyResult<()> {
        let broker = self.broker.get()?.clone();
        block_on(py, None, broker.start())?
            .unwrap_or(Ok(()))
            .map_err(|error| Failure::from(error).to_py(py))
    }

    /// Stops, and waits here.
    fn stop_blocking(&self, py: Python<'_>, grace: f64) -> PyResult<()> {
        let broker = self.broker.get()?.clone();
        let grace = options::duration("grace", grace)?;
        block_on(py, None, broker.stop(grace)).map(drop)
    }

    /// Ends as by a power cut, and waits here.
    fn crash(&self, py: Python<'_>, keep: &str) -> PyResult<()> {
        let broker = self.broker.get()?.clone();
        let keep = options::keep(keep)?;
        to_the_end(py, async move { broker.crash(keep).await })
    }

    fn snapshot(&self, py: Python<'_>) -> PyResult<NativeSnapshot> {
        let broker = self.broker.get()?.clone();
        let snapshot = block_on(py, None, broker.snapshot())?;
        NativeSnapshot::of(snapshot)
    }

    /// Both sides of the ledger.
    fn balance<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let broker = self.broker.get()?.clone();
        let balance = block_on(py, None, broker.balance())?;
        ledger::fields(py, &balance.unwrap_or_default())
    }

    fn restore(&self, py: Python<'_>, snapshot: &NativeSnapshot) -> PyResult<()> {
        let broker = self.broker.get()?.clone();
        let snapshot = snapshot.get()?;
        to_the_end(py, async move {
            broker.restore(&snapshot).await;
            Ok(())
        })
    }

    /// Reads certificates and users again, and takes them together with what these say that clients may do.
    fn reload(
        &self,
        py: Python<'_>,
        everywhere: Option<AclArgument>,
        here: Vec<(usize, Option<AclArgument>)>,
    ) -> PyResult<()> {
        let policies = options::policies(everywhere, here, py)?;
        let broker = self.broker.get()?;
        let _context = runtime()?.enter();
        py.detach(|| broker.reload(Some(policies)))
            .map_err(|error| Failure::from(error).to_py(py))
    }

    fn reload_certificates(&self, py: Python<'_>) -> PyResult<()> {
        let broker = self.broker.get()?;
        py.detach(|| broker.reload_certificates())
            .map_err(|error| tls_error(py, &error))
    }

    fn check(&self, py: Python<'_>) -> PyResult<()> {
        let outcome = self.broker.get()?.check();
        outcome.map_err(|error| Failure::from(error).to_py(py))
    }

    #[getter]
    fn is_running(&self) -> PyResult<bool> {
        Ok(self.broker.get()?.is_running())
    }

    #[getter]
    fn urls(&self) -> PyResult<Vec<String>> {
        let addresses = self.broker.get()?.addresses();
        Ok(addresses.iter().map(ToString::to_string).collect())
    }

    #[getter]
    fn memory_url(&self) -> PyResult<String> {
        Ok(self.broker.get()?.memory_address().to_string())
    }

    /// The port of the first listener that has one.
    #[getter]
    fn port(&self) -> PyResult<Option<u16>> {
        let addresses = self.broker.get()?.addresses();
        Ok(addresses.iter().find_map(Address::port))
    }

    fn publish(
        slf: &Bound<'_, Self>,
        topic: String,
        payload: &Bound<'_, PyAny>,
        qos: i64,
        retain: bool,
        properties: Given<PropertyArguments>,
    ) -> PyResult<usize> {
        let py = slf.py();
        let given = payload::take(payload)?;
        let message = Message {
            topic: TopicName::new(topic).map_err(|error| options::topic_error(error, py))?,
            payload: given.bytes,
            qos: options::qos(qos)?,
            retain,
            properties: properties.0.read(given.is_text, py)?,
        };
        let broker = slf.get().broker.get()?;
        let _context = runtime()?.enter();
        py.detach(|| broker.publish(message))
            .map_err(|error| Failure::from(error).to_py(py))
    }

    /// From now on these say what clients may do: everywhere, and at listeners by their numbers. Who is asked, is asked
    /// again.
    fn set_acls(
        &self,
        py: Python<'_>,
        everywhere: Option<AclArgument>,
        here: Vec<(usize, Option<AclArgument>)>,
    ) -> PyResult<()> {
        let policies = options::policies(everywhere, here, py)?;
        let broker = self.broker.get()?;
        let _context = runtime()?.enter();
        py.detach(|| broker.set_policies(policies));
        Ok(())
    }

    /// Whether a client may publish there, or else be sent it, and by which rule.
    fn explain_right(
        &self,
        py: Python<'_>,
        client_id: &str,
        is_publish: bool,
        topic: String,
    ) -> PyResult<Option<(bool, Option<String>)>> {
        let topic = TopicName::new(topic).map_err(|error| options::topic_error(error, py))?;
        let access = if is_publish {
            Access::Publish
        } else {
            Access::Read
        };
        Ok(self.broker.get()?.explain_right(client_id, access, &topic))
    }

    fn disconnect(
        &self,
        py: Python<'_>,
        client_id: &str,
        reason: i64,
        server_reference: Option<&str>,
    ) -> PyResult<bool> {
        let farewell = options::farewell(reason, server_reference, py)?;
        let broker = self.broker.get()?;
        let _context = runtime()?.enter();
        Ok(py.detach(|| broker.disconnect(client_id, farewell)))
    }

    fn redirect(
        &self,
        py: Python<'_>,
        server_reference: Option<&str>,
        permanent: bool,
    ) -> PyResult<()> {
        let farewell = server_reference
            .map(|reference| options::to_server(reference, permanent, py))
            .transpose()?;
        let broker = self.broker.get()?;
        py.detach(|| broker.turn_away(farewell));
        Ok(())
    }

    fn faults(&self) -> PyResult<NativeFaults> {
        Ok(NativeFaults::new(self.broker.get()?.seams()))
    }

    fn wire(&self) -> PyResult<NativeWire> {
        Ok(NativeWire::new(self.broker.get()?.seams()))
    }

    fn capture(
        &self,
        py: Python<'_>,
        filter: &str,
        messages_max: usize,
    ) -> PyResult<NativeCapture> {
        NativeCapture::of(self.broker.get()?, filter, messages_max, py)
    }

    fn retained<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let broker = self.broker.get()?;
        let messages = py.detach(|| broker.retained());
        let by_topic = PyDict::new(py);
        for message in &messages {
            by_topic.set_item(message.topic.as_str(), PyMessage::kept(py, message)?)?;
        }
        Ok(by_topic)
    }

    /// The connected clients, each as the fields of `rmqtt.ClientInfo`.
    fn clients<'py>(&self, py: Python<'py>) -> PyResult<Vec<Bound<'py, PyDict>>> {
        let broker = self.broker.get()?;
        let clients = py.detach(|| broker.clients());
        clients
            .iter()
            .map(|client| client_fields(py, client))
            .collect()
    }

    /// The sessions, each as the fields of `rmqtt.SessionInfo`.
    fn sessions<'py>(&self, py: Python<'py>) -> PyResult<Vec<Bound<'py, PyDict>>> {
        let broker = self.broker.get()?;
        let sessions = py.detach(|| broker.sessions());
        sessions
            .into_iter()
            .map(|session| {
                let fields = PyDict::new(py);
                fields.set_item("client_id", session.client_id)?;
                fields.set_item("is_connected", session.is_connected)?;
                let subscriptions = PyDict::new(py);
                for (filter, qos) in session.subscriptions {
                    subscriptions.set_item(filter, qos_member(py, qos)?)?;
                }
                fields.set_item("subscriptions", subscriptions)?;
                fields.set_item("queued_messages", session.queued_messages)?;
                fields.set_item("in_flight", session.in_flight)?;
                let expiry = Some(session.expiry_interval).filter(|expiry| *expiry != u32::MAX);
                fields.set_item("expiry_interval", expiry)?;
                Ok(fields)
            })
            .collect()
    }

    fn no_local(&self, py: Python<'_>, client_id: &str) -> PyResult<Vec<String>> {
        let broker = self.broker.get()?;
        Ok(py.detach(|| broker.no_local(client_id)))
    }

    fn stats<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let stats = self.broker.get()?.stats();
        let fields = PyDict::new(py);
        fields.set_item("connections", stats.connections)?;
        fields.set_item("sessions", stats.sessions)?;
        fields.set_item("subscriptions", stats.subscriptions)?;
        fields.set_item("retained_messages", stats.retained_messages)?;
        fields.set_item("retained_bytes", stats.retained_bytes)?;
        fields.set_item("queued_messages", stats.queued_messages)?;
        fields.set_item("connects_accepted", stats.connects_accepted)?;
        fields.set_item("held_bytes", stats.held_bytes)?;
        fields.set_item("held_bytes_high", stats.held_bytes_high)?;
        fields.set_item("connects_refused", stats.connects_refused)?;
        fields.set_item("connections_violated", stats.connections_violated)?;
        fields.set_item("messages_received", stats.messages_received)?;
        fields.set_item("messages_delivered", stats.messages_delivered)?;
        fields.set_item("messages_dropped_qos0", stats.messages_dropped_qos0)?;
        fields.set_item(
            "messages_dropped_queue_full",
            stats.messages_dropped_queue_full,
        )?;
        fields.set_item("messages_expired", stats.messages_expired)?;
        fields.set_item("publishes_denied", stats.publishes_denied)?;
        fields.set_item("subscriptions_denied", stats.subscriptions_denied)?;
        fields.set_item("deliveries_denied", stats.deliveries_denied)?;
        fields.set_item("bytes_received", stats.bytes_received)?;
        fields.set_item("bytes_sent", stats.bytes_sent)?;
        fields.set_item("wills_published", stats.wills_published)?;
        fields.set_item("logins_failed", stats.logins_failed)?;
        fields.set_item("logins_throttled", stats.logins_throttled)?;
        fields.set_item("logins_revoked", stats.logins_revoked)?;
        fields.set_item("passwords_hashed", stats.passwords_hashed)?;
        fields.set_item("hooks_failed", stats.hooks_failed)?;
        fields.set_item("limits_reached", stats.limits_reached)?;
        Ok(fields)
    }
}

/// Waits here for what must not stop half way: Ctrl-C only stops the waiting.
fn to_the_end<T: Send + 'static>(
    py: Python<'_>,
    future: impl Future<Output = Result<T, BrokerError>> + Send + 'static,
) -> PyResult<T> {
    let (answer, outcome) = reply();
    runtime()?.spawn(async move { answer(future.await) });
    match block_on(py, None, outcome)?.flatten() {
        Some(outcome) => outcome.map_err(|error| Failure::from(error).to_py(py)),
        None => Err(Failure::from(BrokerError::NotRunning).to_py(py)),
    }
}

impl Drop for NativeBroker {
    /// A broker that nobody stopped is stopped, so that nothing of it goes on.
    fn drop(&mut self) {
        let Some(broker) = self.broker.if_ours() else {
            return;
        };
        if !broker.is_running() {
            return;
        }
        let broker = broker.clone();
        if let Ok(runtime) = runtime() {
            runtime.spawn(async move { broker.stop(Duration::ZERO).await });
        }
        // Not attached only when the interpreter is finishing; then nobody reads warnings.
        Python::try_attach(|py| {
            let warned = PyErr::warn(
                py,
                &py.get_type::<PyResourceWarning>(),
                c"an rmqtt broker was not stopped: use `with broker`, `async with broker`, or `broker.stop()`",
                1,
            );
            if let Err(error) = warned {
                error.write_unraisable(py, None);
            }
        });
    }
}
