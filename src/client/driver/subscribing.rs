//! Subscriptions: asked for and granted; and the way of a message into their inboxes. How they are asked for again is in
//! `restoring`, how one is given up in `leaving`.

use super::Driver;
use super::updating::{Updates, updated_key};
use crate::client::commands::Reply;
use crate::client::dispatch::{Done, Key};
use crate::client::inbox::{Delivery, DeliveryReceipt, Inbox, Taken};
use crate::client::{ClientError, Subscription, SubscriptionSettings, Unsubscribed};
use crate::codec::{Publish, ReasonCode, SubAck, SubscribeFilter, SubscriptionOptions};
use crate::message::{QoS, UserProperty};
use crate::session::Token;
use bytestring::ByteString;
use std::sync::{Arc, Weak};
use std::time::SystemTime;

/// The token of an UNSUBSCRIBE that nobody waits for. Keys, the other tokens, are never 0.
pub(super) const NOBODY: Token = 0;

/// A subscription of this client, whatever the broker knows of it.
pub(super) struct Subscribed {
    pub(super) filters: Vec<SubscribeFilter>,
    pub(super) user_properties: Vec<UserProperty>,
    /// Weak, so that the application lets go of a subscription by dropping it.
    pub(super) inbox: Weak<Inbox>,
    pub(super) stage: Stage,
    /// Whether the broker has granted it in the session that it has now, as far as we can know.
    pub(super) is_known: bool,
    /// An earlier process had it, and nobody of this one has asked for it yet.
    pub(super) is_unclaimed: bool,
    /// The program has left it, and the broker is to keep it.
    pub(super) kept: Option<Arc<Inbox>>,
    pub(super) updates: Updates,
    /// As the broker has granted it last.
    pub(super) granted: Vec<(String, SubscriptionOptions)>,
    /// How many dropped messages have been told of.
    pub(super) told_dropped: u64,
}

pub(super) enum Stage {
    /// SUBSCRIBE is under way, or was when the connection ended.
    Asking {
        inbox: Arc<Inbox>,
        reply: Reply<Subscription>,
    },
    Granted,
    /// So is UNSUBSCRIBE, or it will be with the next connection.
    Leaving {
        filters: Vec<ByteString>,
        user_properties: Vec<UserProperty>,
        reply: Option<Reply<Unsubscribed>>,
    },
}

impl Driver {
    pub(super) fn subscribe(
        &mut self,
        filters: Vec<SubscribeFilter>,
        settings: SubscriptionSettings,
        reply: Reply<Subscription>,
    ) {
        let key = self.dispatch.free_key(self.last_key);
        let user_properties = settings.user_properties.clone();
        let token = Token::from(key.get());
        if let Err(error) =
            self.protocol
                .subscribe(filters.clone(), Some(key), &user_properties, token)
        {
            reply.send(Err(error));
            return;
        }
        self.last_key = key;
        self.let_go_of_kept(&filters);
        self.dispatch.add(key, &filters);
        let inbox = Arc::new(Inbox::new(key, settings, Arc::clone(&self.queue)));
        self.claim_early(&inbox, &filters);
        self.subscriptions.insert(
            key,
            Subscribed {
                filters,
                user_properties,
                inbox: Arc::downgrade(&inbox),
                stage: Stage::Asking { inbox, reply },
                is_unclaimed: false,
                kept: None,
                is_known: false,
                updates: Updates::default(),
                granted: Vec::new(),
                told_dropped: 0,
            },
        );
        self.keep_subscription(key);
        self.settle_inboxes();
    }

    /// Messages that came before their subscription.
    pub(super) fn claim_early(&mut self, inbox: &Inbox, filters: &[SubscribeFilter]) {
        for (publish, delivery) in self.claim_from_earlier(inbox.key(), filters) {
            self.push(inbox, publish, delivery);
        }
    }

    /// The broker has answered a SUBSCRIBE.
    pub(super) fn on_subscribed(&mut self, token: Token, suback: &SubAck) {
        if let Some(key) = updated_key(token) {
            return self.on_update_subscribed(key, suback);
        }
        let Some(key) = key_of(token) else {
            return;
        };
        let Some(subscribed) = self.subscriptions.get_mut(&key) else {
            return;
        };
        let refused: Vec<(String, ReasonCode)> = subscribed
            .filters
            .iter()
            .zip(&suback.reasons)
            .filter(|(_, reason)| reason.is_error())
            .map(|(asked, reason)| (asked.filter.to_string(), *reason))
            .collect();
        if matches!(subscribed.stage, Stage::Leaving { .. }) {
            return;
        }
        if !refused.is_empty() {
            self.on_subscription_refused(key, refused, suback);
            return;
        }
        let granted = granted(&subscribed.filters, suback);
        subscribed.is_known = true;
        subscribed.granted.clone_from(&granted);
        let stage = std::mem::replace(&mut subscribed.stage, Stage::Granted);
        if let Stage::Asking { inbox, reply } = stage {
            reply.send(Ok(Subscription {
                inbox,
                granted,
                properties: suback.properties.clone(),
            }));
        }
        self.restored(key, true);
    }

    /// A subscription is whole or not at all: what the broker granted of it is given back.
    fn on_subscription_refused(
        &mut self,
        key: Key,
        refused: Vec<(String, ReasonCode)>,
        suback: &SubAck,
    ) {
        self.restored(key, false);
        self.forget_subscription(key);
        let Some(subscribed) = self.subscriptions.remove(&key) else {
            return;
        };
        let alone = self.dispatch.remove(key);
        let granted = subscribed.filters.iter().zip(&suback.reasons);
        let to_give_back: Vec<ByteString> = granted
            .filter(|(asked, reason)| !reason.is_error() && alone.contains(&asked.filter))
            .map(|(asked, _)| asked.filter.clone())
            .collect();
        if !to_give_back.is_empty() {
            // If it does not fit, its messages come, and are acknowledged and dropped.
            let _ = self.protocol.unsubscribe(to_give_back, &[], NOBODY);
        }
        let error = ClientError::SubscribeRefused {
            results: refused,
            properties: suback.properties.clone(),
        };
        if let Some(inbox) = subscribed.inbox.upgrade() {
            inbox.end(Taken::Failed(error.clone()));
        }
        if let Stage::Asking { reply, .. } = subscribed.stage {
            reply.send(Err(error));
        }
    }

    /// A message arrived: to every subscription it is for. One that nobody wants is acknowledged all the same.
    // spec(4): MQTT-4.5.0-2
    // spec(5): MQTT-3.3.4-1
    pub(super) fn deliver(&mut self, publish: Publish, delivery: u64) {
        self.stats.messages_received += 1;
        let mut keys = std::mem::take(&mut self.keys);
        self.dispatch.route(&publish, &mut keys);
        if let Some((last, others)) = keys.split_last() {
            self.dispatch.owe(&publish, delivery, &keys);
            for key in others {
                self.deliver_to(*key, publish.clone(), delivery);
            }
            self.deliver_to(*last, publish, delivery);
        } else if !(self.early_until.is_some() && self.dispatch.hold(&publish, delivery, None)) {
            self.drop_unwanted(&publish, delivery);
        }
        self.keys = keys;
    }

    fn deliver_to(&mut self, key: Key, publish: Publish, delivery: u64) {
        let subscribed = self.subscriptions.get(&key);
        if let Some(inbox) = subscribed.and_then(|it| it.inbox.upgrade()) {
            self.push(&inbox, publish, delivery);
        } else if subscribed.is_some_and(|it| it.is_unclaimed) {
            self.hold_for_claim(key, &publish, delivery);
        } else if let Some(done) = self.dispatch.processed(key, delivery, ReasonCode::Success) {
            self.accept(done);
        }
    }

    fn push(&mut self, inbox: &Inbox, publish: Publish, delivery: u64) {
        let receipt = publish.packet_id.map(|packet_id| DeliveryReceipt {
            packet_id,
            delivery,
        });
        inbox.push(
            Delivery {
                message: publish.message,
                dup: publish.dup,
                received_at: self.read_at,
                receipt,
            },
            &mut self.aftermath,
        );
    }

    fn drop_unwanted(&mut self, publish: &Publish, delivery: u64) {
        self.stats.dropped_unwanted += 1;
        if let Some(packet_id) = publish.packet_id {
            self.protocol
                .accepted(packet_id, delivery, ReasonCode::Success);
        }
    }

    /// Messages of an earlier process's session have waited long enough for a subscription.
    pub(super) fn drop_early(&mut self) {
        self.early_until = None;
        // Each takes a place of the window until then. There may be more of them than places, and then nothing that
        // somebody wants would ever come.
        let mut places = usize::from(self.options.receive_maximum.get()) / 2;
        if self.options.outbox_path.is_none() {
            places = 0;
        }
        for (publish, delivery) in self.dispatch.unclaimed() {
            match publish.packet_id {
                // It comes again with the next connection, and holds back no others until then.
                Some(packet_id) if places > 0 => {
                    places -= 1;
                    self.protocol.abandon(packet_id, delivery);
                }
                _ => self.drop_unwanted(&publish, delivery),
            }
        }
    }

    /// After a batch of messages: acknowledges what the inboxes settled at once, then wakes each waiter once.
    pub(super) fn settle_inboxes(&mut self) {
        self.aftermath.batch += 1;
        for place in 0..self.aftermath.settled.len() {
            let (key, receipt) = self.aftermath.settled[place];
            let done = self
                .dispatch
                .processed(key, receipt.delivery, ReasonCode::Success);
            if let Some(done) = done {
                self.accept(done);
            }
        }
        self.aftermath.settled.clear();
        for receipt in std::mem::take(&mut self.aftermath.abandoned) {
            if let Some(packet_id) = self.dispatch.forget(receipt.delivery) {
                self.protocol.abandon(packet_id, receipt.delivery);
            }
        }
        let dropped = std::mem::take(&mut self.aftermath.dropped);
        if dropped > 0 {
            self.stats.dropped_overflow += dropped;
            self.note_drops();
        }
        for waker in self.aftermath.wakers.drain(..) {
            waker.wake();
        }
        for key in std::mem::take(&mut self.aftermath.failed) {
            self.unsubscribe(key, Vec::new(), None);
        }
    }

    /// What the application has processed may be acknowledged.
    pub(super) fn take_processed(&mut self) {
        for place in 0..self.work.processed.len() {
            let (key, receipt, reason) = self.work.processed[place];
            if let Some(done) = self.dispatch.processed(key, receipt.delivery, reason) {
                self.accept(done);
            }
        }
        self.work.processed.clear();
    }

    pub(super) fn accept(&mut self, done: Done) {
        self.protocol
            .accepted(done.packet_id, done.delivery, done.reason);
    }

    /// The client is over: every inbox ends, every waiter is answered.
    pub(super) fn end_subscriptions(&mut self, error: &ClientError) {
        let end = match error {
            ClientError::Closed => Taken::Ended,
            failure => Taken::Failed(failure.clone()),
        };
        for (_, subscribed) in std::mem::take(&mut self.subscriptions) {
            if let Some(inbox) = subscribed.inbox.upgrade() {
                inbox.end(end.clone());
            }
            match subscribed.stage {
                Stage::Asking { reply, .. } => reply.send(Err(error.clone())),
                Stage::Leaving {
                    reply: Some(reply), ..
                } => reply.send(match error {
                    ClientError::Closed => Ok(Unsubscribed::default()),
                    failure => Err(failure.clone()),
                }),
                Stage::Leaving { reply: None, .. } | Stage::Granted => {}
            }
        }
    }

    pub(super) fn stamp_batch(&mut self) {
        self.read_at = SystemTime::now();
    }
}

pub(super) fn key_of(token: Token) -> Option<Key> {
    u32::try_from(token).ok().and_then(Key::new)
}

/// The filters with their options, the QoS as granted.
pub(super) fn granted(
    filters: &[SubscribeFilter],
    suback: &SubAck,
) -> Vec<(String, SubscriptionOptions)> {
    filters
        .iter()
        .zip(&suback.reasons)
        .map(|(asked, reason)| {
            let qos = QoS::from_number(reason.number()).unwrap_or(asked.options.qos);
            (
                asked.filter.to_string(),
                SubscriptionOptions {
                    qos,
                    ..asked.options
                },
            )
        })
        .collect()
}
