//! Telling of messages that were dropped: what came together is told together, at most once a second.

use super::Driver;
use crate::client::commands::Queue;
use crate::client::{DropCause, Entry, Event, Journal};
use crate::clock::Clock;
use crate::transport::Address;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// When to tell more.
#[derive(Default)]
pub(super) struct Drops {
    /// When to tell, if there is something.
    pub(super) due: Option<Instant>,
}

impl Driver {
    /// Something was dropped.
    pub(super) fn note_drops(&mut self) {
        if self.drops.due.is_none() {
            self.drops.due = Some(self.queue.next_telling(self.now()));
        }
    }

    /// So was something that was to be sent.
    pub(super) fn note_outbox_drops(&mut self) {
        if self.queue.has_untold_drops() {
            self.note_drops();
        }
    }

    /// When the oldest message that waits has waited long enough.
    pub(super) fn next_expiry(&self) -> Option<Instant> {
        let at = self.queue.next_expiry()?;
        let left = at.duration_since(self.clock.wall()).unwrap_or_default();
        self.now().checked_add(left)
    }

    /// Tells each subscription's drops since the last time, and those of what was to be sent.
    pub(super) fn tell_drops(&mut self, now: Instant) {
        self.drops.due = None;
        let mut events = self.queue.drops_to_tell(now);
        for subscribed in self.subscriptions.values_mut() {
            let Some(inbox) = subscribed.inbox.upgrade() else {
                continue;
            };
            let dropped = inbox.dropped();
            if dropped > subscribed.told_dropped {
                let filters = subscribed.filters.iter();
                events.push(Event::Dropped {
                    count: dropped - subscribed.told_dropped,
                    cause: DropCause::Overflow,
                    filters: filters.map(|asked| asked.filter.to_string()).collect(),
                });
                subscribed.told_dropped = dropped;
            }
        }
        for event in events {
            self.tell(event);
        }
    }
}

/// What is done for the outbox while there is no connection, beside the tries to have one.
pub(super) struct Care {
    queue: Arc<Queue>,
    clock: Clock,
    ttl: Option<Duration>,
    journal: Option<Journal>,
    client_id: String,
    address: Address,
}

impl Care {
    pub(super) fn of(driver: &Driver) -> Self {
        Self {
            queue: Arc::clone(&driver.queue),
            clock: driver.clock.clone(),
            ttl: driver.options.outbox_ttl,
            journal: driver.options.journal.clone(),
            client_id: driver.protocol.client_id().to_owned(),
            address: driver.address.clone(),
        }
    }

    /// Never ends.
    pub(super) async fn take(self) -> Infallible {
        tokio::select! {
            never = self.tell_drops() => never,
            never = self.expire() => never,
        }
    }

    /// Drops what has waited long enough.
    async fn expire(&self) -> Infallible {
        let Some(ttl) = self.ttl else {
            return std::future::pending().await;
        };
        loop {
            let now = self.clock.wall();
            self.queue.expire(now);
            // What is published from now on waits as long at least.
            let next = self.queue.next_expiry();
            let next = next.and_then(|at| at.duration_since(now).ok());
            self.clock.sleep(next.unwrap_or(ttl)).await;
        }
    }

    async fn tell_drops(&self) -> Infallible {
        loop {
            self.queue.untold_drops().await;
            let next = self.queue.next_telling(self.clock.now());
            self.clock.sleep_until(next).await;
            for event in self.queue.drops_to_tell(self.clock.now()) {
                self.tell(event);
            }
        }
    }

    fn tell(&self, event: Event) {
        if let Some(journal) = &self.journal {
            journal(&Entry {
                client_id: &self.client_id,
                address: &self.address,
                event: Some(&event),
            });
        }
        self.queue.tell(event);
    }
}
