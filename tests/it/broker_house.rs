//! A whole broker without sockets: the hub, one protocol machine for each peer, and a clock that only the test moves.
//!
//! What the connection task does is done here by [`House::settle`], one peer after the other, until nobody has anything
//! left to do. Peers speak in packets and hear packets.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail by panicking")]

use crate::broker_packets::{connect, options, subscribe};
use crate::seed::epoch;
use bytes::{Buf, BytesMut};
use bytestring::ByteString;
use rmqtt::broker::bell::Bell;
use rmqtt::broker::group::Sharing;
use rmqtt::broker::hub::{Arrival, Attached, Batch, Granted, Hub, Outcome};
use rmqtt::broker::outbox::Outbox;
use rmqtt::broker::protocol::{Accept, Delivered, Event, Outgoing, Protocol};
use rmqtt::broker::registry::{ConnectRequest, ConnectionId, Leave};
use rmqtt::broker::{ClientInfo, Limits};
use rmqtt::codec::{self, Connect, Packet, ProtocolVersion, Publish, ReasonCode, SendBuffer};
use rmqtt::message::QoS;
use std::sync::Arc;
use std::task::Waker;
use std::time::{Duration, Instant};

/// The number of a peer in its house.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct PeerId(usize);

enum Link {
    None,
    Waiting(ConnectionId),
    Attached(Attached),
}

struct Peer {
    protocol: Protocol,
    version: ProtocolVersion,
    bell: Arc<Bell>,
    link: Link,
    to_broker: BytesMut,
    from_broker: BytesMut,
    is_closed: bool,
}

pub(crate) struct House {
    pub(crate) hub: Hub,
    pub(crate) now: Instant,
    /// Whether what waits for peers is sent to them.
    pub(crate) is_delivering: bool,
    peers: Vec<Peer>,
    assigned: u32,
}

impl House {
    pub(crate) fn new() -> Self {
        Self::with(Limits::default())
    }

    pub(crate) fn with(limits: Limits) -> Self {
        Self::with_sharing(limits, Sharing::default())
    }

    pub(crate) fn with_sharing(limits: Limits, sharing: Sharing) -> Self {
        Self {
            hub: Hub::with_sharing(Arc::new(limits), sharing),
            now: epoch(),
            is_delivering: true,
            peers: Vec::new(),
            assigned: 0,
        }
    }

    /// A peer that has said nothing yet.
    pub(crate) fn open(&mut self, version: ProtocolVersion) -> PeerId {
        self.peers.push(Peer {
            protocol: Protocol::new(Arc::clone(self.hub.limits()), self.now),
            version,
            bell: Arc::default(),
            link: Link::None,
            to_broker: BytesMut::new(),
            from_broker: BytesMut::new(),
            is_closed: false,
        });
        PeerId(self.peers.len() - 1)
    }

    /// Sends a CONNECT and lets the broker work.
    pub(crate) fn connect(&mut self, connect: Connect) -> PeerId {
        let peer = self.open(connect.version);
        self.send(peer, &Packet::Connect(Box::new(connect)));
        peer
    }

    /// A peer that is let in, with its CONNACK taken.
    pub(crate) fn connected(&mut self, version: ProtocolVersion, client_id: &str) -> PeerId {
        let peer = self.connect(connect(version, client_id));
        self.let_in(peer);
        peer
    }

    /// Takes the CONNACK of a peer that is let in, and says whether its session was there.
    pub(crate) fn let_in(&mut self, peer: PeerId) -> bool {
        match &self.heard(peer)[..] {
            [Packet::ConnAck(connack)] if connack.reason == ReasonCode::Success => {
                connack.session_present
            }
            [Packet::ConnAck(connack), ..] if connack.reason == ReasonCode::Success => {
                panic!("more than CONNACK: use heard()")
            }
            heard => panic!("not let in: {heard:?}"),
        }
    }

    /// A subscriber with its SUBACK taken.
    pub(crate) fn subscriber(
        &mut self,
        version: ProtocolVersion,
        filter: &str,
        qos: QoS,
    ) -> PeerId {
        let name = format!("subscriber-{}", self.peers.len());
        let peer = self.connected(version, &name);
        self.send(peer, &subscribe(&[(filter, options(qos))]));
        let heard = self.heard(peer);
        assert!(matches!(&heard[..], [Packet::SubAck(_)]), "{heard:?}");
        peer
    }

    /// A peer says something, and the broker works until it has nothing to do.
    pub(crate) fn send(&mut self, peer: PeerId, packet: &Packet) {
        let mut bytes = SendBuffer::new();
        codec::encode(packet, self.peers[peer.0].version, &mut bytes).unwrap();
        let bytes = bytes.copy_to_bytes(bytes.remaining());
        self.send_bytes(peer, &bytes);
    }

    pub(crate) fn send_bytes(&mut self, peer: PeerId, bytes: &[u8]) {
        let to = &mut self.peers[peer.0];
        assert!(!to.is_closed, "said to a closed connection");
        to.to_broker.extend_from_slice(bytes);
        self.settle();
    }

    /// What a peer has heard since it was asked last, without the words beside codes.
    pub(crate) fn heard(&mut self, peer: PeerId) -> Vec<Packet> {
        let mut heard = self.heard_with_words(peer);
        heard.iter_mut().for_each(take_words);
        heard
    }

    /// What a peer has heard since it was asked last.
    pub(crate) fn heard_with_words(&mut self, peer: PeerId) -> Vec<Packet> {
        let peer = &mut self.peers[peer.0];
        let limits = codec::Limits::default();
        let mut heard = Vec::new();
        while let Some(packet) =
            codec::decode(&mut peer.from_broker, peer.version, &limits).unwrap()
        {
            heard.push(packet);
        }
        assert!(peer.from_broker.is_empty(), "half a packet");
        heard
    }

    /// The messages a peer has heard since it was asked last, which is nothing but messages.
    pub(crate) fn messages(&mut self, peer: PeerId) -> Vec<Publish> {
        self.heard(peer)
            .into_iter()
            .map(|packet| match packet {
                Packet::Publish(publish) => publish,
                other => panic!("not a message: {other:?}"),
            })
            .collect()
    }

    pub(crate) fn payloads(&mut self, peer: PeerId) -> Vec<String> {
        self.messages(peer)
            .iter()
            .map(|publish| String::from_utf8(publish.message.payload.to_vec()).unwrap())
            .collect()
    }

    pub(crate) fn is_closed(&self, peer: PeerId) -> bool {
        self.peers[peer.0].is_closed
    }

    /// The connection breaks, with no word said.
    pub(crate) fn cut(&mut self, peer: PeerId) {
        self.end(peer.0, true, None);
        self.settle();
    }

    /// Lets time pass, stopping wherever something is due.
    pub(crate) fn wait(&mut self, time: Duration) {
        let until = self.now + time;
        loop {
            let peers = self.peers.iter().filter(|peer| !peer.is_closed);
            let next = peers
                .filter_map(|peer| peer.protocol.next_timeout())
                .chain(self.hub.next_timeout())
                .min();
            match next {
                Some(at) if at <= until => self.now = at.max(self.now),
                _ => break,
            }
            self.hub.handle_timeout(self.now);
            for index in 0..self.peers.len() {
                let peer = &mut self.peers[index];
                if !peer.is_closed && peer.protocol.handle_timeout(self.now).is_err() {
                    self.end(index, true, None);
                }
            }
            self.settle();
        }
        self.now = until;
        self.settle();
    }

    /// Lets the broker work until nothing changes.
    pub(crate) fn settle(&mut self) {
        loop {
            let mut has_worked = false;
            for index in 0..self.peers.len() {
                has_worked |= !self.peers[index].is_closed && self.work(index);
            }
            if !has_worked {
                return;
            }
        }
    }

    fn work(&mut self, index: usize) -> bool {
        let peer = &mut self.peers[index];
        if let Some(reason) = peer.bell.told_to_go() {
            peer.protocol.close(reason);
            self.end(index, true, None);
            return true;
        }
        if let Link::Waiting(connection) = peer.link
            && let Some(granted) = self.hub.claim(connection)
        {
            self.enter(index, *granted, None);
        }
        let mut has_worked = false;
        let mut batch = Batch::default();
        loop {
            let peer = &mut self.peers[index];
            match peer.protocol.receive(&mut peer.to_broker, self.now) {
                Ok(None) => break,
                Ok(Some(event)) => {
                    if self.on_event(index, event, &mut batch) {
                        return true;
                    }
                }
                Err(_) => {
                    self.end(index, true, None);
                    return true;
                }
            }
            has_worked = true;
        }
        batch.finish();
        has_worked |= self.deliver(index);
        has_worked | self.peers[index].bell.answer(Waker::noop())
    }

    /// `true`: the connection has ended.
    fn on_event(&mut self, index: usize, event: Event, batch: &mut Batch) -> bool {
        let peer = &mut self.peers[index];
        match (event, &peer.link) {
            (Event::ConnectRequested(connect), _) => return self.on_connect(index, *connect),
            (Event::Authenticate(_), _) => {
                // A house has no users.
                let unknown = ReasonCode::BadAuthenticationMethod;
                peer.protocol.refuse(unknown);
                self.end(index, false, None);
                return true;
            }
            (Event::PublishRun(run), Link::Attached(attached)) => {
                self.hub.counters().messages_received.add(run.len());
                self.hub
                    .publish_run(run, Some(attached.key), batch, self.now);
            }
            (Event::Publish { message, packet_id }, Link::Attached(attached)) => {
                self.hub.counters().messages_received.add_one();
                let published = self
                    .hub
                    .publish(&message, Some(attached.key), batch, self.now);
                match (published, packet_id) {
                    (Err(_), packet_id) => {
                        if peer
                            .protocol
                            .reject(packet_id, ReasonCode::QuotaExceeded)
                            .is_err()
                        {
                            self.end(index, true, None);
                            return true;
                        }
                    }
                    (Ok(published), Some(packet_id)) => {
                        let reason = match published.matched {
                            0 => ReasonCode::NoMatchingSubscribers,
                            _ => ReasonCode::Success,
                        };
                        peer.protocol.accepted(packet_id, reason);
                    }
                    (Ok(_), None) => {}
                }
            }
            (Event::Subscribe(request), Link::Attached(attached)) => {
                let id = request.subscription_id;
                let reasons = self.hub.subscribe(attached, &request.filters, id);
                peer.protocol
                    .subscribed(request.packet_id, reasons)
                    .unwrap();
            }
            (Event::Unsubscribe(request), Link::Attached(attached)) => {
                let reasons = self.hub.unsubscribe(attached, &request.filters);
                peer.protocol
                    .unsubscribed(request.packet_id, reasons)
                    .unwrap();
            }
            (
                Event::Disconnected {
                    publish_will,
                    session_expiry_interval,
                },
                _,
            ) => {
                self.end(index, publish_will, session_expiry_interval);
                return true;
            }
            (event, _) => panic!("{event:?} from a peer without session"),
        }
        false
    }

    fn on_connect(&mut self, index: usize, connect: Connect) -> bool {
        let peer = &mut self.peers[index];
        let assigned = connect.client_id.is_empty().then(|| {
            self.assigned += 1;
            ByteString::from(format!("assigned-{}", self.assigned))
        });
        let client_id = assigned.clone().unwrap_or(connect.client_id);
        let arrival = Arrival {
            info: ClientInfo {
                client_id: client_id.to_string(),
                version: connect.version,
                peer: rmqtt::transport::PeerInfo::default(),
                username: None,
                user: None,
                keep_alive: connect.keep_alive,
            },
            request: ConnectRequest {
                client_id,
                clean_start: connect.clean_start,
                session_expiry_interval: peer.protocol.session_expiry_interval(),
                will: connect.will,
                user: None,
                listener: None,
                rights: None,
                proof: None,
            },
            bell: Arc::clone(&peer.bell),
        };
        match self.hub.connect(arrival, self.now) {
            Outcome::Granted(granted) => self.enter(index, *granted, assigned),
            Outcome::Wait(connection) => peer.link = Link::Waiting(connection),
            Outcome::Refused(reason) => {
                peer.protocol.refuse(reason);
                self.end(index, false, None);
                return true;
            }
        }
        self.peers[index].is_closed
    }

    fn enter(&mut self, index: usize, granted: Granted, assigned_client_id: Option<ByteString>) {
        let peer = &mut self.peers[index];
        peer.protocol.set_rights(granted.rights);
        peer.link = Link::Attached(granted.attached);
        let accept = Accept {
            session: granted.session,
            session_present: granted.session_present,
            assigned_client_id,
        };
        if peer.protocol.accept(accept, self.now).is_err() {
            self.end(index, true, None);
        }
    }

    /// The queue of a peer that is let in.
    pub(crate) fn outbox(&self, peer: PeerId) -> Arc<Outbox> {
        match &self.peers[peer.0].link {
            Link::Attached(attached) => Arc::clone(&attached.outbox),
            _ => panic!("it has no session"),
        }
    }

    fn deliver(&mut self, index: usize) -> bool {
        if !self.is_delivering {
            return false;
        }
        let peer = &mut self.peers[index];
        let mut has_worked = false;
        if let Link::Attached(attached) = &peer.link {
            peer.protocol.send_due();
            while let Some(outgoing) = self.hub.take(attached, peer.protocol.room(), self.now) {
                has_worked = true;
                let delivery = match outgoing {
                    Outgoing::One(delivery) => delivery,
                    Outgoing::Run(run) => {
                        let sent = peer.protocol.deliver_run(&run, self.now);
                        let counters = self.hub.counters();
                        counters.messages_delivered.add(sent);
                        counters.messages_expired.add(run.len() - sent);
                        continue;
                    }
                };
                match peer.protocol.deliver(delivery, self.now) {
                    Delivered::Sent => self.hub.counters().messages_delivered.add_one(),
                    Delivered::NoRoom(_) => panic!("room was promised"),
                    Delivered::Expired | Delivered::TooLarge => {
                        self.hub.counters().messages_expired.add_one();
                    }
                }
            }
        }
        if let Link::Attached(attached) = &peer.link {
            attached.outbox.note_in_flight(peer.protocol.in_flight());
            self.hub.settle(attached, &peer.protocol.take_settled());
        }
        let out = peer.protocol.outgoing();
        has_worked |= out.has_remaining();
        let bytes = out.copy_to_bytes(out.remaining());
        peer.from_broker.extend_from_slice(&bytes);
        has_worked
    }

    fn end(&mut self, index: usize, publish_will: bool, session_expiry_interval: Option<u32>) {
        let peer = &mut self.peers[index];
        peer.is_closed = true;
        let out = peer.protocol.outgoing();
        let bytes = out.copy_to_bytes(out.remaining());
        peer.from_broker.extend_from_slice(&bytes);
        match std::mem::replace(&mut peer.link, Link::None) {
            Link::None => {}
            Link::Waiting(connection) => self.hub.give_up(connection, self.now),
            Link::Attached(attached) => {
                self.hub.settle(&attached, &peer.protocol.take_settled());
                let leave = Leave {
                    session: peer.protocol.take_session(),
                    publish_will,
                    session_expiry_interval,
                };
                self.hub.detach(&attached, leave, self.now);
            }
        }
    }
}

/// Reason strings are for people: what they say is shown in a test of its own.
fn take_words(packet: &mut Packet) {
    let properties = match packet {
        Packet::ConnAck(connack) => {
            connack.properties.reason_string = None;
            return;
        }
        Packet::Disconnect(disconnect) => {
            disconnect.reason_string = None;
            return;
        }
        Packet::Ack(ack) => &mut ack.properties,
        Packet::SubAck(suback) => &mut suback.properties,
        Packet::UnsubAck(unsuback) => &mut unsuback.properties,
        _ => return,
    };
    *properties = None;
}
