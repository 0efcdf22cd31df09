//! What connections and limits have to tell whoever keeps a log: one entry when a client comes, goes or is refused, and
//! one a second for each limit.

use super::connection::{Connection, End, Link};
use crate::broker::Limit;
use crate::broker::hub::Hub;
use crate::broker::journal::Entry;
use crate::broker::registry::ConnectionId;
use crate::codec::ReasonCode;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

/// Between two entries about the same limit.
const INTERVAL: Duration = Duration::from_secs(1);

impl Connection {
    /// A client has been let in.
    pub(super) fn note_entered(&self, connection: ConnectionId, session_present: bool) {
        if let Some(client) = self.hub.noted(connection) {
            self.hub.note(&Entry::Connected {
                client: &client,
                session_present,
            });
        }
    }

    /// Somebody is not let in.
    pub(super) fn note_refused(
        &self,
        client_id: Option<&str>,
        address: Option<SocketAddr>,
        reason: ReasonCode,
    ) {
        if self.hub.has_journal() {
            self.hub.note(&Entry::Refused {
                client_id: client_id.filter(|id| !id.is_empty()),
                address,
                why: &format!("{reason:?}"),
            });
        }
    }

    /// The connection ends. That of a stranger, who is not told of anywhere else, only if he did something wrong.
    pub(super) fn note_end(&self, end: &End) {
        match (&self.link, end) {
            (Link::Attached(attached), _) => {
                if let Some(client) = self.hub.noted(attached.connection) {
                    let why = &reason(end);
                    self.hub.note(&Entry::Disconnected {
                        client: &client,
                        why,
                    });
                }
            }
            (_, End::Fault(_)) if self.hub.has_journal() => self.hub.note(&Entry::Refused {
                client_id: None,
                address: self.peer_address(),
                why: &reason(end),
            }),
            _ => {}
        }
    }
}

fn reason(end: &End) -> String {
    match end {
        End::Goodbye {
            publish_will: false,
            ..
        } => "it took its leave".to_owned(),
        End::Goodbye { .. } => "it took its leave, and left its will".to_owned(),
        End::Lost => "the connection was lost".to_owned(),
        End::ToldToGo(farewell) if farewell.reason == ReasonCode::SessionTakenOver => {
            "another connection came with this client id".to_owned()
        }
        End::ToldToGo(farewell) => format!("it was sent away: {:?}", farewell.reason),
        End::Refused => "it was refused".to_owned(),
        End::Fault(error) => error.to_string(),
        End::Crowded(limit) => limit.name().to_owned(),
        End::Full => Limit::HeldBytesMax.name().to_owned(),
        End::Cut(_) => "it was cut by a fault that a test asked for".to_owned(),
    }
}

/// The limits that were reached, as far as they have been told.
pub(super) struct Told {
    counts: Vec<u64>,
    next_at: Option<Instant>,
}

impl Told {
    /// What was counted before is not told.
    pub(super) fn so_far(hub: &Hub) -> Self {
        let counters = hub.counters();
        let counts = Limit::ALL.iter();
        Self {
            counts: counts.map(|limit| counters.times_reached(*limit)).collect(),
            next_at: None,
        }
    }

    /// Tells what is new, unless that was done just now: then, when to come back.
    pub(super) fn tell_news(&mut self, hub: &Hub, now: Instant) -> Option<Instant> {
        if !hub.has_journal() || !hub.counters().has_news() {
            return None;
        }
        if let Some(at) = self.next_at.filter(|at| *at > now) {
            return Some(at);
        }
        self.next_at = now.checked_add(INTERVAL);
        self.tell_all(hub);
        None
    }

    /// Tells what is new.
    pub(super) fn tell_all(&mut self, hub: &Hub) {
        // First, so that what is counted from here on is news again.
        hub.counters().take_news();
        for (limit, told) in Limit::ALL.iter().zip(&mut self.counts) {
            let count = hub.counters().times_reached(*limit);
            if count > *told {
                hub.note(&Entry::LimitReached {
                    limit: *limit,
                    count: count - *told,
                });
                *told = count;
            }
        }
    }
}
