//! One connection as the broker sees it: what the driver does, without its task.
//!
//! A line is looked at when bytes have arrived, its bell has rung or its time is up, and at no other time: a wake-up that
//! is missing leaves it asleep, and its messages undelivered.

use super::books::{Books, TOPICS, topic};
use crate::pair::Pipe;
use crate::seed::Seed;
use bytes::BytesMut;
use rmqtt::broker::ClientInfo;
use rmqtt::broker::bell::Bell;
use rmqtt::broker::hub::{Arrival, Attached, Batch, FullQueue, Granted, Hub, Outcome};
use rmqtt::broker::outbox::Pressure;
use rmqtt::broker::protocol::{Accept, Delivered, Event, Protocol, ProtocolError};
use rmqtt::broker::registry::{ConnectRequest, ConnectionId, Leave};
use rmqtt::codec::{Connect, PacketId, ReasonCode};
use std::sync::Arc;
use std::task::Waker;
use std::time::Instant;

/// One connection at the broker.
pub(super) struct Line {
    protocol: Protocol,
    pub(super) input: BytesMut,
    pub(super) from_client: Pipe,
    pub(super) to_client: Pipe,
    bell: Arc<Bell>,
    /// The session it waits for, or has.
    waiting: Option<ConnectionId>,
    attached: Option<Attached>,
    /// Routed, and not answered while a queue is full.
    withheld: Vec<PacketId>,
    /// The queues that are, and what each asks of this publisher.
    full: Vec<(FullQueue, Pressure)>,
    is_over: bool,
    /// The client has closed its end: no more comes behind what is under way.
    pub(super) ends_behind_the_rest: bool,
}

impl Line {
    pub(super) fn new(hub: &Hub, now: Instant) -> Self {
        Self {
            protocol: Protocol::new(Arc::clone(hub.limits()), now),
            input: BytesMut::new(),
            from_client: Pipe::default(),
            to_client: Pipe::default(),
            bell: Arc::new(Bell::default()),
            waiting: None,
            attached: None,
            withheld: Vec::new(),
            full: Vec::new(),
            is_over: false,
            ends_behind_the_rest: false,
        }
    }

    /// Whether the broker has closed it.
    pub(super) fn is_over(&self) -> bool {
        self.is_over
    }

    pub(super) fn has_rung(&self) -> bool {
        !self.is_over && self.bell.answer(Waker::noop())
    }

    pub(super) fn next_timeout(&self) -> Option<Instant> {
        let patience = self
            .protocol
            .next_timeout()
            .filter(|_| !self.is_held_back());
        patience
            .into_iter()
            .chain(self.overdue_at())
            .min()
            .filter(|_| !self.is_over)
    }

    /// All that can be done now.
    pub(super) fn run(&mut self, hub: &Hub, books: &mut Books, now: Instant, seed: &mut Seed) {
        if self.is_over {
            return;
        }
        if let Some(reason) = self.bell.told_to_go() {
            self.protocol.close(reason);
            self.end(hub, true, None, now);
        } else if self.overdue_at().is_some_and(|due| due <= now) {
            self.protocol.close(ReasonCode::QuotaExceeded);
            self.end(hub, true, None, now);
        } else if !self.is_held_back() && self.protocol.handle_timeout(now).is_err() {
            self.end(hub, true, None, now);
        } else {
            self.ease(now);
            let claimed = self.waiting.and_then(|connection| hub.claim(connection));
            let result = claimed.map_or(Ok(()), |granted| self.accept(*granted, now));
            match result.and_then(|()| self.receive(hub, books, now)) {
                Ok(()) => self.deliver(hub, now),
                Err(error) => {
                    let is_expected =
                        matches!(error, ProtocolError::Closed | ProtocolError::Refused(_));
                    assert!(is_expected, "the broker complains: {error}");
                    self.end(hub, true, None, now);
                }
            }
        }
        self.to_client.write(self.protocol.outgoing(), now, seed);
    }

    fn receive(&mut self, hub: &Hub, books: &mut Books, now: Instant) -> Result<(), ProtocolError> {
        let mut batch = Batch::default();
        loop {
            // What is held back may be let go again at once, by what was read before.
            batch.finish();
            self.ease(now);
            if self.is_held_back() {
                return Ok(());
            }
            let Some(event) = self.protocol.receive(&mut self.input, now)? else {
                return Ok(());
            };
            match event {
                Event::ConnectRequested(connect) => self.connect(hub, *connect, now)?,
                Event::Authenticate(step) => panic!("nobody names a method: {step:?}"),
                Event::Publish { message, packet_id } => {
                    books.routed(&message);
                    let key = self.attached.as_ref().map(|attached| attached.key);
                    let published = hub
                        .publish(&message, key, &mut batch, now)
                        .expect("there is room");
                    let is_free = published.full.is_empty() && self.full.is_empty();
                    match packet_id {
                        Some(id) if is_free => self.protocol.accepted(id, ReasonCode::Success),
                        Some(id) => {
                            self.withheld.push(id);
                            self.full.extend(published.full);
                        }
                        None => {}
                    }
                }
                Event::Subscribe(request) => {
                    if let Some(attached) = &self.attached {
                        let reasons =
                            hub.subscribe(attached, &request.filters, request.subscription_id);
                        self.protocol.subscribed(request.packet_id, reasons)?;
                    }
                }
                Event::Unsubscribe(request) => panic!("nobody unsubscribes: {request:?}"),
                Event::Disconnected {
                    publish_will,
                    session_expiry_interval,
                } => {
                    self.end(hub, publish_will, session_expiry_interval, now);
                    return Ok(());
                }
            }
        }
    }

    fn connect(&mut self, hub: &Hub, connect: Connect, now: Instant) -> Result<(), ProtocolError> {
        let info = ClientInfo {
            client_id: connect.client_id.to_string(),
            version: connect.version,
            peer_address: None,
            username: None,
            user: None,
            keep_alive: connect.keep_alive,
        };
        let request = ConnectRequest {
            client_id: connect.client_id,
            clean_start: connect.clean_start,
            session_expiry_interval: self.protocol.session_expiry_interval(),
            will: connect.will,
            user: None,
        };
        match hub.connect(
            Arrival {
                request,
                info,
                bell: Arc::clone(&self.bell),
            },
            now,
        ) {
            Outcome::Granted(granted) => self.accept(*granted, now),
            Outcome::Wait(connection) => {
                self.waiting = Some(connection);
                Ok(())
            }
            Outcome::Refused(reason) => panic!("refused: {reason:?}"),
        }
    }

    fn accept(&mut self, granted: Granted, now: Instant) -> Result<(), ProtocolError> {
        self.waiting = None;
        self.attached = Some(granted.attached);
        let Granted {
            session,
            session_present,
            ..
        } = Granted {
            attached: self.attached.clone().expect("set"),
            ..granted
        };
        self.protocol.accept(
            Accept {
                session,
                session_present,
                assigned_client_id: None,
            },
            now,
        )
    }

    /// Whether a queue is so full that nothing more is read from this publisher.
    fn is_held_back(&self) -> bool {
        self.full
            .iter()
            .any(|(_, pressure)| *pressure == Pressure::Stop)
    }

    /// Answers what was withheld, once the queues it went into have drained.
    fn ease(&mut self, now: Instant) {
        let was_held_back = self.is_held_back();
        self.full
            .retain(|(queue, _)| queue.holds_back(&self.bell, now));
        if was_held_back && !self.is_held_back() {
            self.protocol.touch(now);
        }
        if self.full.is_empty() {
            for id in self.withheld.drain(..) {
                self.protocol.accepted(id, ReasonCode::Success);
            }
        }
    }

    /// When the client's queue has been full for too long.
    pub(super) fn overdue_at(&self) -> Option<Instant> {
        self.attached.as_ref()?.outbox.overdue_at()
    }

    fn deliver(&mut self, hub: &Hub, now: Instant) {
        let Some(attached) = &self.attached else {
            return;
        };
        while let Some(delivery) = hub.take(attached, self.protocol.room(), now) {
            match self.protocol.deliver(delivery, now) {
                Delivered::Sent => {}
                other => panic!("{other:?}"),
            }
        }
        attached.outbox.note_in_flight(self.protocol.in_flight());
        hub.settle(attached, &self.protocol.take_settled());
    }

    /// The connection is over: the session is let go, with all that is routed answered for.
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
        if let Some(connection) = self.waiting.take() {
            hub.give_up(connection, now);
        }
        if let Some(attached) = self.attached.take() {
            for id in self.withheld.drain(..) {
                self.protocol.accepted(id, ReasonCode::Success);
            }
            hub.settle(&attached, &self.protocol.take_settled());
            let session = self.protocol.take_session();
            hub.detach(
                &attached,
                Leave {
                    session,
                    publish_will,
                    session_expiry_interval,
                },
                now,
            );
        }
    }

    /// The pipe breaks, and the broker hears of it.
    pub(super) fn break_off(&mut self, hub: &Hub, now: Instant) {
        self.end(hub, true, None, now);
    }
}

/// The topics whose retained message is not the one that was routed last.
pub(super) fn wrong_retained(hub: &Hub, books: &Books, now: Instant) -> Vec<usize> {
    let retained = hub.retained(now);
    let kept = |number: usize| {
        let found = retained
            .iter()
            .find(|message| message.topic == topic(number));
        found.map(|message| super::books::key(&message.payload))
    };
    (0..TOPICS)
        .filter(|number| kept(*number) != books.retained.get(number).copied())
        .collect()
}
