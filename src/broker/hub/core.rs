//! What the hub guards: plain data, changed only under its lock and asking for nothing.

use super::{Arrival, Attached};
use crate::broker::bell::Bell;
use crate::broker::outbox::Outbox;
use crate::broker::protocol::Farewell;
use crate::broker::registry::{ConnectionId, Effects, Entry, Grant, Leave, Registry, Verdict};
use crate::broker::router::{Route, Router, Routes, SessionKey};
use crate::broker::{ClientInfo, Limits, SessionInfo};
use crate::codec::ReasonCode;
use crate::message::Message;
use crate::topic::TopicFilter;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

#[derive(Debug)]
pub(super) struct Connected {
    pub(super) info: ClientInfo,
    pub(super) bell: Arc<Bell>,
    /// A session that was granted and not yet claimed.
    pub(super) grant: Option<Grant>,
}

#[derive(Debug)]
pub(super) struct Core {
    pub(super) registry: Registry,
    pub(super) router: Router,
    /// By session.
    pub(super) outboxes: Vec<Option<Arc<Outbox>>>,
    pub(super) connections: BTreeMap<ConnectionId, Connected>,
    /// How all who want to connect are turned away, if they are.
    pub(super) turned_away: Option<Farewell>,
    last_connection: u64,
    limits: Arc<Limits>,
}

/// What is to be done once the lock is let go.
#[derive(Debug, Default)]
pub(super) struct Aftermath {
    pub(super) wills: Vec<Message>,
    pub(super) told_to_go: Vec<(Arc<Bell>, ReasonCode)>,
    pub(super) may_claim: Option<Arc<Bell>>,
    pub(super) is_due_earlier: bool,
}

impl Core {
    pub(super) fn new(limits: Arc<Limits>) -> Self {
        Self {
            registry: Registry::new(&limits),
            router: Router::new(&limits),
            outboxes: Vec::new(),
            connections: BTreeMap::new(),
            turned_away: None,
            last_connection: 0,
            limits,
        }
    }

    pub(super) fn connect(
        &mut self,
        arrival: Arrival,
    ) -> (ConnectionId, Verdict, Option<Arc<Outbox>>, Aftermath) {
        self.last_connection += 1;
        let connection = ConnectionId(self.last_connection);
        let mut effects = Effects::default();
        let verdict = self
            .registry
            .connect(connection, arrival.request, &mut effects);
        let aftermath = self.carry_out(effects);
        if !matches!(verdict, Verdict::Refused(_)) {
            let connected = Connected {
                info: arrival.info,
                bell: arrival.bell,
                grant: None,
            };
            self.connections.insert(connection, connected);
        }
        let outbox = match &verdict {
            Verdict::Granted(grant) => Some(self.outbox(grant.key)),
            _ => None,
        };
        (connection, verdict, outbox, aftermath)
    }

    pub(super) fn give_up(&mut self, connection: ConnectionId, now: Instant) -> Aftermath {
        let Some(waiting) = self.connections.remove(&connection) else {
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
            session_expiry_interval: None,
        };
        self.let_go(grant.key, connection, leave, now)
    }

    pub(super) fn leave(&mut self, attached: &Attached, leave: Leave, now: Instant) -> Aftermath {
        self.connections.remove(&attached.connection);
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
        // The number of an ended session may have been given to the granted one: first things first.
        for key in effects.ended {
            self.router.subscriptions.remove_session(key);
            if let Some(outbox) = self.outboxes.get_mut(key.0) {
                *outbox = None;
            }
        }
        let mut aftermath = Aftermath {
            wills: effects.wills,
            ..Aftermath::default()
        };
        for (connection, reason) in effects.told_to_go {
            aftermath
                .told_to_go
                .extend(self.bell(connection).map(|bell| (bell, reason)));
        }
        if let Some((connection, grant)) = effects.granted
            && let Some(successor) = self.connections.get_mut(&connection)
        {
            successor.grant = Some(grant);
            aftermath.may_claim = Some(Arc::clone(&successor.bell));
        }
        aftermath
    }

    /// The queue of a session that lives, made when it is first asked for.
    pub(super) fn outbox(&mut self, key: SessionKey) -> Arc<Outbox> {
        if self.outboxes.len() <= key.0 {
            self.outboxes.resize(key.0 + 1, None);
        }
        Arc::clone(self.outboxes[key.0].get_or_insert_with(|| Arc::new(Outbox::new(&self.limits))))
    }

    pub(super) fn bell(&self, connection: ConnectionId) -> Option<Arc<Bell>> {
        Some(Arc::clone(&self.connections.get(&connection)?.bell))
    }

    pub(super) fn route(
        &self,
        message: &Message,
        publisher: Option<SessionKey>,
        routes: &mut Routes,
        found: &mut Vec<(Arc<Outbox>, Route)>,
    ) {
        self.router.route(message, publisher, routes);
        found.extend(routes.list.drain(..).filter_map(|route| {
            let outbox = self.outboxes.get(route.session.0)?.as_ref()?;
            Some((Arc::clone(outbox), route))
        }));
    }

    pub(super) fn has_subscription_room(&self, key: SessionKey, filter: &TopicFilter) -> bool {
        let subscriptions = &self.router.subscriptions;
        subscriptions.count_of(key) < self.limits.subscriptions_max
            || subscriptions.contains(key, filter.as_str())
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
