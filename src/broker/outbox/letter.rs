//! One message on its way into any number of queues: copied out of its read buffer once at most.

use crate::broker::memory::Memory;
use crate::broker::protocol::Delivery;
use crate::broker::retained::expiry;
use crate::broker::router::Route;
use crate::message::{Message, QoS};
use crate::topic::TopicName;
use std::sync::Arc;
use std::time::Instant;

/// One message on its way into any number of queues.
#[derive(Debug)]
pub struct Letter<'a> {
    message: &'a Message,
    /// The batch it came with, and whose read buffers it may lie in.
    batch: u64,
    memory: &'a Arc<Memory>,
    expires_at: Option<Instant>,
    /// The message in memory of its own: made once, for the first queue in which it may stay long.
    copy: Option<Message>,
}

impl<'a> Letter<'a> {
    /// A message that arrives at `now` with this batch: a number that no other batch has.
    pub fn new(message: &'a Message, batch: u64, memory: &'a Arc<Memory>, now: Instant) -> Self {
        Self {
            message,
            batch,
            memory,
            expires_at: expiry(message, now),
            copy: None,
        }
    }

    /// Where it was published to.
    pub fn topic(&self) -> &TopicName {
        &self.message.topic
    }

    /// The QoS it was published with.
    pub fn qos(&self) -> QoS {
        self.message.qos
    }

    /// The message as it was published, and when it is of no more use.
    pub fn share(&mut self, is_for_long: bool) -> (Message, Option<Instant>) {
        let message = self.lasting(is_for_long).clone();
        (message, self.expires_at)
    }

    pub(super) fn batch(&self) -> u64 {
        self.batch
    }

    fn lasting(&mut self, is_for_long: bool) -> &Message {
        if is_for_long {
            self.copy
                .get_or_insert_with(|| self.memory.keep(self.message))
        } else {
            self.message
        }
    }

    pub(super) fn delivery(&mut self, route: &Route, is_for_long: bool) -> Delivery {
        let message = self.lasting(is_for_long);
        Delivery {
            message: Message {
                qos: route.qos,
                retain: route.retain,
                ..message.clone()
            },
            subscription_ids: route.subscription_ids.clone(),
            expires_at: self.expires_at,
            token: 0,
        }
    }
}
