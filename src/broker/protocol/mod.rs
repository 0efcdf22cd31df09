//! The server side of one connection, without socket and clock: bytes and time in, bytes and events out.
//!
//! Owns every decision about what a client may send and when, and what it is answered: CONNECT and CONNACK (`connect`),
//! AUTH (`authenticate`), messages both ways (`publish`), subscriptions (`subscribe`). It owns no message that waits and
//! knows no other client: that is the hub's. The caller asks [`Protocol::receive`] until it says `None`, answers each [`Event`] through
//! the method named there, and writes [`Protocol::outgoing`]. After an error it writes what is left and closes.

mod authenticate;
mod connect;
mod error;
mod farewell;
mod publish;
mod rights;
mod subscribe;

pub use authenticate::{AUTH_ROUNDS_MAX, Authenticate};
pub use connect::Accept;
pub use error::ProtocolError;
pub use farewell::Farewell;
pub use publish::{Delivered, Delivery, Ended, Outgoing, Room};
pub use rights::Denied;
pub use subscribe::{FilterRequest, SubscribeRequest, UnsubscribeRequest};

use crate::broker::{Limit, Limits, Terms};
use crate::codec::{
    self, Connect, DecodeError, Disconnect, Packet, PacketId, PacketType, ProtocolVersion,
    ReasonCode, Run, SendBuffer,
};
use crate::message::Message;
use crate::session::{OutboundAliases, Session, Silence, Token, Violation};
use crate::topic::TopicName;
use authenticate::Exchange;
use bytes::{Bytes, BytesMut};
use bytestring::ByteString;
use rights::Permit;
use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// So much waits in [`Protocol::outgoing`] at most before deliveries pause: enough for one large write.
pub const SEND_BUFFER_TARGET: usize = 64 << 10;

/// With so much unread by the peer, nothing more is read from it: answers are bounded too.
pub const SEND_BUFFER_MAX: usize = 256 << 10;

/// What the peer asks for, one at a time.
#[derive(Debug)]
pub enum Event {
    /// Is this proof? Answer with [`Protocol::challenge`], [`Protocol::authenticated`] or [`Protocol::refuse`].
    Authenticate(Authenticate),
    /// May this client connect? Answer with [`Protocol::accept`] or [`Protocol::refuse`]; nothing more is read before.
    ConnectRequested(Box<Connect>),
    /// A message. With a packet id, answer with [`Protocol::accepted`] once it is routed and queued.
    Publish {
        /// The message.
        message: Message,
        /// What the answer needs.
        packet_id: Option<PacketId>,
    },
    /// Messages of QoS 0 to one topic.
    PublishRun(Run),
    /// Answer with [`Protocol::subscribed`].
    Subscribe(SubscribeRequest),
    /// Answer with [`Protocol::unsubscribed`].
    Unsubscribe(UnsubscribeRequest),
    /// The client takes its leave: close.
    Disconnected {
        /// Whether its will is to be published all the same.
        publish_will: bool,
        /// The new session expiry interval, in seconds, if it changes it; already under the ceiling.
        session_expiry_interval: Option<u32>,
    },
}

#[derive(Debug)]
enum Phase {
    /// Nothing heard yet.
    AwaitConnect,
    /// CONNECT named a method, and its exchange goes on.
    Authenticating(Box<Connect>),
    /// There is nothing left to prove; the caller has still to be asked.
    Ready(Box<Connect>),
    /// The caller has been asked whether this client may connect.
    Asked(Box<Connect>),
    Connected,
    Closed,
}

/// What arrives: one packet, or several that are dealt with as one.
enum Input {
    Packet(Packet),
    Run(Run),
}

/// The server role of one connection.
#[derive(Debug)]
pub struct Protocol {
    limits: Arc<Limits>,
    terms: Terms,
    decode_limits: codec::Limits,
    phase: Phase,
    version: ProtocolVersion,
    session: Session,
    settled: Vec<Token>,
    ended: Ended,
    out: SendBuffer,
    /// When CONNECT has to be here.
    connect_by: Option<Instant>,
    silence: Silence,
    /// The largest packet the peer takes.
    packet_size_max: Option<NonZeroU32>,
    /// Whether the peer wants more than codes in answers.
    wants_words: bool,
    /// What CONNECT asked for; less may have been granted.
    session_expiry_asked: u32,
    topic_alias_max: u16,
    aliases: BTreeMap<u16, TopicName>,
    /// Of the topics they stand for.
    alias_bytes: usize,
    permit: Permit,
    /// Ours, towards the client.
    given: OutboundAliases,
    /// Of enhanced authentication, as CONNECT named it.
    method: Option<ByteString>,
    exchange: Option<Exchange>,
    /// What the mechanism has CONNACK say.
    last_data: Option<Bytes>,
    /// Limits that were reached, without the end of the connection.
    reached: Vec<Limit>,
}

impl Protocol {
    /// A connection of which nothing has been heard yet.
    pub fn new(limits: Arc<Limits>, now: Instant) -> Self {
        Self {
            decode_limits: codec::Limits {
                packet_size_max: limits.packet_size_max,
                control_packet_size_max: limits.control_packet_size_max,
            },
            phase: Phase::AwaitConnect,
            version: ProtocolVersion::V3_1_1,
            session: Session::default(),
            settled: Vec::new(),
            ended: Ended::default(),
            out: SendBuffer::new(),
            connect_by: now.checked_add(limits.connect_timeout),
            silence: Silence::new(Duration::ZERO, now),
            packet_size_max: None,
            wants_words: true,
            session_expiry_asked: 0,
            topic_alias_max: 0,
            aliases: BTreeMap::new(),
            alias_bytes: 0,
            permit: Permit::default(),
            given: OutboundAliases::default(),
            method: None,
            exchange: None,
            last_data: None,
            reached: Vec::new(),
            limits,
            terms: Terms::default(),
        }
    }

    /// With other terms than the default ones.
    #[must_use]
    pub fn with_terms(self, terms: Terms) -> Self {
        Self { terms, ..self }
    }

    /// What the peer speaks; 3.1.1 until its CONNECT has been read.
    pub fn version(&self) -> ProtocolVersion {
        self.version
    }

    /// Whether CONNECT was accepted and nothing has ended the connection since.
    pub fn is_connected(&self) -> bool {
        matches!(self.phase, Phase::Connected)
    }

    /// Takes one event out of what has arrived; call until `None`. Nothing is taken while [`Event::ConnectRequested`], or
    /// before it [`Event::Authenticate`], is unanswered.
    ///
    /// # Errors
    /// The connection has to end. MQTT 5 peers are told why, in [`Protocol::outgoing`].
    pub fn receive(
        &mut self,
        input: &mut BytesMut,
        now: Instant,
    ) -> Result<Option<Event>, ProtocolError> {
        loop {
            match self.phase {
                Phase::AwaitConnect => return self.receive_connect(input, now),
                Phase::Ready(_) => return Ok(self.ask()),
                Phase::Asked(_) => return Ok(None),
                Phase::Authenticating(_) if self.is_judged() => return Ok(None),
                Phase::Closed => return Err(ProtocolError::Closed),
                Phase::Authenticating(_) | Phase::Connected => {}
            }
            let outcome = match self.next_input(input) {
                Ok(Some(next)) => {
                    // spec(4): MQTT-3.1.2-24
                    // spec(5): MQTT-3.1.2-22
                    self.touch(now);
                    match next {
                        Input::Run(run) => self.on_run(run),
                        Input::Packet(packet) if self.is_connected() => self.on_packet(packet, now),
                        Input::Packet(packet) => self.on_packet_before_connack(packet).map(Some),
                    }
                }
                Ok(None) => return Ok(None),
                Err(error) => Err(error.into()),
            };
            match outcome {
                Ok(Some(event)) => return Ok(Some(event)),
                Ok(None) => {}
                Err(error) => return Err(self.fail(error)),
            }
        }
    }

    fn next_input(&self, input: &mut BytesMut) -> Result<Option<Input>, DecodeError> {
        // Where messages are counted, they come one by one.
        if self.is_connected()
            && self.limits.message_rate_max == 0
            && self.limits.delivery_rate_max == 0
            && let Some(run) = codec::decode_run(input, self.version, &self.decode_limits)
        {
            return Ok(Some(Input::Run(run)));
        }
        let packet = codec::decode(input, self.version, &self.decode_limits)?;
        Ok(packet.map(Input::Packet))
    }

    /// What is to be written next.
    pub fn outgoing(&mut self) -> &mut SendBuffer {
        &mut self.out
    }

    /// About how many bytes are held for this client, beside large payloads.
    pub fn held(&self) -> usize {
        self.session.size()
            + self.out.held().min(SEND_BUFFER_MAX)
            + self.alias_bytes
            + self.given.bytes()
    }

    /// Whether so much is unread by the peer that nothing more should be read from it.
    pub fn is_congested(&self) -> bool {
        self.out.len() > SEND_BUFFER_MAX
    }

    /// When [`Protocol::handle_timeout`] wants to be called.
    pub fn next_timeout(&self) -> Option<Instant> {
        match self.phase {
            Phase::Closed => None,
            Phase::Connected => [self.silence.next_timeout(), self.exchange_by()]
                .into_iter()
                .flatten()
                .min(),
            _ => self.connect_by,
        }
    }

    /// Ends the connection if its deadline has passed.
    ///
    /// # Errors
    /// [`ProtocolError::ConnectTimeout`], [`ProtocolError::KeepAliveTimeout`], or a client that began to authenticate
    /// again and does not end.
    pub fn handle_timeout(&mut self, now: Instant) -> Result<(), ProtocolError> {
        let (is_over, error) = match self.phase {
            Phase::Closed => return Ok(()),
            // spec(4): MQTT-3.1.2-24
            // spec(5): MQTT-3.1.2-22
            Phase::Connected if self.exchange_by().is_some_and(|due| due <= now) => (
                true,
                refusal(
                    "an authentication that does not end",
                    "MQTT-4.12.1-2",
                    ReasonCode::NotAuthorized,
                ),
            ),
            Phase::Connected => (self.silence.is_over(now), ProtocolError::KeepAliveTimeout),
            _ => (
                self.connect_by.is_some_and(|due| due <= now),
                ProtocolError::ConnectTimeout,
            ),
        };
        if is_over {
            return Err(self.fail(error));
        }
        Ok(())
    }

    /// Starts the keep alive interval anew.
    fn touch(&mut self, now: Instant) {
        if self.is_connected() {
            self.silence.on_received(now);
        }
    }

    /// Ends the connection from our side: MQTT 5 peers are told the reason, 3.1.1 has no way to. Who waits to be let in is
    /// refused.
    pub fn close(&mut self, farewell: impl Into<Farewell>) {
        let farewell = farewell.into();
        let is_before_connack = matches!(
            self.phase,
            Phase::Authenticating(_) | Phase::Ready(_) | Phase::Asked(_)
        );
        if is_before_connack {
            // CONNACK has other words for it.
            self.refuse(match farewell.reason {
                ReasonCode::SessionTakenOver => ReasonCode::ServerBusy.into(),
                ReasonCode::ServerShuttingDown => ReasonCode::ServerUnavailable.into(),
                _ => farewell,
            });
            return;
        }
        let words = farewell::of_farewell(farewell.reason);
        self.close_saying(&farewell, words);
    }

    fn close_saying(&mut self, farewell: &Farewell, reason_string: Option<ByteString>) {
        // spec(5): MQTT-3.14.0-1
        if self.is_connected() && self.version == ProtocolVersion::V5 {
            // spec(5): MQTT-3.14.2-2, MQTT-3.14.2-4
            let disconnect = Packet::Disconnect(Disconnect {
                reason_string,
                server_reference: farewell.reference_on_wire(),
                ..Disconnect::new(farewell.reason)
            });
            self.write_if_it_fits(disconnect).unwrap_or_default();
        }
        self.phase = Phase::Closed;
    }

    /// The limits that were reached since this was last asked, without the end of the connection.
    pub fn take_reached(&mut self) -> Vec<Limit> {
        std::mem::take(&mut self.reached)
    }

    /// Messages on their way to the peer.
    pub fn in_flight(&self) -> usize {
        self.session.outbound.in_flight()
    }

    fn fail(&mut self, error: ProtocolError) -> ProtocolError {
        // While it authenticates, a client is told in CONNACK: DISCONNECT would come too early.
        // spec(5): MQTT-3.14.0-1, MQTT-4.12.0-4
        if matches!(self.phase, Phase::Authenticating(_))
            && !matches!(error, ProtocolError::ConnectTimeout)
        {
            let words = farewell::of_error(&error);
            self.refused(&error.reason().into(), words);
        }
        // spec(4): MQTT-4.8.0-1
        // spec(5): MQTT-4.13.1-1, MQTT-4.13.2-1
        let words = farewell::of_error(&error);
        self.close_saying(&error.reason().into(), words);
        error
    }

    fn on_packet(&mut self, packet: Packet, now: Instant) -> Result<Option<Event>, ProtocolError> {
        match packet {
            Packet::Publish(publish) => self.on_publish(publish),
            Packet::Ack(ack) => self.on_ack(&ack).map(|()| None),
            Packet::Subscribe(subscribe) => self.on_subscribe(subscribe).map(Some),
            Packet::Unsubscribe(unsubscribe) => self.on_unsubscribe(unsubscribe).map(Some),
            // spec(4): MQTT-3.12.4-1
            // spec(5): MQTT-3.12.4-1
            Packet::PingReq => self.write(&Packet::PingResp).map(|()| None),
            Packet::Disconnect(disconnect) => self.on_disconnect(&disconnect).map(Some),
            // spec(4): MQTT-3.1.0-2
            // spec(5): MQTT-3.1.0-2
            Packet::Connect(_) => Err(violation("a second CONNECT", "MQTT-3.1.0-2")),
            Packet::Auth(auth) => self
                .on_auth(auth, now.checked_add(self.limits.connect_timeout))
                .map(Some),
            Packet::ConnAck(_) | Packet::SubAck(_) | Packet::UnsubAck(_) | Packet::PingResp => {
                Err(violation("a packet that only servers send", "2.1.2"))
            }
        }
    }

    fn on_disconnect(&mut self, disconnect: &Disconnect) -> Result<Event, ProtocolError> {
        // spec(5): RMQTT-3.14.2-4, RMQTT-3.14.2-5
        if disconnect.reason.is_of_servers() || disconnect.server_reference.is_some() {
            return Err(violation(
                "DISCONNECT says what only servers say",
                "MQTT-3.14.2-1",
            ));
        }
        // spec(5): RMQTT-3.14.2-1
        if let Some(interval) = disconnect.session_expiry_interval
            && interval > 0
            && self.session_expiry_asked == 0
        {
            return Err(violation(
                "DISCONNECT revives a session that was to end",
                "3.14.2.2.2",
            ));
        }
        self.phase = Phase::Closed;
        Ok(Event::Disconnected {
            // spec(4): MQTT-3.14.4-3
            // spec(5): MQTT-3.14.4-3
            publish_will: disconnect.reason != ReasonCode::Success,
            session_expiry_interval: disconnect
                .session_expiry_interval
                .map(|interval| interval.min(self.limits.session_expiry_max)),
        })
    }

    /// Writes a packet, unless the peer would not take it.
    fn write(&mut self, packet: &Packet) -> Result<(), ProtocolError> {
        // spec(5): MQTT-3.1.2-24
        if !self.fits(packet) {
            return Err(ProtocolError::AnswerTooLarge);
        }
        codec::encode(packet, self.version, &mut self.out)
            .map_err(|_| ProtocolError::AnswerTooLarge)
    }

    /// Whether an answer may have words beside its code.
    // spec(5): MQTT-3.1.2-29
    fn may_explain(&self) -> bool {
        self.wants_words && self.version == ProtocolVersion::V5
    }

    /// Writes a packet, without what it can do without if the peer would not take it else.
    fn write_if_it_fits(&mut self, mut packet: Packet) -> Result<(), ProtocolError> {
        let leave_out = [farewell::take_words, farewell::take_reference];
        for leave_out in leave_out {
            if self.fits(&packet) {
                break;
            }
            leave_out(&mut packet);
        }
        self.write(&packet)
    }

    fn fits(&self, packet: &Packet) -> bool {
        self.packet_size_max.is_none_or(|limit| {
            codec::encoded_size(packet, self.version)
                .is_ok_and(|size| u32::try_from(size).is_ok_and(|size| size <= limit.get()))
        })
    }
}

fn violation(what: &'static str, clause: &'static str) -> ProtocolError {
    refusal(what, clause, ReasonCode::ProtocolError)
}

fn refusal(what: &'static str, clause: &'static str, reason: ReasonCode) -> ProtocolError {
    ProtocolError::Violation(Violation {
        what,
        clause,
        reason,
    })
}

/// The kind of packet a first byte announces, if it is CONNECT or not.
fn announces_connect(first_byte: u8) -> bool {
    first_byte >> 4 == PacketType::Connect as u8
}

/// Whether a topic or filter has no more levels than allowed.
fn levels_within(text: &str, limit: usize) -> bool {
    // A short text cannot have too many.
    text.len() < limit || text.bytes().filter(|byte| *byte == b'/').count() < limit
}

/// The topics that only the broker itself may publish to.
fn is_reserved(topic: &TopicName) -> bool {
    let topic = topic.as_str();
    topic == "$SYS" || topic.starts_with("$SYS/")
}
