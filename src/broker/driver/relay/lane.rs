//! One way through a relay: packets that wait, in order, until their time has come or others have overtaken them.

use crate::broker::wire::Line;
use crate::codec::{self, ProtocolVersion};
use bytes::{Bytes, BytesMut};
use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// With so much waiting, nothing more is taken.
const BYTES_MAX: usize = 1 << 20;

/// A packet that waits.
pub(super) struct Held {
    pub(super) line: Line,
    pub(super) bytes: Bytes,
}

#[derive(Default)]
pub(super) struct Lane {
    /// The beginning of a packet.
    pub(super) raw: BytesMut,
    /// What comes is no packet: the protocol has to say so.
    is_unreadable: bool,
    /// Each until then. One that waits keeps all behind it waiting.
    held: VecDeque<(Instant, Held)>,
    /// Each until so many others have passed.
    overtaken: Vec<(usize, Held)>,
    bytes: usize,
    /// Bytes a second.
    rate: Option<u64>,
    busy_until: Option<Instant>,
    is_shut: bool,
}

impl Lane {
    pub(super) fn has_room(&self) -> bool {
        self.bytes < BYTES_MAX
    }

    pub(super) fn is_empty(&self) -> bool {
        self.held.is_empty()
    }

    /// Whether nothing new passes any more.
    pub(super) fn is_shut(&self) -> bool {
        self.is_shut
    }

    pub(super) fn shut(&mut self) {
        self.is_shut = true;
        self.overtaken.clear();
    }

    pub(super) fn throttle(&mut self, rate: u64) {
        self.rate = Some(rate);
    }

    /// The next whole packet.
    pub(super) fn next_packet(&mut self, version: ProtocolVersion, max: usize) -> Option<Bytes> {
        if self.is_unreadable {
            return None;
        }
        match codec::peek_size(&self.raw, version) {
            Ok(Some(size)) if size <= max => {
                (size <= self.raw.len()).then(|| self.raw.split_to(size).freeze())
            }
            Ok(None) => None,
            // Nobody has to hold what will be refused.
            Ok(Some(_)) | Err(_) => {
                self.is_unreadable = true;
                None
            }
        }
    }

    /// What can only be passed on as it is.
    pub(super) fn take_unreadable(&mut self) -> Option<Bytes> {
        let has_some = self.is_unreadable && !self.raw.is_empty();
        has_some.then(|| self.raw.split().freeze())
    }

    /// Takes one, to be delayed or to be overtaken by so many.
    pub(super) fn push(&mut self, held: Held, (now, delay): (Instant, Duration), depth: usize) {
        if self.is_shut {
            return;
        }
        self.bytes += held.bytes.len();
        if depth > 0 {
            self.overtaken.push((depth, held));
            return;
        }
        let mut due = now.checked_add(delay).unwrap_or(now);
        if let Some(rate) = self.rate {
            let bytes = u64::try_from(held.bytes.len()).unwrap_or(u64::MAX);
            let nanos = bytes.saturating_mul(1_000_000_000) / rate;
            let begins = self.busy_until.map_or(now, |busy| busy.max(now));
            let ends = begins + Duration::from_nanos(nanos);
            self.busy_until = Some(ends);
            due = due.max(ends);
        }
        self.held.push_back((due, held));
        for (left, _) in &mut self.overtaken {
            *left -= 1;
        }
        let passed = |(left, _): &mut (usize, Held)| *left == 0;
        let free = self.overtaken.extract_if(.., passed);
        self.held.extend(free.map(|(_, held)| (now, held)));
    }

    pub(super) fn due(&self) -> Option<Instant> {
        self.held.front().map(|(due, _)| *due)
    }

    /// The first, if its time has come.
    pub(super) fn pop(&mut self, now: Instant) -> Option<Held> {
        self.due().filter(|due| *due <= now)?;
        let (_, held) = self.held.pop_front()?;
        self.bytes -= held.bytes.len();
        Some(held)
    }
}
