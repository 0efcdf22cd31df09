//! Threads of a broker's own: each connection stays on one for good.
//!
//! A runtime that moves tasks between its threads wakes the others to share out what one of them has found, and for small
//! messages that costs more than the work. So each thread has a scheduler of its own here, and a socket is read, answered
//! and written by one thread only. Connections meet in the hub alone, and one that gets something from another thread is
//! woken by its bell.

use crate::transport::Stream;
use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::JoinHandle;
use tokio::runtime::{Builder, Handle};
use tokio::sync::watch;

/// The threads. Dropping them ends them, and what still runs on them.
#[derive(Debug)]
pub(super) struct Cores {
    handles: Vec<Handle>,
    /// Connections go round.
    next: AtomicUsize,
    stop: watch::Sender<bool>,
    threads: Vec<JoinHandle<()>>,
}

impl Cores {
    /// Starts so many; with none, connections stay on the runtime of the caller.
    pub(super) fn start(count: usize) -> io::Result<Self> {
        let mut cores = Self {
            handles: Vec::with_capacity(count),
            next: AtomicUsize::new(0),
            stop: watch::Sender::new(false),
            threads: Vec::with_capacity(count),
        };
        for number in 0..count {
            let runtime = Builder::new_current_thread().enable_all().build()?;
            let handle = runtime.handle().clone();
            let mut stopped = cores.stop.subscribe();
            let run = move || {
                // An error means that the sender is gone, which is an end too.
                drop(runtime.block_on(stopped.wait_for(|is_over| *is_over)));
                // A password that is being hashed is not waited for.
                runtime.shutdown_background();
            };
            let thread = std::thread::Builder::new().name(format!("rmqtt-core-{number}"));
            cores.threads.push(thread.spawn(run)?);
            cores.handles.push(handle);
        }
        Ok(cores)
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

impl Drop for Cores {
    fn drop(&mut self) {
        self.stop.send_replace(true);
        for thread in self.threads.drain(..) {
            // It has run nothing but tasks, whose panics stay with them.
            drop(thread.join());
        }
    }
}
