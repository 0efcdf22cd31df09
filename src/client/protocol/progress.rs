//! The steps that have to outlive the process, noted where somebody has asked for them; and how a session is taken up that
//! an earlier process has left.

use super::Protocol;
use crate::codec::{PacketId, ReasonCode};
use crate::message::Message;
use crate::session::Token;

/// A step that was made. It has to be kept before what comes next in [`Protocol::outgoing`] may leave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    /// A message goes out by this packet id.
    Sent(Token, PacketId),
    /// PUBREC came for it, with this reason.
    Released(Token, PacketId, ReasonCode),
    /// A QoS 2 message of the broker was taken over.
    Taken(PacketId),
    /// The broker has released it.
    Forgotten(PacketId),
}

impl Protocol {
    /// From now on every step is noted for [`Protocol::take_progress`].
    pub fn note_progress(&mut self) {
        self.progress.get_or_insert_default();
    }

    /// The steps since the last time, in their order.
    pub fn take_progress(&mut self) -> Vec<Progress> {
        self.progress
            .as_mut()
            .map(std::mem::take)
            .unwrap_or_default()
    }

    /// Takes up what an earlier process has left, before the first connection. Of messages in flight, in the order of
    /// sending: without the message, PUBREC had come with the reason.
    ///
    /// That process may have died over a CONNECT that it knew no answer of, so the session is in doubt.
    pub fn restore(
        &mut self,
        in_flight: impl IntoIterator<Item = (PacketId, Token, Result<Message, ReasonCode>)>,
        taken: &[PacketId],
    ) {
        for (packet_id, token, left) in in_flight {
            self.session.outbound.restore(packet_id, token, left);
        }
        for packet_id in taken {
            self.session.inbound.restore(*packet_id);
        }
        self.doubt.raise();
    }

    pub(super) fn note(&mut self, step: Progress) {
        if let Some(progress) = &mut self.progress {
            progress.push(step);
        }
    }
}
