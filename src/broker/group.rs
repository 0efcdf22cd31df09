//! A group of shared subscriptions: what waits for it, and which of its members gets what.
//!
//! Owns the messages of one `$share/name/filter` from the moment they are published until a member's connection takes
//! them, so that whatever becomes of a member, nothing is lost and nothing has to be moved from one lock to another. One
//! small lock of its own, never held while another is taken; what follows for others comes back as an [`After`]. Who is
//! chosen is in `choice`.
//!
//! A message is dealt to the *hand* of a member as soon as one that is connected has room in it, and waits for the group
//! in common as long as none has. Where members may not all read the same, what only absent and busy ones may is put aside. Hands are small, so that a slow member cannot sit on what others would have done,
//! except where the strategy ties messages to members. When a member goes, its hand is dealt to the others. When one
//! comes, all hands are laid down and dealt anew, oldest first, if they are small or as many messages have been pushed
//! and taken since the last time: who joins and leaves without end would have everything moved for one small packet.
//! What was taken out of a hand is on its way to that member: QoS 1 comes back by [`Group::give_back`] if its session
//! ends first, QoS 2 never does.
//!
//! # What happens when a group's queue is full
//!
//! By the QoS of the message, or the highest that a member was granted if that is lower:
//!
//! | | no member connected | members connected |
//! |---|---|---|
//! | QoS 0 | not queued: nobody is there | queued below three quarters of the bound; else dropped, counted |
//! | QoS 1 and 2, below the bound | queued | queued |
//! | QoS 1 and 2, at the bound | the newest is dropped, counted | queued, and the **publisher is held back** |
//!
//! Publishers are held back as by the queue of a session (see `outbox`), and not for longer than its grace either: if the
//! queue has not drained to three quarters by then, members that have taken nothing in all that time lose their
//! connections, so that others get what they sat on, and with no such member what is new is dropped, counted, until the
//! queue has drained.

mod choice;
mod image;
mod member;
mod state;

pub use image::GroupImage;
pub use member::{MemberId, Parcel};

use crate::broker::bell::Bell;
use crate::broker::memory::Memory;
use crate::broker::outbox::{Letter, Outbox, Pressure};
use crate::broker::protocol::{Delivery, Room};
use crate::broker::rights::Reader;
use crate::broker::router::SessionKey;
use crate::broker::subscriptions::Subscription;
use crate::broker::{Limit, Limits, SharedStrategy};
use crate::message::QoS;
use member::{Member, Share};
use parking_lot::Mutex;
use state::{State, Undealt};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

/// So many messages are dealt to one member ahead of its taking them, unless the strategy ties messages to members.
const HAND_MAX: usize = 64;

/// More waiting than this is copied out of the read buffers it was cut from: they must not be kept alive for long.
const BACKLOG: usize = 64;

/// How the groups of a broker deal.
#[derive(Debug, Clone, Copy, Default)]
pub struct Sharing {
    /// Who gets a message.
    pub strategy: SharedStrategy,
    /// What chance begins with: the same seed, the same choices.
    pub seed: u64,
}

/// What follows from a change in a group, to be done with its lock let go.
#[derive(Debug, Default)]
pub struct After {
    /// Whose hands are not empty any more.
    pub ready: Vec<(Arc<Outbox>, MemberId)>,
    /// Publishers that need not hold back any more.
    pub released: Vec<Arc<Bell>>,
    /// Members that have sat on messages for too long.
    pub stuck: Vec<Arc<Outbox>>,
    /// Messages of QoS 0 that were dropped.
    pub dropped: usize,
    /// Messages that nobody is left for.
    pub abandoned: usize,
    /// Messages that no member may read.
    pub denied: usize,
}

/// What became of a message.
#[derive(Debug)]
pub struct Shared {
    /// Whether it was dropped.
    pub is_dropped: bool,
    /// Whether it went since no member may read it.
    pub is_denied: bool,
    /// With what QoS any member could have got it at best.
    pub qos: QoS,
    /// What the publisher has to do.
    pub pressure: Pressure,
    /// The bound that made the queue full just now, or for which the message was dropped.
    pub reached: Option<Limit>,
    /// What else follows.
    pub after: After,
}

/// What a member takes.
#[derive(Debug)]
pub struct Taken {
    /// The message for the member, and what to give back if its session ends before it is settled.
    pub message: Option<(Delivery, u64, Parcel)>,
    /// Whether its hand is not empty.
    pub is_more: bool,
    /// What else follows.
    pub after: After,
}

/// The members and the queue of one `$share/name/filter`.
#[derive(Debug)]
pub struct Group {
    state: Mutex<State>,
    messages_max: usize,
    bytes_max: usize,
    /// So many are too many even from publishers that keep to our Receive Maximum.
    messages_stop: usize,
}

impl Group {
    /// A group without members.
    pub fn new(limits: &Limits, memory: &Arc<Memory>, sharing: Sharing) -> Self {
        Self {
            state: Mutex::new(State::new(memory, sharing)),
            messages_max: limits.queue_messages_max,
            bytes_max: limits.queue_bytes_max,
            messages_stop: limits
                .queue_messages_max
                .saturating_add(limits.queue_messages_max.max(limits.receive_maximum.into())),
        }
    }

    /// A connected session subscribes, for the first time or with new options.
    pub fn join(
        &self,
        session: SessionKey,
        outbox: &Arc<Outbox>,
        subscription: Subscription,
    ) -> After {
        let mut guard = self.state.lock();
        let state = &mut *guard;
        if let Some(at) = state.find(outbox) {
            let member = &mut state.members[at];
            let old = std::mem::replace(&mut member.subscription, subscription);
            if old.options.qos == subscription.options.qos {
                return After::default();
            }
            // What is in its hand is sorted by QoS.
            member.lay_down(&mut state.waiting);
        } else {
            state.joined += 1;
            state.online += 1;
            let absent = Member::absent(state.joined, session, Arc::clone(outbox), subscription);
            state.members.push(Member {
                is_online: true,
                ..absent
            });
            state.lay_down_if_paid();
        }
        self.follow(state)
    }

    /// A member unsubscribes, or its session has ended: what it has not taken goes to others.
    pub fn leave(&self, outbox: &Arc<Outbox>) -> After {
        let mut guard = self.state.lock();
        let state = &mut *guard;
        if let Some(at) = state.find(outbox) {
            let mut member = state.members.remove(at);
            state.online -= usize::from(member.is_online);
            member.lay_down(&mut state.waiting);
        }
        let mut after = self.follow(state);
        if state.members.is_empty() {
            state.waiting.clear();
            state.aside.clear();
            after.abandoned = state.forget_all();
        }
        after
    }

    /// From now on a member may read this; `None`: everything. What it has not taken is dealt anew.
    pub fn set_reader(&self, outbox: &Arc<Outbox>, reader: Option<&Reader>) -> After {
        let mut guard = self.state.lock();
        let state = &mut *guard;
        let Some(member) = state.member(outbox) else {
            return After::default();
        };
        member.rights = reader.map(|reader| Arc::clone(&reader.rights));
        let mut hand = BTreeMap::new();
        member.lay_down(&mut hand);
        state.waiting.append(&mut hand);
        state.note_restricted();
        self.follow(state)
    }

    /// A member's connection has come, or gone: what it has not taken goes to others.
    pub fn set_online(&self, outbox: &Arc<Outbox>, is_online: bool) -> After {
        let mut guard = self.state.lock();
        let state = &mut *guard;
        let Some(at) = state.find(outbox) else {
            return After::default();
        };
        let member = &mut state.members[at];
        if member.is_online == is_online {
            return After::default();
        }
        member.is_online = is_online;
        member.is_ready = false;
        member.has_taken = true;
        if is_online {
            state.online += 1;
            state.lay_down_if_paid();
        } else {
            state.online -= 1;
            member.lay_down(&mut state.waiting);
        }
        self.follow(state)
    }

    /// Queues a message or drops it: see the table on top. `publisher` is the session it came from, if from one.
    pub fn push(
        &self,
        letter: &mut Letter<'_>,
        publisher: Option<SessionKey>,
        now: Instant,
    ) -> Shared {
        let mut state = self.state.lock();
        let qos = letter.qos().min(state.granted);
        let mut shared = Shared {
            is_dropped: false,
            is_denied: !state.is_for_any_member(letter.topic()),
            qos,
            pressure: Pressure::None,
            reached: None,
            after: After::default(),
        };
        if shared.is_denied {
            return shared;
        }
        let quarters = self.quarters(&state);
        let is_best_effort = qos == QoS::AtMostOnce;
        let has_given_up = state.grace_ends().is_some_and(|at| at <= now);
        shared.is_dropped = match (is_best_effort, state.online > 0) {
            (true, true) => quarters >= 3,
            (true, false) => true,
            (false, true) if quarters >= 4 && has_given_up => {
                // While there are members to be sent away there is hope.
                shared.after.stuck = state.take_stuck();
                shared.after.stuck.is_empty()
            }
            (false, true) => false,
            (false, false) => quarters >= 4,
        };
        if shared.is_dropped {
            shared.reached = (state.online > 0 || !is_best_effort).then(|| self.bound_of(&state));
            return shared;
        }
        let is_for_long = state.online == 0 || state.count >= BACKLOG;
        let (message, expires_at) = letter.share(is_for_long);
        let parcel = Parcel {
            message,
            expires_at,
        };
        state.numbers += 1;
        state.paid += 1;
        let number = state.numbers;
        state.enter(number, parcel);
        self.deal(&mut state, &mut shared.after);
        if !is_best_effort && state.online > 0 && self.quarters(&state) >= 4 {
            if state.full_since.is_none() {
                state.full_since = Some(now);
                shared.reached = Some(self.bound_of(&state));
                for member in &mut state.members {
                    member.has_taken = false;
                }
            }
            if !has_given_up {
                shared.pressure = self.pressure(&state, publisher);
            }
        }
        shared
    }

    /// Takes back what was on its way to a member whose session has ended before it was settled.
    pub fn give_back(&self, parcels: impl Iterator<Item = (u64, Parcel)>) -> After {
        let mut state = self.state.lock();
        for (number, mut parcel) in parcels {
            // Nobody knows for how long now.
            parcel.message = state.keep(&parcel.message);
            state.enter(number, parcel);
        }
        self.follow(&mut state)
    }

    /// Takes the next message of a member that there is room for. When its hand is empty, the next one it is dealt makes
    /// it ready.
    pub fn take(&self, member: MemberId, room: Room) -> Taken {
        let mut state = self.state.lock();
        let mut taken = Taken {
            message: None,
            is_more: false,
            after: After::default(),
        };
        let found = state
            .members
            .binary_search_by_key(&member.0, |member| member.number);
        let Ok(at) = found else {
            return taken;
        };
        let member = &mut state.members[at];
        if let Some((number, mut parcel)) = member.pop(room) {
            member.has_taken = true;
            if member.outbox.in_flight() >= BACKLOG && parcel.message.large() == 0 {
                parcel.message = parcel.message.compact();
            }
            let delivery = parcel.delivery(member.subscription);
            state.note_gone(&parcel);
            state.paid += 1;
            taken.message = Some((delivery, number, parcel));
            let share = self.share(&state);
            state.make_room(at, share);
            self.deal(&mut state, &mut taken.after);
            self.release(&mut state, &mut taken.after);
        }
        let member = &mut state.members[at];
        taken.is_more = member.count() > 0;
        // With no room for what is in its hand, its connection sleeps: the next it is dealt has to wake it.
        member.is_ready = taken.is_more && taken.message.is_some();
        taken
    }

    /// Whether a publisher still has to hold back; if so, its bell is rung when it need not any more, unless that is for
    /// no other reason than time.
    pub fn holds_back(&self, publisher: &Arc<Bell>, now: Instant) -> bool {
        let mut state = self.state.lock();
        let holds = state.grace_ends().is_some_and(|at| now < at);
        let waiting = &mut state.publishers_waiting;
        if holds && !waiting.iter().any(|known| Arc::ptr_eq(known, publisher)) {
            waiting.push(Arc::clone(publisher));
        }
        holds
    }

    /// Until when publishers are held back, if they are.
    pub fn gives_way_at(&self) -> Option<Instant> {
        self.state.lock().grace_ends()
    }

    /// Messages waiting, in common and in all hands.
    pub fn len(&self) -> usize {
        self.state.lock().count
    }

    /// Whether none waits.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Messages in the hand of one member.
    pub fn len_of(&self, outbox: &Arc<Outbox>) -> usize {
        let mut state = self.state.lock();
        state.member(outbox).map_or(0, |member| member.count())
    }

    /// Members have come, gone or changed: deals what waits, oldest first; with nobody connected, keeps what is to be
    /// kept.
    fn follow(&self, state: &mut State) -> After {
        let mut after = After::default();
        state.take_up_aside();
        state.note_granted();
        if state.online > 0 {
            state.is_for_long = false;
            self.deal(state, &mut after);
        } else if !std::mem::replace(&mut state.is_for_long, true) {
            state.full_since = None;
            after.dropped = state.keep_for_long();
        }
        self.release(state, &mut after);
        after
    }

    /// Deals what waits, as far as there is somebody to take it.
    fn deal(&self, state: &mut State, after: &mut After) {
        let share = self.share(state);
        while let Some((number, parcel)) = state.waiting.pop_first() {
            let topic = &parcel.message.topic;
            let Some(at) = state.choice.choose(&state.members, share, topic) else {
                match state.why_not_dealt(topic) {
                    Undealt::NoRoom => {
                        state.waiting.insert(number, parcel);
                        return;
                    }
                    Undealt::Others | Undealt::Absent => drop(state.aside.insert(number, parcel)),
                    Undealt::Denied => {
                        state.note_gone(&parcel);
                        after.denied += 1;
                    }
                }
                continue;
            };
            let member = &mut state.members[at];
            member.add(number, parcel);
            if !std::mem::replace(&mut member.is_ready, true) {
                let ready = (Arc::clone(&member.outbox), MemberId(member.number));
                after.ready.push(ready);
            }
        }
    }

    /// Lets the publishers go on, if the queue has drained.
    fn release(&self, state: &mut State, after: &mut After) {
        if state.full_since.is_some() && self.quarters(state) < 3 {
            state.full_since = None;
        }
        if state.full_since.is_none() {
            after.released.append(&mut state.publishers_waiting);
        }
    }

    fn share(&self, state: &State) -> Share {
        let members = state.online.max(1);
        let messages = (self.messages_max / members).max(1);
        // With one member connected there is nobody to be tied to but it.
        let is_tied = members > 1
            && matches!(
                state.choice.strategy(),
                SharedStrategy::Sticky | SharedStrategy::Hash
            );
        Share {
            messages: if is_tied {
                messages
            } else {
                messages.min(HAND_MAX)
            },
            bytes: (self.bytes_max / members).max(1),
        }
    }

    fn pressure(&self, state: &State, publisher: Option<SessionKey>) -> Pressure {
        let is_far_over =
            state.count >= self.messages_stop || state.bytes >= self.bytes_max.saturating_mul(2);
        // A member must still be read: the acknowledgements that drain the queue come the same way.
        let is_member = |member: &Member| member.is_online && publisher == Some(member.session);
        if is_far_over && !state.members.iter().any(is_member) {
            Pressure::Stop
        } else {
            Pressure::Withhold
        }
    }

    /// Which bound the queue is nearer to.
    fn bound_of(&self, state: &State) -> Limit {
        let messages = state.count.saturating_mul(4) / self.messages_max.max(1);
        let bytes = state.bytes.saturating_mul(4) / self.bytes_max.max(1);
        if messages.max(bytes) < self.quarters(state) {
            Limit::HeldBytesMax
        } else if messages >= bytes {
            Limit::QueueMessagesMax
        } else {
            Limit::QueueBytesMax
        }
    }

    /// How full the queue is, in quarters of its bound.
    fn quarters(&self, state: &State) -> usize {
        let messages = state.count.saturating_mul(4) / self.messages_max.max(1);
        let bytes = state.bytes.saturating_mul(4) / self.bytes_max.max(1);
        let own = messages.max(bytes);
        if state.is_scarce() { own.max(4) } else { own }
    }
}
