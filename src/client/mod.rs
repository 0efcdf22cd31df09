//! The client side of one connection: connect, publish, subscribe, and come back after a cut.
//!
//! [`Client`] is the handle. Its state machine without sockets or clock is `protocol`; which subscription gets a message
//! is `dispatch`; a subscription's bounded queue is [`Inbox`]; the task that moves bytes is `driver`.

mod error;
mod options;
#[doc(hidden)]
pub mod protocol;

pub use error::ClientError;
pub use options::{Ack, ClientOptions, Overflow, Reconnect, Resubscribe, SubscriptionSettings};

use crate::codec::{
    AckProperties, ConnAck, PacketId, ReasonCode, SubscribeFilter, SubscriptionOptions,
};
use crate::message::Message;
use std::collections::VecDeque;
use std::sync::Arc;
use std::task::Waker;
use std::time::{Duration, SystemTime};

/// Takes the outcome of one operation, exactly once: called by the client's task, or with [`ClientError::Closed`] when
/// the client goes away first.
pub type Done<T> = Box<dyn FnOnce(Result<T, ClientError>) + Send>;

/// How a publish of QoS 1 or 2 ended well.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Published {
    /// `Success` or `NoMatchingSubscribers`.
    pub reason: ReasonCode,
    /// What the broker added to its acknowledgement (MQTT 5).
    pub properties: Option<Box<AckProperties>>,
}

/// What a try to publish became.
pub enum TryPublish {
    /// It has its place in the outbound queue; with QoS 0 that is all there is to know.
    Queued,
    /// The outbound queue is full; everything is given back.
    Full(Message, Option<Done<Published>>),
}

/// What the broker granted, and what it has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Negotiated {
    /// Spoken after any fall-back.
    pub version: crate::codec::ProtocolVersion,
    /// Ours, or the one the broker assigned.
    pub client_id: String,
    /// Whether the broker had our session.
    pub session_present: bool,
    /// Seconds; the broker's wish goes before ours.
    pub keep_alive: u16,
    /// The broker's CONNACK, for all other limits.
    pub connack: ConnAck,
}

/// A snapshot of the client's counters.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[allow(
    missing_docs,
    reason = "each counts what its name says, since the client was made"
)]
pub struct ClientStats {
    pub connected: bool,
    pub connects: u64,
    pub messages_sent: u64,
    pub messages_received: u64,
    pub bytes_sent: u64,
    pub bytes_received: u64,
    pub acknowledged: u64,
    pub dropped: u64,
    /// Messages waiting to be sent now, and their bytes.
    pub queued_messages: usize,
    pub queued_bytes: usize,
    pub in_flight: usize,
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
}

/// How to end a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Close {
    /// Send what is queued and wait for its acknowledgements, at most this long; then DISCONNECT 0x00.
    Drain(Duration),
    /// DISCONNECT 0x04: the broker publishes the will (3.1.1: close without DISCONNECT).
    WithWill,
    /// Close the pipe without DISCONNECT, as a crash would.
    Abort,
}

/// The handle of one client; clones are the same client. Made without I/O.
#[derive(Clone)]
pub struct Client {
    _todo: (),
}

impl Client {
    /// A client that is not connected yet.
    pub fn new(options: ClientOptions) -> Self {
        let _ = options;
        todo!()
    }

    /// Connects, and from then on keeps the connection by the options' reconnect policy. Starts the client's task on the
    /// current tokio runtime. Dropping the future gives up and leaves the client unconnected.
    ///
    /// # Errors
    /// The first connection failed or was refused.
    pub async fn connect(&self) -> Result<Negotiated, ClientError> {
        todo!()
    }

    /// Publishes without waiting. `done` is called when the broker has taken the message over (QoS 1 and 2), or has
    /// refused it, or when nobody will ever know; for QoS 0 pass `None`. Wakes the client's task at most once a batch.
    ///
    /// # Errors
    /// Refused before anything is sent: closed, not connected yet, larger than the broker takes, a feature the broker
    /// lacks.
    pub fn try_publish(
        &self,
        message: Message,
        done: Option<Done<Published>>,
    ) -> Result<TryPublish, ClientError> {
        let _ = (message, done);
        todo!()
    }

    /// Waits until [`Client::try_publish`] is worth another try.
    ///
    /// # Errors
    /// Closed.
    pub async fn room(&self) -> Result<(), ClientError> {
        todo!()
    }

    /// Publishes and waits: QoS 0 until queued, QoS 1 and 2 until the broker has taken the message over.
    ///
    /// # Errors
    /// As [`Client::try_publish`], and what the broker refused.
    pub async fn publish(&self, message: Message) -> Result<Published, ClientError> {
        let _ = message;
        todo!()
    }

    /// Subscribes, waits for SUBACK, and keeps the subscription across reconnects until it is dropped or ended.
    /// Messages go to the inbox from the moment SUBSCRIBE is sent.
    ///
    /// # Errors
    /// A filter was refused; the message names each.
    pub async fn subscribe(
        &self,
        filters: Vec<SubscribeFilter>,
        settings: SubscriptionSettings,
    ) -> Result<Subscription, ClientError> {
        let _ = (filters, settings);
        todo!()
    }

    /// Ends a subscription: UNSUBSCRIBE, and its inbox ends behind the messages it holds.
    ///
    /// # Errors
    /// The connection is gone for good.
    pub async fn unsubscribe(&self, subscription: &Subscription) -> Result<(), ClientError> {
        let _ = subscription;
        todo!()
    }

    /// Waits until everything published so far is sent and, for QoS 1 and 2, settled.
    ///
    /// # Errors
    /// Closed.
    pub async fn drain(&self) -> Result<(), ClientError> {
        todo!()
    }

    /// Ends the connection and the client: every waiting operation ends with [`ClientError::Closed`], every inbox ends.
    /// Idempotent; bounded in time.
    pub async fn close(&self, how: Close) {
        let _ = how;
        todo!()
    }

    /// What the broker granted; `None` before the first connection.
    pub fn negotiated(&self) -> Option<Negotiated> {
        todo!()
    }

    /// Counters.
    pub fn stats(&self) -> ClientStats {
        todo!()
    }

    /// From now on, what happens to the connection; a bounded queue that drops its oldest.
    pub fn events(&self) -> tokio::sync::broadcast::Receiver<Event> {
        todo!()
    }
}

/// A subscription that the broker has granted.
#[derive(Clone)]
pub struct Subscription {
    /// Its messages.
    pub inbox: Arc<Inbox>,
    /// The filters with their options, as granted.
    pub granted: Vec<(String, SubscriptionOptions)>,
}

/// One message on its way to the application.
#[derive(Debug, Clone)]
pub struct Delivery {
    /// The message.
    pub message: Message,
    /// The broker had sent it before.
    pub dup: bool,
    /// When it was read from the socket.
    pub received_at: SystemTime,
    /// To be given back to [`Inbox::processed`]; `None` for QoS 0 and where nothing is owed.
    pub receipt: Option<DeliveryReceipt>,
}

/// Which acknowledgement a delivery owes. After a reconnect that of a QoS 1 message is stale and does nothing: the broker
/// sends the message again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct DeliveryReceipt {
    /// Of the PUBLISH.
    pub packet_id: PacketId,
    /// Names this delivery; never given twice by one client.
    pub delivery: u64,
}

/// A subscription's bounded queue, by messages and by bytes. Any number of threads may take from it.
pub struct Inbox {
    _todo: (),
}

/// What [`Inbox::take`] found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Taken {
    /// That many messages.
    Some(usize),
    /// None now; the waker will be woken.
    Waiting,
    /// None any more: the subscription or the client was closed on purpose.
    Ended,
    /// None any more: a terminal failure.
    Failed(ClientError),
}

impl Inbox {
    /// Moves up to `max` messages behind those in `into`, under one lock. If there are none, `waker` (if given) is kept
    /// and woken once when that may have changed.
    pub fn take(&self, into: &mut VecDeque<Delivery>, max: usize, waker: Option<&Waker>) -> Taken {
        let _ = (into, max, waker);
        todo!()
    }

    /// The application is done with a message, well (`Success`) or not (a code at or above 0x80): its acknowledgement may
    /// leave. Never blocks; any thread; a second call for the same receipt does nothing.
    pub fn processed(&self, receipt: DeliveryReceipt, reason: ReasonCode) {
        let _ = (receipt, reason);
        todo!()
    }

    /// Messages waiting.
    pub fn pending(&self) -> usize {
        todo!()
    }

    /// Messages that were dropped by the overflow policy.
    pub fn dropped(&self) -> u64 {
        todo!()
    }
}
