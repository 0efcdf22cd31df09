//! The clients, the hub, the lines between them and the clock that they share.

use super::client::Client;
use super::line::{Around, Line};
use super::model::Model;
use super::rights::Rights;
use super::tap::Trace;
use crate::seed::Seed;
use bytes::Buf;
use rmqtt::broker::group::Sharing;
use rmqtt::broker::hub::Hub;
use rmqtt::broker::{Limits, SharedStrategy};
use rmqtt::codec::ReasonCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How the broker learns that a client is gone.
#[derive(Debug, Clone, Copy)]
pub(super) enum End {
    /// Now; what was under way is lost.
    AtOnce,
    /// When what was under way has arrived.
    BehindTheRest,
    /// Not at all.
    Unheard,
}

/// Everything there is.
pub(super) struct World {
    pub(super) now: Instant,
    pub(super) seed: Seed,
    pub(super) hub: Hub,
    pub(super) clients: Vec<Client>,
    lines: Vec<Line>,
    pub(super) model: Model,
    pub(super) rights: Rights,
    pub(super) trace: Trace,
    /// Wills have numbers of their own, and so has what the broker says itself.
    pub(super) wills: u64,
    /// So many in four topics and filters are for groups.
    pub(super) shared_of_4: usize,
    /// How often a line was looked at: something would go round in circles otherwise.
    looks: usize,
}

/// There are fewer.
const CLIENTS_MAX: usize = 7;

/// No seed needs more.
const LOOKS_MAX: usize = 100_000;

impl World {
    pub(super) fn new(mut seed: Seed, is_ruled: bool, trace: Trace, now: Instant) -> Self {
        let limits = Arc::new(limits(&mut seed));
        let sharing = sharing(&mut seed);
        let rights = if is_ruled {
            Rights::new(CLIENTS_MAX, &mut seed)
        } else {
            Rights::default()
        };
        trace.say(|| format!("{limits:?} {sharing:?}"));
        let mut world = Self {
            now,
            hub: Hub::with_sharing(Arc::clone(&limits), sharing).with_ledger(),
            clients: Vec::new(),
            lines: Vec::new(),
            model: Model::new(limits, rights.clone(), trace.clone()),
            rights,
            trace,
            wills: 0,
            shared_of_4: [1, 1, 3][seed.pick(0..3)],
            looks: 0,
            seed,
        };
        world.begin_to_rule();
        for number in 0..world.seed.pick(2..CLIENTS_MAX) {
            let is_real = world.seed.one_in(2);
            let setup = world.any_setup(number);
            world.clients.push(Client::new(number, setup, is_real, now));
        }
        world
    }

    /// A new connection; an older one of the same client, if there is one, is left as it is.
    ///
    /// But for one whose CONNECT has not arrived: it would end the newer one when it does, and its session with it, which
    /// no client could know. Against that the standards have no remedy.
    pub(super) fn connect(&mut self, number: usize) {
        for line in 0..self.lines.len() {
            if self.lines[line].is_overtaken(number) {
                self.with_line(line, |line, around| line.end(true, None, around));
            }
        }
        let line = self.lines.len();
        self.trace
            .say(|| format!("client {number} opens line {line}"));
        let door = self.rights.any_door(&mut self.seed);
        self.mind_will(number, door);
        self.lines
            .push(Line::new(line, number, door, &self.hub, self.now));
        let client = &mut self.clients[number];
        let expiry_max = self.hub.limits().session_expiry_max;
        client.connect(line, expiry_max, &mut self.model.books, self.now);
        self.run();
    }

    /// The connection is gone for the client; the broker hears of it as `end` says.
    pub(super) fn cut(&mut self, number: usize, end: End) {
        let Some(line) = self.clients[number].lose_line(self.now) else {
            return;
        };
        self.trace.say(|| {
            format!("client {number} has lost line {line}, the broker hears of it: {end:?}")
        });
        match end {
            End::AtOnce => self.with_line(line, |line, around| line.end(true, None, around)),
            End::BehindTheRest => self.lines[line].ends_behind_the_rest = true,
            End::Unheard => {}
        }
    }

    /// The power goes and comes back: all there is then is a snapshot of that moment.
    pub(super) fn power_cut(&mut self) {
        self.trace.say(|| "the power goes".to_owned());
        let still = self.hub.begin_standstill();
        for line in self.lines.iter_mut().filter(|line| !line.is_over()) {
            line.leave_copy(&self.hub);
        }
        let snapshot = self.hub.try_snapshot(self.now);
        let balance = self.hub.try_balance();
        drop(still);
        assert_eq!(balance.map(|it| it.difference()), Some(0), "the ledger");
        let were_online = self.model.groups.online();
        for is_waiting in [true, false] {
            for line in 0..self.lines.len() {
                self.with_line(line, |line, around| line.cut_off(is_waiting, around));
            }
        }
        for number in 0..self.clients.len() {
            self.cut(number, End::AtOnce);
        }
        self.model.groups.power_gone(&were_online);
        let snapshot = snapshot.expect("all stood still");
        assert!(self.hub.try_restore(&snapshot, self.now), "nobody is left");
    }

    pub(super) fn any_end(&mut self) -> End {
        [End::AtOnce, End::BehindTheRest, End::Unheard][self.seed.pick(0..3)]
    }

    fn with_line(&mut self, line: usize, act: impl FnOnce(&mut Line, &mut Around<'_>)) {
        self.looks += 1;
        assert!(self.looks < LOOKS_MAX, "it goes round in circles");
        let mut around = Around {
            hub: &self.hub,
            model: &mut self.model,
            seed: &mut self.seed,
            now: self.now,
        };
        act(&mut self.lines[line], &mut around);
    }

    /// Every machine does what it can, until none can do more without the clock.
    pub(super) fn run(&mut self) {
        for number in 0..self.clients.len() {
            self.run_client(number);
        }
        loop {
            let awake = (0..self.lines.len()).find(|line| self.lines[*line].is_awake());
            let Some(line) = awake else { return };
            self.with_line(line, Line::run);
        }
    }

    fn run_client(&mut self, number: usize) {
        let client = &mut self.clients[number];
        let Some(line) = client.line.filter(|_| !client.is_frozen) else {
            return;
        };
        let (books, trace) = (&mut self.model.books, &self.trace);
        match client.run(books, trace, &mut self.seed, self.now) {
            // The broker has closed, and all it said has been heard.
            Ok(()) if self.lines[line].is_over() && self.lines[line].to_client.is_empty() => {
                self.cut(number, End::AtOnce);
            }
            Ok(()) => {
                let out = client.machine.outgoing();
                self.trace.hash(out.chunk());
                let pipe = &mut self.lines[line].from_client;
                pipe.write(out, self.now, &mut self.seed);
                client.machine.sent(self.now);
            }
            Err(()) => self.cut(number, End::AtOnce),
        }
    }

    fn next_arrival(&self) -> Option<Instant> {
        let awake = self.clients.iter().filter(|client| !client.is_frozen);
        let heard = awake.filter_map(|client| self.lines[client.line?].to_client.next_due());
        let lines = self.lines.iter().filter(|line| !line.is_over());
        heard
            .chain(lines.filter_map(|line| line.from_client.next_due()))
            .min()
    }

    fn next_timeout(&self) -> Option<Instant> {
        let clients = self.clients.iter();
        let clients = clients.filter(|client| client.line.is_some() && !client.is_frozen);
        clients
            .filter_map(|client| client.machine.next_timeout())
            .chain(self.lines.iter().filter_map(Line::next_timeout))
            .chain(self.hub.next_timeout())
            .min()
    }

    /// What happens next, and when: an arrival, or with `may_wait` a deadline too.
    fn next(&self, may_wait: bool) -> Option<Instant> {
        let timeout = self.next_timeout().filter(|_| may_wait);
        self.next_arrival().into_iter().chain(timeout).min()
    }

    /// Moves the clock to what happens next; `false` if there is nothing.
    pub(super) fn step(&mut self, may_wait: bool) -> bool {
        let Some(next) = self.next(may_wait) else {
            return false;
        };
        self.looks += 1;
        assert!(self.looks < LOOKS_MAX, "it goes round in circles");
        self.set_time(self.now.max(next));
        for number in 0..self.lines.len() {
            let line = &mut self.lines[number];
            if line.is_over() {
                continue;
            }
            let mut owners = self.clients.iter_mut();
            let owner = owners.find(|client| client.line == Some(number));
            let mut whole = usize::MAX;
            let budget = owner.map_or(&mut whole, |client| &mut client.budget);
            if line.arrive(self.now, budget) {
                self.with_line(number, Line::run);
            }
        }
        for number in 0..self.clients.len() {
            self.hear(number);
        }
        self.run();
        true
    }

    fn set_time(&mut self, now: Instant) {
        self.now = now;
        self.trace.set_time(now);
        while self.hub.next_timeout().is_some_and(|due| due <= now) {
            self.model.pass_time(now);
            self.hub.handle_timeout(now);
        }
    }

    /// Lets so much time pass, with all that happens in it.
    pub(super) fn pass(&mut self, time: Duration) {
        let until = self.now + time;
        while self.next(true).is_some_and(|next| next <= until) {
            self.step(true);
        }
        self.set_time(until);
    }

    /// What has arrived for a client, and what is due there.
    fn hear(&mut self, number: usize) {
        let client = &mut self.clients[number];
        let Some(line) = client.line else {
            return;
        };
        let mut is_dead = false;
        if !client.is_frozen {
            client.arrive(&mut self.lines[line].to_client, self.now);
            is_dead = client.machine.handle_timeout(self.now).is_err();
        }
        let is_spent = client.budget == 0;
        self.run_client(number);
        if is_dead || is_spent {
            let end = self.any_end();
            self.cut(number, end);
        }
    }

    /// Tells a client's connection to go, as the owner of a broker may.
    pub(super) fn kick(&mut self, number: usize) {
        let client_id = super::client::client_id(number);
        self.hub
            .disconnect(&client_id, ReasonCode::AdministrativeAction);
        self.run();
    }

    /// Mends everything and lets it all come to rest.
    pub(super) fn come_to_rest(&mut self) {
        for _ in 0..20_000 {
            for number in 0..self.clients.len() {
                self.mend(number);
            }
            self.run();
            let mut clients = self.clients.iter();
            let is_connected = clients.all(|client| client.machine.is_connected());
            // A queue that does not drain costs its connection after a while: no wait is for ever.
            let is_stuck = self.lines.iter().any(|line| line.overdue_at().is_some());
            if !self.step(is_stuck) && is_connected {
                return;
            }
        }
        panic!("it never comes to rest");
    }

    fn mend(&mut self, number: usize) {
        self.clients[number].budget = usize::MAX;
        self.clients[number].is_frozen = false;
        if self.clients[number].line.is_none() {
            self.connect(number);
        }
        let client = &mut self.clients[number];
        client.be_quick();
        while !client.pending.is_empty() {
            client.accept(0, ReasonCode::Success, &mut self.model.books);
        }
    }

    pub(super) fn check(&mut self) {
        self.model.check(&self.hub, self.now);
    }

    /// Everybody has come back, and all that was under way has arrived.
    pub(super) fn check_rest(&mut self) {
        self.check();
        self.model.check_rest();
        for client in &self.clients {
            client.check_rest();
        }
    }
}

/// The bounds of one world.
fn limits(seed: &mut Seed) -> Limits {
    // A quarter of the worlds have queues that are full at once: publishers are held back there.
    let is_narrow = seed.one_in(4);
    Limits {
        receive_maximum: 8,
        in_flight_max: u16::try_from(seed.pick(1..10)).expect("small"),
        queue_messages_max: if is_narrow { seed.pick(2..8) } else { 10_000 },
        queue_bytes_max: if seed.one_in(8) { 3_000 } else { 16 << 20 },
        session_expiry_max: if seed.one_in(6) { 40 } else { u32::MAX },
        topic_alias_max: 3,
        ..Limits::default()
    }
}

/// How groups deal in one world.
fn sharing(seed: &mut Seed) -> Sharing {
    let all = [
        SharedStrategy::RoundRobin,
        SharedStrategy::Random,
        SharedStrategy::Sticky,
        SharedStrategy::Hash,
        SharedStrategy::LeastInFlight,
    ];
    Sharing {
        strategy: all[seed.pick(0..5)],
        seed: seed.pick(0..1_000) as u64,
    }
}
