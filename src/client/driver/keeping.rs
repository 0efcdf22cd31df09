//! Subscriptions that the program has left and the broker keeps, for whoever resumes the session: nothing that comes by
//! them on this connection is acknowledged, so it comes again then.

use super::Driver;
use crate::client::dispatch::Key;
use crate::client::inbox::Inbox;
use crate::codec::SubscribeFilter;
use std::sync::Arc;

impl Driver {
    /// Holds on to an inbox that was abandoned, so that its subscription does not end with it.
    pub(super) fn keep(&mut self, inbox: Arc<Inbox>) {
        if let Some(subscribed) = self.subscriptions.get_mut(&inbox.key()) {
            subscribed.kept = Some(inbox);
        }
    }

    /// Somebody is here again for these filters: what was kept of them is his, and is acknowledged when he says so.
    pub(super) fn let_go_of_kept(&mut self, filters: &[SubscribeFilter]) {
        let is_taken = |kept: &SubscribeFilter| filters.iter().any(|it| it.filter == kept.filter);
        let found = self.subscriptions.iter().filter(|(_, subscribed)| {
            subscribed.kept.is_some() && subscribed.filters.iter().any(is_taken)
        });
        let keys: Vec<Key> = found.map(|(key, _)| *key).collect();
        for key in keys {
            self.dispatch.remove(key);
            let Some(mut subscribed) = self.subscriptions.remove(&key) else {
                continue;
            };
            subscribed.filters.retain(|kept| !is_taken(kept));
            if subscribed.filters.is_empty() {
                self.forget_subscription(key);
            } else {
                self.dispatch.add(key, &subscribed.filters);
                self.subscriptions.insert(key, subscribed);
                self.keep_subscription(key);
            }
        }
    }
}
