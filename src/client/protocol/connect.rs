//! CONNECT, and what its answer means: the beginning of every connection.

use super::{Event, Granted, Protocol, State};
use crate::client::ClientError;
use crate::codec::{
    ConnAck, Connect, ConnectProperties, Packet, ProtocolVersion, ReasonCode, SendBuffer,
};
use crate::session::KeepAlive;
use bytestring::ByteString;
use std::num::{NonZeroU16, NonZeroU32};
use std::time::{Duration, Instant};

/// 3.1.1 has no word for how much a broker takes, nor for refusing more: mosquitto answers a QoS 2 message beyond its
/// twentieth with PUBREC and drops it. What is open at once stays under the smallest usual limit.
const WINDOW_3_1_1: NonZeroU16 = match NonZeroU16::new(20) {
    Some(window) => window,
    None => NonZeroU16::MIN,
};

impl Protocol {
    /// Begins a connection: CONNECT is in [`Protocol::outgoing`], and nothing else until CONNACK has come.
    ///
    /// Clean Start is said as the options have it until the broker has accepted us once, and after that only where the
    /// session ends with its connection anyway. 3.1.1 has one flag for "begin anew" and "forget me": it is set exactly
    /// when `clean_start` is, and `session_expiry` is 0. What else the options have that 3.1.1 cannot say is left out.
    ///
    /// # Errors
    /// The options ask for what the version does not allow; nothing is sent.
    // spec(4): MQTT-3.1.0-1, MQTT-3.1.2-22, MQTT-3.1.3-7
    // spec(5): MQTT-3.1.0-1, MQTT-3.1.2-4, MQTT-3.1.2-30
    pub fn connect(&mut self, now: Instant) -> Result<(), ClientError> {
        self.doubt.connection_ended(self.out.len());
        self.state = State::Idle;
        self.out = SendBuffer::new();
        self.aliases.clear();
        self.given.begin(0, 0);
        self.granted = Granted::none(self.version);
        for packet_id in std::mem::take(&mut self.subscribing).into_keys() {
            self.session.outbound.free_packet_id(packet_id);
        }
        for packet_id in std::mem::take(&mut self.unsubscribing).into_keys() {
            self.session.outbound.free_packet_id(packet_id);
        }
        self.begin_authentication();
        let connect = self.connect_packet()?;
        self.encode(&Packet::Connect(Box::new(connect)))?;
        self.doubt.asked(self.out.len());
        self.last_received = now;
        self.state = State::Connecting;
        Ok(())
    }

    fn is_clean(&self) -> bool {
        if self.version == ProtocolVersion::V5 && !self.was_connected {
            return self.options.clean_start;
        }
        self.options.clean_start && self.options.session_expiry == 0
    }

    fn connect_packet(&mut self) -> Result<Connect, ClientError> {
        let first_word = self.first_word.take();
        let options = &self.options;
        let clean_start = self.is_clean();
        let is_v5 = self.version == ProtocolVersion::V5;
        if !is_v5 && options.password.is_some() && options.username.is_none() {
            return Err(ClientError::Misuse(
                "MQTT 3.1.1 does not allow a password without a user name".to_owned(),
            ));
        }
        if !is_v5 && self.client_id.is_empty() && !clean_start {
            return Err(ClientError::Misuse(
                "MQTT 3.1.1 needs a client id where the session is kept".to_owned(),
            ));
        }
        if !is_v5 && options.auth.is_some() {
            return Err(ClientError::Misuse(
                "MQTT 3.1.1 has no enhanced authentication".to_owned(),
            ));
        }
        let properties = if is_v5 {
            ConnectProperties {
                session_expiry_interval: (options.session_expiry > 0)
                    .then_some(options.session_expiry),
                // Always said: some brokers take its absence for a small window of their own.
                receive_maximum: Some(options.receive_maximum),
                maximum_packet_size: options.packet_size_max.and_then(NonZeroU32::new),
                topic_alias_maximum: (options.topic_alias_max > 0)
                    .then_some(options.topic_alias_max),
                request_response_information: options.request_response_information.then_some(true),
                request_problem_information: (!options.request_problem_information)
                    .then_some(false),
                authentication_method: self.method(),
                authentication_data: first_word,
                user_properties: options.user_properties.clone(),
            }
        } else {
            ConnectProperties::default()
        };
        Ok(Connect {
            version: self.version,
            clean_start,
            keep_alive: options.keep_alive,
            client_id: self.client_id.clone(),
            will: options.will.clone(),
            username: options.username.as_deref().map(ByteString::from),
            password: options.password.clone(),
            properties,
        })
    }

    /// The first packet of the broker must be CONNACK.
    // spec(4): MQTT-3.2.0-1
    // spec(5): MQTT-3.2.0-1
    pub(super) fn on_first(&mut self, packet: Packet, now: Instant) -> Result<Event, ClientError> {
        match packet {
            Packet::ConnAck(connack) => self.on_connack(connack, now),
            Packet::Auth(auth) => self.on_auth(auth),
            other => Err(self.violated(
                format!("{:?} before CONNACK", other.packet_type()),
                "MQTT-3.2.0-1",
                ReasonCode::ProtocolError,
            )),
        }
    }

    fn on_connack(&mut self, connack: Box<ConnAck>, now: Instant) -> Result<Event, ClientError> {
        if connack.reason.is_error() {
            return Err(self.on_refusal(*connack));
        }
        if self.method().is_some() {
            return self.prove(connack);
        }
        self.on_consent(connack, now)
    }

    /// The broker lets us in, and is believed.
    pub(super) fn on_consent(
        &mut self,
        connack: Box<ConnAck>,
        now: Instant,
    ) -> Result<Event, ClientError> {
        // Who asked for a new session and is told of an old one shares no state with that broker. Who did not ask for a
        // new one vouches for the state, even when an earlier process had it.
        // spec(5): MQTT-3.2.2-4
        if connack.session_present && self.is_clean() {
            return Err(self.violated(
                "a session is present although a new one was asked for",
                "MQTT-3.2.2-4",
                ReasonCode::ProtocolError,
            ));
        }
        self.granted = Granted::by(&connack, self.version);
        if let Some(client_id) = &connack.properties.assigned_client_identifier {
            self.client_id = client_id.to_string().into();
        }
        // What the broker has forgotten is forgotten here too, and what was in flight becomes the caller's again.
        // spec(5): MQTT-3.2.2-5
        let lost = if connack.session_present {
            Vec::new()
        } else {
            self.forget_session()
        };
        let window = match self.version {
            ProtocolVersion::V5 => connack
                .properties
                .receive_maximum
                .unwrap_or(NonZeroU16::MAX),
            _ => WINDOW_3_1_1,
        };
        self.session.outbound.resume(window);
        let aliases = connack.properties.topic_alias_maximum.unwrap_or(0);
        self.given.begin(aliases, self.options.topic_alias_max);
        let ours = self.tolerated(connack.session_present);
        self.session.inbound.begin(ours, connack.session_present);
        self.doubt.accepted(connack.session_present);
        if self.doubt.is_there() {
            self.session.inbound.doubt();
        }
        // spec(5): MQTT-3.1.2-21, MQTT-3.2.2-21
        let keep_alive = Duration::from_secs(u64::from(self.keep_alive(&connack)));
        // A tenth is left for the way of a ping through timers, buffers and network.
        self.keep_alive_interval = keep_alive * 9 / 10;
        self.keep_alive = KeepAlive::new(self.keep_alive_interval, now);
        self.was_connected = true;
        self.state = State::Connected;
        Ok(Event::Connected { connack, lost })
    }

    /// With more unanswered messages than this the broker has broken the rules.
    ///
    /// Only MQTT 5 tells it our Receive Maximum; others may send as many as there are ids. And brokers there are (mosquitto
    /// 2.0 is one) that after a resumed CONNECT send again what was unanswered, and on top as many new messages as the
    /// maximum allows. To break off with them would lead to the same place again, for ever, and each time to more messages.
    fn tolerated(&self, session_present: bool) -> NonZeroU16 {
        match self.version {
            ProtocolVersion::V5 if !session_present => self.options.receive_maximum,
            _ => NonZeroU16::MAX,
        }
    }

    fn on_refusal(&mut self, connack: ConnAck) -> ClientError {
        self.doubt.refused();
        self.state = State::Ended;
        ClientError::ConnectRefused {
            reason: connack.reason,
            reason_string: connack.properties.reason_string,
            server_reference: connack.properties.server_reference,
            user_properties: connack.properties.user_properties,
        }
    }

    /// After a refusal of the version: speaks 3.1.1 from the next [`Protocol::connect`] on, if the options allow it.
    pub fn fall_back(&mut self, error: &ClientError) -> bool {
        let is_refused = matches!(
            error,
            ClientError::ConnectRefused {
                reason: ReasonCode::UnsupportedProtocolVersion,
                ..
            }
        );
        is_refused && self.try_3_1_1()
    }

    /// Whether 3.1.1 could be tried.
    pub fn may_fall_back(&self) -> bool {
        // Who wants proof must not be talked out of it.
        self.options.fall_back && self.options.auth.is_none() && self.version == ProtocolVersion::V5
    }

    /// Speaks 3.1.1 from the next [`Protocol::connect`] on, if the options allow it.
    pub fn try_3_1_1(&mut self) -> bool {
        let falls = self.may_fall_back();
        if falls {
            self.version = ProtocolVersion::V3_1_1;
        }
        falls
    }

    /// Asks for the options' version again, where no broker has accepted us yet.
    pub fn rise_again(&mut self) {
        if !self.was_connected {
            self.version = self.options.version;
        }
    }

    /// Seconds between packets on this connection: the broker's wish goes before ours.
    pub fn keep_alive(&self, connack: &ConnAck) -> u16 {
        connack
            .properties
            .server_keep_alive
            .unwrap_or(self.options.keep_alive)
    }
}
