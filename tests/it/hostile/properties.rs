//! Properties of MQTT 5 that are wrong in themselves, in the wrong place, or too many; topic aliases.

use super::{Attack, MALFORMED, PROTOCOL_ERROR, attack, each_ends_its_connection};
use crate::raw::bytes::{
    Connect, Publish, Will, block, field, packet, subscribe_with, user_property, variable,
};
use crate::raw::{Server, V5};
use tokio::time::Instant;

const EITHER: &[u8] = &[MALFORMED, PROTOCOL_ERROR];

/// One well-formed value of each property a PUBLISH of a client may have.
fn of_publish() -> Vec<Vec<u8>> {
    vec![
        vec![0x01, 1],
        vec![0x02, 0, 0, 0, 9],
        [vec![0x03], field("text/plain")].concat(),
        [vec![0x08], field("answer/here")].concat(),
        [vec![0x09], field(b"\0\xFF")].concat(),
        vec![0x23, 0, 1],
    ]
}

/// One well-formed value of each property a CONNECT may have.
fn of_connect() -> Vec<Vec<u8>> {
    vec![
        vec![0x11, 0, 0, 0, 9],
        vec![0x17, 1],
        vec![0x19, 1],
        vec![0x21, 0, 9],
        vec![0x22, 0, 9],
        vec![0x27, 0, 1, 0, 0],
    ]
}

fn publishing(name: &str, properties: &[u8], reasons: &[u8]) -> Attack {
    let publish = Publish::new("t", "x").properties(properties);
    attack(name, publish.bytes(V5), reasons)
}

/// spec(5): RMQTT-2.2.2-4
#[tokio::test]
async fn properties_that_do_not_fit_their_block_end_the_connection() {
    let server = Server::start().await;
    let raw = |tail: &[u8]| packet(0x30, &[&field("t"), tail].concat());
    let mut attacks = vec![
        attack("a block beyond the packet", raw(&[5]), &[MALFORMED]),
        attack("a block of 256 MB", raw(b"\xFF\xFF\xFF\x7F"), &[MALFORMED]),
        attack("five bytes", raw(b"\xFF\xFF\xFF\xFF\x7F"), &[MALFORMED]),
        attack("no block", raw(&[]), &[MALFORMED]),
        publishing("a pair cut short", b"\x26\0\x05a", &[MALFORMED]),
        publishing("half a pair", b"\x26\0\x01a", &[MALFORMED]),
        publishing("a long value", b"\x26\0\x01a\xFF\xFFb", &[MALFORMED]),
        // The length leads out of the block, yet not out of the packet.
        attack("into the payload", raw(b"\x04\x03\0\x02ab"), &[MALFORMED]),
    ];
    for property in of_publish() {
        for size in 1..property.len() {
            let name = format!("{property:02x?} cut to {size}");
            attacks.push(publishing(&name, &property[..size], &[MALFORMED]));
        }
    }
    each_ends_its_connection(&server, V5, &attacks).await;
}

/// spec(5): RMQTT-2.2.2-2
#[tokio::test]
async fn a_property_that_stands_twice_ends_the_connection() {
    let server = Server::start().await;
    let mut attacks = Vec::new();
    for property in of_publish() {
        let twice = [property.clone(), property.clone()].concat();
        attacks.push(publishing(&format!("{property:02x?}"), &twice, &[0x82]));
    }
    let twice = subscribe_with(V5, 1, &[0x0B, 1, 0x0B, 2], &[("t", 0)]);
    attacks.push(attack("two subscription ids", twice, &[PROTOCOL_ERROR]));
    let twice = [0xE0, 0x0C, 0, 10, 0x11, 0, 0, 0, 0, 0x11, 0, 0, 0, 0];
    attacks.push(attack("DISCONNECT", twice, &[PROTOCOL_ERROR]));
    each_ends_its_connection(&server, V5, &attacks).await;
    for property in of_connect() {
        let twice = [property.clone(), property.clone()].concat();
        let mut peer = server.socket(V5).await;
        peer.about(&format!("{property:02x?}"));
        peer.send(&Connect::new(V5, "id").properties(&twice).bytes())
            .await;
        peer.expect_refused().await;
    }
}

/// spec(5): RMQTT-2.2.2-1, RMQTT-3.3.4-1
#[tokio::test]
async fn a_property_in_the_wrong_packet_ends_the_connection() {
    let server = Server::start().await;
    let mut attacks = Vec::new();
    for id in [0x00, 0x04, 0x0A, 0x10, 0x2B, 0x7F] {
        let name = format!("unknown property {id:02x}");
        attacks.push(publishing(&name, &[id, 0], &[MALFORMED]));
    }
    let wrong = [
        vec![0x18, 0, 0, 0, 1],
        vec![0x13, 0, 1],
        vec![0x24, 1],
        [vec![0x12], field("id")].concat(),
        [vec![0x1F], field("why")].concat(),
        [vec![0x15], field("method")].concat(),
    ];
    for property in of_connect().iter().chain(&wrong) {
        let name = format!("PUBLISH with {property:02x?}");
        attacks.push(publishing(&name, property, EITHER));
        let bytes = subscribe_with(V5, 1, property, &[("t", 0)]);
        attacks.push(attack(format!("SUBSCRIBE, {property:02x?}"), bytes, EITHER));
    }
    for property in of_publish() {
        let body = [&[0, 1, 0], &block(V5, &property)[..]].concat();
        let name = format!("PUBACK with {property:02x?}");
        attacks.push(attack(name, packet(0x40, &body), EITHER));
    }
    let ours = publishing("a subscription id", &[0x0B, 1], &[PROTOCOL_ERROR]);
    attacks.push(ours);
    each_ends_its_connection(&server, V5, &attacks).await;
    for property in of_publish().iter().chain(&wrong[..5]) {
        let mut peer = server.socket(V5).await;
        peer.about(&format!("CONNECT with {property:02x?}"));
        peer.send(&Connect::new(V5, "id").properties(property).bytes())
            .await;
        peer.expect_refused().await;
    }
}

/// spec(5, server): MQTT-3.3.2-14
/// spec(5): RMQTT-3.1.2-3, RMQTT-3.1.2-4, RMQTT-3.1.2-5, RMQTT-3.1.2-6, RMQTT-3.3.2-1, RMQTT-3.3.2-5, RMQTT-3.14.2-1
#[tokio::test]
async fn a_property_with_a_forbidden_value_ends_the_connection() {
    let server = Server::start().await;
    let response = |topic: &str| [vec![0x08], field(topic)].concat();
    let subscription_id_0 = subscribe_with(V5, 1, &[0x0B, 0], &[("t", 0)]);
    let attacks = [
        publishing("a payload format of 2", &[0x01, 2], &[PROTOCOL_ERROR]),
        publishing("response topic a/#", &response("a/#"), &[0x81, 0x82, 0x90]),
        publishing("response topic +", &response("+"), &[0x81, 0x82, 0x90]),
        attack("subscription id 0", subscription_id_0, &[PROTOCOL_ERROR]),
        // A session that was to end with its connection cannot be given a later end.
        attack(
            "revival",
            *b"\xE0\x07\0\x05\x11\0\0\0\x09",
            &[PROTOCOL_ERROR],
        ),
    ];
    each_ends_its_connection(&server, V5, &attacks).await;
    for property in [
        vec![0x17, 2],
        vec![0x19, 2],
        vec![0x21, 0, 0],
        vec![0x27, 0, 0, 0, 0],
        [vec![0x16], field("data without method")].concat(),
    ] {
        let mut peer = server.socket(V5).await;
        peer.about(&format!("{property:02x?}"));
        peer.send(&Connect::new(V5, "id").properties(&property).bytes())
            .await;
        peer.expect_refused().await;
    }
}

/// spec(5, server): MQTT-1.5.7-1
#[tokio::test]
async fn a_property_that_is_no_text_ends_the_connection() {
    let server = Server::start().await;
    let mut attacks = Vec::new();
    for text in super::topics::NO_TEXT {
        let name = format!("{text:02x?}");
        let pairs = [
            [vec![0x26], field(text), field("value")].concat(),
            [vec![0x26], field("name"), field(text)].concat(),
            [vec![0x03], field(text)].concat(),
            [vec![0x08], field(text)].concat(),
        ];
        for property in pairs {
            attacks.push(publishing(&name, &property, &[MALFORMED]));
        }
    }
    each_ends_its_connection(&server, V5, &attacks).await;
}

#[tokio::test]
async fn a_will_with_wrong_properties_is_refused() {
    let server = Server::start().await;
    for properties in [
        vec![0x23, 0, 1],
        vec![0x0B, 1],
        vec![0x11, 0, 0, 0, 1],
        vec![0x01, 2],
        vec![0x18, 0, 0, 0, 1, 0x18, 0, 0, 0, 1],
        [vec![0x08], field("a/#")].concat(),
        vec![0x26, 0, 9],
    ] {
        let will = Will {
            properties: properties.clone(),
            ..Will::new("t", "x")
        };
        let mut peer = server.socket(V5).await;
        peer.about(&format!("{properties:02x?}"));
        peer.send(&Connect::new(V5, "id").will(&will).bytes()).await;
        peer.expect_refused().await;
    }
}

/// spec(5): MQTT-4.12.0-1
#[tokio::test]
async fn an_authentication_method_nobody_knows_is_refused() {
    let server = Server::start().await;
    let method = [vec![0x15], field("NOPE")].concat();
    let mut peer = server.socket(V5).await;
    peer.send(&Connect::new(V5, "id").properties(&method).bytes())
        .await;
    peer.expect_connack(0x8C).await;
    peer.expect_closed().await;
}

/// spec(5, server): MQTT-3.3.2-8
/// spec(5, server): RMQTT-3.3.2-3, RMQTT-3.3.2-4
#[tokio::test]
async fn wrong_topic_aliases_end_the_connection() {
    let server = Server::with(|limits| limits.topic_alias_max = 10).await;
    let alias = |topic: &str, alias| {
        Publish::new(topic, "x")
            .properties(&[0x23, 0, alias])
            .bytes(V5)
    };
    let attacks = [
        attack("alias 0", alias("t", 0), &[0x94]),
        attack("alias 0 without a topic", alias("", 0), &[0x94]),
        attack("alias 11", alias("t", 11), &[0x94]),
        attack("alias 11 without a topic", alias("", 11), &[0x94]),
        attack("alias 5, never set", alias("", 5), &[PROTOCOL_ERROR]),
    ];
    each_ends_its_connection(&server, V5, &attacks).await;
}

/// spec(5): MQTT-3.3.2-12
/// spec(5, server): MQTT-3.3.2-7
#[tokio::test]
async fn topic_aliases_up_to_the_maximum_work_and_end_with_the_connection() {
    let server = Server::with(|limits| limits.topic_alias_max = 10).await;
    let mut watcher = server.client(V5, "watcher").await;
    watcher.subscribe(&[("#", 1)]).await;
    let (mut peer, _) = server.connect(&Connect::new(V5, "aliases").resume()).await;
    for alias in 1..=10 {
        let property = [0x23, 0, alias];
        let set = Publish::new(format!("first/{alias}"), "").properties(&property);
        peer.publish(1, set).await;
        let again = Publish::new("", "").properties(&property);
        peer.publish(1, again.clone()).await;
        let other = Publish::new(format!("second/{alias}"), "").properties(&property);
        peer.publish(1, other).await;
        peer.publish(1, again).await;
        for expected in ["first", "first", "second", "second"] {
            let delivery = watcher.take().await;
            assert_eq!(delivery.topic, format!("{expected}/{alias}"));
            assert_eq!(delivery.properties, b"", "no alias of the publisher's");
        }
    }
    peer.disconnect().await;
    let (mut peer, _) = server.connect(&Connect::new(V5, "aliases").resume()).await;
    let again = Publish::new("", "").properties(&[0x23, 0, 1]);
    peer.send(&again.bytes(V5)).await;
    peer.expect_end(&[PROTOCOL_ERROR]).await;
}

/// Sixteen times the properties may take sixteen times as long, not 256 times. The best of several tries counts, since
/// the machine may have other things to do.
#[tokio::test]
async fn thousands_of_user_properties_take_linear_time() {
    let server = Server::start().await;
    let mut watcher = server.client(V5, "watcher").await;
    watcher.subscribe(&[("t", 1)]).await;
    let mut peer = server.client(V5, "verbose").await;
    let mut best = [f64::MAX; 2];
    for _ in 0..5 {
        for (count, best) in [4_000, 64_000].into_iter().zip(&mut best) {
            let properties = user_property("name", "value").repeat(count);
            let begin = Instant::now();
            let publish = Publish::new("t", "").properties(&properties);
            peer.publish(1, publish).await;
            assert_eq!(watcher.take().await.properties.len(), properties.len());
            *best = best.min(begin.elapsed().as_secs_f64());
        }
    }
    let [few, many] = best;
    assert!(many < few * 16.0 * 4.0, "{few} s, then {many} s");
}

/// The same in CONNECT, where nobody has been asked for a name yet: the packet's limit is the bound.
#[tokio::test]
async fn a_connect_full_of_user_properties_is_taken_up_to_its_limit() {
    let server = Server::start().await;
    let properties = b"\x26\0\0\0\0".repeat(19_990);
    let connect = Connect::new(V5, "id").properties(&properties);
    server.connect(&connect).await;
    let will = Will {
        properties: properties.clone(),
        ..Will::new("t", "x")
    };
    server.connect(&Connect::new(V5, "id").will(&will)).await;
    let beyond = Connect::new(V5, "id").properties(&b"\x26\0\0\0\0".repeat(20_000));
    assert_eq!(variable(beyond.bytes().len()).len(), 3);
    let mut peer = server.socket(V5).await;
    peer.send(&beyond.bytes()[..1000]).await;
    peer.expect_refused().await;
}
