//! What a client tells whoever keeps a log of it.

use super::Event;
use crate::transport::Address;
use std::fmt;
use std::sync::Arc;

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

/// A function that is told what happens. The client's task calls it, so it must not wait for anything.
#[derive(Clone)]
pub struct Journal(Arc<dyn Fn(&Entry<'_>) + Send + Sync>);

impl Journal {
    /// Tells this function.
    pub fn new(tell: impl Fn(&Entry<'_>) + Send + Sync + 'static) -> Self {
        Self(Arc::new(tell))
    }

    pub(super) fn tell(&self, entry: &Entry<'_>) {
        (self.0)(entry);
    }
}

impl fmt::Debug for Journal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Journal")
    }
}
