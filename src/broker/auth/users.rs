//! Users with passwords, given as they are and kept as what they can be checked against, made once: SCRAM verifiers.
//!
//! Whether a name is known must not show. An unknown one has a verifier too, made of its name and a secret of this
//! broker, so that it is asked for with the same salt each time, and costs the same.

use super::{Exchange, Opinion, random};
use crate::broker::BrokerError;
use crate::broker::stats::Counter;
use crate::scram::{self, Verifier};
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

/// The users of a broker.
pub struct Users {
    /// By prepared name.
    verifiers: BTreeMap<String, Verifier>,
    /// Makes up verifiers for names that nobody has.
    secret: [u8; 32],
}

impl fmt::Debug for Users {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Users")
            .field("count", &self.verifiers.len())
            .finish_non_exhaustive()
    }
}

impl Users {
    /// Makes the verifiers: milliseconds for each user.
    ///
    /// # Errors
    /// There is none, or a name or password is empty, too long, or has characters that cannot be compared (RFC 4013).
    pub fn new<N: AsRef<str>, P: AsRef<str>>(
        users: impl IntoIterator<Item = (N, P)>,
    ) -> Result<Self, BrokerError> {
        let mut verifiers = BTreeMap::new();
        for (name, password) in users {
            let name = name.as_ref();
            let prepared = scram::prepare(name)
                .ok_or_else(|| BrokerError::Options(format!("{name:?} cannot be a user's name")))?;
            let password = scram::prepare(password.as_ref()).ok_or_else(|| {
                BrokerError::Options(format!("the password of user {name:?} cannot be one"))
            })?;
            let mut salt = [0; 16];
            random(&mut salt)?;
            let verifier = Verifier::new(&password, salt);
            if verifiers.insert(prepared.into_owned(), verifier).is_some() {
                return Err(BrokerError::Options(format!(
                    "the user {name:?} is there twice"
                )));
            }
        }
        if verifiers.is_empty() {
            return Err(BrokerError::Options(
                "there are no users, so nobody could connect".to_owned(),
            ));
        }
        let mut secret = [0; 32];
        random(&mut secret)?;
        Ok(Self { verifiers, secret })
    }

    /// Begins an exchange by this method; `None`: it is not known.
    pub fn begin(self: &Arc<Self>, method: &str) -> Option<Exchange> {
        Exchange::begin(self, method)
    }

    /// Of a prepared name.
    pub(super) fn verifier(&self, name: &str) -> Option<&Verifier> {
        self.verifiers.get(name)
    }

    /// For a name that nobody has; of the prepared name, since that of a known one does not change with its spelling either.
    pub(super) fn made_up(&self, name: &str) -> Verifier {
        Verifier::made_up(&self.secret, name)
    }

    /// What they say of this name and password. Slow on purpose, and as slow for a name that nobody has.
    pub(super) fn check(&self, name: &str, password: &[u8], hashed: &Counter) -> Opinion {
        let prepared = scram::prepare(name);
        let text = std::str::from_utf8(password).ok().and_then(scram::prepare);
        let made_up = self.made_up(prepared.as_deref().unwrap_or(name));
        let known = prepared
            .as_deref()
            .and_then(|name| Some((name, self.verifiers.get(name)?)));
        hashed.add_one();
        let is_right = known
            .map_or(&made_up, |(_, verifier)| verifier)
            .fits(text.as_deref().unwrap_or_default());
        match known {
            Some((name, _)) if is_right && text.is_some() => Opinion::accepted(name),
            Some(_) => Opinion::Refused,
            None => Opinion::Unknown,
        }
    }
}
