//! The outbox that outlives the process: what an earlier one has left, and what this one leaves.
//!
//! No byte leaves before the steps that led to it are on the disk: see `storage`, and `protocol/lasting`, which says which
//! steps. The driver waits for the disk without holding a thread, and what is published meanwhile goes into the next
//! transaction.

use super::Driver;
use super::publishing::Exchange;
use crate::client::commands::{Outgoing, Publishes, Reply, size_of};
use crate::client::protocol::Lasting;
use crate::client::{ClientError, ClientOptions};
use crate::clock::Clock;
use crate::codec::ProtocolVersion;
use crate::storage::{Change, StorageError, Store, Stored, StoredMessage};
use std::future::pending;
use std::path::PathBuf;
use std::time::Duration;

/// A client that was given up while it connected lets go of its file a moment later, and so does a process that ends: whoever
/// comes next, perhaps to try once more, waits for that so long, twice as long the next time, and so on.
const PAUSE_MIN: Duration = Duration::from_millis(5);
/// But no longer than this.
const PAUSE_MAX: Duration = Duration::from_secs(1);

/// The store of a driver that has one.
pub(super) struct Storing {
    store: Store,
    lasting: Lasting,
    /// The number of the last message of earlier processes.
    restored_up_to: u64,
}

impl ClientOptions {
    /// Whether a path makes sense with the rest.
    ///
    /// # Errors
    /// Without a session of its own that is kept, nothing could be told apart from a repetition after a restart.
    pub fn check_store(&self) -> Result<(), ClientError> {
        let is_kept = !self.clean_start
            && (self.session_expiry > 0 || self.version == ProtocolVersion::V3_1_1);
        let has_name = self.client_id.as_deref().is_some_and(|id| !id.is_empty());
        if self.outbox_path.is_none() || (is_kept && has_name) {
            return Ok(());
        }
        Err(ClientError::Misuse(
            "an outbox with a path needs a session that is kept: client_id, clean_start=False and session_expiry > 0"
                .to_owned(),
        ))
    }
}

impl Driver {
    /// Opens the store, if there is to be one, and takes up what is in it.
    pub(super) async fn open_store(&mut self) -> Result<(), ClientError> {
        self.options.check_store()?;
        let Some(path) = self.options.outbox_path.clone() else {
            return Ok(());
        };
        let client_id = self.protocol.client_id().to_owned();
        let (store, stored) = open(path, client_id, self.clock.clone()).await?;
        self.take_up(store, stored);
        self.ghosts.haunt(self.now());
        Ok(())
    }

    fn take_up(&mut self, store: Store, stored: Stored) {
        let restored = stored.messages.len();
        let restored_up_to = stored.messages.last().map_or(0, |last| last.number);
        let now = self.clock.wall();
        let bytes = stored.messages.iter().map(|left| size_of(&left.message));
        let bytes = bytes.sum();
        let mut waiting = Publishes::default();
        let wait = |left: StoredMessage| {
            waiting.push(Outgoing {
                size: size_of(&left.message),
                message: left.message,
                number: left.number,
                put_at: left.put_at,
                reply: Reply::new(None),
            });
        };
        let exchanges = &mut self.exchanges;
        let exchange = |left: &StoredMessage| {
            exchanges.insert(Exchange {
                reply: Reply::new(None),
                size: size_of(&left.message),
                number: left.number,
                put_at: Some(now),
            })
        };
        let left = (stored.messages, &stored.taken[..]);
        let lasting = Lasting::take_up(&mut self.protocol, left, now, wait, exchange);
        self.take_up_subscriptions(stored.subscriptions);
        self.queue
            .restore(store.clone(), (restored, bytes), restored_up_to, waiting);
        self.storing = Some(Storing {
            store,
            lasting,
            restored_up_to,
        });
    }

    /// Waits until everything is on the disk that what is to be written next depends on.
    ///
    /// # Errors
    /// It cannot be written: nothing may be sent any more.
    pub(super) async fn sync_store(&mut self) -> Result<(), ClientError> {
        let Some(Storing { store, lasting, .. }) = &mut self.storing else {
            return Ok(());
        };
        let number = |token| self.exchanges.number(token);
        if lasting.note_all(&mut self.protocol, number, |change| store.write(change)) {
            // A clock that tests move waits for the disk.
            let _busy = self.clock.busy();
            store.synced().await?;
            lasting.synced();
        }
        Ok(())
    }

    /// What has happened so far, and this behind it.
    pub(super) fn write(&mut self, then: impl Into<Option<Change>>) {
        if let Some(Storing { store, lasting, .. }) = &mut self.storing {
            let number = |token| self.exchanges.number(token);
            let write = |change| store.write(change);
            lasting.note(&mut self.protocol, number, then.into(), write);
        }
    }

    /// The broker has lost the session: this message is as if it had not been sent.
    pub(super) fn keep_waiting(&mut self, number: u64) {
        self.write(Change::Waiting(number));
    }

    /// And what it had sent us means nothing.
    pub(super) fn forget_taken(&mut self) {
        self.write(Change::AllForgotten);
    }

    /// A message is over.
    pub(super) fn keep_no_more(&mut self, number: u64) {
        self.write(Change::Done(number));
        if let Some(storing) = &self.storing
            && number <= storing.restored_up_to
        {
            self.queue.settle_restored();
        }
    }

    /// The end: what is not settled stays for the next process.
    pub(super) async fn close_store(&mut self) {
        if self.storing.is_some() {
            self.write(None);
            self.take_back_withdrawn();
        }
        if let Some(storing) = self.storing.take() {
            // A failure has been told to whoever wanted to send; what is kept too long is sent once more.
            let _ = storing.store.close().await;
        }
    }
}

/// Opens the file; where it is in use, some times more, for about a second.
async fn open(
    path: PathBuf,
    client_id: String,
    clock: Clock,
) -> Result<(Store, Stored), ClientError> {
    let mut pause = PAUSE_MIN;
    loop {
        let (path, client_id) = (path.clone(), client_id.clone());
        let opened = tokio::task::spawn_blocking(move || Store::open(&path, &client_id)).await;
        match opened.map_err(|_| ClientError::Closed)? {
            Err(StorageError::InUse { .. }) if pause < PAUSE_MAX => {
                clock.timeout_real(pause, pending::<()>()).await;
                pause *= 2;
            }
            opened => return Ok(opened?),
        }
    }
}
