//! Bytes in and out of one connection, a batch at a time; nothing of MQTT.

use super::relay::{Known, Relay};
use crate::broker::faults::Cut;
use crate::broker::seams::Seams;
use crate::broker::stats::Counters;
use crate::clock::Clock;
use crate::codec::{ReasonCode, SendBuffer};
use crate::transport::Stream;
use bytes::{Buf, BytesMut};
use std::cell::RefCell;
use std::future::Future;
use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};

/// Room for what is read by way of the thread's buffer.
const READ_ASIDE: usize = 8 << 10;

/// Room for each read while there is much to read.
const READ_LARGE: usize = 64 << 10;

/// So much is read before it is dealt with.
const BATCH_BYTES: usize = 256 << 10;

/// A peer that takes nothing of what is written for so long is gone.
const WRITE_STALL: Duration = Duration::from_secs(60);

thread_local! {
    /// What is read here stays for no longer than it takes to copy it out.
    static ASIDE: RefCell<Box<[u8]>> = RefCell::new(vec![0; READ_ASIDE].into());
}

/// Why nothing more will come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum InputEnd {
    /// The peer has closed, or the pipe broke.
    Closed,
    /// The peer broke a rule of what lies below MQTT.
    Garbled,
}

/// A stream with what was read from it and not yet dealt with.
pub(super) struct Pipe {
    stream: Stream,
    seams: Arc<Seams>,
    /// While tests look on.
    relay: Option<Box<Relay>>,
    input: BytesMut,
    end: Option<InputEnd>,
    /// Bytes that were read the last time.
    batch: usize,
    /// Bytes that were read since this was last asked.
    read: usize,
    /// Much was read the last time.
    is_flowing: bool,
    /// Nothing can be written any more; what the peer said before may still wait to be read.
    is_mute: bool,
    /// Since when nothing could be written although something waits.
    stalled_since: Option<Instant>,
}

impl Pipe {
    pub(super) fn new(stream: Stream, seams: Arc<Seams>) -> Self {
        Self {
            stream,
            seams,
            relay: None,
            input: BytesMut::new(),
            end: None,
            batch: 0,
            read: 0,
            is_flowing: false,
            is_mute: false,
            stalled_since: None,
        }
    }

    pub(super) fn clock(&self) -> &Clock {
        &self.seams.clock
    }

    /// What was read.
    pub(super) fn input(&mut self) -> &mut BytesMut {
        match &mut self.relay {
            Some(relay) => relay.arrived(),
            None => &mut self.input,
        }
    }

    /// How much memory is held for what was read.
    pub(super) fn held(&self) -> usize {
        self.input.capacity()
    }

    /// What was read and not dealt with is of no use any more.
    pub(super) fn forget_input(&mut self) {
        self.input = BytesMut::new();
    }

    /// Whether there was as much to read as is read at a time.
    pub(super) fn is_batch_full(&self) -> bool {
        self.batch >= BATCH_BYTES
    }

    /// How many bytes were read since this was last asked.
    pub(super) fn take_read(&mut self) -> usize {
        std::mem::take(&mut self.read)
    }

    /// Whether nothing more will come.
    pub(super) fn is_at_end(&self) -> bool {
        match &self.relay {
            Some(relay) => relay.is_at_end(self.end.is_some()),
            None => self.end.is_some(),
        }
    }

    /// Whether that is because what came could not be read.
    pub(super) fn is_garbled(&self) -> bool {
        self.end == Some(InputEnd::Garbled)
    }

    /// Whether the stream has to be shut down in good order, though there is nothing more to say.
    pub(super) fn owes_goodbye(&self) -> bool {
        self.stream.owes_goodbye() && !self.is_mute
    }

    /// Whether packets have to be shown one by one from now on.
    pub(super) fn wants_relay(&self) -> bool {
        self.relay.is_none() && self.seams.are_in_use()
    }

    /// From now on they are.
    pub(super) fn begin_relay(&mut self, out: &mut SendBuffer, size_max: usize, known: Known) {
        let mut relay = Relay::new(Arc::clone(&self.seams), size_max, known);
        relay.adopt(out);
        relay.take_in(&mut self.input);
        self.relay = Some(Box::new(relay));
    }

    /// Lets pass what has waited long enough; says how the connection is to end, if by a fault.
    pub(super) fn release(&mut self) -> Option<Cut> {
        let relay = self.relay.as_mut()?;
        relay.release();
        relay.cut()
    }

    /// How a CONNECT is to be refused, if by a fault.
    pub(super) fn refusal(&self) -> Option<ReasonCode> {
        self.relay.as_ref()?.refusal()
    }

    /// Whether the session of this client is to be lost.
    pub(super) fn loses_session(&self) -> bool {
        self.relay.as_ref().is_some_and(|it| it.loses_session())
    }

    /// Whether there is something to be written that the protocol knows nothing of.
    pub(super) fn has_leftovers(&mut self) -> bool {
        let relay = self.relay.as_mut();
        relay.is_some_and(|it| !it.leaving().is_empty()) || self.stream.has_unsent()
    }

    /// Nothing is read or written any more, and the peer must not learn of it.
    pub(super) fn is_half_open(&self) -> bool {
        self.relay.as_ref().is_some_and(|it| it.is_half_open())
    }

    /// Ends a half-open connection on this side.
    pub(super) fn park(&mut self) {
        self.seams.faults.park(self.stream.take_over());
    }

    /// Ends the connection so that its peer hears of a reset.
    pub(super) fn reset(&mut self) {
        self.stream.take_over().reset();
    }

    /// Whether nothing can be said any more, though there may be something to hear.
    pub(super) fn is_mute(&self) -> bool {
        self.is_mute
    }

    /// When to look again, though nothing comes.
    pub(super) fn deadline(&self) -> Option<Instant> {
        let due = self.relay.as_ref().and_then(|relay| relay.due());
        due.into_iter().chain(self.stall_deadline()).min()
    }

    /// When to give up, unless something can be written before.
    pub(super) fn stall_deadline(&self) -> Option<Instant> {
        self.stalled_since?.checked_add(WRITE_STALL)
    }

    /// Writes what can be written. Says whether the caller has to look at the pipe again: it takes nothing more for now, or
    /// never will.
    ///
    /// An error is no end: a peer that said goodbye and closed with something unread answers what we write with a reset,
    /// while its goodbye waits to be read. From then on everything is read that came, and what is to be written dropped.
    // spec(4): MQTT-3.14.4-3
    // spec(5): MQTT-3.14.4-3
    pub(super) fn poll_write(
        &mut self,
        out: &mut SendBuffer,
        counters: &Counters,
        cx: &mut Context<'_>,
    ) -> bool {
        let Some(mut relay) = self.relay.take() else {
            return self.poll_write_all(out, counters, cx);
        };
        let (cut, due) = (relay.cut(), relay.due());
        relay.take_out(out);
        let mut has_changed = relay.cut() != cut || relay.due() != due;
        if relay.is_half_open() {
            relay.leaving().clear();
        } else {
            has_changed |= self.poll_write_all(relay.leaving(), counters, cx);
            if relay.has_fallen_silent() {
                // The peer hears the end, and goes or not.
                let _ = Pin::new(&mut self.stream).poll_shutdown(cx);
            }
        }
        self.relay = Some(relay);
        has_changed
    }

    fn poll_write_all(
        &mut self,
        out: &mut SendBuffer,
        counters: &Counters,
        cx: &mut Context<'_>,
    ) -> bool {
        while out.has_remaining() {
            if self.is_mute {
                out.clear();
                return true;
            }
            match self.write_once(out, cx) {
                Poll::Ready(Ok(0) | Err(_)) => {
                    self.is_mute = true;
                    // Its end has to come as soon as that of a peer that takes nothing.
                    self.stalled_since
                        .get_or_insert_with(|| self.seams.clock.now());
                }
                Poll::Ready(Ok(count)) => {
                    counters.bytes_sent.add(count);
                    self.stalled_since = None;
                }
                Poll::Pending => {
                    // The first time, the caller has to learn of the new deadline.
                    let is_news = self.stalled_since.is_none();
                    self.stalled_since
                        .get_or_insert_with(|| self.seams.clock.now());
                    return is_news;
                }
            }
        }
        self.stream.has_unsent() && self.poll_flush(cx)
    }

    /// Writes what the stream has taken and kept, as with encryption. Says what [`Pipe::poll_write`] says.
    fn poll_flush(&mut self, cx: &mut Context<'_>) -> bool {
        let was_stalled = self.stalled_since.is_some();
        match Pin::new(&mut self.stream).poll_flush(cx) {
            Poll::Ready(Ok(())) => self.stalled_since = None,
            Poll::Ready(Err(_)) if self.is_mute => return false,
            result => {
                // Its end has to come as soon as that of a peer that takes nothing.
                self.is_mute |= result.is_ready();
                self.stalled_since
                    .get_or_insert_with(|| self.seams.clock.now());
            }
        }
        was_stalled != self.stalled_since.is_some()
    }

    /// Most batches lie in one piece, and a system call for several costs more than one for one.
    fn write_once(
        &mut self,
        out: &mut SendBuffer,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<usize>> {
        let piece = out.chunk();
        if piece.len() < out.remaining() {
            return pin!(self.stream.write_buf(out)).poll(cx);
        }
        let count = ready!(Pin::new(&mut self.stream).poll_write(cx, piece))?;
        out.advance(count);
        Poll::Ready(Ok(count))
    }

    /// Reads until there is no more, or enough for a batch, and no more than there is `room` for. Says whether anything came,
    /// the end included. An error is an end: what came before it counts.
    pub(super) fn poll_read(
        &mut self,
        room: usize,
        counters: &Counters,
        cx: &mut Context<'_>,
    ) -> bool {
        let was_at_end = self.end.is_some();
        let mut batch = 0;
        let may_read = self.relay.as_ref().is_none_or(|it| it.may_read());
        let enough = if may_read { room.min(BATCH_BYTES) } else { 0 };
        while self.end.is_none() && batch < enough {
            match self.read_once(room - batch, cx) {
                Poll::Ready(Err(error)) if error.kind() == io::ErrorKind::InvalidData => {
                    self.end = Some(InputEnd::Garbled);
                }
                Poll::Ready(Ok(0) | Err(_)) => self.end = Some(InputEnd::Closed),
                Poll::Ready(Ok(count)) => {
                    batch += count;
                    if count < READ_ASIDE {
                        // The socket had no more; if it has by now, the next round learns of it.
                        break;
                    }
                    self.is_flowing = true;
                }
                Poll::Pending => break,
            }
        }
        self.batch = batch;
        if batch > 0 {
            counters.bytes_received.add(batch);
            self.read += batch;
            self.is_flowing = batch >= READ_ASIDE;
            if let Some(relay) = &mut self.relay {
                relay.take_in(&mut self.input);
            }
        } else if self.input.is_empty() {
            // Nothing half-read: while nothing comes, no memory is held for it.
            self.input = BytesMut::new();
        }
        batch > 0 || self.end.is_some() != was_at_end
    }

    /// Reads what there is, once: into a buffer of its own while much comes, else by way of the thread's, so that a small
    /// packet is kept in a small allocation.
    fn read_once(&mut self, room: usize, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        if self.is_flowing && room >= BATCH_BYTES {
            self.input.reserve(READ_LARGE);
            return pin!(self.stream.read_buf(&mut self.input)).poll(cx);
        }
        ASIDE.with_borrow_mut(|aside| {
            let size = room.min(aside.len());
            let mut aside = ReadBuf::new(&mut aside[..size]);
            ready!(Pin::new(&mut self.stream).poll_read(cx, &mut aside))?;
            if self.input.is_empty() {
                self.input = BytesMut::from(aside.filled());
            } else {
                self.input.extend_from_slice(aside.filled());
            }
            Poll::Ready(Ok(aside.filled().len()))
        })
    }

    /// Writes what is left, then listens for a while without taking anything in: closing at once could take the last
    /// words away from a peer that is still talking.
    pub(super) async fn say_farewell(&mut self, last_words: &mut SendBuffer) -> io::Result<()> {
        match &mut self.relay {
            Some(relay) => {
                relay.take_out(last_words);
                self.stream.write_all_buf(relay.leaving()).await?;
            }
            None => self.stream.write_all_buf(last_words).await?,
        }
        self.stream.shutdown().await?;
        let mut ignored = [0; 512];
        while self.stream.read(&mut ignored).await? > 0 {}
        Ok(())
    }
}
