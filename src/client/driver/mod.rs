//! The client's task: connects, moves bytes, and comes back after a cut.
//!
//! Owns the clock, the socket and the randomness of the client, and decides nothing about the protocol. One loop: take
//! what the handles put in (`commands`), let the protocol make bytes of it, then wait once for bytes in, room for bytes out,
//! work or a deadline (`pipe`). Everything read in one go is processed before anything is written, so answers leave in
//! one write. How a connection is made is in `connecting`, to which address in `endpoints`, with the delays in `backoff` and
//! a mechanism's steps in `authenticating`; what belongs to messages is in `publishing`, to subscriptions in `subscribing`,
//! `updating`, `restoring`, `parking`, `keeping` and `leaving`.

mod authenticating;
mod backoff;
mod connecting;
mod dropping;
mod endpoints;
mod ghosts;
mod keeping;
mod leaving;
mod parking;
mod pipe;
mod publishing;
mod restoring;
mod storing;
mod subscribing;
mod updating;

use super::commands::{Outgoing, Queue, Work};
use super::dispatch::{Dispatch, Key};
use super::inbox::Aftermath;
use super::protocol::{Event as Heard, Protocol};
use super::{ClientError, ClientOptions, ClientStats, Close, Entry, Event};
use crate::clock::Clock;
use crate::codec::{Disconnect, ReasonCode};
use crate::session::Token;
use crate::transport::{Address, Stream};
use authenticating::Authenticating;
use backoff::Backoff;
use bytes::{Buf, BytesMut};
use dropping::Drops;
use endpoints::Endpoints;
use ghosts::Ghosts;
use publishing::{Drain, Exchanges, Settled};
use restoring::Restoring;
use std::collections::{BTreeMap, VecDeque};
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};
use storing::Storing;
use subscribing::Subscribed;

/// With so much unread by the broker, nothing more is read from it: answers are bounded too.
const UNREAD_BYTES_MAX: usize = 256 << 10;
/// How long messages of a session that an earlier process left wait for their subscription.
const EARLY: Duration = Duration::from_secs(10);

/// How a connection ended.
enum Ending {
    Asked(Close),
    Lost(ClientError),
}

/// Everything that belongs to the client's task alone.
pub(super) struct Driver {
    queue: Arc<Queue>,
    options: ClientOptions,
    clock: Clock,
    protocol: Protocol,
    dispatch: Dispatch,
    subscriptions: BTreeMap<Key, Subscribed>,
    last_key: Key,
    restoring: Restoring,
    exchanges: Exchanges,
    work: Work,
    /// Messages of a lost session, to be sent as new before all others.
    again: VecDeque<Outgoing>,
    drains: Vec<Drain>,
    authenticating: Option<Authenticating>,
    settled: Settled,
    aftermath: Aftermath,
    stats: ClientStats,
    drops: Drops,
    /// The message of QoS 1 whose answer is timed, and when it was sent.
    timed: Option<(Token, Instant)>,
    backoff: Backoff,
    endpoints: Endpoints,
    /// Of the connection, or of the latest try.
    address: Address,
    /// The address of the broker that has our session.
    accepted_at: Option<Address>,
    /// The broker sends us away, and there is somewhere to go.
    goes_elsewhere: bool,
    ghosts: Ghosts,
    storing: Option<Storing>,
    input: BytesMut,
    /// Scratch for routing.
    keys: Vec<Key>,
    read_at: SystemTime,
    early_until: Option<Instant>,
    /// Until then somebody may ask for what an earlier process was subscribed to.
    claims_until: Option<Instant>,
    close_by: Option<Instant>,
    is_running: bool,
    /// Whether the connection ended in good order, by the broker.
    is_closed_by_broker: bool,
    /// What connecting waits for.
    missing: &'static str,
}

impl Driver {
    pub(super) fn new(
        queue: Arc<Queue>,
        options: ClientOptions,
        client_id: &str,
        clock: Clock,
    ) -> Self {
        Self {
            queue,
            protocol: Protocol::new(options.clone(), client_id, clock.now()),
            clock,
            dispatch: Dispatch::default(),
            subscriptions: BTreeMap::new(),
            last_key: Key::MAX,
            restoring: Restoring::default(),
            exchanges: Exchanges::default(),
            work: Work::default(),
            again: VecDeque::new(),
            drains: Vec::new(),
            authenticating: None,
            settled: Settled::default(),
            aftermath: Aftermath::default(),
            stats: ClientStats::default(),
            drops: Drops::default(),
            timed: None,
            backoff: Backoff::new(options.reconnect.clone()),
            endpoints: Endpoints::new(&options),
            address: options.address.clone(),
            accepted_at: None,
            goes_elsewhere: false,
            ghosts: Ghosts::default(),
            storing: None,
            input: BytesMut::new(),
            keys: Vec::new(),
            read_at: SystemTime::now(),
            early_until: None,
            claims_until: None,
            close_by: None,
            is_running: false,
            is_closed_by_broker: false,
            missing: "",
            options,
        }
    }

    pub(super) fn clock(&self) -> &Clock {
        &self.clock
    }

    /// The hour of the client: asked here, and an argument everywhere else.
    fn now(&self) -> Instant {
        self.clock.now()
    }

    /// Keeps the connection by the options, until the end.
    pub(super) async fn run(mut self, stream: Stream) {
        let mut stream = stream;
        loop {
            let began = self.now();
            let error = match self.serve(&mut stream).await {
                Ending::Asked(how) => {
                    self.take_leave(&mut stream, how).await;
                    self.close_store().await;
                    self.finish(ClientError::Closed);
                    return;
                }
                Ending::Lost(error) => error,
            };
            drop(stream);
            self.fail_authentication(&error);
            self.connection_lost();
            self.tell_redirect(&error);
            self.goes_elsewhere = self.endpoints.left(&self.address, &error);
            let now = self.now();
            self.backoff
                .connection_lasted(now.saturating_duration_since(began));
            match self.come_back(error).await {
                Ok(next) => stream = next,
                Err(error) => {
                    self.close_store().await;
                    self.finish(error);
                    return;
                }
            }
        }
    }

    /// The life of one connection.
    async fn serve(&mut self, stream: &mut Stream) -> Ending {
        loop {
            let now = self.now();
            let heard = self.hear(now);
            if let Err(error) = heard.and_then(|()| self.go_on_authenticating()) {
                self.say_last(stream).await;
                return Ending::Lost(error);
            }
            if let Some(how) = self.take_work(now) {
                return Ending::Asked(how);
            }
            let deadline = self.next_deadline();
            match self.exchange_bytes(stream, deadline).await {
                Ok(came) if came.deadline => {
                    if let Err(error) = self.on_deadline() {
                        self.say_last(stream).await;
                        return Ending::Lost(error);
                    }
                }
                Ok(_) => {}
                Err(error) => {
                    // The last packets before the end of file may say why it ends.
                    let error = self.hear(self.now()).err().unwrap_or(error);
                    return Ending::Lost(error);
                }
            }
        }
    }

    /// Processes all packets that have arrived.
    fn hear(&mut self, now: Instant) -> Result<(), ClientError> {
        if !self.input.is_empty() {
            self.stamp_batch();
        }
        // Also without input: the protocol has something to say of its own after a reconnect.
        let outcome = loop {
            match self.protocol.receive(&mut self.input, now) {
                Ok(Some(event)) => self.on_event(event),
                Ok(None) => break Ok(()),
                Err(error) => break Err(error),
            }
        };
        if let Some(took) = self.protocol.round_trip() {
            self.queue.answered_after(took);
        }
        self.settle_inboxes();
        self.settle();
        outcome
    }

    fn on_event(&mut self, event: Heard) {
        match event {
            Heard::Message { publish, delivery } => self.deliver(publish, delivery),
            Heard::Published {
                token,
                reason,
                properties,
            } => self.on_published(token, reason, properties),
            Heard::Refused { token, error } => self.on_refused(token, error),
            Heard::Subscribed { token, suback } => self.on_subscribed(token, &suback),
            Heard::Unsubscribed { token, unsuback } => self.on_unsubscribed(token, &unsuback),
            Heard::Authenticate(said) => self.on_said(said),
            // Only the answer to CONNECT, which is not read here.
            Heard::Connected { .. } => {}
        }
    }

    /// Lets the protocol make bytes of what the handles have put in. A request to close comes back once it can be met.
    fn take_work(&mut self, now: Instant) -> Option<Close> {
        self.count_in_flight();
        let closing = self.queue.take(&mut self.work, &self.stats);
        self.take_processed();
        if matches!(closing, Some(Close::WithWill | Close::Abort)) {
            return closing;
        }
        self.send_work();
        // Here it is highest: by the next look, the broker may have answered all of it.
        self.count_in_flight();
        self.settle();
        self.check_drains();
        self.note_outbox_drops();
        if let Some(Close::Drain(limit)) = closing {
            let by = *self.close_by.get_or_insert(now + limit);
            if self.is_drained() || by <= now {
                return closing;
            }
        }
        None
    }

    fn count_in_flight(&mut self) {
        self.stats.in_flight = self.exchanges.len();
        self.stats.in_flight_high = self.stats.in_flight_high.max(self.stats.in_flight);
        self.stats.queued_bytes = self.exchanges.bytes();
    }

    fn next_deadline(&self) -> Option<Instant> {
        [
            self.protocol.next_timeout(),
            self.early_until,
            self.claims_until,
            self.close_by,
            self.authentication_by(),
            self.drops.due,
            self.next_expiry(),
        ]
        .into_iter()
        .flatten()
        .min()
    }

    fn on_deadline(&mut self) -> Result<(), ClientError> {
        let now = self.now();
        if self.early_until.is_some_and(|until| until <= now) {
            self.drop_early();
        }
        if self.claims_until.is_some_and(|until| until <= now) {
            self.end_claims();
        }
        self.queue.expire(self.clock.wall());
        if self.drops.due.is_some_and(|due| due <= now) {
            self.tell_drops(now);
        }
        self.limit_authentication(now)?;
        self.protocol.handle_timeout(now)
    }

    async fn exchange_bytes(
        &mut self,
        stream: &mut Stream,
        deadline: Option<Instant>,
    ) -> Result<pipe::Came, ClientError> {
        self.sync_store().await?;
        let out = self.protocol.outgoing();
        let may_read = out.remaining() < UNREAD_BYTES_MAX;
        let came = pipe::wait(
            stream,
            (&mut self.input, out),
            may_read,
            &self.queue.work,
            (&self.clock, deadline),
        )
        .await;
        self.is_closed_by_broker =
            matches!(&came, Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof);
        let came = came.map_err(|error| ClientError::ConnectionLost {
            cause: if self.is_closed_by_broker {
                "the broker closed it".to_owned()
            } else {
                error.to_string()
            },
        })?;
        self.stats.bytes_sent += came.written as u64;
        self.stats.bytes_received += came.read as u64;
        if came.written > 0 {
            self.protocol.sent(self.clock.now());
        }
        Ok(came)
    }

    fn connection_lost(&mut self) {
        self.protocol.connection_lost();
        self.timed = None;
        self.queue.offline();
        self.queue.take(&mut self.work, &self.stats);
        self.leave_without_connection();
        self.forget_unwritten();
        self.drop_qos0();
        self.settle();
    }

    async fn take_leave(&mut self, stream: &mut Stream, how: Close) {
        match how {
            Close::Drain(_) => self.say_farewell(ReasonCode::Success),
            Close::WithWill => self.say_farewell(ReasonCode::DisconnectWithWill),
            Close::Abort => return,
        }
        self.say_last(stream).await;
    }

    /// What may still leave does, and the pipe is closed.
    async fn say_last(&mut self, stream: &mut Stream) {
        if self.sync_store().await.is_ok() {
            pipe::finish(stream, self.protocol.outgoing(), &self.clock).await;
        }
    }

    fn say_farewell(&mut self, usual: ReasonCode) {
        let farewell = self.queue.farewell();
        self.protocol.disconnect_with(Disconnect {
            reason: farewell.reason.unwrap_or(usual),
            session_expiry_interval: farewell.session_expiry,
            reason_string: farewell.reason_string,
            server_reference: None,
            user_properties: farewell.user_properties,
        });
    }

    /// The end: nobody waits any longer.
    fn finish(&mut self, error: ClientError) {
        self.is_running = false;
        self.settle();
        let mut work = self.queue.end(error.clone());
        self.fail_authentication(&error);
        self.end_subscriptions(&error);
        for outgoing in self.again.drain(..) {
            outgoing.reply.send(Err(error.clone()));
        }
        for publishes in [&mut self.work.publishes, &mut work.publishes] {
            while let Some(outgoing) = publishes.pop() {
                outgoing.reply.send(Err(error.clone()));
            }
        }
        for reply in self.exchanges.take_replies() {
            reply.send(Err(error.clone()));
        }
        for (_, command) in self.work.commands.drain(..).chain(work.commands) {
            command.refuse(&error);
        }
        for drain in self.drains.drain(..) {
            drain.refuse(&error);
        }
        self.tell(Event::Disconnected {
            error,
            retry_in: None,
        });
        self.queue.over();
    }

    /// Where the broker sends its clients is told, and not followed.
    fn tell_redirect(&self, error: &ClientError) {
        if let Some(redirect) = error.redirect() {
            self.tell(Event::ServerRedirect(redirect));
        }
    }

    fn tell(&self, event: Event) {
        self.note(Some(&event));
        self.queue.tell(event);
    }

    /// For the log.
    fn note(&self, event: Option<&Event>) {
        if let Some(journal) = &self.options.journal {
            journal(&Entry {
                client_id: self.protocol.client_id(),
                address: &self.address,
                event,
            });
        }
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        if self.is_running {
            // The runtime goes away, or something panicked: those who wait must still be told.
            self.finish(ClientError::Closed);
        } else {
            self.queue.give_up();
        }
    }
}

/// A random number; not for secrets.
pub(super) fn random() -> u64 {
    RandomState::new().hash_one((std::process::id(), SystemTime::now()))
}

/// A random share of one, with 32 bits.
fn random_share() -> f64 {
    f64::from(u32::try_from(random() >> 32).unwrap_or(u32::MAX)) / f64::from(u32::MAX)
}
