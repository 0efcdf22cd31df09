//! What a session is owed, by the table on top of the broker's `outbox`, done the simple way.

use super::flow::fits;
use rmqtt::broker::Limits;
use rmqtt::codec::{PacketId, ProtocolVersion, Publish};
use rmqtt::message::{Message, MessageProperties, QoS};
use std::collections::VecDeque;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Instant;

/// What an entry costs beside its message.
const ENTRY_COST: usize = 64;

/// A delivery that is owed.
#[derive(Debug, Clone)]
pub(super) struct Owed {
    /// With the QoS and the retain flag it has to come with.
    pub(super) message: Message,
    pub(super) ids: Vec<NonZeroU32>,
    pub(super) expires_at: Option<Instant>,
    number: u64,
}

impl Owed {
    pub(super) fn new(message: Message, ids: Vec<NonZeroU32>, expires_at: Option<Instant>) -> Self {
        Self {
            message,
            ids,
            expires_at,
            number: 0,
        }
    }

    fn cost(&self) -> usize {
        self.message.size() + ENTRY_COST
    }

    pub(super) fn is_expired(&self, now: Instant) -> bool {
        self.expires_at.is_some_and(|at| at <= now)
    }

    /// How it looks on the wire at this time, but for its packet id.
    pub(super) fn as_sent(&self, version: ProtocolVersion, now: Instant) -> Publish {
        let mut publish = Publish::new(self.message.clone());
        if version != ProtocolVersion::V5 {
            publish.message.properties = None;
            return publish;
        }
        publish.subscription_ids.clone_from(&self.ids);
        if let Some(at) = self.expires_at {
            let left = at.saturating_duration_since(now);
            let seconds = u32::try_from(left.as_millis().div_ceil(1000)).expect("small");
            publish.message.properties = Some(Arc::new(MessageProperties {
                message_expiry_interval: Some(seconds),
                ..self.message.properties().clone()
            }));
        }
        publish
    }

    /// Whether it is too old to be sent, or too large.
    pub(super) fn must_be_skipped(
        &self,
        version: ProtocolVersion,
        size_max: Option<u32>,
        now: Instant,
    ) -> bool {
        self.is_expired(now) || !self.fits(version, size_max, now)
    }

    fn fits(&self, version: ProtocolVersion, size_max: Option<u32>, now: Instant) -> bool {
        let mut publish = self.as_sent(version, now);
        publish.packet_id = PacketId::new(1).filter(|_| self.message.qos != QoS::AtMostOnce);
        fits(&publish, version, size_max)
    }
}

/// What happened to a message on its way into a queue.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Dropped {
    pub(super) of_qos0: u64,
    pub(super) queue_full: u64,
}

/// What a session is owed.
#[derive(Debug, Default)]
pub(super) struct Queue {
    at_most_once: VecDeque<Owed>,
    acknowledged: VecDeque<Owed>,
    numbers: u64,
    messages_max: usize,
    bytes_max: usize,
}

impl Queue {
    pub(super) fn new(limits: &Limits) -> Self {
        Self {
            messages_max: limits.queue_messages_max,
            bytes_max: limits.queue_bytes_max,
            ..Self::default()
        }
    }

    pub(super) fn len(&self) -> usize {
        self.at_most_once.len() + self.acknowledged.len()
    }

    fn is_full(&self) -> bool {
        let all = self.at_most_once.iter().chain(&self.acknowledged);
        let bytes: usize = all.map(Owed::cost).sum();
        self.len() >= self.messages_max || bytes >= self.bytes_max
    }

    /// Keeps what may stay. Returns how many went.
    pub(super) fn keep(&mut self, stays: impl Fn(&Message) -> bool) -> usize {
        let before = self.len();
        for list in [&mut self.at_most_once, &mut self.acknowledged] {
            list.retain(|owed| stays(&owed.message));
        }
        before - self.len()
    }

    /// Whatever the bounds say: retained messages are few at a time.
    pub(super) fn append(&mut self, mut owed: Owed) {
        self.numbers += 1;
        owed.number = self.numbers;
        match owed.message.qos {
            QoS::AtMostOnce => self.at_most_once.push_back(owed),
            _ => self.acknowledged.push_back(owed),
        }
    }

    pub(super) fn push(&mut self, owed: Owed, is_here: bool) -> Dropped {
        let is_qos0 = owed.message.qos == QoS::AtMostOnce;
        let mut dropped = Dropped::default();
        if self.is_full() && (is_qos0 || !is_here) || is_qos0 && !is_here {
            dropped.of_qos0 = u64::from(is_qos0);
            dropped.queue_full = u64::from(!is_qos0);
            return dropped;
        }
        self.append(owed);
        while is_here && !is_qos0 && self.is_full() && self.at_most_once.pop_front().is_some() {
            dropped.of_qos0 += 1;
        }
        dropped
    }

    /// Nobody is there any more for what need not be kept. Returns how many those were.
    pub(super) fn forget_qos0(&mut self) -> u64 {
        let count = self.at_most_once.len() as u64;
        self.at_most_once.clear();
        count
    }

    /// The next of this QoS was too old or too large to be sent.
    pub(super) fn skip(
        &mut self,
        message: &Message,
        version: ProtocolVersion,
        size_max: Option<u32>,
        now: Instant,
    ) {
        let owed = self.pop(message.qos);
        assert_eq!(owed.message, *message, "skipped out of order");
        let has_reason = owed.must_be_skipped(version, size_max, now);
        assert!(has_reason, "skipped without a reason: {owed:?}");
    }

    /// The next of its QoS was sent.
    pub(super) fn sent(
        &mut self,
        publish: &Publish,
        version: ProtocolVersion,
        has_room: bool,
        now: Instant,
    ) {
        let owed = self.pop(publish.message.qos);
        let mut expected = owed.as_sent(version, now);
        expected.packet_id = publish.packet_id;
        assert_eq!(*publish, expected, "something else was owed");
        assert!(!owed.is_expired(now), "it has expired");
        let first = self
            .acknowledged
            .front()
            .map_or(u64::MAX, |owed| owed.number);
        assert!(
            publish.packet_id.is_some() || owed.number < first || !has_room,
            "QoS 0 has overtaken what could be sent"
        );
    }

    fn pop(&mut self, qos: QoS) -> Owed {
        let list = match qos {
            QoS::AtMostOnce => &mut self.at_most_once,
            _ => &mut self.acknowledged,
        };
        list.pop_front().expect("nothing was owed")
    }

    pub(super) fn is_empty(&self) -> bool {
        self.len() == 0
    }
}
