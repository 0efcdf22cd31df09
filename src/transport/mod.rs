//! Byte pipes: TCP and in-memory; nothing of MQTT.
//!
//! [`Address`] says where, [`Listener`] and [`Stream`] are closed enums with an arm for each kind of pipe. How an address
//! is read is in `address`, how sockets are opened in `tcp`, which of a name's addresses gets the connection in `race`,
//! and the names inside this process in `memory`.

mod address;
mod elsewhere;
mod memory;
mod race;
mod tcp;
#[cfg(test)]
mod tests;

pub use memory::MemoryListener;

use crate::clock::Clock;
use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Where to listen or to connect.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Address {
    /// `mqtt://host:port`. Port 0, for a listener: any free one.
    Tcp {
        /// A name or an IP address (IPv6 without brackets).
        host: String,
        /// 1883 where the URL has none.
        port: u16,
    },
    /// `mem://name`: inside this process, by name.
    Memory {
        /// The name it was bound under.
        name: String,
    },
}

/// Why a text is not an address. The message is fit for users.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct AddressError(pub String);

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
}

impl Stream {
    /// Opens a pipe to `address`. The IP addresses that a name resolves to are raced, IPv6 against IPv4.
    ///
    /// # Errors
    /// Of the operating system; `NotFound` for an in-memory name that nobody has bound.
    pub async fn connect(address: &Address) -> io::Result<Self> {
        match address {
            Address::Tcp { host, port } => tcp::connect(host, *port).await.map(Self::Tcp),
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
        if let Self::Tcp(stream) = &self {
            tcp::reset_on_close(stream);
        }
    }

    /// Lets the operating system hold small packets back until those before them are acknowledged, where there is such a
    /// thing: fewer packets, and steps of 40 ms and more in the latency.
    pub fn gather(&self) {
        if let Self::Tcp(stream) = self {
            tcp::gather(stream);
        }
    }

    /// The peer's network address, if it has one.
    pub fn peer_address(&self) -> Option<SocketAddr> {
        match self {
            Self::Tcp(stream) => stream.peer_addr().ok(),
            Self::Memory(_) => None,
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
        }
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Self::Tcp(stream) => stream.is_write_vectored(),
            Self::Memory(stream) => stream.is_write_vectored(),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_flush(cx),
            Self::Memory(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Memory(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}

/// The clock of whoever listens at this address, if it is in this process: both ends of a pipe in memory live in the same
/// hour.
pub fn clock(address: &Address) -> Option<Clock> {
    match address {
        Address::Tcp { .. } => None,
        Address::Memory { name } => memory::clock(name),
    }
}

/// Takes incoming pipes at one address.
#[derive(Debug)]
#[non_exhaustive]
pub enum Listener {
    /// TCP.
    Tcp(tokio::net::TcpListener),
    /// In-memory; the name is free again when this is dropped.
    Memory(MemoryListener),
}

impl Listener {
    /// Binds `address`.
    ///
    /// # Errors
    /// Of the operating system; `AddrInUse` for an in-memory name that is taken.
    pub async fn bind(address: &Address) -> io::Result<Self> {
        Self::bind_at(address, &Clock::default()).await
    }

    /// Binds `address` where it may be another hour: see [`clock`].
    ///
    /// # Errors
    /// As [`Listener::bind`].
    pub async fn bind_at(address: &Address, clock: &Clock) -> io::Result<Self> {
        match address {
            Address::Tcp { host, port } => tcp::bind(host, *port).await.map(Self::Tcp),
            Address::Memory { name } => MemoryListener::bind(name, clock).map(Self::Memory),
        }
    }

    /// Where it really listens: with the port that was chosen for port 0.
    ///
    /// # Errors
    /// Of the operating system.
    pub fn address(&self) -> io::Result<Address> {
        match self {
            Self::Tcp(listener) => listener.local_addr().map(|address| Address::Tcp {
                host: address.ip().to_string(),
                port: address.port(),
            }),
            Self::Memory(listener) => Ok(Address::Memory {
                name: listener.name().to_owned(),
            }),
        }
    }

    /// The next incoming pipe. Cancelling the wait loses none.
    ///
    /// # Errors
    /// Of the operating system.
    pub async fn accept(&self) -> io::Result<Stream> {
        match self {
            Self::Tcp(listener) => {
                let (stream, _) = listener.accept().await?;
                tcp::tune(&stream);
                Ok(Stream::Tcp(stream))
            }
            Self::Memory(listener) => listener.accept().await.map(Stream::Memory),
        }
    }
}
