//! Several addresses, brokers that send their clients elsewhere, and refusals that will not change.

use crate::client_script::{Peer, Stage, accepted, message, resumed, soon};
use rmqtt::client::{Client, ClientError, Event, SubscriptionSettings, Taken};
use rmqtt::codec::{ConnAck, Disconnect, Packet, ProtocolVersion, ReasonCode};
use rmqtt::message::QoS;
use rmqtt::transport::Address;
use std::time::Duration;
use tokio::time::Instant;

const V5: ProtocolVersion = ProtocolVersion::V5;

/// Two brokers, and a client that knows both; the first is tried first.
async fn two(name: &str) -> (Stage, Stage) {
    let mut first = Stage::new(&format!("{name}-a"), V5).await;
    let second = Stage::new(&format!("{name}-b"), V5).await;
    first.options.others = vec![second.options.address.clone()];
    (first, second)
}

fn refusal(reason: ReasonCode, reference: Option<&str>) -> ConnAck {
    let mut connack = accepted();
    connack.reason = reason;
    connack.properties.server_reference = reference.map(Into::into);
    connack
}

fn name_of(address: &Address) -> String {
    address.to_string().replace("mem://", "")
}

/// The broker ends the connection.
async fn send_away(mut peer: Peer, reason: ReasonCode, reference: Option<&str>) {
    let mut disconnect = Disconnect::new(reason);
    disconnect.server_reference = reference.map(Into::into);
    peer.say(&Packet::Disconnect(disconnect)).await;
}

#[tokio::test(start_paused = true)]
async fn the_next_address_is_tried_at_once_and_preferred_while_it_works() {
    let (first, second) = two("in-turn").await;
    let options = first.options.clone();
    drop(first);
    let client = Client::new(options.clone());
    let begin = Instant::now();
    let (connected, peer) = tokio::join!(soon(client.connect()), second.welcome(accepted()));
    connected.unwrap();
    assert_eq!(begin.elapsed(), Duration::ZERO);
    let first = rmqtt::transport::Listener::bind(&options.address)
        .await
        .unwrap();
    drop(peer);
    // It comes back to the one that worked, although the other one is there again.
    let peer = second.welcome(accepted()).await;
    drop((peer, second));
    soon(first.accept()).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn the_delay_grows_with_each_round_and_not_with_each_address() {
    let (first, second) = two("rounds").await;
    let (client, peer) = first.pair(accepted()).await;
    let mut events = client.events();
    drop((peer, first, second));
    let mut delays = Vec::new();
    for _ in 0..4 {
        match soon(events.recv()).await.unwrap() {
            Event::Disconnected { retry_in, .. } => delays.push(retry_in.unwrap().as_millis()),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(delays, [500, 1000, 2000, 4000]);
}

#[tokio::test(start_paused = true)]
async fn when_no_address_answers_the_error_names_them_all() {
    let (first, second) = two("none").await;
    let options = first.options.clone();
    drop((first, second));
    let error = soon(Client::new(options.clone()).connect())
        .await
        .unwrap_err();
    let ClientError::NoneConnected { failures } = &error else {
        panic!("{error}")
    };
    let tried: Vec<&str> = failures.iter().map(|(address, _)| &address[..]).collect();
    assert_eq!(
        tried,
        [options.address.to_string(), options.others[0].to_string()]
    );
    assert!(error.to_string().contains("nobody has bound"), "{error}");
}

#[tokio::test(start_paused = true)]
async fn a_busy_broker_is_no_reason_not_to_ask_the_next() {
    let (first, second) = two("busy").await;
    let client = Client::new(first.options.clone());
    let (connected, _, _) = tokio::join!(
        soon(client.connect()),
        first.welcome(refusal(ReasonCode::ServerBusy, None)),
        second.welcome(accepted()),
    );
    connected.unwrap();
}

#[tokio::test(start_paused = true)]
async fn wrong_credentials_are_not_shown_to_the_next_broker() {
    let (first, _second) = two("credentials").await;
    let client = Client::new(first.options.clone());
    let refused = refusal(ReasonCode::BadUserNameOrPassword, None);
    let (outcome, _) = tokio::join!(soon(client.connect()), first.welcome(refused));
    assert!(
        matches!(outcome, Err(ClientError::ConnectRefused { .. })),
        "{outcome:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_session_resumed_by_another_broker_is_an_old_one() {
    let (mut first, second) = two("old-session").await;
    first.keep_session();
    let (client, mut peer) = first.pair(accepted()).await;
    let _subscription = peer
        .subscribed(&client, "s", SubscriptionSettings::default())
        .await;
    drop((peer, first));
    let mut peer = second.welcome(resumed()).await;
    peer.grant().await;
}

#[tokio::test(start_paused = true)]
async fn a_redirect_is_followed_only_where_that_is_allowed() {
    for (follows, reason) in [
        (true, ReasonCode::UseAnotherServer),
        (true, ReasonCode::ServerMoved),
        (false, ReasonCode::UseAnotherServer),
        (false, ReasonCode::ServerMoved),
    ] {
        let name = format!("redirect-{follows}-{reason:?}");
        let mut stage = Stage::new(&name, V5).await;
        stage.options.reconnect.as_mut().unwrap().follow_redirects = follows;
        let target = Stage::new(&format!("{name}-target"), V5).await;
        let reference = name_of(&target.options.address);
        let client = Client::new(stage.options.clone());
        let mut events = client.events();
        let refused = refusal(reason, Some(&reference));
        let connecting = tokio::spawn(async move { client.connect().await });
        stage.welcome(refused).await;
        if follows {
            target.welcome(accepted()).await;
            soon(connecting).await.unwrap().unwrap();
        } else {
            let outcome = soon(connecting).await.unwrap();
            assert!(
                matches!(outcome, Err(ClientError::ConnectRefused { .. })),
                "{outcome:?}"
            );
        }
        let Event::ServerRedirect(told) = soon(events.recv()).await.unwrap() else {
            panic!("not told")
        };
        assert_eq!(told.server_reference.as_deref(), Some(&reference[..]));
    }
}

#[tokio::test(start_paused = true)]
async fn a_client_that_is_sent_away_while_connected_goes_where_it_may() {
    let mut stage = Stage::new("away", V5).await;
    stage.options.reconnect.as_mut().unwrap().follow_redirects = true;
    let target = Stage::new("away-target", V5).await;
    let reference = name_of(&target.options.address);
    let (client, peer) = stage.pair(accepted()).await;
    let sent = Instant::now();
    send_away(peer, ReasonCode::ServerMoved, Some(&reference)).await;
    let mut there = target.welcome(accepted()).await;
    assert_eq!(sent.elapsed(), Duration::from_millis(500));
    let publishing = client.clone();
    let publishing = tokio::spawn(async move {
        publishing
            .publish(message("t", "x", QoS::AtLeastOnce))
            .await
    });
    let id = there.heard_publish().await.packet_id.unwrap().get();
    there.say_ack(rmqtt::codec::AckKind::PubAck, id).await;
    soon(publishing).await.unwrap().unwrap();
    // What it was sent to for once is not its own address.
    drop(there);
    stage.welcome(accepted()).await;
}

#[tokio::test(start_paused = true)]
async fn who_is_sent_away_goes_to_the_other_address_and_does_not_wait_for_long() {
    let (first, second) = two("sent-on").await;
    let (_client, peer) = first.pair(accepted()).await;
    let sent = Instant::now();
    send_away(peer, ReasonCode::UseAnotherServer, None).await;
    second.welcome(accepted()).await;
    assert_eq!(sent.elapsed(), Duration::from_millis(500));
}

#[tokio::test(start_paused = true)]
async fn brokers_that_send_a_client_to_and_fro_are_not_followed_for_ever() {
    let mut first = Stage::new("fro-a", V5).await;
    let second = Stage::new("fro-b", V5).await;
    first.options.reconnect.as_mut().unwrap().follow_redirects = true;
    let (a, b) = (
        name_of(&first.options.address),
        name_of(&second.options.address),
    );
    let client = Client::new(first.options.clone());
    let connecting = tokio::spawn(async move { client.connect().await });
    for _ in 0..3 {
        first
            .welcome(refusal(ReasonCode::UseAnotherServer, Some(&b)))
            .await;
        second
            .welcome(refusal(ReasonCode::UseAnotherServer, Some(&a)))
            .await;
    }
    let outcome = soon(connecting).await.unwrap();
    assert!(
        matches!(outcome, Err(ClientError::NoneConnected { .. })),
        "{outcome:?}"
    );
}

#[test]
fn a_reference_to_other_servers_is_read_as_addresses_of_the_same_kind() {
    let here = Address::parse("mqtt://here:1884").unwrap();
    let read = |reference: &str| -> Vec<String> {
        let addresses = here.elsewhere(reference);
        addresses.iter().map(ToString::to_string).collect()
    };
    assert_eq!(read("there"), ["mqtt://there:1883"]);
    assert_eq!(
        read("myserver.xyz.org:8883 10.10.151.22:8883 [fe80:nothing]:1883"),
        ["mqtt://myserver.xyz.org:8883", "mqtt://10.10.151.22:8883"],
        "an IPv6 address that is none is left out"
    );
    assert_eq!(
        read("[::1]:1885 MQTT://other"),
        ["mqtt://[::1]:1885", "mqtt://other:1883"]
    );
    assert!(read("mqtts://other me:secret@other a/b other:0 :1 tcp://other").is_empty());
    assert_eq!(read(&"a ".repeat(1000)).len(), 8);
    let memory = Address::parse("mem://here").unwrap();
    assert_eq!(memory.elsewhere("there")[0].to_string(), "mem://there");
}

/// A refusal that will not change ends the client, and whoever waits is told by the broker's own code.
#[tokio::test(start_paused = true)]
async fn a_refusal_that_will_not_change_ends_every_wait_with_it() {
    for reason in [
        ReasonCode::BadUserNameOrPassword,
        ReasonCode::NotAuthorized,
        ReasonCode::Banned,
        ReasonCode::ClientIdentifierNotValid,
    ] {
        let stage = Stage::new(&format!("terminal-{reason:?}"), V5).await;
        let (client, mut peer) = stage.pair(accepted()).await;
        let subscription = peer
            .subscribed(&client, "s", SubscriptionSettings::default())
            .await;
        let publishing = client.clone();
        let publishing = tokio::spawn(async move {
            publishing
                .publish(message("t", "x", QoS::AtLeastOnce))
                .await
        });
        peer.heard_publish().await;
        drop(peer);
        stage.welcome(refusal(reason, None)).await;
        let is_told = |error: &ClientError| matches!(error, ClientError::ConnectRefused { reason: code, .. } if *code == reason);
        assert!(is_told(&soon(publishing).await.unwrap().unwrap_err()));
        let end = crate::client_script::next(&subscription.inbox).await;
        assert!(matches!(end, Err(Taken::Failed(error)) if is_told(&error)));
        assert!(is_told(&soon(client.drain()).await.unwrap_err()));
    }
}

/// Two clients of one id would throw each other out for ever.
#[tokio::test(start_paused = true)]
async fn who_took_the_session_over_keeps_it_and_every_wait_is_told() {
    let (first, _second) = two("taken-over").await;
    let (client, mut peer) = first.pair(accepted()).await;
    let subscription = peer
        .subscribed(&client, "s", SubscriptionSettings::default())
        .await;
    send_away(peer, ReasonCode::SessionTakenOver, None).await;
    let end = crate::client_script::next(&subscription.inbox).await;
    let Err(Taken::Failed(ClientError::ServerDisconnected(told))) = end else {
        panic!("{end:?}")
    };
    assert_eq!(told.reason, ReasonCode::SessionTakenOver);
    assert!(soon(client.drain()).await.is_err());
}

#[tokio::test(start_paused = true)]
async fn a_first_connection_is_tried_again_if_asked_for_but_not_for_ever() {
    let mut stage = Stage::new("first", V5).await;
    let reconnect = stage.options.reconnect.as_mut().unwrap();
    reconnect.retry_first = true;
    reconnect.max_attempts = Some(3);
    let options = stage.options.clone();
    drop(stage);
    let begin = Instant::now();
    let error = soon(Client::new(options).connect()).await.unwrap_err();
    assert!(
        matches!(error, ClientError::ConnectFailed { .. }),
        "{error}"
    );
    assert_eq!(begin.elapsed().as_millis(), 500 + 1000 + 2000);
}
