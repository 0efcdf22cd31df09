//! Bytes on their way out: short pieces joined, large payloads by reference.

use super::wire::Sink;
use bytes::{Buf, BufMut, Bytes, BytesMut};
use std::collections::VecDeque;
use std::io::IoSlice;

/// From this size on a piece is kept by reference: below it a copy costs less than a piece of its own in the write.
const SHARED_MIN: usize = 4096;

/// How much memory an empty buffer keeps for the next batch.
const KEPT_MAX: usize = 64 * 1024;

/// How many pieces an empty buffer keeps room for.
const KEPT_PIECES_MAX: usize = 64;

/// What is to be written next to a peer, in order.
///
/// It is a [`Buf`]: a vectored write takes as many pieces as the socket will have, and [`Buf::advance`] forgets them.
/// Once all is written the memory of a large batch is given back.
#[derive(Debug, Default)]
pub struct SendBuffer {
    /// In front of `tail`; none is empty.
    pieces: VecDeque<Bytes>,
    /// Short pieces, joined.
    tail: BytesMut,
    len: usize,
    /// The most that `tail` has held since it was last given back: its capacity forgets what was written already.
    tail_peak: usize,
}

impl SendBuffer {
    /// An empty buffer, which holds no memory.
    pub fn new() -> Self {
        Self::default()
    }

    /// Appends a copy of `bytes`.
    pub fn put_slice(&mut self, bytes: &[u8]) {
        self.tail.put_slice(bytes);
        self.tail_peak = self.tail_peak.max(self.tail.len());
        self.len += bytes.len();
    }

    /// Appends `bytes`: a short piece is copied, a long one is kept by reference.
    pub fn put_bytes(&mut self, bytes: &Bytes) {
        if bytes.len() < SHARED_MIN {
            self.put_slice(bytes);
            return;
        }
        if !self.tail.is_empty() {
            self.pieces.push_back(self.tail.split().freeze());
        }
        self.pieces.push_back(bytes.clone());
        self.len += bytes.len();
    }

    /// How much memory it holds, that of others included which it keeps by reference.
    pub fn held(&self) -> usize {
        self.tail.capacity().max(self.len)
    }

    /// Bytes waiting to be written.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Forgets what waits.
    pub fn clear(&mut self) {
        self.pieces.clear();
        self.tail.clear();
        self.len = 0;
        self.shrink();
    }

    /// Makes room for a packet of `size` bytes, unless most of it will come by reference.
    pub(super) fn reserve(&mut self, size: usize) {
        if size < 2 * SHARED_MIN {
            self.tail.reserve(size);
        }
    }

    fn shrink(&mut self) {
        if self.tail_peak > KEPT_MAX {
            self.tail = BytesMut::new();
            self.tail_peak = 0;
        }
        if self.pieces.capacity() > KEPT_PIECES_MAX {
            self.pieces = VecDeque::new();
        }
    }
}

impl Buf for SendBuffer {
    fn remaining(&self) -> usize {
        self.len
    }

    fn chunk(&self) -> &[u8] {
        self.pieces.front().map_or(&self.tail, |piece| piece)
    }

    /// Forgets the first `count` bytes, or all if there are fewer.
    fn advance(&mut self, count: usize) {
        let mut rest = count.min(self.len);
        self.len -= rest;
        while let Some(piece) = self.pieces.front_mut() {
            if piece.len() > rest {
                piece.advance(rest);
                return;
            }
            rest -= piece.len();
            self.pieces.pop_front();
        }
        self.tail.advance(rest.min(self.tail.len()));
        if self.len == 0 {
            self.shrink();
        }
    }

    fn chunks_vectored<'a>(&'a self, out: &mut [IoSlice<'a>]) -> usize {
        let tail = Some(&*self.tail).filter(|tail| !tail.is_empty());
        let chunks = self.pieces.iter().map(|piece| &**piece).chain(tail);
        out.iter_mut()
            .zip(chunks)
            .map(|(slot, chunk)| *slot = IoSlice::new(chunk))
            .count()
    }
}

impl Sink for SendBuffer {
    fn put(&mut self, bytes: &[u8]) {
        self.put_slice(bytes);
    }

    fn put_shared(&mut self, bytes: &Bytes) {
        self.put_bytes(bytes);
    }
}
