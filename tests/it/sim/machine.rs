//! Two kinds of client with the same verbs: the real one, and one that says all that a client may say.

use super::raw::Raw;
use bytes::BytesMut;
use bytestring::ByteString;
use rmqtt::client::protocol::{Event, Protocol};
use rmqtt::client::{ClientError, ClientOptions};
use rmqtt::codec::{
    PacketId, ProtocolVersion, ReasonCode, RetainHandling, SendBuffer, SubscribeFilter, Will,
};
use rmqtt::message::{Message, QoS};
use rmqtt::transport::Address;
use std::num::{NonZeroU16, NonZeroU32};
use std::time::Instant;

/// How a client connects.
#[derive(Debug, Clone)]
pub(super) struct Setup {
    pub(super) version: ProtocolVersion,
    pub(super) clean_start: bool,
    /// In seconds; 3.1.1 has none but by `clean_start`.
    pub(super) session_expiry: u32,
    pub(super) keep_alive: u16,
    pub(super) receive_maximum: NonZeroU16,
    pub(super) packet_size_max: Option<u32>,
    pub(super) topic_alias_max: u16,
    pub(super) will: Option<Will>,
}

/// A client's protocol.
pub(super) enum Machine {
    Real(Box<Protocol>),
    Raw(Box<Raw>),
}

impl Machine {
    /// A real client that has just been started with these options.
    pub(super) fn real(client_id: &str, setup: &Setup, now: Instant) -> Self {
        let mut options = ClientOptions::new(Address::Memory {
            name: "sim".to_owned(),
        });
        options.version = setup.version;
        options.clean_start = setup.clean_start;
        options.session_expiry = match setup.version {
            ProtocolVersion::V5 => setup.session_expiry,
            _ if setup.clean_start => 0,
            _ => u32::MAX,
        };
        options.keep_alive = setup.keep_alive;
        options.receive_maximum = setup.receive_maximum;
        options.packet_size_max = setup.packet_size_max;
        options.topic_alias_max = setup.topic_alias_max;
        options.will.clone_from(&setup.will);
        Self::Real(Box::new(Protocol::new(options, client_id, now)))
    }

    /// Begins a connection; the real one with the options it was started with. Returns what is given up at once.
    pub(super) fn connect(&mut self, setup: &Setup, now: Instant) -> Vec<u64> {
        match self {
            Self::Real(protocol) => {
                protocol.connection_lost();
                protocol.connect(now).expect("the options are right");
                Vec::new()
            }
            Self::Raw(raw) => raw.connect(setup, now),
        }
    }

    pub(super) fn connection_lost(&mut self) {
        match self {
            Self::Real(protocol) => protocol.connection_lost(),
            Self::Raw(raw) => raw.connection_lost(),
        }
    }

    /// The next event; `Err`: the broker has ended the connection.
    pub(super) fn receive(
        &mut self,
        input: &mut BytesMut,
        now: Instant,
    ) -> Result<Option<Event>, ()> {
        match self {
            Self::Real(protocol) => match protocol.receive(input, now) {
                Ok(event) => Ok(event),
                // The line says whether the broker was right to refuse it.
                Err(ClientError::ServerDisconnected(_) | ClientError::ConnectRefused { .. }) => {
                    Err(())
                }
                Err(error) => panic!("the client complains: {error}"),
            },
            Self::Raw(raw) => raw.receive(input),
        }
    }

    pub(super) fn can_publish(&self, qos: QoS) -> bool {
        match self {
            Self::Real(protocol) => protocol.can_publish(qos),
            Self::Raw(raw) => raw.can_publish(qos),
        }
    }

    pub(super) fn publish(&mut self, message: Message, token: u64, alias: u16) {
        match self {
            Self::Real(protocol) => protocol
                .publish(message, token)
                .expect("the broker takes it"),
            Self::Raw(raw) => raw.publish(message, token, alias),
        }
    }

    pub(super) fn accepted(&mut self, id: PacketId, delivery: u64, reason: ReasonCode) {
        match self {
            Self::Real(protocol) => protocol.accepted(id, delivery, reason),
            Self::Raw(raw) => raw.accepted(delivery, reason),
        }
    }

    pub(super) fn subscribe(
        &mut self,
        mut filters: Vec<SubscribeFilter>,
        id: Option<NonZeroU32>,
        token: u64,
    ) {
        match self {
            Self::Real(protocol) => {
                if protocol.version() != ProtocolVersion::V5 {
                    for line in &mut filters {
                        line.options.no_local = false;
                        line.options.retain_as_published = false;
                        line.options.retain_handling = RetainHandling::Always;
                    }
                }
                protocol
                    .subscribe(filters, id, &[], token)
                    .expect("the broker takes it");
            }
            Self::Raw(raw) => raw.subscribe(filters, id, token),
        }
    }

    pub(super) fn unsubscribe(&mut self, filters: Vec<ByteString>, token: u64) {
        match self {
            Self::Real(protocol) => protocol
                .unsubscribe(filters, &[], token)
                .expect("the broker takes it"),
            Self::Raw(raw) => raw.unsubscribe(filters, token),
        }
    }

    /// Takes its leave; the real one cannot change the session's expiry.
    pub(super) fn disconnect(&mut self, reason: ReasonCode, expiry: Option<u32>) {
        match self {
            Self::Real(protocol) => protocol.disconnect(reason),
            Self::Raw(raw) => raw.disconnect(reason, expiry),
        }
    }

    pub(super) fn outgoing(&mut self) -> &mut SendBuffer {
        match self {
            Self::Real(protocol) => protocol.outgoing(),
            Self::Raw(raw) => raw.outgoing(),
        }
    }

    /// All of it has been written.
    pub(super) fn sent(&mut self, now: Instant) {
        if let Self::Real(protocol) = self {
            protocol.sent(now);
        }
    }

    pub(super) fn next_timeout(&self) -> Option<Instant> {
        match self {
            Self::Real(protocol) => protocol.next_timeout(),
            Self::Raw(raw) => raw.next_timeout(),
        }
    }

    /// `Err`: the broker does not answer any more.
    pub(super) fn handle_timeout(&mut self, now: Instant) -> Result<(), ()> {
        match self {
            Self::Real(protocol) => protocol.handle_timeout(now).map_err(|_| ()),
            Self::Raw(raw) => {
                raw.handle_timeout(now);
                Ok(())
            }
        }
    }

    pub(super) fn is_connected(&self) -> bool {
        match self {
            Self::Real(protocol) => protocol.is_connected(),
            Self::Raw(raw) => raw.is_connected(),
        }
    }

    /// Exchanges that are not settled, in both directions.
    pub(super) fn in_flight(&self) -> usize {
        match self {
            Self::Real(protocol) => {
                let session = protocol.session();
                session.outbound.in_flight() + session.inbound.in_flight()
            }
            Self::Raw(raw) => raw.in_flight(),
        }
    }
}
