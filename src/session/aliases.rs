//! Topic aliases that we give to our topics, so that a long name crosses the wire once and a number after that.
//!
//! They belong to one connection and one direction, and never to the session: what is sent again on a later connection has
//! its whole topic. The peer says how many it keeps, and we keep no more than our own ceiling; of so many the topics used
//! last have a number (*least recently used goes first*).
//!
//! As long as there are free numbers a topic gets one when it first comes. After that only when it comes for the second
//! time: whoever names a new topic with every message would else pay three bytes for each, and push out those that do come
//! again. What came once is remembered in a small table of hashes where a later one overwrites: where there are many more
//! topics than numbers, few survive there until they come again, and most numbers stay with whom they are.

use crate::codec::{self, Packet, ProtocolVersion, Publish};
use crate::topic::TopicName;
use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::num::NonZeroU16;

/// A property costs three bytes, once, and each use of it saves the topic less three: from this length on the first use
/// pays already.
const LENGTH_MIN: usize = 7;

/// Topics seen once that are remembered, for each number there is.
const SEEN_PER_ALIAS: usize = 2;

/// And at most, however many numbers there are.
const SEEN_MAX: usize = 4096;

/// No place.
const NONE: u16 = u16::MAX;

/// The aliases we have given on one connection. None are given before [`OutboundAliases::begin`].
#[derive(Debug, Default)]
pub struct OutboundAliases {
    maximum: u16,
    /// Alias *n* is at *n* − 1.
    places: Vec<Place>,
    /// By the hash of the topic. Of two topics with one hash, the later goes without.
    by_hash: BTreeMap<u64, u16>,
    newest: u16,
    oldest: u16,
    /// Hashes of topics that came once since all numbers were given. Empty until one has.
    seen: Vec<u64>,
    /// Of the topics.
    bytes: usize,
}

/// One alias, in a list from the newest used to the oldest.
#[derive(Debug)]
struct Place {
    topic: TopicName,
    hash: u64,
    newer: u16,
    older: u16,
}

impl OutboundAliases {
    /// A connection begins: nothing stands for anything. `peer_maximum` is the peer's Topic Alias Maximum, 0 where it said
    /// none, and under 3.1.1.
    // spec(5): MQTT-3.1.2-26, MQTT-3.1.2-27, MQTT-3.2.2-17, MQTT-3.2.2-18, MQTT-3.3.2-9, MQTT-3.3.2-11
    pub fn begin(&mut self, peer_maximum: u16, own_maximum: u16) {
        *self = Self {
            maximum: peer_maximum.min(own_maximum),
            newest: NONE,
            oldest: NONE,
            ..Self::default()
        };
    }

    /// Puts an alias into a PUBLISH that is about to be written, where that saves bytes: beside the topic if the peer does
    /// not know the alias yet, else in its place. With a new alias the packet stays within `packet_size_max`.
    ///
    /// A packet that is not written after this all the same has to be given to [`OutboundAliases::take_back`].
    pub fn apply(&mut self, publish: &mut Publish, packet_size_max: Option<usize>) {
        let topic = publish.message.topic.as_str();
        if self.maximum == 0 || topic.len() < LENGTH_MIN {
            return;
        }
        let hash = hash(topic);
        if let Some(&place) = self.by_hash.get(&hash) {
            if self.topic_at(place) == Some(&publish.message.topic) {
                self.use_again(place);
                publish.topic_alias = alias_of(place);
                publish.topic_on_wire = false;
            }
            return;
        }
        let has_free = self.places.len() < usize::from(self.maximum);
        if !has_free && !self.came_before(hash) {
            return;
        }
        let Some(place) = self.give(hash, &publish.message.topic) else {
            return;
        };
        publish.topic_alias = alias_of(place);
        if packet_size_max.is_some_and(|limit| !fits(publish, limit)) {
            self.take_back(publish);
            publish.topic_alias = None;
        }
    }

    /// This packet, which came from [`OutboundAliases::apply`], was not written: what it would have told the peer is not
    /// known there.
    pub fn take_back(&mut self, publish: &Publish) {
        let Some(alias) = publish.topic_alias.filter(|_| publish.topic_on_wire) else {
            return;
        };
        let place = alias.get() - 1;
        if let Some(given) = self.places.get(usize::from(place)) {
            self.by_hash.remove(&given.hash);
            // It is the next to be given.
            self.unlink(place);
            self.link_oldest(place);
        }
    }

    /// How many bytes the topics are.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Whether any can be given on this connection.
    pub fn may_give(&self) -> bool {
        self.maximum > 0
    }

    /// All that stand for a topic.
    pub fn known(&self) -> impl Iterator<Item = (NonZeroU16, &TopicName)> {
        let places = self.by_hash.values();
        places.filter_map(|place| Some((alias_of(*place)?, self.topic_at(*place)?)))
    }

    /// How many aliases stand for a topic.
    pub fn len(&self) -> usize {
        self.by_hash.len()
    }

    /// Whether none does.
    pub fn is_empty(&self) -> bool {
        self.by_hash.is_empty()
    }

    fn topic_at(&self, place: u16) -> Option<&TopicName> {
        Some(&self.places.get(usize::from(place))?.topic)
    }

    /// Whether a topic of this hash came lately; if not, it has now.
    fn came_before(&mut self, hash: u64) -> bool {
        if self.seen.is_empty() {
            let size = (usize::from(self.maximum) * SEEN_PER_ALIAS).min(SEEN_MAX);
            self.seen = vec![0; size.next_power_of_two()];
        }
        let mask = self.seen.len() as u64 - 1;
        let place = usize::try_from(hash & mask).unwrap_or(0);
        match self.seen.get_mut(place) {
            Some(seen) => std::mem::replace(seen, hash) == hash,
            None => false,
        }
    }

    /// A place for a new topic: a free one, or that of the topic that was used longest ago.
    fn give(&mut self, hash: u64, topic: &TopicName) -> Option<u16> {
        let length = topic.as_str().len();
        let place = match u16::try_from(self.places.len()) {
            Ok(next) if next < self.maximum => {
                self.places.push(Place {
                    topic: topic.compact(),
                    hash,
                    newer: NONE,
                    older: NONE,
                });
                next
            }
            _ => {
                let place = self.oldest;
                let old = self.places.get_mut(usize::from(place))?;
                let old_hash = std::mem::replace(&mut old.hash, hash);
                self.bytes -= old.topic.as_str().len();
                old.topic = topic.compact();
                if self.by_hash.get(&old_hash) == Some(&place) {
                    self.by_hash.remove(&old_hash);
                }
                self.unlink(place);
                place
            }
        };
        self.bytes += length;
        self.by_hash.insert(hash, place);
        self.link_newest(place);
        Some(place)
    }

    fn use_again(&mut self, place: u16) {
        if self.newest != place {
            self.unlink(place);
            self.link_newest(place);
        }
    }

    fn unlink(&mut self, place: u16) {
        let Some(unlinked) = self.places.get(usize::from(place)) else {
            return;
        };
        let (newer, older) = (unlinked.newer, unlinked.older);
        match self.places.get_mut(usize::from(newer)) {
            Some(newer) => newer.older = older,
            None => self.newest = older,
        }
        match self.places.get_mut(usize::from(older)) {
            Some(older) => older.newer = newer,
            None => self.oldest = newer,
        }
    }

    fn link_newest(&mut self, place: u16) {
        let next = std::mem::replace(&mut self.newest, place);
        self.set_links(place, NONE, next);
        match self.places.get_mut(usize::from(next)) {
            Some(next) => next.newer = place,
            None => self.oldest = place,
        }
    }

    fn link_oldest(&mut self, place: u16) {
        let next = std::mem::replace(&mut self.oldest, place);
        self.set_links(place, next, NONE);
        match self.places.get_mut(usize::from(next)) {
            Some(next) => next.older = place,
            None => self.newest = place,
        }
    }

    fn set_links(&mut self, place: u16, newer: u16, older: u16) {
        if let Some(linked) = self.places.get_mut(usize::from(place)) {
            linked.newer = newer;
            linked.older = older;
        }
    }
}

fn alias_of(place: u16) -> Option<NonZeroU16> {
    NonZeroU16::new(place.wrapping_add(1))
}

/// The same for the same topic, now and on every run. Whoever makes two topics collide has one of them go unaliased.
fn hash(topic: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    topic.hash(&mut hasher);
    hasher.finish()
}

fn fits(publish: &Publish, limit: usize) -> bool {
    codec::encoded_size(&Packet::Publish(publish.clone()), ProtocolVersion::V5)
        .is_ok_and(|size| size <= limit)
}
