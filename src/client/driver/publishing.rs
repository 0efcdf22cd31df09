//! Messages on their way out: from the queue to the protocol, and from its answers to those who wait.

use super::Driver;
use crate::client::commands::{Command, Outgoing, Reply, aged, offline};
use crate::client::{ClientError, DropCause, Published};
use crate::codec::{AckProperties, ReasonCode};
use crate::message::{Message, QoS};
use crate::session::Token;
use std::collections::VecDeque;
use std::time::{Duration, SystemTime};

/// So much is encoded ahead of the socket; behind it messages stay in the queue, where bounds count them.
const BATCH_BYTES: usize = 64 << 10;

/// A message that was sent and waits for its acknowledgement.
pub(super) struct Exchange {
    pub(super) reply: Reply<Published>,
    pub(super) size: usize,
    /// As in [`Outgoing`].
    pub(super) number: u64,
    /// When it was sent with what was left of its expiry then, if it has one.
    pub(super) put_at: Option<SystemTime>,
}

/// Somebody waits until all messages up to a certain one are sent and settled.
pub(super) struct Drain {
    /// How many messages were published before.
    after: u64,
    /// When this many bytes are written, those messages are: set once the last of them is encoded.
    written: Option<u64>,
    reply: Reply<()>,
}

/// Messages in flight by their token, which is their place here.
#[derive(Default)]
pub(super) struct Exchanges {
    places: Vec<Option<Exchange>>,
    free: Vec<usize>,
    bytes: usize,
}

impl Drain {
    pub(super) fn refuse(self, error: &ClientError) {
        self.reply.send(Err(error.clone()));
    }
}

impl Exchanges {
    pub(super) fn insert(&mut self, exchange: Exchange) -> Token {
        self.bytes += exchange.size;
        let place = self.free.pop().unwrap_or(self.places.len());
        if place == self.places.len() {
            self.places.push(Some(exchange));
        } else {
            self.places[place] = Some(exchange);
        }
        place as Token
    }

    fn remove(&mut self, token: Token) -> Option<Exchange> {
        let place = usize::try_from(token).ok()?;
        let exchange = self.places.get_mut(place)?.take()?;
        self.bytes -= exchange.size;
        self.free.push(place);
        Some(exchange)
    }

    /// The number of a message, as in [`Outgoing`].
    pub(super) fn number(&self, token: Token) -> Option<u64> {
        let place = usize::try_from(token).ok()?;
        Some(self.places.get(place)?.as_ref()?.number)
    }

    fn has_any_up_to(&self, number: u64) -> bool {
        self.len() > 0
            && self
                .places
                .iter()
                .flatten()
                .any(|exchange| exchange.number <= number)
    }

    pub(super) fn len(&self) -> usize {
        self.places.len() - self.free.len()
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(super) fn take_replies(&mut self) -> Vec<Reply<Published>> {
        self.free.clear();
        self.bytes = 0;
        std::mem::take(&mut self.places)
            .into_iter()
            .flatten()
            .map(|exchange| exchange.reply)
            .collect()
    }
}

/// Outcomes of one batch: room is given back and callers are answered once, at its end.
#[derive(Default)]
pub(super) struct Settled {
    pub(super) messages: usize,
    pub(super) bytes: usize,
    pub(super) published: Vec<(Reply<Published>, Result<Published, ClientError>)>,
}

impl Settled {
    fn add(
        &mut self,
        size: usize,
        reply: Reply<Published>,
        outcome: Result<Published, ClientError>,
    ) {
        self.messages += 1;
        self.bytes += size;
        if reply.is_expected() {
            self.published.push((reply, outcome));
        }
    }
}

impl Driver {
    /// Sends as much as there is room for. Operations go in their turn among the messages, but a full window, which
    /// holds messages back, does not hold them.
    // spec(5): MQTT-3.3.4-8, MQTT-4.9.0-3
    pub(super) fn send_work(&mut self) {
        if !self.protocol.is_connected() {
            return;
        }
        while self.protocol.waiting() < BATCH_BYTES {
            if self.again.is_empty() && self.work.publishes.is_empty() {
                let has_window = self.protocol.can_publish(QoS::AtLeastOnce);
                let in_flight = (self.exchanges.len(), self.exchanges.bytes());
                self.queue
                    .take_one(&mut self.work.publishes, has_window, in_flight);
            }
            let next_qos = self.again.front().map(|next| next.message.qos).or(self
                .work
                .publishes
                .front()
                .map(|(qos, _)| qos));
            let can_publish = next_qos.is_some_and(|qos| self.protocol.can_publish(qos));
            let is_turn = self
                .work
                .commands
                .front()
                .is_some_and(|(after, _)| !can_publish || self.is_taken_out(*after));
            if is_turn {
                if let Some((after, command)) = self.work.commands.pop_front() {
                    self.run_command(command, after);
                }
            } else if can_publish {
                self.send_next();
            } else {
                return;
            }
        }
    }

    /// Whether all messages up to this one have left the queue. Their numbers tell, and no count: those of QoS 0 may
    /// leave before others that wait.
    fn is_taken_out(&self, number: u64) -> bool {
        self.work
            .publishes
            .front()
            .is_none_or(|(_, next)| next > number)
            && !self.queue.has_any_up_to(number)
    }

    pub(super) fn run_command(&mut self, command: Command, after: u64) {
        match command {
            Command::Subscribe {
                filters,
                settings,
                reply,
            } => self.subscribe(filters, settings, reply),
            Command::Update(key, update) => self.update(key, update),
            Command::Unsubscribe {
                key,
                user_properties,
                reply,
            } => self.unsubscribe(key, user_properties, Some(reply)),
            Command::Dropped(key) => self.inbox_dropped(key),
            Command::Abandoned(key) => self.abandon(key),
            Command::Kept(inbox) => self.keep(inbox),
            Command::Reauthenticate(reply) => self.reauthenticate(reply),
            Command::Drain(reply) => self.drains.push(Drain {
                after,
                written: None,
                reply,
            }),
        }
    }

    fn send_next(&mut self) {
        let outgoing = match self.again.pop_front() {
            Some(outgoing) => outgoing,
            None => match self.work.publishes.pop() {
                Some(outgoing) if !outgoing.reply.begins() => {
                    self.take_back(outgoing);
                    return;
                }
                Some(outgoing) if self.is_expired(&outgoing) => {
                    self.expire(outgoing);
                    return;
                }
                Some(outgoing) => outgoing,
                None => return,
            },
        };
        let sent_at = outgoing.put_at.map(|_| self.clock.wall());
        let waited = sent_at.map_or(Duration::ZERO, |now| outgoing.waited(now));
        let Outgoing {
            message,
            size,
            number,
            reply,
            ..
        } = outgoing;
        let message = aged(message, waited);
        if message.qos == QoS::AtMostOnce {
            let outcome = self.protocol.publish(message, 0).map(|()| Published {
                reason: ReasonCode::Success,
                properties: None,
            });
            self.count_sent(outcome.is_ok());
            self.settled.add(size, reply, outcome);
            return;
        }
        let token = self.exchanges.insert(Exchange {
            reply,
            size,
            number,
            put_at: sent_at,
        });
        let is_timed = self.timed.is_none() && message.qos == QoS::AtLeastOnce;
        let sent = self.protocol.publish(message, token);
        self.count_sent(sent.is_ok());
        if is_timed && sent.is_ok() {
            self.timed = Some((token, self.now()));
        }
        if let Err(error) = sent {
            self.answer(token, Err(error));
        }
    }

    /// What was given up, and waits, is not for the next process to send. The others are its own from here on.
    pub(super) fn take_back_withdrawn(&mut self) {
        self.queue.take_rest(&mut self.work.publishes);
        let mut waiting = std::mem::take(&mut self.work.publishes);
        while let Some(outgoing) = waiting.pop() {
            if outgoing.reply.begins() {
                self.work.publishes.push(outgoing);
            } else {
                self.take_back(outgoing);
            }
        }
    }

    /// Whoever published it has given up before it was on its way.
    fn take_back(&mut self, outgoing: Outgoing) {
        let Outgoing {
            size,
            reply,
            number,
            ..
        } = outgoing;
        self.keep_no_more(number);
        self.settled.add(size, reply, Err(ClientError::Closed));
    }

    fn is_expired(&self, outgoing: &Outgoing) -> bool {
        let ttl = self.options.outbox_ttl;
        outgoing.put_at.is_some() && outgoing.is_expired(self.clock.wall(), ttl)
    }

    /// Its time is over before its first sending.
    fn expire(&mut self, outgoing: Outgoing) {
        self.keep_no_more(outgoing.number);
        self.queue.note_drops(DropCause::Expired, 1);
        let Outgoing { size, reply, .. } = outgoing;
        self.settled.add(size, reply, Err(ClientError::Expired));
    }

    fn count_sent(&mut self, is_sent: bool) {
        if is_sent {
            self.stats.messages_sent += 1;
        } else {
            self.stats.dropped_refused += 1;
        }
    }

    /// The broker has answered.
    pub(super) fn on_published(
        &mut self,
        token: Token,
        reason: ReasonCode,
        properties: Option<Box<AckProperties>>,
    ) {
        self.stats.acknowledged += 1;
        if let Some((_, sent_at)) = self.timed.take_if(|(timed, _)| *timed == token) {
            let took = self.now().saturating_duration_since(sent_at);
            self.queue.answered_after(took);
        }
        let outcome = if reason.is_error() {
            Err(ClientError::PublishRefused { reason, properties })
        } else {
            Ok(Published { reason, properties })
        };
        self.answer(token, outcome);
    }

    /// A message of the session is not sent again, since this connection cannot take it.
    pub(super) fn on_refused(&mut self, token: Token, error: ClientError) {
        self.stats.dropped_refused += 1;
        self.answer(token, Err(error));
    }

    fn answer(&mut self, token: Token, outcome: Result<Published, ClientError>) {
        // Before its token means another message.
        if let Some(number) = self.exchanges.number(token) {
            self.keep_no_more(number);
        }
        if let Some(Exchange { reply, size, .. }) = self.exchanges.remove(token) {
            self.settled.add(size, reply, outcome);
        }
    }

    /// The broker has forgotten the session. What was in flight is sent again as new, before everything else and in its
    /// order; what was past PUBREC had been taken over by the broker, and is done.
    pub(super) fn send_as_new(&mut self, lost: Vec<(Token, Option<Message>)>) {
        let mut again = VecDeque::with_capacity(lost.len() + self.again.len());
        for (token, message) in lost {
            match message {
                Some(message) => {
                    if let Some(exchange) = self.exchanges.remove(token) {
                        self.keep_waiting(exchange.number);
                        again.push_back(Outgoing {
                            message,
                            size: exchange.size,
                            number: exchange.number,
                            put_at: exchange.put_at,
                            reply: exchange.reply,
                        });
                    }
                }
                None => self.answer(
                    token,
                    Ok(Published {
                        reason: ReasonCode::Success,
                        properties: None,
                    }),
                ),
            }
        }
        again.append(&mut self.again);
        self.again = again;
    }

    /// The connection is gone: messages of QoS 0 that wait are dropped, unless they are to be kept.
    pub(super) fn drop_qos0(&mut self) {
        if self.options.keep_qos0 {
            return;
        }
        let mut dropped = self.work.publishes.take_qos0();
        dropped.extend(self.queue.take_qos0());
        self.queue
            .note_drops(DropCause::Offline, dropped.len() as u64);
        for Outgoing { size, reply, .. } in dropped {
            self.settled.add(size, reply, Err(offline()));
        }
    }

    /// Whether every message is sent and settled.
    pub(super) fn is_drained(&mut self) -> bool {
        self.again.is_empty()
            && self.work.publishes.is_empty()
            && !self.queue.has_any_up_to(u64::MAX)
            && self.work.commands.is_empty()
            && self.exchanges.len() == 0
            && self.protocol.waiting() == 0
    }

    /// Answers those whose messages are all sent and settled.
    pub(super) fn check_drains(&mut self) {
        if self.drains.is_empty() {
            return;
        }
        let waiting = self.protocol.waiting() as u64;
        for mut drain in std::mem::take(&mut self.drains) {
            if self.is_taken_out(drain.after) && self.again.is_empty() {
                let written = *drain.written.get_or_insert(self.stats.bytes_sent + waiting);
                if self.stats.bytes_sent >= written && !self.exchanges.has_any_up_to(drain.after) {
                    drain.reply.send(Ok(()));
                    continue;
                }
            }
            self.drains.push(drain);
        }
    }

    /// What was encoded and not written is lost with its connection: nobody needs to wait for it.
    pub(super) fn forget_unwritten(&mut self) {
        for drain in &mut self.drains {
            if drain.written.is_some() {
                drain.written = Some(0);
            }
        }
    }

    /// Gives room back, then answers: so that who is answered finds the room.
    pub(super) fn settle(&mut self) {
        if self.settled.messages > 0 {
            self.count_in_flight();
            self.queue
                .release(self.settled.messages, self.settled.bytes, &self.stats);
            self.settled.messages = 0;
            self.settled.bytes = 0;
        }
        for (reply, outcome) in self.settled.published.drain(..) {
            reply.send(outcome);
        }
    }
}
