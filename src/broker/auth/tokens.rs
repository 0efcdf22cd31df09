//! JSON Web Tokens in the place of a password: signed by somebody else, whose keys lie in a file (JWKS, RFC 7517).
//!
//! What a token may be signed with is the broker's to say, never the token's: an algorithm has to be allowed, and the key
//! has to be of its family. A token without an end is refused, and a connection ends with the token that opened it.

use super::signatures::{self, PROVIDER};
use super::{Identity, Opinion, Proof, Standing, is_name};
use crate::broker::BrokerError;
use jsonwebtoken::jwk::{Jwk, JwkSet, PublicKeyUse};
use jsonwebtoken::{Algorithm, DecodingKey, Header, Validation, decode, decode_header};
use parking_lot::RwLock;
use serde_json::{Map, Value};
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// What a token has to be.
#[derive(Debug, Clone)]
pub struct TokenTerms {
    /// Names of algorithms that are taken, such as `RS256`.
    pub algorithms: Vec<String>,
    /// Who has to have issued it.
    pub issuer: Option<String>,
    /// Whom it has to be for; one that is for somebody is refused where this is `None`.
    pub audience: Option<String>,
    /// Which claim has the user's name.
    pub user_claim: String,
    /// How far clocks may differ.
    pub leeway: Duration,
}

/// Tokens, and the keys they are checked by.
pub struct Tokens {
    path: PathBuf,
    terms: TokenTerms,
    algorithms: Vec<Algorithm>,
    keys: RwLock<Arc<Keys>>,
}

/// Those of one reading.
pub(super) type Keys = Vec<Arc<Key>>;

/// What tokens are checked by.
pub struct Key {
    id: Option<String>,
    /// The one algorithm it is for, if it says so.
    algorithm: Option<Algorithm>,
    material: DecodingKey,
}

impl Key {
    fn is_same(&self, other: &Self) -> bool {
        self.id == other.id
            && self.algorithm == other.algorithm
            && signatures::are_same(&self.material, &other.material)
    }
}

impl fmt::Debug for Tokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tokens")
            .field("path", &self.path)
            .field("terms", &self.terms)
            .finish_non_exhaustive()
    }
}

impl Tokens {
    /// Reads the keys.
    ///
    /// # Errors
    /// An algorithm is not known; the file cannot be read, is no set of keys, or has none that fits the algorithms.
    pub fn open(path: impl Into<PathBuf>, terms: TokenTerms) -> Result<Self, BrokerError> {
        // Fails where it is installed already.
        let _ = PROVIDER.install_default();
        let path = path.into();
        let algorithm = |name: &String| {
            name.parse::<Algorithm>()
                .ok()
                .filter(|algorithm| signatures::is_known(*algorithm))
                .ok_or_else(|| BrokerError::Options(format!("{name:?} is no algorithm for tokens")))
        };
        let algorithms: Vec<_> = terms
            .algorithms
            .iter()
            .map(algorithm)
            .collect::<Result<_, _>>()?;
        if terms.user_claim.is_empty() {
            return Err(BrokerError::Options(
                "no claim for the user's name".to_owned(),
            ));
        }
        let keys = read(&path, &algorithms)?;
        Ok(Self {
            path,
            terms,
            algorithms,
            keys: RwLock::new(Arc::new(keys)),
        })
    }

    /// Reads the keys again, for [`Tokens::replace`].
    ///
    /// # Errors
    /// As [`Tokens::open`].
    pub(super) fn prepare(&self) -> Result<Arc<Keys>, BrokerError> {
        read(&self.path, &self.algorithms).map(Arc::new)
    }

    /// From now on these are the keys.
    pub(super) fn replace(&self, keys: Arc<Keys>) {
        *self.keys.write() = keys;
    }

    /// Whether a key is still one of them. Of users it knows only what their tokens say.
    pub(super) fn standing(&self, key: &Key) -> Standing {
        if self.keys.read().iter().any(|now| now.is_same(key)) {
            Standing::Good
        } else {
            Standing::Changed
        }
    }

    /// What it says of this password, at this time, in seconds since 1970. What is no token at all is not its to judge.
    pub(super) fn check(self: &Arc<Self>, password: &[u8], now: u64) -> Opinion {
        let Ok(header) = decode_header(password) else {
            return Opinion::Unknown;
        };
        self.claims(password, &header)
            .and_then(|(claims, key)| self.identity(&claims, key, now))
            .map_or(Opinion::Refused, Opinion::Accepted)
    }

    fn claims(&self, token: &[u8], header: &Header) -> Option<(Map<String, Value>, Arc<Key>)> {
        let algorithm = header.alg;
        if !self.algorithms.contains(&algorithm) {
            return None;
        }
        let mut validation = Validation::new(algorithm);
        // Time is an argument here.
        validation.validate_exp = false;
        let mut required = vec!["exp"];
        if let Some(issuer) = &self.terms.issuer {
            validation.set_issuer(&[issuer]);
            required.push("iss");
        }
        if let Some(audience) = &self.terms.audience {
            validation.set_audience(&[audience]);
            required.push("aud");
        }
        validation.set_required_spec_claims(&required);
        let keys = Arc::clone(&self.keys.read());
        keys.iter()
            .filter(|key| header.kid.is_none() || key.id.is_none() || header.kid == key.id)
            .filter(|key| key.algorithm.is_none_or(|own| own == algorithm))
            .filter(|key| key.material.family().algorithms().contains(&algorithm))
            .find_map(|key| {
                let read = decode(token, &key.material, &validation).ok()?;
                Some((read.claims, Arc::clone(key)))
            })
    }

    fn identity(
        self: &Arc<Self>,
        claims: &Map<String, Value>,
        key: Arc<Key>,
        now: u64,
    ) -> Option<Identity> {
        let leeway = self.terms.leeway.as_secs();
        let until = seconds(claims.get("exp")?)?.saturating_add(leeway);
        let is_early = match claims.get("nbf") {
            Some(from) => seconds(from)? > now.saturating_add(leeway),
            None => false,
        };
        let user = claims.get(&self.terms.user_claim)?.as_str()?;
        let is_good = until > now && !is_early && is_name(user);
        is_good.then(|| Identity {
            user: Some(user.into()),
            until: Some(until),
            proof: Some(Arc::new(Proof::Token(Arc::clone(self), key))),
        })
    }
}

/// Of a date in a token, which may have a fraction.
fn seconds(date: &Value) -> Option<u64> {
    date.as_u64().or_else(|| {
        let date = date.as_f64().filter(|date| *date >= 0.0)?;
        Some(Duration::try_from_secs_f64(date).ok()?.as_secs())
    })
}

fn read(path: &Path, algorithms: &[Algorithm]) -> Result<Keys, BrokerError> {
    let name = path.to_string_lossy();
    let refuse = |what: &str| BrokerError::Options(format!("the keys in {name:?}: {what}"));
    let bytes = std::fs::read(path).map_err(|error| refuse(&error.to_string()))?;
    // The error of the parser could show a piece of a secret.
    let set: JwkSet =
        serde_json::from_slice(&bytes).map_err(|_| refuse("no set of keys (JWKS)"))?;
    let mut keys = Vec::new();
    for (at, jwk) in set.keys.iter().enumerate() {
        if jwk.common.public_key_use == Some(PublicKeyUse::Encryption) {
            continue;
        }
        let key = key(jwk).map_err(|what| refuse(&format!("key {}: {what}", at + 1)))?;
        let fits = |algorithm: &Algorithm| {
            key.material.family().algorithms().contains(algorithm)
                && key.algorithm.is_none_or(|own| own == *algorithm)
        };
        if algorithms.iter().any(fits) {
            keys.push(Arc::new(key));
        }
    }
    if keys.is_empty() {
        return Err(refuse(
            "none of them is for the algorithms that are allowed",
        ));
    }
    Ok(keys)
}

fn key(jwk: &Jwk) -> Result<Key, &'static str> {
    let material =
        DecodingKey::from_jwk(jwk).map_err(|_| "a kind that is not known here, or damaged")?;
    if signatures::is_weak(&material) {
        return Err("a secret of less than 32 bytes can be guessed");
    }
    let algorithm = match jwk.common.key_algorithm {
        Some(named) => Some(
            named
                .to_string()
                .parse()
                .map_err(|_| "an algorithm that is not known here")?,
        ),
        None => None,
    };
    Ok(Key {
        id: jwk.common.key_id.clone(),
        algorithm,
        material,
    })
}
