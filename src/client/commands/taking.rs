//! The task's side of the queue: the phases of the client, taking out what was put in, giving room back.

use super::work::Work;
use super::{Phase, Publishes, Queue, State, append};
use crate::client::protocol::Granted;
use crate::client::{ClientError, ClientStats, Close, Event, Negotiated};
use parking_lot::MutexGuard;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::sync::broadcast;

impl Queue {
    /// The first connection is being made.
    pub(in crate::client) fn begin(&self) -> Result<(), ClientError> {
        let mut state = self.state.lock();
        match &state.phase {
            Phase::New => {
                state.phase = Phase::Connecting;
                Ok(())
            }
            Phase::Ended(error) => Err(error.clone()),
            _ => Err(ClientError::Misuse(
                "the client is connected or connecting already".to_owned(),
            )),
        }
    }

    /// The first connection was given up: the client is as new.
    pub(in crate::client) fn give_up(&self) {
        let mut state = self.state.lock();
        let mut forgotten = Publishes::default();
        if state.phase == Phase::Connecting {
            state.phase = Phase::New;
            state.forget();
            std::mem::swap(&mut forgotten, &mut state.work.publishes);
        }
        drop(state);
        drop(forgotten);
        self.changed.notify_waiters();
    }

    pub(in crate::client) fn online(&self, negotiated: Negotiated, granted: Granted) {
        let mut state = self.state.lock();
        if !matches!(state.phase, Phase::Ended(_)) {
            state.phase = Phase::Online;
            state.negotiated = Some(negotiated);
            state.granted = Some(granted);
        }
        drop(state);
        self.changed.notify_waiters();
    }

    /// The broker took so long to answer.
    pub(in crate::client) fn answered_after(&self, took: Duration) {
        self.state.lock().round_trips.add(took);
    }

    pub(in crate::client) fn offline(&self) {
        let mut state = self.state.lock();
        if state.phase == Phase::Online {
            state.phase = Phase::Offline;
        }
    }

    /// The end. What nobody will work on any more comes back, to be answered without the lock; `over` comes behind that.
    pub(in crate::client) fn end(&self, error: ClientError) -> Work {
        let work = self.state.lock().end(error);
        self.changed.notify_waiters();
        work
    }

    /// What came back at the end is answered, and nothing more will happen.
    pub(in crate::client) fn over(&self) {
        let events = {
            let mut state = self.state.lock();
            state.is_over = true;
            state.events.take()
        };
        drop(events);
        self.changed.notify_waiters();
    }

    /// Tells what has happened to the connection.
    pub(in crate::client) fn tell(&self, event: Event) {
        let events = self.state.lock().events.clone();
        // Nobody listening is no failure.
        if let Some(events) = events {
            let _ = events.send(event);
        }
    }

    /// See [`super::Client::events`].
    pub(in crate::client) fn events(&self) -> broadcast::Receiver<Event> {
        let events = self.state.lock().events.clone();
        // Behind the end there is a stream that has ended.
        events
            .unwrap_or_else(|| broadcast::Sender::new(1))
            .subscribe()
    }

    /// Moves what was put in behind what the task has, and leaves the counters. In `stats`, `queued_bytes` are those of
    /// the messages in flight.
    pub(in crate::client) fn take(&self, into: &mut Work, stats: &ClientStats) -> Option<Close> {
        let mut state = self.state.lock();
        // Under the lock: what is put in behind this look tells of itself.
        self.is_roused.store(false, Ordering::Release);
        state.unseen_bytes = 0;
        if !self.keeps_back() {
            into.publishes.append(&mut state.work.publishes);
        }
        append(&mut into.commands, &mut state.work.commands);
        if into.processed.is_empty() {
            std::mem::swap(&mut into.processed, &mut state.work.processed);
        } else {
            into.processed.append(&mut state.work.processed);
        }
        state.stats.clone_from(stats);
        state.closing
    }

    /// Messages are written or settled: their room is free. Whoever is answered next finds the counters as they are now.
    pub(in crate::client) fn release(&self, messages: usize, bytes: usize, stats: &ClientStats) {
        let mut state = self.state.lock();
        state.stats.clone_from(stats);
        state.messages = state.messages.saturating_sub(messages);
        state.bytes = state.bytes.saturating_sub(bytes);
        self.tell_of_room(state);
    }

    /// Waiters come back when a quarter is free: waking them for each place would cost more than the place is worth.
    pub(super) fn tell_of_room(&self, mut state: MutexGuard<'_, State>) {
        let is_worth_it = state.messages <= self.messages_max - self.messages_max.div_ceil(4)
            && state.bytes <= self.bytes_max - self.bytes_max / 4;
        if is_worth_it && std::mem::take(&mut state.was_full) {
            drop(state);
            self.changed.notify_waiters();
        }
    }
}
