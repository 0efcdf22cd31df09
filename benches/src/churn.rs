//! Mixed load with clients that come and go, for as long as one likes; every message of QoS 1 and 2 is accounted for.
//!
//! Publishers with sessions, each with a stream of messages for each QoS, numbered. Subscribers with sessions, by
//! wildcards: each must have every message of QoS 1 at least once and of QoS 2 once, both in order; QoS 0 in order. Two
//! groups of shared subscriptions must have each message among their members. All of these are cut, or say goodbye, and
//! come back. Passers-by subscribe, read what is retained, and go: whoever is cut leaves a will, and one client that
//! stays counts wills. Which of it happens when follows from a seed, the operating system's moods aside.

use crate::Outcome;
use crate::actor::Actor;
use crate::books::{STAMP, read_stamp, stamp};
use crate::process::{cpu_time, memory_kib};
use lexopt::prelude::*;
use mio::{Events, Interest, Poll, Token};
use std::collections::{HashMap, HashSet};
use std::time::{Duration, Instant};

const PUBLISHERS: usize = 12;
const SUBSCRIBERS: usize = 6;
const MEMBERS: usize = 4;
const PASSERS_BY: usize = 40;
const RETAINED_TOPICS: u64 = 500;
/// Unsettled messages of one publisher.
const WINDOW: usize = 50;
/// What is open when time is up must be settled and delivered within this.
const PATIENCE: Duration = Duration::from_secs(30);

/// Where in the list of actors each kind begins.
const FIRST_SUBSCRIBER: usize = PUBLISHERS;
const FIRST_MEMBER: usize = FIRST_SUBSCRIBER + SUBSCRIBERS;
const WATCHER: usize = FIRST_MEMBER + 2 * MEMBERS;
const FIRST_PASSER_BY: usize = WATCHER + 1;
const ACTORS: usize = FIRST_PASSER_BY + PASSERS_BY;

/// What is counted.
#[derive(Default)]
struct Counts {
    published: [u64; 3],
    delivered: [u64; 3],
    lost: u64,
    twice: u64,
    late: u64,
    /// Of QoS 1, as it may be.
    repeated: u64,
    connects: u64,
    cuts: u64,
    wills_due: u64,
    wills: u64,
    retained_read: u64,
    retained_stale: u64,
}

struct Churn {
    port: u16,
    pid: i32,
    rate: u64,
    actors: Vec<Actor>,
    /// When each comes (if away) or goes.
    turns: Vec<Instant>,
    /// The next number of each publisher's stream of each QoS.
    next: Vec<[u64; 3]>,
    /// What each subscriber expects next of each stream.
    expected: HashMap<(usize, usize, u8), u64>,
    /// What each group has had.
    seen: [Vec<HashSet<u64>>; 2],
    /// The number last acknowledged as retained, and those on their way.
    retained: Vec<u64>,
    counts: Counts,
    random: u64,
    spare: Vec<u8>,
}

/// Plays it; one line of JSON.
pub fn run(arguments: &mut lexopt::Parser) -> Outcome<String> {
    let (mut port, mut pid, mut seconds, mut rate, mut seed) = (0, 0, 600, 1500, 1);
    while let Some(argument) = arguments.next()? {
        match argument {
            Long("port") => port = arguments.value()?.parse()?,
            Long("pid") => pid = arguments.value()?.parse()?,
            Long("seconds") => seconds = arguments.value()?.parse()?,
            Long("rate") => rate = arguments.value()?.parse()?,
            Long("seed") => seed = arguments.value()?.parse()?,
            other => return Err(other.unexpected().into()),
        }
    }
    let mut churn = Churn::new(port, pid, rate, seed);
    let memory = churn.play(Duration::from_secs(seconds))?;
    churn.close_books();
    churn.json(&memory, seconds)
}

fn actors() -> Vec<Actor> {
    let streams = |qos: u8| (format!("churn/+/q{qos}"), 2);
    let mut actors = Vec::with_capacity(ACTORS);
    for number in 0..PUBLISHERS {
        let name = format!("publisher-{number}");
        actors.push(Actor::new(name, number % 2 == 1, false, Vec::new()));
    }
    for number in 0..SUBSCRIBERS {
        let filters = vec![streams(0), streams(1), streams(2)];
        let name = format!("subscriber-{number}");
        actors.push(Actor::new(name, number % 2 == 1, false, filters));
    }
    for qos in [1, 2] {
        for number in 0..MEMBERS {
            let filters = vec![(format!("$share/group{qos}/churn/+/q{qos}"), 2)];
            actors.push(Actor::new(
                format!("member-{qos}-{number}"),
                number % 2 == 1,
                false,
                filters,
            ));
        }
    }
    let filters = vec![("wills/#".to_owned(), 1)];
    actors.push(Actor::new("watcher".to_owned(), false, false, filters));
    for number in 0..PASSERS_BY {
        let name = format!("passer-by-{number}");
        actors.push(Actor::new(name, number % 2 == 1, true, Vec::new()));
    }
    actors
}

impl Churn {
    fn new(port: u16, pid: i32, rate: u64, seed: u64) -> Self {
        let now = Instant::now();
        Self {
            port,
            pid,
            rate,
            actors: actors(),
            turns: vec![now; ACTORS],
            next: vec![[0; 3]; PUBLISHERS],
            expected: HashMap::new(),
            seen: [
                vec![HashSet::new(); PUBLISHERS],
                vec![HashSet::new(); PUBLISHERS],
            ],
            retained: vec![0; usize::try_from(RETAINED_TOPICS).unwrap_or(0)],
            counts: Counts::default(),
            random: seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1,
            spare: Vec::new(),
        }
    }

    /// xorshift64*.
    fn random(&mut self, below: u64) -> u64 {
        self.random ^= self.random >> 12;
        self.random ^= self.random << 25;
        self.random ^= self.random >> 27;
        (self.random.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33) % below
    }

    fn play(&mut self, duration: Duration) -> Outcome<Vec<(u64, f64)>> {
        let mut poll = Poll::new()?;
        let mut events = Events::with_capacity(256);
        let mut memory = Vec::new();
        // Who subscribes is there before anybody publishes.
        for number in FIRST_SUBSCRIBER..FIRST_PASSER_BY {
            self.come(number, &poll)?;
        }
        let begun = Instant::now();
        let (mut sent, mut sampled) = (0, 0);
        let mut end = None;
        loop {
            let now = Instant::now();
            let elapsed = now - begun;
            let is_over = elapsed >= duration;
            self.take_turns(now, is_over, &poll)?;
            if !is_over {
                let due = u64::try_from(elapsed.as_micros())? * self.rate / 1_000_000;
                while sent < due {
                    let publisher = self.random(PUBLISHERS as u64);
                    self.publish_one(usize::try_from(publisher)?);
                    sent += 1;
                }
            }
            if elapsed.as_secs() >= sampled && !is_over {
                let cpu = cpu_time(self.pid)?.as_secs_f64();
                memory.push((memory_kib(self.pid)?.0, cpu));
                sampled += 1;
            }
            for number in 0..ACTORS {
                let open = self.actors[number].peer.as_mut();
                if open.is_some_and(|peer| peer.flush().is_err()) {
                    self.actors[number].leave(false);
                }
            }
            if is_over {
                let patience = *end.get_or_insert(now + PATIENCE);
                if now > patience || self.is_settled() {
                    return Ok(memory);
                }
            }
            poll.poll(&mut events, Some(Duration::from_millis(1)))?;
            for event in &events {
                self.on_readable(event.token().0)?;
            }
        }
    }

    /// Who is away comes, who is there goes, when its time has come. In the end all with sessions come, and stay.
    fn take_turns(&mut self, now: Instant, is_over: bool, poll: &Poll) -> Outcome<()> {
        for number in 0..ACTORS {
            let is_here = self.actors[number].peer.is_some();
            if is_over {
                if !is_here && number < FIRST_PASSER_BY {
                    self.come(number, poll)?;
                }
                continue;
            }
            if now < self.turns[number] || number == WATCHER {
                continue;
            }
            let millis = if is_here {
                self.go(number);
                20 + self.random(1500)
            } else {
                self.come(number, poll)?;
                if number < FIRST_PASSER_BY {
                    2000 + self.random(8000)
                } else {
                    200 + self.random(3000)
                }
            };
            self.turns[number] = now + Duration::from_millis(millis);
        }
        Ok(())
    }

    fn come(&mut self, number: usize, poll: &Poll) -> Outcome<()> {
        self.counts.connects += 1;
        if number >= FIRST_PASSER_BY {
            // A clean session is a new client each time.
            let topic = format!("retained/{}", self.random(RETAINED_TOPICS));
            let wildcard = format!("churn/{}/#", self.random(PUBLISHERS as u64));
            let old = &self.actors[number];
            let filters = vec![(wildcard, 1), (topic, 1)];
            self.actors[number] = Actor::new(old.client_id.clone(), old.v5, true, filters);
            let will = format!("wills/{number}");
            self.actors[number].connect(self.port, Some((&will, b"gone")))?;
        } else {
            self.actors[number].connect(self.port, None)?;
        }
        if let Some(peer) = &mut self.actors[number].peer {
            let interest = Interest::READABLE | Interest::WRITABLE;
            poll.registry()
                .register(&mut peer.stream, Token(number), interest)?;
        }
        Ok(())
    }

    fn go(&mut self, number: usize) {
        let is_clean = self.random(2) == 0;
        if !is_clean {
            // So that there is something to be said again: whether it was heard, the cut keeps from us.
            for _ in 0..if number < PUBLISHERS { 10 } else { 0 } {
                self.publish_one(number);
            }
            self.counts.cuts += 1;
            self.counts.wills_due += u64::from(number >= FIRST_PASSER_BY);
        }
        self.actors[number].leave(is_clean);
    }

    fn publish_one(&mut self, publisher: usize) {
        if self.actors[publisher].unsettled() >= WINDOW {
            return;
        }
        // Mostly small; one in twenty up to 16 KiB.
        let size = match self.random(20) {
            0 => 1024 + self.random(15 * 1024),
            _ => 64 + self.random(960),
        };
        let mut payload = vec![0x55; usize::try_from(size).unwrap_or(64)];
        if self.random(10) == 0 {
            // Each publisher has topics of its own among the retained, so that "the last one" is well defined.
            let own = self.random(RETAINED_TOPICS / PUBLISHERS as u64) * PUBLISHERS as u64;
            let topic = usize::try_from(own).unwrap_or(0) + publisher;
            self.retained[topic] += 1;
            stamp(&mut payload, 0, self.retained[topic], 0);
            self.actors[publisher].publish(&format!("retained/{topic}"), 1, true, &payload);
            return;
        }
        let qos = u8::try_from(self.random(3)).unwrap_or(0);
        let number = self.next[publisher][usize::from(qos)];
        let who = u32::try_from(publisher).unwrap_or(0);
        stamp(&mut payload, who, number, 0);
        let topic = format!("churn/{publisher}/q{qos}");
        if self.actors[publisher].publish(&topic, qos, false, &payload[..]) {
            self.next[publisher][usize::from(qos)] += 1;
            self.counts.published[usize::from(qos)] += 1;
        }
    }

    fn on_readable(&mut self, number: usize) -> Outcome<()> {
        let mut come = Vec::new();
        let mut spare = std::mem::take(&mut self.spare);
        let outcome = self.actors[number].read(&mut spare, &mut |topic, _, payload| {
            let stamped = read_stamp(&payload[..payload.len().min(STAMP)]);
            come.push((topic.to_owned(), stamped));
        });
        self.spare = spare;
        for (topic, stamped) in come {
            self.enter(number, &topic, stamped);
        }
        outcome
    }

    fn enter(&mut self, client: usize, topic: &str, stamped: Option<(u32, u64, u64)>) {
        if client == WATCHER {
            self.counts.wills += 1;
            return;
        }
        let Some((publisher, number, _)) = stamped else {
            return;
        };
        if let Some(topic) = topic.strip_prefix("retained/") {
            self.counts.retained_read += 1;
            let newest = topic.parse().ok().and_then(|n: usize| self.retained.get(n));
            // A number that was never published, or none at all.
            let is_wrong = newest.is_none_or(|newest| number == 0 || number > *newest);
            self.counts.retained_stale += u64::from(is_wrong);
            return;
        }
        let Some(qos) = topic.bytes().last().map(|digit| digit - b'0') else {
            return;
        };
        self.counts.delivered[usize::from(qos.min(2))] += 1;
        if (FIRST_SUBSCRIBER..FIRST_MEMBER).contains(&client) {
            self.enter_in_order(client, publisher as usize, qos, number);
        } else if (FIRST_MEMBER..WATCHER).contains(&client) {
            let group = &mut self.seen[usize::from(qos == 2)][publisher as usize];
            if !group.insert(number) {
                self.counts.twice += u64::from(qos == 2);
                self.counts.repeated += u64::from(qos == 1);
            }
        }
    }

    fn enter_in_order(&mut self, client: usize, publisher: usize, qos: u8, number: u64) {
        let expected = self.expected.entry((client, publisher, qos)).or_default();
        if number < *expected {
            match qos {
                0 => self.counts.late += 1,
                1 => self.counts.repeated += 1,
                _ => self.counts.twice += 1,
            }
            return;
        }
        if qos > 0 {
            self.counts.lost += number - *expected;
        }
        *expected = number + 1;
    }

    /// Whether all is settled and has come.
    fn is_settled(&self) -> bool {
        let is_sent = self.actors[..PUBLISHERS]
            .iter()
            .all(|of| of.unsettled() == 0);
        is_sent && self.missing() == 0 && self.counts.wills >= self.counts.wills_due
    }

    /// What subscribers and groups have not had of QoS 1 and 2, of what was published.
    fn missing(&self) -> u64 {
        let mut missing = 0;
        for publisher in 0..PUBLISHERS {
            for qos in [1_u8, 2] {
                let published = self.next[publisher][usize::from(qos)];
                for client in FIRST_SUBSCRIBER..FIRST_MEMBER {
                    let had = self.expected.get(&(client, publisher, qos)).unwrap_or(&0);
                    missing += published - had;
                }
                let group = &self.seen[usize::from(qos == 2)][publisher];
                missing += published - group.len() as u64;
            }
        }
        missing
    }

    fn close_books(&mut self) {
        self.counts.lost += self.missing();
    }

    fn json(&self, memory: &[(u64, f64)], seconds: u64) -> Outcome<String> {
        let counts = &self.counts;
        let sessions_lost: u64 = self.actors.iter().map(|of| of.sessions_lost).sum();
        let rss: Vec<_> = memory.iter().map(|(kib, _)| kib.to_string()).collect();
        let cpu = cpu_time(self.pid)?.as_secs_f64();
        Ok(format!(
            "{{\"seconds\":{seconds},\"published\":{:?},\"delivered\":{:?},\"lost\":{},\"duplicates\":{},\"out_of_order\":{},\"repeated_qos1\":{},\"sessions_lost\":{sessions_lost},\"connects\":{},\"cuts\":{},\"wills_due\":{},\"wills\":{},\"retained_read\":{},\"retained_wrong\":{},\"cpu_seconds\":{cpu:.3},\"rss_kib\":[{}]}}",
            counts.published,
            counts.delivered,
            counts.lost,
            counts.twice,
            counts.late,
            counts.repeated,
            counts.connects,
            counts.cuts,
            counts.wills_due,
            counts.wills,
            counts.retained_read,
            counts.retained_stale,
            rss.join(",")
        ))
    }
}
