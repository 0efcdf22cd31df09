//! A callable of Python that says who may connect: what it is asked goes out here, and its answer comes in.

use super::bridge::{Asking, Questions};
use super::inquiries::set_peer;
use crate::broker::auth::{Hook, HookFailed, Login, Thinking, Verdict};
use parking_lot::Mutex;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict};
use std::sync::Arc;
use tokio::sync::oneshot;

type Answered = Result<Verdict, HookFailed>;
type Logins = Questions<Arc<Login>, Answered>;

/// The logins that a callable is asked about. Threads of Python's take them out.
#[pyclass(frozen, module = "rmqtt._rmqtt")]
pub(crate) struct NativeLogins(Arc<Logins>);

impl Hook for Asking<Arc<Login>, Answered> {
    fn ask(&self, login: Arc<Login>) -> Thinking {
        let answer = self.ask(login);
        Box::pin(async { answer.await.unwrap_or(Err(HookFailed)) })
    }
}

impl NativeLogins {
    /// As a source of users.
    pub(crate) fn hook(&self) -> Arc<dyn Hook> {
        Arc::new(self.0.asking())
    }
}

#[pymethods]
impl NativeLogins {
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
    ) -> PyResult<Option<(Bound<'py, PyDict>, NativeVerdict)>> {
        let Some((login, sender)) = py.detach(|| self.0.next(opening)) else {
            return Ok(None);
        };
        let fields = login_fields(py, &login)?;
        Ok(Some((fields, NativeVerdict(Mutex::new(Some(sender))))))
    }
}

/// The fields of `rmqtt.Login`.
fn login_fields<'py>(py: Python<'py>, login: &Login) -> PyResult<Bound<'py, PyDict>> {
    let fields = PyDict::new(py);
    fields.set_item("client_id", &*login.client_id)?;
    fields.set_item("username", login.username.as_deref())?;
    let password = login.password.as_ref();
    fields.set_item(
        "password",
        password.map(|password| PyBytes::new(py, password)),
    )?;
    set_peer(&fields, &login.peer)?;
    Ok(fields)
}

/// What a callable answers through. The first answer counts; without any it has failed.
#[pyclass(frozen, module = "rmqtt._rmqtt")]
pub(crate) struct NativeVerdict(Mutex<Option<oneshot::Sender<Answered>>>);

/// What a callable may return.
#[derive(FromPyObject)]
enum Returned {
    Is(bool),
    User(String),
}

#[pymethods]
impl NativeVerdict {
    /// The answer; whether somebody still waited for it.
    fn give(&self, answer: Option<Returned>) -> bool {
        let verdict = match answer {
            None => Verdict::Unknown,
            Some(Returned::Is(true)) => Verdict::Yes,
            Some(Returned::Is(false)) => Verdict::No,
            Some(Returned::User(user)) => Verdict::User(user),
        };
        self.send(Ok(verdict))
    }

    /// There is none; whether somebody still waited for it.
    fn fail(&self) -> bool {
        self.send(Err(HookFailed))
    }
}

impl NativeVerdict {
    fn send(&self, answer: Answered) -> bool {
        let sender = self.0.lock().take();
        sender.is_some_and(|sender| sender.send(answer).is_ok())
    }
}
