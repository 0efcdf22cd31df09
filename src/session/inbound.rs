//! The receiver's half: what is a duplicate, which answers are due, in which order they leave.
//!
//! A message is *delivered* when it was handed to the caller, *taken* when the caller said so by [`Inbound::accepted`].
//! Between the two the connection may break, and the peer sends the message again on the next one. For QoS 2 that must
//! neither deliver twice nor lose the answer, so the id is known from its delivery on, not from its PUBREC on:
//!
//! | QoS 2 id | PUBLISH | `accepted` | refused by `accepted` | PUBREL | new connection, session kept |
//! |---|---|---|---|---|---|
//! | unknown | deliver, id is *delivered* | – | – | PUBCOMP 0x92 | – |
//! | delivered | duplicate; the answer waits for `accepted` | PUBREC, id is *taken* | PUBREC with the code, id is unknown | PUBCOMP, id is unknown | stays; `accepted` may come before the peer has sent the message again: then the answer waits for that |
//! | taken | duplicate; PUBREC | – | – | PUBCOMP, id is unknown | stays |
//!
//! For QoS 1 the table is short: unknown → PUBLISH → delivered → `accepted` → PUBACK → unknown. A repetition with DUP
//! before the answer is a duplicate, some clients of 3.1.1 send those; a new connection forgets the id, since delivering
//! again is what QoS 1 promises.
//!
//! PUBACK and PUBREC leave in the order in which the messages came, so one that is not accepted holds back those behind
//! it. PUBCOMP does not wait for them: it answers another packet, and gives the peer its window back.
//!
//! A delivery that nobody will ever process is *abandoned* ([`Inbound::abandon`]): it is never answered, and so holds back
//! nothing behind it. The peer goes on counting it, and so do we: on this connection its id stays in use and takes a place
//! of our Receive Maximum, and when all places are taken, no more messages of QoS 1 or 2 come. The next connection gives
//! the places back, and with a kept session the peer sends those messages again: they are delivered as new ones.

use super::packet_id::PacketIds;
use super::{Receipt, Violation};
use crate::codec::{Ack, AckKind, PacketId, Publish, ReasonCode};
use crate::message::QoS;
use std::collections::VecDeque;
use std::num::NonZeroU16;

/// A queue this short is not worth shrinking.
const QUEUE_SMALL: usize = 64;

/// The receiver's half: duplicates, and answers due, in the order of arrival.
#[derive(Debug, Clone)]
pub struct Inbound {
    exchanges: PacketIds<Exchange>,
    /// PUBACK and PUBREC in the order of arrival; the number of the first is `first_place`.
    answers: VecDeque<Answer>,
    first_place: u64,
    completions: VecDeque<Ack>,
    receive_maximum: usize,
    /// How many exchanges there may be, those of earlier connections included.
    exchanges_max: usize,
    /// Messages of this connection that the peer counts against our Receive Maximum.
    unanswered: usize,
    deliveries: u64,
    /// Whether the peer's session may be another one than that of the ids from earlier connections.
    is_doubtful: bool,
}

#[derive(Debug, Clone, Copy)]
struct Exchange {
    /// Which delivery the id stands for.
    delivery: u64,
    state: State,
    /// Where its answer is in the queue; at most one is.
    place: Option<u64>,
    /// Whether the PUBLISH came on this connection, and so counts against our Receive Maximum.
    is_counted: bool,
    /// Whether it is left without an answer.
    is_abandoned: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// QoS 1, delivered.
    AtLeastOnce,
    /// QoS 2, as all that follow.
    Delivered,
    Taken,
    /// By this code; known until the peer has been told.
    Refused(ReasonCode),
}

#[derive(Debug, Clone, Copy)]
enum Answer {
    /// Waits for [`Inbound::accepted`].
    Waiting,
    Ready(AckKind, PacketId, ReasonCode),
    /// The exchange went on without it.
    Void,
}

impl Default for Inbound {
    fn default() -> Self {
        Self {
            exchanges: PacketIds::default(),
            answers: VecDeque::new(),
            first_place: 0,
            completions: VecDeque::new(),
            receive_maximum: usize::from(u16::MAX),
            exchanges_max: usize::from(u16::MAX),
            unanswered: 0,
            deliveries: 0,
            is_doubtful: false,
        }
    }
}

impl Inbound {
    /// A connection begins. With a kept session the QoS 2 ids are remembered, else forgotten.
    /// `receive_maximum` is what *we* announced: more unanswered messages than that are a [`Violation`].
    pub fn begin(&mut self, receive_maximum: NonZeroU16, resumed: bool) {
        self.receive_maximum = usize::from(receive_maximum.get());
        self.unanswered = 0;
        self.is_doubtful = false;
        self.first_place += self.answers.len() as u64;
        self.answers = VecDeque::new();
        self.completions = VecDeque::new();
        if resumed {
            self.exchanges.retain(|exchange| {
                exchange.place = None;
                exchange.is_counted = false;
                exchange.state != State::AtLeastOnce
            });
        } else {
            self.exchanges = PacketIds::default();
        }
    }

    /// The session that was resumed may be a new one of which we were not told. Then the ids of earlier connections mean
    /// nothing, and a QoS 2 message with such an id is new unless it says DUP: a peer that has our session would say so.
    pub fn doubt(&mut self) {
        self.is_doubtful = true;
    }

    /// However many connections a session lives through, and whatever our Receive Maximum: so many exchanges may be open.
    pub fn bound(&mut self, exchanges_max: u16) {
        self.exchanges_max = usize::from(exchanges_max);
    }

    /// The number of the latest delivery of QoS 1 or 2, the one for which [`Inbound::on_publish`] has just said
    /// [`Receipt::Deliver`]. Never given twice: for [`Inbound::accepted_late`].
    pub fn latest_delivery(&self) -> u64 {
        self.deliveries
    }

    /// A PUBLISH arrived, of any QoS.
    ///
    /// # Errors
    /// The peer exceeded our Receive Maximum, or used an id that it has in use for another message.
    pub fn on_publish(&mut self, publish: &Publish) -> Result<Receipt, Violation> {
        let Some(id) = publish.packet_id else {
            return Ok(Receipt::Deliver);
        };
        let is_qos2 = publish.message.qos == QoS::ExactlyOnce;
        let known = self.exchanges.get(id).copied();
        // One that was abandoned on an earlier connection comes again to be delivered again.
        if let Some(exchange) = known.filter(|known| known.is_counted || !known.is_abandoned) {
            let is_same_qos = (exchange.state != State::AtLeastOnce) == is_qos2;
            let may_be_new = !is_qos2 || (self.is_doubtful && !exchange.is_counted);
            if is_same_qos && (publish.dup || !may_be_new) {
                return self.on_repeated(id, exchange);
            }
            if exchange.is_counted {
                return Err(Violation {
                    what: "a new message with a packet id that is in use",
                    clause: "section 2.2.1",
                    reason: ReasonCode::ProtocolError,
                });
            }
            // A client that lost its own state and came back to its session begins with low ids, and so does a broker
            // that began another session: what they once meant is over.
        }
        self.count()?;
        if self.exchanges.len() >= self.exchanges_max {
            return Err(Violation {
                what: "more messages that were never released than may be",
                clause: "section 4.3.3",
                reason: ReasonCode::QuotaExceeded,
            });
        }
        self.deliveries += 1;
        let exchange = Exchange {
            delivery: self.deliveries,
            // spec(4): MQTT-4.3.2-2, MQTT-4.3.3-2
            // spec(5): MQTT-4.3.2-4, MQTT-4.3.2-5, MQTT-4.3.3-8, MQTT-4.3.3-9, MQTT-4.3.3-12
            state: if is_qos2 {
                State::Delivered
            } else {
                State::AtLeastOnce
            },
            place: Some(self.queue(Answer::Waiting)),
            is_counted: true,
            is_abandoned: false,
        };
        self.exchanges.insert(id, exchange);
        Ok(Receipt::Deliver)
    }

    /// A message that was delivered before.
    ///
    /// spec(4): MQTT-4.3.3-2
    /// spec(5): MQTT-4.3.3-10
    fn on_repeated(&mut self, id: PacketId, mut exchange: Exchange) -> Result<Receipt, Violation> {
        if !exchange.is_counted {
            self.count()?;
            exchange.is_counted = true;
        }
        if exchange.place.is_none() && !exchange.is_abandoned {
            exchange.place = Some(self.queue(match exchange.state {
                State::AtLeastOnce | State::Delivered => Answer::Waiting,
                State::Taken => Answer::Ready(AckKind::PubRec, id, ReasonCode::Success),
                State::Refused(reason) => Answer::Ready(AckKind::PubRec, id, reason),
            }));
        }
        self.exchanges.insert(id, exchange);
        Ok(Receipt::Duplicate)
    }

    /// One more message that the peer counts against our Receive Maximum.
    fn count(&mut self) -> Result<(), Violation> {
        if self.unanswered >= self.receive_maximum {
            return Err(Violation {
                what: "more unanswered messages than our Receive Maximum",
                clause: "MQTT-3.3.4-7, MQTT-3.3.4-9",
                reason: ReasonCode::ReceiveMaximumExceeded,
            });
        }
        self.unanswered += 1;
        Ok(())
    }

    fn queue(&mut self, answer: Answer) -> u64 {
        self.answers.push_back(answer);
        self.first_place + self.answers.len() as u64 - 1
    }

    /// The message is safe (routed, queued, or processed), or refused by a code at or above 0x80. Its PUBACK or PUBREC
    /// becomes due; it leaves in the order of arrival, whatever the order of these calls. Unknown ids are ignored.
    ///
    /// Right while nothing else can have happened to the id since its delivery; else [`Inbound::accepted_late`].
    pub fn accepted(&mut self, packet_id: PacketId, reason: ReasonCode) {
        let Some(exchange) = self.exchanges.get_mut(packet_id) else {
            return;
        };
        if exchange.is_abandoned {
            // Later answers may have left: this one would be out of order.
            return;
        }
        let kind = match exchange.state {
            State::AtLeastOnce => AckKind::PubAck,
            State::Delivered if reason.is_error() => {
                exchange.state = State::Refused(reason);
                AckKind::PubRec
            }
            State::Delivered => {
                exchange.state = State::Taken;
                AckKind::PubRec
            }
            State::Taken | State::Refused(_) => return,
        };
        let place = exchange.place;
        if let Some(answer @ Answer::Waiting) = place.and_then(|place| self.answer_at(place)) {
            *answer = Answer::Ready(kind, packet_id, reason);
        }
    }

    /// As [`Inbound::accepted`], when connections may have come and gone since the delivery: nothing happens unless the
    /// id still stands for that `delivery` ([`Inbound::latest_delivery`]), lest another message be acknowledged.
    pub fn accepted_late(&mut self, packet_id: PacketId, delivery: u64, reason: ReasonCode) {
        let exchange = self.exchanges.get(packet_id);
        if exchange.is_some_and(|exchange| exchange.delivery == delivery) {
            self.accepted(packet_id, reason);
        }
    }

    /// Nobody will process this `delivery` ([`Inbound::latest_delivery`]): it stays without an answer, and those behind it
    /// no longer wait for it. Nothing happens where it was accepted before, or the id stands for another delivery.
    // spec(4): MQTT-4.6.0-2, MQTT-4.6.0-3
    // spec(5): MQTT-4.6.0-2, MQTT-4.6.0-3
    pub fn abandon(&mut self, packet_id: PacketId, delivery: u64) {
        let Some(exchange) = self.exchanges.get(packet_id) else {
            return;
        };
        if exchange.delivery != delivery
            || !matches!(exchange.state, State::AtLeastOnce | State::Delivered)
        {
            return;
        }
        let place = exchange.place;
        match place.and_then(|place| self.answer_at(place)) {
            // The answer to a QoS 1 message is due already.
            Some(Answer::Ready(..)) => return,
            Some(answer) => *answer = Answer::Void,
            None => {}
        }
        if let Some(exchange) = self.exchanges.get_mut(packet_id) {
            exchange.place = None;
            exchange.is_abandoned = true;
        }
    }

    /// A QoS 2 message that an earlier process took over, and that the peer had not released.
    pub fn restore(&mut self, packet_id: PacketId) {
        let exchange = Exchange {
            delivery: 0,
            state: State::Taken,
            place: None,
            is_counted: false,
            is_abandoned: false,
        };
        self.exchanges.insert(packet_id, exchange);
    }

    /// Whether a QoS 2 message with this id was taken over and is not released.
    pub fn has_taken(&self, packet_id: PacketId) -> bool {
        self.exchanges
            .get(packet_id)
            .is_some_and(|exchange| exchange.state == State::Taken)
    }

    fn answer_at(&mut self, place: u64) -> Option<&mut Answer> {
        let index = usize::try_from(place.checked_sub(self.first_place)?).ok()?;
        self.answers.get_mut(index)
    }

    /// PUBREL arrived; PUBCOMP becomes due.
    ///
    /// Fetch it by [`Inbound::next_ack`] before the next packet is read: a peer may send PUBREL as often as it likes.
    pub fn on_pubrel(&mut self, ack: &Ack) {
        let id = ack.packet_id;
        // spec(4): MQTT-4.3.3-2
        // spec(5): MQTT-4.3.3-11, MQTT-4.3.3-12
        let reason = match self.exchanges.get(id).copied() {
            Some(exchange) if exchange.state != State::AtLeastOnce => {
                self.exchanges.free(id);
                self.unanswered -= usize::from(exchange.is_counted);
                if let Some(answer) = exchange.place.and_then(|place| self.answer_at(place)) {
                    *answer = Answer::Void;
                }
                ReasonCode::Success
            }
            _ => ReasonCode::PacketIdentifierNotFound,
        };
        self.completions
            .push_back(Ack::new(AckKind::PubComp, id, reason));
    }

    /// The next answer that may leave: PUBACK, PUBREC or PUBCOMP.
    pub fn next_ack(&mut self) -> Option<Ack> {
        if let Some(completion) = self.completions.pop_front() {
            return Some(completion);
        }
        // spec(4): MQTT-4.6.0-2, MQTT-4.6.0-3
        // spec(5): MQTT-4.6.0-2, MQTT-4.6.0-3
        loop {
            let answer = *self.answers.front()?;
            if matches!(answer, Answer::Waiting) {
                return None;
            }
            self.answers.pop_front();
            self.first_place += 1;
            if self.answers.capacity() > QUEUE_SMALL
                && self.answers.capacity() > 4 * self.answers.len()
            {
                self.answers.shrink_to(2 * self.answers.len());
            }
            if let Answer::Ready(kind, id, reason) = answer {
                self.on_answered(id);
                return Some(Ack::new(kind, id, reason));
            }
        }
    }

    /// The answer of this exchange leaves: for QoS 1, and for a refused QoS 2, that is its end.
    fn on_answered(&mut self, id: PacketId) {
        let Some(exchange) = self.exchanges.get_mut(id) else {
            return;
        };
        exchange.place = None;
        if matches!(exchange.state, State::AtLeastOnce | State::Refused(_)) {
            self.exchanges.free(id);
            self.unanswered -= 1;
        }
    }

    /// Messages taken and not yet answered, and QoS 2 ids not yet released.
    pub fn in_flight(&self) -> usize {
        self.exchanges.len()
    }
}
