//! What the broker sends once it has accepted the connection, packet by packet.

use super::{Event, Progress, Protocol, State};
use crate::client::ClientError;
use crate::codec::{
    self, Ack, AckKind, Packet, ProtocolVersion, Publish, ReasonCode, SubAck, UnsubAck,
};
use crate::session::{Receipt, Step};
use bytes::BytesMut;

impl Protocol {
    pub(super) fn decode(&mut self, input: &mut BytesMut) -> Result<Option<Packet>, ClientError> {
        // A broker that knows only 3.1.1 refuses a CONNECT of MQTT 5 in its own tongue: two bytes behind the header.
        let version = match input[..] {
            [0x20, 0x02, _, 1..=5, ..] if self.state == State::Connecting => {
                ProtocolVersion::V3_1_1
            }
            _ => self.version,
        };
        codec::decode(input, version, &self.limits).map_err(|error| {
            let (what, clause) = match &error {
                codec::DecodeError::Malformed { what, clause }
                | codec::DecodeError::NotAllowed { what, clause, .. } => {
                    ((*what).to_owned(), (*clause).to_owned())
                }
                other => (other.to_string(), "MQTT-3.1.2-24".to_owned()),
            };
            self.violated(what, clause, error.reason())
        })
    }

    pub(super) fn on_packet(&mut self, packet: Packet) -> Result<Option<Event>, ClientError> {
        self.check_unasked(&packet)?;
        match packet {
            Packet::Publish(publish) => self.on_publish(publish),
            Packet::Ack(ack) => self.on_ack(ack),
            Packet::SubAck(suback) => self.on_suback(suback).map(Some).or_else(ignore_unknown),
            Packet::UnsubAck(unsuback) => {
                self.on_unsuback(unsuback).map(Some).or_else(ignore_unknown)
            }
            Packet::PingResp => {
                self.keep_alive.on_pong();
                let pinged_at = self.pinged_at.take();
                self.round_trip =
                    pinged_at.map(|at| self.last_received.saturating_duration_since(at));
                Ok(None)
            }
            // spec(5): RMQTT-3.14.2-3, RMQTT-3.14.2-5
            Packet::Disconnect(disconnect)
                if disconnect.session_expiry_interval.is_some()
                    || disconnect.reason == ReasonCode::DisconnectWithWill =>
            {
                Err(self.violated(
                    "DISCONNECT says what only clients say",
                    "MQTT-3.14.2-2",
                    ReasonCode::ProtocolError,
                ))
            }
            Packet::Disconnect(disconnect) if self.version == ProtocolVersion::V5 => {
                self.state = State::Ended;
                Err(ClientError::ServerDisconnected(Box::new(disconnect)))
            }
            Packet::Auth(auth) => self.on_auth(auth).map(Some),
            other => Err(self.violated(
                format!("{:?} from a broker", other.packet_type()),
                "2.1.2",
                ReasonCode::ProtocolError,
            )),
        }
    }

    /// Where we asked for no problem information, most answers have none.
    // spec(5): RMQTT-3.1.2-8
    fn check_unasked(&mut self, packet: &Packet) -> Result<(), ClientError> {
        let has_any = match packet {
            Packet::Ack(ack) => ack.properties.is_some(),
            Packet::SubAck(suback) => suback.properties.is_some(),
            Packet::UnsubAck(unsuback) => unsuback.properties.is_some(),
            Packet::Auth(auth) => auth.reason_string.is_some() || !auth.user_properties.is_empty(),
            _ => false,
        };
        if has_any && !self.options.request_problem_information {
            return Err(self.violated(
                "problem information that was not asked for",
                "3.1.2.11.7",
                ReasonCode::ProtocolError,
            ));
        }
        Ok(())
    }

    fn on_publish(&mut self, mut publish: Publish) -> Result<Option<Event>, ClientError> {
        self.resolve_alias(&mut publish)?;
        match self.session.inbound.on_publish(&publish) {
            Ok(Receipt::Deliver) => {
                let delivery = match publish.packet_id {
                    Some(_) => self.session.inbound.latest_delivery(),
                    None => 0,
                };
                Ok(Some(Event::Message { publish, delivery }))
            }
            Ok(Receipt::Duplicate) => Ok(None),
            Err(violation) => Err(self.broken(&violation)),
        }
    }

    // spec(5): MQTT-3.3.2-7, MQTT-3.3.2-10
    fn resolve_alias(&mut self, publish: &mut Publish) -> Result<(), ClientError> {
        let Some(alias) = publish.topic_alias else {
            return Ok(());
        };
        let alias = alias.get();
        if alias > self.options.topic_alias_max {
            return Err(self.violated(
                "a topic alias above our maximum",
                "3.3.2.3.4",
                ReasonCode::TopicAliasInvalid,
            ));
        }
        let place = usize::from(alias) - 1;
        if publish.topic_on_wire {
            if self.aliases.len() <= place {
                self.aliases.resize(place + 1, None);
            }
            self.aliases[place] = Some(publish.message.topic.compact());
            return Ok(());
        }
        if let Some(Some(topic)) = self.aliases.get(place) {
            publish.message.topic = topic.clone();
            publish.topic_on_wire = true;
            return Ok(());
        }
        Err(self.violated(
            "a topic alias that stands for nothing",
            "MQTT-3.3.2-7",
            ReasonCode::ProtocolError,
        ))
    }

    fn on_ack(&mut self, ack: Ack) -> Result<Option<Event>, ClientError> {
        if ack.kind == AckKind::PubRel {
            self.session.inbound.on_pubrel(&ack);
            self.note(Progress::Forgotten(ack.packet_id));
            return Ok(None);
        }
        match self.session.outbound.on_ack(&ack) {
            // spec(4): MQTT-4.6.0-4
            // spec(5): MQTT-4.6.0-4
            Ok(Step::Send(next)) => {
                if let Some(token) = self.session.outbound.token(ack.packet_id) {
                    self.note(Progress::Released(token, ack.packet_id, ack.reason));
                }
                self.put(&Packet::Ack(next)).map(|()| None)
            }
            Ok(Step::Settled { token, reason }) => Ok(Some(match self.given_up.remove(&token) {
                Some(error) => Event::Refused { token, error },
                None => Event::Published {
                    token,
                    reason,
                    properties: ack.properties,
                },
            })),
            Ok(Step::Ignored) => Ok(None),
            Err(violation) => Err(self.broken(&violation)),
        }
    }

    fn on_suback(&mut self, suback: SubAck) -> Result<Event, Option<ClientError>> {
        let asked = self.subscribing.remove(&suback.packet_id).ok_or(None)?;
        self.session.outbound.free_packet_id(suback.packet_id);
        if suback.reasons.len() != asked.filters {
            return Err(Some(self.violated(
                "SUBACK with another number of codes than SUBSCRIBE has filters",
                "MQTT-3.8.4-6",
                ReasonCode::ProtocolError,
            )));
        }
        Ok(Event::Subscribed {
            token: asked.token,
            suback,
        })
    }

    fn on_unsuback(&mut self, unsuback: UnsubAck) -> Result<Event, Option<ClientError>> {
        let asked = self.unsubscribing.remove(&unsuback.packet_id).ok_or(None)?;
        self.session.outbound.free_packet_id(unsuback.packet_id);
        if self.version == ProtocolVersion::V5 && unsuback.reasons.len() != asked.filters {
            return Err(Some(self.violated(
                "UNSUBACK with another number of codes than UNSUBSCRIBE has filters",
                "3.11.3",
                ReasonCode::ProtocolError,
            )));
        }
        Ok(Event::Unsubscribed {
            token: asked.token,
            unsuback,
        })
    }
}

/// An answer to what was never asked is of no use and does no harm.
fn ignore_unknown(error: Option<ClientError>) -> Result<Option<Event>, ClientError> {
    error.map_or(Ok(None), Err)
}
