//! SCRAM-SHA-256 (RFC 5802, RFC 7677): the messages of both ends, and what a password can be checked against.
//!
//! Owns what is written, what is compared, and what is refused; no packet, no clock, no randomness: nonces and salts are
//! arguments, so that the example of the standard can be played through. The primitives are other people's. Whoever calls
//! has to know what is slow: [`Verifier::new`], [`Verifier::fits`] and [`Challenge::solve`] hash thousands of times.
//!
//! | | client | server |
//! |---|---|---|
//! | 1 | [`Client::new`] → `n,,n=user,r=nonce` | [`Server::new`] reads it, and says who is meant |
//! | 2 | [`Client::challenge`], [`Challenge::solve`] → `c=…,r=…,p=proof` | [`Server::challenge`] → `r=…,s=salt,i=4096` |
//! | 3 | [`Solved::check`] | [`Server::check`] → `v=signature` |
//!
//! Channel binding is not offered: it needs TLS that says what it bound. A client that could bind and believes that we
//! cannot (`y`) is right.

mod client;
mod server;
#[cfg(test)]
mod tests;

pub use client::{Challenge, Client, Solved};
pub use server::Server;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};
use std::borrow::Cow;
use std::fmt;
use subtle::ConstantTimeEq;

/// The name of the method.
pub const METHOD: &str = "SCRAM-SHA-256";

/// How often a password is hashed at least, by RFC 7677. What a client accepts, and what a broker asks for.
pub const ITERATIONS_MIN: u32 = 4096;

/// A client hashes no more often than this, whatever a server asks for: about a second.
pub const ITERATIONS_MAX: u32 = 1_000_000;

/// How many bytes of chance are in a nonce.
pub const NONCE_BYTES: usize = 18;

/// No nonce of a peer is longer, in bytes: it is kept, and repeated in each message that follows.
pub const NONCE_LENGTH_MAX: usize = 1024;

/// How many are in a salt.
pub const SALT_BYTES: usize = 16;

/// Names and passwords are no longer than CONNECT can carry, in bytes.
const TEXT_BYTES_MAX: usize = u16::MAX as usize;

/// Why an exchange ends without success. No error carries what the peer has sent, nor anything secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ScramError {
    /// It is not what the standard has in this place.
    #[error("a message that is none of SCRAM: {0}")]
    Malformed(&'static str),
    /// It asks for something that must not be ignored.
    #[error("{0} is not supported")]
    NotSupported(&'static str),
    /// It does not continue our nonce: another exchange, or somebody in between.
    #[error("the nonce is not of this exchange")]
    Nonce,
    /// The server wants a password hashed too rarely to be safe, or too often to be meant.
    #[error(
        "the server asks for {0} iterations, not for {ITERATIONS_MIN} to {ITERATIONS_MAX} of them"
    )]
    Iterations(u32),
    /// The client does not know the password.
    #[error("the proof is wrong")]
    Proof,
    /// The server does not know the password.
    #[error("the server has not proven that it knows the password")]
    Signature,
}

type Hash = [u8; 32];

/// What a password can be checked against, without telling it.
pub struct Verifier {
    salt: [u8; SALT_BYTES],
    stored_key: Hash,
    server_key: Hash,
}

impl fmt::Debug for Verifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Verifier").finish_non_exhaustive()
    }
}

impl Verifier {
    /// Of a prepared password. Slow on purpose.
    pub fn new(password: &str, salt: [u8; SALT_BYTES]) -> Self {
        let keys = Keys::of(password, &salt, ITERATIONS_MIN);
        Self {
            salt,
            stored_key: hash(&keys.client_key),
            server_key: keys.server_key,
        }
    }

    /// One that no password fits, always the same for a name: so that a name nobody has looks like any other.
    pub fn made_up(secret: &[u8; 32], name: &str) -> Self {
        let seed = hmac(secret, name.as_bytes());
        let mut salt = [0; SALT_BYTES];
        salt.copy_from_slice(&hmac(&seed, b"salt")[..SALT_BYTES]);
        Self {
            salt,
            stored_key: hmac(&seed, b"stored key"),
            server_key: hmac(&seed, b"server key"),
        }
    }

    /// Whether this prepared password is the one. Slow on purpose, and as slow when it is not.
    pub fn fits(&self, password: &str) -> bool {
        let given = Self::new(password, self.salt);
        given.stored_key.ct_eq(&self.stored_key).into()
    }
}

/// A name or password as it is compared (RFC 4013); `None` if it cannot be one.
pub fn prepare(text: &str) -> Option<Cow<'_, str>> {
    let prepared = stringprep::saslprep(text).ok()?;
    let is_fit = !prepared.is_empty() && text.len() <= TEXT_BYTES_MAX;
    is_fit.then_some(prepared)
}

/// Chance as a nonce is written.
pub fn nonce(chance: [u8; NONCE_BYTES]) -> String {
    encode(chance)
}

/// What is made of a password, a salt and a number.
struct Keys {
    client_key: Hash,
    server_key: Hash,
}

impl Keys {
    fn of(password: &str, salt: &[u8], iterations: u32) -> Self {
        let mut salted = Hash::default();
        pbkdf2::pbkdf2_hmac::<Sha256>(password.as_bytes(), salt, iterations, &mut salted);
        Self {
            client_key: hmac(&salted, b"Client Key"),
            server_key: hmac(&salted, b"Server Key"),
        }
    }
}

fn hash(bytes: &[u8]) -> Hash {
    Sha256::digest(bytes).into()
}

fn hmac(key: &Hash, message: &[u8]) -> Hash {
    // A key shorter than a block is filled up with zeros: that is how HMAC takes it.
    let mut block = [0; 64];
    block[..key.len()].copy_from_slice(key);
    Hmac::<Sha256>::new(&block.into())
        .chain_update(message)
        .finalize()
        .into_bytes()
        .into()
}

fn xor(left: &Hash, right: &Hash) -> Hash {
    std::array::from_fn(|at| left[at] ^ right[at])
}

fn encode(bytes: impl AsRef<[u8]>) -> String {
    STANDARD.encode(bytes)
}

fn decode(text: &str) -> Result<Vec<u8>, ScramError> {
    STANDARD
        .decode(text)
        .map_err(|_| ScramError::Malformed("no base64"))
}

fn decode_hash(text: &str) -> Result<Hash, ScramError> {
    decode(text)?
        .try_into()
        .map_err(|_| ScramError::Malformed("a hash of another length"))
}

fn text(data: &[u8]) -> Result<&str, ScramError> {
    std::str::from_utf8(data).map_err(|_| ScramError::Malformed("no text"))
}

/// Takes the attribute of this name off the front, up to the next comma; what follows the comma is left.
fn take<'a>(rest: &mut &'a str, name: &'static str) -> Result<&'a str, ScramError> {
    let (part, behind) = rest.split_once(',').unwrap_or((rest, ""));
    if part.starts_with("m=") {
        // Who says so must be understood or refused.
        return Err(ScramError::NotSupported("a mandatory extension"));
    }
    let value = part
        .strip_prefix(name)
        .ok_or(ScramError::Malformed("an attribute is missing"))?;
    *rest = behind;
    Ok(value)
}

/// Printable, without a comma, not empty, and not so long that it would only be a burden.
fn check_nonce(nonce: &str) -> Result<&str, ScramError> {
    let is_good = nonce
        .bytes()
        .all(|byte| (0x21..=0x7E).contains(&byte) && byte != b',');
    if nonce.is_empty() || nonce.len() > NONCE_LENGTH_MAX || !is_good {
        return Err(ScramError::Malformed("a nonce that is none"));
    }
    Ok(nonce)
}
