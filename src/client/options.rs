//! What can be asked of a client. Every field has a default that is safe.

use super::Journal;
use super::auth::{Authenticator, PasswordSource};
use crate::codec::{Hidden, ProtocolVersion, Will};
use crate::message::UserProperty;
use crate::transport::{Address, Route};
use bytes::Bytes;
use std::fmt;
use std::num::NonZeroU16;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// How to connect and how to behave. `Debug` shows how long the password is, and not what.
#[derive(Clone)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a choice of its own, as CONNECT and the standard have them"
)]
pub struct ClientOptions {
    /// Where the broker is.
    pub address: Address,
    /// Where else: tried in turn, in one round with `address`. The one that worked last is tried first.
    pub others: Vec<Address>,
    /// Whether small packets are sent at once (TCP's `TCP_NODELAY`), and do not wait for those before them.
    pub nodelay: bool,
    /// What lies on the way there.
    pub route: Route,
    /// `None`: a random one (`rmqtt-` and 16 hex digits) for as long as this client lives.
    pub client_id: Option<String>,
    /// What to ask for.
    pub version: ProtocolVersion,
    /// Try 3.1.1 when a broker refuses MQTT 5, or at the very first connection closes on it twice without a word.
    pub fall_back: bool,
    /// User name.
    pub username: Option<String>,
    /// Password.
    pub password: Option<Bytes>,
    /// Asked for it, for each connection anew.
    pub password_source: Option<Arc<dyn PasswordSource>>,
    /// How to prove who we are beyond that (MQTT 5); then there is no falling back to 3.1.1.
    pub auth: Option<Arc<dyn Authenticator>>,
    /// Begin with no session. Reconnects of this client resume where the broker allows.
    pub clean_start: bool,
    /// How long the broker keeps the session after the connection, in seconds; `u32::MAX`: for ever.
    pub session_expiry: u32,
    /// Seconds between packets at most; 0: none.
    pub keep_alive: u16,
    /// For resolving, connecting and CONNACK together, at each address.
    pub connect_timeout: Duration,
    /// Unacknowledged QoS 1 and 2 messages that the broker may have on the way to us. Abandoned ones count until the
    /// connection ends: see [`super::Inbox::abandon`].
    pub receive_maximum: NonZeroU16,
    /// The largest packet we take, in bytes.
    pub packet_size_max: Option<u32>,
    /// Topic aliases for each way: those we take from the broker, and those we use towards it where it takes any; 0: none.
    pub topic_alias_max: u16,
    /// Ask the broker what response topics should start with: see [`super::Negotiated`] (MQTT 5).
    pub request_response_information: bool,
    /// Let the broker say more than a code where something fails (MQTT 5).
    pub request_problem_information: bool,
    /// Published by the broker when it loses us.
    pub will: Option<Will>,
    /// For CONNECT.
    pub user_properties: Vec<UserProperty>,
    /// What to do after a cut; `None`: end.
    pub reconnect: Option<Reconnect>,
    /// Messages that may wait to be sent or acknowledged, also while offline.
    pub queue_messages_max: usize,
    /// And their bytes.
    pub queue_bytes_max: usize,
    /// What becomes of a message that finds no room there.
    pub on_full: OnFull,
    /// How long a message may wait there before it is sent for the first time; `None`: as long as it takes.
    pub outbox_ttl: Option<Duration>,
    /// Keep QoS 0 messages that are published while offline.
    pub keep_qos0: bool,
    /// The file in which messages of QoS 1 and 2 outlive the process; see [`crate::storage`]. It needs a session that is
    /// kept: a client id, no `clean_start`, and a `session_expiry` (MQTT 5).
    pub outbox_path: Option<PathBuf>,
    /// Who keeps a log of what happens to the connection.
    pub journal: Option<Journal>,
}

impl ClientOptions {
    /// Defaults, for this address.
    pub fn new(address: Address) -> Self {
        Self {
            address,
            others: Vec::new(),
            nodelay: true,
            route: Route::default(),
            client_id: None,
            version: ProtocolVersion::V5,
            fall_back: true,
            username: None,
            password: None,
            password_source: None,
            auth: None,
            clean_start: true,
            session_expiry: 0,
            keep_alive: 60,
            connect_timeout: Duration::from_secs(10),
            receive_maximum: NonZeroU16::new(1024).unwrap_or(NonZeroU16::MAX),
            packet_size_max: None,
            topic_alias_max: 64,
            request_response_information: false,
            request_problem_information: true,
            will: None,
            user_properties: Vec::new(),
            reconnect: Some(Reconnect::default()),
            queue_messages_max: 10_000,
            queue_bytes_max: 64 << 20,
            on_full: OnFull::default(),
            outbox_ttl: None,
            keep_qos0: false,
            outbox_path: None,
            journal: None,
        }
    }
}

/// Taken apart without `..`: a field that is added has to be thought about.
impl fmt::Debug for ClientOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            address,
            others,
            nodelay,
            route,
            client_id,
            version,
            fall_back,
            username,
            password,
            password_source,
            auth,
            clean_start,
            session_expiry,
            keep_alive,
            connect_timeout,
            receive_maximum,
            packet_size_max,
            topic_alias_max,
            request_response_information,
            request_problem_information,
            will,
            user_properties,
            reconnect,
            queue_messages_max,
            queue_bytes_max,
            on_full,
            outbox_ttl,
            keep_qos0,
            outbox_path,
            journal,
        } = self;
        f.debug_struct("ClientOptions")
            .field("address", address)
            .field("others", others)
            .field("nodelay", nodelay)
            .field("route", route)
            .field("client_id", client_id)
            .field("version", version)
            .field("fall_back", fall_back)
            .field("username", username)
            .field("password", &Hidden(password))
            .field("password_source", password_source)
            .field("auth", auth)
            .field("clean_start", clean_start)
            .field("session_expiry", session_expiry)
            .field("keep_alive", keep_alive)
            .field("connect_timeout", connect_timeout)
            .field("receive_maximum", receive_maximum)
            .field("packet_size_max", packet_size_max)
            .field("topic_alias_max", topic_alias_max)
            .field("request_response_information", request_response_information)
            .field("request_problem_information", request_problem_information)
            .field("will", will)
            .field("user_properties", user_properties)
            .field("reconnect", reconnect)
            .field("queue_messages_max", queue_messages_max)
            .field("queue_bytes_max", queue_bytes_max)
            .field("on_full", on_full)
            .field("outbox_ttl", outbox_ttl)
            .field("keep_qos0", keep_qos0)
            .field("outbox_path", outbox_path)
            .field("journal", journal)
            .finish()
    }
}

/// When to try again. The delay before try `n` is `initial × factor^n`, at most `max`, times a random share with jitter.
/// With several addresses, a try is a round through all of them.
#[derive(Debug, Clone, PartialEq)]
pub struct Reconnect {
    /// Before the first try.
    pub initial: Duration,
    /// Growth.
    pub factor: f64,
    /// Ceiling.
    pub max: Duration,
    /// Spread the delay evenly over zero to its full length, so that many clients do not come back at once.
    pub jitter: bool,
    /// Give up after so many tries in a row; `None`: never.
    pub max_attempts: Option<u32>,
    /// Whether a first connection that fails is tried again too.
    pub retry_first: bool,
    /// A connection that lasted so long starts the delays over.
    pub stable_after: Duration,
    /// Whether to subscribe again although the broker says it has the session.
    pub resubscribe: Resubscribe,
    /// Whether to go where a broker sends its clients (0x9C and 0x9D): to hosts that it names, with our credentials. Never
    /// to a plain connection from an encrypted one.
    pub follow_redirects: bool,
}

/// Whether to subscribe again after a reconnect.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Resubscribe {
    /// When the broker has lost the session, or may have lost it without our hearing of it.
    #[default]
    Auto,
    /// Always: for brokers that claim a session and have lost the subscriptions.
    Always,
    /// Never. Where the broker has lost the session, the subscriptions fail with [`super::ClientError::SessionLost`].
    Never,
}

impl Default for Reconnect {
    fn default() -> Self {
        Self {
            initial: Duration::from_millis(500),
            factor: 2.0,
            max: Duration::from_secs(30),
            jitter: true,
            max_attempts: None,
            retry_first: false,
            stable_after: Duration::from_secs(30),
            resubscribe: Resubscribe::Auto,
            follow_redirects: false,
        }
    }
}

/// What becomes of a message that finds no room in the outbound queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OnFull {
    /// It is given back, and waits for room.
    #[default]
    Wait,
    /// It is refused: [`super::ClientError::OutboxFull`].
    Error,
    /// The oldest that has not been sent goes, with [`super::ClientError::Dropped`]. Where everything has been sent, the
    /// new one goes in all the same: so there may be one more than the bound allows.
    DropOldest,
}

/// What a full inbox does with the next message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Overflow {
    /// QoS 1 and 2 wait, unacknowledged, bounded by Receive Maximum; QoS 0 is dropped as by `DropOldest`.
    Wait,
    /// The oldest goes. (QoS 1 and 2 that go are acknowledged.)
    DropOldest,
    /// The new one goes.
    DropNewest,
    /// Only the newest message stays.
    Latest,
    /// The subscription fails with [`super::ClientError::QueueFull`]. What it holds of QoS 1 and 2 without being
    /// acknowledged goes and is abandoned, as by [`super::Inbox::abandon`], and so is what comes until the broker has
    /// answered UNSUBSCRIBE; the rest can still be taken.
    Error,
}

/// When QoS 1 and 2 messages are acknowledged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Ack {
    /// When the application has processed them: see [`super::Inbox::processed`].
    #[default]
    Processed,
    /// When they are in the inbox.
    Received,
    /// By the application, message by message: the same call as `Processed`, made by hand.
    Manual,
}

/// How a subscription's messages wait.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SubscriptionSettings {
    /// Messages.
    pub messages_max: usize,
    /// Bytes.
    pub bytes_max: usize,
    /// `None`: `Wait` for QoS 1 and 2, `DropOldest` for QoS 0.
    pub overflow: Option<Overflow>,
    /// When to acknowledge.
    pub ack: Ack,
    /// For SUBSCRIBE (MQTT 5).
    pub user_properties: Vec<UserProperty>,
}

impl Default for SubscriptionSettings {
    fn default() -> Self {
        Self {
            messages_max: 1000,
            bytes_max: 16 << 20,
            overflow: None,
            ack: Ack::Processed,
            user_properties: Vec::new(),
        }
    }
}
