//! How a client is sent away, and what MQTT 5 is told in words beside a code: for people and logs.
//!
//! Every word is the broker's own. Nothing that a client has sent stands among them, so that nobody can write into the
//! logs of another; and where the code says it all there are none.

use super::ProtocolError;
use crate::broker::BrokerError;
use crate::codec::{AckProperties, DecodeError, Packet, ReasonCode};
use bytestring::ByteString;
use std::sync::Arc;

/// The end of a connection, or of the hope for one: why, and where to go instead.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Farewell {
    /// Why.
    pub reason: ReasonCode,
    /// Another server, for MQTT 5.
    pub server_reference: Option<Arc<str>>,
}

impl From<ReasonCode> for Farewell {
    fn from(reason: ReasonCode) -> Self {
        Self {
            reason,
            server_reference: None,
        }
    }
}

impl Farewell {
    /// To another server, for now or for good.
    ///
    /// # Errors
    /// The reference is empty, has a NUL, or is longer than 65 535 bytes.
    pub fn to_server(reference: &str, is_permanent: bool) -> Result<Self, BrokerError> {
        if reference.is_empty() || reference.contains('\0') || reference.len() > 65_535 {
            return Err(BrokerError::Options(
                "a server reference must be 1 to 65535 bytes, without NUL".to_owned(),
            ));
        }
        Ok(Self {
            reason: if is_permanent {
                ReasonCode::ServerMoved
            } else {
                ReasonCode::UseAnotherServer
            },
            server_reference: Some(reference.into()),
        })
    }

    pub(super) fn reference_on_wire(&self) -> Option<ByteString> {
        self.server_reference.as_deref().map(ByteString::from)
    }
}

/// What is said of an error.
pub(super) fn of_error(error: &ProtocolError) -> Option<ByteString> {
    let words = match error {
        ProtocolError::KeepAliveTimeout => return None,
        ProtocolError::Decode(
            DecodeError::Malformed { what, clause } | DecodeError::NotAllowed { what, clause, .. },
        ) => format!("{what} [{clause}]"),
        ProtocolError::Violation(violation) => {
            format!("{} [{}]", violation.what, violation.clause)
        }
        other => other.to_string(),
    };
    Some(words.into())
}

/// What is said to a client that did nothing wrong.
pub(super) fn of_farewell(reason: ReasonCode) -> Option<ByteString> {
    Some(ByteString::from_static(match reason {
        ReasonCode::SessionTakenOver => "another connection came with this client id",
        ReasonCode::QuotaExceeded => "messages wait for this client longer than they may",
        _ => return None,
    }))
}

/// What is said of a CONNECT that finds no place.
pub(super) fn of_refusal(reason: ReasonCode) -> Option<ByteString> {
    Some(ByteString::from_static(match reason {
        ReasonCode::QuotaExceeded => "no room for another session or connection",
        ReasonCode::ConnectionRateExceeded => {
            "too many connections or failed logins lately: come again later"
        }
        ReasonCode::ServerBusy => {
            "the broker is busy, or another connection came with this client id: come again later"
        }
        ReasonCode::BadAuthenticationMethod => "this method of authentication is not known here",
        _ => return None,
    }))
}

/// What is said of a message that is not taken.
pub(super) fn of_ack(reason: ReasonCode) -> Option<ByteString> {
    Some(ByteString::from_static(match reason {
        ReasonCode::TopicNameInvalid => "the topic has more levels than this broker takes",
        ReasonCode::NotAuthorized => "this client may not publish to this topic",
        ReasonCode::QuotaExceeded => "no room for another retained message",
        ReasonCode::PayloadFormatInvalid => "the payload is said to be UTF-8 and is not",
        _ => return None,
    }))
}

/// What is said of the first filter that was refused.
pub(super) fn of_filters(reasons: &[ReasonCode]) -> Option<ByteString> {
    let (index, reason) = reasons
        .iter()
        .enumerate()
        .find(|(_, reason)| reason.is_error())?;
    let words = match reason {
        ReasonCode::TopicFilterInvalid => {
            "is badly formed or has more levels than this broker takes"
        }
        ReasonCode::QuotaExceeded => "is more than a session may subscribe to",
        ReasonCode::NotAuthorized => "is none that this client may subscribe to",
        _ => "is refused",
    };
    Some(format!("filter {} {words}", index + 1).into())
}

/// An answer's properties, if there is anything to say.
pub(super) fn in_answer(words: Option<ByteString>) -> Option<Box<AckProperties>> {
    let reason_string = Some(words?);
    Some(Box::new(AckProperties {
        reason_string,
        user_properties: Vec::new(),
    }))
}

/// Takes the words out of a packet that is too large with them; `false` if there are none.
// spec(5): MQTT-3.2.2-19, MQTT-3.9.2-1, MQTT-3.11.2-1
// spec(5): MQTT-3.4.2-2, MQTT-3.5.2-2, MQTT-3.6.2-2, MQTT-3.7.2-2, MQTT-3.14.2-3
pub(super) fn take_words(packet: &mut Packet) -> bool {
    match packet {
        Packet::ConnAck(connack) => connack.properties.reason_string.take().is_some(),
        Packet::Disconnect(disconnect) => disconnect.reason_string.take().is_some(),
        Packet::Ack(ack) => ack.properties.take().is_some(),
        Packet::SubAck(suback) => suback.properties.take().is_some(),
        Packet::UnsubAck(unsuback) => unsuback.properties.take().is_some(),
        _ => false,
    }
}

/// Takes the other server out of a packet that is too large with it.
pub(super) fn take_reference(packet: &mut Packet) -> bool {
    match packet {
        Packet::ConnAck(connack) => connack.properties.server_reference.take().is_some(),
        Packet::Disconnect(disconnect) => disconnect.server_reference.take().is_some(),
        _ => false,
    }
}
