//! What is handed to the client's task: messages, operations, and who waits for the outcome of each.

use super::publishes::Publishes;
use crate::client::dispatch::Key;
use crate::client::inbox::{DeliveryReceipt, Inbox};
use crate::client::{
    ClientError, Done, Published, Subscription, SubscriptionSettings, Unsubscribed, Updated,
};
use crate::codec::{ReasonCode, SubscribeFilter};
use crate::message::{Message, UserProperty};
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

/// Answers one operation exactly once: when it goes away unused, by [`ClientError::Closed`].
pub(in crate::client) struct Reply<T>(Option<Done<T>>);

impl<T> Reply<T> {
    pub(in crate::client) fn new(done: Option<Done<T>>) -> Self {
        Self(done)
    }

    pub(in crate::client) fn begins(&self) -> bool {
        self.0.as_ref().is_none_or(|done| done.begins())
    }

    pub(in crate::client) fn is_expected(&self) -> bool {
        self.0.is_some()
    }

    /// Calls out: never under a lock.
    pub(in crate::client) fn send(mut self, outcome: Result<T, ClientError>) {
        if let Some(done) = self.0.take() {
            done.answer(outcome);
        }
    }
}

impl<T> Drop for Reply<T> {
    fn drop(&mut self) {
        if let Some(done) = self.0.take() {
            done.answer(Err(ClientError::Closed));
        }
    }
}

/// A message on its way out.
pub(in crate::client) struct Outgoing {
    pub(in crate::client) message: Message,
    pub(in crate::client) size: usize,
    /// Its place in the order of publishing, from 1.
    pub(in crate::client) number: u64,
    /// When it was published, where its age matters.
    pub(in crate::client) put_at: Option<SystemTime>,
    pub(in crate::client) reply: Reply<Published>,
}

/// Other filters for a subscription.
pub(in crate::client) struct Update {
    pub(in crate::client) filters: Vec<SubscribeFilter>,
    pub(in crate::client) user_properties: Vec<UserProperty>,
    pub(in crate::client) reply: Reply<Updated>,
}

impl Outgoing {
    /// How long it has waited.
    pub(in crate::client) fn waited(&self, now: SystemTime) -> Duration {
        // A clock that was set back makes nothing younger than new.
        self.put_at
            .and_then(|put_at| now.duration_since(put_at).ok())
            .unwrap_or_default()
    }

    /// Whether it has waited longer than it may, by this limit or by its own.
    pub(in crate::client) fn is_expired(&self, now: SystemTime, ttl: Option<Duration>) -> bool {
        let own = self.message.properties().message_expiry_interval;
        let waited = self.waited(now);
        ttl.is_some_and(|ttl| waited >= ttl)
            || (waited.as_secs() > 0 && own.is_some_and(|own| waited.as_secs() >= own.into()))
    }
}

/// The message as it is after so long: what is left of its expiry, a second at least.
pub(in crate::client) fn aged(mut message: Message, waited: Duration) -> Message {
    let seconds = u32::try_from(waited.as_secs()).unwrap_or(u32::MAX);
    if seconds > 0
        && let Some(properties) = &mut message.properties
        && let Some(expiry) = properties.message_expiry_interval
    {
        Arc::make_mut(properties).message_expiry_interval =
            Some(expiry.saturating_sub(seconds).max(1).min(expiry));
    }
    message
}

/// An operation that is no message.
pub(in crate::client) enum Command {
    Subscribe {
        filters: Vec<SubscribeFilter>,
        settings: SubscriptionSettings,
        reply: Reply<Subscription>,
    },
    Update(Key, Update),
    Unsubscribe {
        key: Key,
        user_properties: Vec<UserProperty>,
        reply: Reply<Unsubscribed>,
    },
    /// Nobody holds this subscription's inbox any more.
    Dropped(Key),
    /// What this subscription owes will never be processed.
    Abandoned(Key),
    /// The broker is to keep the subscription of this inbox, which was abandoned.
    Kept(Arc<Inbox>),
    Drain(Reply<()>),
    Reauthenticate(Reply<()>),
}

/// What the task took over, in the order it was put in.
#[derive(Default)]
pub(in crate::client) struct Work {
    pub(in crate::client) publishes: Publishes,
    /// Each with the number of messages ever put in before it.
    pub(in crate::client) commands: VecDeque<(u64, Command)>,
    pub(in crate::client) processed: Vec<(Key, DeliveryReceipt, ReasonCode)>,
}

impl Command {
    pub(in crate::client) fn refuse(self, error: &ClientError) {
        match self {
            Self::Subscribe { reply, .. } => reply.send(Err(error.clone())),
            Self::Update(_, Update { reply, .. }) => reply.send(Err(error.clone())),
            Self::Unsubscribe { reply, .. } => reply.send(Err(error.clone())),
            Self::Drain(reply) | Self::Reauthenticate(reply) => reply.send(Err(error.clone())),
            Self::Dropped(_) | Self::Abandoned(_) | Self::Kept(_) => {}
        }
    }
}
