//! The power goes: what a connection leaves behind then.

use super::{Around, Line, Link};
use rmqtt::broker::hub::Hub;

impl Line {
    /// Stands still between two batches, as its task would, and leaves a copy of its session.
    pub(crate) fn leave_copy(&mut self, hub: &Hub) {
        let Link::Attached(attached) = &self.link else {
            return;
        };
        hub.note_settled(attached, &self.protocol.take_ended());
        hub.settle(attached, &self.protocol.take_settled());
        let mut copy = self.protocol.session().clone();
        for (id, reason) in &self.withheld {
            copy.inbound.accepted(*id, *reason);
        }
        assert!(hub.leave_copy(attached, copy).is_some());
    }

    /// Ends, with no will said. Who waits for a session goes first, since nothing has begun for it.
    pub(crate) fn cut_off(&mut self, is_waiting: bool, around: &mut Around<'_>) {
        if matches!(self.link, Link::Attached(_)) == is_waiting {
            return;
        }
        if !is_waiting {
            around.model.take_back_will(self.client);
        }
        self.end(false, None, around);
    }
}
