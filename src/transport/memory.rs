//! In-memory pipes, by name, inside this process.
//!
//! Owns the registry from names to listeners: the one lock of this room, held for a map operation. A pipe holds at most
//! [`PIPE_BYTES`] each way and a listener at most [`BACKLOG`] pipes that were not accepted, so that a stalled reader
//! stalls its writer just as a socket would.

use crate::clock::Clock;
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::io;
use tokio::io::DuplexStream;
use tokio::sync::mpsc;

/// Bytes under way in one direction.
const PIPE_BYTES: usize = 64 << 10;
/// Pipes that wait to be accepted.
const BACKLOG: usize = 1024;

/// Who listens under a name, and the clock of those who connect there.
struct Bound {
    sender: mpsc::Sender<DuplexStream>,
    clock: Clock,
}

static BOUND: Mutex<BTreeMap<String, Bound>> = Mutex::new(BTreeMap::new());

/// Takes in-memory pipes under one name; dropping it frees the name.
#[derive(Debug)]
pub struct MemoryListener {
    name: String,
    // Accepting takes `&self`, as a socket's does, and a cancelled wait must not lose a pipe: `recv` is cancel-safe
    // and the lock, which is tokio's, is given back with the future.
    incoming: tokio::sync::Mutex<mpsc::Receiver<DuplexStream>>,
}

impl MemoryListener {
    pub(super) fn bind(name: &str, clock: &Clock) -> io::Result<Self> {
        let (sender, incoming) = mpsc::channel(BACKLOG);
        let mut bound = BOUND.lock();
        if bound.contains_key(name) {
            return Err(io::Error::new(
                io::ErrorKind::AddrInUse,
                format!("mem://{name} is bound already"),
            ));
        }
        let clock = clock.clone();
        bound.insert(name.to_owned(), Bound { sender, clock });
        drop(bound);
        Ok(Self {
            name: name.to_owned(),
            incoming: tokio::sync::Mutex::new(incoming),
        })
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    pub(super) async fn accept(&self) -> io::Result<DuplexStream> {
        // The registry holds the sender for as long as this listener lives, so `None` cannot come while it waits.
        self.incoming
            .lock()
            .await
            .recv()
            .await
            .ok_or_else(|| io::Error::from(io::ErrorKind::NotConnected))
    }
}

impl Drop for MemoryListener {
    fn drop(&mut self) {
        let bound = BOUND.lock().remove(&self.name);
        drop(bound);
    }
}

pub(super) fn clock(name: &str) -> Option<Clock> {
    BOUND.lock().get(name).map(|bound| bound.clock.clone())
}

pub(super) async fn connect(name: &str) -> io::Result<DuplexStream> {
    let sender = BOUND.lock().get(name).map(|bound| bound.sender.clone());
    let sender = sender.ok_or_else(|| {
        io::Error::new(
            io::ErrorKind::NotFound,
            format!("nobody has bound mem://{name} in this process"),
        )
    })?;
    let (ours, theirs) = tokio::io::duplex(PIPE_BYTES);
    match sender.send(theirs).await {
        Ok(()) => Ok(ours),
        Err(_) => Err(io::Error::new(
            io::ErrorKind::ConnectionRefused,
            format!("mem://{name} was closed"),
        )),
    }
}
