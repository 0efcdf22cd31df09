//! Which filters a subscription has, and how it gets others while it goes on.

use super::super::bridge::reply;
use super::super::message::Topics;
use super::super::options::{Filters, UpdateArguments};
use super::NativeSubscription;
use crate::client::{ClientError, Subscription, Updated};
use crate::codec::{SubscribeFilter, SubscriptionOptions};
use crate::topic::TopicTemplate;
use parking_lot::Mutex;
use pyo3::prelude::*;
use std::future::Future;
use std::sync::Arc;

/// What a subscription asks for.
pub(super) struct Filtering {
    state: Mutex<State>,
    /// The names of topics that came lately.
    pub(super) topics: Topics,
}

/// Filters, and what is asked for with them.
type Asked = (Arc<Filters>, SubscriptionOptions);

struct State {
    asked: Asked,
    /// By updates that are under way.
    coming: Vec<Asked>,
    /// How often it has changed.
    edition: u64,
}

impl State {
    /// All that messages may match now, with the edition of that.
    fn change(&mut self) -> (u64, Vec<TopicTemplate>) {
        self.edition += 1;
        let all = self.coming.iter().chain(Some(&self.asked));
        let all = all.flat_map(|(filters, _)| filters.templates.iter().cloned());
        (self.edition, all.collect())
    }
}

impl Filtering {
    pub(super) fn new(filters: Filters, options: SubscriptionOptions) -> Self {
        Self {
            topics: Topics::new(&filters.templates),
            state: Mutex::new(State {
                asked: (Arc::new(filters), options),
                coming: Vec::new(),
                edition: 0,
            }),
        }
    }

    pub(super) fn wanted(&self) -> Vec<SubscribeFilter> {
        let (filters, options) = self.state.lock().asked.clone();
        filters.with(options)
    }

    pub(super) fn texts(&self) -> Vec<String> {
        self.state.lock().asked.0.texts.clone()
    }

    /// What holds once all that is under way has gone well.
    fn options(&self) -> SubscriptionOptions {
        let state = self.state.lock();
        state.coming.last().unwrap_or(&state.asked).1
    }

    /// From now on messages of these may come as well.
    fn begin(&self, asked: Asked) {
        let (edition, templates) = {
            let mut state = self.state.lock();
            state.coming.push(asked);
            state.change()
        };
        self.topics.set_templates(edition, &templates);
    }

    /// An update has ended, well or not.
    fn end(&self, asked: Asked, holds: bool) {
        let (edition, templates) = {
            let mut state = self.state.lock();
            let is_other = |it: &Asked| !Arc::ptr_eq(&it.0, &asked.0);
            state.coming.retain(is_other);
            if holds {
                state.asked = asked;
            }
            state.change()
        };
        self.topics.set_templates(edition, &templates);
    }
}

impl NativeSubscription {
    /// What the broker has granted by now.
    pub(super) fn granted_now(&self) -> Option<Subscription> {
        let updated = self.grant.updated.lock().clone();
        updated.or_else(|| self.grant.subscription.get().cloned())
    }

    pub(super) fn updating(
        &self,
        py: Python<'_>,
        filters: Vec<Bound<'_, PyAny>>,
        arguments: UpdateArguments,
    ) -> PyResult<impl Future<Output = Result<(), ClientError>> + Send + use<>> {
        self.inbox()?;
        let client = self.client.get()?;
        let filters = Arc::new(Filters::read(py, filters)?);
        let options = arguments.options(self.filtering.options())?;
        let asked = (filters, options);
        let (answer, answered) = reply();
        if let Some(subscription) = self.grant.subscription.get() {
            let wanted = asked.0.with(options);
            let (grant, filtering) = (Arc::clone(&self.grant), Arc::clone(&self.filtering));
            let inbox = Arc::clone(&subscription.inbox);
            filtering.begin(asked.clone());
            let done = move |outcome: Result<Updated, ClientError>| {
                filtering.end(asked, outcome.is_ok());
                answer(outcome.and_then(|updated| {
                    *grant.updated.lock() = Some(Subscription {
                        inbox,
                        granted: updated.granted,
                        properties: updated.properties,
                    });
                    updated.left
                }));
            };
            let properties = arguments.user_properties();
            client.update(subscription, wanted, properties, Box::new(done));
        }
        Ok(async move { answered.await.unwrap_or(Err(ClientError::Closed)) })
    }
}
