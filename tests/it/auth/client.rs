//! A client that authenticates, and a broker that does what a test says.

use super::scram::{Exchange as Scram, attribute, base64};
use crate::client_script::{Peer, Stage, accepted, message, soon};
use bytes::Bytes;
use rmqtt::broker::auth::Users;
use rmqtt::broker::{Broker, BrokerOptions};
use rmqtt::client::auth::{AuthFailure, Authenticator, Exchange, ScramSha256, Word};
use rmqtt::client::protocol::AUTH_ROUNDS_MAX;
use rmqtt::client::{Client, ClientError, ClientOptions, Close};
use rmqtt::codec::{Auth, ConnAck, Disconnect, Packet, ProtocolVersion, ReasonCode};
use rmqtt::message::QoS;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

const V5: ProtocolVersion = ProtocolVersion::V5;
const METHOD: &str = "SCRAM-SHA-256";

async fn stage(name: &str) -> Stage {
    let mut stage = Stage::new(name, V5).await;
    let alice = ScramSha256::new("alice", "secret").expect("fit");
    stage.options.auth = Some(Arc::new(alice));
    stage
}

fn auth(reason: ReasonCode, method: &str, data: &str) -> Packet {
    Packet::Auth(Auth {
        reason,
        method: method.into(),
        data: Some(Bytes::copy_from_slice(data.as_bytes())),
        reason_string: None,
        user_properties: Vec::new(),
    })
}

fn more(data: &str) -> Packet {
    auth(ReasonCode::ContinueAuthentication, METHOD, data)
}

fn consent(method: Option<&str>, data: Option<&str>) -> Packet {
    let mut connack = accepted();
    connack.properties.authentication_method = method.map(Into::into);
    connack.properties.authentication_data =
        data.map(|data| Bytes::copy_from_slice(data.as_bytes()));
    Packet::ConnAck(Box::new(connack))
}

fn text(data: Option<&Bytes>) -> String {
    String::from_utf8(data.expect("data").to_vec()).expect("text")
}

/// The challenge to a client's first message, in the example's salt.
fn challenge(first: &str) -> (String, String) {
    let bare = first.strip_prefix("n,,").expect("no binding").to_owned();
    let nonce = attribute(&bare, 'r');
    let challenge = format!("r={nonce}more,s={},i=4096", base64("salt"));
    (bare, challenge)
}

/// The next packet is AUTH with this reason, the method, and no word beside its data; the data.
async fn heard_auth(peer: &mut Peer, reason: ReasonCode) -> String {
    let packet = peer.heard().await;
    let Packet::Auth(it) = &packet else {
        panic!("{packet:?} is no AUTH")
    };
    let data = text(it.data.as_ref());
    assert_eq!(packet, auth(reason, METHOD, &data));
    data
}

/// The broker's part, up to the proof; what it would sign.
async fn proven(peer: &mut Peer, first: &str) -> String {
    let (bare, challenge) = challenge(first);
    peer.say(&more(&challenge)).await;
    let last = heard_auth(peer, ReasonCode::ContinueAuthentication).await;
    let right = Scram::new("secret", "n,,", &bare, &challenge);
    assert_eq!(last, right.client_final);
    right.server_final
}

/// A connection of this client, well authenticated.
async fn welcome(stage: &Stage) -> Peer {
    let mut peer = stage.accept().await;
    let properties = peer.connect.properties.clone();
    assert_eq!(properties.authentication_method.as_deref(), Some(METHOD));
    let first = text(properties.authentication_data.as_ref());
    let signature = proven(&mut peer, &first).await;
    peer.say(&consent(Some(METHOD), Some(&signature))).await;
    peer
}

async fn pair(stage: &Stage) -> (Client, Peer) {
    let client = Client::new(stage.options.clone());
    let (connected, peer) = tokio::join!(soon(client.connect()), welcome(stage));
    connected.expect("connected");
    (client, peer)
}

/// Connects to a broker that answers CONNECT so; why it failed, and what the client said at last.
async fn fails(stage: &Stage, answers: &[Packet]) -> (ClientError, Option<Packet>) {
    let client = Client::new(stage.options.clone());
    let broker = async {
        let mut peer = stage.accept().await;
        for answer in answers {
            peer.say(answer).await;
        }
        loop {
            match peer.heard_or_end().await {
                Some(Packet::Auth(_)) => {}
                last => break last,
            }
        }
    };
    let (outcome, last) = tokio::join!(soon(client.connect()), broker);
    (outcome.expect_err("not connected"), last)
}

/// spec(5): MQTT-4.12.0-3
/// spec(5, client): MQTT-4.12.0-5, MQTT-3.15.2-1
#[tokio::test]
async fn a_client_proves_that_it_knows_the_password() {
    let stage = stage("proves").await;
    let (client, mut peer) = pair(&stage).await;
    assert_eq!(peer.connect.password, None);
    client.close(Close::Abort).await;
    assert_eq!(peer.heard_or_end().await, None);
}

#[tokio::test]
async fn a_broker_that_does_not_know_the_password_is_not_believed() {
    let stage = stage("impostor").await;
    for data in [Some("v=AAAA"), Some("e=other-error"), Some(""), None] {
        let client = Client::new(stage.options.clone());
        let broker = async {
            let mut peer = stage.accept().await;
            let first = text(peer.connect.properties.authentication_data.as_ref());
            proven(&mut peer, &first).await;
            peer.say(&consent(Some(METHOD), data)).await;
            peer.heard_or_end().await
        };
        let (outcome, last) = tokio::join!(soon(client.connect()), broker);
        let error = outcome.expect_err("not believed");
        assert!(matches!(&error, ClientError::Authentication(_)) && error.is_terminal());
        assert!(!error.to_string().contains("secret"), "{error}");
        assert!(
            matches!(last, Some(Packet::Disconnect(it)) if it.reason == ReasonCode::UnspecifiedError)
        );
    }
    // One that is content before it has asked for anything.
    let (error, last) = fails(&stage, &[consent(Some(METHOD), Some("v="))]).await;
    assert!(matches!(error, ClientError::Authentication(_)));
    assert!(matches!(last, Some(Packet::Disconnect(_))));
}

/// spec(5, client): MQTT-4.12.0-5
#[tokio::test]
async fn another_method_than_the_clients_is_a_protocol_error() {
    let stage = stage("method").await;
    let other = auth(ReasonCode::ContinueAuthentication, "OTHER", "x");
    for answer in [
        other,
        consent(Some("OTHER"), None),
        consent(None, None),
        auth(ReasonCode::Success, METHOD, "x"),
        auth(ReasonCode::ReAuthenticate, METHOD, "x"),
    ] {
        let (error, last) = fails(&stage, &[answer]).await;
        assert!(matches!(error, ClientError::Protocol { .. }), "{error}");
        assert_eq!(last, None);
    }
}

#[tokio::test]
async fn a_broker_cannot_make_a_client_hash_too_little_or_too_much() {
    let stage = stage("iterations").await;
    for iterations in ["1", "4095", "1000001", "4294967295"] {
        let client = Client::new(stage.options.clone());
        let broker = async {
            let mut peer = stage.accept().await;
            let first = text(peer.connect.properties.authentication_data.as_ref());
            let (_, challenge) = challenge(&first);
            peer.say(&more(&challenge.replace("4096", iterations)))
                .await;
            peer.heard_or_end().await
        };
        let (outcome, last) = tokio::join!(soon(client.connect()), broker);
        assert!(matches!(outcome, Err(ClientError::Authentication(_))));
        assert_eq!(last, None);
    }
    let (error, _) = fails(&stage, &[more("r=other,s=c2FsdA==,i=4096")]).await;
    assert!(error.to_string().contains("nonce"), "{error}");
}

#[tokio::test]
async fn who_wants_proof_is_not_talked_down_to_an_older_version() {
    let stage = stage("older").await;
    let refusal = ConnAck {
        reason: ReasonCode::UnsupportedProtocolVersion,
        ..accepted()
    };
    let (error, last) = fails(&stage, &[Packet::ConnAck(Box::new(refusal))]).await;
    assert!(matches!(error, ClientError::ConnectRefused { .. }));
    assert_eq!(last, None);
}

/// spec(5): MQTT-3.1.2-30
#[tokio::test(start_paused = true)]
async fn before_connack_a_client_says_auth_and_nothing_else() {
    let mut stage = stage("quiet").await;
    stage.keep_session();
    let (client, peer) = pair(&stage).await;
    drop(peer);
    let mut peer = stage.accept().await;
    let publishing = client.publish(message("t", "x", QoS::AtLeastOnce));
    let broker = async {
        // It authenticates anew, and with a nonce of its own.
        let first = text(peer.connect.properties.authentication_data.as_ref());
        let signature = proven(&mut peer, &first).await;
        peer.say(&consent(Some(METHOD), Some(&signature))).await;
        let publish = peer.heard_publish().await;
        peer.say(&Packet::Ack(rmqtt::codec::Ack::new(
            rmqtt::codec::AckKind::PubAck,
            publish.packet_id.expect("QoS 1"),
            ReasonCode::Success,
        )))
        .await;
    };
    let (published, ()) = tokio::join!(soon(publishing), broker);
    published.expect("acknowledged");
}

/// spec(5): MQTT-4.12.1-1
/// spec(5, client): MQTT-3.15.2-1, MQTT-3.15.2-2, MQTT-3.15.2-3
#[tokio::test]
async fn a_client_authenticates_again_while_messages_flow() {
    let stage = stage("again").await;
    let (client, mut peer) = pair(&stage).await;
    for _ in 0..2 {
        let broker = async {
            let first = heard_auth(&mut peer, ReasonCode::ReAuthenticate).await;
            let (bare, challenge) = challenge(&first);
            client
                .publish(message("t", "x", QoS::AtMostOnce))
                .await
                .expect("queued");
            peer.heard_publish().await;
            peer.say(&more(&challenge)).await;
            let last = heard_auth(&mut peer, ReasonCode::ContinueAuthentication).await;
            let right = Scram::new("secret", "n,,", &bare, &challenge);
            assert_eq!(last, right.client_final);
            peer.say(&auth(ReasonCode::Success, METHOD, &right.server_final))
                .await;
        };
        let (outcome, ()) = tokio::join!(soon(client.reauthenticate()), broker);
        outcome.expect("believed");
    }
    client.close(Close::Abort).await;
}

/// spec(5, client): MQTT-4.12.1-2
#[tokio::test]
async fn failing_to_authenticate_again_ends_the_connection() {
    let mut stage = stage("fails").await;
    stage.options.reconnect = None;
    // The broker refuses.
    let (client, mut peer) = pair(&stage).await;
    let broker = async {
        heard_auth(&mut peer, ReasonCode::ReAuthenticate).await;
        let no = Disconnect::new(ReasonCode::NotAuthorized);
        peer.say(&Packet::Disconnect(no)).await;
        assert_eq!(peer.heard_or_end().await, None);
    };
    let (outcome, ()) = tokio::join!(soon(client.reauthenticate()), broker);
    assert!(
        matches!(outcome, Err(ClientError::ConnectRefused { reason, .. }) if reason == ReasonCode::NotAuthorized)
    );
    // The client does not believe the broker.
    let (client, mut peer) = pair(&stage).await;
    let broker = async {
        let first = heard_auth(&mut peer, ReasonCode::ReAuthenticate).await;
        proven(&mut peer, &first).await;
        peer.say(&auth(ReasonCode::Success, METHOD, "v=AAAA")).await;
        let last = peer.heard_or_end().await;
        assert!(matches!(last, Some(Packet::Disconnect(_))), "{last:?}");
        assert_eq!(peer.heard_or_end().await, None);
    };
    let (outcome, ()) = tokio::join!(soon(client.reauthenticate()), broker);
    assert!(matches!(outcome, Err(ClientError::Authentication(_))));
    // The connection is cut in the middle.
    let (client, mut peer) = pair(&stage).await;
    let broker = async {
        heard_auth(&mut peer, ReasonCode::ReAuthenticate).await;
        drop(peer);
    };
    let (outcome, ()) = tokio::join!(soon(client.reauthenticate()), broker);
    assert!(matches!(outcome, Err(ClientError::ConnectionLost { .. })));
}

#[tokio::test(start_paused = true)]
async fn a_broker_that_does_not_answer_is_not_waited_for() {
    let mut stage = stage("silent").await;
    stage.options.reconnect = None;
    let (client, mut peer) = pair(&stage).await;
    let broker = async {
        heard_auth(&mut peer, ReasonCode::ReAuthenticate).await;
        let last = peer.heard_or_end().await;
        assert!(matches!(last, Some(Packet::Disconnect(_))), "{last:?}");
    };
    let (outcome, ()) = tokio::join!(client.reauthenticate(), broker);
    assert!(matches!(outcome, Err(ClientError::TimedOut { .. })));
}

#[tokio::test]
async fn what_cannot_be_sent_is_refused_and_ends_nothing() {
    let stage = stage("small").await;
    let client = Client::new(stage.options.clone());
    let broker = async {
        let mut peer = stage.accept().await;
        let first = text(peer.connect.properties.authentication_data.as_ref());
        let signature = proven(&mut peer, &first).await;
        let Packet::ConnAck(mut connack) = consent(Some(METHOD), Some(&signature)) else {
            unreachable!("made above")
        };
        connack.properties.maximum_packet_size = NonZeroU32::new(30);
        peer.say(&Packet::ConnAck(connack)).await;
        peer
    };
    let (connected, mut peer) = tokio::join!(soon(client.connect()), broker);
    connected.expect("connected");
    let outcome = soon(client.reauthenticate()).await;
    assert!(matches!(outcome, Err(ClientError::PacketTooLarge { .. })));
    client
        .publish(message("t", "x", QoS::AtMostOnce))
        .await
        .expect("queued");
    peer.heard_publish().await;
}

/// spec(5): MQTT-4.12.0-7
#[tokio::test]
async fn a_client_without_a_method_neither_says_nor_takes_auth() {
    let stage = Stage::new("without", V5).await;
    let (client, mut peer) = stage.pair(accepted()).await;
    let outcome = soon(client.reauthenticate()).await;
    assert!(matches!(outcome, Err(ClientError::Misuse(_))));
    peer.say(&more("x")).await;
    let last = peer.heard_or_end().await;
    assert!(matches!(last, Some(Packet::Disconnect(it)) if it.reason == ReasonCode::ProtocolError));
    let (error, last) = fails(&stage, &[more("x")]).await;
    assert!(matches!(error, ClientError::Protocol { .. }));
    assert_eq!(last, None);
}

/// Answers whatever it is asked, and can be told to stop.
#[derive(Debug)]
struct Echo {
    fails: bool,
}

struct Echoing {
    fails: bool,
}

impl Authenticator for Echo {
    fn method(&self) -> &'static str {
        METHOD
    }

    fn begin(&self) -> Box<dyn Exchange> {
        Box::new(Echoing { fails: self.fails })
    }
}

impl Exchange for Echoing {
    fn start(&mut self) -> Word<'_> {
        Box::pin(async { Ok(None) })
    }

    fn step(&mut self, data: Option<Bytes>) -> Word<'_> {
        let fails = self.fails;
        Box::pin(async move {
            tokio::time::sleep(Duration::from_millis(1)).await;
            if fails {
                Err(AuthFailure::new("had enough"))
            } else {
                Ok(data)
            }
        })
    }

    fn finish(&mut self, _: Option<Bytes>) -> Word<'_> {
        Box::pin(async { Ok(None) })
    }
}

#[tokio::test(start_paused = true)]
async fn a_broker_that_asks_for_ever_is_left() {
    let mut stage = stage("for-ever").await;
    stage.options.auth = Some(Arc::new(Echo { fails: false }));
    let client = Client::new(stage.options.clone());
    let broker = async {
        let mut peer = stage.accept().await;
        assert_eq!(peer.connect.properties.authentication_data, None);
        let mut rounds = 0;
        loop {
            peer.say(&more("again?")).await;
            match peer.heard_or_end().await {
                Some(Packet::Auth(_)) => rounds += 1,
                last => break (rounds, last),
            }
        }
    };
    let (outcome, (rounds, last)) = tokio::join!(client.connect(), broker);
    assert!(matches!(outcome, Err(ClientError::Protocol { .. })));
    assert_eq!((rounds, last), (AUTH_ROUNDS_MAX, None));
    // Two questions at a time are one too many.
    let (error, _) = fails(&stage, &[more("one"), more("two"), more("three")]).await;
    assert!(matches!(
        error,
        ClientError::Protocol { .. }
            | ClientError::ConnectionLost { .. }
            | ClientError::TimedOut { .. }
    ));
}

#[tokio::test(start_paused = true)]
async fn a_mechanism_that_gives_up_ends_the_connection_with_its_reason() {
    let mut stage = stage("gives-up").await;
    stage.options.auth = Some(Arc::new(Echo { fails: true }));
    let (error, last) = fails(&stage, &[more("x")]).await;
    assert_eq!(
        error,
        ClientError::Authentication(AuthFailure::new("had enough"))
    );
    assert_eq!(last, None);
}

async fn guarded() -> (Broker, ClientOptions) {
    let users = Users::new([("alice", "secret")]).expect("a user");
    let broker = Broker::new(BrokerOptions {
        listeners: Vec::new(),
        auth: Some(Arc::new(users.into())),
        ..BrokerOptions::default()
    });
    broker.start().await.expect("started");
    let options = ClientOptions::new(broker.memory_address());
    (broker, options)
}

#[tokio::test]
async fn our_client_and_our_broker_understand_each_other() {
    let (broker, mut options) = guarded().await;
    let as_user = |name, password| -> Option<Arc<dyn Authenticator>> {
        Some(Arc::new(ScramSha256::new(name, password).expect("fit")))
    };
    options.auth = as_user("alice", "secret");
    let client = Client::new(options.clone());
    soon(client.connect()).await.expect("let in");
    soon(client.reauthenticate()).await.expect("again");
    let (one, two) = tokio::join!(soon(client.reauthenticate()), soon(client.reauthenticate()));
    assert!(one.is_ok() && matches!(two, Err(ClientError::Misuse(_))));
    assert_eq!(broker.clients()[0].user.as_deref(), Some("alice"));
    client.close(Close::Drain(Duration::from_secs(1))).await;

    for (name, password) in [("alice", "wrong"), ("nobody", "secret")] {
        options.auth = as_user(name, password);
        let refused = soon(Client::new(options.clone()).connect()).await;
        assert!(
            matches!(refused, Err(ClientError::ConnectRefused { reason, .. }) if reason == ReasonCode::NotAuthorized)
        );
    }
    options.auth = Some(Arc::new(Echo { fails: false }));
    let asked = soon(Client::new(options.clone()).connect()).await;
    assert!(asked.is_err());
}

#[test]
fn credentials_are_prepared_and_not_shown() {
    for (name, password) in [("", "x"), ("x", ""), ("a\0", "x"), ("x", "\u{7}")] {
        let refused = ScramSha256::new(name, password);
        assert!(matches!(refused, Err(ClientError::Misuse(_))));
    }
    let alice = ScramSha256::new("alice", "secret").expect("fit");
    assert_eq!(
        format!("{alice:?}"),
        "ScramSha256 { username: \"alice\", .. }"
    );
}
