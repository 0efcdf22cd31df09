//! Byte pipes: TCP and in-memory; nothing of MQTT.
//!
//! [`Address`] says where, [`Listener`] and [`Stream`] are closed enums with an arm for each kind of pipe.

use std::io;
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

impl Address {
    /// Reads `mqtt://host[:port]`, `tcp://…` (the same), `mem://name`, or a bare `host[:port]`.
    ///
    /// # Errors
    /// The scheme is not spoken here, or the text is no address.
    pub fn parse(text: &str) -> Result<Self, AddressError> {
        let _ = text;
        todo!()
    }
}

impl std::fmt::Display for Address {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let _ = f;
        todo!()
    }
}

/// One byte pipe.
#[derive(Debug)]
#[non_exhaustive]
pub enum Stream {
    /// TCP, with `TCP_NODELAY`.
    Tcp(tokio::net::TcpStream),
    /// In-memory.
    Memory(tokio::io::DuplexStream),
}

impl Stream {
    /// Opens a pipe to `address`: each resolved IP address in turn.
    ///
    /// # Errors
    /// Of the operating system; `NotFound` for an in-memory name that nobody has bound.
    pub async fn connect(address: &Address) -> io::Result<Self> {
        let _ = address;
        todo!()
    }

    /// The peer's network address, if it has one.
    pub fn peer_address(&self) -> Option<SocketAddr> {
        todo!()
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let _ = (cx, buf);
        todo!()
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let _ = (cx, buf);
        todo!()
    }
    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let _ = cx;
        todo!()
    }
    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let _ = cx;
        todo!()
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

/// Placeholder for `memory.rs`.
#[derive(Debug)]
pub struct MemoryListener {
    _todo: (),
}

impl Listener {
    /// Binds `address`.
    ///
    /// # Errors
    /// Of the operating system; `AddrInUse` for an in-memory name that is taken.
    pub async fn bind(address: &Address) -> io::Result<Self> {
        let _ = address;
        todo!()
    }

    /// Where it really listens: with the port that was chosen for port 0.
    ///
    /// # Errors
    /// Of the operating system.
    pub fn address(&self) -> io::Result<Address> {
        todo!()
    }

    /// The next incoming pipe. Cancelling the wait loses none.
    ///
    /// # Errors
    /// Of the operating system.
    pub async fn accept(&self) -> io::Result<Stream> {
        todo!()
    }
}
