//! What can be wrong with bytes, and with a packet that is to become bytes.

use super::{PacketType, ReasonCode};

/// Why bytes are not a packet.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DecodeError {
    /// The packet is larger than the limit for its kind.
    #[error("{packet_type:?} of {size} bytes is larger than the limit of {limit}")]
    TooLarge {
        /// What the fixed header says it is.
        packet_type: PacketType,
        /// Its size on the wire, fixed header included.
        size: usize,
        /// What was allowed.
        limit: usize,
    },
    /// A rule of the format is broken: [`ReasonCode::MalformedPacket`].
    #[error("malformed packet: {what} [{clause}]")]
    Malformed {
        /// What is wrong, in words.
        what: &'static str,
        /// The statement or section of the standard that says so.
        clause: &'static str,
    },
    /// The bytes can be read but say what is not allowed: mostly [`ReasonCode::ProtocolError`].
    #[error("protocol error: {what} [{clause}]")]
    NotAllowed {
        /// What is wrong, in words.
        what: &'static str,
        /// The statement or section of the standard that says so.
        clause: &'static str,
        /// What to answer under MQTT 5.
        reason: ReasonCode,
    },
    /// A CONNECT of a protocol level that is not spoken here.
    #[error("protocol level {level} is not supported")]
    UnsupportedVersion {
        /// The level it asked for.
        level: u8,
    },
}

impl DecodeError {
    /// What an MQTT 5 peer is told before the connection closes.
    pub fn reason(&self) -> ReasonCode {
        match self {
            Self::TooLarge { .. } => ReasonCode::PacketTooLarge,
            Self::Malformed { .. } => ReasonCode::MalformedPacket,
            Self::NotAllowed { reason, .. } => *reason,
            Self::UnsupportedVersion { .. } => ReasonCode::UnsupportedProtocolVersion,
        }
    }
}

/// Why a packet cannot be written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EncodeError {
    /// A text or binary field is longer than 65 535 bytes.
    #[error("{field} has {length} bytes, the wire takes at most 65535")]
    FieldTooLong {
        /// Which field.
        field: &'static str,
        /// Its length in bytes.
        length: usize,
    },
    /// The whole packet does not fit the format.
    #[error("a packet of {size} bytes is larger than the format can express")]
    TooLarge {
        /// What it would have taken.
        size: usize,
    },
    /// The packet says what the standard does not allow.
    #[error("{what} [{clause}]")]
    NotAllowed {
        /// What is wrong, in words.
        what: &'static str,
        /// The statement or section of the standard that says so.
        clause: &'static str,
    },
}

pub(super) fn malformed(what: &'static str, clause: &'static str) -> DecodeError {
    DecodeError::Malformed { what, clause }
}

pub(super) fn protocol_error(what: &'static str, clause: &'static str) -> DecodeError {
    DecodeError::NotAllowed {
        what,
        clause,
        reason: ReasonCode::ProtocolError,
    }
}

pub(super) fn refused(what: &'static str, clause: &'static str) -> EncodeError {
    EncodeError::NotAllowed { what, clause }
}
