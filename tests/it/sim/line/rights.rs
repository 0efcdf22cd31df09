//! What a client may do, where its connection has to know: as the connection's task does.

use super::{Around, Line, Link};
use rmqtt::broker::hub::Hub;
use rmqtt::broker::protocol::Farewell;
use rmqtt::codec::{Connect, ReasonCode};

impl Line {
    /// Learns what its client may do now, if that may be something else than before.
    pub(super) fn heed_rights(&mut self, hub: &Hub) {
        let Link::Attached(attached) = &mut self.link else {
            return;
        };
        let edition = hub.rights_edition();
        if edition != attached.rights_edition {
            attached.rights_edition = edition;
            self.protocol.set_rights(hub.rights_of(attached));
        }
    }

    /// Counts what was refused.
    pub(super) fn note_denied(&mut self, hub: &Hub) {
        let denied = self.protocol.take_denied();
        hub.counters().publishes_denied.add(denied.publishes);
        let subscriptions = &hub.counters().subscriptions_denied;
        subscriptions.add(denied.subscriptions);
    }

    /// What was not sent again, since the client may not read it any more.
    pub(super) fn note_ended(&mut self, around: &mut Around<'_>) {
        if let Link::Attached(attached) = &self.link {
            let ended = self.protocol.take_ended();
            around.hub.note_settled(attached, &ended);
            around.model.denied(self.client, ended.denied);
            around.model.returned(self.client, ended.returned.len());
        }
    }

    /// The client is not let in: it wants a will that it may not have.
    pub(super) fn turn_away(
        &mut self,
        farewell: Farewell,
        connect: &Connect,
        around: &mut Around<'_>,
    ) {
        assert_eq!(farewell.reason, ReasonCode::NotAuthorized);
        self.said.version = connect.version;
        self.protocol.refuse(farewell);
        self.said_along(around);
        self.end(true, None, around);
    }
}
