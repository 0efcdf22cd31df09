//! The sender's half: window, exchanges in flight, what to send again and in which order.
//!
//! One row for each state of an exchange; an empty cell is a [`Violation`], and an id that is not in flight stands in the
//! last row. *Again* is what [`Outbound::next_again`] yields after [`Outbound::resume`].
//!
//! | state | PUBACK | PUBREC below 0x80 | PUBREC at or above | PUBCOMP | again |
//! |---|---|---|---|---|---|
//! | QoS 1 sent | settled | | | | PUBLISH, DUP |
//! | QoS 2 sent | | message dropped, PUBREL | settled | | PUBLISH, DUP; PUBREL if it is withdrawn |
//! | released | | PUBREL | PUBREL | settled | PUBREL |
//! | not in flight | ignored | PUBREL 0x92 | PUBREL 0x92 | ignored | |
//!
//! The window counts the PUBLISH packets of *this* connection, sent again or for the first time, until they are settled,
//! and every released exchange. A released one is not held back by a full window: only it can open the window again.

use super::packet_id::{IN_USE_MAX, PacketIds};
use super::{Step, Token, Violation};
use crate::codec::{Ack, AckKind, Packet, PacketId, Publish, ReasonCode};
use crate::message::{Message, QoS};
use bytes::BytesMut;
use std::collections::VecDeque;
use std::num::{NonZeroU16, NonZeroU32};

/// How many messages may be in flight, whatever the peer would take: the rest of the ids are for SUBSCRIBE and
/// UNSUBSCRIBE, which no number of messages may hold back.
pub const IN_FLIGHT_MAX: usize = 32_768;

/// With more than this in flight, what is held of a message is copied out of the read buffer it was cut from: a peer that is
/// slow to acknowledge must not keep a buffer alive for each small message.
const BACKLOG: usize = 32;

/// Copies of small messages share pieces of memory of this size. The last of them keeps the piece alive, which so must not
/// be much larger than what is held of a message anyway.
const COPIES_BYTES: usize = 1024;

const _: () = assert!(IN_FLIGHT_MAX < IN_USE_MAX);

/// The sender's half: window, exchanges in flight, what to send again and in which order.
#[derive(Debug, Clone)]
pub struct Outbound {
    ids: PacketIds<Exchange>,
    /// What was in flight when the connection began, oldest first. May name what has been settled since.
    again: VecDeque<PacketId>,
    /// How many of `again` are truly due, and how many of those are PUBREL.
    due: usize,
    due_releases: usize,
    /// Whether the PUBREL in `again` were moved before the PUBLISH, which the window holds back.
    releases_first: bool,
    /// How many messages may be open on this connection, and how many are.
    window: usize,
    open: usize,
    messages: usize,
    /// Of the messages that are held, beside large payloads.
    bytes: usize,
    /// Room for copies.
    copies: BytesMut,
}

/// What an id is in use for.
#[derive(Debug, Clone)]
enum Exchange {
    /// SUBSCRIBE or UNSUBSCRIBE: the caller knows.
    Control,
    Message {
        token: Token,
        state: State,
        /// To be sent again on this connection, and not yet sent.
        is_due: bool,
    },
}

#[derive(Debug, Clone)]
enum State {
    /// The PUBLISH was sent, of QoS 1 or 2 as the message says.
    Sent(Box<Sent>),
    /// PUBREC came with this code, and took the place of the message. PUBREL was sent.
    Released(ReasonCode),
}

/// What is kept of a PUBLISH to send it again.
#[derive(Debug, Clone)]
struct Sent {
    message: Message,
    subscription_ids: Vec<NonZeroU32>,
}

impl Default for Outbound {
    fn default() -> Self {
        Self {
            ids: PacketIds::default(),
            again: VecDeque::new(),
            due: 0,
            due_releases: 0,
            releases_first: false,
            window: IN_FLIGHT_MAX,
            open: 0,
            messages: 0,
            bytes: 0,
            copies: BytesMut::new(),
        }
    }
}

impl Outbound {
    /// A connection begins, with the peer's Receive Maximum (65 535 under 3.1.1). The session is kept: everything in
    /// flight becomes due again, in the first order, through [`Outbound::next_again`].
    ///
    /// Ids of [`Outbound::take_packet_id`] stay taken: whether their packets are sent again, the caller decides.
    pub fn resume(&mut self, receive_maximum: NonZeroU16) {
        // spec(5): MQTT-4.9.0-1, MQTT-3.3.4-7, MQTT-3.3.4-9
        self.window = usize::from(receive_maximum.get()).min(IN_FLIGHT_MAX);
        self.again = VecDeque::with_capacity(self.messages);
        self.due_releases = 0;
        self.releases_first = false;
        // spec(4): MQTT-4.4.0-1, MQTT-4.6.0-1
        // spec(5): MQTT-4.4.0-1, MQTT-4.6.0-1
        for (id, exchange) in self.ids.iter_mut() {
            if let Exchange::Message { state, is_due, .. } = exchange {
                *is_due = true;
                self.due_releases += usize::from(matches!(state, State::Released(_)));
                self.again.push_back(id);
            }
        }
        self.due = self.again.len();
        self.open = self.due_releases;
    }

    /// The peer has no session: forgets everything in flight and gives it back, oldest first, so that the caller can
    /// send it as new or report it. An exchange whose message is no longer held (past PUBREC) comes without one.
    ///
    /// Call [`Outbound::resume`] too, in either order, for the new connection's window.
    pub fn reset(&mut self) -> Vec<(Token, Option<Message>)> {
        let messages: Vec<PacketId> = self
            .ids
            .iter_mut()
            .filter(|(_, exchange)| matches!(exchange, Exchange::Message { .. }))
            .map(|(id, _)| id)
            .collect();
        self.again = VecDeque::new();
        self.due = 0;
        self.due_releases = 0;
        self.open = 0;
        self.messages = 0;
        self.bytes = 0;
        messages
            .into_iter()
            .filter_map(|id| match self.ids.free(id)? {
                Exchange::Control => None,
                Exchange::Message { token, state, .. } => Some(match state {
                    State::Sent(sent) => (token, Some(sent.message)),
                    State::Released(_) => (token, None),
                }),
            })
            .collect()
    }

    /// The next packet to send again after [`Outbound::resume`]: PUBLISH with DUP, or PUBREL; `None` when all is sent
    /// or the window is full. New messages wait until it has been `None` for good.
    pub fn next_again(&mut self) -> Option<Packet> {
        while self.due > 0 {
            if self.open >= self.window && !self.bring_releases_forward() {
                return None;
            }
            let id = self.again.pop_front()?;
            let Some(Exchange::Message { state, is_due, .. }) = self.ids.get_mut(id) else {
                continue;
            };
            if !std::mem::take(is_due) {
                continue;
            }
            self.due -= 1;
            if let State::Sent(sent) = state {
                // spec(4): MQTT-3.3.1-1
                // spec(5): MQTT-3.3.1-1, MQTT-4.9.0-2
                self.open += 1;
                let mut publish = sent.to_publish(id);
                publish.dup = true;
                return Some(Packet::Publish(publish));
            }
            // spec(4): MQTT-4.3.3-1
            // spec(5): MQTT-4.3.3-6
            self.due_releases -= 1;
            return Some(Packet::Ack(Ack::new(
                AckKind::PubRel,
                id,
                ReasonCode::Success,
            )));
        }
        self.again = VecDeque::new();
        None
    }

    /// Whether a PUBREL may go although the window is full: then they all go before the PUBLISH packets still due.
    ///
    /// spec(5): MQTT-3.3.4-8, MQTT-3.3.4-10, MQTT-4.9.0-3
    fn bring_releases_forward(&mut self) -> bool {
        if self.due_releases > 0 && !self.releases_first {
            let (mut releases, mut rest) = (VecDeque::new(), VecDeque::new());
            for id in self.again.drain(..) {
                match self.ids.get_mut(id) {
                    Some(Exchange::Message {
                        state: State::Released(_),
                        ..
                    }) => releases.push_back(id),
                    _ => rest.push_back(id),
                }
            }
            releases.append(&mut rest);
            self.again = releases;
            self.releases_first = true;
        }
        self.due_releases > 0
    }

    /// Whether a new message of QoS 1 or 2 may be sent now: the window has room, an id is free, nothing is to be sent
    /// again first. QoS 0 needs no room.
    pub fn has_room(&self) -> bool {
        self.due == 0 && self.open < self.window && self.ids.len() < IN_USE_MAX
    }

    /// A new message for the wire. QoS 1 and 2 take an id and a place in the window: only while [`Outbound::has_room`];
    /// without room `Err` gives the message back. `token` is not used for QoS 0.
    ///
    /// The message is held as it is until it is acknowledged.
    ///
    /// # Errors
    /// The message itself, when there is no room.
    pub fn send(&mut self, message: Message, token: Token) -> Result<Publish, Message> {
        self.start(message, Vec::new(), token, |_, message| message.clone())
    }

    /// As [`Outbound::send`], for a message that may be cut from a read buffer: once many are in flight, copies are held.
    /// The subscription identifiers go with it, and go with it again.
    ///
    /// # Errors
    /// The message itself, when there is no room.
    pub fn send_for(
        &mut self,
        message: Message,
        subscription_ids: Vec<NonZeroU32>,
        token: Token,
    ) -> Result<Publish, Message> {
        self.start(message, subscription_ids, token, Self::copy)
    }

    fn start(
        &mut self,
        message: Message,
        subscription_ids: Vec<NonZeroU32>,
        token: Token,
        keep: impl FnOnce(&mut Self, &Message) -> Message,
    ) -> Result<Publish, Message> {
        let has_room = message.qos == QoS::AtMostOnce || self.has_room();
        if !has_room {
            return Err(message);
        }
        let mut publish = Publish::new(message);
        publish.subscription_ids = subscription_ids;
        if publish.message.qos == QoS::AtMostOnce {
            return Ok(publish);
        }
        self.bytes += publish.message.size_apart();
        let sent = Sent {
            message: keep(self, &publish.message),
            subscription_ids: publish.subscription_ids.clone(),
        };
        publish.packet_id = self.ids.take(Exchange::Message {
            token,
            state: State::Sent(Box::new(sent)),
            is_due: false,
        });
        self.open += 1;
        self.messages += 1;
        Ok(publish)
    }

    /// What is held of a message that may be cut from a read buffer.
    fn copy(&mut self, message: &Message) -> Message {
        if self.messages < BACKLOG || message.large() > 0 {
            return message.clone();
        }
        let size = message.topic.as_str().len() + message.payload.len();
        if self.copies.capacity() < size {
            self.copies = BytesMut::with_capacity(size.max(COPIES_BYTES));
        }
        message.compact_into(&mut self.copies)
    }

    /// PUBACK, PUBREC or PUBCOMP arrived. The reason of a settled QoS 2 message is that of its PUBREC.
    ///
    /// # Errors
    /// The acknowledgement does not fit the exchange's QoS or state.
    pub fn on_ack(&mut self, ack: &Ack) -> Result<Step, Violation> {
        let id = ack.packet_id;
        let release = |reason| Ok(Step::Send(Ack::new(AckKind::PubRel, id, reason)));
        let Some(Exchange::Message { state, is_due, .. }) = self.ids.get_mut(id) else {
            return match ack.kind {
                // The codec drops the reason under 3.1.1; without any PUBREL the peer would hold the id for ever.
                AckKind::PubRec => release(ReasonCode::PacketIdentifierNotFound),
                _ => Ok(Step::Ignored),
            };
        };
        match (ack.kind, &*state) {
            (AckKind::PubAck, State::Sent(sent)) if sent.message.qos == QoS::AtLeastOnce => {
                // spec(4): MQTT-4.3.2-1
                // spec(5): MQTT-4.3.2-3, MQTT-4.4.0-2
                Ok(self.settle(id, ack.reason))
            }
            (AckKind::PubRec, State::Sent(sent)) if sent.message.qos == QoS::ExactlyOnce => {
                if ack.reason.is_error() {
                    // spec(5): MQTT-4.4.0-2, MQTT-4.3.3-4
                    return Ok(self.settle(id, ack.reason));
                }
                // spec(4): MQTT-4.3.3-1
                // spec(5): MQTT-4.3.3-3, MQTT-4.3.3-4, MQTT-4.3.3-5
                self.bytes -= sent.message.size_apart();
                *state = State::Released(ack.reason);
                if std::mem::take(is_due) {
                    // It answers what an earlier connection sent: the message need not go again.
                    self.due -= 1;
                    self.open += 1;
                }
                release(ReasonCode::Success)
            }
            (AckKind::PubRec, State::Released(_)) => {
                if std::mem::take(is_due) {
                    self.due -= 1;
                    self.due_releases -= 1;
                }
                release(ReasonCode::Success)
            }
            (AckKind::PubComp, State::Released(reason)) => {
                let reason = *reason;
                Ok(self.settle(id, reason))
            }
            (AckKind::PubRel, _) => Ok(Step::Ignored),
            _ => Err(Violation {
                what: "an acknowledgement that does not belong to this step of the exchange",
                clause: "section 4.3",
                reason: ReasonCode::ProtocolError,
            }),
        }
    }

    /// The peer takes the PUBLISH no more that [`Outbound::next_again`] has just given: its exchange is ended with this
    /// reason. The peer may know the id of a QoS 2 message since it was sent first, and would take the next message with it
    /// for a repetition: that id is free only when both have released it, by the PUBREL that is to be sent.
    // spec(5): MQTT-3.1.2-25
    pub fn withdraw(&mut self, packet_id: PacketId, reason: ReasonCode) -> Step {
        if let Some(Exchange::Message { state, .. }) = self.ids.get_mut(packet_id)
            && let State::Sent(sent) = state
            && sent.message.qos == QoS::ExactlyOnce
        {
            self.bytes -= sent.message.size_apart();
            *state = State::Released(reason);
            let pubrel = Ack::new(AckKind::PubRel, packet_id, ReasonCode::Success);
            return Step::Send(pubrel);
        }
        self.settle(packet_id, reason)
    }

    /// An exchange of an earlier process, put back in the order of sending and before any other. Without its message PUBREC
    /// had come, with this reason. It is sent again as any exchange of an earlier connection.
    pub fn restore(
        &mut self,
        packet_id: PacketId,
        token: Token,
        left: Result<Message, ReasonCode>,
    ) {
        let state = match left {
            Ok(message) => {
                self.bytes += message.size_apart();
                State::Sent(Box::new(Sent {
                    message,
                    subscription_ids: Vec::new(),
                }))
            }
            Err(reason) => State::Released(reason),
        };
        self.ids.put_back(
            packet_id,
            Exchange::Message {
                token,
                state,
                is_due: false,
            },
        );
        self.messages += 1;
    }

    /// Whose exchange has this id.
    pub fn token(&self, packet_id: PacketId) -> Option<Token> {
        match self.ids.get(packet_id) {
            Some(Exchange::Message { token, .. }) => Some(*token),
            _ => None,
        }
    }

    /// Ends an exchange: its id is free, its place in the window too.
    fn settle(&mut self, id: PacketId, reason: ReasonCode) -> Step {
        let Some(Exchange::Message {
            token,
            state,
            is_due,
        }) = self.ids.free(id)
        else {
            return Step::Ignored;
        };
        let is_released = match &state {
            State::Released(_) => true,
            State::Sent(sent) => {
                self.bytes -= sent.message.size_apart();
                false
            }
        };
        // What waits to be sent again has no place in the window yet, unless it is released.
        self.open -= usize::from(is_released || !is_due);
        self.due -= usize::from(is_due);
        self.due_releases -= usize::from(is_due && is_released);
        self.messages -= 1;
        if self.messages == 0 {
            self.copies = BytesMut::new();
        }
        Step::Settled { token, reason }
    }

    /// Takes an id for SUBSCRIBE or UNSUBSCRIBE: they share the space with messages. `None`: too many are in use.
    pub fn take_packet_id(&mut self) -> Option<PacketId> {
        self.ids.take(Exchange::Control)
    }

    /// Gives back an id of [`Outbound::take_packet_id`]; any other is left as it is.
    pub fn free_packet_id(&mut self, packet_id: PacketId) {
        // spec(4): MQTT-2.3.1-3
        if matches!(self.ids.get_mut(packet_id), Some(Exchange::Control)) {
            self.ids.free(packet_id);
        }
    }

    /// Messages in flight.
    pub fn in_flight(&self) -> usize {
        self.messages
    }

    /// About how many bytes of them are held, beside large payloads.
    pub fn bytes(&self) -> usize {
        self.bytes
    }
}

impl Sent {
    fn into_publish(self) -> Publish {
        let mut publish = Publish::new(self.message);
        publish.subscription_ids = self.subscription_ids;
        publish
    }

    fn to_publish(&self, id: PacketId) -> Publish {
        let mut publish = self.clone().into_publish();
        publish.packet_id = Some(id);
        publish
    }
}
