//! The packets as Python sees them, both ways. PUBLISH and its acknowledgements are classes of [`native`]; the others are
//! dataclasses: one flat struct each, read by attribute and given back as a mapping.
//!
//! What a field means stands in `python/rmqtt/codec` and in the codec's room; here are only the two directions.

mod connect;
mod native;

pub(super) use native::packet_class;

use crate::codec::{
    Ack, AckKind, AckProperties, Auth, Disconnect, Packet, PacketId, PacketType, Publish,
    ReasonCode, RetainHandling, SubAck, Subscribe, SubscribeFilter, SubscriptionOptions, UnsubAck,
    Unsubscribe,
};
use crate::message::{Message, MessageProperties, QoS, UserProperty};
use crate::topic::{TopicError, TopicName};
use bytes::Bytes;
use bytestring::ByteString;
use connect::{ConnAckFields, ConnectFields};
use native::{ack_object, native_packet, publish_object};
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::PyDict;
use std::num::{NonZeroU16, NonZeroU32};
use std::sync::Arc;

type Pairs = Vec<(String, String)>;

struct PublishFields {
    topic: String,
    payload: Vec<u8>,
    qos: u8,
    retain: bool,
    dup: bool,
    packet_id: Option<u16>,
    topic_alias: Option<NonZeroU16>,
    subscription_identifiers: Vec<NonZeroU32>,
    payload_format_indicator: Option<bool>,
    message_expiry_interval: Option<u32>,
    content_type: Option<String>,
    response_topic: Option<String>,
    correlation_data: Option<Vec<u8>>,
    user_properties: Pairs,
}

struct AckFields {
    packet_id: u16,
    reason_code: u8,
    reason_string: Option<String>,
    user_properties: Pairs,
}

#[derive(FromPyObject, IntoPyObject)]
struct SubscribeFields {
    packet_id: u16,
    filters: Vec<FilterFields>,
    subscription_identifier: Option<NonZeroU32>,
    user_properties: Pairs,
}

#[derive(FromPyObject, IntoPyObject)]
struct FilterFields {
    filter: String,
    qos: u8,
    no_local: bool,
    retain_as_published: bool,
    retain_handling: u8,
}

/// SUBACK and UNSUBACK.
#[derive(FromPyObject, IntoPyObject)]
struct AnswerFields {
    packet_id: u16,
    reason_codes: Vec<u8>,
    reason_string: Option<String>,
    user_properties: Pairs,
}

#[derive(FromPyObject, IntoPyObject)]
struct UnsubscribeFields {
    packet_id: u16,
    filters: Vec<String>,
    user_properties: Pairs,
}

#[derive(FromPyObject, IntoPyObject)]
struct DisconnectFields {
    reason_code: u8,
    session_expiry_interval: Option<u32>,
    reason_string: Option<String>,
    server_reference: Option<String>,
    user_properties: Pairs,
}

#[derive(FromPyObject, IntoPyObject)]
struct AuthFields {
    reason_code: u8,
    authentication_method: String,
    authentication_data: Option<Vec<u8>>,
    reason_string: Option<String>,
    user_properties: Pairs,
}

/// The packet that an object describes.
///
/// # Errors
/// `ValueError` or `TypeError` that names what does not fit.
pub(super) fn packet_of(object: &Bound<'_, PyAny>) -> PyResult<Packet> {
    let packet = match native_packet(object) {
        Ok(Some(packet)) => return Ok(packet),
        Ok(None) => dataclass_packet(object),
        Err(error) => Err(error),
    };
    let py = object.py();
    packet.map_err(|error| {
        if error.cause(py).is_none() || !error.is_instance_of::<PyTypeError>(py) {
            return error;
        }
        match python_name(py, "_misfit").and_then(|misfit| misfit.call1((object, &error))) {
            Ok(said) => {
                let said = PyErr::from_value(said);
                said.set_cause(py, Some(error));
                said
            }
            Err(error) => error,
        }
    })
}

fn dataclass_packet(object: &Bound<'_, PyAny>) -> PyResult<Packet> {
    let number: u8 = python_name(object.py(), "_number")?
        .call1((object,))?
        .extract()?;
    Ok(match PacketType::from_number(number) {
        Some(PacketType::Connect) => {
            Packet::Connect(Box::new(object.extract::<ConnectFields>()?.make()?))
        }
        Some(PacketType::ConnAck) => {
            Packet::ConnAck(Box::new(object.extract::<ConnAckFields>()?.make()?))
        }
        Some(PacketType::Subscribe) => {
            Packet::Subscribe(object.extract::<SubscribeFields>()?.make()?)
        }
        Some(PacketType::SubAck) => {
            let (packet_id, reasons, properties) = object.extract::<AnswerFields>()?.make()?;
            Packet::SubAck(SubAck {
                packet_id,
                reasons,
                properties,
            })
        }
        Some(PacketType::Unsubscribe) => {
            let fields: UnsubscribeFields = object.extract()?;
            Packet::Unsubscribe(Unsubscribe {
                packet_id: packet_id(fields.packet_id)?,
                filters: fields.filters.into_iter().map(ByteString::from).collect(),
                user_properties: users(fields.user_properties),
            })
        }
        Some(PacketType::UnsubAck) => {
            let (packet_id, reasons, properties) = object.extract::<AnswerFields>()?.make()?;
            Packet::UnsubAck(UnsubAck {
                packet_id,
                reasons,
                properties,
            })
        }
        Some(PacketType::PingReq) => Packet::PingReq,
        Some(PacketType::PingResp) => Packet::PingResp,
        Some(PacketType::Disconnect) => {
            let fields: DisconnectFields = object.extract()?;
            Packet::Disconnect(Disconnect {
                reason: reason(fields.reason_code)?,
                session_expiry_interval: fields.session_expiry_interval,
                reason_string: text(fields.reason_string),
                server_reference: text(fields.server_reference),
                user_properties: users(fields.user_properties),
            })
        }
        Some(PacketType::Auth) => {
            let fields: AuthFields = object.extract()?;
            Packet::Auth(Auth {
                reason: reason(fields.reason_code)?,
                method: fields.authentication_method.into(),
                data: binary(fields.authentication_data),
                reason_string: text(fields.reason_string),
                user_properties: users(fields.user_properties),
            })
        }
        _ => return Err(PyValueError::new_err("there is no such packet")),
    })
}

/// A packet as an object of its class.
///
/// # Errors
/// Python is out of memory.
pub(super) fn object_of(py: Python<'_>, packet: Packet) -> PyResult<Bound<'_, PyAny>> {
    let number = packet.packet_type().number();
    let fields = match packet {
        Packet::Publish(publish) => return publish_object(py, publish),
        Packet::Ack(ack) => return ack_object(py, ack),
        Packet::Connect(connect) => ConnectFields::of(*connect).into_pyobject(py),
        Packet::ConnAck(connack) => ConnAckFields::of(*connack).into_pyobject(py),
        Packet::Subscribe(subscribe) => SubscribeFields::of(&subscribe).into_pyobject(py),
        Packet::SubAck(suback) => {
            AnswerFields::of(suback.packet_id, &suback.reasons, suback.properties).into_pyobject(py)
        }
        Packet::Unsubscribe(unsubscribe) => {
            let fields = UnsubscribeFields {
                packet_id: unsubscribe.packet_id.get(),
                filters: unsubscribe
                    .filters
                    .iter()
                    .map(ToString::to_string)
                    .collect(),
                user_properties: pairs(&unsubscribe.user_properties),
            };
            fields.into_pyobject(py)
        }
        Packet::UnsubAck(unsuback) => {
            let fields =
                AnswerFields::of(unsuback.packet_id, &unsuback.reasons, unsuback.properties);
            fields.into_pyobject(py)
        }
        Packet::PingReq | Packet::PingResp => Ok(PyDict::new(py)),
        Packet::Disconnect(disconnect) => {
            let fields = DisconnectFields {
                reason_code: disconnect.reason.number(),
                session_expiry_interval: disconnect.session_expiry_interval,
                reason_string: string(disconnect.reason_string.as_ref()),
                server_reference: string(disconnect.server_reference.as_ref()),
                user_properties: pairs(&disconnect.user_properties),
            };
            fields.into_pyobject(py)
        }
        Packet::Auth(auth) => {
            let fields = AuthFields {
                reason_code: auth.reason.number(),
                authentication_method: auth.method.to_string(),
                authentication_data: auth.data.map(Vec::from),
                reason_string: string(auth.reason_string.as_ref()),
                user_properties: pairs(&auth.user_properties),
            };
            fields.into_pyobject(py)
        }
    }?;
    python_name(py, "_packet")?.call1((number, fields))
}

/// A function of `rmqtt.codec._codec`, which knows the classes by their numbers.
pub(super) fn python_name<'py>(py: Python<'py>, name: &str) -> PyResult<Bound<'py, PyAny>> {
    py.import("rmqtt.codec._codec")?.getattr(name)
}

impl PublishFields {
    fn make(self) -> PyResult<Publish> {
        let properties = MessageProperties {
            payload_is_utf8: self.payload_format_indicator,
            message_expiry_interval: self.message_expiry_interval,
            content_type: text(self.content_type),
            response_topic: self.response_topic.map(topic).transpose()?,
            correlation_data: binary(self.correlation_data),
            user_properties: users(self.user_properties),
        };
        // An empty topic is left to its alias; without one the encoder refuses it.
        let topic_on_wire = !self.topic.is_empty();
        let name = if topic_on_wire {
            topic(self.topic)?
        } else {
            TopicName::unresolved()
        };
        Ok(Publish {
            message: Message {
                topic: name,
                payload: self.payload.into(),
                qos: qos(self.qos)?,
                retain: self.retain,
                properties: (properties != MessageProperties::default())
                    .then(|| Arc::new(properties)),
            },
            packet_id: self.packet_id.map(packet_id).transpose()?,
            dup: self.dup,
            topic_alias: self.topic_alias,
            topic_on_wire,
            subscription_ids: self.subscription_identifiers,
        })
    }
}

impl AckFields {
    fn make(self, kind: AckKind) -> PyResult<Ack> {
        Ok(Ack {
            kind,
            packet_id: packet_id(self.packet_id)?,
            reason: reason(self.reason_code)?,
            properties: ack_properties(self.reason_string, self.user_properties),
        })
    }
}

impl SubscribeFields {
    fn make(self) -> PyResult<Subscribe> {
        let filters = self.filters.into_iter().map(FilterFields::make);
        Ok(Subscribe {
            packet_id: packet_id(self.packet_id)?,
            filters: filters.collect::<PyResult<_>>()?,
            subscription_id: self.subscription_identifier,
            user_properties: users(self.user_properties),
        })
    }

    fn of(subscribe: &Subscribe) -> Self {
        Self {
            packet_id: subscribe.packet_id.get(),
            filters: subscribe.filters.iter().map(FilterFields::of).collect(),
            subscription_identifier: subscribe.subscription_id,
            user_properties: pairs(&subscribe.user_properties),
        }
    }
}

impl FilterFields {
    fn make(self) -> PyResult<SubscribeFilter> {
        let retain_handling = match self.retain_handling {
            0 => RetainHandling::Always,
            1 => RetainHandling::IfNew,
            2 => RetainHandling::Never,
            _ => return Err(PyValueError::new_err("retain_handling must be 0, 1 or 2")),
        };
        Ok(SubscribeFilter {
            filter: self.filter.into(),
            options: SubscriptionOptions {
                qos: qos(self.qos)?,
                no_local: self.no_local,
                retain_as_published: self.retain_as_published,
                retain_handling,
            },
        })
    }

    fn of(line: &SubscribeFilter) -> Self {
        Self {
            filter: line.filter.to_string(),
            qos: line.options.qos as u8,
            no_local: line.options.no_local,
            retain_as_published: line.options.retain_as_published,
            retain_handling: line.options.retain_handling as u8,
        }
    }
}

type Answer = (PacketId, Vec<ReasonCode>, Option<Box<AckProperties>>);

impl AnswerFields {
    fn make(self) -> PyResult<Answer> {
        let reasons = self.reason_codes.into_iter().map(reason);
        Ok((
            packet_id(self.packet_id)?,
            reasons.collect::<PyResult<_>>()?,
            ack_properties(self.reason_string, self.user_properties),
        ))
    }

    fn of(
        packet_id: PacketId,
        reasons: &[ReasonCode],
        properties: Option<Box<AckProperties>>,
    ) -> Self {
        let (reason_string, user_properties) = answer(properties);
        Self {
            packet_id: packet_id.get(),
            reason_codes: reasons.iter().map(|reason| reason.number()).collect(),
            reason_string,
            user_properties,
        }
    }
}

fn answer(properties: Option<Box<AckProperties>>) -> (Option<String>, Pairs) {
    let properties = properties.unwrap_or_default();
    let reason_string = string(properties.reason_string.as_ref());
    (reason_string, pairs(&properties.user_properties))
}

fn ack_properties(
    reason_string: Option<String>,
    user_properties: Pairs,
) -> Option<Box<AckProperties>> {
    let properties = AckProperties {
        reason_string: text(reason_string),
        user_properties: users(user_properties),
    };
    (properties != AckProperties::default()).then(|| Box::new(properties))
}

fn packet_id(number: u16) -> PyResult<PacketId> {
    PacketId::new(number).ok_or_else(|| PyValueError::new_err("packet_id must be 1 to 65535"))
}

fn reason(number: u8) -> PyResult<ReasonCode> {
    ReasonCode::from_number(number)
        .ok_or_else(|| PyValueError::new_err(format!("there is no reason code 0x{number:02X}")))
}

fn qos(number: u8) -> PyResult<QoS> {
    QoS::from_number(number).ok_or_else(|| PyValueError::new_err("qos must be 0, 1 or 2"))
}

fn topic(text: String) -> PyResult<TopicName> {
    TopicName::new(text).map_err(|error: TopicError| PyValueError::new_err(error.to_string()))
}

fn text(given: Option<String>) -> Option<ByteString> {
    given.map(ByteString::from)
}

fn binary(given: Option<Vec<u8>>) -> Option<Bytes> {
    given.map(Bytes::from)
}

fn users(given: Pairs) -> Vec<UserProperty> {
    given
        .into_iter()
        .map(|(name, value)| (name.into(), value.into()))
        .collect()
}

fn string(given: Option<&ByteString>) -> Option<String> {
    given.map(ToString::to_string)
}

fn pairs(given: &[UserProperty]) -> Pairs {
    given
        .iter()
        .map(|(name, value)| (name.to_string(), value.to_string()))
        .collect()
}
