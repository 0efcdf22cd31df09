//! Messages both ways: topic aliases and refusals on the way in; window, size and expiry on the way out.

use super::farewell;
use super::{
    Event, Phase, Protocol, ProtocolError, SEND_BUFFER_TARGET, is_reserved, levels_within, refusal,
    violation,
};
use crate::broker::Limit;
use crate::codec::{
    self, Ack, AckKind, Packet, PacketId, ProtocolVersion, Publish, ReasonCode, Run,
};
use crate::message::{Message, QoS};
use crate::session::{Receipt, Session, Step, Token};
use crate::topic::TopicName;
use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Instant;

/// A message on its way to one session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivery {
    /// With the QoS and the retain flag it is to be delivered with.
    pub message: Message,
    /// Which of the session's subscriptions it is for.
    pub subscription_ids: Vec<NonZeroU32>,
    /// When it is of no more use.
    pub expires_at: Option<Instant>,
    /// Comes back from [`Protocol::take_settled`] when the message is settled; 0: nobody asks.
    pub token: Token,
}

impl Delivery {
    /// A message for a subscription without identifier, that is of use for ever.
    pub fn plain(message: Message) -> Self {
        Self {
            message,
            subscription_ids: Vec::new(),
            expires_at: None,
            token: 0,
        }
    }
}

/// What a session's connection is to send next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outgoing {
    /// For [`Protocol::deliver`].
    One(Delivery),
    /// For [`Protocol::deliver_run`].
    Run(Arc<Run>),
}

/// How many exchanges with the client have ended.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Ended {
    /// By its answer.
    pub acknowledged: usize,
    /// Since it takes the message no more, as it is smaller packets now.
    pub withdrawn: usize,
    /// Since it may not read the message any more.
    pub denied: usize,
    /// For the same reason, of messages that others may get: the tokens of their deliveries.
    pub returned: Vec<Token>,
}

/// What [`Protocol::deliver`] can take now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Room {
    /// Messages of QoS 0.
    pub at_most_once: bool,
    /// Messages of QoS 1 and 2.
    pub acknowledged: bool,
}

/// What became of a delivery.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Delivered {
    /// It is among what is to be written.
    Sent,
    /// It was too old.
    Expired,
    /// It is larger than the client takes, which counts as delivered.
    TooLarge,
    /// There was no [`Room`]: here it is back.
    NoRoom(Box<Delivery>),
}

impl Protocol {
    pub(super) fn on_publish(
        &mut self,
        mut publish: Publish,
    ) -> Result<Option<Event>, ProtocolError> {
        if !publish.subscription_ids.is_empty() {
            return Err(violation(
                "a client's PUBLISH with a subscription identifier",
                "MQTT-3.3.4-6",
            ));
        }
        self.check_features(&publish.message)?;
        self.resolve_alias(&mut publish)?;
        let receipt = self.session.inbound.on_publish(&publish)?;
        if receipt == Receipt::Duplicate {
            // spec(4): MQTT-4.3.3-2
            // spec(5): MQTT-4.3.3-10
            self.send_due();
            return Ok(None);
        }
        if let Some(reason) = self.forbidden(&publish)? {
            if let Some(packet_id) = publish.packet_id {
                self.accepted(packet_id, reason);
            }
            return Ok(None);
        }
        Ok(Some(Event::Publish {
            message: publish.message,
            packet_id: publish.packet_id,
        }))
    }

    /// A run has nothing about it that could be refused, but its topic.
    pub(super) fn on_run(&mut self, run: Run) -> Result<Option<Event>, ProtocolError> {
        let is_forbidden = self.forbidden_topic(run.topic(), run.len())?.is_some();
        Ok((!is_forbidden).then_some(Event::PublishRun(run)))
    }

    /// What this broker does without. Version 3.1.1 has no answer for it but the end of the connection: an acknowledgement
    /// would promise what is not kept.
    fn check_features(&self, message: &Message) -> Result<(), ProtocolError> {
        let features = &self.terms.features;
        if message.qos > features.maximum_qos {
            return Err(refusal(
                "a QoS above the maximum of this broker",
                "section 3.2.2.3.4",
                ReasonCode::QoSNotSupported,
            ));
        }
        if message.retain && !features.retain {
            return Err(refusal(
                "a message to be retained, which this broker does not do",
                "section 3.2.2.3.5",
                ReasonCode::RetainNotSupported,
            ));
        }
        Ok(())
    }

    /// Whether the payload is said to be UTF-8 and is not, and that matters here.
    pub(super) fn is_false_text(&self, message: &Message) -> bool {
        self.terms.validates_payloads
            && message.properties().payload_is_utf8 == Some(true)
            && std::str::from_utf8(&message.payload).is_err()
    }

    fn resolve_alias(&mut self, publish: &mut Publish) -> Result<(), ProtocolError> {
        let Some(alias) = publish.topic_alias else {
            return Ok(());
        };
        // spec(5): MQTT-3.3.2-9
        if alias.get() > self.topic_alias_max {
            return Err(refusal(
                "a topic alias above the maximum",
                "MQTT-3.3.2-9",
                ReasonCode::TopicAliasInvalid,
            ));
        }
        if publish.topic_on_wire {
            // spec(5): MQTT-3.3.2-12
            let topic = publish.message.topic.compact();
            self.alias_bytes += topic.as_str().len();
            if let Some(old) = self.aliases.insert(alias.get(), topic) {
                self.alias_bytes -= old.as_str().len();
            }
        } else if let Some(topic) = self.aliases.get(&alias.get()) {
            publish.message.topic = topic.clone();
        } else {
            return Err(violation("a topic alias that was never set", "3.3.2.3.4"));
        }
        Ok(())
    }

    /// Why a message is not let in, if the client can be told, or the error that ends the connection.
    fn forbidden(&mut self, publish: &Publish) -> Result<Option<ReasonCode>, ProtocolError> {
        let reason = self.forbidden_topic(&publish.message.topic, 1)?;
        Ok(reason.or_else(|| {
            self.is_false_text(&publish.message)
                .then_some(ReasonCode::PayloadFormatInvalid)
        }))
    }

    /// The same for so many messages to one topic.
    fn forbidden_topic(
        &mut self,
        topic: &TopicName,
        count: usize,
    ) -> Result<Option<ReasonCode>, ProtocolError> {
        if !levels_within(topic.as_str(), self.limits.topic_levels_max) {
            self.reached.push(Limit::TopicLevelsMax);
            return match self.version {
                ProtocolVersion::V5 => Ok(Some(ReasonCode::TopicNameInvalid)),
                _ => Err(refusal(
                    "a topic with too many levels",
                    "4.7.3",
                    ReasonCode::TopicNameInvalid,
                )),
            };
        }
        // 3.1.1 cannot say no: the message is acknowledged and dropped.
        // spec(4): MQTT-3.3.5-2
        if is_reserved(topic) {
            return Ok(Some(ReasonCode::NotAuthorized));
        }
        Ok(self.permit.refuses(topic, count))
    }

    /// The message with this packet id is routed and queued, or refused: its answer may leave.
    pub fn accepted(&mut self, packet_id: PacketId, reason: ReasonCode) {
        let reason = match self.version {
            ProtocolVersion::V5 => reason,
            _ => ReasonCode::Success,
        };
        self.session.inbound.accepted(packet_id, reason);
        self.send_due();
    }

    /// The message could not be kept. MQTT 5 can say so; for 3.1.1 there is only the end of the connection.
    ///
    /// # Errors
    /// The connection ends.
    // spec(4): MQTT-4.8.0-2
    pub fn reject(
        &mut self,
        packet_id: Option<PacketId>,
        reason: ReasonCode,
    ) -> Result<(), ProtocolError> {
        match packet_id {
            // Nobody waits for an answer to QoS 0.
            None => {}
            Some(packet_id) if self.version == ProtocolVersion::V5 => {
                self.accepted(packet_id, reason);
            }
            Some(_) => {
                let error = refusal("no room for a message", "MQTT-4.8.0-2", reason);
                return Err(self.fail(error));
            }
        }
        Ok(())
    }

    pub(super) fn on_ack(&mut self, ack: &Ack) -> Result<(), ProtocolError> {
        if ack.kind == AckKind::PubRel {
            self.session.inbound.on_pubrel(ack);
        } else {
            match self.session.outbound.on_ack(ack)? {
                Step::Send(pubrel) => self.write(&Packet::Ack(pubrel))?,
                // A refusal settles a message as well as any answer does.
                // spec(5): MQTT-4.8.2-6
                Step::Settled { token, .. } => {
                    self.ended.acknowledged += 1;
                    self.note_settled(token);
                }
                Step::Ignored => {}
            }
        }
        self.send_due();
        Ok(())
    }

    /// Writes what the session owes: answers, and after a resumption what has to be sent again. Behind the end nothing is
    /// written: what is accepted then is remembered by the session alone.
    // spec(5): MQTT-3.14.4-1
    pub fn send_due(&mut self) {
        while let Some(mut ack) = self.session.inbound.next_ack() {
            if !self.is_connected() {
                continue;
            }
            if ack.reason.is_error() && self.may_explain() {
                ack.properties = farewell::in_answer(farewell::of_ack(ack.reason));
            }
            self.write_if_it_fits(Packet::Ack(ack)).unwrap_or_default();
        }
        while self.is_connected() && self.out.len() < SEND_BUFFER_TARGET {
            match self.session.outbound.next_again() {
                Some(packet) => self.send_again(packet),
                None => break,
            }
        }
    }

    fn send_again(&mut self, mut packet: Packet) {
        if let Packet::Publish(publish) = &mut packet
            && self.version != ProtocolVersion::V5
        {
            // The session may have begun under MQTT 5.
            publish.message.properties = None;
            publish.subscription_ids = Vec::new();
        }
        let may_read = match &packet {
            Packet::Publish(publish) => self.permit.may_read(&publish.message.topic),
            _ => true,
        };
        if (!may_read || self.write(&packet).is_err())
            && let Packet::Publish(publish) = packet
            && let Some(packet_id) = publish.packet_id
        {
            // The client takes smaller packets than when this was sent first, or may do less.
            let outbound = &mut self.session.outbound;
            let reason = if may_read {
                ReasonCode::PacketTooLarge
            } else {
                ReasonCode::NotAuthorized
            };
            match outbound.withdraw(packet_id, reason) {
                Step::Send(pubrel) => self.write(&Packet::Ack(pubrel)).unwrap_or_default(),
                Step::Settled { token, .. } if may_read => {
                    self.ended.withdrawn += 1;
                    self.note_settled(token);
                }
                Step::Settled { token: 0, .. } => self.ended.denied += 1,
                Step::Settled { token, .. } => self.ended.returned.push(token),
                Step::Ignored => {}
            }
        }
    }

    /// Counts a message as delivered that the client cannot take.
    // spec(5): MQTT-3.1.2-25
    fn settle_unsent(&mut self, publish: &Publish) {
        let Some(packet_id) = publish.packet_id else {
            return;
        };
        let kind = match publish.message.qos {
            QoS::ExactlyOnce => AckKind::PubRec,
            _ => AckKind::PubAck,
        };
        let refused = Ack::new(kind, packet_id, ReasonCode::PacketTooLarge);
        // What was just sent is in flight, so its acknowledgement cannot be a violation.
        if let Ok(Step::Settled { token, .. }) = self.session.outbound.on_ack(&refused) {
            self.note_settled(token);
        }
    }

    fn note_settled(&mut self, token: Token) {
        if token > 0 {
            self.settled.push(token);
        }
    }

    /// What the session keeps, as it is between two packets.
    pub fn session(&self) -> &Session {
        &self.session
    }

    /// Hands out what the session keeps. The connection is over.
    pub fn take_session(&mut self) -> Session {
        self.phase = Phase::Closed;
        std::mem::take(&mut self.session)
    }

    /// How many exchanges have ended since this was asked last.
    pub fn take_ended(&mut self) -> Ended {
        std::mem::take(&mut self.ended)
    }

    /// What aliases stand for on this connection: the client's, and ours.
    pub fn known_aliases(&self) -> [BTreeMap<u16, TopicName>; 2] {
        let given = self.given.known();
        let ours = given.map(|(alias, topic)| (alias.get(), topic.clone()));
        [self.aliases.clone(), ours.collect()]
    }

    /// The tokens of the deliveries that have been settled since this was asked last: acknowledged, refused, expired or
    /// too large. To be asked after each batch, and before the session is let go.
    pub fn take_settled(&mut self) -> Vec<Token> {
        std::mem::take(&mut self.settled)
    }

    /// What can be delivered now: QoS 1 and 2 need a place in the client's window, all need room to be written.
    pub fn room(&self) -> Room {
        let at_most_once = self.is_connected() && self.out.len() < SEND_BUFFER_TARGET;
        Room {
            at_most_once,
            // spec(5): MQTT-3.3.4-7, MQTT-4.9.0-2
            acknowledged: at_most_once && self.session.outbound.has_room(),
        }
    }

    /// Sends a message to the client.
    pub fn deliver(&mut self, mut delivery: Delivery, now: Instant) -> Delivered {
        // spec(5): MQTT-3.3.2-5
        let token = delivery.token;
        if !count_down(&mut delivery, now) {
            self.note_settled(token);
            return Delivered::Expired;
        }
        if self.version != ProtocolVersion::V5 {
            // 3.1.1 knows no properties.
            delivery.message.properties = None;
            delivery.subscription_ids = Vec::new();
        }
        if self.packet_size_max.is_some() && !self.fits_delivery(&delivery) {
            self.note_settled(token);
            return Delivered::TooLarge;
        }
        let is_acknowledged = delivery.message.qos > QoS::AtMostOnce;
        let outbound = &mut self.session.outbound;
        if is_acknowledged && !outbound.has_room() {
            return Delivered::NoRoom(Box::new(delivery));
        }
        // spec(5): MQTT-3.3.4-3, MQTT-3.3.4-4
        let sent = outbound.send_for(delivery.message, delivery.subscription_ids, token);
        let Ok(mut publish) = sent else {
            self.note_settled(token);
            return Delivered::TooLarge;
        };
        let limit = self.packet_size_max.map(|limit| limit.get() as usize);
        self.given.apply(&mut publish, limit);
        let packet = Packet::Publish(publish);
        if codec::encode(&packet, self.version, &mut self.out).is_ok() {
            return Delivered::Sent;
        }
        if let Packet::Publish(publish) = packet {
            self.given.take_back(&publish);
            self.settle_unsent(&publish);
        }
        Delivered::TooLarge
    }

    /// Sends a run to the client, as it came if the client reads that; says how many of its messages the client takes: the
    /// others are too large.
    pub fn deliver_run(&mut self, run: &Run, now: Instant) -> usize {
        let fits = self
            .packet_size_max
            .is_none_or(|limit| run.largest() <= limit.get() as usize);
        if fits && run.version() == self.version && !self.given.may_give() {
            self.out.put_bytes(run.packets());
            return run.len();
        }
        run.messages()
            .map(|message| self.deliver(Delivery::plain(message), now))
            .filter(|delivered| *delivered == Delivered::Sent)
            .count()
    }

    fn fits_delivery(&self, delivery: &Delivery) -> bool {
        let mut publish = Publish::new(delivery.message.clone());
        publish
            .subscription_ids
            .clone_from(&delivery.subscription_ids);
        // Any id takes the same two bytes.
        publish.packet_id = match delivery.message.qos {
            QoS::AtMostOnce => None,
            _ => PacketId::new(1),
        };
        self.fits(&Packet::Publish(publish))
    }
}

/// Writes the time that is left into the message; `false` if there is none.
// spec(5): MQTT-3.3.2-6
fn count_down(delivery: &mut Delivery, now: Instant) -> bool {
    let Some(expires_at) = delivery.expires_at else {
        return true;
    };
    let left = expires_at.saturating_duration_since(now);
    if left.is_zero() {
        return false;
    }
    // Rounded up: a message of one second must not say zero.
    let seconds = left.as_secs() + u64::from(left.subsec_nanos() > 0);
    let seconds = u32::try_from(seconds).unwrap_or(u32::MAX);
    if let Some(properties) = &mut delivery.message.properties
        && properties.message_expiry_interval != Some(seconds)
    {
        Arc::make_mut(properties).message_expiry_interval = Some(seconds);
    }
    true
}
