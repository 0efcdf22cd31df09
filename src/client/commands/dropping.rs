//! What of the outbox is given up before it was sent: whose turn it is to go, how many went for which cause, and who has
//! been told.
//!
//! Where messages may have to go, they stay in the queue until the very moment in which they can be sent
//! ([`Queue::keeps_back`]): so what the task holds is on its way, and what is here is not.

use super::work::Outgoing;
use super::{Publishes, Queue, State};
use crate::client::{ClientError, DropCause, Event, OnFull};
use crate::message::QoS;
use crate::storage::Change;
use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant, SystemTime};

/// Between two tellings.
const INTERVAL: Duration = Duration::from_secs(1);

/// How many messages were dropped on their way out.
#[derive(Default)]
pub(super) struct Drops {
    by_cause: BTreeMap<DropCause, Dropped>,
    told_at: Option<Instant>,
}

#[derive(Default)]
struct Dropped {
    count: u64,
    told: u64,
}

impl Drops {
    pub(super) fn count(&self, cause: DropCause) -> u64 {
        self.by_cause.get(&cause).map_or(0, |dropped| dropped.count)
    }
}

impl Queue {
    /// Whether what waits is taken one by one, and may be dropped until then.
    pub(super) fn keeps_back(&self) -> bool {
        self.on_full == OnFull::DropOldest || self.ttl.is_some()
    }

    /// Makes room for a message of this size, as far as what waits can make it.
    pub(super) fn drop_oldest(&self, state: &mut State, size: usize) -> Vec<Outgoing> {
        let mut dropped = Vec::new();
        while !self.has_room(state, size)
            && let Some(oldest) = state.work.publishes.pop()
        {
            state.forget_one(&oldest);
            dropped.push(oldest);
        }
        dropped
    }

    /// When the oldest that waits has waited long enough, if it has a limit.
    pub(in crate::client) fn next_expiry(&self) -> Option<SystemTime> {
        let ttl = self.ttl?;
        let put_at = self.state.lock().work.publishes.put_at();
        put_at.and_then(|put_at| put_at.checked_add(ttl))
    }

    /// Drops what has waited long enough. The oldest is first; where the clock was set back meanwhile, it holds the others
    /// up, and none is sent too late all the same.
    pub(in crate::client) fn expire(&self, now: SystemTime) {
        let Some(ttl) = self.ttl else {
            return;
        };
        let mut expired = Vec::new();
        let mut state = self.state.lock();
        while state
            .work
            .publishes
            .put_at()
            .is_some_and(|put_at| now.duration_since(put_at).is_ok_and(|waited| waited >= ttl))
            && let Some(oldest) = state.work.publishes.pop()
        {
            state.forget_one(&oldest);
            expired.push(oldest);
        }
        if expired.is_empty() {
            return;
        }
        self.tell_of_room(state);
        // For a client that is asked to close once nothing waits.
        self.changed.notify_waiters();
        self.give_up_on(expired, DropCause::Expired, &ClientError::Expired);
    }

    /// Answers for what was dropped. What had been taken back was not dropped.
    pub(super) fn give_up_on(&self, dropped: Vec<Outgoing>, cause: DropCause, why: &ClientError) {
        let mut count = 0;
        for Outgoing { reply, .. } in dropped {
            if reply.begins() {
                count += 1;
                reply.send(Err(why.clone()));
            }
        }
        self.note_drops(cause, count);
    }

    pub(in crate::client) fn note_drops(&self, cause: DropCause, count: u64) {
        if count == 0 {
            return;
        }
        let mut state = self.state.lock();
        state.drops.by_cause.entry(cause).or_default().count += count;
        if !self.has_untold_drops.swap(true, Ordering::AcqRel) {
            drop(state);
            self.changed.notify_waiters();
            // The task may have looked between the drop and this.
            self.rouse();
        }
    }

    pub(in crate::client) fn has_untold_drops(&self) -> bool {
        self.has_untold_drops.load(Ordering::Acquire)
    }

    /// Waits until there are drops to be told.
    pub(in crate::client) async fn untold_drops(&self) {
        self.until(|_| self.has_untold_drops().then_some(())).await;
    }

    /// When drops may be told next.
    pub(in crate::client) fn next_telling(&self, now: Instant) -> Instant {
        let told_at = self.state.lock().drops.told_at;
        told_at
            .and_then(|at| at.checked_add(INTERVAL))
            .map_or(now, |earliest| earliest.max(now))
    }

    /// What was dropped since the last time, which is told now.
    pub(in crate::client) fn drops_to_tell(&self, now: Instant) -> Vec<Event> {
        let mut state = self.state.lock();
        self.has_untold_drops.store(false, Ordering::Release);
        state.drops.told_at = Some(now);
        let mut events = Vec::new();
        for (cause, dropped) in &mut state.drops.by_cause {
            if dropped.count > dropped.told {
                events.push(Event::Dropped {
                    count: dropped.count - dropped.told,
                    cause: *cause,
                    filters: Vec::new(),
                });
                dropped.told = dropped.count;
            }
        }
        events
    }

    /// Moves the next message out, where what waits is kept back; one of QoS 1 or 2 only if there is a window for it, and
    /// room beside what is in flight, in messages and bytes: what was sent never goes, so a broker with a wide window
    /// would have the outbox grow to that.
    pub(in crate::client) fn take_one(
        &self,
        into: &mut Publishes,
        has_window: bool,
        (messages, bytes): (usize, usize),
    ) {
        if !self.keeps_back() {
            return;
        }
        let mut state = self.state.lock();
        let waiting = &mut state.work.publishes;
        let has_room = |size: usize| {
            messages == 0 || (messages < self.messages_max && bytes + size <= self.bytes_max)
        };
        let may_go = waiting.front().is_some_and(|(qos, _)| {
            qos == QoS::AtMostOnce || (has_window && has_room(waiting.front_size()))
        });
        if may_go && let Some(next) = waiting.pop() {
            into.push(next);
        }
    }

    /// Moves messages of QoS 0 out that were kept back.
    pub(in crate::client) fn take_qos0(&self) -> Vec<Outgoing> {
        if self.keeps_back() {
            self.state.lock().work.publishes.take_qos0()
        } else {
            Vec::new()
        }
    }

    /// Moves all that is kept back out: the end is near, and nothing more is put in.
    pub(in crate::client) fn take_rest(&self, into: &mut Publishes) {
        into.append(&mut self.state.lock().work.publishes);
    }

    /// Whether messages up to this one are kept back.
    pub(in crate::client) fn has_any_up_to(&self, number: u64) -> bool {
        let state = self.state.lock();
        let front = state.work.publishes.front();
        front.is_some_and(|(_, next)| next <= number)
    }

    /// A message of an earlier process is settled.
    pub(in crate::client) fn settle_restored(&self) {
        self.state.lock().restored.settle_one();
    }
}

impl super::Restored {
    fn settle_one(&mut self) {
        self.left = self.left.saturating_sub(1);
    }
}

impl State {
    /// A message goes that was never taken out.
    fn forget_one(&mut self, outgoing: &Outgoing) {
        self.messages = self.messages.saturating_sub(1);
        self.bytes = self.bytes.saturating_sub(outgoing.size);
        if outgoing.message.qos == QoS::AtMostOnce {
            return;
        }
        if let Some(store) = &self.store {
            store.write(Change::Done(outgoing.number));
        }
        if outgoing.number <= self.restored.up_to {
            self.restored.settle_one();
        }
    }
}
