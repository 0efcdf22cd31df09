//! What the client asks for and under which name, and what it does not ask for because no broker may grant it.

use super::VERSIONS;
use super::script::{Script, options, subscribe};
use crate::seed::epoch;
use bytes::{Buf, BytesMut};
use rmqtt::client::ClientError;
use rmqtt::client::protocol::{Event, Protocol};
use rmqtt::codec::{self, Limits, Packet, ProtocolVersion};
use rmqtt::message::Message;
use rmqtt::topic::TopicName;

/// spec(4, client): MQTT-3.8.3-3, MQTT-3.10.3-2
/// spec(5, client): MQTT-3.8.3-2, MQTT-3.10.3-2
#[test]
fn a_request_without_filters_is_not_sent() {
    for version in VERSIONS {
        let mut script = Script::connected(version, 100);
        let refused = [
            script.client.subscribe(Vec::new(), None, &[], 1),
            script.client.unsubscribe(Vec::new(), &[], 2),
        ];
        for refused in refused {
            assert!(
                matches!(refused, Err(ClientError::Misuse(_))),
                "{refused:?}"
            );
        }
        assert_eq!(script.sent(), []);
    }
}

/// spec(4, client): MQTT-4.7.3-1, MQTT-4.7.3-2
/// spec(5, client): MQTT-4.7.3-1, MQTT-4.7.3-2
#[test]
fn what_is_empty_or_has_a_nul_is_neither_a_topic_nor_a_filter() {
    for version in VERSIONS {
        let mut script = Script::connected(version, 100);
        for text in ["", "a\0b", "\0"] {
            // No message can be made that has such a topic.
            assert!(TopicName::new(text).is_err());
            let refused = [
                script.client.subscribe(subscribe(text), None, &[], 1),
                script.client.unsubscribe(vec![text.into()], &[], 2),
            ];
            for refused in refused {
                assert!(
                    matches!(refused, Err(ClientError::Misuse(_))),
                    "{refused:?}"
                );
            }
        }
        assert_eq!(script.sent(), []);
    }
}

/// spec(5, client): MQTT-3.8.3-4
#[test]
fn no_local_is_not_asked_for_on_a_shared_subscription() {
    let mut script = Script::connected(ProtocolVersion::V5, 100);
    let mut filters = subscribe("$share/g/t");
    filters[0].options.no_local = true;
    let refused = script.client.subscribe(filters, None, &[], 1);
    assert!(
        matches!(refused, Err(ClientError::Misuse(_))),
        "{refused:?}"
    );
    assert_eq!(script.sent(), []);
}

/// spec(5): RMQTT-3.2.2-3
#[test]
fn the_client_keeps_the_id_that_the_broker_gave_it() {
    let mut options = options(ProtocolVersion::V5);
    options.client_id = Some(String::new());
    let mut client = Protocol::new(options, "unused", epoch());
    for expected in ["", "given", "given"] {
        client.connect(epoch()).expect("idle");
        let out = client.outgoing();
        let mut bytes = BytesMut::from(&out.copy_to_bytes(out.remaining())[..]);
        match codec::decode(&mut bytes, ProtocolVersion::V5, &Limits::default()) {
            Ok(Some(Packet::Connect(connect))) => assert_eq!(connect.client_id, expected),
            other => panic!("{other:?}"),
        }
        // Only who has none is given one.
        let given: &[u8] = if expected.is_empty() {
            b"\x20\x0B\0\0\x08\x12\0\x05given"
        } else {
            b"\x20\x03\x01\0\0"
        };
        let heard = client.receive(&mut BytesMut::from(given), epoch());
        assert!(
            matches!(heard, Ok(Some(Event::Connected { .. }))),
            "{heard:?}"
        );
        assert_eq!(client.client_id(), "given");
        client.connection_lost();
    }
}

/// spec(5): MQTT-3.2.2-15
#[test]
fn nothing_larger_than_the_broker_takes_is_sent_whatever_it_is() {
    let mut script = Script::connected(ProtocolVersion::V5, 100);
    script.client.connection_lost();
    script.client.connect(script.now).expect("idle");
    script.sent();
    let accepted = script.hear_bytes(b"\x20\x08\0\0\x05\x27\0\0\0\x0A");
    assert!(matches!(accepted, Ok(Some(Event::Connected { .. }))));
    // Header, id, properties: five bytes; a filter takes two more and its length, and in SUBSCRIBE one for the options.
    for (filter, size) in [("ab", 10), ("abc", 11)] {
        let sent = script.client.subscribe(subscribe(filter), None, &[], 1);
        assert_eq!(sent, too_large(size), "{filter}");
    }
    for (filter, size) in [("abc", 10), ("abcd", 11)] {
        let sent = script.client.unsubscribe(vec![filter.into()], &[], 1);
        assert_eq!(sent, too_large(size), "{filter}");
    }
    for (payload, size) in [("1234", 10), ("12345", 11)] {
        let message = Message::new(TopicName::new("t").expect("a topic"), payload);
        assert_eq!(script.client.publish(message, 1), too_large(size));
    }
    let sizes: Vec<usize> = script.sent().iter().map(size).collect();
    assert_eq!(sizes, [10, 10, 10]);
}

fn too_large(size: usize) -> Result<(), ClientError> {
    if size > 10 {
        return Err(ClientError::PacketTooLarge { size, limit: 10 });
    }
    Ok(())
}

fn size(packet: &Packet) -> usize {
    codec::encoded_size(packet, ProtocolVersion::V5).expect("well formed")
}
