//! Subscriptions after a cut: which of them the broker has to be asked for again.
//!
//! A subscription is *known* once the broker has granted it in the session that it has now. It is no longer when the broker
//! begins anew, nor when it may have done so without our hearing of it (`protocol/doubt`): who asks once too often loses
//! nothing, who asks once too seldom waits for ever.

use super::Driver;
use super::subscribing::Stage;
use crate::client::dispatch::Key;
use crate::client::inbox::{Resumption, Taken};
use crate::client::{ClientError, Event, Resubscribe, Unsubscribed};
use crate::codec::{RetainHandling, SubscribeFilter};
use crate::session::Token;
use std::collections::BTreeSet;

/// What has been asked for again on this connection, and is not answered.
#[derive(Default)]
pub(super) struct Restoring {
    pending: BTreeSet<Key>,
    granted: Vec<String>,
}

impl Driver {
    /// A connection begins: what the broker does not know is asked for (again).
    pub(super) fn restore_subscriptions(&mut self, session_present: bool) {
        let resumption = match (session_present, self.protocol.is_session_doubtful()) {
            (false, _) => Resumption::None,
            (true, true) => Resumption::Doubtful,
            (true, false) => Resumption::Sure,
        };
        self.restoring = Restoring::default();
        let keys: Vec<Key> = self.subscriptions.keys().copied().collect();
        for key in keys {
            self.restore(key, resumption);
        }
    }

    fn restore(&mut self, key: Key, resumption: Resumption) {
        let Some(subscribed) = self.subscriptions.get_mut(&key) else {
            return;
        };
        if let Some(inbox) = subscribed.inbox.upgrade() {
            inbox.begin_connection(resumption);
        }
        subscribed.is_known &= resumption == Resumption::Sure;
        let is_known = subscribed.is_known;
        match &mut subscribed.stage {
            Stage::Leaving { .. } => self.leave_again(key, resumption),
            Stage::Asking { .. } => self.ask_again(key, resumption),
            Stage::Granted => match self.resubscribe() {
                Resubscribe::Auto if is_known => {}
                Resubscribe::Auto | Resubscribe::Always => {
                    self.restoring.pending.insert(key);
                    self.ask_again(key, resumption);
                }
                // Nothing would ever come, and nobody would be told.
                Resubscribe::Never if resumption == Resumption::None => {
                    self.fail_subscription(key, ClientError::SessionLost);
                }
                Resubscribe::Never => {}
            },
        }
        self.restore_update(key, resumption);
    }

    fn resubscribe(&self) -> Resubscribe {
        self.options
            .reconnect
            .as_ref()
            .map_or(Resubscribe::Auto, |reconnect| reconnect.resubscribe)
    }

    fn ask_again(&mut self, key: Key, resumption: Resumption) {
        let Some(subscribed) = self.subscriptions.get(&key) else {
            return;
        };
        let mut filters = subscribed.filters.clone();
        let is_granted = matches!(subscribed.stage, Stage::Granted);
        if is_granted && resumption != Resumption::None && self.protocol.granted().is_v5() {
            spare_retained(&mut filters);
        }
        let asked = self.protocol.subscribe(
            filters,
            Some(key),
            &subscribed.user_properties,
            Token::from(key.get()),
        );
        if let Err(error) = asked {
            self.fail_subscription(key, error);
        }
    }

    /// The broker is told of a subscription that was given up while there was no connection, if it may know of it.
    fn leave_again(&mut self, key: Key, resumption: Resumption) {
        let Some(subscribed) = self.subscriptions.get_mut(&key) else {
            return;
        };
        let Stage::Leaving {
            filters,
            user_properties,
            reply,
        } = &mut subscribed.stage
        else {
            return;
        };
        let token = Token::from(key.get());
        let is_left = resumption != Resumption::None
            && self
                .protocol
                .unsubscribe(filters.clone(), user_properties, token)
                .is_ok();
        if !is_left {
            let reply = reply.take();
            self.end_subscription(key, reply, Ok(Unsubscribed::default()));
        }
    }

    /// The new connection cannot have this subscription.
    fn fail_subscription(&mut self, key: Key, error: ClientError) {
        self.restored(key, false);
        self.forget_subscription(key);
        self.dispatch.remove(key);
        let Some(subscribed) = self.subscriptions.remove(&key) else {
            return;
        };
        if let Some(inbox) = subscribed.inbox.upgrade() {
            inbox.end(Taken::Failed(error.clone()));
        }
        if let Stage::Asking { reply, .. } = subscribed.stage {
            reply.send(Err(error));
        }
    }

    /// A subscription that was asked for again is answered, or gone. With the last of them it is told that all are back.
    pub(super) fn restored(&mut self, key: Key, is_granted: bool) {
        if !self.restoring.pending.remove(&key) {
            return;
        }
        if is_granted && let Some(subscribed) = self.subscriptions.get(&key) {
            let filters = subscribed.filters.iter();
            let filters = filters.map(|asked| asked.filter.to_string());
            self.restoring.granted.extend(filters);
        }
        if self.restoring.pending.is_empty() && !self.restoring.granted.is_empty() {
            let filters = std::mem::take(&mut self.restoring.granted);
            self.tell(Event::Resubscribed { filters });
        }
    }
}

/// A broker that has the subscription after all need not send its retained messages again.
fn spare_retained(filters: &mut [SubscribeFilter]) {
    for asked in filters {
        if asked.options.retain_handling == RetainHandling::Always {
            asked.options.retain_handling = RetainHandling::IfNew;
        }
    }
}
