//! What can go wrong for a broker as a whole. What a peer does wrong ends that peer's connection, and is no error here.

use crate::broker::Limit;
use crate::transport::TlsError;
use std::io;

/// Why an operation of a broker failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BrokerError {
    /// An address could not be listened at.
    #[error("could not listen at {address}: {cause}")]
    Bind {
        /// Where.
        address: String,
        /// The operating system's kind of error.
        kind: io::ErrorKind,
        /// The operating system's number, if it has one.
        os_code: Option<i32>,
        /// The operating system's words.
        cause: String,
    },
    /// The options contradict each other or ask for what is not safe.
    #[error("{0}")]
    Options(String),
    /// A certificate, key or revocation list that was to be read again.
    #[error("tls: {0}")]
    Tls(#[from] TlsError),
    /// Started while running.
    #[error("the broker is running already")]
    AlreadyRunning,
    /// Used while not running.
    #[error("the broker is not running")]
    NotRunning,
    /// Something was to be retained, by a broker whose features leave that out.
    #[error("this broker retains no messages")]
    RetainUnavailable,
    /// The store of retained messages has no room.
    #[error("the store of retained messages is full: {}", limit.name())]
    RetainedFull {
        /// Which limit.
        limit: Limit,
    },
}
