//! What a client publishes, and how it is held back while a queue it publishes into is full.

use super::connection::{Connection, End, Link};
use crate::broker::hub::Published;
use crate::broker::outbox::Pressure;
use crate::broker::router::SessionKey;
use crate::codec::{PacketId, ReasonCode};
use crate::message::Message;
use std::time::Instant;

impl Connection {
    pub(super) fn on_publish(
        &mut self,
        message: &Message,
        packet_id: Option<PacketId>,
        now: Instant,
    ) -> Result<(), End> {
        self.hub.counters().messages_received.add_one();
        let publisher = self.session_key();
        let published = self.hub.publish(message, publisher, &mut self.batch, now);
        let matched = published.as_ref().map_or(0, |published| published.matched);
        self.count_throttled(1, matched);
        match (published, packet_id) {
            (Ok(published), Some(packet_id)) => self.on_published(published, packet_id),
            (Ok(_), None) => {}
            (Err(_), packet_id) => self.protocol.reject(packet_id, ReasonCode::QuotaExceeded)?,
        }
        Ok(())
    }

    pub(super) fn session_key(&self) -> Option<SessionKey> {
        match &self.link {
            Link::Attached(attached) => Some(attached.key),
            _ => None,
        }
    }

    pub(super) fn on_published(&mut self, published: Published, packet_id: PacketId) {
        let reason = match published.matched {
            0 => ReasonCode::NoMatchingSubscribers,
            _ => ReasonCode::Success,
        };
        if published.full.is_empty() && self.full.is_empty() {
            // spec(4): MQTT-4.3.2-2, MQTT-4.5.0-1
            // spec(5): MQTT-4.3.2-4, MQTT-4.5.0-1
            self.protocol.accepted(packet_id, reason);
            return;
        }
        self.withheld.push((packet_id, reason));
        for (queue, pressure) in published.full {
            match self.full.iter_mut().find(|known| known.0.is(&queue)) {
                Some(known) => known.1 = known.1.max(pressure),
                None => self.full.push((queue, pressure)),
            }
        }
    }

    /// Answers what was withheld, once the queues it went into have drained.
    pub(super) fn ease(&mut self, now: Instant) {
        if self.full.is_empty() {
            return;
        }
        let was_held_back = self.is_held_back();
        let bell = &self.bell;
        self.full.retain(|(queue, _)| queue.holds_back(bell, now));
        if was_held_back && !self.is_held_back() {
            self.protocol.resume(now);
        }
        if self.full.is_empty() {
            self.answer_withheld();
        }
    }

    /// All that is withheld is queued: it is safe, whatever becomes of this connection.
    pub(super) fn answer_withheld(&mut self) {
        for (packet_id, reason) in self.withheld.drain(..) {
            self.protocol.accepted(packet_id, reason);
        }
    }

    /// Whether a queue is so full that nothing more is read from this publisher.
    pub(super) fn is_held_back(&self) -> bool {
        self.full
            .iter()
            .any(|(_, pressure)| *pressure == Pressure::Stop)
    }
}
