//! The other end of a connection: it knows what it has said, and checks all that it hears.

use bytes::BytesMut;
use rmqtt::codec::{
    Ack, AckKind, Connect, Limits, Packet, PacketId, PacketType, ProtocolVersion, Publish,
    ReasonCode, decode,
};
use rmqtt::message::QoS;
use std::collections::{BTreeMap, VecDeque};

/// What one peer has said and heard.
pub(super) struct Peer {
    version: ProtocolVersion,
    connect: Option<Box<Connect>>,
    said: BytesMut,
    /// It has said what is no packet: nobody knows what follows.
    is_noise: bool,
    heard: usize,
    has_ended: bool,
    /// What it may still be answered, by the kind of the answer and the packet id.
    owed: BTreeMap<(u8, u16), usize>,
    /// Messages on their way to it.
    in_flight: BTreeMap<u16, QoS>,
    /// Its own answers that are due, oldest first.
    due: VecDeque<(AckKind, PacketId)>,
    aliases: Vec<u16>,
}

impl Default for Peer {
    fn default() -> Self {
        Self {
            version: ProtocolVersion::V3_1_1,
            connect: None,
            said: BytesMut::new(),
            is_noise: false,
            heard: 0,
            has_ended: false,
            owed: BTreeMap::new(),
            in_flight: BTreeMap::new(),
            due: VecDeque::new(),
            aliases: Vec::new(),
        }
    }
}

impl Peer {
    pub(super) fn version(&self) -> ProtocolVersion {
        self.version
    }

    /// Its next answer, now and then a refusal.
    pub(super) fn answer(&mut self, choice: usize) -> Option<Packet> {
        let (kind, id) = self.due.pop_front()?;
        let may_refuse = matches!(kind, AckKind::PubAck | AckKind::PubRec);
        let reason = if may_refuse && choice % 4 == 3 {
            ReasonCode::UnspecifiedError
        } else {
            ReasonCode::Success
        };
        Some(Packet::Ack(Ack::new(kind, id, reason)))
    }

    /// Takes note of what it may be answered.
    pub(super) fn says(&mut self, bytes: &[u8]) {
        if self.is_noise {
            return;
        }
        self.said.extend_from_slice(bytes);
        loop {
            match decode(&mut self.said, self.version, &Limits::default()) {
                Ok(Some(packet)) => self.note(packet),
                Ok(None) => return,
                Err(_) => {
                    self.is_noise = true;
                    return;
                }
            }
        }
    }

    fn note(&mut self, packet: Packet) {
        let answer = match packet {
            Packet::Connect(connect) => {
                if self.connect.is_none() {
                    self.version = connect.version;
                    self.connect = Some(connect);
                }
                return;
            }
            Packet::Ack(ack) => match (ack.kind, self.in_flight.get(&ack.packet_id.get())) {
                (AckKind::PubRel, _) => (PacketType::PubComp, ack.packet_id.get()),
                (AckKind::PubAck, Some(QoS::AtLeastOnce))
                | (AckKind::PubComp, Some(QoS::ExactlyOnce)) => {
                    self.in_flight.remove(&ack.packet_id.get());
                    return;
                }
                (AckKind::PubRec, Some(QoS::ExactlyOnce)) if ack.reason.is_error() => {
                    self.in_flight.remove(&ack.packet_id.get());
                    return;
                }
                _ => return,
            },
            Packet::Publish(publish) => match (publish.message.qos, publish.packet_id) {
                (QoS::AtLeastOnce, Some(id)) => (PacketType::PubAck, id.get()),
                (QoS::ExactlyOnce, Some(id)) => (PacketType::PubRec, id.get()),
                _ => return,
            },
            Packet::Subscribe(subscribe) => (PacketType::SubAck, subscribe.packet_id.get()),
            Packet::Unsubscribe(request) => (PacketType::UnsubAck, request.packet_id.get()),
            Packet::PingReq => (PacketType::PingResp, 0),
            _ => return,
        };
        *self.owed.entry((answer.0.number(), answer.1)).or_default() += 1;
    }

    /// Checks what the broker has written. `version` is what the broker takes the connection for: of a CONNECT that is
    /// none, only the broker knows.
    pub(super) fn hears(&mut self, bytes: &[u8], version: ProtocolVersion) {
        let mut input = BytesMut::from(bytes);
        while !input.is_empty() {
            let before = input.len();
            let packet = decode(&mut input, version, &Limits::default());
            let Ok(Some(packet)) = packet else {
                panic!("the broker wrote what is no packet: {packet:?} in {bytes:02x?}");
            };
            self.check_size(before - input.len());
            self.check(packet, version);
        }
    }

    // spec(5): MQTT-3.1.2-24
    fn check_size(&self, size: usize) {
        let connect = self.connect.as_ref();
        let limit = connect.and_then(|connect| connect.properties.maximum_packet_size);
        assert!(limit.is_none_or(|limit| size <= limit.get() as usize));
    }

    fn check(&mut self, packet: Packet, version: ProtocolVersion) {
        assert!(!self.has_ended, "{packet:?} after the end");
        let is_first = self.heard == 0;
        self.heard += 1;
        match packet {
            Packet::ConnAck(connack) => {
                assert!(is_first, "CONNACK as packet {}", self.heard);
                assert!(!(connack.reason.is_error() && connack.session_present));
                self.has_ended = connack.reason.is_error();
            }
            Packet::Disconnect(disconnect) => {
                assert_eq!(version, ProtocolVersion::V5);
                assert_eq!(disconnect.session_expiry_interval, None);
                assert!(!is_first, "{disconnect:?} instead of CONNACK");
                self.has_ended = true;
            }
            Packet::Auth(auth) => panic!("nobody asked for {auth:?}"),
            other => {
                assert!(!is_first, "{other:?} before CONNACK");
                self.check_answer(other);
            }
        }
    }

    fn check_answer(&mut self, packet: Packet) {
        let answer = match packet {
            Packet::Publish(publish) => return self.take(&publish),
            Packet::Ack(ack) if ack.kind == AckKind::PubRel => {
                // Of a resumed session, it may come without its message.
                self.in_flight.insert(ack.packet_id.get(), QoS::ExactlyOnce);
                self.due.push_back((AckKind::PubComp, ack.packet_id));
                return;
            }
            Packet::Ack(ack) => (ack.kind.packet_type(), ack.packet_id.get()),
            Packet::SubAck(suback) => (PacketType::SubAck, suback.packet_id.get()),
            Packet::UnsubAck(unsuback) => (PacketType::UnsubAck, unsuback.packet_id.get()),
            Packet::PingResp => (PacketType::PingResp, 0),
            other => panic!("only clients send {other:?}"),
        };
        let owed = self.owed.entry((answer.0.number(), answer.1)).or_default();
        assert!(*owed > 0, "{answer:?} answers nothing");
        *owed -= 1;
    }

    fn take(&mut self, publish: &Publish) {
        let connect = self.connect.as_ref().expect("it connected");
        let properties = &connect.properties;
        if let Some(alias) = publish.topic_alias {
            // spec(5): MQTT-3.1.2-26, MQTT-3.1.2-27
            assert!(alias.get() <= properties.topic_alias_maximum.unwrap_or(0));
            if publish.topic_on_wire {
                self.aliases.push(alias.get());
            }
            assert!(self.aliases.contains(&alias.get()));
        }
        let Some(id) = publish.packet_id else { return };
        let before = self.in_flight.insert(id.get(), publish.message.qos);
        assert_eq!(before, None, "packet id {id} is in flight already");
        let window = properties
            .receive_maximum
            .map_or(usize::MAX, |window| window.get().into());
        let window = window.min(super::limits().in_flight_max.into());
        assert!(self.in_flight.len() <= window, "{:?}", self.in_flight);
        let kind = match publish.message.qos {
            QoS::ExactlyOnce => AckKind::PubRec,
            _ => AckKind::PubAck,
        };
        self.due.push_back((kind, id));
    }
}
