//! Publishes that found the outbound queue full: they wait here, in order, until there is room.
//!
//! One task at a time moves them on. While any waits, later ones wait behind it, so that the order of the program is the
//! order on the wire. Bounded: a program that never awaits is told so by `QueueFull`.

use super::bridge::{Remote, runtime};
use super::errors::Failure;
use super::outcome::Outcome;
use crate::client::{Answer, Client, ClientError, Done, Published, TryPublish};
use crate::message::{Message, QoS};
use parking_lot::Mutex;
use pyo3::prelude::*;
use std::collections::VecDeque;
use std::sync::Arc;

const MESSAGES_MAX: usize = 1 << 20;
const BYTES_MAX: usize = 256 << 20;

#[derive(Default)]
struct Waiting {
    entries: VecDeque<(Message, Remote)>,
    bytes: usize,
    is_moving: bool,
}

/// The waiting publishes of one client.
#[derive(Default)]
pub(crate) struct Backlog {
    waiting: Mutex<Waiting>,
}

impl Backlog {
    /// Whether any publish waits, so that the next must wait too.
    pub(crate) fn is_empty(&self) -> bool {
        self.waiting.lock().entries.is_empty()
    }

    /// Puts a publish behind the others.
    ///
    /// # Errors
    /// Too many wait.
    pub(crate) fn push(
        self: &Arc<Self>,
        py: Python<'_>,
        client: &Client,
        message: Message,
        remote: Remote,
    ) -> PyResult<()> {
        let runtime = runtime()?;
        let size = message.size();
        let refused = {
            let mut waiting = self.waiting.lock();
            if waiting.entries.len() >= MESSAGES_MAX || waiting.bytes + size > BYTES_MAX {
                Some(remote)
            } else {
                waiting.bytes += size;
                waiting.entries.push_back((message, remote));
                if waiting.is_moving {
                    return Ok(());
                }
                waiting.is_moving = true;
                None
            }
        };
        if let Some(remote) = refused {
            drop(remote);
            return Err(Failure::BacklogFull.to_py(py));
        }
        runtime.spawn(Arc::clone(self).move_on(client.clone()));
        Ok(())
    }

    async fn move_on(self: Arc<Self>, client: Client) {
        loop {
            if let Err(error) = client.room().await {
                self.fail_all(&error);
                return;
            }
            while let Some((message, remote)) = self.next() {
                // Whoever gave up before it was on its way takes it back.
                if remote.is_cancelled() {
                    continue;
                }
                if let Some((message, remote)) = submit(&client, message, remote) {
                    self.put_back(message, remote);
                    break;
                }
            }
            let mut waiting = self.waiting.lock();
            if waiting.entries.is_empty() {
                waiting.is_moving = false;
                return;
            }
        }
    }

    fn next(&self) -> Option<(Message, Remote)> {
        let mut waiting = self.waiting.lock();
        let (message, remote) = waiting.entries.pop_front()?;
        waiting.bytes -= message.size();
        Some((message, remote))
    }

    fn put_back(&self, message: Message, remote: Remote) {
        let mut waiting = self.waiting.lock();
        waiting.bytes += message.size();
        waiting.entries.push_front((message, remote));
    }

    fn fail_all(&self, error: &ClientError) {
        let entries = {
            let mut waiting = self.waiting.lock();
            waiting.bytes = 0;
            waiting.is_moving = false;
            std::mem::take(&mut waiting.entries)
        };
        for (_, remote) in entries {
            remote.complete(Outcome::Failed(error.clone().into()));
        }
    }
}

/// What tells an operation how its publish ended.
pub(crate) fn done(remote: Remote) -> Done<Published> {
    Box::new(remote)
}

impl Answer<Published> for Remote {
    fn is_wanted(&self) -> bool {
        !self.is_cancelled()
    }

    fn answer(self: Box<Self>, outcome: Result<Published, ClientError>) {
        self.complete(outcome.into());
    }
}

/// A remote that can be had back when the queue is full.
struct Lent(Arc<Mutex<Option<Remote>>>);

impl Answer<Published> for Lent {
    fn is_wanted(&self) -> bool {
        self.0
            .lock()
            .as_ref()
            .is_some_and(|remote| !remote.is_cancelled())
    }

    fn answer(self: Box<Self>, outcome: Result<Published, ClientError>) {
        let remote = self.0.lock().take();
        if let Some(remote) = remote {
            remote.complete(outcome.into());
        }
    }
}

/// Tries once on the network's side; gives everything back when the queue is full.
fn submit(client: &Client, message: Message, remote: Remote) -> Option<(Message, Remote)> {
    let slot = Arc::new(Mutex::new(Some(remote)));
    let take = || slot.lock().take();
    let needs_done = message.qos != QoS::AtMostOnce;
    let done = needs_done.then(|| -> Done<Published> { Box::new(Lent(Arc::clone(&slot))) });
    match client.try_publish(message, done) {
        Ok(TryPublish::Queued) => {
            if !needs_done && let Some(remote) = take() {
                remote.complete(Outcome::published());
            }
            None
        }
        Ok(TryPublish::Full(message, _)) => take().map(|remote| (message, remote)),
        Err(error) => {
            if let Some(remote) = take() {
                remote.complete(Outcome::Failed(error.into()));
            }
            None
        }
    }
}
