//! What a connection's client may do: kept in its `protocol`, and looked up again when anybody's rights have changed.

use super::connection::{Connection, Link};

impl Connection {
    /// Learns what its client may do now, if that may be something else than before.
    pub(super) fn heed_rights(&mut self) {
        let Link::Attached(attached) = &mut self.link else {
            return;
        };
        let edition = self.hub.rights_edition();
        if edition != attached.rights_edition {
            attached.rights_edition = edition;
            self.protocol.set_rights(self.hub.rights_of(attached));
            self.inquire_again();
        }
    }

    /// Counts what was refused.
    pub(super) fn note_denied(&mut self) {
        let denied = self.protocol.take_denied();
        let counters = self.hub.counters();
        counters.publishes_denied.add(denied.publishes);
        counters.subscriptions_denied.add(denied.subscriptions);
    }
}
