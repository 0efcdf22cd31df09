//! What MQTT 5 is told in words beside a code, and who is told nothing; other servers; and who wants it short.

use crate::raw::bytes::{Connect, PINGREQ, Publish, Will, ack, subscribe, unsubscribe};
use crate::raw::{BOTH, Peer, Server, V4, V5};
use rmqtt::broker::Farewell;

/// The reason string of a packet of MQTT 5, which is the last of its properties here.
fn words(packet: &[u8]) -> Option<String> {
    let at = packet.iter().position(|byte| *byte == 0x1F)?;
    let length = usize::from(packet[at + 2]);
    let text = packet.get(at + 3..at + 3 + length)?;
    String::from_utf8(text.to_vec()).ok()
}

async fn told(peer: &mut Peer, bytes: &[u8]) -> Option<String> {
    peer.send(bytes).await;
    words(&peer.expect_packet().await)
}

/// Answers that fail, each with a word that its reason string has.
fn failures() -> Vec<(Vec<u8>, &'static str)> {
    let reserved = Publish::new("$SYS/x", "x");
    let deep = Publish::new("x/".repeat(300), "x");
    let text = Publish::new("t", b"\xFF").properties(&[0x01, 1]);
    vec![
        (reserved.clone().qos(1, 1).bytes(V5), "may not publish"),
        (reserved.qos(2, 2).bytes(V5), "may not publish"),
        (deep.qos(1, 3).bytes(V5), "levels"),
        (text.qos(2, 4).bytes(V5), "UTF-8"),
        (
            subscribe(V5, 5, &[("a", 0), ("b#", 0), ("c", 0)]),
            "filter 2",
        ),
        (unsubscribe(V5, 6, &["b#"]), "filter 1"),
    ]
}

/// spec(5): MQTT-3.1.2-29
#[tokio::test]
async fn answers_say_why_something_failed_unless_nobody_wants_to_know() {
    let server = Server::start().await;
    for (properties, wants) in [(&[][..], true), (&[0x17, 1], true), (&[0x17, 0], false)] {
        let connect = Connect::new(V5, "peer").properties(properties);
        let (mut peer, _) = server.connect(&connect).await;
        for (bytes, word) in failures() {
            let told = told(&mut peer, &bytes).await;
            let is_told = told.as_ref().is_some_and(|told| told.contains(word));
            assert_eq!(is_told, wants, "{word}: {told:?}");
            assert!(wants || told.is_none(), "{told:?}");
        }
        // What went well needs no words.
        assert_eq!(told(&mut peer, &subscribe(V5, 7, &[("a", 1)])).await, None);
        let publish = Publish::new("nobody", "x").qos(1, 8);
        assert_eq!(told(&mut peer, &publish.bytes(V5)).await, None);
        // These are said in any case: they may be.
        let told = told(&mut peer, &ack(0x42, 1)).await;
        assert!(
            told.is_some_and(|told| told.contains("[MQTT-")),
            "DISCONNECT"
        );
        peer.expect_closed().await;
    }
}

/// spec(5): MQTT-3.2.2-19, MQTT-3.2.2-20, MQTT-3.9.2-1, MQTT-3.9.2-2, MQTT-3.11.2-1, MQTT-3.11.2-2
/// spec(5, server): MQTT-3.4.2-2, MQTT-3.4.2-3, MQTT-3.5.2-2, MQTT-3.5.2-3, MQTT-3.14.2-3, MQTT-3.14.2-4
#[tokio::test]
async fn words_that_do_not_fit_are_left_out_and_the_code_is_not() {
    let server = Server::start().await;
    for limit in 8..80 {
        let properties = [0x27, 0, 0, 0, limit];
        let connect = Connect::new(V5, "small").properties(&properties);
        let (mut peer, _) = server.connect(&connect).await;
        for (bytes, _) in failures() {
            peer.send(&bytes).await;
            let packet = peer.expect_packet().await;
            let is_short = words(&packet).is_none();
            assert!(packet.len() <= usize::from(limit), "{packet:02x?}");
            assert!(is_short || packet.len() > 12, "{packet:02x?}");
            assert!(limit < 78 || !is_short, "there is room: {packet:02x?}");
        }
        peer.send(&ack(0x42, 1)).await;
        let packet = peer.expect_packet().await;
        assert_eq!((packet[0], packet[2]), (0xE0, 0x81));
        assert!(packet.len() <= usize::from(limit), "{packet:02x?}");
        peer.expect_closed().await;

        let will = Will::new("$SYS/x", "x");
        let mut peer = server.socket(V5).await;
        peer.send(&connect.will(&will).bytes()).await;
        let packet = peer.expect_packet().await;
        assert_eq!((packet[0], packet[3]), (0x20, 0x87));
        assert!(packet.len() <= usize::from(limit), "{packet:02x?}");
        assert_eq!(words(&packet).is_some(), limit >= 58, "{packet:02x?}");
    }
}

/// No reason string holds what a client has sent.
#[tokio::test]
async fn a_client_cannot_put_words_into_the_brokers_mouth() {
    let server = Server::start().await;
    let mut peer = server.client(V5, "forged\r\n").await;
    for bytes in [
        subscribe(V5, 1, &[("forged#", 0)]),
        Publish::new("$SYS/forged", "forged").qos(1, 1).bytes(V5),
        unsubscribe(V5, 2, &["forged#"]),
        Publish::new("forged#", "x").bytes(V5),
    ] {
        let told = told(&mut peer, &bytes).await.expect("words");
        assert!(!told.contains("forged"), "{told}");
    }
    peer.expect_closed().await;
}

/// Only 3.1.1 can have nothing said.
#[tokio::test]
async fn version_3_1_1_hears_no_words() {
    let server = Server::start().await;
    let mut peer = server.client(V4, "peer").await;
    let deep = "x/".repeat(300);
    peer.send(&subscribe(V4, 1, &[(&deep, 0)])).await;
    peer.expect(&[0x90, 3, 0, 1, 0x80]).await;
    peer.send(&unsubscribe(V4, 2, &[&deep])).await;
    peer.expect(&[0xB0, 2, 0, 2]).await;
    peer.send(&Publish::new("$SYS/x", "x").qos(1, 3).bytes(V4))
        .await;
    peer.expect(&[0x40, 2, 0, 3]).await;
}

fn server_reference(text: &str) -> Vec<u8> {
    [vec![0x1C], crate::raw::bytes::field(text)].concat()
}

#[tokio::test]
async fn a_client_can_be_sent_to_another_server() {
    for (is_permanent, reason) in [(false, 0x9C), (true, 0x9D)] {
        for version in BOTH {
            let server = Server::start().await;
            let mut peer = server.client(version, "peer").await;
            let farewell = Farewell::to_server("host:1883", is_permanent).expect("good");
            assert!(server.broker().disconnect("peer", farewell.clone()));
            assert!(!server.broker().disconnect("nobody", farewell));
            if version == V5 {
                let properties = server_reference("host:1883");
                let size = u8::try_from(properties.len()).expect("small");
                let packet = [vec![0xE0, size + 2, reason, size], properties].concat();
                peer.expect(&packet).await;
            }
            peer.expect_closed().await;
        }
    }
}

/// The session of a client that is turned away stays where it is, and so do those who are connected.
#[tokio::test]
async fn all_who_come_can_be_sent_to_another_server() {
    for (is_permanent, reason) in [(false, 0x9C), (true, 0x9D)] {
        for version in BOTH {
            let server = Server::start().await;
            let connect = Connect::new(version, "peer").resume();
            let (mut peer, _) = server.connect(&connect).await;
            let farewell = Farewell::to_server("[::1]:1883", is_permanent).expect("good");
            server.broker().turn_away(Some(farewell));
            let mut late = server.socket(version).await;
            late.send(&[&connect.bytes(), &PINGREQ[..]].concat()).await;
            let (flags, properties) = late.expect_connack(version.pick(3, reason)).await;
            let told = version.pick(vec![], server_reference("[::1]:1883"));
            assert_eq!((flags, properties), (0, told));
            late.expect_closed().await;
            let mut small = server.socket(version).await;
            let little = connect.clone().properties(&[0x27, 0, 0, 0, 10]);
            small.send(&little.bytes()).await;
            let (_, properties) = small.expect_connack(version.pick(3, reason)).await;
            assert!(properties.is_empty());
            peer.ping().await;
            peer.disconnect().await;
            server.broker().turn_away(None);
            assert!(server.connect(&connect).await.1);
        }
    }
}

#[tokio::test]
async fn a_reference_to_no_server_is_refused() {
    for text in ["", "a\0b", &"x".repeat(65_536)] {
        assert!(Farewell::to_server(text, true).is_err());
    }
    assert!(Farewell::to_server(&"x".repeat(65_535), true).is_ok());
}
