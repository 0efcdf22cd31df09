//! What an inbox holds, under its lock: entries in the order of arrival, of which those at the end may be parked.

use super::{Aftermath, Delivery, DeliveryReceipt, READ_BYTES, Taken};
use crate::client::dispatch::Key;
use crate::message::QoS;
use std::collections::VecDeque;
use std::task::Waker;

/// What is kept alive by messages that lie in the read buffers they were cut from, in bytes, beside as much as they hold
/// themselves. Beyond it they are copied: one of them keeps as much alive as a thousand.
const LOANED_BYTES_MAX: usize = 1 << 20;
/// More wakers than this are not kept: whoever asked in vain so often has gone away.
const WAKERS_MAX: usize = 64;

pub(super) struct Entry {
    pub(super) delivery: Delivery,
    /// What is not acknowledged yet; with [`Ack::Received`] the application does not see it.
    pub(super) owed: Option<DeliveryReceipt>,
    /// With which it came.
    pub(super) batch: usize,
}

#[derive(Default)]
pub(super) struct State {
    pub(super) entries: VecDeque<Entry>,
    pub(super) bytes: usize,
    /// How many at the end are beyond the bound, and their bytes.
    pub(super) parked: usize,
    pub(super) parked_bytes: usize,
    /// No entry before this place is of QoS 0: where to look for the oldest.
    pub(super) qos0_from: usize,
    pub(super) dropped: u64,
    pub(super) received: u64,
    pub(super) high: usize,
    pub(super) bytes_high: usize,
    pub(super) end: Option<Taken>,
    /// What comes from now on is abandoned.
    pub(super) is_abandoned: bool,
    pub(super) wakers: Vec<Waker>,
}

impl Entry {
    pub(super) fn size(&self) -> usize {
        self.delivery.message.size()
    }
}

impl State {
    /// Whether a message of this batch may stay in its read buffer. Those of all batches since the oldest message here
    /// count as kept alive.
    pub(super) fn may_borrow(&self, batch: usize) -> bool {
        let oldest = self.entries.front().map_or(batch, |entry| entry.batch);
        let loaned = batch.saturating_sub(oldest).saturating_mul(READ_BYTES);
        loaned <= LOANED_BYTES_MAX.saturating_add(self.bytes)
    }

    pub(super) fn push(&mut self, entry: Entry, is_parked: bool) {
        self.bytes += entry.size();
        if is_parked {
            self.parked += 1;
            self.parked_bytes += entry.size();
        }
        self.entries.push_back(entry);
        self.high = self.high.max(self.entries.len());
        self.bytes_high = self.bytes_high.max(self.bytes);
    }

    /// The policy is to fail: what is unacknowledged here, and the message that did not fit, are abandoned. Left to be
    /// taken, they would hold back the acknowledgements of all other subscriptions until somebody does.
    pub(super) fn fail(&mut self, delivery: &Delivery, after: &mut Aftermath) {
        let had = self.entries.len();
        after
            .abandoned
            .extend(self.entries.iter().filter_map(|entry| entry.owed));
        after.abandoned.extend(delivery.receipt);
        self.entries.retain(|entry| entry.owed.is_none());
        self.dropped += (had - self.entries.len()) as u64 + 1;
        self.count();
    }

    /// Entries have gone from anywhere: the bytes anew. Whoever has parked some counts those.
    pub(super) fn count(&mut self) {
        self.bytes = self.entries.iter().map(Entry::size).sum();
        self.qos0_from = 0;
    }

    pub(super) fn pop(&mut self) -> Option<Entry> {
        let entry = self.entries.pop_front()?;
        self.bytes -= entry.size();
        if self.parked > self.entries.len() {
            self.parked -= 1;
            self.parked_bytes -= entry.size();
        }
        self.qos0_from = self.qos0_from.saturating_sub(1);
        Some(entry)
    }

    pub(super) fn pop_dropped(&mut self, key: Key, after: &mut Aftermath) -> bool {
        let Some(entry) = self.pop() else {
            return false;
        };
        self.dropped += 1;
        after.settled.extend(entry.owed.map(|owed| (key, owed)));
        true
    }

    pub(super) fn drop_oldest_qos0(&mut self) -> bool {
        let found = self
            .entries
            .iter()
            .skip(self.qos0_from)
            .position(|entry| entry.delivery.message.qos == QoS::AtMostOnce);
        let Some(distance) = found else {
            self.qos0_from = self.entries.len();
            return false;
        };
        self.qos0_from += distance;
        let is_parked = self.qos0_from >= self.entries.len() - self.parked;
        if let Some(entry) = self.entries.remove(self.qos0_from) {
            self.bytes -= entry.size();
            if is_parked {
                self.parked -= 1;
                self.parked_bytes -= entry.size();
            }
            self.dropped += 1;
        }
        true
    }

    pub(super) fn keep(&mut self, waker: Option<&Waker>, surplus: &mut Vec<Waker>) {
        let Some(waker) = waker else {
            return;
        };
        if self.wakers.iter().any(|kept| kept.will_wake(waker)) {
            return;
        }
        if self.wakers.len() >= WAKERS_MAX {
            surplus.append(&mut self.wakers);
        }
        self.wakers.push(waker.clone());
    }
}
