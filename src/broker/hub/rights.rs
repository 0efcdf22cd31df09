//! Who has which rights now: given when a session is, and again when the rules change.
//!
//! The registry keeps the rights of each session, for its will; the router asks them for each route; and the queue and the
//! groups of a session hold them too, under their own locks: whatever was routed by older rights is looked at again there,
//! so that nothing goes out against those of now.

use super::core::Core;
use super::{Attached, Fate, Hub, Ordering};
use crate::broker::ClientInfo;
use crate::broker::bell;
use crate::broker::group::Group;
use crate::broker::outbox::Outbox;
use crate::broker::registry::ConnectRequest;
use crate::broker::retained::{Author, RetainedMessage};
use crate::broker::rights::{Access, Policies, Policy, Reader, Referee, Rights, Ruling};
use crate::broker::router::SessionKey;
use crate::topic::TopicName;
use std::sync::Arc;

/// Why a message was denied.
const NO_RIGHT: &str = "no right to read it";
const NO_RIGHT_ANY_MORE: &str = "its publisher has no right to publish it any more";

/// A session whose rights have changed, and where they are to be known.
#[derive(Debug)]
pub(super) struct Restricted {
    pub(super) outbox: Arc<Outbox>,
    pub(super) groups: Vec<Arc<Group>>,
    pub(super) reader: Option<Reader>,
}

impl Core {
    /// What a client may do that came through this listener; `None`: everything. `given` is what somebody who was asked has
    /// answered.
    pub(super) fn rights(
        &mut self,
        client_id: &str,
        user: Option<&str>,
        (listener, given): (Option<usize>, Option<Arc<Rights>>),
    ) -> Option<Arc<Rights>> {
        match self.policies.at(listener)? {
            Policy::Rules(acl) => {
                let rights = Arc::new(acl.rights(client_id, user));
                Some(self.shelf.share(user, rights))
            }
            Policy::Asked(_) => Some(self.shelf.share(user, given.unwrap_or_default())),
        }
    }

    /// Whether nobody has said what a client may do, though somebody has to be asked.
    pub(super) fn is_unasked(&self, request: &ConnectRequest) -> bool {
        request.rights.is_none() && self.policies.referee(request.listener).is_some()
    }

    /// Whether a client may have the will that it wants.
    pub(super) fn allows_will(&mut self, request: &ConnectRequest) -> bool {
        let (Some(will), false) = (&request.will, self.policies.is_empty()) else {
            return true;
        };
        let user = request.user.as_deref();
        let rights = self.rights(
            &request.client_id,
            user,
            (request.listener, Ruling::given(request.rights.as_ref())),
        );
        rights.is_none_or(|rights| rights.may_publish(&will.message.topic))
    }

    /// Takes out what clients have published that may not publish it any more; says how many those are.
    pub(super) fn withhold(&self, found: &mut Vec<RetainedMessage>) -> usize {
        if self.policies.is_empty() {
            return 0;
        }
        let before = found.len();
        // What one client has published often comes in a row.
        let mut last: Option<(Arc<Author>, Option<Arc<Rights>>)> = None;
        found.retain(|kept| {
            let Some(author) = &kept.author else {
                return true;
            };
            let known = last.take().filter(|(known, _)| Arc::ptr_eq(known, author));
            let known =
                known.unwrap_or_else(|| (Arc::clone(author), self.rights_of_author(author)));
            let (_, rights) = last.insert(known);
            let rights = rights.as_ref();
            rights.is_none_or(|rights| rights.may_publish(&kept.message.topic))
        });
        before - found.len()
    }

    /// What somebody may do now who has published something; `None`: everything.
    fn rights_of_author(&self, author: &Author) -> Option<Arc<Rights>> {
        let key = self.registry.find(&author.client_id);
        let session = key.and_then(|key| self.registry.get(key));
        if let Some(entry) = session.filter(|entry| entry.user == author.user) {
            return entry.rights.clone();
        }
        match self.policies.at(author.listener)? {
            Policy::Rules(acl) => {
                let rights = acl.rights(&author.client_id, author.user.as_deref());
                Some(Arc::new(rights))
            }
            // Nobody is asked about who is not there.
            Policy::Asked(_) => None,
        }
    }

    /// Gives a session the rights it has now; says where they are to be known, if they are others than before.
    pub(super) fn give_rights(&mut self, key: SessionKey) -> Option<Restricted> {
        if self.policies.is_empty() && self.router.reader(key).is_none() {
            return None;
        }
        let entry = self.registry.get(key)?;
        let (client_id, user) = (entry.client_id.clone(), entry.user.clone());
        let given = (entry.listener, entry.rights.clone());
        let rights = self.rights(&client_id, user.as_deref(), given);
        let before = self.router.reader(key);
        let is_same = match (&rights, before) {
            (Some(rights), Some(before)) => *before.rights == **rights,
            (None, None) => true,
            _ => false,
        };
        self.registry.set_rights(key, rights.clone());
        if is_same {
            return None;
        }
        self.last_stamp += 1;
        let stamp = self.last_stamp;
        let reader = rights.map(|rights| Reader { stamp, rights });
        self.router.set_reader(key, reader.clone());
        Some(Restricted {
            outbox: self.outbox(key),
            groups: self.groups_of(key),
            reader,
        })
    }

    /// Gives every session its rights. Where somebody has to be asked, that will be when their clients come back: until
    /// then messages wait for them, but nothing is said in their names that was not allowed before.
    pub(super) fn give_rights_to_all(&mut self) -> Vec<Restricted> {
        let asks = |listener| self.policies.referee(listener).is_some();
        let entries = self.registry.iter();
        let entries =
            entries.map(|(key, entry)| (key, asks(entry.listener), entry.rights.is_none()));
        let mut changed = Vec::new();
        for (key, is_asked, is_unknown) in entries.collect::<Vec<_>>() {
            if !is_asked {
                changed.extend(self.give_rights(key));
            } else if is_unknown {
                self.registry.set_rights(key, Some(Arc::default()));
            }
        }
        changed
    }
}

impl Hub {
    /// From now on clients may do what this says where their listeners have no policy of their own.
    pub fn set_policy(&self, policy: Option<Policy>) {
        self.set_policies(Policies {
            everywhere: policy,
            ..self.policies()
        });
    }

    /// What clients may do.
    pub fn policies(&self) -> Policies {
        self.core.read().policies.clone()
    }

    /// From now on clients may do what this says. It holds for sessions that are there, and for what waits for them, when
    /// this returns. Where somebody has to be asked, that will be for each connection that is there now; until then it
    /// may do what it might.
    pub fn set_policies(&self, policies: Policies) {
        let changed = {
            let mut core = self.core.write();
            core.policies = policies;
            core.give_rights_to_all()
        };
        self.note_rights(changed);
        self.ask_again();
    }

    /// As of [`Policies::referee`].
    pub fn referee(&self, listener: Option<usize>) -> Option<Arc<dyn Referee>> {
        self.core.read().policies.referee(listener).cloned()
    }

    /// Has somebody asked again what those may do who are connected, if anybody is asked.
    pub fn ask_again(&self) {
        if !self.core.read().policies.asks() {
            return;
        }
        let bells: Vec<_> = {
            let mut core = self.core.write();
            let connections = core.connections.values_mut();
            let asked = connections.map(|connected| {
                connected.asks_again = true;
                Arc::clone(&connected.bell)
            });
            asked.collect()
        };
        self.note_rights([]);
        bell::ring_all(&bells);
    }

    /// The question that is to be asked again about this connection's client.
    pub fn take_question(&self, attached: &Attached) -> Option<(Arc<dyn Referee>, ClientInfo)> {
        if !self.core.read().policies.asks() {
            return None;
        }
        let mut core = self.core.write();
        let connected = core.connections.get_mut(&attached.connection)?;
        let is_asked = std::mem::take(&mut connected.asks_again);
        let client = is_asked.then(|| connected.info.clone())?;
        let referee = core.policies.referee(client.peer.listener).cloned()?;
        Some((referee, client))
    }

    /// What somebody says who was asked again what the client of this connection may do.
    pub fn set_rights(&self, attached: &Attached, rights: Arc<Rights>) {
        let changed = {
            let mut core = self.core.write();
            let entry = core.registry.get(attached.key);
            if entry.is_none_or(|entry| entry.connection != Some(attached.connection)) {
                return;
            }
            core.registry.set_rights(attached.key, Some(rights));
            core.give_rights(attached.key)
        };
        self.note_rights(changed);
    }

    pub(super) fn note_rights(&self, changed: impl IntoIterator<Item = Restricted>) {
        // Before the queues: who reads this and finds nothing new has the rights that are in them.
        self.rights_edition.fetch_add(1, Ordering::Release);
        for restricted in changed {
            self.restrict(&restricted);
        }
    }

    /// Changes whenever anybody's rights may have.
    pub fn rights_edition(&self) -> u64 {
        self.rights_edition.load(Ordering::Acquire)
    }

    /// What the client of a connection may do now; `None`: everything.
    pub fn rights_of(&self, attached: &Attached) -> Option<Arc<Rights>> {
        let core = self.core.read();
        core.registry.get(attached.key)?.rights.clone()
    }

    /// Whether a client may do that, and by which rule; without one, no rule allows it. `None`: there is no such session.
    pub fn explain_right(
        &self,
        client_id: &str,
        access: Access,
        topic: &TopicName,
    ) -> Option<(bool, Option<String>)> {
        let rights = {
            let core = self.core.read();
            let key = core.registry.find(client_id)?;
            core.registry.get(key)?.rights.clone()
        };
        Some(match rights {
            None => (true, None),
            Some(rights) => {
                let (is_allowed, rule) = rights.explain(access, topic);
                (is_allowed, rule.map(str::to_owned))
            }
        })
    }

    /// Makes rights known where messages wait: what may not be read any more goes.
    pub(super) fn restrict(&self, restricted: &Restricted) {
        let Restricted {
            outbox,
            groups,
            reader,
        } = restricted;
        let denied = outbox.set_reader(reader.as_ref());
        self.note_denied(Some(outbox), None, denied);
        for group in groups {
            self.restrict_member(group, outbox);
        }
    }

    /// Makes the rights of a member known to its group: the newest, however many changes are under way.
    pub(super) fn restrict_member(&self, group: &Arc<Group>, outbox: &Arc<Outbox>) {
        let mut reader = outbox.reader();
        loop {
            let after = group.set_reader(outbox, reader.as_ref());
            self.follow_group(group, after, None);
            let newest = outbox.reader();
            let stamp = |reader: &Option<Reader>| reader.as_ref().map(|reader| reader.stamp);
            if stamp(&newest) == stamp(&reader) {
                return;
            }
            reader = newest;
        }
    }

    /// So many retained messages are kept back from a session.
    pub(super) fn note_withheld(&self, from: &Outbox, count: usize) {
        self.counters.deliveries_denied.add(count);
        if let Some(ledger) = &self.ledger {
            ledger.end(Some(from), (Fate::Denied, NO_RIGHT_ANY_MORE), None, count);
        }
    }

    /// So many deliveries were denied.
    pub(super) fn note_denied(&self, to: Option<&Outbox>, topic: Option<&TopicName>, count: usize) {
        self.counters.deliveries_denied.add(count);
        if let Some(ledger) = &self.ledger {
            ledger.end(to, (Fate::Denied, NO_RIGHT), topic, count);
        }
    }
}
