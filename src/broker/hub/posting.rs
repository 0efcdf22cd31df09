//! Messages into the queues that were found for them, one by one or a run at once; no lock of the hub's own.

use super::{Batch, Fate, FullQueue, Hub, Published};
use crate::broker::Limit;
use crate::broker::outbox::{LARGE_RUN, Letter, Outbox, Pressure, Pushed};
use crate::broker::router::SessionKey;
use crate::broker::stats::Counters;
use crate::codec::Run;
use crate::message::{Message, QoS};
use crate::topic::TopicName;
use bytes::Bytes;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

/// Why a message was dropped.
const NOBODY_THERE: &str = "QoS 0 for an absent client";
const QUEUE_FULL: &str = "queue full";

impl Hub {
    /// Routes a run into the queues of those who subscribed, as [`Hub::publish`] would each of its messages. There is
    /// nothing to answer: nobody holds back what is of QoS 0. Says how many sessions and groups it went to.
    pub fn publish_run(
        &self,
        run: Run,
        publisher: Option<SessionKey>,
        batch: &mut Batch,
        now: Instant,
    ) -> usize {
        let sample = Message::new(run.topic().clone(), Bytes::new());
        let counts_refused = self.ledger.is_none();
        self.core
            .read()
            .route(&sample, publisher, batch, counts_refused);
        let refused = self.end_refused(batch, run.len());
        let matched = batch.found.len() + batch.groups.len() + refused;
        self.end_denied(batch, run.topic(), run.len());
        if self.taps.is_any() {
            for message in run.messages() {
                self.catch(&message, publisher);
            }
        }
        let run = Arc::new(self.held_run(run));
        let mut tally = Tally::new(&self.counters);
        let mut one_by_one = Vec::new();
        for (outbox, route) in &batch.found {
            let is_plain = route.subscription_ids.is_empty();
            let pushed = is_plain.then(|| outbox.push_run(&run, route.stamp));
            let Some(pushed) = pushed.flatten() else {
                one_by_one.push((Arc::clone(outbox), route.clone()));
                continue;
            };
            if let Some(ledger) = &self.ledger {
                ledger.credit(|credits| credits.routed += run.len());
            }
            if !pushed.is_plainly_queued() {
                self.enter(outbox, &pushed, (run.topic(), run.len()), &mut tally);
            }
            batch.to_wake.extend(pushed.wake);
        }
        drop(tally);
        if !one_by_one.is_empty() || !batch.groups.is_empty() {
            std::mem::swap(&mut batch.found, &mut one_by_one);
            for message in run.messages() {
                self.post(&message, publisher, batch, now);
            }
            std::mem::swap(&mut batch.found, &mut one_by_one);
        }
        matched
    }

    /// A run is charged once, however many queues it is in, unless it is small.
    fn held_run(&self, run: Run) -> Run {
        if run.packets().len() < LARGE_RUN {
            return run;
        }
        run.with_packets(|packets| self.memory.hold_bytes(packets))
    }

    /// Puts a message into the queues that were found for it.
    pub(super) fn post(
        &self,
        message: &Message,
        publisher: Option<SessionKey>,
        batch: &mut Batch,
        now: Instant,
    ) -> Published {
        let mut published = Published {
            matched: batch.found.len() + batch.groups.len(),
            full: Vec::new(),
        };
        if let Some(ledger) = &self.ledger {
            ledger.credit(|credits| credits.routed += published.matched);
        }
        let mut letter = Letter::new(message, self.number(batch), &self.memory, now);
        let mut tally = Tally::new(&self.counters);
        for (outbox, route) in &batch.found {
            let pushed = outbox.push(&mut letter, route, now);
            if !pushed.is_plainly_queued() {
                self.enter(outbox, &pushed, (&message.topic, 1), &mut tally);
            }
            batch.to_wake.extend(pushed.wake);
            // Who has filled its own queue must still be read: the acknowledgements that drain it come the same way.
            let pressure = if publisher == Some(route.session) {
                if pushed.is_flooded {
                    outbox.give_up(now);
                }
                pushed.pressure.min(Pressure::Withhold)
            } else {
                pushed.pressure
            };
            if pressure > Pressure::None {
                let full = FullQueue::Session(Arc::clone(outbox));
                published.full.push((full, pressure));
            }
        }
        for group in &batch.groups {
            let shared = group.push(&mut letter, publisher, now);
            if shared.is_denied {
                self.note_denied(None, Some(&message.topic), 1);
            }
            tally.dropped(usize::from(shared.is_dropped), shared.qos);
            tally.reached(shared.reached, 1);
            if let Some(ledger) = &self.ledger {
                let why = match shared.qos {
                    QoS::AtMostOnce => "QoS 0 for a group that is full or has nobody there",
                    _ => QUEUE_FULL,
                };
                let (lost, count) = ((Fate::Dropped, why), usize::from(shared.is_dropped));
                ledger.end(None, lost, Some(&message.topic), count);
            }
            self.follow_group(group, shared.after, Some(&mut batch.to_wake));
            if shared.pressure > Pressure::None {
                let full = FullQueue::Group(Arc::clone(group));
                published.full.push((full, shared.pressure));
            }
        }
        published
    }

    /// What became of so many messages to one topic is entered in the books. Rare, or of a flood: apart from what is common.
    #[inline(never)]
    fn enter(
        &self,
        outbox: &Outbox,
        pushed: &Pushed,
        (topic, count): (&TopicName, usize),
        tally: &mut Tally<'_>,
    ) {
        if pushed.is_denied {
            self.note_denied(Some(outbox), Some(topic), count);
            return;
        }
        let dropped = if pushed.is_dropped { count } else { 0 };
        tally.dropped(dropped, pushed.qos);
        tally.dropped(pushed.evicted, QoS::AtMostOnce);
        tally.reached(pushed.reached, count);
        if let Some(ledger) = &self.ledger {
            let evicted = (Fate::Dropped, "QoS 0 that made room");
            ledger.end(Some(outbox), evicted, None, pushed.evicted);
            let why = if pushed.is_absent && pushed.qos == QoS::AtMostOnce {
                NOBODY_THERE
            } else {
                QUEUE_FULL
            };
            ledger.end(Some(outbox), (Fate::Dropped, why), Some(topic), dropped);
        }
    }

    /// Queues that were full without being asked for each of so many messages. Says how many queues they are.
    pub(super) fn end_refused(&self, batch: &mut Batch, count: usize) -> usize {
        let refused = batch.refused.len();
        if refused > 0 {
            let mut tally = Tally::new(&self.counters);
            tally.dropped(refused * count, QoS::AtMostOnce);
            for limit in batch.refused.drain(..) {
                tally.reached(Some(limit), count);
            }
        }
        refused
    }

    /// Those who may not read what would have been for them.
    pub(super) fn end_denied(&self, batch: &Batch, topic: &TopicName, count: usize) {
        for outbox in &batch.denied {
            if let Some(ledger) = &self.ledger {
                ledger.credit(|credits| credits.routed += count);
            }
            self.note_denied(Some(outbox), Some(topic), count);
        }
    }

    /// The number of a batch, given when it is first asked for.
    fn number(&self, batch: &mut Batch) -> u64 {
        *batch
            .number
            .get_or_insert_with(|| self.batches.fetch_add(1, Ordering::Relaxed))
    }
}

/// What is counted of one message, or one run, for all its queues: thousands of them may be full, and others count too.
struct Tally<'a> {
    counters: &'a Counters,
    dropped_qos0: usize,
    dropped_queue_full: usize,
    reached: Option<(Limit, usize)>,
}

impl<'a> Tally<'a> {
    fn new(counters: &'a Counters) -> Self {
        Self {
            counters,
            dropped_qos0: 0,
            dropped_queue_full: 0,
            reached: None,
        }
    }

    fn dropped(&mut self, count: usize, qos: QoS) {
        match qos {
            QoS::AtMostOnce => self.dropped_qos0 += count,
            _ => self.dropped_queue_full += count,
        }
    }

    fn reached(&mut self, limit: Option<Limit>, count: usize) {
        let Some(limit) = limit else { return };
        match &mut self.reached {
            Some((known, times)) if *known == limit => *times += count,
            other => {
                if let Some((known, times)) = other.replace((limit, count)) {
                    self.counters.reached_often(known, times);
                }
            }
        }
    }
}

impl Drop for Tally<'_> {
    fn drop(&mut self) {
        let Counters {
            messages_dropped_qos0,
            messages_dropped_queue_full,
            ..
        } = self.counters;
        messages_dropped_qos0.add(self.dropped_qos0);
        messages_dropped_queue_full.add(self.dropped_queue_full);
        if let Some((limit, times)) = self.reached {
            self.counters.reached_often(limit, times);
        }
    }
}
