//! What is owed to the broker: acknowledgements, and on a resumed session all that it has not settled.
//!
//! A connection may take less than the one before. What it does not take any more is given up here: the broker would only
//! end the connection over it, each time anew.

use super::{Progress, Protocol, State};
use crate::client::ClientError;
use crate::codec::{Packet, Publish, ReasonCode};
use crate::message::Message;
use crate::session::{Step, Token};

/// Messages of a resumed session are sent again in portions of so many bytes, whenever the last portion has left.
const AGAIN_BYTES_MAX: usize = 64 << 10;

impl Protocol {
    /// Acknowledgements due, and what a resumed session owes the broker.
    pub(super) fn answer(&mut self) {
        if self.state != State::Connected {
            return;
        }
        while let Some(ack) = self.session.inbound.next_ack() {
            // It always encodes; a broker that takes packets smaller than this gets none.
            let _ = self.put(&Packet::Ack(ack));
        }
        while self.out.len() < AGAIN_BYTES_MAX
            && let Some(packet) = self.session.outbound.next_again()
        {
            self.send_again(&packet);
        }
    }

    fn send_again(&mut self, packet: &Packet) {
        if let Packet::Publish(publish) = packet
            && let Err(error) = self.granted.check_publish(&publish.message)
        {
            self.give_up(publish, error);
            return;
        }
        // It was encoded before; under another version it can only have become shorter.
        let _ = self.encode(packet);
    }

    fn give_up(&mut self, publish: &Publish, error: ClientError) {
        let Some(packet_id) = publish.packet_id else {
            return;
        };
        let outbound = &mut self.session.outbound;
        let token = outbound.token(packet_id);
        let reason = ReasonCode::ImplementationSpecificError;
        match (outbound.withdraw(packet_id, reason), token) {
            (Step::Settled { token, .. }, _) => self.refused.push_back((token, error)),
            (Step::Send(pubrel), Some(token)) => {
                self.given_up.insert(token, error);
                self.note(Progress::Released(token, packet_id, reason));
                // It always encodes, as an acknowledgement does.
                let _ = self.put(&Packet::Ack(pubrel));
            }
            _ => {}
        }
    }

    /// The broker has forgotten the session. What was in flight comes back, oldest first, but for what was given up.
    pub(super) fn forget_session(&mut self) -> Vec<(Token, Option<Message>)> {
        let mut lost = self.session.outbound.reset();
        lost.retain(|(token, _)| match self.given_up.remove(token) {
            Some(error) => {
                self.refused.push_back((*token, error));
                false
            }
            None => true,
        });
        lost
    }
}
