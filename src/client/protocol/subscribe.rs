//! SUBSCRIBE and UNSUBSCRIBE: what is asked for, under which packet id.
//!
//! The answers are read in `incoming`.

use super::{Asked, Protocol, State};
use crate::client::ClientError;
use crate::codec::{Packet, PacketId, ProtocolVersion, Subscribe, SubscribeFilter, Unsubscribe};
use crate::message::UserProperty;
use crate::session::Token;
use bytestring::ByteString;
use std::num::NonZeroU32;

impl Protocol {
    /// Sends SUBSCRIBE, whatever the state of the window.
    ///
    /// # Errors
    /// A filter is no filter, or asks for what the broker lacks; nothing was sent.
    // spec(5): MQTT-3.3.4-8, MQTT-4.9.0-3
    pub fn subscribe(
        &mut self,
        filters: Vec<SubscribeFilter>,
        subscription_id: Option<NonZeroU32>,
        user_properties: &[UserProperty],
        token: Token,
    ) -> Result<(), ClientError> {
        self.granted.check_subscribe(&filters)?;
        let asked = Asked {
            token,
            filters: filters.len(),
        };
        let packet_id = self.take_packet_id()?;
        let sent = self.put(&Packet::Subscribe(Subscribe {
            packet_id,
            filters,
            subscription_id: subscription_id.filter(|_| self.granted.subscription_ids),
            user_properties: match self.version {
                ProtocolVersion::V5 => user_properties.to_vec(),
                _ => Vec::new(),
            },
        }));
        match sent {
            Ok(()) => {
                self.subscribing.insert(packet_id, asked);
            }
            Err(_) => self.session.outbound.free_packet_id(packet_id),
        }
        sent
    }

    /// Sends UNSUBSCRIBE.
    ///
    /// # Errors
    /// The packet is too large, or there are no filters; nothing was sent.
    // spec(4): MQTT-3.10.3-2
    // spec(5): MQTT-3.10.3-2
    pub fn unsubscribe(
        &mut self,
        filters: Vec<ByteString>,
        user_properties: &[UserProperty],
        token: Token,
    ) -> Result<(), ClientError> {
        if filters.is_empty() {
            return Err(ClientError::Misuse(
                "an UNSUBSCRIBE needs at least one filter".to_owned(),
            ));
        }
        let asked = Asked {
            token,
            filters: filters.len(),
        };
        let packet_id = self.take_packet_id()?;
        let sent = self.put(&Packet::Unsubscribe(Unsubscribe {
            packet_id,
            filters,
            user_properties: match self.version {
                ProtocolVersion::V5 => user_properties.to_vec(),
                _ => Vec::new(),
            },
        }));
        match sent {
            Ok(()) => {
                self.unsubscribing.insert(packet_id, asked);
            }
            Err(_) => self.session.outbound.free_packet_id(packet_id),
        }
        sent
    }

    fn take_packet_id(&mut self) -> Result<PacketId, ClientError> {
        if self.state != State::Connected {
            return Err(ClientError::NotConnected);
        }
        self.session
            .outbound
            .take_packet_id()
            .ok_or(ClientError::QueueFull)
    }
}
