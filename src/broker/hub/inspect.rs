//! What those who look on may see of the hub.

use super::{Attached, Hub, Tap};
use crate::broker::router::SessionKey;
use crate::broker::{BrokerStats, ClientInfo, SessionInfo};
use crate::message::Message;
use crate::topic::TopicFilter;
use bytestring::ByteString;
use std::sync::Arc;
use std::time::Instant;

impl Hub {
    /// From now on everything published to topics that the filter matches is caught, until the tap is dropped. At most so
    /// many wait to be fetched.
    pub fn tap(&self, filter: TopicFilter, messages_max: usize) -> Arc<Tap> {
        self.taps.add(filter, messages_max)
    }

    /// Shows a message to those who look on.
    pub(super) fn catch(&self, message: &Message, publisher: Option<SessionKey>) {
        let client_id = publisher.and_then(|key| {
            let core = self.core.read();
            Some(core.registry.get(key)?.client_id.clone())
        });
        self.taps.catch(message, client_id.as_ref());
    }

    /// The retained messages, by topic.
    pub fn retained(&self, now: Instant) -> Vec<Message> {
        let mut all = self.core.read().router.retained.all(now);
        all.sort_by(|one, other| one.topic.cmp(&other.topic));
        all
    }

    /// Who is on this connection.
    pub fn client_id(&self, attached: &Attached) -> Option<ByteString> {
        let core = self.core.read();
        let connected = core.connections.get(&attached.connection)?;
        Some(ByteString::from(connected.info.client_id.as_str()))
    }

    /// The connected clients, by client id.
    pub fn clients(&self) -> Vec<ClientInfo> {
        let mut clients: Vec<_> = {
            let core = self.core.read();
            let attached = core
                .registry
                .iter()
                .filter_map(|(_, entry)| entry.connection);
            attached
                .filter_map(|connection| Some(core.connections.get(&connection)?.info.clone()))
                .collect()
        };
        clients.sort_by(|one, other| one.client_id.cmp(&other.client_id));
        clients
    }

    /// The sessions, by client id.
    pub fn sessions(&self) -> Vec<SessionInfo> {
        let found: Vec<_> = {
            let core = self.core.read();
            core.registry
                .iter()
                .map(|(key, entry)| {
                    (
                        core.session_info(key, entry),
                        core.outboxes.get(key.0).cloned().flatten(),
                        core.groups_of(key),
                    )
                })
                .collect()
        };
        let mut sessions: Vec<_> = found
            .into_iter()
            .map(|(info, outbox, groups)| match outbox {
                None => info,
                Some(outbox) => {
                    let dealt = groups.iter().map(|group| group.len_of(&outbox));
                    SessionInfo {
                        queued_messages: outbox.len() + dealt.sum::<usize>(),
                        in_flight: outbox.in_flight(),
                        ..info
                    }
                }
            })
            .collect();
        sessions.sort_by(|one, other| one.client_id.cmp(&other.client_id));
        sessions
    }

    /// The filters of a client that keep from it what it publishes itself.
    pub fn no_local(&self, client_id: &str) -> Vec<String> {
        let core = self.core.read();
        let key = core.registry.find(client_id);
        key.map_or_else(Vec::new, |key| core.router.subscriptions.no_local_of(key))
    }

    /// A snapshot of the counters.
    pub fn stats(&self) -> BrokerStats {
        let mut stats = self.counters.snapshot();
        stats.held_bytes = self.memory.held();
        stats.held_bytes_high = self.memory.high();
        let (outboxes, groups): (Vec<_>, _) = {
            let core = self.core.read();
            stats.connections = core
                .registry
                .iter()
                .filter(|(_, entry)| entry.connection.is_some())
                .count();
            stats.sessions = core.registry.len();
            stats.subscriptions = core.router.subscriptions.len();
            stats.retained_messages = core.router.retained.len();
            stats.retained_bytes = core.router.retained.bytes();
            let outboxes = core.outboxes.iter().flatten().cloned().collect();
            (outboxes, core.all_groups())
        };
        let of_sessions: usize = outboxes.iter().map(|outbox| outbox.len()).sum();
        let of_groups: usize = groups.iter().map(|group| group.len()).sum();
        stats.queued_messages = of_sessions + of_groups;
        stats
    }
}
