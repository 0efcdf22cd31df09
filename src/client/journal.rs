//! What a client tells whoever keeps a log of it.

use super::Event;
use crate::transport::Address;

/// Something that happened to one client.
#[derive(Debug)]
pub struct Entry<'a> {
    /// Whose.
    pub client_id: &'a str,
    /// Where it is connected, was, or is about to be.
    pub address: &'a Address,
    /// What happened; `None`: it begins to connect.
    pub event: Option<&'a Event>,
}

/// Where it is told. The client's task does.
pub type Journal = crate::journal::Journal<dyn Fn(&Entry<'_>) + Send + Sync>;
