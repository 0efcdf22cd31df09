//! SCRAM-SHA-256 for a client. Hashing the password is slow on purpose: it is done on a thread beside the network's, and
//! few at a time in the whole process, whatever the number of clients and whatever their brokers ask for.

use super::{AuthFailure, Authenticator, Exchange, Word};
use crate::client::ClientError;
use crate::scram::{self, Challenge, Client, NONCE_BYTES, ScramError, Solved};
use bytes::Bytes;
use std::fmt;
use std::mem;
use std::sync::Arc;
use tokio::sync::Semaphore;

/// Passwords that are hashed at a time.
static HASHING: Semaphore = Semaphore::const_new(2);

/// A user and a password. The password never leaves this process.
#[derive(Clone)]
pub struct ScramSha256 {
    credentials: Arc<Credentials>,
}

struct Credentials {
    username: String,
    password: String,
}

impl fmt::Debug for ScramSha256 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ScramSha256")
            .field("username", &self.credentials.username)
            .finish_non_exhaustive()
    }
}

impl ScramSha256 {
    /// Prepares both for comparison (RFC 4013).
    ///
    /// # Errors
    /// One of them is empty, too long, or has characters that cannot be compared.
    pub fn new(username: &str, password: &str) -> Result<Self, ClientError> {
        let prepare = |what: &str, text| {
            scram::prepare(text)
                .map(std::borrow::Cow::into_owned)
                .ok_or_else(|| {
                    ClientError::Misuse(format!(
                        "{what} must not be empty, at most 65535 bytes, and without control characters"
                    ))
                })
        };
        Ok(Self {
            credentials: Arc::new(Credentials {
                username: prepare("username", username)?,
                password: prepare("password", password)?,
            }),
        })
    }
}

impl Authenticator for ScramSha256 {
    fn method(&self) -> &str {
        scram::METHOD
    }

    fn begin(&self) -> Box<dyn Exchange> {
        Box::new(ScramExchange {
            credentials: Arc::clone(&self.credentials),
            stage: Stage::New,
        })
    }
}

enum Stage {
    New,
    /// The first message is out.
    Begun(Client),
    /// The proof is out.
    Solved(Solved),
    Over,
}

struct ScramExchange {
    credentials: Arc<Credentials>,
    stage: Stage,
}

impl Exchange for ScramExchange {
    fn start(&mut self) -> Word<'_> {
        let mut chance = [0; NONCE_BYTES];
        let word = getrandom::fill(&mut chance)
            .map(|()| {
                let client = Client::new(&self.credentials.username, scram::nonce(chance));
                let first = Bytes::from(client.first());
                self.stage = Stage::Begun(client);
                Some(first)
            })
            .map_err(|error| AuthFailure::new(format!("the system has no randomness: {error}")));
        Box::pin(async move { word })
    }

    fn step(&mut self, data: Option<Bytes>) -> Word<'_> {
        let data = data.unwrap_or_default();
        let challenge = match mem::replace(&mut self.stage, Stage::Over) {
            Stage::Begun(client) => client.challenge(&data),
            _ => Err(ScramError::Malformed("a challenge too many")),
        };
        Box::pin(async move {
            let solved = self.solve(challenge.map_err(failed)?).await?;
            let last = Bytes::copy_from_slice(solved.last().as_bytes());
            self.stage = Stage::Solved(solved);
            Ok(Some(last))
        })
    }

    fn finish(&mut self, data: Option<Bytes>) -> Word<'_> {
        let data = data.unwrap_or_default();
        let outcome = match mem::replace(&mut self.stage, Stage::Over) {
            Stage::Solved(solved) => solved.check(&data).map(|()| None).map_err(failed),
            // Who is content without a proof has none of its own either.
            _ => Err(failed(ScramError::Signature)),
        };
        Box::pin(async move { outcome })
    }
}

impl ScramExchange {
    async fn solve(&self, challenge: Challenge) -> Result<Solved, AuthFailure> {
        let gone = || AuthFailure {
            is_final: false,
            ..AuthFailure::new("the client is going away")
        };
        let permit = HASHING.acquire().await.map_err(|_| gone())?;
        let credentials = Arc::clone(&self.credentials);
        // Nobody can stop a hash that has begun. So the permit goes with it, and not with the one who waits.
        let solve = move || {
            let solved = challenge.solve(&credentials.password);
            drop(permit);
            solved
        };
        tokio::task::spawn_blocking(solve).await.map_err(|_| gone())
    }
}

fn failed(error: ScramError) -> AuthFailure {
    AuthFailure::new(error.to_string())
}
