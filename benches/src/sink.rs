//! What clients are measured against: answers as fast as it can, counts, and routes nothing.
//!
//! Every PUBLISH of QoS 1 and 2 is acknowledged. One of QoS 0 on a topic that its own sender has subscribed to goes back
//! to it. As a source, it answers SUBSCRIBE with so many messages, as fast as the client takes them; those of QoS 1 within
//! a window. A line on standard input asks for the counts.

use crate::Outcome;
use crate::handshake::{Parts, put_publish};
use crate::peer::{Peer, put_ack, put_length};
use lexopt::prelude::*;
use mio::net::TcpListener;
use mio::{Events, Interest, Poll, Token};
use std::collections::HashMap;
use std::io::BufRead;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

const LISTENER: Token = Token(usize::MAX - 1);
/// A flood writes no more ahead of its socket than this.
const UNWRITTEN_MAX: usize = 128 << 10;

/// What a client is sent when it subscribes.
#[derive(Debug, Clone, Default)]
struct Flood {
    messages: u64,
    payload: usize,
    qos: u8,
    window: u64,
    topic: String,
}

impl Flood {
    fn from_arguments(arguments: &mut lexopt::Parser) -> Outcome<Self> {
        let mut flood = Self {
            messages: 0,
            payload: 64,
            qos: 0,
            window: 1000,
            topic: "bench/sensor/07/temperature".to_owned(),
        };
        while let Some(argument) = arguments.next()? {
            match argument {
                Long("messages") => flood.messages = arguments.value()?.parse()?,
                Long("payload") => flood.payload = arguments.value()?.parse()?,
                Long("qos") => flood.qos = arguments.value()?.parse()?,
                Long("window") => flood.window = arguments.value()?.parse()?,
                Long("topic") => flood.topic = arguments.value()?.parse()?,
                other => return Err(other.unexpected().into()),
            }
        }
        Ok(flood)
    }
}

#[derive(Default)]
struct Counts {
    publishes: AtomicU64,
    acknowledged: AtomicU64,
}

/// One client.
struct Visitor {
    peer: Peer,
    v5: bool,
    filters: Vec<Vec<u8>>,
    /// Of the flood.
    packet: Vec<u8>,
    id_at: usize,
    left: u64,
    next_id: u16,
    unanswered: u64,
}

/// Answers until standard input ends with the process that started it.
pub fn run(arguments: &mut lexopt::Parser) -> Outcome<()> {
    let flood = Flood::from_arguments(arguments)?;
    let counts = Arc::new(Counts::default());
    let shown = Arc::clone(&counts);
    std::thread::spawn(move || {
        for _ in std::io::stdin().lock().lines().map_while(Result::ok) {
            println!(
                "{{\"publishes\":{},\"acknowledged\":{}}}",
                shown.publishes.load(Ordering::Acquire),
                shown.acknowledged.load(Ordering::Acquire)
            );
        }
        std::process::exit(0);
    });
    let mut poll = Poll::new()?;
    let mut listener = TcpListener::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))?;
    println!("{}", listener.local_addr()?.port());
    poll.registry()
        .register(&mut listener, LISTENER, Interest::READABLE)?;
    let mut visitors: HashMap<usize, Visitor> = HashMap::new();
    let (mut events, mut spare) = (Events::with_capacity(1024), Vec::new());
    let mut come = 0;
    loop {
        poll.poll(&mut events, None)?;
        for event in &events {
            let Token(number) = event.token();
            if event.token() == LISTENER {
                while let Ok((mut stream, _)) = listener.accept() {
                    stream.set_nodelay(true)?;
                    let interest = Interest::READABLE | Interest::WRITABLE;
                    poll.registry()
                        .register(&mut stream, Token(come), interest)?;
                    visitors.insert(come, Visitor::new(Peer::new(stream)));
                    come += 1;
                }
            } else if let Some(visitor) = visitors.get_mut(&number)
                && (visitor.on_event(&flood, &counts, &mut spare).is_err() || !visitor.peer.is_open)
            {
                visitors.remove(&number);
            }
        }
    }
}

impl Visitor {
    fn new(peer: Peer) -> Self {
        Self {
            peer,
            v5: false,
            filters: Vec::new(),
            packet: Vec::new(),
            id_at: 0,
            left: 0,
            next_id: 0,
            unanswered: 0,
        }
    }

    fn on_event(&mut self, flood: &Flood, counts: &Counts, spare: &mut Vec<u8>) -> Outcome<()> {
        // Readiness is told once: read to the end.
        while self.peer.fill(spare)? {
            while let Some((packet, body)) = self.peer.next_packet() {
                let body = body - packet.start;
                // What is written goes behind what is read: take the output out, to borrow one and change the other.
                let mut out = std::mem::take(&mut self.peer.output);
                let bytes = std::mem::take(self.peer.input_mut());
                self.on_packet(&bytes[packet], body, flood, counts, &mut out);
                *self.peer.input_mut() = bytes;
                self.peer.output = out;
            }
            self.peer.flush()?;
        }
        self.peer.give_back(spare);
        self.pour(flood)
    }

    fn on_packet(
        &mut self,
        packet: &[u8],
        body: usize,
        flood: &Flood,
        counts: &Counts,
        out: &mut Vec<u8>,
    ) {
        match packet[0] >> 4 {
            1 => {
                self.v5 = packet[body + 6] == 5;
                out.extend(if self.v5 {
                    &[0x20, 3, 0, 0, 0][..]
                } else {
                    &[0x20, 2, 0, 0][..]
                });
            }
            3 => {
                counts.publishes.fetch_add(1, Ordering::Release);
                let parts = Parts::of(packet, body, self.v5);
                let topic = &packet[parts.topic];
                match parts.qos {
                    0 if self.filters.iter().any(|own| own == topic) => out.extend(packet),
                    0 => {}
                    1 => put_ack(out, 0x40, parts.id),
                    _ => put_ack(out, 0x50, parts.id),
                }
            }
            4 => {
                counts.acknowledged.fetch_add(1, Ordering::Release);
                self.unanswered = self.unanswered.saturating_sub(1);
            }
            6 => put_ack(out, 0x70, [packet[body], packet[body + 1]]),
            8 => self.on_subscribe(packet, body, flood, out),
            10 => {
                let codes = if self.v5 { &[0, 0][..] } else { &[] };
                out.push(0xB0);
                put_length(out, 2 + codes.len());
                out.extend(&packet[body..body + 2]);
                out.extend(codes);
            }
            12 => out.extend([0xD0, 0]),
            14 => self.peer.is_open = false,
            _ => {}
        }
    }

    fn on_subscribe(&mut self, packet: &[u8], body: usize, flood: &Flood, out: &mut Vec<u8>) {
        let mut at = body + 2;
        let mut codes = Vec::new();
        if self.v5 {
            at += 1 + usize::from(packet[at]);
            codes.push(0);
        }
        while at + 2 < packet.len() {
            let length = usize::from(u16::from_be_bytes([packet[at], packet[at + 1]]));
            self.filters.push(packet[at + 2..at + 2 + length].to_vec());
            codes.push(packet[at + 2 + length] & 3);
            at += 3 + length;
        }
        out.push(0x90);
        put_length(out, 2 + codes.len());
        out.extend(&packet[body..body + 2]);
        out.extend(codes);
        self.packet.clear();
        let payload = vec![0x55; flood.payload];
        let first_byte = 0x30 | flood.qos << 1;
        (self.id_at, _) = put_publish(
            &mut self.packet,
            self.v5,
            &flood.topic,
            first_byte,
            &payload,
        );
        self.left = flood.messages;
    }

    /// Writes as much of the flood as socket and window take.
    fn pour(&mut self, flood: &Flood) -> Outcome<()> {
        loop {
            while self.left > 0
                && self.peer.unwritten() < UNWRITTEN_MAX
                && (flood.qos == 0 || self.unanswered < flood.window)
            {
                let start = self.peer.output.len();
                self.peer.output.extend_from_slice(&self.packet);
                if flood.qos > 0 {
                    self.next_id = self.next_id % 60_000 + 1;
                    let id = start + self.id_at;
                    self.peer.output[id..id + 2].copy_from_slice(&self.next_id.to_be_bytes());
                    self.unanswered += 1;
                }
                self.left -= 1;
            }
            self.peer.flush()?;
            if self.left == 0 || self.peer.unwritten() > 0 || self.unanswered >= flood.window {
                return Ok(());
            }
        }
    }
}
