//! The client's task: connects, moves bytes, and comes back after a cut.
//!
//! Owns the clock, the socket and the randomness of the client, and decides nothing about the protocol. One loop: take
//! what the handles put in (`commands`), let the protocol make bytes of it, then wait once for bytes in, room for bytes out,
//! work or a deadline (`pipe`). Everything read in one go is processed before anything is written, so answers leave in
//! one write. What belongs to messages is in `publishing`, to subscriptions in `subscribing` and `leaving`, the delays in `backoff`.

mod backoff;
mod leaving;
mod pipe;
mod publishing;
mod subscribing;

use super::commands::{Outgoing, Queue, Work};
use super::dispatch::{Dispatch, Key};
use super::inbox::Aftermath;
use super::protocol::{Event as Heard, Protocol};
use super::{ClientError, ClientOptions, ClientStats, Close, Event, Negotiated};
use crate::codec::{ConnAck, ReasonCode};
use crate::message::Message;
use crate::session::Token;
use crate::transport::Stream;
use backoff::{Backoff, is_terminal};
use bytes::{Buf, BytesMut};
use publishing::{Drain, Exchanges, Settled};
use std::collections::{BTreeMap, VecDeque};
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};
use subscribing::Subscribed;
use tokio::time::{sleep, sleep_until, timeout};

/// With so much unread by the broker, nothing more is read from it: answers are bounded too.
const UNREAD_BYTES_MAX: usize = 256 << 10;
/// How long the last bytes of a connection may take.
const LAST_WORDS: Duration = Duration::from_secs(1);
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
    protocol: Protocol,
    dispatch: Dispatch,
    subscriptions: BTreeMap<Key, Subscribed>,
    last_key: Key,
    exchanges: Exchanges,
    work: Work,
    /// Messages of a lost session, to be sent as new before all others.
    again: VecDeque<Outgoing>,
    drains: Vec<Drain>,
    settled: Settled,
    aftermath: Aftermath,
    stats: ClientStats,
    backoff: Backoff,
    input: BytesMut,
    /// Scratch for routing.
    keys: Vec<Key>,
    read_at: SystemTime,
    early_until: Option<Instant>,
    close_by: Option<Instant>,
    is_running: bool,
}

impl Driver {
    pub(super) fn new(queue: Arc<Queue>, options: ClientOptions, client_id: &str) -> Self {
        Self {
            queue,
            protocol: Protocol::new(options.clone(), client_id, now()),
            dispatch: Dispatch::default(),
            subscriptions: BTreeMap::new(),
            last_key: Key::MAX,
            exchanges: Exchanges::default(),
            work: Work::default(),
            again: VecDeque::new(),
            drains: Vec::new(),
            settled: Settled::default(),
            aftermath: Aftermath::default(),
            stats: ClientStats::default(),
            backoff: Backoff::new(options.reconnect.clone()),
            input: BytesMut::new(),
            keys: Vec::new(),
            read_at: SystemTime::now(),
            early_until: None,
            close_by: None,
            is_running: false,
            options,
        }
    }

    /// Makes the first connection. Dropping the future gives up, and leaves the client as it was.
    pub(super) async fn first(&mut self) -> Result<(Stream, Negotiated), ClientError> {
        loop {
            let queue = Arc::clone(&self.queue);
            let attempt = tokio::select! {
                attempt = self.establish() => attempt,
                () = queue.ended() => return Err(ClientError::Closed),
            };
            let error = match attempt {
                Ok(connected) => {
                    // From here on the end of this driver is the end of the client, also when its task never gets to run.
                    self.is_running = true;
                    return Ok(connected);
                }
                Err(error) => error,
            };
            if is_terminal(&error) || !self.backoff.retries_first() {
                return Err(error);
            }
            let Some(delay) = self.backoff.next(random_share()) else {
                return Err(error);
            };
            self.tell(Event::Disconnected {
                error,
                retry_in: Some(delay),
            });
            tokio::select! {
                () = sleep(delay) => {}
                () = queue.ended() => return Err(ClientError::Closed),
            }
        }
    }

    /// Keeps the connection by the options, until the end.
    pub(super) async fn run(mut self, stream: Stream) {
        let mut stream = stream;
        loop {
            let began = now();
            let error = match self.serve(&mut stream).await {
                Ending::Asked(how) => {
                    self.take_leave(&mut stream, how).await;
                    self.finish(ClientError::Closed);
                    return;
                }
                Ending::Lost(error) => error,
            };
            drop(stream);
            self.connection_lost();
            self.backoff
                .connection_lasted(now().saturating_duration_since(began));
            match self.come_back(error).await {
                Ok(next) => stream = next,
                Err(error) => {
                    self.finish(error);
                    return;
                }
            }
        }
    }

    /// Tries until there is a connection, or no more tries, or a reason not to, or a request to close.
    async fn come_back(&mut self, error: ClientError) -> Result<Stream, ClientError> {
        let queue = Arc::clone(&self.queue);
        let close_by = self.close_by;
        tokio::select! {
            outcome = self.try_again(error) => outcome,
            () = stop(&queue, close_by) => Err(ClientError::Closed),
        }
    }

    async fn try_again(&mut self, error: ClientError) -> Result<Stream, ClientError> {
        let mut error = error;
        loop {
            if is_terminal(&error) {
                return Err(error);
            }
            let Some(delay) = self.backoff.next(random_share()) else {
                return Err(error);
            };
            self.tell(Event::Disconnected {
                error,
                retry_in: Some(delay),
            });
            sleep(delay).await;
            match self.establish().await {
                Ok((stream, _)) => return Ok(stream),
                Err(failure) => error = failure,
            }
            self.protocol.connection_lost();
        }
    }

    /// One connection, up to the broker's consent; a second one when it refuses MQTT 5 and we may fall back.
    async fn establish(&mut self) -> Result<(Stream, Negotiated), ClientError> {
        let limit = self.options.connect_timeout;
        let attempt = async {
            loop {
                match self.handshake().await {
                    Err(error) if self.protocol.fall_back(&error) => {}
                    outcome => return outcome,
                }
            }
        };
        let timed_out = ClientError::TimedOut {
            what: "connecting",
            seconds: limit.as_secs(),
        };
        timeout(limit, attempt).await.unwrap_or(Err(timed_out))
    }

    async fn handshake(&mut self) -> Result<(Stream, Negotiated), ClientError> {
        let address = self.options.address.clone();
        let mut stream =
            Stream::connect(&address)
                .await
                .map_err(|error| ClientError::ConnectFailed {
                    address: address.to_string(),
                    cause: error.to_string(),
                })?;
        self.input = BytesMut::new();
        self.queue.take(&mut self.work, &self.stats);
        self.leave_without_connection();
        self.protocol.connect(now())?;
        loop {
            let came = self.exchange_bytes(&mut stream, None).await;
            if matches!(came, Ok(came) if came.read == 0) {
                continue;
            }
            match self.protocol.receive(&mut self.input, now()) {
                Ok(Some(Heard::Connected { connack, lost })) => {
                    let negotiated = self.on_connected(*connack, lost);
                    return Ok((stream, negotiated));
                }
                // A broker may refuse a large CONNECT and close before all of it is written.
                Ok(_) => drop(came?),
                Err(error) => {
                    pipe::finish(&mut stream, self.protocol.outgoing(), LAST_WORDS).await;
                    return Err(error);
                }
            }
        }
    }

    fn on_connected(
        &mut self,
        connack: ConnAck,
        lost: Vec<(Token, Option<Message>)>,
    ) -> Negotiated {
        let session_present = connack.session_present;
        let is_first = self.stats.connects == 0;
        self.stats.connects += 1;
        let negotiated = Negotiated {
            version: self.protocol.version(),
            client_id: self.protocol.client_id().to_owned(),
            session_present,
            keep_alive: self.protocol.keep_alive(&connack),
            connack,
        };
        self.queue
            .online(negotiated.clone(), *self.protocol.granted());
        self.tell(Event::Connected(negotiated.clone()));
        if !is_first && !session_present && (self.is_session_kept() || !lost.is_empty()) {
            self.tell(Event::SessionLost);
        }
        if is_first && session_present {
            self.early_until = Some(now() + EARLY);
        }
        self.dispatch.begin(session_present);
        self.send_as_new(lost);
        self.restore_subscriptions(session_present);
        negotiated
    }

    fn is_session_kept(&self) -> bool {
        self.options.session_expiry > 0 || !self.options.clean_start
    }

    /// The life of one connection.
    async fn serve(&mut self, stream: &mut Stream) -> Ending {
        loop {
            let now = now();
            if let Err(error) = self.hear(now) {
                pipe::finish(stream, self.protocol.outgoing(), LAST_WORDS).await;
                return Ending::Lost(error);
            }
            if let Some(how) = self.take_work(now) {
                return Ending::Asked(how);
            }
            let deadline = self.next_deadline();
            match self.exchange_bytes(stream, deadline).await {
                Ok(came) if came.deadline => {
                    if let Err(error) = self.on_deadline() {
                        return Ending::Lost(error);
                    }
                }
                Ok(_) => {}
                Err(error) => {
                    // The last packets before the end of file may say why it ends.
                    let error = self.hear(self::now()).err().unwrap_or(error);
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
        self.settle_inboxes();
        self.settle();
        outcome
    }

    fn on_event(&mut self, event: Heard) {
        match event {
            Heard::Message { publish, delivery } => self.deliver(&publish, delivery),
            Heard::Published {
                token,
                reason,
                properties,
            } => self.on_published(token, reason, properties),
            Heard::Subscribed { token, suback } => self.on_subscribed(token, &suback),
            Heard::Unsubscribed { token, unsuback } => self.on_unsubscribed(token, &unsuback),
            // Only the answer to CONNECT, which is not read here.
            Heard::Connected { .. } => {}
        }
    }

    /// Lets the protocol make bytes of what the handles have put in. A request to close comes back once it can be met.
    fn take_work(&mut self, now: Instant) -> Option<Close> {
        self.stats.in_flight = self.exchanges.len();
        self.stats.queued_bytes = self.exchanges.bytes();
        let closing = self.queue.take(&mut self.work, &self.stats);
        self.take_processed();
        if matches!(closing, Some(Close::WithWill | Close::Abort)) {
            return closing;
        }
        self.send_work();
        self.settle();
        self.check_drains();
        if let Some(Close::Drain(limit)) = closing {
            let by = *self.close_by.get_or_insert(now + limit);
            if self.is_drained() || by <= now {
                return closing;
            }
        }
        None
    }

    fn next_deadline(&self) -> Option<Instant> {
        [
            self.protocol.next_timeout(),
            self.early_until,
            self.close_by,
        ]
        .into_iter()
        .flatten()
        .min()
    }

    fn on_deadline(&mut self) -> Result<(), ClientError> {
        let now = now();
        if self.early_until.is_some_and(|until| until <= now) {
            self.drop_early();
        }
        self.protocol.handle_timeout(now)
    }

    async fn exchange_bytes(
        &mut self,
        stream: &mut Stream,
        deadline: Option<Instant>,
    ) -> Result<pipe::Came, ClientError> {
        let out = self.protocol.outgoing();
        let may_read = out.remaining() < UNREAD_BYTES_MAX;
        let came = pipe::wait(
            stream,
            (&mut self.input, out),
            may_read,
            &self.queue.work,
            deadline,
        )
        .await
        .map_err(|error| ClientError::ConnectionLost {
            cause: match error.kind() {
                std::io::ErrorKind::UnexpectedEof => "the broker closed it".to_owned(),
                _ => error.to_string(),
            },
        })?;
        self.stats.bytes_sent += came.written as u64;
        self.stats.bytes_received += came.read as u64;
        if came.written > 0 {
            self.protocol.sent(now());
        }
        Ok(came)
    }

    fn connection_lost(&mut self) {
        self.protocol.connection_lost();
        self.queue.offline();
        self.queue.take(&mut self.work, &self.stats);
        self.leave_without_connection();
        self.forget_unwritten();
        self.drop_qos0();
        self.settle();
    }

    async fn take_leave(&mut self, stream: &mut Stream, how: Close) {
        match how {
            Close::Drain(_) => self.protocol.disconnect(ReasonCode::Success),
            Close::WithWill => self.protocol.disconnect(ReasonCode::DisconnectWithWill),
            Close::Abort => return,
        }
        pipe::finish(stream, self.protocol.outgoing(), LAST_WORDS).await;
    }

    /// The end: nobody waits any longer.
    fn finish(&mut self, error: ClientError) {
        self.is_running = false;
        self.settle();
        let work = self.queue.end(error.clone());
        self.end_subscriptions(&error);
        let waiting = self.again.drain(..).chain(self.work.publishes.drain(..));
        for outgoing in waiting.chain(work.publishes) {
            outgoing.reply.send(Err(error.clone()));
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
        self.queue.over();
        self.tell(Event::Disconnected {
            error,
            retry_in: None,
        });
    }

    fn tell(&self, event: Event) {
        // Nobody listening is no failure.
        let _ = self.queue.events.send(event);
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

/// The clock of the client: here, and as an argument everywhere else.
fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

/// Waits for a request to close that cannot be met by connecting first.
async fn stop(queue: &Queue, close_by: Option<Instant>) {
    let late = async {
        let limit = queue.asked_to_drain().await;
        sleep_until(close_by.unwrap_or_else(|| now() + limit).into()).await;
    };
    tokio::select! {
        () = queue.asked_to_stop() => {}
        () = late => {}
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
