//! The client's side of MQTT without sockets, tasks or clock.
//!
//! [`Protocol`] outlives its connections: it keeps the [`Session`] and begins a connection with [`Protocol::connect`].
//! Bytes come in through [`Protocol::receive`], one [`Event`] at a time, and go out through [`Protocol::outgoing`]. What
//! a CONNECT says and what a CONNACK grants is in `connect` and `granted`, SUBSCRIBE and UNSUBSCRIBE in `subscribe`, what
//! a resumed session owes the broker in `again`, whether it is the session we mean in `doubt`. It queues nothing: a message that has no room now is the caller's to keep. Next: `driver`, which moves the bytes.
//!
//! | state | taken from the broker | left by |
//! |---|---|---|
//! | `Idle` | nothing | `connect` |
//! | `Connecting` | CONNACK | CONNACK, or an error |
//! | `Connected` | all but CONNACK | `disconnect`, DISCONNECT, or an error |
//! | `Ended` | nothing; nothing more is sent | `connect` |

mod again;
mod authenticate;
mod connect;
mod doubt;
mod granted;
mod incoming;
mod lasting;
mod progress;
mod subscribe;
#[cfg(test)]
mod tests;

pub use authenticate::{AUTH_ROUNDS_MAX, Said};
pub use granted::Granted;
pub use lasting::Lasting;
pub use progress::Progress;

use super::{ClientError, ClientOptions};
use crate::codec::{
    self, Ack, AckKind, AckProperties, ConnAck, Disconnect, EncodeError, Limits, Packet, PacketId,
    ProtocolVersion, Publish, ReasonCode, SendBuffer, SubAck, UnsubAck,
};
use crate::message::{Message, QoS};
use crate::session::{Beat, KeepAlive, OutboundAliases, Session, Step, Token, Violation};
use crate::topic::TopicName;
use authenticate::Exchange;
use bytes::{Bytes, BytesMut};
use bytestring::ByteString;
use doubt::Doubt;
use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

/// What the broker did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// It says something in an exchange. While what it said to CONNECT is not answered, nothing more is read.
    Authenticate(Said),
    /// It accepted the connection.
    Connected {
        /// Its answer, with all limits.
        connack: Box<ConnAck>,
        /// What was in flight when the session is lost, oldest first: to be sent as new. One that comes without its
        /// message is a QoS 2 exchange past PUBREC: the broker had taken the message over.
        lost: Vec<(Token, Option<Message>)>,
    },
    /// A message, never a duplicate of QoS 2. QoS 1 and 2 are answered by [`Protocol::accepted`].
    Message {
        /// As it came, with its topic alias looked up.
        publish: Publish,
        /// Names this delivery for ever; 0 for QoS 0.
        delivery: u64,
    },
    /// An exchange of ours is over.
    Published {
        /// As given to [`Protocol::publish`].
        token: Token,
        /// At or above 0x80: refused.
        reason: ReasonCode,
        /// What came with the last acknowledgement.
        properties: Option<Box<AckProperties>>,
    },
    /// A message of the session is not sent again: this connection cannot take it.
    Refused {
        /// As given to [`Protocol::publish`].
        token: Token,
        /// Why.
        error: ClientError,
    },
    /// A SUBSCRIBE was answered, with one code for each filter.
    Subscribed {
        /// As given to [`Protocol::subscribe`].
        token: Token,
        /// The answer.
        suback: SubAck,
    },
    /// An UNSUBSCRIBE was answered.
    Unsubscribed {
        /// As given to [`Protocol::unsubscribe`].
        token: Token,
        /// The answer; without codes under 3.1.1.
        unsuback: UnsubAck,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Idle,
    Connecting,
    Connected,
    Ended,
}

/// A SUBSCRIBE or UNSUBSCRIBE without its answer.
#[derive(Debug)]
struct Asked {
    token: Token,
    filters: usize,
}

/// One client's side of the protocol, connection after connection.
#[derive(Debug)]
pub struct Protocol {
    options: ClientOptions,
    version: ProtocolVersion,
    client_id: ByteString,
    state: State,
    /// Whether the broker has accepted us before: then Clean Start is not repeated where the session may live on.
    was_connected: bool,
    doubt: Doubt,
    session: Session,
    granted: Granted,
    limits: Limits,
    out: SendBuffer,
    /// What the broker's topic aliases stand for, on this connection alone.
    aliases: Vec<Option<TopicName>>,
    /// And ours.
    given: OutboundAliases,
    subscribing: BTreeMap<PacketId, Asked>,
    unsubscribing: BTreeMap<PacketId, Asked>,
    keep_alive: KeepAlive,
    keep_alive_interval: Duration,
    last_received: Instant,
    pinged_at: Option<Instant>,
    round_trip: Option<Duration>,
    /// What CONNECT says for the mechanism.
    first_word: Option<Bytes>,
    exchange: Option<Exchange>,
    /// Refusals decided here, oldest first: what a connection does not take of what was to be sent again.
    refused: VecDeque<(Token, ClientError)>,
    /// Those of QoS 2, which are over when the broker has released the id.
    given_up: BTreeMap<Token, ClientError>,
    /// Steps to be kept, where somebody keeps them.
    progress: Option<Vec<Progress>>,
}

impl Protocol {
    /// Nothing is sent yet. `client_id` is used where the options leave it open.
    pub fn new(options: ClientOptions, client_id: &str, now: Instant) -> Self {
        let limits = Limits {
            packet_size_max: options
                .packet_size_max
                .map_or(codec::PACKET_SIZE_MAX, |size| size as usize),
            ..Limits::default()
        };
        Self {
            version: options.version,
            client_id: options.client_id.as_deref().unwrap_or(client_id).into(),
            state: State::Idle,
            was_connected: false,
            doubt: Doubt::default(),
            session: Session::default(),
            granted: Granted::none(options.version),
            limits,
            out: SendBuffer::new(),
            aliases: Vec::new(),
            given: OutboundAliases::default(),
            subscribing: BTreeMap::new(),
            unsubscribing: BTreeMap::new(),
            keep_alive: KeepAlive::new(Duration::ZERO, now),
            keep_alive_interval: Duration::ZERO,
            last_received: now,
            pinged_at: None,
            round_trip: None,
            first_word: None,
            exchange: None,
            refused: VecDeque::new(),
            given_up: BTreeMap::new(),
            progress: None,
            options,
        }
    }

    /// Takes what arrived, up to the next event; call it until `None`.
    ///
    /// # Errors
    /// The connection is over: the broker refused, ended or broke it. What is in [`Protocol::outgoing`] then, a
    /// DISCONNECT at most, should still be tried.
    pub fn receive(
        &mut self,
        input: &mut BytesMut,
        now: Instant,
    ) -> Result<Option<Event>, ClientError> {
        loop {
            if self.state != State::Connecting
                && let Some((token, error)) = self.refused.pop_front()
            {
                return Ok(Some(Event::Refused { token, error }));
            }
            if matches!(self.state, State::Idle | State::Ended) {
                return Ok(None);
            }
            if self.state == State::Connecting && self.is_proving() {
                return Ok(None);
            }
            let Some(packet) = self.decode(input)? else {
                // What is to be sent again may be refused here, and there may be nothing else to hear for long.
                self.answer();
                if self.refused.is_empty() {
                    return Ok(None);
                }
                continue;
            };
            self.last_received = now;
            self.keep_alive.on_received(now);
            let event = if self.state == State::Connecting {
                Some(self.on_first(packet, now)?)
            } else {
                self.on_packet(packet)?
            };
            if event.is_some() {
                return Ok(event);
            }
        }
    }

    /// Bytes for the broker, in order. Answers that have become due are in it.
    pub fn outgoing(&mut self) -> &mut SendBuffer {
        self.answer();
        &mut self.out
    }

    /// How many bytes wait in [`Protocol::outgoing`], without the answers that it would add.
    pub fn waiting(&self) -> usize {
        self.out.len()
    }

    /// Some of [`Protocol::outgoing`] went out: keep alive counts from here.
    ///
    /// When nothing has come from the broker for an interval, sending no longer counts, so that a ping falls due: a client
    /// that only publishes would otherwise not notice for minutes that its broker is gone.
    pub fn sent(&mut self, now: Instant) {
        if now.saturating_duration_since(self.last_received) < self.keep_alive_interval {
            self.keep_alive.on_sent(now);
        }
    }

    /// When to call [`Protocol::handle_timeout`], if nothing happens before.
    pub fn next_timeout(&self) -> Option<Instant> {
        if self.state == State::Connected {
            self.keep_alive.next_timeout()
        } else {
            None
        }
    }

    /// Sends PINGREQ when it is time, and gives up on a broker that does not answer.
    ///
    /// # Errors
    /// The broker is silent.
    // spec(4): MQTT-3.1.2-23
    // spec(5): MQTT-3.1.2-20
    pub fn handle_timeout(&mut self, now: Instant) -> Result<(), ClientError> {
        if self.state != State::Connected {
            return Ok(());
        }
        match self.keep_alive.handle_timeout(now) {
            Beat::Wait => Ok(()),
            Beat::Ping => {
                self.keep_alive.on_ping_sent(now);
                self.pinged_at.get_or_insert(now);
                self.put(&Packet::PingReq)
            }
            Beat::Dead => {
                self.state = State::Ended;
                Err(ClientError::ConnectionLost {
                    cause: "the broker did not answer a ping".to_owned(),
                })
            }
        }
    }

    /// Whether a message of this QoS can be sent now: connected, room in the window, nothing to be sent again first.
    pub fn can_publish(&self, qos: QoS) -> bool {
        // What is to be sent again goes before everything new, QoS 0 included: `has_room` waits for it, and QoS 0
        // takes no room of its own.
        self.state == State::Connected
            && (qos == QoS::AtMostOnce || self.session.outbound.has_room())
    }

    /// Sends a message: only while [`Protocol::can_publish`]. `token` comes back in [`Event::Published`], but for QoS 0.
    ///
    /// # Errors
    /// It is larger than the broker takes or asks for what the broker lacks; nothing was sent.
    // spec(4): MQTT-4.3.1-1, MQTT-4.3.2-1, MQTT-4.3.3-1
    // spec(5): MQTT-4.3.1-1, MQTT-4.3.2-1, MQTT-4.3.3-1, MQTT-3.3.4-7, MQTT-4.9.0-2
    pub fn publish(&mut self, message: Message, token: Token) -> Result<(), ClientError> {
        if !self.can_publish(message.qos) {
            return Err(ClientError::NotConnected);
        }
        self.granted.check_publish(&message)?;
        let mut publish = self
            .session
            .outbound
            .send(message, token)
            .map_err(|_| ClientError::NotConnected)?;
        self.given.apply(&mut publish, self.granted.packet_size_max);
        let packet = Packet::Publish(publish);
        let written = self.encode(&packet);
        if written.is_err()
            && let Packet::Publish(publish) = &packet
        {
            self.given.take_back(publish);
            self.settle_unsent(publish);
        } else if let Packet::Publish(publish) = &packet
            && let Some(packet_id) = publish.packet_id
        {
            self.note(Progress::Sent(token, packet_id));
        }
        written
    }

    /// Ends an exchange whose message was not sent, as a refusal by the broker would.
    fn settle_unsent(&mut self, publish: &Publish) -> Option<Token> {
        let kind = match publish.message.qos {
            QoS::ExactlyOnce => AckKind::PubRec,
            _ => AckKind::PubAck,
        };
        let reason = ReasonCode::ImplementationSpecificError;
        let refused = Ack::new(kind, publish.packet_id?, reason);
        match self.session.outbound.on_ack(&refused) {
            Ok(Step::Settled { token, .. }) => Some(token),
            _ => None,
        }
    }

    /// The message of an [`Event::Message`] is safe, or refused: its acknowledgement leaves in the order of arrival. Nothing
    /// happens when the packet id no longer stands for that delivery, because a connection or the session ended.
    // spec(4): MQTT-4.6.0-2, MQTT-4.6.0-3
    // spec(5): MQTT-4.6.0-2, MQTT-4.6.0-3
    pub fn accepted(&mut self, packet_id: PacketId, delivery: u64, reason: ReasonCode) {
        // A 3.1.1 acknowledgement has no code: whatever the application thinks of it, the message is acknowledged.
        let reason = if self.version == ProtocolVersion::V5 {
            reason
        } else {
            ReasonCode::Success
        };
        self.session
            .inbound
            .accepted_late(packet_id, delivery, reason);
        if self.progress.is_some() && self.session.inbound.has_taken(packet_id) {
            self.note(Progress::Taken(packet_id));
        }
    }

    /// Nobody will process the message of an [`Event::Message`]: it is not acknowledged on this connection, and holds back
    /// no others. See [`crate::session::Inbound::abandon`].
    pub fn abandon(&mut self, packet_id: PacketId, delivery: u64) {
        self.session.inbound.abandon(packet_id, delivery);
    }

    /// Ends the connection on purpose: nothing is sent behind this. Under 3.1.1 DISCONNECT takes the will back, so it is
    /// left out where the will is wanted.
    pub fn disconnect(&mut self, reason: ReasonCode) {
        self.disconnect_with(Disconnect::new(reason));
    }

    /// As [`Protocol::disconnect`], with more to say. What the broker would find too large is left out.
    // spec(4): MQTT-3.14.4-1, MQTT-3.14.4-2
    // spec(5): MQTT-3.14.2-2, MQTT-3.14.2-3, MQTT-3.14.2-4, MQTT-3.14.4-1, MQTT-3.14.4-2
    pub fn disconnect_with(&mut self, disconnect: Disconnect) {
        if self.state == State::Connected {
            self.answer();
            let shorter = Disconnect {
                reason_string: None,
                user_properties: Vec::new(),
                ..disconnect.clone()
            };
            let shortest = Disconnect::new(disconnect.reason);
            if self.version == ProtocolVersion::V5 || disconnect.reason == ReasonCode::Success {
                // If none of them can be sent, closing has to say it.
                let _ = self
                    .put(&Packet::Disconnect(disconnect))
                    .or_else(|_| self.put(&Packet::Disconnect(shorter)))
                    .or_else(|_| self.put(&Packet::Disconnect(shortest)));
            }
        }
        self.state = State::Ended;
    }

    /// The pipe is gone. What was on its way out is forgotten; the session is kept for the next [`Protocol::connect`].
    pub fn connection_lost(&mut self) {
        self.doubt.connection_ended(self.out.len());
        self.state = State::Idle;
        self.out.clear();
        self.exchange = None;
        self.pinged_at = None;
        self.aliases.clear();
        self.given.begin(0, 0);
    }

    /// Whether CONNACK has come and nothing has ended the connection since.
    pub fn is_connected(&self) -> bool {
        self.state == State::Connected
    }

    /// What is spoken: after a fall-back 3.1.1.
    pub fn version(&self) -> ProtocolVersion {
        self.version
    }

    /// Ours, or the one the broker assigned.
    pub fn client_id(&self) -> &str {
        &self.client_id
    }

    /// What the broker takes on this connection.
    pub fn granted(&self) -> &Granted {
        &self.granted
    }

    /// Whether the session that the broker resumed may be another one than ours: begun, and forgotten to be told, by a
    /// CONNECT whose answer was lost. Then it may know nothing of our subscriptions.
    pub fn is_session_doubtful(&self) -> bool {
        self.doubt.is_there()
    }

    /// The next broker may be another one: what it resumes is a session of ours, but perhaps not the latest.
    pub fn doubt_session(&mut self) {
        self.doubt.raise();
    }

    /// How long the broker took to answer the latest ping. Taken out.
    pub fn round_trip(&mut self) -> Option<Duration> {
        self.round_trip.take()
    }

    /// What survives the connection.
    pub fn session(&self) -> &Session {
        &self.session
    }

    /// Writes a packet unless it is larger than the broker takes.
    // spec(5): MQTT-3.2.2-15
    fn put(&mut self, packet: &Packet) -> Result<(), ClientError> {
        if let Some(limit) = self.granted.packet_size_max {
            let size = codec::encoded_size(packet, self.version).map_err(|error| misuse(&error))?;
            if size > limit {
                return Err(ClientError::PacketTooLarge { size, limit });
            }
        }
        self.encode(packet)
    }

    fn encode(&mut self, packet: &Packet) -> Result<(), ClientError> {
        codec::encode(packet, self.version, &mut self.out).map_err(|error| misuse(&error))
    }

    fn broken(&mut self, violation: &Violation) -> ClientError {
        self.violated(violation.what, violation.clause, violation.reason)
    }

    /// The broker broke a rule: under MQTT 5 it is told which, and the connection is over.
    // spec(4): MQTT-4.8.0-1
    // spec(5): MQTT-4.13.2-1, MQTT-3.14.4-1
    fn violated(
        &mut self,
        what: impl Into<String>,
        clause: impl Into<String>,
        reason: ReasonCode,
    ) -> ClientError {
        if self.state == State::Connected && self.version == ProtocolVersion::V5 {
            let _ = self.put(&Packet::Disconnect(Disconnect::new(reason)));
        }
        self.state = State::Ended;
        ClientError::Protocol {
            what: what.into(),
            clause: clause.into(),
            reason,
        }
    }
}

fn misuse(error: &EncodeError) -> ClientError {
    ClientError::Misuse(error.to_string())
}
