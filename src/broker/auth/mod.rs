//! Who somebody is: where users come from, how they prove to be one, and what a wrong proof costs.
//!
//! Owns the sources ([`Users`] with passwords in memory, a [`PasswordFile`], a [`Hook`] of the application), the order in
//! which they are asked, one [`Exchange`] of SCRAM-SHA-256, and the throttle of failed logins. It knows no packet and starts
//! no task: `driver/admission` asks it, and hashes beside the network's threads.
//!
//! The first source that knows a user decides. Whether a name is known must not show, so each source that hashes does so
//! for names that it does not know too; and when one has refused, those behind it hash all the same.

mod exchange;
mod hash;
mod hook;
mod passwords;
mod proof;
mod renewed;
mod signatures;
mod throttle;
mod tokens;
mod users;

pub use exchange::{Answer, Exchange};
pub use hash::hash_password;
pub use hook::{Hook, HookFailed, Login, Thinking, Verdict};
pub use passwords::PasswordFile;
pub use proof::{Proof, Standing};
pub use renewed::Renewed;
pub use throttle::AuthLimits;
pub use tokens::{TokenTerms, Tokens};
pub use users::Users;

pub(super) use throttle::Attempt;

use crate::broker::BrokerError;
use crate::broker::stats::Counter;
use bytestring::ByteString;
use std::sync::Arc;
use throttle::Throttle;

/// Where users come from.
#[derive(Debug, Clone)]
pub enum Source {
    /// Names and passwords.
    Users(Arc<Users>),
    /// A password file.
    Passwords(Arc<PasswordFile>),
    /// Tokens in the place of passwords.
    Tokens(Arc<Tokens>),
    /// The application decides.
    Hook(Arc<dyn Hook>),
}

/// Whom a login has proven to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// `None`: nobody in particular, and let in all the same.
    pub user: Option<ByteString>,
    /// For so long, in seconds since 1970; `None`: for as long as it stays.
    pub until: Option<u64>,
    /// What it rests upon; `None`: nothing that could be taken away.
    pub proof: Option<Arc<Proof>>,
}

/// What a source says of a login.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Opinion {
    /// It does not know this user.
    Unknown,
    /// It is this one.
    Accepted(Identity),
    /// It knows the user, and this is another.
    Refused,
}

impl Opinion {
    fn accepted(user: &str) -> Self {
        Self::Accepted(Identity {
            user: Some(user.into()),
            until: None,
            proof: None,
        })
    }
}

/// Who may connect to a broker.
#[derive(Debug)]
pub struct Auth {
    sources: Vec<Source>,
    limits: AuthLimits,
    throttle: Throttle,
}

impl Auth {
    /// Asks these in turn.
    ///
    /// # Errors
    /// There is none, there are two of names and passwords, or a limit is out of its range.
    pub fn new(sources: Vec<Source>, limits: AuthLimits) -> Result<Self, BrokerError> {
        let refuse = |what: &str| Err(BrokerError::Options(what.to_owned()));
        let is_scram = |source: &&Source| matches!(source, Source::Users(_));
        if sources.is_empty() {
            return refuse("auth names no source of users, so nobody could connect");
        }
        if sources.iter().filter(is_scram).count() > 1 {
            return refuse("auth has two mappings of users: make them one");
        }
        if limits.remembered_max == 0 || limits.waiting_max == 0 || limits.hooks_max == 0 {
            return refuse("remembered_max, waiting_max and hooks_max must be at least 1");
        }
        Ok(Self {
            throttle: Throttle::new(limits.clone()),
            sources,
            limits,
        })
    }

    /// The bounds.
    pub fn limits(&self) -> &AuthLimits {
        &self.limits
    }

    pub(super) fn sources(&self) -> &[Source] {
        &self.sources
    }

    pub(super) fn throttle(&self) -> &Throttle {
        &self.throttle
    }

    /// Whether nothing but names and passwords can let anybody in.
    pub(super) fn wants_password(&self) -> bool {
        let takes_less = |source: &Source| matches!(source, Source::Tokens(_) | Source::Hook(_));
        !self.sources.iter().any(takes_less)
    }

    /// Asks the sources from this one on up to the next hook; slow on purpose. The number of who is to be asked next: behind
    /// the last, it is decided.
    pub(super) fn look_up(
        &self,
        from: usize,
        login: &Login,
        hashed: &Counter,
        unix_now: u64,
    ) -> (Opinion, usize) {
        let mut opinion = Opinion::Unknown;
        for (at, source) in self.sources.iter().enumerate().skip(from) {
            if source.hook().is_some() && opinion == Opinion::Unknown {
                return (opinion, at);
            }
            let next = source.look_up(login, hashed, unix_now);
            if opinion == Opinion::Unknown {
                opinion = next;
            }
            if matches!(opinion, Opinion::Accepted(_)) {
                break;
            }
        }
        (opinion, self.sources.len())
    }

    /// Begins an exchange of enhanced authentication; `None`: the method is not known.
    pub(super) fn begin(&self, method: &str) -> Option<Exchange> {
        self.sources.iter().find_map(|source| match source {
            Source::Users(users) => users.begin(method),
            _ => None,
        })
    }

    /// Reads again what came from files. Nothing goes by it before [`Renewed::commit`].
    ///
    /// # Errors
    /// As when it was read first.
    pub fn prepare(&self) -> Result<Renewed, BrokerError> {
        Renewed::read(&self.sources)
    }
}

impl From<Users> for Auth {
    fn from(users: Users) -> Self {
        let limits = AuthLimits::default();
        Self {
            sources: vec![Source::Users(Arc::new(users))],
            throttle: Throttle::new(limits.clone()),
            limits,
        }
    }
}

impl Source {
    pub(super) fn hook(&self) -> Option<&Arc<dyn Hook>> {
        match self {
            Self::Hook(hook) => Some(hook),
            _ => None,
        }
    }

    fn look_up(&self, login: &Login, hashed: &Counter, unix_now: u64) -> Opinion {
        if let (Self::Tokens(tokens), Some(password)) = (self, &login.password) {
            return tokens.check(password, unix_now);
        }
        let (Some(name), Some(password)) = (&login.username, &login.password) else {
            return Opinion::Unknown;
        };
        match self {
            Self::Users(users) => users.check(name, password, hashed),
            Self::Passwords(file) => file.check(name, password, hashed),
            Self::Tokens(_) | Self::Hook(_) => Opinion::Unknown,
        }
    }
}

/// Whether this can be a user's name: text that looks in a log like what it is, and fits into CONNECT.
pub(super) fn is_name(text: &str) -> bool {
    let is_odd = |c: char| c.is_control() || c == '\u{FEFF}';
    !text.is_empty() && u16::try_from(text.len()).is_ok() && !text.contains(is_odd)
}

fn random(bytes: &mut [u8]) -> Result<(), BrokerError> {
    getrandom::fill(bytes)
        .map_err(|error| BrokerError::Options(format!("the system has no randomness: {error}")))
}
