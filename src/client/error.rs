//! What can go wrong for a client, by whose fault it is.

use crate::codec::{Disconnect, ReasonCode};
use bytestring::ByteString;

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
    /// The broker said no in CONNACK.
    #[error("the broker refused the connection: {reason:?}")]
    ConnectRefused {
        /// Its code; return codes of 3.1.1 are translated.
        reason: ReasonCode,
        /// Its words, if any.
        reason_string: Option<ByteString>,
        /// Where to go instead, if it says so.
        server_reference: Option<ByteString>,
    },
    /// Something took longer than it may.
    #[error("{what} took longer than {seconds} s")]
    TimedOut {
        /// What.
        what: &'static str,
        /// The limit.
        seconds: u64,
    },
    /// The connection was lost, and the operation does not outlive it.
    #[error("the connection was lost: {cause}")]
    ConnectionLost {
        /// How.
        cause: String,
    },
    /// The broker sent DISCONNECT.
    #[error("the broker ended the connection: {:?}", .0.reason)]
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
    #[error("the broker refused the message: {reason:?}")]
    PublishRefused {
        /// Its code.
        reason: ReasonCode,
        /// Its words, if any.
        reason_string: Option<ByteString>,
    },
    /// The broker refused filters of a SUBSCRIBE; none of it is in force.
    #[error("the broker refused a subscription: {0:?}")]
    SubscribeRefused(Vec<(String, ReasonCode)>),
    /// The broker refused filters of an UNSUBSCRIBE.
    #[error("the broker refused to unsubscribe: {0:?}")]
    UnsubscribeRefused(Vec<(String, ReasonCode)>),
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
    /// Used before [`super::Client::connect`].
    #[error("the client is not connected")]
    NotConnected,
    /// Used after [`super::Client::close`].
    #[error("the client is closed")]
    Closed,
}
