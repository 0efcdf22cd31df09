//! CONNECT, CONNACK, DISCONNECT, and who has which client id.

use crate::raw::bytes::{Connect, PINGREQ, Publish, Will, field, subscribe};
use crate::raw::{BOTH, Server, V4, V5};

/// spec(4): MQTT-3.1.4-4, MQTT-3.2.2-3, MQTT-7.1.1-1
/// spec(5): MQTT-3.1.4-5
/// spec(5, server): MQTT-4.2.0-1
#[tokio::test]
async fn a_good_connect_is_accepted() {
    let server = Server::start().await;
    let mut peer = server.socket(V4).await;
    peer.send(b"\x10\x0D\0\x04MQTT\x04\x02\0\0\0\x01a").await;
    peer.expect(&[0x20, 0x02, 0x00, 0x00]).await;
    let mut peer = server.socket(V5).await;
    peer.send(b"\x10\x0E\0\x04MQTT\x05\x02\0\0\0\0\x01b").await;
    assert!(!peer.expect_accepted().await);
    assert_eq!(server.stats().connections, 2);
}

/// Level 3 differs in its CONNECT alone.
#[tokio::test]
async fn a_connect_of_mqtt_3_1_is_accepted() {
    let server = Server::start().await;
    let mut connect = Connect::new(V4, "old");
    connect.protocol = b"MQIsdp".to_vec();
    connect.level = 3;
    let (mut peer, is_present) = server.connect(&connect).await;
    assert!(!is_present);
    assert_eq!(peer.subscribe(&[("t", 2)]).await, [2]);
    peer.send(&Publish::new("t", "x").bytes(V4)).await;
    assert_eq!(peer.take().await.text(), "x");
}

/// spec(4): MQTT-3.1.3-5
/// spec(5): MQTT-3.1.3-5
#[tokio::test]
async fn client_ids_of_1_to_23_letters_and_digits_are_accepted() {
    let all = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";
    for version in BOTH {
        let server = Server::start().await;
        for id in ["0", "Z", &all[..23], &all[23..46], &all[39..62]] {
            server.client(version, id).await;
        }
    }
}

/// spec(4): MQTT-3.1.3-6
/// spec(5): MQTT-3.1.3-6, MQTT-3.1.3-7, MQTT-3.2.2-16
#[tokio::test]
async fn clients_without_an_id_get_one_of_their_own() {
    let server = Server::start().await;
    let mut old = Vec::new();
    for _ in 0..3 {
        old.push(server.client(V4, "").await);
    }
    let mut ids = std::collections::BTreeSet::new();
    for _ in 0..20 {
        let mut peer = server.socket(V5).await;
        peer.send(&Connect::new(V5, "").resume().bytes()).await;
        let (flags, properties) = peer.expect_connack(0).await;
        assert_eq!(flags, 0);
        ids.insert(assigned_id(&properties));
    }
    assert_eq!(ids.len(), 20);
    for peer in &mut old {
        peer.ping().await;
    }
    let id = ids.first().unwrap();
    assert!(server.connect(&Connect::new(V5, id).resume()).await.1);
}

/// The Assigned Client Identifier of a CONNACK that has no other property with its number in it.
fn assigned_id(properties: &[u8]) -> String {
    let mut rest = properties;
    loop {
        let size = match rest[0] {
            0x12 => {
                let length = usize::from(rest[2]);
                return String::from_utf8(rest[3..3 + length].to_vec()).expect("text");
            }
            0x11 | 0x27 => 5,
            0x13 | 0x21 | 0x22 => 3,
            0x25 | 0x28 | 0x29 | 0x2A => 2,
            other => panic!("property {other:02x} in {properties:02x?}"),
        };
        rest = &rest[size..];
    }
}

/// spec(4): MQTT-3.1.3-8, MQTT-3.1.3-9
#[tokio::test]
async fn a_session_to_be_kept_needs_a_client_id_in_3_1_1() {
    let server = Server::start().await;
    let mut peer = server.socket(V4).await;
    peer.send(&Connect::new(V4, "").dirty().bytes()).await;
    peer.expect(&[0x20, 0x02, 0x00, 0x02]).await;
    peer.expect_closed().await;
}

/// spec(4): MQTT-3.2.2-4, MQTT-3.2.2-5
/// spec(5): MQTT-3.2.2-6, MQTT-3.2.2-7
#[tokio::test]
async fn a_refusal_says_nothing_about_the_session_and_closes() {
    for version in BOTH {
        let server = Server::start().await;
        let connect = Connect::new(version, "known").resume();
        server.connect(&connect).await.0.disconnect().await;
        let refused = connect.clone().will(&Will::new("$SYS/mine", "x"));
        let mut peer = server.socket(version).await;
        peer.send(&refused.bytes()).await;
        let (flags, _) = peer.expect_connack(version.pick(5, 0x87)).await;
        assert_eq!(flags, 0);
        peer.expect_closed().await;
        assert!(server.connect(&connect).await.1, "it is still there");
    }
}

/// spec(4): MQTT-3.2.0-1
/// spec(5): MQTT-3.2.0-1, MQTT-3.2.0-2
#[tokio::test]
async fn connack_comes_first_and_once() {
    for version in BOTH {
        let server = Server::start().await;
        let connect = Connect::new(version, "first").resume();
        let (mut peer, _) = server.connect(&connect).await;
        peer.subscribe(&[("t", 1)]).await;
        peer.disconnect().await;
        let mut publisher = server.client(version, "publisher").await;
        for _ in 0..10 {
            publisher.publish(1, Publish::new("t", "x")).await;
        }
        let mut peer = server.socket(version).await;
        let mut bytes = connect.bytes();
        bytes.extend(subscribe(version, 1, &[("u", 0)]));
        bytes.extend(PINGREQ);
        peer.send(&bytes).await;
        let mut kinds = Vec::new();
        while kinds.len() < 13 {
            kinds.push(peer.expect_packet().await[0] >> 4);
        }
        assert_eq!(kinds[0], 2, "{kinds:?}");
        assert!(!kinds[1..].contains(&2), "{kinds:?}");
    }
}

/// spec(5): MQTT-3.1.2-28, MQTT-3.2.2-9, MQTT-4.12.0-6
#[tokio::test]
async fn connack_has_no_property_nobody_asked_for() {
    let server = Server::start().await;
    for properties in [&[][..], &[0x19, 0], &[0x19, 1]] {
        let mut peer = server.socket(V5).await;
        let connect = Connect::new(V5, "").properties(properties);
        peer.send(&connect.bytes()).await;
        let (_, properties) = peer.expect_connack(0).await;
        // This also fails at Response Information and Authentication Method, and at a Maximum QoS.
        assigned_id(&properties);
    }
}

/// spec(5): MQTT-3.2.2-19, MQTT-3.2.2-20
#[tokio::test]
async fn connack_fits_what_the_client_takes() {
    let server = Server::start().await;
    for limit in [8, 20, 40] {
        let connect = Connect::new(V5, "small").properties(&[0x27, 0, 0, 0, limit]);
        let mut peer = server.socket(V5).await;
        peer.send(&connect.bytes()).await;
        let packet = peer.expect_packet().await;
        assert_eq!((packet[0], packet[3]), (0x20, 0x00));
        assert!(packet.len() <= usize::from(limit), "{packet:02x?}");
    }
}

/// spec(4): MQTT-3.1.4-2
/// spec(5): MQTT-3.1.4-3, MQTT-3.14.2-2
/// spec(5, server): MQTT-3.14.2-3, MQTT-3.14.2-4, MQTT-3.14.4-1, MQTT-3.14.4-2, MQTT-4.13.2-1
#[tokio::test]
async fn a_client_id_connected_again_ends_the_older_connection() {
    for version in BOTH {
        let server = Server::start().await;
        let connect = Connect::new(version, "twin").properties(&[0x27, 0, 0, 0, 10]);
        let mut first = server.socket(version).await;
        first.send(&connect.bytes()).await;
        first.expect_packet().await;
        let mut second = server.client(version, "twin").await;
        if version == V5 {
            first.expect(&[0xE0, 0x01, 0x8E]).await;
        }
        first.expect_closed().await;
        second.ping().await;
        assert_eq!(server.stats().connections, 1);
    }
}

#[tokio::test]
async fn disconnect_is_answered_by_closing() {
    for version in BOTH {
        let server = Server::start().await;
        server.client(version, "short").await.disconnect().await;
        let mut peer = server.client(version, "long").await;
        if version == V5 {
            peer.send(&[0xE0, 0x02, 0x00, 0x00]).await;
        } else {
            peer.send(&[0xE0, 0x00]).await;
        }
        peer.expect_closed().await;
    }
}

/// What stands in these fields is not looked at without somebody who decides; that they may be there is.
#[tokio::test]
async fn user_name_and_password_are_read() {
    for version in BOTH {
        let server = Server::start().await;
        let connect = Connect::new(version, "named")
            .flags(0xC2)
            .more(&field("name"))
            .more(&field(b"\xC3\x28\0"));
        server.connect(&connect).await;
        let clients = server.broker().clients();
        let names: Vec<_> = clients.iter().map(|c| c.username.as_deref()).collect();
        // The connection has ended with its peer, or is about to.
        assert!(names.is_empty() || names == [Some("name")], "{names:?}");
    }
}

/// A password alone is an innovation of MQTT 5.
#[tokio::test]
async fn a_password_without_a_name_is_read_in_mqtt_5() {
    let server = Server::start().await;
    let connect = Connect::new(V5, "token").flags(0x42).more(&field("secret"));
    server.connect(&connect).await;
}
