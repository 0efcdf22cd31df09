//! Topic names that are none, that are not for clients, or that are deep enough to hurt a careless tree.

use super::{MALFORMED, PROTOCOL_ERROR, attack, each_ends_its_connection};
use crate::raw::bytes::{Connect, Publish, Will};
use crate::raw::{BOTH, Server, V4, V5};

/// Bytes that may stand in no text: overlong forms, surrogates, five-byte forms, a half character, NUL.
pub(super) const NO_TEXT: [&[u8]; 8] = [
    b"\xC3\x28",
    b"\xED\xA0\x80",
    b"\xED\xBF\xBF",
    b"\xC0\x80",
    b"\xF8\x88\x80\x80",
    b"\xFF\xFE",
    b"half \xE2\x82",
    b"a\0b",
];

/// spec(4, server): MQTT-1.5.3-1, MQTT-1.5.3-2, MQTT-4.7.3-2
/// spec(5, server): MQTT-1.5.4-1, MQTT-1.5.4-2, MQTT-4.7.3-2
#[tokio::test]
async fn a_topic_that_is_no_text_ends_the_connection() {
    for version in BOTH {
        let server = Server::start().await;
        let attacks: Vec<_> = NO_TEXT
            .iter()
            .map(|topic| {
                let bytes = Publish::new(topic, "x").bytes(version);
                attack(format!("{topic:02x?}"), bytes, &[MALFORMED])
            })
            .collect();
        each_ends_its_connection(&server, version, &attacks).await;
    }
}

/// spec(4, server): MQTT-3.3.2-2, MQTT-4.7.1-1, MQTT-4.7.3-1
/// spec(5, server): MQTT-3.3.2-2, MQTT-4.7.0-1, MQTT-4.7.3-1
/// spec(5): RMQTT-3.3.2-2
#[tokio::test]
async fn a_topic_that_is_empty_or_has_a_wildcard_ends_the_connection() {
    for version in BOTH {
        let server = Server::start().await;
        let either = &[MALFORMED, PROTOCOL_ERROR, 0x90];
        let mut attacks = vec![attack(
            "an empty topic",
            Publish::new("", "x").bytes(version),
            &[PROTOCOL_ERROR],
        )];
        for topic in ["a/+", "a/#", "#", "+", "a+b", "$SYS/#", "a/#/b"] {
            for qos in 0..3 {
                let publish = Publish::new(topic, "x").qos(qos, 7);
                attacks.push(attack(topic, publish.bytes(version), either));
            }
        }
        each_ends_its_connection(&server, version, &attacks).await;
    }
}

/// spec(4): MQTT-3.3.5-2
#[tokio::test]
async fn nobody_publishes_to_what_is_the_brokers_own() {
    for version in BOTH {
        let server = Server::start().await;
        let mut watcher = server.client(version, "watcher").await;
        watcher.subscribe(&[("$SYS/broker/#", 2)]).await;
        watcher.subscribe(&[("$SYS", 2)]).await;
        watcher.expect_nothing().await;
        let mut peer = server.client(version, "impostor").await;
        for topic in ["$SYS/broker/uptime", "$SYS", "$SYS/broker/"] {
            let publish = Publish::new(topic, "forged").retain();
            peer.send(&publish.bytes(version)).await;
            peer.ping().await;
            peer.send(&publish.clone().qos(1, 1).bytes(version)).await;
            let code = peer.expect_ack_code(0x40, 1).await;
            assert_eq!(code, version.pick(0x00, 0x87), "{topic}");
            peer.send(&publish.clone().qos(2, 2).bytes(version)).await;
            let code = peer.expect_ack_code(0x50, 2).await;
            assert_eq!(code, version.pick(0x00, 0x87), "{topic}");
            if version == V4 {
                peer.send(&[0x62, 0x02, 0x00, 0x02]).await;
                peer.expect_ack(0x70, 2).await;
            }
        }
        watcher.expect_nothing().await;
        assert!(server.broker().retained().is_empty());
    }
}

/// spec(5): MQTT-3.1.4-2
#[tokio::test]
async fn nobody_leaves_a_will_on_what_is_the_brokers_own() {
    for version in BOTH {
        let server = Server::start().await;
        let connect = Connect::new(version, "id").will(&Will::new("$SYS/broker/uptime", "x"));
        let mut peer = server.socket(version).await;
        peer.send(&connect.bytes()).await;
        peer.expect_connack(version.pick(5, 0x87)).await;
        peer.expect_closed().await;
    }
}

/// Other topics that begin with a dollar sign are for whoever names them, and for nobody who does not.
/// spec(4): MQTT-4.7.2-1
/// spec(5): MQTT-4.7.2-1
#[tokio::test]
async fn wildcards_at_the_front_do_not_see_dollar_topics() {
    for version in BOTH {
        let server = Server::start().await;
        let mut blind = server.client(version, "blind").await;
        blind.subscribe(&[("#", 1), ("+/x", 1), ("+/#", 1)]).await;
        let shared = [("$share/g/#", 1), ("$share/g/+/x", 1)];
        assert_eq!(blind.subscribe(&shared).await, [1, 1]);
        let mut seeing = server.client(version, "seeing").await;
        seeing.subscribe(&[("$own/+", 1)]).await;
        let mut peer = server.client(version, "publisher").await;
        for topic in ["$own/x", "$foo", "$", "$/x"] {
            peer.publish(1, Publish::new(topic, "x")).await;
        }
        assert_eq!(seeing.take().await.topic, "$own/x");
        seeing.expect_nothing().await;
        blind.expect_nothing().await;
    }
}

#[tokio::test]
async fn topics_of_65_thousand_levels_are_refused() {
    let deep = "/".repeat(65_000);
    for version in BOTH {
        let server = Server::start().await;
        let mut witness = server.witness().await;
        let mut peer = server.client(version, "deep").await;
        let publish = Publish::new(&deep, "x").retain().qos(1, 7);
        peer.send(&publish.bytes(version)).await;
        if version == V5 {
            assert_eq!(peer.expect_ack_code(0x40, 7).await, 0x90);
            peer.expect_nothing().await;
        } else {
            peer.expect_closed().await;
        }
        witness.goes_on().await;
        let mut peer = server.client(version, "deep").await;
        for filter in [deep.clone(), "+/".repeat(30_000), format!("{deep}#")] {
            let codes = peer.subscribe(&[(&filter, 0)]).await;
            assert_eq!(codes, [version.pick(0x80, 0x8F)]);
            witness.goes_on().await;
        }
        let will = Connect::new(version, "id").will(&Will::new(&deep, "x"));
        let mut peer = server.socket(version).await;
        peer.send(&will.bytes()).await;
        let packet = peer.expect_packet().await;
        assert_ne!(packet[3], 0);
        peer.expect_closed().await;
        assert!(server.broker().retained().is_empty());
    }
}

/// Whoever lifts the limit must not fall off the stack.
#[tokio::test]
async fn topics_of_65_thousand_levels_are_carried_where_the_limit_is_lifted() {
    let deep = "/".repeat(65_000);
    for version in BOTH {
        let server = Server::with(|limits| limits.topic_levels_max = usize::MAX).await;
        let mut witness = server.witness().await;
        let mut peer = server.client(version, "deep").await;
        let pluses = vec!["+"; 30_000].join("/");
        let codes = peer.subscribe(&[(&deep, 1)]).await;
        assert_eq!(codes, [1]);
        assert_eq!(peer.subscribe(&[(&pluses, 1)]).await, [1]);
        let half = "/".repeat(29_999);
        for topic in [&deep, &half] {
            let publish = Publish::new(topic, "x").retain().qos(1, 9);
            peer.send(&publish.bytes(version)).await;
            let (first, second) = (peer.expect_packet().await, peer.expect_packet().await);
            let mut kinds = [first[0] >> 4, second[0] >> 4];
            kinds.sort_unstable();
            assert_eq!(kinds, [3, 4], "a PUBLISH and a PUBACK");
        }
        witness.goes_on().await;
        let mut late = server.client(version, "late").await;
        late.subscribe(&[("#", 0)]).await;
        let mut lengths = [late.take().await.topic.len(), late.take().await.topic.len()];
        lengths.sort_unstable();
        assert_eq!(lengths, [29_999, 65_000]);
        peer.unsubscribe(&[&deep]).await;
        peer.unsubscribe(&[&pluses]).await;
        witness.goes_on().await;
        server.broker().stop(std::time::Duration::ZERO).await;
    }
}

/// Filters that would send a matcher with backtracking into the woods.
#[tokio::test]
async fn filters_full_of_wildcards_do_not_slow_anybody_down() {
    for version in BOTH {
        let server = Server::start().await;
        let mut witness = server.witness().await;
        let mut peer = server.client(version, "mixer").await;
        let mut expected = 0;
        for seed in 0..400_u32 {
            let levels: Vec<_> = (0..40)
                .map(
                    |level| match (seed.wrapping_mul(2_654_435_761) >> (level % 29)) & 3 {
                        0 | 1 => "+",
                        _ => "a",
                    },
                )
                .collect();
            // Half of them match, half fail only at the last level.
            let end = if seed % 2 == 0 { "#" } else { "b" };
            let filter = format!("{}/{end}", levels.join("/"));
            assert_eq!(peer.subscribe(&[(&filter, 0)]).await, [0]);
            expected += u32::from(seed % 2 == 0);
        }
        assert_eq!(expected, 200);
        let topic = ["a"; 40].join("/");
        for _ in 0..20 {
            witness.goes_on().await;
            let mut other = server.client(version, "other").await;
            other.publish(1, Publish::new(&topic, "x")).await;
            assert_eq!(peer.take().await.topic, topic);
        }
    }
}
