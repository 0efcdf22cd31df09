//! Control characters in every string that a client may send: carried as they are, and shown to nobody raw.

use crate::raw::bytes::{Connect, Publish, Will, block, field, packet, user_property};
use crate::raw::{BOTH, Server, V5, Version, until};

/// Every control character but NUL, which is refused: of ASCII, of Latin-1, and what moves the text of a terminal.
fn controls() -> String {
    let ascii = (1..=0x1F).chain([0x7F]).filter_map(char::from_u32);
    let latin = (0x80..=0x9F).filter_map(char::from_u32);
    let tricks = ['\u{202E}', '\u{2066}', '\u{FEFF}', '\u{FFFE}', '\u{FFFF}'];
    ascii.chain(latin).chain(tricks).collect()
}

fn properties(version: Version, text: &str) -> Vec<u8> {
    match version {
        V5 => user_property(text, text),
        Version::V4 => Vec::new(),
    }
}

#[tokio::test]
async fn control_characters_in_every_string_are_carried_and_harm_nobody() {
    let text = controls();
    for version in BOTH {
        let server = Server::start().await;
        let mut witness = server.witness().await;
        let topic = format!("{text}/{text}");
        let will = Will {
            properties: properties(version, &text),
            ..Will::new(format!("will/{text}"), text.clone())
        };
        let mut connect = Connect::new(version, &text);
        connect.properties = properties(version, &text);
        connect = connect.will(&will);
        connect.flags |= 0x80;
        let (mut peer, _) = server.connect(&connect.more(&field(&text))).await;
        peer.subscribe(&[(&format!("{text}/#"), 1), ("plain", 1)])
            .await;
        let mut watcher = server.client(version, "watcher").await;
        watcher.subscribe(&[("will/#", 0)]).await;
        let publish = Publish::new(&topic, &text).properties(&properties(version, &text));
        peer.send(&publish.qos(1, 9).bytes(version)).await;
        let mut delivery = None;
        for _ in 0..2 {
            let packet = peer.expect_packet().await;
            if packet[0] >> 4 == 3 {
                delivery = Some(packet);
            }
        }
        let delivery = delivery.expect("a message of its own");
        let holds = |part: &[u8]| delivery.windows(part.len()).any(|window| window == part);
        assert!(holds(&field(&topic)));
        assert!(version != V5 || holds(&properties(version, &text)));
        witness.goes_on().await;
        let clients = server.broker().clients();
        let known = clients.iter().find(|client| client.client_id == text);
        let known = known.expect("its client id as it is");
        assert_eq!(known.username.as_deref(), Some(text.as_str()));
        let shown = format!("{known:?} {:?}", server.broker().sessions());
        assert!(!shown.chars().any(char::is_control), "{shown}");
        peer.abort();
        let said = watcher.delivery().await;
        assert_eq!(
            (said.topic, said.payload),
            (format!("will/{text}"), text.clone().into_bytes())
        );
        witness.goes_on().await;
    }
}

/// A reason that a client gives is read and thrown away.
#[tokio::test]
async fn a_reason_full_of_control_characters_is_no_reason_to_stumble() {
    let server = Server::start().await;
    let mut witness = server.witness().await;
    let mut peer = server.client(V5, "reasons").await;
    let reason = [vec![0x1F], field(controls())].concat();
    let body = [vec![0x00], block(V5, &reason)].concat();
    peer.send(&packet(0xE0, &body)).await;
    peer.expect_closed().await;
    until("it to be gone", server.broker(), |broker| {
        broker.stats().connections == 2
    })
    .await;
    assert_eq!(server.stats().connections_violated, 0);
    witness.goes_on().await;
}
