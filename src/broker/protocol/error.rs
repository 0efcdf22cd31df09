//! Why the server side ends a connection.

use crate::broker::{Limit, Limits};
use crate::codec::{DecodeError, ReasonCode};
use crate::session::Violation;

/// Why a connection has to end. What the peer is told, if anything, is in [`super::Protocol::outgoing`] already.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ProtocolError {
    /// The bytes are no packet, or one over the limits.
    #[error(transparent)]
    Decode(#[from] DecodeError),
    /// The peer broke a rule.
    #[error(transparent)]
    Violation(#[from] Violation),
    /// The first packet was not CONNECT.
    #[error("the first packet is not a CONNECT")]
    ConnectExpected,
    /// No complete CONNECT in time.
    #[error("no CONNECT in time")]
    ConnectTimeout,
    /// Nothing heard for one and a half keep alive intervals.
    #[error("keep alive timed out")]
    KeepAliveTimeout,
    /// CONNECT was refused.
    #[error("refused: {0:?}")]
    Refused(ReasonCode),
    /// What has to be answered does not fit what the peer takes.
    #[error("an answer is larger than the peer takes")]
    AnswerTooLarge,
    /// What lies below MQTT, frames or encryption, could not be read.
    #[error("the bytes are not what the transport carries")]
    Garbled,
    /// It has ended before.
    #[error("the connection has ended")]
    Closed,
}

impl ProtocolError {
    /// Which of the limits it has reached, if that is what ends it.
    pub fn limit(&self, limits: &Limits) -> Option<Limit> {
        match self {
            Self::ConnectTimeout => Some(Limit::ConnectTimeout),
            Self::Decode(DecodeError::TooLarge { limit, .. }) => {
                Some(if *limit < limits.packet_size_max {
                    Limit::ControlPacketSizeMax
                } else {
                    Limit::PacketSizeMax
                })
            }
            _ => match self.reason() {
                ReasonCode::ReceiveMaximumExceeded => Some(Limit::ReceiveMaximum),
                ReasonCode::QuotaExceeded => Some(Limit::UnreleasedMax),
                ReasonCode::TopicAliasInvalid => Some(Limit::TopicAliasMax),
                _ => None,
            },
        }
    }

    /// What an MQTT 5 peer is told.
    pub fn reason(&self) -> ReasonCode {
        match self {
            Self::Decode(error) => error.reason(),
            Self::Violation(violation) => violation.reason,
            Self::ConnectExpected => ReasonCode::ProtocolError,
            Self::ConnectTimeout => ReasonCode::MaximumConnectTime,
            Self::KeepAliveTimeout => ReasonCode::KeepAliveTimeout,
            Self::Refused(reason) => *reason,
            Self::AnswerTooLarge => ReasonCode::PacketTooLarge,
            Self::Garbled | Self::Closed => ReasonCode::UnspecifiedError,
        }
    }
}
