//! One client that keeps its session through cuts: what is unsettled is sent again in order, what came twice is known.

use crate::Outcome;
use crate::handshake::{Hello, Parts, put_publish, subscribe, unblocked};
use crate::peer::{Peer, put_ack};
use std::collections::{HashSet, VecDeque};

/// An exchange that is not over.
struct Unsettled {
    id: [u8; 2],
    /// `None`: the message was taken, and PUBREL is due.
    publish: Option<Vec<u8>>,
}

/// One client, connected or not.
pub struct Actor {
    pub client_id: String,
    pub v5: bool,
    pub is_clean: bool,
    pub filters: Vec<(String, u8)>,
    pub peer: Option<Peer>,
    unsettled: VecDeque<Unsettled>,
    unreleased: HashSet<[u8; 2]>,
    next_id: u16,
    has_subscribed: bool,
    /// The broker had forgotten a session that it should have had.
    pub sessions_lost: u64,
    pub settled: u64,
}

impl Actor {
    pub fn new(client_id: String, v5: bool, is_clean: bool, filters: Vec<(String, u8)>) -> Self {
        Self {
            client_id,
            v5,
            is_clean,
            filters,
            peer: None,
            unsettled: VecDeque::new(),
            unreleased: HashSet::new(),
            next_id: 0,
            has_subscribed: false,
            sessions_lost: 0,
            settled: 0,
        }
    }

    /// Exchanges that are not over.
    pub fn unsettled(&self) -> usize {
        self.unsettled.len()
    }

    /// Connects; says again what may not have been heard.
    pub fn connect(&mut self, port: u16, will: Option<(&str, &[u8])>) -> Outcome<()> {
        let hello = Hello {
            port,
            v5: self.v5,
            client_id: &self.client_id,
            is_clean: self.is_clean,
            will,
        };
        let (mut stream, had_session) = hello.say()?;
        if self.has_subscribed && !self.is_clean && !had_session {
            self.sessions_lost += 1;
        }
        if !self.has_subscribed {
            for (filter, qos) in &self.filters {
                subscribe(&mut stream, self.v5, std::slice::from_ref(filter), *qos)?;
            }
            self.has_subscribed = true;
        }
        let mut peer = unblocked(stream)?;
        for exchange in &mut self.unsettled {
            match &mut exchange.publish {
                Some(publish) => {
                    publish[0] |= 8;
                    peer.output.extend_from_slice(publish);
                }
                None => put_ack(&mut peer.output, 0x62, exchange.id),
            }
        }
        self.peer = Some(peer);
        Ok(())
    }

    /// Goes: with DISCONNECT, or as a cable that is cut.
    pub fn leave(&mut self, is_clean: bool) {
        if let Some(mut peer) = self.peer.take() {
            if is_clean {
                peer.output.extend([0xE0, 0]);
            }
            let _ = peer.flush();
        }
    }

    /// Sends, or keeps for the next connection. QoS 0 without a connection is not sent, and `false`.
    pub fn publish(&mut self, topic: &str, qos: u8, retain: bool, payload: &[u8]) -> bool {
        let mut packet = Vec::with_capacity(payload.len() + topic.len() + 10);
        let first_byte = 0x30 | qos << 1 | u8::from(retain);
        let (id_at, _) = put_publish(&mut packet, self.v5, topic, first_byte, payload);
        if qos > 0 {
            self.next_id = self.next_id % 60_000 + 1;
            let id = self.next_id.to_be_bytes();
            packet[id_at..id_at + 2].copy_from_slice(&id);
            if let Some(peer) = &mut self.peer {
                peer.output.extend_from_slice(&packet);
            }
            let publish = Some(packet);
            self.unsettled.push_back(Unsettled { id, publish });
            return true;
        }
        match &mut self.peer {
            Some(peer) => peer.output.extend_from_slice(&packet),
            None => return false,
        }
        true
    }

    /// Reads to the end and answers; new messages go to `enter`, as topic, QoS, payload.
    pub fn read(
        &mut self,
        spare: &mut Vec<u8>,
        enter: &mut dyn FnMut(&str, u8, &[u8]),
    ) -> Outcome<()> {
        loop {
            let Some(mut peer) = self.peer.take() else {
                return Ok(());
            };
            let has_more = peer.fill(spare)?;
            while let Some((packet, body)) = peer.next_packet() {
                let body = body - packet.start;
                let bytes = std::mem::take(peer.input_mut());
                self.on_packet(&bytes[packet], body, &mut peer.output, enter);
                *peer.input_mut() = bytes;
            }
            peer.flush()?;
            if !has_more {
                peer.give_back(spare);
            }
            if !peer.is_open {
                return Err(format!("the broker closed {}", self.client_id).into());
            }
            self.peer = Some(peer);
            if !has_more {
                return Ok(());
            }
        }
    }

    fn on_packet(
        &mut self,
        bytes: &[u8],
        body: usize,
        out: &mut Vec<u8>,
        enter: &mut dyn FnMut(&str, u8, &[u8]),
    ) {
        let id = [
            *bytes.get(body).unwrap_or(&0),
            *bytes.get(body + 1).unwrap_or(&0),
        ];
        match bytes[0] >> 4 {
            3 => {
                let parts = Parts::of(bytes, body, self.v5);
                let is_new = match parts.qos {
                    0 => true,
                    1 => {
                        put_ack(out, 0x40, parts.id);
                        true
                    }
                    _ => {
                        put_ack(out, 0x50, parts.id);
                        self.unreleased.insert(parts.id)
                    }
                };
                if is_new {
                    let topic = std::str::from_utf8(&bytes[parts.topic]).unwrap_or_default();
                    enter(topic, parts.qos, &bytes[parts.payload..]);
                }
            }
            4 | 7 => self.settle(id),
            5 => {
                if let Some(exchange) = self.unsettled.iter_mut().find(|of| of.id == id) {
                    exchange.publish = None;
                }
                put_ack(out, 0x62, id);
            }
            6 => {
                self.unreleased.remove(&id);
                put_ack(out, 0x70, id);
            }
            _ => {}
        }
    }

    fn settle(&mut self, id: [u8; 2]) {
        if let Some(at) = self.unsettled.iter().position(|of| of.id == id) {
            self.unsettled.remove(at);
            self.settled += 1;
        }
    }
}
