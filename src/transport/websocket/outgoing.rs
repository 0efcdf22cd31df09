//! What is sent to the peer, in frames: one for each write, which is one for each batch of packets.
//!
//! A listener's frames are not masked, and nothing is copied: the head is written together with the caller's pieces, and
//! where a socket takes only a part, the frame goes on with what is written next. A client's are masked, which takes a copy;
//! what of it does not leave at once waits here, and there is never more of it than one frame.

use super::incoming::Answer;
use super::{Role, Stream, mask};
use bytes::{Buf, BytesMut};
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use tokio::io::AsyncWrite;
use tungstenite::protocol::frame::FrameHeader;
use tungstenite::protocol::frame::coding::{CloseCode, Control, Data, OpCode};

/// The longest payload of a frame of ours: about what a socket takes at once, and two bytes of length.
const PAYLOAD_MAX: usize = u16::MAX as usize;
/// The longest head of such a frame.
const HEAD_MAX: usize = 8;
/// Pieces that are written at once.
const PIECES_MAX: usize = 64;
/// Bytes of randomness that are asked for at once: masks for as many frames as fit in.
const MASKS_BYTES: usize = 256;

/// One direction of a WebSocket.
#[derive(Debug)]
pub(super) struct Outgoing {
    /// A client's, whose frames have to be masked.
    masks: Option<Masks>,
    /// Whole frames, or the rest of one; for a listener without payload of its caller's.
    pending: BytesMut,
    /// Payload that the frame under way still needs.
    left: usize,
    /// To be said between two frames.
    answer: Option<Answer>,
    is_closed: bool,
}

impl Outgoing {
    pub(super) fn new(role: Role) -> Self {
        Self {
            masks: (role == Role::Client).then(Masks::default),
            pending: BytesMut::new(),
            left: 0,
            answer: None,
            is_closed: false,
        }
    }

    /// Whether something has to be flushed, and can be.
    pub(super) fn has_unsent(&self) -> bool {
        !self.pending.is_empty() || (self.answer.is_some() && self.left == 0)
    }

    /// Whether the peer knows that this is the end, or will when what is pending has left.
    pub(super) fn is_closed(&self) -> bool {
        self.is_closed
    }

    /// Has this said as soon as it can be. A goodbye goes before a pong.
    pub(super) fn answer(&mut self, answer: Answer) {
        if !self.is_closed && !matches!(self.answer, Some(Answer::Close(_))) {
            self.answer = Some(answer);
        }
    }

    /// Has the goodbye said, unless it was.
    pub(super) fn close(&mut self) {
        self.answer(Answer::Close(CloseCode::Normal));
    }

    /// Makes a frame of the answer that is due. A pong waits until nothing else does: who pings and does not read must not
    /// make us hold more and more of them.
    fn take_answer(&mut self) -> io::Result<()> {
        let may_wait = matches!(self.answer, Some(Answer::Pong(_)));
        if self.left > 0 || (may_wait && !self.pending.is_empty()) {
            return Ok(());
        }
        match self.answer.take() {
            Some(Answer::Pong(payload)) => {
                self.add_frame(Control::Pong, &[IoSlice::new(&payload)], payload.len())?;
            }
            Some(Answer::Close(code)) => {
                let code = u16::from(code).to_be_bytes();
                self.add_frame(Control::Close, &[IoSlice::new(&code)], code.len())?;
                self.is_closed = true;
            }
            None => {}
        }
        Ok(())
    }

    /// Writes what was put into frames.
    pub(super) fn poll_pending(
        &mut self,
        inner: &mut Stream,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        loop {
            self.take_answer()?;
            if self.pending.is_empty() {
                break;
            }
            let count = ready!(Pin::new(&mut *inner).poll_write(cx, &self.pending))?;
            if count == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.pending.advance(count);
        }
        // Most of the time nothing is pending, and there are as many of these as there are connections.
        self.pending = BytesMut::new();
        Poll::Ready(Ok(()))
    }

    /// Writes of these pieces what makes one frame, or the rest of one.
    // spec(4): MQTT-6.0.0-1, MQTT-6.0.0-2
    // spec(5): MQTT-6.0.0-1, MQTT-6.0.0-2
    pub(super) fn poll_write(
        &mut self,
        inner: &mut Stream,
        cx: &mut Context<'_>,
        pieces: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.take_answer()?;
        if self.is_closed {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        let pieces = &pieces[..pieces.len().min(PIECES_MAX)];
        let size = pieces.iter().map(|piece| piece.len()).sum::<usize>();
        let size = size.min(PAYLOAD_MAX);
        if size == 0 {
            return Poll::Ready(Ok(0));
        }
        if self.masks.is_none() {
            return self.poll_write_through(inner, cx, pieces, size);
        }
        ready!(self.poll_pending(inner, cx))?;
        self.add_frame(Data::Binary, pieces, size)?;
        // It is taken now: what does not leave at once is flushed.
        if let Poll::Ready(Err(error)) = self.poll_pending(inner, cx) {
            return Poll::Ready(Err(error));
        }
        Poll::Ready(Ok(size))
    }

    /// Writes what is pending, a head where a frame begins, and the pieces, all at once.
    fn poll_write_through(
        &mut self,
        inner: &mut Stream,
        cx: &mut Context<'_>,
        pieces: &[IoSlice<'_>],
        size: usize,
    ) -> Poll<io::Result<usize>> {
        loop {
            let mut head = [0; HEAD_MAX];
            let (head_len, mut room) = match self.left {
                0 => (write_head(&mut head, Data::Binary, size, None)?, size),
                left => (0, left.min(size)),
            };
            let mut out = [IoSlice::new(&[]); PIECES_MAX + 2];
            out[0] = IoSlice::new(&self.pending);
            out[1] = IoSlice::new(&head[..head_len]);
            for (slot, piece) in out[2..].iter_mut().zip(pieces) {
                let count = piece.len().min(room);
                *slot = IoSlice::new(&piece[..count]);
                room -= count;
            }
            let out = &out[..pieces.len() + 2];
            let count = ready!(Pin::new(&mut *inner).poll_write_vectored(cx, out))?;
            if count == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            let of_pending = count.min(self.pending.len());
            self.pending.advance(of_pending);
            let count = count - of_pending;
            let of_head = count.min(head_len);
            if of_head > 0 {
                // Begun, and so to be gone through with.
                self.left = size;
                self.pending.extend_from_slice(&head[of_head..head_len]);
            }
            let written = count - of_head;
            self.left -= written;
            if written > 0 {
                return Poll::Ready(Ok(written));
            }
        }
    }

    fn add_frame(
        &mut self,
        kind: impl Into<Kind>,
        pieces: &[IoSlice<'_>],
        size: usize,
    ) -> io::Result<()> {
        let key = self.masks.as_mut().map(Masks::next).transpose()?;
        let mut head = [0; HEAD_MAX];
        let head_len = write_head(&mut head, kind, size, key)?;
        self.pending.reserve(head_len + size);
        self.pending.extend_from_slice(&head[..head_len]);
        let begin = self.pending.len();
        let mut room = size;
        for piece in pieces {
            let count = piece.len().min(room);
            self.pending.extend_from_slice(&piece[..count]);
            room -= count;
        }
        if let Some(key) = key {
            mask(&mut self.pending[begin..], key, 0);
        }
        Ok(())
    }
}

/// The kinds of frames that are sent.
struct Kind(OpCode);

impl From<Data> for Kind {
    fn from(data: Data) -> Self {
        Self(OpCode::Data(data))
    }
}

impl From<Control> for Kind {
    fn from(control: Control) -> Self {
        Self(OpCode::Control(control))
    }
}

fn write_head(
    head: &mut [u8; HEAD_MAX],
    kind: impl Into<Kind>,
    size: usize,
    mask: Option<[u8; 4]>,
) -> io::Result<usize> {
    let header = FrameHeader {
        opcode: kind.into().0,
        mask,
        ..FrameHeader::default()
    };
    let mut room = &mut head[..];
    header
        .format(size as u64, &mut room)
        .map_err(io::Error::other)?;
    Ok(HEAD_MAX - room.len())
}

/// Keys that nobody can guess, lest what a page has us send could be taken for something else on its way.
#[derive(Debug)]
struct Masks {
    random: [u8; MASKS_BYTES],
    used: usize,
}

impl Default for Masks {
    fn default() -> Self {
        Self {
            random: [0; MASKS_BYTES],
            used: MASKS_BYTES,
        }
    }
}

impl Masks {
    fn next(&mut self) -> io::Result<[u8; 4]> {
        if self.used == MASKS_BYTES {
            getrandom::fill(&mut self.random).map_err(io::Error::other)?;
            self.used = 0;
        }
        let at = self.used;
        self.used += 4;
        Ok(std::array::from_fn(|place| self.random[at + place]))
    }
}
