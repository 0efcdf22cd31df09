//! Taking the whole state of the hub, and putting one in its place.
//!
//! A session that is connected lives in its connection's task. For a snapshot all those tasks stand still between two
//! batches, each with a copy of its session left here: so nothing is under way between a queue and a session, and an
//! exchange of QoS 2 is in the same step at both its ends. Then, under the core's lock, everything is copied.
//!
//! This is the one place where a second lock is taken while one is held: those of queues and groups under the core's, which
//! nobody asks for while holding one of them.

use super::core::Core;
use super::{Attached, Hub, Ordering};
use crate::broker::group::Group;
use crate::broker::outbox::Outbox;
use crate::broker::registry::{ConnectionId, Effects};
use crate::broker::router::SessionKey;
use crate::broker::snapshot::{Shift, Snapshot};
use crate::codec::ReasonCode;
use crate::session::Session;
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Weak};
use std::time::Instant;
use tokio::sync::watch;

/// The copies of sessions, by who has them.
pub(super) type Copies = BTreeMap<ConnectionId, Session>;

/// Where connections stand still.
#[derive(Debug)]
pub(super) struct Standstill {
    is_wanted: AtomicBool,
    copies: Mutex<Copies>,
    /// How many standstills are over.
    over: watch::Sender<u64>,
    /// Counts whatever one who waits for connections should look at.
    changes: watch::Sender<u64>,
}

impl Default for Standstill {
    fn default() -> Self {
        Self {
            is_wanted: AtomicBool::new(false),
            copies: Mutex::default(),
            over: watch::Sender::new(0),
            changes: watch::Sender::new(0),
        }
    }
}

impl Standstill {
    fn note_change(&self) {
        self.changes.send_modify(|changes| *changes += 1);
    }
}

/// All connections have to stand still until this is dropped.
#[derive(Debug)]
pub struct Still<'a>(&'a Standstill);

impl Drop for Still<'_> {
    fn drop(&mut self) {
        self.0.is_wanted.store(false, Ordering::Relaxed);
        self.0.copies.lock().clear();
        self.0.over.send_modify(|over| *over += 1);
    }
}

impl Hub {
    /// From now on connections have to stand still between two batches. One at a time.
    pub fn begin_standstill(&self) -> Still<'_> {
        self.standstill.is_wanted.store(true, Ordering::Relaxed);
        Still(&self.standstill)
    }

    /// Whether connections have to stand still: to be looked at between two batches.
    pub fn wants_standstill(&self) -> bool {
        self.standstill.is_wanted.load(Ordering::Relaxed)
    }

    /// A connection stands still, and leaves a copy of its session, with everything answered that it has taken. Says which
    /// standstill it is, unless that is over.
    pub fn leave_copy(&self, attached: &Attached, copy: Session) -> Option<u64> {
        let number = {
            let mut copies = self.standstill.copies.lock();
            if !self.wants_standstill() {
                return None;
            }
            copies.insert(attached.connection, copy);
            *self.standstill.over.borrow()
        };
        self.standstill.note_change();
        Some(number)
    }

    /// As [`Hub::leave_copy`]; returns when the connection may go on.
    pub async fn stand_still(&self, attached: &Attached, copy: Session) {
        if let Some(number) = self.leave_copy(attached, copy) {
            // The sender lives as long as the hub.
            let _ = (self.standstill.over.subscribe())
                .wait_for(|over| *over > number)
                .await;
        }
    }

    /// A connection has gone; who waits for that is told.
    pub(super) fn note_gone(&self) {
        if self.wants_standstill() || self.is_cut_off() {
            self.standstill.note_change();
        }
    }

    /// Takes the whole state. Everything that was acknowledged before the call is in it; what the broker itself publishes
    /// meanwhile may be.
    pub async fn snapshot(&self, now: impl Fn() -> Instant) -> Snapshot {
        self.at_standstill(|| self.try_snapshot(now())).await
    }

    /// Looks at everything while all connections stand still. `look` says `None` until they all do.
    pub(super) async fn at_standstill<T>(&self, look: impl Fn() -> Option<T>) -> T {
        let mut changes = self.standstill.changes.subscribe();
        let _still = self.begin_standstill();
        loop {
            changes.mark_unchanged();
            if let Some(seen) = look() {
                return seen;
            }
            self.ring_those_who_move();
            let _ = changes.changed().await;
        }
    }

    /// What those who stand still have left here.
    pub(super) fn copies(&self) -> Copies {
        self.standstill.copies.lock().clone()
    }

    fn ring_those_who_move(&self) {
        let bells: Vec<_> = {
            let copies: Vec<_> = self.standstill.copies.lock().keys().copied().collect();
            let core = self.core.read();
            let moving = core
                .connections
                .iter()
                .filter(|(connection, _)| copies.binary_search(connection).is_err());
            moving.map(|(_, it)| Arc::clone(&it.bell)).collect()
        };
        for bell in bells {
            bell.ring();
        }
    }

    /// The whole state, if all who have a session stand still.
    pub fn try_snapshot(&self, now: Instant) -> Option<Snapshot> {
        let copies = self.copies();
        // Nobody comes or goes while this is held.
        self.core.write().image(copies, now)
    }

    /// Puts a state in the place of what there is. Who is connected is told to go, with nothing said for it, and who comes
    /// is turned away until all have gone.
    pub async fn restore(&self, snapshot: &Snapshot, now: impl Fn() -> Instant) {
        let mut changes = self.standstill.changes.subscribe();
        self.cut_off(true);
        loop {
            changes.mark_unchanged();
            if self.try_restore(snapshot, now()) {
                break;
            }
            let bells: Vec<_> = {
                let core = self.core.read();
                let connections = core.connections.values();
                connections.map(|it| Arc::clone(&it.bell)).collect()
            };
            for bell in bells {
                bell.tell_to_go(ReasonCode::ServerBusy);
            }
            let _ = changes.changed().await;
        }
        self.cut_off(false);
    }

    /// Puts a state in the place of what there is, if nobody is connected.
    pub fn try_restore(&self, snapshot: &Snapshot, now: Instant) -> bool {
        let (old, changed) = {
            if !self.core.read().connections.is_empty() {
                return false;
            }
            self.note_all(Some("state replaced"));
            let mut core = self.core.write();
            if !core.connections.is_empty() {
                return false;
            }
            let mut restored = core.restored(snapshot, now);
            let changed = restored.give_rights_to_all();
            (std::mem::replace(&mut *core, restored), changed)
        };
        self.note_all(None);
        self.note_rights(changed);
        self.timer.ring();
        // Much may have to be given back: not under the lock.
        drop(old);
        // Users may have gone since it was taken.
        self.review_logins(now);
        true
    }
}

impl Core {
    fn image(&self, mut copies: Copies, now: Instant) -> Option<Snapshot> {
        for (connection, it) in &self.connections {
            if let Some(grant) = &it.grant {
                copies.insert(*connection, grant.session.clone());
            }
        }
        let has_copy = |connection| copies.contains_key(&connection);
        if !self
            .registry
            .iter()
            .all(|(_, entry)| entry.connection.is_none_or(has_copy))
        {
            return None;
        }
        let mut effects = Effects::default();
        let registry = self.registry.parted(copies, now, &mut effects);
        let mut router = self.router.clone();
        let number_of = |group: &Weak<Group>| {
            let groups = self.groups.iter();
            let mut is_it = groups.map(|it| {
                it.as_ref()
                    .is_some_and(|it| Weak::as_ptr(group) == Arc::as_ptr(it))
            });
            is_it.position(|is_it| is_it)
        };
        let outboxes = self.outboxes.iter();
        let mut outboxes: Vec<_> = outboxes
            .map(|it| it.as_ref().map(|it| it.image(number_of)))
            .collect();
        let groups = self.groups.iter();
        let mut groups: Vec<_> = groups.map(|it| it.as_ref().map(|it| it.image())).collect();
        for SessionKey(key) in effects.ended {
            router.subscriptions.remove_session(SessionKey(key));
            for group in groups.iter_mut().flatten() {
                group.leave(SessionKey(key));
            }
            let outbox = outboxes.get_mut(key).and_then(Option::take);
            for sent in outbox.into_iter().flat_map(|outbox| outbox.sent) {
                if let Some(Some(group)) = groups.get_mut(sent.group) {
                    group.give_back(sent.number, sent.parcel);
                }
            }
        }
        for group in &mut groups {
            group.take_if(|group| group.is_over());
            if let Some(group) = group {
                group.keep_for_long();
            }
        }
        Some(Snapshot {
            taken_at: now,
            registry,
            router,
            outboxes,
            groups,
        })
    }

    /// The same broker with the state of a snapshot.
    fn restored(&self, snapshot: &Snapshot, now: Instant) -> Self {
        let shift = Shift::new(snapshot.taken_at, now);
        let mut core = self.renewed();
        let (limits, sharing) = (Arc::clone(&core.limits), core.sharing);
        let memory = Arc::clone(&core.memory);
        core.registry = snapshot.registry.moved(&limits, shift);
        core.router = snapshot.router.moved(&limits, shift);
        let images = &snapshot.outboxes;
        core.outboxes = images
            .iter()
            .map(|it| {
                it.as_ref()
                    .map(|it| Arc::new(Outbox::restored(&limits, &memory, it, shift)))
            })
            .collect();
        let outbox_of = |key: SessionKey| core.outboxes.get(key.0).cloned().flatten();
        let groups = snapshot.groups.iter();
        core.groups = groups
            .map(|it| {
                it.as_ref().map(|it| {
                    Arc::new(Group::restored(
                        (&limits, &memory),
                        sharing,
                        it,
                        outbox_of,
                        shift,
                    ))
                })
            })
            .collect();
        core.group_count = core.groups.iter().flatten().count();
        for (outbox, image) in core.outboxes.iter().zip(images) {
            if let (Some(outbox), Some(image)) = (outbox, image) {
                outbox.tie(image, &core.groups, shift);
            }
        }
        for (key, entry) in core.registry.iter() {
            if let Some(Some(outbox)) = core.outboxes.get(key.0) {
                outbox.note_in_flight(entry.in_flight());
                let kept = entry.session().map_or(0, Session::size);
                outbox.note_kept(core.session_cost(key) + kept);
            }
        }
        core.note_held();
        core
    }
}
