//! One subscription's bounded queue, and who waits on it.
//!
//! The client's task pushes, any number of threads take. What does not fit goes by the subscription's [`Overflow`]; with
//! `Wait`, messages of QoS 1 and 2 are *parked* behind the bound, unacknowledged, so that the broker's window and not
//! memory limits them, and other subscriptions go on meanwhile. One lock, held for a push or a pop; wakers are called and
//! acknowledgements handed over without it. Next: `driver`.

mod state;

use super::commands::{Command, Queue};
use super::dispatch::Key;
use super::{Ack, ClientError, InboxStats, Overflow, SubscriptionSettings};
use crate::codec::{PacketId, ReasonCode};
use crate::message::{Message, QoS};
use parking_lot::Mutex;
use state::{Entry, State};
use std::collections::VecDeque;
use std::sync::Arc;
use std::task::Waker;
use std::time::SystemTime;

/// As much is read at once, which is a batch.
pub(super) const READ_BYTES: usize = 64 << 10;
/// Larger payloads fill most of a read buffer themselves.
const COPY_BYTES_MAX: usize = 16 << 10;

/// One message on its way to the application.
#[derive(Debug, Clone)]
pub struct Delivery {
    /// The message.
    pub message: Message,
    /// The broker had sent it before.
    pub dup: bool,
    /// When it was read from the socket.
    pub received_at: SystemTime,
    /// To be given back to [`Inbox::processed`]; `None` for QoS 0 and where nothing is owed.
    pub receipt: Option<DeliveryReceipt>,
}

/// Which acknowledgement a delivery owes. After a reconnect that of a QoS 1 message is stale and does nothing: the broker
/// sends the message again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct DeliveryReceipt {
    /// Of the PUBLISH.
    pub packet_id: PacketId,
    /// Names this delivery; never given twice by one client.
    pub delivery: u64,
}

/// What [`Inbox::take`] found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Taken {
    /// That many messages.
    Some(usize),
    /// None now; the waker will be woken.
    Waiting,
    /// None any more: the subscription or the client was closed on purpose.
    Ended,
    /// None any more: a terminal failure.
    Failed(ClientError),
}

/// A subscription's bounded queue, by messages and by bytes. Any number of threads may take from it.
///
/// Dropping the last reference ends the subscription; what it still held is acknowledged, unless it was abandoned before
/// ([`Inbox::abandon`]).
pub struct Inbox {
    key: Key,
    settings: SubscriptionSettings,
    queue: Arc<Queue>,
    state: Mutex<State>,
}

/// Whether the broker goes on with our session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Resumption {
    /// With the one that we mean.
    Sure,
    /// With one that may be another: see [`super::protocol::Protocol::is_session_doubtful`].
    Doubtful,
    /// With a new one.
    None,
}

/// What the client's task has to do after pushing, once the lock is gone.
#[derive(Default)]
pub(super) struct Aftermath {
    /// The subscription is done with these.
    pub(super) settled: Vec<(Key, DeliveryReceipt)>,
    /// The subscription will not process these.
    pub(super) abandoned: Vec<DeliveryReceipt>,
    /// To be woken at the end of the batch.
    pub(super) wakers: Vec<Waker>,
    pub(super) dropped: u64,
    /// Subscriptions whose policy is to fail, and has.
    pub(super) failed: Vec<Key>,
    /// Which batch is being pushed.
    pub(super) batch: usize,
}

impl Inbox {
    pub(super) fn new(key: Key, settings: SubscriptionSettings, queue: Arc<Queue>) -> Self {
        Self {
            key,
            settings,
            queue,
            state: Mutex::default(),
        }
    }

    /// Moves up to `max` messages behind those in `into`, under one lock. If there are none, `waker` (if given) is kept
    /// and woken once when that may have changed.
    pub fn take(&self, into: &mut VecDeque<Delivery>, max: usize, waker: Option<&Waker>) -> Taken {
        self.take_each(max, waker, |delivery| into.push_back(delivery))
    }

    /// The next message.
    ///
    /// # Errors
    /// There is none, and why: as [`Inbox::take`] says it.
    pub fn take_one(&self, waker: Option<&Waker>) -> Result<Delivery, Taken> {
        let mut next = None;
        let taken = self.take_each(1, waker, |delivery| next = Some(delivery));
        next.ok_or(taken)
    }

    fn take_each(
        &self,
        max: usize,
        waker: Option<&Waker>,
        mut each: impl FnMut(Delivery),
    ) -> Taken {
        let mut received = Vec::new();
        let mut surplus = Vec::new();
        let taken = {
            let mut state = self.state.lock();
            let count = state.entries.len().min(max);
            if count == 0 && max > 0 {
                match (&state.end, waker) {
                    (Some(end), _) => end.clone(),
                    (None, waker) => {
                        state.keep(waker, &mut surplus);
                        Taken::Waiting
                    }
                }
            } else {
                for _ in 0..count {
                    if let Some(entry) = state.pop() {
                        // One that leaves from behind the bound was never in the inbox proper.
                        if self.settings.ack == Ack::Received {
                            received.extend(entry.owed);
                        }
                        each(entry.delivery);
                    }
                }
                self.unpark(&mut state, &mut received);
                Taken::Some(count)
            }
        };
        self.all_processed(&received);
        for waker in surplus {
            waker.wake();
        }
        taken
    }

    /// The application is done with a message, well (`Success`) or not (a code at or above 0x80): its acknowledgement may
    /// leave. Never blocks; any thread; a second call for the same receipt does nothing.
    pub fn processed(&self, receipt: DeliveryReceipt, reason: ReasonCode) {
        self.queue.processed(self.key, receipt, reason);
    }

    /// As [`Inbox::processed`], for several that went well: the client's task is told once.
    pub fn all_processed(&self, receipts: &[DeliveryReceipt]) {
        if !receipts.is_empty() {
            self.queue.all_processed(self.key, receipts);
        }
    }

    /// Ends the inbox without processing what it was given: what waits goes, and what is not acknowledged by now, taken out
    /// or not, never will be. [`Inbox::processed`] does nothing any more. Unsubscribe as well: what comes until then is
    /// abandoned too.
    ///
    /// The broker sends these messages again when the session is resumed, those of a shared subscription perhaps to others.
    /// (One that went to several subscriptions is abandoned for all of them.) Until this connection ends, each takes one
    /// place of [`super::ClientOptions::receive_maximum`]: with so many abandoned, no subscription gets any more messages
    /// of QoS 1 or 2 before the next connection.
    pub fn abandon(&self) {
        let (wakers, entries) = {
            let mut state = self.state.lock();
            if std::mem::replace(&mut state.is_abandoned, true) {
                return;
            }
            state.end.get_or_insert(Taken::Ended);
            let entries = std::mem::take(&mut state.entries);
            state.count();
            state.parked = 0;
            state.parked_bytes = 0;
            (std::mem::take(&mut state.wakers), entries)
        };
        drop(entries);
        self.queue.notice(Command::Abandoned(self.key));
        for waker in wakers {
            waker.wake();
        }
    }

    /// As [`Inbox::abandon`], and the broker keeps the subscription when the last reference is dropped. Do not unsubscribe.
    pub fn keep(self: &Arc<Self>) {
        self.queue.notice(Command::Kept(Arc::clone(self)));
        self.abandon();
    }

    /// The newest message that waits, and goes on waiting; so it has no receipt.
    pub fn newest(&self) -> Option<Delivery> {
        let state = self.state.lock();
        let entry = state.entries.back()?;
        Some(Delivery {
            receipt: None,
            ..entry.delivery.clone()
        })
    }

    /// Messages waiting.
    pub fn pending(&self) -> usize {
        self.state.lock().entries.len()
    }

    /// Messages that were dropped by the overflow policy.
    pub fn dropped(&self) -> u64 {
        self.state.lock().dropped
    }

    /// Counters, bounds and high-water marks.
    pub fn stats(&self) -> InboxStats {
        let state = self.state.lock();
        InboxStats {
            received: state.received,
            dropped: state.dropped,
            pending: state.entries.len(),
            pending_high: state.high,
            pending_max: self.settings.messages_max,
            pending_bytes: state.bytes,
            pending_bytes_high: state.bytes_high,
            pending_bytes_max: self.settings.bytes_max,
            parked: state.parked,
        }
    }

    pub(super) fn key(&self) -> Key {
        self.key
    }

    /// Takes one message in by the subscription's settings.
    pub(super) fn push(&self, mut delivery: Delivery, after: &mut Aftermath) {
        let receipt = delivery.receipt;
        let mut state = self.state.lock();
        let dropped_before = state.dropped;
        state.received += 1;
        if state.end.is_some() {
            state.dropped += 1;
            if state.is_abandoned || matches!(state.end, Some(Taken::Failed(_))) {
                after.abandoned.extend(receipt);
            } else {
                after.settled.extend(receipt.map(|owed| (self.key, owed)));
            }
        } else if self.make_room(&mut state, &delivery, after) {
            // Behind a parked one, everything is parked: the order is one.
            let is_parked = state.parked > 0 || self.is_full(&state, delivery.message.size());
            let is_owed_later = is_parked || self.settings.ack != Ack::Received;
            if !is_owed_later {
                after.settled.extend(receipt.map(|owed| (self.key, owed)));
            }
            if self.settings.ack == Ack::Received {
                delivery.receipt = None;
            }
            if !state.may_borrow(after.batch) && delivery.message.payload.len() <= COPY_BYTES_MAX {
                delivery.message = delivery.message.compact();
            }
            let entry = Entry {
                delivery,
                owed: receipt.filter(|_| is_owed_later),
                batch: after.batch,
            };
            state.push(entry, is_parked);
        }
        after.wakers.append(&mut state.wakers);
        after.dropped += state.dropped - dropped_before;
    }

    /// No more messages come: those that wait can still be taken, then comes `end`. The first end counts.
    pub(super) fn end(&self, end: Taken) {
        let wakers = {
            let mut state = self.state.lock();
            state.end.get_or_insert(end);
            std::mem::take(&mut state.wakers)
        };
        for waker in wakers {
            waker.wake();
        }
    }

    /// A connection begins. With a kept session the broker sends unacknowledged QoS 1 messages again, in order: they leave,
    /// lest they come twice and out of order. With a new session nothing comes again: what was in the inbox stays, and
    /// what was parked goes, since another window of messages may be parked now. Where it may be either, QoS 1 messages
    /// stay, since coming twice is what that level allows, and those of QoS 2 do, since they may be told apart.
    pub(super) fn begin_connection(&self, resumption: Resumption) {
        let mut state = self.state.lock();
        let had = state.entries.len();
        let first_parked = had - state.parked;
        let mut place = 0;
        state.entries.retain(|entry| {
            let is_parked = place >= first_parked;
            place += 1;
            let is_owed_qos1 =
                entry.owed.is_some() && entry.delivery.message.qos == QoS::AtLeastOnce;
            match resumption {
                Resumption::Sure => !is_owed_qos1,
                Resumption::Doubtful => !(is_parked && is_owed_qos1),
                Resumption::None => !is_parked,
            }
        });
        if state.entries.len() == had {
            return;
        }
        if resumption == Resumption::None {
            state.dropped += state.parked as u64;
        }
        state.count();
        // What is left of QoS 2 and was parked stays so until it fits.
        let proper = state.entries.len().min(self.settings.messages_max.max(1));
        state.parked = state.parked.min(state.entries.len() - proper);
        let first_parked = state.entries.len() - state.parked;
        state.parked_bytes = state.entries.range(first_parked..).map(Entry::size).sum();
    }

    fn is_full(&self, state: &State, size: usize) -> bool {
        let held = state.entries.len();
        held >= self.settings.messages_max.max(1)
            || (held > 0 && state.bytes + size > self.settings.bytes_max)
    }

    /// Whether the message goes in, after what the policy says about those that are there.
    fn make_room(&self, state: &mut State, delivery: &Delivery, after: &mut Aftermath) -> bool {
        let size = delivery.message.size();
        let drop_new = |state: &mut State, after: &mut Aftermath| {
            state.dropped += 1;
            after
                .settled
                .extend(delivery.receipt.map(|owed| (self.key, owed)));
            false
        };
        if self.settings.overflow == Some(Overflow::Latest) {
            while state.pop_dropped(self.key, after) {}
            return true;
        }
        if !self.is_full(state, size) {
            return true;
        }
        match self.settings.overflow {
            None | Some(Overflow::Wait) if delivery.message.qos != QoS::AtMostOnce => true,
            // Behind what is parked there is no room that dropping could make.
            None | Some(Overflow::Wait) if state.parked > 0 => drop_new(state, after),
            None | Some(Overflow::Wait) => {
                while self.is_full(state, size) {
                    if !state.drop_oldest_qos0() {
                        return drop_new(state, after);
                    }
                }
                true
            }
            Some(Overflow::DropOldest | Overflow::Latest) => {
                while self.is_full(state, size) && state.pop_dropped(self.key, after) {}
                true
            }
            Some(Overflow::DropNewest) => drop_new(state, after),
            Some(Overflow::Error) => {
                state.end = Some(Taken::Failed(ClientError::QueueFull));
                after.failed.push(self.key);
                state.fail(delivery, after);
                false
            }
        }
    }

    /// Room has come: what was parked and now fits counts as received.
    fn unpark(&self, state: &mut State, received: &mut Vec<DeliveryReceipt>) {
        while state.parked > 0 {
            let proper = state.entries.len() - state.parked;
            let proper_bytes = state.bytes - state.parked_bytes;
            let Some(entry) = state.entries.get_mut(proper) else {
                return;
            };
            let size = entry.size();
            if proper >= self.settings.messages_max.max(1)
                || (proper > 0 && proper_bytes + size > self.settings.bytes_max)
            {
                return;
            }
            if self.settings.ack == Ack::Received {
                received.extend(entry.owed.take());
            }
            state.parked -= 1;
            state.parked_bytes -= size;
        }
    }
}

impl Drop for Inbox {
    fn drop(&mut self) {
        self.queue.notice(Command::Dropped(self.key));
    }
}
