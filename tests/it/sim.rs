//! Many clients and a whole broker, but for sockets and tasks: random acts from a seed, and books that must balance.
//!
//! Clients of both versions connect, subscribe, publish, are cut off at any byte, come back, take over from themselves,
//! and take their time to accept what comes. The hub is the real one. Clients with even numbers have sessions that last
//! and are readers; the others begin anew each time.
//!
//! `RMQTT_SEED=n` replays a failure; `RMQTT_SEEDS=n` runs so many.

mod books;
mod client;
mod line;

use self::books::{Books, TOPICS};
use self::client::Client;
use self::line::{Line, wrong_retained};
use crate::seed::{Seed, each, epoch};
use rmqtt::broker::Limits;
use rmqtt::broker::hub::Hub;
use rmqtt::client::ClientError;
use rmqtt::codec::ReasonCode;
use rmqtt::message::QoS;
use std::sync::Arc;
use std::time::Instant;

/// How the broker learns that a client is gone.
#[derive(Debug, Clone, Copy)]
enum End {
    /// Now; what was under way is lost.
    AtOnce,
    /// When what was under way has arrived.
    BehindTheRest,
    /// Not at all.
    Unheard,
}

struct World {
    now: Instant,
    seed: Seed,
    hub: Hub,
    clients: Vec<Client>,
    lines: Vec<Line>,
    books: Books,
    wills_seen: u64,
}

impl World {
    fn new(mut seed: Seed) -> Self {
        let now = epoch();
        let limits = Limits {
            receive_maximum: 8,
            in_flight_max: u16::try_from(seed.pick(1..10)).expect("small"),
            // A quarter of the worlds have queues that are full at once: publishers are held back there.
            queue_messages_max: if seed.one_in(4) {
                seed.pick(2..8)
            } else {
                10_000
            },
            ..Limits::default()
        };
        let clients = (0..seed.pick(2..7))
            .map(|number| Client::new(number, &mut seed, now))
            .collect();
        Self {
            now,
            hub: Hub::new(Arc::new(limits)),
            clients,
            lines: Vec::new(),
            books: Books::default(),
            wills_seen: 0,
            seed,
        }
    }

    /// A new connection; an older one of the same client, if there is one, is left as it is.
    fn connect(&mut self, number: usize) {
        self.lines.push(Line::new(&self.hub, self.now));
        let client = &mut self.clients[number];
        client.protocol.connection_lost();
        client.input.clear();
        client.budget = usize::MAX;
        client
            .protocol
            .connect(self.now)
            .expect("the options are right");
        client.line = Some(self.lines.len() - 1);
        self.run();
    }

    /// The connection is gone for the client; the broker hears of it as `end` says.
    fn cut(&mut self, number: usize, end: End) {
        let client = &mut self.clients[number];
        let Some(line) = client.line.take() else {
            return;
        };
        client.protocol.connection_lost();
        client.input.clear();
        match end {
            End::AtOnce => self.lines[line].break_off(&self.hub, self.now),
            End::BehindTheRest => self.lines[line].ends_behind_the_rest = true,
            End::Unheard => {}
        }
    }

    fn any_end(&mut self) -> End {
        [End::AtOnce, End::BehindTheRest, End::Unheard][self.seed.pick(0..3)]
    }

    /// Every machine does what it can, until none can do more without the clock.
    fn run(&mut self) {
        for number in 0..self.clients.len() {
            self.run_client(number);
        }
        loop {
            let rung = (0..self.lines.len()).find(|line| self.lines[*line].has_rung());
            let Some(line) = rung else { return };
            self.run_line(line);
        }
    }

    fn run_line(&mut self, line: usize) {
        self.lines[line].run(&self.hub, &mut self.books, self.now, &mut self.seed);
    }

    fn run_client(&mut self, number: usize) {
        let client = &mut self.clients[number];
        let Some(line) = client.line else { return };
        match client.run(&mut self.books, &mut self.wills_seen, self.now) {
            // The broker has closed, and all it said has been heard.
            Ok(()) if self.lines[line].is_over() && self.lines[line].to_client.is_empty() => {
                self.cut(number, End::AtOnce);
            }
            Ok(()) => {
                let wire = &mut self.lines[line].from_client;
                wire.write(client.protocol.outgoing(), self.now, &mut self.seed);
                client.protocol.sent(self.now);
            }
            Err(ClientError::ServerDisconnected(_) | ClientError::ConnectionLost { .. }) => {
                self.cut(number, End::AtOnce);
            }
            Err(error) => panic!("client {number}: {error}"),
        }
    }

    fn next_arrival(&self) -> Option<Instant> {
        let heard = self
            .clients
            .iter()
            .filter_map(|client| self.lines[client.line?].to_client.next_due());
        let lines = self.lines.iter().filter(|line| !line.is_over());
        heard
            .chain(lines.filter_map(|line| line.from_client.next_due()))
            .min()
    }

    fn next_timeout(&self) -> Option<Instant> {
        let connected = self.clients.iter().filter(|client| client.line.is_some());
        let clients = connected.filter_map(|client| client.protocol.next_timeout());
        clients
            .chain(self.lines.iter().filter_map(Line::next_timeout))
            .chain(self.hub.next_timeout())
            .min()
    }

    /// Moves the clock to the next arrival, or with `may_wait` to the next deadline; `false` if there is none.
    fn step(&mut self, may_wait: bool) -> bool {
        let timeout = self.next_timeout().filter(|_| may_wait);
        let Some(next) = self.next_arrival().into_iter().chain(timeout).min() else {
            return false;
        };
        self.now = self.now.max(next);
        for number in 0..self.lines.len() {
            let line = &mut self.lines[number];
            let owner = self
                .clients
                .iter_mut()
                .find(|client| client.line == Some(number));
            let mut whole = usize::MAX;
            let budget = owner.map_or(&mut whole, |client| &mut client.budget);
            let before = line.input.len();
            line.from_client.arrive(&mut line.input, self.now, budget);
            let is_due = line.ends_behind_the_rest || line.input.len() > before;
            if is_due || line.next_timeout().is_some_and(|due| due <= self.now) {
                self.run_line(number);
            }
        }
        if self.hub.next_timeout().is_some_and(|due| due <= self.now) {
            self.hub.handle_timeout(self.now);
        }
        for number in 0..self.clients.len() {
            self.hear(number);
        }
        self.run();
        true
    }

    /// What has arrived for a client, and what is due there.
    fn hear(&mut self, number: usize) {
        let client = &mut self.clients[number];
        let Some(line) = client.line else { return };
        let wire = &mut self.lines[line].to_client;
        wire.arrive(&mut client.input, self.now, &mut client.budget);
        let is_dead = client.protocol.handle_timeout(self.now).is_err();
        let is_spent = client.budget == 0;
        self.run_client(number);
        if is_dead || is_spent {
            let end = self.any_end();
            self.cut(number, end);
        }
    }

    fn publish(&mut self, number: usize) {
        let qos =
            QoS::from_number(u8::try_from(self.seed.pick(0..3)).expect("small")).expect("0 to 2");
        let (at, retain) = (self.seed.pick(0..TOPICS), self.seed.one_in(8));
        let message = self.books.publish(number, at, qos, retain);
        self.clients[number].backlog.push_back(message);
    }

    fn accept(&mut self, number: usize) {
        let client = &mut self.clients[number];
        if !client.pending.is_empty() {
            let (id, delivery, key) = client
                .pending
                .remove(self.seed.pick(0..client.pending.len()));
            self.books.accepted(number, key);
            client.protocol.accepted(id, delivery, ReasonCode::Success);
        }
    }

    fn act(&mut self) {
        let number = self.seed.pick(0..self.clients.len());
        let is_up = self.clients[number].line.is_some();
        match self.seed.pick(0..40) {
            0..10 => self.publish(number),
            10..18 => self.accept(number),
            18 => self.clients[number].budget = self.seed.pick(1..250),
            19 if is_up => {
                let end = self.any_end();
                self.cut(number, end);
            }
            20 if is_up => self.connect(number),
            21 if is_up => {
                self.clients[number]
                    .protocol
                    .disconnect(ReasonCode::Success);
                self.run_client(number);
                self.cut(number, End::BehindTheRest);
            }
            22 => {
                self.step(true);
            }
            23..26 if !is_up => self.connect(number),
            _ => {
                self.run();
                self.step(false);
            }
        }
    }

    /// Mends everything and lets it all come to rest.
    fn come_to_rest(&mut self) {
        for _ in 0..20_000 {
            for number in 0..self.clients.len() {
                self.clients[number].budget = usize::MAX;
                if self.clients[number].line.is_none() {
                    self.connect(number);
                }
                while !self.clients[number].pending.is_empty() {
                    self.accept(number);
                }
            }
            self.run();
            let is_connected = self
                .clients
                .iter()
                .all(|client| client.protocol.is_connected());
            // A queue that does not drain costs its connection after a while: no wait is for ever.
            let is_stuck = self.lines.iter().any(|line| line.overdue_at().is_some());
            if !self.step(is_stuck) && is_connected {
                return;
            }
        }
        panic!("it never comes to rest");
    }

    fn check(&self) {
        // What an absent client's full queue has dropped is counted, and nothing else is missing.
        let missing = self.books.check();
        let dropped = self.hub.counters().messages_dropped_queue_full.get();
        assert!(
            missing <= dropped,
            "{missing} are missing, {dropped} were dropped"
        );
        let has_room = self.hub.limits().queue_messages_max > 100;
        assert!(!has_room || dropped == 0);
        for client in &self.clients {
            assert!(
                client.backlog.is_empty(),
                "client {} has not sent all",
                client.number
            );
            assert_eq!(
                client.protocol.session().outbound.in_flight(),
                0,
                "client {}",
                client.number
            );
            assert_eq!(
                client.protocol.session().inbound.in_flight(),
                0,
                "client {}",
                client.number
            );
        }
        assert_eq!(
            wrong_retained(&self.hub, &self.books, self.now),
            [0_usize; 0],
            "retained messages of these topics"
        );
        assert!(
            self.wills_seen <= self.hub.counters().wills_published.get(),
            "a will came twice"
        );
    }
}

fn run(seed: Seed) -> World {
    let mut world = World::new(seed);
    // Readers subscribe before anything is published.
    for number in 0..world.clients.len() {
        world.connect(number);
    }
    world.come_to_rest();
    for _ in 0..world.seed.pick(30..150) {
        world.act();
    }
    world.come_to_rest();
    world.check();
    world
}

/// spec(4): MQTT-3.1.2-5, MQTT-3.1.4-2, MQTT-4.6.0-5, MQTT-4.6.0-6
/// spec(4, server): MQTT-3.1.2-4, MQTT-4.1.0-1, MQTT-4.3.2-1, MQTT-4.3.3-1, MQTT-4.3.3-2, MQTT-4.4.0-1
/// spec(5): MQTT-3.1.4-3, MQTT-4.5.0-1, MQTT-4.6.0-5, MQTT-4.6.0-6
/// spec(5, server): MQTT-3.1.2-5, MQTT-4.4.0-1
#[test]
fn the_books_balance_whatever_happens() {
    each(2_000, |seed| {
        let world = run(seed);
        assert!(world.books.len() < 200, "no seed does more acts than that");
    });
}
