//! Small scenes of the client role, packet by packet.

use super::{Event, Protocol};
use crate::client::{ClientError, ClientOptions};
use crate::codec::{
    self, Ack, AckKind, ConnAck, ConnAckProperties, Limits, Packet, PacketId, ProtocolVersion,
    Publish, ReasonCode, SendBuffer,
};
use crate::message::{Message, QoS};
use crate::topic::TopicName;
use crate::transport::Address;
use bytes::{Buf, BytesMut};
use std::num::NonZeroU16;
use std::time::{Duration, Instant};

struct Scene {
    client: Protocol,
    version: ProtocolVersion,
    now: Instant,
}

impl Scene {
    fn new(change: impl FnOnce(&mut ClientOptions)) -> Self {
        let mut options = ClientOptions::new(Address::Memory {
            name: "scene".to_owned(),
        });
        change(&mut options);
        let now = tokio::time::Instant::now().into_std();
        Self {
            version: options.version,
            client: Protocol::new(options, "id", now),
            now,
        }
    }

    fn connected(change: impl FnOnce(&mut ClientOptions), connack: ConnAck) -> Self {
        let mut scene = Self::new(change);
        scene.client.connect(scene.now).unwrap();
        assert!(matches!(scene.sent()[..], [Packet::Connect(_)]));
        let event = scene.hear(&Packet::ConnAck(Box::new(connack))).unwrap();
        assert!(matches!(event, Some(Event::Connected { .. })));
        scene
    }

    fn sent(&mut self) -> Vec<Packet> {
        let out = self.client.outgoing();
        let mut bytes = BytesMut::from(&out.copy_to_bytes(out.remaining())[..]);
        let mut packets = Vec::new();
        while let Some(packet) =
            codec::decode(&mut bytes, self.version, &Limits::default()).unwrap()
        {
            packets.push(packet);
        }
        packets
    }

    fn hear(&mut self, packet: &Packet) -> Result<Option<Event>, ClientError> {
        let mut out = SendBuffer::new();
        codec::encode(packet, self.version, &mut out).unwrap();
        let mut bytes = BytesMut::from(&out.copy_to_bytes(out.remaining())[..]);
        self.client.receive(&mut bytes, self.now)
    }
}

fn accepted() -> ConnAck {
    ConnAck {
        session_present: false,
        reason: ReasonCode::Success,
        properties: ConnAckProperties::default(),
    }
}

fn message(qos: QoS) -> Message {
    Message::new(TopicName::new("t").unwrap(), "x").with_qos(qos)
}

fn id(number: u16) -> PacketId {
    PacketId::new(number).unwrap()
}

#[test]
fn an_answer_in_the_tongue_of_3_1_1_makes_the_client_fall_back() {
    let mut scene = Scene::new(|_| {});
    scene.client.connect(scene.now).unwrap();
    let mut bytes = BytesMut::from(&[0x20, 0x02, 0x00, 0x01][..]);
    let error = scene.client.receive(&mut bytes, scene.now).unwrap_err();
    assert!(scene.client.fall_back(&error), "{error:?}");
    assert_eq!(scene.client.version(), ProtocolVersion::V3_1_1);
    assert!(!scene.client.fall_back(&error));
}

#[test]
fn a_yes_in_the_tongue_of_3_1_1_is_no_answer_to_mqtt_5() {
    let mut scene = Scene::new(|_| {});
    scene.client.connect(scene.now).unwrap();
    let mut bytes = BytesMut::from(&[0x20, 0x02, 0x00, 0x00][..]);
    let error = scene.client.receive(&mut bytes, scene.now).unwrap_err();
    assert!(matches!(
        error,
        ClientError::Protocol {
            reason: ReasonCode::MalformedPacket,
            ..
        }
    ));
    assert!(!scene.client.fall_back(&error));
}

/// spec(5): MQTT-3.2.2-4
#[test]
fn a_session_that_was_not_wanted_ends_the_connection() {
    let mut scene = Scene::new(|_| {});
    scene.client.connect(scene.now).unwrap();
    let connack = ConnAck {
        session_present: true,
        ..accepted()
    };
    let error = scene.hear(&Packet::ConnAck(Box::new(connack))).unwrap_err();
    assert!(matches!(error, ClientError::Protocol { .. }));
}

/// spec(5): RMQTT-3.2.0-1
#[test]
fn anything_before_connack_ends_the_connection() {
    let mut scene = Scene::new(|_| {});
    scene.client.connect(scene.now).unwrap();
    assert!(scene.hear(&Packet::PingResp).is_err());
}

/// spec(5, client): MQTT-3.3.4-7, MQTT-4.9.0-1, MQTT-4.9.0-2
#[test]
fn no_more_messages_are_open_than_the_broker_takes() {
    let mut connack = accepted();
    connack.properties.receive_maximum = NonZeroU16::new(2);
    let mut scene = Scene::connected(|_| {}, connack);
    for token in [7, 8] {
        assert!(scene.client.can_publish(QoS::AtLeastOnce));
        scene
            .client
            .publish(message(QoS::AtLeastOnce), token)
            .unwrap();
    }
    assert!(!scene.client.can_publish(QoS::AtLeastOnce));
    assert!(scene.client.can_publish(QoS::AtMostOnce));
    assert_eq!(scene.sent().len(), 2);
    let ack = Ack::new(AckKind::PubAck, id(1), ReasonCode::Success);
    assert_eq!(
        scene.hear(&Packet::Ack(ack)).unwrap(),
        Some(Event::Published {
            token: 7,
            reason: ReasonCode::Success,
            properties: None
        })
    );
    assert!(scene.client.can_publish(QoS::AtLeastOnce));
}

/// spec(5): MQTT-3.2.2-11, MQTT-3.2.2-14, MQTT-3.2.2-15
#[test]
fn what_the_broker_lacks_is_refused_before_it_is_sent() {
    let mut connack = accepted();
    connack.properties.maximum_qos = Some(QoS::AtLeastOnce);
    connack.properties.retain_available = Some(false);
    connack.properties.maximum_packet_size = std::num::NonZeroU32::new(7);
    let mut scene = Scene::connected(|_| {}, connack);
    for (message, error) in [
        (
            message(QoS::ExactlyOnce),
            ClientError::NotSupportedByBroker("QoS 2"),
        ),
        (
            message(QoS::AtMostOnce).with_retain(true),
            ClientError::NotSupportedByBroker("retained messages"),
        ),
        (
            message(QoS::AtLeastOnce),
            ClientError::PacketTooLarge { size: 9, limit: 7 },
        ),
    ] {
        assert_eq!(scene.client.publish(message, 1), Err(error));
    }
    scene.client.publish(message(QoS::AtMostOnce), 1).unwrap();
    assert_eq!(scene.sent().len(), 1);
}

/// spec(5, client): MQTT-3.3.2-7, MQTT-3.3.2-10
#[test]
fn topic_aliases_of_the_broker_are_looked_up_and_end_with_the_connection() {
    let mut scene = Scene::connected(|options| options.topic_alias_max = 2, accepted());
    let mut publish = Publish::new(message(QoS::AtMostOnce));
    publish.topic_alias = NonZeroU16::new(2);
    scene.hear(&Packet::Publish(publish.clone())).unwrap();
    publish.topic_on_wire = false;
    let Some(Event::Message { publish: got, .. }) =
        scene.hear(&Packet::Publish(publish.clone())).unwrap()
    else {
        panic!("no message")
    };
    assert_eq!(got.message.topic.as_str(), "t");
    scene.client.connection_lost();
    scene.client.connect(scene.now).unwrap();
    scene.hear(&Packet::ConnAck(Box::new(accepted()))).unwrap();
    assert!(scene.hear(&Packet::Publish(publish)).is_err());
    let sent = scene.sent();
    assert!(
        matches!(sent.last(), Some(Packet::Disconnect(last)) if last.reason == ReasonCode::ProtocolError),
        "{sent:?}"
    );
}

/// spec(5): MQTT-3.3.2-10
/// spec(5, client): RMQTT-3.3.2-4
#[test]
fn an_alias_above_our_maximum_ends_the_connection() {
    let mut scene = Scene::connected(|options| options.topic_alias_max = 2, accepted());
    let mut publish = Publish::new(message(QoS::AtMostOnce));
    publish.topic_alias = NonZeroU16::new(3);
    assert!(scene.hear(&Packet::Publish(publish)).is_err());
    assert!(
        matches!(&scene.sent()[..], [Packet::Disconnect(last)] if last.reason == ReasonCode::TopicAliasInvalid)
    );
}

/// spec(4, client): MQTT-4.6.0-2
/// spec(5, client): MQTT-4.6.0-2
#[test]
fn acknowledgements_leave_in_the_order_of_arrival() {
    let mut scene = Scene::connected(|_| {}, accepted());
    let mut deliveries = Vec::new();
    for number in [3, 1, 2] {
        let mut publish = Publish::new(message(QoS::AtLeastOnce));
        publish.packet_id = Some(id(number));
        let Some(Event::Message { delivery, .. }) = scene.hear(&Packet::Publish(publish)).unwrap()
        else {
            panic!("no message")
        };
        deliveries.push((id(number), delivery));
    }
    for &(packet_id, delivery) in deliveries.iter().rev() {
        scene
            .client
            .accepted(packet_id, delivery, ReasonCode::Success);
    }
    let ids: Vec<u16> = scene
        .sent()
        .into_iter()
        .map(|packet| match packet {
            Packet::Ack(ack) => ack.packet_id.get(),
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(ids, [3, 1, 2]);
}

/// spec(4): MQTT-3.1.2-23
/// spec(5): MQTT-3.1.2-20, MQTT-3.1.2-21, MQTT-3.2.2-21
#[test]
fn the_brokers_keep_alive_goes_before_ours_and_silence_ends_the_connection() {
    let mut connack = accepted();
    connack.properties.server_keep_alive = Some(1);
    let mut scene = Scene::connected(|options| options.keep_alive = 60, connack);
    let first = scene.client.next_timeout().unwrap();
    assert!(first <= scene.now + Duration::from_secs(1));
    scene.client.handle_timeout(first).unwrap();
    assert_eq!(scene.sent(), [Packet::PingReq]);
    scene.now = first;
    scene.hear(&Packet::PingResp).unwrap();
    let second = scene.client.next_timeout().unwrap();
    assert!(second <= first + Duration::from_secs(1));
    scene.client.handle_timeout(second).unwrap();
    let third = scene.client.next_timeout().unwrap();
    let error = scene.client.handle_timeout(third).unwrap_err();
    assert!(matches!(error, ClientError::ConnectionLost { .. }));
}

/// spec(5): MQTT-3.2.2-21
#[test]
fn a_server_keep_alive_of_zero_needs_no_pings() {
    let mut connack = accepted();
    connack.properties.server_keep_alive = Some(0);
    let scene = Scene::connected(|options| options.keep_alive = 1, connack);
    assert_eq!(scene.client.next_timeout(), None);
}

/// spec(4): MQTT-3.1.2-22, MQTT-3.1.3-7
#[test]
fn what_3_1_1_does_not_allow_is_refused_before_any_byte() {
    for change in [
        (|options: &mut ClientOptions| options.password = Some("secret".into()))
            as fn(&mut ClientOptions),
        |options| {
            options.client_id = Some(String::new());
            options.clean_start = false;
        },
    ] {
        let mut scene = Scene::new(|options| {
            options.version = ProtocolVersion::V3_1_1;
            change(options);
        });
        let error = scene.client.connect(scene.now).unwrap_err();
        assert!(matches!(error, ClientError::Misuse(_)));
        assert!(scene.sent().is_empty());
    }
}

#[test]
fn a_broker_that_forgets_after_a_resumed_connect_what_it_has_sent_before_is_borne_with() {
    let mut scene = Scene::connected(
        |options| {
            options.clean_start = false;
            options.receive_maximum = NonZeroU16::new(2).unwrap();
        },
        accepted(),
    );
    let mut before: Vec<u16> = Vec::new();
    // Each time as many come again as have come before, and two more.
    for new in [[1, 2], [3, 4], [5, 6]] {
        for number in before.iter().chain(&new) {
            let mut publish = Publish::new(message(QoS::AtLeastOnce));
            publish.packet_id = Some(id(*number));
            publish.dup = before.contains(number);
            let heard = scene.hear(&Packet::Publish(publish)).unwrap();
            assert!(matches!(heard, Some(Event::Message { .. })), "{number}");
        }
        before.extend(new);
        scene.client.connection_lost();
        scene.client.connect(scene.now).unwrap();
        let connack = ConnAck {
            session_present: true,
            ..accepted()
        };
        scene.hear(&Packet::ConnAck(Box::new(connack))).unwrap();
    }
}

#[test]
fn more_messages_than_we_take_end_the_connection() {
    let two = |options: &mut ClientOptions| options.receive_maximum = NonZeroU16::new(2).unwrap();
    let mut scene = Scene::connected(two, accepted());
    for number in 1..=3 {
        let mut publish = Publish::new(message(QoS::AtLeastOnce));
        publish.packet_id = Some(id(number));
        let heard = scene.hear(&Packet::Publish(publish));
        assert_eq!(heard.is_err(), number == 3);
    }
    assert!(
        matches!(&scene.sent()[..], [Packet::Disconnect(last)] if last.reason == ReasonCode::ReceiveMaximumExceeded)
    );
}
