//! One connection as the broker sees it: what the driver does, without its task.
//!
//! A line is looked at when bytes have arrived, its bell has rung or its time is up, and at no other time: a wake-up that
//! is missing leaves it asleep, and its messages undelivered.

mod arriving;
mod delivering;
mod power;
mod rights;

use super::model::Model;
use super::tap::{Tap, brief};
use crate::pair::Pipe;
use crate::seed::Seed;
use bytes::{Buf, BytesMut};
use rmqtt::broker::bell::Bell;
use rmqtt::broker::hub::{Attached, Batch, FullQueue, Hub, Published};
use rmqtt::broker::outbox::Pressure;
use rmqtt::broker::protocol::{
    Event, Farewell, Protocol, ProtocolError, SEND_BUFFER_MAX, SEND_BUFFER_TARGET,
};
use rmqtt::broker::registry::{ConnectionId, Leave};
use rmqtt::codec::{Connect, PacketId, ProtocolVersion, ReasonCode};
use rmqtt::message::Message;
use std::sync::Arc;
use std::task::Waker;
use std::time::{Duration, Instant};

/// So much is under way to a peer that does not read; the rest waits at the broker.
const WINDOW_BYTES: usize = 20_000;

/// A peer that takes nothing for so long is gone.
const WRITE_STALL: Duration = Duration::from_secs(60);

/// The tie to a session.
enum Link {
    None,
    Waiting(ConnectionId, Box<Connect>),
    Attached(Attached),
}

/// What everybody around a line shares.
pub(super) struct Around<'a> {
    pub(super) hub: &'a Hub,
    pub(super) model: &'a mut Model,
    pub(super) seed: &'a mut Seed,
    pub(super) now: Instant,
}

/// One connection at the broker.
pub(super) struct Line {
    number: usize,
    client: usize,
    /// Through which of the broker's doors it comes, in a world with rules.
    door: Option<usize>,
    protocol: Protocol,
    pub(super) input: BytesMut,
    pub(super) from_client: Pipe,
    pub(super) to_client: Pipe,
    /// What is read along, and how much of what waits to be written has been.
    heard: Tap,
    said: Tap,
    seen: usize,
    bell: Arc<Bell>,
    link: Link,
    batch: Batch,
    /// Routed, and not answered while a queue is full.
    withheld: Vec<(PacketId, ReasonCode)>,
    /// The queues that are, and what each asks of this publisher.
    full: Vec<(FullQueue, Pressure)>,
    stalled_since: Option<Instant>,
    is_over: bool,
    /// The client has closed its end: no more comes behind what is under way.
    pub(super) ends_behind_the_rest: bool,
}

impl Line {
    pub(super) fn new(
        number: usize,
        client: usize,
        door: Option<usize>,
        hub: &Hub,
        now: Instant,
    ) -> Self {
        Self {
            number,
            client,
            door,
            protocol: Protocol::new(Arc::clone(hub.limits()), now),
            input: BytesMut::new(),
            from_client: Pipe::default(),
            to_client: Pipe::default(),
            heard: Tap::new(ProtocolVersion::V5),
            said: Tap::new(ProtocolVersion::V5),
            seen: 0,
            bell: Arc::new(Bell::default()),
            link: Link::None,
            batch: Batch::default(),
            withheld: Vec::new(),
            full: Vec::new(),
            stalled_since: None,
            is_over: false,
            ends_behind_the_rest: false,
        }
    }

    /// Whether the broker has closed it.
    pub(super) fn is_over(&self) -> bool {
        self.is_over
    }

    /// Whether there is a reason to look at the line although no time has passed.
    pub(super) fn is_awake(&mut self) -> bool {
        !self.is_over && (self.bell.answer(Waker::noop()) || self.can_write())
    }

    /// Whether the peer has made room for what waits to be written.
    fn can_write(&mut self) -> bool {
        !self.protocol.outgoing().is_empty() && self.has_room_to_write()
    }

    pub(super) fn next_timeout(&self) -> Option<Instant> {
        let patience = self.protocol.next_timeout();
        let patience = patience.filter(|_| !self.is_held_back());
        let stall = self.stalled_since.map(|since| since + WRITE_STALL);
        let full = self.full.iter();
        let full = full.filter_map(|(queue, _)| queue.gives_way_at());
        let next = patience.into_iter().chain(self.overdue_at()).chain(stall);
        let next = next.chain(full);
        next.min().filter(|_| !self.is_over)
    }

    /// When the client's queue has been full for too long.
    pub(super) fn overdue_at(&self) -> Option<Instant> {
        match &self.link {
            Link::Attached(attached) => attached.outbox.overdue_at(),
            _ => None,
        }
    }

    /// Whether this client's CONNECT is still under way here.
    pub(super) fn is_overtaken(&self, client: usize) -> bool {
        self.client == client && !self.is_over && matches!(self.link, Link::None)
    }

    /// What has arrived until now comes in; says whether there is a reason to look at the line.
    pub(super) fn arrive(&mut self, now: Instant, budget: &mut usize) -> bool {
        let before = self.input.len();
        self.from_client.arrive(&mut self.input, now, budget);
        self.heard.arrived(&self.input[before..]);
        let is_due = self.next_timeout().is_some_and(|due| due <= now);
        !self.is_over && (self.input.len() > before || self.ends_behind_the_rest || is_due)
    }

    fn has_room_to_write(&self) -> bool {
        self.to_client.len() < WINDOW_BYTES
    }

    /// All that can be done now.
    pub(super) fn run(&mut self, around: &mut Around<'_>) {
        if self.is_over {
            return;
        }
        let now = around.now;
        if let Some(farewell) = self.bell.told_to_go() {
            self.say_goodbye(farewell, around);
        } else if self.overdue_at().is_some_and(|due| due <= now) {
            self.say_goodbye(ReasonCode::QuotaExceeded.into(), around);
        } else if self.is_given_up(now) {
            self.end(true, None, around);
        } else {
            match self.work(around) {
                Ok(()) => self.deliver(around),
                Err(ProtocolError::Closed) => self.end(true, None, around),
                Err(error) => panic!("the broker complains: {error}"),
            }
        }
        self.write(around);
    }

    /// Whether the client has been silent for too long, or has taken nothing for too long.
    fn is_given_up(&mut self, now: Instant) -> bool {
        let is_stalled = |since: Instant| since + WRITE_STALL <= now;
        self.stalled_since.is_some_and(is_stalled)
            || !self.is_held_back() && self.protocol.handle_timeout(now).is_err()
    }

    fn work(&mut self, around: &mut Around<'_>) -> Result<(), ProtocolError> {
        self.heed_rights(around.hub);
        self.ease(around);
        self.claim(around)?;
        self.receive(around)?;
        if self.ends_behind_the_rest
            && self.from_client.is_empty()
            && !self.is_held_back()
            && !self.protocol.is_congested()
        {
            self.end(true, None, around);
        }
        Ok(())
    }

    fn receive(&mut self, around: &mut Around<'_>) -> Result<(), ProtocolError> {
        loop {
            // What is held back may be let go again at once, by what was read before.
            self.batch.finish();
            self.ease(around);
            if self.is_over || self.is_held_back() || self.protocol.is_congested() {
                return Ok(());
            }
            let event = self.protocol.receive(&mut self.input, around.now);
            self.note_denied(around.hub);
            self.read_along(around);
            let Some(event) = event? else {
                around.model.check_let_in(self.client);
                return Ok(());
            };
            self.on_event(event, around)?;
            around.model.check_let_in(self.client);
            self.said_along(around);
        }
    }

    fn on_event(&mut self, event: Event, around: &mut Around<'_>) -> Result<(), ProtocolError> {
        match event {
            Event::Authenticate(step) => panic!("nobody names a method: {step:?}"),
            Event::ConnectRequested(connect) => self.connect(connect, around),
            Event::Publish { message, packet_id } => {
                self.publish(&message, packet_id, around);
                Ok(())
            }
            Event::PublishRun(run) => {
                let Around {
                    hub, model, now, ..
                } = around;
                for message in run.messages() {
                    model.let_in(self.client, &message);
                    model.books.routed(&message);
                    model.route(&message, Some(self.client), *now);
                }
                let key = match &self.link {
                    Link::Attached(attached) => Some(attached.key),
                    _ => None,
                };
                hub.publish_run(run, key, &mut self.batch, *now);
                Ok(())
            }
            Event::Subscribe(request) => {
                let Link::Attached(attached) = &self.link else {
                    panic!("not connected");
                };
                let id = request.subscription_id;
                let reasons = around.hub.subscribe(attached, &request.filters, id);
                let expected = around.model.subscribe(self.client, &request);
                assert_eq!(reasons, expected, "SUBACK");
                self.protocol.subscribed(request.packet_id, reasons)
            }
            Event::Unsubscribe(request) => {
                let Link::Attached(attached) = &self.link else {
                    panic!("not connected");
                };
                let reasons = around.hub.unsubscribe(attached, &request.filters);
                let expected = around.model.unsubscribe(self.client, &request.filters);
                assert_eq!(reasons, expected, "UNSUBACK");
                self.protocol.unsubscribed(request.packet_id, reasons)
            }
            Event::Disconnected {
                publish_will,
                session_expiry_interval,
            } => {
                self.end(publish_will, session_expiry_interval, around);
                Ok(())
            }
        }
    }

    fn publish(&mut self, message: &Message, id: Option<PacketId>, around: &mut Around<'_>) {
        let Around {
            hub, model, now, ..
        } = around;
        model.let_in(self.client, message);
        model.books.routed(message);
        let key = match &self.link {
            Link::Attached(attached) => Some(attached.key),
            _ => None,
        };
        let published = hub.publish(message, key, &mut self.batch, *now);
        let Published { matched, full } = published.expect("there is room");
        let expected = model.route(message, Some(self.client), *now);
        assert_eq!(matched, expected, "how many sessions it matched");
        let Some(id) = id else { return };
        let reason = match matched {
            0 => ReasonCode::NoMatchingSubscribers,
            _ => ReasonCode::Success,
        };
        if full.is_empty() && self.full.is_empty() {
            self.protocol.accepted(id, reason);
            return;
        }
        self.withheld.push((id, reason));
        self.full.extend(full);
    }

    /// Whether a queue is so full that nothing more is read from this publisher.
    fn is_held_back(&self) -> bool {
        let mut all = self.full.iter();
        all.any(|(_, pressure)| *pressure == Pressure::Stop)
    }

    /// Answers what was withheld, once the queues it went into have drained.
    fn ease(&mut self, around: &mut Around<'_>) {
        let was_held_back = self.is_held_back();
        self.full
            .retain(|(queue, _)| queue.holds_back(&self.bell, around.now));
        if was_held_back && !self.is_held_back() {
            self.protocol.resume(around.now);
        }
        if self.full.is_empty() {
            self.answer_withheld(around);
        }
    }

    fn answer_withheld(&mut self, around: &mut Around<'_>) {
        for (id, reason) in self.withheld.drain(..) {
            self.protocol.accepted(id, reason);
        }
        self.said_along(around);
    }

    /// Moves what waits to be written, unless the peer does not take it.
    fn write(&mut self, around: &mut Around<'_>) {
        let waiting = self.protocol.outgoing().len();
        assert!(
            waiting < SEND_BUFFER_MAX + SEND_BUFFER_TARGET,
            "{waiting} bytes wait to be written"
        );
        if waiting == 0 {
            return;
        }
        if self.has_room_to_write() || self.is_over {
            let out = self.protocol.outgoing();
            around.model.trace.hash(out.chunk());
            self.to_client.write(out, around.now, around.seed);
            self.seen = 0;
            self.stalled_since = None;
            // Room was made: there may be more to write, and to read.
            self.bell.ring();
        } else {
            self.stalled_since.get_or_insert(around.now);
        }
    }

    /// Reads what the broker has just dealt with.
    fn read_along(&mut self, around: &mut Around<'_>) {
        for packet in self.heard.dealt_with(self.input.len()) {
            let (line, client) = (self.number, self.client);
            let trace = &around.model.trace;
            trace.say(|| format!("line {line} <- client {client}: {}", brief(&packet)));
            if matches!(self.link, Link::Attached(_)) {
                around.model.heard(client, &packet);
            }
        }
        self.said_along(around);
    }

    /// Reads what the broker has just said.
    fn said_along(&mut self, around: &mut Around<'_>) {
        self.note_ended(around);
        let out = self.protocol.outgoing();
        let packets = self.said.written(out, self.seen);
        self.seen = out.len();
        for packet in packets {
            let (line, client) = (self.number, self.client);
            let trace = &around.model.trace;
            trace.say(|| format!("line {line} -> client {client}: {}", brief(&packet)));
            if matches!(self.link, Link::Attached(_)) {
                around.model.sent(client, &packet, around.now);
            }
        }
    }

    fn say_goodbye(&mut self, farewell: Farewell, around: &mut Around<'_>) {
        self.answer_withheld(around);
        if matches!(self.link, Link::Waiting(..)) {
            self.protocol.refuse(ReasonCode::ServerBusy);
        }
        self.protocol.close(farewell);
        self.said_along(around);
        self.end(true, None, around);
    }

    /// The connection is over: the session is let go, with all that is routed answered for.
    pub(super) fn end(&mut self, will: bool, expiry: Option<u32>, around: &mut Around<'_>) {
        if std::mem::replace(&mut self.is_over, true) {
            return;
        }
        self.batch.finish();
        self.answer_withheld(around);
        let Around {
            hub, model, now, ..
        } = around;
        let (line, client) = (self.number, self.client);
        model
            .trace
            .say(|| format!("line {line} ends, will: {will}"));
        match std::mem::replace(&mut self.link, Link::None) {
            Link::None => {}
            Link::Waiting(connection, _) => {
                model.give_up(client, line, *now);
                hub.give_up(connection, *now);
            }
            Link::Attached(attached) => {
                model.leave(client, *now);
                hub.note_settled(&attached, &self.protocol.take_ended());
                hub.settle(&attached, &self.protocol.take_settled());
                let leave = Leave {
                    session: self.protocol.take_session(),
                    publish_will: will,
                    session_expiry_interval: expiry,
                };
                hub.detach(&attached, leave, *now);
            }
        }
    }
}
