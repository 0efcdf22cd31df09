//! Clients that mean harm, as many as are asked for, each of one kind and from one of many addresses of this machine.
//!
//! Whoever is sent away comes back, but no more than so many in a second: an attacker has a machine of its own, and this one
//! shares ours. Once all have been let in or are in line, prints how many there are; then a line of JSON for each line on
//! standard input, until that ends.

use crate::Outcome;
use crate::handshake::put_publish;
use crate::peer::put_length;
use lexopt::prelude::*;
use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};
use socket2::{Domain, Protocol, Socket, Type};
use std::collections::VecDeque;
use std::io::{BufRead, ErrorKind, Read, Write};
use std::net::SocketAddr;
use std::sync::mpsc::{Receiver, TryRecvError, channel};
use std::time::{Duration, Instant};

/// What one connection does to the broker.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Kind {
    /// Nothing at all.
    Silent,
    /// A CONNECT, one byte in each second.
    Slow,
    /// Connects, subscribes, and is never heard of again.
    HalfOpen,
    /// Subscribes to the floods, and never reads.
    Deaf,
    /// Publishes as fast as the socket takes it.
    Flood,
    /// Connects under one of few client ids, and takes it from the one before.
    Storm,
    /// Connects, and sends what is no packet.
    Broken,
}

/// So many of a hundred are of each kind; `--only` goes by the names.
const MIX: [(Kind, &str, usize); 7] = [
    (Kind::Silent, "silent", 35),
    (Kind::Slow, "slow", 25),
    (Kind::HalfOpen, "half-open", 20),
    (Kind::Deaf, "deaf", 5),
    (Kind::Flood, "flood", 2),
    (Kind::Storm, "storm", 8),
    (Kind::Broken, "broken", 5),
];

/// Client ids that the storm fights for.
const STORM_IDS: usize = 20;

/// Addresses they come from.
const ADDRESSES: usize = 250;

/// Written to one flooded socket in one turn at most.
const FLOOD_BYTES: usize = 16 << 10;

/// How often those are looked at that act by time.
const TICK: Duration = Duration::from_millis(20);

struct Enemy {
    kind: Kind,
    stream: Option<TcpStream>,
    sent: usize,
    next_at: Instant,
}

#[derive(Default)]
struct Counts {
    opened: u64,
    ended: u64,
    failed: u64,
    bytes_sent: u64,
}

struct Horde {
    port: u16,
    poll: Poll,
    enemies: Vec<Enemy>,
    /// Those who have no connection, in line for one.
    line: VecDeque<usize>,
    flood: Vec<u8>,
    counts: Counts,
}

/// Attacks until standard input ends.
pub fn run(arguments: &mut lexopt::Parser) -> Outcome<()> {
    let (mut port, mut count, mut rate) = (0, 20_000, 500_u32);
    let mut only = None;
    while let Some(argument) = arguments.next()? {
        match argument {
            Long("port") => port = arguments.value()?.parse()?,
            Long("count") => count = arguments.value()?.parse()?,
            Long("rate") => rate = arguments.value()?.parse()?,
            // As many of these kinds as there would be among all.
            Long("only") => only = Some(arguments.value()?.string()?),
            other => return Err(other.unexpected().into()),
        }
    }
    let mut horde = Horde::new(port, kinds(count, only.as_deref())?)?;
    let count = horde.enemies.len();
    let asked = questions();
    let (begin, mut opened, mut is_told) = (Instant::now(), 0_u64, false);
    let mut events = Events::with_capacity(1024);
    loop {
        let due = u64::try_from(begin.elapsed().as_millis())? * u64::from(rate) / 1000;
        while opened < due {
            opened += 1;
            horde.open_next();
        }
        horde.turn(&mut events)?;
        if !is_told && horde.counts.opened >= count as u64 {
            is_told = true;
            println!("{count}");
        }
        match asked.try_recv() {
            Ok(()) => println!("{}", horde.json()),
            Err(TryRecvError::Empty) => {}
            Err(TryRecvError::Disconnected) => return Ok(()),
        }
    }
}

/// Of what kind each is, the kinds spread so that all are there from the beginning.
fn kinds(count: usize, only: Option<&str>) -> Outcome<Vec<Kind>> {
    let names = MIX.map(|(_, name, _)| name);
    if let Some(wrong) = only.and_then(|only| only.split(',').find(|name| !names.contains(name))) {
        return Err(format!("no kind: {wrong}; there are {}", names.join(", ")).into());
    }
    let is_wanted = |name| only.is_none_or(|only| only.split(',').any(|wanted| wanted == name));
    let hundred: Vec<_> = MIX
        .iter()
        .flat_map(|(kind, name, share)| std::iter::repeat_n((*kind, *name), *share))
        .collect();
    Ok((0..count)
        .map(|number| hundred[number * 37 % hundred.len()])
        .filter(|(_, name)| is_wanted(*name))
        .map(|(kind, _)| kind)
        .collect())
}

/// One for each line on standard input.
fn questions() -> Receiver<()> {
    let (ask, asked) = channel();
    std::thread::spawn(move || {
        for line in std::io::stdin().lock().lines() {
            if line.is_err() || ask.send(()).is_err() {
                return;
            }
        }
    });
    asked
}

impl Horde {
    fn new(port: u16, kinds: Vec<Kind>) -> Outcome<Self> {
        let now = Instant::now();
        let count = kinds.len();
        let enemies = kinds.into_iter().map(|kind| Enemy {
            kind,
            stream: None,
            sent: 0,
            next_at: now,
        });
        let mut flood = Vec::new();
        while flood.len() < FLOOD_BYTES {
            put_publish(&mut flood, false, "flood/all", 0x30, &[b'x'; 100]);
        }
        Ok(Self {
            port,
            poll: Poll::new()?,
            enemies: enemies.collect(),
            line: (0..count).collect(),
            flood,
            counts: Counts::default(),
        })
    }

    /// Whoever is first in line opens a connection.
    fn open_next(&mut self) {
        let Some(number) = self.line.pop_front() else {
            return;
        };
        if self.open(number).is_ok() {
            self.counts.opened += 1;
        } else {
            self.counts.failed += 1;
            self.line.push_back(number);
        }
    }

    fn open(&mut self, number: usize) -> Outcome<()> {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::TCP))?;
        socket.set_nonblocking(true)?;
        let address = number % ADDRESSES;
        let from = [127, 0, 1, u8::try_from(address + 1)?];
        socket.bind(&SocketAddr::from((from, 0)).into())?;
        let enemy = &mut self.enemies[number];
        if enemy.kind == Kind::Deaf {
            socket.set_recv_buffer_size(4096)?;
        }
        match socket.connect(&SocketAddr::from(([127, 0, 0, 1], self.port)).into()) {
            Err(error) if error.raw_os_error() != Some(EINPROGRESS) => return Err(error.into()),
            _ => {}
        }
        let mut stream = TcpStream::from_std(socket.into());
        let interest = Interest::READABLE | Interest::WRITABLE;
        self.poll
            .registry()
            .register(&mut stream, Token(number), interest)?;
        enemy.stream = Some(stream);
        enemy.sent = 0;
        enemy.next_at = Instant::now();
        Ok(())
    }

    /// Looks at who has heard something, and at who acts by time.
    fn turn(&mut self, events: &mut Events) -> Outcome<()> {
        match self.poll.poll(events, Some(TICK)) {
            Err(error) if error.kind() == ErrorKind::Interrupted => return Ok(()),
            other => other?,
        }
        for event in events.iter() {
            let number = event.token().0;
            if event.is_writable() {
                self.act(number);
            }
            if event.is_readable() || event.is_error() {
                self.hear(number);
            }
        }
        let now = Instant::now();
        for number in 0..self.enemies.len() {
            let enemy = &self.enemies[number];
            let acts = matches!(enemy.kind, Kind::Slow | Kind::Flood) && enemy.sent > 0;
            if acts && enemy.next_at <= now && enemy.stream.is_some() {
                self.act(number);
            }
        }
        Ok(())
    }

    /// Reads and forgets, but for the deaf; whoever is sent away goes to the end of the line.
    fn hear(&mut self, number: usize) {
        let enemy = &mut self.enemies[number];
        let Some(stream) = &mut enemy.stream else {
            return;
        };
        if enemy.kind == Kind::Deaf {
            return;
        }
        let mut ignored = [0; 4096];
        let is_over = loop {
            match stream.read(&mut ignored) {
                Ok(0) => break true,
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => break false,
                Err(_) => break true,
            }
        };
        if is_over {
            self.lose(number);
        }
    }

    fn lose(&mut self, number: usize) {
        if self.enemies[number].stream.take().is_some() {
            self.counts.ended += 1;
            self.line.push_back(number);
        }
    }

    fn act(&mut self, number: usize) {
        let enemy = &mut self.enemies[number];
        let bytes = match (enemy.kind, enemy.sent) {
            (Kind::Silent, _) => return,
            (Kind::Slow, sent) => {
                let connect = connect(&"x".repeat(60_000));
                connect
                    .get(sent..=sent)
                    .map_or_else(Vec::new, <[u8]>::to_vec)
            }
            (Kind::Flood, 0) => [connect(&format!("flood-{number}")), self.flood.clone()].concat(),
            (Kind::Flood, _) => self.flood.clone(),
            (_, sent) if sent > 0 => return,
            (Kind::HalfOpen, _) => [
                connect(&format!("half-{number}")),
                subscribe(&format!("quiet/{number}")),
            ]
            .concat(),
            (Kind::Deaf, _) => [connect(&format!("deaf-{number}")), subscribe("flood/#")].concat(),
            (Kind::Storm, _) => connect(&format!("storm-{}", number % STORM_IDS)),
            (Kind::Broken, _) => {
                let garbage: [&[u8]; 3] = [&[0xF0, 0], &[0x30, 0xFF, 0xFF, 0xFF, 0xFF], &[0x36, 2]];
                [
                    &connect(&format!("broken-{number}"))[..],
                    garbage[number % 3],
                ]
                .concat()
            }
        };
        let Some(stream) = &mut enemy.stream else {
            return;
        };
        match stream.write(&bytes) {
            Ok(count) => {
                enemy.sent += count;
                self.counts.bytes_sent += count as u64;
                let pause = if enemy.kind == Kind::Slow { 1000 } else { 10 };
                enemy.next_at = Instant::now() + Duration::from_millis(pause);
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                enemy.next_at = Instant::now() + Duration::from_millis(100);
            }
            Err(_) => self.lose(number),
        }
    }

    fn json(&self) -> String {
        let Counts {
            opened,
            ended,
            failed,
            bytes_sent,
        } = self.counts;
        let open = self
            .enemies
            .iter()
            .filter(|enemy| enemy.stream.is_some())
            .count();
        format!(
            r#"{{"open":{open},"opened":{opened},"ended":{ended},"failed":{failed},"bytes_sent":{bytes_sent}}}"#
        )
    }
}

/// That a connection is under way.
const EINPROGRESS: i32 = 115;

/// CONNECT of 3.1.1: clean, keep alive 0.
fn connect(client_id: &str) -> Vec<u8> {
    let mut out = vec![0x10];
    put_length(&mut out, 12 + client_id.len());
    out.extend([0, 4, b'M', b'Q', b'T', b'T', 4, 2, 0, 0]);
    out.extend(u16::try_from(client_id.len()).unwrap_or(0).to_be_bytes());
    out.extend(client_id.as_bytes());
    out
}

/// SUBSCRIBE of QoS 1.
fn subscribe(filter: &str) -> Vec<u8> {
    let mut out = vec![0x82];
    put_length(&mut out, 5 + filter.len());
    out.extend([0, 1]);
    out.extend(u16::try_from(filter.len()).unwrap_or(0).to_be_bytes());
    out.extend(filter.as_bytes());
    out.push(1);
    out
}
