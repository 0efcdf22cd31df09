//! A load that is dear for a broker and cheap for us: what two worker threads are worth.
//!
//! Publishers write blocks that were made once, and subscribers count bytes: a message that comes has the size of the one
//! that was sent. What has been taken is known by a PING behind each block. The CPU time of this process is told, to show
//! that not the generator was the bottleneck.

use crate::Outcome;
use crate::handshake::{Hello, put_publish, subscribe, unblocked};
use crate::peer::Peer;
use crate::pipe::Pipe;
use crate::process::cpu_time;
use lexopt::prelude::*;
use mio::{Events, Interest, Poll, Token};
use std::io::{ErrorKind, Read};
use std::time::{Duration, Instant};

const BLOCK_MESSAGES: u64 = 500;
/// Blocks of one publisher that are not taken, and not delivered.
const BLOCKS_AHEAD: u64 = 8;
const PATIENCE: Duration = Duration::from_secs(10);

struct Pair {
    publisher: Peer,
    subscriber: Option<Pipe<mio::net::TcpStream>>,
    block: Vec<u8>,
    sent: u64,
    taken: u64,
    bytes: u64,
}

struct Spread {
    pairs: Vec<Pair>,
    /// Of each pair.
    blocks: u64,
    sink: Vec<u8>,
    spare: Vec<u8>,
}

/// Plays it; one line of JSON.
pub fn run(arguments: &mut lexopt::Parser) -> Outcome<String> {
    let (mut port, mut pid, mut pairs, mut messages, mut delivers) = (0, 0, 8, 2_000_000, false);
    while let Some(argument) = arguments.next()? {
        match argument {
            Long("port") => port = arguments.value()?.parse()?,
            Long("pid") => pid = arguments.value()?.parse()?,
            Long("pairs") => pairs = arguments.value()?.parse()?,
            Long("messages") => messages = arguments.value()?.parse()?,
            Long("deliver") => delivers = true,
            other => return Err(other.unexpected().into()),
        }
    }
    let blocks = (messages / BLOCK_MESSAGES / pairs).max(1);
    let mut spread = Spread {
        pairs: (0..pairs)
            .map(|number| pair(port, number, delivers))
            .collect::<Outcome<_>>()?,
        blocks,
        sink: vec![0; 256 << 10],
        spare: Vec::new(),
    };
    let own = i32::try_from(std::process::id())?;
    let (begun, cpu, ours) = (Instant::now(), cpu_time(pid)?, cpu_time(own)?);
    spread.play()?;
    let seconds = begun.elapsed().as_secs_f64();
    let cpu = cpu_time(pid)?.saturating_sub(cpu).as_secs_f64();
    let ours = cpu_time(own)?.saturating_sub(ours).as_secs_f64();
    let sent = blocks * pairs * BLOCK_MESSAGES;
    let lost: u64 = spread.pairs.iter().map(Pair::missing).sum();
    Ok(format!(
        "{{\"sent\":{sent},\"measured\":{sent},\"lost\":{lost},\"seconds\":{seconds:.6},\"cpu_seconds\":{cpu:.6},\"generator_cpu_seconds\":{ours:.6}}}"
    ))
}

fn pair(port: u16, number: u64, delivers: bool) -> Outcome<Pair> {
    let hello = |client_id: &str| -> Outcome<std::net::TcpStream> {
        let hello = Hello {
            port,
            v5: false,
            client_id,
            is_clean: true,
            will: None,
        };
        Ok(hello.say()?.0)
    };
    let topic = format!("bench/spread/{number:02}/celsius");
    let mut subscriber = None;
    if delivers {
        let mut stream = hello(&format!("subscriber-{number}"))?;
        subscribe(&mut stream, false, std::slice::from_ref(&topic), 0)?;
        subscriber = Some(unblocked(stream)?.stream);
    }
    let mut block = Vec::new();
    for _ in 0..BLOCK_MESSAGES {
        put_publish(&mut block, false, &topic, 0x30, &[0x55; 64]);
    }
    Ok(Pair {
        publisher: unblocked(hello(&format!("publisher-{number}"))?)?,
        subscriber,
        block,
        sent: 0,
        taken: 0,
        bytes: 0,
    })
}

impl Pair {
    fn delivered_blocks(&self) -> u64 {
        match self.subscriber {
            Some(_) => self.bytes / self.block.len() as u64,
            None => self.taken,
        }
    }

    fn missing(&self) -> u64 {
        let size = self.block.len() as u64 / BLOCK_MESSAGES;
        match self.subscriber {
            Some(_) => self.sent * BLOCK_MESSAGES - self.bytes / size,
            None => 0,
        }
    }

    fn write(&mut self, blocks: u64) -> Outcome<()> {
        let done = self.taken.min(self.delivered_blocks());
        while self.sent < blocks
            && self.sent < done + BLOCKS_AHEAD
            && self.publisher.unwritten() < 64 << 10
        {
            self.publisher.output.extend_from_slice(&self.block);
            self.publisher.output.extend([0xC0, 0]);
            self.sent += 1;
        }
        self.publisher.flush()
    }

    fn read(&mut self, sink: &mut [u8], spare: &mut Vec<u8>) -> Outcome<()> {
        while self.publisher.fill(spare)? {
            while self.publisher.next_packet().is_some() {
                self.taken += 1;
            }
        }
        self.publisher.give_back(spare);
        let Some(subscriber) = &mut self.subscriber else {
            return Ok(());
        };
        loop {
            match subscriber.read(sink) {
                Ok(0) => return Err("the broker closed a subscriber".into()),
                Ok(count) => self.bytes += count as u64,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
}

impl Spread {
    fn play(&mut self) -> Outcome<()> {
        let mut poll = Poll::new()?;
        let mut events = Events::with_capacity(256);
        for (number, pair) in self.pairs.iter_mut().enumerate() {
            let both = Interest::READABLE | Interest::WRITABLE;
            let publisher = &mut pair.publisher.stream;
            poll.registry()
                .register(publisher, Token(2 * number), both)?;
            if let Some(subscriber) = &mut pair.subscriber {
                let token = Token(2 * number + 1);
                poll.registry()
                    .register(subscriber, token, Interest::READABLE)?;
            }
        }
        for pair in &mut self.pairs {
            pair.write(self.blocks)?;
        }
        let mut last_progress = Instant::now();
        while self
            .pairs
            .iter()
            .any(|pair| pair.taken < self.blocks || pair.delivered_blocks() < self.blocks)
        {
            if last_progress.elapsed() > PATIENCE {
                break;
            }
            poll.poll(&mut events, Some(Duration::from_millis(500)))?;
            for event in &events {
                last_progress = Instant::now();
                let pair = &mut self.pairs[event.token().0 / 2];
                pair.read(&mut self.sink, &mut self.spare)?;
                pair.write(self.blocks)?;
            }
        }
        Ok(())
    }
}
