//! Groups of shared subscriptions whose members come and go, against books that are kept apart.
//!
//! The books know what was published and what each member has seen. While one member's session lives, nothing of QoS 1 or
//! 2 may be missing in the end, save what was begun with QoS 2 by a session that ended; and nothing may come twice, save
//! what was on its way with QoS 1 to a session that ended.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail by panicking")]

use crate::broker_house::{House, PeerId};
use crate::broker_packets::{
    BOTH, V4, V5, ack, connect, disconnect, message, options, resume, subscribe, unsubscribe,
};
use crate::seed::{Seed, each};
use rmqtt::broker::group::Sharing;
use rmqtt::broker::hub::Batch;
use rmqtt::broker::{Limits, SharedStrategy};
use rmqtt::codec::{AckKind, Packet, PacketId, ProtocolVersion, Publish, ReasonCode};
use rmqtt::message::QoS;
use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroU16;

const ALL: [SharedStrategy; 5] = [
    SharedStrategy::RoundRobin,
    SharedStrategy::Random,
    SharedStrategy::Sticky,
    SharedStrategy::Hash,
    SharedStrategy::LeastInFlight,
];

const SHARED: &str = "$share/g/t/+";

/// What all members together have seen.
#[derive(Default)]
struct Books {
    published: BTreeMap<u32, QoS>,
    seen: BTreeMap<u32, u32>,
    /// How often each may come again.
    may_repeat: BTreeMap<u32, u32>,
    /// Acknowledged to the end, or seen with QoS 0.
    settled: BTreeSet<u32>,
    /// Begun with QoS 2 by sessions that have ended.
    gone: BTreeSet<u32>,
}

impl Books {
    fn see(&mut self, number: u32) {
        assert!(!self.gone.contains(&number), "{number} was begun elsewhere");
        let seen = self.seen.entry(number).or_default();
        *seen += 1;
        let repeats = self.may_repeat.get(&number).copied().unwrap_or(0);
        assert!(*seen <= 1 + repeats, "{number} came {seen} times");
    }
}

struct Member {
    name: String,
    version: ProtocolVersion,
    granted: QoS,
    window: u16,
    /// Whether its session ends with its connection.
    is_mortal: bool,
    is_subscribed: bool,
    peer: Option<PeerId>,
    open: BTreeMap<PacketId, (QoS, u32)>,
    owed: Vec<(AckKind, PacketId)>,
}

impl Member {
    fn new(number: usize, seed: &mut Seed) -> Self {
        Self {
            name: format!("member-{number}"),
            version: BOTH[seed.pick(0..2)],
            // The first one is there to the end, and takes all.
            granted: [QoS::ExactlyOnce, QoS::AtLeastOnce, QoS::AtMostOnce]
                [seed.pick(0..3).min(number)],
            window: u16::try_from(seed.pick(1..5)).unwrap(),
            is_mortal: number > 0 && seed.one_in(2),
            is_subscribed: false,
            peer: None,
            open: BTreeMap::new(),
            owed: Vec::new(),
        }
    }

    fn come(&mut self, house: &mut House, books: &mut Books) {
        if self.peer.is_some() {
            return;
        }
        let mut asking = if self.is_mortal {
            connect(self.version, &self.name)
        } else {
            resume(self.version, &self.name)
        };
        if self.version == V5 {
            asking.properties.receive_maximum = NonZeroU16::new(self.window);
        }
        self.peer = Some(house.connect(asking));
        self.hear(house, books);
        if !self.is_subscribed {
            self.say(house, books, &subscribe(&[(SHARED, options(self.granted))]));
            self.is_subscribed = true;
        }
    }

    fn leave(&mut self, house: &mut House, books: &mut Books) {
        if self.is_subscribed && self.peer.is_some() {
            self.say(house, books, &unsubscribe(&[SHARED]));
            self.is_subscribed = false;
        }
    }

    fn go(&mut self, house: &mut House, books: &mut Books) {
        self.hear(house, books);
        if let Some(peer) = self.peer.take() {
            house.cut(peer);
            self.owed.clear();
            if self.is_mortal {
                self.end(books);
            }
        }
    }

    fn end(&mut self, books: &mut Books) {
        self.is_subscribed = false;
        for (qos, number) in std::mem::take(&mut self.open).into_values() {
            if qos == QoS::ExactlyOnce {
                books.gone.insert(number);
            } else {
                *books.may_repeat.entry(number).or_default() += 1;
            }
        }
    }

    fn say(&mut self, house: &mut House, books: &mut Books, packet: &Packet) {
        house.send(self.peer.unwrap(), packet);
        self.hear(house, books);
    }

    fn hear(&mut self, house: &mut House, books: &mut Books) {
        let Some(peer) = self.peer else { return };
        for packet in house.heard(peer) {
            match packet {
                Packet::Publish(publish) => self.on_publish(&publish, books),
                Packet::Ack(release) if release.kind == AckKind::PubRel => {
                    self.owed.push((AckKind::PubComp, release.packet_id));
                }
                Packet::ConnAck(_) | Packet::SubAck(_) | Packet::UnsubAck(_) => {}
                other => panic!("{other:?}"),
            }
        }
    }

    fn on_publish(&mut self, publish: &Publish, books: &mut Books) {
        let number = number_of(publish);
        let qos = publish.message.qos;
        assert_eq!(qos, books.published[&number].min(self.granted));
        let Some(id) = publish.packet_id else {
            books.settled.insert(number);
            return books.see(number);
        };
        let was_open = self.open.insert(id, (qos, number));
        match was_open {
            Some(before) => assert_eq!((before, publish.dup), ((qos, number), true)),
            None => books.see(number),
        }
        let answer = match qos {
            QoS::ExactlyOnce => AckKind::PubRec,
            _ => AckKind::PubAck,
        };
        self.owed.push((answer, id));
        if self.version == V5 {
            assert!(self.open.len() <= usize::from(self.window));
        }
    }

    /// Answers the oldest that is owed an answer; says whether there was one.
    fn answer(&mut self, house: &mut House, books: &mut Books) -> bool {
        if self.peer.is_none() || self.owed.is_empty() {
            return false;
        }
        let (kind, id) = self.owed.remove(0);
        if kind != AckKind::PubRec {
            let settled = self.open.remove(&id).map(|(_, number)| number);
            books.settled.extend(settled);
        }
        self.say(house, books, &ack(kind, id));
        true
    }
}

fn number_of(publish: &Publish) -> u32 {
    let text = String::from_utf8(publish.message.payload.to_vec()).unwrap();
    text.parse().unwrap()
}

/// Publishes to `t/…`, and says how many it matched.
fn post(house: &mut House, topic: &str, number: u32, qos: QoS) -> usize {
    let mut batch = Batch::default();
    let message = message(topic, &number.to_string(), qos);
    let published = house.hub.publish(&message, None, &mut batch, house.now);
    batch.finish();
    house.settle();
    published.unwrap().matched
}

fn run(mut seed: Seed) {
    let sharing = Sharing {
        strategy: ALL[seed.pick(0..5)],
        seed: u64::try_from(seed.pick(0..1000)).unwrap(),
    };
    let mut house = House::with_sharing(Limits::default(), sharing);
    let mut books = Books::default();
    let mut members: Vec<_> = (0..seed.pick(2..6))
        .map(|number| Member::new(number, &mut seed))
        .collect();
    members[0].come(&mut house, &mut books);
    let mut number = 0;
    for _ in 0..seed.pick(50..200) {
        let at = seed.pick(0..members.len());
        let member = &mut members[at];
        match seed.pick(0..10) {
            0 => member.come(&mut house, &mut books),
            1 => member.go(&mut house, &mut books),
            2 if at > 0 && seed.one_in(3) => member.leave(&mut house, &mut books),
            3..=5 => {
                member.answer(&mut house, &mut books);
            }
            _ => {
                let qos = QoS::from_number(u8::try_from(seed.pick(0..3)).unwrap()).unwrap();
                let topic = format!("t/{}", seed.pick(0..4));
                number += 1;
                books.published.insert(number, qos);
                assert_eq!(post(&mut house, &topic, number, qos), 1);
            }
        }
        for member in &mut members {
            member.hear(&mut house, &mut books);
        }
    }
    settle(&mut house, &mut books, &mut members);
}

/// Everybody comes and answers, and the books are closed.
fn settle(house: &mut House, books: &mut Books, members: &mut [Member]) {
    for member in &mut *members {
        member.come(house, books);
    }
    while members.iter_mut().fold(false, |has_worked, member| {
        member.hear(house, books);
        member.answer(house, books) || has_worked
    }) {}
    let (mut lost, settled, gone) = (books.published.clone(), &books.settled, &books.gone);
    lost.retain(|number, qos| {
        *qos > QoS::AtMostOnce && !settled.contains(number) && !gone.contains(number)
    });
    assert_eq!(lost, BTreeMap::new());
    for member in members {
        assert_eq!(member.open, BTreeMap::new(), "{}", member.name);
    }
    let stats = house.hub.stats();
    assert_eq!(stats.queued_messages, 0);
    assert_eq!(stats.messages_dropped_queue_full, 0);
}

/// spec(5): MQTT-4.8.2-3, MQTT-4.8.2-4, MQTT-4.8.2-5
#[test]
fn whoever_comes_and_goes_nothing_is_lost_and_nothing_comes_twice() {
    each(300, run);
}

/// Members that take everything at once, and which of them got each of `numbers`.
struct Pool {
    house: House,
    peers: Vec<PeerId>,
}

impl Pool {
    fn new(strategy: SharedStrategy, count: usize) -> Self {
        let sharing = Sharing { strategy, seed: 7 };
        let mut house = House::with_sharing(Limits::default(), sharing);
        let peers = (0..count)
            .map(|_| house.subscriber(V4, SHARED, QoS::AtLeastOnce))
            .collect();
        Self { house, peers }
    }

    /// Who gets a message.
    fn ask(&mut self, topic: &str) -> usize {
        assert_eq!(post(&mut self.house, topic, 1, QoS::AtLeastOnce), 1);
        let heard: Vec<_> = (0..self.peers.len())
            .flat_map(|at| {
                let packets = self.house.heard(self.peers[at]);
                packets.into_iter().map(move |packet| (at, packet))
            })
            .collect();
        let [(at, Packet::Publish(publish))] = &heard[..] else {
            panic!("not one message: {heard:?}");
        };
        let answer = ack(AckKind::PubAck, publish.packet_id.unwrap());
        self.house.send(self.peers[*at], &answer);
        *at
    }

    fn ask_often(&mut self, times: usize) -> Vec<usize> {
        (0..times).map(|_| self.ask("t/a")).collect()
    }

    fn leave(&mut self, at: usize) {
        self.house
            .send(self.peers[at], &disconnect(ReasonCode::Success));
    }
}

#[test]
fn round_robin_goes_around_and_passes_over_who_has_gone() {
    let mut pool = Pool::new(SharedStrategy::RoundRobin, 3);
    assert_eq!(pool.ask_often(7), [0, 1, 2, 0, 1, 2, 0]);
    pool.leave(1);
    assert_eq!(pool.ask_often(4), [2, 0, 2, 0]);
}

#[test]
fn sticky_stays_until_its_member_goes() {
    let mut pool = Pool::new(SharedStrategy::Sticky, 3);
    assert_eq!(pool.ask_often(4), [0; 4]);
    pool.leave(0);
    assert_eq!(pool.ask_often(4), [1; 4]);
}

#[test]
fn random_reaches_all_and_is_the_same_from_the_same_seed() {
    let asked = || Pool::new(SharedStrategy::Random, 3).ask_often(60);
    let first = asked();
    for at in 0..3 {
        let times = first.iter().filter(|asked| **asked == at).count();
        assert!((8..=32).contains(&times), "{at}: {times}");
    }
    assert_eq!(asked(), first);
}

#[test]
fn hash_keeps_a_topic_with_its_member_and_moves_only_those_of_who_has_gone() {
    let mut pool = Pool::new(SharedStrategy::Hash, 4);
    let topics: Vec<_> = (0..100).map(|number| format!("t/{number}")).collect();
    let ask = |pool: &mut Pool| {
        topics
            .iter()
            .map(|topic| pool.ask(topic))
            .collect::<Vec<_>>()
    };
    let first = ask(&mut pool);
    assert_eq!(ask(&mut pool), first);
    for at in 0..4 {
        let times = first.iter().filter(|asked| **asked == at).count();
        assert!((10..=40).contains(&times), "{at}: {times}");
    }
    pool.leave(2);
    for (before, after) in first.iter().zip(ask(&mut pool)) {
        assert!(*before == after || (*before == 2 && after != 2));
    }
}

#[test]
fn least_in_flight_goes_to_who_has_least_to_do() {
    let mut pool = Pool::new(SharedStrategy::LeastInFlight, 3);
    assert_eq!(pool.ask_often(4), [0, 1, 2, 0]);
    // The first two keep one and two messages for themselves.
    for filter in ["own/0", "own/1", "own/+"] {
        let at = usize::from(filter != "own/0");
        let peer = pool.peers[at];
        let asked = subscribe(&[(filter, options(QoS::AtLeastOnce))]);
        pool.house.send(peer, &asked);
        pool.house.heard(peer);
    }
    for topic in ["own/0", "own/1"] {
        post(&mut pool.house, topic, 1, QoS::AtLeastOnce);
    }
    for at in 0..2 {
        pool.house.messages(pool.peers[at]);
    }
    assert_eq!(pool.ask_often(3), [2; 3]);
    pool.leave(2);
    // Now it is 1 and 2, then, as it is answered at once, 1 and 2 again.
    assert_eq!(pool.ask_often(3), [0; 3]);
}

#[test]
fn what_one_publisher_says_stays_in_order_when_it_changes_hands() {
    for strategy in ALL {
        let sharing = Sharing { strategy, seed: 3 };
        let mut house = House::with_sharing(Limits::default(), sharing);
        let mut narrow = |name| {
            let mut asking = resume(V5, name);
            asking.properties.receive_maximum = NonZeroU16::new(1);
            let peer = house.connect(asking);
            house.let_in(peer);
            house.send(peer, &subscribe(&[(SHARED, options(QoS::AtLeastOnce))]));
            house.heard(peer);
            peer
        };
        let (one, other) = (narrow("one"), narrow("other"));
        for number in 1..=20 {
            post(&mut house, "t/a", number, QoS::AtLeastOnce);
        }
        let mut seen: Vec<_> = house.messages(one).iter().map(number_of).collect();
        house.cut(one);
        loop {
            let messages = house.messages(other);
            let Some(publish) = messages.first() else {
                break;
            };
            seen.push(number_of(publish));
            let answer = ack(AckKind::PubAck, publish.packet_id.unwrap());
            house.send(other, &answer);
        }
        // One message is on its way to who has gone; all others came to the other, each older one first.
        assert_eq!(seen.len(), 20);
        let begun = usize::from(seen[0] == 1 && seen[1] == 2) + 1;
        assert!(seen[begun..].is_sorted(), "{seen:?}");
        seen.sort_unstable();
        assert!(seen.into_iter().eq(1..=20));
    }
}

#[test]
fn a_snapshot_gives_back_what_waits_for_a_member_of_qos_0() {
    let mut house = House::new();
    let [strong, weak] =
        [("strong", QoS::AtLeastOnce), ("weak", QoS::AtMostOnce)].map(|(name, qos)| {
            let peer = house.connect(resume(V5, name));
            house.send(peer, &subscribe(&[(SHARED, options(qos))]));
            peer
        });
    house.cut(weak);
    house.cut(strong);
    // It waits for who was granted QoS 1, and whose session ends then.
    assert_eq!(post(&mut house, "t/a", 1, QoS::AtLeastOnce), 1);
    let strong = house.connect(connect(V5, "strong"));
    house.cut(strong);
    for _ in 0..2 {
        let snapshot = house.hub.try_snapshot(house.now).unwrap();
        assert_eq!(snapshot.queued_messages(), 1);
        assert!(house.hub.try_restore(&snapshot, house.now));
        assert_eq!(house.hub.stats().queued_messages, 1);
    }
    let weak = house.connect(resume(V5, "weak"));
    let heard = house.heard(weak);
    let [Packet::ConnAck(_), Packet::Publish(publish)] = &heard[..] else {
        panic!("{heard:?}");
    };
    assert_eq!(publish.message.qos, QoS::AtMostOnce);
}
