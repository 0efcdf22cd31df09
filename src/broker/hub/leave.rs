//! Who is sent away, and where to.

use super::{Hub, Ordering};
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

    /// From now on connections that end do so as if by a power cut: no will is published. Or that is over.
    pub fn cut_off(&self, is_cut_off: bool) {
        self.is_cut_off.store(is_cut_off, Ordering::Relaxed);
    }

    /// Whether connections end as if by a power cut.
    pub fn is_cut_off(&self) -> bool {
        self.is_cut_off.load(Ordering::Relaxed)
    }

    /// Forgets all sessions, subscriptions and messages. Nobody may be connected.
    pub fn forget_everything(&self) {
        self.note_all(Some("lost by a crash"));
        let old = {
            let mut core = self.core.write();
            let fresh = core.renewed();
            std::mem::replace(&mut *core, fresh)
        };
        // Much may have to be given back: not under the lock.
        drop(old);
    }
}
