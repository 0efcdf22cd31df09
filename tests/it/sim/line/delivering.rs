//! What the connection task does with what waits for its client.

use super::{Around, Line, Link};
use rmqtt::broker::protocol::{Delivered, Delivery, Outgoing};

impl Line {
    pub(super) fn deliver(&mut self, around: &mut Around<'_>) {
        let Link::Attached(attached) = &self.link else {
            return;
        };
        let attached = attached.clone();
        self.protocol.send_due();
        self.said_along(around);
        loop {
            let room = self.protocol.room();
            if room.at_most_once {
                around.model.fetch(self.client, around.now);
            }
            match around.hub.take(&attached, room, around.now) {
                None => break,
                Some(Outgoing::One(delivery)) => self.deliver_one(delivery, around),
                Some(Outgoing::Run(run)) if around.model.takes(self.client, run.largest()) => {
                    let sent = self.protocol.deliver_run(&run, around.now);
                    around.hub.note_run_taken(&attached, &run, sent);
                    assert_eq!(sent, run.len(), "it takes all of them");
                    self.said_along(around);
                }
                Some(Outgoing::Run(run)) => {
                    for message in run.messages() {
                        self.deliver_one(Delivery::plain(message), around);
                    }
                }
            }
        }
        let in_flight = self.protocol.in_flight();
        attached.outbox.note_in_flight(in_flight);
        self.note_ended(around);
        let settled = self.protocol.take_settled();
        around.hub.settle(&attached, &settled);
    }

    fn deliver_one(&mut self, delivery: Delivery, around: &mut Around<'_>) {
        let copy = delivery.clone();
        let taken = self.protocol.deliver(delivery, around.now);
        if let Link::Attached(attached) = &self.link {
            let message = &copy.message;
            let (topic, qos) = (&message.topic, message.qos);
            around.hub.note_taken(attached, topic, qos, &taken);
        }
        match taken {
            Delivered::Sent => self.said_along(around),
            Delivered::Expired | Delivered::TooLarge => {
                around.hub.counters().messages_expired.add_one();
                around.model.skip(self.client, &copy, around.now);
            }
            Delivered::NoRoom(_) => panic!("there was room"),
        }
    }
}
