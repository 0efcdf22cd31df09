//! The client's end: it proves that it knows the password, and believes nobody who does not.

use super::{
    Hash, ITERATIONS_MAX, ITERATIONS_MIN, Keys, ScramError, check_nonce, decode, decode_hash,
    encode, hash, hmac, take, text, xor,
};
use subtle::ConstantTimeEq;

/// No channel binding, nobody acted for.
const HEADER: &str = "n,,";

/// The client's end of an exchange, before the server has spoken.
pub struct Client {
    nonce: String,
    /// Its first message, without the header.
    bare: String,
}

impl Client {
    /// Begins, as this prepared name.
    pub fn new(username: &str, nonce: String) -> Self {
        let escaped = username.replace('=', "=3D").replace(',', "=2C");
        Self {
            bare: format!("n={escaped},r={nonce}"),
            nonce,
        }
    }

    /// The first message.
    pub fn first(&self) -> String {
        format!("{HEADER}{}", self.bare)
    }

    /// Reads what the server asks for.
    ///
    /// # Errors
    /// It is malformed, of another exchange, or asks for too few or too many iterations.
    pub fn challenge(self, data: &[u8]) -> Result<Challenge, ScramError> {
        let message = text(data)?;
        let mut rest = message;
        let nonce = check_nonce(take(&mut rest, "r=")?)?;
        // All of ours, and something of its own.
        if !nonce.starts_with(&self.nonce) || nonce.len() == self.nonce.len() {
            return Err(ScramError::Nonce);
        }
        let salt = decode(take(&mut rest, "s=")?)?;
        if salt.is_empty() {
            return Err(ScramError::Malformed("no salt"));
        }
        let iterations = take(&mut rest, "i=")?;
        let iterations = iterations
            .parse()
            .ok()
            .filter(|_| iterations.bytes().all(|byte| byte.is_ascii_digit()))
            .ok_or(ScramError::Malformed("no number of iterations"))?;
        if !(ITERATIONS_MIN..=ITERATIONS_MAX).contains(&iterations) {
            return Err(ScramError::Iterations(iterations));
        }
        let without_proof = format!("c={},r={nonce}", encode(HEADER));
        Ok(Challenge {
            message: format!("{},{message},{without_proof}", self.bare),
            without_proof,
            salt,
            iterations,
        })
    }
}

/// What the server asked for: a plain value, to be solved where slow things are done.
pub struct Challenge {
    /// All that both ends have to agree on.
    message: String,
    without_proof: String,
    salt: Vec<u8>,
    iterations: u32,
}

impl Challenge {
    /// Proves that the prepared password is known. Slow on purpose.
    pub fn solve(self, password: &str) -> Solved {
        let keys = Keys::of(password, &self.salt, self.iterations);
        let message = self.message.as_bytes();
        let signature = hmac(&hash(&keys.client_key), message);
        let proof = encode(xor(&keys.client_key, &signature));
        Solved {
            last: format!("{},p={proof}", self.without_proof),
            expected: hmac(&keys.server_key, message),
        }
    }
}

/// The proof, and what the server has to say to it.
pub struct Solved {
    last: String,
    expected: Hash,
}

impl Solved {
    /// The last message.
    pub fn last(&self) -> &str {
        &self.last
    }

    /// Whether the server knows the password too.
    ///
    /// # Errors
    /// It does not, or says why it refuses us.
    pub fn check(&self, data: &[u8]) -> Result<(), ScramError> {
        let mut rest = text(data)?;
        if rest.starts_with("e=") {
            return Err(ScramError::Signature);
        }
        let signature = decode_hash(take(&mut rest, "v=")?)?;
        if bool::from(signature.ct_eq(&self.expected)) {
            Ok(())
        } else {
            Err(ScramError::Signature)
        }
    }
}
