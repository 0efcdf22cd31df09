//! What a password file has in place of a password, and whether a password is the one.
//!
//! | form | what | written by |
//! |---|---|---|
//! | `$argon2id$v=19$m=…,t=…,p=…$salt$hash` | Argon2id (RFC 9106), as a PHC string | `rmqtt passwd`, Mosquitto from 2.1 |
//! | `$7$iterations$salt$hash` | PBKDF2 with HMAC-SHA-512 | Mosquitto from 2.0 |
//! | `$6$salt$hash` | one round of SHA-512, password before salt | older Mosquitto; cheap to guess |
//!
//! Everything here is slow on purpose, but reading.

use super::random;
use crate::broker::BrokerError;
use argon2::{Algorithm, Argon2, Params, Version};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};
use sha2::{Digest, Sha512};
use subtle::ConstantTimeEq;

/// No login may take more memory than this, in KiB, whatever a file says.
const MEMORY_MAX: u32 = 1 << 20;

/// Nor more passes over it.
const PASSES_MAX: u32 = 64;

/// Nor more lanes.
const LANES_MAX: u32 = 64;

/// Nor more rounds of PBKDF2: about five seconds.
const ITERATIONS_MAX: u32 = 10_000_000;

/// Of SHA-512, in bytes.
const HASH_BYTES: usize = 64;

/// An Argon2 hash shorter than this could be met by chance.
const HASH_BYTES_MIN: usize = 16;

/// Mosquitto's have 12 or 64 bytes.
const SALT_BYTES_MAX: usize = 64;

/// Of Argon2, by its standard and by ours.
const SALT_BYTES_MIN: usize = 8;

/// What a password is checked against.
#[derive(PartialEq, Eq)]
pub enum StoredHash {
    /// Argon2id.
    Argon2id {
        /// Its costs.
        params: Params,
        /// Its salt.
        salt: Vec<u8>,
        /// What comes out.
        hash: Vec<u8>,
    },
    /// PBKDF2 with HMAC-SHA-512.
    Pbkdf2 {
        /// How many rounds.
        iterations: u32,
        /// Its salt.
        salt: Vec<u8>,
        /// What comes out.
        hash: Vec<u8>,
    },
    /// SHA-512, once.
    Sha512 {
        /// Its salt.
        salt: Vec<u8>,
        /// What comes out.
        hash: Vec<u8>,
    },
}

impl StoredHash {
    /// Reads one of the forms above.
    ///
    /// # Errors
    /// Why it is none, in words that show nothing of it.
    pub(super) fn parse(text: &str) -> Result<Self, &'static str> {
        let mut parts = text.split('$');
        match (parts.next(), parts.next()) {
            (Some(""), Some("argon2id")) => Self::argon2id(parts),
            (Some(""), Some("7")) => {
                let iterations = parts.next().and_then(decimal).ok_or("no iterations")?;
                if !(1..=ITERATIONS_MAX).contains(&iterations) {
                    return Err("more iterations than a login may take");
                }
                let (salt, hash) = salt_and_hash(parts)?;
                Ok(Self::Pbkdf2 {
                    iterations,
                    salt,
                    hash,
                })
            }
            (Some(""), Some("6")) => {
                let (salt, hash) = salt_and_hash(parts)?;
                Ok(Self::Sha512 { salt, hash })
            }
            (Some(""), Some(_)) => Err("a kind of hash that is not known here"),
            _ => Err("a password that is not hashed"),
        }
    }

    /// Of a PHC string as Argon2's own library writes it. The crate for such strings has no room for Mosquitto's salts.
    fn argon2id<'a>(parts: impl Iterator<Item = &'a str>) -> Result<Self, &'static str> {
        let damaged = "a hash that is damaged";
        let parts: Vec<&str> = parts.collect();
        let ["v=19", costs, salt, hash] = parts[..] else {
            return Err(damaged);
        };
        if costs.split(',').count() != 3 {
            return Err(damaged);
        }
        let mut costs = costs.split(',').zip(["m=", "t=", "p="]);
        let mut cost = || {
            costs
                .next()
                .and_then(|(cost, name)| decimal(cost.strip_prefix(name)?))
        };
        let (Some(memory), Some(passes), Some(lanes)) = (cost(), cost(), cost()) else {
            return Err(damaged);
        };
        if memory > MEMORY_MAX || passes > PASSES_MAX || lanes > LANES_MAX {
            return Err("more memory or passes than a login may take");
        }
        let decode = |text| STANDARD_NO_PAD.decode(text).map_err(|_| damaged);
        let (salt, hash) = (decode(salt)?, decode(hash)?);
        let is_whole = (SALT_BYTES_MIN..=SALT_BYTES_MAX).contains(&salt.len())
            && (HASH_BYTES_MIN..=HASH_BYTES).contains(&hash.len());
        let params = Params::new(memory, passes, lanes, Some(hash.len())).map_err(|_| damaged)?;
        is_whole
            .then_some(Self::Argon2id { params, salt, hash })
            .ok_or(damaged)
    }

    /// Whether this password is the one. As slow when it is not.
    pub(super) fn fits(&self, password: &[u8]) -> bool {
        match self {
            Self::Argon2id { params, salt, hash } => {
                let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, params.clone());
                let mut given = vec![0; hash.len()];
                let is_done = argon2
                    .hash_password_into(password, salt, &mut given)
                    .is_ok();
                is_done && given.ct_eq(hash).into()
            }
            Self::Pbkdf2 {
                iterations,
                salt,
                hash,
            } => {
                let mut given = [0; HASH_BYTES];
                pbkdf2::pbkdf2_hmac::<Sha512>(password, salt, *iterations, &mut given);
                given.ct_eq(hash).into()
            }
            Self::Sha512 { salt, hash } => {
                let given = Sha512::new().chain_update(password).chain_update(salt);
                given.finalize().ct_eq(hash.as_slice()).into()
            }
        }
    }
}

/// What a password file keeps of a password: Argon2id with 19 MiB and two passes, which is what OWASP asks for. Slow on
/// purpose.
///
/// # Errors
/// The password is empty, or longer than CONNECT can carry; or the system has no randomness or memory.
pub fn hash_password(password: &[u8]) -> Result<String, BrokerError> {
    if password.is_empty() || password.len() > usize::from(u16::MAX) {
        return Err(BrokerError::Options(
            "a password must have 1 to 65535 bytes".to_owned(),
        ));
    }
    let mut salt = [0; 16];
    random(&mut salt)?;
    let mut hash = [0; Params::DEFAULT_OUTPUT_LEN];
    let params = Params::default();
    Argon2::new(Algorithm::Argon2id, Version::V0x13, params.clone())
        .hash_password_into(password, &salt, &mut hash)
        .map_err(|error| BrokerError::Options(format!("the password cannot be hashed: {error}")))?;
    Ok(format!(
        "$argon2id$v=19$m={},t={},p={}${}${}",
        params.m_cost(),
        params.t_cost(),
        params.p_cost(),
        STANDARD_NO_PAD.encode(salt),
        STANDARD_NO_PAD.encode(hash),
    ))
}

/// Digits and nothing else: `parse` would take a sign.
fn decimal(text: &str) -> Option<u32> {
    let is_plain = text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|_| is_plain)
}

fn salt_and_hash<'a>(
    mut parts: impl Iterator<Item = &'a str>,
) -> Result<(Vec<u8>, Vec<u8>), &'static str> {
    let mut next = || STANDARD.decode(parts.next()?).ok();
    let (salt, hash) = next().zip(next()).ok_or("a hash that is damaged")?;
    let is_whole = (1..=SALT_BYTES_MAX).contains(&salt.len()) && hash.len() == HASH_BYTES;
    if !is_whole || parts.next().is_some() {
        return Err("a hash that is damaged");
    }
    Ok((salt, hash))
}
