//! One client of the simulation: its machine, its end of the wire, and an application that takes its time.

use super::books::Books;
use super::flow::{Answers, Flow};
use super::machine::{Machine, Setup};
use super::raw::Raw;
use super::tap::{Tap, Trace, brief};
use crate::pair::Pipe;
use crate::seed::Seed;
use bytes::{Bytes, BytesMut};
use rmqtt::client::protocol::Event;
use rmqtt::codec::{ConnAck, Packet, PacketId, ProtocolVersion, ReasonCode};
use rmqtt::message::Message;
use std::collections::VecDeque;
use std::time::Instant;

/// A message that the application wants published.
pub(super) struct Order {
    pub(super) message: Message,
    /// Its number among those of this client.
    pub(super) token: u64,
    /// Only the raw one is told; 0: none.
    pub(super) alias: u16,
}

/// One client.
pub(super) struct Client {
    pub(super) number: usize,
    pub(super) machine: Machine,
    pub(super) setup: Setup,
    pub(super) input: BytesMut,
    /// Its connection, among the lines.
    pub(super) line: Option<usize>,
    /// Bytes that still pass before the connection is cut.
    pub(super) budget: usize,
    /// How long the broker keeps the session at least, in seconds, and since when that counts.
    expiry: u32,
    /// No session is kept for longer, and 3.1.1 is not told.
    expiry_max: u32,
    lost_at: Option<Instant>,
    /// It has asked for a new session, and does not know whether the broker has heard.
    owes_clean: bool,
    /// Neither reads nor writes.
    pub(super) is_frozen: bool,
    /// Since when it may not have heard that this connection is gone.
    frozen_since: Option<Instant>,
    pub(super) backlog: VecDeque<Order>,
    /// Delivered and not yet accepted.
    pub(super) pending: Vec<(PacketId, u64, Bytes)>,
    heard: Tap,
    said: Tap,
    flow: Flow,
    answers: Answers,
}

impl Client {
    pub(super) fn new(number: usize, setup: Setup, is_real: bool, now: Instant) -> Self {
        let client_id = client_id(number);
        let machine = if is_real {
            Machine::real(&client_id, &setup, now)
        } else {
            Machine::Raw(Box::new(Raw::new(&client_id, now)))
        };
        Self {
            number,
            machine,
            setup,
            input: BytesMut::new(),
            line: None,
            budget: usize::MAX,
            expiry: u32::MAX,
            expiry_max: u32::MAX,
            lost_at: None,
            owes_clean: false,
            is_frozen: false,
            frozen_since: None,
            backlog: VecDeque::new(),
            pending: Vec::new(),
            heard: Tap::new(ProtocolVersion::V5),
            said: Tap::new(ProtocolVersion::V5),
            flow: Flow::default(),
            answers: Answers::default(),
        }
    }

    /// Does nothing from now on, or goes on.
    pub(super) fn freeze_or_thaw(&mut self, now: Instant) {
        self.is_frozen ^= true;
        if self.line.is_some() {
            self.frozen_since.get_or_insert(now);
        }
    }

    /// The connection is gone.
    pub(super) fn lose_line(&mut self, now: Instant) -> Option<usize> {
        let frozen_since = self.frozen_since.take();
        self.lost_at = self.lost_at.or(frozen_since).or(Some(now));
        self.input.clear();
        self.machine.connection_lost();
        self.line.take()
    }

    /// Forgets a session that the broker may have ended and begun anew, without our having heard of it.
    fn forget_ended(&mut self, books: &mut Books, now: Instant) {
        let away = self.lost_at.map_or(0, |since| (now - since).as_secs());
        let is_ended = self.expiry > 0 && away + 1 >= self.expiry.into();
        match &mut self.machine {
            _ if !is_ended && self.expiry > 0 => {}
            Machine::Real(_) => {
                self.setup.clean_start = true;
                self.restart(books, now);
            }
            Machine::Raw(raw) => {
                // The broker may have noticed later than we, and still have it.
                self.setup.clean_start |= is_ended;
                let lost = raw.forget();
                self.flow.begin(0);
                self.lose(lost, books);
            }
        }
    }

    /// Begins a connection, on this line; what was heard of an older one is forgotten. The broker keeps no session for
    /// longer than `expiry_max`.
    pub(super) fn connect(
        &mut self,
        line: usize,
        expiry_max: u32,
        books: &mut Books,
        now: Instant,
    ) {
        self.lose_line(now);
        self.setup.clean_start |= self.owes_clean;
        self.forget_ended(books, now);
        self.owes_clean = self.setup.clean_start;
        self.lost_at = None;
        // Until CONNACK has come, either may be true.
        self.expiry_max = expiry_max;
        let asked = self.asked_expiry().max(1);
        self.expiry = self.expiry.min(asked);
        self.line = Some(line);
        self.input.clear();
        self.budget = usize::MAX;
        self.is_frozen = false;
        self.heard = Tap::new(self.setup.version);
        self.said = Tap::new(self.setup.version);
        let lost = self.machine.connect(&self.setup, now);
        if matches!(self.machine, Machine::Raw(_)) && self.setup.clean_start {
            // It forgets at once, not when the broker has said that it does.
            self.flow.begin(0);
        }
        self.lose(lost, books);
    }

    /// The process ends, and another begins in its place: what it knew is lost.
    pub(super) fn restart(&mut self, books: &mut Books, now: Instant) {
        let unsent: Vec<_> = self.backlog.drain(..).map(|order| order.token).collect();
        self.lose(unsent, books);
        let number = self.number as u64;
        for token in books.unsettled(number) {
            books.uncertain((number, token));
        }
        self.machine = Machine::real(&client_id(self.number), &self.setup, now);
        self.flow.begin(0);
    }

    fn asked_expiry(&self) -> u32 {
        let asked = match self.setup.version {
            ProtocolVersion::V5 => self.setup.session_expiry,
            _ if self.setup.clean_start => 0,
            _ => u32::MAX,
        };
        asked.min(self.expiry_max)
    }

    /// Has no will any more. The real one cannot do without it but by beginning anew.
    pub(super) fn forget_will(&mut self, books: &mut Books, now: Instant) {
        self.setup.will = None;
        if matches!(self.machine, Machine::Real(_)) {
            self.lose_line(now);
            self.setup.clean_start = true;
            self.restart(books, now);
        }
    }

    /// Takes its leave; the real one cannot change the session's expiry.
    pub(super) fn disconnect(&mut self, reason: ReasonCode, expiry: Option<u32>) {
        // The broker may never hear that the session is to end at once.
        self.expiry = self.expiry.min(expiry.unwrap_or(u32::MAX).max(1));
        self.machine.disconnect(reason, expiry);
    }

    fn lose(&self, tokens: impl IntoIterator<Item = u64>, books: &mut Books) {
        for token in tokens {
            books.uncertain((self.number as u64, token));
        }
    }

    /// What has arrived comes in.
    pub(super) fn arrive(&mut self, pipe: &mut Pipe, now: Instant) {
        let before = self.input.len();
        pipe.arrive(&mut self.input, now, &mut self.budget);
        self.heard.arrived(&self.input[before..]);
    }

    /// Lets the machine do all it can with what has arrived. `Err`: the broker has ended the connection.
    pub(super) fn run(
        &mut self,
        books: &mut Books,
        trace: &Trace,
        seed: &mut Seed,
        now: Instant,
    ) -> Result<(), ()> {
        loop {
            let event = self.machine.receive(&mut self.input, now);
            for packet in self.heard.dealt_with(self.input.len()) {
                self.answers.heard(&packet);
                self.flow.heard(&packet);
            }
            match event? {
                Some(event) => self.on_event(event, books, seed),
                None => break,
            }
        }
        while let Some(order) = self.backlog.pop_front() {
            if !self.machine.can_publish(order.message.qos) {
                self.backlog.push_front(order);
                break;
            }
            self.publish(order);
        }
        self.said_along(trace);
        Ok(())
    }

    fn publish(&mut self, order: Order) {
        let Order {
            mut message,
            token,
            alias,
        } = order;
        if self.setup.version != ProtocolVersion::V5 {
            message.properties = None;
        }
        self.machine.publish(message, token, alias);
    }

    fn on_event(&mut self, event: Event, books: &mut Books, seed: &mut Seed) {
        match event {
            Event::Connected { connack, lost } => {
                self.on_connected(&connack);
                self.lose(lost.into_iter().map(|(token, _)| token), books);
            }
            Event::Message { publish, delivery } => {
                books.delivered(self.number, &publish.message);
                if let Some(id) = publish.packet_id {
                    let payload = publish.message.payload;
                    self.pending.push((id, delivery, payload));
                    if seed.one_in(2) {
                        self.accept(self.pending.len() - 1, ReasonCode::Success, books);
                    }
                }
            }
            Event::Published { token, reason, .. } => {
                books.acknowledged((self.number as u64, token), reason);
            }
            Event::Subscribed { suback, .. } => {
                let mut reasons = suback.reasons.iter();
                assert!(books.is_ruled || reasons.all(|reason| !reason.is_error()));
            }
            Event::Unsubscribed { .. } => {}
            Event::Authenticate(said) => panic!("nobody names a method: {said:?}"),
            Event::Refused { error, .. } => panic!("the broker lacks nothing: {error}"),
        }
    }

    fn on_connected(&mut self, connack: &ConnAck) {
        let is_v5 = self.setup.version == ProtocolVersion::V5;
        let receive_maximum = connack.properties.receive_maximum.filter(|_| is_v5);
        // What clients of 3.1.1 have under way at once is for themselves to choose: both kinds here have chosen 20.
        let window = receive_maximum.map_or(20, |most| usize::from(most.get()));
        self.answers = Answers::default();
        self.owes_clean = false;
        let granted = connack.properties.session_expiry_interval;
        self.expiry = granted.unwrap_or_else(|| self.asked_expiry());
        if connack.session_present {
            self.flow.resume(window, self.setup.version, None);
        } else {
            self.flow.begin(window);
            self.pending.clear();
        }
    }

    /// The application has dealt with what was delivered.
    pub(super) fn accept(&mut self, at: usize, reason: ReasonCode, books: &mut Books) {
        if at < self.pending.len() {
            let (id, delivery, payload) = self.pending.remove(at);
            books.accepted(self.number, &payload, reason);
            self.machine.accepted(id, delivery, reason);
        }
    }

    /// The raw one takes its time no more.
    pub(super) fn be_quick(&mut self) {
        if let Machine::Raw(raw) = &mut self.machine {
            raw.is_slow_to_release = false;
            raw.release();
        }
    }

    /// Reads what is about to be written.
    pub(super) fn said_along(&mut self, trace: &Trace) {
        let number = self.number;
        for packet in self.said.written(self.machine.outgoing(), 0) {
            trace.say(|| format!("client {number} says {}", brief(&packet)));
            if !matches!(packet, Packet::Connect(_)) {
                self.flow.sent(&packet);
                self.answers.sent(&packet);
            }
        }
    }

    /// Everything has come to rest.
    pub(super) fn check_rest(&self) {
        let number = self.number;
        assert!(self.backlog.is_empty(), "client {number} has not sent all");
        assert_eq!(self.flow.len(), 0, "client {number} has not settled all");
        assert_eq!(
            self.machine.in_flight(),
            0,
            "client {number} holds something"
        );
    }
}

pub(super) fn client_id(number: usize) -> String {
    format!("client-{number}")
}
