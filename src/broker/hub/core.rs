//! What the hub guards: plain data, changed only under its lock and asking for nothing.

use super::rights::Restricted;
use super::{Arrival, Attached, Batch};
use crate::broker::bell::Bell;
use crate::broker::group::{Group, Sharing};
use crate::broker::memory::{Charge, Claim, Memory};
use crate::broker::outbox::Outbox;
use crate::broker::protocol::Farewell;
use crate::broker::quota::Crowd;
use crate::broker::registry::{ConnectionId, Effects, Entry, Grant, Leave, Registry, Verdict};
use crate::broker::retained::Author;
use crate::broker::rights::{Policies, Shelf};
use crate::broker::router::{GroupKey, RetainedCursor, Router, SessionKey};
use crate::broker::subscriptions::Subscription;
use crate::broker::{ClientInfo, Limit, Limits, SessionInfo};
use crate::codec::ReasonCode;
use crate::message::{Message, QoS};
use crate::topic::TopicFilter;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

/// What a session costs, in bytes, beside its texts and messages.
const SESSION_COST: usize = 1024;

#[derive(Debug)]
pub(super) struct Connected {
    pub(super) info: ClientInfo,
    pub(super) bell: Arc<Bell>,
    /// A session that was granted and not yet claimed.
    pub(super) grant: Option<Box<Grant>>,
    /// What its client may do is to be asked again.
    pub(super) asks_again: bool,
    /// There is no such user any more: its session ends with the connection.
    pub(super) is_disowned: bool,
}

#[derive(Debug)]
pub(super) struct Core {
    pub(super) registry: Registry,
    pub(super) router: Router,
    /// By session.
    pub(super) outboxes: Vec<Option<Arc<Outbox>>>,
    /// By their numbers.
    pub(super) groups: Vec<Option<Arc<Group>>>,
    /// How groups deal, and the chance for the next one.
    pub(super) sharing: Sharing,
    pub(super) connections: BTreeMap<ConnectionId, Box<Connected>>,
    /// How all who want to connect are turned away, if they are.
    pub(super) turned_away: Option<Farewell>,
    /// What clients may do.
    pub(super) policies: Policies,
    pub(super) shelf: Shelf,
    pub(super) last_stamp: u64,
    last_connection: u64,
    /// Connections of each user.
    by_user: Crowd<String>,
    pub(super) group_count: usize,
    pub(super) limits: Arc<Limits>,
    pub(super) memory: Arc<Memory>,
    /// For subscriptions and retained messages.
    charge: Charge,
}

/// What is to be done once the lock is let go.
#[derive(Debug, Default)]
pub(super) struct Aftermath {
    pub(super) wills: Vec<(Message, Option<Arc<Author>>)>,
    pub(super) wills_denied: usize,
    pub(super) restricted: Option<Restricted>,
    pub(super) told_to_go: Vec<(Arc<Bell>, ReasonCode)>,
    pub(super) may_claim: Option<Arc<Bell>>,
    pub(super) is_due_earlier: bool,
    /// Sessions that have ended, with the groups they were in.
    pub(super) ended: Vec<(Arc<Outbox>, Vec<Arc<Group>>)>,
}

impl Core {
    pub(super) fn new(limits: Arc<Limits>, sharing: Sharing, memory: Arc<Memory>) -> Self {
        Self {
            registry: Registry::new(&limits),
            router: Router::new(&limits),
            outboxes: Vec::new(),
            groups: Vec::new(),
            sharing,
            connections: BTreeMap::new(),
            turned_away: None,
            policies: Policies::default(),
            shelf: Shelf::default(),
            last_stamp: 0,
            last_connection: 0,
            by_user: Crowd::default(),
            group_count: 0,
            limits,
            charge: Charge::new(&memory),
            memory,
        }
    }

    /// The same broker without any state. Numbers of connections are never given twice.
    pub(super) fn renewed(&self) -> Self {
        Self {
            turned_away: self.turned_away.clone(),
            policies: self.policies.clone(),
            last_stamp: self.last_stamp,
            last_connection: self.last_connection,
            ..Self::new(
                Arc::clone(&self.limits),
                self.sharing,
                Arc::clone(&self.memory),
            )
        }
    }

    pub(super) fn connect(
        &mut self,
        arrival: Arrival,
        edition: u64,
        now: Instant,
    ) -> (ConnectionId, Verdict, Option<Arc<Outbox>>, Aftermath) {
        self.last_connection += 1;
        let connection = ConnectionId(self.last_connection);
        let mut effects = Effects::default();
        // What has changed since it was asked about is no news to anybody but it.
        let ruling = arrival.request.rights.as_ref();
        let asks_again = ruling.is_some_and(|ruling| ruling.edition != edition);
        let verdict = if self.is_user_elsewhere(&arrival) {
            let limit = Some(Limit::ConnectionsPerUserMax);
            Verdict::Refused(ReasonCode::QuotaExceeded, limit)
        } else if self.is_unasked(&arrival.request) {
            // The rules have changed since it came: next time somebody will be asked.
            Verdict::Refused(ReasonCode::ServerBusy, None)
        } else if self.is_crowded_for(&arrival) {
            let limit = Some(Limit::HeldBytesMax);
            Verdict::Refused(ReasonCode::ServerBusy, limit)
        } else if self.allows_will(&arrival.request) {
            self.registry
                .connect(connection, arrival.request, now, &mut effects)
        } else {
            // Told now, and not when it is too late.
            Verdict::Refused(ReasonCode::NotAuthorized, None)
        };
        let mut aftermath = self.carry_out(effects);
        if let Verdict::Granted(grant) = &verdict {
            aftermath.restricted = self.give_rights(grant.key);
        }
        if !matches!(verdict, Verdict::Refused(..)) {
            if let Some(user) = &arrival.info.user {
                self.by_user.add(user.clone());
            }
            let connected = Connected {
                info: arrival.info,
                bell: arrival.bell,
                grant: None,
                asks_again,
                is_disowned: false,
            };
            // Boxed, since numbers that only grow leave each node of the map half empty.
            self.connections.insert(connection, Box::new(connected));
        }
        let outbox = match &verdict {
            Verdict::Granted(grant) => Some(self.outbox(grant.key)),
            _ => None,
        };
        (connection, verdict, outbox, aftermath)
    }

    /// Whether the user has as many connections as it may; one that takes the place of another is none more.
    fn is_user_elsewhere(&self, arrival: &Arrival) -> bool {
        let max = self.limits.connections_per_user_max;
        let Some(user) = arrival.info.user.as_ref().filter(|_| max > 0) else {
            return false;
        };
        let takes_over = || {
            let key = self.registry.find(&arrival.request.client_id);
            let entry = key.and_then(|key| self.registry.get(key));
            entry.is_some_and(|entry| entry.is_taken_by(user))
        };
        self.by_user.count(user) >= max && !takes_over()
    }

    /// Whether there is no room for somebody new. Who has a session comes for what waits there.
    fn is_crowded_for(&self, arrival: &Arrival) -> bool {
        !self.memory.grants(Claim::Newcomer)
            && self.registry.find(&arrival.request.client_id).is_none()
    }

    /// What is held for subscriptions and retained messages has changed.
    pub(super) fn note_held(&mut self) {
        let router = &self.router;
        self.charge
            .follow(router.subscriptions.bytes() + router.retained.held());
    }

    /// What a session costs beside what waits for it and is on its way.
    pub(super) fn session_cost(&self, key: SessionKey) -> usize {
        SESSION_COST + self.registry.get(key).map_or(0, Entry::size)
    }

    /// Says whether there is room for more retained messages.
    pub(super) fn bound_retained(&mut self) {
        let may_grow = self.memory.grants(Claim::Growth);
        self.router.retained.let_grow(may_grow);
    }

    /// A connection is gone.
    fn forget(&mut self, connection: ConnectionId) -> Option<Box<Connected>> {
        let connected = self.connections.remove(&connection)?;
        if let Some(user) = &connected.info.user {
            self.by_user.remove(user);
        }
        Some(connected)
    }

    pub(super) fn give_up(&mut self, connection: ConnectionId, now: Instant) -> Aftermath {
        let Some(waiting) = self.forget(connection) else {
            return Aftermath::default();
        };
        let Some(grant) = waiting.grant else {
            self.registry.give_up(&waiting.info.client_id, connection);
            return Aftermath::default();
        };
        let leave = Leave {
            session: grant.session,
            // It was never told that it is connected.
            publish_will: false,
            session_expiry_interval: waiting.is_disowned.then_some(0),
        };
        self.let_go(grant.key, connection, leave, now)
    }

    pub(super) fn leave(&mut self, attached: &Attached, leave: Leave, now: Instant) -> Aftermath {
        let gone = self.forget(attached.connection);
        let is_disowned = gone.is_some_and(|gone| gone.is_disowned);
        let leave = Leave {
            session_expiry_interval: is_disowned.then_some(0).or(leave.session_expiry_interval),
            ..leave
        };
        self.let_go(attached.key, attached.connection, leave, now)
    }

    fn let_go(
        &mut self,
        key: SessionKey,
        connection: ConnectionId,
        leave: Leave,
        now: Instant,
    ) -> Aftermath {
        let before = self.next_timeout();
        let mut effects = Effects::default();
        self.registry
            .leave(key, connection, leave, now, &mut effects);
        Aftermath {
            is_due_earlier: self.is_due_earlier(before),
            ..self.carry_out(effects)
        }
    }

    pub(super) fn carry_out(&mut self, effects: Effects) -> Aftermath {
        let mut aftermath = Aftermath {
            wills: effects.wills,
            wills_denied: effects.wills_denied,
            ..Aftermath::default()
        };
        let mut has_ended = false;
        // The number of an ended session may have been given to the granted one: first things first.
        for key in effects.ended {
            let groups = self.end_subscriptions(key);
            has_ended = true;
            self.router.set_reader(key, None);
            if let Some(outbox) = self.outboxes.get_mut(key.0).and_then(Option::take) {
                aftermath.ended.push((outbox, groups));
            }
        }
        if has_ended {
            self.note_held();
        }
        for (connection, reason) in effects.told_to_go {
            aftermath
                .told_to_go
                .extend(self.bell(connection).map(|bell| (bell, reason)));
        }
        if let Some((connection, grant)) = effects.granted
            && let Some(successor) = self.connections.get_mut(&connection)
        {
            let key = grant.key;
            successor.grant = Some(Box::new(grant));
            aftermath.may_claim = Some(Arc::clone(&successor.bell));
            aftermath.restricted = self.give_rights(key);
        }
        aftermath
    }

    /// The queue of a session that lives, made when it is first asked for.
    pub(super) fn outbox(&mut self, key: SessionKey) -> Arc<Outbox> {
        if self.outboxes.len() <= key.0 {
            self.outboxes.resize(key.0 + 1, None);
        }
        Arc::clone(self.outboxes[key.0].get_or_insert_with(|| {
            let outbox = Outbox::new(&self.limits, &self.memory);
            Arc::new(outbox)
        }))
    }

    pub(super) fn bell(&self, connection: ConnectionId) -> Option<Arc<Bell>> {
        Some(Arc::clone(&self.connections.get(&connection)?.bell))
    }

    /// Finds the queues for a message, unless they are those of the one before in this batch. With `counts_refused`, full
    /// ones that take no QoS 0 are but counted: a flood meets thousands of them, and each costs less than to be held.
    pub(super) fn route(
        &self,
        message: &Message,
        publisher: Option<SessionKey>,
        batch: &mut Batch,
        counts_refused: bool,
    ) {
        let is_new = self.router.route(message, publisher, &mut batch.routes);
        if batch.is_found && !is_new {
            return;
        }
        batch.forget_found();
        let routes = &batch.routes;
        let without = routes.denied.iter();
        batch
            .denied
            .extend(without.filter_map(|key| self.outboxes.get(key.0)?.clone()));
        for route in &routes.list {
            let Some(Some(outbox)) = self.outboxes.get(route.session.0) else {
                continue;
            };
            let may_be_refused = counts_refused && route.qos == QoS::AtMostOnce;
            match outbox.refuses().filter(|_| may_be_refused) {
                Some(limit) => batch.refused.push(limit),
                None => batch.found.push((Arc::clone(outbox), route.clone())),
            }
        }
        let groups = routes.groups.iter();
        batch
            .groups
            .extend(groups.filter_map(|group| self.group(*group)));
        batch.is_found = batch.refused.is_empty();
    }

    /// Adds a subscription; says what retained messages it has coming, or which group it is in.
    pub(super) fn subscribe(
        &mut self,
        key: SessionKey,
        filter: &TopicFilter,
        subscription: Subscription,
    ) -> (Option<RetainedCursor>, Option<Arc<Group>>) {
        let cursor = self.router.subscribe(key, filter, subscription);
        let group = self.router.subscriptions.group(filter.as_str());
        (cursor, group.map(|group| self.make_group(group)))
    }

    /// Removes a subscription; says whether there was one, and which group it was in.
    pub(super) fn unsubscribe(
        &mut self,
        key: SessionKey,
        filter: &TopicFilter,
    ) -> (bool, Option<Arc<Group>>) {
        let subscriptions = &mut self.router.subscriptions;
        let group = subscriptions.group(filter.as_str());
        let was_there = subscriptions.remove(key, filter.as_str());
        let has_ended = subscriptions.group(filter.as_str()).is_none();
        let left = group.filter(|_| was_there);
        let left = left.and_then(|group| Some((group, self.group(group)?)));
        if let Some((group, _)) = &left
            && has_ended
        {
            self.end_group(*group);
        }
        (was_there, left.map(|(_, group)| group))
    }

    /// Removes all subscriptions of a session; says which groups it was in.
    fn end_subscriptions(&mut self, key: SessionKey) -> Vec<Arc<Group>> {
        let subscriptions = &mut self.router.subscriptions;
        let groups: Vec<_> = subscriptions
            .groups_of(key)
            .map(|(text, group)| (text.to_owned(), group))
            .collect();
        subscriptions.remove_session(key);
        let mut left = Vec::with_capacity(groups.len());
        for (text, group) in groups {
            left.extend(self.group(group));
            if self.router.subscriptions.group(&text).is_none() {
                self.end_group(group);
            }
        }
        left
    }

    fn group(&self, group: GroupKey) -> Option<Arc<Group>> {
        self.groups.get(group.0)?.clone()
    }

    fn end_group(&mut self, group: GroupKey) {
        if self.groups[group.0].take().is_some() {
            self.group_count -= 1;
        }
    }

    fn make_group(&mut self, group: GroupKey) -> Arc<Group> {
        if self.groups.len() <= group.0 {
            self.groups.resize(group.0 + 1, None);
        }
        let place = &mut self.groups[group.0];
        if place.is_none() {
            self.group_count += 1;
            // Each group has a chance of its own.
            self.sharing.seed = self.sharing.seed.wrapping_add(0x9E37_79B9_7F4A_7C15);
        }
        let (limits, memory, sharing) = (&self.limits, &self.memory, self.sharing);
        Arc::clone(place.get_or_insert_with(|| Arc::new(Group::new(limits, memory, sharing))))
    }

    /// The groups that a session is in.
    pub(super) fn groups_of(&self, key: SessionKey) -> Vec<Arc<Group>> {
        let groups = self.router.subscriptions.groups_of(key);
        groups.filter_map(|(_, group)| self.group(group)).collect()
    }

    pub(super) fn all_groups(&self) -> Vec<Arc<Group>> {
        self.groups.iter().flatten().cloned().collect()
    }

    /// Which limit keeps a session from another subscription.
    pub(super) fn subscription_limit(
        &self,
        key: SessionKey,
        filter: &TopicFilter,
    ) -> Option<Limit> {
        let (subscriptions, limits) = (&self.router.subscriptions, &self.limits);
        let is_shared = matches!(filter.share(), Ok(Some(_)));
        if subscriptions.contains(key, filter.as_str()) {
            return None;
        }
        if !self.memory.grants(Claim::Growth) {
            return Some(Limit::HeldBytesMax);
        }
        if subscriptions.count_of(key) >= limits.subscriptions_max {
            return Some(Limit::SubscriptionsMax);
        }
        if !is_shared {
            return None;
        }
        if subscriptions.count_shared_of(key) >= limits.shared_subscriptions_max {
            return Some(Limit::SharedSubscriptionsMax);
        }
        let is_new = subscriptions.group(filter.as_str()).is_none();
        (is_new && self.group_count >= limits.groups_max).then_some(Limit::GroupsMax)
    }

    pub(super) fn next_timeout(&self) -> Option<Instant> {
        let sessions = self.registry.next_timeout();
        let retained = self.router.retained.next_timeout();
        sessions.into_iter().chain(retained).min()
    }

    pub(super) fn is_due_earlier(&self, before: Option<Instant>) -> bool {
        match (self.next_timeout(), before) {
            (Some(now), Some(before)) => now < before,
            (Some(_), None) => true,
            (None, _) => false,
        }
    }

    pub(super) fn session_info(&self, key: SessionKey, entry: &Entry) -> SessionInfo {
        SessionInfo {
            client_id: entry.client_id.to_string(),
            is_connected: entry.connection.is_some(),
            subscriptions: self.router.subscriptions.of_session(key),
            queued_messages: 0,
            in_flight: 0,
            expiry_interval: entry.expiry_interval,
        }
    }
}
