//! How much has been read from a pipe, while its peer is a stranger that shakes hands: a handshake holds what has come of it.

use super::Stream;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, ReadBuf};

/// A pipe that counts.
#[derive(Debug)]
pub struct Counted {
    inner: Stream,
    read: Arc<AtomicUsize>,
}

impl Counted {
    pub(super) fn inner(&self) -> &Stream {
        &self.inner
    }

    pub(super) fn pipe(&mut self) -> Pin<&mut Stream> {
        Pin::new(&mut self.inner)
    }

    pub(super) fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        ready!(self.pipe().poll_read(cx, buf))?;
        let count = buf.filled().len() - before;
        self.read.fetch_add(count, Ordering::Relaxed);
        Poll::Ready(Ok(()))
    }
}

impl Stream {
    /// The same pipe, and what counts what is read from it.
    pub fn counted(self) -> (Self, Arc<AtomicUsize>) {
        let read = Arc::<AtomicUsize>::default();
        let counted = Counted {
            inner: self,
            read: Arc::clone(&read),
        };
        (Self::Counted(Box::new(counted)), read)
    }

    /// The same pipe without counting, which is at the bottom of it.
    #[must_use]
    pub fn uncounted(self) -> Self {
        match self {
            Self::Counted(counted) => counted.inner,
            Self::Tls(mut stream) => {
                let inner = stream.inner_mut();
                *inner = inner.take_over().uncounted();
                Self::Tls(stream)
            }
            Self::WebSocket(mut stream) => {
                let inner = stream.inner_mut();
                *inner = inner.take_over().uncounted();
                Self::WebSocket(stream)
            }
            socket => socket,
        }
    }
}
