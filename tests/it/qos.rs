//! Two sessions, one wire, and cuts at any packet: what QoS 1 and 2 promise, against a model beside them.
//!
//! Both ends send, both receive, both are slow to accept. The model knows each message by its number, which is its token
//! and its payload.

use crate::seed::{Seed, each};
use bytes::Bytes;
use rmqtt::codec::{Ack, AckKind, Packet, PacketId, Publish, ReasonCode};
use rmqtt::message::{Message, QoS};
use rmqtt::session::{Receipt, Session, Step};
use rmqtt::topic::TopicName;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::num::NonZeroU16;

/// One end: its session, and what its application has seen.
#[derive(Default)]
struct End {
    session: Session,
    /// Delivered to the application and not accepted by it: id, delivery, message number.
    pending: Vec<(PacketId, u64, u64)>,
    /// Message numbers by how often they were accepted, and those refused at least once.
    accepted: BTreeMap<u64, usize>,
    refused: BTreeSet<u64>,
    /// The numbers delivered, in the order of their first delivery.
    seen: Vec<u64>,
    /// Numbers sent and not settled, and those that are.
    open: BTreeMap<u64, PacketId>,
    settled: BTreeMap<u64, ReasonCode>,
}

/// Both ends and what is between them: `wires[i]` holds what end `i` has sent.
#[derive(Default)]
struct World {
    ends: [End; 2],
    wires: [VecDeque<Packet>; 2],
    next_number: u64,
    control_ids: Vec<PacketId>,
}

fn message(number: u64) -> Message {
    let qos = if number.is_multiple_of(2) {
        QoS::ExactlyOnce
    } else {
        QoS::AtLeastOnce
    };
    let topic = TopicName::new("t").expect("valid");
    Message::new(topic, Bytes::copy_from_slice(&number.to_be_bytes())).with_qos(qos)
}

fn number(publish: &Publish) -> u64 {
    u64::from_be_bytes(publish.message.payload[..].try_into().expect("eight bytes"))
}

impl World {
    fn connect(&mut self, seed: &mut Seed, resumed: bool) {
        let window = |seed: &mut Seed| {
            let most = if seed.one_in(3) { 3 } else { 20 };
            NonZeroU16::new(u16::try_from(seed.pick(1..most)).expect("small")).expect("not 0")
        };
        let windows = [window(seed), window(seed)];
        for (i, end) in self.ends.iter_mut().enumerate() {
            end.session.inbound.begin(windows[i], resumed);
            if !resumed {
                let lost: Vec<u64> = end
                    .session
                    .outbound
                    .reset()
                    .iter()
                    .map(|lost| lost.0)
                    .collect();
                assert_eq!(
                    lost,
                    end.open.keys().copied().collect::<Vec<_>>(),
                    "given back, oldest first"
                );
                end.open.clear();
                for number in lost {
                    end.settled.insert(number, ReasonCode::UnspecifiedError);
                }
            }
            end.session.outbound.resume(windows[1 - i]);
        }
        self.flush();
    }

    /// Everything that may leave, leaves.
    fn flush(&mut self) {
        for (end, wire) in self.ends.iter_mut().zip(&mut self.wires) {
            while let Some(ack) = end.session.inbound.next_ack() {
                wire.push_back(Packet::Ack(ack));
            }
            while let Some(packet) = end.session.outbound.next_again() {
                if let Packet::Publish(publish) = &packet {
                    assert!(publish.dup);
                    assert_eq!(
                        end.open.get(&number(publish)),
                        publish.packet_id.as_ref(),
                        "the id stays"
                    );
                }
                wire.push_back(packet);
            }
        }
    }

    fn publish(&mut self, i: usize) {
        let end = &mut self.ends[i];
        if !end.session.outbound.has_room() {
            return;
        }
        self.next_number += 1;
        let number = self.next_number;
        let publish = end
            .session
            .outbound
            .send(message(number), number)
            .expect("room");
        let id = publish.packet_id.expect("QoS 1 and 2 have one");
        assert!(
            end.open.values().all(|taken| *taken != id),
            "an id in flight is taken again"
        );
        assert!(i == 1 || !self.control_ids.contains(&id));
        assert!(!publish.dup);
        end.open.insert(number, id);
        self.wires[i].push_back(Packet::Publish(publish));
    }

    /// The oldest packet from end `i` arrives at the other.
    fn arrive(&mut self, i: usize) {
        let Some(packet) = self.wires[i].pop_front() else {
            return;
        };
        let [left, right] = &mut self.ends;
        let (sender, receiver) = if i == 0 { (left, right) } else { (right, left) };
        match packet {
            Packet::Publish(publish) => {
                let number = number(&publish);
                let id = publish.packet_id.expect("QoS 1 and 2 have one");
                let inbound = &mut receiver.session.inbound;
                if inbound.on_publish(&publish).expect("within the rules") == Receipt::Deliver {
                    receiver
                        .pending
                        .push((id, inbound.latest_delivery(), number));
                    if !receiver.seen.contains(&number) {
                        receiver.seen.push(number);
                    }
                }
            }
            Packet::Ack(ack) if ack.kind == AckKind::PubRel => {
                receiver.session.inbound.on_pubrel(&ack);
            }
            Packet::Ack(ack) => {
                match receiver
                    .session
                    .outbound
                    .on_ack(&ack)
                    .expect("within the rules")
                {
                    Step::Send(release) => self.wires[1 - i].push_back(Packet::Ack(release)),
                    Step::Settled { token, reason } => receiver.settle(sender, token, reason),
                    Step::Ignored => {}
                }
            }
            other => panic!("not a packet of a session: {other:?}"),
        }
        self.flush();
    }

    /// The application of end `i` makes up its mind about something it has got, on this connection or an earlier one.
    fn accept(&mut self, i: usize, seed: &mut Seed) {
        let end = &mut self.ends[i];
        if end.pending.is_empty() {
            return;
        }
        let (id, delivery, number) = end.pending.remove(seed.pick(0..end.pending.len()));
        let reason = if seed.one_in(12) {
            end.refused.insert(number);
            ReasonCode::QuotaExceeded
        } else {
            *end.accepted.entry(number).or_default() += 1;
            ReasonCode::Success
        };
        end.session.inbound.accepted_late(id, delivery, reason);
        self.flush();
    }

    /// Some of what is under way still arrives, the rest is lost.
    fn cut(&mut self, seed: &mut Seed, keep_session: bool) {
        for i in 0..2 {
            for _ in 0..seed.pick(0..self.wires[i].len() + 1) {
                self.arrive(i);
            }
        }
        self.wires = [VecDeque::new(), VecDeque::new()];
        self.connect(seed, keep_session);
    }

    fn control(&mut self, seed: &mut Seed) {
        let outbound = &mut self.ends[0].session.outbound;
        if self.control_ids.len() > 4 {
            let id = self
                .control_ids
                .remove(seed.pick(0..self.control_ids.len()));
            outbound.free_packet_id(id);
        } else {
            self.control_ids.extend(outbound.take_packet_id());
        }
    }
}

impl End {
    fn settle(&mut self, peer: &End, number: u64, reason: ReasonCode) {
        assert!(self.open.remove(&number).is_some(), "settled, but not open");
        assert!(
            self.settled.insert(number, reason).is_none(),
            "settled twice"
        );
        if reason.is_error() {
            assert!(
                peer.refused.contains(&number),
                "{number} failed, but was not refused"
            );
        } else {
            assert!(
                peer.accepted.contains_key(&number),
                "{number} was acknowledged, but not accepted"
            );
        }
    }
}

fn run(seed: &mut Seed, may_lose_session: bool) -> World {
    let mut world = World::default();
    world.connect(seed, false);
    for _ in 0..seed.pick(20..200) {
        let i = seed.pick(0..2);
        match seed.pick(0..16) {
            0..5 => world.publish(i),
            5..10 => world.arrive(i),
            10..14 => world.accept(i, seed),
            14 => world.control(seed),
            _ => {
                let keep_session = !may_lose_session || !seed.one_in(4);
                world.cut(seed, keep_session);
            }
        }
    }
    while !(world.wires.iter().all(VecDeque::is_empty)
        && world.ends.iter().all(|end| end.pending.is_empty()))
    {
        for i in 0..2 {
            world.accept(i, seed);
            world.arrive(i);
        }
    }
    world
}

fn check(world: &World) {
    for (i, end) in world.ends.iter().enumerate() {
        let peer = &world.ends[1 - i];
        assert!(end.open.is_empty(), "never settled: {:?}", end.open);
        assert_eq!(end.session.outbound.in_flight(), 0);
        assert_eq!(end.session.inbound.in_flight(), 0);
        assert!(
            peer.seen.is_sorted(),
            "first deliveries out of order: {:?}",
            peer.seen
        );
        for (number, times) in &peer.accepted {
            assert!(
                !number.is_multiple_of(2) || *times == 1,
                "QoS 2 message {number} came {times} times"
            );
        }
    }
}

/// spec(4): MQTT-4.3.2-1, MQTT-4.3.2-2, MQTT-4.3.3-1, MQTT-4.3.3-2, MQTT-4.4.0-1, MQTT-4.6.0-1
#[test]
fn nothing_is_lost_and_qos_2_comes_once_whatever_is_cut() {
    each(2_000, |mut seed| check(&run(&mut seed, false)));
}

#[test]
fn a_lost_session_is_reported_and_never_acknowledges_for_the_next() {
    each(2_000, |mut seed| check(&run(&mut seed, true)));
}

/// The answers of an application that accepts in any order leave in the order of arrival.
///
/// spec(4): MQTT-4.6.0-2, MQTT-4.6.0-3
/// spec(5): MQTT-4.6.0-2, MQTT-4.6.0-3
#[test]
fn answers_leave_in_the_order_of_arrival() {
    each(200, |mut seed| {
        let mut session = Session::default();
        let mut waiting = Vec::new();
        for place in 0..seed.pick(1..50) {
            let mut publish = Publish::new(message(seed.pick(0..2) as u64));
            let id = PacketId::new(u16::try_from(50 - place).expect("small")).expect("not 0");
            publish.packet_id = Some(id);
            assert_eq!(session.inbound.on_publish(&publish), Ok(Receipt::Deliver));
            waiting.push(id);
        }
        let order = waiting.clone();
        let mut answered = Vec::new();
        while !waiting.is_empty() {
            let id = waiting.remove(seed.pick(0..waiting.len()));
            session.inbound.accepted(id, ReasonCode::Success);
            answered.extend(
                std::iter::from_fn(|| session.inbound.next_ack()).map(|ack: Ack| ack.packet_id),
            );
        }
        assert_eq!(answered, order);
    });
}
