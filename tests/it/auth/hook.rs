//! The application itself says who may connect: asked once for each connection, a bounded number of times at once.

use super::password::connect;
use crate::raw::bytes::{Connect, field};
use crate::raw::{Server, V4, V5, until};
use rmqtt::broker::auth::{
    Auth, AuthLimits, Hook, HookFailed, Login, Source, Thinking, Users, Verdict,
};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::Semaphore;

/// Says by the user name what a test wants, and remembers what it was asked.
#[derive(Debug)]
struct Scripted {
    asked: Mutex<Vec<Login>>,
    /// Who is called `slow` waits for one of these.
    goes_on: Arc<Semaphore>,
    open: Arc<AtomicUsize>,
}

impl Default for Scripted {
    fn default() -> Self {
        Self {
            asked: Mutex::default(),
            goes_on: Arc::new(Semaphore::new(0)),
            open: Arc::default(),
        }
    }
}

impl Hook for Scripted {
    fn ask(&self, login: Arc<Login>) -> Thinking {
        self.asked.lock().expect("a list").push((*login).clone());
        let (goes_on, open) = (Arc::clone(&self.goes_on), Arc::clone(&self.open));
        Box::pin(async move {
            match login.username.as_deref() {
                Some("alice") | None => Ok(Verdict::Yes),
                Some("token") => Ok(Verdict::User("carol".to_owned())),
                Some("odd") => Ok(Verdict::User("ca\u{7}rol".to_owned())),
                Some("fails") => Err(HookFailed),
                Some("slow") => {
                    open.fetch_add(1, Ordering::SeqCst);
                    let permit = goes_on.acquire().await;
                    open.fetch_sub(1, Ordering::SeqCst);
                    permit.map_err(|_| HookFailed)?.forget();
                    Ok(Verdict::Yes)
                }
                Some(_) if login.password.as_deref() == Some(b"pass on") => Ok(Verdict::Unknown),
                Some(_) if login.password.as_deref() == Some(b"as carol") => {
                    Ok(Verdict::User("carol".to_owned()))
                }
                Some(_) => Ok(Verdict::No),
            }
        })
    }
}

async fn with_hook(limits: AuthLimits, more: Vec<Source>) -> (Server, Arc<Scripted>) {
    let hook = Arc::new(Scripted::default());
    let mut sources = vec![Source::Hook(Arc::clone(&hook) as Arc<dyn Hook>)];
    sources.extend(more);
    let auth = Arc::new(Auth::new(sources, limits).expect("sources"));
    let server = Server::with_options(|options| options.auth = Some(auth)).await;
    (server, hook)
}

async fn code(server: &Server, connect: &Connect) -> u8 {
    let mut peer = server.socket(connect.version).await;
    peer.send(&connect.bytes()).await;
    peer.expect_packet().await[3]
}

#[tokio::test]
async fn a_hook_says_who_it_is_and_is_told_all_that_is_known() {
    let (server, hook) = with_hook(AuthLimits::default(), vec![]).await;
    for (user, expected) in [("alice", "alice"), ("token", "carol")] {
        let (mut peer, _) = server
            .connect(&connect(V5, "id", user, Some("secret")))
            .await;
        assert_eq!(server.broker().clients()[0].user.as_deref(), Some(expected));
        peer.ping().await;
        peer.disconnect().await;
        until("the leave", server.broker(), |broker| {
            broker.clients().is_empty()
        })
        .await;
    }
    // Without a name and a password too: it may know the client by something else.
    let (_peer, _) = server.connect(&Connect::new(V4, "nameless")).await;
    assert_eq!(server.broker().clients()[0].user, None);
    let asked = hook.asked.lock().expect("a list").clone();
    assert_eq!(asked.len(), 3);
    assert_eq!(&*asked[0].client_id, "id");
    assert_eq!(asked[0].password.as_deref(), Some(&b"secret"[..]));
    assert!(
        asked[0]
            .peer
            .address
            .is_some_and(|at| at.ip().is_loopback())
    );
    assert_eq!((&asked[2].username, &asked[2].password), (&None, &None));
    let shown = format!("{asked:?}");
    assert!(!shown.contains("secret"), "{shown}");
}

#[tokio::test]
async fn a_hook_that_says_no_or_fails_lets_nobody_in() {
    let (server, _) = with_hook(AuthLimits::default(), vec![]).await;
    for (user, v4, v5) in [
        ("mallory", 4, 0x86),
        // No client is told for good what it is not at fault for.
        ("fails", 3, 0x88),
        ("odd", 3, 0x88),
    ] {
        for version in [V4, V5] {
            let login = connect(version, "id", user, Some("x"));
            assert_eq!(code(&server, &login).await, version.pick(v4, v5), "{user}");
        }
    }
    // Who says nothing decisive, and is the last, has said no.
    let last = connect(V5, "id", "bob", Some("pass on"));
    assert_eq!(code(&server, &last).await, 0x86);
    let stats = server.stats();
    assert_eq!((stats.logins_failed, stats.hooks_failed), (3, 4));
    assert_eq!(stats.sessions, 0);
}

#[tokio::test]
async fn a_hook_that_does_not_know_a_user_leaves_it_to_the_next() {
    let users = Users::new([("bob", "pass on"), ("mallory", "secret")]).expect("users");
    let next = vec![Source::Users(Arc::new(users))];
    let (server, _) = with_hook(AuthLimits::default(), next).await;
    let login = |user, password| connect(V5, "id", user, Some(password));
    assert_eq!(code(&server, &login("bob", "pass on")).await, 0);
    assert_eq!(code(&server, &login("mallory", "secret")).await, 0x86);
}

/// Or whoever has a proof of its own could guess at anybody's password for ever.
#[tokio::test]
async fn a_proof_of_one_user_ends_no_row_of_failures_under_the_name_of_another() {
    let limits = AuthLimits {
        failures_per_address: 0,
        failures_per_user: 2,
        ..AuthLimits::default()
    };
    let (server, _) = with_hook(limits, vec![]).await;
    for (password, expected) in [
        ("x", 0x86),
        ("as carol", 0),
        ("y", 0x86),
        ("as carol", 0x9F),
    ] {
        let login = connect(V5, "id", "victim", Some(password));
        assert_eq!(code(&server, &login).await, expected, "{password}");
    }
}

#[tokio::test]
async fn a_hook_that_does_not_answer_in_time_has_failed_and_others_are_served() {
    let limits = AuthLimits {
        hook_timeout: Duration::from_millis(50),
        ..AuthLimits::default()
    };
    let (server, hook) = with_hook(limits, vec![]).await;
    assert_eq!(code(&server, &connect(V5, "id", "slow", None)).await, 0x88);
    assert_eq!(code(&server, &connect(V5, "a", "alice", None)).await, 0);
    assert_eq!(server.stats().hooks_failed, 1);
    assert_eq!(hook.asked.lock().expect("a list").len(), 2);
}

#[tokio::test]
async fn no_more_questions_are_open_than_may_be() {
    let limits = AuthLimits {
        hooks_max: 2,
        hook_timeout: Duration::from_secs(60),
        ..AuthLimits::default()
    };
    let (server, hook) = with_hook(limits, vec![]).await;
    let mut peers = Vec::new();
    for number in 0..5 {
        let mut peer = server.socket(V5).await;
        peer.send(&connect(V5, &format!("id{number}"), "slow", None).bytes())
            .await;
        peers.push(peer);
    }
    until("two questions", server.broker(), |_| {
        hook.open.load(Ordering::SeqCst) == 2
    })
    .await;
    assert_eq!(hook.asked.lock().expect("a list").len(), 2);
    hook.goes_on.add_permits(5);
    for peer in &mut peers {
        peer.expect_connack(0).await;
    }
}

#[tokio::test]
async fn nobody_is_asked_any_more_about_who_has_failed_too_often() {
    let limits = AuthLimits {
        failures_per_address: 2,
        forget_failure_after: Duration::from_secs(3600),
        ..AuthLimits::default()
    };
    let (server, hook) = with_hook(limits, vec![]).await;
    let mallory = Connect::new(V5, "id").flags(0x82).more(&field("mallory"));
    for expected in [0x86, 0x86, 0x9F] {
        assert_eq!(code(&server, &mallory).await, expected);
    }
    assert_eq!(hook.asked.lock().expect("a list").len(), 2);
}
