//! Every message that is published, from the one application to the others: what was promised, and what came of it.

use bytes::Bytes;
use rmqtt::codec::ReasonCode;
use rmqtt::message::{Message, QoS};
use std::collections::{BTreeMap, BTreeSet};

/// A message: who published it, and its number there.
pub(super) type Key = (u64, u64);

#[derive(Debug)]
struct Entry {
    qos: QoS,
    /// The broker has routed it, this often.
    routed: usize,
    /// The publisher was told that the broker has it.
    is_acknowledged: bool,
    /// The publisher's session was lost with it in flight or before it was sent: nobody knows.
    is_uncertain: bool,
    /// It has no payload, and so nothing by which to know it again.
    is_nameless: bool,
}

/// The books of one simulation.
#[derive(Debug, Default)]
pub(super) struct Books {
    messages: BTreeMap<Key, Entry>,
    /// By publisher, topic and QoS: the number that was routed last for the first time.
    last: BTreeMap<(u64, String, QoS), u64>,
    /// By client: what the broker has begun to send with QoS 2, and the application has not got yet.
    exactly_once: BTreeMap<(usize, Key), usize>,
    /// By client: what the application has accepted or refused.
    accepted: BTreeSet<(usize, Key)>,
    /// By client: what it has refused, which may come again: the broker may not have heard it.
    refused: BTreeSet<(usize, Key)>,
    /// What the broker was right not to let in.
    denied: BTreeSet<Key>,
    /// Whether there are rules.
    pub(super) is_ruled: bool,
}

/// The key in a payload, which a message that deletes a retained one has not.
pub(super) fn key(payload: &Bytes) -> Option<Key> {
    let field = |at: usize| {
        Some(u64::from_be_bytes(
            payload.get(at..at + 8)?.try_into().ok()?,
        ))
    };
    Some((field(0)?, field(8)?))
}

/// A payload of about this size that names its message.
pub(super) fn payload(key: Key, size: usize) -> Bytes {
    let mut bytes = [key.0.to_be_bytes(), key.1.to_be_bytes()].concat();
    bytes.resize(size.max(16), 0);
    bytes.into()
}

impl Books {
    /// Of a world with rules, or without.
    pub(super) fn new(is_ruled: bool) -> Self {
        Self {
            is_ruled,
            ..Self::default()
        }
    }

    /// The key of a client's next message.
    pub(super) fn next(&mut self, publisher: usize, qos: QoS, is_nameless: bool) -> Key {
        let publisher = publisher as u64;
        let count = self
            .messages
            .range((publisher, 0)..(publisher + 1, 0))
            .count();
        let key = (publisher, 1 + count as u64);
        let entry = Entry {
            qos,
            routed: 0,
            is_acknowledged: false,
            is_uncertain: false,
            is_nameless,
        };
        self.messages.insert(key, entry);
        key
    }

    fn entry(&mut self, key: Key) -> &mut Entry {
        self.messages.get_mut(&key).expect("it was published")
    }

    /// The broker has a message from a client.
    pub(super) fn routed(&mut self, message: &Message) {
        let Some(key) = key(&message.payload) else {
            return;
        };
        let entry = self.entry(key);
        assert_eq!(entry.qos, message.qos, "{key:?} was changed on the way");
        entry.routed += 1;
        let times = entry.routed;
        let may_repeat = message.qos == QoS::AtLeastOnce;
        assert!(
            times == 1 || may_repeat,
            "{key:?}, {:?}, was routed {times} times",
            message.qos
        );
        if times == 1 {
            let class = (key.0, message.topic.to_string(), message.qos);
            let before = self.last.insert(class, key.1).unwrap_or(0);
            assert!(before < key.1, "{key:?} was routed after {before}");
        }
    }

    /// The broker does not let a message in, for want of rights.
    pub(super) fn denied(&mut self, message: &Message) {
        self.denied.extend(key(&message.payload));
    }

    /// The publisher was told.
    pub(super) fn acknowledged(&mut self, key: Key, reason: ReasonCode) {
        let (is_ruled, is_denied) = (self.is_ruled, self.denied.contains(&key));
        let entry = self.entry(key);
        let is_denied = is_denied || entry.is_nameless && is_ruled;
        let is_right = !reason.is_error() || reason == ReasonCode::NotAuthorized && is_denied;
        assert!(is_right, "{key:?} was refused: {reason:?}");
        assert!(
            entry.routed > 0 || entry.is_nameless || is_denied,
            "{key:?} is acknowledged, but was never routed"
        );
        assert!(!entry.is_acknowledged, "{key:?} is acknowledged twice");
        entry.is_acknowledged = true;
    }

    /// Nobody knows whether the broker has the message.
    pub(super) fn uncertain(&mut self, key: Key) {
        self.entry(key).is_uncertain = true;
    }

    /// What a publisher has not been told of, and may not be if it forgets.
    pub(super) fn unsettled(&self, publisher: u64) -> Vec<u64> {
        let own = self.messages.range((publisher, 0)..(publisher + 1, 0));
        own.filter(|(_, entry)| !entry.is_acknowledged)
            .map(|(key, _)| key.1)
            .collect()
    }

    /// The broker has begun a new session for this client.
    pub(super) fn session_begins(&mut self, client: usize) {
        self.exactly_once.retain(|(whose, _), _| *whose != client);
    }

    /// The broker has sent a message for the first time.
    pub(super) fn sent(&mut self, client: usize, message: &Message) {
        if let Some(key) = key(&message.payload).filter(|_| message.qos == QoS::ExactlyOnce) {
            *self.exactly_once.entry((client, key)).or_default() += 1;
        }
    }

    /// The broker has sent a message, and cannot send it again, since the client takes only smaller ones now.
    pub(super) fn withdrawn(&mut self, client: usize, message: &Message) {
        if let Some(key) = key(&message.payload).filter(|_| message.qos == QoS::ExactlyOnce)
            && let Some(owed) = self.exactly_once.get_mut(&(client, key))
        {
            *owed = owed.saturating_sub(1);
        }
    }

    /// A client's machine has handed a message to its application.
    pub(super) fn delivered(&mut self, client: usize, message: &Message) {
        if let Some(key) = key(&message.payload).filter(|_| message.qos == QoS::ExactlyOnce) {
            let owed = self.exactly_once.entry((client, key)).or_default();
            let may_come = *owed > 0 || self.refused.contains(&(client, key));
            assert!(may_come, "client {client} got {key:?}, QoS 2, once more");
            *owed = owed.saturating_sub(1);
        }
    }

    /// A client's application has accepted a message, or refused it.
    pub(super) fn accepted(&mut self, client: usize, payload: &Bytes, reason: ReasonCode) {
        let key = key(payload).map(|key| (client, key));
        self.accepted.extend(key);
        self.refused.extend(key.filter(|_| reason.is_error()));
    }

    /// The broker was told that a client has a message.
    pub(super) fn answered(&mut self, client: usize, message: &Message) {
        if let Some(key) = key(&message.payload) {
            let is_accepted = self.accepted.contains(&(client, key));
            assert!(is_accepted, "client {client} answers for {key:?} too early");
        }
    }

    /// Everything has come to rest.
    pub(super) fn check_rest(&self) {
        for (key, message) in &self.messages {
            let is_due = message.qos != QoS::AtMostOnce && !message.is_uncertain;
            assert!(
                message.is_acknowledged || !is_due,
                "{key:?} was never acknowledged"
            );
        }
        for ((client, key), owed) in &self.exactly_once {
            assert_eq!(*owed, 0, "client {client} never got {key:?}, QoS 2");
        }
    }
}
