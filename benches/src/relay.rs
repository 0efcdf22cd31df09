//! The floor: one thread that reads whole packets and writes each PUBLISH on to whoever subscribed.
//!
//! No session, no filter tree, no check of anything, no bound. A broker can hardly do less.

use crate::Outcome;
use crate::peer::{Peer, put_ack};
use mio::net::TcpListener;
use mio::{Events, Interest, Poll, Token};
use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddr};

const LISTENER: Token = Token(usize::MAX - 1);

#[derive(Default)]
struct Relay {
    peers: Vec<Option<Peer>>,
    by_topic: HashMap<Vec<u8>, Vec<usize>>,
    /// Those whose filter has a wildcard get everything.
    everything: Vec<usize>,
    unflushed: Vec<usize>,
    /// The read buffer of whoever is being read.
    spare: Vec<u8>,
    is_v5: bool,
}

/// Relays until standard input ends with the process that started it.
pub fn run() -> Outcome<()> {
    std::thread::spawn(|| {
        let _ = std::io::copy(&mut std::io::stdin(), &mut std::io::sink());
        std::process::exit(0);
    });
    let mut poll = Poll::new()?;
    let mut listener = TcpListener::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))?;
    println!("{}", listener.local_addr()?.port());
    poll.registry()
        .register(&mut listener, LISTENER, Interest::READABLE)?;
    let mut relay = Relay::default();
    let mut events = Events::with_capacity(1024);
    loop {
        poll.poll(&mut events, None)?;
        for event in &events {
            if event.token() == LISTENER {
                while let Ok((mut stream, _)) = listener.accept() {
                    stream.set_nodelay(true)?;
                    let token = Token(relay.peers.len());
                    let interest = Interest::READABLE | Interest::WRITABLE;
                    poll.registry().register(&mut stream, token, interest)?;
                    relay.peers.push(Some(Peer::new(stream)));
                }
            } else {
                relay.on_event(event.token().0);
            }
        }
        for peer in std::mem::take(&mut relay.unflushed) {
            relay.flush(peer);
        }
    }
}

impl Relay {
    fn flush(&mut self, number: usize) {
        if let Some(peer) = &mut self.peers[number]
            && peer.flush().is_err()
        {
            self.peers[number] = None;
        }
    }

    fn on_event(&mut self, number: usize) {
        self.flush(number);
        loop {
            let Some(mut peer) = self.peers[number].take() else {
                return;
            };
            let more = peer.fill(&mut self.spare);
            while let Some((packet, body)) = peer.next_packet() {
                let (head, rest) = (packet.start, body - packet.start);
                let bytes = &peer.bytes()[head..packet.end];
                let mut answer = Vec::new();
                self.on_packet(number, bytes, rest, &mut answer);
                if !answer.is_empty() {
                    if peer.output.is_empty() {
                        self.unflushed.push(number);
                    }
                    peer.output.extend(answer);
                }
            }
            peer.give_back(&mut self.spare);
            let is_open = peer.is_open && more.is_ok();
            if is_open {
                self.peers[number] = Some(peer);
            }
            if !is_open || !matches!(more, Ok(true)) {
                return;
            }
        }
    }

    fn on_packet(&mut self, from: usize, packet: &[u8], body: usize, answer: &mut Vec<u8>) {
        match packet[0] >> 4 {
            1 => {
                self.is_v5 = packet[body + 6] == 5;
                answer.extend(if self.is_v5 {
                    &[0x20, 3, 0, 0, 0][..]
                } else {
                    &[0x20, 2, 0, 0][..]
                });
            }
            3 => self.on_publish(packet, body, answer),
            5 => put_ack(answer, 0x62, [packet[body], packet[body + 1]]),
            6 => put_ack(answer, 0x70, [packet[body], packet[body + 1]]),
            8 => self.on_subscribe(from, packet, body, answer),
            _ => {}
        }
    }

    fn on_publish(&mut self, packet: &[u8], body: usize, answer: &mut Vec<u8>) {
        let topic =
            body + 2..body + 2 + usize::from(u16::from_be_bytes([packet[body], packet[body + 1]]));
        let id = [packet[topic.end], packet[topic.end + 1]];
        match packet[0] >> 1 & 3 {
            0 => {}
            1 => put_ack(answer, 0x40, id),
            _ => put_ack(answer, 0x50, id),
        }
        let subscribers = self.by_topic.get(&packet[topic]);
        for number in subscribers.into_iter().flatten().chain(&self.everything) {
            if let Some(peer) = &mut self.peers[*number] {
                if peer.output.is_empty() {
                    self.unflushed.push(*number);
                }
                peer.output.extend_from_slice(packet);
            }
        }
    }

    fn on_subscribe(&mut self, from: usize, packet: &[u8], body: usize, answer: &mut Vec<u8>) {
        let mut at = body + 2 + usize::from(self.is_v5);
        let properties = if self.is_v5 { &[0][..] } else { &[] };
        let mut codes = Vec::new();
        while at + 2 < packet.len() {
            let length = usize::from(u16::from_be_bytes([packet[at], packet[at + 1]]));
            let filter = &packet[at + 2..at + 2 + length];
            if filter.iter().any(|byte| matches!(byte, b'+' | b'#')) {
                self.everything.push(from);
            } else {
                self.by_topic.entry(filter.to_vec()).or_default().push(from);
            }
            codes.push(packet[at + 2 + length] & 3);
            at += 3 + length;
        }
        answer.push(0x90);
        crate::peer::put_length(answer, 2 + properties.len() + codes.len());
        answer.extend(&packet[body..body + 2]);
        answer.extend(properties);
        answer.extend(codes);
    }
}
