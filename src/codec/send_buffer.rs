//! Bytes on their way out: short pieces joined, large payloads by reference.

use bytes::{Buf, Bytes};

/// What is to be written next to a peer, in order.
///
/// It is a [`Buf`]: a vectored write takes as many pieces as the socket will have, and [`Buf::advance`] forgets them.
#[derive(Debug, Default)]
pub struct SendBuffer {
    _todo: (),
}

impl SendBuffer {
    /// An empty buffer, which holds no memory.
    pub fn new() -> Self {
        Self::default()
    }

    /// Appends a copy of `bytes`.
    pub fn put_slice(&mut self, bytes: &[u8]) {
        let _ = bytes;
        todo!()
    }

    /// Appends `bytes`: a short piece is copied, a long one is kept by reference.
    pub fn put_bytes(&mut self, bytes: &Bytes) {
        let _ = bytes;
        todo!()
    }

    /// Bytes waiting to be written.
    pub fn len(&self) -> usize {
        todo!()
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Forgets what waits.
    pub fn clear(&mut self) {
        todo!()
    }
}

impl Buf for SendBuffer {
    fn remaining(&self) -> usize {
        todo!()
    }

    fn chunk(&self) -> &[u8] {
        todo!()
    }

    fn advance(&mut self, count: usize) {
        let _ = count;
        todo!()
    }
}
