//! Who is at the door: what a connection does between its CONNECT and a session where a broker asks who somebody is.
//!
//! An exchange of AUTH packets is answered at once, since nothing in it is slow. A plain password has to be hashed, which
//! is slow on purpose: that is done on threads beside the network's, few at a time for all connections together. A hook is
//! asked, a bounded number of times at once. The connection waits, no longer than `connect_timeout`. Whoever has failed
//! too often is turned away before any of it.

use super::connection::{Connection, End};
use crate::broker::auth::{
    Answer, Attempt, Auth, Exchange, Identity, Login, Opinion, Proof, Verdict, is_name,
};
use crate::broker::hub::Hub;
use crate::broker::protocol::Authenticate;
use crate::clock::Clock;
use crate::codec::{Connect, ReasonCode};
use crate::transport::{CertificateName, PeerInfo};
use bytestring::ByteString;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant, SystemTime};
use tokio::sync::Semaphore;

/// Of all connections of a broker.
pub(super) struct Guard {
    auth: Arc<Auth>,
    hub: Arc<Hub>,
    clock: Clock,
    /// Passwords that may be hashed at a time.
    hashing: Arc<Semaphore>,
    /// Questions to hooks that may be open at a time.
    asking: Semaphore,
    /// Logins that may be undecided.
    waiting: Semaphore,
}

impl fmt::Debug for Guard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Guard")
            .field("auth", &self.auth)
            .finish_non_exhaustive()
    }
}

/// Who somebody is, or the reason to turn it away.
type Outcome = Result<Identity, ReasonCode>;

type Checking = Pin<Box<dyn Future<Output = Outcome> + Send>>;

impl Guard {
    pub(super) fn new(auth: Arc<Auth>, hub: Arc<Hub>, clock: Clock) -> Self {
        // Half of the machine at most: who floods the door must not take the house.
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let hashing = match auth.limits().hashing_max {
            0 => (cores / 2).max(1),
            max => max,
        };
        let bounded = |max: usize| Semaphore::new(max.min(Semaphore::MAX_PERMITS));
        Self {
            hub,
            clock,
            hashing: Arc::new(bounded(hashing)),
            asking: bounded(auth.limits().hooks_max),
            waiting: bounded(auth.limits().waiting_max),
            auth,
        }
    }

    pub(super) fn auth(&self) -> &Arc<Auth> {
        &self.auth
    }

    pub(super) fn is_of(&self, auth: &Arc<Auth>) -> bool {
        Arc::ptr_eq(&self.auth, auth)
    }

    /// Who this login proves to be.
    fn check(self: &Arc<Self>, login: Login) -> Checking {
        let guard = Arc::clone(self);
        Box::pin(async move {
            let _busy = guard.clock.busy();
            guard.refuse_the_throttled(&login)?;
            let _place = guard
                .waiting
                .try_acquire()
                .map_err(|_| ReasonCode::ServerBusy)?;
            guard.decide(Arc::new(login)).await
        })
    }

    async fn decide(self: &Arc<Self>, login: Arc<Login>) -> Outcome {
        let mut at = 0;
        while at < self.auth.sources().len() {
            let opinion = if self.auth.sources()[at].hook().is_some() {
                at += 1;
                self.ask(at - 1, &login).await?
            } else {
                let (opinion, next) = self.hash(at, &login).await?;
                at = next;
                opinion
            };
            if let Opinion::Accepted(identity) = opinion {
                // Who it has proven to be, and not the name that it goes by: of another's failures this says nothing.
                let proven = Attempt {
                    user: identity.user.as_deref(),
                    ..attempt(&login)
                };
                self.auth.throttle().succeeded(proven, self.clock.now());
                return Ok(identity);
            }
            if opinion == Opinion::Refused {
                break;
            }
        }
        self.hub.counters().logins_failed.add_one();
        Err(match (&login.username, &login.password) {
            // A token alone may be a proof.
            (None, None) => ReasonCode::NotAuthorized,
            _ => ReasonCode::BadUserNameOrPassword,
        })
    }

    /// Asks sources that hash, from this one on.
    async fn hash(
        self: &Arc<Self>,
        from: usize,
        login: &Arc<Login>,
    ) -> Result<(Opinion, usize), ReasonCode> {
        let permit = Arc::clone(&self.hashing).acquire_owned().await;
        // Others that came at the same time may have failed meanwhile.
        self.refuse_the_throttled(login)?;
        let (guard, login) = (Arc::clone(self), Arc::clone(login));
        let busy = self.clock.busy();
        // Nobody can stop a hash that has begun. So the permit goes with it, and not with the one who waits; and a failure
        // is one also for who did not wait for the answer.
        let look_up = move || {
            let hashed = &guard.hub.counters().passwords_hashed;
            let (opinion, next) = guard.auth.look_up(from, &login, hashed, guard.unix_now());
            if next == guard.auth.sources().len() && !matches!(opinion, Opinion::Accepted(_)) {
                guard
                    .auth
                    .throttle()
                    .failed(attempt(&login), guard.clock.now());
            }
            drop((permit, busy));
            (opinion, next)
        };
        tokio::task::spawn_blocking(look_up)
            .await
            .map_err(|_| ReasonCode::UnspecifiedError)
    }

    /// Asks a hook.
    async fn ask(&self, at: usize, login: &Arc<Login>) -> Result<Opinion, ReasonCode> {
        let Some(hook) = self.auth.sources()[at].hook() else {
            return Ok(Opinion::Unknown);
        };
        let _permit = self.asking.acquire().await;
        self.refuse_the_throttled(login)?;
        let limit = self.auth.limits().hook_timeout;
        // By the system's clock: the hook does not live by that of a test.
        let verdict = tokio::time::timeout(limit, hook.ask(Arc::clone(login))).await;
        let user = match verdict.map_err(drop).and_then(|said| said.map_err(drop)) {
            Ok(Verdict::Yes) => login.username.clone(),
            Ok(Verdict::User(user)) if is_name(&user) => Some(user.into()),
            Ok(Verdict::Unknown) if at + 1 < self.auth.sources().len() => {
                return Ok(Opinion::Unknown);
            }
            Ok(Verdict::No | Verdict::Unknown) => {
                let now = self.clock.now();
                self.auth.throttle().failed(attempt(login), now);
                return Ok(Opinion::Refused);
            }
            Ok(Verdict::User(_)) | Err(()) => {
                // Not the client's fault, and it may come again.
                self.hub.counters().hooks_failed.add_one();
                return Err(ReasonCode::ServerUnavailable);
            }
        };
        let (until, proof) = (None, None);
        Ok(Opinion::Accepted(Identity { user, until, proof }))
    }

    /// Seconds since 1970; a manual clock moves them too.
    fn unix_now(&self) -> u64 {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        now.unwrap_or_default()
            .saturating_add(self.clock.passed())
            .as_secs()
    }

    fn refuse_the_throttled(&self, login: &Login) -> Result<(), ReasonCode> {
        self.refuse_the_throttled_attempt(attempt(login))
    }

    fn refuse_the_throttled_attempt(&self, attempt: Attempt<'_>) -> Result<(), ReasonCode> {
        if self.auth.throttle().refuses(attempt, self.clock.now()) {
            self.hub.counters().logins_throttled.add_one();
            return Err(ReasonCode::ConnectionRateExceeded);
        }
        Ok(())
    }
}

fn attempt(login: &Login) -> Attempt<'_> {
    Attempt {
        address: login.peer.address.map(|address| address.ip()),
        user: login.username.as_deref(),
    }
}

/// What one connection has to do with who is asked.
pub(super) struct Admission {
    /// `None`: its certificate is proof enough.
    guard: Option<Arc<Guard>>,
    named: Named,
    exchange: Option<Exchange>,
    /// A CONNECT that is being checked.
    checking: Option<(Connect, Checking)>,
    /// The outcome.
    checked: Option<(Connect, Outcome)>,
    /// Who it has proven to be.
    identity: Option<Identity>,
    /// When that ends.
    ends_at: Option<Instant>,
}

/// Whom a client's certificate names, where that says who it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Named {
    /// It is not asked.
    Unasked,
    /// Nobody: it has no such name, more than one, or one that cannot be a user's.
    Nobody,
    /// This user.
    User(ByteString),
}

impl Named {
    pub(super) fn by(kind: Option<CertificateName>, peer: &PeerInfo) -> Self {
        let Some(kind) = kind else {
            return Self::Unasked;
        };
        let certificate = peer.certificate.as_deref();
        let name = certificate.and_then(|certificate| certificate.name(kind));
        match name.filter(|name| is_name(name)) {
            Some(name) => Self::User(name.into()),
            None => Self::Nobody,
        }
    }

    /// Whether who has proven to be this user may be it.
    fn fits(&self, identity: &Identity) -> bool {
        match self {
            Self::Unasked => true,
            Self::Nobody => false,
            Self::User(name) => identity.user.as_ref() == Some(name),
        }
    }
}

impl Admission {
    /// `None`: nobody is asked who it is.
    pub(super) fn new(guard: Option<Arc<Guard>>, named: Named) -> Option<Self> {
        (guard.is_some() || named != Named::Unasked).then_some(Self {
            guard,
            named,
            exchange: None,
            checking: None,
            checked: None,
            identity: None,
            ends_at: None,
        })
    }

    pub(super) fn user(&self) -> Option<&ByteString> {
        self.identity.as_ref()?.user.as_ref()
    }

    /// What its login rests upon, if that can be taken away.
    pub(super) fn proof(&self) -> Option<&Arc<Proof>> {
        self.identity.as_ref()?.proof.as_ref()
    }

    /// When its proof is worth nothing any more.
    pub(super) fn ends_at(&self) -> Option<Instant> {
        self.ends_at
    }

    fn admitted(&mut self, identity: Identity, now: Instant) {
        let left = self
            .guard
            .as_ref()
            .zip(identity.until)
            .map(|(guard, until)| {
                let seconds = until.saturating_sub(guard.unix_now());
                Duration::from_secs(seconds)
            });
        self.ends_at = left.and_then(|left| now.checked_add(left));
        self.identity = Some(identity);
    }

    pub(super) fn is_waiting(&self) -> bool {
        self.checking.is_some()
    }

    /// Whether a login has been checked.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> bool {
        let Some((_, checking)) = &mut self.checking else {
            return false;
        };
        let Poll::Ready(outcome) = checking.as_mut().poll(cx) else {
            return false;
        };
        self.checked = self.checking.take().map(|(connect, _)| (connect, outcome));
        true
    }

    /// One step of an exchange, and what it costs who fails.
    fn step(
        &mut self,
        step: &Authenticate,
        address: Option<std::net::SocketAddr>,
    ) -> Result<Answer, ReasonCode> {
        let guard = self
            .guard
            .as_ref()
            .ok_or(ReasonCode::BadAuthenticationMethod)?;
        if step.is_first {
            self.exchange = guard.auth.begin(&step.method);
        }
        let exchange = self
            .exchange
            .as_mut()
            .ok_or(ReasonCode::BadAuthenticationMethod)?;
        let answer = exchange.step(step.data.as_ref());
        let attempt = Attempt {
            address: address.map(|address| address.ip()),
            user: exchange.named(),
        };
        guard.refuse_the_throttled_attempt(attempt)?;
        let now = guard.clock.now();
        match &answer {
            Answer::Continue(_) => {}
            Answer::Accept { .. } => guard.auth.throttle().succeeded(attempt, now),
            Answer::Refuse => {
                guard.hub.counters().logins_failed.add_one();
                guard.auth.throttle().failed(attempt, now);
            }
        }
        Ok(answer)
    }
}

impl Connection {
    /// One step of an exchange.
    // spec(5): MQTT-4.12.0-1, MQTT-4.12.0-2, MQTT-4.12.0-4, MQTT-4.12.1-2
    pub(super) fn on_authenticate(&mut self, step: &Authenticate, now: Instant) -> Result<(), End> {
        let address = self.peer_address();
        let Some(admission) = &mut self.admission else {
            return Err(self.turn_away("", ReasonCode::BadAuthenticationMethod));
        };
        match admission.step(step, address) {
            Ok(Answer::Continue(data)) => self.protocol.challenge(Some(data))?,
            Ok(Answer::Accept { user, data }) => {
                let identity = Identity {
                    user: Some(user.into()),
                    until: None,
                    proof: None,
                };
                let before = admission.identity.as_ref();
                // Who authenticates again has to stay who it is: its session, and what it may do, are that user's.
                let is_another = before.is_some_and(|before| *before != identity);
                if is_another || !admission.named.fits(&identity) {
                    return Err(self.turn_away("", ReasonCode::NotAuthorized));
                }
                admission.exchange = None;
                admission.identity = Some(identity);
                self.protocol.authenticated(Some(data), now)?;
            }
            Ok(Answer::Refuse) => return Err(self.turn_away("", ReasonCode::NotAuthorized)),
            Err(reason) => return Err(self.turn_away("", reason)),
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
            .filter(|admission| admission.identity.is_none())
        else {
            return self.on_connect(connect, now);
        };
        let username = match &admission.named {
            Named::Unasked => connect.username.clone(),
            Named::Nobody => {
                return Err(self.turn_away(&connect.client_id, ReasonCode::NotAuthorized));
            }
            Named::User(name) => Some(name.clone()),
        };
        let Some(guard) = &admission.guard else {
            let user = username;
            let (until, proof) = (None, None);
            admission.admitted(Identity { user, until, proof }, now);
            return self.on_connect(connect, now);
        };
        if guard.auth.wants_password() {
            if username.is_none() {
                return Err(self.turn_away(&connect.client_id, ReasonCode::NotAuthorized));
            }
            if connect.password.is_none() {
                return Err(self.turn_away(&connect.client_id, ReasonCode::BadUserNameOrPassword));
            }
        }
        let login = Login {
            client_id: connect.client_id.clone(),
            username,
            password: connect.password.clone(),
            peer: self.peer.as_deref().cloned().unwrap_or_default(),
        };
        let checking = guard.check(login);
        admission.checking = Some((connect, checking));
        Ok(())
    }

    /// Goes on with a CONNECT that has been checked.
    pub(super) fn go_on(&mut self, now: Instant) -> Result<(), End> {
        let Some(admission) = &mut self.admission else {
            return Ok(());
        };
        match admission.checked.take() {
            None => Ok(()),
            Some((connect, Ok(identity))) if !admission.named.fits(&identity) => {
                Err(self.turn_away(&connect.client_id, ReasonCode::NotAuthorized))
            }
            Some((connect, Ok(identity))) => {
                admission.admitted(identity, now);
                self.on_connect(connect, now)
            }
            Some((connect, Err(reason))) => Err(self.turn_away(&connect.client_id, reason)),
        }
    }

    /// `client_id`: who it says it is, or nothing.
    fn turn_away(&mut self, client_id: &str, reason: ReasonCode) -> End {
        if self.protocol.is_connected() {
            return End::ToldToGo(reason.into());
        }
        self.note_refused(Some(client_id), self.peer_address(), reason);
        self.protocol.refuse(reason);
        End::Refused
    }
}
