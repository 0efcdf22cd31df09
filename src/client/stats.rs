//! What a client counts.

/// A snapshot of the client's counters.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[allow(
    missing_docs,
    reason = "each counts what its name says, since the client was made"
)]
pub struct ClientStats {
    pub connected: bool,
    pub connects: u64,
    pub messages_sent: u64,
    pub messages_received: u64,
    pub bytes_sent: u64,
    pub bytes_received: u64,
    pub acknowledged: u64,
    pub dropped: u64,
    /// Messages waiting to be sent now, and their bytes.
    pub queued_messages: usize,
    pub queued_bytes: usize,
    pub in_flight: usize,
}
