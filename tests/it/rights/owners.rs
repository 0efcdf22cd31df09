//! Whose a session is, and what a name may be taken for: by its spelling, its characters, or by there being none.

use super::{DENIED, login, rules, try_publish};
use crate::raw::bytes::{Connect, Publish};
use crate::raw::{BOTH, Peer, Server, V5, until};
use rmqtt::broker::auth::{Auth, AuthLimits, Hook, Login, Source, Thinking, Verdict};
use rmqtt::broker::rights::{Acl, Whom};
use std::sync::Arc;

/// Believes everybody, so that any name is a user's, and no name nobody's.
#[derive(Debug)]
struct Gullible;

impl Hook for Gullible {
    fn ask(&self, _: Arc<Login>) -> Thinking {
        Box::pin(async { Ok(Verdict::Yes) })
    }
}

async fn server(everybody: &[&str]) -> Server {
    let sources = vec![Source::Hook(Arc::new(Gullible))];
    let auth = Auth::new(sources, AuthLimits::default()).expect("a source");
    let mut acl = Acl::new();
    acl.extend(Whom::Everybody, rules(everybody));
    acl.extend(Whom::Anonymous, rules(&["+pr anonymous"]));
    acl.extend(Whom::user("alice"), rules(&["+pr #"]));
    Server::with_options(|options| {
        options.auth = Some(Arc::new(auth));
        options.acl = Some(Arc::new(acl).into());
    })
    .await
}

async fn code(server: &Server, connect: &Connect) -> u8 {
    let mut peer = server.socket(connect.version).await;
    peer.send(&connect.bytes()).await;
    peer.expect_packet().await[3]
}

const LOOK_ALIKES: [&str; 11] = [
    "Alice",
    "ALICE",
    "alice ",
    " alice",
    "alice\u{ad}",
    "\u{ff41}lice",
    "al\u{131}ce",
    "\u{430}lice",
    "alice/",
    "+",
    "",
];

#[tokio::test]
async fn a_name_that_looks_alike_is_another_user() {
    let server = server(&[]).await;
    for version in BOTH {
        let id = version.pick("four", "five");
        let (mut alice, _) = server.connect(&login(version, id, "alice").resume()).await;
        alice.subscribe(&[("secret", 1)]).await;
        let no = version.pick(5, DENIED);
        for name in LOOK_ALIKES {
            assert_eq!(
                code(&server, &login(version, id, name)).await,
                no,
                "{name:?}"
            );
        }
        // Nobody in particular, though its id is right.
        let nobody = Connect::new(version, id);
        assert_eq!(code(&server, &nobody).await, no);
        alice.ping().await;
        alice.disconnect().await;
        assert_eq!(code(&server, &nobody).await, no, "while she is away");
    }
    let mut other = server.client(V5, "other").await;
    assert_eq!(other.subscribe(&[("secret", 1)]).await, [DENIED]);
    for (number, name) in LOOK_ALIKES.iter().enumerate() {
        let connect = login(V5, &format!("id{number}"), name);
        let (mut peer, _) = server.connect(&connect).await;
        for topic in ["secret", "anonymous"] {
            let code = try_publish(&mut peer, Publish::new(topic, "x")).await;
            assert_eq!(code, DENIED, "{name:?} to {topic}");
        }
    }
}

#[tokio::test]
async fn nobody_in_particular_has_a_session_that_no_user_gets() {
    let server = server(&[]).await;
    let connect = Connect::new(V5, "id").resume();
    let (mut nobody, _) = server.connect(&connect).await;
    assert_eq!(nobody.subscribe(&[("anonymous", 1)]).await, [1]);
    nobody.disconnect().await;
    for name in ["alice", ""] {
        assert_eq!(code(&server, &login(V5, "id", name)).await, DENIED);
    }
    let (_, is_present) = server.connect(&connect).await;
    assert!(is_present);
}

async fn may(peer: &mut Peer, topic: &str) -> bool {
    let code = try_publish(peer, Publish::new(topic, "x")).await;
    assert!([0, 0x10, DENIED].contains(&code), "{code:#x}");
    code != DENIED
}

/// CVE-2017-7650, by a client id and by a user name, on the wire.
#[tokio::test]
async fn a_name_with_a_wildcard_in_it_opens_no_more_than_it_says() {
    let patterns = ["+pr by-id/%c/#", "+pr by-name/%u/#", "-p by-id/denied/#"];
    let server = server(&patterns).await;
    for name in ["a", "+", "#", "a/b", "/", "%c", "%u", "\u{1}", ""] {
        let is_plain = ["a", "%c", "%u"].contains(&name);
        let (mut peer, _) = server.connect(&login(V5, name, name)).await;
        for root in ["by-id", "by-name"] {
            for topic in ["b/x", "a/b/x", "denied/x", "/x", "x"] {
                let topic = format!("{root}/{topic}");
                let is_own = name == "a" && topic.starts_with(&format!("{root}/a/"));
                assert_eq!(may(&mut peer, &topic).await, is_own, "{name:?} to {topic}");
            }
            // An id that is empty is one of the broker's choosing.
            let own = format!("{root}/{name}/x");
            if is_plain {
                assert!(may(&mut peer, &own).await, "{name:?} to {own}");
            }
            let expected = if is_plain { 1 } else { DENIED };
            let filter = format!("{root}/a/+");
            let others = peer.subscribe(&[(&filter, 1)]).await;
            let is_own = name == "a";
            assert_eq!(others, [if is_own { 1 } else { DENIED }], "{name:?}");
            if !name.contains(['+', '#', '\u{1}']) && !name.is_empty() {
                let filter = format!("{root}/{name}/y");
                assert_eq!(peer.subscribe(&[(&filter, 1)]).await, [expected]);
            }
        }
        peer.disconnect().await;
        until("it is gone", server.broker(), |broker| {
            broker.clients().is_empty()
        })
        .await;
    }
}
