//! MQTT over WebSocket (RFC 6455): a byte pipe within another one, at both ends.
//!
//! Owns the pipe. What comes is taken apart in `incoming`, what goes is put into frames in `outgoing`; both keep frames and
//! not messages, so that neither end holds more than a frame's head, however long a message the peer begins. How a pipe
//! becomes one is in `answer` for a listener and in `request` for a client, with the heads of HTTP in `head`, and whose pages
//! may do so in `origins`. The heads themselves are read and written by tungstenite: ADR 34.

mod answer;
mod head;
mod incoming;
mod origins;
mod outgoing;
mod request;
#[cfg(test)]
mod tests;

pub use origins::Origins;
pub use request::Headers;

pub(super) use answer::accept;
pub(super) use request::connect;

use super::Stream;
use bytes::{Buf, BytesMut};
use incoming::{End, Incoming};
use outgoing::Outgoing;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// The subprotocol, at both ends.
const SUBPROTOCOL: &str = "mqtt";
/// The path that a client asks for where its URL has none: what most brokers expect.
const PATH: &str = "/mqtt";

/// Which end of a pipe this is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Role {
    Listener,
    Client,
}

/// Frames within another pipe.
#[derive(Debug)]
pub struct WebSocket {
    inner: Stream,
    /// What came behind the answer to the handshake.
    early: BytesMut,
    incoming: Incoming,
    outgoing: Outgoing,
}

impl WebSocket {
    fn new(inner: Stream, role: Role, early: BytesMut) -> Self {
        Self {
            inner,
            early,
            incoming: Incoming::new(role),
            outgoing: Outgoing::new(role),
        }
    }

    pub(super) fn inner(&self) -> &Stream {
        &self.inner
    }

    pub(super) fn inner_mut(&mut self) -> &mut Stream {
        &mut self.inner
    }

    /// Whether something was taken that is not written yet.
    pub(super) fn has_unsent(&self) -> bool {
        self.outgoing.has_unsent() || self.inner.has_unsent()
    }

    /// Whether the peer does not know yet that this is the end.
    pub(super) fn owes_goodbye(&self) -> bool {
        !self.outgoing.is_closed()
    }

    pub(super) fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if buf.remaining() == 0 {
            return Poll::Ready(Ok(()));
        }
        loop {
            match self.incoming.end() {
                Some(End::Closed) => return Poll::Ready(Ok(())),
                Some(End::Broken(violation)) => {
                    return Poll::Ready(Err(io::Error::new(
                        io::ErrorKind::InvalidData,
                        violation.words,
                    )));
                }
                None => {}
            }
            let before = buf.filled().len();
            if self.early.is_empty() {
                ready!(Pin::new(&mut self.inner).poll_read(cx, buf))?;
            } else {
                let count = buf.remaining().min(self.early.len());
                buf.put_slice(&self.early[..count]);
                self.early.advance(count);
            }
            if buf.filled().len() == before {
                return Poll::Ready(Ok(()));
            }
            // In place: heads of frames leave, and what they were around moves together.
            let count = self.incoming.take(&mut buf.filled_mut()[before..]);
            buf.set_filled(before + count);
            if let Some(answer) = self.incoming.answer() {
                self.outgoing.answer(answer);
                // Whoever reads need not write. What cannot leave now is flushed, or leaves before what is written next.
                let _ = self.outgoing.poll_pending(&mut self.inner, cx);
            }
            if count > 0 {
                return Poll::Ready(Ok(()));
            }
        }
    }

    pub(super) fn poll_write(
        &mut self,
        cx: &mut Context<'_>,
        pieces: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.outgoing.poll_write(&mut self.inner, cx, pieces)
    }

    pub(super) fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.outgoing.poll_pending(&mut self.inner, cx))?;
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    /// Says goodbye, and then no more.
    pub(super) fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.outgoing.close();
        ready!(self.poll_flush(cx))?;
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}

/// Masks or unmasks, which is the same; `at` bytes of this payload came before.
fn mask(bytes: &mut [u8], mask: [u8; 4], at: usize) {
    let turned = std::array::from_fn::<u8, 8, _>(|place| mask[(at + place) % 4]);
    let wide = u64::from_ne_bytes(turned);
    let (words, rest) = bytes.as_chunks_mut::<8>();
    for word in words {
        *word = (u64::from_ne_bytes(*word) ^ wide).to_ne_bytes();
    }
    for (byte, mask) in rest.iter_mut().zip(turned) {
        *byte ^= mask;
    }
}
