//! A callable of Python that says what a client may do: what it is asked goes out here, and the rules come in.

use super::bridge::Questions;
use super::negotiated::version_text;
use super::options::RulesArgument;
use crate::broker::ClientInfo;
use crate::broker::rights::{Acl, Referee, Thinking};
use parking_lot::Mutex;
use pyo3::prelude::*;
use pyo3::types::PyDict;
use std::fmt;
use std::sync::Arc;
use tokio::sync::oneshot;

type Inquiries = Questions<Arc<ClientInfo>, Option<Arc<Acl>>>;

/// The clients that a callable is asked about. Threads of Python's take them out.
#[pyclass(frozen, module = "rmqtt._rmqtt")]
pub(crate) struct NativeInquiries(Arc<Inquiries>);

/// The broker's side. When it goes, so do the threads.
struct Callable(Arc<Inquiries>);

impl fmt::Debug for Callable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Callable")
    }
}

impl Referee for Callable {
    fn ask(&self, client: Arc<ClientInfo>) -> Thinking {
        let answer = self.0.ask(client);
        Box::pin(async { answer.await.flatten() })
    }
}

impl Drop for Callable {
    fn drop(&mut self) {
        self.0.close();
    }
}

impl NativeInquiries {
    /// As somebody who is asked.
    pub(crate) fn referee(&self) -> Arc<dyn Referee> {
        Arc::new(Callable(Arc::clone(&self.0)))
    }
}

#[pymethods]
impl NativeInquiries {
    #[new]
    fn new() -> Self {
        Self(Questions::new())
    }

    fn open(&self) -> u64 {
        self.0.open()
    }

    fn close(&self, py: Python<'_>) {
        py.detach(|| self.0.close());
    }

    /// Waits for the next one.
    fn next<'py>(
        &self,
        py: Python<'py>,
        opening: u64,
    ) -> PyResult<Option<(Bound<'py, PyDict>, NativeRuling)>> {
        let Some((client, sender)) = py.detach(|| self.0.next(opening)) else {
            return Ok(None);
        };
        let fields = client_fields(py, &client)?;
        Ok(Some((fields, NativeRuling(Mutex::new(Some(sender))))))
    }
}

/// What a callable answers through. The first answer counts; without any it has failed.
#[pyclass(frozen, module = "rmqtt._rmqtt")]
pub(crate) struct NativeRuling(Mutex<Option<oneshot::Sender<Option<Arc<Acl>>>>>);

#[pymethods]
impl NativeRuling {
    /// The rules; whether somebody still waited for them.
    fn give(&self, py: Python<'_>, rules: RulesArgument) -> PyResult<bool> {
        let acl = Arc::new(rules.read(py)?);
        Ok(self.send(Some(acl)))
    }

    /// There are none; whether somebody still waited for them.
    fn fail(&self) -> bool {
        self.send(None)
    }
}

impl NativeRuling {
    fn send(&self, answer: Option<Arc<Acl>>) -> bool {
        let sender = self.0.lock().take();
        sender.is_some_and(|sender| sender.send(answer).is_ok())
    }
}

/// The fields of `rmqtt.ClientInfo`.
pub(super) fn client_fields<'py>(
    py: Python<'py>,
    client: &ClientInfo,
) -> PyResult<Bound<'py, PyDict>> {
    let fields = PyDict::new(py);
    fields.set_item("client_id", &client.client_id)?;
    fields.set_item("version", version_text(client.version))?;
    let peer = client.peer.address.map(|address| address.to_string());
    fields.set_item("peer_address", peer)?;
    fields.set_item("username", client.username.as_deref())?;
    fields.set_item("user", client.user.as_deref())?;
    fields.set_item("keep_alive", client.keep_alive)?;
    Ok(fields)
}
