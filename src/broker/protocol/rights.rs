//! What the client may do: asked before anything of it is let in, and before what it was sent is sent again.

use super::Protocol;
use crate::broker::rights::Rights;
use crate::codec::ReasonCode;
use crate::topic::{TopicFilter, TopicName};
use std::sync::Arc;

/// The longest topic that is remembered.
const REMEMBERED_MAX: usize = 256;

/// How much was refused for want of rights.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Denied {
    /// Messages that the client published.
    pub publishes: usize,
    /// Filters that it asked for.
    pub subscriptions: usize,
}

/// What a client may do, and what has come of it.
#[derive(Debug, Default)]
pub(super) struct Permit {
    /// `None`: everything.
    rights: Option<Arc<Rights>>,
    /// Where it was last allowed to publish: who publishes, publishes to the same topic again. Empty: nowhere.
    last: String,
    denied: Denied,
}

impl Permit {
    /// Why so many messages to one topic are not let in.
    pub(super) fn refuses(&mut self, topic: &TopicName, count: usize) -> Option<ReasonCode> {
        let rights = self.rights.as_ref()?;
        if self.last == topic.as_str() {
            return None;
        }
        if !rights.may_publish(topic) {
            self.denied.publishes += count;
            return Some(ReasonCode::NotAuthorized);
        }
        self.last.clear();
        if topic.as_str().len() <= REMEMBERED_MAX {
            self.last.push_str(topic.as_str());
        }
        None
    }

    /// Why it may not ask for what this filter matches.
    pub(super) fn refuses_filter(&mut self, filter: &TopicFilter) -> Option<ReasonCode> {
        if self.rights.as_ref()?.may_subscribe(filter) {
            return None;
        }
        self.denied.subscriptions += 1;
        Some(ReasonCode::NotAuthorized)
    }

    pub(super) fn may_read(&self, topic: &TopicName) -> bool {
        let rights = self.rights.as_ref();
        rights.is_none_or(|rights| rights.may_read(topic))
    }
}

impl Protocol {
    /// From now on the client may do this; `None`: everything. To be said before [`Protocol::accept`], and whenever it
    /// has changed.
    pub fn set_rights(&mut self, rights: Option<Arc<Rights>>) {
        self.permit.rights = rights;
        self.permit.last.clear();
    }

    /// How much was refused for want of rights since this was asked last.
    pub fn take_denied(&mut self) -> Denied {
        std::mem::take(&mut self.permit.denied)
    }
}
