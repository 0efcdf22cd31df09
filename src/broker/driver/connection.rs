//! One connection's task: read what is there, let `protocol` and `hub` decide, write it all at once.
//!
//! A batch is: read until the socket has no more, take in every packet, wake those who got something, take out what waits
//! for this client, one write. Whatever ends the task, a panic included, the session is handed back by `Drop`.

use super::admission::Admission;
use super::inquiry::{Desk, Inquiry};
use super::pipe::Pipe;
use super::throttle::{CONNECTION_COST, Throttle};
use super::timer::Timer;
use crate::broker::Limit;
use crate::broker::bell::Bell;
use crate::broker::faults::Cut;
use crate::broker::hub::{Attached, Batch, FullQueue, Hub};
use crate::broker::memory::Charge;
use crate::broker::outbox::Pressure;
use crate::broker::places::Place;
use crate::broker::protocol::{Event, Farewell, Protocol, ProtocolError, SEND_BUFFER_TARGET};
use crate::broker::registry::ConnectionId;
use crate::clock::yield_now;
use crate::codec::{PacketId, ReasonCode};
use crate::transport::PeerInfo;
use bytestring::ByteString;
use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

/// For the last words and for the peer to read them.
const FAREWELL: Duration = Duration::from_secs(1);

/// The tie to a session.
#[derive(Debug)]
pub(super) enum Link {
    None,
    /// An older connection has to let go first.
    Waiting(ConnectionId, Option<ByteString>),
    Attached(Attached),
}

/// Why a connection ends.
#[derive(Debug)]
pub(super) enum End {
    /// The peer took its leave.
    Goodbye {
        publish_will: bool,
        session_expiry_interval: Option<u32>,
    },
    /// The pipe broke or was closed.
    Lost,
    /// We want it to go.
    ToldToGo(Farewell),
    /// Not let in.
    Refused,
    /// It broke a rule or a limit.
    Fault(ProtocolError),
    /// The broker has no room for the packet that it sends.
    Full,
    /// A stranger has reached a limit, before there was anything that could be said.
    Crowded(Limit),
    /// A test wants it so.
    Cut(Cut),
}

impl From<ProtocolError> for End {
    fn from(error: ProtocolError) -> Self {
        Self::Fault(error)
    }
}

/// One connection.
pub(super) struct Connection {
    pub(super) pipe: Pipe,
    pub(super) place: Place,
    pub(super) protocol: Protocol,
    pub(super) hub: Arc<Hub>,
    pub(super) bell: Arc<Bell>,
    /// The bell was rung: there is more to look at than what the peer sent.
    is_rung: bool,
    /// Until it is in: then the hub knows.
    pub(super) peer: Option<Box<PeerInfo>>,
    /// Where somebody is asked who it is.
    pub(super) admission: Option<Box<Admission>>,
    pub(super) desk: Arc<Desk>,
    /// Where somebody is asked what its client may do.
    pub(super) inquiry: Option<Box<Inquiry>>,
    pub(super) link: Link,
    pub(super) batch: Batch,
    /// Answers that wait until the queues below have room again.
    pub(super) withheld: Vec<(PacketId, ReasonCode)>,
    pub(super) full: Vec<(FullQueue, Pressure)>,
    /// The queue of this client was found empty, and the next that comes into it rings the bell.
    pub(super) is_drained: bool,
    /// When the connection has to go if that queue is as full then as it is now.
    overdue_at: Option<Instant>,
    timer: Timer,
    /// Where there are bounds to how fast a client may talk.
    pub(super) throttle: Option<Box<Throttle>>,
    /// For what it holds.
    pub(super) charge: Charge,
}

impl Connection {
    /// `protocol` is one of which nothing has been heard yet.
    pub(super) fn new(
        pipe: Pipe,
        place: Place,
        protocol: Protocol,
        hub: Arc<Hub>,
        (admission, desk): (Option<Admission>, Arc<Desk>),
        (peer, bell): (PeerInfo, Arc<Bell>),
    ) -> Self {
        let clock = pipe.clock();
        let due = protocol.next_timeout();
        let timer = Timer::new(clock, due.unwrap_or_else(|| clock.now()));
        let throttle = Throttle::new(hub.limits(), clock.now());
        let mut charge = Charge::new(hub.memory());
        charge.set(CONNECTION_COST);
        Self {
            pipe,
            place,
            protocol,
            hub,
            bell,
            is_rung: true,
            peer: Some(Box::new(peer)),
            admission: admission.map(Box::new),
            desk,
            inquiry: None,
            link: Link::None,
            batch: Batch::default(),
            withheld: Vec::new(),
            full: Vec::new(),
            is_drained: false,
            overdue_at: None,
            timer,
            throttle,
            charge,
        }
    }

    /// Serves the client until one side ends the connection.
    ///
    /// By reference: a future that owned it would hold it twice, and there are as many as there are clients. What comes
    /// rarely or once is on the heap, for the same reason.
    pub(super) async fn run(&mut self) {
        let end = loop {
            let now = self.now();
            let worked = self.work(now).and_then(|()| self.charge_held());
            self.batch.finish();
            self.count_reached();
            self.note_denied();
            if let Err(end) = worked {
                break end;
            }
            if self.hub.wants_standstill() {
                Box::pin(self.stand_still()).await;
            }
            self.timer.set(self.next_timeout());
            poll_fn(|cx| self.poll(cx)).await;
            if self.pipe.is_batch_full() || self.has_retained_to_come() {
                // There is always more: others on this thread have their turn between two batches.
                yield_now().await;
            }
        };
        self.take_leave(&end);
        if self.pipe.is_half_open() {
            return self.pipe.park();
        }
        if matches!(end, End::Cut(Cut::Reset)) {
            return self.pipe.reset();
        }
        let has_words = !self.protocol.outgoing().is_empty()
            || self.pipe.has_leftovers()
            || self.pipe.owes_goodbye();
        if matches!(end, End::Cut(_)) || (!matches!(end, End::Lost) && has_words) {
            // When nobody reads them, last words are lost words.
            let last_words = self.protocol.outgoing();
            let clock = self.pipe.clock().clone();
            let farewell = self.pipe.say_farewell(last_words);
            drop(Box::pin(clock.timeout_real(FAREWELL, farewell)).await);
        }
    }

    pub(super) fn now(&self) -> Instant {
        self.pipe.clock().now()
    }

    /// Waits while the state of the whole broker is copied, this session's too.
    async fn stand_still(&mut self) {
        let Link::Attached(attached) = &self.link else {
            return;
        };
        self.hub.note_settled(attached, &self.protocol.take_ended());
        self.hub.settle(attached, &self.protocol.take_settled());
        let mut copy = self.protocol.session().clone();
        for (packet_id, reason) in &self.withheld {
            copy.inbound.accepted(*packet_id, *reason);
        }
        // On the heap: it is rare, and would make every connection larger.
        Box::pin(self.hub.stand_still(attached, copy)).await;
    }

    /// Everything that can be done without waiting.
    fn work(&mut self, now: Instant) -> Result<(), End> {
        let is_rung = std::mem::take(&mut self.is_rung);
        if is_rung && let Some(farewell) = self.bell.told_to_go() {
            return Err(End::ToldToGo(farewell));
        }
        self.attend()?;
        self.heed_rights();
        self.go_on(now)?;
        self.heed_answer(now)?;
        if is_rung {
            self.claim(now)?;
            self.is_drained = false;
        }
        if is_rung || self.overdue_at.is_some() {
            self.learn_overdue();
        }
        self.ease(now);
        self.begin_throttled(now);
        self.check_time(now)?;
        loop {
            self.take_in(now)?;
            // A queue that became full just now has to know whom to wake, and may have room again already.
            let was_held_back = self.is_held_back();
            self.ease(now);
            if !was_held_back || self.is_held_back() {
                break;
            }
        }
        self.settle_throttled(now);
        self.hold_for_stranger()?;
        self.end_by_fault()?;
        if self.pipe.is_at_end() && !self.is_unread() {
            return Err(if self.pipe.is_garbled() {
                End::Fault(ProtocolError::Garbled)
            } else {
                End::Lost
            });
        }
        self.deliver(now);
        Ok(())
    }

    fn take_in(&mut self, now: Instant) -> Result<(), End> {
        while !self.is_unread()
            && let Some(event) = self.protocol.receive(self.pipe.input(), now)?
        {
            self.on_event(event, now)?;
        }
        Ok(())
    }

    fn on_event(&mut self, event: Event, now: Instant) -> Result<(), End> {
        self.refuse_by_fault(&event)?;
        match event {
            Event::Authenticate(step) => self.on_authenticate(&step, now),
            Event::ConnectRequested(connect) => self.admit(*connect, now),
            Event::Publish { message, packet_id } => self.on_publish(&message, packet_id, now),
            Event::PublishRun(run) => {
                self.hub.counters().messages_received.add(run.len());
                let publisher = self.session_key();
                let count = run.len();
                let matched = self.hub.publish_run(run, publisher, &mut self.batch, now);
                self.count_throttled(count, matched);
                Ok(())
            }
            Event::Subscribe(request) => {
                if let Link::Attached(attached) = &self.link {
                    // Retained messages may come of it.
                    self.is_drained = false;
                    let id = request.subscription_id;
                    let reasons = self.hub.subscribe(attached, &request.filters, id);
                    self.protocol.subscribed(request.packet_id, reasons)?;
                }
                Ok(())
            }
            Event::Unsubscribe(request) => {
                if let Link::Attached(attached) = &self.link {
                    let reasons = self.hub.unsubscribe(attached, &request.filters);
                    self.protocol.unsubscribed(request.packet_id, reasons)?;
                }
                Ok(())
            }
            Event::Disconnected {
                publish_will,
                session_expiry_interval,
            } => Err(End::Goodbye {
                publish_will,
                session_expiry_interval,
            }),
        }
    }

    fn check_time(&mut self, now: Instant) -> Result<(), End> {
        if !self.is_held_back() && !self.is_throttled() {
            self.protocol.handle_timeout(now)?;
        }
        if self.pipe.stall_deadline().is_some_and(|at| at <= now) {
            return Err(End::Lost);
        }
        if self.proof_ends_at().is_some_and(|at| at <= now) {
            return Err(End::ToldToGo(ReasonCode::MaximumConnectTime.into()));
        }
        if self.overdue_at.is_some_and(|at| at <= now) {
            return Err(End::ToldToGo(ReasonCode::QuotaExceeded.into()));
        }
        Ok(())
    }

    /// A queue that begins to be full rings the bell.
    fn learn_overdue(&mut self) {
        self.overdue_at = match &self.link {
            Link::Attached(attached) => attached.outbox.overdue_at(),
            _ => None,
        };
    }

    fn proof_ends_at(&self) -> Option<Instant> {
        self.admission.as_ref()?.ends_at()
    }

    fn next_timeout(&self) -> Instant {
        let throttled_until = self.throttled_until();
        let protocol = if self.is_held_back() || throttled_until.is_some() {
            None
        } else {
            self.protocol.next_timeout()
        };
        let full = self
            .full
            .iter()
            .filter_map(|(queue, _)| queue.gives_way_at());
        [
            protocol,
            self.pipe.deadline(),
            self.overdue_at,
            throttled_until,
            self.proof_ends_at(),
        ]
        .into_iter()
        .flatten()
        .chain(full)
        .min()
        .unwrap_or_else(|| self.pipe.clock().never())
    }

    /// Waits until there is something to do: bytes came, there is room again for what waits, the bell rung, time passed.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let counters = self.hub.counters();
        let wants_input = !self.is_unread() && !matches!(self.link, Link::Waiting(..));
        let mut has_changed = false;
        let waiting = self.protocol.outgoing().len();
        if waiting > 0 || self.pipe.has_leftovers() {
            has_changed |= self.pipe.poll_write(self.protocol.outgoing(), counters, cx);
            // Below that, all that there was to say has been said.
            has_changed |=
                waiting >= SEND_BUFFER_TARGET && self.protocol.outgoing().len() < waiting;
        }
        let is_checking = match &mut self.admission {
            Some(admission) => {
                has_changed |= admission.poll(cx);
                admission.is_waiting()
            }
            None => false,
        };
        let is_asking = match &mut self.inquiry {
            Some(inquiry) => {
                has_changed |= inquiry.poll(cx);
                inquiry.is_at_the_door()
            }
            None => false,
        };
        let room = if wants_input && !is_checking && !is_asking {
            self.read_room()
        } else {
            0
        };
        has_changed |= self.pipe.poll_read(room, counters, cx);
        self.is_rung = self.bell.answer(cx.waker());
        if self.is_rung || has_changed {
            return Poll::Ready(());
        }
        self.timer.poll(cx)
    }
}

impl Drop for Connection {
    /// A task that was cut off or has panicked must not keep a session for ever.
    fn drop(&mut self) {
        self.batch.finish();
        self.answer_withheld();
        self.let_go(true, None);
    }
}
