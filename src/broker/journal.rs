//! What a broker tells whoever keeps a log of it: about connections, never about messages.

use super::{ClientInfo, Limit};
use crate::transport::Address;
use std::net::SocketAddr;

/// Something that happened.
#[derive(Debug)]
#[non_exhaustive]
pub enum Entry<'a> {
    /// A listener is open.
    Listening(&'a Address),
    /// A client was let in.
    Connected {
        /// Who.
        client: &'a ClientInfo,
        /// Whether it found its session.
        session_present: bool,
    },
    /// A client's connection has ended.
    Disconnected {
        /// Whose.
        client: &'a ClientInfo,
        /// Why.
        why: &'a str,
    },
    /// Somebody was not let in.
    Refused {
        /// Who it said it is, if it came so far.
        client_id: Option<&'a str>,
        /// Where it is; `None`: in memory.
        address: Option<SocketAddr>,
        /// Why.
        why: &'a str,
    },
    /// Handshakes of TLS, WebSocket or a proxy failed. What comes together is told together, at most once a second.
    HandshakesFailed {
        /// At which listener.
        listener: &'a Address,
        /// How many since the last time.
        count: u64,
        /// With whom the last one; `None`: by a file.
        address: Option<SocketAddr>,
        /// Why that one.
        why: &'a str,
    },
    /// A limit was reached. What comes together is told together, at most once a second.
    LimitReached {
        /// Which.
        limit: Limit,
        /// How often since the last time.
        count: u64,
    },
    /// It runs no more.
    Stopped,
}

/// Where it is told. The network's threads do.
pub type Journal = crate::journal::Journal<dyn Fn(&Entry<'_>) + Send + Sync>;
