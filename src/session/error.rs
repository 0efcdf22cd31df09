//! What a peer can do wrong in the exchanges of a session.

use crate::codec::ReasonCode;

/// The peer broke a rule.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{reason:?}: {what} [{clause}]")]
pub struct Violation {
    /// What is wrong, in words.
    pub what: &'static str,
    /// The statement or section of the standard.
    pub clause: &'static str,
    /// What to answer under MQTT 5.
    pub reason: ReasonCode,
}
