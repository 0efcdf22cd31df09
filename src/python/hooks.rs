//! A callable of Python that says who may connect: what it is asked goes out here, and its answer comes in.

use super::bridge::Questions;
use crate::broker::auth::{Hook, HookFailed, Login, Thinking, Verdict};
use parking_lot::Mutex;
use pyo3::prelude::*;
use pyo3::types::PyBytes;
use std::fmt;
use std::sync::Arc;
use tokio::sync::oneshot;

type Answered = Result<Verdict, HookFailed>;
type Logins = Questions<Arc<Login>, Answered>;

/// The logins that a callable is asked about. Threads of Python's take them out.
#[pyclass(frozen, module = "rmqtt._rmqtt")]
pub(crate) struct NativeLogins(Arc<Logins>);

/// The broker's side. When it goes, so do the threads.
struct Callable(Arc<Logins>);

impl fmt::Debug for Callable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Callable")
    }
}

impl Hook for Callable {
    fn ask(&self, login: Arc<Login>) -> Thinking {
        let answer = self.0.ask(login);
        Box::pin(async { answer.await.unwrap_or(Err(HookFailed)) })
    }
}

impl Drop for Callable {
    fn drop(&mut self) {
        self.0.close();
    }
}

impl NativeLogins {
    /// As a source of users.
    pub(crate) fn hook(&self) -> Arc<dyn Hook> {
        Arc::new(Callable(Arc::clone(&self.0)))
    }
}

/// The fields of `rmqtt.Login`.
type Fields<'py> = (
    String,
    Option<String>,
    Option<Bound<'py, PyBytes>>,
    Option<String>,
);

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
    fn next<'py>(&self, py: Python<'py>, opening: u64) -> Option<(Fields<'py>, NativeVerdict)> {
        let (login, sender) = py.detach(|| self.0.next(opening))?;
        let fields = (
            login.client_id.to_string(),
            login.username.as_ref().map(ToString::to_string),
            login
                .password
                .as_ref()
                .map(|password| PyBytes::new(py, password)),
            login.address.map(|address| address.to_string()),
        );
        Some((fields, NativeVerdict(Mutex::new(Some(sender)))))
    }
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
