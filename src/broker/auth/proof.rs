//! What a login rests upon that can be taken away while its client is connected.

use super::hash::StoredHash;
use super::tokens::Key;
use super::{PasswordFile, Tokens};
use bytestring::ByteString;
use std::fmt;
use std::sync::Arc;

/// What a login rests upon, as it was then.
pub enum Proof {
    /// What a password file had for its user.
    Password(Arc<PasswordFile>, ByteString, Arc<StoredHash>),
    /// The key that its token was signed by.
    Token(Arc<Tokens>, Arc<Key>),
}

/// What has become of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// It is there as it was.
    Good,
    /// Something else is in its place: the user has to prove anew to be who it is.
    Changed,
    /// There is no such user any more.
    Gone,
}

impl Proof {
    /// What has become of it by now.
    pub fn standing(&self) -> Standing {
        match self {
            Self::Password(file, user, hash) => file.standing(user, hash),
            Self::Token(tokens, key) => tokens.standing(key),
        }
    }
}

/// No two logins rest upon the same, though it may look so.
impl PartialEq for Proof {
    fn eq(&self, other: &Self) -> bool {
        std::ptr::eq(self, other)
    }
}

impl Eq for Proof {}

impl fmt::Debug for Proof {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Password(..) => "Password",
            Self::Token(..) => "Token",
        })
    }
}
