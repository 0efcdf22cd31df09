//! What a queue keeps without its connection, as plain data: taken for a snapshot, and made a queue again.

use super::shares::Shares;
use super::{Outbox, Sent};
use crate::broker::Limits;
use crate::broker::group::{Group, Parcel};
use crate::broker::memory::Memory;
use crate::broker::protocol::{Delivery, Outgoing};
use crate::broker::router::RetainedCursor;
use crate::broker::snapshot::Shift;
use crate::message::QoS;
use crate::session::Token;
use crate::topic::TopicName;
use std::collections::VecDeque;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};

/// What a queue keeps without its connection, at one moment.
#[derive(Debug, Clone)]
pub struct OutboxImage {
    /// In the order of arrival.
    queued: Vec<Delivery>,
    cursors: VecDeque<RetainedCursor>,
    /// What goes back to a group, by its number.
    pub sent: Vec<SentImage>,
    tokens: Token,
}

/// Something on its way that goes back to its group if the session ends first.
#[derive(Debug, Clone)]
pub struct SentImage {
    token: Token,
    /// Which group.
    pub group: usize,
    /// Its place in the order of the group.
    pub number: u64,
    /// The message as it was published.
    pub parcel: Parcel,
}

impl OutboxImage {
    /// How many messages wait.
    pub fn queued(&self) -> usize {
        self.queued.len()
    }
}

impl Outbox {
    /// What it keeps without its connection. `number_of` numbers the groups.
    pub fn image(&self, number_of: impl Fn(&Weak<Group>) -> Option<usize>) -> OutboxImage {
        let state = self.state.lock();
        let held = state.held.iter().flatten();
        let kept = |delivery: &&Delivery| delivery.message.qos > QoS::AtMostOnce;
        let (sent, tokens) = state.shares.sent();
        OutboxImage {
            queued: state
                .acknowledged
                .iter()
                .chain(held)
                .filter_map(|entry| match &entry.outgoing {
                    Outgoing::One(delivery) => Some(delivery),
                    // Of QoS 0.
                    Outgoing::Run(_) => None,
                })
                .filter(kept)
                .cloned()
                .collect(),
            cursors: state.cursors.clone(),
            sent: sent
                .filter_map(|(token, sent)| {
                    Some(SentImage {
                        token: *token,
                        group: number_of(&sent.group)?,
                        number: sent.number,
                        parcel: sent.parcel.clone(),
                    })
                })
                .collect(),
            tokens,
        }
    }

    /// The topics of what waits, at most so many.
    pub fn topics(&self, limit: usize) -> Vec<TopicName> {
        let state = self.state.lock();
        let all = state.acknowledged.iter().chain(&state.at_most_once);
        all.map(|entry| match &entry.outgoing {
            Outgoing::One(delivery) => delivery.message.topic.compact(),
            Outgoing::Run(run) => run.topic().compact(),
        })
        .take(limit)
        .collect()
    }

    /// A queue that nobody is connected to, with what an image has. What is on its way goes back to these `groups`.
    pub fn restored(
        limits: &Limits,
        memory: &Arc<Memory>,
        image: &OutboxImage,
        shift: Shift,
    ) -> Self {
        let outbox = Self::new(limits, memory);
        {
            let mut state = outbox.state.lock();
            for delivery in &image.queued {
                let entry = state.enter(Outgoing::One(Delivery {
                    expires_at: shift.moved(delivery.expires_at),
                    ..delivery.clone()
                }));
                state.append(entry);
            }
            state.cursors.clone_from(&image.cursors);
        }
        outbox
            .has_retained
            .store(!image.cursors.is_empty(), Ordering::Relaxed);
        outbox
    }

    /// Ties what an image had on its way to the groups that have been restored with it.
    pub fn tie(&self, image: &OutboxImage, groups: &[Option<Arc<Group>>], shift: Shift) {
        let sent = image.sent.iter().filter_map(|sent| {
            let group = groups.get(sent.group)?.as_ref()?;
            let number = sent.number;
            let parcel = sent.parcel.moved(shift);
            let group = Arc::downgrade(group);
            Some((
                sent.token,
                Sent {
                    group,
                    number,
                    parcel,
                },
            ))
        });
        self.state.lock().shares = Shares::restored(sent.collect(), image.tokens);
    }
}
