//! What is told to whoever keeps a log.

use super::{ConnectionId, Hub};
use crate::broker::ClientInfo;
use crate::broker::journal::{Entry, Journal};

impl Hub {
    /// The same, telling there what happens.
    #[must_use]
    pub fn with_journal(self, journal: Option<Journal>) -> Self {
        Self { journal, ..self }
    }

    /// Whether anybody is told.
    pub fn has_journal(&self) -> bool {
        self.journal.is_some()
    }

    /// Tells it.
    pub fn note(&self, entry: &Entry<'_>) {
        if let Some(journal) = &self.journal {
            journal(entry);
        }
    }

    /// Who has this connection, where anybody is told of it.
    pub fn noted(&self, connection: ConnectionId) -> Option<ClientInfo> {
        self.journal.as_ref()?;
        let core = self.core.read();
        Some(core.connections.get(&connection)?.info.clone())
    }
}
