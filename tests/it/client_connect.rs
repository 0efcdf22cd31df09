//! How a client comes by its connection, and when it gives up.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail by panicking")]

use crate::client_script::{Peer, Stage, VERSIONS, accepted, message, next, resumed, soon};
use rmqtt::client::{
    Client, ClientError, ClientOptions, Close, Event, Reconnect, SubscriptionSettings, Taken,
    TryPublish,
};
use rmqtt::codec::{ConnAck, Disconnect, Packet, ProtocolVersion, ReasonCode, Will};
use rmqtt::message::QoS;
use rmqtt::transport::{Address, Listener};
use std::time::Duration;
use tokio::io::AsyncWriteExt;
use tokio::time::Instant;

const V5: ProtocolVersion = ProtocolVersion::V5;

fn send(client: &Client, text: &str, qos: QoS) {
    let sent = client.try_publish(message("t", text, qos), None).unwrap();
    assert!(matches!(sent, TryPublish::Queued));
}

fn reconnect(options: &mut ClientOptions) -> &mut Reconnect {
    options.reconnect.as_mut().unwrap()
}

fn refusal(reason: ReasonCode) -> Packet {
    Packet::ConnAck(Box::new(ConnAck {
        reason,
        ..accepted()
    }))
}

/// The payloads and the DUP flags of so many PUBLISH packets.
async fn heard(peer: &mut Peer, count: usize) -> Vec<(String, u16, bool)> {
    let mut all = Vec::new();
    for _ in 0..count {
        let publish = peer.heard_publish().await;
        all.push((
            String::from_utf8(publish.message.payload.to_vec()).unwrap(),
            publish.packet_id.map_or(0, rmqtt::codec::PacketId::get),
            publish.dup,
        ));
    }
    all
}

#[tokio::test(start_paused = true)]
async fn after_so_many_tries_the_client_ends_with_the_last_error() {
    let mut stage = Stage::new("tries", V5).await;
    reconnect(&mut stage.options).max_attempts = Some(2);
    let (client, mut peer) = stage.pair(accepted()).await;
    let subscription = peer
        .subscribed(&client, "s", SubscriptionSettings::default())
        .await;
    drop(peer);
    for _ in 0..2 {
        stage
            .accept()
            .await
            .say(&refusal(ReasonCode::ServerBusy))
            .await;
    }
    let Err(Taken::Failed(error)) = next(&subscription.inbox).await.map(|_| ()) else {
        panic!("not failed")
    };
    assert!(
        matches!(
            error,
            ClientError::ConnectRefused {
                reason: ReasonCode::ServerBusy,
                ..
            }
        ),
        "{error}"
    );
    assert_eq!(client.room().await, Err(error));
}

#[tokio::test(start_paused = true)]
async fn some_refusals_are_final_and_others_are_not() {
    for (reason, is_final) in [
        (ReasonCode::BadUserNameOrPassword, true),
        (ReasonCode::NotAuthorized, true),
        (ReasonCode::Banned, true),
        (ReasonCode::ClientIdentifierNotValid, true),
        (ReasonCode::QoSNotSupported, true),
        (ReasonCode::RetainNotSupported, true),
        (ReasonCode::ServerMoved, true),
        (ReasonCode::UseAnotherServer, false),
        (ReasonCode::ServerUnavailable, false),
        (ReasonCode::ServerBusy, false),
        (ReasonCode::QuotaExceeded, false),
    ] {
        let mut stage = Stage::new(&format!("final-{reason:?}"), V5).await;
        reconnect(&mut stage.options).retry_first = true;
        reconnect(&mut stage.options).max = Duration::from_secs(5);
        let client = Client::new(stage.options.clone());
        let connecting = {
            let client = client.clone();
            tokio::spawn(async move { client.connect().await })
        };
        stage.accept().await.say(&refusal(reason)).await;
        if is_final {
            let error = soon(connecting).await.unwrap().unwrap_err();
            assert_eq!(
                error,
                ClientError::ConnectRefused {
                    reason,
                    reason_string: None,
                    server_reference: None,
                    user_properties: Vec::new(),
                }
            );
        } else {
            let _peer = stage.welcome(accepted()).await;
            soon(connecting).await.unwrap().unwrap();
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_first_connection_that_fails_is_an_error_unless_told_otherwise() {
    let stage = Stage::new("first", V5).await;
    let client = Client::new(stage.options.clone());
    let (error, ()) = tokio::join!(soon(client.connect()), async {
        stage
            .accept()
            .await
            .say(&refusal(ReasonCode::ServerBusy))
            .await;
    });
    assert!(matches!(error, Err(ClientError::ConnectRefused { .. })));
    // Nothing has ended: the same client can try again.
    let (connected, _peer) = tokio::join!(soon(client.connect()), stage.welcome(accepted()));
    connected.unwrap();
    let twice = client.connect().await.unwrap_err();
    assert!(matches!(twice, ClientError::Misuse(_)));
}

#[tokio::test(start_paused = true)]
async fn a_broker_that_never_answers_connect_is_given_up_in_time() {
    let mut stage = Stage::new("mute", V5).await;
    stage.options.connect_timeout = Duration::from_secs(3);
    let client = Client::new(stage.options.clone());
    let begin = Instant::now();
    let (error, _peer) = tokio::join!(soon(client.connect()), stage.accept());
    assert_eq!(
        error.unwrap_err(),
        ClientError::TimedOut {
            what: "connecting",
            limit: Duration::from_secs(3),
            missing: "no answer from the broker to CONNECT",
        }
    );
    assert_eq!(begin.elapsed().as_secs(), 3);
}

#[tokio::test(start_paused = true)]
async fn connecting_can_be_given_up_and_begun_again() {
    let stage = Stage::new("given-up", V5).await;
    let client = Client::new(stage.options.clone());
    {
        let connecting = client.connect();
        let given_up = tokio::time::timeout(Duration::from_secs(1), connecting);
        assert!(given_up.await.is_err());
    }
    let _first = stage.accept().await;
    let (connected, _peer) = tokio::join!(soon(client.connect()), stage.welcome(accepted()));
    connected.unwrap();
}

#[tokio::test(start_paused = true)]
async fn closing_while_connecting_ends_both() {
    let stage = Stage::new("both", V5).await;
    let client = Client::new(stage.options.clone());
    let connecting = {
        let client = client.clone();
        tokio::spawn(async move { client.connect().await })
    };
    let _peer = stage.accept().await;
    soon(client.close(Close::Abort)).await;
    assert_eq!(soon(connecting).await.unwrap(), Err(ClientError::Closed));
    assert_eq!(client.connect().await, Err(ClientError::Closed));
}

#[tokio::test(start_paused = true)]
async fn a_broker_without_mqtt_5_is_spoken_to_in_3_1_1() {
    let stage = Stage::new("old", V5).await;
    let client = Client::new(stage.options.clone());
    let (connected, mut peer) = tokio::join!(soon(client.connect()), async {
        stage.accept().await.say_bytes(&[0x20, 2, 0, 1]).await;
        stage.welcome(accepted()).await
    });
    let negotiated = connected.unwrap();
    assert_eq!(negotiated.version, ProtocolVersion::V3_1_1);
    assert_eq!(peer.connect.version, ProtocolVersion::V3_1_1);
    send(&client, "x", QoS::AtLeastOnce);
    heard(&mut peer, 1).await;

    let mut stage = Stage::new("pinned", V5).await;
    stage.options.fall_back = false;
    let client = Client::new(stage.options.clone());
    let (refused, ()) = tokio::join!(soon(client.connect()), async {
        stage.accept().await.say_bytes(&[0x20, 2, 0, 1]).await;
    });
    assert!(matches!(
        refused,
        Err(ClientError::ConnectRefused {
            reason: ReasonCode::UnsupportedProtocolVersion,
            ..
        })
    ));
}

/// A broker of old may close on MQTT 5 without a word; so does whatever stands before a broker that is down.
#[tokio::test(start_paused = true)]
async fn a_first_connection_closed_twice_without_a_word_is_tried_in_3_1_1_once() {
    let stage = Stage::new("wordless", V5).await;
    let client = Client::new(stage.options.clone());
    let (connected, _peer) = tokio::join!(soon(client.connect()), async {
        for _ in 0..2 {
            assert_eq!(stage.accept().await.connect.version, V5);
        }
        stage.welcome(accepted()).await
    });
    assert_eq!(connected.unwrap().version, ProtocolVersion::V3_1_1);
    drop(client);

    // Not accepted either: the failure is told, and the next try asks for MQTT 5 again.
    let stage = Stage::new("down", V5).await;
    let client = Client::new(stage.options.clone());
    for _ in 0..2 {
        let (refused, ()) = tokio::join!(soon(client.connect()), async {
            for version in [V5, V5, ProtocolVersion::V3_1_1] {
                assert_eq!(stage.accept().await.connect.version, version);
            }
        });
        let error = refused.unwrap_err();
        assert!(matches!(error, ClientError::ConnectionLost { .. }));
    }
    let (connected, _peer) = tokio::join!(soon(client.connect()), stage.welcome(accepted()));
    assert_eq!(connected.unwrap().version, V5);
}

#[tokio::test(start_paused = true)]
async fn no_other_end_of_a_connection_makes_the_client_fall_back() {
    // The version is pinned.
    let mut stage = Stage::new("wordless-pinned", V5).await;
    stage.options.fall_back = false;
    let client = Client::new(stage.options.clone());
    let (refused, _) = tokio::join!(soon(client.connect()), stage.accept());
    assert!(refused.is_err());
    // The broker has begun to speak.
    let stage = Stage::new("half-word", V5).await;
    let client = Client::new(stage.options.clone());
    let (refused, ()) = tokio::join!(soon(client.connect()), async {
        stage.accept().await.say_bytes(&[0x20]).await;
    });
    assert!(refused.is_err());
    // MQTT 5 was accepted before.
    let stage = Stage::new("wordless-later", V5).await;
    let (_client, peer) = stage.pair(accepted()).await;
    drop(peer);
    for _ in 0..4 {
        assert_eq!(stage.accept().await.connect.version, V5);
    }
}

#[tokio::test(start_paused = true)]
async fn a_refusal_is_heard_although_the_connect_was_not_read_to_its_end() {
    let address = Address::Memory {
        name: "half-read".to_owned(),
    };
    let listener = Listener::bind(&address).await.unwrap();
    let mut options = ClientOptions::new(address);
    let long = "x".repeat(65_535);
    options.username = Some("me".to_owned());
    options.password = Some(long.clone().into());
    options.will = Some(Will {
        message: message("will", long, QoS::AtMostOnce),
        delay_interval: None,
    });
    let client = Client::new(options);
    let (refused, ()) = tokio::join!(soon(client.connect()), async {
        let (mut stream, _) = soon(listener.accept()).await.unwrap();
        // Until the client waits for room.
        tokio::time::sleep(Duration::from_secs(1)).await;
        stream.write_all(b"\x20\x03\0\x8A\0").await.unwrap();
    });
    let reason = refused.map(|_| ()).unwrap_err();
    assert!(
        matches!(
            reason,
            ClientError::ConnectRefused {
                reason: ReasonCode::Banned,
                ..
            }
        ),
        "{reason:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn being_taken_over_is_the_end() {
    let stage = Stage::new("over", V5).await;
    let (client, mut peer) = stage.pair(accepted()).await;
    let mut events = client.events();
    let disconnect = Disconnect::new(ReasonCode::SessionTakenOver);
    peer.say(&Packet::Disconnect(disconnect.clone())).await;
    drop(peer);
    assert_eq!(
        soon(events.recv()).await.unwrap(),
        Event::Disconnected {
            error: ClientError::ServerDisconnected(Box::new(disconnect)),
            retry_in: None
        }
    );
}

/// spec(5, client): MQTT-3.1.2-4, MQTT-3.1.3-2
/// spec(4, client): MQTT-3.1.3-2
#[tokio::test(start_paused = true)]
async fn a_session_belongs_to_its_client_id() {
    for version in VERSIONS {
        let mut stage = Stage::new("belongs", version).await;
        stage.options.session_expiry = 600;
        stage.options.clean_start = version == V5;
        let mut clients = Vec::new();
        for id in ["a", "b"] {
            stage.options.client_id = Some(id.to_owned());
            let (client, mut peer) = stage.pair(accepted()).await;
            // Clean Start throws away what was there, once: what comes back is this client's own session.
            assert_eq!(peer.connect.clean_start, version == V5);
            send(&client, id, QoS::AtLeastOnce);
            heard(&mut peer, 1).await;
            clients.push(client);
        }
        for _ in 0..2 {
            let mut peer = stage.welcome(resumed()).await;
            assert!(!peer.connect.clean_start);
            let (text, ..) = heard(&mut peer, 1).await.remove(0);
            assert_eq!(peer.connect.client_id, text);
        }
    }
}
