//! One exchange of SCRAM-SHA-256 with one client. It knows no packet: `protocol` asks by its events, the driver answers with
//! what is found here.

use super::random;
use super::users::Users;
use crate::scram::{self, NONCE_BYTES, ScramError, Server, Verifier};
use bytes::Bytes;
use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

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
    /// Under which name, as the client wrote it.
    named: Option<String>,
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
    /// Begins one by this method; `None`: it is not known.
    // spec(5): MQTT-4.12.0-1
    pub(super) fn begin(users: &Arc<Users>, method: &str) -> Option<Self> {
        (method == scram::METHOD).then(|| Self {
            users: Arc::clone(users),
            stage: Stage::First,
            named: None,
        })
    }

    /// Who the client says it is, once it has.
    pub fn named(&self) -> Option<&str> {
        self.named.as_deref()
    }

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
        self.named = Some(server.username().to_owned());
        let prepared = scram::prepare(server.username());
        let named = prepared.as_deref().unwrap_or(server.username());
        let made_up = self.users.made_up(named);
        let user = prepared
            .filter(|name| self.users.verifier(name).is_some())
            .map(Cow::into_owned);
        let known = user.as_ref().and_then(|user| self.users.verifier(user));
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
        let known = user.as_ref().and_then(|user| self.users.verifier(user));
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
