//! The application says what a client may do: asked once for each connection, and again when it wants to be.

use super::{DENIED, acl, login, try_publish};
use crate::raw::bytes::{Connect, Publish, Will};
use crate::raw::{Peer, Server, V4, V5, Version, until};
use rmqtt::broker::ClientInfo;
use rmqtt::broker::auth::Users;
use rmqtt::broker::rights::{Policy, Referee, Thinking};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::Semaphore;

/// Who says what clients may do by a table that a test may change, and remembers what it was asked.
#[derive(Debug)]
struct Scripted {
    /// By client id; who is not there gets no answer.
    rules: Mutex<BTreeMap<String, Vec<&'static str>>>,
    asked: Mutex<Vec<ClientInfo>>,
    /// Whose id begins with `slow` waits for one of these.
    goes_on: Arc<Semaphore>,
}

impl Scripted {
    fn new(rules: &[(&str, &[&'static str])]) -> Arc<Self> {
        let rules = rules.iter();
        let table = rules.map(|(id, lines)| ((*id).to_owned(), lines.to_vec()));
        Arc::new(Self {
            rules: Mutex::new(table.collect()),
            asked: Mutex::default(),
            goes_on: Arc::new(Semaphore::new(0)),
        })
    }

    fn now_says(&self, client_id: &str, lines: Option<&[&'static str]>) {
        let mut rules = self.rules.lock().expect("a table");
        match lines {
            Some(lines) => drop(rules.insert(client_id.to_owned(), lines.to_vec())),
            None => drop(rules.remove(client_id)),
        }
    }

    fn times_asked(&self) -> usize {
        self.asked.lock().expect("a list").len()
    }
}

impl Referee for Scripted {
    fn ask(&self, client: Arc<ClientInfo>) -> Thinking {
        self.asked.lock().expect("a list").push((*client).clone());
        let rules = self.rules.lock().expect("a table");
        let rules = rules.get(&client.client_id).map(|lines| acl(lines, &[]));
        let goes_on = Arc::clone(&self.goes_on);
        Box::pin(async move {
            if client.client_id.starts_with("slow") {
                goes_on.acquire().await.ok()?.forget();
            }
            rules
        })
    }
}

async fn with(referee: &Arc<Scripted>, timeout: Duration) -> Server {
    let policy = Policy::Asked(Arc::clone(referee) as Arc<dyn Referee>);
    Server::with_options(|options| {
        options.acl = Some(policy);
        options.referee_limits.timeout = timeout;
        options.keeps_ledger = true;
    })
    .await
}

const PATIENT: Duration = Duration::from_secs(60);

/// *No matching subscribers*: it was allowed.
const NOBODY: u8 = 0x10;

async fn code(server: &Server, version: Version, client_id: &str) -> u8 {
    let mut peer = server.socket(version).await;
    peer.send(&Connect::new(version, client_id).bytes()).await;
    peer.expect_packet().await[3]
}

#[tokio::test]
async fn it_is_asked_once_for_a_connection_and_never_for_a_message() {
    let referee = Scripted::new(&[("peer", &["+pr %c/#"]), ("boss", &["+pr #"])]);
    let server = with(&referee, PATIENT).await;
    let mut boss = server.client(V5, "boss").await;
    let mut peer = server.client(V5, "peer").await;
    assert_eq!(peer.subscribe(&[("#", 1)]).await, [1]);
    for topic in ["peer/a", "boss/a", "peer/b"] {
        boss.publish(1, Publish::new(topic, topic)).await;
    }
    assert_eq!(peer.take().await.text(), "peer/a");
    assert_eq!(peer.take().await.text(), "peer/b");
    let denied = try_publish(&mut peer, Publish::new("boss/a", "x")).await;
    assert_eq!(denied, DENIED);
    let allowed = try_publish(&mut peer, Publish::new("peer/a", "x")).await;
    assert_eq!(allowed, 0);
    let asked = referee.asked.lock().expect("a list").clone();
    let ids: Vec<_> = asked.iter().map(|client| &*client.client_id).collect();
    assert_eq!(ids, ["boss", "peer"]);
}

#[tokio::test]
async fn it_hears_the_id_that_was_chosen_for_a_client_and_who_it_has_proven_to_be() {
    let referee = Scripted::new(&[("hers", &[])]);
    let policy = Policy::Asked(Arc::clone(&referee) as Arc<dyn Referee>);
    let server = Server::with_options(|options| {
        let users = Users::new([("alice", "secret")]).expect("users");
        options.auth = Some(Arc::new(users.into()));
        options.acl = Some(policy);
    })
    .await;
    let (_peer, _) = server.connect(&login(V5, "hers", "alice")).await;
    let mut nameless = server.socket(V5).await;
    nameless.send(&login(V5, "", "alice").bytes()).await;
    assert_eq!(nameless.expect_packet().await[3], 0x88);
    let asked = referee.asked.lock().expect("a list").clone();
    assert_eq!(asked[0].user.as_deref(), Some("alice"));
    assert!(asked[1].client_id.starts_with("rmqtt-"), "{asked:?}");
}

#[tokio::test]
async fn who_gets_no_answer_is_not_let_in_and_it_is_counted() {
    let referee = Scripted::new(&[("peer", &[]), ("slow", &[])]);
    let server = with(&referee, Duration::from_millis(50)).await;
    for (client_id, v4, v5) in [("peer", 0, 0), ("unknown", 3, 0x88), ("slow", 3, 0x88)] {
        for version in [V4, V5] {
            let expected = version.pick(v4, v5);
            assert_eq!(code(&server, version, client_id).await, expected);
        }
    }
    assert_eq!(server.stats().hooks_failed, 4);
    assert_eq!(server.stats().connects_accepted, 2);
}

#[tokio::test]
async fn no_more_questions_are_open_than_may_be_and_who_is_in_is_served() {
    let referee = Scripted::new(&[("peer", &["+p #"]), ("slow", &[]), ("slower", &[])]);
    let policy = Policy::Asked(Arc::clone(&referee) as Arc<dyn Referee>);
    let server = Server::with_options(|options| {
        options.acl = Some(policy);
        options.referee_limits.open_max = 1;
        options.referee_limits.timeout = PATIENT;
    })
    .await;
    let mut peer = server.client(V5, "peer").await;
    let mut waiting = Vec::new();
    for client_id in ["slow", "slower"] {
        let mut other = server.socket(V5).await;
        other.send(&Connect::new(V5, client_id).bytes()).await;
        waiting.push(other);
    }
    until("a question", server.broker(), |_| {
        referee.times_asked() == 2
    })
    .await;
    let allowed = try_publish(&mut peer, Publish::new("a", "x")).await;
    assert_eq!((allowed, referee.times_asked()), (NOBODY, 2));
    referee.goes_on.add_permits(2);
    for mut other in waiting {
        other.expect_connack(0).await;
    }
}

#[tokio::test]
async fn a_will_that_the_answer_does_not_allow_is_refused() {
    let referee = Scripted::new(&[("peer", &["+p mine"])]);
    let server = with(&referee, PATIENT).await;
    for (topic, expected) in [("mine", 0), ("other", DENIED)] {
        let mut peer = server.socket(V5).await;
        let connect = Connect::new(V5, "peer").will(&Will::new(topic, "x"));
        peer.send(&connect.bytes()).await;
        assert_eq!(peer.expect_packet().await[3], expected, "{topic}");
        peer.abort();
        until("it is gone", server.broker(), |broker| {
            broker.clients().is_empty()
        })
        .await;
    }
    assert_eq!(server.stats().wills_published, 1);
}

#[tokio::test]
async fn an_absent_client_keeps_the_rights_of_its_last_connection_until_it_comes_back() {
    let referee = Scripted::new(&[("boss", &["+p #"]), ("peer", &["+r a", "+r b"])]);
    let server = with(&referee, PATIENT).await;
    let mut boss = server.client(V5, "boss").await;
    let connect = Connect::new(V5, "peer").resume();
    let (mut peer, _) = server.connect(&connect).await;
    peer.subscribe(&[("#", 1)]).await;
    peer.disconnect().await;
    referee.now_says("peer", Some(&["+r b"]));
    for topic in ["a", "b", "c"] {
        boss.publish(1, Publish::new(topic, topic)).await;
    }
    assert_eq!(server.stats().queued_messages, 2);
    let (mut peer, is_present) = server.connect(&connect).await;
    assert!(is_present);
    assert_eq!(peer.take().await.text(), "b");
    peer.expect_nothing().await;
    super::assert_balanced(&server).await;
}

async fn subscriber(server: &Server) -> Peer {
    let mut peer = server.client(V5, "peer").await;
    assert_eq!(peer.subscribe(&[("#", 1)]).await, [1]);
    peer
}

#[tokio::test]
async fn when_it_is_asked_again_the_new_answer_holds() {
    let referee = Scripted::new(&[("boss", &["+p #"]), ("peer", &["+r a"])]);
    let server = with(&referee, PATIENT).await;
    let mut boss = server.client(V5, "boss").await;
    let mut peer = subscriber(&server).await;
    referee.now_says("peer", Some(&["+r b"]));
    server.broker().ask_again();
    let topic = rmqtt::topic::TopicName::new("b").expect("a topic");
    until("the new rights", server.broker(), |broker| {
        let access = rmqtt::broker::rights::Access::Read;
        broker
            .explain_right("peer", access, &topic)
            .is_some_and(|said| said.0)
    })
    .await;
    for topic in ["a", "b"] {
        boss.publish(1, Publish::new(topic, topic)).await;
    }
    assert_eq!(peer.take().await.text(), "b");
    peer.expect_nothing().await;
    assert_eq!(referee.times_asked(), 4);
}

#[tokio::test]
async fn who_gets_no_answer_when_it_is_asked_again_has_to_go() {
    let referee = Scripted::new(&[("peer", &["+r a"])]);
    let server = with(&referee, PATIENT).await;
    let mut peer = server.client(V5, "peer").await;
    referee.now_says("peer", None);
    server.broker().ask_again();
    peer.expect_end(&[0x89]).await;
    assert_eq!(server.stats().hooks_failed, 1);
}

#[tokio::test]
async fn rules_may_give_way_to_somebody_who_is_asked_and_the_reverse() {
    let server = super::server(&[]).await;
    let mut peer = server.client(V5, "peer").await;
    let referee = Scripted::new(&[("peer", &["+p asked"])]);
    let policy = Policy::Asked(Arc::clone(&referee) as Arc<dyn Referee>);
    server.broker().set_acl(policy);
    until("the answer", server.broker(), |broker| {
        let topic = rmqtt::topic::TopicName::new("asked").expect("a topic");
        let access = rmqtt::broker::rights::Access::Publish;
        broker
            .explain_right("peer", access, &topic)
            .is_some_and(|said| said.0)
    })
    .await;
    let publish = |topic| Publish::new(topic, "x");
    assert_eq!(try_publish(&mut peer, publish("asked")).await, NOBODY);
    assert_eq!(try_publish(&mut peer, publish("public/a")).await, DENIED);
    server.broker().set_acl(acl(&["+p public/#"], &[]));
    assert_eq!(try_publish(&mut peer, publish("asked")).await, DENIED);
    assert_eq!(try_publish(&mut peer, publish("public/a")).await, NOBODY);
}

/// The answer was right when the question was put.
#[tokio::test]
async fn who_comes_in_by_an_answer_of_before_is_asked_about_again() {
    let referee = Scripted::new(&[("slow", &["+p before"])]);
    let server = with(&referee, PATIENT).await;
    let mut peer = server.socket(V5).await;
    peer.send(&Connect::new(V5, "slow").bytes()).await;
    until("the question", server.broker(), |_| {
        referee.times_asked() == 1
    })
    .await;
    referee.now_says("slow", Some(&["+p after"]));
    server.broker().ask_again();
    referee.goes_on.add_permits(2);
    peer.expect_connack(0).await;
    may_publish(&server, "slow", "after").await;
    assert_eq!(
        try_publish(&mut peer, Publish::new("before", "x")).await,
        DENIED
    );
}

#[tokio::test]
async fn who_waits_for_its_session_is_asked_about_again_too() {
    let referee = Scripted::new(&[("slow", &["+p before"])]);
    let server = with(&referee, PATIENT).await;
    referee.goes_on.add_permits(1);
    let mut first = server.client(V5, "slow").await;
    let mut second = server.socket(V5).await;
    second.send(&Connect::new(V5, "slow").bytes()).await;
    until("the question", server.broker(), |_| {
        referee.times_asked() == 2
    })
    .await;
    referee.now_says("slow", Some(&["+p after"]));
    // Both have to be asked about now, and the second takes the place of the first at some time between.
    referee.goes_on.add_permits(1);
    server.broker().ask_again();
    first.expect_end(&[0x8E]).await;
    referee.goes_on.add_permits(2);
    second.expect_connack(0).await;
    may_publish(&server, "slow", "after").await;
}

async fn may_publish(server: &Server, client_id: &str, topic: &str) {
    let topic = rmqtt::topic::TopicName::new(topic).expect("a topic");
    until("the new rights", server.broker(), |broker| {
        let access = rmqtt::broker::rights::Access::Publish;
        broker
            .explain_right(client_id, access, &topic)
            .is_some_and(|said| said.0)
    })
    .await;
}
