//! What the application itself says of a login.

use crate::transport::PeerInfo;
use bytes::Bytes;
use bytestring::ByteString;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

/// A CONNECT that wants in. `Debug` shows how long the password is, and not what.
#[derive(Clone, PartialEq, Eq)]
pub struct Login {
    /// Empty: the broker will choose one.
    pub client_id: ByteString,
    /// Who it says it is.
    pub username: Option<ByteString>,
    /// Its proof.
    pub password: Option<Bytes>,
    /// What is known of it before it has said a word.
    pub peer: PeerInfo,
}

impl fmt::Debug for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            client_id,
            username,
            password,
            peer,
        } = self;
        f.debug_struct("Login")
            .field("client_id", client_id)
            .field("username", username)
            .field("password", &crate::codec::Hidden(password))
            .field("peer", peer)
            .finish()
    }
}

/// What a hook says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Yes, it is who it says it is.
    Yes,
    /// Yes, and it is this user.
    User(String),
    /// No.
    No,
    /// Somebody else has to say.
    Unknown,
}

/// A hook that did not answer, or not with a verdict. The login is refused, and may be tried again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HookFailed;

/// A verdict that is thought about.
pub type Thinking = Pin<Box<dyn Future<Output = Result<Verdict, HookFailed>> + Send>>;

/// The application, asked once for each connection.
pub trait Hook: Send + Sync + fmt::Debug {
    /// Asks. Dropping the future says that nobody waits any more.
    fn ask(&self, login: Arc<Login>) -> Thinking;
}
