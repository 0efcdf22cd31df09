//! Where rights come from, for everybody and for those who come through one listener.

use super::{Acl, Referee};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Where rights come from.
#[derive(Debug, Clone)]
pub enum Policy {
    /// From rules, that are there.
    Rules(Arc<Acl>),
    /// From somebody who is asked once for each connection.
    Asked(Arc<dyn Referee>),
}

impl From<Arc<Acl>> for Policy {
    fn from(acl: Arc<Acl>) -> Self {
        Self::Rules(acl)
    }
}

impl Policy {
    /// Whether something is said for users by their names.
    pub fn names_users(&self) -> bool {
        match self {
            Self::Rules(acl) => acl.names_users(),
            Self::Asked(_) => false,
        }
    }
}

/// All that a broker has. `None` in it: clients may do everything.
#[derive(Debug, Clone, Default)]
pub struct Policies {
    /// Where a listener has none of its own.
    pub everywhere: Option<Policy>,
    /// By the numbers of listeners.
    pub here: BTreeMap<usize, Option<Policy>>,
}

impl Policies {
    /// For who comes through this listener.
    pub fn at(&self, listener: Option<usize>) -> Option<&Policy> {
        let own = listener.and_then(|listener| self.here.get(&listener));
        own.unwrap_or(&self.everywhere).as_ref()
    }

    /// Who says what those may do who come through this listener, where somebody has to be asked.
    pub fn referee(&self, listener: Option<usize>) -> Option<&Arc<dyn Referee>> {
        match self.at(listener) {
            Some(Policy::Asked(referee)) => Some(referee),
            _ => None,
        }
    }

    /// Whether nobody has less than all rights.
    pub fn is_empty(&self) -> bool {
        self.all().next().is_none()
    }

    /// Whether anybody is asked.
    pub fn asks(&self) -> bool {
        self.all().any(|policy| matches!(policy, Policy::Asked(_)))
    }

    fn all(&self) -> impl Iterator<Item = &Policy> {
        self.everywhere.iter().chain(self.here.values().flatten())
    }
}
