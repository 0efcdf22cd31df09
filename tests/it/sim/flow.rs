//! The exchanges of one session in one direction, as anybody can see them on the wire.
//!
//! [`Flow`] watches the sender: which packet ids are in flight, what is sent again and in which order, how much is under way
//! at once. [`Answers`] watches the receiver: acknowledgements leave in the order in which the messages came.

use rmqtt::codec::{self, Ack, AckKind, Packet, PacketId, ProtocolVersion, Publish};
use rmqtt::message::{Message, QoS};
use std::collections::{BTreeSet, VecDeque};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Sent,
    Released,
    /// To be released in no particular order, since it cannot be sent again.
    Withdrawn,
}

#[derive(Debug)]
struct Exchange {
    id: PacketId,
    publish: Publish,
    state: State,
    /// In flight since an earlier connection, and not yet sent again on this one.
    is_due: bool,
}

/// A sender's exchanges.
#[derive(Debug, Default)]
pub(super) struct Flow {
    /// In the order in which they were begun.
    exchanges: Vec<Exchange>,
    window: usize,
    /// PUBREC was heard, in this order, and PUBREL is owed.
    releases: VecDeque<PacketId>,
    /// PUBREC was heard for what is not in flight.
    strays: Vec<PacketId>,
    controls: BTreeSet<PacketId>,
}

impl Flow {
    /// A connection begins that resumes the session. Returns what the peer is too small for by now: of QoS 1 that is over,
    /// of QoS 2 its id has yet to be released.
    pub(super) fn resume(
        &mut self,
        window: usize,
        version: ProtocolVersion,
        size_max: Option<u32>,
    ) -> Vec<Message> {
        self.window = window;
        self.releases.clear();
        self.strays.clear();
        self.controls.clear();
        let mut withdrawn = Vec::new();
        for exchange in &mut self.exchanges {
            exchange.is_due = true;
            if exchange.state == State::Sent && !fits(&exchange.publish, version, size_max) {
                exchange.state = State::Withdrawn;
                withdrawn.push(exchange.publish.message.clone());
            }
        }
        self.exchanges.retain(|exchange| {
            exchange.state != State::Withdrawn || exchange.publish.message.qos == QoS::ExactlyOnce
        });
        withdrawn
    }

    /// What was to be sent again is not, as `is_denied` says: the first of QoS 1, or the one of QoS 2 with this id, which has
    /// yet to be released.
    pub(super) fn give_up(
        &mut self,
        id: Option<PacketId>,
        is_denied: impl Fn(&Message) -> bool,
    ) -> Option<Message> {
        let qos = match id {
            Some(_) => QoS::ExactlyOnce,
            None => QoS::AtLeastOnce,
        };
        let at = self.exchanges.iter().position(|exchange| {
            let message = &exchange.publish.message;
            let is_it = message.qos == qos && id.is_none_or(|id| id == exchange.id);
            is_it && exchange.is_due && exchange.state == State::Sent && is_denied(message)
        })?;
        if qos == QoS::AtLeastOnce {
            return Some(self.exchanges.remove(at).publish.message);
        }
        let exchange = &mut self.exchanges[at];
        exchange.state = State::Withdrawn;
        Some(exchange.publish.message.clone())
    }

    /// The session is lost, and a new one begins.
    pub(super) fn begin(&mut self, window: usize) {
        *self = Self {
            window,
            ..Self::default()
        };
    }

    /// Messages in flight.
    pub(super) fn len(&self) -> usize {
        self.exchanges.len()
    }

    /// Whether a new message of QoS 1 or 2 could be sent.
    pub(super) fn has_room(&self) -> bool {
        let is_due = self.exchanges.iter().any(|exchange| exchange.is_due);
        !is_due && self.exchanges.len() < self.window
    }

    /// The sender has sent a packet.
    pub(super) fn sent(&mut self, packet: &Packet) {
        match packet {
            Packet::Publish(publish) => self.sent_publish(publish),
            Packet::Ack(ack) if ack.kind == AckKind::PubRel => self.sent_pubrel(ack),
            Packet::Subscribe(subscribe) => self.sent_control(subscribe.packet_id),
            Packet::Unsubscribe(unsubscribe) => self.sent_control(unsubscribe.packet_id),
            _ => {}
        }
    }

    fn sent_publish(&mut self, publish: &Publish) {
        let Some(id) = publish.packet_id else {
            assert!(!publish.dup, "QoS 0 with DUP");
            return;
        };
        let open = self.exchanges.iter();
        let open = open
            .filter(|exchange| !exchange.is_due && exchange.state == State::Sent)
            .count();
        assert!(open < self.window, "more than the Receive Maximum: {open}");
        if publish.dup {
            let mut due = self.exchanges.iter_mut();
            let first = due.find(|exchange| exchange.is_due && exchange.state == State::Sent);
            let first = first.expect("sent again, though nothing is due");
            let is_first = first.id == id;
            assert!(is_first, "{id} is sent again before {}", first.id);
            let (old, new) = (&first.publish.message, &publish.message);
            let is_same =
                old.topic == new.topic && old.payload == new.payload && old.qos == new.qos;
            assert!(is_same, "{id} is sent again as something else");
            first.is_due = false;
            return;
        }
        assert!(!self.is_in_use(id), "packet id {id} is in use");
        let due = self.exchanges.iter().find(|exchange| exchange.is_due);
        assert!(due.is_none(), "a new message before {due:?} was sent again");
        self.exchanges.push(Exchange {
            id,
            publish: publish.clone(),
            state: State::Sent,
            is_due: false,
        });
    }

    fn sent_pubrel(&mut self, ack: &Ack) {
        let id = ack.packet_id;
        if let Some(at) = self.strays.iter().position(|stray| *stray == id) {
            self.strays.remove(at);
            return;
        }
        if self.releases.contains(&id) {
            let first = self.releases.pop_front();
            assert_eq!(first, Some(id), "PUBREL before that of an earlier PUBREC");
            return;
        }
        let mut all = self.exchanges.iter_mut();
        if let Some(withdrawn) =
            all.find(|exchange| exchange.id == id && exchange.state == State::Withdrawn)
        {
            withdrawn.state = State::Released;
            withdrawn.is_due = false;
            return;
        }
        let mut due = self.exchanges.iter_mut();
        let first = due.find(|exchange| exchange.is_due && exchange.state == State::Released);
        let first = first.expect("PUBREL for what was not received");
        assert_eq!(first.id, id, "PUBREL is sent again in another order");
        first.is_due = false;
    }

    fn sent_control(&mut self, id: PacketId) {
        assert!(!self.is_in_use(id), "packet id {id} is in use");
        self.controls.insert(id);
    }

    fn is_in_use(&self, id: PacketId) -> bool {
        let is_message = self.exchanges.iter().any(|exchange| exchange.id == id);
        is_message || self.controls.contains(&id)
    }

    /// The sender has heard a packet. Returns the message for which it was an answer that ends or releases it.
    pub(super) fn heard(&mut self, packet: &Packet) -> Option<Publish> {
        match packet {
            Packet::Ack(ack) => self.heard_ack(ack),
            Packet::SubAck(suback) => {
                let was_asked = self.controls.remove(&suback.packet_id);
                assert!(was_asked, "SUBACK without SUBSCRIBE");
                None
            }
            Packet::UnsubAck(unsuback) => {
                let was_asked = self.controls.remove(&unsuback.packet_id);
                assert!(was_asked, "UNSUBACK without UNSUBSCRIBE");
                None
            }
            _ => None,
        }
    }

    fn heard_ack(&mut self, ack: &Ack) -> Option<Publish> {
        let found = self
            .exchanges
            .iter()
            .position(|exchange| exchange.id == ack.packet_id);
        match (ack.kind, found) {
            (AckKind::PubRec, None) => self.strays.push(ack.packet_id),
            (AckKind::PubRec, Some(at)) if !ack.reason.is_error() => {
                let exchange = &mut self.exchanges[at];
                exchange.state = State::Released;
                exchange.is_due = false;
                self.releases.push_back(ack.packet_id);
                return Some(exchange.publish.clone());
            }
            (AckKind::PubAck | AckKind::PubRec, Some(at)) => {
                return Some(self.exchanges.remove(at).publish);
            }
            (AckKind::PubComp, Some(at)) => {
                let exchange = self.exchanges.remove(at);
                assert_eq!(
                    exchange.state,
                    State::Released,
                    "PUBCOMP for what was not released"
                );
            }
            _ => {}
        }
        None
    }
}

/// Whether the peer takes packets of this size.
pub(super) fn fits(publish: &Publish, version: ProtocolVersion, size_max: Option<u32>) -> bool {
    let Some(size_max) = size_max else {
        return true;
    };
    codec::encoded_size(&Packet::Publish(publish.clone()), version)
        .is_ok_and(|size| size <= size_max as usize)
}

/// What a receiver has to answer on this connection, in the order of arrival.
#[derive(Debug, Default)]
pub(super) struct Answers(Vec<(AckKind, PacketId)>);

impl Answers {
    pub(super) fn heard(&mut self, packet: &Packet) {
        match packet {
            Packet::Publish(publish) => {
                let kind = match publish.message.qos {
                    QoS::ExactlyOnce => AckKind::PubRec,
                    _ => AckKind::PubAck,
                };
                self.0.extend(publish.packet_id.map(|id| (kind, id)));
            }
            // Who has had its answer on an earlier connection needs no second.
            Packet::Ack(ack) if ack.kind == AckKind::PubRel => {
                let pending = (AckKind::PubRec, ack.packet_id);
                self.0.retain(|answer| *answer != pending);
            }
            _ => {}
        }
    }

    pub(super) fn sent(&mut self, packet: &Packet) {
        let Packet::Ack(ack) = packet else { return };
        if !matches!(ack.kind, AckKind::PubAck | AckKind::PubRec) {
            return;
        }
        let first = self.0.iter().position(|(kind, _)| *kind == ack.kind);
        let first = first.map(|at| self.0.remove(at).1);
        assert_eq!(
            first,
            Some(ack.packet_id),
            "{:?} out of the order of arrival",
            ack.kind
        );
    }
}
