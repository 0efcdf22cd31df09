//! A member of a group, its hand, and what is in it. Plain data.

use crate::broker::outbox::Outbox;
use crate::broker::protocol::{Delivery, Room};
use crate::broker::rights::Rights;
use crate::broker::router::SessionKey;
use crate::broker::snapshot::Shift;
use crate::broker::subscriptions::Subscription;
use crate::message::{Message, QoS};
use crate::topic::TopicName;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

/// What one message costs beside itself, in bytes: bounds must hold for small messages too.
const PARCEL_COST: usize = 96;

/// A message of a group, as it was published.
#[derive(Debug, Clone)]
pub struct Parcel {
    /// With the QoS and the retain flag of its publisher.
    pub(super) message: Message,
    pub(super) expires_at: Option<Instant>,
}

impl Parcel {
    pub(super) fn cost(&self) -> usize {
        self.message.size() + PARCEL_COST
    }

    /// The same where it is another hour.
    pub(crate) fn moved(&self, shift: Shift) -> Self {
        Self {
            message: self.message.clone(),
            expires_at: shift.moved(self.expires_at),
        }
    }

    /// The message as a member with this subscription gets it.
    // spec(5): MQTT-4.8.2-3
    pub(super) fn delivery(&self, subscription: Subscription) -> Delivery {
        Delivery {
            message: Message {
                qos: self.message.qos.min(subscription.options.qos),
                retain: self.message.retain && subscription.options.retain_as_published,
                ..self.message.clone()
            },
            subscription_ids: subscription.id.into_iter().collect(),
            expires_at: self.expires_at,
            token: 0,
        }
    }
}

/// A member of a group, by the number it got when it joined: it is never used again in this group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MemberId(pub(super) u64);

/// How much one hand may hold.
#[derive(Debug, Clone, Copy)]
pub(super) struct Share {
    pub(super) messages: usize,
    pub(super) bytes: usize,
}

#[derive(Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own")]
pub(super) struct Member {
    pub(super) number: u64,
    pub(super) session: SessionKey,
    pub(super) outbox: Arc<Outbox>,
    pub(super) subscription: Subscription,
    /// What it may do; `None`: everything.
    pub(super) rights: Option<Arc<Rights>>,
    pub(super) is_online: bool,
    /// Whether its hand was full when there was something for it, and is not half empty yet.
    pub(super) is_full: bool,
    /// Whether its connection knows, or is about to, that its hand is not empty.
    pub(super) is_ready: bool,
    /// Whether it has taken anything since the queue was full.
    pub(super) has_taken: bool,
    /// Its hand, by number; what it gets with QoS 0 need not wait for its window.
    pub(super) best_effort: BTreeMap<u64, Parcel>,
    pub(super) acknowledged: BTreeMap<u64, Parcel>,
    pub(super) bytes: usize,
}

impl Member {
    /// One that is not connected, with an empty hand.
    pub(super) fn absent(
        number: u64,
        session: SessionKey,
        outbox: Arc<Outbox>,
        subscription: Subscription,
    ) -> Self {
        Self {
            number,
            session,
            outbox,
            subscription,
            rights: None,
            is_online: false,
            is_full: false,
            is_ready: false,
            has_taken: true,
            best_effort: BTreeMap::new(),
            acknowledged: BTreeMap::new(),
            bytes: 0,
        }
    }

    pub(super) fn count(&self) -> usize {
        self.best_effort.len() + self.acknowledged.len()
    }

    pub(super) fn can_take(&self, share: Share) -> bool {
        let has_room = self.count() < share.messages && self.bytes < share.bytes;
        self.is_online && !self.is_full && has_room
    }

    pub(super) fn is_half_empty(&self, share: Share) -> bool {
        self.count() <= share.messages / 2 && self.bytes <= share.bytes / 2
    }

    pub(super) fn may_read(&self, topic: &TopicName) -> bool {
        let rights = self.rights.as_ref();
        rights.is_none_or(|rights| rights.may_read(topic))
    }

    /// What it has before it, on the way or in its hand.
    pub(super) fn load(&self) -> usize {
        self.outbox.in_flight() + self.count()
    }

    pub(super) fn add(&mut self, number: u64, parcel: Parcel) {
        self.bytes += parcel.cost();
        match parcel.message.qos.min(self.subscription.options.qos) {
            QoS::AtMostOnce => self.best_effort.insert(number, parcel),
            _ => self.acknowledged.insert(number, parcel),
        };
    }

    /// Its hand goes back to what waits in common.
    pub(super) fn lay_down(&mut self, waiting: &mut BTreeMap<u64, Parcel>) {
        waiting.extend(std::mem::take(&mut self.best_effort));
        waiting.extend(std::mem::take(&mut self.acknowledged));
        self.bytes = 0;
    }

    /// The oldest in its hand that there is room for.
    pub(super) fn pop(&mut self, room: Room) -> Option<(u64, Parcel)> {
        let first = |hand: &BTreeMap<u64, Parcel>, has_room: bool| {
            let number = hand.first_key_value().map(|(number, _)| *number);
            number.filter(|_| has_room).unwrap_or(u64::MAX)
        };
        let best_effort = first(&self.best_effort, room.at_most_once);
        let acknowledged = first(&self.acknowledged, room.acknowledged);
        let popped = if best_effort < acknowledged {
            self.best_effort.pop_first()
        } else if acknowledged < u64::MAX {
            self.acknowledged.pop_first()
        } else {
            None
        }?;
        self.bytes -= popped.1.cost();
        Some(popped)
    }
}
