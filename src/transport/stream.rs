//! One byte pipe, of whatever kind.

use super::counted::Counted;
use super::tls::Encrypted;
use super::websocket::WebSocket;
use super::{Address, Route, memory, tcp};
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// One byte pipe.
#[derive(Debug)]
#[non_exhaustive]
pub enum Stream {
    /// TCP, with `TCP_NODELAY`.
    // spec(4): MQTT-7.1.2-1
    // spec(5): MQTT-4.2.0-1
    Tcp(tokio::net::TcpStream),
    /// In-memory.
    Memory(tokio::io::DuplexStream),
    /// Through a socket in the file system.
    #[cfg(unix)]
    Unix(tokio::net::UnixStream),
    /// Encrypted, within another pipe. On the heap: most connections are not, and must not be larger for it.
    Tls(Box<Encrypted>),
    /// In the frames of a WebSocket, within another pipe; on the heap as well.
    WebSocket(Box<WebSocket>),
    /// While somebody wants to know how much is read from another pipe.
    Counted(Box<Counted>),
}

impl Stream {
    /// Opens a pipe to `address` with nothing on the way: see [`Route::open`].
    ///
    /// # Errors
    /// As of [`Route::open`].
    pub async fn connect(address: &Address) -> io::Result<Self> {
        Route::default().open(address, &mut "").await
    }

    /// What is below everything else on the way to `address`.
    pub(super) async fn plain(address: &Address) -> io::Result<Self> {
        match address {
            Address::Tcp { host, port }
            | Address::Tls { host, port }
            | Address::Ws { host, port, .. }
            | Address::Wss { host, port, .. } => tcp::connect(host, *port).await.map(Self::Tcp),
            #[cfg(unix)]
            Address::Unix { path } => super::unix::connect(path).await.map(Self::Unix),
            #[cfg(not(unix))]
            Address::Unix { .. } => Err(io::ErrorKind::Unsupported.into()),
            Address::Memory { name } => memory::connect(name).await.map(Self::Memory),
        }
    }

    /// Moves it to the runtime of the caller, which sees from now on when it can be read or written.
    ///
    /// # Errors
    /// Of the operating system.
    pub fn adopt(self) -> io::Result<Self> {
        match self {
            Self::Tcp(stream) => tokio::net::TcpStream::from_std(stream.into_std()?).map(Self::Tcp),
            Self::Memory(stream) => Ok(Self::Memory(stream)),
            #[cfg(unix)]
            Self::Unix(stream) => {
                tokio::net::UnixStream::from_std(stream.into_std()?).map(Self::Unix)
            }
            Self::Tls(mut stream) => {
                let inner = stream.inner_mut();
                *inner = inner.take_over().adopt()?;
                Ok(Self::Tls(stream))
            }
            Self::WebSocket(mut stream) => {
                let inner = stream.inner_mut();
                *inner = inner.take_over().adopt()?;
                Ok(Self::WebSocket(stream))
            }
            counted @ Self::Counted(_) => counted.uncounted().adopt(),
        }
    }

    /// Takes it, and leaves one whose other end is gone.
    #[must_use]
    pub fn take_over(&mut self) -> Self {
        let (closed, _) = tokio::io::duplex(1);
        std::mem::replace(self, Self::Memory(closed))
    }

    /// Closes it so that the peer hears of a reset, where there is such a thing: what is under way is lost.
    pub fn reset(self) {
        if let Self::Tcp(stream) = self.bottom() {
            tcp::reset_on_close(stream);
        }
    }

    /// Lets the operating system hold small packets back until those before them are acknowledged, where there is such a
    /// thing: fewer packets, and steps of 40 ms and more in the latency.
    pub fn gather(&self) {
        if let Self::Tcp(stream) = self.bottom() {
            tcp::gather(stream);
        }
    }

    /// Whether it has taken bytes that are not with the operating system yet: then it has to be flushed. A socket never has.
    pub fn has_unsent(&self) -> bool {
        match self {
            Self::Tls(stream) => stream.has_unsent(),
            Self::WebSocket(stream) => stream.has_unsent(),
            Self::Counted(stream) => stream.inner().has_unsent(),
            _ => false,
        }
    }

    /// Whether it has a goodbye of its own that the peer waits for, whatever was said before: then it has to be shut down, and
    /// not just dropped.
    pub fn owes_goodbye(&self) -> bool {
        match self {
            Self::WebSocket(stream) => stream.owes_goodbye(),
            Self::Counted(stream) => stream.inner().owes_goodbye(),
            _ => false,
        }
    }

    /// The pipe that is within no other.
    fn bottom(&self) -> &Self {
        match self {
            Self::Tls(stream) => stream.inner().bottom(),
            Self::WebSocket(stream) => stream.inner().bottom(),
            Self::Counted(stream) => stream.inner().bottom(),
            socket => socket,
        }
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_read(cx, buf),
            Self::Memory(stream) => Pin::new(stream).poll_read(cx, buf),
            #[cfg(unix)]
            Self::Unix(stream) => Pin::new(stream).poll_read(cx, buf),
            Self::Tls(stream) => stream.poll_read(cx, buf),
            Self::WebSocket(stream) => stream.poll_read(cx, buf),
            Self::Counted(stream) => stream.poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_write(cx, buf),
            Self::Memory(stream) => Pin::new(stream).poll_write(cx, buf),
            #[cfg(unix)]
            Self::Unix(stream) => Pin::new(stream).poll_write(cx, buf),
            Self::Tls(stream) => stream.pipe().poll_write(cx, buf),
            Self::WebSocket(stream) => stream.poll_write(cx, &[IoSlice::new(buf)]),
            Self::Counted(stream) => stream.pipe().poll_write(cx, buf),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
            Self::Memory(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
            #[cfg(unix)]
            Self::Unix(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
            Self::Tls(stream) => stream.pipe().poll_write_vectored(cx, bufs),
            Self::WebSocket(stream) => stream.poll_write(cx, bufs),
            Self::Counted(stream) => stream.pipe().poll_write_vectored(cx, bufs),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Self::Tcp(stream) => stream.is_write_vectored(),
            Self::Memory(stream) => stream.is_write_vectored(),
            #[cfg(unix)]
            Self::Unix(stream) => stream.is_write_vectored(),
            Self::Tls(_) | Self::WebSocket(_) => true,
            Self::Counted(stream) => stream.inner().is_write_vectored(),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_flush(cx),
            Self::Memory(stream) => Pin::new(stream).poll_flush(cx),
            #[cfg(unix)]
            Self::Unix(stream) => Pin::new(stream).poll_flush(cx),
            Self::Tls(stream) => stream.pipe().poll_flush(cx),
            Self::WebSocket(stream) => stream.poll_flush(cx),
            Self::Counted(stream) => stream.pipe().poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Memory(stream) => Pin::new(stream).poll_shutdown(cx),
            #[cfg(unix)]
            Self::Unix(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Tls(stream) => stream.pipe().poll_shutdown(cx),
            Self::WebSocket(stream) => stream.poll_shutdown(cx),
            Self::Counted(stream) => stream.pipe().poll_shutdown(cx),
        }
    }
}
