//! What the simulation knows of each message, and what must hold of it in the end.

use bytes::Bytes;
use rmqtt::message::{Message, QoS};
use rmqtt::topic::TopicName;
use std::collections::{BTreeMap, BTreeSet};

/// A message: who published it, and its number there.
pub(super) type Key = (usize, u64);

/// How many topics are published to.
pub(super) const TOPICS: usize = 3;

#[derive(Debug, Clone)]
struct Entry {
    topic: usize,
    qos: QoS,
    /// The broker has routed it, this often.
    routed: usize,
    /// The publisher was told that the broker has it.
    is_acknowledged: bool,
    /// The publisher's session was lost with it in flight: nobody knows.
    is_uncertain: bool,
}

/// One subscriber whose session lasts: what it has got.
#[derive(Debug, Clone, Default)]
struct Reader {
    /// By topic: the granted QoS.
    topics: BTreeMap<usize, QoS>,
    /// Deliveries to the application, retained copies aside, in order.
    arrived: Vec<Key>,
    accepted: BTreeMap<Key, usize>,
}

/// The books of one simulation.
#[derive(Debug, Default)]
pub(super) struct Books {
    messages: BTreeMap<Key, Entry>,
    readers: BTreeMap<usize, Reader>,
    /// By topic: what was routed last with the retain flag.
    pub(super) retained: BTreeMap<usize, Key>,
}

pub(super) fn topic(number: usize) -> TopicName {
    TopicName::new(format!("sim/{number}")).expect("valid")
}

pub(super) fn key(payload: &Bytes) -> Key {
    let field =
        |at: usize| u64::from_be_bytes(payload[at..at + 8].try_into().expect("sixteen bytes"));
    (usize::try_from(field(0)).expect("small"), field(8))
}

impl Books {
    /// A new message for the wire.
    pub(super) fn publish(
        &mut self,
        publisher: usize,
        at: usize,
        qos: QoS,
        retain: bool,
    ) -> Message {
        let number = 1 + self
            .messages
            .range((publisher, 0)..(publisher + 1, 0))
            .count() as u64;
        let entry = Entry {
            topic: at,
            qos,
            routed: 0,
            is_acknowledged: false,
            is_uncertain: false,
        };
        self.messages.insert((publisher, number), entry);
        let payload = [(publisher as u64).to_be_bytes(), number.to_be_bytes()].concat();
        Message::new(topic(at), payload)
            .with_qos(qos)
            .with_retain(retain)
    }

    /// The broker has a message from a client.
    pub(super) fn routed(&mut self, message: &Message) {
        let key = key(&message.payload);
        let entry = self.messages.get_mut(&key).expect("it was published");
        entry.routed += 1;
        if message.retain {
            self.retained.insert(entry.topic, key);
        }
    }

    /// The publisher was told.
    pub(super) fn acknowledged(&mut self, key: Key) {
        let entry = self.messages.get_mut(&key).expect("it was published");
        assert!(
            entry.routed > 0,
            "{key:?} is acknowledged, but was never routed"
        );
        assert!(!entry.is_acknowledged, "{key:?} is acknowledged twice");
        entry.is_acknowledged = true;
    }

    /// The publisher's session was lost while the message was in flight or in its queue.
    pub(super) fn uncertain(&mut self, key: Key) {
        self.messages
            .get_mut(&key)
            .expect("it was published")
            .is_uncertain = true;
    }

    /// From now on this client, whose session lasts, gets a topic.
    pub(super) fn subscribed(&mut self, reader: usize, topic: usize, qos: QoS) {
        self.readers
            .entry(reader)
            .or_default()
            .topics
            .insert(topic, qos);
    }

    pub(super) fn arrived(&mut self, reader: usize, key: Key) {
        if let Some(reader) = self.readers.get_mut(&reader) {
            reader.arrived.push(key);
        }
    }

    pub(super) fn accepted(&mut self, reader: usize, key: Key) {
        if let Some(reader) = self.readers.get_mut(&reader) {
            *reader.accepted.entry(key).or_default() += 1;
        }
    }

    /// What must hold when everything has come to rest. Returns how many deliveries that were owed have not come.
    pub(super) fn check(&self) -> u64 {
        let mut missing = 0;
        for (key, message) in &self.messages {
            if message.qos == QoS::ExactlyOnce {
                assert!(
                    message.routed <= 1,
                    "{key:?}, QoS 2, was routed {} times",
                    message.routed
                );
            }
            if message.qos != QoS::AtMostOnce && !message.is_uncertain {
                assert!(message.is_acknowledged, "{key:?} was never acknowledged");
            }
            for (number, reader) in &self.readers {
                let Some(granted) = reader.topics.get(&message.topic) else {
                    continue;
                };
                let times = reader.accepted.get(key).copied().unwrap_or(0);
                let qos = message.qos.min(*granted);
                // A message of QoS 1 may have been routed, and so come, more than once.
                let most = if qos == QoS::AtLeastOnce {
                    usize::MAX
                } else {
                    message.routed
                };
                assert!(
                    times <= most,
                    "reader {number}: {key:?}, {qos:?}, routed {} times, came {times} times",
                    message.routed
                );
                if qos != QoS::AtMostOnce {
                    missing += message.routed.saturating_sub(times) as u64;
                }
            }
        }
        self.check_order();
        missing
    }

    /// From one publisher on one topic, what needs an answer comes in order, and so does what needs none; what is
    /// sent again may come behind what it was sent before.
    fn check_order(&self) {
        for (number, reader) in &self.readers {
            let mut last: BTreeMap<(usize, usize, bool), u64> = BTreeMap::new();
            let mut seen = BTreeSet::new();
            for key in reader.arrived.iter().filter(|key| seen.insert(**key)) {
                let message = &self.messages[key];
                let granted = reader
                    .topics
                    .get(&message.topic)
                    .copied()
                    .unwrap_or_default();
                // The publisher's own hop counts too: there QoS 0 may overtake what is sent again.
                let class = (
                    key.0,
                    message.topic,
                    message.qos.min(granted) != QoS::AtMostOnce,
                );
                if (message.qos == QoS::AtMostOnce) == (message.qos.min(granted) == QoS::AtMostOnce)
                {
                    let before = last.insert(class, key.1).unwrap_or(0);
                    assert!(
                        before < key.1,
                        "reader {number}: {key:?} came after {before}"
                    );
                }
            }
        }
    }

    /// How many messages there were, for those who wonder whether anything happened at all.
    pub(super) fn len(&self) -> usize {
        self.messages.len()
    }
}
