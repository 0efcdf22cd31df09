//! CONNECT and CONNACK: what is checked before anybody is asked, and what is promised.

use super::farewell::{self, Farewell};
use super::{Event, Phase, Protocol, ProtocolError, announces_connect, is_reserved, levels_within};
use crate::broker::Limit;
use crate::codec::{
    self, ConnAck, ConnAckProperties, Connect, DecodeError, Packet, ProtocolVersion, ReasonCode,
};
use crate::message::{Message, QoS};
use crate::session::{Session, Silence};
use bytes::BytesMut;
use bytestring::ByteString;
use std::num::{NonZeroU16, NonZeroU32};
use std::time::{Duration, Instant};

/// What stands for the client's id in the response information.
const CLIENT_ID: &str = "{client_id}";

/// Why a client is not let in, and the words for it.
type Objection = (ReasonCode, &'static str);

/// What [`Protocol::accept`] needs to know from those who remember sessions.
#[derive(Debug, Default)]
pub struct Accept {
    /// What the session has kept; the default for a new one.
    pub session: Session,
    /// Whether there was one to resume.
    pub session_present: bool,
    /// The client id it got, if it came without one.
    pub assigned_client_id: Option<ByteString>,
}

impl Protocol {
    pub(super) fn receive_connect(
        &mut self,
        input: &mut BytesMut,
        now: Instant,
    ) -> Result<Option<Event>, ProtocolError> {
        // One byte is enough to know that a stranger is not a client, whatever length it announces.
        // spec(4): MQTT-3.1.0-1
        // spec(5): MQTT-3.1.0-1
        match input.first() {
            None => return Ok(None),
            Some(first) if !announces_connect(*first) => {
                return Err(self.fail(ProtocolError::ConnectExpected));
            }
            Some(_) => {}
        }
        match codec::decode(input, self.version, &self.decode_limits) {
            Ok(None) => Ok(None),
            Ok(Some(Packet::Connect(connect))) => self.on_connect(connect, now),
            Ok(Some(_)) => Err(self.fail(ProtocolError::ConnectExpected)),
            Err(DecodeError::UnsupportedVersion { level }) => {
                // Each is answered in the form it is most likely to read.
                // spec(4): MQTT-3.1.2-2
                // spec(5): MQTT-3.1.2-2
                if level > ProtocolVersion::V5 as u8 {
                    self.version = ProtocolVersion::V5;
                }
                let error = ProtocolError::from(DecodeError::UnsupportedVersion { level });
                let words = farewell::of_error(&error);
                Err(self.refused(&error.reason().into(), words))
            }
            // spec(4): MQTT-3.1.4-1
            // spec(5): MQTT-3.1.4-1
            Err(error) => Err(self.fail(error.into())),
        }
    }

    fn on_connect(
        &mut self,
        connect: Box<Connect>,
        now: Instant,
    ) -> Result<Option<Event>, ProtocolError> {
        self.version = connect.version;
        self.packet_size_max = connect.properties.maximum_packet_size;
        // spec(5): MQTT-3.1.2-29
        self.wants_words = connect.properties.request_problem_information != Some(false);
        if let Some((reason, words)) = self.objection(&connect) {
            if reason == ReasonCode::TopicNameInvalid {
                self.reached.push(Limit::TopicLevelsMax);
            }
            let words = ByteString::from_static(words);
            return Err(self.refused(&reason.into(), Some(words)));
        }
        self.session_expiry_asked = asked_session_expiry(&connect);
        // The caller gets as long again to decide, for instance to wait until an older connection has let go.
        self.connect_by = now.checked_add(self.limits.connect_timeout);
        if let Some(method) = connect.properties.authentication_method.clone() {
            return Ok(Some(self.begin_authentication(connect, method)));
        }
        self.phase = Phase::Ready(connect);
        Ok(self.ask())
    }

    /// May this client connect?
    pub(super) fn ask(&mut self) -> Option<Event> {
        match std::mem::replace(&mut self.phase, Phase::Closed) {
            Phase::Ready(connect) => {
                self.phase = Phase::Asked(connect.clone());
                Some(Event::ConnectRequested(connect))
            }
            phase => {
                self.phase = phase;
                None
            }
        }
    }

    /// What speaks against a well-formed CONNECT, whoever sent it.
    fn objection(&self, connect: &Connect) -> Option<Objection> {
        // spec(4): MQTT-3.1.3-8
        if connect.client_id.is_empty()
            && !connect.clean_start
            && connect.version != ProtocolVersion::V5
        {
            return Some((ReasonCode::ClientIdentifierNotValid, "no client id"));
        }
        self.objection_to_will(&connect.will.as_ref()?.message)
    }

    fn objection_to_will(&self, will: &Message) -> Option<Objection> {
        if is_reserved(&will.topic) {
            let words = "only the broker publishes to the topic of the will";
            return Some((ReasonCode::NotAuthorized, words));
        }
        if !levels_within(will.topic.as_str(), self.limits.topic_levels_max) {
            let words = "the topic of the will has more levels than this broker takes";
            return Some((ReasonCode::TopicNameInvalid, words));
        }
        // spec(5): MQTT-3.2.2-12
        if will.qos > self.terms.features.maximum_qos {
            let words = "the QoS of the will is above the maximum of this broker";
            return Some((ReasonCode::QoSNotSupported, words));
        }
        // spec(5): MQTT-3.2.2-13
        if will.retain && !self.terms.features.retain {
            let words = "the will is to be retained, which this broker does not do";
            return Some((ReasonCode::RetainNotSupported, words));
        }
        let words = "the payload of the will is said to be UTF-8 and is not";
        self.is_false_text(will)
            .then_some((ReasonCode::PayloadFormatInvalid, words))
    }

    /// How long the session will outlive the connection, in seconds; `u32::MAX`: for ever.
    pub fn session_expiry_interval(&self) -> u32 {
        self.session_expiry_asked
            .min(self.limits.session_expiry_max)
    }

    /// Lets the client in: CONNACK, then whatever the session still owes.
    ///
    /// # Errors
    /// Nobody asked, or CONNACK is larger than the client takes.
    pub fn accept(&mut self, accept: Accept, now: Instant) -> Result<(), ProtocolError> {
        let Phase::Asked(connect) = std::mem::replace(&mut self.phase, Phase::Closed) else {
            return Err(ProtocolError::Closed);
        };
        let is_v5 = connect.version == ProtocolVersion::V5;
        let keep_alive = self.granted_keep_alive(connect.keep_alive);
        if keep_alive != connect.keep_alive {
            self.reached.push(Limit::KeepAliveMax);
        }
        if self.session_expiry_interval() != self.session_expiry_asked {
            self.reached.push(Limit::SessionExpiryMax);
        }
        let mut properties = ConnAckProperties::default();
        if is_v5 {
            properties = self.promises();
            let client_id = accept.assigned_client_id.as_ref();
            properties.response_information =
                self.response_information(&connect, client_id.unwrap_or(&connect.client_id));
            properties.assigned_client_identifier = accept.assigned_client_id;
            // spec(5): MQTT-3.1.2-21, MQTT-3.2.2-21
            properties.server_keep_alive = (keep_alive != connect.keep_alive).then_some(keep_alive);
            // spec(5): MQTT-4.12.0-5, MQTT-4.12.0-6
            properties.authentication_method.clone_from(&self.method);
            properties.authentication_data = self.last_data.take();
        }
        let mut connack = Packet::ConnAck(Box::new(ConnAck {
            // spec(4): MQTT-3.2.2-1, MQTT-3.2.2-2, MQTT-3.2.2-3
            // spec(5): MQTT-3.2.2-2, MQTT-3.2.2-3
            session_present: accept.session_present,
            reason: ReasonCode::Success,
            properties,
        }));
        self.leave_out_what_does_not_fit(&mut connack);
        let (receive_maximum, topic_alias_max) = match &connack {
            Packet::ConnAck(connack) if is_v5 => (
                connack.properties.receive_maximum,
                connack.properties.topic_alias_maximum.unwrap_or(0),
            ),
            _ => (None, 0),
        };
        self.topic_alias_max = topic_alias_max;
        self.session = accept.session;
        let session = &mut self.session;
        session.inbound.begin(
            receive_maximum.unwrap_or(NonZeroU16::MAX),
            accept.session_present,
        );
        session.inbound.bound(self.limits.unreleased_max);
        // spec(5): MQTT-4.9.0-1
        let window = connect
            .properties
            .receive_maximum
            .unwrap_or(NonZeroU16::MAX);
        let own = NonZeroU16::new(self.limits.in_flight_max).unwrap_or(NonZeroU16::MIN);
        session.outbound.resume(window.min(own));
        // spec(5): MQTT-3.1.2-26, MQTT-3.1.2-27, MQTT-3.3.2-11
        self.given.begin(
            connect.properties.topic_alias_maximum.unwrap_or(0),
            self.limits.topic_alias_out_max,
        );
        // spec(4): MQTT-3.1.4-4, MQTT-3.2.0-1
        // spec(5): MQTT-3.1.4-5, MQTT-3.2.0-1, MQTT-3.2.0-2
        self.write(&connack)?;
        self.phase = Phase::Connected;
        self.silence = Silence::new(Duration::from_secs(keep_alive.into()), now);
        self.send_due();
        Ok(())
    }

    /// Sends the client away: by CONNACK, or by DISCONNECT one that is connected and was to authenticate again. What it
    /// has sent after its CONNECT is not looked at.
    // spec(5): MQTT-4.12.0-4, MQTT-4.12.1-2
    pub fn refuse(&mut self, farewell: impl Into<Farewell>) {
        let farewell = farewell.into();
        if self.is_connected() {
            self.close(farewell);
            return;
        }
        let words = farewell::of_refusal(farewell.reason);
        self.refused(&farewell, words);
    }

    pub(super) fn refused(
        &mut self,
        farewell: &Farewell,
        words: Option<ByteString>,
    ) -> ProtocolError {
        // spec(4): MQTT-3.1.4-5, MQTT-3.2.2-4, MQTT-3.2.2-5
        // spec(5): MQTT-3.1.4-2, MQTT-3.1.4-6, MQTT-3.2.2-6, MQTT-3.2.2-7
        let connack = Packet::ConnAck(Box::new(ConnAck {
            session_present: false,
            reason: farewell.reason,
            properties: ConnAckProperties {
                reason_string: words,
                server_reference: farewell.reference_on_wire(),
                ..ConnAckProperties::default()
            },
        }));
        self.write_if_it_fits(connack).unwrap_or_default();
        self.phase = Phase::Closed;
        ProtocolError::Refused(farewell.reason)
    }

    fn granted_keep_alive(&self, asked: u16) -> u16 {
        match (self.limits.keep_alive_max, asked) {
            (0, asked) => asked,
            (ceiling, 0) => ceiling,
            (ceiling, asked) => asked.min(ceiling),
        }
    }

    fn promises(&self) -> ConnAckProperties {
        let limits = &self.limits;
        let features = &self.terms.features;
        let unavailable = |is_available: bool| (!is_available).then_some(false);
        let granted = self.session_expiry_interval();
        ConnAckProperties {
            session_expiry_interval: (granted != self.session_expiry_asked).then_some(granted),
            receive_maximum: NonZeroU16::new(limits.receive_maximum),
            maximum_packet_size: u32::try_from(limits.packet_size_max)
                .ok()
                .and_then(NonZeroU32::new),
            topic_alias_maximum: (limits.topic_alias_max > 0).then_some(limits.topic_alias_max),
            // spec(5): MQTT-3.2.2-9
            maximum_qos: Some(features.maximum_qos).filter(|qos| *qos < QoS::ExactlyOnce),
            retain_available: unavailable(features.retain),
            wildcard_subscription_available: unavailable(features.wildcard_subscriptions),
            subscription_identifiers_available: unavailable(features.subscription_identifiers),
            shared_subscription_available: unavailable(features.shared_subscriptions),
            ..ConnAckProperties::default()
        }
    }

    /// Where this client may ask for answers to be published, if it wants to know. An id that would be several levels, or
    /// no part of a topic at all, cannot stand in one.
    // spec(5): MQTT-3.1.2-28
    fn response_information(&self, connect: &Connect, client_id: &str) -> Option<ByteString> {
        let is_asked_for = connect.properties.request_response_information == Some(true);
        let text = self.terms.response_information.as_ref()?;
        if !is_asked_for || !text.contains(CLIENT_ID) {
            return is_asked_for.then(|| text.clone());
        }
        if client_id.contains(['/', '+', '#']) {
            return None;
        }
        let filled = text.replace(CLIENT_ID, client_id);
        u16::try_from(filled.len()).is_ok().then(|| filled.into())
    }

    /// A client may take packets too small for all we would like to say. What it can do without goes first.
    fn leave_out_what_does_not_fit(&self, connack: &mut Packet) {
        let leave_out: [fn(&mut ConnAckProperties); 8] = [
            |properties| properties.response_information = None,
            |properties| properties.maximum_packet_size = None,
            |properties| properties.topic_alias_maximum = None,
            |properties| properties.shared_subscription_available = None,
            |properties| properties.subscription_identifiers_available = None,
            |properties| properties.wildcard_subscription_available = None,
            |properties| properties.retain_available = None,
            |properties| properties.receive_maximum = None,
        ];
        for leave_out in leave_out {
            if self.fits(connack) {
                return;
            }
            if let Packet::ConnAck(connack) = connack {
                leave_out(&mut connack.properties);
            }
        }
    }
}

/// How long the session is to outlive the connection, in seconds.
fn asked_session_expiry(connect: &Connect) -> u32 {
    match (connect.version, connect.clean_start) {
        (ProtocolVersion::V5, _) => connect.properties.session_expiry_interval.unwrap_or(0),
        // spec(4): MQTT-3.1.2-4, MQTT-3.1.2-6
        (_, true) => 0,
        (_, false) => u32::MAX,
    }
}
