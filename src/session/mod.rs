//! The quality-of-service engine: what is in flight, what is a duplicate, what to send again.
//!
//! One engine for both roles and both versions: the two protocol files hold what differs. No socket, no clock, no lock.
//! [`Outbound`] is the sender's half, [`Inbound`] the receiver's; together they are a [`Session`], plain data that
//! outlives the connection.

use crate::codec::{Ack, Packet, PacketId, Publish, ReasonCode};
use crate::message::Message;
use std::num::NonZeroU16;
use std::time::{Duration, Instant};

/// The caller's number for an exchange, given back when it is settled.
pub type Token = u64;

/// The peer broke a rule.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{reason:?}: {what} [{clause}]")]
pub struct Violation {
    /// What is wrong, in words.
    pub what: &'static str,
    /// The statement or section of the standard.
    pub clause: &'static str,
    /// What to answer under MQTT 5.
    pub reason: ReasonCode,
}

/// What survives a connection.
#[derive(Debug, Clone, Default)]
pub struct Session {
    /// The sender's half.
    pub outbound: Outbound,
    /// The receiver's half.
    pub inbound: Inbound,
}

/// What an acknowledgement asks the sender to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Send this next (PUBREL).
    Send(Ack),
    /// The exchange is over and its id free.
    Settled {
        /// As given to [`Outbound::send`].
        token: Token,
        /// How it ended; at or above 0x80 the peer refused the message.
        reason: ReasonCode,
    },
    /// Nothing: an answer to an exchange that is not known any more.
    Ignored,
}

/// What to do with a PUBLISH that arrived.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Receipt {
    /// New: deliver it, then call [`Inbound::accepted`].
    Deliver,
    /// A repetition of a QoS 2 message that was taken before: do not deliver. The answer comes by [`Inbound::next_ack`].
    Duplicate,
}

/// The sender's half: window, exchanges in flight, what to send again and in which order.
#[derive(Debug, Clone, Default)]
pub struct Outbound {
    _todo: (),
}

impl Outbound {
    /// A connection begins, with the peer's Receive Maximum (65 535 under 3.1.1). The session is kept: everything in
    /// flight becomes due again, in the first order, through [`Outbound::next_again`].
    pub fn resume(&mut self, receive_maximum: NonZeroU16) {
        let _ = receive_maximum;
        todo!()
    }

    /// The peer has no session: forgets everything in flight and gives it back, oldest first, so that the caller can
    /// send it as new or report it. An exchange whose message is no longer held (past PUBREC) comes without one.
    pub fn reset(&mut self) -> Vec<(Token, Option<Message>)> {
        todo!()
    }

    /// The next packet to send again after [`Outbound::resume`]: PUBLISH with DUP, or PUBREL; `None` when all is sent
    /// or the window is full. New messages wait until it has been `None` for good.
    pub fn next_again(&mut self) -> Option<Packet> {
        todo!()
    }

    /// Whether a new message of QoS 1 or 2 may be sent now: the window has room, an id is free, nothing is to be sent
    /// again first. QoS 0 needs no room.
    pub fn has_room(&self) -> bool {
        todo!()
    }

    /// A new message for the wire. QoS 1 and 2 take an id and a place in the window: only while [`Outbound::has_room`];
    /// without room `Err` gives the message back. `token` is not used for QoS 0.
    ///
    /// # Errors
    /// The message itself, when there is no room.
    pub fn send(&mut self, message: Message, token: Token) -> Result<Publish, Message> {
        let _ = (message, token);
        todo!()
    }

    /// PUBACK, PUBREC or PUBCOMP arrived.
    ///
    /// # Errors
    /// The acknowledgement does not fit the exchange's QoS or state.
    pub fn on_ack(&mut self, ack: &Ack) -> Result<Step, Violation> {
        let _ = ack;
        todo!()
    }

    /// Takes an id for SUBSCRIBE or UNSUBSCRIBE: they share the space with messages. `None`: all 65 535 are in use.
    pub fn take_packet_id(&mut self) -> Option<PacketId> {
        todo!()
    }

    /// Gives back an id of [`Outbound::take_packet_id`].
    pub fn free_packet_id(&mut self, packet_id: PacketId) {
        let _ = packet_id;
        todo!()
    }

    /// Messages in flight.
    pub fn in_flight(&self) -> usize {
        todo!()
    }
}

/// The receiver's half: duplicates, and answers due, in the order of arrival.
#[derive(Debug, Clone, Default)]
pub struct Inbound {
    _todo: (),
}

impl Inbound {
    /// A connection begins. With a kept session the unreleased QoS 2 ids are remembered, else forgotten.
    /// `receive_maximum` is what *we* announced: more unanswered messages than that are a [`Violation`].
    pub fn begin(&mut self, receive_maximum: NonZeroU16, resumed: bool) {
        let _ = (receive_maximum, resumed);
        todo!()
    }

    /// A PUBLISH arrived, of any QoS.
    ///
    /// # Errors
    /// The peer exceeded our Receive Maximum.
    pub fn on_publish(&mut self, publish: &Publish) -> Result<Receipt, Violation> {
        let _ = publish;
        todo!()
    }

    /// The message is safe (routed, queued, or processed), or refused by a code at or above 0x80. Its PUBACK or PUBREC
    /// becomes due; it leaves in the order of arrival, whatever the order of these calls. Unknown ids are ignored:
    /// the connection of an answer that comes late may be gone.
    pub fn accepted(&mut self, packet_id: PacketId, reason: ReasonCode) {
        let _ = (packet_id, reason);
        todo!()
    }

    /// PUBREL arrived; PUBCOMP becomes due.
    pub fn on_pubrel(&mut self, ack: &Ack) {
        let _ = ack;
        todo!()
    }

    /// The next answer that may leave: PUBACK, PUBREC or PUBCOMP.
    pub fn next_ack(&mut self) -> Option<Ack> {
        todo!()
    }

    /// Messages taken and not yet answered, and QoS 2 ids not yet released.
    pub fn in_flight(&self) -> usize {
        todo!()
    }
}

/// Keep alive of one side: when to send, when to give up. Deadlines from `now`; no clock.
#[derive(Debug, Clone)]
pub struct KeepAlive {
    _todo: (),
}

impl KeepAlive {
    /// `interval` of zero: never.
    pub fn new(interval: Duration, now: Instant) -> Self {
        let _ = (interval, now);
        todo!()
    }
}
