//! From nothing to a connection that the broker has accepted: the first one, and every one after a cut.

use super::authenticating::Handshake;
use super::dropping::Care;
use super::{Driver, EARLY, random_share};
use crate::client::commands::Queue;
use crate::client::protocol::Event as Heard;
use crate::client::{ClientError, Event, Negotiated};
use crate::clock::Clock;
use crate::codec::ConnAck;
use crate::message::Message;
use crate::session::Token;
use crate::transport::{self, Stream};
use bytes::BytesMut;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// What connecting waits for, beside the way to the broker.
const OUR_WORD: &str = "no word of the application yet on who we are";
const ITS_WORD: &str = "no answer from the broker to CONNECT";

impl Driver {
    /// Makes the first connection. Dropping the future gives up, and leaves the client as it was.
    pub(in crate::client) async fn first(&mut self) -> Result<(Stream, Negotiated), ClientError> {
        self.open_store().await?;
        let connected = self.first_connection().await;
        if connected.is_err() {
            self.close_store().await;
        }
        connected
    }

    async fn first_connection(&mut self) -> Result<(Stream, Negotiated), ClientError> {
        loop {
            let queue = Arc::clone(&self.queue);
            let attempt = tokio::select! {
                attempt = self.connect_to_any() => attempt,
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
            let Some(delay) = self
                .delay_after(&error)
                .filter(|_| self.backoff.retries_first())
            else {
                return Err(error);
            };
            self.tell(Event::Disconnected {
                error,
                retry_in: Some(delay),
            });
            tokio::select! {
                () = self.clock.sleep(delay) => {}
                () = queue.ended() => return Err(ClientError::Closed),
            }
        }
    }

    /// Tries until there is a connection, or no more tries, or a reason not to, or a request to close.
    pub(super) async fn come_back(&mut self, error: ClientError) -> Result<Stream, ClientError> {
        let queue = Arc::clone(&self.queue);
        let (clock, close_by) = (self.clock.clone(), self.close_by);
        let care = Care::of(self);
        tokio::select! {
            outcome = self.try_again(error) => outcome,
            () = stop(&queue, &clock, close_by) => Err(ClientError::Closed),
            never = care.take() => match never {},
        }
    }

    async fn try_again(&mut self, error: ClientError) -> Result<Stream, ClientError> {
        let mut error = error;
        loop {
            let Some(delay) = self.delay_after(&error) else {
                return Err(error);
            };
            self.tell(Event::Disconnected {
                error,
                retry_in: Some(delay),
            });
            self.clock.sleep(delay).await;
            match self.connect_to_any().await {
                Ok((stream, _)) => return Ok(stream),
                Err(failure) => error = failure,
            }
        }
    }

    /// How long to wait before the next round; `None`: there will be none.
    fn delay_after(&mut self, error: &ClientError) -> Option<Duration> {
        let goes_elsewhere = std::mem::take(&mut self.goes_elsewhere);
        let is_ours = self.ghosts.explain(error, self.now());
        if error.is_terminal() && !goes_elsewhere && !is_ours {
            return None;
        }
        let is_unwanted = error.redirect().is_some() && !goes_elsewhere;
        self.backoff.next(is_unwanted, random_share())
    }

    /// One round: every address is tried once.
    async fn connect_to_any(&mut self) -> Result<(Stream, Negotiated), ClientError> {
        let mut round = self.endpoints.round();
        while let Some(address) = round.next() {
            self.address = address;
            self.note(None);
            let error = match self.establish().await {
                Ok(connected) => {
                    self.endpoints.prefer(&self.address);
                    return Ok(connected);
                }
                Err(error) => error,
            };
            self.protocol.connection_lost();
            self.tell_redirect(&error);
            if let Some(error) = self.endpoints.failed(&mut round, &self.address, error) {
                return Err(error);
            }
        }
        Err(round.failure())
    }

    /// One connection, up to the broker's consent; a second one when it refuses MQTT 5 and we may fall back.
    async fn establish(&mut self) -> Result<(Stream, Negotiated), ClientError> {
        let limit = self.options.connect_timeout;
        let clock = self.clock.clone();
        let outcome = clock.timeout(limit, self.attempt()).await;
        let outcome = outcome.unwrap_or_else(|| {
            Err(ClientError::TimedOut {
                what: "connecting",
                limit,
                missing: self.missing,
            })
        });
        if outcome.is_err() {
            self.protocol.rise_again();
        }
        outcome
    }

    /// Some brokers that know only 3.1.1 close on a CONNECT of MQTT 5 without a word, and so does whatever stands before a
    /// broker that is down. So at the very first connection, and where it was closed in good order twice in a row before a
    /// byte came, 3.1.1 is tried once; unless it is accepted, MQTT 5 is what is asked for next.
    async fn attempt(&mut self) -> Result<(Stream, Negotiated), ClientError> {
        let mut unheard = 0;
        loop {
            let heard_before = self.stats.bytes_received;
            self.is_closed_by_broker = false;
            let error = match self.handshake().await {
                Ok(connected) => return Ok(connected),
                Err(error) => error,
            };
            if self.protocol.fall_back(&error) {
                continue;
            }
            let is_unheard = self.is_closed_by_broker
                && self.input.is_empty()
                && self.stats.bytes_received == heard_before;
            let may_go_on = match unheard {
                0 => self.protocol.may_fall_back(),
                1 => self.protocol.try_3_1_1(),
                _ => false,
            };
            if !is_unheard || self.stats.connects > 0 || !may_go_on {
                return Err(error);
            }
            unheard += 1;
        }
    }

    async fn handshake(&mut self) -> Result<(Stream, Negotiated), ClientError> {
        // Before the broker waits for us: a mechanism may have to ask somebody else first.
        self.missing = OUR_WORD;
        let (mut handshake, password, first) = Handshake::begin(&self.options).await?;
        let address = self.address.clone();
        if let Some(clock) = transport::clock(&address) {
            // Who was not there yet when the first try began.
            self.clock = clock;
        }
        let failed = |cause: String| ClientError::ConnectFailed {
            address: address.to_string(),
            cause,
        };
        let opened = self.options.route.open(&address, &mut self.missing).await;
        let mut stream = opened.map_err(|error| failed(error.to_string()))?;
        if !self.options.nodelay {
            stream.gather();
        }
        self.input = BytesMut::new();
        self.queue.take(&mut self.work, &self.stats);
        self.leave_without_connection();
        if self.accepted_at.as_ref().is_some_and(|it| *it != address) {
            // It may be another broker, whose session of ours is an old one.
            self.protocol.doubt_session();
        }
        let now = self.now();
        if let Some(password) = password {
            self.protocol.renew_password(password);
        }
        self.protocol.connect_as(first, now)?;
        self.ghosts.appear(now);
        self.missing = ITS_WORD;
        loop {
            let came = self.exchange_bytes(&mut stream, None).await;
            if matches!(came, Ok(came) if came.read == 0) {
                continue;
            }
            if let Some(why) = transport::mistaken(&self.input) {
                return Err(failed(why.to_owned()));
            }
            match self.hear_answer(&mut handshake).await {
                Ok(Some(Heard::Connected { connack, lost })) => {
                    self.ghosts.answered();
                    self.accepted_at = Some(address);
                    let negotiated = self.on_connected(*connack, lost);
                    return Ok((stream, negotiated));
                }
                // A broker may refuse a large CONNECT and close before all of it is written.
                Ok(_) => match came {
                    // With TLS 1.3, certificates of ours are looked at when we are done shaking hands.
                    Err(ClientError::ConnectionLost { cause })
                        if address.is_secure() && !self.is_closed_by_broker =>
                    {
                        return Err(failed(cause));
                    }
                    came => drop(came?),
                },
                Err(error) => {
                    self.ghosts.answered();
                    self.say_last(&mut stream).await;
                    return Err(error);
                }
            }
        }
    }

    /// What the broker says to CONNECT, as far as it has come.
    async fn hear_answer(
        &mut self,
        handshake: &mut Handshake,
    ) -> Result<Option<Heard>, ClientError> {
        loop {
            match self.protocol.receive(&mut self.input, self.clock.now())? {
                Some(Heard::Authenticate(said)) => {
                    self.missing = OUR_WORD;
                    if let Some(event) = self.shake(handshake, said).await? {
                        return Ok(Some(event));
                    }
                    self.missing = ITS_WORD;
                }
                other => return Ok(other),
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
            self.early_until = Some(self.now() + EARLY);
        }
        if is_first {
            self.begin_claims();
        }
        self.dispatch.begin(session_present);
        if !session_present {
            self.forget_taken();
        }
        self.send_as_new(lost);
        self.restore_subscriptions(session_present);
        negotiated
    }

    fn is_session_kept(&self) -> bool {
        self.options.session_expiry > 0 || !self.options.clean_start
    }
}

/// Waits for a request to close that cannot be met by connecting first.
async fn stop(queue: &Queue, clock: &Clock, close_by: Option<Instant>) {
    let late = async {
        let limit = queue.asked_to_drain().await;
        match close_by {
            Some(at) => clock.sleep_until(at).await,
            None => clock.sleep(limit).await,
        }
    };
    tokio::select! {
        () = queue.asked_to_stop() => {}
        () = late => {}
    }
}
