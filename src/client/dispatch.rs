//! Which subscription gets a message, and when a message that went to several is done.
//!
//! Owns the filters of the subscriptions, what each delivery still owes, and messages that came before their subscription.
//! It holds no queue: see `inbox`. A subscription is named by its [`Key`], which is also its subscription identifier.
//!
//! With MQTT 5 the broker says which subscriptions a copy is for, and a copy goes to those alone. Without identifiers each
//! message goes to every subscription whose filter matches; a broker of 3.1.1 that sends one copy for each overlapping
//! filter is then heard twice, which that version cannot tell apart.

use crate::codec::{PacketId, Publish, ReasonCode, SubscribeFilter};
use crate::message::QoS;
use crate::topic::{TopicFilter, TopicName};
use bytestring::ByteString;
use std::collections::{BTreeMap, VecDeque};
use std::num::NonZeroU32;

/// Names a subscription of this client.
pub(super) type Key = NonZeroU32;

/// Early messages of QoS 0 are not held back by the broker's window, so they are bounded here.
const EARLY_QOS0_MAX: usize = 1024;

/// An acknowledgement that may leave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Done {
    pub(super) packet_id: PacketId,
    pub(super) delivery: u64,
    pub(super) reason: ReasonCode,
}

#[derive(Debug)]
struct Line {
    text: ByteString,
    /// Without the share name, which topics never have.
    filter: TopicFilter,
}

#[derive(Debug)]
struct Owed {
    packet_id: PacketId,
    is_qos2: bool,
    /// Who is not done yet. Nearly always one.
    first: Option<Key>,
    others: Vec<Key>,
    /// The first failure anyone reported, else success.
    reason: ReasonCode,
}

/// The subscriptions' filters, and what is owed for what was given to them.
#[derive(Debug, Default)]
pub(super) struct Dispatch {
    entries: BTreeMap<Key, Vec<Line>>,
    /// Subscriptions that are gone, with those of their filters that others have: the broker may know such a filter by
    /// the identifier of the one that went. They go when somebody subscribes to the filter anew, or nobody has it.
    ghosts: BTreeMap<Key, Vec<Line>>,
    /// How many subscriptions have a filter, where more than one has: the broker knows the latest of them alone.
    holders: BTreeMap<ByteString, usize>,
    common: usize,
    owed: BTreeMap<u64, Owed>,
    early: VecDeque<Early>,
    latest: Option<Latest>,
}

/// A message that came before its subscription.
#[derive(Debug)]
struct Early {
    publish: Publish,
    delivery: u64,
    /// The subscription of an earlier process that it is for; `None`: nobody knows of any.
    holder: Option<Key>,
}

/// Who got the message before: the next is nearly always of the same topic. In memory of its own.
#[derive(Debug, Default)]
struct Latest {
    topic: String,
    subscription_ids: Vec<Key>,
    keys: Vec<Key>,
}

impl Dispatch {
    /// A key that names no subscription.
    pub(super) fn free_key(&self, after: Key) -> Key {
        let mut key = after;
        loop {
            // 268 435 455 is what the wire can say; so many subscriptions do not fit into memory.
            key = match key.checked_add(1) {
                Some(next) if next.get() <= 268_435_455 => next,
                _ => NonZeroU32::MIN,
            };
            if !self.entries.contains_key(&key) && !self.ghosts.contains_key(&key) {
                return key;
            }
        }
    }

    /// From now on messages for these filters go to `key`.
    pub(super) fn add(&mut self, key: Key, filters: &[SubscribeFilter]) {
        self.latest = None;
        let lines = self.entries.entry(key).or_default();
        lines.reserve_exact(filters.len());
        for asked in filters {
            let Ok(filter) = TopicFilter::new(asked.filter.clone()) else {
                continue;
            };
            // The broker knows the filter by this key from now on.
            drop_ghosts_of(&mut self.ghosts, &asked.filter);
            if lines.iter().any(|line| line.text == asked.filter) {
                continue;
            }
            let filter = match filter.share() {
                Ok(Some((_, inner))) => inner,
                _ => filter,
            };
            let holders = self.holders.entry(asked.filter.clone()).or_insert(0);
            *holders += 1;
            self.common += usize::from(*holders == 2);
            lines.push(Line {
                text: asked.filter.clone(),
                filter,
            });
        }
    }

    /// Forgets a subscription, and says which of its filters no other has: those the broker can be told to forget.
    pub(super) fn remove(&mut self, key: Key) -> Vec<ByteString> {
        let lines = self.entries.remove(&key).unwrap_or_default();
        self.drop_lines(key, lines)
    }

    /// The same for some filters of a subscription that goes on.
    pub(super) fn remove_some(&mut self, key: Key, filters: &[ByteString]) -> Vec<ByteString> {
        let Some(lines) = self.entries.get_mut(&key) else {
            return Vec::new();
        };
        let gone = lines.extract_if(.., |line| filters.contains(&line.text));
        let gone = gone.collect();
        self.drop_lines(key, gone)
    }

    fn drop_lines(&mut self, key: Key, lines: Vec<Line>) -> Vec<ByteString> {
        self.latest = None;
        let mut alone = Vec::new();
        let mut ghost = Vec::new();
        for line in lines {
            match self.holders.get_mut(&line.text) {
                Some(holders) if *holders > 1 => {
                    *holders -= 1;
                    self.common -= usize::from(*holders == 1);
                    ghost.push(line);
                }
                _ => {
                    self.holders.remove(&line.text);
                    drop_ghosts_of(&mut self.ghosts, &line.text);
                    alone.push(line.text);
                }
            }
        }
        if !ghost.is_empty() {
            self.ghosts.entry(key).or_default().append(&mut ghost);
        }
        alone
    }

    /// Whether a filter is held by a subscription beside `key`.
    pub(super) fn is_shared_with_others(&self, key: Key, text: &ByteString) -> bool {
        let own = self
            .entries
            .get(&key)
            .is_some_and(|lines| lines.iter().any(|line| line.text == *text));
        self.holders.get(text).copied().unwrap_or(0) > usize::from(own)
    }

    /// Writes who gets this message into `keys`.
    pub(super) fn route(&mut self, publish: &Publish, keys: &mut Vec<Key>) {
        keys.clear();
        if let Some(latest) = &self.latest
            && latest.topic == publish.message.topic.as_str()
            && latest.subscription_ids == publish.subscription_ids
        {
            keys.extend_from_slice(&latest.keys);
            return;
        }
        self.match_filters(publish, keys);
        let latest = self.latest.get_or_insert_default();
        publish.message.topic.as_str().clone_into(&mut latest.topic);
        latest
            .subscription_ids
            .clone_from(&publish.subscription_ids);
        latest.keys.clone_from(keys);
    }

    fn match_filters(&self, publish: &Publish, keys: &mut Vec<Key>) {
        let topic = &publish.message.topic;
        for id in &publish.subscription_ids {
            // The identifiers of a session that an earlier process left may be the same numbers with another meaning:
            // the filter has to match as well.
            if !keys.contains(id)
                && (self.entry_matches(*id, topic) || any_matches(self.ghosts.get(id), topic))
            {
                keys.push(*id);
            }
        }
        if keys.is_empty() {
            let all = self.entries.keys().copied();
            keys.extend(all.filter(|key| self.entry_matches(*key, topic)));
        } else if self.common > 0 || !self.ghosts.is_empty() {
            self.add_sharers(topic, keys);
            // A subscription may have left the filter and gone on with others.
            keys.retain(|key| self.entry_matches(*key, topic));
        }
    }

    fn entry_matches(&self, key: Key, topic: &TopicName) -> bool {
        any_matches(self.entries.get(&key), topic)
    }

    /// Two subscriptions with the same filter are one to the broker, and it names the later one.
    fn add_sharers(&self, topic: &TopicName, keys: &mut Vec<Key>) {
        let named = keys.len();
        for (key, lines) in &self.entries {
            let mut matching = lines.iter().filter(|line| line.filter.matches(topic));
            let shares = matching.any(|line| {
                keys[..named].iter().any(|other| {
                    let theirs = [self.entries.get(other), self.ghosts.get(other)];
                    let mut theirs = theirs.into_iter().flatten().flatten();
                    theirs.any(|their| their.text == line.text)
                })
            });
            if shares && !keys.contains(key) {
                keys.push(*key);
            }
        }
    }

    /// A delivery of QoS 1 or 2 was offered to these subscriptions: it is done when all are.
    pub(super) fn owe(&mut self, publish: &Publish, delivery: u64, keys: &[Key]) {
        let (Some(packet_id), Some((first, others))) = (publish.packet_id, keys.split_first())
        else {
            return;
        };
        self.owed.insert(
            delivery,
            Owed {
                packet_id,
                is_qos2: publish.message.qos == QoS::ExactlyOnce,
                first: Some(*first),
                others: others.to_vec(),
                reason: ReasonCode::Success,
            },
        );
    }

    /// One subscription is done with a delivery. Once all are, it may be acknowledged.
    pub(super) fn processed(
        &mut self,
        key: Key,
        delivery: u64,
        reason: ReasonCode,
    ) -> Option<Done> {
        let owed = self.owed.get_mut(&delivery)?;
        if owed.first == Some(key) {
            owed.first = None;
        } else {
            let place = owed.others.iter().position(|other| *other == key)?;
            owed.others.swap_remove(place);
        }
        if reason.is_error() && !owed.reason.is_error() {
            owed.reason = reason;
        }
        if owed.first.is_some() || !owed.others.is_empty() {
            return None;
        }
        let owed = self.owed.remove(&delivery)?;
        Some(Done {
            packet_id: owed.packet_id,
            delivery,
            reason: owed.reason,
        })
    }

    /// Nobody will ever process what this subscription still holds: it is done with all of it, since an acknowledgement
    /// that never comes would hold back all later ones.
    pub(super) fn release(&mut self, key: Key) -> Vec<Done> {
        self.held(key)
            .into_iter()
            .filter_map(|delivery| self.processed(key, delivery, ReasonCode::Success))
            .collect()
    }

    /// Nobody will ever process this: it is not to be acknowledged, whoever else is done with it.
    pub(super) fn forget(&mut self, delivery: u64) -> Option<PacketId> {
        self.owed.remove(&delivery).map(|owed| owed.packet_id)
    }

    /// As [`Dispatch::forget`], for all that this subscription holds.
    pub(super) fn abandon(&mut self, key: Key) -> Vec<(PacketId, u64)> {
        self.held(key)
            .into_iter()
            .filter_map(|delivery| Some((self.forget(delivery)?, delivery)))
            .collect()
    }

    fn held(&self, key: Key) -> Vec<u64> {
        self.owed
            .iter()
            .filter(|(_, owed)| owed.first == Some(key) || owed.others.contains(&key))
            .map(|(delivery, _)| *delivery)
            .collect()
    }

    /// A connection begins. Of what was delivered before, only QoS 2 of a kept session can still be acknowledged.
    pub(super) fn begin(&mut self, session_present: bool) {
        if session_present {
            self.owed.retain(|_, owed| owed.is_qos2);
            self.early
                .retain(|early| early.publish.message.qos != QoS::AtLeastOnce);
        } else {
            self.owed.clear();
            self.early.clear();
        }
    }

    /// Keeps a message that nobody subscribed to yet, or for a subscription that nobody has taken over yet. QoS 1 and 2
    /// are bounded by our Receive Maximum, being not acknowledged. `false`: no room.
    pub(super) fn hold(&mut self, publish: &Publish, delivery: u64, holder: Option<Key>) -> bool {
        if publish.packet_id.is_none() && self.early.len() >= EARLY_QOS0_MAX {
            return false;
        }
        let mut kept = publish.clone();
        kept.message = publish.message.compact();
        self.early.push_back(Early {
            publish: kept,
            delivery,
            holder,
        });
        true
    }

    /// The early messages for a new subscription, in their order: those that nobody had subscribed to, and those held for
    /// these subscriptions, by the filters that it has of them.
    pub(super) fn claim(&mut self, key: Key, from: &[Key]) -> Vec<(Publish, u64)> {
        let mut claimed = Vec::new();
        for early in std::mem::take(&mut self.early) {
            let topic = &early.publish.message.topic;
            let is_claimed = match early.holder {
                None if self.entry_matches(key, topic) => {
                    self.owe(&early.publish, early.delivery, &[key]);
                    true
                }
                Some(holder) if from.contains(&holder) && self.shares(key, holder, topic) => {
                    if !self.hand_over(holder, key, early.delivery) {
                        continue;
                    }
                    true
                }
                _ => false,
            };
            if is_claimed {
                claimed.push((early.publish, early.delivery));
            } else {
                self.early.push_back(early);
            }
        }
        claimed
    }

    /// Whether both have a filter that matches.
    fn shares(&self, key: Key, other: Key, topic: &TopicName) -> bool {
        let (Some(lines), Some(others)) = (self.entries.get(&key), self.entries.get(&other)) else {
            return false;
        };
        let mut matching = lines.iter().filter(|line| line.filter.matches(topic));
        matching.any(|line| others.iter().any(|other| other.text == line.text))
    }

    /// What `from` owes for a delivery, `to` owes. `false`: it did already.
    fn hand_over(&mut self, from: Key, to: Key, delivery: u64) -> bool {
        let Some(owed) = self.owed.get_mut(&delivery) else {
            return true;
        };
        let is_new = owed.first != Some(to) && !owed.others.contains(&to);
        owed.first = owed.first.filter(|key| *key != from);
        owed.others.retain(|key| *key != from);
        if is_new {
            owed.others.push(to);
        }
        is_new
    }

    /// The early messages that nobody has claimed in time.
    pub(super) fn unclaimed(&mut self) -> Vec<(Publish, u64)> {
        let (unclaimed, held) = std::mem::take(&mut self.early)
            .into_iter()
            .partition::<Vec<_>, _>(|early| early.holder.is_none());
        self.early = held.into();
        let unclaimed = unclaimed.into_iter();
        unclaimed
            .map(|early| (early.publish, early.delivery))
            .collect()
    }

    /// Lets go of what is held for a subscription, and says how much it was. What it owes is not touched.
    pub(super) fn let_go(&mut self, key: Key) -> usize {
        let before = self.early.len();
        self.early.retain(|early| early.holder != Some(key));
        before - self.early.len()
    }
}

fn any_matches(lines: Option<&Vec<Line>>, topic: &TopicName) -> bool {
    lines.is_some_and(|lines| lines.iter().any(|line| line.filter.matches(topic)))
}

fn drop_ghosts_of(ghosts: &mut BTreeMap<Key, Vec<Line>>, text: &ByteString) {
    ghosts.retain(|_, lines| {
        lines.retain(|line| line.text != *text);
        !lines.is_empty()
    });
}
