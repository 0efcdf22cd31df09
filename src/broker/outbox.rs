//! A session's delivery queue.
//!
//! Owns what waits for one session: its bounds, what is dropped, who is woken. It sends nothing: the session's connection
//! takes from it what its window has room for. One small lock of its own, never held while another is taken.
//!
//! # What happens when a queue is full
//!
//! | | client absent | client connected |
//! |---|---|---|
//! | QoS 0, below the bound | not queued: nobody is there | queued |
//! | QoS 0, at the bound | not queued | dropped, counted |
//! | QoS 1 and 2, below the bound | queued | queued |
//! | QoS 1 and 2, at the bound | the newest is dropped, counted | queued; the oldest of QoS 0 makes room, else the **publisher is held back** |
//!
//! A publisher is held back in two steps. While a queue is at its bound ([`Pressure::Withhold`]), the answers to what was
//! published into it wait until it has drained to three quarters: a publisher's own window then stops it, and yet all it
//! sends besides is still read. That is why a client that subscribes to what it publishes itself, or two that feed each
//! other, cannot lock up: the acknowledgements that drain the queue are read. Publishers with windows so wide that the
//! queue reaches twice its bound, and more over it than our Receive Maximum ([`Pressure::Stop`]), are not read any more
//! until there is room.
//!
//! A publisher into its own queue is never kept from being read, so the second step does not stop it: whoever fills its own
//! queue to four times its bound, or twice what stops others, loses its connection at once ([`Outbox::give_up`]).
//!
//! None of this lasts: a queue that does not drain to three quarters within [`GRACE`] loses its connection (MQTT 5: quota
//! exceeded); the session keeps what is queued, and what comes then is dropped as for any absent client. So one slow
//! consumer costs its publishers at most [`GRACE`], and memory about twice the bound and one message per publisher.

mod image;
mod letter;
mod reader;
mod refusal;
mod retained;
mod shares;
mod state;

pub use image::{OutboxImage, SentImage};
pub use letter::Letter;
pub use shares::{Ready, Sent};
pub(in crate::broker) use state::LARGE_RUN;

use crate::broker::bell::{Bell, ring_all};
use crate::broker::group::Group;
use crate::broker::memory::Memory;
use crate::broker::protocol::{Delivery, Outgoing, Room};
use crate::broker::router::Route;
use crate::broker::{Limit, Limits};
use crate::codec::{ReasonCode, Run};
use crate::message::QoS;
use crate::session::Token;
use parking_lot::Mutex;
use refusal::Refusal;
use state::{Entry, State};
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// How long a connected client's queue may stay full before its connection is ended.
pub const GRACE: Duration = Duration::from_secs(10);

/// What a publisher has to do after its message was queued.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Pressure {
    /// Nothing.
    None,
    /// Hold back the answer until there is room.
    Withhold,
    /// Read no more until there is room.
    Stop,
}

/// What became of a message pushed into a queue.
#[derive(Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own")]
pub struct Pushed {
    /// The lower of the message's and the granted one.
    pub qos: QoS,
    /// Whether it was dropped.
    pub is_dropped: bool,
    /// Whether it went since the session may not read it.
    pub is_denied: bool,
    /// Whether no connection has the queue.
    pub is_absent: bool,
    /// How many older messages of QoS 0 were dropped to make room.
    pub evicted: usize,
    /// Whom to wake, once the batch is done.
    pub wake: Option<Arc<Bell>>,
    /// What the publisher has to do.
    pub pressure: Pressure,
    /// Whether the queue is so far over its bound that nobody should still be let.
    pub is_flooded: bool,
    /// The bound that made the queue full just now, or for which a message was dropped.
    pub reached: Option<Limit>,
}

impl Pushed {
    fn queued(qos: QoS) -> Self {
        Self {
            qos,
            is_dropped: false,
            is_denied: false,
            is_absent: false,
            evicted: 0,
            wake: None,
            pressure: Pressure::None,
            is_flooded: false,
            reached: None,
        }
    }

    /// Whether there is nothing to be counted.
    pub fn is_plainly_queued(&self) -> bool {
        !self.is_dropped && !self.is_denied && self.evicted == 0 && self.reached.is_none()
    }

    /// QoS 0, since this bound was reached.
    fn dropped(limit: Limit) -> Self {
        Self {
            is_dropped: true,
            reached: Some(limit),
            ..Self::queued(QoS::AtMostOnce)
        }
    }
}

/// What a connection is to send next.
#[derive(Debug)]
pub enum Next {
    /// This, of the session's own queue.
    Outgoing(Outgoing),
    /// Something out of this hand.
    Hand(Ready),
    /// Nothing there is room for.
    Nothing,
}

/// The queue of one session.
#[derive(Debug)]
pub struct Outbox {
    state: Mutex<State>,
    messages_max: usize,
    bytes_max: usize,
    /// So many are too many even from publishers that keep to our Receive Maximum.
    messages_stop: usize,
    /// Whether there are cursors: asked before each message taken, so it must not cost a lock.
    has_retained: AtomicBool,
    /// Told by the connection, for those who look on.
    in_flight: AtomicUsize,
    refusal: Refusal,
}

impl Outbox {
    /// An empty queue with these bounds.
    pub fn new(limits: &Limits, memory: &Arc<Memory>) -> Self {
        Self {
            state: Mutex::new(State::new(memory)),
            messages_max: limits.queue_messages_max,
            bytes_max: limits.queue_bytes_max,
            messages_stop: limits
                .queue_messages_max
                .saturating_add(limits.queue_messages_max.max(limits.receive_maximum.into())),
            has_retained: AtomicBool::new(false),
            in_flight: AtomicUsize::new(0),
            refusal: Refusal::default(),
        }
    }

    /// A connection takes the queue over. `cost` is what the session holds beside messages, in bytes.
    pub fn connect(&self, bell: Arc<Bell>, cost: usize) {
        let mut state = self.state.lock();
        self.refusal.end();
        state.set_beside(cost);
        state.bell = Some(bell);
        state.is_awake = true;
        state.release_held();
    }

    /// The connection is gone: what was of QoS 0 goes with it, what remains is copied out of the read buffers. `kept` is
    /// what the session has taken with it, in bytes. Returns how many were dropped.
    pub fn disconnect(&self, kept: usize) -> usize {
        let mut state = self.state.lock();
        self.refusal.end();
        state.bell = None;
        state.full_since = None;
        state.shares.forget_ready();
        state.release_held();
        let dropped = state.drop_at_most_once();
        state.compact();
        state.add_beside(kept);
        let waiting = std::mem::take(&mut state.publishers_waiting);
        drop(state);
        ring_all(&waiting);
        dropped
    }

    /// Queues a message or drops it: see the table on top.
    pub fn push(&self, letter: &mut Letter<'_>, route: &Route, now: Instant) -> Pushed {
        let is_best_effort = route.qos == QoS::AtMostOnce;
        if is_best_effort && let Some(limit) = self.refuses() {
            return Pushed::dropped(limit);
        }
        let mut state = self.state.lock();
        let mut pushed = Pushed {
            is_denied: !state.may_read(letter.topic(), route.stamp),
            is_absent: state.bell.is_none(),
            ..Pushed::queued(route.qos)
        };
        if pushed.is_denied {
            return pushed;
        }
        let is_absent = pushed.is_absent;
        let is_full = self.is_full(&state) || (is_absent && !state.may_grow());
        if (is_best_effort && (is_absent || is_full)) || (is_absent && is_full) {
            pushed.is_dropped = true;
            pushed.reached = is_full.then(|| self.bound_of(&state));
            self.refusal.begin(&state, pushed.reached);
            return pushed;
        }
        let is_for_long = is_absent || !state.may_borrow(letter.batch());
        let delivery = letter.delivery(route, is_for_long);
        pushed.wake = state.push(Outgoing::One(delivery));
        if is_absent {
            state.charge_all();
        }
        if is_absent || is_best_effort {
            return pushed;
        }
        pushed.evicted = self.make_room(&mut state);
        if self.is_full(&state) {
            if state.full_since.is_none() {
                // Its connection may be stuck in a write: it has to learn that its time runs.
                state.full_since = Some(now);
                pushed.reached = Some(self.bound_of(&state));
                pushed.wake.clone_from(&state.bell);
            }
            pushed.pressure = self.pressure(&state);
            pushed.is_flooded = state.count >= self.messages_stop.saturating_mul(2)
                || state.bytes >= self.bytes_max.saturating_mul(4);
        }
        pushed
    }

    /// Queues all messages of a run at once, or drops them since nobody is there or the queue is full; `None` if it has room
    /// for some of them: then they are to be pushed one by one. `stamp` is that of the route.
    pub fn push_run(&self, run: &Arc<Run>, stamp: u64) -> Option<Pushed> {
        if let Some(limit) = self.refuses() {
            return Some(Pushed::dropped(limit));
        }
        let mut state = self.state.lock();
        let is_denied = !state.may_read(run.topic(), stamp);
        let is_absent = state.bell.is_none();
        let is_full = self.is_full(&state);
        let cost = Entry::cost_of_run(run);
        let has_room = state.count.saturating_add(run.len()) <= self.messages_max
            && state.bytes.saturating_add(cost) <= self.bytes_max;
        let mut pushed = Pushed {
            is_dropped: is_denied || is_absent || is_full,
            is_denied,
            is_absent,
            ..Pushed::queued(QoS::AtMostOnce)
        };
        match (pushed.is_dropped, has_room) {
            (true, _) => {
                pushed.reached = is_full.then(|| self.bound_of(&state));
                self.refusal.begin(&state, pushed.reached);
            }
            (false, true) => pushed.wake = state.push(Outgoing::Run(Arc::clone(run))),
            (false, false) => return None,
        }
        Some(pushed)
    }

    /// Drops the oldest messages of QoS 0 while the queue is at its bound.
    fn make_room(&self, state: &mut State) -> usize {
        let mut evicted = 0;
        while self.is_full(state) && state.drop_oldest() {
            evicted += 1;
            self.refusal.end();
        }
        evicted
    }

    fn pressure(&self, state: &State) -> Pressure {
        let is_far_over =
            state.count >= self.messages_stop || state.bytes >= self.bytes_max.saturating_mul(2);
        if is_far_over {
            Pressure::Stop
        } else {
            Pressure::Withhold
        }
    }

    /// Takes the next message there is room for. When there is none, the next push will wake the connection.
    pub fn take(&self, room: Room) -> Next {
        let mut state = self.state.lock();
        let first = |list: &VecDeque<Entry>, has_room: bool| {
            list.front()
                .filter(|_| has_room)
                .map_or(u64::MAX, |entry| entry.number)
        };
        let at_most_once = first(&state.at_most_once, room.at_most_once);
        let acknowledged = first(&state.acknowledged, room.acknowledged);
        if room.at_most_once
            && let Some(ready) = state
                .shares
                .next(at_most_once.min(acknowledged) == u64::MAX)
        {
            return Next::Hand(ready);
        }
        let entry = if at_most_once < acknowledged {
            state.at_most_once.pop_front()
        } else if acknowledged < u64::MAX {
            state.acknowledged.pop_front()
        } else {
            None
        };
        let Some(entry) = entry else {
            // With no room the connection comes back by itself when there is; only an empty queue needs the bell.
            state.is_awake = false;
            self.refusal.end();
            return Next::Nothing;
        };
        state.note_gone(&entry);
        state.note_drained();
        let waiting = self.note_room(&mut state);
        drop(state);
        ring_all(&waiting);
        Next::Outgoing(entry.outgoing)
    }

    /// Something has gone; says which publishers need not hold back any more.
    fn note_room(&self, state: &mut State) -> Vec<Arc<Bell>> {
        self.refusal.end();
        if state.full_since.is_some() && self.has_drained(state) {
            state.full_since = None;
        }
        match state.full_since {
            None => std::mem::take(&mut state.publishers_waiting),
            Some(_) => Vec::new(),
        }
    }

    /// A group has dealt something to this session; says whom to wake.
    pub fn make_ready(&self, ready: Ready) -> Option<Arc<Bell>> {
        let mut state = self.state.lock();
        state.shares.add(ready);
        state.wake()
    }

    /// The session has left a group: no hand of its own is there any more.
    pub fn forget_hand(&self, group: &Arc<Group>) {
        self.state.lock().shares.remove(&Arc::downgrade(group));
    }

    /// A message of a group is on its way: `sent` is what to remember of it until it is settled by the token that comes
    /// back, `more` the hand it came from if there is more in it.
    pub fn note_sent(&self, sent: Option<Sent>, more: Option<Ready>) -> Token {
        let mut state = self.state.lock();
        if let Some(ready) = more {
            state.shares.add(ready);
        }
        sent.map_or(0, |sent| state.shares.note(sent))
    }

    /// What was on its way is settled.
    pub fn settle(&self, tokens: &[Token]) {
        let mut state = self.state.lock();
        for token in tokens {
            state.shares.settle(*token);
        }
    }

    /// What was on its way is not sent again, since the session may not read it any more: hands it out.
    pub fn take_back(&self, tokens: &[Token]) -> Vec<Sent> {
        let mut state = self.state.lock();
        let tokens = tokens.iter();
        tokens
            .filter_map(|token| state.shares.settle(*token))
            .collect()
    }

    /// The session has ended: hands out what was on its way and goes back to its groups.
    pub fn take_sent(&self) -> Vec<Sent> {
        self.state.lock().shares.take_sent()
    }

    /// Tells the connection to go, if there is one.
    pub fn tell_to_go(&self, reason: ReasonCode) {
        let bell = self.state.lock().bell.clone();
        if let Some(bell) = bell {
            bell.tell_to_go(reason);
        }
    }

    /// Puts back what was taken and could not be sent.
    pub fn put_back(&self, delivery: Delivery) {
        let mut state = self.state.lock();
        state.put_back(Outgoing::One(delivery));
    }

    /// Whether a publisher still has to hold back; if so, its bell is rung when it need not any more.
    pub fn holds_back(&self, publisher: &Arc<Bell>) -> bool {
        let mut state = self.state.lock();
        let holds = state.full_since.is_some();
        if holds
            && !state
                .publishers_waiting
                .iter()
                .any(|waiting| Arc::ptr_eq(waiting, publisher))
        {
            state.publishers_waiting.push(Arc::clone(publisher));
        }
        holds
    }

    /// When the connection has to go if the queue has not drained until then.
    pub fn overdue_at(&self) -> Option<Instant> {
        let mut state = self.state.lock();
        // What was scarce may be there again, without anything having been taken.
        let waiting = self.note_room(&mut state);
        let overdue_at = state.full_since.and_then(|since| since.checked_add(GRACE));
        drop(state);
        ring_all(&waiting);
        overdue_at
    }

    /// The queue's time is over before it has run out.
    pub fn give_up(&self, now: Instant) {
        let mut state = self.state.lock();
        state.full_since = now.checked_sub(GRACE).or(state.full_since);
    }

    /// There is more to do for its connection, once others have had their turn.
    pub fn call_back(&self) {
        let bell = self.state.lock().bell.clone();
        if let Some(bell) = bell {
            bell.ring();
        }
    }

    /// What the session of an absent client holds beside messages, in bytes.
    pub fn note_kept(&self, cost: usize) {
        self.state.lock().set_beside(cost);
    }

    /// The connection says how many messages are on their way.
    pub fn note_in_flight(&self, count: usize) {
        self.in_flight.store(count, Ordering::Relaxed);
    }

    /// Messages on their way, as last told.
    pub fn in_flight(&self) -> usize {
        self.in_flight.load(Ordering::Relaxed)
    }

    /// Messages waiting.
    pub fn len(&self) -> usize {
        self.state.lock().count
    }

    /// Whether none waits.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// About how many bytes wait.
    pub fn bytes(&self) -> usize {
        self.state.lock().bytes
    }

    fn is_full(&self, state: &State) -> bool {
        state.count >= self.messages_max.max(1)
            || state.bytes >= self.bytes_max.max(1)
            || state.is_scarce()
    }

    /// Which bound a full queue is at.
    fn bound_of(&self, state: &State) -> Limit {
        if state.count >= self.messages_max.max(1) {
            Limit::QueueMessagesMax
        } else if state.bytes >= self.bytes_max.max(1) {
            Limit::QueueBytesMax
        } else {
            Limit::HeldBytesMax
        }
    }

    /// Whether a queue that was full is down to three quarters of its bound.
    fn has_drained(&self, state: &State) -> bool {
        let is_below =
            |used: usize, bound: usize| used.saturating_mul(4) < bound.max(1).saturating_mul(3);
        is_below(state.count, self.messages_max)
            && is_below(state.bytes, self.bytes_max)
            && !state.is_scarce()
    }
}
