//! The client side of one connection: connect, publish, subscribe, and come back after a cut.
//!
//! [`Client`] is the handle. Its state machine without sockets or clock is `protocol`; which subscription gets a message
//! is `dispatch`; a subscription's bounded queue is [`Inbox`]; the task that moves bytes is `driver`.

mod commands;
mod dispatch;
mod driver;
mod error;
mod inbox;
mod options;
#[doc(hidden)]
pub mod protocol;
#[cfg(test)]
mod tests;

pub use error::ClientError;
pub use inbox::{Delivery, DeliveryReceipt, Inbox, Taken};
pub use options::{Ack, ClientOptions, Overflow, Reconnect, Resubscribe, SubscriptionSettings};

use crate::codec::{AckProperties, ConnAck, ReasonCode, SubscribeFilter, SubscriptionOptions};
use crate::message::{Message, QoS};
use commands::{Command, Queue, Reply};
use driver::Driver;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::oneshot;

/// Who waits for one operation. Told exactly once: by the client's task, or with [`ClientError::Closed`] when the client
/// goes away first. A function will do.
pub trait Answer<T>: Send {
    /// Whether anybody still waits. A message that is not on its way yet when nobody does is taken back.
    fn is_wanted(&self) -> bool {
        true
    }

    /// Tells the outcome.
    fn answer(self: Box<Self>, outcome: Result<T, ClientError>);
}

impl<T, F: FnOnce(Result<T, ClientError>) + Send> Answer<T> for F {
    fn answer(self: Box<Self>, outcome: Result<T, ClientError>) {
        self(outcome);
    }
}

/// Takes the outcome of one operation.
pub type Done<T> = Box<dyn Answer<T>>;

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

/// The handle of one client; clones are the same client. Made without I/O. Dropping the last one ends the client as
/// [`Close::Abort`] does.
#[derive(Clone)]
pub struct Client {
    shared: Arc<Shared>,
}

struct Shared {
    queue: Arc<Queue>,
    options: ClientOptions,
    client_id: String,
}

impl Drop for Shared {
    fn drop(&mut self) {
        self.queue.close(Close::Abort);
    }
}

impl Client {
    /// A client that is not connected yet.
    pub fn new(options: ClientOptions) -> Self {
        let client_id = options
            .client_id
            .clone()
            .unwrap_or_else(|| format!("rmqtt-{:016x}", driver::random()));
        Self {
            shared: Arc::new(Shared {
                queue: Arc::new(Queue::new(&options)),
                options,
                client_id,
            }),
        }
    }

    /// Connects, and from then on keeps the connection by the options' reconnect policy. Starts the client's task on the
    /// current tokio runtime. Dropping the future gives up and leaves the client unconnected.
    ///
    /// # Errors
    /// The first connection failed or was refused.
    pub async fn connect(&self) -> Result<Negotiated, ClientError> {
        let Shared {
            queue,
            options,
            client_id,
        } = &*self.shared;
        queue.begin()?;
        let mut driver = Driver::new(Arc::clone(queue), options.clone(), client_id);
        let (stream, negotiated) = driver.first().await?;
        tokio::spawn(driver.run(stream));
        Ok(negotiated)
    }

    /// Publishes without waiting. `done` is called when the broker has taken the message over (QoS 1 and 2), or has
    /// refused it, or when nobody will ever know; for QoS 0 pass `None`. Wakes the client's task at most once a batch.
    ///
    /// While the connection is down, messages wait for the next one; those of QoS 0 only with `keep_qos0`, else they are
    /// dropped and counted. After a cut, what was not acknowledged is sent again; if the broker has lost the session, as
    /// a new message. A QoS 2 message that the broker had answered with PUBREC counts as taken over even then.
    ///
    /// # Errors
    /// Refused before anything is sent: closed, not connected yet, larger than the broker takes, a feature the broker
    /// lacks, a property that 3.1.1 cannot carry.
    pub fn try_publish(
        &self,
        message: Message,
        done: Option<Done<Published>>,
    ) -> Result<TryPublish, ClientError> {
        self.shared.queue.publish(message, done)
    }

    /// Waits until [`Client::try_publish`] is worth another try.
    ///
    /// # Errors
    /// Closed.
    pub async fn room(&self) -> Result<(), ClientError> {
        self.shared.queue.room().await
    }

    /// Publishes and waits: QoS 0 until queued, QoS 1 and 2 until the broker has taken the message over. Dropping the
    /// future takes a message back that is not on its way yet.
    ///
    /// # Errors
    /// As [`Client::try_publish`], and what the broker refused.
    pub async fn publish(&self, message: Message) -> Result<Published, ClientError> {
        let is_answered = message.qos != QoS::AtMostOnce;
        let (done, answer) = waiter();
        let mut next = (message, is_answered.then_some(done));
        loop {
            match self.try_publish(next.0, next.1)? {
                TryPublish::Queued => break,
                TryPublish::Full(message, done) => next = (message, done),
            }
            self.room().await?;
        }
        if is_answered {
            return answer.await.unwrap_or(Err(ClientError::Closed));
        }
        Ok(Published {
            reason: ReasonCode::Success,
            properties: None,
        })
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
        let (done, answer) = waiter();
        self.shared.queue.command(Command::Subscribe {
            filters,
            settings,
            reply: Reply::new(Some(done)),
        });
        answer.await.unwrap_or(Err(ClientError::Closed))
    }

    /// Ends a subscription: UNSUBSCRIBE, and its inbox ends behind the messages it holds.
    ///
    /// Without a connection, or when the connection is lost meanwhile, it ends at once on this side. The next connection is
    /// told where the broker has kept the session.
    ///
    /// # Errors
    /// The connection is gone for good.
    pub async fn unsubscribe(&self, subscription: &Subscription) -> Result<(), ClientError> {
        let (done, answer) = waiter();
        self.shared.queue.command(Command::Unsubscribe {
            key: subscription.inbox.key(),
            reply: Reply::new(Some(done)),
        });
        let outcome = answer.await.unwrap_or(Err(ClientError::Closed));
        if outcome.is_ok() {
            // While offline the client's task is not asked.
            subscription.inbox.end(Taken::Ended);
        }
        outcome
    }

    /// Waits until everything published so far is sent and, for QoS 1 and 2, settled.
    ///
    /// # Errors
    /// Closed.
    pub async fn drain(&self) -> Result<(), ClientError> {
        let (done, answer) = waiter();
        let command = Command::Drain(Reply::new(Some(done)));
        self.shared.queue.command(command);
        answer.await.unwrap_or(Err(ClientError::Closed))
    }

    /// Ends the connection and the client: every waiting operation ends with [`ClientError::Closed`], every inbox ends.
    /// Idempotent; bounded in time.
    pub async fn close(&self, how: Close) {
        self.shared.queue.close(how);
        self.shared.queue.ended().await;
    }

    /// What the broker granted; `None` before the first connection.
    pub fn negotiated(&self) -> Option<Negotiated> {
        self.shared.queue.negotiated()
    }

    /// Counters.
    pub fn stats(&self) -> ClientStats {
        self.shared.queue.stats()
    }

    /// From now on, what happens to the connection; a bounded queue that drops its oldest.
    pub fn events(&self) -> tokio::sync::broadcast::Receiver<Event> {
        self.shared.queue.events.subscribe()
    }
}

/// The two ends of one operation: to be called, and to be waited for.
fn waiter<T: Send + 'static>() -> (Done<T>, oneshot::Receiver<Result<T, ClientError>>) {
    let (sender, receiver) = oneshot::channel();
    (Box::new(Waiter(sender)), receiver)
}

struct Waiter<T>(oneshot::Sender<Result<T, ClientError>>);

impl<T: Send> Answer<T> for Waiter<T> {
    fn is_wanted(&self) -> bool {
        !self.0.is_closed()
    }

    fn answer(self: Box<Self>, outcome: Result<T, ClientError>) {
        // Who has gone away does not need the outcome.
        let _ = self.0.send(outcome);
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
