//! What a connection has to do where tests look on: see `relay`.

use super::connection::{Connection, End, Link};
use super::relay::Known;
use crate::broker::faults::Cut;
use crate::broker::protocol::Event;

impl Connection {
    /// What is due here before anything else: one relaxed load while nobody looks on.
    pub(super) fn attend(&mut self) -> Result<(), End> {
        if self.pipe.wants_relay() {
            self.begin_relay();
        }
        self.end_by_fault()
    }

    /// Whether a CONNECT is to be refused: then it is.
    pub(super) fn refuse_by_fault(&mut self, event: &Event) -> Result<(), End> {
        if let Event::Authenticate(_) | Event::ConnectRequested(_) = event
            && let Some(reason) = self.pipe.refusal()
        {
            self.protocol.refuse(reason);
            return Err(End::Refused);
        }
        Ok(())
    }

    /// Tests look on from here: what they need to know of what was before.
    fn begin_relay(&mut self) {
        let client_id = match &self.link {
            Link::Attached(attached) => self.hub.client_id(attached),
            _ => None,
        };
        let known = Known {
            client_id: client_id.unwrap_or_default(),
            version: Some(self.protocol.version()),
            aliases: self.protocol.known_aliases(),
        };
        let size_max = self.hub.limits().packet_size_max;
        self.pipe
            .begin_relay(self.protocol.outgoing(), size_max, known);
    }

    pub(super) fn end_by_fault(&mut self) -> Result<(), End> {
        match self.pipe.release() {
            None => Ok(()),
            Some(Cut::Reason(reason)) => Err(End::ToldToGo(reason.into())),
            Some(cut) => Err(End::Cut(cut)),
        }
    }
}
