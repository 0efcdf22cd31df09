//! Who is sent away, and where to.

use super::Hub;
use crate::broker::protocol::Farewell;

impl Hub {
    /// Tells a client's connection to go; says whether there was one.
    pub fn disconnect(&self, client_id: &str, farewell: impl Into<Farewell>) -> bool {
        let bell = {
            let core = self.core.read();
            core.registry
                .find(client_id)
                .and_then(|key| core.registry.get(key)?.connection)
                .and_then(|connection| core.bell(connection))
        };
        match bell {
            Some(bell) => {
                bell.tell_to_go(farewell);
                true
            }
            None => false,
        }
    }

    /// From now on whoever wants to connect is turned away like this; `None`: nobody is. Connections that are there stay.
    pub fn turn_away(&self, farewell: Option<Farewell>) {
        self.core.write().turned_away = farewell;
    }

    pub(super) fn turned_away(&self) -> Option<Farewell> {
        self.core.read().turned_away.clone()
    }
}
