//! What happens to a client's connection, for who listens.

use super::{Client, ClientError, Negotiated, Redirect};
use std::time::Duration;

/// Why messages were dropped on this side.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum DropCause {
    /// Received, and a subscription's queue had no room.
    Overflow,
    /// To be sent with QoS 0, and there was no connection.
    Offline,
    /// Not sent yet, and given up for newer ones: [`super::OnFull::DropOldest`].
    OutboxFull,
    /// Not sent in time: [`super::ClientOptions::outbox_ttl`], or the message's own expiry.
    Expired,
}

/// What happened to the connection.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// The broker accepted us.
    Connected(Negotiated),
    /// The connection ended; with `retry_in` the client tries again after that time.
    Disconnected {
        /// Why.
        error: ClientError,
        /// When it tries again; `None`: never.
        retry_in: Option<Duration>,
    },
    /// The broker has forgotten our session.
    SessionLost,
    /// What was asked for again after a cut has been answered; these filters are granted.
    Resubscribed {
        /// Of all subscriptions that were asked for again.
        filters: Vec<String>,
    },
    /// Messages were dropped. What comes together is told together, at most once a second.
    Dropped {
        /// How many.
        count: u64,
        /// Why.
        cause: DropCause,
        /// Of the subscription that had no room for them; none: they were to be sent.
        filters: Vec<String>,
    },
    /// The broker sends its clients elsewhere. The end of the connection, or of the try, comes behind it.
    ServerRedirect(Redirect),
    /// Code of the application's that the client calls has failed.
    HandlerFailed {
        /// Of the message that it was called for.
        topic: String,
        /// What it said.
        error: String,
    },
}

impl Client {
    /// Tells whoever listens that code of the application's has failed over a message of this topic.
    pub fn handler_failed(&self, topic: String, error: String) {
        self.shared
            .queue
            .tell(Event::HandlerFailed { topic, error });
    }
}
