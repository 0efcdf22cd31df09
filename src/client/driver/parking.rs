//! Subscriptions that an earlier process has left, and that nobody of this one has asked for yet.
//!
//! The broker knows them, so their messages come. They are held unacknowledged, as many as Receive Maximum allows, until
//! somebody subscribes to the same filter. What nobody asks for in time is unsubscribed and let go of: or it would fill
//! the window for ever.

use super::Driver;
use super::subscribing::{Stage, Subscribed};
use super::updating::Updates;
use crate::client::dispatch::Key;
use crate::codec::{Publish, Subscribe, SubscribeFilter};
use crate::storage::Change;
use bytestring::ByteString;
use std::sync::Weak;
use std::time::Duration;

/// How long after the first connection a filter may be asked for.
const CLAIMS_LAST: Duration = Duration::from_secs(60);

impl Driver {
    /// Takes up the subscriptions of an earlier process, before the first connection.
    pub(super) fn take_up_subscriptions(&mut self, stored: Vec<Subscribe>) {
        for subscribe in stored {
            let Some(key) = subscribe.subscription_id else {
                continue;
            };
            self.last_key = self.last_key.max(key);
            self.dispatch.add(key, &subscribe.filters);
            self.subscriptions.insert(
                key,
                Subscribed {
                    filters: subscribe.filters,
                    user_properties: subscribe.user_properties,
                    inbox: Weak::new(),
                    stage: Stage::Granted,
                    is_known: false,
                    is_unclaimed: true,
                    kept: None,
                    updates: Updates::default(),
                    granted: Vec::new(),
                    told_dropped: 0,
                },
            );
        }
    }

    /// The first connection is there: from now on the time runs.
    pub(super) fn begin_claims(&mut self) {
        let has_any = self.subscriptions.values().any(|it| it.is_unclaimed);
        self.claims_until = has_any.then(|| self.now() + CLAIMS_LAST);
    }

    /// A message for such a subscription.
    pub(super) fn hold_for_claim(&mut self, key: Key, publish: &Publish, delivery: u64) {
        if !self.dispatch.hold(publish, delivery, Some(key)) {
            self.stats.dropped_unwanted += 1;
        }
    }

    /// Somebody subscribes to these filters: what has come for them is his, and so is what will come. In its order.
    pub(super) fn claim_from_earlier(
        &mut self,
        key: Key,
        filters: &[SubscribeFilter],
    ) -> Vec<(Publish, u64)> {
        let is_claimed = |had: &SubscribeFilter| filters.iter().any(|it| it.filter == had.filter);
        let unclaimed = self.subscriptions.iter().filter(|(_, subscribed)| {
            subscribed.is_unclaimed && subscribed.filters.iter().any(is_claimed)
        });
        let from: Vec<Key> = unclaimed.map(|(key, _)| *key).collect();
        let claimed = self.dispatch.claim(key, &from);
        let texts: Vec<ByteString> = filters.iter().map(|it| it.filter.clone()).collect();
        for had in from {
            let Some(subscribed) = self.subscriptions.get_mut(&had) else {
                continue;
            };
            subscribed.filters.retain(|filter| !is_claimed(filter));
            self.dispatch.remove_some(had, &texts);
            if subscribed.filters.is_empty() {
                self.restored(had, false);
                self.dispatch.remove(had);
                self.subscriptions.remove(&had);
                self.forget_subscription(had);
            } else {
                self.keep_subscription(had);
            }
        }
        claimed
    }

    /// Nobody has asked for these in time.
    pub(super) fn end_claims(&mut self) {
        self.claims_until = None;
        let unclaimed = self.subscriptions.iter();
        let unclaimed = unclaimed.filter(|(_, subscribed)| subscribed.is_unclaimed);
        let keys: Vec<Key> = unclaimed.map(|(key, _)| *key).collect();
        for key in keys {
            self.stats.dropped_unwanted += self.dispatch.let_go(key) as u64;
            // From now on it is as one that was dropped.
            if let Some(subscribed) = self.subscriptions.get_mut(&key) {
                subscribed.is_unclaimed = false;
            }
            self.inbox_dropped(key);
        }
    }

    /// The next process has to know of this subscription as it is now: before SUBSCRIBE leaves.
    pub(super) fn keep_subscription(&mut self, key: Key) {
        if let Some(subscribed) = self.subscriptions.get(&key)
            && self.storing.is_some()
        {
            let filters = subscribed.all_filters();
            let user_properties = subscribed.user_properties.clone();
            self.write(Change::Subscribed {
                key,
                filters,
                user_properties,
            });
        }
    }

    /// It need not know any more.
    pub(super) fn forget_subscription(&mut self, key: Key) {
        self.write(Change::Unsubscribed(key));
    }
}
