//! Who is at the door: what a connection does between its CONNECT and a session where a broker has users.
//!
//! An exchange of AUTH packets is answered at once, since nothing in it is slow. A plain password has to be hashed, which
//! is slow on purpose: that is done on threads beside the network's, few at a time for all connections together, and the
//! connection waits, no longer than `connect_timeout`.

use super::connection::{Connection, End};
use crate::broker::auth::{Answer, Exchange, Users};
use crate::broker::protocol::Authenticate;
use crate::clock::Busy;
use crate::codec::{Connect, ReasonCode};
use bytestring::ByteString;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;
use tokio::sync::Semaphore;

/// Of all connections of a broker.
pub(super) struct Guard {
    users: Arc<Users>,
    /// Passwords that may be hashed at a time.
    hashing: Arc<Semaphore>,
}

impl fmt::Debug for Guard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Guard")
            .field("users", &self.users)
            .finish_non_exhaustive()
    }
}

impl Guard {
    pub(super) fn new(users: Arc<Users>) -> Self {
        // Half of the machine at most: who floods the door must not take the house.
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        Self {
            users,
            hashing: Arc::new(Semaphore::new((cores / 2).max(1))),
        }
    }

    /// Who this name and password prove to be.
    fn check(&self, username: ByteString, password: bytes::Bytes, busy: Busy) -> Checking {
        let users = Arc::clone(&self.users);
        let hashing = Arc::clone(&self.hashing);
        Box::pin(async move {
            let permit = hashing.acquire_owned().await.ok()?;
            // Nobody can stop a hash that has begun. So the permit goes with it, and not with the one who waits.
            let check = move || {
                let user = users.check(&username, &password);
                drop((permit, busy));
                user
            };
            tokio::task::spawn_blocking(check).await.ok().flatten()
        })
    }
}

type Checking = Pin<Box<dyn Future<Output = Option<String>> + Send>>;

/// What one connection has to do with its broker's users.
pub(super) struct Admission {
    guard: Arc<Guard>,
    exchange: Option<Exchange>,
    /// A CONNECT whose password is being checked.
    checking: Option<(Connect, Checking)>,
    /// The outcome.
    checked: Option<(Connect, Option<String>)>,
    /// Who it has proven to be.
    user: Option<ByteString>,
}

impl Admission {
    pub(super) fn new(guard: Arc<Guard>) -> Self {
        Self {
            guard,
            exchange: None,
            checking: None,
            checked: None,
            user: None,
        }
    }

    pub(super) fn user(&self) -> Option<&ByteString> {
        self.user.as_ref()
    }

    pub(super) fn is_waiting(&self) -> bool {
        self.checking.is_some()
    }

    /// Whether a password has been checked.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> bool {
        let Some((_, checking)) = &mut self.checking else {
            return false;
        };
        let Poll::Ready(user) = checking.as_mut().poll(cx) else {
            return false;
        };
        self.checked = self.checking.take().map(|(connect, _)| (connect, user));
        true
    }
}

impl Connection {
    /// One step of an exchange.
    // spec(5): MQTT-4.12.0-1, MQTT-4.12.0-2, MQTT-4.12.0-4, MQTT-4.12.1-2
    pub(super) fn on_authenticate(&mut self, step: &Authenticate, now: Instant) -> Result<(), End> {
        let Some(admission) = &mut self.admission else {
            return Err(self.turn_away(ReasonCode::BadAuthenticationMethod));
        };
        if step.is_first {
            let begun = admission.guard.users.begin(&step.method);
            if begun.is_none() {
                return Err(self.turn_away(ReasonCode::BadAuthenticationMethod));
            }
            admission.exchange = begun;
        }
        let answer = match &mut admission.exchange {
            Some(exchange) => exchange.step(step.data.as_ref()),
            None => Answer::Refuse,
        };
        match answer {
            Answer::Continue(data) => self.protocol.challenge(Some(data))?,
            Answer::Accept { user, data } => {
                let user = ByteString::from(user);
                let before = admission.user.as_ref();
                // Who authenticates again has to stay who it is: its session, and what it may do, are that user's.
                if before.is_some_and(|before| *before != user) {
                    return Err(self.turn_away(ReasonCode::NotAuthorized));
                }
                admission.exchange = None;
                admission.user = Some(user);
                self.protocol.authenticated(Some(data), now)?;
            }
            Answer::Refuse => return Err(self.turn_away(ReasonCode::NotAuthorized)),
        }
        Ok(())
    }

    /// A CONNECT wants in.
    // spec(4): MQTT-3.1.4-2
    // spec(5): MQTT-3.1.4-2
    pub(super) fn admit(&mut self, connect: Connect, now: Instant) -> Result<(), End> {
        let Some(admission) = self
            .admission
            .as_mut()
            .filter(|admission| admission.user.is_none())
        else {
            return self.on_connect(connect, now);
        };
        let Some(username) = connect.username.clone() else {
            return Err(self.turn_away(ReasonCode::NotAuthorized));
        };
        let Some(password) = connect.password.clone() else {
            return Err(self.turn_away(ReasonCode::BadUserNameOrPassword));
        };
        let busy = self.pipe.clock().busy();
        let checking = admission.guard.check(username, password, busy);
        admission.checking = Some((connect, checking));
        Ok(())
    }

    /// Goes on with a CONNECT whose password has been checked.
    pub(super) fn go_on(&mut self, now: Instant) -> Result<(), End> {
        let Some(admission) = &mut self.admission else {
            return Ok(());
        };
        match admission.checked.take() {
            None => Ok(()),
            Some((connect, Some(user))) => {
                admission.user = Some(user.into());
                self.on_connect(connect, now)
            }
            Some((_, None)) => Err(self.turn_away(ReasonCode::BadUserNameOrPassword)),
        }
    }

    fn turn_away(&mut self, reason: ReasonCode) -> End {
        if self.protocol.is_connected() {
            return End::ToldToGo(reason.into());
        }
        self.protocol.refuse(reason);
        End::Refused
    }
}
