//! One scenario, from one thread: publishers and subscribers on non-blocking sockets.

use crate::Outcome;
use crate::books::{Books, STAMP, read_stamp, stamp};
use crate::handshake::{Hello, Parts, put_publish, read_packet, subscribe, unblocked};
use crate::peer::{Peer, put_ack};
use crate::pipe::Pipe;
use crate::process::{cpu_time, memory_kib};
use crate::scenario::{Scenario, Topology, topic};
use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token};
use nix::sys::time::TimeSpec;
use nix::sys::timerfd::{ClockId, Expiration, TimerFd, TimerFlags, TimerSetTimeFlags};
use std::collections::VecDeque;
use std::io::Write;
use std::net::TcpStream;
use std::os::fd::{AsFd, AsRawFd};
use std::time::{Duration, Instant};

/// Filters of one client, as brokers allow them.
const FILTERS_EACH: usize = 10_000;
/// A publisher writes no more ahead of its socket than this.
const UNWRITTEN_MAX: usize = 256 << 10;
/// With no message and no answer for so long, what has not come counts as lost.
const PATIENCE: Duration = Duration::from_secs(5);
const TICK: Token = Token(usize::MAX - 1);

/// With slow subscribers, nothing for so long is the end of what is left for them.
const QUIET: Duration = Duration::from_secs(1);

/// How far a run with slow subscribers is.
#[derive(Clone, Copy)]
enum Slow {
    Publishing,
    Asked,
    Reading,
}

struct Publisher {
    peer: usize,
    to_send: u64,
    sent: u64,
    /// Without PUBACK or PUBCOMP.
    unanswered: u64,
    /// Copies that have not come.
    under_way: u64,
    packet: Vec<u8>,
    id_at: usize,
    stamp_at: usize,
    is_listed: bool,
}

/// Where the measured part begins.
struct Mark {
    at: Instant,
    cpu: Duration,
    delivered: u64,
    published: u64,
}

struct Load<'a> {
    scenario: &'a Scenario,
    peers: Vec<Peer>,
    publishers: Vec<Publisher>,
    /// Those that may have room to send.
    worklist: VecDeque<usize>,
    /// Those with unwritten bytes.
    unflushed: Vec<usize>,
    /// The read buffer of whoever is being read.
    spare: Vec<u8>,
    books: Books,
    started: Instant,
    sent: u64,
    answered: u64,
    /// Publishers that know that all of theirs has been taken.
    pongs: usize,
    last_progress: Instant,
}

/// Plays the scenario; one line of JSON says how it went.
pub fn run(scenario: &Scenario) -> Outcome<String> {
    let bystanders = Bystanders::new(scenario)?;
    let memory_before = memory_kib(scenario.pid)?.0;
    let (cpu_before, begun) = (cpu_time(scenario.pid)?, Instant::now());
    if scenario.topology == Topology::Idle {
        let clients = (0..scenario.subscribers)
            .map(|number| subscriber(scenario, number))
            .collect::<Outcome<Vec<_>>>()?;
        let cpu = cpu_time(scenario.pid)?.saturating_sub(cpu_before);
        let seconds = begun.elapsed().as_secs_f64();
        // Quiet enough for buffers to have shrunk.
        std::thread::sleep(Duration::from_secs(2));
        let (now, peak) = memory_kib(scenario.pid)?;
        let count = clients.len();
        let resumed = clients.iter().filter(|client| client.is_resumed()).count();
        let agreed = clients.first().map(Pipe::agreed).unwrap_or_default();
        drop(bystanders);
        return Ok(format!(
            "{{\"connects\":{count},\"resumed\":{resumed},\"agreed\":\"{agreed}\",\"seconds\":{seconds:.6},\"cpu_seconds\":{:.6},\"rss_before_kib\":{memory_before},\"rss_kib\":{now},\"peak_rss_kib\":{peak}}}",
            cpu.as_secs_f64()
        ));
    }
    let mut load = Load::new(scenario)?;
    let mark = load.play()?;
    let (cpu, seconds) = (
        cpu_time(scenario.pid)?.saturating_sub(mark.cpu),
        mark.at.elapsed().as_secs_f64(),
    );
    let (now, peak) = memory_kib(scenario.pid)?;
    drop(bystanders);
    let books = &load.books;
    let expected = load.sent * scenario.copies();
    Ok(format!(
        "{{\"agreed\":\"{}\",\"sent\":{},\"expected\":{expected},\"delivered\":{},\"lost\":{},\"duplicates\":{},\"out_of_order\":{},\"measured\":{},\"published\":{},\"seconds\":{seconds:.6},\"cpu_seconds\":{:.6},\"p50_us\":{},\"p99_us\":{},\"p999_us\":{},\"rss_before_kib\":{memory_before},\"rss_kib\":{now},\"peak_rss_kib\":{peak}}}",
        load.peers[0].stream.agreed(),
        load.sent,
        books.delivered,
        expected - books.distinct(),
        books.duplicates,
        books.out_of_order,
        books.delivered - mark.delivered,
        load.published() - mark.published,
        cpu.as_secs_f64(),
        books.latency.value_at_quantile(0.5),
        books.latency.value_at_quantile(0.99),
        books.latency.value_at_quantile(0.999),
    ))
}

impl<'a> Load<'a> {
    fn new(scenario: &'a Scenario) -> Outcome<Self> {
        let mut peers = Vec::new();
        for number in 0..scenario.subscribers {
            peers.push(unblocked(subscriber(scenario, number)?)?);
        }
        let each = scenario.messages / scenario.publishers as u64;
        let mut publishers = Vec::new();
        for number in 0..scenario.publishers {
            let (packet, id_at, stamp_at) = packet(scenario, number);
            publishers.push(Publisher {
                peer: peers.len(),
                to_send: each,
                sent: 0,
                unanswered: 0,
                under_way: 0,
                packet,
                id_at,
                stamp_at,
                is_listed: true,
            });
            peers.push(unblocked(connect(
                scenario,
                &format!("publisher-{number}"),
            )?)?);
        }
        Ok(Self {
            scenario,
            books: Books::new(scenario.publishers, scenario.subscribers),
            worklist: (0..publishers.len()).collect(),
            unflushed: Vec::new(),
            spare: Vec::new(),
            peers,
            publishers,
            started: Instant::now(),
            sent: 0,
            answered: 0,
            pongs: 0,
            last_progress: Instant::now(),
        })
    }

    /// Sends all and hears all; the first tenth is not measured.
    fn play(&mut self) -> Outcome<Mark> {
        let mut poll = Poll::new()?;
        let asleep = if self.scenario.slow {
            self.scenario.subscribers
        } else {
            0
        };
        self.watch(&poll, asleep..self.peers.len())?;
        let mut slow = self.scenario.slow.then_some(Slow::Publishing);
        let timer = self.timer(&poll)?;
        let each = self.scenario.messages / self.scenario.publishers as u64;
        let total = each * self.scenario.publishers as u64;
        let expected = total * self.scenario.copies();
        let mut mark = None;
        let mut events = Events::with_capacity(1024);
        self.started = Instant::now();
        self.last_progress = self.started;
        loop {
            if self.scenario.rate > 0 {
                self.send_due(total);
            } else {
                self.send_into_windows();
            }
            self.flush()?;
            if mark.is_none() && (self.scenario.slow || self.published() >= total / 10) {
                self.books.latency.reset();
                mark = Some(self.mark()?);
            }
            let is_answered = self.scenario.qos == 0 || self.answered == self.sent;
            let is_done = self.sent == total && self.books.delivered >= expected && is_answered;
            if let Some(state) = slow {
                slow = Some(self.slow(state, total, &poll)?);
            }
            let patience = match slow {
                Some(Slow::Reading) => QUIET,
                _ => PATIENCE,
            };
            if is_done || self.last_progress.elapsed() > patience {
                break;
            }
            let wait = if self.worklist.is_empty() {
                Duration::from_millis(500)
            } else {
                Duration::ZERO
            };
            poll.poll(&mut events, Some(wait))?;
            for event in &events {
                match event.token() {
                    TICK => drop(timer.as_ref().map(TimerFd::wait)),
                    Token(peer) => self.on_event(peer, event.is_readable())?,
                }
            }
        }
        match mark {
            Some(mark) => Ok(mark),
            None => self.mark(),
        }
    }

    /// Messages that have gone all their way: to all subscribers, or where there is none, to the broker and back.
    fn published(&self) -> u64 {
        match self.scenario.copies() {
            0 => self.answered,
            copies => self.books.delivered / copies,
        }
    }

    fn watch(&mut self, poll: &Poll, peers: std::ops::Range<usize>) -> Outcome<()> {
        for number in peers {
            let interest = Interest::READABLE | Interest::WRITABLE;
            poll.registry()
                .register(&mut self.peers[number].stream, Token(number), interest)?;
        }
        Ok(())
    }

    /// With slow subscribers: once all is sent, asks whether it was taken; once it was, lets them read.
    fn slow(&mut self, state: Slow, total: u64, poll: &Poll) -> Outcome<Slow> {
        let publishers = self.scenario.subscribers..self.peers.len();
        match state {
            Slow::Publishing if self.sent == total => {
                for number in publishers {
                    self.peers[number].output.extend([0xC0, 0]);
                    self.peers[number].flush()?;
                }
                Ok(Slow::Asked)
            }
            Slow::Asked if self.pongs == publishers.len() => {
                self.last_progress = Instant::now();
                self.watch(poll, 0..self.scenario.subscribers)?;
                Ok(Slow::Reading)
            }
            state => Ok(state),
        }
    }

    fn mark(&self) -> Outcome<Mark> {
        Ok(Mark {
            at: Instant::now(),
            cpu: cpu_time(self.scenario.pid)?,
            delivered: self.books.delivered,
            published: self.published(),
        })
    }

    /// In open loop, wakes the generator when the next message is due.
    fn timer(&self, poll: &Poll) -> Outcome<Option<TimerFd>> {
        if self.scenario.rate == 0 {
            return Ok(None);
        }
        let timer = TimerFd::new(ClockId::CLOCK_MONOTONIC, TimerFlags::TFD_NONBLOCK)?;
        let period = Duration::from_secs(1) / u32::try_from(self.scenario.rate)?;
        let period = TimeSpec::from(period.max(Duration::from_micros(50)));
        timer.set(Expiration::Interval(period), TimerSetTimeFlags::empty())?;
        let fd = timer.as_fd().as_raw_fd();
        poll.registry()
            .register(&mut SourceFd(&fd), TICK, Interest::READABLE)?;
        Ok(Some(timer))
    }

    fn nanos(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }

    /// Closed loop: every publisher that has room in its window fills it.
    fn send_into_windows(&mut self) {
        while let Some(number) = self.worklist.pop_front() {
            self.publishers[number].is_listed = false;
            let now = self.nanos();
            while self.has_window(number)
                && self.peers[self.publishers[number].peer].unwritten() < UNWRITTEN_MAX
            {
                self.send(number, now);
            }
        }
    }

    fn has_window(&self, number: usize) -> bool {
        let publisher = &self.publishers[number];
        publisher.sent < publisher.to_send
            && publisher.under_way < self.scenario.window * self.scenario.copies().max(1)
            && (self.scenario.qos == 0 || publisher.unanswered < self.scenario.window)
    }

    /// Open loop: what is due is sent, one publisher after the other, stamped with when it was due.
    fn send_due(&mut self, total: u64) {
        let rate = u128::from(self.scenario.rate);
        // The first is due at once.
        let due = u128::from(self.nanos()) * rate / 1_000_000_000 + 1;
        let due = u64::try_from(due).unwrap_or(u64::MAX).min(total);
        while self.sent < due {
            let number = usize::try_from(self.sent).unwrap_or(0) % self.publishers.len();
            let at = u128::from(self.sent) * 1_000_000_000 / rate;
            self.send(number, u64::try_from(at).unwrap_or(u64::MAX));
        }
    }

    fn send(&mut self, number: usize, nanos: u64) {
        let publisher = &mut self.publishers[number];
        let peer = &mut self.peers[publisher.peer];
        if peer.output.is_empty() {
            self.unflushed.push(publisher.peer);
        }
        let start = peer.output.len();
        peer.output.extend_from_slice(&publisher.packet);
        let packet = &mut peer.output[start..];
        if self.scenario.qos > 0 {
            let id = u16::try_from(publisher.sent % 60_000).expect("under 60,000") + 1;
            packet[publisher.id_at..publisher.id_at + 2].copy_from_slice(&id.to_be_bytes());
            publisher.unanswered += 1;
        }
        let who = u32::try_from(number).expect("few publishers");
        stamp(
            &mut packet[publisher.stamp_at..],
            who,
            publisher.sent,
            nanos,
        );
        publisher.sent += 1;
        publisher.under_way += self.scenario.copies();
        self.sent += 1;
    }

    fn flush(&mut self) -> Outcome<()> {
        for peer in std::mem::take(&mut self.unflushed) {
            self.peers[peer].flush()?;
            // A socket that took all of it tells nothing more: who stopped for it goes on.
            if let Some(number) = peer.checked_sub(self.scenario.subscribers)
                && self.scenario.rate == 0
                && self.peers[peer].unwritten() == 0
                && self.has_window(number)
            {
                self.list(number);
            }
        }
        Ok(())
    }

    fn list(&mut self, number: usize) {
        if !std::mem::replace(&mut self.publishers[number].is_listed, true) {
            self.worklist.push_back(number);
        }
    }

    fn on_event(&mut self, peer: usize, is_readable: bool) -> Outcome<()> {
        self.peers[peer].flush()?;
        if let Some(number) = peer.checked_sub(self.scenario.subscribers) {
            self.list(number);
        }
        if is_readable {
            // Readiness is told once: read to the end.
            while self.peers[peer].fill(&mut self.spare)? {
                self.on_bytes(peer);
            }
            self.peers[peer].give_back(&mut self.spare);
            self.peers[peer].flush()?;
        }
        if !self.peers[peer].is_open {
            return Err(format!("the broker closed connection {peer}").into());
        }
        Ok(())
    }

    fn on_bytes(&mut self, peer: usize) {
        let now = self.nanos();
        self.last_progress = Instant::now();
        while let Some((packet, body)) = self.peers[peer].next_packet() {
            let bytes = &self.peers[peer].bytes()[packet.start..packet.end];
            let first_byte = bytes[0];
            let body = body - packet.start;
            match first_byte >> 4 {
                3 => self.on_publish(peer, packet.start, packet.end, body, now),
                kind @ (4 | 5 | 7) => {
                    let id = [bytes[body], bytes[body + 1]];
                    self.on_answer(peer, kind, id);
                }
                6 => {
                    let id = [bytes[body], bytes[body + 1]];
                    put_ack(&mut self.peers[peer].output, 0x70, id);
                }
                13 => self.pongs += 1,
                _ => {}
            }
        }
    }

    fn on_publish(&mut self, peer: usize, start: usize, end: usize, body: usize, now: u64) {
        let bytes = &self.peers[peer].bytes()[start..end];
        let Parts {
            qos, id, payload, ..
        } = Parts::of(bytes, body, self.scenario.v5);
        let Some((publisher, number, sent_at)) = read_stamp(&bytes[payload..]) else {
            return;
        };
        match qos {
            0 => {}
            1 => put_ack(&mut self.peers[peer].output, 0x40, id),
            _ => put_ack(&mut self.peers[peer].output, 0x50, id),
        }
        let micros = now.saturating_sub(sent_at) / 1000;
        self.books.enter(peer, publisher, number, micros);
        let publisher = publisher as usize;
        self.publishers[publisher].under_way -= 1;
        self.list(publisher);
    }

    /// PUBACK, PUBREC or PUBCOMP, to a publisher.
    fn on_answer(&mut self, peer: usize, kind: u8, id: [u8; 2]) {
        if kind == 5 {
            put_ack(&mut self.peers[peer].output, 0x62, id);
            return;
        }
        let number = peer - self.scenario.subscribers;
        self.publishers[number].unanswered -= 1;
        self.answered += 1;
        self.list(number);
    }
}

/// Clients that are there and do nothing in this run.
struct Bystanders(
    #[expect(dead_code, reason = "connections live as long as this")] Vec<Pipe<TcpStream>>,
);

impl Bystanders {
    fn new(scenario: &Scenario) -> Outcome<Self> {
        let mut clients = Vec::new();
        for number in 0..scenario.idle {
            let mut client = connect(scenario, &format!("idle-{number}"))?;
            subscribe(&mut client, scenario.v5, &[format!("idle/{number}")], 1)?;
            clients.push(client);
        }
        let mut number = 0;
        while number < scenario.filters {
            let mut client = connect(scenario, &format!("filters-{number}"))?;
            let last = scenario.filters.min(number + FILTERS_EACH);
            for first in (number..last).step_by(500) {
                let filters: Vec<_> = (first..last.min(first + 500))
                    .map(|n| match n % 2 {
                        0 => format!("other/plant/{n}/temperature"),
                        _ => format!("other/plant/{n}/+/temperature"),
                    })
                    .collect();
                subscribe(&mut client, scenario.v5, &filters, 0)?;
            }
            clients.push(client);
            number = last;
        }
        if scenario.retained > 0 {
            clients.push(retain(scenario)?);
        }
        Ok(Self(clients))
    }
}

fn retain(scenario: &Scenario) -> Outcome<Pipe<TcpStream>> {
    let mut client = connect(scenario, "retains")?;
    for first in (0..scenario.retained).step_by(500) {
        let count = 500.min(scenario.retained - first);
        let mut out = Vec::new();
        for n in first..first + count {
            let topic = format!("kept/plant/{n}/temperature");
            put_publish(&mut out, scenario.v5, &topic, 0x33, &[7; 64]);
        }
        client.write_all(&out)?;
        for _ in 0..count {
            read_packet(&mut client)?;
        }
    }
    Ok(client)
}

fn subscriber(scenario: &Scenario, number: usize) -> Outcome<Pipe<TcpStream>> {
    let mut client = connect(scenario, &format!("subscriber-{number}"))?;
    let filter = scenario.filter(number);
    subscribe(&mut client, scenario.v5, &[filter], scenario.qos)?;
    Ok(client)
}

fn connect(scenario: &Scenario, client_id: &str) -> Outcome<Pipe<TcpStream>> {
    let hello = Hello {
        port: scenario.port,
        v5: scenario.v5,
        client_id,
        is_clean: true,
        will: None,
    };
    hello.say_by(&scenario.way)
}

/// The PUBLISH of a publisher; where its packet id and its stamp go.
fn packet(scenario: &Scenario, publisher: usize) -> (Vec<u8>, usize, usize) {
    let payload = vec![0x55; scenario.payload.max(STAMP)];
    let mut out = Vec::new();
    let first_byte = 0x30 | scenario.qos << 1;
    let (id_at, stamp_at) = put_publish(
        &mut out,
        scenario.v5,
        &topic(publisher),
        first_byte,
        &payload,
    );
    (out, id_at, stamp_at)
}
