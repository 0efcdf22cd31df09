//! Whose login counts no more, since users or keys were read again: who is connected goes, and sessions of users that are
//! gone end.
//!
//! Users are replaced first, then connections are looked at; a connection is first known here, and then looks itself. So
//! one of the two sees it, whatever comes between.

use super::Hub;
use super::core::{Aftermath, Core};
use crate::broker::auth::{Proof, Standing};
use crate::broker::registry::{ConnectionId, Effects};
use crate::broker::router::SessionKey;
use crate::codec::ReasonCode;
use std::sync::Arc;
use std::time::Instant;

/// Who rests upon a proof: a session with or without a client, or a connection that waits for it.
#[derive(Debug, Clone, Copy)]
enum Whose {
    Session(SessionKey, Option<ConnectionId>),
    Waiting(ConnectionId),
}

impl Core {
    fn logins(&self) -> Vec<(Whose, Arc<Proof>)> {
        let mut logins = Vec::new();
        for (key, entry) in self.registry.iter() {
            let own = entry.proof.iter().cloned();
            logins.extend(own.map(|proof| (Whose::Session(key, entry.connection), proof)));
            if let Some((connection, Some(proof))) = entry.waiting() {
                logins.push((Whose::Waiting(connection), Arc::clone(proof)));
            }
        }
        logins
    }

    /// Whether nobody else has come meanwhile.
    fn is_still(&self, key: SessionKey, connection: Option<ConnectionId>, proof: &Proof) -> bool {
        self.registry.get(key).is_some_and(|entry| {
            let is_same = entry.proof.as_deref().is_some_and(|now| now == proof);
            is_same && entry.connection == connection
        })
    }

    /// Sends a connection away. Says whether it was there.
    fn revoke(
        &mut self,
        connection: ConnectionId,
        standing: Standing,
        after: &mut Aftermath,
    ) -> bool {
        let Some(connected) = self.connections.get_mut(&connection) else {
            return false;
        };
        connected.is_disowned |= standing == Standing::Gone;
        let bell = Arc::clone(&connected.bell);
        after
            .told_to_go
            .push((bell, ReasonCode::AdministrativeAction));
        true
    }
}

impl Hub {
    /// Looks again at everything that logins rest upon.
    pub fn review_logins(&self, now: Instant) {
        let logins = self.core.read().logins();
        let judged = logins.into_iter().map(|(whose, proof)| {
            let standing = proof.standing();
            (whose, proof, standing)
        });
        let lost: Vec<_> = judged
            .filter(|(_, _, standing)| *standing != Standing::Good)
            .collect();
        if lost.is_empty() {
            return;
        }
        let (aftermath, revoked) = {
            let mut core = self.core.write();
            let mut effects = Effects::default();
            let mut sent = Aftermath::default();
            let mut revoked = 0;
            for (whose, proof, standing) in lost {
                let connection = match whose {
                    Whose::Waiting(connection) => Some(connection),
                    Whose::Session(key, connection) if core.is_still(key, connection, &proof) => {
                        if connection.is_none() && standing == Standing::Gone {
                            core.registry.end_absent(key, &mut effects);
                        }
                        connection
                    }
                    Whose::Session(..) => None,
                };
                let was_there = connection.is_some_and(|it| core.revoke(it, standing, &mut sent));
                revoked += usize::from(was_there);
            }
            let mut aftermath = core.carry_out(effects);
            aftermath.told_to_go.append(&mut sent.told_to_go);
            (aftermath, revoked)
        };
        self.counters.logins_revoked.add(revoked);
        self.follow(aftermath, now);
    }

    /// Looks whether a login has lost what it rests upon while its client was on its way in.
    pub(super) fn review_login(
        &self,
        connection: ConnectionId,
        proof: Option<&Arc<Proof>>,
        now: Instant,
    ) {
        let standing = proof.map_or(Standing::Good, |proof| proof.standing());
        if standing == Standing::Good {
            return;
        }
        let mut aftermath = Aftermath::default();
        let was_there = self
            .core
            .write()
            .revoke(connection, standing, &mut aftermath);
        self.counters.logins_revoked.add(usize::from(was_there));
        self.follow(aftermath, now);
    }
}
