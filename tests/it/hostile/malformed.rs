//! What a connected client may not send.

use super::{MALFORMED, PROTOCOL_ERROR, attack, each_ends_its_connection};
use crate::raw::bytes::{
    Connect, Publish, Will, ack, block, field, packet, subscribe, unsubscribe,
};
use crate::raw::{BOTH, Server, V4, V5};

/// spec(4, server): MQTT-2.2.2-2, MQTT-3.6.1-1, MQTT-3.8.1-1, MQTT-3.10.1-1, MQTT-4.8.0-1
/// spec(5, server): MQTT-2.1.3-1, MQTT-3.6.1-1, MQTT-3.8.1-1, MQTT-3.10.1-1, MQTT-4.13.2-1
#[tokio::test]
async fn wrong_flags_in_a_fixed_header_end_the_connection() {
    for version in BOTH {
        let server = Server::start().await;
        let packets = [
            (ack(0x40, 1), 0),
            (ack(0x50, 1), 0),
            (ack(0x62, 1), 2),
            (ack(0x70, 1), 0),
            (subscribe(version, 1, &[("t", 0)]), 2),
            (unsubscribe(version, 1, &["t"]), 2),
            (vec![0xC0, 0x00], 0),
            (vec![0xE0, 0x00], 0),
        ];
        let mut attacks = Vec::new();
        for (packet, right) in packets {
            for flags in (0..16).filter(|flags| *flags != right) {
                let mut bytes = packet.clone();
                bytes[0] = bytes[0] & 0xF0 | flags;
                attacks.push(attack(format!("{:02x}", bytes[0]), bytes, &[MALFORMED]));
            }
        }
        each_ends_its_connection(&server, version, &attacks).await;
    }
}

/// spec(5, server): MQTT-3.15.1-1
/// spec(4): RMQTT-2.2.1-1
/// spec(5): RMQTT-2.1.2-1
#[tokio::test]
async fn packet_types_that_do_not_exist_end_the_connection() {
    for version in BOTH {
        let server = Server::start().await;
        let mut attacks: Vec<_> = (0..16)
            .map(|flags| attack(format!("{flags:02x}"), [flags, 0x00], &[MALFORMED]))
            .collect();
        attacks.push(attack("type 0 and more", [0, 2, 0, 1], &[MALFORMED]));
        for flags in 1..16 {
            let bytes = [0xF0 | flags, 0x00];
            attacks.push(attack(format!("f{flags:x}"), bytes, &[MALFORMED]));
        }
        // To MQTT 5 the last type is AUTH, which nobody may send who did not begin with it.
        attacks.push(attack("f0", [0xF0, 0x00], &[PROTOCOL_ERROR]));
        each_ends_its_connection(&server, version, &attacks).await;
    }
}

/// spec(5, server): RMQTT-4.12.0-1
/// spec(5): RMQTT-3.15.2-1
#[tokio::test]
async fn auth_without_an_agreed_method_ends_the_connection() {
    let server = Server::start().await;
    let method = [vec![0x15], field("SCRAM")].concat();
    let body = |reason| [vec![reason], block(V5, &method)].concat();
    let attacks = [
        attack("again", packet(0xF0, &body(0x19)), &[PROTOCOL_ERROR]),
        attack("continue", packet(0xF0, &body(0x18)), &[PROTOCOL_ERROR]),
        attack("success", packet(0xF0, &body(0x00)), &[PROTOCOL_ERROR]),
        attack("no method", [0xF0, 0x02, 0x19, 0x00], &[PROTOCOL_ERROR]),
    ];
    each_ends_its_connection(&server, V5, &attacks).await;
}

/// spec(4, server): RMQTT-2.2.1-2
/// spec(5, server): RMQTT-2.1.2-2
#[tokio::test]
async fn packets_that_only_servers_send_end_the_connection() {
    for version in BOTH {
        let server = Server::start().await;
        let body = [vec![0, 1], block(version, &[]), vec![0]].concat();
        let connack = [vec![0, 0], block(version, &[])].concat();
        let unsuback = version.pick(ack(0xB0, 1), packet(0xB0, &body));
        let attacks = [
            attack("CONNACK", packet(0x20, &connack), &[PROTOCOL_ERROR]),
            attack("SUBACK", packet(0x90, &body), &[PROTOCOL_ERROR]),
            attack("UNSUBACK", unsuback, &[PROTOCOL_ERROR]),
            attack("PINGRESP", [0xD0, 0x00], &[PROTOCOL_ERROR]),
        ];
        each_ends_its_connection(&server, version, &attacks).await;
    }
}

/// spec(4): RMQTT-2.2.3-1
/// spec(5): RMQTT-1.5.5-1
#[tokio::test]
async fn lengths_of_five_bytes_end_the_connection() {
    for version in BOTH {
        let server = Server::start().await;
        let mut attacks = Vec::new();
        for first in [0x30, 0x40, 0x82, 0xC0] {
            let five = [first, 0xFF, 0xFF, 0xFF, 0xFF, 0x01];
            attacks.push(attack(format!("{first:02x}"), five, &[MALFORMED]));
            // In 32 bits this wraps to 0, and what follows would be taken for a packet.
            let wraps = [first, 0x80, 0x80, 0x80, 0x80, 0x10];
            attacks.push(attack(format!("{first:02x}, wraps"), wraps, &[MALFORMED]));
        }
        each_ends_its_connection(&server, version, &attacks).await;
    }
}

/// spec(5): MQTT-1.5.5-1
#[tokio::test]
async fn a_length_longer_than_needed_is_an_error_of_mqtt_5_alone() {
    let server = Server::start().await;
    let mut old = server.client(V4, "old").await;
    old.send(&[0xC0, 0x80, 0x00]).await;
    old.expect(&[0xD0, 0x00]).await;
    old.send(&[0x82, 0x86, 0x80, 0x00, 0, 1, 0, 1, b't', 0])
        .await;
    old.expect(&[0x90, 0x03, 0, 1, 0]).await;
    let attacks = [
        attack("PINGREQ", [0xC0, 0x80, 0x00], &[MALFORMED]),
        attack("PUBLISH", b"\x30\x84\x00\0\x01t\0".to_vec(), &[MALFORMED]),
        attack(
            "properties",
            b"\x30\x05\0\x01t\x80\0".to_vec(),
            &[MALFORMED],
        ),
    ];
    each_ends_its_connection(&server, V5, &attacks).await;
}

/// spec(5): RMQTT-3.2.2-4
#[tokio::test]
async fn a_packet_larger_than_the_limit_is_refused_at_its_fixed_header() {
    for version in BOTH {
        let server = Server::start().await;
        let mut attacks = Vec::new();
        for first in [0x30, 0x32, 0x82, 0xA2, 0x10] {
            let bytes = [first, 0xFF, 0xFF, 0xFF, 0x7F];
            attacks.push(attack(format!("{first:02x} of 256 MB"), bytes, &[0x95]));
        }
        // 100 001 bytes in all: what a stranger can make us hold has a limit of its own.
        for first in [0x82, 0xA2] {
            let bytes = [first, 0x9D, 0x8D, 0x06];
            attacks.push(attack(format!("{first:02x} of 100 kB"), bytes, &[0x95]));
        }
        each_ends_its_connection(&server, version, &attacks).await;
    }
}

/// spec(4): MQTT-3.1.0-2
/// spec(5): MQTT-3.1.0-2
#[tokio::test]
async fn a_second_connect_ends_the_connection_and_publishes_the_will() {
    for version in BOTH {
        let server = Server::start().await;
        let mut witness = server.witness().await;
        let mut watcher = server.client(version, "watcher").await;
        watcher.subscribe(&[("gone/+", 0)]).await;
        let connect = Connect::new(version, "twice").will(&Will::new("gone/twice", "x"));
        let (mut peer, _) = server.connect(&connect).await;
        peer.send(&connect.bytes()).await;
        peer.expect_end(&[PROTOCOL_ERROR]).await;
        assert_eq!(watcher.take().await.topic, "gone/twice");
        witness.goes_on().await;
    }
}

/// spec(4, server): MQTT-3.8.3-3, MQTT-3.10.3-2
/// spec(5, server): MQTT-3.8.3-2, MQTT-3.10.3-2
/// spec(4): RMQTT-2.3.1-1
/// spec(5): RMQTT-2.2.1-1
#[tokio::test]
async fn packet_id_0_and_empty_requests_end_the_connection() {
    for version in BOTH {
        let server = Server::start().await;
        let either = &[PROTOCOL_ERROR, MALFORMED];
        let empty = |first| packet(first, &[vec![0, 1], block(version, &[])].concat());
        let publish = |qos| Publish::new("t", "x").qos(qos, 0).bytes(version);
        let mut attacks = vec![
            attack("PUBLISH of QoS 1", publish(1), either),
            attack("PUBLISH of QoS 2", publish(2), either),
            attack("SUBSCRIBE", subscribe(version, 0, &[("t", 0)]), either),
            attack("UNSUBSCRIBE", unsubscribe(version, 0, &["t"]), either),
            attack("SUBSCRIBE to nothing", empty(0x82), &[PROTOCOL_ERROR]),
            attack("UNSUBSCRIBE of nothing", empty(0xA2), &[PROTOCOL_ERROR]),
        ];
        for first in [0x40, 0x50, 0x62, 0x70] {
            let name = format!("acknowledgement {first:02x}");
            attacks.push(attack(name, ack(first, 0), either));
        }
        each_ends_its_connection(&server, version, &attacks).await;
    }
}

/// spec(4, server): MQTT-3.3.1-4
/// spec(5, server): MQTT-3.3.1-4
#[tokio::test]
async fn a_publish_of_qos_3_or_a_repeated_one_of_qos_0_ends_the_connection() {
    for version in BOTH {
        let server = Server::start().await;
        let mut attacks = Vec::new();
        for first in [0x36, 0x37, 0x3E, 0x3F, 0x38, 0x39] {
            let mut bytes = Publish::new("t", "x").qos(1, 7).bytes(version);
            bytes[0] = first;
            attacks.push(attack(format!("{first:02x}"), bytes, &[MALFORMED]));
        }
        each_ends_its_connection(&server, version, &attacks).await;
    }
}

/// Fields that say they are longer than the packet, and packets that end in the middle of a field.
/// spec(4): RMQTT-2.2.3-2
/// spec(5): RMQTT-2.1.4-1
#[tokio::test]
async fn packets_cut_short_inside_end_the_connection() {
    for version in BOTH {
        let server = Server::start().await;
        let mut attacks = Vec::new();
        // Nothing stands behind the topic and id, so that every cut leaves out something needed.
        let mut publish = Publish::new("a/b", "").qos(1, 7).bytes(version);
        publish[1] = u8::try_from(publish.len() - 2).unwrap();
        let whole = [
            ("PUBLISH", publish),
            ("SUBSCRIBE", subscribe(version, 1, &[("a/b", 1)])),
            ("UNSUBSCRIBE", unsubscribe(version, 1, &["a/b"])),
            ("PUBACK", ack(0x40, 1)),
            ("PUBREL", ack(0x62, 1)),
        ];
        for (name, bytes) in whole {
            for size in 0..bytes.len() - 2 {
                let cut = packet(bytes[0], &bytes[2..2 + size]);
                let name = format!("{name} cut to {size}");
                attacks.push(attack(name, cut, &[MALFORMED, PROTOCOL_ERROR]));
            }
        }
        let beyond = [0x30, 0x04, 0xFF, 0xFF, b't', b't'];
        attacks.push(attack("a topic beyond the packet", beyond, &[MALFORMED]));
        each_ends_its_connection(&server, version, &attacks).await;
    }
}

/// spec(4): RMQTT-2.2.3-2
/// spec(5): RMQTT-2.1.4-1
#[tokio::test]
async fn bytes_left_over_in_a_packet_end_the_connection() {
    for version in BOTH {
        let server = Server::start().await;
        let huge = [0xC0, 0xFF, 0xFF, 0xFF, 0x7F];
        let mut attacks = vec![
            attack("PINGREQ", [0xC0, 0x01, 0x00], &[MALFORMED]),
            attack("PINGREQ of 256 MB", huge, &[MALFORMED, 0x95]),
        ];
        if version == V4 {
            for first in [0x40, 0x50, 0x62, 0x70] {
                let bytes = [first, 0x03, 0, 1, 0];
                attacks.push(attack(format!("{first:02x}"), bytes, &[]));
            }
            attacks.push(attack("DISCONNECT", [0xE0, 0x01, 0x00], &[]));
        } else {
            let puback = b"\x40\x05\0\x01\0\0x".to_vec();
            attacks.push(attack("PUBACK", puback, &[MALFORMED]));
            let disconnect = b"\xE0\x03\0\0x".to_vec();
            attacks.push(attack("DISCONNECT", disconnect, &[MALFORMED]));
        }
        each_ends_its_connection(&server, version, &attacks).await;
    }
}

/// spec(5, server): MQTT-3.4.2-1, MQTT-3.5.2-1, MQTT-3.6.2-1, MQTT-3.7.2-1, MQTT-3.14.2-1, MQTT-3.15.2-1
#[tokio::test]
async fn reason_codes_that_do_not_belong_there_end_the_connection() {
    let server = Server::start().await;
    let either = &[MALFORMED, PROTOCOL_ERROR];
    let mut attacks = Vec::new();
    for (first, codes) in [
        (0x40, [0x01, 0x11, 0x82, 0xFF]),
        (0x50, [0x01, 0x11, 0x82, 0xFF]),
        (0x62, [0x01, 0x10, 0x80, 0xFF]),
        (0x70, [0x01, 0x10, 0x80, 0xFF]),
    ] {
        for code in codes {
            let name = format!("{first:02x} with {code:02x}");
            attacks.push(attack(name, [first, 0x03, 0, 1, code], either));
        }
    }
    for code in [0x01, 0x10, 0x84, 0x85, 0xFF] {
        let name = format!("DISCONNECT with {code:02x}");
        attacks.push(attack(name, [0xE0, 0x01, code], either));
    }
    for code in [0x01, 0x80, 0x8C] {
        let method = [vec![0x15], field("SCRAM")].concat();
        let body = [vec![code], block(V5, &method)].concat();
        let name = format!("AUTH with {code:02x}");
        attacks.push(attack(name, packet(0xF0, &body), either));
    }
    each_ends_its_connection(&server, V5, &attacks).await;
}

/// spec(5): RMQTT-3.14.2-4
/// spec(5, server): RMQTT-3.14.2-5
#[tokio::test]
async fn a_disconnect_as_only_servers_send_it_is_no_disconnect() {
    let server = Server::start().await;
    let mut watcher = server.client(V5, "watcher").await;
    watcher.subscribe(&[("gone/+", 0)]).await;
    let connect = Connect::new(V5, "posing").will(&Will::new("gone/posing", "x"));
    let elsewhere = [vec![0x1C], field("elsewhere")].concat();
    let mut farewells = vec![packet(0xE0, &[&[0], &block(V5, &elsewhere)[..]].concat())];
    for code in [0x87, 0x8B, 0x8D, 0x8E, 0x8F, 0x9A, 0x9C, 0x9E, 0xA0, 0xA2] {
        farewells.push(vec![0xE0, 0x01, code]);
    }
    for farewell in farewells {
        let (mut peer, _) = server.connect(&connect).await;
        peer.about(&format!("{farewell:02x?}"));
        peer.send(&farewell).await;
        peer.expect_end(&[PROTOCOL_ERROR]).await;
        assert_eq!(watcher.take().await.topic, "gone/posing");
    }
}

/// spec(4): MQTT-3.14.1-1
/// spec(5, server): MQTT-3.14.1-1
#[tokio::test]
async fn a_disconnect_with_reserved_bits_is_no_disconnect() {
    for version in BOTH {
        let server = Server::start().await;
        let mut watcher = server.client(version, "watcher").await;
        watcher.subscribe(&[("gone/+", 0)]).await;
        let connect = Connect::new(version, "bits").will(&Will::new("gone/bits", "x"));
        let (mut peer, _) = server.connect(&connect).await;
        peer.send(&[0xE1, 0x00]).await;
        peer.expect_end(&[MALFORMED]).await;
        assert_eq!(watcher.take().await.topic, "gone/bits");
    }
}

/// Acknowledgements of what was never sent are no reason to close: they happen after a lost session.
/// spec(5, server): MQTT-4.3.3-11
/// spec(4, server): RMQTT-3.6.0-1
#[tokio::test]
async fn acknowledgements_of_nothing_do_no_harm() {
    for version in BOTH {
        let server = Server::start().await;
        let mut peer = server.client(version, "eager").await;
        for id in [1, 256, 65535] {
            peer.send(&ack(0x40, id)).await;
            peer.send(&ack(0x70, id)).await;
            peer.ping().await;
            peer.send(&ack(0x62, id)).await;
            let code = peer.expect_ack_code(0x70, id).await;
            assert_eq!(code, version.pick(0x00, 0x92));
        }
        peer.expect_nothing().await;
    }
}
