//! TCP: how sockets are opened here, both ways. Nothing is read or written in this file.

use super::race::{interleaved, race};
use socket2::{Domain, Protocol, SockRef, Socket, Type};
use std::io;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream, lookup_host};

/// Connections that the operating system completes before they are accepted. Fleets come back at once after a restart.
const BACKLOG: i32 = 1024;

/// Resolves the name and races its addresses: see `race`. How long all of it may take is the caller's to say.
pub(super) async fn connect(host: &str, port: u16) -> io::Result<TcpStream> {
    let addresses = interleaved(lookup_host((host, port)).await?);
    let stream = race(addresses, TcpStream::connect)
        .await
        .unwrap_or_else(|| Err(nothing_resolved(host)))?;
    tune(&stream);
    Ok(stream)
}

/// Binds the first address the name resolves to that can be bound.
pub(super) async fn bind(host: &str, port: u16) -> io::Result<TcpListener> {
    let mut failure = None;
    for address in lookup_host((host, port)).await? {
        match listen(address) {
            Ok(listener) => return Ok(listener),
            Err(error) => failure = Some(error),
        }
    }
    Err(failure.unwrap_or_else(|| nothing_resolved(host)))
}

/// Small packets must not wait for each other's acknowledgements: batches are made above, by whole writes.
pub(super) fn tune(stream: &TcpStream) {
    // A socket that refuses the option still carries every byte, only later.
    let _ = SockRef::from(stream).set_tcp_nodelay(true);
}

/// Lets small packets wait for each other after all.
pub(super) fn gather(stream: &TcpStream) {
    let _ = SockRef::from(stream).set_tcp_nodelay(false);
}

/// When the socket is closed, its peer gets a reset instead of an end.
pub(super) fn reset_on_close(stream: &TcpStream) {
    // Where that cannot be had it is closed all the same.
    let _ = SockRef::from(stream).set_linger(Some(Duration::ZERO));
}

fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(
        Domain::for_address(address),
        Type::STREAM,
        Some(Protocol::TCP),
    )?;
    // On Unix this lets a restarted broker take its port while old connections linger; elsewhere it would let two
    // listeners share one port.
    #[cfg(unix)]
    socket.set_reuse_address(true)?;
    if address.is_ipv6() {
        // Systems and their settings differ in what is usual. All addresses are those of IPv4 too, one is itself.
        socket.set_only_v6(!address.ip().is_unspecified())?;
    }
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    TcpListener::from_std(socket.into())
}

pub(super) fn nothing_resolved(host: &str) -> io::Error {
    io::Error::new(
        io::ErrorKind::NotFound,
        format!("the name {host} has no address"),
    )
}
