//! A subscription that gets other filters while it goes on: what is new is asked for first, and only when it is granted
//! what is no longer wanted is left. What stays is not touched, and all of it comes into the same inbox meanwhile.
//!
//! One update at a time; those that come meanwhile wait. A cut changes nothing but the connection on which the step is
//! taken again.

use super::Driver;
use super::subscribing::{NOBODY, Stage, Subscribed, granted};
use crate::client::commands::{Reply, Update};
use crate::client::dispatch::Key;
use crate::client::inbox::Resumption;
use crate::client::{ClientError, Updated};
use crate::codec::{
    AckProperties, ReasonCode, SubAck, SubscribeFilter, SubscriptionOptions, UnsubAck,
};
use crate::session::Token;
use bytestring::ByteString;
use std::collections::VecDeque;

/// Marks the tokens of updates: beside it stands the key.
const UPDATE: Token = 1 << 32;

/// The updates of one subscription.
#[derive(Default)]
pub(super) struct Updates {
    current: Option<Updating>,
    next: VecDeque<Update>,
}

/// One that is under way.
enum Updating {
    /// SUBSCRIBE is, or was when the connection ended.
    Asking {
        asked: Vec<SubscribeFilter>,
        update: Update,
    },
    /// So is UNSUBSCRIBE; what the broker has granted before holds.
    Leaving {
        /// What the subscription has no longer.
        gone: Vec<ByteString>,
        /// What the broker has to be told of it: others may have the rest.
        told: Vec<ByteString>,
        /// Nobody is told twice.
        answer: Option<(Reply<Updated>, Updated)>,
    },
}

/// Which update has been answered.
pub(super) fn updated_key(token: Token) -> Option<Key> {
    let key = u32::try_from(token ^ UPDATE).ok()?;
    Key::new(key)
}

fn token(key: Key) -> Token {
    UPDATE | Token::from(key.get())
}

fn has(filters: &[SubscribeFilter], text: &ByteString) -> bool {
    filters.iter().any(|it| it.filter == *text)
}

impl Subscribed {
    /// The subscription ends: with it, whatever the broker may know of by an update.
    pub(super) fn give_up_updates(&mut self) {
        self.updates.next.clear();
        self.filters = self.all_filters();
        self.updates.current = None;
    }

    /// Its filters, and whatever else the broker may know of by an update.
    pub(super) fn all_filters(&self) -> Vec<SubscribeFilter> {
        let mut filters = self.filters.clone();
        match &self.updates.current {
            Some(Updating::Asking { asked, .. }) => {
                let new = asked.iter().filter(|it| !has(&self.filters, &it.filter));
                filters.extend(new.cloned());
            }
            Some(Updating::Leaving { told, .. }) => {
                let options = self.filters.first().map(|first| first.options);
                let options = options.unwrap_or_default();
                let told = told.iter().cloned();
                filters.extend(told.map(|filter| SubscribeFilter { filter, options }));
            }
            None => {}
        }
        filters
    }
}

impl Driver {
    pub(super) fn update(&mut self, key: Key, update: Update) {
        match self.subscriptions.get_mut(&key) {
            Some(subscribed) if matches!(subscribed.stage, Stage::Granted) => {
                subscribed.updates.next.push_back(update);
                self.next_update(key);
            }
            _ => update.reply.send(Err(ClientError::Closed)),
        }
    }

    /// Begins the next one, if none is under way.
    fn next_update(&mut self, key: Key) {
        while let Some(subscribed) = self.subscriptions.get_mut(&key) {
            if subscribed.updates.current.is_some() {
                return;
            }
            let Some(update) = subscribed.updates.next.pop_front() else {
                return;
            };
            let wanted = update.filters.iter();
            let asked = wanted.filter(|it| !subscribed.filters.contains(it));
            let asked: Vec<SubscribeFilter> = asked.cloned().collect();
            if asked.is_empty() {
                self.leave_rest(key, update, &[], None);
                self.keep_subscription(key);
            } else {
                self.ask_for(key, asked, update);
            }
        }
    }

    fn ask_for(&mut self, key: Key, asked: Vec<SubscribeFilter>, update: Update) {
        let properties = &update.user_properties;
        if let Err(error) =
            self.protocol
                .subscribe(asked.clone(), Some(key), properties, token(key))
        {
            update.reply.send(Err(error));
            return;
        }
        self.let_go_of_kept(&asked);
        self.dispatch.add(key, &asked);
        let Some(subscribed) = self.subscriptions.get_mut(&key) else {
            return;
        };
        let inbox = subscribed.inbox.upgrade();
        let new = asked.clone();
        subscribed.updates.current = Some(Updating::Asking { asked, update });
        self.keep_subscription(key);
        if let Some(inbox) = inbox {
            self.claim_early(&inbox, &new);
            self.settle_inboxes();
        }
    }

    /// The broker has answered the SUBSCRIBE of an update.
    pub(super) fn on_update_subscribed(&mut self, key: Key, suback: &SubAck) {
        let Some(subscribed) = self.subscriptions.get_mut(&key) else {
            return;
        };
        let (asked, update) = match subscribed.updates.current.take() {
            Some(Updating::Asking { asked, update }) => (asked, update),
            other => {
                subscribed.updates.current = other;
                return;
            }
        };
        let refused: Vec<(String, ReasonCode)> = asked
            .iter()
            .zip(&suback.reasons)
            .filter(|(_, reason)| reason.is_error())
            .map(|(asked, reason)| (asked.filter.to_string(), *reason))
            .collect();
        if refused.is_empty() {
            let granted = granted(&asked, suback);
            self.leave_rest(key, update, &granted, suback.properties.clone());
        } else {
            self.undo_update(key, &asked, suback);
            update.reply.send(Err(ClientError::SubscribeRefused {
                results: refused,
                properties: suback.properties.clone(),
            }));
        }
        self.keep_subscription(key);
        self.next_update(key);
    }

    /// An update is whole or not at all: what the broker granted of it is as it was before.
    fn undo_update(&mut self, key: Key, asked: &[SubscribeFilter], suback: &SubAck) {
        let Some(subscribed) = self.subscriptions.get(&key) else {
            return;
        };
        let is_new = |it: &SubscribeFilter| !has(&subscribed.filters, &it.filter);
        let granted = asked.iter().zip(&suback.reasons);
        let granted = granted.filter(|(_, reason)| !reason.is_error());
        let granted: Vec<&SubscribeFilter> = granted.map(|(asked, _)| asked).collect();
        let before = subscribed.filters.iter();
        let before = before.filter(|it| granted.iter().any(|other| other.filter == it.filter));
        let before: Vec<SubscribeFilter> = before.cloned().collect();
        let properties = subscribed.user_properties.clone();
        let new = asked.iter().filter(|it| is_new(it));
        let new: Vec<ByteString> = new.map(|it| it.filter.clone()).collect();
        let mut alone = self.dispatch.remove_some(key, &new);
        alone.retain(|text| granted.iter().any(|it| it.filter == *text));
        // What does not fit, if anything: the broker sends more than is wanted, or with the QoS of the update.
        if !alone.is_empty() {
            let _ = self.protocol.unsubscribe(alone, &[], NOBODY);
        }
        if !before.is_empty() {
            let _ = self
                .protocol
                .subscribe(before, Some(key), &properties, NOBODY);
        }
    }

    /// What was asked for is granted: the rest is left.
    fn leave_rest(
        &mut self,
        key: Key,
        update: Update,
        granted: &[(String, SubscriptionOptions)],
        properties: Option<Box<AckProperties>>,
    ) {
        let Some(subscribed) = self.subscriptions.get_mut(&key) else {
            return;
        };
        let before = std::mem::replace(&mut subscribed.filters, update.filters);
        if !update.user_properties.is_empty() {
            subscribed.user_properties = update.user_properties;
        }
        let known = |asked: &SubscribeFilter| {
            let mut all = granted.iter().chain(&subscribed.granted);
            all.find(|(filter, _)| *filter == *asked.filter).cloned()
        };
        subscribed.granted = subscribed.filters.iter().filter_map(known).collect();
        let mut updated = Updated {
            granted: subscribed.granted.clone(),
            properties,
            left: Ok(()),
        };
        let mut gone: Vec<ByteString> = Vec::new();
        for asked in before {
            if !has(&subscribed.filters, &asked.filter) && !gone.contains(&asked.filter) {
                gone.push(asked.filter);
            }
        }
        let told = gone.iter();
        let told = told.filter(|text| !self.dispatch.is_shared_with_others(key, text));
        let told: Vec<ByteString> = told.cloned().collect();
        if !told.is_empty() {
            updated.left = self.protocol.unsubscribe(told.clone(), &[], token(key));
        }
        if told.is_empty() || updated.left.is_err() {
            self.dispatch.remove_some(key, &gone);
            update.reply.send(Ok(updated));
            return;
        }
        subscribed.updates.current = Some(Updating::Leaving {
            gone,
            told,
            answer: Some((update.reply, updated)),
        });
    }

    /// The broker has answered the UNSUBSCRIBE of an update. Also where it refused, the filters are left here.
    pub(super) fn on_update_unsubscribed(&mut self, key: Key, unsuback: &UnsubAck) {
        let Some(subscribed) = self.subscriptions.get_mut(&key) else {
            return;
        };
        let (gone, told, answer) = match subscribed.updates.current.take() {
            Some(Updating::Leaving { gone, told, answer }) => (gone, told, answer),
            other => {
                subscribed.updates.current = other;
                return;
            }
        };
        self.dispatch.remove_some(key, &gone);
        let refused: Vec<(String, ReasonCode)> = told
            .iter()
            .zip(&unsuback.reasons)
            .filter(|(_, reason)| reason.is_error())
            .map(|(filter, reason)| (filter.to_string(), *reason))
            .collect();
        if let Some((reply, mut updated)) = answer {
            if !refused.is_empty() {
                updated.left = Err(ClientError::UnsubscribeRefused {
                    results: refused,
                    properties: unsuback.properties.clone(),
                });
            }
            reply.send(Ok(updated));
        }
        self.keep_subscription(key);
        self.next_update(key);
    }

    /// There is no connection: whoever only waited for filters to be left has left them. The broker hears of it by the
    /// next one.
    pub(super) fn leave_rest_without_connection(&mut self) {
        let mut answers = Vec::new();
        for (key, subscribed) in &mut self.subscriptions {
            if let Some(Updating::Leaving { gone, answer, .. }) = &mut subscribed.updates.current {
                self.dispatch.remove_some(*key, gone);
                answers.extend(answer.take());
            }
        }
        for (reply, updated) in answers {
            reply.send(Ok(updated));
        }
    }

    /// A connection begins: the step that was under way is taken again.
    pub(super) fn restore_update(&mut self, key: Key, resumption: Resumption) {
        let Some(subscribed) = self.subscriptions.get_mut(&key) else {
            return;
        };
        match &subscribed.updates.current {
            Some(Updating::Asking { asked, update }) => {
                let (asked, properties) = (asked.clone(), update.user_properties.clone());
                let again = self
                    .protocol
                    .subscribe(asked, Some(key), &properties, token(key));
                if let Err(error) = again {
                    self.fail_update(key, error);
                }
            }
            Some(Updating::Leaving { told, .. }) => {
                let is_left = resumption != Resumption::None
                    && self
                        .protocol
                        .unsubscribe(told.clone(), &[], token(key))
                        .is_ok();
                if !is_left {
                    subscribed.updates.current = None;
                    self.keep_subscription(key);
                }
            }
            None => {}
        }
        self.next_update(key);
    }

    /// This connection cannot have it.
    fn fail_update(&mut self, key: Key, error: ClientError) {
        let Some(subscribed) = self.subscriptions.get_mut(&key) else {
            return;
        };
        if let Some(Updating::Asking { asked, update }) = subscribed.updates.current.take() {
            let new = asked.iter().map(|it| it.filter.clone());
            let new: Vec<ByteString> = new.filter(|it| !has(&subscribed.filters, it)).collect();
            self.dispatch.remove_some(key, &new);
            self.keep_subscription(key);
            update.reply.send(Err(error));
        }
    }
}
