//! The encrypted pipe, once hands are shaken.
//!
//! What is written is the business of tokio-rustls: one call of ours makes as few records as hold it, and one system call.
//! Reading is done here. A peer that makes a record of every packet, as most clients do, must not cost a turn of its
//! connection and a write to its subscribers for each: a call gives the payload of as many records as have come and fit.

#[cfg(test)]
mod tests;

use super::words;
use crate::transport::Stream;
use std::cell::RefCell;
use std::io::{self, BufRead};
use std::ops::DerefMut;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_rustls::TlsStream;
use tokio_rustls::rustls::{ConnectionCommon, SideData};

/// Encrypted bytes that are read at once, at least and at most.
const READ_MIN: usize = 4 << 10;
const READ_MAX: usize = 32 << 10;

thread_local! {
    /// What is read here stays for no longer than it takes to decrypt it.
    static ASIDE: RefCell<Box<[u8]>> = RefCell::new(vec![0; READ_MAX].into());
}

/// An encrypted pipe within another one.
#[derive(Debug)]
pub struct Encrypted {
    stream: TlsStream<Stream>,
    /// What was read and would, decrypted, have found no room.
    ahead: Vec<u8>,
    /// Why nothing more can be read, where something could before.
    failed: Option<io::Error>,
}

impl Encrypted {
    pub(super) fn new(stream: impl Into<TlsStream<Stream>>) -> Self {
        Self {
            stream: stream.into(),
            ahead: Vec::new(),
            failed: None,
        }
    }

    pub(in crate::transport) fn inner(&self) -> &Stream {
        self.stream.get_ref().0
    }

    pub(in crate::transport) fn inner_mut(&mut self) -> &mut Stream {
        self.stream.get_mut().0
    }

    /// Whether something was taken that is not written yet.
    pub(in crate::transport) fn has_unsent(&self) -> bool {
        self.stream.get_ref().1.wants_write()
    }

    /// What is to be written goes here.
    pub(in crate::transport) fn pipe(&mut self) -> Pin<&mut TlsStream<Stream>> {
        Pin::new(&mut self.stream)
    }

    pub(in crate::transport) fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if let Some(error) = self.failed.take() {
            return Poll::Ready(Err(error));
        }
        let before = buf.filled().len();
        let ahead = &mut self.ahead;
        let read = match &mut self.stream {
            TlsStream::Client(stream) => {
                let (inner, connection) = stream.get_mut();
                let read = poll_fill(inner, connection, ahead, cx, buf);
                read.map_err(|error| part(inner, connection, cx, error))
            }
            TlsStream::Server(stream) => {
                let (inner, connection) = stream.get_mut();
                let read = poll_fill(inner, connection, ahead, cx, buf);
                read.map_err(|error| part(inner, connection, cx, error))
            }
        };
        let has_come = buf.filled().len() > before;
        let Poll::Ready(Err(error)) = read else {
            return if has_come { Poll::Ready(Ok(())) } else { read };
        };
        let error = words::refused_late(&error).unwrap_or(error);
        if has_come {
            self.failed = Some(error);
            return Poll::Ready(Ok(()));
        }
        Poll::Ready(Err(error))
    }
}

/// Reads until there is no room, or no more has come.
fn poll_fill<C, D>(
    inner: &mut Stream,
    connection: &mut C,
    ahead: &mut Vec<u8>,
    cx: &mut Context<'_>,
    buf: &mut ReadBuf<'_>,
) -> Poll<io::Result<()>>
where
    C: DerefMut<Target = ConnectionCommon<D>>,
    D: SideData,
{
    let mut has_ended = drain(connection, buf)?;
    while !has_ended && buf.remaining() > 0 {
        if !ahead.is_empty() {
            let (taken, ended) = feed(connection, ahead, buf)?;
            ahead.drain(..taken);
            has_ended = ended;
            continue;
        }
        // There are as many of these as there are connections.
        *ahead = Vec::new();
        let size = buf.remaining().clamp(READ_MIN, READ_MAX);
        has_ended = ready!(ASIDE.with_borrow_mut(|aside| {
            let mut came = ReadBuf::new(&mut aside[..size]);
            ready!(Pin::new(&mut *inner).poll_read(cx, &mut came))?;
            let (taken, ended) = feed(connection, came.filled(), buf)?;
            ahead.extend_from_slice(&came.filled()[taken..]);
            Poll::Ready(io::Result::Ok(ended))
        }))?;
    }
    Poll::Ready(Ok(()))
}

/// Tells the peer what is wrong, if it listens; nothing else can be written any more.
fn part<D: SideData>(
    inner: &mut Stream,
    connection: &mut ConnectionCommon<D>,
    cx: &mut Context<'_>,
    error: io::Error,
) -> io::Error {
    let mut last_words = Vec::new();
    while connection.wants_write() && connection.write_tls(&mut last_words).is_ok() {}
    let _ = Pin::new(inner).poll_write(cx, &last_words);
    error
}

/// Decrypts what has come, nothing being the end, and hands it out while there is room. Says how much was taken, and whether
/// nothing more will come.
fn feed<D: SideData>(
    connection: &mut ConnectionCommon<D>,
    came: &[u8],
    buf: &mut ReadBuf<'_>,
) -> io::Result<(usize, bool)> {
    let mut rest = came;
    loop {
        let count = connection.read_tls(&mut rest)?;
        let processed = connection.process_new_packets();
        // What was said before counts, whatever came behind it.
        let has_ended = drain(connection, buf)?;
        processed.map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
        if has_ended || count == 0 {
            return Ok((came.len(), has_ended));
        }
        if rest.is_empty() || buf.remaining() == 0 {
            return Ok((came.len() - rest.len(), false));
        }
    }
}

/// Hands out what is decrypted, as much as there is room for. Says whether the peer has said that nothing more will come.
fn drain<D: SideData>(
    connection: &mut ConnectionCommon<D>,
    buf: &mut ReadBuf<'_>,
) -> io::Result<bool> {
    while buf.remaining() > 0 {
        let mut reader = connection.reader();
        let chunk = match reader.fill_buf() {
            Ok([]) => return Ok(true),
            Ok(chunk) => chunk,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
            Err(error) => return Err(error),
        };
        let count = chunk.len().min(buf.remaining());
        buf.put_slice(&chunk[..count]);
        reader.consume(count);
    }
    Ok(false)
}
