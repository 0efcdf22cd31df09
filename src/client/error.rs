//! What can go wrong for a client, by whose fault it is.

use super::auth::AuthFailure;
use crate::codec::{AckProperties, Disconnect, ReasonCode};
use crate::message::UserProperty;
use crate::storage::StorageError;
use bytestring::ByteString;
use std::time::Duration;

/// Why an operation of a client failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ClientError {
    /// The world: name resolution, TCP, no listener.
    #[error("could not connect to {address}: {cause}")]
    ConnectFailed {
        /// Where.
        address: String,
        /// The operating system's words.
        cause: String,
    },
    /// Of several addresses, none would have us.
    #[error("could not connect to any of {}", all(.failures))]
    NoneConnected {
        /// The addresses in the order of trying, each with what went wrong there.
        failures: Vec<(String, ClientError)>,
    },
    /// The broker said no in CONNACK.
    #[error(
        "the broker refused the connection: {reason:?}{}{}",
        said(.reason_string.as_ref()),
        named(.server_reference.as_ref())
    )]
    ConnectRefused {
        /// Its code; return codes of 3.1.1 are translated.
        reason: ReasonCode,
        /// Its words, if any.
        reason_string: Option<ByteString>,
        /// Where to go instead, if it says so.
        server_reference: Option<ByteString>,
        /// Its names and values.
        user_properties: Vec<UserProperty>,
    },
    /// Enhanced authentication failed on our side: the mechanism cannot go on, or does not believe the broker.
    #[error("could not authenticate: {0}")]
    Authentication(AuthFailure),
    /// Something took longer than it may.
    #[error(
        "{what} took longer than {} s{}{}",
        .limit.as_secs_f64(),
        if .missing.is_empty() { "" } else { ": " },
        .missing
    )]
    TimedOut {
        /// What.
        what: &'static str,
        /// The limit.
        limit: Duration,
        /// What had not come by then; empty where nobody can tell.
        missing: &'static str,
    },
    /// The connection was lost, and the operation does not outlive it.
    #[error("the connection was lost: {cause}")]
    ConnectionLost {
        /// How.
        cause: String,
    },
    /// The broker has forgotten the session, and this cannot go on without it.
    #[error("the broker has forgotten the session, and the subscription with it")]
    SessionLost,
    /// The broker sent DISCONNECT.
    #[error(
        "the broker ended the connection: {:?}{}{}",
        .0.reason,
        said(.0.reason_string.as_ref()),
        named(.0.server_reference.as_ref())
    )]
    ServerDisconnected(Box<Disconnect>),
    /// The broker broke the protocol.
    #[error("the broker broke the protocol: {what} [{clause}]")]
    Protocol {
        /// How.
        what: String,
        /// By which statement.
        clause: String,
        /// What it was told.
        reason: ReasonCode,
    },
    /// The broker refused a message.
    #[error("the broker refused the message: {reason:?}{}", added(.properties.as_deref()))]
    PublishRefused {
        /// Its code.
        reason: ReasonCode,
        /// What it added, if anything.
        properties: Option<Box<AckProperties>>,
    },
    /// The broker refused filters of a SUBSCRIBE; none of it is in force.
    #[error("the broker refused to subscribe: {}{}", each(.results), added(.properties.as_deref()))]
    SubscribeRefused {
        /// The filters that were refused.
        results: Vec<(String, ReasonCode)>,
        /// What it added, if anything.
        properties: Option<Box<AckProperties>>,
    },
    /// The broker refused filters of an UNSUBSCRIBE.
    #[error("the broker refused to unsubscribe: {}{}", each(.results), added(.properties.as_deref()))]
    UnsubscribeRefused {
        /// The filters that were refused.
        results: Vec<(String, ReasonCode)>,
        /// What it added, if anything.
        properties: Option<Box<AckProperties>>,
    },
    /// A request got no answer: nobody was there to answer it, or the answer says why there is none.
    #[error("the request failed: {cause}")]
    RequestFailed {
        /// The broker's code, if it is the broker who says so.
        reason: Option<ReasonCode>,
        /// Why.
        cause: String,
    },
    /// The outbound queue has no room, and its policy is not to wait for any.
    #[error("the outbox has no room for this message, and on_full says not to wait for any")]
    OutboxFull,
    /// It had not been sent yet, and the outbound queue needed its room for newer ones.
    #[error("the outbox was full: dropped before it was sent, for newer messages")]
    Dropped,
    /// It had not been sent when its time was over: that of the outbound queue, or its own.
    #[error("the message waited too long: dropped before it was sent")]
    Expired,
    /// An inbox with the policy `Error` ran over.
    #[error("the queue is full")]
    QueueFull,
    /// The packet is larger than the broker takes.
    #[error("the packet has {size} bytes, the broker takes at most {limit}")]
    PacketTooLarge {
        /// Its size on the wire.
        size: usize,
        /// The broker's Maximum Packet Size.
        limit: usize,
    },
    /// The broker has said that it lacks this.
    #[error("the broker does not support {0}")]
    NotSupportedByBroker(&'static str),
    /// The caller asked for what cannot be: a bad filter, a field too long, a property under 3.1.1.
    #[error("{0}")]
    Misuse(String),
    /// The outbox's file cannot be used, or not any more.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// Used before [`super::Client::connect`].
    #[error("the client is not connected")]
    NotConnected,
    /// Used after [`super::Client::close`].
    #[error("the client is closed")]
    Closed,
}

/// The broker sends its clients elsewhere.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Redirect {
    /// Whether it has moved for good, or only asks to be left alone for now.
    pub is_permanent: bool,
    /// Where to, if it says so: host names or addresses, parted by spaces, each with a port or without.
    pub server_reference: Option<ByteString>,
}

impl ClientError {
    /// Whether trying again cannot help: the broker has said no for good, or the caller asked for what cannot be.
    pub fn is_terminal(&self) -> bool {
        match self {
            Self::ConnectRefused { reason, .. } => matches!(
                reason,
                ReasonCode::BadUserNameOrPassword
                    | ReasonCode::NotAuthorized
                    | ReasonCode::Banned
                    | ReasonCode::ClientIdentifierNotValid
                    | ReasonCode::BadAuthenticationMethod
                    | ReasonCode::UnsupportedProtocolVersion
                    | ReasonCode::ServerMoved
                    // These speak of the will, or of CONNECT itself, which would be the same again.
                    | ReasonCode::QoSNotSupported
                    | ReasonCode::RetainNotSupported
                    | ReasonCode::TopicNameInvalid
                    | ReasonCode::PayloadFormatInvalid
                    | ReasonCode::PacketTooLarge
            ),
            // Whoever took the session over would be thrown out in turn, and come back, for ever; but see `driver/ghosts`.
            Self::ServerDisconnected(disconnect) => matches!(
                disconnect.reason,
                ReasonCode::SessionTakenOver | ReasonCode::ServerMoved
            ),
            Self::Authentication(failure) => failure.is_final,
            Self::NoneConnected { failures } => {
                failures.iter().all(|(_, failure)| failure.is_terminal())
            }
            Self::Misuse(_) | Self::Storage(_) | Self::Closed => true,
            _ => false,
        }
    }

    /// Where the broker sends us instead, if that is what it said.
    pub fn redirect(&self) -> Option<Redirect> {
        let (reason, server_reference) = match self {
            Self::ConnectRefused {
                reason,
                server_reference,
                ..
            } => (*reason, server_reference),
            Self::ServerDisconnected(disconnect) => {
                (disconnect.reason, &disconnect.server_reference)
            }
            _ => return None,
        };
        let is_permanent = match reason {
            ReasonCode::ServerMoved => true,
            ReasonCode::UseAnotherServer => false,
            _ => return None,
        };
        Some(Redirect {
            is_permanent,
            server_reference: server_reference.clone(),
        })
    }
}

/// The broker's words behind its code, quoted: they may be anything.
fn said(words: Option<&ByteString>) -> String {
    words.map_or_else(String::new, |words| format!(", {words:?}"))
}

fn added(properties: Option<&AckProperties>) -> String {
    said(properties.and_then(|it| it.reason_string.as_ref()))
}

/// Where it says to go instead.
fn named(server: Option<&ByteString>) -> String {
    server.map_or_else(String::new, |server| format!("; it names {server:?}"))
}

/// What went wrong at each address.
fn all(failures: &[(String, ClientError)]) -> String {
    let each: Vec<String> = failures
        .iter()
        .map(|(address, error)| match error {
            ClientError::ConnectFailed { cause, .. } => format!("{address} ({cause})"),
            other => format!("{address} ({other})"),
        })
        .collect();
    each.join(", ")
}

/// The filters that it refused.
fn each(results: &[(String, ReasonCode)]) -> String {
    let each: Vec<String> = results
        .iter()
        .map(|(filter, reason)| format!("{filter:?} ({reason:?})"))
        .collect();
    each.join(", ")
}
