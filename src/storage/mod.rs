//! What of a session outlives the process: one file, and the thread that writes it.
//!
//! A [`Store`] takes [`Change`]s in order and never waits for the disk: its thread writes all that has gathered in one
//! transaction and syncs it. Whoever must not go on before what it said is on the disk asks [`Store::synced`]. The
//! rule of the client is the only one needed: no byte leaves before the changes that led to it are on the disk. So
//! whatever the broker has seen of us, the file knows, wherever the process dies. Next: `database`, the file itself.

mod backlog;
mod database;
mod error;
#[cfg(test)]
mod tests;

pub use error::StorageError;

use crate::codec::{PacketId, ReasonCode, Subscribe, SubscribeFilter};
use crate::message::{Message, UserProperty};
use backlog::Backlog;
use database::Outbox;
use std::num::NonZeroU32;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;
use std::sync::OnceLock;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::SystemTime;
use tokio::sync::oneshot;

/// So many orders are heard before the next transaction: whoever gives them may be as fast as they are heard.
const HEARD_MAX: usize = 65_536;

/// A step that has to be known after the death of the process. Messages go by their number in the order of publishing.
#[derive(Debug, Clone)]
pub enum Change {
    /// A message of QoS 1 or 2 is in the outbox.
    Put {
        /// Its number.
        number: u64,
        /// The message.
        message: Message,
        /// When it was published, by the clock on the wall.
        put_at: Option<SystemTime>,
    },
    /// It is about to be sent, by this packet id.
    Sent(u64, PacketId),
    /// PUBREC has come with this reason: PUBREL is next.
    Released(u64, PacketId, ReasonCode),
    /// The broker has lost the session: it is as if it had not been sent.
    Waiting(u64),
    /// It is over: settled, refused or dropped.
    Done(u64),
    /// A QoS 2 message of the peer was taken over, and its PUBREC is next.
    Taken(PacketId),
    /// The peer has released it.
    Forgotten(PacketId),
    /// The peer has lost the session.
    AllForgotten,
    /// SUBSCRIBE for these filters is next, by this subscription identifier; or these are what is left of it.
    Subscribed {
        /// The identifier.
        key: NonZeroU32,
        /// With their options.
        filters: Vec<SubscribeFilter>,
        /// Of SUBSCRIBE.
        user_properties: Vec<UserProperty>,
    },
    /// The subscription is over.
    Unsubscribed(NonZeroU32),
}

/// How far a stored message has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// Not sent.
    Waiting,
    /// Sent by this packet id, or about to be.
    Sent(PacketId),
    /// PUBREC has come with this reason.
    Released(PacketId, ReasonCode),
}

/// A message of an earlier process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredMessage {
    /// Its number in the order of publishing.
    pub number: u64,
    /// The message.
    pub message: Message,
    /// As in [`Change::Put`].
    pub put_at: Option<SystemTime>,
    /// How far it has come.
    pub stage: Stage,
}

/// All that an earlier process has left.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Stored {
    /// In the order of publishing.
    pub messages: Vec<StoredMessage>,
    /// QoS 2 messages of the peer that were taken over and not released.
    pub taken: Vec<PacketId>,
    /// Subscriptions, each with its identifier.
    pub subscriptions: Vec<Subscribe>,
}

type Answer = oneshot::Sender<Result<(), StorageError>>;

enum Order {
    Write(Change),
    /// Everything before it is on the disk.
    Sync(Answer),
    /// The same, and the file is closed.
    Close(Answer),
}

/// A store that is open. Clones are the same; the file is closed when the last has gone and all is written.
#[derive(Clone)]
pub struct Store {
    orders: Sender<Order>,
    failed: Arc<OnceLock<StorageError>>,
}

impl Store {
    /// Opens the file or makes one, gives back what an earlier process has left, and starts the thread that writes.
    /// Blocks on the disk.
    ///
    /// # Errors
    /// It is in use, belongs to another client, cannot be read (then it is renamed), or the system says no.
    pub fn open(path: &Path, client_id: &str) -> Result<(Self, Stored), StorageError> {
        let (outbox, stored) = Outbox::open(path, client_id)?;
        let (orders, inbox) = channel();
        let failed = Arc::new(OnceLock::new());
        let store = Self {
            orders,
            failed: Arc::clone(&failed),
        };
        std::thread::Builder::new()
            .name("rmqtt-outbox".to_owned())
            .spawn(move || write_all(outbox, &inbox, &failed))
            .map_err(|error| StorageError::Io {
                path: path.display().to_string(),
                action: "has no thread to write it",
                cause: error.to_string(),
            })?;
        Ok((store, stored))
    }

    /// Takes one change. It is on the disk soon, in the order of these calls.
    pub fn write(&self, change: Change) {
        // A thread that is gone has failed, and says so to whoever asks.
        let _ = self.orders.send(Order::Write(change));
    }

    /// Waits until everything taken so far is on the disk.
    ///
    /// # Errors
    /// It cannot be written, now or before.
    pub async fn synced(&self) -> Result<(), StorageError> {
        self.ask(Order::Sync).await
    }

    /// Waits until everything is on the disk and the file is closed. Nothing is taken any more.
    ///
    /// # Errors
    /// As [`Store::synced`].
    pub async fn close(&self) -> Result<(), StorageError> {
        self.ask(Order::Close).await
    }

    /// Why nothing can be written any more.
    pub fn failure(&self) -> Option<&StorageError> {
        self.failed.get()
    }

    async fn ask(&self, order: impl FnOnce(Answer) -> Order) -> Result<(), StorageError> {
        let (answer, answered) = oneshot::channel();
        let _ = self.orders.send(order(answer));
        match (answered.await, self.failure()) {
            (Ok(outcome), _) => outcome,
            (Err(_), Some(error)) => Err(error.clone()),
            // It was closed before.
            (Err(_), None) => Ok(()),
        }
    }
}

/// The thread: what has gathered in one transaction after the other, until nobody is left.
fn write_all(outbox: Outbox, orders: &Receiver<Order>, failed: &OnceLock<StorageError>) {
    let mut backlog = Backlog::default();
    let mut closing = None;
    loop {
        let may_wait = backlog.is_empty() && closing.is_none();
        let next = may_wait.then(|| orders.recv().ok()).flatten();
        if next.is_none() && backlog.is_empty() {
            break;
        }
        if closing.is_none() {
            for order in next.into_iter().chain(orders.try_iter()).take(HEARD_MAX) {
                match order {
                    Order::Write(change) => backlog.add(change),
                    Order::Sync(answer) => backlog.wait(answer),
                    Order::Close(answer) => {
                        closing = Some(answer);
                        break;
                    }
                }
            }
        }
        let changes = backlog.take();
        // Whoever asks must hear of a panic as of any other failure: nothing of this is known to be on the disk.
        let write = AssertUnwindSafe(|| outbox.write(&changes));
        if failed.get().is_none()
            && !changes.is_empty()
            && let Err(error) = catch_unwind(write).unwrap_or_else(|_| Err(outbox.broken()))
        {
            // Whatever comes next would have a gap before it.
            let _ = failed.set(error);
        }
        if failed.get().is_some() {
            backlog.forget();
        }
        while let Some(answer) = backlog.answered() {
            let _ = answer.send(outcome(failed));
        }
    }
    drop(outbox);
    if let Some(answer) = closing {
        let _ = answer.send(outcome(failed));
    }
}

fn outcome(failed: &OnceLock<StorageError>) -> Result<(), StorageError> {
    failed.get().cloned().map_or(Ok(()), Err)
}
