//! What connections share, and the only locks beside those of queues and groups.
//!
//! Owns the registry, the router, the queues by session and the connections by number. Every change is a named method
//! that takes the time as an argument and never waits, so that a test can drive the whole broker from one thread. One
//! lock is held at a time: what follows from a change is collected under the lock and carried out after it.

mod core;
mod inspect;
mod journal;
mod leave;
mod ledger;
mod posting;
mod rights;
mod sharing;
mod snapshot;
mod standing;
mod subscribing;
mod tap;

pub use ledger::{Balance, Credits, Endings, Fate, LedgerEntry};
pub use sharing::FullQueue;
pub use snapshot::Still;
pub use tap::{Caught, Tap};

use self::core::{Aftermath, Core};
use crate::broker::bell::Bell;
use crate::broker::group::{Group, Sharing};
use crate::broker::journal::Journal;
use crate::broker::memory::Memory;
use crate::broker::outbox::{Next, Outbox, Pressure};
use crate::broker::protocol::{Farewell, Outgoing, Room};
use crate::broker::registry::{ConnectRequest, ConnectionId, Effects, Grant, Leave, Verdict};
use crate::broker::retained::Author;
use crate::broker::rights::Rights;
use crate::broker::router::{Route, Routes, SessionKey};
use crate::broker::stats::Counters;
use crate::broker::{BrokerError, ClientInfo, Limit, Limits};
use crate::codec::ReasonCode;
use crate::message::Message;
use crate::session::Session;
use ledger::Ledger;
use parking_lot::RwLock;
use snapshot::Standstill;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;
use tap::Taps;

/// Timers carried out under one lock.
const TIMER_SLICE: usize = 256;

/// A connection that wants a session.
#[derive(Debug)]
pub struct Arrival {
    /// What its CONNECT asks.
    pub request: ConnectRequest,
    /// What is known of the client.
    pub info: ClientInfo,
    /// Rung when something waits for it.
    pub bell: Arc<Bell>,
}

/// What a connection holds while it has a session.
#[derive(Debug, Clone)]
pub struct Attached {
    /// Its own number.
    pub connection: ConnectionId,
    /// The session's.
    pub key: SessionKey,
    /// The session's queue.
    pub outbox: Arc<Outbox>,
    /// Of [`Hub::rights_edition`], when what the client may do was last looked up.
    pub rights_edition: u64,
}

/// A session for a connection.
#[derive(Debug)]
pub struct Granted {
    /// What to hold on to.
    pub attached: Attached,
    /// What the session has kept.
    pub session: Session,
    /// Whether it was there before.
    pub session_present: bool,
    /// What the client may do; `None`: everything.
    pub rights: Option<Arc<Rights>>,
}

/// What becomes of an arrival.
#[derive(Debug)]
pub enum Outcome {
    /// Let in.
    Granted(Box<Granted>),
    /// An older connection has to let go first: the bell will be rung, then [`Hub::claim`].
    Wait(ConnectionId),
    /// Not let in.
    Refused(Farewell),
}

/// What became of a message.
#[derive(Debug, Default)]
pub struct Published {
    /// How many sessions it matched, a group of shared subscriptions counting as one.
    pub matched: usize,
    /// The full queues it went into, and what that asks of the publisher. Nearly always empty.
    pub full: Vec<(FullQueue, Pressure)>,
}

/// Memory for publishing, to be used again, and who is to be woken at the end of a batch.
#[derive(Debug, Default)]
pub struct Batch {
    routes: Routes,
    /// Whether what follows stands for `routes`. Not between two batches: queues must not outlive their sessions for long.
    is_found: bool,
    found: Vec<(Arc<Outbox>, Route)>,
    /// Queues that were found and are full, by the bound they are at: of the next message they are asked anew.
    refused: Vec<Limit>,
    groups: Vec<Arc<Group>>,
    /// The queues of those who may not read it.
    denied: Vec<Arc<Outbox>>,
    to_wake: Vec<Arc<Bell>>,
    /// No other batch has it.
    number: Option<u64>,
}

impl Batch {
    /// Wakes everybody who got something. To be called before waiting for anything.
    pub fn finish(&mut self) {
        self.number = None;
        self.forget_found();
        for bell in self.to_wake.drain(..) {
            bell.ring();
        }
    }

    fn forget_found(&mut self) {
        self.is_found = false;
        self.found.clear();
        self.refused.clear();
        self.groups.clear();
        self.denied.clear();
    }
}

/// What all connections of a broker share.
#[derive(Debug)]
pub struct Hub {
    core: RwLock<Core>,
    limits: Arc<Limits>,
    memory: Arc<Memory>,
    counters: Counters,
    /// How many batches there were.
    batches: AtomicU64,
    /// How often anybody's rights may have changed.
    rights_edition: AtomicU64,
    taps: Taps,
    standstill: Standstill,
    ledger: Option<Box<Ledger>>,
    journal: Option<Journal>,
    /// Whether the broker is being cut off from the world: whoever goes now has no last words.
    is_cut_off: AtomicBool,
    /// Rung when something becomes due earlier than was known, or a limit is reached.
    timer: Arc<Bell>,
}

impl Hub {
    /// A broker with nobody in it.
    pub fn new(limits: Arc<Limits>) -> Self {
        Self::with_sharing(limits, Sharing::default())
    }

    /// The same, where groups of shared subscriptions deal in this way.
    pub fn with_sharing(limits: Arc<Limits>, sharing: Sharing) -> Self {
        let counters = Counters::default();
        let memory = Memory::new(&limits);
        let core = Core::new(Arc::clone(&limits), sharing, Arc::clone(&memory));
        Self {
            core: RwLock::new(core),
            limits,
            memory,
            timer: Arc::clone(counters.bell()),
            counters,
            batches: AtomicU64::new(0),
            rights_edition: AtomicU64::new(0),
            taps: Taps::default(),
            standstill: Standstill::default(),
            ledger: None,
            journal: None,
            is_cut_off: AtomicBool::new(false),
        }
    }

    /// The bounds.
    pub fn limits(&self) -> &Arc<Limits> {
        &self.limits
    }

    /// What is held in all.
    pub fn memory(&self) -> &Arc<Memory> {
        &self.memory
    }

    /// The counters.
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// Rung when [`Hub::next_timeout`] has become earlier.
    pub fn timer_bell(&self) -> &Arc<Bell> {
        &self.timer
    }

    /// A client wants a session.
    pub fn connect(&self, arrival: Arrival, now: Instant) -> Outcome {
        if let Some(farewell) = self.turned_away() {
            // Before anything is asked of the session: it stays where it is.
            return Outcome::Refused(farewell);
        }
        let bell = Arc::clone(&arrival.bell);
        let proof = arrival.request.proof.clone();
        let (connection, verdict, outbox, base, groups, aftermath) = {
            let mut core = self.core.write();
            if self.is_cut_off() {
                return Outcome::Refused(ReasonCode::ServerBusy.into());
            }
            let (connection, verdict, outbox, aftermath) =
                core.connect(arrival, self.rights_edition(), now);
            let (groups, base) = match &verdict {
                Verdict::Granted(grant) => {
                    (core.groups_of(grant.key), core.session_cost(grant.key))
                }
                _ => (Vec::new(), 0),
            };
            (connection, verdict, outbox, base, groups, aftermath)
        };
        self.follow(aftermath, now);
        self.review_login(connection, proof.as_ref(), now);
        match (verdict, outbox) {
            (Verdict::Granted(grant), Some(outbox)) => {
                self.note_owner(grant.key, &outbox);
                outbox.connect(bell, base);
                self.set_online(&groups, &outbox, true);
                Outcome::Granted(Box::new(self.granted(connection, *grant, outbox)))
            }
            (Verdict::Refused(reason, limit), _) => {
                if let Some(limit) = limit {
                    self.counters.reached(limit);
                }
                Outcome::Refused(reason.into())
            }
            (Verdict::Wait | Verdict::Granted(_), _) => Outcome::Wait(connection),
        }
    }

    /// The session that a connection has waited for, once the older one has let go.
    pub fn claim(&self, connection: ConnectionId) -> Option<Box<Granted>> {
        let (grant, outbox, base, reader, groups, bell) = {
            let mut core = self.core.write();
            let waiting = core.connections.get_mut(&connection)?;
            let grant = waiting.grant.take()?;
            let bell = Arc::clone(&waiting.bell);
            let outbox = core.outbox(grant.key);
            let base = core.session_cost(grant.key);
            let reader = core.router.reader(grant.key).cloned();
            let groups = core.groups_of(grant.key);
            (grant, outbox, base, reader, groups, bell)
        };
        // Who let go does it as well, but perhaps not yet: what waits is looked at before it is taken.
        let denied = outbox.set_reader(reader.as_ref());
        self.note_denied(Some(&outbox), None, denied);
        self.note_owner(grant.key, &outbox);
        outbox.connect(bell, base);
        self.set_online(&groups, &outbox, true);
        Some(Box::new(self.granted(connection, *grant, outbox)))
    }

    /// A connection that waits for its session gives up, or has been refused meanwhile.
    pub fn give_up(&self, connection: ConnectionId, now: Instant) {
        let aftermath = self.core.write().give_up(connection, now);
        self.follow(aftermath, now);
        self.note_gone();
    }

    /// A connection lets go of its session.
    pub fn detach(&self, attached: &Attached, leave: Leave, now: Instant) {
        let leave = Leave {
            publish_will: leave.publish_will && !self.is_cut_off(),
            ..leave
        };
        let dropped = attached.outbox.disconnect(leave.session.size());
        self.counters.messages_dropped_qos0.add(dropped);
        if let Some(ledger) = &self.ledger {
            let lost = (Fate::Dropped, "QoS 0 when its connection ended");
            ledger.end(Some(&attached.outbox), lost, None, dropped);
        }
        attached
            .outbox
            .note_in_flight(leave.session.outbound.in_flight());
        let groups = self.core.read().groups_of(attached.key);
        self.set_online(&groups, &attached.outbox, false);
        let aftermath = self.core.write().leave(attached, leave, now);
        self.follow(aftermath, now);
        self.note_gone();
    }

    /// Routes a message into the queues of those who subscribed. `publisher` is the session it came from, if from one.
    ///
    /// # Errors
    /// It is to be retained and there is no room; then nobody gets it.
    pub fn publish(
        &self,
        message: &Message,
        publisher: Option<SessionKey>,
        batch: &mut Batch,
        now: Instant,
    ) -> Result<Published, BrokerError> {
        self.publish_by(message, (publisher, None), batch, now)
    }

    /// The same. Who it is from counts where it is retained: the publisher, or whose will it is.
    fn publish_by(
        &self,
        message: &Message,
        (publisher, author): (Option<SessionKey>, Option<Arc<Author>>),
        batch: &mut Batch,
        now: Instant,
    ) -> Result<Published, BrokerError> {
        let held = self.held(message);
        let message = held.as_ref().unwrap_or(message);
        if message.retain {
            // Kept and routed under one lock: what is kept is what was routed last.
            let is_due_earlier = {
                let mut core = self.core.write();
                let before = core.next_timeout();
                core.bound_retained();
                let author = author.or_else(|| core.registry.author(publisher?));
                if let Err(error) = core.router.retain(message, author, now) {
                    if let BrokerError::RetainedFull { limit } = error {
                        self.counters.reached(limit);
                    }
                    return Err(error);
                }
                core.note_held();
                core.route(message, publisher, batch, self.ledger.is_none());
                core.is_due_earlier(before)
            };
            if is_due_earlier {
                self.timer.ring();
            }
        } else {
            let core = self.core.read();
            core.route(message, publisher, batch, self.ledger.is_none());
        }
        if self.taps.is_any() {
            self.catch(message, publisher);
        }
        if !batch.denied.is_empty() {
            self.end_denied(batch, &message.topic, 1);
        }
        let refused = self.end_refused(batch, 1);
        let mut published = self.post(message, publisher, batch, now);
        published.matched += refused;
        Ok(published)
    }

    /// The message as it is to be passed on, if not as it came: what is retained is kept for long, a large payload charged.
    fn held(&self, message: &Message) -> Option<Message> {
        if message.retain {
            return Some(self.memory.keep(message));
        }
        (message.large() > 0).then(|| self.memory.hold(message.clone()))
    }

    /// The next message for a session that there is room for. When there is none, the next one rings the bell.
    pub fn take(&self, attached: &Attached, room: Room, now: Instant) -> Option<Outgoing> {
        if room.at_most_once {
            self.fetch_retained(&attached.outbox, now);
        }
        let mut aside = Vec::new();
        let outgoing = loop {
            match attached.outbox.take(room) {
                Next::Outgoing(outgoing) => break Some(outgoing),
                Next::Nothing => break None,
                Next::Hand(ready) => {
                    let taken = self.take_from_hand(&attached.outbox, ready, room, &mut aside);
                    if taken.is_some() {
                        break taken.map(Outgoing::One);
                    }
                }
            }
        };
        for ready in aside {
            attached.outbox.note_sent(None, Some(ready));
        }
        outgoing
    }

    /// When [`Hub::handle_timeout`] wants to be called.
    pub fn next_timeout(&self) -> Option<Instant> {
        self.core.read().next_timeout()
    }

    /// Publishes wills, ends sessions and forgets retained messages that are due, a slice at a time.
    pub fn handle_timeout(&self, now: Instant) {
        let (aftermath, expired) = {
            let mut core = self.core.write();
            let mut effects = Effects::default();
            core.registry.handle_timeout(now, TIMER_SLICE, &mut effects);
            let expired = core.router.retained.expire(now, TIMER_SLICE);
            let aftermath = core.carry_out(effects);
            core.note_held();
            (aftermath, expired)
        };
        self.counters.messages_expired.add(expired);
        self.follow(aftermath, now);
    }

    /// Does what follows from a change, with no lock held.
    fn follow(&self, aftermath: Aftermath, now: Instant) {
        for (outbox, groups) in &aftermath.ended {
            self.leave_groups(outbox, groups);
        }
        if let Some(restricted) = &aftermath.restricted {
            self.restrict(restricted);
        }
        self.counters.publishes_denied.add(aftermath.wills_denied);
        for (bell, reason) in aftermath.told_to_go {
            bell.tell_to_go(reason);
        }
        if let Some(bell) = aftermath.may_claim {
            bell.ring();
        }
        if aftermath.is_due_earlier {
            self.timer.ring();
        }
        let mut batch = Batch::default();
        for (will, author) in aftermath.wills {
            self.counters.wills_published.add_one();
            // A will that cannot be retained is published all the same: there is nobody left to tell.
            let published = self.publish_by(&will, (None, author), &mut batch, now);
            if published.is_err() {
                let plain = will.with_retain(false);
                drop(self.publish(&plain, None, &mut batch, now));
            }
        }
        batch.finish();
    }

    fn granted(&self, connection: ConnectionId, grant: Grant, outbox: Arc<Outbox>) -> Granted {
        let attached = Attached {
            connection,
            key: grant.key,
            outbox,
            rights_edition: self.rights_edition(),
        };
        Granted {
            rights: (attached.rights_edition > 0)
                .then(|| self.rights_of(&attached))
                .flatten(),
            attached,
            session: grant.session,
            session_present: grant.session_present,
        }
    }
}
