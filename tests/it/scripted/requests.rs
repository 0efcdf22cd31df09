//! What the client does not ask for, because no broker may grant it: refused before a byte is sent.

use super::VERSIONS;
use super::script::{Script, subscribe};
use rmqtt::client::ClientError;
use rmqtt::codec::ProtocolVersion;
use rmqtt::topic::TopicName;

/// spec(4, client): MQTT-3.8.3-3, MQTT-3.10.3-2
/// spec(5, client): MQTT-3.8.3-2, MQTT-3.10.3-2
#[test]
fn a_request_without_filters_is_not_sent() {
    for version in VERSIONS {
        let mut script = Script::connected(version, 100);
        let refused = [
            script.client.subscribe(Vec::new(), None, &[], 1),
            script.client.unsubscribe(Vec::new(), 2),
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
                script.client.unsubscribe(vec![text.into()], 2),
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
