//! What the lock of a group guards: its members, what waits, and how much of it may be moved. Plain data.

use super::choice::Choice;
use super::member::{Member, Parcel, Share};
use super::{HAND_MAX, Sharing};
use crate::broker::bell::Bell;
use crate::broker::memory::{Charge, Claim, Memory, QUEUE_FREE};
use crate::broker::outbox::{GRACE, Outbox};
use crate::message::{Message, QoS};
use crate::topic::TopicName;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

/// What a message costs in memory beside what bounds the queue: that need not be as true.
const ENTRY_COST: usize = 96;

/// Why no member was chosen for a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Undealt {
    /// All that are connected have their hands full, or nobody is.
    NoRoom,
    /// Those that are connected and may read it have their hands full. Others may read what comes behind it.
    Others,
    /// Those that may read it are not connected.
    Absent,
    /// No member may read it.
    Denied,
}

#[derive(Debug)]
pub(super) struct State {
    /// Sorted by number.
    pub(super) members: Vec<Member>,
    pub(super) joined: u64,
    pub(super) online: usize,
    /// The highest QoS that any member was granted.
    pub(super) granted: QoS,
    /// Pushed and taken since all hands were laid down: so many may be moved again.
    pub(super) paid: usize,
    /// Whether nobody is connected, and what waits has been seen to for that.
    pub(super) is_for_long: bool,
    pub(super) choice: Choice,
    /// What waits for any member, by number.
    pub(super) waiting: BTreeMap<u64, Parcel>,
    /// What waits for members that are not connected or have their hands full, since none of the others may read it; by
    /// number.
    pub(super) aside: BTreeMap<u64, Parcel>,
    /// Whether there is a member that may not read everything.
    pub(super) is_restricted: bool,
    pub(super) numbers: u64,
    /// In common and in all hands.
    pub(super) count: usize,
    pub(super) bytes: usize,
    /// Of those, what is charged for itself: large payloads.
    large: usize,
    charge: Charge,
    pub(super) full_since: Option<Instant>,
    pub(super) publishers_waiting: Vec<Arc<Bell>>,
}

impl State {
    pub(super) fn new(memory: &Arc<Memory>, sharing: Sharing) -> Self {
        Self {
            members: Vec::new(),
            joined: 0,
            online: 0,
            granted: QoS::ExactlyOnce,
            paid: 0,
            is_for_long: true,
            choice: Choice::new(sharing.strategy, sharing.seed),
            waiting: BTreeMap::new(),
            aside: BTreeMap::new(),
            is_restricted: false,
            numbers: 0,
            count: 0,
            bytes: 0,
            large: 0,
            charge: Charge::new(memory),
            full_since: None,
            publishers_waiting: Vec::new(),
        }
    }

    pub(super) fn find(&self, outbox: &Arc<Outbox>) -> Option<usize> {
        self.members
            .iter()
            .position(|member| Arc::ptr_eq(&member.outbox, outbox))
    }

    pub(super) fn member(&mut self, outbox: &Arc<Outbox>) -> Option<&mut Member> {
        self.find(outbox).map(|at| &mut self.members[at])
    }

    pub(super) fn enter(&mut self, number: u64, parcel: Parcel) {
        self.count += 1;
        self.bytes += parcel.cost();
        self.large += parcel.message.large();
        self.charge_about();
        self.waiting.insert(number, parcel);
    }

    /// Whether the broker has no room for more here.
    pub(super) fn is_scarce(&self) -> bool {
        (self.online == 0 || self.bytes >= QUEUE_FREE)
            && !self.charge.memory().grants(Claim::Growth)
    }

    /// The message in memory of its own.
    pub(super) fn keep(&self, message: &Message) -> Message {
        self.charge.memory().keep(message)
    }

    pub(super) fn charge_about(&mut self) {
        let held = self.bytes - self.large + self.count * ENTRY_COST;
        self.charge.follow(held);
    }

    /// Nobody is left for what waits; says how many messages that were.
    pub(super) fn forget_all(&mut self) -> usize {
        self.waiting.clear();
        self.aside.clear();
        (self.bytes, self.large) = (0, 0);
        self.charge.set(0);
        std::mem::take(&mut self.count)
    }

    /// All hands go back to what waits in common, if they are small, or that much has been done since the last time.
    pub(super) fn lay_down_if_paid(&mut self) {
        let in_hands = self.count - self.waiting.len() - self.aside.len();
        if in_hands > HAND_MAX {
            if in_hands > self.paid {
                return;
            }
            self.paid = 0;
        }
        for member in &mut self.members {
            member.lay_down(&mut self.waiting);
        }
    }

    /// It is in no list any more.
    pub(super) fn note_gone(&mut self, parcel: &Parcel) {
        self.count -= 1;
        self.bytes -= parcel.cost();
        self.large -= parcel.message.large();
        self.charge_about();
    }

    /// Rights of members have changed.
    pub(super) fn note_restricted(&mut self) {
        self.is_restricted = self.members.iter().any(|member| member.rights.is_some());
    }

    /// Whether there is a member that may read it.
    pub(super) fn is_for_any_member(&self, topic: &TopicName) -> bool {
        !self.is_restricted || self.members.iter().any(|member| member.may_read(topic))
    }

    /// Why no member was chosen. Those that would have been, but for their hands, get nothing more until these are half
    /// empty: so what they may read is put aside once, in order, and not looked at for each message that others get.
    pub(super) fn why_not_dealt(&mut self, topic: &TopicName) -> Undealt {
        if !self.is_restricted {
            return Undealt::NoRoom;
        }
        let (mut is_for_any, mut is_for_online) = (false, false);
        for member in self.members.iter_mut().filter(|it| it.may_read(topic)) {
            is_for_any = true;
            is_for_online |= member.is_online;
            member.is_full |= member.is_online;
        }
        match (is_for_any, is_for_online) {
            (false, _) => Undealt::Denied,
            (true, false) => Undealt::Absent,
            (true, true) => Undealt::Others,
        }
    }

    /// A member has taken something. Once its hand is half empty, it gets what was put aside, before anything that is newer.
    pub(super) fn make_room(&mut self, at: usize, share: Share) {
        let member = &mut self.members[at];
        if member.is_full && member.is_half_empty(share) {
            member.is_full = false;
            self.waiting.append(&mut self.aside);
        }
    }

    /// What was put aside waits with the rest again.
    pub(super) fn take_up_aside(&mut self) {
        self.waiting.append(&mut self.aside);
        for member in &mut self.members {
            member.is_full = false;
        }
    }

    /// Members have come, gone or changed.
    pub(super) fn note_granted(&mut self) {
        let granted = self
            .members
            .iter()
            .map(|member| member.subscription.options.qos);
        self.granted = granted.max().unwrap_or(QoS::ExactlyOnce);
    }

    /// Whether a message waits for absent members: not if all of them would get it with QoS 0.
    pub(super) fn keeps(&self, qos: QoS) -> bool {
        qos.min(self.granted) > QoS::AtMostOnce
    }

    /// Nobody is connected: what nobody waits for goes, the rest is copied out of the read buffers. Says how many went.
    pub(super) fn keep_for_long(&mut self) -> usize {
        let mut dropped = 0;
        for (number, mut parcel) in std::mem::take(&mut self.waiting) {
            if self.keeps(parcel.message.qos) {
                parcel.message = self.keep(&parcel.message);
                self.waiting.insert(number, parcel);
            } else {
                self.note_gone(&parcel);
                dropped += 1;
            }
        }
        dropped
    }

    /// When publishers that are held back are let go on whatever has become of the queue.
    pub(super) fn grace_ends(&self) -> Option<Instant> {
        self.full_since.and_then(|since| since.checked_add(GRACE))
    }

    /// The members that have sat on messages since the queue was full, once.
    pub(super) fn take_stuck(&mut self) -> Vec<Arc<Outbox>> {
        let mut stuck = Vec::new();
        for member in &mut self.members {
            let has_taken = std::mem::replace(&mut member.has_taken, true);
            if member.is_online && !has_taken && member.count() > 0 {
                stuck.push(Arc::clone(&member.outbox));
            }
        }
        stuck
    }
}
