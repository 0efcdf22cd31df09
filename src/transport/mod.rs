//! Byte pipes: TCP, TLS, WebSocket, Unix sockets and in-memory; nothing of MQTT.
//!
//! [`Address`] says where, [`Listener`] and [`Stream`] are closed enums with an arm for each kind of pipe. How an address
//! is read is in `address`, how sockets are opened in `tcp` and `unix`, which of a name's addresses gets the connection in
//! `race`, and the names inside this process in `memory`. What lies on top of a socket is put there by a client's
//! [`Route`] and a listener's [`Gate`]: encryption in `tls`, frames in `websocket`, the way through a [`Proxy`] in `proxy`,
//! what proxies before a listener say in `forwarded`. What is known of a peer by then is in `peer`, and how much it has said
//! in `counted`.
//! `certificates` makes some for tests.

mod address;
mod certificates;
mod counted;
mod elsewhere;
mod forwarded;
mod gate;
mod memory;
mod peer;
mod proxy;
mod race;
mod route;
mod stream;
mod tcp;
#[cfg(test)]
mod tests;
mod tls;
#[cfg(unix)]
mod unix;
mod websocket;

pub use certificates::{Certificates, Issued};
pub use counted::Counted;
pub use forwarded::Forwarders;
pub use gate::Gate;
pub use memory::MemoryListener;
pub use peer::{CertificateName, PeerCertificate, PeerInfo};
pub use proxy::Proxy;
pub use route::{Route, mistaken};
pub use stream::Stream;
pub use tls::{
    Encrypted, Source, TlsClient, TlsError, TlsOptions, TlsRenewed, TlsServer, TlsVersion,
};
#[cfg(unix)]
pub use unix::UnixListener;
pub use websocket::{Headers, Origins, WebSocket};

use crate::clock::Clock;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

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
    /// `mqtts://host:port`: the same, encrypted.
    Tls {
        /// As of `Tcp`.
        host: String,
        /// 8883 where the URL has none.
        port: u16,
    },
    /// `ws://host:port/path`: WebSocket.
    Ws {
        /// As of `Tcp`.
        host: String,
        /// 80 where the URL has none.
        port: u16,
        /// With its slash, and what follows a question mark. Empty where the URL has none: for a listener any, for a client
        /// `/mqtt`.
        path: String,
    },
    /// `wss://host:port/path`: the same, encrypted.
    Wss {
        /// As of `Tcp`.
        host: String,
        /// 443 where the URL has none.
        port: u16,
        /// As of `Ws`.
        path: String,
    },
    /// `unix:///path`: a socket in the file system.
    Unix {
        /// Absolute.
        path: PathBuf,
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

/// The clock of whoever listens at this address, if it is in this process: both ends of a pipe in memory live in the same
/// hour.
pub fn clock(address: &Address) -> Option<Clock> {
    match address {
        Address::Memory { name } => memory::clock(name),
        _ => None,
    }
}

/// Takes incoming pipes at one address, as they are: what they have to pass is a [`Gate`]'s to say.
#[derive(Debug)]
#[non_exhaustive]
pub enum Listener {
    /// TCP, whatever lies on top of it, and the address that it was bound for.
    Tcp(tokio::net::TcpListener, Address),
    /// Unix sockets; the file is gone when this is dropped.
    #[cfg(unix)]
    Unix(UnixListener),
    /// In-memory; the name is free again when this is dropped.
    Memory(MemoryListener),
}

impl Listener {
    /// Binds `address`.
    ///
    /// # Errors
    /// Of the operating system; `AddrInUse` for an in-memory name that is taken.
    pub async fn bind(address: &Address) -> io::Result<Self> {
        Self::bind_at(address, &Clock::default(), &Gate::default()).await
    }

    /// Binds `address` where it may be another hour (see [`clock`]), with a socket file as the gate says.
    ///
    /// # Errors
    /// As [`Listener::bind`].
    pub async fn bind_at(address: &Address, clock: &Clock, gate: &Gate) -> io::Result<Self> {
        let (host, port) = match address {
            Address::Memory { name } => {
                return MemoryListener::bind(name, clock).map(Self::Memory);
            }
            #[cfg(unix)]
            Address::Unix { path } => {
                return UnixListener::bind(path, gate.socket_mode).map(Self::Unix);
            }
            #[cfg(not(unix))]
            Address::Unix { .. } => return Err(io::ErrorKind::Unsupported.into()),
            Address::Tcp { host, port }
            | Address::Tls { host, port }
            | Address::Ws { host, port, .. }
            | Address::Wss { host, port, .. } => (host, port),
        };
        let listener = tcp::bind(host, *port).await?;
        Ok(Self::Tcp(listener, address.clone()))
    }

    /// Where it really listens: with the port that was chosen for port 0.
    ///
    /// # Errors
    /// Of the operating system.
    pub fn address(&self) -> io::Result<Address> {
        match self {
            Self::Tcp(listener, address) => Ok(address.at(listener.local_addr()?)),
            #[cfg(unix)]
            Self::Unix(listener) => Ok(Address::Unix {
                path: listener.path().to_owned(),
            }),
            Self::Memory(listener) => Ok(Address::Memory {
                name: listener.name().to_owned(),
            }),
        }
    }

    /// The next incoming pipe, and the peer's network address, if it has one: one of IPv4 as such, also where the socket
    /// speaks both. Cancelling the wait loses none.
    ///
    /// # Errors
    /// Of the operating system.
    pub async fn accept(&self) -> io::Result<(Stream, Option<SocketAddr>)> {
        match self {
            Self::Tcp(listener, _) => {
                // Not to be asked of the socket later: it does not know any more when its peer has reset the connection,
                // and what the peer said before can be read all the same.
                let (stream, from) = listener.accept().await?;
                tcp::tune(&stream);
                let from = SocketAddr::new(from.ip().to_canonical(), from.port());
                Ok((Stream::Tcp(stream), Some(from)))
            }
            #[cfg(unix)]
            Self::Unix(listener) => Ok((Stream::Unix(listener.accept().await?), None)),
            Self::Memory(listener) => Ok((Stream::Memory(listener.accept().await?), None)),
        }
    }
}
