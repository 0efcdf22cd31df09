//! The stage between a connection's pipe and its protocol while faults are planned or the wire is logged.
//!
//! Takes the bytes of both ways apart into packets, has the plan of `faults` say what befalls each, and does it; what passes
//! is logged. It moves and waits, and decides nothing: which fault strikes is `faults`' to say, how long a packet waits is in
//! `lane`. A connection without tests behind it has none of this.

mod lane;

use crate::broker::faults::{Cut, Deed, Direction, Seen};
use crate::broker::seams::Seams;
use crate::broker::wire::Line;
use crate::codec::{self, AckKind, Packet, PacketType, ProtocolVersion, ReasonCode, SendBuffer};
use crate::topic::TopicName;
use bytes::{Buf, Bytes, BytesMut};
use bytestring::ByteString;
use lane::{Held, Lane};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// What is known of a connection that was there before its relay.
#[derive(Default)]
pub(super) struct Known {
    pub(super) client_id: ByteString,
    pub(super) version: Option<ProtocolVersion>,
    /// What aliases stand for: the client's, and ours.
    pub(super) aliases: [BTreeMap<u16, TopicName>; 2],
}

/// Of one connection.
pub(super) struct Relay {
    seams: Arc<Seams>,
    number: u64,
    client_id: ByteString,
    version: ProtocolVersion,
    packet_size_max: usize,
    /// Inward and outward, as are the next two.
    lanes: [Lane; 2],
    aliases: [BTreeMap<u16, TopicName>; 2],
    /// The topics of what is not acknowledged yet.
    in_flight: [BTreeMap<u16, TopicName>; 2],
    arrived: BytesMut,
    leaving: SendBuffer,
    cut: Option<Cut>,
    refusal: Option<ReasonCode>,
    loses_session: bool,
    is_deaf: bool,
}

impl Relay {
    pub(super) fn new(seams: Arc<Seams>, packet_size_max: usize, known: Known) -> Self {
        Self {
            number: seams.number(),
            seams,
            client_id: known.client_id,
            version: known.version.unwrap_or(ProtocolVersion::V3_1_1),
            packet_size_max,
            lanes: Default::default(),
            aliases: known.aliases,
            in_flight: Default::default(),
            arrived: BytesMut::new(),
            leaving: SendBuffer::new(),
            cut: None,
            refusal: None,
            loses_session: false,
            is_deaf: false,
        }
    }

    /// What the protocol may read.
    pub(super) fn arrived(&mut self) -> &mut BytesMut {
        &mut self.arrived
    }

    /// What is to be written.
    pub(super) fn leaving(&mut self) -> &mut SendBuffer {
        &mut self.leaving
    }

    /// How the connection is to end, if it is. A half-open one goes on.
    pub(super) fn cut(&self) -> Option<Cut> {
        self.cut.filter(|cut| *cut != Cut::HalfOpen)
    }

    pub(super) fn is_half_open(&self) -> bool {
        self.cut == Some(Cut::HalfOpen)
    }

    pub(super) fn refusal(&self) -> Option<ReasonCode> {
        self.refusal
    }

    pub(super) fn loses_session(&self) -> bool {
        self.loses_session
    }

    pub(super) fn may_read(&self) -> bool {
        !self.is_deaf && self.cut.is_none() && self.lanes[0].has_room()
    }

    /// Whether nothing more will arrive, given whether the pipe is at its end.
    pub(super) fn is_at_end(&self, pipe_is_at_end: bool) -> bool {
        let lane = &self.lanes[0];
        lane.is_empty() && (lane.is_shut() || pipe_is_at_end) && !self.is_half_open()
    }

    /// Whether all has left that will.
    pub(super) fn has_fallen_silent(&self) -> bool {
        let lane = &self.lanes[1];
        lane.is_shut() && lane.is_empty() && self.leaving.is_empty()
    }

    /// When the next packet has waited long enough.
    pub(super) fn due(&self) -> Option<Instant> {
        self.lanes.iter().filter_map(Lane::due).min()
    }

    /// Takes over what was on its way before there was a relay: the beginning of `out` may be the rest of a packet.
    pub(super) fn adopt(&mut self, out: &mut SendBuffer) {
        let rest = out.copy_to_bytes(out.remaining());
        self.leaving.put_bytes(&rest);
    }

    /// Takes what has been read.
    pub(super) fn take_in(&mut self, input: &mut BytesMut) {
        let input = input.split();
        self.take(Direction::In, &input);
    }

    /// Takes what is to be written, as far as there is room.
    pub(super) fn take_out(&mut self, out: &mut SendBuffer) {
        if out.has_remaining() && self.lanes[1].has_room() {
            let bytes = out.copy_to_bytes(out.remaining());
            self.take(Direction::Out, &bytes);
        }
    }

    fn take(&mut self, direction: Direction, bytes: &[u8]) {
        let way = direction as usize;
        self.lanes[way].raw.extend_from_slice(bytes);
        while let Some(packet) = self.lanes[way].next_packet(self.version, self.packet_size_max) {
            self.meet(direction, packet);
        }
        if let Some(rest) = self.lanes[way].take_unreadable() {
            let line = self.line(direction, None, rest.clone());
            self.hold(direction, line, (rest, Duration::ZERO, 0));
        }
        self.release();
    }

    /// One packet.
    fn meet(&mut self, direction: Direction, packet: Bytes) {
        let Some(packet_type) = packet
            .first()
            .and_then(|it| PacketType::from_number(it >> 4))
        else {
            return;
        };
        let topic = self.learn(direction, &packet);
        // The broker's last word, if it is to have one, is still to come.
        let is_over = match self.cut {
            Some(Cut::Reason(_)) => direction == Direction::In,
            cut => cut.is_some(),
        };
        if is_over || self.lanes[direction as usize].is_shut() {
            return;
        }
        let seen = Seen {
            packet_type,
            direction,
            client_id: &self.client_id,
            topic: topic.as_ref(),
            size: packet.len(),
        };
        let deeds = if self.seams.faults.is_in_use() {
            self.seams.faults.meet(&seen)
        } else {
            Vec::new()
        };
        let line = Line {
            packet_type: Some(packet_type),
            ..self.line(direction, topic, packet)
        };
        self.carry_out(line, &deeds);
    }

    fn carry_out(&mut self, mut line: Line, deeds: &[Deed]) {
        let direction = line.direction;
        let (mut copies, mut delay, mut depth) = (1, Duration::ZERO, 0);
        let mut is_last = false;
        for deed in deeds {
            match *deed {
                Deed::Drop => (copies, line.note) = (0, "dropped by fault"),
                Deed::Cut(cut) => {
                    (copies, line.note) = (0, "lost with its connection by fault");
                    self.cut = Some(cut);
                }
                Deed::Delay(by) => (delay, line.note) = (delay + by, "delayed by fault"),
                Deed::Duplicate => copies += i32::from(copies > 0),
                Deed::Reorder(by) => (depth, line.note) = (by, "reordered by fault"),
                Deed::Corrupt { at, mask } => {
                    line.raw = corrupted(&line.raw, at, mask);
                    line.note = "corrupted by fault";
                }
                Deed::Truncate(keep) => {
                    line.raw.truncate(keep);
                    (is_last, line.note) = (true, "truncated by fault");
                }
                Deed::Refuse(reason) => self.refusal = Some(reason),
                Deed::LoseSession => self.loses_session = true,
                Deed::Throttle(rate) => self.lanes[direction as usize].throttle(rate),
                Deed::StopReading => self.is_deaf = true,
            }
        }
        if copies == 0 {
            self.log(line);
            return;
        }
        let raw = line.raw.clone();
        self.hold(direction, line.clone(), (raw.clone(), delay, depth));
        line.note = "duplicated by fault";
        for _ in 1..copies {
            self.hold(direction, line.clone(), (raw.clone(), delay, depth));
        }
        if is_last {
            self.lanes[direction as usize].shut();
        }
    }

    fn hold(
        &mut self,
        way: Direction,
        line: Line,
        (bytes, delay, depth): (Bytes, Duration, usize),
    ) {
        let now = self.seams.clock.now();
        self.lanes[way as usize].push(Held { line, bytes }, (now, delay), depth);
    }

    /// Lets go of what has waited long enough.
    pub(super) fn release(&mut self) {
        let now = self.seams.clock.now();
        while let Some(held) = self.lanes[0].pop(now) {
            self.arrived.extend_from_slice(&held.bytes);
            self.log(held.line);
        }
        while let Some(held) = self.lanes[1].pop(now) {
            self.leaving.put_bytes(&held.bytes);
            self.log(held.line);
        }
    }

    fn line(&self, direction: Direction, topic: Option<TopicName>, raw: Bytes) -> Line {
        Line {
            number: 0,
            time: Duration::ZERO,
            client_id: self.client_id.clone(),
            connection: self.number,
            direction,
            packet_type: None,
            topic,
            version: self.version,
            raw,
            note: "",
        }
    }

    fn log(&self, line: Line) {
        if let Some(wire) = &self.seams.wire {
            let time = self.seams.time();
            wire.push(Line { time, ..line });
        }
    }

    /// What a packet says about the connection, and its topic if it has to do with one.
    fn learn(&mut self, direction: Direction, packet: &Bytes) -> Option<TopicName> {
        let limits = codec::Limits::default();
        let mut bytes = BytesMut::from(&packet[..]);
        let packet = codec::decode(&mut bytes, self.version, &limits).ok()??;
        let (there, back) = match direction {
            Direction::In => (0, 1),
            Direction::Out => (1, 0),
        };
        match packet {
            Packet::Connect(connect) => {
                self.version = connect.version;
                self.client_id = connect.client_id;
                None
            }
            Packet::ConnAck(connack) => {
                if let Some(assigned) = connack.properties.assigned_client_identifier {
                    self.client_id = assigned;
                }
                None
            }
            Packet::Publish(publish) => {
                let mut topic = Some(publish.message.topic);
                if let Some(alias) = publish.topic_alias {
                    if publish.topic_on_wire {
                        self.aliases[there].extend(topic.clone().map(|it| (alias.get(), it)));
                    } else {
                        topic = self.aliases[there].get(&alias.get()).cloned();
                    }
                }
                if let (Some(id), Some(topic)) = (publish.packet_id, &topic) {
                    self.in_flight[there].insert(id.get(), topic.clone());
                }
                topic
            }
            Packet::Ack(ack) => {
                let id = ack.packet_id.get();
                match ack.kind {
                    AckKind::PubAck | AckKind::PubComp => self.in_flight[back].remove(&id),
                    AckKind::PubRec => self.in_flight[back].get(&id).cloned(),
                    AckKind::PubRel => self.in_flight[there].get(&id).cloned(),
                }
            }
            _ => None,
        }
    }
}

fn corrupted(bytes: &Bytes, at: usize, mask: u8) -> Bytes {
    let mut bytes = BytesMut::from(&bytes[..]);
    if let Some(byte) = bytes.get_mut(at) {
        *byte ^= mask;
    }
    bytes.freeze()
}
