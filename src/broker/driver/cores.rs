//! Threads of a broker's own: each connection stays on one for good.
//!
//! A runtime that moves tasks between its threads wakes the others to share out what one of them has found, and for small
//! messages that costs more than the work. So each thread has a scheduler of its own here, and a socket is read, answered
//! and written by one thread only. Connections meet in the hub alone, and one that gets something from another thread is
//! woken by its bell.

use crate::transport::Stream;
use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::runtime::{Builder, Handle};
use tokio::sync::watch;
use tokio::task::JoinSet;

/// The threads. Dropping this ends them, and what still runs on them.
#[derive(Debug)]
pub(super) struct Cores {
    handles: Vec<Handle>,
    /// Connections go round.
    next: AtomicUsize,
    /// Nothing is ever sent: when it is gone, the threads are done.
    end: watch::Sender<()>,
}

impl Cores {
    /// Starts so many, and says when they have ended; with none, connections stay on the runtime of the caller. The threads
    /// are that runtime's too, made as it makes its own: signals go where it wants them.
    pub(super) fn start(count: usize) -> io::Result<(Self, JoinSet<()>)> {
        let mut cores = Self {
            handles: Vec::with_capacity(count),
            next: AtomicUsize::new(0),
            end: watch::Sender::default(),
        };
        let mut threads = JoinSet::new();
        for _ in 0..count {
            let runtime = Builder::new_current_thread().enable_all().build()?;
            cores.handles.push(runtime.handle().clone());
            let mut end = cores.end.subscribe();
            threads.spawn_blocking(move || {
                while runtime.block_on(end.changed()).is_ok() {}
                // A password that is being hashed is not waited for.
                runtime.shutdown_background();
            });
        }
        Ok((cores, threads))
    }

    /// Where the next connection goes; `None`: where the caller is. What is in memory stays with its other end.
    pub(super) fn place(&self, stream: &Stream) -> Option<&Handle> {
        if matches!(stream, Stream::Memory(_)) || self.handles.is_empty() {
            return None;
        }
        let next = self.next.fetch_add(1, Ordering::Relaxed);
        self.handles.get(next % self.handles.len())
    }
}
