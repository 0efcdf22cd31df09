//! How a client proves who it is by enhanced authentication (MQTT 5): the place where a mechanism fits in.
//!
//! An [`Authenticator`] is made once and begins an [`Exchange`] for each connection, and for each time the client
//! authenticates again. `protocol` says when it is whose turn, `driver` asks the exchange and never waits for it with the
//! connection standing still. [`ScramSha256`] is the mechanism that is here; applications bring their own.

mod scram;

pub use scram::ScramSha256;

use bytes::Bytes;
use std::any::Any;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

/// What an exchange says next, or why it cannot go on.
pub type Word<'a> = Pin<Box<dyn Future<Output = Result<Option<Bytes>, AuthFailure>> + Send + 'a>>;

/// A mechanism, and who it speaks for.
pub trait Authenticator: fmt::Debug + Send + Sync {
    /// The Authentication Method of CONNECT.
    fn method(&self) -> &str;

    /// A new exchange.
    fn begin(&self) -> Box<dyn Exchange>;
}

/// Where a password comes from that is not the same each time: a token that expires.
pub trait PasswordSource: fmt::Debug + Send + Sync {
    /// The password for the next CONNECT. Dropping the future gives that connection up.
    fn ask(&self) -> Word<'_>;
}

/// One exchange. Dropping the future of a step gives the exchange up.
pub trait Exchange: Send {
    /// The first word, for CONNECT or for AUTH 0x19.
    fn start(&mut self) -> Word<'_>;

    /// The answer to what the broker said.
    fn step(&mut self, data: Option<Bytes>) -> Word<'_>;

    /// The broker is content, and said this last. Where the broker has to prove something too, this is the time to look.
    /// Its own answer is not sent.
    fn finish(&mut self, data: Option<Bytes>) -> Word<'_>;
}

/// Why an exchange cannot go on.
#[derive(Clone)]
pub struct AuthFailure {
    /// For people; nothing secret.
    pub what: String,
    /// Whether another try would end the same way.
    pub is_final: bool,
    /// Whatever the mechanism wants to give to the one who asked.
    pub cause: Option<Arc<dyn Any + Send + Sync>>,
}

impl AuthFailure {
    /// One that another try would not change.
    pub fn new(what: impl Into<String>) -> Self {
        Self {
            what: what.into(),
            is_final: true,
            cause: None,
        }
    }
}

impl fmt::Display for AuthFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)
    }
}

impl fmt::Debug for AuthFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AuthFailure")
            .field("what", &self.what)
            .field("is_final", &self.is_final)
            .finish_non_exhaustive()
    }
}

impl PartialEq for AuthFailure {
    fn eq(&self, other: &Self) -> bool {
        let is_same_cause = match (&self.cause, &other.cause) {
            (None, None) => true,
            (Some(one), Some(other)) => Arc::ptr_eq(one, other),
            _ => false,
        };
        is_same_cause && self.what == other.what && self.is_final == other.is_final
    }
}

impl Eq for AuthFailure {}
