//! What sources of users have read again, before anybody goes by it.

use super::passwords::Entries;
use super::tokens::Keys;
use super::{PasswordFile, Source, Tokens};
use crate::broker::BrokerError;
use std::fmt;
use std::sync::Arc;

/// What was read again.
pub struct Renewed(Vec<Fresh>);

enum Fresh {
    Passwords(Arc<PasswordFile>, Arc<Entries>),
    Tokens(Arc<Tokens>, Arc<Keys>),
}

impl fmt::Debug for Renewed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Renewed")
            .field("sources", &self.0.len())
            .finish()
    }
}

impl Renewed {
    pub(super) fn read(sources: &[Source]) -> Result<Self, BrokerError> {
        let mut fresh = Vec::new();
        for source in sources {
            match source {
                Source::Passwords(file) => {
                    fresh.push(Fresh::Passwords(Arc::clone(file), file.prepare()?));
                }
                Source::Tokens(tokens) => {
                    fresh.push(Fresh::Tokens(Arc::clone(tokens), tokens.prepare()?));
                }
                Source::Users(_) | Source::Hook(_) => {}
            }
        }
        Ok(Self(fresh))
    }

    /// From now on logins go by it.
    pub fn commit(self) {
        for fresh in self.0 {
            match fresh {
                Fresh::Passwords(file, users) => file.replace(users),
                Fresh::Tokens(tokens, keys) => tokens.replace(keys),
            }
        }
    }
}
