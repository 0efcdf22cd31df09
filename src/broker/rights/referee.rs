//! Somebody who is asked what a client may do: the application itself.

use super::Acl;
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
