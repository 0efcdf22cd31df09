//! What the lock of an outbox guards. Plain data.

use super::shares::Shares;
use crate::broker::bell::Bell;
use crate::broker::memory::{Charge, Claim, Memory, QUEUE_FREE};
use crate::broker::protocol::{Delivery, Outgoing};
use crate::broker::rights::Reader;
use crate::broker::router::RetainedCursor;
use crate::codec::Run;
use crate::message::QoS;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

/// What a queued message costs beside itself, in bytes: bounds must hold for small messages too.
const MESSAGE_COST: usize = 64;

/// What it costs in memory beside that: bounds of one queue need not be as true as that of all.
const ENTRY_COST: usize = 96;

/// A run of so many bytes is charged for itself, and not for each queue it is in.
pub(in crate::broker) const LARGE_RUN: usize = 4096;

/// From so many batches messages may lie in the read buffers they were cut from, until the queue has been empty: those
/// must not be kept alive for long, and one message keeps as much alive as a thousand.
const LOANS_MAX: usize = 16;

#[derive(Debug)]
pub(super) struct Entry {
    /// Keeps the order of arrival between the two lists.
    pub(super) number: u64,
    pub(super) cost: usize,
    pub(super) outgoing: Outgoing,
}

impl Entry {
    fn new(number: u64, outgoing: Outgoing) -> Self {
        let cost = match &outgoing {
            Outgoing::One(delivery) => delivery.message.size() + MESSAGE_COST,
            Outgoing::Run(run) => Self::cost_of_run(run),
        };
        Self {
            number,
            cost,
            outgoing,
        }
    }

    pub(super) fn cost_of_run(run: &Run) -> usize {
        run.size() + run.len() * MESSAGE_COST
    }

    /// What it holds that is not charged for itself, in bytes.
    pub(super) fn held(&self) -> usize {
        match &self.outgoing {
            Outgoing::One(delivery) => self.cost - delivery.message.large() + ENTRY_COST,
            Outgoing::Run(run) if run.packets().len() < LARGE_RUN => self.cost,
            Outgoing::Run(_) => ENTRY_COST,
        }
    }

    /// How many messages it is.
    pub(super) fn len(&self) -> usize {
        match &self.outgoing {
            Outgoing::One(_) => 1,
            Outgoing::Run(run) => run.len(),
        }
    }

    fn is_best_effort(&self) -> bool {
        match &self.outgoing {
            Outgoing::One(delivery) => delivery.message.qos == QoS::AtMostOnce,
            Outgoing::Run(_) => true,
        }
    }
}

#[derive(Debug)]
pub(super) struct State {
    /// QoS 0 has a list of its own: it need not wait for the client's window.
    pub(super) at_most_once: VecDeque<Entry>,
    pub(super) acknowledged: VecDeque<Entry>,
    numbers: u64,
    /// Messages in both lists and in `held`.
    pub(super) count: usize,
    pub(super) bytes: usize,
    /// What the same hold in memory, but for what is charged for itself, and what the session holds beside them.
    pub(super) held_bytes: usize,
    beside: usize,
    charge: Charge,
    /// Batches whose read buffers are kept alive, and the latest.
    loans: usize,
    latest_loan: u64,
    pub(super) bell: Option<Arc<Bell>>,
    /// Whether the connection knows that something waits.
    pub(super) is_awake: bool,
    /// While retained messages are being fetched, live ones wait here so that no older value overtakes a newer one.
    pub(super) held: Option<Vec<Entry>>,
    pub(super) cursors: VecDeque<RetainedCursor>,
    pub(super) full_since: Option<Instant>,
    pub(super) publishers_waiting: Vec<Arc<Bell>>,
    pub(super) shares: Shares,
    /// What the session may read; `None`: everything.
    pub(super) reader: Option<Reader>,
}

impl State {
    pub(super) fn new(memory: &Arc<Memory>) -> Self {
        Self {
            at_most_once: VecDeque::new(),
            acknowledged: VecDeque::new(),
            numbers: 0,
            count: 0,
            bytes: 0,
            held_bytes: 0,
            beside: 0,
            charge: Charge::new(memory),
            loans: 0,
            latest_loan: 0,
            bell: None,
            is_awake: false,
            held: None,
            cursors: VecDeque::new(),
            full_since: None,
            publishers_waiting: Vec::new(),
            shares: Shares::default(),
            reader: None,
        }
    }

    /// Whether the broker has room for more.
    pub(super) fn may_grow(&self) -> bool {
        self.charge.memory().grants(Claim::Growth)
    }

    /// Whether the broker has no room for more here.
    pub(super) fn is_scarce(&self) -> bool {
        self.bytes >= QUEUE_FREE && !self.may_grow()
    }

    /// What the session holds beside its messages.
    pub(super) fn set_beside(&mut self, bytes: usize) {
        self.beside = bytes;
        self.charge_all();
    }

    /// It holds so much more beside its messages.
    pub(super) fn add_beside(&mut self, bytes: usize) {
        self.set_beside(self.beside + bytes);
    }

    /// Nobody is there to take anything: what is held stays, so it is charged to the byte.
    pub(super) fn charge_all(&mut self) {
        self.charge.set(self.held_bytes + self.beside);
    }

    pub(super) fn charge_about(&mut self) {
        self.charge.follow(self.held_bytes + self.beside);
    }

    /// Queues behind all others; says whom to wake.
    pub(super) fn push(&mut self, outgoing: Outgoing) -> Option<Arc<Bell>> {
        let entry = self.enter(outgoing);
        if let Some(held) = &mut self.held {
            held.push(entry);
            return None;
        }
        self.append(entry);
        self.wake()
    }

    /// Whether a message of this batch may stay in its read buffer.
    pub(super) fn may_borrow(&mut self, batch: u64) -> bool {
        if self.loans > 0 && self.latest_loan == batch {
            return true;
        }
        if self.loans >= LOANS_MAX {
            return false;
        }
        self.loans += 1;
        self.latest_loan = batch;
        true
    }

    /// An empty queue keeps nothing alive.
    pub(super) fn note_drained(&mut self) {
        if self.count == 0 {
            self.loans = 0;
        }
    }

    /// Queues in front of all others.
    pub(super) fn put_back(&mut self, outgoing: Outgoing) {
        let entry = Entry::new(0, outgoing);
        self.note_come(&entry);
        if entry.is_best_effort() {
            self.at_most_once.push_front(entry);
        } else {
            self.acknowledged.push_front(entry);
        }
    }

    pub(super) fn enter(&mut self, outgoing: Outgoing) -> Entry {
        self.numbers += 1;
        let entry = Entry::new(self.numbers, outgoing);
        self.note_come(&entry);
        entry
    }

    pub(super) fn append(&mut self, entry: Entry) {
        if entry.is_best_effort() {
            self.at_most_once.push_back(entry);
        } else {
            self.acknowledged.push_back(entry);
        }
    }

    fn note_come(&mut self, entry: &Entry) {
        self.count += entry.len();
        self.bytes += entry.cost;
        self.held_bytes += entry.held();
        self.charge_about();
    }

    /// It is in no list any more.
    pub(super) fn note_gone(&mut self, entry: &Entry) {
        self.count -= entry.len();
        self.bytes -= entry.cost;
        self.held_bytes -= entry.held();
        self.charge_about();
    }

    /// Drops the oldest message of QoS 0, if there is one.
    pub(super) fn drop_oldest(&mut self) -> bool {
        let Some(oldest) = self.at_most_once.pop_front() else {
            return false;
        };
        self.note_gone(&oldest);
        if let Outgoing::Run(run) = &oldest.outgoing {
            let rest: Vec<_> = run.messages().skip(1).collect();
            for message in rest.into_iter().rev() {
                self.put_back(Outgoing::One(Delivery::plain(message)));
            }
            for entry in self.at_most_once.iter_mut().take(run.len() - 1) {
                entry.number = oldest.number;
            }
        }
        true
    }

    /// Drops all of QoS 0; says how many messages they were.
    pub(super) fn drop_at_most_once(&mut self) -> usize {
        let dropped = std::mem::take(&mut self.at_most_once);
        for entry in &dropped {
            self.note_gone(entry);
        }
        dropped.iter().map(Entry::len).sum()
    }

    /// Copies what remains out of the read buffers.
    pub(super) fn compact(&mut self) {
        self.loans = 0;
        for entry in &mut self.acknowledged {
            if let Outgoing::One(delivery) = &mut entry.outgoing {
                delivery.message = self.charge.memory().keep(&delivery.message);
            }
        }
    }

    /// Live messages wait no more for retained ones.
    pub(super) fn release_held(&mut self) {
        for mut entry in self.held.take().unwrap_or_default() {
            self.numbers += 1;
            entry.number = self.numbers;
            self.append(entry);
        }
    }

    pub(super) fn wake(&mut self) -> Option<Arc<Bell>> {
        if std::mem::replace(&mut self.is_awake, true) {
            return None;
        }
        self.bell.clone()
    }
}
