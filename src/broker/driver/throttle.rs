//! How fast one connection may talk, and how much it may make us hold.
//!
//! A client over its rate is not read until it has earned more: the socket holds it back, nothing is lost. Its keep alive
//! stands still meanwhile, since what it says in time may not be heard.

use super::connection::{Connection, End};
use crate::broker::memory::Claim;
use crate::broker::quota::{Meter, Pace};
use crate::broker::{Limit, Limits};
use std::time::{Duration, Instant};

/// What may come at once, as time at the full rate.
const BURST: Duration = Duration::from_secs(1);

/// So much is read of a stranger at a time: CONNECT is one small packet.
const STRANGER_READ: usize = 8 << 10;

/// What a connection costs in bytes, beside its buffers and its session.
pub(super) const CONNECTION_COST: usize = 3 << 10;

/// So much of a packet may always come: honest ones are mostly smaller, and make room by what they acknowledge.
const PACKET_FREE: usize = 64 << 10;

/// What a client has taken of one of its rates.
struct Rate {
    limit: Limit,
    meter: Meter,
    /// Of this batch.
    taken: u64,
    left: u64,
}

impl Rate {
    fn new(limit: Limit, per_second: u32, now: Instant) -> Self {
        let burst = BURST;
        let meter = Meter::new(Pace { per_second, burst }, now);
        Self {
            limit,
            taken: 0,
            left: meter.left(now),
            meter,
        }
    }

    fn count(&mut self, count: usize) {
        self.taken += count as u64;
        self.left = self.left.saturating_sub(count as u64);
    }

    fn settle(&mut self, now: Instant) {
        self.meter.take(std::mem::take(&mut self.taken), now);
        self.left = self.meter.left(now);
    }
}

/// What a client has taken of its rates.
pub(super) struct Throttle {
    messages: Rate,
    deliveries: Rate,
    bytes: Rate,
    until: Option<Instant>,
}

impl Throttle {
    /// `None` where nothing is bounded.
    pub(super) fn new(limits: &Limits, now: Instant) -> Option<Box<Self>> {
        let rates = [
            limits.message_rate_max,
            limits.delivery_rate_max,
            limits.byte_rate_max,
        ];
        if rates == [0; 3] {
            return None;
        }
        Some(Box::new(Self {
            messages: Rate::new(Limit::MessageRateMax, limits.message_rate_max, now),
            deliveries: Rate::new(Limit::DeliveryRateMax, limits.delivery_rate_max, now),
            bytes: Rate::new(Limit::ByteRateMax, limits.byte_rate_max, now),
            until: None,
        }))
    }

    /// Once for each batch: what was read and taken is charged. Says which limit has been reached just now.
    fn settle(&mut self, read: usize, now: Instant) -> Option<Limit> {
        self.bytes.count(read);
        let was_free = self.until.is_none();
        let mut reached = None;
        self.until = None;
        for rate in [&mut self.messages, &mut self.deliveries, &mut self.bytes] {
            rate.settle(now);
            if rate.left == 0 {
                reached = reached.or(Some(rate.limit));
                self.until = self.until.max(Some(rate.meter.ready_at()));
            }
        }
        reached.filter(|_| was_free)
    }

    /// Whether nothing more is to be taken in.
    fn is_spent(&self) -> bool {
        self.until.is_some() || self.messages.left == 0 || self.deliveries.left == 0
    }
}

impl Connection {
    /// A batch begins: whoever has waited long enough may go on.
    pub(super) fn begin_throttled(&mut self, now: Instant) {
        if let Some(throttle) = &mut self.throttle
            && throttle.until.is_some_and(|until| until <= now)
        {
            throttle.settle(0, now);
            if throttle.until.is_none() {
                self.protocol.resume(now);
            }
        }
    }

    /// So many messages were taken in, each for so many.
    pub(super) fn count_throttled(&mut self, messages: usize, matched: usize) {
        if let Some(throttle) = &mut self.throttle {
            throttle.messages.count(messages);
            throttle.deliveries.count(messages * matched);
        }
    }

    /// A batch has been taken in.
    pub(super) fn settle_throttled(&mut self, now: Instant) {
        if let Some(throttle) = &mut self.throttle
            && let Some(limit) = throttle.settle(self.pipe.take_read(), now)
        {
            self.hub.counters().reached(limit);
        }
    }

    /// Until when nothing is taken from this client, if it has been too fast.
    pub(super) fn throttled_until(&self) -> Option<Instant> {
        self.throttle.as_ref()?.until
    }

    pub(super) fn is_throttled(&self) -> bool {
        self.throttled_until().is_some()
    }

    /// Whether what the client sends is left where it is for now.
    pub(super) fn is_unread(&self) -> bool {
        self.is_held_back()
            || self.protocol.is_congested()
            || self.throttle.as_ref().is_some_and(|it| it.is_spent())
    }

    /// How much may be read next.
    pub(super) fn read_room(&self) -> usize {
        if !self.protocol.is_connected() {
            return STRANGER_READ;
        }
        let left = self.throttle.as_ref().map(|throttle| throttle.bytes.left);
        left.map_or(usize::MAX, |left| {
            usize::try_from(left).unwrap_or(usize::MAX)
        })
    }

    /// What is held for this connection is charged. A packet that is large and not complete costs its sender the connection
    /// where there is no room: nothing of it was acknowledged.
    pub(super) fn charge_held(&mut self) -> Result<(), End> {
        let held = self.pipe.held() + self.protocol.held();
        self.charge.follow(CONNECTION_COST + held);
        let begun = self.pipe.input().len();
        if begun < PACKET_FREE || self.is_unread() || self.charge.memory().grants(Claim::Rest) {
            return Ok(());
        }
        Err(End::Full)
    }

    /// What has been read of one who is not let in yet is counted, with that of all others.
    pub(super) fn hold_for_stranger(&mut self) -> Result<(), End> {
        if self.protocol.is_connected() || self.place.hold(self.pipe.held()) {
            return Ok(());
        }
        Err(End::Crowded(Limit::UnacceptedBytesMax))
    }
}
