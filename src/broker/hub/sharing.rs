//! What the hub does for groups of shared subscriptions: their locks and those of the queues, one after the other.

use super::{Attached, Fate, Hub};
use crate::broker::bell::{Bell, ring_all};
use crate::broker::group::{After, Group};
use crate::broker::outbox::{Outbox, Ready, Sent};
use crate::broker::protocol::{Delivery, Room};
use crate::codec::ReasonCode;
use crate::message::QoS;
use crate::session::Token;
use std::sync::{Arc, Weak};
use std::time::Instant;

/// A full queue that a publisher has put something into.
#[derive(Debug, Clone)]
pub enum FullQueue {
    /// Of a session.
    Session(Arc<Outbox>),
    /// Of a group of shared subscriptions.
    Group(Arc<Group>),
}

impl FullQueue {
    /// Whether the publisher still has to hold back; if so, its bell is rung when it need not any more.
    pub fn holds_back(&self, publisher: &Arc<Bell>, now: Instant) -> bool {
        match self {
            Self::Session(outbox) => outbox.holds_back(publisher),
            Self::Group(group) => group.holds_back(publisher, now),
        }
    }

    /// When the publisher need not hold back any more, whatever has become of the queue; no bell is rung for that. A
    /// session's queue ends it by the end of its connection.
    pub fn gives_way_at(&self) -> Option<Instant> {
        match self {
            Self::Session(_) => None,
            Self::Group(group) => group.gives_way_at(),
        }
    }

    /// Whether it is the same queue.
    pub fn is(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Session(one), Self::Session(other)) => Arc::ptr_eq(one, other),
            (Self::Group(one), Self::Group(other)) => Arc::ptr_eq(one, other),
            _ => false,
        }
    }
}

impl Hub {
    /// What was on its way to a session is settled, as [`crate::broker::protocol::Protocol::take_settled`] says: it does
    /// not go back to its group any more.
    pub fn settle(&self, attached: &Attached, tokens: &[Token]) {
        if !tokens.is_empty() {
            attached.outbox.settle(tokens);
        }
    }

    /// Takes a message out of a hand; one that has only what there is no room for is put aside.
    pub(super) fn take_from_hand(
        &self,
        outbox: &Outbox,
        ready: Ready,
        room: Room,
        aside: &mut Vec<Ready>,
    ) -> Option<Delivery> {
        let group = ready.group.upgrade()?;
        let taken = group.take(ready.member, room);
        self.follow_group(&group, taken.after, None);
        let Some((delivery, number, parcel)) = taken.message else {
            if taken.is_more {
                aside.push(ready);
            }
            return None;
        };
        // QoS 2 that was begun with a member is finished with it, or never.
        // spec(5): MQTT-4.8.2-4, MQTT-4.8.2-5
        let goes_back = delivery.message.qos == QoS::AtLeastOnce;
        let sent = goes_back.then(|| Sent {
            group: ready.group.clone(),
            number,
            parcel,
        });
        let token = outbox.note_sent(sent, taken.is_more.then_some(ready));
        Some(Delivery { token, ..delivery })
    }

    /// Does what follows from a change in a group, with no lock held. Whom to wake is added to `to_wake`, or woken.
    pub(super) fn follow_group(
        &self,
        group: &Arc<Group>,
        after: After,
        mut to_wake: Option<&mut Vec<Arc<Bell>>>,
    ) {
        for (outbox, member) in after.ready {
            let ready = Ready {
                group: Arc::downgrade(group),
                member,
            };
            match (outbox.make_ready(ready), &mut to_wake) {
                (None, _) => {}
                (Some(bell), Some(to_wake)) => to_wake.push(bell),
                (Some(bell), None) => bell.ring(),
            }
        }
        ring_all(&after.released);
        for outbox in after.stuck {
            outbox.tell_to_go(ReasonCode::QuotaExceeded);
        }
        self.note_denied(None, None, after.denied);
        self.counters.messages_dropped_qos0.add(after.dropped);
        if let Some(ledger) = &self.ledger {
            let lost = (Fate::Dropped, "QoS 0 for a group with nobody there");
            ledger.end(None, lost, None, after.dropped);
            ledger.end(None, (Fate::Dropped, "group ended"), None, after.abandoned);
        }
    }

    /// A member's connection has come, or gone.
    pub(super) fn set_online(&self, groups: &[Arc<Group>], outbox: &Arc<Outbox>, is_online: bool) {
        for group in groups {
            let after = group.set_online(outbox, is_online);
            self.follow_group(group, after, None);
        }
    }

    /// A session has ended: what it has not taken, and what it has not settled of QoS 1, goes to others.
    pub(super) fn leave_groups(&self, outbox: &Arc<Outbox>, groups: &[Arc<Group>]) {
        let given_back = self.give_back(outbox.take_sent());
        self.note_session_ended(outbox, given_back);
        for group in groups {
            let after = group.leave(outbox);
            self.follow_group(group, after, None);
        }
    }

    /// What is not sent again to a session that may not read it any more goes to others of its group. One that has ended
    /// has none.
    pub(super) fn take_back(&self, outbox: &Outbox, tokens: &[Token]) {
        if !tokens.is_empty() {
            let given_back = self.give_back(outbox.take_back(tokens));
            self.note_denied(Some(outbox), None, tokens.len() - given_back);
        }
    }

    /// Gives back to groups what was on its way. Says how many messages had one to go to.
    fn give_back(&self, mut sent: Vec<Sent>) -> usize {
        let mut given_back = 0;
        // One lock for each group, in the order in which they were first taken from: it must not depend on addresses.
        while let Some(first) = sent.first() {
            let weak = first.group.clone();
            let (of_group, others): (Vec<_>, _) = sent
                .into_iter()
                .partition(|sent| Weak::ptr_eq(&sent.group, &weak));
            sent = others;
            if let Some(group) = weak.upgrade() {
                given_back += of_group.len();
                let parcels = of_group.into_iter().map(|sent| (sent.number, sent.parcel));
                let after = group.give_back(parcels);
                self.follow_group(&group, after, None);
            }
        }
        given_back
    }
}
