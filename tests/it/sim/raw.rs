//! A client of our own making, which says all that a client may say and takes the time it likes.
//!
//! It shares no line with `rmqtt::session`: what both ends of that agree on wrongly, this one does not. It has the verbs of
//! `client::protocol`, whose events it speaks.

use super::machine::Setup;
use super::tap::Aliases;
use bytes::BytesMut;
use bytestring::ByteString;
use rmqtt::client::protocol::Event;
use rmqtt::codec::{
    self, Ack, AckKind, ConnAck, Connect, ConnectProperties, Disconnect, Limits, Packet, PacketId,
    ProtocolVersion, Publish, ReasonCode, SendBuffer, Subscribe, SubscribeFilter, Unsubscribe,
};
use rmqtt::message::{Message, QoS};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::num::{NonZeroU16, NonZeroU32};
use std::time::{Duration, Instant};

/// What a client of 3.1.1, which nobody tells, has under way at most.
const WINDOW_3_1_1: usize = 20;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Idle,
    Connecting,
    Connected,
}

#[derive(Debug)]
struct Sent {
    publish: Publish,
    token: u64,
    is_released: bool,
    /// In flight since an earlier connection, and not yet sent again.
    is_due: bool,
}

/// One client, connection after connection.
pub(super) struct Raw {
    client_id: ByteString,
    version: ProtocolVersion,
    state: State,
    out: SendBuffer,
    next_id: u16,
    /// In the order in which they were begun.
    sent: Vec<Sent>,
    window: usize,
    /// PUBREL takes its time.
    releases: VecDeque<PacketId>,
    pub(super) is_slow_to_release: bool,
    controls: BTreeMap<PacketId, u64>,
    /// QoS 2 ids that are not released, and for which delivery each stands. A refused one is known until it stands for
    /// another, since the broker may not have heard the refusal.
    known: BTreeMap<PacketId, u64>,
    /// What is to be answered on this connection, in the order of arrival.
    answers: VecDeque<(AckKind, PacketId, u64)>,
    /// By delivery: what the application has said.
    accepted: BTreeMap<u64, ReasonCode>,
    deliveries: u64,
    incoming: Aliases,
    /// What our own topic aliases stand for, and how many the broker takes.
    outgoing: BTreeMap<u16, String>,
    alias_max: u16,
    keep_alive: Duration,
    last_sent: Instant,
}

impl Raw {
    pub(super) fn new(client_id: &str, now: Instant) -> Self {
        Self {
            client_id: client_id.into(),
            version: ProtocolVersion::V5,
            state: State::Idle,
            out: SendBuffer::new(),
            next_id: 0,
            sent: Vec::new(),
            window: 0,
            releases: VecDeque::new(),
            is_slow_to_release: false,
            controls: BTreeMap::new(),
            known: BTreeMap::new(),
            answers: VecDeque::new(),
            accepted: BTreeMap::new(),
            deliveries: 0,
            incoming: Aliases::default(),
            outgoing: BTreeMap::new(),
            alias_max: 0,
            keep_alive: Duration::ZERO,
            last_sent: now,
        }
    }

    /// Begins a connection. Returns what is given up, when a new session is asked for.
    pub(super) fn connect(&mut self, setup: &Setup, now: Instant) -> Vec<u64> {
        self.connection_lost();
        self.version = setup.version;
        let lost = if setup.clean_start {
            self.forget()
        } else {
            Vec::new()
        };
        let is_v5 = setup.version == ProtocolVersion::V5;
        let properties = ConnectProperties {
            session_expiry_interval: Some(setup.session_expiry).filter(|expiry| *expiry > 0),
            receive_maximum: Some(setup.receive_maximum),
            maximum_packet_size: setup.packet_size_max.and_then(NonZeroU32::new),
            topic_alias_maximum: Some(setup.topic_alias_max),
            ..ConnectProperties::default()
        };
        let connect = Connect {
            version: setup.version,
            clean_start: setup.clean_start,
            keep_alive: setup.keep_alive,
            client_id: self.client_id.clone(),
            will: setup.will.clone(),
            username: None,
            password: None,
            properties: if is_v5 {
                properties
            } else {
                ConnectProperties::default()
            },
        };
        self.keep_alive = Duration::from_secs(setup.keep_alive.into());
        self.last_sent = now;
        self.put(&Packet::Connect(Box::new(connect)));
        self.state = State::Connecting;
        lost
    }

    /// The session is over. Returns what is given up.
    pub(super) fn forget(&mut self) -> Vec<u64> {
        self.known.clear();
        self.sent.drain(..).map(|sent| sent.token).collect()
    }

    pub(super) fn connection_lost(&mut self) {
        self.state = State::Idle;
        self.out.clear();
        self.releases.clear();
        self.controls.clear();
        self.answers.clear();
        self.incoming = Aliases::default();
        self.outgoing.clear();
    }

    /// The next event; `Err`: the broker has taken its leave.
    pub(super) fn receive(&mut self, input: &mut BytesMut) -> Result<Option<Event>, ()> {
        while self.state != State::Idle {
            let packet = codec::decode(input, self.version, &Limits::default());
            let Some(packet) = packet.expect("the broker writes packets") else {
                return Ok(None);
            };
            let event = match packet {
                // The line says whether the broker was right.
                Packet::ConnAck(connack) if connack.reason.is_error() => return Err(()),
                Packet::ConnAck(connack) => Some(self.on_connack(connack)),
                Packet::Publish(publish) => self.on_publish(publish),
                Packet::Ack(ack) => self.on_ack(&ack),
                Packet::SubAck(suback) => {
                    let token = self.controls.remove(&suback.packet_id);
                    token.map(|token| Event::Subscribed { token, suback })
                }
                Packet::UnsubAck(unsuback) => {
                    let token = self.controls.remove(&unsuback.packet_id);
                    token.map(|token| Event::Unsubscribed { token, unsuback })
                }
                Packet::PingResp => None,
                Packet::Disconnect(_) => return Err(()),
                other => panic!("no server sends {other:?}"),
            };
            if event.is_some() {
                return Ok(event);
            }
        }
        Ok(None)
    }

    fn on_connack(&mut self, connack: Box<ConnAck>) -> Event {
        assert_eq!(self.state, State::Connecting, "a second CONNACK");
        self.state = State::Connected;
        let is_v5 = self.version == ProtocolVersion::V5;
        let properties = &connack.properties;
        let receive_maximum = properties.receive_maximum.map_or(u16::MAX, NonZeroU16::get);
        self.window = if is_v5 {
            receive_maximum.into()
        } else {
            WINDOW_3_1_1
        };
        self.alias_max = properties.topic_alias_maximum.unwrap_or(0);
        let lost = if connack.session_present {
            Vec::new()
        } else {
            self.forget()
        };
        for sent in &mut self.sent {
            sent.is_due = true;
        }
        self.send_again();
        Event::Connected {
            connack,
            lost: lost.into_iter().map(|token| (token, None)).collect(),
        }
    }

    fn on_publish(&mut self, mut publish: Publish) -> Option<Event> {
        self.incoming.resolve(&mut publish);
        let Some(id) = publish.packet_id else {
            return Some(Event::Message {
                publish,
                delivery: 0,
            });
        };
        let kind = match publish.message.qos {
            QoS::ExactlyOnce => AckKind::PubRec,
            _ => AckKind::PubAck,
        };
        if kind == AckKind::PubRec
            && let Some(delivery) = self.known.get(&id).copied()
            && (publish.dup || !self.is_refused(delivery))
        {
            assert!(publish.dup, "packet id {id} is in use");
            self.answers.push_back((kind, id, delivery));
            self.answer();
            return None;
        }
        self.deliveries += 1;
        self.answers.push_back((kind, id, self.deliveries));
        if kind == AckKind::PubRec {
            self.known.insert(id, self.deliveries);
        }
        let delivery = self.deliveries;
        Some(Event::Message { publish, delivery })
    }

    /// The application has dealt with a message.
    pub(super) fn accepted(&mut self, delivery: u64, reason: ReasonCode) {
        self.accepted.insert(delivery, reason);
        self.answer();
    }

    fn is_refused(&self, delivery: u64) -> bool {
        self.accepted
            .get(&delivery)
            .is_some_and(|reason| reason.is_error())
    }

    fn answer(&mut self) {
        while let Some((kind, id, delivery)) = self.answers.front().copied()
            && let Some(reason) = self.accepted.get(&delivery).copied()
        {
            self.answers.pop_front();
            self.put(&Packet::Ack(Ack::new(kind, id, reason)));
        }
    }

    fn on_ack(&mut self, ack: &Ack) -> Option<Event> {
        let id = ack.packet_id;
        if ack.kind == AckKind::PubRel {
            let was_known = self.known.remove(&id).is_some();
            self.answers
                .retain(|(kind, other, _)| *kind != AckKind::PubRec || *other != id);
            let reason = if was_known {
                ReasonCode::Success
            } else {
                ReasonCode::PacketIdentifierNotFound
            };
            self.put(&Packet::Ack(Ack::new(AckKind::PubComp, id, reason)));
            self.answer();
            return None;
        }
        let mut all = self.sent.iter();
        let at = all.position(|sent| sent.publish.packet_id == Some(id))?;
        let sent = &mut self.sent[at];
        if ack.kind == AckKind::PubRec && !ack.reason.is_error() {
            assert_eq!(sent.publish.message.qos, QoS::ExactlyOnce);
            sent.is_released = true;
            sent.is_due = false;
            self.releases.push_back(id);
            if !self.is_slow_to_release {
                self.release();
            }
            return None;
        }
        let is_early = ack.kind == AckKind::PubComp && !sent.is_released;
        assert!(!is_early, "PUBCOMP before PUBREL");
        let token = self.sent.remove(at).token;
        self.send_again();
        // What PUBREL does not find was completed before.
        let reason = match ack.kind {
            AckKind::PubComp => ReasonCode::Success,
            _ => ack.reason,
        };
        Some(Event::Published {
            token,
            reason,
            properties: None,
        })
    }

    /// Sends each PUBREL that waits.
    pub(super) fn release(&mut self) {
        for id in std::mem::take(&mut self.releases) {
            let pubrel = Ack::new(AckKind::PubRel, id, ReasonCode::Success);
            self.put(&Packet::Ack(pubrel));
        }
    }

    fn open(&self) -> usize {
        self.sent.iter().filter(|sent| !sent.is_due).count()
    }

    /// What is in flight since an earlier connection goes again, in the first order.
    fn send_again(&mut self) {
        while let Some(at) = self.sent.iter().position(|sent| sent.is_due) {
            if !self.sent[at].is_released && self.open() >= self.window {
                return;
            }
            let sent = &mut self.sent[at];
            sent.is_due = false;
            let mut publish = sent.publish.clone();
            if sent.is_released {
                let id = publish.packet_id.expect("of QoS 2");
                let pubrel = Ack::new(AckKind::PubRel, id, ReasonCode::Success);
                self.put(&Packet::Ack(pubrel));
            } else {
                publish.dup = true;
                self.put(&Packet::Publish(publish));
            }
        }
    }

    pub(super) fn can_publish(&self, qos: QoS) -> bool {
        let is_due = self.sent.iter().any(|sent| sent.is_due);
        let has_room = !is_due && self.sent.len() < self.window;
        self.state == State::Connected && (qos == QoS::AtMostOnce || has_room)
    }

    /// Sends a message, with this topic alias if the broker takes it.
    pub(super) fn publish(&mut self, message: Message, token: u64, alias: u16) {
        let mut publish = Publish::new(message);
        if publish.message.qos != QoS::AtMostOnce {
            publish.packet_id = Some(self.take_id());
            let publish = publish.clone();
            self.sent.push(Sent {
                publish,
                token,
                is_released: false,
                is_due: false,
            });
        }
        publish.topic_alias = NonZeroU16::new(alias).filter(|alias| alias.get() <= self.alias_max);
        if let Some(alias) = publish.topic_alias {
            let topic = publish.message.topic.to_string();
            let old = self.outgoing.insert(alias.get(), topic.clone());
            publish.topic_on_wire = old != Some(topic);
        }
        self.put(&Packet::Publish(publish));
    }

    /// Low ids again and again: what is free is taken at once.
    fn take_id(&mut self) -> PacketId {
        let in_use: BTreeSet<_> = self
            .sent
            .iter()
            .filter_map(|sent| sent.publish.packet_id)
            .chain(self.controls.keys().copied())
            .collect();
        loop {
            self.next_id = self.next_id % 40 + 1;
            let id = PacketId::new(self.next_id).expect("not 0");
            if !in_use.contains(&id) {
                return id;
            }
        }
    }

    pub(super) fn subscribe(
        &mut self,
        filters: Vec<SubscribeFilter>,
        id: Option<NonZeroU32>,
        token: u64,
    ) {
        let packet_id = self.take_id();
        self.controls.insert(packet_id, token);
        self.put(&Packet::Subscribe(Subscribe {
            packet_id,
            filters,
            subscription_id: id.filter(|_| self.version == ProtocolVersion::V5),
            user_properties: Vec::new(),
        }));
    }

    pub(super) fn unsubscribe(&mut self, filters: Vec<ByteString>, token: u64) {
        let packet_id = self.take_id();
        self.controls.insert(packet_id, token);
        self.put(&Packet::Unsubscribe(Unsubscribe {
            packet_id,
            filters,
            user_properties: Vec::new(),
        }));
    }

    pub(super) fn disconnect(&mut self, reason: ReasonCode, expiry: Option<u32>) {
        let disconnect = Disconnect {
            session_expiry_interval: expiry,
            ..Disconnect::new(reason)
        };
        self.put(&Packet::Disconnect(disconnect));
        self.state = State::Idle;
    }

    pub(super) fn next_timeout(&self) -> Option<Instant> {
        let is_alive = self.state == State::Connected && !self.keep_alive.is_zero();
        is_alive.then(|| self.last_sent + self.keep_alive * 3 / 4)
    }

    pub(super) fn handle_timeout(&mut self, now: Instant) {
        if self.next_timeout().is_some_and(|due| due <= now) {
            self.put(&Packet::PingReq);
            self.last_sent = now;
        }
    }

    pub(super) fn outgoing(&mut self) -> &mut SendBuffer {
        &mut self.out
    }

    pub(super) fn is_connected(&self) -> bool {
        self.state == State::Connected
    }

    pub(super) fn in_flight(&self) -> usize {
        let known = self.known.values();
        let known = known.filter(|delivery| !self.is_refused(**delivery));
        self.sent.len() + known.count()
    }

    fn put(&mut self, packet: &Packet) {
        codec::encode(packet, self.version, &mut self.out).expect("it is well formed");
    }
}
