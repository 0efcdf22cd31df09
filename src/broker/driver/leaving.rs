//! The end of a connection: what is counted, what is said, and what becomes of the session.

use super::connection::{Connection, End, Link};
use crate::broker::Limit;
use crate::broker::protocol::ProtocolError;
use crate::broker::registry::Leave;
use crate::codec::ReasonCode;

impl Connection {
    /// Lets go of the session. The peer is told why, where it can be.
    pub(super) fn take_leave(&mut self, end: &End) {
        let counters = self.hub.counters();
        match end {
            End::Refused | End::Fault(ProtocolError::Refused(_)) => {
                counters.connects_refused.add_one();
            }
            End::Fault(error) => {
                counters.connections_violated.add_one();
                if let Some(limit) = error.limit(self.hub.limits()) {
                    counters.reached(limit);
                }
            }
            End::Crowded(limit) => {
                counters.connects_refused.add_one();
                counters.reached(*limit);
            }
            End::Full => {
                counters.connections_violated.add_one();
                counters.reached(Limit::HeldBytesMax);
            }
            End::ToldToGo(farewell) if farewell.reason == ReasonCode::QuotaExceeded => {
                counters.connections_violated.add_one();
            }
            _ => {}
        }
        self.count_reached();
        self.note_end(end);
        self.answer_withheld();
        match end {
            // spec(5): MQTT-3.1.4-3
            End::ToldToGo(farewell) => self.protocol.close(farewell.clone()),
            End::Full => self.protocol.close(ReasonCode::QuotaExceeded),
            _ => {}
        }
        let (publish_will, session_expiry_interval) = match end {
            End::Goodbye {
                publish_will,
                session_expiry_interval,
            } => (*publish_will, *session_expiry_interval),
            _ => (true, None),
        };
        self.let_go(publish_will, session_expiry_interval);
    }

    /// Limits that were reached without the end of the connection.
    pub(super) fn count_reached(&mut self) {
        for limit in self.protocol.take_reached() {
            self.hub.counters().reached(limit);
        }
    }

    pub(super) fn let_go(&mut self, publish_will: bool, session_expiry_interval: Option<u32>) {
        self.pipe.forget_input();
        match std::mem::replace(&mut self.link, Link::None) {
            Link::None => {}
            Link::Waiting(connection, _) => self.hub.give_up(connection, self.now()),
            Link::Attached(attached) => {
                self.hub
                    .note_settled(&attached, &self.protocol.take_ended());
                self.hub.settle(&attached, &self.protocol.take_settled());
                let leave = Leave {
                    session: self.protocol.take_session(),
                    publish_will,
                    session_expiry_interval,
                };
                self.hub.detach(&attached, leave, self.now());
                // What the session holds is its queue's to charge now.
                self.charge.set(0);
            }
        }
    }
}
