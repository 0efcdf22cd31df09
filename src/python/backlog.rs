//! Publishes that found the outbound queue full: they wait here, in order, until there is room.
//!
//! One task at a time moves them on. While any waits, later ones wait behind it, so that the order of the program is the
//! order on the wire. Bounded: a program that never awaits is told so by `QueueFull`. Those who must know when all that was
//! published before them has left, a drain and a clean close, wait here too, as a mark among the messages.

use super::bridge::{Remote, reply, runtime};
use super::errors::Failure;
use super::outcome::Outcome;
use crate::client::{Answer, Client, ClientError, Done, Published, TryPublish};
use crate::message::{Message, QoS};
use parking_lot::Mutex;
use pyo3::prelude::*;
use std::collections::VecDeque;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

const MESSAGES_MAX: usize = 1 << 20;
const BYTES_MAX: usize = 256 << 20;

enum Entry {
    Publish(Message, Publisher),
    /// Called when all entries before it have left; dropped when they never will.
    Mark(Box<dyn FnOnce(()) + Send>),
}

#[derive(Default)]
struct Waiting {
    entries: VecDeque<Entry>,
    bytes: usize,
    /// A task is at work here. It may have the only entry in its hands, so no entries does not mean that none waits.
    is_moving: bool,
}

/// The waiting publishes of one client.
#[derive(Default)]
pub(crate) struct Backlog {
    waiting: Mutex<Waiting>,
    leaves_cleanly: Arc<AtomicBool>,
}

impl Backlog {
    /// Whether no publish waits; otherwise the next must wait too.
    pub(crate) fn is_empty(&self) -> bool {
        !self.waiting.lock().is_moving
    }

    /// From now on, a message that the client's end overtakes was to be delivered, and is worth a report.
    pub(crate) fn leave_cleanly(&self) {
        self.leaves_cleanly.store(true, Ordering::Relaxed);
    }

    /// Who waits for a publish of this client.
    pub(crate) fn publisher(&self, remote: Remote) -> Publisher {
        Publisher {
            remote,
            leaves_cleanly: Arc::clone(&self.leaves_cleanly),
        }
    }

    /// Waits until all that waits here now has left, or failed with the client.
    pub(crate) fn passed(&self) -> impl Future<Output = ()> + Send + use<> {
        let (answer, heard) = reply();
        let mut answer = Some(answer);
        let mut waiting = self.waiting.lock();
        if waiting.is_moving
            && let Some(answer) = answer.take()
        {
            waiting.entries.push_back(Entry::Mark(Box::new(answer)));
        }
        drop(waiting);
        drop(answer);
        async move {
            let _ = heard.await;
        }
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
        let publisher = self.publisher(remote);
        let refused = {
            let mut waiting = self.waiting.lock();
            if waiting.entries.len() >= MESSAGES_MAX || waiting.bytes + size > BYTES_MAX {
                Some(publisher)
            } else {
                waiting.bytes += size;
                waiting
                    .entries
                    .push_back(Entry::Publish(message, publisher));
                if waiting.is_moving {
                    return Ok(());
                }
                waiting.is_moving = true;
                None
            }
        };
        if refused.is_some() {
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
            while let Some(entry) = self.next() {
                match entry {
                    Entry::Mark(passed) => passed(()),
                    // Whoever gave up before it was on its way takes it back.
                    Entry::Publish(_, publisher) if publisher.remote.is_over() => {}
                    Entry::Publish(message, publisher) => {
                        if let Some((message, publisher)) = submit(&client, message, publisher) {
                            self.put_back(message, publisher);
                            break;
                        }
                    }
                }
            }
            if self.has_finished() {
                return;
            }
        }
    }

    fn next(&self) -> Option<Entry> {
        let mut waiting = self.waiting.lock();
        let entry = waiting.entries.pop_front()?;
        if let Entry::Publish(message, _) = &entry {
            waiting.bytes -= message.size();
        }
        Some(entry)
    }

    fn put_back(&self, message: Message, publisher: Publisher) {
        let mut waiting = self.waiting.lock();
        waiting.bytes += message.size();
        waiting
            .entries
            .push_front(Entry::Publish(message, publisher));
    }

    fn has_finished(&self) -> bool {
        let mut waiting = self.waiting.lock();
        waiting.is_moving = !waiting.entries.is_empty();
        !waiting.is_moving
    }

    /// The client has ended: so do all who wait, one after the other, and who comes meanwhile.
    fn fail_all(&self, error: &ClientError) {
        while !self.has_finished() {
            while let Some(entry) = self.next() {
                // A mark that is dropped tells by that.
                if let Entry::Publish(_, publisher) = entry {
                    publisher.tell(Err(error.clone()));
                }
            }
        }
    }
}

/// Who waits for one publish.
pub(crate) struct Publisher {
    remote: Remote,
    leaves_cleanly: Arc<AtomicBool>,
}

impl Publisher {
    fn tell(self, outcome: Result<Published, ClientError>) {
        let is_report = matches!(outcome, Err(ClientError::Closed))
            && self.leaves_cleanly.load(Ordering::Relaxed);
        self.remote.complete(if is_report {
            Outcome::Failed(Failure::Undelivered)
        } else {
            outcome.into()
        });
    }
}

impl Answer<Published> for Publisher {
    fn begins(&self) -> bool {
        self.remote.begins()
    }

    fn answer(self: Box<Self>, outcome: Result<Published, ClientError>) {
        self.tell(outcome);
    }
}

/// A publisher that can be had back when the queue is full.
struct Lent(Arc<Mutex<Option<Publisher>>>);

impl Answer<Published> for Lent {
    fn begins(&self) -> bool {
        self.0.lock().as_ref().is_some_and(Publisher::begins)
    }

    fn answer(self: Box<Self>, outcome: Result<Published, ClientError>) {
        let publisher = self.0.lock().take();
        if let Some(publisher) = publisher {
            publisher.tell(outcome);
        }
    }
}

/// Tries once on the network's side; gives everything back when the queue is full.
fn submit(client: &Client, message: Message, publisher: Publisher) -> Option<(Message, Publisher)> {
    let slot = Arc::new(Mutex::new(Some(publisher)));
    let take = || slot.lock().take();
    let needs_done = message.qos != QoS::AtMostOnce;
    let done = needs_done.then(|| -> Done<Published> { Box::new(Lent(Arc::clone(&slot))) });
    match client.try_publish(message, done) {
        Ok(TryPublish::Queued) => {
            if !needs_done && let Some(publisher) = take() {
                publisher.remote.complete(Outcome::published());
            }
            None
        }
        Ok(TryPublish::Full(message, _)) => take().map(|publisher| (message, publisher)),
        Err(error) => {
            if let Some(publisher) = take() {
                publisher.tell(Err(error));
            }
            None
        }
    }
}
