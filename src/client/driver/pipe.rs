//! Waits for whatever comes first: bytes in, room for bytes out, work, or a deadline. One task, one wait, no halves of a
//! stream: reading goes on while writing is stuck, or two ends that both write would wait for each other for ever.

use crate::client::inbox::READ_BYTES;
use crate::clock::Clock;
use crate::codec::SendBuffer;
use crate::transport::Stream;
use bytes::{Buf, BytesMut};
use std::future::poll_fn;
use std::io;
use std::pin::{Pin, pin};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::Notify;

/// Less room than this is not worth a read.
const READ_ROOM_MIN: usize = 8 << 10;
/// How long the last bytes of a connection may take.
const LAST_WORDS: Duration = Duration::from_secs(1);
/// How long a peer may take to close its side after ours.
const LINGER: Duration = Duration::from_millis(500);
/// As much is read once nothing can be written any more: over what systems hold back for a socket.
const LAST_BYTES_MAX: usize = 16 << 20;

/// What came. Several can come together.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Came {
    pub(super) read: usize,
    pub(super) written: usize,
    pub(super) work: bool,
    pub(super) deadline: bool,
}

impl Came {
    fn is_nothing(self) -> bool {
        self.read == 0 && self.written == 0 && !self.work && !self.deadline
    }
}

/// Waits once. `may_read` is false while the peer has to take answers first.
///
/// # Errors
/// The pipe broke; an end of file is an `UnexpectedEof`. What came before is in `input`, also where writing failed first: a
/// broker that says why it throws us out and closes at once answers what we write with a reset.
pub(super) async fn wait(
    stream: &mut Stream,
    (input, out): (&mut BytesMut, &mut SendBuffer),
    may_read: bool,
    work: &Notify,
    (clock, deadline): (&Clock, Option<Instant>),
) -> io::Result<Came> {
    let mut notified = pin!(work.notified());
    let mut sleep = pin!(clock.sleep_until(deadline.unwrap_or_else(|| clock.never())));
    let came = poll_fn(|cx| {
        let came = Came {
            written: poll_write(stream, out, cx)?,
            read: if may_read {
                poll_read(stream, input, cx)?
            } else {
                0
            },
            work: notified.as_mut().poll(cx).is_ready(),
            deadline: deadline.is_some() && sleep.as_mut().poll(cx).is_ready(),
        };
        if came.is_nothing() {
            Poll::Pending
        } else {
            Poll::Ready(Ok(came))
        }
    })
    .await;
    if came.is_err() {
        hear_out(stream, input, clock).await;
    }
    came
}

/// Reads what a broken pipe still holds, in bounded time.
async fn hear_out(stream: &mut Stream, input: &mut BytesMut, clock: &Clock) {
    let read = async {
        while input.len() < LAST_BYTES_MAX {
            input.reserve(READ_BYTES);
            if !matches!(stream.read_buf(input).await, Ok(1..)) {
                break;
            }
        }
    };
    // Late or not, it is all that there will be.
    clock.timeout_real(LINGER, read).await;
}

fn poll_write(
    stream: &mut Stream,
    out: &mut SendBuffer,
    cx: &mut Context<'_>,
) -> io::Result<usize> {
    let mut written = 0;
    while out.has_remaining() {
        match pin!(stream.write_buf(out)).poll(cx) {
            Poll::Pending => break,
            Poll::Ready(Ok(0)) => return Err(io::ErrorKind::WriteZero.into()),
            Poll::Ready(Ok(count)) => written += count,
            Poll::Ready(Err(error)) => return Err(error),
        }
    }
    // What it has taken and kept, as with encryption.
    if stream.has_unsent()
        && let Poll::Ready(Err(error)) = Pin::new(stream).poll_flush(cx)
    {
        return Err(error);
    }
    Ok(written)
}

fn poll_read(stream: &mut Stream, input: &mut BytesMut, cx: &mut Context<'_>) -> io::Result<usize> {
    if input.capacity() - input.len() < READ_ROOM_MIN {
        input.reserve(READ_BYTES);
    }
    match pin!(stream.read_buf(input)).poll(cx) {
        Poll::Pending => Ok(0),
        Poll::Ready(Ok(0)) => Err(io::ErrorKind::UnexpectedEof.into()),
        Poll::Ready(result) => result,
    }
}

/// Writes what is left and closes, in bounded time. The peer is given a moment to close first: closing a socket with
/// unread bytes would reset it, and a reset can overtake the DISCONNECT.
pub(super) async fn finish(stream: &mut Stream, out: &mut SendBuffer, clock: &Clock) {
    let write = async {
        stream.write_all_buf(out).await?;
        stream.flush().await?;
        stream.shutdown().await
    };
    if !matches!(clock.timeout_real(LAST_WORDS, write).await, Some(Ok(()))) {
        return;
    }
    let drain = async {
        let mut rest = BytesMut::with_capacity(READ_ROOM_MIN);
        while matches!(stream.read_buf(&mut rest).await, Ok(count) if count > 0) {
            rest.clear();
        }
    };
    // Late or not, the pipe is closed when the stream is dropped.
    clock.timeout_real(LINGER, drain).await;
}
