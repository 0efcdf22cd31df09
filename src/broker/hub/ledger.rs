//! The ledger: what became of each message for each subscriber that it matched.
//!
//! Owns two sides that are counted apart and must balance: what came in (routed, fetched from the retained messages,
//! restored) at the places where that happens, and what ended (delivered, acknowledged, expired, dropped) at those where
//! that happens. What is still open is counted by looking: into the queues, and into the sessions, at a standstill. A group
//! of shared subscriptions counts as one subscriber. Without a ledger all of this costs one look at an `Option`.

use super::snapshot::Copies;
use super::{Attached, Hub};
use crate::broker::outbox::Outbox;
use crate::broker::protocol::{Delivered, Ended};
use crate::broker::router::SessionKey;
use crate::codec::Run;
use crate::message::QoS;
use crate::topic::TopicName;
use bytestring::ByteString;
use parking_lot::Mutex;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

/// So many that have ended are remembered one by one, and so many that are open are told.
const ENTRIES_MAX: usize = 1000;

/// So many clients are counted by name; what others get is counted without.
const CLIENTS_MAX: usize = 10_000;

/// How a message ended for a subscriber.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fate {
    /// QoS 0: written.
    Delivered,
    /// QoS 1 and 2: settled by the client's answer.
    Acknowledged,
    /// Its time was over before it could be sent.
    Expired,
    /// Lost, for a reason.
    Dropped,
    /// Who would have got it may not read it.
    Denied,
}

/// One message for one subscriber.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LedgerEntry {
    /// Whose; `None`: a group's.
    pub client_id: Option<ByteString>,
    /// Where it was published to, where that is still known.
    pub topic: Option<TopicName>,
    /// How it ended, and why; `None`: it is open.
    pub fate: Option<(Fate, &'static str)>,
}

/// What came in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Credits {
    /// Messages times the subscribers they matched.
    pub routed: usize,
    /// Retained messages fetched for new subscriptions.
    pub retained: usize,
    /// What was open in a state that was restored.
    pub restored: usize,
}

/// How many ended, by client, how and why.
pub type Endings = BTreeMap<(Option<ByteString>, Fate, &'static str), usize>;

/// Both sides at one moment.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Balance {
    /// What came in.
    pub credits: Credits,
    /// What ended.
    pub ended: Endings,
    /// What is open: in queues, in hands, on its way.
    pub open: usize,
    /// Of those in queues, the first.
    pub waiting: Vec<LedgerEntry>,
    /// The last that ended, oldest first.
    pub latest: Vec<LedgerEntry>,
}

impl Balance {
    /// How much more came in than ended or is open; not 0: something was lost, or counted twice.
    pub fn difference(&self) -> i128 {
        let ended: usize = self.ended.values().sum();
        let Credits {
            routed,
            retained,
            restored,
        } = self.credits;
        let whole = |count: usize| i128::try_from(count).unwrap_or(i128::MAX);
        whole(routed) + whole(retained) + whole(restored) - whole(ended) - whole(self.open)
    }
}

#[derive(Debug, Default)]
struct Book {
    credits: Credits,
    ended: Endings,
    latest: VecDeque<LedgerEntry>,
    /// Whose queue is where.
    owners: BTreeMap<usize, ByteString>,
}

/// The ledger of a hub.
#[derive(Debug, Default)]
pub(super) struct Ledger(Mutex<Book>);

fn place(outbox: &Outbox) -> usize {
    std::ptr::from_ref(outbox).addr()
}

impl Ledger {
    pub(super) fn credit(&self, change: impl FnOnce(&mut Credits)) {
        change(&mut self.0.lock().credits);
    }

    fn open(&self, outbox: &Outbox, client_id: ByteString) {
        let mut book = self.0.lock();
        if book.owners.len() < CLIENTS_MAX {
            book.owners.insert(place(outbox), client_id);
        }
    }

    pub(super) fn close(&self, outbox: &Outbox) {
        self.0.lock().owners.remove(&place(outbox));
    }

    /// So many have ended.
    pub(super) fn end(
        &self,
        outbox: Option<&Outbox>,
        fate: (Fate, &'static str),
        topic: Option<&TopicName>,
        count: usize,
    ) {
        if count == 0 {
            return;
        }
        let mut book = self.0.lock();
        let client_id = outbox.and_then(|outbox| book.owners.get(&place(outbox)).cloned());
        let known = (client_id.clone(), fate.0, fate.1);
        let is_known = book.ended.contains_key(&known);
        let by = if is_known || book.ended.len() < 4 * CLIENTS_MAX {
            known
        } else {
            (None, fate.0, fate.1)
        };
        *book.ended.entry(by).or_default() += count;
        for _ in 0..count.min(ENTRIES_MAX) {
            if book.latest.len() == ENTRIES_MAX {
                book.latest.pop_front();
            }
            book.latest.push_back(LedgerEntry {
                client_id: client_id.clone(),
                topic: topic.map(TopicName::compact),
                fate: Some(fate),
            });
        }
    }
}

impl Hub {
    /// With a ledger.
    #[must_use]
    pub fn with_ledger(self) -> Self {
        Self {
            ledger: Some(Box::default()),
            ..self
        }
    }

    /// Whether there is a ledger.
    pub fn keeps_ledger(&self) -> bool {
        self.ledger.is_some()
    }

    /// A queue has an owner.
    pub(super) fn note_owner(&self, key: SessionKey, outbox: &Outbox) {
        if let Some(ledger) = &self.ledger {
            let core = self.core.read();
            let owner = core.registry.get(key).map(|entry| entry.client_id.clone());
            drop(core);
            if let Some(client_id) = owner {
                ledger.open(outbox, client_id);
            }
        }
    }

    /// A connection has taken a message out of the queue, and this became of it.
    pub fn note_taken(&self, attached: &Attached, topic: &TopicName, qos: QoS, taken: &Delivered) {
        let fate = match taken {
            Delivered::Sent if qos == QoS::AtMostOnce => (Fate::Delivered, "written"),
            Delivered::Expired => (Fate::Expired, "expired"),
            Delivered::TooLarge => (Fate::Dropped, "too large for the client"),
            Delivered::Sent | Delivered::NoRoom(_) => return,
        };
        if let Some(ledger) = &self.ledger {
            ledger.end(Some(&attached.outbox), fate, Some(topic), 1);
        }
    }

    /// A connection has taken a run, and so many of it were sent.
    pub fn note_run_taken(&self, attached: &Attached, run: &Run, sent: usize) {
        if let Some(ledger) = &self.ledger {
            let (outbox, topic) = (Some(&*attached.outbox), Some(run.topic()));
            ledger.end(outbox, (Fate::Delivered, "written"), topic, sent);
            let rest = run.len() - sent;
            let too_large = (Fate::Dropped, "too large for the client");
            ledger.end(outbox, too_large, topic, rest);
        }
    }

    /// So many exchanges were settled by the client, and so many given up because it takes them no more.
    pub fn note_settled(&self, attached: &Attached, ended: &Ended) {
        if let Some(ledger) = &self.ledger {
            let outbox = Some(&*attached.outbox);
            let answered = (Fate::Acknowledged, "acknowledged");
            ledger.end(outbox, answered, None, ended.acknowledged);
            let too_large = (Fate::Dropped, "too large for the client");
            ledger.end(outbox, too_large, None, ended.withdrawn);
        }
        self.note_denied(Some(&attached.outbox), None, ended.denied);
        self.take_back(&attached.outbox, &ended.returned);
    }

    /// A session has ended: what was open in it, but for so many that went back to groups.
    pub(super) fn note_session_ended(&self, outbox: &Outbox, given_back: usize) {
        if let Some(ledger) = &self.ledger {
            let open = (outbox.len() + outbox.in_flight()).saturating_sub(given_back);
            ledger.end(Some(outbox), (Fate::Dropped, "session ended"), None, open);
            ledger.close(outbox);
        }
    }

    /// Everything that is open goes, as nobody is connected; or was restored.
    pub(super) fn note_all(&self, why: Option<&'static str>) {
        let Some(ledger) = &self.ledger else {
            return;
        };
        let open = self.count_open(&Copies::new()).unwrap_or(0);
        match why {
            Some(why) => ledger.end(None, (Fate::Dropped, why), None, open),
            None => ledger.credit(|credits| credits.restored += open),
        }
        let owners: Vec<_> = {
            let core = self.core.read();
            let entries = core.registry.iter();
            entries
                .filter_map(|(key, entry)| {
                    let outbox = core.outboxes.get(key.0)?.clone()?;
                    Some((outbox, entry.client_id.clone()))
                })
                .collect()
        };
        for (outbox, client_id) in owners {
            ledger.open(&outbox, client_id);
        }
    }

    /// What is open; `None`: somebody who is connected has left no copy of its session.
    fn count_open(&self, copies: &Copies) -> Option<usize> {
        // As for a snapshot: nobody comes or goes while this is held.
        let core = self.core.write();
        let mut open = 0;
        for (_, entry) in core.registry.iter() {
            let Some(connection) = entry.connection else {
                open += entry.in_flight();
                continue;
            };
            let granted = || Some(&core.connections.get(&connection)?.grant.as_ref()?.session);
            let session = copies.get(&connection).or_else(granted)?;
            open += session.outbound.in_flight();
        }
        let queued = core.outboxes.iter().flatten().map(|outbox| outbox.len());
        let dealt = core.groups.iter().flatten().map(|group| group.len());
        Some(open + queued.sum::<usize>() + dealt.sum::<usize>())
    }

    /// Both sides of the ledger, if all who have a session stand still; empty without a ledger.
    pub fn try_balance(&self) -> Option<Balance> {
        let Some(ledger) = &self.ledger else {
            return Some(Balance::default());
        };
        let copies = self.copies();
        let open = self.count_open(&copies)?;
        let queues: Vec<Arc<Outbox>> = self
            .core
            .read()
            .outboxes
            .iter()
            .flatten()
            .cloned()
            .collect();
        let mut waiting = Vec::new();
        for outbox in queues {
            let rest = ENTRIES_MAX - waiting.len();
            let topics = outbox.topics(rest);
            let owner = ledger.0.lock().owners.get(&place(&outbox)).cloned();
            waiting.extend(topics.into_iter().map(|topic| LedgerEntry {
                client_id: owner.clone(),
                topic: Some(topic),
                fate: None,
            }));
        }
        let book = ledger.0.lock();
        Some(Balance {
            credits: book.credits,
            ended: book.ended.clone(),
            open,
            waiting,
            latest: book.latest.iter().cloned().collect(),
        })
    }

    /// Both sides of the ledger, at a standstill.
    pub async fn balance(&self) -> Balance {
        self.at_standstill(|| self.try_balance()).await
    }
}
