//! The wire log, for tests: each packet of every connection, both ways, as it was on the wire.
//!
//! A ring of so many lines; who waits for one is woken by the next, and nothing is decoded before it is asked for. One small
//! lock, held for a push or a copy.

use crate::broker::faults::Direction;
use crate::codec::{PacketType, ProtocolVersion};
use crate::topic::TopicName;
use bytes::Bytes;
use bytestring::ByteString;
use parking_lot::Mutex;
use std::collections::VecDeque;
use std::time::Duration;
use tokio::sync::Notify;

/// Bytes of packets that are kept, whatever the number of lines.
const BYTES_MAX: usize = 64 << 20;

/// One packet.
#[derive(Debug, Clone)]
pub struct Line {
    /// From 0; every packet ever logged has the next one.
    pub number: u64,
    /// By the broker's clock, since the broker was made.
    pub time: Duration,
    /// Empty before a CONNECT has named it.
    pub client_id: ByteString,
    /// From 1, in the order of coming.
    pub connection: u64,
    /// Which way it went.
    pub direction: Direction,
    /// Its kind; `None` where the bytes are no packet.
    pub packet_type: Option<PacketType>,
    /// Of a PUBLISH, and of what acknowledges one.
    pub topic: Option<TopicName>,
    /// What the connection spoke.
    pub version: ProtocolVersion,
    /// Its bytes.
    pub raw: Bytes,
    /// What a fault did to it.
    pub note: &'static str,
}

#[derive(Debug, Default)]
struct Ring {
    lines: VecDeque<Line>,
    bytes: usize,
    next: u64,
}

/// The log of one broker.
#[derive(Debug)]
pub struct WireLog {
    lines_max: usize,
    ring: Mutex<Ring>,
    more: Notify,
}

impl WireLog {
    /// An empty one, which keeps so many lines.
    pub fn new(lines_max: usize) -> Self {
        Self {
            lines_max: lines_max.max(1),
            ring: Mutex::default(),
            more: Notify::new(),
        }
    }

    pub(super) fn push(&self, mut line: Line) {
        let mut forgotten = Vec::new();
        let mut ring = self.ring.lock();
        line.number = ring.next;
        ring.next += 1;
        ring.bytes += line.raw.len();
        ring.lines.push_back(line);
        while ring.lines.len() > self.lines_max || (ring.bytes > BYTES_MAX && ring.lines.len() > 1)
        {
            let Some(oldest) = ring.lines.pop_front() else {
                break;
            };
            ring.bytes -= oldest.raw.len();
            forgotten.push(oldest);
        }
        drop(ring);
        self.more.notify_waiters();
    }

    /// What is kept, from this number on.
    pub fn lines(&self, from: u64) -> Vec<Line> {
        let ring = self.ring.lock();
        let first = ring.lines.front().map_or(ring.next, |line| line.number);
        let skipped = usize::try_from(from.saturating_sub(first)).unwrap_or(usize::MAX);
        ring.lines.iter().skip(skipped).cloned().collect()
    }

    /// How many packets were ever logged.
    pub fn count(&self) -> u64 {
        self.ring.lock().next
    }

    /// Forgets what is kept.
    pub fn clear(&self) {
        let mut ring = self.ring.lock();
        ring.bytes = 0;
        let lines = std::mem::take(&mut ring.lines);
        drop(ring);
        drop(lines);
    }

    /// Waits until more than `count` packets were logged.
    pub async fn more_than(&self, count: u64) {
        loop {
            let more = self.more.notified();
            tokio::pin!(more);
            // From here on none is missed.
            more.as_mut().enable();
            if self.count() > count {
                return;
            }
            more.await;
        }
    }
}
