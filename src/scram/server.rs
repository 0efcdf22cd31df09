//! The server's end: cheap at every step, and alike for names that are known and names that are not.

use super::{
    ITERATIONS_MIN, ScramError, Verifier, check_nonce, decode, decode_hash, encode, hash, hmac,
    take, text, xor,
};
use subtle::ConstantTimeEq;

/// The server's end of an exchange whose first message has come.
pub struct Server {
    /// Channel binding flag and whom the client acts for, as it wrote them.
    header: String,
    /// Its first message, without the header.
    bare: String,
    username: String,
    client_nonce: String,
}

impl Server {
    /// Reads the client's first message.
    ///
    /// # Errors
    /// It is malformed, wants channel binding, or wants to act for somebody else.
    pub fn new(data: &[u8]) -> Result<Self, ScramError> {
        let message = text(data)?;
        let malformed = ScramError::Malformed("no header");
        let (flag, rest) = message.split_once(',').ok_or(malformed)?;
        match flag {
            // It cannot bind, or could and believes that we cannot: which is right.
            "n" | "y" => {}
            _ if flag.starts_with("p=") => return Err(ScramError::NotSupported("channel binding")),
            _ => return Err(malformed),
        }
        let (acts_for, bare) = rest.split_once(',').ok_or(malformed)?;
        let mut rest = bare;
        let escaped = take(&mut rest, "n=")?;
        if !acts_for.is_empty() && acts_for.strip_prefix("a=") != Some(escaped) {
            return Err(ScramError::NotSupported("acting for another user"));
        }
        let username = unescape(escaped).ok_or(ScramError::Malformed("a name that is none"))?;
        let client_nonce = check_nonce(take(&mut rest, "r=")?)?.to_owned();
        Ok(Self {
            header: message[..message.len() - bare.len()].to_owned(),
            bare: bare.to_owned(),
            username,
            client_nonce,
        })
    }

    /// Who the client says it is; not prepared yet.
    pub fn username(&self) -> &str {
        &self.username
    }

    /// What the client has to hash, and what remembers it. `nonce` is our own chance.
    pub fn challenge(&self, verifier: &Verifier, nonce: &str) -> String {
        format!(
            "r={}{nonce},s={},i={ITERATIONS_MIN}",
            self.client_nonce,
            encode(verifier.salt)
        )
    }

    /// Whether the client's last message proves that it knows the password. `challenge` is what was sent; the answer proves
    /// to the client that we know it, too.
    ///
    /// # Errors
    /// It is malformed, of another exchange, or the proof is wrong.
    pub fn check(
        &self,
        verifier: &Verifier,
        challenge: &str,
        data: &[u8],
    ) -> Result<String, ScramError> {
        let message = text(data)?;
        let (without_proof, proof) = message
            .rsplit_once(",p=")
            .ok_or(ScramError::Malformed("no proof"))?;
        let mut rest = without_proof;
        if decode(take(&mut rest, "c=")?)? != self.header.as_bytes() {
            return Err(ScramError::NotSupported("another channel binding"));
        }
        let nonce = take(&mut rest, "r=")?;
        if take(&mut &*challenge, "r=")? != nonce {
            return Err(ScramError::Nonce);
        }
        let proof = decode_hash(proof)?;
        let message = format!("{},{challenge},{without_proof}", self.bare);
        let signature = hmac(&verifier.stored_key, message.as_bytes());
        let client_key = xor(&proof, &signature);
        if !bool::from(hash(&client_key).ct_eq(&verifier.stored_key)) {
            return Err(ScramError::Proof);
        }
        let signature = hmac(&verifier.server_key, message.as_bytes());
        Ok(format!("v={}", encode(signature)))
    }
}

/// `,` and `=` are written `=2C` and `=3D` in names, and there are no other escapes.
fn unescape(name: &str) -> Option<String> {
    let mut parts = name.split('=');
    let mut plain = parts.next()?.to_owned();
    for part in parts {
        let comma = part.strip_prefix("2C").map(|rest| (',', rest));
        let (escaped, rest) = comma.or_else(|| part.strip_prefix("3D").map(|rest| ('=', rest)))?;
        plain.push(escaped);
        plain.push_str(rest);
    }
    (!plain.is_empty()).then_some(plain)
}
