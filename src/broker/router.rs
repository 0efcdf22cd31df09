//! A message in, a list of deliveries out: pure, and the same every time.
//!
//! Owns the meeting of [`Subscriptions`] and [`Retained`] with one message: which sessions get it, with which QoS, retain
//! flag and subscription identifiers, and which groups of shared subscriptions; the member is chosen in `group`. It
//! delivers nothing: that is `hub` with the outboxes.

use crate::broker::BrokerError;
use crate::broker::Limits;
use crate::broker::retained::{Author, Retained, RetainedMessage};
use crate::broker::rights::Reader;
use crate::broker::snapshot::Shift;
use crate::broker::subscriptions::{Edition, Frontier, Match, Subscription, Subscriptions};
use crate::codec::RetainHandling;
use crate::message::{Message, QoS};
use crate::topic::TopicFilter;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Instant;

/// A topic longer than this is looked up each time: it would cost more to remember than it saves.
const REMEMBERED_MAX: usize = 256;

/// The number of a session inside this broker. Small, and used again once the session has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SessionKey(pub usize);

/// The number of a group of shared subscriptions inside this broker. Used again once the group has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct GroupKey(pub usize);

/// That a session gets a message, and how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    /// Who.
    pub session: SessionKey,
    /// The lower of the message's and the highest granted one.
    pub qos: QoS,
    /// Whether it goes out with the retain flag.
    pub retain: bool,
    /// Of all subscriptions that match, sorted.
    pub subscription_ids: Vec<NonZeroU32>,
    /// Of the rights that were asked; 0: there are none.
    pub stamp: u64,
}

/// The deliveries of one message, and memory for finding them: to be used again.
#[derive(Debug, Default)]
pub struct Routes {
    /// One for each session, by session.
    pub list: Vec<Route>,
    /// The groups of which one member gets it, each once.
    pub groups: Vec<GroupKey>,
    /// Who would get it and may not read it, by session.
    pub denied: Vec<SessionKey>,
    frontier: Frontier,
    /// What `list` and `groups` were found for: who publishes, publishes to the same topic again.
    asked: Option<Asked>,
    /// The topic of `asked`.
    topic: String,
}

/// All that a list of deliveries depends on, beside the topic.
#[derive(Debug)]
struct Asked {
    edition: Edition,
    qos: QoS,
    retain: bool,
    publisher: Option<SessionKey>,
}

impl Routes {
    /// Whether they are those of this message already.
    fn are_for(&self, message: &Message, publisher: Option<SessionKey>, edition: &Edition) -> bool {
        let is_same = |asked: &Asked| {
            asked.edition == *edition
                && asked.qos == message.qos
                && asked.retain == message.retain
                && asked.publisher == publisher
        };
        self.asked.as_ref().is_some_and(is_same) && self.topic == message.topic.as_str()
    }

    fn remember(&mut self, asked: Asked, topic: &str) {
        self.asked = Some(asked).filter(|_| topic.len() <= REMEMBERED_MAX);
        self.topic.clear();
        if self.asked.is_some() {
            self.topic.push_str(topic);
        }
    }
}

/// A subscription that still has retained messages to send, and how far it has got.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RetainedCursor {
    /// Which.
    pub filter: TopicFilter,
    /// The granted QoS.
    pub qos: QoS,
    /// The identifier of the subscription.
    pub subscription_id: Option<NonZeroU32>,
    /// Where the last slice ended.
    pub after: Option<Box<str>>,
}

/// Who subscribed and what is kept.
#[derive(Debug, Clone)]
pub struct Router {
    /// Who subscribed to what.
    pub subscriptions: Subscriptions,
    /// The last value of each topic that wants one kept.
    pub retained: Retained,
    /// What sessions may read, by session; who is not in it, everything.
    readers: Vec<Option<Reader>>,
}

impl Router {
    /// Nobody subscribed, nothing retained.
    pub fn new(limits: &Limits) -> Self {
        Self {
            subscriptions: Subscriptions::default(),
            retained: Retained::new(limits),
            readers: Vec::new(),
        }
    }

    /// The same where it is another hour, and with other bounds.
    #[must_use]
    pub fn moved(&self, limits: &Limits, shift: Shift) -> Self {
        Self {
            subscriptions: self.subscriptions.clone(),
            retained: self.retained.moved(limits, shift),
            readers: Vec::new(),
        }
    }

    /// From now on a session may read this; `None`: everything.
    pub fn set_reader(&mut self, session: SessionKey, reader: Option<Reader>) {
        if self.readers.len() <= session.0 {
            if reader.is_none() {
                return;
            }
            self.readers.resize(session.0 + 1, None);
        }
        self.readers[session.0] = reader;
        self.subscriptions.note_change();
    }

    /// What a session may read; `None`: everything.
    pub fn reader(&self, session: SessionKey) -> Option<&Reader> {
        self.readers.get(session.0)?.as_ref()
    }

    /// Keeps the message, if it asks for it.
    ///
    /// # Errors
    /// There is no room for it.
    // spec(4): MQTT-3.3.1-12
    // spec(5): MQTT-3.3.1-8
    pub fn retain(
        &mut self,
        message: &Message,
        author: Option<Arc<Author>>,
        now: Instant,
    ) -> Result<(), BrokerError> {
        if !message.retain {
            return Ok(());
        }
        let kept = self.retained.set_by(message, author, now);
        if kept.is_err() && message.qos == QoS::AtMostOnce {
            // Nobody can be told, and the old value is wrong now.
            // spec(4): MQTT-3.3.1-7
            self.retained.delete(&message.topic);
        }
        kept
    }

    /// Finds out who gets the message. `publisher` is the session it came from, if from one. Says whether that is news:
    /// `false` if `routes` are the same as before.
    pub fn route(
        &self,
        message: &Message,
        publisher: Option<SessionKey>,
        routes: &mut Routes,
    ) -> bool {
        let edition = self.subscriptions.edition();
        if routes.are_for(message, publisher, edition) {
            return false;
        }
        let asked = Asked {
            edition: edition.clone(),
            qos: message.qos,
            retain: message.retain,
            publisher,
        };
        routes.remember(asked, message.topic.as_str());
        let Routes {
            list,
            groups,
            denied,
            frontier,
            ..
        } = routes;
        list.clear();
        groups.clear();
        denied.clear();
        let filters = self
            .subscriptions
            .matching(&message.topic, frontier, |found| match found {
                Match::Group(group) => groups.push(group),
                // spec(5): MQTT-3.8.3-3
                Match::Session(session, subscription)
                    if subscription.options.no_local && publisher == Some(session) => {}
                Match::Session(session, subscription) => match self.reader(session) {
                    Some(reader) if !reader.rights.may_read(&message.topic) => denied.push(session),
                    reader => {
                        let stamp = reader.map_or(0, |reader| reader.stamp);
                        list.push(one_route(session, *subscription, message, stamp));
                    }
                },
            });
        if filters > 1 {
            // Overlapping subscriptions of one session get one copy, with the best they were granted.
            // spec(4): MQTT-3.3.5-1
            // spec(5): MQTT-3.3.4-2, MQTT-3.3.4-4
            list.sort_by_key(|route| route.session);
            list.dedup_by(|next, first| {
                let is_same = next.session == first.session;
                if is_same {
                    merge(first, next);
                }
                is_same
            });
            denied.sort();
            denied.dedup();
        }
        true
    }

    /// Adds a subscription; says whether it is new, and what retained messages it has coming.
    // spec(4): MQTT-3.3.1-6
    // spec(5): MQTT-3.3.1-9, MQTT-3.3.1-10, MQTT-3.3.1-11, MQTT-3.8.4-4
    pub fn subscribe(
        &mut self,
        session: SessionKey,
        filter: &TopicFilter,
        subscription: Subscription,
    ) -> Option<RetainedCursor> {
        let is_new = self.subscriptions.insert(session, filter, subscription);
        if self.subscriptions.group(filter.as_str()).is_some() {
            // What was retained was never the group's to share out.
            return None;
        }
        let wants_retained = match subscription.options.retain_handling {
            RetainHandling::Always => true,
            RetainHandling::IfNew => is_new,
            RetainHandling::Never => false,
        };
        (wants_retained && !self.retained.is_empty()).then(|| RetainedCursor {
            filter: filter.compact(),
            qos: subscription.options.qos,
            subscription_id: subscription.id,
            after: None,
        })
    }

    /// The next retained messages for a subscription, at most `limit`; moves the cursor. `false`: there are no more.
    pub fn next_retained(
        &self,
        cursor: &mut RetainedCursor,
        limit: usize,
        now: Instant,
        found: &mut Vec<RetainedMessage>,
    ) -> bool {
        let after = cursor.after.take();
        let slice = self
            .retained
            .matching(&cursor.filter, after.as_deref(), limit, now);
        found.extend(slice.found);
        cursor.after = slice.rest;
        cursor.after.is_some()
    }
}

fn one_route(
    session: SessionKey,
    subscription: Subscription,
    message: &Message,
    stamp: u64,
) -> Route {
    Route {
        session,
        // spec(4): MQTT-3.8.4-6
        // spec(5): MQTT-3.8.4-8
        qos: message.qos.min(subscription.options.qos),
        // spec(4): MQTT-3.3.1-9
        // spec(5): MQTT-3.3.1-12, MQTT-3.3.1-13
        retain: message.retain && subscription.options.retain_as_published,
        // spec(5): MQTT-3.3.4-3
        subscription_ids: subscription.id.into_iter().collect(),
        stamp,
    }
}

fn merge(first: &mut Route, next: &mut Route) {
    first.qos = first.qos.max(next.qos);
    first.retain |= next.retain;
    first.subscription_ids.append(&mut next.subscription_ids);
    first.subscription_ids.sort_unstable();
    first.subscription_ids.dedup();
}
