//! SCRAM-SHA-256 against a broker on a socket: raw bytes in, bytes out.

use super::scram::{Exchange, attribute};
use crate::raw::bytes::{Connect, DISCONNECT, PINGREQ, Publish, block, field, packet, subscribe};
use crate::raw::{Peer, Server, V4, V5};
use rmqtt::broker::auth::{Answer, Users};
use rmqtt::scram::{ITERATIONS_MIN, METHOD as SCRAM_SHA_256};
use std::sync::Arc;

const CONTINUE: u8 = 0x18;
const AGAIN: u8 = 0x19;
const NONCE: &str = "fyko+d2lbbFgONRv9qkxdawL";

pub(super) async fn with_auth(users: &[(&str, &str)]) -> Server {
    let users = Users::new(users.iter().copied()).expect("users");
    Server::with_options(|options| options.auth = Some(Arc::new(users.into()))).await
}

pub(super) async fn guarded() -> Server {
    with_auth(&[("alice", "secret"), ("bob", "other")]).await
}

fn method(name: &str) -> Vec<u8> {
    [vec![0x15], field(name)].concat()
}

fn properties(name: &str, data: &str) -> Vec<u8> {
    [method(name), vec![0x16], field(data)].concat()
}

fn auth(reason: u8, data: &str) -> Vec<u8> {
    auth_by(reason, SCRAM_SHA_256, data)
}

fn auth_by(reason: u8, name: &str, data: &str) -> Vec<u8> {
    packet(
        0xF0,
        &[vec![reason], block(V5, &properties(name, data))].concat(),
    )
}

fn connect(id: &str, first: &str) -> Connect {
    Connect::new(V5, id).properties(&properties(SCRAM_SHA_256, first))
}

fn first(user: &str) -> (String, String) {
    let bare = format!("n={user},r={NONCE}");
    (format!("n,,{bare}"), bare)
}

/// The method and the data in these properties, which have nothing else of authentication and no word beside it.
fn data_of(mut properties: &[u8]) -> String {
    let own = method(SCRAM_SHA_256);
    let at = properties
        .windows(own.len())
        .position(|window| window == own)
        .expect("the method is repeated");
    properties = &properties[at + own.len()..];
    assert_eq!(properties[0], 0x16);
    let length = usize::from(properties[1]) << 8 | usize::from(properties[2]);
    String::from_utf8(properties[3..3 + length].to_vec()).expect("text")
}

/// The next packet is AUTH with this reason and nothing but method and data; the data.
async fn expect_auth(peer: &mut Peer, reason: u8) -> String {
    let packet = peer.expect_packet().await;
    assert_eq!((packet[0], packet[2]), (0xF0, reason), "{packet:02x?}");
    let data = data_of(&packet[4..]);
    assert_eq!(
        packet,
        auth(reason, &data),
        "AUTH says what it has to and no more"
    );
    data
}

/// Begins an exchange in CONNECT; the server's first message.
async fn begun(server: &Server, id: &str, user: &str) -> (Peer, String, String) {
    let (first, bare) = first(user);
    let mut peer = server.socket(V5).await;
    peer.send(&connect(id, &first).bytes()).await;
    let server_first = expect_auth(&mut peer, CONTINUE).await;
    (peer, bare, server_first)
}

/// A client that has proven who it is.
async fn proven(server: &Server, id: &str, user: &str, password: &str) -> Peer {
    let (mut peer, bare, server_first) = begun(server, id, user).await;
    let exchange = Exchange::new(password, "n,,", &bare, &server_first);
    peer.send(&auth(CONTINUE, &exchange.client_final)).await;
    let (_, properties) = peer.expect_connack(0).await;
    assert_eq!(data_of(&properties), exchange.server_final);
    peer
}

/// Authenticates again, with traffic in between; `true`: as it should be.
async fn again(peer: &mut Peer, user: &str, password: &str) -> Exchange {
    let (first, bare) = first(user);
    peer.send(&auth(AGAIN, &first)).await;
    let server_first = expect_auth(peer, CONTINUE).await;
    peer.ping().await;
    let exchange = Exchange::new(password, "n,,", &bare, &server_first);
    peer.send(&auth(CONTINUE, &exchange.client_final)).await;
    exchange
}

/// spec(5): MQTT-4.12.0-2, MQTT-3.2.0-1, MQTT-3.2.0-2
/// spec(5, server): MQTT-4.12.0-5, MQTT-3.15.2-1
#[tokio::test]
async fn scram_lets_in_who_knows_the_password_and_proves_the_broker() {
    let server = guarded().await;
    let mut peer = proven(&server, "id", "alice", "secret").await;
    peer.ping().await;
    let clients = server.broker().clients();
    assert_eq!(clients[0].user.as_deref(), Some("alice"));
    assert_eq!(clients[0].username, None);
}

#[tokio::test]
async fn the_challenge_is_as_the_standard_wants_it() {
    let server = guarded().await;
    let (_, _, one) = begun(&server, "one", "alice").await;
    let (_, _, two) = begun(&server, "two", "alice").await;
    for message in [&one, &two] {
        let nonce = attribute(message, 'r');
        assert!(nonce.starts_with(NONCE) && nonce.len() >= NONCE.len() + 18);
        assert_eq!(attribute(message, 'i'), ITERATIONS_MIN.to_string());
    }
    assert_eq!(attribute(&one, 's'), attribute(&two, 's'));
    assert_ne!(attribute(&one, 'r'), attribute(&two, 'r'));
}

/// spec(5): MQTT-3.1.4-2, MQTT-4.12.0-4
#[tokio::test]
async fn wrong_proofs_are_refused_at_each_step() {
    let server = guarded().await;
    let bad_first = [
        "",
        "n",
        "n,,",
        "n,,n=,r=abc",
        "n,,n=alice,r=",
        "p=tls-unique,,n=alice,r=abc",
        "n,,n=al=41ice,r=abc,m=what",
        "n,,m=must,n=alice,r=abc",
        "\u{1F980}",
    ];
    for data in bad_first {
        let mut peer = server.socket(V5).await;
        peer.about(data);
        peer.send(&connect("id", data).bytes()).await;
        peer.expect_connack(0x87).await;
        peer.expect_closed().await;
    }
    let spoilt: [fn(&str) -> String; 7] = [
        |_| String::new(),
        |right| right.replace("p=", "p=A"),
        |right| right.replace("p=", "p=????"),
        |right| right.replace("r=", "r=x"),
        |right| right.replace("c=biws", "c=eSws"),
        |right| right.split(",p=").next().unwrap_or_default().to_owned(),
        |right| format!("{},p={}", &right[..right.len() - 47], "A".repeat(44)),
    ];
    for spoil in spoilt {
        let (mut peer, bare, server_first) = begun(&server, "id", "alice").await;
        let exchange = Exchange::new("secret", "n,,", &bare, &server_first);
        let wrong = spoil(&exchange.client_final);
        peer.about(&wrong);
        peer.send(&auth(CONTINUE, &wrong)).await;
        peer.expect_connack(0x87).await;
        peer.expect_closed().await;
    }
    // Of another exchange: what was good once is worth nothing now.
    let (_, bare, old) = begun(&server, "id", "alice").await;
    let (mut peer, ..) = begun(&server, "id", "alice").await;
    let exchange = Exchange::new("secret", "n,,", &bare, &old);
    peer.send(&auth(CONTINUE, &exchange.client_final)).await;
    peer.expect_connack(0x87).await;
    peer.expect_closed().await;
    assert!(server.broker().clients().is_empty());
}

#[tokio::test]
async fn an_unknown_name_is_asked_for_like_a_known_one() {
    let server = guarded().await;
    let (_, _, one) = begun(&server, "one", "mallory").await;
    let (mut peer, bare, two) = begun(&server, "two", "mallory").await;
    let (_, _, known) = begun(&server, "three", "alice").await;
    let (_, _, other) = begun(&server, "four", "oscar").await;
    let salt = |message: &str| attribute(message, 's').to_owned();
    assert_eq!(salt(&one), salt(&two));
    assert_eq!(salt(&one).len(), salt(&known).len());
    assert_ne!(salt(&one), salt(&other));
    assert_eq!(attribute(&one, 'i'), attribute(&known, 'i'));
    let exchange = Exchange::new("", "n,,", &bare, &two);
    peer.send(&auth(CONTINUE, &exchange.client_final)).await;
    peer.expect_connack(0x87).await;
    peer.expect_closed().await;
}

#[tokio::test]
async fn both_words_for_no_channel_binding_are_understood() {
    let server = guarded().await;
    for header in ["n,,", "y,,", "n,a=alice,"] {
        let bare = format!("n=alice,r={NONCE}");
        let mut peer = server.socket(V5).await;
        peer.send(&connect("id", &format!("{header}{bare}")).bytes())
            .await;
        let server_first = expect_auth(&mut peer, CONTINUE).await;
        let exchange = Exchange::new("secret", header, &bare, &server_first);
        peer.send(&auth(CONTINUE, &exchange.client_final)).await;
        peer.expect_connack(0).await;
    }
}

#[tokio::test]
async fn nobody_acts_for_another_user() {
    let server = guarded().await;
    let (header, bare) = ("n,a=bob,", format!("n=alice,r={NONCE}"));
    let mut peer = server.socket(V5).await;
    peer.send(&connect("id", &format!("{header}{bare}")).bytes())
        .await;
    peer.expect_connack(0x87).await;
    peer.expect_closed().await;
}

#[tokio::test]
async fn names_with_commas_and_equals_signs_are_names() {
    let server = with_auth(&[("a,b=c", "secret")]).await;
    let mut peer = proven(&server, "id", "a=2Cb=3Dc", "secret").await;
    peer.ping().await;
    assert_eq!(server.broker().clients()[0].user.as_deref(), Some("a,b=c"));
}

#[tokio::test]
async fn a_client_without_first_words_is_asked_for_them() {
    let server = guarded().await;
    let mut peer = server.socket(V5).await;
    peer.send(
        &Connect::new(V5, "id")
            .properties(&method(SCRAM_SHA_256))
            .bytes(),
    )
    .await;
    assert_eq!(expect_auth(&mut peer, CONTINUE).await, "");
    let (first, bare) = first("alice");
    peer.send(&auth(CONTINUE, &first)).await;
    let server_first = expect_auth(&mut peer, CONTINUE).await;
    let exchange = Exchange::new("secret", "n,,", &bare, &server_first);
    peer.send(&auth(CONTINUE, &exchange.client_final)).await;
    peer.expect_connack(0).await;
}

/// spec(5): MQTT-4.12.0-1
#[tokio::test]
async fn other_methods_are_refused() {
    let server = guarded().await;
    for name in [
        "",
        "NOPE",
        "SCRAM-SHA-1",
        "SCRAM-SHA-256-PLUS",
        "scram-sha-256",
    ] {
        let mut peer = server.socket(V5).await;
        peer.about(name);
        peer.send(
            &Connect::new(V5, "id")
                .properties(&properties(name, "x"))
                .bytes(),
        )
        .await;
        peer.expect_connack(0x8C).await;
        peer.expect_closed().await;
    }
}

/// spec(5): MQTT-3.1.4-6
/// spec(5): RMQTT-4.12.0-2
/// spec(5, server): MQTT-4.12.0-5, RMQTT-3.15.2-2
#[tokio::test]
async fn before_success_a_client_says_auth_or_disconnect() {
    let server = guarded().await;
    let mut watcher = proven(&server, "watcher", "alice", "secret").await;
    watcher.subscribe(&[("#", 0)]).await;
    let (right, _) = first("alice");
    let wrong: [(&str, Vec<u8>, u8); 8] = [
        ("PUBLISH", Publish::new("t", "x").bytes(V5), 0x82),
        ("SUBSCRIBE", subscribe(V5, 1, &[("t", 0)]), 0x82),
        ("PINGREQ", PINGREQ.to_vec(), 0x82),
        ("CONNECT", Connect::new(V5, "id").bytes(), 0x82),
        ("AUTH 0x19", auth(AGAIN, &right), 0x82),
        ("AUTH 0x00", auth(0x00, &right), 0x82),
        ("another method", auth_by(CONTINUE, "OTHER", &right), 0x82),
        ("no method", vec![0xF0, 0x02, CONTINUE, 0x00], 0x82),
    ];
    for (name, bytes, code) in wrong {
        let (mut peer, ..) = begun(&server, "id", "alice").await;
        peer.about(name);
        peer.send(&[bytes, Publish::new("t", "after").bytes(V5)].concat())
            .await;
        peer.expect_connack(code).await;
        peer.expect_closed().await;
    }
    let (mut peer, ..) = begun(&server, "id", "alice").await;
    peer.send(&DISCONNECT).await;
    peer.expect_closed().await;
    watcher.ping().await;
}

#[tokio::test]
async fn auth_is_no_first_packet() {
    let server = guarded().await;
    let mut peer = server.socket(V5).await;
    peer.send(&auth(CONTINUE, "x")).await;
    peer.expect_closed().await;
}

/// spec(5, server): MQTT-4.12.1-2
#[tokio::test]
async fn a_client_authenticates_again_while_messages_flow() {
    let server = guarded().await;
    let mut peer = proven(&server, "id", "alice", "secret").await;
    peer.subscribe(&[("t", 0)]).await;
    for _ in 0..3 {
        let exchange = again(&mut peer, "alice", "secret").await;
        assert_eq!(expect_auth(&mut peer, 0x00).await, exchange.server_final);
        peer.send(&Publish::new("t", "on").bytes(V5)).await;
        assert_eq!(peer.delivery().await.text(), "on");
    }
    again(&mut peer, "alice", "wrong").await;
    peer.expect_end(&[0x87]).await;

    // Nor may it become somebody else.
    let mut peer = proven(&server, "id", "alice", "secret").await;
    again(&mut peer, "bob", "other").await;
    peer.expect_end(&[0x87]).await;
}

/// spec(5, server): MQTT-4.12.1-2, MQTT-4.12.0-5
/// spec(5): RMQTT-4.12.1-1
/// spec(5, server): RMQTT-3.15.2-2
#[tokio::test]
async fn auth_out_of_its_turn_ends_a_connection() {
    let server = guarded().await;
    let (right, _) = first("alice");
    let wrong = [
        ("to go on", auth(CONTINUE, &right)),
        ("success", auth(0x00, &right)),
        ("another method", auth_by(AGAIN, "OTHER", &right)),
        ("no method", vec![0xF0, 0x02, AGAIN, 0x00]),
        ("an empty one", vec![0xF0, 0x00]),
        ("twice", [auth(AGAIN, &right), auth(AGAIN, &right)].concat()),
    ];
    for (name, bytes) in wrong {
        let mut peer = proven(&server, "id", "alice", "secret").await;
        peer.about(name);
        peer.send(&bytes).await;
        if name == "twice" {
            expect_auth(&mut peer, CONTINUE).await;
        }
        peer.expect_end(&[0x82]).await;
    }
}

/// spec(5): MQTT-4.12.0-6
/// spec(5, server): RMQTT-4.12.0-1
#[tokio::test]
async fn who_agreed_on_no_method_says_and_hears_no_auth() {
    let server = guarded().await;
    let connect = super::password::connect(V5, "id", "alice", Some("secret"));
    let mut peer = server.socket(V5).await;
    peer.send(&connect.bytes()).await;
    let (_, properties) = peer.expect_connack(0).await;
    assert!(!properties.windows(3).any(|window| window == [0x15, 0, 13]));
    peer.send(&auth(AGAIN, "x")).await;
    peer.expect_end(&[0x82]).await;

    let connect = super::password::connect(V4, "id", "alice", Some("secret"));
    let (mut peer, _) = server.connect(&connect).await;
    peer.send(&auth(AGAIN, "x")).await;
    peer.expect_closed().await;
}

/// spec(5, server): MQTT-3.15.2-2, MQTT-3.15.2-3
#[tokio::test]
async fn auth_says_no_more_than_a_small_packet_holds() {
    let server = guarded().await;
    let (right, _) = first("alice");
    for limit in [150_u8, 90] {
        let small = [0x27, 0, 0, 0, limit];
        let mut peer = server.socket(V5).await;
        peer.send(&connect("id", &right).properties(&small).bytes())
            .await;
        if limit == 150 {
            // Nothing but method and data: `expect_auth` looks.
            expect_auth(&mut peer, CONTINUE).await;
        } else {
            peer.expect_connack(0x95).await;
            peer.expect_closed().await;
        }
    }
}

#[tokio::test]
async fn an_auth_of_many_bytes_is_refused_by_its_length() {
    let server = guarded().await;
    let (mut peer, ..) = begun(&server, "id", "alice").await;
    peer.send(&[0xF0, 0xFF, 0xFF, 0xFF, 0x7F]).await;
    peer.expect_connack(0x95).await;
    peer.expect_closed().await;
}

/// The salt of a known name is the same however it is written, so that of an unknown one has to be, too.
#[test]
fn a_name_nobody_has_is_asked_for_alike_however_it_is_written() {
    let users = Arc::new(Users::new([("IX", "secret")]).expect("a user"));
    let salt = |name: &str| {
        let mut exchange = users.begin(SCRAM_SHA_256).expect("known");
        let Answer::Continue(asked) = exchange.step(Some(&first(name).0.into())) else {
            panic!("every name is asked for")
        };
        let asked = std::str::from_utf8(&asked).expect("text");
        attribute(asked, 's').to_owned()
    };
    assert_eq!(salt("IX"), salt("\u{2168}"));
    assert_eq!(salt("VIII"), salt("\u{2167}"));
    assert_eq!(salt("no\u{AD}body"), salt("nobody"));
    // Nor does one that cannot be prepared stand out.
    assert_eq!(salt("\u{7}"), salt("\u{7}"));
}

/// Whatever a stranger sends as first or second word, the answer is no, and never a panic.
#[test]
fn no_bytes_break_an_exchange() {
    use proptest::prelude::*;
    let users = Arc::new(Users::new([("alice", "secret")]).expect("a user"));
    let words = proptest::collection::vec(any::<u8>(), 0..80);
    let shaped =
        "[nypc]=?,(a=[a-z]*)?,?[nrcpm]=[ -~]{0,20},[nrcp]=[ -~]{0,40}(,p=[A-Za-z0-9+/=]{0,50})?";
    let either = prop_oneof![words, shaped.prop_map(String::into_bytes)];
    proptest!(|(first in either.clone(), second in either)| {
        let mut exchange = users.begin(SCRAM_SHA_256).expect("known");
        for data in [first.into(), second.into()] {
            let is_in = matches!(exchange.step(Some(&data)), Answer::Accept { .. });
            prop_assert!(!is_in);
        }
        let mut exchange = users.begin(SCRAM_SHA_256).expect("known");
        let good = bytes::Bytes::from(super::broker::first("alice").0);
        prop_assert!(matches!(exchange.step(Some(&good)), Answer::Continue(_)));
    });
}
