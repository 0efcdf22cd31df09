//! Who may connect: users with passwords, and the two ways to prove to be one.
//!
//! Owns the verifiers and one exchange of SCRAM-SHA-256; plain passwords are checked against the same verifiers. It knows no
//! packet: `protocol` asks by its events, the driver answers with what is found here. A password is not kept, only what it
//! can be checked against, made once.
//!
//! Whether a name is known must not show. An unknown one has a verifier too, made of its name and a secret of this
//! broker, so that it is asked for with the same salt each time, and costs the same.

use crate::broker::BrokerError;
use crate::scram::{self, NONCE_BYTES, ScramError, Server, Verifier};
use bytes::Bytes;
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

/// The users of a broker.
pub struct Users {
    /// By prepared name.
    verifiers: BTreeMap<String, Verifier>,
    /// Makes up verifiers for names that nobody has.
    secret: [u8; 32],
}

impl fmt::Debug for Users {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Users")
            .field("count", &self.verifiers.len())
            .finish_non_exhaustive()
    }
}

impl Users {
    /// Makes the verifiers: milliseconds for each user.
    ///
    /// # Errors
    /// There is none, or a name or password is empty, too long, or has characters that cannot be compared (RFC 4013).
    pub fn new<N: AsRef<str>, P: AsRef<str>>(
        users: impl IntoIterator<Item = (N, P)>,
    ) -> Result<Self, BrokerError> {
        let mut verifiers = BTreeMap::new();
        for (name, password) in users {
            let name = name.as_ref();
            let prepared = scram::prepare(name)
                .ok_or_else(|| BrokerError::Options(format!("{name:?} cannot be a user's name")))?;
            let password = scram::prepare(password.as_ref()).ok_or_else(|| {
                BrokerError::Options(format!("the password of user {name:?} cannot be one"))
            })?;
            let mut salt = [0; 16];
            random(&mut salt)?;
            let verifier = Verifier::new(&password, salt);
            if verifiers.insert(prepared.into_owned(), verifier).is_some() {
                return Err(BrokerError::Options(format!(
                    "the user {name:?} is there twice"
                )));
            }
        }
        if verifiers.is_empty() {
            return Err(BrokerError::Options(
                "there are no users, so nobody could connect".to_owned(),
            ));
        }
        let mut secret = [0; 32];
        random(&mut secret)?;
        Ok(Self { verifiers, secret })
    }

    /// Begins an exchange by this method; `None`: it is not known.
    // spec(5): MQTT-4.12.0-1
    pub fn begin(self: &Arc<Self>, method: &str) -> Option<Exchange> {
        (method == scram::METHOD).then(|| Exchange {
            users: Arc::clone(self),
            stage: Stage::First,
        })
    }

    /// For a name that nobody has; of the prepared name, since that of a known one does not change with its spelling either.
    fn made_up(&self, name: &str) -> Verifier {
        Verifier::made_up(&self.secret, name)
    }

    /// Who this name and password prove to be. Slow on purpose, and as slow for a name that nobody has.
    pub fn check(&self, name: &str, password: &[u8]) -> Option<String> {
        let prepared = scram::prepare(name);
        let text = std::str::from_utf8(password).ok().and_then(scram::prepare);
        let made_up = self.made_up(prepared.as_deref().unwrap_or(name));
        let known = prepared
            .as_deref()
            .and_then(|name| self.verifiers.get(name));
        let is_right = known
            .unwrap_or(&made_up)
            .fits(text.as_deref().unwrap_or_default());
        let is_good = is_right && known.is_some() && text.is_some();
        prepared.filter(|_| is_good).map(Cow::into_owned)
    }
}

/// What the broker's answer to one step of an exchange is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// Go on, with these bytes.
    Continue(Bytes),
    /// It is this user. The bytes prove to it that the broker knows it, too.
    Accept {
        /// The name as it is compared.
        user: String,
        /// For the last packet.
        data: Bytes,
    },
    /// No.
    Refuse,
}

/// One exchange with one client. Nothing in it is slow: the hashing is the client's.
#[derive(Debug)]
pub struct Exchange {
    users: Arc<Users>,
    stage: Stage,
}

/// What is to come from the client.
#[derive(Debug)]
enum Stage {
    First,
    Last(Box<Asked>),
    Nothing,
}

/// A client that has said who it is, and was asked to prove it.
struct Asked {
    server: Server,
    challenge: String,
    /// As it is compared; `None`: nobody has this name.
    user: Option<String>,
    made_up: Verifier,
}

impl fmt::Debug for Asked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Asked").finish_non_exhaustive()
    }
}

impl Exchange {
    /// Takes the client's next bytes. After anything but [`Answer::Continue`] it is over.
    pub fn step(&mut self, data: Option<&Bytes>) -> Answer {
        let answer = match (std::mem::replace(&mut self.stage, Stage::Nothing), data) {
            // A client without first words leaves the first move to us: an empty challenge asks for them.
            (Stage::First, None) => {
                self.stage = Stage::First;
                Ok(Answer::Continue(Bytes::new()))
            }
            (Stage::First, Some(data)) => self.first(data),
            (Stage::Last(asked), Some(data)) => self.last(*asked, data),
            (Stage::Last(_) | Stage::Nothing, _) => Ok(Answer::Refuse),
        };
        answer.unwrap_or(Answer::Refuse)
    }

    fn first(&mut self, data: &[u8]) -> Result<Answer, ScramError> {
        let server = Server::new(data)?;
        let prepared = scram::prepare(server.username());
        let named = prepared.as_deref().unwrap_or(server.username());
        let made_up = self.users.made_up(named);
        let user = prepared
            .filter(|name| self.users.verifiers.contains_key(name.as_ref()))
            .map(Cow::into_owned);
        let known = user
            .as_ref()
            .and_then(|user| self.users.verifiers.get(user));
        let mut chance = [0; NONCE_BYTES];
        if random(&mut chance).is_err() {
            return Ok(Answer::Refuse);
        }
        let challenge = server.challenge(known.unwrap_or(&made_up), &scram::nonce(chance));
        let answer = Answer::Continue(challenge.clone().into());
        self.stage = Stage::Last(Box::new(Asked {
            server,
            challenge,
            user,
            made_up,
        }));
        Ok(answer)
    }

    fn last(&self, asked: Asked, data: &[u8]) -> Result<Answer, ScramError> {
        let Asked {
            server,
            challenge,
            user,
            made_up,
        } = asked;
        let known = user
            .as_ref()
            .and_then(|user| self.users.verifiers.get(user));
        let signature = server.check(known.unwrap_or(&made_up), &challenge, data)?;
        Ok(match user {
            Some(user) => Answer::Accept {
                user,
                data: signature.into(),
            },
            None => Answer::Refuse,
        })
    }
}

fn random(bytes: &mut [u8]) -> Result<(), BrokerError> {
    getrandom::fill(bytes)
        .map_err(|error| BrokerError::Options(format!("the system has no randomness: {error}")))
}
