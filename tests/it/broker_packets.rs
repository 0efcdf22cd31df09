//! The packets that the peers of [`crate::broker_house`] speak in, in few words.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail by panicking")]

use bytestring::ByteString;
use rmqtt::codec::{
    Ack, AckKind, Connect, ConnectProperties, Disconnect, Packet, PacketId, ProtocolVersion,
    Publish, ReasonCode, Subscribe, SubscribeFilter, SubscriptionOptions, Unsubscribe, Will,
};
use rmqtt::message::{Message, QoS};
use rmqtt::topic::TopicName;

pub(crate) const V4: ProtocolVersion = ProtocolVersion::V3_1_1;
pub(crate) const V5: ProtocolVersion = ProtocolVersion::V5;
pub(crate) const BOTH: [ProtocolVersion; 2] = [V4, V5];

pub(crate) fn id(number: u16) -> PacketId {
    PacketId::new(number).unwrap()
}

pub(crate) fn message(topic: &str, payload: &str, qos: QoS) -> Message {
    Message::new(
        TopicName::new(topic.to_owned()).unwrap(),
        payload.to_owned(),
    )
    .with_qos(qos)
}

/// A CONNECT that starts afresh and asks for nothing.
pub(crate) fn connect(version: ProtocolVersion, client_id: &str) -> Connect {
    Connect {
        version,
        clean_start: true,
        keep_alive: 0,
        client_id: ByteString::from(client_id),
        will: None,
        username: None,
        password: None,
        properties: ConnectProperties::default(),
    }
}

/// A CONNECT that wants its session back, and kept for a long time.
pub(crate) fn resume(version: ProtocolVersion, client_id: &str) -> Connect {
    let mut connect = connect(version, client_id);
    connect.clean_start = false;
    if version == V5 {
        connect.properties.session_expiry_interval = Some(1000);
    }
    connect
}

pub(crate) fn with_will(connect: Connect, delay_interval: Option<u32>) -> Connect {
    Connect {
        will: Some(Will {
            message: message("will", "gone", QoS::AtLeastOnce),
            delay_interval,
        }),
        ..connect
    }
}

pub(crate) fn publish(topic: &str, payload: &str, qos: QoS, number: u16) -> Packet {
    let mut publish = Publish::new(message(topic, payload, qos));
    publish.packet_id = (qos > QoS::AtMostOnce).then(|| id(number));
    Packet::Publish(publish)
}

pub(crate) fn retain(packet: Packet) -> Packet {
    let Packet::Publish(publish) = packet else {
        panic!("only a PUBLISH can be retained");
    };
    Packet::Publish(Publish {
        message: publish.message.with_retain(true),
        ..publish
    })
}

pub(crate) fn ack(kind: AckKind, number: PacketId) -> Packet {
    Packet::Ack(Ack::new(kind, number, ReasonCode::Success))
}

pub(crate) fn options(qos: QoS) -> SubscriptionOptions {
    SubscriptionOptions {
        qos,
        ..SubscriptionOptions::default()
    }
}

pub(crate) fn subscribe(filters: &[(&str, SubscriptionOptions)]) -> Packet {
    Packet::Subscribe(Subscribe {
        packet_id: id(1),
        filters: filters
            .iter()
            .map(|(filter, options)| SubscribeFilter {
                filter: ByteString::from(*filter),
                options: *options,
            })
            .collect(),
        subscription_id: None,
        user_properties: Vec::new(),
    })
}

pub(crate) fn unsubscribe(filters: &[&str]) -> Packet {
    Packet::Unsubscribe(Unsubscribe {
        packet_id: id(2),
        filters: filters.iter().map(|text| ByteString::from(*text)).collect(),
        user_properties: Vec::new(),
    })
}

pub(crate) fn disconnect(reason: ReasonCode) -> Packet {
    Packet::Disconnect(Disconnect::new(reason))
}
