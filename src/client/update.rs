//! Other filters for a subscription that goes on.

use super::commands::{Command, Reply, Update};
use super::{Client, ClientError, Done, Subscription};
use crate::codec::{AckProperties, SubscribeFilter, SubscriptionOptions};
use crate::message::UserProperty;

/// What an update came to: the filters hold.
#[derive(Debug, Clone)]
pub struct Updated {
    /// All filters with their options, as granted.
    pub granted: Vec<(String, SubscriptionOptions)>,
    /// What the broker added to its answer (MQTT 5).
    pub properties: Option<Box<AckProperties>>,
    /// Whether the broker has let the others go; else it may send what is not wanted any more.
    pub left: Result<(), ClientError>,
}

impl Client {
    /// Gives a subscription these filters in the place of those it has: first what is new is asked for, then what is no
    /// longer wanted is left. A filter that stays as it is is not touched. Until the end messages of the old and the new
    /// ones come. Several updates of one subscription are done, and told, one after the other.
    ///
    /// An error, which is told by `done` like success: a filter was refused, and then all is as it was; or the
    /// subscription has ended.
    pub fn update(
        &self,
        subscription: &Subscription,
        filters: Vec<SubscribeFilter>,
        user_properties: Vec<UserProperty>,
        done: Done<Updated>,
    ) {
        let update = Update {
            filters,
            user_properties,
            reply: Reply::new(Some(done)),
        };
        let key = subscription.inbox.key();
        self.shared.queue.command(Command::Update(key, update));
    }
}
