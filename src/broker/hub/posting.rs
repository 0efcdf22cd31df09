//! Messages into the queues that were found for them, one by one or a run at once; no lock of the hub's own.

use super::{Batch, Fate, FullQueue, Hub, Published};
use crate::broker::Limit;
use crate::broker::outbox::{LARGE_RUN, Letter, Pressure};
use crate::broker::router::SessionKey;
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
        self.core.read().route(&sample, publisher, batch);
        let matched = batch.found.len() + batch.groups.len();
        self.end_denied(batch, run.topic(), run.len());
        if self.taps.is_any() {
            for message in run.messages() {
                self.catch(&message, publisher);
            }
        }
        let run = Arc::new(self.held_run(run));
        let mut one_by_one = Vec::new();
        for (outbox, route) in batch.found.drain(..) {
            let is_plain = route.subscription_ids.is_empty();
            let pushed = is_plain.then(|| outbox.push_run(&run, route.stamp));
            match pushed.flatten() {
                Some(pushed) if pushed.is_denied => {
                    if let Some(ledger) = &self.ledger {
                        ledger.credit(|credits| credits.routed += run.len());
                    }
                    self.note_denied(Some(&outbox), Some(run.topic()), run.len());
                }
                Some(pushed) => {
                    let dropped = if pushed.is_dropped { run.len() } else { 0 };
                    if let Some(ledger) = &self.ledger {
                        ledger.credit(|credits| credits.routed += run.len());
                        let lost = (Fate::Dropped, NOBODY_THERE);
                        ledger.end(Some(&outbox), lost, Some(run.topic()), dropped);
                    }
                    self.counters.messages_dropped_qos0.add(dropped);
                    batch.to_wake.extend(pushed.wake);
                }
                None => one_by_one.push((outbox, route)),
            }
        }
        let groups = std::mem::take(&mut batch.groups);
        if one_by_one.is_empty() && groups.is_empty() {
            return matched;
        }
        for message in run.messages() {
            batch.found.extend(one_by_one.iter().cloned());
            batch.groups.extend(groups.iter().cloned());
            self.post(&message, publisher, batch, now);
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
        self.end_denied(batch, &message.topic, 1);
        let mut letter = Letter::new(message, self.number(batch), &self.memory, now);
        for (outbox, route) in batch.found.drain(..) {
            let (qos, session) = (route.qos, route.session);
            let pushed = outbox.push(&mut letter, route, now);
            if pushed.is_denied {
                self.note_denied(Some(&outbox), Some(&message.topic), 1);
                continue;
            }
            self.counters.messages_dropped_qos0.add(pushed.evicted);
            self.count_dropped(pushed.is_dropped, qos);
            self.count_reached(pushed.reached);
            if let Some(ledger) = &self.ledger {
                let evicted = (Fate::Dropped, "QoS 0 that made room");
                ledger.end(Some(&outbox), evicted, None, pushed.evicted);
                let why = if pushed.is_absent && qos == QoS::AtMostOnce {
                    NOBODY_THERE
                } else {
                    QUEUE_FULL
                };
                let (lost, count) = ((Fate::Dropped, why), usize::from(pushed.is_dropped));
                ledger.end(Some(&outbox), lost, Some(&message.topic), count);
            }
            batch.to_wake.extend(pushed.wake);
            // Who has filled its own queue must still be read: the acknowledgements that drain it come the same way.
            let pressure = if publisher == Some(session) {
                if pushed.is_flooded {
                    outbox.give_up(now);
                }
                pushed.pressure.min(Pressure::Withhold)
            } else {
                pushed.pressure
            };
            if pressure > Pressure::None {
                published.full.push((FullQueue::Session(outbox), pressure));
            }
        }
        for group in batch.groups.drain(..) {
            let shared = group.push(&mut letter, publisher, now);
            if shared.is_denied {
                self.note_denied(None, Some(&message.topic), 1);
            }
            self.count_dropped(shared.is_dropped, shared.qos);
            self.count_reached(shared.reached);
            if let Some(ledger) = &self.ledger {
                let why = match shared.qos {
                    QoS::AtMostOnce => "QoS 0 for a group that is full or has nobody there",
                    _ => QUEUE_FULL,
                };
                let (lost, count) = ((Fate::Dropped, why), usize::from(shared.is_dropped));
                ledger.end(None, lost, Some(&message.topic), count);
            }
            self.follow_group(&group, shared.after, Some(&mut batch.to_wake));
            if shared.pressure > Pressure::None {
                published
                    .full
                    .push((FullQueue::Group(group), shared.pressure));
            }
        }
        published
    }

    /// Those who may not read what would have been for them.
    fn end_denied(&self, batch: &mut Batch, topic: &TopicName, count: usize) {
        for outbox in batch.denied.drain(..) {
            if let Some(ledger) = &self.ledger {
                ledger.credit(|credits| credits.routed += count);
            }
            self.note_denied(Some(&outbox), Some(topic), count);
        }
    }

    /// The number of a batch, given when it is first asked for.
    fn number(&self, batch: &mut Batch) -> u64 {
        *batch
            .number
            .get_or_insert_with(|| self.batches.fetch_add(1, Ordering::Relaxed))
    }

    fn count_reached(&self, limit: Option<Limit>) {
        if let Some(limit) = limit {
            self.counters.reached(limit);
        }
    }

    fn count_dropped(&self, is_dropped: bool, qos: QoS) {
        let counter = match qos {
            QoS::AtMostOnce => &self.counters.messages_dropped_qos0,
            _ => &self.counters.messages_dropped_queue_full,
        };
        counter.add(usize::from(is_dropped));
    }
}
