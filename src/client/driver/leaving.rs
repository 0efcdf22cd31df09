//! Subscriptions given up: by the application, by dropping them, by an overflow; with a connection and without.

use super::Driver;
use super::subscribing::{Stage, key_of};
use super::updating::updated_key;
use crate::client::commands::{Command, Reply};
use crate::client::dispatch::Key;
use crate::client::inbox::Taken;
use crate::client::{ClientError, Unsubscribed};
use crate::codec::{ReasonCode, UnsubAck};
use crate::message::UserProperty;
use crate::session::Token;
use bytestring::ByteString;

impl Driver {
    pub(super) fn unsubscribe(
        &mut self,
        key: Key,
        user_properties: Vec<UserProperty>,
        reply: Option<Reply<Unsubscribed>>,
    ) {
        let Some(subscribed) = self.subscriptions.get_mut(&key) else {
            // It has ended before: by a refusal, a failure, or an earlier call.
            if let Some(reply) = reply {
                reply.send(Ok(Unsubscribed::default()));
            }
            return;
        };
        if matches!(subscribed.stage, Stage::Leaving { .. }) {
            if let Some(reply) = reply {
                reply.send(Ok(Unsubscribed::default()));
            }
            return;
        }
        subscribed.give_up_updates();
        let mut filters: Vec<ByteString> = Vec::with_capacity(subscribed.filters.len());
        for asked in &subscribed.filters {
            if !self.dispatch.is_shared_with_others(key, &asked.filter)
                && !filters.contains(&asked.filter)
            {
                filters.push(asked.filter.clone());
            }
        }
        if filters.is_empty() {
            self.end_subscription(key, reply, Ok(Unsubscribed::default()));
            return;
        }
        // Without a connection it goes out with the next one: see `restore`.
        if self.protocol.is_connected()
            && let Err(error) =
                self.protocol
                    .unsubscribe(filters.clone(), &user_properties, Token::from(key.get()))
        {
            self.end_subscription(key, reply, Err(error));
            return;
        }
        let leaving = Stage::Leaving {
            filters,
            user_properties,
            reply,
        };
        if let Stage::Asking { reply, .. } = std::mem::replace(&mut subscribed.stage, leaving) {
            // Only an inbox that ran over before it was granted is left so early.
            reply.send(Err(ClientError::QueueFull));
        }
    }

    /// The broker has answered an UNSUBSCRIBE. Also where it refused, the subscription is over here: what still comes is
    /// acknowledged and dropped.
    pub(super) fn on_unsubscribed(&mut self, token: Token, unsuback: &UnsubAck) {
        if let Some(key) = updated_key(token) {
            return self.on_update_unsubscribed(key, unsuback);
        }
        let Some(key) = key_of(token) else {
            return;
        };
        let Some(subscribed) = self.subscriptions.get_mut(&key) else {
            return;
        };
        let Stage::Leaving { filters, reply, .. } = &mut subscribed.stage else {
            return;
        };
        let mut results: Vec<(String, ReasonCode)> = filters
            .iter()
            .zip(&unsuback.reasons)
            .map(|(filter, reason)| (filter.to_string(), *reason))
            .collect();
        let reply = reply.take();
        let properties = unsuback.properties.clone();
        let outcome = if results.iter().any(|(_, reason)| reason.is_error()) {
            results.retain(|(_, reason)| reason.is_error());
            Err(ClientError::UnsubscribeRefused {
                results,
                properties,
            })
        } else {
            Ok(Unsubscribed {
                results,
                properties,
            })
        };
        self.end_subscription(key, reply, outcome);
    }

    pub(super) fn end_subscription(
        &mut self,
        key: Key,
        reply: Option<Reply<Unsubscribed>>,
        outcome: Result<Unsubscribed, ClientError>,
    ) {
        self.restored(key, false);
        self.forget_subscription(key);
        self.dispatch.remove(key);
        if let Some(subscribed) = self.subscriptions.remove(&key)
            && let Some(inbox) = subscribed.inbox.upgrade()
        {
            inbox.end(Taken::Ended);
        }
        if let Some(reply) = reply {
            reply.send(outcome);
        }
    }

    /// Nobody can take from this inbox any more.
    pub(super) fn inbox_dropped(&mut self, key: Key) {
        for done in self.dispatch.release(key) {
            self.accept(done);
        }
        self.unsubscribe(key, Vec::new(), None);
    }

    /// What the application has not processed of this subscription, it never will.
    pub(super) fn abandon(&mut self, key: Key) {
        for (packet_id, delivery) in self.dispatch.abandon(key) {
            self.protocol.abandon(packet_id, delivery);
        }
    }

    /// The next connection may never come: who leaves a subscription has left it, as far as this side goes. The stage stays,
    /// so that the broker is told should it know of the subscription then.
    pub(super) fn leave_without_connection(&mut self) {
        // First what was said first.
        self.take_processed();
        self.run_leaving();
        self.leave_rest_without_connection();
        let mut replies = Vec::new();
        for subscribed in self.subscriptions.values_mut() {
            if let Stage::Leaving { reply, .. } = &mut subscribed.stage {
                if let Some(inbox) = subscribed.inbox.upgrade() {
                    inbox.end(Taken::Ended);
                }
                replies.extend(reply.take());
            }
        }
        for reply in replies {
            reply.send(Ok(Unsubscribed::default()));
        }
    }

    /// Runs those commands that end subscriptions, before their turn among the messages.
    fn run_leaving(&mut self) {
        for (after, command) in std::mem::take(&mut self.work.commands) {
            match command {
                Command::Unsubscribe { .. } | Command::Dropped(_) | Command::Abandoned(_) => {
                    self.run_command(command, after);
                }
                other => self.work.commands.push_back((after, other)),
            }
        }
    }
}
