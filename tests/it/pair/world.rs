//! Both machines with their applications, which number their messages and take their time to accept what comes.

use super::Pipe;
use crate::seed::{Seed, epoch};
use bytes::BytesMut;
use rmqtt::broker::Limits;
use rmqtt::broker::protocol::{self as server, Accept, Delivered, Delivery};
use rmqtt::client::protocol as client;
use rmqtt::client::{ClientError, ClientOptions};
use rmqtt::codec::{PacketId, ProtocolVersion, ReasonCode};
use rmqtt::message::{Message, QoS};
use rmqtt::session::Session;
use rmqtt::topic::TopicName;
use rmqtt::transport::Address;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Instant;

/// What one application sent, and what came of it.
#[derive(Debug, Default)]
pub(super) struct Log {
    /// Waits for room.
    backlog: VecDeque<Message>,
    /// Highest number given.
    sent: u64,
    /// Arrivals at the other end, as delivered to its application.
    arrived: Vec<u64>,
    /// How often the other application has accepted each.
    accepted: BTreeMap<u64, usize>,
}

/// The broker's side of one connection.
pub(super) struct Server {
    pub(super) protocol: server::Protocol,
    input: BytesMut,
    pub(super) from_client: Pipe,
    /// Routed, and not yet answered for.
    unanswered: VecDeque<(PacketId, u64)>,
    /// Whether it has let the client in, and so holds the session.
    has_session: bool,
}

/// Client and broker, and the wire between them.
pub(super) struct Pair {
    pub(super) now: Instant,
    seed: Seed,
    pub(super) client: client::Protocol,
    input: BytesMut,
    pub(super) to_client: Pipe,
    pub(super) server: Server,
    /// An older connection of the same client, of whose end the broker has not heard.
    pub(super) half_open: Option<Server>,
    /// What the broker keeps of the session while nobody is connected.
    kept: Option<Session>,
    pub(super) is_up: bool,
    /// Bytes that still arrive, in both directions together, before the connection is cut.
    pub(super) budget: usize,
    /// Delivered to the client's application, and not yet accepted.
    pending: Vec<(PacketId, u64, u64)>,
    /// What the client sends, and what the broker sends.
    up: Log,
    down: Log,
    /// Numbers whose publish has been reported as done, with the reason.
    done: BTreeMap<u64, ReasonCode>,
    pub(super) errors: Vec<ClientError>,
    limits: Arc<Limits>,
}

fn number(message: &Message) -> u64 {
    u64::from_be_bytes(message.payload[..8].try_into().expect("eight bytes"))
}

/// The QoS of a message follows from its number.
fn qos(number: u64) -> QoS {
    QoS::from_number(u8::try_from(number % 3).expect("small")).expect("0 to 2")
}

fn options(version: ProtocolVersion) -> ClientOptions {
    let mut options = ClientOptions::new(Address::Memory {
        name: "pair".to_owned(),
    });
    options.version = version;
    options.clean_start = false;
    options.session_expiry = u32::MAX;
    options.keep_alive = 10;
    options
}

impl Server {
    fn new(limits: &Arc<Limits>, now: Instant) -> Self {
        Self {
            protocol: server::Protocol::new(Arc::clone(limits), now),
            input: BytesMut::new(),
            from_client: Pipe::default(),
            unanswered: VecDeque::new(),
            has_session: false,
        }
    }

    /// What is routed is answered for before the session is handed on: nobody else could.
    fn take_state(mut self) -> Session {
        while let Some((id, _)) = self.unanswered.pop_front() {
            self.protocol.accepted(id, ReasonCode::Success);
        }
        self.protocol.take_session()
    }
}

impl Pair {
    pub(super) fn new(version: ProtocolVersion, seed: Seed) -> Self {
        Self::with(options(version), seed)
    }

    fn with(options: ClientOptions, seed: Seed) -> Self {
        let now = epoch();
        let limits = Arc::new(Limits {
            receive_maximum: 8,
            in_flight_max: 6,
            ..Limits::default()
        });
        let mut pair = Self {
            client: client::Protocol::new(options, "pair", now),
            input: BytesMut::new(),
            to_client: Pipe::default(),
            server: Server::new(&limits, now),
            half_open: None,
            kept: None,
            is_up: false,
            budget: usize::MAX,
            pending: Vec::new(),
            up: Log::default(),
            down: Log::default(),
            done: BTreeMap::new(),
            errors: Vec::new(),
            limits,
            now,
            seed,
        };
        pair.connect();
        pair
    }

    pub(super) fn connect(&mut self) {
        self.client
            .connect(self.now)
            .expect("the options are right");
        self.server = Server::new(&self.limits, self.now);
        self.is_up = true;
        self.pump();
    }

    /// Ends the connection here and now. If it is to be half open, the broker does not hear of it.
    pub(super) fn cut(&mut self, half_open: bool) {
        if !self.is_up {
            return;
        }
        self.is_up = false;
        self.budget = usize::MAX;
        self.client.connection_lost();
        self.input.clear();
        self.to_client = Pipe::default();
        let server = std::mem::replace(&mut self.server, Server::new(&self.limits, self.now));
        if half_open && server.has_session {
            self.half_open = Some(server);
        } else {
            self.keep(server);
        }
    }

    fn keep(&mut self, server: Server) {
        if server.has_session {
            self.kept = Some(server.take_state());
        }
    }

    /// Lets each machine do all it can without anything more arriving.
    pub(super) fn pump(&mut self) {
        if let Some(mut old) = self.half_open.take() {
            self.receive_at_server(&mut old);
            self.half_open = Some(old);
        }
        if !self.is_up {
            return;
        }
        if let Err(error) = self.receive_at_client() {
            self.errors.push(error);
            self.cut(false);
            return;
        }
        let mut server = std::mem::replace(&mut self.server, Server::new(&self.limits, self.now));
        let goes_on = self.receive_at_server(&mut server);
        self.deliver(&mut server);
        self.to_client
            .write(server.protocol.outgoing(), self.now, &mut self.seed);
        server
            .from_client
            .write(self.client.outgoing(), self.now, &mut self.seed);
        self.client.sent(self.now);
        self.server = server;
        if !goes_on && self.server.protocol.outgoing().is_empty() && self.to_client.is_empty() {
            self.cut(false);
        }
    }

    fn receive_at_client(&mut self) -> Result<(), ClientError> {
        while let Some(event) = self.client.receive(&mut self.input, self.now)? {
            match event {
                client::Event::Connected { lost, .. } => {
                    assert!(lost.is_empty(), "the session is kept");
                }
                client::Event::Message { publish, delivery } => {
                    let number = number(&publish.message);
                    self.down.arrived.push(number);
                    match publish.packet_id {
                        Some(id) => self.pending.push((id, delivery, number)),
                        None => *self.down.accepted.entry(number).or_default() += 1,
                    }
                }
                client::Event::Published { token, reason, .. } => {
                    assert!(
                        self.up.accepted.contains_key(&token),
                        "{token} is acknowledged, but was not accepted"
                    );
                    assert!(
                        self.done.insert(token, reason).is_none(),
                        "{token} is reported twice"
                    );
                }
                other => panic!("nobody asked for {other:?}"),
            }
        }
        while let Some(message) = self.up.backlog.pop_front() {
            if !self.client.can_publish(message.qos) {
                self.up.backlog.push_front(message);
                break;
            }
            let number = number(&message);
            self.client
                .publish(message, number)
                .expect("it can be published");
        }
        Ok(())
    }

    /// Says whether the connection goes on.
    fn receive_at_server(&mut self, server: &mut Server) -> bool {
        loop {
            match server.protocol.receive(&mut server.input, self.now) {
                Ok(Some(server::Event::ConnectRequested(_))) => {
                    // A take-over: the older connection lets go first.
                    if let Some(mut old) = self.half_open.take() {
                        old.protocol.close(ReasonCode::SessionTakenOver);
                        self.keep(old);
                    }
                    let session_present = self.kept.is_some();
                    let session = self.kept.take().unwrap_or_default();
                    let accept = Accept {
                        session,
                        session_present,
                        assigned_client_id: None,
                    };
                    server.protocol.accept(accept, self.now).expect("asked");
                    server.has_session = true;
                }
                Ok(Some(server::Event::Publish { message, packet_id })) => {
                    let number = number(&message);
                    self.up.arrived.push(number);
                    *self.up.accepted.entry(number).or_default() += 1;
                    server.unanswered.extend(packet_id.map(|id| (id, number)));
                    if !self.seed.one_in(3) {
                        while let Some((id, _)) = server.unanswered.pop_front() {
                            server.protocol.accepted(id, ReasonCode::Success);
                        }
                    }
                }
                Ok(Some(server::Event::PublishRun(run))) => {
                    for message in run.messages() {
                        let number = number(&message);
                        self.up.arrived.push(number);
                        *self.up.accepted.entry(number).or_default() += 1;
                    }
                }
                Ok(Some(other)) => panic!("nobody sent {other:?}"),
                Ok(None) => return true,
                Err(_) => return false,
            }
        }
    }

    fn deliver(&mut self, server: &mut Server) {
        while let Some(message) = self.down.backlog.front() {
            let room = server.protocol.room();
            let has_room = if message.qos == QoS::AtMostOnce {
                room.at_most_once
            } else {
                room.acknowledged
            };
            if !has_room {
                return;
            }
            let Some(message) = self.down.backlog.pop_front() else {
                return;
            };
            let delivery = Delivery {
                message,
                subscription_ids: Vec::new(),
                expires_at: None,
                token: 0,
            };
            assert_eq!(server.protocol.deliver(delivery, self.now), Delivered::Sent);
        }
    }

    pub(super) fn next_event(&self) -> Option<Instant> {
        let old = self.half_open.as_ref();
        let live = Some(&self.server).filter(|_| self.is_up);
        let wires = [
            live.and_then(|server| server.from_client.next_due()),
            Some(&self.to_client)
                .filter(|_| self.is_up)
                .and_then(Pipe::next_due),
            old.and_then(|server| server.from_client.next_due()),
        ];
        wires.into_iter().flatten().min()
    }

    fn next_timeout(&self) -> Option<Instant> {
        let client = self.client.next_timeout().filter(|_| self.is_up);
        let live = self.server.protocol.next_timeout().filter(|_| self.is_up);
        let old = self
            .half_open
            .as_ref()
            .and_then(|old| old.protocol.next_timeout());
        [client, live, old].into_iter().flatten().min()
    }

    /// Moves the clock to the next thing that happens, and lets it happen; `false` if nothing ever will.
    pub(super) fn step(&mut self) -> bool {
        let Some(next) = self
            .next_event()
            .into_iter()
            .chain(self.next_timeout())
            .min()
        else {
            return false;
        };
        self.now = self.now.max(next);
        let mut budget = self.budget;
        if self.is_up {
            self.server
                .from_client
                .arrive(&mut self.server.input, self.now, &mut budget);
            self.to_client
                .arrive(&mut self.input, self.now, &mut budget);
        }
        if self.budget != usize::MAX {
            self.budget = budget;
        }
        if let Some(old) = &mut self.half_open {
            old.from_client
                .arrive(&mut old.input, self.now, &mut usize::MAX.clone());
        }
        self.pump();
        self.on_time();
        if self.budget == 0 {
            let half_open = self.seed.one_in(3);
            self.cut(half_open);
        }
        true
    }

    fn on_time(&mut self) {
        if let Some(old) = &mut self.half_open
            && old.protocol.handle_timeout(self.now).is_err()
            && let Some(old) = self.half_open.take()
        {
            self.keep(old);
        }
        if self.is_up && self.server.protocol.handle_timeout(self.now).is_err() {
            let server = std::mem::replace(&mut self.server, Server::new(&self.limits, self.now));
            self.keep(server);
            self.cut(false);
        }
        if self.is_up {
            if let Err(error) = self.client.handle_timeout(self.now) {
                self.errors.push(error);
                self.cut(true);
                return;
            }
            self.pump();
        }
    }

    pub(super) fn publish(&mut self, from_client: bool) {
        let log = if from_client {
            &mut self.up
        } else {
            &mut self.down
        };
        log.sent += 1;
        let mut payload = log.sent.to_be_bytes().to_vec();
        payload.resize(8 + self.seed.pick(0..40), b'.');
        let topic = TopicName::new("pair/topic").expect("valid");
        log.backlog
            .push_back(Message::new(topic, payload).with_qos(qos(log.sent)));
    }

    /// The client's application accepts something it has got, on this connection or an earlier one.
    pub(super) fn accept_one(&mut self) {
        if !self.pending.is_empty() {
            let (id, delivery, number) = self.pending.remove(self.seed.pick(0..self.pending.len()));
            *self.down.accepted.entry(number).or_default() += 1;
            self.client.accepted(id, delivery, ReasonCode::Success);
        }
    }

    pub(super) fn answer_all(&mut self) {
        while let Some((id, _)) = self.server.unanswered.pop_front() {
            self.server.protocol.accepted(id, ReasonCode::Success);
        }
    }

    /// Mends everything, and lets it all come to an end.
    pub(super) fn run_until_quiet(&mut self) {
        for _ in 0..10_000 {
            self.budget = usize::MAX;
            self.to_client.is_stalled = false;
            self.server.from_client.is_stalled = false;
            if !self.is_up {
                self.connect();
            }
            self.answer_all();
            while !self.pending.is_empty() {
                self.accept_one();
            }
            self.pump();
            if self.next_event().is_none() && self.is_up && self.client.is_connected() {
                return;
            }
            self.step();
        }
        panic!("it never comes to an end");
    }

    pub(super) fn check(&self) {
        for (name, log) in [("up", &self.up), ("down", &self.down)] {
            assert!(log.backlog.is_empty(), "{name}: {} wait", log.backlog.len());
            for number in 1..=log.sent {
                let times = log.accepted.get(&number).copied().unwrap_or(0);
                match qos(number) {
                    QoS::AtMostOnce => assert!(
                        times <= 1,
                        "{name}: QoS 0 message {number} came {times} times"
                    ),
                    QoS::AtLeastOnce => {
                        assert!(times >= 1, "{name}: QoS 1 message {number} never came");
                    }
                    QoS::ExactlyOnce => assert_eq!(times, 1, "{name}: QoS 2 message {number}"),
                }
            }
            // What needs no answer may overtake what is sent again.
            for is_acknowledged in [false, true] {
                let mut first = log.arrived.clone();
                let mut seen = BTreeSet::new();
                first.retain(|number| {
                    (qos(*number) != QoS::AtMostOnce) == is_acknowledged && seen.insert(*number)
                });
                assert!(first.is_sorted(), "{name}: out of order: {first:?}");
            }
        }
        let acknowledged = (1..=self.up.sent).filter(|number| qos(*number) != QoS::AtMostOnce);
        assert!(
            acknowledged.eq(self.done.keys().copied()),
            "not all is reported: {:?}",
            self.done
        );
        assert!(self.done.values().all(|reason| !reason.is_error()));
        assert_eq!(self.server.protocol.in_flight(), 0);
        assert_eq!(self.client.session().outbound.in_flight(), 0);
        assert_eq!(self.client.session().inbound.in_flight(), 0);
    }
}
