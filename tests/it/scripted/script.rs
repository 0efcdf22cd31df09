//! The script: a client that is told what its broker says.

use crate::seed::epoch;
use bytes::{Buf, Bytes, BytesMut};
use rmqtt::client::protocol::{Event, Protocol};
use rmqtt::client::{ClientError, ClientOptions};
use rmqtt::codec::{
    self, Ack, AckKind, ConnAck, ConnAckProperties, Limits, Packet, PacketId, ProtocolVersion,
    Publish, ReasonCode, SendBuffer, SubscribeFilter, SubscriptionOptions,
};
use rmqtt::message::{Message, QoS};
use rmqtt::topic::TopicName;
use rmqtt::transport::Address;
use std::num::NonZeroU16;
use std::time::Instant;

/// A client, and what the broker says to it.
pub(super) struct Script {
    pub(super) client: Protocol,
    version: ProtocolVersion,
    pub(super) now: Instant,
}

impl Script {
    /// A client whose session lasts, connected, with this Receive Maximum of the broker.
    pub(super) fn connected(version: ProtocolVersion, window: u16) -> Self {
        Self::with(options(version), window)
    }

    pub(super) fn with(options: ClientOptions, window: u16) -> Self {
        let now = epoch();
        let version = options.version;
        let mut script = Self {
            client: Protocol::new(options, "script", now),
            version,
            now,
        };
        script.connect(false, window).expect("accepted");
        script
    }

    pub(super) fn connect(
        &mut self,
        session_present: bool,
        window: u16,
    ) -> Result<Option<Event>, ClientError> {
        self.client.connection_lost();
        self.client.connect(self.now)?;
        assert!(matches!(&self.sent()[..], [Packet::Connect(it)] if it.client_id == "script"));
        let mut properties = ConnAckProperties::default();
        if self.version == ProtocolVersion::V5 {
            properties.receive_maximum = NonZeroU16::new(window);
        }
        self.hear(&Packet::ConnAck(Box::new(ConnAck {
            session_present,
            reason: ReasonCode::Success,
            properties,
        })))
    }

    /// What the client has sent since the last time, as bytes.
    pub(super) fn bytes(&mut self) -> Bytes {
        let out = self.client.outgoing();
        out.copy_to_bytes(out.remaining())
    }

    pub(super) fn sent(&mut self) -> Vec<Packet> {
        let mut bytes = BytesMut::from(&self.bytes()[..]);
        let decode = || codec::decode(&mut bytes, self.version, &Limits::default());
        let mut decode = decode;
        std::iter::from_fn(|| decode().expect("well formed")).collect()
    }

    pub(super) fn hear(&mut self, packet: &Packet) -> Result<Option<Event>, ClientError> {
        let mut out = SendBuffer::new();
        codec::encode(packet, self.version, &mut out).expect("well formed");
        let bytes = out.copy_to_bytes(out.remaining());
        self.hear_bytes(&bytes)
    }

    pub(super) fn hear_bytes(&mut self, bytes: &[u8]) -> Result<Option<Event>, ClientError> {
        self.client.receive(&mut BytesMut::from(bytes), self.now)
    }

    pub(super) fn publish(&mut self, qos: QoS, token: u64) {
        self.client.publish(message(qos), token).expect("room");
    }

    pub(super) fn hear_ack(&mut self, kind: AckKind, number: u16) -> Option<Event> {
        self.hear(&ack(kind, number)).expect("awaited")
    }

    /// The broker sends a message; the application takes it at once.
    pub(super) fn deliver(&mut self, qos: QoS, number: u16, dup: bool) -> bool {
        let publish = Publish {
            packet_id: PacketId::new(number),
            dup,
            ..Publish::new(message(qos))
        };
        match self.hear(&Packet::Publish(publish)).expect("well formed") {
            Some(Event::Message { publish, delivery }) => {
                if let Some(id) = publish.packet_id {
                    self.client.accepted(id, delivery, ReasonCode::Success);
                }
                true
            }
            _ => false,
        }
    }
}

/// Of a client whose session lasts.
pub(super) fn options(version: ProtocolVersion) -> ClientOptions {
    let mut options = ClientOptions::new(Address::Memory {
        name: "script".to_owned(),
    });
    options.version = version;
    options.clean_start = false;
    options.session_expiry = 1000;
    options
}

pub(super) fn message(qos: QoS) -> Message {
    Message::new(TopicName::new("never/subscribed").expect("valid"), "x").with_qos(qos)
}

pub(super) fn ack(kind: AckKind, number: u16) -> Packet {
    Packet::Ack(Ack::new(
        kind,
        PacketId::new(number).expect("not 0"),
        ReasonCode::Success,
    ))
}

pub(super) fn ids(packets: &[Packet]) -> Vec<u16> {
    packets
        .iter()
        .map(|packet| match packet {
            Packet::Publish(publish) => publish.packet_id.expect("has one").get(),
            Packet::Ack(ack) => ack.packet_id.get(),
            Packet::Subscribe(subscribe) => subscribe.packet_id.get(),
            other => panic!("{other:?}"),
        })
        .collect()
}

pub(super) fn subscribe(filter: &str) -> Vec<SubscribeFilter> {
    vec![SubscribeFilter {
        filter: filter.into(),
        options: SubscriptionOptions::default(),
    }]
}
