//! The sessions as a snapshot has them, and as another broker takes them over.

use super::{ConnectionId, Effects, Leave, Registry, arrivals};
use crate::broker::Limits;
use crate::broker::snapshot::Shift;
use crate::session::Session;
use std::collections::BTreeMap;
use std::time::Instant;

impl Registry {
    /// What is left when all connections are cut at once, with no will said for them. `sessions` are those that they have.
    #[must_use]
    pub fn parted(
        &self,
        sessions: BTreeMap<ConnectionId, Session>,
        now: Instant,
        effects: &mut Effects,
    ) -> Self {
        let mut parted = self.clone();
        let keys: BTreeMap<_, _> = self
            .iter()
            .filter_map(|(key, entry)| Some((entry.connection?, key)))
            .collect();
        for (connection, session) in sessions {
            let Some(key) = keys.get(&connection).copied() else {
                continue;
            };
            if let Some(entry) = parted.entry(key) {
                entry.waiting = None;
            }
            let leave = Leave {
                session,
                publish_will: false,
                session_expiry_interval: None,
            };
            parted.leave(key, connection, leave, now, effects);
        }
        parted
    }

    /// The same where it is another hour, and with other bounds: what is over them stays.
    #[must_use]
    pub fn moved(&self, limits: &Limits, shift: Shift) -> Self {
        let mut moved = Self {
            sessions_max: limits.sessions_max,
            arrivals: arrivals(limits),
            ..self.clone()
        };
        for entry in moved.entries.iter_mut().flatten() {
            entry.will_due = shift.moved(entry.will_due);
            entry.ends_at = shift.moved(entry.ends_at);
        }
        let timers = self.timers.iter();
        moved.timers = timers
            .filter_map(|(at, key, timer)| Some((shift.moved(Some(*at))?, *key, *timer)))
            .collect();
        moved
    }
}
