//! One connection at the broker: what the driver does, without its task and its socket.
//!
//! It is looked at when bytes have arrived, its bell has rung or its time is up.

use super::peer::Peer;
use bytes::{Buf, BytesMut};
use rmqtt::broker::ClientInfo;
use rmqtt::broker::bell::Bell;
use rmqtt::broker::hub::{Arrival, Attached, Batch, FullQueue, Granted, Hub, Outcome, Published};
use rmqtt::broker::outbox::Pressure;
use rmqtt::broker::protocol::{
    Accept, Delivered, Event, Outgoing, Protocol, ProtocolError, SEND_BUFFER_MAX,
};
use rmqtt::broker::registry::{ConnectRequest, ConnectionId, Leave};
use rmqtt::codec::{Connect, Packet, PacketId, ReasonCode, SendBuffer, encode};
use std::sync::Arc;
use std::task::Waker;
use std::time::Instant;

/// Above what stops reading, there is room for the answers to one packet more, and for those that were withheld.
const OUTGOING_MAX: usize = SEND_BUFFER_MAX + 8_000;

pub(super) struct Line {
    protocol: Protocol,
    input: BytesMut,
    peer: Peer,
    /// Whether the peer takes what is written to it.
    pub(super) is_reading: bool,
    bell: Arc<Bell>,
    waiting: Option<ConnectionId>,
    attached: Option<Attached>,
    withheld: Vec<(PacketId, ReasonCode)>,
    full: Vec<(FullQueue, Pressure)>,
    is_over: bool,
}

impl Line {
    pub(super) fn new(hub: &Hub, now: Instant) -> Self {
        Self {
            protocol: Protocol::new(Arc::clone(hub.limits()), now),
            input: BytesMut::new(),
            peer: Peer::default(),
            is_reading: true,
            bell: Arc::new(Bell::default()),
            waiting: None,
            attached: None,
            withheld: Vec::new(),
            full: Vec::new(),
            is_over: false,
        }
    }

    pub(super) fn feed(&mut self, bytes: &[u8]) {
        self.peer.says(bytes);
        self.input.extend_from_slice(bytes);
    }

    /// What the version has no words for is left out by the codec, or not sent at all.
    pub(super) fn feed_packet(&mut self, packet: &Packet) {
        let mut out = SendBuffer::new();
        if encode(packet, self.peer.version(), &mut out).is_ok() {
            let bytes = out.copy_to_bytes(out.len());
            self.feed(&bytes);
        }
    }

    /// Answers the oldest message the peer has not answered, with a reason or another.
    pub(super) fn acknowledge(&mut self, choice: usize) {
        if let Some(packet) = self.peer.answer(choice) {
            self.feed_packet(&packet);
        }
    }

    pub(super) fn has_rung(&self) -> bool {
        !self.is_over && self.bell.answer(Waker::noop())
    }

    pub(super) fn next_timeout(&self) -> Option<Instant> {
        let patience = self.protocol.next_timeout();
        let patience = patience.filter(|_| !self.is_held_back());
        let full = self
            .full
            .iter()
            .filter_map(|(queue, _)| queue.gives_way_at());
        let due = patience
            .into_iter()
            .chain(self.overdue_at())
            .chain(full)
            .min();
        due.filter(|_| !self.is_over)
    }

    /// The pipe is gone, and the broker hears of it.
    pub(super) fn close_pipe(&mut self, hub: &Hub, now: Instant) {
        self.end(hub, true, None, now);
    }

    /// All that can be done without waiting.
    pub(super) fn run(&mut self, hub: &Hub, now: Instant) {
        if self.is_over {
            return;
        }
        let mut batch = Batch::default();
        let result = self.work(hub, &mut batch, now);
        batch.finish();
        if result.is_err() {
            self.end(hub, true, None, now);
        }
        assert!(self.protocol.outgoing().len() <= OUTGOING_MAX);
        if self.is_reading || self.is_over {
            let out = self.protocol.outgoing();
            let bytes = out.copy_to_bytes(out.len());
            self.peer.hears(&bytes, self.protocol.version());
        }
    }

    fn work(&mut self, hub: &Hub, batch: &mut Batch, now: Instant) -> Result<(), ProtocolError> {
        let overdue = self.overdue_at().filter(|due| *due <= now);
        let overdue = overdue.map(|_| ReasonCode::QuotaExceeded.into());
        if let Some(farewell) = self.bell.told_to_go().or(overdue) {
            if self.waiting.is_some() {
                self.protocol.refuse(ReasonCode::ServerBusy);
            }
            self.answer_withheld();
            self.protocol.close(farewell);
            return Err(ProtocolError::Closed);
        }
        if let Some(granted) = self.waiting.and_then(|connection| hub.claim(connection)) {
            self.enter(*granted, now)?;
        }
        self.ease(now);
        if !self.is_held_back() {
            self.protocol.handle_timeout(now)?;
        }
        loop {
            self.take_in(hub, batch, now)?;
            let was_held_back = self.is_held_back();
            self.ease(now);
            if !was_held_back || self.is_held_back() {
                break;
            }
        }
        self.deliver(hub, now);
        Ok(())
    }

    fn take_in(&mut self, hub: &Hub, batch: &mut Batch, now: Instant) -> Result<(), ProtocolError> {
        while !self.is_held_back() && !self.protocol.is_congested() && !self.is_over {
            let Some(event) = self.protocol.receive(&mut self.input, now)? else {
                break;
            };
            match event {
                Event::ConnectRequested(connect) => self.connect(hub, *connect, now)?,
                // A mechanism that says what its first byte wants.
                Event::Authenticate(step) => match step.data.as_deref() {
                    Some([b'q', ..]) => self.protocol.challenge(step.data)?,
                    Some([b'n', ..]) => {
                        self.protocol.refuse(ReasonCode::NotAuthorized);
                        return Err(ProtocolError::Refused(ReasonCode::NotAuthorized));
                    }
                    _ => self.protocol.authenticated(step.data, now)?,
                },
                Event::Publish { message, packet_id } => {
                    let publisher = self.attached.as_ref().map(|attached| attached.key);
                    assert!(publisher.is_some(), "a message from nobody");
                    let published = hub.publish(&message, publisher, batch, now);
                    match (published, packet_id) {
                        (Ok(published), Some(id)) => self.on_published(published, id),
                        (Ok(_), None) => {}
                        (Err(_), id) => self.protocol.reject(id, ReasonCode::QuotaExceeded)?,
                    }
                }
                Event::PublishRun(run) => {
                    let publisher = self.attached.as_ref().map(|attached| attached.key);
                    assert!(publisher.is_some(), "messages from nobody");
                    hub.publish_run(run, publisher, batch, now);
                }
                Event::Subscribe(request) => {
                    let attached = self.attached.as_ref().expect("connected");
                    let id = request.subscription_id;
                    let reasons = hub.subscribe(attached, &request.filters, id);
                    self.protocol.subscribed(request.packet_id, reasons)?;
                }
                Event::Unsubscribe(request) => {
                    let attached = self.attached.as_ref().expect("connected");
                    let reasons = hub.unsubscribe(attached, &request.filters);
                    self.protocol.unsubscribed(request.packet_id, reasons)?;
                }
                Event::Disconnected {
                    publish_will,
                    session_expiry_interval,
                } => self.end(hub, publish_will, session_expiry_interval, now),
            }
        }
        Ok(())
    }

    fn connect(&mut self, hub: &Hub, connect: Connect, now: Instant) -> Result<(), ProtocolError> {
        let mut client_id = connect.client_id;
        if client_id.is_empty() {
            client_id = "assigned".into();
        }
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
                session_expiry_interval: self.protocol.session_expiry_interval(),
                will: connect.will,
                user: None,
                listener: None,
                rights: None,
                proof: None,
            },
            bell: Arc::clone(&self.bell),
        };
        match hub.connect(arrival, now) {
            Outcome::Granted(granted) => return self.enter(*granted, now),
            Outcome::Wait(connection) => self.waiting = Some(connection),
            Outcome::Refused(farewell) => {
                let reason = farewell.reason;
                self.protocol.refuse(farewell);
                return Err(ProtocolError::Refused(reason));
            }
        }
        Ok(())
    }

    fn enter(&mut self, granted: Granted, now: Instant) -> Result<(), ProtocolError> {
        self.waiting = None;
        self.attached = Some(granted.attached);
        let accept = Accept {
            session: granted.session,
            session_present: granted.session_present,
            assigned_client_id: None,
        };
        self.protocol.accept(accept, now)
    }

    fn on_published(&mut self, published: Published, packet_id: PacketId) {
        let reason = match published.matched {
            0 => ReasonCode::NoMatchingSubscribers,
            _ => ReasonCode::Success,
        };
        if published.full.is_empty() && self.full.is_empty() {
            self.protocol.accepted(packet_id, reason);
            return;
        }
        self.withheld.push((packet_id, reason));
        self.full.extend(published.full);
    }

    /// Whether a queue is so full that nothing more is read from this publisher.
    fn is_held_back(&self) -> bool {
        self.full
            .iter()
            .any(|(_, pressure)| *pressure == Pressure::Stop)
    }

    fn ease(&mut self, now: Instant) {
        let was_held_back = self.is_held_back();
        self.full
            .retain(|(queue, _)| queue.holds_back(&self.bell, now));
        if was_held_back && !self.is_held_back() {
            self.protocol.resume(now);
        }
        if self.full.is_empty() {
            self.answer_withheld();
        }
    }

    fn answer_withheld(&mut self) {
        for (id, reason) in self.withheld.drain(..) {
            self.protocol.accepted(id, reason);
        }
    }

    fn overdue_at(&self) -> Option<Instant> {
        self.attached.as_ref()?.outbox.overdue_at()
    }

    fn deliver(&mut self, hub: &Hub, now: Instant) {
        let Some(attached) = &self.attached else {
            return;
        };
        self.protocol.send_due();
        while let Some(outgoing) = hub.take(attached, self.protocol.room(), now) {
            let delivery = match outgoing {
                Outgoing::One(delivery) => delivery,
                Outgoing::Run(run) => {
                    self.protocol.deliver_run(&run, now);
                    continue;
                }
            };
            if let Delivered::NoRoom(delivery) = self.protocol.deliver(delivery, now) {
                attached.outbox.put_back(*delivery);
                break;
            }
        }
        attached.outbox.note_in_flight(self.protocol.in_flight());
        hub.settle(attached, &self.protocol.take_settled());
    }

    /// The session is let go, with all that is routed answered for.
    fn end(
        &mut self,
        hub: &Hub,
        publish_will: bool,
        session_expiry_interval: Option<u32>,
        now: Instant,
    ) {
        if std::mem::replace(&mut self.is_over, true) {
            return;
        }
        self.answer_withheld();
        if let Some(connection) = self.waiting.take() {
            hub.give_up(connection, now);
        }
        if let Some(attached) = self.attached.take() {
            hub.settle(&attached, &self.protocol.take_settled());
            let leave = Leave {
                session: self.protocol.take_session(),
                publish_will,
                session_expiry_interval,
            };
            hub.detach(&attached, leave, now);
        }
    }
}
