//! A callable of Python that says what a client may do: what it is asked goes out here, and the rules come in.

use super::bridge::{Asking, Questions};
use super::negotiated::version_text;
use super::options::RulesArgument;
use crate::broker::ClientInfo;
use crate::broker::rights::{Acl, Referee, Thinking};
use crate::transport::{PeerCertificate, PeerInfo};
use parking_lot::Mutex;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple};
use std::sync::{Arc, Weak};
use tokio::sync::oneshot;

type Inquiries = Questions<Arc<ClientInfo>, Option<Arc<Acl>>>;
type Asker = Asking<Arc<ClientInfo>, Option<Arc<Acl>>>;

/// The clients that a callable is asked about. Threads of Python's take them out.
#[pyclass(frozen, module = "rmqtt._rmqtt")]
pub(crate) struct NativeInquiries {
    inquiries: Arc<Inquiries>,
    /// Made once, however often the broker is told of it.
    referee: Mutex<Weak<Asker>>,
}

impl Referee for Asker {
    fn ask(&self, client: Arc<ClientInfo>) -> Thinking {
        let answer = self.ask(client);
        Box::pin(async { answer.await.flatten() })
    }
}

impl NativeInquiries {
    /// As somebody who is asked.
    pub(crate) fn referee(&self) -> Arc<dyn Referee> {
        let mut known = self.referee.lock();
        known.upgrade().unwrap_or_else(|| {
            let referee = Arc::new(self.inquiries.asking());
            *known = Arc::downgrade(&referee);
            referee
        })
    }
}

#[pymethods]
impl NativeInquiries {
    #[new]
    fn new() -> Self {
        Self {
            inquiries: Questions::new(),
            referee: Mutex::default(),
        }
    }

    fn open(&self) -> u64 {
        self.inquiries.open()
    }

    fn close(&self, py: Python<'_>) {
        py.detach(|| self.inquiries.close());
    }

    /// Waits for the next one.
    fn next<'py>(
        &self,
        py: Python<'py>,
        opening: u64,
    ) -> PyResult<Option<(Bound<'py, PyDict>, NativeRuling)>> {
        let Some((client, sender)) = py.detach(|| self.inquiries.next(opening)) else {
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
    set_peer(&fields, &client.peer)?;
    fields.set_item("username", client.username.as_deref())?;
    fields.set_item("user", client.user.as_deref())?;
    fields.set_item("keep_alive", client.keep_alive)?;
    Ok(fields)
}

/// Those of the fields that tell what is known of a peer before it has said a word.
pub(super) fn set_peer(fields: &Bound<'_, PyDict>, peer: &PeerInfo) -> PyResult<()> {
    let py = fields.py();
    let address = peer.address.map(|address| address.to_string());
    fields.set_item("peer_address", address)?;
    let certificate = peer.certificate.as_deref();
    let certificate = certificate.map(|certificate| certificate_fields(py, certificate));
    fields.set_item("certificate", certificate.transpose()?)?;
    fields.set_item("listener", peer.listener)
}

/// The fields of `rmqtt.PeerCertificate`.
fn certificate_fields<'py>(
    py: Python<'py>,
    certificate: &PeerCertificate,
) -> PyResult<Bound<'py, PyDict>> {
    let fields = PyDict::new(py);
    fields.set_item("common_name", certificate.common_name.as_deref())?;
    fields.set_item("subject", &certificate.subject)?;
    fields.set_item("serial", &certificate.serial)?;
    fields.set_item("dns_names", PyTuple::new(py, &certificate.dns_names)?)?;
    let emails = PyTuple::new(py, &certificate.email_addresses)?;
    fields.set_item("email_addresses", emails)?;
    fields.set_item("uris", PyTuple::new(py, &certificate.uris)?)?;
    let addresses = certificate.ip_addresses.iter().map(ToString::to_string);
    let addresses = PyTuple::new(py, addresses.collect::<Vec<_>>())?;
    fields.set_item("ip_addresses", addresses)?;
    Ok(fields)
}
