//! Keep alive: when to send, when to give up. Deadlines from `now`; no clock.
//!
//! [`KeepAlive`] is for the side that must not fall silent, the client; [`Silence`] for the side that listens, the
//! server. An interval of zero turns either off.

use std::time::{Duration, Instant};

/// The client's duty: no interval without a packet; and its use of it: the answer to PINGREQ shows that the peer lives.
#[derive(Debug, Clone)]
pub struct KeepAlive {
    interval: Duration,
    last_sent: Instant,
    /// While a PINGREQ is unanswered: when it left, or when something arrived after it.
    waiting_since: Option<Instant>,
}

/// What [`KeepAlive::handle_timeout`] asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Beat {
    /// Nothing yet.
    Wait,
    /// Send PINGREQ now, then call [`KeepAlive::on_ping_sent`].
    Ping,
    /// Since PINGREQ nothing has come for a whole interval: the connection is dead.
    Dead,
}

impl KeepAlive {
    /// `interval` of zero: never.
    pub fn new(interval: Duration, now: Instant) -> Self {
        Self {
            interval,
            last_sent: now,
            waiting_since: None,
        }
    }

    /// Packets of any kind left.
    pub fn on_sent(&mut self, now: Instant) {
        self.last_sent = now;
    }

    /// PINGREQ left.
    pub fn on_ping_sent(&mut self, now: Instant) {
        self.last_sent = now;
        self.waiting_since.get_or_insert(now);
    }

    /// Bytes of any kind arrived: the answer may be behind a large payload on a slow line, so it gets more time.
    pub fn on_received(&mut self, now: Instant) {
        if let Some(since) = &mut self.waiting_since {
            *since = now;
        }
    }

    /// PINGRESP arrived.
    pub fn on_pong(&mut self) {
        self.waiting_since = None;
    }

    /// When [`KeepAlive::handle_timeout`] has something to say next; `None`: never.
    pub fn next_timeout(&self) -> Option<Instant> {
        let from = self.waiting_since.unwrap_or(self.last_sent);
        deadline(from.min(self.last_sent), self.interval)
    }

    /// What is due at `now`.
    pub fn handle_timeout(&self, now: Instant) -> Beat {
        let is_over = |from| deadline(from, self.interval).is_some_and(|due| now >= due);
        // spec(4): MQTT-3.1.2-23
        // spec(5): MQTT-3.1.2-20
        if self.waiting_since.is_some_and(is_over) {
            Beat::Dead
        } else if is_over(self.last_sent) {
            Beat::Ping
        } else {
            Beat::Wait
        }
    }
}

/// The server's patience: one and a half intervals without a packet.
#[derive(Debug, Clone)]
pub struct Silence {
    allowed: Duration,
    last_received: Instant,
}

impl Silence {
    /// `interval` as the client was told; of zero: any silence is allowed.
    pub fn new(interval: Duration, now: Instant) -> Self {
        Self {
            allowed: interval.saturating_add(interval / 2),
            last_received: now,
        }
    }

    /// A packet of any kind arrived.
    pub fn on_received(&mut self, now: Instant) {
        self.last_received = now;
    }

    /// When the connection is dead, if nothing arrives before; `None`: never.
    pub fn next_timeout(&self) -> Option<Instant> {
        deadline(self.last_received, self.allowed)
    }

    /// Whether it is dead at `now`.
    pub fn is_over(&self, now: Instant) -> bool {
        // spec(4): MQTT-3.1.2-24
        // spec(5): MQTT-3.1.2-22
        self.next_timeout().is_some_and(|due| now >= due)
    }
}

/// `None` for an interval of zero, and for one that ends after all time.
fn deadline(from: Instant, interval: Duration) -> Option<Instant> {
    if interval.is_zero() {
        return None;
    }
    from.checked_add(interval)
}
