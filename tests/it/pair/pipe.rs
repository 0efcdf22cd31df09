//! The fake wire: pieces of any size, each with its time of arrival, in order.

use crate::seed::Seed;
use bytes::{Buf, Bytes, BytesMut};
use rmqtt::codec::SendBuffer;
use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// One direction of a connection.
#[derive(Debug, Default)]
pub(crate) struct Pipe {
    /// Pieces under way, with when they arrive.
    pieces: VecDeque<(Instant, Bytes)>,
    pub(crate) is_stalled: bool,
}

impl Pipe {
    /// Takes all that waits to be written, in pieces of any size.
    pub(crate) fn write(&mut self, from: &mut SendBuffer, now: Instant, seed: &mut Seed) {
        let delay_max_ms = if seed.one_in(4) { 200 } else { 2 };
        let piece_max = if seed.one_in(4) { 6 } else { 4000 };
        while from.has_remaining() {
            let piece = from.copy_to_bytes(seed.pick(1..piece_max).min(from.remaining()));
            let due = now + Duration::from_millis(seed.pick(0..delay_max_ms) as u64);
            let due = self.pieces.back().map_or(due, |(last, _)| due.max(*last));
            self.pieces.push_back((due, piece));
        }
    }

    /// Moves what has arrived, but no more than `budget` bytes of it, which is then less by that.
    pub(crate) fn arrive(&mut self, input: &mut BytesMut, now: Instant, budget: &mut usize) {
        while *budget > 0 && self.next_due().is_some_and(|due| due <= now) {
            let Some((due, mut piece)) = self.pieces.pop_front() else {
                return;
            };
            let taken = piece.split_to(piece.len().min(*budget));
            *budget -= taken.len();
            input.extend_from_slice(&taken);
            if !piece.is_empty() {
                self.pieces.push_front((due, piece));
            }
        }
    }

    /// How many bytes are under way.
    pub(crate) fn len(&self) -> usize {
        self.pieces.iter().map(|(_, piece)| piece.len()).sum()
    }

    /// Whether nothing is under way.
    pub(crate) fn is_empty(&self) -> bool {
        self.pieces.is_empty()
    }

    pub(crate) fn next_due(&self) -> Option<Instant> {
        self.pieces
            .front()
            .filter(|_| !self.is_stalled)
            .map(|(due, _)| *due)
    }
}
