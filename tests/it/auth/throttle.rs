//! What failed logins cost whoever tries: the broker stops hashing for them, and others do not notice.

use super::password::connect;
use crate::raw::{Server, V4, V5, Version};
use rmqtt::broker::auth::{Auth, AuthLimits, Source, Users};
use rmqtt::clock::Clock;
use std::sync::Arc;
use std::time::Duration;

const FORGET: Duration = Duration::from_secs(10);

struct House {
    server: Server,
    clock: Clock,
}

impl House {
    /// One with a clock that stands still.
    async fn new(limits: AuthLimits) -> Self {
        let users = Users::new([("alice", "secret"), ("bob", "other")]).expect("users");
        let auth = Auth::new(vec![Source::Users(Arc::new(users))], limits).expect("sources");
        let clock = Clock::manual();
        let server = Server::with_options(|options| {
            options.auth = Some(Arc::new(auth));
            options.clock = clock.clone();
        })
        .await;
        Self { server, clock }
    }

    /// The code that CONNECT is answered with.
    async fn login(&self, version: Version, user: &str, password: &str) -> u8 {
        let mut peer = self.server.socket(version).await;
        peer.send(&connect(version, user, user, Some(password)).bytes())
            .await;
        peer.expect_packet().await[3]
    }

    async fn pass(&self, time: Duration) {
        let clock = self.clock.clone();
        let moved = tokio::task::spawn_blocking(move || clock.advance(time));
        moved.await.expect("a thread").expect("rest");
    }
}

fn limits(failures_per_address: u32, failures_per_user: u32) -> AuthLimits {
    AuthLimits {
        failures_per_address,
        failures_per_user,
        forget_failure_after: FORGET,
        ..AuthLimits::default()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn too_many_failures_under_one_name_are_refused_unheard_until_one_is_forgotten() {
    let house = House::new(limits(0, 3)).await;
    for _ in 0..3 {
        assert_eq!(house.login(V5, "alice", "wrong").await, 0x86);
    }
    let hashed = house.server.stats().passwords_hashed;
    // The right password too: whether it was right must not show.
    assert_eq!(house.login(V5, "alice", "secret").await, 0x9F);
    assert_eq!(house.login(V4, "alice", "secret").await, 3);
    // Others are not concerned.
    assert_eq!(house.login(V5, "bob", "other").await, 0);
    let stats = house.server.stats();
    assert_eq!(stats.passwords_hashed, hashed + 1);
    assert_eq!((stats.logins_failed, stats.logins_throttled), (3, 2));
    house.pass(FORGET).await;
    assert_eq!(house.login(V5, "alice", "wrong").await, 0x86);
    assert_eq!(house.login(V5, "alice", "secret").await, 0x9F);
    house.pass(FORGET).await;
    assert_eq!(house.login(V5, "alice", "secret").await, 0);
}

/// A soft hyphen is nothing and a wide letter a letter, where names are compared: so a name has any number of spellings.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_same_name_spelt_in_other_ways_has_failed_as_often() {
    let house = House::new(limits(0, 3)).await;
    for name in ["alice", "ali\u{ad}ce", "\u{ff41}lice\u{ad}\u{ad}"] {
        assert_eq!(house.login(V5, name, "wrong").await, 0x86, "{name:?}");
    }
    for name in ["al\u{ad}ice", "alice", "al\u{2060}ice"] {
        assert_eq!(house.login(V5, name, "secret").await, 0x9F, "{name:?}");
    }
    // What it has achieved counts in every spelling, too.
    assert_eq!(house.login(V5, "bo\u{ad}b", "other").await, 0);
    for number in 0..4 {
        let name = format!("b{}ob", "\u{ad}".repeat(number));
        let code = if number < 3 { 0x86 } else { 0x9F };
        assert_eq!(house.login(V5, &name, "wrong").await, code, "{name:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn too_many_failures_from_one_address_are_refused_whatever_the_name() {
    let house = House::new(limits(3, 0)).await;
    for user in ["a", "b", "c"] {
        assert_eq!(house.login(V5, user, "wrong").await, 0x86);
    }
    assert_eq!(house.login(V5, "d", "wrong").await, 0x9F);
    assert_eq!(house.login(V5, "alice", "secret").await, 0x9F);
    house.pass(FORGET).await;
    assert_eq!(house.login(V5, "alice", "secret").await, 0);
}

/// Behind the same address may be somebody who guesses.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_has_logged_in_before_is_not_locked_out_by_others_who_guess() {
    let house = House::new(limits(3, 3)).await;
    assert_eq!(house.login(V5, "alice", "secret").await, 0);
    for number in 0..10 {
        house.login(V5, &format!("user{number}"), "wrong").await;
    }
    assert_eq!(house.login(V5, "bob", "other").await, 0x9F);
    assert_eq!(house.login(V5, "alice", "secret").await, 0);
    // Its own failures count all the same.
    for _ in 0..3 {
        assert_eq!(house.login(V5, "alice", "wrong").await, 0x86);
    }
    assert_eq!(house.login(V5, "alice", "secret").await, 0x9F);
}

/// Everybody at once: what failed meanwhile counts before the next is hashed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_guesses_at_once_are_no_more_guesses() {
    let house = House::new(AuthLimits {
        hashing_max: 1,
        ..limits(0, 3)
    })
    .await;
    let mut peers = Vec::new();
    for number in 0..12 {
        let mut peer = house.server.socket(V5).await;
        let guess = connect(V5, &format!("id{number}"), "alice", Some("wrong"));
        peer.send(&guess.bytes()).await;
        peers.push(peer);
    }
    let mut codes = Vec::new();
    for peer in &mut peers {
        codes.push(peer.expect_packet().await[3]);
    }
    codes.sort_unstable();
    assert_eq!(codes, [[0x86; 3].as_slice(), &[0x9F; 9]].concat());
    assert_eq!(house.server.stats().passwords_hashed, 3);
}

/// More strangers than are remembered: who fails is counted anew, and nothing grows or breaks.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_so_many_are_remembered() {
    let house = House::new(AuthLimits {
        remembered_max: 2,
        ..limits(0, 2)
    })
    .await;
    for number in 0..6 {
        assert_eq!(house.login(V5, &format!("u{number}"), "x").await, 0x86);
    }
    for user in ["alice", "bob"] {
        let password = if user == "alice" { "secret" } else { "other" };
        assert_eq!(house.login(V5, user, password).await, 0);
        assert_eq!(house.login(V5, user, password).await, 0);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn more_logins_than_may_wait_are_told_that_the_server_is_busy() {
    let house = House::new(AuthLimits {
        hashing_max: 1,
        waiting_max: 2,
        ..AuthLimits::default()
    })
    .await;
    let mut peers = Vec::new();
    for number in 0..20 {
        let mut peer = house.server.socket(V5).await;
        let right = connect(V5, &format!("id{number}"), "alice", Some("secret"));
        peer.send(&right.bytes()).await;
        peers.push(peer);
    }
    for peer in &mut peers {
        let code = peer.expect_packet().await[3];
        assert!([0, 0x89].contains(&code), "{code:02x}");
    }
}
