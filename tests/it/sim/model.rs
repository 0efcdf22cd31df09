//! The broker as it should be, done the simple way: every question is answered by looking at everything.
//!
//! Whatever a line does to the hub it tells the model too. The model then knows, message by message and in order, what each
//! session is owed; what is seen on the wire has to be just that. What both count and keep is compared in `audit`.

mod audit;
mod rights;
mod subscribing;

use self::rights::Verdicts;
use super::books::Books;
use super::flow::{Answers, Flow};
use super::groups::{Groups, is_shared};
use super::queue::{Owed, Queue};
use super::retained::{Author, Retained, matches};
use super::rights::Rights;
use super::tap::{Trace, brief_payload};
use super::wills::{Life, Wish};
use rmqtt::broker::Limits;
use rmqtt::broker::hub::Attached;
use rmqtt::broker::protocol::Delivery;
use rmqtt::broker::rights::Access;
use rmqtt::codec::{AckKind, Connect, Packet, ProtocolVersion, ReasonCode, SubscriptionOptions};
use rmqtt::message::{Message, QoS};
use std::collections::{BTreeMap, VecDeque};
use std::num::{NonZeroU16, NonZeroU32};
use std::sync::Arc;
use std::time::{Duration, Instant};

#[derive(Debug, Clone, Copy)]
struct Subscription {
    options: SubscriptionOptions,
    id: Option<NonZeroU32>,
}

/// Retained messages that a subscription has coming.
#[derive(Debug)]
struct Coming {
    filter: String,
    qos: QoS,
    id: Option<NonZeroU32>,
}

/// What is known of the connection that has the session.
#[derive(Debug, Clone, Copy)]
struct Peer {
    version: ProtocolVersion,
    size_max: Option<u32>,
}

#[derive(Debug)]
struct Session {
    /// Its number at the broker: where two things are due at once, the lower number comes first.
    key: usize,
    life: Life,
    /// Which line has it.
    line: Option<usize>,
    /// Whether that line has begun to serve it.
    is_here: bool,
    is_present: bool,
    successor: Option<(usize, Wish)>,
    subscriptions: BTreeMap<String, Subscription>,
    coming: VecDeque<Coming>,
    queue: Queue,
    flow: Flow,
    answers: Answers,
    peer: Peer,
    verdicts: Verdicts,
    /// The DISCONNECT of this connection: whether it takes the will back, and the new session expiry.
    goodbye: Option<(bool, Option<u32>)>,
}

/// What the broker should have counted.
#[derive(Debug, Default)]
struct Counts {
    wills: u64,
    qos0: u64,
    queue_full: u64,
    expired: u64,
    publishes_denied: usize,
    subscriptions_denied: usize,
    deliveries_denied: usize,
}

/// The broker as it should be.
#[derive(Debug)]
pub(super) struct Model {
    pub(super) books: Books,
    pub(super) retained: Retained,
    pub(super) trace: Trace,
    sessions: BTreeMap<usize, Session>,
    pub(super) groups: Groups,
    pub(super) rights: Rights,
    counts: Counts,
    limits: Arc<Limits>,
}

impl Model {
    pub(super) fn new(limits: Arc<Limits>, rights: Rights, trace: Trace) -> Self {
        Self {
            books: Books::new(rights.is_ruled()),
            retained: Retained::default(),
            trace,
            sessions: BTreeMap::new(),
            groups: Groups::new(Arc::clone(&limits), rights.clone()),
            rights,
            counts: Counts::default(),
            limits,
        }
    }

    /// What a CONNECT asks, by its version.
    pub(super) fn wish(&self, connect: &Connect, door: Option<usize>) -> Wish {
        let expiry = match connect.version {
            ProtocolVersion::V5 => connect.properties.session_expiry_interval.unwrap_or(0),
            _ if connect.clean_start => 0,
            _ => u32::MAX,
        };
        Wish {
            clean_start: connect.clean_start,
            expiry: expiry.min(self.limits.session_expiry_max),
            will: connect.will.clone(),
            door,
        }
    }

    /// A client wants a session. `false`: another line has it, and has to let go first.
    pub(super) fn arrive(&mut self, client: usize, line: usize, wish: Wish, now: Instant) -> bool {
        if let Some(session) = self.sessions.get_mut(&client)
            && session.line.is_some()
        {
            session.successor = Some((line, wish));
            return false;
        }
        let wills = self.hand_over(client, line, &wish);
        self.speak(wills, now);
        true
    }

    fn hand_over(&mut self, client: usize, line: usize, wish: &Wish) -> Vec<(Author, Message)> {
        if let Some(session) = self.sessions.get_mut(&client)
            && session.life.goes_on(wish)
        {
            session.life.go_on(wish);
            session.line = Some(line);
            session.is_present = true;
            self.came_by(client, wish.door);
            return Vec::new();
        }
        let wills = self.end(client);
        let session = Session {
            key: 0,
            life: Life::begin(wish),
            line: Some(line),
            is_here: false,
            is_present: false,
            successor: None,
            subscriptions: BTreeMap::new(),
            coming: VecDeque::new(),
            queue: Queue::new(&self.limits),
            flow: Flow::default(),
            answers: Answers::default(),
            peer: Peer {
                version: ProtocolVersion::V5,
                size_max: None,
            },
            verdicts: Verdicts::default(),
            goodbye: None,
        };
        self.books.session_begins(client);
        self.sessions.insert(client, session);
        self.came_by(client, wish.door);
        wills
    }

    /// The session is over. Returns what it has left to be said.
    fn end(&mut self, client: usize) -> Vec<(Author, Message)> {
        let ended = self.sessions.remove(&client);
        self.groups.end(client);
        let will = ended.and_then(|mut session| session.life.speak());
        self.allowed(client, will).into_iter().collect()
    }

    fn speak(&mut self, wills: Vec<(Author, Message)>, now: Instant) {
        for (author, will) in wills {
            self.counts.wills += 1;
            self.trace
                .say(|| format!("will {}", brief_payload(&will.payload)));
            self.route(&will, None, now);
            self.wrote(author, &will);
        }
    }

    /// The line begins to serve the session. Returns whether it was there before.
    pub(super) fn begin(&mut self, client: usize, attached: &Attached, connect: &Connect) -> bool {
        let is_v5 = connect.version == ProtocolVersion::V5;
        let asked = connect.properties.receive_maximum.filter(|_| is_v5);
        let window = asked.map_or(u16::MAX, NonZeroU16::get);
        let window = usize::from(window.min(self.limits.in_flight_max));
        let session = self.sessions.get_mut(&client).expect("it was granted");
        session.key = attached.key.0;
        session.is_here = true;
        session.answers = Answers::default();
        session.verdicts.begin();
        session.peer = Peer {
            version: connect.version,
            size_max: connect.properties.maximum_packet_size.map(NonZeroU32::get),
        };
        if session.is_present {
            let Peer { version, size_max } = session.peer;
            for message in session.flow.resume(window, version, size_max) {
                self.books.withdrawn(client, &message);
                self.groups.withdrawn(client, &message);
            }
            self.groups.set_online(client, true);
        } else {
            session.flow.begin(window);
        }
        session.is_present
    }

    /// A line lets go of the session. How it ended is what the client has said, whatever the line says.
    pub(super) fn leave(&mut self, client: usize, now: Instant) {
        let session = self.sessions.get_mut(&client);
        let goodbye = session.and_then(|session| session.goodbye.take());
        let (is_clean, expiry) = goodbye.unwrap_or((false, None));
        let expiry = expiry.map(|expiry| expiry.min(self.limits.session_expiry_max));
        self.let_go(client, is_clean, expiry, now);
    }

    /// The power goes before its will is said.
    pub(super) fn take_back_will(&mut self, client: usize) {
        if let Some(session) = self.sessions.get_mut(&client) {
            session.goodbye.get_or_insert_default().0 = true;
        }
    }

    fn let_go(&mut self, client: usize, is_clean: bool, expiry: Option<u32>, now: Instant) {
        let session = self.sessions.get_mut(&client).expect("it was held");
        self.counts.qos0 += session.queue.forget_qos0();
        session.line = None;
        session.is_here = false;
        self.groups.set_online(client, false);
        session.life.leave(is_clean, expiry, now);
        let due = session.life.will_due();
        let ends = session.life.ends_at().is_some_and(|at| at <= now);
        let successor = session.successor.take();
        let is_due = due.is_some_and(|at| at <= now);
        let will = session.life.speak_if(is_due);
        let mut wills: Vec<_> = self.allowed(client, will).into_iter().collect();
        if let Some((line, wish)) = successor {
            wills.extend(self.hand_over(client, line, &wish));
        } else if ends {
            wills.extend(self.end(client));
        }
        self.speak(wills, now);
    }

    /// A line that waited, or was granted the session and did not begin, is gone.
    pub(super) fn give_up(&mut self, client: usize, line: usize, now: Instant) {
        let Some(session) = self.sessions.get_mut(&client) else {
            return;
        };
        if session.line == Some(line) {
            return self.let_go(client, true, None, now);
        }
        session.successor.take_if(|(waiting, _)| *waiting == line);
    }

    /// Wills that are due are published, sessions end, retained messages are forgotten.
    pub(super) fn pass_time(&mut self, now: Instant) {
        self.counts.expired += self.retained.expire(now);
        let mut due: Vec<_> = self
            .sessions
            .iter()
            .flat_map(|(client, session)| {
                let will = session
                    .life
                    .will_due()
                    .map(|at| (at, session.key, 0, *client));
                let end = session
                    .life
                    .ends_at()
                    .map(|at| (at, session.key, 1, *client));
                will.into_iter().chain(end)
            })
            .filter(|(at, ..)| *at <= now)
            .collect();
        due.sort_unstable();
        let mut wills = Vec::new();
        for (_, _, what, client) in due {
            if what == 0 {
                let session = self.sessions.get_mut(&client);
                let will = session.and_then(|session| session.life.speak_if(true));
                wills.extend(self.allowed(client, will));
            } else {
                wills.extend(self.end(client));
            }
        }
        self.speak(wills, now);
    }

    /// Somebody publishes. Returns how many sessions get it.
    pub(super) fn route(
        &mut self,
        message: &Message,
        publisher: Option<usize>,
        now: Instant,
    ) -> usize {
        let expiry = message.properties().message_expiry_interval;
        let expires_at = expiry.map(|seconds| now + Duration::from_secs(seconds.into()));
        if message.retain {
            self.retained.set(message, expires_at);
        }
        if let Some(publisher) = publisher {
            self.wrote(self.rights.author(publisher), message);
        }
        if is_shared(message) {
            return self.groups.route(message, expires_at, now);
        }
        let mut matched = 0;
        for (client, session) in &mut self.sessions {
            let found: Vec<_> = session
                .subscriptions
                .iter()
                .filter(|(filter, _)| matches(filter, message.topic.as_str()))
                .map(|(_, subscription)| *subscription)
                .filter(|found| !found.options.no_local || publisher != Some(*client))
                .collect();
            let Some(best) = found.iter().map(|found| found.options.qos).max() else {
                continue;
            };
            let topic = message.topic.as_str();
            if !self.rights.may(*client, Access::Read, topic) {
                self.counts.deliveries_denied += 1;
                continue;
            }
            matched += 1;
            let mut ids: Vec<_> = found.iter().filter_map(|found| found.id).collect();
            ids.sort_unstable();
            ids.dedup();
            let keeps = found.iter().any(|found| found.options.retain_as_published);
            let copy = message.clone().with_qos(message.qos.min(best));
            let copy = copy.with_retain(message.retain && keeps);
            let dropped = session
                .queue
                .push(Owed::new(copy, ids, expires_at), session.is_here);
            self.counts.qos0 += dropped.of_qos0;
            self.counts.queue_full += dropped.queue_full;
        }
        matched
    }

    /// Whether the client takes packets of this size.
    pub(super) fn takes(&self, client: usize, size: usize) -> bool {
        let limit = self.sessions[&client].peer.size_max;
        limit.is_none_or(|limit| size <= limit as usize)
    }

    /// The broker has not sent what was next, because it is too old or too large.
    pub(super) fn skip(&mut self, client: usize, delivery: &Delivery, now: Instant) {
        let session = self.sessions.get_mut(&client).expect("it is connected");
        let Peer { version, size_max } = session.peer;
        self.counts.expired += 1;
        if is_shared(&delivery.message) {
            let has_reason = |owed: &Owed| owed.must_be_skipped(version, size_max, now);
            return self.groups.skip(client, delivery, has_reason);
        }
        session
            .queue
            .skip(&delivery.message, version, size_max, now);
    }

    /// The broker has sent a packet to the client.
    pub(super) fn sent(&mut self, client: usize, packet: &Packet, now: Instant) {
        match packet {
            Packet::Publish(publish) => self.check_may_read(client, publish),
            Packet::Ack(ack) if ack.kind == AckKind::PubRel => {
                self.withdraw(client, ack.packet_id);
            }
            Packet::Ack(ack) => self.check_answer(client, ack),
            _ => {}
        }
        let session = self.sessions.get_mut(&client).expect("it is connected");
        if let Packet::ConnAck(connack) = packet {
            assert_eq!(
                connack.session_present, session.is_present,
                "client {client}"
            );
        }
        if let Packet::Publish(publish) = packet
            && !publish.dup
        {
            let (version, has_room) = (session.peer.version, session.flow.has_room());
            if is_shared(&publish.message) {
                self.groups.sent(client, publish, version, now);
            } else {
                session.queue.sent(publish, version, has_room, now);
            }
            self.books.sent(client, &publish.message);
        }
        session.flow.sent(packet);
        session.answers.sent(packet);
    }

    /// The broker has dealt with a packet of the client.
    pub(super) fn heard(&mut self, client: usize, packet: &Packet) {
        let Some(session) = self.sessions.get_mut(&client) else {
            return;
        };
        session.answers.heard(packet);
        if let Packet::Disconnect(goodbye) = packet {
            let is_clean = goodbye.reason == ReasonCode::Success;
            session.goodbye = Some((is_clean, goodbye.session_expiry_interval));
        }
        if let Some(publish) = session.flow.heard(packet) {
            self.books.answered(client, &publish.message);
            self.groups.settled(client, &publish);
        }
        self.judge(client, packet);
    }
}
