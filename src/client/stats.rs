//! What a client counts, and how long its broker takes to answer.

use std::time::Duration;

/// A snapshot of the client's counters.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[allow(
    missing_docs,
    reason = "each counts what its name says, since the client was made"
)]
pub struct ClientStats {
    pub connected: bool,
    pub connects: u64,
    pub messages_sent: u64,
    pub messages_received: u64,
    pub bytes_sent: u64,
    pub bytes_received: u64,
    pub acknowledged: u64,
    /// All that follow.
    pub dropped: u64,
    /// QoS 0, published or waiting while there was no connection.
    pub dropped_offline: u64,
    /// Not sent yet, and given up for newer ones.
    pub dropped_full: u64,
    /// Not sent in time.
    pub dropped_expired: u64,
    /// Not sent, since the broker does not take them.
    pub dropped_refused: u64,
    /// Received, and a subscription's queue had no room.
    pub dropped_overflow: u64,
    /// Received, and no subscription was there for them.
    pub dropped_unwanted: u64,
    /// Messages waiting to be sent now, and their bytes.
    pub queued_messages: usize,
    pub queued_bytes: usize,
    pub in_flight: usize,
    /// The most there ever were.
    pub in_flight_high: usize,
    /// Waiting or in flight, at most and the most there ever were.
    pub outbox_messages_max: usize,
    pub outbox_messages_high: usize,
    pub outbox_bytes_max: usize,
    pub outbox_bytes_high: usize,
    /// Messages that an earlier process left in the outbox, and that are not delivered yet.
    pub restored: usize,
}

/// A snapshot of one subscription's queue.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[allow(missing_docs, reason = "each counts what its name says")]
pub struct InboxStats {
    pub received: u64,
    pub dropped: u64,
    /// Waiting now, parked ones included; the most there ever were; and the bound that does not count parked ones.
    pub pending: usize,
    pub pending_high: usize,
    pub pending_max: usize,
    /// And their bytes.
    pub pending_bytes: usize,
    pub pending_bytes_high: usize,
    pub pending_bytes_max: usize,
    /// Waiting beyond the bound, unacknowledged.
    pub parked: usize,
}

/// Buckets for each doubling: a percentile is at most a quarter too high.
const STEPS: usize = 4;
/// As many doublings, from a microsecond: over four minutes.
const OCTAVES: usize = 28;

/// How long answers took: of PINGREQ, and of one PUBLISH of QoS 1 at a time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RoundTrips {
    buckets: [u32; STEPS * OCTAVES],
    count: u64,
    max: Duration,
}

impl Default for RoundTrips {
    fn default() -> Self {
        Self {
            buckets: [0; STEPS * OCTAVES],
            count: 0,
            max: Duration::ZERO,
        }
    }
}

impl RoundTrips {
    /// One more answer.
    pub fn add(&mut self, took: Duration) {
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX).max(1);
        let place = (0..self.buckets.len() - 1)
            .find(|place| micros <= upper(*place))
            .unwrap_or(self.buckets.len() - 1);
        self.buckets[place] = self.buckets[place].saturating_add(1);
        self.count += 1;
        self.max = self.max.max(took);
    }

    /// How many answers were timed.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// The longest; zero without any.
    pub fn max(&self) -> Duration {
        self.max
    }

    /// So many percent of the answers took no longer than this; `None` without any.
    pub fn percentile(&self, percent: u64) -> Option<Duration> {
        if self.count == 0 {
            return None;
        }
        let mut left = (self.count * percent).div_ceil(100).max(1);
        // The last bucket has no end but the longest.
        for (place, held) in self.buckets[..STEPS * OCTAVES - 1].iter().enumerate() {
            left = left.saturating_sub(u64::from(*held));
            if left == 0 {
                return Some(Duration::from_micros(upper(place)).min(self.max));
            }
        }
        Some(self.max)
    }
}

/// The longest time in a bucket, in microseconds.
fn upper(place: usize) -> u64 {
    let base = 1u64 << (place / STEPS);
    base + base * (place % STEPS) as u64 / STEPS as u64
}
