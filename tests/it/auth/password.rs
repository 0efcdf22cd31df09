//! Users and plain passwords: CONNECT's own fields, checked against the verifiers that SCRAM uses.

use super::broker::{guarded, with_auth};
use crate::raw::bytes::{Connect, field};
use crate::raw::{BOTH, Server, V4, V5, Version, until};
use rmqtt::broker::auth::Users;
use rmqtt::broker::{Broker, BrokerError, BrokerOptions};
use rmqtt::transport::Address;
use std::sync::Arc;

/// CONNECT with a user name and, where there is one, a password.
pub(super) fn connect(version: Version, id: &str, user: &str, password: Option<&str>) -> Connect {
    let connect = Connect::new(version, id).more(&field(user));
    match password {
        Some(password) => connect.flags(0xC2).more(&field(password)),
        None => connect.flags(0x82),
    }
}

async fn refused(server: &Server, connect: &Connect, v4: u8, v5: u8) {
    let mut peer = server.socket(connect.version).await;
    peer.send(&connect.bytes()).await;
    peer.expect_connack(connect.version.pick(v4, v5)).await;
    peer.expect_closed().await;
}

/// spec(5): MQTT-3.1.4-2
/// spec(4): MQTT-3.2.2-4, MQTT-3.2.2-5
/// spec(5): MQTT-3.2.2-6, MQTT-3.2.2-7
#[tokio::test]
async fn a_broker_with_users_lets_in_who_knows_a_password() {
    let server = guarded().await;
    for version in BOTH {
        let good = connect(version, "id", "alice", Some("secret"));
        let (mut peer, _) = server.connect(&good).await;
        peer.ping().await;
        let clients = server.broker().clients();
        assert_eq!(clients[0].user.as_deref(), Some("alice"));
        assert_eq!(clients[0].username.as_deref(), Some("alice"));
        peer.disconnect().await;

        refused(&server, &Connect::new(version, "id"), 5, 0x87).await;
        for (user, password) in [
            ("alice", Some("Secret")),
            ("alice", Some("")),
            ("alice", None),
            ("Alice", Some("secret")),
            ("", Some("secret")),
            ("nobody", Some("secret")),
            ("nobody", None),
        ] {
            let bad = connect(version, "id", user, password);
            refused(&server, &bad, 4, 0x86).await;
        }
    }
    let stats = server.stats();
    assert_eq!((stats.connects_accepted, stats.connects_refused), (2, 16));
}

#[tokio::test]
async fn a_password_alone_is_no_user() {
    let server = guarded().await;
    let alone = Connect::new(V5, "id").flags(0x42).more(&field("secret"));
    refused(&server, &alone, 5, 0x87).await;
}

#[tokio::test]
async fn a_password_that_is_no_text_is_wrong() {
    let server = guarded().await;
    let binary = Connect::new(V4, "id")
        .flags(0xC2)
        .more(&field("alice"))
        .more(&field([0xFF, 0xFE]));
    refused(&server, &binary, 4, 0x86).await;
}

#[tokio::test]
async fn names_and_passwords_are_compared_as_prepared_text() {
    // RFC 4013: a non-breaking space is a space, a soft hyphen is nothing, the roman nine is I and X.
    let server = with_auth(&[("Ⅸ", "pass\u{a0}word")]).await;
    let same = connect(V5, "id", "I\u{ad}X", Some("pass word"));
    let (mut peer, _) = server.connect(&same).await;
    peer.ping().await;
    assert_eq!(server.broker().clients()[0].user.as_deref(), Some("IX"));
}

/// A client id is easily guessed: it must not open another user's session.
#[tokio::test]
async fn nobody_gets_the_session_of_another_user() {
    let server = with_auth(&[("alice", "secret"), ("bob", "other")]).await;
    for version in BOTH {
        let id = version.pick("four", "five");
        let alice = connect(version, id, "alice", Some("secret"))
            .flags(0xC0)
            .properties(&[0x11, 0, 0, 0x0E, 0x10]);
        let (mut peer, _) = server.connect(&alice).await;
        peer.subscribe(&[("t", 1)]).await;
        let bob = connect(version, id, "bob", Some("other"));
        refused(&server, &bob, 5, 0x87).await;
        // Present or absent, it stays hers.
        peer.ping().await;
        peer.disconnect().await;
        until("the leave", server.broker(), |broker| {
            broker.clients().is_empty()
        })
        .await;
        refused(&server, &bob, 5, 0x87).await;
        let (peer, is_present) = server.connect(&alice).await;
        assert!(is_present);
        peer.disconnect().await;
        until("the leave", server.broker(), |broker| {
            broker.clients().is_empty()
        })
        .await;
    }
}

/// More clients than there are threads to hash on: each gets its turn, and those who are in are served meanwhile.
#[tokio::test]
async fn many_passwords_at_once_are_all_checked() {
    let server = guarded().await;
    let (mut inside, _) = server
        .connect(&connect(V4, "inside", "alice", Some("secret")))
        .await;
    let mut peers = Vec::new();
    for number in 0..20 {
        let password = if number % 2 == 0 { "secret" } else { "wrong" };
        let mut peer = server.socket(V5).await;
        peer.send(&connect(V5, &format!("id{number}"), "alice", Some(password)).bytes())
            .await;
        peers.push(peer);
    }
    inside.ping().await;
    for (number, mut peer) in peers.into_iter().enumerate() {
        let code = if number % 2 == 0 { 0 } else { 0x86 };
        peer.expect_connack(code).await;
    }
}

/// The one thread there is for what is slow is taken: a login has to wait for it, and nobody else does.
#[test]
fn nothing_is_hashed_on_the_threads_of_the_network() {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .max_blocking_threads(1)
        .enable_all()
        .build()
        .expect("a runtime");
    runtime.block_on(async {
        let server = guarded().await;
        let (mut inside, _) = server
            .connect(&connect(V4, "inside", "alice", Some("secret")))
            .await;
        let (free, is_free) = std::sync::mpsc::channel::<()>();
        let taken = tokio::task::spawn_blocking(move || is_free.recv());
        let before = server.stats().passwords_hashed;
        let mut late = Vec::new();
        for (id, password) in [("right", "secret"), ("wrong", "guess")] {
            let mut peer = server.socket(V5).await;
            let connect = connect(V5, id, "alice", Some(password));
            peer.send(&connect.bytes()).await;
            late.push(peer);
        }
        for _ in 0..20 {
            inside.ping().await;
        }
        assert_eq!(server.stats().passwords_hashed, before);
        free.send(()).expect("a thread that waits");
        taken.await.expect("a thread").expect("a word");
        for (peer, code) in late.iter_mut().zip([0, 0x86]) {
            peer.expect_connack(code).await;
        }
        assert_eq!(server.stats().passwords_hashed, before + 2);
    });
}

/// How long a comparison takes must not say how much of a guess was right: so none of what is secret is compared by `==`.
#[test]
fn what_is_secret_is_compared_in_constant_time() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut in_constant_time = 0;
    for folder in ["scram", "broker/auth"] {
        let files = std::fs::read_dir(root.join(folder)).expect("a folder");
        let files = files.map(|entry| entry.expect("a file").path());
        let files = files.filter(|path| !path.ends_with("tests.rs"));
        for path in files.chain([root.join("scram.rs")]) {
            let text = std::fs::read_to_string(&path).expect("text");
            in_constant_time += text.matches(".ct_eq(").count();
            let lines = text.lines().filter(|line| {
                // Two readings of one file, and no guess in either.
                !line.trim().starts_with("//") && !line.contains("now == hash")
            });
            for line in lines {
                let line = line.replace("!=", "==");
                let sides = line.split("==").collect::<Vec<_>>();
                for pair in sides.windows(2) {
                    let left = pair[0].split_whitespace().last().unwrap_or_default();
                    let right = pair[1].split_whitespace().next().unwrap_or_default();
                    for side in [left, right] {
                        let secrets = [
                            "hash",
                            "given",
                            "proof",
                            "signature",
                            "stored_key",
                            "password",
                        ];
                        let is_secret = secrets.iter().any(|word| side.contains(word));
                        assert!(
                            !is_secret || side.contains("len()"),
                            "{}: {line}",
                            path.display()
                        );
                    }
                }
            }
        }
    }
    assert!(in_constant_time >= 6, "{in_constant_time}");
}

#[tokio::test]
async fn a_client_that_leaves_while_its_password_is_checked_leaves_nothing() {
    let server = guarded().await;
    for number in 0..10 {
        let mut peer = server.socket(V4).await;
        peer.send(&connect(V4, &format!("id{number}"), "alice", Some("secret")).bytes())
            .await;
    }
    until("the leave", server.broker(), |broker| {
        broker.stats().connections == 0 && broker.stats().sessions == 0
    })
    .await;
}

#[tokio::test]
async fn with_users_a_broker_may_listen_everywhere() {
    let everywhere = |auth| BrokerOptions {
        listeners: vec![
            Address::Tcp {
                host: "0.0.0.0".to_owned(),
                port: 0,
            }
            .into(),
        ],
        auth,
        ..BrokerOptions::default()
    };
    let users = Users::new([("alice", "secret")]).expect("a user");
    let broker = Broker::new(everywhere(Some(Arc::new(users.into()))));
    broker.start().await.expect("allowed");
    broker.stop(std::time::Duration::ZERO).await;
    let refused = Broker::new(everywhere(None)).start().await;
    assert!(matches!(refused, Err(BrokerError::Options(_))));
}

#[test]
fn what_cannot_be_a_user_is_refused_without_naming_the_password() {
    assert!(Users::new([] as [(&str, &str); 0]).is_err());
    for (name, password) in [
        ("", "secret"),
        ("alice", ""),
        ("alice", "\u{ad}"),
        ("al\0ice", "secret"),
        ("alice", "sec\u{7}ret"),
    ] {
        let error = Users::new([(name, password)])
            .expect_err("refused")
            .to_string();
        assert!(!error.contains("sec"), "{error}");
    }
    let twice = Users::new([("Ⅸ", "a"), ("IX", "b")]);
    assert!(matches!(twice, Err(BrokerError::Options(_))));
    let long = "x".repeat(65_536);
    assert!(Users::new([(long.as_str(), "a")]).is_err());
    let users = Users::new([("alice", "secret")]).expect("a user");
    let shown = format!("{users:?}");
    assert!(
        !shown.contains("secret") && !shown.contains("alice"),
        "{shown}"
    );
}

/// What is logged by `{:?}` of anything that carries a proof, shows how long it is and not what.
#[test]
fn no_debug_output_shows_a_proof() {
    let secret = || Some(bytes::Bytes::from_static(b"secret"));
    let properties = rmqtt::codec::ConnectProperties {
        authentication_method: Some("M".into()),
        authentication_data: secret(),
        ..Default::default()
    };
    let connect = rmqtt::codec::Connect {
        version: rmqtt::codec::ProtocolVersion::V5,
        clean_start: true,
        keep_alive: 0,
        client_id: "id".into(),
        will: None,
        username: Some("alice".into()),
        password: secret(),
        properties,
    };
    let auth = rmqtt::codec::Auth {
        reason: rmqtt::codec::ReasonCode::ContinueAuthentication,
        method: "M".into(),
        data: secret(),
        reason_string: None,
        user_properties: Vec::new(),
    };
    let step = rmqtt::broker::protocol::Authenticate {
        method: "M".into(),
        data: secret(),
        is_first: true,
    };
    let mut options = rmqtt::client::ClientOptions::new(Address::Memory {
        name: "debug".to_owned(),
    });
    options.username = Some("alice".to_owned());
    options.password = secret();
    for shown in [
        format!("{connect:?}"),
        format!("{auth:?}"),
        format!("{options:?}"),
        format!("{step:?}"),
    ] {
        assert!(!shown.contains("secret"), "{shown}");
    }
    assert!(format!("{connect:?}").contains("password: Some(<6 bytes>)"));
    assert!(format!("{options:?}").contains("password: Some(<6 bytes>)"));
    assert!(format!("{auth:?}").contains("data: Some(<6 bytes>)"));
}
