//! The groups of shared subscriptions as they should be: what each is owed, and what has become of it.
//!
//! Which member gets a message is for the broker to choose, so that is learnt from the wire. Whatever it chooses, a message
//! is with one member at a time: QoS 1 comes back when the member's session ends first, QoS 2 never does. Topics under
//! [`ROOT`] are matched by shared subscriptions alone, and no client is in two groups that match one topic: so a copy says
//! by itself which group it is from.

mod rights;

use super::books::{Key, key};
use super::queue::Owed;
use super::retained::matches;
use super::rights::Rights;
use rmqtt::broker::Limits;
use rmqtt::broker::outbox::GRACE;
use rmqtt::broker::protocol::Delivery;
use rmqtt::codec::{PacketId, ProtocolVersion, Publish, SubscriptionOptions};
use rmqtt::message::{Message, QoS};
use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Instant;

/// Wildcards at the first level do not match it.
pub(super) const ROOT: &str = "$deal/";

/// What a waiting message costs beside itself.
const PARCEL_COST: usize = 96;

/// Whether a message is for groups alone.
pub(super) fn is_shared(message: &Message) -> bool {
    message.topic.as_str().starts_with(ROOT)
}

/// The filter behind `$share/name/`, if it is a shared subscription.
pub(super) fn shared_filter(text: &str) -> Option<&str> {
    let (_, filter) = text.strip_prefix("$share/")?.split_once('/')?;
    Some(filter)
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Waiting,
    /// Waiting, or dropped because the group has been full for too long, or because no member could read it for a while.
    Uncertain,
    /// On its way to a client, with this QoS.
    Sent(usize, PacketId, QoS),
}

#[derive(Debug)]
struct Parcel {
    number: u64,
    /// As it was published.
    message: Message,
    expires_at: Option<Instant>,
    /// How often the members had changed when it was published.
    changes: u64,
    state: State,
}

impl Parcel {
    fn key(&self) -> Option<Key> {
        key(&self.message.payload)
    }

    fn is_waiting(&self) -> bool {
        !matches!(self.state, State::Sent(..))
    }

    /// As this member has to get it.
    fn owed(&self, member: &Member) -> Owed {
        let options = member.options;
        let copy = self.message.clone();
        let copy = copy.with_qos(self.message.qos.min(options.qos));
        let copy = copy.with_retain(self.message.retain && options.retain_as_published);
        Owed::new(copy, member.id.into_iter().collect(), self.expires_at)
    }
}

#[derive(Debug)]
struct Member {
    options: SubscriptionOptions,
    id: Option<NonZeroU32>,
    is_online: bool,
}

/// One `$share/name/filter` with members.
#[derive(Debug)]
struct Group {
    members: BTreeMap<usize, Member>,
    parcels: Vec<Parcel>,
    numbers: u64,
    changes: u64,
    /// Nobody is connected, and what need not be kept is gone.
    is_for_long: bool,
    /// The highest QoS of any member.
    granted: QoS,
    full_since: Option<Instant>,
    /// Whether it has been full for so long that who sits on messages is sent away, or what is new is dropped.
    has_given_up: bool,
    /// By client, publisher, topic and whether it is acknowledged: the last that was sent.
    last: BTreeMap<(usize, u64, String, bool), u64>,
    messages_max: usize,
    bytes_max: usize,
}

impl Group {
    fn new(limits: &Limits) -> Self {
        Self {
            members: BTreeMap::new(),
            parcels: Vec::new(),
            numbers: 0,
            changes: 0,
            is_for_long: true,
            granted: QoS::ExactlyOnce,
            full_since: None,
            has_given_up: false,
            last: BTreeMap::new(),
            messages_max: limits.queue_messages_max,
            bytes_max: limits.queue_bytes_max,
        }
    }

    fn is_online(&self) -> bool {
        self.members.values().any(|member| member.is_online)
    }

    fn waiting(&self) -> usize {
        let waiting = self.parcels.iter().filter(|parcel| parcel.is_waiting());
        waiting.count()
    }

    fn quarters(&self) -> usize {
        let waiting = self.parcels.iter().filter(|parcel| parcel.is_waiting());
        let bytes: usize = waiting
            .map(|parcel| parcel.message.size() + PARCEL_COST)
            .sum();
        (self.waiting() * 4 / self.messages_max).max(bytes * 4 / self.bytes_max)
    }

    /// Somebody publishes: returns the QoS of what was dropped.
    fn push(
        &mut self,
        message: &Message,
        expires_at: Option<Instant>,
        now: Instant,
    ) -> Option<QoS> {
        let qos = message.qos.min(self.granted);
        let (quarters, is_online) = (self.quarters(), self.is_online());
        let is_best_effort = qos == QoS::AtMostOnce;
        let is_past_grace = self.full_since.is_some_and(|since| since + GRACE <= now);
        self.has_given_up |= !is_best_effort && is_online && quarters >= 4 && is_past_grace;
        let is_dropped = match (is_best_effort, is_online) {
            (true, true) => quarters >= 3,
            (true, false) => true,
            (false, true) => false,
            (false, false) => quarters >= 4,
        };
        if is_dropped && !self.has_given_up {
            return Some(qos);
        }
        self.numbers += 1;
        self.parcels.push(Parcel {
            number: self.numbers,
            message: message.clone(),
            expires_at,
            changes: self.changes,
            state: if self.has_given_up {
                State::Uncertain
            } else {
                State::Waiting
            },
        });
        if !is_best_effort && is_online && self.quarters() >= 4 {
            self.full_since.get_or_insert(now);
        }
        None
    }

    fn release(&mut self) {
        if self.quarters() < 3 {
            self.full_since = None;
        }
    }

    /// The members have changed. Returns how many of QoS 0 need not be kept any more.
    fn follow(&mut self) -> u64 {
        self.changes += 1;
        let granted = self.members.values().map(|member| member.options.qos).max();
        self.granted = granted.unwrap_or(QoS::ExactlyOnce);
        let mut dropped = 0;
        if self.is_online() {
            self.is_for_long = false;
        } else if !std::mem::replace(&mut self.is_for_long, true) {
            self.full_since = None;
            dropped = self.keep_for_long();
        }
        self.release();
        dropped
    }

    /// Nobody is connected: what all members would get with QoS 0 goes. Returns how many those were.
    fn keep_for_long(&mut self) -> u64 {
        let (before, granted) = (self.parcels.len(), self.granted);
        let keeps = |parcel: &Parcel| parcel.message.qos.min(granted) > QoS::AtMostOnce;
        self.parcels
            .retain(|parcel| !parcel.is_waiting() || keeps(parcel));
        (before - self.parcels.len()) as u64
    }

    /// The first that waits and looks like this to the client.
    fn find(
        &self,
        client: usize,
        payload: &bytes::Bytes,
        is_it: impl Fn(&Owed) -> bool,
    ) -> Option<usize> {
        let member = self.members.get(&client)?;
        let key = key(payload);
        let find = |state: State| {
            let mut parcels = self.parcels.iter();
            parcels.position(|parcel| {
                parcel.state == state && parcel.key() == key && is_it(&parcel.owed(member))
            })
        };
        find(State::Waiting).or_else(|| find(State::Uncertain))
    }

    fn sent(&mut self, at: usize, client: usize, publish: &Publish) {
        let parcel = &mut self.parcels[at];
        let who = parcel.key().map_or(0, |key| key.0);
        let topic = parcel.message.topic.to_string();
        let class = (client, who, topic, publish.packet_id.is_some());
        let last = self.last.entry(class).or_default();
        assert!(
            *last < parcel.number || parcel.changes < self.changes,
            "client {client} gets {parcel:?} behind {last}"
        );
        *last = parcel.number.max(*last);
        match publish.packet_id {
            Some(id) => parcel.state = State::Sent(client, id, publish.message.qos),
            None => {
                self.parcels.remove(at);
            }
        }
        self.release();
    }

    /// A session has ended: what it had not settled of QoS 1 is given back. Says whether there was anything.
    fn give_back(&mut self, client: usize) -> bool {
        let is_with = |parcel: &Parcel, qos: QoS| matches!(parcel.state, State::Sent(whose, _, sent) if whose == client && sent == qos);
        self.parcels
            .retain(|parcel| !is_with(parcel, QoS::ExactlyOnce));
        let mut has_any = false;
        for parcel in &mut self.parcels {
            if is_with(parcel, QoS::AtLeastOnce) {
                parcel.state = State::Waiting;
                has_any = true;
            }
        }
        has_any
    }
}

/// All groups that have members.
#[derive(Debug)]
pub(super) struct Groups {
    all: BTreeMap<String, Group>,
    limits: Arc<Limits>,
    rights: Rights,
    pub(super) dropped_qos0: u64,
    pub(super) dropped_full: u64,
    pub(super) denied: usize,
    /// Whether a group has ever given up, or had something that no member could read: what was dropped since is for the
    /// broker to know.
    pub(super) is_vague: bool,
}

impl Groups {
    pub(super) fn new(limits: Arc<Limits>, rights: Rights) -> Self {
        Self {
            all: BTreeMap::new(),
            limits,
            rights,
            dropped_qos0: 0,
            dropped_full: 0,
            denied: 0,
            is_vague: false,
        }
    }

    /// Somebody publishes. Returns how many groups get it.
    pub(super) fn route(
        &mut self,
        message: &Message,
        expires_at: Option<Instant>,
        now: Instant,
    ) -> usize {
        let mut matched = 0;
        for (text, group) in &mut self.all {
            let filter = shared_filter(text).expect("it is shared");
            if !matches(filter, message.topic.as_str()) {
                continue;
            }
            matched += 1;
            if !group.is_for_any_member(&self.rights, message) {
                self.denied += 1;
                continue;
            }
            match group.push(message, expires_at, now) {
                Some(QoS::AtMostOnce) => self.dropped_qos0 += 1,
                Some(_) => self.dropped_full += 1,
                None => {}
            }
            self.is_vague |= group.has_given_up;
        }
        matched
    }

    /// A client subscribes; `false`: to something that is not shared.
    pub(super) fn subscribe(
        &mut self,
        client: usize,
        text: &str,
        options: SubscriptionOptions,
        id: Option<NonZeroU32>,
    ) -> bool {
        if shared_filter(text).is_none() {
            return false;
        }
        let limits = &self.limits;
        let group = self.all.entry(text.to_owned());
        let group = group.or_insert_with(|| Group::new(limits));
        let member = Member {
            options,
            id,
            is_online: true,
        };
        let old = group.members.insert(client, member);
        if old.is_none_or(|old| old.options.qos != options.qos) {
            self.dropped_qos0 += group.follow();
        }
        self.bar();
        true
    }

    /// A client unsubscribes. Says whether it was a member; `None`: of something that is not shared.
    pub(super) fn unsubscribe(&mut self, client: usize, text: &str) -> Option<bool> {
        shared_filter(text)?;
        let Some(group) = self.all.get_mut(text) else {
            return Some(false);
        };
        let was_member = group.members.remove(&client).is_some();
        if was_member {
            self.dropped_qos0 += group.follow();
            self.forget_empty();
            self.bar();
        }
        Some(was_member)
    }

    /// A client's connection has come, or gone.
    pub(super) fn set_online(&mut self, client: usize, is_online: bool) {
        for group in self.all.values_mut() {
            if let Some(member) = group.members.get_mut(&client)
                && member.is_online != is_online
            {
                member.is_online = is_online;
                self.dropped_qos0 += group.follow();
            }
        }
    }

    /// A client's session has ended.
    pub(super) fn end(&mut self, client: usize) {
        for group in self.all.values_mut() {
            if group.give_back(client) {
                self.dropped_qos0 += group.follow();
            }
            if group.members.remove(&client).is_some() {
                self.dropped_qos0 += group.follow();
            }
        }
        self.forget_empty();
        self.bar();
    }

    /// Those that somebody is connected of.
    pub(super) fn online(&self) -> Vec<String> {
        let online = self.all.iter().filter(|(_, group)| group.is_online());
        online.map(|(text, _)| text.clone()).collect()
    }

    /// The power has gone while somebody was connected of these: all have gone at once then, and not the one who was
    /// granted most as the last.
    pub(super) fn power_gone(&mut self, were_online: &[String]) {
        for text in were_online {
            if let Some(group) = self.all.get_mut(text) {
                group.keep_for_long();
            }
        }
    }

    /// A group ends with its last member, and what it was owed with it.
    fn forget_empty(&mut self) {
        self.all.retain(|_, group| !group.members.is_empty());
    }

    /// The broker has begun to send a message to a client.
    pub(super) fn sent(
        &mut self,
        client: usize,
        publish: &Publish,
        version: ProtocolVersion,
        now: Instant,
    ) {
        let is_it = |owed: &Owed| {
            let mut expected = owed.as_sent(version, now);
            expected.packet_id = publish.packet_id;
            *publish == expected && !owed.is_expired(now)
        };
        for group in self.all.values_mut() {
            if let Some(at) = group.find(client, &publish.message.payload, is_it) {
                return group.sent(at, client, publish);
            }
        }
        panic!("no group of client {client} owes it {publish:?}: {self:#?}");
    }

    /// The broker has not sent what it was about to, because it is too old or too large for this member.
    pub(super) fn skip(
        &mut self,
        client: usize,
        delivery: &Delivery,
        has_reason: impl Fn(&Owed) -> bool,
    ) {
        let is_it = |owed: &Owed| owed.message == delivery.message && has_reason(owed);
        for group in self.all.values_mut() {
            if let Some(at) = group.find(client, &delivery.message.payload, is_it) {
                group.parcels.remove(at);
                return group.release();
            }
        }
        panic!("skipped without a reason, or not owed: {delivery:?}");
    }

    /// A client has answered: it is nobody else's any more. A group that has ended does not care.
    pub(super) fn settled(&mut self, client: usize, publish: &Publish) {
        let is_it = |parcel: &Parcel| {
            let is_its = matches!(parcel.state, State::Sent(whose, id, _) if whose == client && Some(id) == publish.packet_id);
            is_its && parcel.message.payload == publish.message.payload
        };
        for group in self.all.values_mut() {
            group.parcels.retain(|parcel| !is_it(parcel));
        }
    }

    /// A client is too small by now for what was on its way to it.
    pub(super) fn withdrawn(&mut self, client: usize, message: &Message) {
        for group in self.all.values_mut() {
            let mut parcels = group.parcels.iter();
            let at = parcels.position(|parcel| {
                matches!(parcel.state, State::Sent(whose, ..) if whose == client)
                    && parcel.message.payload == message.payload
            });
            if let Some(at) = at {
                group.parcels.remove(at);
                return;
            }
        }
    }

    /// How often anybody is a member.
    pub(super) fn memberships(&self) -> usize {
        self.all.values().map(|group| group.members.len()).sum()
    }

    /// Messages that wait for any member.
    pub(super) fn waiting(&self) -> usize {
        self.all.values().map(Group::waiting).sum()
    }

    /// Everything has come to rest with everybody connected: nothing is owed any more.
    pub(super) fn check_rest(&self) {
        for (text, group) in &self.all {
            let parcels = group.parcels.iter();
            let mut owed = parcels.filter(|parcel| parcel.state != State::Uncertain);
            let lost = owed.next();
            assert!(lost.is_none(), "{text} is still owed {lost:?}");
        }
    }
}
