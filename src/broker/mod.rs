//! The server side of many connections: an MQTT broker to embed.
//!
//! [`Broker`] is the handle. One connection's state machine without sockets or clock is `protocol`; who gets a message is
//! `router` with `subscriptions` and `retained`; client ids, sessions and wills are `registry`; a session's delivery queue
//! is `outbox`, that of shared subscriptions `group`, what wakes a connection is `bell`; what connections share is `hub`,
//! what all of it holds `memory`; the tasks that move bytes are `driver`. Locks are in `hub`, `outbox`, `group` and `bell` only.

pub mod auth;
pub mod bell;
mod driver;
mod error;
pub mod faults;
pub mod group;
pub mod hub;
pub mod journal;
mod limits;
mod listener;
pub mod memory;
mod options;
pub mod outbox;
pub mod places;
pub mod protocol;
pub mod quota;
pub mod registry;
pub mod retained;
pub mod rights;
pub mod router;
mod seams;
pub mod snapshot;
pub mod stats;
pub mod subscriptions;
pub mod wire;

pub use error::BrokerError;
pub use hub::{Balance, Caught, LedgerEntry, Tap};
pub use limits::{Limit, Limits};
pub use listener::{ListenerOptions, Local};
pub use options::{BrokerOptions, Features, Keep, SharedStrategy, Terms};
pub use protocol::Farewell;
pub use seams::Seams;
pub use snapshot::Snapshot;

use crate::message::Message;
use crate::topic::{TopicFilter, TopicName};
use crate::transport::{Address, PeerInfo, TlsError};
use driver::{Running, Server};
use rights::{Access, Policies, Policy};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Mutex;

/// A snapshot of the broker's counters, since it was made unless said otherwise.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[allow(missing_docs, reason = "each counts what its name says")]
pub struct BrokerStats {
    /// Now.
    pub connections: usize,
    /// Now, connected or not.
    pub sessions: usize,
    /// Now.
    pub subscriptions: usize,
    /// Now.
    pub retained_messages: usize,
    /// Now.
    pub retained_bytes: usize,
    /// Now, for all sessions and all groups of shared subscriptions.
    pub queued_messages: usize,
    /// Now, of all that `held_bytes_max` bounds.
    pub held_bytes: usize,
    /// The most that ever were.
    pub held_bytes_high: usize,
    pub connects_accepted: u64,
    pub connects_refused: u64,
    /// Ended by us because the peer broke a rule or a limit.
    pub connections_violated: u64,
    pub messages_received: u64,
    pub messages_delivered: u64,
    /// QoS 0 that a full queue had no room for.
    pub messages_dropped_qos0: u64,
    /// QoS 1 and 2 that a full queue of an absent client had no room for.
    pub messages_dropped_queue_full: u64,
    pub messages_expired: u64,
    /// What clients published without the right to, wills included.
    pub publishes_denied: u64,
    /// Filters that were refused for want of rights.
    pub subscriptions_denied: u64,
    /// Messages, for each of those who would have got them and may not read them.
    pub deliveries_denied: u64,
    pub bytes_received: u64,
    pub bytes_sent: u64,
    pub wills_published: u64,
    /// A wrong password or proof, or a hook that said no.
    pub logins_failed: u64,
    /// Refused unheard, after too many that failed.
    pub logins_throttled: u64,
    /// Connections sent away since what their logins rested upon was taken away.
    pub logins_revoked: u64,
    pub passwords_hashed: u64,
    /// Hooks that raised, or did not answer in time.
    pub hooks_failed: u64,
    /// How often each limit was reached, by its name: all names are there.
    pub limits_reached: BTreeMap<&'static str, u64>,
}

/// What is known of a connected client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientInfo {
    /// Its client id.
    pub client_id: String,
    /// What it speaks.
    pub version: crate::codec::ProtocolVersion,
    /// What was known of it before it said a word.
    pub peer: PeerInfo,
    /// Who it says it is.
    pub username: Option<String>,
    /// Who it has proven to be, where the broker has users.
    pub user: Option<String>,
    /// Seconds.
    pub keep_alive: u16,
}

/// What is known of a session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionInfo {
    /// Its client id.
    pub client_id: String,
    /// Whether its client is here.
    pub is_connected: bool,
    /// Its filters, with the granted QoS.
    pub subscriptions: Vec<(String, crate::message::QoS)>,
    /// Messages waiting for it, shared ones dealt to it included.
    pub queued_messages: usize,
    /// Messages on the way to it.
    pub in_flight: usize,
    /// How long it outlives its connection, in seconds; `u32::MAX`: for ever.
    pub expiry_interval: u32,
}

/// The handle of one broker; clones are the same broker. Made without I/O; may be started again after a stop.
///
/// Dropping the last handle of a running broker cuts its connections off; [`Broker::stop`] sees them out.
#[derive(Clone, Debug)]
pub struct Broker {
    server: Arc<Server>,
    /// Held while starting and stopping: neither may overtake the other.
    running: Arc<Mutex<Option<Running>>>,
}

impl Broker {
    /// A broker that is not running.
    pub fn new(options: BrokerOptions) -> Self {
        Self {
            server: Arc::new(Server::new(options)),
            running: Arc::default(),
        }
    }

    /// Binds every listener, then takes connections on the current tokio runtime until [`Broker::stop`].
    ///
    /// # Errors
    /// A listener could not be bound (then none is), the options are not safe, or the broker is running already.
    pub async fn start(&self) -> Result<(), BrokerError> {
        let mut running = self.running.lock().await;
        if running.is_some() {
            return Err(BrokerError::AlreadyRunning);
        }
        *running = Some(self.server.start().await?);
        Ok(())
    }

    /// Stops: no new connections; MQTT 5 clients get DISCONNECT 0x8B; what is on its way out is written for at most
    /// `grace`; then every task, socket and port is gone. Sessions and retained messages stay for the next start.
    /// Idempotent.
    pub async fn stop(&self, grace: Duration) {
        let mut running = self.running.lock().await;
        if let Some(running) = running.take() {
            self.server.stop(running, grace).await;
        }
    }

    /// Ends at once, as a power cut would end it: nobody is told, no will is published, and nothing that waited to be
    /// written is. The next start listens at the same ports and goes on with what `keep` says.
    ///
    /// # Errors
    /// Not running.
    pub async fn crash(&self, keep: Keep) -> Result<(), BrokerError> {
        let mut running = self.running.lock().await;
        let ended = running.take().ok_or(BrokerError::NotRunning)?;
        self.server.crash(ended, keep).await;
        Ok(())
    }

    /// The whole state, as a crash would leave it to a store that is written before anything is acknowledged. Clients do
    /// not notice, but that they wait for some milliseconds.
    pub async fn snapshot(&self) -> Arc<Snapshot> {
        let _running = self.running.lock().await;
        Arc::new(self.server.snapshot().await)
    }

    /// Both sides of the ledger at one moment, between two packets of every client; empty without a ledger.
    pub async fn balance(&self) -> Balance {
        let _running = self.running.lock().await;
        self.server.hub().balance().await
    }

    /// Puts a state, of this broker or another, in the place of what there is; times go on with what was left of them.
    /// Who is connected is told to go, MQTT 5 clients with *server busy*, and finds its session of the snapshot when it
    /// comes back. Running or not.
    pub async fn restore(&self, snapshot: &Snapshot) {
        let _running = self.running.lock().await;
        self.server.restore(snapshot).await;
    }

    /// From now on clients may do what these say, each at its listeners; all at once.
    pub fn set_policies(&self, policies: Policies) {
        self.server.hub().set_policies(policies);
    }

    /// Who may connect, for another broker that is to know the same users.
    pub fn auth(&self) -> Option<Arc<auth::Auth>> {
        self.server.auth()
    }

    /// From now on clients may do what this says, those that are connected too, and for what waits already. Who has to be
    /// asked, is asked about each connection that is there.
    pub fn set_acl(&self, acl: impl Into<Policy>) {
        self.server.hub().set_policy(Some(acl.into()));
    }

    /// Has the application asked again what those may do who are connected, where it says that.
    pub fn ask_again(&self) {
        self.server.hub().ask_again();
    }

    /// Whether a client may do that, and by which rule; without one, no rule allows it. `None`: it has no session.
    pub fn explain_right(
        &self,
        client_id: &str,
        access: Access,
        topic: &TopicName,
    ) -> Option<(bool, Option<String>)> {
        self.server.hub().explain_right(client_id, access, topic)
    }

    /// Reads again what lies in files, at every listener: certificates, keys and revocation lists, users, keys of tokens.
    /// With these policies, if any, all of it holds when this returns, or nothing has changed. One reload at a time.
    ///
    /// # Errors
    /// The first file that cannot be read, or is not what it should be.
    pub fn reload(&self, policies: Option<Policies>) -> Result<(), BrokerError> {
        self.server.reload(policies)
    }

    /// Reads certificates, keys and revocation lists of all listeners anew: the next connections get what is there by now.
    /// Who is connected stays.
    ///
    /// # Errors
    /// Something cannot be read, or is not what it should be; then all stays as it was.
    pub fn reload_certificates(&self) -> Result<(), TlsError> {
        self.server.reload_certificates()
    }

    /// Whether a start would be refused because of the options, whatever the system then says.
    ///
    /// # Errors
    /// They cannot work together, or would not be safe.
    pub fn check(&self) -> Result<(), BrokerError> {
        self.server.check()
    }

    /// Whether it takes connections.
    pub fn is_running(&self) -> bool {
        self.server.is_running()
    }

    /// Where it really listens, in the order of the options, with the ports that were chosen; empty when not running.
    pub fn addresses(&self) -> Vec<Address> {
        self.server.addresses()
    }

    /// The in-memory address of this broker: always there, for clients in this process.
    pub fn memory_address(&self) -> Address {
        self.server.memory_address().clone()
    }

    /// Publishes as the broker itself, and returns how many sessions it matched.
    ///
    /// Full queues do not hold the caller back: who publishes much should look at [`Broker::stats`].
    ///
    /// # Errors
    /// Not running, or the retained store is full.
    #[expect(
        clippy::needless_pass_by_value,
        reason = "publishing gives a message away, at every handle alike"
    )]
    pub fn publish(&self, message: Message) -> Result<usize, BrokerError> {
        self.server.publish(&message)
    }

    /// Ends a client's connection with this reason or towards another server (MQTT 5 is told), and says whether it was
    /// there.
    pub fn disconnect(&self, client_id: &str, farewell: impl Into<Farewell>) -> bool {
        self.server.hub().disconnect(client_id, farewell)
    }

    /// From now on turns everybody away who wants to connect: mostly to another server ([`Farewell::to_server`]). `None`
    /// lets them in again. Who is connected stays.
    pub fn turn_away(&self, farewell: Option<Farewell>) {
        self.server.hub().turn_away(farewell);
    }

    /// Catches everything that is published from now on to topics that the filter matches, until the tap is dropped. At
    /// most so many messages wait to be fetched; beyond, the oldest are dropped, counted.
    pub fn tap(&self, filter: TopicFilter, messages_max: usize) -> Arc<Tap> {
        self.server.hub().tap(filter, messages_max)
    }

    /// The retained message of each topic, by topic.
    pub fn retained(&self) -> Vec<Message> {
        self.server.retained()
    }

    /// The connected clients, by client id.
    pub fn clients(&self) -> Vec<ClientInfo> {
        self.server.hub().clients()
    }

    /// The sessions, by client id.
    pub fn sessions(&self) -> Vec<SessionInfo> {
        self.server.hub().sessions()
    }

    /// Faults and the wire log, for tests.
    pub fn seams(&self) -> Arc<Seams> {
        Arc::clone(self.server.seams())
    }

    /// The filters of a client that keep from it what it publishes itself.
    pub fn no_local(&self, client_id: &str) -> Vec<String> {
        self.server.hub().no_local(client_id)
    }

    /// Counters.
    pub fn stats(&self) -> BrokerStats {
        self.server.hub().stats()
    }
}
