//! What the broker counts and keeps, compared with the model.

use super::Model;
use rmqtt::broker::hub::Hub;
use std::time::Instant;

impl Model {
    /// Compares what both count, and what both keep.
    pub(in crate::sim) fn check(&self, hub: &Hub, now: Instant) {
        self.check_counts(hub);
        self.check_denied(hub);
        self.check_stats(hub);
        self.retained.check(&hub.retained(now), now);
        // Twice the bound, or as much more as publishers may have under way; and some retained messages.
        let bound = self.limits.queue_messages_max;
        let stop = bound + bound.max(self.limits.receive_maximum.into());
        for (client, session) in &self.sessions {
            let waiting = session.queue.len();
            assert!(
                waiting < stop + 200,
                "client {client}: {waiting} are queued"
            );
        }
    }

    fn check_counts(&self, hub: &Hub) {
        let (counters, counts, groups) = (hub.counters(), &self.counts, &self.groups);
        let theirs = [
            counters.wills_published.get(),
            counters.messages_expired.get(),
        ];
        let mine = [counts.wills, counts.expired];
        assert_eq!(theirs, mine, "wills, expired: the broker's, the model's");
        let theirs = [
            counters.messages_dropped_qos0.get(),
            counters.messages_dropped_queue_full.get(),
        ];
        let mine = [
            counts.qos0 + groups.dropped_qos0,
            counts.queue_full + groups.dropped_full,
        ];
        assert!(
            theirs == mine || groups.is_vague,
            "dropped of QoS 0, dropped since full: the broker's {theirs:?}, the model's {mine:?}"
        );
    }

    fn check_denied(&self, hub: &Hub) {
        let (counters, counts, groups) = (hub.counters(), &self.counts, &self.groups);
        let theirs = [
            counters.publishes_denied.get(),
            counters.subscriptions_denied.get(),
        ];
        let mine = [counts.publishes_denied, counts.subscriptions_denied].map(|it| it as u64);
        assert_eq!(theirs, mine, "publishes, subscriptions denied");
        let theirs = counters.deliveries_denied.get();
        let mine = (counts.deliveries_denied + groups.denied) as u64;
        assert!(
            theirs == mine || groups.is_vague && theirs > mine,
            "deliveries denied: the broker's {theirs}, the model's {mine}"
        );
    }

    fn check_stats(&self, hub: &Hub) {
        let stats = hub.stats();
        let sessions = || self.sessions.values();
        let theirs = [stats.sessions, stats.connections, stats.subscriptions];
        let of_sessions: usize = sessions().map(|session| session.subscriptions.len()).sum();
        let mine = [
            self.sessions.len(),
            sessions().filter(|session| session.line.is_some()).count(),
            of_sessions + self.groups.memberships(),
        ];
        assert_eq!(
            theirs, mine,
            "sessions, connections, subscriptions: the broker's, the model's"
        );
        let theirs = stats.queued_messages;
        let of_sessions: usize = sessions().map(|session| session.queue.len()).sum();
        let mine = of_sessions + self.groups.waiting();
        assert!(
            theirs == mine || self.groups.is_vague,
            "queued: the broker's {theirs}, the model's {mine}"
        );
    }

    /// Everything has come to rest with everybody connected: nothing is owed any more.
    pub(in crate::sim) fn check_rest(&self) {
        for (client, session) in &self.sessions {
            let (queue, flow) = (&session.queue, &session.flow);
            assert!(queue.is_empty(), "client {client} is still owed {queue:?}");
            assert_eq!(flow.len(), 0, "client {client} has not settled {flow:?}");
        }
        self.groups.check_rest();
        self.books.check_rest();
    }
}
