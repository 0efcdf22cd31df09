//! Subscriptions that come and go, and the retained messages that come of them.

use super::{Coming, Model, Subscription};
use crate::sim::queue::Owed;
use rmqtt::broker::protocol::{FilterRequest, SubscribeRequest};
use rmqtt::broker::rights::Access;
use rmqtt::codec::{ReasonCode, RetainHandling};
use rmqtt::topic::TopicFilter;
use std::collections::BTreeSet;
use std::time::Instant;

/// Retained messages are fetched while less than this waits.
const RETAINED_LOW: usize = 64;

/// And for so many subscriptions in one go.
const RETAINED_SLICES_MAX: usize = 8;

impl Model {
    /// Returns the codes that SUBACK has to say.
    pub(in crate::sim) fn subscribe(
        &mut self,
        client: usize,
        request: &SubscribeRequest,
    ) -> Vec<ReasonCode> {
        let id = request.subscription_id;
        let has_retained = !self.retained.is_empty();
        let filters = self.take_filters(client);
        let session = self.sessions.get_mut(&client).expect("it is connected");
        let mut subscribe = |(line, may): (&FilterRequest, bool)| {
            if !may {
                let refused = line.filter.as_ref().err();
                assert_eq!(refused, Some(&ReasonCode::NotAuthorized), "client {client}");
                return ReasonCode::NotAuthorized;
            }
            let filter = line.filter.as_ref().expect("it is allowed").as_str();
            let options = line.options;
            if self.groups.subscribe(client, filter, options, id) {
                return ReasonCode::granted(options.qos);
            }
            let subscription = Subscription { options, id };
            let old = session
                .subscriptions
                .insert(filter.to_owned(), subscription);
            let wants_retained = match options.retain_handling {
                RetainHandling::Always => true,
                RetainHandling::IfNew => old.is_none(),
                RetainHandling::Never => false,
            };
            if wants_retained && has_retained {
                session.coming.retain(|coming| coming.filter != filter);
                session.coming.push_back(Coming {
                    filter: filter.to_owned(),
                    qos: options.qos,
                    id,
                });
            }
            ReasonCode::granted(options.qos)
        };
        let lines = request.filters.iter().zip(filters);
        lines.map(&mut subscribe).collect()
    }

    /// Returns the codes that UNSUBACK has to say.
    pub(in crate::sim) fn unsubscribe(
        &mut self,
        client: usize,
        filters: &[Result<TopicFilter, ReasonCode>],
    ) -> Vec<ReasonCode> {
        let session = self.sessions.get_mut(&client).expect("it is connected");
        let mut unsubscribe = |filter: &Result<TopicFilter, ReasonCode>| {
            let filter = filter.as_ref().expect("they are valid").as_str();
            session.coming.retain(|coming| coming.filter != filter);
            let was_member = self.groups.unsubscribe(client, filter);
            let was_there =
                was_member.unwrap_or_else(|| session.subscriptions.remove(filter).is_some());
            if was_there {
                ReasonCode::Success
            } else {
                ReasonCode::NoSubscriptionExisted
            }
        };
        filters.iter().map(&mut unsubscribe).collect()
    }

    /// The session's connection has room for more: retained messages that it has coming are fetched.
    pub(in crate::sim) fn fetch(&mut self, client: usize, now: Instant) {
        let here: BTreeSet<usize> = self.sessions.keys().copied().collect();
        let session = self.sessions.get_mut(&client).expect("it is connected");
        for _ in 0..RETAINED_SLICES_MAX {
            if session.queue.len() >= RETAINED_LOW {
                return;
            }
            let Some(coming) = session.coming.pop_front() else {
                return;
            };
            for kept in self.retained.matching(&coming.filter, now) {
                let message = kept.message;
                let topic = message.topic.as_str();
                let may_publish = kept.author.is_none_or(|(author, door)| {
                    if here.contains(&author) {
                        return self.rights.may(author, Access::Publish, topic);
                    }
                    self.rights.may_at(author, door, Access::Publish, topic)
                });
                if !may_publish || !self.rights.may(client, Access::Read, topic) {
                    self.counts.deliveries_denied += 1;
                    continue;
                }
                let qos = message.qos.min(coming.qos);
                let copy = message.with_qos(qos).with_retain(true);
                let ids = coming.id.into_iter().collect();
                session.queue.append(Owed::new(copy, ids, kept.expires_at));
            }
        }
    }
}
