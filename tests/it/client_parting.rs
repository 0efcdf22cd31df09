//! Parting on purpose: what the client says, and what the broker says when it sends its clients elsewhere.

#![expect(
    clippy::unwrap_used,
    reason = "a test that cannot go on fails, also in the functions beside it"
)]

use crate::client_script::{Peer, Stage, accepted, message, soon};
use rmqtt::client::{Client, ClientError, Close, Event, Farewell, Redirect};
use rmqtt::codec::{
    ConnAck, Disconnect, Packet, ProtocolVersion, ProtocolVersion::V5, ReasonCode, Will,
};
use rmqtt::message::QoS;
use std::num::NonZeroU32;
use std::time::Duration;
use tokio::sync::broadcast::Receiver;
use tokio::time::Instant;

const SOON: Close = Close::Drain(Duration::from_secs(5));

fn elsewhere(reason: ReasonCode) -> Disconnect {
    Disconnect {
        server_reference: Some("other.example:1884 [::1]".into()),
        ..Disconnect::new(reason)
    }
}

fn redirect(reason: ReasonCode) -> Event {
    Event::ServerRedirect(Redirect {
        is_permanent: reason == ReasonCode::ServerMoved,
        server_reference: Some("other.example:1884 [::1]".into()),
    })
}

async fn told(events: &mut Receiver<Event>) -> Event {
    soon(events.recv()).await.unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_client_that_is_sent_elsewhere_says_so_and_ends_or_leaves_the_broker_alone_for_long() {
    for (reason, retry_in) in [
        (ReasonCode::ServerMoved, None),
        (ReasonCode::UseAnotherServer, Some(Duration::from_secs(15))),
    ] {
        let mut stage = Stage::new(&format!("elsewhere-{reason:?}"), V5).await;
        stage.options.reconnect.as_mut().unwrap().max = Duration::from_secs(15);
        let (client, mut peer) = stage.pair(accepted()).await;
        let mut events = client.events();
        peer.say(&Packet::Disconnect(elsewhere(reason))).await;
        assert_eq!(told(&mut events).await, redirect(reason));
        let begin = Instant::now();
        let error = ClientError::ServerDisconnected(Box::new(elsewhere(reason)));
        assert_eq!(
            told(&mut events).await,
            Event::Disconnected {
                error: error.clone(),
                retry_in
            }
        );
        match retry_in {
            None => assert_eq!(client.room().await, Err(error)),
            Some(delay) => {
                stage.welcome(accepted()).await;
                assert!(begin.elapsed() >= delay, "{:?}", begin.elapsed());
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_first_connection_that_is_sent_elsewhere_fails_and_says_where() {
    for reason in [ReasonCode::ServerMoved, ReasonCode::UseAnotherServer] {
        let stage = Stage::new(&format!("moved-{reason:?}"), V5).await;
        let client = Client::new(stage.options.clone());
        let mut events = client.events();
        let mut connack = ConnAck {
            reason,
            ..accepted()
        };
        connack.properties.server_reference = elsewhere(reason).server_reference;
        connack.properties.user_properties = vec![("a".into(), "b".into())];
        let (refused, _) = tokio::join!(soon(client.connect()), stage.welcome(connack));
        assert_eq!(told(&mut events).await, redirect(reason));
        assert_eq!(
            refused,
            Err(ClientError::ConnectRefused {
                reason,
                reason_string: None,
                server_reference: Some("other.example:1884 [::1]".into()),
                user_properties: vec![("a".into(), "b".into())],
            })
        );
    }
}

/// Whatever the reason of a broker's DISCONNECT, it is told as it came.
#[tokio::test(start_paused = true)]
async fn every_reason_of_a_brokers_disconnect_is_told() {
    let reasons = (0..=255).filter_map(ReasonCode::from_number).filter(|it| {
        it.is_allowed_in(rmqtt::codec::PacketType::Disconnect)
            && *it != ReasonCode::DisconnectWithWill
    });
    for reason in reasons {
        let mut stage = Stage::new("reasons", V5).await;
        stage.options.reconnect = None;
        let (client, mut peer) = stage.pair(accepted()).await;
        let mut events = client.events();
        let mut disconnect = Disconnect::new(reason);
        disconnect.reason_string = Some("so it is".into());
        disconnect.user_properties = vec![("a".into(), "b".into())];
        peer.say(&Packet::Disconnect(disconnect.clone())).await;
        let is_redirect = matches!(
            reason,
            ReasonCode::UseAnotherServer | ReasonCode::ServerMoved
        );
        if is_redirect {
            told(&mut events).await;
        }
        assert_eq!(
            told(&mut events).await,
            Event::Disconnected {
                error: ClientError::ServerDisconnected(Box::new(disconnect)),
                retry_in: None
            }
        );
    }
}

async fn parted(name: &str, session_expiry: u32, largest: u32, farewell: Farewell) -> Disconnect {
    let mut stage = Stage::new(name, V5).await;
    stage.options.session_expiry = session_expiry;
    let mut connack = accepted();
    connack.properties.maximum_packet_size = NonZeroU32::new(largest);
    let (client, mut peer): (Client, Peer) = stage.pair(connack).await;
    let closing = client.close_with(SOON, farewell);
    let (closed, heard) = tokio::join!(soon(closing), async {
        let heard = peer.heard().await;
        drop(peer);
        heard
    });
    closed.unwrap();
    match heard {
        Packet::Disconnect(disconnect) => disconnect,
        other => panic!("{other:?}"),
    }
}

/// spec(5, client): MQTT-3.14.2-3, MQTT-3.14.2-4
#[tokio::test(start_paused = true)]
async fn a_goodbye_says_why_and_how_long_to_remember_us() {
    let farewell = Farewell {
        reason: Some(ReasonCode::AdministrativeAction),
        session_expiry: Some(3600),
        reason_string: Some("maintenance".into()),
        user_properties: vec![("until".into(), "noon".into())],
    };
    let full = Disconnect {
        reason: ReasonCode::AdministrativeAction,
        session_expiry_interval: Some(3600),
        reason_string: Some("maintenance".into()),
        server_reference: None,
        user_properties: vec![("until".into(), "noon".into())],
    };
    let heard = parted("goodbye", 60, 1000, farewell.clone()).await;
    assert_eq!(heard, full);
    let heard = parted("goodbye-short", 60, 20, farewell.clone()).await;
    let short = Disconnect {
        reason_string: None,
        user_properties: Vec::new(),
        ..full
    };
    assert_eq!(heard, short, "what does not fit is left out");
    let ended = Farewell {
        session_expiry: Some(0),
        ..Farewell::default()
    };
    let heard = parted("goodbye-forget", 60, 1000, ended).await;
    assert_eq!(heard.session_expiry_interval, Some(0));
    assert_eq!(heard.reason, ReasonCode::Success);
}

#[tokio::test(start_paused = true)]
async fn a_goodbye_that_cannot_be_said_is_refused_and_nothing_ends() {
    let prolonged = Farewell {
        session_expiry: Some(1),
        ..Farewell::default()
    };
    let borrowed = Farewell {
        reason: Some(ReasonCode::ServerShuttingDown),
        ..Farewell::default()
    };
    let spoken = Farewell {
        reason_string: Some("bye".into()),
        ..Farewell::default()
    };
    for (version, farewell) in [
        (V5, prolonged),
        (V5, borrowed),
        (ProtocolVersion::V3_1_1, spoken),
    ] {
        let stage = Stage::new("unsaid", version).await;
        let (client, mut peer) = stage.pair(accepted()).await;
        let refused = soon(client.close_with(SOON, farewell)).await;
        assert!(matches!(refused, Err(ClientError::Misuse(_))));
        soon(client.publish(message("t", "x", QoS::AtMostOnce)))
            .await
            .unwrap();
        peer.heard_publish().await;
    }
}

/// A will that the broker does not take is a refusal, once and for all.
#[tokio::test(start_paused = true)]
async fn a_will_above_what_the_broker_takes_is_a_refusal_that_will_not_change() {
    for (qos, retain, reason) in [
        (QoS::ExactlyOnce, false, ReasonCode::QoSNotSupported),
        (QoS::AtMostOnce, true, ReasonCode::RetainNotSupported),
    ] {
        let mut stage = Stage::new(&format!("will-{reason:?}"), V5).await;
        stage.options.reconnect.as_mut().unwrap().retry_first = true;
        stage.options.will = Some(Will {
            message: message("gone", "", qos).with_retain(retain),
            delay_interval: Some(5),
        });
        let client = Client::new(stage.options.clone());
        let connack = ConnAck {
            reason,
            ..accepted()
        };
        let (refused, peer) = tokio::join!(soon(client.connect()), stage.welcome(connack));
        assert_eq!(peer.connect.will, stage.options.will);
        let error = refused.unwrap_err();
        assert!(error.is_terminal(), "{error}");
    }
}
