//! Somebody who is asked what a client may do: the application itself.

use super::{Acl, Rights};
use crate::broker::ClientInfo;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

/// Rules that are thought about. `None`: there is no answer, and the client is not let in.
pub type Thinking = Pin<Box<dyn Future<Output = Option<Arc<Acl>>> + Send>>;

/// The application, asked once for each connection, when it is known who it is.
pub trait Referee: Send + Sync + fmt::Debug {
    /// Asks. Dropping the future says that nobody waits any more.
    fn ask(&self, client: Arc<ClientInfo>) -> Thinking;
}

/// What somebody has answered who was asked.
#[derive(Debug, Clone)]
pub struct Ruling {
    /// What the client may do.
    pub rights: Arc<Rights>,
    /// That of everybody's rights when the question was put: an answer may be out of date when it comes.
    pub edition: u64,
}

impl Ruling {
    /// What the client may do, if somebody has said so.
    pub fn given(ruling: Option<&Self>) -> Option<Arc<Rights>> {
        ruling.map(|ruling| Arc::clone(&ruling.rights))
    }
}

/// What asking may cost.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RefereeLimits {
    /// Questions that are open at a time.
    pub open_max: usize,
    /// How long one may be thought about.
    pub timeout: Duration,
}

impl Default for RefereeLimits {
    fn default() -> Self {
        Self {
            open_max: 16,
            timeout: Duration::from_secs(5),
        }
    }
}
