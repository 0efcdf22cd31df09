//! The client side of one connection: connect, publish, subscribe, and come back after a cut.
//!
//! [`Client`] is the handle. Its state machine without sockets or clock is `protocol`; which subscription gets a message
//! is `dispatch`; a subscription's bounded queue is [`Inbox`]; the task that moves bytes is `driver`.

pub mod auth;
mod commands;
mod dispatch;
mod driver;
mod error;
mod events;
mod inbox;
mod journal;
mod options;
#[doc(hidden)]
pub mod protocol;
mod requests;
mod stats;
#[cfg(test)]
mod tests;
mod update;
mod waiter;

pub use error::{ClientError, Redirect};
pub use events::{DropCause, Event};
pub use inbox::{Delivery, DeliveryReceipt, Inbox, Taken};
pub use journal::{Entry, Journal};
pub use options::{
    Ack, ClientOptions, OnFull, Overflow, Reconnect, Resubscribe, SubscriptionSettings,
};
pub use stats::{ClientStats, InboxStats, RoundTrips};
pub use update::Updated;

use crate::clock::Clock;
use crate::codec::{
    AckProperties, ConnAck, ProtocolVersion, ReasonCode, SubscribeFilter, SubscriptionOptions,
};
use crate::message::{Message, QoS, UserProperty};
use crate::transport;
use bytestring::ByteString;
use commands::{Command, Queue, Reply};
use driver::Driver;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, SystemTime};
use waiter::waiter;

/// Who waits for one operation. Told exactly once: by the client's task, or with [`ClientError::Closed`] when the client
/// goes away first. A function will do.
pub trait Answer<T>: Send {
    /// The message is about to be on its way: whether anybody still waits for it. When nobody does, it is taken back.
    fn begins(&self) -> bool {
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
    /// The outbound queue is full, and its policy is to wait; everything is given back.
    Full(Message, Option<Done<Published>>),
}

/// When the client's task hears of a message that was put in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rouse {
    /// At once.
    Now,
    /// When there is enough for a write, or at [`Client::rouse`], which must follow soon unless the task
    /// [has been roused](Client::is_roused). Waking it for each of many messages costs more than sending them.
    Later,
}

/// What the broker granted, and what it has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Negotiated {
    /// Spoken after any fall-back.
    pub version: ProtocolVersion,
    /// Ours, or the one the broker assigned.
    pub client_id: String,
    /// Whether the broker had our session.
    pub session_present: bool,
    /// Seconds; the broker's wish goes before ours.
    pub keep_alive: u16,
    /// The broker's CONNACK, for all other limits.
    pub connack: ConnAck,
}

/// What an UNSUBSCRIBE that went well came to. All is empty where the broker had not to be told, or did not live to answer.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Unsubscribed {
    /// The filters that were given up, with `Success` or `NoSubscriptionExisted`; none under 3.1.1.
    pub results: Vec<(String, ReasonCode)>,
    /// What the broker added (MQTT 5).
    pub properties: Option<Box<AckProperties>>,
}

/// What DISCONNECT says beside the end itself (MQTT 5).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Farewell {
    /// Why; `None`: as [`Close`] has it.
    pub reason: Option<ReasonCode>,
    /// From now on the broker keeps the session for so long, in seconds; `u32::MAX`: for ever.
    pub session_expiry: Option<u32>,
    /// For people and logs.
    pub reason_string: Option<ByteString>,
    /// Names and values of our own.
    pub user_properties: Vec<UserProperty>,
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
    requests: Arc<requests::Requests>,
    options: ClientOptions,
    client_id: String,
    /// The connection's, once there was one.
    clock: OnceLock<Clock>,
}

impl Drop for Shared {
    fn drop(&mut self) {
        self.queue.close(Close::Abort);
    }
}

impl Shared {
    /// The hour, for a message whose age will matter.
    fn hour_for(&self, message: &Message) -> Option<SystemTime> {
        let matters = self.options.outbox_ttl.is_some()
            || message.properties().message_expiry_interval.is_some()
            || (self.options.outbox_path.is_some() && message.qos != QoS::AtMostOnce);
        matters.then(|| self.clock.get().cloned().unwrap_or_default().wall())
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
                requests: Arc::default(),
                options,
                client_id,
                clock: OnceLock::new(),
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
            ..
        } = &*self.shared;
        queue.begin()?;
        let clock = transport::clock(&options.address).unwrap_or_default();
        let mut driver = Driver::new(Arc::clone(queue), options.clone(), client_id, clock.clone());
        // Boxed, since every future of the application that connects would have room for all handshakes in it.
        let (stream, negotiated) = clock.track(Box::pin(driver.first())).await?;
        let clock = driver.clock().clone();
        let _ = self.shared.clock.set(clock.clone());
        tokio::spawn(clock.track(driver.run(stream)));
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
    /// lacks, a property that 3.1.1 cannot carry, no room under [`OnFull::Error`].
    pub fn try_publish(
        &self,
        message: Message,
        done: Option<Done<Published>>,
    ) -> Result<TryPublish, ClientError> {
        self.try_publish_and(Rouse::Now, message, done)
    }

    /// As [`Client::try_publish`], leaving open when the client's task hears of it.
    ///
    /// # Errors
    /// As there.
    pub fn try_publish_and(
        &self,
        rouse: Rouse,
        message: Message,
        done: Option<Done<Published>>,
    ) -> Result<TryPublish, ClientError> {
        let put_at = self.shared.hour_for(&message);
        self.shared.queue.publish(message, put_at, done, rouse)
    }

    /// Puts in a message of QoS 0 that says nothing but topic and payload, allocating nothing for it. The topic has passed
    /// [`crate::topic::TopicName::check`]. `false`: it is not that simple, and [`Client::try_publish`] says what is.
    pub fn try_publish_brief(
        &self,
        rouse: Rouse,
        topic: &str,
        payload: &[u8],
        retain: bool,
    ) -> bool {
        let Shared { queue, .. } = &*self.shared;
        queue.publish_brief(topic, payload, retain, rouse)
    }

    /// Has the client's task look at what was put in.
    pub fn rouse(&self) {
        self.shared.queue.rouse();
    }

    /// As [`Client::rouse`], for whoever must not keep the client.
    pub fn rouser(&self) -> impl Fn() + Send + Sync + use<> {
        self.shared.queue.rouser()
    }

    /// Whether the task is going to look at what was put in, without being told again.
    pub fn is_roused(&self) -> bool {
        self.shared.queue.is_roused()
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
    pub async fn unsubscribe(
        &self,
        subscription: &Subscription,
    ) -> Result<Unsubscribed, ClientError> {
        self.unsubscribe_with(subscription, Vec::new()).await
    }

    /// As [`Client::unsubscribe`], with user properties (MQTT 5; left out under 3.1.1).
    ///
    /// # Errors
    /// As there.
    pub async fn unsubscribe_with(
        &self,
        subscription: &Subscription,
        user_properties: Vec<UserProperty>,
    ) -> Result<Unsubscribed, ClientError> {
        let (done, answer) = waiter();
        self.shared.queue.command(Command::Unsubscribe {
            key: subscription.inbox.key(),
            user_properties,
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

    /// As [`Client::close`], with more to say in DISCONNECT.
    ///
    /// # Errors
    /// It cannot be said: a code that is not a client's, a session that was to end with its connection and is to live on, or
    /// anything under 3.1.1. Nothing is ended then.
    pub async fn close_with(&self, how: Close, farewell: Farewell) -> Result<(), ClientError> {
        self.check_farewell(&farewell)?;
        self.shared.queue.close_with(how, farewell);
        self.shared.queue.ended().await;
        Ok(())
    }

    /// Whether this can be said in DISCONNECT.
    ///
    /// # Errors
    /// As [`Client::close_with`].
    pub fn check_farewell(&self, farewell: &Farewell) -> Result<(), ClientError> {
        let asked_version = self.shared.options.version;
        let version = self.negotiated().map_or(asked_version, |it| it.version);
        farewell.check(version, self.shared.options.session_expiry)
    }

    /// Proves once more who we are, by the options' mechanism and beside the traffic; for credentials that expire. Dropping
    /// the future does not stop what has begun.
    ///
    /// # Errors
    /// The client has no mechanism or does so already; the mechanism or the broker refuses, and then the connection ends.
    pub async fn reauthenticate(&self) -> Result<(), ClientError> {
        let (done, answer) = waiter();
        let command = Command::Reauthenticate(Reply::new(Some(done)));
        self.shared.queue.command(command);
        answer.await.unwrap_or(Err(ClientError::Closed))
    }

    /// What the broker granted; `None` before the first connection.
    pub fn negotiated(&self) -> Option<Negotiated> {
        self.shared.queue.negotiated()
    }

    /// Counters.
    pub fn stats(&self) -> ClientStats {
        self.shared.queue.stats()
    }

    /// How long the broker takes to answer.
    pub fn round_trips(&self) -> RoundTrips {
        self.shared.queue.round_trips()
    }

    /// Waits until there is a connection, which may be gone again by then.
    ///
    /// # Errors
    /// The client is not connected and not connecting, or it has ended: by this error.
    pub async fn connected(&self) -> Result<Negotiated, ClientError> {
        self.shared.queue.connected().await
    }

    /// From now on, what happens to the connection; a bounded queue that drops its oldest, and ends with the client.
    pub fn events(&self) -> tokio::sync::broadcast::Receiver<Event> {
        self.shared.queue.events()
    }
}

impl Farewell {
    fn check(&self, version: ProtocolVersion, session_expiry: u32) -> Result<(), ClientError> {
        if *self == Self::default() {
            return Ok(());
        }
        if version != ProtocolVersion::V5 {
            return Err(ClientError::Misuse(
                "saying more than goodbye needs MQTT 5, and this connection speaks 3.1.1"
                    .to_owned(),
            ));
        }
        if let Some(reason) = self.reason
            && !reason.is_clients_farewell()
        {
            return Err(ClientError::Misuse(format!(
                "a client cannot take its leave with {reason:?}"
            )));
        }
        if session_expiry == 0 && self.session_expiry.is_some_and(|seconds| seconds > 0) {
            return Err(ClientError::Misuse(
                "a session that was to end with its connection cannot be prolonged at its end"
                    .to_owned(),
            ));
        }
        Ok(())
    }
}

/// A subscription that the broker has granted.
#[derive(Clone)]
pub struct Subscription {
    /// Its messages.
    pub inbox: Arc<Inbox>,
    /// The filters with their options, as granted.
    pub granted: Vec<(String, SubscriptionOptions)>,
    /// What the broker added to its answer (MQTT 5).
    pub properties: Option<Box<AckProperties>>,
}
