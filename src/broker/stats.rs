//! Counters, counted where the thing happens. Relaxed atomics: they order nothing and nobody waits for them.

use crate::broker::bell::Bell;
use crate::broker::{BrokerStats, Limit};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// One counter.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// One more.
    pub fn add_one(&self) {
        self.add(1);
    }

    /// So many more.
    pub fn add(&self, count: usize) {
        if count > 0 {
            self.0.fetch_add(count as u64, Ordering::Relaxed);
        }
    }

    /// How many so far.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// What a broker counts since it was made; see [`crate::broker::BrokerStats`] for what each means.
#[derive(Debug, Default)]
#[allow(missing_docs, reason = "each counts what its name says")]
pub struct Counters {
    pub connects_accepted: Counter,
    pub connects_refused: Counter,
    pub connections_violated: Counter,
    pub messages_received: Counter,
    pub messages_delivered: Counter,
    pub messages_dropped_qos0: Counter,
    pub messages_dropped_queue_full: Counter,
    pub messages_expired: Counter,
    pub publishes_denied: Counter,
    pub subscriptions_denied: Counter,
    pub deliveries_denied: Counter,
    pub bytes_received: Counter,
    pub bytes_sent: Counter,
    pub wills_published: Counter,
    pub logins_failed: Counter,
    pub logins_throttled: Counter,
    pub logins_revoked: Counter,
    pub passwords_hashed: Counter,
    pub hooks_failed: Counter,
    limits: [Counter; Limit::ALL.len()],
    has_news: AtomicBool,
    bell: Arc<Bell>,
}

impl Counters {
    /// Somebody has reached this limit.
    pub fn reached(&self, limit: Limit) {
        self.reached_often(limit, 1);
    }

    /// So many have reached it, or one so many times.
    pub fn reached_often(&self, limit: Limit, times: usize) {
        self.limits[limit as usize].add(times);
        if !self.has_news.swap(true, Ordering::AcqRel) {
            self.bell.ring();
        }
    }

    /// How often that was.
    pub fn times_reached(&self, limit: Limit) -> u64 {
        self.limits[limit as usize].get()
    }

    /// Rung when a limit was reached and there had been no news.
    pub fn bell(&self) -> &Arc<Bell> {
        &self.bell
    }

    /// Whether a limit was reached since [`Counters::take_news`].
    pub fn has_news(&self) -> bool {
        self.has_news.load(Ordering::Acquire)
    }

    /// The counts are about to be read.
    pub fn take_news(&self) {
        self.has_news.swap(false, Ordering::AcqRel);
    }

    /// What has been counted so far. What is true only now is left at zero: the hub knows that.
    pub fn snapshot(&self) -> BrokerStats {
        BrokerStats {
            connects_accepted: self.connects_accepted.get(),
            connects_refused: self.connects_refused.get(),
            connections_violated: self.connections_violated.get(),
            messages_received: self.messages_received.get(),
            messages_delivered: self.messages_delivered.get(),
            messages_dropped_qos0: self.messages_dropped_qos0.get(),
            messages_dropped_queue_full: self.messages_dropped_queue_full.get(),
            messages_expired: self.messages_expired.get(),
            publishes_denied: self.publishes_denied.get(),
            subscriptions_denied: self.subscriptions_denied.get(),
            deliveries_denied: self.deliveries_denied.get(),
            bytes_received: self.bytes_received.get(),
            bytes_sent: self.bytes_sent.get(),
            wills_published: self.wills_published.get(),
            logins_failed: self.logins_failed.get(),
            logins_throttled: self.logins_throttled.get(),
            logins_revoked: self.logins_revoked.get(),
            passwords_hashed: self.passwords_hashed.get(),
            hooks_failed: self.hooks_failed.get(),
            limits_reached: Limit::ALL
                .iter()
                .map(|limit| (limit.name(), self.limits[*limit as usize].get()))
                .collect(),
            ..BrokerStats::default()
        }
    }
}
