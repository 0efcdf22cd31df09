//! What is refused before it has arrived, and what memory costs.

use super::{V4, V5, hex, id, read, topic, write};
use bytes::{Buf, Bytes, BytesMut};
use rmqtt::codec::{
    DecodeError, EncodeError, Limits, PACKET_SIZE_MAX, Packet, PacketType, Publish, ReasonCode,
    SendBuffer, decode, encode, peek_type,
};
use rmqtt::message::{Message, MessageProperties, QoS};
use rmqtt::topic::{LENGTH_MAX, TopicError, TopicName};
use std::io::IoSlice;
use std::sync::Arc;

fn publish(payload: impl Into<Bytes>) -> Packet {
    Packet::Publish(Publish::new(Message::new(topic("t"), payload)))
}

#[test]
fn a_huge_remaining_length_costs_no_memory() {
    for version in [V4, V5] {
        let mut input = BytesMut::from(&hex("30 FFFFFF7F 0001 74")[..]);
        let capacity = input.capacity();
        let result = decode(&mut input, version, &Limits::default());
        assert_eq!(result, Ok(None));
        assert_eq!((input.len(), input.capacity()), (8, capacity));
    }
}

#[test]
fn a_packet_over_its_limit_is_refused_by_its_fixed_header() {
    let limits = Limits {
        packet_size_max: 100,
        control_packet_size_max: 50,
    };
    let refused = |digits: &str| decode(&mut BytesMut::from(&hex(digits)[..]), V5, &limits);
    for (digits, packet_type, size, limit) in [
        ("30 63", PacketType::Publish, 101, 100),
        ("10 31", PacketType::Connect, 51, 50),
        ("82 31", PacketType::Subscribe, 51, 50),
        ("A2 31", PacketType::Unsubscribe, 51, 50),
        ("F0 31", PacketType::Auth, 51, 50),
        ("E0 FFFFFF7F", PacketType::Disconnect, PACKET_SIZE_MAX, 100),
    ] {
        let error = DecodeError::TooLarge {
            packet_type,
            size,
            limit,
        };
        assert_eq!(error.reason(), ReasonCode::PacketTooLarge);
        assert_eq!(refused(digits), Err(error));
    }
    for digits in ["30 62", "10 30", "82 30", "A2 30", "F0 30"] {
        assert_eq!(refused(digits), Ok(None), "{digits}");
    }
}

#[test]
fn the_kind_of_a_packet_shows_in_its_first_byte() {
    assert_eq!(peek_type(&[]), None);
    assert_eq!(peek_type(&[0x10]), Some(PacketType::Connect.number()));
    assert_eq!(peek_type(&[0x3D, 0xFF]), Some(PacketType::Publish.number()));
    assert_eq!(peek_type(&[0x00]), Some(0));
}

#[test]
fn packets_of_a_fixed_size_are_refused_before_they_arrive() {
    for digits in ["20 03", "40 03", "B0 01", "C0 01", "D0 7F", "E0 01"] {
        assert!(read(&hex(digits), V4).is_err(), "{digits}");
    }
    for digits in ["20 01", "40 01", "C0 01"] {
        assert!(read(&hex(digits), V5).is_err(), "{digits}");
    }
}

/// spec(4): MQTT-4.7.3-3
/// spec(5): MQTT-4.7.3-3
#[test]
fn a_topic_has_65535_bytes_at_most() {
    let longest = "ä".repeat(LENGTH_MAX / 2) + "a";
    assert_eq!(longest.len(), LENGTH_MAX);
    let packet = Packet::Publish(Publish::new(Message::new(topic(&longest), "x")));
    for version in [V4, V5] {
        let bytes = write(&packet, version).unwrap();
        assert_eq!(read(&bytes, version), Ok(Some(packet.clone())));
    }
    assert_eq!(
        TopicName::new(longest + "b"),
        Err(TopicError::TooLong(LENGTH_MAX + 1))
    );
}

#[test]
fn a_field_that_is_too_long_is_not_written() {
    let properties = MessageProperties {
        content_type: Some("x".repeat(65_536).into()),
        ..MessageProperties::default()
    };
    let packet = Packet::Publish(Publish::new(Message {
        properties: Some(Arc::new(properties)),
        ..Message::new(topic("t"), "")
    }));
    let error = EncodeError::FieldTooLong {
        field: "Content Type",
        length: 65_536,
    };
    assert_eq!(write(&packet, V5), Err(error));
    assert_eq!(write(&packet, V4).unwrap(), hex("30 03 0001 74"));
}

#[test]
fn a_packet_that_the_format_cannot_express_is_not_written() {
    // 268 435 455 bytes fit behind the fixed header, three of them are the topic.
    let payload = Bytes::from(vec![0; 268_435_453]);
    let largest = publish(payload.slice(..268_435_452));
    let mut out = SendBuffer::new();
    encode(&largest, V4, &mut out).unwrap();
    assert_eq!(out.len(), PACKET_SIZE_MAX);
    let error = EncodeError::TooLarge {
        size: PACKET_SIZE_MAX + 1,
    };
    assert_eq!(encode(&publish(payload), V4, &mut out), Err(error));
    assert_eq!(out.len(), PACKET_SIZE_MAX);
}

/// spec(5): MQTT-1.5.5-1
#[test]
fn lengths_are_written_in_their_shortest_form() {
    for (remaining, digits) in [
        (127, "7F"),
        (128, "8001"),
        (16_383, "FF7F"),
        (16_384, "808001"),
        (2_097_151, "FFFF7F"),
        (2_097_152, "80808001"),
    ] {
        let packet = publish(vec![0; remaining - 3]);
        let bytes = write(&packet, V4).unwrap();
        let length = hex(digits);
        assert_eq!(bytes[1..=length.len()], length);
        assert_eq!(bytes.len(), 1 + length.len() + remaining);
        assert_eq!(read(&bytes, V4), Ok(Some(packet)));
    }
}

#[test]
fn topic_and_payload_stay_in_the_read_buffer() {
    let bytes = write(&publish(vec![7; 10_000]), V5).unwrap();
    let mut input = BytesMut::from(&bytes[..]);
    let memory = input.as_ptr_range();
    let packet = decode(&mut input, V5, &Limits::default()).unwrap();
    let Some(Packet::Publish(publish)) = packet else {
        panic!("no PUBLISH")
    };
    assert!(memory.contains(&publish.message.payload.as_ptr()));
    assert!(memory.contains(&publish.message.topic.as_str().as_ptr()));
}

#[test]
fn a_large_payload_is_sent_from_where_it_is() {
    let payload = Bytes::from(vec![7; 4096]);
    let mut out = SendBuffer::new();
    encode(&publish("short"), V5, &mut out).unwrap();
    encode(&publish(payload.clone()), V5, &mut out).unwrap();
    encode(&publish("short"), V5, &mut out).unwrap();
    let mut pieces = [IoSlice::new(&[]); 8];
    assert_eq!(out.chunks_vectored(&mut pieces), 3);
    assert_eq!(pieces[1].as_ptr(), payload.as_ptr());
    let total: usize = pieces.iter().map(|piece| piece.len()).sum();
    assert_eq!((total, out.remaining()), (out.len(), out.len()));
    let mut input = BytesMut::new();
    while out.has_remaining() {
        let chunk = out.chunk();
        let part = chunk.len().min(1000);
        input.extend_from_slice(&chunk[..part]);
        out.advance(part);
    }
    for expected in [publish("short"), publish(payload), publish("short")] {
        let packet = decode(&mut input, V5, &Limits::default());
        assert_eq!(packet, Ok(Some(expected)));
    }
    assert!(input.is_empty() && out.is_empty());
}

#[test]
fn a_send_buffer_can_be_cleared_and_used_again() {
    let mut out = SendBuffer::new();
    out.put_slice(&vec![1; 200_000]);
    out.put_bytes(&Bytes::from(vec![2; 5000]));
    out.clear();
    assert!(out.is_empty() && out.chunk().is_empty());
    out.put_slice(b"ab");
    out.advance(1);
    assert_eq!((out.chunk(), out.len()), (&b"b"[..], 1));
    out.advance(9);
    assert!(out.is_empty());
}

/// spec(5): RMQTT-2.2.2-3
#[test]
fn thousands_of_user_properties_are_read_in_their_order() {
    let user_properties = (0..50_000)
        .map(|index| ("n".into(), format!("{index}").into()))
        .collect();
    let message = Message {
        properties: Some(Arc::new(MessageProperties {
            user_properties,
            ..MessageProperties::default()
        })),
        ..Message::new(topic("t"), "").with_qos(QoS::AtLeastOnce)
    };
    let packet = Packet::Publish(Publish {
        packet_id: Some(id(1)),
        ..Publish::new(message)
    });
    let bytes = write(&packet, V5).unwrap();
    assert_eq!(read(&bytes, V5), Ok(Some(packet)));
}
