//! Subscriptions that come and go, and the retained messages that come of them.

use super::{Attached, Hub};
use crate::broker::outbox::Outbox;
use crate::broker::protocol::{Delivery, FilterRequest};
use crate::broker::subscriptions::Subscription;
use crate::codec::ReasonCode;
use crate::message::Message;
use crate::topic::TopicFilter;
use std::num::NonZeroU32;
use std::time::Instant;

/// Retained messages fetched under one lock.
const RETAINED_SLICE: usize = 64;

/// Slices fetched in one go. A session that may read none of them, or whose wildcards match none, must not keep its thread
/// from others.
const RETAINED_SLICES_MAX: usize = 8;

impl Hub {
    /// Subscribes a session; one code for each filter, in order.
    // spec(4): MQTT-3.8.4-3, MQTT-3.8.4-4
    // spec(5): MQTT-3.8.4-3, MQTT-3.8.4-5
    pub fn subscribe(
        &self,
        attached: &Attached,
        filters: &[FilterRequest],
        id: Option<NonZeroU32>,
    ) -> Vec<ReasonCode> {
        let mut cursors = Vec::new();
        let mut joined = Vec::new();
        let mut reasons = Vec::with_capacity(filters.len());
        {
            let mut core = self.core.write();
            for line in filters {
                reasons.push(match &line.filter {
                    Err(reason) => *reason,
                    Ok(filter) => {
                        if let Some(limit) = core.subscription_limit(attached.key, filter) {
                            self.counters.reached(limit);
                            reasons.push(ReasonCode::QuotaExceeded);
                            continue;
                        }
                        let subscription = Subscription {
                            options: line.options,
                            id,
                        };
                        let (cursor, group) = core.subscribe(attached.key, filter, subscription);
                        cursors.extend(cursor);
                        joined.extend(group.map(|group| (group, subscription)));
                        ReasonCode::granted(line.options.qos)
                    }
                });
            }
            core.note_held();
        }
        for cursor in cursors {
            attached.outbox.add_cursor(cursor);
        }
        for (group, subscription) in joined {
            let after = group.join(attached.key, &attached.outbox, subscription);
            self.follow_group(&group, after, None);
            if attached.outbox.reader().is_some() {
                self.restrict_member(&group, &attached.outbox);
            }
        }
        reasons
    }

    /// Ends subscriptions of a session; one code for each filter, in order.
    // spec(4): MQTT-3.10.4-2, MQTT-3.10.4-6
    // spec(5): MQTT-3.10.4-2, MQTT-3.10.4-6
    pub fn unsubscribe(
        &self,
        attached: &Attached,
        filters: &[Result<TopicFilter, ReasonCode>],
    ) -> Vec<ReasonCode> {
        let mut left = Vec::new();
        let mut reasons = Vec::with_capacity(filters.len());
        {
            let mut core = self.core.write();
            for filter in filters {
                reasons.push(match filter {
                    Err(reason) => *reason,
                    Ok(filter) => {
                        let (was_there, group) = core.unsubscribe(attached.key, filter);
                        left.extend(group);
                        if was_there {
                            ReasonCode::Success
                        } else {
                            ReasonCode::NoSubscriptionExisted
                        }
                    }
                });
            }
            core.note_held();
        }
        for group in left {
            let after = group.leave(&attached.outbox);
            self.follow_group(&group, after, None);
            attached.outbox.forget_hand(&group);
        }
        for filter in filters.iter().flatten() {
            attached.outbox.drop_cursor(filter.as_str());
        }
        reasons
    }

    /// Fetches retained messages for a session whose queue is nearly empty.
    pub(super) fn fetch_retained(&self, outbox: &Outbox, now: Instant) {
        for _ in 0..RETAINED_SLICES_MAX {
            let Some(mut cursor) = outbox.begin_retained() else {
                return;
            };
            let mut found = Vec::new();
            let (has_more, withheld) = {
                let core = self.core.read();
                let router = &core.router;
                let has_more = router.next_retained(&mut cursor, RETAINED_SLICE, now, &mut found);
                (has_more, core.withhold(&mut found))
            };
            if let Some(ledger) = &self.ledger {
                ledger.credit(|credits| credits.retained += found.len() + withheld);
            }
            self.note_withheld(outbox, withheld);
            let slice = found
                .into_iter()
                .map(|kept| Delivery {
                    // spec(4): MQTT-3.3.1-8
                    message: Message {
                        qos: kept.message.qos.min(cursor.qos),
                        retain: true,
                        ..kept.message
                    },
                    subscription_ids: cursor.subscription_id.into_iter().collect(),
                    expires_at: kept.expires_at,
                    token: 0,
                })
                .collect();
            let denied = outbox.push_retained(slice, has_more.then_some(cursor));
            self.note_denied(Some(outbox), None, denied);
        }
        outbox.call_back();
    }
}
