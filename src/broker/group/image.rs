//! What a group keeps without any of its members connected, as plain data: taken for a snapshot, and made a group again.

use super::choice::Choice;
use super::member::{Member, Parcel};
use super::{Group, Sharing};
use crate::broker::Limits;
use crate::broker::memory::Memory;
use crate::broker::outbox::Outbox;
use crate::broker::router::SessionKey;
use crate::broker::snapshot::Shift;
use crate::broker::subscriptions::Subscription;
use crate::message::QoS;
use std::collections::BTreeMap;
use std::sync::Arc;

/// What a group keeps without any of its members connected, at one moment: all hands are laid down.
#[derive(Debug, Clone)]
pub struct GroupImage {
    /// In the order of joining.
    members: Vec<(u64, SessionKey, Subscription)>,
    joined: u64,
    choice: Choice,
    waiting: BTreeMap<u64, Parcel>,
    numbers: u64,
    /// Whether nobody was connected before either, and what waits has been seen to for that.
    is_for_long: bool,
}

impl GroupImage {
    /// How many messages wait.
    pub fn queued(&self) -> usize {
        self.waiting.len()
    }

    /// A member's session has ended.
    pub fn leave(&mut self, session: SessionKey) {
        self.members.retain(|(_, member, _)| *member != session);
    }

    /// Takes back what was on its way to a member whose session has ended.
    pub fn give_back(&mut self, number: u64, parcel: Parcel) {
        self.waiting.insert(number, parcel);
    }

    /// Nobody is connected any more: what those that are left would get with QoS 0 goes. What has waited for longer stays.
    pub fn keep_for_long(&mut self) {
        if !std::mem::replace(&mut self.is_for_long, true) {
            let members = self.members.iter();
            let granted = members.map(|(_, _, subscription)| subscription.options.qos);
            let granted = granted.max().unwrap_or(QoS::ExactlyOnce);
            self.waiting
                .retain(|_, parcel| parcel.message.qos.min(granted) > QoS::AtMostOnce);
        }
    }

    /// Whether no member is left.
    pub fn is_over(&self) -> bool {
        self.members.is_empty()
    }
}

impl Group {
    /// What it keeps without any of its members connected.
    pub fn image(&self) -> GroupImage {
        let state = self.state.lock();
        let mut waiting = state.waiting.clone();
        let aside = state.aside.iter();
        waiting.extend(aside.map(|(number, parcel)| (*number, parcel.clone())));
        for member in &state.members {
            let hand = member.best_effort.iter().chain(&member.acknowledged);
            waiting.extend(hand.map(|(number, parcel)| (*number, parcel.clone())));
        }
        let members = state.members.iter();
        GroupImage {
            members: members
                .map(|member| (member.number, member.session, member.subscription))
                .collect(),
            joined: state.joined,
            choice: state.choice.clone(),
            waiting,
            numbers: state.numbers,
            is_for_long: state.is_for_long,
        }
    }

    /// A group of which nobody is connected, with what an image has. `outbox_of` knows the queues of its members.
    pub fn restored(
        (limits, memory): (&Limits, &Arc<Memory>),
        sharing: Sharing,
        image: &GroupImage,
        outbox_of: impl Fn(SessionKey) -> Option<Arc<Outbox>>,
        shift: Shift,
    ) -> Self {
        let group = Self::new(limits, memory, sharing);
        {
            let mut state = group.state.lock();
            state.joined = image.joined;
            state.numbers = image.numbers;
            if image.choice.strategy() == sharing.strategy {
                state.choice = image.choice.clone();
            }
            for (number, session, subscription) in &image.members {
                if let Some(outbox) = outbox_of(*session) {
                    let member = Member::absent(*number, *session, outbox, *subscription);
                    state.members.push(member);
                }
            }
            for (number, parcel) in &image.waiting {
                let mut parcel = parcel.moved(shift);
                // Nobody knows for how long.
                parcel.message = state.keep(&parcel.message);
                state.enter(*number, parcel);
            }
            state.note_granted();
        }
        group
    }
}
