//! What the handles of a client share with its task: work on its way in, answers and counters on their way out.
//!
//! Bounded by messages and bytes; a message counts from [`Queue::publish`] until it is written (QoS 0) or settled. One
//! short lock, never held across a wait or a call out; the task is woken at most once for each time it looks.
//! Next: `commands/taking`, the task's side, and `driver`, which takes from here.

mod dropping;
mod publishes;
mod putting;
mod taking;
mod work;

pub(super) use publishes::{Publishes, size_of};
pub(super) use work::{Command, Outgoing, Reply, Update, Work, aged};

use super::dispatch::Key;
use super::inbox::DeliveryReceipt;
use super::protocol::Granted;
use super::{
    ClientError, ClientOptions, ClientStats, Close, DropCause, Event, Farewell, Negotiated, OnFull,
    RoundTrips, Unsubscribed,
};
use crate::codec::ReasonCode;
use crate::storage::Store;
use dropping::Drops;
use parking_lot::Mutex;
use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::sync::{Notify, broadcast};

/// Events that a slow listener may have waiting.
const EVENTS_MAX: usize = 256;
/// Operations, other than messages, that may wait for the client's task.
const COMMANDS_MAX: usize = 65_535;
/// What a queued message costs beside its own bytes.
const MESSAGE_OVERHEAD: usize = 64;

/// Where the client is in its life.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Phase {
    New,
    Connecting,
    Online,
    /// Between two connections.
    Offline,
    /// For good.
    Ended(ClientError),
}

/// Messages of earlier processes: the number of the last, and how many of them are not settled.
#[derive(Default)]
struct Restored {
    up_to: u64,
    left: usize,
}

struct State {
    phase: Phase,
    closing: Option<Close>,
    farewell: Farewell,
    work: Work,
    /// Messages ever put in.
    put_in: u64,
    /// Bytes of messages put in since the task looked.
    unseen_bytes: usize,
    /// Somebody was told that there is no room.
    was_full: bool,
    messages: usize,
    bytes: usize,
    drops: Drops,
    restored: Restored,
    messages_high: usize,
    bytes_high: usize,
    round_trips: RoundTrips,
    granted: Option<Granted>,
    negotiated: Option<Negotiated>,
    stats: ClientStats,
    store: Option<Store>,
    /// Who listens hears of the connection; gone with the end, which they hear too.
    events: Option<broadcast::Sender<Event>>,
    /// The end is there, and everybody who waited has been told.
    is_over: bool,
}

/// The shared part of a client.
pub(super) struct Queue {
    state: Mutex<State>,
    messages_max: usize,
    bytes_max: usize,
    on_full: OnFull,
    ttl: Option<Duration>,
    keep_qos0: bool,
    /// Drops that nobody has been told of.
    has_untold_drops: AtomicBool,
    /// The task knows that there is work.
    is_roused: AtomicBool,
    /// Wakes the task.
    pub(super) work: Notify,
    /// Wakes those who wait for room, for a request to close, or for the end.
    changed: Notify,
}

impl Queue {
    pub(super) fn new(options: &ClientOptions) -> Self {
        Self {
            state: Mutex::new(State {
                phase: Phase::New,
                closing: None,
                farewell: Farewell::default(),
                work: Work::default(),
                put_in: 0,
                unseen_bytes: 0,
                was_full: false,
                messages: 0,
                bytes: 0,
                drops: Drops::default(),
                restored: Restored::default(),
                messages_high: 0,
                bytes_high: 0,
                round_trips: RoundTrips::default(),
                granted: None,
                negotiated: None,
                stats: ClientStats::default(),
                store: None,
                events: Some(broadcast::Sender::new(EVENTS_MAX)),
                is_over: false,
            }),
            messages_max: options.queue_messages_max.max(1),
            bytes_max: options.queue_bytes_max,
            on_full: options.on_full,
            ttl: options.outbox_ttl,
            keep_qos0: options.keep_qos0,
            has_untold_drops: AtomicBool::new(false),
            is_roused: AtomicBool::new(false),
            work: Notify::new(),
            changed: Notify::new(),
        }
    }

    /// See [`super::Client::room`].
    pub(super) async fn room(&self) -> Result<(), ClientError> {
        self.until(|state| match state.check_open() {
            Ok(()) if state.was_full => None,
            answer => Some(answer),
        })
        .await
    }

    /// Looks again whenever something has changed, until there is an answer.
    async fn until<T>(&self, look: impl Fn(&State) -> Option<T>) -> T {
        loop {
            let changed = self.changed.notified();
            tokio::pin!(changed);
            // From here on no change is missed, also one between looking and waiting.
            changed.as_mut().enable();
            let found = look(&self.state.lock());
            match found {
                Some(found) => return found,
                None => changed.await,
            }
        }
    }

    /// Puts an operation in; it is answered through its [`Reply`], also when it is refused. Who leaves a subscription while
    /// there is no connection is answered at once: the task leaves it when there is one, which may be never.
    pub(super) fn command(&self, mut command: Command) {
        let mut state = self.state.lock();
        let refused = match state.check_open() {
            Ok(()) if state.work.commands.len() < COMMANDS_MAX => None,
            Ok(()) => Some(ClientError::QueueFull),
            Err(error) => Some(error),
        };
        if let Some(error) = refused {
            drop(state);
            command.refuse(&error);
            return;
        }
        let answered = match &mut command {
            Command::Unsubscribe { reply, .. } if state.phase == Phase::Offline => {
                Some(std::mem::replace(reply, Reply::new(None)))
            }
            _ => None,
        };
        let after = state.put_in;
        state.work.commands.push_back((after, command));
        self.wake(state);
        if let Some(reply) = answered {
            reply.send(Ok(Unsubscribed::default()));
        }
    }

    /// As [`Queue::command`], for what comes at most once for each inbox: bounded by that, so never refused.
    pub(super) fn notice(&self, command: Command) {
        let mut state = self.state.lock();
        if state.has_task() {
            let after = state.put_in;
            state.work.commands.push_back((after, command));
            self.wake(state);
        }
    }

    pub(super) fn processed(&self, key: Key, receipt: DeliveryReceipt, reason: ReasonCode) {
        let mut state = self.state.lock();
        if state.has_task() {
            state.work.processed.push((key, receipt, reason));
            self.wake(state);
        }
    }

    pub(super) fn all_processed(&self, key: Key, receipts: &[DeliveryReceipt]) {
        let mut state = self.state.lock();
        if state.has_task() {
            let done = receipts.iter();
            let done = done.map(|receipt| (key, *receipt, ReasonCode::Success));
            state.work.processed.extend(done);
            self.wake(state);
        }
    }

    /// Asks the task to end, or ends at once where there is none. A harsher request replaces a gentler one.
    pub(super) fn close(&self, how: Close) {
        let abandoned = {
            let mut state = self.state.lock();
            match state.phase {
                Phase::Ended(_) => return,
                Phase::New | Phase::Connecting => {
                    // For the connection that may come up in this moment.
                    state.closing = Some(Close::Abort);
                    Some(state.end(ClientError::Closed))
                }
                Phase::Online | Phase::Offline => {
                    if !matches!(
                        (state.closing, how),
                        (Some(_), Close::Drain(_)) | (Some(Close::Abort), _)
                    ) {
                        state.closing = Some(how);
                    }
                    self.is_roused.store(true, Ordering::Release);
                    None
                }
            }
        };
        if let Some(abandoned) = abandoned {
            drop(abandoned);
            self.over();
        }
        self.work.notify_one();
        self.changed.notify_waiters();
    }

    /// As [`Queue::close`], with more to say; what the first who said anything wants to say is said.
    pub(super) fn close_with(&self, how: Close, farewell: Farewell) {
        {
            let mut state = self.state.lock();
            if state.closing.is_none() {
                state.farewell = farewell;
            }
        }
        self.close(how);
    }

    /// What DISCONNECT is to say. Taken out.
    pub(super) fn farewell(&self) -> Farewell {
        std::mem::take(&mut self.state.lock().farewell)
    }

    /// Waits for the end of the client, however it comes, and for all who are told of it.
    pub(super) async fn ended(&self) {
        self.until(|state| state.is_over.then_some(())).await;
    }

    /// Waits for a request to close at once: while offline, that is also one to drain when nothing waits.
    pub(super) async fn asked_to_stop(&self) {
        self.until(|state| {
            let stops = match state.closing {
                Some(Close::Drain(_)) => state.messages == 0,
                Some(Close::WithWill | Close::Abort) => true,
                None => matches!(state.phase, Phase::Ended(_)),
            };
            stops.then_some(())
        })
        .await;
    }

    /// Waits for a request to drain, and says how long that may take.
    pub(super) async fn asked_to_drain(&self) -> Duration {
        self.until(|state| match state.closing {
            Some(Close::Drain(limit)) => Some(limit),
            _ => None,
        })
        .await
    }

    pub(super) fn negotiated(&self) -> Option<Negotiated> {
        self.state.lock().negotiated.clone()
    }

    pub(super) fn stats(&self) -> ClientStats {
        let state = self.state.lock();
        let mut stats = state.stats.clone();
        stats.connected = state.phase == Phase::Online;
        stats.dropped_offline = state.drops.count(DropCause::Offline);
        stats.dropped_full = state.drops.count(DropCause::OutboxFull);
        stats.dropped_expired = state.drops.count(DropCause::Expired);
        stats.dropped = stats.dropped_offline
            + stats.dropped_full
            + stats.dropped_expired
            + stats.dropped_refused
            + stats.dropped_overflow
            + stats.dropped_unwanted;
        stats.outbox_messages_max = self.messages_max;
        stats.outbox_messages_high = state.messages_high;
        stats.outbox_bytes_max = self.bytes_max;
        stats.outbox_bytes_high = state.bytes_high;
        stats.restored = state.restored.left;
        stats.queued_messages = state.messages.saturating_sub(stats.in_flight);
        stats.queued_bytes = state.bytes.saturating_sub(stats.queued_bytes);
        stats
    }

    pub(super) fn round_trips(&self) -> RoundTrips {
        self.state.lock().round_trips.clone()
    }

    /// See [`super::Client::connected`].
    pub(super) async fn connected(&self) -> Result<Negotiated, ClientError> {
        self.until(|state| match &state.phase {
            Phase::Online => state.negotiated.clone().map(Ok),
            Phase::New => Some(Err(ClientError::NotConnected)),
            Phase::Connecting | Phase::Offline => None,
            Phase::Ended(error) => Some(Err(error.clone())),
        })
        .await
    }
}

impl State {
    fn check_open(&self) -> Result<(), ClientError> {
        match &self.phase {
            Phase::New | Phase::Connecting => Err(ClientError::NotConnected),
            Phase::Online | Phase::Offline if self.closing.is_some() => Err(ClientError::Closed),
            Phase::Online | Phase::Offline => Ok(()),
            Phase::Ended(error) => Err(error.clone()),
        }
    }

    /// Counts one more message, and gives it its number.
    fn count(&mut self, size: usize) -> u64 {
        self.messages += 1;
        self.bytes += size;
        self.messages_high = self.messages_high.max(self.messages);
        self.bytes_high = self.bytes_high.max(self.bytes);
        self.unseen_bytes += size;
        self.put_in += 1;
        self.put_in
    }

    fn forget(&mut self) {
        self.messages = 0;
        self.bytes = 0;
        self.store = None;
        self.restored = Restored::default();
    }

    fn has_task(&self) -> bool {
        matches!(self.phase, Phase::Online | Phase::Offline)
    }

    fn end(&mut self, error: ClientError) -> Work {
        if !matches!(self.phase, Phase::Ended(_)) {
            self.phase = Phase::Ended(error);
        }
        self.forget();
        std::mem::take(&mut self.work)
    }
}

/// Why a QoS 0 message was dropped.
pub(super) fn offline() -> ClientError {
    ClientError::ConnectionLost {
        cause: "not connected, and messages of QoS 0 are not kept".to_owned(),
    }
}

fn append<T>(into: &mut VecDeque<T>, from: &mut VecDeque<T>) {
    if into.is_empty() {
        std::mem::swap(into, from);
    } else {
        into.append(from);
    }
}
