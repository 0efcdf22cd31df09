//! The quality-of-service engine: what is in flight, what is a duplicate, what to send again.
//!
//! One engine for both roles and both versions: the two protocol files hold what differs. No socket, no clock, no lock.
//! [`Outbound`] is the sender's half, [`Inbound`] the receiver's; together they are a [`Session`], plain data that
//! outlives the connection. Each half opens with the table of its states: read `outbound.rs`, then `inbound.rs`. What is of
//! one connection alone stands beside it: [`OutboundAliases`], [`KeepAlive`], [`Silence`].
//!
//! On a new connection: [`Outbound::resume`] (after [`Outbound::reset`], if the session was not kept) and
//! [`Inbound::begin`]; then everything from [`Outbound::next_again`], then new messages while [`Outbound::has_room`].
//! After each packet read, everything from [`Inbound::next_ack`].

mod aliases;
mod error;
mod inbound;
mod keep_alive;
mod outbound;
mod packet_id;
#[cfg(test)]
mod tests;

pub use aliases::OutboundAliases;
pub use error::Violation;
pub use inbound::Inbound;
pub use keep_alive::{Beat, KeepAlive, Silence};
pub use outbound::{IN_FLIGHT_MAX, Outbound};

use crate::codec::{Ack, ReasonCode};

/// The caller's number for an exchange, given back when it is settled.
pub type Token = u64;

/// What survives a connection.
#[derive(Debug, Clone, Default)]
pub struct Session {
    /// The sender's half.
    pub outbound: Outbound,
    /// The receiver's half.
    pub inbound: Inbound,
}

/// What an exchange costs, in bytes, beside its message.
const EXCHANGE_COST: usize = 96;

impl Session {
    /// About how many bytes it holds, beside large payloads.
    pub fn size(&self) -> usize {
        self.outbound.bytes()
            + (self.outbound.in_flight() + self.inbound.in_flight()) * EXCHANGE_COST
    }
}

/// What an acknowledgement asks the sender to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Send this next (PUBREL).
    Send(Ack),
    /// The exchange is over and its id free.
    Settled {
        /// As given to [`Outbound::send`].
        token: Token,
        /// How it ended; at or above 0x80 the peer refused the message.
        reason: ReasonCode,
    },
    /// Nothing: an answer to an exchange that is not known any more.
    Ignored,
}

/// What to do with a PUBLISH that arrived.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Receipt {
    /// New: deliver it, then call [`Inbound::accepted`].
    Deliver,
    /// A repetition of a message that was taken before: do not deliver. The answer comes by [`Inbound::next_ack`].
    Duplicate,
}
