//! The outbox that outlives the process: what an earlier one has left, and what this one leaves.
//!
//! No byte leaves before the steps that led to it are on the disk: see `storage`. The driver waits for the disk without
//! holding a thread, and what is published meanwhile goes into the next transaction.

use super::Driver;
use super::publishing::Exchange;
use crate::client::commands::{Outgoing, Publishes, Reply, aged, size_of};
use crate::client::protocol::Progress;
use crate::client::{ClientError, ClientOptions};
use crate::clock::Clock;
use crate::codec::ProtocolVersion;
use crate::storage::{Change, Stage, StorageError, Store, Stored};
use bytes::Buf;
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
    /// Something was written that may not be on the disk yet.
    is_unsynced: bool,
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
        let mut bytes = 0;
        let mut in_flight = Vec::new();
        let mut waiting = Publishes::default();
        for left in stored.messages {
            let (number, size) = (left.number, size_of(&left.message));
            bytes += size;
            let (packet_id, rest) = match left.stage {
                Stage::Waiting => {
                    waiting.push(Outgoing {
                        message: left.message,
                        size,
                        number,
                        put_at: left.put_at,
                        reply: Reply::new(None),
                    });
                    continue;
                }
                Stage::Sent(packet_id) => {
                    let waited = left.put_at.and_then(|at| now.duration_since(at).ok());
                    (
                        packet_id,
                        Ok(aged(left.message, waited.unwrap_or_default())),
                    )
                }
                Stage::Released(packet_id, reason) => (packet_id, Err(reason)),
            };
            let reply = Reply::new(None);
            let token = self.exchanges.insert(Exchange {
                reply,
                size,
                number,
                put_at: Some(now),
            });
            in_flight.push((packet_id, token, rest));
        }
        self.protocol.restore(in_flight, &stored.taken);
        self.take_up_subscriptions(stored.subscriptions);
        self.protocol.note_progress();
        self.queue
            .restore(store.clone(), (restored, bytes), restored_up_to, waiting);
        self.storing = Some(Storing {
            store,
            is_unsynced: false,
            restored_up_to,
        });
    }

    /// Waits until everything is on the disk that what is to be written next depends on.
    ///
    /// # Errors
    /// It cannot be written: nothing may be sent any more.
    pub(super) async fn sync_store(&mut self) -> Result<(), ClientError> {
        if self.storing.is_none() {
            return Ok(());
        }
        // What is sent again may be given up in this moment.
        let has_output = self.protocol.outgoing().has_remaining();
        self.keep_progress();
        if let Some(storing) = &mut self.storing
            && has_output
            && storing.is_unsynced
        {
            // A clock that tests move waits for the disk.
            let _busy = self.clock.busy();
            storing.store.synced().await?;
            storing.is_unsynced = false;
        }
        Ok(())
    }

    fn keep_progress(&mut self) {
        for step in self.protocol.take_progress() {
            let number = |token| self.exchanges.number(token);
            let change = match step {
                Progress::Sent(token, id) => number(token).map(|it| Change::Sent(it, id)),
                Progress::Released(token, id, reason) => {
                    number(token).map(|it| Change::Released(it, id, reason))
                }
                Progress::Taken(id) => Some(Change::Taken(id)),
                Progress::Forgotten(id) => Some(Change::Forgotten(id)),
            };
            if let Some(change) = change {
                self.write(change);
            }
        }
    }

    pub(super) fn write(&mut self, change: Change) {
        if let Some(storing) = &mut self.storing {
            storing.store.write(change);
            storing.is_unsynced = true;
        }
    }

    /// The broker has lost the session: this message is as if it had not been sent.
    pub(super) fn keep_waiting(&mut self, number: u64) {
        self.keep_progress();
        self.write(Change::Waiting(number));
    }

    /// And what it had sent us means nothing.
    pub(super) fn forget_taken(&mut self) {
        self.keep_progress();
        self.write(Change::AllForgotten);
    }

    /// A message is over. The steps before it first: its packet id may be in use for another already.
    pub(super) fn keep_no_more(&mut self, number: u64) {
        if self.storing.is_none() {
            return;
        }
        self.keep_progress();
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
            self.keep_progress();
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
