//! How a client of Python proves who it is: SCRAM, or a mechanism written in Python and asked in the client's event loop; and
//! a password that is asked for there.

use super::bridge::{Answered, Asker};
use crate::client::ClientError;
use crate::client::auth::{
    AuthFailure, Authenticator, Exchange, PasswordSource, ScramSha256, Word,
};
use bytes::Bytes;
use pyo3::prelude::*;
use std::fmt;
use std::sync::Arc;

/// A mechanism as the client's room knows it, and who has to be shown to the collector.
pub(crate) type Mechanism = (Arc<dyn Authenticator>, Option<Arc<Asker>>);

/// The argument `auth` of `rmqtt.Client`.
#[derive(FromPyObject)]
pub(crate) enum AuthArgument {
    /// `rmqtt.ScramSha256`.
    Scram {
        #[pyo3(attribute("username"))]
        username: String,
        #[pyo3(attribute("password"))]
        password: String,
    },
    /// A method's name and the runner of its handler.
    Handler(String, Py<PyAny>),
}

impl AuthArgument {
    /// As a mechanism.
    ///
    /// # Errors
    /// A name or password that cannot be one.
    pub(crate) fn read(self) -> Result<Mechanism, ClientError> {
        match self {
            Self::Scram { username, password } => {
                Ok((Arc::new(ScramSha256::new(&username, &password)?), None))
            }
            Self::Handler(method, runner) => {
                if method.is_empty()
                    || method.len() > usize::from(u16::MAX)
                    || method.contains('\0')
                {
                    return Err(ClientError::Misuse(
                        "auth.method must be 1 to 65535 bytes, without NUL".to_owned(),
                    ));
                }
                let asker = Asker::new(runner);
                let handler = Handler {
                    method,
                    asker: Arc::clone(&asker),
                };
                Ok((Arc::new(handler), Some(asker)))
            }
        }
    }
}

/// A mechanism written in Python.
struct Handler {
    method: String,
    asker: Arc<Asker>,
}

impl fmt::Debug for Handler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Handler")
            .field("method", &self.method)
            .finish_non_exhaustive()
    }
}

impl Authenticator for Handler {
    fn method(&self) -> &str {
        &self.method
    }

    fn begin(&self) -> Box<dyn Exchange> {
        Box::new(Asking(Arc::clone(&self.asker)))
    }
}

struct Asking(Arc<Asker>);

impl Exchange for Asking {
    fn start(&mut self) -> Word<'_> {
        Box::pin(async { word(self.0.ask("start", None).await, HANDLER) })
    }

    fn step(&mut self, data: Option<Bytes>) -> Word<'_> {
        Box::pin(async { word(self.0.ask("step", data).await, HANDLER) })
    }

    fn finish(&mut self, data: Option<Bytes>) -> Word<'_> {
        Box::pin(async { word(self.0.ask("finish", data).await, HANDLER) })
    }
}

/// A function that gives the password.
pub(crate) struct Passwords(pub(crate) Arc<Asker>);

impl fmt::Debug for Passwords {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Passwords")
    }
}

impl PasswordSource for Passwords {
    fn ask(&self) -> Word<'_> {
        Box::pin(async { word(self.0.ask("password", None).await, PASSWORD) })
    }
}

const HANDLER: &str = "authentication handler";
const PASSWORD: &str = "function for the password";

fn word(answered: Answered, whose: &str) -> Result<Option<Bytes>, AuthFailure> {
    match answered {
        Some(Ok(data)) => Ok(data),
        // What a handler raises may be gone the next time: it asks others, who may be away for a while.
        Some(Err(raised)) => Err(AuthFailure {
            what: format!("the {whose} raised an exception"),
            is_final: false,
            cause: Some(Arc::new(raised)),
        }),
        None => Err(AuthFailure::new(format!(
            "the event loop of the {whose} is gone"
        ))),
    }
}
