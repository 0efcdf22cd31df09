//! What waits for a client, on its way out.

use super::connection::{Connection, Link};
use crate::broker::protocol::{Delivered, Outgoing};
use std::time::Instant;

impl Connection {
    /// Whether retained messages wait to be fetched for this client.
    pub(super) fn has_retained_to_come(&self) -> bool {
        matches!(&self.link, Link::Attached(attached) if attached.outbox.has_retained_to_come())
    }

    /// Takes out what waits for this client, as far as its window and the next write have room.
    pub(super) fn deliver(&mut self, now: Instant) {
        let Link::Attached(attached) = &self.link else {
            return;
        };
        if self.pipe.is_mute() {
            return;
        }
        self.protocol.send_due();
        let counters = self.hub.counters();
        while !self.is_drained {
            let room = self.protocol.room();
            let delivery = match self.hub.take(attached, room, now) {
                Some(Outgoing::One(delivery)) => delivery,
                Some(Outgoing::Run(run)) => {
                    let sent = self.protocol.deliver_run(&run, now);
                    self.hub.note_run_taken(attached, &run, sent);
                    counters.messages_delivered.add(sent);
                    counters.messages_expired.add(run.len() - sent);
                    continue;
                }
                None => {
                    self.is_drained = room.at_most_once && room.acknowledged;
                    break;
                }
            };
            let noted = self.hub.keeps_ledger().then(|| delivery.message.clone());
            let taken = self.protocol.deliver(delivery, now);
            if let Some(message) = noted {
                self.hub
                    .note_taken(attached, &message.topic, message.qos, &taken);
            }
            match taken {
                Delivered::Sent => counters.messages_delivered.add_one(),
                Delivered::Expired | Delivered::TooLarge => counters.messages_expired.add_one(),
                Delivered::NoRoom(delivery) => {
                    attached.outbox.put_back(*delivery);
                    break;
                }
            }
        }
        attached.outbox.note_in_flight(self.protocol.in_flight());
        self.hub.note_settled(attached, &self.protocol.take_ended());
        let settled = self.protocol.take_settled();
        if !settled.is_empty() {
            self.hub.settle(attached, &settled);
        }
    }
}
